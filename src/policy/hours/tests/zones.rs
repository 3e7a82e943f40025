//! Markets and odd hours of real time zones, by what their clocks did and will do.

use super::{Hours, assert_changes, calendar, shown, utc};
use std::time::SystemTime;

fn nyse() -> Hours {
    Hours::new("America/New_York").window("mon-fri", "09:30", "16:00")
}

fn london() -> Hours {
    Hours::new("Europe/London").window("mon-fri", "08:00", "16:30")
}

#[test]
fn new_york_keeps_its_hours_when_clocks_are_set() {
    assert_changes(
        &nyse(),
        &[
            "2026-03-06T14:30:00Z",
            "2026-03-06T21:00:00Z",
            "2026-03-09T13:30:00Z",
            "2026-03-09T20:00:00Z",
            "2026-03-10T13:30:00Z",
        ],
    );
    assert_changes(
        &nyse(),
        &[
            "2026-10-30T13:30:00Z",
            "2026-10-30T20:00:00Z",
            "2026-11-02T14:30:00Z",
            "2026-11-02T21:00:00Z",
            "2026-11-03T14:30:00Z",
        ],
    );
    assert_changes(
        &nyse(),
        &["2027-03-12T14:30:00Z", "2027-03-12T21:00:00Z", "2027-03-15T13:30:00Z", "2027-03-15T20:00:00Z"],
    );
    assert_changes(
        &nyse(),
        &["2027-11-05T13:30:00Z", "2027-11-05T20:00:00Z", "2027-11-08T14:30:00Z", "2027-11-08T21:00:00Z"],
    );
}

#[test]
fn london_keeps_its_hours_when_clocks_are_set() {
    assert_changes(
        &london(),
        &["2026-03-27T08:00:00Z", "2026-03-27T16:30:00Z", "2026-03-30T07:00:00Z", "2026-03-30T15:30:00Z"],
    );
    assert_changes(
        &london(),
        &["2026-10-23T07:00:00Z", "2026-10-23T15:30:00Z", "2026-10-26T08:00:00Z", "2026-10-26T16:30:00Z"],
    );
    assert_changes(
        &london(),
        &["2027-03-26T08:00:00Z", "2027-03-26T16:30:00Z", "2027-03-29T07:00:00Z", "2027-03-29T15:30:00Z"],
    );
    assert_changes(
        &london(),
        &["2027-10-29T07:00:00Z", "2027-10-29T15:30:00Z", "2027-11-01T08:00:00Z", "2027-11-01T16:30:00Z"],
    );
}

#[test]
fn an_edge_in_the_skipped_hour_is_the_instant_of_the_skip() {
    // On 8 March 2026 New York goes from 02:00 to 03:00, which is at 07:00 UTC.
    let from = Hours::new("America/New_York").window("sun", "02:30", "05:00");
    assert_changes(
        &from,
        &["2026-03-01T07:30:00Z", "2026-03-01T10:00:00Z", "2026-03-08T07:00:00Z", "2026-03-08T09:00:00Z"],
    );
    let to = Hours::new("America/New_York").window("sun", "01:00", "02:30");
    assert_changes(
        &to,
        &["2026-03-01T06:00:00Z", "2026-03-01T07:30:00Z", "2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"],
    );
    let within = Hours::new("America/New_York").window("sun", "02:10", "02:50");
    assert_changes(
        &within,
        &["2026-03-01T07:10:00Z", "2026-03-01T07:50:00Z", "2026-03-15T06:10:00Z", "2026-03-15T06:50:00Z"],
    );
    // A window that skips it is an hour shorter.
    let over = Hours::new("America/New_York").window("daily", "00:00", "04:00");
    assert_changes(&over, &["2026-03-08T05:00:00Z", "2026-03-08T08:00:00Z", "2026-03-09T04:00:00Z"]);
}

