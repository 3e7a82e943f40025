//! NATS over WebSocket, as a `Dialect`: text lines and counted payloads in binary messages, several in one, or one
//! in several.
//!
//! A subscription's name is its sid (which NATS lets the client choose), so an incoming message names it.

use livefeed::{About, Dialect, ErrorClass, NoticeAction, Payload, Readout};
use std::ops::Range;
use std::time::Duration;

/// Control lines are 4 KiB at most by default; only `INFO` is longer, in large clusters.
const MAX_LINE: usize = 64 * 1024;

/// A server's `max_payload` is 1 MiB by default.
const MAX_PAYLOAD: usize = 8 * 1024 * 1024;

/// How long a server in lame duck mode takes to hang up: longer than this.
const LAME_DUCK: Duration = Duration::from_secs(5);

/// What a client says first, once the server has sent its `INFO`. Each request is then answered by `+OK` or `-ERR`.
pub(crate) const CONNECT: &str = "CONNECT {\"verbose\":true,\"pedantic\":false,\"protocol\":1,\"lang\":\"rust\",\
                           \"name\":\"livefeed\",\"version\":\"0\"}\r\n";

/// Asks for a subject, under a sid.
pub(crate) fn sub(subject: &str, sid: &str) -> Vec<u8> {
    format!("SUB {subject} {sid}\r\n").into_bytes()
}

/// Ends that.
pub(crate) fn unsub(sid: &str) -> Vec<u8> {
    format!("UNSUB {sid}\r\n").into_bytes()
}

/// Reads what a NATS server sends.
#[derive(Debug, Default)]
pub(crate) struct Nats {
    /// The sid and the subject of each subscription: errors name the subject only.
    subjects: Vec<(String, String)>,
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
    /// A dialect for subscriptions of these sids and subjects.
    pub(crate) fn new<'a>(subjects: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let subjects = subjects.into_iter().map(|(sid, subject)| (sid.to_owned(), subject.to_owned()));
        Self { subjects: subjects.collect(), ..Self::default() }
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
            "+OK" => out.ack(About::Oldest),
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
        // The server goes on after these two; after any other it hangs up.
        if let Some(named) = text.strip_prefix("Permissions Violation for Subscription to ") {
            // At once, or at any time later, when the server's configuration changes.
            let subject = named.split('"').nth(1).unwrap_or(named);
            let mut known = false;
            for (sid, _) in self.subjects.iter().filter(|(_, own)| own == subject) {
                known = true;
                out.ended(About::Name(sid.as_str().into()), ErrorClass::Refused, text);
            }
            if !known {
                out.other(text);
            }
        } else if text.eq_ignore_ascii_case("Invalid Subject") {
            out.nack(About::Oldest, ErrorClass::Refused, text);
        } else if text.starts_with("Permissions Violation for Publish") {
            out.other(text);
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
