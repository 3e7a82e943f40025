//! What is done after an end that the server gave a reason for: by close code, by HTTP status, by its words.

use crate::policy::verdict::Decision;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// What is done when a connection or an attempt ended in a certain way. One of `ends`; the first that fits counts.
///
/// It fits if each condition that is given does: the close code is in `codes` or the HTTP status in `statuses`,
/// and the reason contains the text.
///
/// ```
/// use livefeed::{Decision, EndRule};
///
/// let rules = [
///     EndRule::codes(4000..=4099, Decision::Fatal),
///     EndRule::statuses(429..=429, Decision::RetrySlowly),
///     EndRule::reason_contains("maintenance", Decision::RetrySlowly),
/// ];
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct EndRule {
    /// The codes of the server's Close frame (RFC 6455 section 7.4), from 1000 to 4999. 1005 stands for a Close frame
    /// without a code, 1006 for an end without a Close frame. In JSON numbers, or texts such as `"4000-4099"`.
    /// Default: `[]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub codes: Vec<CodeRange>,
    /// The HTTP statuses of a refused upgrade, from 100 to 599, in the same form. They come before
    /// `reconnect.fatal_statuses`. Default: `[]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<CodeRange>,
    /// A text within the reason of the Close frame, or within the body of the refusal. Default: `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason_contains: Option<String>,
    /// What is done then.
    pub then: Decision,
}

impl EndRule {
    /// For a connection that the server closed with one of these codes.
    pub fn codes(codes: impl Into<CodeRange>, then: Decision) -> Self {
        Self { codes: vec![codes.into()], ..Self::new(then) }
    }

    /// For an upgrade refused with one of these HTTP statuses.
    pub fn statuses(statuses: impl Into<CodeRange>, then: Decision) -> Self {
        Self { statuses: vec![statuses.into()], ..Self::new(then) }
    }

    /// For an end whose reason contains this text.
    pub fn reason_contains(text: impl Into<String>, then: Decision) -> Self {
        Self { reason_contains: Some(text.into()), ..Self::new(then) }
    }

    fn new(then: Decision) -> Self {
        Self { codes: Vec::new(), statuses: Vec::new(), reason_contains: None, then }
    }
}

/// A code, or all from the first to the last. In JSON `1008` or `"4000-4099"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct CodeRange {
    /// The first.
    pub first: u16,
    /// The last; it belongs to them.
    pub last: u16,
}

impl From<u16> for CodeRange {
    fn from(code: u16) -> Self {
        Self { first: code, last: code }
    }
}

impl From<std::ops::RangeInclusive<u16>> for CodeRange {
    fn from(range: std::ops::RangeInclusive<u16>) -> Self {
        Self { first: *range.start(), last: *range.end() }
    }
}

impl Serialize for CodeRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.first == self.last {
            return serializer.serialize_u16(self.first);
        }
        serializer.collect_str(&format_args!("{}-{}", self.first, self.last))
    }
}

impl<'de> Deserialize<'de> for CodeRange {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = CodeRange;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number such as 1008, or a text such as \"4000-4099\"")
            }

            fn visit_u64<E: de::Error>(self, code: u64) -> Result<CodeRange, E> {
                let unexpected = de::Unexpected::Unsigned(code);
                u16::try_from(code).map(CodeRange::from).map_err(|_| E::invalid_value(unexpected, &self))
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<CodeRange, E> {
                let number = |text: &str| text.trim().parse::<u16>().ok();
                text.split_once('-')
                    .and_then(|(first, last)| Some(CodeRange { first: number(first)?, last: number(last)? }))
                    .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(Visitor)
    }
}
