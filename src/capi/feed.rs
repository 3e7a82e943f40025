//! A feed from its making to its end.

use super::callback::{Callback, Gate, Provider};
use super::fork::Home;
use super::object::{Pool, Tag, livefeed_feed};
use super::pointers::Caller;
use super::result::{
    Failure, LIVEFEED_ALREADY_STARTED, LIVEFEED_CONFIG, LIVEFEED_NOT_STARTED, LIVEFEED_TAKEN, guard,
    livefeed_result,
};
use super::wake::Wake;
use crate::config::{FeedBuilder, FeedConfig, without_given};
use crate::error::Error;
use crate::feed::{Feed, Pull};
use std::ffi::{CString, c_char};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// What a handle leads to. Each call keeps it until it returns, so that `livefeed_free` takes nothing from under it.
pub(super) struct Inner {
    pub(super) home: Home,
    /// `None` while it is being started, and from then on.
    prepared: Mutex<Option<Prepared>>,
    open: OnceLock<Open>,
    freed: AtomicBool,
    pub(super) wake: Arc<Wake>,
}

/// What a feed is started with.
#[derive(Clone)]
pub(super) struct Prepared {
    pub(super) config: FeedConfig,
    pub(super) callback: Option<Callback>,
    pub(super) provider: Option<Provider>,
}

/// A feed that was started.
pub(super) struct Open {
    pub(super) pull: Pull,
    pub(super) name: Arc<str>,
    pub(super) pool: Arc<Pool>,
    /// Its events go to a callback.
    handled: bool,
    /// Of its callbacks.
    gate: Arc<Gate>,
}

impl Inner {
    fn new(config: FeedConfig) -> Self {
        Self {
            home: Home::here(),
            prepared: Mutex::new(Some(Prepared { config, callback: None, provider: None })),
            open: OnceLock::new(),
            freed: AtomicBool::new(false),
            wake: Arc::default(),
        }
    }

