//! Clocks and durations: the only place of the program that reads clocks.

use std::time::{Duration, Instant, SystemTime};

/// Reads the monotonic clock.
#[allow(clippy::disallowed_methods, reason = "the one home of clock readings in the program")]
pub(crate) fn mono() -> Instant {
    Instant::now()
}

/// Reads the wall clock, as people want to see it.
pub(crate) fn now() -> String {
    rfc3339(wall())
}

/// In UTC, to a millisecond. What lies outside the years 1970 to 9999, which are all that the formatter knows, is shown at
/// the nearer end: clocks may be set to anything.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since.min(LAST)).to_string()
}

/// Reads the wall clock.
#[allow(clippy::disallowed_methods, reason = "the one home of clock readings in the program")]
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}

/// Reads a duration from the command line: `500ms`, `2s`, `1m30s`.
///
/// Not `5M`: those would be months, and are mostly meant to be minutes.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(_) if text.contains('M') => Err("write m for minutes, such as 5m".to_owned()),
        Ok(duration) => Ok(duration),
        Err(_) => Err("write a duration such as 500ms, 2s or 1m30s".to_owned()),
    }
}

/// Reads the time between two things, which is not zero.
pub(crate) fn interval(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than that".to_owned()),
        some => Ok(some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_clock_can_be_shown() {
        let epoch = SystemTime::UNIX_EPOCH;
        for (time, shown) in [
            (epoch + Duration::from_millis(1_500), "1970-01-01T00:00:01.500Z"),
            (epoch - Duration::from_secs(1), "1970-01-01T00:00:00.000Z"),
            (epoch + Duration::from_secs(300_000_000_000), "9999-12-31T23:59:59.000Z"),
        ] {
            assert_eq!(rfc3339(time), shown);
        }
    }

    #[test]
    fn durations_have_units() {
        for (text, millis) in
            [("500ms", 500), ("2s", 2_000), ("1m30s", 90_000), ("1m 30s", 90_000), ("0s", 0)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)), "{text}");
        }
        for (text, part) in [
            ("", "such as"),
            ("2", "such as"),
            ("-2s", "such as"),
            ("2 parsecs", "such as"),
            ("99999999999999999999s", "such as"),
            ("5M", "m for minutes"),
        ] {
            assert!(duration(text).unwrap_err().contains(part), "{text}");
        }
    }
}
