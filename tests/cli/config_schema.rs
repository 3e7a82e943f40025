//! The JSON Schema of the configuration says what the program takes.

use crate::common::run;
use crate::scratch::Scratch;
use jsonschema::Validator;
use livefeed::FeedConfig;
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

type Names = BTreeSet<String>;

fn schema() -> Value {
    serde_json::from_str(include_str!("../../schema/config.schema.json")).unwrap()
}

fn validator() -> Validator {
    assert!(jsonschema::meta::is_valid(&schema()));
    jsonschema::validator_for(&schema()).unwrap()
}

/// A feed with everything that a feed can have.
fn full() -> Value {
    let terms = json!({
        "vars": {"symbol": "BTC", "n": 5},
        "subscribe": {"op": "sub", "symbols": {"$each": "${symbol}"}, "id": "${id}"}, "unsubscribe": "unsub ${id}", "probe": "probe",
        "data": {"all": [
            {"pointer": "/a", "equals": "${symbol}"}, {"pointer": "/b", "one_of": [1, "x", null]},
            {"pointer": "/c", "exists": false}, {"pointer": "/d", "starts_with": "t."},
            {"pointer": "/e", "contains": {"f": 1}},
            {"any": [{"text": "t"}, {"prefix": "p"}, {"binary": "1f8b"}, {"not": {"text": "n"}}]},
        ]},
        "stale_after": {"adaptive": {"factor": 3, "floor": "1s", "ceiling": "60s", "warm_up": "1m"}},
        "by_hours": [{"during": "day", "stale_after": "2s"}, {"outside": "day", "stale_after": "none"}],
        "first_data_within": "20s", "ack": "rule", "ack_timeout": "5s", "on_ack_timeout": "accept",
        "topic": "${name}", "cursor": "/seq",
        "sequence": {"contiguous": "/u", "per": "/s", "repeats": true, "reset": {"text": "r"}, "on_gap": "resubscribe"},
        "lag": {"pointer": "/ts", "unit": "ms", "limit": "5s", "after": "30s", "max_skew": "60s"},
        "frozen": {"pointer": "/p", "after": "5m"},
        "repair": ["probe:5s", "resubscribe:10s", "reconnect", "next_endpoint"],
    });
    let mut one = terms.clone();
    one["id"] = json!("one");
    json!({
        "url": "ws://h/ws", "endpoints": ["ws://i/ws"], "name": "full", "headers": {"X-Key": "v"}, "subprotocols": ["p"],
        "stale_after": "5s",
        "hours": {"day": {
            "time_zone": "UTC", "windows": [{"days": "mon-fri", "from": "09:30", "to": "16:00"}],
            "dates": {"2026-11-26": [], "2026-11-27": [{"from": "09:30", "to": "13:00"}]},
        }},
        "by_hours": [{"outside": "day", "stale_after": "1m 30s"}],
        "subscriptions": [one, {"id": "two"}],
        "defaults": terms,
        "heartbeats": [{"text": "hb"}],
        "rules": [
            {"when": {"text": "a"}, "is": "ack", "by": {"id": "/id"}, "capture": {"c": "/c"}, "bind": {"b": "/b"},
             "reply": {"r": 1}, "detail": "/d"},
            {"when": {"text": "b"}, "is": "nack", "by": "oldest", "class": "retry_later", "retry_after": "5s"},
            {"when": {"text": "c"}, "is": "ended", "by": {"match": {"pointer": "/a", "equals": "${symbol}"}}},
            {"when": {"text": "d"}, "is": "ack", "by": {"listed": "/l/*", "id": "/id", "complete": true}},
            {"when": {"text": "e"}, "is": "ack", "by": {"listed": {"t.": "/l/*"}}},
            {"when": {"text": "f"}, "is": "notice", "do": {"reconnect_within": "30s"}},
            {"when": {"text": "g"}, "is": "notice", "do": {"pause": "30s"}},
            {"when": {"text": "h"}, "is": "notice", "do": "resume"},
            {"when": {"text": "i"}, "is": "notice", "do": {"go_to": "/url", "hosts": ["*.h"]}},
            {"when": {"text": "j"}, "is": "heartbeat", "within": "${interval|5}s 1s"},
            {"when": {"text": "k"}, "is": "data", "reply": {"r": 1}, "capture": {"c": "/c"}},
        ],
        "codecs": ["gzip", "lines", "prefixed"], "cursor": "/time", "keep": ["interval"],
        "login": [{"send": {"t": 1}, "expect": {"text": "ok"}, "refused": {"text": "no"}, "class": "feed_fatal",
                   "detail": "/d", "capture": {"interval": "/i"}}],
        "sequence": {"current": "/a", "previous": "/b"},
        "deliver_heartbeats": true, "deliver_control": true,
        "keepalives": [
            {"every": "${interval|5}s", "send": "ping", "expect": {"text": "pong"}, "within": "5s", "first_after": "1s"},
            {"every": "5s", "ping": true, "first_after": "random"},
            {"idle_received": "5s", "ping": true}, {"idle_sent": "5s", "ping": true},
        ],
        "pacing": [{"sends": 5, "per": "1s", "of": "subscribes", "shared": true}],
        "batch": {"members": 10, "bytes": 1000},
        "ends": [{"codes": [1008, "4000-4099"], "reason_contains": "r", "then": "retry_slowly"},
                 {"statuses": [429, "500-599"], "then": {"retry_after": "5s"}}],
        "quarantine_after": 2,
        "connect": {"timeout": "5s", "stagger": "250ms", "nodelay": false, "pacing": [{"attempts": 5, "per": "1m"}]},
        "tls": {"ca_file": null, "extra_roots_pem": [], "server_name": null, "min_version": "1.2",
                "danger_accept_invalid_certs": false, "danger_accept_invalid_hostnames": false},
        "ping": {"after": "none", "timeout": "5s"},
        "reconnect": {"first": "500ms", "floor": "100ms", "max": "30s", "stable_after": "30s", "max_attempts": 5,
                      "max_downtime": "1h", "fatal_statuses": [401, 403], "fatal_when_never_up": false, "close_code": 4000},
        "queue": {"messages": 100, "bytes": 67108864, "overflow": "keep_latest"},
        "alerts": {"reconnects": {"more_than": 3, "within": "5m"}, "no_data": [{"after": "10m", "during": "day"},
                   {"after": "10m", "outside": "day"}], "down": "none", "unmatched": true, "cool_down": "1m"},
        "limits": {"message_bytes": 1000000, "upgrade_response_bytes": 1024, "send_bytes": 1000, "subscribe_bytes": 1000000,
                   "write_timeout": "5s", "read_buffer_bytes": 65536},
        "close_timeout": "1s",
    })
}

