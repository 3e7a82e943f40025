//! A program that runs until it is told to end, and what it says meanwhile.

use crate::common::{CEILING, livefeed, signal};
use std::io::{BufRead, BufReader};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// A running program; killed when it is dropped.
pub(crate) struct Running {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = livefeed(args);
        let mut child = command.stdout(Stdio::null()).spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).for_each(|line| drop(sender.send(line)));
        });
        Self { child, lines, said: Vec::new() }
    }

    /// Waits for a line on standard error with this in it, and returns what stands behind it.
    #[track_caller]
    pub(crate) fn says(&mut self, what: &str) -> String {
        let deadline = Instant::now() + CEILING;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("{what:?} was not said; it said: {:#?}", self.said)
            };
            let found = line.split_once(what).map(|(_, rest)| rest.to_owned());
            self.said.push(line);
            if let Some(rest) = found {
                return rest;
            }
        }
    }

    /// All that was said on standard error, once it has ended.
    pub(crate) fn said(mut self) -> String {
        self.said.extend(self.lines.iter());
        self.said.join("\n")
    }

    /// SIGTERM.
    #[cfg(unix)]
    pub(crate) fn terminate(&self) {
        signal(self.child.id(), "TERM");
    }

    /// Any signal, by its name.
    #[cfg(unix)]
    pub(crate) fn signal(&self, name: &str) {
        signal(self.child.id(), name);
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn ends(&mut self) -> ExitStatus {
        let deadline = Instant::now() + CEILING;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < deadline, "it does not end; it said: {:#?}", self.said);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
