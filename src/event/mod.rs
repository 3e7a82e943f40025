//! The one ordered stream: what happens to a feed, in the order in which it happened.

mod alert;
mod alert_text;
#[cfg(test)]
mod schema_tests;

pub use alert::{Alert, AlertKind, AlertStatus};

use crate::class::{ErrorClass, StaleCause};
use crate::error::{CloseReason, EndReason};
use crate::message::{Message, Payload, SubscriptionId};
use serde_json::{Map, Value, json};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

/// One entry of the stream.
///
/// Lifecycle events are never dropped. While nobody reads, repeated failures fold into one
/// [`Disconnected`] with a count, so they stay bounded.
#[non_exhaustive]
#[derive(Debug, Clone)]
pub enum Event {
    /// An attempt to connect begins.
    Connecting(Box<Connecting>),
    /// A connection is established; its epoch is one more than that of the one before.
    Connected(Box<Connected>),
    /// A subscription is confirmed: the server granted it, or, where it says nothing of that, its subscribe message
    /// was written. A quick server's first data may stand before it. Said once a connection, and again after
    /// `Refused` or `Ended`.
    Subscribed(Box<Subscribed>),
    /// The server refused a subscription, or did not answer it in time, or its message could not be made.
    Refused(Box<Refused>),
    /// The server ended a subscription while the connection goes on.
    Ended(Box<Ended>),
    /// A message.
    Message(Message),
    /// There was no data for longer than the limit, or none that is any good (see [`StaleCause`]). What is done about
    /// it follows.
    Stale(Box<Stale>),
    /// The data before and the data after may not join up.
    Gap(Box<Gap>),
    /// A connection ended, or one or more attempts failed.
    Disconnected(Box<Disconnected>),
    /// Something a person should know.
    Alert(Box<Alert>),
    /// The feed is over. Always the last event.
    Closed(Box<Closed>),
}

/// See [`Event::Connecting`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connecting {
    /// When, by the wall clock.
    pub time: SystemTime,
    /// The epoch the connection will have if the attempt succeeds.
    pub epoch: u64,
    /// Counts the attempts since the last connection, from 1.
    pub attempt: u32,
    /// The URL, without userinfo and with query values redacted.
    pub endpoint: String,
}

/// See [`Event::Connected`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Connected {
    /// When, by the wall clock.
    pub time: SystemTime,
    /// The epoch of this connection, counted from 1.
    pub epoch: u64,
    /// How long the attempt took, name resolution to upgrade.
    pub took: Duration,
    /// The address connected to.
    pub peer: SocketAddr,
    /// The subprotocol the server chose (RFC 6455 section 1.9), if any.
    pub subprotocol: Option<String>,
}

/// See [`Event::Subscribed`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Subscribed {
    /// When, by the wall clock.
    pub time: SystemTime,
    /// The connection it is in force on.
    pub epoch: u64,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Whether the server said that what was missed since it was last in force is replayed, so that nothing is lost; what
    /// it said is known only now, behind the [`Gap`] of the reconnect. `None`: it says nothing of that, or nothing can
    /// have been missed.
    pub resumed: Option<bool>,
}

/// See [`Event::Refused`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// When, by the wall clock.
    pub time: SystemTime,
    /// The connection.
    pub epoch: u64,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// How bad it is.
    pub class: ErrorClass,
    /// What the server said, cut short.
    pub detail: String,
    /// When it is tried again on this connection; `None`: not before the next one.
    pub retry_in: Option<Duration>,
}

/// See [`Event::Ended`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// When, by the wall clock.
    pub time: SystemTime,
    /// The connection.
    pub epoch: u64,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// How bad it is.
    pub class: ErrorClass,
    /// What the server said, cut short.
    pub detail: String,
    /// When it is made again on this connection; `None`: not before the next one.
    pub retry_in: Option<Duration>,
}

/// See [`Event::Stale`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stale {
    /// When, by the wall clock.
    pub time: SystemTime,
    /// The connection.
    pub epoch: u64,
    /// The subscription; `None`: the connection as a whole.
    pub subscription: Option<SubscriptionId>,
    /// What was missing for that long.
    pub cause: StaleCause,
    /// How long there was no data, or none that is timely or new; time in which livefeed did not read is not counted.
    pub age: Duration,
    /// The limit in force.
    pub limit: Duration,
    /// What is done about it.
    pub next: Repair,
}

impl Stale {
    /// How long after the limit the verdict came.
    pub fn lateness(&self) -> Duration {
        self.age.saturating_sub(self.limit)
    }
}

