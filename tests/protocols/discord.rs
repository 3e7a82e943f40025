//! The Discord gateway: a hello that says how often to beat, beats that carry the number of the last event, the first one
//! at a random time, and announcements of the server that end a connection.
//!
//! <https://discord.com/developers/docs/events/gateway>
//!
//! To get events is data: the file identifies anew on each connection. To resume a session takes two closures, for what is sent
//! at the login is another message if there is a session to resume, and goes to a host that the server names: see the
//! last test. What they need is kept by `keep`. The feed leaves with a code of its own, for a session that is closed with 1000 is
//! forgotten. The compressed transports are not spoken.

use crate::common::*;
use crate::conformance::{self, Case, KEEPALIVE, Life, Watch, json as json_of, no_limits};
use crate::venue::{Builder, Line, Tick, Venue};
use livefeed::lab::{Received, What};
use livefeed::{CloseReason, EndReason, Event, FeedBuilder, Matcher, Target, Template};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TYPES: [&str; 2] = ["MESSAGE_CREATE", "MESSAGE_REACTION_ADD"];

/// The events of the one session there is, from number 1.
#[derive(Clone, Default)]
struct Session(Arc<Mutex<Vec<Value>>>);

impl Session {
    fn dispatch(&self, kind: &str, d: Value) -> Value {
        let mut events = self.0.lock().unwrap();
        let event = json!({"op": 0, "s": events.len() + 1, "t": kind, "d": d});
        events.push(event.clone());
        event
    }

    fn last(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }
}

/// A topic is a type of event.
fn venue() -> Builder {
    venue_with(Duration::from_secs(2), &Session::default())
}

/// One that wants beats often.
fn eager() -> Builder {
    venue_with(KEEPALIVE, &Session::default())
}

fn venue_with(interval: Duration, session: &Session) -> Builder {
    let (heard, told) = (session.clone(), session.clone());
    let interval = u64::try_from(interval.as_millis()).unwrap();
    Venue::builder()
        .hello(move |line, request| {
            assert_eq!(request.path, "/?v=10&encoding=json");
            line.say(json!({"op": 10, "d": {"heartbeat_interval": interval}, "s": null, "t": null}));
        })
        .hear(move |line, _, json| hear(line, json, &heard))
        .data(move |tick: &Tick<'_>| {
            told.dispatch(tick.topic, json!({"id": tick.seq.to_string(), "channel_id": "5"}))
        })
}

fn hear(line: &mut Line<'_>, json: &Value, session: &Session) {
    let d = &json["d"];
    match json["op"].as_u64() {
        Some(1) => {
            // The number of the last event is somewhere between the one of the last beat and now.
            let seq = d.as_u64().unwrap();
            let before = line.kept("beat").as_u64().unwrap_or_default();
            assert!((before..=session.last()).contains(&seq), "{seq} after {before}");
            line.keep("beat", seq);
            line.alive();
            if line.kept("deaf").is_null() {
                line.say(json!({"op": 11}));
            }
        }
        Some(2) if d["token"] != "YOUR-TOKEN" => line.close(4004, "Authentication failed."),
        Some(2) => {
            assert!(d["intents"].is_u64() && d["properties"]["os"].is_string(), "{json}");
            let user = json!({"id": "1", "username": "bot"});
            line.say(session.dispatch(
                "READY",
                json!({"v": 10, "user": user, "guilds": [], "session_id": "abc",
                "resume_gateway_url": "wss://gateway-us-east1-b.discord.gg"}),
            ));
            line.say(session.dispatch("GUILD_CREATE", json!({"id": "7", "name": "somewhere"})));
            TYPES.into_iter().for_each(|kind| drop(line.subscribe(kind)));
        }
        Some(6) if d["session_id"] == "abc" && line.refusal("session").is_none() => {
            let missed: Vec<Value> = session.0.lock().unwrap().clone();
            let seen = usize::try_from(d["seq"].as_u64().unwrap()).unwrap();
            missed.into_iter().skip(seen).for_each(|event| line.say(event));
            line.say(session.dispatch("RESUMED", json!({})));
            TYPES.into_iter().for_each(|kind| drop(line.subscribe(kind)));
        }
        Some(6) => line.say(json!({"op": 9, "d": false, "s": null, "t": null})),
        _ => line.close(4001, "Unknown opcode."),
    }
}

const CASE: Case = Case {
    file: "discord",
    venue,
    topics: &[("messages", TYPES[0]), ("reactions", TYPES[1])],
    of: |message| json_of(message)["t"].as_str().map(str::to_owned).into_iter().collect(),
    victim: "messages",
    refusal: None,
    life: Life::Apart,
};

crate::conformance::tests!(CASE);

#[test]
fn the_feed_beats_as_often_as_the_hello_says() {
    conformance::keeps_alive(&Case { venue: eager, life: Life::Client, ..CASE });
}

#[test]
fn a_beat_that_the_server_asks_for_goes_out_at_once() {
    let session = Session::default();
    let venue = venue_with(Duration::from_secs(3600), &session).start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    let last = session.last();
    venue.say(json!({"op": 1, "d": null, "s": null, "t": null}));
    let beat = || venue.received_json(1).into_iter().find(|json| json["op"] == 1);
    watch.read_for(ms(0), || beat().is_some());
    // What came before it was in its order.
    assert!(beat().unwrap()["d"].as_u64().unwrap() >= last.saturating_sub(2), "{:?}", beat());
    watch.saw_only(&["connecting", "connected", "subscribed"]);
}

