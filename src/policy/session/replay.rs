//! The machine and the subscriptions on their way to the wire: queued, handed out, written, confirmed.

use super::{Outcome, Phase, Session, report};
use crate::class::ErrorClass;
use crate::clock::Stamp;
use crate::event::{Event, Refused, Subscribed};
use crate::health::SubscriptionState;
use crate::message::SubscriptionId;
use crate::policy::freshness::Key;
use crate::policy::outbox::{Out, OutKind};
use crate::policy::subscriptions::{AckPolicy, Entry};
use std::time::{Duration, Instant};

/// After which delay a message that could not be made is made again; it doubles up to the longest.
const REMAKE: Duration = Duration::from_secs(1);
const LONGEST_REMAKE: Duration = Duration::from_secs(5 * 60);

/// What the server sent before it knew that a subscription is made again is here by then.
const SEAM: Duration = Duration::from_secs(10);

impl Session {
    /// The number for a message of the engine's own, such as a request: no other message of the feed gets it.
    pub(crate) fn next_frame(&mut self) -> u64 {
        self.outbox.next_frame()
    }

    /// The subscription of this name.
    pub(crate) fn key_of(&self, id: &SubscriptionId) -> Option<Key> {
        self.subscriptions.find(id)
    }

    /// What kind of thing is next to be written.
    pub(crate) fn peek_out(&self) -> Option<OutKind> {
        self.outbox.peek().filter(|_| self.is_up())
    }

    /// Whether something waits to be written.
    pub(crate) fn has_out(&self) -> bool {
        self.peek_out().is_some()
    }

    /// Whether a message of the application waits only for subscriptions that it did not ask for just now.
    pub(crate) fn has_overtaking(&self) -> bool {
        self.is_up() && self.outbox.has_overtaking()
    }

    /// That message is handed to the controller.
    pub(crate) fn poll_overtaking(&mut self) -> Option<Out> {
        self.outbox.pop_overtaking().filter(|_| self.is_up())
    }

    /// The next thing to write is handed to the controller.
    pub(crate) fn poll_out(&mut self, now: Stamp) -> Option<Out> {
        let out = self.outbox.pop(self.settings.batch_members)?;
        match &out {
            Out::Subscribe { frame, keys } => {
                if let Phase::Up(up) = &mut self.phase {
                    up.ledger.push_subscribe(*frame, keys.clone());
                }
                for key in keys {
                    self.mark_gap(now, *key);
                    if let Some(entry) = self.subscriptions.get_mut(*key) {
                        entry.state = SubscriptionState::Sent;
                        entry.in_force = true;
                        entry.assumed = false;
                        entry.unlisted = false;
                        entry.off_since = None;
                    }
                    self.subscriptions.set_frame(*key, *frame);
                }
            }
            Out::Unsubscribe { frame, key } => {
                if let Phase::Up(up) = &mut self.phase
                    && let Some(id) = up.leaving.remove(key)
                {
                    up.ledger.push_unsubscribe(*frame, *key, id, now.mono);
                }
                if let Some(entry) = self.subscriptions.get_mut(*key) {
                    entry.in_force = false; // it is made again
                }
            }
            Out::Ping => {
                if let Phase::Up(up) = &mut self.phase {
                    up.handle_ping_out(now.mono, None);
                }
            }
            Out::Keepalive { index, .. } => {
                if let Phase::Up(up) = &mut self.phase {
                    up.handle_ping_out(now.mono, Some(*index));
                }
            }
            _ => {}
        }
        Some(out)
    }

    /// The message of several subscriptions is over the bound: it is divided, and the parts are handed out next.
    /// For at least two; one alone that is too large is a case for [`Self::handle_render_failed`].
    pub(crate) fn handle_split(&mut self, now: Stamp, frame: u64, keys: &[Key]) {
        let Phase::Up(up) = &mut self.phase else { return };
        let Some(asked) = up.ledger.take(frame) else { return };
        let mut wanted = Vec::with_capacity(keys.len());
        let mut group = None;
        for key in keys {
            let Some(entry) = self.subscriptions.get_mut(*key).filter(|entry| entry.frame() == frame) else {
                continue;
            };
            entry.state = SubscriptionState::Queued;
            entry.in_force = entry.tries > 0;
            group = entry.want.batch;
            self.subscriptions.set_frame(*key, 0);
            wanted.push(*key);
        }
        self.outbox.push_parts(&wanted, group);
        for key in asked.gone {
            self.part_without_a_word(now, key); // it never got there
        }
    }

