//! What the scenarios share: ceilings, and reading events until something is seen.

use livefeed::lab::{Lab, What};
use livefeed::{Event, Feed, Health};
use std::time::{Duration, Instant};

/// No wait in a test is longer; a failure prints what was seen.
pub const CEILING: Duration = Duration::from_secs(10);

/// Reads events until `wanted` says yes, and returns all of them, that one last.
#[track_caller]
pub fn until(feed: &Feed, mut wanted: impl FnMut(&Event) -> bool) -> Vec<Event> {
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

/// The names of events, runs of messages as one.
pub fn names(events: &[Event]) -> Vec<String> {
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
pub fn content(message: &livefeed::Message) -> (bool, Vec<u8>) {
    (message.text().is_some(), message.as_bytes().to_vec())
}
