//! What the client sends so that the server, and the line, know that it is there.

use crate::dialect::{Answer, Interval, Matcher, Template, TemplateContext};
use crate::message::Sendable;
use crate::secret::Secret;
use crate::table::Table;
use serde::de::{Deserializer, IntoDeserializer};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Something that is sent again and again while a connection is up. One of `keepalives`.
///
/// In data: `{"every": "20s", "send": {"op": "ping"}}`, with `idle_received` or `idle_sent` in place of `every`,
/// and `"ping": true` in place of `send` for a WebSocket ping. It counts for the limits of `pacing`, and goes out before
/// everything else that waits.
///
/// A login that expires is renewed by one, without a new connection. What it captures from the answer is what the next
/// one, and each later subscribe message, is made from; and where `every` says how long the login lasts, a new answer says
/// it anew:
///
/// ```
/// use livefeed::{Interval, Keepalive, Matcher};
/// use serde_json::json;
///
/// let renewal = Keepalive::every(Interval::text("${expires_in - 60}s"))
///     .send_json(json!({"op": "renew", "token": "${token}"}))
///     .expect(Matcher::pointer("/op", "renewed"))
///     .capture("token", "/token")
///     .capture("expires_in", "/expires_in")
///     .refused(Matcher::pointer("/op", "denied"))
///     .detail("/why");
/// ```
///
/// ```
/// use livefeed::{Keepalive, Matcher};
/// use std::time::Duration;
///
/// let ping = Keepalive::idle_received(Duration::from_secs(25))
///     .send_text("ping")
///     .expect(Matcher::text("pong"))
///     .within(Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Table<Form>")]
#[non_exhaustive]
pub struct Keepalive {
    /// What makes it due.
    pub due: KeepaliveDue,
    /// How long it is, from 1 ms (below 10 ms it counts as 10 ms) to 365 days. May be a text with what was captured:
    /// `"${ping_interval}ms"`. It is filled in after the login, and again when something in it is captured with another
    /// value. What comes out as zero or less, such as `"${expires_in - 60}s"` of a login that lasts 20 seconds, counts as 1 s.
    pub interval: Interval,
    /// What is sent; none: a WebSocket ping (RFC 6455 section 5.5.2). Default: `none`.
    pub send: Option<Template>,
    /// What the answer looks like, without placeholders. If there is none in time, the connection is given up. Such a
    /// message is no data, and goes to no rule. Default: `none`, no answer is waited for.
    pub expect: Option<Matcher>,
    /// Variables to take from the answer: a name, and the JSON pointer of its value. They are known in all templates, as
    /// those of the login are, until the connection ends. A value over 4 KiB is left alone. Default: none.
    pub capture: BTreeMap<String, String>,
    /// What the answer looks like if the server refuses, without placeholders. It is looked for before `expect`, and ends
    /// the connection: the next one logs in afresh. Such a message goes to no rule. Default: `none`.
    pub refused: Option<Matcher>,
    /// The JSON pointer of the server's own words in a refusal. Up to 200 characters of them appear in events and logs.
    /// Default: `none`, none are shown.
    pub detail: Option<String>,
    /// How long the answer may take, from when the message was written. From 1 ms to 365 days. Default: `10s`.
    pub within: Option<Interval>,
    /// For `every`: how long after the login the first one is due. Default: as long as `every`.
    pub first_after: Option<FirstAfter>,
}

/// When the first of the [`Keepalive`]s that are sent `every` so often is due, counted from the login.
///
/// In JSON a duration, as `every` has it, or `"random"`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FirstAfter {
    /// After this long.
    Interval(Interval),
    /// After a random part of `every`, drawn anew for each connection: so clients that lost a server together don't go on
    /// together.
    Random,
}

impl From<Interval> for FirstAfter {
    fn from(interval: Interval) -> Self {
        Self::Interval(interval)
    }
}

impl From<Duration> for FirstAfter {
    fn from(interval: Duration) -> Self {
        Self::Interval(interval.into())
    }
}

impl Serialize for FirstAfter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Interval(interval) => interval.serialize(serializer),
            Self::Random => serializer.serialize_str(RANDOM),
        }
    }
}

impl<'de> Deserialize<'de> for FirstAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == RANDOM {
            return Ok(Self::Random);
        }
        Interval::deserialize(text.into_deserializer()).map(Self::Interval)
    }
}

const RANDOM: &str = "random";

/// What makes a [`Keepalive`] due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum KeepaliveDue {
    /// The time since the last one. In JSON `"every"`.
    Every,
    /// The time since anything was received. In JSON `"idle_received"`.
    IdleReceived,
    /// The time since anything was sent. In JSON `"idle_sent"`.
    IdleSent,
}

impl KeepaliveDue {
    /// The name in configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Every => "every",
            Self::IdleReceived => "idle_received",
            Self::IdleSent => "idle_sent",
        }
    }
}

impl Keepalive {
    /// How long an answer may take if nothing else is said.
    pub(crate) const WITHIN: Duration = Duration::from_secs(10);

