//! No thread and no file descriptor is left behind (R5), however many connections and feeds there were.
//!
//! A test binary of its own with one test: it counts those of the whole process.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "tests may read clocks")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of tests")]

use livefeed::lab::{Certificate, Command, Lab, Script, Topic};
use livefeed::{Event, Feed, FeedBuilder, Monitor, Subscription};
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const CEILING: Duration = Duration::from_secs(20);

/// What the process holds: the names of its threads, and what its descriptors are.
#[derive(Debug)]
struct Held {
    threads: Vec<String>,
    descriptors: Vec<String>,
}

impl Held {
    fn now() -> Self {
        let list = |dir: &str, show: fn(&fs::DirEntry) -> String| {
            let mut all: Vec<_> = fs::read_dir(dir).unwrap().flatten().map(|entry| show(&entry)).collect();
            all.sort();
            all
        };
        let name = |entry: &fs::DirEntry| {
            fs::read_to_string(entry.path().join("comm")).unwrap_or_default().trim().to_owned()
        };
        let target =
            |entry: &fs::DirEntry| fs::read_link(entry.path()).unwrap_or_default().display().to_string();
        Self { threads: list("/proc/self/task", name), descriptors: list("/proc/self/fd", target) }
    }

    fn counts(&self) -> (usize, usize) {
        (self.threads.len(), self.descriptors.len())
    }
}

/// Threads and sockets end a moment after who closed them has returned.
#[track_caller]
fn assert_back_at(begin: &Held, what: &str) {
    let deadline = Instant::now() + CEILING;
    loop {
        let now = Held::now();
        if now.counts() == begin.counts() {
            return;
        }
        assert!(Instant::now() < deadline, "{what}: it began with\n{begin:#?}\nand ended with\n{now:#?}");
        std::thread::yield_now();
    }
}

fn fine() -> Script {
    Script::of_topics([Topic::new("btc").every(Duration::from_millis(1)).on_subscribe()])
}

fn feed(lab: &Lab) -> FeedBuilder {
    let ms = Duration::from_millis(1);
    let builder = Feed::builder(lab.url())
        .subscription(Subscription::new("btc").subscribe_text("btc"))
        .reconnect(|r| (r.floor, r.first, r.max) = (ms, ms, ms));
    if lab.ca_pem().is_empty() {
        return builder;
    }
    builder.tls(|tls| tls.extra_roots_pem.push(lab.ca_pem().to_owned()))
}

#[track_caller]
fn until(feed: &Feed, mut wanted: impl FnMut(&Event) -> bool) {
    let deadline = Instant::now() + CEILING;
    loop {
        match feed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(event) if wanted(&event) => return,
            Ok(_) => {}
            Err(error) => panic!("{error}, in {:?}", feed.health()),
        }
    }
}

/// Makes so many connections, each ended in another way, and counts meanwhile.
fn reconnect(lab: &Lab, count: u64, begin: &Held) {
    let feed = feed(lab).open().unwrap();
    for n in 1..=count {
        until(&feed, |event| matches!(event, Event::Message(message) if message.epoch() >= n));
        match n % 5 {
            0 => feed.reconnect(),
            1 => lab.control().all(Command::Close(1001, "going away".into())),
            2 => lab.control().all(Command::Fin),
            3 => lab.control().all(Command::Reset),
            _ => lab.control().all(Command::Raw(vec![0xff; 16])),
        }
        if n % 20 == 0 {
            // Two threads of the feed, and perhaps one that looks a name up.
            let now = Held::now();
            assert!(now.threads.len() <= begin.threads.len() + 3, "at {n}: {now:#?}");
            // The lab has a few connections that it has not yet let go of.
            assert!(now.descriptors.len() <= begin.descriptors.len() + 20, "at {n}: {now:#?}");
        }
    }
    until(&feed, |event| matches!(event, Event::Message(message) if message.epoch() > count));
    feed.close(CEILING).unwrap();
}

