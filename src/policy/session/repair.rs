//! The machine and what is done about data that is missing: the ladder of a stale subscription, and gaps in sequence
//! numbers.

use super::{Action, Phase, Session};
use crate::class::{OnGap, StaleCause};
use crate::clock::Stamp;
use crate::error::EndReason;
use crate::event::{Event, Gap, GapCause, Repair, Stale};
use crate::health::SubscriptionState;
use crate::policy::freshness::{CONNECTION, Key, Overdue};
use crate::policy::ladder::Rung;
use crate::policy::subscriptions::Entry;
use std::time::Duration;

/// A subscription is not made again more often than this.
const APART: Duration = Duration::from_secs(1);

/// How long the server may take to answer a Close of ours before a new connection.
const LEAVE: Duration = Duration::from_millis(500);

/// Whether the data of this one proves that the connection is well, while that of another is overdue.
fn is_witness(entry: &Entry, overdue: &Overdue, now: Stamp) -> bool {
    // One with a limit is live only within it.
    let recent = |stamp: Stamp| now.mono.saturating_duration_since(stamp.mono) <= overdue.limit;
    let fresh = || entry.limits().silent.is_some() || entry.last_data.is_some_and(recent);
    entry.state == SubscriptionState::Live && entry.stale.is_none() && entry.owed.is_none() && fresh()
}

impl Session {
    /// The verdict on one that is over its limit: it is said, and the next rung of its ladder is taken.
    pub(super) fn judge_stale(&mut self, now: Stamp, overdue: Overdue) {
        let Phase::Up(up) = &mut self.phase else { return };
        if !up.is_open() {
            return;
        }
        let elsewhere = self.settings.endpoints > 1;
        let (key, cause) = (overdue.key, overdue.cause);
        let learned;
        let mut paused = false;
        let mut witnessed = false;
        let (subscription, rung) = match self.subscriptions.get(key) {
            Some(entry) => {
                let again = entry.want.can_end && entry.want.payload;
                let probe = entry.want.can_probe;
                let applies = |rung| match rung {
                    Rung::Probe(_) => probe,
                    Rung::Resubscribe(_) => again,
                    Rung::Reconnect => true,
                    Rung::NextEndpoint => elsewhere,
                    Rung::Wait(_) => false,
                };
                paused = entry.ladder.is_paused();
                let mut ladder = entry.ladder.clone();
                let rung = ladder.next(now.mono, applies, || {
                    let is_witness = |(other, entry)| other != key && is_witness(entry, &overdue, now);
                    witnessed = self.subscriptions.iter().any(is_witness);
                    witnessed
                });
                paused |= matches!(rung, Rung::Wait(_));
                let Some(entry) = self.subscriptions.get_mut(key) else { return };
                entry.ladder = ladder;
                if entry.in_force {
                    entry.state = SubscriptionState::Stale;
                }
                entry.stale = Some(cause);
                learned = cause == StaleCause::Silent && entry.demand.handle_stale();
                (Some(entry.want.id.clone()), rung)
            }
            None if key == CONNECTION => {
                learned = self.demand.handle_stale();
                let applies = |rung| match rung {
                    Rung::Probe(_) | Rung::Resubscribe(_) | Rung::Wait(_) => false,
                    Rung::Reconnect => true,
                    Rung::NextEndpoint => elsewhere,
                };
                (None, self.ladder.next(now.mono, applies, || false))
            }
            None => {
                up.freshness.disarm(key);
                return;
            }
        };
        let (age, limit) = (overdue.age, overdue.limit);
        self.totals.stale_verdicts += 1;
        self.measures.lateness.observe(overdue.late);
        let next = match rung {
            Rung::Probe(_) => Repair::Probe,
            Rung::Resubscribe(_) => Repair::Resubscribe,
            Rung::Reconnect => Repair::Reconnect,
            Rung::NextEndpoint => Repair::NextEndpoint,
            Rung::Wait(_) => Repair::Wait,
        };
        let said = subscription.clone();
        let stale = Stale { time: now.wall, epoch: self.epoch, subscription: said, cause, age, limit, next };
        self.events.push_back(Event::Stale(Box::new(stale)));
        if learned {
            self.handle_learned(now, key);
        }
        if let Some(subscription) = subscription.clone().filter(|_| paused) {
            self.alarms_stale(now, subscription, age, limit);
        }
        if rung.is_final() && witnessed {
            self.share(now, key);
        }
        let Phase::Up(up) = &mut self.phase else { return };
        match rung {
            Rung::Probe(patience) => {
                self.outbox.push_probe(key);
                // Counted from now, should it never be written; and anew once it is.
                up.grant(key, cause, patience, now.mono);
                self.be_patient(key, patience);
            }
            Rung::Wait(patience) => {
                up.grant(key, cause, patience, now.mono);
                self.be_patient(key, patience);
            }
            Rung::Resubscribe(patience) => {
                up.freshness.hold(key, cause);
                self.be_patient(key, patience);
                self.make_again(now, key);
            }
            Rung::Reconnect | Rung::NextEndpoint => {
                self.switch |= rung == Rung::NextEndpoint;
                up.witnessed |= witnessed;
                up.end(EndReason::Stale { subscription, cause, age, limit });
                self.actions.push_back(Action::Abort);
            }
        }
    }

