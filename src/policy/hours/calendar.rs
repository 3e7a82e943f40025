//! When hours are open: windows of local time, by day of the week and by date, in one time zone.

use super::Span;
use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};
use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, SystemTime};

/// How far ahead a span may reach at the most.
const AHEAD: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Without a change for so many days beyond all exceptions there is none to be found: two weeks, as one window may be
/// skipped, and a margin.
const QUIET_DAYS: usize = 20;

/// So many days are looked at, at the most, in each direction.
const MOST_DAYS: usize = 100;

/// Times outside of these years get no calendar: the clock is not set.
const YEARS: (i16, i16) = (1900, 9000);

/// A window of local time. It ends on the day it begins, or on the next if `to` is not after `from`: then it lasts
/// up to a whole day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) from: Time,
    pub(crate) to: Time,
}

/// The hours of one name.
///
/// A window begins at the first instant at which local clocks show `from` or later, and ends with the last at which
/// they show less than `to`. So an end that clocks skip is the instant of the skip, and a window over a doubled hour
/// covers both passes.
#[derive(Debug)]
pub(crate) struct Calendar {
    zone: TimeZone,
    /// From Monday; each sorted by its beginning.
    week: [Vec<Window>; 7],
    /// What holds on certain dates in place of that.
    dates: BTreeMap<Date, Vec<Window>>,
    earliest: Timestamp,
    latest: Timestamp,
    /// How many days to look at for the next or last change.
    reach: usize,
}

/// The instants from the first until just before the second.
type Interval = (Timestamp, Timestamp);

impl Calendar {
    /// Windows may overlap, and stand in any order.
    pub(crate) fn new(
        zone: TimeZone,
        mut week: [Vec<Window>; 7],
        mut dates: BTreeMap<Date, Vec<Window>>,
    ) -> Self {
        for windows in week.iter_mut().chain(dates.values_mut()) {
            windows.sort_by_key(|window| window.from);
        }
        let reach = dates.len().saturating_add(QUIET_DAYS).min(MOST_DAYS);
        let year = |year| {
            Date::new(year, 1, 1)
                .and_then(|date| date.to_datetime(Time::midnight()).to_zoned(TimeZone::UTC))
                .map_or(Timestamp::UNIX_EPOCH, |zoned| zoned.timestamp())
        };
        Self { zone, week, dates, earliest: year(YEARS.0), latest: year(YEARS.1), reach }
    }

    /// Open each day between these times, such as `09:00`, for tests of what hours lead to.
    #[cfg(test)]
    pub(crate) fn daily_utc(from: &str, to: &str) -> Self {
        let window = Window { from: from.parse().unwrap(), to: to.parse().unwrap() };
        Self::new(TimeZone::UTC, std::array::from_fn(|_| vec![window]), BTreeMap::new())
    }

    /// How things stand at this time.
    pub(crate) fn at(&self, now: SystemTime) -> Span {
        let limit = now.checked_add(AHEAD).unwrap_or(now);
        let (earliest, latest) = (SystemTime::from(self.earliest), SystemTime::from(self.latest));
        if now < earliest {
            return Span { open: false, from: now, until: earliest.min(limit) };
        }
        let at = Timestamp::try_from(now).ok().filter(|at| *at < self.latest);
        let Some(at) = at else { return Span { open: false, from: latest, until: limit } };
        let today = self.zone.to_datetime(at).date();
        let open = self.is_open(today, at);
        let (from, until) = match open {
            true => (self.opened(today, at), self.closes(today, at)),
            false => (self.closed(today, at), self.opens(today, at)),
        };
        // Whatever the rules of a time zone are, the answer must not hold for no time at all.
        let soon = at.saturating_add(SignedDuration::from_secs(1)).unwrap_or(self.latest);
        let from = SystemTime::from(from.max(self.earliest));
        let until = SystemTime::from(if until > at { until } else { soon }.min(self.latest));
        Span { open, from, until: until.min(limit) }
    }

    /// Whether they are open then, if it is this date.
    fn is_open(&self, today: Date, at: Timestamp) -> bool {
        // What began the day before yesterday goes on today where clocks were set forward by a day, and where they are
        // set back at midnight it is the date before once more.
        let mut date = shifted(today, -2);
        for _ in 0..4 {
            let Some(found) = date else { break };
            if self.of(found).any(|(from, until)| from <= at && at < until) {
                return true;
            }
            date = found.tomorrow().ok();
        }
        false
    }