    /// What `poll_out` handed out was written to the operating system, on the connection of this epoch. A keepalive
    /// whose message could not be made is reported here too: its answer will be missed, and a new connection made.
    pub(crate) fn handle_written(&mut self, now: Stamp, epoch: u64, out: &Out) {
        if let Out::App { ticket, .. } = out {
            self.outcomes.push_back((*ticket, Outcome::Written));
        }
        let Phase::Up(up) = &mut self.phase else { return };
        if epoch != self.epoch {
            return;
        }
        up.handle_frame_written(now.mono);
        match out {
            Out::Ping => up.handle_ping_written(now.mono),
            Out::Close(_) => up.handle_close_written(now.mono),
            Out::Keepalive { index, .. } => up.handle_keepalive_written(now.mono, *index),
            Out::Probe { key, .. } => {
                if let Some(entry) = self.subscriptions.get(*key)
                    && let Some(patience) = entry.patience
                {
                    up.grant(*key, entry.missing(), patience, now.mono);
                }
            }
            Out::Subscribe { frame, keys } => {
                for key in keys {
                    if self.subscriptions.get(*key).is_some_and(|entry| entry.frame() == *frame) {
                        self.put_in_force(now, *key);
                    }
                }
            }
            Out::Pong(_) | Out::Reply { .. } | Out::Answer(_) | Out::Unsubscribe { .. } | Out::App { .. } => {
            }
        }
    }

    /// What `poll_out` handed out was lost with its connection.
    pub(crate) fn handle_lost(&mut self, epoch: u64, out: &Out) {
        if let Out::App { ticket, .. } = out {
            self.outcomes.push_back((*ticket, Outcome::Dropped { epoch }));
        }
    }

    /// A subscribe payload could not be made; the others of its message are written without it. It counts as refused,
    /// and is tried again after a delay that grows. Until then it is watched all the same: with a limit it goes stale, and
    /// that is repaired with a payload made afresh.
    pub(crate) fn handle_render_failed(&mut self, now: Stamp, key: Key, detail: String) {
        if self.part_without_a_word(now, key) {
            return; // that was the message whose answer its end waited for
        }
        let floor = self.backoff.floor();
        let frame = self.subscriptions.set_frame(key, 0);
        let Some(entry) = self.subscriptions.get_mut(key) else { return };
        entry.state = SubscriptionState::Refused;
        entry.in_force = entry.tries > 0;
        entry.announced = false;
        let growth = 1u32.checked_shl(entry.failures).unwrap_or(u32::MAX);
        entry.failures = entry.failures.saturating_add(1);
        let delay = REMAKE.saturating_mul(growth).min(LONGEST_REMAKE).max(floor);
        let subscription = entry.want.id.clone();
        let limits = entry.limits();
        let (patience, missing) = (entry.patience, entry.missing());
        self.quarantine.withdrawn(key);
        if let Phase::Up(up) = &mut self.phase {
            up.ledger.strike(frame, key);
            match patience.filter(|_| up.freshness.is_armed(key)) {
                Some(patience) => up.grant(key, missing, patience, now.mono),
                None => up.arm(key, limits, now.mono),
            }
        }
        let (time, epoch, class) = (now.wall, self.epoch, ErrorClass::RetryLater);
        let event = Refused {
            time,
            epoch,
            subscription: subscription.clone(),
            class,
            detail: format!("its message can't be made: {detail}"),
            retry_in: Some(delay),
        };
        self.events.push_back(Event::Refused(Box::new(event)));
        self.alarms_failed(now, subscription, detail);
        self.queue_later(key, now.mono + delay, None);
    }

    // ---- shared steps ------------------------------------------------------------------------------------

