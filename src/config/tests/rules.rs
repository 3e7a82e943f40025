//! Rules, login and placeholders: what can't work is refused with its path.

use super::*;
use crate::dialect::Readout;

/// The whole of what a feed can say, as in the documentation of the form.
fn whole() -> Value {
    json!({
        "url": "wss://a.example/", "endpoints": ["wss://b.example/", "wss://c.example/"],
        "codecs": ["lines", "items", "prefixed"], "cursor": "/time", "keep": ["token", "topic_id"],
        "defaults": {
            "subscribe": {"op": "subscribe", "id": "${id}", "args": {"$each": "trades.${symbol}"}},
            "unsubscribe": {"op": "unsubscribe", "id": "${id}", "args": ["trades.${symbol}"]},
            "probe": {"op": "list", "id": "${id}"},
            "data": {"pointer": "/topic", "equals": "${topic_id}"},
            "stale_after": "5s", "first_data_within": "10s", "ack": "rule", "ack_timeout": "10s",
            "on_ack_timeout": "retry", "topic": "trades.${symbol}",
            "sequence": {"contiguous": "/seq", "per": "/symbol", "repeats": true,
                         "reset": {"pointer": "/seq", "equals": 1}, "on_gap": "resubscribe"},
            "lag": {"pointer": "/ts", "unit": "ms", "limit": "5s", "after": "30s", "max_skew": "1s"},
            "frozen": {"pointer": "/price", "after": "5m"},
            "cursor": "/offset", "repair": ["probe:5s", "resubscribe:10s", "reconnect", "next_endpoint"]
        },
        "subscriptions": [
            {"id": "btc", "vars": {"symbol": "BTC-USD"}},
            {"id": "eth", "vars": {"symbol": "ETH-USD"}, "stale_after": "none", "ack": "first_data",
             "subscribe": "sub ${symbol} from ${cursor|now} at ${time_ms} by ${token}"},
            {"id": "all", "vars": {"symbol": "*"}, "ack": "none", "data": {"pointer": "/all", "exists": true}}
        ],
        "heartbeats": [{"text": "pong"}],
        "rules": [
            {"when": {"pointer": "/ping", "exists": true}, "is": "heartbeat", "reply": {"pong": "${/ping}"}},
            {"when": {"pointer": "/hb", "exists": true}, "is": "keepalive",
             "by": {"match": {"pointer": "/hb", "equals": "${topic_id}"}}},
            {"when": {"pointer": "/event", "equals": "subscribed"}, "is": "ack", "by": {"id": "/id"},
             "bind": {"topic_id": "/topic", "cursor": "/from"}, "resumed": {"pointer": "/flags", "bits": 4},
             "deliver": true, "capture": {"server": "/server"}},
            {"when": {"pointer": "/event", "equals": "state"}, "is": "ack",
             "by": {"listed": "/topics/*", "id": "/id", "complete": true}},
            {"when": {"pointer": "/event", "equals": "error"}, "is": "nack", "by": "oldest",
             "class": "retry_later", "retry_after": "30s", "detail": "/message"},
            {"when": {"pointer": "/event", "equals": "closed"}, "is": "ended",
             "by": {"match": {"pointer": "/topic", "equals": "trades.${symbol}"}}},
            {"when": {"pointer": "/event", "equals": "maintenance"}, "is": "notice", "do": {"pause": "1m"}},
            {"when": {"pointer": "/event", "equals": "bye"}, "is": "notice", "do": {"reconnect_within": "30s"}},
            {"when": {"pointer": "/event", "equals": "moved"}, "is": "notice", "do": "next_endpoint"},
            {"when": {"prefix": "#"}, "is": "ignored"}
        ],
        "keepalives": [
            {"every": "${ping_interval}ms", "send": {"op": "ping", "id": "${id}"}, "expect": {"text": "pong"},
             "within": "5s", "first_after": "1s"},
            {"idle_received": "20s", "ping": true}
        ],
        "login": [
            {"expect": {"pointer": "/event", "equals": "hello"}, "capture": {"ping_interval": "/ping", "nonce": "/n"}},
            {"send": {"op": "login", "nonce": "${nonce}", "time": "${time_s}"},
             "expect": {"pointer": "/event", "equals": "login"}, "refused": {"pointer": "/event", "equals": "error"},
             "class": "feed_fatal", "detail": "/message", "capture": {"token": "/token"}}
        ],
        "pacing": [{"sends": 5, "per": "1s"}],
        "batch": {"members": 100, "bytes": 65_536},
        "connect": {"pacing": [{"attempts": 150, "per": "10m"}]},
        "ends": [{"codes": ["4000-4099", 1008], "statuses": [401], "then": "fatal"}],
        "sequence": {"current": "/n", "previous": "/p"},
        "quarantine_after": 2, "deliver_control": true, "alerts": {"unmatched": true}
    })
}

