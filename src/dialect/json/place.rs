//! A place in a message: a JSON pointer that may also name the last element of an array.

use crate::dialect::json::elements;
use crate::dialect::json::pointer::Pointer;
use crate::dialect::json::scan;
use std::borrow::Cow;

/// A pointer (RFC 6901) in which one token may be `-1`, the last element of an array.
///
/// Where there are several `-1`, the others are names of members.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    Field(Pointer),
    /// From the last element of the array at `array` (`None`: the message) to the field `rest` in it (`None`: itself).
    Last {
        array: Option<Pointer>,
        rest: Option<Pointer>,
    },
}

impl Place {
    /// Takes a pointer apart; the error says what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty, which means the whole message: name a field, such as \"/seq\"".into());
        }
        // Whatever is wrong is said of the whole.
        let whole = Pointer::parse(text)?;
        let Some(at) = text.split('/').scan(0, next_start).find(|(_, token)| *token == "-1") else {
            return Ok(Self::Field(whole));
        };
        let part = |part: &str| if part.is_empty() { Ok(None) } else { Pointer::parse(part).map(Some) };
        Ok(Self::Last { array: part(&text[..at.0 - 1])?, rest: part(&text[at.0 + 2..])? })
    }

    /// Whether it may name several values.
    pub(in crate::dialect) fn is_wild(&self) -> bool {
        match self {
            Self::Field(pointer) => pointer.is_wild(),
            Self::Last { array, rest } => array.iter().chain(rest).any(Pointer::is_wild),
        }
    }

    /// The raw text of the value that is there; of several, the first.
    pub(in crate::dialect) fn read<'a>(&self, json: &'a [u8]) -> Option<Cow<'a, [u8]>> {
        let (array, rest) = match self {
            Self::Field(pointer) => return first(json, pointer),
            Self::Last { array, rest } => (array, rest),
        };
        match array {
            None => last(json, rest.as_ref()),
            Some(array) => match first(json, array)? {
                Cow::Borrowed(array) => last(array, rest.as_ref()),
                Cow::Owned(array) => last(&array, rest.as_ref()).map(|raw| Cow::Owned(raw.into_owned())),
            },
        }
    }

    /// Calls `found` with the raw text of each value that is there, in their order.
    pub(in crate::dialect) fn each(&self, json: &[u8], found: &mut dyn FnMut(&[u8])) {
        let (array, rest) = match self {
            Self::Field(pointer) => return all(json, pointer, found),
            Self::Last { array, rest } => (array, rest),
        };
        let mut in_last = |array: &[u8]| match (elements::last(array), rest) {
            (None, _) => {}
            (Some(last), None) => found(last),
            (Some(last), Some(rest)) => all(last, rest, found),
        };
        match array {
            None => in_last(json),
            Some(array) => all(json, array, &mut in_last),
        }
    }
}

fn all(json: &[u8], pointer: &Pointer, found: &mut dyn FnMut(&[u8])) {
    scan::values(json, pointer, &mut |raw| {
        found(&raw);
        true
    });
}

/// From an array to the place in its last element.
fn last<'a>(array: &'a [u8], rest: Option<&Pointer>) -> Option<Cow<'a, [u8]>> {
    let last = elements::last(array)?;
    match rest {
        Some(pointer) => first(last, pointer),
        None => Some(Cow::Borrowed(last)),
    }
}

fn first<'a>(json: &'a [u8], pointer: &Pointer) -> Option<Cow<'a, [u8]>> {
    let mut first = None;
    scan::values(json, pointer, &mut |raw| {
        first = Some(raw);
        false
    });
    first
}

/// Each token with where it starts.
fn next_start<'a>(at: &mut usize, token: &'a str) -> Option<(usize, &'a str)> {
    let start = *at;
    *at += token.len() + 1;
    Some((start, token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(pointer: &str, json: &str) -> Option<String> {
        let place = Place::parse(pointer).unwrap();
        place.read(json.as_bytes()).map(|raw| String::from_utf8(raw.into_owned()).unwrap())
    }

    #[test]
    fn finds_fields_and_last_elements() {
        for (pointer, json, expected) in [
            ("/a", r#"{"a":1}"#, Some("1")),
            ("/a/0", r#"{"a":[5,6]}"#, Some("5")),
            ("/-1", "[1,2,3]", Some("3")),
            ("/-1", " [1, [2], 3 ] ", Some("3")),
            ("/-1", "[1]", Some("1")),
            ("/-1", "[]", None),
            ("/-1", r#"{"-1":7}"#, None),
            ("/a/-1", r#"{"a":[5,6],"b":[1]}"#, Some("6")),
            ("/a/-1/s", r#"{"a":[{"s":1},{"s":2}]}"#, Some("2")),
            ("/-1/s", r#"[{"s":1},{"s":2}]"#, Some("2")),
            ("/-1/-1", r#"[{"-1":2}]"#, Some("2")),
            ("/a-1", r#"{"a-1":4}"#, Some("4")),
            ("/-10", r#"{"-10":4}"#, Some("4")),
            ("/-1", "pong", None),
        ] {
            assert_eq!(at(pointer, json).as_deref(), expected, "{pointer} in {json}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for text in ["", "a", "-1", "/-1/~5", "/~5/-1"] {
            assert!(Place::parse(text).is_err(), "{text}");
        }
    }
}
