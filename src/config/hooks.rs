//! What data can't express: the application's callbacks, and what they are told.

use super::{FeedUrl, validate};
use crate::dialect::{self, Dialect};
use crate::error::{EndReason, Error};
use crate::event::{Alert, Event};
use crate::frame::OnFrame;
use crate::policy::verdict::Decision;
use crate::secret::Secret;
use crate::transport::Endpoint;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) type Handler = Box<dyn FnMut(Event) + Send>;
pub(crate) type OnAlert = Box<dyn Fn(&Alert) + Send + Sync>;
pub(crate) type Wake = Arc<dyn Fn() + Send + Sync>;
pub(crate) type Provider = Box<dyn FnMut(&Attempt) -> Result<Target, ProviderError> + Send>;
pub(crate) type RetryPolicy = Box<dyn Fn(&EndReason, &RetryContext) -> Option<Decision> + Send>;

/// The callbacks of a feed.
#[derive(Default)]
pub(crate) struct Hooks {
    pub(crate) handler: Option<Handler>,
    pub(crate) on_wake: Option<Wake>,
    pub(crate) on_alert: Option<OnAlert>,
    pub(crate) on_frame: Option<OnFrame>,
    pub(crate) provider: Option<Provider>,
    pub(crate) retry_policy: Option<RetryPolicy>,
    pub(crate) dialect: Option<Box<dyn Dialect>>,
}

impl fmt::Debug for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hooks")
            .field("handler", &self.handler.is_some())
            .field("on_wake", &self.on_wake.is_some())
            .field("on_alert", &self.on_alert.is_some())
            .field("on_frame", &self.on_frame.is_some())
            .field("provider", &self.provider.is_some())
            .field("retry_policy", &self.retry_policy.is_some())
            .field("dialect", &self.dialect.is_some())
            .finish()
    }
}

/// What a provider is told about the attempt it provides for.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attempt {
    /// Counts the attempts since the last connection, from 1.
    pub number: u32,
    /// The epoch the connection will have if the attempt succeeds.
    pub epoch: u64,
    /// Which endpoint is meant, from 0: one more after each attempt that failed, and after the rung `next_endpoint`.
    pub endpoint: usize,
    /// How the attempt or connection before ended, if there was one.
    pub previous: Option<EndReason>,
    /// How far the data of the feed has come: the value at [`FeedConfig::cursor`](crate::FeedConfig::cursor) in the last
    /// data; `None` if there is none.
    pub cursor: Option<Value>,
    pub(crate) kept: Arc<dialect::Variables>,
}

impl Attempt {
    /// The value of a variable that an earlier connection left behind: one of [`FeedConfig::keep`](crate::FeedConfig::keep).
    pub fn var(&self, name: &str) -> Option<&Value> {
        self.kept.get(name)
    }
}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was kept may be secret.
        f.debug_struct("Attempt")
            .field("number", &self.number)
            .field("epoch", &self.epoch)
            .field("endpoint", &self.endpoint)
            .field("previous", &self.previous)
            .finish_non_exhaustive()
    }
}

/// Where an attempt goes to: what a provider returns.
///
/// ```
/// use livefeed::Target;
///
/// let target = Target::new("wss://feed.example/ws").header("Authorization", "Bearer hunter2");
/// assert!(!format!("{target:?}").contains("hunter2"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// The URL.
    pub url: FeedUrl,
    /// Headers in addition to the configured ones; of the same name, this one is sent.
    pub headers: BTreeMap<String, Secret>,
    /// Subprotocols in place of the configured ones; none: the configured ones.
    pub subprotocols: Vec<String>,
}

impl Target {
    /// An endpoint, with the configured headers and subprotocols.
    pub fn new(url: impl Into<FeedUrl>) -> Self {
        Self { url: url.into(), headers: BTreeMap::new(), subprotocols: Vec::new() }
    }

    /// Adds a header.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.headers.insert(name.into(), value.into());
        self
    }

    /// Adds a subprotocol to offer.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.subprotocols.push(name.into());
        self
    }

    /// Checks it like the configuration; the error says what would be right, and shows no secret.
    pub(crate) fn check(&self) -> Result<(), Error> {
        Endpoint::parse(self.url.expose()).map_err(|problem| Error::config("url", problem))?;
        if self.url.is_secure() && !cfg!(feature = "native-tls") {
            return Err(Error::config("url", "asks for TLS: enable livefeed's feature `native-tls`"));
        }
        validate::check_headers(&self.headers)?;
        validate::check_subprotocols(&self.subprotocols)
    }

    /// Its headers over the configured ones. Names ignore case.
    pub(crate) fn merged_headers(&self, configured: &BTreeMap<String, Secret>) -> BTreeMap<String, Secret> {
        let mut merged = self.headers.clone();
        for (name, value) in configured {
            if !self.headers.keys().any(|own| own.eq_ignore_ascii_case(name)) {
                merged.insert(name.clone(), value.clone());
            }
        }
        merged
    }
}

/// Why a provider has no endpoint for an attempt.
///
/// The text appears in events and logs: put no secret into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProviderError {
    text: String,
    fatal: bool,
}

impl ProviderError {
    /// It may work later: the feed asks again after a delay.
    pub fn retry(text: impl Into<String>) -> Self {
        Self { text: text.into(), fatal: false }
    }

    /// It will not work: the feed closes.
    pub fn fatal(text: impl Into<String>) -> Self {
        Self { text: text.into(), fatal: true }
    }

    /// Whether the feed closes.
    pub fn is_fatal(&self) -> bool {
        self.fatal
    }
}

impl fmt::Display for ProviderError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for ProviderError {}

/// What a retry policy is told besides the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct RetryContext {
    /// Whether the feed has been up at least once.
    pub ever_connected: bool,
    /// The attempts in a row, before this one, that led to no data: they failed, or their connections ended
    /// without any.
    pub attempts: u32,
    /// How long there has been no connection.
    pub down: Duration,
}
