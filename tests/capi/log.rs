//! The log callback. It is that of the process, so that these tests take turns, and look only at what they logged.

use crate::ffi::*;
use crate::provider::{fast, started};
use livefeed::capi::*;
use livefeed::lab::{Command, Lab, Script};
use std::ffi::{c_char, c_void};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

static TURN: Mutex<()> = Mutex::new(());
const CEILING: Duration = Duration::from_secs(10);

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

type Then = Box<dyn Fn(&str) + Send + Sync>;

#[derive(Default)]
struct Heard {
    records: Mutex<Vec<(i32, String, String)>>,
    /// What the callback does besides.
    then: Option<Then>,
}

unsafe extern "C-unwind" fn hear(
    userdata: *mut c_void,
    level: i32,
    target: *const c_char,
    target_length: usize,
    text: *const c_char,
    text_length: usize,
) {
    let heard = unsafe { &*userdata.cast::<Heard>() };
    let read = |text: *const c_char, length: usize| {
        let (read, end) = unsafe { (bytes(text.cast(), length), *text.add(length)) };
        assert_eq!(end, 0, "a NUL ends it");
        String::from_utf8(read.to_vec()).unwrap()
    };
    let (target, text) = (read(target, target_length), read(text, text_length));
    heard.records.lock().unwrap().push((level, target, text.clone()));
    if let Some(then) = &heard.then {
        then(&text);
    }
}

impl Heard {
    fn then(then: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { then: Some(Box::new(then)), ..Self::default() }
    }

    fn set(&self, level: i32) {
        let userdata = (&raw const *self).cast_mut().cast();
        ok(unsafe { livefeed_set_log_callback(level, Some(hear), userdata) }).unwrap();
    }

    /// What was heard that has this in it.
    fn with(&self, part: &str) -> Vec<(i32, String, String)> {
        let records = self.records.lock().unwrap();
        records.iter().filter(|(_, _, text)| text.contains(part)).cloned().collect()
    }
}

fn unset() {
    ok(unsafe { livefeed_set_log_callback(LIVEFEED_LOG_TRACE, None, null_mut()) }).unwrap();
}

#[track_caller]
fn until(mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + CEILING;
    while !done() {
        assert!(Instant::now() < deadline, "it took too long");
        std::thread::yield_now();
    }
}

#[test]
fn it_is_told_what_livefeed_logs_up_to_its_level_and_nothing_else() {
    let _turn = turn();
    let heard = Heard::default();
    heard.set(LIVEFEED_LOG_INFO);
    ::log::info!(target: "livefeed", "k7 plain");
    ::log::info!(target: "livefeed::transport", "k7 part\0of it");
    ::log::debug!(target: "livefeed", "k7 too deep");
    for foreign in ["tungstenite::protocol", "livefeedx", "my::livefeed", ""] {
        ::log::error!(target: foreign, "k7 foreign");
    }
    let own = |level, target: &str, text: &str| (level, target.to_owned(), text.to_owned());
    assert_eq!(
        heard.with("k7"),
        [
            own(LIVEFEED_LOG_INFO, "livefeed", "k7 plain"),
            own(LIVEFEED_LOG_INFO, "livefeed::transport", "k7 part of it")
        ]
    );
    heard.set(LIVEFEED_LOG_TRACE);
    ::log::trace!(target: "livefeed", "k7 deep");
    assert_eq!(heard.with("k7 deep").len(), 1);
    for level in [-1, 6, i32::MAX, i32::MIN] {
        assert_eq!(unsafe { livefeed_set_log_callback(level, Some(hear), null_mut()) }, LIVEFEED_CONFIG);
    }
    ::log::trace!(target: "livefeed", "k7 still");
    assert_eq!(heard.with("k7 still").len(), 1, "a failure changes nothing");
    heard.set(LIVEFEED_LOG_OFF);
    ::log::error!(target: "livefeed", "k7 off");
    heard.set(LIVEFEED_LOG_ERROR);
    unset();
    ::log::error!(target: "livefeed", "k7 off");
    assert!(heard.with("k7 off").is_empty());
}

#[test]
fn a_feed_s_life_is_told_without_its_secrets() {
    let _turn = turn();
    let lab = Lab::start(Script::new().send("hunter2 from the server")).unwrap();
    let heard = Heard::default();
    heard.set(LIVEFEED_LOG_TRACE);
    let url = lab.url();
    let asking = started(
        &fast(
            r#", "name": "k8", "login": [{"send": {"t": "${token}"}}],
                "subscriptions": [{"id": "a", "subscribe": {"t": "${token}"}}]"#,
        ),
        move |_, target| unsafe {
            let url = format!("{url}?key=hunter2");
            ok(livefeed_target_set_url(target, url.as_ptr().cast(), url.len())).unwrap();
            let (name, value) = (c"x-key".as_ptr(), c"\"hunter2\"".as_ptr());
            ok(livefeed_target_add_header(target, name, usize::MAX, value, usize::MAX)).unwrap();
            let name = c"token".as_ptr();
            ok(livefeed_target_set_variable(target, name, usize::MAX, value, usize::MAX)).unwrap();
            LIVEFEED_PROVIDER_OK
        },
    );
    asking.handle.until(LIVEFEED_EVENT_MESSAGE);
    lab.control().all(Command::Close(4001, "bye".into()));
    asking.handle.until(LIVEFEED_EVENT_DISCONNECTED);
    assert_eq!(asking.handle.close(), LIVEFEED_OK);
    until(|| !heard.with("k8: closed").is_empty());
    unset();
    for expected in ["k8: connected", "4001", "k8: closed"] {
        assert!(!heard.with(expected).is_empty(), "{expected}");
    }
    assert!(heard.with("hunter2").is_empty(), "{:?}", heard.with("hunter2"));
}

