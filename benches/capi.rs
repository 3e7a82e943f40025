//! What an event costs through the C ABI beside the Rust iterator, in one interleaved run, from the same server.
//!
//! `cargo bench --bench capi -- --messages 3000000 --rounds 7 --size 128`
#![allow(clippy::disallowed_methods, reason = "a bench reads clocks")]
#![allow(clippy::expect_used, clippy::panic, reason = "a bench that can't go on says so")]
#![allow(unsafe_code, reason = "it calls as C does")]

mod common;

use common::{FLOOD, Server, cpu_seconds, option, serve_if_asked, spread};
use livefeed::capi::*;
use livefeed::{Event, Feed};
use std::hint::black_box;
use std::ptr::{null, null_mut};
use std::time::Instant;

/// Nanoseconds an event, and CPU nanoseconds of the whole process an event.
type Figures = (f64, f64);

struct Clock {
    begin: Option<(Instant, f64)>,
    count: u64,
    total: u64,
}

impl Clock {
    fn new(total: u64) -> Self {
        Self { begin: None, count: 0, total }
    }

    /// Counts messages; the first tenth warms up. Says the figures at the end.
    #[inline]
    fn messages(&mut self, count: u64) -> Option<Figures> {
        let before = self.count;
        self.count += count;
        let warm = self.total / 10;
        if before < warm && self.count >= warm {
            self.begin = Some((Instant::now(), cpu_seconds()));
            self.total += self.count - warm; // what a batch went over
        }
        if self.count < self.total {
            return None;
        }
        let (begin, cpu) = self.begin.expect("the warm-up is over");
        let counted = (self.count - self.total / 10) as f64;
        Some((begin.elapsed().as_secs_f64() / counted * 1e9, (cpu_seconds() - cpu) / counted * 1e9))
    }
}

fn iterator(server: &Server, total: u64) -> Figures {
    let feed = Feed::open(server.url.as_str()).expect("a feed");
    let mut clock = Clock::new(total);
    for event in &feed {
        if let Event::Message(message) = &event {
            black_box(message.as_bytes());
            if let Some(figures) = clock.messages(1) {
                return figures;
            }
        }
    }
    panic!("the feed ended");
}

fn open(server: &Server) -> *mut livefeed_feed {
    let mut feed = null_mut();
    // SAFETY: the URL can be read for its length.
    let result = unsafe { livefeed_open(server.url.as_ptr().cast(), server.url.len(), &mut feed) };
    assert_eq!(result, LIVEFEED_OK);
    feed
}

fn next(server: &Server, total: u64) -> Figures {
    let feed = open(server);
    let mut clock = Clock::new(total);
    loop {
        let mut event = null_mut();
        // SAFETY: each event is freed once, and the feed last.
        unsafe {
            assert_eq!(livefeed_next(feed, -1, &mut event), LIVEFEED_OK);
            let is_message = livefeed_event_kind(event) == LIVEFEED_EVENT_MESSAGE;
            if is_message {
                let (mut data, mut length) = (null(), 0);
                assert_eq!(livefeed_event_payload(event, &mut data, &mut length), LIVEFEED_OK);
                black_box((data, length));
            }
            livefeed_event_free(event);
            if is_message && let Some(figures) = clock.messages(1) {
                livefeed_free(feed);
                return figures;
            }
        }
    }
}

fn batch(server: &Server, total: u64) -> Figures {
    let feed = open(server);
    let mut clock = Clock::new(total);
    loop {
        let (mut batch, mut views, mut count) = (null_mut(), null(), 0);
        // SAFETY: each batch is freed once, and the feed last.
        unsafe {
            assert_eq!(livefeed_next_batch(feed, 0, -1, &mut batch), LIVEFEED_OK);
            assert_eq!(livefeed_batch_views(batch, &mut views, &mut count), LIVEFEED_OK);
            let mut messages = 0;
            for view in std::slice::from_raw_parts(views, count) {
                if view.kind == LIVEFEED_EVENT_MESSAGE {
                    black_box((view.data, view.length));
                    messages += 1;
                }
            }
            livefeed_batch_free(batch);
            if let Some(figures) = clock.messages(messages) {
                livefeed_free(feed);
                return figures;
            }
        }
    }
}

/// What a call costs that finds nothing: the border itself, with the handle, the process and the guard.
fn empty_call(server: &Server, total: u64) -> Figures {
    let feed = open(server);
    let begin = (Instant::now(), cpu_seconds());
    for _ in 0..total / 10 {
        // SAFETY: the feed is freed last, and nothing is written.
        black_box(unsafe { livefeed_unsubscribe(feed, null(), 0) });
    }
    let figures = (begin.0.elapsed().as_secs_f64(), cpu_seconds() - begin.1);
    // SAFETY: it is not used any more.
    unsafe { livefeed_free(feed) };
    let calls = (total / 10) as f64;
    (figures.0 / calls * 1e9, figures.1 / calls * 1e9)
}

fn main() {
    serve_if_asked();
    let rounds: usize = option("--rounds", 5);
    let messages: u64 = option("--messages", 2_000_000);
    let size: usize = option("--size", 128);
    let server = Server::start(FLOOD, false, size);
    type Form = fn(&Server, u64) -> Figures;
    let forms: [(&str, Form); 4] = [
        ("Rust iterator", iterator),
        ("livefeed_next", next),
        ("livefeed_next_batch", batch),
        ("a call that fails", empty_call),
    ];
    let mut times = vec![Vec::new(); forms.len()];
    let mut costs = vec![Vec::new(); forms.len()];
    for _ in 0..rounds {
        for (at, (_, form)) in forms.iter().enumerate() {
            let (time, cost) = form(&server, messages);
            times[at].push(time);
            costs[at].push(cost);
        }
    }
    println!(
        "{rounds} rounds, interleaved; ws, {size} B; ns per event: median (min-max); CPU ns per event of this process"
    );
    for (at, (name, _)) in forms.iter().enumerate() {
        let (min, median, max) = spread(&mut times[at]);
        println!("  {name:20} {median:7.1} ({min:.1}-{max:.1})   {:.1}", spread(&mut costs[at]).1);
    }
}
