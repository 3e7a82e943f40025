//! Named hours, such as those of a market: whether they are open, since when, and until when.
//!
//! A [`Calendar`] answers for one instant of the wall clock, and says for how long the answer holds. A [`Timetable`]
//! keeps the answers of all calendars of a feed, so that asking costs a comparison until the next one is due.

#[cfg(feature = "schedule")]
mod calendar;

#[cfg(test)]
mod tests;

#[cfg(feature = "schedule")]
pub(crate) use calendar::{Calendar, Window};

use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// There are none: this build can't do time zones.
#[cfg(not(feature = "schedule"))]
#[derive(Debug)]
pub(crate) enum Calendar {}

#[cfg(not(feature = "schedule"))]
impl Calendar {
    pub(crate) fn at(&self, _now: SystemTime) -> Span {
        match *self {}
    }
}

/// Whether hours are open, for every `t` with `from <= t < until`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) open: bool,
    /// When they opened or closed; or, where that is too long ago to look for, some later time.
    pub(crate) from: SystemTime,
    /// When they close or open next; or, where that is too far ahead to look for, some earlier time at which to ask
    /// again. Always after the time asked for.
    pub(crate) until: SystemTime,
}

impl Span {
    fn contains(&self, at: SystemTime) -> bool {
        self.from <= at && at < self.until
    }
}

/// One entry of `by_hours`: the limit that holds during these hours, or outside of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HourLimit {
    /// Which hours, as their index in the timetable.
    pub(crate) hours: usize,
    /// Whether it holds while they are open, else while they are closed.
    pub(crate) during: bool,
    /// `None`: no limit.
    pub(crate) limit: Option<Duration>,
}

/// All hours of a feed, as they stand at one time.
#[derive(Debug, Default)]
pub(crate) struct Timetable {
    entries: Vec<(Arc<Calendar>, Span)>,
    /// From when until when all the spans hold.
    holds: Option<(SystemTime, SystemTime)>,
}

impl Timetable {
    pub(crate) fn new(calendars: Vec<Arc<Calendar>>, now: SystemTime) -> Self {
        let entries = calendars.into_iter().map(|calendar| {
            let span = calendar.at(now);
            (calendar, span)
        });
        let mut timetable = Self { entries: entries.collect(), holds: None };
        timetable.measure();
        timetable
    }

    /// Goes to another time, forward or back. Says whether any hours opened or closed in between, be it that they
    /// are as before.
    pub(crate) fn turn(&mut self, now: SystemTime) -> bool {
        let Some((from, until)) = self.holds else { return false };
        if from <= now && now < until {
            return false;
        }
        let mut turned = false;
        for (calendar, span) in &mut self.entries {
            if span.contains(now) {
                continue;
            }
            let next = calendar.at(now);
            // A span that touches the last one and says the same is its continuation.
            let continues = next.open == span.open && next.from <= span.until && span.from <= next.until;
            turned |= !continues;
            *span = match continues {
                true => Span { from: span.from.min(next.from), until: span.until.max(next.until), ..next },
                false => next,
            };
        }
        self.measure();
        turned
    }

    /// Whether the hours of this index are open. Those that don't exist never are.
    pub(crate) fn is_open(&self, index: usize) -> bool {
        self.entries.get(index).is_some_and(|(_, span)| span.open)
    }

    /// When they opened, or closed if they are closed.
    pub(crate) fn opened_at(&self, index: usize) -> SystemTime {
        self.entries.get(index).map_or(SystemTime::UNIX_EPOCH, |(_, span)| span.from)
    }

    /// When [`turn`](Self::turn) is to be called next: none of them opens or closes before. `None`: never.
    pub(crate) fn next(&self) -> Option<SystemTime> {
        self.holds.map(|(_, until)| until)
    }

    /// The first of these that applies now.
    pub(crate) fn limit<'a>(&self, entries: &'a [HourLimit]) -> Option<&'a HourLimit> {
        entries.iter().find(|entry| self.is_open(entry.hours) == entry.during)
    }

    fn measure(&mut self) {
        let from = self.entries.iter().map(|(_, span)| span.from).max();
        let until = self.entries.iter().map(|(_, span)| span.until).min();
        self.holds = from.zip(until);
    }
}
