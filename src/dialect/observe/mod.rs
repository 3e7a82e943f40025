//! What data says of its own age, and whether it says anything new: the rules, as the application writes them.

pub(in crate::dialect) mod observer;
mod time;

use crate::dialect::json::place::Place;
use crate::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Where data says when it was made, and how old it may be.
///
/// Data that comes late is delivered like any other, and is data. But it is not timely: when late data has come, and
/// nothing timely for as long as `after` since the first of it, the subscription is stale with the cause
/// [`Late`](crate::StaleCause::Late). So a snapshot with old times does no harm if timely data follows, and data that
/// does not come is not late: that is for `stale_after` to say. In hours in which data may stay away for longer
/// (`by_hours`), it may be late for as long.
///
/// The lag is the clock here when the data was received, less the time that it carries. If data comes from the future,
/// the server's clock is ahead, by at least so much: the most of it since the subscribe message is taken for the skew of
/// that clock, and added on to each lag. A clock that is behind looks like a delay, and no one can tell them apart from
/// here: if the server's is, make `limit` larger. When the clock here is set, the skew is found anew. Both figures are
/// in the health, `lag_seconds` and `skew_seconds`.
///
/// Data that has no time there, none that can be read, or one from further in the future than `max_skew`, is not
/// timely either: a rule that looks for the wrong field, or in the wrong unit, makes the subscription stale, and is not
/// met in silence. In the health the lag is then missing, or it shows the mistake: decades if milliseconds were meant,
/// centuries below zero if seconds were.
///
/// In data (JSON, TOML): `{"pointer": "/ts", "unit": "ms", "limit": "5s"}`. It costs one scan of each message, of about
/// 1 ns for each byte in front of the field, and all of the message if the pointer has a `*`.
///
/// ```
/// use livefeed::{LagRule, Subscription, TimeUnit};
/// use std::time::Duration;
///
/// let rule = LagRule::new("/data/*/ts", TimeUnit::Millis, Duration::from_secs(5));
/// let same = serde_json::from_str(r#"{"pointer": "/data/*/ts", "unit": "ms", "limit": "5s"}"#).unwrap();
/// assert_eq!(rule, same);
/// let trades = Subscription::new("trades").lag(rule.after(Duration::from_secs(30)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LagRule {
    /// Where the time is, as a JSON pointer (RFC 6901). With `*` the newest of all counts; `-1` is the last element of
    /// an array.
    pub pointer: String,
    /// What it is counted in, or how it is written.
    pub unit: TimeUnit,
    /// How old data may be when it is received. From 1 ms to 365 days.
    #[serde(with = "duration")]
    pub limit: Duration,
    /// How long nothing but late data may come. From 1 ms to 365 days. Default: `stale_after` of the subscription.
    #[serde(with = "duration::option", default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Duration>,
    /// How far the server's clock may be ahead of the clock here. A time that lies further ahead is none. From 1 ms to
    /// 365 days. Default: `60s`.
    #[serde(with = "duration", default = "max_skew", skip_serializing_if = "is_max_skew")]
    pub max_skew: Duration,
}

const MAX_SKEW: Duration = Duration::from_secs(60);

fn max_skew() -> Duration {
    MAX_SKEW
}

fn is_max_skew(value: &Duration) -> bool {
    *value == MAX_SKEW
}

/// What the time in a message is counted in since 1970 (UTC, without leap seconds), or how it is written.
///
/// A number may be written as a JSON number or as a string, with decimals or without. Times from the year 1677 to
/// 2262 are told apart, others are one of these two.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TimeUnit {
    /// Seconds. In JSON `"s"`.
    #[serde(rename = "s")]
    Seconds,
    /// Milliseconds. In JSON `"ms"`.
    #[serde(rename = "ms")]
    Millis,
    /// Microseconds. In JSON `"us"`.
    #[serde(rename = "us")]
    Micros,
    /// Nanoseconds. In JSON `"ns"`.
    #[serde(rename = "ns")]
    Nanos,
    /// A date and time of day such as `2026-11-21T10:00:00.5Z` (RFC 3339), with a space in place of the `T` or not, and
    /// an offset with a colon or not; without an offset it is UTC. In JSON `"rfc3339"`.
    #[serde(rename = "rfc3339")]
    Rfc3339,
}

impl LagRule {
    /// Data that carries its time there may be so old.
    pub fn new(pointer: impl Into<String>, unit: TimeUnit, limit: Duration) -> Self {
        Self { pointer: pointer.into(), unit, limit, after: None, max_skew: MAX_SKEW }
    }

    /// Sets how long nothing but late data may come.
    pub fn after(mut self, after: Duration) -> Self {
        self.after = Some(after);
        self
    }

    /// Sets how far the server's clock may be ahead.
    pub fn max_skew(mut self, max_skew: Duration) -> Self {
        self.max_skew = max_skew;
        self
    }

    /// Checks the pointer. The error names the field and says what would be right.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        check("pointer", &self.pointer)
    }
}

