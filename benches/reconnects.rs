//! Whether 1,000 forced reconnects leave anything behind: threads, descriptors, memory. Plain and under TLS.
//!
//! `cargo bench --bench reconnects -- --count 1000`
#![allow(clippy::disallowed_methods, reason = "a bench reads clocks")]
#![allow(clippy::expect_used, clippy::panic, reason = "a bench that can't go on says so")]

mod common;

use common::{ONCE, Server, option, serve_if_asked, status};
use livefeed::{Event, Feed, FeedBuilder};
use std::time::{Duration, Instant};

fn builder(server: &Server) -> FeedBuilder {
    let ms = Duration::from_millis(1);
    let builder = Feed::builder(server.url.as_str()).reconnect(|r| (r.floor, r.first, r.max) = (ms, ms, ms));
    if server.ca_pem.is_empty() {
        builder
    } else {
        builder.tls(|tls| tls.extra_roots_pem.push(server.ca_pem.clone()))
    }
}

/// Reads until a message of this connection has come.
fn until_data(feed: &Feed, epoch: u64) {
    loop {
        match feed.recv_timeout(Duration::from_secs(30)).expect("an event") {
            Event::Message(message) if message.epoch() >= epoch => return,
            _ => {}
        }
    }
}

fn held() -> (u64, usize, u64) {
    let descriptors = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    (status("Threads"), descriptors, status("VmRSS"))
}

fn main() {
    serve_if_asked();
    let count: u64 = option("--count", 1000);
    for tls in [false, true] {
        let server = Server::start(ONCE, tls, 0);
        let feed = builder(&server).open().expect("a feed");
        // What is allocated once and kept is not what is looked for.
        for epoch in 1..=20 {
            until_data(&feed, epoch);
            feed.reconnect();
        }
        until_data(&feed, 21);
        let before = held();
        let begin = Instant::now();
        for epoch in 21..21 + count {
            feed.reconnect();
            until_data(&feed, epoch + 1);
        }
        let took = begin.elapsed();
        let after = held();
        feed.close(Duration::from_secs(5)).expect("closed");
        drop(feed);
        let closed = held();
        println!(
            "{}: {count} reconnects in {:.2} s; threads, descriptors, VmRSS KiB: before {before:?}, after {after:?}, \
             closed {closed:?}",
            if tls { "wss" } else { "ws" },
            took.as_secs_f64(),
        );
        assert_eq!((before.0, before.1), (after.0, after.1), "threads and descriptors");
    }
}
