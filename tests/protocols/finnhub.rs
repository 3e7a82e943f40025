//! Finnhub: the token stands in the URL, nothing is ever acknowledged, and one message has trades of several symbols.
//!
//! <https://finnhub.io/docs/api/websocket-trades>
//!
//! All of it is data; nothing needs a closure. An error names no symbol, and there is no order of answers to tell it by: it
//! is said by an alert. What a symbol lacks shows by its data, for which `stale_after` and `first_data_within` are.

use crate::common::*;
use crate::conformance::{self, Case, Life, Watch, json as json_of};
use crate::venue::{Builder, Line, Tick, Venue};
use livefeed::{AlertKind, CloseReason, EndReason, Event};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const APPLE: &str = "AAPL";
const BITCOIN: &str = "BINANCE:BTCUSDT";

/// A topic is a symbol.
fn venue() -> Builder {
    Venue::builder()
        .hello(|line, request| {
            if !request.path.ends_with("?token=YOUR-TOKEN") {
                line.close(1008, "Invalid API key");
            }
        })
        .hear(|line, _, json| hear(line, json))
        .data(|tick: &Tick<'_>| {
            let trade =
                |symbol: &str| json!({"s": symbol, "p": 7296.89, "v": 0.011467, "t": 1_575_526_691_134_u64});
            // Now and then with trades of the other, which is subscribed before.
            let both = tick.topic == BITCOIN && tick.nth.is_multiple_of(2);
            let trades = if both { vec![trade(tick.topic), trade(APPLE)] } else { vec![trade(tick.topic)] };
            json!({"type": "trade", "data": trades})
        })
        .heartbeat(ms(30), |_| json!({"type": "ping"}))
}

fn hear(line: &mut Line<'_>, json: &Value) {
    let symbol = json["symbol"].as_str().unwrap();
    match json["type"].as_str() {
        Some("subscribe") => drop(line.subscribe(symbol)),
        Some("unsubscribe") => {
            line.unsubscribe(symbol);
        }
        _ => panic!("{json}"),
    }
}

const CASE: Case = Case {
    file: "finnhub",
    venue,
    topics: &[("apple", APPLE), ("bitcoin", BITCOIN)],
    of: |message| {
        let trades = json_of(message)["data"].as_array().cloned().unwrap_or_default();
        let symbols = trades.iter().filter_map(|trade| trade["s"].as_str());
        symbols.map(str::to_owned).collect::<BTreeSet<_>>().into_iter().collect()
    },
    victim: "bitcoin",
    refusal: None,
    life: Life::Server,
};

crate::conformance::tests!(CASE);

#[test]
fn an_error_that_names_nothing_is_said_to_a_person() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.say(json!({"type": "error", "msg": "Subscribing to too many symbols"}));
    let event = watch.until(|_, event| matches!(event, Event::Alert(_)));
    let Event::Alert(alert) = event else { unreachable!() };
    assert_eq!(alert.kind, AlertKind::Notice { detail: "Subscribing to too many symbols".into() });
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "alert"]);
}

#[test]
fn a_wrong_token_is_in_no_event() {
    let venue = venue().start();
    let mut config = conformance::config(CASE.file, &venue);
    config.url = config.url.expose().replace("YOUR-TOKEN", "hunter2").into();
    config.reconnect.max_attempts = Some(1);
    let feed = conformance::open(config);
    let events = until(&feed, |event| matches!(event, Event::Closed(_)));
    let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
    assert!(
        matches!(
            &closed.reason,
            CloseReason::AttemptsExhausted { last: EndReason::ClosedByPeer { code: Some(1008), .. }, .. }
        ),
        "{closed:?}"
    );
    assert!(!format!("{events:?}").contains("hunter2"));
}
