//! A server as they are: it answers by number, by name, by list, late, twice or never; refuses, ends, mutes, hangs up.
//!
//! It holds subscriptions by name, as most servers do, and works through what it got in order. Its mood changes.

use crate::class::{ErrorClass, NoticeAction};
use rand::RngExt;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Data of one name comes so often.
pub(super) const PERIOD: Duration = Duration::from_secs(60);

const SECOND: Duration = Duration::from_secs(1);
const MS: Duration = Duration::from_millis(1);

/// What the server's answers say of what they are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Number,
    Name,
    /// What it holds, perhaps with the number of the message.
    List {
        numbered: bool,
        complete: bool,
    },
    Order,
    /// Data is the only answer.
    Data,
    Nothing,
}

/// What it gets.
#[derive(Debug, Clone)]
pub(super) enum Frame {
    Subscribe(u64, Vec<usize>),
    Unsubscribe(u64, usize),
    Keepalive(usize),
    Ping,
    Close,
    Other,
}

/// What an answer says that it is for.
#[derive(Debug, Clone)]
pub(super) enum To {
    Number(u64),
    Names(Vec<usize>),
    List { number: Option<u64>, names: Vec<usize>, complete: bool },
    Oldest,
}

/// What it says.
#[derive(Debug, Clone)]
pub(super) enum Said {
    Ack(To),
    Nack(To, ErrorClass, Option<Duration>),
    Ended(To, ErrorClass),
    Notice(NoticeAction),
    /// Data of a name, and the number of the time that it has been held without a break.
    Data(usize, u64),
    Beat,
    Answer(usize),
    Pong,
    Ping,
    Close(u16),
    Eof,
}

/// How it is for a while; chances are from 0 to 1, rates are times an hour.
#[derive(Debug, Default)]
pub(super) struct Mood {
    pub(super) refuses_connections: f64,
    /// It works on a message and says nothing, or forgets the message.
    silent: f64,
    lost: f64,
    late: f64,
    twice: f64,
    refuses: f64,
    class: Option<ErrorClass>,
    /// These are always refused, and with them whoever shares their message.
    pub(super) bad: BTreeSet<usize>,
    /// Who asks for one of these is hung up on.
    pub(super) deadly: BTreeSet<usize>,
    mute: BTreeSet<usize>,
    mishaps: f64,
    /// It answers no keepalive.
    deaf: bool,
}

impl Mood {
    /// Any, or at times a good one.
    pub(super) fn any(random: &mut StdRng, names: usize) -> Self {
        let chance =
            |random: &mut StdRng| if random.random_bool(0.3) { random.random_range(0.0..0.6) } else { 0.0 };
        let some = |random: &mut StdRng, often: f64| {
            let likely = if random.random_bool(often) { 0.3 } else { 0.0 };
            (0..names).filter(|_| random.random_bool(likely)).collect()
        };
        if random.random_bool(0.3) {
            return Self::default();
        }
        let classes =
            [ErrorClass::Refused, ErrorClass::RetryLater, ErrorClass::Benign, ErrorClass::ConnectionFatal];
        Self {
            refuses_connections: chance(random),
            silent: chance(random),
            lost: chance(random),
            late: chance(random),
            twice: chance(random),
            refuses: chance(random),
            class: random.random_bool(0.5).then(|| classes[random.random_range(0..classes.len())]),
            bad: some(random, 0.25),
            deadly: some(random, 0.2),
            mute: some(random, 0.6),
            mishaps: if random.random_bool(0.5) { random.random_range(1.0..120.0) } else { 0.0 },
            deaf: random.random_bool(0.1),
        }
    }
}

enum Job {
    Publish(usize, u64),
    Mishap,
    Beat,
    Say(Said),
}

pub(super) struct Server {
    pub(super) by: By,
    pub(super) mood: Mood,
    names: usize,
    /// By name, since which time.
    pub(super) held: BTreeMap<usize, u64>,
    /// The message that made it so, where it was alone in it.
    numbers: BTreeMap<usize, u64>,
    pub(super) times: u64,
    jobs: BTreeMap<(Instant, u64), Job>,
    last_job: u64,
    /// It has hung up.
    gone: bool,
    /// The network is: nothing passes.
    pub(super) cut_off: bool,
    pub(super) said: Vec<Said>,
}

