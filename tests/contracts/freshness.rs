//! F1 to F5, and the health that tells of them: data alone keeps a feed fresh, and a verdict comes in time.

use crate::common::{
    CEILING, feed, messages, ms, names, pause, seen, seq, sub, until, until_messages, until_stale,
};
use crossbeam_channel::unbounded;
use livefeed::lab::{Command, Lab, Received, Script, Sent, Topic, What};
use livefeed::{
    AlertKind, AlertStatus, EndReason, Error, Event, Feed, FeedBuilder, Health, Limit, Matcher, Payload,
    RepairStep, Stale, State, Subscription, SubscriptionHealth, SubscriptionState,
};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

const LIMIT: Duration = ms(150);

/// No verdict may be later, on a machine that is busy with other tests; most are far better.
const LATE: Duration = ms(250);

const HEARTBEAT: &str = r#"{"type":"heartbeat"}"#;

/// Sends three numbered messages, then no data any more.
fn three_then_mute() -> Script {
    Script::of_topics([Topic::new("btc").every(ms(5))]).until_sent(3).mute("btc")
}

/// The verdict is not early by our own clock, and not late.
#[track_caller]
fn assert_exact(stale: &Stale, limit: Duration, since: Instant) {
    assert_exact_within(stale, limit, since, LATE);
}

#[track_caller]
fn assert_exact_within(stale: &Stale, limit: Duration, since: Instant, late: Duration) {
    assert!(since.elapsed() >= limit, "early by our clock: {stale:?}");
    assert_eq!(stale.limit, limit);
    assert!(stale.age >= limit, "early: {stale:?}");
    assert!(stale.lateness() < late, "late by {:?}: {stale:?}", stale.lateness());
}

#[track_caller]
fn assert_never_ended(events: &[Event]) {
    let ended = |event: &&Event| matches!(event, Event::Stale(_) | Event::Disconnected(_));
    assert!(!events.iter().any(|event| ended(&event)), "{:?}", events.iter().find(ended));
}

/// Three messages, then only this: the feed has to go stale at its limit.
#[track_caller]
fn stale_despite(noise: Command, late: Duration) -> Lab {
    let lab = Lab::start(three_then_mute().then(noise)).unwrap();
    let feed = feed(&lab)
        .stale_after(LIMIT)
        .heartbeat(Matcher::pointer("/type", "heartbeat"))
        .ping(|ping| (ping.after, ping.timeout) = (Limit::After(ms(10)), ms(5_000)))
        .open()
        .unwrap();
    let (events, stale) = until_stale(&feed);
    let last = messages(&events).last().map(|message| message.received()).unwrap();
    assert_eq!(messages(&events).len(), 3, "{:?}", names(&events));
    assert_exact_within(&stale, LIMIT, last, late);
    assert_eq!((stale.epoch, &stale.subscription), (1, &None));
    let end = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let [Event::Disconnected(end)] = &end[..] else { panic!("{:?}", names(&end)) };
    assert!(matches!(end.reason, EndReason::Stale { subscription: None, .. }), "{end:?}");
    lab
}

#[test]
fn f1_pings_and_heartbeats_never_refresh_freshness() {
    let lab = stale_despite(Command::Heartbeats(HEARTBEAT.into(), ms(10)), LATE);
    assert!(lab.transcript().sent(1, Sent::Heartbeat) >= 5, "{}", lab.transcript());
    for every in [ms(10), Duration::from_micros(200)] {
        let lab = stale_despite(Command::Pings(every), LATE);
        assert!(lab.transcript().sent(1, Sent::Ping) >= 5, "{}", lab.transcript());
    }
}

#[test]
fn f1_pongs_never_refresh_freshness() {
    let lab = stale_despite(Command::Pong(b"unasked".to_vec()), LATE);
    assert!(lab.transcript().sent(1, Sent::Pong) >= 4, "{}", lab.transcript()); // one unasked, and those asked for
}

#[test]
fn f1_a_ping_flood_never_refreshes_freshness() {
    // A socket that is never empty puts the verdict off, but by no more than the limit once again.
    let lab = stale_despite(Command::PingFlood, LIMIT + LATE);
    assert!(lab.transcript().sent(1, Sent::Flood) >= 1_000, "{}", lab.transcript());
}

