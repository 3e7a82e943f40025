//! Keepalives, pacing, batching and the policy on ends, as data.

use super::*;

#[test]
fn each_form_round_trips() {
    for (field, forms) in [
        (
            "keepalives",
            json!([
                {"every": "20s", "ping": true},
                {"idle_received": "25s", "ping": true, "expect": {"text": "pong"}, "within": "5s"},
                {"idle_sent": "${interval|5000}ms", "ping": true},
                {
                    "every": "${expires_in - 60}s", "ping": true,
                    "expect": {"text": "renewed"}, "capture": {"expires_in": "/expires_in", "token": "/token"},
                    "refused": {"text": "denied"}, "detail": "/why"
                },
                {"every": "1m", "ping": true, "first_after": "${first|3}s"}
            ]),
        ),
        (
            "pacing",
            json!([
                {"sends": 5, "per": "1s", "of": "all", "shared": false},
                {"sends": 480, "per": "1h", "of": "subscribes", "shared": true},
                {"sends": 1_000_000, "per": "1ms", "of": "application", "shared": false}
            ]),
        ),
        (
            "ends",
            json!([
                {"codes": [1008, "4000-4099"], "then": "fatal"},
                {"statuses": [429, "500-599"], "then": "retry_slowly"},
                {"codes": ["4200-4299"], "then": "retry_now"},
                {"reason_contains": "bye", "then": "retry"},
                {"codes": [1001], "statuses": [503], "reason_contains": "later", "then": {"retry_after": "5s"}}
            ]),
        ),
    ] {
        let config = FeedConfig::from_json(&json!({"url": ANY_URL, field: forms}).to_string()).unwrap();
        assert_eq!(config.validate(), Ok(()), "{field}");
        assert_eq!(serde_json::to_value(&config).unwrap()[field], forms);
    }
    let short = json!({"url": ANY_URL, "pacing": [{"sends": 1, "per": "1s"}], "batch": {}});
    let config = FeedConfig::from_json(&short.to_string()).unwrap();
    assert_eq!(config.pacing, [Pacing::new(1, Duration::from_secs(1))]);
    assert_eq!(config.batch, Some(Batching::default()));
    for (_, field, default) in documented(include_str!("../pacing.rs")) {
        let defaults = [json!(config.pacing[0]), json!(Batching::default())];
        let value = defaults.iter().find_map(|data| data.get(&field));
        assert!(default.is_none_or(|default| means(&default, value.unwrap())), "{field}");
    }
}

#[test]
fn builders_give_the_same_data() {
    let secs = Duration::from_secs;
    let rules = [
        EndRule::codes(4000..=4099, Decision::Fatal),
        EndRule::statuses(429, Decision::RetrySlowly),
        EndRule::reason_contains("x", Decision::RetryNow),
    ];
    let data = json!([
        {"codes": ["4000-4099"], "then": "fatal"},
        {"statuses": [429], "then": "retry_slowly"},
        {"reason_contains": "x", "then": "retry_now"}
    ]);
    assert_eq!(serde_json::to_value(rules).unwrap(), data);
    let keepalives = [
        Keepalive::every(secs(1)).first_after(secs(2)),
        Keepalive::every(secs(1)).first_after(FirstAfter::Random),
        Keepalive::idle_received(crate::dialect::Interval::text("${t}s")),
        Keepalive::idle_sent(secs(3)).expect(Matcher::text("pong")).within(secs(4)),
    ];
    let data = json!([
        {"every": "1s", "ping": true, "first_after": "2s"},
        {"every": "1s", "ping": true, "first_after": "random"},
        {"idle_received": "${t}s", "ping": true},
        {"idle_sent": "3s", "ping": true, "expect": {"text": "pong"}, "within": "4s"}
    ]);
    assert_eq!(serde_json::to_value(keepalives).unwrap(), data);
    assert_eq!(KeepaliveDue::Every.name(), "every");
    assert_eq!(
        serde_json::to_value(ConnectPacing::new(3, secs(1))).unwrap(),
        json!({"attempts": 3, "per": "1s"})
    );
}

