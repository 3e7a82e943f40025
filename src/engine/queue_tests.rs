//! Bounds, folding, and that what is dropped is marked in its place.

use super::*;
use crate::class::ErrorClass;
use crate::class::StaleCause;
use crate::clock::Stamp;
use crate::error::{EndReason, Stage};
use crate::event::{
    Alert, AlertStatus, Connected, Connecting, Disconnected, Ended, Refused, Repair, Stale, Subscribed,
};
use crate::message::{Content, Message};
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

fn subscribed(epoch: u64, id: &str) -> Event {
    Event::Subscribed(Box::new(Subscribed {
        time: Stamp::now().wall,
        epoch,
        subscription: id.into(),
        resumed: None,
    }))
}

fn gap(epoch: u64, cause: GapCause, id: &str, last_message: Option<SystemTime>) -> Event {
    let (time, subscriptions) = (Stamp::now().wall, vec![id.into()]);
    Event::Gap(Box::new(Gap {
        time,
        epoch,
        cause,
        subscriptions,
        last_message,
        lost: None,
        from: None,
        to: None,
    }))
}

fn alert(epoch: u64, kind: AlertKind) -> Event {
    Event::Alert(Box::new(Alert { time: Stamp::now().wall, epoch, status: AlertStatus::Happened, kind }))
}

/// What a connection says before its first message.
fn up(queue: &mut Queue, epoch: u64) {
    queue.push(connecting(epoch, 1));
    queue.push(connected(epoch));
    queue.push(gap(epoch, GapCause::Reconnected, "s", None));
    queue.push(subscribed(epoch, "s"));
}

/// The order of the stream, over all that was read.
#[derive(Default)]
struct Grammar {
    ended: u64,
    after_connected: bool,
    got: u64,
    lost: u64,
    ends: u64,
}

impl Grammar {
    fn check(&mut self, events: impl IntoIterator<Item = Event>) {
        for event in events {
            // An alert between two connections names the one before.
            if !matches!(event, Event::Alert(_)) {
                assert!(event.epoch() > self.ended, "{event:?} after the end of {}", self.ended);
            }
            let first = std::mem::replace(&mut self.after_connected, matches!(event, Event::Connected(_)));
            match event {
                Event::Message(_) => self.got += 1,
                Event::Gap(gap) if gap.cause == GapCause::Overflow => self.lost += gap.lost.unwrap(),
                Event::Gap(gap) if gap.cause == GapCause::Reconnected => assert!(first, "{gap:?}"),
                Event::Disconnected(end) => {
                    self.ends += u64::from(end.attempts);
                    self.ended = end.epoch;
                }
                _ => {}
            }
        }
    }
}

#[test]
fn c3_flapping_with_data_nobody_reads_stays_bounded_under_drop_policies() {
    for (overflow, topics) in
        [(Overflow::DropOldest, 1), (Overflow::KeepLatest, 1), (Overflow::KeepLatest, 40)]
    {
        const BOUND: usize = 16;
        let mut queue = bounded(BOUND, 1 << 20, overflow);
        let mut longest = 0;
        for epoch in 1..=10_000 {
            up(&mut queue, epoch);
            append(&mut queue, [message(epoch, &format!("t{}", epoch % topics), "m")]);
            queue.push(failed(epoch, true));
            longest = longest.max(queue.events.len());
        }
        assert!(longest <= 8 * (BOUND + 2), "{overflow:?}: {longest}");
        let mut grammar = Grammar::default();
        grammar.check(queue.claim(VecDeque::new()));
        assert_eq!((grammar.got + grammar.lost, grammar.ends), (10_000, 10_000), "{overflow:?}");
        assert_eq!(grammar.lost, queue.dropped());
    }
}

