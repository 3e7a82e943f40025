//! What the scenarios of recovery and closing share.

use crate::common::{CEILING, names, until};
use crossbeam_channel::{Receiver, unbounded};
use livefeed::lab::{Entry, Lab};
use livefeed::{CloseReason, Error, Event, Feed, FeedBuilder};
use std::time::{Duration, Instant};

/// A feed of this URL that loses no time between attempts.
pub(crate) fn quick(url: impl Into<String>) -> FeedBuilder {
    let ms = Duration::from_millis;
    Feed::builder(url.into()).reconnect(move |r| (r.floor, r.first, r.max) = (ms(1), ms(5), ms(40)))
}

/// Waits for an entry of the lab's transcript.
#[track_caller]
pub(crate) fn lab_sees(lab: &Lab, what: &str, wanted: impl FnMut(&Entry) -> bool) -> Entry {
    let found = lab.wait_for(wanted, CEILING);
    found.unwrap_or_else(|| panic!("the lab never saw {what}:\n{}", lab.transcript()))
}

/// Reads events from a handler's channel until `wanted` says yes, and returns all of them, that one last.
#[track_caller]
pub(crate) fn until_from(events: &Receiver<Event>, mut wanted: impl FnMut(&Event) -> bool) -> Vec<Event> {
    let deadline = Instant::now() + CEILING;
    let mut seen = Vec::new();
    loop {
        let Ok(event) = events.recv_deadline(deadline) else {
            panic!("it was not seen; events: {:#?}", names(&seen));
        };
        let done = wanted(&event);
        seen.push(event);
        if done {
            return seen;
        }
    }
}

/// Opens a feed whose handler passes every event on: nothing folds, however slow the test is.
pub(crate) fn handled(builder: FeedBuilder) -> (Feed, Receiver<Event>) {
    let (sender, events) = unbounded();
    let feed = builder.handler(move |event| drop(sender.send(event))).open().unwrap();
    (feed, events)
}

/// Reads to the end: `Closed` is the last event, and says what every later `recv` says.
#[track_caller]
pub(crate) fn to_the_end(feed: &Feed) -> (Vec<Event>, CloseReason) {
    let events = until(feed, |event| matches!(event, Event::Closed(_)));
    let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
    let reason = closed.reason.clone();
    for _ in 0..2 {
        match feed.recv_timeout(CEILING) {
            Err(Error::Closed(said)) => assert_eq!(*said, reason),
            other => panic!("{other:?} after Closed"),
        }
    }
    (events, reason)
}

/// Waits for what no event tells, by looking again and again.
#[track_caller]
pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + CEILING;
    while !is_so() {
        assert!(Instant::now() < deadline, "it never came to this: {what}");
        std::thread::yield_now();
    }
}