/// How long data may say the same again and again.
///
/// When data has come with the same value at the pointer as the data before it, and no other value for as long as
/// `after` since the first such, the subscription is stale with the cause [`Frozen`](crate::StaleCause::Frozen). Data
/// that does not come is not frozen. The value is compared as it is written, be it a number, a string, or a whole
/// object. It is remembered when the subscription is made again, and over connections: what then says the same as
/// before is not new, and no repair has helped. In hours in which data may stay away for longer (`by_hours`), it may
/// say the same for as long.
///
/// Data that has no value there says nothing new either, so that a rule that looks for the wrong field makes the
/// subscription stale, and is not met in silence. A sign of life that is no data (a `keepalive`, or a number repeated
/// as the `sequence` rule expects) is not looked at.
///
/// In data (JSON, TOML): `{"pointer": "/price", "after": "5m"}`. It costs one scan of each message, of about 1 ns for
/// each byte in front of the field, and of the value.
///
/// ```
/// use livefeed::{FrozenRule, SequenceRule, Subscription};
/// use std::time::Duration;
///
/// let rule = FrozenRule::new(Duration::from_secs(300)).pointer("/price");
/// let same = serde_json::from_str(r#"{"pointer": "/price", "after": "5m"}"#).unwrap();
/// assert_eq!(rule, same);
/// // The number of the sequence is what has to move.
/// let book = Subscription::new("book")
///     .sequence(SequenceRule::contiguous("/seq"))
///     .frozen(FrozenRule::new(Duration::from_secs(60)));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct FrozenRule {
    /// Where the value is, as a JSON pointer (RFC 6901). With `*` it is all of them together; `-1` is the last element
    /// of an array. Default: the number of the subscription's `sequence`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// How long the value may stay the same. From 1 ms to 365 days.
    #[serde(with = "duration")]
    pub after: Duration,
}

impl FrozenRule {
    /// The number of the subscription's `sequence`, or, with a pointer, the value there, may stay the same for so long.
    pub fn new(after: Duration) -> Self {
        Self { pointer: None, after }
    }

    /// Sets where the value is.
    pub fn pointer(mut self, pointer: impl Into<String>) -> Self {
        self.pointer = Some(pointer.into());
        self
    }

    /// Checks the pointer. The error names the field and says what would be right.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        self.pointer.as_deref().map_or(Ok(()), |pointer| check("pointer", pointer))
    }
}

fn check(field: &str, pointer: &str) -> Result<(), (String, String)> {
    Place::parse(pointer).map(drop).map_err(|problem| (field.to_owned(), problem))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn data_forms_round_trip() {
        for (unit, name) in [
            (TimeUnit::Seconds, "s"),
            (TimeUnit::Millis, "ms"),
            (TimeUnit::Micros, "us"),
            (TimeUnit::Nanos, "ns"),
            (TimeUnit::Rfc3339, "rfc3339"),
        ] {
            let rule = LagRule::new("/t", unit, 5 * SECOND);
            let data = json!({"pointer": "/t", "unit": name, "limit": "5s"});
            assert_eq!(serde_json::to_value(&rule).unwrap(), data);
            assert_eq!(serde_json::from_value::<LagRule>(data).unwrap(), rule);
        }
        let rule = LagRule::new("/-1/t", TimeUnit::Millis, SECOND).after(2 * SECOND).max_skew(3 * SECOND);
        let data = json!({"pointer": "/-1/t", "unit": "ms", "limit": "1s", "after": "2s", "max_skew": "3s"});
        assert_eq!(serde_json::to_value(&rule).unwrap(), data);
        assert_eq!(serde_json::from_value::<LagRule>(data).unwrap(), rule);
        assert_eq!(rule.check(), Ok(()));

        for (rule, data) in [
            (FrozenRule::new(SECOND), json!({"after": "1s"})),
            (FrozenRule::new(SECOND).pointer("/a/*/-1"), json!({"pointer": "/a/*/-1", "after": "1s"})),
        ] {
            assert_eq!(serde_json::to_value(&rule).unwrap(), data);
            assert_eq!(serde_json::from_value::<FrozenRule>(data).unwrap(), rule);
            assert_eq!(rule.check(), Ok(()));
        }
    }

    #[test]
    fn wrong_data_is_refused() {
        for (data, part) in [
            (json!({"pointer": "/t", "unit": "ms"}), "missing field `limit`"),
            (json!({"pointer": "/t", "limit": "1s"}), "missing field `unit`"),
            (json!({"unit": "ms", "limit": "1s"}), "missing field `pointer`"),
            (json!({"pointer": "/t", "unit": "m", "limit": "1s"}), "unknown variant `m`"),
            (json!({"pointer": "/t", "unit": "ms", "limit": 5}), "a duration such as"),
            (json!({"pointer": "/t", "unit": "ms", "limit": "1s", "skew": "1s"}), "unknown field `skew`"),
        ] {
            let error = serde_json::from_value::<LagRule>(data.clone()).unwrap_err().to_string();
            assert!(error.contains(part), "{data}: {error}");
        }
        for (data, part) in [
            (json!({}), "missing field `after`"),
            (json!({"pointer": "/p"}), "missing field `after`"),
            (json!({"after": "none"}), "a duration such as"),
        ] {
            let error = serde_json::from_value::<FrozenRule>(data.clone()).unwrap_err().to_string();
            assert!(error.contains(part), "{data}: {error}");
        }
    }

    #[test]
    fn check_names_the_field() {
        for pointer in ["", "t", "/~7", "-1"] {
            let lag = LagRule::new(pointer, TimeUnit::Seconds, SECOND);
            assert_eq!(lag.check().unwrap_err().0, "pointer", "{pointer}");
            assert_eq!(FrozenRule::new(SECOND).pointer(pointer).check().unwrap_err().0, "pointer");
        }
    }
}
