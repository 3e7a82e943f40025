//! How a feed is: a snapshot for monitors.

use crate::class::StaleCause;
use crate::error::{CloseReason, EndReason};
use crate::message::SubscriptionId;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The state of a feed as a whole.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// An attempt to connect is under way.
    Connecting,
    /// Waiting for the next attempt.
    Waiting,
    /// Connected; data is still owed on this connection, by the server as a whole or for a subscription with a limit. So
    /// is timely or new data, if the last connection was given up for the lack of it.
    Live,
    /// Connected, data came on this connection, also for each subscription that has a limit; no limit is over, and
    /// no subscription is refused, ended or in quarantine.
    Fresh,
    /// Connected, and not fresh as at other times, but that is how it should be: these are hours in which a longer
    /// limit holds, or none (see [`Terms::by_hours`](crate::Terms::by_hours)), or they have just ended, and the data that
    /// is owed since then is still within its limit.
    Quiet,
    /// No data for longer than the limit; the repair is under way.
    Stale,
    /// Being closed.
    Closing,
    /// Over.
    Closed,
}

impl State {
    /// All of them.
    #[cfg(feature = "monitor")]
    pub(crate) const ALL: [Self; 8] = [
        Self::Connecting,
        Self::Waiting,
        Self::Live,
        Self::Fresh,
        Self::Quiet,
        Self::Stale,
        Self::Closing,
        Self::Closed,
    ];

    /// The name in JSON, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Waiting => "waiting",
            Self::Live => "live",
            Self::Fresh => "fresh",
            Self::Quiet => "quiet",
            Self::Stale => "stale",
            Self::Closing => "closing",
            Self::Closed => "closed",
        }
    }
}

/// The state of one subscription.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionState {
    /// Wanted; there is no connection.
    Desired,
    /// Its subscribe message waits to be written.
    Queued,
    /// Its subscribe message was handed over to be written; the server has not answered it.
    Sent,
    /// In force, as far as is known: granted by the server, or, where it does not say so, written. No data yet.
    Confirmed,
    /// Data came on this connection.
    Live,
    /// Data came, but none for more than half its limit.
    Quiet,
    /// No data for longer than its limit; the repair is under way.
    Stale,
    /// The server ended it. It is made again after a delay, or on the next connection.
    Ended,
    /// The server refused it, or its message could not be made. It is tried again after a delay, or on the next connection.
    Refused,
    /// It is held to be what ended the connections before: left out, and tried alone later.
    Quarantined,
}

impl SubscriptionState {
    /// All of them.
    #[cfg(feature = "monitor")]
    pub(crate) const ALL: [Self; 10] = [
        Self::Desired,
        Self::Queued,
        Self::Sent,
        Self::Confirmed,
        Self::Live,
        Self::Quiet,
        Self::Stale,
        Self::Ended,
        Self::Refused,
        Self::Quarantined,
    ];

    /// The name in JSON, logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Desired => "desired",
            Self::Queued => "queued",
            Self::Sent => "sent",
            Self::Confirmed => "confirmed",
            Self::Live => "live",
            Self::Quiet => "quiet",
            Self::Stale => "stale",
            Self::Ended => "ended",
            Self::Refused => "refused",
            Self::Quarantined => "quarantined",
        }
    }
}

/// Where a limit on the age of data comes from.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// The configuration.
    Configured,
    /// The configuration's word for these hours.
    Hours,
    /// The ceiling, as too little is known yet to learn from.
    WarmingUp,
    /// A multiple of the slowest recent gap.
    Learned,
    /// The floor: the multiple would be less.
    Floor,
    /// The ceiling: the multiple would be more.
    Ceiling,
}

impl LimitSource {
    /// The name in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Configured => "configured",
            Self::Hours => "hours",
            Self::WarmingUp => "warming_up",
            Self::Learned => "learned",
            Self::Floor => "floor",
            Self::Ceiling => "ceiling",
        }
    }
}

