//! What has to hold at every moment of a feed's life, and what in the end.

use super::super::grammar::Grammar;
use super::server::By;
use super::{Life, id, name};
use crate::class::NoticeAction;
use crate::event::{AlertKind, Event, Repair};
use crate::health::SubscriptionState;
use crate::policy::freshness::Key;
use crate::policy::outbox::Out;
use crate::policy::session::tests::{MS, SECOND};
use crate::policy::session::{Outcome, Phase, Session};
use crate::policy::subscriptions::AckPolicy;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

/// What happened, to show that there was something to check.
#[derive(Debug, Default)]
pub(super) struct Tally {
    lived: Duration,
    pub(super) counts: BTreeMap<&'static str, u64>,
}

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    pub(super) fn add(&mut self, other: &Self, lived: Duration) {
        self.lived += lived;
        for (what, count) in &other.counts {
            *self.counts.entry(what).or_default() += count;
        }
    }

    pub(super) fn check(&self) {
        eprintln!("{} hours: {:?}", self.lived.as_secs() / 3600, self.counts);
        let expected = [
            "connected",
            "subscribed",
            "refused",
            "ended",
            "stale",
            "gap",
            "probe",
            "resubscribe",
            "reconnect",
            "next_endpoint",
            "quarantined",
            "data",
            "written",
            "batch",
        ];
        for what in expected {
            assert!(self.counts.get(what).is_some_and(|count| *count > 0), "nothing was {what}");
        }
    }
}

/// Data of a name, as it came last.
#[derive(Debug)]
struct Came {
    time: Option<u64>,
    /// How many gaps were said that nothing has followed yet: what is on its way still comes after them.
    gaps: u32,
}

/// Watches a feed.
#[derive(Default)]
pub(super) struct Witness {
    grammar: Grammar,
    pub(super) tally: Tally,
    epoch: u64,
    wanted: BTreeMap<usize, Key>,
    came: BTreeMap<usize, Came>,
    /// What the server had begun before the application asked for a name that it had not wanted: what is left of that is
    /// not its.
    before: BTreeMap<usize, u64>,
    /// When data last came, or was asked for.
    fed: BTreeMap<Key, Instant>,
    /// Refused for the rest of the connection.
    barred: BTreeSet<Key>,
    /// Repairs that were said and not begun.
    owed: BTreeMap<Key, (Instant, Repair)>,
    /// The connection was to end at that time.
    ends: Option<Instant>,
    /// Names that the server can't be told to end.
    pub(super) endless: BTreeSet<usize>,
    tickets: BTreeSet<u64>,
    handed: BTreeSet<u64>,
    dialled: VecDeque<Instant>,
    ended_at: Option<Instant>,
    /// Messages handed out on this connection.
    frames: u64,
    /// The server asked for patience on this connection.
    pub(super) paused: bool,
    /// What happened last, for those who look for the reason of a failure.
    pub(super) trace: VecDeque<String>,
}

impl Witness {
    pub(super) fn note(&mut self, now: Instant, what: std::fmt::Arguments<'_>) {
        if self.trace.len() >= 80 {
            self.trace.pop_front();
        }
        self.trace.push_back(format!("{now:?} {what}"));
    }

    pub(super) fn wanted(&mut self, name: usize, key: Key, replaced: bool, time: u64) {
        if !replaced {
            self.before.insert(name, time);
            self.came.insert(name, Came { time: None, gaps: 0 });
        }
        if let Some(old) = self.wanted.insert(name, key) {
            assert!(replaced);
            self.forget(old);
        }
    }

    pub(super) fn unwanted(&mut self, name: usize, can_end: bool) {
        if !can_end {
            self.endless.insert(name);
        }
        self.came.remove(&name);
        if let Some(old) = self.wanted.remove(&name) {
            self.forget(old);
        }
    }

    fn forget(&mut self, key: Key) {
        self.owed.remove(&key);
        self.barred.remove(&key);
        self.fed.remove(&key);
    }

    pub(super) fn connected(&mut self, now: Instant) {
        self.epoch += 1;
        self.frames = 0;
        self.paused = false;
        self.ended(now);
        self.ended_at = None;
    }

    pub(super) fn ended(&mut self, now: Instant) {
        self.owed.clear();
        self.barred.clear();
        self.fed.clear();
        self.endless.clear();
        self.ends = None;
        self.ended_at = Some(now);
    }

