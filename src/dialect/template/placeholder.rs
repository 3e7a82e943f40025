//! Placeholders: `${name}` in texts and JSON values, filled in from variables.
//!
//! `${name|default}` has a value for where the variable is missing, `${name + 5}` and `${name - 5}` are whole numbers so
//! much further on or back, `$${` stands for a literal `${`. A JSON string that is one placeholder and nothing else
//! becomes the variable's value with its type, and so does a default that is a number, `true`, `false` or `null`; inside
//! a longer text the value is put in as text.

use serde_json::{Map, Value};
use std::fmt;

/// Where placeholders get their values from.
pub(crate) trait Vars {
    /// The value of a variable, if it is known.
    fn var(&self, name: &str) -> Option<Value>;
}

impl<F: Fn(&str) -> Option<Value>> Vars for F {
    fn var(&self, name: &str) -> Option<Value> {
        self(name)
    }
}

/// A variable that has no value and no default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MissingVar(pub(crate) String);

impl fmt::Display for MissingVar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "nothing is known by the name of ${{{}}}", self.0)
    }
}

/// A piece of a text.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'a> {
    Text(&'a str),
    Var { name: &'a str, plus: Option<i64>, default: Option<&'a str> },
}

/// Takes apart what stands for a variable: its name, and what is added to its value. Names have no spaces; what a
/// pointer has in front of the last one may have some.
fn sum(text: &str) -> (&str, Option<i64>) {
    let Some((front, digits)) = text.rsplit_once(' ') else { return (text, None) };
    let sign = match front {
        _ if !digits.bytes().all(|byte| byte.is_ascii_digit()) => None,
        _ if front.ends_with(" +") => Some(1),
        _ if front.ends_with(" -") => Some(-1),
        _ => None,
    };
    match sign.zip(digits.parse::<i64>().ok()) {
        Some((sign, number)) => (front.get(..front.len() - 2).unwrap_or_default(), Some(sign * number)),
        None => (text, None),
    }
}

/// The value of a variable with something added to it: of a whole number, or a text of one. `None`: it is none.
fn add(value: &Value, plus: i64) -> Option<Value> {
    let number = match value {
        Value::Number(number) => {
            number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from))?
        }
        Value::String(text) => text.parse().ok()?,
        _ => return None,
    };
    let sum = number.checked_add(i128::from(plus))?;
    i64::try_from(sum).map(Value::from).or_else(|_| u64::try_from(sum).map(Value::from)).ok()
}

/// What a placeholder stands for, if that is known.
fn known(vars: &dyn Vars, name: &str, plus: Option<i64>) -> Option<Value> {
    let value = vars.var(name)?;
    match plus {
        Some(plus) => add(&value, plus),
        None => Some(value),
    }
}

/// A default as the value that it is by itself: a number, `true`, `false`, `null`, or a text.
fn typed(default: &str) -> Value {
    let is_bare = default == default.trim() && !default.starts_with(['"', '[', '{']);
    let value = if is_bare { serde_json::from_str(default).ok() } else { None };
    value.unwrap_or_else(|| default.into())
}

/// Takes a text apart. A `${` that is never closed is text.
fn pieces<'a>(mut text: &'a str, mut found: impl FnMut(Piece<'a>)) {
    while let Some(at) = text.find("${") {
        let (before, rest) = text.split_at(at);
        if let Some(before) = before.strip_suffix('$') {
            found(Piece::Text(before));
            found(Piece::Text("${"));
            text = &rest[2..];
            continue;
        }
        let Some(end) = rest.find('}') else { break };
        if !before.is_empty() {
            found(Piece::Text(before));
        }
        let inside = &rest[2..end];
        let (name, default) = inside.split_once('|').map_or((inside, None), |(name, d)| (name, Some(d)));
        let (name, plus) = sum(name);
        found(Piece::Var { name, plus, default });
        text = &rest[end + 1..];
    }
    if !text.is_empty() {
        found(Piece::Text(text));
    }
}