    /// Changes what it will be started with.
    pub(super) fn prepare(&self, change: impl FnOnce(&mut Prepared)) -> Result<(), Failure> {
        change(self.lock().as_mut().ok_or(TOO_LATE)?);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Option<Prepared>> {
        self.prepared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self) -> Result<(), Failure> {
        let prepared = self.lock().take().ok_or(STARTED)?;
        // Those of an attempt to start that failed in its middle never come to call.
        let gate = Arc::new(Gate::default());
        match self.open(prepared.clone(), Arc::clone(&gate)) {
            Ok(open) => {
                let lock = self.lock();
                let _ = self.open.set(open); // nobody else could take what was prepared
                let freed = self.freed.load(Ordering::Acquire);
                drop(lock);
                if freed {
                    self.end()
                } else {
                    gate.open()
                }
                Ok(())
            }
            Err(failure) => {
                gate.close();
                *self.lock() = Some(prepared);
                Err(failure)
            }
        }
    }

    fn open(&self, prepared: Prepared, gate: Arc<Gate>) -> Result<Open, Failure> {
        let Prepared { config, callback, provider } = prepared;
        let name: Arc<str> = config.feed_name().into();
        let handled = callback.is_some();
        let asked = provider.is_some();
        let mut builder = FeedBuilder::from(config.clone());
        if let Some(provider) = provider {
            builder = provider.install(&config, builder, Arc::clone(&gate));
        }
        let builder = match callback {
            Some(callback) => callback.install(builder, Arc::clone(&gate), Arc::clone(&name)),
            None => {
                let wake = Arc::clone(&self.wake);
                builder.on_wake(move || wake.wake())
            }
        };
        let feed = builder.open().map_err(|error| if asked { without_given(error) } else { error })?;
        let pool = Arc::new(Pool::new(Arc::clone(&name)));
        Ok(Open { pull: Pull::new(feed), name, pool, handled, gate })
    }

    /// The feed, once it was started.
    pub(super) fn opened(&self) -> Result<&Open, Failure> {
        self.open
            .get()
            .ok_or(Failure::fixed(LIVEFEED_NOT_STARTED, c"the feed is not started: call livefeed_start"))
    }

    /// The feed, to read from.
    pub(super) fn reading(&self) -> Result<&Open, Failure> {
        let open = self.opened()?;
        if open.handled {
            return Err(Failure::fixed(LIVEFEED_TAKEN, c"the feed's events go to its callback"));
        }
        Ok(open)
    }

    /// Does something with the feed that may wait. If it was freed meanwhile, that is what the caller is told.
    pub(super) fn call<T>(&self, call: impl FnOnce(&Feed) -> Result<T, Failure>) -> Result<T, Failure> {
        match call(self.opened()?.pull.feed()) {
            Err(failure) => self.unless_freed(Err(failure)),
            done => done,
        }
    }

    /// What a call that may have waited came back with; if the feed was freed meanwhile, that.
    pub(super) fn unless_freed<T, E: Into<Failure>>(&self, result: Result<T, E>) -> Result<T, Failure> {
        if self.freed.load(Ordering::Acquire) { Err(Failure::FREED) } else { result.map_err(Into::into) }
    }

    fn free(&self) {
        let lock = self.lock(); // whoever is starting it sees either that it is freed, or is seen here
        self.freed.store(true, Ordering::Release);
        drop(lock);
        self.end();
    }

    fn end(&self) {
        if let Some(open) = self.open.get() {
            open.pull.abandon();
            open.gate.close();
        }
        self.wake.close();
    }
}

const STARTED: Failure = Failure::fixed(LIVEFEED_ALREADY_STARTED, c"the feed is started already");
const TOO_LATE: Failure = Failure::fixed(
    LIVEFEED_ALREADY_STARTED,
    c"the feed is started already: use livefeed_prepare, set it, then call livefeed_start",
);

/// What is said of a call that needs a connection: with what there was instead, and what to do.
pub(super) fn because(feed: &Feed, error: Error) -> Failure {
    let waits = matches!(error, Error::NotConnected);
    if !waits && !error.is_timeout() {
        return error.into();
    }
    let health = feed.health();
    let mut more = match health.last_end {
        _ if health.up.is_some() => format!(": the feed is {}", health.state.name()),
        Some(end) => format!(": {end}"),
        None => String::new(),
    };
    if waits {
        more += ": wait with livefeed_wait_connected";
    }
    Failure::from(error).and(&more)
}

/// A time to wait; `None`: for ever.
pub(super) fn patience(milliseconds: i64) -> Option<Duration> {
    u64::try_from(milliseconds).ok().map(Duration::from_millis)
}

/// As above, for those who take for ever for a very long time.
pub(super) fn long_patience(milliseconds: i64) -> Duration {
    patience(milliseconds).unwrap_or(Duration::MAX)
}

fn config_of(text: &str) -> Result<FeedConfig, Failure> {
    if text.ends_with('\0') {
        let text = c"configuration: (top level): ends with a NUL: leave it out of the length";
        return Err(Failure::fixed(LIVEFEED_CONFIG, text));
    }
    let text = text.trim();
    let is_url = ["ws://", "wss://"]
        .iter()
        .any(|scheme| text.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme)));
    if is_url {
        return Ok(FeedConfig::new(text));
    }
    let wrong = |text| Err(Failure::fixed(LIVEFEED_CONFIG, text));
    match text.chars().next() {
        Some('{') => Ok(FeedConfig::from_json(text)?),
        None => wrong(c"configuration: (top level): is empty: give a URL (ws://, wss://) or a JSON object"),
        Some(_) if text.split_once("://").is_some_and(|(scheme, _)| scheme.chars().all(char::is_alphabetic)) => {
            wrong(c"configuration: (top level): is no WebSocket URL: it begins with ws:// or wss://")
        }
        Some(_) => wrong(
            c"configuration: (top level): is neither a URL (ws://, wss://) nor a JSON object {..}; of a file its content is wanted",
        ),
    }
}

