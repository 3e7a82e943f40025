//! Acknowledgements, refusals and ends: each takes effect where it stands in the stream, and late ones harm nobody (C5).

use crate::common::{CEILING, healthy, in_lab, ms, seen, until};
use crate::proto::{answers, asked, at, at_once, bare, brief, briefs, granting, send, speaking, wishes};
use livefeed::lab::{Command, Lab, Received, Script, What};
use livefeed::{
    Ack, EndReason, ErrorClass, Event, Feed, GapCause, Listed, Matcher, OnAckTimeout, Rule, Subscription,
    SubscriptionState,
};
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

fn sub(name: &str) -> Subscription {
    Subscription::new(name)
}

#[track_caller]
fn until_brief(feed: &Feed, wanted: &str) -> Vec<String> {
    briefs(&until(feed, |event| brief(event).starts_with(wanted)))
}

#[test]
fn subscribed_stands_exactly_where_the_acknowledgement_stood() {
    // One segment: data before, the ack, data after; and so for each way an ack says whom it is about.
    let script = |ack: fn(u64, &str) -> serde_json::Value| {
        answers(move |it| {
            let data = |n: u64| json!({"ch": it.ch, "n": n});
            vec![at_once(&[data(1), ack(it.id, &it.ch), data(2)])]
        })
    };
    let ack = || Rule::ack(Matcher::exists("/ack"));
    for (script, rule) in [
        (script(|id, _| json!({"ack": id})), ack().by_id("/ack")),
        (script(|id, _| json!({"ack": id.to_string()})), ack().by_id("/ack")),
        (script(|_, ch| json!({"ack": ch})), ack().by_match(Matcher::pointer("/ack", "${name}"))),
        (script(|_, ch| json!({"ack": [ch]})), ack().by_listed(Listed::at("/ack/*"))),
        (
            script(|id, ch| json!({"ack": [ch], "id": id})),
            ack().by_listed(Listed::at("/ack/*").id("/id").complete()),
        ),
        (script(|_, _| json!({"ack": "x"})), ack().by_oldest()),
        (script(|_, _| json!({"ack": "x"})), ack()),
        (script(|_, _| json!({"ack": "x"})), ack().by_all()),
    ] {
        let lab = Lab::start(script).unwrap();
        // Data that comes before the ack is data all the same, and proves the subscription: so it has to be no data of its.
        let other = |terms: Subscription| terms.data(Matcher::pointer("/n", 2));
        let feed = bare(&lab).defaults(other).rule(rule.clone()).subscription(sub("a")).open().unwrap();
        let events = until_brief(&feed, "a {");
        assert_eq!(
            events[2..],
            [r#" {"ch":"a","n":1}"#, "subscribed a", r#"a {"ch":"a","n":2}"#],
            "{rule:?}"
        );
    }
}

#[test]
fn first_data_confirms_and_so_does_what_comes_before_its_acknowledgement() {
    for ack in [Ack::FirstData, Ack::Rule] {
        let lab = Lab::start(answers(|it| {
            vec![at_once(&[json!({"ch": it.ch}), json!({"ack": it.id}), json!({"ch": it.ch})])]
        }));
        let lab = lab.unwrap();
        let feed =
            speaking(&lab).defaults(move |terms| terms.ack(ack)).subscription(sub("a")).open().unwrap();
        let mut left = 2;
        let events = briefs(&until(&feed, |event| {
            left -= i32::from(matches!(event, Event::Message(_)));
            left == 0
        }));
        assert_eq!(events.iter().filter(|event| *event == "subscribed a").count(), 1, "{ack:?}: {events:?}");
        healthy(&feed, &lab, |health| health.subscriptions[0].state == SubscriptionState::Live);
    }
}

fn bound(lab: &Lab) -> livefeed::FeedBuilder {
    bare(lab)
        .rule(Rule::ack(Matcher::exists("/ack")).by_id("/ack").bind("key", "/key"))
        .defaults(|terms| terms.data(Matcher::pointer("/key", "${key}")))
}

#[test]
fn an_ack_that_binds_a_key_and_its_first_data_share_a_segment() {
    // Keys are the server's own, and other on each connection.
    let plan = |connection: usize| {
        answers(move |it| {
            let key = 100 * connection + usize::from(it.ch == "b");
            vec![at_once(&[
                json!({"key": key, "n": 0}),
                json!({"ack": it.id, "key": key}),
                json!({"key": key, "n": 1}),
                json!({"key": key, "n": 2}),
            ])]
        })
    };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let feed = bound(&lab).subscription(sub("a")).subscription(sub("b")).open().unwrap();
    let mut left = 4;
    let own = |event: &Event| matches!(event, Event::Message(m) if !m.subscriptions().is_empty());
    let events = briefs(&until(&feed, |event| {
        left -= i32::from(own(event));
        left == 0
    }));
    let expected = [
        r#" {"key":100,"n":0}"#,
        "subscribed a",
        r#"a {"key":100,"n":1}"#,
        r#"a {"key":100,"n":2}"#,
        r#" {"key":101,"n":0}"#,
        "subscribed b",
        r#"b {"key":101,"n":1}"#,
        r#"b {"key":101,"n":2}"#,
    ];
    assert_eq!(events[2..], expected);

    // The next connection knows nothing of the old keys.
    lab.control().drop_connections();
    until_brief(&feed, r#"b {"key":201,"n":2"#);
    lab.control().all(at_once(&[json!({"key": 100, "n": 7}), json!({"key": 200, "n": 8})]));
    assert_eq!(until_brief(&feed, "a {"), [r#" {"key":100,"n":7}"#, r#"a {"key":200,"n":8}"#]);
}

#[test]
fn the_number_of_the_subscribe_message_routes_data() {
    let lab =
        Lab::start(answers(|it| vec![at_once(&[json!({"ack": it.id}), json!({"for": it.id, "n": it.ch})])]))
            .unwrap();
    let feed = bare(&lab)
        .rule(Rule::ack(Matcher::exists("/ack")).by_id("/ack"))
        .defaults(|terms| terms.data(Matcher::pointer("/for", "${id}")))
        .subscription(sub("a"))
        .subscription(sub("b"))
        .open()
        .unwrap();
    let own = [r#"a {"for":1,"n":"a"}"#, r#"b {"for":2,"n":"b"}"#];
    let is_data = |event: &&String| event.contains("for");
    let events = until_brief(&feed, own[1]);
    assert_eq!(events.iter().filter(is_data).collect::<Vec<_>>(), own);
    // Of the old connection's numbers nothing is left on the new one.
    lab.control().drop_connections();
    until_brief(&feed, r#"b {"for":4"#);
    lab.control().all(at_once(&[json!({"for": 1, "n": "old"}), json!({"for": 3, "n": "new"})]));
    let events = until_brief(&feed, "a {");
    assert_eq!(events, [r#" {"for":1,"n":"old"}"#, r#"a {"for":3,"n":"new"}"#]);
}

#[test]
fn a_late_ack_revives_nothing() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = speaking(&lab).subscription(sub("a")).open().unwrap();
    let text = in_lab(&lab, |what| matches!(what, What::Received(Received::Text(_))));
    let What::Received(Received::Text(text)) = text else { unreachable!() };
    let first = asked(&text).id;
    feed.unsubscribe("a").unwrap();
    lab.control().all(at_once(&[json!({"ack": first}), json!({"ch": "a"}), json!({"mark": 1})]));
    let events = until_brief(&feed, r#" {"mark""#);
    assert!(!events.iter().any(|event| event.starts_with("subscribed")), "{events:?}");
    assert!(events.contains(&r#" {"ch":"a"}"#.to_owned()), "nobody's: {events:?}");
    assert_eq!(feed.health().subscriptions.len(), 0);
    // It may hold it now: it is told.
    seen(&lab, |_| wishes(&lab, 1) == ["sub a", "unsub a"]);

    // The same name anew: only its own ack counts.
    feed.subscribe(sub("a")).unwrap();
    seen(&lab, |_| wishes(&lab, 1).len() == 3);
    let second = asked(lab.transcript().received_texts(1)[2]).id;
    let ending = asked(lab.transcript().received_texts(1)[1]).id;
    assert!(first < ending && ending < second);
    lab.control().all(at_once(&[json!({"ack": first}), json!({"ack": ending}), json!({"mark": 2})]));
    let events = until_brief(&feed, r#" {"mark""#);
    assert!(!events.iter().any(|event| event.starts_with("subscribed")), "{events:?}");
    lab.control().all(at_once(&[json!({"ack": second}), json!({"ack": second}), json!({"mark": 3})]));
    let events = until_brief(&feed, r#" {"mark""#);
    // The second time it says nothing new.
    assert_eq!(events, ["subscribed a", r#" {"mark":3}"#]);
}

#[test]
fn each_class_of_refusal_does_what_it_says() {
    let nack = |class| {
        move |it: &crate::proto::Asked| match (it.op.as_str(), it.ch.as_str(), class) {
            ("sub", "bad", _) => vec![send(&json!({"nack": it.id, "msg": "no such thing"}))],
            ("sub", ..) => vec![send(&json!({"ack": it.id})), send(&json!({"ch": it.ch}))],
            _ => Vec::new(),
        }
    };
    for class in [
        ErrorClass::Benign,
        ErrorClass::RetryLater,
        ErrorClass::Refused,
        ErrorClass::ConnectionFatal,
        ErrorClass::FeedFatal,
    ] {
        let lab = Lab::start(answers(nack(class))).unwrap();
        let mut rule = Rule::nack(Matcher::exists("/nack")).by_id("/nack").class(class).detail("/msg");
        if class == ErrorClass::RetryLater {
            rule = rule.retry_after(ms(50));
        }
        let builder = bare(&lab).rule(Rule::ack(Matcher::exists("/ack")).by_id("/ack")).rule(rule);
        let feed = builder.subscription(sub("bad")).subscription(sub("good")).open().unwrap();
        match class {
            ErrorClass::Benign => {
                until_brief(&feed, "subscribed bad");
            }
            ErrorClass::RetryLater => {
                until_brief(&feed, "refused bad retry_later: no such thing");
                until_brief(&feed, "refused bad retry_later: no such thing");
                let times: Vec<_> = lab
                    .transcript()
                    .entries()
                    .iter()
                    .filter_map(|entry| match &entry.what {
                        What::Received(Received::Text(text)) if asked(text).ch == "bad" => Some(entry.at),
                        _ => None,
                    })
                    .collect();
                assert!(times[1] - times[0] >= ms(50));
                assert_eq!(lab.connections(), 1);
            }
            ErrorClass::Refused => {
                let events = until_brief(&feed, "good {");
                let at = at(&events, "refused bad refused: no such thing");
                assert_eq!(events[at + 1], "alert subscription_refused");
                let state = |wanted| {
                    move |health: &livefeed::Health| {
                        health.subscriptions.iter().any(|it| it.id == "bad" && it.state == wanted)
                    }
                };
                healthy(&feed, &lab, state(SubscriptionState::Refused));
                // It is tried again on the next connection.
                lab.control().drop_connections();
                until_brief(&feed, "refused bad");
                assert_eq!(wishes(&lab, 2), ["sub bad", "sub good"]);
            }
            ErrorClass::ConnectionFatal => {
                let events = until_brief(&feed, "disconnected");
                assert!(events.last().unwrap().contains("no such thing"), "{events:?}");
                until_brief(&feed, "connected 2");
            }
            ErrorClass::FeedFatal => {
                let (_, reason) = crate::watch::to_the_end(&feed);
                assert!(
                    matches!(reason, livefeed::CloseReason::Fatal(EndReason::ServerError { .. })),
                    "{reason:?}"
                );
            }
            _ => unreachable!(),
        }
        if class != ErrorClass::FeedFatal {
            feed.close(CEILING).unwrap();
        }
    }
}

#[test]
fn an_absent_answer_is_written_again_then_the_connection_is_given_up() {
    let lab = Lab::start(Script::new()).unwrap();
    let begin = std::time::Instant::now();
    let feed = speaking(&lab).subscription(sub("a").ack_timeout(ms(60))).open().unwrap();
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
    assert!(
        matches!(&end.reason, EndReason::AckOverdue { subscription, waited } if *subscription == "a" && *waited >= ms(60)),
        "{end:?}"
    );
    assert_eq!(wishes(&lab, 1), ["sub a"; 3]);
    let at: Vec<_> = lab
        .transcript()
        .entries()
        .iter()
        .filter(|e| e.connection == 1 && matches!(e.what, What::Received(Received::Text(_))))
        .map(|e| e.at)
        .collect();
    // None before its time, counted from before the first.
    let due = |n: usize| begin + ms(60) * u32::try_from(n).unwrap();
    assert!(at.iter().enumerate().all(|(n, at)| *at >= due(n)), "{}", lab.transcript());
}

#[test]
fn an_absent_answer_can_be_accepted_refused_or_a_reason_to_reconnect() {
    let lab = Lab::start(Script::new()).unwrap();
    let open =
        |then| speaking(&lab).subscription(sub("a").ack_timeout(ms(40)).on_ack_timeout(then)).open().unwrap();
    let feed = open(OnAckTimeout::Accept);
    until_brief(&feed, "subscribed a");
    assert_eq!(wishes(&lab, 1), ["sub a"]);
    drop(feed);
    let feed = open(OnAckTimeout::Refuse);
    let events = until_brief(&feed, "refused a refused");
    let waited = events.last().unwrap().strip_prefix("refused a refused: no answer within ");
    let waited: f64 =
        waited.and_then(|rest| rest.strip_suffix(" s")?.parse().ok()).expect("it says how long");
    assert!(waited >= 0.04, "{events:?}");
    // The server may hold it: should nobody want it any more, that is said.
    feed.unsubscribe("a").unwrap();
    seen(&lab, |_| wishes(&lab, 2) == ["sub a", "unsub a"]);
    drop(feed);
    let feed = open(OnAckTimeout::Reconnect);
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    assert!(
        matches!(events.last(), Some(Event::Disconnected(end)) if matches!(end.reason, EndReason::AckOverdue { .. }))
    );
    assert_eq!(wishes(&lab, 3), ["sub a"]);
}

#[test]
fn what_the_server_ends_is_made_again_with_a_gap() {
    let lab = Lab::start(granting()).unwrap();
    let rule = Rule::ended(Matcher::exists("/over"))
        .by_match(Matcher::pointer("/over", "${name}"))
        .retry_after(ms(20))
        .detail("/msg");
    let feed = speaking(&lab).rule(rule).subscription(sub("a")).subscription(sub("b")).open().unwrap();
    until_brief(&feed, "b {");
    lab.control().all(at_once(&[
        json!({"ch": "a", "n": 2}),
        json!({"over": "a", "msg": "maintenance"}),
        json!({"ch": "a", "n": 3}),
    ]));
    let events = until(&feed, |event| brief(event) == r#"a {"ch":"a","n":1}"#);
    let Some(Event::Gap(gap)) = events.iter().find(|event| matches!(event, Event::Gap(_))) else {
        panic!("{events:?}")
    };
    assert_eq!(
        (gap.cause, gap.epoch, gap.subscriptions.as_slice()),
        (GapCause::Resubscribed, 1, &["a".into()][..])
    );
    let events = briefs(&events);
    assert_eq!(
        events,
        [
            r#"a {"ch":"a","n":2}"#,
            "ended a retry_later: maintenance",
            r#"a {"ch":"a","n":3}"#,
            "gap resubscribed a",
            "subscribed a",
            r#"a {"ch":"a","n":1}"#
        ]
    );
    assert_eq!(wishes(&lab, 1), ["sub a", "sub b", "sub a"]);
    assert_eq!(lab.connections(), 1);
}

#[test]
fn a_replaced_subscription_is_ended_and_made_anew_in_that_order() {
    let lab = Lab::start(granting()).unwrap();
    let feed = speaking(&lab).subscription(sub("a")).open().unwrap();
    until_brief(&feed, "a {");
    for round in 0..20 {
        feed.unsubscribe("a").unwrap();
        feed.subscribe(sub("a")).unwrap();
        let events = until_brief(&feed, "a {");
        let subscribed = at(&events, "subscribed a");
        assert_eq!(subscribed, events.len() - 2, "round {round}: {events:?}");
    }
    let mut expected = vec!["sub a"];
    expected.extend(["unsub a", "sub a"].repeat(20));
    assert_eq!(wishes(&lab, 1), expected);
}

#[test]
fn handlers_hear_of_acks_and_gaps_in_order() {
    let lab = Lab::start(answers(|it| {
        vec![at_once(&[
            json!({"hello": 1}),
            json!({"ack": it.id}),
            json!({"ch": "a", "seq": 1}),
            json!({"ch": "a", "seq": 2}),
            json!({"ch": "a", "seq": 5}),
            json!({"end": "a", "msg": "bye"}),
            json!({"mark": 1}),
        ])]
    }))
    .unwrap();
    let rule = livefeed::SequenceRule::contiguous("/seq");
    let (feed, events) = crate::watch::handled(speaking(&lab).subscription(sub("a").sequence(rule)));
    let events = briefs(&crate::watch::until_from(&events, |event| brief(event).contains("mark")));
    let expected = [
        r#" {"hello":1}"#,
        "subscribed a",
        r#"a {"ch":"a","seq":1}"#,
        r#"a {"ch":"a","seq":2}"#,
        "gap sequence a",
        r#"a {"ch":"a","seq":5}"#,
        "ended a retry_later: bye",
        r#" {"mark":1}"#,
    ];
    assert_eq!(events[2..], expected);
    feed.close(CEILING).unwrap();
}

/// A server that answers everything twice, then floods with answers to what nobody asked.
#[test]
fn answers_that_are_doubled_or_for_nobody_change_nothing() {
    let lab = Lab::start(answers(|it| {
        let answer = |id| json!({"ack": id});
        let mut texts = vec![answer(it.id), answer(it.id)];
        texts.extend((0..2000).map(|n| json!({"nack": 1_000_000 + n})));
        texts.extend((0..2000).map(|n| answer(2_000_000 + n)));
        texts.push(json!({"ch": it.ch}));
        vec![at_once(&texts)]
    }))
    .unwrap();
    let feed = speaking(&lab).subscription(sub("a")).subscription(sub("b")).open().unwrap();
    let events = until_brief(&feed, "b {");
    let said = |of: &str| events.iter().filter(|event| event.starts_with(of)).count();
    assert_eq!((said("subscribed"), said("refused"), said("disconnected")), (2, 0, 0));
    assert_eq!(said(" {"), 2 * 4000, "what nobody knows is delivered, as nobody's");
    healthy(&feed, &lab, |health| health.unmatched == 2 * 4000);
}

#[test]
fn lists_of_a_megabyte_are_looked_through_in_good_time() {
    let many: Vec<String> = (0..60_000).map(|n| format!("topic-{n:07}")).collect();
    let list = Arc::new(json!({"ack": many}));
    assert!(list.to_string().len() > 800_000);
    let count = Arc::new(AtomicU64::new(0));
    let lab = Lab::start(answers(move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        vec![Command::Send(list.to_string())]
    }))
    .unwrap();
    let rule = Rule::ack(Matcher::exists("/ack")).by_listed(Listed::at("/ack/*"));
    let feed =
        bare(&lab).rule(rule).subscription(sub("topic-0059999")).subscription(sub("none")).open().unwrap();
    until_brief(&feed, "subscribed topic-0059999");
    healthy(&feed, &lab, |health| health.subscriptions[1].state == SubscriptionState::Sent);
}

#[test]
fn what_takes_every_message_has_no_limit_beside_others() {
    let lab = Lab::start(Script::new()).unwrap();
    let blind = |name: &str| sub(name).stale_after(ms(60_000));
    let watched = |name: &str| blind(name).data(Matcher::pointer("/ch", name));
    let path = |result: Result<(), livefeed::Error>| match result {
        Err(livefeed::Error::Config { path, problem }) => (path, problem),
        other => panic!("{other:?}"),
    };
    // One alone may, and be replaced.
    let feed = crate::common::feed(&lab).open().unwrap();
    feed.subscribe(blind("a")).unwrap();
    feed.subscribe(blind("a")).unwrap();
    assert_eq!(path(feed.subscribe(blind("b"))).0, "subscription.data");
    let (at, problem) = path(feed.subscribe(watched("b")));
    assert!(at == "subscription" && problem.contains("\"a\""), "{at}: {problem}");
    feed.subscribe(watched("a")).unwrap();
    feed.subscribe(watched("b")).unwrap();
    feed.subscribe(sub("c").no_stale_limit()).unwrap();
    assert_eq!(path(feed.subscribe(blind("a"))).0, "subscription.data");
    for name in ["b", "c"] {
        feed.unsubscribe(name).unwrap();
    }
    feed.subscribe(blind("a")).unwrap();
    assert_eq!(feed.health().subscriptions.len(), 1);
}
