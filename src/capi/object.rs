//! What C holds pointers to. Each begins with a tag, so that one is not taken for another.

use super::feed::Inner;
use super::provider::Draft;
use super::reading::{livefeed_view, view};
use crate::config::Attempt;
use crate::event::Event;
use std::collections::VecDeque;
use std::ffi::CString;
use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError};

/// Says what something is, as long as it is that.
#[derive(Debug)]
#[repr(transparent)]
pub(super) struct Tag(AtomicU32);

impl Tag {
    pub(super) const FEED: u32 = 0x6c66_4644;
    /// An event that its holder frees.
    pub(super) const EVENT: u32 = 0x6c66_4556;
    /// An event that is borrowed from a batch or for the time of a callback.
    pub(super) const LENT_EVENT: u32 = 0x6c66_4c45;
    pub(super) const BATCH: u32 = 0x6c66_4241;
    pub(super) const ATTEMPT: u32 = 0x6c66_4154;
    pub(super) const TARGET: u32 = 0x6c66_5441;
    const DEAD: u32 = 0x6c66_6c66;

    pub(super) fn new(kind: u32) -> Self {
        Self(AtomicU32::new(kind))
    }

    pub(super) fn kind(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }

    /// From now on it is nothing. Returns whether it was of that kind, to one caller alone.
    pub(super) fn kill(&self, kind: u32) -> bool {
        self.0.compare_exchange(kind, Self::DEAD, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }
}

/// A feed.
#[repr(C)]
pub struct livefeed_feed {
    pub(super) tag: Tag,
    pub(super) inner: Arc<Inner>,
}

/// An event.
#[repr(C)]
pub struct livefeed_event {
    pub(super) tag: Tag,
    pub(super) event: Event,
    /// The name of the feed.
    pub(super) feed: Label,
    /// Made when it is asked for.
    pub(super) json: OnceLock<CString>,
}

impl livefeed_event {
    /// One for its holder to free.
    pub(super) fn owned(event: Event, feed: Arc<str>) -> Box<Self> {
        let tag = Tag::new(Tag::EVENT);
        Box::new(Self { tag, event, feed: Label::Owned(feed), json: OnceLock::new() })
    }

    /// A copy for its holder to free. The payload is shared.
    pub(super) fn copy(&self) -> Box<Self> {
        let feed = match &self.feed {
            Label::Owned(feed) => Arc::clone(feed),
            Label::Lent(_) => self.feed.as_str().into(),
        };
        Self::owned(self.event.clone(), feed)
    }

    /// One that belongs to somebody else.
    pub(super) fn lent(event: Event, feed: Label) -> Self {
        Self { tag: Tag::new(Tag::LENT_EVENT), event, feed, json: OnceLock::new() }
    }
}

impl Drop for livefeed_event {
    fn drop(&mut self) {
        self.tag.0.store(Tag::DEAD, Ordering::Relaxed);
    }
}

/// Events that were read at once.
#[repr(C)]
pub struct livefeed_batch {
    pub(super) tag: Tag,
    /// Never grows: `views` points into it.
    pub(super) events: Vec<livefeed_event>,
    pub(super) views: Vec<livefeed_view>,
    /// Where it goes when it is freed; `None` while it is there. What the labels of the events point to is there, too.
    pool: Option<Arc<Pool>>,
}

// SAFETY: its views are pointers into its own events and their payloads, which never change.
unsafe impl Send for livefeed_batch {}

/// Batches that were freed, to be filled again: new memory for each would cost more than all the rest.
///
/// There are some, so that one who still looks at a batch that was freed does not find the next one there at once.
pub(super) struct Pool {
    feed: Arc<str>,
    #[allow(clippy::vec_box, reason = "C has pointers to them")]
    spare: Mutex<VecDeque<Box<livefeed_batch>>>,
}

/// So many batches rest before the first of them is filled again.
const RESTING: usize = 2;

/// A batch with room for more events than this is not kept.
const SPARE: usize = 8 * 1024;

impl Pool {
    pub(super) fn new(feed: Arc<str>) -> Self {
        Self { feed, spare: Mutex::default() }
    }

