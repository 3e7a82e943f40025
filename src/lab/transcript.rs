//! What happened in a lab, in order.

use std::collections::VecDeque;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::mono;

/// How much of one received payload the transcript keeps, in bytes.
const PAYLOAD_KEPT: usize = 64 << 10;
/// How much of all received payloads together the transcript keeps, in bytes.
const PAYLOADS_KEPT: usize = 64 << 20;

/// One thing that happened.
#[derive(Debug, Clone)]
pub struct Entry {
    /// When it happened, on the monotonic clock.
    pub at: Instant,
    /// The number of the connection it happened on. Connections count from 1, in the order of their acceptance.
    pub connection: usize,
    /// What it was.
    pub what: What,
}

/// What an [`Entry`] tells of.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum What {
    /// A TCP connection was accepted.
    Accepted {
        /// The client's address.
        peer: SocketAddr,
    },
    /// The TLS handshake is complete.
    TlsDone,
    /// An upgrade request came in whole.
    Requested(Arc<Request>),
    /// The upgrade was answered with 101, rightly or with a fault in it.
    Upgraded {
        /// The subprotocol that was chosen.
        subprotocol: Option<String>,
    },
    /// The upgrade was refused.
    Refused {
        /// The HTTP status that was sent.
        status: u16,
    },
    /// A message or control frame came from the client.
    Received(Received),
    /// Messages or control frames were handed to the connection's send queue (a flood's: to the system).
    ///
    /// Consecutive ones of one connection and kind share an entry.
    Sent {
        /// What kind they are.
        kind: Sent,
        /// How many they are.
        count: u64,
    },
    /// A command of the script or of a [`Control`](super::Control) took effect; this is its name.
    Command(&'static str),
    /// The client broke the protocol; the connection is ended for it.
    Violation(&'static str),
    /// The connection is over.
    Ended(End),
}

/// A message or control frame from a client. Payloads in a transcript are cut after 64 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Received {
    /// A text message.
    Text(Arc<str>),
    /// A binary message.
    Binary(Arc<[u8]>),
    /// A ping and its payload.
    Ping(Arc<[u8]>),
    /// A pong and its payload.
    Pong(Arc<[u8]>),
    /// A Close frame with its code and reason, if it had any.
    Close(Option<(u16, Arc<str>)>),
}

/// What kind of thing was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Sent {
    /// A message of a [`Topic`](super::Topic).
    Data,
    /// A message of a [`Flood`](super::Flood).
    Flood,
    /// A heartbeat.
    Heartbeat,
    /// A single text message: greetings, replies, acks.
    Text,
    /// A single binary message.
    Binary,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// A Close frame.
    Close,
    /// Bytes as they were given: raw ones, halves, trickles and violations.
    Raw,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum End {
    /// Both Close frames were exchanged.
    Closed,
    /// The client ended the TCP connection without that.
    Eof,
    /// The lab ended the TCP connection without that, after [`Command::Fin`](super::Command::Fin), a refusal, or a
    /// Close frame that stayed unanswered for 5 seconds.
    Fin,
    /// The lab reset the TCP connection.
    Reset,
    /// The TCP connection failed; mostly the client reset it.
    Io(std::io::ErrorKind),
    /// The TLS handshake failed.
    Tls(String),
    /// The client broke the protocol.
    Violation,
    /// The lab was dropped.
    Stopped,
}

/// An upgrade request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The request target, with its query.
    pub path: String,
    /// The header fields in order, names as they were sent.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// The value of the first header of that name, case ignored.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str())
    }
}

/// A copy of what has happened so far.
#[derive(Debug, Clone)]
pub struct Transcript {
    entries: Vec<Entry>,
    forgotten: u64,
    origin: Instant,
}

impl Transcript {
    /// All entries in order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// How many of the oldest entries were forgotten to stay within the bounds.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// What happened on one connection, in order.
    pub fn of(&self, connection: usize) -> impl Iterator<Item = &What> {
        self.entries.iter().filter(move |e| e.connection == connection).map(|e| &e.what)
    }

    /// The text messages received on one connection, in order.
    pub fn received_texts(&self, connection: usize) -> Vec<&str> {
        self.of(connection)
            .filter_map(|what| match what {
                What::Received(Received::Text(text)) => Some(&**text),
                _ => None,
            })
            .collect()
    }

    /// The upgrade request of one connection.
    pub fn request(&self, connection: usize) -> Option<&Request> {
        self.of(connection).find_map(|what| match what {
            What::Requested(request) => Some(&**request),
            _ => None,
        })
    }

    /// How many messages of a kind were sent on one connection.
    pub fn sent(&self, connection: usize, kind: Sent) -> u64 {
        self.of(connection)
            .map(|what| match what {
                What::Sent { kind: k, count } if *k == kind => *count,
                _ => 0,
            })
            .sum()
    }

    /// How one connection ended, if it has.
    pub fn end(&self, connection: usize) -> Option<&End> {
        self.of(connection).find_map(|what| match what {
            What::Ended(end) => Some(end),
            _ => None,
        })
    }
}

