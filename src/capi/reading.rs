//! Reading events, one by one or many at once.

use super::event::{LIVEFEED_EVENT_OTHER, kind_of, message_of};
use super::feed::{Open, patience};
use super::object::{livefeed_batch, livefeed_event, livefeed_feed};
use super::pointers::Caller;
use super::result::{guard, livefeed_result};
use crate::event::Event;
use crate::message::{Message, Payload};
use std::ffi::c_void;
use std::sync::Arc;
use std::time::SystemTime;

/// `livefeed_view.flags`: the payload is a binary message, not text.
pub const LIVEFEED_VIEW_BINARY: u32 = 1;

/// An event of a batch at a glance. `event` is the event itself, for the accessors; all that is here belongs to the batch
/// and is valid until that is freed.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct livefeed_view {
    /// The event itself.
    pub event: *const livefeed_event,
    /// The payload of a message, not NUL-terminated; NULL if it is none.
    pub data: *const u8,
    /// Its length in bytes.
    pub length: usize,
    /// Stands for the subscriptions that a message is data of: NULL for none. Where it is the same in two views of a batch, so
    /// are they, and their names need be asked for only once (see `livefeed_event_subscription`). It is to be compared, and no
    /// more.
    pub subscriptions: *const c_void,
    /// The connection it belongs to, counted from 1.
    pub epoch: u64,
    /// When it happened or was received, in nanoseconds since 1970 (UTC).
    pub time_ns: i64,
    /// `LIVEFEED_EVENT_..`
    pub kind: i32,
    /// `LIVEFEED_VIEW_..`, added up.
    pub flags: u32,
    /// 0, until a later version says more here.
    pub reserved: u64,
}

/// Programs were built with it: what is added comes out of what is reserved.
#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<livefeed_view>() == 64, "a view has another size than it always had");

impl livefeed_view {
    /// One of nothing.
    pub(super) const EMPTY: Self = Self {
        event: std::ptr::null(),
        data: std::ptr::null(),
        length: 0,
        subscriptions: std::ptr::null(),
        epoch: 0,
        time_ns: 0,
        kind: LIVEFEED_EVENT_OTHER,
        flags: 0,
        reserved: 0,
    };
}

/// Reads the next event, and waits for it: `timeout_ms` milliseconds at most, 0 not at all, less than 0 for ever.
///
/// # Ownership
///
/// What `*event` is set to is to be freed by `livefeed_event_free`. It stays valid when the feed is freed.
///
/// # Threads
///
/// Any, and several at once: then each event goes to one of them.
///
/// # Errors
///
/// `LIVEFEED_TIMEOUT` if none came; `LIVEFEED_CLOSED` after the last event, for ever; `LIVEFEED_TAKEN` if there is a
/// callback; `LIVEFEED_WOULD_DEADLOCK` in a callback of the feed; `LIVEFEED_NULL_POINTER`, `LIVEFEED_INVALID_HANDLE`,
/// `LIVEFEED_FORKED`, `LIVEFEED_NOT_STARTED`.
///
/// # Safety
///
/// `feed` is NULL or a feed; `event` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_next(
    feed: *mut livefeed_feed,
    timeout_ms: i64,
    event: *mut *mut livefeed_event,
) -> livefeed_result {
    // SAFETY: see above.
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let event = caller.out(event, "event")?;
        let inner = caller.feed(feed)?;
        let Open { pull, name, .. } = inner.reading()?;
        let read = pull.next(patience(timeout_ms));
        inner.wake.drain(|| pull.is_ready());
        let read = inner.unless_freed(read)?;
        event.set(Box::into_raw(livefeed_event::owned(read, Arc::clone(name))));
        Ok(())
    })
}

/// Frees an event. NULL is fine, and an event that is borrowed, from a batch or in a callback, is left alone.
///
/// # Ownership
///
/// Takes the event, and all that belongs to it.
///
/// # Threads
///
/// Any.
///
/// # Errors
///
/// None.
///
/// # Safety
///
/// `event` is NULL or an event that was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_free(event: *mut livefeed_event) {
    // SAFETY: see above.
    let caller = unsafe { Caller::promises() };
    guard(|| {
        if !event.is_null() {
            drop(caller.take_event(event)?);
        }
        Ok(())
    });
}

/// Copies an event, to keep it or hand it to another thread: one of a batch or of a callback too. The payload is shared, not
/// copied.
///
/// # Ownership
///
/// What `*copy` is set to is to be freed by `livefeed_event_free`. It stays valid when the event, its batch and its feed are
/// freed.
///
/// # Threads
///
/// Any, and several at once.
///
/// # Errors
///
/// `LIVEFEED_NULL_POINTER`, `LIVEFEED_INVALID_HANDLE`.
///
/// # Safety
///
/// `event` is NULL or an event; `copy` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_clone(
    event: *const livefeed_event,
    copy: *mut *mut livefeed_event,
) -> livefeed_result {
    // SAFETY: see above.
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let copy = caller.out(copy, "copy")?;
        copy.set(Box::into_raw(caller.event(event)?.copy()));
        Ok(())
    })
}

