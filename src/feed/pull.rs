//! Reading for hosts that take one event at a time by a call, from any thread: without the core's lock for each of them.

use super::Feed;
use crate::clock;
use crate::error::Error;
use crate::event::Event;
use crossbeam_channel::RecvTimeoutError;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// So many events are taken from the queue at once, or an eighth of its bound if that is less. The rest stays where it can
/// still be dropped and folded.
const TURN: usize = 64;

/// A buffer with room for more events than this is not kept.
const SPARE: usize = 16 * 1024;

/// A feed with what was taken from its queue and not yet given out.
///
/// Under the lock there is pure code only: what is owed to the queue is paid after it, as that may log.
pub(crate) struct Pull {
    feed: Feed,
    held: Mutex<Held>,
    /// Threads that wait for an event.
    waiting: AtomicUsize,
}

struct Held {
    events: VecDeque<Event>,
    /// An empty buffer, to be exchanged for a full one.
    spare: VecDeque<Event>,
    due: Due,
}

/// What was given out and still counts in the queue's bounds.
#[derive(Debug, Default, Clone, Copy)]
struct Due {
    messages: usize,
    bytes: usize,
    /// The end of the feed was given out.
    end: bool,
}

impl Due {
    fn count(&mut self, event: &Event) {
        match event {
            Event::Message(message) => {
                self.messages += 1;
                self.bytes += message.len();
            }
            Event::Closed(_) => self.end = true,
            _ => {}
        }
    }

    fn is_nothing(self) -> bool {
        self.messages == 0 && !self.end
    }
}

impl Pull {
    pub(crate) fn new(feed: Feed) -> Self {
        let held = Held { events: VecDeque::new(), spare: VecDeque::new(), due: Due::default() };
        Self { feed, held: Mutex::new(held), waiting: AtomicUsize::new(0) }
    }

