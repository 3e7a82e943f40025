//! C1 to C4: one ordered stream in which no discontinuity goes unmarked, and nothing is replayed.

use crate::common::{
    CEILING, feed, messages, ms, names, pause, seen, seq, sub, until, until_messages, until_stale,
};
use crossbeam_channel::unbounded;
use livefeed::lab::{Command, Lab, Script, Sent, Topic, What};
use livefeed::{
    AlertKind, EndReason, Error, Event, Feed, Gap, GapCause, Matcher, Outcome, Overflow, RepairStep,
    Subscription, SubscriptionId, SubscriptionState, Target,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const LIMIT: Duration = ms(150);

/// What holds of every stream (C1, C2): checked event by event.
#[derive(Debug, Default)]
struct Stream {
    /// The connection that is up.
    up: Option<u64>,
    epoch: u64,
    /// The epoch that comes next; after ends that were folded it may be a later one.
    next: u64,
    folded: bool,
    /// The gap of a reconnect has to be next.
    gap_due: bool,
    received: Option<Instant>,
    connected: u64,
    reconnected: u64,
}

impl Stream {
    #[track_caller]
    fn check(&mut self, event: &Event) {
        if self.gap_due {
            assert!(matches!(event, Event::Gap(_)), "directly after Connected: {event:?}");
        }
        match event {
            Event::Connecting(e) => {
                assert_eq!(self.up, None, "{event:?}");
                assert!(e.epoch == self.epoch + 1 || (self.folded && e.epoch > self.epoch), "{event:?}");
                self.next = e.epoch;
            }
            Event::Connected(e) => {
                assert_eq!((self.up, e.epoch), (None, self.next), "{event:?}");
                (self.up, self.epoch, self.gap_due, self.folded) =
                    (Some(e.epoch), e.epoch, e.epoch > 1, false);
                self.connected += 1;
            }
            Event::Message(message) => {
                assert_eq!(self.up, Some(message.epoch()), "{event:?}");
                assert!(self.received.is_none_or(|before| before <= message.received()), "{event:?}");
                self.received = Some(message.received());
            }
            Event::Gap(gap) => {
                assert_eq!(self.up, Some(gap.epoch), "{event:?}");
                assert_eq!(gap.cause == GapCause::Reconnected, self.gap_due, "{event:?}");
                self.reconnected += u64::from(self.gap_due);
                self.gap_due = false;
            }
            Event::Stale(e) => assert_eq!(self.up, Some(e.epoch), "{event:?}"),
            Event::Subscribed(e) => assert_eq!(self.up, Some(e.epoch), "{event:?}"),
            Event::Disconnected(e) => {
                self.folded |= e.attempts > 1;
                if let Some(up) = self.up.take() {
                    assert_eq!((e.epoch, e.was_connected), (up, true), "{event:?}");
                } else {
                    assert!(e.epoch > self.epoch && (self.folded || !e.was_connected), "{event:?}");
                }
            }
            _ => {}
        }
    }
}

fn gaps(events: &[Event]) -> Vec<&Gap> {
    events.iter().filter_map(|event| if let Event::Gap(gap) = event { Some(&**gap) } else { None }).collect()
}

fn is_connected(event: &Event, epoch: u64) -> bool {
    matches!(event, Event::Connected(connected) if connected.epoch == epoch)
}

fn topics(every: Duration) -> Script {
    Script::of_topics(["btc", "eth"].map(|topic| Topic::new(topic).every(every).on_subscribe()))
}

#[test]
fn c1_stale_disconnected_connecting_connected_gap_and_then_data() {
    let plan = |connection| match connection {
        1 => topics(ms(2)).until_sent(20).then(Command::MuteAll),
        _ => topics(ms(2)),
    };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let feed =
        feed(&lab).stale_after(LIMIT).subscription(sub("btc")).subscription(sub("eth")).open().unwrap();
    let mut stream = Stream::default();
    let mut after = 0;
    let events = until(&feed, |event| {
        stream.check(event);
        after += usize::from(matches!(event, Event::Message(message) if message.epoch() == 2));
        after == 5
    });
    let all = names(&events);
    let stale = all.iter().position(|name| name == "stale").unwrap();
    let expected = ["stale", "disconnected", "connecting", "connected", "gap"];
    assert_eq!(all[stale..stale + 5], expected, "{all:?}");
    let last = messages(&events).into_iter().rfind(|message| message.epoch() == 1).unwrap();
    let found = gaps(&events);
    let [gap] = found[..] else { panic!("{found:?}") };
    assert_eq!((gap.cause, gap.epoch, gap.lost), (GapCause::Reconnected, 2, None));
    assert_eq!(gap.subscriptions, [SubscriptionId::from("btc"), "eth".into()], "one for all");
    assert_eq!(gap.last_message, Some(last.time()));
    assert_eq!(feed.health().gaps, 1);
}

#[test]
fn c1_a_gap_after_a_connection_without_data_knows_no_last_message() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = feed(&lab).open().unwrap();
    let mut stream = Stream::default();
    until(&feed, |event| {
        stream.check(event);
        is_connected(event, 1)
    });
    lab.control().drop_connections();
    let events = until(&feed, |event| {
        stream.check(event);
        matches!(event, Event::Gap(_))
    });
    assert_eq!(names(&events), ["disconnected", "connecting", "connected", "gap"]);
    let gap = gaps(&events)[0];
    assert_eq!((gap.last_message, gap.subscriptions.len()), (None, 0), "{gap:?}");
}

