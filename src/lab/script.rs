//! What a connection does over its life.

use std::collections::VecDeque;
use std::time::Duration;

use super::command::{Command, Incoming, Violation};
use super::flood::Flood;
use super::playback::Playback;
use super::topic::{Callback, Topic};
use super::transcript::Request;

/// How the upgrade request is met.
#[derive(Debug, Clone)]
pub(super) enum Opening {
    Upgrade { wrong_accept: bool, trickle: Option<Duration> },
    Refuse { status: u16, body: String },
    NeverUpgrade,
    StallTls,
    EndlessHeader,
    LongHeader(usize),
    RawResponse(Vec<u8>),
    Reset,
    Fin,
}

/// How a subprotocol is chosen.
#[derive(Debug, Clone)]
pub(super) enum Subprotocol {
    FirstOffered,
    None,
    Always(String),
}

pub(super) type Greet = dyn Fn(&Request) -> Vec<Command> + Send + Sync;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Do(Command),
    Greet(Callback<Greet>),
    For(Duration),
    UntilText(Callback<dyn Fn(&str) -> bool + Send + Sync>),
    UntilSent(u64),
}

/// What one connection does: how it meets the upgrade request, then steps in order.
///
/// A step either does something ([`Command`]) or waits; after the last step all goes on as it is until the connection
/// ends. The default script answers the upgrade, chooses the first subprotocol offered, answers pings and Close, and
/// sends nothing.
///
/// ```
/// # use std::time::Duration;
/// # use livefeed::lab::{Script, Topic};
/// let script = Script::new()
///     .send(r#"{"hello":1}"#)
///     .until_text(|text| text.contains("subscribe"))
///     .topics([Topic::new("btc").every(Duration::from_millis(10))])
///     .for_(Duration::from_secs(2))
///     .silence();
/// ```
#[derive(Debug, Clone)]
pub struct Script {
    pub(super) opening: Opening,
    pub(super) subprotocol: Subprotocol,
    pub(super) headers: Vec<(String, String)>,
    pub(super) steps: VecDeque<Step>,
}

impl Default for Script {
    fn default() -> Self {
        Self::new()
    }
}

/// The ways to begin.
impl Script {
    /// Answers the upgrade as it should be.
    pub fn new() -> Self {
        Self::opening(Opening::Upgrade { wrong_accept: false, trickle: None })
    }

    /// Sends these topics from the start.
    pub fn of_topics(topics: impl IntoIterator<Item = Topic>) -> Self {
        Self::new().topics(topics)
    }

    /// Answers the upgrade, then sends Close with code 1001 at once; put a greeting before it with
    /// [`send`](Self::send) on a new script.
    pub fn flap() -> Self {
        Self::new().close(1001, "going away")
    }

    /// Refuses the upgrade with this HTTP status, then ends the connection. See [`header`](Self::header) and
    /// [`body`](Self::body).
    pub fn refuse(status: u16) -> Self {
        Self::opening(Opening::Refuse { status, body: String::new() })
    }

    /// Accepts TCP (and TLS), reads, and never answers.
    pub fn never_upgrade() -> Self {
        Self::opening(Opening::NeverUpgrade)
    }

    /// Accepts TCP and says nothing at all, not even in the TLS handshake.
    pub fn stall_tls() -> Self {
        Self::opening(Opening::StallTls)
    }

    /// Answers the upgrade byte by byte, with this time before each.
    pub fn trickle_upgrade(every: Duration) -> Self {
        Self::opening(Opening::Upgrade { wrong_accept: false, trickle: Some(every) })
    }

    /// Answers the upgrade with a wrong `Sec-WebSocket-Accept`.
    pub fn wrong_accept() -> Self {
        Self::opening(Opening::Upgrade { wrong_accept: true, trickle: None })
    }

    /// Answers the upgrade with header lines without end, as fast as they go.
    pub fn endless_header() -> Self {
        Self::opening(Opening::EndlessHeader)
    }

    /// Answers the upgrade rightly, but with a header field of this many bytes in it.
    pub fn long_header(bytes: usize) -> Self {
        Self::opening(Opening::LongHeader(bytes))
    }

    /// Answers the upgrade request with these bytes, whatever they are, and goes on as if upgraded.
    pub fn raw_response(bytes: impl Into<Vec<u8>>) -> Self {
        Self::opening(Opening::RawResponse(bytes.into()))
    }

    /// Resets the TCP connection as soon as it is accepted.
    pub fn reset_at_accept() -> Self {
        Self::opening(Opening::Reset)
    }

    /// Ends the TCP connection (FIN) as soon as it is accepted.
    pub fn fin_at_accept() -> Self {
        Self::opening(Opening::Fin)
    }

    fn opening(opening: Opening) -> Self {
        Self { opening, subprotocol: Subprotocol::FirstOffered, headers: Vec::new(), steps: VecDeque::new() }
    }

