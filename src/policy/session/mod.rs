//! The session machine: a feed's whole life as one state machine, pure and in virtual time.
//!
//! It is driven by two threads under one lock, and the order in which they take that lock is the order of its
//! events. What it wants done comes out of `poll_action`, `poll_out`, `poll_event` and `poll_outcome`.

mod ended;
mod report;
mod up;

#[cfg(test)]
mod tests;

use super::backoff::{self, Backoff};
use super::freshness::Key;
use super::liveness;
use super::outbox::{Out, Outbox};
use super::subscriptions::Subscriptions;
use crate::clock::Stamp;
use crate::error::{CloseReason, EndReason, Error};
use crate::event::{Alert, AlertKind, Connecting, Event, Subscribed};
use crate::health::SubscriptionState;
use crate::message::{Content, SubscriptionId};
use report::Totals;
use std::collections::VecDeque;
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
    /// Attempts in a row that led to no data, after which the feed gives up.
    pub(crate) max_attempts: Option<u32>,
    /// Time without a connection, after which the feed gives up.
    pub(crate) max_downtime: Option<Duration>,
    /// How long the peer may take to answer a Close.
    pub(crate) close_wait: Duration,
    /// The bound on what the application has waiting to be written, in bytes.
    pub(crate) outbox_bytes: usize,
}

/// What the controller thread has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Order the reader to make an attempt.
    Dial { epoch: u64, attempt: u32 },
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

pub(crate) struct Session {
    settings: Settings,
    backoff: Backoff,
    phase: Phase,
    subscriptions: Subscriptions,
    outbox: Outbox,
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
    events: VecDeque<Event>,
    actions: VecDeque<Action>,
    outcomes: VecDeque<(u64, Outcome)>,
    last_ticket: u64,
}

impl Session {
    pub(crate) fn new(settings: Settings, now: Stamp, seed: u64) -> Self {
        Self {
            backoff: Backoff::new(settings.backoff.clone(), seed),
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
            events: VecDeque::new(),
            actions: VecDeque::new(),
            outcomes: VecDeque::new(),
            last_ticket: 0,
        }
    }

    // ---- what the application asks for -------------------------------------------------------------------

    /// Wants a subscription, from now on and on each connection to come. `payload`: something has to be written.
    /// The key of the one it takes the place of comes back too, and whether something is to be written to end it.
    pub(crate) fn handle_subscribe(
        &mut self,
        now: Stamp,
        id: SubscriptionId,
        limit: Option<Duration>,
        payload: bool,
    ) -> (Key, Option<(Key, bool)>) {
        let (key, replaced) = self.subscriptions.insert(id, limit, payload);
        let mut ended = false;
        let waiting = replaced.as_ref().is_some_and(|(old, _)| self.outbox.cancel_subscribe(*old));
        if let Phase::Up(up) = &mut self.phase {
            if let Some((old, _)) = &replaced {
                up.freshness.disarm(*old);
            }
            if up.is_open() {
                if let Some((old, before)) = &replaced {
                    ended = !waiting && before.state != SubscriptionState::Desired;
                    if ended {
                        self.outbox.push_unsubscribe(*old);
                    }
                    // One that was never written owes no gap of its own, but it may owe that of another.
                    if let Some(entry) = self.subscriptions.get_mut(key) {
                        entry.gap = ended || before.gap;
                    }
                }
                self.enlist(now, key, false);
            }
        }
        (key, replaced.map(|(old, _)| (old, ended)))
    }