#[test]
fn f1_any_byte_is_life() {
    // Pings are never answered, but something comes all the time.
    let script = Script::new().then(Command::AnswerPings(false)).heartbeats(HEARTBEAT, ms(30));
    let lab = Lab::start(script).unwrap();
    let feed = feed(&lab)
        .heartbeat(Matcher::pointer("/type", "heartbeat"))
        .ping(|ping| (ping.after, ping.timeout) = (Limit::After(ms(5)), ms(250)))
        .open()
        .unwrap();
    seen(&lab, |entry| {
        matches!(entry.what, What::Sent { kind: Sent::Heartbeat, .. })
            && lab.transcript().sent(1, Sent::Heartbeat) >= 25
    });
    let pings =
        lab.transcript().of(1).filter(|what| matches!(what, What::Received(Received::Ping(_)))).count();
    assert!(pings >= 5, "{}", lab.transcript());
    assert_never_ended(&feed.try_iter().collect::<Vec<_>>());
}

#[test]
fn f2_one_mute_topic_among_lively_ones_goes_stale_and_is_named() {
    let topics = ["btc", "eth", "xrp"].map(|topic| Topic::new(topic).every(ms(5)).on_subscribe());
    let lab = Lab::start(Script::of_topics(topics).until_sent(30).mute("eth")).unwrap();
    let feed = ["btc", "eth", "xrp"]
        .into_iter()
        .fold(feed(&lab).stale_after(LIMIT), |feed, topic| {
            feed.subscription(sub(topic).repair([RepairStep::Reconnect]))
        })
        .open()
        .unwrap();
    let (events, stale) = until_stale(&feed);
    let last = |topic: &str| {
        let of = messages(&events).into_iter().rfind(|message| message.subscriptions() == [topic]);
        of.map(|message| message.received()).unwrap()
    };
    assert_eq!(stale.subscription, Some("eth".into()));
    assert_exact(&stale, LIMIT, last("eth"));
    for lively in ["btc", "xrp"] {
        assert!(last(lively) > last("eth") + LIMIT / 2, "{lively} went on");
    }
    let end = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let Some(Event::Disconnected(end)) = end.last() else { unreachable!() };
    let EndReason::Stale { subscription, limit, .. } = &end.reason else { panic!("{end:?}") };
    assert_eq!((subscription.as_ref(), *limit), (Some(&"eth".into()), LIMIT));
}

#[test]
fn f2_data_that_never_starts_is_stale_too() {
    let lab = Lab::start(Script::new()).unwrap();
    let before = Instant::now();
    let whole = feed(&lab).stale_after(LIMIT).open().unwrap();
    let one = feed(&lab).subscription(sub("btc").stale_after(LIMIT)).open().unwrap();
    let (events, stale) = until_stale(&whole);
    assert_exact(&stale, LIMIT, before);
    assert_eq!(stale.subscription, None);
    assert_eq!(names(&events), ["connecting", "connected", "stale"]);
    let (events, stale) = until_stale(&one);
    assert_exact(&stale, LIMIT, before);
    assert_eq!(stale.subscription, Some("btc".into()));
    assert_eq!(names(&events), ["connecting", "connected", "subscribed", "stale"]);
}

#[test]
fn f2_a_subscription_added_to_a_parked_feed_is_armed_when_it_is_written_and_judged_in_time() {
    for new in [sub("btc"), Subscription::new("btc")] {
        let lab = Lab::start(Script::new()).unwrap();
        let feed = feed(&lab).stale_after(Duration::from_secs(60)).open().unwrap();
        until(&feed, |event| matches!(event, Event::Connected(_)));
        // Armed at the connection, it would be stale as soon as it is there.
        pause(2 * LIMIT);
        let before = Instant::now();
        feed.subscribe(new.stale_after(LIMIT)).unwrap();
        let (events, stale) = until_stale(&feed);
        assert_exact(&stale, LIMIT, before);
        assert_eq!(stale.subscription, Some("btc".into()));
        assert_eq!(names(&events), ["subscribed", "stale"]);
    }
}

