//! Binance's user data over its WebSocket API: a number for each stream, which the acknowledgement tells, and the end of a
//! stream as an event in it.
//!
//! <https://developers.binance.com/docs/binance-spot-api-docs/websocket-api/user-data-stream-requests>
//!
//! With a `listenToken` all of it is data. `userDataStream.subscribe.signature` needs a closure, for the signature over
//! the key and the time: see `signed`. Here it is a checksum, for the venue asks for no more.

use crate::common::ms;
use crate::conformance::{Case, Life, Refusal, Watch, config, hasty, json, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{ErrorClass, Event, FeedConfig, GapCause, Subscription, SubscriptionId};
use serde_json::{Value, json};

/// A topic is an account, by what it is signed in with.
fn venue() -> Builder {
    Venue::builder()
        .hear(hear)
        .data(|tick: &Tick<'_>| {
            json!({"subscriptionId": tick.tag, "event": {
                "e": "executionReport", "E": 1_795_000_000_000_u64 + tick.seq, "s": "BTCUSDT", "c": tick.topic, "i": tick.seq
            }})
        })
        .ended(|_, stream| {
            json!({"subscriptionId": stream, "event": {"e": "eventStreamTerminated", "E": 1_795_000_000_000_u64}})
        })
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let (id, params) = (&json["id"], &json["params"]);
    let ok = |result: Value| json!({"id": id, "status": 200, "result": result, "rateLimits": []});
    let error = |code: i32, message: &str| json!({"id": id, "status": 400, "error": {"code": code, "msg": message}, "rateLimits": []});
    let account = match json["method"].as_str() {
        Some("userDataStream.subscribe.listenToken") => params["listenToken"].as_str(),
        Some("userDataStream.subscribe.signature") => {
            let (key, time) = (params["apiKey"].as_str().unwrap(), params["timestamp"].as_u64().unwrap());
            if params["signature"] != sign("hunter2", &format!("apiKey={key}&timestamp={time}")) {
                line.say(error(-1022, "Signature for this request is not valid."));
                return;
            }
            Some(key)
        }
        Some("userDataStream.unsubscribe") => {
            let kept = line.kept(&params["subscriptionId"].to_string());
            line.unsubscribe(kept.as_str().unwrap());
            line.say(ok(json!({})));
            return;
        }
        other => panic!("{other:?}"),
    };
    let account = account.unwrap();
    // Numbers are used again on the next connection.
    let stream = line.number() % 1000;
    match line.subscribe_as(account, stream) {
        Answer::Granted | Answer::Already => {
            line.keep(&stream.to_string(), account);
            line.say(ok(json!({"subscriptionId": stream})));
        }
        Answer::Refused(reason) => line.say(error(-2015, &reason)),
        Answer::Ignored => {}
    }
}

/// Stands for HMAC-SHA256.
fn sign(secret: &str, text: &str) -> String {
    let sum =
        secret.bytes().chain(text.bytes()).fold(5381_u64, |sum, byte| sum.wrapping_mul(33) ^ u64::from(byte));
    format!("{sum:016x}")
}

const CASE: Case = Case {
    file: "binance-user-data",
    venue,
    topics: &[("account", "YOUR-TOKEN")],
    of: |message| vec![json(message)["event"]["c"].as_str().unwrap_or_default().to_owned()],
    victim: "account",
    refusal: Some(Refusal { event: "refused", reason: "Invalid API-key", detail: "Invalid API-key" }),
    life: Life::Pongs,
};

/// One subscription alone, whose silence is that of the connection.
#[test]
fn subscribes() {
    crate::conformance::subscribes(&CASE);
}

#[test]
fn keeps_alive() {
    crate::conformance::keeps_alive(&CASE);
}

#[test]
fn recognises_a_refusal() {
    crate::conformance::recognises_a_refusal(&CASE);
}

#[test]
fn subscribes_anew_after_a_reset() {
    crate::conformance::subscribes_anew_after_a_reset(&CASE);
}