#[test]
fn a_connection_whose_beats_are_not_answered_is_left_without_a_word() {
    let session = Session::default();
    let venue = venue_with(ms(200), &session)
        .hear(move |line, _, json| {
            if line.connection == 1 {
                line.keep("deaf", true);
            }
            hear(line, json, &session);
        })
        .start();
    let mut config = conformance::config(CASE.file, &venue);
    no_limits(&mut config);
    let feed = conformance::open(config);
    let mut watch = Watch::new(&CASE, &feed);
    let event = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
    let Event::Disconnected(end) = event else { unreachable!() };
    assert!(matches!(end.reason, EndReason::KeepaliveOverdue { waited } if waited >= ms(200)), "{end:?}");
    watch.all_flow();
    let transcript = venue.lab.transcript();
    assert!(!transcript.of(1).any(|what| matches!(what, What::Received(Received::Close(_)))), "{transcript}");
}

/// Each announcement ends the connection with a code at which the server keeps the session.
#[test]
fn the_server_may_ask_for_a_new_connection() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    for (connection, notice) in [(1, json!({"op": 7, "d": null})), (2, json!({"op": 9, "d": false}))] {
        watch.all_flow();
        venue.say(notice);
        let event = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
        let Event::Disconnected(end) = event else { unreachable!() };
        assert!(matches!(end.reason, EndReason::ServerNotice { .. }), "{end:?}");
        seen(&venue.lab, |entry| {
            entry.connection == connection
                && matches!(&entry.what, What::Received(Received::Close(Some((4000, _)))))
        });
    }
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "disconnected", "gap"]);
}

#[test]
fn close_codes_decide_what_comes_next() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.close(4009, "Session timed out.");
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.all_flow();
    venue.close(4014, "Disallowed intent(s).");
    let event = watch.until(|_, event| matches!(event, Event::Closed(_)));
    let Event::Closed(closed) = event else { unreachable!() };
    assert!(
        matches!(closed.reason, CloseReason::Fatal(EndReason::ClosedByPeer { code: Some(4014), .. })),
        "{closed:?}"
    );
}

#[test]
fn a_wrong_token_ends_the_feed() {
    let venue = venue().start();
    let mut config = conformance::config(CASE.file, &venue);
    config.login[1].send = Some(Template::json(json!({"op": 2, "d": {"token": "WRONG"}})));
    let feed = conformance::open(config);
    let events = until(&feed, |event| matches!(event, Event::Closed(_)));
    let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
    assert!(
        matches!(closed.reason, CloseReason::Fatal(EndReason::ClosedByPeer { code: Some(4004), .. })),
        "{closed:?}"
    );
}

/// With two closures a session outlives its connections, and no event is lost with them.
#[test]
fn a_session_is_resumed() {
    let session = Session::default();
    let venue = venue_with(Duration::from_secs(2), &session).start();
    let mut config = conformance::config(CASE.file, &venue);
    let identify =
        json!({"op": 2, "d": {"token": "YOUR-TOKEN", "intents": 1537, "properties": {"os": "linux"}}});
    config.login[1].send = Some(Template::closure(move |context| {
        let known = |name: &str| context.var(name).filter(|value| !value.is_null());
        Ok(match (context.attempt, known("session_id"), known("seq")) {
            (1, Some(session), Some(seq)) => {
                json!({"op": 6, "d": {"token": "YOUR-TOKEN", "session_id": session, "seq": seq}}).to_string()
            }
            // There is none, or the server does not know it any more.
            _ => identify.to_string(),
        })
    }));
    config.login[1].expect = Some(Matcher::one_of("/t", ["READY", "RESUMED"]));
    let url = config.url.clone();
    let feed = FeedBuilder::from(config)
        .provider(move |attempt| {
            // Here an application takes the kept URL of the server, with the same path and query.
            let own = attempt.var("resume_url").and_then(Value::as_str);
            assert_eq!(own.is_some(), attempt.epoch > 1);
            Ok(Target::new(url.clone()))
        })
        .reconnect(|reconnect| (reconnect.floor, reconnect.first, reconnect.max) = (ms(2), ms(5), ms(10)))
        .open()
        .unwrap();
    let number = |event: &Event| match event {
        Event::Message(message) => json_of(message)["s"].as_u64(),
        _ => None,
    };
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    for _ in 0..2 {
        venue.reset();
        watch.until(|_, event| matches!(event, Event::Connected(_)));
        watch.all_flow();
    }
    let sent = |connection: usize| {
        let json = venue.received_json(connection).into_iter();
        json.map(|json| json["op"].as_u64().unwrap()).find(|op| *op != 1)
    };
    assert_eq!([1, 2, 3].map(sent), [Some(2), Some(6), Some(6)]);
    // All that is missing among the numbers are the events of the session itself.
    let read: Vec<u64> = watch.seen.iter().filter_map(number).collect();
    let events = session.0.lock().unwrap().clone();
    let due = events.iter().filter(|event| TYPES.contains(&event["t"].as_str().unwrap()));
    let due: Vec<u64> = due.map(|event| event["s"].as_u64().unwrap()).take(read.len()).collect();
    assert_eq!(read, due);
    // A session that the server has forgotten: the next attempt begins a new one.
    venue.refuse("session", "forgotten");
    venue.reset();
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.all_flow();
    assert_eq!([4, 5].map(sent), [Some(6), Some(2)]);
}
