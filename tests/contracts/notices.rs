//! What the server announces, what the client says by itself, and rules about ends.

use crate::common::{CEILING, feed, in_lab, messages, ms, seen, until};
use crate::proto::{at_once, bare, brief, briefs, granting, speaking, wishes};
use crate::watch::{handled, to_the_end, until_from};
use livefeed::lab::{Command, Lab, Received, Script, Topic, What};
use livefeed::{
    AlertKind, CloseReason, Decision, EndReason, EndRule, Event, FeedBuilder, GoTo, Keepalive, LoginStep,
    Matcher, NoticeAction, RepairStep, Rule, Subscription,
};
use serde_json::json;
use std::time::{Duration, Instant};

fn sub(name: &str) -> Subscription {
    Subscription::new(name)
}

fn notice(action: NoticeAction) -> Rule {
    Rule::notice(Matcher::exists("/notice"), action).detail("/notice")
}

fn say(text: &str) -> Command {
    at_once(&[json!({"notice": text})])
}

// ---- data that calls for something ---------------------------------------------------------------------------

/// Each message has an answer of its own, also if many come at once; none is answered before it can be read; and all
/// of it is data.
#[test]
fn data_is_answered_and_delivered() {
    let envelope = |n: u64| json!({"ch": if n.is_multiple_of(10) { "nobody" } else { "a" }, "e": n});
    let all: Vec<_> = (1..=50).map(envelope).collect();
    let lab = Lab::start(granting()).unwrap();
    let rule = Rule::data(Matcher::exists("/e")).capture("last", "/e").reply_json(json!({"ack": "${/e}"}));
    let feed = speaking(&lab)
        .rule(rule)
        .subscription(sub("a").stale_after(ms(300)).repair([RepairStep::Reconnect]))
        .open()
        .unwrap();
    until(&feed, |event| brief(event).starts_with("a {"));
    lab.control().all(at_once(&all));
    let events = until(&feed, |event| brief(event).contains(r#""e":50"#));
    let json = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap_or_default();
    let numbers = messages(&events).into_iter().filter_map(|message| json(message.text()?)["e"].as_u64());
    let numbers: Vec<u64> = numbers.collect();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>(), "{events:?}");
    assert_eq!(feed.health().unmatched, 5);
    let answers = || -> Vec<u64> {
        lab.transcript().received_texts(1).into_iter().filter_map(|text| json(text)["ack"].as_u64()).collect()
    };
    in_lab(&lab, |_| answers().len() == 50);
    assert_eq!(answers(), (1..=50).collect::<Vec<_>>());
    // It counts for the freshness of those whose data it is, and of nobody else.
    let begin = Instant::now();
    let mut n = 50;
    while begin.elapsed() < ms(600) {
        n += if n % 10 == 9 { 2 } else { 1 };
        lab.control().all(at_once(&[envelope(n)]));
        let wanted = format!(r#""e":{n}"#);
        let events = until(&feed, |event| brief(event).contains(&wanted));
        assert!(events.iter().all(|event| matches!(event, Event::Message(_))), "{events:?}");
    }
}

// ---- notices ---------------------------------------------------------------------------------------------------

#[test]
fn reconnect_at_once_or_within_a_time() {
    for (action, at_least, at_most) in [
        (NoticeAction::Reconnect, ms(0), ms(1000)),
        (NoticeAction::ReconnectWithin(ms(200)), ms(0), ms(1200)),
    ] {
        let lab = Lab::start(granting()).unwrap();
        let feed = speaking(&lab).rule(notice(action)).subscription(sub("a")).open().unwrap();
        until(&feed, |event| brief(event).starts_with("a {"));
        let begin = Instant::now();
        lab.control().all(say("going down"));
        let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
        let took = begin.elapsed();
        assert!(took >= at_least && took < at_most, "{took:?}");
        assert!(
            matches!(events.last(), Some(Event::Disconnected(end)) if end.reason == EndReason::ServerNotice { detail: "going down".into() })
        );
        in_lab(&lab, |what| matches!(what, What::Received(Received::Close(_))));
        until(&feed, |event| event.epoch() == 2 && brief(event).starts_with("a {"));
    }
}

#[test]
fn a_storm_of_notices_is_bounded_by_the_backoff() {
    let lab = Lab::start(Script::new().then(say("go"))).unwrap();
    let builder = feed(&lab).rule(notice(NoticeAction::Reconnect)).reconnect(|it| {
        (it.floor, it.first, it.max) = (ms(20), ms(40), ms(2000));
    });
    let (feed, events) = handled(builder);
    let begin = Instant::now();
    let mut left = 7;
    let events = until_from(&events, |event| {
        left -= i32::from(matches!(event, Event::Disconnected(_)));
        left == 0
    });
    let delays: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Disconnected(end) => end.retry_in,
            _ => None,
        })
        .collect();
    assert!(
        delays.iter().all(|delay| *delay >= ms(20)) && delays.iter().any(|delay| *delay > ms(40)),
        "{delays:?}"
    );
    assert!(begin.elapsed() >= ms(120));
    feed.close(CEILING).unwrap();
}

