//! What idle feeds cost: memory each, and wake-ups between deadlines.
//!
//! `cargo bench --bench idle -- --seconds 60`
#![allow(clippy::disallowed_methods, reason = "a bench reads clocks")]
#![allow(clippy::expect_used, clippy::panic, reason = "a bench that can't go on says so")]

mod common;

use common::{ONCE, Server, option, serve_if_asked, status, voluntary_switches};
use livefeed::{Feed, Limit};
use std::time::{Duration, Instant};

fn open(server: &Server, count: usize) -> Vec<Feed> {
    let feeds: Vec<Feed> = (0..count)
        .map(|_| {
            let mut builder = Feed::builder(server.url.as_str())
                .stale_after(Duration::from_secs(3600))
                .ping(|ping| ping.after = Limit::None);
            if !server.ca_pem.is_empty() {
                builder = builder.tls(|tls| tls.extra_roots_pem.push(server.ca_pem.clone()));
            }
            builder.open().expect("a feed")
        })
        .collect();
    for feed in &feeds {
        feed.wait_fresh(Duration::from_secs(60)).expect("data");
        while feed.try_recv().is_ok() {}
    }
    feeds
}

fn main() {
    serve_if_asked();
    let seconds: u64 = option("--seconds", 60);
    let thousand: usize = option("--feeds", 1000);
    for tls in [false, true] {
        let server = Server::start(ONCE, tls, 0);
        drop(open(&server, 1)); // what the first one costs the process is not each feed's
        for count in [1, 100, thousand] {
            let before = status("VmRSS");
            let begin = Instant::now();
            let feeds = open(&server, count);
            let opened = begin.elapsed();
            let after = status("VmRSS");
            println!(
                "{} {count:5} feeds: {:6.1} KiB each (VmRSS {before} -> {after} KiB), {} threads, opened in {:.2} s",
                if tls { "wss" } else { "ws " },
                after.saturating_sub(before) as f64 / count as f64,
                status("Threads"),
                opened.as_secs_f64(),
            );
            if count != 1 || !tls {
                let before = voluntary_switches();
                std::thread::sleep(Duration::from_secs(seconds));
                let switches = voluntary_switches() - before;
                println!(
                    "    {switches} voluntary context switches in {seconds} s ({:.2} a feed), limit 3600 s, no pings",
                    switches as f64 / count as f64
                );
            }
            drop(feeds);
        }
    }
}
