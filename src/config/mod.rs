//! A feed's configuration: plain data, its builder, its validation.

mod alerts;
mod builder;
mod ends;
#[cfg(feature = "capi")]
mod given;
mod hooks;
mod hours;
mod keepalive;
mod ladder;
mod limit;
mod none;
mod pacing;
mod pem;
mod reading;
mod sections;
mod stale_after;
mod subscription;
mod terms;
mod url;
mod validate;
mod vars;

pub use alerts::{Alerts, NoDataAlert, ReconnectAlert};
pub use builder::FeedBuilder;
pub use ends::{CodeRange, EndRule};
#[cfg(feature = "capi")]
pub(crate) use given::{check_given, without_given};
pub use hooks::{Attempt, ProviderError, RetryContext, Target};
pub(crate) use hooks::{Hooks, Provider};
pub use hours::{HourLimit, Hours, Window};
pub use keepalive::{FirstAfter, Keepalive, KeepaliveDue};
pub use ladder::RepairStep;
pub use limit::Limit;
pub use pacing::{Batching, ConnectPacing, Pacing, PacingScope};
pub use sections::{Connect, Limits, Overflow, Ping, Queue, Reconnect, Tls, TlsVersion};
pub use stale_after::{Adaptive, StaleAfter};
pub use subscription::Subscription;
pub use terms::{Ack, Terms};
pub use url::FeedUrl;
pub use vars::Variables;

