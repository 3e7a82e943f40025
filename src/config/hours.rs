//! Named hours, such as those of a market, and limits that depend on them.

use super::Limit;
use crate::table::{self, Table};
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

/// When something is open: windows of local time by day of the week, and the dates on which others hold. A value of
/// `hours`, by whose name limits and alerts refer to it.
///
/// Times are those of the clocks of the time zone, also where these are set forward or back: a window lasts from the
/// first instant at which they show `from` or later, until the last before which they show less than `to`. So a time that
/// they skip stands for the instant of the skip, and of an hour that comes twice both passes count. Windows may overlap,
/// and two that touch are one. Needs the feature `schedule`.
///
/// ```
/// use livefeed::Hours;
///
/// let nyse = Hours::new("America/New_York")
///     .window("mon-fri", "09:30", "16:00")
///     .closed_on("2026-11-26")
///     .window_on("2026-11-27", "09:30", "13:00");
/// // From Sunday evening to Friday evening, with an hour off each day.
/// let futures = Hours::new("America/Chicago").window("sun-thu", "17:00", "16:00");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Hours {
    /// Whose clocks count: a name of the IANA time zone database, such as `"Europe/London"`, or `"UTC"`. The system's
    /// database is used if there is one, else the one that was built in.
    pub time_zone: String,
    /// When it is open each week. At most 100. Default: `[]`, only on some of the `dates`.
    #[serde(default, deserialize_with = "table::many", skip_serializing_if = "Vec::is_empty")]
    pub windows: Vec<Window>,
    /// Dates such as `"2026-11-26"` and their windows, which take the place of the weekly ones that begin on that date;
    /// `[]`: none does. What began the evening before goes on. At most 2,000 dates, with 24 windows each. Default: `{}`.
    #[serde(default, deserialize_with = "dates", skip_serializing_if = "BTreeMap::is_empty")]
    pub dates: BTreeMap<String, Vec<Window>>,
}

impl Hours {
    /// Hours in this time zone, not open yet.
    pub fn new(time_zone: impl Into<String>) -> Self {
        Self { time_zone: time_zone.into(), windows: Vec::new(), dates: BTreeMap::new() }
    }

    /// Opens on these days of the week from one time to another: see [`Window`] for their forms.
    pub fn window(mut self, days: impl Into<String>, from: impl Into<String>, to: impl Into<String>) -> Self {
        self.windows.push(Window { days: Some(days.into()), ..Window::new(from, to) });
        self
    }

    /// Opens on this date from one time to another, in place of what is weekly; more than once for more windows.
    pub fn window_on(
        mut self,
        date: impl Into<String>,
        from: impl Into<String>,
        to: impl Into<String>,
    ) -> Self {
        self.dates.entry(date.into()).or_default().push(Window::new(from, to));
        self
    }

    /// Does not open on this date.
    pub fn closed_on(mut self, date: impl Into<String>) -> Self {
        self.dates.insert(date.into(), Vec::new());
        self
    }
}

/// A window of local time. One of the `windows` or `dates` of [`Hours`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Window {
    /// The days of the week on which it begins: `"mon-fri"`, `"sat,sun"`, `"mon,wed-fri"`, or `"daily"`. Not
    /// within `dates`. Default: `"daily"`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub days: Option<String>,
    /// When it begins: `"09:30"`, or `"09:30:15"`. From `00:00` to `23:59:59`.
    pub from: String,
    /// When it ends, in the same form, or `"24:00"`; this instant does not belong to it. If it is not after `from`, it is
    /// of the next day: `"22:00"` to `"06:00"` is a night, and `"17:00"` to `"17:00"` is 24 hours.
    pub to: String,
}

impl Window {
    /// Daily, or on the date it is given for, from one time to another.
    pub fn new(from: impl Into<String>, to: impl Into<String>) -> Self {
        Self { days: None, from: from.into(), to: to.into() }
    }
}

/// How long there may be no data during certain hours, or outside of them. One of `by_hours`: the first that applies
/// counts, and where none does, `stale_after`.
///
/// ```
/// use livefeed::{FeedBuilder, HourLimit, Hours, Limit};
/// use std::time::Duration;
///
/// let builder = FeedBuilder::new("wss://feed.example/ws")
///     .hours("nyse", Hours::new("America/New_York").window("mon-fri", "09:30", "16:00"))
///     .hours("opening", Hours::new("America/New_York").window("mon-fri", "09:30", "09:45"))
///     .stale_after(Duration::from_secs(30))
///     .by_hours([
///         HourLimit::outside("nyse", Limit::None),
///         HourLimit::during("opening", Duration::from_secs(2)),
///     ]);
/// # let _ = builder;
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct HourLimit {
    /// The name of the hours during which it applies. Either this or `outside`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub during: Option<String>,
    /// The name of the hours outside of which it applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outside: Option<String>,
    /// How long there may be no data then. From 1 ms to 365 days, or `none`.
    pub stale_after: Limit,
}

impl HourLimit {
    /// For while these hours are open.
    pub fn during(hours: impl Into<String>, limit: impl Into<Limit>) -> Self {
        Self { during: Some(hours.into()), outside: None, stale_after: limit.into() }
    }

    /// For while these hours are closed.
    pub fn outside(hours: impl Into<String>, limit: impl Into<Limit>) -> Self {
        Self { during: None, outside: Some(hours.into()), stale_after: limit.into() }
    }
}

/// For `#[serde(deserialize_with = "hours::named")]`: objects by name, each name once.
pub(super) fn named<'de, T: Deserialize<'de>, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    let found: BTreeMap<String, Table<T>> = deserializer.deserialize_map(Unique(PhantomData))?;
    Ok(found.into_iter().map(|(name, Table(value))| (name, value)).collect())
}

fn dates<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BTreeMap<String, Vec<Window>>, D::Error> {
    let found: BTreeMap<String, Vec<Table<Window>>> = deserializer.deserialize_map(Unique(PhantomData))?;
    let plain = |windows: Vec<Table<Window>>| windows.into_iter().map(|Table(window)| window).collect();
    Ok(found.into_iter().map(|(date, windows)| (date, plain(windows))).collect())
}

/// Reads a map; serde would take the last of two entries of one name.
struct Unique<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for Unique<T> {
    type Value = BTreeMap<String, T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object {..}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = BTreeMap::new();
        while let Some((name, value)) = map.next_entry::<String, T>()? {
            if found.insert(name, value).is_some() {
                return Err(de::Error::custom("has a name that is there twice: name each once"));
            }
        }
        Ok(found)
    }
}