#[cfg(feature = "native-tls")]
#[test]
fn all_of_it_is_read_and_comes_back() {
    let data = whole();
    let config = FeedConfig::from_json(&data.to_string()).unwrap();
    assert_eq!(config.validate(), Ok(()));
    let written = serde_json::to_value(&config).unwrap();
    assert_covers(&written, &data, "");
    let again = FeedConfig::from_json(&written.to_string()).unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), written);
}

#[cfg(feature = "native-tls")]
/// All of `part` is in `whole`, but what is never shown.
fn assert_covers(whole: &Value, part: &Value, path: &str) {
    match (whole, part) {
        (Value::String(shown), _) if shown == "[redacted]" => {}
        (Value::Object(whole), Value::Object(part)) => {
            for (name, part) in part {
                let whole = whole.get(name).unwrap_or_else(|| panic!("{path}/{name} is lost"));
                assert_covers(whole, part, &format!("{path}/{name}"));
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{path}");
            for (index, (whole, part)) in whole.iter().zip(part).enumerate() {
                assert_covers(whole, part, &format!("{path}/{index}"));
            }
        }
        _ => assert_eq!(whole, part, "{path}"),
    }
}

/// The whole with another value at a pointer; `null` takes it away.
fn with(pointer: &str, value: Value) -> Value {
    let mut data = whole();
    if cfg!(not(feature = "native-tls")) {
        data["url"] = json!("ws://a.example/");
        data["endpoints"] = json!([]);
    }
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    match data.pointer_mut(parent).unwrap() {
        Value::Array(items) => match name.parse::<usize>() {
            Ok(index) => items[index] = value,
            Err(_) => items.push(value),
        },
        Value::Object(members) if value.is_null() => drop(members.remove(name)),
        Value::Object(members) => drop(members.insert(name.to_owned(), value)),
        other => panic!("{other}"),
    }
    data
}

#[test]
fn placeholders_that_nobody_fills_in_are_refused() {
    for (pointer, value, path, part) in [
        // In what subscriptions say themselves or take from the defaults.
        (
            "/defaults/subscribe",
            json!({"$each": "${symbl}"}),
            "defaults.subscribe",
            "${symbl} for \"btc\": known are",
        ),
        ("/defaults/subscribe", json!({"$each": "${symbl|x}"}), "", ""),
        ("/defaults/unsubscribe", json!("${/id}"), "defaults.unsubscribe", "for `reply` only"),
        ("/defaults/probe", json!("${x}"), "defaults.probe", "symbol, token, topic_id, id, name, cursor"),
        ("/defaults/cursor", Value::Null, "", ""),
        ("/defaults/topic", json!("${x}"), "defaults.topic", "known are"),
        ("/subscriptions/1/subscribe", json!("${x}"), "subscriptions[1].subscribe", "${x}: known are"),
        ("/subscriptions/1/data", json!({"text": "${x}"}), "subscriptions[1].data", "${x}: known are"),
        ("/subscriptions/1/data", json!({"text": "${id} ${name} ${token}"}), "", ""),
        ("/subscriptions/1/data", json!({"text": "${subscribe_id}"}), "", ""),
        ("/subscriptions/1/unsubscribe", json!("${id} ${subscribe_id}"), "", ""),
        (
            "/subscriptions/1/subscribe",
            json!("${subscribe_id}"),
            "subscriptions[1].subscribe",
            "${subscribe_id}",
        ),
        ("/subscriptions/0/vars", json!({}), "defaults.subscribe", "${symbol} for \"btc\""),
        ("/subscriptions/-", json!({"id": "x"}), "defaults.subscribe", "${symbol} for \"x\""),
        // In what is sent for the connection.
        ("/rules/0/reply", json!("${id}"), "rules[0].reply", "${id}: an answer has no number"),
        ("/rules/0/reply", json!("${symbol}"), "rules[0].reply", "a value of the message is ${/..}"),
        ("/rules/0/reply", json!("${/a/0} ${server} ${time_iso} ${epoch}"), "", ""),
        ("/keepalives/0/send", json!("${/a}"), "keepalives[0].send", "for `reply` only"),
        ("/keepalives/0/send", json!("${symbol}"), "keepalives[0].send", "known are"),
        (
            "/keepalives/0/every",
            json!("${interval}ms"),
            "keepalives[0].every",
            "nonce, ping_interval, server, token",
        ),
        ("/keepalives/0/within", json!("${x}s"), "keepalives[0].within", "known are"),
        // Each step of the login knows what came before it.
        (
            "/login/0",
            json!({"send": "${nonce}", "expect": {"text": "x"}, "capture": {"ping_interval": "/p"}}),
            "login[0].send",
            "${nonce}",
        ),
        ("/login/1/send", json!("${token}"), "login[1].send", "nonce, ping_interval"),
        ("/login/1/send", json!("${server}"), "login[1].send", "${server}"),
        ("/login/1/expect", json!({"pointer": "/id", "equals": "${id}"}), "", ""),
        ("/login/1/refused", json!({"text": "${x}"}), "login[1].refused", "${x}"),
        // Known too late.
        (
            "/defaults/subscribe",
            json!({"chan": "${topic_id}"}),
            "defaults.subscribe",
            "which comes after this",
        ),
        ("/defaults/subscribe", json!({"$each": "${topic_id|0}"}), "", ""),
        // Nobody fills them in.
        ("/headers", json!({"X-Key": "${token}"}), "headers[\"X-Key\"]", "placeholder"),
        ("/rules/1/by/match/pointer", json!("/${symbol}"), "rules[1].by.match.pointer", "placeholder"),
        (
            "/rules/1/by/match",
            json!({"pointer": "", "contains": {"${symbol}": 1}}),
            "rules[1].by.match.contains",
            "name",
        ),
        ("/rules/0/reply", json!({"a": {"$each": "${/ping}"}}), "rules[0].reply", "`subscribe`"),
        ("/keepalives/0/send", json!([{"$join": "${id}"}]), "keepalives[0].send", "`subscribe`"),
        ("/login/1/send", json!([{"$each": "x"}]), "login[1].send", "`subscribe`"),
        ("/login/1/send", json!({"key": {"$env": "KEY"}}), "login[1].send", "command line"),
        // In matchers.
        ("/rules/0/when", json!({"text": "${server}"}), "rules[0].when", "placeholder"),
        ("/heartbeats/0", json!({"text": "${server}"}), "heartbeats[0]", "placeholder"),
        ("/keepalives/0/expect", json!({"text": "${server}"}), "keepalives[0].expect", "placeholder"),
        ("/sequence/reset", json!({"text": "${server}"}), "sequence.reset", "placeholder"),
        ("/rules/1/by/match/equals", json!("${x}"), "rules[1].by.match", "symbol, token, topic_id"),
        ("/rules/1/by/match/equals", json!("x"), "rules[1].by.match", "has no placeholder"),
        ("/rules/1/by/match/equals", json!("${id} ${name} ${symbol} ${server}"), "", ""),
    ] {
        let data = with(pointer, value.clone());
        if path.is_empty() {
            assert_eq!(open(data), Ok(()), "{pointer}: {value}");
            continue;
        }
        let (found, problem) = config_error(open(data));
        assert_eq!(found, path, "{pointer}: {value}: {problem}");
        assert!(problem.contains(part), "{pointer}: {value}: {problem}");
    }
    let cursor = json!({"url": "ws://h", "subscriptions": [{"id": "a", "subscribe": "${cursor}"}]});
    let (path, problem) = config_error(open(cursor));
    assert!(
        path == "subscriptions[0].subscribe" && problem.contains("needs the field `cursor`"),
        "{problem}"
    );
}

#[test]
fn closures_may_know_anything() {
    let builder = || {
        FeedBuilder::new("ws://h")
            .subscription(Subscription::new("a").subscribe_text("sub ${token}").data(Matcher::text("x")))
    };
    assert_eq!(config_error(builder().into_parts().map(drop)).0, "subscriptions[0].subscribe");
    assert!(builder().login(LoginStep::call(|_| Ok(()))).into_parts().is_ok());
    let late = builder().login(LoginStep::send_text("${token}")).login(LoginStep::call(|_| Ok(())));
    assert_eq!(config_error(late.into_parts().map(drop)).0, "login[0].send");
}

#[test]
fn what_can_have_no_effect_is_refused() {
    for (pointer, value, path) in [
        ("/batch", json!({"members": 0}), "batch.members"),
        ("/rules/9", json!({"when": {"text": "pong"}, "is": "ignored"}), "rules[9]"),
        (
            "/rules/9",
            json!({"when": {"pointer": "/event", "equals": "error"}, "is": "ended", "by": "all"}),
            "rules[9]",
        ),
        ("/rules/9", json!({"when": {"text": "over"}, "is": "ended"}), "rules[9].by"),
        ("/heartbeats/-", json!({"text": "pong"}), "heartbeats[1]"),
        ("/rules/4/retry_after", json!("0s"), "rules[4].retry_after"),
        ("/rules/6/do", json!({"pause": "0s"}), "rules[6].do"),
        ("/rules/6/do", Value::Null, "rules[6].do"),
        ("/rules/0/class", json!("benign"), "rules[0].class"),
        ("/rules/0/when", json!({"pointer": "event", "equals": 1}), "rules[0].when.pointer"),
        ("/rules/2/bind", json!({"id": "/a"}), "rules[2].bind"),
        ("/rules/2/by", json!({"id": "id"}), "rules[2].by.id"),
        ("/login/0/expect", Value::Null, "login[0].expect"),
        ("/login/0/expect", json!({"prefix": ""}), "login[0].expect.prefix"),
        ("/sequence/current", json!("n"), "sequence.current"),
        ("/sequence/current", json!("/*/n"), "sequence.current"),
        ("/sequence/per", json!("/data/*/s"), "sequence.per"),
    ] {
        let (found, problem) = config_error(open(with(pointer, value.clone())));
        assert_eq!(found, path, "{pointer}: {value}: {problem}");
        assert!(problem.len() > 10, "{problem}");
    }
    for (data, path) in [
        (json!({"batch": {}, "subscriptions": [{"id": "a", "subscribe": "x"}]}), "batch"),
        (json!({"batch": {}, "defaults": {"subscribe": ["x"]}}), "batch"),
        (json!({"subscriptions": [{"id": "a", "ack": "rule"}]}), "subscriptions[0].ack"),
    ] {
        let (found, problem) = config_error(open(data.clone()));
        assert_eq!(found, path, "{data}: {problem}");
    }
    // The same matcher may serve two subscriptions, and two closures are not compared.
    let data = json!({"text": "x"});
    let two = json!({"subscriptions": [{"id": "a", "data": data}, {"id": "b", "data": data}]});
    assert_eq!(open(two), Ok(()));
    let rule = || Rule::ignored(Matcher::closure(|_| false));
    assert!(FeedBuilder::new("ws://h").rule(rule()).rule(rule()).into_parts().is_ok());
}

#[test]
fn an_acknowledgement_by_rule_is_the_default_where_there_is_one() {
    let config =
        |rules: Value| FeedConfig::from_json(&json!({"url": "ws://h", "rules": rules}).to_string()).unwrap();
    let ack = |config: &FeedConfig| config.resolved(&Subscription::new("a")).terms.ack;
    assert_eq!(ack(&config(json!([]))), Some(Ack::None));
    assert_eq!(ack(&config(json!([{"when": {"text": "ok"}, "is": "ack"}]))), Some(Ack::Rule));
}

#[test]
fn a_dialect_takes_the_place_of_rules() {
    struct Nothing;
    impl crate::dialect::Dialect for Nothing {
        fn read(&mut self, _: crate::message::Payload<'_>, _: &mut Readout) {}
    }
    let matcher = || Matcher::text("x");
    let builder = || FeedBuilder::new("ws://h").dialect(Nothing);
    let sub = || Subscription::new("a").ack(Ack::Rule).subscribe_text("${whatever}");
    assert!(builder().subscription(sub()).into_parts().unwrap().1.dialect.is_some());
    for (builder, path) in [
        (builder().rule(Rule::ignored(matcher())), "rules"),
        (builder().heartbeat(matcher()), "heartbeats"),
        (builder().subscription(sub().data(matcher())), "subscriptions"),
    ] {
        assert_eq!(config_error(builder.into_parts().map(drop)).0, path);
    }
}

#[test]
fn a_subscription_that_joins_later_is_checked_in_the_same_way() {
    let data = with("/subscriptions", json!([]));
    let config = FeedConfig::from_json(&data.to_string()).unwrap();
    assert_eq!(config.validate(), Ok(()));
    let check = |subscription: Subscription| config.check_subscription("subscription", &subscription, false);
    assert_eq!(check(Subscription::new("a").var("symbol", "BTC")), Ok(()));
    for (subscription, path) in [
        (Subscription::new(""), "subscription.id"),
        (Subscription::new("a"), "defaults.subscribe"),
        (Subscription::new("a").var("symbol", 1).probe_text("${x}"), "subscription.probe"),
        (
            Subscription::new("a").var("symbol", 1).no_stale_limit().ack_timeout(Duration::ZERO),
            "subscription.ack_timeout",
        ),
    ] {
        assert_eq!(config_error(check(subscription)).0, path);
    }
}

#[test]
fn an_answer_by_number_needs_a_message_that_tells_one() {
    let ack = |by: Value| json!({"when": {"text": "ok"}, "is": "ack", "by": by});
    let feed = |defaults: Value, subscriptions: Value| {
        json!({"defaults": defaults, "subscriptions": subscriptions, "rules": [ack(json!("oldest")), {
            "when": {"text": "no"}, "is": "nack", "by": {"id": "/id"}
        }]})
    };
    let one = json!([{"id": "a"}]);
    for (data, fits) in [
        (feed(json!({"subscribe": "sub"}), one.clone()), false),
        (feed(json!({"subscribe": "sub", "unsubscribe": "unsub"}), json!([])), false),
        (feed(json!({"subscribe": {"op": "sub", "args": [{"n": "${id}"}]}}), one.clone()), true),
        (feed(json!({"subscribe": "sub ${id|0}"}), json!([])), true),
        (feed(json!({"subscribe": "sub", "unsubscribe": "unsub ${subscribe_id}"}), one.clone()), true),
        (feed(json!({"subscribe": "sub"}), json!([{"id": "a", "subscribe": "sub ${id}"}])), true),
        // Those that join later may have one.
        (feed(json!({}), json!([])), true),
        (feed(json!({}), one.clone()), true),
    ] {
        match fits {
            true => assert_eq!(open(data.clone()), Ok(()), "{data}"),
            false => {
                let (path, problem) = config_error(open(data));
                assert_eq!(path, "rules[1].by.id");
                assert!(problem.contains("${id}") && problem.contains("`subscribe`"), "{problem}");
            }
        }
    }
    let listed = |by: Value| json!({"defaults": {"subscribe": "sub"}, "rules": [ack(by)]});
    assert_eq!(config_error(open(listed(json!({"listed": "/a/*", "id": "/id"})))).0, "rules[0].by.id");
    assert_eq!(open(listed(json!({"listed": "/a/*"}))), Ok(()));
    // Nobody knows what a closure sends.
    let made = |sub: Subscription| {
        let by_id = Rule::ack(Matcher::text("ok")).by_id("/id");
        FeedBuilder::new("ws://h").rule(by_id).subscription(sub).into_parts().map(drop)
    };
    assert!(made(Subscription::new("a").subscribe_with(|_| Ok("x"))).is_ok());
    assert!(made(Subscription::new("a").subscribe_text("x").unsubscribe_with(|_| Ok("x"))).is_ok());
    assert_eq!(config_error(made(Subscription::new("a").subscribe_text("x"))).0, "rules[0].by.id");
}

#[test]
fn beside_others_a_subscription_with_a_limit_says_what_its_data_looks_like() {
    let data = json!({"pointer": "/a", "equals": "a"});
    let watched = json!({"id": "a", "data": data});
    let blind = json!({"id": "b", "subscribe": "b"});
    let unlimited = json!({"id": "c", "stale_after": "none"});
    for (subscriptions, wrong) in [
        (vec![&blind], None),
        (vec![&unlimited, &watched], None),
        (vec![&watched, &blind], Some(1)),
        (vec![&blind, &unlimited], Some(0)),
        (vec![&json!({"id": "c", "stale_after": "none", "first_data_within": "1s"}), &watched], Some(0)),
    ] {
        let checked = open(json!({"subscriptions": subscriptions}));
        match wrong {
            None => assert_eq!(checked, Ok(()), "{subscriptions:?}"),
            Some(index) => {
                let (path, problem) = config_error(checked);
                assert_eq!(path, format!("subscriptions[{index}].data"));
                assert!(problem.contains("stale_after"), "{problem}");
            }
        }
    }
    let both = json!([blind, watched]);
    assert_eq!(open(json!({"subscriptions": both, "defaults": {"data": {"text": "${name}"}}})), Ok(()));
    assert_eq!(open(json!({"subscriptions": both, "stale_after": "none"})), Ok(()));
}

#[test]
fn what_goes_from_one_connection_to_the_next_is_checked() {
    for (pointer, value, path, part) in [
        ("/cursor", json!("time"), "cursor", "does not start with"),
        ("/cursor", json!(""), "cursor", "whole message"),
        ("/cursor", json!(null), "endpoints[1]", "${cursor}"),
        ("/keep", json!(["token", "nobody"]), "keep[1]", "no rule, no login step and no keepalive"),
        ("/keep", json!(["token", "token"]), "keep[1]", "there already"),
        ("/keep", json!(["topic_id"]), "endpoints[1]", "${token}"),
        ("/endpoints/1", json!("ws://c.example/?s=${token}"), "endpoints[1]", "default"),
        ("/endpoints/1", json!("ws://${token|c}.example/"), "endpoints[1]", "in front of its path"),
        ("/endpoints/1", json!("ws://c.example/?s=${token"), "endpoints[1]", "close it"),
        ("/endpoints/1", json!("ws://c.example/${token| }"), "endpoints[1]", "white space"),
        ("/endpoints/1", json!("ws://c.example/${token|#}"), "endpoints[1]", "fragment"),
        (
            "/rules/2/resumed",
            json!({"pointer": "/a", "equals": "${token}"}),
            "rules[2].resumed",
            "placeholder",
        ),
        (
            "/rules/2/resumed",
            json!({"pointer": "a", "equals": 1}),
            "rules[2].resumed.pointer",
            "does not start with",
        ),
        ("/rules/0/resumed", json!({"pointer": "/a", "equals": 1}), "rules[0].resumed", "it is for ack"),
        ("/rules/2/capture", json!({"cursor": "/a"}), "rules[2].capture", "means something already"),
    ] {
        let mut data = whole();
        data["url"] = json!("ws://a.example/");
        data["endpoints"] = json!(["ws://b.example/", "ws://c.example/?from=${cursor - 5|}&s=${token|}"]);
        assert_eq!(FeedConfig::from_json(&data.to_string()).unwrap().validate(), Ok(()));
        *data.pointer_mut(pointer).unwrap_or(&mut Value::Null) = value.clone();
        if pointer.ends_with("resumed") || pointer.ends_with("capture") {
            let (rule, field) = pointer.rsplit_once('/').unwrap();
            data.pointer_mut(rule).unwrap()[field] = value;
        }
        let Err(Error::Config { path: at, problem }) =
            FeedConfig::from_json(&data.to_string()).and_then(|config| config.validate())
        else {
            panic!("{pointer} is accepted")
        };
        assert!(at == path && problem.contains(part), "{at}: {problem}");
    }
}
