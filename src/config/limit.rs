//! Durations, and durations that may be missing, as text: `500ms`, `2s`, `none`.

pub(super) use crate::duration;
use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// A time limit, or none. In JSON `"60s"` or `"none"`.
///
/// ```
/// use livefeed::Limit;
/// use std::time::Duration;
///
/// assert_eq!(Limit::from(Duration::from_secs(60)).duration(), Some(Duration::from_secs(60)));
/// assert_eq!(Limit::None.duration(), None);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// After this long.
    After(Duration),
    /// Never.
    None,
}

impl Limit {
    /// The duration, if there is a limit.
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::After(duration) => Some(duration),
            Self::None => None,
        }
    }
}

impl From<Duration> for Limit {
    fn from(duration: Duration) -> Self {
        Self::After(duration)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::After(duration) => humantime::format_duration(*duration).fmt(f),
            Self::None => f.write_str("none"),
        }
    }
}

impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(LimitVisitor)
    }
}

struct LimitVisitor;

impl Visitor<'_> for LimitVisitor {
    type Value = Limit;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"500ms\" or \"60s\", or \"none\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
        if text == "none" {
            return Ok(Limit::None);
        }
        duration::parse(text)
            .map(Limit::After)
            .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}
