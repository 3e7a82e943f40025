//! Says whether a message is of a certain kind.

pub(in crate::dialect) mod contains;
mod form;

use crate::dialect::json::pointer::Pointer;
use crate::dialect::json::scalar::{Number, Scalar};
use crate::dialect::json::scan;
use crate::dialect::matcher::contains::Contained;
use crate::dialect::matcher::form::Form;
use crate::dialect::template::placeholder::{self, MissingVar, Vars};
use crate::message::Payload;
use crate::table::Table;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;

/// Matchers inside each other, at most.
const MAX_NESTING: usize = 32;

/// Recognises messages, by fields, by their text or bytes, or by a closure.
///
/// In data (JSON, TOML) a matcher is one of
///
/// | form | matches |
/// |---|---|
/// | `{"pointer": "/channel", "equals": "trades"}` | the value there equals a string, number, boolean or null |
/// | `{"pointer": "/channel", "one_of": ["trades", "book"]}` | the value there equals one of them |
/// | `{"pointer": "/error", "exists": true}` | there is a value, whatever it is; `false`: there is none |
/// | `{"pointer": "/topic", "starts_with": "trade."}` | the string there starts with this |
/// | `{"pointer": "/flags", "bits": 4}` | the whole number there has all these bits set |
/// | `{"pointer": "/arg", "contains": {"channel": "books"}}` | the object there has all these members |
/// | `{"text": "pong"}` | a text message that is exactly this |
/// | `{"prefix": "42"}` | a text message that starts with this |
/// | `{"binary": "1f8b"}` | a binary message that starts with these bytes, in hexadecimal; `""`: any |
/// | `{"all": [..]}`, `{"any": [..]}`, `{"not": {..}}` | all, one, none of other matchers |
///
/// # Pointers
///
/// A pointer is a JSON pointer (RFC 6901): `/data/0/s`; `~1` stands for `/` and `~0` for `~` in a name. Two steps are
/// livefeed's own: `*` is every element of an array and every member of an object, `@json` goes on inside a string that
/// holds JSON (at most four times). `~*` and `~@json` are members of those names. With `*` a condition holds if it holds
/// for any of the values; of several conditions each may hold for another one.
///
/// Text and binary messages are both looked at, if they hold a JSON object or array. Of equal keys the first counts.
/// The message is read only as far as needed: what is wrong behind that goes unnoticed. Values inside more than 128
/// nested containers are not found. The empty pointer is the whole message: for `exists` and `contains`.
///
/// Two integers are compared exactly, other numbers as floating point, so that `1` is `1.0`.
///
/// # Placeholders
///
/// The strings of `equals`, `one_of`, `starts_with`, `contains` (values, not names), `text` and `prefix` may hold
/// placeholders: `${name}`, `${name|default}`; `$${` is a literal `${`. A string that is one placeholder and nothing
/// else takes the type of the variable: `"${id}"` becomes a number.
///
/// # Several subscriptions
///
/// A message belongs to all subscriptions whose matcher it meets, with one exception: the most exact wins. Of those that
/// compare the same value by `starts_with` (or the text by `prefix`, or the bytes by `binary`) only those with the longest
/// beginning count, and those that say what it equals (`equals`, `one_of`, `contains`, `text`) beat them. So
/// `{"pointer": "/topic", "starts_with": "order"}` does not get what is for `{"pointer": "/topic", "starts_with": "orderbook"}`.
///
/// ```
/// use livefeed::{Matcher, Payload};
///
/// let trades = Matcher::all([
///     Matcher::pointer("/channel", "trades"),
///     Matcher::pointer("/data/*/symbol", "BTC-USD"),
/// ]);
/// assert!(trades.matches(Payload::Text(r#"{"channel":"trades","data":[{"symbol":"BTC-USD"}]}"#)));
/// assert!(!trades.matches(Payload::Text("pong")));
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Table<Form>")]
#[non_exhaustive]
pub enum Matcher {
    /// The value at a JSON pointer equals a scalar. See [`Matcher::pointer`].
    Pointer {
        /// Where the value is.
        pointer: String,
        /// What it is: a string, number, boolean or null.
        equals: Value,
    },
    /// The value at a JSON pointer equals one of several scalars. See [`Matcher::one_of`].
    OneOf {
        /// Where the value is.
        pointer: String,
        /// What it may be: strings, numbers, booleans or nulls.
        one_of: Vec<Value>,
    },
    /// There is a value at a JSON pointer, or there is none. See [`Matcher::exists`].
    Exists {
        /// Where the value is.
        pointer: String,
        /// Whether it must be there.
        exists: bool,
    },
    /// The string at a JSON pointer starts with a text. See [`Matcher::starts_with`].
    StartsWith {
        /// Where the string is.
        pointer: String,
        /// How it starts.
        starts_with: String,
    },
    /// The whole number at a JSON pointer has certain bits set. See [`Matcher::bits`].
    Bits {
        /// Where the number is.
        pointer: String,
        /// The bits, as a number.
        bits: u64,
    },
    /// The object or array at a JSON pointer contains another. See [`Matcher::contains`].
    Contains {
        /// Where the object or array is.
        pointer: String,
        /// What it contains.
        contains: Value,
    },
    /// A text message that is exactly this.
    Text(String),
    /// A text message that starts with this.
    Prefix(String),
    /// A binary message that starts with these bytes.
    Binary(Vec<u8>),
    /// All of these match.
    All(Vec<Self>),
    /// One of these matches, or several.
    Any(Vec<Self>),
    /// This does not match.
    Not(Box<Self>),
    /// A closure decides. Can't be expressed in data; serialized it is the string `<closure>`.
    Closure(MatchFn),
}

