//! Mastodon: each message names its stream by an array, and carries what happened as JSON in a string. Nothing is
//! acknowledged.
//!
//! <https://docs.joinmastodon.org/methods/streaming/>
//!
//! All of it is data; nothing needs a closure. An error names no stream: it is said by an alert.

use crate::common::*;
use crate::conformance::{self, Case, Life, Watch, json as json_of};
use crate::venue::{Builder, Line, Tick, Venue};
use livefeed::{AlertKind, Event, Matcher, Subscription};
use serde_json::{Value, json};

/// A topic is the stream with a space before each part that follows: `public`, `hashtag rust`.
fn venue() -> Builder {
    Venue::builder()
        .hello(|_, request| assert_eq!(request.path, "/api/v1/streaming?access_token=YOUR-TOKEN"))
        .hear(|line, _, json| hear(line, json))
        .data(|tick: &Tick<'_>| message(tick.topic, "update", tick.seq))
}

fn message(topic: &str, event: &str, id: u64) -> Value {
    let stream: Vec<&str> = topic.split(' ').collect();
    let status =
        json!({"id": id.to_string(), "content": "<p>Hello</p>", "tags": [{"name": "rust"}]}).to_string();
    json!({"stream": stream, "event": event, "payload": status})
}

fn hear(line: &mut Line<'_>, json: &Value) {
    let topic = match (json["stream"].as_str(), json["tag"].as_str()) {
        (Some("public"), None) => "public".to_owned(),
        (Some("hashtag"), Some(tag)) => format!("hashtag {tag}"),
        _ => return line.say(json!({"error": "Unknown stream type", "status": 400})),
    };
    match json["type"].as_str() {
        Some("subscribe") => drop(line.subscribe(&topic)),
        Some("unsubscribe") => {
            line.unsubscribe(&topic);
        }
        _ => panic!("{json}"),
    }
}

const CASE: Case = Case {
    file: "mastodon",
    venue,
    topics: &[("public", "public"), ("rust", "hashtag rust")],
    of: |message| {
        let json = json_of(message);
        let parts: Vec<&str> =
            json["stream"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        vec![parts.join(" ")]
    },
    victim: "public",
    refusal: None,
    life: Life::Pongs,
};

crate::conformance::tests!(CASE);

#[test]
fn a_stream_that_is_none_is_said_to_a_person() {
    let venue = venue().start();
    let mut config = conformance::config(CASE.file, &venue);
    config.subscriptions.push(Subscription::new("wrong").var("stream", "nowhere"));
    let feed = conformance::open(config);
    let mut watch = Watch::new(&CASE, &feed);
    let event = watch.until(|_, event| matches!(event, Event::Alert(_)));
    let Event::Alert(alert) = event else { unreachable!() };
    assert_eq!(alert.kind, AlertKind::Notice { detail: "Unknown stream type".into() });
    watch.all_flow();
}

/// Whatever happens in a stream is its data, and what is in the string can be looked at.
#[test]
fn what_the_string_holds_can_be_told_apart() {
    let venue = venue().start();
    let mut config = conformance::config(CASE.file, &venue);
    let tagged = Matcher::all([
        Matcher::pointer("/stream/0", "hashtag"),
        Matcher::pointer("/payload/@json/tags/*/name", "rust"),
        Matcher::pointer("/event", "status.update"),
    ]);
    config.subscriptions[1].terms.data = Some(tagged);
    let feed = conformance::open(config);
    venue.wait_subscribed(1, &["public", "hashtag rust"]);
    venue.say(message("hashtag rust", "status.update", 17));
    let is_it = |event: &Event| matches!(event, Event::Message(m) if m.subscriptions().iter().any(|id| id.as_str() == "rust"));
    let events = until(&feed, is_it);
    let Some(Event::Message(message)) = events.last() else { unreachable!() };
    assert!(message.text().unwrap().contains("17"), "{message:?}");
}
