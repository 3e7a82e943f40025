//! Thousands of hours with a server that answers, and with one that does not: subscriptions, acknowledgements, refusals,
//! ends, notices, keepalives, pacing, quarantine and the ladder in virtual time, with the contracts as invariants.
//!
//! The threads of the engine are played here: a reader that takes what has arrived, a controller that writes what may be
//! written and reports it a little later, and a network with delays in both directions. In the end the server is well,
//! and then what is wanted has to be in force, each once.
//!
//! `LIVEFEED_SIMULATED_FEEDS=20000` has it live through so many feeds' lives; `LIVEFEED_SIMULATED_FROM` is the first seed.

mod checks;
mod server;

use super::*;
use crate::class::OnAckTimeout;
use crate::policy::ladder::Rung;
use crate::policy::pacing::{Kind, Of, Pace, Pacing};
use crate::policy::schedule::{Mode, Times};
use checks::Witness;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use server::{By, Frame, Mood, PERIOD, Said, Server, To};
use std::collections::{BTreeMap, VecDeque};

/// A feed with all that is around it.
struct Life {
    random: StdRng,
    world: World,
    server: Server,
    witness: Witness,
    /// What the application wants, by name.
    wanted: BTreeMap<usize, Key>,
    /// Whose key it is or was.
    names: BTreeMap<Key, usize>,
    pacing: Pacing,
    paces: Vec<Pace>,
    paced: Option<Instant>,
    written: Vec<VecDeque<Instant>>,
    /// On the wire, with the time of arrival.
    there: VecDeque<(Instant, Frame)>,
    back: VecDeque<(Instant, Said)>,
    /// An attempt is under way until then.
    dials: Option<Instant>,
    /// A write is reported then.
    report: Option<(Instant, Out)>,
    /// The reader sees a shutdown then.
    aborted: Option<Instant>,
    /// The application does something next, and the mood of the server changes.
    next_wish: Instant,
    next_mood: Instant,
    /// The reader leaves the socket alone until then.
    away: Option<Instant>,
    keepalives: Vec<Times>,
    /// The reader waits for room at times, and the computer sleeps.
    restless: bool,
    healthy: bool,
    ack: AckPolicy,
    members: usize,
    /// Turns without that time passed.
    still: u32,
}

fn id(name: usize) -> String {
    format!("s{name}")
}

fn name(id: &SubscriptionId) -> usize {
    id.as_str()[1..].parse().unwrap()
}

fn spell(random: &mut StdRng, mean: Duration) -> Duration {
    mean.mul_f64(-random.random_range(1e-6f64..1.0).ln())
}