    /// The feed, for everything but reading.
    pub(crate) fn feed(&self) -> &Feed {
        &self.feed
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next event; waits for at most `timeout`, `None`: for ever.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`], [`Error::Closed`] after the last event, [`Error::WouldDeadlock`] on a thread of the feed
    /// that would have to wait.
    pub(crate) fn next(&self, timeout: Option<Duration>) -> Result<Event, Error> {
        match self.take(false) {
            Some(event) => Ok(event),
            None => self.wait(timeout, |rung| self.take(rung)),
        }
    }

    /// What waits, `most` events at most, into `events`, which is empty; waits for the first as [`next`](Self::next)
    /// does. To be given back to [`recycle`](Self::recycle).
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub(crate) fn next_batch(
        &self,
        most: usize,
        timeout: Option<Duration>,
    ) -> Result<VecDeque<Event>, Error> {
        match self.take_many(most, false) {
            Some(events) => Ok(events),
            None => self.wait(timeout, |rung| self.take_many(most, rung)),
        }
    }

    /// Keeps a drained buffer for the next batch.
    pub(crate) fn recycle(&self, spare: VecDeque<Event>) {
        let mut held = self.lock();
        let old = if spare.capacity() <= SPARE && held.spare.capacity() < spare.capacity() {
            std::mem::replace(&mut held.spare, spare)
        } else {
            spare
        };
        drop(held);
        drop(old);
    }

    /// Whether a reader would find something: an event, or the end.
    pub(crate) fn is_ready(&self) -> bool {
        let held = !self.lock().events.is_empty();
        held || self.feed.engine.shared.has_events_or_end()
    }

    /// Ends the feed at once, and waits for nothing: as if it were dropped.
    pub(crate) fn abandon(&self) {
        self.feed.engine.drop_feed();
    }

    fn wait<T>(&self, timeout: Option<Duration>, take: impl Fn(bool) -> Option<T>) -> Result<T, Error> {
        let shared = &self.feed.engine.shared;
        let deadline = timeout.and_then(|timeout| clock::mono().checked_add(timeout));
        loop {
            if shared.is_over() {
                return take(false).ok_or_else(|| shared.closed_error());
            }
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                return Err(Error::Timeout);
            }
            if shared.is_own_thread() {
                return Err(Error::WouldDeadlock);
            }
            self.waiting.fetch_add(1, Ordering::SeqCst);
            // Once more, now that whoever leaves something here rings for this thread.
            let taken = take(false);
            let rung = if taken.is_none() { Some(self.feed.wait_for_bell(deadline)) } else { None };
            self.waiting.fetch_sub(1, Ordering::SeqCst);
            let over = match rung {
                None => None,
                Some(Ok(batch)) => {
                    batch.answer();
                    None
                }
                Some(Err(RecvTimeoutError::Timeout)) => Some(Error::Timeout),
                Some(Err(RecvTimeoutError::Disconnected)) => Some(shared.closed_error()),
            };
            let was_rung = taken.is_none() && over.is_none();
            if let Some(taken) = taken.or_else(|| take(was_rung)) {
                return Ok(taken);
            }
            if let Some(error) = over {
                return Err(error);
            }
        }
    }

    /// `rung`: the bell was answered for it, so it rings for others that wait if there is more.
    fn take(&self, rung: bool) -> Option<Event> {
        let shared = &self.feed.engine.shared;
        let mut held = self.lock();
        if held.events.is_empty() {
            let spare = std::mem::take(&mut held.events);
            held.events = shared.claim_into(TURN.min(shared.lot().0), spare);
        }
        let event = held.events.pop_front()?;
        held.due.count(&event);
        let lot = shared.lot();
        let more = !held.events.is_empty();
        let pay = !more || held.due.messages >= lot.0 || held.due.bytes >= lot.1;
        let due = if pay { std::mem::take(&mut held.due) } else { Due::default() };
        drop(held);
        self.pay(due);
        if rung {
            self.pass_on(more);
        }
        Some(event)
    }

    fn take_many(&self, most: usize, rung: bool) -> Option<VecDeque<Event>> {
        let shared = &self.feed.engine.shared;
        let most = if most == 0 { usize::MAX } else { most };
        let mut held = self.lock();
        let mut spare = std::mem::take(&mut held.spare);
        let mut events = if held.events.is_empty() {
            shared.claim_into(most, spare)
        } else if held.events.len() <= most {
            std::mem::swap(&mut held.events, &mut spare);
            spare
        } else {
            spare.extend(held.events.drain(..most));
            spare
        };
        let left = most - events.len();
        if left > 0 && held.events.is_empty() {
            let rest = shared.claim_into(left, std::mem::take(&mut held.events));
            held.events = rest;
            events.append(&mut held.events);
        }
        if events.is_empty() {
            held.spare = events;
            return None;
        }
        let mut due = std::mem::take(&mut held.due);
        let more = !held.events.is_empty();
        drop(held);
        events.iter().for_each(|event| due.count(event));
        self.pay(due);
        if rung {
            self.pass_on(more);
        }
        Some(events)
    }

    fn pay(&self, due: Due) {
        if !due.is_nothing() {
            self.feed.engine.shared.consumed(due.messages, due.bytes, due.end);
        }
    }

    fn pass_on(&self, more: bool) {
        if self.waiting.load(Ordering::SeqCst) > 0 && (more || self.feed.engine.shared.has_events()) {
            self.feed.engine.shared.ring();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_buffer_is_let_go() {
        let pull = Pull::new(Feed::open("ws://127.0.0.1:9/").unwrap());
        pull.recycle(VecDeque::with_capacity(SPARE));
        assert!(pull.lock().spare.capacity() >= SPARE);
        pull.lock().spare = VecDeque::new();
        pull.recycle(VecDeque::with_capacity(2 * SPARE));
        assert_eq!(pull.lock().spare.capacity(), 0);
    }
}
