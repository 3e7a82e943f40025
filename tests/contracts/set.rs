//! Many feeds read as one stream: order, turns, joining and leaving, and the ends.

use crate::common::*;
use livefeed::lab::{Command, Flood, Lab, Script, Topic, What};
use livefeed::{CloseReason, Error, Event, Feed, FeedSet, State};
use std::collections::{HashMap, HashSet};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

/// A server that sends these numbers at once, and then no more.
fn numbers(count: usize) -> Lab {
    Lab::start((0..count).fold(Script::new(), |script, n| script.send(n.to_string()))).unwrap()
}

/// A feed that has received all of them, unread.
fn filled(lab: &Lab, count: u64) -> Arc<Feed> {
    let feed = Arc::new(feed(lab).open().unwrap());
    healthy(&feed, lab, |health| health.messages == count);
    feed
}

fn number(event: &Event) -> Option<usize> {
    match event {
        Event::Message(message) => Some(message.text().unwrap().parse().unwrap()),
        _ => None,
    }
}

#[track_caller]
fn next<T: Clone + Eq + std::hash::Hash>(set: &FeedSet<T>) -> (T, Event) {
    set.recv_timeout(CEILING).unwrap()
}

/// Runs it on a thread; what it returns has to be there in time.
fn meanwhile<R: Send + 'static>(what: impl FnOnce() -> R + Send + 'static) -> impl FnOnce() -> R {
    let (done, result) = channel();
    thread::spawn(move || done.send(what()));
    move || result.recv_timeout(CEILING).expect("it did not end")
}

