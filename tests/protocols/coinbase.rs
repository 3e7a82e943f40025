//! Coinbase Advanced Trade: each answer lists all that is in force, an error names nothing, `level2` is asked for and
//! `l2_data` comes, one message can be data of several products, and all messages of a connection are numbered.
//!
//! <https://docs.cdp.coinbase.com/advanced-trade/docs/ws-overview>
//!
//! Public channels are all data. Those of a user need a closure: each subscribe message has a token that lives for two minutes.

use crate::common::*;
use crate::conformance::{self, Case, Life, Refusal, Watch, json as json_of};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{Event, GapCause};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};

/// The numbers of the messages of each connection, from 0.
#[derive(Clone, Default)]
struct Numbers(Arc<Mutex<HashMap<usize, u64>>>);

impl Numbers {
    fn next(&self, connection: usize) -> u64 {
        let mut all = self.0.lock().unwrap();
        let number = all.entry(connection).or_default();
        *number += 1;
        *number - 1
    }

    fn message(&self, connection: usize, channel: &str, events: Value) -> Value {
        let sequence_num = self.next(connection);
        json!({"channel": channel, "client_id": "", "timestamp": "2026-11-21T10:00:00.123456789Z", "sequence_num": sequence_num, "events": events})
    }
}

/// A topic is `channel product`.
fn venue() -> Builder {
    venue_with(&Numbers::default())
}

fn venue_with(numbers: &Numbers) -> Builder {
    let (hearing, ticking, beating) = (numbers.clone(), numbers.clone(), numbers.clone());
    Venue::builder()
        .hear(move |line, _, json| hear(line, json, &hearing))
        .data(move |tick| data(tick, &ticking))
        .heartbeat_when_asked(ms(20), move |n, connection| {
            let beat = json!([{"current_time": "2026-11-21 10:00:00 +0000 UTC", "heartbeat_counter": n}]);
            beating.message(connection, "heartbeats", beat)
        })
}

fn hear(line: &mut Line<'_>, json: &Value, numbers: &Numbers) {
    let channel = json["channel"].as_str().unwrap();
    let products: Vec<_> =
        json["product_ids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    match json["type"].as_str() {
        Some("subscribe") if channel == "heartbeats" => {
            line.keep("heartbeats", true);
            line.begin_heartbeats();
        }
        Some("subscribe") => {
            for product in products {
                match line.subscribe(&format!("{channel} {product}")) {
                    Answer::Refused(message) => {
                        return line.say(json!({"type": "error", "message": message}));
                    }
                    Answer::Ignored => return,
                    Answer::Granted | Answer::Already => {}
                }
            }
        }
        Some("unsubscribe") => {
            for product in products {
                line.unsubscribe(&format!("{channel} {product}"));
            }
        }
        _ => return line.say(json!({"type": "error", "message": "invalid type"})),
    }
    let mut listed: Map<String, Value> = Map::new();
    for topic in line.subscribed() {
        let (channel, product) = topic.split_once(' ').unwrap();
        let products = listed.entry(channel).or_insert_with(|| json!([]));
        products.as_array_mut().unwrap().push(product.into());
    }
    if line.kept("heartbeats") == true {
        listed.insert("heartbeats".into(), json!(["heartbeats"]));
    }
    line.say(numbers.message(line.connection, "subscriptions", json!([{"subscriptions": listed}])));
}

fn data(tick: &Tick<'_>, numbers: &Numbers) -> Value {
    let (channel, product) = tick.topic.split_once(' ').unwrap();
    let kind = if tick.nth == 1 { "snapshot" } else { "update" };
    let trade = |product: &str| json!({"trade_id": tick.seq.to_string(), "product_id": product, "price": "1", "size": "0.3", "side": "BUY"});
    let (channel, event) = match channel {
        "level2" => {
            let update = json!({"side": "bid", "event_time": "1970-01-01T00:00:00Z", "price_level": "1", "new_quantity": "0.06"});
            ("l2_data", json!({"type": kind, "product_id": product, "updates": [update]}))
        }
        // Now and then with trades of the other product, which is subscribed before.
        "market_trades" if product == "ETH-USD" && tick.nth.is_multiple_of(2) => {
            (channel, json!({"type": kind, "trades": [trade(product), trade("BTC-USD")]}))
        }
        _ => (channel, json!({"type": kind, "trades": [trade(product)]})),
    };
    numbers.message(tick.connection, channel, json!([event]))
}

const CASE: Case = Case {
    file: "coinbase-advanced",
    venue,
    topics: &[
        ("book", "level2 BTC-USD"),
        ("trades", "market_trades BTC-USD"),
        ("eth-trades", "market_trades ETH-USD"),
    ],
    of: |message| {
        let json = json_of(message);
        let products = |items: &Value, channel: &str| -> Vec<String> {
            let items = items.as_array().into_iter().flatten();
            items.map(|item| format!("{channel} {}", item["product_id"].as_str().unwrap())).collect()
        };
        match json["channel"].as_str() {
            Some("l2_data") => products(&json["events"], "level2"),
            Some("market_trades") => products(&json["events"][0]["trades"], "market_trades"),
            _ => Vec::new(),
        }
    },
    victim: "book",
    refusal: Some(Refusal {
        event: "refused",
        reason: "BTC-USD is not a valid product",
        detail: "BTC-USD is not a valid product",
    }),
    life: Life::Server,
};

crate::conformance::tests!(CASE);

#[test]
fn one_message_is_data_of_all_that_are_in_it() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.until(|_, event| matches!(event, Event::Message(message) if message.subscriptions().len() == 2));
    watch.saw_only(&["connecting", "connected", "subscribed"]);
}

/// The other channels are closed where there is nothing to say for a minute, unless heartbeats are asked for.
#[test]
fn heartbeats_are_asked_for_first() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    feed.wait_fresh(CEILING).unwrap();
    let first = &venue.received_json(1)[0];
    assert_eq!(*first, json!({"type": "subscribe", "channel": "heartbeats"}));
}

/// The last of three is refused: what was listed before it stays granted.
#[test]
fn an_error_is_about_what_is_not_listed_yet() {
    let refusal = Some(Refusal { event: "refused", reason: "no such product", detail: "no such product" });
    conformance::recognises_a_refusal(&Case { victim: "eth-trades", refusal, ..CASE });
}

#[test]
fn a_hole_in_the_numbers_of_the_connection_is_a_gap_of_all() {
    let numbers = Numbers::default();
    let venue = venue_with(&numbers).start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    numbers.next(1);
    let event = watch.until(|_, event| matches!(event, Event::Gap(_)));
    let Event::Gap(gap) = event else { unreachable!() };
    assert_eq!((gap.cause, gap.lost, gap.epoch), (GapCause::Sequence, Some(1), 1), "{gap:?}");
    assert!(gap.subscriptions.is_empty(), "{gap:?}");
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "gap"]);
}
