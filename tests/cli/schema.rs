//! What is said in JSON keeps to the schemas in the repository.

use serde_json::{Value, json};

/// Checks events against `schema/events.schema.json`.
#[track_caller]
pub(crate) fn check(events: &[Value]) {
    let schema: Value = serde_json::from_str(include_str!("../../schema/events.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    for event in events {
        let problems: Vec<String> = validator.iter_errors(event).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{event}: {problems:?}");
    }
    assert!(!events.is_empty());
}

#[test]
fn the_schema_is_strict() {
    let good = json!({"event": "closed", "time": "2026-11-21T10:00:00.000Z", "feed": "f", "epoch": 1, "reason": "r"});
    check(std::slice::from_ref(&good));
    for (member, value) in [
        ("event", json!("close")),
        ("time", json!("2026-11-21 10:00:00Z")),
        ("epoch", json!(-1)),
        ("reason", Value::Null),
        ("more", json!(1)),
    ] {
        let mut bad = good.clone();
        bad[member] = value;
        assert!(std::panic::catch_unwind(|| check(&[bad])).is_err(), "{member}");
    }
}
