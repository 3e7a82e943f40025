//! The machine against a model of a server: whatever happens on the way, in the end what is wanted is in force.
//!
//! The server works through what it got in order, and answers late, wrongly or not at all. It holds subscriptions by
//! name, as servers do; who asked for a name last has it. Or it opens a channel for each that it is asked for, whose number
//! only its answer tells, and ends none but by its number: there a name may have several, of which all but one are too many.

use super::*;
use crate::class::{ErrorClass, OnAckTimeout};
use crate::health::SubscriptionState;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// What the server's answers say of what they are for.
#[derive(Debug, Clone, Copy, PartialEq)]
enum By {
    Frame,
    Name,
    Order,
}

#[derive(Debug, Clone, Copy)]
enum Reply {
    Grant,
    Refuse,
    Later,
    Silence,
}

#[derive(Debug, Clone)]
enum Op {
    Subscribe {
        name: usize,
        batched: bool,
    },
    Unsubscribe(usize),
    /// The controller writes up to so many messages.
    Write(usize),
    /// The server works on its next message.
    Serve(Reply),
    /// So many of its answers arrive.
    Deliver(usize),
    /// The server ends a subscription by itself.
    Drop(usize),
    Data(usize),
    Pass(u64),
    Reconnect,
    ResubscribeAll,
}

fn op() -> impl Strategy<Value = Op> {
    let reply = prop_oneof![
        6 => Just(Reply::Grant), 1 => Just(Reply::Refuse), 2 => Just(Reply::Later), 1 => Just(Reply::Silence)
    ];
    prop_oneof![
        6 => (0usize..6, any::<bool>()).prop_map(|(name, batched)| Op::Subscribe { name, batched }),
        3 => (0usize..6).prop_map(Op::Unsubscribe),
        6 => (1usize..4).prop_map(Op::Write),
        6 => reply.prop_map(Op::Serve),
        6 => (1usize..4).prop_map(Op::Deliver),
        1 => (0usize..6).prop_map(Op::Drop),
        2 => (0usize..6).prop_map(Op::Data),
        2 => (1u64..15_000).prop_map(Op::Pass),
        1 => Just(Op::Reconnect),
        1 => Just(Op::ResubscribeAll),
    ]
}

#[derive(Debug)]
enum Said {
    Ack(u64, Vec<usize>, Option<u64>),
    Nack(u64, Vec<usize>, ErrorClass),
    Ended(Option<u64>, usize),
}

/// What the server holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    name: usize,
    /// The key that asked.
    key: Key,
    /// Its message, if it was alone in it.
    frame: Option<u64>,
}

struct Model {
    world: World,
    by: By,
    /// The server opens channels.
    channels: bool,
    last_channel: u64,
    /// The channels that the client knows.
    bound: BTreeMap<Key, u64>,
    /// The latest subscribe message of each key.
    latest: BTreeMap<Key, u64>,
    /// What is wanted no more, and still to be found by rules.
    parting: BTreeSet<Key>,
    names: BTreeMap<Key, usize>,
    wanted: BTreeMap<usize, Key>,
    /// With the channel that is to be ended.
    inbox: VecDeque<(Out, Option<u64>)>,
    outbound: VecDeque<Said>,
    /// What the server holds, by a number of its own.
    held: BTreeMap<u64, Held>,
    /// When a name was last told to end.
    told: BTreeMap<usize, Instant>,
    /// Keys whose data crossed with a newer message for them. Data is an answer, and this can't be told from it: what
    /// the server then ignores, without a word, only a limit finds.
    crossed: BTreeSet<Key>,
}

impl Model {
    fn new(by: By, channels: bool) -> Self {
        let mut world = World::new(Settings { batch_members: 3, stale_after: None, ..settings() });
        world.connect();
        let (names, wanted, held, told, crossed) = Default::default();
        let (inbox, outbound) = Default::default();
        let (bound, latest, parting) = Default::default();
        Self {
            world,
            by,
            channels,
            last_channel: 0,
            bound,
            latest,
            parting,
            names,
            wanted,
            inbox,
            outbound,
            held,
            told,
            crossed,
        }
    }

    fn held(&self, name: usize) -> Option<(u64, Held)> {
        self.held.iter().find(|(_, held)| held.name == name).map(|(number, held)| (*number, *held))
    }

    fn id(name: usize) -> String {
        format!("s{name}")
    }