impl Life {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let by = match random.random_range(0..8) {
            0 | 1 => By::Number,
            2 => By::Name,
            3 => By::List { numbered: random.random_bool(0.5), complete: random.random_bool(0.5) },
            4 => By::Order,
            5 => By::Data,
            6 => By::Nothing,
            _ => By::Number,
        };
        let thens =
            [OnAckTimeout::Retry, OnAckTimeout::Accept, OnAckTimeout::Refuse, OnAckTimeout::Reconnect];
        let timeout = if by == By::Data { 3 * PERIOD } else { random.random_range(1..30) * SECOND };
        let then = thens[random.random_range(0..4)];
        let ack = match by {
            By::Data => AckPolicy::FirstData { timeout, then },
            By::Nothing => AckPolicy::None,
            _ => AckPolicy::Awaited { timeout, then },
        };
        let members = if random.random_bool(0.5) { random.random_range(2..6) } else { 1 };
        let paces = match random.random_range(0..3) {
            0 => Vec::new(),
            1 => vec![Pace { count: random.random_range(1..10), per: 5 * SECOND, of: Of::All }],
            _ => vec![
                Pace { count: random.random_range(1..4), per: SECOND, of: Of::Subscribes },
                Pace { count: 20, per: 60 * SECOND, of: Of::All },
            ],
        };
        let keepalive = |random: &mut StdRng| Times {
            mode: [Mode::Every, Mode::IdleReceived, Mode::IdleSent][random.random_range(0..3)],
            period: random.random_range(20..200) * SECOND,
            first_after: None,
            within: random.random_bool(0.5).then_some(15 * SECOND),
            ping: false,
        };
        let keepalives = (0..random.random_range(0..3)).map(|_| keepalive(&mut random)).collect();
        let settings = Settings {
            stale_after: random.random_bool(0.5).then_some(6 * PERIOD),
            batch_members: members,
            endpoints: random.random_range(1..3),
            quarantine_after: random.random_range(1..4),
            repair: if random.random_bool(0.5) { Arc::new([Rung::NextEndpoint]) } else { Arc::new([]) },
            liveness: liveness::Settings { after: Some(50 * SECOND), timeout: 10 * SECOND },
            ..settings()
        };
        let world = World::seeded(settings, seed);
        let now = world.now.mono;
        Self {
            server: Server::new(by, random.random_range(1..9)),
            restless: random.random_bool(0.3),
            random,
            witness: Witness::default(),
            wanted: BTreeMap::new(),
            names: BTreeMap::new(),
            pacing: Pacing::new(&paces),
            written: paces.iter().map(|_| VecDeque::new()).collect(),
            paces,
            paced: None,
            there: VecDeque::new(),
            back: VecDeque::new(),
            dials: None,
            report: None,
            aborted: None,
            next_wish: now,
            next_mood: now,
            away: None,
            keepalives,
            healthy: false,
            ack,
            members,
            still: 0,
            world,
        }
    }

    fn now(&self) -> Instant {
        self.world.now.mono
    }

    /// Lives on for so long.
    fn live(&mut self, time: Duration) {
        let end = self.now() + time;
        while self.now() < end && self.world.session.closed().is_none() {
            self.turn(end);
        }
    }

    /// Goes on to the next moment at which something happens.
    fn turn(&mut self, end: Instant) {
        let session = &self.world.session;
        let wish = (!self.healthy).then_some(self.next_wish);
        let mood = (!self.healthy).then_some(self.next_mood);
        let read = if self.away.is_some() { None } else { session.recv_deadline() };
        let arrival = self.back.front().map(|(at, _)| *at).filter(|_| self.away.is_none());
        let report = self.report.as_ref().map(|(at, _)| *at);
        let write = self.paced.filter(|_| session.has_out() && report.is_none());
        let there = self.there.front().map(|(at, _)| *at);
        let own = [session.next_deadline(), read, arrival, report, write, there, self.server.next()];
        let others = [self.dials, self.aborted, self.away, wish, mood, Some(end)];
        let next = own.into_iter().chain(others).flatten().min().unwrap_or(end);
        let slice = next.saturating_duration_since(self.now());
        self.still = if slice.is_zero() { self.still + 1 } else { 0 };
        if self.still == 1000 {
            let up = if let Phase::Up(up) = &self.world.session.phase { Some(up) } else { None };
            panic!("time stands still: {own:?}, {others:?}, now {:?}, {up:?}", self.now());
        }
        self.world.pass(slice);
        self.wire();
        self.dial();
        if self.random.random_bool(0.5) {
            self.controller();
            self.reader();
        } else {
            self.reader();
            self.controller();
        }
        self.surroundings();
        self.controller();
        if self.world.session.next_deadline().is_some_and(|at| at <= self.now()) {
            self.controller(); // what was done made something due at once
        }
        self.listen();
        self.check();
    }

    // ---- the network -------------------------------------------------------------------------------------

    fn wire(&mut self) {
        let now = self.now();
        while self.there.front().is_some_and(|(at, _)| *at <= now) {
            let Some((_, frame)) = self.there.pop_front() else { break };
            if !self.server.cut_off {
                self.server.receive(now, frame, &mut self.random);
            }
        }
        self.server.work(now, &mut self.random);
        for said in std::mem::take(&mut self.server.said) {
            if self.server.cut_off {
                break;
            }
            let at = now + self.random.random_range(1..200) * MS;
            let at = self.back.back().map_or(at, |(before, _)| at.max(*before));
            self.back.push_back((at, said));
        }
        self.server.said.clear();
    }

    fn dial(&mut self) {
        if self.dials.is_none_or(|at| self.now() < at) {
            return;
        }
        self.dials = None;
        let refused = !self.healthy && self.random.random_bool(self.server.mood.refuses_connections);
        self.world.session.handle_connecting(self.world.now, String::new());
        let schedules = self.keepalives.clone();
        let peer = ([127, 0, 0, 1], 1).into();
        let established = Established { took: MS, peer, subprotocol: None, schedules, heartbeat: None };
        let (now, suspended) = (self.world.now, self.world.suspended);
        if !refused && self.world.session.handle_connected(now, established, suspended) {
            let now = self.now();
            self.server.connected(now, &mut self.random);
            self.witness.connected(now);
        } else {
            self.ended(EndReason::Io {
                stage: crate::error::Stage::Connect,
                kind: std::io::ErrorKind::ConnectionRefused,
                detail: String::new(),
            });
        }
    }

    fn ended(&mut self, found: EndReason) {
        if let Some((_, out)) = self.report.take() {
            self.world.session.handle_lost(self.world.session.epoch(), &out);
        }
        let reason = self.world.session.end_reason(found);
        let decision = verdict::decide(&reason, true, &policy());
        self.world.session.handle_ended(self.world.now, reason, decision);
        self.there.clear();
        self.back.clear();
        self.server.forget();
        (self.aborted, self.away, self.paced) = (None, None, None);
        self.witness.ended(self.now());
        self.listen();
    }

    // ---- the controller ----------------------------------------------------------------------------------

    fn controller(&mut self) {
        let now = self.now();
        self.world.session.handle_timeout(self.world.now);
        if self.report.as_ref().is_some_and(|(at, _)| *at <= now)
            && let Some((_, out)) = self.report.take()
        {
            self.world.session.handle_written(self.world.now, self.world.session.epoch(), &out);
            self.witness.written(&out, now, &self.world.session);
        }
        while let Some(action) = self.world.session.poll_action() {
            match action {
                Action::Dial { .. } => {
                    assert!(self.dials.is_none() && !self.world.session.is_up(), "one attempt at a time");
                    self.witness.dials(now);
                    self.dials = Some(now + self.random.random_range(0..3000) * MS);
                }
                Action::Abort if self.world.session.is_up() => {
                    self.aborted = Some(now + self.random.random_range(0..50) * MS)
                }
                Action::Abort | Action::Exit => {}
            }
        }
        self.paced = None;
        while self.report.is_none()
            && let Some(kind) = self.world.session.peek_out()
        {
            let kind = match kind {
                crate::policy::outbox::OutKind::Subscribe => Kind::Subscribe,
                crate::policy::outbox::OutKind::Application => Kind::Application,
                _ => Kind::Control,
            };
            if let Err(at) = self.pacing.take(now, kind) {
                assert!(at > now, "a limit on sends that keeps a thread busy");
                self.paced = Some(at);
                return;
            }
            self.write(kind);
        }
    }

    fn write(&mut self, kind: Kind) {
        let now = self.now();
        let Some(out) = self.world.session.poll_out(self.world.now) else { return };
        for (pace, written) in
            self.paces.iter().zip(&mut self.written).filter(|(pace, _)| pace.of.counts(kind))
        {
            while written.front().is_some_and(|at| now.saturating_duration_since(*at) >= pace.per) {
                written.pop_front();
            }
            written.push_back(now);
            let free = kind == Kind::Control || written.len() <= pace.count as usize;
            assert!(free, "{} within {:?}", written.len(), pace.per);
        }
        let frame = match &out {
            Out::Subscribe { frame, keys } => {
                if keys.len() > 1 && self.random.random_bool(0.03) {
                    self.world.session.handle_split(self.world.now, *frame, keys);
                    return;
                }
                if keys.len() == 1 && !self.healthy && self.random.random_bool(0.01) {
                    self.world.session.handle_render_failed(self.world.now, keys[0], String::new());
                    self.witness.failed(keys[0], now);
                    return;
                }
                assert!(keys.len() <= self.members);
                Frame::Subscribe(*frame, keys.iter().map(|key| self.names[key]).collect())
            }
            Out::Unsubscribe { frame, key } => Frame::Unsubscribe(*frame, self.names[key]),
            Out::Keepalive { index, .. } => Frame::Keepalive(*index),
            Out::Ping => Frame::Ping,
            Out::Close(_) => Frame::Close,
            Out::Pong(_) | Out::Reply { .. } | Out::Answer(_) | Out::Probe { .. } | Out::App { .. } => {
                Frame::Other
            }
        };
        self.listen();
        self.witness.note(now, format_args!("writes {frame:?}"));
        self.witness.handed_out(&out, &self.world.session);
        let at = now + self.random.random_range(1..200) * MS;
        let at = self.there.back().map_or(at, |(before, _)| at.max(*before));
        self.there.push_back((at, frame));
        // The report may be later than the answer.
        if self.random.random_bool(0.1) {
            self.report = Some((now + self.random.random_range(0..800) * MS, out));
        } else {
            self.world.session.handle_written(self.world.now, self.world.session.epoch(), &out);
            self.witness.written(&out, now, &self.world.session);
        }
    }

    // ---- the reader --------------------------------------------------------------------------------------

    fn reader(&mut self) {
        let now = self.now();
        if self.away.is_some_and(|at| at <= now || self.world.session.is_ending()) {
            self.away = None;
            self.world.session.handle_back(now);
            self.world.session.handle_recv(self.world.now, &Cycle::default());
        }
        if !self.world.session.is_up() || self.away.is_some() {
            return;
        }
        if self.aborted.is_some_and(|at| at <= now) || self.world.session.must_end(now) {
            self.ended(EndReason::Eof);
            return;
        }
        let arrived = |back: &VecDeque<(Instant, Said)>| back.front().is_some_and(|(at, _)| *at <= now);
        if arrived(&self.back) {
            while arrived(&self.back)
                && let Some((_, said)) = self.back.pop_front()
            {
                if let Said::Eof = said {
                    self.ended(EndReason::Eof);
                    return;
                }
                self.hear(said);
            }
            self.world.session.handle_recv(self.world.now, &Cycle { bytes: 9, ..Cycle::default() });
        } else if self.world.session.recv_deadline().is_some_and(|at| at <= now) {
            let suspended = self.world.suspended;
            let empty = Cycle { empty: true, suspended, ..Cycle::default() };
            self.world.session.handle_recv(self.world.now, &empty);
        }
        self.listen();
        if self.world.session.must_end(now) {
            self.ended(EndReason::Eof);
        }
    }

    fn keys(&self, names: &[usize]) -> Vec<Key> {
        names.iter().filter_map(|name| self.wanted.get(name).copied()).collect()
    }

    fn hear(&mut self, said: Said) {
        let now = self.world.now;
        self.witness.note(now.mono, format_args!("hears {said:?}"));
        let cycle = Cycle { bytes: 9, messages: 1, ..Cycle::default() };
        let heard = |to: &To| match to {
            To::Names(names) => (self.keys(names), Vec::new()),
            To::List { names, .. } => (Vec::new(), names.iter().map(|name| id(*name)).collect()),
            To::Number(_) | To::Oldest => (Vec::new(), Vec::new()),
        };
        fn about<'a>(to: &To, (keys, listed): &'a (Vec<Key>, Vec<String>)) -> About<'a> {
            match to {
                To::Number(number) => About::Frame(*number),
                To::Names(_) => About::Keys(keys),
                To::List { number, complete, .. } => {
                    About::Listed { frame: *number, listed, complete: *complete }
                }
                To::Oldest => About::Oldest,
            }
        }
        match said {
            Said::Data(name, time) => {
                let touched: Vec<_> = self.keys(&[name]).into_iter().map(|key| (key, 1)).collect();
                let unmatched = u64::from(touched.is_empty());
                let cycle = Cycle { data: 1 - unmatched, unmatched, touched: &touched, ..cycle };
                self.world.session.handle_recv(now, &cycle);
                self.listen();
                for (key, _) in touched {
                    self.witness.data(name, key, time, now.mono);
                }
                return;
            }
            Said::Ack(to) => {
                let heard = heard(&to);
                self.world.session.handle_ack(now, about(&to, &heard));
            }
            Said::Nack(to, class, after) => {
                let heard = heard(&to);
                self.world.session.handle_nack(now, about(&to, &heard), class, after, "no".into());
            }
            Said::Ended(to, class) => {
                let heard = heard(&to);
                self.world.session.handle_dropped(now, about(&to, &heard), class, None, "over".into());
            }
            Said::Notice(action) => {
                self.witness.notice(action.clone(), &self.world.session);
                self.world.session.handle_notice(now, action, "words".into());
            }
            Said::Answer(index) => self.world.session.handle_answer(now, index),
            Said::Pong => {
                self.world.session.handle_recv(now, &Cycle { pong: true, ..cycle });
                return;
            }
            Said::Ping => {
                let ping = Some(tungstenite::Bytes::new());
                self.world.session.handle_recv(now, &Cycle { ping, ..cycle });
                return;
            }
            Said::Close(code) => {
                let close = Some((Some(code), String::new()));
                self.world.session.handle_recv(now, &Cycle { close, ..cycle });
                return;
            }
            Said::Beat | Said::Eof => {}
        }
        self.world.session.handle_recv(now, &cycle);
        self.listen();
    }

    // ---- what is around ----------------------------------------------------------------------------------

    fn surroundings(&mut self) {
        let now = self.now();
        if self.healthy {
            return;
        }
        if now >= self.next_mood {
            let names = self.server.names();
            self.server.mood = Mood::any(&mut self.random, names);
            self.next_mood = now + spell(&mut self.random, 600 * SECOND);
        }
        if now < self.next_wish {
            return;
        }
        self.next_wish = now + spell(&mut self.random, 60 * SECOND);
        if self.restless && self.random.random_bool(0.2) {
            self.trouble();
        }
        let name = self.random.random_range(0..self.server.names());
        match self.random.random_range(0..100) {
            0..50 if !self.wanted.contains_key(&name) || self.random.random_bool(0.2) => self.subscribe(name),
            50..70 => self.unsubscribe(name),
            70..75 => {
                // A burst.
                for _ in 0..self.random.random_range(1..6) {
                    let name = self.random.random_range(0..self.server.names());
                    if self.random.random_bool(0.5) { self.subscribe(name) } else { self.unsubscribe(name) }
                }
            }
            75..85 => {
                let sent = self.world.session.handle_send(Content::Text("x".into()));
                self.witness.sent(sent.ok());
            }
            85 => self.world.session.handle_reconnect(self.world.now),
            _ => {}
        }
    }

    /// The reader waits for room, the computer sleeps, or a clock is set.
    fn trouble(&mut self) {
        match self.random.random_range(0..3) {
            0 if self.world.session.is_connected() => {
                self.world.session.handle_away(self.now());
                self.away = Some(self.now() + self.random.random_range(0..300) * SECOND);
            }
            1 => {
                self.world.suspended = self.world.suspended.map(|time| time + 3600 * SECOND);
                self.world.now.wall += 3600 * SECOND;
            }
            _ => self.world.now.wall -= 1000 * SECOND,
        }
    }

    fn subscribe(&mut self, name: usize) {
        let rungs =
            [Rung::Probe(5 * SECOND), Rung::Resubscribe(2 * PERIOD), Rung::Reconnect, Rung::NextEndpoint];
        let skipped = self.random.random_range(0..5);
        let limit = self.random.random_bool(0.7).then(|| PERIOD.mul_f64(self.random.random_range(2.0..5.0)));
        let first_limit = if self.random.random_bool(0.8) { limit } else { None };
        let want = Want {
            limit,
            first_limit,
            ack: self.ack,
            batch: (self.members > 1 && self.random.random_bool(0.9)).then_some(1),
            can_end: self.random.random_bool(0.95),
            can_probe: self.random.random_bool(0.7),
            repair: rungs.into_iter().skip(skipped).collect(),
            ..want(&id(name), None)
        };
        let (key, replaced) = self.world.session.handle_subscribe(self.world.now, want);
        self.witness.note(self.world.now.mono, format_args!("wants {name} as {key}, not {replaced:?}"));
        assert_eq!(replaced.map(|(old, _)| old), self.wanted.insert(name, key));
        self.names.insert(key, name);
        self.witness.wanted(name, key, replaced.is_some(), self.server.times);
    }

    fn unsubscribe(&mut self, name: usize) {
        let can_end = self.wanted.get(&name).and_then(|key| self.world.session.subscriptions.get(*key));
        let can_end = can_end.is_none_or(|entry| entry.want.can_end);
        let removed = self.world.session.handle_unsubscribe(self.world.now, &id(name).into());
        self.witness.note(self.world.now.mono, format_args!("wants {name} no more: {removed:?}"));
        assert_eq!(removed.map(|(key, _)| key), self.wanted.remove(&name));
        self.witness.unwanted(name, can_end);
    }

    /// The server is well, and nobody wants anything new.
    fn heal(&mut self) {
        self.healthy = true;
        self.server.mood = Mood::default();
    }
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn thousands_of_hours_with_a_server_that_answers_as_it_likes() {
    let from = number("LIVEFEED_SIMULATED_FROM", 0);
    let mut total = checks::Tally::default();
    for seed in from..from + number("LIVEFEED_SIMULATED_FEEDS", 40) {
        let mut life = Life::new(seed);
        let begin = life.now();
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            life.live(2 * 3600 * SECOND);
            life.heal();
            life.live(80 * 60 * SECOND);
            life.check_force(false);
            life.world.session.handle_reconnect(life.world.now);
            life.live(600 * SECOND);
            life.check_force(true);
        }));
        if let Err(panic) = lived {
            life.witness.trace.iter().for_each(|line| eprintln!("{line}"));
            eprintln!("seed {seed}, {:?}, {:?} after the beginning", life.server.by, life.now() - begin);
            std::panic::resume_unwind(panic);
        }
        total.add(&life.witness.tally, life.now() - begin);
    }
    total.check();
}
