//! A venue: the server side of one feed protocol, made of a few closures, with knobs for what goes wrong.
//!
//! What all venues do alike is here: who is subscribed to what on which connection, data at a steady rate,
//! heartbeats, and the knobs. What a message means and how answers look is the protocol's: see `kraken.rs`.
#![allow(dead_code, reason = "each protocol needs another part of it")]

use crate::common::CEILING;
use livefeed::lab::{
    Command, Control, Incoming, Lab, Outgoing, Received, Request, Script, Topic, Transcript, What,
};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// What becomes of a subscribe message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its data comes after what the protocol says now.
    Granted,
    /// It is in force already; it goes on as it is.
    Already,
    /// It is to be refused, in the protocol's words, for this reason.
    Refused(String),
    /// It is to get no answer at all.
    Ignored,
}

/// One data message that is due.
#[derive(Debug)]
pub struct Tick<'a> {
    pub topic: &'a str,
    /// What the protocol keeps with the subscription: a channel number, the request's id.
    pub tag: &'a Value,
    /// Counts the topic's messages over the life of the venue, from 1, over all connections.
    pub seq: u64,
    /// Counts them since the subscribe message, from 1: the first may be a snapshot.
    pub nth: u64,
    pub connection: usize,
}

type Hello = dyn Fn(&mut Line<'_>, &Request) + Send + Sync;
type Hear = dyn Fn(&mut Line<'_>, &str, &Value) + Send + Sync;
type HearBinary = dyn Fn(&mut Line<'_>, &[u8]) + Send + Sync;
type Data = dyn Fn(&Tick<'_>) -> Outgoing + Send + Sync;
type Beat = dyn Fn(u64, usize) -> Outgoing + Send + Sync;
type Ended = dyn Fn(&str, &Value) -> Outgoing + Send + Sync;

/// What a protocol is, as closures. All run on the lab's thread.
#[must_use]
pub struct Builder {
    hello: Box<Hello>,
    hear: Box<Hear>,
    hear_binary: Box<HearBinary>,
    data: Arc<Data>,
    every: Duration,
    beat: Option<(Duration, Arc<Beat>)>,
    beats_when_asked: bool,
    ended: Option<Box<Ended>>,
    script: Script,
    cut_off: Option<Duration>,
}

impl Builder {
    /// Says something when the connection is up, and may subscribe it by its URL.
    pub fn hello(mut self, hello: impl Fn(&mut Line<'_>, &Request) + Send + Sync + 'static) -> Self {
        self.hello = Box::new(hello);
        self
    }

    /// Takes a text message, with its JSON (`Null` if it is none).
    pub fn hear(mut self, hear: impl Fn(&mut Line<'_>, &str, &Value) + Send + Sync + 'static) -> Self {
        self.hear = Box::new(hear);
        self
    }

    pub fn hear_binary(mut self, hear: impl Fn(&mut Line<'_>, &[u8]) + Send + Sync + 'static) -> Self {
        self.hear_binary = Box::new(hear);
        self
    }

    /// Makes the data of all topics. Default: `{"topic":..,"seq":..}`.
    pub fn data<S: Into<Outgoing>>(mut self, data: impl Fn(&Tick<'_>) -> S + Send + Sync + 'static) -> Self {
        self.data = Arc::new(move |tick| data(tick).into());
        self
    }

    /// Sets the time between two messages of a topic. Default: 10 ms.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Says something on each connection at a steady interval, numbered from 1 over the venue's life.
    pub fn heartbeat<S: Into<Outgoing>>(
        mut self,
        every: Duration,
        beat: impl Fn(u64) -> S + Send + Sync + 'static,
    ) -> Self {
        self.beat = Some((every, Arc::new(move |n, _| beat(n).into())));
        self
    }

    /// The same, with the number of the connection, and only where [`Line::begin_heartbeats`] is called.
    pub fn heartbeat_when_asked<S: Into<Outgoing>>(
        mut self,
        every: Duration,
        beat: impl Fn(u64, usize) -> S + Send + Sync + 'static,
    ) -> Self {
        self.beat = Some((every, Arc::new(move |n, connection| beat(n, connection).into())));
        self.beats_when_asked = true;
        self
    }

    /// Sends WebSocket pings at a steady interval, besides what the script says.
    pub fn pings(mut self, every: Duration) -> Self {
        self.script = self.script.then(Command::Pings(every));
        self
    }

    /// How the venue says that it has ended a subscription by itself, from topic and tag. Default: not at all.
    pub fn ended<S: Into<Outgoing>>(
        mut self,
        ended: impl Fn(&str, &Value) -> S + Send + Sync + 'static,
    ) -> Self {
        self.ended = Some(Box::new(move |topic, tag| ended(topic, tag).into()));
        self
    }

    /// Begins connections as this script does: with pings, a subprotocol, or later steps. Default: `Script::new()`.
    pub fn script(mut self, script: Script) -> Self {
        self.script = script;
        self
    }

    /// Closes a connection that gave no sign of life for so long: neither [`Line::alive`] nor a pong. Default: never.
    pub fn cut_off_after(mut self, limit: Duration) -> Self {
        self.cut_off = Some(limit);
        self
    }

    pub fn start(self) -> Venue {
        let cut_off = self.cut_off;
        let inner = Arc::new(Inner { protocol: self, state: Mutex::default(), changed: Condvar::new() });
        let scripts = Arc::clone(&inner);
        let lab =
            Lab::builder().scripts(move |connection| Inner::script(&scripts, connection)).start().unwrap();
        let lab = Arc::new(lab);
        if let Some(limit) = cut_off {
            let (inner, lab) = (Arc::downgrade(&inner), Arc::downgrade(&lab));
            std::thread::spawn(move || watch(limit, &inner, &lab));
        }
        Venue { control: lab.control(), lab, inner }
    }
}

/// Looks after the signs of life of all connections, for as long as the venue runs.
fn watch(limit: Duration, inner: &Weak<Inner>, lab: &Weak<Lab>) {
    let mut seen: HashMap<usize, (u64, Instant)> = HashMap::new();
    while let (Some(inner), Some(lab)) = (inner.upgrade(), lab.upgrade()) {
        let transcript = lab.transcript();
        let connections: Vec<usize> = inner.state().connections.keys().copied().collect();
        for connection in connections.into_iter().filter(|connection| transcript.end(*connection).is_none()) {
            let signs = inner.signs(&transcript, connection);
            let (before, since) = seen.entry(connection).or_insert((signs, Instant::now()));
            if *before != signs {
                (*before, *since) = (signs, Instant::now());
            } else if since.elapsed() > limit {
                lab.control().connection(connection, Command::Close(CUT_OFF, "no sign of life".to_owned()));
            }
        }
        drop((inner, lab));
        crate::common::pause(limit / 20);
    }
}

/// The code of the Close frame for a connection that gave no sign of life.
pub const CUT_OFF: u16 = 4004;

struct Inner {
    protocol: Builder,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    connections: BTreeMap<usize, Wire>,
    muted: HashSet<String>,
    refused: HashMap<String, String>,
    ignored: HashSet<String>,
    unanswered: HashSet<String>,
    heartbeats_muted: bool,
    panics: Vec<String>,
}

/// What is so on one connection.
#[derive(Debug, Default)]
struct Wire {
    /// In force, by topic, with the tag of each.
    subscribed: BTreeMap<String, Value>,
    /// How often each was granted.
    grants: HashMap<String, u64>,
    kept: HashMap<String, Value>,
    numbers: u64,
    signs: u64,
}

/// No protocol has a topic of this name.
const HEARTBEAT: &str = "\0heartbeat";

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The signs of life that came on a connection.
    fn signs(&self, transcript: &Transcript, connection: usize) -> u64 {
        let said = self.state().connections.get(&connection).map_or(0, |wire| wire.signs);
        let pongs =
            transcript.of(connection).filter(|what| matches!(what, What::Received(Received::Pong(_))));
        said + pongs.count() as u64
    }

    fn script(inner: &Arc<Self>, connection: usize) -> Script {
        let (greeter, reactor) = (Arc::clone(inner), Arc::clone(inner));
        let mut script = inner.protocol.script.clone();
        script = script.greet(move |request| {
            greeter.state().connections.entry(connection).or_default();
            greeter.line(connection, |line| {
                (line.inner.protocol.hello)(line, request);
                if !line.inner.protocol.beats_when_asked {
                    line.begin_heartbeats();
                }
            })
        });
        script.react(move |incoming| {
            reactor.line(connection, |line| match incoming {
                Incoming::Text(text) => {
                    let json = serde_json::from_str(text).unwrap_or(Value::Null);
                    (line.inner.protocol.hear)(line, text, &json);
                }
                Incoming::Binary(bytes) => (line.inner.protocol.hear_binary)(line, bytes),
            })
        })
    }

    /// Has the protocol do something on a connection. A panic in it fails the test, at the latest when the venue is
    /// dropped, and ends the connection.
    fn line(&self, connection: usize, f: impl FnOnce(&mut Line<'_>)) -> Vec<Command> {
        let mut line = Line { inner: self, connection, commands: Vec::new() };
        let result = catch_unwind(AssertUnwindSafe(|| f(&mut line)));
        let mut commands = line.commands;
        if result.is_err() {
            self.state().panics.push(format!("a closure of the venue panicked on connection {connection}"));
            commands.push(Command::Reset);
        }
        self.changed.notify_all();
        commands
    }
}

/// One connection, as the protocol's closures see it.
pub struct Line<'a> {
    inner: &'a Inner,
    /// Connections count from 1.
    pub connection: usize,
    commands: Vec<Command>,
}

impl Line<'_> {
    /// Sends a message, after what was said before.
    pub fn say(&mut self, say: impl Into<Outgoing>) {
        self.commands.push(Command::send(say));
    }

    /// Does anything else that a lab can do.
    pub fn then(&mut self, command: Command) {
        self.commands.push(command);
    }

    pub fn close(&mut self, code: u16, reason: &str) {
        self.commands.push(Command::Close(code, reason.to_owned()));
    }

    /// Puts a topic in force; its first data comes right after what is said now.
    pub fn subscribe(&mut self, topic: &str) -> Answer {
        self.subscribe_as(topic, Value::Null)
    }

    /// The same, keeping something with it for its data.
    pub fn subscribe_as(&mut self, topic: &str, tag: impl Into<Value>) -> Answer {
        let tag = tag.into();
        let mut state = self.inner.state();
        if let Some(reason) = state.refused.get(topic) {
            return Answer::Refused(reason.clone());
        }
        if state.ignored.contains(topic) {
            return Answer::Ignored;
        }
        let muted = state.muted.contains(topic);
        let wire = state.connections.entry(self.connection).or_default();
        if wire.subscribed.contains_key(topic) {
            return Answer::Already;
        }
        wire.subscribed.insert(topic.to_owned(), tag.clone());
        *wire.grants.entry(topic.to_owned()).or_default() += 1;
        drop(state);
        let data = Arc::clone(&self.inner.protocol.data);
        let name = topic.to_owned();
        let count = AtomicU64::new(0);
        let make = move |seq, connection| {
            let nth = count.fetch_add(1, Ordering::Relaxed) + 1;
            data(&Tick { topic: &name, tag: &tag, seq, nth, connection })
        };
        self.start(topic, self.inner.protocol.every, make);
        if muted {
            self.commands.push(Command::Mute(topic.to_owned()));
        }
        if self.inner.state().unanswered.remove(topic) {
            return Answer::Ignored;
        }
        Answer::Granted
    }

    /// Why a topic is to be refused, for a protocol in which one refusal is that of the whole message.
    pub fn refusal(&self, topic: &str) -> Option<String> {
        self.inner.state().refused.get(topic).cloned()
    }

    /// Takes a topic out of force; whether it was.
    pub fn unsubscribe(&mut self, topic: &str) -> bool {
        let was = self.wire(|wire| wire.subscribed.remove(topic).is_some());
        self.commands.push(Command::Drop(topic.to_owned()));
        was
    }

    /// What is in force on this connection.
    pub fn subscribed(&self) -> Vec<String> {
        self.wire(|wire| wire.subscribed.keys().cloned().collect())
    }

    /// Keeps something for the rest of the connection: a login, a nonce.
    pub fn keep(&self, name: &str, value: impl Into<Value>) {
        self.wire(|wire| drop(wire.kept.insert(name.to_owned(), value.into())));
    }

    /// What was kept, else `Null`.
    pub fn kept(&self, name: &str) -> Value {
        self.wire(|wire| wire.kept.get(name).cloned().unwrap_or_default())
    }

    /// Counts a sign of life of the client, as the protocol has it.
    pub fn alive(&self) {
        self.wire(|wire| wire.signs += 1);
    }

    /// A number that was not given out on this connection, from 1; other connections get other ones.
    pub fn number(&self) -> u64 {
        let number = self.wire(|wire| {
            wire.numbers += 1;
            wire.numbers
        });
        self.connection as u64 * 1000 + number
    }

    fn wire<R>(&self, f: impl FnOnce(&mut Wire) -> R) -> R {
        f(self.inner.state().connections.entry(self.connection).or_default())
    }

    /// Begins the venue's heartbeats on this connection.
    pub fn begin_heartbeats(&mut self) {
        if let Some((every, beat)) = &self.inner.protocol.beat {
            let beat = Arc::clone(beat);
            self.start(HEARTBEAT, *every, move |seq, connection| beat(seq, connection));
            if self.inner.state().heartbeats_muted {
                self.commands.push(Command::Mute(HEARTBEAT.to_owned()));
            }
        }
    }

    fn start(
        &mut self,
        topic: &str,
        every: Duration,
        make: impl Fn(u64, usize) -> Outgoing + Send + Sync + 'static,
    ) {
        let topic = Topic::new(topic).every(every).message(make);
        self.commands.push(Command::Topics(vec![topic]));
    }
}

/// A running venue, and its knobs. They concern all connections that are open; where it is said, also those to come.
pub struct Venue {
    inner: Arc<Inner>,
    control: Control,
    pub lab: Arc<Lab>,
}

impl Venue {
    /// A venue that hears nothing and has no hello, no heartbeats and the default data.
    pub fn builder() -> Builder {
        Builder {
            hello: Box::new(|_, _| {}),
            hear: Box::new(|_, _, _| {}),
            hear_binary: Box::new(|_, _| {}),
            data: Arc::new(|tick| serde_json::json!({"topic": tick.topic, "seq": tick.seq}).into()),
            every: Duration::from_millis(10),
            beat: None,
            beats_when_asked: false,
            ended: None,
            script: Script::new(),
            cut_off: None,
        }
    }

    pub fn url(&self) -> String {
        self.lab.url()
    }

    // ---- knobs -------------------------------------------------------------------------------------------

    /// Sends no more data of one topic, on these connections and later ones, whatever is subscribed. Subscribing goes
    /// on to be granted, and everything else to be sent.
    pub fn mute(&self, topic: &str) {
        self.inner.state().muted.insert(topic.to_owned());
        self.control.all(Command::Mute(topic.to_owned()));
    }

    /// Takes back [`mute`](Self::mute) and [`stall`](Self::stall).
    pub fn unmute(&self, topic: &str) {
        self.inner.state().muted.remove(topic);
        self.control.all(Command::Unmute(topic.to_owned()));
    }

    /// Sends no more data of one topic for the subscriptions that are in force: a new one heals it.
    pub fn stall(&self, topic: &str) {
        self.control.all(Command::Mute(topic.to_owned()));
    }

    /// Sends no more heartbeats, on these connections and later ones.
    pub fn mute_heartbeats(&self) {
        self.inner.state().heartbeats_muted = true;
        self.control.all(Command::Mute(HEARTBEAT.to_owned()));
    }

    pub fn unmute_heartbeats(&self) {
        self.inner.state().heartbeats_muted = false;
        self.control.all(Command::Unmute(HEARTBEAT.to_owned()));
    }

    /// Sends nothing at all by itself.
    pub fn silence(&self) {
        self.control.all(Command::Silence);
    }

    /// Refuses to subscribe a topic from now on.
    pub fn refuse(&self, topic: &str, reason: &str) {
        self.inner.state().refused.insert(topic.to_owned(), reason.to_owned());
    }

    /// Does not answer a topic's subscribe message from now on, nor heed it.
    pub fn ignore(&self, topic: &str) {
        self.inner.state().ignored.insert(topic.to_owned());
    }

    /// Grants a topic the next time without an answer, as though that were lost.
    pub fn lose_answer(&self, topic: &str) {
        self.inner.state().unanswered.insert(topic.to_owned());
    }

    /// Takes back [`refuse`](Self::refuse) and [`ignore`](Self::ignore).
    pub fn allow(&self, topic: &str) {
        let mut state = self.inner.state();
        state.refused.remove(topic);
        state.ignored.remove(topic);
    }

    /// Ends a subscription from this side, and says so if the protocol has words for it.
    pub fn end(&self, topic: &str) {
        let mut ended = Vec::new();
        for (connection, wire) in &mut self.inner.state().connections {
            ended.extend(wire.subscribed.remove(topic).map(|tag| (*connection, tag)));
        }
        for (connection, tag) in ended {
            self.control.connection(connection, Command::Drop(topic.to_owned()));
            if let Some(words) = &self.inner.protocol.ended {
                self.control.connection(connection, Command::send(words(topic, &tag)));
            }
        }
        self.inner.changed.notify_all();
    }

    /// Says something on all connections: a notice, data of nobody.
    pub fn say(&self, say: impl Into<Outgoing>) {
        self.control.all(Command::send(say));
    }

    /// Passes over messages of a topic, as though they were lost on the way.
    pub fn skip(&self, topic: &str, messages: u64) {
        self.control.skip(topic, messages);
    }

    pub fn close(&self, code: u16, reason: &str) {
        self.control.all(Command::Close(code, reason.to_owned()));
    }

    pub fn reset(&self) {
        self.control.drop_connections();
    }

    // ---- what is on the wire -----------------------------------------------------------------------------

    /// What is in force on a connection, or was when it ended.
    pub fn subscribed(&self, connection: usize) -> Vec<String> {
        let state = self.inner.state();
        state
            .connections
            .get(&connection)
            .map(|wire| wire.subscribed.keys().cloned().collect())
            .unwrap_or_default()
    }

    /// The same for each connection that is open.
    pub fn on_wire(&self) -> BTreeMap<usize, Vec<String>> {
        let transcript = self.lab.transcript();
        let state = self.inner.state();
        let open = state.connections.iter().filter(|(connection, _)| transcript.end(**connection).is_none());
        open.map(|(connection, wire)| (*connection, wire.subscribed.keys().cloned().collect())).collect()
    }

    /// How often a topic was granted on a connection.
    pub fn grants(&self, connection: usize, topic: &str) -> u64 {
        let state = self.inner.state();
        state
            .connections
            .get(&connection)
            .and_then(|wire| wire.grants.get(topic).copied())
            .unwrap_or_default()
    }

    /// How often the client gave a sign of life on a connection.
    pub fn signs(&self, connection: usize) -> u64 {
        self.inner.signs(&self.lab.transcript(), connection)
    }

    /// The texts that came on a connection, in order.
    pub fn received(&self, connection: usize) -> Vec<String> {
        self.lab.transcript().received_texts(connection).into_iter().map(str::to_owned).collect()
    }

    /// The same as JSON; what is none is left out.
    pub fn received_json(&self, connection: usize) -> Vec<Value> {
        self.received(connection).iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
    }

    /// Waits until exactly this is in force on a connection.
    #[track_caller]
    pub fn wait_subscribed(&self, connection: usize, topics: &[&str]) {
        let wanted: Vec<String> =
            BTreeMap::from_iter(topics.iter().map(|t| (*t, ()))).keys().map(|t| (*t).to_owned()).collect();
        self.wait(|state| {
            state.connections.get(&connection).is_some_and(|wire| wire.subscribed.keys().eq(wanted.iter()))
        });
    }

    /// Waits until a topic was granted so often on a connection.
    #[track_caller]
    pub fn wait_grants(&self, connection: usize, topic: &str, times: u64) {
        self.wait(|state| {
            state
                .connections
                .get(&connection)
                .and_then(|wire| wire.grants.get(topic))
                .is_some_and(|n| *n >= times)
        });
    }

    #[track_caller]
    fn wait(&self, mut wanted: impl FnMut(&State) -> bool) {
        let deadline = Instant::now() + CEILING;
        let mut state = self.inner.state();
        while !wanted(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero(),
                "on the wire: {:#?}\n{}",
                state.connections,
                crate::common::shown(&self.lab)
            );
            state = self.inner.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Drop for Venue {
    fn drop(&mut self) {
        let panics = std::mem::take(&mut self.inner.state().panics);
        assert!(panics.is_empty() || std::thread::panicking(), "{panics:?}");
    }
}

#[test]
fn the_knobs_do_what_they_say() {
    use crate::common::{feed, ms, until};
    use livefeed::Event;

    fn is(event: &Event, wanted: &str) -> bool {
        matches!(event, Event::Message(message) if message.text() == Some(wanted))
    }
    let venue = Venue::builder()
        .hello(|line, request| {
            line.say(request.path.as_str());
            assert_eq!(line.subscribe_as("url", 7), Answer::Granted);
        })
        .hear(|line, text, json| {
            assert!(json.is_null() || json.is_number());
            match text.split_once(' ') {
                Some(("sub", topic)) => drop(line.subscribe(topic)),
                Some(("unsub", topic)) => drop(line.unsubscribe(topic)),
                _ => {
                    line.keep("last", text);
                    line.say(line.kept("last"));
                }
            }
        })
        .hear_binary(|line, bytes| line.say(bytes.to_vec()))
        .data(|tick| format!("{} {} {}", tick.topic, tick.tag, tick.nth))
        .every(ms(2))
        .heartbeat(ms(2), |_| "beat")
        .ended(|topic, tag| format!("ended {topic} {tag}"))
        .start();
    let feed = feed(&venue.lab).open().unwrap();
    until(&feed, |event| is(event, "/feed"));
    until(&feed, |event| is(event, "url 7 3"));
    until(&feed, |event| is(event, "beat"));
    let _ = feed.send("sub a").unwrap();
    until(&feed, |event| is(event, "a null 2"));
    assert_eq!(venue.on_wire(), [(1, vec!["a".to_owned(), "url".to_owned()])].into());

    // Nothing of it comes any more, until it is subscribed anew.
    venue.stall("a");
    let fence = |name: &str| {
        venue.say(name);
        until(&feed, |event| is(event, name))
    };
    fence("stalled");
    assert!(
        !fence("still")
            .iter()
            .any(|event| matches!(event, Event::Message(m) if m.text().unwrap().starts_with("a ")))
    );
    let _ = feed.send("unsub a").unwrap();
    let _ = feed.send("sub a").unwrap();
    until(&feed, |event| is(event, "a null 1"));
    assert_eq!(venue.grants(1, "a"), 2);

    venue.end("url");
    until(&feed, |event| is(event, "ended url 7"));
    assert_eq!(venue.subscribed(1), ["a"]);
    let _ = feed.send(vec![1, 2]).unwrap();
    until(&feed, |event| matches!(event, Event::Message(m) if m.as_bytes() == [1, 2] && m.text().is_none()));

    venue.mute("url");
    venue.mute_heartbeats();
    venue.reset();
    until(&feed, |event| is(event, "/feed"));
    assert_eq!(venue.on_wire(), [(2, vec!["url".to_owned()])].into(), "granted, and mute as well");
    let _ = feed.send("5").unwrap();
    let quiet = until(&feed, |event| is(event, "\"5\""));
    assert_eq!(crate::common::messages(&quiet).len(), 1, "{quiet:?}");
    venue.unmute("url");
    until(&feed, |event| is(event, "url 7 1"));
    venue.unmute_heartbeats();
    until(&feed, |event| is(event, "beat"));
}

#[test]
#[should_panic(expected = "a closure of the venue panicked on connection 1")]
fn a_mistake_in_a_venue_fails_the_test() {
    let venue = Venue::builder().hello(|_, _| panic!("a mistake")).start();
    let _feed = crate::common::feed(&venue.lab).open().unwrap();
    crate::common::in_lab(&venue.lab, |what| matches!(what, What::Ended(_)));
}
