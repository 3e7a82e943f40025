//! Calendars against a slow one that looks at the clocks of each minute, one after the other.

use super::{Hours, calendar, shown};
use crate::policy::hours::Window;
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use std::time::{Duration, SystemTime};

/// Places with all kinds of clock changes, and a date near one.
const PLACES: [(&str, &str); 12] = [
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2027-11-07"),
    ("Europe/London", "2026-10-25"),
    ("Europe/London", "2027-03-28"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Africa/Cairo", "2026-04-24"),
    ("Africa/Cairo", "2026-10-30"),
    ("America/St_Johns", "2010-11-07"),
    ("America/Sao_Paulo", "2018-11-04"),
    ("Pacific/Apia", "2011-12-30"),
    ("Asia/Kolkata", "2026-06-01"),
    ("UTC", "2026-12-31"),
];

const MINUTE: Duration = Duration::from_secs(60);

/// Minutes of a day, often in the night, when clocks are set.
fn minute_of_day() -> impl Strategy<Value = u32> {
    prop_oneof![0..1440_u32, 0..240_u32, (0..8_u32).prop_map(|half| half * 30), Just(0)]
}

fn time(minute: u32) -> Time {
    let part = |number: u32| i8::try_from(number).unwrap();
    Time::new(part(minute / 60 % 24), part(minute % 60), 0, 0).unwrap()
}

fn window() -> impl Strategy<Value = Window> {
    let to = prop_oneof![minute_of_day(), Just(1440)];
    (minute_of_day(), to).prop_map(|(from, to)| Window { from: time(from), to: time(to) })
}

prop_compose! {
    fn any_hours()(
        place in 0..PLACES.len(),
        weekly in prop::collection::vec((0_u8..128, window()), 0..5),
        exceptions in prop::collection::vec((-6_i64..7, prop::collection::vec(window(), 0..3)), 0..5),
    ) -> (Hours, Date) {
        let (zone, date) = PLACES[place];
        let date: Date = date.parse().unwrap();
        let mut hours = Hours::new(zone);
        for (days, window) in weekly {
            for (_, windows) in (0..7).zip(&mut hours.week).filter(|(day, _)| days & (1 << day) != 0) {
                windows.push(window);
            }
        }
        for (days, windows) in exceptions {
            let date = date.checked_add(jiff::SignedDuration::from_hours(24 * days)).unwrap();
            hours.dates.insert(date, windows);
        }
        (hours, date)
    }
}

/// Whether each minute is open, from one on. A window goes from the first minute whose clock shows its beginning or
/// later, to the last whose clock shows less than its end.
fn minutes(hours: &Hours, first: Timestamp, count: usize) -> Vec<bool> {
    let at = |index: usize| first + jiff::SignedDuration::from_mins(i64::try_from(index).unwrap());
    let clocks: Vec<DateTime> = (0..count).map(|index| hours.zone.to_datetime(at(index))).collect();
    let mut latest_yet = clocks.clone();
    for index in 1..count {
        latest_yet[index] = latest_yet[index].max(latest_yet[index - 1]);
    }
    let mut earliest_to_come = clocks.clone();
    for index in (0..count - 1).rev() {
        earliest_to_come[index] = earliest_to_come[index].min(earliest_to_come[index + 1]);
    }
    let mut open = vec![false; count];
    let mut date = clocks[0].date().checked_sub(jiff::SignedDuration::from_hours(72)).unwrap();
    while date <= clocks[count - 1].date() {
        let weekday = usize::try_from(date.weekday().to_monday_zero_offset()).unwrap();
        for window in hours.dates.get(&date).unwrap_or(&hours.week[weekday]) {
            let (from, mut to) = (date.to_datetime(window.from), date.to_datetime(window.to));
            if to <= from {
                to = to.date().tomorrow().unwrap().to_datetime(to.time());
            }
            let from = latest_yet.partition_point(|clock| *clock < from);
            let to = earliest_to_come.partition_point(|clock| *clock < to);
            if from < to {
                open[from..to].fill(true);
            }
        }
        date = date.tomorrow().unwrap();
    }
    open
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn spans_agree_with_every_minute_and_follow_on_each_other((hours, date) in any_hours(), inside in 0.0..1.0_f64) {
        let calendar = calendar(&hours);
        let noon = date.at(12, 0, 0, 0).to_zoned(TimeZone::UTC).unwrap().timestamp();
        let start = noon - jiff::SignedDuration::from_hours(7 * 24);
        // A margin on each side, so that nothing is cut off there.
        let margin = 4 * 1440;
        let count = 14 * 1440;
        let early = start - jiff::SignedDuration::from_mins(i64::try_from(margin).unwrap());
        let open = &minutes(&hours, early, count + 2 * margin)[margin..margin + count];

        let start = SystemTime::from(start);
        let minute = |index: usize| start + MINUTE * u32::try_from(index).unwrap();
        let mut index = 0;
        let mut before = None;
        while index < count {
            let now = minute(index);
            let span = calendar.at(now);
            prop_assert!(span.from <= now && now < span.until, "{span:?} at {}", shown(now));
            if let Some(before) = before {
                prop_assert_eq!(span.from, now, "at {}", shown(now));
                prop_assert!(span.open != before, "twice {} at {}", before, shown(now));
            }
            let seconds = span.until.duration_since(start).unwrap().as_secs();
            prop_assert_eq!(seconds % 60, 0);
            let next = usize::try_from(seconds / 60).unwrap();
            let other = open[index..next.min(count)].iter().position(|open| *open != span.open);
            prop_assert_eq!(other.map(|after| shown(minute(index + after))), None, "within {:?}", span);
            // The answer is the same wherever in the span it is asked for.
            let length = span.until.duration_since(now).unwrap();
            if next < count {
                for at in [now + length.mul_f64(inside), span.until - Duration::from_nanos(1)] {
                    let again = calendar.at(at);
                    prop_assert_eq!((again.open, again.until), (span.open, span.until), "at {}", shown(at));
                    // Except that its beginning is looked for over so many days only.
                    let looked = Duration::from_secs(13 * 24 * 60 * 60);
                    prop_assert!(again.from == span.from || again.from + looked < at, "at {}", shown(at));
                }
            }
            before = Some(span.open);
            index = next;
        }
    }
}