#[test]
fn what_the_callback_logs_itself_is_not_told() {
    let _turn = turn();
    let heard = Heard::then(|text| ::log::error!(target: "livefeed", "{text} nested"));
    heard.set(LIVEFEED_LOG_TRACE);
    ::log::info!(target: "livefeed", "k9 once");
    ::log::info!(target: "livefeed", "k9 twice");
    unset();
    assert_eq!(heard.with("k9").len(), 2);
}

#[test]
fn a_callback_that_panics_stops_nothing() {
    let _turn = turn();
    let lab = Lab::start(Script::new()).unwrap();
    let heard = Heard::then(|text| assert!(!text.contains("k10"), "a host that panics"));
    heard.set(LIVEFEED_LOG_TRACE);
    let feed = Handle::open(&fast(&format!(r#", "name": "k10", "url": "{}""#, lab.url()))).unwrap();
    feed.until(LIVEFEED_EVENT_CONNECTED);
    assert_eq!(feed.close(), LIVEFEED_OK);
    feed.until(LIVEFEED_EVENT_CLOSED);
    unset();
    assert!(heard.with("k10").len() >= 2, "it was told again after it panicked");
}

#[test]
fn it_may_be_replaced_and_ended_from_inside() {
    let _turn = turn();
    let second: &'static Heard = Box::leak(Box::default());
    let first = Heard::then(|text| {
        if text.contains("k11") {
            second.set(LIVEFEED_LOG_TRACE)
        }
    });
    first.set(LIVEFEED_LOG_TRACE);
    ::log::info!(target: "livefeed", "k11 one");
    ::log::info!(target: "livefeed", "k11 two");
    assert_eq!((first.with("k11").len(), second.with("k11").len()), (1, 1));
    let third = Heard::then(|_| unset());
    third.set(LIVEFEED_LOG_TRACE);
    ::log::info!(target: "livefeed", "k11 three");
    ::log::info!(target: "livefeed", "k11 four");
    unset();
    assert!(third.with("k11").len() <= 1);
    assert_eq!(second.with("k11").len(), 1);
}

/// Threads log all the time while the callback is replaced; the old one must not run once that has returned.
#[test]
fn the_one_before_does_not_run_any_more_when_the_call_has_returned() {
    static ENTERED: AtomicUsize = AtomicUsize::new(0);
    static LATE: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C-unwind" fn look(
        userdata: *mut c_void,
        _: i32,
        _: *const c_char,
        _: usize,
        _: *const c_char,
        _: usize,
    ) {
        let alive = unsafe { &*userdata.cast::<AtomicBool>() };
        for _ in 0..20 {
            // A panic here would be heard by nobody.
            LATE.fetch_add(usize::from(!alive.load(Ordering::SeqCst)), Ordering::SeqCst);
            std::thread::yield_now();
        }
        ENTERED.fetch_add(1, Ordering::SeqCst);
    }
    let _turn = turn();
    let stop = AtomicBool::new(false);
    // Kept, so that a late look finds what it looks for.
    let all: Vec<AtomicBool> = (0..200).map(|_| AtomicBool::new(true)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    ::log::error!(target: "livefeed", "k12");
                }
            });
        }
        let mut before: Option<&AtomicBool> = None;
        for alive in &all {
            let userdata = (&raw const *alive).cast_mut().cast();
            ok(unsafe { livefeed_set_log_callback(LIVEFEED_LOG_ERROR, Some(look), userdata) }).unwrap();
            if let Some(before) = before.replace(alive) {
                before.store(false, Ordering::SeqCst);
            }
            let so_far = ENTERED.load(Ordering::SeqCst);
            until(|| ENTERED.load(Ordering::SeqCst) > so_far);
        }
        unset();
        before.unwrap().store(false, Ordering::SeqCst);
        let at_the_end = ENTERED.load(Ordering::SeqCst);
        std::thread::yield_now();
        assert_eq!(ENTERED.load(Ordering::SeqCst), at_the_end);
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(LATE.load(Ordering::SeqCst), 0, "it ran though it was replaced");
}

#[test]
fn it_may_free_the_feed_that_it_hears_of() {
    let _turn = turn();
    let lab = Lab::start(Script::new()).unwrap();
    let feed: &'static AtomicPtr<livefeed_feed> = Box::leak(Box::default());
    let freed: &'static AtomicBool = Box::leak(Box::default());
    let heard = Heard::then(move |text| {
        if text.contains("k13: connected") {
            let feed = feed.swap(null_mut(), Ordering::SeqCst);
            unsafe {
                assert_eq!(livefeed_close(feed, -1), LIVEFEED_WOULD_DEADLOCK);
                livefeed_free(feed);
            }
            freed.store(true, Ordering::SeqCst);
        }
    });
    heard.set(LIVEFEED_LOG_TRACE);
    let handle = Handle::prepare(&fast(&format!(r#", "name": "k13", "url": "{}""#, lab.url()))).unwrap();
    feed.store(handle.0, Ordering::SeqCst);
    ok(unsafe { livefeed_start(handle.0) }).unwrap();
    std::mem::forget(handle);
    until(|| freed.load(Ordering::SeqCst));
    until(|| lab.live() == 0);
    unset();
}
