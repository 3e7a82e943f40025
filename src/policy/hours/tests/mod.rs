//! Hours in virtual time, with all that time zones do to them.

#![cfg(feature = "schedule")]

mod model;
mod timetable;
mod zones;

use super::{Calendar, Span, Window};
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use std::collections::BTreeMap;
use std::time::SystemTime;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// What a calendar is made of, as it reads best.
#[derive(Debug, Clone)]
struct Hours {
    zone: TimeZone,
    /// From Monday.
    week: [Vec<Window>; 7],
    dates: BTreeMap<Date, Vec<Window>>,
}

impl Hours {
    fn new(zone: &str) -> Self {
        Self { zone: TimeZone::get(zone).unwrap(), week: Default::default(), dates: BTreeMap::new() }
    }

    /// On `daily`, or days such as `mon-fri`.
    fn window(mut self, days: &str, from: &str, to: &str) -> Self {
        let day = |name: &str| DAYS.iter().position(|day| *day == name).unwrap();
        let (first, last) = match days {
            "daily" => (0, 6),
            days => {
                let (first, last) = days.split_once('-').unwrap_or((days, days));
                (day(first), day(last))
            }
        };
        for index in first..=(last + if last < first { 7 } else { 0 }) {
            self.week[index % 7].push(window(from, to));
        }
        self
    }

    fn window_on(mut self, date: &str, from: &str, to: &str) -> Self {
        self.dates.entry(date.parse().unwrap()).or_default().push(window(from, to));
        self
    }

    fn closed_on(mut self, date: &str) -> Self {
        self.dates.insert(date.parse().unwrap(), Vec::new());
        self
    }
}

fn window(from: &str, to: &str) -> Window {
    let time = |text: &str| if text == "24:00" { Time::midnight() } else { text.parse().unwrap() };
    Window { from: time(from), to: time(to) }
}

/// An instant such as `2026-11-26T14:30:00Z`.
fn utc(text: &str) -> SystemTime {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

fn shown(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).unwrap().to_string()
}

fn calendar(hours: &Hours) -> Calendar {
    Calendar::new(hours.zone.clone(), hours.week.clone(), hours.dates.clone())
}

/// Goes from one change to the next, with a look just before each, and compares with these instants: at the first
/// they open, at the second they close, and so on.
fn assert_changes(hours: &Hours, changes: &[&str]) {
    let calendar = calendar(hours);
    let second = std::time::Duration::from_secs(1);
    for (index, pair) in changes.windows(2).enumerate() {
        let (from, until) = (utc(pair[0]), utc(pair[1]));
        for at in [
            from,
            from + second / 1_000_000_000,
            from + until.duration_since(from).unwrap() / 2,
            until - second,
        ] {
            let Span { open, from, until } = calendar.at(at);
            let found = (open, shown(from), shown(until));
            let expected = (index % 2 == 0, pair[0].to_owned(), pair[1].to_owned());
            assert_eq!(found, expected, "at {} for {:?}", shown(at), hours.week);
        }
        assert_ne!(calendar.at(from - second / 1_000_000_000).open, index % 2 == 0);
    }
}
