//! Binance, spot, combined streams: an ack by the number of the message, an error for a whole message, with that number
//! or without, and data that names its stream. The server asks for life with WebSocket pings.
//!
//! <https://developers.binance.com/docs/binance-spot-api-docs/web-socket-streams>
//!
//! All of it is data. User data streams need a closure: their subscribe message is signed, or the URL has a key that comes
//! from another request.

use crate::common::*;
use crate::conformance::{self, Case, Life, Refusal, Watch, json as json_of};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{EndReason, Event, GapCause, StaleAfter, Subscription};
use serde_json::{Value, json};

/// How the venue says that a message is wrong.
#[derive(Clone, Copy)]
enum Errors {
    /// `{"error": {..}, "id": ..}`.
    Nested,
    /// `{"code": .., "msg": .., "id": ..}`.
    Flat,
    /// The same without `id`.
    Nameless,
}

/// A topic is the name of a stream.
fn venue() -> Builder {
    venue_with(Errors::Nested)
}

fn venue_with(errors: Errors) -> Builder {
    Venue::builder()
        .hello(|_, request| {
            assert_eq!(request.path, "/stream", "what is not a combined stream has other data")
        })
        .hear(move |line, _, json| hear(line, json, errors))
        .data(data)
}

fn hear(line: &mut Line<'_>, json: &Value, errors: Errors) {
    let id = &json["id"];
    let streams = || json["params"].as_array().into_iter().flatten().filter_map(Value::as_str);
    match json["method"].as_str() {
        Some("SUBSCRIBE") => {
            if let Some(reason) = streams().find_map(|stream| line.refusal(stream)) {
                // One wrong stream, and the whole message is refused.
                line.say(match errors {
                    Errors::Nested => json!({"error": {"code": 2, "msg": reason}, "id": id}),
                    Errors::Flat => json!({"code": 2, "msg": reason, "id": id}),
                    Errors::Nameless => json!({"code": 2, "msg": reason}),
                });
                return;
            }
            for stream in streams() {
                if line.subscribe(stream) == Answer::Ignored {
                    return;
                }
            }
            line.say(json!({"result": null, "id": id}));
        }
        Some("UNSUBSCRIBE") => {
            for stream in streams() {
                line.unsubscribe(stream);
            }
            line.say(json!({"result": null, "id": id}));
        }
        Some("LIST_SUBSCRIPTIONS") => line.say(json!({"result": line.subscribed(), "id": id})),
        _ => line.say(json!({"code": 0, "msg": "Unknown property: method"})),
    }
}

fn data(tick: &Tick<'_>) -> Value {
    let (symbol, kind) = tick.topic.split_once('@').unwrap();
    let (symbol, n) = (symbol.to_uppercase(), tick.seq);
    let data = if kind.starts_with("depth") {
        let (first, last) = (n * 3 - 2, n * 3);
        json!({"e": "depthUpdate", "E": 1_672_515_782_136_u64, "s": symbol, "U": first, "u": last, "b": [["0.0024", "10"]], "a": []})
    } else {
        json!({"e": "aggTrade", "E": 1_672_515_782_136_u64, "s": symbol, "a": n, "p": "0.001", "q": "100", "f": n, "l": n, "m": true})
    };
    json!({"stream": tick.topic, "data": data})
}

const BOOK: &str = "btcusdt@depth@100ms";

const CASE: Case = Case {
    file: "binance",
    venue,
    topics: &[("trades", "btcusdt@aggTrade"), ("book", BOOK)],
    of: |message| json_of(message)["stream"].as_str().map(str::to_owned).into_iter().collect(),
    victim: "book",
    refusal: Some(Refusal {
        event: "refused",
        reason: "Invalid request: unknown stream",
        detail: "Invalid request: unknown stream",
    }),
    life: Life::Pongs,
};

crate::conformance::tests!(CASE);

/// Then it is about the message that has waited longest, and the member that is wrong is found all the same.
#[test]
fn an_error_may_lack_the_number_of_the_message() {
    for venue in [|| venue_with(Errors::Flat), || venue_with(Errors::Nameless)] {
        conformance::recognises_a_refusal(&Case { venue, ..CASE });
    }
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
    assert_eq!((gap.cause, gap.lost), (GapCause::Sequence, None), "{gap:?}");
    assert_eq!(gap.subscriptions, ["book"]);
    assert_eq!((gap.from.unwrap() % 3, gap.to.unwrap()), (0, gap.from.unwrap() + 7), "{gap:?}");
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "gap"]);
}

#[test]
fn a_shutdown_that_is_announced_is_not_waited_for() {
    for notice in [
        json!({"stream": "!serverShutdown", "data": {"e": "serverShutdown", "E": 1_672_515_782_136_u64}}),
        json!({"e": "serverShutdown", "E": 1_672_515_782_136_u64}),
    ] {
        let venue = venue().start();
        let feed = conformance::open(conformance::config(CASE.file, &venue));
        let mut watch = Watch::new(&CASE, &feed);
        watch.all_flow();
        venue.say(notice);
        let event = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
        let Event::Disconnected(end) = event else { unreachable!() };
        assert!(matches!(end.reason, EndReason::ServerNotice { .. }), "{end:?}");
        watch.all_flow();
        assert_eq!(venue.grants(2, BOOK), 1);
    }
}

/// A hundred in each message, so that the five messages a second are enough for all of them.
#[test]
fn many_streams_share_a_message() {
    let venue = venue().every(ms(500)).start();
    let mut config = conformance::config(CASE.file, &venue);
    config.stale_after = StaleAfter::None;
    config.subscriptions = (0..250)
        .map(|n| Subscription::new(format!("{n}")).var("stream", format!("s{n}usdt@aggTrade")))
        .collect();
    let feed = conformance::open(config);
    let mut subscribed = 0;
    until(&feed, |event| {
        subscribed += usize::from(matches!(event, Event::Subscribed(_)));
        subscribed == 250
    });
    let sizes: Vec<_> =
        venue.received_json(1).iter().map(|json| json["params"].as_array().unwrap().len()).collect();
    assert_eq!(sizes, [100, 100, 50]);
    assert_eq!(venue.subscribed(1).len(), 250);
}