/// The paths of all values in it, as JSON pointers.
fn paths(value: &Value) -> Vec<String> {
    let mut found = vec![String::new()];
    let inside: Vec<(String, &Value)> = match value {
        Value::Object(table) => {
            table.iter().map(|(key, value)| (key.replace('~', "~0").replace('/', "~1"), value)).collect()
        }
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, value)| (index.to_string(), value)).collect()
        }
        _ => Vec::new(),
    };
    for (key, value) in inside {
        found.extend(paths(value).into_iter().map(|path| format!("/{key}{path}")));
    }
    found
}

fn is_any_json(path: &str) -> bool {
    ["/subscribe", "/unsubscribe", "/probe", "/send", "/reply", "/contains/", "/vars/"]
        .iter()
        .any(|part| path.contains(part))
}

fn reads(value: &Value) -> Result<FeedConfig, livefeed::Error> {
    FeedConfig::from_json(&value.to_string())
}

/// The sets of names that objects of the schema have.
fn objects(schema: &Value) -> BTreeSet<Names> {
    let mut found = BTreeSet::new();
    for path in paths(schema) {
        let object = schema.pointer(&path).unwrap();
        if let Some(properties) = object.get("properties").and_then(Value::as_object)
            && object.get("additionalProperties") == Some(&Value::Bool(false))
        {
            found.insert(properties.keys().cloned().collect());
        }
    }
    found
}

