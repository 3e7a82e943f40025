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

/// Names, and where their values are.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Wanted(Vec<(Arc<str>, Pointer)>);

impl Wanted {
    /// What was configured. A pointer that is none finds nothing.
    pub(in crate::dialect) fn new(captures: &BTreeMap<String, String>) -> Self {
        let parsed = captures.iter().filter_map(|(name, pointer)| {
            Pointer::parse(pointer).ok().map(|pointer| (Arc::from(name.as_str()), pointer))
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
        let found = self.0.iter().filter_map(|(name, pointer)| {
            let mut value = None;
            scan::values(json, pointer, &mut |raw| {
                value = (raw.len() <= MAX_BYTES).then(|| serde_json::from_slice(&raw).ok()).flatten();
                false
            });
            value.map(|value| (Arc::clone(name), value))
        });
        found.collect()
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
