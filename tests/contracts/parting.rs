//! Subscriptions whose end can be told only with what their acknowledgement tells: unsubscribing early (C5).

use crate::common::{CEILING, feed, ms, seen, until};
use crate::proto::{at_once, brief, briefs};
use livefeed::lab::{Lab, Script};
use livefeed::{Ack, AlertKind, Event, Feed, FeedBuilder, Matcher, OnAckTimeout, Rule, Subscription};
use serde_json::{Value, json};

fn sub(name: &str) -> Subscription {
    Subscription::new(name)
}

/// A feed whose server gives each subscription a key, and knows it by that alone; answers by number, or by name.
fn keyed(lab: &Lab, by_number: bool) -> FeedBuilder {
    let by = |rule: Rule| match by_number {
        true => rule.by_id("/id"),
        false => rule.by_match(Matcher::pointer("/ch", "${name}")),
    };
    feed(lab)
        .defaults(|terms| {
            terms
                .subscribe_json(json!({"sub": "${name}", "id": "${id}"}))
                .unsubscribe_json(json!({"unsub": "${key}"}))
                .data(Matcher::pointer("/key", "${key}"))
                .ack(Ack::Rule)
        })
        .rule(by(Rule::ack(Matcher::exists("/ack"))).bind("key", "/ack"))
        .rule(by(Rule::nack(Matcher::exists("/nack"))))
}

/// What the server got, without the numbers of subscribe messages.
fn wire(lab: &Lab) -> Vec<String> {
    let transcript = lab.transcript();
    let brief = |text: &str| {
        let json: Value = serde_json::from_str(text).unwrap_or_default();
        match (&json["sub"], &json["unsub"]) {
            (Value::String(name), _) => format!("sub {name}"),
            (_, Value::Number(key)) => format!("unsub {key}"),
            _ => text.to_owned(),
        }
    };
    transcript.received_texts(1).into_iter().map(brief).collect()
}

#[track_caller]
fn wait_wire(lab: &Lab, expected: &[&str]) {
    seen(lab, |_| wire(lab).len() >= expected.len());
    assert_eq!(wire(lab), expected);
}

/// The number of the last subscribe message.
fn last_id(lab: &Lab) -> u64 {
    let transcript = lab.transcript();
    let texts = transcript.received_texts(1);
    let id = |text: &&str| serde_json::from_str::<Value>(text).ok()?["id"].as_u64();
    texts.iter().rev().find_map(id).unwrap()
}

fn say(lab: &Lab, texts: &[Value]) {
    lab.control().all(at_once(texts));
}

/// Reads until the mark, which is said now.
fn marked(lab: &Lab, feed: &Feed) -> Vec<String> {
    say(lab, &[json!({"mark": 1})]);
    briefs(&until(feed, |event| brief(event).contains("mark")))
}

