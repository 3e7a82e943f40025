//! From bytes to messages: tungstenite over the reading half, one `recv` at a time.

use super::shared::Shared;
use crate::clock::Stamp;
use crate::error::{EndReason, Stage};
use crate::frame::FrameKind;
use crate::policy::approach;
use crate::transport::{Outcome, ReadHalf, Wait};
use std::io::{ErrorKind, Read};
use std::sync::Arc;
use std::time::Duration;
use tungstenite::error::{CapacityError, ProtocolError};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Bytes, Error, Message, Utf8Bytes, WebSocket};

/// What takes the decoded items, in order. A trait, so that the hot path is compiled into one piece: each time a
/// message is moved costs a few nanoseconds.
pub(super) trait Sink {
    fn text(&mut self, text: Utf8Bytes, received: &Stamp);
    fn binary(&mut self, bytes: Bytes, received: &Stamp);
    fn ping(&mut self, payload: Bytes);
    fn pong(&mut self);
    /// Code and reason; the last item of a connection.
    fn close(&mut self, code: Option<u16>, reason: String);
}

/// Why decoding ended.
pub(super) enum Broken {
    /// The connection is gone.
    Gone(EndReason),
    /// The peer broke the protocol; `code` is what it should be told (RFC 6455 section 7.4.1).
    Violation { reason: EndReason, code: u16 },
}

pub(super) struct Decoder {
    socket: WebSocket<ReadHalf>,
    /// After a Close or a violation there is nothing to decode: what still comes is thrown away.
    discarding: bool,
    /// Who is told of each frame, and of which connection it is.
    watched: Option<(Arc<Shared>, u64)>,
}

impl Decoder {
    pub(super) fn new(half: ReadHalf, read_buffer: usize, message_bytes: usize) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(read_buffer)
            // Only its own pongs and close replies are ever written there, and they are thrown away.
            .write_buffer_size(0)
            .max_message_size(Some(message_bytes))
            .max_frame_size(Some(message_bytes));
        let socket = WebSocket::from_raw_socket(half, Role::Client, Some(config));
        Self { socket, discarding: false, watched: None }
    }

    /// Tells of each frame that is decoded from now on, if anybody wants to hear of it.
    pub(super) fn watch(&mut self, shared: &Arc<Shared>, epoch: u64) {
        self.watched = shared.is_watched().then(|| (Arc::clone(shared), epoch));
    }

    #[cold]
    fn tell(&self, message: &Message) {
        let Some((shared, epoch)) = &self.watched else { return };
        let close;
        let (kind, payload) = match message {
            Message::Text(text) => (FrameKind::Text, text.as_bytes()),
            Message::Binary(bytes) => (FrameKind::Binary, bytes.as_ref()),
            Message::Ping(payload) => (FrameKind::Ping, payload.as_ref()),
            Message::Pong(payload) => (FrameKind::Pong, payload.as_ref()),
            Message::Close(Some(frame)) => {
                let code = u16::from(frame.code).to_be_bytes();
                close = [&code[..], frame.reason.as_bytes()].concat();
                (FrameKind::Close, close.as_slice())
            }
            Message::Close(None) => (FrameKind::Close, &[][..]),
            Message::Frame(_) => return,
        };
        shared.received(kind, payload, *epoch, self.socket.get_ref().received_at());
    }

    pub(super) fn armed(&self) -> Option<Duration> {
        self.socket.get_ref().armed()
    }

    /// Whether reading produced TLS output that has to be written.
    pub(super) fn wants_write(&self) -> bool {
        self.socket.get_ref().wants_write()
    }

    /// Does one `recv` and decodes all that it completes. Each item goes to `sink` with the time of the `recv`.
    pub(super) fn cycle(
        &mut self,
        wait: approach::Wait,
        sink: &mut impl Sink,
    ) -> (Stamp, Outcome, Result<(), Broken>) {
        self.socket.get_mut().permit(match wait {
            approach::Wait::Until(timeout) => Wait::Until(timeout),
            approach::Wait::Exactly(time) => Wait::Exactly(time),
            approach::Wait::Probe => Wait::Probe,
        });
        let result = if self.discarding { self.discard() } else { self.decode(sink) };
        let half = self.socket.get_ref();
        (*half.received_at(), half.outcome().clone(), result)
    }

    fn decode(&mut self, sink: &mut impl Sink) -> Result<(), Broken> {
        let error = loop {
            let read = self.socket.read();
            if self.watched.is_some()
                && let Ok(message) = &read
            {
                self.tell(message);
            }
            match read {
                Ok(Message::Text(text)) => sink.text(text, self.socket.get_ref().received_at()),
                Ok(Message::Binary(bytes)) => sink.binary(bytes, self.socket.get_ref().received_at()),
                Ok(Message::Ping(payload)) => sink.ping(payload),
                Ok(Message::Pong(_)) => sink.pong(),
                Ok(Message::Frame(_)) => {}
                Ok(Message::Close(frame)) => {
                    self.discarding = true;
                    let (code, reason) = frame.map_or((None, String::new()), |frame| {
                        (Some(u16::from(frame.code)), frame.reason.as_str().to_owned())
                    });
                    sink.close(code, reason);
                    return Ok(());
                }
                Err(error) => break error,
            }
        };
        match error {
            Error::Io(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            error => {
                self.discarding = true;
                Err(self.broken(error))
            }
        }
    }

    fn discard(&mut self) -> Result<(), Broken> {
        let mut scratch = [0; 4096];
        loop {
            match self.socket.get_mut().read(&mut scratch) {
                Ok(0) => return Err(Broken::Gone(EndReason::Eof)),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(Broken::Gone(EndReason::io(Stage::Read, &error))),
            }
        }
    }

    fn broken(&self, error: Error) -> Broken {
        let violation =
            |detail: String, code| Broken::Violation { reason: EndReason::Protocol { detail }, code };
        match error {
            Error::Io(error) => Broken::Gone(match self.socket.get_ref().outcome() {
                Outcome::Failed(reason) => reason.clone(),
                _ => EndReason::io(Stage::Read, &error),
            }),
            Error::ConnectionClosed
            | Error::AlreadyClosed
            | Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => Broken::Gone(EndReason::Eof),
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => Broken::Violation {
                reason: EndReason::TooLarge { size: size as u64, limit: max_size as u64 },
                code: 1009,
            },
            Error::Utf8(_) => violation("a text message is not UTF-8".to_owned(), 1007),
            other => violation(other.to_string(), 1002),
        }
    }
}
