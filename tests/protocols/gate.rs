//! Gate, spot WebSocket v4: one subscribe message for many pairs, of which one unknown pair spoils all.
//!
//! All of it is data; nothing needs a closure. (Private channels would need one: each subscribe message is signed.)
//!
//! <https://www.gate.io/docs/developers/apiv4/ws/en/>

use crate::conformance::{Case, Life, Refusal, json as json_of};
use crate::venue::{Builder, Line, Tick, Venue};
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