    /// One that is wanted no more leaves the connection. Says whether its unsubscribe message has to be written.
    pub(super) fn withdraw(&mut self, now: Instant, key: Key, entry: &Entry) -> bool {
        self.outbox.cancel_subscribe(key);
        self.quarantine.forget(key);
        let Phase::Up(up) = &mut self.phase else { return false };
        if up.partings.contains(key) {
            up.forget(key, entry);
            return true; // it was to be made again: now only its end is left of that
        }
        if entry.in_force && up.must_wait(key, &entry.want, entry.frame()) {
            up.forget(key, entry);
            up.hold(now, key, &entry.want, entry.frame());
            return true;
        }
        up.let_go(now, key, entry);
        let to_write = up.is_open() && entry.in_force && entry.want.can_end;
        // It may be on its way already, to make the subscription again.
        if to_write && up.leaving.insert(key, entry.want.id.clone()).is_none() {
            self.outbox.push_unsubscribe(key);
        }
        to_write
    }

    /// A desired subscription joins the connection: its message is queued, or it is in force without one.
    pub(super) fn enlist(&mut self, now: Stamp, key: Key, replay: bool) {
        let held = self.quarantine.is_held_back(key);
        let quarantined = self.quarantine.is_quarantined(key);
        let blocked = self.is_blocked(key);
        let Some(entry) = self.subscriptions.get_mut(key) else { return };
        entry.state = SubscriptionState::Queued;
        if !entry.want.payload {
            self.mark_gap(now, key);
            self.put_in_force(now, key);
        } else if blocked {
            // Until the one before it has parted.
        } else if held {
            if quarantined {
                entry.state = SubscriptionState::Quarantined;
            }
        } else {
            let member = entry.member(key, None);
            self.quarantine.queued(key);
            if replay {
                self.outbox.push_replay(member);
            } else {
                self.outbox.push_subscribe(member);
            }
        }
    }

    /// Those that are held back join once they may.
    pub(super) fn let_out(&mut self, now: Stamp) {
        if !self.is_connected() {
            return;
        }
        while let Some(key) = self.quarantine.take_retry(now.mono) {
            match self.subscriptions.get_mut(key) {
                Some(entry) => {
                    entry.state = SubscriptionState::Queued;
                    let member = entry.member(key, None);
                    self.outbox.push_replay(member);
                }
                None => self.quarantine.forget(key),
            }
        }
    }

    /// It is queued to be written again, as part of this lot.
    pub(super) fn queue_again(&mut self, key: Key, lot: Option<u64>) {
        let Some(entry) = self.subscriptions.get_mut(key) else { return };
        entry.state = SubscriptionState::Queued;
        let member = entry.member(key, lot);
        self.quarantine.queued(key);
        self.outbox.push_replay(member);
    }

    /// The same at a later time.
    pub(super) fn queue_later(&mut self, key: Key, at: Instant, lot: Option<u64>) {
        let Phase::Up(up) = &mut self.phase else { return };
        let Some(entry) = self.subscriptions.get_mut(key) else { return };
        if let Some((before, _)) = entry.later.replace((at, lot)) {
            up.later.remove(&(before, key));
        }
        up.later.insert((at, key));
    }

    /// Those whose time has come.
    pub(super) fn queue_due(&mut self, now: Stamp) {
        loop {
            let Phase::Up(up) = &mut self.phase else { return };
            let Some((_, key)) = up.later.first().copied().filter(|(at, _)| now.mono >= *at) else { return };
            up.later.pop_first();
            let Some(entry) = self.subscriptions.get_mut(key) else { continue };
            let lot = entry.later.take().and_then(|(_, lot)| lot);
            // One of a lot is a part of a message that was refused: it was not granted by another one so far.
            if entry.in_force && lot.is_none() {
                self.make_again(now, key);
            } else {
                self.queue_again(key, lot);
            }
        }
    }

    /// Says the gap of a subscription that takes the place of another, before it is put in force.
    pub(super) fn mark_gap(&mut self, now: Stamp, key: Key) {
        if let Some(entry) = self.subscriptions.get_mut(key)
            && std::mem::take(&mut entry.gap)
        {
            entry.seam = now.mono.checked_add(SEAM);
            let gap = report::resubscribed(now, self.epoch, entry);
            self.totals.gaps += 1;
            self.events.push_back(gap);
        }
    }

