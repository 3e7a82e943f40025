//! The log: one callback of the process is told what livefeed logs.

use super::callback::{Depth, Listener, Userdata, in_callback};
use super::feed::c_text;
use super::fork::Home;
use super::result::{
    Failure, LIVEFEED_CONFIG, LIVEFEED_FORKED, LIVEFEED_UNSUPPORTED, guard, livefeed_result,
};
use crate::panics;
use log::{LevelFilter, Log, Metadata, Record};
use std::cell::Cell;
use std::ffi::{c_char, c_void};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};

/// No log records.
pub const LIVEFEED_LOG_OFF: i32 = 0;
/// What must not happen, such as a panic in a callback.
pub const LIVEFEED_LOG_ERROR: i32 = 1;
/// What a person should look at: connections that end, stale data, alerts.
pub const LIVEFEED_LOG_WARN: i32 = 2;
/// What is good to know afterwards: connections that are made, gaps, the end.
pub const LIVEFEED_LOG_INFO: i32 = 3;
/// Each event but messages, and what was done.
pub const LIVEFEED_LOG_DEBUG: i32 = 4;
/// For later versions: there is nothing yet that `LIVEFEED_LOG_DEBUG` has not. Messages are never logged.
pub const LIVEFEED_LOG_TRACE: i32 = 5;

/// Is called with each log record, on whichever thread logs, at times on several at once. `level` is `LIVEFEED_LOG_..`;
/// `target` says which part of livefeed it is from. `text` begins with the feed's name; from `livefeed::transport` it begins
/// with the URL, which several feeds may share. Both are NUL-terminated UTF-8, their lengths without the NUL, and valid until
/// it returns. No secret is in them.
///
/// It should be quick, as it holds up the feed. It may call any function; those that would wait for the feed's own thread
/// fail with `LIVEFEED_WOULD_DEADLOCK`, and what they log is not told. It must return: no C++ exception and no `longjmp` may
/// leave it.
pub type livefeed_log_callback = Option<
    unsafe extern "C-unwind" fn(
        userdata: *mut c_void,
        level: i32,
        target: *const c_char,
        target_length: usize,
        text: *const c_char,
        text_length: usize,
    ),
>;

/// A callback that was set, and how many threads are in it.
struct Sink {
    level: LevelFilter,
    listener: Listener,
    running: Mutex<usize>,
    idle: Condvar,
}

/// The one that is told now.
static SINK: Mutex<Option<Arc<Sink>>> = Mutex::new(None);
/// The process that set one first. In a child of it the locks may be held for ever.
static HOME: OnceLock<Home> = OnceLock::new();
/// Whether the process's logger is the one here.
static INSTALLED: OnceLock<bool> = OnceLock::new();

thread_local! {
    /// Whether the thread is in the callback.
    static TELLING: Cell<bool> = const { Cell::new(false) };
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whose records are told. Other crates may log what livefeed would not: tungstenite logs what goes over the wire.
fn is_own(target: &str) -> bool {
    target.strip_prefix("livefeed").is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// A call of the callback, which counts while it lasts.
struct Telling(Arc<Sink>, Depth);

impl Telling {
    /// The callback, if it is to be told of such a record.
    fn begin(metadata: &Metadata<'_>) -> Option<Self> {
        // A thread whose own variables are gone is about to end.
        let nested = TELLING.try_with(Cell::get).unwrap_or(true);
        if nested || !is_own(metadata.target()) || !HOME.get().is_some_and(|home| home.is_here()) {
            return None;
        }
        let current = locked(&SINK);
        let sink = current.as_ref().filter(|sink| metadata.level() <= sink.level)?;
        *locked(&sink.running) += 1;
        TELLING.set(true);
        Some(Self(Arc::clone(sink), Depth::new()))
    }
}

impl Drop for Telling {
    fn drop(&mut self) {
        TELLING.set(false);
        *locked(&self.0.running) -= 1;
        self.0.idle.notify_all();
    }
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        is_own(metadata.target()) && metadata.level() <= log::max_level()
    }

    fn log(&self, record: &Record<'_>) {
        let Some(telling) = Telling::begin(record.metadata()) else { return };
        let c_text = |text: String| c_text(text.replace('\0', " "));
        if let (Ok(target), Ok(text)) =
            (c_text(record.target().to_owned()), c_text(record.args().to_string()))
        {
            // There is nobody to tell of a panic.
            let _ = panics::caught(|| telling.0.listener.tell(record.level() as i32, &target, &text));
        }
    }

    fn flush(&self) {}
}

/// Takes `sink` in place of the one before, and waits until nobody is in that.
fn replace(sink: Option<Sink>) -> Result<(), Failure> {
    if !HOME.get_or_init(Home::here).is_here() {
        return Err(Failure::fixed(
            LIVEFEED_FORKED,
            c"a log callback was set in the process that this one was forked from",
        ));
    }
    if sink.is_some() && !*INSTALLED.get_or_init(|| log::set_logger(&Logger).is_ok()) {
        return Err(Failure::fixed(LIVEFEED_UNSUPPORTED, c"the process has a logger of its own already"));
    }
    let mut current = locked(&SINK);
    if INSTALLED.get().is_some_and(|installed| *installed) {
        log::set_max_level(sink.as_ref().map_or(LevelFilter::Off, |sink| sink.level));
    }
    let old = std::mem::replace(&mut *current, sink.map(Arc::new));
    drop(current);
    if let Some(old) = old
        && !in_callback()
    {
        let mut running = locked(&old.running);
        while *running > 0 {
            running = old.idle.wait(running).unwrap_or_else(PoisonError::into_inner);
        }
    }
    Ok(())
}

/// Has a callback told what livefeed logs, up to a level, `LIVEFEED_LOG_..`: that of all feeds in the process, and of
/// no other library. It belongs to the process and not to a feed. It takes the place of the one before; NULL, or
/// `LIVEFEED_LOG_OFF`, ends it.
///
/// Ownership: `userdata` is given to the callback as it is. It stays yours, and must be good until another callback
/// was set.
///
/// Threads: any. When it has returned, the callback before does not run any more: it waits for those calls that do.
/// From inside a callback, of whichever kind, it does not wait: calls that run then on other threads may still go on.
///
/// Errors: `LIVEFEED_CONFIG` for a level that is none; `LIVEFEED_UNSUPPORTED` if the program is one in Rust with a
/// logger of its own, which stays; `LIVEFEED_FORKED` in a child of a process that called it, where nothing is told.
/// The callback is as before then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_set_log_callback(
    level: i32,
    callback: livefeed_log_callback,
    userdata: *mut c_void,
) -> livefeed_result {
    guard(|| {
        let level = match level {
            LIVEFEED_LOG_OFF => LevelFilter::Off,
            LIVEFEED_LOG_ERROR => LevelFilter::Error,
            LIVEFEED_LOG_WARN => LevelFilter::Warn,
            LIVEFEED_LOG_INFO => LevelFilter::Info,
            LIVEFEED_LOG_DEBUG => LevelFilter::Debug,
            LIVEFEED_LOG_TRACE => LevelFilter::Trace,
            _ => {
                return Err(Failure::fixed(
                    LIVEFEED_CONFIG,
                    c"level is none of LIVEFEED_LOG_OFF (0) to LIVEFEED_LOG_TRACE (5)",
                ));
            }
        };
        let callback = callback.filter(|_| level != LevelFilter::Off);
        replace(callback.map(|call| Sink {
            level,
            listener: Listener { call, userdata: Userdata(userdata) },
            running: Mutex::new(0),
            idle: Condvar::new(),
        }))
    })
}