#[test]
fn r5_no_thread_and_no_descriptor_is_left_behind() {
    let plain = Lab::start(fine()).unwrap();
    let tls = Lab::builder().tls(Certificate::Valid).script(fine()).start().unwrap();
    let mute = Lab::start(Script::never_upgrade()).unwrap();
    let refusing = Lab::start(Script::refuse(503)).unwrap();
    // What is opened once and kept: random numbers, the certificates of the system.
    for lab in [&plain, &tls] {
        let feed = feed(lab).open().unwrap();
        until(&feed, |event| matches!(event, Event::Message(_)));
        feed.close(CEILING).unwrap();
    }
    let settled = Instant::now() + CEILING;
    while [&plain, &tls].iter().any(|lab| lab.live() > 0)
        || Held::now().threads.iter().any(|name| is_ours(name))
    {
        assert!(Instant::now() < settled, "{:#?}", Held::now());
        std::thread::yield_now();
    }
    let begin = Held::now();

    reconnect(&plain, 200, &begin);
    assert_back_at(&begin, "after reconnects");
    reconnect(&tls, 60, &begin);
    assert_back_at(&begin, "after reconnects under TLS");

    let mut closed = Vec::new();
    for n in 0..50 {
        let feed = feed(&plain).open().unwrap();
        if n % 2 == 0 {
            until(&feed, |event| matches!(event, Event::Message(_)));
        }
        feed.close(CEILING).unwrap();
        closed.push(feed);
    }
    // Also while the feeds are kept to be read.
    assert_back_at(&begin, "after open and close");
    drop(closed);

    for (n, lab) in [&plain, &tls, &mute, &refusing].into_iter().cycle().take(60).enumerate() {
        let feed = feed(lab).open().unwrap();
        let batches = feed.batches().clone();
        // Dropped at once, in an attempt, and when it is up or waits.
        match n % 3 {
            0 => {}
            1 => until(&feed, |event| matches!(event, Event::Connecting(_))),
            _ if std::ptr::eq(lab, &mute) => {}
            _ => until(&feed, |event| matches!(event, Event::Message(_) | Event::Disconnected(_))),
        }
        drop(feed);
        // The receiver outlives the feed, and learns its end.
        let deadline = Instant::now() + CEILING;
        let mut last = None;
        while let Ok(batch) = batches.recv_deadline(deadline) {
            last = batch.into_iter().last().or(last);
        }
        assert!(matches!(last, Some(Event::Closed(_))), "{n}: {last:?}");
    }
    assert_back_at(&begin, "after open and drop");

    // A configuration that is refused starts nothing, and a feed that gives up ends its threads by itself.
    assert!(feed(&plain).max_attempts(0).open().is_err());
    let given_up: Vec<Feed> = (0..20).map(|_| feed(&refusing).max_attempts(2).open().unwrap()).collect();
    for feed in &given_up {
        until(feed, |event| matches!(event, Event::Closed(_)));
    }
    assert_back_at(&begin, "after giving up");
    drop(given_up);

    // A monitor has one thread, whoever asks it, and takes it and all sockets along, also with requests under way.
    let feed = feed(&plain).open().unwrap();
    until(&feed, |event| matches!(event, Event::Message(_)));
    let with_feed = Held::now();
    for n in 0..30 {
        let monitor = Monitor::bind("127.0.0.1:0").unwrap();
        monitor.add(&feed).unwrap();
        let mut asking: Vec<_> = (0..20).map(|_| TcpStream::connect(monitor.local_addr()).unwrap()).collect();
        for (n, stream) in asking.iter_mut().enumerate() {
            let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n";
            stream.write_all(&request[..request.len() - n % 2]).unwrap();
        }
        assert!(asking[0].read(&mut [0; 64]).unwrap() > 0);
        // Its one, and that of the one before on its way out.
        let now = Held::now();
        assert!(now.threads.len() <= with_feed.threads.len() + 2, "at {n}: {now:#?}");
        if n % 2 == 0 {
            monitor.close().unwrap();
        }
        drop(monitor);
        drop(asking);
    }
    assert_back_at(&with_feed, "after monitors");
    feed.close(CEILING).unwrap();
    drop(feed);
    assert_back_at(&begin, "after the feed of the monitors");
    assert_eq!(plain.live() + tls.live() + mute.live() + refusing.live(), 0);
}

fn is_ours(thread: &str) -> bool {
    thread.starts_with("livefeed")
}
