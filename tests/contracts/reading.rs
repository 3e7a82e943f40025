//! Several ways of reading, and several readers: each event goes to one of them, in order, and none is lost.

use crate::common::*;
use livefeed::lab::{Command, Lab, Script};
use livefeed::{Error, Event, Feed, Subscription};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

fn texts(events: &[Event]) -> Vec<String> {
    let text = |event: &Event| match event {
        Event::Message(message) => message.text().map(str::to_owned),
        _ => None,
    };
    events.iter().filter_map(text).collect()
}

#[test]
fn c1_what_one_reader_leaves_is_the_next_of_any_other() {
    let script = (0..9).fold(Script::new(), |script, n| script.send(n.to_string()));
    let lab = Lab::start(script).unwrap();
    let feed = Feed::open(lab.url()).unwrap();
    while feed.health().messages < 9 {
        feed.wait_fresh(CEILING).unwrap();
    }
    // One by each way, and the rest of what each has taken is left.
    let mut seen = vec![feed.recv().unwrap()]; // connecting
    seen.push(feed.iter().next().unwrap()); // connected
    seen.push(feed.batches().recv_timeout(CEILING).unwrap().into_iter().next().unwrap());
    seen.push(feed.try_recv().unwrap());
    seen.push(feed.try_iter().next().unwrap());
    for event in feed.batches().recv_timeout(CEILING).unwrap() {
        seen.push(event);
        if seen.len() == 7 {
            break;
        }
    }
    seen.extend(until(&feed, |event| matches!(event, Event::Message(m) if m.text() == Some("8"))));
    assert_eq!(texts(&seen), ["0", "1", "2", "3", "4", "5", "6", "7", "8"], "{:?}", names(&seen));
    assert_eq!(feed.health().queue_bytes, 0, "nothing is held to be claimed");
}

#[test]
fn a_reader_that_takes_one_event_does_not_keep_the_others_from_other_readers() {
    let lab = Lab::start(Script::new().until_subscribe().send("a").send("b").send("c")).unwrap();
    let feed = Arc::new(Feed::open(lab.url()).unwrap());
    until(&feed, |event| matches!(event, Event::Connected(_)));
    let (took, taken) = channel();
    for _ in 0..3 {
        let (feed, took) = (Arc::clone(&feed), took.clone());
        // Each takes one event and reads no more.
        std::thread::spawn(move || took.send(feed.recv_timeout(CEILING)));
    }
    let _ = feed.send("go").unwrap();
    for _ in 0..3 {
        assert!(
            matches!(taken.recv_timeout(CEILING).unwrap(), Ok(Event::Message(_))),
            "{}",
            lab.transcript()
        );
    }
}

#[test]
fn d2_messages_without_a_payload_are_bounded_too() {
    let lab = Lab::start(Script::new().then(Command::StopReading)).unwrap();
    let feed = Feed::builder(lab.url()).limits(|limits| limits.send_bytes = 64 << 10).open().unwrap();
    feed.wait_connected(CEILING).unwrap();
    let begin = Instant::now();
    // The buffers of both systems take some, at six bytes a frame.
    let mut admitted = 0_u64;
    let refused = loop {
        match feed.send("") {
            Ok(receipt) => drop(receipt),
            Err(error) => break error,
        }
        admitted += 1;
        assert!(begin.elapsed() < CEILING, "{admitted} were admitted");
    };
    assert!(matches!(refused, Error::OutboxFull { .. }), "{refused:?} {:?}", feed.health());
}

#[test]
fn f3_a_verdict_does_not_wait_for_a_peer_that_reads_nothing() {
    const LIMIT: Duration = Duration::from_millis(200);
    let lab = Lab::start(Script::new().send("x").then(Command::StopReading)).unwrap();
    let feed = Feed::open(lab.url()).unwrap();
    feed.wait_fresh(CEILING).unwrap();
    let subscription = Subscription::new("late").subscribe_text("late").stale_after(LIMIT);
    feed.subscribe(subscription).unwrap();
    until(&feed, |event| matches!(event, Event::Subscribed(_)));
    // From now on the writer always has work, and the reader's own timeout is far away.
    while feed.send(vec![0; 1 << 20]).is_ok() {}
    let begin = Instant::now();
    let events = until(&feed, |event| matches!(event, Event::Stale(_)));
    let Some(Event::Stale(stale)) = events.last() else { panic!("{:?}", names(&events)) };
    assert_eq!(stale.subscription, Some("late".into()));
    assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
}
