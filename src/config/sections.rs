//! The sections of a configuration.

use super::limit::{self, Limit};
use super::none;
use super::pacing::ConnectPacing;
use crate::table;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// How a connection is made. Section `connect`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Connect {
    /// The budget of a whole attempt: name resolution, TCP, TLS, upgrade and login together. From 1 ms to 365 days.
    /// Default: `10s`.
    #[serde(with = "limit::duration")]
    pub timeout: Duration,
    /// How long one address is tried before the next is tried beside it (RFC 8305 section 5). From 1 ms to
    /// less than `timeout`. Smaller connects sooner where an address is dead, at the cost of idle SYNs.
    /// Default: `250ms`.
    #[serde(with = "limit::duration")]
    pub stagger: Duration,
    /// Whether small writes go out at once (TCP_NODELAY). Off saves packets and delays pongs and sends.
    /// Default: `true`.
    pub nodelay: bool,
    /// Limits on attempts, such as `{"attempts": 300, "per": "5m"}`: for one host, of all feeds of this process
    /// together. All of them hold. An attempt over a limit waits. Default: `[]`.
    #[serde(deserialize_with = "table::many")]
    pub pacing: Vec<ConnectPacing>,
}

impl Default for Connect {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(10),
            stagger: Duration::from_millis(250),
            nodelay: true,
            pacing: Vec::new(),
        }
    }
}

/// Whom to trust. Section `tls`; for `wss://` URLs only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Tls {
    /// A PEM file of certificates to trust beside those of the operating system. Read when the feed is
    /// opened; at most 4 MiB. Default: `none`.
    pub ca_file: Option<PathBuf>,
    /// The same as PEM texts. Default: `[]`.
    pub extra_roots_pem: Vec<String>,
    /// The name to ask for (SNI) and to check the certificate against, in place of the URL's host.
    /// Default: `none`.
    pub server_name: Option<String>,
    /// The lowest TLS version to speak. Default: `1.2`.
    pub min_version: TlsVersion,
    /// Takes any certificate, also an attacker's. For tests. Default: `false`.
    pub danger_accept_invalid_certs: bool,
    /// Takes a certificate made out to another name. For tests. Default: `false`.
    pub danger_accept_invalid_hostnames: bool,
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            ca_file: None,
            extra_roots_pem: Vec::new(),
            server_name: None,
            min_version: TlsVersion::V1_2,
            danger_accept_invalid_certs: false,
            danger_accept_invalid_hostnames: false,
        }
    }
}

/// A version of TLS. Those before 1.2 are deprecated (RFC 8996) and not offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[non_exhaustive]
pub enum TlsVersion {
    /// TLS 1.2, in data `"1.2"`.
    #[serde(rename = "1.2")]
    V1_2,
    /// TLS 1.3, in data `"1.3"`. Apple's library can't be held to it: there every handshake fails.
    #[serde(rename = "1.3")]
    V1_3,
}

/// How the line is kept alive. Section `ping`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Ping {
    /// After how long without a single byte received a ping is written (RFC 6455 section 5.5.2), or `none`
    /// for never. From 1 ms to 365 days. A busy feed sends no pings. Default: `20s`.
    pub after: Limit,
    /// How long after the ping the connection is given up if nothing at all came back. From 1 ms to 365 days.
    /// Default: `10s`.
    #[serde(with = "limit::duration")]
    pub timeout: Duration,
}

impl Default for Ping {
    fn default() -> Self {
        Self { after: Limit::After(Duration::from_secs(20)), timeout: Duration::from_secs(10) }
    }
}

