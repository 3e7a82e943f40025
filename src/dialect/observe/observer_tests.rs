//! Event time and frozen values: what messages say, and what they may not do.

use super::*;
use crate::clock::{Stamp, mono};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::{Instant, SystemTime};

const SECOND: Duration = Duration::from_secs(1);
const NANOS: i64 = 1_000_000_000;

/// 2026-11-21T10:00:00Z.
const NOW: i64 = 1_795_255_200;

/// The two clocks here, and messages that a server makes.
struct World {
    observer: Observer,
    mono: Instant,
    /// Milliseconds since 1970.
    wall: i64,
}

impl World {
    fn of(lag: Option<LagRule>, frozen: Option<FrozenRule>) -> Self {
        let observer = Observer::new(lag.as_ref(), frozen.as_ref()).unwrap();
        Self { observer, mono: mono(), wall: NOW * 1000 }
    }

    /// Data may be 5 s old; its time is in milliseconds.
    fn lag() -> Self {
        Self::of(Some(LagRule::new("/ts", TimeUnit::Millis, 5 * SECOND)), None)
    }

    fn frozen() -> Self {
        Self::of(None, Some(FrozenRule::new(SECOND).pointer("/p")))
    }

    fn pass(&mut self, ms: i64) {
        self.mono += Duration::from_millis(ms.unsigned_abs());
        self.wall += ms;
    }

    fn see(&mut self, message: &Value) -> Seen {
        self.see_raw(&message.to_string())
    }

    fn see_raw(&mut self, text: &str) -> Seen {
        let wall = SystemTime::UNIX_EPOCH + Duration::from_millis(self.wall.unsigned_abs());
        self.observer.observe(Payload::Text(text), Stamp { mono: self.mono, wall }.into())
    }

    /// Data that the server, whose clock is so far ahead, made so long ago; in milliseconds.
    fn made(&mut self, ahead: i64, ago: i64) -> (bool, Option<i64>) {
        let seen = self.see(&json!({"ts": self.wall + ahead - ago}));
        (seen.timely, seen.lag.map(|lag| lag / 1_000_000))
    }

    fn skew(&self) -> i64 {
        self.observer.skew() / 1_000_000
    }
}

#[test]
fn data_is_timely_up_to_its_limit_and_not_after() {
    let mut world = World::lag();
    for (ago, timely) in [(0, true), (4999, true), (5000, true), (5001, false), (3_600_000, false), (1, true)]
    {
        assert_eq!(world.made(0, ago), (timely, Some(ago)));
        world.pass(10);
    }
    assert_eq!(world.skew(), 0);
    // Nothing is asked of what has no rule.
    let seen = world.see(&json!({}));
    assert_eq!(seen, Seen { timely: false, advanced: true, lag: None });
    let seen = World::frozen().see(&json!({}));
    assert_eq!(seen, Seen { timely: true, advanced: false, lag: None });
    assert!(Observer::new(None, None).is_none());
}

