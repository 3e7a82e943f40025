//! Hours in virtual time, with all that time zones do to them.

#![cfg(feature = "schedule")]

mod model;
mod timetable;
mod zones;

use super::{Calendar, Span};
use crate::config::Hours;
use std::time::SystemTime;

/// An instant such as `2026-11-26T14:30:00Z`.
fn utc(text: &str) -> SystemTime {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

fn shown(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).unwrap().to_string()
}

fn calendar(hours: &Hours) -> Calendar {
    hours.compile("test").unwrap()
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
            assert_eq!(found, expected, "at {} for {hours:?}", shown(at));
        }
        assert_ne!(calendar.at(from - second / 1_000_000_000).open, index % 2 == 0);
    }
}
