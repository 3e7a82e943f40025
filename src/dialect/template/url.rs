//! The placeholders of a URL, which is filled in for each attempt.
//!
//! They stand behind the host: where an attempt goes to is not the server's to say. Values are percent-encoded (RFC 3986
//! section 2.1), and a parameter of the query whose value comes out empty is left out.

use super::is_built_in;
use super::placeholder::{self, MissingVar, Vars};
use serde_json::Value;
use std::fmt::Write as _;

/// Whether there is anything to fill in.
pub(crate) fn is_plain(url: &str) -> bool {
    placeholder::is_plain(url)
}

/// The URL for these variables.
pub(crate) fn fill(url: &str, vars: &dyn Vars) -> Result<String, MissingVar> {
    let encoded = |name: &str| match vars.var(name)? {
        Value::Null => None,
        Value::String(text) => Some(encode(&text).into()),
        value @ (Value::Bool(_) | Value::Number(_)) => Some(value),
        value => Some(encode(&value.to_string()).into()),
    };
    let mut parts = apart(url, '?').into_iter();
    let mut out = placeholder::text(parts.next().unwrap_or_default(), &encoded)?;
    // A later question mark is part of the query (RFC 3986 section 3.4).
    let query = parts.collect::<Vec<_>>().join("?");
    let mut before = '?';
    for parameter in apart(&query, '&') {
        let filled = placeholder::text(parameter, &encoded)?;
        let is_left_out = filled.is_empty() || (filled.ends_with('=') && !placeholder::is_plain(parameter));
        if !is_left_out {
            out.push(before);
            out += &filled;
            before = '&';
        }
    }
    Ok(out)
}

/// Checks where the placeholders are; `known` says which names there may be besides those that each connection has. They
/// need a default, for nothing is known of them at first.
pub(crate) fn check(url: &str, known: &dyn Fn(&str) -> bool) -> Result<(), String> {
    if placeholder::is_unclosed(url) {
        return Err("has \"${\" without \"}\": close it".into());
    }
    let (scheme, rest) = url.split_once("://").unwrap_or((url, ""));
    let host = rest.split(['/', '?']).next().unwrap_or_default();
    if scheme.contains("${") || host.contains("${") {
        return Err("has a placeholder in front of its path: they may stand in the path and the query".into());
    }
    let mut problem = None;
    placeholder::each_name(url, &mut |name, default| {
        if !is_built_in(name) && !known(name) {
            problem.get_or_insert_with(|| {
                format!(
                    "has ${{{name}}}, which nothing is known by there: known are ${{cursor}}, with the field \
                     `cursor`, and what `keep` names"
                )
            });
        } else if !is_built_in(name) && !default {
            problem.get_or_insert_with(|| {
                format!(
                    "has ${{{name}}}, which is not known at first: give it a default, such as ${{{name}|}}"
                )
            });
        }
    });
    problem.map_or(Ok(()), Err)
}

/// Splits a text, but not inside of placeholders.
fn apart(text: &str, at: char) -> Vec<&str> {
    let mut parts = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (index, char) in text.char_indices() {
        match char {
            '{' if text.get(..index).is_some_and(|front| front.ends_with('$')) => inside = true,
            '}' => inside = false,
            char if char == at && !inside => {
                parts.extend(text.get(start..index));
                start = index + char.len_utf8();
            }
            _ => {}
        }
    }
    parts.extend(text.get(start..));
    parts
}

/// Writes what is not unreserved (RFC 3986 section 2.3) as its bytes in hexadecimal.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn urls_are_filled_in() {
        let vars = |name: &str| match name {
            "cursor" => Some(json!(1_725_911_162_329_308_u64)),
            "key" => Some(json!("a!b c&d=é/?")),
            "none" => Some(Value::Null),
            "empty" => Some(json!("")),
            "list" => Some(json!([1])),
            "yes" => Some(json!(true)),
            _ => None,
        };
        for (url, expected) in [
            ("wss://h/p?a=1&b=&c", "wss://h/p?a=1&b=&c"),
            ("wss://h/p?a=1&cursor=${cursor - 5000000|}", "wss://h/p?a=1&cursor=1725911157329308"),
            ("wss://h/p?cursor=${nothing|}&a=1", "wss://h/p?a=1"),
            ("wss://h/p?cursor=${nothing|}", "wss://h/p"),
            ("wss://h?x=${none|}&y=${empty}&z=${nothing|0}", "wss://h?z=0"),
            (
                "wss://h/${key}?resume=${key}",
                "wss://h/a%21b%20c%26d%3D%C3%A9%2F%3F?resume=a%21b%20c%26d%3D%C3%A9%2F%3F",
            ),
            ("wss://h/p?l=${list}&${yes}", "wss://h/p?l=%5B1%5D&true"),
            ("wss://h/p?a=${nothing|1&2?3}&b=?${yes}", "wss://h/p?a=1&2?3&b=?true"),
            ("wss://h/?&a=1", "wss://h/?a=1"),
        ] {
            assert_eq!(fill(url, &vars).as_deref(), Ok(expected), "{url}");
        }
        assert!(fill("wss://h/${nothing}", &vars).is_err() && fill("wss://h/?${nothing}", &vars).is_err());
    }

    #[test]
    fn placeholders_stand_behind_the_host() {
        for (url, problem) in [
            ("wss://h/p?c=${cursor|}&t=${time_s}", ""),
            ("wss://h/${cursor|0}", ""),
            ("wss://h?c=${cursor|}", ""),
            ("wss://${cursor|h}/p", "in front of its path"),
            ("wss://h:${cursor|1}/p", "in front of its path"),
            ("wss://${cursor|@}h/p", "in front of its path"),
            ("${cursor|wss}://h/p", "in front of its path"),
            ("${cursor|wss://h/}p", "in front of its path"),
            ("wss://h/${cursor", "without"),
            ("wss://h/${cursor}", "not known at first"),
            ("wss://h/${other|}", "nothing is known by"),
        ] {
            let checked = check(url, &|name| name == "cursor");
            match problem {
                "" => assert_eq!(checked, Ok(()), "{url}"),
                problem => assert!(checked.unwrap_err().contains(problem), "{url}"),
            }
        }
    }

    proptest! {
        /// Whatever the server says, it ends up inside of the one parameter.
        #[test]
        fn values_stay_where_they_stand(value in "\\PC{0,20}") {
            let vars = |_: &str| Some(json!(value));
            let url = fill("wss://h/p?a=1&v=${v}&b=2", &vars).unwrap();
            let inner = url.strip_prefix("wss://h/p?a=1").unwrap().strip_suffix("&b=2").unwrap();
            if value.is_empty() {
                prop_assert_eq!(inner, "");
            } else {
                let inner = inner.strip_prefix("&v=").unwrap();
                prop_assert!(inner.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)), "{}", inner);
            }
        }

        #[test]
        fn never_panics(url in "[wsh:/?&=a${}|+ -]{0,40}") {
            let _ = (check(&url, &|_| true), fill(&url, &|_: &str| None));
        }
    }
}