#[test]
fn wrong_data_is_refused_with_its_path() {
    for (data, path) in [
        (json!({"keepalives": [{"ping": true}]}), "keepalives[0]"),
        (json!({"keepalives": [{"every": "1s", "idle_sent": "1s", "ping": true}]}), "keepalives[0]"),
        (json!({"keepalives": [{"every": "1s"}]}), "keepalives[0]"),
        (json!({"keepalives": [{"every": "1s", "ping": false}]}), "keepalives[0]"),
        (json!({"keepalives": [{"every": "1s", "ping": true, "send": "x"}]}), "keepalives[0]"),
        (json!({"keepalives": [{"every": 1, "ping": true}]}), "keepalives[0].every"),
        (json!({"keepalives": [{"every": "none", "ping": true}]}), "keepalives[0].every"),
        (json!({"keepalives": [{"every": "1s", "ping": true, "expect": "x"}]}), "keepalives[0].expect"),
        (json!({"pacing": [{"sends": 1}]}), "pacing[0]"),
        (json!({"pacing": [{"sends": 1.5, "per": "1s"}]}), "pacing[0].sends"),
        (json!({"pacing": [{"sends": 1, "per": "1s", "of": "none"}]}), "pacing[0].of"),
        (json!({"connect": {"pacing": [{"sends": 1, "per": "1s"}]}}), "connect.pacing[0].sends"),
        (json!({"batch": {"members": "x"}}), "batch.members"),
        (json!({"ends": [{"codes": [1008]}]}), "ends[0]"),
        (json!({"ends": [{"codes": 1008, "then": "fatal"}]}), "ends[0].codes"),
        (json!({"ends": [{"codes": [1008, "4000"], "then": "fatal"}]}), "ends[0].codes[1]"),
        (json!({"ends": [{"codes": [70000], "then": "fatal"}]}), "ends[0].codes[0]"),
        (json!({"ends": [{"codes": [-1], "then": "fatal"}]}), "ends[0].codes[0]"),
        (json!({"ends": [{"codes": ["a-b"], "then": "fatal"}]}), "ends[0].codes[0]"),
        (json!({"ends": [{"codes": [1008], "then": "give_up"}]}), "ends[0].then"),
        (json!({"ends": [{"codes": [1008], "then": {"retry_after": 5}}]}), "ends[0].then.retry_after"),
    ] {
        let (found, problem) = config_error(open(data.clone()));
        assert_eq!(found, path, "{data}: {problem}");
        assert!(problem.len() > 10, "{problem}");
    }
}

