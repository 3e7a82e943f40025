//! What is sent in JSON as something else than it is: the parts that stand for all members of a batch, and texts that are
//! put together.

use super::Scope;
use super::placeholder::{self, MissingVar};
use serde_json::{Map, Value};

/// Stands for an array with one element for each member of a batch.
const EACH: &str = "$each";

/// Stands for a string of all members of a batch.
const JOIN: &str = "$join";

/// What stands between the members of a joined string.
const WITH: &str = "with";

/// Stands for a string, of one part or several put together.
const TEXT: &str = "$text";

/// Stands, as a part of such a string, for a value as compact JSON.
const JSON: &str = "$json";

pub(super) fn has_batch(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_batch),
        Value::Object(members) => {
            members.contains_key(EACH) || members.contains_key(JOIN) || members.values().any(has_batch)
        }
        _ => false,
    }
}

/// Calls `found` with the name of each placeholder outside of what is filled in for each member.
pub(super) fn each_shared_name(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => placeholder::each_name(text, &mut |name, _| found(name)),
        Value::Array(items) => items.iter().for_each(|item| each_shared_name(item, found)),
        Value::Object(members) => match batch_form(members) {
            Ok(Some(BatchForm::Each(_) | BatchForm::Join(..))) => {}
            Ok(Some(BatchForm::Text(parts))) => parts.iter().for_each(|part| each_shared_name(part, found)),
            Ok(Some(BatchForm::Json(value))) => each_shared_name(value, found),
            Ok(None) | Err(_) => {
                for (key, member) in members {
                    placeholder::each_name(key, &mut |name, _| found(name));
                    each_shared_name(member, found);
                }
            }
        },
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Whether it is sent as something else than what it is.
pub(super) fn has_form(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_form),
        Value::Object(members) => {
            [EACH, JOIN, TEXT, JSON].iter().any(|form| members.contains_key(*form))
                || members.values().any(has_form)
        }
        _ => false,
    }
}

