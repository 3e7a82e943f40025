//! What a person is told of, beyond what happens once.

use super::limit::{self, Limit};
use super::none;
use crate::table;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// When a person is told that something goes on which should not, by an [`Alert`](crate::Alert). Section `alerts`.
///
/// Such an alert is [raised](crate::AlertStatus::Raised) once, and [cleared](crate::AlertStatus::Cleared) when it is
/// over. A slow consumer, a subscription that the server refuses or that is in quarantine, and a learned limit at its
/// ceiling are told of without any setting. Closing a feed clears nothing.
///
/// ```
/// use livefeed::{Feed, NoDataAlert, ReconnectAlert};
/// use std::time::Duration;
///
/// let minute = Duration::from_secs(60);
/// let builder = Feed::builder("wss://feed.example/ws").alerts(|alerts| {
///     alerts.reconnects = Some(ReconnectAlert::new(3, 5 * minute));
///     alerts.no_data.push(NoDataAlert::after(10 * minute));
///     alerts.down = minute.into();
/// });
/// # drop(builder);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Alerts {
    /// How often connections may end; `none` for as often as they like.
    /// Default: `{"more_than": 5, "within": "10m"}`.
    #[serde(serialize_with = "none::or", deserialize_with = "none::or_table")]
    pub reconnects: Option<ReconnectAlert>,
    /// How long the feed may be without data, and in which hours. At most 64. Default: `[]`.
    #[serde(deserialize_with = "table::many")]
    pub no_data: Vec<NoDataAlert>,
    /// How long there may be no connection, counted from the end of the last one, or from when the feed was opened. From
    /// 1 ms to 365 days, or `none`. Default: `5m`.
    pub down: Limit,
    /// Whether messages are told of that no rule and no subscription knows; it is over after a minute without. For a
    /// feed whose subscriptions all have a matcher. Default: `false`.
    pub unmatched: bool,
    /// How long after it was raised the same alert is not raised again. If what it is about goes on by then, it is
    /// raised at that time. From 1 ms to 365 days. Default: `10m`.
    #[serde(with = "limit::duration")]
    pub cool_down: Duration,
}

impl Default for Alerts {
    fn default() -> Self {
        Self {
            reconnects: Some(ReconnectAlert::default()),
            no_data: Vec::new(),
            down: Limit::After(Duration::from_secs(5 * 60)),
            unmatched: false,
            cool_down: Duration::from_secs(10 * 60),
        }
    }
}

/// How often connections may end before a person is told. Field `reconnects` of [`Alerts`].
///
/// Counted are connections, not attempts, whatever ended them but the application itself. It is over once no more than
/// `more_than` ended within the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct ReconnectAlert {
    /// How many may end within the window. From 0 to 10,000. Default: `5`.
    pub more_than: u32,
    /// How long the window is; it ends now. From 1 ms to 365 days. Default: `10m`.
    #[serde(with = "limit::duration")]
    pub within: Duration,
}

impl ReconnectAlert {
    /// Tells of more than so many within so long.
    pub fn new(more_than: u32, within: Duration) -> Self {
        Self { more_than, within }
    }
}

impl Default for ReconnectAlert {
    fn default() -> Self {
        Self::new(5, Duration::from_secs(10 * 60))
    }
}

/// How long a feed may be without data before a person is told, at any time or in certain hours. One of `no_data` of
/// [`Alerts`].
///
/// In data `{"after": "10m"}`, `{"after": "10m", "during": "nyse"}` or `{"after": "2h", "outside": "nyse"}`. Counted is
/// the time since the last data, or since the hours began if that was later. Time without a connection counts. Time in
/// which livefeed does not read (a full queue, a handler at work) does not: a slow consumer is no lack of data. It is over
/// with the next data, or when the hours are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct NoDataAlert {
    /// So long. From 1 ms to 365 days.
    #[serde(with = "limit::duration")]
    pub after: Duration,
    /// The name of the hours in which it holds. Default: `none`, at any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<String>,
    /// The name of the hours in which it does not hold. Not beside `during`. Default: `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<String>,
}

impl NoDataAlert {
    /// At any time.
    pub fn after(after: Duration) -> Self {
        Self { after, during: None, outside: None }
    }

    /// In these hours only.
    pub fn during(mut self, hours: impl Into<String>) -> Self {
        self.during = Some(hours.into());
        self
    }

    /// In all hours but these.
    pub fn outside(mut self, hours: impl Into<String>) -> Self {
        self.outside = Some(hours.into());
        self
    }
}