/// The closure of a [`Matcher`].
#[derive(Clone)]
pub struct MatchFn(Arc<dyn Fn(Payload<'_>) -> bool + Send + Sync>);

impl MatchFn {
    pub(crate) fn call(&self, payload: Payload<'_>) -> bool {
        (self.0)(payload)
    }
}

impl fmt::Debug for MatchFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<closure>")
    }
}

impl Matcher {
    /// Matches messages that have this value at a JSON pointer: a string, number, boolean or null.
    ///
    /// Cost: less than 1 ns for each byte in front of the last field that is looked for, once for all matchers.
    pub fn pointer(pointer: impl Into<String>, equals: impl Into<Value>) -> Self {
        Self::Pointer { pointer: pointer.into(), equals: equals.into() }
    }

    /// Matches messages that have one of these values at a JSON pointer: strings, numbers, booleans or nulls.
    pub fn one_of<V: Into<Value>>(pointer: impl Into<String>, one_of: impl IntoIterator<Item = V>) -> Self {
        Self::OneOf { pointer: pointer.into(), one_of: one_of.into_iter().map(Into::into).collect() }
    }

    /// Matches messages that have a value at a JSON pointer, whatever it is, `null` included.
    pub fn exists(pointer: impl Into<String>) -> Self {
        Self::Exists { pointer: pointer.into(), exists: true }
    }

    /// Matches messages that have a string at a JSON pointer which starts with this text.
    pub fn starts_with(pointer: impl Into<String>, starts_with: impl Into<String>) -> Self {
        Self::StartsWith { pointer: pointer.into(), starts_with: starts_with.into() }
    }

    /// Matches messages that have a whole number at a JSON pointer in which all these bits are set, and maybe others.
    pub fn bits(pointer: impl Into<String>, bits: u64) -> Self {
        Self::Bits { pointer: pointer.into(), bits }
    }

    /// Matches messages that have an object at a JSON pointer with all these members, and maybe others.
    ///
    /// Objects inside are compared in the same way; arrays must be as long, and each element must contain the one that
    /// is given; other values are compared as in [`Matcher::pointer`].
    ///
    /// ```
    /// use livefeed::{Matcher, Payload};
    /// use serde_json::json;
    ///
    /// let books = Matcher::contains("/arg", json!({"channel": "books", "instId": "BTC-USDT"}));
    /// let message = r#"{"arg":{"channel":"books","instId":"BTC-USDT","uid":"7"},"data":[]}"#;
    /// assert!(books.matches(Payload::Text(message)));
    /// ```
    pub fn contains(pointer: impl Into<String>, contains: impl Into<Value>) -> Self {
        Self::Contains { pointer: pointer.into(), contains: contains.into() }
    }

