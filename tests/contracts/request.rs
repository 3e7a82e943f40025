//! A question and its answer over the feed; sequences; and what a connection captured.

use crate::common::{CEILING, feed, healthy, messages, ms, seen, until};
use crate::proto::{answers, at_once, bare, brief, briefs, wishes};
use crate::watch::{handled, until_from};
use livefeed::lab::{Command, Incoming, Lab, Received, Script, What};
use livefeed::{
    EndReason, Error, Event, Feed, GapCause, LoginStep, Matcher, OnGap, Rule, SequenceRule, Subscription,
};
use serde_json::{Value, json};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

fn sub(name: &str) -> Subscription {
    Subscription::new(name)
}

fn echo() -> Script {
    Script::new().react(|incoming| {
        let Incoming::Text(text) = incoming else { return Vec::new() };
        let json: Value = serde_json::from_str(text).unwrap();
        match json["ask"].as_str() {
            Some("time") => vec![at_once(&[
                json!({"n": 1}),
                json!({"re": json["id"], "of": json["of"]}),
                json!({"n": 2}),
            ])],
            Some("bye") => vec![Command::Reset],
            _ => Vec::new(),
        }
    })
}

fn up(feed: &Feed) {
    feed.wait_connected(CEILING).unwrap();
}

fn ask(what: &str) -> Value {
    json!({"ask": what, "id": "${id}", "of": what})
}

fn reply() -> Matcher {
    Matcher::pointer("/re", "${id}")
}

#[test]
fn threads_ask_at_once_and_each_gets_its_own_answer() {
    let lab = Lab::start(echo()).unwrap();
    let feed = feed(&lab).open().unwrap();
    up(&feed);
    std::thread::scope(|scope| {
        for thread in 0..2 {
            let feed = &feed;
            scope.spawn(move || {
                for n in 0..50 {
                    let of = 1000 * thread + n;
                    let question = json!({"ask": "time", "id": "${id}", "of": of});
                    let answer = feed.request(question, reply(), CEILING).unwrap();
                    let json: Value = serde_json::from_str(answer.text().unwrap()).unwrap();
                    assert_eq!(json["of"], of);
                }
            });
        }
    });
    // The answers are in nobody else's hands; what came around them is.
    let mut left = 200;
    let events = until(&feed, |event| {
        left -= i32::from(matches!(event, Event::Message(_)));
        left == 0
    });
    assert!(messages(&events).iter().all(|message| message.text().unwrap().starts_with("{\"n\"")));
    healthy(&feed, &lab, |health| health.messages == 300);
}

