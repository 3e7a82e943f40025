//! Gate, spot WebSocket v4: one subscribe message for many pairs, of which one unknown pair spoils all.
//!
//! All of it is data; nothing needs a closure. (Private channels would need one: each subscribe message is signed.)
//!
//! <https://www.gate.io/docs/developers/apiv4/ws/en/>

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, config, json as json_of, open};
use crate::venue::{Builder, Line, Tick, Venue};
use livefeed::{Event, Subscription};
use serde_json::{Value, json};

/// A topic is `channel pair`, such as `spot.trades BTC_USDT`.
pub fn venue() -> Builder {
    Venue::builder().hear(hear).data(data)
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let channel = json["channel"].as_str().unwrap_or_default();
    let payload: Vec<&str> =
        json["payload"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let pairs = if channel == "spot.order_book_update" { &payload[..1] } else { &payload[..] };
    let answer = |result: Value, error: Value| {
        let mut answer = json!({
            "time": 1_700_000_000, "time_ms": 1_700_000_000_000_u64, "id": json["id"], "conn_id": "5e74253e9c793974",
            "channel": channel, "event": json["event"], "payload": payload, "result": result,
        });
        if !error.is_null() {
            answer["error"] = error;
        }
        answer
    };
    let success = || answer(json!({"status": "success"}), Value::Null);
    match json["event"].as_str() {
        _ if channel == "spot.ping" => {
            line.alive();
            line.say(json!({"time": 1_700_000_000, "channel": "spot.pong", "event": "", "result": null}));
        }
        Some("subscribe") => {
            let topics: Vec<_> = pairs.iter().map(|pair| format!("{channel} {pair}")).collect();
            if let Some(reason) = topics.iter().find_map(|topic| line.refusal(topic)) {
                line.say(answer(json!({"status": "fail"}), json!({"code": 2, "message": reason})));
                return;
            }
            let answers: Vec<_> = topics.iter().map(|topic| line.subscribe(topic)).collect();
            if answers.iter().any(|answer| *answer != crate::venue::Answer::Ignored) {
                line.say(success());
            }
        }
        Some("unsubscribe") => {
            for pair in pairs {
                line.unsubscribe(&format!("{channel} {pair}"));
            }
            line.say(success());
        }
        _ => line.say(answer(Value::Null, json!({"code": 1, "message": "unknown event"}))),
    }
}

fn data(tick: &Tick<'_>) -> Value {
    let (channel, pair) = tick.topic.split_once(' ').unwrap();
    let result = if channel == "spot.order_book_update" {
        json!({"t": 1_700_000_000_000_u64, "e": "depthUpdate", "s": pair, "U": 3 * tick.seq - 2, "u": 3 * tick.seq,
               "b": [["95000.1", "0.5"]], "a": []})
    } else {
        json!({"id": tick.seq, "create_time": 1_700_000_000, "side": "sell", "currency_pair": pair,
               "amount": "16.47", "price": "0.4705"})
    };
    json!({"time": 1_700_000_000, "time_ms": 1_700_000_000_000_u64, "channel": channel, "event": "update", "result": result})
}

const CASE: Case = Case {
    file: "gate",
    venue,
    topics: &[
        ("btc", "spot.trades BTC_USDT"),
        ("eth", "spot.trades ETH_USDT"),
        ("btc-book", "spot.order_book_update BTC_USDT"),
    ],
    of: |message| {
        let json = json_of(message);
        let result = &json["result"];
        let pair = result["currency_pair"].as_str().or(result["s"].as_str());
        pair.map(|pair| format!("{} {pair}", json["channel"].as_str().unwrap())).into_iter().collect()
    },
    victim: "eth",
    refusal: Some(Refusal {
        event: "refused",
        reason: "unknown currency pair: ETH_USDT",
        detail: "unknown currency pair: ETH_USDT",
    }),
    life: Life::Client,
};

crate::conformance::tests!(CASE);

/// One unknown pair among eight: the server names it in words only, so it is looked for by halves.
#[test]
fn one_pair_that_spoils_a_message_is_found_and_refused_alone() {
    let venue = venue().start();
    venue.refuse("spot.trades P6_USDT", "unknown currency pair: P6_USDT");
    let mut config = config("gate", &venue);
    config.subscriptions =
        (0..8).map(|n| Subscription::new(format!("p{n}")).var("pair", format!("P{n}_USDT"))).collect();
    let feed = open(config);
    let mut granted = 0;
    let mut refused = Vec::new();
    until(&feed, |event| {
        match event {
            Event::Subscribed(_) => granted += 1,
            Event::Refused(event) => refused.push((event.subscription.to_string(), event.detail.clone())),
            _ => {}
        }
        granted == 7 && refused.len() == 1
    });
    assert_eq!(refused, [("p6".to_owned(), "unknown currency pair: P6_USDT".to_owned())]);
    let good: Vec<_> = (0..8).filter(|n| *n != 6).map(|n| format!("spot.trades P{n}_USDT")).collect();
    for topic in &good {
        assert_eq!(venue.grants(1, topic), 1, "{topic}");
    }
    let good: Vec<&str> = good.iter().map(String::as_str).collect();
    venue.wait_subscribed(1, &good);
    let asked: Vec<_> =
        venue.received_json(1).iter().map(|json| json["payload"].as_array().unwrap().len()).collect();
    assert_eq!(asked, [8, 4, 4, 2, 2, 1, 1], "by halves");
    let ids: std::collections::BTreeSet<_> =
        venue.received_json(1).iter().map(|json| json["id"].as_u64()).collect();
    assert_eq!(ids.len(), asked.len(), "each message has its own number");
}

/// An order book update covers a range of numbers.
#[test]
fn updates_that_are_lost_are_a_gap() {
    let venue = venue().start();
    let feed = open(config("gate", &venue));
    let is_book = |event: &Event| matches!(event, Event::Message(m) if m.subscriptions() == ["btc-book"]);
    until(&feed, is_book);
    venue.skip("spot.order_book_update BTC_USDT", 2);
    let events = until(&feed, |event| matches!(event, Event::Gap(_)));
    let Some(Event::Gap(gap)) = events.last() else { unreachable!() };
    assert!(gap.subscriptions == ["btc-book"], "{gap:?}");
    assert_eq!(gap.to.unwrap() - gap.from.unwrap(), 7, "two messages of three numbers: {gap:?}");
}
