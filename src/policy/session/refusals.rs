//! The machine and subscriptions that are not granted: refused, ended, asked for again in parts, or not answered in time.

use super::{Action, Phase, Session};
use crate::class::{ErrorClass, OnAckTimeout};
use crate::clock::Stamp;
use crate::error::EndReason;
use crate::event::{Ended, Event, Refused};
use crate::health::SubscriptionState;
use crate::policy::freshness::Key;
use crate::policy::subscriptions::{AckPolicy, Entry};
use std::time::Duration;

/// After which delay a refused subscription is tried again, if the server does not say.
const RETRY: Duration = Duration::from_secs(30);

/// The same for one that the server ended, at first: twice as long each time, up to [`RETRY`], until it has lasted for
/// [`LASTED`]. And for the halves of a message that it refused.
const AGAIN: Duration = Duration::from_secs(1);

/// One that ended longer ago than this ends for the first time.
const LASTED: Duration = Duration::from_secs(60);

/// How often a subscribe message is written without an answer before the connection is given up.
const TRIES: u32 = 3;

impl Session {
    /// The server refused one subscription, by the answer to this message. If that of another said so before, it is said
    /// already.
    pub(super) fn refuse_by(
        &mut self,
        now: Stamp,
        frame: u64,
        key: Key,
        class: ErrorClass,
        retry_after: Option<Duration>,
        detail: String,
    ) {
        let Phase::Up(up) = &mut self.phase else { return };
        up.ledger.refuse(frame, key);
        match self.subscriptions.get_mut(key) {
            Some(entry) if entry.state == SubscriptionState::Refused => {
                entry.in_force &= up.ledger.has_open(entry.frame(), key);
            }
            Some(_) => self.refuse(now, key, class, retry_after, detail),
            None => {}
        }
    }

    /// The server refused one subscription.
    pub(super) fn refuse(
        &mut self,
        now: Stamp,
        key: Key,
        class: ErrorClass,
        retry_after: Option<Duration>,
        detail: String,
    ) {
        let retry_in = match class {
            ErrorClass::RetryLater => Some(self.at_least_floor(retry_after.unwrap_or(RETRY))),
            _ => None,
        };
        let Some(subscription) = self.put_off(now, key, SubscriptionState::Refused) else { return };
        self.totals.refused += 1;
        let (time, epoch) = (now.wall, self.epoch);
        let (id, words) = (subscription.clone(), detail.clone());
        let event = Refused { time, epoch, subscription, class, detail, retry_in };
        self.events.push_back(Event::Refused(Box::new(event)));
        match retry_in {
            Some(delay) => self.queue_later(key, now.mono + delay, None),
            None => self.alarms_refused(now, id, words),
        }
    }

    /// The server ended one subscription, if it was in force.
    pub(super) fn drop_one(
        &mut self,
        now: Stamp,
        key: Key,
        class: ErrorClass,
        retry_after: Option<Duration>,
        detail: String,
    ) {
        // One whose answer is still open counts as in force; that it ended is said once, however often the server does.
        let ends = |entry: &&mut Entry| entry.in_force && entry.state != SubscriptionState::Ended;
        let Some(entry) = self.subscriptions.get_mut(key).filter(ends) else { return };
        let before = entry.ended.filter(|(at, _)| now.mono.saturating_duration_since(*at) < LASTED);
        let times = before.map_or(0, |(_, times)| times.saturating_add(1));
        entry.ended = Some((now.mono, times));
        let retry_in = match class {
            ErrorClass::Benign | ErrorClass::RetryLater => {
                let own = AGAIN.saturating_mul(2_u32.saturating_pow(times)).min(RETRY);
                Some(self.at_least_floor(retry_after.unwrap_or(own)))
            }
            _ => None,
        };
        let Some(subscription) = self.put_off(now, key, SubscriptionState::Ended) else { return };
        if let Some(entry) = self.subscriptions.get_mut(key) {
            entry.gap = true;
        }
        self.totals.ended += 1;
        let (time, epoch) = (now.wall, self.epoch);
        let (id, words) = (subscription.clone(), detail.clone());
        let event = Ended { time, epoch, subscription, class, detail, retry_in };
        self.events.push_back(Event::Ended(Box::new(event)));
        match retry_in {
            Some(delay) => self.queue_later(key, now.mono + delay, None),
            None => self.alarms_refused(now, id, words),
        }
    }