#[test]
fn c1_resubscribing_makes_one_gap_before_the_next_message() {
    let lab = Lab::start(topics(ms(2))).unwrap();
    let feed = feed(&lab).subscription(sub("btc")).subscription(sub("eth")).open().unwrap();
    let mut before = until_messages(&feed, 10);
    for round in 1..=3 {
        feed.subscribe(sub("btc")).unwrap();
        let mut after = false;
        let events = until(&feed, |event| {
            after |= matches!(event, Event::Gap(_));
            after && matches!(event, Event::Message(message) if message.subscriptions() == ["btc"])
        });
        let found = gaps(&events);
        let [gap] = found[..] else { panic!("{found:?}") };
        assert_eq!((gap.cause, gap.epoch, gap.lost), (GapCause::Resubscribed, 1, None));
        assert_eq!(gap.subscriptions, [SubscriptionId::from("btc")], "and no other");
        let own =
            |event: &&Event| matches!(event, Event::Message(message) if message.subscriptions() == ["btc"]);
        let at = events.iter().position(|event| matches!(event, Event::Gap(_))).unwrap();
        let last = events[..at].iter().rfind(own).or_else(|| before.iter().rfind(own)).map(Event::time);
        assert_eq!(gap.last_message, last, "round {round}");
        before = events;
    }
    // The old one is unsubscribed before the new one is subscribed.
    let texts = lab.transcript();
    let texts = texts.received_texts(1);
    let expected =
        [vec!["subscribe btc", "subscribe eth"], ["unsubscribe btc", "subscribe btc"].repeat(3)].concat();
    assert_eq!(texts, expected);
    assert_eq!((lab.connections(), feed.health().gaps), (1, 3));
}

#[test]
fn c1_unsubscribing_ends_the_routing_at_once() {
    // This server goes on sending.
    let script = Script::of_topics(["btc", "eth"].map(|topic| Topic::new(topic).every(ms(20))));
    let lab = Lab::start(script).unwrap();
    let feed = feed(&lab).subscription(sub("btc")).subscription(sub("eth")).open().unwrap();
    until_messages(&feed, 4);
    feed.unsubscribe("btc").unwrap();
    let from = Instant::now();
    let mut left = 8;
    let events = until(&feed, |event| {
        left -= usize::from(matches!(event, Event::Message(message) if message.received() > from));
        left == 0
    });
    let late: Vec<_> = messages(&events).into_iter().filter(|message| message.received() > from).collect();
    assert!(late.iter().all(|message| message.subscriptions() != ["btc"]), "{late:?}");
    let unmatched = late.iter().filter(|message| message.subscriptions().is_empty()).count();
    assert!(unmatched >= 3, "still delivered, as nobody's: {late:?}");
    assert!(feed.health().unmatched >= unmatched as u64);
    assert_eq!(feed.unsubscribe("btc"), Err(Error::UnknownSubscription("btc".into())));
    seen(&lab, |_| lab.transcript().received_texts(1).ends_with(&["unsubscribe btc"]));
}