/// A rung of the ladder: what is done about a stale subscription.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Repair {
    /// The server is asked for a sign of life of the subscription.
    Probe,
    /// The subscription is made again on this connection.
    Resubscribe,
    /// The connection is given up and a new one made.
    Reconnect,
    /// The connection is given up and a new one made, to the next endpoint.
    NextEndpoint,
    /// Nothing yet: what there is to do did not help lately, and the data of others shows that the connection is well, or
    /// no new connection is asked for. The ladder goes on after a pause of 1 minute, 2, 4, and so on up to 30.
    Wait,
}

impl Repair {
    /// The name in JSON and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Resubscribe => "resubscribe",
            Self::Reconnect => "reconnect",
            Self::NextEndpoint => "next_endpoint",
            Self::Wait => "wait",
        }
    }
}

/// See [`Event::Gap`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gap {
    /// When it was found, by the wall clock.
    pub time: SystemTime,
    /// The connection on which the data goes on.
    pub epoch: u64,
    /// What made it.
    pub cause: GapCause,
    /// The subscriptions it affects. Empty: everything on the feed.
    pub subscriptions: Vec<SubscriptionId>,
    /// When the last message before the gap came, if there was one.
    pub last_message: Option<SystemTime>,
    /// How many messages were lost, where that is known.
    pub lost: Option<u64>,
    /// For a gap in sequence numbers: the last number before it.
    pub from: Option<u64>,
    /// For a gap in sequence numbers: the first number after it.
    pub to: Option<u64>,
}

/// What made a gap.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GapCause {
    /// There was no connection for a while.
    Reconnected,
    /// The subscription was made anew on the same connection.
    Resubscribed,
    /// The queue was full, and its policy dropped messages here.
    Overflow,
    /// The sequence numbers of the messages do not join up.
    Sequence,
    /// There was no connection for a while, and the new one is to another endpoint.
    EndpointSwitched,
}

impl GapCause {
    /// The name in JSON and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reconnected => "reconnected",
            Self::Resubscribed => "resubscribed",
            Self::Overflow => "overflow",
            Self::Sequence => "sequence",
            Self::EndpointSwitched => "endpoint_switched",
        }
    }
}

/// See [`Event::Disconnected`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disconnected {
    /// When the (last) one ended, by the wall clock.
    pub time: SystemTime,
    /// The epoch that ended (the first of those folded, if several did); for a failed attempt the epoch it would
    /// have had.
    pub epoch: u64,
    /// Whether there was a connection, or only an attempt.
    pub was_connected: bool,
    /// Why it ended.
    pub reason: EndReason,
    /// How many ends this event stands for: more than 1 if repeated failures were folded while nobody read.
    pub attempts: u32,
    /// When the next attempt will be made; `None` if there will be none.
    pub retry_in: Option<Duration>,
}

/// See [`Event::Closed`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Closed {
    /// When, by the wall clock.
    pub time: SystemTime,
    /// The last connection; 0 if there never was one.
    pub epoch: u64,
    /// Why.
    pub reason: CloseReason,
}

