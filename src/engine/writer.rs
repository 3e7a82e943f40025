//! Writing: frames out of the outbox, encoded and handed to the operating system in short slices.

use super::core::{Caller, Made};
use super::order::Link;
use super::plan::Beat;
use super::shared::Shared;
use crate::clock::{self, Stamp};
use crate::dialect::FrameVars;
use crate::error::EndReason;
use crate::event::AlertKind;
use crate::frame::FrameKind;
use crate::message::Content;
use crate::policy::outbox::Out;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

/// About this much is encoded before it is written; what is urgent waits for no more.
const LOT: usize = 64 * 1024;

/// One slice counts as at most this much of a stall: longer means that this process did not run.
const SLICE: Duration = Duration::from_millis(100);

/// Limits of writing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// How long the peer may take nothing.
    pub(super) write_timeout: Duration,
    pub(super) subscribe_bytes: usize,
    /// The same for the message of a batch.
    pub(super) batch_bytes: usize,
}

/// Why a frame could not be made.
enum Problem {
    /// A template could not be filled in.
    Render(String),
    /// A batch is over its limit.
    Split,
}

pub(super) struct Writer {
    link: Link,
    limits: Limits,
    beats: Arc<[Beat]>,
    /// Encoded and not yet written to the operating system: each with where its frame ends, in bytes of this
    /// connection.
    in_flight: VecDeque<(u64, Out)>,
    enqueued: u64,
    /// How long nothing could be written, reading time only.
    stalled: Duration,
    failed: bool,
    closing: bool,
}

impl Writer {
    pub(super) fn new(link: Link, limits: Limits, beats: Arc<[Beat]>) -> Self {
        Self {
            link,
            limits,
            beats,
            in_flight: VecDeque::new(),
            enqueued: 0,
            stalled: Duration::ZERO,
            failed: false,
            closing: false,
        }
    }

    pub(super) fn epoch(&self) -> u64 {
        self.link.epoch
    }

    /// Whether nothing waits to be received; `None` where that can't be told.
    pub(super) fn is_socket_empty(&self) -> Option<bool> {
        self.link.half.is_socket_empty().ok()
    }

    pub(super) fn abort(&self) {
        self.link.stop.abort();
    }

    /// Writes what waits, for about one slice. Says whether more waits.
    pub(super) fn work(&mut self, shared: &Arc<Shared>) -> bool {
        if self.failed {
            return false;
        }
        if self.in_flight.is_empty() {
            self.gather(shared);
        }
        let begin = clock::mono();
        let turn = shared.turn();
        let pumped = self.link.half.pump();
        self.written(shared);
        match pumped {
            Ok(pumped) if pumped.idle => {
                self.stalled = Duration::ZERO;
                self.finish_close();
                shared.lock().wants_write()
            }
            Ok(pumped) => {
                let slice = clock::mono().saturating_duration_since(begin).min(SLICE);
                if pumped.wrote > 0 {
                    self.stalled = Duration::ZERO;
                } else if !turn.is_multiple_of(2) {
                    // While the reader is away the peer may be held up by us, not we by it.
                    self.stalled += slice;
                }
                if self.stalled >= self.limits.write_timeout {
                    self.fail(shared, EndReason::WriteStalled { stalled: self.stalled });
                    return false;
                }
                true
            }
            Err(reason) => {
                self.fail(shared, reason);
                false
            }
        }
    }

    fn fail(&mut self, shared: &Arc<Shared>, reason: EndReason) {
        self.failed = true;
        let epoch = self.link.epoch;
        shared.with(Caller::Controller, |core| core.session.handle_write_failed(epoch, reason));
    }

