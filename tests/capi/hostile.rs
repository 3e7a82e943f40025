//! What callers get wrong: NULL everywhere, texts that are none, pointers to something else, calls after the end, from
//! many threads, from inside callbacks, and after a fork.

use crate::ffi::*;
use crate::provider::{fast, started};
use livefeed::capi::*;
use livefeed::lab::{Command, Flood, Lab, Script};
use std::collections::BTreeSet;
use std::ffi::{c_char, c_void};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const CEILING: Duration = Duration::from_secs(10);

/// What a call is given, all of it right.
struct World {
    feed: *mut livefeed_feed,
    fresh: *mut livefeed_feed,
    event: *mut livefeed_event,
    batch: *mut livefeed_batch,
    attempt: *const livefeed_attempt,
    target: *mut livefeed_target,
    out: [usize; ROOM],
}

/// So much is written at most, in words: a view.
const ROOM: usize = 8;

const UNTOUCHED: usize = 0x5A5A_1234;

/// Hands out what a call is given, with one of the pointers wrong.
struct Hands {
    /// Which of them, from 0.
    wrong: usize,
    how: Wrong,
    given: usize,
    /// Which of them are handles, and which are texts.
    handles: Vec<usize>,
    texts: Vec<usize>,
}

#[derive(Clone, Copy)]
enum Wrong {
    Null,
    /// In place of a handle.
    Other(*mut c_void),
    /// In place of a text.
    Text(*const u8),
}

impl Hands {
    fn new(wrong: usize, how: Wrong) -> Self {
        Self { wrong, how, given: 0, handles: Vec::new(), texts: Vec::new() }
    }

    fn any(&mut self) -> Option<*mut c_void> {
        let at = self.given;
        self.given += 1;
        (at == self.wrong).then_some(match self.how {
            Wrong::Null => null_mut(),
            Wrong::Other(other) => other,
            Wrong::Text(text) => text.cast_mut().cast(),
        })
    }

    fn handle<T>(&mut self, right: *const T) -> *mut T {
        self.handles.push(self.given);
        self.any().map_or(right.cast_mut(), <*mut c_void>::cast)
    }

    /// A place for an output.
    fn out<T>(&mut self, right: &mut usize) -> *mut T {
        assert!(size_of::<T>() <= size_of::<usize>());
        self.any().map_or((&raw mut *right).cast(), <*mut c_void>::cast)
    }

    /// A place for a view.
    fn view(&mut self, right: &mut [usize; ROOM]) -> *mut livefeed_view {
        assert!(size_of::<livefeed_view>() <= size_of_val(right));
        self.any().map_or((&raw mut *right).cast(), <*mut c_void>::cast)
    }

    /// Of four bytes.
    fn text<T>(&mut self) -> *const T {
        self.texts.push(self.given);
        self.any().map_or(c"null".as_ptr().cast(), |wrong| wrong.cast_const().cast())
    }

    fn callback<F>(&mut self, right: F) -> Option<F> {
        if self.any().is_some() { None } else { Some(right) }
    }
}

unsafe extern "C-unwind" fn no_event(_: *mut c_void, _: *const livefeed_event) {}

unsafe extern "C-unwind" fn no_target(
    _: *mut c_void,
    _: *const livefeed_attempt,
    _: *mut livefeed_target,
) -> i32 {
    LIVEFEED_PROVIDER_FATAL
}

/// A function, what it returns to those who give it NULL or worse, and how it is called.
struct Row {
    name: &'static str,
    /// `None`: it returns a result code.
    otherwise: Option<i64>,
    call: fn(&mut World, &mut Hands) -> i64,
}

macro_rules! rows {
    ($($name:ident($world:ident, $hands:ident) $(or $otherwise:literal)?: $($argument:expr),+;)+) => {
        vec![$(Row {
            name: stringify!($name),
            otherwise: rows!(@otherwise $($otherwise)?),
            call: |$world, $hands| rows!(@call $name $(or $otherwise)? ($($argument),+)),
        }),+]
    };
    (@otherwise) => { None };
    (@otherwise $otherwise:literal) => { Some($otherwise) };
    (@call $name:ident $(or $otherwise:literal)? ($($argument:expr),+)) => {
        Said::said(unsafe { $name($($argument),+) })
    };
}

/// Whatever a function returns, as one type.
trait Said {
    fn said(self) -> i64;
}

impl Said for () {
    fn said(self) -> i64 {
        0
    }
}

impl Said for bool {
    fn said(self) -> i64 {
        self.into()
    }
}

macro_rules! said {
    ($($number:ty),+) => {
        $(impl Said for $number {
            fn said(self) -> i64 {
                i64::try_from(self).unwrap()
            }
        })+
    };
}

said!(i32, u32, i64, u64, usize);

