//! What each function does when it is called as it should be.

use crate::ffi::*;
use livefeed::capi::*;
use livefeed::lab::{Command, Incoming, Lab, Script};
use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const CEILING: Duration = Duration::from_millis(CEILING_MS as u64);

fn config(lab: &Lab, more: &str) -> String {
    format!(
        r#"{{"url": "{}", "name": "one", "reconnect": {{"floor": "2ms", "first": "5ms"}}{more}}}"#,
        lab.url()
    )
}

#[test]
fn events_are_read_one_by_one_and_say_what_they_are() {
    let lab = Lab::start(
        Script::new().send("first").then(Command::SendBinary(vec![0, 1, 2])).send("").close(1000, "bye"),
    )
    .unwrap();
    let feed = Handle::open(&config(&lab, "")).unwrap();
    let connecting = feed.next(CEILING_MS).unwrap();
    assert_eq!(connecting.kind(), LIVEFEED_EVENT_CONNECTING);
    assert_eq!(
        (connecting.json()["event"].as_str(), connecting.json()["feed"].as_str()),
        (Some("connecting"), Some("one"))
    );
    assert_eq!(connecting.payload(), None);
    assert_eq!(feed.next(CEILING_MS).unwrap().kind(), LIVEFEED_EVENT_CONNECTED);
    let first = feed.next(CEILING_MS).unwrap();
    assert_eq!((first.kind(), first.payload().unwrap().as_slice()), (LIVEFEED_EVENT_MESSAGE, &b"first"[..]));
    assert_eq!(first.json()["text"], "first");
    unsafe {
        assert_eq!((livefeed_event_epoch(first.0), livefeed_event_is_binary(first.0)), (1, false));
        assert!(livefeed_event_age_ms(first.0) >= 0);
        assert_eq!(livefeed_event_age_ms(connecting.0), -1);
        assert!(livefeed_event_time_ms(first.0) >= livefeed_event_time_ms(connecting.0));
        assert!(livefeed_event_time_ms(connecting.0) > 1_700_000_000_000);
        assert_eq!(livefeed_event_subscription_count(first.0), 0);
    }
    let second = feed.next(CEILING_MS).unwrap();
    assert!(unsafe { livefeed_event_is_binary(second.0) });
    assert_eq!(second.payload().unwrap(), [0, 1, 2]);
    assert_eq!(second.json()["binary"], "AAEC");
    assert_eq!(feed.next(CEILING_MS).unwrap().payload().unwrap(), b"", "empty, and not NULL");
    assert_eq!(feed.until(LIVEFEED_EVENT_DISCONNECTED).json()["reason"], "closed by peer");
    assert_eq!(feed.close(), LIVEFEED_OK);
    assert_eq!(feed.close(), LIVEFEED_OK, "twice");
    drop(feed.until(LIVEFEED_EVENT_CLOSED));
    for timeout in [0, 5, -1] {
        assert_eq!(feed.next(timeout).unwrap_err(), LIVEFEED_CLOSED);
    }
    assert!(message().contains("closed by user"), "{}", message());
    drop(feed);
    assert_eq!(first.payload().unwrap(), b"first", "an event outlives its feed");
    assert_eq!(connecting.json()["feed"], "one");
}