/// A snapshot of a feed's health. Serializes to JSON; durations as seconds (`..._age_seconds`).
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// The feed's name.
    pub name: String,
    /// The state of the feed as a whole.
    pub state: State,
    /// The current connection, or the last one; 0 before the first.
    pub epoch: u64,
    /// Where the current connection or attempt goes to, or the last one went: its URL without userinfo and with query
    /// values redacted. Before the first attempt, `None`.
    pub endpoint: Option<String>,
    /// Attempts since the last connection.
    pub attempt: u32,
    /// How long the current connection has been up.
    #[serde(rename = "up_seconds", serialize_with = "seconds")]
    pub up: Option<Duration>,
    /// When the next attempt will be made, while waiting.
    #[serde(rename = "next_attempt_in_seconds", serialize_with = "seconds")]
    pub next_attempt_in: Option<Duration>,
    /// Since the last byte on the current connection.
    #[serde(rename = "last_byte_age_seconds", serialize_with = "seconds")]
    pub last_byte_age: Option<Duration>,
    /// Since the last message of any class on the current connection.
    #[serde(rename = "last_message_age_seconds", serialize_with = "seconds")]
    pub last_message_age: Option<Duration>,
    /// Since the last data message on the current connection.
    #[serde(rename = "last_data_age_seconds", serialize_with = "seconds")]
    pub last_data_age: Option<Duration>,
    /// How long the application has kept livefeed from reading the socket, by a handler or a dialect that has not
    /// returned or a queue that is full, if it is 100 ms or more. So long nothing is known of the feed, and its state
    /// is that of before.
    #[serde(rename = "held_up_seconds", serialize_with = "seconds")]
    pub held_up: Option<Duration>,
    /// Since the last data message on whichever connection; before the first, `None`. The figure to monitor.
    #[serde(rename = "last_signal_age_seconds", serialize_with = "seconds")]
    pub last_signal_age: Option<Duration>,
    /// The limit on the connection's data age that is in force, if there is one.
    #[serde(rename = "stale_after_seconds", serialize_with = "seconds")]
    pub stale_after: Option<Duration>,
    /// Where it comes from, or why there is none.
    pub limit_source: LimitSource,
    /// The slowest recent gap in the data, if the limit is learned and enough is known.
    #[serde(rename = "learned_gap_seconds", serialize_with = "seconds")]
    pub learned_gap: Option<Duration>,
    /// What was missing, while stale.
    pub stale_cause: Option<StaleCause>,
    /// The alerts that were raised and are not over, by their kind's name, each once.
    pub alerts: Vec<&'static str>,
    /// Alerts that the callback for them was not told of, as it had too many before it (see
    /// [`FeedBuilder::on_alert`](crate::FeedBuilder::on_alert)).
    pub missed_alerts: u64,
    /// Each desired subscription.
    pub subscriptions: Vec<SubscriptionHealth>,
    /// Connections established so far.
    pub connections: u64,
    /// How connections and attempts ended, counted by the reason's name.
    pub ends: BTreeMap<&'static str, u64>,
    /// How the last connection or attempt ended; what to look at when there is no connection.
    #[serde(serialize_with = "text")]
    pub last_end: Option<EndReason>,
    /// Stale verdicts so far.
    pub stale_verdicts: u64,
    /// Messages received so far, of any class.
    pub messages: u64,
    /// Messages that met no matcher though each subscription has one: they are not data.
    pub unmatched: u64,
    /// Bytes received so far, as they came from the socket.
    pub bytes: u64,
    /// Gaps so far.
    pub gaps: u64,
    /// How many of them were gaps in sequence numbers.
    pub sequence_gaps: u64,
    /// How often the server refused a subscription so far.
    pub refused: u64,
    /// How often the server ended a subscription so far.
    pub ended: u64,
    /// Messages dropped by the queue's policy so far.
    pub dropped: u64,
    /// Messages in the queue, not yet claimed by a reader.
    pub queue_messages: usize,
    /// Bytes in the queue, those claimed and not yet consumed included.
    pub queue_bytes: usize,
    /// Bytes of the application that wait to be written.
    pub outbox_bytes: usize,
    /// Name lookups of this process that nobody waits for any more, stuck in the operating system.
    pub abandoned_lookups: usize,
    /// Why the feed is closed, if it is.
    #[serde(serialize_with = "text")]
    pub closed: Option<CloseReason>,
}

/// The health of one subscription.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct SubscriptionHealth {
    /// The subscription.
    pub id: SubscriptionId,
    /// Its state.
    pub state: SubscriptionState,
    /// Since its last data, on whichever connection; before the first, `None`.
    #[serde(rename = "last_signal_age_seconds", serialize_with = "seconds")]
    pub last_signal_age: Option<Duration>,
    /// Its limit that is in force, if there is one.
    #[serde(rename = "stale_after_seconds", serialize_with = "seconds")]
    pub stale_after: Option<Duration>,
    /// Where it comes from, or why there is none.
    pub limit_source: LimitSource,
    /// The slowest recent gap in its data, if its limit is learned and enough is known.
    #[serde(rename = "learned_gap_seconds", serialize_with = "seconds")]
    pub learned_gap: Option<Duration>,
    /// What was missing, while stale.
    pub stale_cause: Option<StaleCause>,
    /// How far the time that its last data carries was behind the clock here, less `skew_seconds`; if there is a rule
    /// for it.
    pub lag_seconds: Option<f64>,
    /// How far the server's clock seems to be ahead of the clock here: the most by which data on this connection came
    /// from the future; 0 if none did.
    pub skew_seconds: Option<f64>,
    /// Its messages so far.
    pub messages: u64,
}

impl Health {
    /// Whether nobody looked for so long that data may have been missing for longer than a limit.
    pub(crate) fn is_held_up(&self) -> bool {
        let limits = self.subscriptions.iter().filter_map(|one| one.stale_after).chain(self.stale_after);
        limits.min().zip(self.held_up).is_some_and(|(limit, held_up)| held_up > limit)
    }

    /// Whether it is as it should be, fresh or quiet, and the application has not kept livefeed from looking for longer
    /// than a limit: the answer for a monitor that wants one bit.
    pub fn is_healthy(&self) -> bool {
        matches!(self.state, State::Fresh | State::Quiet) && !self.is_held_up()
    }

    /// Whether data came within the limits. In quiet hours, such as those of a market that is closed, it is not fresh,
    /// and healthy all the same.
    pub fn is_fresh(&self) -> bool {
        self.state == State::Fresh
    }
}

#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn seconds<S: serde::Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(duration) => serializer.serialize_some(&duration.as_secs_f64()),
        None => serializer.serialize_none(),
    }
}

#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn text<T: ToString, S: serde::Serializer>(value: &Option<T>, serializer: S) -> Result<S::Ok, S::Error> {
    match value {
        Some(reason) => serializer.serialize_some(&reason.to_string()),
        None => serializer.serialize_none(),
    }
}

#[cfg(all(test, feature = "monitor"))]
mod tests {
    use super::*;

    #[test]
    fn states_have_the_same_name_everywhere() {
        for state in State::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        for state in SubscriptionState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.name());
        }
        use LimitSource::{Ceiling, Configured, Floor, Hours, Learned, WarmingUp};
        for source in [Configured, Hours, WarmingUp, Learned, Floor, Ceiling] {
            assert_eq!(serde_json::to_value(source).unwrap(), source.name());
        }
    }
}