    pub(super) fn dials(&mut self, now: Instant) {
        if let Some(ended) = self.ended_at {
            assert!(now.saturating_duration_since(ended) >= 100 * MS, "a retry without a delay");
        }
        self.dialled.push_back(now);
        while self.dialled.front().is_some_and(|at| now.saturating_duration_since(*at) > 600 * SECOND) {
            self.dialled.pop_front();
        }
        assert!(self.dialled.len() < 100, "{} attempts within ten minutes", self.dialled.len());
    }

    pub(super) fn notice(&mut self, action: NoticeAction, session: &Session) {
        self.paused |= matches!(action, NoticeAction::Pause(_));
        if action == NoticeAction::ResubscribeAll {
            // One whose answer was overdue may be in force all the same.
            self.barred.retain(|key| session.subscriptions.get(*key).is_some_and(|entry| !entry.in_force));
        }
    }

    pub(super) fn sent(&mut self, ticket: Option<u64>) {
        if let Some(ticket) = ticket {
            assert!(self.tickets.insert(ticket));
        }
    }

    pub(super) fn outcome(&mut self, ticket: u64, outcome: Outcome) {
        assert!(self.tickets.remove(&ticket), "an outcome of nothing, or the second one");
        self.tally.count(if outcome == Outcome::Written { "written" } else { "dropped" });
    }

    /// A repair of it begins.
    fn begun(&mut self, key: Key, repair: Repair) {
        if self.owed.get(&key).is_some_and(|(_, owed)| *owed == repair) {
            self.owed.remove(&key);
        }
    }

    pub(super) fn handed_out(&mut self, out: &Out, session: &Session) {
        match out {
            Out::Subscribe { frame, keys } => {
                if keys.len() > 1 {
                    self.tally.count("batch");
                }
                for key in keys {
                    assert!(!self.barred.contains(key), "what was refused for good is asked for again");
                    assert!(
                        self.wanted.values().any(|wanted| wanted == key),
                        "what nobody wants is asked for"
                    );
                    let entry = session.subscriptions.get(*key).unwrap();
                    assert_eq!((entry.frame(), entry.state), (*frame, SubscriptionState::Sent));
                    self.begun(*key, Repair::Resubscribe);
                    let Phase::Up(up) = &session.phase else { continue };
                    if !up.freshness.is_armed(*key) {
                        self.fed.remove(key); // it is owed data from now on
                    }
                }
            }
            Out::Probe { key, .. } => self.begun(*key, Repair::Probe),
            Out::App { ticket, .. } => {
                assert!(self.tickets.contains(ticket) && self.handed.insert(*ticket), "sent twice");
            }
            _ => {}
        }
        self.frames += 1;
    }

    pub(super) fn written(&mut self, out: &Out, now: Instant, session: &Session) {
        if let Out::Subscribe { keys, frame } = out {
            for key in keys {
                if session.subscriptions.get(*key).is_some_and(|entry| entry.frame() == *frame) {
                    self.fed.entry(*key).or_insert(now);
                }
            }
        }
    }

    /// A message could not be made: it is watched all the same.
    pub(super) fn failed(&mut self, key: Key, now: Instant) {
        self.fed.entry(key).or_insert(now);
        self.begun(key, Repair::Resubscribe);
    }

    /// Data of this name stands in the stream. What the server began to send anew does not join up with what came before.
    pub(super) fn data(&mut self, name: usize, key: Key, time: u64, now: Instant) {
        self.tally.count("data");
        self.fed.insert(key, now);
        self.owed.remove(&key);
        if self.before.get(&name).is_some_and(|before| time <= *before) {
            return;
        }
        let Some(came) = self.came.get_mut(&name) else { return };
        if came.time.is_some_and(|before| before != time) {
            assert!(came.gaps > 0, "{} goes on elsewhere, and no gap was said", id(name));
            came.gaps -= 1;
        }
        came.time = Some(time);
    }

