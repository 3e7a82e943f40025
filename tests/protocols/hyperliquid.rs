//! Hyperliquid: what was subscribed comes back whole, with what the server filled in, and errors are texts.
//!
//! All of it is data; nothing needs a closure. An error does not say in data which subscription it is about: it is
//! taken to be the one that has waited longest.
//!
//! <https://hyperliquid.gitbook.io/hyperliquid-docs/for-developers/api/websocket>

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, config, json as json_of, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::Event;
use serde_json::{Value, json};

/// A topic is `type coin`, such as `l2Book BTC`.
pub fn venue() -> Builder {
    Venue::builder().hello(|line, _| line.say("Websocket connection established.")).hear(hear).data(data)
}

fn hear(line: &mut Line<'_>, text: &str, json: &Value) {
    let wanted = &json["subscription"];
    let topic = format!(
        "{} {}",
        wanted["type"].as_str().unwrap_or_default(),
        wanted["coin"].as_str().unwrap_or_default()
    );
    let error = |text: String| json!({"channel": "error", "data": text});
    let response = || {
        let mut filled = wanted.clone();
        if wanted["type"] == "l2Book" {
            filled["nSigFigs"] = wanted["nSigFigs"].clone();
            filled["mantissa"] = wanted["mantissa"].clone();
        }
        json!({"channel": "subscriptionResponse", "data": {"method": json["method"], "subscription": filled}})
    };
    match json["method"].as_str() {
        Some("ping") => {
            line.alive();
            line.say(json!({"channel": "pong"}));
        }
        Some("subscribe") => match line.subscribe(&topic) {
            Answer::Granted => line.say(response()),
            Answer::Already => line.say(error(format!("Already subscribed: {wanted}"))),
            Answer::Refused(reason) => line.say(error(reason)),
            Answer::Ignored => {}
        },
        Some("unsubscribe") => {
            if line.unsubscribe(&topic) {
                line.say(response());
            } else {
                line.say(error(format!("Already unsubscribed: {wanted}")));
            }
        }
        _ => line.say(error(format!("Error parsing JSON into valid websocket request: {text}"))),
    }
}

fn data(tick: &Tick<'_>) -> Value {
    let (kind, coin) = tick.topic.split_once(' ').unwrap();
    let data = match kind {
        "l2Book" => json!({
            "coin": coin, "time": 1_700_000_000_000_u64,
            "levels": [[{"px": "95000.0", "sz": "0.5", "n": 3}], [{"px": "95001.0", "sz": "1.5", "n": 2}]],
        }),
        _ => {
            json!([{"coin": coin, "side": "B", "px": "95000.0", "sz": "0.1", "hash": "0x0", "time": 1_700_000_000_000_u64,
                     "tid": tick.seq, "users": ["0x1", "0x2"]}])
        }
    };
    json!({"channel": kind, "data": data})
}

const CASE: Case = Case {
    file: "hyperliquid",
    venue,
    topics: &[("book", "l2Book BTC"), ("trades", "trades BTC")],
    of: |message| {
        let json = json_of(message);
        let data = &json["data"];
        let coin = data["coin"].as_str().or(data[0]["coin"].as_str());
        coin.map(|coin| format!("{} {coin}", json["channel"].as_str().unwrap())).into_iter().collect()
    },
    victim: "trades",
    refusal: Some(Refusal {
        event: "refused",
        reason: "Invalid subscription {\"type\":\"trades\",\"coin\":\"BTC\"}",
        detail: "Invalid subscription {\"type\":\"trades\",\"coin\":\"BTC\"}",
    }),
    life: Life::Client,
};

crate::conformance::tests!(CASE);

/// The answer was lost; the second message is told that there is one already, which is as good as an answer.
#[test]
fn already_subscribed_is_subscribed() {
    let venue = venue().start();
    venue.lose_answer("trades BTC");
    venue.mute("trades BTC"); // data would be an answer, too
    let mut config = config("hyperliquid", &venue);
    crate::conformance::no_limits(&mut config);
    config.defaults.ack_timeout = Some(ms(100));
    let feed = open(config);
    let is_confirmed =
        |event: &Event| matches!(event, Event::Subscribed(event) if event.subscription == "trades");
    let events = until(&feed, is_confirmed);
    assert!(!events.iter().any(|event| matches!(event, Event::Refused(_) | Event::Alert(_))), "{events:#?}");
    let asked = venue.received_json(1).iter().filter(|json| json["subscription"]["type"] == "trades").count();
    assert!(asked >= 2, "it was written again");
    assert_eq!(venue.grants(1, "trades BTC"), 1);
    venue.unmute("trades BTC");
    until(&feed, |event| matches!(event, Event::Message(m) if m.subscriptions() == ["trades"]));
    assert_eq!(venue.on_wire().keys().copied().collect::<Vec<_>>(), [1]);
    assert_eq!(feed.health().unmatched, 0);
}
