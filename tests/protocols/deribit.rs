//! Deribit, JSON-RPC over WebSocket v2: an answer lists what was granted, and heartbeats are asked for and tested.
//!
//! All of it is data; nothing needs a closure. A login for private channels is data too: it lasts for `expires_in`
//! seconds, and is renewed with the `refresh_token` that came with it.
//!
//! <https://docs.deribit.com/>

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, Watch, config, json as json_of, open};
use crate::venue::{Answer, Builder, CUT_OFF, Line, Tick, Venue};
use livefeed::lab::{Command, Topic};
use livefeed::{EndReason, Event, GapCause, RuleKind};
use serde_json::{Value, json};

/// A topic is a channel, such as `ticker.BTC-PERPETUAL.100ms`.
pub fn venue() -> Builder {
    Venue::builder().hear(hear).data(data)
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let id = &json["id"];
    let result = |result: Value| {
        json!({"jsonrpc": "2.0", "id": id, "result": result, "usIn": 1_700_000_000_000_000_u64, "usOut": 1_700_000_000_000_100_u64,
               "usDiff": 100, "testnet": false})
    };
    let error = |code: i64, message: &str, data: Value| json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, "data": data}});
    let channels: Vec<String> =
        serde_json::from_value(json["params"]["channels"].clone()).unwrap_or_default();
    match json["method"].as_str() {
        Some("public/set_heartbeat") => {
            if json["params"]["interval"].as_u64().is_some_and(|seconds| seconds >= 10) {
                line.then(Command::Topics(vec![heartbeats()]));
                line.say(result(json!("ok")));
            } else {
                line.say(error(
                    -32602,
                    "Invalid params",
                    json!({"reason": "must be at least 10", "param": "interval"}),
                ));
            }
        }
        Some("public/test") => {
            line.alive();
            line.say(result(json!({"version": "1.2.26"})));
        }
        Some("public/subscribe") => {
            let mut granted = Vec::new();
            let mut answered = channels.is_empty();
            for channel in channels {
                let answer = line.subscribe(&channel);
                answered |= answer != Answer::Ignored;
                if matches!(answer, Answer::Granted | Answer::Already) {
                    granted.push(channel);
                }
            }
            if answered {
                line.say(result(json!(granted)));
            }
        }
        Some("public/unsubscribe") => {
            let ended: Vec<_> = channels.into_iter().filter(|channel| line.unsubscribe(channel)).collect();
            line.say(result(json!(ended)));
        }
        Some("public/auth") => {
            let params = &json["params"];
            let given = line.kept("tokens").as_u64().unwrap_or_default();
            let fits = match params["grant_type"].as_str() {
                Some("client_credentials") => params["client_secret"] == "YOUR-SECRET",
                Some("refresh_token") => params["refresh_token"] == format!("refresh-{given}"),
                _ => false,
            };
            if !fits {
                return line.say(error(13004, "invalid_credentials", Value::Null));
            }
            let nth = given + 1;
            line.keep("tokens", nth);
            line.say(result(json!({
                "access_token": format!("access-{nth}"), "refresh_token": format!("refresh-{nth}"),
                "expires_in": if nth < 3 { 61 } else { 900 }, "scope": "session:a", "token_type": "bearer",
            })));
        }
        _ => line.say(error(-32601, "Method not found", Value::Null)),
    }
}

/// Every other one is a test request. They come once they were asked for; the seconds of the interval are shorter here.
fn heartbeats() -> Topic {
    Topic::new("heartbeats").every(ms(20)).message(|seq, _| {
        let kind = if seq.is_multiple_of(2) { "test_request" } else { "heartbeat" };
        json!({"jsonrpc": "2.0", "method": "heartbeat", "params": {"type": kind}})
    })
}

fn data(tick: &Tick<'_>) -> Value {
    let change = |seq: u64| 10 * seq;
    let data = if tick.topic.starts_with("book.") {
        let mut book = json!({
            "type": "change", "timestamp": 1_700_000_000_000_u64, "instrument_name": "BTC-PERPETUAL",
            "change_id": change(tick.seq), "prev_change_id": change(tick.seq - 1),
            "bids": [["change", 95_000.0, 10.0]], "asks": [],
        });
        if tick.nth == 1 {
            book["type"] = json!("snapshot");
            book.as_object_mut().unwrap().remove("prev_change_id");
        }
        book
    } else {
        json!({"timestamp": 1_700_000_000_000_u64, "instrument_name": "BTC-PERPETUAL", "state": "open", "last_price": 95_000.5})
    };
    json!({"jsonrpc": "2.0", "method": "subscription", "params": {"channel": tick.topic, "data": data}})
}

const CASE: Case = Case {
    file: "deribit",
    venue,
    topics: &[("ticker", "ticker.BTC-PERPETUAL.100ms"), ("book", "book.BTC-PERPETUAL.100ms")],
    of: |message| json_of(message)["params"]["channel"].as_str().map(str::to_owned).into_iter().collect(),
    victim: "book",
    refusal: Some(Refusal {
        event: "refused",
        reason: "not among what was granted",
        detail: "not among what was granted",
    }),
    life: Life::Answers,
};