#[test]
fn an_edge_in_the_doubled_hour_is_taken_so_that_both_passes_count() {
    // On 25 October 2026 London goes from 02:00 back to 01:00, which is at 01:00 UTC.
    let from = Hours::new("Europe/London").window("sun", "01:30", "04:00");
    assert_changes(&from, &["2026-10-25T00:30:00Z", "2026-10-25T04:00:00Z", "2026-11-01T01:30:00Z"]);
    let to = Hours::new("Europe/London").window("sun", "00:00", "01:30");
    assert_changes(&to, &["2026-10-24T23:00:00Z", "2026-10-25T01:30:00Z", "2026-11-01T00:00:00Z"]);
    // But no clock shows less than 01:00 again.
    let before = Hours::new("Europe/London").window("sun", "00:00", "01:00");
    assert_changes(&before, &["2026-10-24T23:00:00Z", "2026-10-25T00:00:00Z", "2026-11-01T00:00:00Z"]);
    let exact = Hours::new("Europe/London").window("sun", "01:00", "02:00");
    assert_changes(&exact, &["2026-10-25T00:00:00Z", "2026-10-25T02:00:00Z", "2026-11-01T01:00:00Z"]);
    let within = Hours::new("Europe/London").window("sun", "01:10", "01:20");
    assert_changes(&within, &["2026-10-25T00:10:00Z", "2026-10-25T01:20:00Z", "2026-11-01T01:10:00Z"]);
}

#[test]
fn clocks_that_are_set_at_midnight_open_and_close_days() {
    // Cairo goes from Thursday 24:00 back to 23:00, and from Friday 00:00 to 01:00.
    let friday = Hours::new("Africa/Cairo").window("fri", "00:00", "24:00");
    assert_changes(&friday, &["2026-04-23T22:00:00Z", "2026-04-24T21:00:00Z", "2026-04-30T21:00:00Z"]);
    assert_changes(&friday, &["2026-10-29T22:00:00Z", "2026-10-30T22:00:00Z", "2026-11-05T22:00:00Z"]);
    let thursday = Hours::new("Africa/Cairo").window("thu", "23:30", "24:00");
    assert_changes(&thursday, &["2026-10-29T20:30:00Z", "2026-10-29T22:00:00Z", "2026-11-05T21:30:00Z"]);
    // Newfoundland once did it at one past midnight, so that Sunday came twice and Saturday in between.
    let sunday = Hours::new("America/St_Johns").window("sun", "00:00", "24:00");
    assert_changes(&sunday, &["2010-11-07T02:30:00Z", "2010-11-08T03:30:00Z", "2010-11-14T03:30:00Z"]);
}

#[test]
fn a_date_that_a_country_left_out_has_no_hours() {
    // Samoa had no 30 December 2011: the 31st began at 10:00 UTC of the 30th.
    let daily = Hours::new("Pacific/Apia").window("daily", "09:00", "17:00");
    assert_changes(
        &daily,
        &["2011-12-29T19:00:00Z", "2011-12-30T03:00:00Z", "2011-12-30T19:00:00Z", "2011-12-31T03:00:00Z"],
    );
    let friday = Hours::new("Pacific/Apia").window("fri", "00:00", "24:00");
    assert_changes(&friday, &["2011-12-23T10:00:00Z", "2011-12-24T10:00:00Z", "2012-01-05T10:00:00Z"]);
}

#[test]
fn a_zone_whose_clocks_are_never_set_is_as_plain_as_it_looks() {
    let tokyo =
        Hours::new("Asia/Tokyo").window("mon-fri", "09:00", "11:30").window("mon-fri", "12:30", "15:30");
    assert_changes(
        &tokyo,
        &[
            "2026-03-06T00:00:00Z",
            "2026-03-06T02:30:00Z",
            "2026-03-06T03:30:00Z",
            "2026-03-06T06:30:00Z",
            "2026-03-09T00:00:00Z",
        ],
    );
    let half = Hours::new("Asia/Kolkata").window("daily", "09:15:30", "15:30:01");
    assert_changes(&half, &["2026-03-06T03:45:30Z", "2026-03-06T10:00:01Z", "2026-03-07T03:45:30Z"]);
    let night = Hours::new("UTC").window("daily", "22:00", "06:00");
    assert_changes(&night, &["2026-04-30T22:00:00Z", "2026-05-01T06:00:00Z", "2026-05-01T22:00:00Z"]);
}

