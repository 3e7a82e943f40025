//! Logging in: steps in order, within the budget of the attempt, before anything else.

use crate::common::{CEILING, feed, in_lab, messages, ms, until};
use crate::proto::{answers, asked, at, at_once, brief, briefs, send, speaking};
use crate::watch::{handled, lab_sees, to_the_end, until_from};
use livefeed::lab::{Certificate, Command, Incoming, Lab, Received, Script, What};
use livefeed::{
    AlertKind, CloseReason, Codec, EndReason, ErrorClass, Event, FeedBuilder, Interval, Keepalive,
    LoginError, LoginStep, Matcher, Rule, Stage, Subscription,
};
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// A server that greets with a challenge, wants it back, and grants what it is then asked for. `extra` comes in one
/// segment with the last answer of the login.
fn strict(extra: &[Value]) -> Script {
    let mut granted = vec![json!({"event": "welcome", "token": "t-77"})];
    granted.extend(extra.iter().cloned());
    Script::new().send(r#"{"event":"challenge","nonce":41}"#).react(move |incoming| {
        let Incoming::Text(text) = incoming else { return Vec::new() };
        let json: Value = serde_json::from_str(text).unwrap();
        match json["op"].as_str() {
            Some("auth") if json["nonce"] == 41 => vec![send(&json!({"event": "ok"}))],
            Some("hello") => vec![at_once(&granted)],
            Some("sub") => vec![send(&json!({"ack": json["id"]})), send(&json!({"ch": json["ch"]}))],
            _ => vec![Command::Close(4001, "not now".into())],
        }
    })
}

fn steps(builder: FeedBuilder) -> FeedBuilder {
    builder
        .login(LoginStep::expect(Matcher::pointer("/event", "challenge")).capture("nonce", "/nonce"))
        .login(
            LoginStep::send_json(json!({"op": "auth", "nonce": "${nonce}", "id": "${id}"}))
                .expecting(Matcher::pointer("/event", "ok"))
                .refused(Matcher::pointer("/event", "denied"))
                .detail("/msg"),
        )
        .login(
            LoginStep::send_json(json!({"op": "hello"}))
                .expecting(Matcher::pointer("/event", "welcome"))
                .capture("token", "/token"),
        )
}

fn sub(name: &str) -> Subscription {
    Subscription::new(name)
        .subscribe_json(json!({"op": "sub", "id": "${id}", "ch": "${name}", "token": "${token}"}))
}

#[test]
fn steps_are_taken_in_order_before_all_else() {
    for tls in [false, true] {
        let builder = Lab::builder().script(strict(&[]));
        let lab = if tls { builder.tls(Certificate::Valid).start() } else { builder.start() }.unwrap();
        let trusting = |builder: FeedBuilder| {
            if tls { builder.tls(|it| it.extra_roots_pem.push(lab.ca_pem().to_owned())) } else { builder }
        };
        let keepalive = Keepalive::every(ms(10)).send_json(json!({"op": "sub", "ch": "beat"}));
        let feed =
            steps(trusting(speaking(&lab))).keepalive(keepalive).subscription(sub("a")).open().unwrap();
        for epoch in 1..=2 {
            let events = briefs(&until(&feed, |event| brief(event).starts_with("a {")));
            assert!(at(&events, &format!("connected {epoch}")) < at(&events, "subscribed a"));
            let transcript = lab.transcript();
            let texts = transcript.received_texts(epoch);
            let ops: Vec<_> = texts.iter().map(|text| asked(text).op).collect();
            assert_eq!(ops[..3], ["auth", "hello", "sub"], "{transcript}");
            let sub: Value = serde_json::from_str(texts[2]).unwrap();
            assert_eq!(sub["token"], "t-77");
            let numbers: Vec<_> = texts.iter().map(|text| asked(text).id).filter(|id| *id > 0).collect();
            assert!(numbers.is_sorted(), "{numbers:?}");
            lab.control().drop_connections();
        }
    }
}

