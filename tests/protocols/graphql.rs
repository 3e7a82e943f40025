//! GraphQL over WebSocket (`graphql-transport-ws`): no acknowledgement but data, an id for each operation, errors and
//! ends per id, pings in both directions.
//!
//! <https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>
//!
//! All of it is data. Ids are texts, and fresh for each subscribe message: a server hangs up (4409) if an id is used
//! that it still knows, and the end of an older operation can come late.

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, Watch, config, json as json_of, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{CloseReason, EndReason, Event};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// A topic is a query.
fn venue() -> Builder {
    Venue::builder()
        .hello(|line, request| {
            if request.header("sec-websocket-protocol") != Some("graphql-transport-ws") {
                line.close(4406, "Subprotocol not acceptable");
            }
        })
        .hear(hear)
        .data(|tick: &Tick<'_>| {
            let name = if tick.topic == GREETINGS { "greetings" } else { "price" };
            json!({"id": tick.tag, "type": "next", "payload": {"data": {name: tick.seq}}})
        })
        .heartbeat(ms(50), |_| json!({"type": "ping"}))
        .ended(|_, id| json!({"id": id, "type": "complete"}))
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let id = json["id"].as_str().unwrap_or_default();
    match json["type"].as_str() {
        Some("connection_init") if line.kept("ready").is_null() => {
            line.keep("ready", true);
            line.say(json!({"type": "connection_ack"}));
        }
        Some("connection_init") => line.close(4429, "Too many initialisation requests"),
        Some("ping") => {
            line.alive();
            line.say(json!({"type": "pong"}));
        }
        Some("pong") => line.alive(),
        _ if line.kept("ready").is_null() => line.close(4401, "Unauthorized"),
        Some("subscribe") if id.is_empty() => line.close(4400, "Invalid message received"),
        Some("subscribe") => {
            if !line.kept(id).is_null() {
                line.close(4409, &format!("Subscriber for {id} already exists"));
                return;
            }
            let query = json["payload"]["query"].as_str().unwrap();
            match line.subscribe_as(query, id) {
                Answer::Granted => line.keep(id, query),
                Answer::Already => panic!("two operations for {query}"),
                Answer::Refused(reason) => {
                    let errors = json!([{"message": reason, "locations": [{"line": 1, "column": 16}]}]);
                    line.say(json!({"id": id, "type": "error", "payload": errors}));
                }
                Answer::Ignored => {}
            }
        }
        // It is not answered. The id stays known here, so that its next use is noticed.
        Some("complete") => {
            let query = line.kept(id);
            line.unsubscribe(query.as_str().unwrap_or_default());
        }
        _ => line.close(4400, "Invalid message received"),
    }
}

const GREETINGS: &str = "subscription { greetings }";
const PRICES: &str = "subscription { price(symbol: \"BTC\") { bid ask } }";

const CASE: Case = Case {
    file: "graphql-transport-ws",
    venue,
    topics: &[("greetings", GREETINGS), ("prices", PRICES)],
    of: |message| {
        let data = &json_of(message)["payload"]["data"];
        let topics = [("greetings", GREETINGS), ("price", PRICES)];
        topics
            .iter()
            .filter(|(name, _)| !data[name].is_null())
            .map(|(_, topic)| (*topic).to_owned())
            .collect()
    },
    victim: "prices",
    refusal: Some(Refusal {
        event: "refused",
        reason: "Cannot query field \"price\" on type \"Subscription\".",
        detail: "Cannot query field \"price\"",
    }),
    life: Life::Client,
};

crate::conformance::tests!(CASE);

#[test]
fn what_the_server_completes_is_made_again_under_a_fresh_id() {
    let venue = venue().start();
    let feed = open(config("graphql-transport-ws", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.end(PRICES);
    let ended = watch.until(|_, event| matches!(event, Event::Ended(_)));
    let Event::Ended(ended) = ended else { unreachable!() };
    assert_eq!(ended.subscription.as_str(), "prices");
    venue.wait_grants(1, PRICES, 2);
    watch.until(|_, event| matches!(event, Event::Gap(_)));
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "ended", "gap"]);
    let subscribes = venue.received_json(1).into_iter().filter(|json| json["type"] == "subscribe");
    let ids: Vec<String> = subscribes.map(|json| json["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (3, 3), "{ids:?}");
}

#[test]
fn an_operation_is_completed_by_its_own_id() {
    let venue = venue().start();
    let feed = open(config("graphql-transport-ws", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    feed.unsubscribe("prices").unwrap();
    venue.wait_subscribed(1, &[GREETINGS]);
    assert_eq!(venue.on_wire().keys().copied().collect::<Vec<_>>(), [1]);
}

#[test]
fn what_the_server_can_never_take_ends_the_feed() {
    for (code, fatal) in [(4400, true), (4403, true), (4409, false), (4500, false)] {
        let venue = venue().start();
        let feed = open(config("graphql-transport-ws", &venue));
        until_messages(&feed, 3);
        venue.close(code, "as a test");
        let events = until(&feed, |event| match event {
            Event::Closed(_) => true,
            Event::Disconnected(end) => end.retry_in.is_some(),
            _ => false,
        });
        let last = events.last().unwrap();
        let is_code = |reason: &EndReason| matches!(reason, EndReason::ClosedByPeer { code: Some(got), .. } if *got == code);
        match last {
            Event::Closed(closed) => {
                assert!(fatal && matches!(&closed.reason, CloseReason::Fatal(reason) if is_code(reason)));
            }
            Event::Disconnected(end) => assert!(!fatal && is_code(&end.reason), "{end:?}"),
            _ => unreachable!(),
        }
    }
}