fn rows() -> Vec<Row> {
    rows! {
        livefeed_prepare(w, h): h.text(), 4, h.out(&mut w.out[0]);
        livefeed_start(w, h): h.handle(w.feed);
        livefeed_open(w, h): h.text(), 4, h.out(&mut w.out[0]);
        livefeed_wait_connected(w, h): h.handle(w.feed), 0;
        livefeed_wait_fresh(w, h): h.handle(w.feed), 0;
        livefeed_reconnect(w, h): h.handle(w.feed);
        livefeed_health_json(w, h): h.handle(w.feed), h.out(&mut w.out[0]), h.out(&mut w.out[1]);
        livefeed_string_free(_w, h) or 0: h.out(&mut 0);
        livefeed_close(w, h): h.handle(w.feed), 0;
        livefeed_free(w, h) or 0: h.handle(w.fresh);
        livefeed_set_callback(w, h): h.handle(w.fresh), h.callback(no_event as _), null_mut();
        livefeed_next(w, h): h.handle(w.feed), 0, h.out(&mut w.out[0]);
        livefeed_event_free(w, h) or 0: h.handle(w.event);
        livefeed_event_clone(w, h): h.handle(w.event), h.out(&mut w.out[0]);
        livefeed_next_batch(w, h): h.handle(w.feed), 0, 0, h.out(&mut w.out[0]);
        livefeed_batch_views(w, h): h.handle(w.batch), h.out(&mut w.out[0]), h.out(&mut w.out[1]);
        livefeed_batch_free(w, h) or 0: h.handle(w.batch);
        livefeed_fd(w, h): h.handle(w.feed), h.out(&mut w.out[0]);
        livefeed_event_kind(w, h) or 0: h.handle(w.event);
        livefeed_event_payload(w, h): h.handle(w.event), h.out(&mut w.out[0]), h.out(&mut w.out[1]);
        livefeed_event_view(w, h): h.handle(w.event), h.view(&mut w.out);
        livefeed_event_is_binary(w, h) or 0: h.handle(w.event);
        livefeed_event_epoch(w, h) or 0: h.handle(w.event);
        livefeed_event_time_ms(w, h) or 0: h.handle(w.event);
        livefeed_event_age_ms(w, h) or -1: h.handle(w.event);
        livefeed_event_subscription_count(w, h) or 0: h.handle(w.event);
        livefeed_event_subscription(w, h):
            h.handle(w.event), 0, h.out(&mut w.out[0]), h.out(&mut w.out[1]);
        livefeed_event_json(w, h): h.handle(w.event), h.out(&mut w.out[0]), h.out(&mut w.out[1]);
        livefeed_send(w, h): h.handle(w.feed), LIVEFEED_TEXT, h.text(), 4;
        livefeed_send_wait(w, h): h.handle(w.feed), LIVEFEED_TEXT, h.text(), 4, 0;
        livefeed_subscribe(w, h): h.handle(w.feed), h.text(), 4;
        livefeed_unsubscribe(w, h): h.handle(w.feed), h.text(), 4;
        livefeed_request(w, h): h.handle(w.feed), h.text(), 4, h.text(), 4, 0, h.out(&mut w.out[0]);
        livefeed_set_token_provider(w, h): h.handle(w.fresh), h.callback(no_target as _), null_mut();
        livefeed_attempt_number(w, h) or 0: h.handle(w.attempt);
        livefeed_attempt_epoch(w, h) or 0: h.handle(w.attempt);
        livefeed_attempt_endpoint(w, h) or 0: h.handle(w.attempt);
        livefeed_attempt_previous(w, h): h.handle(w.attempt), h.out(&mut w.out[0]), h.out(&mut w.out[1]);
        livefeed_target_set_url(w, h): h.handle(w.target), h.text(), 4;
        livefeed_target_add_header(w, h): h.handle(w.target), h.text(), 4, h.text(), 4;
        livefeed_target_add_subprotocol(w, h): h.handle(w.target), h.text(), 4;
        livefeed_target_set_variable(w, h): h.handle(w.target), h.text(), 4, h.text(), 4;
        livefeed_target_set_error(w, h): h.handle(w.target), h.text(), 4;
    }
}

/// These need no pointer; the log callback may be NULL.
const WITHOUT: &[&str] = &[
    "livefeed_error_message",
    "livefeed_result_name",
    "livefeed_version",
    "livefeed_abi_version",
    "livefeed_set_log_callback",
];

/// The functions of the header, each with how many pointers it is given, `userdata` apart.
fn declared() -> Vec<(String, usize)> {
    let header = include_str!("../../include/livefeed.h");
    let code: Vec<&str> = header
        .lines()
        .filter(|line| !line.trim_start().starts_with('*') && !line.trim_start().starts_with("/*"))
        .collect();
    let code = code.join(" ");
    let mut found = Vec::new();
    for statement in code.split(';').filter(|statement| !statement.contains("typedef")) {
        let Some((before, parameters)) = statement.rsplit_once('(') else { continue };
        let Some(name) = before.split([' ', '*']).next_back().filter(|name| name.starts_with("livefeed_"))
        else {
            continue;
        };
        let is_callback = |p: &str| p.contains("livefeed_callback") || p.contains("livefeed_token_provider");
        let pointers = parameters
            .split(',')
            .filter(|p| (p.contains('*') && !p.contains("*userdata")) || is_callback(p))
            .count();
        found.push((name.to_owned(), pointers));
    }
    found
}