#[test]
fn while_paused_there_is_no_verdict() {
    let rules = |builder: FeedBuilder| {
        builder
            .rule(Rule::notice(Matcher::exists("/pause"), NoticeAction::Pause(Duration::from_secs(60))))
            .rule(Rule::notice(Matcher::exists("/resume"), NoticeAction::Resume))
    };
    let lab = Lab::start(granting()).unwrap();
    let a = sub("a").stale_after(ms(100)).repair([RepairStep::Reconnect]);
    let feed = rules(speaking(&lab)).subscription(a).open().unwrap();
    until(&feed, |event| brief(event).starts_with("a {"));
    lab.control().all(at_once(&[json!({"pause": 1})]));
    assert!(feed.recv_timeout(ms(400)).is_err(), "a pause is what happens here");
    let begin = Instant::now();
    lab.control().all(at_once(&[json!({"resume": 1})]));
    let events = until(&feed, |event| matches!(event, Event::Stale(_)));
    assert!(begin.elapsed() >= ms(95), "its time begins anew: {:?}", begin.elapsed());
    assert_eq!(briefs(&events), ["stale a reconnect"]);
}

#[test]
fn all_are_made_again_on_demand() {
    let lab = Lab::start(granting()).unwrap();
    let feed = speaking(&lab)
        .rule(notice(NoticeAction::ResubscribeAll))
        .subscription(sub("a"))
        .subscription(sub("b"))
        .open()
        .unwrap();
    until(&feed, |event| brief(event).starts_with("b {"));
    lab.control().all(say("again"));
    let events = briefs(&until(&feed, |event| brief(event).starts_with("b {")));
    assert_eq!(events.iter().filter(|event| event.starts_with("gap resubscribed")).count(), 2, "{events:?}");
    assert_eq!(wishes(&lab, 1), ["sub a", "sub b", "unsub a", "unsub b", "sub a", "sub b"]);
    // A server that says so without end makes no storm of it.
    for _ in 0..500 {
        lab.control().all(say("again"));
    }
    lab.control().all(at_once(&[json!({"mark": 1})]));
    until(&feed, |event| brief(event).contains("mark"));
    assert!(wishes(&lab, 1).len() <= 14, "{:?}", wishes(&lab, 1));
}

#[test]
fn a_notice_can_be_final_or_an_alert() {
    let lab = Lab::start(granting()).unwrap();
    let feed = speaking(&lab)
        .rule(Rule::notice(Matcher::pointer("/notice", "careful"), NoticeAction::Alert).detail("/notice"))
        .rule(notice(NoticeAction::Fatal))
        .subscription(sub("a"))
        .open()
        .unwrap();
    until(&feed, |event| brief(event).starts_with("a {"));
    lab.control().all(say("careful"));
    let events = until(&feed, |event| matches!(event, Event::Alert(_)));
    assert!(
        matches!(events.last(), Some(Event::Alert(alert)) if alert.kind == AlertKind::Notice { detail: "careful".into() })
    );
    lab.control().all(say("shut for good"));
    let (_, reason) = to_the_end(&feed);
    assert_eq!(reason, CloseReason::Fatal(EndReason::ServerNotice { detail: "shut for good".into() }));
}

/// A server that sends everybody who comes to `/feed` somewhere else, with what it knows of who came.
fn sending_to(url: String) -> Script {
    Script::new().greet(move |request| match request.path.as_str() {
        "/feed" => vec![Command::Send(json!({"notice": "this way", "url": url}).to_string())],
        path => vec![Command::Send(json!({"here": path}).to_string())],
    })
}