#[test]
fn c3_runs_joined_by_a_drop_fold_into_the_last_end() {
    for overflow in [Overflow::DropOldest, Overflow::KeepLatest] {
        let mut queue = bounded(1, 1000, overflow);
        for epoch in 1..=3 {
            up(&mut queue, epoch);
            append(&mut queue, [message(epoch, "s", "m")]);
            queue.push(failed(epoch, true));
        }
        up(&mut queue, 4);
        append(&mut queue, [message(4, "s", "m")]);
        let mut events = queue.claim(VecDeque::new());
        let end = events.iter().find(|event| is_disconnected(event)).unwrap();
        assert_eq!(end.epoch(), 1, "the one whose Connected is told");
        let names: Vec<_> = events.iter().map(Event::name).collect();
        let up = ["connecting", "connected", "gap", "subscribed"];
        assert_eq!(names, [&up[..], &["gap", "disconnected"], &up, &["message"]].concat(), "{overflow:?}");
        let Some(Event::Gap(gap)) = events.remove(4) else { panic!() };
        assert_eq!((gap.lost, gap.epoch), (Some(3), 1));
    }
}

#[test]
fn c3_what_was_lost_on_connections_no_longer_told_of_counts_for_the_one_that_is() {
    let mut queue = bounded(1, 1000, Overflow::DropOldest);
    queue.push(failed(1, true));
    up(&mut queue, 2);
    append(&mut queue, [message(2, "s", "a")]);
    queue.push(failed(2, true));
    up(&mut queue, 3);
    append(&mut queue, [message(3, "s", "b")]);
    let events = queue.claim(VecDeque::new());
    let Event::Gap(gap) = &events[0] else { panic!("{events:?}") };
    assert_eq!((gap.lost, gap.epoch), (Some(1), 1));
    let mut grammar = Grammar::default();
    grammar.check(events);
    assert_eq!((grammar.got, grammar.lost, grammar.ends), (1, 1, 2));
}

#[test]
fn c3_alerts_about_the_same_replace_each_other() {
    let mut queue = bounded(10, 1000, Overflow::Block);
    let panicked = |callback, i: usize| AlertKind::CallbackPanicked { callback, message: i.to_string() };
    let refused =
        |id: &str, i: usize| AlertKind::SubscribeFailed { subscription: id.into(), detail: i.to_string() };
    for i in 0..100 {
        let reason = EndReason::Io {
            stage: Stage::Connect,
            kind: std::io::ErrorKind::ConnectionRefused,
            detail: i.to_string(),
        };
        queue.push(alert(1, AlertKind::NeedsAttention { reason }));
        queue.push(alert(1, AlertKind::SlowConsumer { messages: i, bytes: i }));
        queue.push(alert(1, panicked("handler", i)));
        queue.push(alert(1, panicked("on_wake", i)));
        queue.push(alert(1, refused("x", i)));
        queue.push(alert(1, refused("y", i)));
    }
    assert_eq!(queue.events.len(), 6);
    let kinds: Vec<_> = queue
        .events
        .iter()
        .map(|e| if let Event::Alert(a) = e { a.kind.clone() } else { panic!() })
        .collect();
    assert_eq!(
        kinds[1..4],
        [
            AlertKind::SlowConsumer { messages: 99, bytes: 99 },
            panicked("handler", 99),
            panicked("on_wake", 99),
        ]
    );
    assert_eq!(kinds[5], refused("y", 99));
    append(&mut queue, [message(1, "", "a")]);
    queue.push(alert(1, refused("y", 100)));
    assert_eq!(queue.events.len(), 8, "a message keeps them apart");
}

#[test]
fn c3_alerts_between_dropped_messages_stay_bounded() {
    for overflow in [Overflow::DropOldest, Overflow::KeepLatest] {
        let mut queue = bounded(4, 1000, overflow);
        for i in 0..10_000 {
            append(&mut queue, [message(1, "s", "m")]);
            queue.push(alert(1, AlertKind::SlowConsumer { messages: i, bytes: 0 }));
            assert!(queue.events.len() <= 20);
        }
        let mut grammar = Grammar::default();
        grammar.check(queue.claim(VecDeque::new()));
        assert_eq!(grammar.got + grammar.lost, 10_000);
    }
}

