//! Which numbers in the data say whether messages are missing: the rule, as the application writes it.

pub(in crate::dialect) mod tracker;

use crate::class::OnGap;
use crate::dialect::json::place::Place;
use crate::dialect::matcher::Matcher;
use crate::message::Payload;
use crate::table::Table;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::sync::Arc;

/// How numbers in the messages show that some are missing.
///
/// In data (JSON, TOML) it is one of
///
/// - `{"contiguous": "/seq"}`: each message has the next number;
/// - `{"current": "/seqId", "previous": "/prevSeqId"}`: each message names the one before it;
/// - `{"first": "/U", "last": "/u"}`: each message covers a range of numbers, which begins where the one before ended.
///
/// and beside it, if wanted, `"per"`, `"repeats"`, `"reset"` and `"on_gap"`: the fields below.
///
/// Numbers are JSON integers or strings of digits, from 0 to 2^64 - 1. A message without one of the numbers (none
/// there, no integer, too large, or a negative one) says nothing about the sequence, and is no gap. But where
/// `previous` or `first` alone is missing, `null` or negative, the message has none before it, as a snapshot: it
/// starts anew. So does one whose `previous` is the number that is due, while its own is lower: the server
/// has begun to count anew, and says so.
///
/// The first number after a connect or a resubscribe is taken as it is. A number at or below the last one is an old or
/// doubled message, and no gap: nothing is missing. Only when the next message goes on from it, the server has begun
/// to count anew without saying so, which is a gap. A range that overlaps with what was there is no gap.
///
/// A rule whose pointers find nothing is not met in silence: when none of the first 50 data messages of a connection
/// has a number that can be followed, an alert says so ([`NothingFound`](crate::AlertKind::NothingFound)), once.
///
/// The numbers are looked for with one scan each, of about 1 ns for each byte in front of the field.
///
/// ```
/// use livefeed::{Matcher, OnGap, SequenceRule};
///
/// let book = SequenceRule::contiguous("/data/u")
///     .per("/data/s")
///     .repeats(true)
///     .reset(Matcher::pointer("/data/u", 1))
///     .on_gap(OnGap::Resubscribe);
/// let same: SequenceRule = serde_json::from_str(
///     r#"{"contiguous": "/data/u", "per": "/data/s", "repeats": true,
///         "reset": {"pointer": "/data/u", "equals": 1}, "on_gap": "resubscribe"}"#,
/// )
/// .unwrap();
/// assert_eq!(format!("{book:?}"), format!("{same:?}"));
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Table<Form>")]
#[non_exhaustive]
pub struct SequenceRule {
    /// Where the numbers are, and how they follow one another.
    pub numbers: SequenceNumbers,
    /// A pointer to what the numbers are counted for: a product, a channel. Each value there (a string of up to 256
    /// bytes, a number, a boolean) has a counter of its own; a message without one says nothing about the
    /// sequence. At least the 32,768 counters that were last used are kept, and at most 65,536; that others
    /// are forgotten is said by an alert. Default: one counter for all.
    pub per: Option<String>,
    /// The same number again is meant: a sign of life of the subscription, and no data. Default: `false`, an old
    /// or doubled message.
    pub repeats: bool,
    /// A message that starts anew: its number is taken as it is, and no gap. If it has no number, the next one is;
    /// if it has no value at `per`, that holds for all counters. Default: none.
    pub reset: Option<Matcher>,
    /// What is done about a gap, besides saying it. Default: [`OnGap::Signal`].
    pub on_gap: OnGap,
}

/// Where the numbers of a [`SequenceRule`] are, as JSON pointers (RFC 6901).
///
/// The token `-1` stands for the last element of an array: `/-1` is the last of a message that is an array. There is no
/// `*` here, nor in `per`: one number is meant.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SequenceNumbers {
    /// Each message has the next number.
    Contiguous(String),
    /// Each message has a number, and that of the message before it.
    Linked {
        /// Where its own number is.
        current: String,
        /// Where the number before it is.
        previous: String,
    },
    /// Each message covers the numbers from `first` to `last`.
    Range {
        /// Where the first of them is.
        first: String,
        /// Where the last of them is.
        last: String,
    },
    /// A closure decides. Can't be expressed in data; serialized the rule is the string `<closure>`.
    Closure(SequenceFn),
}

/// What the closure of [`SequenceRule::with`] says about a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Sequenced {
    /// It says nothing about the sequence.
    None,
    /// It follows on what was there before; its number is this.
    Joins(u64),
    /// It is the same again, as a sign of life: no data.
    Repeat,
    /// It is an old or doubled message: nothing is missing.
    Old,
    /// Something is missing before it.
    Gap {
        /// Its number.
        number: u64,
        /// How many messages are missing, if that is known.
        lost: Option<u64>,
    },
    /// It starts anew, with this number.
    Reset(u64),
}

