//! What is demanded of the data of a subscription, or of the connection: which limits hold at the moment, and why.
//!
//! A limit comes from the configuration, or is learned; an entry for the hours that are now takes the place of both.
//! While it allows more, the limits on late and frozen data allow as much: what need not come can't be late.

use super::adaptive::{self, Learner};
use super::freshness::Limits;
use super::hours::{HourLimit, Timetable};
use crate::health::LimitSource;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The limits as they were configured.
#[derive(Debug, Clone, Default)]
pub(crate) struct Terms {
    /// How long there may be no data.
    pub(crate) limit: Option<Duration>,
    /// The same until the first data of a connection.
    pub(crate) first: Option<Duration>,
    /// How long there may be no timely data.
    pub(crate) late: Option<Duration>,
    /// How long the data may say the same.
    pub(crate) frozen: Option<Duration>,
    /// `limit` is learned.
    pub(crate) adaptive: Option<adaptive::Settings>,
    pub(crate) by_hours: Arc<[HourLimit]>,
}

#[derive(Debug)]
pub(crate) struct Demand {
    terms: Terms,
    /// A feed may have many subscriptions, and few of them learn.
    learner: Option<Box<Learner>>,
    /// What an entry for these hours says, if there is one.
    hours: Option<Option<Duration>>,
    /// Quiet hours have ended, and no data has come since.
    waits: bool,
}

impl Demand {
    pub(crate) fn new(terms: Terms, timetable: &Timetable) -> Self {
        let learner = terms.adaptive.map(|settings| Box::new(Learner::new(settings)));
        let mut demand = Self { terms, learner, hours: None, waits: false };
        demand.turn(timetable);
        demand
    }

    /// Other hours may have begun. Says whether that changes anything.
    pub(crate) fn turn(&mut self, timetable: &Timetable) -> bool {
        let hours = timetable.limit(&self.terms.by_hours).map(|entry| entry.limit);
        if hours == self.hours {
            return false;
        }
        let was_quiet = self.is_quiet();
        self.hours = hours;
        self.waits = was_quiet && !self.is_quiet();
        self.handle_break();
        true
    }

    /// Whether it can change with the hours.
    pub(crate) fn has_hours(&self) -> bool {
        !self.terms.by_hours.is_empty()
    }

    /// The limits that hold; `first`: until the first data of a connection.
    pub(crate) fn limits(&self, first: bool) -> Limits {
        let silent = match self.hours {
            Some(limit) => limit,
            None if first => self.terms.first,
            None => {
                let (late, frozen) = (self.terms.late, self.terms.frozen);
                return Limits { silent: self.usual(), late, frozen };
            }
        };
        let relaxed = |limit: Option<Duration>| limit.zip(silent).map(|(limit, silent)| limit.max(silent));
        Limits { silent, late: relaxed(self.terms.late), frozen: relaxed(self.terms.frozen) }
    }

    /// How long there may be no data at the moment.
    pub(crate) fn limit(&self) -> Option<Duration> {
        self.hours.unwrap_or_else(|| self.usual())
    }

    /// The same without regard to the hours.
    pub(crate) fn usual(&self) -> Option<Duration> {
        self.learner.as_ref().map(|learner| learner.limit()).or(self.terms.limit)
    }

    /// Whether these are hours in which data may stay away for longer than usual.
    pub(crate) fn is_quiet(&self) -> bool {
        match (self.hours, self.usual()) {
            (None, _) => false,
            (Some(None), usual) => usual.or(self.terms.late).or(self.terms.frozen).is_some(),
            (Some(Some(limit)), usual) => usual.is_some_and(|usual| limit > usual),
        }
    }

    /// Whether data was not owed until lately, and has not come since.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waits
    }

    /// Whether it is not enough that data comes.
    pub(crate) fn is_particular(&self) -> bool {
        self.terms.late.or(self.terms.frozen).is_some()
    }

    /// The longest of the limits that hold.
    pub(crate) fn longest(&self) -> Option<Duration> {
        let Limits { silent, late, frozen } = self.limits(false);
        silent.max(late).max(frozen)
    }

    /// Where the limit comes from.
    pub(crate) fn source(&self) -> LimitSource {
        match (&self.hours, &self.learner) {
            (Some(_), _) => LimitSource::Hours,
            (None, Some(learner)) => learner.source(),
            (None, None) => LimitSource::Configured,
        }
    }

    /// The slowest recent gap and the ceiling, if that is why the limit is no longer.
    pub(crate) fn at_ceiling(&self) -> Option<(Duration, Duration)> {
        let learner = self.learner.as_ref().filter(|learner| learner.source() == LimitSource::Ceiling)?;
        Some((learner.learned()?, learner.limit()))
    }

    /// The slowest recent gap, if the limit is learned and enough is known.
    pub(crate) fn learned(&self) -> Option<Duration> {
        self.learner.as_ref()?.learned()
    }

    /// Data came, in attended time. Says whether the limit changes by that.
    pub(crate) fn handle_data(&mut self, at: Instant) -> bool {
        self.waits = false;
        self.learn(|learner| learner.handle_data(at))
    }

    /// It was held to be silent. Says whether the limit changes by that.
    pub(crate) fn handle_stale(&mut self) -> bool {
        self.learn(Learner::handle_stale)
    }

    /// What comes next says nothing about the gap before it.
    pub(crate) fn handle_break(&mut self) {
        if let Some(learner) = &mut self.learner {
            learner.handle_break();
        }
    }

    /// Other hours than the usual ones teach nothing.
    fn learn(&mut self, lesson: impl FnOnce(&mut Learner)) -> bool {
        if self.hours.is_some() {
            return false;
        }
        let Some(learner) = &mut self.learner else { return false };
        let before = (learner.limit(), learner.source());
        lesson(learner);
        (learner.limit(), learner.source()) != before
    }
}