#[test]
fn what_comes_with_the_last_answer_stands_after_connected() {
    let extra = [json!({"ch": "a", "n": 1}), json!({"ack": 9}), json!({"ch": "a", "n": 2})];
    let lab = Lab::start(strict(&extra)).unwrap();
    let feed = steps(speaking(&lab)).subscription(sub("a")).open().unwrap();
    let events = briefs(&until(&feed, |event| brief(event).starts_with("a {\"ch\":\"a\"}")));
    let expected = ["connected 1", r#"a {"ch":"a","n":1}"#, r#" {"ack":9}"#, r#"a {"ch":"a","n":2}"#];
    let from = at(&events, "connected 1");
    assert_eq!(events[from..from + 4], expected, "{events:?}");
    // The same for a handler.
    let (feed, events) = handled(steps(speaking(&lab)).subscription(sub("a")));
    let events = briefs(&until_from(&events, |event| brief(event).starts_with("a {\"ch\":\"a\"}")));
    let from = at(&events, "connected 1");
    assert_eq!(events[from..from + 4], expected, "{events:?}");
    feed.close(CEILING).unwrap();
    // And where nothing is looked for in messages.
    let (feed, events) = handled(steps(crate::common::feed(&lab)));
    let events = until_from(&events, |event| brief(event).contains("\"n\":2"));
    assert_eq!(messages(&events).len(), 3);
    feed.close(CEILING).unwrap();
}

#[test]
fn what_comes_before_the_login_is_through_is_decoded_once() {
    // Were it decoded again, the inner arrays would be taken apart, too.
    let script = Script::new().react(|incoming| match incoming {
        Incoming::Text("login") => vec![Command::Send(r#"["ok",[1,2],[3]]"#.into())],
        _ => Vec::new(),
    });
    let lab = Lab::start(script).unwrap();
    let feed = feed(&lab)
        .codec(Codec::Items)
        .login(LoginStep::send_text("login").expecting(Matcher::text("\"ok\"")))
        .open()
        .unwrap();
    let events = until(&feed, |event| brief(event).contains("[3]"));
    let texts: Vec<_> = messages(&events).into_iter().map(|message| message.text().unwrap()).collect();
    assert_eq!(texts, ["[1,2]", "[3]"]);
}

#[test]
fn a_long_login_makes_nothing_stale() {
    // Data comes at the beginning of the login, which then takes longer than the limit.
    let script = Script::new()
        .send(r#"{"ch":"a"}"#)
        .for_(ms(400))
        .send(r#"{"event":"ok"}"#)
        .for_(ms(100))
        .send(r#"{"ch":"a","n":2}"#);
    let lab = Lab::start(script).unwrap();
    let feed = feed(&lab)
        .stale_after(ms(300))
        .login(LoginStep::expect(Matcher::pointer("/event", "ok")))
        .subscription(Subscription::new("a").data(Matcher::pointer("/ch", "a")))
        .open()
        .unwrap();
    let events = until(&feed, |event| brief(event).contains("\"n\":2"));
    assert!(!events.iter().any(|event| matches!(event, Event::Stale(_))), "{:?}", briefs(&events));
    let all = messages(&events);
    assert!(all[1].received() - all[0].received() >= ms(400), "each has its own time");
}

#[test]
fn a_refused_login_is_final_before_the_first_connection_and_retried_after_it() {
    let refusing = || Script::new().reply(|_| vec![r#"{"event":"denied","msg":"bad key"}"#.to_owned()]);
    let step = || {
        LoginStep::send_text("key")
            .expecting(Matcher::pointer("/event", "ok"))
            .refused(Matcher::pointer("/event", "denied"))
            .detail("/msg")
    };
    let lab = Lab::start(refusing()).unwrap();
    let never = feed(&lab).login(step()).open().unwrap();
    let (events, reason) = to_the_end(&never);
    let CloseReason::Fatal(EndReason::LoginRefused { detail, .. }) = &reason else { panic!("{reason:?}") };
    assert_eq!(detail, "bad key");
    assert!(!briefs(&events).contains(&"connected 1".to_owned()));

    let fine = Script::new().reply(|_| vec![r#"{"event":"ok"}"#.to_owned()]);
    let plan = move |connection| if connection == 2 { refusing() } else { fine.clone() };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let up = feed(&lab).login(step()).open().unwrap();
    until(&up, |event| matches!(event, Event::Connected(_)));
    lab.control().drop_connections();
    let events = until(&up, |event| matches!(event, Event::Connected(connected) if connected.epoch == 2));
    let alert = events.iter().find_map(|event| match event {
        Event::Alert(alert) => Some(&alert.kind),
        _ => None,
    });
    assert!(
        matches!(alert, Some(AlertKind::NeedsAttention { reason: EndReason::LoginRefused { .. } })),
        "{:?}",
        briefs(&events)
    );

    // A class that can pass is no matter of ever having been up.
    let lab = Lab::start(Script::new().reply(|_| vec![r#"{"event":"denied"}"#.to_owned()])).unwrap();
    let later = feed(&lab).login(step().class(ErrorClass::RetryLater)).open().unwrap();
    for _ in 0..3 {
        until(
            &later,
            |event| matches!(event, Event::Disconnected(end) if matches!(end.reason, EndReason::LoginRefused { .. })),
        );
    }
}

#[test]
fn silence_in_the_login_ends_with_the_budget_of_the_attempt() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = feed(&lab)
        .connect(|connect| (connect.timeout, connect.stagger) = (ms(150), ms(50)))
        .login(LoginStep::send_text("key").expecting(Matcher::text("ok")))
        .open()
        .unwrap();
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
    assert!(matches!(end.reason, EndReason::AttemptTimeout { stage: Stage::Login, .. }), "{end:?}");
    assert!(!end.was_connected);
    let upgraded = lab_sees(&lab, "the upgrade", |entry| matches!(entry.what, What::Upgraded { .. }));
    let ended = lab_sees(&lab, "the end", |entry| matches!(entry.what, What::Ended(_)));
    let took = ended.at - upgraded.at;
    assert!(took >= ms(100) && took < ms(1000), "{took:?}");
    let trickle = Script::new().heartbeats("not yet", ms(5));
    lab.control().script(trickle);
    lab.control().drop_connections();
    until(
        &feed,
        |event| matches!(event, Event::Disconnected(end) if matches!(end.reason, EndReason::AttemptTimeout { stage: Stage::Login, .. })),
    );
}

#[test]
fn close_during_the_login_returns_at_once() {
    for tls in [false, true] {
        let builder = Lab::builder();
        let lab = if tls { builder.tls(Certificate::Valid).start() } else { builder.start() }.unwrap();
        let feed = feed(&lab)
            .tls(|it| {
                if tls {
                    it.extra_roots_pem.push(lab.ca_pem().to_owned())
                }
            })
            .login(LoginStep::send_text("key").expecting(Matcher::text("ok")))
            .open()
            .unwrap();
        in_lab(&lab, |what| matches!(what, What::Received(Received::Text(_))));
        let begin = Instant::now();
        feed.close(CEILING).unwrap();
        assert!(begin.elapsed() < ms(500), "{:?}", begin.elapsed());
        let (_, reason) = to_the_end(&feed);
        assert_eq!(reason, CloseReason::ByUser);
    }
}

#[test]
fn a_closure_may_block_and_fail_and_leaves_variables() {
    let lab = Lab::start(Script::new().reply(|_| vec!["ok".to_owned()])).unwrap();
    let calls = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&calls);
    let call = LoginStep::call(move |context| {
        assert!(context.time_left > ms(100));
        match counted.fetch_add(1, Ordering::Relaxed) {
            0 => Err(LoginError::retry("no route")),
            1 => panic!("a bug"),
            _ => {
                context.set("token", format!("made-{}-{}", context.epoch, context.attempt));
                Ok(())
            }
        }
    });
    let feed = feed(&lab)
        .login(call)
        .login(LoginStep::send_text("token ${token}").expecting(Matcher::text("ok")))
        .open()
        .unwrap();
    let events = briefs(&until(&feed, |event| matches!(event, Event::Connected(_))));
    let ends: Vec<_> = events.iter().filter(|event| event.starts_with("disconnected")).collect();
    assert!(ends[0].contains("no route") && ends[1].contains("a bug"), "{events:?}");
    in_lab(&lab, |what| matches!(what, What::Received(Received::Text(text)) if **text == *"token made-1-3"));
    let end = |class| {
        let step = LoginStep::call(move |_| Err(LoginError::new(class, "no")));
        crate::common::feed(&lab).login(step).open().unwrap()
    };
    for class in [ErrorClass::FeedFatal, ErrorClass::Refused] {
        let (_, reason) = to_the_end(&end(class));
        assert!(
            matches!(&reason, CloseReason::Fatal(EndReason::LoginFailed { class: said, detail }) if *said == class && detail == "login[0]: no")
        );
    }
}

#[test]
fn pings_are_answered_during_the_login() {
    let script = Script::new()
        .then(Command::Ping(b"there?".to_vec()))
        .then(Command::react(|_| vec![Command::Ping(b"still?".to_vec())]));
    let lab = Lab::start(script).unwrap();
    let feed = feed(&lab).login(LoginStep::send_text("key").expecting(Matcher::text("ok"))).open().unwrap();
    for payload in [&b"there?"[..], b"still?"] {
        in_lab(&lab, |what| matches!(what, What::Received(Received::Pong(got)) if **got == *payload));
    }
    lab.control().all(Command::Send("ok".into()));
    until(&feed, |event| matches!(event, Event::Connected(_)));
}

#[test]
fn a_peer_that_hangs_up_during_the_login_is_a_typed_end() {
    let plan = |connection| match connection {
        1 => Script::new().until_text(|_| true).close(4003, "who are you"),
        2 => Script::new().until_text(|_| true).reset(),
        3 => Script::new().until_text(|_| true).then(Command::Fin),
        _ => Script::new().reply(|_| vec!["ok".to_owned()]),
    };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let (feed, events) =
        handled(feed(&lab).login(LoginStep::send_text("key").expecting(Matcher::text("ok"))));
    let events = until_from(&events, |event| matches!(event, Event::Connected(_)));
    let ends: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Disconnected(end) => Some(&end.reason),
            _ => None,
        })
        .collect();
    assert!(matches!(ends[0], EndReason::ClosedByPeer { code: Some(4003), .. }), "{ends:?}");
    assert!(matches!(ends[1], EndReason::Io { .. } | EndReason::Eof), "{ends:?}");
    assert!(matches!(ends[2], EndReason::Eof), "{ends:?}");
    feed.close(CEILING).unwrap();
}

#[test]
fn a_flood_before_the_login_is_answered_is_bounded() {
    let lab = Lab::start(answers(|_| vec![Command::Flood(livefeed::lab::Flood::of_size(1000))])).unwrap();
    let feed = feed(&lab)
        .limits(|limits| limits.message_bytes = 64 << 10)
        .login(LoginStep::send_text("key").expecting(Matcher::text("ok")))
        .open()
        .unwrap();
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    assert!(brief(events.last().unwrap()).contains("too much came"), "{:?}", briefs(&events));
}

/// What is said to the renewal of this number, if it is not the next token.
type InPlace = fn(u64) -> Option<Vec<Command>>;

/// A server that gives out tokens `t-1`, `t-2`, .. which last so many milliseconds, and grants subscriptions to the newest
/// only. `answer` is what it says to a renewal in place of that, if it does.
fn expiring(lasts: &'static [u64], answer: InPlace) -> Script {
    let given = AtomicU64::new(0);
    let renew = AtomicU64::new(0);
    Script::new().react(move |incoming| {
        let Incoming::Text(text) = incoming else { return Vec::new() };
        let json: Value = serde_json::from_str(text).unwrap();
        let newest = || format!("t-{}", given.load(Ordering::SeqCst));
        let next = |event: &str| {
            let index = usize::try_from(given.fetch_add(1, Ordering::SeqCst)).unwrap();
            let lasts = lasts[index.min(lasts.len() - 1)];
            vec![send(&json!({"event": event, "session": {"token": newest(), "ttl": lasts}}))]
        };
        match json["op"].as_str() {
            Some("auth") => next("ok"),
            Some("renew") if json["token"] != newest() => vec![Command::Close(4002, "not the token".into())],
            Some("renew") => {
                answer(renew.fetch_add(1, Ordering::SeqCst) + 1).unwrap_or_else(|| next("renewed"))
            }
            Some("sub") if json["token"] == newest() => vec![send(&json!({"ack": json["id"]}))],
            _ => vec![Command::Close(4001, "expired".into())],
        }
    })
}

fn renewing(lab: &Lab) -> FeedBuilder {
    let login = LoginStep::send_json(json!({"op": "auth", "key": "k"}))
        .expecting(Matcher::pointer("/event", "ok"))
        .capture("token", "/session/token")
        .capture("ttl", "/session/ttl");
    let renewal = Keepalive::every(Interval::text("${ttl - 60000}ms"))
        .send_json(json!({"op": "renew", "token": "${token}"}))
        .expect(Matcher::pointer("/event", "renewed"))
        .capture("token", "/session/token")
        .capture("ttl", "/session/ttl")
        .refused(Matcher::pointer("/event", "denied"))
        .detail("/msg");
    speaking(lab).login(login).keepalive(renewal).deliver_heartbeats(true)
}

fn tells(event: &Event, word: &str) -> bool {
    matches!(event, Event::Message(message) if message.text().is_some_and(|text| text.contains(word)))
}

#[test]
fn a_login_that_expires_is_renewed_before_that_with_what_the_last_answer_gave() {
    // The first lasts 400 ms over the margin, the second 300 ms, the third for an hour.
    let lab = Lab::start(expiring(&[60_400, 60_300, 3_600_000], |_| None)).unwrap();
    let feed = renewing(&lab).subscription(sub("a")).open().unwrap();
    until(&feed, |event| matches!(event, Event::Connected(_)));
    let begin = Instant::now();
    until(&feed, |event| tells(event, "t-2"));
    assert!(begin.elapsed() >= ms(350), "{:?}", begin.elapsed());
    let second = Instant::now();
    until(&feed, |event| tells(event, "t-3"));
    assert!(second.elapsed() >= ms(250), "{:?}", second.elapsed());
    // What is asked for now is granted to the new token only.
    feed.subscribe(sub("b")).unwrap();
    let events = briefs(&until(&feed, |event| brief(event) == "subscribed b"));
    assert!(!events.iter().any(|event| event.starts_with("disconnected")), "{events:?}");
    let transcript = lab.transcript();
    let texts = transcript.received_texts(1);
    let said: Vec<_> = texts
        .iter()
        .map(|text| serde_json::from_str::<Value>(text).unwrap())
        .map(|it| format!("{} {}", it["op"].as_str().unwrap(), it["token"].as_str().unwrap_or("-")))
        .collect();
    assert_eq!(said, ["auth -", "sub t-1", "renew t-1", "renew t-2", "sub t-3"], "{transcript}");
}

#[test]
fn a_renewal_that_is_refused_or_not_answered_ends_in_a_new_login() {
    let denied = |nth: u64| (nth == 1).then(|| vec![send(&json!({"event": "denied", "msg": "too old"}))]);
    let fatal = |nth: u64| (nth == 1).then(|| vec![send(&json!({"event": "revoked", "msg": "too old"}))]);
    let mute = |_| Some(Vec::new());
    let answers: [InPlace; 3] = [denied, fatal, mute];
    for (index, answer) in answers.into_iter().enumerate() {
        let lab = Lab::start(expiring(&[60_100, 3_600_000], answer)).unwrap();
        let revoked = Rule::nack(Matcher::pointer("/event", "revoked"))
            .class(ErrorClass::ConnectionFatal)
            .detail("/msg");
        let feed = renewing(&lab)
            .rule(revoked)
            .subscription(sub("a"))
            .config(|config| config.keepalives[0].within = Some(ms(200).into()))
            .open()
            .unwrap();
        let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
        let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
        match (index, &end.reason) {
            (0 | 1, EndReason::ServerError { detail }) => assert_eq!(detail, "too old"),
            (2, EndReason::KeepaliveOverdue { waited }) => assert!(*waited >= ms(200), "{waited:?}"),
            (_, reason) => panic!("{index}: {reason:?}"),
        }
        let events = briefs(&until(&feed, |event| brief(event) == "subscribed a"));
        assert!(events.contains(&"connected 2".to_owned()), "{events:?}");
        let transcript = lab.transcript();
        let texts = transcript.received_texts(2);
        assert!(texts[0].contains("auth") && texts[1].contains("t-2"), "{transcript}");
    }
}

#[test]
fn a_login_that_lasts_less_than_the_margin_is_renewed_once_a_second() {
    let lab = Lab::start(expiring(&[20_000], |_| None)).unwrap();
    let feed = renewing(&lab).open().unwrap();
    until(&feed, |event| matches!(event, Event::Connected(_)));
    for token in ["t-2", "t-3"] {
        let begin = Instant::now();
        until(&feed, |event| tells(event, token));
        assert!(begin.elapsed() >= ms(900), "{:?}", begin.elapsed());
    }
}