/// The closure of a [`SequenceRule`].
#[derive(Clone)]
pub struct SequenceFn(Arc<Decide>);

type Decide = dyn Fn(Payload<'_>, Option<u64>) -> Sequenced + Send + Sync;

impl SequenceFn {
    pub(in crate::dialect) fn call(&self, payload: Payload<'_>, last: Option<u64>) -> Sequenced {
        (self.0)(payload, last)
    }
}

impl fmt::Debug for SequenceFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<closure>")
    }
}

impl SequenceRule {
    fn new(numbers: SequenceNumbers) -> Self {
        Self { numbers, per: None, repeats: false, reset: None, on_gap: OnGap::default() }
    }

    /// Each message has the next number, at this pointer.
    pub fn contiguous(pointer: impl Into<String>) -> Self {
        Self::new(SequenceNumbers::Contiguous(pointer.into()))
    }

    /// Each message has a number at `current`, and that of the message before it at `previous`.
    pub fn linked(current: impl Into<String>, previous: impl Into<String>) -> Self {
        Self::new(SequenceNumbers::Linked { current: current.into(), previous: previous.into() })
    }

    /// Each message covers the numbers from that at `first` to that at `last`.
    pub fn range(first: impl Into<String>, last: impl Into<String>) -> Self {
        Self::new(SequenceNumbers::Range { first: first.into(), last: last.into() })
    }

    /// A closure decides. It is given the message and the last number of its counter; `None` if there is none yet.
    ///
    /// It is called on the reader thread, once for each message that the rule is for, and decides alone: `repeats` is
    /// not looked at. A panic in it counts as [`Sequenced::None`], and is reported as an alert.
    pub fn with(decide: impl Fn(Payload<'_>, Option<u64>) -> Sequenced + Send + Sync + 'static) -> Self {
        Self::new(SequenceNumbers::Closure(SequenceFn(Arc::new(decide))))
    }

    /// Counts apart for each value at this pointer.
    pub fn per(mut self, pointer: impl Into<String>) -> Self {
        self.per = Some(pointer.into());
        self
    }

    /// Says whether the same number again is meant.
    pub fn repeats(mut self, repeats: bool) -> Self {
        self.repeats = repeats;
        self
    }

    /// Says which messages start anew.
    pub fn reset(mut self, matcher: Matcher) -> Self {
        self.reset = Some(matcher);
        self
    }

    /// Says what is done about a gap.
    pub fn on_gap(mut self, on_gap: OnGap) -> Self {
        self.on_gap = on_gap;
        self
    }

    /// Where a message's own number is; of a range, the last. `None`: only a closure knows.
    pub(crate) fn number(&self) -> Option<&str> {
        match &self.numbers {
            SequenceNumbers::Contiguous(pointer)
            | SequenceNumbers::Linked { current: pointer, .. }
            | SequenceNumbers::Range { last: pointer, .. } => Some(pointer),
            SequenceNumbers::Closure(_) => None,
        }
    }

    /// Checks what the types can't. The error names the field and says what would be right.
    #[allow(dead_code, reason = "the configuration will ask")]
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        let places: &[(&str, &String)] = match &self.numbers {
            SequenceNumbers::Contiguous(pointer) => &[("contiguous", pointer)],
            SequenceNumbers::Linked { current, previous } => &[("current", current), ("previous", previous)],
            SequenceNumbers::Range { first, last } => &[("first", first), ("last", last)],
            SequenceNumbers::Closure(_) => &[],
        };
        for (field, pointer) in places.iter().copied().chain(self.per.as_ref().map(|per| ("per", per))) {
            let place = Place::parse(pointer).map_err(|problem| (field.to_owned(), problem))?;
            if place.is_wild() {
                let problem = "has a \"*\", which may be many values, where one is meant: name it, such as \"/0/seq\", or \
                               \"/-1/seq\" for that of the last element";
                return Err((field.to_owned(), problem.into()));
            }
        }
        if let Some(reset) = &self.reset {
            reset.check().map_err(|(field, problem)| (format!("reset.{field}"), problem))?;
        }
        Ok(())
    }
}

