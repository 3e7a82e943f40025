//! Alpaca, market data stream v2: a login in steps, and acknowledgements that list all that is subscribed, by kind.
//!
//! All of it is data; nothing needs a closure.
//!
//! <https://docs.alpaca.markets/docs/streaming-market-data>

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, json as json_of};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::lab::{Command, Script};
use serde_json::{Value, json};

const LISTS: [&str; 3] = ["trades", "quotes", "bars"];

/// A topic is `list.symbol`, such as `trades.AAPL`.
pub fn venue() -> Builder {
    Venue::builder()
        .script(Script::new().then(Command::Pings(ms(50))))
        .hello(|line, _| line.say(json!([{"T": "success", "msg": "connected"}])))
        .hear(hear)
        .data(data)
}

fn error(code: u64, message: &str) -> Value {
    json!([{"T": "error", "code": code, "msg": message}])
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let wanted: Vec<String> = LISTS
        .iter()
        .flat_map(|list| {
            let symbols = json[list].as_array().into_iter().flatten().filter_map(Value::as_str);
            symbols.map(move |symbol| format!("{list}.{symbol}"))
        })
        .collect();
    match json["action"].as_str() {
        Some("auth") if json["key"] == "YOUR-KEY" && json["secret"] == "YOUR-SECRET" => {
            line.keep("authenticated", true);
            line.say(json!([{"T": "success", "msg": "authenticated"}]));
        }
        Some("auth") => line.say(error(402, "auth failed")),
        _ if line.kept("authenticated").is_null() => line.say(error(401, "not authenticated")),
        Some("subscribe") => {
            let mut answered = false;
            for topic in wanted {
                match line.subscribe(&topic) {
                    Answer::Granted | Answer::Already => answered = true,
                    Answer::Refused(reason) => line.say(error(405, &reason)),
                    Answer::Ignored => {}
                }
            }
            if answered {
                line.say(listing(line));
            }
        }
        Some("unsubscribe") => {
            for topic in wanted {
                line.unsubscribe(&topic);
            }
            line.say(listing(line));
        }
        _ => line.say(error(400, "invalid syntax")),
    }
}

/// All that is subscribed.
fn listing(line: &Line<'_>) -> Value {
    let mut listing =
        json!({"T": "subscription", "updatedBars": [], "dailyBars": [], "statuses": [], "lulds": []});
    for list in LISTS {
        let topics = line.subscribed();
        let symbols: Vec<_> = topics
            .iter()
            .filter_map(|topic| topic.split_once('.').filter(|(of, _)| *of == list).map(|(_, symbol)| symbol))
            .collect();
        listing[list] = json!(symbols);
    }
    json!([listing])
}

fn item(list: &str, symbol: &str, seq: u64) -> Value {
    match list {
        "trades" => {
            json!({"T": "t", "S": symbol, "i": seq, "x": "D", "p": 190.5, "s": 100, "t": "2026-11-02T15:00:00.1Z", "c": ["@"], "z": "C"})
        }
        _ => json!({"T": "q", "S": symbol, "bx": "U", "bp": 190.4, "bs": 2, "ax": "Q", "ap": 190.6, "as": 1,
                    "t": "2026-11-02T15:00:00.1Z", "c": ["R"], "z": "C"}),
    }
}

fn data(tick: &Tick<'_>) -> Value {
    let (list, symbol) = tick.topic.split_once('.').unwrap();
    json!([item(list, symbol, tick.seq)])
}

const CASE: Case = Case {
    file: "alpaca",
    venue,
    topics: &[("trades", "trades.AAPL"), ("quotes", "quotes.AAPL")],
    of: |message| {
        let json = json_of(message);
        let list = if json["T"] == "t" { "trades" } else { "quotes" };
        json["S"].as_str().map(|symbol| format!("{list}.{symbol}")).into_iter().collect()
    },
    victim: "quotes",
    refusal: Some(Refusal {
        event: "refused",
        reason: "symbol limit exceeded",
        detail: "symbol limit exceeded",
    }),
    life: Life::Answers,
};

crate::conformance::tests!(CASE);