/// The forms that stand for something else: for all members of a batch, the first two.
enum BatchForm<'a> {
    Each(&'a Value),
    Join(&'a str, &'a str),
    Text(&'a [Value]),
    Json(&'a Value),
}

/// The text that a value stands for as a whole: what is sent of it is that, and no JSON.
pub(super) fn is_text(value: &Value) -> bool {
    value.as_object().is_some_and(|object| object.contains_key(TEXT))
}

/// Takes an object for one of the batch forms; the error says what is wrong with it.
fn batch_form(object: &Map<String, Value>) -> Result<Option<BatchForm<'_>>, &'static str> {
    if let Some(text) = object.get(TEXT) {
        let parts = match text {
            Value::Array(parts) => parts.as_slice(),
            part => std::slice::from_ref(part),
        };
        let is_part = |part: &Value| match part {
            Value::String(_) => true,
            Value::Object(form) => {
                matches!(batch_form(form), Ok(Some(BatchForm::Join(..) | BatchForm::Json(_))))
            }
            _ => false,
        };
        return if object.len() == 1 && parts.iter().all(is_part) {
            Ok(Some(BatchForm::Text(parts)))
        } else {
            Err(
                "has a \"$text\" of something else than texts, {\"$join\": ..} and {\"$json\": ..}, or with more beside \
                 it",
            )
        };
    }
    if let Some(value) = object.get(JSON) {
        let alone = object.len() == 1;
        return if alone {
            Ok(Some(BatchForm::Json(value)))
        } else {
            Err("has a \"$json\" with more beside it")
        };
    }
    match (object.get(EACH), object.get(JOIN)) {
        (None, None) => Ok(None),
        (Some(each), None) if object.len() == 1 => Ok(Some(BatchForm::Each(each))),
        (None, Some(Value::String(text))) => match (object.get(WITH), object.len()) {
            (None, 1) => Ok(Some(BatchForm::Join(text, ","))),
            (Some(Value::String(with)), 2) => Ok(Some(BatchForm::Join(text, with))),
            _ => Err("has a \"$join\" with more beside it: give {\"$join\": \"text\", \"with\": \"text\"}"),
        },
        (None, Some(_)) => Err("has a \"$join\" of something else than a text"),
        (Some(_), _) => Err("has an \"$each\" with more beside it: give {\"$each\": ..} alone"),
    }
}

/// The words of configuration files, which the command line has filled in before.
const OUTSIDE: [&str; 2] = ["$env", "$file"];

/// Checks for words that are not ours, and are so like ours that they were meant.
pub(super) fn check_words(value: &Value) -> Result<(), String> {
    match value {
        Value::Array(items) => items.iter().try_for_each(check_words),
        Value::Object(members) => members.iter().try_for_each(|(key, member)| {
            if OUTSIDE.contains(&key.as_str()) {
                return Err(format!(
                    "has a {{{key:?}: ..}}, which is for the files of the command line, and is filled in there alone: give the value \
                     itself"
                ));
            }
            let ours = [EACH, JOIN, TEXT, JSON].into_iter();
            if key.starts_with('$')
                && let Some(meant) = ours.clone().chain(OUTSIDE).find(|word| is_slip(key, word))
                && !ours.clone().any(|word| word == key)
            {
                return Err(format!("has a {key:?}: did you mean {meant:?}?"));
            }
            check_words(member)
        }),
        _ => Ok(()),
    }
}

/// Whether a word is another with letters in another order or case, or with one too many or too few.
fn is_slip(word: &str, meant: &str) -> bool {
    let sorted = |text: &str| {
        let mut letters: Vec<u8> = text.to_ascii_lowercase().into_bytes();
        letters.sort_unstable();
        letters
    };
    let without_one = |long: &str, short: &str| {
        let left_out =
            |at: usize| long.bytes().enumerate().filter(move |(i, _)| *i != at).map(|(_, byte)| byte);
        long.len() == short.len() + 1 && (1..long.len()).any(|at| left_out(at).eq(short.bytes()))
    };
    sorted(word) == sorted(meant) || without_one(word, meant) || (word.len() > 3 && without_one(meant, word))
}

pub(super) fn check_batches(value: &Value, inside: bool) -> Result<(), String> {
    let part = |part: &Value| match part {
        Value::Object(form) => match batch_form(form)? {
            Some(BatchForm::Json(value)) => check_batches(value, inside),
            _ => check_batches(part, inside),
        },
        _ => Ok(()),
    };
    match value {
        Value::Array(items) => items.iter().try_for_each(|item| check_batches(item, inside)),
        Value::Object(members) => match batch_form(members)? {
            Some(BatchForm::Text(parts)) => parts.iter().try_for_each(part),
            Some(BatchForm::Json(_)) => Err("has a \"$json\" that is no part of a \"$text\"".into()),
            Some(_) if inside => Err("has an \"$each\" or \"$join\" inside an \"$each\"".into()),
            Some(BatchForm::Each(each)) => check_batches(each, true),
            Some(BatchForm::Join(..)) => Ok(()),
            None => members.values().try_for_each(|member| check_batches(member, inside)),
        },
        _ => Ok(()),
    }
}

/// Fills in a JSON value, with `all` members where it says so.
pub(super) fn batch(value: &Value, first: &Scope<'_>, all: &[Scope<'_>]) -> Result<Value, String> {
    let missing = |missing: MissingVar| missing.to_string();
    Ok(match value {
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| batch(item, first, all)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => match batch_form(members)? {
            Some(BatchForm::Each(each)) => Value::Array(
                all.iter()
                    .map(|member| batch(each, member, std::slice::from_ref(member)))
                    .collect::<Result<_, _>>()?,
            ),
            Some(BatchForm::Join(text, with)) => {
                let texts: Result<Vec<_>, _> =
                    all.iter().map(|member| placeholder::text(text, member)).collect();
                Value::String(texts.map_err(missing)?.join(with))
            }
            Some(BatchForm::Json(value)) => Value::String(batch(value, first, all)?.to_string()),
            Some(BatchForm::Text(parts)) => {
                let mut whole = String::new();
                for part in parts {
                    match part {
                        Value::String(text) => {
                            whole.push_str(&placeholder::text(text, first).map_err(missing)?);
                        }
                        form => whole.push_str(batch(form, first, all)?.as_str().unwrap_or_default()),
                    }
                }
                Value::String(whole)
            }
            None => {
                let mut out = Map::new();
                for (key, member) in members {
                    out.insert(placeholder::text(key, first).map_err(missing)?, batch(member, first, all)?);
                }
                Value::Object(out)
            }
        },
        plain => placeholder::value(plain, first).map_err(missing)?,
    })
}
