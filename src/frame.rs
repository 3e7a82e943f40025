//! What goes over the wire, as those see it who watch or record it.

use crate::clock::Stamp;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Called with each frame, by [`FeedBuilder::on_frame`](crate::FeedBuilder::on_frame).
pub(crate) type OnFrame = Arc<dyn Fn(&Frame<'_>) + Send + Sync>;

/// Which way a frame goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// From the server.
    Received,
    /// To the server.
    Sent,
}

/// What kind of frame it is (RFC 6455 section 11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FrameKind {
    /// A text message, checked to be UTF-8.
    Text,
    /// A binary message.
    Binary,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// A Close frame; its payload is empty, or the code in network byte order and the reason (RFC 6455 section 5.5.1).
    Close,
}

/// A message or control frame as it goes over the wire: before codecs and rules, all of its fragments joined.
///
/// `Debug` shows the length of the payload and not the payload, which may hold secrets (a login, a token).
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Frame<'a> {
    /// Which way it goes.
    pub direction: Direction,
    /// What it is.
    pub kind: FrameKind,
    /// What it holds.
    pub payload: &'a [u8],
    /// The connection, or, during a login, the connection that it will be. Counted from 1.
    pub epoch: u64,
    /// When it was received, or handed over to be written, by the monotonic clock.
    pub at: Instant,
    /// The same by the wall clock.
    pub time: SystemTime,
}

impl<'a> Frame<'a> {
    pub(crate) fn new(
        direction: Direction,
        kind: FrameKind,
        payload: &'a [u8],
        epoch: u64,
        stamp: &Stamp,
    ) -> Self {
        Self { direction, kind, payload, epoch, at: stamp.mono, time: stamp.wall }
    }
}

impl fmt::Debug for Frame<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = self.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        f.debug_struct("Frame")
            .field("direction", &self.direction)
            .field("kind", &self.kind)
            .field("bytes", &self.payload.len())
            .field("epoch", &self.epoch)
            .field("time", &since.as_secs_f64())
            .finish_non_exhaustive()
    }
}
