//! Bounds, folding, and that what is dropped is marked in its place.

use super::*;
use crate::clock::Stamp;
use crate::error::{EndReason, Stage};
use crate::event::{Alert, AlertKind, Connected, Connecting, Disconnected};
use crate::message::Content;
use std::sync::Arc;
use std::time::Duration;

fn message(epoch: u64, topic: &str, text: &str) -> Event {
    let subscriptions = (!topic.is_empty()).then(|| Arc::new(vec![SubscriptionId::from(topic)]));
    Event::Message(Message {
        content: Content::Text(text.into()),
        epoch,
        received: Stamp::now().into(),
        subscriptions,
    })
}

fn append(queue: &mut Queue, events: impl IntoIterator<Item = Event>) {
    let mut batch: VecDeque<Event> = events.into_iter().collect();
    let bytes = batch.iter().map(|e| if let Event::Message(m) = e { m.len() } else { 0 }).sum();
    queue.append(&mut batch, bytes);
    assert!(batch.is_empty());
}

fn bounded(messages: usize, bytes: usize, overflow: Overflow) -> Queue {
    Queue::new(Bounds { messages, bytes, overflow })
}

fn failed(epoch: u64, was_connected: bool) -> Event {
    let reason = EndReason::Io {
        stage: Stage::Connect,
        kind: std::io::ErrorKind::ConnectionRefused,
        detail: String::new(),
    };
    let time = Stamp::now().wall;
    let retry_in = Some(Duration::from_secs(1));
    Event::Disconnected(Box::new(Disconnected { time, epoch, was_connected, reason, attempts: 1, retry_in }))
}

fn connecting(epoch: u64, attempt: u32) -> Event {
    let time = Stamp::now().wall;
    Event::Connecting(Box::new(Connecting { time, epoch, attempt, endpoint: String::new() }))
}

fn connected(epoch: u64) -> Event {
    Event::Connected(Box::new(Connected {
        time: Stamp::now().wall,
        epoch,
        took: Duration::ZERO,
        peer: ([127, 0, 0, 1], 1).into(),
        subprotocol: None,
    }))
}

/// One word an event: a message's text, `gap:lost`, `disconnected*attempts`, or the name.
fn words(queue: &mut Queue) -> Vec<String> {
    let word = |event: Event| match event {
        Event::Message(m) => m.text().unwrap_or("?").to_owned(),
        Event::Gap(g) => format!("gap:{}", g.lost.map_or("?".to_owned(), |n| n.to_string())),
        Event::Disconnected(d) => format!("disconnected*{}", d.attempts),
        other => other.name().to_owned(),
    };
    queue.claim(VecDeque::new()).into_iter().map(word).collect()
}

#[test]
fn c3_failures_nobody_reads_fold_into_one() {
    let mut queue = bounded(10, 1000, Overflow::Block);
    for attempt in 1..=17 {
        queue.push(connecting(1, attempt));
        queue.push(failed(1, false));
    }
    queue.push(connecting(1, 18));
    assert_eq!(words(&mut queue), ["connecting", "disconnected*17", "connecting"]);
}

#[test]
fn c3_flapping_connections_nobody_reads_stay_bounded() {
    let mut queue = bounded(10, 1000, Overflow::Block);
    append(&mut queue, [message(1, "", "a")]);
    for epoch in 1..=1000 {
        queue.push(failed(epoch, true));
        queue.push(connecting(epoch + 1, 1));
        queue.push(connected(epoch + 1));
    }
    assert_eq!(words(&mut queue), ["a", "disconnected*1000", "connecting", "connected"]);
}

/// A server that accepts, sends one message and closes, and nobody reads.
fn flap(queue: &mut Queue, epochs: u64) -> usize {
    let mut longest = 0;
    for epoch in 1..=epochs {
        queue.push(connecting(epoch, 1));
        queue.push(connected(epoch));
        append(queue, [message(epoch, "x", &format!("{epoch}"))]);
        queue.push(failed(epoch, true));
        longest = longest.max(queue.events.len());
    }
    longest
}

#[test]
fn c3_flapping_connections_with_a_message_each_stay_bounded_too() {
    for overflow in [Overflow::DropOldest, Overflow::KeepLatest] {
        let mut queue = bounded(4, 1000, overflow);
        let longest = flap(&mut queue, 10_000);
        assert!(longest < 200, "{overflow:?}: {longest}");
        queue.compact();
        let events = queue.claim(VecDeque::new());
        let ends: u32 =
            events.iter().map(|e| if let Event::Disconnected(d) = e { d.attempts } else { 0 }).sum();
        let lost: u64 = events.iter().map(|e| if let Event::Gap(g) = e { g.lost.unwrap() } else { 0 }).sum();
        let got = events.iter().filter(|event| matches!(event, Event::Message(_))).count() as u64;
        assert_eq!((u64::from(ends), got + lost), (10_000, 10_000), "{overflow:?}");
        assert!(events.len() < 40, "{overflow:?}: {}", events.len());
    }
}