    /// A new connection is made for one: it is made for all that have the same to show.
    fn share(&mut self, now: Stamp, key: Key) {
        for (other, entry) in self.subscriptions.iter_mut() {
            let lacks = entry.stale.is_some() || (entry.in_force && !entry.is_fed());
            if other != key && lacks && !entry.is_off() {
                entry.ladder.share(now.mono);
            }
        }
    }

    fn be_patient(&mut self, key: Key, patience: Duration) {
        if let Some(entry) = self.subscriptions.get_mut(key) {
            entry.patience = Some(patience);
        }
    }

    /// Makes a subscription again on this connection: ended, where there is a message for it, and asked for anew.
    pub(super) fn make_again(&mut self, now: Stamp, key: Key) {
        if self.end_for_again(now, key) {
            self.queue_again(key, None);
        }
    }

    /// The first half of it. Says whether the other is to follow now: not while it waits to be written anyway, nor too
    /// soon after the last time, nor before its end can be told.
    fn end_for_again(&mut self, now: Stamp, key: Key) -> bool {
        let Phase::Up(up) = &mut self.phase else { return false };
        let Some(entry) = self.subscriptions.get_mut(key) else { return false };
        if entry.state == SubscriptionState::Queued || !entry.want.payload {
            return false;
        }
        let soonest = entry.made_again.and_then(|at| at.checked_add(APART)).filter(|at| *at > now.mono);
        if let Some(at) = soonest {
            self.queue_later(key, at, None);
            return false;
        }
        entry.made_again = Some(now.mono);
        entry.gap |= entry.in_force;
        entry.demand.handle_break();
        let waits = entry.in_force && up.must_wait(key, &entry.want, entry.frame());
        up.acks.disarm(key);
        if waits {
            up.hold(now.mono, key, &entry.want, entry.frame());
            entry.state = SubscriptionState::Queued;
        } else {
            up.expect_late(now.mono, entry);
            up.ledger.let_go(entry.frame(), key);
            up.ledger.end_round(key);
        }
        if entry.patience.is_none() {
            up.freshness.disarm(key);
        }
        if let Some((at, _)) = entry.later.take() {
            up.later.remove(&(at, key));
        }
        entry.tries = 0;
        entry.assumed = false;
        if !waits
            && entry.in_force
            && entry.want.can_end
            && up.leaving.insert(key, entry.want.id.clone()).is_none()
        {
            self.outbox.push_replay_unsubscribe(key);
        }
        self.subscriptions.set_frame(key, 0);
        !waits
    }

    /// All that is in force is made again.
    pub(super) fn make_all_again(&mut self, now: Stamp) {
        let in_force: Vec<Key> =
            self.subscriptions.iter().filter_map(|(key, entry)| entry.in_force.then_some(key)).collect();
        // First all the ends: so the neighbours of a group share a message again.
        let ended: Vec<Key> = in_force.into_iter().filter(|key| self.end_for_again(now, *key)).collect();
        for key in ended {
            self.queue_again(key, None);
        }
    }

    /// Leaves this connection for a new one, by the close handshake.
    pub(super) fn leave(&mut self, now: Stamp, reason: EndReason) {
        let limit = self.settings.close_wait.min(LEAVE);
        if let Phase::Up(up) = &mut self.phase
            && up.is_open()
        {
            up.begin_close(reason, now.mono + limit);
            let code = if up.fatal { 1000 } else { self.settings.leave_code };
            self.outbox.push_close(Some(code));
        }
    }

    /// The sequence numbers of a subscription, or of the connection, do not join up.
    pub(crate) fn handle_sequence_gap(
        &mut self,
        now: Stamp,
        key: Option<Key>,
        from: u64,
        to: u64,
        lost: Option<u64>,
        on_gap: OnGap,
    ) {
        if !self.is_up() {
            return;
        }
        let entry = key.and_then(|key| self.subscriptions.get(key));
        if key.is_some() && entry.is_none() {
            return; // wanted no more
        }
        let subscription = entry.map(|entry| entry.want.id.clone());
        let last = entry.map_or(self.last_data, |entry| entry.last_data);
        let again = entry.is_some_and(|entry| entry.want.can_end && entry.want.payload);
        self.totals.gaps += 1;
        self.totals.sequence_gaps += 1;
        self.events.push_back(Event::Gap(Box::new(Gap {
            time: now.wall,
            epoch: self.epoch,
            cause: GapCause::Sequence,
            subscriptions: subscription.iter().cloned().collect(),
            last_message: last.map(|stamp| stamp.wall),
            lost,
            from: Some(from),
            to: Some(to),
        })));
        match (on_gap, key) {
            (OnGap::Signal, _) => {}
            (OnGap::Resubscribe, Some(key)) if again => {
                let Some(entry) = self.subscriptions.get_mut(key) else { return };
                // Data is always on its way while a lively one is made again, and does not join up with the new: if that
                // had it made again, there would be no end of it.
                let seam = entry.seam.take().is_some_and(|until| now.mono < until);
                if entry.in_force && entry.later.is_none() && !seam {
                    self.make_again(now, key);
                }
            }
            (OnGap::Resubscribe | OnGap::Reconnect, _) => {
                self.leave(now, EndReason::SequenceGap { subscription, from, to });
            }
        }
    }
}
