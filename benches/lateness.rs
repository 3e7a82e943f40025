//! How late the stale verdict comes: at limits of 50 ms, 500 ms and 2 s, idle and with both cores busy.
//!
//! `cargo bench --bench lateness -- --trials 200`
#![allow(clippy::disallowed_methods, reason = "a bench reads clocks")]
#![allow(clippy::expect_used, clippy::panic, reason = "a bench that can't go on says so")]

mod common;

use common::{ONCE, Server, option, percentile, serve_if_asked};
use livefeed::{Event, Feed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

/// Feeds at a time: each waits by itself, and they are out of step.
const FEEDS: usize = 8;

fn trials(server: &Server, limit: Duration, count: usize) -> Vec<f64> {
    let (found, lateness) = channel();
    let feeds: Vec<Feed> = (0..FEEDS)
        .map(|_| {
            let found = found.clone();
            Feed::builder(server.url.as_str())
                .stale_after(limit)
                .reconnect(|reconnect| {
                    reconnect.floor = Duration::from_millis(10);
                    reconnect.first = Duration::from_millis(100);
                    reconnect.max = Duration::from_millis(200);
                })
                .handler(move |event| {
                    if let Event::Stale(stale) = event {
                        assert!(stale.age >= stale.limit, "a verdict before the limit");
                        let _ = found.send(stale.lateness().as_secs_f64() * 1e3);
                    }
                })
                .open()
                .expect("a feed")
        })
        .collect();
    let mut values: Vec<f64> = lateness.iter().take(count).collect();
    drop(feeds);
    values.sort_by(f64::total_cmp);
    values
}

fn main() {
    serve_if_asked();
    let count: usize = option("--trials", 200);
    let server = Server::start(ONCE, false, 0);
    println!("{count} trials each; ms: minimum, median, p99, maximum");
    for busy in [false, true] {
        let stop = Arc::new(AtomicBool::new(false));
        let load: Vec<_> =
            (0..if busy { std::thread::available_parallelism().map_or(2, usize::from) } else { 0 })
                .map(|_| {
                    let stop = Arc::clone(&stop);
                    std::thread::spawn(move || {
                        while !stop.load(Ordering::Relaxed) {
                            std::hint::spin_loop()
                        }
                    })
                })
                .collect();
        for limit in [50, 500, 2000] {
            let values = trials(&server, Duration::from_millis(limit), count);
            println!(
                "{:5} limit {limit:4} ms: {:6.2} {:6.2} {:6.2} {:6.2}",
                if busy { "busy" } else { "idle" },
                values[0],
                percentile(&values, 0.5),
                percentile(&values, 0.99),
                values[values.len() - 1],
            );
        }
        stop.store(true, Ordering::Relaxed);
        for thread in load {
            let _ = thread.join();
        }
    }
}
