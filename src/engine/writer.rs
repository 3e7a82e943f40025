//! Writing: frames out of the outbox, encoded and handed to the operating system in short slices.

use super::core::Caller;
use super::order::Link;
use super::plan::{Render, RenderContext};
use super::shared::Shared;
use crate::clock::{self, Stamp};
use crate::error::EndReason;
use crate::message::Content;
use crate::panics;
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
}

pub(super) struct Writer {
    link: Link,
    limits: Limits,
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
    pub(super) fn new(link: Link, limits: Limits) -> Self {
        Self {
            link,
            limits,
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
                shared.lock().session.has_out()
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
            let next = shared.with(Caller::Controller, |core| {
                if core.session.epoch() != epoch || !core.session.has_out() {
                    return None;
                }
                let out = core.session.poll_out(now)?;
                let spec = match &out {
                    Out::Subscribe { keys, .. } => keys.first().and_then(|key| core.spec(*key)),
                    Out::Unsubscribe { key, .. } => core.retire(*key),
                    _ => None,
                };
                Some((out, spec))
            });
            let Some((out, spec)) = next else { return };
            let mut frame = Vec::new();
            match &out {
                Out::Pong(payload) => encode(&mut frame, OpCode::Control(Control::Pong), payload),
                Out::Ping => encode(&mut frame, OpCode::Control(Control::Ping), &[]),
                Out::App { content, .. } | Out::Reply { content, .. } => encode_content(&mut frame, content),
                Out::Close(code) => {
                    self.closing = true;
                    let code = code.map(u16::to_be_bytes);
                    let payload = code.as_ref().map_or(&[][..], |code| code);
                    encode(&mut frame, OpCode::Control(Control::Close), payload);
                }
                Out::Subscribe { keys, .. } => {
                    let render = spec.as_ref().and_then(|spec| spec.subscribe.as_ref());
                    match render.map(|render| self.render(render, now)).transpose() {
                        Ok(payload) => frame = payload.unwrap_or_default(),
                        Err(detail) => {
                            shared.with(Caller::Controller, |core| {
                                for key in keys {
                                    core.session.handle_render_failed(Stamp::now(), *key, detail.clone());
                                }
                            });
                            continue;
                        }
                    }
                }
                // Nothing asks for these yet.
                Out::Keepalive { .. } | Out::Probe { .. } => {}
                Out::Unsubscribe { .. } => {
                    let render = spec.as_ref().and_then(|spec| spec.unsubscribe.as_ref());
                    match render.map(|render| self.render(render, now)).transpose() {
                        Ok(payload) => frame = payload.unwrap_or_default(),
                        Err(detail) => {
                            log::warn!(target: "livefeed", "{}: unsubscribe: {detail}", shared.name());
                            continue;
                        }
                    }
                }
            }
            self.link.half.enqueue(&frame);
            size += frame.len();
            self.enqueued += frame.len() as u64;
            self.in_flight.push_back((self.enqueued, out));
            if self.closing {
                self.link.half.close_notify();
                return;
            }
        }
    }

    /// Makes a subscribe payload afresh and encodes it.
    fn render(&self, render: &Render, now: Stamp) -> Result<Vec<u8>, String> {
        let context = RenderContext { epoch: self.link.epoch, attempt: self.link.attempt, time: now.wall };
        let payload = match panics::caught(|| render(&context)) {
            Ok(result) => result?,
            Err(panic) => return Err(format!("the closure panicked: {panic}")),
        };
        let (size, limit) = (payload.len(), self.limits.subscribe_bytes);
        if size > limit {
            return Err(format!("{size} bytes are over the limit of {limit} (limits.subscribe_bytes)"));
        }
        let mut frame = Vec::with_capacity(size + 14);
        encode(&mut frame, OpCode::Data(Data::Text), payload.expose().as_bytes());
        Ok(frame)
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

fn encode_content(frame: &mut Vec<u8>, content: &Content) {
    let opcode = match content {
        Content::Text(_) => Data::Text,
        Content::Binary(_) => Data::Binary,
    };
    encode(frame, OpCode::Data(opcode), content.payload().as_bytes());
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
