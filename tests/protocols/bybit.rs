//! Bybit v5: a message has a `req_id` that some markets do not repeat, three shapes of an answer to a ping, and topics of
//! which one begins as another does.
//!
//! <https://bybit-exchange.github.io/docs/v5/ws/connect>
//!
//! All of it is data. Private channels need a closure for the signature of the login. `req_id` has to be a string:
//! `{"$text": "${id}"}` is one.

use crate::conformance::{self, Case, Life, Refusal, Watch, json as json_of};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{Event, GapCause, Matcher, Subscription};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// How the venue answers.
#[derive(Clone, Copy)]
enum Answers {
    /// With the `req_id`.
    Named,
    /// With an empty one, as the linear and inverse markets may.
    Nameless,
    /// With the request, and without `op`.
    Request,
}

/// A topic is one of the protocol's.
fn venue() -> Builder {
    venue_with(Answers::Named)
}

fn venue_with(answers: Answers) -> Builder {
    venue_that(answers, &Arc::default())
}

/// `restarts`: the next update of a book is the first one of a server that was started anew.
fn venue_that(answers: Answers, restarts: &Arc<AtomicBool>) -> Builder {
    let (restarts, base) = (Arc::clone(restarts), AtomicU64::new(0));
    Venue::builder().hear(move |line, _, json| hear(line, json, answers)).data(move |tick| {
        if tick.topic.starts_with("orderbook") && restarts.swap(false, Ordering::SeqCst) {
            base.store(tick.seq - 1, Ordering::SeqCst);
        }
        data(tick, tick.seq - base.load(Ordering::SeqCst))
    })
}

fn hear(line: &mut Line<'_>, json: &Value, answers: Answers) {
    let args = || json["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let req_id = match answers {
        Answers::Named => json["req_id"].clone(),
        Answers::Nameless | Answers::Request => json!(""),
    };
    match json["op"].as_str() {
        Some("ping") => {
            line.alive();
            line.say(match line.number() % 3 {
                0 => json!({"success": true, "ret_msg": "pong", "conn_id": "0970e817", "req_id": "", "op": "ping"}),
                1 => json!({"req_id": "", "op": "pong", "args": ["1675418560633"], "conn_id": "0970e817"}),
                _ => json!({"pong": 1_675_418_560_633_u64}),
            });
        }
        Some("subscribe") => {
            assert!(json["req_id"].is_string() && args().count() <= 10, "{json}");
            if let Some(reason) = args().find_map(|arg| line.refusal(arg)) {
                line.say(match answers {
                    Answers::Request => json!({"success": false, "ret_msg": reason, "conn_id": "0970e817", "request": json}),
                    _ => json!({"success": false, "ret_msg": reason, "conn_id": "0970e817", "req_id": req_id, "op": "subscribe"}),
                });
                return;
            }
            for arg in args() {
                if line.subscribe(arg) == Answer::Ignored {
                    return;
                }
            }
            line.say(json!({"success": true, "ret_msg": "subscribe", "conn_id": "0970e817", "req_id": req_id, "op": "subscribe"}));
        }
        Some("unsubscribe") => {
            for arg in args() {
                line.unsubscribe(arg);
            }
            line.say(json!({"success": true, "ret_msg": "", "conn_id": "0970e817", "req_id": req_id, "op": "unsubscribe"}));
        }
        _ => line.say(
            json!({"success": false, "ret_msg": "error:unknown op", "conn_id": "0970e817", "request": json}),
        ),
    }
}

fn data(tick: &Tick<'_>, u: u64) -> Value {
    if tick.topic.starts_with("orderbook") {
        let kind = if tick.nth == 1 || u == 1 { "snapshot" } else { "delta" };
        json!({"topic": tick.topic, "ts": 1_672_304_484_978_u64, "type": kind, "cts": 1_672_304_484_976_u64,
            "data": {"s": "BTCUSDT", "b": [["16493.50", "0.006"]], "a": [], "u": u, "seq": tick.seq * 7}})
    } else {
        json!({"topic": tick.topic, "ts": 1_672_304_486_868_u64, "type": "snapshot",
            "data": [{"T": 1_672_304_486_865_u64, "s": "BTCUSDT", "S": "Buy", "v": "0.001", "p": "16578.50", "i": tick.seq.to_string(), "BT": false}]})
    }
}

const BOOK: &str = "orderbook.50.BTCUSDT";

const CASE: Case = Case {
    file: "bybit-v5",
    venue,
    topics: &[("trades", "publicTrade.BTCUSDT"), ("book", BOOK)],
    of: |message| json_of(message)["topic"].as_str().map(str::to_owned).into_iter().collect(),
    victim: "book",
    refusal: Some(Refusal {
        event: "refused",
        reason: "error:handler not found,topic:orderbook.50.BTCUSDT",
        detail: "handler not found",
    }),
    life: Life::Client,
};

crate::conformance::tests!(CASE);

#[test]
fn an_answer_may_lack_the_number_of_the_message() {
    for venue in [|| venue_with(Answers::Nameless), || venue_with(Answers::Request)] {
        let case = Case { venue, ..CASE };
        conformance::subscribes(&case);
        conformance::recognises_a_refusal(&case);
    }
}

/// `order` is no part of `orderbook`, whichever was there first.
#[test]
fn a_topic_that_begins_as_another_does_is_another() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let case =
        Case { topics: &[("trades", "publicTrade.BTCUSDT"), ("book", BOOK), ("orders", "order")], ..CASE };
    let mut watch = Watch::new(&case, &feed);
    feed.subscribe(Subscription::new("orders").var("stream", "order")).unwrap();
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed"]);
    // Nor where one is asked for by its beginning: the other is more exact.
    feed.unsubscribe("orders").unwrap();
    let by_prefix = Matcher::starts_with("/topic", "order");
    feed.subscribe(Subscription::new("orders").var("stream", "order").data(by_prefix)).unwrap();
    watch.all_flow();
}

#[test]
fn an_update_that_does_not_follow_is_a_gap_and_the_book_is_made_again() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.skip(BOOK, 5);
    let event = watch.until(|_, event| matches!(event, Event::Gap(_)));
    let Event::Gap(gap) = event else { unreachable!() };
    assert_eq!((gap.cause, gap.lost), (GapCause::Sequence, Some(5)), "{gap:?}");
    assert_eq!(gap.subscriptions, ["book"]);
    watch.until(|_, event| matches!(event, Event::Gap(gap) if gap.cause == GapCause::Resubscribed));
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "gap"]);
    assert_eq!(venue.grants(1, BOOK), 2);
}

/// The server was started anew: it counts from 1, and that is a snapshot.
#[test]
fn the_number_one_is_a_new_beginning_and_no_gap() {
    let restarts = Arc::default();
    let venue = venue_that(Answers::Named, &restarts).start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    restarts.store(true, Ordering::SeqCst);
    watch.until(|_, event| matches!(event, Event::Message(message) if json_of(message)["data"]["u"] == 1));
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed"]);
    assert_eq!(venue.grants(1, BOOK), 1);
}
