//! How events reach users: a channel that holds at most one late-bound batch.
//!
//! A [`Batch`] stands for whatever the queue holds at the moment it is claimed. So what is queued can still be
//! changed (dropped, folded, replaced) until then, and one channel operation serves any number of messages.

use super::shared::Shared;
use crate::event::Event;
use crossbeam_channel::Sender;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Told when the bell rings; must neither wait nor take a lock that is held around a call to the feed.
pub(crate) type Listener = Arc<dyn Fn() + Send + Sync>;

/// The sending side.
///
/// A batch in the channel keeps the core alive, and the core holds this sender, which keeps the channel alive. The
/// ring is broken by letting go of the sender: when the end was read, or when nobody is left to add anything.
pub(super) struct Bell(Mutex<Ringer>);

struct Ringer {
    sender: Option<Sender<Batch>>,
    listener: Option<Listener>,
    feed_gone: bool,
    threads_gone: bool,
}

impl Bell {
    pub(super) fn new(sender: Sender<Batch>) -> Self {
        Self(Mutex::new(Ringer {
            sender: Some(sender),
            listener: None,
            feed_gone: false,
            threads_gone: false,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Ringer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Rings, unless it has been rung and nobody has answered yet.
    pub(super) fn ring(&self, shared: &Arc<Shared>) {
        let ringer = self.lock();
        let (sender, listener) = (ringer.sender.clone(), ringer.listener.clone());
        drop(ringer);
        if let Some(sender) = sender
            && let Err(error) = sender.try_send(Batch { shared: Some(Arc::clone(shared)) })
        {
            error.into_inner().shared = None; // not an unread batch: one is waiting, or nobody listens any more
        }
        if let Some(listener) = listener {
            listener();
        }
    }

    /// Has `listener` called as well from now on; `false` if there is one already.
    pub(super) fn listen(&self, listener: Listener) -> bool {
        let mut ringer = self.lock();
        let free = ringer.listener.is_none();
        if free {
            ringer.listener = Some(listener);
        }
        free
    }

    pub(super) fn unlisten(&self) {
        let listener = self.lock().listener.take();
        drop(listener);
    }

    /// Nothing will come any more: receivers learn it once they have read what is there.
    pub(super) fn hang_up(&self) {
        let sender = self.lock().sender.take();
        drop(sender); // not under the lock: the channel may go with it, and a batch with that
    }

    /// The application has dropped the feed.
    pub(super) fn feed_is_gone(&self) {
        let mut ringer = self.lock();
        ringer.feed_gone = true;
        let over = ringer.threads_gone;
        drop(ringer);
        if over {
            self.hang_up();
        }
    }

    /// The thread that adds the last events has ended.
    pub(super) fn threads_are_gone(&self) {
        let mut ringer = self.lock();
        ringer.threads_gone = true;
        let over = ringer.feed_gone;
        drop(ringer);
        if over {
            self.hang_up();
        }
    }
}

/// Events that wait. Iterating it takes all that the queue holds at that moment, which may be none.
///
/// A batch that is dropped without being iterated rings again: its events stay in the queue. What you do not take
/// of one goes back there as the next, when its iterator is dropped.
///
/// ```
/// # fn read(feed: &livefeed::Feed) {
/// while let Ok(batch) = feed.batches().recv() {
///     for event in batch {
///         println!("{}", event.name());
///     }
/// }
/// # }
/// ```
pub struct Batch {
    shared: Option<Arc<Shared>>,
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batch(..)")
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            shared.ring_again();
        }
    }
}

impl Batch {
    /// The bell was answered; the events are taken from the queue one by one.
    pub(crate) fn answer(mut self) {
        self.shared = None;
    }
}

impl IntoIterator for Batch {
    type Item = Event;
    type IntoIter = BatchIter;

    fn into_iter(mut self) -> BatchIter {
        BatchIter::claim(self.shared.take())
    }
}

/// The events of a [`Batch`], in order.
pub struct BatchIter {
    shared: Option<Arc<Shared>>,
    events: VecDeque<Event>,
    /// Consumed and not yet given back to the queue's bounds.
    messages: usize,
    bytes: usize,
    lot: (usize, usize),
    done: bool,
}

impl BatchIter {
    pub(crate) fn claim(shared: Option<Arc<Shared>>) -> Self {
        let events = shared.as_ref().map(|shared| shared.claim()).unwrap_or_default();
        Self::of(shared, events)
    }

    /// The next `most` events alone, so that others can be read in turn; the rest stays where it can be changed.
    pub(crate) fn claim_some(shared: &Arc<Shared>, most: usize) -> Self {
        let events = shared.claim_some(most);
        Self::of(Some(Arc::clone(shared)), events)
    }

    fn of(shared: Option<Arc<Shared>>, events: VecDeque<Event>) -> Self {
        let lot = shared.as_ref().map(|shared| shared.lot()).unwrap_or_default();
        Self { shared, events, messages: 0, bytes: 0, lot, done: false }
    }

    #[cold]
    fn release(&mut self) {
        let done = self.events.is_empty();
        if self.done && self.messages == 0 {
            return;
        }
        self.done = done;
        if let Some(shared) = &self.shared {
            shared.consumed(self.messages, self.bytes, done);
            (self.messages, self.bytes) = (0, 0);
        }
    }
}

impl Iterator for BatchIter {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        match &event {
            Some(Event::Message(message)) => {
                self.messages += 1;
                self.bytes += message.len();
                if self.messages >= self.lot.0 || self.bytes >= self.lot.1 {
                    self.release();
                }
            }
            Some(_) => {}
            None => self.release(),
        }
        event
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.events.len(), Some(self.events.len()))
    }
}

impl ExactSizeIterator for BatchIter {}

impl Drop for BatchIter {
    /// What was not taken goes back, as the next.
    fn drop(&mut self) {
        if self.events.is_empty() {
            self.release();
        }
        let rest = std::mem::take(&mut self.events);
        let Some(shared) = &self.shared else { return };
        if rest.is_empty() {
            shared.recycle(rest);
        } else {
            shared.consumed(self.messages, self.bytes, false);
            shared.give_back(rest);
        }
    }
}

impl fmt::Debug for BatchIter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchIter({} events)", self.events.len())
    }
}
