//! Subscriptions as data, what they take from `defaults`, and what is wrong with them.

use super::*;
use crate::dialect::{FrozenRule, LagRule, TimeUnit};

fn sub(fields: &Value) -> Value {
    let of = |id: &str| json!({"id": id, "data": {"pointer": "/id", "equals": id}});
    let mut sub = of("a");
    sub.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
    json!({"subscriptions": [of("first"), sub]})
}

#[test]
fn each_field_round_trips() {
    let data = json!({
        "id": "btc",
        "data": {"pointer": "/c", "equals": "t.${symbol}"},
        "stale_after": "5s",
        "first_data_within": "none",
        "ack": "first_data",
        "ack_timeout": "3s",
        "on_ack_timeout": "accept",
        "topic": "t.${symbol}",
        "cursor": "/offset",
        "sequence": {"contiguous": "/n", "on_gap": "resubscribe"},
        "lag": {"pointer": "/ts", "unit": "ms", "limit": "5s", "after": "30s", "max_skew": "2s"},
        "frozen": {"pointer": "/price", "after": "5m"},
        "repair": ["probe:1s", "resubscribe:2s", "reconnect", "next_endpoint"]
    });
    let read: Subscription = serde_json::from_value(data.clone()).unwrap();
    assert_eq!(serde_json::to_value(&read).unwrap(), data);
    let built = Subscription::new("btc")
        .data(Matcher::pointer("/c", "t.${symbol}"))
        .stale_after(Duration::from_secs(5))
        .first_data_within(Limit::None)
        .ack(Ack::FirstData)
        .ack_timeout(Duration::from_secs(3))
        .on_ack_timeout(crate::class::OnAckTimeout::Accept)
        .topic("t.${symbol}")
        .cursor("/offset")
        .sequence(SequenceRule::contiguous("/n").on_gap(crate::class::OnGap::Resubscribe))
        .lag(
            LagRule::new("/ts", TimeUnit::Millis, Duration::from_secs(5))
                .after(Duration::from_secs(30))
                .max_skew(Duration::from_secs(2)),
        )
        .frozen(FrozenRule::new(Duration::from_secs(300)).pointer("/price"))
        .repair([
            RepairStep::Probe(Duration::from_secs(1)),
            RepairStep::Resubscribe(Duration::from_secs(2)),
            RepairStep::Reconnect,
            RepairStep::NextEndpoint,
        ]);
    assert_eq!(serde_json::to_value(&built).unwrap(), data);
    for (name, ack) in [("rule", Ack::Rule), ("none", Ack::None)] {
        assert_eq!(serde_json::to_value(ack).unwrap(), json!(name));
    }
}