impl Server {
    pub(super) fn new(by: By, names: usize) -> Self {
        Self {
            by,
            mood: Mood::default(),
            names,
            held: BTreeMap::new(),
            numbers: BTreeMap::new(),
            times: 0,
            jobs: BTreeMap::new(),
            last_job: 0,
            gone: false,
            cut_off: false,
            said: Vec::new(),
        }
    }

    /// A connection is over, or there is a new one.
    pub(super) fn forget(&mut self) {
        self.held.clear();
        self.numbers.clear();
        self.jobs.clear();
        self.said.clear();
        (self.gone, self.cut_off) = (false, false);
    }

    pub(super) fn connected(&mut self, now: Instant, random: &mut StdRng) {
        self.forget();
        self.plan_mishap(now, random);
        self.at(now + random.random_range(1..90) * SECOND, Job::Beat);
    }

    fn at(&mut self, at: Instant, job: Job) {
        self.last_job += 1;
        self.jobs.insert((at, self.last_job), job);
    }

    fn plan_mishap(&mut self, now: Instant, random: &mut StdRng) {
        // In a good mood it looks again from time to time.
        let rate = self.mood.mishaps.max(2.0);
        let spell = -random.random_range(1e-6f64..1.0).ln() * 3600.0 / rate;
        self.at(now + Duration::from_secs_f64(spell), Job::Mishap);
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.jobs.first_key_value().map(|((at, _), _)| *at)
    }

    /// Does what is due.
    pub(super) fn work(&mut self, now: Instant, random: &mut StdRng) {
        while self.next().is_some_and(|at| at <= now) {
            let Some((_, job)) = self.jobs.pop_first() else { return };
            match job {
                Job::Publish(name, time) => {
                    if self.held.get(&name) == Some(&time) {
                        if !self.mood.mute.contains(&name) {
                            self.say(Said::Data(name, time));
                        }
                        self.at(
                            now + PERIOD.mul_f64(random.random_range(0.8..1.0)),
                            Job::Publish(name, time),
                        );
                    }
                }
                Job::Say(said) => self.say(said),
                Job::Beat => {
                    self.say(if random.random_bool(0.5) { Said::Beat } else { Said::Ping });
                    self.at(now + random.random_range(30..200) * SECOND, Job::Beat);
                }
                Job::Mishap => {
                    if self.mood.mishaps > 0.0 {
                        self.mishap(random);
                    }
                    self.plan_mishap(now, random);
                }
            }
        }
    }

    fn say(&mut self, said: Said) {
        if !self.gone {
            self.gone = matches!(said, Said::Eof);
            self.said.push(said);
        }
    }

    fn mishap(&mut self, random: &mut StdRng) {
        let any = |random: &mut StdRng, held: &BTreeMap<usize, u64>| {
            held.keys().copied().nth(random.random_range(0..held.len().max(1)))
        };
        match random.random_range(0..20) {
            0..6 => {
                // It ends one, and says so.
                let Some(name) = any(random, &self.held) else { return };
                self.held.remove(&name);
                let classes = [ErrorClass::RetryLater, ErrorClass::Refused, ErrorClass::Benign];
                let class = classes[random.random_range(0..3)];
                let to = match (self.by, self.numbers.get(&name)) {
                    (By::Number, Some(number)) => To::Number(*number),
                    _ => To::Names(vec![name]),
                };
                self.say(Said::Ended(to, class));
            }
            6..8 => {
                // Or not.
                let Some(name) = any(random, &self.held) else { return };
                self.held.remove(&name);
            }
            8..10 => self.say(Said::Notice(NoticeAction::ResubscribeAll)),
            10 => self.say(Said::Notice(NoticeAction::Reconnect)),
            11 => self.say(Said::Notice(NoticeAction::ReconnectWithin(random.random_range(1..60) * SECOND))),
            12 => self.say(Said::Notice(NoticeAction::Pause(random.random_range(1..600) * SECOND))),
            13 => self.say(Said::Notice(NoticeAction::Resume)),
            14 => self.say(Said::Notice(NoticeAction::NextEndpoint)),
            15 => self.say(Said::Close(1001)),
            16 => self.say(Said::Eof),
            17 => self.cut_off = true,
            _ => {
                // What it holds, unasked for.
                if let By::List { complete, .. } = self.by {
                    let names = self.held.keys().copied().collect();
                    self.say(Said::Ack(To::List { number: None, names, complete }));
                }
            }
        }
    }