#[test]
fn it_has_the_fields_that_the_program_knows_and_no_others() {
    let full = full();
    let mut known = BTreeSet::new();
    for path in paths(&full) {
        let mut with = full.clone();
        let Some(table) = with.pointer_mut(&path).and_then(Value::as_object_mut) else { continue };
        table.insert("no_such_field".to_owned(), json!(1));
        let Err(error) = reads(&with) else { continue }; // it holds what it likes
        let text = error.to_string();
        let Some((_, names)) = text.split_once("unknown field `no_such_field`, expected ") else { continue };
        known.insert(names.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Names>());
    }
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Names>();
    // Forms that are one for the program, and told apart by the schema; and what the program has besides feeds.
    for whole in
        [["complete", "id", "listed", "match"].as_slice(), &["go_to", "hosts", "pause", "reconnect_within"]]
    {
        assert!(known.remove(&names(whole)), "{whole:?}: {known:?}");
    }
    let mut said = objects(&schema());
    for part in [
        ["id"].as_slice(),
        &["match"],
        &["complete", "id", "listed"],
        &["pause"],
        &["reconnect_within"],
        &["go_to", "hosts"],
        &["retry_after"],
        &["$env"],
        &["$file"],
        &["$schema", "feeds", "health", "on_alert", "output"],
        &["allowed_hosts", "listen"],
        &["command"],
        &["every", "file", "keep", "max_bytes"],
    ] {
        assert!(said.remove(&names(part)), "{part:?}");
    }
    // A subscription has its `id` beside its terms.
    let terms = known.iter().find(|names| names.contains("first_data_within")).unwrap().clone();
    assert!(said.remove(&terms.into_iter().chain(["id".to_owned()]).collect()));
    assert_eq!(said, known);
}

#[test]
fn it_takes_what_is_right_and_refuses_what_can_not_be_read() {
    let validator = validator();
    let full = full();
    reads(&full).unwrap().validate().unwrap();
    validator.validate(&full).unwrap();
    let replacements = [
        json!(null),
        json!(true),
        json!(-1),
        json!(0),
        json!(7),
        json!(1e15),
        json!("x"),
        json!("5s"),
        json!("none"),
        json!(""),
        json!("/a"),
        json!([]),
        json!({}),
        json!({"x": 1}),
        json!(["x"]),
    ];
    let (mut right, mut wrong) = (0, 0);
    let mut check = |value: &Value, what: &str| {
        let said = validator.is_valid(value);
        match reads(value) {
            Err(error) => {
                assert!(!said, "the schema takes {what}, but: {error}");
                wrong += 1;
            }
            Ok(config) if config.validate().is_ok() => {
                let errors: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
                assert!(said, "the schema refuses {what}: {errors:?}");
                right += 1;
            }
            Ok(_) => {} // what only the whole shows the schema may take or refuse
        }
    };
    for path in paths(&full).iter().filter(|path| !is_any_json(path)) {
        for replacement in &replacements {
            // `null` for what may be left out is taken everywhere, and nobody should write it in forms such as matchers.
            if replacement.is_null() && is_form(path) {
                continue;
            }
            let mut with = full.clone();
            *with.pointer_mut(path).unwrap() = replacement.clone();
            if with.get("url").is_some() {
                check(&with, &format!("{replacement} at {path}"));
            }
        }
        if let Some((table, key)) = path.rsplit_once('/')
            && key != "url"
        {
            let mut without = full.clone();
            if let Some(table) = without.pointer_mut(table).and_then(Value::as_object_mut) {
                table.remove(&key.replace("~1", "/").replace("~0", "~"));
                check(&without, &format!("nothing at {path}"));
            }
        }
    }
    assert!(right > 300 && wrong > 1000, "{right} right, {wrong} wrong");
}

/// Within a matcher, a keepalive and the like, whose members say what it is.
fn is_form(path: &str) -> bool {
    let parts: Vec<_> = path.split('/').collect();
    parts.iter().any(|part| {
        ["data", "keepalives", "sequence", "by", "when", "heartbeats", "expect", "refused", "reset", "do"]
            .contains(part)
    })
}

#[test]
fn the_examples_keep_to_it() {
    let validator = validator();
    let mut count = 0;
    for entry in std::fs::read_dir("examples/feeds").unwrap() {
        let path = entry.unwrap().path();
        let value: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        if let Err(error) = validator.validate(&value) {
            panic!("{}: {error} at {}", path.display(), error.instance_path());
        }
        count += 1;
    }
    assert_eq!(count, 30);
}