    pub(super) fn event(&mut self, event: &Event, now: Instant, session: &Session) {
        self.grammar.check(event);
        match event {
            Event::Connected(_) => self.tally.count("connected"),
            Event::Subscribed(subscribed) => {
                self.tally.count("subscribed");
                let key = self.wanted.get(&name(&subscribed.subscription));
                let key = key.expect("what nobody wants is in force");
                self.barred.remove(key);
            }
            Event::Refused(refused) => {
                self.tally.count("refused");
                let key = self.wanted[&name(&refused.subscription)];
                self.owed.remove(&key);
                // Should it be granted all the same, or be written at last, data is owed from then on.
                if session.subscriptions.get(key).is_none_or(|entry| entry.patience.is_none()) {
                    self.fed.remove(&key);
                }
                match refused.retry_in {
                    None => drop(self.barred.insert(key)),
                    Some(delay) => assert!(delay >= 100 * MS),
                }
            }
            Event::Ended(ended) => {
                self.tally.count("ended");
                let key = self.wanted[&name(&ended.subscription)];
                // One whose answer was overdue may have been in force; but only the server's word tells.
                let told = ended.detail == "over";
                assert!(told || !self.barred.contains(&key), "what was refused ends: {}", ended.detail);
                self.barred.remove(&key);
                self.owed.remove(&key);
                match ended.retry_in {
                    None => drop(self.barred.insert(key)),
                    Some(delay) => assert!(delay >= 100 * MS),
                }
            }
            Event::Stale(stale) => {
                self.tally.count("stale");
                assert!(stale.age >= stale.limit);
                self.tally.count(match stale.next {
                    Repair::Probe => "probe",
                    Repair::Resubscribe => "resubscribe",
                    Repair::Reconnect => "reconnect",
                    Repair::NextEndpoint => "next_endpoint",
                    Repair::Wait => "wait",
                });
                let key = stale.subscription.as_ref().map(|id| self.wanted[&name(id)]);
                match (stale.next, key) {
                    (Repair::Probe | Repair::Resubscribe, Some(key)) => {
                        // A verdict takes the place of a repair that was never written.
                        self.owed.insert(key, (now, stale.next));
                    }
                    (Repair::Wait, Some(key)) => drop(self.owed.remove(&key)),
                    _ => self.ends = Some(now),
                }
                if let Some(key) = key {
                    assert!(!self.barred.contains(&key), "what was refused is stale");
                    let fed = self.fed.get(&key).copied();
                    let entry = session.subscriptions.get(key).unwrap();
                    let silent = fed.map(|fed| now.saturating_duration_since(fed));
                    assert!(
                        silent.is_none_or(|silent| silent >= stale.limit),
                        "stale after {silent:?} of {:?}: {entry:?}",
                        stale.limit
                    );
                }
            }
            Event::Gap(gap) => {
                self.tally.count("gap");
                for id in &gap.subscriptions {
                    if let Some(came) = self.came.get_mut(&name(id)) {
                        came.gaps += 1;
                    }
                }
            }
            Event::Alert(alert) => {
                if let AlertKind::Quarantined { .. } = &alert.kind {
                    self.tally.count("quarantined");
                }
            }
            _ => {}
        }
    }
}

impl Life {
    /// What the machine says is looked at.
    pub(super) fn listen(&mut self) {
        let now = self.now();
        while let Some(event) = self.world.session.poll_event() {
            self.witness.note(now, format_args!("{event:?}"));
            self.witness.event(&event, now, &self.world.session);
        }
        while let Some((ticket, outcome)) = self.world.session.poll_outcome() {
            self.witness.outcome(ticket, outcome);
        }
    }

    /// What has to hold at every moment.
    pub(super) fn check(&mut self) {
        let now = self.now();
        let session = &self.world.session;
        let desired = session.subscriptions.iter().map(|(key, _)| key);
        let mut wanted: Vec<Key> = self.wanted.values().copied().collect();
        wanted.sort_unstable();
        assert_eq!(desired.collect::<Vec<_>>(), wanted, "what is desired is what is wanted");
        if session.closed().is_some() {
            return;
        }
        let next = session.next_deadline();
        assert!(self.dials.is_some() || session.is_up() || next.is_some(), "nothing will ever happen again");
        assert!(next.is_none_or(|at| at > now), "{next:?} has passed at {now:?}");
        let Phase::Up(up) = &session.phase else { return };
        if !up.is_open() {
            assert!(self.aborted.is_some() || session.recv_deadline().is_some(), "an end that never comes");
            return;
        }
        assert!(self.witness.ends.is_none(), "a verdict on the connection, and it goes on");
        // A socket that is dead is found out.
        assert!(
            session.recv_deadline().is_some_and(|at| at <= now + 61 * SECOND)
                || session.is_away()
                || up.hold
                || self.report.is_some()
        );
        self.check_memory(up);
        for (key, entry) in session.subscriptions.iter() {
            self.check_entry(key, entry, up);
        }
        let patience = if self.restless || self.witness.frames > 0 { 400 * SECOND } else { 100 * SECOND };
        for (key, (at, repair)) in &self.witness.owed {
            let late = now.saturating_duration_since(*at);
            assert!(
                late < patience,
                "{repair:?} of {key} was never begun: {:?}",
                session.subscriptions.get(*key)
            );
        }
    }