#[test]
fn c3_subscribing_without_ever_reading_stays_bounded() {
    let mut queue = bounded(4, 1000, Overflow::Block);
    let time = Stamp::now().wall;
    for n in 0..100_000_u32 {
        let subscription = SubscriptionId::from(format!("s{}", n % 3));
        let subscriptions = vec![subscription.clone()];
        queue.push(Event::Gap(Box::new(Gap {
            time,
            epoch: 1,
            cause: GapCause::Resubscribed,
            subscriptions,
            last_message: None,
            lost: None,
        })));
        queue.push(Event::Subscribed(Box::new(crate::event::Subscribed { time, epoch: 1, subscription })));
        assert!(queue.events.len() < 200);
    }
}

#[test]
fn alerts_about_the_same_are_one() {
    let mut queue = bounded(4, 1000, Overflow::Block);
    for n in 0..1000 {
        let reason = EndReason::Dns { detail: format!("{n}") };
        let kind = AlertKind::NeedsAttention { reason };
        queue.push(Event::Alert(Box::new(Alert { time: Stamp::now().wall, epoch: 1, kind })));
        queue.push(failed(1, false));
    }
    assert_eq!(words(&mut queue), ["alert", "disconnected*1000"]);
}

#[test]
fn messages_keep_failures_apart() {
    let mut queue = bounded(10, 1000, Overflow::Block);
    queue.push(failed(1, true));
    queue.push(connected(2));
    append(&mut queue, [message(2, "", "a")]);
    queue.push(failed(2, true));
    assert_eq!(words(&mut queue), ["disconnected*1", "connected", "a", "disconnected*1"]);
}

#[test]
fn folding_keeps_losses_and_alerts() {
    let mut queue = bounded(1, 1000, Overflow::DropOldest);
    let alert = || {
        let kind = AlertKind::SlowConsumer { messages: 1, bytes: 1 };
        Event::Alert(Box::new(Alert { time: Stamp::now().wall, epoch: 1, kind }))
    };
    queue.push(failed(1, true));
    append(&mut queue, [message(2, "", "a"), message(2, "", "b")]);
    queue.push(alert());
    queue.push(alert());
    assert_eq!(words(&mut queue), ["disconnected*1", "gap:1", "b", "alert"]);
    queue.push(failed(1, true));
    queue.push(alert());
    queue.push(failed(2, true));
    assert_eq!(words(&mut queue), ["alert", "disconnected*2"]);
}

#[test]
fn d1_drop_oldest_counts_and_marks_in_place() {
    let mut queue = bounded(3, 1000, Overflow::DropOldest);
    queue.push(connected(1));
    append(&mut queue, ["a", "b", "c"].map(|t| message(1, "x", t)));
    append(&mut queue, ["d", "e"].map(|t| message(1, "y", t)));
    assert_eq!(queue.dropped(), 2);
    let events = queue.claim(VecDeque::new());
    let Event::Gap(gap) = &events[1] else { panic!("{events:?}") };
    assert_eq!(
        (gap.cause, gap.lost, gap.subscriptions.as_slice()),
        (GapCause::Overflow, Some(2), &["x".into()][..])
    );
    queue.release(3, 3);
    append(&mut queue, ["f", "g", "h", "i"].map(|t| message(1, "y", t)));
    let events = queue.claim(VecDeque::new());
    let Event::Gap(gap) = &events[0] else { panic!("{events:?}") };
    assert!(gap.last_message.is_some(), "the one before was claimed");
}

#[test]
fn d1_drop_oldest_marks_each_connection_apart() {
    let mut queue = bounded(1, 1000, Overflow::DropOldest);
    append(&mut queue, [message(1, "", "a"), message(1, "", "b")]);
    queue.push(failed(1, true));
    append(&mut queue, [message(2, "", "c"), message(2, "", "d")]);
    assert_eq!(words(&mut queue), ["gap:2", "disconnected*1", "gap:1", "d"]);
}

