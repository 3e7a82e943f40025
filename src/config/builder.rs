//! Puts a feed together, in Rust.

use super::hooks::{Attempt, Hooks, ProviderError, RetryContext, Target};
use super::{
    Alerts, Batching, Connect, EndRule, FeedConfig, FeedUrl, HourLimit, Hours, Keepalive, Limits, Overflow,
    Pacing, Ping, Queue, Reconnect, StaleAfter, Subscription, Tls, validate,
};
use crate::dialect::{Codec, Dialect, LoginStep, Matcher, Rule, SequenceRule};
use crate::error::{EndReason, Error};
use crate::event::{Alert, Event};
use crate::frame::Frame;
use crate::policy::verdict::Decision;
use crate::secret::Secret;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Builds a feed: the settings of [`FeedConfig`], and the callbacks that data can't express.
///
/// Setters are named as the fields; those of a section are reached through a closure. None of them fails or
/// panics: what is wrong is said at the end, with the field's path.
///
/// ```
/// use livefeed::{FeedBuilder, Matcher, Subscription};
/// use std::time::Duration;
///
/// let builder = FeedBuilder::new("wss://feed.example/ws")
///     .stale_after(Duration::from_secs(10))
///     .header("Authorization", "Bearer hunter2")
///     .subscription(Subscription::new("btc").subscribe_text("sub btc"))
///     .heartbeat(Matcher::text("pong"))
///     .reconnect(|r| r.max = Duration::from_secs(5));
/// # let _ = builder;
/// ```
#[derive(Debug)]
pub struct FeedBuilder {
    config: FeedConfig,
    hooks: Hooks,
}

impl From<FeedConfig> for FeedBuilder {
    fn from(config: FeedConfig) -> Self {
        Self { config, hooks: Hooks::default() }
    }
}

impl FeedBuilder {
    /// A feed from this URL, with the defaults.
    pub fn new(url: impl Into<FeedUrl>) -> Self {
        Self::from(FeedConfig::new(url))
    }

    /// Adds a URL to try where the ones before have failed.
    pub fn endpoint(mut self, url: impl Into<FeedUrl>) -> Self {
        self.config.endpoints.push(url.into());
        self
    }

