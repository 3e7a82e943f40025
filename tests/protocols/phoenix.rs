//! Phoenix channels (serializer 2.0.0): arrays of five, a reference for each join, a heartbeat by reference, and the
//! server's `phx_close` and `phx_error`.
//!
//! <https://hexdocs.pm/phoenix/writing_a_channels_client.html>
//!
//! All of it is data. The client chooses the references: `j` in front of the join's, `l` of the leave's, `h` of a
//! heartbeat's. What comes for a join that is over is data of nobody.

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, Watch, config, hasty, json, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::{ErrorClass, Event, GapCause};
use serde_json::{Value, json};

fn venue() -> Builder {
    Venue::builder()
        .hear(hear)
        // Broadcasts have no reference, what is pushed by a channel's process has that of the join.
        .data(|tick: &Tick<'_>| {
            let join = if tick.seq.is_multiple_of(2) { tick.tag } else { &Value::Null };
            json!([join, null, tick.topic, "price", {"bid": tick.seq}])
        })
        .ended(|topic, join| json!([join, null, topic, "phx_error", {}]))
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let (join, reference, topic) = (&json[0], &json[1], json[2].as_str().unwrap());
    let reply = |status: &str, response: Value| json!([join, reference, topic, "phx_reply", {"status": status, "response": response}]);
    match json[3].as_str() {
        Some("heartbeat") if topic == "phoenix" && join.is_null() => {
            line.alive();
            line.say(reply("ok", json!({})));
        }
        Some("phx_join") => {
            // A second join of a topic ends the first.
            let before = line.kept(topic);
            if line.unsubscribe(topic) {
                line.say(json!([before, before, topic, "phx_close", {}]));
            }
            match line.subscribe_as(topic, join.clone()) {
                Answer::Granted | Answer::Already => {
                    line.keep(topic, join.clone());
                    line.say(reply("ok", json!({})));
                }
                Answer::Refused(reason) => line.say(reply("error", json!({"reason": reason}))),
                Answer::Ignored => {}
            }
        }
        Some("phx_leave") if line.kept(topic) == *join => {
            line.unsubscribe(topic);
            line.say(reply("ok", json!({})));
            line.say(json!([join, join, topic, "phx_close", {}]));
        }
        _ => line.say(reply("error", json!({"reason": "unmatched topic"}))),
    }
}

const CASE: Case = Case {
    file: "phoenix",
    venue,
    topics: &[("btc", "ticker:btc"), ("eth", "ticker:eth")],
    of: |message| vec![json(message)[2].as_str().unwrap_or_default().to_owned()],
    victim: "eth",
    refusal: Some(Refusal { event: "refused", reason: "unauthorized", detail: "unauthorized" }),
    life: Life::Client,
};

crate::conformance::tests!(CASE);

#[test]
fn a_channel_that_crashes_is_joined_again() {
    let venue = venue().start();
    let feed = open(hasty(config("phoenix", &venue)));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.end("ticker:eth");
    let Event::Ended(ended) = watch.until(|_, event| matches!(event, Event::Ended(_))) else {
        unreachable!()
    };
    assert_eq!((ended.subscription.as_str(), ended.class), ("eth", ErrorClass::RetryLater));
    assert_eq!(ended.detail, "phx_error");
    watch.until(|_, event| matches!(event, Event::Gap(gap) if gap.cause == GapCause::Resubscribed));
    watch.all_flow();
    assert_eq!((venue.grants(1, "ticker:eth"), venue.grants(1, "ticker:btc")), (2, 1));
    watch.saw_only(&["connecting", "connected", "subscribed", "ended", "gap"]);
}

/// A message of a join that is over belongs to nobody, and the end of that join ends nothing.
#[test]
fn what_is_left_of_an_older_join_is_not_taken_for_the_newer() {
    let venue = venue().start();
    let feed = open(config("phoenix", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.say(json!(["j0", "j0", "ticker:eth", "phx_close", {}]));
    venue.say(json!(["j0", null, "ticker:eth", "price", {"bid": "stale"}]));
    let events = until(&feed, |event| match event {
        Event::Message(message) => message.text().is_some_and(|text| text.contains("stale")),
        _ => false,
    });
    let Some(Event::Message(stale)) = events.last() else { unreachable!() };
    assert!(stale.subscriptions().is_empty());
    assert_eq!(feed.health().unmatched, 1);
    assert!(!names(&events).iter().any(|name| name == "ended"), "{events:?}");
    watch.all_flow();
}