    /// Wants a subscription no more. Says its key, and whether something has to be written to end it.
    pub(crate) fn handle_unsubscribe(&mut self, id: &SubscriptionId) -> Option<(Key, bool)> {
        let (key, entry) = self.subscriptions.remove(id)?;
        let waiting = self.outbox.cancel_subscribe(key);
        let Phase::Up(up) = &mut self.phase else { return Some((key, false)) };
        up.freshness.disarm(key);
        let in_force = up.is_open() && !waiting && entry.state != SubscriptionState::Desired;
        if in_force {
            self.outbox.push_unsubscribe(key);
        }
        Some((key, in_force))
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
                self.outbox.push_close(Some(1000));
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
            self.events.push_back(Event::Connecting(Box::new(Connecting { time, epoch, attempt, endpoint })));
        }
    }

    /// The next thing to write is handed to the controller.
    pub(crate) fn poll_out(&mut self, now: Stamp) -> Option<Out> {
        let out = self.outbox.pop()?;
        if let Out::Subscribe(key) = out {
            self.mark_gap(now, key);
        }
        Some(out)
    }

    pub(crate) fn has_out(&self) -> bool {
        matches!(self.phase, Phase::Up(_)) && !self.outbox.is_empty()
    }

    /// What `poll_out` handed out was written to the operating system, on the connection of this epoch.
    pub(crate) fn handle_written(&mut self, now: Stamp, epoch: u64, out: &Out) {
        if let Out::App { ticket, .. } = out {
            self.outcomes.push_back((*ticket, Outcome::Written));
        }
        let Phase::Up(up) = &mut self.phase else { return };
        if epoch != self.epoch {
            return;
        }
        match out {
            Out::Ping => up.handle_ping_written(now.mono),
            Out::Close(_) => up.handle_close_written(now.mono),
            Out::Subscribe(key) => self.put_in_force(now, *key),
            Out::Pong(_) | Out::Unsubscribe(_) | Out::App { .. } => {}
        }
    }

    /// What `poll_out` handed out was lost with its connection.
    pub(crate) fn handle_lost(&mut self, epoch: u64, out: &Out) {
        if let Out::App { ticket, .. } = out {
            self.outcomes.push_back((*ticket, Outcome::Dropped { epoch }));
        }
    }

    /// A subscribe payload could not be made. The subscription is watched all the same: with a limit it goes
    /// stale, and that is repaired with a payload made afresh.
    pub(crate) fn handle_render_failed(&mut self, now: Stamp, key: Key, detail: String) {
        let Some(entry) = self.subscriptions.get_mut(key) else { return };
        entry.state = SubscriptionState::Desired;
        let kind = AlertKind::SubscribeFailed { subscription: entry.id.clone(), detail };
        let limit = entry.limit;
        self.alert(now, kind);
        if let (Phase::Up(up), Some(limit)) = (&mut self.phase, limit) {
            up.arm(key, limit, now.mono);
        }
    }

    /// Time passed. Judges nothing: only an empty socket can be stale, see [`Self::handle_recv`] and
    /// [`Self::handle_empty`].
    pub(crate) fn handle_timeout(&mut self, now: Stamp) {
        match &mut self.phase {
            Phase::Waiting { until } => {
                if now.mono >= *until {
                    self.attempt += 1;
                    self.phase = Phase::Dialing;
                    let (epoch, attempt) = (self.epoch + 1, self.attempt);
                    self.actions.push_back(Action::Dial { epoch, attempt });
                }
            }
            Phase::Up(up) => {
                if up.take_due_ping(now.mono) {
                    self.outbox.push_ping();
                }
                if up.take_due_abort(now.mono) {
                    self.actions.push_back(Action::Abort);
                }
            }
            Phase::Dialing | Phase::Closed(_) => {}
        }
        if self.give_up_at().is_some_and(|at| now.mono >= at) && self.closing.is_none() {
            let down = now.mono.saturating_duration_since(self.down_since);
            let reason = CloseReason::DowntimeExhausted { down, last: self.last_end.clone() };
            self.handle_close(now, Duration::ZERO, reason);
        }
    }

    // ---- what is to be done ------------------------------------------------------------------------------

    pub(crate) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
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
            Phase::Up(up) => up.timer(),
            Phase::Dialing | Phase::Closed(_) => None,
        };
        [own, self.give_up_at()].into_iter().flatten().min()
    }

    /// When the reader should look at an empty socket, by the monotonic clock.
    pub(crate) fn recv_deadline(&self) -> Option<Instant> {
        match &self.phase {
            Phase::Up(up) => up.recv_deadline(),
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

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(crate) fn alert(&mut self, now: Stamp, kind: AlertKind) {
        let alert = Alert { time: now.wall, epoch: self.epoch, kind };
        if self.closed().is_none() {
            self.events.push_back(Event::Alert(Box::new(alert)));
        }
    }

    // ---- shared steps ------------------------------------------------------------------------------------

    /// A desired subscription joins the connection: its message is queued, or it is in force without one.
    pub(super) fn enlist(&mut self, now: Stamp, key: Key, replay: bool) {
        let Some(entry) = self.subscriptions.get_mut(key) else { return };
        entry.state = SubscriptionState::Queued;
        if entry.payload && replay {
            self.outbox.push_replay(key);
        } else if entry.payload {
            self.outbox.push_subscribe(key);
        } else {
            self.mark_gap(now, key);
            self.put_in_force(now, key);
        }
    }

    /// Says the gap of a subscription that takes the place of another, before it is put in force.
    fn mark_gap(&mut self, now: Stamp, key: Key) {
        if let Some(entry) = self.subscriptions.get_mut(key)
            && std::mem::take(&mut entry.gap)
        {
            let gap = report::resubscribed(now, self.epoch, entry);
            self.totals.gaps += 1;
            self.events.push_back(gap);
        }
    }

    /// Its subscribe message is written: from now on data is owed.
    fn put_in_force(&mut self, now: Stamp, key: Key) {
        let Some(entry) = self.subscriptions.get_mut(key) else { return };
        if entry.state != SubscriptionState::Live {
            entry.state = SubscriptionState::Subscribed;
        }
        if let (Phase::Up(up), Some(limit)) = (&mut self.phase, entry.limit) {
            up.arm(key, limit, now.mono);
        }
        self.announce(now, key);
    }

    /// Says `Subscribed`, once a connection: when the message is known to be written, or when data comes before
    /// that is known.
    fn announce(&mut self, now: Stamp, key: Key) {
        if let Some(entry) = self.subscriptions.get_mut(key)
            && !std::mem::replace(&mut entry.announced, true)
        {
            let subscription = entry.id.clone();
            let event = Subscribed { time: now.wall, epoch: self.epoch, subscription };
            self.events.push_back(Event::Subscribed(Box::new(event)));
        }
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
