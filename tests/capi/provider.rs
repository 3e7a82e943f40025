//! The token provider: what it is told, what it may leave, and what its mistakes come to.

use crate::ffi::*;
use livefeed::capi::*;
use livefeed::lab::{Command, Lab, Received, Script, What};
use std::ffi::{c_char, c_void};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

const CEILING: Duration = Duration::from_secs(10);

type Ask = dyn Fn(*const livefeed_attempt, *mut livefeed_target) -> i32 + Send + Sync;

unsafe extern "C-unwind" fn ask(
    userdata: *mut c_void,
    attempt: *const livefeed_attempt,
    target: *mut livefeed_target,
) -> i32 {
    let ask = unsafe { &*userdata.cast::<Box<Ask>>() };
    ask(attempt, target)
}

/// A feed that is freed before its provider.
pub(crate) struct Asking {
    pub(crate) handle: Handle,
    _ask: Box<Box<Ask>>,
}

/// A feed with a provider, not started.
pub(crate) fn prepared(
    config: &str,
    provider: impl Fn(*const livefeed_attempt, *mut livefeed_target) -> i32 + Send + Sync + 'static,
) -> Asking {
    let handle = Handle::prepare(config).unwrap_or_else(|_| panic!("{}", message()));
    let provider: Box<Box<Ask>> = Box::new(Box::new(provider));
    let userdata = (&raw const *provider).cast_mut().cast();
    ok(unsafe { livefeed_set_token_provider(handle.0, Some(ask), userdata) }).unwrap();
    Asking { handle, _ask: provider }
}

pub(crate) fn started(
    config: &str,
    provider: impl Fn(*const livefeed_attempt, *mut livefeed_target) -> i32 + Send + Sync + 'static,
) -> Asking {
    let asking = prepared(config, provider);
    ok(unsafe { livefeed_start(asking.handle.0) }).unwrap_or_else(|_| panic!("{}", message()));
    asking
}

pub(crate) fn fast(more: &str) -> String {
    format!(
        r#"{{"stale_after": "none", "reconnect": {{"floor": "2ms", "first": "2ms", "max": "4ms"}} {more}}}"#
    )
}

fn set_url(target: *mut livefeed_target, url: &str) -> livefeed_result {
    unsafe { livefeed_target_set_url(target, url.as_ptr().cast(), url.len()) }
}

fn set_error(target: *mut livefeed_target, text: &str) {
    ok(unsafe { livefeed_target_set_error(target, text.as_ptr().cast(), text.len()) }).unwrap();
}

type Two =
    unsafe extern "C" fn(*mut livefeed_target, *const c_char, usize, *const c_char, usize) -> livefeed_result;

fn pair(set: Two, target: *mut livefeed_target, name: &str, value: &str) -> livefeed_result {
    unsafe { set(target, name.as_ptr().cast(), name.len(), value.as_ptr().cast(), value.len()) }
}

fn previous(attempt: *const livefeed_attempt) -> Option<String> {
    let (mut text, mut length) = (null(), 0);
    match unsafe { livefeed_attempt_previous(attempt, &mut text, &mut length) } {
        LIVEFEED_OK => Some(String::from_utf8(unsafe { bytes(text.cast(), length) }.to_vec()).unwrap()),
        LIVEFEED_NO_VALUE => {
            assert!(text.is_null() && length == 0);
            None
        }
        other => panic!("{}", name(other)),
    }
}

#[track_caller]
fn seen(lab: &Lab, mut wanted: impl FnMut(usize, &What) -> bool) {
    let found = lab.wait_for(|entry| wanted(entry.connection, &entry.what), CEILING);
    assert!(found.is_some(), "not seen:\n{}", lab.transcript());
}

/// What a provider was told: number, epoch, endpoint, what was before.
type Told = (u32, u64, usize, Option<String>);

/// Where a provider says what it was told.
fn telling() -> (Mutex<Sender<Told>>, Receiver<Told>) {
    let (sender, told) = channel();
    (Mutex::new(sender), told)
}