use crate::dialect::{Codec, LoginStep, Matcher, Rule, RuleKind, SequenceRule};
use crate::error::Error;
use crate::secret::Secret;
use crate::table::{self, Table};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Everything about a feed that data can express: the same for the Rust builder, the C ABI, the command line
/// and configuration files.
///
/// Only `url` has to be given. In JSON, durations are texts such as `"2s"` or `"500ms"` (with `us`, `ms`, `s`, `m`,
/// `h`, `d`, also together as in `"1h 30m"`), sizes are numbers of bytes, and unknown fields are refused. Serialized and in `Debug`, secrets are redacted: userinfo and query
/// values of URLs, header values, the values of variables, and whatever is sent.
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
    /// Where to connect to: `ws://` or `wss://`. Userinfo is sent as basic authentication. Required.
    ///
    /// Path and query may have placeholders, which are filled in for each attempt and percent-encoded: `${cursor}` (see
    /// `cursor`), what `keep` names, `${time_s}` and the like. What is not known at first needs a default, and a parameter
    /// of the query that comes out empty is left out: `wss://host/subscribe?cursor=${cursor|}`.
    pub url: FeedUrl,
    /// Where else the same can be got, in order. After an attempt that failed, and for the rung `next_endpoint` of
    /// `repair`, the next one is tried; after the last, `url` again. One that delivers data is kept. Default: `[]`.
    pub endpoints: Vec<FeedUrl>,
    /// The feed's name in events and logs. Default: `none`, which means the URL's host.
    pub name: Option<String>,
    /// Headers added to the upgrade request. Not those that the handshake makes itself (`Host`, `Connection`,
    /// `Upgrade`, `Sec-WebSocket-*`). Default: `{}`.
    pub headers: BTreeMap<String, Secret>,
    /// The subprotocols to offer, the preferred one first (RFC 6455 section 1.9). Default: `[]`.
    pub subprotocols: Vec<String>,
    /// How long there may be no data before the connection counts as stale, or `none`, or a limit that is
    /// learned from the data ([`Adaptive`]). Also the limit of
    /// subscriptions that have none of their own, each of which learns for itself. From 1 ms to 365 days. Costs nothing while data flows. Data is
    /// what meets the matcher of a subscription; while one has no matcher, or there is none, every message that
    /// is not a heartbeat. Default: `60s`.
    pub stale_after: StaleAfter,
    /// Named hours, such as those of a market, which `by_hours` refers to. At most 100. Needs the feature `schedule`.
    /// Default: `{}`.
    #[serde(deserialize_with = "hours::named")]
    pub hours: BTreeMap<String, Hours>,
    /// Limits by hours, in place of `stale_after`: the first that applies counts. They hold for the connection, and for
    /// subscriptions that have no `by_hours` of their own, whatever their `stale_after`. At most 32. Default: `[]`.
    #[serde(deserialize_with = "table::many")]
    pub by_hours: Vec<HourLimit>,
    /// What to get data for. Default: `[]`: whatever the server sends.
    pub subscriptions: Vec<Subscription>,
    /// What subscriptions leave out: each field but `id`. Default: `{}`.
    #[serde(deserialize_with = "table::one")]
    pub defaults: Terms,
    /// Messages that prove the line lives but are not data: they never refresh freshness. Short for rules with
    /// `"is": "heartbeat"` in front of the others. Default: `[]`.
    pub heartbeats: Vec<Matcher>,
    /// What the server's other messages mean: acknowledgements, refusals, notices and so on. The first that fits counts; what
    /// none of them knows is data. Default: `[]`.
    #[serde(deserialize_with = "table::many")]
    pub rules: Vec<Rule>,
    /// What stands between a WebSocket message and the messages in it, in order. Default: `[]`.
    pub codecs: Vec<Codec>,
    /// What has to be said before anything else, in order, within `connect.timeout`. Default: `[]`.
    #[serde(deserialize_with = "table::many")]
    pub login: Vec<LoginStep>,
    /// Where messages have what the next connection can take up from: the JSON pointer to a value (`-1` is the
    /// last element of an array). That of the last data of
    /// the feed that has one, whosever it was, is `${cursor}` in `url`, `endpoints` and the login, on the next connection. See `cursor` of a
    /// subscription for what is taken up one by one. Default: `none`.
    pub cursor: Option<String>,
    /// The variables that outlive their connection, among those that rules, the login and keepalives capture and that acknowledgements
    /// bind: a session to resume, say. They are known until there is a newer value. Default: `[]`.
    pub keep: Vec<String>,
    /// Which numbers, counted over all messages of a connection, show that some are missing. Default: `none`.
    pub sequence: Option<SequenceRule>,
    /// Whether heartbeats reach the application like messages. Default: `false`.
    pub deliver_heartbeats: bool,
    /// Whether what a rule knows as something else than a heartbeat (acknowledgements, refusals, notices) reaches the
    /// application like messages. Default: `false`.
    pub deliver_control: bool,
    /// What is sent again and again while a connection is up. Default: `[]`; WebSocket pings on a silent line are made
    /// without it, see `ping`.
    pub keepalives: Vec<Keepalive>,
    /// Limits on what is sent. All of them hold. Default: `[]`.
    #[serde(deserialize_with = "table::many")]
    pub pacing: Vec<Pacing>,
    /// How many subscriptions one message may ask for. Needs a `subscribe` template with a place for more than one
    /// (`$each`, `$join`). Default: `none`, one each.
    #[serde(serialize_with = "none::or", deserialize_with = "none::or_table")]
    pub batch: Option<Batching>,
    /// What is done after certain ends. The first that fits counts, in front of the default policy; a
    /// [`retry_policy`](FeedBuilder::retry_policy) comes before it. Default: `[]`.
    #[serde(deserialize_with = "table::many")]
    pub ends: Vec<EndRule>,
    /// How often a subscription may be to blame for it that the server hung up (written, unanswered, and nothing else
    /// was in question), or that the feed gave a connection up for want of its answer, before it is set aside, with an
    /// alert, to be tried later and alone. At least 1, or `none` for never. Default: `3`.
    #[serde(serialize_with = "none::or", deserialize_with = "none::or_number")]
    pub quarantine_after: Option<u32>,
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
    /// What a person is told of.
    #[serde(deserialize_with = "table::one")]
    pub alerts: Alerts,
    /// Bounds on sizes, and on a stalled write.
    #[serde(deserialize_with = "table::one")]
    pub limits: Limits,
    /// How long closing waits for the server's Close frame (RFC 6455 section 7.1.2) before it aborts. From
    /// 1 ms to 365 days. Default: `2s`.
    #[serde(with = "limit::duration")]
    pub close_timeout: Duration,
    /// What editors look for in a file.
    #[serde(rename = "$schema", skip_serializing)]
    schema: Option<String>,
}