#[test]
fn no_function_and_no_pointer_is_missing_in_the_table() {
    let declared = declared();
    assert!(declared.len() > 40, "{declared:?}");
    let rows = rows();
    for (name, pointers) in &declared {
        if WITHOUT.contains(&name.as_str()) {
            continue;
        }
        let row = rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("{name} has no row"));
        in_world(|world| {
            let mut hands = Hands::new(0, Wrong::Null);
            (row.call)(world, &mut hands);
            assert_eq!(hands.given, *pointers, "{name}");
        });
    }
    assert_eq!(rows.len() + WITHOUT.len(), declared.len());
}

/// Runs something in a provider, where all kinds of pointers are right.
fn in_world(test: impl FnOnce(&mut World) + Send) {
    let lab = Lab::start(Script::new().send("null")).unwrap();
    let feed = Handle::open(&fast(&format!(r#", "url": "{}""#, lab.url()))).unwrap();
    let event = feed.until(LIVEFEED_EVENT_MESSAGE);
    lab.control().all(Command::Send("two".into()));
    let mut batch = null_mut();
    ok(unsafe { livefeed_next_batch(feed.0, 0, CEILING_MS, &mut batch) }).unwrap();
    let fresh = Handle::prepare(&fast("")).unwrap();
    // The provider's call is held until the test is through.
    let (told, hear) = channel::<(usize, usize)>();
    let (done, wait) = channel::<()>();
    let (told, wait) = (Mutex::new(told), Mutex::new(wait));
    let asking = started(&fast(""), move |attempt, target| {
        let _ = told.lock().unwrap().send((attempt as usize, target as usize));
        let _ = wait.lock().unwrap().recv();
        LIVEFEED_PROVIDER_FATAL
    });
    let done = done; // goes before the feed does, if the test fails
    let (attempt, target) = hear.recv_timeout(CEILING).unwrap();
    let mut world = World {
        feed: feed.0,
        fresh: fresh.0,
        event: event.0,
        batch,
        attempt: attempt as *const _,
        target: target as *mut _,
        out: [UNTOUCHED; ROOM],
    };
    test(&mut world);
    // All is as it was.
    assert_eq!(world.out, [UNTOUCHED; ROOM]);
    assert_eq!(event.payload().unwrap(), b"null");
    let (mut views, mut count) = (null(), 0);
    ok(unsafe { livefeed_batch_views(batch, &mut views, &mut count) }).unwrap();
    unsafe { livefeed_batch_free(batch) };
    assert!(count > 0);
    drop(done);
    drop(asking);
    assert_eq!(feed.close(), LIVEFEED_OK);
    assert_eq!(unsafe { livefeed_close(fresh.0, 0) }, LIVEFEED_OK, "it has nothing to close");
}

#[track_caller]
fn check(row: &Row, world: &mut World, hands: &mut Hands, expected: livefeed_result) {
    let at = hands.wrong;
    let said = (row.call)(world, hands);
    match row.otherwise {
        Some(otherwise) => assert_eq!(said, otherwise, "{}, pointer {at}", row.name),
        None => {
            let said = name(said as i32);
            assert_eq!(said, name(expected), "{}, pointer {at}: {}", row.name, message());
            assert!(!message().is_empty());
        }
    }
    assert_eq!(world.out, [UNTOUCHED; ROOM], "{}, pointer {at}: an output was touched", row.name);
}

#[test]
fn null_in_every_parameter_of_every_function_is_refused() {
    in_world(|world| {
        let mut refused = 0;
        for row in rows() {
            let (mut at, mut pointers) = (0, 1);
            while at < pointers {
                let mut hands = Hands::new(at, Wrong::Null);
                check(&row, world, &mut hands, LIVEFEED_NULL_POINTER);
                pointers = hands.given;
                (at, refused) = (at + 1, refused + 1);
            }
        }
        assert!(refused > 70, "{refused}");
    });
}

/// How many pointers of a row a closure picks, found by a call that fails.
fn picked(row: &Row, world: &mut World, pick: impl Fn(&Hands) -> Vec<usize>) -> Vec<usize> {
    let mut hands = Hands::new(0, Wrong::Null);
    (row.call)(world, &mut hands);
    pick(&hands)
}

#[test]
fn a_handle_to_something_else_is_refused() {
    in_world(|world| {
        let zeros = vec![0_u64; 64];
        let letters = vec![u64::from_ne_bytes(*b"livefeed"); 64];
        let others: [*mut c_void; 6] = [
            zeros.as_ptr().cast_mut().cast(),
            letters.as_ptr().cast_mut().cast(),
            zeros.as_ptr().cast::<u8>().wrapping_add(1).cast_mut().cast(),
            world.feed.cast::<u8>().wrapping_add(1).cast(),
            world.feed.cast(),
            world.event.cast(),
        ];
        for row in rows() {
            for at in picked(&row, world, |hands| hands.handles.clone()) {
                for other in others {
                    let mut own = [world.feed.cast(), world.fresh.cast::<c_void>()].contains(&other);
                    own &= !row.name.starts_with("livefeed_event") && !row.name.starts_with("livefeed_batch");
                    own &=
                        !row.name.starts_with("livefeed_attempt") && !row.name.starts_with("livefeed_target");
                    own |= other == world.event.cast() && row.name.starts_with("livefeed_event");
                    if !own {
                        check(&row, world, &mut Hands::new(at, Wrong::Other(other)), LIVEFEED_INVALID_HANDLE);
                    }
                }
            }
        }
        assert!(zeros.iter().all(|word| *word == 0), "nothing is written to what is no handle");
    });
}

#[test]
fn what_is_not_utf_8_is_refused() {
    in_world(|world| {
        let mut refused = 0;
        for row in rows() {
            for at in picked(&row, world, |hands| hands.texts.clone()) {
                for text in [b"\xff\xfe\xfd\xfc", b"ab\xc3\x28", b"\xed\xa0\x80a", b"abc\xe2"] {
                    let mut hands = Hands::new(at, Wrong::Text(text.as_ptr()));
                    check(&row, world, &mut hands, LIVEFEED_INVALID_UTF8);
                    refused += 1;
                }
            }
        }
        assert!(refused > 50, "{refused}");
    });
}

#[test]
fn json_that_is_none_or_says_nonsense_is_refused_and_named() {
    let mut feed = null_mut();
    type Open = unsafe extern "C" fn(*const c_char, usize, *mut *mut livefeed_feed) -> livefeed_result;
    let both: [(bool, Open); 2] = [(true, livefeed_prepare), (false, livefeed_open)];
    for (config, named) in [
        ("", "configuration"),
        ("{", "configuration"),
        ("null", "configuration"),
        ("[]", "configuration"),
        (r#"{"url": "ws://h/"} x"#, "configuration"),
        (r#"{"url": "ws://h/", "stale_aftr": "1s"}"#, "stale_aftr"),
        (r#"{"url": "ws://h/", "stale_after": 5}"#, "stale_after"),
        (r#"{"url": "ws://h/", "subscriptions": [{"id": 1}]}"#, "subscriptions[0].id"),
        ("{\"url\": \"ws://h/\", \"name\": \"\0\"}", "configuration"),
        ("http://h/", "configuration"),
        ("ws://", "url"),
    ] {
        for (prepares, open) in both {
            let result = unsafe { open(config.as_ptr().cast::<c_char>(), config.len(), &mut feed) };
            if result == LIVEFEED_OK && prepares {
                assert_eq!(unsafe { livefeed_start(feed) }, LIVEFEED_CONFIG, "{config}");
                unsafe { livefeed_free(feed) };
                feed = null_mut();
            } else {
                assert_eq!(name(result), "LIVEFEED_CONFIG", "{config}");
                assert!(feed.is_null(), "{config}");
            }
            assert!(message().contains(named), "{config}: {}", message());
        }
    }
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let lab = Lab::start(Script::new()).unwrap();
    let feed = Handle::open(&lab.url()).unwrap();
    let mut event = null_mut();
    for json in ["", "{", "{}", "nul", r#"{"id": 5}"#, r#"{"id": "a", "subscrib": 1}"#, deep.as_str()] {
        let text = json.as_ptr().cast();
        let result = unsafe { livefeed_subscribe(feed.0, text, json.len()) };
        assert_eq!(name(result), "LIVEFEED_CONFIG", "{json:.40}");
        assert!(message().contains("subscription"), "{}", message());
        let (right, rest) = (c"{\"text\": \"a\"}".as_ptr(), usize::MAX);
        let result = unsafe { livefeed_request(feed.0, right, rest, text, json.len(), 0, &mut event) };
        assert_eq!(name(result), "LIVEFEED_CONFIG", "{json:.40}");
        assert!(event.is_null());
    }
    for kind in [0, 3, -1, i32::MAX] {
        assert_eq!(unsafe { livefeed_send(feed.0, kind, b"x".as_ptr().cast(), 1) }, LIVEFEED_CONFIG);
    }
    // A length that is none.
    let text = c"x".as_ptr();
    assert_eq!(unsafe { livefeed_unsubscribe(feed.0, text, usize::MAX - 1) }, LIVEFEED_CONFIG);
    assert_eq!(unsafe { livefeed_unsubscribe(feed.0, text, usize::MAX) }, LIVEFEED_UNKNOWN_SUBSCRIPTION);
}

#[test]
fn after_closing_everything_is_defined_and_closing_twice_is_fine() {
    let lab = Lab::start(Script::new().send("one")).unwrap();
    let config = format!(r#", "url": "{}", "subscriptions": [{{"id": "a"}}]"#, lab.url());
    let feed = Handle::open(&fast(&config)).unwrap();
    ok(unsafe { livefeed_wait_fresh(feed.0, CEILING_MS) }).unwrap();
    let closes: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| feed.close())).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(closes, [LIVEFEED_OK; 8]);
    let mut event = null_mut();
    let results = unsafe {
        let (json, id) = (c"{\"id\": \"b\"}".as_ptr(), c"a".as_ptr());
        let (question, matcher) = (c"1".as_ptr(), c"{\"text\": \"a\"}".as_ptr());
        [
            livefeed_send(feed.0, LIVEFEED_BINARY, null(), 0),
            livefeed_send_wait(feed.0, LIVEFEED_TEXT, null(), 0, -1),
            livefeed_subscribe(feed.0, json, usize::MAX),
            livefeed_request(feed.0, question, usize::MAX, matcher, usize::MAX, -1, &mut event),
            livefeed_wait_connected(feed.0, -1),
            livefeed_wait_fresh(feed.0, -1),
            livefeed_reconnect(feed.0),
            livefeed_unsubscribe(feed.0, id, usize::MAX),
            livefeed_start(feed.0),
            livefeed_close(feed.0, 0),
        ]
        .map(name)
    };
    assert_eq!(results[..8], ["LIVEFEED_CLOSED"; 8]);
    assert_eq!(results[8..], ["LIVEFEED_ALREADY_STARTED", "LIVEFEED_OK"]);
    assert_eq!(feed.health()["state"], "closed");
    // What was queued is still there.
    assert_eq!(feed.until(LIVEFEED_EVENT_MESSAGE).payload().unwrap(), b"one");
    feed.until(LIVEFEED_EVENT_CLOSED);
    for timeout in [0, 1, -1] {
        assert_eq!(feed.next(timeout).unwrap_err(), LIVEFEED_CLOSED);
    }
    assert_eq!(feed.close(), LIVEFEED_OK);
}

#[test]
fn before_the_start_all_says_so() {
    let feed = Handle::prepare(&fast(r#", "url": "ws://127.0.0.1:9/""#)).unwrap();
    assert_eq!(feed.next(-1).unwrap_err(), LIVEFEED_NOT_STARTED);
    assert!(message().contains("livefeed_start"), "{}", message());
    assert_eq!(feed.close(), LIVEFEED_OK, "nothing is there to close");
    assert_eq!(unsafe { livefeed_reconnect(feed.0) }, LIVEFEED_NOT_STARTED);
    let results: Vec<_> = std::thread::scope(|scope| {
        let all: Vec<_> = (0..8).map(|_| scope.spawn(|| unsafe { livefeed_start({ &feed }.0) })).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let count = |code| results.iter().filter(|result| **result == code).count();
    assert_eq!((count(LIVEFEED_OK), count(LIVEFEED_ALREADY_STARTED)), (1, 7));
}

#[test]
fn a_callback_that_panics_is_reported_and_the_feed_goes_on() {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    unsafe extern "C-unwind" fn panics(userdata: *mut c_void, event: *const livefeed_event) {
        let told = unsafe { &*userdata.cast::<Mutex<std::sync::mpsc::Sender<String>>>() };
        if unsafe { livefeed_event_kind(event) } == LIVEFEED_EVENT_ALERT {
            let _ = told.lock().unwrap().send(json(event).to_string());
        }
        CALLS.fetch_add(1, Ordering::SeqCst);
        panic!("a host that panics");
    }
    let lab = Lab::start(Script::new().send("one").send("two")).unwrap();
    let (told, hear) = channel::<String>();
    let told = Box::new(Mutex::new(told));
    let feed = Handle::prepare(&fast(&format!(r#", "url": "{}""#, lab.url()))).unwrap();
    ok(unsafe { livefeed_set_callback(feed.0, Some(panics), (&raw const *told).cast_mut().cast()) }).unwrap();
    ok(unsafe { livefeed_start(feed.0) }).unwrap();
    let alert = hear.recv_timeout(CEILING).unwrap();
    assert!(alert.contains("a host that panics"), "{alert}");
    ok(unsafe { livefeed_wait_fresh(feed.0, CEILING_MS) }).unwrap();
    assert_eq!(feed.close(), LIVEFEED_OK);
    assert!(CALLS.load(Ordering::SeqCst) >= 5);
    assert_eq!(feed.health()["messages"], 2);
}

/// The longest times there are, and the most negative, which mean for ever.
#[test]
fn no_timeout_is_too_long() {
    let lab = Lab::start(Script::new().react(|_| vec![Command::Send("answer".into())])).unwrap();
    for timeout in [i64::MAX, i64::MAX - 1, i64::MIN, -1] {
        let feed = Handle::open(&fast(&format!(r#", "url": "{}""#, lab.url()))).unwrap();
        let (mut event, mut batch) = (null_mut(), null_mut());
        let (question, matcher) = (c"1".as_ptr(), c"{\"text\": \"answer\"}".as_ptr());
        let results = unsafe {
            [
                livefeed_wait_connected(feed.0, timeout),
                livefeed_next_batch(feed.0, 0, timeout, &mut batch),
                livefeed_send_wait(feed.0, LIVEFEED_TEXT, b"x".as_ptr().cast(), 1, timeout),
                livefeed_wait_fresh(feed.0, timeout),
                livefeed_next(feed.0, timeout, &mut event),
                livefeed_request(feed.0, question, usize::MAX, matcher, usize::MAX, timeout, &mut null_mut()),
                livefeed_close(feed.0, timeout),
            ]
        };
        assert_eq!(results.map(name), ["LIVEFEED_OK"; 7], "{timeout}: {}", message());
        unsafe {
            livefeed_event_free(event);
            livefeed_batch_free(batch);
        }
    }
}

#[test]
fn a_provider_that_does_not_return_holds_up_closing_and_no_more() {
    let (inside, is_inside) = channel::<()>();
    let (go, gone) = channel::<()>();
    let (inside, gone) = (Mutex::new(inside), Mutex::new(gone));
    let config = fast(r#", "url": "ws://127.0.0.1:9/", "alerts": {"down": "100ms"}"#);
    let asking = started(&config, move |_, _| {
        inside.lock().unwrap().send(()).unwrap();
        let _ = gone.lock().unwrap().recv(); // until the test is over, however it ends
        LIVEFEED_PROVIDER_OK
    });
    let go = go; // goes before the feed does, if the test fails
    is_inside.recv_timeout(CEILING).unwrap();
    let feed = &asking.handle;
    assert_eq!(unsafe { livefeed_wait_connected(feed.0, 10) }, LIVEFEED_TIMEOUT);
    // The attempt is seen once it has an endpoint; till then the alert says that something is wrong.
    let alert = feed.next(CEILING_MS).unwrap();
    assert_eq!((alert.kind(), &alert.json()["kind"]), (LIVEFEED_EVENT_ALERT, &"down".into()));
    assert_eq!(feed.health()["state"], "connecting");
    for _ in 0..2 {
        assert_eq!(name(unsafe { livefeed_close(feed.0, 50) }), "LIVEFEED_TIMEOUT");
    }
    go.send(()).unwrap();
    assert_eq!(feed.close(), LIVEFEED_OK);
    feed.until(LIVEFEED_EVENT_CLOSED);
    assert_eq!(feed.next(-1).unwrap_err(), LIVEFEED_CLOSED);
}

#[test]
fn the_last_callback_that_was_set_counts() {
    unsafe extern "C-unwind" fn count(userdata: *mut c_void, _: *const livefeed_event) {
        unsafe { &*userdata.cast::<AtomicUsize>() }.fetch_add(1, Ordering::SeqCst);
    }
    let lab = Lab::start(Script::new().send("one")).unwrap();
    let heard = [AtomicUsize::new(0), AtomicUsize::new(0)];
    let feed = Handle::prepare(&fast(&format!(r#", "url": "{}""#, lab.url()))).unwrap();
    for heard in &heard {
        ok(unsafe { livefeed_set_callback(feed.0, Some(count), (&raw const *heard).cast_mut().cast()) })
            .unwrap();
    }
    ok(unsafe { livefeed_start(feed.0) }).unwrap();
    ok(unsafe { livefeed_wait_fresh(feed.0, CEILING_MS) }).unwrap();
    assert_eq!(feed.close(), LIVEFEED_OK);
    drop(feed);
    let heard = heard.map(AtomicUsize::into_inner);
    assert!(heard[0] == 0 && heard[1] >= 4, "{heard:?}");
}

/// Each event goes to one thread, and to one alone, whatever the others do.
#[test]
fn eight_threads_on_one_handle_lose_and_double_nothing() {
    const MESSAGES: usize = 20_000;
    let texts = (0..MESSAGES).map(|number| number.to_string());
    let flood = Flood::of_texts(texts).count(MESSAGES as u64);
    let lab = Lab::start(Script::new().flood(flood)).unwrap();
    let feed = Handle::open(&fast(&format!(r#", "url": "{}""#, lab.url()))).unwrap();
    let all = Mutex::new(Vec::new());
    let left = AtomicUsize::new(MESSAGES);
    let took = |payload: &[u8]| {
        all.lock().unwrap().push(std::str::from_utf8(payload).unwrap().parse::<usize>().unwrap());
        left.fetch_sub(1, Ordering::SeqCst);
    };
    let (feed, took, left) = (&feed, &took, &left);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(move || {
                loop {
                    match feed.next(-1) {
                        Ok(event) => event.payload().iter().for_each(|payload| took(payload)),
                        Err(result) => return assert_eq!(name(result), "LIVEFEED_CLOSED"),
                    }
                }
            });
        }
        for most in [0, 7, 100] {
            scope.spawn(move || {
                loop {
                    let (mut batch, mut views, mut count) = (null_mut(), null(), 0);
                    match unsafe { livefeed_next_batch(feed.0, most, -1, &mut batch) } {
                        LIVEFEED_OK => {}
                        result => return assert_eq!(name(result), "LIVEFEED_CLOSED"),
                    }
                    ok(unsafe { livefeed_batch_views(batch, &mut views, &mut count) }).unwrap();
                    assert!(count > 0 && (most == 0 || count <= most), "{count}");
                    for view in unsafe { std::slice::from_raw_parts(views, count) } {
                        if view.kind == LIVEFEED_EVENT_MESSAGE {
                            took(unsafe { bytes(view.data, view.length) });
                        }
                    }
                    unsafe { livefeed_batch_free(batch) };
                }
            });
        }
        let until_read = move |then: &dyn Fn()| {
            while left.load(Ordering::SeqCst) > 0 {
                then();
            }
        };
        scope.spawn(move || until_read(&|| drop(feed.health())));
        scope.spawn(move || {
            until_read(&|| unsafe {
                let json = c"{\"id\": \"x\"}".as_ptr();
                ok(livefeed_subscribe(feed.0, json, usize::MAX)).unwrap();
                ok(livefeed_unsubscribe(feed.0, c"x".as_ptr(), usize::MAX)).unwrap();
                std::thread::yield_now();
            });
        });
        scope.spawn(move || {
            until_read(&|| {
                let _ = unsafe { livefeed_send(feed.0, LIVEFEED_TEXT, b"x".as_ptr().cast(), 1) };
                std::thread::yield_now();
            });
            assert_eq!(feed.close(), LIVEFEED_OK);
        });
    });
    let all = all.into_inner().unwrap();
    assert_eq!((all.len(), all.into_iter().collect::<BTreeSet<_>>().len()), (MESSAGES, MESSAGES));
}

/// Where the system tells of this thread, if it does.
fn this_thread() -> Option<PathBuf> {
    Some(Path::new("/proc").join(std::fs::read_link("/proc/thread-self").ok()?).join("stat"))
}

/// Waits until a thread has been seen asleep some times in a row: it is where it waits, and not on its way there.
fn until_it_sleeps(thread: &Option<PathBuf>) {
    let deadline = Instant::now() + CEILING;
    let mut seen = 0;
    while seen < 5 {
        assert!(Instant::now() < deadline, "it does not wait");
        std::thread::park_timeout(Duration::from_millis(2));
        let Some(thread) = thread else {
            return std::thread::park_timeout(Duration::from_millis(200)); // the system does not tell
        };
        // Behind the name, which is in parentheses: proc(5).
        let told = std::fs::read_to_string(thread).unwrap();
        let asleep = told.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('S'));
        seen = if asleep { seen + 1 } else { 0 };
    }
}

#[test]
fn freeing_wakes_all_who_wait() {
    for _ in 0..20 {
        let lab = Lab::start(Script::new()).unwrap();
        let feed = Handle::open(&fast(&format!(r#", "url": "{}""#, lab.url()))).unwrap();
        feed.until(LIVEFEED_EVENT_CONNECTED);
        let raw = Arc::new(AtomicPtr::new(feed.0));
        let (at_it, wait_at_it) = channel();
        let waits: [fn(*mut livefeed_feed) -> livefeed_result; 5] = [
            |feed| unsafe { livefeed_next(feed, -1, &mut null_mut()) },
            |feed| unsafe { livefeed_next(feed, 3_600_000, &mut null_mut()) },
            |feed| unsafe { livefeed_next_batch(feed, 0, -1, &mut null_mut()) },
            |feed| unsafe { livefeed_wait_fresh(feed, -1) },
            |feed| unsafe {
                let (question, matcher) = (c"1".as_ptr(), c"{\"text\": \"a\"}".as_ptr());
                livefeed_request(feed, question, usize::MAX, matcher, usize::MAX, -1, &mut null_mut())
            },
        ];
        let threads: Vec<_> = waits
            .into_iter()
            .map(|wait| {
                let (raw, at_it) = (Arc::clone(&raw), at_it.clone());
                std::thread::spawn(move || {
                    let feed = raw.load(Ordering::SeqCst);
                    at_it.send(this_thread()).unwrap();
                    wait(feed)
                })
            })
            .collect();
        let waiting: Vec<_> = waits.iter().map(|_| wait_at_it.recv_timeout(CEILING).unwrap()).collect();
        lab.wait_for(|entry| matches!(entry.what, livefeed::lab::What::Received(_)), CEILING).unwrap();
        // No new call may begin once the feed is freed: each must be within its own by then.
        waiting.iter().for_each(until_it_sleeps);
        drop(feed);
        for thread in threads {
            assert_eq!(name(thread.join().unwrap()), "LIVEFEED_CLOSED");
        }
    }
}

/// Feeds that are freed at whatever moment, from outside, in a callback or in the provider: none hangs, and nothing runs
/// afterwards with what it was given.
#[test]
fn a_feed_may_be_freed_at_any_moment() {
    static LATE: AtomicUsize = AtomicUsize::new(0);
    #[derive(Default)]
    struct Own {
        feed: AtomicPtr<livefeed_feed>,
        freed: AtomicBool,
        calls: AtomicUsize,
        /// In which call it is freed.
        at: usize,
    }
    impl Own {
        fn free(&self) {
            let feed = self.feed.swap(null_mut(), Ordering::SeqCst);
            if !feed.is_null() {
                unsafe { livefeed_free(feed) }
                self.freed.store(true, Ordering::SeqCst);
            }
        }

        fn called(&self) {
            if self.calls.fetch_add(1, Ordering::SeqCst) + 1 == self.at {
                return self.free();
            }
            for _ in 0..20 {
                // A panic here would be heard by nobody.
                LATE.fetch_add(usize::from(self.freed.load(Ordering::SeqCst)), Ordering::SeqCst);
                std::thread::yield_now();
            }
        }
    }
    unsafe extern "C-unwind" fn hear(own: *mut c_void, event: *const livefeed_event) {
        unsafe { &*own.cast::<Own>() }.called();
        assert!(!json(event).is_null());
    }
    unsafe extern "C-unwind" fn ask(
        own: *mut c_void,
        _: *const livefeed_attempt,
        _: *mut livefeed_target,
    ) -> i32 {
        unsafe { &*own.cast::<Own>() }.called();
        LIVEFEED_PROVIDER_OK
    }
    let lab = Lab::start(Script::new().send("one").send("two").close(1000, "again")).unwrap();
    let config = fast(&format!(r#", "url": "{}""#, lab.url()));
    let config = &config;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            scope.spawn(move || {
                for round in 0..100 {
                    let at = round % 12;
                    // Kept, so that a late call finds what it looks for.
                    let own: &'static Own = Box::leak(Box::new(Own { at, ..Own::default() }));
                    let userdata = (&raw const *own).cast_mut().cast();
                    let feed = Handle::prepare(config).unwrap();
                    ok(unsafe { livefeed_set_callback(feed.0, Some(hear), userdata) }).unwrap();
                    ok(unsafe { livefeed_set_token_provider(feed.0, Some(ask), userdata) }).unwrap();
                    own.feed.store(feed.0, Ordering::SeqCst);
                    if round % 7 > 0 {
                        ok(unsafe { livefeed_start(feed.0) }).unwrap();
                    }
                    std::mem::forget(feed);
                    if at > 0 && round % 7 > 0 {
                        let deadline = Instant::now() + CEILING;
                        while !own.freed.load(Ordering::SeqCst) {
                            assert!(Instant::now() < deadline, "call {at} does not come");
                            std::thread::yield_now();
                        }
                    } else {
                        for _ in 0..(round * 37 + thread) % 200 {
                            std::thread::yield_now();
                        }
                        own.free();
                    }
                }
            });
        }
    });
    assert_eq!(LATE.load(Ordering::SeqCst), 0, "calls after it was freed");
}

#[cfg(unix)]
mod forked {
    use super::*;
    use std::ffi::c_int;

    unsafe extern "C" {
        fn fork() -> c_int;
        fn waitpid(child: c_int, status: *mut c_int, options: c_int) -> c_int;
        fn _exit(status: c_int) -> !;
        fn alarm(seconds: u32) -> u32;
    }

    /// In the child there is nothing but this thread, and any lock may be held.
    #[test]
    fn a_forked_child_is_told_so_and_the_parent_goes_on() {
        let lab = Lab::start(Script::new()).unwrap();
        let config = fast(&format!(r#", "url": "{}""#, lab.url()));
        let feed = Handle::open(&config).unwrap();
        let fresh = Handle::prepare(&config).unwrap();
        feed.until(LIVEFEED_EVENT_CONNECTED);
        let child = unsafe { fork() };
        assert!(child >= 0);
        if child == 0 {
            // SAFETY: nothing is called that needs more than this thread has.
            unsafe {
                alarm(10); // ends a child that waits for a lock
                let (mut event, mut batch, mut fd, mut length) = (null_mut(), null_mut(), -7, 0);
                let mut text = null_mut();
                let (feed, json) = (feed.0, c"{\"id\": \"a\"}".as_ptr());
                let results = [
                    livefeed_next(feed, -1, &mut event),
                    livefeed_next_batch(feed, 0, -1, &mut batch),
                    livefeed_fd(feed, &mut fd),
                    livefeed_send(feed, LIVEFEED_TEXT, b"x".as_ptr().cast(), 1),
                    livefeed_send_wait(feed, LIVEFEED_TEXT, b"x".as_ptr().cast(), 1, -1),
                    livefeed_subscribe(feed, json, usize::MAX),
                    livefeed_unsubscribe(feed, c"a".as_ptr(), usize::MAX),
                    livefeed_request(feed, json, usize::MAX, json, usize::MAX, -1, &mut event),
                    livefeed_reconnect(feed),
                    livefeed_wait_connected(feed, -1),
                    livefeed_wait_fresh(feed, -1),
                    livefeed_health_json(feed, &mut text, &mut length),
                    livefeed_close(feed, -1),
                    livefeed_start(fresh.0),
                    livefeed_set_callback(fresh.0, Some(no_event), null_mut()),
                    livefeed_set_token_provider(fresh.0, Some(no_target), null_mut()),
                ];
                livefeed_free(feed);
                livefeed_free(fresh.0);
                let wrong = results.iter().position(|result| *result != LIVEFEED_FORKED);
                let touched =
                    !event.is_null() || !batch.is_null() || fd != -7 || !text.is_null() || length != 0;
                _exit(wrong.map_or(if touched { 99 } else { 0 }, |at| at as c_int + 1))
            }
        }
        let mut status = -1;
        assert_eq!(unsafe { waitpid(child, &mut status, 0) }, child);
        assert_eq!(status, 0, "exit status {} (100: an output), signal {}", status >> 8, status & 0x7f);
        // The parent's connection is as it was.
        lab.control().all(Command::Send("after the child".into()));
        assert_eq!(feed.until(LIVEFEED_EVENT_MESSAGE).payload().unwrap(), b"after the child");
        assert_eq!(lab.connections(), 1);
    }
}
