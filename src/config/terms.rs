//! What is agreed about subscriptions: for one of them, or for all that say nothing else.

use super::hours::HourLimit;
use super::ladder::RepairStep;
use super::limit::Limit;
use super::stale_after::StaleAfter;
use super::vars::Variables;
use crate::class::OnAckTimeout;
use crate::dialect::{FrozenRule, LagRule, Matcher, SequenceRule, Template};
use crate::duration;
use crate::table;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Everything about a subscription but its name.
///
/// In a [`Subscription`](super::Subscription) it is what that one wants; in [`FeedConfig::defaults`](super::FeedConfig::defaults)
/// it is what subscriptions leave out. The defaults named here are those that hold if neither says anything.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Terms {
    /// Its variables, for the placeholders of its templates and matchers: `{"symbol": "BTC-USD"}` gives `${symbol}` its
    /// value. Those of `defaults` are there too, unless the subscription has one of the same name. The values are
    /// never shown. Default: `{}`.
    #[serde(skip_serializing_if = "Variables::is_empty")]
    pub vars: Variables,
    /// What to write at each new connection. Default: `none`, for servers that send without being asked.
    ///
    /// In JSON a string is sent as it is, and any other JSON value as compact JSON, with the members of
    /// objects sorted by name. Bounded by `limits.subscribe_bytes`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Template>,
    /// What to write to end it, in the same form. Default: `none`; the data is then no longer delivered as its. With a
    /// placeholder that a rule's `bind` fills in it waits for the acknowledgement, for at most `ack_timeout`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<Template>,
    /// What to write to find out whether its data still flows, in the same form: something that makes the server send
    /// some. For the rung `probe` of `repair`. Default: `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probe: Option<Template>,
    /// What its data looks like. Default: `none`, which means every message that is not a heartbeat and that no rule
    /// knows; an error message from the server that no rule knows then keeps it fresh, too. Where there are several
    /// subscriptions, each that has a limit needs one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Matcher>,
    /// How long there may be no data for it, counted from when its subscribe message was written: data that
    /// never starts is stale too. From 1 ms to 365 days, or `none`, or a limit that is learned from its data
    /// ([`Adaptive`](super::Adaptive)). Default: `stale_after` of the feed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<StaleAfter>,
    /// Its limits by hours, in place of `stale_after` and `first_data_within`: the first that applies counts. `[]`: none, whatever the feed has.
    /// At most 32. Default: `by_hours` of the feed.
    #[serde(deserialize_with = "table::maybe_many", skip_serializing_if = "Option::is_none")]
    pub by_hours: Option<Vec<HourLimit>>,
    /// How long the first data may take, in place of `stale_after`: for what is rare but begins with a snapshot, or
    /// the other way round. An entry of `by_hours` that applies takes the place of this, too. From 1 ms to 365 days, or
    /// `none`. Default: `stale_after`, and the ceiling of one that is learned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_data_within: Option<Limit>,
    /// What confirms that the server granted it. Default: `rule` if the feed has a rule for acknowledgements, else `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ack: Option<Ack>,
    /// How long the confirmation may take, from when the subscribe message was written, or the server last answered one
    /// that was written before it: a server that works through many is waited for. From 1 ms to 365 days. Default: `10s`.
    #[serde(with = "duration::option", skip_serializing_if = "Option::is_none")]
    pub ack_timeout: Option<Duration>,
    /// What is done then. Default: `retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_ack_timeout: Option<OnAckTimeout>,
    /// What the server calls it, a text with placeholders: compared with the names in acknowledgements that list what
    /// is in force (`by: listed`). Default: `${name}`, its `id`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub topic: Option<String>,
    /// Where its messages have what the subscribe message of the next connection can take up from: the JSON
    /// pointer to a value (`-1` is the last element of an array), which is then `${cursor}`.
    /// Where the last message has none, that of an earlier one stays. An acknowledgement can say it too, by what it binds as `cursor`. Default: `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Which numbers in its data show that messages are missing. Default: `none`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sequence: Option<SequenceRule>,
    /// Where its data says when it was made, and how old it may be: when nothing but late data comes, it is stale.
    /// Default: `none`.
    #[serde(deserialize_with = "table::maybe", skip_serializing_if = "Option::is_none")]
    pub lag: Option<LagRule>,
    /// How long its data may say the same again and again. Default: `none`.
    #[serde(deserialize_with = "table::maybe", skip_serializing_if = "Option::is_none")]
    pub frozen: Option<FrozenRule>,
    /// What is done, in this order, when it is stale; a rung that has a time is given so long, and one that can't be done
    /// (`resubscribe` without `unsubscribe`, `next_endpoint` with one endpoint) is passed over. Past the end the last rung
    /// that makes a new connection stays. Data leads back to the first rung once it has come for as long as the limit.
    /// Default: `["resubscribe:10s", "reconnect", "next_endpoint"]`.
    ///
    /// A new connection costs the other subscriptions their data. While the data of one of them is fresh, the first is
    /// made at once, the next 1 minute after it, and then after 2, 4, 8, 16 and 30 minutes; before each the milder rungs
    /// are tried again. Meanwhile it stays stale, which [`Stale`](crate::Event::Stale) says with `next: wait`, and an alert
    /// is raised ([`SubscriptionStale`](crate::AlertKind::SubscriptionStale)).
    ///
    /// A list without `reconnect` and `next_endpoint` makes no new connection for this subscription, whatever the others
    /// do: it is gone through again after such pauses. The limit of the connection as a whole holds all the same; when
    /// that is over, a new connection is made at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repair: Option<Vec<RepairStep>>,
}

/// What confirms a subscription.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ack {
    /// A message that a rule knows as an acknowledgement of it. In JSON `"rule"`.
    Rule,
    /// Its first data. In JSON `"first_data"`.
    FirstData,
    /// Nothing: it counts as confirmed when its message is written. In JSON `"none"`.
    None,
}

impl Terms {
    /// How long an acknowledgement may take.
    pub(crate) const ACK_TIMEOUT: Duration = Duration::from_secs(10);

    /// These, with what they leave out from others. Names all fields, so that none is forgotten.
    pub(super) fn or(&self, others: &Self) -> Self {
        let Self {
            vars,
            subscribe,
            unsubscribe,
            probe,
            data,
            stale_after,
            by_hours,
            first_data_within,
            ack,
            ack_timeout,
            on_ack_timeout,
            topic,
            cursor,
            sequence,
            lag,
            frozen,
            repair,
        } = self.clone();
        Self {
            vars: vars.or(&others.vars),
            subscribe: subscribe.or_else(|| others.subscribe.clone()),
            unsubscribe: unsubscribe.or_else(|| others.unsubscribe.clone()),
            probe: probe.or_else(|| others.probe.clone()),
            data: data.or_else(|| others.data.clone()),
            stale_after: stale_after.or(others.stale_after),
            by_hours: by_hours.or_else(|| others.by_hours.clone()),
            first_data_within: first_data_within.or(others.first_data_within),
            ack: ack.or(others.ack),
            ack_timeout: ack_timeout.or(others.ack_timeout),
            on_ack_timeout: on_ack_timeout.or(others.on_ack_timeout),
            topic: topic.or_else(|| others.topic.clone()),
            cursor: cursor.or_else(|| others.cursor.clone()),
            sequence: sequence.or_else(|| others.sequence.clone()),
            lag: lag.or_else(|| others.lag.clone()),
            frozen: frozen.or_else(|| others.frozen.clone()),
            repair: repair.or_else(|| others.repair.clone()),
        }
    }
}