/// When to try again, and when to give up. Section `reconnect`.
///
/// The delay before an attempt is random between `floor` and a bound. The bound starts at `first`, doubles with
/// each attempt and stops at `max`. A server that refuses with `Retry-After` is given that much time at least, up to 24
/// hours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Reconnect {
    /// The bound of the first delay. From `floor` to `max`. Default: `500ms`.
    #[serde(with = "limit::duration")]
    pub first: Duration,
    /// The shortest delay. From 1 ms to `first`. Default: `100ms`.
    #[serde(with = "limit::duration")]
    pub floor: Duration,
    /// The longest delay. From `first` to 365 days. Default: `30s`.
    #[serde(with = "limit::duration")]
    pub max: Duration,
    /// How long a connection must be up, and deliver data, before the bound starts again at `first`. One that ended
    /// stale never counts. From 1 ms to 365 days. Default: `30s`.
    #[serde(with = "limit::duration")]
    pub stable_after: Duration,
    /// The feed closes after this many attempts in a row that led to no data: they failed, or their connections
    /// ended without any. At least 1, or `none`. Default: `none`.
    #[serde(serialize_with = "none::or", deserialize_with = "none::or_number")]
    pub max_attempts: Option<u32>,
    /// The feed closes after this long without a connection. From 1 ms to 365 days, or `none`.
    /// Default: `none`.
    pub max_downtime: Limit,
    /// The HTTP statuses of an upgrade refused that time won't heal. From 200 to 599, each once.
    /// Default: `[400, 401, 403, 404, 410, 426]`.
    pub fatal_statuses: Vec<u16>,
    /// Whether those statuses, and a certificate that isn't trusted, close a feed that has never been up. If
    /// not, and for a feed that has been up, they are retried at the longest delay, with an alert.
    /// Default: `true`.
    pub fatal_when_never_up: bool,
    /// The code of the Close frame with which the feed leaves a connection to make a new one (RFC 6455 section 7.4.1):
    /// 1000, 1001, or from 3000 to 4999. A server that can resume a session may forget it at 1000 and 1001. Closing the
    /// feed itself says 1000 in any case. Default: `1000`.
    pub close_code: u16,
}

impl Default for Reconnect {
    fn default() -> Self {
        Self {
            first: Duration::from_millis(500),
            floor: Duration::from_millis(100),
            max: Duration::from_secs(30),
            stable_after: Duration::from_secs(30),
            max_attempts: None,
            max_downtime: Limit::None,
            fatal_statuses: vec![400, 401, 403, 404, 410, 426],
            fatal_when_never_up: true,
            close_code: 1000,
        }
    }
}

/// The queue between the feed and the application. Section `queue`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Queue {
    /// Its bound in messages. From 1 to 16,777,216. Costs about 100 bytes for each message that waits.
    /// Default: `65536`.
    pub messages: usize,
    /// Its bound in bytes of payload, exceeded by at most what one read from the socket
    /// completes (a whole message, at the most). From
    /// `limits.message_bytes` to 1 TiB. Default: `64 MiB`.
    pub bytes: usize,
    /// What happens when it is full. Default: `block`.
    pub overflow: Overflow,
}

impl Default for Queue {
    fn default() -> Self {
        Self { messages: 65_536, bytes: 64 << 20, overflow: Overflow::Block }
    }
}

/// What happens when the queue is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Overflow {
    /// Nothing more is read until there is room, but for the end of a feed that is being [closed](crate::Feed::close).
    /// Nothing is lost before that, but while nothing is read pings go unanswered, and the
    /// server may hang up. In JSON `"block"`.
    Block,
    /// The oldest messages are dropped, counted, and marked by a gap. In JSON `"drop_oldest"`.
    DropOldest,
    /// Of each subscription the latest message is kept; the others are dropped, counted, and marked by a
    /// gap. In JSON `"keep_latest"`.
    KeepLatest,
}

/// Bounds on sizes, and on a stalled write. Section `limits`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Limits {
    /// The largest message taken from the server, in bytes; a larger one ends the connection. From 125 (a
    /// control frame's payload, RFC 6455 section 5.5) to 1 GiB. Default: `16 MiB`.
    pub message_bytes: usize,
    /// The largest answer to the upgrade request, in bytes. From 512 to 1 MiB. Default: `16 KiB`.
    pub upgrade_response_bytes: usize,
    /// How many bytes may wait to be sent before `send` refuses more. From 125 to 1 GiB. Default: `4 MiB`.
    pub send_bytes: usize,
    /// The largest subscribe or unsubscribe message, in bytes. From 125 to 1 GiB. Default: `1 MiB`.
    pub subscribe_bytes: usize,
    /// How long a write may make no progress before the connection is given up. From 1 ms to 365 days.
    /// Default: `10s`.
    #[serde(with = "limit::duration")]
    pub write_timeout: Duration,
    /// The size of the read buffer, in bytes, allocated for each feed. From 1 KiB to 16 MiB. A larger one costs
    /// memory, and a little time for each `recv`, and saves system calls on a busy feed. Default: `64 KiB`.
    pub read_buffer_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes: 16 << 20,
            upgrade_response_bytes: 16 << 10,
            send_bytes: 4 << 20,
            subscribe_bytes: 1 << 20,
            write_timeout: Duration::from_secs(10),
            read_buffer_bytes: 64 << 10,
        }
    }
}
