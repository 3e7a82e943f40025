//! Named hours as data, and what is wrong with them.

use super::*;

const NYSE: &str = r#"{
    "time_zone": "America/New_York",
    "windows": [{"days": "mon-fri", "from": "09:30", "to": "16:00"}],
    "dates": {"2026-11-26": [], "2026-11-27": [{"from": "09:30", "to": "13:00"}]}
}"#;

fn nyse() -> Value {
    serde_json::from_str(NYSE).unwrap()
}

/// A feed with these hours, and one limit by them.
fn hours(hours: &Value) -> Value {
    json!({"hours": {"x": hours}})
}

#[test]
fn hours_round_trip_and_are_built() {
    let read: Hours = serde_json::from_value(nyse()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), nyse());
    let built = Hours::new("America/New_York")
        .window("mon-fri", "09:30", "16:00")
        .closed_on("2026-11-26")
        .window_on("2026-11-27", "09:30", "13:00");
    assert_eq!(built, read);

    let limits = json!([{"outside": "nyse", "stale_after": "none"}, {"during": "nyse", "stale_after": "2s"}]);
    let by_hours =
        [HourLimit::outside("nyse", Limit::None), HourLimit::during("nyse", Duration::from_secs(2))];
    let config = json!({
        "url": ANY_URL, "hours": {"nyse": nyse()}, "by_hours": limits,
        "subscriptions": [{"id": "a"}, {"id": "b", "by_hours": []}], "defaults": {"by_hours": [limits[1]], "data": {"text": "${name}"}}
    });
    let config = FeedConfig::from_json(&config.to_string()).unwrap();
    let built = FeedBuilder::new(ANY_URL)
        .hours("nyse", built)
        .by_hours(by_hours.clone())
        .subscription(Subscription::new("a"))
        .subscription(Subscription::new("b").by_hours([]))
        .defaults(|each| each.by_hours([by_hours[1].clone()]).data(Matcher::text("${name}")));
    let built = built.config(|built| {
        assert_eq!(serde_json::to_value(built).unwrap(), serde_json::to_value(&config).unwrap());
    });
    drop(built);
    let resolved = |config: &FeedConfig, index: usize| {
        config.resolved(&config.subscriptions[index]).terms.by_hours.unwrap()
    };
    assert_eq!(resolved(&config, 0), by_hours[1..]);
    assert_eq!(resolved(&config, 1), []);
    let mut config = config;
    config.defaults.by_hours = None;
    assert_eq!(resolved(&config, 0), by_hours);
    assert_eq!(config.validate().is_ok(), cfg!(feature = "schedule"));
}

