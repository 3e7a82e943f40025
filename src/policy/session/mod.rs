//! The session machine: a feed's whole life as one state machine, pure and in virtual time.
//!
//! It is driven by two threads under one lock, and the order in which they take that lock is the order of its
//! events. What it wants done comes out of `poll_action`, `poll_out`, `poll_event` and `poll_outcome`.

mod acks;
mod alarms;
mod ended;
mod hours;
mod notices;
mod parting;
mod recv;
mod refusals;
mod repair;
mod replay;
mod report;
mod up;

#[cfg(test)]
mod tests;

use super::adaptive;
use super::alarm;
use super::backoff::{self, Backoff};
use super::demand::{self, Demand};
use super::freshness::Key;
use super::hours::{Calendar, HourLimit, Timetable};
use super::ladder::{Ladder, Rung};
pub(crate) use super::ledger::Grant;
#[allow(unused_imports, reason = "the engine takes it up next")]
use super::liveness;
use super::outbox::Outbox;
use super::pulse::Pulse;
use super::quarantine::Quarantine;
use super::subscriptions::{Subscriptions, Want};
use crate::clock::Stamp;
use crate::error::{CloseReason, EndReason, Error};
use crate::event::{AlertStatus, Connecting, Event};
use crate::measures::Measures;
use crate::message::{Content, SubscriptionId};
#[allow(unused_imports, reason = "the engine takes it up next")]
pub(crate) use acks::{About, Granted};
use alarms::Watch;
use report::Totals;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use up::Up;
pub(crate) use up::{Cycle, Established};

/// What the machine needs to know of the configuration.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) backoff: backoff::Settings,
    pub(crate) liveness: liveness::Settings,
    /// The connection's limit on the age of data; `None`: none.
    pub(crate) stale_after: Option<Duration>,
    /// How that limit is learned; `stale_after` is then the ceiling. `None`: it is not.
    pub(crate) adaptive: Option<adaptive::Settings>,
    /// Attempts in a row that led to no data, after which the feed gives up.
    pub(crate) max_attempts: Option<u32>,
    /// Time without a connection, after which the feed gives up.
    pub(crate) max_downtime: Option<Duration>,
    /// How long the peer may take to answer a Close.
    pub(crate) close_wait: Duration,
    /// What a Close says that leaves one connection for the next.
    pub(crate) leave_code: u16,
    /// The bound on what the application has waiting to be written, in bytes.
    pub(crate) outbox_bytes: usize,
    /// What is done when the connection as a whole is stale. Empty: a new connection.
    pub(crate) repair: Arc<[Rung]>,
    /// How many subscriptions of a group may share a subscribe message, at least 1.
    pub(crate) batch_members: usize,
    /// How many endpoints there are, at least 1.
    pub(crate) endpoints: usize,
    /// How often a subscription is to be blamed for the end of a connection before it is left out.
    pub(crate) quarantine_after: u32,
    /// The hours that limits depend on.
    pub(crate) calendars: Vec<Arc<Calendar>>,
    /// The connection's limits by hours: the first that applies counts, in place of `stale_after`. Indices are those of
    /// `calendars`.
    pub(crate) by_hours: Arc<[HourLimit]>,
    /// What a person is told of.
    pub(crate) alarms: alarm::Settings,
}

/// What the controller thread has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Order the reader to make an attempt, to the endpoint of this index.
    Dial { epoch: u64, attempt: u32, endpoint: usize },
    /// Stop the attempt or connection at once: shut its sockets down.
    Abort,
    /// The feed is over: both threads end.
    Exit,
}

/// What became of something the application sent.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Written to the operating system. Whether the server got it only the server can say.
    Written,
    /// Dropped with the connection of this epoch, perhaps after a part of it was written. It is not sent again.
    Dropped {
        /// The connection it was meant for.
        epoch: u64,
    },
}

#[derive(Debug)]
enum Phase {
    Waiting { until: Instant },
    Dialing,
    Up(Box<Up>),
    Closed(CloseReason),
}

/// So many names are remembered at the most.
const LEFT: usize = 16 * 1024;

/// The names that had data and are wanted no more, with when the last came: should one be wanted again, what comes then does
/// not join up with it.
#[derive(Debug, Default)]
struct Left {
    last: HashMap<SubscriptionId, Option<Stamp>>,
    /// There were too many: any name may be among them.
    overflowed: bool,
}