#[test]
fn c3_refusals_ends_and_sequence_gaps_nobody_reads_fold_by_subject() {
    let mut queue = bounded(10, 1000, Overflow::Block);
    let (time, second) = (Stamp::now().wall, Duration::from_secs(1));
    let (class, epoch) = (ErrorClass::RetryLater, 1);
    for turn in 0..10_000u64 {
        let subscription: SubscriptionId = if turn % 2 == 0 { "a" } else { "b" }.into();
        let (detail, retry_in) = (String::new(), Some(second));
        let stale = Some(subscription.clone());
        let refused = Refused { time, epoch, subscription, class, detail, retry_in };
        let Refused { subscription, detail, .. } = refused.clone();
        queue.push(Event::Refused(Box::new(refused)));
        queue.push(Event::Ended(Box::new(Ended { time, epoch, subscription, class, detail, retry_in })));
        let (age, limit) = (second, second);
        let next = Repair::Probe;
        queue.push(Event::Stale(Box::new(Stale {
            time,
            epoch,
            subscription: stale,
            cause: StaleCause::Silent,
            age,
            limit,
            next,
        })));
        let mut event = gap(1, GapCause::Sequence, "a", Some(time + Duration::from_secs(turn)));
        if let Event::Gap(gap) = &mut event {
            (gap.from, gap.to, gap.lost) = (Some(10 * turn), Some(10 * turn + 3), Some(2));
        }
        queue.push(event);
    }
    assert_eq!(queue.events.len(), 7);
    let gaps = |event: &Event| if let Event::Gap(gap) = event { Some(gap.clone()) } else { None };
    let gap = queue.events.iter().find_map(gaps).unwrap();
    assert_eq!(
        (gap.from, gap.to, gap.lost, gap.last_message),
        (Some(0), Some(99_993), Some(20_000), Some(time))
    );
}

#[test]
fn c3_a_subscribe_loop_nobody_reads_stays_bounded_and_keeps_where_the_gap_began() {
    let mut queue = bounded(10, 1000, Overflow::Block);
    let began = SystemTime::UNIX_EPOCH;
    queue.push(connected(1));
    for turn in 0..100_000 {
        queue.push(gap(1, GapCause::Resubscribed, "x", Some(began + Duration::from_secs(turn))));
        queue.push(subscribed(1, "x"));
    }
    assert_eq!(queue.events.len(), 3);
    let Event::Gap(gap) = &queue.events[1] else { panic!() };
    assert_eq!(gap.last_message, Some(began));
}

#[test]
fn c3_subscribing_to_ever_new_names_stays_bounded_and_fast() {
    let mut queue = bounded(10, 1000, Overflow::Block);
    let started = Stamp::now().mono;
    queue.push(connected(1));
    for turn in 0..200_000 {
        let id = turn.to_string();
        queue.push(gap(1, GapCause::Resubscribed, &id, None));
        queue.push(subscribed(1, &id));
        assert!(queue.events.len() <= LIFECYCLE + 16);
    }
    let took = Stamp::now().mono - started;
    // A search over the whole run at each push would take hours.
    assert!(took < Duration::from_secs(900), "{took:?}");
    assert_eq!(queue.events[0].name(), "connected");
    let Event::Gap(all) = &queue.events[1] else { panic!("{:?}", queue.events[1]) };
    assert!(all.subscriptions.is_empty(), "the gaps let go of are joined into one for all");
    let Some(Event::Subscribed(newest)) = queue.events.back() else { panic!() };
    assert_eq!(newest.subscription, "199999");
}

#[test]
fn c3_names_in_turn_beyond_the_look_back_fold_when_compacted() {
    let mut queue = bounded(10, 1000, Overflow::Block);
    for turn in 0..=LIFECYCLE {
        queue.push(subscribed(1, &(turn % 1000).to_string()));
    }
    assert_eq!(queue.events.len(), 1000);
}