#[test]
fn the_end_is_told_once_the_acknowledgement_has_told_the_key() {
    for by_number in [true, false] {
        let lab = Lab::start(Script::new()).unwrap();
        let feed = keyed(&lab, by_number).subscription(sub("a")).subscription(sub("b")).open().unwrap();
        wait_wire(&lab, &["sub a", "sub b"]);
        let second = last_id(&lab);
        // The one is wanted no more, the other anew.
        feed.unsubscribe("a").unwrap();
        feed.subscribe(sub("b")).unwrap();
        drop(feed.send("behind").unwrap());
        wait_wire(&lab, &["sub a", "sub b", "behind"]);
        say(&lab, &[json!({"ack": 7, "id": second - 1, "ch": "a"}), json!({"key": 7})]);
        wait_wire(&lab, &["sub a", "sub b", "behind", "unsub 7"]);
        say(&lab, &[json!({"ack": 8, "id": second, "ch": "b"}), json!({"key": 8})]);
        wait_wire(&lab, &["sub a", "sub b", "behind", "unsub 7", "unsub 8", "sub b"]);
        say(&lab, &[json!({"ack": 9, "id": last_id(&lab), "ch": "b"}), json!({"key": 9}), json!({"key": 8})]);
        let events = marked(&lab, &feed);
        let expected =
            [r#" {"key":7}"#, r#" {"key":8}"#, "subscribed b", "gap resubscribed b", r#"b {"key":9}"#];
        for it in expected {
            assert!(events.iter().any(|event| event == it), "{it} is not among {events:#?}");
        }
        let is_b = |event: &&String| event.starts_with("b ") || event.starts_with("subscribed");
        assert_eq!(events.iter().filter(is_b).count(), 2, "{events:#?}");
        assert!(!events.iter().any(|event| event.starts_with("alert")), "{events:#?}");
        // A key that is known is told at once.
        feed.unsubscribe("b").unwrap();
        wait_wire(&lab, &["sub a", "sub b", "behind", "unsub 7", "unsub 8", "sub b", "unsub 9"]);
    }
}

#[test]
fn what_was_refused_has_no_end_to_be_told() {
    for by_number in [true, false] {
        let lab = Lab::start(Script::new()).unwrap();
        let feed = keyed(&lab, by_number).subscription(sub("a")).subscription(sub("b")).open().unwrap();
        wait_wire(&lab, &["sub a", "sub b"]);
        let second = last_id(&lab);
        feed.unsubscribe("a").unwrap();
        feed.subscribe(sub("b")).unwrap();
        say(
            &lab,
            &[json!({"nack": 1, "id": second - 1, "ch": "a"}), json!({"nack": 1, "id": second, "ch": "b"})],
        );
        wait_wire(&lab, &["sub a", "sub b", "sub b"]);
        say(&lab, &[json!({"ack": 9, "id": last_id(&lab), "ch": "b"}), json!({"key": 9})]);
        let events = marked(&lab, &feed);
        assert_eq!(events.iter().filter(|event| **event == r#"b {"key":9}"#).count(), 1, "{events:#?}");
        let odd = |event: &&String| event.starts_with("refused") || event.starts_with("alert");
        assert_eq!(events.iter().find(odd), None, "{events:#?}");
        drop(feed.send("behind").unwrap());
        wait_wire(&lab, &["sub a", "sub b", "sub b", "behind"]);
    }
}

#[test]
fn without_an_answer_the_wait_ends_and_what_may_be_left_over_is_told() {
    let lab = Lab::start(Script::new()).unwrap();
    let terms = |terms: Subscription| terms.ack_timeout(ms(150)).on_ack_timeout(OnAckTimeout::Accept);
    let feed = keyed(&lab, false).defaults(terms).subscription(sub("a")).open().unwrap();
    wait_wire(&lab, &["sub a"]);
    feed.unsubscribe("a").unwrap();
    feed.subscribe(sub("a")).unwrap();
    let events = until(&feed, |event| matches!(event, Event::Alert(_)));
    let Some(Event::Alert(alert)) = events.last() else { unreachable!() };
    let AlertKind::TemplateFailed { what: "unsubscribe", detail } = &alert.kind else { panic!("{alert:?}") };
    assert!(
        detail.contains('a') && detail.contains("${key}") && detail.contains("until the connection ends")
    );
    wait_wire(&lab, &["sub a", "sub a"]);
    // On the next connection there is nothing left of it.
    feed.unsubscribe("a").unwrap();
    lab.control().drop_connections();
    until(&feed, |event| event.epoch() == 2 && matches!(event, Event::Connected(_)));
    drop(feed.send("behind").unwrap());
    seen(&lab, |_| lab.transcript().received_texts(2) == ["behind"]);
    feed.close(CEILING).unwrap();
}

/// A server so slow that it is asked a second time, and then answers both.
#[test]
fn of_two_keys_for_one_subscription_the_newer_is_in_force_and_the_other_is_ended() {
    for by_number in [true, false] {
        let lab = Lab::start(Script::new()).unwrap();
        let terms = |terms: Subscription| terms.ack_timeout(ms(400));
        let feed = keyed(&lab, by_number).defaults(terms).subscription(sub("a")).open().unwrap();
        wait_wire(&lab, &["sub a", "sub a"]);
        let last = last_id(&lab);
        say(&lab, &[json!({"ack": 7, "id": last - 1, "ch": "a"}), json!({"key": 7})]);
        say(&lab, &[json!({"ack": 8, "id": last, "ch": "a"}), json!({"key": 8}), json!({"key": 7})]);
        wait_wire(&lab, &["sub a", "sub a", "unsub 7"]);
        let events = marked(&lab, &feed);
        let expected =
            ["subscribed a", r#"a {"key":7}"#, "gap resubscribed a", r#"a {"key":8}"#, r#" {"key":7}"#];
        let is_meant = |event: &&String| event.contains("key") || !event.starts_with(['c', ' ']);
        let seen: Vec<&String> = events.iter().filter(is_meant).collect();
        assert_eq!(seen, expected, "{events:#?}");
        feed.unsubscribe("a").unwrap();
        wait_wire(&lab, &["sub a", "sub a", "unsub 7", "unsub 8"]);
    }
}