    fn write(&mut self, most: usize) {
        let world = &mut self.world;
        for _ in 0..most {
            if !world.session.has_out() {
                break;
            }
            let Some(out) = world.session.poll_out(world.now) else { break };
            world.session.handle_written(world.now, world.session.epoch(), &out);
            match &out {
                Out::Subscribe { frame, keys } => {
                    self.latest.extend(keys.iter().map(|key| (*key, *frame)));
                    self.inbox.push_back((out, None));
                }
                Out::Unsubscribe { key, .. } => {
                    self.parting.remove(key);
                    let channel = self.bound.get(key).copied();
                    // Without its number the message can't be made.
                    if !self.channels || channel.is_some() {
                        self.inbox.push_back((out, channel));
                    }
                }
                _ => {}
            }
        }
        world.actions.clear();
        while world.session.poll_action().is_some() {}
        while world.session.poll_event().is_some() {}
    }

    fn serve(&mut self, reply: Reply) {
        match self.inbox.pop_front() {
            Some((Out::Subscribe { frame, keys }, _)) => {
                let names: Vec<_> = keys.iter().map(|key| self.names[key]).collect();
                // What it holds it does not refuse.
                let holds = names.iter().any(|name| self.held(*name).is_some())
                    || keys.iter().any(|key| self.crossed.remove(key));
                match if holds { Reply::Grant } else { reply } {
                    Reply::Grant => {
                        for (key, name) in keys.iter().zip(&names) {
                            let frame = (keys.len() == 1).then_some(frame);
                            if !self.channels {
                                self.held.retain(|_, held| held.name != *name);
                            }
                            self.last_channel += 1;
                            self.held.insert(self.last_channel, Held { name: *name, key: *key, frame });
                            if self.channels {
                                let said =
                                    Said::Ack(frame.unwrap_or(0), vec![*name], Some(self.last_channel));
                                self.outbound.push_back(said);
                            }
                        }
                        if !self.channels {
                            self.outbound.push_back(Said::Ack(frame, names, None));
                        }
                    }
                    // It answers all, or none in order: there a silent server could not be told from a slow one.
                    Reply::Refuse => self.outbound.push_back(Said::Nack(frame, names, ErrorClass::Refused)),
                    Reply::Later => self.outbound.push_back(Said::Nack(frame, names, ErrorClass::RetryLater)),
                    Reply::Silence if self.by == By::Frame => {}
                    Reply::Silence => {
                        self.outbound.push_back(Said::Nack(frame, names, ErrorClass::RetryLater))
                    }
                }
            }
            Some((Out::Unsubscribe { key, .. }, channel)) => {
                let name = self.names[&key];
                match channel.filter(|_| self.channels) {
                    Some(channel) => drop(self.held.remove(&channel)),
                    None => self.held.retain(|_, held| held.name != name),
                }
                self.told.insert(name, self.world.now.mono);
                if self.by == By::Name {
                    self.outbound.push_back(Said::Ended(None, name)); // that is its answer
                }
            }
            _ => {}
        }
    }

