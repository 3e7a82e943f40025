//! The configuration as data: defaults, refusals, and that secrets stay in.

mod feeds;
mod feeds_told;
mod hours;
mod rules;
mod stale_after;
mod talk;
mod terms;

use super::*;
use crate::dialect::{FrameVars, Template};
use crate::policy::verdict::Decision;
use serde_json::{Value, json};

const URL: &str = "wss://feed.example/ws";
/// One that each build can use.
const ANY_URL: &str = if cfg!(feature = "native-tls") { URL } else { "ws://feed.example/ws" };
const CANARY: &str = "hunter2canary";

fn config_error(result: Result<(), Error>) -> (String, String) {
    match result {
        Err(Error::Config { path, problem }) => (path, problem),
        other => panic!("expected a configuration error, got {other:?}"),
    }
}

/// Reads and validates, with a URL unless the data has one.
fn open(mut data: Value) -> Result<(), Error> {
    if let Value::Object(map) = &mut data {
        map.entry("url").or_insert_with(|| json!(ANY_URL));
    }
    FeedConfig::from_json(&data.to_string())?.validate()
}

/// The fields of the structs in a source file with the default their documentation names, in order.
fn documented(source: &str) -> Vec<(String, String, Option<String>)> {
    let (mut structs, mut docs, mut fields) = (String::new(), String::new(), Vec::new());
    for line in source.lines() {
        let line = line.trim();
        if let Some(doc) = line.strip_prefix("///") {
            docs += doc;
        } else if let Some(rest) = line.strip_prefix("pub struct ") {
            structs = rest.trim_end_matches(" {").to_owned();
            docs.clear();
        } else if let Some((name, _)) = line
            .strip_prefix("pub ")
            .and_then(|rest| rest.split_once(": "))
            .filter(|(name, _)| !name.contains(' '))
        {
            let default = docs.split_once("Default: `").and_then(|(_, rest)| rest.split_once('`'));
            fields.push((structs.clone(), name.to_owned(), default.map(|(text, _)| text.to_owned())));
            docs.clear();
        } else if !line.starts_with("#[") {
            docs.clear();
        }
    }
    fields
}

/// Whether a default as documented means this value.
fn means(text: &str, value: &Value) -> bool {
    let bytes = |unit: &str, shift: u32| {
        text.strip_suffix(unit).and_then(|n| n.parse::<u64>().ok()).map(|n| json!(n << shift))
    };
    if let Some(bytes) = bytes(" MiB", 20).or_else(|| bytes(" KiB", 10)) {
        return bytes == *value;
    }
    match value {
        Value::Null => text == "none",
        Value::String(value) => {
            value == text
                || humantime::parse_duration(value).is_ok_and(|a| humantime::parse_duration(text) == Ok(a))
        }
        value => serde_json::from_str::<Value>(text).is_ok_and(|text| text == *value),
    }
}

#[test]
fn every_default_is_the_documented_one() {
    let sections = documented(include_str!("../sections.rs"));
    let alerts = documented(include_str!("../alerts.rs"));
    let alerts = alerts.iter().filter(|(owner, ..)| owner == "Alerts");
    let top = documented(include_str!("../mod.rs"));
    let config = serde_json::to_value(FeedConfig::default()).unwrap();
    let mut checked = 0;
    for (owner, field, default) in sections.iter().chain(alerts).chain(&top) {
        let section = owner.to_lowercase();
        let value = if owner == "FeedConfig" { &config[field] } else { &config[&section][field] };
        if field == "url"
            || value.is_object() && !["headers", "defaults", "hours", "reconnects"].contains(&field.as_str())
        {
            continue;
        }
        let default = default.as_ref().unwrap_or_else(|| panic!("{owner}.{field} names no default"));
        assert!(means(default, value), "{owner}.{field}: documented {default}, is {value}");
        checked += 1;
    }
    let fields: usize =
        config.as_object().unwrap().values().map(|v| v.as_object().map_or(1, |o| o.len().max(1))).sum();
    assert_eq!(checked, fields - 1, "every field but the URL was compared");
}

#[test]
fn a_bare_url_is_enough() {
    assert_eq!(FeedConfig::new("ws://127.0.0.1:1").validate(), Ok(()));
    assert_eq!(open(json!({"url": "ws://127.0.0.1:1"})), Ok(()));
    assert_eq!(FeedConfig::new("wss://u:p@feed.example:1/ws").feed_name(), "feed.example:1");
}

