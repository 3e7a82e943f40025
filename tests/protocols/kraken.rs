//! Kraken, WebSocket API v2: one reply for each symbol, correlated by `req_id` and the echoed channel and symbol.
//!
//! <https://docs.kraken.com/api/docs/websocket-v2/>
//!
//! Public channels are all data. Private ones need a closure: each subscribe message has a token that comes from a request
//! over HTTP. The checksum of a book is the application's to check.

use crate::common::*;
use crate::conformance::{self, Case, Life, Refusal, json as json_of};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{EndReason, Event};
use serde_json::{Value, json};

/// A topic is `channel symbol`, such as `ticker BTC/USD`.
pub fn venue() -> Builder {
    Venue::builder()
        .hello(|line, _| {
            let data = json!([{"api_version": "v2", "connection_id": line.number(), "system": "online", "version": "2.0.9"}]);
            line.say(json!({"channel": "status", "type": "update", "data": data}));
        })
        .hear(hear)
        .data(data)
        .heartbeat(ms(50), |_| json!({"channel": "heartbeat"}))
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let (method, params, id) = (&json["method"], &json["params"], &json["req_id"]);
    let channel = params["channel"].as_str().unwrap_or_default();
    match method.as_str() {
        Some("ping") => {
            line.alive();
            line.say(json!({"method": "pong", "req_id": id}));
        }
        Some("subscribe") => {
            for symbol in params["symbol"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let error = match line.subscribe(&format!("{channel} {symbol}")) {
                    Answer::Granted => None,
                    Answer::Already => Some("Already subscribed".to_owned()),
                    Answer::Refused(reason) => Some(reason),
                    Answer::Ignored => continue,
                };
                line.say(reply(method, id, channel, symbol, error));
            }
        }
        Some("unsubscribe") => {
            for symbol in params["symbol"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                let was = line.unsubscribe(&format!("{channel} {symbol}"));
                let error = (!was).then(|| "Subscription Not Found".to_owned());
                line.say(reply(method, id, channel, symbol, error));
            }
        }
        _ => {
            line.say(json!({"error": "Unsupported method", "method": method, "success": false, "req_id": id}))
        }
    }
}

fn reply(method: &Value, id: &Value, channel: &str, symbol: &str, error: Option<String>) -> Value {
    match error {
        None => {
            json!({"method": method, "result": {"channel": channel, "symbol": symbol}, "success": true, "req_id": id})
        }
        Some(error) => {
            json!({"method": method, "error": error, "success": false, "symbol": symbol, "req_id": id})
        }
    }
}

fn data(tick: &Tick<'_>) -> Value {
    let (channel, symbol) = tick.topic.split_once(' ').unwrap();
    let kind = if tick.nth == 1 { "snapshot" } else { "update" };
    json!({"channel": channel, "type": kind, "data": [{"symbol": symbol, "last": 95_000.5, "trade_id": tick.seq}]})
}

const CASE: Case = Case {
    file: "kraken-v2",
    venue,
    topics: &[
        ("btc", "ticker BTC/USD"),
        ("eth", "ticker ETH/USD"),
        ("btc-trades", "trade BTC/USD"),
        ("btc-book", "book BTC/USD"),
    ],
    of: |message| {
        let json = json_of(message);
        let channel = json["channel"].as_str().unwrap_or_default();
        let items = json["data"].as_array().into_iter().flatten();
        items.filter_map(|item| Some(format!("{channel} {}", item["symbol"].as_str()?))).collect()
    },
    victim: "eth",
    refusal: Some(Refusal {
        event: "refused",
        reason: "Currency pair not supported ETH/USD",
        detail: "Currency pair not supported ETH/USD",
    }),
    life: Life::Client,
};

crate::conformance::tests!(CASE);

/// The number of a message stands for all its symbols, so they are asked for one by one when one is refused; that the
/// others are subscribed already is then no error.
#[test]
fn the_first_symbol_of_a_message_may_be_refused() {
    let refusal = Some(Refusal { event: "refused", reason: "not supported", detail: "not supported" });
    conformance::recognises_a_refusal(&Case { victim: "btc", refusal, ..CASE });
}

