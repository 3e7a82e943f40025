//! Callbacks: how they are called, and the gate that none passes before the feed can be used, nor once it was freed.

use super::feed::Prepared;
use super::object::{Label, livefeed_attempt, livefeed_event, livefeed_feed, livefeed_target};
use super::pointers::Caller;
use super::result::{Failure, LIVEFEED_NULL_POINTER, guard, livefeed_result};
use crate::config::FeedBuilder;
use std::cell::Cell;
use std::ffi::{CStr, c_char, c_void};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};

/// Is called with each event, on a thread of livefeed. The event is borrowed: it is valid until the callback returns, and
/// is not to be freed.
///
/// It may call any function on its feed. Those that would wait for its own thread fail with `LIVEFEED_WOULD_DEADLOCK`;
/// after `livefeed_free` this call of it is the last. It must return: no C++ exception and no `longjmp` may leave it.
pub type livefeed_callback =
    Option<unsafe extern "C-unwind" fn(userdata: *mut c_void, event: *const livefeed_event)>;

/// What C wants to be given back, untouched.
#[derive(Debug, Clone, Copy)]
pub(super) struct Userdata(pub(super) *mut c_void);

// SAFETY: livefeed never looks at it; C was told on which threads its callbacks run.
unsafe impl Send for Userdata {}
// SAFETY: as above.
unsafe impl Sync for Userdata {}

/// A callback for events, with what it is given back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Callback {
    call: unsafe extern "C-unwind" fn(*mut c_void, *const livefeed_event),
    userdata: Userdata,
}

impl Callback {
    /// Has the feed that is built call it.
    pub(super) fn install(self, builder: FeedBuilder, gate: Arc<Gate>, feed: Arc<str>) -> FeedBuilder {
        builder.handler(move |event| {
            let Some(_pass) = gate.enter() else { return };
            // SAFETY: `feed` outlives the event, which lives in this call only.
            let label = unsafe { Label::lent(&feed) };
            self.tell(&livefeed_event::lent(event, label));
        })
    }

    fn tell(&self, event: &livefeed_event) {
        let Self { call, userdata: Userdata(userdata) } = *self;
        // SAFETY: C promised that it can be called so until it has freed the feed, and the gate is open.
        unsafe { call(userdata, event) }
    }
}

/// A token provider, with what it is given back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Provider {
    pub(super) call:
        unsafe extern "C-unwind" fn(*mut c_void, *const livefeed_attempt, *mut livefeed_target) -> i32,
    pub(super) userdata: Userdata,
}

impl Provider {
    /// Asks it, on the way that the gate left open.
    pub(super) fn ask(self, _pass: &Pass<'_>, told: &livefeed_attempt, target: &mut livefeed_target) -> i32 {
        let Self { call, userdata: Userdata(userdata) } = self;
        // SAFETY: C promised that it can be called so until it has freed the feed, and the gate is open.
        unsafe { call(userdata, told, target) }
    }
}

/// A callback for log records, with what it is given back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listener {
    pub(super) call:
        unsafe extern "C-unwind" fn(*mut c_void, i32, *const c_char, usize, *const c_char, usize),
    pub(super) userdata: Userdata,
}

impl Listener {
    /// Tells it of a record. Its caller sees to it that it was not replaced.
    pub(super) fn tell(self, level: i32, target: &CStr, text: &CStr) {
        let Self { call, userdata: Userdata(userdata) } = self;
        let length = |text: &CStr| text.to_bytes().len();
        // SAFETY: C promised that it can be called so until it is replaced.
        unsafe { call(userdata, level, target.as_ptr(), length(target), text.as_ptr(), length(text)) }
    }
}

/// Has each event of the feed given to a callback, in order, in place of a queue to read from: `livefeed_next`,
/// `livefeed_next_batch` and `livefeed_fd` then fail with `LIVEFEED_TAKEN`. To be called between `livefeed_prepare`
/// and `livefeed_start`; the last one set counts, and none can be taken back.
///
/// While it runs nothing is read from the server, so it should be quick.
///
/// Ownership: `userdata` is given to the callback as it is. It stays yours, and must be good until `livefeed_free`
/// has returned.
///
/// Threads: the callback runs on a thread of livefeed, never on two at once.
///
/// Errors: `LIVEFEED_ALREADY_STARTED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_set_callback(
    feed: *mut livefeed_feed,
    callback: livefeed_callback,
    userdata: *mut c_void,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let inner = caller.feed(feed)?;
        let call = callback.ok_or(Failure::fixed(LIVEFEED_NULL_POINTER, c"callback is NULL"))?;
        inner.prepare(|prepared: &mut Prepared| {
            prepared.callback = Some(Callback { call, userdata: Userdata(userdata) });
        })
    })
}

/// The way of a feed's callbacks. Before it is opened they wait; once it is closed none goes through, and nobody is inside.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    opened: bool,
    closed: bool,
    /// The threads that are inside.
    inside: Vec<ThreadId>,
}

/// One callback is inside for as long as this lives.
pub(super) struct Pass<'g>(&'g Gate, Depth);

thread_local! {
    /// How many callbacks the thread is in, one in another.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// Whether the calling thread is in a callback, of whichever feed and kind.
pub(super) fn in_callback() -> bool {
    DEPTH.try_with(Cell::get).is_ok_and(|depth| depth > 0)
}

/// The thread is in a callback for as long as this lives.
pub(super) struct Depth(());

impl Depth {
    pub(super) fn new() -> Self {
        let _ = DEPTH.try_with(|depth| depth.set(depth.get() + 1));
        Self(())
    }
}

impl Drop for Depth {
    fn drop(&mut self) {
        let _ = DEPTH.try_with(|depth| depth.set(depth.get().saturating_sub(1)));
    }
}

impl Gate {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feed can be used: callbacks may come, and call what they like.
    pub(super) fn open(&self) {
        self.lock().opened = true;
        self.changed.notify_all();
    }

    /// Lets a callback in; `None` if the feed was freed.
    pub(super) fn enter(&self) -> Option<Pass<'_>> {
        let mut state = self.lock();
        while !state.opened && !state.closed {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return None;
        }
        state.inside.push(thread::current().id());
        Some(Pass(self, Depth::new()))
    }

    /// Lets nobody in any more, and waits for those inside, but for the calling thread itself.
    pub(super) fn close(&self) {
        let me = thread::current().id();
        let mut state = self.lock();
        state.closed = true;
        self.changed.notify_all();
        while state.inside.iter().any(|thread| *thread != me) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let me = thread::current().id();
        let mut state = self.0.lock();
        if let Some(at) = state.inside.iter().rposition(|thread| *thread == me) {
            state.inside.swap_remove(at);
        }
        let closed = state.closed;
        drop(state);
        if closed {
            self.0.changed.notify_all();
        }
    }
}
