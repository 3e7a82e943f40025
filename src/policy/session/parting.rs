//! The machine and subscriptions that are to end before the answer has come that their unsubscribe message is made
//! from: the message waits for that answer, for as long as an answer may take.
//!
//! The next subscription of the same name waits behind it. Otherwise the server would have two of them for a while, or
//! refuse the second and then end the first.

use super::acks::About;
use super::up::Up;
use super::{Phase, Session};
use crate::clock::Stamp;
use crate::event::AlertKind;
use crate::message::SubscriptionId;
use crate::policy::freshness::Key;
use crate::policy::subscriptions::{AckPolicy, Want};
use std::time::{Duration, Instant};

/// How long an answer is waited for that nothing says a time for.
const PATIENCE: Duration = Duration::from_secs(10);

impl Up {
    /// Whether the end of a subscription has to wait for the answer to this message of its.
    pub(super) fn must_wait(&self, key: Key, want: &Want, frame: u64) -> bool {
        let unanswered = || self.ledger.is_open(self.ledger.latest_open(frame, key), key);
        want.ends_by_answer && want.can_end && self.is_open() && unanswered()
    }

    /// From now on it waits.
    pub(super) fn hold(&mut self, now: Instant, key: Key, want: &Want, frame: u64) {
        let timeout = match want.ack {
            AckPolicy::Awaited { timeout, .. } | AckPolicy::FirstData { timeout, .. } => timeout,
            AckPolicy::None => PATIENCE,
        };
        let frame = self.ledger.latest_open(frame, key);
        self.ledger.keep_place(frame, key);
        self.ledger.narrow_round(key, frame);
        self.partings.insert(key, want.id.clone(), want.topic.as_deref().unwrap_or(want.id.as_str()), frame);
        self.await_ack(key, timeout, now);
    }
}

impl Session {
    /// Whether the end of this subscription waits for the answer to its subscribe message, which is still to be
    /// understood.
    pub(crate) fn is_parting(&self, key: Key) -> bool {
        matches!(&self.phase, Phase::Up(up) if up.partings.contains(key))
    }

    /// Whether the subscription of this key must not be asked for yet.
    pub(super) fn is_blocked(&self, key: Key) -> bool {
        let Phase::Up(up) = &self.phase else { return false };
        !up.partings.is_empty()
            && self.subscriptions.get(key).is_some_and(|entry| up.partings.blocks(&entry.want.id))
    }

    /// A subscription that is wanted no more, and that the server does not hold after all.
    pub(crate) fn poll_settled(&mut self) -> Option<Key> {
        self.settled.pop_front()
    }

    /// The answer is here: its end can be told.
    pub(super) fn part(&mut self, now: Stamp, key: Key) {
        let Phase::Up(up) = &mut self.phase else { return };
        if let Some(parting) = up.partings.get(key) {
            up.ledger.strike_gone(parting.frame, key);
            self.send_off(now, key);
        }
    }

    /// The message of this number is granted: whose end waits for that.
    pub(super) fn part_by(&mut self, now: Stamp, frame: u64, key: Key) {
        let Phase::Up(up) = &mut self.phase else { return };
        // It may wait for the answer to a later one.
        if up.partings.get(key).is_some_and(|parting| parting.frame == frame) {
            self.part(now, key);
        }
    }

    /// The same of one that is refused. Another message of its may have been granted before.
    pub(super) fn part_refused(&mut self, now: Stamp, frame: u64, key: Key) {
        let Phase::Up(up) = &mut self.phase else { return };
        if up.partings.get(key).is_none_or(|parting| parting.frame != frame) {
            return;
        }
        if up.ledger.is_granted(key) {
            self.part(now, key);
        } else {
            self.part_without_a_word(now, key);
        }
    }

    /// The server granted two messages for this one, and tells the two by what it bound: one of them is to be ended. Says
    /// under which key its unsubscribe message is made; `None`: it can't be. `newer`: what is in force now is another than
    /// before.
    pub(crate) fn handle_duplicate(&mut self, now: Stamp, key: Key, newer: bool) -> Option<Key> {
        let Phase::Up(up) = &mut self.phase else { return None };
        let (id, can_end) = match self.subscriptions.get_mut(key) {
            Some(entry) => {
                entry.gap |= newer;
                (entry.want.id.clone(), entry.want.can_end && entry.want.ends_by_answer)
            }
            None => (up.partings.get(key)?.id.clone(), true),
        };
        let spare = (can_end && up.is_open()).then(|| self.subscriptions.spare_key());
        if let Some(spare) = spare {
            up.leaving.insert(spare, id);
            self.outbox.push_replay_unsubscribe(spare);
        } else {
            let detail = format!(
                "subscription {id}: the server granted two messages for it, and no unsubscribe message says which of the \
                 two is meant; the server may go on with both until the connection ends"
            );
            self.alert(now, AlertKind::TemplateFailed { what: "unsubscribe", detail });
        }
        self.mark_gap(now, key);
        spare
    }

