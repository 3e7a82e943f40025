//! Follows the numbers of a sequence, and says where some are missing.

use crate::dialect::json::place::Place;
use crate::dialect::json::scalar::Scalar;
use crate::dialect::matcher::Matcher;
use crate::dialect::sequence::{SequenceFn, SequenceNumbers, SequenceRule, Sequenced};
use crate::message::Payload;
use crate::panics::caught;
use std::borrow::Cow;
use std::collections::HashMap;

/// Half of the counters that are kept at most.
const GENERATION: usize = 32_768;

/// So much data without a number that can be followed, from the first on, is said.
const BLIND: u32 = 50;

/// Values that are longer are not counted for.
const MAX_KEY: usize = 256;

/// What a message says about its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seq {
    /// Nothing: it has no number.
    None,
    /// It joins up with what came before, or is the first.
    Ok,
    /// The same again, as the rule expects: a sign of life, no data.
    Repeat,
    /// An old or doubled message, out of order: nothing is missing, and the counter stays where it is.
    Old,
    /// Something is missing between `from`, the last number before, and `to`, the (first) number of this message, which
    /// is the lower one where the server counts anew without saying so.
    Gap { from: u64, to: u64, lost: Option<u64> },
    /// It starts anew, as the rule or the message itself says.
    Reset,
}

/// The counters of a rule.
#[derive(Debug)]
pub(crate) struct Tracker {
    numbers: Numbers,
    per: Option<Place>,
    repeats: bool,
    reset: Option<Matcher>,
    counters: Counters,
    panicked: Option<String>,
    sight: Sight,
    /// The pointers as they were written: to the number, and to what it is counted for.
    pointers: [Option<Box<str>>; 2],
}

/// Whether the numbers were ever found.
#[derive(Debug, Clone, Copy)]
enum Sight {
    /// Not in so much data.
    Blind(u32),
    /// At `per`, not at the number.
    Half(u32),
    Seen,
    /// It was said that they are not.
    Told,
}

impl Tracker {
    /// A rule is taken to be checked: one that is not valid finds nothing.
    pub(crate) fn new(rule: &SequenceRule) -> Self {
        let numbers = Numbers::new(&rule.numbers);
        let per = rule.per.as_deref().map(Place::parse).transpose();
        let (numbers, per) = match (numbers, per) {
            (Ok(numbers), Ok(per)) => (numbers, per),
            _ => (Numbers::Nowhere, None),
        };
        Self {
            numbers,
            per,
            repeats: rule.repeats,
            reset: rule.reset.clone(),
            counters: Counters::default(),
            panicked: None,
            sight: Sight::Blind(0),
            pointers: [rule.number(), rule.per.as_deref()].map(|pointer| pointer.map(Box::from)),
        }
    }

    /// Says what a message is in its sequence. Closures of the application are called here.
    pub(crate) fn check(&mut self, payload: Payload<'_>) -> Seq {
        let json = payload.as_bytes();
        let Self { numbers, per, repeats, reset, counters, panicked, sight, .. } = self;
        let key = match per {
            None => Key::Only,
            Some(per) => per.read(json).map_or(Key::Missing, Key::of),
        };
        if let Numbers::Closure(decide) = numbers {
            *sight = Sight::Seen; // only the closure knows
            return counters.slot(&key).map_or(Seq::None, |at| ask(decide, payload, at, panicked));
        }
        let mut is_reset = || {
            let Some(reset) = reset else { return false };
            caught(|| reset.matches(payload)).unwrap_or_else(|message| {
                panicked.get_or_insert(message);
                false
            })
        };
        let span = match key {
            Key::Missing => None,
            Key::Only | Key::Value(_) => numbers.span(json),
        };
        if let Sight::Blind(count) | Sight::Half(count) = *sight {
            *sight = match (&key, &span) {
                (_, Some(_)) => Sight::Seen,
                (Key::Missing, None) => Sight::Blind(count),
                (Key::Only | Key::Value(_), None) => Sight::Half(count),
            };
        }
        let Some(span) = span else {
            return if is_reset() && counters.forget(&key) { Seq::Reset } else { Seq::None };
        };
        let Some(at) = counters.slot(&key) else { return Seq::None };
        let seq = follow(at, span, *repeats);
        // What joins up needs no excuse, so the matcher is seldom asked.
        if matches!(seq, Seq::Ok | Seq::Reset) || !is_reset() {
            return seq;
        }
        *at = Some(Counter::at(span.last));
        Seq::Reset
    }

    /// The next numbers are taken as they are: a new connection, or subscribed anew.
    pub(crate) fn restart(&mut self) {
        self.counters = Counters { forgotten: self.counters.forgotten, ..Counters::default() };
        if matches!(self.sight, Sight::Seen) {
            self.sight = Sight::Blind(0); // it may be another server
        }
    }