    /// When they close, if they are open.
    fn closes(&self, today: Date, at: Timestamp) -> Timestamp {
        let mut end = at;
        let mut date = shifted(today, -2);
        for _ in 0..self.reach {
            let Some(found) = date else { break };
            // Windows come in the order of their beginnings: the first that leaves a hole is behind it.
            for (from, until) in self.of(found) {
                if from > end {
                    return end;
                }
                end = end.max(until);
            }
            date = self.next_date(found);
        }
        end
    }

    /// When they open, if they are closed.
    fn opens(&self, today: Date, at: Timestamp) -> Timestamp {
        let mut date = shifted(today, -2);
        for _ in 0..self.reach {
            let Some(found) = date else { break };
            if let Some((from, _)) = self.of(found).find(|(from, _)| *from > at) {
                return from;
            }
            date = self.next_date(found);
        }
        date.and_then(|date| self.first(date, Time::midnight())).unwrap_or(self.latest)
    }

    /// When they opened, if they are open.
    fn opened(&self, today: Date, at: Timestamp) -> Timestamp {
        let mut start = at;
        let mut date = shifted(today, 1);
        for _ in 0..self.reach {
            let Some(found) = date.filter(|date| self.over_by(*date) >= start) else { break };
            let mut windows: Vec<_> = self.of(found).collect();
            windows.reverse();
            for (from, until) in windows {
                if from < start && start <= until {
                    start = from;
                }
            }
            date = self.last_date(found);
        }
        start
    }

    /// When they closed, if they are closed.
    fn closed(&self, today: Date, at: Timestamp) -> Timestamp {
        let mut end = self.earliest;
        let mut date = shifted(today, 1);
        for _ in 0..self.reach {
            let Some(found) = date.filter(|date| self.over_by(*date) > end) else { return end };
            end =
                self.of(found).map(|(_, until)| until).filter(|until| *until <= at).fold(end, Timestamp::max);
            date = self.last_date(found);
        }
        // Not looked at is what begins on this date or before.
        date.map_or(end, |date| end.max(self.over_by(date)))
    }

    /// The windows that begin on this date, in their order, less those that clocks skip.
    fn of(&self, date: Date) -> impl Iterator<Item = Interval> {
        let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap_or_default();
        let usual = || self.week.get(weekday);
        let windows = self.dates.get(&date).or_else(usual).map_or(&[][..], Vec::as_slice);
        windows.iter().filter_map(move |window| {
            let end = if window.to > window.from { date } else { date.tomorrow().ok()? };
            let interval = (self.first(date, window.from)?, self.last(end, window.to)?);
            (interval.0 < interval.1).then_some(interval)
        })
    }

    /// The next date that may have windows.
    fn next_date(&self, date: Date) -> Option<Date> {
        if self.week.iter().any(|windows| !windows.is_empty()) {
            return date.tomorrow().ok();
        }
        self.dates.range((Bound::Excluded(date), Bound::Unbounded)).next().map(|(date, _)| *date)
    }

    /// The last date before that may have windows.
    fn last_date(&self, date: Date) -> Option<Date> {
        if self.week.iter().any(|windows| !windows.is_empty()) {
            return date.yesterday().ok();
        }
        self.dates.range(..date).next_back().map(|(date, _)| *date)
    }

    /// When whatever begins on this date, or before, has ended.
    fn over_by(&self, date: Date) -> Timestamp {
        shifted(date, 2).and_then(|date| self.last(date, Time::midnight())).unwrap_or(self.latest)
    }

    /// The first instant at which local clocks show this or later.
    fn first(&self, date: Date, time: Time) -> Option<Timestamp> {
        self.instant(date, time, false)
    }

    /// The last instant before which they show less.
    fn last(&self, date: Date, time: Time) -> Option<Timestamp> {
        self.instant(date, time, true)
    }

    fn instant(&self, date: Date, time: Time, last: bool) -> Option<Timestamp> {
        let local = date.to_datetime(time);
        let offset = match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset,
            AmbiguousOffset::Fold { before, after } if last => {
                let again = after.to_timestamp(local).ok()?;
                let second = SignedDuration::from_secs(1);
                // Clocks that are set back to just this time show nothing less any more.
                let is_least = self.zone.to_offset(again.checked_sub(second).ok()?) != after;
                if is_least { before } else { after }
            }
            AmbiguousOffset::Fold { before, .. } => before,
            AmbiguousOffset::Gap { after, .. } => {
                // By the clock after the skip it is before it.
                let before = after.to_timestamp(local).ok()?;
                return self.zone.following(before).next().map(|skip| skip.timestamp());
            }
        };
        offset.to_timestamp(local).ok()
    }
}

fn shifted(date: Date, days: i64) -> Option<Date> {
    date.checked_add(SignedDuration::from_hours(24 * days)).ok()
}