#[test]
fn a_batch_is_read_by_one_call_and_what_is_left_comes_next() {
    let script = (0..9).fold(Script::new(), |script, n| script.send(n.to_string()));
    let lab = Lab::start(script.then(Command::SendBinary(b"\x07".to_vec()))).unwrap();
    let feed = Handle::open(&config(&lab, "")).unwrap();
    while feed.health()["messages"] != 10 {
        assert_eq!(unsafe { livefeed_wait_fresh(feed.0, CEILING_MS) }, LIVEFEED_OK);
    }
    assert_eq!(feed.next(0).unwrap().kind(), LIVEFEED_EVENT_CONNECTING); // claims more than it gives out
    let read = |most| {
        let (mut batch, mut views, mut count) = (null_mut(), null(), 0);
        ok(unsafe { livefeed_next_batch(feed.0, most, 0, &mut batch) })?;
        ok(unsafe { livefeed_batch_views(batch, &mut views, &mut count) })?;
        let seen: Vec<_> = unsafe { std::slice::from_raw_parts(views, count) }
            .iter()
            .map(|view| {
                let event = view.event.cast_mut();
                unsafe { livefeed_event_free(event) }; // borrowed: nothing happens
                unsafe {
                    assert_eq!(
                        (view.kind, view.epoch),
                        (livefeed_event_kind(event), livefeed_event_epoch(event))
                    );
                    assert_eq!(view.time_ns / 1_000_000, livefeed_event_time_ms(event));
                    assert_eq!(view.flags == LIVEFEED_VIEW_BINARY, livefeed_event_is_binary(event));
                }
                assert_eq!(json(event)["feed"], "one");
                match view.kind {
                    LIVEFEED_EVENT_MESSAGE => {
                        let data = unsafe { bytes(view.data, view.length) };
                        assert_eq!(Some(data.to_vec()), payload(event));
                        String::from_utf8(data.to_vec()).unwrap()
                    }
                    _ => {
                        assert!(view.data.is_null() && view.length == 0);
                        "-".to_owned()
                    }
                }
            })
            .collect();
        unsafe { livefeed_batch_free(batch) };
        Ok::<_, livefeed_result>(seen)
    };
    assert_eq!(read(3).unwrap(), ["-", "0", "1"]);
    assert_eq!(feed.next(0).unwrap().payload().unwrap(), b"2");
    assert_eq!(read(0).unwrap(), ["3", "4", "5", "6", "7", "8", "\u{7}"]);
    assert_eq!(read(0).unwrap_err(), LIVEFEED_TIMEOUT);
    assert_eq!(feed.health()["queue_bytes"], 0, "all of it was handed over");
    assert_eq!(feed.close(), LIVEFEED_OK);
    assert!(!read(0).unwrap().is_empty());
    assert_eq!(read(0).unwrap_err(), LIVEFEED_CLOSED);
}

/// All of a view, by what it was made from.
fn glance(view: &livefeed_view) -> impl PartialEq + std::fmt::Debug + use<> {
    let livefeed_view { event, data, length, subscriptions, epoch, time_ns, kind, flags, reserved } = *view;
    assert_eq!(reserved, 0);
    (event, data, length, subscriptions, epoch, time_ns, kind, flags)
}

