//! Runs the program.

use livefeed::lab::{Entry, Lab, Received, What};
use livefeed::{Event, Feed};
use std::io::{BufRead, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::channel;
use std::time::Duration;

/// No wait in a test is longer; a failure prints what was seen.
pub(crate) const CEILING: Duration = Duration::from_secs(20);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// The program with these arguments, its input empty and its outputs to be read.
pub(crate) fn livefeed(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_livefeed"));
    command.args(args).env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    finish(livefeed(args).spawn().unwrap())
}

/// Waits for the end, and reads what was not read yet. What takes too long is killed, and shown.
#[track_caller]
pub(crate) fn finish(child: Child) -> Output {
    let id = child.id();
    let (sender, ended) = channel();
    std::thread::scope(|scope| {
        scope.spawn(move || sender.send(child.wait_with_output().unwrap()));
        let in_time = ended.recv_timeout(CEILING);
        in_time.unwrap_or_else(|_| {
            signal(id, "KILL");
            panic!("it does not end: {:?}", ended.recv_timeout(CEILING));
        })
    })
}

/// Sends a signal to a process.
pub(crate) fn signal(id: u32, name: &str) {
    let kill = format!("kill -{name} {id}");
    assert!(Command::new("/bin/sh").args(["-c", &kill]).status().unwrap().success(), "{kill}");
}

/// Whether a signal is ignored here, and so, if nobody asks for it, in what is started from here.
pub(crate) fn is_ignored(name: &str) -> bool {
    let number = match name {
        "HUP" => 1,
        "INT" => 2,
        _ => return false,
    };
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap_or("0").trim();
    u64::from_str_radix(mask, 16).unwrap() >> (number - 1) & 1 == 1
}

/// Lines of an output as they come.
pub(crate) struct LinesOf<R>(BufReader<R>);

impl<R: Read> LinesOf<R> {
    pub(crate) fn new(output: Option<R>) -> Self {
        Self(BufReader::new(output.expect("it is piped")))
    }

    /// The next line; empty at the end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line
    }

    /// The first line with this in it. Whatever does not come is a failure.
    #[track_caller]
    pub(crate) fn until(&mut self, part: &str) -> String {
        let mut seen = String::new();
        loop {
            let line = self.line();
            assert!(!line.is_empty(), "{part:?} is not in {seen}");
            if line.contains(part) {
                return line;
            }
            seen += &line;
        }
    }
}

pub(crate) fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Checks the exit status; a failure shows both outputs.
#[track_caller]
pub(crate) fn status(output: &Output, expected: i32) {
    assert_eq!(output.status.code(), Some(expected), "stdout: {}\nstderr: {}", out(output), err(output));
}

/// Waits for something in the lab's transcript.
#[track_caller]
pub(crate) fn seen(lab: &Lab, wanted: impl FnMut(&Entry) -> bool) {
    assert!(lab.wait_for(wanted, CEILING).is_some(), "{:?}", lab.transcript());
}

/// Checks that the client said goodbye on a connection.
#[track_caller]
pub(crate) fn said_goodbye(lab: &Lab, connection: usize) {
    seen(lab, |entry| {
        entry.connection == connection && matches!(entry.what, What::Received(Received::Close(_)))
    });
}

/// A file of a test, with this content.
pub(crate) fn file(name: &str, text: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// The next event that is not about connecting.
#[track_caller]
pub(crate) fn next(feed: &Feed) -> Event {
    loop {
        match feed.recv_timeout(CEILING).unwrap() {
            Event::Connecting(_) | Event::Connected(_) | Event::Gap(_) | Event::Subscribed(_) => {}
            event => return event,
        }
    }
}

/// The next message, as text.
#[track_caller]
pub(crate) fn text(feed: &Feed) -> String {
    match next(feed) {
        Event::Message(message) => message.text().unwrap().to_owned(),
        other => panic!("no message: {other:?}"),
    }
}