    /// Takes a lot out of the outbox and encodes it.
    fn gather(&mut self, shared: &Arc<Shared>) {
        let mut size = 0;
        while size < LOT {
            let now = Stamp::now();
            let epoch = self.link.epoch;
            let Some(made) = shared.with(Caller::Controller, |core| core.next_out(now, epoch)) else {
                return;
            };
            let frame = match self.make(shared, &made, now) {
                Ok(frame) => frame,
                Err(problem) => {
                    self.report(shared, made, problem);
                    continue;
                }
            };
            self.link.half.enqueue(&frame);
            size += frame.len();
            self.enqueued += frame.len() as u64;
            self.in_flight.push_back((self.enqueued, made.out));
            if self.closing {
                self.link.half.close_notify();
                return;
            }
        }
    }

    /// Makes the frame, from templates afresh.
    fn make(&mut self, shared: &Arc<Shared>, made: &Made, now: Stamp) -> Result<Vec<u8>, Problem> {
        let mut frame = Vec::new();
        let epoch = self.link.epoch;
        let sending = |kind, payload: &[u8]| shared.sending(Caller::Controller, kind, payload, epoch);
        let spec = made.spec.as_ref();
        let (id, template) = match &made.out {
            Out::Pong(payload) => {
                sending(FrameKind::Pong, payload);
                encode_pong(&mut frame, payload);
                return Ok(frame);
            }
            Out::Ping => {
                sending(FrameKind::Ping, &[]);
                encode(&mut frame, OpCode::Control(Control::Ping), &[]);
                return Ok(frame);
            }
            Out::App { content, .. } | Out::Reply { content, .. } | Out::Answer(content) => {
                sending(kind_of(content), content.payload().as_bytes());
                encode_content(&mut frame, content);
                return Ok(frame);
            }
            Out::Close(code) => {
                self.closing = true;
                let code = code.map(u16::to_be_bytes);
                let payload = code.as_ref().map_or(&[][..], |code| code);
                sending(FrameKind::Close, payload);
                encode(&mut frame, OpCode::Control(Control::Close), payload);
                return Ok(frame);
            }
            Out::Keepalive { frame: id, index } => {
                let Some(beat) = self.beats.get(*index) else { return Ok(frame) };
                let Some(send) = &beat.send else {
                    sending(FrameKind::Ping, &[]);
                    encode(&mut frame, OpCode::Control(Control::Ping), &[]);
                    return Ok(frame);
                };
                (*id, Some(send))
            }
            Out::Subscribe { frame, .. } => (*frame, spec.and_then(|spec| spec.subscribe.as_ref())),
            Out::Unsubscribe { frame, .. } => (*frame, spec.and_then(|spec| spec.unsubscribe.as_ref())),
            Out::Probe { frame, .. } => (*frame, spec.and_then(|spec| spec.probe.as_ref())),
        };
        let Some(template) = template else { return Ok(frame) };
        let vars = FrameVars {
            id: Some(id),
            captures: Arc::clone(&made.captures),
            ..FrameVars::new(self.link.epoch, self.link.attempt, now.wall)
        };
        let content = template.render(&vars, &made.members).map_err(Problem::Render)?;
        let size = content.len();
        if made.members.len() > 1 && size > self.limits.batch_bytes {
            return Err(Problem::Split);
        }
        let limit = self.limits.subscribe_bytes;
        if size > limit {
            let detail = format!("{size} bytes are over the limit of {limit} (limits.subscribe_bytes)");
            return Err(Problem::Render(detail));
        }
        sending(kind_of(&content), content.payload().as_bytes());
        encode_content(&mut frame, &content);
        Ok(frame)
    }