#[test]
fn what_has_no_time_is_not_timely() {
    let mut world = World::lag();
    for message in [
        r#"{"t":1}"#,
        r#"{"ts":null}"#,
        r#"{"ts":true}"#,
        r#"{"ts":"soon"}"#,
        r#"{"ts":""}"#,
        r#"{"ts":[1]}"#,
        r#"{"ts":{}}"#,
        r#"{"ts":1e400}"#,
        r#"{"ts":-1e400}"#,
        r#"{"ts":NaN}"#,
        r#"{"ts":"NaN"}"#,
        r#"{"ts":0x10}"#,
        r#"{"ts":"+5"}"#,
        r#"{"ts":1795255200000"#,
        r#"{"ts":"1795255200000}"#,
        "",
        "pong",
        "[]",
        "1795255200000",
        "{",
        r#"{"ts":"#,
    ] {
        let seen = world.see_raw(message);
        assert_eq!((seen.timely, seen.lag), (false, None), "{message}");
    }
    let seen = world.observer.observe(Payload::Binary(&[0xff, 0]), Stamp::now().into());
    assert_eq!((seen.timely, seen.lag), (false, None));
    // Binary messages hold JSON, too.
    let json = format!(r#"{{"ts":{}}}"#, world.wall);
    let received = Stamp {
        mono: world.mono,
        wall: SystemTime::UNIX_EPOCH + Duration::from_millis(world.wall.unsigned_abs()),
    };
    assert!(world.observer.observe(Payload::Binary(json.as_bytes()), received.into()).timely);
}

#[test]
fn numbers_and_strings_in_each_unit() {
    for (unit, value) in [
        (TimeUnit::Seconds, "1795255199.5"),
        (TimeUnit::Seconds, "1795255199.500000000"),
        (TimeUnit::Seconds, "\"1795255199.5\""),
        (TimeUnit::Seconds, "1.7952551995e9"),
        (TimeUnit::Millis, "1795255199500"),
        (TimeUnit::Millis, "1795255199500.0"),
        (TimeUnit::Millis, "\"1795255199500\""),
        (TimeUnit::Micros, "1795255199500000"),
        (TimeUnit::Nanos, "\"1795255199500000000\""),
        (TimeUnit::Rfc3339, "\"2026-11-21T09:59:59.5Z\""),
        (TimeUnit::Rfc3339, "\"2026-11-21t09:59:59.500000000z\""),
        (TimeUnit::Rfc3339, "\"2026-11-21 09:59:59.5\""),
        (TimeUnit::Rfc3339, "\"2026-11-21T11:59:59.5+02:00\""),
        (TimeUnit::Rfc3339, "\"2026-11-21T11:59:59.5\\u002B02:00\""),
        (TimeUnit::Rfc3339, "\"2026-11-21T11:59:59.5+0200\""),
        (TimeUnit::Rfc3339, "\"2026-11-21T11:59:59.5+02\""),
        (TimeUnit::Rfc3339, "\"2026-11-20T22:29:59.5-11:30\""),
    ] {
        assert_eq!(time::read(value.as_bytes(), unit), Some(NOW * NANOS - NANOS / 2), "{value}");
    }
    for (unit, value) in [
        (TimeUnit::Rfc3339, "1795255199"),
        (TimeUnit::Rfc3339, "\"99999-01-01T00:00:00Z\""),
        (TimeUnit::Rfc3339, "\"2026-02-29T00:00:00Z\""),
        (TimeUnit::Rfc3339, "\"2026-13-01T00:00:00Z\""),
        (TimeUnit::Rfc3339, "\"2026-00-01T00:00:00Z\""),
        (TimeUnit::Rfc3339, "\"2026-01-01T24:00:00Z\""),
        (TimeUnit::Rfc3339, "\"2026-01-01T00:00:61Z\""),
        (TimeUnit::Rfc3339, "\"2026-01-01T00:00:00.Z\""),
        (TimeUnit::Rfc3339, "\"2026-01-01T00:00:00 Z\""),
        (TimeUnit::Rfc3339, "\"2026-01-01T00:00:00+24:00\""),
        (TimeUnit::Rfc3339, "\"2026-01-01T00:00:00+1\""),
        (TimeUnit::Rfc3339, "\"2026-01-01\""),
        (TimeUnit::Rfc3339, "\"2026-01-01T00:00\""),
        (TimeUnit::Seconds, "\"2026-01-01T00:00:00Z\""),
        (TimeUnit::Seconds, "\"1 \""),
        (TimeUnit::Seconds, "1."),
    ] {
        assert_eq!(time::read(value.as_bytes(), unit), None, "{value}");
    }
    // What can't be told apart any more is the furthest, and nothing overflows.
    for (unit, value, expected) in [
        (TimeUnit::Seconds, "99999999999999", i64::MAX),
        (TimeUnit::Seconds, "-99999999999999", i64::MIN),
        (TimeUnit::Nanos, "340282366920938463463374607431768211455999", i64::MAX),
        (TimeUnit::Nanos, "9223372036854775807", i64::MAX),
        (TimeUnit::Seconds, "1e300", i64::MAX),
        (TimeUnit::Seconds, "-1e300", i64::MIN),
        (TimeUnit::Seconds, "99999999999999.5", i64::MAX),
        (TimeUnit::Rfc3339, "\"9999-12-31T23:59:59Z\"", i64::MAX),
        (TimeUnit::Rfc3339, "\"0000-01-01T00:00:00Z\"", i64::MIN),
        (TimeUnit::Seconds, "-1.25", -NANOS - NANOS / 4),
        (TimeUnit::Seconds, "-0.000000001", -1),
        (TimeUnit::Seconds, "0.0000000019", 1),
        (TimeUnit::Seconds, "1e-9", 1),
    ] {
        assert_eq!(time::read(value.as_bytes(), unit), Some(expected), "{value}");
    }
    let long = format!("1{}", "0".repeat(200));
    assert_eq!(time::read(long.as_bytes(), TimeUnit::Seconds), None);
    // A leap second is the first second of the next minute.
    let read = |text: &str| time::read(text.as_bytes(), TimeUnit::Rfc3339);
    assert_eq!(read("\"2016-12-31T23:59:60Z\""), read("\"2017-01-01T00:00:00Z\""));
}

#[test]
fn of_several_times_the_newest_counts() {
    let rule = |pointer: &str| World::of(Some(LagRule::new(pointer, TimeUnit::Seconds, 5 * SECOND)), None);
    let old = NOW - 60;
    for (pointer, message, lag) in [
        ("/data/*/ts", json!({"data": [{"ts": old}, {"ts": NOW - 2}, {"ts": NOW - 3}]}), Some(2)),
        ("/data/*/ts", json!({"data": [{"ts": old}, {"x": NOW}, {"ts": null}]}), Some(60)),
        ("/data/*/ts", json!({"data": []}), None),
        ("/*/ts", json!({"a": {"ts": NOW - 1}, "b": {"ts": old}}), Some(1)),
        ("/-1/ts", json!([{"ts": NOW}, {"ts": NOW - 4}]), Some(4)),
        ("/*/-1", json!({"a": [NOW, old], "b": [old, NOW - 3]}), Some(3)),
        ("/*/-1/*/ts", json!([[0, [{"ts": old}, {"ts": NOW - 2}]], [1, []], []]), Some(2)),
        ("/d/@json/*/ts", json!({"d": json!([{"ts": old}, {"ts": NOW - 1}]).to_string()}), Some(1)),
        ("/d/@json/-1", json!({"d": "[1,2"}), None),
    ] {
        assert_eq!(rule(pointer).see(&message).lag.map(|lag| lag / NANOS), lag, "{pointer} in {message}");
    }
    // A time from too far ahead is none, beside others.
    assert_eq!(rule("/*").see(&json!([NOW - 1, NOW + 61])).lag, Some(NANOS));
    assert_eq!(rule("/*").see(&json!([NOW + 90, NOW + 61])).lag, Some(-90 * NANOS));
}

#[test]
fn a_clock_that_is_ahead_hides_no_delay() {
    let mut world = World::lag();
    for ago in [0, 200, 50] {
        world.made(3000, ago);
        world.pass(100);
    }
    assert_eq!(world.skew(), 3000);
    assert_eq!(world.made(3000, 40), (true, Some(40)));
    // Without the skew, 7 s would look like 4.
    assert_eq!(world.made(3000, 7000), (false, Some(7000)));
    // It drifts further ahead, and the skew goes along.
    for step in 0..100 {
        world.pass(60_000);
        assert_eq!(world.made(3000 + step, 0), (true, Some(0)));
    }
    assert_eq!(world.skew(), 3099);
    // On the next connection it may be another clock.
    world.observer.restart();
    assert_eq!((world.skew(), world.made(0, 100)), (0, (true, Some(100))));
}

#[test]
fn a_clock_that_is_behind_looks_like_a_delay() {
    let mut world = World::lag();
    assert_eq!(world.made(-3000, 0), (true, Some(3000)));
    assert_eq!(world.made(-3000, 3000), (false, Some(6000)));
    assert_eq!(world.skew(), 0);
}

#[test]
fn what_is_too_far_ahead_is_no_skew() {
    let mut world = World::lag();
    assert_eq!(world.made(60_000, 0), (true, Some(0)));
    world.observer.restart();
    assert_eq!(world.made(60_001, 0), (false, Some(-60_001)));
    assert_eq!((world.skew(), world.made(0, 0)), (0, (true, Some(0))));
    let rule = LagRule::new("/ts", TimeUnit::Millis, SECOND).max_skew(3600 * SECOND);
    assert_eq!(World::of(Some(rule), None).made(3_600_000, 500), (true, Some(0)));
}

#[test]
fn a_wrong_unit_is_seen() {
    for (unit, lag) in [
        // Milliseconds, microseconds and nanoseconds taken for something larger lie centuries ahead.
        (TimeUnit::Seconds, i64::MIN..-200 * 365 * 86_400),
        // Taken for something smaller, they lie in 1970.
        (TimeUnit::Micros, 50 * 365 * 86_400..60 * 365 * 86_400),
        (TimeUnit::Nanos, 50 * 365 * 86_400..60 * 365 * 86_400),
    ] {
        let mut world = World::of(Some(LagRule::new("/ts", unit, 5 * SECOND)), None);
        let seen = world.see(&json!({"ts": NOW * 1000}));
        assert!(!seen.timely && lag.contains(&(seen.lag.unwrap() / NANOS)), "{unit:?}: {seen:?}");
        assert_eq!(world.skew(), 0);
    }
}

#[test]
fn setting_the_clock_here_finds_the_skew_anew() {
    // It is 10 s behind, so that data seems to come from the future, and is then set right.
    let mut world = World::lag();
    assert_eq!((world.made(10_000, 0), world.skew()), ((true, Some(0)), 10_000));
    world.pass(1000);
    world.wall += 10_000;
    assert_eq!((world.made(0, 20), world.skew()), ((true, Some(20)), 0));
    // It is set back by an hour: beyond what a clock may be ahead, and said to be so.
    world.pass(1000);
    world.wall -= 3_600_000;
    assert_eq!(world.made(3_600_000, 0), (false, Some(-3_600_000)));
    world.pass(1000);
    world.wall += 3_600_000;
    assert_eq!((world.made(0, 0), world.skew()), ((true, Some(0)), 0));
    // It is slewed by 500 ppm over an hour: that is no setting.
    world.made(3000, 0);
    world.pass(3_600_000);
    world.wall += 1800;
    world.made(0, 0);
    assert_eq!(world.skew(), 3000);
    // Nor is a small step; a larger one is.
    world.wall += 200;
    world.made(0, 0);
    assert_eq!(world.skew(), 3000);
    world.wall -= 300;
    world.made(0, 0);
    assert_eq!(world.skew(), 0);
}

#[test]
fn a_value_is_new_when_it_is_written_differently() {
    let mut world = World::frozen();
    for (message, advanced) in [
        (r#"{"p":1}"#, true),
        (r#"{"p":1}"#, false),
        (r#"{"x":5,"p": 1 }"#, false),
        (r#"{"p":1.0}"#, true),
        (r#"{"p":"1.0"}"#, true),
        (r#"{"p":"1.0"}"#, false),
        (r#"{}"#, false),
        (r#"{"p":null}"#, true),
        (r#"{"p":null}"#, false),
        (r#"{"p":{"a":[1,2]}}"#, true),
        (r#"{"p":{"a":[1,2]}}"#, false),
        (r#"{"p":{"a":[2,1]}}"#, true),
        (r#"{"p":{"a":[2,1"#, false),
        ("pong", false),
        (r#"{"p":{"a":[2,1]}}"#, false),
    ] {
        assert_eq!(world.see_raw(message).advanced, advanced, "{message}");
    }
    // It is remembered over connections.
    world.observer.restart();
    assert!(!world.see_raw(r#"{"p":{"a":[2,1]}}"#).advanced);
    assert!(world.see_raw(r#"{"p":2}"#).advanced);
}

#[test]
fn several_values_are_one() {
    let mut world = World::of(None, Some(FrozenRule::new(SECOND).pointer("/*/p")));
    for (message, advanced) in [
        (json!([{"p": 1}, {"p": 23}]), true),
        (json!([{"p": 1}, {"p": 23}]), false),
        (json!([{"p": 12}, {"p": 3}]), true),
        (json!([{"p": 12}]), true),
        (json!([]), false),
        (json!([{"p": 12}]), false),
    ] {
        assert_eq!(world.see(&message).advanced, advanced, "{message}");
    }
}

#[test]
fn large_and_hostile_messages_take_one_pass() {
    let items = |count: usize| {
        (0..count).map(|i| format!(r#"{{"ts":{},"p":{i}}}"#, NOW * 1000 - 5)).collect::<Vec<_>>().join(",")
    };
    let text = format!("[{}]", items(70_000));
    assert!(text.len() > 2 << 20);
    let mut nested = json!(1);
    for _ in 0..3 {
        nested = json!({"x": nested.to_string()});
    }
    const LONG: usize = 1 << 16;
    let hostile = [
        "[".repeat(LONG),
        format!("[{}", "\"\\".repeat(LONG)),
        format!("[{}]", vec!["[1]"; LONG].join(",")),
        format!(r#"{{"ts":"{}"}}"#, "9".repeat(LONG)),
        format!(r#"{{"ts":{}}}"#, "9".repeat(LONG)),
        nested.to_string(),
    ];
    let begin = mono();
    for pointer in ["/*/ts", "/*/-1", "/-1", "/ts", "/*/*", "/x/@json/x/@json/x/@json"] {
        let lag = LagRule::new(pointer, TimeUnit::Millis, SECOND);
        let mut world = World::of(Some(lag), Some(FrozenRule::new(SECOND).pointer(pointer)));
        for message in &hostile {
            let first = world.see_raw(message);
            let again = world.see_raw(message);
            assert!(!again.advanced, "{pointer}");
            assert_eq!(first.lag, again.lag, "{pointer}");
        }
    }
    let mut world = World::of(Some(LagRule::new("/*/ts", TimeUnit::Millis, SECOND)), None);
    assert_eq!(world.see_raw(&text).lag, Some(5_000_000));
    assert_eq!(world.see_raw(&text[..text.len() - 1]).lag, Some(5_000_000));
    // Were it quadratic, it would take hours.
    assert!(mono() - begin < 60 * SECOND, "{:?}", mono() - begin);
}

/// All that a pointer of members, `*` and `-1` names, by way of a tree.
fn by_tree<'a>(value: &'a Value, path: &[&str]) -> Vec<&'a Value> {
    let Some((token, rest)) = path.split_first() else { return vec![value] };
    let next: Vec<&Value> = match (*token, value) {
        ("*", Value::Array(items)) => items.iter().collect(),
        ("*", Value::Object(members)) => members.values().collect(),
        ("-1", Value::Array(items)) => items.last().into_iter().collect(),
        ("-1" | "*", _) => Vec::new(),
        (name, value) => value.get(name).into_iter().collect(),
    };
    next.into_iter().flat_map(|value| by_tree(value, rest)).collect()
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        (-10_i64..10).prop_map(|s| json!(NOW * 1000 + s * 1000)),
        (-10_i64..10).prop_map(|s| json!((NOW * 1000 + s * 1000).to_string())),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9\\[\\]{},\"\\\\ .eE+-]{0,8}".prop_map(Value::from),
        Just(Value::Null),
    ];
    leaf.prop_recursive(4, 24, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map("ts|a|p|-1", inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    })
}

fn unit() -> impl Strategy<Value = TimeUnit> {
    use TimeUnit::{Micros, Millis, Nanos, Rfc3339, Seconds};
    prop::sample::select(vec![Seconds, Millis, Micros, Nanos, Rfc3339])
}

proptest! {
    /// The newest of the times that a tree finds.
    #[test]
    fn agrees_with_a_tree(message in value(), path in prop::sample::select(vec![
        vec!["ts"], vec!["*", "ts"], vec!["*", "*"], vec!["a", "-1"], vec!["-1", "ts"], vec!["*", "-1"], vec!["a", "*", "-1", "ts"],
    ])) {
        let rule = LagRule::new(format!("/{}", path.join("/")), TimeUnit::Millis, SECOND);
        let found = by_tree(&message, &path);
        let times = found.iter().filter_map(|value| time::read(value.to_string().as_bytes(), TimeUnit::Millis));
        let (beyond, fit): (Vec<i64>, Vec<i64>) =
            times.map(|time| time.saturating_sub(NOW * NANOS)).partition(|ahead| *ahead > 60 * NANOS);
        let expected = match fit.into_iter().max() {
            Some(ahead) => Some(ahead.min(0).saturating_neg()),
            None => beyond.into_iter().max().map(i64::saturating_neg),
        };
        prop_assert_eq!(World::of(Some(rule), None).see(&message).lag, expected);
    }

    /// Whatever bytes come, and whatever the clocks do.
    #[test]
    fn nothing_panics(
        messages in prop::collection::vec((prop_oneof![
            value().prop_map(|value| value.to_string()),
            "[\\[\\]{},\"\\\\:0-9a-z \\-.+TZ]{0,60}",
            "\\{\"ts\":[0-9eE.+-]{0,40}\\}",
            "\\{\"ts\":\"[0-9TtZz:.+ -]{0,40}\"\\}",
        ], any::<u64>(), any::<u32>()), 1..12),
        unit in unit(), limit in any::<u64>(), skew in any::<u64>(),
    ) {
        let rule = LagRule::new("/ts", unit, Duration::from_nanos(limit)).max_skew(Duration::from_millis(skew));
        let mut observer = Observer::new(Some(&rule), Some(&FrozenRule::new(SECOND).pointer("/*"))).unwrap();
        let t0 = mono();
        for (text, wall, after) in messages {
            let wall = SystemTime::UNIX_EPOCH + Duration::from_nanos(wall);
            let stamp = Stamp { mono: t0 + Duration::from_millis(after.into()), wall };
            let seen = observer.observe(Payload::Text(&text), stamp.into());
            prop_assert!(observer.skew() >= 0);
            prop_assert!(seen.lag.is_some() || !seen.timely);
            prop_assert!(!observer.observe(Payload::Text(&text), stamp.into()).advanced);
        }
    }

    #[test]
    fn any_text_is_read_or_not(text in "[\"0-9eE.+:TZtz -]{0,40}", unit in unit()) {
        let _ = time::read(text.as_bytes(), unit);
        let _ = time::read(format!("\"{text}\"").as_bytes(), unit);
    }

    /// As another implementation reads it.
    #[test]
    fn dates_agree_with_another_reader(seconds in 0_u64..253_402_300_799, nanos in 0_u32..1_000_000_000) {
        let time = SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos);
        let text = format!("\"{}\"", humantime::format_rfc3339_nanos(time));
        let expected = i128::from(seconds) * i128::from(NANOS) + i128::from(nanos);
        let expected = i64::try_from(expected).unwrap_or(i64::MAX);
        prop_assert_eq!(time::read(text.as_bytes(), TimeUnit::Rfc3339), Some(expected));
    }

    #[test]
    fn decimals_are_exact(seconds in -9_000_000_000_i64..9_000_000_000, nanos in 0_i64..1_000_000_000) {
        let text = format!("{seconds}.{nanos:09}");
        let sign = if text.starts_with('-') { -1 } else { 1 };
        prop_assert_eq!(time::read(text.as_bytes(), TimeUnit::Seconds), Some(seconds * NANOS + sign * nanos));
        let text = format!("\"{seconds}.{nanos:09}\"");
        prop_assert_eq!(time::read(text.as_bytes(), TimeUnit::Seconds), Some(seconds * NANOS + sign * nanos));
    }

    /// With a server whose clock is ahead by any steady amount, the lag is never less than the true delay less the least
    /// delay so far, and never more than the true delay.
    #[test]
    fn a_skew_hides_no_more_than_the_least_delay(ahead in 0_i64..30_000, delays in prop::collection::vec(0_i64..40_000, 1..40)) {
        let mut world = World::lag();
        let mut least = i64::MAX;
        for delay in delays {
            least = least.min(delay);
            let (timely, lag) = world.made(ahead, delay);
            let lag = lag.unwrap();
            prop_assert!(lag >= delay - least && lag <= delay, "{} of {}", lag, delay);
            prop_assert_eq!(timely, lag <= 5000);
            world.pass(70);
        }
    }
}
