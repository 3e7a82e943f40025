//! Twitch EventSub: the client may send nothing, the welcome says how often the server speaks, subscriptions end by
//! revocation, and the server sends its clients to another URL.
//!
//! <https://dev.twitch.tv/docs/eventsub/handling-websocket-events/>
//!
//! What needs a closure is to subscribe: that is a request over HTTP with the `session_id` of the welcome, within ten
//! seconds. A step of the login that calls a closure is the place for it; after a move to another URL the session
//! is the same, and its subscriptions are still in force. The old connection is closed before the new one is made: what
//! comes in between is the gap that is said. A message may come twice, which is the application's to notice, by `message_id`.

use crate::common::*;
use crate::conformance::{self, Case, Life, Watch, json as json_of};
use crate::venue::{Builder, Tick, Venue};
use livefeed::{EndReason, Event, Interval, LoginStep};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const CHAT: &str = "channel.chat.message";
const FOLLOW: &str = "channel.follow";

fn message(kind: &str, n: u64, payload: Value) -> Value {
    let metadata = json!({"message_id": format!("m{n}"), "message_type": kind, "message_timestamp": "2026-11-21T10:00:00.634234626Z"});
    json!({"metadata": metadata, "payload": payload})
}

fn of_subscription(kind: &str, topic: &str, n: u64, status: &str, event: Value) -> Value {
    let subscription =
        json!({"id": format!("id-{topic}"), "status": status, "type": topic, "version": "1", "cost": 1});
    let mut message = message(kind, n, json!({"subscription": subscription}));
    message["metadata"]["subscription_type"] = topic.into();
    message["metadata"]["subscription_version"] = "1".into();
    if !event.is_null() {
        message["payload"]["event"] = event;
    }
    message
}

fn session(id: &str, status: &str, timeout: Value, url: Option<&str>) -> Value {
    json!({"session": {"id": id, "status": status, "keepalive_timeout_seconds": timeout, "reconnect_url": url,
        "connected_at": "2026-11-21T10:00:00.634234626Z"}})
}

/// A topic is a type of subscription. What was asked for over HTTP is in force from the welcome on.
fn venue() -> Builder {
    Venue::builder()
        .hello(|line, request| {
            // A session goes on where its client comes back to.
            let known = request.path.split_once("id=").map(|(_, id)| id.to_owned());
            let id = known.unwrap_or_else(|| format!("session-{}", line.connection));
            line.say(message("session_welcome", line.number(), session(&id, "connected", json!(10), None)));
            [CHAT, FOLLOW].into_iter().for_each(|topic| drop(line.subscribe(topic)));
        })
        .hear(|_, text, _| panic!("a client may send nothing, and sent {text}"))
        .data(|tick: &Tick<'_>| {
            let event = json!({"user_id": "1234", "user_login": "cool_user", "n": tick.seq});
            of_subscription("notification", tick.topic, tick.seq, "enabled", event)
        })
        .heartbeat(ms(30), |n| message("session_keepalive", n, json!({})))
        .ended(|topic, _| of_subscription("revocation", topic, 0, "authorization_revoked", Value::Null))
}

const CASE: Case = Case {
    file: "twitch-eventsub",
    venue,
    topics: &[("chat", CHAT), ("follows", FOLLOW)],
    of: |message| {
        let json = json_of(message);
        json["metadata"]["subscription_type"].as_str().map(str::to_owned).into_iter().collect()
    },
    victim: "chat",
    refusal: None,
    life: Life::Server,
};

crate::conformance::tests!(CASE);

#[test]
fn a_server_that_says_nothing_for_as_long_as_it_told_is_left() {
    let venue = venue().pings(ms(20)).start();
    let mut config = conformance::config(CASE.file, &venue);
    conformance::no_limits(&mut config);
    // The ten seconds of the welcome are hundredths here, and there is no grace.
    config.rules[0].within = Some(Interval::text("${keepalive_timeout}0ms 300ms"));
    let feed = conformance::open(config);
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.mute(CHAT);
    venue.mute(FOLLOW);
    watch.read_for(ms(500), || true);
    watch.saw_only(&["connecting", "connected", "subscribed"]);
    // Events alone do it as well.
    venue.unmute(CHAT);
    venue.mute_heartbeats();
    watch.read_for(ms(500), || true);
    watch.saw_only(&["connecting", "connected", "subscribed"]);
    venue.mute(CHAT);
    let event = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
    let Event::Disconnected(end) = event else { unreachable!() };
    assert!(matches!(end.reason, EndReason::HeartbeatOverdue { waited } if waited >= ms(400)), "{end:?}");
}

#[test]
fn a_subscription_that_is_revoked_ends() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.end(FOLLOW);
    let event = watch.until(|_, event| matches!(event, Event::Ended(_)));
    let Event::Ended(ended) = event else { unreachable!() };
    assert_eq!((ended.subscription.as_str(), ended.detail.as_str()), ("follows", "authorization_revoked"));
    watch.again();
    watch.flows(&["chat"], 3);
    assert_eq!(venue.on_wire().keys().copied().collect::<Vec<_>>(), [1]);
}

/// The server moves its clients. The closure subscribes a session that is new, and leaves one alone that goes on.
#[test]
fn the_feed_goes_where_the_server_says_and_subscribes_new_sessions() {
    let venue = venue().start();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let mut config = conformance::config(CASE.file, &venue);
    let sessions = Arc::clone(&asked);
    config.login.push(LoginStep::call(move |context| {
        let session = context.var("session_id").unwrap_or_default();
        let mut sessions = sessions.lock().unwrap();
        if sessions.last() != Some(&session) {
            // Here an application makes its requests, one for each subscription.
            sessions.push(session);
        }
        Ok(())
    }));
    let feed = conformance::open(config);
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    let url = format!("{}?id=session-1", venue.url().replace("/feed", "/ws"));
    venue.say(message("session_reconnect", 9, session("session-1", "reconnecting", Value::Null, Some(&url))));
    let event = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
    let Event::Disconnected(end) = event else { unreachable!() };
    assert_eq!(end.reason, EndReason::ServerNotice { detail: "reconnecting".into() });
    watch.all_flow();
    assert_eq!(venue.lab.transcript().request(2).unwrap().path, "/ws?id=session-1");
    assert_eq!(*asked.lock().unwrap(), ["session-1"]);
    // The next connection is one to the endpoint, and a new session.
    venue.reset();
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.all_flow();
    assert_eq!(venue.lab.transcript().request(3).unwrap().path, "/ws?keepalive_timeout_seconds=30");
    assert_eq!(*asked.lock().unwrap(), ["session-1", "session-3"]);
    watch.saw_only(&["connecting", "connected", "subscribed", "disconnected", "gap"]);
}