#[test]
fn what_is_no_such_thing_is_refused_as_it_is_read() {
    let window = r#"{"from": "09:00", "to": "10:00"}"#;
    for (json, path, says) in [
        (r#"{"hours": {"x": []}}"#.to_owned(), "hours.x", "an object {..}"),
        (r#"{"hours": []}"#.to_owned(), "hours", "an object {..}"),
        (r#"{"hours": {"x": {}}}"#.to_owned(), "hours.x", "missing field `time_zone`"),
        (format!(r#"{{"hours": {{"x": {NYSE}, "x": {NYSE}}}}}"#), "hours", "twice"),
        (
            format!(r#"{{"hours": {{"x": {{"time_zone": "UTC", "dates": {{"a": [{window}], "a": []}}}}}}}}"#),
            "hours.x.dates",
            "twice",
        ),
        (r#"{"hours": {"x": {"time_zone": "UTC", "window": []}}}"#.to_owned(), "hours.x", "`windows`"),
        (r#"{"by_hours": [{"durnig": "x"}]}"#.to_owned(), "by_hours[0]", "`during`"),
        (r#"{"by_hours": [{"during": "x"}]}"#.to_owned(), "by_hours[0]", "missing field `stale_after`"),
        (r#"{"by_hours": [["x", null, "1s"]]}"#.to_owned(), "by_hours[0]", "an object {..}"),
        (
            r#"{"defaults": {"by_hours": [["x", null, "1s"]]}}"#.to_owned(),
            "defaults.by_hours[0]",
            "an object {..}",
        ),
    ] {
        let (found, problem) = config_error(FeedConfig::from_json(&json).map(drop));
        assert!(found.starts_with(path), "{json}: {found}: {problem}");
        assert!(problem.contains(says), "{json}: {problem}");
    }
}

#[cfg(feature = "schedule")]
#[test]
fn what_can_not_be_is_refused_with_its_path() {
    let with = |pointer: &str, value: Value| {
        let mut data = nyse();
        *data.pointer_mut(pointer).unwrap() = value;
        hours(&data)
    };
    assert_eq!(open(hours(&nyse())), Ok(()));
    let window = json!({"from": "09:00", "to": "10:00"});
    let many = |count: usize| -> Value { (0..count).map(|_| window.clone()).collect() };
    let dates = |count: i64| -> Value {
        let first: jiff::civil::Date = "2026-01-01".parse().unwrap();
        let date = |days: i64| (first + jiff::SignedDuration::from_hours(24 * days)).to_string();
        (0..count).map(|days| (date(days), json!([]))).collect::<serde_json::Map<_, _>>().into()
    };
    let closed = json!({"time_zone": "UTC", "windows": [], "dates": {"2026-01-01": []}});
    let on_date = |date: &str, windows: Value| {
        let mut data = nyse();
        data["dates"] = json!({date: windows});
        hours(&data)
    };
    for (data, path, says) in [
        (
            with("/time_zone", json!("America/NewYork")),
            "hours.x.time_zone",
            "did you mean \"America/New_York\"?",
        ),
        (with("/time_zone", json!("")), "hours.x.time_zone", "IANA"),
        (with("/time_zone", json!("EST5EDT,M3.2.0,M11.1.0")), "hours.x.time_zone", "IANA"),
        (with("/time_zone", json!("../../etc/passwd")), "hours.x.time_zone", "IANA"),
        (with("/windows/0/from", json!("25:00")), "hours.x.windows[0].from", "00:00 to 24:00"),
        (with("/windows/0/from", json!("24:00")), "hours.x.windows[0].from", "nothing begins"),
        (with("/windows/0/to", json!("09:60")), "hours.x.windows[0].to", "09:30"),
        (with("/windows/0/to", json!("24:00:01")), "hours.x.windows[0].to", "09:30"),
        (with("/windows/0/to", json!("16:00:60")), "hours.x.windows[0].to", "09:30"),
        (with("/windows/0/to", json!("9:30")), "hours.x.windows[0].to", "09:30"),
        (with("/windows/0/to", json!("+9:30")), "hours.x.windows[0].to", "09:30"),
        (with("/windows/0/to", json!("16")), "hours.x.windows[0].to", "09:30"),
        (with("/windows/0/to", json!("4pm")), "hours.x.windows[0].to", "09:30"),
        (with("/windows/0/days", json!("mon-fri,tue")), "hours.x.windows[0].days", "has tue twice"),
        (with("/windows/0/days", json!("sat-mon,sun")), "hours.x.windows[0].days", "has sun twice"),
        (with("/windows/0/days", json!("")), "hours.x.windows[0].days", "mon-fri"),
        (with("/windows/0/days", json!("mon,")), "hours.x.windows[0].days", "mon-fri"),
        (with("/windows/0/days", json!("weekdays")), "hours.x.windows[0].days", "mon-fri"),
        (with("/windows", many(101)), "hours.x.windows", "from 0 to 100"),
        (on_date("2026-02-29", json!([])), "hours.x.dates.2026-02-29", "no date"),
        (on_date("20261126", json!([])), "hours.x.dates.20261126", "no date"),
        (on_date("2026-11-26", many(25)), "hours.x.dates.2026-11-26", "from 0 to 24"),
        (
            on_date("2026-11-26", json!([window, {"from": "1", "to": "2"}])),
            "hours.x.dates.2026-11-26[1].from",
            "09:30",
        ),
        (
            on_date("2026-11-26", json!([{"days": "mon", "from": "09:00", "to": "10:00"}])),
            "hours.x.dates.2026-11-26[0].days",
            "no meaning",
        ),
        (with("/dates", dates(2_001)), "hours.x.dates", "from 0 to 2000"),
        (hours(&closed), "hours.x", "never open"),
        (json!({"hours": {"": nyse()}}), "hours", "is empty"),
    ] {
        let (found, problem) = config_error(open(data.clone()));
        assert_eq!(found, path, "{problem}");
        assert!(problem.contains(says), "{path}: {problem}");
    }
    let named: serde_json::Map<_, _> = (0..101).map(|index| (index.to_string(), nyse())).collect();
    assert_eq!(config_error(open(json!({"hours": named}))).0, "hours");
    for (pointer, value) in [
        ("/windows/0/to", json!("24:00")),
        ("/windows/0/to", json!("09:30")),
        ("/windows/0/to", json!("00:00:00")),
        ("/windows/0/days", json!("daily")),
        ("/windows/0/days", json!("mon, wed-fri")),
        ("/windows/0/days", json!("fri-mon")),
        ("/windows", many(100)),
        ("/dates", dates(2_000)),
        ("/time_zone", json!("UTC")),
    ] {
        assert_eq!(open(with(pointer, value.clone())), Ok(()), "{pointer}: {value}");
    }
}

#[cfg(feature = "schedule")]
#[test]
fn limits_by_hours_name_hours_that_there_are() {
    let data = |limits: Value| json!({"hours": {"nyse": nyse(), "xetra": nyse()}, "by_hours": limits});
    let limit = |during: &str| json!({"during": during, "stale_after": "1s"});
    let outside = |name: &str| json!({"outside": name, "stale_after": "none"});
    for (limits, path, says) in [
        (json!([limit("nsye")]), "by_hours[0].during", "did you mean \"nyse\"?"),
        (json!([limit("NYSE")]), "by_hours[0].during", "did you mean \"nyse\"?"),
        (json!([limit("nyse"), outside("tokyo")]), "by_hours[1].outside", "known are \"nyse\", \"xetra\""),
        (json!([{"stale_after": "1s"}]), "by_hours[0]", "`during` or `outside`"),
        (json!([{"during": "nyse", "outside": "nyse", "stale_after": "1s"}]), "by_hours[0]", "both"),
        (json!([{"during": "nyse", "stale_after": "0s"}]), "by_hours[0].stale_after", "1ms"),
        (json!([limit("nyse"), limit("xetra"), limit("nyse")]), "by_hours[2]", "[0] has the same hours"),
        (json!([limit("nyse"), outside("nyse"), limit("xetra")]), "by_hours[2]", "at any time"),
        (json!(vec![limit("nyse"); 33]), "by_hours", "from 0 to 32"),
    ] {
        for place in ["by_hours", "defaults", "subscriptions"] {
            let (data, expected) = match place {
                "by_hours" => (data(limits.clone()), path.to_owned()),
                "defaults" => {
                    let mut data = data(json!([]));
                    data["defaults"] = json!({"by_hours": limits});
                    (data, format!("defaults.{path}"))
                }
                _ => {
                    let mut data = data(json!([]));
                    data["subscriptions"] = json!([{"id": "a", "by_hours": limits}]);
                    (data, format!("subscriptions[0].{path}"))
                }
            };
            let (found, problem) = config_error(open(data));
            assert_eq!(found, expected, "{problem}");
            assert!(problem.contains(says), "{path}: {problem}");
        }
    }
    assert_eq!(open(data(json!([outside("nyse"), limit("nyse")]))), Ok(()));
    assert!(config_error(open(json!({"by_hours": [limit("a")]}))).1.contains("there are no `hours`"));
    let config = FeedConfig::from_json(&data(json!([])).to_string()).unwrap();
    let late = Subscription::new("late").by_hours([HourLimit::during("nsye", Limit::None)]);
    let found = config.check_subscription("subscription", &late, false);
    assert_eq!(config_error(found).0, "subscription.by_hours[0].during");
}
