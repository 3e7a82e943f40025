//! The machine and what a person is told of: which event of the machine concerns which condition.
//!
//! Once the feed is being closed nothing more is raised or cleared: `Closed` is the end of it all.

use super::{Cycle, Phase, Session};
use crate::clock::Stamp;
use crate::error::EndReason;
use crate::event::{Alert, AlertKind, AlertStatus, Event};
use crate::message::SubscriptionId;
use crate::policy::alarm::{Alarms, Moment, Settings};
use crate::policy::freshness::{CONNECTION, Key};
use std::time::{Duration, Instant};

/// The conditions of a feed, and its reading time.
pub(super) struct Watch {
    alarms: Alarms,
    opened: Instant,
    /// Time away from the sockets of the connections before.
    away: Duration,
}

impl Watch {
    pub(super) fn new(settings: Settings, now: Instant, is_open: &dyn Fn(usize) -> bool) -> Self {
        Self { alarms: Alarms::new(settings, now, is_open), opened: now, away: Duration::ZERO }
    }

    /// The kinds of those that are raised.
    pub(super) fn raised(&self) -> Vec<&'static str> {
        self.alarms.raised()
    }
}

impl Session {
    // ---- what the machine reports ------------------------------------------------------------------------

    /// There is a connection.
    pub(super) fn alarms_connected(&mut self, now: Stamp) {
        self.alarm(now, |alarms, at| alarms.handle_connected(at));
    }

    /// The connection that this was is over: what the reader was away on it does not count.
    pub(super) fn alarms_left(&mut self, away: Duration) {
        self.watch.away = self.watch.away.saturating_add(away);
    }

    /// A connection ended, or an attempt.
    pub(super) fn alarms_ended(&mut self, now: Stamp, was_connected: bool, reason: &EndReason) {
        let counts = !matches!(reason, EndReason::Reconnect | EndReason::ClosedByUser);
        self.alarm(now, |alarms, at| alarms.handle_ended(at, was_connected, reason, counts));
    }

    /// A cycle of the reader brought something.
    pub(super) fn alarms_recv(&mut self, now: Stamp, cycle: &Cycle<'_>) {
        self.alarm(now, |alarms, at| {
            if cycle.data > 0 {
                alarms.handle_data(at);
            } else {
                alarms.handle_no_data(at, true);
            }
            alarms.handle_unmatched(at, cycle.unmatched);
        });
    }

    /// The socket is empty.
    pub(super) fn alarms_empty(&mut self, now: Stamp) {
        if self.is_connected() {
            self.alarm(now, |alarms, at| alarms.handle_no_data(at, false));
        }
    }

    /// Time passed. While there is a connection, only the reader can tell that there was no data.
    pub(super) fn alarms_due(&mut self, now: Stamp) {
        let is_up = self.is_up();
        self.alarm(now, |alarms, at| {
            alarms.handle_timeout(at);
            if !is_up {
                alarms.handle_no_data(at, false);
            }
        });
    }

    /// Other hours have begun.
    pub(super) fn alarms_hours(&mut self, now: Stamp) {
        let Some(at) = self.moment(now) else { return };
        let timetable = &self.timetable;
        self.watch.alarms.handle_hours(at, &|index| timetable.is_open(index));
        self.say_alarms(now, at);
    }

    /// The server refused or ended a subscription, and it is not tried again on this connection.
    pub(super) fn alarms_refused(&mut self, now: Stamp, subscription: SubscriptionId, detail: String) {
        self.alarm(now, |alarms, at| alarms.handle_refused(at, subscription, detail));
    }

    /// A subscription is in quarantine.
    pub(super) fn alarms_quarantined(&mut self, now: Stamp, key: Key, ends: u32) {
        if let Some(id) = self.subscriptions.get(key).map(|entry| entry.want.id.clone()) {
            self.alarm(now, |alarms, at| alarms.handle_quarantined(at, id, ends));
        }
    }

    /// A subscription stays stale, though a new connection was made, or because none is to be made.
    pub(super) fn alarms_stale(&mut self, now: Stamp, id: SubscriptionId, age: Duration, limit: Duration) {
        self.alarm(now, |alarms, at| alarms.handle_stale(at, id, age, limit));
    }

    /// Its data has come for as long as its limit.
    pub(super) fn alarms_healed(&mut self, now: Stamp, key: Key) {
        if let Some(id) = self.subscriptions.get(key).map(|entry| entry.want.id.clone()) {
            self.alarm(now, |alarms, at| alarms.handle_healed(at, &id));
        }
    }

    /// The message of a subscription can't be made.
    pub(super) fn alarms_failed(&mut self, now: Stamp, subscription: SubscriptionId, detail: String) {
        self.alarm(now, |alarms, at| alarms.handle_failed(at, subscription, detail));
    }

