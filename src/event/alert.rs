//! Alerts: what a person should know.

use crate::error::EndReason;
use crate::message::SubscriptionId;
use serde::Serialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

/// See [`Event::Alert`](super::Event::Alert).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Alert {
    /// When, by the wall clock.
    pub time: SystemTime,
    /// The connection, or the one before if there is none.
    pub epoch: u64,
    /// Whether it begins, is over, or is over by nature.
    pub status: AlertStatus,
    /// What about.
    pub kind: AlertKind,
}

/// Whether what an alert is about goes on.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AlertStatus {
    /// It begins, and goes on until it is said to be over. It is not said again meanwhile.
    Raised,
    /// What was raised is over. The figures are those of the end.
    Cleared,
    /// It has happened, and there is nothing to go on.
    Happened,
}

impl AlertStatus {
    /// The name in JSON and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Cleared => "cleared",
            Self::Happened => "happened",
        }
    }
}

/// What an alert is about.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertKind {
    /// Three quarters of the queue are in use and the policy is to block. Once it is full livefeed stops reading:
    /// pings go unanswered, and the server may hang up. Read faster, make the queue larger, or choose another policy. It
    /// is over when half of the queue is free.
    SlowConsumer {
        /// Messages in the queue.
        messages: usize,
        /// Bytes in the queue.
        bytes: usize,
    },
    /// A reason that would be fatal for a feed that never was up; as it was, it is retried at the longest
    /// delay. A person has to look: a token was revoked, a certificate has expired, ...
    NeedsAttention {
        /// How the attempt ended.
        reason: EndReason,
    },
    /// Connections ended more often than they should (see [`Alerts::reconnects`](crate::Alerts::reconnects)).
    Reconnects {
        /// How many ended within the window. In a storm the latest 1,024 are counted, or those that decide, if they
        /// are more.
        count: u32,
        /// The window.
        window: Duration,
        /// How many of them for which reason, by its name.
        reasons: BTreeMap<&'static str, u32>,
    },
    /// There was no data on the whole feed for too long, in hours in which there should be (see
    /// [`Alerts::no_data`](crate::Alerts::no_data)).
    NoData {
        /// For how long; only time within the hours, and in which livefeed read, is counted.
        age: Duration,
        /// The limit.
        limit: Duration,
        /// The hours, by their name; `None`: at any time.
        hours: Option<String>,
    },
    /// There was no connection for too long (see [`Alerts::down`](crate::Alerts::down)).
    Down {
        /// For how long.
        down: Duration,
        /// How the last connection or attempt ended.
        last: Option<EndReason>,
    },
    /// The learned limit has reached its ceiling: data comes too seldom for it, or too irregularly.
    LimitAtCeiling {
        /// The subscription; `None`: the connection as a whole.
        subscription: Option<SubscriptionId>,
        /// The slowest gap that was learned.
        learned: Duration,
        /// The ceiling.
        ceiling: Duration,
    },
    /// Messages came that no rule and no subscription knows, if the configuration asks for it
    /// (see [`Alerts::unmatched`](crate::Alerts::unmatched)). It is over after a minute without.
    Unmatched {
        /// How many, since it was last raised.
        messages: u64,
    },
    /// A sequence rule counts for more values than are kept (see [`SequenceRule::per`](crate::SequenceRule::per)): gaps
    /// of those that were forgotten went unseen.
    CountersForgotten {
        /// How many were forgotten.
        counters: u64,
    },
    /// What the configuration looks for is not in the messages, so that what depends on it does not work: the number of a
    /// `sequence` in none of the first data messages of a connection, or in an acknowledgement what its rule binds or
    /// captures, if something has a use for it. Said once for each connection at most.
    NothingFound {
        /// The subscription; `None`: the connection as a whole.
        subscription: Option<SubscriptionId>,
        /// What looks for it: `sequence`, `rules[2].bind.channel`, ...
        field: String,
        /// The JSON pointer that leads nowhere.
        pointer: String,
        /// In how many messages.
        messages: u64,
    },
    /// Something that was to be sent could not be made from its template: an unsubscribe message, a keepalive, a reply.
    TemplateFailed {
        /// Which: `unsubscribe`, `probe`, `keepalive`, `reply`.
        what: &'static str,
        /// What went wrong.
        detail: String,
    },
    /// A callback of the application panicked. The feed goes on.
    CallbackPanicked {
        /// Which callback: `handler`, `on_wake`, `matcher`, ...
        callback: &'static str,
        /// The panic's message.
        message: String,
    },
    /// A subscribe payload could not be made or is over the limit: the subscription is not in force, and counts as
    /// refused. It is tried again after a second, and then after twice as long each time, up to 5 minutes. It is over when
    /// the message is written, when data comes, or when the subscription is wanted no more.
    SubscribeFailed {
        /// The subscription.
        subscription: SubscriptionId,
        /// What went wrong.
        detail: String,
    },
    /// A subscription stays stale: a new connection did not help, and the next one waits, as others have data; or its
    /// [`repair`](crate::Terms::repair) names no new connection. It is over when its data has come for as long as its
    /// limit, or when it is wanted no more.
    SubscriptionStale {
        /// The subscription.
        subscription: SubscriptionId,
        /// For how long its data had been missing when this was found.
        age: Duration,
        /// Its limit.
        limit: Duration,
    },
    /// The server refused or ended a subscription, and it is not tried again on this connection. It is over when it is
    /// granted, delivers data, or is wanted no more.
    SubscriptionRefused {
        /// The subscription.
        subscription: SubscriptionId,
        /// What the server said, cut short.
        detail: String,
    },
    /// A subscription is held to be what ends the connections: it is left out, and tried alone later. It is over when
    /// that succeeds, or when it is wanted no more.
    Quarantined {
        /// The subscription.
        subscription: SubscriptionId,
        /// How many connections in a row ended while it was unanswered.
        ends: u32,
    },
    /// The server announced something.
    Notice {
        /// What it said, cut short.
        detail: String,
    },
}

