//! Bluesky's Jetstream: what is wanted stands in the URL, there is nothing to say, and what was missed is asked for by the
//! time of the last message, less a few seconds.
//!
//! <https://github.com/bluesky-social/jetstream#consuming-jetstream>
//!
//! All of it is data. After a reconnect a few seconds of messages come again: telling them apart is the application's, by
//! `time_us` and `did`. Compression with a dictionary (`compress=true`) is not spoken.

use crate::common::*;
use crate::conformance::{Case, Life, Watch, config, json, open};
use crate::venue::{Answer, Builder, Tick, Venue};
use livefeed::{AlertKind, Event, FeedBuilder, Target};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const COLLECTIONS: [&str; 2] = ["app.bsky.feed.post", "app.bsky.feed.like"];

fn venue() -> Builder {
    Venue::builder()
        .hello(|line, request| {
            for wanted in request.path.split(['?', '&']).filter_map(|pair| pair.strip_prefix("wantedCollections=")) {
                assert_eq!(line.subscribe(wanted), Answer::Granted);
            }
            line.say(json!({"did": "did:plc:a", "time_us": 1, "kind": "identity", "identity": {"did": "did:plc:a"}}));
        })
        .data(|tick: &Tick<'_>| commit(tick.topic, 1_725_911_162_329_308 + tick.seq))
}

fn commit(collection: &str, time_us: u64) -> Value {
    json!({"did": "did:plc:eygmaihciaxprqvxpfvl6flk", "time_us": time_us, "kind": "commit", "commit": {
        "rev": "3l3qo2vutsw2b", "operation": "create", "collection": collection, "rkey": "3l3qo2vuowo2b",
        "record": {"$type": collection, "text": "hello"}, "cid": "bafyrei"
    }})
}

const CASE: Case = Case {
    file: "bluesky-jetstream",
    venue,
    topics: &[("posts", COLLECTIONS[0]), ("likes", COLLECTIONS[1])],
    of: |message| vec![json(message)["commit"]["collection"].as_str().unwrap_or_default().to_owned()],
    victim: "likes",
    refusal: None,
    life: Life::Pongs,
};

crate::conformance::tests!(CASE);

/// The venue, and the paths that were asked for.
fn asked() -> (Venue, Arc<Mutex<Vec<String>>>) {
    let paths = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&paths);
    let venue = venue().hello(move |line, request| {
        seen.lock().unwrap().push(request.path.clone());
        for collection in COLLECTIONS {
            line.subscribe(collection);
        }
    });
    (venue.start(), paths)
}

/// The time in the last message.
fn last(seen: &[Event]) -> u64 {
    let times = seen.iter().filter_map(|event| match event {
        Event::Message(message) => json(message)["time_us"].as_u64(),
        _ => None,
    });
    times.last().unwrap()
}

#[test]
fn what_was_missed_is_asked_for_in_the_url() {
    let (venue, paths) = asked();
    let feed = open(config("bluesky-jetstream", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    let wanted = COLLECTIONS.map(|collection| format!("wantedCollections={collection}")).join("&");
    let mut expected = vec![format!("/subscribe?{wanted}")];
    for _ in 0..3 {
        watch.all_flow();
        venue.reset();
        watch.until(|_, event| matches!(event, Event::Connected(_)));
        expected.push(format!("/subscribe?{wanted}&cursor={}", last(&watch.seen) - 5_000_000));
        // An attempt that fails forgets nothing, and neither does a connection without data.
    }
    assert_eq!(*paths.lock().unwrap(), expected);
    let shown = format!("{:?}", watch.lifecycle());
    assert!(shown.contains("cursor=***"), "{shown}");
}

#[test]
fn a_provider_knows_how_far_the_data_came() {
    let (venue, paths) = asked();
    let url = venue.url();
    let cursors = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&cursors);
    let feed = FeedBuilder::from(config("bluesky-jetstream", &venue))
        .provider(move |attempt| {
            seen.lock().unwrap().push(attempt.cursor.clone());
            assert!(attempt.var("nothing").is_none());
            Ok(Target::new(format!("{url}?since=${{cursor|}}&n={}", attempt.epoch)))
        })
        .reconnect(|reconnect| (reconnect.floor, reconnect.first, reconnect.max) = (ms(2), ms(5), ms(10)))
        .open()
        .unwrap();
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.reset();
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    let last = last(&watch.seen);
    assert_eq!(*cursors.lock().unwrap(), [None, Some(json!(last))]);
    let paths = paths.lock().unwrap();
    assert!(paths[0].ends_with("?n=1") && paths[1].ends_with(&format!("?since={last}&n=2")), "{paths:?}");
}

#[test]
fn data_of_no_subscription_is_counted_and_told() {
    let venue = venue().start();
    let mut config = config("bluesky-jetstream", &venue);
    config.alerts.unmatched = true;
    let feed = open(config);
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.say(commit("app.bsky.graph.follow", 5));
    let events = until(&feed, |event| matches!(event, Event::Alert(_)));
    let Some(Event::Alert(alert)) = events.last() else { unreachable!() };
    assert!(matches!(alert.kind, AlertKind::Unmatched { .. }), "{alert:?}");
    assert_eq!(feed.health().unmatched, 1);
}