impl Left {
    fn insert(&mut self, id: SubscriptionId, last: Option<Stamp>) {
        if self.last.len() >= LEFT {
            self.last.clear();
            self.overflowed = true;
        }
        self.last.insert(id, last);
    }

    /// When this name had its last data, if it was wanted before and is not.
    fn take(&mut self, id: Option<&SubscriptionId>) -> Option<Option<Stamp>> {
        self.last.remove(id?).or(self.overflowed.then_some(None))
    }
}

/// Where the server sent the feed to is no endpoint: what becomes of it says nothing about those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Detour {
    None,
    /// The next attempt goes there.
    Next,
    /// This attempt or connection is the one.
    Now,
}

pub(crate) struct Session {
    settings: Settings,
    backoff: Backoff,
    phase: Phase,
    subscriptions: Subscriptions,
    outbox: Outbox,
    quarantine: Quarantine,
    /// Which limits hold for the connection as a whole.
    demand: Demand,
    /// The hours, where they stand, and when to look at them again.
    timetable: Timetable,
    hours_at: Option<Instant>,
    /// When hours last began or ended.
    hours_turned: Instant,
    /// What is done about the staleness of the connection as a whole.
    ladder: Ladder,
    /// The endpoint of this attempt or connection, or of the next.
    endpoint: usize,
    /// That of the last connection.
    connected_endpoint: usize,
    /// The redacted URL that the last attempt went to.
    place: Option<String>,
    /// Whether the server sent the feed somewhere else than to the endpoints.
    detour: Detour,
    /// The next attempt goes to the next endpoint, whatever becomes of this connection.
    switch: bool,
    /// Connections in a row that ended soon, or without data, by a notice of the server.
    hasty: u32,
    /// Connections in a row that the server ended soon.
    hang_ups: u32,
    /// Whether nothing was missed before what is acknowledged just now, if that is said.
    resumed: Option<bool>,
    /// The last epoch that was established.
    epoch: u64,
    /// Attempts since the last connection.
    attempt: u32,
    /// Attempts and connections in a row that delivered no data.
    failures: u32,
    down_since: Instant,
    last_end: Option<EndReason>,
    /// Set once the feed is to close, with the reason it will give.
    closing: Option<CloseReason>,
    /// The last data, on whichever connection.
    last_data: Option<Stamp>,
    totals: Totals,
    measures: Measures,
    pulse: Pulse,
    /// What a person is told of.
    watch: Watch,
    events: VecDeque<Event>,
    actions: VecDeque<Action>,
    outcomes: VecDeque<(u64, Outcome)>,
    /// See [`Self::poll_settled`].
    settled: VecDeque<Key>,
    last_ticket: u64,
    left: Left,
}

impl Session {
    pub(crate) fn new(settings: Settings, now: Stamp, seed: u64) -> Self {
        let timetable = Timetable::new(settings.calendars.clone(), now.wall);
        let watch = Watch::new(settings.alarms.clone(), now.mono, &|index| timetable.is_open(index));
        let limit = settings.stale_after;
        let terms = demand::Terms {
            limit,
            first: limit,
            adaptive: settings.adaptive,
            by_hours: Arc::clone(&settings.by_hours),
            ..demand::Terms::default()
        };
        let mut session = Self {
            demand: Demand::new(terms, &timetable),
            timetable,
            hours_at: None,
            hours_turned: now.mono,
            backoff: Backoff::new(settings.backoff.clone(), seed),
            quarantine: Quarantine::new(settings.quarantine_after),
            ladder: Ladder::new(Arc::clone(&settings.repair)),
            endpoint: 0,
            connected_endpoint: 0,
            place: None,
            detour: Detour::None,
            switch: false,
            hasty: 0,
            hang_ups: 0,
            resumed: None,
            settings,
            phase: Phase::Waiting { until: now.mono },
            subscriptions: Subscriptions::default(),
            outbox: Outbox::default(),
            epoch: 0,
            attempt: 0,
            failures: 0,
            down_since: now.mono,
            last_end: None,
            closing: None,
            last_data: None,
            totals: Totals::default(),
            measures: Measures::default(),
            pulse: Pulse::new(now.mono),
            watch,
            events: VecDeque::new(),
            actions: VecDeque::new(),
            outcomes: VecDeque::new(),
            settled: VecDeque::new(),
            last_ticket: 0,
            left: Left::default(),
        };
        session.set_hours_deadline(now);
        session
    }

