//! Clocks and durations: the only place of the program that reads clocks.

use std::time::{Duration, Instant, SystemTime};

/// Reads the monotonic clock.
#[allow(clippy::disallowed_methods, reason = "the one home of clock readings in the program")]
pub(crate) fn mono() -> Instant {
    Instant::now()
}

/// Reads the wall clock, as people want to see it.
#[allow(clippy::disallowed_methods, reason = "the one home of clock readings in the program")]
pub(crate) fn now() -> impl std::fmt::Display {
    humantime::format_rfc3339_millis(SystemTime::now())
}

/// Reads the wall clock.
#[allow(clippy::disallowed_methods, reason = "the one home of clock readings in the program")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Reads a duration from the command line: `500ms`, `2s`, `1m30s`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|_| "write a duration such as 500ms, 2s or 1m30s".to_owned())
}

/// Reads the time between two things, which is not zero.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than that".to_owned()),
        some => Ok(some),
    }
}
