//! NATS over WebSocket, as a `Dialect`: text lines and counted payloads in binary messages, several in one, or one
//! in several.
//!
//! A subscription's name is its sid (which NATS lets the client choose), so an incoming message names it. Answers name
//! nothing: in verbose mode each request gets one `+OK`, in order, or a `-ERR` in its place. So what is sent is noted
//! down by the closures that make it, and the dialect looks there for whom an answer is.
//!
//! The answer to `CONNECT` is read by the dialect too, and not waited for as a step of the login: in the same WebSocket
//! message there may be more behind it.

use livefeed::{
    About, Ack, Dialect, ErrorClass, FeedBuilder, LoginStep, Matcher, NoticeAction, Payload, Readout,
    Subscription,
};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Control lines are 4 KiB at most by default; only `INFO` is longer, in large clusters.
const MAX_LINE: usize = 64 * 1024;

/// A server's `max_payload` is 1 MiB by default.
const MAX_PAYLOAD: usize = 8 * 1024 * 1024;

/// How long a server in lame duck mode takes to hang up: longer than this.
const LAME_DUCK: Duration = Duration::from_secs(5);

/// What a client says first, once the server has sent its `INFO`.
pub(crate) const CONNECT: &str = "CONNECT {\"verbose\":true,\"pedantic\":false,\"protocol\":1,\"lang\":\"rust\",\
                                  \"name\":\"livefeed\",\"version\":\"0\"}\r\n";

/// A feed from a NATS server. Its subscriptions are made by the [`Client`].
pub(crate) fn feed(url: &str, client: &Client) -> FeedBuilder {
    let own = client.clone();
    FeedBuilder::new(url)
        .dialect(Nats::new(client.clone()))
        .login(LoginStep::expect(Matcher::binary(*b"INFO ")))
        .login(LoginStep::send_with(move |context| {
            own.begin(context.epoch);
            Ok(CONNECT.as_bytes().to_vec())
        }))
}

/// What this client has sent on its connection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Client(Arc<Mutex<Sent>>);

#[derive(Debug, Default)]
struct Sent {
    epoch: u64,
    unanswered: VecDeque<Request>,
    /// By sid: errors name the subject only.
    subjects: BTreeMap<String, String>,
}

/// What gets an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    Connect,
    /// With the number of its frame.
    Sub {
        frame: u64,
        subject: String,
    },
    Unsub,
}

impl Client {
    /// A subscription to a subject, under a sid.
    pub(crate) fn subscription(&self, sid: &str, subject: &str) -> Subscription {
        let (subscribing, ending) = (self.clone(), self.clone());
        let (sub, unsub) = (format!("SUB {subject} {sid}\r\n"), format!("UNSUB {sid}\r\n"));
        let (own_sid, own_subject) = (sid.to_owned(), subject.to_owned());
        Subscription::new(sid)
            .ack(Ack::Rule)
            .subscribe_with(move |context| {
                let mut sent = subscribing.sent();
                sent.subjects.insert(own_sid.clone(), own_subject.clone());
                sent.note(context.epoch, Request::Sub { frame: context.id, subject: own_subject.clone() });
                Ok(sub.as_bytes().to_vec())
            })
            .unsubscribe_with(move |context| {
                ending.sent().note(context.epoch, Request::Unsub);
                Ok(unsub.as_bytes().to_vec())
            })
    }

    /// A new connection, on which `CONNECT` comes first.
    pub(crate) fn begin(&self, epoch: u64) {
        let mut sent = self.sent();
        sent.epoch = epoch;
        sent.unanswered.clear();
        sent.note(epoch, Request::Connect);
    }

    #[cfg(test)]
    pub(crate) fn note(&self, request: Request) {
        let mut sent = self.sent();
        let epoch = sent.epoch;
        sent.note(epoch, request);
    }

    fn sent(&self) -> MutexGuard<'_, Sent> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sent {
    fn note(&mut self, epoch: u64, request: Request) {
        // What was made late for the connection before goes nowhere.
        if epoch == self.epoch {
            self.unanswered.push_back(request);
        }
    }

    /// The number of the oldest request, if it asked for this subject. It is answered.
    fn take_if(&mut self, wanted: &str) -> Option<u64> {
        match self.unanswered.front() {
            Some(Request::Sub { frame, subject }) if subject == wanted => {
                let frame = *frame;
                self.unanswered.pop_front();
                Some(frame)
            }
            _ => None,
        }
    }
}

/// Reads what a NATS server sends.
#[derive(Debug)]
pub(crate) struct Nats {
    client: Client,
    /// What has begun and goes on in the next message.
    rest: Vec<u8>,
    /// The server broke the protocol: nothing more is read on this connection.
    broken: bool,
}