    /// What was looked at last is data. After so much of it in which nothing was found it gives the pointer that leads
    /// nowhere, once, and how much it was.
    pub(crate) fn note_data(&mut self) -> Option<(&str, u32)> {
        let (Sight::Blind(count) | Sight::Half(count)) = &mut self.sight else { return None };
        *count += 1;
        let count = *count;
        if count < BLIND {
            return None;
        }
        let [number, per] = &self.pointers;
        let missing =
            if matches!(self.sight, Sight::Half(_)) { number } else { per.as_ref().map_or(number, |_| per) };
        self.sight = Sight::Told;
        missing.as_deref().map(|pointer| (pointer, count))
    }

    /// How many counters were forgotten since the last call, because there were too many. Gaps of those go unseen.
    pub(crate) fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.counters.forgotten)
    }

    /// What a closure of the rule said that panicked since the last call; the first, if several did.
    pub(crate) fn take_panicked(&mut self) -> Option<String> {
        self.panicked.take()
    }
}

/// Where the numbers are, parsed.
#[derive(Debug)]
enum Numbers {
    /// The rule is not valid.
    Nowhere,
    Contiguous(Place),
    Linked {
        current: Place,
        previous: Place,
    },
    Range {
        first: Place,
        last: Place,
    },
    Closure(SequenceFn),
}

impl Numbers {
    fn new(numbers: &SequenceNumbers) -> Result<Self, String> {
        Ok(match numbers {
            SequenceNumbers::Contiguous(pointer) => Self::Contiguous(Place::parse(pointer)?),
            SequenceNumbers::Linked { current, previous } => {
                Self::Linked { current: Place::parse(current)?, previous: Place::parse(previous)? }
            }
            SequenceNumbers::Range { first, last } => {
                Self::Range { first: Place::parse(first)?, last: Place::parse(last)? }
            }
            SequenceNumbers::Closure(decide) => Self::Closure(decide.clone()),
        })
    }

    /// The numbers of a message, if it has all that it needs.
    fn span(&self, json: &[u8]) -> Option<Span> {
        match self {
            Self::Contiguous(place) => {
                let number = Found::at(place, json).number()?;
                Some(Span { joins: Joins::Next, first: number, last: number })
            }
            Self::Linked { current, previous } => {
                let number = Found::at(current, json).number()?;
                let joins = match Found::at(previous, json) {
                    Found::Number(previous) => Joins::After(previous),
                    Found::Lacking => Joins::Nothing,
                    Found::Odd => return None,
                };
                Some(Span { joins, first: number, last: number })
            }
            Self::Range { first, last } => {
                let last = Found::at(last, json).number()?;
                match Found::at(first, json) {
                    Found::Number(first) => Some(Span { joins: Joins::Range, first, last }),
                    Found::Lacking => Some(Span { joins: Joins::Nothing, first: last, last }),
                    Found::Odd => None,
                }
            }
            Self::Nowhere | Self::Closure(_) => None,
        }
    }
}

/// What stands at the place of a number.
enum Found {
    Number(u64),
    /// Nothing, `null`, or a negative number, which servers write for "none before this".
    Lacking,
    Odd,
}

impl Found {
    fn at(place: &Place, json: &[u8]) -> Self {
        place.read(json).map_or(Self::Lacking, |raw| Self::of(&raw))
    }

    fn of(raw: &[u8]) -> Self {
        if raw == b"null" {
            return Self::Lacking;
        }
        let digits = raw.strip_prefix(b"\"").and_then(|raw| raw.strip_suffix(b"\"")).unwrap_or(raw);
        let (negative, digits) = match digits.strip_prefix(b"-") {
            Some(digits) => (true, digits),
            None => (false, digits),
        };
        if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
            return Self::Odd;
        }
        if negative {
            return Self::Lacking;
        }
        let number = digits
            .iter()
            .try_fold(0_u64, |number, digit| number.checked_mul(10)?.checked_add(u64::from(digit - b'0')));
        number.map_or(Self::Odd, Self::Number)
    }

    fn number(self) -> Option<u64> {
        match self {
            Self::Number(number) => Some(number),
            Self::Lacking | Self::Odd => None,
        }
    }
}

/// The numbers of one message.
#[derive(Debug, Clone, Copy)]
struct Span {
    joins: Joins,
    /// What it goes by in a gap.
    first: u64,
    /// What the next one joins up with.
    last: u64,
}

/// What a message joins up with.
#[derive(Debug, Clone, Copy)]
enum Joins {
    /// The number before its own.
    Next,
    /// Any number from the one before its first.
    Range,
    /// This number.
    After(u64),
    /// It has none before it.
    Nothing,
}

impl Span {
    /// Whether it goes on from a number.
    fn joins(&self, number: u64) -> bool {
        match self.joins {
            Joins::Next | Joins::Range => self.first <= number.saturating_add(1) && self.last > number,
            Joins::After(previous) => previous == number,
            Joins::Nothing => false,
        }
    }

    /// Whether there is nothing in it that comes after a number.
    fn is_old(&self, number: u64) -> bool {
        self.last <= number
            && match self.joins {
                Joins::After(previous) => previous < number,
                Joins::Next | Joins::Range | Joins::Nothing => true,
            }
    }
}

