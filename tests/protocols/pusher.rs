//! Pusher Channels, protocol 7: a welcome with JSON inside a JSON string, a keepalive as often as it says, errors that
//! name no channel, close codes in ranges.
//!
//! <https://pusher.com/docs/channels/library_auth_reference/pusher-websockets-protocol/>
//!
//! Private and presence channels need a closure: `auth` is a signature of the `socket_id` of this connection, made by
//! the application's own server.

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, Watch, config, json as json_of, no_limits, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{CloseReason, EndReason, Event, Subscription};
use serde_json::{Value, json};

/// A topic is a channel.
fn venue() -> Builder {
    venue_with(120)
}

/// One that wants a sign of life after so many seconds.
fn venue_with(activity_timeout: u64) -> Builder {
    Venue::builder()
        .hello(move |line, request| {
            if !request.path.starts_with("/app/YOUR-KEY?") {
                let words = "App key not in this cluster. Did you forget to specify the cluster?";
                line.say(json!({"event": "pusher:error", "data": {"code": 4001, "message": words}}));
                line.close(4001, words);
                return;
            }
            let socket = format!("{}.{}", line.number(), line.number());
            line.keep("socket_id", socket.as_str());
            let data = json!({"socket_id": socket, "activity_timeout": activity_timeout}).to_string();
            line.say(json!({"event": "pusher:connection_established", "data": data}));
        })
        .hear(hear)
        .data(|tick: &Tick<'_>| {
            let data = json!({"price": 95_000.5, "n": tick.seq}).to_string();
            json!({"event": "tick", "channel": tick.topic, "data": data})
        })
        .heartbeat(ms(50), |_| json!({"event": "pusher:ping", "data": {}}))
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let channel = json["data"]["channel"].as_str().unwrap_or_default();
    match json["event"].as_str() {
        Some("pusher:ping") => {
            line.alive();
            if line.kept("deaf").is_null() {
                line.say(json!({"event": "pusher:pong", "data": {}}));
            }
        }
        Some("pusher:pong") => line.alive(),
        Some("pusher:subscribe") => {
            let socket = line.kept("socket_id");
            let signed = format!("KEY:{}:{channel}", socket.as_str().unwrap());
            if channel.starts_with("private-") && json["data"]["auth"] != signed {
                let words = "Invalid signature";
                line.say(json!({"event": "pusher:error", "data": {"code": 4009, "message": words}}));
                return;
            }
            let code = match line.subscribe(channel) {
                Answer::Granted => {
                    line.say(json!({"event": "pusher_internal:subscription_succeeded", "channel": channel, "data": "{}"}));
                    return;
                }
                Answer::Already => (Value::Null, format!("Existing subscription to channel {channel}")),
                Answer::Refused(reason) => (json!(4009), reason),
                Answer::Ignored => return,
            };
            line.say(json!({"event": "pusher:error", "data": {"code": code.0, "message": code.1}}));
        }
        Some("pusher:unsubscribe") => drop(line.unsubscribe(channel)), // not answered
        _ => {}
    }
}

const CASE: Case = Case {
    file: "pusher",
    venue,
    topics: &[("prices", "prices"), ("news", "news")],
    of: |message| vec![json_of(message)["channel"].as_str().unwrap_or_default().to_owned()],
    victim: "news",
    refusal: Some(Refusal {
        event: "refused",
        reason: "The connection is unauthorized",
        detail: "The connection is unauthorized",
    }),
    life: Life::Apart,
};

crate::conformance::tests!(CASE);

#[test]
fn the_server_is_answered_and_asked_as_often_as_it_says() {
    // Its own pings are answered.
    let venue = venue_with(120).cut_off_after(ms(500)).start();
    let mut feed_config = config("pusher", &venue);
    no_limits(&mut feed_config);
    let feed = open(feed_config);
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    watch.read_for(ms(1000), || venue.signs(1) >= 10);
    watch.saw_only(&["connecting", "connected", "subscribed"]);
    drop(watch);
    feed.close(CEILING).unwrap();

    // When it says nothing at all for `activity_timeout`, it is asked, and not before.
    let venue = venue_with(1).start();
    venue.mute_heartbeats();
    venue.mute("prices");
    venue.mute("news");
    let mut feed_config = config("pusher", &venue);
    no_limits(&mut feed_config);
    let feed = open(feed_config);
    venue.wait_subscribed(1, &["prices", "news"]);
    let begin = std::time::Instant::now();
    let mut watch = Watch::new(&CASE, &feed);
    watch.read_for(ms(0), || venue.signs(1) >= 2);
    assert!(begin.elapsed() >= ms(1900), "{:?}", begin.elapsed());
    watch.saw_only(&["connecting", "connected", "subscribed"]);
}

