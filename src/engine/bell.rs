//! How events reach users: a channel that holds at most one late-bound batch.
//!
//! A [`Batch`] stands for whatever the queue holds at the moment it is claimed. So what is queued can still be
//! changed (dropped, folded, replaced) until then, and one channel operation serves any number of messages.

use super::core::Caller;
use super::shared::Shared;
use crate::event::Event;
use crossbeam_channel::Sender;
use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

/// Consumed messages are given back to the queue's bounds in lots of this many.
const LOT: usize = 1024;

/// The sending side.
pub(super) struct Bell(Mutex<Option<Sender<Batch>>>);

impl Bell {
    pub(super) fn new(sender: Sender<Batch>) -> Self {
        Self(Mutex::new(Some(sender)))
    }

    /// Rings, unless it has been rung and nobody has answered yet.
    pub(super) fn ring(&self, shared: &Arc<Shared>) {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(sender) = sender
            && let Err(error) = sender.try_send(Batch { shared: Some(Arc::clone(shared)) })
        {
            error.into_inner().shared = None; // not an unread batch: one is waiting, or nobody listens any more
        }
    }

    /// Nothing will come any more: receivers learn it once they have read what is there.
    pub(super) fn hang_up(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Events that wait. Iterating it takes all that the queue holds at that moment, which may be none.
///
/// A batch that is dropped without being iterated rings again: its events stay in the queue. Once iteration has
/// begun they are yours, and what you do not take is gone.
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
    /// Consumed and not yet given back.
    messages: usize,
    bytes: usize,
}

impl BatchIter {
    pub(super) fn claim(shared: Option<Arc<Shared>>) -> Self {
        let events = shared.as_ref().map(Shared::claim).unwrap_or_default();
        Self { shared, events, messages: 0, bytes: 0 }
    }

    /// Appends the events of a later claim.
    pub(crate) fn chain_with(&mut self, mut later: Self) {
        self.events.append(&mut later.events);
    }

    fn release(&mut self) {
        if self.messages > 0
            && let Some(shared) = &self.shared
        {
            let (messages, bytes) = (self.messages, self.bytes);
            shared.with(Caller::User, |core| core.queue.release(messages, bytes));
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
                if self.messages == LOT {
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
    fn drop(&mut self) {
        for event in self.events.drain(..) {
            if let Event::Message(message) = event {
                self.messages += 1;
                self.bytes += message.len();
            }
        }
        self.release();
        if let Some(shared) = &self.shared {
            shared.recycle(std::mem::take(&mut self.events));
        }
    }
}

impl fmt::Debug for BatchIter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BatchIter({} events)", self.events.len())
    }
}