impl Event {
    /// The name in JSON: `connecting`, `message`, ...
    pub fn name(&self) -> &'static str {
        match self {
            Self::Connecting(_) => "connecting",
            Self::Connected(_) => "connected",
            Self::Subscribed(_) => "subscribed",
            Self::Refused(_) => "refused",
            Self::Ended(_) => "ended",
            Self::Message(_) => "message",
            Self::Stale(_) => "stale",
            Self::Gap(_) => "gap",
            Self::Disconnected(_) => "disconnected",
            Self::Alert(_) => "alert",
            Self::Closed(_) => "closed",
        }
    }

    /// The epoch it belongs to.
    pub fn epoch(&self) -> u64 {
        match self {
            Self::Connecting(e) => e.epoch,
            Self::Connected(e) => e.epoch,
            Self::Subscribed(e) => e.epoch,
            Self::Refused(e) => e.epoch,
            Self::Ended(e) => e.epoch,
            Self::Message(e) => e.epoch,
            Self::Stale(e) => e.epoch,
            Self::Gap(e) => e.epoch,
            Self::Disconnected(e) => e.epoch,
            Self::Alert(e) => e.epoch,
            Self::Closed(e) => e.epoch,
        }
    }

    /// When it happened, by the wall clock.
    pub fn time(&self) -> SystemTime {
        match self {
            Self::Connecting(e) => e.time,
            Self::Connected(e) => e.time,
            Self::Subscribed(e) => e.time,
            Self::Refused(e) => e.time,
            Self::Ended(e) => e.time,
            Self::Message(e) => e.time(),
            Self::Stale(e) => e.time,
            Self::Gap(e) => e.time,
            Self::Disconnected(e) => e.time,
            Self::Alert(e) => e.time,
            Self::Closed(e) => e.time,
        }
    }

    /// The message, if it is one.
    pub fn into_message(self) -> Option<Message> {
        match self {
            Self::Message(message) => Some(message),
            _ => None,
        }
    }

    /// The event as a JSON object, in the form that the command line and the C ABI use too.
    ///
    /// `feed` is the feed's name, which each object carries. Each has `event`, `time`, `feed` and `epoch`; members are
    /// sorted by name. Times are RFC 3339 in UTC, ages and delays are seconds.
    ///
    /// ```
    /// # fn show(event: &livefeed::Event) {
    /// println!("{}", event.to_json("btc")); // {"epoch":1,"event":"connected","feed":"btc",...}
    /// # }
    /// ```
    pub fn to_json(&self, feed: &str) -> Value {
        let mut object = Map::new();
        object.insert("event".into(), self.name().into());
        object.insert("time".into(), rfc3339(self.time()).into());
        object.insert("feed".into(), feed.into());
        object.insert("epoch".into(), self.epoch().into());
        let rest = match self {
            Self::Connecting(e) => json!({"attempt": e.attempt, "endpoint": e.endpoint}),
            Self::Connected(e) => json!({
                "took_ms": e.took.as_micros() as f64 / 1e3,
                "peer": e.peer.to_string(),
                "subprotocol": e.subprotocol,
            }),
            Self::Subscribed(e) => json!({"subscription": e.subscription, "resumed": e.resumed}),
            Self::Refused(e) => refusal_json(&e.subscription, e.class, &e.detail, e.retry_in),
            Self::Ended(e) => refusal_json(&e.subscription, e.class, &e.detail, e.retry_in),
            Self::Message(e) => message_json(e),
            Self::Stale(e) => json!({
                "scope": if e.subscription.is_some() { "subscription" } else { "connection" },
                "subscription": e.subscription,
                "cause": e.cause.name(),
                "age_seconds": e.age.as_secs_f64(),
                "limit_seconds": e.limit.as_secs_f64(),
                "next": e.next.name(),
            }),
            Self::Gap(e) => json!({
                "cause": e.cause.name(),
                "subscriptions": e.subscriptions,
                "last_message": e.last_message.map(rfc3339),
                "lost": e.lost,
                "from": e.from,
                "to": e.to,
            }),
            Self::Disconnected(e) => json!({
                "was_connected": e.was_connected,
                "reason": e.reason.name(),
                "detail": e.reason.to_string(),
                "attempts": e.attempts,
                "retry_in_seconds": e.retry_in.map(|d| d.as_secs_f64()),
            }),
            Self::Alert(e) => alert::json(e.status, &e.kind),
            Self::Closed(e) => json!({"reason": e.reason.to_string()}),
        };
        if let Value::Object(rest) = rest {
            object.extend(rest);
        }
        Value::Object(object)
    }
}

fn refusal_json(
    subscription: &SubscriptionId,
    class: ErrorClass,
    detail: &str,
    retry_in: Option<Duration>,
) -> Value {
    json!({
        "subscription": subscription,
        "class": class.name(),
        "detail": detail,
        "retry_in_seconds": retry_in.map(|d| d.as_secs_f64()),
    })
}

fn message_json(message: &Message) -> Value {
    let subscriptions = message.subscriptions();
    match message.payload() {
        Payload::Text(text) => json!({"subscriptions": subscriptions, "text": text}),
        Payload::Binary(bytes) => json!({
            "subscriptions": subscriptions,
            "binary": data_encoding::BASE64.encode(bytes),
        }),
    }
}

/// In UTC, to a millisecond.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    // The formatter knows the years 1970 to 9999; a clock outside of them is shown at the nearer end.
    const LAST: Duration = Duration::from_secs(253_402_300_799);
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    humantime::format_rfc3339_millis(SystemTime::UNIX_EPOCH + since.min(LAST)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_clock_makes_the_json_panic() {
        let far = SystemTime::UNIX_EPOCH + Duration::from_secs(1 << 40);
        assert!(rfc3339(far).starts_with("9999-12-31T23:59:59"));
        assert!(rfc3339(SystemTime::UNIX_EPOCH - Duration::from_secs(1)).starts_with("1970-01-01"));
    }

    #[test]
    fn sizes_stay_small() {
        // Each message of a flood is moved a few times.
        assert!(size_of::<Event>() <= 80);
        assert!(size_of::<crate::error::Error>() <= 48);
        assert!(size_of::<EndReason>() <= 72);
    }
}