    /// A WebSocket ping again and again after this long.
    pub fn every(interval: impl Into<Interval>) -> Self {
        Self::new(KeepaliveDue::Every, interval.into())
    }

    /// A WebSocket ping whenever nothing was received for this long.
    pub fn idle_received(interval: impl Into<Interval>) -> Self {
        Self::new(KeepaliveDue::IdleReceived, interval.into())
    }

    /// A WebSocket ping whenever nothing was sent for this long.
    pub fn idle_sent(interval: impl Into<Interval>) -> Self {
        Self::new(KeepaliveDue::IdleSent, interval.into())
    }

    /// What it waits for.
    pub(crate) fn answer(&self) -> Answer {
        Answer {
            expect: self.expect.clone(),
            refused: self.refused.clone(),
            capture: self.capture.clone(),
            detail: self.detail.clone(),
        }
    }

    fn new(due: KeepaliveDue, interval: Interval) -> Self {
        Self {
            due,
            interval,
            send: None,
            expect: None,
            capture: BTreeMap::new(),
            refused: None,
            detail: None,
            within: None,
            first_after: None,
        }
    }

    /// Sends this in place of a ping.
    pub fn send(mut self, template: Template) -> Self {
        self.send = Some(template);
        self
    }

    /// Sends this text in place of a ping.
    pub fn send_text(self, text: impl Into<Secret>) -> Self {
        self.send(Template::text(text))
    }

    /// Sends this value as compact JSON in place of a ping.
    pub fn send_json(self, value: impl Into<Value>) -> Self {
        self.send(Template::json(value))
    }

    /// Sends what the closure returns in place of a ping. All that is sent waits for it: it should be quick.
    pub fn send_with<R: Into<Sendable>>(
        self,
        make: impl Fn(&TemplateContext) -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        self.send(Template::closure(make))
    }

    /// Sets what the answer looks like.
    pub fn expect(mut self, matcher: Matcher) -> Self {
        self.expect = Some(matcher);
        self
    }

    /// Keeps the value at a JSON pointer of the answer as a variable of the connection.
    pub fn capture(mut self, name: impl Into<String>, pointer: impl Into<String>) -> Self {
        self.capture.insert(name.into(), pointer.into());
        self
    }

    /// Sets what the answer looks like if the server refuses.
    pub fn refused(mut self, matcher: Matcher) -> Self {
        self.refused = Some(matcher);
        self
    }

    /// Sets where the server's own words are in a refusal.
    pub fn detail(mut self, pointer: impl Into<String>) -> Self {
        self.detail = Some(pointer.into());
        self
    }

    /// Sets how long the answer may take.
    pub fn within(mut self, limit: impl Into<Interval>) -> Self {
        self.within = Some(limit.into());
        self
    }

    /// Sets when the first one is due: a duration, or [`FirstAfter::Random`].
    pub fn first_after(mut self, delay: impl Into<FirstAfter>) -> Self {
        self.first_after = Some(delay.into());
        self
    }
}

/// A keepalive as data.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Form {
    #[serde(skip_serializing_if = "Option::is_none")]
    every: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_received: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_sent: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    send: Option<Template>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ping: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    expect: Option<Matcher>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    capture: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refused: Option<Matcher>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    within: Option<Interval>,
    #[serde(skip_serializing_if = "Option::is_none")]
    first_after: Option<FirstAfter>,
}

impl TryFrom<Table<Form>> for Keepalive {
    type Error = &'static str;

    fn try_from(Table(form): Table<Form>) -> Result<Self, Self::Error> {
        let (due, interval) = match (form.every, form.idle_received, form.idle_sent) {
            (Some(interval), None, None) => (KeepaliveDue::Every, interval),
            (None, Some(interval), None) => (KeepaliveDue::IdleReceived, interval),
            (None, None, Some(interval)) => (KeepaliveDue::IdleSent, interval),
            _ => return Err("a keepalive has exactly one of `every`, `idle_received` and `idle_sent`"),
        };
        if form.ping == form.send.is_some() {
            return Err("a keepalive has either `send`, or `\"ping\": true` for a WebSocket ping");
        }
        Ok(Self {
            due,
            interval,
            send: form.send,
            expect: form.expect,
            capture: form.capture,
            refused: form.refused,
            detail: form.detail,
            within: form.within,
            first_after: form.first_after,
        })
    }
}

impl Serialize for Keepalive {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let interval = Some(self.interval.clone());
        let mut form = Form {
            ping: self.send.is_none(),
            send: self.send.clone(),
            expect: self.expect.clone(),
            capture: self.capture.clone(),
            refused: self.refused.clone(),
            detail: self.detail.clone(),
            within: self.within.clone(),
            first_after: self.first_after.clone(),
            ..Form::default()
        };
        match self.due {
            KeepaliveDue::Every => form.every = interval,
            KeepaliveDue::IdleReceived => form.idle_received = interval,
            KeepaliveDue::IdleSent => form.idle_sent = interval,
        }
        form.serialize(serializer)
    }
}