#[test]
fn files_for_run_keep_to_it() {
    let validator = validator();
    let dir = Scratch::new();
    let feed = json!({"url": "ws://h/"});
    let with = |name: &str, value: Value| {
        let mut table = Map::from_iter([("feeds".to_owned(), json!([feed]))]);
        table.insert(name.to_owned(), value);
        Value::Object(table)
    };
    for (value, is_right) in [
        (feed.clone(), true),
        (json!({"$schema": "x", "url": "ws://h/"}), true),
        (json!({"$schema": "x", "feeds": [{"url": "ws://h/"}]}), true),
        (json!({"feeds": [{"$schema": "x", "url": "ws://h/"}]}), true),
        (json!({"feeds": []}), false),
        (json!({}), false),
        (json!([]), false),
        (json!({"url": {"$env": "LIVEFEED_TEST_URL"}}), true),
        (json!({"url": {"$env": "LIVEFEED_TEST_URL", "x": 1}}), false),
        (json!({"url": "ws://h/", "headers": {"X": {"$env": "LIVEFEED_TEST_URL"}}}), true),
        (json!({"url": "ws://h/", "stale_after": {"$env": "LIVEFEED_TEST_URL"}}), false),
        (json!({"url": "ws://h/", "feeds": [feed]}), false),
        (with("health", json!({"listen": "127.0.0.1:0", "allowed_hosts": ["h"]})), true),
        (with("health", json!({"listen": "127.0.0.1"})), false),
        (with("health", json!({})), false),
        (with("health", json!(null)), true),
        (with("output", json!({"file": "f", "max_bytes": 4096, "every": "1h", "keep": 3})), true),
        (with("output", json!({"every": "none", "keep": null, "file": null})), true),
        (with("output", json!({"every": "hourly"})), false),
        (with("output", json!({"max_bytes": 4095})), false),
        (with("output", json!({"keep": -1})), false),
        (with("output", json!({"more": 1})), false),
        (with("output", json!([])), false),
        (with("on_alert", json!({"command": "true"})), true),
        (with("on_alert", json!({"command": ""})), false),
        (with("on_alert", json!({})), false),
        (with("more", json!(1)), false),
    ] {
        assert_eq!(validator.is_valid(&value), is_right, "the schema: {value}");
        let file = dir.file("c.json", &value.to_string());
        let output =
            crate::common::livefeed(&["check", &file]).env("LIVEFEED_TEST_URL", "ws://h/").output().unwrap();
        assert_eq!(output.status.success(), is_right, "the program: {value}: {output:?}");
    }
}

/// Wherever the program fetches a secret from outside, the schema lets it stand, and nowhere else.
#[test]
fn secrets_from_outside_stand_where_the_program_takes_them() {
    let validator = validator();
    let dir = Scratch::new();
    let full = full();
    let (mut right, mut wrong) = (0, 0);
    for path in paths(&full).iter().filter(|path| !path.is_empty() && !path.contains("extra_roots_pem")) {
        let mut with = full.clone();
        *with.pointer_mut(path).unwrap() = json!({"$env": "LIVEFEED_TEST_URL"});
        let file = dir.file("c.json", &with.to_string());
        let output = crate::common::livefeed(&["check", "-q", &file])
            .env("LIVEFEED_TEST_URL", "ws://h/")
            .output()
            .unwrap();
        assert_eq!(validator.is_valid(&with), output.status.success(), "{path}: {output:?}");
        if output.status.success() { right += 1 } else { wrong += 1 }
    }
    assert!(right > 20 && wrong > 100, "{right} right, {wrong} wrong");
}

#[test]
fn the_program_prints_it() {
    let output = run(&["schema"]);
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(String::from_utf8(output.stdout).unwrap(), include_str!("../../schema/config.schema.json"));
}

#[test]
fn completions_are_there_for_each_shell() {
    for (shell, part) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef livefeed"),
        ("fish", "complete -c livefeed"),
        ("elvish", "edit:completion"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let output = run(&["completions", shell]);
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(
            output.status.success() && script.contains(part) && script.contains("completions"),
            "{shell}"
        );
    }
    assert_eq!(run(&["completions", "nosh"]).status.code(), Some(2));
}
