//! Values that are taken out of a message, to be kept or to be shown.

use crate::dialect::json::place::Place;
use crate::dialect::json::pointer::Pointer;
use crate::dialect::json::scan;
use crate::dialect::template::Variables;
use crate::message::Payload;
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A captured value is at most this long, as JSON.
const MAX_BYTES: usize = 4096;

/// Of the server's own words at most this much is shown.
const MAX_DETAIL: usize = 200;

/// Values by name, as they were found.
pub(crate) type Found = Vec<(Arc<str>, Value)>;

/// Names, and the pointers at which nothing was found.
pub(crate) type Unfound = Vec<(Arc<str>, Arc<str>)>;

/// Names, and where their values are: the pointer as it was written, and taken apart.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Wanted(Vec<(Arc<str>, Arc<str>, Pointer)>);

impl Wanted {
    /// What was configured. A pointer that is none finds nothing.
    pub(in crate::dialect) fn new(captures: &BTreeMap<String, String>) -> Self {
        let parsed = captures.iter().filter_map(|(name, pointer)| {
            let parsed = Pointer::parse(pointer).ok()?;
            Some((Arc::from(name.as_str()), Arc::from(pointer.as_str()), parsed))
        });
        Self(parsed.collect())
    }

    pub(in crate::dialect) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The values that the message has.
    pub(in crate::dialect) fn find(&self, message: Payload<'_>) -> Found {
        let json = message.as_bytes();
        if self.is_empty() || !scan::is_container(json) {
            return Found::new();
        }
        let found = self.0.iter().filter_map(|(name, _, pointer)| {
            let mut value = None;
            scan::values(json, pointer, &mut |raw| {
                value = (raw.len() <= MAX_BYTES).then(|| serde_json::from_slice(&raw).ok()).flatten();
                false
            });
            value.map(|value| (Arc::clone(name), value))
        });
        found.collect()
    }

    /// What is not among that.
    pub(in crate::dialect) fn unfound(&self, found: &[(Arc<str>, Value)]) -> Unfound {
        if found.len() == self.0.len() {
            return Unfound::new();
        }
        let missing = self.0.iter().filter(|(name, ..)| !found.iter().any(|(it, _)| it == name));
        missing.map(|(name, pointer, _)| (Arc::clone(name), Arc::clone(pointer))).collect()
    }
}

/// Keeps what was found.
pub(in crate::dialect) fn keep(kept: &mut Arc<Variables>, found: &[(Arc<str>, Value)]) {
    if !found.is_empty() {
        let kept = Arc::make_mut(kept);
        kept.extend(found.iter().map(|(name, value)| (name.as_ref().to_owned(), value.clone())));
    }
}

/// How far the data has come, by a message of it. A value over 4 KiB is none.
pub(crate) fn cursor_at(message: Payload<'_>, place: &Place) -> Option<Value> {
    let json = message.as_bytes();
    let raw = if scan::is_container(json) { place.read(json)? } else { return None };
    if raw.len() <= MAX_BYTES { serde_json::from_slice(&raw).ok() } else { None }
}

/// The value that a message has at a pointer.
pub(crate) fn value_at(message: Payload<'_>, pointer: &Pointer) -> Option<Value> {
    let json = message.as_bytes();
    if scan::is_container(json) { scan::value(json, pointer) } else { None }
}

/// The number of a frame of ours: a number, or a text that is one.
pub(in crate::dialect) fn frame_number(payload: Payload<'_>, pointer: &Pointer) -> Option<u64> {
    /// From here on not every integer is a float.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    match value_at(payload, pointer)? {
        Value::Number(number) => number.as_u64().or_else(|| {
            let float =
                number.as_f64().filter(|float| (0.0..EXACT).contains(float) && float.fract() == 0.0)?;
            #[allow(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "it is a whole number within the range"
            )]
            Some(float as u64)
        }),
        Value::String(text) => {
            let is_plain =
                text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            if is_plain { text.parse().ok() } else { None }
        }
        _ => None,
    }
}

/// The server's own words: cut, and without control characters. The empty pointer is the whole message, JSON or not.
pub(in crate::dialect) fn detail(message: Payload<'_>, pointer: &Pointer) -> String {
    let words = match (value_at(message, pointer), message) {
        (Some(Value::String(text)), _) => text,
        (Some(value), _) => value.to_string(),
        (None, Payload::Text(text)) if pointer.is_whole() => text.chars().take(MAX_DETAIL * 2).collect(),
        (None, _) => return String::new(),
    };
    words.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect()
}