#[test]
fn f2_the_first_data_of_a_subscription_added_to_a_parked_feed_is_its_data() {
    let answer = |text: &str| vec![format!(r#"{{"topic":"{}","seq":1}}"#, text.rsplit(' ').next().unwrap())];
    let lab = Lab::start(Script::new().reply(answer)).unwrap();
    let feed = feed(&lab).stale_after(Duration::from_secs(60)).open().unwrap();
    until(&feed, |event| matches!(event, Event::Connected(_)));
    for topic in ["btc", "eth", "xrp"] {
        // One answer and no more: the reader has been in the same recv since before the call.
        feed.subscribe(sub(topic)).unwrap();
        let events = until_messages(&feed, 1);
        assert_eq!(messages(&events)[0].subscriptions(), [topic]);
    }
    assert_eq!(feed.health().unmatched, 0);
}

#[test]
fn f2_each_subscription_has_its_own_limit_or_none() {
    let lab = Lab::start(Script::new()).unwrap();
    let before = Instant::now();
    let feed = feed(&lab)
        .stale_after(Duration::from_secs(60))
        .subscription(sub("none").no_stale_limit())
        .subscription(sub("feed"))
        .subscription(sub("long").stale_after(3 * LIMIT))
        .subscription(sub("short").stale_after(LIMIT))
        .open()
        .unwrap();
    let (_, stale) = until_stale(&feed);
    assert_exact(&stale, LIMIT, before);
    assert_eq!(stale.subscription, Some("short".into()));
    feed.unsubscribe("short").unwrap();
    let (_, stale) = until_stale(&feed);
    assert_exact(&stale, 3 * LIMIT, before);
    assert_eq!(stale.subscription, Some("long".into()));
    let limits: Vec<_> = feed.health().subscriptions.iter().map(|of| of.stale_after).collect();
    assert_eq!(limits, [None, Some(Duration::from_secs(60)), Some(3 * LIMIT)]);
}

#[test]
fn f2_without_limits_nothing_is_ever_stale() {
    let lab = Lab::start(three_then_mute().heartbeats(HEARTBEAT, ms(10))).unwrap();
    let feed = feed(&lab)
        .heartbeat(Matcher::pointer("/type", "heartbeat"))
        .subscription(sub("btc"))
        .subscription(Subscription::new("any"))
        .open()
        .unwrap();
    seen(&lab, |_| lab.transcript().sent(1, Sent::Heartbeat) >= 40);
    assert_never_ended(&feed.try_iter().collect::<Vec<_>>());
    assert_eq!((feed.health().state, feed.health().stale_verdicts), (State::Fresh, 0));
}

#[test]
fn f3_the_verdict_is_never_early_and_hardly_late() {
    for limit in [ms(40), ms(110), ms(320)] {
        let lab = Lab::start(three_then_mute()).unwrap();
        let feed = feed(&lab).stale_after(limit).open().unwrap();
        let mut best = LATE;
        for _ in 0..4 {
            let (events, stale) = until_stale(&feed);
            let last = messages(&events).last().map(|message| message.received());
            assert_exact(&stale, limit, last.unwrap());
            best = best.min(stale.lateness());
        }
        assert!(best < ms(40), "the best of four for {limit:?} is late by {best:?}");
    }
}

#[test]
fn f4_a_trickled_half_frame_does_not_hold_the_verdict_up() {
    let text = "x".repeat(1_000);
    stale_despite(Command::Trickle(text.clone(), ms(3)), LATE);
    stale_despite(Command::HalfFrame(text), LATE);
}

#[test]
fn f4_no_traffic_of_others_moves_a_deadline() {
    // Another subscription is lively, the application sends, and the server answers each time.
    let script = Script::of_topics([Topic::new("btc").every(ms(2))]).reply(|_| vec![HEARTBEAT.into()]);
    let lab = Lab::start(script).unwrap();
    let before = Instant::now();
    let feed = feed(&lab)
        .heartbeat(Matcher::text(HEARTBEAT))
        .subscription(sub("btc"))
        .subscription(sub("eth").stale_after(LIMIT))
        .open()
        .unwrap();
    let mut others = 0;
    let events = until(&feed, |event| {
        if let Event::Message(message) = event {
            others += 1;
            drop(feed.send("noise"));
            drop(feed.subscribe(sub(&format!("other {}", message.received().elapsed().as_nanos()))));
        }
        matches!(event, Event::Stale(_))
    });
    let Some(Event::Stale(stale)) = events.last() else { unreachable!() };
    assert_exact(stale, LIMIT, before);
    assert_eq!(stale.subscription, Some("eth".into()));
    assert!(others >= 10, "{}", lab.transcript());
}

#[test]
fn f5_a_slow_consumer_is_reported_as_that_and_never_as_stale() {
    // As fast as they go, and then a few at a time.
    let script = Script::of_topics([Topic::new("btc").every(Duration::ZERO)])
        .until_sent(20_000)
        .topics([Topic::new("btc").every(ms(5))]);
    let lab = Lab::start(script).unwrap();
    let feed = feed(&lab).stale_after(LIMIT).queue(|queue| queue.messages = 128).open().unwrap();
    let mut events = until_messages(&feed, 1);
    pause(4 * LIMIT);
    events.extend(until(&feed, |event| matches!(event, Event::Message(message) if seq(message) == 10_000)));
    pause(4 * LIMIT);
    events.extend(until(&feed, |event| matches!(event, Event::Message(message) if seq(message) == 20_020)));
    assert_never_ended(&events);
    let numbers: Vec<u64> = messages(&events).into_iter().map(seq).collect();
    assert_eq!(numbers, (1..=20_020).collect::<Vec<u64>>());
    let slow = |event: &Event| match event {
        Event::Alert(alert) if matches!(alert.kind, AlertKind::SlowConsumer { .. }) => Some(alert.status),
        _ => None,
    };
    let said: Vec<_> = events.iter().filter_map(slow).collect();
    assert_eq!(said, [AlertStatus::Raised, AlertStatus::Cleared], "the second time is within the cool-down");
    assert_eq!(feed.health().dropped, 0);
}

#[test]
fn f5_waiting_for_room_shifts_the_deadline() {
    let topic = Topic::new("btc").every(Duration::ZERO);
    let lab = Lab::start(Script::of_topics([topic]).until_sent(64).then(Command::MuteAll)).unwrap();
    let feed = feed(&lab).stale_after(2 * LIMIT).queue(|queue| queue.messages = 64).open().unwrap();
    seen(&lab, |_| lab.transcript().sent(1, Sent::Data) == 64);
    pause(6 * LIMIT);
    let mut events = until_messages(&feed, 64);
    // Room again, and an empty socket: the reader is owed the rest of the limit.
    events.extend(feed.try_iter());
    pause(LIMIT);
    lab.control().all(Command::UnmuteAll);
    events.extend(until_messages(&feed, 64));
    assert_never_ended(&events);
}

/// A handler spends several limits on the first event of a kind; data comes when it is back.
#[track_caller]
fn slow_handler(slow_at: fn(&Event) -> bool, script: Script) {
    let lab = Lab::start(script).unwrap();
    let (sender, events) = unbounded();
    let (back, is_back) = unbounded();
    let mut slow = true;
    let _feed = feed(&lab)
        .stale_after(2 * LIMIT)
        .subscription(sub("btc"))
        .handler(move |event| {
            if slow && slow_at(&event) {
                slow = false;
                pause(6 * LIMIT);
                back.send(()).unwrap();
            }
            sender.send(event).unwrap();
        })
        .open()
        .unwrap();
    is_back.recv_timeout(CEILING).unwrap();
    pause(LIMIT);
    lab.control().all(Command::UnmuteAll);
    let deadline = Instant::now() + CEILING;
    let mut seen = Vec::new();
    while messages(&seen).len() < 20 {
        match events.recv_deadline(deadline) {
            Ok(event) => seen.push(event),
            Err(error) => panic!("{error}; events: {:?}", names(&seen)),
        }
    }
    assert_never_ended(&seen);
}

#[test]
fn f5_time_in_a_handler_shifts_the_deadline() {
    // One message alone: another that waits in the socket would keep the feed fresh by itself.
    let script = Script::of_topics([Topic::new("btc").every(ms(5))]).until_sent(1).mute("btc");
    slow_handler(|event| matches!(event, Event::Message(_)), script);
}

#[test]
fn f5_time_in_a_handler_of_connected_shifts_the_deadline() {
    let script = Script::new().then(Command::MuteAll).topics([Topic::new("btc").every(ms(5))]);
    slow_handler(|event| matches!(event, Event::Connected(_)), script);
}

#[test]
fn a_pong_that_does_not_come_is_typed() {
    for deaf in [Command::AnswerPings(false), Command::Freeze] {
        let lab = Lab::start(Script::new().then(deaf)).unwrap();
        let before = Instant::now();
        let feed = feed(&lab)
            .stale_after(Duration::from_secs(60))
            .ping(|ping| (ping.after, ping.timeout) = (Limit::After(ms(60)), LIMIT))
            .open()
            .unwrap();
        let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
        assert!(before.elapsed() >= ms(60) + LIMIT);
        assert_eq!(names(&events), ["connecting", "connected", "disconnected"], "no verdict on the data");
        let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
        let EndReason::PongOverdue { waited } = end.reason else { panic!("{end:?}") };
        assert!(waited >= LIMIT && waited < LIMIT + LATE, "{waited:?}");
        assert_eq!((end.epoch, end.was_connected), (1, true));
        assert_eq!(feed.health().ends.get("pong overdue"), Some(&1), "{:?}", feed.health().ends);
    }
}

/// Opens a feed to which nothing comes but this heartbeat.
fn beating(lab: &Lab, matcher: Matcher, deliver: bool) -> Feed {
    let feed = feed(lab).stale_after(LIMIT).heartbeat(matcher).deliver_heartbeats(deliver);
    feed.subscription(Subscription::new("all")).open().unwrap()
}

#[test]
fn heartbeats_are_recognised_by_each_kind_of_matcher_and_delivered_on_request() {
    let not_this = |payload: Payload<'_>| payload.as_bytes().len() == HEARTBEAT.len();
    let cases = [
        Matcher::pointer("/type", "heartbeat"),
        Matcher::text(HEARTBEAT),
        Matcher::prefix(&HEARTBEAT[..8]),
        Matcher::closure(not_this),
    ];
    for matcher in cases {
        let lab = Lab::start(Script::new().heartbeats(HEARTBEAT, ms(10))).unwrap();
        let feed = beating(&lab, matcher.clone(), false);
        let (events, _) = until_stale(&feed);
        assert_eq!(messages(&events).len(), 0, "{matcher:?}");
        assert!(feed.health().messages >= 5, "they count as messages, not as data");
        assert_eq!(feed.health().last_signal_age, None);

        let feed = beating(&lab, matcher.clone(), true);
        let (events, stale) = until_stale(&feed);
        assert!(messages(&events).len() >= 5, "{matcher:?}: {:?}", names(&events));
        assert!(messages(&events).iter().all(|message| message.subscriptions().is_empty()));
        assert!(stale.lateness() < LATE, "{matcher:?}: {stale:?}");
        assert_eq!(feed.health().last_signal_age, None);
    }
}

fn of<'a>(health: &'a Health, id: &str) -> &'a SubscriptionHealth {
    health.subscriptions.iter().find(|of| of.id == id).unwrap()
}

