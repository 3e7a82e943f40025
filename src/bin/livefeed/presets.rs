//! The protocols of `examples/feeds`, for `--preset` and `--topic`.

use crate::exit::Failure;
use livefeed::{FeedConfig, Secret};
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};

macro_rules! presets {
    ($($name:literal),+ $(,)?) => {
        /// Each with its name and its file.
        const PRESETS: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("../../../examples/feeds/", $name, ".json")))),+];
        /// Their names.
        pub(crate) const NAMES: &[&str] = &[$($name),+];
    };
}

presets![
    "ably",
    "alpaca",
    "binance",
    "binance-user-data",
    "bitfinex",
    "bluesky-jetstream",
    "bybit-v5",
    "centrifugo",
    "coinbase-advanced",
    "coinbase-exchange",
    "deribit",
    "discord",
    "finnhub",
    "gate",
    "graphql-transport-ws",
    "home-assistant",
    "htx",
    "hyperliquid",
    "kraken-v2",
    "kucoin",
    "mastodon",
    "nostr",
    "ocpp-j",
    "okx",
    "phoenix",
    "polygon",
    "pusher",
    "slack",
    "socket-io",
    "twitch-eventsub",
];

/// What stands in the files in capitals, by the name of `--credential`.
const CREDENTIALS: [(&str, &str); 3] =
    [("key", "YOUR-KEY"), ("secret", "YOUR-SECRET"), ("token", "YOUR-TOKEN")];

/// The names of `--credential`.
pub(crate) fn credential_names() -> String {
    CREDENTIALS.map(|(name, _)| name).join(", ")
}

/// The file of a preset.
pub(crate) fn file(name: &str) -> Option<&'static str> {
    PRESETS.iter().find(|(known, _)| *known == name).map(|(_, json)| *json)
}

/// The configuration of a preset: with the topics in place of its own subscriptions if there are any, the credentials put
/// in, and the URL, if one is given, in place of its own.
pub(crate) fn config(
    name: &str,
    url: Option<&str>,
    topics: &[String],
    credentials: &BTreeMap<String, Secret>,
) -> Result<FeedConfig, Failure> {
    let unusable = |problem: String| Failure::usage(format!("--preset {name}: {problem}"));
    let json = file(name)
        .ok_or_else(|| unusable(format!("there is no such preset: take one of {}", NAMES.join(", "))))?;
    let mut preset: Value = serde_json::from_str(json).map_err(|error| unusable(error.to_string()))?;
    if let Some(url) = url {
        // Its other endpoints are those of its own URL.
        if let Some(preset) = preset.as_object_mut() {
            preset.remove("endpoints");
            preset.insert("url".to_owned(), url.into());
        }
    }
    let mut seen = BTreeSet::new();
    if let Some(twice) = topics.iter().find(|topic| !seen.insert(*topic)) {
        return Err(Failure::usage(format!("--topic {twice}: is there twice: once is enough")));
    }
    if !topics.is_empty() {
        let own = preset.get("subscriptions").and_then(Value::as_array).cloned().unwrap_or_default();
        let wanted: Result<Vec<Value>, Failure> = topics.iter().map(|text| topic(name, &own, text)).collect();
        if let Some(subscriptions) = preset.get_mut("subscriptions") {
            *subscriptions = Value::Array(wanted?);
        }
    }
    let mut missing = Vec::new();
    for (field, value) in preset.as_object_mut().into_iter().flatten() {
        // What is sent, and a URL, may have placeholders; a credential has none.
        let is_sent = field != "headers";
        put_in(value, is_sent, credentials, &mut missing);
    }
    if let Some(credential) = missing.first() {
        return Err(unusable(format!(
            "it needs a {credential}: give --credential {credential}=@FILE, or {credential}=@env:NAME"
        )));
    }
    let config = FeedConfig::from_json(&preset.to_string()).map_err(|error| unusable(error.to_string()))?;
    if url.is_none() && config.url.expose().contains("HOST") {
        return Err(unusable("it has no server of its own: give the URL of yours".to_owned()));
    }
    Ok(config)
}

/// Puts the credentials in; says which ones are needed and were not given.
fn put_in(
    value: &mut Value,
    is_sent: bool,
    credentials: &BTreeMap<String, Secret>,
    missing: &mut Vec<&'static str>,
) {
    match value {
        Value::String(text) => {
            for (name, mark) in CREDENTIALS {
                if text.contains(mark) {
                    match credentials.get(name) {
                        Some(secret) if is_sent => {
                            *text = text.replace(mark, &secret.expose().replace("${", "$${"));
                        }
                        Some(secret) => *text = text.replace(mark, secret.expose()),
                        None => missing.push(name),
                    }
                }
            }
        }
        Value::Array(values) => {
            values.iter_mut().for_each(|value| put_in(value, is_sent, credentials, missing))
        }
        Value::Object(members) => {
            members.values_mut().for_each(|value| put_in(value, is_sent, credentials, missing))
        }
        _ => {}
    }
}