#[test]
fn a_long_leading_run_is_not_searched_at_each_append() {
    let mut queue = bounded(1, 1000, Overflow::DropOldest);
    for id in 0..5_000 {
        queue.push(subscribed(1, &id.to_string()));
    }
    append(&mut queue, [message(1, "s", "a"), message(1, "s", "b")]);
    assert_eq!(queue.lead, 5_001);
    append(&mut queue, [message(1, "s", "c")]);
    assert_eq!((queue.lead, queue.dropped()), (5_001, 2));
    queue.push(alert(1, AlertKind::SlowConsumer { messages: 1, bytes: 1 }));
    append(&mut queue, [message(1, "s", "d")]);
    assert_eq!((queue.lead, queue.messages()), (5_002, 1), "joined, to be folded when it has doubled");
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
        Event::Alert(Box::new(Alert {
            time: Stamp::now().wall,
            epoch: 1,
            status: AlertStatus::Happened,
            kind,
        }))
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
fn d1_what_is_claimed_in_part_counts_until_it_is_consumed_and_the_rest_can_be_changed() {
    let mut queue = bounded(4, 100, Overflow::Block);
    queue.push(connected(1));
    append(&mut queue, ["a", "bb", "ccc"].map(|text| message(1, "s", text)));
    assert_eq!(queue.claim_some(3, VecDeque::new()).len(), 3, "connected, a and bb");
    assert_eq!((queue.messages(), queue.bytes(), queue.is_full()), (1, 6, false));
    append(&mut queue, [message(1, "s", "d")]);
    assert!(queue.is_full(), "two are claimed, two are queued");
    queue.release(2, 3);
    assert_eq!((queue.messages(), queue.bytes(), queue.is_full()), (2, 4, false));
    assert_eq!(queue.claim_some(3, VecDeque::new()).len(), 2, "all there are");
    queue.release(2, 4);
    assert_eq!((queue.messages(), queue.bytes(), queue.is_empty()), (0, 0, true));

    let mut queue = bounded(2, 100, Overflow::DropOldest);
    queue.push(connected(1));
    append(&mut queue, ["a", "b"].map(|text| message(1, "s", text)));
    queue.claim_some(2, VecDeque::new());
    append(&mut queue, ["c", "d"].map(|text| message(1, "s", text)));
    assert_eq!(words(&mut queue), ["gap:1", "c", "d"], "b was not claimed, so it could be dropped");
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
            steps in prop::collection::vec((0usize..12, 0u8..4, 0u8..9), 1..120),
        ) {
            let overflow = if latest { Overflow::KeepLatest } else { Overflow::DropOldest };
            let mut queue = bounded(bound, 1 << 20, overflow);
            let (mut sent, mut got, mut lost) = (0u64, 0u64, 0u64);
            let mut last = None;
            let mut epoch = 1;
            let mut ends = 0;
            let mut grammar = Grammar::default();
            up(&mut queue, epoch);
            let mut read = |queue: &mut Queue, last: &mut Option<u64>| -> Result<(), TestCaseError> {
                let events = queue.claim(VecDeque::new());
                grammar.check(events.iter().cloned());
                for event in events {
                    match event {
                        Event::Message(m) => {
                            got += 1;
                            let seq: u64 = m.text().unwrap().parse().unwrap();
                            prop_assert!(last.is_none_or(|last| seq > last), "order");
                            *last = Some(seq);
                        }
                        Event::Gap(gap) => lost += gap.lost.unwrap_or(0),
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
                    1..=3 => {
                        queue.push(failed(epoch, true));
                        epoch += 1;
                        ends += 1;
                        for attempt in 1..u32::from(what) {
                            queue.push(connecting(epoch, attempt));
                            queue.push(failed(epoch, false));
                            ends += 1;
                        }
                        up(&mut queue, epoch);
                    }
                    4 => {
                        queue.push(gap(epoch, GapCause::Resubscribed, "s", None));
                        queue.push(subscribed(epoch, "s"));
                    }
                    5 => queue.push(alert(epoch, AlertKind::SlowConsumer { messages: count, bytes: 0 })),
                    _ => {}
                }
                // A run: what is said of one connection, its end, what is said of the next.
                prop_assert!(queue.events.len() <= queue.messages() + (queue.messages() + 1) * 16 + SHORT);
            }
            read(&mut queue, &mut last)?;
            prop_assert_eq!(grammar.ends, ends);
            prop_assert_eq!(got + lost, sent);
            prop_assert_eq!(queue.dropped(), lost);
        }
    }
}
