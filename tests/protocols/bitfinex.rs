//! Bitfinex, WebSocket API v2: an acknowledgement gives each channel a number, and its data are arrays that begin
//! with it.
//!
//! All of it is data; nothing needs a closure.
//!
//! <https://docs.bitfinex.com/docs/ws-general>

use crate::conformance::{Case, Life, Refusal, json as json_of};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::lab::Outgoing;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// What can be odd about the venue.
#[derive(Debug, Default)]
pub struct Quirks {
    /// These have nothing to say but that they live: `[channel, "hb"]`.
    idle: Mutex<HashSet<String>>,
    /// The last number of each connection, with the flag SEQ_ALL.
    numbers: Mutex<HashMap<usize, u64>>,
    /// So many messages are lost on the way.
    lost: Mutex<u64>,
}

impl Quirks {
    fn number(&self, connection: usize) -> u64 {
        let mut numbers = self.numbers.lock().unwrap();
        let number = numbers.entry(connection).or_default();
        *number += 1 + std::mem::take(&mut *self.lost.lock().unwrap());
        *number
    }
}

/// A topic is `channel symbol`, such as `ticker tBTCUSD`.
pub fn venue() -> Builder {
    venue_with(Arc::default())
}

fn venue_with(quirks: Arc<Quirks>) -> Builder {
    Venue::builder()
        .hello(|line, _| {
            line.say(json!({"event": "info", "version": 2, "serverId": "8c3f", "platform": {"status": 1}}));
        })
        .hear(hear)
        .data(move |tick| data(tick, &quirks))
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let channel = json["channel"].as_str().unwrap_or_default();
    let symbol = json["symbol"].as_str().unwrap_or_default();
    let pair = symbol.trim_start_matches('t');
    let error = |code: u64, message: &str| json!({"event": "error", "msg": message, "code": code, "channel": channel, "symbol": symbol, "pair": pair});
    match json["event"].as_str() {
        Some("ping") => line.say(json!({"event": "pong", "ts": 1_700_000_000_000_u64, "cid": json["cid"]})),
        Some("conf") => line.say(json!({"event": "conf", "status": "OK", "flags": json["flags"]})),
        Some("subscribe") => {
            let (topic, number) = (format!("{channel} {symbol}"), line.number());
            match line.subscribe_as(&topic, number) {
                Answer::Granted => {
                    line.keep(&format!("channel {number}"), topic);
                    line.say(json!({
                        "event": "subscribed", "channel": channel, "chanId": number, "symbol": symbol, "pair": pair,
                    }));
                }
                Answer::Already => line.say(error(10301, "subscribe: dup")),
                Answer::Refused(reason) => line.say(error(10300, &reason)),
                Answer::Ignored => {}
            }
        }
        Some("unsubscribe") => {
            let number = &json["chanId"];
            let topic = line.kept(&format!("channel {number}"));
            if topic.as_str().is_some_and(|topic| line.unsubscribe(topic)) {
                line.say(json!({"event": "unsubscribed", "status": "OK", "chanId": number}));
            } else {
                line.say(
                    json!({"event": "error", "msg": "unsubscribe: invalid", "code": 10400, "chanId": number}),
                );
            }
        }
        _ => line.say(json!({"event": "error", "msg": "event: invalid", "code": 10000})),
    }
}

fn data(tick: &Tick<'_>, quirks: &Quirks) -> Outgoing {
    let number = quirks.number(tick.connection);
    let (channel, trade) = (tick.tag, json!([tick.seq, 1_700_000_000_000_u64, 0.25, 95_000.5]));
    let is_trades = tick.topic.starts_with("trades");
    if quirks.idle.lock().unwrap().contains(tick.topic) {
        json!([channel, "hb", number]).into()
    } else if !is_trades {
        json!([
            channel,
            [95_000.0, 1.5, 95_001.0, 2.5, -10.0, -0.01, 95_000.5, 1000.0, 96_000.0, 94_000.0],
            number
        ])
        .into()
    } else if tick.nth == 1 {
        json!([channel, [trade, trade], number]).into()
    } else {
        json!([channel, if tick.nth.is_multiple_of(2) { "te" } else { "tu" }, trade, number]).into()
    }
}

const CASE: Case = Case {
    file: "bitfinex",
    venue,
    topics: &[("trades", "trades tBTCUSD"), ("ticker", "ticker tETHUSD")],
    of: |message| {
        // A ticker has ten numbers; all else is trades.
        let is_ticker = json_of(message)[1].as_array().is_some_and(|numbers| numbers.len() == 10);
        vec![if is_ticker { "ticker tETHUSD" } else { "trades tBTCUSD" }.to_owned()]
    },
    victim: "ticker",
    refusal: Some(Refusal { event: "refused", reason: "symbol: invalid", detail: "symbol: invalid" }),
    life: Life::Server,
};

crate::conformance::tests!(CASE);