#[test]
fn each_attempt_has_a_token_and_a_url_of_its_own() {
    let lab = Lab::start(Script::new()).unwrap();
    let base = lab.url();
    let (sender, told) = telling();
    let config = fast(
        r#", "url": "ws://127.0.0.1:9/never", "headers": {"authorization": "old", "X-Kept": "yes"},
            "subprotocols": ["configured"],
            "login": [{"send": {"login": "${token}"}}],
            "subscriptions": [{"id": "a", "subscribe": {"sub": "a", "token": "${token}", "n": "${n}"}}]"#,
    );
    let asking = started(&config, move |attempt, target| unsafe {
        let epoch = livefeed_attempt_epoch(attempt);
        let report =
            (livefeed_attempt_number(attempt), epoch, livefeed_attempt_endpoint(attempt), previous(attempt));
        sender.lock().unwrap().send(report).unwrap();
        ok(set_url(target, &format!("{base}?epoch={epoch}"))).unwrap();
        // The second takes the place of the first, whatever its case.
        ok(pair(livefeed_target_add_header, target, "AUTHORIZATION", "wrong")).unwrap();
        ok(pair(livefeed_target_add_header, target, "Authorization", &format!("Bearer {epoch}"))).unwrap();
        ok(livefeed_target_add_subprotocol(target, c"provided".as_ptr(), usize::MAX)).unwrap();
        ok(pair(livefeed_target_set_variable, target, "token", &format!("\"t{epoch}\""))).unwrap();
        ok(pair(livefeed_target_set_variable, target, "n", &epoch.to_string())).unwrap();
        LIVEFEED_PROVIDER_OK
    });
    for connection in 1..=3 {
        let text = |json: String| What::Received(Received::Text(json.into()));
        let login = text(format!(r#"{{"login":"t{connection}"}}"#));
        let subscribe = text(format!(r#"{{"n":{connection},"sub":"a","token":"t{connection}"}}"#));
        seen(&lab, |number, what| number == connection && *what == login);
        seen(&lab, |number, what| number == connection && *what == subscribe);
        let transcript = lab.transcript();
        let request = transcript.request(connection).unwrap();
        assert!(request.path.ends_with(&format!("?epoch={connection}")), "{}", request.path);
        let sent: Vec<_> = request
            .headers
            .iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case("authorization"))
            .map(|(_, value)| value.clone())
            .collect();
        assert_eq!(sent, [format!("Bearer {connection}")]);
        assert_eq!(request.header("X-Kept"), Some("yes"));
        assert_eq!(request.header("Sec-WebSocket-Protocol"), Some("provided"));
        lab.control().connection(connection, Command::Close(4000, "next".into()));
    }
    let (number, epoch, endpoint, before) = told.recv_timeout(CEILING).unwrap();
    assert_eq!((number, epoch, endpoint, before), (1, 1, 0, None));
    let (number, epoch, _, before) = told.recv_timeout(CEILING).unwrap();
    assert_eq!((number, epoch), (1, 2));
    assert!(before.as_ref().is_some_and(|before| before.contains("4000")), "{before:?}");
    drop(asking);
}

#[test]
fn a_variable_that_is_not_set_again_is_forgotten() {
    let lab = Lab::start(Script::new()).unwrap();
    let config = fast(&format!(
        r#", "url": "{}", "subscriptions": [{{"id": "a", "subscribe": {{"t": "${{token|none}}"}}}}]"#,
        lab.url()
    ));
    let asking = started(&config, |attempt, target| unsafe {
        if livefeed_attempt_epoch(attempt) == 1 {
            ok(pair(livefeed_target_set_variable, target, "token", "\"first\"")).unwrap();
        }
        LIVEFEED_PROVIDER_OK
    });
    for (connection, sent) in [(1, r#"{"t":"first"}"#), (2, r#"{"t":"none"}"#)] {
        seen(&lab, |number, what| {
            number == connection && *what == What::Received(Received::Text(sent.into()))
        });
        lab.control().connection(connection, Command::Fin);
    }
    drop(asking);
}

#[test]
fn what_a_provider_refuses_is_retried_and_said() {
    let lab = Lab::start(Script::new()).unwrap();
    let url = lab.url();
    let (sender, told) = telling();
    // Without a URL of its own.
    let asking = started(&fast(""), move |attempt, target| {
        let number = unsafe { livefeed_attempt_number(attempt) };
        sender.lock().unwrap().send((number, 0, 0, previous(attempt))).unwrap();
        match number {
            1 => LIVEFEED_PROVIDER_RETRY,
            2 => {
                set_error(target, "the shop is shut");
                LIVEFEED_PROVIDER_RETRY
            }
            3 => 77,
            4 => panic!("a host that panics"),
            5 => LIVEFEED_PROVIDER_OK, // and no URL
            6 => {
                set_error(target, "of no interest");
                assert_eq!(set_url(target, &url), LIVEFEED_OK);
                LIVEFEED_PROVIDER_OK
            }
            _ => LIVEFEED_PROVIDER_FATAL,
        }
    });
    asking.handle.until(LIVEFEED_EVENT_CONNECTED);
    assert_eq!(told.recv_timeout(CEILING).unwrap().3, None);
    for expected in ["nothing now", "the shop is shut", "77", "a host that panics", "no URL"] {
        let (_, _, _, before) = told.recv_timeout(CEILING).unwrap();
        assert!(before.as_ref().is_some_and(|before| before.contains(expected)), "{expected}: {before:?}");
    }
}

#[test]
fn a_provider_that_gives_up_closes_the_feed() {
    let asking = started(&fast(""), |_, target| {
        set_error(target, "no\0 account");
        LIVEFEED_PROVIDER_FATAL
    });
    let closed = asking.handle.until(LIVEFEED_EVENT_CLOSED).json();
    assert!(closed["reason"].as_str().unwrap().contains(" account"), "{closed}");
    assert_eq!(asking.handle.next(0).unwrap_err(), LIVEFEED_CLOSED);
    assert!(message().contains("account"), "{}", message());
}

#[test]
fn what_can_not_be_used_is_refused_where_it_is_set() {
    let lab = Lab::start(Script::new()).unwrap();
    let url = lab.url();
    let (sender, refused) = channel();
    let sender = Mutex::new(sender);
    let asking = started(&fast(""), move |_, target| {
        let protocol =
            |name: &str| unsafe { livefeed_target_add_subprotocol(target, name.as_ptr().cast(), name.len()) };
        assert_eq!(set_url(target, &url), LIVEFEED_OK);
        let mut tries = vec![
            ("url", set_url(target, "http://user:hunter2@h/"), message()),
            ("url", set_url(target, ""), message()),
        ];
        let mut with = |what, result| tries.push((what, result, message()));
        with("name", pair(livefeed_target_add_header, target, "a b", "hunter2"));
        with("value", pair(livefeed_target_add_header, target, "a", "hunter2\r\nb: c"));
        with("own", pair(livefeed_target_add_header, target, "Sec-WebSocket-Key", "hunter2"));
        with("protocol", protocol("a b"));
        assert_eq!(protocol("one"), LIVEFEED_OK);
        with("twice", protocol("one"));
        with("json", pair(livefeed_target_set_variable, target, "a", "hunter2"));
        with("json", pair(livefeed_target_set_variable, target, "a", "\"hunter2\" 1"));
        with("json", pair(livefeed_target_set_variable, target, "a", ""));
        for name in ["", "id", "epoch", "time_ms", "a b", "a}"] {
            with(name, pair(livefeed_target_set_variable, target, name, "1"));
        }
        sender.lock().unwrap().send(tries).unwrap();
        LIVEFEED_PROVIDER_OK
    });
    for (what, result, message) in refused.recv_timeout(CEILING).unwrap() {
        assert_eq!(name(result), "LIVEFEED_CONFIG", "{what}: {message}");
        assert!(message.starts_with("configuration: ") && !message.contains("hunter2"), "{what}: {message}");
    }
    asking.handle.until(LIVEFEED_EVENT_CONNECTED);
    let transcript = lab.transcript();
    let request = transcript.request(1).unwrap();
    assert_eq!((request.header("a"), request.header("Sec-WebSocket-Protocol")), (None, Some("one")));
}

#[test]
fn a_mistake_in_a_login_is_named_as_it_was_written() {
    let config = fast(r#", "login": [{"send": 1}, {"refused": {"text": "no"}}]"#);
    let asking = prepared(&config, |_, _| LIVEFEED_PROVIDER_FATAL);
    assert_eq!(unsafe { livefeed_start(asking.handle.0) }, LIVEFEED_CONFIG);
    assert!(message().contains("login[1]"), "{}", message());
    let late = unsafe { livefeed_set_token_provider(asking.handle.0, Some(ask), null_mut()) };
    assert_eq!(late, LIVEFEED_OK, "it is not started");
}

#[test]
fn the_feed_can_be_used_in_its_first_callback() {
    let feed = std::sync::Arc::new(std::sync::atomic::AtomicPtr::<livefeed_feed>::default());
    let (known, (sender, results)) = (feed.clone(), channel());
    let sender = Mutex::new(sender);
    let asking = prepared(&fast(""), move |_, _| {
        let feed = known.load(std::sync::atomic::Ordering::SeqCst);
        let (mut text, mut length, mut event) = (null_mut(), 0, null_mut());
        let all = unsafe {
            let results = vec![
                livefeed_health_json(feed, &mut text, &mut length),
                livefeed_reconnect(feed),
                livefeed_send(feed, LIVEFEED_TEXT, c"x".as_ptr().cast(), 1),
                livefeed_subscribe(feed, c"{\"id\": \"a\"}".as_ptr(), usize::MAX),
                livefeed_wait_connected(feed, 10_000),
                livefeed_set_token_provider(feed, Some(ask), null_mut()),
                livefeed_start(feed),
                livefeed_close(feed, 10_000),
                livefeed_request(
                    feed,
                    c"1".as_ptr(),
                    usize::MAX,
                    c"{\"text\": \"a\"}".as_ptr(),
                    usize::MAX,
                    -1,
                    &mut event,
                ),
            ];
            livefeed_string_free(text);
            results
        };
        sender.lock().unwrap().send(all).unwrap();
        LIVEFEED_PROVIDER_RETRY
    });
    feed.store(asking.handle.0, std::sync::atomic::Ordering::SeqCst);
    ok(unsafe { livefeed_start(asking.handle.0) }).unwrap();
    let results: Vec<_> = results.recv_timeout(CEILING).unwrap().into_iter().map(name).collect();
    assert_eq!(
        results,
        [
            "LIVEFEED_OK",
            "LIVEFEED_OK",
            "LIVEFEED_NOT_CONNECTED",
            "LIVEFEED_OK",
            "LIVEFEED_WOULD_DEADLOCK",
            "LIVEFEED_ALREADY_STARTED",
            "LIVEFEED_ALREADY_STARTED",
            "LIVEFEED_WOULD_DEADLOCK",
            "LIVEFEED_WOULD_DEADLOCK",
        ]
    );
    asking.handle.until(LIVEFEED_EVENT_CLOSED);
}

#[test]
fn a_provider_that_frees_the_feed_is_not_asked_again() {
    struct Box2 {
        feed: std::sync::atomic::AtomicPtr<livefeed_feed>,
        calls: Sender<()>,
    }
    unsafe extern "C-unwind" fn freeing(
        userdata: *mut c_void,
        _: *const livefeed_attempt,
        target: *mut livefeed_target,
    ) -> i32 {
        let own = unsafe { &*userdata.cast::<Box2>() };
        own.calls.send(()).unwrap();
        unsafe { livefeed_free(own.feed.load(std::sync::atomic::Ordering::SeqCst)) };
        // The target is still good.
        set_error(target, "freed");
        LIVEFEED_PROVIDER_RETRY
    }
    let (sender, calls) = channel();
    let feed = Handle::prepare(&fast("")).unwrap();
    let own = Box::new(Box2 { feed: feed.0.into(), calls: sender });
    let userdata = (&raw const *own).cast_mut().cast();
    ok(unsafe { livefeed_set_token_provider(feed.0, Some(freeing), userdata) }).unwrap();
    ok(unsafe { livefeed_start(feed.0) }).unwrap();
    std::mem::forget(feed); // the provider frees it
    calls.recv_timeout(CEILING).unwrap();
    assert!(calls.recv_timeout(Duration::from_millis(100)).is_err(), "it was asked again");
    drop(own);
}

#[test]
fn free_waits_for_the_provider() {
    let (entered, wait_entered) = channel();
    let (go, wait_go) = channel::<()>();
    let (left, wait_left) = channel();
    let (entered, wait_go, left) = (Mutex::new(entered), Mutex::new(wait_go), Mutex::new(left));
    let asking = started(&fast(""), move |_, _| {
        entered.lock().unwrap().send(()).unwrap();
        let _ = wait_go.lock().unwrap().recv();
        left.lock().unwrap().send(()).unwrap();
        LIVEFEED_PROVIDER_RETRY
    });
    wait_entered.recv_timeout(CEILING).unwrap();
    let (freed, wait_freed) = channel();
    let freeing = std::thread::spawn(move || {
        let Asking { handle, _ask } = asking;
        drop(handle);
        freed.send(()).unwrap();
        drop(_ask);
    });
    assert!(wait_freed.recv_timeout(Duration::from_millis(50)).is_err(), "it did not wait");
    drop(go);
    wait_freed.recv_timeout(CEILING).unwrap();
    wait_left.try_recv().expect("the provider was through before");
    freeing.join().unwrap();
}

/// Whichever is faster, the threads of the feed or the one that starts it.
#[test]
fn no_callback_comes_before_the_feed_is_started() {
    for _ in 0..300 {
        let feed = std::sync::Arc::new(std::sync::atomic::AtomicPtr::<livefeed_feed>::default());
        let (known, (sender, result)) = (feed.clone(), channel());
        let sender = Mutex::new(sender);
        let asking = prepared(&fast(""), move |_, _| {
            let feed = known.load(std::sync::atomic::Ordering::SeqCst);
            let _ = sender.lock().unwrap().send(unsafe { livefeed_reconnect(feed) });
            LIVEFEED_PROVIDER_FATAL
        });
        feed.store(asking.handle.0, std::sync::atomic::Ordering::SeqCst);
        ok(unsafe { livefeed_start(asking.handle.0) }).unwrap();
        assert_eq!(name(result.recv_timeout(CEILING).unwrap()), "LIVEFEED_OK");
    }
}