    /// It could be made, and is written.
    pub(super) fn alarms_made(&mut self, now: Stamp, key: Key) {
        if let Some(id) = self.subscriptions.get(key).map(|entry| entry.want.id.clone()) {
            self.alarm(now, |alarms, at| alarms.handle_made(at, &id));
        }
    }

    /// The server granted a subscription, or sent data for it.
    pub(super) fn alarms_granted(&mut self, now: Stamp, key: Key) {
        if let Some(id) = self.subscriptions.get(key).map(|entry| entry.want.id.clone()) {
            self.alarm(now, |alarms, at| alarms.handle_granted(at, &id));
        }
    }

    /// A subscription is wanted no more.
    pub(super) fn alarms_withdrawn(&mut self, now: Stamp, id: &SubscriptionId) {
        self.alarm(now, |alarms, at| alarms.handle_withdrawn(at, id));
    }

    /// A learned limit is at its ceiling, with the slowest gap and the ceiling, or no longer. For the key of a
    /// subscription, or [`CONNECTION`]. Cheap if nothing changes.
    pub(super) fn alarms_ceiling(&mut self, now: Stamp, key: Key, found: Option<(Duration, Duration)>) {
        let id = match self.subscriptions.get(key) {
            Some(entry) => Some(entry.want.id.clone()),
            None if key == CONNECTION => None,
            None => return,
        };
        self.alarm(now, |alarms, at| alarms.handle_ceiling(at, id, found));
    }

    /// The queue is nearly full, with so many messages and bytes, or has room again.
    pub(crate) fn handle_slow_consumer(&mut self, now: Stamp, slow: bool, messages: usize, bytes: usize) {
        self.alarm(now, |alarms, at| alarms.handle_slow_consumer(at, slow, messages, bytes));
    }

    // ---- when the machine has to report ------------------------------------------------------------------

    /// When time has to be told of.
    pub(super) fn alarm_deadline(&self) -> Option<Instant> {
        if self.closing.is_some() {
            return None;
        }
        let alarms = &self.watch.alarms;
        let no_data = if self.is_up() { None } else { alarms.no_data_at() };
        let read = [no_data, alarms.unmatched_over()].into_iter().flatten().min();
        let read = read.and_then(|read| self.when_read(read));
        [alarms.next_deadline(), read].into_iter().flatten().min()
    }

    /// When the socket has to be looked at.
    pub(super) fn no_data_deadline(&self) -> Option<Instant> {
        if self.closing.is_some() || !self.is_connected() {
            return None;
        }
        self.when_read(self.watch.alarms.no_data_at()?)
    }

    // ---- shared steps ------------------------------------------------------------------------------------

    /// Time that does not count: the reader left the socket alone.
    fn away(&self, now: Instant) -> Duration {
        let here = match &self.phase {
            Phase::Up(up) => up.attention.away(now),
            _ => Duration::ZERO,
        };
        self.watch.away.saturating_add(here)
    }

    /// When there will be so much reading time; `None` while the reader is away.
    fn when_read(&self, read: Duration) -> Option<Instant> {
        if self.is_away() {
            return None;
        }
        // Not away, the time away is the same at any moment.
        self.watch.opened.checked_add(read.checked_add(self.away(self.watch.opened))?)
    }

    /// Reports something, and says what is to be said.
    fn alarm(&mut self, now: Stamp, report: impl FnOnce(&mut Alarms, Moment)) {
        let Some(at) = self.moment(now) else { return };
        report(&mut self.watch.alarms, at);
        self.say_alarms(now, at);
    }

    /// Now, on both clocks, unless the feed is being closed.
    fn moment(&self, now: Stamp) -> Option<Moment> {
        if self.closing.is_some() || self.closed().is_some() {
            return None;
        }
        let passed = now.mono.saturating_duration_since(self.watch.opened);
        Some(Moment { now: now.mono, read: passed.saturating_sub(self.away(now.mono)) })
    }

    fn say_alarms(&mut self, now: Stamp, at: Moment) {
        for key in self.quarantine.take_released() {
            if let Some(entry) = self.subscriptions.get(key) {
                self.watch.alarms.handle_released(at, &entry.want.id);
            }
        }
        while let Some((status, kind)) = self.watch.alarms.poll() {
            self.say_alert(now, status, kind);
        }
    }

    /// Says something that happens once.
    pub(crate) fn alert(&mut self, now: Stamp, kind: AlertKind) {
        self.say_alert(now, AlertStatus::Happened, kind);
    }

    fn say_alert(&mut self, now: Stamp, status: AlertStatus, kind: AlertKind) {
        if self.closed().is_none() {
            let alert = Alert { time: now.wall, epoch: self.epoch, status, kind };
            self.events.push_back(Event::Alert(Box::new(alert)));
        }
    }
}
