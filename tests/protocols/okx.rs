//! OKX v5: an ack for each argument that repeats it, an error for a whole message that may not say which, a text `ping`
//! for a text `pong`, and a book whose updates name the one before.
//!
//! <https://www.okx.com/docs-v5/en/#overview-websocket>
//!
//! All of it is data. An error is told by `id` where the server repeats it, else it is about the message that has waited
//! longest: the request that stands as JSON within the error's text is not looked into. Private channels need a closure for
//! the signature of the login. The `id` of a message has to be a string: `{"$text": "${id}"}` is one.

use crate::common::*;
use crate::conformance::{self, Case, Life, Refusal, Watch, json as json_of};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{EndReason, Event, GapCause};
use serde_json::{Value, json};
use std::time::Instant;

/// A topic is `channel instrument`.
fn venue() -> Builder {
    venue_with(true)
}

/// `named`: errors have the `id` of the message.
fn venue_with(named: bool) -> Builder {
    Venue::builder().hear(move |line, text, json| hear(line, text, json, named)).data(data)
}

fn hear(line: &mut Line<'_>, text: &str, json: &Value, named: bool) {
    if text == "ping" {
        line.alive();
        return line.say("pong");
    }
    let id = &json["id"];
    assert!(id.is_string(), "{text}");
    let topic =
        |arg: &Value| format!("{} {}", arg["channel"].as_str().unwrap(), arg["instId"].as_str().unwrap());
    let with_id = |mut message: Value, is_named: bool| {
        if is_named {
            message["id"] = id.clone();
        }
        message
    };
    let args = json["args"].as_array().unwrap();
    match json["op"].as_str() {
        Some("subscribe") => {
            if let Some(code) = args.iter().find_map(|arg| line.refusal(&topic(arg))) {
                let error = json!({"event": "error", "code": code, "msg": format!("Illegal request: {text}"), "connId": "a4d3ae55"});
                return line.say(with_id(error, named));
            }
            for arg in args {
                if line.subscribe(&topic(arg)) != Answer::Ignored {
                    let mut echo = arg.clone();
                    echo["instType"] = "SPOT".into();
                    line.say(with_id(json!({"event": "subscribe", "arg": echo, "connId": "a4d3ae55"}), true));
                }
            }
        }
        Some("unsubscribe") => {
            for arg in args {
                line.unsubscribe(&topic(arg));
                line.say(with_id(json!({"event": "unsubscribe", "arg": arg, "connId": "a4d3ae55"}), true));
            }
        }
        _ => line.say(json!({"event": "error", "code": "60012", "msg": format!("Illegal request: {text}")})),
    }
}

fn data(tick: &Tick<'_>) -> Value {
    let (channel, instrument) = tick.topic.split_once(' ').unwrap();
    let arg = json!({"channel": channel, "instId": instrument});
    if channel == "books" {
        let is_first = tick.nth == 1;
        let action = if is_first { "snapshot" } else { "update" };
        let previous = if is_first { json!(-1) } else { json!(tick.seq * 10 - 10) };
        let book = json!({"asks": [["8476.98", "415", "0", "13"]], "bids": [], "ts": "1597026383085", "checksum": 0, "prevSeqId": previous, "seqId": tick.seq * 10});
        json!({"arg": arg, "action": action, "data": [book]})
    } else {
        json!({"arg": arg, "data": [{"instId": instrument, "tradeId": tick.seq.to_string(), "px": "42219.9", "sz": "0.12", "side": "buy", "ts": "1630048897897"}]})
    }
}

const BOOK: &str = "books BTC-USDT";

const CASE: Case = Case {
    file: "okx",
    venue,
    topics: &[("trades", "trades BTC-USDT"), ("book", BOOK)],
    of: |message| {
        let arg = &json_of(message)["arg"];
        let channel = arg["channel"].as_str();
        channel.map(|channel| format!("{channel} {}", arg["instId"].as_str().unwrap())).into_iter().collect()
    },
    victim: "book",
    refusal: Some(Refusal { event: "refused", reason: "60012", detail: "Illegal request: {" }),
    life: Life::Client,
};

crate::conformance::tests!(CASE);

#[test]
fn an_error_may_say_which_message_it_is_about_only_in_its_text() {
    conformance::recognises_a_refusal(&Case { venue: || venue_with(false), ..CASE });
}

/// "Too fast" is no refusal for good: the subscriptions wait, and are asked for again.
#[test]
fn what_was_asked_for_too_fast_is_asked_for_later() {
    let venue = venue().start();
    venue.refuse(BOOK, "60014");
    let mut config = conformance::config(CASE.file, &venue);
    for rule in &mut config.rules {
        rule.retry_after = rule.retry_after.map(|_| ms(100));
    }
    let feed = conformance::open(config);
    let mut watch = Watch::new(&CASE, &feed);
    let event = watch.until(|_, event| matches!(event, Event::Refused(_)));
    let Event::Refused(refused) = event else { unreachable!() };
    assert!(refused.retry_in.is_some(), "{refused:?}");
    venue.allow(BOOK);
    watch.all_flow();
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "refused"]);
}

#[test]
fn a_notice_of_an_upgrade_moves_the_feed_to_a_new_connection_in_time() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.say(json!({"event": "notice", "code": "64008", "msg": "The connection will soon be closed for a service upgrade. Please reconnect.", "connId": "a4d3ae55"}));
    let event = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
    let Event::Disconnected(end) = event else { unreachable!() };
    assert!(
        matches!(&end.reason, EndReason::ServerNotice { detail } if detail.contains("service upgrade")),
        "{end:?}"
    );
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "disconnected", "gap"]);
    venue.wait_subscribed(2, &["trades BTC-USDT", BOOK]);
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
    assert_eq!((gap.cause, &gap.subscriptions[..]), (GapCause::Sequence, &["book".into()][..]), "{gap:?}");
    assert_eq!(gap.to.unwrap() - gap.from.unwrap(), 60, "{gap:?}");
    watch.until(|_, event| matches!(event, Event::Gap(gap) if gap.cause == GapCause::Resubscribed));
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "gap"]);
    assert_eq!((venue.grants(1, BOOK), venue.grants(1, "trades BTC-USDT")), (2, 1));
}

/// Where nothing happens, the same number again says that the subscription lives. Once that stops, it is stale.
#[test]
fn the_same_number_again_keeps_the_book_alive_and_is_no_data() {
    let venue = venue().start();
    let config = conformance::config(CASE.file, &venue);
    let feed = conformance::open(config);
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.mute(BOOK);
    // When this has come, no update of the book is under way.
    venue.say(
        json!({"event": "channel-conn-count", "channel": "books", "connCount": "1", "connId": "a4d3ae55"}),
    );
    watch.read_for(ms(50), || true);
    let last = venue.lab.published(BOOK) * 10;
    let (_, begin) = (watch.counts["book"], Instant::now());
    let repeat = json!({"arg": {"channel": "books", "instId": "BTC-USDT"}, "action": "update",
        "data": [{"asks": [], "bids": [], "ts": "1597026383085", "checksum": 0, "prevSeqId": last, "seqId": last}]});
    while begin.elapsed() < ms(1000) {
        venue.say(repeat.clone());
        watch.read_for(ms(50), || true);
    }
    watch.saw_only(&["connecting", "connected", "subscribed"]);
    let stale = watch.until(|_, event| matches!(event, Event::Stale(_)));
    assert!(matches!(&stale, Event::Stale(stale) if stale.subscription == Some("book".into())), "{stale:?}");
}