#[test]
fn c2_many_forced_reconnects_under_flood_keep_epochs_apart_and_losses_marked() {
    let lab = Lab::start(Script::of_topics([Topic::new("btc").every(Duration::ZERO)])).unwrap();
    let feed = feed(&lab).queue(|queue| queue.messages = 512).subscription(Subscription::new("all"));
    let feed = feed.open().unwrap();
    let control = lab.control();
    let mut stream = Stream::default();
    let (mut last, mut on_this) = (0, 0);
    until(&feed, |event| {
        stream.check(event);
        match event {
            Event::Gap(_) => (last, on_this) = (0, 0), // what was lost here is said
            Event::Message(message) => {
                let number = seq(message);
                assert!(last == 0 || number == last + 1, "{last}, {number}: a hole that nothing marks");
                (last, on_this) = (number, on_this + 1);
                if on_this == 100 {
                    // The server's numbers are the epochs here: each of its connections was one.
                    let tell = |command| control.connection(message.epoch() as usize, command);
                    match message.epoch() % 5 {
                        0 => tell(Command::Reset),
                        1 => feed.reconnect(),
                        2 => tell(Command::Close(1001, "bye".into())),
                        3 => tell(Command::Fin),
                        _ => tell(Command::Violate(livefeed::lab::Violation::Garbage)),
                    }
                }
            }
            _ => {}
        }
        stream.epoch > 30 && on_this == 100
    });
    let health = feed.health();
    assert_eq!(stream.reconnected, stream.connected - 1);
    assert!(stream.connected >= 25, "hardly any was folded: {stream:?}");
    assert!(health.connections >= 31 && health.ends.values().sum::<u64>() >= 30, "{health:?}");
}

#[test]
fn c2_a_message_says_when_it_was_received() {
    let lab = Lab::start(topics(ms(5))).unwrap();
    let before = (Instant::now(), std::time::SystemTime::now());
    let feed = feed(&lab).subscription(sub("btc")).open().unwrap();
    seen(&lab, |_| lab.transcript().sent(1, Sent::Data) >= 3);
    pause(LIMIT);
    let now = Instant::now();
    let events = until_messages(&feed, 1);
    let message = messages(&events)[0];
    assert!(message.received() > before.0 && message.received() < now - LIMIT / 2, "not when it was read");
    assert!(message.time() >= before.1 && message.time() <= std::time::SystemTime::now() - LIMIT / 2);
}

#[test]
fn c3_failures_that_nobody_reads_fold_and_no_lifecycle_is_lost() {
    let lab = Lab::start(Script::of_topics([Topic::new("btc").every(ms(2)).on_subscribe()])).unwrap();
    let (attempted, attempts) = unbounded();
    let url = lab.url();
    let feed = feed(&lab)
        .subscription(sub("btc"))
        .provider(move |attempt| {
            let _ = attempted.send(attempt.number);
            Ok(Target::new(url.clone()))
        })
        .open()
        .unwrap();
    feed.wait_fresh(CEILING).unwrap();
    let control = lab.control();
    control.stop_listening().unwrap();
    control.drop_connections();
    let mut last = 0;
    while last < 100 {
        last = attempts.recv_timeout(CEILING).unwrap_or_else(|_| panic!("{}", lab.transcript()));
    }
    control.listen_again().unwrap();
    feed.wait_connected(CEILING).unwrap();
    feed.wait_fresh(CEILING).unwrap();
    let ends = feed.health().ends;
    let mut stream = Stream::default();
    let mut on_second = false;
    let events = until(&feed, |event| {
        stream.check(event);
        on_second |= is_connected(event, 2);
        on_second && matches!(event, Event::Message(_))
    });
    // Data may come before it is known that the subscribe message was written.
    let mut all = names(&events);
    all.retain(|name| name != "subscribed");
    all.dedup();
    let expected =
        ["connecting", "connected", "message", "disconnected", "connecting", "connected", "gap", "message"];
    assert_eq!(all, expected);
    let end = events.iter().find_map(|event| if let Event::Disconnected(e) = event { Some(e) } else { None });
    let end = end.unwrap();
    assert!(end.attempts >= 100, "{end:?}");
    assert_eq!(u64::from(end.attempts), ends.values().sum::<u64>(), "each is counted: {ends:?}");
    assert_eq!((end.was_connected, end.epoch), (true, 1), "it ends the connection that was seen");
}