/// And those that agree in the channel share one.
#[test]
fn a_message_has_one_channel_and_several_symbols() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    feed.wait_fresh(CEILING).unwrap();
    let asked: Vec<_> = venue
        .received_json(1)
        .into_iter()
        .map(|json| (json["params"]["channel"].clone(), json["params"]["symbol"].clone()))
        .collect();
    let wanted = [
        (json!("ticker"), json!(["BTC/USD", "ETH/USD"])),
        (json!("trade"), json!(["BTC/USD"])),
        (json!("book"), json!(["BTC/USD"])),
    ];
    assert_eq!(asked, wanted);
}

#[test]
fn the_venue_speaks_the_protocol() {
    let venue = venue().start();
    venue.refuse("ticker DOGE/EUR", "Currency pair not supported DOGE/EUR");
    venue.ignore("ticker LOST/USD");
    let feed = feed(&venue.lab).open().unwrap();
    feed.wait_connected(CEILING).unwrap();
    let answers = |wanted: &str| {
        let events = until(&feed, |event| text(event).is_some_and(|json| json["method"] == wanted));
        text(events.last().unwrap()).unwrap()
    };
    let request = |method: &str, symbol: &str, id: u64| {
        json!({"method": method, "params": {"channel": "ticker", "symbol": [symbol]}, "req_id": id})
            .to_string()
    };
    let _ = feed.send(request("subscribe", "LOST/USD", 6)).unwrap();
    let _ = feed.send(request("subscribe", "BTC/USD", 7)).unwrap();
    let ack = json!({"method": "subscribe", "result": {"channel": "ticker", "symbol": "BTC/USD"}, "success": true, "req_id": 7});
    assert_eq!(answers("subscribe"), ack);
    let is_data = |event: &Event| text(event).is_some_and(|json| json["channel"] == "ticker");
    let first = text(until(&feed, is_data).last().unwrap()).unwrap();
    assert_eq!((&first["type"], &first["data"][0]["symbol"]), (&json!("snapshot"), &json!("BTC/USD")));
    let _ = feed.send(request("subscribe", "DOGE/EUR", 8)).unwrap();
    assert_eq!(answers("subscribe")["error"], "Currency pair not supported DOGE/EUR");
    let _ = feed.send(request("subscribe", "BTC/USD", 9)).unwrap();
    assert_eq!(answers("subscribe")["error"], "Already subscribed");
    let _ = feed.send(r#"{"method":"ping","req_id":10}"#).unwrap();
    assert_eq!(answers("pong")["req_id"], 10);
    assert_eq!(venue.subscribed(1), ["ticker BTC/USD"]);
    let _ = feed.send(request("unsubscribe", "BTC/USD", 11)).unwrap();
    assert_eq!(answers("unsubscribe")["success"], true);
    assert_eq!(venue.on_wire(), [(1, Vec::new())].into());
    assert_eq!(venue.grants(1, "ticker BTC/USD"), 1);
    until(&feed, |event| text(event).is_some_and(|json| json["channel"] == "heartbeat"));
    assert_eq!(venue.received_json(1).len(), 6);
    // What the venue ends by itself stops, on the connections that have it.
    let _ = feed.send(request("subscribe", "BTC/USD", 12)).unwrap();
    answers("subscribe");
    venue.end("ticker BTC/USD");
    venue.say(json!({"method": "fence"}));
    answers("fence");
    assert!(venue.subscribed(1).is_empty());
    let after = until(&feed, |event| text(event).is_some_and(|json| json["channel"] == "heartbeat"));
    assert_eq!(messages(&after).len(), 1, "{after:?}");
    venue.close(1012, "restart");
    let end = until(&feed, |event| matches!(event, Event::Disconnected(_))).pop();
    assert!(
        matches!(&end, Some(Event::Disconnected(end)) if matches!(end.reason, EndReason::ClosedByPeer { code: Some(1012), .. })),
        "{end:?}"
    );
}

fn text(event: &Event) -> Option<Value> {
    match event {
        Event::Message(message) => message.text().and_then(|text| serde_json::from_str(text).ok()),
        _ => None,
    }
}