    // ---- what the application asks for -------------------------------------------------------------------

    /// Wants a subscription, from now on and on each connection to come. The key of the one it takes the place of
    /// comes back too, and whether something is to be written to end it.
    pub(crate) fn handle_subscribe(&mut self, now: Stamp, want: Want) -> (Key, Option<(Key, bool)>) {
        let (key, replaced) = self.subscriptions.insert(want, &self.timetable);
        let mut ended = false;
        if let Some((old, before)) = &replaced {
            ended = self.withdraw(now.mono, *old, before);
            self.alarms_withdrawn(now, &before.want.id);
            // One that was never written owes no gap of its own, but it may owe that of another.
            let gap = self.is_connected() && (before.in_force || before.gap);
            if let Some(entry) = self.subscriptions.get_mut(key) {
                entry.gap = gap;
            }
        }
        if replaced.is_none()
            && let Some(last) = self.left.take(self.subscriptions.get(key).map(|entry| &entry.want.id))
            && let Some(entry) = self.subscriptions.get_mut(key)
        {
            entry.last_data = last;
            entry.gap = matches!(self.phase, Phase::Up(_)); // else the gap of the reconnect is its
        }
        if self.is_connected() {
            self.enlist(now, key, false);
        }
        (key, replaced.map(|(old, _)| (old, ended)))
    }

    /// Wants a subscription no more. Says its key, and whether something has to be written to end it, now or, if it
    /// [is parting](Self::is_parting), once its answer is here.
    pub(crate) fn handle_unsubscribe(&mut self, now: Stamp, id: &SubscriptionId) -> Option<(Key, bool)> {
        let (key, entry) = self.subscriptions.remove(id)?;
        let to_write = self.withdraw(now.mono, key, &entry);
        self.alarms_withdrawn(now, id);
        if entry.last_data.is_some() {
            self.left.insert(id.clone(), entry.last_data);
        }
        Some((key, to_write))
    }

    /// Admits what the application sends, or refuses it at once. The ticket names it in its outcome.
    pub(crate) fn handle_send(&mut self, content: Content) -> Result<u64, Error> {
        if let Phase::Closed(reason) = &self.phase {
            return Err(Error::Closed(Box::new(reason.clone())));
        }
        let limit = self.settings.outbox_bytes;
        let size = content.len();
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        if !matches!(&self.phase, Phase::Up(up) if up.is_open()) || self.closing.is_some() {
            return Err(Error::NotConnected);
        }
        if !self.outbox.has_room(size, limit) {
            return Err(Error::OutboxFull { limit });
        }
        self.last_ticket += 1;
        self.outbox.push_app(self.last_ticket, content);
        Ok(self.last_ticket)
    }

    /// Wants a new connection: closes the one there is, or cuts the wait for the next attempt short.
    pub(crate) fn handle_reconnect(&mut self, now: Stamp) {
        let soon = now.mono + self.backoff.floor();
        match &mut self.phase {
            Phase::Waiting { until } => *until = soon.min(*until),
            Phase::Up(up) if up.is_open() => {
                let limit = self.settings.close_wait.min(Duration::from_millis(500));
                up.begin_close(EndReason::Reconnect, now.mono + limit);
                self.outbox.push_close(Some(self.settings.leave_code));
            }
            Phase::Up(_) | Phase::Dialing | Phase::Closed(_) => {}
        }
    }

    /// Closes the feed for good within `limit`; zero: at once, without the close handshake. Idempotent: the
    /// first reason and the earliest end hold.
    pub(crate) fn handle_close(&mut self, now: Stamp, limit: Duration, reason: CloseReason) {
        self.closing.get_or_insert(reason);
        let deadline = now.mono.checked_add(limit);
        match &mut self.phase {
            Phase::Waiting { .. } => self.finish(now),
            Phase::Dialing => self.actions.push_back(Action::Abort),
            Phase::Up(up) => {
                if limit.is_zero() {
                    up.end(EndReason::ClosedByUser);
                    self.actions.push_back(Action::Abort);
                } else if let Some(deadline) = deadline {
                    up.begin_close(EndReason::ClosedByUser, deadline);
                    self.outbox.push_close(Some(1000));
                }
            }
            Phase::Closed(_) => {}
        }
    }

