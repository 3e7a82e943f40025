//! Compiles programs against the C library, and runs them.

use crate::capi_build::{library, root};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::Duration;

/// No wait in a test is longer, also with valgrind on a busy machine; a failure prints what was seen.
pub(crate) const CEILING: Duration = Duration::from_secs(60);

/// What valgrind and the sanitizer end a program with that they complain of.
const COMPLAINT: i32 = 99;

/// How a program is linked and watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Mode {
    /// With the shared library.
    Shared,
    /// With the static library.
    Static,
    /// With the shared library and the sanitizers for addresses, leaks and undefined behaviour.
    Sanitized,
    /// With the shared library under valgrind.
    Valgrind,
}

/// The language of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    C(&'static str),
    Cpp(&'static str),
}

pub(crate) const C99: Language = Language::C("c99");
pub(crate) const CPP17: Language = Language::Cpp("c++17");

impl Language {
    fn compiler(self) -> String {
        let (variable, default) = match self {
            Self::C(_) => ("CC", "cc"),
            Self::Cpp(_) => ("CXX", "c++"),
        };
        std::env::var(variable).unwrap_or_else(|_| default.to_owned())
    }

    const fn standard(self) -> &'static str {
        match self {
            Self::C(standard) | Self::Cpp(standard) => standard,
        }
    }
}

/// Whether all that is needed is there. What is missing is said, or a failure with `LIVEFEED_REQUIRE_C_TOOLS=1`.
pub(crate) fn have(language: Language, mode: Mode) -> bool {
    let works = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
    let mut missing = Vec::new();
    let compiler = language.compiler();
    if !works(Command::new(&compiler).arg("--version")) {
        missing.push(compiler);
    } else if mode == Mode::Sanitized && !has_sanitizers(language) {
        missing.push(format!("the sanitizers of {compiler}"));
    }
    if mode == Mode::Valgrind && !works(Command::new("valgrind").arg("--version")) {
        missing.push("valgrind".to_owned());
    }
    if missing.is_empty() {
        return true;
    }
    let required = std::env::var("LIVEFEED_REQUIRE_C_TOOLS").is_ok_and(|value| value == "1");
    assert!(!required, "missing: {missing:?}");
    eprintln!("skipped, {language:?} {mode:?}: missing: {missing:?}");
    false
}

/// Whether a program with sanitizers can be made and run here: some containers don't let it look for leaks.
fn has_sanitizers(language: Language) -> bool {
    static HAS: [OnceLock<bool>; 2] = [OnceLock::new(), OnceLock::new()];
    let place = match language {
        Language::C(_) => &HAS[0],
        Language::Cpp(_) => &HAS[1],
    };
    *place.get_or_init(|| try_sanitizers(language))
}

fn try_sanitizers(language: Language) -> bool {
    let source = scratch("sanitizers.c");
    std::fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let program = scratch("sanitizers");
    let mut compile = Command::new(language.compiler());
    compile.args(SANITIZERS).arg("-o").arg(&program).arg(&source);
    compile.output().is_ok_and(|output| output.status.success())
        && Command::new(program).output().is_ok_and(|output| output.status.success())
}

const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];