impl Serialize for SequenceRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut form = Form {
            per: self.per.clone(),
            repeats: self.repeats,
            reset: self.reset.clone(),
            on_gap: self.on_gap,
            ..Form::default()
        };
        match &self.numbers {
            SequenceNumbers::Contiguous(pointer) => form.contiguous = Some(pointer.clone()),
            SequenceNumbers::Linked { current, previous } => {
                form.current = Some(current.clone());
                form.previous = Some(previous.clone());
            }
            SequenceNumbers::Range { first, last } => {
                form.first = Some(first.clone());
                form.last = Some(last.clone());
            }
            SequenceNumbers::Closure(_) => return serializer.serialize_str("<closure>"),
        }
        form.serialize(serializer)
    }
}

/// A rule as data.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Form {
    #[serde(skip_serializing_if = "Option::is_none")]
    contiguous: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    per: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    repeats: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reset: Option<Matcher>,
    #[serde(skip_serializing_if = "is_default")]
    on_gap: OnGap,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

impl TryFrom<Table<Form>> for SequenceRule {
    type Error = &'static str;

    fn try_from(Table(form): Table<Form>) -> Result<Self, Self::Error> {
        let Form { contiguous, current, previous, first, last, per, repeats, reset, on_gap } = form;
        let numbers = match (contiguous, current, previous, first, last) {
            (Some(pointer), None, None, None, None) => SequenceNumbers::Contiguous(pointer),
            (None, Some(current), Some(previous), None, None) => {
                SequenceNumbers::Linked { current, previous }
            }
            (None, None, None, Some(first), Some(last)) => SequenceNumbers::Range { first, last },
            _ => {
                return Err(
                    "a sequence is one of {\"contiguous\": ..}, {\"current\": .., \"previous\": ..}, \
                            {\"first\": .., \"last\": ..}",
                );
            }
        };
        Ok(Self { numbers, per, repeats, reset, on_gap })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn data_form_round_trips() {
        for data in [
            json!({"contiguous": "/seq"}),
            json!({"contiguous": "/-1", "on_gap": "reconnect"}),
            json!({"current": "/s", "previous": "/p", "repeats": true}),
            json!({"first": "/U", "last": "/u", "per": "/s", "on_gap": "resubscribe"}),
            json!({"contiguous": "/u", "reset": {"pointer": "/u", "equals": 1}}),
        ] {
            let rule: SequenceRule = serde_json::from_value(data.clone()).unwrap();
            assert_eq!(serde_json::to_value(&rule).unwrap(), data);
            assert_eq!(rule.check(), Ok(()));
        }
        let closure = SequenceRule::with(|_, _| Sequenced::None);
        assert_eq!(serde_json::to_value(&closure).unwrap(), json!("<closure>"));
        assert_eq!(closure.check(), Ok(()));
        assert!(format!("{closure:?}").contains("<closure>"));
    }

    #[test]
    fn wrong_data_is_refused() {
        for (data, part) in [
            (json!({}), "a sequence is one of"),
            (json!({"current": "/a"}), "a sequence is one of"),
            (json!({"first": "/a"}), "a sequence is one of"),
            (json!({"current": "/a", "last": "/b"}), "a sequence is one of"),
            (json!({"contiguous": "/a", "first": "/b", "last": "/c"}), "a sequence is one of"),
            (json!({"contiguous": "/a", "gap": 1}), "unknown field `gap`"),
            (json!({"contiguous": "/a", "on_gap": "panic"}), "unknown variant `panic`"),
            (json!({"contiguous": "/a", "reset": {"txt": "a"}}), "unknown field `txt`"),
            (json!(["/a"]), "expected an object"),
            (json!("<closure>"), "expected an object"),
        ] {
            let error = serde_json::from_value::<SequenceRule>(data.clone()).unwrap_err().to_string();
            assert!(error.contains(part), "{data}: {error}");
        }
    }

    #[test]
    fn check_names_the_field() {
        for (rule, field) in [
            (SequenceRule::contiguous("seq"), "contiguous"),
            (SequenceRule::contiguous(""), "contiguous"),
            (SequenceRule::linked("s", "/p"), "current"),
            (SequenceRule::linked("/s", "p"), "previous"),
            (SequenceRule::range("U", "/u"), "first"),
            (SequenceRule::range("/U", "/~7"), "last"),
            (SequenceRule::contiguous("/a").per("b"), "per"),
            (SequenceRule::with(|_, _| Sequenced::None).per("b"), "per"),
            (SequenceRule::contiguous("/a").reset(Matcher::pointer("b", 1)), "reset.pointer"),
            (SequenceRule::contiguous("/a").reset(Matcher::prefix("")), "reset.prefix"),
        ] {
            assert_eq!(rule.check().unwrap_err().0, field, "{rule:?}");
        }
    }
}
