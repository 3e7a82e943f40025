//! What is said on standard error: how much, and the log.

use crate::exit::say;
use crate::{plain, sentences, time};
use livefeed::Event;
use std::io::Write;

/// How much is said on standard error.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(crate) struct Talk {
    /// Say more on standard error: -v each event, -vv and -vvv the log too
    #[arg(short, long, action = clap::ArgAction::Count, help_heading = "Output")]
    verbose: u8,
    /// Say nothing on standard error but why it failed
    #[arg(short, long, conflicts_with = "verbose", help_heading = "Output")]
    quiet: bool,
}

impl Talk {
    /// Begins to log to standard error: what `RUST_LOG` asks for, else livefeed's own records from `-vv` on. To be called
    /// once.
    pub(crate) fn start_log(self) {
        let level = match self.verbose {
            0 | 1 => "off",
            2 => "livefeed=info",
            _ => "livefeed=debug",
        };
        let env = env_logger::Env::default().default_filter_or(level);
        let _ = env_logger::Builder::from_env(env)
            .format(|out, record| {
                let text =
                    format!("{} {:5} {}: {}", time::now(), record.level(), record.target(), record.args());
                writeln!(out, "{}", plain::line(&text))
            })
            .try_init(); // fails only if there is one
    }

    /// Whether `-v` was given.
    pub(crate) fn is_verbose(self) -> bool {
        self.verbose > 0
    }

    /// Whether `-q` was given.
    pub(crate) fn is_quiet(self) -> bool {
        self.quiet
    }

    /// What is to be said about an event, if anything. Of events that are told elsewhere as well, nothing unless it was
    /// asked for.
    pub(crate) fn about(self, event: &Event, told_elsewhere: bool) -> Option<String> {
        if self.wants(event, told_elsewhere) { sentences::of(event, None) } else { None }
    }

    /// Whether something is to be said about an event, in the same way.
    pub(crate) fn wants(self, event: &Event, told_elsewhere: bool) -> bool {
        let is_in_log = self.verbose > 1
            && matches!(event, Event::Connected(_) | Event::Closed(_))
            && std::env::var_os("RUST_LOG").is_none();
        let is_important = !told_elsewhere && sentences::is_important(event);
        !self.quiet && !is_in_log && (self.is_verbose() || is_important)
    }
}

/// Says something on standard error, with the time.
pub(crate) fn note(text: &str) {
    say(&format!("{} {text}", time::now()));
}
