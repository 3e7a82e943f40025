//! What a script or a control handle can tell a connection to do.

use std::time::Duration;

use super::flood::Flood;
use super::playback::Playback;
use super::topic::{Callback, Topic};

/// A breach of RFC 6455, written as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// A masked text frame, which a server must not send (section 5.1).
    MaskedFrame,
    /// A text frame with all reserved bits set (section 5.2).
    ReservedBits,
    /// A data frame with opcode 3 (section 5.2).
    UnknownOpcode,
    /// A control frame with opcode 11 (section 5.2).
    UnknownControlOpcode,
    /// A ping that is not final (section 5.5).
    FragmentedControl,
    /// A ping with a payload of 126 bytes (section 5.5).
    LongControl,
    /// A text message that is not UTF-8 (section 8.1).
    InvalidUtf8,
    /// A Close frame with a payload of one byte (section 5.5.1).
    ShortClose,
    /// A Close frame with code 1005, which must not be sent (section 7.4.1).
    BadCloseCode,
    /// A Close frame whose reason is not UTF-8 (section 5.5.1).
    BadCloseReason,
    /// A continuation of nothing (section 5.4).
    LoneContinuation,
    /// A new message inside a fragmented one (section 5.4).
    InterruptedMessage,
    /// Bytes that are no frames.
    Garbage,
    /// The header of a text frame that announces this many bytes, and none of them.
    Announced(u64),
}

/// One thing that a connection is told to do, by its [`Script`](super::Script) or at run time by a
/// [`Control`](super::Control).
///
/// Commands act from the moment that the upgrade is answered; those that come earlier are kept until then, but for
/// [`Reset`](Self::Reset), [`Fin`](Self::Fin), [`Freeze`](Self::Freeze) and [`Thaw`](Self::Thaw), which act at once.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Command {
    /// Starts topics; one of the same name is replaced.
    Topics(Vec<Topic>),
    /// Stops one topic.
    Mute(String),
    /// Ends one topic for good; [`Topics`](Self::Topics) starts it anew, numbered on.
    Drop(String),
    /// Lets one topic go on.
    Unmute(String),
    /// Passes over sequence numbers of a topic, as [`Control::skip`](super::Control::skip) does.
    Skip(String, u64),
    /// Stops all topics, playbacks and floods; heartbeats and pings go on.
    MuteAll,
    /// Lets all topics, playbacks and floods go on, those stopped by [`Mute`](Self::Mute) too.
    UnmuteAll,
    /// Stops all that is sent by itself: topics, playbacks, floods, heartbeats, pings. Pings are still answered.
    Silence,
    /// Takes back [`Silence`](Self::Silence), [`MuteAll`](Self::MuteAll) and the stall of [`HalfFrame`](Self::HalfFrame).
    Resume,
    /// Sends messages as fast as they go.
    Flood(Flood),
    /// Plays cues at their times, in place of an earlier playback.
    Play(Playback),
    /// Sends pings as fast as they go, and stops reading.
    PingFlood,
    /// Sends a text at a steady interval that is not data; several can run side by side.
    Heartbeats(String, Duration),
    /// Sends an empty ping at a steady interval.
    Pings(Duration),
    /// Sends one text message.
    Send(String),
    /// Sends one binary message.
    SendBinary(Vec<u8>),
    /// Sends one text message of this many bytes, all `x`.
    SendSized(usize),
    /// Sends one text message in this many frames.
    Fragments(String, usize),
    /// Writes bytes as they are.
    Raw(Vec<u8>),
    /// Sends one text message byte by byte, with this time before each. What else is to be sent waits until it is
    /// through.
    Trickle(String, Duration),
    /// Sends the first half of a text message's frame, then nothing at all, pongs included, until
    /// [`Resume`](Self::Resume).
    HalfFrame(String),
    /// Breaks the protocol.
    Violate(Violation),
    /// Sends one ping.
    Ping(Vec<u8>),
    /// Sends one pong.
    Pong(Vec<u8>),
    /// Sends a Close frame and ends the connection properly, at the latest when the client has neither answered nor
    /// taken more of what was sent before for 5 seconds, and after a minute in any case. With code 1005 the Close frame has no payload.
    Close(u16, String),
    /// Resets the TCP connection (RST), after an attempt to write what is queued.
    Reset,
    /// Ends the TCP connection (FIN) without a Close frame, when what is queued is written.
    Fin,
    /// Stops reading, so that the client's sends stall when the buffers of both systems are full.
    StopReading,
    /// Goes on reading.
    StartReading,
    /// Neither reads nor writes any more and leaves the socket open, as a machine does that lost its network.
    Freeze,
    /// Takes back [`Freeze`](Self::Freeze).
    Thaw,
    /// Says whether pings are answered. Default: yes.
    AnswerPings(bool),
    /// Says whether a Close frame is answered and the connection ended. Default: yes.
    AnswerClose(bool),
    /// Reacts to each message; made by [`Command::react`] and [`Command::reply`].
    React(Reaction),
}