#[test]
fn d1_drop_oldest_is_bounded_in_bytes_too() {
    let mut queue = bounded(100, 10, Overflow::DropOldest);
    append(&mut queue, ["aaaa", "bbbb", "cccc"].map(|t| message(1, "", t)));
    assert_eq!(words(&mut queue), ["gap:1", "bbbb", "cccc"]);
    append(&mut queue, [message(1, "", "larger than the whole queue")]);
    assert_eq!(words(&mut queue), ["larger than the whole queue"], "the newest is kept whatever its size");
}

#[test]
fn d1_keep_latest_keeps_the_newest_of_each_subscription() {
    let mut queue = bounded(4, 1000, Overflow::KeepLatest);
    append(
        &mut queue,
        [("x", "x1"), ("y", "y1"), ("x", "x2"), ("x", "x3"), ("z", "z1")].map(|(s, t)| message(1, s, t)),
    );
    assert_eq!(words(&mut queue), ["gap:1", "y1", "gap:1", "x3", "z1"]);
    assert_eq!(queue.dropped(), 2);
}

#[test]
fn d1_keep_latest_keeps_the_newest_of_each_also_when_few_are_new_or_bytes_are_the_bound() {
    for (messages, bytes) in [(4, 1000), (1000, 4)] {
        let mut queue = bounded(messages, bytes, Overflow::KeepLatest);
        append(&mut queue, ["x", "y", "z"].map(|topic| message(1, topic, topic)));
        for busy in ["1", "2", "3", "4", "5"] {
            append(&mut queue, [message(1, "busy", busy)]);
        }
        assert_eq!(words(&mut queue), ["x", "y", "z", "gap:4", "5"]);
    }
}

#[test]
fn d1_keep_latest_with_more_subscriptions_than_room_drops_the_oldest() {
    let mut queue = bounded(4, 1000, Overflow::KeepLatest);
    for i in 0..100 {
        append(&mut queue, [message(1, &format!("s{i}"), &format!("{i}"))]);
    }
    assert_eq!(words(&mut queue), ["gap:96", "96", "97", "98", "99"]);
}

#[test]
fn d1_block_is_full_until_what_was_claimed_is_consumed() {
    let mut queue = bounded(2, 1000, Overflow::Block);
    append(&mut queue, ["a", "b"].map(|t| message(1, "", t)));
    assert!(queue.is_full());
    queue.claim(VecDeque::new());
    assert!(queue.is_full() && queue.is_empty());
    queue.release(1, 1);
    assert!(!queue.is_full());
}

#[test]
fn d5_a_closing_feed_discards_and_marks_what_finds_no_room() {
    let mut queue = bounded(1, 1000, Overflow::Block);
    append(&mut queue, [message(1, "", "a")]);
    queue.discard(&mut [message(1, "", "b"), message(1, "", "c")].into());
    assert_eq!(words(&mut queue), ["a", "gap:2"]);
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Received and lost together are what was sent, whatever the policy and the rhythm of reading.
        #[test]
        fn received_and_lost_are_sent(
            latest: bool,
            bound in 1usize..20,
            steps in prop::collection::vec((0usize..12, 0u8..4, 0u8..5), 1..60),
        ) {
            let overflow = if latest { Overflow::KeepLatest } else { Overflow::DropOldest };
            let mut queue = bounded(bound, 1 << 20, overflow);
            let (mut sent, mut got, mut lost) = (0u64, 0u64, 0u64);
            let mut last = None;
            let mut epoch = 1;
            let mut read = |queue: &mut Queue, last: &mut Option<u64>| -> Result<(), TestCaseError> {
                for event in queue.claim(VecDeque::new()) {
                    match event {
                        Event::Message(m) => {
                            got += 1;
                            let seq: u64 = m.text().unwrap().parse().unwrap();
                            prop_assert!(last.is_none_or(|last| seq > last), "order");
                            *last = Some(seq);
                        }
                        Event::Gap(gap) => lost += gap.lost.unwrap(),
                        _ => {}
                    }
                }
                Ok(())
            };
            for (count, topic, what) in steps {
                let batch: Vec<_> = (0..count).map(|i| {
                    message(epoch, &format!("t{}", (usize::from(topic) + i) % 3), &format!("{}", sent + i as u64))
                }).collect();
                sent += count as u64;
                append(&mut queue, batch);
                prop_assert!(queue.messages() <= bound);
                match what {
                    0 => read(&mut queue, &mut last)?,
                    1 => { queue.push(failed(epoch, true)); epoch += 1; queue.push(connected(epoch)); }
                    _ => {}
                }
            }
            read(&mut queue, &mut last)?;
            prop_assert_eq!(got + lost, sent);
            prop_assert_eq!(queue.dropped(), lost);
        }
    }
}