/// Where a counter is.
#[derive(Debug, Clone, Copy)]
struct Counter {
    last: u64,
    /// An old number that came directly before, from which the next may go on.
    old: Option<u64>,
}

impl Counter {
    fn at(last: u64) -> Self {
        Self { last, old: None }
    }
}

/// Takes a message into account.
fn follow(at: &mut Option<Counter>, span: Span, repeats: bool) -> Seq {
    let Some(counter) = at else {
        *at = Some(Counter::at(span.last));
        return Seq::Ok;
    };
    let from = counter.last;
    let seq = if matches!(span.joins, Joins::Nothing) {
        Seq::Reset
    } else if span.joins(from) {
        match span.joins {
            Joins::After(_) if span.last == from && repeats => Seq::Repeat,
            // It follows on what was there before, by its own word, and counts anew.
            Joins::After(_) if span.last < from => Seq::Reset,
            _ => Seq::Ok,
        }
    } else if !span.is_old(from) {
        let lost = match span.joins {
            Joins::Next => Some(span.first - from - 1),
            _ => None,
        };
        Seq::Gap { from, to: span.first, lost }
    } else if span.last == from && repeats {
        Seq::Repeat
    } else if span.last < from && counter.old.is_some_and(|old| span.joins(old)) {
        Seq::Gap { from, to: span.first, lost: None }
    } else {
        counter.old = Some(span.last);
        return Seq::Old;
    };
    *at = Some(Counter::at(span.last));
    seq
}

/// Lets a closure judge.
fn ask(
    decide: &SequenceFn,
    payload: Payload<'_>,
    at: &mut Option<Counter>,
    panicked: &mut Option<String>,
) -> Seq {
    let last = at.map(|counter| counter.last);
    let said = caught(|| decide.call(payload, last)).unwrap_or_else(|message| {
        panicked.get_or_insert(message);
        Sequenced::None
    });
    let (number, seq) = match said {
        Sequenced::None => return Seq::None,
        Sequenced::Repeat => return Seq::Repeat,
        Sequenced::Old => return Seq::Old,
        Sequenced::Joins(number) => (number, Seq::Ok),
        Sequenced::Gap { number, lost } => {
            (number, Seq::Gap { from: last.unwrap_or(number), to: number, lost })
        }
        Sequenced::Reset(number) => (number, Seq::Reset),
    };
    *at = Some(Counter::at(number));
    seq
}

/// Which counter a message belongs to.
enum Key<'a> {
    /// There is but one.
    Only,
    /// That of this value: the text of a string, or a word.
    Value(Cow<'a, [u8]>),
    /// None of them.
    Missing,
}

impl<'a> Key<'a> {
    fn of(raw: Cow<'a, [u8]>) -> Self {
        let value = match raw {
            Cow::Borrowed(raw) => value_of(raw),
            Cow::Owned(raw) => value_of(&raw).map(|value| Cow::Owned(value.into_owned())),
        };
        value.filter(|value| value.len() <= MAX_KEY).map_or(Self::Missing, Self::Value)
    }
}

/// What is counted for: a string's text, or a number or boolean as it is written.
fn value_of(raw: &[u8]) -> Option<Cow<'_, [u8]>> {
    match Scalar::parse(raw)? {
        Scalar::Text(text) => Some(text),
        Scalar::Number(_) | Scalar::Bool(_) => Some(Cow::Borrowed(raw)),
        Scalar::Null => None,
    }
}

/// The counters of all values, in two generations: when the younger is full, the older is forgotten.
#[derive(Debug, Default)]
struct Counters {
    only: Option<Counter>,
    young: HashMap<Box<[u8]>, Option<Counter>>,
    old: HashMap<Box<[u8]>, Option<Counter>>,
    forgotten: u64,
}

impl Counters {
    fn slot(&mut self, key: &Key<'_>) -> Option<&mut Option<Counter>> {
        let value: &[u8] = match key {
            Key::Only => return Some(&mut self.only),
            Key::Missing => return None,
            Key::Value(value) => value,
        };
        if !self.young.contains_key(value) {
            let (value, counter) = self.old.remove_entry(value).unwrap_or_else(|| (value.into(), None));
            if self.young.len() >= GENERATION {
                let older = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
                self.forgotten += older.len() as u64;
            }
            self.young.insert(value, counter);
        }
        self.young.get_mut(value)
    }

    /// Forgets a counter, or all if the message belongs to none. Whether there was something to forget.
    fn forget(&mut self, key: &Key<'_>) -> bool {
        match key {
            Key::Only => self.only.take().is_some(),
            Key::Value(value) => {
                let value: &[u8] = value;
                self.young.remove(value).or_else(|| self.old.remove(value)).is_some()
            }
            Key::Missing => {
                let known = !(self.young.is_empty() && self.old.is_empty());
                self.young.clear();
                self.old.clear();
                known
            }
        }
    }
}

#[cfg(test)]
#[path = "tracker_tests.rs"]
mod tests;
