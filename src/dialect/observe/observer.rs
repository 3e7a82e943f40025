//! Follows the rules on event time and on frozen values of one subscription, over its messages.

use super::{FrozenRule, LagRule, TimeUnit, time};
use crate::dialect::json::place::Place;
use crate::dialect::json::scan;
use crate::message::{Payload, Received};
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

/// The clock here was set if it moved so much more, or less, than the time that passed.
const SET: i64 = 250_000_000;

/// And so much more for each nanosecond that passed: a clock that is only slewed does not seem set.
const SLEW: i64 = 1000;

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    /// It is not older than it may be. Always without a rule on event time.
    pub(crate) timely: bool,
    /// It has another value than the last. Always without a rule on frozen values.
    pub(crate) advanced: bool,
    /// Its lag in nanoseconds, if it has a time: 0 at least, or negative if it is from further ahead than a clock may be.
    pub(crate) lag: Option<i64>,
}

/// The rules of one subscription, and what they remember.
#[derive(Debug)]
pub(crate) struct Observer {
    lag: Option<Lag>,
    frozen: Option<Frozen>,
}

#[derive(Debug)]
struct Lag {
    place: Place,
    unit: TimeUnit,
    limit: i64,
    max_skew: i64,
    /// How far the server's clock is ahead, in nanoseconds; 0: it does not seem so.
    skew: i64,
    /// The clocks at the last message.
    clocks: Option<Received>,
}

#[derive(Debug)]
struct Frozen {
    place: Place,
    /// The hash of the last value.
    last: Option<u64>,
}

impl Observer {
    /// Rules are taken to be checked: one whose pointer is none finds nothing. `None`: there is nothing to observe.
    pub(crate) fn new(lag: Option<&LagRule>, frozen: Option<&FrozenRule>) -> Option<Self> {
        let lag = lag.and_then(Lag::new);
        let frozen = frozen.and_then(Frozen::new);
        (lag.is_some() || frozen.is_some()).then_some(Self { lag, frozen })
    }

    /// Looks at a message.
    pub(crate) fn observe(&mut self, payload: Payload<'_>, received: Received) -> Seen {
        let json = payload.as_bytes();
        let json = if scan::is_container(json) { json } else { &[] };
        let mut seen = Seen { timely: true, advanced: true, lag: None };
        if let Some(lag) = &mut self.lag {
            seen.lag = lag.of(json, received);
            seen.timely = seen.lag.is_some_and(|own| (0..=lag.limit).contains(&own));
        }
        if let Some(frozen) = &mut self.frozen {
            seen.advanced = frozen.has_moved(json);
        }
        seen
    }

    /// How far the server's clock seems to be ahead, in nanoseconds.
    pub(crate) fn skew(&self) -> i64 {
        self.lag.as_ref().map_or(0, |lag| lag.skew)
    }

    /// A new connection, or subscribed anew: it may be another clock. What the value was is remembered: the same again
    /// is nothing new, wherever it comes from.
    pub(crate) fn restart(&mut self) {
        if let Some(lag) = &mut self.lag {
            (lag.skew, lag.clocks) = (0, None);
        }
    }
}

impl Lag {
    fn new(rule: &LagRule) -> Option<Self> {
        Some(Self {
            place: Place::parse(&rule.pointer).ok()?,
            unit: rule.unit,
            limit: nanos(rule.limit),
            max_skew: nanos(rule.max_skew),
            skew: 0,
            clocks: None,
        })
    }

    /// The lag of a message.
    fn of(&mut self, json: &[u8], received: Received) -> Option<i64> {
        if self.clocks.replace(received).is_some_and(|before| was_set(before, received)) {
            self.skew = 0;
        }
        let (unit, most) = (self.unit, self.max_skew);
        let now = i64::try_from(received.nanos()).unwrap_or(i64::MAX);
        let (mut newest, mut beyond) = (None, None);
        self.place.each(json, &mut |raw| {
            let ahead = time::read(raw, unit).map(|time| time.saturating_sub(now));
            let best = if ahead > Some(most) { &mut beyond } else { &mut newest };
            *best = ahead.max(*best);
        });
        let Some(ahead) = newest else { return beyond.map(i64::saturating_neg) };
        self.skew = self.skew.max(ahead);
        Some(self.skew.saturating_sub(ahead))
    }
}

impl Frozen {
    fn new(rule: &FrozenRule) -> Option<Self> {
        Some(Self { place: Place::parse(rule.pointer.as_deref()?).ok()?, last: None })
    }

    /// Whether there is a value, and another than the last.
    fn has_moved(&mut self, json: &[u8]) -> bool {
        let mut hasher = DefaultHasher::new();
        let mut found = false;
        self.place.each(json, &mut |raw| {
            found = true;
            // The length tells where one ends.
            hasher.write_usize(raw.len());
            hasher.write(raw);
        });
        let value = hasher.finish();
        found && self.last.replace(value) != Some(value)
    }
}

/// Whether the clock here was set between the two.
fn was_set(before: Received, after: Received) -> bool {
    let passed = nanos(after.mono().saturating_duration_since(before.mono()));
    let moved = i64::try_from(i128::from(after.nanos()) - i128::from(before.nanos())).unwrap_or(i64::MAX);
    let apart = moved.saturating_sub(passed).unsigned_abs();
    apart > (SET + passed / SLEW).unsigned_abs()
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "observer_tests.rs"]
mod tests;
