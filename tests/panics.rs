//! A panic on a thread of the feed, outside the callbacks that are guarded one by one, is no silent end.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use livefeed::lab::{Lab, Script};
use livefeed::{CloseReason, EndReason, Event, Feed};
use std::time::Duration;

const CEILING: Duration = Duration::from_secs(10);

/// Panics at what the decoder logs of each frame.
struct Panicking;

impl log::Log for Panicking {
    fn enabled(&self, metadata: &log::Metadata<'_>) -> bool {
        metadata.target().starts_with("tungstenite")
    }

    fn log(&self, record: &log::Record<'_>) {
        assert!(!self.enabled(record.metadata()), "the logger is broken");
    }

    fn flush(&self) {}
}

#[test]
fn r4_a_thread_that_panics_ends_the_feed_and_says_so() {
    log::set_logger(&Panicking).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let lab = Lab::start(Script::new().send("x")).unwrap();
    let feed = Feed::open(lab.url()).unwrap();
    loop {
        if let Event::Closed(closed) = feed.recv_timeout(CEILING).unwrap() {
            assert!(
                matches!(&closed.reason, CloseReason::Fatal(EndReason::Panicked { detail }) if detail.contains("broken")),
                "{closed:?}"
            );
            break;
        }
    }
    assert!(feed.recv_timeout(CEILING).is_err_and(|error| error.is_closed()));
    assert!(feed.send("x").is_err_and(|error| error.is_closed()));
    feed.close(CEILING).unwrap();
}