    /// It is in force no more: nothing is owed for it.
    fn put_off(
        &mut self,
        now: Stamp,
        key: Key,
        state: SubscriptionState,
    ) -> Option<crate::message::SubscriptionId> {
        self.quarantine.settled(key);
        let Phase::Up(up) = &mut self.phase else { return None };
        let entry = self.subscriptions.get_mut(key)?;
        if entry.state == SubscriptionState::Queued {
            self.outbox.cancel_subscribe(key);
        }
        if state != SubscriptionState::Queued {
            entry.stale = None; // nor is it repaired
        }
        entry.state = state; // what it waited for has come
        if entry.want.ack == AckPolicy::None {
            up.let_go(now.mono, key, entry);
            entry.in_force = false;
        } else {
            // The answer to another message of its may still grant it.
            up.ledger.retry(entry.frame(), key);
            up.acks.disarm(key);
            up.forget(key, entry);
            entry.in_force = up.ledger.has_open(entry.frame(), key);
        }
        entry.off_since = entry.is_off().then_some(now.mono);
        entry.later = None;
        entry.assumed = false;
        entry.announced = false;
        entry.tries = 0;
        entry.patience = None;
        let id = entry.want.id.clone();
        self.subscriptions.set_frame(key, 0); // the report that it was written may still come
        Some(id)
    }

    /// A message for several was refused, and one of them may be the reason: they are asked for again in two parts, until
    /// the one that is refused is alone.
    pub(super) fn bisect(
        &mut self,
        now: Stamp,
        keys: &[Key],
        class: ErrorClass,
        retry_after: Option<Duration>,
    ) {
        let (first, second) = keys.split_at(keys.len() / 2);
        for part in [first, second] {
            let lot = Some(self.outbox.next_lot());
            for key in part {
                self.put_off(now, *key, SubscriptionState::Queued);
                if class == ErrorClass::RetryLater {
                    let delay = self.at_least_floor(retry_after.unwrap_or(AGAIN));
                    self.queue_later(*key, now.mono + delay, lot);
                } else {
                    self.queue_again(*key, lot);
                }
            }
        }
    }

    /// The socket was empty: whose answer is over its time?
    pub(super) fn judge_acks(&mut self, now: Stamp) {
        loop {
            let Phase::Up(up) = &mut self.phase else { return };
            if !up.is_open() {
                return;
            }
            let at = up.attention.attended(now.mono);
            let Some((key, since)) = up.acks.take_due(at) else { return };
            if self.judge_parting(now, key) {
                continue;
            }
            let Phase::Up(up) = &mut self.phase else { return };
            let Some(entry) = self.subscriptions.get_mut(key).filter(|entry| entry.is_pending()) else {
                continue;
            };
            let (AckPolicy::Awaited { then, timeout } | AckPolicy::FirstData { then, timeout }) =
                entry.want.ack
            else {
                continue;
            };
            // A server that answers what was written before is at work: it could not answer this one until now.
            let progress = up.ledger.answered_before(entry.frame()).filter(|answered| *answered > since);
            if let Some(answered) = progress
                && let Some(deadline) = answered.checked_add(timeout)
                && at < deadline
            {
                up.acks.arm(key, answered, deadline);
                continue;
            }
            let waited = at.saturating_duration_since(progress.unwrap_or(since));
            let retries = matches!(then, OnAckTimeout::Retry | OnAckTimeout::Reconnect);
            if retries && entry.unlisted {
                let detail = "not among what the server lists".to_owned();
                self.refuse(now, key, ErrorClass::Refused, None, detail);
                continue;
            }
            entry.tries += 1;
            let subscription = entry.want.id.clone();
            match then {
                OnAckTimeout::Accept => self.confirm(now, key, true),
                OnAckTimeout::Refuse => {
                    let detail = format!("no answer within {:.3} s", waited.as_secs_f64());
                    self.refuse(now, key, ErrorClass::Refused, None, detail);
                    // The server may hold it all the same: its end is told to it.
                    if let Some(entry) = self.subscriptions.get_mut(key) {
                        entry.in_force = true;
                    }
                }
                OnAckTimeout::Retry if entry.tries < TRIES => {
                    up.ledger.retry(entry.frame(), key);
                    self.subscriptions.set_frame(key, 0);
                    self.queue_again(key, None);
                }
                OnAckTimeout::Retry | OnAckTimeout::Reconnect => {
                    entry.overdue = entry.overdue.saturating_add(1);
                    up.accused = Some((key, entry.overdue));
                    up.end(EndReason::AckOverdue { subscription, waited });
                    self.actions.push_back(Action::Abort);
                }
            }
        }
    }
}