#[test]
fn c3_connections_that_flap_while_nobody_reads_stay_bounded() {
    let plan = |connection| if connection <= 30 { Script::flap() } else { Script::new() };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let feed = feed(&lab).open().unwrap();
    seen(&lab, |entry| entry.connection == 31 && matches!(entry.what, What::Upgraded { .. }));
    let mut events = until(&feed, |event| is_connected(event, 31));
    let alerts = events.len();
    events.retain(|event| !matches!(event, Event::Alert(_)));
    assert_eq!(alerts - events.len(), 1, "that there are so many is told once");
    let expected = ["connecting", "connected", "disconnected", "connecting", "connected"];
    assert_eq!(names(&events), expected);
    let Event::Disconnected(end) = &events[2] else { unreachable!() };
    assert_eq!((end.attempts, end.was_connected), (30, true));
    assert_eq!(end.epoch, 1, "the connection that was said to be up");
    assert!(matches!(end.reason, EndReason::ClosedByPeer { code: Some(1001), .. }), "{end:?}");
    let Ok(Event::Gap(gap)) = feed.recv_timeout(CEILING) else { panic!("no gap after Connected") };
    assert_eq!(gap.epoch, 31);
}

#[test]
fn c4_a_new_connection_carries_the_subscriptions_made_afresh_and_nothing_else() {
    let lab = Lab::start(Script::new()).unwrap();
    let signed = |name: &'static str| {
        Subscription::new(name).subscribe_with(move |context| {
            let time = context.time.duration_since(std::time::UNIX_EPOCH).unwrap();
            Ok(format!("{name} {} {} {}", context.epoch, context.attempt, time.as_nanos()))
        })
    };
    let feed = feed(&lab)
        .subscription(signed("b"))
        .subscription(Subscription::new("silent"))
        .subscription(signed("a"))
        .open()
        .unwrap();
    feed.wait_connected(CEILING).unwrap();
    // Admitted as soon as there is a connection: subscriptions still go first.
    for order in ["order 1", "order 2"] {
        assert_eq!(feed.send(order).unwrap().wait(CEILING), Ok(Outcome::Written));
    }
    feed.subscribe(signed("c")).unwrap();
    feed.subscribe(sub("gone")).unwrap();
    feed.unsubscribe("gone").unwrap();
    seen(&lab, |_| lab.transcript().received_texts(1).iter().any(|text| text.starts_with("c 1")));
    lab.control().drop_connections();
    until(&feed, |event| matches!(event, Event::Disconnected(_)));
    until(&feed, |event| is_connected(event, 2));
    assert_eq!(feed.send("order 3").unwrap().wait(CEILING), Ok(Outcome::Written));
    seen(&lab, |_| lab.transcript().received_texts(2).contains(&"order 3"));
    let transcript = lab.transcript();
    let (first, second) = (transcript.received_texts(1), transcript.received_texts(2));
    let without_time = |texts: &[&str]| -> Vec<String> {
        texts.iter().map(|text| text.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(without_time(&first)[..2], ["b 1 1", "a 1 1"]);
    assert_eq!(first[2..4], ["order 1", "order 2"]);
    assert_eq!(without_time(&second[..3]), ["b 2 1", "a 2 1", "c 2 1"], "in the order of asking");
    assert_eq!(second[3..], ["order 3"]);
    let time = |text: &str| text.rsplit(' ').next().unwrap().parse::<u128>().unwrap();
    assert!(time(second[0]) > time(first[0]), "a time that was taken again");
}

#[test]
fn c4_what_waits_when_a_connection_ends_is_dropped_with_it() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = feed(&lab).subscription(sub("btc")).limits(|limits| limits.send_bytes = 64 << 20);
    let feed = feed.open().unwrap();
    until(&feed, |event| matches!(event, Event::Subscribed(_)));
    lab.control().all(Command::Freeze);
    seen(&lab, |entry| entry.what == What::Command("freeze"));
    let receipts: Vec<_> = (0..16).map(|_| feed.send("order ".repeat(400_000)).unwrap()).collect();
    let (control, last) = (lab.control(), receipts.last().unwrap());
    assert_eq!(last.wait(LIMIT), Err(Error::Timeout), "the server takes nothing");
    control.drop_connections();
    assert_eq!(last.wait(CEILING), Ok(Outcome::Dropped { epoch: 1 }));
    let events = until(&feed, |event| is_connected(event, 2));
    assert!(names(&events).contains(&"disconnected".to_owned()));
    assert_eq!(feed.send("new").unwrap().wait(CEILING), Ok(Outcome::Written));
    seen(&lab, |_| lab.transcript().received_texts(2).contains(&"new"));
    assert_eq!(lab.transcript().received_texts(2), ["subscribe btc", "new"]);
    control.stop_listening().unwrap();
    control.drop_connections();
    until(&feed, |event| matches!(event, Event::Disconnected(_)));
    assert_eq!(feed.send("later").map(drop), Err(Error::NotConnected));
}