#[test]
fn a_week_may_open_on_sunday_evening() {
    // Currencies: without a break from Sunday to Friday, 17:00 in New York, also over the night of 8 March.
    let forex = Hours::new("America/New_York").window("sun-thu", "17:00", "17:00");
    assert_changes(
        &forex,
        &["2026-03-01T22:00:00Z", "2026-03-06T22:00:00Z", "2026-03-08T21:00:00Z", "2026-03-13T21:00:00Z"],
    );
    // Futures: the same with an hour off.
    let futures = Hours::new("America/Chicago").window("sun-thu", "17:00", "16:00");
    assert_changes(
        &futures,
        &[
            "2026-03-05T23:00:00Z",
            "2026-03-06T22:00:00Z",
            "2026-03-08T22:00:00Z",
            "2026-03-09T21:00:00Z",
            "2026-03-09T22:00:00Z",
        ],
    );
    let wrapped = Hours::new("UTC").window("sat-mon", "00:00", "24:00");
    assert_changes(&wrapped, &["2026-05-02T00:00:00Z", "2026-05-05T00:00:00Z", "2026-05-09T00:00:00Z"]);
}

#[test]
fn holidays_are_closed_and_half_days_short() {
    let hours = nyse().closed_on("2026-11-26").window_on("2026-11-27", "09:30", "13:00");
    assert_changes(
        &hours,
        &[
            "2026-11-25T14:30:00Z",
            "2026-11-25T21:00:00Z",
            "2026-11-27T14:30:00Z",
            "2026-11-27T18:00:00Z",
            "2026-11-30T14:30:00Z",
        ],
    );
    // A date can also be open that is usually closed, and have several windows.
    let open = nyse().window_on("2026-11-28", "10:00", "11:00").window_on("2026-11-28", "12:00", "13:00");
    assert_changes(
        &open,
        &[
            "2026-11-27T14:30:00Z",
            "2026-11-27T21:00:00Z",
            "2026-11-28T15:00:00Z",
            "2026-11-28T16:00:00Z",
            "2026-11-28T17:00:00Z",
            "2026-11-28T18:00:00Z",
            "2026-11-30T14:30:00Z",
        ],
    );
}

#[test]
fn an_exception_replaces_what_begins_on_its_date_and_nothing_else() {
    let futures = Hours::new("America/Chicago").window("sun-thu", "17:00", "16:00");
    // Closed on a Wednesday: what began on Tuesday evening goes on until Wednesday 16:00, and Thursday evening is next.
    assert_changes(
        &futures.clone().closed_on("2026-05-06"),
        &["2026-05-05T22:00:00Z", "2026-05-06T21:00:00Z", "2026-05-07T22:00:00Z", "2026-05-08T21:00:00Z"],
    );
    // To end Tuesday's at noon, it is Tuesday's window that is said anew, and Wednesday begins as ever.
    assert_changes(
        &futures.clone().window_on("2026-05-05", "17:00", "12:00"),
        &["2026-05-05T22:00:00Z", "2026-05-06T17:00:00Z", "2026-05-06T22:00:00Z", "2026-05-07T21:00:00Z"],
    );
    // A Sunday evening that does not open.
    assert_changes(
        &futures.closed_on("2026-05-10"),
        &["2026-05-07T22:00:00Z", "2026-05-08T21:00:00Z", "2026-05-11T22:00:00Z", "2026-05-12T21:00:00Z"],
    );
}

