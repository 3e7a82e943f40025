//! A duration that only the server may know: `"15s"`, or `"${ping_interval}ms"` with what it told at the login.

use crate::dialect::template::placeholder::{self, Vars};
use crate::duration;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A duration, or the text of one with placeholders for what was captured on this connection.
///
/// In JSON both are texts: `"15s"`, `"${ping_interval}ms"`, `"${activity_timeout|120}s"`. What comes out must be from
/// 1 ms to 365 days.
///
/// ```
/// use livefeed::Interval;
/// use std::time::Duration;
///
/// let fixed = Interval::from(Duration::from_secs(15));
/// let told = Interval::text("${ping_interval}ms");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Interval {
    /// This long.
    Fixed(Duration),
    /// As long as this text says when its placeholders are filled in.
    Text(String),
}

const SHORTEST: Duration = Duration::from_millis(1);
/// What comes out as no time at all counts as this long, where something is done again and again.
const LEAST_PERIOD: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Interval {
    /// A text with placeholders.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// The duration, with what is known on this connection. The error says what is wrong.
    pub(crate) fn render(&self, vars: &dyn Vars) -> Result<Duration, String> {
        in_range(self.filled_in(vars, duration::parse)?)
    }

    /// The same for something that is done again and again: what comes out as zero or less is a second.
    pub(crate) fn render_period(&self, vars: &dyn Vars) -> Result<Duration, String> {
        let parse = |text: &str| match text.strip_prefix('-') {
            Some(rest) => duration::parse(rest).map(|_| Duration::ZERO),
            None => duration::parse(text),
        };
        let period = self.filled_in(vars, parse)?;
        if period.is_zero() { Ok(LEAST_PERIOD) } else { in_range(period) }
    }

    fn filled_in(
        &self,
        vars: &dyn Vars,
        parse: impl Fn(&str) -> Option<Duration>,
    ) -> Result<Duration, String> {
        match self {
            Self::Fixed(duration) => Ok(*duration),
            Self::Text(text) => {
                let text = placeholder::text(text, vars).map_err(|missing| missing.to_string())?;
                parse(text.trim()).ok_or_else(|| "it is no duration such as \"15s\"".to_owned())
            }
        }
    }

    /// Calls `found` with the name of each placeholder, and whether it has a default.
    pub(crate) fn each_name<'a>(&'a self, found: &mut dyn FnMut(&'a str, bool)) {
        if let Self::Text(text) = self {
            placeholder::each_name(text, found);
        }
    }
}

fn in_range(duration: Duration) -> Result<Duration, String> {
    if (SHORTEST..=LONGEST).contains(&duration) {
        return Ok(duration);
    }
    Err("it must be from 1ms to 365days".to_owned())
}

impl From<Duration> for Interval {
    fn from(duration: Duration) -> Self {
        Self::Fixed(duration)
    }
}

impl Serialize for Interval {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Fixed(duration) => serializer.collect_str(&humantime::format_duration(*duration)),
            Self::Text(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = Interval;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"15s\", or one with placeholders such as \"${interval}ms\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Interval, E> {
                if !placeholder::is_plain(text) {
                    return Ok(Interval::Text(text.to_owned()));
                }
                duration::parse(text)
                    .map(Interval::Fixed)
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn what_the_server_told_is_filled_in() {
        let vars = |name: &str| match name {
            "ms" => Some(json!(18000)),
            "word" => Some(json!("soon")),
            "zero" => Some(json!(0)),
            _ => None::<Value>,
        };
        let secs = Duration::from_secs;
        for (data, expected) in [
            ("15s", Some(secs(15))),
            ("${ms}ms", Some(secs(18))),
            ("${none|120}s", Some(secs(120))),
            ("${none}s", None),
            ("${word}s", None),
            ("${zero}s", None),
        ] {
            let interval: Interval = serde_json::from_value(json!(data)).unwrap();
            assert_eq!(interval.render(&vars).ok(), expected, "{data}");
            assert_eq!(serde_json::to_value(&interval).unwrap(), json!(data));
        }
        assert!(Interval::from(secs(1 << 40)).render(&vars).is_err());
        for (data, expected) in [
            ("${ms - 17000}ms", Some(secs(1))),
            ("${ms - 18000}ms", Some(secs(1))),
            ("${ms - 99000}ms", Some(secs(1))),
            ("${ms - 17999}ms", Some(Duration::from_millis(1))),
            ("${zero}s", Some(secs(1))),
            ("-${word}", None),
            ("${ms - 99000}0000", None),
        ] {
            assert_eq!(Interval::text(data).render_period(&vars).ok(), expected, "{data}");
        }
        for wrong in [json!("soon"), json!(5), json!(null), json!("5")] {
            assert!(serde_json::from_value::<Interval>(wrong).is_err());
        }
    }
}
