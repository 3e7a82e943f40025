//! Why something was refused, and why a connection ended.

use crate::class::{ErrorClass, StaleCause};
use crate::message::SubscriptionId;
use std::fmt;
use std::io;
use std::time::Duration;

/// Why a call failed.
///
/// `Config`, `TooLarge`, `Closed`, `WouldDeadlock`, `UnknownSubscription`, `Taken` and `NameTaken` are final: the same call
/// fails again.
/// The others may pass: try again later, see [`Error::is_retryable`].
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The configuration is wrong. `path` names the field (`tls.ca_file`), `problem` says what to do. Final.
    Config {
        /// The field, as a path from the top of the configuration.
        path: String,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A thread could not be started, or not be given what wakes it: the system's limit was met. Retry when there is room.
    Thread(io::ErrorKind),
    /// A monitor could not listen at its address. Retry if that is in use.
    Listen(io::ErrorKind),
    /// A monitor shows a feed of that name already. Final until that is removed.
    NameTaken(String),
    /// There is no event in the queue at the moment. Retry.
    Empty,
    /// The time given for waiting is over. Retry: nothing was changed by waiting.
    Timeout,
    /// The feed is closed, for this reason. Final.
    Closed(Box<CloseReason>),
    /// The call waits for the very thread that makes it (a callback of this feed). Final on this thread.
    WouldDeadlock,
    /// There is no connection at the moment, and nothing is kept for a later one. Retry once connected.
    NotConnected,
    /// What waits to be written is over its bound in bytes. Retry when some of it is written.
    OutboxFull {
        /// The bound, in bytes.
        limit: usize,
    },
    /// What was to be sent is larger than the limit, in bytes. Final.
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// There is no subscription of that name. Final.
    UnknownSubscription(SubscriptionId),
    /// The feed's events go elsewhere: to its handler, or to a set that it is in. Final as long as that is so.
    Taken,
    /// There is no feed in the set, so nothing can come. Retry once one was inserted.
    NoFeed,
}

impl Error {
    pub(crate) fn config(path: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Config { path: path.into(), problem: problem.into() }
    }

    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            Self::Empty
                | Self::Timeout
                | Self::NotConnected
                | Self::NoFeed
                | Self::OutboxFull { .. }
                | Self::Thread(_)
                | Self::Listen(io::ErrorKind::AddrInUse)
        )
    }

    /// Whether the time for waiting was over.
    pub fn is_timeout(&self) -> bool {
        matches!(self, Self::Timeout)
    }

    /// Why the feed is closed, if it is.
    pub fn close_reason(&self) -> Option<&CloseReason> {
        match self {
            Self::Closed(reason) => Some(reason),
            _ => None,
        }
    }

    /// Whether the feed is closed.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Config { path, problem } => write!(f, "configuration: {path}: {problem}"),
            Self::Thread(kind) => write!(f, "could not start a thread: {kind}"),
            Self::Listen(io::ErrorKind::InvalidInput) => f.write_str(
                "could not listen: that is no address with a port, give one such as \"127.0.0.1:9090\"",
            ),
            Self::Listen(kind) => write!(f, "could not listen: {kind}"),
            Self::NameTaken(name) => write!(f, "the monitor shows a feed {name} already"),
            Self::Empty => f.write_str("no event at the moment"),
            Self::Timeout => f.write_str("timed out"),
            Self::Closed(reason) => write!(f, "the feed is closed: {reason}"),
            Self::WouldDeadlock => {
                f.write_str("called from a callback of this feed, whose thread it would wait for")
            }
            Self::NotConnected => f.write_str("not connected"),
            Self::OutboxFull { limit } => write!(f, "more than {limit} bytes wait to be written"),
            Self::TooLarge { size, limit } => write!(f, "{size} bytes are over the limit of {limit}"),
            Self::UnknownSubscription(id) => write!(f, "there is no subscription {id}"),
            Self::Taken => f.write_str("the feed's events go to its handler or to a set that it is in"),
            Self::NoFeed => f.write_str("there is no feed in the set"),
        }
    }
}

impl std::error::Error for Error {}

/// The stage of an attempt, or of a connection, at which something happened.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Looking up the host name.
    Resolve,
    /// The TCP connection.
    Connect,
    /// The TLS handshake.
    Tls,
    /// The WebSocket upgrade (RFC 6455 section 4).
    Upgrade,
    /// The login that follows the upgrade.
    Login,
    /// Reading from the established connection.
    Read,
    /// Writing to the established connection.
    Write,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Resolve => "resolve",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Upgrade => "upgrade",
            Self::Login => "login",
            Self::Read => "read",
            Self::Write => "write",
        })
    }
}