    /// Its subscribe message is written, or it needs none: from now on data is owed, and the answer.
    fn put_in_force(&mut self, now: Stamp, key: Key) {
        let Some(entry) = self.subscriptions.get_mut(key) else { return };
        let Phase::Up(up) = &mut self.phase else { return };
        entry.in_force = true;
        let remade = std::mem::take(&mut entry.failures) > 0;
        let live = entry.state == SubscriptionState::Live;
        match (entry.patience, up.freshness.is_armed(key)) {
            (Some(patience), true) => up.grant(key, entry.missing(), patience, now.mono),
            // What could not be made before is asked for only now.
            (None, true) if remade => up.arm(key, entry.limits(), now.mono),
            // One that is written again for want of an answer has owed data all the time.
            (None, true) => {}
            (_, false) => up.arm(key, entry.limits(), now.mono),
        }
        if !entry.want.payload {
            self.confirm(now, key, true);
            return;
        }
        let (pending, ack) = (entry.is_pending(), entry.want.ack);
        self.quarantine.written(key, now.mono);
        if live {
            self.quarantine.settled(key);
        }
        if remade {
            self.alarms_made(now, key);
        }
        if !pending {
            self.announce(now, key);
            return;
        }
        match ack {
            AckPolicy::None => self.confirm(now, key, true),
            AckPolicy::Awaited { timeout, .. } | AckPolicy::FirstData { timeout, .. } => {
                if let Phase::Up(up) = &mut self.phase {
                    up.await_ack(key, timeout, now.mono);
                }
            }
        }
    }

    /// It is in force: granted, or, if `assumed`, only not refused. Says `Subscribed`, once a connection.
    pub(super) fn confirm(&mut self, now: Stamp, key: Key, assumed: bool) {
        self.revive(now, key);
        let Some(entry) = self.subscriptions.get_mut(key) else { return };
        if entry.state == SubscriptionState::Queued && entry.want.payload {
            self.outbox.cancel_subscribe(key); // it was to be asked for again for want of this answer
        }
        if matches!(entry.state, SubscriptionState::Sent | SubscriptionState::Queued) {
            entry.state = SubscriptionState::Confirmed;
        }
        entry.assumed = assumed;
        entry.tries = 0;
        entry.failures = 0;
        if let Phase::Up(up) = &mut self.phase {
            up.acks.disarm(key);
        }
        if !assumed {
            entry.overdue = 0;
            self.quarantine.settled(key);
            self.alarms_granted(now, key);
        }
        self.announce(now, key);
    }

    /// One that was refused or ended is in force after all.
    pub(super) fn revive(&mut self, now: Stamp, key: Key) {
        let Phase::Up(up) = &mut self.phase else { return };
        let Some(entry) = self.subscriptions.get_mut(key) else { return };
        if !matches!(entry.state, SubscriptionState::Refused | SubscriptionState::Ended) {
            return;
        }
        entry.state = SubscriptionState::Confirmed;
        entry.in_force = true;
        entry.off_since = None;
        if let Some((at, _)) = entry.later.take() {
            up.later.remove(&(at, key));
        }
        if !up.freshness.is_armed(key) {
            up.arm(key, entry.limits(), now.mono);
        }
        self.mark_gap(now, key);
    }

    /// Says `Subscribed`, once a connection, and again after it was refused or ended.
    pub(super) fn announce(&mut self, now: Stamp, key: Key) {
        if let Some(entry) = self.subscriptions.get_mut(key)
            && !std::mem::replace(&mut entry.announced, true)
        {
            let subscription = entry.want.id.clone();
            // Before it was in force for the first time nothing can have been missed.
            let resumed = self.resumed.filter(|_| entry.was_in_force);
            entry.was_in_force = true;
            let event = Subscribed { time: now.wall, epoch: self.epoch, subscription, resumed };
            self.events.push_back(Event::Subscribed(Box::new(event)));
        }
    }

    /// No wait is shorter, whatever the server asks for: there is no loop without a delay.
    pub(super) fn at_least_floor(&self, delay: Duration) -> Duration {
        delay.max(self.backoff.floor())
    }
}
