//! Socket.IO 5 over Engine.IO 4: packets of digits and JSON, pings that the server sends at an interval of its own,
//! acknowledgements by the number of the packet, and the recovery of what was missed.
//!
//! <https://socket.io/docs/v4/socket-io-protocol/>, <https://socket.io/docs/v4/connection-state-recovery>
//!
//! The open packet says how long the server may say nothing: its interval and its timeout together.
//!
//! All of it is data; the codec `prefixed` makes `["42",["price",{..}]]` of `42["price",{..}]`. What an application's
//! events and acknowledgements look like is its own affair: the file has an event `subscribe` with a channel, answered by
//! `{"ok":true}` or `{"ok":false,"error":".."}`. Binary attachments are not joined to their events.

use crate::common::*;
use crate::conformance::{Case, KEEPALIVE, Life, Refusal, Watch, config, json, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{CloseReason, EndReason, Event};
use serde_json::{Value, json};

fn venue() -> Builder {
    Venue::builder()
        .hello(|line, request| {
            assert_eq!(request.path, "/socket.io/?EIO=4&transport=websocket");
            let open = json!({
                "sid": format!("e{}", line.connection), "upgrades": [], "pingInterval": 50, "pingTimeout": 20_000,
                "maxPayload": 1_000_000
            });
            line.say(format!("0{open}"));
        })
        .hear(hear)
        .data(|tick: &Tick<'_>| event(tick.topic, tick.seq))
        .heartbeat(KEEPALIVE, |_| "2")
}

/// With recovery on, the last argument of each event is its offset.
fn event(channel: &str, number: u64) -> String {
    format!("42{}", json!(["price", {"channel": channel, "bid": number}, format!("offset-{number}")]))
}

fn hear(line: &mut Line<'_>, text: &str, _json: &Value) {
    if text == "3" {
        line.alive();
    } else if let Some(connect) = text.strip_prefix("40") {
        let connect: Value = serde_json::from_str(connect).unwrap();
        if connect["token"] != "YOUR-TOKEN" {
            line.say(format!("44{}", json!({"message": "not authorized"})));
            return;
        }
        // What was there before is there again if the client knows its name and how far it came.
        let pid = connect["pid"].as_str().filter(|pid| *pid == "p1" && connect["offset"].is_string());
        line.keep("recovered", pid.is_some());
        line.say(format!(
            "40{}",
            json!({"sid": format!("s{}", line.connection), "pid": pid.unwrap_or("p1")})
        ));
        if pid.is_some() {
            line.say(event("btc", 1_000_000));
        }
    } else if let Some(packet) = text.strip_prefix("42") {
        let (id, arguments) = packet.split_at(packet.find('[').unwrap());
        let arguments: Value = serde_json::from_str(arguments).unwrap();
        let channel = arguments[1].as_str().unwrap();
        match (arguments[0].as_str().unwrap(), id) {
            ("subscribe", id) if !id.is_empty() => match line.subscribe(channel) {
                Answer::Granted | Answer::Already => line.say(format!("43{id}{}", json!([{"ok": true}]))),
                Answer::Refused(reason) => {
                    line.say(format!("43{id}{}", json!([{"ok": false, "error": reason}])));
                }
                Answer::Ignored => {}
            },
            ("unsubscribe", "") => drop(line.unsubscribe(channel)),
            other => panic!("{other:?}"),
        }
    } else {
        panic!("{text}");
    }
}

const CASE: Case = Case {
    file: "socket-io",
    venue,
    topics: &[("btc", "btc"), ("eth", "eth")],
    of: |message| vec![json(message)[1][1]["channel"].as_str().unwrap_or_default().to_owned()],
    victim: "eth",
    refusal: Some(Refusal { event: "refused", reason: "no such channel", detail: "no such channel" }),
    life: Life::Answers,
};

crate::conformance::tests!(CASE);

/// The server is told who the client was and what it got last, and sends what came meanwhile.
#[test]
fn what_was_missed_is_asked_for() {
    let venue = venue().start();
    let feed = open(config("socket-io", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    let first = &venue.received(1)[0];
    assert_eq!(first, r#"40{"offset":null,"pid":null,"token":"YOUR-TOKEN"}"#);
    venue.reset();
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    let last = watch.seen.iter().rev().find_map(|event| match event {
        Event::Message(message) => Some(json(message)[1][2].as_str().unwrap().to_owned()),
        _ => None,
    });
    let again = format!(r#"40{{"offset":"{}","pid":"p1","token":"YOUR-TOKEN"}}"#, last.unwrap());
    assert_eq!(venue.received(2)[0], again);
    let replayed = |event: &Event| matches!(event, Event::Message(m) if json(m)[1][1]["bid"] == 1_000_000);
    watch.until(|_, event| replayed(event));
    watch.all_flow();
}

#[test]
fn a_refused_connect_is_a_refused_login() {
    let venue = venue().start();
    let mut config = config("socket-io", &venue);
    config.login[1].send = Some(r#"40{"token":"wrong"}"#.into());
    let feed = open(config);
    let events = until(&feed, |event| matches!(event, Event::Closed(_)));
    let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
    assert!(
        matches!(&closed.reason, CloseReason::Fatal(EndReason::LoginRefused { detail, .. }) if detail == "not authorized"),
        "{closed:?}"
    );
}

#[test]
fn a_disconnect_packet_leads_to_a_new_connection() {
    let venue = venue().start();
    let feed = open(config("socket-io", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.say("41");
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.all_flow();
    venue.wait_subscribed(2, &["btc", "eth"]);
    watch.saw_only(&["connecting", "connected", "subscribed", "disconnected", "gap"]);
}