    /// Matches text messages that are exactly this.
    pub fn text(text: impl Into<String>) -> Self {
        Self::Text(text.into())
    }

    /// Matches text messages that start with this.
    pub fn prefix(prefix: impl Into<String>) -> Self {
        Self::Prefix(prefix.into())
    }

    /// Matches binary messages that start with these bytes: all binary messages, if there are none.
    pub fn binary(bytes: impl Into<Vec<u8>>) -> Self {
        Self::Binary(bytes.into())
    }

    /// Matches messages that all of these match.
    pub fn all(matchers: impl IntoIterator<Item = Self>) -> Self {
        Self::All(matchers.into_iter().collect())
    }

    /// Matches messages that at least one of these matches.
    pub fn any(matchers: impl IntoIterator<Item = Self>) -> Self {
        Self::Any(matchers.into_iter().collect())
    }

    /// Matches messages that the other does not match, be they JSON or not.
    #[allow(clippy::should_implement_trait, reason = "the word of the data form")]
    pub fn not(matcher: Self) -> Self {
        Self::Not(Box::new(matcher))
    }

    /// Matches messages for which the closure says so.
    ///
    /// It is called on the reader thread, at most once for each message, and not for those that a rule took. A panic in
    /// it counts as no match of the whole matcher it stands in, and is reported as an alert.
    pub fn closure(matches: impl Fn(Payload<'_>) -> bool + Send + Sync + 'static) -> Self {
        Self::Closure(MatchFn(Arc::new(matches)))
    }

    /// Whether the message is of this kind. A condition that is not valid is not met; placeholders are not filled in.
    ///
    /// # Panics
    ///
    /// When the closure does.
    pub fn matches(&self, payload: Payload<'_>) -> bool {
        match self {
            Self::Pointer { pointer, equals } => {
                let Some(value) = Scalar::of(equals) else { return false };
                has(payload, pointer, |raw| Scalar::parse(raw).is_some_and(|own| own == value))
            }
            Self::OneOf { pointer, one_of } => has(payload, pointer, |raw| {
                let Some(own) = Scalar::parse(raw) else { return false };
                one_of.iter().any(|value| Scalar::of(value).is_some_and(|value| own == value))
            }),
            Self::Exists { pointer, exists } => {
                Pointer::parse(pointer).is_ok() && has(payload, pointer, |_| true) == *exists
            }
            Self::StartsWith { pointer, starts_with } => has(
                payload,
                pointer,
                |raw| matches!(Scalar::parse(raw), Some(Scalar::Text(text)) if text.starts_with(starts_with.as_bytes())),
            ),
            Self::Bits { pointer, bits } => has(payload, pointer, |raw| has_bits(raw, *bits)),
            Self::Contains { pointer, contains } => {
                let contained = Contained::new(contains);
                has(payload, pointer, |raw| contained.is_in(raw))
            }
            Self::Text(text) => payload.as_text() == Some(text),
            Self::Prefix(prefix) => payload.as_text().is_some_and(|text| text.starts_with(prefix.as_str())),
            Self::Binary(start) => matches!(payload, Payload::Binary(bytes) if bytes.starts_with(start)),
            Self::All(matchers) => matchers.iter().all(|matcher| matcher.matches(payload)),
            Self::Any(matchers) => matchers.iter().any(|matcher| matcher.matches(payload)),
            Self::Not(matcher) => !matcher.matches(payload),
            Self::Closure(closure) => closure.call(payload),
        }
    }

    /// Checks what the types can't. The error names the field and says what would be right.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        self.check_at(MAX_NESTING)
    }

