//! Nostr relays (NIP-01): arrays, a subscription's own name as the key, `EOSE` after what is stored as the
//! acknowledgement, `CLOSED` for refusals and ends.
//!
//! <https://github.com/nostr-protocol/nips/blob/master/01.md>
//!
//! All of it is data. A relay may not answer a filter that it can't read at all: so the file takes a missing `EOSE`
//! as a refusal, which leaves the other subscriptions alone.

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, Watch, config, json, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::lab::{Command, Script};
use livefeed::{AlertKind, ErrorClass, Event, GapCause};
use serde_json::{Value, json};

/// A topic is what the filter asks for, such as `kind 1`.
fn venue() -> Builder {
    Venue::builder()
        .script(Script::new().then(Command::Pings(ms(50))))
        .hear(hear)
        .data(|tick: &Tick<'_>| event(tick.tag, tick.topic, tick.seq))
        .ended(|_, name| json!(["CLOSED", name, "error: shutting down idle subscription"]))
}

fn event(name: &Value, topic: &str, number: u64) -> Value {
    let kind: u64 = topic.strip_prefix("kind ").unwrap().parse().unwrap();
    json!(["EVENT", name, {
        "id": format!("{number:064x}"), "pubkey": "6e46".repeat(16), "created_at": 1_795_000_000 + number,
        "kind": kind, "tags": [["t", "btc"]], "content": format!("note {number}"), "sig": "ab".repeat(64)
    }])
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let name = &json[1];
    let key = name.as_str().unwrap_or_default();
    match json[0].as_str() {
        Some("REQ") => {
            let topic = format!("kind {}", json[2]["kinds"][0]);
            match line.subscribe_as(&topic, key) {
                Answer::Granted | Answer::Already => {
                    line.keep(key, topic.as_str());
                    line.say(event(name, &topic, 0)); // what is stored
                    line.say(json!(["EOSE", name]));
                }
                Answer::Refused(reason) => line.say(json!(["CLOSED", name, reason])),
                Answer::Ignored => {}
            }
        }
        // It is not answered.
        Some("CLOSE") => {
            let topic = line.kept(key);
            line.unsubscribe(topic.as_str().unwrap_or_default());
        }
        _ => line.say(json!(["NOTICE", "could not parse command"])),
    }
}

const CASE: Case = Case {
    file: "nostr",
    venue,
    topics: &[("notes", "kind 1"), ("profiles", "kind 0")],
    of: |message| vec![format!("kind {}", json(message)[2]["kind"])],
    victim: "profiles",
    refusal: Some(Refusal {
        event: "refused",
        reason: "blocked: kind 0 is not served here",
        detail: "blocked: kind 0 is not served here",
    }),
    life: Life::Answers,
};

crate::conformance::tests!(CASE);

#[test]
fn what_the_relay_closes_is_made_again() {
    let venue = venue().start();
    let feed = open(config("nostr", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.end("kind 0");
    let ended = watch.until(|_, event| matches!(event, Event::Ended(_)));
    let Event::Ended(ended) = ended else { unreachable!() };
    assert_eq!((ended.subscription.as_str(), ended.class), ("profiles", ErrorClass::RetryLater));
    assert_eq!(ended.detail, "error: shutting down idle subscription");
    assert!(ended.retry_in.is_some());
    venue.wait_grants(1, "kind 0", 2);
    let is_gap = |event: &Event| matches!(event, Event::Gap(gap) if gap.cause == GapCause::Resubscribed);
    watch.until(|_, event| is_gap(event));
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "ended", "gap"]);
    assert_eq!(venue.grants(1, "kind 1"), 1);
}

#[test]
fn a_filter_that_is_not_answered_is_refused_alone() {
    let venue = venue().start();
    venue.ignore("kind 0");
    let mut config = config("nostr", &venue);
    config.defaults.ack_timeout = Some(ms(200));
    let feed = open(config);
    let mut watch = Watch::new(&CASE, &feed);
    let refused = watch.until(|_, event| matches!(event, Event::Refused(_)));
    let Event::Refused(refused) = refused else { unreachable!() };
    assert_eq!(refused.subscription.as_str(), "profiles");
    assert!(refused.detail.contains("no answer"), "{}", refused.detail);
    watch.again();
    watch.flows(&["notes"], 10);
    watch.saw_only(&["connecting", "connected", "subscribed", "refused", "alert"]);
    assert_eq!(venue.on_wire().keys().copied().collect::<Vec<_>>(), [1]);
}

#[test]
fn a_notice_reaches_a_person() {
    let venue = venue().start();
    let feed = open(config("nostr", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.say(json!(["NOTICE", "restricted: slow down"]));
    let alert = watch.until(|_, event| matches!(event, Event::Alert(_)));
    let Event::Alert(alert) = alert else { unreachable!() };
    assert_eq!(alert.kind, AlertKind::Notice { detail: "restricted: slow down".to_owned() });
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "alert"]);
}