    /// Adds a header field to the answer, such as `Retry-After` or `Location`.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body of a refusal; without effect on others. Default: empty.
    pub fn body(mut self, text: impl Into<String>) -> Self {
        if let Opening::Refuse { body, .. } = &mut self.opening {
            *body = text.into();
        }
        self
    }

    /// Chooses no subprotocol. Default: the first offered.
    pub fn no_subprotocol(mut self) -> Self {
        self.subprotocol = Subprotocol::None;
        self
    }

    /// Chooses this subprotocol, offered or not. Default: the first offered.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocol = Subprotocol::Always(name.into());
        self
    }
}

/// The steps that wait.
impl Script {
    /// Lets all go on for a while.
    pub fn for_(self, time: Duration) -> Self {
        self.step(Step::For(time))
    }

    /// Lets all go on until a text message comes that the closure accepts. Those that came before this step was
    /// reached don't count.
    pub fn until_text(self, test: impl Fn(&str) -> bool + Send + Sync + 'static) -> Self {
        self.step(Step::UntilText(Callback(std::sync::Arc::new(test))))
    }

    /// Lets all go on until a text message comes.
    pub fn until_subscribe(self) -> Self {
        self.until_text(|_| true)
    }

    /// Lets all go on until the topics together have sent exactly this many messages in this step.
    pub fn until_sent(self, messages: u64) -> Self {
        self.step(Step::UntilSent(messages))
    }
}

/// The steps that do something.
impl Script {
    /// Does what the command says.
    pub fn then(self, command: Command) -> Self {
        self.step(Step::Do(command))
    }

    /// Sends one text message. See [`Command::Send`].
    pub fn send(self, text: impl Into<String>) -> Self {
        self.then(Command::Send(text.into()))
    }

    /// Starts topics. See [`Command::Topics`].
    pub fn topics(self, topics: impl IntoIterator<Item = Topic>) -> Self {
        self.then(Command::Topics(topics.into_iter().collect()))
    }

    /// Does what the closure makes of the upgrade request: for servers that are told in the URL or in a header what
    /// to send. It runs on a thread of the lab.
    pub fn greet(self, greet: impl Fn(&Request) -> Vec<Command> + Send + Sync + 'static) -> Self {
        self.step(Step::Greet(Callback(std::sync::Arc::new(greet))))
    }

    /// Reacts to messages. See [`Command::react`].
    pub fn react(self, react: impl Fn(Incoming<'_>) -> Vec<Command> + Send + Sync + 'static) -> Self {
        self.then(Command::react(react))
    }

    /// Answers text messages. See [`Command::reply`].
    pub fn reply(self, answer: impl Fn(&str) -> Vec<String> + Send + Sync + 'static) -> Self {
        self.then(Command::reply(answer))
    }

    /// Sends messages as fast as they go. See [`Command::Flood`].
    pub fn flood(self, flood: Flood) -> Self {
        self.then(Command::Flood(flood))
    }

    /// Plays cues at their times. See [`Command::Play`].
    pub fn play(self, playback: Playback) -> Self {
        self.then(Command::Play(playback))
    }

    /// Sends a text at a steady interval. See [`Command::Heartbeats`].
    pub fn heartbeats(self, text: impl Into<String>, every: Duration) -> Self {
        self.then(Command::Heartbeats(text.into(), every))
    }

    /// Stops one topic. See [`Command::Mute`].
    pub fn mute(self, topic: impl Into<String>) -> Self {
        self.then(Command::Mute(topic.into()))
    }

    /// Lets one topic go on. See [`Command::Unmute`].
    pub fn unmute(self, topic: impl Into<String>) -> Self {
        self.then(Command::Unmute(topic.into()))
    }

    /// Stops all that is sent by itself. See [`Command::Silence`].
    pub fn silence(self) -> Self {
        self.then(Command::Silence)
    }

    /// Takes back a silence. See [`Command::Resume`].
    pub fn resume(self) -> Self {
        self.then(Command::Resume)
    }

    /// Breaks the protocol. See [`Command::Violate`].
    pub fn violate(self, how: Violation) -> Self {
        self.then(Command::Violate(how))
    }

    /// Ends the connection properly. See [`Command::Close`].
    pub fn close(self, code: u16, reason: impl Into<String>) -> Self {
        self.then(Command::Close(code, reason.into()))
    }

    /// Resets the TCP connection. See [`Command::Reset`].
    pub fn reset(self) -> Self {
        self.then(Command::Reset)
    }

    /// Neither reads nor writes any more. See [`Command::Freeze`].
    pub fn freeze(self) -> Self {
        self.then(Command::Freeze)
    }

    fn step(mut self, step: Step) -> Self {
        self.steps.push_back(step);
        self
    }
}
