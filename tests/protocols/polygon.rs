//! Polygon (Massive): a login after a hello, every message an array of items, acknowledgements as texts.
//!
//! All of it is data; nothing needs a closure. A repeated subscribe message is never answered: the subscription is
//! then taken to be in force, and its data judges.
//!
//! <https://polygon.io/docs/websocket/quickstart>

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, config, json as json_of, no_limits, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::lab::{Command, Script};
use livefeed::{CloseReason, EndReason, ErrorClass, Event};
use serde_json::{Value, json};

/// A topic is `kind.symbol`, such as `T.AAPL`.
pub fn venue() -> Builder {
    Venue::builder()
        .script(Script::new().then(Command::Pings(ms(50))))
        .hello(|line, _| line.say(json!([status("connected", "Connected Successfully")])))
        .hear(hear)
        .data(data)
}

fn status(status: &str, message: &str) -> Value {
    json!({"ev": "status", "status": status, "message": message})
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let params = json["params"].as_str().unwrap_or_default();
    match json["action"].as_str() {
        Some("auth") if params == "YOUR-KEY" => {
            line.keep("authenticated", true);
            line.say(json!([status("auth_success", "authenticated")]));
        }
        Some("auth") => {
            line.say(json!([status("auth_failed", "authentication failed")]));
            line.close(1008, "");
        }
        _ if line.kept("authenticated").is_null() => {
            line.say(json!([status("error", "not authenticated")]));
        }
        Some("subscribe") => {
            let mut answers = Vec::new();
            for topic in params.split(',') {
                match line.subscribe(topic) {
                    Answer::Granted => answers.push(status("success", &format!("subscribed to: {topic}"))),
                    Answer::Refused(reason) => answers.push(status("error", &reason)),
                    Answer::Already | Answer::Ignored => {}
                }
            }
            if !answers.is_empty() {
                line.say(json!(answers));
            }
        }
        Some("unsubscribe") => {
            for topic in params.split(',') {
                line.unsubscribe(topic);
                line.say(json!([status("success", &format!("unsubscribed to: {topic}"))]));
            }
        }
        _ => line.say(json!([status("error", "invalid action")])),
    }
}

fn item(kind: &str, symbol: &str, seq: u64) -> Value {
    match kind {
        "T" => {
            json!({"ev": "T", "sym": symbol, "x": 4, "i": seq.to_string(), "z": 3, "p": 190.5, "s": 100, "t": 1_700_000_000_000_u64, "q": seq})
        }
        _ => {
            json!({"ev": kind, "sym": symbol, "bx": 4, "bp": 190.4, "bs": 2, "ax": 7, "ap": 190.6, "as": 1, "t": 1_700_000_000_000_u64, "q": seq})
        }
    }
}

fn data(tick: &Tick<'_>) -> Value {
    let (kind, symbol) = tick.topic.split_once('.').unwrap();
    json!([item(kind, symbol, tick.seq)])
}

const CASE: Case = Case {
    file: "polygon",
    venue,
    topics: &[("trades", "T.AAPL"), ("quotes", "Q.AAPL")],
    of: |message| {
        let json = json_of(message);
        json["sym"]
            .as_str()
            .map(|symbol| format!("{}.{symbol}", json["ev"].as_str().unwrap()))
            .into_iter()
            .collect()
    },
    victim: "quotes",
    refusal: Some(Refusal { event: "refused", reason: "not authorized", detail: "not authorized" }),
    life: Life::Answers,
};

crate::conformance::tests!(CASE);

#[test]
fn each_item_of_an_array_goes_to_its_own_subscription() {
    let venue = venue().start();
    for topic in ["T.AAPL", "Q.AAPL"] {
        venue.mute(topic);
    }
    let mut config = config("polygon", &venue);
    no_limits(&mut config);
    let feed = open(config);
    venue.wait_subscribed(1, &["T.AAPL", "Q.AAPL"]);
    let items = [("T", "AAPL"), ("Q", "AAPL"), ("T", "MSFT"), ("T", "AAPL")];
    let array: Vec<_> = (1..).zip(items).map(|(seq, (kind, symbol))| item(kind, symbol, seq)).collect();
    venue.say(json!(array));
    let got: Vec<(Vec<String>, u64)> = messages(&until_messages(&feed, items.len()))
        .iter()
        .map(|message| {
            let owners = message.subscriptions().iter().map(ToString::to_string).collect();
            (owners, json_of(message)["q"].as_u64().unwrap())
        })
        .collect();
    let of = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    assert_eq!(got, [(of(&["trades"]), 1), (of(&["quotes"]), 2), (of(&[]), 3), (of(&["trades"]), 4)]);
}

/// The answer was lost, and the server answers no second message: the subscription is taken to be in force.
#[test]
fn what_is_not_answered_is_judged_by_its_data() {
    let venue = venue().start();
    venue.lose_answer("Q.AAPL");
    venue.mute("Q.AAPL"); // data would be an answer
    let mut config = config("polygon", &venue);
    no_limits(&mut config);
    config.defaults.ack_timeout = Some(ms(100));
    let feed = open(config);
    let is_confirmed =
        |event: &Event| matches!(event, Event::Subscribed(event) if event.subscription == "quotes");
    let events = until(&feed, is_confirmed);
    assert!(
        !events.iter().any(|event| matches!(event, Event::Refused(_) | Event::Disconnected(_))),
        "{events:#?}"
    );
    assert_eq!(venue.received_json(1).len(), 2, "the login, and one message for both");
    venue.unmute("Q.AAPL");
    until(&feed, |event| matches!(event, Event::Message(m) if m.subscriptions() == ["quotes"]));
}

#[test]
fn a_wrong_key_closes_the_feed() {
    let venue = venue().start();
    let mut config = config("polygon", &venue);
    config.login[1].send = Some(livefeed::Template::json(json!({"action": "auth", "params": "WRONG"})));
    let feed = open(config);
    let events = until(&feed, |event| matches!(event, Event::Closed(_)));
    let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
    let reason =
        EndReason::LoginRefused { detail: "authentication failed".to_owned(), class: ErrorClass::FeedFatal };
    assert_eq!(closed.reason, CloseReason::Fatal(reason));
    assert_eq!(venue.received_json(1).len(), 1, "nothing goes out before the login is through");
}