#[test]
fn windows_that_overlap_or_touch_are_one() {
    let hours = Hours::new("UTC")
        .window("mon", "09:00", "12:00")
        .window("mon-wed", "11:00", "15:00")
        .window("mon", "15:00", "16:00")
        .window("mon", "09:30", "10:00");
    assert_changes(&hours, &["2026-05-04T09:00:00Z", "2026-05-04T16:00:00Z", "2026-05-05T11:00:00Z"]);
    let through = Hours::new("UTC").window("mon", "20:00", "24:00").window("tue", "00:00", "03:00");
    assert_changes(&through, &["2026-05-04T20:00:00Z", "2026-05-05T03:00:00Z", "2026-05-11T20:00:00Z"]);
}

/// How far a span reaches shows how many days were looked at.
#[test]
fn what_never_changes_is_looked_for_within_bounds() {
    let days = |from: SystemTime, to: SystemTime| to.duration_since(from).unwrap().as_secs() / (24 * 60 * 60);
    let now = utc("2026-05-01T12:00:00Z");
    let always = calendar(&Hours::new("Europe/London").window("daily", "00:00", "24:00")).at(now);
    assert!(always.open, "{always:?}");
    assert!((14..20).contains(&days(now, always.until)) && (14..20).contains(&days(always.from, now)));

    // Only dates that are over: closed for good.
    let over = Hours::new("Europe/London").window_on("2020-01-02", "08:00", "16:30");
    let over = calendar(&over).at(now);
    assert!(!over.open && days(now, over.until) == 366, "{over:?}");
    assert_eq!(shown(over.from), "2020-01-02T16:30:00Z");
    // And only dates to come, which are found however far they are, up to a year.
    let ahead =
        Hours::new("UTC").window_on("2027-02-01", "08:00", "16:30").window_on("2044-01-01", "08:00", "09:00");
    assert_eq!(shown(calendar(&ahead).at(now).until), "2027-02-01T08:00:00Z");
    assert_eq!(days(now, calendar(&ahead).at(utc("2027-02-02T00:00:00Z")).until), 366 + 276);
    assert!(calendar(&ahead).at(utc("2044-01-01T08:30:00Z")).open);

    // Closed for years on end, a day at a time.
    let mut closed = Hours::new("Europe/London").window("daily", "09:00", "10:00");
    let mut open = Hours::new("Europe/London").window("daily", "00:00", "24:00");
    let mut date: jiff::civil::Date = "2024-01-01".parse().unwrap();
    for _ in 0..2_000 {
        closed = closed.closed_on(&date.to_string());
        open = open.window_on(&date.to_string(), "00:00", "12:00").window_on(
            &date.to_string(),
            "11:00",
            "24:00",
        );
        date = date.tomorrow().unwrap();
    }
    for (hours, is_open) in [(closed, false), (open, true)] {
        let span = calendar(&hours).at(now);
        assert_eq!(span.open, is_open);
        assert!((90..110).contains(&days(now, span.until)), "{span:?}");
        assert!((90..110).contains(&days(span.from, now)), "{span:?}");
    }
}

#[test]
fn a_clock_that_is_not_set_has_an_answer_too() {
    let calendar = calendar(&nyse());
    let year = std::time::Duration::from_secs(365 * 24 * 60 * 60);
    let epoch = SystemTime::UNIX_EPOCH;
    assert_eq!(shown(calendar.at(epoch).from), "1969-12-31T21:00:00Z");
    let mut far = vec![epoch - 69 * year, epoch - 71 * year, epoch + 7029 * year, epoch + 7032 * year];
    far.extend(epoch.checked_add(20_000 * year));
    far.extend(epoch.checked_sub(300 * year));
    for at in far {
        let span = calendar.at(at);
        assert!(span.from <= at && at < span.until, "{span:?}");
    }
}

#[test]
fn the_time_zones_are_there_without_those_of_the_system() {
    let built_in = jiff::tz::TimeZoneDatabase::bundled();
    for name in ["America/New_York", "Europe/London", "Asia/Tokyo", "UTC"] {
        assert!(built_in.get(name).is_ok(), "{name}");
    }
}
