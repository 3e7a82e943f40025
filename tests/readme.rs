//! The defaults in the README are those of the configuration.

use livefeed::{Adaptive, FeedConfig, Subscription};
use serde_json::Value;

/// The rows of the tables: setting and default, as written.
fn rows(readme: &str) -> Vec<(&str, &str)> {
    let cells = |line| -> Option<(&str, &str)> {
        let mut cells = str::split(line, " | ");
        let setting = cells.next()?.strip_prefix("| `")?.strip_suffix('`')?;
        // Metrics have a table of their own, which tests/metrics.rs looks at.
        (!setting.starts_with("livefeed_")).then_some((setting, cells.next()?.trim_matches('`')))
    };
    readme.lines().filter_map(cells).collect()
}

/// Whether a default as written stands for a value of the configuration.
fn means(text: &str, value: &Value) -> bool {
    let bytes = [(" KiB", 1_u64 << 10), (" MiB", 1 << 20)].into_iter().find_map(|(unit, factor)| {
        text.strip_suffix(unit).and_then(|number| number.parse::<u64>().ok()).map(|number| number * factor)
    });
    let duration = |text: &str| humantime::parse_duration(text).ok();
    match value {
        Value::Null => text == "none",
        Value::String(value) => text == value || duration(text).is_some_and(|d| Some(d) == duration(value)),
        Value::Number(value) if bytes.is_some() => value.as_u64() == bytes,
        Value::Number(value) if value.is_f64() => text.parse().ok() == value.as_f64(),
        value => serde_json::from_str::<Value>(text).is_ok_and(|text| text == *value),
    }
}

#[test]
fn its_configuration_is_valid() {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once("```json\n").unwrap();
    let (json, _) = rest.split_once("```").unwrap();
    let mut config = FeedConfig::from_json(json).unwrap();
    if cfg!(not(feature = "native-tls")) {
        config.url = "ws://feed.example/ws".into();
    }
    config.validate().unwrap();
    assert_eq!(config.subscriptions.len(), 2);
}

#[test]
fn its_hours_are_valid() {
    let readme = include_str!("../README.md");
    let (_, rest) = readme.split_once("## Market hours").unwrap();
    let (_, rest) = rest.split_once("```json\n").unwrap();
    let (json, _) = rest.split_once("```").unwrap();
    let mut config = FeedConfig::from_json(json).unwrap();
    config.url = "ws://feed.example/ws".into();
    config.validate().unwrap();
    assert_eq!((config.hours.len(), config.by_hours.len()), (2, 2));
}

#[test]
fn its_tables_hold_each_default() {
    let config = FeedConfig::new("ws://h/");
    let subscription = serde_json::to_value(config.resolved(&Subscription::new("a"))).unwrap();
    let config = serde_json::to_value(config).unwrap();
    let adaptive = serde_json::to_value(Adaptive::new()).unwrap();
    let rows = rows(include_str!("../README.md"));
    for (setting, default) in &rows {
        let inherited = ["stale_after", "by_hours", "first_data_within"];
        if inherited.iter().any(|field| setting.strip_prefix("subscriptions[].") == Some(field)) {
            continue; // its default is another setting
        }
        let value = match setting.split_once('.') {
            Some(("subscriptions[]", field)) => &subscription[field],
            Some(("adaptive", field)) => &adaptive[field],
            _ => config
                .pointer(&format!("/{}", setting.replace('.', "/")))
                .unwrap_or_else(|| panic!("there is no setting {setting}")),
        };
        assert!(means(default, value), "{setting}: the README says {default}, it is {value}");
    }
    for section in ["connect", "tls", "ping", "reconnect", "queue", "alerts", "limits"] {
        for field in config[section].as_object().unwrap().keys() {
            let setting = format!("{section}.{field}");
            assert!(rows.iter().any(|(row, _)| **row == setting), "the README lacks {setting}");
        }
    }
    for field in adaptive.as_object().unwrap().keys() {
        let setting = format!("adaptive.{field}");
        assert!(rows.iter().any(|(row, _)| **row == setting), "the README lacks {setting}");
    }
    let named =
        ["url", "name", "headers", "subprotocols", "subscriptions", "heartbeats", "deliver_heartbeats"];
    for (field, value) in config.as_object().unwrap() {
        let is_section = value.is_object() && field != "defaults";
        let has_row = rows.iter().any(|(row, _)| row == field);
        assert!(has_row || is_section || named.contains(&field.as_str()), "the README lacks {field}");
    }
    for field in subscription.as_object().unwrap().keys().filter(|field| *field != "id") {
        let setting = format!("subscriptions[].{field}");
        assert!(rows.iter().any(|(row, _)| **row == setting), "the README lacks {setting}");
    }
}
