//! Delivery: bounds of the queue, sends and their outcomes, full duplex, messages intact.

use crate::common::{CEILING, Dice, content, frame, healthy, in_lab, names, shown, until};
use livefeed::lab::{Command, Flood, Lab, Received, Script, Topic, What};
use livefeed::{
    AlertKind, AlertStatus, EndReason, Error, Event, Feed, FeedBuilder, Gap, GapCause, Health, Matcher,
    Message, Outcome, Overflow, Receipt, Subscription,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

// ---- D1: the queue ---------------------------------------------------------------------------------------

/// The smallest read buffer: one `recv` brings at most this.
const RECV: usize = 1024;

fn feed(lab: &Lab) -> FeedBuilder {
    Feed::builder(lab.url())
        .limits(|limits| limits.read_buffer_bytes = RECV)
        .reconnect(|reconnect| {
            reconnect.floor = Duration::from_millis(5);
            reconnect.first = Duration::from_millis(10);
            reconnect.max = Duration::from_millis(50);
        })
        .close_timeout(Duration::from_secs(1))
}

fn text(message: &Message) -> &str {
    message.text().unwrap_or("(binary)")
}

/// The number in a message of a topic.
fn seq(message: &Message) -> u64 {
    let value: serde_json::Value = serde_json::from_str(text(message)).unwrap();
    value["seq"].as_u64().unwrap_or_else(|| panic!("no number in {message:?}"))
}

fn is_end(event: &Event) -> bool {
    matches!(event, Event::Message(message) if text(message) == "end")
}

/// The numbers of one topic, `count` of them, all of which fit one subscription, then the text `end`.
fn numbered(count: u64) -> Script {
    Script::of_topics([Topic::new("n").every(Duration::ZERO).size(100)]).until_sent(count).silence()
}

fn slow_alerts(events: &[Event]) -> Vec<(usize, usize, usize)> {
    let alert = |(at, event): (usize, &Event)| match event {
        Event::Alert(alert) if alert.status == AlertStatus::Raised => match alert.kind {
            AlertKind::SlowConsumer { messages, bytes } => Some((at, messages, bytes)),
            _ => None,
        },
        _ => None,
    };
    events.iter().enumerate().filter_map(alert).collect()
}

#[test]
fn d1_block_is_bounded_in_messages_loses_nothing_and_says_early_that_nobody_reads() {
    const BOUND: usize = 4000;
    /// What is consumed of a batch makes room in lots of this many.
    const LOT: usize = 1024;
    let lab = Lab::start(numbered(20_000).send("end")).unwrap();
    let feed = feed(&lab).queue(|queue| queue.messages = BOUND).open().unwrap();
    // Nobody reads: it fills up and stays within the bound and what one `recv` brings.
    let one = RECV / 100;
    healthy(&feed, &lab, |health| {
        assert!(health.queue_messages <= BOUND + one, "{health:#?}");
        health.queue_messages >= BOUND
    });
    // A slow reader takes one batch and does not get on with it: what it still holds counts.
    let batch = feed.batches().recv_timeout(CEILING).unwrap();
    let mut held = batch.into_iter();
    assert!(held.len() >= BOUND, "{}", held.len());
    let mut events: Vec<Event> = held.by_ref().take(LOT + 10).collect();
    healthy(&feed, &lab, |health| health.queue_messages >= LOT / 2);
    for _ in 0..20 {
        assert_eq!(feed.send("time for the reader to read on").unwrap().wait(CEILING), Ok(Outcome::Written));
        let health = feed.health();
        assert!(health.queue_messages <= LOT + one, "room was made before it was: {health:#?}");
    }
    events.extend(held);
    let mut rest = until(&feed, is_end);
    rest.pop();
    events.extend(rest);

    let numbers: Vec<u64> = messages(&events).map(seq).collect();
    assert!(numbers.iter().copied().eq(1..=20_000), "{} of 20000", numbers.len());
    assert!(!events.iter().any(|event| matches!(event, Event::Gap(_))), "{:?}", names(&events));
    // Said once, before the queue was full, and in its place in the stream.
    let alerts = slow_alerts(&events);
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    let (at, alerted, _) = alerts[0];
    assert!((BOUND * 3 / 4..BOUND).contains(&alerted), "{alerts:?}");
    assert_eq!(messages(&events[..at]).count(), alerted);
    assert_eq!(feed.health().dropped, 0);
}

fn messages(events: &[Event]) -> impl Iterator<Item = &Message> {
    events.iter().filter_map(|event| match event {
        Event::Message(message) => Some(message),
        _ => None,
    })
}

#[test]
fn d1_block_is_bounded_in_bytes() {
    const BOUND: usize = 64 << 10;
    let topic = Topic::new("n").every(Duration::ZERO).size(1000);
    let lab = Lab::start(Script::of_topics([topic]).until_sent(2000).silence().send("end")).unwrap();
    let feed = feed(&lab)
        .queue(|queue| queue.bytes = BOUND)
        .limits(|limits| limits.message_bytes = 4096)
        .open()
        .unwrap();
    let check = |health: &Health| {
        assert!(health.queue_bytes <= BOUND + RECV + 1000, "{health:#?}");
        health.queue_bytes >= BOUND
    };
    healthy(&feed, &lab, check);
    let mut events = Vec::new();
    while !events.last().is_some_and(is_end) {
        events.extend(until(&feed, |event| matches!(event, Event::Message(_))));
        check(&feed.health());
    }
    events.pop();
    let numbers: Vec<u64> = messages(&events).map(seq).collect();
    assert!(numbers.iter().copied().eq(1..=2000), "{} of 2000", numbers.len());
    let alerts = slow_alerts(&events);
    assert_eq!(alerts.len(), 1, "{alerts:?}");
    assert!((BOUND * 3 / 4..BOUND).contains(&alerts[0].2), "{alerts:?}");
    // Each byte was counted, those that came along with the answer to the upgrade too: a header of 4 bytes, 1000 bytes.
    assert_eq!(feed.health().bytes, 2000 * 1004 + 5);
}

const TOPICS: [&str; 3] = ["a", "b", "c"];
const ROUND: u64 = 3000;

/// Three topics of their own numbers, so that what was lost of each can be told. They pause after each round, with
/// a ping behind it, until a text comes.
fn rounds() -> Script {
    let topics = TOPICS.map(|name| Topic::new(name).every(Duration::ZERO).size(100));
    (1..=3).fold(Script::of_topics(topics), |script, round| {
        script.until_sent(ROUND).silence().then(Command::Ping(vec![round])).until_subscribe().resume()
    })
}

fn published(lab: &Lab) -> u64 {
    TOPICS.iter().map(|name| lab.published(name)).sum()
}

fn subscribed(builder: FeedBuilder) -> FeedBuilder {
    TOPICS.into_iter().fold(builder, |builder, name| {
        builder.subscription(Subscription::new(name).data(Matcher::pointer("/topic", name)))
    })
}

/// Received and lost are what was sent; every hole in the numbers has its gap, in its place and with the names of
/// those that it tore open.
#[track_caller]
fn assert_accounted(events: &[Event], lab: &Lab, health: &Health) {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    let mut torn = BTreeSet::new();
    let (mut received, mut lost) = (0, 0);
    for event in events {
        match event {
            Event::Message(message) => {
                let name = message.subscriptions()[0].to_string();
                received += 1;
                let number = seq(message);
                let expected = next.get(&name).copied().unwrap_or(1);
                assert!(number >= expected, "{name} goes back from {expected} to {number}");
                let was_torn = torn.remove(&name);
                assert_eq!(was_torn, number > expected, "{name}: {number} after {expected}");
                next.insert(name, number + 1);
            }
            Event::Gap(gap) => {
                let Gap { cause: GapCause::Overflow, lost: Some(count), subscriptions, .. } = &**gap else {
                    panic!("{gap:?}");
                };
                lost += count;
                assert!(!subscriptions.is_empty(), "{gap:?}");
                torn.extend(subscriptions.iter().map(ToString::to_string));
            }
            _ => {}
        }
    }
    assert_eq!(received + lost, published(lab), "{received} received, {lost} lost");
    assert!(lost > 0 && received > 0, "{received} received, {lost} lost");
    assert_eq!(health.dropped, lost);
}

/// Nobody reads in the first round; a reader takes a part of what is there after each.
fn flooded(builder: impl FnOnce(FeedBuilder) -> FeedBuilder, check: impl Fn(&Health)) -> Vec<Event> {
    let lab = Lab::start(rounds()).unwrap();
    let feed = subscribed(builder(feed(&lab))).open().unwrap();
    let mut events = Vec::new();
    for round in 1..=3 {
        in_lab(&lab, |what| {
            check(&feed.health());
            matches!(what, What::Received(Received::Pong(mark)) if **mark == [round])
        });
        let health = feed.health();
        check(&health);
        // All three had their turn in full.
        assert_eq!(health.messages, ROUND * u64::from(round), "{health:#?}\n{}", shown(&lab));
        if round < 3 {
            events.extend(feed.try_iter().take(10 * usize::from(round)));
            drop(feed.send("go on").unwrap());
        }
    }
    let health = feed.health();
    events.extend(feed.try_iter());
    assert_accounted(&events, &lab, &health);
    events
}

#[test]
fn d1_drop_oldest_is_bounded_in_messages_and_marks_what_it_drops() {
    const BOUND: usize = 100;
    let events = flooded(
        |builder| builder.overflow(Overflow::DropOldest).queue(|queue| queue.messages = BOUND),
        |health| assert!(health.queue_messages <= BOUND, "{health:#?}"),
    );
    // What is left is the newest.
    let last: Vec<u64> = messages(&events).map(seq).collect();
    assert!(last[last.len() - BOUND..].iter().all(|number| *number > 2 * ROUND / 3), "{last:?}");
    assert!(slow_alerts(&events).is_empty(), "nothing is held up: {:?}", names(&events));
}

#[test]
fn d1_drop_oldest_is_bounded_in_bytes() {
    const BOUND: usize = 8192;
    flooded(
        |builder| {
            builder
                .overflow(Overflow::DropOldest)
                .queue(|queue| queue.bytes = BOUND)
                .limits(|limits| limits.message_bytes = 1000)
        },
        // What a reader holds counts on top.
        |health| assert!(health.queue_bytes <= 2 * BOUND, "{health:#?}"),
    );
}

#[test]
fn d1_keep_latest_keeps_the_newest_of_each_subscription() {
    const BOUND: usize = 40;
    let events = flooded(
        |builder| builder.overflow(Overflow::KeepLatest).queue(|queue| queue.messages = BOUND),
        |health| assert!(health.queue_messages <= BOUND, "{health:#?}"),
    );
    let newest: BTreeMap<String, u64> =
        messages(&events).map(|message| (message.subscriptions()[0].to_string(), seq(message))).collect();
    assert_eq!(newest.len(), 3, "{newest:?}");
    assert_eq!(newest.values().sum::<u64>(), 3 * ROUND, "the last of each was kept: {newest:?}");
}

#[test]
fn d1_keep_latest_spares_the_only_message_of_a_quiet_subscription() {
    let lab = Lab::start(
        Script::new()
            .send(r#"{"topic":"a","seq":1}"#)
            .topics([Topic::new("b").every(Duration::ZERO)])
            .until_sent(2000)
            .silence()
            .then(Command::Ping(b"round".to_vec())),
    )
    .unwrap();
    let builder = feed(&lab).overflow(Overflow::KeepLatest).queue(|queue| queue.messages = 40);
    let feed = subscribed(builder).open().unwrap();
    in_lab(&lab, |what| matches!(what, What::Received(Received::Pong(_))));
    let events: Vec<Event> = feed.try_iter().collect();
    let first = messages(&events).next().unwrap();
    assert_eq!(first.subscriptions(), ["a"], "{first:?}");
    assert_eq!(messages(&events).last().map(seq), Some(2000));
    let gap = events.iter().find_map(|event| if let Event::Gap(gap) = event { Some(gap) } else { None });
    assert_eq!(gap.unwrap().subscriptions, ["b"], "{gap:?}");
}

// ---- D2: sending -----------------------------------------------------------------------------------------

#[test]
fn d2_send_is_refused_while_not_connected() {
    let lab = Lab::start(Script::never_upgrade()).unwrap();
    let feed = feed(&lab).connect(|connect| connect.timeout = Duration::from_secs(1)).open().unwrap();
    until(&feed, |event| matches!(event, Event::Connecting(_)));
    assert_eq!(feed.send("too early").unwrap_err(), Error::NotConnected);
    lab.control().script(Script::new());
    until(&feed, |event| matches!(event, Event::Connected(_)));
    assert_eq!(feed.send("in time").unwrap().wait(CEILING), Ok(Outcome::Written));
    in_lab(&lab, |what| matches!(what, What::Received(Received::Text(text)) if **text == *"in time"));

    lab.control().stop_listening().unwrap();
    lab.control().drop_connections();
    until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let error = feed.send("between").unwrap_err();
    assert_eq!(error, Error::NotConnected);
    assert!(error.is_retryable());
    lab.control().listen_again().unwrap();
    until(&feed, |event| matches!(event, Event::Connected(_)));
    feed.close(CEILING).unwrap();
    assert!(matches!(feed.send("too late"), Err(Error::Closed(_))));
    let transcript = lab.transcript();
    let texts: Vec<_> = (1..=lab.connections() + 5).flat_map(|n| transcript.received_texts(n)).collect();
    assert_eq!(texts, ["in time"], "{}", shown(&lab));
}

#[test]
fn d2_a_message_larger_than_the_bound_is_too_large_always() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = feed(&lab).limits(|limits| limits.send_bytes = 1000).open().unwrap();
    let too_large = Error::TooLarge { size: 1001, limit: 1000 };
    assert_eq!(feed.send("x".repeat(1001)).unwrap_err(), too_large);
    feed.wait_connected(CEILING).unwrap();
    assert_eq!(feed.send("x".repeat(1001)).unwrap_err(), too_large);
    assert_eq!(feed.send("x".repeat(1000)).unwrap().wait(CEILING), Ok(Outcome::Written));
}

#[test]
fn d2_what_is_written_arrives_in_order_from_each_of_several_threads() {
    const EACH: usize = 250;
    let lab = Lab::start(Script::new()).unwrap();
    let feed = feed(&lab).open().unwrap();
    feed.wait_connected(CEILING).unwrap();
    thread::scope(|scope| {
        for sender in 0..4u8 {
            let feed = &feed;
            scope.spawn(move || {
                let receipts: Vec<Receipt> = (0..EACH)
                    .map(|number| {
                        let text = format!("{sender} {number}");
                        let is_text = (number + usize::from(sender)) % 2 == 0;
                        if is_text { feed.send(text).unwrap() } else { feed.send(text.into_bytes()).unwrap() }
                    })
                    .collect();
                for receipt in receipts {
                    assert_eq!(receipt.wait(CEILING), Ok(Outcome::Written));
                }
            });
        }
    });
    healthy(&feed, &lab, |_| arrived(&lab).len() >= 4 * EACH);
    let mut next = [0; 4];
    for (is_text, bytes) in arrived(&lab) {
        let text = String::from_utf8(bytes).unwrap();
        let (sender, number) = text.split_once(' ').unwrap();
        let (sender, number): (usize, usize) = (sender.parse().unwrap(), number.parse().unwrap());
        assert_eq!(number, next[sender], "of sender {sender}");
        assert_eq!(is_text, (number + sender) % 2 == 0, "the kind of {text}");
        next[sender] += 1;
    }
    assert_eq!(next, [EACH; 4]);
}

/// The messages that came in on the first connection: whether text, and the bytes.
fn arrived(lab: &Lab) -> Vec<(bool, Vec<u8>)> {
    let message = |what: &What| match what {
        What::Received(Received::Text(text)) => Some((true, text.as_bytes().to_vec())),
        What::Received(Received::Binary(bytes)) => Some((false, bytes.to_vec())),
        _ => None,
    };
    lab.transcript().of(1).filter_map(message).collect()
}

/// Sends until the outbox is full; each call has to come back at once.
fn fill_outbox(feed: &Feed, size: usize) -> Vec<Receipt> {
    let began = Instant::now();
    let mut receipts = Vec::new();
    loop {
        let before = Instant::now();
        let sent = feed.send(vec![7; size]);
        let took = before.elapsed();
        assert!(took < Duration::from_secs(2), "send took {took:?}");
        match sent {
            Ok(receipt) => receipts.push(receipt),
            Err(error) => {
                assert_eq!(error, Error::OutboxFull { limit: 1 << 20 });
                return receipts;
            }
        }
        assert!(began.elapsed() < CEILING, "never full: {:#?}", feed.health());
    }
}

/// Sends until the buffers of both systems are full, too, and the outbox stays full. The peer must not read.
pub fn fill_all(feed: &Feed, lab: &Lab) -> Vec<Receipt> {
    let mut receipts = fill_outbox(feed, 50_000);
    let mut full = 0;
    healthy(feed, lab, |_| {
        let more = fill_outbox(feed, 50_000);
        full = if more.is_empty() { full + 1 } else { 0 };
        receipts.extend(more);
        full == 100
    });
    receipts
}

/// What became of sends: first those that were written, then those that were dropped.
fn outcomes(receipts: &[Receipt], epoch: u64) -> (usize, usize) {
    let outcomes: Vec<_> = receipts.iter().map(|receipt| receipt.wait(CEILING).unwrap()).collect();
    let written = outcomes.iter().take_while(|outcome| **outcome == Outcome::Written).count();
    assert!(outcomes[written..].iter().all(|outcome| *outcome == Outcome::Dropped { epoch }), "{outcomes:?}");
    (written, outcomes.len() - written)
}

#[test]
fn d2_send_never_waits_for_a_peer_that_reads_nothing_and_says_what_was_dropped() {
    let lab = Lab::builder()
        .scripts(|connection| match connection {
            1 => Script::new().then(Command::StopReading),
            _ => Script::new(),
        })
        .start()
        .unwrap();
    let feed = feed(&lab).limits(|limits| limits.send_bytes = 1 << 20).open().unwrap();
    feed.wait_connected(CEILING).unwrap();
    let receipts = fill_all(&feed, &lab);
    let health = feed.health();
    // The systems' buffers may still grow a little, so it need not be full to the brim.
    assert!(health.outbox_bytes > 1 << 19 && health.outbox_bytes <= 1 << 20, "{health:#?}");
    assert!(receipts.last().unwrap().outcome().is_none(), "what waits has no outcome yet");

    lab.control().connection(1, Command::Reset);
    let (written, dropped) = outcomes(&receipts, 1);
    assert!(written > 0 && dropped >= (1 << 19) / 50_000, "{written} written, {dropped} dropped");
    // There is room again on the next connection, and nothing of the old one on it.
    until(&feed, |event| matches!(event, Event::Connected(event) if event.epoch == 2));
    assert_eq!(feed.health().outbox_bytes, 0);
    assert_eq!(feed.send("new").unwrap().wait(CEILING), Ok(Outcome::Written));
    in_lab(&lab, |what| matches!(what, What::Received(Received::Text(_))));
    let transcript = lab.transcript();
    let received = transcript.of(2).filter(|what| matches!(what, What::Received(_))).count();
    assert_eq!(received, 1, "{}", shown(&lab));
}

#[test]
fn d2_a_message_of_which_a_part_was_written_is_dropped() {
    // More than the buffers of both systems hold.
    const SIZE: usize = 48 << 20;
    let lab = Lab::builder()
        .scripts(|connection| match connection {
            1 => Script::new().then(Command::StopReading),
            _ => Script::new(),
        })
        .start()
        .unwrap();
    let feed = feed(&lab).limits(|limits| limits.send_bytes = SIZE + 4096).open().unwrap();
    feed.wait_connected(CEILING).unwrap();
    let first = feed.send("first").unwrap();
    let large = feed.send(vec![7; SIZE - 100]).unwrap();
    let behind = feed.send("behind").unwrap();
    assert_eq!(first.wait(CEILING), Ok(Outcome::Written));
    healthy(&feed, &lab, |health| health.outbox_bytes <= 1024);
    lab.control().connection(1, Command::Reset);
    assert_eq!(large.wait(CEILING), Ok(Outcome::Dropped { epoch: 1 }));
    assert_eq!(behind.wait(CEILING), Ok(Outcome::Dropped { epoch: 1 }));
}

#[test]
fn d2_callbacks_may_send() {
    let lab = Lab::start(Script::new().send("to the handler")).unwrap();
    let own: Arc<OnceLock<Weak<Feed>>> = Arc::default();
    let (inside, (sender, outcomes)) = (Arc::clone(&own), crossbeam_channel::unbounded());
    let handler = move |event: Event| {
        if matches!(event, Event::Message(_)) {
            let feed = inside.wait().upgrade().unwrap();
            sender.send(feed.send("from the handler")).unwrap();
        }
    };
    let handled = Arc::new(feed(&lab).handler(handler).open().unwrap());
    own.set(Arc::downgrade(&handled)).unwrap();
    let receipt = outcomes.recv_timeout(CEILING).unwrap().unwrap();
    assert_eq!(receipt.wait(CEILING), Ok(Outcome::Written));
    in_lab(
        &lab,
        |what| matches!(what, What::Received(Received::Text(text)) if **text == *"from the handler"),
    );

    let own: Arc<OnceLock<Weak<Feed>>> = Arc::default();
    let (inside, (sender, outcomes)) = (Arc::clone(&own), crossbeam_channel::unbounded());
    let wake = move || {
        if let Some(feed) = inside.wait().upgrade()
            && let Ok(receipt) = feed.send("from on_wake")
        {
            sender.send(receipt).unwrap();
        }
    };
    let woken = Arc::new(feed(&lab).on_wake(wake).open().unwrap());
    own.set(Arc::downgrade(&woken)).unwrap();
    until(&woken, |event| matches!(event, Event::Message(_)));
    lab.control().all(Command::Send("once more".into()));
    until(&woken, |event| matches!(event, Event::Message(message) if text(message) == "once more"));
    let receipt = outcomes.recv_timeout(CEILING).unwrap();
    assert_eq!(receipt.wait(CEILING), Ok(Outcome::Written));
    in_lab(&lab, |what| matches!(what, What::Received(Received::Text(text)) if **text == *"from on_wake"));
}

// ---- D3: both directions at once -------------------------------------------------------------------------

/// Sends at full rate while a flood comes in.
fn duplex(lab: &Lab, feed: &Feed) {
    const MESSAGES: usize = 400;
    feed.wait_connected(CEILING).unwrap();
    until(feed, |event| matches!(event, Event::Message(_)));
    let over = AtomicBool::new(false);
    let received = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut received = 0;
            while !over.load(Ordering::Relaxed) {
                match feed.recv_timeout(CEILING).unwrap() {
                    Event::Message(_) => received += 1,
                    // On a busy machine this reader may fall behind a flood, and is told so.
                    Event::Alert(alert) if matches!(alert.kind, AlertKind::SlowConsumer { .. }) => {}
                    other => panic!("{other:?}"),
                }
            }
            received
        });
        let mut waiting = std::collections::VecDeque::new();
        for number in 0..MESSAGES {
            let message = format!("{number} {}", "x".repeat(8000));
            loop {
                match feed.send(message.as_str()) {
                    Ok(receipt) => break waiting.push_back(receipt),
                    Err(Error::OutboxFull { .. }) => {
                        let oldest: Receipt = waiting.pop_front().unwrap();
                        assert_eq!(oldest.wait(CEILING), Ok(Outcome::Written), "{:#?}", feed.health());
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
        for receipt in waiting {
            assert_eq!(receipt.wait(CEILING), Ok(Outcome::Written), "{:#?}", feed.health());
        }
        over.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(received > 1000, "only {received} messages came in while {MESSAGES} went out");
    let last = format!("{} ", MESSAGES - 1);
    in_lab(lab, |what| matches!(what, What::Received(Received::Text(text)) if text.starts_with(&last)));
    let numbers = arrived(lab).into_iter().map(|(_, bytes)| {
        let text = String::from_utf8(bytes).unwrap();
        text.split(' ').next().unwrap().parse::<usize>().unwrap()
    });
    assert!(numbers.eq(0..MESSAGES), "out of order");
}

#[test]
fn d3_full_duplex() {
    let lab = Lab::start(Script::new().flood(Flood::of_size(200))).unwrap();
    let feed = Feed::builder(lab.url()).limits(|limits| limits.send_bytes = 256 << 10).open().unwrap();
    duplex(&lab, &feed);
}

#[cfg(feature = "native-tls")]
#[test]
fn d3_full_duplex_under_tls() {
    let script = Script::new().flood(Flood::of_size(200));
    let lab = Lab::builder().tls(livefeed::lab::Certificate::Valid).script(script).start().unwrap();
    let feed = Feed::builder(lab.url())
        .tls(|tls| tls.extra_roots_pem.push(lab.ca_pem().to_owned()))
        .limits(|limits| limits.send_bytes = 256 << 10)
        .open()
        .unwrap();
    duplex(&lab, &feed);
}

#[test]
fn d3_a_peer_that_stops_reading_holds_up_no_reading_and_is_given_up_typed() {
    const LIMIT: Duration = Duration::from_millis(400);
    let lab = Lab::builder()
        .scripts(|connection| {
            let script = Script::of_topics([Topic::new("n").every(Duration::from_millis(2))]);
            if connection == 1 { script.then(Command::StopReading) } else { script }
        })
        .start()
        .unwrap();
    let feed = feed(&lab)
        .limits(|limits| (limits.send_bytes, limits.write_timeout) = (1 << 20, LIMIT))
        .open()
        .unwrap();
    feed.wait_connected(CEILING).unwrap();
    let mut receipts = Vec::new();
    let events = until(&feed, |event| {
        // Once it is full it stays full: then the peer takes nothing more.
        match event {
            Event::Disconnected(_) => true,
            Event::Message(_) if feed.health().epoch == 1 => {
                while let Ok(receipt) = feed.send(vec![7; 50_000]) {
                    receipts.push((Instant::now(), receipt));
                }
                false
            }
            _ => false,
        }
    });
    let Some(Event::Disconnected(end)) = events.last() else { panic!("{:?}", names(&events)) };
    let EndReason::WriteStalled { stalled } = end.reason else { panic!("{end:?}") };
    assert!(stalled >= LIMIT && stalled < CEILING, "{stalled:?}");
    assert!(end.was_connected && end.retry_in.is_some(), "{end:?}");
    // The feed went on reading from the last send to the end.
    let last_sent = receipts.last().unwrap().0;
    let after = messages(&events).filter(|message| message.received() > last_sent).count();
    assert!(after >= 20, "{after} messages came in while nothing went out");
    let receipts: Vec<Receipt> = receipts.into_iter().map(|(_, receipt)| receipt).collect();
    let (written, dropped) = outcomes(&receipts, 1);
    assert!(written > 0 && dropped > 0, "{written} written, {dropped} dropped");
    until(&feed, |event| matches!(event, Event::Message(message) if message.epoch() == 2));
}

#[test]
fn d3_a_consumer_that_does_not_read_holds_up_no_sends() {
    let lab = Lab::start(Script::new().flood(Flood::of_size(100))).unwrap();
    let feed = feed(&lab).queue(|queue| queue.messages = 10).open().unwrap();
    healthy(&feed, &lab, |health| health.queue_messages >= 10);
    for text in ["one", "two", "three"] {
        assert_eq!(feed.send(text).unwrap().wait(CEILING), Ok(Outcome::Written));
        in_lab(&lab, |what| matches!(what, What::Received(Received::Text(got)) if **got == *text));
    }
    // What came behind the answer to the upgrade is one batch, too.
    assert!(feed.health().queue_messages <= 10 + 4096 / 100, "nobody made room: {:#?}", feed.health());
}

#[test]
fn d3_pings_are_answered_at_once_with_what_they_carry() {
    let topic = Topic::new("n").every(Duration::from_millis(1));
    let lab = Lab::start(Script::of_topics([topic])).unwrap();
    let handled = feed(&lab).handler(drop).open().unwrap();
    handled.wait_connected(CEILING).unwrap();
    for payload in [b"".to_vec(), b"x".to_vec(), vec![0xFF; 125], b"again".to_vec()] {
        let before = Instant::now();
        lab.control().all(Command::Ping(payload.clone()));
        let mut seen = None;
        lab.wait_for(
            |entry| {
                let is_pong = matches!(&entry.what, What::Received(Received::Pong(got)) if **got == *payload);
                seen = Some(entry.at).filter(|_| is_pong);
                is_pong
            },
            CEILING,
        );
        let took =
            seen.unwrap_or_else(|| panic!("no pong:\n{}", shown(&lab))).saturating_duration_since(before);
        assert!(took < Duration::from_secs(1), "the pong took {took:?}");
    }
}

// ---- messages intact -------------------------------------------------------------------------------------

fn intact(lab: &Lab, feed: &Feed) {
    feed.wait_connected(CEILING).unwrap();
    let control = lab.control();
    let mut expected = Vec::new();
    let mut dice = Dice(1);
    for size in [0, 1, 2, 125, 126, 127, 1000, 65_535, 65_536, 65_537, 1 << 20] {
        let binary: Vec<u8> = (0..size).map(|_| dice.byte()).collect();
        let text: String = (0..size).map(|at| char::from(b' ' + u8::try_from(at % 90).unwrap())).collect();
        control.all(Command::SendBinary(binary.clone()));
        control.all(Command::Send(text.clone()));
        expected.push((false, binary));
        expected.push((true, text.clone().into_bytes()));
        for parts in [2, 3, 50] {
            control.all(Command::Fragments(text.clone(), parts));
            expected.push((true, text.clone().into_bytes()));
        }
    }
    // Cut inside of characters, too.
    let text = "größer als ∞, 音楽, 🎵🎶".repeat(9);
    for parts in 1..=40 {
        control.all(Command::Fragments(text.clone(), parts));
        expected.push((true, text.clone().into_bytes()));
    }
    for (at, expected) in expected.iter().enumerate() {
        let events = until(feed, |event| matches!(event, Event::Message(_)));
        let got = messages(&events).next().map(content).unwrap();
        assert!(got == *expected, "message {at}: {} bytes, not {}", got.1.len(), expected.1.len());
    }
}

#[test]
fn d3_messages_of_all_sizes_and_in_fragments_arrive_intact() {
    let lab = Lab::start(Script::new()).unwrap();
    intact(&lab, &Feed::open(lab.url()).unwrap());
}

#[cfg(feature = "native-tls")]
#[test]
fn d3_messages_of_all_sizes_and_in_fragments_arrive_intact_under_tls() {
    let lab = Lab::builder().tls(livefeed::lab::Certificate::Valid).start().unwrap();
    let builder = Feed::builder(lab.url()).tls(|tls| tls.extra_roots_pem.push(lab.ca_pem().to_owned()));
    intact(&lab, &builder.open().unwrap());
}

/// Frames of all forms, and the messages that they are.
fn sequence() -> (Vec<u8>, Vec<(bool, Vec<u8>)>) {
    const FIN: u8 = 0x80;
    let (song, long) = ("größer als ∞, 音楽, 🎵".as_bytes(), vec![0xA5; 70_000]);
    let (first, rest) = song.split_at(7); // inside of a character
    let bytes = [
        frame(FIN | 1, b"hello"),
        frame(1, first),
        frame(FIN | 9, b"between"),
        frame(0, &[]),
        frame(0, &rest[..9]),
        frame(FIN | 10, b"never asked"),
        frame(FIN, &rest[9..]),
        frame(FIN | 1, b""),
        frame(FIN | 2, b""),
        frame(FIN | 2, &[0x81; 125]),
        frame(FIN | 2, &[0x82; 126]),
        frame(FIN | 9, &[0x89; 125]),
        frame(2, b"a"),
        frame(FIN, b"b"),
        frame(FIN | 1, &[b't'; 300]),
        frame(FIN | 2, &long),
        frame(FIN | 1, b"end"),
    ]
    .concat();
    let messages = vec![
        (true, b"hello".to_vec()),
        (true, song.to_vec()),
        (true, Vec::new()),
        (false, Vec::new()),
        (false, vec![0x81; 125]),
        (false, vec![0x82; 126]),
        (false, b"ab".to_vec()),
        (true, vec![b't'; 300]),
        (false, long),
        (true, b"end".to_vec()),
    ];
    (bytes, messages)
}

#[test]
fn d3_splitting_the_bytes_anywhere_changes_nothing() {
    let (bytes, expected) = sequence();
    let small = bytes.len() - 70_100; // all but the long one and its neighbours
    for seed in 0..4 {
        let mut dice = Dice(seed);
        let lab = Lab::start(Script::new()).unwrap();
        let feed = Feed::open(lab.url()).unwrap();
        feed.wait_connected(CEILING).unwrap();
        let mut at = 0;
        while at < bytes.len() {
            // In the first round byte by byte, but for the insides of the long message.
            let most = if at > small + 100 && at + 100 < bytes.len() {
                20_000
            } else if seed == 0 {
                1
            } else {
                40
            };
            let end = (at + 1 + dice.below(most)).min(bytes.len());
            lab.control().all(Command::Raw(bytes[at..end].to_vec()));
            at = end;
            // Only when these were received the next are sent: so they are apart.
            healthy(&feed, &lab, |health| health.bytes == at as u64);
        }
        let events = until(&feed, |event| matches!(event, Event::Message(message) if text(message) == "end"));
        let got: Vec<_> = messages(&events).map(content).collect();
        assert!(got == expected, "seed {seed}: {} messages, not {}", got.len(), expected.len());
    }
}