#[test]
fn a_server_that_does_not_answer_is_left() {
    let venue = venue_with(1)
        .hear(|line, text, json| {
            line.keep("deaf", line.connection == 1);
            if line.connection > 1 {
                line.keep("deaf", Value::Null);
            }
            hear(line, text, json);
        })
        .start();
    venue.mute_heartbeats();
    venue.mute("prices");
    venue.mute("news");
    let mut config = config("pusher", &venue);
    no_limits(&mut config);
    config.keepalives[0].within = Some(ms(200).into());
    let feed = open(config);
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
    assert!(matches!(end.reason, EndReason::KeepaliveOverdue { .. }), "{end:?}");
    venue.wait_subscribed(2, &["prices", "news"]);
}

#[test]
fn close_codes_decide_what_comes_next() {
    // 4200-4299: at once. 4100-4199: after a second. 4000-4099: never.
    let venue = venue().start();
    let feed = open(config("pusher", &venue));
    let end = |code: u16, reason: &str| {
        until_messages(&feed, 3);
        venue.close(code, reason);
        let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
        let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
        assert!(
            matches!(&end.reason, EndReason::ClosedByPeer { code: Some(got), .. } if *got == code),
            "{end:?}"
        );
        end.retry_in
    };
    let at_once = end(4200, "generic reconnect immediately");
    assert!(at_once.is_some_and(|delay| delay <= ms(10)), "{at_once:?}");
    let later = end(4100, "over capacity");
    assert!(later.is_some_and(|delay| delay >= ms(1000)), "{later:?}");
    assert_eq!(end(4009, "connection is unauthorized"), None);
    let events = until(&feed, |event| matches!(event, Event::Closed(_)));
    let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
    assert!(matches!(closed.reason, CloseReason::Fatal(EndReason::ClosedByPeer { .. })), "{closed:?}");
}

#[test]
fn a_wrong_key_ends_the_feed_by_its_code() {
    let venue = venue().start();
    let mut config = config("pusher", &venue);
    config.url = format!("{}app/WRONG?protocol=7", venue.url().trim_end_matches("feed")).into();
    let feed = open(config);
    let events = until(&feed, |event| matches!(event, Event::Closed(_)));
    let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
    let CloseReason::Fatal(EndReason::ClosedByPeer { code: Some(4001), reason }) = &closed.reason else {
        panic!("{closed:?}")
    };
    assert!(reason.starts_with("App key not in this cluster"), "{reason}");
}

#[test]
fn a_private_channel_is_signed_for_each_connection() {
    let venue = venue().start();
    let mut config = config("pusher", &venue);
    let signed = |salt: &'static str| {
        Subscription::new("orders").var("channel", "private-orders").subscribe_with(move |context| {
            let socket = context.var("socket_id").ok_or("no socket_id")?;
            let socket = socket.as_str().ok_or("the socket_id is no text")?;
            // Here an application asks its own server.
            let auth = format!("KEY{salt}:{socket}:private-orders");
            Ok(json!({"event": "pusher:subscribe", "data": {"channel": "private-orders", "auth": auth}})
                .to_string())
        })
    };
    config.subscriptions.push(signed(""));
    let feed = open(config.clone());
    for connection in 1..3 {
        venue.wait_subscribed(connection, &["prices", "news", "private-orders"]);
        until(
            &feed,
            |event| matches!(event, Event::Message(m) if m.subscriptions().iter().any(|id| id.as_str() == "orders")),
        );
        venue.reset();
    }
    feed.close(CEILING).unwrap();

    // The refusal names no channel: it is for the one that has waited the longest.
    config.subscriptions.pop();
    config.subscriptions.insert(1, signed("X"));
    let feed = open(config);
    let events = until(&feed, |event| matches!(event, Event::Refused(_)));
    let Some(Event::Refused(refused)) = events.last() else { unreachable!() };
    assert_eq!((refused.subscription.as_str(), refused.detail.as_str()), ("orders", "Invalid signature"));
    until_messages(&feed, 5);
}