/// Reads a part of a configuration from JSON; `what` stands in the error for the part as a whole.
#[cfg(feature = "capi")]
pub(crate) fn read_part<T: serde::de::DeserializeOwned>(what: &str, json: &str) -> Result<T, Error> {
    let mut deserializer = serde_json::Deserializer::from_str(json);
    let part = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = match reading::path(error.path()) {
            path if path == reading::ROOT => what.to_owned(),
            path => format!("{what}.{path}"),
        };
        Error::config(path, reading::problem(error.inner()))
    })?;
    deserializer.end().map_err(|error| Error::config(what, reading::problem(&error)))?;
    Ok(part)
}

impl Default for FeedConfig {
    fn default() -> Self {
        Self {
            url: FeedUrl::default(),
            endpoints: Vec::new(),
            name: None,
            headers: BTreeMap::new(),
            subprotocols: Vec::new(),
            stale_after: StaleAfter::After(Duration::from_secs(60)),
            hours: BTreeMap::new(),
            by_hours: Vec::new(),
            subscriptions: Vec::new(),
            defaults: Terms::default(),
            heartbeats: Vec::new(),
            rules: Vec::new(),
            codecs: Vec::new(),
            login: Vec::new(),
            cursor: None,
            keep: Vec::new(),
            sequence: None,
            deliver_heartbeats: false,
            deliver_control: false,
            keepalives: Vec::new(),
            pacing: Vec::new(),
            batch: None,
            ends: Vec::new(),
            quarantine_after: Some(3),
            connect: Connect::default(),
            tls: Tls::default(),
            ping: Ping::default(),
            reconnect: Reconnect::default(),
            queue: Queue::default(),
            alerts: Alerts::default(),
            limits: Limits::default(),
            close_timeout: Duration::from_secs(2),
            schema: None,
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
            .map_err(|error| Error::config(reading::path(error.path()), reading::problem(error.inner())))?;
        deserializer.end().map_err(|error| Error::config(reading::ROOT, reading::problem(&error)))?;
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
        validate::validate(self, &Hooks::default())
    }

    /// A subscription of this feed with every term that holds for it: its own, those of `defaults`, and those that hold
    /// if neither says anything.
    ///
    /// ```
    /// use livefeed::{FeedConfig, Subscription};
    ///
    /// let config = FeedConfig::new("wss://feed.example/ws");
    /// assert_eq!(config.resolved(&Subscription::new("btc")).terms.stale_after, Some(config.stale_after));
    /// ```
    pub fn resolved(&self, subscription: &Subscription) -> Subscription {
        let mut terms = subscription.terms.or(&self.defaults);
        let stale_after = *terms.stale_after.get_or_insert(self.stale_after);
        terms.first_data_within.get_or_insert(stale_after.fixed());
        terms.by_hours.get_or_insert_with(|| self.by_hours.clone());
        if let Some(lag) = &mut terms.lag {
            lag.after = lag.after.or(stale_after.longest());
        }
        if let (Some(frozen), Some(sequence)) = (&mut terms.frozen, &terms.sequence) {
            frozen.pointer = frozen.pointer.take().or_else(|| sequence.number().map(str::to_owned));
        }
        terms.ack.get_or_insert_with(|| if self.has_ack_rule() { Ack::Rule } else { Ack::None });
        terms.ack_timeout.get_or_insert(Terms::ACK_TIMEOUT);
        terms.on_ack_timeout.get_or_insert_default();
        terms.topic.get_or_insert_with(|| "${name}".to_owned());
        terms.repair.get_or_insert_with(|| RepairStep::DEFAULT.to_vec());
        Subscription { id: subscription.id.clone(), terms }
    }

    /// Whether a rule knows acknowledgements.
    fn has_ack_rule(&self) -> bool {
        self.rules.iter().any(|rule| rule.is == RuleKind::Ack)
    }

    /// Checks a subscription that joins an open feed.
    pub(crate) fn check_subscription(
        &self,
        path: &str,
        subscription: &Subscription,
        has_dialect: bool,
    ) -> Result<(), Error> {
        validate::check_subscription(path, self, subscription, has_dialect)
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

#[cfg(test)]
mod tests;