/// A text for C to free.
pub(super) fn c_text(text: String) -> Result<CString, Failure> {
    CString::new(text).map_err(|_| Failure::fixed(LIVEFEED_CONFIG, c"the text has a NUL in it"))
}

fn handle(inner: Inner) -> *mut livefeed_feed {
    Box::into_raw(Box::new(livefeed_feed { tag: Tag::new(Tag::FEED), inner: Arc::new(inner) }))
}

/// Makes a feed that does nothing yet, so that callbacks can be set before `livefeed_start` begins.
///
/// `config` is a URL alone (`ws://..` or `wss://..`), or the JSON object that livefeed's README describes ("Speaking
/// a protocol", "Timing") and `livefeed schema` prints:
///
/// ```text
/// {
///     "url": "wss://feed.example/ws",
///     "stale_after": "5s",
///     "subscriptions": [
///         {"id": "btc", "subscribe": {"op": "subscribe", "channel": "${name}"},
///          "data": {"pointer": "/channel", "equals": "${name}"}}
///     ]
/// }
/// ```
///
/// In what is sent and matched for a subscription `${name}` stands for its `id`, and `${id}` for a number that each
/// message has for itself, by which its answer is known.
///
/// Ownership: `*feed` is to be freed by `livefeed_free`.
///
/// Errors: `LIVEFEED_CONFIG` if it can't be read, or has a field that is none; `livefeed_start` checks the values.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_prepare(
    config: *const c_char,
    config_length: usize,
    feed: *mut *mut livefeed_feed,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let feed = caller.out(feed, "feed")?;
        let config = config_of(caller.text(config, config_length, "config")?)?;
        feed.set(handle(Inner::new(config)));
        Ok(())
    })
}

/// Checks the configuration and begins to connect, on threads of livefeed. Returns at once; `livefeed_wait_connected`
/// and `livefeed_wait_fresh` are for those who want to wait.
///
/// Errors: `LIVEFEED_ALREADY_STARTED`, also for one of two calls at once; `LIVEFEED_CONFIG`, which names the field;
/// `LIVEFEED_SYSTEM` if no thread could be started. After a failure the feed is as before, and has still to be freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_start(feed: *mut livefeed_feed) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| caller.feed(feed)?.start())
}

/// Opens a feed: `livefeed_prepare` and `livefeed_start` in one. After a failure there is nothing to free.
///
/// Ownership: `*feed` is to be freed by `livefeed_free`.
///
/// Errors: `LIVEFEED_CONFIG`, which names the field; `LIVEFEED_SYSTEM` if no thread could be started.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_open(
    config: *const c_char,
    config_length: usize,
    feed: *mut *mut livefeed_feed,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let feed = caller.out(feed, "feed")?;
        let config = config_of(caller.text(config, config_length, "config")?)?;
        let inner = Inner::new(config);
        inner.start()?;
        feed.set(handle(inner));
        Ok(())
    })
}

/// Waits until there is a connection. With a timeout of 0 it only says whether there is one, in callbacks too.
///
/// Errors: `LIVEFEED_TIMEOUT`, with how the last attempt ended; `LIVEFEED_CLOSED` if the feed is closed or has given
/// up, and why; `LIVEFEED_WOULD_DEADLOCK` in a callback of the feed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_wait_connected(
    feed: *mut livefeed_feed,
    timeout_ms: i64,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        caller
            .feed(feed)?
            .call(|feed| feed.wait_connected(long_patience(timeout_ms)).map_err(|error| because(feed, error)))
    })
}

/// Waits until data has come on the present connection, for each subscription that has a limit on its age. While a
/// market is closed (quiet hours) none may come for long.
///
/// Errors: as `livefeed_wait_connected`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_wait_fresh(feed: *mut livefeed_feed, timeout_ms: i64) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        caller
            .feed(feed)?
            .call(|feed| feed.wait_fresh(long_patience(timeout_ms)).map_err(|error| because(feed, error)))
    })
}

