//! A feed's configuration: plain data, its builder, its validation.

mod builder;
mod hooks;
mod limit;
mod pem;
mod sections;
mod subscription;
mod url;
mod validate;

pub use builder::FeedBuilder;
pub use hooks::{Attempt, ProviderError, RetryContext, Target};
pub(crate) use hooks::{Hooks, Provider};
pub use limit::Limit;
pub use sections::{Connect, Limits, Overflow, Ping, Queue, Reconnect, Tls, TlsVersion};
pub use subscription::Subscription;
pub use url::FeedUrl;
pub(crate) use validate::check_subscription;

use crate::dialect::Matcher;
use crate::error::Error;
use crate::secret::Secret;
use crate::table::{self, Table};
use serde::{Deserialize, Serialize};
use serde_path_to_error::{Path, Segment};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything about a feed that data can express: the same for the Rust builder, the C ABI, the command line
/// and configuration files.
///
/// Only `url` has to be given. In JSON, durations are texts such as `"2s"` or `"500ms"`, sizes are numbers of
/// bytes, and unknown fields are refused. Serialized and in `Debug`, secrets are redacted: userinfo and query
/// values of the URL, header values, subscribe payloads.
///
/// ```
/// use livefeed::FeedConfig;
///
/// let config = FeedConfig::from_json(r#"{
///     "url": "ws://feed.example/ws",
///     "stale_after": "10s",
///     "subscriptions": [{
///         "id": "btc",
///         "subscribe": {"op": "subscribe", "channel": "trades.BTC"},
///         "data": {"pointer": "/channel", "equals": "trades.BTC"}
///     }],
///     "heartbeats": [{"text": "pong"}],
///     "reconnect": {"max": "5s"}
/// }"#)?;
/// config.validate()?;
/// # Ok::<(), livefeed::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct FeedConfig {
    /// Where to connect to: `ws://` or `ws://`. Userinfo is sent as basic authentication. Required.
    pub url: FeedUrl,
    /// The feed's name in events and logs. Default: `none`, which means the URL's host.
    pub name: Option<String>,
    /// Headers added to the upgrade request. Not those that the handshake makes itself (`Host`, `Connection`,
    /// `Upgrade`, `Sec-WebSocket-*`). Default: `{}`.
    pub headers: BTreeMap<String, Secret>,
    /// The subprotocols to offer, the preferred one first (RFC 6455 section 1.9). Default: `[]`.
    pub subprotocols: Vec<String>,
    /// How long there may be no data before the connection counts as stale, or `none`. Also the limit of
    /// subscriptions that have none of their own. From 1 ms to 365 days. Costs nothing while data flows. Data is
    /// what meets the matcher of a subscription; while one has no matcher, or there is none, every message that
    /// is not a heartbeat. Default: `60s`.
    pub stale_after: Limit,
    /// What to get data for. Default: `[]`: whatever the server sends.
    #[serde(deserialize_with = "table::many")]
    pub subscriptions: Vec<Subscription>,
    /// Messages that prove the line lives but are not data: they never refresh freshness. Tested before the
    /// subscriptions. Default: `[]`.
    pub heartbeats: Vec<Matcher>,
    /// Whether heartbeats reach the application like messages. Default: `false`.
    pub deliver_heartbeats: bool,
    /// How a connection is made.
    #[serde(deserialize_with = "table::one")]
    pub connect: Connect,
    /// Whom to trust.
    #[serde(deserialize_with = "table::one")]
    pub tls: Tls,
    /// How the line is kept alive.
    #[serde(deserialize_with = "table::one")]
    pub ping: Ping,
    /// When to try again, and when to give up.
    #[serde(deserialize_with = "table::one")]
    pub reconnect: Reconnect,
    /// The queue between the feed and the application.
    #[serde(deserialize_with = "table::one")]
    pub queue: Queue,
    /// Bounds on sizes, and on a stalled write.
    #[serde(deserialize_with = "table::one")]
    pub limits: Limits,
    /// How long closing waits for the server's Close frame (RFC 6455 section 7.1.2) before it aborts. From
    /// 1 ms to 365 days. Default: `2s`.
    #[serde(with = "limit::duration")]
    pub close_timeout: Duration,
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            url: FeedUrl::default(),
            name: None,
            headers: BTreeMap::new(),
            subprotocols: Vec::new(),
            stale_after: Limit::After(Duration::from_secs(60)),
            subscriptions: Vec::new(),
            heartbeats: Vec::new(),
            deliver_heartbeats: false,
            connect: Connect::default(),
            tls: Tls::default(),
            ping: Ping::default(),
            reconnect: Reconnect::default(),
            queue: Queue::default(),
            limits: Limits::default(),
            close_timeout: Duration::from_secs(2),
        }
    }
}

impl FeedConfig {
    /// The defaults, with this URL.
    pub fn new(url: impl Into<FeedUrl>) -> Self {
        Self { url: url.into(), ..Self::default() }
    }

    /// Reads a configuration from JSON. It still has to be validated.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] with the path of the field that is of a wrong type or unknown. It shows no value, as
    /// that might be a secret. Final.
    pub fn from_json(json: &str) -> Result<Self, Error> {
        let mut deserializer = serde_json::Deserializer::from_str(json);
        let Table(config) = serde_path_to_error::deserialize(&mut deserializer)
            .map_err(|error| Error::config(path(error.path()), problem(error.inner())))?;
        deserializer.end().map_err(|error| Error::config(ROOT, problem(&error)))?;
        Ok(config)
    }

    /// Checks everything that the types can't.
    ///
    /// Reads `tls.ca_file`, if there is one; nothing else is touched.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] for the first problem found, with the field's path and what would be right. Final.
    pub fn validate(&self) -> Result<(), Error> {
        validate::validate(self, false)
    }

    /// The feed's name in events and logs. For a valid configuration: else it could show a part of the URL.
    pub(crate) fn feed_name(&self) -> &str {
        match &self.name {
            Some(name) => name,
            None if self.url.is_empty() => "feed",
            None => self.url.host(),
        }
    }
}

/// The path of the configuration as a whole.
const ROOT: &str = "(top level)";

/// A path as in validation: `subscriptions[2].data`, `headers["X-Foo"]`.
fn path(path: &Path) -> String {
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => out += &format!("[{index}]"),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if out == "headers" {
                    out += &format!("[{key:?}]");
                } else {
                    out = if out.is_empty() { key.clone() } else { out + "." + key };
                }
            }
            Segment::Unknown => {}
        }
    }
    if out.is_empty() { ROOT.to_owned() } else { out }
}

/// What serde says, less the value it found: that might be a secret in the wrong place.
fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    for front in ["invalid type: ", "invalid value: "] {
        if let Some(found) = text.strip_prefix(front)
            && let Some((found, expected)) = found.rsplit_once(", expected ")
        {
            let kind = found.split([' ', '`']).next().unwrap_or_default();
            let expected = match expected.split_once(' ').unwrap_or((expected, "")) {
                ("u16" | "u32" | "usize", place) => format!("a whole number, not negative {place}"),
                _ => expected.to_owned(),
            };
            return format!("is {} {kind} that does not fit: expected {expected}", article(kind));
        }
    }
    if text.starts_with("unknown variant ")
        && let Some((_, expected)) = text.rsplit_once(", expected ")
    {
        return format!("is a name that does not fit: expected {expected}");
    }
    text
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}

#[cfg(test)]
mod tests;
