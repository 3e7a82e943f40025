//! What the scenarios share: ceilings, and reading events until something is seen.

use livefeed::lab::{Entry, Lab};
use livefeed::{Event, Feed, FeedBuilder, Limit, Matcher, Message, Stale, Subscription};
use std::time::{Duration, Instant};

/// No wait in a test is longer; a failure prints what was seen.
pub(crate) const CEILING: Duration = Duration::from_secs(10);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A feed at the lab that has no limit, sends no pings and reconnects almost at once.
pub(crate) fn feed(lab: &Lab) -> FeedBuilder {
    Feed::builder(lab.url()).no_stale_limit().ping(|ping| ping.after = Limit::None).reconnect(|reconnect| {
        (reconnect.floor, reconnect.first, reconnect.max) = (ms(2), ms(5), ms(10));
    })
}

/// A subscription to a topic of the lab.
pub(crate) fn sub(topic: &str) -> Subscription {
    Subscription::new(topic)
        .subscribe_text(format!("subscribe {topic}"))
        .unsubscribe_text(format!("unsubscribe {topic}"))
        .data(Matcher::pointer("/topic", topic))
}

/// The number of a message of a lab's topic.
#[track_caller]
pub(crate) fn seq(message: &Message) -> u64 {
    let text = message.text().expect("a topic's messages are text");
    let json: serde_json::Value = serde_json::from_str(text).expect("a topic's messages are JSON");
    json["seq"].as_u64().expect("a topic's messages are numbered")
}

/// Reads events until `wanted` says yes, and returns all of them, that one last.
#[track_caller]
pub(crate) fn until(feed: &Feed, mut wanted: impl FnMut(&Event) -> bool) -> Vec<Event> {
    let deadline = Instant::now() + CEILING;
    let mut seen = Vec::new();
    loop {
        match feed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) => {
                let done = wanted(&event);
                seen.push(event);
                if done {
                    return seen;
                }
            }
            Err(error) => panic!("{error} before it was seen; events: {:#?}", names(&seen)),
        }
    }
}

/// Reads events until so many messages were seen.
#[track_caller]
pub(crate) fn until_messages(feed: &Feed, count: usize) -> Vec<Event> {
    let mut left = count;
    until(feed, |event| {
        left -= usize::from(matches!(event, Event::Message(_)));
        left == 0
    })
}

/// Reads events until there is a verdict.
#[track_caller]
pub(crate) fn until_stale(feed: &Feed) -> (Vec<Event>, Stale) {
    let events = until(feed, |event| matches!(event, Event::Stale(_)));
    let Some(Event::Stale(stale)) = events.last() else { unreachable!() };
    let stale = (**stale).clone();
    (events, stale)
}

/// Waits for an entry of the lab's transcript.
#[track_caller]
pub(crate) fn seen(lab: &Lab, wanted: impl FnMut(&Entry) -> bool) -> Entry {
    lab.wait_for(wanted, CEILING).unwrap_or_else(|| panic!("not seen; transcript:\n{}", lab.transcript()))
}

/// Lets time pass, for tests in which a pause is what happens. Not for waiting until something has happened.
pub(crate) fn pause(time: Duration) {
    let _ = crossbeam_channel::never::<()>().recv_timeout(time);
}

pub(crate) fn messages(events: &[Event]) -> Vec<&Message> {
    events.iter().filter_map(|event| if let Event::Message(m) = event { Some(m) } else { None }).collect()
}

/// The names of events, runs of messages as one.
pub(crate) fn names(events: &[Event]) -> Vec<String> {
    let mut names: Vec<String> = events.iter().map(|event| event.name().to_owned()).collect();
    names.dedup_by(|a, b| a == b && a == "message");
    names
}