crate::conformance::tests!(CASE);

#[test]
fn a_book_that_does_not_join_up_is_made_again() {
    let venue = venue().start();
    let feed = open(config("deribit", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.skip(CASE.topic("book"), 5);
    let first = watch.until(|_, event| matches!(event, Event::Gap(_)));
    let again = watch.until(|_, event| matches!(event, Event::Gap(_)));
    let (Event::Gap(first), Event::Gap(again)) = (first, again) else { unreachable!() };
    assert_eq!((first.cause, &first.subscriptions[..]), (GapCause::Sequence, &["book".into()][..]));
    assert_eq!(first.to.unwrap() - first.from.unwrap(), 60, "{first:?}");
    assert_eq!((again.cause, again.subscriptions), (GapCause::Resubscribed, first.subscriptions));
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "gap"]);
    assert_eq!((venue.grants(1, CASE.topic("book")), venue.grants(1, CASE.topic("ticker"))), (2, 1));
}

#[test]
fn a_test_request_without_an_answer_ends_the_connection() {
    let venue = venue().cut_off_after(ms(300)).start();
    let mut config = config("deribit", &venue);
    for rule in &mut config.rules {
        if rule.is == RuleKind::Heartbeat {
            rule.reply = None;
        }
    }
    let feed = open(config);
    let mut watch = Watch::new(&CASE, &feed);
    let end = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
    let Event::Disconnected(end) = end else { unreachable!() };
    assert!(matches!(end.reason, EndReason::ClosedByPeer { code: Some(CUT_OFF), .. }), "{end:?}");
}

/// What one message is answered says nothing of what others were granted.
#[test]
fn a_later_subscription_leaves_the_others_alone() {
    let venue = venue().start();
    let feed = open(config("deribit", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    let quote = "quote.BTC-PERPETUAL";
    feed.subscribe(livefeed::Subscription::new("quote").var("channel", quote)).unwrap();
    let is_confirmed =
        |event: &Event| matches!(event, Event::Subscribed(event) if event.subscription == "quote");
    let mut events = until(&feed, is_confirmed);
    feed.unsubscribe("quote").unwrap();
    venue.wait_subscribed(1, &[CASE.topic("book"), CASE.topic("ticker")]);
    venue.say(json!({"fence": true}));
    events.extend(until(&feed, |event| matches!(event, Event::Message(m) if json_of(m)["fence"] == true)));
    assert!(
        !events.iter().any(|event| matches!(event, Event::Ended(_) | Event::Refused(_))),
        "{:?}",
        names(&events)
    );
    assert_eq!(venue.grants(1, quote), 1);
}

/// The login is renewed with the token that came with the last one, before it expires, on the same connection.
#[test]
fn a_login_is_renewed_before_it_expires() {
    let venue = venue().start();
    let mut config = config("deribit", &venue);
    let auth = |id: &str, params: Value| json!({"jsonrpc": "2.0", "id": id, "method": "public/auth", "params": params});
    let is_of = |id: &str, what: &str| json!({"all": [{"pointer": "/id", "equals": id}, {"pointer": what, "exists": true}]});
    let capture = json!({"refresh_token": "/result/refresh_token", "expires_in": "/result/expires_in"});
    let credentials =
        json!({"grant_type": "client_credentials", "client_id": "YOUR-ID", "client_secret": "YOUR-SECRET"});
    let login = json!({
        "send": auth("auth", credentials), "expect": is_of("auth", "/result"),
        "refused": is_of("auth", "/error"), "detail": "/error/message", "capture": capture
    });
    let renewal = json!({
        "every": "${expires_in - 60}s",
        "send": auth("renew", json!({"grant_type": "refresh_token", "refresh_token": "${refresh_token}"})),
        "expect": is_of("renew", "/result"), "capture": capture,
        "refused": is_of("renew", "/error"), "detail": "/error/message"
    });
    config.login.push(serde_json::from_value(login).unwrap());
    config.keepalives.push(serde_json::from_value(renewal).unwrap());
    config.deliver_heartbeats = true;
    let feed = open(config);
    for nth in [2, 3] {
        let is_renewed = |event: &Event| matches!(event, Event::Message(m) if json_of(m)["result"]["refresh_token"] == format!("refresh-{nth}"));
        let events = until(&feed, is_renewed);
        assert!(!events.iter().any(|event| matches!(event, Event::Disconnected(_))), "{:?}", names(&events));
    }
    let asked = venue.received_json(1).into_iter().filter(|it| it["method"] == "public/auth");
    let tokens: Vec<Value> = asked.map(|it| it["params"]["refresh_token"].clone()).collect();
    assert_eq!(tokens, [Value::Null, json!("refresh-1"), json!("refresh-2")]);
}
