//! Centrifugo, JSON protocol version 2: commands and replies in lines, an empty object as ping and pong, streams with an
//! epoch and offsets from which what was missed is recovered.
//!
//! <https://centrifugal.dev/docs/transports/client_protocol>, <https://centrifugal.dev/docs/server/history_and_recovery>
//!
//! The reply to `connect` says how often the server pings: it may say nothing for ten seconds more than that.
//!
//! All of it is data. What was missed comes inside of the acknowledgement, which is delivered for that; the application takes
//! it apart. A stream that is not recoverable, or whose epoch has changed, is subscribed to with `resumed: false`.

use crate::common::*;
use crate::conformance::{Case, KEEPALIVE, Life, Refusal, Watch, config, hasty, json, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{CloseReason, EndReason, ErrorClass, Event, GapCause, Message, SubscriptionId};
use serde_json::{Value, json};

fn venue() -> Builder {
    Venue::builder()
        .hear(|line, text, _| {
            let mut replies = Vec::new();
            for command in text.lines() {
                hear(line, &serde_json::from_str(command).unwrap(), &mut replies);
            }
            if !replies.is_empty() {
                line.say(replies.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"));
            }
        })
        .data(|tick: &Tick<'_>| publication(tick.topic, tick.seq).to_string() + "\n")
        .heartbeat(KEEPALIVE, |_| "{}")
        .ended(|topic, _| {
            json!({"push": {"channel": topic, "unsubscribe": {"code": 2500, "reason": "insufficient state"}}})
        })
}

fn publication(channel: &str, offset: u64) -> Value {
    json!({"push": {"channel": channel, "pub": {"data": {"bid": offset}, "offset": offset}}})
}

fn hear(line: &mut Line<'_>, json: &Value, replies: &mut Vec<Value>) {
    let id = &json["id"];
    let error = |code: u16, message: &str| json!({"id": id, "error": {"code": code, "message": message}});
    if *json == json!({}) {
        line.alive();
    } else if let Some(connect) = json.get("connect") {
        if connect["token"] == "YOUR-TOKEN" {
            let connect = json!({"client": "c1", "version": "6.0", "ping": 25, "pong": true});
            replies.push(json!({"id": id, "connect": connect}));
        } else {
            replies.push(error(109, "token expired"));
        }
    } else if let Some(subscribe) = json.get("subscribe") {
        let channel = subscribe["channel"].as_str().unwrap();
        replies.push(match line.subscribe(channel) {
            Answer::Granted => {
                let from = subscribe["offset"].as_u64().unwrap();
                let mut result =
                    json!({"recoverable": true, "positioned": true, "epoch": "e1", "offset": from});
                if subscribe["recover"] == true {
                    result["was_recovering"] = json!(true);
                    if subscribe["epoch"] == "e1" {
                        result["recovered"] = json!(true);
                        let missed = publication(channel, from + 1)["push"]["pub"].clone();
                        result["publications"] = json!([missed]);
                        result["offset"] = json!(from + 1);
                    }
                }
                json!({"id": id, "subscribe": result})
            }
            Answer::Already => error(105, "already subscribed"),
            Answer::Refused(reason) => error(103, &reason),
            Answer::Ignored => return,
        });
    } else if let Some(unsubscribe) = json.get("unsubscribe") {
        line.unsubscribe(unsubscribe["channel"].as_str().unwrap());
        replies.push(json!({"id": id, "unsubscribe": {}}));
    } else {
        replies.push(error(107, "bad request"));
    }
}

fn channel(message: &Message) -> Vec<String> {
    let json = json(message);
    if json["push"].is_object() {
        vec![json["push"]["channel"].as_str().unwrap_or_default().to_owned()]
    } else {
        // What was missed stands in the acknowledgement, which does not name its channel.
        message.subscriptions().iter().map(|id| format!("ticker:{id}")).collect()
    }
}

const CASE: Case = Case {
    file: "centrifugo",
    venue,
    topics: &[("btc", "ticker:btc"), ("eth", "ticker:eth")],
    of: channel,
    victim: "eth",
    refusal: Some(Refusal { event: "refused", reason: "permission denied", detail: "permission denied" }),
    life: Life::Answers,
};

crate::conformance::tests!(CASE);

/// What a channel was asked for with on a connection.
fn asked(venue: &Venue, connection: usize, channel: &str) -> Value {
    let texts = venue.received(connection);
    let mut commands =
        texts.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap());
    commands.find(|command: &Value| command["subscribe"]["channel"] == channel).unwrap()["subscribe"].clone()
}

#[test]
fn what_was_missed_comes_with_the_acknowledgement() {
    let venue = venue().start();
    let feed = open(config("centrifugo", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    let first = json!({"channel": "ticker:btc", "recover": false, "epoch": "", "offset": 0});
    assert_eq!(asked(&venue, 1, "ticker:btc"), first);
    venue.reset();
    watch.until(|_, event| matches!(event, Event::Gap(gap) if gap.cause == GapCause::Reconnected));
    let last = watch.seen.iter().rev().find_map(|event| match event {
        Event::Message(message) if message.subscriptions() == [SubscriptionId::from("btc")] => {
            json(message)["push"]["pub"]["offset"].as_u64()
        }
        _ => None,
    });
    let last = last.unwrap();
    let is_of = |event: &Event| matches!(event, Event::Subscribed(subscribed) if subscribed.subscription.as_str() == "btc");
    let Event::Subscribed(subscribed) = watch.until(|_, event| is_of(event)) else { unreachable!() };
    assert_eq!(subscribed.resumed, Some(true));
    let again = json!({"channel": "ticker:btc", "recover": true, "epoch": "e1", "offset": last});
    assert_eq!(asked(&venue, 2, "ticker:btc"), again);
    let Event::Message(missed) = watch.until(|_, event| match event {
        Event::Message(message) => message.subscriptions() == [SubscriptionId::from("btc")],
        _ => false,
    }) else {
        unreachable!()
    };
    assert_eq!(json(&missed)["subscribe"]["publications"][0]["offset"], last + 1);
    watch.all_flow();
    // Before, nothing could have been missed.
    let resumed = watch.seen.iter().filter_map(|event| match event {
        Event::Subscribed(subscribed) => Some((subscribed.epoch, subscribed.resumed)),
        _ => None,
    });
    assert!(resumed.clone().all(|(epoch, resumed)| resumed == (epoch == 2).then_some(true)));
    assert!(resumed.count() >= 3);
}

/// Between the acknowledgement and the first publication the offset is that of the acknowledgement.
#[test]
fn a_channel_without_publications_is_recovered_from_its_acknowledgement() {
    let venue = venue().start();
    venue.mute("ticker:eth");
    let mut config = config("centrifugo", &venue);
    crate::conformance::no_limits(&mut config);
    config.subscriptions[1].terms.subscribe = Some(
        json!({"id": "${id}", "subscribe": {
            "channel": "${channel}", "recover": "${recoverable|false}", "epoch": "${stream_epoch|e0}", "offset": "${cursor|41}"
        }})
        .into(),
    );
    let feed = open(config);
    let mut watch = Watch::new(&CASE, &feed);
    watch.until(|watch, _| watch.subscribed.len() == 2);
    assert_eq!(asked(&venue, 1, "ticker:eth")["epoch"], "e0");
    for (connection, offset) in [(2, 41), (3, 42)] {
        venue.reset();
        watch.until(|_, event| matches!(event, Event::Connected(_)));
        watch.subscribed.clear();
        watch.until(|watch, _| watch.subscribed.len() == 2);
        let asked = asked(&venue, connection, "ticker:eth");
        assert_eq!((&asked["recover"], &asked["epoch"]), (&json!(true), &json!("e1")));
        assert_eq!(asked["offset"], offset);
    }
}

#[test]
fn a_channel_that_the_server_ends_is_recovered_too() {
    let venue = venue().start();
    let feed = open(hasty(config("centrifugo", &venue)));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.end("ticker:eth");
    let Event::Ended(ended) = watch.until(|_, event| matches!(event, Event::Ended(_))) else {
        unreachable!()
    };
    assert_eq!((ended.subscription.as_str(), ended.class), ("eth", ErrorClass::RetryLater));
    assert_eq!(ended.detail, "insufficient state");
    let Event::Subscribed(again) = watch.until(|_, event| matches!(event, Event::Subscribed(_))) else {
        unreachable!()
    };
    assert_eq!((again.subscription.as_str(), again.resumed), ("eth", Some(true)));
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "ended", "gap"]);
}

#[test]
fn offsets_that_do_not_join_up_are_a_gap() {
    let venue = venue().start();
    let feed = open(config("centrifugo", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.skip("ticker:btc", 2);
    let Event::Gap(gap) = watch.until(|_, event| matches!(event, Event::Gap(_))) else { unreachable!() };
    assert_eq!((gap.cause, gap.lost), (GapCause::Sequence, Some(2)));
    assert_eq!(gap.subscriptions, [SubscriptionId::from("btc")]);
}

#[test]
fn closes_say_whether_to_come_back() {
    for (code, reason, fatal) in [
        (3001, r#"{"reason":"shutdown","reconnect":true}"#, false),
        (3012, "no pong", false),
        (3012, r#"{"reason":"no pong","reconnect":false}"#, true),
        (3500, "invalid token", true),
        (4501, "terminated", true),
        (4000, "shed", false),
    ] {
        let venue = venue().start();
        let feed = open(config("centrifugo", &venue));
        let mut watch = Watch::new(&CASE, &feed);
        watch.all_flow();
        venue.close(code, reason);
        let end = watch.until(|_, event| match event {
            Event::Connected(connected) => connected.epoch == 2,
            Event::Closed(_) => true,
            _ => false,
        });
        assert_eq!(matches!(end, Event::Closed(_)), fatal, "{code} {reason}");
    }
}

#[test]
fn an_expired_token_is_a_refused_login() {
    let venue = venue().start();
    let mut config = config("centrifugo", &venue);
    config.login[0].send = Some(json!({"id": "${id}", "connect": {"token": "old"}}).into());
    let feed = open(config);
    let events = until(&feed, |event| matches!(event, Event::Closed(_)));
    let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
    assert!(
        matches!(&closed.reason, CloseReason::Fatal(EndReason::LoginRefused { detail, .. }) if detail == "token expired"),
        "{closed:?}"
    );
}