    // ---- what the threads report -------------------------------------------------------------------------

    /// The attempt knows where it goes to.
    pub(crate) fn handle_connecting(&mut self, now: Stamp, endpoint: String) {
        if matches!(self.phase, Phase::Dialing) {
            let (time, epoch, attempt) = (now.wall, self.epoch + 1, self.attempt);
            self.place = Some(endpoint.clone());
            self.events.push_back(Event::Connecting(Box::new(Connecting { time, epoch, attempt, endpoint })));
        }
    }

    /// Time passed. Judges nothing: only an empty socket can be stale, see [`Self::handle_recv`] and
    /// [`Self::handle_empty`].
    pub(crate) fn handle_timeout(&mut self, now: Stamp) {
        self.turn_hours(now);
        match &mut self.phase {
            Phase::Waiting { until } => {
                if now.mono >= *until {
                    self.attempt += 1;
                    self.phase = Phase::Dialing;
                    if self.detour == Detour::Next {
                        self.detour = Detour::Now;
                    }
                    let (epoch, attempt, endpoint) = (self.epoch + 1, self.attempt, self.endpoint);
                    self.actions.push_back(Action::Dial { epoch, attempt, endpoint });
                }
            }
            Phase::Up(up) => {
                if up.take_due_ping(now.mono) {
                    self.outbox.push_ping();
                }
                if up.take_due_abort(now.mono) {
                    self.actions.push_back(Action::Abort);
                }
                if up.is_open() {
                    self.handle_due(now);
                }
            }
            Phase::Dialing | Phase::Closed(_) => {}
        }
        if self.give_up_at().is_some_and(|at| now.mono >= at) && self.closing.is_none() {
            let down = now.mono.saturating_duration_since(self.down_since);
            let reason = CloseReason::DowntimeExhausted { down, last: self.last_end.clone() };
            self.handle_close(now, Duration::ZERO, reason);
        }
        self.alarms_due(now);
    }

    // ---- what is to be done ------------------------------------------------------------------------------

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        if let Event::Alert(alert) = &event
            && alert.status != AlertStatus::Cleared
        {
            *self.measures.alerts.entry(alert.kind.name()).or_default() += 1;
        }
        Some(event)
    }

    pub(crate) fn has_actions(&self) -> bool {
        !self.actions.is_empty()
    }

    pub(crate) fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// What became of sends: ticket and outcome.
    pub(crate) fn poll_outcome(&mut self) -> Option<(u64, Outcome)> {
        self.outcomes.pop_front()
    }

    /// When `handle_timeout` is wanted, by the monotonic clock.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let own = match &self.phase {
            Phase::Waiting { until } => Some(*until),
            Phase::Up(up) if up.is_open() => {
                [up.timer(), self.quarantine.retry_at()].into_iter().flatten().min()
            }
            Phase::Up(up) => up.timer(),
            Phase::Dialing | Phase::Closed(_) => None,
        };
        let hours = self.hours_at.filter(|_| self.closed().is_none());
        [own, self.give_up_at(), hours, self.alarm_deadline()].into_iter().flatten().min()
    }

    /// When the reader should look at an empty socket, by the monotonic clock.
    pub(crate) fn recv_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Up(up) => [up.recv_deadline(), self.no_data_deadline()].into_iter().flatten().min(),
            _ => None,
        }
    }

    /// Whether the connection is over and the reader has to end it.
    pub(crate) fn must_end(&self, now: Instant) -> bool {
        match &self.phase {
            Phase::Up(up) => up.must_end(now),
            _ => true,
        }
    }

    /// Whether the reader has to stop waiting for room in the queue: the connection ends or is being closed.
    pub(crate) fn is_ending(&self) -> bool {
        !matches!(&self.phase, Phase::Up(up) if up.is_open())
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether the reader leaves the socket alone at the moment.
    pub(crate) fn is_away(&self) -> bool {
        matches!(&self.phase, Phase::Up(up) if up.attention.is_away())
    }

    /// Whether there is a connection, if only one that is ending.
    pub(crate) fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    /// How much data came in each of the last seconds.
    pub(crate) fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    fn give_up_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { .. } | Phase::Dialing if self.closing.is_none() => {
                self.down_since.checked_add(self.settings.max_downtime?)
            }
            _ => None,
        }
    }
}