/// A message from the client, as a reaction sees it: whole, however long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Incoming<'a> {
    /// A text message.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

/// A message to the client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// A text message.
    Text(String),
    /// A binary message.
    Binary(Vec<u8>),
}

impl From<&str> for Outgoing {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Outgoing {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<serde_json::Value> for Outgoing {
    fn from(json: serde_json::Value) -> Self {
        Self::Text(json.to_string())
    }
}

impl From<Vec<u8>> for Outgoing {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Binary(bytes)
    }
}

type React = dyn Fn(Incoming<'_>) -> Vec<Command> + Send + Sync;

/// Makes commands of messages: see [`Command::react`].
#[derive(Debug, Clone)]
pub struct Reaction(pub(super) Callback<React>);

impl Command {
    /// A command to send one message: [`Send`](Self::Send) or [`SendBinary`](Self::SendBinary).
    pub fn send(message: impl Into<Outgoing>) -> Self {
        match message.into() {
            Outgoing::Text(text) => Self::Send(text),
            Outgoing::Binary(bytes) => Self::SendBinary(bytes),
        }
    }

    /// A command to react to each text and binary message from now on: what the closure returns is carried out at
    /// once, in order, and what it sends goes out in one piece. It takes the place of an earlier reaction, also from
    /// within one.
    ///
    /// The closure runs on a thread of the lab. With state behind a `Mutex` it can be a whole server: subscriptions
    /// ([`Topics`](Self::Topics), [`Drop`](Self::Drop)), acks and refusals ([`Send`](Self::Send)), logins, ends. The
    /// transcript tells what is sent as [`What::Sent`](super::What::Sent), all else as
    /// [`What::Command`](super::What::Command).
    ///
    /// ```
    /// use livefeed::lab::{Command, Incoming, Script, Topic};
    ///
    /// let script = Script::new().react(|incoming| match incoming {
    ///     Incoming::Text("sub btc") => vec![Command::Send("ok".into()), Command::Topics(vec![Topic::new("btc")])],
    ///     Incoming::Text("unsub btc") => vec![Command::Drop("btc".into())],
    ///     _ => vec![Command::Close(1003, "what?".into())],
    /// });
    /// ```
    pub fn react(react: impl Fn(Incoming<'_>) -> Vec<Self> + Send + Sync + 'static) -> Self {
        Self::React(Reaction(Callback(std::sync::Arc::new(react))))
    }

    /// A [`react`](Self::react) that answers text messages with texts, and ignores binary ones.
    pub fn reply(answer: impl Fn(&str) -> Vec<String> + Send + Sync + 'static) -> Self {
        Self::react(move |incoming| match incoming {
            Incoming::Text(text) => answer(text).into_iter().map(Self::Send).collect(),
            Incoming::Binary(_) => Vec::new(),
        })
    }

    /// The name that stands in the transcript: the variant's, in lower case with spaces.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::Topics(_) => "topics",
            Self::Mute(_) => "mute",
            Self::Drop(_) => "drop",
            Self::Unmute(_) => "unmute",
            Self::Skip(..) => "skip",
            Self::MuteAll => "mute all",
            Self::UnmuteAll => "unmute all",
            Self::Silence => "silence",
            Self::Resume => "resume",
            Self::Flood(_) => "flood",
            Self::Play(_) => "play",
            Self::PingFlood => "ping flood",
            Self::Heartbeats(..) => "heartbeats",
            Self::Pings(_) => "pings",
            Self::Send(_) => "send",
            Self::SendBinary(_) => "send binary",
            Self::SendSized(_) => "send sized",
            Self::Fragments(..) => "fragments",
            Self::Raw(_) => "raw",
            Self::Trickle(..) => "trickle",
            Self::HalfFrame(_) => "half frame",
            Self::Violate(_) => "violate",
            Self::Ping(_) => "ping",
            Self::Pong(_) => "pong",
            Self::Close(..) => "close",
            Self::Reset => "reset",
            Self::Fin => "fin",
            Self::StopReading => "stop reading",
            Self::StartReading => "start reading",
            Self::Freeze => "freeze",
            Self::Thaw => "thaw",
            Self::AnswerPings(_) => "answer pings",
            Self::AnswerClose(_) => "answer close",
            Self::React(_) => "react",
        }
    }

    /// Whether all that it does is to send, which the transcript tells anyway.
    pub(super) fn is_send(&self) -> bool {
        matches!(self, Self::Send(_) | Self::SendBinary(_))
    }

    /// Whether it concerns the TCP connection, and so need not wait for the upgrade.
    pub(super) fn is_below_websocket(&self) -> bool {
        matches!(self, Self::Reset | Self::Fin | Self::Freeze | Self::Thaw)
    }
}
