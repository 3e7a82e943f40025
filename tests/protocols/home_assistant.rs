//! Home Assistant: a login in steps, request ids that must increase, the id of the request as the key of its data.
//!
//! <https://developers.home-assistant.io/docs/api/websocket>
//!
//! All of it is data. `${subscribe_id}` is the id that ends a subscription.

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, Watch, config, json, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{CloseReason, EndReason, ErrorClass, Event};
use serde_json::{Value, json};

/// A topic is an event type.
fn venue() -> Builder {
    Venue::builder()
        .hello(|line, _| line.say(json!({"type": "auth_required", "ha_version": "2026.11.1"})))
        .hear(hear)
        .data(|tick: &Tick<'_>| {
            json!({"id": tick.tag, "type": "event", "event": {
                "event_type": tick.topic, "data": {"entity_id": "light.bed", "n": tick.seq},
                "origin": "LOCAL", "time_fired": "2026-11-21T12:00:00.000000+00:00"
            }})
        })
}

fn result(id: &Value, error: Option<(&str, String)>) -> Value {
    match error {
        None => json!({"id": id, "type": "result", "success": true, "result": null}),
        Some((code, message)) => {
            json!({"id": id, "type": "result", "success": false, "error": {"code": code, "message": message}})
        }
    }
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    if line.kept("user").is_null() {
        if json["type"] != "auth" || json["access_token"] != "YOUR-TOKEN" {
            line.say(json!({"type": "auth_invalid", "message": "Invalid access token or password"}));
            line.close(1000, "");
            return;
        }
        line.keep("user", "somebody");
        line.say(json!({"type": "auth_ok", "ha_version": "2026.11.1"}));
        return;
    }
    let id = &json["id"];
    let last = line.kept("last").as_u64().unwrap_or_default();
    let Some(number) = id.as_u64().filter(|number| *number > last) else {
        let words = "Identifier values have to increase.".to_owned();
        line.say(result(id, Some(("id_reuse", words))));
        return;
    };
    line.keep("last", number);
    match json["type"].as_str() {
        Some("ping") => {
            line.alive();
            line.say(json!({"id": id, "type": "pong"}));
        }
        Some("subscribe_events") => {
            let topic = json["event_type"].as_str().unwrap();
            match line.subscribe_as(topic, id.clone()) {
                Answer::Granted | Answer::Already => {
                    line.keep(&id.to_string(), topic);
                    line.say(result(id, None));
                }
                Answer::Refused(reason) => line.say(result(id, Some(("unauthorized", reason)))),
                Answer::Ignored => {}
            }
        }
        Some("unsubscribe_events") => {
            let topic = line.kept(&json["subscription"].to_string());
            let was = topic.as_str().is_some_and(|topic| line.unsubscribe(topic));
            let error = (!was).then(|| ("not_found", "Subscription not found.".to_owned()));
            line.say(result(id, error));
        }
        _ => line.say(result(id, Some(("unknown_command", "Unknown command.".to_owned())))),
    }
}

const CASE: Case = Case {
    file: "home-assistant",
    venue,
    topics: &[("states", "state_changed"), ("calls", "call_service")],
    of: |message| vec![json(message)["event"]["event_type"].as_str().unwrap_or_default().to_owned()],
    victim: "states",
    refusal: Some(Refusal { event: "refused", reason: "Unauthorized", detail: "Unauthorized" }),
    life: Life::Client,
};

crate::conformance::tests!(CASE);

#[test]
fn a_refused_login_is_no_plain_close() {
    for nth in 0..20 {
        let venue = venue().start();
        let mut config = config("home-assistant", &venue);
        let wrong = json!({"type": "auth", "access_token": "wrong"});
        config.login[1].send = Some(wrong.into());
        let feed = open(config);
        let events = until(&feed, |event| matches!(event, Event::Closed(_)));
        let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
        let CloseReason::Fatal(EndReason::LoginRefused { detail, class }) = &closed.reason else {
            panic!("{nth}: {closed:?}")
        };
        assert_eq!((detail.as_str(), *class), ("Invalid access token or password", ErrorClass::FeedFatal));
        assert_eq!(names(&events), ["connecting", "disconnected", "closed"]);
        let said = format!("{events:?}");
        assert!(!said.contains("YOUR-TOKEN") && !said.contains("wrong"), "{said}");
    }
}

/// A token that was revoked while the feed was up.
#[test]
fn a_login_refused_later_ends_the_feed_too() {
    let venue = Venue::builder()
        .hello(|line, _| line.say(json!({"type": "auth_required"})))
        .hear(|line, text, json| {
            if line.connection == 2 && json["type"] == "auth" {
                line.say(json!({"type": "auth_invalid", "message": "revoked"}));
                line.close(1000, "");
            } else {
                hear(line, text, json);
            }
        })
        .data(|tick: &Tick<'_>| json!({"id": tick.tag, "type": "event", "event": {"event_type": tick.topic}}))
        .start();
    let feed = open(config("home-assistant", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.reset();
    let closed = watch.until(|_, event| matches!(event, Event::Closed(_)));
    let Event::Closed(closed) = closed else { unreachable!() };
    assert!(
        matches!(&closed.reason, CloseReason::Fatal(EndReason::LoginRefused { detail, .. }) if detail == "revoked"),
        "{closed:?}"
    );
}

#[test]
fn ids_increase_and_end_what_they_began() {
    let venue = venue().start();
    let mut config = config("home-assistant", &venue);
    for keepalive in &mut config.keepalives {
        keepalive.interval = ms(20).into();
    }
    let feed = open(config);
    feed.wait_fresh(CEILING).unwrap();
    for nth in 2..5 {
        feed.unsubscribe("calls").unwrap();
        venue.wait_subscribed(1, &["state_changed"]);
        let again = livefeed::Subscription::new("calls").var("event_type", "call_service");
        feed.subscribe(again).unwrap();
        venue.wait_grants(1, "call_service", nth);
    }
    until(&feed, |_| venue.signs(1) >= 5);
    let sent: Vec<u64> = venue.received_json(1).iter().filter_map(|json| json["id"].as_u64()).collect();
    assert!(sent.len() > 10 && sent.is_sorted_by(|a, b| a < b), "{sent:?}");
    feed.wait_fresh(CEILING).unwrap();
    assert_eq!(feed.health().refused, 0);
    assert_eq!(venue.on_wire().keys().copied().collect::<Vec<_>>(), [1]);
}
