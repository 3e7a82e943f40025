//! What the scenarios share: ceilings, and reading events until something is seen.

use livefeed::{Event, Feed};
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
