//! Streams of numbered data messages.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use super::command::Outgoing;
use super::frames::{self, BINARY, TEXT};
use crate::clock::Stamp;

/// A closure in a type that is otherwise plain data.
pub(super) struct Callback<F: ?Sized>(pub(super) Arc<F>);

impl<F: ?Sized> Clone for Callback<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F: ?Sized> fmt::Debug for Callback<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(closure)")
    }
}

type Make = Callback<dyn Fn(u64, usize) -> Outgoing + Send + Sync>;
type Test = Callback<dyn Fn(&str) -> bool + Send + Sync>;

#[derive(Debug, Clone)]
enum Start {
    AtOnce,
    Named,
    When(Test),
}

/// What a text message of the client means to a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    Start,
    Stop,
    Nothing,
}

/// A stream of numbered data messages at a steady rate.
///
/// A message is `{"topic":"btc","seq":17,"t_ns":1700000000000000000}`, where `t_ns` is the wall clock in nanoseconds
/// since 1970, unless [`message`](Self::message) says otherwise. `seq` counts from 1 over the life of the lab,
/// without a hole, over all connections: with one client, received + lost = [`Lab::published`](super::Lab::published).
#[derive(Debug, Clone)]
pub struct Topic {
    pub(super) name: Arc<str>,
    pub(super) every: Duration,
    pub(super) ack: Option<String>,
    start: Start,
    make: Option<Make>,
    size: usize,
}

impl Topic {
    /// A topic that starts at once and sends a message every 100 ms.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: Arc::from(name.into()),
            every: Duration::from_millis(100),
            ack: None,
            start: Start::AtOnce,
            make: None,
            size: 0,
        }
    }

    /// Sets the time between two messages; zero sends as fast as the client takes them.
    ///
    /// A topic that fell behind by more than a second does not catch up on what it missed.
    pub fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Makes the messages by a closure, from `seq` and the connection's number: texts or binary ones. It runs on a
    /// thread of the lab.
    pub fn message<M: Into<Outgoing>>(
        mut self,
        make: impl Fn(u64, usize) -> M + Send + Sync + 'static,
    ) -> Self {
        self.make = Some(Callback(Arc::new(move |seq, connection| make(seq, connection).into())));
        self
    }

    /// Pads the default message with a field `pad` to at least this many bytes. Default: no padding.
    pub fn size(mut self, bytes: usize) -> Self {
        self.size = bytes;
        self
    }

    /// Starts only when a text message with the topic's name in it has come, and stops when one has come that also
    /// says `unsubscribe`.
    pub fn on_subscribe(mut self) -> Self {
        self.start = Start::Named;
        self
    }

    /// Starts only when a text message has come that the closure accepts.
    pub fn when(mut self, test: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.start = Start::When(Callback(Arc::new(test)));
        self
    }

    /// Sends this text when a subscribe message starts the topic, in one TCP segment with its first message.
    pub fn ack(mut self, text: impl Into<String>) -> Self {
        self.ack = Some(text.into());
        self
    }

    pub(super) fn starts_at_once(&self) -> bool {
        matches!(self.start, Start::AtOnce)
    }

    pub(super) fn wish(&self, text: &str) -> Wish {
        match &self.start {
            Start::Named if text.contains(&*self.name) => {
                if text.contains("unsubscribe") {
                    Wish::Stop
                } else {
                    Wish::Start
                }
            }
            Start::When(test) if (test.0)(text) => Wish::Start,
            _ => Wish::Nothing,
        }
    }

    pub(super) fn frame(&self, seq: u64, connection: usize) -> Vec<u8> {
        match self.make.as_ref().map(|make| (make.0)(seq, connection)) {
            None => frames::frame(TEXT, self.text(seq).as_bytes()),
            Some(Outgoing::Text(text)) => frames::frame(TEXT, text.as_bytes()),
            Some(Outgoing::Binary(bytes)) => frames::frame(BINARY, &bytes),
        }
    }

    fn text(&self, seq: u64) -> String {
        let wall = Stamp::now().wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let name = serde_json::Value::from(&*self.name);
        let mut text = format!(r#"{{"topic":{name},"seq":{seq},"t_ns":{}"#, wall.as_nanos());
        let frame = r#","pad":"""#.len() + 1;
        if let Some(pad) = self.size.checked_sub(text.len() + frame) {
            text.push_str(r#","pad":""#);
            text.extend(std::iter::repeat_n('x', pad));
            text.push('"');
        }
        text.push('}');
        text
    }
}

/// The sequence numbers of all topics, by name.
#[derive(Debug, Default)]
pub(super) struct Sequences(Mutex<HashMap<Arc<str>, Arc<AtomicU64>>>);

impl Sequences {
    /// The counter of one topic: the last number that was given out.
    pub(super) fn counter(&self, topic: &str) -> Arc<AtomicU64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counter) = all.get(topic) {
            return Arc::clone(counter);
        }
        Arc::clone(all.entry(Arc::from(topic)).or_default())
    }

    pub(super) fn last(&self, topic: &str) -> u64 {
        self.counter(topic).load(Ordering::Relaxed)
    }

    pub(super) fn skip(&self, topic: &str, count: u64) {
        self.counter(topic).fetch_add(count, Ordering::Relaxed);
    }
}