impl AlertKind {
    /// The name in JSON and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::SlowConsumer { .. } => "slow_consumer",
            Self::NeedsAttention { .. } => "needs_attention",
            Self::CallbackPanicked { .. } => "callback_panicked",
            Self::Reconnects { .. } => "reconnects",
            Self::NoData { .. } => "no_data",
            Self::Down { .. } => "down",
            Self::LimitAtCeiling { .. } => "limit_at_ceiling",
            Self::Unmatched { .. } => "unmatched",
            Self::CountersForgotten { .. } => "counters_forgotten",
            Self::NothingFound { .. } => "nothing_found",
            Self::TemplateFailed { .. } => "template_failed",
            Self::SubscribeFailed { .. } => "subscribe_failed",
            Self::SubscriptionStale { .. } => "subscription_stale",
            Self::SubscriptionRefused { .. } => "subscription_refused",
            Self::Quarantined { .. } => "quarantined",
            Self::Notice { .. } => "notice",
        }
    }
}

/// The members that are an alert's own.
pub(super) fn json(status: AlertStatus, kind: &AlertKind) -> Value {
    let mut fields =
        BTreeMap::from([("kind", Value::from(kind.name())), ("status", Value::from(status.name()))]);
    match kind {
        AlertKind::Reconnects { count, window, reasons } => {
            fields.insert("count", (*count).into());
            fields.insert("window_seconds", window.as_secs_f64().into());
            fields.insert("reasons", json!(reasons));
        }
        AlertKind::NoData { age, limit, hours } => {
            fields.insert("age_seconds", age.as_secs_f64().into());
            fields.insert("limit_seconds", limit.as_secs_f64().into());
            fields.insert("hours", hours.as_deref().into());
        }
        AlertKind::Down { down, last } => {
            fields.insert("down_seconds", down.as_secs_f64().into());
            fields.insert("reason", last.as_ref().map(EndReason::name).into());
            fields.insert("detail", last.as_ref().map(ToString::to_string).into());
        }
        AlertKind::LimitAtCeiling { subscription, learned, ceiling } => {
            fields.insert("subscription", subscription.as_ref().map(SubscriptionId::as_str).into());
            fields.insert("learned_gap_seconds", learned.as_secs_f64().into());
            fields.insert("ceiling_seconds", ceiling.as_secs_f64().into());
        }
        AlertKind::SlowConsumer { messages, bytes } => {
            fields.insert("messages", (*messages).into());
            fields.insert("bytes", (*bytes).into());
        }
        AlertKind::NeedsAttention { reason } => {
            fields.insert("reason", reason.name().into());
            fields.insert("detail", reason.to_string().into());
        }
        AlertKind::Unmatched { messages } => {
            fields.insert("messages", (*messages).into());
        }
        AlertKind::CountersForgotten { counters } => {
            fields.insert("counters", (*counters).into());
        }
        AlertKind::NothingFound { subscription, field, pointer, messages } => {
            fields.insert("subscription", subscription.as_ref().map(SubscriptionId::as_str).into());
            fields.insert("field", field.as_str().into());
            fields.insert("pointer", pointer.as_str().into());
            fields.insert("messages", (*messages).into());
        }
        AlertKind::TemplateFailed { what, detail } => {
            fields.insert("what", (*what).into());
            fields.insert("detail", detail.as_str().into());
        }
        AlertKind::CallbackPanicked { callback, message } => {
            fields.insert("callback", (*callback).into());
            fields.insert("detail", message.as_str().into());
        }
        AlertKind::SubscribeFailed { subscription, detail } => {
            fields.insert("subscription", subscription.as_str().into());
            fields.insert("detail", detail.as_str().into());
        }
        AlertKind::SubscriptionStale { subscription, age, limit } => {
            fields.insert("subscription", subscription.as_str().into());
            fields.insert("age_seconds", age.as_secs_f64().into());
            fields.insert("limit_seconds", limit.as_secs_f64().into());
        }
        AlertKind::SubscriptionRefused { subscription, detail } => {
            fields.insert("subscription", subscription.as_str().into());
            fields.insert("detail", detail.as_str().into());
        }
        AlertKind::Quarantined { subscription, ends } => {
            fields.insert("subscription", subscription.as_str().into());
            fields.insert("ends", (*ends).into());
        }
        AlertKind::Notice { detail } => {
            fields.insert("detail", detail.as_str().into());
        }
    }
    json!(fields)
}