/// Reads all events that wait, `most` at most (0: however many there are), and waits for the first as `livefeed_next`
/// does: one call for many events.
///
/// # Ownership
///
/// What `*batch` is set to is to be freed by `livefeed_batch_free`, and holds at least one event. It stays valid when the
/// feed is freed.
///
/// # Threads
///
/// Any, and several at once: then each event goes to one of them.
///
/// # Errors
///
/// As `livefeed_next`.
///
/// # Safety
///
/// `feed` is NULL or a feed; `batch` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_next_batch(
    feed: *mut livefeed_feed,
    most: usize,
    timeout_ms: i64,
    batch: *mut *mut livefeed_batch,
) -> livefeed_result {
    // SAFETY: see above.
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let batch = caller.out(batch, "batch")?;
        let inner = caller.feed(feed)?;
        let Open { pull, pool, .. } = inner.reading()?;
        let read = pull.next_batch(most, patience(timeout_ms));
        inner.wake.drain(|| pull.is_ready());
        let mut read = inner.unless_freed(read)?;
        let made = pool.fill(read.drain(..));
        pull.recycle(read);
        batch.set(Box::into_raw(made));
        Ok(())
    })
}

/// What is seen of an event at a glance.
pub(super) fn view(event: &livefeed_event) -> livefeed_view {
    let names = message_of(&event.event).and_then(|message| message.subscriptions.as_ref());
    let (data, flags) = match message_of(&event.event).map(Message::payload) {
        Some(Payload::Text(text)) => (Some(text.as_bytes()), 0),
        Some(Payload::Binary(bytes)) => (Some(bytes), LIVEFEED_VIEW_BINARY),
        None => (None, 0),
    };
    livefeed_view {
        event,
        data: data.map_or(std::ptr::null(), <[u8]>::as_ptr),
        length: data.map_or(0, <[u8]>::len),
        subscriptions: names.map_or(std::ptr::null(), |names| Arc::as_ptr(names).cast()),
        epoch: event.event.epoch(),
        time_ns: nanos(&event.event),
        kind: kind_of(&event.event),
        flags,
        reserved: 0,
    }
}

/// Nanoseconds since 1970, by the wall clock.
pub(super) fn nanos(event: &Event) -> i64 {
    let nanos = match message_of(event) {
        Some(message) => message.received_nanos(),
        None => {
            let since = event.time().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
        }
    };
    i64::try_from(nanos).unwrap_or(i64::MAX)
}

/// Gives all events of a batch, in order, as an array of plain structs: for a whole batch by one call.
///
/// # Ownership
///
/// `*views` and all that it points to belong to the batch, and are valid until that is freed.
///
/// # Threads
///
/// Any. A batch may be looked at from several threads at once.
///
/// # Errors
///
/// `LIVEFEED_NULL_POINTER`, `LIVEFEED_INVALID_HANDLE`.
///
/// # Safety
///
/// `batch` is NULL or a batch; `views` and `count` are NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_batch_views(
    batch: *const livefeed_batch,
    views: *mut *const livefeed_view,
    count: *mut usize,
) -> livefeed_result {
    // SAFETY: see above.
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let (views, count) = (caller.out(views, "views")?, caller.out(count, "count")?);
        let batch = caller.batch(batch)?;
        views.set(batch.views.as_ptr());
        count.set(batch.views.len());
        Ok(())
    })
}

/// Gives an event at a glance: all of it by one call, as `livefeed_batch_views` does for many.
///
/// # Ownership
///
/// What the view points to belongs to the event, and is valid until that is freed.
///
/// # Threads
///
/// Any, and several at once.
///
/// # Errors
///
/// `LIVEFEED_NULL_POINTER`, `LIVEFEED_INVALID_HANDLE`.
///
/// # Safety
///
/// `event` is NULL or an event; `found` is NULL or can be written to.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_view(
    event: *const livefeed_event,
    found: *mut livefeed_view,
) -> livefeed_result {
    // SAFETY: see above.
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let found = caller.out(found, "found")?;
        found.set(view(caller.event(event)?));
        Ok(())
    })
}

/// Frees a batch, and its events with it. NULL is fine.
///
/// # Ownership
///
/// Takes the batch, and all that belongs to it.
///
/// # Threads
///
/// Any, once nobody looks at its events any more.
///
/// # Errors
///
/// None.
///
/// # Safety
///
/// `batch` is NULL or a batch that was not freed before.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_batch_free(batch: *mut livefeed_batch) {
    // SAFETY: see above.
    let caller = unsafe { Caller::promises() };
    guard(|| {
        if !batch.is_null() {
            livefeed_batch::end(caller.take_batch(batch)?);
        }
        Ok(())
    });
}