    fn send_off(&mut self, now: Stamp, key: Key) {
        let Phase::Up(up) = &mut self.phase else { return };
        let Some(parting) = up.partings.take(key) else { return };
        up.acks.disarm(key);
        up.ledger.end_round(key);
        if !up.is_open() {
            return;
        }
        up.leaving.insert(key, parting.id.clone());
        if self.subscriptions.get(key).is_some() {
            self.outbox.push_replay_unsubscribe(key);
        } else {
            self.outbox.push_unsubscribe(key);
        }
        self.follow(now, &parting.id);
    }

    /// The server does not hold it: nothing has to be told. Says whether its end waited.
    pub(super) fn part_without_a_word(&mut self, now: Stamp, key: Key) -> bool {
        let Phase::Up(up) = &mut self.phase else { return false };
        let Some(parting) = up.partings.take(key) else { return false };
        up.ledger.strike_gone(parting.frame, key);
        up.acks.disarm(key);
        up.ledger.end_round(key);
        match self.subscriptions.get_mut(key) {
            Some(entry) => entry.in_force = false,
            None => self.settled.push_back(key),
        }
        self.follow(now, &parting.id);
        true
    }

    /// The one that waited behind it is asked for.
    fn follow(&mut self, now: Stamp, id: &SubscriptionId) {
        let Some(next) = self.subscriptions.find(id) else { return };
        let Some(entry) = self.subscriptions.get(next).filter(|entry| entry.want.payload) else { return };
        if !matches!(&self.phase, Phase::Up(up) if up.is_open()) {
            return;
        }
        // One that was asked for on this connection before is made again.
        if entry.in_force || entry.made_again.is_some() {
            self.queue_again(next, None);
        } else {
            self.enlist(now, next, false);
        }
    }

    /// Those of these keys that are wanted, but for those whose end waits, or that wait for such an end: these were not
    /// asked for yet, and the one before them is meant.
    pub(super) fn without_blocked(&self, keys: &[Key]) -> Vec<Key> {
        let is_meant = |key: &Key| self.subscriptions.get(*key).is_some() && !self.is_blocked(*key);
        keys.iter().copied().filter(is_meant).collect()
    }

    /// Whether an answer that says only a name is for one before the one whose end waits.
    pub(super) fn is_late_for_parting(&mut self, now: Stamp, key: Key) -> bool {
        let Phase::Up(up) = &mut self.phase else { return false };
        let parting = up.partings.get(key);
        parting.is_some_and(|parting| up.ledger.take_owed(&parting.id, now.mono))
    }

    /// The same of the end of one that we asked for ourselves.
    pub(super) fn is_own_end_of_parting(&mut self, now: Stamp, key: Key) -> bool {
        let Phase::Up(up) = &mut self.phase else { return false };
        let parting = up.partings.get(key);
        parting.is_some_and(|parting| up.ledger.take_own_end(&parting.id, now.mono))
    }

    /// It waited as long as an answer may take. Says whether its end waited.
    pub(super) fn judge_parting(&mut self, now: Stamp, key: Key) -> bool {
        let Phase::Up(up) = &mut self.phase else { return false };
        let Some(parting) = up.partings.get(key) else { return false };
        up.ledger.give_up(parting.frame);
        up.ledger.owe(parting.id.clone(), now.mono);
        self.send_off(now, key); // at least it is tried
        true
    }

    /// Those whose end waits and that the server means.
    pub(super) fn parting_of(&self, about: About<'_>) -> Vec<Key> {
        let Phase::Up(up) = &self.phase else { return Vec::new() };
        if up.partings.is_empty() {
            return Vec::new();
        }
        match about {
            About::Frame(frame) => up.partings.of_frame(frame),
            About::Keys(keys) => keys.iter().copied().filter(|key| up.partings.contains(*key)).collect(),
            About::Listed { frame, listed, .. } => up.partings.listed(frame, listed),
            About::Oldest => Vec::new(),
            About::All => up.partings.keys(),
        }
    }
}