fn going(lab: &Lab, go_to: GoTo) -> FeedBuilder {
    feed(lab)
        .rule(Rule::notice(Matcher::exists("/notice"), NoticeAction::GoTo(go_to)).detail("/notice"))
        .header("Authorization", "Bearer hunter2")
}

fn authorized(lab: &Lab, connection: usize) -> bool {
    lab.transcript().request(connection).unwrap().header("Authorization") == Some("Bearer hunter2")
}

#[test]
fn the_server_says_where_to_go_to_and_that_holds_once() {
    let script = Script::new().greet(|request| match (request.path.as_str(), request.header("Host")) {
        ("/feed", Some(host)) => {
            let url = format!("ws://{host}/next?token=hunter2");
            vec![Command::Send(json!({"notice": "this way", "url": url}).to_string())]
        }
        (path, _) => vec![Command::Send(json!({"here": path}).to_string())],
    });
    let lab = Lab::start(script).unwrap();
    let feed = going(&lab, GoTo::at("/url")).open().unwrap();
    let events = until(&feed, |event| brief(event).contains("/next?token=hunter2"));
    let places: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Connecting(connecting) => Some(connecting.endpoint.clone()),
            _ => None,
        })
        .collect();
    let at = |path: &str| format!("ws://{}{path}", lab.addr());
    assert_eq!(places, [at("/feed"), at("/next?token=***")]);
    assert!(!format!("{events:?}").replace("here", "").contains("notice"), "a notice is no message");
    assert!(authorized(&lab, 1) && authorized(&lab, 2), "it is the host of the endpoint");
    let ends: Vec<_> = events.iter().filter(|event| matches!(event, Event::Disconnected(_))).collect();
    assert!(
        matches!(ends[..], [Event::Disconnected(end)] if end.reason == EndReason::ServerNotice { detail: "this way".into() })
    );
    // The next one goes to the endpoint, and is sent away again.
    lab.control().drop_connections();
    until(&feed, |event| brief(event).contains("/next?token=hunter2"));
    let transcript = lab.transcript();
    let paths: Vec<_> = (1..=4).map(|n| transcript.request(n).unwrap().path.clone()).collect();
    assert_eq!(paths, ["/feed", "/next?token=hunter2", "/feed", "/next?token=hunter2"]);
}

#[test]
fn what_is_said_twice_holds_as_well() {
    let script = Script::new().greet(|request| match (request.path.as_str(), request.header("Host")) {
        ("/feed", Some(host)) => {
            let notice = json!({"notice": "this way", "url": format!("ws://{host}/next")}).to_string();
            vec![Command::Send(notice.clone()), Command::Send(notice)]
        }
        (path, _) => vec![Command::Send(json!({"here": path}).to_string())],
    });
    let lab = Lab::start(script).unwrap();
    let feed = going(&lab, GoTo::at("/url")).open().unwrap();
    until(&feed, |event| matches!(event, Event::Connected(_)) && event.epoch() == 2);
    assert_eq!(lab.transcript().request(2).unwrap().path, "/next");
}