#[test]
fn a_view_says_what_the_accessors_say_and_tells_subscriptions_apart() {
    let script = Script::new().react(|_| {
        let topics = ["a", "b", "a", "none", "b", "both"];
        let texts = topics.map(|topic| Command::Send(format!(r#"{{"topic":"{topic}"}}"#)));
        texts.into_iter().chain([Command::SendBinary(vec![7, 8])]).collect()
    });
    let lab = Lab::start(script).unwrap();
    let is = |topic: &str| format!(r#"{{"pointer": "/topic", "equals": "{topic}"}}"#);
    let of = |id: &str| format!(r#"{{"id": "{id}", "data": {{"any": [{}, {}]}}}}"#, is(id), is("both"));
    let more = format!(r#", "subscriptions": [{}, {}]"#, of("a"), of("b"));
    let feed = Handle::open(&config(&lab, &more)).unwrap();
    ok(unsafe { livefeed_wait_connected(feed.0, CEILING_MS) }).unwrap();
    ok(unsafe { livefeed_send(feed.0, LIVEFEED_TEXT, b"go".as_ptr().cast(), 2) }).unwrap();
    let deadline = std::time::Instant::now() + CEILING;
    while feed.health()["messages"] != 7 {
        assert!(std::time::Instant::now() < deadline, "{}", feed.health());
        std::thread::yield_now();
    }
    let mut found = std::mem::MaybeUninit::<livefeed_view>::uninit();
    let mut glance_at = |event: *const livefeed_event| {
        assert_eq!(unsafe { livefeed_event_view(event, found.as_mut_ptr()) }, LIVEFEED_OK);
        unsafe { found.assume_init() }
    };
    // One of its own.
    let connecting = feed.next(0).unwrap();
    let view = glance_at(connecting.0);
    assert_eq!((view.event, view.kind), (connecting.0.cast_const(), LIVEFEED_EVENT_CONNECTING));
    assert!(view.data.is_null() && view.length == 0 && view.subscriptions.is_null() && view.flags == 0);
    assert_eq!(view.time_ns / 1_000_000, unsafe { livefeed_event_time_ms(connecting.0) });
    // Those of a batch.
    let (mut batch, mut views, mut count) = (null_mut(), null(), 0);
    ok(unsafe { livefeed_next_batch(feed.0, 0, 0, &mut batch) }).unwrap();
    ok(unsafe { livefeed_batch_views(batch, &mut views, &mut count) }).unwrap();
    let mut seen = Vec::new();
    for view in unsafe { std::slice::from_raw_parts(views, count) } {
        assert_eq!(glance(view), glance(&glance_at(view.event)));
        let names: Vec<_> = (0..unsafe { livefeed_event_subscription_count(view.event) })
            .map(|index| {
                let (mut text, mut length) = (null::<c_char>(), 0);
                ok(unsafe { livefeed_event_subscription(view.event, index, &mut text, &mut length) })
                    .unwrap();
                String::from_utf8(unsafe { bytes(text.cast(), length) }.to_vec()).unwrap()
            })
            .collect();
        if view.kind == LIVEFEED_EVENT_MESSAGE {
            assert_eq!(view.flags == LIVEFEED_VIEW_BINARY, view.length == 2);
            seen.push((names, view.subscriptions.addr()));
        } else {
            assert!(view.subscriptions.is_null(), "kind {}", view.kind);
        }
    }
    // What is kept of it outlives it.
    let kept = unsafe { *views.add(count - 1) };
    let mut copy = null_mut();
    ok(unsafe { livefeed_event_clone(kept.event, &mut copy) }).unwrap();
    let copy = Taken(copy);
    let view = glance_at(copy.0);
    assert_eq!((view.data, view.length), (kept.data, 2), "the payload is shared");
    let was = json(kept.event);
    unsafe { livefeed_batch_free(batch) };
    assert_eq!(copy.payload().unwrap(), [7, 8]);
    let mut again = null_mut();
    ok(unsafe { livefeed_event_clone(copy.0, &mut again) }).unwrap();
    drop(copy);
    assert_eq!(Taken(again).json(), was);
    let names: Vec<_> = seen.iter().map(|(names, _)| names.join("+")).collect();
    assert_eq!(names, ["a", "b", "a", "", "b", "a+b", ""]);
    for (names, stands_for) in &seen {
        assert_eq!(names.is_empty(), *stands_for == 0);
        for (others, other) in &seen {
            assert_eq!(names == others, stands_for == other, "{names:?} and {others:?}");
        }
    }
}

/// A batch that was freed rests until others were, and says meanwhile that it is none: so do its events and views.
#[test]
fn who_looks_at_a_batch_that_was_freed_is_told_so() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = Handle::open(&config(&lab, "")).unwrap();
    ok(unsafe { livefeed_wait_connected(feed.0, CEILING_MS) }).unwrap();
    let read = || {
        let (mut batch, mut views, mut count) = (null_mut(), null(), 0);
        ok(unsafe { livefeed_next_batch(feed.0, 1, CEILING_MS, &mut batch) }).unwrap();
        ok(unsafe { livefeed_batch_views(batch, &mut views, &mut count) }).unwrap();
        assert_eq!(count, 1);
        (batch, views)
    };
    for number in 0..6 {
        lab.control().all(Command::Send(number.to_string()));
    }
    let (batch, views) = read();
    let event = unsafe { (*views).event };
    assert_eq!(unsafe { livefeed_event_kind(event) }, LIVEFEED_EVENT_CONNECTING);
    unsafe { livefeed_batch_free(batch) };
    let (next, its_views) = read();
    assert_ne!(next, batch, "it rests");
    let mut copy = null_mut();
    assert_eq!(unsafe { livefeed_event_clone(event, &mut copy) }, LIVEFEED_INVALID_HANDLE);
    let view = unsafe { &*views };
    assert!(view.event.is_null() && view.data.is_null() && view.kind == 0 && view.epoch == 0);
    assert_eq!(
        unsafe { livefeed_batch_views(batch, &mut null(), &mut 0) },
        LIVEFEED_INVALID_HANDLE,
        "{}",
        message()
    );
    unsafe { livefeed_batch_free(batch) }; // once more: the next one is none the worse for it
    assert_eq!(unsafe { livefeed_event_kind((*its_views).event) }, LIVEFEED_EVENT_CONNECTED);
    unsafe { livefeed_batch_free(next) };
    // Their memory is used again, and in turn.
    let seen: Vec<_> = (0..4)
        .map(|_| {
            let (batch, _) = read();
            unsafe { livefeed_batch_free(batch) };
            batch.addr()
        })
        .collect();
    assert_eq!((seen[0], seen[1]), (batch.addr(), next.addr()));
    assert_eq!((seen[2], seen[3]), (seen[0], seen[1]));
}

/// What was taken from the queue and not given out yet can't be dropped any more: it is little, whatever the bound.
#[test]
fn reading_one_event_takes_few_from_the_queue() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed =
        Handle::open(&config(&lab, r#", "queue": {"messages": 8, "overflow": "drop_oldest"}"#)).unwrap();
    ok(unsafe { livefeed_wait_connected(feed.0, CEILING_MS) }).unwrap();
    let deadline = std::time::Instant::now() + CEILING;
    let send = |numbers: std::ops::Range<u32>| {
        let all = numbers.end;
        numbers.for_each(|number| {
            lab.control().all(Command::Send(number.to_string()));
        });
        while feed.health()["messages"] != all {
            assert!(std::time::Instant::now() < deadline, "{}", feed.health());
            std::thread::yield_now();
        }
    };
    send(0..8);
    for kind in [LIVEFEED_EVENT_CONNECTING, LIVEFEED_EVENT_CONNECTED, LIVEFEED_EVENT_MESSAGE] {
        assert_eq!(feed.next(0).unwrap().kind(), kind);
    }
    send(8..20);
    let gap = feed.next(0).unwrap();
    assert_eq!((gap.kind(), &gap.json()["lost"]), (LIVEFEED_EVENT_GAP, &11.into()), "1 to 11");
    assert_eq!(feed.next(0).unwrap().payload().unwrap(), b"12");
}

#[test]
fn messages_subscriptions_and_questions_go_out() {
    let script = Script::new().react(|incoming| match incoming {
        Incoming::Text("give a") => vec![Command::Send(r#"{"topic":"a"}"#.to_owned())],
        Incoming::Text(text) => vec![Command::Send(text.to_owned())],
        Incoming::Binary(bytes) => vec![Command::SendBinary(bytes.to_vec())],
    });
    let lab = Lab::start(script).unwrap();
    let feed = Handle::prepare(&config(&lab, "")).unwrap();
    let hello =
        |feed: &Handle| unsafe { livefeed_send(feed.0, LIVEFEED_TEXT, c"hello".as_ptr().cast(), usize::MAX) };
    assert_eq!(hello(&feed), LIVEFEED_NOT_STARTED);
    assert_eq!(unsafe { livefeed_start(feed.0) }, LIVEFEED_OK);
    assert_eq!(unsafe { livefeed_start(feed.0) }, LIVEFEED_ALREADY_STARTED);
    assert_eq!(unsafe { livefeed_wait_connected(feed.0, CEILING_MS) }, LIVEFEED_OK);
    let subscribe = |json: &str| unsafe { livefeed_subscribe(feed.0, json.as_ptr().cast(), json.len()) };
    let a = r#"{"id": "a", "subscribe": "give a", "unsubscribe": "stop a", "data": {"pointer": "/topic", "equals": "a"}}"#;
    assert_eq!(subscribe(a), LIVEFEED_OK);
    assert_eq!(subscribe(r#"{"id": "b", "dada": 1}"#), LIVEFEED_CONFIG);
    assert!(message().contains("subscription.dada"), "{}", message());
    let data = feed.until(LIVEFEED_EVENT_MESSAGE);
    assert_eq!(unsafe { livefeed_event_subscription_count(data.0) }, 1);
    let (mut text, mut length) = (null::<c_char>(), 0);
    assert_eq!(unsafe { livefeed_event_subscription(data.0, 0, &mut text, &mut length) }, LIVEFEED_OK);
    assert_eq!(unsafe { bytes(text.cast(), length) }, b"a");
    assert_eq!(unsafe { livefeed_event_subscription(data.0, 1, &mut text, &mut length) }, LIVEFEED_NO_VALUE);
    let unsubscribe = |id: &str| unsafe { livefeed_unsubscribe(feed.0, id.as_ptr().cast(), id.len()) };
    assert_eq!(unsubscribe("a"), LIVEFEED_OK);
    assert_eq!(unsubscribe("a"), LIVEFEED_UNKNOWN_SUBSCRIPTION);
    let data = [1_u8, 2, 3];
    let sent = unsafe { livefeed_send_wait(feed.0, LIVEFEED_BINARY, data.as_ptr().cast(), 3, CEILING_MS) };
    assert_eq!(sent, LIVEFEED_OK, "{}", message());
    assert_eq!(feed.until(LIVEFEED_EVENT_MESSAGE).payload().unwrap(), b"stop a");
    assert_eq!(feed.until(LIVEFEED_EVENT_MESSAGE).payload().unwrap(), data);
    let ask = |question: &str, matcher: &str| {
        let mut answer = null_mut();
        let (question, matcher) = (question.as_bytes(), matcher.as_bytes());
        ok(unsafe {
            livefeed_request(
                feed.0,
                question.as_ptr().cast(),
                question.len(),
                matcher.as_ptr().cast(),
                matcher.len(),
                CEILING_MS,
                &mut answer,
            )
        })
        .map(|()| Taken(answer))
    };
    let answer =
        ask(r#"{"id": "${id}", "what": "time"}"#, r#"{"pointer": "/id", "equals": "${id}"}"#).unwrap();
    assert_eq!(answer.kind(), LIVEFEED_EVENT_MESSAGE);
    assert!(answer.json()["text"].as_str().unwrap().contains("time"));
    assert_eq!(ask("{}", r#"{"pointer": 3}"#).unwrap_err(), LIVEFEED_CONFIG);
    assert!(message().contains("matcher"), "{}", message());
    assert_eq!(unsafe { livefeed_reconnect(feed.0) }, LIVEFEED_OK);
    assert_eq!(feed.until(LIVEFEED_EVENT_GAP).json()["epoch"], 2);
    assert_eq!(feed.close(), LIVEFEED_OK);
    assert_eq!(hello(&feed), LIVEFEED_CLOSED);
}

/// What a callback is given, and tells.
struct Heard {
    kinds: Sender<i32>,
    feed: AtomicUsize,
    free_at: i32,
    freed: AtomicBool,
}

unsafe extern "C-unwind" fn hear(userdata: *mut c_void, event: *const livefeed_event) {
    let heard = unsafe { &*userdata.cast::<Heard>() };
    assert!(!heard.freed.load(Ordering::SeqCst), "called after it was freed");
    let kind = unsafe { livefeed_event_kind(event) };
    unsafe { livefeed_event_free(event.cast_mut()) }; // borrowed: nothing happens
    let feed = heard.feed.load(Ordering::SeqCst) as *mut livefeed_feed;
    let (mut event_of_its_own, mut fd) = (null_mut(), 7);
    assert_eq!(unsafe { livefeed_next(feed, -1, &mut event_of_its_own) }, LIVEFEED_TAKEN);
    assert_eq!(unsafe { livefeed_fd(feed, &mut fd) }, LIVEFEED_TAKEN);
    assert_eq!((event_of_its_own, fd), (null_mut(), 7));
    if kind == heard.free_at {
        assert_eq!(unsafe { livefeed_close(feed, CEILING_MS) }, LIVEFEED_WOULD_DEADLOCK);
        unsafe { livefeed_free(feed) };
        heard.freed.store(true, Ordering::SeqCst);
    }
    assert_eq!(json(event)["feed"], "one");
    heard.kinds.send(kind).unwrap();
}

fn with_callback(lab: &Lab, free_at: i32) -> (*mut livefeed_feed, Box<Heard>, Receiver<i32>) {
    let (kinds, told) = channel();
    let heard = Box::new(Heard { kinds, feed: AtomicUsize::new(0), free_at, freed: AtomicBool::new(false) });
    let feed = std::mem::ManuallyDrop::new(Handle::prepare(&config(lab, "")).unwrap()).0;
    heard.feed.store(feed as usize, Ordering::SeqCst);
    let userdata = (&raw const *heard).cast_mut().cast();
    assert_eq!(unsafe { livefeed_set_callback(feed, Some(hear), userdata) }, LIVEFEED_OK);
    (feed, heard, told)
}

#[test]
fn a_callback_hears_all_of_it_and_nothing_once_the_feed_was_freed() {
    let lab = Lab::start(Script::new().send("a").send("b")).unwrap();
    let (feed, heard, told) = with_callback(&lab, -1);
    assert_eq!(unsafe { livefeed_start(feed) }, LIVEFEED_OK);
    let late = unsafe { livefeed_set_callback(feed, Some(hear), null_mut()) };
    assert_eq!(late, LIVEFEED_ALREADY_STARTED);
    for expected in
        [LIVEFEED_EVENT_CONNECTING, LIVEFEED_EVENT_CONNECTED, LIVEFEED_EVENT_MESSAGE, LIVEFEED_EVENT_MESSAGE]
    {
        assert_eq!(told.recv_timeout(CEILING).unwrap(), expected);
    }
    assert_eq!(unsafe { livefeed_close(feed, CEILING_MS) }, LIVEFEED_OK);
    assert_eq!(told.recv_timeout(CEILING).unwrap(), LIVEFEED_EVENT_DISCONNECTED);
    assert_eq!(told.recv_timeout(CEILING).unwrap(), LIVEFEED_EVENT_CLOSED);
    unsafe { livefeed_free(feed) };
    drop(heard);
    assert!(told.recv_timeout(CEILING).is_err(), "nothing after the end");
}

#[test]
fn a_callback_that_frees_the_feed_is_the_last() {
    let lab = Lab::start(Script::new().send("a").send("b").send("c")).unwrap();
    let (feed, heard, told) = with_callback(&lab, LIVEFEED_EVENT_CONNECTED);
    assert_eq!(unsafe { livefeed_start(feed) }, LIVEFEED_OK);
    assert_eq!(told.recv_timeout(CEILING).unwrap(), LIVEFEED_EVENT_CONNECTING);
    assert_eq!(told.recv_timeout(CEILING).unwrap(), LIVEFEED_EVENT_CONNECTED);
    assert!(told.recv_timeout(Duration::from_millis(300)).is_err(), "that was the last");
    drop(heard);
}

#[test]
fn free_waits_for_the_callback_that_runs() {
    unsafe extern "C-unwind" fn slow(userdata: *mut c_void, _: *const livefeed_event) {
        let (inside, go) = unsafe { &*userdata.cast::<(Sender<()>, Receiver<()>)>() };
        inside.send(()).unwrap();
        let _ = go.recv_timeout(CEILING);
    }
    let lab = Lab::start(Script::new()).unwrap();
    let feed = Handle::prepare(&config(&lab, "")).unwrap();
    let ((inside, is_inside), (go, gone)) = (channel::<()>(), channel::<()>());
    let state = (inside, gone);
    let userdata = (&raw const state).cast_mut().cast();
    assert_eq!(unsafe { livefeed_set_callback(feed.0, Some(slow), userdata) }, LIVEFEED_OK);
    assert_eq!(unsafe { livefeed_start(feed.0) }, LIVEFEED_OK);
    is_inside.recv_timeout(CEILING).unwrap();
    let freed = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            drop(feed);
            freed.store(true, Ordering::SeqCst);
        });
        std::thread::sleep(Duration::from_millis(100)); // it would be back long since if it did not wait
        assert!(!freed.load(Ordering::SeqCst));
        go.send(()).unwrap();
    });
    assert!(freed.load(Ordering::SeqCst));
    drop(state);
}

#[test]
fn what_fails_leaves_its_outputs_alone_and_says_why() {
    let mut feed = std::ptr::without_provenance_mut::<livefeed_feed>(8);
    let open = |text: &[u8], feed: &mut *mut livefeed_feed| unsafe {
        livefeed_open(text.as_ptr().cast(), text.len(), feed)
    };
    for (config, expected, says) in [
        (&b"{"[..], LIVEFEED_CONFIG, "configuration"),
        (b"{}", LIVEFEED_CONFIG, "url"),
        (b"\"ws://a\"", LIVEFEED_CONFIG, "object"),
        (b"ws://", LIVEFEED_CONFIG, "url"),
        (b"http://a", LIVEFEED_CONFIG, "configuration"),
        (b"{\"url\": \"ws://a\", \"stale_afer\": \"1s\"}", LIVEFEED_CONFIG, "stale_after"),
        (b"{\"url\": \"ws://a\", \"queue\": {\"messages\": 0}}", LIVEFEED_CONFIG, "queue.messages"),
        (b"ws://\xff", LIVEFEED_INVALID_UTF8, "config is not UTF-8 at byte 5"),
        (b"", LIVEFEED_CONFIG, "configuration"),
    ] {
        assert_eq!(name(open(config, &mut feed)), name(expected), "{}", String::from_utf8_lossy(config));
        assert!(message().contains(says), "{:?}: {}", String::from_utf8_lossy(config), message());
        assert_eq!(feed.addr(), 8);
    }
    assert_eq!(unsafe { livefeed_open(null(), 3, &mut feed) }, LIVEFEED_NULL_POINTER);
    assert_eq!(message(), "config is NULL");
    // Each thread has its own.
    assert_eq!(std::thread::spawn(message).join().unwrap(), "");
    // What was only prepared can be put right, or freed.
    let prepared = Handle::prepare(r#"{"queue": {"messages": 0}}"#).unwrap();
    assert_eq!(unsafe { livefeed_start(prepared.0) }, LIVEFEED_CONFIG);
    assert_eq!(unsafe { livefeed_start(prepared.0) }, LIVEFEED_CONFIG, "as before");
}

/// What a beginner gets wrong first, and what is to be read then.
#[test]
fn messages_say_what_to_do() {
    let mut feed = null_mut();
    for (config, says) in [
        ("https://a/", "is no WebSocket URL: it begins with ws:// or wss://"),
        (
            "feed.json",
            "neither a URL (ws://, wss://) nor a JSON object {..}; of a file its content is wanted",
        ),
        ("127.0.0.1:9702", "neither a URL"),
        (" \n", "is empty"),
        ("ws://127.0.0.1:9/\0", "ends with a NUL: leave it out of the length"),
        (r#"{"url": "ws://h/", "subscriptions": [{"subscribe": "x"}]}"#, "subscriptions[0]: has no `id`"),
        (r#"{"url": "ws://h/", "subscriptions": [{"name": "x"}]}"#, "did you mean `id`?"),
    ] {
        let result = unsafe { livefeed_open(config.as_ptr().cast(), config.len(), &mut feed) };
        assert_eq!(name(result), "LIVEFEED_CONFIG", "{config}");
        assert!(message().contains(says), "{config}: {}", message());
    }
    // As it is read from a file.
    drop(Handle::prepare("  ws://127.0.0.1:9/\n").unwrap());

    let refused = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let feed =
        Handle::open(&format!(r#"{{"url": "ws://{refused}/", "reconnect": {{"first": "10s"}}}}"#)).unwrap();
    feed.until(LIVEFEED_EVENT_DISCONNECTED);
    for wait in [livefeed_wait_connected, livefeed_wait_fresh] {
        assert_eq!(unsafe { wait(feed.0, 1) }, LIVEFEED_TIMEOUT);
        assert!(message().starts_with("timed out: ") && message().contains("refused"), "{}", message());
    }
    assert_eq!(unsafe { livefeed_send(feed.0, LIVEFEED_TEXT, null(), 0) }, LIVEFEED_NOT_CONNECTED);
    let said = message();
    assert!(said.contains("refused") && said.ends_with("wait with livefeed_wait_connected"), "{said}");
    let result = unsafe { livefeed_send(feed.0, LIVEFEED_BINARY, c"x".as_ptr().cast(), usize::MAX) };
    assert_eq!(name(result), "LIVEFEED_CONFIG");
    assert!(message().ends_with("only text may be LIVEFEED_NUL_TERMINATED"), "{}", message());
    let result = unsafe { livefeed_set_callback(feed.0, Some(hear), null_mut()) };
    assert_eq!(name(result), "LIVEFEED_ALREADY_STARTED");
    assert!(message().contains("use livefeed_prepare"), "{}", message());
    assert_eq!(unsafe { livefeed_set_log_callback(9, None, null_mut()) }, LIVEFEED_CONFIG);
    assert!(message().contains("LIVEFEED_LOG_TRACE (5)"), "{}", message());

    let lab = Lab::start(Script::new()).unwrap();
    let feed = Handle::open(&config(&lab, "")).unwrap();
    ok(unsafe { livefeed_wait_connected(feed.0, CEILING_MS) }).unwrap();
    for (question, expected, says) in [
        (c"1", LIVEFEED_TIMEOUT, "no message met the matcher within 5 ms"),
        (c"hello", LIVEFEED_CONFIG, "stands in quotes"),
    ] {
        let (question, matcher) = (question.as_ptr(), c"{\"text\": \"a\"}".as_ptr());
        let result = unsafe {
            livefeed_request(feed.0, question, usize::MAX, matcher, usize::MAX, 5, &mut null_mut())
        };
        assert_eq!(name(result), name(expected), "{}", message());
        assert!(message().contains(says), "{}", message());
    }
}

/// In a callback nothing may wait, but what does not wait answers there.
#[test]
fn a_callback_may_ask_whether_there_is_a_connection_and_learns_what_became_of_its_calls() {
    struct Asks {
        feed: AtomicUsize,
        told: Sender<[(&'static str, String); 5]>,
    }
    unsafe extern "C-unwind" fn asks(userdata: *mut c_void, event: *const livefeed_event) {
        let Asks { feed, told } = unsafe { &*userdata.cast::<Asks>() };
        if unsafe { livefeed_event_kind(event) } == LIVEFEED_EVENT_MESSAGE {
            let feed = feed.load(Ordering::SeqCst) as *mut livefeed_feed;
            let said = |result| (name(result), message());
            unsafe {
                let _ = told.send([
                    said(livefeed_wait_connected(feed, 0)),
                    said(livefeed_wait_fresh(feed, 0)),
                    said(livefeed_wait_connected(feed, 1)),
                    said(livefeed_send_wait(feed, LIVEFEED_TEXT, c"x".as_ptr().cast(), 1, CEILING_MS)),
                    said(livefeed_close(feed, CEILING_MS)),
                ]);
            }
        }
    }
    let lab = Lab::start(Script::new().send("a")).unwrap();
    let feed = Handle::prepare(&config(&lab, "")).unwrap();
    let (told, hear) = channel();
    let asked = Asks { feed: AtomicUsize::new(feed.0 as usize), told };
    let userdata = (&raw const asked).cast_mut().cast();
    ok(unsafe { livefeed_set_callback(feed.0, Some(asks), userdata) }).unwrap();
    ok(unsafe { livefeed_start(feed.0) }).unwrap();
    let [connected, fresh, waits, sends, closes] = hear.recv_timeout(CEILING).unwrap();
    assert_eq!((connected.0, fresh.0), ("LIVEFEED_OK", "LIVEFEED_OK"));
    for ((result, said), end) in [
        (waits, "wait for"),
        (sends, "the message was admitted, though, don't send it again"),
        (closes, "it is closing, but can't be waited for here"),
    ] {
        assert_eq!(result, "LIVEFEED_WOULD_DEADLOCK");
        assert!(said.ends_with(end), "{said}");
    }
    drop(feed);
}