/// Messages received and said to be lost, by connection; and what was received last of each topic.
#[derive(Debug, Default)]
struct Account {
    received: BTreeMap<u64, u64>,
    lost: BTreeMap<u64, u64>,
    latest: BTreeMap<SubscriptionId, u64>,
    seqs: BTreeMap<SubscriptionId, Vec<u64>>,
}

impl Account {
    fn count(&mut self, event: &Event) {
        match event {
            Event::Message(message) => {
                *self.received.entry(message.epoch()).or_default() += 1;
                let id = message.subscriptions()[0].clone();
                self.latest.insert(id.clone(), seq(message));
                self.seqs.entry(id).or_default().push(seq(message));
            }
            Event::Gap(gap) if gap.cause == GapCause::Overflow => {
                *self.lost.entry(gap.epoch).or_default() += gap.lost.unwrap();
            }
            _ => {}
        }
    }
}

/// Three connections that send 600 numbered messages each and close, with a queue for 32.
#[track_caller]
fn account_of(overflow: Overflow, names: &'static [&'static str], read: fn(&Feed, &Lab, &mut Account)) {
    const EACH: u64 = 600;
    let plan = |connection| match connection {
        1..=3 => Script::new()
            .until_subscribe()
            .topics(names.iter().map(|topic| Topic::new(*topic).every(Duration::from_micros(20))))
            .until_sent(EACH)
            .then(Command::MuteAll)
            .close(1001, "enough"),
        _ => Script::new(),
    };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let builder = feed(&lab).queue(|queue| (queue.messages, queue.overflow) = (32, overflow));
    let feed = names.iter().fold(builder, |feed, topic| feed.subscription(sub(topic))).open().unwrap();
    let mut account = Account::default();
    read(&feed, &lab, &mut account);
    let health = feed.health();
    let lost: u64 = account.lost.values().sum();
    assert_eq!((health.messages, health.dropped), (3 * EACH, lost), "{account:?}");
    assert!(lost > 0, "nothing overflowed");
    // Connections of which nothing is left to be read are folded into one, and what was lost on them too.
    let received: u64 = account.received.values().sum();
    assert_eq!(received + lost, 3 * EACH, "{account:?}");
    for topic in names {
        let seqs = &account.seqs[&SubscriptionId::from(*topic)];
        assert!(seqs.is_sorted_by(|a, b| a < b), "{topic}: {seqs:?}");
        assert_eq!(
            account.latest[&SubscriptionId::from(*topic)],
            lab.published(topic),
            "the last of {topic}"
        );
    }
}

/// Nobody reads until all has come.
fn read_at_the_end(feed: &Feed, lab: &Lab, account: &mut Account) {
    seen(lab, |entry| entry.connection == 4 && matches!(entry.what, What::Upgraded { .. }));
    until(feed, |event| {
        account.count(event);
        is_connected(event, 4)
    });
}

/// The reader is slow.
fn read_slowly(feed: &Feed, _: &Lab, account: &mut Account) {
    until(feed, |event| {
        account.count(event);
        if matches!(event, Event::Message(_)) {
            pause(Duration::from_micros(50));
        }
        is_connected(event, 4)
    });
}

#[test]
fn c1_received_and_lost_are_what_was_sent_when_the_oldest_are_dropped() {
    account_of(Overflow::DropOldest, &["btc"], read_at_the_end);
    account_of(Overflow::DropOldest, &["btc"], read_slowly);
}

#[test]
fn c1_received_and_lost_are_what_was_sent_when_the_latest_are_kept() {
    account_of(Overflow::KeepLatest, &["btc", "eth", "xrp"], read_at_the_end);
    account_of(Overflow::KeepLatest, &["btc", "eth", "xrp"], read_slowly);
}

