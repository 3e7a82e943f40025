//! The machine and the reader's cycles: what a `recv` brought, and the verdicts that an empty socket allows.

use super::up::{Cycle, FLOODED};
use super::{Action, Phase, Session};
use crate::class::StaleCause;
use crate::clock::Stamp;
use crate::error::EndReason;
use crate::health::SubscriptionState;
use crate::policy::freshness::{CONNECTION, Key};
use crate::policy::mark::Mark;
use std::time::{Duration, Instant};

impl Session {
    /// One cycle of the reader.
    pub(crate) fn handle_recv(&mut self, now: Stamp, cycle: &Cycle<'_>) {
        let Phase::Up(up) = &mut self.phase else { return };
        // First: hours turn in attended time, and a stop of the process is not part of it.
        if up.attention.handle_recv(now.mono, cycle.armed) {
            up.freshness.settle(up.attention.attended(now.mono));
        }
        self.turn_hours(now);
        let Phase::Up(up) = &mut self.phase else { return };
        if cycle.empty {
            self.handle_empty(now, cycle.suspended);
            return;
        }
        let at = up.attention.attended(now.mono);
        up.liveness.handle_bytes(at);
        up.keepalives.iter_mut().for_each(|schedule| schedule.handle_received(at));
        up.hold = false;
        up.last_byte = Some(now);
        let told = |mark: &Mark| mark.lag.map(|nanos| Duration::from_nanos(nanos.max(0).unsigned_abs()));
        cycle.marks.iter().filter_map(told).for_each(|lag| self.measures.lag.observe(lag));
        if cycle.pong
            && let Some(took) = up.trip.handle_pong(at)
        {
            self.measures.ping.observe(took);
        }
        self.totals.bytes += cycle.bytes as u64;
        self.totals.messages += cycle.messages;
        self.totals.unmatched += cycle.unmatched;
        if cycle.messages > 0 {
            up.last_message = Some(now);
            up.heartbeat.handle_message(at);
        }
        // A peer that floods with pings would put it off for ever.
        let mute = up.heartbeat.flooded(at).filter(|_| up.is_open());
        // Whose limit is another by what was learned from this.
        let mut learned = Vec::new();
        if cycle.data > 0 {
            up.freshness.handle_data(CONNECTION, StaleCause::Silent, at);
            // Until now the limit on the first data held.
            if self.demand.handle_data(at) || up.last_data.is_none() {
                learned.push(CONNECTION);
            }
            up.data_at = at;
            up.last_data = Some(now);
            self.last_data = Some(now);
            self.ladder.handle_data(at, self.demand.limit().unwrap_or_default());
            self.pulse.handle_data(now.mono, cycle.data);
        }
        for mark in cycle.marks {
            if self.handle_mark(mark, at) {
                self.alarms_healed(now, mark.key);
            }
        }
        let Phase::Up(up) = &mut self.phase else { return };
        for key in cycle.kept {
            up.freshness.handle_data(*key, StaleCause::Silent, at);
            let Some(entry) = self.subscriptions.get_mut(*key) else { continue };
            if entry.heal(StaleCause::Silent) && entry.state == SubscriptionState::Stale {
                entry.state = SubscriptionState::Confirmed;
            }
            if entry.demand.handle_data(at) {
                learned.push(*key);
            }
        }
        let mut first = Vec::new();
        let mut healed = Vec::new();
        for (key, count) in cycle.touched {
            up.freshness.handle_data(*key, StaleCause::Silent, at);
            if let Some(entry) = self.subscriptions.get_mut(*key) {
                entry.last_data = Some(now);
                entry.messages += count;
                entry.heal(StaleCause::Silent);
                if entry.demand.handle_data(at) {
                    learned.push(*key);
                }
                if !entry.demand.is_particular()
                    && entry.ladder.handle_data(at, entry.demand.limit().unwrap_or_default())
                {
                    healed.push(*key);
                }
                // Data of one that was not asked for yet is that of another, or of an older one.
                let in_force = entry.in_force || entry.is_proven_by_data(now.mono);
                if in_force && !entry.is_fed() {
                    first.push(*key);
                }
            }
        }
        for key in learned {
            self.handle_learned(now, key);
        }
        for key in healed {
            self.alarms_healed(now, key);
        }
        let Phase::Up(up) = &mut self.phase else { return };
        // A peer that floods with what is no data would put a verdict off for ever. Who has read nothing else for so
        // much longer than the limit has long read all that lay in the socket at the deadline. While data of others
        // comes it is different: then this client may be the one that is slow.
        let barren = at.saturating_duration_since(up.data_at);
        let enough = |limit: Duration| limit.max(FLOODED);
        // A look at all of them each time, while one is overdue: not where it can lead to nothing.
        let may_judge = up.is_open() && up.may_judge();
        let overdue = if may_judge { up.freshness.overdue(at) } else { Vec::new() };
        let overdue = overdue.into_iter().find(|overdue| {
            let twice = overdue.limit.saturating_add(enough(overdue.limit));
            overdue.late >= enough(overdue.limit) && barren >= twice
        });
        let unanswered = up.acks.next().zip(up.acks.next_since()).is_some_and(|(deadline, since)| {
            let limit = deadline.saturating_duration_since(since);
            let late = at.saturating_duration_since(deadline);
            may_judge && late >= enough(limit) && barren >= limit.saturating_add(enough(limit))
        });
        if let Some(payload) = &cycle.ping
            && !up.peer_closed
        {
            self.outbox.push_pong(payload.clone());
        }
        if !first.is_empty() {
            for key in first {
                self.first_data(now, key, at);
            }
            self.let_out(now);
        }
        if let Some(overdue) = overdue {
            self.judge_stale(now, overdue);
        }
        if unanswered {
            self.judge_acks(now);
        }
        if let Some(waited) = mute
            && let Phase::Up(up) = &mut self.phase
        {
            up.end(EndReason::HeartbeatOverdue { waited });
            self.actions.push_back(Action::Abort);
        }
        if let Some((code, reason)) = &cycle.close {
            self.handle_peer_close(now, *code, reason);
        }
        self.alarms_recv(now, cycle);
    }