/// A name that no other file in the target directory has.
pub(crate) fn scratch(name: &str) -> PathBuf {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("capi_c");
    std::fs::create_dir_all(&dir).unwrap();
    dir.join(format!("{}-{}-{name}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// The compiler with the strictest warnings there are, and the way to the header.
pub(crate) fn compiler(language: Language) -> Command {
    let mut command = Command::new(language.compiler());
    command.arg(format!("-std={}", language.standard()));
    command.args(["-Wall", "-Wextra", "-Werror", "-pedantic", "-g"]);
    command.arg("-I").arg(root().join("include"));
    command
}

/// Runs a compiler. What it says is a failure, warnings too.
#[track_caller]
pub(crate) fn compile(mut command: Command) {
    let output = command.output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{command:?}\n{}", err(&output));
}

/// A file that a compiler made, deleted with the last that uses it.
struct Made(PathBuf);

impl Drop for Made {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// A source, and how it is linked: `None` for the object file.
type Name = (&'static str, Option<Mode>);

/// What is made from a source; made here, unless another test has it already or is about to.
#[track_caller]
fn made(name: Name, make: impl FnOnce(&Path)) -> Arc<Made> {
    static MADE: Mutex<BTreeMap<Name, Arc<Mutex<Weak<Made>>>>> = Mutex::new(BTreeMap::new());
    let place = Arc::clone(MADE.lock().unwrap().entry(name).or_default());
    let mut place = place.lock().unwrap();
    place.upgrade().unwrap_or_else(|| {
        let stem = Path::new(name.0).file_stem().unwrap().to_string_lossy();
        let file = Arc::new(Made(scratch(&match name.1 {
            Some(mode) => format!("{stem}-{mode:?}"),
            None => format!("{stem}.o"),
        })));
        make(&file.0);
        *place = Arc::downgrade(&file);
        file
    })
}

/// Makes a program.
#[track_caller]
fn build(path: &Path, source: &'static str, language: Language, link: Mode) {
    let library = library();
    let compile_to = |path: &Path, sanitizers: &[&str]| {
        let mut command = compiler(language);
        command.arg("-I").arg(root().join("examples/cpp")).args(sanitizers);
        command.arg("-c").arg("-o").arg(path).arg(root().join(source));
        compile(command);
    };
    let mut command = Command::new(language.compiler());
    command.arg("-g").arg("-o").arg(path);
    let object;
    if link == Mode::Sanitized {
        object = Arc::new(Made(scratch("sanitized.o")));
        compile_to(&object.0, &SANITIZERS);
        command.args(SANITIZERS);
    } else {
        object = made((source, None), |path| compile_to(path, &[]));
    }
    command.arg(&object.0);
    if link == Mode::Static {
        command.arg(library.archive()).args(&library.native);
    } else {
        let mut rpath = std::ffi::OsString::from("-Wl,-rpath,");
        rpath.push(library.shared().parent().unwrap());
        // By its path and not by -llivefeed, as the static one is in the same directory.
        command.arg(library.shared()).arg(rpath).arg("-pthread");
    }
    compile(command);
}

/// A program, deleted with the last that uses it.
pub(crate) struct Program {
    file: Arc<Made>,
    mode: Mode,
}

impl Program {
    /// Compiles a source of this repository, for programs that are linked alike only once.
    #[track_caller]
    pub(crate) fn new(source: &'static str, language: Language, mode: Mode) -> Self {
        let link = match mode {
            Mode::Valgrind => Mode::Shared,
            other => other,
        };
        Self { file: made((source, Some(link)), |path| build(path, source, language, link)), mode }
    }

    pub(crate) const fn mode(&self) -> Mode {
        self.mode
    }

    /// The program with these arguments, its outputs to be read.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command;
        if self.mode == Mode::Valgrind {
            command = Command::new("valgrind");
            command.args([
                "--quiet",
                "--fair-sched=try",
                "--leak-check=full",
                "--show-leak-kinds=definite,indirect,possible",
            ]);
            command.arg("--errors-for-leak-kinds=definite,indirect,possible");
            command.arg(format!("--suppressions={}", root().join("tests/capi_c/valgrind.supp").display()));
            command.arg(format!("--error-exitcode={COMPLAINT}")).arg(&self.file.0);
        } else {
            command = Command::new(&self.file.0);
            command.env("ASAN_OPTIONS", format!("detect_leaks=1:exitcode={COMPLAINT}"));
            command.env("LSAN_OPTIONS", format!("exitcode={COMPLAINT}"));
        }
        command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        finish(self.command(args).spawn().unwrap())
    }
}

/// Waits for the end. What takes too long is killed, and shown.
#[track_caller]
pub(crate) fn finish(child: Child) -> Output {
    let id = child.id();
    let (sender, ended) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(child.wait_with_output().unwrap()));
        ended.recv_timeout(CEILING).unwrap_or_else(|_| {
            signal(id, "KILL");
            panic!("it does not end: {:?}", ended.recv_timeout(CEILING));
        })
    })
}

/// A running program, whose outputs are read all the time; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    said: String,
    lines: Receiver<String>,
    printed: Receiver<String>,
}

impl Running {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let stdout = child.stdout.take().unwrap();
        let (line, lines) = channel();
        let (print, printed) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|text| drop(line.send(text)))
        });
        std::thread::spawn(move || print.send(std::io::read_to_string(stdout).unwrap_or_default()));
        Self { child, said: String::new(), lines, printed }
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until what it has said on standard error is enough.
    #[track_caller]
    pub(crate) fn until(&mut self, enough: impl Fn(&str) -> bool) {
        while !enough(&self.said) {
            let line = self.lines.recv_timeout(CEILING);
            let line = line.unwrap_or_else(|error| panic!("{error}; it said: {}", self.said));
            self.said += &format!("{line}\n");
        }
    }

    /// Waits for its end: its status, and what it has written to standard output and to standard error.
    #[track_caller]
    pub(crate) fn ends(mut self) -> (Option<i32>, String, String) {
        let printed = self.printed.recv_timeout(CEILING);
        let printed = printed.unwrap_or_else(|error| panic!("{error}; it said: {}", self.said));
        for line in self.lines.iter() {
            self.said += &format!("{line}\n");
        }
        let status = self.child.wait().unwrap();
        (status.code(), printed, std::mem::take(&mut self.said))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends a signal to a process.
pub(crate) fn signal(id: u32, name: &str) {
    let kill = format!("kill -{name} {id}");
    assert!(Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Checks the exit status, and that nobody complained; a failure shows both outputs.
#[track_caller]
pub(crate) fn status(output: &Output, expected: i32) {
    assert_eq!(output.status.code(), Some(expected), "stdout: {}\nstderr: {}", out(output), err(output));
}

/// Checks that the sanitizer or valgrind complained.
#[track_caller]
pub(crate) fn complained(output: &Output) {
    status(output, COMPLAINT);
}
