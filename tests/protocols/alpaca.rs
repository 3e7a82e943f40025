//! Alpaca, market data stream v2: a login in steps, and acknowledgements that list all that is subscribed, by kind.
//!
//! All of it is data; nothing needs a closure.
//!
//! <https://docs.alpaca.markets/docs/streaming-market-data>

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, Watch, config, json as json_of, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::lab::{Command, Script};
use livefeed::{AlertKind, CloseReason, EndReason, ErrorClass, Event, Subscription, SubscriptionId};
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
        Some("auth") if json["key"] == "TAKEN" && line.connection < 3 => {
            line.say(error(406, "connection limit exceeded"));
        }
        Some("auth")
            if json["key"] == "TAKEN" || json["key"] == "YOUR-KEY" && json["secret"] == "YOUR-SECRET" =>
        {
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
        "bars" => json!({"T": "b", "S": symbol, "o": 190.4, "h": 190.6, "l": 190.3, "c": 190.5, "v": seq,
                         "t": "2026-11-02T15:00:00Z"}),
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

/// A feed whose login is this one.
fn log_in_with(venue: &Venue, key: &str) -> livefeed::Feed {
    let mut config = config("alpaca", venue);
    config.login[1].send =
        Some(livefeed::Template::json(json!({"action": "auth", "key": key, "secret": "YOUR-SECRET"})));
    open(config)
}

#[test]
fn a_wrong_key_closes_the_feed() {
    let venue = venue().start();
    let feed = log_in_with(&venue, "WRONG");
    let events = until(&feed, |event| matches!(event, Event::Closed(_)));
    let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
    let reason = EndReason::LoginRefused { detail: "auth failed".to_owned(), class: ErrorClass::FeedFatal };
    assert_eq!(closed.reason, CloseReason::Fatal(reason));
    assert_eq!(venue.received_json(1).len(), 1, "nothing goes out before the login is through");
}

/// There may be one connection only. The server holds on to one that broke for a while: it is tried again.
#[test]
fn one_connection_too_many_is_tried_again() {
    let venue = venue().start();
    let feed = log_in_with(&venue, "TAKEN");
    let events = until(&feed, |event| matches!(event, Event::Subscribed(_)));
    let ends: Vec<_> = events
        .iter()
        .filter_map(|event| if let Event::Disconnected(end) = event { Some(&end.reason) } else { None })
        .collect();
    let detail = "connection limit exceeded".to_owned();
    let refused = &EndReason::LoginRefused { detail, class: ErrorClass::ConnectionFatal };
    assert_eq!(ends, [refused, refused]);
}

/// The same on a connection that is up.
#[test]
fn an_error_of_the_connection_ends_it_and_one_of_speed_is_told() {
    let venue = venue().start();
    let feed = open(config("alpaca", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.say(error(407, "slow client"));
    let alert = watch.until(|_, event| matches!(event, Event::Alert(_)));
    let Event::Alert(alert) = alert else { unreachable!() };
    assert_eq!(alert.kind, AlertKind::Notice { detail: "slow client".to_owned() });
    venue.say(error(406, "connection limit exceeded"));
    let end = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
    let Event::Disconnected(end) = end else { unreachable!() };
    assert_eq!(end.reason, EndReason::ServerError { detail: "connection limit exceeded".to_owned() });
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.all_flow();
}

/// Each answer lists all: what is missing from it is in force no more, and asked for again.
#[test]
fn what_the_list_leaves_out_has_ended() {
    let venue = venue().start();
    let mut config = config("alpaca", &venue);
    crate::conformance::no_limits(&mut config);
    let feed = open(config);
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    watch.until(|watch, _| watch.subscribed.len() == 2);
    venue.end("quotes.AAPL"); // without a word
    let bars = Subscription::new("bars").var("list", "bars").var("tag", "b").var("symbol", "AAPL");
    feed.subscribe(bars.no_stale_limit()).unwrap();
    let events = until(&feed, |event| matches!(event, Event::Ended(_)));
    let Some(Event::Ended(ended)) = events.last() else { unreachable!() };
    assert_eq!((&ended.subscription, ended.class), (&SubscriptionId::from("quotes"), ErrorClass::RetryLater));
    until(&feed, |event| matches!(event, Event::Gap(gap) if gap.subscriptions == ["quotes"]));
    until(&feed, |event| matches!(event, Event::Message(m) if m.subscriptions() == ["quotes"]));
    venue.wait_subscribed(1, &["bars.AAPL", "quotes.AAPL", "trades.AAPL"]);
}
