//! Slack in Socket Mode: a URL for each connection, envelopes that must each be acknowledged, and announcements before the
//! server hangs up.
//!
//! <https://docs.slack.dev/apis/events-api/using-socket-mode>
//!
//! What needs a closure is the endpoint: the URL of each connection comes from a request over HTTP (`apps.connections.open`), and
//! is good for one connection. All else is data. What the acknowledgement says is that the message was received, before the
//! application has handled it; one that has to carry an answer is sent by the application, with the rule left out.

use crate::common::*;
use crate::conformance::{self, Case, Life, Watch, json as json_of};
use crate::venue::{Builder, Line, Tick, Venue};
use livefeed::{CloseReason, EndReason, Event, FeedBuilder, Target};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

const TYPES: [&str; 3] = ["events_api", "slash_commands", "interactive"];

/// How often each envelope was acknowledged.
type Acked = Arc<Mutex<BTreeMap<String, u64>>>;

/// A topic is a type of envelope.
fn venue() -> Builder {
    venue_with(&Acked::default())
}

fn venue_with(acked: &Acked) -> Builder {
    let (sent, heard) = (Arc::clone(acked), Arc::clone(acked));
    Venue::builder()
        .hello(|line, request| {
            assert!(request.path.starts_with("/link/?ticket="), "{}", request.path);
            let host = json!({"host": "applink-1", "build_number": 10, "approximate_connection_time": 18060});
            let app = json!({"app_id": "A1234"});
            line.say(
                json!({"type": "hello", "num_connections": 1, "debug_info": host, "connection_info": app}),
            );
            TYPES.into_iter().for_each(|kind| drop(line.subscribe(kind)));
        })
        .hear(move |line, text, json| hear(line, text, json, &heard))
        .data(move |tick: &Tick<'_>| {
            let id = format!("{}-{}-{}", tick.topic, tick.connection, tick.seq);
            sent.lock().unwrap().insert(id.clone(), 0);
            json!({"envelope_id": id, "type": tick.topic, "accepts_response_payload": false,
                "payload": {"event": {"type": "app_mention", "text": "hello", "n": tick.seq}}})
        })
}

fn hear(line: &mut Line<'_>, text: &str, json: &Value, acked: &Acked) {
    assert_eq!(json.as_object().map(|object| object.len()), Some(1), "{text}");
    line.alive();
    let mut acked = acked.lock().unwrap();
    let count = acked.get_mut(json["envelope_id"].as_str().unwrap());
    *count.unwrap_or_else(|| panic!("no such envelope: {text}")) += 1;
}

const CASE: Case = Case {
    file: "slack",
    venue,
    topics: &[("events", "events_api"), ("commands", "slash_commands"), ("interactions", "interactive")],
    of: |message| json_of(message)["type"].as_str().map(str::to_owned).into_iter().collect(),
    victim: "events",
    refusal: None,
    life: Life::Pongs,
};

crate::conformance::tests!(CASE);

#[test]
fn each_envelope_is_acknowledged_once() {
    let acked = Acked::default();
    // A server that cuts off who acknowledges nothing.
    let venue = venue_with(&acked).every(ms(1)).cut_off_after(ms(500)).start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    watch.read_for(ms(600), || watch_enough(&acked));
    TYPES.into_iter().for_each(|kind| venue.mute(kind));
    // Those that are under way still come.
    watch.read_for(ms(50), || acked.lock().unwrap().values().all(|count| *count == 1));
    watch.saw_only(&["connecting", "connected", "subscribed"]);
    // Nothing is acknowledged that the application did not get.
    let read = watch.seen.iter().filter(|event| matches!(event, Event::Message(_))).count();
    assert_eq!(read, acked.lock().unwrap().len());
}

fn watch_enough(acked: &Acked) -> bool {
    acked.lock().unwrap().len() > 300
}

/// What nobody subscribed to has to be acknowledged too.
#[test]
fn an_envelope_of_another_kind_is_acknowledged() {
    let acked = Acked::default();
    let venue = venue_with(&acked).start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    feed.wait_connected(CEILING).unwrap();
    acked.lock().unwrap().insert("other".into(), 0);
    venue.say(json!({"envelope_id": "other", "type": "options", "payload": {}}));
    until(&feed, |event| matches!(event, Event::Message(m) if m.subscriptions().is_empty()));
    let mut watch = Watch::new(&CASE, &feed);
    watch.read_for(ms(0), || acked.lock().unwrap()["other"] == 1);
}

#[test]
fn each_connection_has_a_url_of_its_own_and_announcements_are_followed() {
    let venue = venue().start();
    let address = venue.url().replace("/feed", "/link/");
    let count = AtomicU64::new(0);
    let config = conformance::config(CASE.file, &venue);
    let feed = FeedBuilder::from(config)
        .provider(move |_| {
            let ticket = count.fetch_add(1, Ordering::Relaxed);
            // Here an application asks `apps.connections.open`.
            Ok(Target::new(format!("{address}?ticket=t{ticket}&app_id=A1")))
        })
        .reconnect(|reconnect| (reconnect.floor, reconnect.first, reconnect.max) = (ms(2), ms(5), ms(10)))
        .open()
        .unwrap();
    let mut watch = Watch::new(&CASE, &feed);
    let disconnect =
        |reason: &str| json!({"type": "disconnect", "reason": reason, "debug_info": {"host": "applink-1"}});
    for reason in ["warning", "refresh_requested"] {
        watch.all_flow();
        venue.say(disconnect(reason));
        let event = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
        let Event::Disconnected(end) = event else { unreachable!() };
        assert_eq!(end.reason, EndReason::ServerNotice { detail: reason.into() });
    }
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "disconnected", "gap"]);
    let transcript = venue.lab.transcript();
    let tickets: Vec<_> = (1..=3).map(|n| transcript.request(n).unwrap().path.clone()).collect();
    assert_eq!(
        tickets,
        ["/link/?ticket=t0&app_id=A1", "/link/?ticket=t1&app_id=A1", "/link/?ticket=t2&app_id=A1"]
    );
    venue.say(disconnect("link_disabled"));
    let event = watch.until(|_, event| matches!(event, Event::Closed(_)));
    let Event::Closed(closed) = event else { unreachable!() };
    assert_eq!(closed.reason, CloseReason::Fatal(EndReason::ServerNotice { detail: "link_disabled".into() }));
}
