//! Several hours side by side, and clocks that go on, jump ahead and are set back.

use super::{Hours, calendar, shown, utc};
use crate::policy::hours::{Calendar, HourLimit, Timetable};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn daily(from: &str, to: &str) -> Arc<Calendar> {
    Arc::new(Calendar::daily_utc(from, to))
}

#[test]
fn it_turns_when_any_hours_open_or_close() {
    let calendars = vec![daily("08:00", "12:00"), daily("09:00", "17:00")];
    let mut table = Timetable::new(calendars, utc("2026-05-01T08:30:00Z"));
    assert!(table.is_open(0) && !table.is_open(1) && !table.is_open(2));
    assert_eq!(shown(table.next().unwrap()), "2026-05-01T09:00:00Z");
    assert_eq!(shown(table.opened_at(0)), "2026-05-01T08:00:00Z");
    assert_eq!(shown(table.opened_at(1)), "2026-04-30T17:00:00Z");
    assert!(!table.turn(utc("2026-05-01T08:59:59Z")));
    for (at, open, next) in [
        ("2026-05-01T09:00:00Z", [true, true], "2026-05-01T12:00:00Z"),
        ("2026-05-01T12:00:00Z", [false, true], "2026-05-01T17:00:00Z"),
        ("2026-05-01T18:00:00Z", [false, false], "2026-05-02T08:00:00Z"),
        // Further than the next: a suspend.
        ("2026-05-02T10:00:00Z", [true, true], "2026-05-02T12:00:00Z"),
    ] {
        assert!(table.turn(utc(at)), "at {at}");
        assert!(!table.turn(utc(at)), "again at {at}");
        assert_eq!([table.is_open(0), table.is_open(1)], open, "at {at}");
        assert_eq!(shown(table.next().unwrap()), next, "at {at}");
    }

    let mut none = Timetable::new(Vec::new(), SystemTime::UNIX_EPOCH);
    assert!(!none.turn(utc("2026-05-01T18:00:00Z")));
    assert_eq!(none.next(), None);
    assert_eq!(none.limit(&[]), None);
}

#[test]
fn a_clock_that_is_set_back_takes_the_hours_with_it() {
    let mut table = Timetable::new(vec![daily("09:00", "17:00")], utc("2026-05-01T10:00:00Z"));
    assert!(!table.turn(utc("2026-05-01T09:00:00Z")));
    assert!(table.turn(utc("2026-05-01T08:59:59.999Z")));
    assert!(!table.is_open(0));
    assert_eq!(shown(table.opened_at(0)), "2026-04-30T17:00:00Z");
    assert_eq!(shown(table.next().unwrap()), "2026-05-01T09:00:00Z");
    assert!(table.turn(utc("2026-05-01T09:00:00Z")));
    // From one day's hours into another's: as open as before, but not the same opening.
    for (at, opened) in
        [("2026-05-03T10:00:00Z", "2026-05-03T09:00:00Z"), ("2026-04-20T10:00:00Z", "2026-04-20T09:00:00Z")]
    {
        assert!(table.turn(utc(at)), "at {at}");
        assert!(table.is_open(0));
        assert_eq!(shown(table.opened_at(0)), opened);
    }
}

#[test]
fn hours_that_never_close_never_turn() {
    let always = calendar(&Hours::new("Europe/London").window("daily", "00:00", "24:00"));
    let past = calendar(&Hours::new("UTC").window_on("2020-01-01", "00:00", "01:00"));
    let start = utc("2026-05-01T10:00:00Z");
    let mut table = Timetable::new(vec![Arc::new(always), Arc::new(past)], start);
    let opened = table.opened_at(0);
    let mut now = start;
    let mut asked = 0;
    while now < start + 4 * 365 * DAY {
        now = table.next().unwrap();
        assert!(!table.turn(now), "at {}", shown(now));
        asked += 1;
    }
    assert!(asked < 4 * 52, "{asked}");
    assert_eq!((table.is_open(0), table.is_open(1)), (true, false));
    assert_eq!(table.opened_at(0), opened);
    assert!(!table.turn(start), "set back");
    assert_eq!(table.opened_at(0), opened);
}

#[test]
fn the_first_limit_that_applies_counts() {
    let calendars = vec![daily("09:00", "17:00"), daily("09:00", "10:00")];
    let mut table = Timetable::new(calendars, utc("2026-05-01T08:00:00Z"));
    let limit = |hours, during, seconds: Option<u64>| HourLimit {
        hours,
        during,
        limit: seconds.map(Duration::from_secs),
    };
    let limits = [limit(0, false, None), limit(1, true, Some(2))];
    for (at, applies) in [
        ("2026-05-01T08:00:00Z", Some(0)),
        ("2026-05-01T09:00:00Z", Some(1)),
        ("2026-05-01T10:00:00Z", None),
        ("2026-05-01T17:00:00Z", Some(0)),
    ] {
        table.turn(utc(at));
        assert_eq!(table.limit(&limits), applies.map(|index: usize| &limits[index]), "at {at}");
    }
}