/// One line for each entry, with the seconds since the lab's start; for the output of failed tests.
impl fmt::Display for Transcript {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.forgotten > 0 {
            writeln!(f, "({} older entries forgotten)", self.forgotten)?;
        }
        for entry in &self.entries {
            let at = entry.at.saturating_duration_since(self.origin).as_secs_f64();
            writeln!(f, "{at:9.4} #{} {:?}", entry.connection, entry.what)?;
        }
        Ok(())
    }
}

#[derive(Debug, Default)]
struct State {
    entries: VecDeque<Entry>,
    forgotten: u64,
    payload: usize,
    accepted: usize,
    upgraded: usize,
    ended: usize,
}

/// The transcript while it is being written.
#[derive(Debug)]
pub(super) struct Journal {
    state: Mutex<State>,
    written: Condvar,
    limit: usize,
    origin: Instant,
}

impl Journal {
    pub(super) fn new(limit: usize) -> Self {
        Self { state: Mutex::default(), written: Condvar::new(), limit: limit.max(16), origin: mono() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn write(&self, connection: usize, what: What) {
        let what = cut(what);
        let mut state = self.state();
        let entry = Entry { at: mono(), connection, what };
        match entry.what {
            What::Accepted { .. } => state.accepted += 1,
            What::Upgraded { .. } => state.upgraded += 1,
            What::Ended(_) => state.ended += 1,
            _ => {}
        }
        if !state.entries.back_mut().is_some_and(|last| fold(last, &entry)) {
            state.payload += payload(&entry);
            state.entries.push_back(entry);
            while state.entries.len() > self.limit || state.payload > PAYLOADS_KEPT {
                let Some(old) = state.entries.pop_front() else { break };
                state.payload -= payload(&old);
                state.forgotten += 1;
            }
        }
        drop(state);
        self.written.notify_all();
    }

    pub(super) fn copy(&self) -> Transcript {
        let state = self.state();
        Transcript {
            entries: state.entries.iter().cloned().collect(),
            forgotten: state.forgotten,
            origin: self.origin,
        }
    }

    /// How many connections were accepted, upgraded and ended.
    pub(super) fn counts(&self) -> (usize, usize, usize) {
        let state = self.state();
        (state.accepted, state.upgraded, state.ended)
    }

    /// The first entry that `wanted` accepts, past or future.
    pub(super) fn wait_for(
        &self,
        mut wanted: impl FnMut(&Entry) -> bool,
        timeout: Duration,
    ) -> Option<Entry> {
        let deadline = mono().checked_add(timeout);
        let mut seen: u64 = 0;
        let mut grown: Option<u64> = None;
        let mut state = self.state();
        loop {
            // The last entry seen is looked at again if it has grown since.
            let index = usize::try_from(seen.saturating_sub(state.forgotten)).unwrap_or(usize::MAX);
            let last = index.checked_sub(1).and_then(|last| state.entries.get(last)).map(count);
            let skip = index - usize::from(last.is_some() && last != grown);
            let fresh: Vec<Entry> = state.entries.iter().skip(skip).cloned().collect();
            seen = state.forgotten + state.entries.len() as u64;
            grown = state.entries.back().map(count);
            let mark = (seen, grown);
            drop(state);
            if let Some(found) = fresh.into_iter().find(|entry| wanted(entry)) {
                return Some(found);
            }
            state = self.state();
            while (state.forgotten + state.entries.len() as u64, state.entries.back().map(count)) == mark {
                let Some(deadline) = deadline else {
                    state = self.written.wait(state).unwrap_or_else(PoisonError::into_inner);
                    continue;
                };
                let left = deadline.saturating_duration_since(mono());
                if left.is_zero() {
                    return None;
                }
                state = self.written.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            }
        }
    }
}

fn count(entry: &Entry) -> u64 {
    if let What::Sent { count, .. } = entry.what { count } else { 0 }
}

/// Adds `new` to `last` if both count the same thing.
fn fold(last: &mut Entry, new: &Entry) -> bool {
    match (&mut last.what, &new.what) {
        (What::Sent { kind: a, count }, What::Sent { kind: b, count: more })
            if a == b && last.connection == new.connection =>
        {
            *count += more;
            true
        }
        _ => false,
    }
}

fn payload(entry: &Entry) -> usize {
    match &entry.what {
        What::Received(Received::Text(text)) => text.len(),
        What::Received(Received::Binary(bytes) | Received::Ping(bytes) | Received::Pong(bytes)) => {
            bytes.len()
        }
        What::Requested(request) => request.headers.iter().map(|(n, v)| n.len() + v.len()).sum(),
        _ => 0,
    }
}

fn cut(what: What) -> What {
    match what {
        What::Received(Received::Text(text)) if text.len() > PAYLOAD_KEPT => {
            let end = (0..=PAYLOAD_KEPT).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            What::Received(Received::Text(Arc::from(&text[..end])))
        }
        What::Received(Received::Binary(bytes)) if bytes.len() > PAYLOAD_KEPT => {
            What::Received(Received::Binary(Arc::from(&bytes[..PAYLOAD_KEPT])))
        }
        other => other,
    }
}