#[test]
fn health_tells_what_happened() {
    // Data on the first connection only; the others are mute.
    let topics = || ["btc", "eth"].map(|topic| Topic::new(topic).every(ms(5)).on_subscribe());
    let plan = move |connection| match connection {
        1 => Script::of_topics(topics()).until_sent(10).then(Command::MuteAll),
        _ => Script::new(),
    };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    lab.control().stop_listening().unwrap();
    let feed = feed(&lab)
        .stale_after(2 * LIMIT)
        .subscription(sub("btc"))
        .subscription(sub("eth").no_stale_limit())
        .subscription(sub("xrp").no_stale_limit())
        .reconnect(|reconnect| reconnect.max = ms(200))
        .open()
        .unwrap();
    until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let health = feed.health();
    assert!(matches!(health.state, State::Waiting | State::Connecting), "{health:?}");
    assert_eq!((health.epoch, health.connections, health.messages), (0, 0, 0));
    assert_eq!((health.up, health.last_byte_age, health.last_signal_age), (None, None, None));
    assert!(health.attempt >= 1 && health.ends.get("io").is_some_and(|ends| *ends >= 1), "{health:?}");
    assert_eq!(of(&health, "btc").state, SubscriptionState::Desired);

    lab.control().listen_again().unwrap();
    let events = until_messages(&feed, 10);
    let last = |topic: &str| {
        let of = messages(&events).into_iter().rfind(|message| message.subscriptions() == [topic]);
        of.map(|message| message.received()).unwrap()
    };
    let health = feed.health();
    assert_eq!((health.state, health.epoch, health.connections), (State::Fresh, 1, 1));
    assert!(health.is_fresh() && health.up.is_some() && health.stale_after == Some(2 * LIMIT));
    assert_eq!((health.messages, health.unmatched, health.gaps, health.stale_verdicts), (10, 0, 0, 0));
    assert!(health.bytes > 10 * 40, "{health:?}");
    assert_eq!(of(&health, "btc").messages + of(&health, "eth").messages, 10);
    assert_eq!(of(&health, "btc").state, SubscriptionState::Live);
    assert_eq!((of(&health, "xrp").state, of(&health, "xrp").messages), (SubscriptionState::Confirmed, 0));
    assert_eq!(of(&health, "xrp").last_signal_age, None);

    until(&feed, |event| matches!(event, Event::Stale(_)));
    until(&feed, |event| matches!(event, Event::Subscribed(subscribed) if subscribed.subscription == "xrp"));
    let (signal, btc, eth) = (last("btc").max(last("eth")), last("btc"), last("eth"));
    let before = [signal, btc, eth].map(|at| at.elapsed());
    let health = feed.health();
    let ages = [
        health.last_signal_age.unwrap(),
        of(&health, "btc").last_signal_age.unwrap(),
        of(&health, "eth").last_signal_age.unwrap(),
    ];
    let after = [signal, btc, eth].map(|at| at.elapsed());
    for ((age, before), after) in ages.into_iter().zip(before).zip(after) {
        assert!(before <= age && age <= after, "{before:?} <= {age:?} <= {after:?}: ages go on growing");
        assert!(age >= 2 * LIMIT);
    }
    assert_eq!((health.state, health.epoch, health.connections), (State::Live, 2, 2), "mute from the start");
    assert_eq!((health.last_data_age, health.last_message_age, health.messages), (None, None, 10));
    assert_eq!((health.stale_verdicts, health.gaps, health.ends.get("stale")), (1, 1, Some(&1)));
    assert_eq!(of(&health, "btc").state, SubscriptionState::Confirmed);
    assert_eq!(of(&health, "btc").messages + of(&health, "eth").messages, 10);
    feed.close(CEILING).unwrap();
    assert_eq!(feed.health().state, State::Closed);
    assert!(feed.health().closed.is_some());
}