#[test]
fn c1_each_feed_keeps_its_order_and_its_tag() {
    let lab =
        |topic: &str, millis| Lab::start(Script::of_topics([Topic::new(topic).every(ms(millis))])).unwrap();
    let labs = [lab("a", 1), lab("b", 2), lab("c", 3)];
    let set = FeedSet::new();
    for (lab, tag) in labs.iter().zip(["a", "b", "c"]) {
        assert!(set.insert(tag, feed(lab).name(tag).open().unwrap()).unwrap().is_none());
    }
    assert_eq!((set.tags(), set.len(), set.is_empty()), (vec!["a", "b", "c"], 3, false));
    let mut seen: HashMap<&str, Vec<Event>> = HashMap::new();
    while seen.values().filter(|events| messages(events).len() >= 50).count() < 3 {
        let (tag, event) = next(&set);
        seen.entry(tag).or_default().push(event);
    }
    for (tag, events) in seen {
        assert_eq!(names(&events), ["connecting", "connected", "message"], "{tag}");
        for (message, expected) in messages(&events).iter().zip(1..) {
            assert!(message.text().unwrap().contains(&format!(r#""topic":"{tag}""#)), "{tag}: {message:?}");
            assert_eq!(seq(message), expected, "{tag}");
        }
    }
    assert!(set.health().iter().all(|(tag, health)| *tag == health.name && health.state == State::Fresh));
    assert_eq!(set.get("b").unwrap().name(), "b");
    assert!(set.get("d").is_none());
}

#[test]
fn a_flood_of_one_feed_does_not_keep_back_the_others() {
    let labs = [numbers(5_000), numbers(300), numbers(1)];
    let set = FeedSet::new();
    for (tag, (lab, count)) in labs.iter().zip([5_000, 300, 1]).enumerate() {
        set.insert(tag, filled(lab, count)).unwrap();
    }
    // All is queued by now: what comes is the order of the turns alone.
    let order: Vec<usize> = set.try_iter().map(|(tag, _)| tag).collect();
    assert_eq!(order.len(), 5_000 + 300 + 1 + 3 * 2, "each has connecting and connected, too");
    // Each turn is 64 events, so the quiet one comes after one of each of the others.
    assert_eq!(order.iter().position(|tag| *tag == 2), Some(128));
    let last = order.iter().rposition(|tag| *tag == 1).unwrap();
    assert!(last < 2 * 302 + 64 + 3, "the last of the second came at {last}");
    let mut run = 0;
    for pair in order[..=last].windows(2) {
        run = if pair[0] == pair[1] { run + 1 } else { 0 };
        assert!(run < 64, "one feed came too often in a row");
    }
}

#[test]
fn a_quiet_feed_is_heard_while_another_floods() {
    let flood = Lab::start(Script::new().flood(Flood::of_size(64))).unwrap();
    let quiet = Lab::start(Script::new()).unwrap();
    let set = FeedSet::new();
    set.insert("flood", feed(&flood).open().unwrap()).unwrap();
    set.insert("quiet", feed(&quiet).open().unwrap()).unwrap();
    let asked = set.get("quiet").unwrap();
    asked.wait_connected(CEILING).unwrap();
    for round in 0..20 {
        while set.recv_timeout(CEILING).unwrap().0 != "flood" {}
        quiet.control().all(Command::Send("1".into()));
        healthy(&asked, &quiet, |health| health.messages == round + 1);
        // It is in its queue: from here it is one turn of the other, and what is left of the present one.
        let before = set.iter().take_while(|(tag, _)| *tag == "flood").count();
        assert!(before <= 3 * 64, "{before} events came before it");
    }
}

#[test]
fn feeds_join_and_leave_while_a_reader_waits() {
    let mute = Lab::start(Script::new()).unwrap();
    let set = Arc::new(FeedSet::new());
    set.insert("mute".to_owned(), feed(&mute).open().unwrap()).unwrap();
    while !matches!(next(&set).1, Event::Connected(_)) {}
    let reader = Arc::clone(&set);
    let joined = meanwhile(move || reader.recv());
    pause(ms(20));
    let late = numbers(3);
    set.insert("late".to_owned(), feed(&late).open().unwrap()).unwrap();
    assert_eq!(joined().unwrap().0, "late");
    let mut seen = Vec::new();
    while seen.len() < 3 {
        seen.extend(number(&next(&set).1));
    }
    assert_eq!(seen, [0, 1, 2]);

    let readers: Vec<_> = (0..3).map(|_| Arc::clone(&set)).map(|set| meanwhile(move || set.recv())).collect();
    pause(ms(20));
    assert_eq!(set.remove("late").unwrap().health().messages, 3);
    assert!(set.remove("late").is_none());
    pause(ms(20));
    let mute = set.remove("mute").unwrap();
    for reader in readers {
        assert_eq!(reader().unwrap_err(), Error::NoFeed, "each of them is told");
    }
    // Nothing was lost of the one that was removed, and it goes on.
    assert_eq!(mute.health().state, State::Live);
    assert_eq!(set.try_recv().unwrap_err(), Error::NoFeed);
    assert_eq!(set.iter().count(), 0);
}

#[test]
fn an_open_ended_set_waits_for_feeds_until_it_is_closed() {
    let lab = numbers(1);
    let set = Arc::new(FeedSet::open_ended());
    assert_eq!(set.recv_timeout(ms(20)).unwrap_err(), Error::Timeout);
    assert_eq!(set.try_recv().unwrap_err(), Error::Empty);
    let reader = Arc::clone(&set);
    let joined = meanwhile(move || reader.recv());
    pause(ms(20));
    set.insert(1, feed(&lab).open().unwrap()).unwrap();
    assert!(matches!(joined().unwrap(), (1, Event::Connecting(_))));
    while number(&next(&set).1).is_none() {}
    drop(set.remove(&1));
    let readers: Vec<_> = (0..3).map(|_| Arc::clone(&set)).map(|set| meanwhile(move || set.recv())).collect();
    pause(ms(20));
    set.close(CEILING).unwrap();
    for reader in readers {
        assert!(reader().unwrap_err().is_closed());
    }
    let refused = set.insert(2, feed(&lab).open().unwrap()).unwrap_err();
    assert_eq!(refused.close_reason(), Some(&CloseReason::ByUser));
}

#[test]
fn c1_nothing_is_lost_of_a_feed_that_is_removed_within_its_turn() {
    let lab = numbers(500);
    let feed = filled(&lab, 500);
    let set = FeedSet::new();
    let mut seen = Vec::new();
    // By each way out of a set, in the middle of a turn and at its edges.
    for (round, take) in [1, 10, 63, 64, 65, 3].into_iter().enumerate() {
        set.insert("it", Arc::clone(&feed)).unwrap();
        seen.extend((0..take).map(|_| next(&set).1));
        match round % 3 {
            0 => drop(set.remove("it")),
            1 => drop(set.insert("it", Feed::open(lab.url()).unwrap()).unwrap()),
            _ => {
                let other = FeedSet::new();
                drop(set.remove("it"));
                other.insert("it", Arc::clone(&feed)).unwrap();
                seen.push(next(&other).1);
            } // dropped
        }
        drop(set.remove("it"));
        let read = seen.iter().filter_map(number).count();
        assert_eq!(feed.health().queue_messages, 500 - read, "all else is back");
        // By each way that does not know of sets.
        seen.push(feed.recv_timeout(CEILING).unwrap());
        seen.extend(feed.batches().recv_timeout(CEILING).unwrap().into_iter().take(1));
    }
    seen.extend(feed.try_iter());
    let numbers: Vec<usize> = seen.iter().filter_map(number).collect();
    assert_eq!(numbers, (0..500).collect::<Vec<_>>());
    assert_eq!(feed.health().queue_bytes, 0, "nothing is held to be claimed");
}

#[test]
fn c1_a_feed_comes_and_goes_under_a_reader_and_each_event_is_read_once() {
    const COUNT: u64 = 20_000;
    let lab =
        Lab::start(Script::of_topics([Topic::new("t").every(Duration::ZERO)]).until_sent(COUNT).silence())
            .unwrap();
    let feed = Arc::new(feed(&lab).open().unwrap());
    let set = Arc::new(FeedSet::open_ended());
    let reader = {
        let set = Arc::clone(&set);
        meanwhile(move || set.iter().filter_map(|(_, event)| event.into_message()).collect::<Vec<_>>())
    };
    let mut own = Vec::new();
    let begin = Instant::now();
    let mut dice = Dice(7);
    while feed.health().messages < COUNT || feed.health().queue_messages > 0 {
        set.insert((), Arc::clone(&feed)).unwrap();
        thread::park_timeout(Duration::from_micros(dice.roll() % 300));
        assert!(set.remove(&()).is_some());
        // From here on the set gives no more of it.
        own.extend(feed.try_iter().take(dice.below(40)).filter_map(Event::into_message));
        assert!(begin.elapsed() < CEILING, "{:?}", feed.health());
    }
    set.close(CEILING).unwrap();
    let theirs = reader();
    let mut all: Vec<u64> = Vec::new();
    for part in [&own, &theirs] {
        let part: Vec<u64> = part.iter().map(seq).collect();
        assert!(part.is_sorted(), "each reader has its part in order");
        all.extend(part);
    }
    all.sort_unstable();
    assert_eq!(all, (1..=COUNT).collect::<Vec<_>>(), "{} own, {} theirs", own.len(), theirs.len());
}

#[test]
fn each_of_several_readers_is_woken_as_long_as_there_is_something() {
    let lab = Lab::start(Script::new().until_subscribe().send("0").send("1").send("2").send("3")).unwrap();
    let set = Arc::new(FeedSet::new());
    set.insert("it", feed(&lab).open().unwrap()).unwrap();
    while !matches!(next(&set).1, Event::Connected(_)) {}
    // Each takes one event and reads no more.
    let readers: Vec<_> = (0..4).map(|_| Arc::clone(&set)).map(|set| meanwhile(move || set.recv())).collect();
    pause(ms(20));
    let _ = set.get("it").unwrap().send("go").unwrap();
    let mut seen: Vec<_> = readers.into_iter().filter_map(|reader| number(&reader().unwrap().1)).collect();
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3]);
}

#[test]
fn several_readers_share_a_hundred_feeds() {
    const FEEDS: usize = 100;
    const EACH: usize = 200;
    let lab = numbers(EACH);
    let set = Arc::new(FeedSet::new());
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let begin = Instant::now();
    for tag in 0..FEEDS {
        set.insert(tag, feed(&lab).open().unwrap()).unwrap();
    }
    let readers: Vec<_> = (0..3)
        .map(|_| (Arc::clone(&set), Arc::clone(&seen)))
        .map(|(set, seen)| {
            meanwhile(move || {
                for (tag, event) in &*set {
                    let Some(number) = number(&event) else { continue };
                    let mut seen = seen.lock().unwrap();
                    assert!(seen.insert((tag, number)), "{number} of {tag} came twice");
                    if seen.len() == FEEDS * EACH {
                        // All have come: the others wait for the end.
                        set.tags().iter().for_each(|tag| drop(set.remove(tag)));
                    }
                }
            })
        })
        .collect();
    readers.into_iter().for_each(|reader| reader());
    assert_eq!(seen.lock().unwrap().len(), FEEDS * EACH);
    assert!(begin.elapsed() < CEILING, "{:?}", begin.elapsed());
}

#[test]
fn r5_a_set_closes_its_feeds_side_by_side_and_within_the_time() {
    let mute = Lab::start(Script::new().send("0").then(Command::StopReading)).unwrap();
    let set = FeedSet::new();
    for tag in 0..8 {
        set.insert(tag, filled(&mute, 1)).unwrap();
    }
    let begin = Instant::now();
    set.close(ms(400)).unwrap();
    let took = begin.elapsed();
    assert!(
        took >= ms(250) && took < ms(800),
        "one after the other it would be eight times as long: {took:?}"
    );
    assert!(set.health().iter().all(|(_, health)| health.state == State::Closed));
    assert_eq!(set.len(), 8, "their events are still to be read");
    set.close(ms(400)).unwrap();
    let mut seen: HashMap<i32, Vec<Event>> = HashMap::new();
    for (tag, event) in &set {
        seen.entry(tag).or_default().push(event);
    }
    assert_eq!(seen.len(), 8);
    for events in seen.values() {
        assert_eq!(names(events), ["connecting", "connected", "message", "disconnected", "closed"]);
    }
    assert!(set.is_empty());
    assert!(set.recv().unwrap_err().is_closed());
}

#[test]
fn r4_a_feed_that_ends_leaves_the_set_and_the_last_one_ends_the_stream() {
    let refusing = Lab::start(Script::refuse(404)).unwrap();
    let lab = numbers(2);
    let set = FeedSet::new();
    set.insert("good", feed(&lab).reconnect(|reconnect| reconnect.max_attempts = Some(1)).open().unwrap())
        .unwrap();
    set.insert("bad", feed(&refusing).open().unwrap()).unwrap();
    let mut closed = Vec::new();
    let (mut lab, mut numbers) = (Some(lab), Vec::new());
    while let Ok((tag, event)) = set.recv_timeout(CEILING) {
        if matches!(event, Event::Closed(_)) {
            closed.push(tag);
            assert!(!set.tags().contains(&tag));
        }
        numbers.extend(number(&event));
        if closed == ["bad"] && numbers.len() == 2 {
            lab = None; // and its feed gives up
        }
    }
    assert!(lab.is_none());
    assert_eq!(closed, ["bad", "good"]);
    assert_eq!(set.recv().unwrap_err(), Error::NoFeed);
}

#[test]
fn c1_a_set_that_is_dropped_while_its_feeds_flood_loses_nothing_of_those_that_go_on() {
    let labs: Vec<_> = (0..3)
        .map(|_| Lab::start(Script::of_topics([Topic::new("t").every(Duration::ZERO)])).unwrap())
        .collect();
    let feeds: Vec<_> = labs.iter().map(|lab| Arc::new(feed(lab).open().unwrap())).collect();
    let mut last = [0; 3];
    let mut join_up = |tag: usize, event: &Event| {
        assert!(!matches!(event, Event::Gap(_)), "{event:?}");
        if let Event::Message(message) = event {
            assert_eq!(seq(message), last[tag] + 1, "of feed {tag}");
            last[tag] += 1;
        }
        last[tag]
    };
    for round in 1..=5 {
        let set = FeedSet::new();
        for (tag, feed) in feeds.iter().enumerate() {
            set.insert(tag, Arc::clone(feed)).unwrap();
        }
        // In the middle of a turn.
        for _ in 0..round * 777 {
            let (tag, event) = next(&set);
            join_up(tag, &event);
        }
        drop(set);
        for (tag, feed) in feeds.iter().enumerate() {
            for _ in 0..50 {
                join_up(tag, &feed.recv_timeout(CEILING).unwrap());
            }
        }
    }
    // With the last that holds them they end, and nobody waits for that.
    let set = FeedSet::new();
    let begin = Instant::now();
    for (tag, feed) in feeds.into_iter().enumerate() {
        set.insert(tag, feed).unwrap();
    }
    drop(set);
    assert!(begin.elapsed() < ms(500), "{:?}", begin.elapsed());
    for lab in &labs {
        in_lab(lab, |what| matches!(what, What::Ended(_)));
    }
}

#[test]
fn a_feed_whose_events_go_elsewhere_is_refused() {
    let lab = Lab::start(Script::new()).unwrap();
    let set = FeedSet::new();
    let handled = feed(&lab).handler(|_| {}).open().unwrap();
    assert_eq!(set.insert(1, handled).unwrap_err(), Error::Taken);

    let one = Arc::new(feed(&lab).open().unwrap());
    set.insert(1, Arc::clone(&one)).unwrap();
    assert_eq!(set.insert(2, Arc::clone(&one)).unwrap_err(), Error::Taken);
    let other = FeedSet::new();
    assert_eq!(other.insert(1, Arc::clone(&one)).unwrap_err(), Error::Taken);
    assert_eq!((set.tags(), other.len()), (vec![1], 0));
    drop(set);
    other.insert(1, Arc::clone(&one)).unwrap();
    drop(other.remove(&1));

    one.close(CEILING).unwrap();
    while one.recv().is_ok() {}
    assert!(other.insert(1, one).unwrap_err().is_closed());
}

#[test]
fn a_set_ends_also_when_somebody_else_reads_the_end_of_a_feed() {
    let lab = Lab::start(Script::new()).unwrap();
    let set = Arc::new(FeedSet::new());
    let feed = Arc::new(feed(&lab).open().unwrap());
    set.insert(1, Arc::clone(&feed)).unwrap();
    while !matches!(next(&set).1, Event::Connected(_)) {}
    // Closed by the time that it is inserted, and read by another way.
    let other = Arc::clone(&set);
    let waiter = meanwhile(move || other.iter().map(|(_, event)| event).collect::<Vec<_>>());
    let own = meanwhile(move || {
        feed.close(CEILING).unwrap();
        feed.iter().collect::<Vec<_>>()
    });
    let mut seen = [waiter(), own()].concat();
    seen.sort_by_key(|event| event.name() == "closed");
    assert_eq!(names(&seen), ["disconnected", "closed"], "each went to one of the two, and both have ended");
}

#[test]
fn d4_a_callback_of_a_feed_in_the_set_may_use_it_and_is_not_made_to_wait() {
    let lab = numbers(1);
    let set = Arc::new(FeedSet::new());
    let (told, answers) = channel();
    let woken = Arc::clone(&set);
    let opened: Arc<OnceLock<()>> = Arc::new(OnceLock::new());
    let ready = Arc::clone(&opened);
    let feed = feed(&lab)
        .on_wake(move || {
            ready.wait();
            let events = woken.try_iter().map(|(_, event)| event).collect::<Vec<_>>();
            let _ = told.send((events, woken.recv().unwrap_err(), woken.close(CEILING).unwrap_err()));
        })
        .open()
        .unwrap();
    set.insert(1, feed).unwrap();
    opened.set(()).unwrap();
    let (events, recv, close) = answers.recv_timeout(CEILING).unwrap();
    assert_eq!(events.first().map(Event::name), Some("connecting"));
    assert_eq!((recv, close), (Error::WouldDeadlock, Error::WouldDeadlock));
    let rest: Vec<_> = set.iter().collect();
    assert!(rest.is_empty() || matches!(rest.last(), Some((1, Event::Closed(_)))), "{rest:?}");
    assert!(set.recv().unwrap_err().is_closed());
}