    fn check_at(&self, nesting: usize) -> Result<(), (String, String)> {
        let (field, problem) = match self {
            Self::Pointer { pointer, equals } => {
                check_pointer(pointer, false)?;
                match Scalar::of(equals) {
                    Some(_) => return Ok(()),
                    None => ("equals".to_owned(), NO_SCALAR),
                }
            }
            Self::OneOf { pointer, one_of } => {
                check_pointer(pointer, false)?;
                if one_of.is_empty() {
                    ("one_of".to_owned(), "is empty, which nothing matches: give at least one value")
                } else if let Some(index) = one_of.iter().position(|value| Scalar::of(value).is_none()) {
                    (format!("one_of[{index}]"), NO_SCALAR)
                } else {
                    return Ok(());
                }
            }
            Self::Exists { pointer, .. } => return check_pointer(pointer, true),
            Self::StartsWith { pointer, starts_with } => {
                check_pointer(pointer, false)?;
                if !starts_with.is_empty() {
                    return Ok(());
                }
                (
                    "starts_with".to_owned(),
                    "is empty, which every string starts with: give some text, or say \"exists\": true",
                )
            }
            Self::Bits { pointer, bits } => {
                check_pointer(pointer, false)?;
                if *bits != 0 {
                    return Ok(());
                }
                ("bits".to_owned(), "is 0, which every number has: give at least one bit")
            }
            Self::Contains { pointer, contains } => {
                check_pointer(pointer, true)?;
                if has_named_placeholder(contains) {
                    let problem = "has a placeholder in the name of a member, where nothing fills it in: they may stand in values";
                    return Err(("contains".to_owned(), problem.to_owned()));
                }
                if Scalar::of(contains).is_none() || is_placeholder(contains) {
                    return Ok(());
                }
                ("contains".to_owned(), "is no object: give members that must be there, or say \"equals\"")
            }
            Self::Prefix(prefix) if prefix.is_empty() => {
                ("prefix".to_owned(), "is empty, which every text message starts with: give some text")
            }
            Self::Text(_) | Self::Prefix(_) | Self::Binary(_) | Self::Closure(_) => return Ok(()),
            Self::All(_) | Self::Any(_) | Self::Not(_) if nesting == 0 => {
                (self.kind().to_owned(), "is nested more than 32 deep: give fewer matchers inside each other")
            }
            Self::All(matchers) | Self::Any(matchers) => {
                for (index, matcher) in matchers.iter().enumerate() {
                    matcher
                        .check_at(nesting - 1)
                        .map_err(|(field, problem)| (format!("{}[{index}].{field}", self.kind()), problem))?;
                }
                if !matchers.is_empty() {
                    return Ok(());
                }
                (self.kind().to_owned(), "is empty: give at least one matcher")
            }
            Self::Not(matcher) => {
                return matcher
                    .check_at(nesting - 1)
                    .map_err(|(field, problem)| (format!("not.{field}"), problem));
            }
        };
        Err((field, problem.to_owned()))
    }