    /// Something could not be made.
    fn report(&self, shared: &Arc<Shared>, made: Made, problem: Problem) {
        let whose = made.members.into_iter().next().and_then(|member| member.name);
        match (made.out, problem) {
            // In two halves it shows whose fault it is.
            (Out::Subscribe { frame, keys }, problem)
                if keys.len() > 1 || matches!(problem, Problem::Split) =>
            {
                shared.with(Caller::Controller, |core| core.session.handle_split(Stamp::now(), frame, &keys));
            }
            (Out::Subscribe { keys, .. }, Problem::Render(detail)) => {
                shared.with(Caller::Controller, |core| {
                    for key in keys {
                        core.session.handle_render_failed(Stamp::now(), key, detail.clone());
                    }
                });
            }
            (out, Problem::Render(detail)) => {
                let what = match out {
                    Out::Keepalive { .. } => "keepalive",
                    Out::Probe { .. } => "probe",
                    _ => "unsubscribe",
                };
                let left_over = if let Out::Unsubscribe { .. } = out {
                    "; the server may go on with it until the connection ends"
                } else {
                    ""
                };
                let detail = detail + left_over;
                let detail = match whose {
                    Some(name) => format!("subscription {name}: {detail}"),
                    None => detail,
                };
                let now = Stamp::now();
                let epoch = self.link.epoch;
                shared.with(Caller::Controller, |core| {
                    core.session.alert(now, AlertKind::TemplateFailed { what, detail });
                    if let Out::Keepalive { .. } = out {
                        core.session.handle_written(now, epoch, &out); // the next one is due in its time
                    }
                });
            }
            (_, Problem::Split) => {}
        }
    }

    /// Reports what the operating system has taken in full.
    fn written(&mut self, shared: &Arc<Shared>) {
        let delivered = self.link.half.delivered();
        let count = self.in_flight.partition_point(|(end, _)| *end <= delivered);
        if count == 0 {
            return;
        }
        let now = Stamp::now();
        let epoch = self.link.epoch;
        shared.with(Caller::Controller, |core| {
            for (_, out) in self.in_flight.drain(..count) {
                core.session.handle_written(now, epoch, &out);
            }
        });
    }

    /// Our Close is out: nothing follows it.
    fn finish_close(&mut self) {
        if self.closing {
            self.link.half.shutdown_write();
            self.failed = true;
        }
    }

    /// The connection is over: what was not written is lost with it.
    pub(super) fn give_up(self, shared: &Arc<Shared>) {
        let epoch = self.link.epoch;
        shared.with(Caller::Controller, |core| {
            for (_, out) in &self.in_flight {
                core.session.handle_lost(epoch, out);
            }
        });
    }
}

/// What kind of frame a message is.
pub(super) fn kind_of(content: &Content) -> FrameKind {
    match content {
        Content::Text(_) => FrameKind::Text,
        Content::Binary(_) => FrameKind::Binary,
    }
}

/// Appends a data frame.
pub(super) fn encode_content(frame: &mut Vec<u8>, content: &Content) {
    let opcode = match content {
        Content::Text(_) => Data::Text,
        Content::Binary(_) => Data::Binary,
    };
    encode(frame, OpCode::Data(opcode), content.payload().as_bytes());
}

/// Appends the answer to a ping.
pub(super) fn encode_pong(frame: &mut Vec<u8>, payload: &[u8]) {
    encode(frame, OpCode::Control(Control::Pong), payload);
}

/// Appends one masked frame (RFC 6455 section 5.3: each with a fresh mask that can't be predicted).
fn encode(frame: &mut Vec<u8>, opcode: OpCode, payload: &[u8]) {
    let mask: [u8; 4] = rand::random();
    let header = FrameHeader { opcode, mask: Some(mask), ..FrameHeader::default() };
    frame.reserve(payload.len() + 14);
    // Writing to memory does not fail.
    drop(header.format(payload.len() as u64, frame));
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_masked_afresh_and_decode_to_what_was_meant() {
        use std::io::Cursor;
        use tungstenite::protocol::{Role, WebSocketContext};
        for size in [0, 1, 125, 126, 65_535, 65_536, 70_001] {
            let text = "x".repeat(size);
            let mut frame = Vec::new();
            encode(&mut frame, OpCode::Data(Data::Text), text.as_bytes());
            let mut again = Vec::new();
            encode(&mut again, OpCode::Data(Data::Text), text.as_bytes());
            assert!(frame != again, "the mask repeats");
            let mut server = WebSocketContext::new(Role::Server, None);
            let message = server.read(&mut Cursor::new(frame)).unwrap();
            assert_eq!(message.into_text().unwrap().as_str(), text);
        }
    }
}