#[test]
fn values_of_variables_stay_in() {
    let terms: Terms =
        serde_json::from_value(json!({"vars": {"symbol": "BTC", "n": 1}, "subscribe": "s", "probe": "p"}))
            .unwrap();
    assert_eq!(terms.vars.get("symbol"), Some(&json!("BTC")));
    assert_eq!((terms.vars.len(), terms.vars.names().collect::<Vec<_>>()), (2, vec!["n", "symbol"]));
    let shown = json!({
        "vars": {"n": "[redacted]", "symbol": "[redacted]"}, "subscribe": "[redacted]", "probe": "[redacted]"
    });
    assert_eq!(serde_json::to_value(&terms).unwrap(), shown);
    assert_eq!(format!("{:?}", terms.vars), r#"{"n", "symbol"}"#);
}

/// Every field of the terms, each with a value of its own.
fn every_field(text: &str, number: u64) -> Value {
    json!({
        "vars": {text: number},
        "subscribe": text,
        "unsubscribe": text,
        "probe": text,
        "data": {"text": text},
        "stale_after": format!("{number}s"),
        "by_hours": [{"during": text, "stale_after": format!("{number}s")}],
        "first_data_within": format!("{number}s"),
        "ack": if number == 1 { "rule" } else { "none" },
        "ack_timeout": format!("{number}s"),
        "on_ack_timeout": if number == 1 { "accept" } else { "refuse" },
        "topic": text,
        "cursor": format!("/{text}"),
        "sequence": {"contiguous": format!("/{text}")},
        "lag": {"pointer": format!("/{text}"), "unit": "s", "limit": "1s", "after": format!("{number}s")},
        "frozen": {"pointer": format!("/{text}"), "after": format!("{number}s")},
        "repair": [format!("probe:{number}s")],
    })
}

#[test]
fn each_field_left_out_is_taken_from_the_defaults() {
    let documented = documented(include_str!("../terms.rs"));
    let names: Vec<_> = documented.iter().map(|(_, field, _)| field.as_str()).collect();
    let (own, others) = (every_field("own", 1), every_field("others", 2));
    let mut fields: Vec<_> = own.as_object().unwrap().keys().map(String::as_str).collect();
    fields.sort_unstable();
    let mut sorted = names.clone();
    sorted.sort_unstable();
    assert_eq!(fields, sorted, "every field has a value here");

    let shown = |terms: &Terms| {
        // Templates are redacted in data.
        let mut shown = serde_json::to_value(terms).unwrap();
        for (field, template) in
            [("subscribe", &terms.subscribe), ("unsubscribe", &terms.unsubscribe), ("probe", &terms.probe)]
        {
            shown[field] = json!(template.as_ref().map(rendered));
        }
        let vars: BTreeMap<_, _> = terms.vars.names().map(|name| (name, terms.vars.get(name))).collect();
        shown["vars"] = json!(vars);
        shown
    };
    for field in names {
        let mut sub = own.clone();
        sub.as_object_mut().unwrap().remove(field);
        sub["id"] = json!("a");
        let data = json!({"url": URL, "defaults": others, "subscriptions": [sub]});
        let config = FeedConfig::from_json(&data.to_string()).unwrap();
        let mut expected = own.clone();
        expected[field] = others[field].clone();
        if field != "vars" {
            expected["vars"] = json!({"own": 1, "others": 2});
        }
        assert_eq!(shown(&config.resolved(&config.subscriptions[0]).terms), expected, "{field}");
    }
    let same: Terms = serde_json::from_value(json!({"vars": {"a": 1}})).unwrap();
    assert_eq!(
        same.or(&serde_json::from_value(json!({"vars": {"a": 2}})).unwrap()).vars.get("a"),
        Some(&json!(1))
    );
}

#[test]
fn what_nobody_says_has_the_documented_default() {
    let config = FeedConfig::new(URL);
    let resolved = serde_json::to_value(config.resolved(&Subscription::new("a"))).unwrap();
    for (_, field, default) in documented(include_str!("../terms.rs")) {
        let default = default.unwrap_or_else(|| panic!("{field} names no default"));
        match field.as_str() {
            "stale_after" => assert_eq!(resolved[&field], json!(config.stale_after)),
            "by_hours" => assert_eq!(resolved[&field], json!(config.by_hours)),
            "first_data_within" => assert_eq!(resolved[&field], resolved["stale_after"]),
            "ack" => assert_eq!((default.as_str(), &resolved[&field]), ("rule", &json!("none"))),
            "vars" => assert_eq!(default, "{}"),
            _ => assert!(means(&default, &resolved[&field]), "{field}: {default}, is {}", resolved[&field]),
        }
    }
}

#[test]
fn wrong_data_is_refused_with_its_path() {
    for (data, path) in [
        (sub(&json!({"subscribee": "x"})), "subscriptions[1].subscribee"),
        (sub(&json!({"stale_after": 1})), "subscriptions[1].stale_after"),
        (sub(&json!({"data": {"txt": "x"}})), "subscriptions[1].data.txt"),
        (sub(&json!({"ack": "maybe"})), "subscriptions[1].ack"),
        (sub(&json!({"ack_timeout": "none"})), "subscriptions[1].ack_timeout"),
        (sub(&json!({"on_ack_timeout": "wait"})), "subscriptions[1].on_ack_timeout"),
        (sub(&json!({"vars": ["a"]})), "subscriptions[1].vars"),
        (sub(&json!({"repair": "reconnect"})), "subscriptions[1].repair"),
        (sub(&json!({"repair": ["probe"]})), "subscriptions[1].repair[0]"),
        (sub(&json!({"repair": ["reconnect", "probe:x"]})), "subscriptions[1].repair[1]"),
        (sub(&json!({"repair": ["reconnect:5s"]})), "subscriptions[1].repair[0]"),
        (sub(&json!({"lag": ["/t", "s", "1s"]})), "subscriptions[1].lag"),
        (sub(&json!({"lag": {"pointer": "/t", "unit": "s"}})), "subscriptions[1].lag"),
        (sub(&json!({"lag": {"pointer": "/t", "unit": "h", "limit": "1s"}})), "subscriptions[1].lag.unit"),
        (sub(&json!({"frozen": "5m"})), "subscriptions[1].frozen"),
        (sub(&json!({"frozen": {"after": "none"}})), "subscriptions[1].frozen.after"),
        (json!({"defaults": {"id": "a"}}), "defaults.id"),
        (json!({"defaults": {"stale": "1s"}}), "defaults.stale"),
        (json!({"defaults": []}), "defaults"),
    ] {
        let (found, problem) = config_error(open(data.clone()));
        assert_eq!(found, path, "{data}: {problem}");
        assert!(problem.len() > 10, "{problem}");
    }
    let twice = format!(r#"{{"url": "{URL}", "subscriptions": [{{"id": "a", "id": "b"}}]}}"#);
    assert_eq!(config_error(FeedConfig::from_json(&twice).map(drop)).0, "subscriptions[0]");
}

#[test]
fn bad_values_are_refused_with_their_path() {
    for (data, path) in [
        (json!({"first_data_within": "0s"}), "first_data_within"),
        (json!({"ack_timeout": "0s"}), "ack_timeout"),
        (json!({"ack_timeout": "366days"}), "ack_timeout"),
        (json!({"topic": ""}), "topic"),
        (json!({"cursor": "offset"}), "cursor"),
        (json!({"cursor": ""}), "cursor"),
        (json!({"sequence": {"contiguous": "n"}}), "sequence.contiguous"),
        (json!({"sequence": {"contiguous": "/n", "reset": {"text": "${a}"}}}), "sequence.reset"),
        (json!({"lag": {"pointer": "t", "unit": "s", "limit": "1s"}}), "lag.pointer"),
        (json!({"lag": {"pointer": "/t", "unit": "s", "limit": "0s"}}), "lag.limit"),
        (json!({"lag": {"pointer": "/t", "unit": "s", "limit": "1s", "after": "0s"}}), "lag.after"),
        (json!({"lag": {"pointer": "/t", "unit": "s", "limit": "1s", "max_skew": "0s"}}), "lag.max_skew"),
        (json!({"frozen": {"pointer": "", "after": "1s"}}), "frozen.pointer"),
        (json!({"frozen": {"pointer": "/p", "after": "366days"}}), "frozen.after"),
        (json!({"subscribe": {"a": {"$each": {"$each": 1}}}}), "subscribe"),
        (json!({"vars": {"id": 1}}), "vars"),
        (json!({"vars": {"cursor": 1}}), "vars"),
        (json!({"vars": {"time_ms": 1}}), "vars"),
        (json!({"vars": {"/a": 1}}), "vars"),
        (json!({"vars": {"": 1}}), "vars"),
        (json!({"vars": {"a|b": 1}}), "vars"),
        (json!({"repair": []}), "repair"),
        (json!({"repair": ["resubscribe:0s"]}), "repair[0]"),
        (json!({"repair": ["reconnect", "resubscribe:1s"]}), "repair[1]"),
        (json!({"repair": ["next_endpoint", "reconnect"]}), "repair[1]"),
        (json!({"repair": ["resubscribe:1s", "reconnect", "reconnect"]}), "repair[2]"),
        (json!({"probe": "x".repeat((1 << 20) + 1)}), "probe"),
    ] {
        let (found, problem) = config_error(open(json!({"defaults": data})));
        assert_eq!(found, format!("defaults.{path}"), "{problem}");
        let (found, problem) = config_error(open(sub(&data)));
        assert_eq!(found, format!("subscriptions[1].{path}"), "{problem}");
    }
    // A rung needs what it sends, from either place.
    let probes = json!({"repair": ["probe:1s"]});
    assert_eq!(config_error(open(sub(&probes))).0, "subscriptions[1].repair");
    assert_eq!(open(json!({"defaults": probes})), Ok(()));
    let mut data = sub(&probes);
    data["defaults"] = json!({"probe": "list"});
    assert_eq!(open(data), Ok(()));
}

#[test]
fn rules_on_late_and_frozen_data_need_a_limit_and_a_field_from_either_place() {
    let lag = json!({"pointer": "/t", "unit": "s", "limit": "1s"});
    for (own, defaults, expected) in [
        (json!({"lag": lag}), json!({}), Ok("60s")),
        (json!({"lag": lag}), json!({"stale_after": "7s"}), Ok("7s")),
        (json!({"lag": lag, "stale_after": "none"}), json!({}), Err("lag.after")),
        (json!({"stale_after": "none"}), json!({"lag": lag}), Err("lag.after")),
    ] {
        let mut data = sub(&own);
        data["defaults"] = defaults;
        match expected {
            Ok(after) => {
                let config = FeedConfig::from_json(&data.to_string()).unwrap();
                let resolved = config.resolved(&config.subscriptions[1]).terms;
                let own = resolved.lag.and_then(|rule| rule.after);
                assert_eq!(own, humantime::parse_duration(after).ok());
                assert_eq!(open(data), Ok(()));
            }
            Err(path) => {
                let (found, problem) = config_error(open(data));
                assert_eq!(found, format!("subscriptions[1].{path}"), "{problem}");
                assert!(problem.contains("stale_after"), "{problem}");
            }
        }
    }
    let frozen = json!({"after": "5m"});
    for (own, defaults, expected) in [
        (json!({"frozen": frozen, "sequence": {"contiguous": "/n"}}), json!({}), Some("/n")),
        (json!({"frozen": frozen}), json!({"sequence": {"current": "/c", "previous": "/p"}}), Some("/c")),
        (json!({"sequence": {"first": "/U", "last": "/u"}}), json!({"frozen": frozen}), Some("/u")),
        (
            json!({"frozen": {"pointer": "/p", "after": "5m"}, "sequence": {"contiguous": "/n"}}),
            json!({}),
            Some("/p"),
        ),
        (json!({"frozen": frozen}), json!({}), None),
        (json!({}), json!({"frozen": frozen}), None),
    ] {
        let mut data = sub(&own);
        data["defaults"] = defaults;
        let config = FeedConfig::from_json(&data.to_string()).unwrap();
        let resolved = config.resolved(&config.subscriptions[1]).terms;
        assert_eq!(resolved.frozen.unwrap().pointer.as_deref(), expected, "{data}");
        let checked = open(data.clone());
        match expected {
            // The other subscription, without a sequence of its own, must not be met by `defaults`.
            Some(_) if data["defaults"]["frozen"].is_null() => assert_eq!(checked, Ok(()), "{data}"),
            _ => assert!(config_error(checked).0.ends_with("frozen.pointer"), "{data}"),
        }
    }
    let closure = Subscription::new("a")
        .sequence(SequenceRule::with(|_, _| crate::dialect::Sequenced::None))
        .frozen(FrozenRule::new(Duration::from_secs(1)));
    let mut config = FeedConfig::new("ws://h/");
    config.subscriptions.push(closure);
    let (path, problem) = config_error(config.validate());
    assert_eq!(path, "subscriptions[0].frozen.pointer");
    assert!(problem.contains("closure"), "{problem}");
}

#[test]
fn a_slip_of_the_pen_is_answered_with_what_was_meant() {
    for (data, meant) in [
        (json!({"stale_afetr": "60s"}), Some("stale_after")),
        (json!({"subscription": []}), Some("subscriptions")),
        (json!({"reconnect": {"mx": "1s"}}), Some("max")),
        (sub(&json!({"susbcribe": "x"})), Some("subscribe")),
        (sub(&json!({"ack_timout": "1s"})), Some("ack_timeout")),
        (json!({"heartbeats": [{"txt": "x"}]}), Some("text")),
        (json!({"keepalives": [{"evry": "1s"}]}), Some("every")),
        (json!({"Stale_After": "60s"}), Some("stale_after")),
        (json!({"urgency": 1}), None),
        (json!({"queue": {"x": 1}}), None),
    ] {
        let (_, problem) = config_error(open(data.clone()));
        let expected = meant.map(|meant| format!("did you mean `{meant}`?"));
        match expected {
            Some(expected) => assert!(problem.contains(&expected), "{data}: {problem}"),
            None => assert!(problem.contains("expected one of"), "{data}: {problem}"),
        }
    }
    let lag = json!({"pointer": "/ts", "unit": "ms", "limit": "5s"});
    for data in [json!({"lag": lag}), json!({"data": {"text": "x"}}), json!({"probe": "x"})] {
        let (_, problem) = config_error(open(data.clone()));
        assert!(problem.contains("of `defaults`: put it there"), "{data}: {problem}");
    }
}