    /// Data of a subscription that had none before, or none for too long.
    fn first_data(&mut self, now: Stamp, key: Key, at: Instant) {
        if self.subscriptions.get(key).is_none_or(|entry| entry.state == SubscriptionState::Queued) {
            return; // it is being made again: the data is what is left of before
        }
        self.revive(now, key);
        let Phase::Up(up) = &mut self.phase else { return };
        let Some(entry) = self.subscriptions.get_mut(key) else { return };
        if entry.frame() != 0 {
            up.ledger.note_answer(entry.frame(), at);
        }
        entry.state = if entry.stale.is_some() { SubscriptionState::Stale } else { SubscriptionState::Live };
        let limits = entry.limits();
        if !up.freshness.is_armed(key) {
            // One whose answer was overdue was let go of, and is in force after all.
            up.freshness.arm(key, limits, at);
        } else {
            up.freshness.set(key, limits);
        }
        self.confirm(now, key, false);
    }

    /// What was learned makes the limit another one.
    pub(super) fn handle_learned(&mut self, now: Stamp, key: Key) {
        let Phase::Up(up) = &mut self.phase else { return };
        let ceiling = match self.subscriptions.get(key) {
            Some(entry) => {
                up.freshness.set(key, entry.limits());
                entry.demand.at_ceiling()
            }
            None => {
                up.freshness.set(CONNECTION, self.demand.limits(up.last_data.is_none()));
                self.demand.at_ceiling()
            }
        };
        self.alarms_ceiling(now, key, ceiling);
    }

    /// How timely and how new the data of a subscription was. Says whether what went on for long is over.
    fn handle_mark(&mut self, mark: &Mark, at: Instant) -> bool {
        let Phase::Up(up) = &mut self.phase else { return false };
        let Some(entry) = self.subscriptions.get_mut(mark.key) else { return false };
        if let Some(lag) = mark.lag {
            entry.lag = Some((lag, mark.skew));
        }
        let mut healed = false;
        for (cause, came) in [(StaleCause::Late, mark.timely), (StaleCause::Frozen, mark.advanced)] {
            if came {
                up.freshness.handle_data(mark.key, cause, at);
                healed |= entry.heal(cause);
            } else {
                up.freshness.handle_lack(mark.key, cause, at);
            }
        }
        if healed && entry.state == SubscriptionState::Stale {
            entry.state = SubscriptionState::Live;
        }
        // A snapshot that is good once is no proof that a repair has helped: only what stays good leads back.
        let good =
            (mark.timely || entry.want.late.is_none()) && (mark.advanced || entry.want.frozen.is_none());
        good && entry.stale.is_none()
            && entry.ladder.handle_data(at, entry.demand.longest().unwrap_or_default())
    }

    /// A look at the socket at `now` found nothing to receive: now, and only now, there may be a verdict.
    pub(crate) fn handle_empty(&mut self, now: Stamp, suspended: Option<Duration>) {
        self.turn_hours(now); // what these hours demand counts, and no more
        self.alarms_empty(now);
        let Phase::Up(up) = &mut self.phase else { return };
        if !up.is_open() {
            return;
        }
        if up.slept(now, suspended) {
            up.hold = true;
            if up.liveness.probe() {
                self.outbox.push_ping();
            }
        }
        let at = up.attention.attended(now.mono);
        if up.liveness.take_due_ping(at) {
            self.outbox.push_ping(); // the controller is late
        }
        if let Some(waited) = up.liveness.overdue(at) {
            up.end(EndReason::PongOverdue { waited });
            self.actions.push_back(Action::Abort);
            return;
        }
        if up.end_pause(now.mono) {
            self.demands_break();
        }
        let Phase::Up(up) = &mut self.phase else { return };
        if !up.hold {
            self.judge_keepalives(now);
        }
        let Phase::Up(up) = &mut self.phase else { return };
        if !up.may_judge() {
            return;
        }
        for overdue in up.freshness.overdue(at) {
            self.judge_stale(now, overdue);
        }
        self.judge_acks(now);
    }
}