#[test]
fn wait_connected_waits_for_a_connection_and_for_nothing_else() {
    let lab = Lab::start(Script::new()).unwrap();
    lab.control().stop_listening().unwrap();
    let patient = feed(&lab).open().unwrap();
    let before = Instant::now();
    assert_eq!(patient.wait_connected(LIMIT), Err(Error::Timeout));
    assert!(before.elapsed() >= LIMIT);
    let hasty = feed(&lab).max_attempts(2).open().unwrap();
    assert!(matches!(hasty.wait_connected(CEILING), Err(Error::Closed(_))));
    assert!(matches!(hasty.wait_fresh(CEILING), Err(Error::Closed(_))));
    lab.control().listen_again().unwrap();
    if let Err(error) = patient.wait_connected(CEILING) {
        let events: Vec<_> = patient.try_iter().collect();
        panic!("{error}; {:?}; {events:?}; transcript:\n{}", patient.health(), lab.transcript());
    }
    assert_eq!(patient.health().state, State::Live);
    assert_eq!(patient.wait_fresh(LIMIT), Err(Error::Timeout), "there is no data");
}

#[test]
fn wait_fresh_waits_for_the_data_of_each_subscription_with_a_limit() {
    let topics = ["btc", "eth", "xrp"].map(|topic| Topic::new(topic).every(ms(5)).on_subscribe());
    let lab = Lab::start(Script::of_topics(topics).mute("eth").mute("xrp")).unwrap();
    let feed = feed(&lab)
        .subscription(sub("btc").stale_after(CEILING))
        .subscription(sub("eth").stale_after(CEILING))
        .subscription(sub("xrp"))
        .open()
        .unwrap();
    until_messages(&feed, 5);
    assert_eq!(feed.wait_fresh(LIMIT), Err(Error::Timeout), "eth is owed");
    lab.control().all(Command::Unmute("eth".into()));
    feed.wait_fresh(CEILING).unwrap();
    assert_eq!(of(&feed.health(), "eth").state, SubscriptionState::Live);
    assert_eq!(of(&feed.health(), "xrp").state, SubscriptionState::Confirmed, "it has no limit");
    // Data of the connection before does not count.
    lab.control().script(Script::new());
    feed.reconnect();
    until(&feed, |event| matches!(event, Event::Connected(connected) if connected.epoch == 2));
    assert_eq!(feed.wait_fresh(LIMIT), Err(Error::Timeout));
}

#[test]
fn waiting_in_a_callback_of_the_feed_is_refused() {
    let lab = Lab::start(three_then_mute()).unwrap();
    let itself: Arc<OnceLock<Feed>> = Arc::default();
    let (sender, answers) = unbounded();
    let handle = Arc::clone(&itself);
    let builder: FeedBuilder = feed(&lab).handler(move |event| {
        if let (Event::Message(_), Some(feed)) = (event, handle.get()) {
            drop(sender.send((feed.wait_connected(CEILING), feed.wait_fresh(CEILING))));
        }
    });
    assert!(itself.set(builder.open().unwrap()).is_ok());
    let answer = answers.recv_timeout(CEILING).unwrap();
    assert_eq!(answer, (Err(Error::WouldDeadlock), Err(Error::WouldDeadlock)));
    itself.get().unwrap().close(CEILING).unwrap();
}