/// The data file, with two accounts that are signed for.
fn two(venue: &Venue) -> FeedConfig {
    let mut config = config("binance-user-data", venue);
    config.subscriptions = vec![signed("main", "hunter2"), signed("hedge", "hunter2")];
    config
}

#[test]
fn an_account_that_goes_mute_is_subscribed_to_again() {
    let venue = venue().start();
    let feed = open(two(&venue));
    let mut watch = Watch::new(&TWO, &feed);
    watch.all_flow();
    venue.stall("hedge");
    let Event::Stale(stale) = watch.until(|_, event| matches!(event, Event::Stale(_))) else {
        unreachable!()
    };
    assert_eq!(stale.subscription.as_ref().map(SubscriptionId::as_str), Some("hedge"));
    watch.all_flow();
    assert_eq!((venue.grants(1, "hedge"), venue.grants(1, "main")), (2, 1));
    watch.saw_only(&["connecting", "connected", "subscribed", "stale", "gap"]);
}

#[test]
fn a_stream_that_is_terminated_is_opened_again() {
    let venue = venue().start();
    let feed = open(hasty(two(&venue)));
    let mut watch = Watch::new(&TWO, &feed);
    watch.all_flow();
    venue.end("hedge");
    let Event::Ended(ended) = watch.until(|_, event| matches!(event, Event::Ended(_))) else {
        unreachable!()
    };
    assert_eq!((ended.subscription.as_str(), ended.class), ("hedge", ErrorClass::RetryLater));
    assert_eq!(ended.detail, "eventStreamTerminated");
    watch.until(|_, event| matches!(event, Event::Gap(gap) if gap.cause == GapCause::Resubscribed));
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "ended", "gap"]);
    assert_eq!((venue.grants(1, "hedge"), venue.grants(1, "main")), (2, 1));
}

/// An account with a key and a secret, signed for anew each time.
fn signed(name: &str, secret: &'static str) -> Subscription {
    Subscription::new(name).var("key", name).stale_after(ms(300)).subscribe_with(move |context| {
        let key = context.var("key").and_then(|key| key.as_str().map(str::to_owned)).ok_or("no key")?;
        let time = context.var("time_ms").ok_or("no time")?;
        let signature = sign(secret, &format!("apiKey={key}&timestamp={time}"));
        let params = json!({"apiKey": key, "timestamp": time, "signature": signature});
        Ok(json!({"id": context.id, "method": "userDataStream.subscribe.signature", "params": params})
            .to_string())
    })
}

const TWO: Case = Case { topics: &[("main", "main"), ("hedge", "hedge")], victim: "hedge", ..CASE };

#[test]
fn accounts_are_signed_for_and_told_apart() {
    let venue = venue().start();
    let feed = open(two(&venue));
    let mut watch = Watch::new(&TWO, &feed);
    watch.all_flow();
    venue.reset();
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.all_flow();
    venue.wait_subscribed(2, &["hedge", "main"]);
    watch.saw_only(&["connecting", "connected", "subscribed", "disconnected", "gap"]);
}

#[test]
fn a_wrong_signature_is_refused_alone_and_not_shown() {
    let venue = venue().start();
    let mut config = config("binance-user-data", &venue);
    config.subscriptions = vec![signed("main", "hunter2"), signed("hedge", "hunter3")];
    let feed = open(config);
    let mut watch = Watch::new(&TWO, &feed);
    let Event::Refused(refused) = watch.until(|_, event| matches!(event, Event::Refused(_))) else {
        unreachable!()
    };
    assert_eq!(refused.subscription.as_str(), "hedge");
    assert!(refused.detail.contains("Signature for this request is not valid"), "{refused:?}");
    watch.again();
    watch.flows(&["main"], 3);
    let shown = format!("{:?}", watch.lifecycle());
    assert!(!shown.contains("hunter"), "{shown}");
}