    /// The field that makes it what it is.
    fn kind(&self) -> &'static str {
        match self {
            Self::Pointer { .. } => "equals",
            Self::OneOf { .. } => "one_of",
            Self::Exists { .. } => "exists",
            Self::StartsWith { .. } => "starts_with",
            Self::Bits { .. } => "bits",
            Self::Contains { .. } => "contains",
            Self::Text(_) => "text",
            Self::Prefix(_) => "prefix",
            Self::Binary(_) => "binary",
            Self::All(_) => "all",
            Self::Any(_) => "any",
            Self::Not(_) => "not",
            Self::Closure(_) => "closure",
        }
    }

    /// Fills in the placeholders.
    pub(crate) fn render(&self, vars: &dyn Vars) -> Result<Self, MissingVar> {
        let list = |matchers: &[Self]| {
            matchers.iter().map(|matcher| matcher.render(vars)).collect::<Result<Vec<_>, _>>()
        };
        Ok(match self {
            Self::Pointer { pointer, equals } => {
                Self::Pointer { pointer: pointer.clone(), equals: placeholder::value(equals, vars)? }
            }
            Self::OneOf { pointer, one_of } => Self::OneOf {
                pointer: pointer.clone(),
                one_of: one_of
                    .iter()
                    .map(|value| placeholder::value(value, vars))
                    .collect::<Result<_, _>>()?,
            },
            Self::StartsWith { pointer, starts_with } => Self::StartsWith {
                pointer: pointer.clone(),
                starts_with: placeholder::text(starts_with, vars)?,
            },
            Self::Contains { pointer, contains } => {
                Self::Contains { pointer: pointer.clone(), contains: render_values(contains, vars)? }
            }
            Self::Text(text) => Self::Text(placeholder::text(text, vars)?),
            Self::Prefix(prefix) => Self::Prefix(placeholder::text(prefix, vars)?),
            Self::All(matchers) => Self::All(list(matchers)?),
            Self::Any(matchers) => Self::Any(list(matchers)?),
            Self::Not(matcher) => Self::not(matcher.render(vars)?),
            Self::Exists { .. } | Self::Bits { .. } | Self::Binary(_) | Self::Closure(_) => self.clone(),
        })
    }

    /// The same, met by the number of a question as a number and as a text of digits, where `${id}` is the whole value.
    pub(crate) fn answering(&self, id: u64) -> Self {
        let text = || Value::from(id.to_string());
        let is_id = |value: &Value| value.as_str() == Some("${id}");
        let list = |matchers: &[Self]| matchers.iter().map(|matcher| matcher.answering(id)).collect();
        match self {
            Self::Pointer { pointer, equals } if is_id(equals) => {
                Self::OneOf { pointer: pointer.clone(), one_of: vec![equals.clone(), text()] }
            }
            Self::OneOf { pointer, one_of } if one_of.iter().any(is_id) => {
                let one_of = one_of.iter().cloned().chain([text()]).collect();
                Self::OneOf { pointer: pointer.clone(), one_of }
            }
            Self::Contains { pointer, contains } => {
                let as_text = replaced(contains, &|value| is_id(value).then(text));
                if as_text == *contains {
                    return self.clone();
                }
                let as_text = Self::Contains { pointer: pointer.clone(), contains: as_text };
                Self::any([self.clone(), as_text])
            }
            Self::All(matchers) => Self::All(list(matchers)),
            Self::Any(matchers) => Self::Any(list(matchers)),
            Self::Not(matcher) => Self::not(matcher.answering(id)),
            _ => self.clone(),
        }
    }

    /// Whether it has no placeholders, so that rendering changes nothing.
    pub(crate) fn is_plain(&self) -> bool {
        let mut plain = true;
        self.each_text(&mut |text| plain &= placeholder::is_plain(text));
        plain
    }

    /// Calls `found` with the name of each placeholder, and whether it has a default.
    pub(crate) fn each_placeholder(&self, found: &mut dyn FnMut(&str, bool)) {
        self.each_text(&mut |text| placeholder::each_name(text, found));
    }

    /// Whether it is met by nothing that does not equal a text with this placeholder somewhere.
    pub(crate) fn asks_for(&self, name: &str) -> bool {
        let has_name = |text: &str| {
            let mut has = false;
            placeholder::each_name(text, &mut |found, _| has |= found == name);
            has
        };
        let holds_name = |value: &Value| {
            let mut has = false;
            each_string(value, &mut |text| has |= has_name(text));
            has
        };
        match self {
            Self::Pointer { equals: value, .. } | Self::Contains { contains: value, .. } => holds_name(value),
            Self::OneOf { one_of, .. } => one_of.iter().all(holds_name),
            Self::Text(text) => has_name(text),
            Self::All(matchers) => matchers.iter().any(|matcher| matcher.asks_for(name)),
            Self::Any(matchers) => !matchers.is_empty() && matchers.iter().all(|it| it.asks_for(name)),
            Self::StartsWith { .. }
            | Self::Prefix(_)
            | Self::Not(_)
            | Self::Exists { .. }
            | Self::Bits { .. }
            | Self::Binary(_)
            | Self::Closure(_) => false,
        }
    }

    /// Calls `found` with each text in which placeholders may stand.
    fn each_text(&self, found: &mut dyn FnMut(&str)) {
        match self {
            Self::Pointer { equals: value, .. } | Self::Contains { contains: value, .. } => {
                each_string(value, found);
            }
            Self::OneOf { one_of, .. } => one_of.iter().for_each(|value| each_string(value, found)),
            Self::StartsWith { starts_with: text, .. } | Self::Text(text) | Self::Prefix(text) => found(text),
            Self::All(matchers) | Self::Any(matchers) => {
                matchers.iter().for_each(|matcher| matcher.each_text(found));
            }
            Self::Not(matcher) => matcher.each_text(found),
            Self::Exists { .. } | Self::Bits { .. } | Self::Binary(_) | Self::Closure(_) => {}
        }
    }
}

