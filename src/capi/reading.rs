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

/// An event at a glance. What it points to belongs to the batch or event that it was got from, and is valid until that is
/// freed.
#[repr(C)]
#[derive(Debug, Clone, Copy)]
pub struct livefeed_view {
    /// The event itself.
    pub event: *const livefeed_event,
    /// The payload of a message, not NUL-terminated; NULL if it is none.
    pub data: *const u8,
    /// Its length in bytes.
    pub length: usize,
    /// Stands for the list of subscriptions that a message is data of (see `livefeed_event_subscription`), NULL for none: two
    /// messages of one batch with the same pointer have the same list. Compare it, don't follow it.
    pub subscriptions: *const c_void,
    /// The connection it belongs to: see `livefeed_event_epoch`.
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
/// Ownership: `*event` is to be freed by `livefeed_event_free`. It stays valid when the feed is freed.
///
/// Threads: any, and several at once: then each event goes to one of them.
///
/// Errors: `LIVEFEED_TIMEOUT` if none came; `LIVEFEED_CLOSED` after the last event, for ever; `LIVEFEED_TAKEN` if
/// there is a callback; `LIVEFEED_WOULD_DEADLOCK` in the feed's provider, if it would have to wait.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_next(
    feed: *mut livefeed_feed,
    timeout_ms: i64,
    event: *mut *mut livefeed_event,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
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

/// Frees an event, and all that belongs to it. NULL is fine. One that is borrowed, from a batch or in a callback, is
/// not to be freed, and is left alone.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_free(event: *mut livefeed_event) {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        if !event.is_null() {
            drop(caller.take_event(event)?);
        }
        Ok(())
    });
}

/// Copies an event, to keep it or hand it to another thread: a borrowed one too, from a batch or in a callback. The
/// payload is shared, not copied.
///
/// Ownership: `*copy` is to be freed by `livefeed_event_free`. It stays valid when the event, its batch and its feed
/// are freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_clone(
    event: *const livefeed_event,
    copy: *mut *mut livefeed_event,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
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
/// Ownership: `*batch` is to be freed by `livefeed_batch_free`, and holds at least one event. It stays valid when the
/// feed is freed.
///
/// Threads: any, and several at once: then each event goes to one of them.
///
/// Errors: as `livefeed_next`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_next_batch(
    feed: *mut livefeed_feed,
    most: usize,
    timeout_ms: i64,
    batch: *mut *mut livefeed_batch,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
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
/// Ownership: `*views` and all that it points to belong to the batch, and are valid until that is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_batch_views(
    batch: *const livefeed_batch,
    views: *mut *const livefeed_view,
    count: *mut usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
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
/// Ownership: what the view points to belongs to the event, and is valid until that is freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_view(
    event: *const livefeed_event,
    view: *mut livefeed_view,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let view = caller.out(view, "view")?;
        view.set(self::view(caller.event(event)?));
        Ok(())
    })
}

/// Frees a batch, its views and its events. NULL is fine. What is to be kept of it is to be copied before: see
/// `livefeed_event_clone`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_batch_free(batch: *mut livefeed_batch) {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        if !batch.is_null() {
            livefeed_batch::end(caller.take_batch(batch)?);
        }
        Ok(())
    });
}
