//! How a matcher is written in data.

use crate::dialect::matcher::Matcher;
use crate::table::Table;
use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};
use serde::{Deserialize, Serialize};
use serde_json::Value;

const KINDS: &str = "{\"pointer\": .., \"equals\": ..} (or \"one_of\", \"exists\", \"starts_with\", \"bits\", \"contains\"), \
                     {\"text\": ..}, {\"prefix\": ..}, {\"binary\": ..}, {\"all\": [..]}, {\"any\": [..]}, {\"not\": {..}}";

/// A matcher as data.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(in crate::dialect) struct Form {
    #[serde(skip_serializing_if = "Option::is_none")]
    pointer: Option<String>,
    // `null` is a value here, not the lack of one.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    equals: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    one_of: Option<Vec<Value>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exists: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    starts_with: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bits: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    contains: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prefix: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    binary: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    all: Option<Vec<Matcher>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    any: Option<Vec<Matcher>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    not: Option<Box<Matcher>>,
}

fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

impl Form {
    /// The form of a matcher; empty for a closure, which has none.
    pub(in crate::dialect) fn of(matcher: &Matcher) -> Self {
        let mut form = Self::default();
        match matcher.clone() {
            Matcher::Pointer { pointer, equals } => {
                (form.pointer, form.equals) = (Some(pointer), Some(equals));
            }
            Matcher::OneOf { pointer, one_of } => (form.pointer, form.one_of) = (Some(pointer), Some(one_of)),
            Matcher::Exists { pointer, exists } => {
                (form.pointer, form.exists) = (Some(pointer), Some(exists));
            }
            Matcher::StartsWith { pointer, starts_with } => {
                (form.pointer, form.starts_with) = (Some(pointer), Some(starts_with));
            }
            Matcher::Bits { pointer, bits } => (form.pointer, form.bits) = (Some(pointer), Some(bits)),
            Matcher::Contains { pointer, contains } => {
                (form.pointer, form.contains) = (Some(pointer), Some(contains));
            }
            Matcher::Text(text) => form.text = Some(text),
            Matcher::Prefix(prefix) => form.prefix = Some(prefix),
            Matcher::Binary(bytes) => form.binary = Some(HEXLOWER.encode(&bytes)),
            Matcher::All(matchers) => form.all = Some(matchers),
            Matcher::Any(matchers) => form.any = Some(matchers),
            Matcher::Not(matcher) => form.not = Some(matcher),
            Matcher::Closure(_) => {}
        }
        form
    }

    /// How many kinds of matcher it is.
    fn kinds(&self) -> usize {
        [
            self.equals.is_some(),
            self.one_of.is_some(),
            self.exists.is_some(),
            self.starts_with.is_some(),
            self.bits.is_some(),
            self.contains.is_some(),
            self.text.is_some(),
            self.prefix.is_some(),
            self.binary.is_some(),
            self.all.is_some(),
            self.any.is_some(),
            self.not.is_some(),
        ]
        .into_iter()
        .filter(|given| *given)
        .count()
    }
}

impl TryFrom<Table<Form>> for Matcher {
    type Error = String;

    fn try_from(Table(form): Table<Form>) -> Result<Self, Self::Error> {
        match form.kinds() {
            0 if form.pointer.is_some() => {
                return Err("a pointer needs a condition: add \"equals\", \"one_of\", \"exists\", \"starts_with\", \"bits\" or \
                            \"contains\""
                    .into());
            }
            0 => return Err(format!("a matcher is one of {KINDS}")),
            1 => {}
            _ => return Err(format!("a matcher is only one of {KINDS}: put several into {{\"all\": [..]}}")),
        }
        Ok(match form {
            Form { pointer: Some(pointer), equals: Some(equals), .. } => Self::Pointer { pointer, equals },
            Form { pointer: Some(pointer), one_of: Some(one_of), .. } => Self::OneOf { pointer, one_of },
            Form { pointer: Some(pointer), exists: Some(exists), .. } => Self::Exists { pointer, exists },
            Form { pointer: Some(pointer), starts_with: Some(starts_with), .. } => {
                Self::StartsWith { pointer, starts_with }
            }
            Form { pointer: Some(pointer), bits: Some(bits), .. } => Self::Bits { pointer, bits },
            Form { pointer: Some(pointer), contains: Some(contains), .. } => {
                Self::Contains { pointer, contains }
            }
            Form { pointer: Some(_), .. } => {
                return Err(
                    "\"pointer\" goes with \"equals\", \"one_of\", \"exists\", \"starts_with\", \"bits\" or \
                            \"contains\" only: put several matchers into {\"all\": [..]}"
                        .into(),
                );
            }
            Form { text: Some(text), .. } => Self::Text(text),
            Form { prefix: Some(prefix), .. } => Self::Prefix(prefix),
            Form { binary: Some(hex), .. } => match HEXLOWER_PERMISSIVE.decode(hex.as_bytes()) {
                Ok(bytes) => Self::Binary(bytes),
                Err(_) => {
                    return Err(
                        "\"binary\" is not hexadecimal: give two digits for each byte, such as \"1f8b\""
                            .into(),
                    );
                }
            },
            Form { all: Some(matchers), .. } => Self::All(matchers),
            Form { any: Some(matchers), .. } => Self::Any(matchers),
            Form { not: Some(matcher), .. } => Self::Not(matcher),
            _ => return Err("a \"pointer\" is missing: say where the value is, such as \"/channel\"".into()),
        })
    }
}
