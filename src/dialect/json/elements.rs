//! Takes a JSON array apart without building a tree.

use std::ops::Range;

/// Containers nested deeper than this are not looked into.
const MAX_DEPTH: u32 = u128::BITS;

/// Calls `found` with where each element of a JSON array is. `None`: it is no array, malformed (as far as brackets,
/// commas and strings go), nested too deeply, or `found` said stop; some elements may have been found until then.
pub(in crate::dialect) fn each(json: &[u8], mut found: impl FnMut(Range<usize>) -> bool) -> Option<()> {
    let mut at = space(json, 0);
    if *json.get(at)? != b'[' {
        return None;
    }
    at = space(json, at + 1);
    if *json.get(at)? == b']' {
        return (space(json, at + 1) == json.len()).then_some(());
    }
    loop {
        let start = space(json, at);
        let end = value_end(json, start)?;
        if !found(start..end) {
            return None;
        }
        at = space(json, end);
        match json.get(at)? {
            b',' => at += 1,
            b']' => return (space(json, at + 1) == json.len()).then_some(()),
            _ => return None,
        }
    }
}

/// The raw text of the last element of a JSON array, if it has one.
///
/// A number at the end is found from there: the closing bracket is not part of a string, so neither is what stands
/// before it. The elements in front of it are then not looked at.
pub(in crate::dialect) fn last(json: &[u8]) -> Option<&[u8]> {
    let start = space(json, 0);
    let array = json.get(start..)?.trim_ascii_end();
    let inside = array.strip_prefix(b"[")?.strip_suffix(b"]")?.trim_ascii_end();
    let word = inside.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let (before, word) = inside.split_at(inside.len() - word);
    if !word.is_empty() && matches!(before.trim_ascii_end().last(), None | Some(b',')) {
        return Some(word);
    }
    let mut range = None;
    each(json, |element| {
        range = Some(element);
        true
    })?;
    json.get(range?)
}

fn space(json: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\n' | b'\r' | b'\t') = json.get(at) {
        at += 1;
    }
    at
}

/// Where the value that starts at `at` ends.
fn value_end(json: &[u8], mut at: usize) -> Option<usize> {
    match json.get(at)? {
        b'"' => string_end(json, at + 1),
        b'{' | b'[' => container_end(json, at),
        b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
            // It must be followed by something, for else it may be cut.
            while !matches!(json.get(at)?, b',' | b']' | b'}' | b' ' | b'\n' | b'\r' | b'\t') {
                at += 1;
            }
            Some(at)
        }
        _ => None,
    }
}

fn container_end(json: &[u8], mut at: usize) -> Option<usize> {
    // One bit for each open bracket, the innermost lowest: 1 for an object, 0 for an array.
    let mut open = 0_u128;
    let mut depth = 0;
    loop {
        let byte = *json.get(at)?;
        at += 1;
        match byte {
            b'"' => at = string_end(json, at)?,
            b'{' | b'[' => {
                if depth == MAX_DEPTH {
                    return None;
                }
                open = open << 1 | u128::from(byte == b'{');
                depth += 1;
            }
            b'}' | b']' => {
                if (open & 1 == 1) != (byte == b'}') {
                    return None;
                }
                open >>= 1;
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
}

/// Where the string ends whose text starts at `at`: behind its closing quote.
fn string_end(json: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match json.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn elements(json: &str) -> Option<Vec<&str>> {
        let mut all = Vec::new();
        each(json.as_bytes(), |range| {
            all.push(&json[range]);
            true
        })?;
        Some(all)
    }

    #[test]
    fn takes_arrays_apart() {
        for (json, expected) in [
            ("[]", Some(&[][..])),
            (" [ ] ", Some(&[])),
            ("[1]", Some(&["1"])),
            (
                "[ 1 , \"a,b\" ,{\"a\":[1,2]},[],null ]\n",
                Some(&["1", "\"a,b\"", "{\"a\":[1,2]}", "[]", "null"]),
            ),
            (r#"["\"],[",2]"#, Some(&[r#""\"],[""#, "2"])),
            (r#"["\\",2]"#, Some(&[r#""\\""#, "2"])),
            ("", None),
            ("1", None),
            ("{}", None),
            ("[", None),
            ("[1", None),
            ("[1,", None),
            ("[1,]", None),
            ("[,1]", None),
            ("[1,,2]", None),
            ("[1 2]", None),
            ("[1]]", None),
            ("[1] x", None),
            ("[\"]", None),
            ("[\"\\", None),
            ("[{]}]", None),
            ("[1}", None),
            ("[x]", None),
        ] {
            assert_eq!(elements(json).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn stops_when_told() {
        let mut seen = 0;
        let stopped = each(b"[1,2,3]", |_| {
            seen += 1;
            seen < 2
        });
        assert_eq!((stopped, seen), (None, 2));
    }

    #[test]
    fn depth_is_bounded() {
        let nested = |depth: usize| format!("[{}{}]", "[".repeat(depth), "]".repeat(depth));
        assert!(elements(&nested(128)).is_some());
        assert!(elements(&nested(129)).is_none());
        assert!(elements(&"[".repeat(1_000_000)).is_none());
    }

    #[test]
    fn finds_the_last() {
        for (json, expected) in [
            ("[1,22]", Some("22")),
            ("[22]", Some("22")),
            ("[ 22 ]", Some("22")),
            ("[\"a\", 22]", Some("22")),
            ("[1,-22]", Some("-22")),
            ("[1,2.5]", Some("2.5")),
            ("[1,\"22\"]", Some("\"22\"")),
            ("[1,{\"a\":22}]", Some("{\"a\":22}")),
            ("[\",22]\",true]", Some("true")),
            ("[]", None),
            ("22]", None),
            ("[1,22", None),
            ("[1}22]", None),
        ] {
            let found = last(json.as_bytes()).map(|raw| std::str::from_utf8(raw).unwrap());
            assert_eq!(found, expected, "{json}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(json in "[\\[\\]{},\"\\\\0-9a-z \\-.]{0,60}") {
            let _ = elements(&json);
            let _ = last(json.as_bytes());
        }

        #[test]
        fn agrees_with_a_parser(values in prop::collection::vec(value(), 0..8), pretty: bool) {
            let array = Value::Array(values.clone());
            let json =
                if pretty { serde_json::to_string_pretty(&array) } else { serde_json::to_string(&array) }.unwrap();
            let found: Vec<Value> =
                elements(&json).unwrap().iter().map(|raw| serde_json::from_str(raw).unwrap()).collect();
            prop_assert_eq!(&found, &values);
            let last: Option<Value> = last(json.as_bytes()).map(|raw| serde_json::from_slice(raw).unwrap());
            prop_assert_eq!(last.as_ref(), values.last());
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::from),
            any::<bool>().prop_map(Value::from),
            "[a-z\\[\\]{},\"\\\\ ]{0,8}".prop_map(Value::from),
            Just(Value::Null),
        ];
        leaf.prop_recursive(3, 12, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[a-z\"]{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }
}
