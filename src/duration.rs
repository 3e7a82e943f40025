//! Durations as text in data: `500ms`, `2s`.

use serde::Serializer;
use serde::de::{self, Deserializer, Visitor};
use std::fmt;
use std::time::Duration;

/// Reads a duration such as `2s`. Not `5M`: those would be months, and are mostly meant to be minutes.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok().filter(|_| !text.contains('M'))
}

/// For `#[serde(with = "duration")]`.
pub(crate) fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(*value))
}

/// The other half of [`serialize`].
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    deserializer.deserialize_str(DurationVisitor)
}

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Duration;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"500ms\" or \"2s\"")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
        parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
    }
}

/// For `#[serde(with = "duration::option")]`, together with `default` and `skip_serializing_if`.
pub(crate) mod option {
    use crate::duration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};
    use std::time::Duration;

    #[derive(Serialize, Deserialize)]
    struct Text(#[serde(with = "duration")] Duration);

    pub(crate) fn serialize<S: Serializer>(
        value: &Option<Duration>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        value.map(Text).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Duration>, D::Error> {
        Option::deserialize(deserializer).map(|text| text.map(|Text(duration)| duration))
    }
}
