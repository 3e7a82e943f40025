//! The ladder of a stale subscription, other endpoints, and the one that makes the server hang up.

use crate::common::{CEILING, feed, healthy, ms, names, seen, until};
use crate::proto::{answers, asked, at, bare, brief, briefs, granting, send, speaking, wishes};
use crate::watch::{handled, until_from};
use livefeed::lab::{Command, Incoming, Lab, Received, Script, What};
use livefeed::{
    AlertKind, Event, GapCause, Matcher, NoticeAction, RepairStep, Rule, Subscription, SubscriptionState,
};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(60);

fn sub(name: &str) -> Subscription {
    Subscription::new(name)
}

/// Grants, sends one message, and a second after this other message.
fn second_after(op: &'static str) -> Script {
    answers(move |it| match it.op.as_str() {
        "sub" => vec![send(&json!({"ack": it.id})), send(&json!({"ch": it.ch, "n": 1}))],
        it_is if it_is == op => vec![send(&json!({"ch": it.ch, "n": 2}))],
        _ => Vec::new(),
    })
}

#[test]
fn data_that_answers_a_probe_puts_the_next_rung_off() {
    let lab = Lab::start(second_after("probe")).unwrap();
    let a = sub("a")
        .probe_json(json!({"op": "probe", "id": "${id}", "ch": "${name}"}))
        .stale_after(ms(100))
        .repair([RepairStep::Probe(LONG), RepairStep::Reconnect]);
    let feed = speaking(&lab).subscription(a).subscription(sub("b")).open().unwrap();
    // One answer alone does not lead back to the first rung: the topic may be dead all the same.
    let events = until(&feed, |event| brief(event) == "stale a reconnect");
    let events = briefs(&events);
    let (probed, answered) = (at(&events, "stale a probe"), at(&events, r#"a {"ch":"a","n":2}"#));
    assert!(probed < answered, "data came in between: {events:?}");
    assert!(!events.iter().any(|event| event.starts_with("gap")), "{events:?}");
    assert_eq!(wishes(&lab, 1)[..3], ["sub a", "sub b", "probe a"]);
    assert_eq!(lab.connections(), 1);
}

#[test]
fn a_rung_that_does_not_help_leads_to_the_next() {
    // Nothing but the new connection helps.
    let plan = |connection| match connection {
        1 => second_after("never"),
        _ => Script::new().react(|incoming| match incoming {
            Incoming::Text(text) if text.contains("\"sub\"") => {
                let it = asked(text);
                vec![send(&json!({"ack": it.id})), send(&json!({"ch": it.ch, "n": 1}))]
            }
            _ => Vec::new(),
        }),
    };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let a = sub("a")
        .probe_text("probe")
        .data(Matcher::all([Matcher::pointer("/ch", "a"), Matcher::pointer("/n", 2)]))
        .stale_after(ms(60))
        .repair([RepairStep::Probe(ms(50)), RepairStep::Resubscribe(ms(70)), RepairStep::Reconnect]);
    let feed = speaking(&lab).subscription(a).subscription(sub("b")).open().unwrap();
    let events = until(&feed, |event| brief(event) == "connected 2");
    let stale: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Stale(stale) => Some((brief(event), stale.age)),
            _ => None,
        })
        .collect();
    let next: Vec<_> = stale.iter().map(|(brief, _)| brief.as_str()).collect();
    assert_eq!(next, ["stale a probe", "stale a resubscribe", "stale a reconnect"]);
    let ages: Vec<_> = stale.iter().map(|(_, age)| *age).collect();
    assert!(ages[0] >= ms(60) && ages[1] >= ages[0] + ms(50) && ages[2] >= ages[1] + ms(70), "{ages:?}");
    let got = lab.transcript();
    assert_eq!(got.received_texts(1).len(), 5, "{got}");
    assert_eq!(wishes(&lab, 1)[3..], ["unsub a", "sub a"]);
}