/// A subscription after the pattern of one of the preset's own: `NAME`, `NAME,VAR=VALUE,..` or `VAR=VALUE,..`, which is
/// like the first.
fn topic(preset: &str, own: &[Value], text: &str) -> Result<Value, Failure> {
    let id =
        |subscription: &Value| subscription.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
    let (head, rest) = text.split_once(',').map_or((text, None), |(head, rest)| (head, Some(rest)));
    let (pattern, assignments) = if head.contains('=') {
        (own.first(), Some(text))
    } else {
        (own.iter().find(|subscription| id(subscription) == head), rest)
    };
    let Some(pattern) = pattern else {
        let names: Vec<String> = own.iter().map(id).collect();
        return Err(Failure::usage(format!(
            "--topic {text}: the preset {preset} has {}; give one of them, and a variable if need be: {}",
            names.join(", "),
            example(own),
        )));
    };
    let mut subscription = pattern.clone();
    let Some(assignments) = assignments else { return Ok(subscription) };
    let Some(members) = subscription.as_object_mut() else { return Ok(subscription) };
    members.insert("id".to_owned(), text.into());
    let vars = members.entry("vars").or_insert_with(|| Value::Object(Map::new()));
    let Some(vars) = vars.as_object_mut() else { return Ok(subscription) };
    for (name, value) in assigned(assignments, vars) {
        let Some(known) = vars.get_mut(&name) else {
            let names: Vec<&str> = vars.keys().map(String::as_str).collect();
            return Err(Failure::usage(format!(
                "--topic {text}: there is no variable {name:?} here, but {}; for example {}",
                names.join(", "),
                example(own),
            )));
        };
        // A variable that is a number stays one.
        *known = match (&*known, value.parse::<i64>()) {
            (Value::Number(_), Ok(number)) => number.into(),
            _ => value.into(),
        };
    }
    Ok(subscription)
}

/// The assignments in a text. A comma that no `VAR=` follows is a part of the value.
fn assigned(text: &str, vars: &Map<String, Value>) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = Vec::new();
    for part in text.split(',') {
        match (part.split_once('='), found.last_mut()) {
            (Some((name, value)), last) if last.is_none() || vars.contains_key(name) => {
                found.push((name.to_owned(), value.to_owned()));
            }
            (_, Some((_, value))) => {
                value.push(',');
                value.push_str(part);
            }
            (_, None) => found.push((part.to_owned(), String::new())),
        }
    }
    found
}

/// A topic as it could be written.
fn example(own: &[Value]) -> String {
    let Some(first) = own.first() else { return String::new() };
    let id = first.get("id").and_then(Value::as_str).unwrap_or_default();
    let vars = first.get("vars").and_then(Value::as_object);
    let var = vars.and_then(|vars| vars.iter().next_back());
    match var {
        Some((name, Value::String(value))) => format!("--topic '{id},{name}={value}'"),
        Some((name, value)) => format!("--topic '{id},{name}={value}'"),
        None => format!("--topic {id}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> BTreeMap<String, Secret> {
        CREDENTIALS.map(|(name, _)| (name.to_owned(), Secret::from("hunter2"))).into()
    }

    #[test]
    fn each_file_is_a_preset_and_valid() {
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/feeds")).unwrap();
        let mut names: Vec<String> = files
            .map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned())
            .collect();
        names.sort();
        assert_eq!(names, NAMES);
        for name in NAMES {
            config(name, Some("ws://h/"), &[], &credentials()).unwrap().validate().unwrap();
        }
    }

    #[test]
    fn topics_follow_the_patterns() {
        let topics = ["btc-book", "btc-trades,symbol=SOL/USD", "symbol=ADA/USD,channel=trade"];
        let topics = topics.map(str::to_owned);
        let config = config("kraken-v2", None, &topics, &BTreeMap::new()).unwrap();
        config.validate().unwrap();
        let seen: Vec<_> = config
            .subscriptions
            .iter()
            .map(|s| {
                (s.id.as_str(), s.terms.vars.get("channel").unwrap(), s.terms.vars.get("symbol").unwrap())
            })
            .map(|(id, channel, symbol)| (id, channel.as_str().unwrap(), symbol.as_str().unwrap()))
            .collect();
        assert_eq!(
            seen,
            [
                ("btc-book", "book", "BTC/USD"),
                ("btc-trades,symbol=SOL/USD", "trade", "SOL/USD"),
                ("symbol=ADA/USD,channel=trade", "trade", "ADA/USD"),
            ]
        );
        assert!(config.subscriptions[1].terms.stale_after.is_some());
    }

    #[test]
    fn values_may_have_commas_and_numbers_stay_numbers() {
        let text = "query=subscription { p(a: 1, b: 2) { x } }".to_owned();
        let url = Some("ws://h/");
        let of = |name: &str, topic: &str| config(name, url, &[topic.to_owned()], &BTreeMap::new()).unwrap();
        let graphql = of("graphql-transport-ws", &text);
        assert_eq!(
            graphql.subscriptions[0].terms.vars.get("query").unwrap(),
            "subscription { p(a: 1, b: 2) { x } }"
        );
        assert_eq!(of("nostr", "kind=7").subscriptions[0].terms.vars.get("kind").unwrap(), 7);
    }

    #[test]
    fn errors_say_what_to_do() {
        let none = BTreeMap::new();
        let twice = ["btc".to_owned(), "btc".to_owned()];
        let error = config("kraken-v2", None, &twice, &none).unwrap_err().to_string();
        assert!(error.contains("--topic btc: is there twice"), "{error}");
        for (name, topic, part) in [
            ("krakn", None, "kraken-v2"),
            ("alpaca", None, "--credential key=@FILE"),
            ("graphql-transport-ws", None, "give the URL"),
            ("kraken-v2", Some("doge"), "btc-book"),
            ("kraken-v2", Some("btc,pair=x"), "--topic 'btc,symbol=BTC/USD'"),
        ] {
            let topics: Vec<String> = topic.into_iter().map(str::to_owned).collect();
            let error = config(name, None, &topics, &none).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