#[test]
fn nothing_of_ours_goes_to_another_host() {
    let other = Lab::start(Script::new().send(r#"{"other":1}"#)).unwrap();
    let lab = Lab::start(sending_to(other.url())).unwrap();
    // It is not named: an alert says so, and the feed comes back.
    let feed = going(&lab, GoTo::at("/url")).open().unwrap();
    let events = until(&feed, |event| event.epoch() == 2 && matches!(event, Event::Connected(_)));
    let alert = events.iter().find_map(|event| match event {
        Event::Alert(alert) => Some(alert.kind.to_string()),
        _ => None,
    });
    assert!(alert.as_ref().is_some_and(|alert| alert.contains("its host is none of those")), "{alert:?}");
    assert_eq!(other.connections(), 0);
    feed.close(CEILING).unwrap();
    // It is named: the headers stay here all the same.
    let feed = going(&lab, GoTo::at("/url").host(other.addr().to_string())).open().unwrap();
    until(&feed, |event| brief(event).contains("other"));
    assert_eq!(other.connections(), 1);
    assert_eq!(other.transcript().request(1).unwrap().header("Authorization"), None);
    assert!(authorized(&lab, 1));
}

#[test]
fn a_place_that_can_not_be_reached_is_tried_once() {
    let gone = Lab::start(Script::refuse(503)).unwrap();
    let lab = Lab::builder()
        .scripts({
            let url = gone.url();
            move |connection| match connection {
                1 => sending_to(url.clone()),
                _ => Script::new().send(r#"{"back":1}"#),
            }
        })
        .start()
        .unwrap();
    let feed = going(&lab, GoTo::at("/url").host(gone.addr().to_string())).open().unwrap();
    let events = until(&feed, |event| brief(event).contains("back"));
    let refused = |event: &&Event| matches!(event, Event::Disconnected(end) if matches!(end.reason, EndReason::UpgradeRefused { .. }));
    assert_eq!((events.iter().filter(refused).count(), lab.connections()), (1, 2), "{events:#?}");
}

#[test]
fn the_server_goes_before_the_provider_once() {
    let other = Lab::start(Script::new().send(r#"{"other":1}"#)).unwrap();
    let lab = Lab::start(sending_to(other.url())).unwrap();
    let asked = std::sync::Arc::new(std::sync::atomic::AtomicU64::new(0));
    let (count, url) = (std::sync::Arc::clone(&asked), lab.url());
    let feed = going(&lab, GoTo::at("/url").host(other.addr().to_string()))
        .provider(move |_| {
            count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            Ok(livefeed::Target::new(url.as_str()).header("X-Key", "hunter2"))
        })
        .open()
        .unwrap();
    until(&feed, |event| brief(event).contains("other"));
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 1);
    assert_eq!(lab.transcript().request(1).unwrap().header("X-Key"), Some("hunter2"));
    assert_eq!(other.transcript().request(1).unwrap().header("X-Key"), None);
    other.control().drop_connections();
    until(&feed, |event| matches!(event, Event::Connected(_)));
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 2);
}

#[test]
fn close_codes_decide_what_follows() {
    let plan = |connection| Script::new().close(if connection == 1 { 4101 } else { 4001 }, "why");
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let (feed, events) = handled(
        feed(&lab)
            .end_rule(EndRule::codes(4000..=4099, Decision::Fatal))
            .end_rule(EndRule::codes(4100..=4199, Decision::RetryAfter(ms(150)))),
    );
    let events = until_from(&events, |event| matches!(event, Event::Closed(_)));
    let delays: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Disconnected(end) => Some(end.retry_in),
            _ => None,
        })
        .collect();
    assert!(delays[0].is_some_and(|delay| delay >= ms(150)) && delays[1].is_none(), "{delays:?}");
    feed.close(CEILING).unwrap();
}

// ---- keepalives ------------------------------------------------------------------------------------------------

fn beats(lab: &Lab, text: &str) -> Vec<Instant> {
    let transcript = lab.transcript();
    let of = transcript
        .entries()
        .iter()
        .filter(|entry| matches!(&entry.what, What::Received(Received::Text(it)) if **it == *text));
    of.map(|entry| entry.at).collect()
}

#[test]
fn keepalives_go_out_by_their_clock() {
    let lab = Lab::start(Script::new().heartbeats("tick", ms(10))).unwrap();
    let begin = Instant::now();
    let feed = feed(&lab)
        .keepalive(Keepalive::every(ms(60)).send_text("every").first_after(ms(5)))
        .keepalive(Keepalive::idle_received(ms(250)).send_text("idle received"))
        .keepalive(Keepalive::idle_sent(ms(400)).send_text("idle sent"))
        .open()
        .unwrap();
    seen(&lab, |_| beats(&lab, "every").len() == 6);
    let every = beats(&lab, "every");
    // None before its time, counted from before the first: the lab may see one late.
    let due = |n: usize| begin + ms(5) + ms(60) * u32::try_from(n).unwrap();
    assert!(every.iter().enumerate().all(|(n, at)| *at >= due(n)), "{every:?}");
    assert_eq!(
        (beats(&lab, "idle received").len(), beats(&lab, "idle sent").len()),
        (0, 0),
        "there was traffic"
    );
    lab.control().all(Command::Silence);
    seen(&lab, |_| beats(&lab, "idle received").len() >= 2);
    drop(feed);
}

#[test]
fn an_answer_that_does_not_come_ends_the_connection() {
    let script = Script::new().reply(|text| match text {
        "ping" => vec!["pong".to_owned()],
        _ => Vec::new(),
    });
    let lab = Lab::start(script).unwrap();
    let beat = Keepalive::every(ms(50)).send_text("ping").expect(Matcher::text("pong")).within(ms(400));
    let feed = feed(&lab).keepalive(beat).subscription(sub("a").data(Matcher::text("data"))).open().unwrap();
    seen(&lab, |_| beats(&lab, "ping").len() == 6);
    assert_eq!(feed.health().connections, 1);
    // Bytes of other kinds are no answer.
    lab.control().all(Command::react(|_| vec![Command::Send("something".into())]));
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
    assert!(matches!(end.reason, EndReason::KeepaliveOverdue { waited } if waited >= ms(400)), "{end:?}");
    assert!(!briefs(&events).iter().any(|event| event.contains("pong")), "answers are no messages");
}

#[test]
fn the_interval_may_come_from_the_login() {
    let script = Script::new().send(r#"{"ping_interval":40}"#);
    let lab = Lab::start(script).unwrap();
    let every = livefeed::Interval::text("${ping_interval}ms");
    let _feed = feed(&lab)
        .login(
            LoginStep::expect(Matcher::exists("/ping_interval")).capture("ping_interval", "/ping_interval"),
        )
        .keepalive(Keepalive::every(every).send_json(json!({"op": "ping", "at": "${time_ms}"})))
        .open()
        .unwrap();
    let count = || {
        let transcript = lab.transcript();
        transcript.received_texts(1).len()
    };
    seen(&lab, |_| count() == 5);
    let transcript = lab.transcript();
    let upgraded =
        transcript.entries().iter().find(|entry| matches!(entry.what, What::Upgraded { .. })).unwrap().at;
    assert!(transcript.entries().last().unwrap().at - upgraded >= ms(190), "{transcript}");
}

#[test]
fn a_server_that_owes_heartbeats_and_sends_nothing_is_left() {
    let script = Script::new()
        .send(r#"{"welcome":{"timeout":200,"grace":100}}"#)
        .topics([Topic::new("beat").every(ms(40))]);
    let lab = Lab::start(script.then(Command::Pings(ms(20)))).unwrap();
    let welcome = LoginStep::expect(Matcher::exists("/welcome"))
        .capture("timeout", "/welcome/timeout")
        .capture("grace", "/welcome/grace");
    let within = livefeed::Interval::text("${timeout}ms ${grace}ms");
    let feed = feed(&lab)
        .login(welcome)
        .rule(Rule::heartbeat(Matcher::pointer("/topic", "beat")).within(within))
        .open()
        .unwrap();
    feed.wait_connected(CEILING).unwrap();
    let events = until(&feed, |event| matches!(event, Event::Connected(_)));
    assert!(feed.recv_timeout(ms(500)).is_err(), "while it does nothing happens: {events:?}");
    // WebSocket pings go on.
    let begin = Instant::now();
    lab.control().all(Command::Mute("beat".into()));
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
    assert!(matches!(end.reason, EndReason::HeartbeatOverdue { waited } if waited >= ms(300)), "{end:?}");
    assert!(begin.elapsed() >= ms(200), "{:?}", begin.elapsed());
}

#[test]
fn a_keepalive_that_can_not_be_made_is_said_and_tried_again() {
    let lab = Lab::start(Script::new()).unwrap();
    let count = std::sync::atomic::AtomicU64::new(0);
    let beat = Keepalive::every(ms(30)).send_with(move |_| {
        match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => Err("no key".to_owned()),
            _ => Ok("beat"),
        }
    });
    let feed = feed(&lab).keepalive(beat).open().unwrap();
    let events = until(&feed, |event| matches!(event, Event::Alert(_)));
    assert!(
        matches!(events.last(), Some(Event::Alert(alert)) if matches!(alert.kind, AlertKind::TemplateFailed { what: "keepalive", .. }))
    );
    seen(&lab, |_| beats(&lab, "beat").len() == 2);
}

#[test]
fn heartbeats_are_answered_with_what_they_say() {
    let script =
        Script::new().then(at_once(&[json!({"ping": {"at": 17, "x": [1]}}), json!({"ping": {"at": "b"}})]));
    let lab = Lab::start(script).unwrap();
    let rule = Rule::heartbeat(Matcher::exists("/ping"))
        .reply_json(json!({"pong": "${/ping/at}", "n": "at ${/ping/at}"}));
    let feed = bare(&lab).rule(rule).open().unwrap();
    // The latest is answered, at the least.
    in_lab(
        &lab,
        |what| matches!(what, What::Received(Received::Text(text)) if **text == *r#"{"n":"at b","pong":"b"}"#),
    );
    assert_eq!(feed.health().unmatched, 0);
}