#[test]
fn without_an_answer_a_question_ends_in_time() {
    let lab = Lab::start(echo()).unwrap();
    let feed = feed(&lab).open().unwrap();
    assert!(matches!(
        feed.request(ask("time"), reply(), ms(1)),
        Err(Error::NotConnected) | Ok(_) | Err(Error::Timeout)
    ));
    up(&feed);
    let begin = Instant::now();
    assert_eq!(feed.request(ask("nothing"), reply(), ms(60)).unwrap_err(), Error::Timeout);
    assert!(begin.elapsed() >= ms(60) && begin.elapsed() < ms(1000));
    // An answer that is too late is known all the same, once; what is none is a message like any other.
    lab.control().all(at_once(&[json!({"re": 2}), json!({"re": 2}), json!({"re": 3}), json!({"mark": 1})]));
    let events = briefs(&until(&feed, |event| brief(event).contains("mark")));
    let [two, three] = [2, 3].map(|n| events.iter().filter(|it| **it == format!(r#" {{"re":{n}}}"#)).count());
    assert_eq!((two, three), (1, 1), "{events:?}");
    assert!(matches!(feed.request(json!({"x": "${nobody}"}), reply(), CEILING), Err(Error::Config { .. })));
    assert!(matches!(
        feed.request("x", Matcher::pointer("no pointer", 1), CEILING),
        Err(Error::Config { .. })
    ));
}

#[test]
fn a_question_whose_connection_is_lost_is_told_at_once() {
    let lab = Lab::start(echo()).unwrap();
    let feed = feed(&lab).open().unwrap();
    up(&feed);
    let begin = Instant::now();
    assert_eq!(feed.request(ask("bye"), reply(), CEILING).unwrap_err(), Error::NotConnected);
    assert!(begin.elapsed() < ms(2000));
    let closing = Lab::start(Script::new()).unwrap();
    let feed = Arc::new(crate::common::feed(&closing).open().unwrap());
    up(&feed);
    let asking = Arc::clone(&feed);
    let asks = std::thread::spawn(move || asking.request(ask("x"), reply(), CEILING));
    seen(&closing, |entry| matches!(entry.what, What::Received(Received::Text(_))));
    feed.close(CEILING).unwrap();
    assert!(matches!(asks.join().unwrap(), Err(Error::NotConnected | Error::Closed(_))));
    assert!(matches!(feed.request(ask("x"), reply(), CEILING), Err(Error::Closed(_))));
}

#[test]
fn a_handler_that_asks_would_wait_for_itself() {
    let lab = Lab::start(Script::new().send("hello")).unwrap();
    let own: Arc<OnceLock<Feed>> = Arc::default();
    let (sender, said) = crossbeam_channel::unbounded();
    let inner = Arc::clone(&own);
    let feed = feed(&lab).handler(move |event| {
        if let (Event::Message(_), Some(feed)) = (&event, inner.get()) {
            drop(sender.send(feed.request("x", Matcher::text("y"), CEILING).unwrap_err()));
        }
    });
    own.set(feed.open().unwrap()).map_err(drop).unwrap();
    lab.control().all(Command::Send("again".into()));
    seen(&lab, |entry| matches!(entry.what, What::Upgraded { .. }));
    lab.control().all(Command::Send("again".into()));
    assert_eq!(said.recv_timeout(CEILING), Ok(Error::WouldDeadlock));
    own.get().unwrap().close(CEILING).unwrap();
}

// ---- sequences -------------------------------------------------------------------------------------------------

fn numbers(ch: &str, numbers: &[u64]) -> Command {
    at_once(&numbers.iter().map(|n| json!({"ch": ch, "n": n})).collect::<Vec<_>>())
}

#[test]
fn a_gap_in_the_numbers_stands_directly_before_the_message() {
    let lab = Lab::start(Script::new().then(numbers("a", &[5, 6, 9, 10])).then(numbers("b", &[1, 2, 2, 5])))
        .unwrap();
    let build = || {
        bare(&lab)
            .defaults(|terms| terms.sequence(SequenceRule::contiguous("/n")))
            .subscription(sub("a"))
            .subscription(sub("b"))
    };
    let feed = build().open().unwrap();
    let events = until(&feed, |event| brief(event) == r#"b {"ch":"b","n":5}"#);
    let expected = [
        r#"a {"ch":"a","n":5}"#,
        r#"a {"ch":"a","n":6}"#,
        "gap sequence a",
        r#"a {"ch":"a","n":9}"#,
        r#"a {"ch":"a","n":10}"#,
        r#"b {"ch":"b","n":1}"#,
        r#"b {"ch":"b","n":2}"#,
        r#"b {"ch":"b","n":2}"#,
        "gap sequence b",
        r#"b {"ch":"b","n":5}"#,
    ];
    let only = |all: Vec<String>| {
        all.into_iter()
            .filter(|it| !it.starts_with("subscribed") && !it.starts_with("connect"))
            .collect::<Vec<_>>()
    };
    let gap =
        events.iter().find_map(|event| if let Event::Gap(gap) = event { Some(gap) } else { None }).unwrap();
    assert_eq!((gap.cause, gap.from, gap.to, gap.lost), (GapCause::Sequence, Some(6), Some(9), Some(2)));
    assert_eq!(
        gap.last_message,
        Some(events.iter().find(|event| brief(event).ends_with("6}")).unwrap().time())
    );
    assert_eq!(only(briefs(&events)), expected);
    assert_eq!(feed.health().gaps, 2);
    let (feed, events) = handled(build());
    assert_eq!(only(briefs(&until_from(&events, |event| brief(event) == r#"b {"ch":"b","n":5}"#))), expected);
    feed.close(CEILING).unwrap();
}

#[test]
fn a_gap_may_be_repaired_by_subscribing_anew_or_by_a_new_connection() {
    let lab = Lab::start(answers(|it| match it.op.as_str() {
        "sub" => vec![numbers(&it.ch, &[1, 2])],
        _ => Vec::new(),
    }))
    .unwrap();
    let rule = |on_gap| SequenceRule::contiguous("/n").on_gap(on_gap);
    let feed = bare(&lab)
        .subscription(sub("a").sequence(rule(OnGap::Resubscribe)))
        .subscription(sub("b").sequence(rule(OnGap::Reconnect)))
        .open()
        .unwrap();
    until(&feed, |event| brief(event) == r#"b {"ch":"b","n":2}"#);
    lab.control().all(numbers("a", &[7, 8, 12]));
    let events = briefs(&until(&feed, |event| brief(event) == r#"a {"ch":"a","n":2}"#));
    assert_eq!(events[0], "gap sequence a");
    // It is made again while the rest of what came is still being read, which may have a gap of its own.
    let again = crate::proto::at(&events, "gap resubscribed a")
        .max(crate::proto::at(&events, r#"a {"ch":"a","n":12}"#));
    assert!(!events[again..].contains(&"gap sequence a".to_owned()), "the numbers begin anew: {events:?}");
    assert_eq!(wishes(&lab, 1), ["sub a", "sub b", "unsub a", "sub a"]);
    lab.control().all(numbers("b", &[7]));
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
    assert_eq!(end.reason, EndReason::SequenceGap { subscription: Some("b".into()), from: 2, to: 7 });
    until(&feed, |event| event.epoch() == 2 && brief(event) == r#"b {"ch":"b","n":2}"#);
}

#[test]
fn repeats_show_life_and_are_no_data_and_counters_are_apart() {
    let lab = Lab::start(answers(|_| {
        vec![at_once(&[
            json!({"ch": "a", "p": "x", "n": 1}),
            json!({"ch": "a", "p": "y", "n": 40}),
            json!({"ch": "a", "p": "x", "n": 2}),
            json!({"ch": "a", "p": "x", "n": 2}),
            json!({"ch": "a", "p": "y", "n": 42}),
        ])]
    }))
    .unwrap();
    let rule = SequenceRule::contiguous("/n").per("/p").repeats(true);
    let a = sub("a").sequence(rule).stale_after(ms(300)).repair([livefeed::RepairStep::Reconnect]);
    let feed = bare(&lab).subscription(a).open().unwrap();
    let events = briefs(&until(&feed, |event| brief(event).contains("42")));
    assert_eq!(events[events.len() - 2], "gap sequence a");
    assert_eq!(events.iter().filter(|event| event.starts_with("a {")).count(), 4, "{events:?}");
    assert!(events.contains(&"subscribed a".to_owned()));
    // They keep it from going stale.
    for _ in 0..10 {
        lab.control().all(at_once(&[json!({"ch": "a", "p": "x", "n": 2})]));
        assert!(feed.recv_timeout(ms(60)).is_err(), "a pause is what happens here");
    }
    assert_eq!(feed.health().subscriptions[0].messages, 4);
    until(&feed, |event| matches!(event, Event::Stale(_)));
}

#[test]
fn the_numbers_of_a_whole_connection_count_all_kinds_of_messages() {
    let lab = Lab::start(Script::new().then(at_once(&[
        json!({"n": 1, "hb": 1}),
        json!({"n": 2, "ch": "a"}),
        json!({"n": 3, "hb": 1}),
        json!({"n": 5, "ch": "a"}),
    ])))
    .unwrap();
    let feed = bare(&lab)
        .rule(Rule::heartbeat(Matcher::exists("/hb")))
        .sequence(SequenceRule::contiguous("/n"))
        .subscription(sub("a"))
        .open()
        .unwrap();
    let events = until(&feed, |event| brief(event).contains("\"n\":5"));
    let gap =
        events.iter().find_map(|event| if let Event::Gap(gap) = event { Some(gap) } else { None }).unwrap();
    assert_eq!((gap.subscriptions.len(), gap.from, gap.to, gap.lost), (0, Some(3), Some(5), Some(1)));
    assert!(matches!(events[events.len() - 2], Event::Gap(_)));
}

// ---- captures --------------------------------------------------------------------------------------------------

#[test]
fn what_data_looks_like_follows_what_the_connection_captured() {
    // Each connection gives another prefix, at the login and again by a message.
    let plan = |connection: usize| Script::new().send(format!(r#"{{"prefix":"p{connection}"}}"#));
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let data = || Matcher::pointer("/ch", "${prefix}.${name}");
    let feed = feed(&lab)
        .login(LoginStep::expect(Matcher::exists("/prefix")).capture("prefix", "/prefix"))
        .rule(Rule::ignored(Matcher::exists("/prefix")).capture("prefix", "/prefix"))
        .subscription(sub("a").data(data()))
        .open()
        .unwrap();
    up(&feed);
    // This one is wanted only now, when the prefix is known.
    feed.subscribe(sub("b").data(data())).unwrap();
    lab.control().all(at_once(&[
        json!({"ch": "p1.a"}),
        json!({"ch": "p1.b"}),
        json!({"prefix": "q"}),
        json!({"ch": "p1.a"}),
        json!({"ch": "q.b"}),
    ]));
    let events = briefs(&until(&feed, |event| brief(event).contains("q.b")));
    let own: Vec<_> = events.iter().filter(|event| event.contains("ch")).collect();
    assert_eq!(own, [r#"a {"ch":"p1.a"}"#, r#"b {"ch":"p1.b"}"#, r#" {"ch":"p1.a"}"#, r#"b {"ch":"q.b"}"#]);
    lab.control().drop_connections();
    until(&feed, |event| matches!(event, Event::Gap(_)));
    lab.control().all(at_once(&[
        json!({"ch": "q.b"}),
        json!({"ch": "p1.b"}),
        json!({"ch": "p2.a"}),
        json!({"ch": "p2.b"}),
    ]));
    let events = briefs(&until(&feed, |event| brief(event).contains("p2.b")));
    let own: Vec<_> = events.iter().filter(|event| event.contains("ch")).collect();
    assert_eq!(own, [r#" {"ch":"q.b"}"#, r#" {"ch":"p1.b"}"#, r#"a {"ch":"p2.a"}"#, r#"b {"ch":"p2.b"}"#]);
}

#[test]
fn a_cursor_takes_up_where_the_last_connection_was() {
    let lab = Lab::start(answers(|it| vec![numbers(&it.ch, &[it.id + 10, it.id + 11])])).unwrap();
    let a = sub("a")
        .cursor("/n")
        .subscribe_json(json!({"op": "sub", "id": "${id}", "ch": "a", "from": "${cursor|0}"}));
    let feed = bare(&lab).subscription(a).open().unwrap();
    let from = |connection| {
        let transcript = lab.transcript();
        let texts = transcript.received_texts(connection);
        serde_json::from_str::<Value>(texts[0]).unwrap()["from"].clone()
    };
    until(&feed, |event| brief(event).contains("12"));
    // What does not say how far the data has come takes nothing back, in the same segment or in a later one.
    let more = [json!({"ch": "a", "n": 13}), json!({"ch": "a", "n": 14}), json!({"ch": "a"})];
    lab.control().all(at_once(&more));
    lab.control().all(at_once(&[json!({"ch": "a", "more": "none"})]));
    until(&feed, |event| brief(event).contains("none"));
    lab.control().drop_connections();
    until(&feed, |event| event.epoch() == 2 && matches!(event, Event::Message(_)));
    assert_eq!((from(1), from(2)), (json!(0), json!(14)));
}

#[test]
fn counting_goes_on_while_very_many_come_and_go() {
    // So many changes between two messages that all routes are said anew: the numbers are not forgotten.
    let lab = Lab::start(answers(|it| if it.ch == "a" { vec![numbers("a", &[1, 2])] } else { Vec::new() }))
        .unwrap();
    let feed = bare(&lab)
        .defaults(|terms| terms.sequence(SequenceRule::contiguous("/n")))
        .subscription(sub("a"))
        .open()
        .unwrap();
    until(&feed, |event| brief(event) == r#"a {"ch":"a","n":2}"#);
    for n in 0..3000 {
        feed.subscribe(sub("x").var("n", n)).unwrap();
    }
    feed.unsubscribe("x").unwrap();
    lab.control().all(numbers("a", &[3, 6]));
    let events = briefs(&until(&feed, |event| brief(event) == r#"a {"ch":"a","n":6}"#));
    let own: Vec<_> = events.iter().filter(|event| event.contains('a') && !event.contains('x')).collect();
    assert_eq!(own, [r#"a {"ch":"a","n":3}"#, "gap sequence a", r#"a {"ch":"a","n":6}"#]);
}
