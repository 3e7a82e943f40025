//! OCPP-J 1.6, a charge point's side: calls and results in arrays, numbered by whoever asks; a `BootNotification` as login,
//! which tells the interval of the heartbeats; calls of the server, each of which must be answered.
//!
//! Open Charge Alliance: OCPP-J 1.6 specification, sections 4.1 and 4.2.
//!
//! All of it is data, with an empty result as the answer to every call: an application that has more to say answers with
//! the trait `Dialect`, or by `send` in place of the rule. There is nothing to subscribe to: the one subscription is what the
//! server asks, and may be silent. A boot that is pending or rejected is tried again on a new connection, after the delays of
//! the feed: the interval that the server names for it can't be kept to. An accepted boot with the interval 0 (which leaves it
//! to the client) is refused: name an interval in place of `${interval}`.

use crate::common::*;
use crate::conformance::{config, json, no_limits};
use crate::venue::{Builder, CUT_OFF, Line, Venue};
use livefeed::lab::{Received, Script, What};
use livefeed::{EndReason, ErrorClass, Event, Feed, FeedConfig, Interval, Matcher, SubscriptionId};
use serde_json::{Value, json};
use std::time::Instant;

fn venue() -> Builder {
    Venue::builder().script(Script::new().subprotocol("ocpp1.6")).hear(hear)
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let result = |payload: Value| json!([3, json[1], payload]);
    let now = "2026-11-22T12:00:00.000Z";
    assert!(json[1].is_string(), "{json}");
    match (json[0].as_u64(), json[2].as_str()) {
        (Some(2), Some("BootNotification")) => {
            line.keep("booted", true);
            line.say(result(json!({"status": "Accepted", "currentTime": now, "interval": 1})));
            // What the server asks comes in one segment with that.
            line.say(json!([2, "a1", "GetConfiguration", {}]));
            line.say(json!([2, "a2", "ChangeAvailability", {"connectorId": 0, "type": "Operative"}]));
        }
        (Some(2), Some("Heartbeat")) => {
            assert_eq!(line.kept("booted"), true);
            line.alive();
            line.say(result(json!({"currentTime": now})));
        }
        (Some(2), Some("DataTransfer")) => line.say(result(json!({"status": "UnknownVendorId"}))),
        (Some(2), Some(_)) => line.say(json!([4, json[1], "NotSupported", "", {}])),
        (Some(3), None) => {
            assert_eq!(json[2], json!({}));
            line.keep(json[1].as_str().unwrap(), "answered");
        }
        _ => panic!("{json}"),
    }
}

fn open(config: FeedConfig) -> Feed {
    crate::conformance::open(config)
}

/// With heartbeats for a test; the venue tells whole seconds.
fn quick(venue: &Venue) -> FeedConfig {
    let mut config = config("ocpp-j", venue);
    no_limits(&mut config);
    config.keepalives[0].interval = Interval::text("${interval}0ms");
    config
}

#[test]
fn heartbeats_come_at_the_interval_that_the_server_told() {
    let venue = venue().cut_off_after(ms(400)).start();
    let feed = open(quick(&venue));
    let mut events = Vec::new();
    let deadline = Instant::now() + CEILING;
    while venue.signs(1) < 5 && Instant::now() < deadline {
        events.extend(feed.recv_timeout(ms(5)));
    }
    assert!(venue.signs(1) >= 5, "{events:?}");
    assert_eq!(venue.on_wire().len(), 1, "{events:?}");
    let connected = events.iter().find_map(|event| match event {
        Event::Connected(connected) => Some(connected.subprotocol.as_deref()),
        _ => None,
    });
    assert_eq!(connected, Some(Some("ocpp1.6")));
    let sent = venue.received_json(1);
    assert_eq!(sent[0][2], "BootNotification");
    let ids: Vec<_> = sent.iter().filter(|json| json[0] == 2).map(|json| json[1].clone()).collect();
    let mut different = ids.clone();
    different.sort_by_key(ToString::to_string);
    different.dedup();
    assert_eq!(different.len(), ids.len(), "{ids:?}");
    // As the file has it, they are too rare for this server.
    let mut config = config("ocpp-j", &venue);
    no_limits(&mut config);
    config.keepalives.clear();
    let feed = open(config);
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
    assert!(matches!(end.reason, EndReason::ClosedByPeer { code: Some(CUT_OFF), .. }), "{end:?}");
}

#[test]
fn each_call_of_the_server_is_delivered_and_answered() {
    let venue = venue().start();
    let feed = open(config("ocpp-j", &venue));
    let mut calls = Vec::new();
    until(&feed, |event| {
        if let Event::Message(message) = event {
            assert_eq!(message.subscriptions(), [SubscriptionId::from("calls")]);
            calls.push(json(message)[1].clone());
            if calls.len() == 2 {
                for nth in 0..50 {
                    venue.say(
                        json!([2, format!("b{nth}"), "TriggerMessage", {"requestedMessage": "Heartbeat"}]),
                    );
                }
            }
        }
        calls.len() == 52
    });
    assert_eq!(calls[..2], ["a1", "a2"]);
    in_lab(&venue.lab, |what| matches!(what, What::Received(Received::Text(text)) if text.contains("b49")));
    let answers: Vec<_> = venue.received_json(1).into_iter().filter(|json| json[0] == 3).collect();
    let answered: Vec<_> = answers.iter().map(|json| json[1].clone()).collect();
    assert_eq!(answered, calls, "one each, in order");
    assert_eq!(feed.health().unmatched, 0);
}

#[test]
fn a_call_of_the_application_gets_its_answer() {
    let venue = venue().start();
    let feed = open(config("ocpp-j", &venue));
    feed.wait_connected(CEILING).unwrap();
    let call = json!([2, "app-1", "DataTransfer", {"vendorId": "x"}]).to_string();
    let mine = Matcher::all([Matcher::one_of("/0", [3, 4]), Matcher::pointer("/1", "app-1")]);
    let answer = feed.request(call, mine, CEILING).unwrap();
    assert_eq!(json(&answer), json!([3, "app-1", {"status": "UnknownVendorId"}]));
    let call = json!([2, "app-2", "Nonsense", {}]).to_string();
    let mine = Matcher::pointer("/1", "app-2");
    assert_eq!(json(&feed.request(call, mine, CEILING).unwrap())[0], 4);
}

#[test]
fn a_boot_that_is_not_accepted_is_tried_again() {
    let venue = Venue::builder()
        .script(Script::new().subprotocol("ocpp1.6"))
        .hear(|line, text, json| match line.connection {
            1 => line.say(json!([3, json[1], {"status": "Pending", "currentTime": "", "interval": 10}])),
            2 => line.say(json!([4, json[1], "InternalError", "try later", {}])),
            _ => hear(line, text, json),
        })
        .start();
    let feed = open(config("ocpp-j", &venue));
    let events = until(&feed, |event| matches!(event, Event::Connected(_)));
    let refusals: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Disconnected(end) => Some(&end.reason),
            _ => None,
        })
        .collect();
    let [EndReason::LoginRefused { detail, class }, EndReason::LoginRefused { detail: second, .. }] =
        refusals[..]
    else {
        panic!("{refusals:?}")
    };
    assert!(detail.contains("Pending") && *class == ErrorClass::RetryLater, "{detail}");
    assert!(second.contains("try later"), "{second}");
}