/// Why a connection, or an attempt to get one, ended.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndReason {
    /// No data, or none that is timely or new, for longer than the limit, on the connection or on one subscription.
    Stale {
        /// The subscription that went stale; `None`: the connection as a whole.
        subscription: Option<SubscriptionId>,
        /// What was missing.
        cause: StaleCause,
        /// For how long.
        age: Duration,
        /// The limit that was in force.
        limit: Duration,
    },
    /// A ping was written and nothing at all came back in time.
    PongOverdue {
        /// How long was waited since the ping was written.
        waited: Duration,
    },
    /// The server did not answer a subscribe message in time, however often it was written.
    AckOverdue {
        /// The subscription.
        subscription: SubscriptionId,
        /// How long was waited for the last answer.
        waited: Duration,
    },
    /// A keepalive message was written and its answer did not come in time.
    KeepaliveOverdue {
        /// How long was waited since it was written.
        waited: Duration,
    },
    /// The server sends heartbeats, and no message of any kind came for so long.
    HeartbeatOverdue {
        /// How long was waited since the last message.
        waited: Duration,
    },
    /// The server said that the connection, or the feed, is of no use any more.
    ServerError {
        /// What it said, cut short.
        detail: String,
    },
    /// The server announced something that calls for a new connection, or for none.
    ServerNotice {
        /// What it said, cut short.
        detail: String,
    },
    /// Sequence numbers did not join up, and that is repaired by a new connection.
    SequenceGap {
        /// The subscription; `None`: the sequence is that of the connection.
        subscription: Option<SubscriptionId>,
        /// The last number before the gap.
        from: u64,
        /// The first number after it.
        to: u64,
    },
    /// The server refused the login.
    LoginRefused {
        /// What it said, cut short.
        detail: String,
        /// How bad it is.
        class: ErrorClass,
    },
    /// A step of the login could not be taken, by no word of the server's: what it sends could not be made, or its
    /// closure failed.
    LoginFailed {
        /// Which step, and what went wrong.
        detail: String,
        /// How bad it is: worth a retry, unless a closure says otherwise.
        class: ErrorClass,
    },
    /// The server closed the connection with a Close frame.
    ClosedByPeer {
        /// The status code (RFC 6455 section 7.4), if it gave one.
        code: Option<u16>,
        /// The reason it gave, cut to 123 bytes by the protocol.
        reason: String,
    },
    /// The server closed the connection without a Close frame.
    Eof,
    /// The operating system reported an error.
    Io {
        /// Where it happened.
        stage: Stage,
        /// What kind it was.
        kind: io::ErrorKind,
        /// What the system said.
        detail: String,
    },
    /// The host name could not be resolved.
    Dns {
        /// What the resolver said.
        detail: String,
    },
    /// The TLS session failed.
    Tls {
        /// What the TLS library said.
        detail: String,
        /// Whether the server's certificate was not trusted.
        untrusted: bool,
    },
    /// The attempt used up its budget.
    AttemptTimeout {
        /// What it was doing then.
        stage: Stage,
        /// The budget.
        budget: Duration,
        /// In the login: which step waited, and how many other messages came. Otherwise empty.
        detail: String,
    },
    /// The server answered the upgrade request with something other than 101.
    UpgradeRefused {
        /// The HTTP status.
        status: u16,
        /// What `Retry-After` asks for, if it was there.
        retry_after: Option<Duration>,
        /// Where a redirect (3xx) points, query values redacted. livefeed does not follow it.
        location: Option<String>,
        /// The first bytes of the body, as text.
        body: String,
    },
    /// The server's upgrade answer breaks RFC 6455 section 4.
    UpgradeInvalid {
        /// What is wrong with it.
        detail: String,
    },
    /// What the server sent breaks RFC 6455.
    Protocol {
        /// What is wrong with it.
        detail: String,
    },
    /// A message or frame was larger than the limit.
    TooLarge {
        /// Its size in bytes, as announced.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The server did not read what we wrote for longer than the limit.
    WriteStalled {
        /// How long nothing could be written.
        stalled: Duration,
    },
    /// The provider of URL, headers or token failed or panicked.
    Provider {
        /// What it said.
        detail: String,
        /// Whether it said that trying again is of no use.
        fatal: bool,
    },
    /// A thread of livefeed panicked, by a bug in it or by a logger that panics. Always final.
    Panicked {
        /// The panic's message.
        detail: String,
    },
    /// The application asked for a new connection.
    Reconnect,
    /// The application closed the feed.
    ClosedByUser,
}

impl EndReason {
    /// The short name of the reason, for logs, metrics and JSON: `stale`, `io`, `upgrade refused`, ...
    pub fn name(&self) -> &'static str {
        match self {
            Self::Stale { .. } => "stale",
            Self::PongOverdue { .. } => "pong overdue",
            Self::AckOverdue { .. } => "ack overdue",
            Self::KeepaliveOverdue { .. } => "keepalive overdue",
            Self::HeartbeatOverdue { .. } => "heartbeat overdue",
            Self::ServerError { .. } => "server error",
            Self::ServerNotice { .. } => "server notice",
            Self::SequenceGap { .. } => "sequence gap",
            Self::LoginRefused { .. } => "login refused",
            Self::LoginFailed { .. } => "login failed",
            Self::ClosedByPeer { .. } => "closed by peer",
            Self::Eof => "closed without close frame",
            Self::Io { .. } => "io",
            Self::Dns { .. } => "dns",
            Self::Tls { .. } => "tls",
            Self::AttemptTimeout { .. } => "attempt timeout",
            Self::UpgradeRefused { .. } => "upgrade refused",
            Self::UpgradeInvalid { .. } => "upgrade invalid",
            Self::Protocol { .. } => "protocol",
            Self::TooLarge { .. } => "too large",
            Self::WriteStalled { .. } => "write stalled",
            Self::Provider { .. } => "provider",
            Self::Panicked { .. } => "panicked",
            Self::Reconnect => "reconnect requested",
            Self::ClosedByUser => "closed by user",
        }
    }

    pub(crate) fn io(stage: Stage, error: &io::Error) -> Self {
        Self::Io { stage, kind: error.kind(), detail: error.to_string() }
    }
}

