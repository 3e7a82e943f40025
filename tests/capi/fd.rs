//! The file descriptor: readable while events wait, not when none do, and for ever after the end.
#![cfg(unix)]

use crate::ffi::*;
use crate::provider::fast;
use livefeed::capi::*;
use livefeed::lab::{Command, Flood, Lab, Script, Topic};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::BTreeSet;
use std::os::fd::{BorrowedFd, RawFd};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn fd(feed: &Handle) -> RawFd {
    let mut fd = -1;
    ok(unsafe { livefeed_fd(feed.0, &mut fd) }).unwrap();
    fd
}

/// Whether it is readable, now or within the time.
fn readable(fd: RawFd, timeout_ms: i64) -> bool {
    let timeout = Timespec { tv_sec: timeout_ms / 1000, tv_nsec: timeout_ms % 1000 * 1_000_000 };
    // SAFETY: the feed is not freed before.
    let mut fds = [PollFd::from_borrowed_fd(unsafe { BorrowedFd::borrow_raw(fd) }, PollFlags::IN)];
    poll(&mut fds, Some(&timeout)).unwrap();
    fds[0].revents().contains(PollFlags::IN)
}

fn open(lab: &Lab, more: &str) -> Handle {
    Handle::open(&fast(&format!(r#", "url": "{}" {more}"#, lab.url()))).unwrap()
}

#[track_caller]
fn drain(feed: &Handle) {
    loop {
        match feed.next(0) {
            Ok(_) => {}
            Err(result) => return assert_eq!(name(result), "LIVEFEED_TIMEOUT"),
        }
    }
}

/// Reads all there is; then the descriptor says so, but for a wake-up that was on its way.
#[track_caller]
fn assert_quiet(feed: &Handle, fd: RawFd) {
    for _ in 0..3 {
        drain(feed);
        if !readable(fd, 0) {
            return;
        }
    }
    panic!("it stays readable though nothing is to be read");
}

#[test]
fn it_is_readable_while_events_wait_and_for_ever_after_the_end() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = open(&lab, "");
    ok(unsafe { livefeed_wait_connected(feed.0, CEILING_MS) }).unwrap();
    let fd = fd(&feed); // asked for when events wait already
    for _ in 0..3 {
        assert!(readable(fd, 0), "two events wait");
    }
    feed.next(0).unwrap();
    assert!(readable(fd, 0), "one is left");
    assert_quiet(&feed, fd);
    for round in 0..50 {
        lab.control().all(Command::Send(round.to_string()));
        assert!(readable(fd, CEILING_MS));
        assert_eq!(feed.next(0).unwrap().payload().unwrap(), round.to_string().as_bytes());
        assert_quiet(&feed, fd);
    }
    let mut again = -1;
    ok(unsafe { livefeed_fd(feed.0, &mut again) }).unwrap();
    assert_eq!(again, fd);
    assert_eq!(feed.close(), LIVEFEED_OK);
    feed.until(LIVEFEED_EVENT_CLOSED);
    for _ in 0..3 {
        assert!(readable(fd, CEILING_MS));
        assert_eq!(feed.next(0).unwrap_err(), LIVEFEED_CLOSED);
    }
}

/// What a call of the host itself brings about is to be seen there too.
#[test]
fn calls_of_the_host_make_it_readable() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = open(&lab, "");
    feed.until(LIVEFEED_EVENT_CONNECTED);
    let fd = fd(&feed);
    drain(&feed);
    let json = c"{\"id\": \"a\", \"subscribe\": \"a\"}".as_ptr();
    ok(unsafe { livefeed_subscribe(feed.0, json, usize::MAX) }).unwrap();
    assert!(readable(fd, CEILING_MS), "Subscribed");
    feed.until(LIVEFEED_EVENT_SUBSCRIBED);
    drain(&feed);
    ok(unsafe { livefeed_reconnect(feed.0) }).unwrap();
    assert!(readable(fd, CEILING_MS), "Disconnected");
    feed.until(LIVEFEED_EVENT_SUBSCRIBED);
    drain(&feed);
    assert_eq!(feed.close(), LIVEFEED_OK);
    assert!(readable(fd, CEILING_MS), "Closed");
    assert_eq!(feed.next(0).unwrap().kind(), LIVEFEED_EVENT_DISCONNECTED);
}

/// Events come while the last ones are taken. Whoever waits for the descriptor, and takes as much or as little as it
/// likes, misses none, and is not woken for nothing again and again.
#[test]
fn no_wake_up_is_lost_while_events_come_and_go() {
    const MESSAGES: usize = 30_000;
    let texts = || Flood::of_texts((0..MESSAGES).map(|n| n.to_string())).count(MESSAGES as u64);
    type Take = fn(&Handle) -> Vec<Vec<u8>>;
    let one: Take = |feed| feed.next(0).ok().and_then(|event| event.payload()).into_iter().collect();
    let all: Take =
        |feed| std::iter::from_fn(|| feed.next(0).ok()).filter_map(|event| event.payload()).collect();
    let batch: Take = |feed| {
        let (mut batch, mut views, mut count) = (null_mut(), null(), 0);
        if unsafe { livefeed_next_batch(feed.0, 50, 0, &mut batch) } != LIVEFEED_OK {
            return Vec::new();
        }
        ok(unsafe { livefeed_batch_views(batch, &mut views, &mut count) }).unwrap();
        let views = unsafe { std::slice::from_raw_parts(views, count) };
        let messages = views.iter().filter(|view| view.kind == LIVEFEED_EVENT_MESSAGE);
        let payloads = messages.map(|view| unsafe { bytes(view.data, view.length) }.to_vec()).collect();
        unsafe { livefeed_batch_free(batch) };
        payloads
    };
    // The steady topic empties the queue all the time, the flood fills it.
    let steady = Topic::new("x").every(Duration::from_micros(200));
    for (form, take) in [("one", one), ("all", all), ("batch", batch)] {
        let lab = Lab::start(Script::new().flood(texts()).topics([steady.clone()])).unwrap();
        let feed = open(&lab, r#", "queue": {"messages": 64}"#);
        let fd = fd(&feed);
        let (mut next, mut steady, mut in_vain) = (0, 0, 0);
        while next < MESSAGES || steady < 500 {
            assert!(readable(fd, CEILING_MS), "{form}: no wake-up after {next} and {steady} messages");
            let taken = take(&feed);
            in_vain += usize::from(taken.is_empty());
            for payload in taken {
                if payload.starts_with(b"{") {
                    steady += 1;
                } else {
                    assert_eq!(payload, next.to_string().as_bytes(), "{form}");
                    next += 1;
                }
            }
        }
        // At most one for each event that came while the queue was emptied, and the lifecycle events.
        assert!(in_vain <= steady + 100, "{form}: woken {in_vain} times in vain");
    }
}

#[test]
fn several_threads_may_wait_for_it() {
    const MESSAGES: usize = 20_000;
    let flood = Flood::of_texts((0..MESSAGES).map(|n| n.to_string())).count(MESSAGES as u64);
    let lab = Lab::start(Script::new().flood(flood)).unwrap();
    let feed = open(&lab, r#", "queue": {"messages": 64}"#);
    let (fd, seen, left) = (fd(&feed), Mutex::new(BTreeSet::new()), AtomicUsize::new(MESSAGES));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut silence = 0;
                while left.load(Ordering::SeqCst) > 0 {
                    // It ends a moment after another thread took the last one.
                    if !readable(fd, 100) {
                        silence += 1;
                        assert!(silence < 100, "no wake-up, {} left", left.load(Ordering::SeqCst));
                        continue;
                    }
                    while let Ok(event) = feed.next(0) {
                        if let Some(payload) = event.payload() {
                            assert!(seen.lock().unwrap().insert(payload));
                            left.fetch_sub(1, Ordering::SeqCst);
                        }
                    }
                }
            });
        }
    });
    assert_eq!(seen.into_inner().unwrap().len(), MESSAGES);
}

#[test]
fn there_is_none_with_a_callback_and_before_the_start() {
    unsafe extern "C-unwind" fn hear(_: *mut std::ffi::c_void, _: *const livefeed_event) {}
    let feed = Handle::prepare(&fast(r#", "url": "ws://127.0.0.1:9/""#)).unwrap();
    let mut fd = -7;
    assert_eq!(unsafe { livefeed_fd(feed.0, &mut fd) }, LIVEFEED_NOT_STARTED);
    ok(unsafe { livefeed_set_callback(feed.0, Some(hear), null_mut()) }).unwrap();
    ok(unsafe { livefeed_start(feed.0) }).unwrap();
    assert_eq!(unsafe { livefeed_fd(feed.0, &mut fd) }, LIVEFEED_TAKEN);
    assert_eq!(fd, -7);
}
