//! KuCoin: nothing may be sent before the server's welcome, which may say how often it wants pings; acks and errors have
//! the number of the message; a topic may name several symbols, whose data names one each.
//!
//! <https://www.kucoin.com/docs-new/websocket-api/base-info/introduction>
//!
//! What needs a closure is the endpoint: URL and token of each connection come from a request over HTTP, which also says the
//! interval of pings where the welcome does not.

use crate::common::*;
use crate::conformance::{self, Case, KEEPALIVE, Life, Refusal, Watch, json as json_of};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{EndReason, Event, GapCause};
use serde_json::{Value, json};

/// A topic is `channel:symbol`. The welcome says how often a ping is wanted.
fn venue() -> Builder {
    silent().hello(|line, request| {
        assert_eq!(request.path, "/?token=YOUR-TOKEN");
        let interval = KEEPALIVE.as_millis();
        line.say(
            json!({"sessionId": "a3f1", "data": "welcome", "pingInterval": interval, "pingTimeout": 10_000}),
        );
    })
}

/// A venue of the older kind, which says the interval where it gives the token.
fn classic() -> Builder {
    silent().hello(|line, _| line.say(json!({"id": "hQvf8jkno", "type": "welcome"})))
}

/// A venue that says no welcome.
fn silent() -> Builder {
    Venue::builder().hear(|line, _, json| hear(line, json)).data(data)
}

fn hear(line: &mut Line<'_>, json: &Value) {
    // Numbers come back as strings.
    let id = json["id"].to_string();
    let topics = || -> Vec<String> {
        let (channel, symbols) = json["topic"].as_str().unwrap().split_once(':').unwrap();
        symbols.split(',').map(|symbol| format!("{channel}:{symbol}")).collect()
    };
    match json["type"].as_str() {
        Some("ping") => {
            line.alive();
            line.say(json!({"id": id, "type": "pong", "timestamp": 1_764_000_000_000_u64}));
        }
        Some("subscribe") => {
            if let Some(reason) = topics().iter().find_map(|topic| line.refusal(topic)) {
                return line.say(json!({"id": id, "type": "error", "code": 404, "data": reason}));
            }
            for topic in topics() {
                if line.subscribe(&topic) == Answer::Ignored {
                    return;
                }
            }
            if json["response"] == true {
                line.say(json!({"id": id, "type": "ack"}));
            }
        }
        Some("unsubscribe") => {
            for topic in topics() {
                line.unsubscribe(&topic);
            }
            if json["response"] == true {
                line.say(json!({"id": id, "type": "ack"}));
            }
        }
        _ => line.say(json!({"id": id, "type": "error", "code": 415, "data": "type is not supported"})),
    }
}

fn data(tick: &Tick<'_>) -> Value {
    let n = tick.seq;
    if tick.topic.starts_with("/market/level2") {
        let data = json!({"changes": {"asks": [["18906", "0.00331", n.to_string()]], "bids": []}, "sequenceStart": n * 3 - 2, "sequenceEnd": n * 3, "symbol": "BTC-USDT", "time": 1_663_747_970_273_u64});
        json!({"type": "message", "topic": tick.topic, "subject": "trade.l2update", "data": data})
    } else {
        let data = json!({"bestAsk": "67218.7", "bestBid": "67218.6", "price": "67220", "sequence": n.to_string(), "size": "0.00022"});
        json!({"type": "message", "topic": tick.topic, "subject": "trade.ticker", "data": data})
    }
}

const BOOK: &str = "/market/level2:BTC-USDT";

const CASE: Case = Case {
    file: "kucoin",
    venue,
    topics: &[
        ("ticker", "/market/ticker:BTC-USDT"),
        ("eth-ticker", "/market/ticker:ETH-USDT"),
        ("book", BOOK),
    ],
    of: |message| json_of(message)["topic"].as_str().map(str::to_owned).into_iter().collect(),
    victim: "book",
    refusal: Some(Refusal {
        event: "refused",
        reason: "topic /market/level2:BTC-USDT is not found",
        detail: "topic /market/level2:BTC-USDT is not found",
    }),
    life: Life::Client,
};

crate::conformance::tests!(CASE);

/// One of the two tickers of a message.
#[test]
fn one_of_a_batch_may_be_refused() {
    conformance::recognises_a_refusal(&Case { victim: "eth-ticker", ..CASE });
}

#[test]
fn nothing_is_sent_before_the_welcome() {
    let venue = silent().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    in_lab(&venue.lab, |what| matches!(what, livefeed::lab::What::Upgraded { .. }));
    pause(ms(200));
    assert_eq!(venue.received(1), Vec::<String>::new());
    assert_eq!(feed.health().epoch, 0, "not connected");
    venue.say(json!({"id": "hQvf8jkno", "type": "welcome"}));
    Watch::new(&CASE, &feed).all_flow();
    venue.wait_subscribed(1, &["/market/ticker:BTC-USDT", "/market/ticker:ETH-USDT", BOOK]);
    let topics: Vec<_> = venue.received_json(1).into_iter().map(|json| json["topic"].clone()).collect();
    assert_eq!(topics[..2], ["/market/ticker:BTC-USDT,ETH-USDT", BOOK]);
}

#[test]
fn the_welcome_need_not_say_how_often_pings_are_wanted() {
    conformance::subscribes(&Case { venue: classic, ..CASE });
    conformance::recognises_a_refusal(&Case { venue: classic, ..CASE });
}

#[test]
fn a_token_that_has_expired_is_the_end_of_the_connection() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.say(json!({"id": "1", "type": "error", "code": 401, "data": "token is expired"}));
    let event = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
    let Event::Disconnected(end) = event else { unreachable!() };
    assert!(
        matches!(&end.reason, EndReason::ServerError { detail } if detail == "token is expired"),
        "{end:?}"
    );
    watch.all_flow();
}

#[test]
fn a_hole_between_two_updates_of_the_book_is_a_gap() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.skip(BOOK, 2);
    let event = watch.until(|_, event| matches!(event, Event::Gap(_)));
    let Event::Gap(gap) = event else { unreachable!() };
    assert_eq!((gap.cause, gap.to.unwrap() - gap.from.unwrap()), (GapCause::Sequence, 7), "{gap:?}");
    assert_eq!(gap.subscriptions, ["book"]);
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "gap"]);
}
