//! What the scenarios share: ceilings, and reading events until something is seen.

use livefeed::lab::{Entry, Lab, What};
use livefeed::{Event, Feed, FeedBuilder, Health, Limit, Matcher, Message, Stale, Subscription};
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

/// Waits until the feed's health is as wanted.
#[track_caller]
pub fn healthy(feed: &Feed, lab: &Lab, mut wanted: impl FnMut(&Health) -> bool) -> Health {
    let deadline = Instant::now() + CEILING;
    loop {
        let health = feed.health();
        if wanted(&health) {
            return health;
        }
        assert!(Instant::now() < deadline, "{health:#?}\n{}", shown(lab));
        // Nothing tells of a change in a snapshot.
        std::thread::park_timeout(Duration::from_micros(50));
    }
}

/// Waits until the lab has seen it.
#[track_caller]
pub fn in_lab(lab: &Lab, mut wanted: impl FnMut(&What) -> bool) -> What {
    match lab.wait_for(|entry| wanted(&entry.what), CEILING) {
        Some(entry) => entry.what,
        None => panic!("not seen in the lab:\n{}", shown(lab)),
    }
}

/// The transcript, lines cut.
pub fn shown(lab: &Lab) -> String {
    let transcript = lab.transcript().to_string();
    transcript.lines().map(|line| line.chars().take(160).chain(['\n']).collect::<String>()).collect()
}

/// Chance with a seed (splitmix64), so that a failure can be had again.
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// From 0 to less than `end`.
    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end.max(1) as u64).unwrap()
    }

    pub fn byte(&mut self) -> u8 {
        self.roll().to_le_bytes()[0]
    }
}

/// A frame as a server sends it (RFC 6455 section 5.2); `first` has the final bit and the opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    match payload.len() {
        short @ 0..=125 => frame.push(u8::try_from(short).unwrap()),
        medium @ 126..=65_535 => {
            frame.push(126);
            frame.extend(u16::try_from(medium).unwrap().to_be_bytes());
        }
        long => {
            frame.push(127);
            frame.extend((long as u64).to_be_bytes());
        }
    }
    frame.extend(payload);
    frame
}

/// What a message is, to be compared: whether it is text, and its bytes.
pub fn content(message: &Message) -> (bool, Vec<u8>) {
    (message.text().is_some(), message.as_bytes().to_vec())
}
