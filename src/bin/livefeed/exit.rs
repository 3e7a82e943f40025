//! How commands end: the exit status, and the last word on standard error.

use crate::plain;
use livefeed::crossbeam_channel::bounded;
use std::fmt;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

/// So long the last word may take.
const LAST_WORD: Duration = Duration::from_secs(1);

/// What a command returns: it ended as asked, or why it did not.
pub(crate) type Outcome = Result<(), Failure>;

/// Why a command did not end as asked. The text says what to do.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments or the configuration are wrong. Status 2.
    Usage(String),
    /// It was stale, refused or given up, or a file could not be written. Status 1.
    Failed(String),
}

impl Failure {
    /// Status 2.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::Usage(text.into())
    }

    /// Status 1.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }

    /// A feed or monitor could not be opened.
    pub(crate) fn of(error: &livefeed::Error) -> Self {
        match error {
            livefeed::Error::Config { path, problem } if path == "url" => {
                Self::Usage(format!("the URL {problem}"))
            }
            livefeed::Error::Config { path, problem } => Self::Usage(format!("{path}: {problem}")),
            error => Self::Failed(error.to_string()),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Failed(text) => f.write_str(text),
        }
    }
}

/// Says why, if it did not end as asked, and makes the exit status.
pub(crate) fn status(outcome: Outcome) -> ExitCode {
    let Err(failure) = outcome else { return ExitCode::SUCCESS };
    last_word(plain::text(&format!("livefeed: {failure}\n")).into_owned());
    match failure {
        Failure::Usage(_) => ExitCode::from(2),
        Failure::Failed(_) => ExitCode::FAILURE,
    }
}

/// Writes to standard error, which may be a pipe that is full and that nobody empties: the end does not wait for that.
pub(crate) fn last_word(text: String) {
    let (sender, said) = bounded::<()>(0);
    let write = move || {
        let _ = io::stderr().write_all(text.as_bytes());
        drop(sender);
    };
    if std::thread::Builder::new().name("livefeed-say".to_owned()).spawn(write).is_ok() {
        let _ = said.recv_timeout(LAST_WORD);
    }
}

/// Writes a line to standard error, in one go. Unlike `eprintln!` it does not panic if nobody reads there.
pub(crate) fn say(line: &str) {
    let _ = io::stderr().write_all(format!("{}\n", plain::line(line)).as_bytes());
}
