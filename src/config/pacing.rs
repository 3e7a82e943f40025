//! How fast a feed may send, subscribe and connect: the limits that servers publish.

use crate::duration;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A limit on what is sent: so many messages in any span of time of this length. One of `pacing`.
///
/// What is over the limit waits; when there is room, answers and keepalives go first, then subscribing, then the
/// application's messages. These do not wait for the subscriptions of a new connection while those wait for a limit that
/// is not theirs (`of: subscribes`): ten thousand at five a second would hold them up for half an hour. What the
/// application asks for itself keeps its order: what it sends after a [`subscribe`](crate::Feed::subscribe) is written after
/// that. Pings, pongs, answers, keepalives and the
/// login count, and never wait.
///
/// ```
/// use livefeed::{Pacing, PacingScope};
/// use std::time::Duration;
///
/// let five_a_second = Pacing::new(5, Duration::from_secs(1));
/// let hourly = Pacing::new(480, Duration::from_secs(3600)).of(PacingScope::Subscribes).shared();
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Pacing {
    /// How many messages. From 1 to 1,000,000.
    pub sends: u32,
    /// In how long. From 1 ms to 365 days.
    #[serde(with = "duration")]
    pub per: Duration,
    /// Which messages count. Default: `all`.
    #[serde(default)]
    pub of: PacingScope,
    /// Whether all feeds of this process to the same host count together: for limits by address or account. Default:
    /// `false`.
    #[serde(default)]
    pub shared: bool,
}

impl Pacing {
    /// So many messages of all kinds in any span of this length, on one connection.
    pub fn new(sends: u32, per: Duration) -> Self {
        Self { sends, per, of: PacingScope::All, shared: false }
    }

    /// Counts these messages only.
    pub fn of(mut self, scope: PacingScope) -> Self {
        self.of = scope;
        self
    }

    /// Counts all feeds of this process to the same host together.
    pub fn shared(mut self) -> Self {
        self.shared = true;
        self
    }
}

/// Which messages count for a [`Pacing`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum PacingScope {
    /// All that is sent: pongs, keepalives and login, too. In JSON `"all"`.
    #[default]
    All,
    /// Subscribe and unsubscribe messages. In JSON `"subscribes"`.
    Subscribes,
    /// What the application sends. In JSON `"application"`.
    Application,
}

/// A limit on attempts to connect: so many in any span of time, to one host, from all feeds of this process
/// together. One of `connect.pacing`. An attempt over the limit waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct ConnectPacing {
    /// How many attempts. From 1 to 1,000,000.
    pub attempts: u32,
    /// In how long. From 1 ms to 365 days.
    #[serde(with = "duration")]
    pub per: Duration,
}

impl ConnectPacing {
    /// So many attempts in any span of this length.
    pub fn new(attempts: u32, per: Duration) -> Self {
        Self { attempts, per }
    }
}

/// How many subscriptions one message may ask for. Field `batch`.
///
/// Subscriptions share a message if their template is the same one and has a place for more than one: `$each` or
/// `$join`. If the server refuses such a message without saying which member is wrong, it is halved until the member
/// is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Batching {
    /// The most subscriptions in one message. From 1 to 100,000. Default: `100`.
    pub members: usize,
    /// The largest such message, in bytes. From 125 to `limits.subscribe_bytes`. Default: `64 KiB`.
    pub bytes: usize,
}

impl Default for Batching {
    fn default() -> Self {
        Self { members: 100, bytes: 64 << 10 }
    }
}

impl Batching {
    /// So many subscriptions, and so many bytes, at the most.
    pub fn new(members: usize, bytes: usize) -> Self {
        Self { members, bytes }
    }
}