    /// A batch of these events.
    pub(super) fn fill(self: &Arc<Self>, events: impl Iterator<Item = Event>) -> Box<livefeed_batch> {
        let rested =
            self.spare().and_then(|mut spare| if spare.len() >= RESTING { spare.pop_front() } else { None });
        let mut batch = rested.unwrap_or_else(|| {
            let tag = Tag::new(Tag::DEAD);
            Box::new(livefeed_batch { tag, events: Vec::new(), views: Vec::new(), pool: None })
        });
        // SAFETY: the batch keeps the pool and with it the name, and its events do not outlive it.
        let label = || unsafe { Label::lent(&self.feed) };
        batch.events.extend(events.map(|event| livefeed_event::lent(event, label())));
        let livefeed_batch { events, views, .. } = &mut *batch;
        views.extend(events.iter().map(view));
        batch.pool = Some(Arc::clone(self));
        batch.tag.0.store(Tag::BATCH, Ordering::Release);
        batch
    }

    /// Never waits: it is a convenience, and in a child that was forked the lock may be held for ever.
    fn spare(&self) -> Option<MutexGuard<'_, VecDeque<Box<livefeed_batch>>>> {
        match self.spare.try_lock() {
            Ok(spare) => Some(spare),
            Err(TryLockError::Poisoned(spare)) => Some(spare.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }
}

impl livefeed_batch {
    /// Lets go of its events, and leaves their room for later ones. Till then those who look show that they were late.
    #[allow(clippy::boxed_local, reason = "its address is kept")]
    pub(super) fn end(mut self: Box<Self>) {
        let pool = self.pool.take();
        self.views.fill(livefeed_view::EMPTY);
        self.views.clear();
        self.events.clear();
        if self.events.capacity() <= SPARE
            && let Some(mut spare) = pool.as_ref().and_then(|pool| pool.spare())
            && spare.len() <= RESTING
        {
            spare.push_back(self);
        }
    }
}

/// The name of a feed, for the events of it.
pub(super) enum Label {
    Owned(Arc<str>),
    Lent(Lent),
}

/// A text that somebody else keeps.
pub(super) struct Lent(NonNull<str>);

// SAFETY: it is a `&str` but for the lifetime.
unsafe impl Send for Lent {}
// SAFETY: as above.
unsafe impl Sync for Lent {}

impl Label {
    /// One that costs no counting.
    ///
    /// # Safety
    ///
    /// It is not asked for its text when `text` is gone.
    pub(super) unsafe fn lent(text: &Arc<str>) -> Self {
        Self::Lent(Lent(NonNull::from(&**text)))
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Owned(text) => text,
            // SAFETY: whoever made it keeps the text for as long as it is asked for.
            Self::Lent(Lent(text)) => unsafe { text.as_ref() },
        }
    }
}

/// What a token provider is told. It lives for one call.
#[repr(C)]
pub struct livefeed_attempt {
    pub(super) tag: Tag,
    pub(super) attempt: Attempt,
    pub(super) previous: Option<String>,
}

/// What a token provider fills in. It lives for one call.
#[repr(C)]
pub struct livefeed_target {
    pub(super) tag: Tag,
    pub(super) draft: Mutex<Draft>,
}

impl fmt::Debug for livefeed_feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("livefeed_feed(..)")
    }
}

impl fmt::Debug for livefeed_event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "livefeed_event({})", self.event.name())
    }
}

impl fmt::Debug for livefeed_batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "livefeed_batch({} events)", self.events.len())
    }
}

impl fmt::Debug for livefeed_attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "livefeed_attempt({})", self.attempt.number)
    }
}

impl fmt::Debug for livefeed_target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("livefeed_target(..)")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test")]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    /// In a child that was forked it is held for ever, if another thread had it just then.
    #[test]
    fn a_batch_is_made_and_freed_while_the_lock_of_the_pool_is_held() {
        let pool = Arc::new(Pool::new("one".into()));
        let held = pool.spare.lock().unwrap();
        let (done, is_done) = channel();
        let other = Arc::clone(&pool);
        std::thread::spawn(move || {
            livefeed_batch::end(other.fill(std::iter::empty()));
            done.send(()).unwrap();
        });
        is_done.recv_timeout(Duration::from_secs(10)).unwrap();
        drop(held);
    }
}
