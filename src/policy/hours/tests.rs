//! Hours in virtual time, with all that time zones do to them.

use super::{Calendar, HourLimit, Span, Timetable};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// An instant such as `2026-11-26T14:30:00Z`.
fn utc(text: &str) -> SystemTime {
    text.parse::<jiff::Timestamp>().unwrap().into()
}

fn shown(at: SystemTime) -> String {
    jiff::Timestamp::try_from(at).unwrap().to_string()
}

#[test]
fn a_timetable_turns_when_hours_open_or_close() {
    let morning = Arc::new(Calendar::daily_utc("08:00", "12:00"));
    let day = Arc::new(Calendar::daily_utc("09:00", "17:00"));
    let mut table = Timetable::new(vec![morning, day], utc("2026-05-01T08:30:00Z"));
    assert!(table.is_open(0) && !table.is_open(1) && !table.is_open(2));
    assert_eq!(shown(table.next().unwrap()), "2026-05-01T09:00:00Z");
    assert_eq!(shown(table.opened_at(0)), "2026-05-01T08:00:00Z");
    assert_eq!(shown(table.opened_at(1)), "2026-04-30T17:00:00Z");
    let limits = [
        HourLimit { hours: 1, during: true, limit: Some(Duration::from_secs(1)) },
        HourLimit { hours: 0, during: false, limit: None },
    ];
    assert_eq!(table.limit(&limits), None);
    assert!(!table.turn(utc("2026-05-01T08:59:59Z")));
    assert!(table.turn(utc("2026-05-01T09:00:00Z")));
    assert!(!table.turn(utc("2026-05-01T09:00:00Z")));
    assert_eq!(table.limit(&limits), Some(&limits[0]));
    assert!(table.turn(utc("2026-05-01T18:00:00Z")));
    assert_eq!(table.limit(&limits), Some(&limits[1]));

    let mut none = Timetable::new(Vec::new(), SystemTime::UNIX_EPOCH);
    assert!(!none.turn(utc("2026-05-01T18:00:00Z")));
    assert_eq!(none.next(), None);
    assert_eq!(none.limit(&[]), None);
}

fn assert_span(calendar: &Calendar, at: &str, open: bool, from: &str, until: &str) {
    let Span { open: is_open, from: begins, until: ends } = calendar.at(utc(at));
    assert_eq!((is_open, &*shown(begins), &*shown(ends)), (open, from, until), "at {at}");
}

#[test]
fn a_span_says_since_when_and_until_when() {
    let night = Calendar::daily_utc("22:00", "06:00");
    assert_span(&night, "2026-05-01T05:59:59Z", true, "2026-04-30T22:00:00Z", "2026-05-01T06:00:00Z");
    assert_span(&night, "2026-05-01T06:00:00Z", false, "2026-05-01T06:00:00Z", "2026-05-01T22:00:00Z");
    assert_span(&night, "2026-05-01T22:00:00Z", true, "2026-05-01T22:00:00Z", "2026-05-02T06:00:00Z");
}
