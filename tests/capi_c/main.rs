//! The C ABI as C and C++ see it: the examples and the wrapper, compiled with all warnings as errors against the library
//! that a cargo of its own builds, and run against the lab; also with sanitizers and under valgrind.
//!
//! What needs a tool that is missing is skipped and says so, unless `LIVEFEED_REQUIRE_C_TOOLS=1`.
#![cfg(unix)]
#![allow(clippy::disallowed_methods, reason = "tests may read clocks")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[allow(dead_code, unreachable_pub, reason = "it is shared with other tests")]
#[path = "../capi_build/mod.rs"]
mod capi_build;
mod tools;

use capi_build::root;
use livefeed::lab::{Command as Order, Entry, Incoming, Lab, Received, Script, Topic, What};
use serde_json::{Value, json};
use std::time::Duration;
#[cfg(feature = "native-tls")]
use tools::finish;
use tools::{
    C99, CEILING, CPP17, Language, Mode, Program, Running, compile, compiler, complained, err, have, out,
    scratch, signal, status,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A configuration in a file, deleted at the end.
struct Config(String);

impl Config {
    /// For a lab, with these fields besides.
    fn new(lab: &Lab, more: &Value) -> Self {
        let mut config = json!({
            "url": lab.url(),
            "stale_after": "700ms",
            // Under valgrind on a busy machine everything takes long.
            "connect": {"timeout": "60s"},
            "reconnect": {"floor": "1ms", "first": "1ms", "max": "1ms"},
            "subscriptions": [{"id": "btc", "subscribe": {"op": "subscribe", "channel": "btc"}}],
        });
        config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let path = scratch("config.json");
        std::fs::write(&path, config.to_string()).unwrap();
        Self(path.to_str().unwrap().to_owned())
    }

    fn path(&self) -> &str {
        &self.0
    }
}

impl Drop for Config {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn topic() -> Topic {
    Topic::new("btc").every(ms(5)).on_subscribe()
}

/// A server whose first connection goes mute, whose second one breaks off, and whose later ones are fine.
fn troubled(connection: usize) -> Script {
    let script = Script::of_topics([topic()]);
    match connection {
        1 => script.until_sent(20).silence(),
        2 => script.until_sent(20).reset(),
        _ => script,
    }
}

/// How often an event was printed as JSON.
fn count(said: &str, event: &str) -> usize {
    let named = |line: &&str| {
        let json: Value =
            serde_json::from_str(line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' '))
                .unwrap_or_default();
        json["event"] == event
    };
    said.lines().filter(named).count()
}

/// The sequence numbers of the messages; each must be greater than the one before.
#[track_caller]
fn sequence<'a>(lines: impl Iterator<Item = &'a str>) -> Vec<u64> {
    let numbers: Vec<u64> =
        lines.map(|line| serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    numbers
}

#[track_caller]
fn seen(lab: &Lab, wanted: impl FnMut(&Entry) -> bool) {
    assert!(lab.wait_for(wanted, CEILING).is_some(), "{:?}", lab.transcript());
}

/// Checks that a client said goodbye.
#[track_caller]
fn said_goodbye(lab: &Lab) {
    seen(lab, |entry| matches!(entry.what, What::Received(Received::Close(_))));
}

/// Reads 60 messages over three connections. What comes through, and that a gap, a verdict and new connections are seen.
fn tail(program: &Program) {
    let lab = Lab::builder().scripts(troubled).start().unwrap();
    let config = Config::new(&lab, &json!({}));
    let ran = program.run(&["-n", "60", config.path()]);
    status(&ran, 0);
    let said = err(&ran);
    assert_eq!(sequence(out(&ran).lines()).len(), 60);
    for (event, least) in [("connecting", 3), ("connected", 3), ("stale", 1), ("gap", 2), ("disconnected", 2)]
    {
        assert!(count(&said, event) >= least, "{event}: {said}");
    }
    assert_eq!(count(&said, "closed"), 0);
    said_goodbye(&lab);
}

/// Ends by itself, and is told nonsense.
fn tail_fails(program: &Program) {
    let refusing = Lab::start(Script::refuse(404)).unwrap();
    let ran = program.run(&[&refusing.url()]);
    status(&ran, 1);
    assert_eq!((count(&err(&ran), "disconnected"), count(&err(&ran), "closed")), (1, 1), "{}", err(&ran));

    let wrong = Config::new(&refusing, &json!({"stale_after": "soon"}));
    // Under valgrind each start takes a second: the other cases have no more to show there.
    let most = if program.mode() == Mode::Valgrind { 1 } else { usize::MAX };
    let cases = [
        (vec![wrong.path()], "stale_after"),
        (vec!["ws://"], "url"),
        (vec!["/nowhere/feed.json"], "/nowhere/feed.json"),
        (vec!["-n", "many", "ws://127.0.0.1/"], ""),
        (vec![], "usage"),
    ];
    for (args, part) in cases.into_iter().take(most) {
        let ran = program.run(&args);
        status(&ran, 2);
        assert!(err(&ran).contains(part) && out(&ran).is_empty(), "{args:?}: {}", err(&ran));
    }
}

fn tail_c(mode: Mode) {
    if have(C99, mode) {
        let program = Program::new("examples/c/tail.c", C99, mode);
        tail(&program);
        tail_fails(&program);
        // With a URL and a subscription from the command line; what the server sends is binary.
        let lab =
            Lab::start(Script::of_topics([topic().message(|seq, _| format!("{seq}").into_bytes())])).unwrap();
        let ran = program.run(&["-n", "3", &lab.url(), r#"{"channel": "btc"}"#]);
        status(&ran, 0);
        assert_eq!(out(&ran), "1\n2\n3\n");
        assert_eq!(lab.transcript().received_texts(1), [r#"{"channel":"btc"}"#]);
        status(&program.run(&[&lab.url(), "no JSON"]), 2);
    }
}

fn tail_cpp(mode: Mode) {
    if have(CPP17, mode) {
        let program = Program::new("examples/cpp/tail.cpp", CPP17, mode);
        tail(&program);
        tail_fails(&program);
        token(&program);
    }
}

/// Over TLS, with a token from a file that is read anew for each attempt.
#[cfg(feature = "native-tls")]
fn token(program: &Program) {
    let path = scratch("token");
    std::fs::write(&path, "first\n").unwrap();
    let renewed = path.clone();
    // While the first token is sent, the file gets another, and the connection ends.
    let script = Script::of_topics([topic()]).greet(move |request| {
        if request.header("Authorization") != Some("Bearer first") {
            return Vec::new();
        }
        std::fs::write(&renewed, "second\n").unwrap();
        vec![Order::Close(1008, "expired".into())]
    });
    let lab = Lab::builder().tls(livefeed::lab::Certificate::Valid).script(script).start().unwrap();
    let config = Config::new(&lab, &json!({"tls": {"extra_roots_pem": [lab.ca_pem()]}}));
    let mut command = program.command(&["-n", "10", config.path()]);
    let ran = finish(command.env("LIVEFEED_TOKEN_FILE", &path).spawn().unwrap());
    status(&ran, 0);
    assert_eq!(sequence(out(&ran).lines()).len(), 10);
    let sent: Vec<_> = lab
        .transcript()
        .entries()
        .iter()
        .filter_map(|entry| match &entry.what {
            What::Requested(request) => Some(request.header("Authorization").unwrap_or_default().to_owned()),
            _ => None,
        })
        .collect();
    assert_eq!(sent, ["Bearer first", "Bearer second"]);
    std::fs::remove_file(&path).unwrap();

    // The file is gone: the attempts fail, and nothing is sent without a token.
    let config = Config::new(
        &lab,
        &json!({
            "tls": {"extra_roots_pem": [lab.ca_pem()]},
            "reconnect": {"floor": "1ms", "first": "1ms", "max": "1ms", "max_attempts": 2},
        }),
    );
    let ran = finish(program.command(&[config.path()]).env("LIVEFEED_TOKEN_FILE", &path).spawn().unwrap());
    status(&ran, 1);
    assert!(err(&ran).contains("can't be read") && lab.connections() == 2, "{}", err(&ran));
}

#[cfg(not(feature = "native-tls"))]
fn token(_: &Program) {}

/// Three feeds in one poll: a troubled one, a fine one, and one that gives up at once.
fn poll_loop(mode: Mode) {
    if !have(C99, mode) {
        return;
    }
    let program = Program::new("examples/c/poll_loop.c", C99, mode);
    let bad = Lab::builder().scripts(troubled).start().unwrap();
    let good = Lab::start(Script::of_topics([topic()])).unwrap();
    let refusing = Lab::start(Script::refuse(404)).unwrap();
    let configs = [&bad, &good, &refusing].map(|lab| Config::new(lab, &json!({})));
    let mut running = Running::start(program.command(&configs.each_ref().map(Config::path)));
    let of = |said: &str, feed: &str, event: &str| {
        let lines: String =
            said.lines().filter(|line| line.starts_with(feed)).map(|line| format!("{line}\n")).collect();
        count(&lines, event)
    };
    running.until(|said| of(said, "1", "connected") >= 3 && of(said, "3", "closed") == 1);
    signal(running.id(), "USR1");
    running.until(|said| (1..=3).all(|feed| said.contains(&format!("{feed} health {{"))));
    // Of the feed that is fine something came meanwhile; how much is seen below.
    seen(&good, |entry| matches!(entry.what, What::Sent { count, .. } if count >= 100));
    signal(running.id(), "TERM");
    let (code, messages, said) = running.ends();
    assert_eq!(code, Some(0), "{said}");
    assert!(of(&said, "1", "stale") >= 1 && of(&said, "1", "gap") >= 2, "{said}");
    assert_eq!(
        [of(&said, "1", "closed"), of(&said, "2", "closed"), of(&said, "3", "closed")],
        [1, 1, 1],
        "{said}"
    );
    said_goodbye(&bad);
    said_goodbye(&good);

    let of_feed = |feed: &str| sequence(messages.lines().filter_map(|line| line.strip_prefix(feed))).len();
    let (bad, good) = (of_feed("1 "), of_feed("2 "));
    assert!(bad > 20 && good >= 50, "{bad} and {good} messages");
    // The same as it counted itself.
    assert!(
        said.contains(&format!("1 messages {bad} ")) && said.contains(&format!("2 messages {good} ")),
        "{said}"
    );
    assert!(said.contains("3 messages 0 gaps 0 stale 0 connections 0"), "{said}");
}

/// All of the wrapper for C++ beside what the examples show, in a program that checks what it sees.
fn wrapper(mode: Mode) {
    if !have(CPP17, mode) {
        return;
    }
    let script = Script::of_topics([topic()]).react(|incoming| match incoming {
        Incoming::Text(text) if text.contains("question") => vec![Order::Send(r#"{"answer": 42}"#.into())],
        Incoming::Text("hang up") => vec![Order::Fin],
        Incoming::Binary(bytes) => vec![Order::SendBinary(bytes.to_vec())],
        _ => Vec::new(),
    });
    let lab = Lab::start(script).unwrap();
    let program = Program::new("tests/capi_c/wrapper.cpp", CPP17, mode);
    let ran = program.run(&[&lab.url()]);
    status(&ran, 0);
    assert_eq!(out(&ran), "done\n", "{}", err(&ran));
}

/// A program that loses an event and a batch on purpose.
fn leak(mode: Mode) {
    if have(C99, mode) {
        let lab = Lab::start(Script::of_topics([topic()])).unwrap();
        let program = Program::new("tests/capi_c/leak.c", C99, mode);
        complained(&program.run(&[&lab.url(), "event"]));
        complained(&program.run(&[&lab.url(), "batch"]));
        complained(&program.run(&[&lab.url(), "feed"]));
        status(&program.run(&[&lab.url(), "nothing"]), 0);
    }
}

/// The header stands alone, in each language and edition, with and without other headers before it.
#[test]
fn the_header_compiles_alone() {
    for standard in ["c99", "c11", "c17"] {
        header(Language::C(standard));
    }
    for standard in ["c++11", "c++17", "c++20"] {
        header(Language::Cpp(standard));
    }
}

fn header(language: Language) {
    if !have(language, Mode::Shared) {
        return;
    }
    let (ending, also) = match language {
        Language::C(_) => ("c", ""),
        // A wrapper may call its namespace as the library.
        Language::Cpp(_) => ("cpp", "namespace livefeed { struct feed {}; }\n"),
    };
    let source = scratch(&format!("header.{ending}"));
    let text = format!(
        "#include <livefeed.h>\n#include <livefeed.h>\n{also}int main(void) {{ return livefeed_abi_version() == 0; }}\n"
    );
    std::fs::write(&source, text).unwrap();
    let mut command = compiler(language);
    command.args(["-Wshadow", "-Wundef", "-Wconversion"]);
    if matches!(language, Language::C(_)) {
        command.arg("-Wstrict-prototypes");
    } else {
        command.args(["-Wold-style-cast", "-Wzero-as-null-pointer-constant"]);
    }
    command.arg("-c").arg("-o").arg(scratch("header.o")).arg(&source);
    compile(command);
}

/// The program in the README.
#[test]
fn the_readme_compiles() {
    if have(C99, Mode::Shared) {
        let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
        let (_, rest) = readme.split_once("```c\n").unwrap();
        let (text, _) = rest.split_once("```").unwrap();
        let source = scratch("readme.c");
        std::fs::write(&source, text).unwrap();
        let mut command = compiler(C99);
        command.arg("-c").arg("-o").arg(scratch("readme.o")).arg(&source);
        compile(command);
    }
}

/// What the README says makes a program that starts from any directory: it knows the library by name.
#[test]
fn the_readme_links() {
    if !have(C99, Mode::Shared) {
        return;
    }
    let readme = std::fs::read_to_string(root().join("README.md")).unwrap();
    let line =
        readme.lines().find_map(|line| line.strip_prefix("$ ").filter(|line| line.contains("-llivefeed")));
    let library = capi_build::library().shared();
    let dir = library.parent().unwrap().to_str().unwrap();
    let program = scratch("readme-links");
    let line = line.unwrap().replace("$PWD/target/release", dir).replace("target/release", dir);
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &line.replace("-o tail", "-o \"$0\"")]).arg(&program).current_dir(root());
    compile(command);
    let ran = std::process::Command::new(&program).current_dir("/").output().unwrap();
    status(&ran, 2);
    assert!(err(&ran).starts_with("usage: "), "{}", err(&ran));
}

/// The shared library that cargo-c installs is named after the version of the ABI, as the header says.
#[test]
fn the_shared_library_is_named_after_the_abi() {
    let header = std::fs::read_to_string(root().join("include/livefeed.h")).unwrap();
    let (_, rest) = header.split_once("#define LIVEFEED_ABI_VERSION ").unwrap();
    let abi = rest.lines().next().unwrap();
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let (_, library) = manifest.split_once("[package.metadata.capi.library]\n").unwrap();
    assert!(library.starts_with(&format!("version = \"{abi}.0.0\"\n")), "{abi}: {library}");
}

/// One test for each program and mode, so that two run at a time.
macro_rules! in_modes {
    ($($name:ident: $run:ident($mode:ident);)*) => {
        $(#[test]
        fn $name() {
            $run(Mode::$mode);
        })*
    };
}

in_modes! {
    tail_in_c_with_the_shared_library: tail_c(Shared);
    tail_in_c_with_the_static_library: tail_c(Static);
    tail_in_c_with_sanitizers: tail_c(Sanitized);
    tail_in_c_under_valgrind: tail_c(Valgrind);
    poll_loop_with_the_shared_library: poll_loop(Shared);
    poll_loop_with_sanitizers: poll_loop(Sanitized);
    poll_loop_under_valgrind: poll_loop(Valgrind);
    tail_in_cpp_with_the_shared_library: tail_cpp(Shared);
    tail_in_cpp_with_the_static_library: tail_cpp(Static);
    tail_in_cpp_with_sanitizers: tail_cpp(Sanitized);
    tail_in_cpp_under_valgrind: tail_cpp(Valgrind);
    the_wrapper_with_the_shared_library: wrapper(Shared);
    the_wrapper_with_sanitizers: wrapper(Sanitized);
    the_wrapper_under_valgrind: wrapper(Valgrind);
    sanitizers_find_what_is_lost: leak(Sanitized);
    valgrind_finds_what_is_lost: leak(Valgrind);
}