#[test]
fn made_again_on_the_same_connection_with_a_gap_for_it_alone() {
    // The first time it goes mute, the second time it speaks.
    let count = Arc::new(AtomicU64::new(0));
    let lab = Lab::start(answers(move |it| match it.op.as_str() {
        "sub" if it.ch == "b" => vec![send(&json!({"ack": it.id})), send(&json!({"ch": "b", "n": 1}))],
        "sub" => {
            let n = count.fetch_add(1, Ordering::Relaxed);
            let data = if n == 0 { Vec::new() } else { vec![send(&json!({"ch": "a", "n": n}))] };
            [vec![send(&json!({"ack": it.id}))], data].concat()
        }
        _ => Vec::new(),
    }))
    .unwrap();
    let a = sub("a").stale_after(ms(80)).repair([RepairStep::Resubscribe(LONG)]);
    let feed = speaking(&lab).subscription(a).subscription(sub("b")).open().unwrap();
    let events = until(&feed, |event| brief(event).starts_with("a {"));
    let Some(Event::Gap(gap)) = events.iter().find(|event| matches!(event, Event::Gap(_))) else {
        panic!("{:?}", briefs(&events))
    };
    assert_eq!((gap.cause, gap.epoch, gap.subscriptions.len()), (GapCause::Resubscribed, 1, 1));
    let all = briefs(&events);
    assert_eq!(all[all.len() - 3..], ["stale a resubscribe", "gap resubscribed a", r#"a {"ch":"a","n":1}"#]);
    assert_eq!(wishes(&lab, 1), ["sub a", "sub b", "unsub a", "sub a"]);
}

#[test]
fn the_next_endpoint_is_a_rung_and_a_gap_of_its_own() {
    let mute = Lab::start(second_after("never")).unwrap();
    let good = Lab::start(granting()).unwrap();
    let a = sub("a").stale_after(ms(80)).repair([RepairStep::NextEndpoint]);
    let (feed, events) = handled(speaking(&mute).endpoint(good.url()).subscription(a));
    let events = until_from(&events, |event| event.epoch() == 2 && brief(event).starts_with("a {"));
    let all = briefs(&events);
    let from = at(&all, "stale a next_endpoint");
    assert_eq!(all[from + 2], "connecting 2");
    assert_eq!(all[from + 3..from + 5], ["connected 2", "gap endpoint_switched a"]);
    assert_eq!((mute.connections(), good.connections() >= 1), (1, true));
    assert_eq!(feed.health().endpoint.as_deref(), Some(good.url().as_str()));
    feed.close(CEILING).unwrap();
}

#[test]
fn an_endpoint_that_is_down_is_passed_over() {
    let down = Lab::start(Script::new()).unwrap();
    down.control().stop_listening().unwrap();
    let refusing = Lab::start(Script::refuse(503)).unwrap();
    let good = Lab::start(granting()).unwrap();
    let feed =
        speaking(&down).endpoint(refusing.url()).endpoint(good.url()).subscription(sub("a")).open().unwrap();
    let events = until(&feed, |event| brief(event).starts_with("a {"));
    let ends: Vec<_> = names(&events).into_iter().filter(|name| name == "disconnected").collect();
    assert!(!ends.is_empty() && good.connections() == 1);
    // What works stays: after a loss the same one is tried first.
    good.control().drop_connections();
    until(&feed, |event| event.epoch() == 2 && brief(event).starts_with("a {"));
    assert_eq!(good.connections(), 2);
    assert_eq!(
        refusing
            .transcript()
            .entries()
            .iter()
            .filter(|entry| matches!(entry.what, What::Accepted { .. }))
            .count(),
        1
    );
}

#[test]
fn a_notice_can_send_to_the_next_endpoint() {
    let first = Lab::start(Script::new().send(r#"{"ch":"a","n":1}"#).send(r#"{"go":1}"#)).unwrap();
    let second = Lab::start(granting()).unwrap();
    let rule = Rule::notice(Matcher::exists("/go"), NoticeAction::NextEndpoint);
    let feed = bare(&first).endpoint(second.url()).rule(rule).subscription(sub("a")).open().unwrap();
    let events = until(&feed, |event| matches!(event, Event::Gap(_)));
    assert_eq!(brief(events.last().unwrap()), "gap endpoint_switched a");
    assert_eq!((first.connections(), second.connections()), (1, 1));
}

#[test]
fn one_poisonous_subscription_among_five_is_set_aside() {
    let lab = Lab::start(answers(|it| match (it.op.as_str(), it.ch.as_str()) {
        ("sub", "bad") => vec![Command::Reset],
        ("sub", _) => vec![send(&json!({"ack": it.id})), send(&json!({"ch": it.ch}))],
        _ => Vec::new(),
    }))
    .unwrap();
    let builder = ["a", "b", "bad", "c", "d"]
        .into_iter()
        .fold(speaking(&lab), |builder, name| builder.subscription(sub(name)));
    let feed = builder.open().unwrap();
    let events = until(
        &feed,
        |event| matches!(event, Event::Alert(alert) if matches!(&alert.kind, AlertKind::Quarantined { subscription, .. } if *subscription == "bad")),
    );
    assert!(!events.is_empty());
    let health = healthy(&feed, &lab, |health| {
        health.subscriptions.iter().filter(|it| it.state == SubscriptionState::Live).count() == 4
    });
    assert!(
        health.subscriptions.iter().any(|it| it.id == "bad" && it.state == SubscriptionState::Quarantined),
        "{health:#?}"
    );
    let connections = lab.connections();
    // A reset may lose what others were just granted, so how many it takes is a matter of chance.
    assert!(connections <= 30, "{connections}");
    // One that is no longer wanted is forgotten; another takes its place.
    feed.unsubscribe("bad").unwrap();
    feed.subscribe(sub("new")).unwrap();
    until(&feed, |event| brief(event) == "subscribed new");
    assert_eq!(lab.connections(), connections);
}

#[test]
fn a_server_that_hangs_up_on_all_is_not_held_against_anybody() {
    let lab = Lab::start(Script::new().until_text(|_| true).reset()).unwrap();
    let builder = ["a", "b", "c"]
        .into_iter()
        .fold(feed(&lab), |builder, name| builder.subscription(crate::common::sub(name)));
    let (feed, events) = handled(builder);
    let mut left = 12;
    let events = until_from(&events, |event| {
        left -= i32::from(matches!(event, Event::Disconnected(_)));
        left == 0
    });
    let told = |event: &Event| matches!(event, Event::Alert(alert) if alert.kind.name() != "reconnects");
    assert!(!events.iter().any(told), "{:?}", briefs(&events));
    feed.close(CEILING).unwrap();
    seen(&lab, |entry| matches!(entry.what, What::Received(Received::Text(_))));
}