#[test]
fn bad_values_are_refused_with_their_path() {
    let keepalive = |fields: Value| {
        let mut keepalive = json!({"every": "1s", "ping": true});
        keepalive.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"keepalives": [{"idle_sent": "1s", "ping": true}, keepalive]})
    };
    let rule = |fields: Value| {
        let mut rule = json!({"when": {"text": "x"}});
        rule.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"rules": [rule]})
    };
    let end = |fields: Value| {
        let mut end = json!({"then": "retry"});
        end.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"ends": [{"codes": [4321], "then": "fatal"}, end]})
    };
    for (data, path) in [
        (keepalive(json!({"every": "0s"})), "keepalives[1].every"),
        (keepalive(json!({"every": "${a} b"})), "keepalives[1].every"),
        (keepalive(json!({"within": "1s"})), "keepalives[1].within"),
        (keepalive(json!({"expect": {"text": "a"}, "within": "0s"})), "keepalives[1].within"),
        (keepalive(json!({"expect": {"prefix": ""}})), "keepalives[1].expect.prefix"),
        (keepalive(json!({"capture": {"a": "/a"}})), "keepalives[1].capture"),
        (keepalive(json!({"expect": {"text": "a"}, "capture": {"a": "a"}})), "keepalives[1].capture.a"),
        (keepalive(json!({"expect": {"text": "a"}, "capture": {"id": "/a"}})), "keepalives[1].capture"),
        (keepalive(json!({"refused": {"prefix": ""}})), "keepalives[1].refused.prefix"),
        (keepalive(json!({"refused": {"text": "a"}, "detail": "a"})), "keepalives[1].detail"),
        (keepalive(json!({"detail": "/a"})), "keepalives[1].detail"),
        (keepalive(json!({"first_after": "0s"})), "keepalives[1].first_after"),
        (rule(json!({"is": "heartbeat", "within": "0s"})), "rules[0].within"),
        (rule(json!({"is": "heartbeat", "within": "${a} b"})), "rules[0].within"),
        (rule(json!({"is": "heartbeat", "within": "${nothing}s"})), "rules[0].within"),
        (rule(json!({"is": "ignored", "within": "1s"})), "rules[0].within"),
        (rule(json!({"is": "notice", "do": {"go_to": "url"}})), "rules[0].do"),
        (rule(json!({"is": "notice", "do": {"go_to": "/url", "hosts": ["*"]}})), "rules[0].do"),
        (rule(json!({"is": "data", "do": {"go_to": "/url"}})), "rules[0].do"),
        (
            json!({"keepalives": [{"idle_sent": "1s", "ping": true, "first_after": "1s"}]}),
            "keepalives[0].first_after",
        ),
        (json!({"pacing": [{"sends": 0, "per": "1s"}]}), "pacing[0].sends"),
        (json!({"pacing": [{"sends": 1_000_001, "per": "1s"}]}), "pacing[0].sends"),
        (json!({"pacing": [{"sends": 1, "per": "0s"}]}), "pacing[0].per"),
        (json!({"connect": {"pacing": [{"attempts": 0, "per": "1s"}]}}), "connect.pacing[0].attempts"),
        (json!({"connect": {"pacing": [{"attempts": 1, "per": "400days"}]}}), "connect.pacing[0].per"),
        (json!({"batch": {"members": 0}}), "batch.members"),
        (json!({"batch": {"bytes": 1}}), "batch.bytes"),
        (json!({"batch": {"bytes": 2 << 20}}), "batch.bytes"),
        (end(json!({})), "ends[1]"),
        (end(json!({"codes": []})), "ends[1]"),
        (end(json!({"codes": [999]})), "ends[1].codes[0]"),
        (end(json!({"codes": [1008, "4000-5000"]})), "ends[1].codes[1]"),
        (end(json!({"codes": ["4001-4000"]})), "ends[1].codes[0]"),
        (end(json!({"statuses": [99]})), "ends[1].statuses[0]"),
        (end(json!({"statuses": ["500-600"]})), "ends[1].statuses[0]"),
        (end(json!({"reason_contains": ""})), "ends[1].reason_contains"),
        (end(json!({"codes": [4000], "then": {"retry_after": "0s"}})), "ends[1].then.retry_after"),
        (end(json!({"codes": [4321]})), "ends[1]"),
        (end(json!({"codes": [4321], "reason_contains": "x"})), "ends[1]"),
    ] {
        let (found, problem) = config_error(open(data.clone()));
        assert_eq!(found, path, "{data}: {problem}");
        assert!(problem.len() > 10, "{problem}");
    }
    for data in [
        end(json!({"codes": [4321, 4322]})),
        end(json!({"statuses": [503]})),
        end(json!({"reason_contains": "x"})),
        json!({"ends": [
            {"codes": [4321], "reason_contains": "xy", "then": "fatal"},
            {"codes": [4321], "reason_contains": "x", "then": "retry"}
        ]}),
    ] {
        assert_eq!(open(data.clone()), Ok(()), "{data}");
    }
}