/// Calls `found` with the name of each placeholder of a text, and whether it has a default.
pub(crate) fn each_name<'a>(text: &'a str, found: &mut dyn FnMut(&'a str, bool)) {
    pieces(text, |piece| {
        if let Piece::Var { name, default, .. } = piece {
            found(name, default.is_some());
        }
    });
}

/// The same for all strings of a JSON value, keys of objects included.
pub(crate) fn each_name_in<'a>(value: &'a Value, found: &mut dyn FnMut(&'a str, bool)) {
    match value {
        Value::String(text) => each_name(text, found),
        Value::Array(items) => items.iter().for_each(|item| each_name_in(item, found)),
        Value::Object(members) => members.iter().for_each(|(key, member)| {
            each_name(key, found);
            each_name_in(member, found);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether a text has a `${` that is never closed: it would be sent as it is.
pub(crate) fn is_unclosed(mut text: &str) -> bool {
    while let Some(at) = text.find("${") {
        let rest = &text[at + 2..];
        if !text[..at].ends_with('$') && !rest.contains('}') {
            return true;
        }
        text = rest;
    }
    false
}

/// The same for any string of a JSON value, keys of objects included.
pub(crate) fn is_unclosed_in(value: &Value) -> bool {
    match value {
        Value::String(text) => is_unclosed(text),
        Value::Array(items) => items.iter().any(is_unclosed_in),
        Value::Object(members) => {
            members.iter().any(|(key, member)| is_unclosed(key) || is_unclosed_in(member))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// Whether a text has to be rendered at all.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.contains("${")
}

/// Whether no string of a JSON value has a placeholder.
pub(crate) fn is_plain_value(value: &Value) -> bool {
    match value {
        Value::String(text) => is_plain(text),
        Value::Array(items) => items.iter().all(is_plain_value),
        Value::Object(members) => members.iter().all(|(key, member)| is_plain(key) && is_plain_value(member)),
        Value::Null | Value::Bool(_) | Value::Number(_) => true,
    }
}

/// Fills in a text.
pub(crate) fn text(text: &str, vars: &dyn Vars) -> Result<String, MissingVar> {
    let mut out = String::with_capacity(text.len());
    let mut missing = None;
    pieces(text, |piece| match piece {
        Piece::Text(text) => out.push_str(text),
        Piece::Var { name, plus, default } => match (known(vars, name, plus), default) {
            (Some(Value::String(value)), _) => out.push_str(&value),
            (Some(value), _) => out.push_str(&value.to_string()),
            (None, Some(default)) => out.push_str(default),
            (None, None) => {
                missing.get_or_insert_with(|| MissingVar(name.to_owned()));
            }
        },
    });
    missing.map_or(Ok(out), Err)
}

/// Fills in a JSON value. A string that is one placeholder alone keeps the type of its value.
pub(crate) fn value(template: &Value, vars: &dyn Vars) -> Result<Value, MissingVar> {
    Ok(match template {
        Value::String(template) => string(template, vars)?,
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| value(item, vars)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => {
            let mut out = Map::new();
            for (key, member) in members {
                out.insert(text(key, vars)?, value(member, vars)?);
            }
            Value::Object(out)
        }
        plain => plain.clone(),
    })
}

fn string(template: &str, vars: &dyn Vars) -> Result<Value, MissingVar> {
    let mut count = 0;
    let mut alone = None;
    pieces(template, |piece| {
        count += 1;
        if let Piece::Var { name, plus, default } = piece {
            alone = known(vars, name, plus).or_else(|| default.map(typed));
        }
    });
    if count == 1
        && let Some(value) = alone
    {
        return Ok(value);
    }
    text(template, vars).map(Value::String)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn vars(name: &str) -> Option<Value> {
        match name {
            "id" => Some(json!(7)),
            "symbol" => Some(json!("BTC-USD")),
            "deep" => Some(json!({"a": [1]})),
            "/ts" => Some(json!(1.5)),
            "/a b" => Some(json!(1)),
            "digits" => Some(json!("42")),
            "big" => Some(json!(u64::MAX - 1)),
            "low" => Some(json!(i64::MIN)),
            _ => None,
        }
    }

    #[test]
    fn texts_are_filled_in() {
        for (template, expected) in [
            ("plain", Ok("plain")),
            ("", Ok("")),
            ("${symbol}@trade.${id}", Ok("BTC-USD@trade.7")),
            ("${none|5}s", Ok("5s")),
            ("${none|}", Ok("")),
            ("$${symbol}", Ok("${symbol}")),
            ("a$${symbol}${id}", Ok("a${symbol}7")),
            ("${deep}", Ok(r#"{"a":[1]}"#)),
            ("${/ts}", Ok("1.5")),
            ("${open", Ok("${open")),
            ("$5", Ok("$5")),
            ("${none}", Err("none")),
            ("${}", Err("")),
            ("${id + 5}|${id - 5}|${id - 9}", Ok("12|2|-2")),
            ("${digits - 1}", Ok("41")),
            ("${big + 1} ${low - 1|low}", Ok("18446744073709551615 low")),
            ("${big + 2|over}", Ok("over")),
            ("${symbol + 1|none}", Ok("none")),
            ("${/ts + 1|none}", Ok("none")),
            ("${/a b + 1}", Ok("2")),
            ("${symbol + 1}", Err("symbol")),
            ("${none - 5}", Err("none")),
            ("${id +5|}", Ok("")),
            ("${id + x|}", Ok("")),
            ("${id + 99999999999999999999|}", Ok("")),
        ] {
            let expected = expected.map(str::to_owned).map_err(|name: &str| MissingVar(name.to_owned()));
            assert_eq!(text(template, &vars), expected, "{template}");
        }
    }

    #[test]
    fn values_keep_their_types() {
        let template = json!({"id": "${id}", "p": ["${symbol}", "x${id}", 1, null], "${symbol}": "${deep}", "d": "${none|3}", "e": "${id - 2}"});
        let expected =
            json!({"id": 7, "p": ["BTC-USD", "x7", 1, null], "BTC-USD": {"a": [1]}, "d": 3, "e": 5});
        assert_eq!(value(&template, &vars), Ok(expected));
        assert_eq!(value(&json!(["${none}"]), &vars), Err(MissingVar("none".into())));
    }

    #[test]
    fn defaults_have_types_of_their_own() {
        for (default, expected) in [
            ("0", json!(0)),
            ("-1.5", json!(-1.5)),
            ("true", json!(true)),
            ("false", json!(false)),
            ("null", json!(null)),
            ("", json!("")),
            ("BTC", json!("BTC")),
            ("007", json!("007")),
            ("1e999", json!("1e999")),
            (" 5", json!(" 5")),
            ("5s", json!("5s")),
            ("\"5\"", json!("\"5\"")),
            ("[1]", json!("[1]")),
        ] {
            assert_eq!(value(&json!(format!("${{none|{default}}}")), &vars), Ok(expected), "{default}");
            assert_eq!(
                value(&json!(format!("${{none|{default}}} ")), &vars),
                Ok(json!(format!("{default} ")))
            );
        }
        assert_eq!(value(&json!("${symbol|0}"), &vars), Ok(json!("BTC-USD")));
    }

    #[test]
    fn what_is_never_closed_is_seen() {
        for (text, expected) in [
            ("${symbol", true),
            ("a ${b} ${c", true),
            ("${a}", false),
            ("$${a", false),
            ("$5 {", false),
            ("", false),
        ] {
            assert_eq!(is_unclosed(text), expected, "{text}");
        }
        assert!(is_unclosed_in(&json!({"a": [{"${b": 1}]})) && !is_unclosed_in(&json!({"a": ["${b}"]})));
    }

    #[test]
    fn names_are_found() {
        let template = json!({"${a}": ["${b|1} ${c}", "$${d}", "${e"]});
        let mut names = Vec::new();
        each_name_in(&template, &mut |name, default| names.push((name.to_owned(), default)));
        assert_eq!(names, [("a".to_owned(), false), ("b".to_owned(), true), ("c".to_owned(), false)]);
        assert!(!is_plain_value(&template) && is_plain_value(&json!({"a": [1, "b"]})));
    }
}