impl fmt::Display for EndReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.name();
        match self {
            Self::Stale { subscription, cause, age, limit } => {
                write!(f, "stale: {}", cause.lack())?;
                if let Some(id) = subscription {
                    write!(f, " for subscription {id}")?;
                }
                write!(f, " for {:.3} s, limit {:.3} s", age.as_secs_f64(), limit.as_secs_f64())
            }
            Self::PongOverdue { waited } => {
                write!(f, "{name}: nothing came for {:.3} s after a ping", waited.as_secs_f64())
            }
            Self::AckOverdue { subscription, waited } => {
                let waited = waited.as_secs_f64();
                write!(f, "{name}: subscription {subscription} was not answered for {waited:.3} s")
            }
            Self::KeepaliveOverdue { waited } => {
                write!(f, "{name}: no answer for {:.3} s", waited.as_secs_f64())
            }
            Self::HeartbeatOverdue { waited } => {
                write!(f, "{name}: no message for {:.3} s", waited.as_secs_f64())
            }
            Self::SequenceGap { subscription, from, to } => {
                write!(f, "{name}: {to} came after {from}")?;
                subscription.as_ref().map_or(Ok(()), |id| write!(f, ", subscription {id}"))
            }
            Self::ClosedByPeer { code, reason } => {
                f.write_str(name)?;
                if let Some(code) = code {
                    write!(f, ": {code}")?;
                }
                if reason.is_empty() { Ok(()) } else { write!(f, " {reason:?}") }
            }
            Self::Io { stage, detail, .. } => write!(f, "{name}: {stage}: {detail}"),
            Self::Dns { detail }
            | Self::Tls { detail, .. }
            | Self::UpgradeInvalid { detail }
            | Self::Protocol { detail }
            | Self::Panicked { detail }
            | Self::ServerError { detail }
            | Self::ServerNotice { detail }
            | Self::LoginRefused { detail, .. }
            | Self::LoginFailed { detail, .. }
            | Self::Provider { detail, .. } => write!(f, "{name}: {detail}"),
            Self::AttemptTimeout { stage, budget, detail } => {
                write!(f, "{name}: not past {stage} within {:.3} s", budget.as_secs_f64())?;
                if detail.is_empty() { Ok(()) } else { write!(f, ": {detail}") }
            }
            Self::UpgradeRefused { status, location, body, .. } => {
                write!(f, "{name}: status {status}")?;
                match location {
                    None if *status == 200 => {
                        f.write_str(": an ordinary answer, not an upgrade; is the path that of a WebSocket?")
                    }
                    Some(to) => write!(f, ", redirects to {to} (not followed: open that URL instead)"),
                    None if body.is_empty() => Ok(()),
                    // The server's own words, cut short; secrets of ours are blotted out of them.
                    None => write!(f, ": {:?}", body.chars().take(80).collect::<String>()),
                }
            }
            Self::TooLarge { size, limit } => {
                write!(f, "{name}: {size} bytes, limit {limit} (see limits.message_bytes)")
            }
            Self::WriteStalled { stalled } => {
                write!(f, "{name}: the server read nothing for {:.3} s", stalled.as_secs_f64())
            }
            Self::Eof | Self::Reconnect | Self::ClosedByUser => f.write_str(name),
        }
    }
}

impl std::error::Error for EndReason {}

/// Why a feed closed for good.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CloseReason {
    /// The application closed or dropped it.
    ByUser,
    /// A reason that the policy holds to be fatal.
    Fatal(EndReason),
    /// The limit on ends in a row without a stable connection was met; the last one ended so.
    AttemptsExhausted {
        /// How many attempts and connections ended in a row.
        attempts: u32,
        /// How the last one ended.
        last: EndReason,
    },
    /// The limit on time without a connection was met.
    DowntimeExhausted {
        /// How long there was no connection.
        down: Duration,
        /// How the last connection or attempt ended, if one did.
        last: Option<EndReason>,
    },
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ByUser => f.write_str("closed by user"),
            Self::Fatal(reason) => write!(f, "{reason}"),
            Self::AttemptsExhausted { attempts, last } => {
                write!(f, "gave up after {attempts} attempts: {last}")
            }
            Self::DowntimeExhausted { down, last } => {
                write!(f, "gave up after {:.1} s without a connection", down.as_secs_f64())?;
                match last {
                    Some(last) => write!(f, ": {last}"),
                    None => Ok(()),
                }
            }
        }
    }
}

impl std::error::Error for CloseReason {}