/// What stands at the beginning of some bytes.
enum Step<'a> {
    /// A control line, and how long it is with its end.
    Line(&'a str, usize),
    /// A message: whose, where its payload is, and how long it is altogether.
    Msg {
        sid: &'a str,
        payload: Range<usize>,
        len: usize,
    },
    /// It goes on in the next message.
    Partial,
    Broken(&'static str),
}

impl Nats {
    pub(crate) fn new(client: Client) -> Self {
        Self { client, rest: Vec::new(), broken: false }
    }

    /// Reads all that is whole. Payloads are slices of the message if `shared`: then `bytes` is the message. Returns how
    /// much was read.
    fn parse(&mut self, bytes: &[u8], shared: bool, out: &mut Readout) -> usize {
        let mut at = 0;
        while let Some(ahead) = bytes.get(at..).filter(|ahead| !ahead.is_empty()) {
            match step(ahead) {
                Step::Line(line, len) => {
                    self.line(line, out);
                    at += len;
                }
                Step::Msg { sid, payload, len } => {
                    let Range { start, end } = payload;
                    if shared {
                        let payload = out.text_slice(at + start..at + end);
                        out.data(&[sid], payload);
                    } else if let Ok(text) = std::str::from_utf8(&ahead[start..end]) {
                        out.data(&[sid], text);
                    } else {
                        out.data(&[sid], &ahead[start..end]);
                    }
                    at += len;
                }
                Step::Partial => break,
                Step::Broken(why) => {
                    self.broken = true;
                    out.notice(NoticeAction::Reconnect, why);
                    break;
                }
            }
        }
        at
    }

    fn line(&self, line: &str, out: &mut Readout) {
        let (verb, rest) = line.split_once([' ', '\t']).unwrap_or((line, ""));
        match verb.to_ascii_uppercase().as_str() {
            "PING" => {
                out.heartbeat();
                out.reply("PONG\r\n".as_bytes());
            }
            "PONG" => out.heartbeat(),
            "+OK" => match self.client.sent().unanswered.pop_front() {
                Some(Request::Sub { frame, .. }) => out.ack(About::Frame(frame)),
                Some(Request::Connect | Request::Unsub) | None => out.heartbeat(),
            },
            "-ERR" => self.error(rest.trim().trim_matches('\''), out),
            "INFO" => {
                let info: serde_json::Value = serde_json::from_str(rest).unwrap_or_default();
                if info["ldm"] == true {
                    out.notice(NoticeAction::ReconnectWithin(LAME_DUCK), "lame duck mode");
                } else {
                    out.heartbeat();
                }
            }
            _ => out.other(line),
        }
    }

    fn error(&self, text: &str, out: &mut Readout) {
        let mut sent = self.client.sent();
        // The server goes on after these; after any other it hangs up.
        if let Some(named) = text.strip_prefix("Permissions Violation for Subscription to ") {
            // In place of an answer, or at any time later, when the server's configuration changes.
            let subject = named.split('"').nth(1).unwrap_or(named);
            if let Some(frame) = sent.take_if(subject) {
                out.nack(About::Frame(frame), ErrorClass::Refused, text);
                return;
            }
            let mut of_subject = sent.subjects.iter().filter(|(_, own)| *own == subject).peekable();
            if of_subject.peek().is_none() {
                out.other(text);
            }
            for (sid, _) in of_subject {
                out.ended(About::Name(sid.as_str().into()), ErrorClass::Refused, text);
            }
        } else if text.eq_ignore_ascii_case("Invalid Subject") {
            match sent.unanswered.pop_front() {
                Some(Request::Sub { frame, .. }) => out.nack(About::Frame(frame), ErrorClass::Refused, text),
                _ => out.other(text),
            }
        } else if text.starts_with("Permissions Violation for Publish") {
            out.other(text);
        } else if text.eq_ignore_ascii_case("Authorization Violation") {
            out.nack(About::All, ErrorClass::FeedFatal, text);
        } else {
            out.nack(About::All, ErrorClass::ConnectionFatal, text);
        }
    }
}

impl Dialect for Nats {
    fn reset(&mut self) {
        self.rest.clear();
        self.broken = false;
    }

    fn read(&mut self, message: Payload<'_>, out: &mut Readout) {
        if self.broken {
            return;
        }
        if self.rest.is_empty() {
            let bytes = message.as_bytes();
            let read = self.parse(bytes, true, out);
            self.rest.extend_from_slice(&bytes[read..]);
        } else {
            let mut bytes = std::mem::take(&mut self.rest);
            bytes.extend_from_slice(message.as_bytes());
            let read = self.parse(&bytes, false, out);
            bytes.drain(..read);
            self.rest = bytes;
        }
    }
}

/// What stands at the beginning.
fn step(bytes: &[u8]) -> Step<'_> {
    let Some(end) = bytes.iter().take(MAX_LINE).position(|byte| *byte == b'\n') else {
        return if bytes.len() < MAX_LINE { Step::Partial } else { Step::Broken("a line is too long") };
    };
    let Ok(line) = std::str::from_utf8(&bytes[..end]) else { return Step::Broken("a line is not UTF-8") };
    let line = line.strip_suffix('\r').unwrap_or(line);
    let mut words = line.split_ascii_whitespace();
    if !words.next().is_some_and(|verb| verb.eq_ignore_ascii_case("MSG")) {
        return Step::Line(line, end + 1);
    }
    // `MSG subject sid [reply-to] bytes`
    let words: Vec<_> = words.collect();
    let ([_, sid, count] | [_, sid, _, count]) = words[..] else {
        return Step::Broken("a MSG with odd arguments");
    };
    let Some(count) = count.parse().ok().filter(|count: &usize| *count <= MAX_PAYLOAD) else {
        return Step::Broken("a MSG with no size, or too large a one");
    };
    let payload = end + 1..end + 1 + count;
    match bytes.get(payload.end..payload.end + 2) {
        None => Step::Partial,
        Some(b"\r\n") => Step::Msg { sid, len: payload.end + 2, payload },
        Some(_) => Step::Broken("a payload that does not end where it should"),
    }
}