    /// It works on a message.
    pub(super) fn receive(&mut self, now: Instant, frame: Frame, random: &mut StdRng) {
        if self.gone {
            return;
        }
        match frame {
            Frame::Ping => self.say(Said::Pong),
            Frame::Keepalive(index) if !self.mood.deaf => self.say(Said::Answer(index)),
            Frame::Keepalive(_) | Frame::Other => {}
            Frame::Close => {
                self.say(Said::Close(1000));
                self.say(Said::Eof);
            }
            Frame::Unsubscribe(number, name) => {
                self.held.remove(&name);
                if random.random_bool(self.mood.silent) {
                    return;
                }
                match self.by {
                    By::Number => self.answer(now, Said::Ack(To::Number(number)), random),
                    // That is its answer.
                    By::Name => {
                        self.answer(now, Said::Ended(To::Names(vec![name]), ErrorClass::Benign), random)
                    }
                    By::List { .. } | By::Order | By::Data | By::Nothing => {}
                }
            }
            Frame::Subscribe(number, names) => self.asked(now, number, names, random),
        }
    }

    fn asked(&mut self, now: Instant, number: u64, names: Vec<usize>, random: &mut StdRng) {
        if names.iter().any(|name| self.mood.deadly.contains(name)) {
            self.say(if random.random_bool(0.5) { Said::Eof } else { Said::Close(1008) });
            return;
        }
        // Where answers have no names, it answers all or none.
        let in_order = self.by == By::Order;
        if !in_order && random.random_bool(self.mood.lost) {
            return;
        }
        let to = match self.by {
            By::Number => To::Number(number),
            By::Name => To::Names(names.clone()),
            By::List { numbered, complete } => To::List {
                number: numbered.then_some(number),
                names: names.clone(),
                complete: complete && numbered,
            },
            By::Order | By::Data | By::Nothing => To::Oldest,
        };
        let bad = names.iter().any(|name| self.mood.bad.contains(name));
        // What it holds it does not refuse, nor can it say so without a name.
        let known = names.iter().any(|name| self.held.contains_key(name));
        let speaks = !matches!(self.by, By::Data | By::Nothing);
        if speaks && !known && (bad || random.random_bool(self.mood.refuses)) {
            let class = self.mood.class.filter(|_| !bad).unwrap_or(ErrorClass::Refused);
            if class != ErrorClass::Benign {
                let after = random.random_bool(0.5).then(|| random.random_range(0..90) * SECOND);
                self.answer(now, Said::Nack(to, class, after), random);
                return;
            }
        }
        for name in &names {
            if !self.held.contains_key(name) {
                self.times += 1;
                self.held.insert(*name, self.times);
                // Some send a snapshot at once.
                let first = if random.random_bool(0.5) { Duration::ZERO } else { PERIOD / 2 };
                self.at(now + first + 300 * MS, Job::Publish(*name, self.times));
            }
            match names.len() {
                1 => self.numbers.insert(*name, number),
                _ => self.numbers.remove(name),
            };
        }
        if !speaks || (!in_order && random.random_bool(self.mood.silent)) {
            return;
        }
        let said = if known && random.random_bool(0.5) {
            Said::Nack(to, ErrorClass::Benign, None)
        } else {
            Said::Ack(to)
        };
        self.answer(now, said, random);
    }

    fn answer(&mut self, now: Instant, said: Said, random: &mut StdRng) {
        if self.by == By::Order {
            self.say(said);
            return;
        }
        let late = |random: &mut StdRng| now + random.random_range(0..40_000) * MS;
        if random.random_bool(self.mood.twice) {
            let at = late(random);
            self.at(at, Job::Say(said.clone()));
        }
        if random.random_bool(self.mood.late) {
            let at = late(random);
            self.at(at, Job::Say(said));
        } else {
            self.say(said);
        }
    }

    /// How many names there are.
    pub(super) fn names(&self) -> usize {
        self.names
    }
}