/// Asks for a new connection: the present one is closed, or the wait for the next attempt is cut to the shortest
/// delay. Returns at once.
///
/// Errors: `LIVEFEED_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_reconnect(feed: *mut livefeed_feed) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        caller.feed(feed)?.call(|feed| {
            feed.check_open()?;
            feed.reconnect();
            Ok(())
        })
    })
}

/// Gives a snapshot of the feed's health as a JSON object: its state, ages, counters and subscriptions. Never waits.
///
/// Ownership: `*text` is to be freed by `livefeed_string_free`. It is NUL-terminated; `*length` is without the NUL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_health_json(
    feed: *mut livefeed_feed,
    text: *mut *mut c_char,
    length: *mut usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let (text, length) = (caller.out(text, "text")?, caller.out(length, "length")?);
        let inner = caller.feed(feed)?;
        let health = inner.call(|feed| {
            serde_json::to_string(&feed.health())
                .map_err(|error| Failure::new(LIVEFEED_CONFIG, format!("health: {error}")))
        })?;
        let health = c_text(health)?;
        length.set(health.as_bytes().len());
        text.set(health.into_raw());
        Ok(())
    })
}

/// Frees a text from `livefeed_health_json`. NULL is fine. The texts of events belong to these.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_string_free(text: *mut c_char) {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        drop(caller.take_text(text));
        Ok(())
    });
}

/// Closes the feed properly, with a Close frame, and waits until its threads have ended. The server has the shorter
/// of `timeout_ms` and the configuration's `close_timeout` to answer; then the connection is cut. With 0 it is cut at
/// once, without a Close frame, and nothing is waited for.
///
/// What was queued before can still be read, `LIVEFEED_EVENT_CLOSED` last. It may be called any number of times, and
/// of a feed that was not started there is nothing to close; `livefeed_free` is needed all the same.
///
/// Errors: `LIVEFEED_TIMEOUT` if a callback has not returned and holds a thread up: the feed goes on closing, and the
/// call may be repeated. `LIVEFEED_WOULD_DEADLOCK` in a callback of the feed: it is closing, but can't be waited for
/// there.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_close(feed: *mut livefeed_feed, timeout_ms: i64) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let inner = caller.feed(feed)?;
        if inner.open.get().is_none() {
            return Ok(()); // it has nothing to close
        }
        inner.call(|feed| {
            feed.close(long_patience(timeout_ms)).map_err(|error| {
                let more = match &error {
                    Error::Timeout => ": a callback has not returned; the feed goes on closing",
                    Error::WouldDeadlock => ": it is closing, but can't be waited for here",
                    _ => "",
                };
                Failure::from(error).and(more)
            })
        })
    })
}

/// Frees the feed. NULL is fine. One that is not closed ends at once, without a Close frame, and what was not read is
/// lost; this does not wait for its threads. In a forked child it does nothing.
///
/// Ownership: the pointer is of no use any more, nor is the file descriptor of the feed. Events and batches that were
/// read from it stay valid until they are freed themselves.
///
/// Threads: any. No callback of the feed runs or begins after it has returned. It waits for one that runs, so it
/// hangs if the caller holds a lock that this one takes, or if two callbacks free each other's feeds. From inside a
/// callback of the same feed it waits for nothing, and that call of it is the last. Calls that wait on other threads
/// return `LIVEFEED_CLOSED`; new ones must not be made, as with any memory that was freed: close the feed first, let
/// the other threads end, then free.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_free(feed: *mut livefeed_feed) {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        if feed.is_null() {
            return Ok(());
        }
        let inner = caller.feed(feed)?;
        drop(caller.take_feed(feed)?);
        inner.free();
        Ok(())
    });
}