    /// Whom rules find by these names.
    fn keys(&self, names: &[usize]) -> Vec<Key> {
        let wanted = names.iter().filter_map(|name| self.wanted.get(name).copied());
        let parting = self.parting.iter().copied().filter(|key| names.contains(&self.names[key]));
        wanted.chain(parting).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// What the engine does after each change: what was settled is found no more.
    fn tidy(&mut self) {
        while let Some(key) = self.world.session.poll_settled() {
            self.parting.remove(&key);
        }
    }

    fn let_go(&mut self, key: Key) {
        if self.world.session.is_parting(key) {
            self.parting.insert(key);
        }
    }

    fn deliver(&mut self, most: usize) {
        for _ in 0..most {
            let Some(said) = self.outbound.pop_front() else { return };
            let now = self.world.now;
            let detail = String::new();
            let about = |frame, keys| match self.by {
                By::Frame => About::Frame(frame),
                By::Name => About::Keys(keys),
                By::Order => About::Oldest,
            };
            match said {
                Said::Ack(frame, names, channel) => {
                    let keys = self.keys(&names);
                    let granted = self.world.session.handle_ack(now, about(frame, &keys));
                    let grants: BTreeMap<_, _> = granted.grants.into_iter().collect();
                    for (key, channel) in granted.keys.into_iter().filter_map(|key| Some((key, channel?))) {
                        let before = self.bound.get(&key).copied();
                        // An answer to an older message says nothing of what is in force.
                        let newest = self.by != By::Frame || self.latest.get(&key) == Some(&frame);
                        let extra = match grants.get(&key) {
                            None if !newest => continue,
                            Some(Grant::Older) => Some(channel),
                            Some(Grant::Newer) => before,
                            None | Some(Grant::First) => None,
                        };
                        let newer = grants.get(&key) != Some(&Grant::Older);
                        if newer {
                            self.bound.insert(key, channel);
                        }
                        if let Some(extra) = extra
                            && let Some(spare) = self.world.session.handle_duplicate(now, key, newer)
                        {
                            self.names.insert(spare, self.names[&key]);
                            self.bound.insert(spare, extra);
                        }
                    }
                }
                Said::Nack(frame, names, class) => {
                    let keys = self.keys(&names);
                    self.world.session.handle_nack(now, about(frame, &keys), class, None, detail);
                }
                Said::Ended(frame, name) => {
                    let class = ErrorClass::RetryLater;
                    let keys = self.keys(&[name]);
                    let about = frame.map_or(About::Keys(&keys), About::Frame);
                    self.world.session.handle_dropped(now, about, class, None, detail);
                }
            }
            self.tidy();
        }
    }

    fn apply(&mut self, op: &Op) {
        let now = self.world.now;
        match *op {
            Op::Subscribe { name, batched } => {
                let ack = AckPolicy::Awaited { timeout: 10 * SECOND, then: OnAckTimeout::Retry };
                // With channels each has an answer of its own.
                let batch = (batched && !(self.channels && self.by != By::Name)).then_some(1);
                let want = Want { ack, batch, ends_by_answer: self.channels, ..want(&Self::id(name), None) };
                let (key, replaced) = self.world.session.handle_subscribe(now, want);
                if let Some((old, _)) = replaced {
                    self.let_go(old);
                }
                self.names.insert(key, name);
                self.wanted.insert(name, key);
            }
            Op::Unsubscribe(name) => {
                if let Some((key, _)) = self.world.session.handle_unsubscribe(now, &Self::id(name).into()) {
                    self.let_go(key);
                }
                self.wanted.remove(&name);
            }
            Op::Write(most) => self.write(most),
            Op::Serve(reply) => self.serve(reply),
            Op::Deliver(most) => self.deliver(most),
            Op::Drop(name) => {
                if self.by == By::Name {
                    // By name alone it can't be told from the answer to an unsubscribe message that is on its way.
                    self.finish();
                }
                let held = self.held(name);
                let frame = held.and_then(|(_, held)| held.frame);
                let recent = self.told.get(&name).is_some_and(|at| now.mono - *at < 10 * SECOND);
                if let Some(frame) = frame.filter(|_| self.by != By::Name || !recent) {
                    held.map(|(number, _)| self.held.remove(&number));
                    let frame = (self.by != By::Name).then_some(frame);
                    self.outbound.push_back(Said::Ended(frame, name));
                }
                if self.by == By::Name {
                    self.deliver(usize::MAX);
                }
            }
            Op::Data(name) => {
                // In the order of the stream: after what was said before it.
                self.deliver(usize::MAX);
                let known = |number: u64, key| !self.channels || self.bound.get(&key) == Some(&number);
                let held = self.held(name).filter(|(number, held)| known(*number, held.key));
                let key = held.map(|(_, held)| held.key);
                if let Some(key) = key.filter(|key| self.wanted.get(&name) == Some(key)) {
                    let crosses = |(out, _): &(Out, _)| matches!(out, Out::Subscribe { keys, .. } if keys.contains(&key));
                    if self.inbox.iter().any(crosses) {
                        self.crossed.insert(key);
                    }
                    let touched = [(key, 1)];
                    let cycle =
                        Cycle { bytes: 9, messages: 1, data: 1, touched: &touched, ..Cycle::default() };
                    self.world.session.handle_recv(now, &cycle);
                }
            }
            Op::Pass(time) => {
                if self.by != By::Frame || self.channels {
                    // Only a number tells late answers from others, and a channel whose answer nobody waits for any more
                    // can't be ended: let there be none.
                    self.finish();
                }
                self.pass(Duration::from_millis(time));
            }
            Op::Reconnect => self.reconnect(),
            Op::ResubscribeAll => {
                let action = crate::class::NoticeAction::ResubscribeAll;
                self.world.session.handle_notice(now, action, String::new());
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        let world = &mut self.world;
        world.pass(time);
        world.session.handle_timeout(world.now);
        world.session.handle_recv(world.now, &Cycle { bytes: 2, ..Cycle::default() });
        world.session.handle_empty(world.now, world.suspended);
        if world.session.must_end(world.now.mono) {
            self.reconnect();
        }
    }

    fn reconnect(&mut self) {
        self.inbox.clear();
        self.outbound.clear();
        self.held.clear();
        self.bound.clear();
        self.parting.clear();
        self.crossed.clear();
        let reason = self.world.session.end_reason(EndReason::Reconnect);
        let decision = verdict::decide(&reason, true, &policy());
        self.world.session.handle_ended(self.world.now, reason, decision);
        self.world.dial();
        let established = established();
        assert!(self.world.session.handle_connected(self.world.now, established, self.world.suspended));
    }

    /// Everybody does what there is to do, the server well.
    fn finish(&mut self) {
        while self.world.session.has_out() || !self.inbox.is_empty() || !self.outbound.is_empty() {
            self.write(1);
            self.serve(Reply::Grant);
            self.deliver(1);
        }
    }

    fn settle(&mut self) {
        for _ in 0..100 {
            self.finish();
            self.pass(SECOND);
        }
        self.finish();
    }

    /// What is in force is what is wanted, but for what the server refused.
    fn check(&self, refused: bool) {
        let mut seen = BTreeSet::new();
        for Held { name, key, .. } in self.held.values() {
            assert_eq!(self.wanted.get(name), Some(key), "{} is held and not wanted", Self::id(*name));
            assert!(seen.insert(name), "{} is held twice", Self::id(*name));
        }
        for (name, key) in &self.wanted {
            let entry = self.world.session.subscriptions.get(*key).unwrap();
            match entry.state {
                SubscriptionState::Confirmed | SubscriptionState::Live => {
                    let held = self.held(*name);
                    assert_eq!(held.map(|(_, held)| held.key), Some(*key), "{} is not held", entry.want.id);
                    if self.channels {
                        let number = held.map(|(number, _)| number);
                        assert_eq!(number, self.bound.get(key).copied(), "{} is not known", entry.want.id);
                    }
                }
                SubscriptionState::Refused if refused => assert!(self.held(*name).is_none()),
                other => panic!("{} is {other:?}", entry.want.id),
            }
        }
        let Phase::Up(up) = &self.world.session.phase else { panic!("there is no connection") };
        assert!(up.acks.next().is_none() && up.later.is_empty() && up.leaving.is_empty());
        assert!(up.partings.is_empty() && self.parting.is_empty());
    }
}

fn run(by: By, ops: &[Op]) {
    run_against(by, false, ops);
}

fn run_against(by: By, channels: bool, ops: &[Op]) {
    let mut model = Model::new(by, channels);
    for op in ops {
        model.apply(op);
        model.tidy();
    }
    model.settle();
    model.check(true);
    model.reconnect();
    model.settle();
    model.check(false);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn what_is_wanted_gets_in_force_with_answers_by_number(ops in prop::collection::vec(op(), 0..120)) {
        run(By::Frame, &ops);
    }

    #[test]
    fn what_is_wanted_gets_in_force_with_answers_by_name(ops in prop::collection::vec(op(), 0..120)) {
        run(By::Name, &ops);
    }

    #[test]
    fn what_is_wanted_gets_in_force_with_answers_in_order(ops in prop::collection::vec(op(), 0..120)) {
        run(By::Order, &ops);
    }

    #[test]
    fn what_is_wanted_gets_in_force_where_answers_by_number_open_channels(ops in prop::collection::vec(op(), 0..120)) {
        run_against(By::Frame, true, &ops);
    }

    #[test]
    fn what_is_wanted_gets_in_force_where_answers_by_name_open_channels(ops in prop::collection::vec(op(), 0..120)) {
        run_against(By::Name, true, &ops);
    }

    #[test]
    fn what_is_wanted_gets_in_force_where_answers_in_order_open_channels(ops in prop::collection::vec(op(), 0..120)) {
        run_against(By::Order, true, &ops);
    }
}