/// Whether the raw text of a value is that of a whole number with these bits.
pub(in crate::dialect) fn has_bits(raw: &[u8], bits: u64) -> bool {
    let number = match Scalar::parse(raw) {
        Some(Scalar::Number(Number::Int(number))) => u64::try_from(number).ok(),
        _ => None,
    };
    number.is_some_and(|number| number & bits == bits)
}

const NO_SCALAR: &str = "is an object or array: give a string, number, boolean or null and a pointer that leads to \
                         such a value, or say \"contains\"";

/// Whether a value that the pointer names passes the test.
fn has(payload: Payload<'_>, pointer: &str, mut test: impl FnMut(&[u8]) -> bool) -> bool {
    let json = payload.as_bytes();
    if !scan::is_container(json) {
        return false;
    }
    let Ok(pointer) = Pointer::parse(pointer) else { return false };
    let mut passed = false;
    scan::values(json, &pointer, &mut |raw| {
        passed = test(&raw);
        !passed
    });
    passed
}

fn check_pointer(text: &str, whole: bool) -> Result<(), (String, String)> {
    let wrong = |problem| Err(("pointer".to_owned(), problem));
    match Pointer::parse(text) {
        Ok(pointer) if pointer.is_whole() && !whole => {
            wrong("is empty, which means the whole message: name a field, such as \"/channel\"".to_owned())
        }
        Ok(_) => Ok(()),
        Err(problem) => wrong(problem),
    }
}

/// Whether the name of a member has a placeholder.
fn has_named_placeholder(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_named_placeholder),
        Value::Object(members) => {
            members.iter().any(|(key, member)| !placeholder::is_plain(key) || has_named_placeholder(member))
        }
        _ => false,
    }
}

/// Whether a placeholder may stand for the value.
fn is_placeholder(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !placeholder::is_plain(text))
}

fn each_string(value: &Value, found: &mut dyn FnMut(&str)) {
    match value {
        Value::String(text) => found(text),
        Value::Array(items) => items.iter().for_each(|item| each_string(item, found)),
        Value::Object(members) => members.values().for_each(|member| each_string(member, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// With other values in the place of some.
fn replaced(value: &Value, other: &dyn Fn(&Value) -> Option<Value>) -> Value {
    match value {
        Value::Array(items) => items.iter().map(|item| replaced(item, other)).collect(),
        Value::Object(members) => Value::Object(
            members.iter().map(|(key, member)| (key.clone(), replaced(member, other))).collect(),
        ),
        leaf => other(leaf).unwrap_or_else(|| leaf.clone()),
    }
}

/// Fills in the values, but not the names of members.
fn render_values(template: &Value, vars: &dyn Vars) -> Result<Value, MissingVar> {
    Ok(match template {
        Value::Array(items) => {
            Value::Array(items.iter().map(|item| render_values(item, vars)).collect::<Result<_, _>>()?)
        }
        Value::Object(members) => Value::Object(
            members
                .iter()
                .map(|(key, member)| Ok((key.clone(), render_values(member, vars)?)))
                .collect::<Result<_, _>>()?,
        ),
        leaf => placeholder::value(leaf, vars)?,
    })
}

impl Serialize for Matcher {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Closure(_) => serializer.serialize_str("<closure>"),
            other => Form::of(other).serialize(serializer),
        }
    }
}

#[cfg(test)]
#[path = "matcher_tests.rs"]
mod tests;
