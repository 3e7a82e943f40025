//! How old data may get: a fixed limit, none, or one that is learned from the data itself.

use super::limit::{self, Limit};
use crate::table;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// How long there may be no data before it counts as stale.
///
/// In JSON `"60s"`, `"none"`, `"adaptive"`, or `{"adaptive": {"factor": 4, "ceiling": "30s"}}` with any of the fields of
/// [`Adaptive`].
///
/// ```
/// use livefeed::{Adaptive, Limit, StaleAfter};
/// use std::time::Duration;
///
/// let minute = Duration::from_secs(60);
/// assert_eq!(StaleAfter::from(minute).longest(), Some(minute));
/// assert_eq!(StaleAfter::from(Limit::None).longest(), None);
/// assert_eq!(StaleAfter::from(Adaptive::new().ceiling(minute)).longest(), Some(minute));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum StaleAfter {
    /// After this long.
    After(Duration),
    /// Never.
    None,
    /// After a limit that is learned from the data.
    Adaptive(Adaptive),
}

impl StaleAfter {
    /// The duration, or the ceiling of one that is learned; `None` if there is no limit. It is never later than this.
    pub fn longest(self) -> Option<Duration> {
        match self {
            Self::After(duration) => Some(duration),
            Self::None => None,
            Self::Adaptive(adaptive) => Some(adaptive.ceiling),
        }
    }

    /// How the limit is learned, if it is.
    pub fn adaptive(self) -> Option<Adaptive> {
        match self {
            Self::Adaptive(adaptive) => Some(adaptive),
            Self::After(_) | Self::None => None,
        }
    }

    /// What holds where a limit can't be learned.
    pub(super) fn fixed(self) -> Limit {
        self.longest().map_or(Limit::None, Limit::After)
    }
}

impl From<Duration> for StaleAfter {
    fn from(duration: Duration) -> Self {
        Self::After(duration)
    }
}

impl From<Limit> for StaleAfter {
    fn from(limit: Limit) -> Self {
        limit.duration().map_or(Self::None, Self::After)
    }
}

impl From<Adaptive> for StaleAfter {
    fn from(adaptive: Adaptive) -> Self {
        Self::Adaptive(adaptive)
    }
}

/// A limit on the age of data that is learned: a multiple of the slowest recent gap between data.
///
/// The usual advice for a fixed limit is three to five times the gap that is to be expected in the slowest period.
/// This measures that gap, of the connection as a whole or of each subscription for itself, and keeps doing so.
///
/// - It looks at the last two hours or so in which data was awaited; for data that is rare, at as much time as it takes
///   to see some fifty gaps. Time without a connection is no such time, and the gap across a new connection, a new
///   subscription, or a change of hours (see [`Terms::by_hours`](crate::Terms::by_hours)) does not count.
/// - The two slowest gaps of that time are left out, as they may be outages; the third is what counts. However many
///   messages come, they can't push out a slow gap: only time can.
/// - Silence that went stale counts only when it is the third time, and then for as long as the limit was. One outage or
///   two, however long, thus change nothing; but when the data has become slower for good, every third stale verdict
///   raises the limit by `factor`, up to `ceiling`, until the verdicts stop.
/// - The limit is `ceiling` until enough is known: until data was seen for `warm_up`, and for ten times as long as the gap
///   that counts, the two slowest gaps left out. What is known outlives a connection, but not the feed; a subscription
///   that is replaced starts anew.
/// - The first data of a connection has until `ceiling`, or what [`first_data_within`](crate::Terms::first_data_within) says.
///
/// It can't tell an outage that begins slowly from data that becomes slower, nor can it know that a market is closed: for
/// that there are hours. [`Health`](crate::Health) says which limit is in force, and where it comes from. It costs some
/// nanoseconds each time data comes in, and half a kilobyte.
///
/// ```
/// use livefeed::{Adaptive, Feed};
/// use std::time::Duration;
///
/// let builder = Feed::builder("wss://feed.example/ws")
///     .stale_after(Adaptive::new().factor(3.0).ceiling(Duration::from_secs(30)));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[non_exhaustive]
pub struct Adaptive {
    /// How many times the slowest recent gap the limit is. Less finds an outage sooner, and cries wolf more often: below 2
    /// any irregularity is an outage. From 1 to 100. Default: `4`.
    pub factor: f64,
    /// The limit is never shorter, however fast the data is. From 1 ms to 365 days. Default: `1s`.
    #[serde(with = "limit::duration")]
    pub floor: Duration,
    /// The limit is never longer, however slow the data is. Data that is by nature slower is stale again and again, so give
    /// as long as you would wait for it in the slowest hour. Not less than `floor`; up to 365 days. Default: `60s`.
    #[serde(with = "limit::duration")]
    pub ceiling: Duration,
    /// How long data must have been seen before anything is concluded from it. From 1 ms to 365 days. Default: `60s`.
    #[serde(with = "limit::duration")]
    pub warm_up: Duration,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self {
            factor: 4.0,
            floor: Duration::from_secs(1),
            ceiling: Duration::from_secs(60),
            warm_up: Duration::from_secs(60),
        }
    }
}

impl Adaptive {
    /// The defaults: four times the slowest recent gap, at least 1 s and at most 60 s.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many times the slowest recent gap the limit is.
    pub fn factor(mut self, factor: f64) -> Self {
        self.factor = factor;
        self
    }

    /// Sets how short the limit may get.
    pub fn floor(mut self, floor: Duration) -> Self {
        self.floor = floor;
        self
    }

    /// Sets how long the limit may get.
    pub fn ceiling(mut self, ceiling: Duration) -> Self {
        self.ceiling = ceiling;
        self
    }

    /// Sets how long data must have been seen before the limit is learned.
    pub fn warm_up(mut self, warm_up: Duration) -> Self {
        self.warm_up = warm_up;
        self
    }
}

impl Serialize for StaleAfter {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self::Adaptive(adaptive) = self else { return self.fixed().serialize(serializer) };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry("adaptive", adaptive)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for StaleAfter {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StaleAfterVisitor)
    }
}

struct StaleAfterVisitor;

impl<'de> Visitor<'de> for StaleAfterVisitor {
    type Value = StaleAfter;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "a duration such as \"500ms\" or \"60s\", \"none\", \"adaptive\", or {\"adaptive\": {..}}",
        )
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<StaleAfter, E> {
        match text {
            "none" => Ok(StaleAfter::None),
            "adaptive" => Ok(StaleAfter::Adaptive(Adaptive::new())),
            text => limit::duration::parse(text)
                .map(StaleAfter::After)
                .ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<StaleAfter, A::Error> {
        let form = AdaptiveForm::deserialize(MapAccessDeserializer::new(map))?;
        Ok(StaleAfter::Adaptive(form.adaptive))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AdaptiveForm {
    #[serde(deserialize_with = "table::one")]
    adaptive: Adaptive,
}