    /// Sets the feed's name in events and logs.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.config.name = Some(name.into());
        self
    }

    /// Adds a header to the upgrade request; one of the same name is replaced.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Secret>) -> Self {
        self.config.headers.insert(name.into(), value.into());
        self
    }

    /// Adds a subprotocol to offer; the first is the preferred one.
    pub fn subprotocol(mut self, name: impl Into<String>) -> Self {
        self.config.subprotocols.push(name.into());
        self
    }

    /// Sets how long there may be no data, or how that is learned.
    pub fn stale_after(mut self, limit: impl Into<StaleAfter>) -> Self {
        self.config.stale_after = limit.into();
        self
    }

    /// Lets the feed be without data for as long as it likes, and each subscription that sets no limit of its own.
    pub fn no_stale_limit(mut self) -> Self {
        self.config.stale_after = StaleAfter::None;
        self
    }

    /// Names hours, for `by_hours`; those of the same name are replaced.
    pub fn hours(mut self, name: impl Into<String>, hours: Hours) -> Self {
        self.config.hours.insert(name.into(), hours);
        self
    }

    /// Sets limits by hours, in place of `stale_after`: the first that applies counts.
    pub fn by_hours(mut self, limits: impl IntoIterator<Item = HourLimit>) -> Self {
        self.config.by_hours = limits.into_iter().collect();
        self
    }

    /// Adds a subscription.
    pub fn subscription(mut self, subscription: Subscription) -> Self {
        self.config.subscriptions.push(subscription);
        self
    }

    /// Changes what subscriptions leave out. The closure is given a subscription without a name, for the sake of its
    /// setters.
    ///
    /// ```
    /// use livefeed::{FeedBuilder, Matcher, Subscription};
    /// use serde_json::json;
    ///
    /// let builder = FeedBuilder::new("wss://feed.example/ws")
    ///     .defaults(|each| {
    ///         each.subscribe_json(json!({"op": "subscribe", "args": ["trades.${symbol}"]}))
    ///             .data(Matcher::pointer("/topic", "trades.${symbol}"))
    ///     })
    ///     .subscription(Subscription::new("btc").var("symbol", "BTC-USD"))
    ///     .subscription(Subscription::new("eth").var("symbol", "ETH-USD"));
    /// # let _ = builder;
    /// ```
    pub fn defaults(mut self, change: impl FnOnce(Subscription) -> Subscription) -> Self {
        let terms = std::mem::take(&mut self.config.defaults);
        let mut each = Subscription::new("");
        each.terms = terms;
        self.config.defaults = change(each).terms;
        self
    }

    /// Adds a kind of message that proves the line lives but is not data.
    pub fn heartbeat(mut self, matcher: Matcher) -> Self {
        self.config.heartbeats.push(matcher);
        self
    }

    /// Sets whether heartbeats reach the application like messages.
    pub fn deliver_heartbeats(mut self, deliver: bool) -> Self {
        self.config.deliver_heartbeats = deliver;
        self
    }

    /// Adds what messages of the server mean; the rules added first come first.
    pub fn rule(mut self, rule: Rule) -> Self {
        self.config.rules.push(rule);
        self
    }

    /// Adds what stands between a WebSocket message and the messages in it, after those added before.
    pub fn codec(mut self, codec: Codec) -> Self {
        self.config.codecs.push(codec);
        self
    }

    /// Adds a step of the login, after those added before.
    pub fn login(mut self, step: LoginStep) -> Self {
        self.config.login.push(step);
        self
    }

    /// Sets which numbers, counted over all messages of a connection, show that some are missing.
    pub fn sequence(mut self, rule: SequenceRule) -> Self {
        self.config.sequence = Some(rule);
        self
    }

    /// Sets whether what rules know as something else than a heartbeat reaches the application like messages.
    pub fn deliver_control(mut self, deliver: bool) -> Self {
        self.config.deliver_control = deliver;
        self
    }

    /// Adds something to send again and again while a connection is up.
    pub fn keepalive(mut self, keepalive: Keepalive) -> Self {
        self.config.keepalives.push(keepalive);
        self
    }

    /// Adds a limit on what is sent.
    pub fn pacing(mut self, pacing: Pacing) -> Self {
        self.config.pacing.push(pacing);
        self
    }

    /// Lets one message ask for up to so many subscriptions, in up to so many bytes.
    pub fn batch(mut self, members: usize, bytes: usize) -> Self {
        self.config.batch = Some(Batching::new(members, bytes));
        self
    }

    /// Adds what is done after a certain end; the rules added first come first.
    pub fn end_rule(mut self, rule: EndRule) -> Self {
        self.config.ends.push(rule);
        self
    }

    /// Sets where messages have what the next connection takes up from. See [`FeedConfig::cursor`].
    pub fn cursor(mut self, pointer: impl Into<String>) -> Self {
        self.config.cursor = Some(pointer.into());
        self
    }

    /// Keeps a captured or bound variable beyond its connection. See [`FeedConfig::keep`].
    pub fn keep(mut self, name: impl Into<String>) -> Self {
        self.config.keep.push(name.into());
        self
    }

    /// Sets after how many connections that it seems to have ended a subscription is set aside and tried alone.
    pub fn quarantine_after(mut self, connections: u32) -> Self {
        self.config.quarantine_after = Some(connections);
        self
    }

    /// Changes how a connection is made.
    pub fn connect(mut self, change: impl FnOnce(&mut Connect)) -> Self {
        change(&mut self.config.connect);
        self
    }

    /// Changes whom to trust.
    pub fn tls(mut self, change: impl FnOnce(&mut Tls)) -> Self {
        change(&mut self.config.tls);
        self
    }

    /// Sets a PEM file of certificates to trust beside those of the operating system.
    pub fn ca_file(self, path: impl Into<PathBuf>) -> Self {
        self.tls(|tls| tls.ca_file = Some(path.into()))
    }

    /// Changes how the line is kept alive.
    pub fn ping(mut self, change: impl FnOnce(&mut Ping)) -> Self {
        change(&mut self.config.ping);
        self
    }

    /// Changes when to try again, and when to give up.
    pub fn reconnect(mut self, change: impl FnOnce(&mut Reconnect)) -> Self {
        change(&mut self.config.reconnect);
        self
    }

    /// Closes the feed after this many attempts in a row that led to no data: see [`Reconnect::max_attempts`].
    pub fn max_attempts(self, attempts: u32) -> Self {
        self.reconnect(|reconnect| reconnect.max_attempts = Some(attempts))
    }

    /// Changes the queue between the feed and the application.
    pub fn queue(mut self, change: impl FnOnce(&mut Queue)) -> Self {
        change(&mut self.config.queue);
        self
    }

    /// Sets what happens when the queue is full.
    pub fn overflow(self, overflow: Overflow) -> Self {
        self.queue(|queue| queue.overflow = overflow)
    }

    /// Changes what a person is told of.
    pub fn alerts(mut self, change: impl FnOnce(&mut Alerts)) -> Self {
        change(&mut self.config.alerts);
        self
    }

    /// Changes the bounds on sizes and on a stalled write.
    pub fn limits(mut self, change: impl FnOnce(&mut Limits)) -> Self {
        change(&mut self.config.limits);
        self
    }

    /// Sets how long closing waits for the server's Close frame.
    pub fn close_timeout(mut self, timeout: Duration) -> Self {
        self.config.close_timeout = timeout;
        self
    }

    /// Changes anything in the configuration.
    pub fn config(mut self, change: impl FnOnce(&mut FeedConfig)) -> Self {
        change(&mut self.config);
        self
    }

    /// Calls this for each event, on the reader thread, in place of a queue to read from.
    ///
    /// It may call any method of the feed; those that wait for this thread return
    /// [`Error::WouldDeadlock`]. A panic in it is caught and reported, and the feed goes on.
    ///
    /// While it runs, nothing is read, and no verdict is given. Events that are made while the reader waits for the
    /// server (`Subscribed`, the gap of a new subscription, an alert) wake the reader, and reach it at once; on Windows
    /// they come together with the next thing that the server sends, or at the next deadline. With a handler there is
    /// nothing to read by `recv` and the iterators, and `on_wake` is not called.
    pub fn handler(mut self, handler: impl FnMut(Event) + Send + 'static) -> Self {
        self.hooks.handler = Some(Box::new(handler));
        self
    }

    /// Calls this when the queue stops being empty, on a livefeed thread: to ask a GUI for a repaint.
    pub fn on_wake(mut self, wake: impl Fn() + Send + Sync + 'static) -> Self {
        self.hooks.on_wake = Some(Arc::new(wake));
        self
    }

    /// Calls this with each alert, raised, cleared or happened, on a thread of its own, `livefeed-alert`: it may take
    /// its time, to send a mail or call a service, and delays nothing but the next alert. The alerts stand in the event
    /// stream all the same.
    ///
    /// Up to 64 alerts wait for it. What finds no room is not told: it is counted in
    /// [`Health::missed_alerts`](crate::Health::missed_alerts), and logged. It may call any method of the feed;
    /// [`close`](crate::Feed::close) returns [`Error::WouldDeadlock`] there, and the feed is closing. A panic in it is
    /// caught and reported. Closing a feed waits, within its limit, until all is told; dropping it waits for nothing.
    ///
    /// ```
    /// use livefeed::{AlertStatus, Feed};
    ///
    /// let builder = Feed::builder("wss://feed.example/ws").on_alert(|alert| match alert.status {
    ///     AlertStatus::Cleared => println!("over: {}", alert.kind),
    ///     _ => println!("{}", alert.kind),
    /// });
    /// # drop(builder);
    /// ```
    pub fn on_alert(mut self, tell: impl Fn(&Alert) + Send + Sync + 'static) -> Self {
        self.hooks.on_alert = Some(Box::new(tell));
        self
    }

    /// Calls this with each message and control frame that goes over the wire, received and sent, to record or to
    /// debug a protocol: before codecs, rules and the queue, logins included.
    ///
    /// It is called on the feed's two threads, at times on both at once, and holds them up: what it does with a frame
    /// should be quick, such as to copy it into a bounded buffer. Frames of one direction come in order; those of both are
    /// put in order by [`Frame::at`]. It may call any method of the feed; those that wait for its own thread return
    /// [`Error::WouldDeadlock`]. A panic in it is caught and reported.
    ///
    /// What is sent may hold secrets: keep what it is copied to as safe as them.
    ///
    /// ```
    /// use livefeed::{Direction, Feed};
    ///
    /// let builder = Feed::builder("wss://feed.example/ws").on_frame(|frame| {
    ///     let arrow = if frame.direction == Direction::Sent { '>' } else { '<' };
    ///     println!("{arrow} {:?}, {} bytes", frame.kind, frame.payload.len());
    /// });
    /// # drop(builder);
    /// ```
    pub fn on_frame(mut self, see: impl Fn(&Frame<'_>) + Send + Sync + 'static) -> Self {
        self.hooks.on_frame = Some(Arc::new(see));
        self
    }

    /// Asks this for URL, headers and subprotocols at each attempt, in place of the configured URL.
    ///
    /// It is called on the reader thread and may block, which counts for the attempt's budget. With it the
    /// configured URL may be empty, and TLS settings are taken for whichever URLs are `wss://`.
    pub fn provider(
        mut self,
        provider: impl FnMut(&Attempt) -> Result<Target, ProviderError> + Send + 'static,
    ) -> Self {
        self.hooks.provider = Some(Box::new(provider));
        self
    }

    /// Asks this, when an attempt or a connection ended, what to do; `None` is what the feed would do without
    /// it. It is called on a livefeed thread.
    pub fn retry_policy(
        mut self,
        policy: impl Fn(&EndReason, &RetryContext) -> Option<Decision> + Send + 'static,
    ) -> Self {
        self.hooks.retry_policy = Some(Box::new(policy));
        self
    }

    /// Reads the messages of a protocol that rules can't express, in place of rules, heartbeats and data matchers.
    pub fn dialect(mut self, dialect: impl Dialect + 'static) -> Self {
        self.hooks.dialect = Some(Box::new(dialect));
        self
    }

    /// The configuration, checked, and the callbacks.
    pub(crate) fn into_parts(self) -> Result<(FeedConfig, Hooks), Error> {
        validate::validate(&self.config, &self.hooks)?;
        Ok((self.config, self.hooks))
    }
}