    fn check_memory(&self, up: &crate::policy::session::up::Up) {
        let session = &self.world.session;
        let count = self.wanted.len();
        assert!(up.later.len() <= count && up.acks.size() <= count && up.freshness.size() <= count + 1);
        assert!(up.leaving.len() <= 200 && up.ledger.size() <= 2048, "{}", up.ledger.size());
        assert!(session.outbox.size() <= 3 * count + 200, "{}", session.outbox.size());
        assert!(session.quarantine.size() <= count.max(1) + 500, "{}", session.quarantine.size());
        assert!(up.acks.next().is_none() || count > 0);
    }

    /// None is in a state that nothing leads out of.
    fn check_entry(
        &self,
        key: Key,
        entry: &crate::policy::subscriptions::Entry,
        up: &crate::policy::session::up::Up,
    ) {
        use SubscriptionState::{
            Confirmed, Desired, Ended, Live, Quarantined, Queued, Quiet, Refused, Sent, Stale,
        };
        let session = &self.world.session;
        let now = self.now();
        let waits = session.outbox.waits(key);
        let later = entry.later.is_some_and(|(at, _)| up.later.contains(&(at, key)));
        assert_eq!(later, entry.later.is_some(), "{entry:?}");
        assert!(entry.later.is_none_or(|(at, _)| at > now), "its time has come: {entry:?}");
        let held = session.quarantine.is_held_back(key);
        let watched = up.freshness.deadline_of(key);
        let reported = !self
            .report
            .as_ref()
            .is_some_and(|(_, out)| matches!(out, Out::Subscribe { keys, .. } if keys.contains(&key)));
        // It comes to its turn: by time, or by what others wait for.
        let let_out =
            session.quarantine.retry_at().is_some() || session.outbox.size() > 0 || self.report.is_some();
        match entry.state {
            Queued if held => assert!(let_out, "{:?}", session.quarantine),
            Queued => assert!(waits || later, "queued nowhere: {entry:?}"),
            Sent if reported => assert!(
                entry.want.ack == AckPolicy::None || up.acks.is_armed(key),
                "an answer is awaited for ever: {entry:?}"
            ),
            Sent => {}
            Confirmed | Live | Quiet => {
                let limits = entry.limits();
                if let Some(limit) = limits.silent
                    && reported
                {
                    let deadline = watched.flatten();
                    assert!(deadline.is_some(), "nobody watches it: {entry:?}");
                    let fed = self.witness.fed.get(&key);
                    if !self.restless
                        && let (Some(deadline), Some(fed)) = (deadline, fed)
                        && entry.patience.is_none()
                        && !self.witness.paused
                    {
                        assert!(deadline <= *fed + limit, "a deadline that moved: {entry:?}");
                    }
                }
            }
            Stale => {
                assert!(watched.flatten().is_some() || waits || later, "a repair that never comes: {entry:?}")
            }
            Refused | Ended => {
                let said = self.witness.barred.contains(&key) || entry.in_force;
                assert!(said || later, "off, and nobody said so: {entry:?}");
            }
            Quarantined => assert!(let_out, "{:?}", session.quarantine),
            Desired => assert!(watched.is_some(), "forgotten: {entry:?}"),
        }
        assert!(entry.stale.is_none() || watched.is_some() || waits || later, "{entry:?}");
    }

    /// The server has been well for long: what is wanted is in force, each once. `anew`: on a connection that has seen
    /// nothing else.
    pub(super) fn check_force(&self, anew: bool) {
        let session = &self.world.session;
        if session.closed().is_some() || self.wanted.is_empty() {
            return;
        }
        if !anew && !matches!(self.server.by, By::Number) {
            return; // an answer may have been taken for another: only a limit finds that
        }
        assert!(session.is_connected(), "no connection to a server that is well");
        for name in self.server.held.keys() {
            let known = self.wanted.contains_key(name) || self.witness.endless.contains(name);
            assert!(known, "{} is held and not wanted", id(*name));
        }
        for (name, key) in &self.wanted {
            let entry = session.subscriptions.get(*key).unwrap();
            let held = self.server.held.contains_key(name);
            match entry.state {
                SubscriptionState::Confirmed | SubscriptionState::Live | SubscriptionState::Quiet => {
                    let unknown = !anew && entry.want.limit.is_none_or(|_| entry.want.first_limit.is_none());
                    assert!(held || unknown, "{} is not held: {entry:?}", id(*name));
                }
                SubscriptionState::Refused | SubscriptionState::Ended if !anew => {}
                SubscriptionState::Desired if !anew => {}
                _ => panic!("{} is not in force, held: {held}: {entry:?}", id(*name)),
            }
        }
    }
}