#[test]
fn d1_the_latest_of_each_is_kept_however_busy_another_is() {
    // As many subscriptions as the queue has room for messages; all but one send once.
    let quiet: Vec<String> = (0..7).map(|n| format!("quiet {n}")).collect();
    let script = quiet.iter().fold(Script::new().until_subscribe(), |script, topic| {
        script.send(format!(r#"{{"topic":"{topic}","seq":1}}"#))
    });
    let busy = Topic::new("busy").every(ms(1));
    let script = script.topics([busy]).until_sent(100).then(Command::MuteAll).close(1001, "enough");
    let plan = move |connection| if connection == 1 { script.clone() } else { Script::new() };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let data = |topic: &str| Subscription::new(topic).data(Matcher::pointer("/topic", topic));
    let builder = feed(&lab).queue(|queue| (queue.messages, queue.overflow) = (8, Overflow::KeepLatest));
    let builder = quiet.iter().fold(builder, |builder, topic| builder.subscription(data(topic)));
    let feed = builder.subscription(sub("busy")).open().unwrap();
    seen(&lab, |entry| entry.connection == 2 && matches!(entry.what, What::Upgraded { .. }));
    let events = until(&feed, |event| is_connected(event, 2));
    let mut latest = BTreeMap::new();
    for message in messages(&events) {
        latest.insert(message.subscriptions()[0].as_str().to_owned(), seq(message));
    }
    let expected = quiet.into_iter().map(|topic| (topic, 1)).chain([("busy".to_owned(), 100)]);
    assert_eq!(latest, expected.collect(), "{events:?}");
}

#[test]
fn a_subscribe_closure_that_fails_is_an_alert_then_stale_then_retried() {
    for panics in [false, true] {
        let lab = Lab::start(topics(ms(5))).unwrap();
        let calls = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&calls);
        let shaky =
            sub("eth").stale_after(LIMIT).repair([RepairStep::Reconnect]).subscribe_with(move |context| {
                counted.fetch_add(1, Ordering::Relaxed);
                match context.epoch {
                    1 if panics => panic!("no key"),
                    1 => Err("no key".to_owned()),
                    _ => Ok("subscribe eth".to_owned()),
                }
            });
        let feed = feed(&lab).subscription(shaky).subscription(sub("btc")).open().unwrap();
        let mut stream = Stream::default();
        let events = until(&feed, |event| {
            stream.check(event);
            matches!(event, Event::Stale(_))
        });
        let alerts: Vec<_> = events
            .iter()
            .filter_map(|event| if let Event::Alert(alert) = event { Some(&alert.kind) } else { None })
            .collect();
        let [AlertKind::SubscribeFailed { subscription, detail }] = &alerts[..] else { panic!("{alerts:?}") };
        assert_eq!(*subscription, "eth");
        assert!(detail.contains("no key"), "{detail}");
        let others = messages(&events);
        assert!(others.len() >= 10 && others.iter().all(|of| of.subscriptions() == ["btc"]), "it went on");
        assert!(!events.iter().any(|event| matches!(event, Event::Subscribed(s) if s.subscription == "eth")));
        let Some(Event::Stale(stale)) = events.last() else { unreachable!() };
        assert_eq!((stale.epoch, &stale.subscription), (1, &Some("eth".into())));
        assert!(stale.age >= LIMIT);
        until(&feed, |event| {
            stream.check(event);
            matches!(event, Event::Message(message) if message.subscriptions() == ["eth"])
        });
        assert_eq!((stream.epoch, calls.load(Ordering::Relaxed)), (2, 2));
        let health = feed.health();
        assert!(health.subscriptions.iter().all(|of| of.state == SubscriptionState::Live), "{health:?}");
    }
}

#[test]
fn a_subscribe_closure_without_a_limit_does_not_end_the_connection() {
    let lab = Lab::start(topics(ms(5))).unwrap();
    let never = Subscription::new("never")
        .subscribe_with(|_| Err::<String, _>("no".into()))
        .data(Matcher::text("never"));
    let feed = feed(&lab).subscription(never).subscription(sub("btc")).open().unwrap();
    let events = until_messages(&feed, 20);
    assert!(!names(&events).contains(&"disconnected".to_owned()), "{:?}", names(&events));
    let (_, stale) = {
        feed.subscribe(Subscription::new("late").data(Matcher::text("late")).stale_after(LIMIT)).unwrap();
        until_stale(&feed)
    };
    assert_eq!(stale.subscription, Some("late".into()), "verdicts still come");
}
