//! Coinbase Exchange: each answer lists all that is in force, an error names nothing, every product has heartbeats of its
//! own, and the trades of a product are numbered.
//!
//! <https://docs.cdp.coinbase.com/exchange/websocket-feed/overview>
//!
//! All of it is data. A subscription is a product, with its trades and its heartbeats, because a list names
//! products by channel, and only one of the two can be looked at: a feed of several channels has a connection for each. The server
//! hangs up on who asks for nothing within five seconds; livefeed asks at once. Channels that want a login need a closure for
//! the signature in their subscribe message.

use crate::common::*;
use crate::conformance::{self, Case, Life, Refusal, Watch, json as json_of};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{Event, GapCause};
use serde_json::{Value, json};
use std::time::Instant;

/// A topic is a product; each third message is its heartbeat.
fn venue() -> Builder {
    Venue::builder().hear(|line, _, json| hear(line, json)).data(data)
}

fn hear(line: &mut Line<'_>, json: &Value) {
    let products: Vec<&str> =
        json["product_ids"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(json["channels"], json!(["matches", "heartbeat"]));
    match json["type"].as_str() {
        Some("subscribe") => {
            if let Some(reason) = products.iter().find_map(|product| line.refusal(product)) {
                return line
                    .say(json!({"type": "error", "message": "Failed to subscribe", "reason": reason}));
            }
            for product in products {
                if line.subscribe(product) == Answer::Ignored {
                    return;
                }
            }
        }
        _ => {
            for product in products {
                line.unsubscribe(product);
            }
        }
    }
    let listed = line.subscribed();
    let channel = |name: &str| json!({"name": name, "product_ids": listed});
    line.say(json!({"type": "subscriptions", "channels": [channel("matches"), channel("heartbeat")]}));
}

fn heartbeat(product: &str, trade: u64) -> Value {
    json!({"type": "heartbeat", "last_trade_id": trade, "product_id": product, "sequence": trade * 7,
        "time": "2026-11-21T10:00:00.123456Z"})
}

fn data(tick: &Tick<'_>) -> Value {
    let trade = tick.seq - tick.seq / 3;
    if tick.seq.is_multiple_of(3) {
        return heartbeat(tick.topic, trade);
    }
    let kind = if tick.nth == 1 { "last_match" } else { "match" };
    json!({"type": kind, "trade_id": trade, "sequence": trade * 7, "product_id": tick.topic, "side": "sell",
        "size": "5.23512", "price": "400.23", "time": "2026-11-21T10:00:00.123456Z"})
}

const CASE: Case = Case {
    file: "coinbase-exchange",
    venue,
    topics: &[("btc", "BTC-USD"), ("eth", "ETH-USD")],
    of: |message| json_of(message)["product_id"].as_str().map(str::to_owned).into_iter().collect(),
    victim: "eth",
    refusal: Some(Refusal {
        event: "refused",
        reason: "ETH-USD is not a valid product",
        detail: "ETH-USD is not a valid product",
    }),
    life: Life::Pongs,
};

crate::conformance::tests!(CASE);

/// Where nobody trades the heartbeats of the product say that it lives. Once they stop too, it is stale.
#[test]
fn a_product_lives_by_its_heartbeats() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.mute("ETH-USD");
    let begin = Instant::now();
    while begin.elapsed() < ms(700) {
        venue.say(heartbeat("ETH-USD", 77));
        watch.read_for(ms(50), || true);
    }
    watch.saw_only(&["connecting", "connected", "subscribed"]);
    let event = watch.until(|_, event| matches!(event, Event::Stale(_)));
    assert!(matches!(&event, Event::Stale(stale) if stale.subscription == Some("eth".into())), "{event:?}");
}

#[test]
fn a_trade_that_is_missing_is_a_gap_of_its_product() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.skip("BTC-USD", 6);
    let event = watch.until(|_, event| matches!(event, Event::Gap(_)));
    let Event::Gap(gap) = event else { unreachable!() };
    assert_eq!((gap.cause, &gap.subscriptions[..]), (GapCause::Sequence, &["btc".into()][..]), "{gap:?}");
    assert_eq!(gap.lost, Some(4), "{gap:?}");
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "gap"]);
    assert_eq!(venue.grants(1, "BTC-USD"), 1, "it is said, and that is all");
}