#[test]
fn what_editors_look_for_in_a_file_is_left_alone() {
    let config = FeedConfig::from_json(r#"{"$schema": "./config.schema.json", "url": "ws://h/"}"#).unwrap();
    config.validate().unwrap();
    assert!(serde_json::to_value(&config).unwrap().get("$schema").is_none());
}

#[cfg(feature = "native-tls")]
#[test]
fn json_round_trips() {
    let data = json!({
        "url": URL,
        "endpoints": ["ws://b.example/", "wss://c.example/"],
        "name": "btc",
        "headers": {},
        "subprotocols": ["a", "b.v2"],
        "stale_after": "none",
        "hours": {},
        "by_hours": [],
        "subscriptions": [
            {"id": "a", "data": {"pointer": "/c", "equals": null}, "stale_after": "5s"},
            {"id": "b", "data": {"prefix": "42"}, "stale_after": "none"},
            {"id": "c"}
        ],
        "heartbeats": [{"text": "pong"}],
        "defaults": {"ack": "first_data", "topic": "t.${name}"},
        "rules": [{"when": {"text": "ok"}, "is": "ack", "by": "oldest"}],
        "codecs": ["items"],
        "login": [{"expect": {"text": "hello"}, "class": "feed_fatal"}],
        "sequence": {"contiguous": "/n"},
        "deliver_heartbeats": true,
        "deliver_control": true,
        "keepalives": [{"idle_sent": "5s", "ping": true}],
        "pacing": [{"sends": 5, "per": "1s", "of": "subscribes", "shared": true}],
        "batch": "none",
        "ends": [{"codes": [1008, "4000-4099"], "then": "fatal"}],
        "quarantine_after": "none",
        "cursor": "/time",
        "keep": [],
        "connect": {
            "timeout": "3s", "stagger": "100ms", "nodelay": false, "pacing": [{"attempts": 3, "per": "5m"}]
        },
        "tls": {
            "ca_file": null, "extra_roots_pem": [], "server_name": "x.example", "min_version": "1.3",
            "danger_accept_invalid_certs": true, "danger_accept_invalid_hostnames": true
        },
        "ping": {"after": "none", "timeout": "1s 500ms"},
        "reconnect": {
            "first": "1s", "floor": "10ms", "max": "2s", "stable_after": "3s", "max_attempts": 4,
            "max_downtime": "1h", "fatal_statuses": [401], "fatal_when_never_up": false, "close_code": 4000
        },
        "queue": {"messages": 1, "bytes": 1000, "overflow": "drop_oldest"},
        "alerts": {
            "reconnects": {"more_than": 3, "within": "1m"}, "no_data": [{"after": "10m"}, {"after": "1h"}],
            "down": "none", "unmatched": true, "cool_down": "1h"
        },
        "limits": {
            "message_bytes": 1000, "upgrade_response_bytes": 1024, "send_bytes": 2000, "subscribe_bytes": 3000,
            "write_timeout": "1s", "read_buffer_bytes": 4096
        },
        "close_timeout": "1ms"
    });
    let config = FeedConfig::from_json(&data.to_string()).unwrap();
    assert_eq!(config.validate(), Ok(()));
    assert_eq!(serde_json::to_value(&config).unwrap(), data);

    let default = serde_json::to_string(&FeedConfig::new(URL)).unwrap();
    let again = FeedConfig::from_json(&default).unwrap();
    assert_eq!(serde_json::to_string(&again).unwrap(), default);
}

#[test]
fn none_and_null_switch_off() {
    for off in [json!("none"), json!(null)] {
        let data = json!({
            "url": URL, "batch": off, "quarantine_after": off, "reconnect": {"max_attempts": off},
            "alerts": {"reconnects": off}
        });
        let config = FeedConfig::from_json(&data.to_string()).unwrap();
        assert!(config.batch.is_none() && config.quarantine_after.is_none());
        assert!(config.reconnect.max_attempts.is_none() && config.alerts.reconnects.is_none());
    }
    let config = FeedConfig::new(URL);
    assert!(config.quarantine_after.is_some() && config.alerts.reconnects.is_some());
}

#[test]
fn wrong_data_is_refused_with_its_path() {
    for (data, path) in [
        (json!({"stale_after": 60}), "stale_after"),
        (json!({"stale_after": "60"}), "stale_after"),
        (json!({"stale_after": null}), "stale_after"),
        (json!({"stale_afetr": "60s"}), "stale_afetr"),
        (json!({"endpoints": "ws://h"}), "endpoints"),
        (json!({"quarantine_after": -1}), "quarantine_after"),
        (json!({"quarantine_after": 4_294_967_296_u64}), "quarantine_after"),
        (json!({"quarantine_after": "never"}), "quarantine_after"),
        (json!({"reconnect": {"max_attempts": "4"}}), "reconnect.max_attempts"),
        (json!({"alerts": {"reconnects": "never"}}), "alerts.reconnects"),
        (json!({"alerts": []}), "alerts"),
        (json!({"alerts": {"unmatchd": true}}), "alerts.unmatchd"),
        (json!({"alerts": {"reconnects": [5, "10m"]}}), "alerts.reconnects"),
        (json!({"alerts": {"reconnects": {"more_than": -1}}}), "alerts.reconnects.more_than"),
        (json!({"alerts": {"no_data": [{"during": "a"}]}}), "alerts.no_data[0]"),
        (json!({"alerts": {"no_data": [["10m"]]}}), "alerts.no_data[0]"),
        (json!({"alerts": {"cool_down": "none"}}), "alerts.cool_down"),
        (json!({"batch": [1, 2]}), "batch"),
        (json!({"connect": {"pacing": [[1, "1s"]]}}), "connect.pacing[0]"),
        (json!({"close_timeout": "none"}), "close_timeout"),
        (json!({"reconnect": {"mx": "1s"}}), "reconnect.mx"),
        (json!({"reconnect": {"max": "soon"}}), "reconnect.max"),
        (json!({"reconnect": {"fatal_statuses": [400, "x"]}}), "reconnect.fatal_statuses[1]"),
        (json!({"reconnect": []}), "reconnect"),
        (json!({"subscriptions": [["a"]]}), "subscriptions[0]"),
        (json!({"heartbeats": [["/a", 1]]}), "heartbeats[0]"),
        (json!([]), "(top level)"),
        (json!({"queue": {"overflow": "drop"}}), "queue.overflow"),
        (json!({"queue": {"messages": -1}}), "queue.messages"),
        (json!({"tls": {"min_version": "1.1"}}), "tls.min_version"),
        (json!({"headers": {"X-Foo": 1}}), "headers[\"X-Foo\"]"),
        (json!({"headers": "x"}), "headers"),
        (json!({"subscriptions": [{"subscribe": "x"}]}), "subscriptions[0]"),
        (json!({"subscriptions": [{"id": "a"}, {"id": 1}]}), "subscriptions[1].id"),
        (json!({"subscriptions": [{"id": "a", "data": {"pointer": "/a"}}]}), "subscriptions[0].data"),
        (json!({"subscriptions": [{"id": "a", "data": {"txt": "a"}}]}), "subscriptions[0].data.txt"),
        (json!({"heartbeats": ["<closure>"]}), "heartbeats[0]"),
        (json!("wss://h"), "(top level)"),
    ] {
        let (found, problem) = config_error(open(data.clone()));
        assert_eq!(found, path, "{data}: {problem}");
        assert!(problem.len() > 10, "{problem}");
    }
    for (data, part) in [
        (
            json!({"pacing": {"sends": 5, "per": "1s"}}),
            "is an object that does not fit: expected a list [..]",
        ),
        (
            json!({"stale_after": {"adaptive": {"factor": "3"}}}),
            "is a string that does not fit: expected a number",
        ),
        (json!({"alerts": {"down": "5M"}}), "is a string that does not fit: expected a duration"),
        (json!({"defaults": {"vars": ["x"]}}), "is a list that does not fit: expected an object {..}"),
    ] {
        let (_, problem) = config_error(open(data));
        assert!(problem.contains(part), "{problem}");
    }
    for malformed in ["", "{", "{} x", "{\"url\":}", "[1]"] {
        assert!(FeedConfig::from_json(malformed).is_err(), "{malformed}");
    }
}

#[test]
fn bad_values_are_refused_with_their_path() {
    let ws = |mut data: Value| {
        data["url"] = json!("ws://h");
        data
    };
    let sub = |fields: Value| {
        let mut sub = json!({"id": "a"});
        sub.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"subscriptions": [{"id": "first"}, sub]})
    };
    let long = "x".repeat((1 << 20) + 1);
    let mut cases = vec![
        (json!({"url": ""}), "url"),
        (json!({"url": "https://h"}), "url"),
        (json!({"url": "ws://h:99999"}), "url"),
        (json!({"endpoints": ["ws://h", "http://h"]}), "endpoints[1]"),
        (json!({"endpoints": ["ws://h", "ws://h"]}), "endpoints[1]"),
        (json!({"endpoints": [URL]}), "endpoints[0]"),
        (json!({"quarantine_after": 0}), "quarantine_after"),
        (json!({"alerts": {"reconnects": {"more_than": 10_001}}}), "alerts.reconnects.more_than"),
        (json!({"alerts": {"reconnects": {"within": "0s"}}}), "alerts.reconnects.within"),
        (json!({"alerts": {"no_data": [{"after": "1s"}, {"after": "0s"}]}}), "alerts.no_data[1].after"),
        (json!({"alerts": {"no_data": [{"after": "1s"}, {"after": "1000ms"}]}}), "alerts.no_data[1]"),
        (
            json!({"alerts": {"no_data": [{"after": "1s", "during": "a", "outside": "a"}]}}),
            "alerts.no_data[0]",
        ),
        (json!({"alerts": {"no_data": [{"after": "1s", "during": "a"}]}}), "alerts.no_data[0].during"),
        (json!({"alerts": {"no_data": [{"after": "1s", "outside": "a"}]}}), "alerts.no_data[0].outside"),
        (
            json!({"alerts": {"no_data": (1..=65).map(|n| json!({"after": format!("{n}s")})).collect::<Vec<_>>()}}),
            "alerts.no_data",
        ),
        (json!({"alerts": {"down": "0s"}}), "alerts.down"),
        (json!({"alerts": {"cool_down": "0s"}}), "alerts.cool_down"),
        (json!({"name": ""}), "name"),
        (json!({"name": "a\nb"}), "name"),
        (json!({"headers": {"": "x"}}), "headers"),
        (json!({"headers": {"X Foo": "x"}}), "headers"),
        (json!({"headers": {"X-Foo": "x\r\nY: z"}}), "headers[\"X-Foo\"]"),
        (json!({"headers": {"X-Foo": "\u{0}"}}), "headers[\"X-Foo\"]"),
        (json!({"headers": {"X-Foo": "é"}}), "headers[\"X-Foo\"]"),
        (json!({"headers": {"X-Foo": "x", "x-foo": "y"}}), "headers[\"x-foo\"]"),
        (json!({"headers": {"upgrade": "x"}}), "headers[\"upgrade\"]"),
        (json!({"headers": {"Connection": "x"}}), "headers[\"Connection\"]"),
        (json!({"headers": {"Host": "x"}}), "headers[\"Host\"]"),
        (json!({"headers": {"Sec-WebSocket-Key": "x"}}), "headers[\"Sec-WebSocket-Key\"]"),
        (json!({"headers": {"Content-Length": "1"}}), "headers[\"Content-Length\"]"),
        (json!({"subprotocols": ["a", ""]}), "subprotocols[1]"),
        (json!({"subprotocols": ["a, b"]}), "subprotocols[0]"),
        (json!({"subprotocols": ["a", "b", "a"]}), "subprotocols[2]"),
        (json!({"stale_after": "0s"}), "stale_after"),
        (json!({"stale_after": "999us"}), "stale_after"),
        (json!({"stale_after": "366days"}), "stale_after"),
        (json!({"subscriptions": [{"id": ""}]}), "subscriptions[0].id"),
        (json!({"subscriptions": [{"id": "a"}, {"id": "b"}, {"id": "a"}]}), "subscriptions[2].id"),
        (sub(json!({"stale_after": "1us"})), "subscriptions[1].stale_after"),
        (sub(json!({"subscribe": long})), "subscriptions[1].subscribe"),
        (sub(json!({"unsubscribe": [long]})), "subscriptions[1].unsubscribe"),
        (sub(json!({"data": {"pointer": "c", "equals": 1}})), "subscriptions[1].data.pointer"),
        (sub(json!({"data": {"pointer": "/~2", "equals": 1}})), "subscriptions[1].data.pointer"),
        (sub(json!({"data": {"pointer": "/c", "equals": {}}})), "subscriptions[1].data.equals"),
        (json!({"heartbeats": [{"text": "a"}, {"prefix": ""}]}), "heartbeats[1].prefix"),
        (json!({"connect": {"timeout": "0s"}}), "connect.timeout"),
        (json!({"connect": {"stagger": "0s"}}), "connect.stagger"),
        (json!({"connect": {"stagger": "10s"}}), "connect.stagger"),
        (ws(json!({"tls": {"ca_file": "x"}})), "tls.ca_file"),
        (ws(json!({"tls": {"extra_roots_pem": ["x"]}})), "tls.extra_roots_pem"),
        (ws(json!({"tls": {"server_name": "x"}})), "tls.server_name"),
        (ws(json!({"tls": {"min_version": "1.3"}})), "tls.min_version"),
        (ws(json!({"tls": {"danger_accept_invalid_certs": true}})), "tls.danger_accept_invalid_certs"),
        (
            ws(json!({"tls": {"danger_accept_invalid_hostnames": true}})),
            "tls.danger_accept_invalid_hostnames",
        ),
        (json!({"tls": {"ca_file": "/nonexistent/ca.pem"}}), "tls.ca_file"),
        (json!({"tls": {"ca_file": "/"}}), "tls.ca_file"),
        (json!({"tls": {"ca_file": concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")}}), "tls.ca_file"),
        (json!({"tls": {"extra_roots_pem": ["nope"]}}), "tls.extra_roots_pem[0]"),
        (json!({"tls": {"server_name": "https://x"}}), "tls.server_name"),
        (json!({"ping": {"after": "0s"}}), "ping.after"),
        (json!({"ping": {"timeout": "0s"}}), "ping.timeout"),
        (json!({"reconnect": {"floor": "0s"}}), "reconnect.floor"),
        (json!({"reconnect": {"floor": "31s"}}), "reconnect.floor"),
        (json!({"reconnect": {"floor": "600ms"}}), "reconnect.floor"),
        (json!({"reconnect": {"first": "31s"}}), "reconnect.first"),
        (json!({"reconnect": {"max": "400days"}}), "reconnect.max"),
        (json!({"reconnect": {"stable_after": "0s"}}), "reconnect.stable_after"),
        (json!({"reconnect": {"max_attempts": 0}}), "reconnect.max_attempts"),
        (json!({"reconnect": {"max_downtime": "0s"}}), "reconnect.max_downtime"),
        (json!({"reconnect": {"fatal_statuses": [101]}}), "reconnect.fatal_statuses[0]"),
        (json!({"reconnect": {"fatal_statuses": [401, 600]}}), "reconnect.fatal_statuses[1]"),
        (json!({"reconnect": {"fatal_statuses": [401, 401]}}), "reconnect.fatal_statuses[1]"),
        (json!({"queue": {"messages": 0}}), "queue.messages"),
        (json!({"queue": {"bytes": 1000}}), "queue.bytes"),
        (json!({"limits": {"message_bytes": 124}}), "limits.message_bytes"),
        (json!({"limits": {"upgrade_response_bytes": 0}}), "limits.upgrade_response_bytes"),
        (json!({"limits": {"send_bytes": 0}}), "limits.send_bytes"),
        (json!({"limits": {"subscribe_bytes": 0}}), "limits.subscribe_bytes"),
        (json!({"limits": {"write_timeout": "0s"}}), "limits.write_timeout"),
        (json!({"limits": {"read_buffer_bytes": 1}}), "limits.read_buffer_bytes"),
        (json!({"close_timeout": "0s"}), "close_timeout"),
    ];
    if cfg!(not(feature = "native-tls")) {
        for (data, path) in &mut cases {
            if path.starts_with("tls") && data.get("url").is_none() {
                *path = "url";
                data["url"] = json!(URL);
            }
        }
    }
    for (data, path) in cases {
        let (found, problem) = config_error(open(data.clone()));
        assert_eq!(found, path, "{problem}");
        assert!(problem.len() > 10, "{problem}");
    }
}

#[cfg(feature = "native-tls")]
#[test]
fn roots_are_read() {
    let pem = "-----BEGIN CERTIFICATE-----\nMAMCAQE=\n-----END CERTIFICATE-----\n";
    let file = std::env::temp_dir().join(format!("livefeed-roots-{}.pem", std::process::id()));
    std::fs::write(&file, pem.repeat(2)).unwrap();
    let mut config = FeedConfig::new(URL);
    config.tls.ca_file = Some(file.clone());
    config.tls.extra_roots_pem.push(pem.to_owned());
    let (validated, roots) = (config.validate(), config.tls.roots());
    std::fs::remove_file(file).unwrap();
    assert_eq!(validated, Ok(()));
    assert_eq!(roots.unwrap().len(), 3);
}

#[test]
fn secrets_are_never_shown() {
    let data = json!({
        "url": format!("wss://me:{CANARY}@feed.example/ws?token={CANARY}&{CANARY}#{CANARY}"),
        "headers": {"Authorization": format!("Bearer {CANARY}")},
        "subscriptions": [
            {"id": "a", "subscribe": CANARY, "unsubscribe": CANARY},
            {"id": "b", "subscribe": {"key": CANARY}, "unsubscribe": [CANARY], "probe": CANARY, "vars": {"k": CANARY}}
        ],
        "defaults": {"vars": {"key": [CANARY]}, "subscribe": CANARY},
        "keepalives": [{"every": "1s", "send": CANARY}],
        "login": [{"send": {"token": CANARY}}],
        "rules": [{"when": {"text": "ping"}, "is": "heartbeat", "reply": CANARY}],
        "endpoints": [format!("wss://me:{CANARY}@feed.example/2?token={CANARY}")]
    });
    let config = FeedConfig::from_json(&data.to_string()).unwrap();
    let target = Target::new(config.url.clone()).header("Authorization", CANARY);
    let builder = FeedBuilder::from(config.clone());
    let shown = [
        format!("{config:?} {config:#?} {target:?} {builder:?} {}", config.url),
        serde_json::to_string(&config).unwrap(),
        config.feed_name().to_owned(),
        format!("{:?}", config.validate()),
        format!("{:?}", target.check()),
    ];
    for text in shown {
        assert!(!text.contains(CANARY), "{text}");
    }

    for (path, value) in [
        ("url", json!(format!("ftp://{CANARY}@h/?{CANARY}"))),
        ("url", json!(format!("ws://h h/?{CANARY}"))),
        ("url", json!([CANARY])),
        ("url", json!({"is": CANARY})),
        ("headers", json!(CANARY)),
        ("headers", json!(format!("x, expected {CANARY}"))),
        ("headers", json!({"X": format!("{CANARY}\n")})),
        ("headers", json!({"X": [CANARY]})),
        ("stale_after", json!(CANARY)),
        ("subscriptions", json!([CANARY])),
        ("subscriptions", json!([{"id": "a", "subscribe": CANARY.repeat(1 << 17)}])),
        ("reconnect", json!({"max": CANARY})),
        ("defaults", json!({"repair": [CANARY]})),
        ("defaults", json!({"vars": CANARY})),
        ("ends", json!([{"codes": [CANARY], "then": "retry"}])),
        ("ends", json!([{"codes": [4000], "then": CANARY}])),
        ("keepalives", json!([{"every": CANARY, "ping": true}])),
        ("endpoints", json!([format!("ftp://{CANARY}@h/?{CANARY}")])),
        ("reconnect", json!({"max_attempts": CANARY})),
    ] {
        let mut data = json!({});
        data[path] = value;
        let error = open(data.clone()).unwrap_err();
        assert!(!format!("{error:?} {error}").contains(CANARY), "{error}");
    }
}

#[test]
fn the_builder_fills_in_the_same_struct() {
    let (config, hooks) = FeedBuilder::new("ws://h/ws")
        .name("n")
        .header("X-A", "1")
        .subprotocol("p")
        .stale_after(Duration::from_secs(3))
        .subscription(Subscription::new("a").subscribe_json(json!({"$each": "sub"})).no_stale_limit())
        .endpoint("ws://h/2")
        .defaults(|each| each.ack(Ack::FirstData))
        .defaults(|each| each.ack_timeout(Duration::from_secs(4)))
        .heartbeat(Matcher::text("pong"))
        .rule(Rule::ignored(Matcher::text("x")))
        .codec(Codec::Items)
        .login(LoginStep::expect(Matcher::text("hello")))
        .sequence(SequenceRule::contiguous("/n"))
        .batch(1, 1000)
        .deliver_heartbeats(true)
        .deliver_control(true)
        .alerts(|alerts| alerts.unmatched = true)
        .keepalive(Keepalive::every(Duration::from_secs(2)).first_after(Duration::from_secs(1)))
        .pacing(Pacing::new(5, Duration::from_secs(1)).of(PacingScope::Application).shared())
        .end_rule(EndRule::codes(4001, Decision::RetryAfter(Duration::from_secs(5))))
        .quarantine_after(2)
        .connect(|c| c.nodelay = false)
        .ping(|p| p.after = Limit::None)
        .reconnect(|r| r.max = Duration::from_secs(1))
        .max_attempts(2)
        .overflow(Overflow::KeepLatest)
        .limits(|l| l.send_bytes = 1000)
        .close_timeout(Duration::from_secs(1))
        .config(|c| c.queue.messages = 10)
        .handler(|_| ())
        .on_wake(|| ())
        .on_alert(|_| ())
        .retry_policy(|_, _| None)
        .into_parts()
        .unwrap();
    let expected = json!({
        "url": "ws://h/ws", "name": "n", "headers": {"X-A": "1"}, "subprotocols": ["p"], "stale_after": "3s",
        "subscriptions": [{"id": "a", "subscribe": {"$each": "sub"}, "stale_after": "none"}],
        "endpoints": ["ws://h/2"], "defaults": {"ack": "first_data", "ack_timeout": "4s"},
        "heartbeats": [{"text": "pong"}], "deliver_heartbeats": true, "connect": {"nodelay": false},
        "rules": [{"when": {"text": "x"}, "is": "ignored"}], "codecs": ["items"],
        "login": [{"expect": {"text": "hello"}}], "sequence": {"contiguous": "/n"}, "batch": {"members": 1, "bytes": 1000},
        "deliver_control": true, "alerts": {"unmatched": true},
        "keepalives": [{"every": "2s", "ping": true, "first_after": "1s"}],
        "pacing": [{"sends": 5, "per": "1s", "of": "application", "shared": true}],
        "ends": [{"codes": [4001], "then": {"retry_after": "5s"}}], "quarantine_after": 2,
        "ping": {"after": "none"}, "reconnect": {"max": "1s", "max_attempts": 2},
        "queue": {"overflow": "keep_latest", "messages": 10}, "limits": {"send_bytes": 1000},
        "close_timeout": "1s"
    });
    let expected = FeedConfig::from_json(&expected.to_string()).unwrap();
    assert_eq!(serde_json::to_value(&config).unwrap(), serde_json::to_value(&expected).unwrap());
    assert_eq!(config.headers, expected.headers);
    assert!(
        hooks.handler.is_some()
            && hooks.on_wake.is_some()
            && hooks.on_alert.is_some()
            && hooks.retry_policy.is_some()
    );

    let error = FeedBuilder::new("ws://h").max_attempts(0).into_parts().map(|_| ());
    assert_eq!(config_error(error).0, "reconnect.max_attempts");
}

#[test]
fn a_provider_stands_in_for_the_url() {
    let build = |url: &str| FeedBuilder::new(url).provider(|_| Ok(Target::new("ws://h"))).into_parts();
    assert!(build("").is_ok());
    assert!(build("ws://h").is_ok());
    assert_eq!(config_error(build("http://h").map(|_| ())).0, "url");
    let more = FeedBuilder::new("").provider(|_| Ok(Target::new("ws://h"))).endpoint("ws://h");
    assert_eq!(config_error(more.into_parts().map(|_| ())).0, "endpoints");
}

#[test]
fn targets_are_checked_and_merged() {
    for (target, path) in [
        (Target::new("h"), "url"),
        (Target::new("ws://h").header("Upgrade", "x"), "headers[\"Upgrade\"]"),
        (Target::new("ws://h").subprotocol(""), "subprotocols[0]"),
    ] {
        assert_eq!(config_error(target.check()).0, path);
    }
    let configured = BTreeMap::from([("X-A".into(), "1".into()), ("X-B".into(), "2".into())]);
    let merged = Target::new("ws://h").header("x-a", "3").merged_headers(&configured);
    let merged: Vec<_> = merged.iter().map(|(name, value)| (name.as_str(), value.expose())).collect();
    assert_eq!(merged, [("X-B", "2"), ("x-a", "3")]);
}

/// What a template of plain text is, for comparisons.
fn rendered(template: &Template) -> String {
    let frame = FrameVars::new(1, 1, std::time::SystemTime::UNIX_EPOCH);
    String::from_utf8_lossy(template.render(&frame, &[]).unwrap().payload().as_bytes()).into_owned()
}
