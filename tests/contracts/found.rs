//! What the configuration looks for in messages, and what is said where it is not there.

use crate::common::{CEILING, feed, messages, ms, until};
use crate::proto::{answers, asked, brief, send, speaking, terms};
use livefeed::lab::{Command, Incoming, Lab, Script};
use livefeed::{
    Ack, AlertKind, EndReason, Error, Event, LoginStep, Matcher, Rule, SequenceRule, Subscription,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

fn sub(name: &str) -> Subscription {
    Subscription::new(name)
}

/// What is said to be missing, as `subscription field pointer messages`.
fn missing(events: &[Event]) -> Vec<String> {
    let of = |event: &Event| match event {
        Event::Alert(alert) => match &alert.kind {
            AlertKind::NothingFound { subscription, field, pointer, messages } => {
                let name = subscription.as_ref().map_or("-", |name| name.as_str());
                Some(format!("{name} {field} {pointer} {messages}"))
            }
            _ => None,
        },
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

/// Ends what is looked at.
fn mark() -> Value {
    json!({"mark": 1})
}

fn is_mark(event: &Event) -> bool {
    brief(event).contains("mark")
}

#[test]
fn a_sequence_that_finds_no_number_says_so() {
    // 60 of each, and of what is no data more than that.
    let script = answers(|it| {
        let data = (0..60).map(|n| send(&json!({"ch": it.ch, "n": n})));
        let acks = (0..60).map(|_| send(&json!({"ack": it.id})));
        acks.chain(data).chain([send(&mark())]).collect()
    });
    let expected = ["a sequence /seq 50", "- sequence /number 50"];
    for (own, whole, expected) in [("/seq", "/number", &expected[..]), ("/n", "/n", &[])] {
        let lab = Lab::start(script.clone()).unwrap();
        let feed = speaking(&lab)
            .subscription(sub("a").sequence(SequenceRule::contiguous(own)))
            .sequence(SequenceRule::contiguous(whole))
            .open()
            .unwrap();
        let mut said = missing(&until(&feed, is_mark));
        if said.len() < expected.len() {
            said.extend(missing(&until(&feed, |event| !missing(std::slice::from_ref(event)).is_empty())));
        }
        said.sort_by(|a, b| b.cmp(a));
        assert_eq!(said, expected);
    }
}

#[test]
fn what_an_acknowledgement_was_to_bind_and_does_not_have_is_said_once_for_a_connection() {
    let script = answers(|it| match it.op.as_str() {
        "sub" => vec![send(&json!({"ack": it.id}))],
        _ => Vec::new(),
    });
    let bound = Matcher::pointer("/chan", "${chan}");
    for (data, said) in [(bound, true), (Matcher::pointer("/chan", "${chan|7}"), false)] {
        let lab = Lab::start(script.clone()).unwrap();
        let feed = feed(&lab)
            .heartbeat(Matcher::text("alive")) // rules are counted without it
            .rule(Rule::ack(Matcher::exists("/ack")).by_id("/ack").bind("chan", "/channel/id"))
            .defaults(terms)
            .defaults(|terms| terms.ack(Ack::Rule).data(data.clone()))
            .subscription(sub("a"))
            .subscription(sub("b"))
            .open()
            .unwrap();
        for connection in 1..=2 {
            let mut granted = 0;
            let mut events = until(&feed, |event| {
                granted += i32::from(matches!(event, Event::Subscribed(_)));
                granted == 2
            });
            lab.control().connection(connection, send(&mark()));
            events.extend(until(&feed, is_mark));
            let expected: &[&str] = if said { &["a rules[0].bind.chan /channel/id 1"] } else { &[] };
            assert_eq!(missing(&events), expected);
            lab.control().connection(connection, Command::Reset);
        }
    }
}

#[test]
fn a_closure_may_ask_for_the_last_message() {
    let script = answers(|it| vec![send(&json!({"ch": it.ch, "n": 1})), send(&json!({"ch": it.ch, "n": 2}))]);
    let lab = Lab::start(script).unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let last = Arc::clone(&seen);
    let a = sub("a").data(Matcher::pointer("/ch", "a")).subscribe_with(move |context| {
        last.lock().unwrap().push(context.last_message().and_then(|it| it.text().map(str::to_owned)));
        Ok(json!({"op": "sub", "id": 1, "ch": "a"}).to_string())
    });
    let feed = feed(&lab).subscription(a).open().unwrap();
    until(&feed, |event| brief(event).contains(r#""n":2"#));
    lab.control().all(Command::Reset);
    until(&feed, |event| brief(event).contains(r#""n":2"#));
    assert_eq!(*seen.lock().unwrap(), [None, Some(r#"{"ch":"a","n":2}"#.to_owned())]);
}

#[test]
fn an_answer_may_have_the_number_as_a_text() {
    let script = Script::new().react(|incoming| match incoming {
        Incoming::Text(text) => vec![send(&json!({"re": asked(text).ch, "of": {"re": asked(text).ch}}))],
        Incoming::Binary(_) => Vec::new(),
    });
    let lab = Lab::start(script).unwrap();
    let feed = feed(&lab).open().unwrap();
    feed.wait_connected(CEILING).unwrap();
    let question = || json!({"ch": {"$text": "${id}"}});
    for reply in [
        Matcher::pointer("/re", "${id}"),
        Matcher::one_of("/re", ["none", "${id}"]),
        Matcher::contains("/of", json!({"re": "${id}"})),
        Matcher::all([Matcher::exists("/of"), Matcher::pointer("/re", "${id}")]),
    ] {
        let answer = feed.request(question(), reply.clone(), CEILING);
        assert!(answer.is_ok(), "{reply:?}: {answer:?}");
    }
    assert!(messages(&feed.try_iter().collect::<Vec<_>>()).is_empty());
}

/// How the first two attempts ended.
fn ends(feed: livefeed::FeedBuilder) -> Vec<EndReason> {
    let mut ends = Vec::new();
    until(&feed.open().unwrap(), |event| {
        if let Event::Disconnected(end) = event {
            ends.push(end.reason.clone());
        }
        ends.len() == 2
    });
    ends
}

#[test]
fn a_login_that_fails_here_is_no_refusal_and_says_which_step_it_was() {
    let lab = Lab::start(Script::new().send(r#"{"hello":1}"#)).unwrap();
    let hello = || LoginStep::expect(Matcher::exists("/hello")).capture("nonce", "/nonce");
    let no_key = LoginStep::send_with(|_| Err::<String, _>("no key".to_owned()));
    for (second, detail) in [
        (
            LoginStep::send_text("sign ${nonce}"),
            "login[1]: nothing is known by the name of ${nonce}: login[0].capture.nonce found nothing at /nonce",
        ),
        (
            LoginStep::send_text("key").expecting(Matcher::text("${nonce}")),
            "login[1]: nothing is known by the name of ${nonce}: login[0].capture.nonce found nothing at /nonce",
        ),
        (no_key, "login[1]: no key"),
    ] {
        for end in ends(feed(&lab).login(hello()).login(second.clone())) {
            let EndReason::LoginFailed { detail: said, .. } = &end else { panic!("{end:?}") };
            assert_eq!(said, detail);
            assert!(end.to_string().starts_with("login failed: login[1]: "), "{end}");
        }
    }
}

#[test]
fn a_login_that_is_not_answered_says_which_step_waited_and_for_what_else_came() {
    let script = Script::new().send(r#"{"hello":1}"#).send("secret-1").send("secret-2");
    let lab = Lab::start(script).unwrap();
    let feed = feed(&lab)
        .login(LoginStep::expect(Matcher::exists("/hello")))
        .login(LoginStep::send_text("key").expecting(Matcher::text("ok")))
        .connect(|connect| connect.timeout = ms(400));
    for end in ends(feed) {
        let EndReason::AttemptTimeout { detail, .. } = &end else { panic!("{end:?}") };
        assert_eq!(detail, "login[1] did not get what it expects; other messages that came: 2");
        assert!(end.to_string().ends_with(detail) && !end.to_string().contains("secret"), "{end}");
    }
}

#[test]
fn a_question_is_for_no_subscriptions() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = feed(&lab).open().unwrap();
    feed.wait_connected(CEILING).unwrap();
    let asked = feed.request(json!({"of": {"$each": "${name}"}}), Matcher::exists("/re"), ms(50));
    let Err(Error::Config { path, problem }) = asked else { panic!("{asked:?}") };
    assert!(path == "question" && problem.contains("`subscribe`"), "{path}: {problem}");
}
