//! Many feeds as one stream.

use super::Feed;
use crate::clock;
use crate::engine::bell::BatchIter;
use crate::engine::shared::is_feed_thread;
use crate::error::{CloseReason, Error};
use crate::event::Event;
use crate::health::Health;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use std::borrow::Borrow;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many events of one feed are taken in a row.
const TURN: usize = 64;

/// So many tokens of feeds that have left may lie about.
const SPARE: usize = 64;

/// Many feeds read as one stream, each event with its feed's tag.
///
/// The events of each feed come in their own order; between feeds there is none. Feeds take turns: at most 64 events
/// of one come in a row while others have some, so that a flood of one does not keep back the others. What a feed's
/// queue does when it is full stays as it is configured there, feed by feed.
///
/// A set has no thread of its own, and waiting costs the same for two feeds and for a thousand.
///
/// A tag is cloned for each event. `&'static str`, numbers and `Arc<str>` are cheap; a `String` is allocated anew.
///
/// # Threads
///
/// Every method may be called from any thread. Feeds join and leave at any time, also while a thread waits in
/// [`recv`](Self::recv). Each event goes to exactly one reader. A feed in a set is not read elsewhere: what another
/// reader of it takes does not come here. Everything else (subscribe, send, health) goes on through
/// [`get`](Self::get) or a clone of the `Arc` that was inserted.
///
/// # Feeds that end
///
/// With its [`Closed`](Event::Closed) a feed leaves the set by itself. When the last one has left, the stream ends:
/// [`recv`](Self::recv) says [`Error::NoFeed`], iterators return `None`; so a set whose feeds all gave up does not hang,
/// and a loop over an empty set does nothing. A set that is to wait for feeds to come is made by
/// [`open_ended`](Self::open_ended); it ends with [`close`](Self::close) alone.
///
/// # Closing
///
/// [`close`](Self::close) closes all feeds side by side. Dropping the set drops the feeds, which ends each that nobody
/// else holds; the others can be read as before, without a loss.
///
/// # Example
///
/// ```no_run
/// use livefeed::{Event, Feed, FeedSet};
///
/// let set = FeedSet::new();
/// set.insert("a", Feed::open("wss://a.example/ws")?)?;
/// set.insert("b", Feed::open("wss://b.example/ws")?)?;
/// for (tag, event) in &set {
///     match event {
///         Event::Message(message) => println!("{tag}: {:?}", message.text()),
///         Event::Gap(gap) => println!("{tag}: data was lost: {}", gap.cause.name()),
///         _ => {}
///     }
/// }
/// # Ok::<(), livefeed::Error>(())
/// ```
pub struct FeedSet<T = String> {
    state: Mutex<State<T>>,
    /// What wakes readers, in the order of its coming.
    tokens: Sender<Token>,
    ready: Receiver<Token>,
    open_ended: bool,
}

struct State<T> {
    /// By number, which is the order of joining.
    members: BTreeMap<u64, Member<T>>,
    numbers: HashMap<T, u64>,
    next_number: u64,
    /// The feed whose turn it is.
    turn: Option<Turn<T>>,
    /// Feeds with events, in the order of their coming.
    queued: VecDeque<u64>,
    /// Readers that wait for a token.
    waiting: usize,
    /// A nudge is on its way.
    nudged: bool,
    closing: bool,
    /// Feeds that have left and are still to be let go of, without the lock.
    left: Vec<Left>,
}

struct Turn<T> {
    number: u64,
    tag: T,
    /// What was taken for it. The rest stays in the feed's queue, where it can still be changed.
    batch: BatchIter,
}

struct Member<T> {
    tag: T,
    feed: Arc<Feed>,
    /// A token of it is on its way, or it is queued, or it has its turn.
    known: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
enum Token {
    /// This feed has events.
    Feed(u64),
    /// Something else has changed.
    Nudge,
}

impl<T: Clone + Eq + Hash> FeedSet<T> {
    /// An empty set, whose stream is over whenever there is no feed in it.
    pub fn new() -> Self {
        Self::make(false)
    }

    /// An empty set, whose readers wait while there is no feed in it, until it is closed.
    pub fn open_ended() -> Self {
        Self::make(true)
    }

    fn make(open_ended: bool) -> Self {
        let (tokens, ready) = unbounded();
        let state = State {
            members: BTreeMap::new(),
            numbers: HashMap::new(),
            next_number: 0,
            turn: None,
            queued: VecDeque::new(),
            waiting: 0,
            nudged: false,
            closing: false,
            left: Vec::new(),
        };
        Self { state: Mutex::new(state), tokens, ready, open_ended }
    }

    // ---- joining and leaving -----------------------------------------------------------------------------

    /// Adds a feed, in the state that it is in; what waits in its queue comes first. One of the same tag leaves the set,
    /// as with [`remove`](Self::remove), and is returned.
    ///
    /// # Errors
    ///
    /// [`Error::Taken`] if the feed has a handler, which gets its events, or is in a set already;
    /// [`Error::Closed`] if the set is closed, or the feed is and was read to the end (all final). A feed that is
    /// refused is dropped.
    pub fn insert(&self, tag: T, feed: impl Into<Arc<Feed>>) -> Result<Option<Arc<Feed>>, Error> {
        let feed = feed.into();
        let mut state = self.lock();
        if state.closing {
            drop(state);
            return Err(Error::Closed(Box::new(CloseReason::ByUser)));
        }
        if feed.engine.shared.is_over() {
            drop(state);
            return Err(feed.over());
        }
        let number = state.next_number;
        // Nobody has told of what is there already, so it begins as though somebody had.
        let known = Arc::new(AtomicBool::new(true));
        let (heard, tokens) = (Arc::clone(&known), self.tokens.clone());
        let listener = move || {
            if !heard.swap(true, Ordering::AcqRel) {
                let _ = tokens.send(Token::Feed(number)); // the set may be gone
            }
        };
        if !feed.engine.shared.listen(Arc::new(listener)) {
            drop(state);
            return Err(Error::Taken);
        }
        let old = state.leave(&tag);
        self.sweep(&mut state);
        state.next_number += 1;
        state.numbers.insert(tag.clone(), number);
        state.members.insert(number, Member { tag, feed, known });
        self.send(Token::Feed(number));
        Self::unlock(state);
        Ok(old)
    }

    /// Takes a feed out of the set and returns it, open as it is. When this returns, the set gives no more of its
    /// events; all that it has not given can be read from the feed. No event is lost, and none comes twice.
    pub fn remove<Q>(&self, tag: &Q) -> Option<Arc<Feed>>
    where
        T: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let mut state = self.lock();
        let left = state.leave(tag);
        self.nudge(&mut state); // it may have been the last
        Self::unlock(state);
        left
    }

    /// A feed of the set, for everything but reading.
    pub fn get<Q>(&self, tag: &Q) -> Option<Arc<Feed>>
    where
        T: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let state = self.lock();
        let number = state.numbers.get(tag)?;
        state.members.get(number).map(|member| Arc::clone(&member.feed))
    }

    /// The tags, in the order in which the feeds joined.
    pub fn tags(&self) -> Vec<T> {
        self.lock().members.values().map(|member| member.tag.clone()).collect()
    }

    /// How many feeds are in the set. A closed one counts until its [`Closed`](Event::Closed) was read.
    pub fn len(&self) -> usize {
        self.lock().members.len()
    }

    /// Whether there is no feed in the set.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // ---- reading -----------------------------------------------------------------------------------------

    /// Waits for the next event of any feed.
    ///
    /// # Errors
    ///
    /// [`Error::NoFeed`] if there is no feed left to wait for (retry once there is; an
    /// [open-ended](Self::open_ended) set waits); [`Error::Closed`] after the last event of a closed set (final);
    /// [`Error::WouldDeadlock`] on a thread of a feed in the set.
    pub fn recv(&self) -> Result<(T, Event), Error> {
        self.recv_until(None)
    }

    /// Waits for the next event of any feed, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if none came (retry); otherwise as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<(T, Event), Error> {
        // A time too far to be told is for ever.
        self.recv_until(clock::mono().checked_add(timeout))
    }

    /// The next event of any feed if there is one. Never waits: fit for GUI threads.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] if there is none (retry); otherwise as [`recv`](Self::recv).
    pub fn try_recv(&self) -> Result<(T, Event), Error> {
        let mut state = self.lock();
        let taken = self.take(&mut state);
        let end = if taken.is_none() { self.end(&state) } else { None };
        if end.is_some() {
            self.nudge(&mut state); // it may have been for a reader that waits
        }
        Self::unlock(state);
        taken.ok_or(end.unwrap_or(Error::Empty))
    }

    /// All events, until no feed is left, or, of an [open-ended](Self::open_ended) set, until it is closed. Also
    /// `for (tag, event) in &set`.
    pub fn iter(&self) -> SetIter<'_, T> {
        SetIter { set: self, wait: true }
    }

    /// The events that are there now. Never waits: fit for GUI threads.
    pub fn try_iter(&self) -> SetIter<'_, T> {
        SetIter { set: self, wait: false }
    }

    fn recv_until(&self, deadline: Option<Instant>) -> Result<(T, Event), Error> {
        let mut late = false;
        let mut state = self.lock();
        loop {
            if let Some(taken) = self.take(&mut state) {
                Self::unlock(state);
                return Ok(taken);
            }
            let end = self.end(&state);
            if end.is_some() {
                self.nudge(&mut state); // the other readers wait for it too
            }
            if let Some(error) = end.or_else(|| state.is_own_thread().then_some(Error::WouldDeadlock)) {
                Self::unlock(state);
                return Err(error);
            }
            if late {
                Self::unlock(state);
                return Err(Error::Timeout);
            }
            state.waiting += 1;
            Self::unlock(state);
            let token = match deadline {
                Some(deadline) => self.ready.recv_deadline(deadline),
                None => self.ready.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            state = self.lock();
            state.waiting -= 1;
            match token {
                Ok(token) => state.hear(token),
                Err(_) => late = true,
            }
        }
    }

    /// Takes the next event.
    fn take(&self, state: &mut State<T>) -> Option<(T, Event)> {
        loop {
            if let Some(turn) = &mut state.turn
                && let Some(event) = turn.batch.next()
            {
                let (number, tag) = (turn.number, turn.tag.clone());
                // Looked after at once: whoever takes this event need not come again.
                if matches!(event, Event::Closed(_)) {
                    state.leave(&tag);
                    self.nudge(state);
                } else if turn.batch.len() == 0 {
                    state.turn = None;
                    self.queue_again(state, number);
                }
                if state.waiting > 0 && (state.turn.is_some() || !state.queued.is_empty()) {
                    self.nudge(state);
                }
                return Some((tag, event));
            }
            if let Some(turn) = state.turn.take() {
                drop(turn.batch);
                self.queue_again(state, turn.number);
            }
            while let Ok(token) = self.ready.try_recv() {
                state.hear(token);
            }
            let number = state.queued.pop_front()?;
            if let Some(member) = state.members.get(&number) {
                let batch = BatchIter::claim_some(&member.feed.engine.shared, TURN);
                state.turn = Some(Turn { number, tag: member.tag.clone(), batch });
            }
        }
    }

    /// A feed has had its turn: it gets another after the others, or tells when it has something again.
    fn queue_again(&self, state: &mut State<T>, number: u64) {
        let Some(member) = state.members.get(&number) else { return };
        let shared = &member.feed.engine.shared;
        // First it may tell again, then it is looked at: what comes in between is told, or seen, or both.
        member.known.store(false, Ordering::SeqCst);
        if shared.has_events() {
            if !member.known.swap(true, Ordering::SeqCst) {
                self.send(Token::Feed(number));
            }
        } else if shared.is_over() {
            // Somebody else has read its end.
            let tag = member.tag.clone();
            state.leave(&tag);
            self.nudge(state);
        }
    }

    /// Why nothing will come, if that is so.
    fn end(&self, state: &State<T>) -> Option<Error> {
        if !state.members.is_empty() {
            None
        } else if state.closing {
            Some(Error::Closed(Box::new(CloseReason::ByUser)))
        } else {
            (!self.open_ended).then_some(Error::NoFeed)
        }
    }

    /// Has one of the waiting readers look; it passes that on if there is still something to see.
    fn nudge(&self, state: &mut State<T>) {
        if state.waiting > 0 && !state.nudged {
            state.nudged = true;
            self.send(Token::Nudge);
        }
    }

    /// Forgets the tokens of feeds that have left: feeds may come and go for long while nobody reads.
    fn sweep(&self, state: &mut State<T>) {
        let bound = 2 * state.members.len() + SPARE;
        if self.ready.len() <= bound && state.queued.len() <= bound {
            return;
        }
        while let Ok(token) = self.ready.try_recv() {
            state.hear(token);
        }
        let State { queued, members, .. } = &mut *state;
        queued.retain(|number| members.contains_key(number));
        if !queued.is_empty() {
            self.nudge(state);
        }
    }

    fn send(&self, token: Token) {
        let _ = self.tokens.send(token); // the receiver is here, too
    }

    // ---- asking and closing ------------------------------------------------------------------------------

    /// A snapshot of the health of each feed, in the order in which they joined. Never waits.
    pub fn health(&self) -> Vec<(T, Health)> {
        let state = self.lock();
        let feeds: Vec<_> =
            state.members.values().map(|member| (member.tag.clone(), Arc::clone(&member.feed))).collect();
        drop(state);
        feeds.into_iter().map(|(tag, feed)| (tag, feed.health())).collect()
    }

    /// Closes all feeds side by side, each as [`Feed::close`] does, within one `timeout`, and the set. What was queued
    /// before stays readable. Idempotent.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if a callback of the application still holds a feed's thread up; the call may be repeated.
    /// [`Error::WouldDeadlock`] from a callback of one of the feeds: all are closing, but can't be waited for there.
    pub fn close(&self, timeout: Duration) -> Result<(), Error> {
        let begin = clock::mono();
        let mut state = self.lock();
        state.closing = true;
        let feeds: Vec<_> = state.members.values().map(|member| Arc::clone(&member.feed)).collect();
        self.nudge(&mut state);
        drop(state);
        for feed in &feeds {
            feed.engine.begin_close(timeout);
        }
        if feeds.iter().any(|feed| feed.engine.shared.waits_for_this_thread()) {
            return Err(Error::WouldDeadlock);
        }
        let mut result = Ok(());
        for feed in &feeds {
            let left = timeout.saturating_sub(clock::mono().saturating_duration_since(begin));
            result = result.and(feed.close(left));
        }
        result
    }

    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Whole between any two statements but for the code of `T`, whose panic is its own fault.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets go of the lock, then of the feeds that have left: what was taken for a turn goes back, and the feed is
    /// read as before, if anybody still has it.
    fn unlock(mut state: MutexGuard<'_, State<T>>) {
        let left = std::mem::take(&mut state.left);
        drop(state);
        for Left { feed, turn } in left {
            drop(turn);
            feed.engine.shared.unlisten();
        }
    }
}

impl<T> State<T> {
    /// Whether the calling thread is one of a feed in the set, which would wait for itself here.
    fn is_own_thread(&self) -> bool {
        is_feed_thread() && self.members.values().any(|member| member.feed.engine.shared.is_own_thread())
    }

    fn hear(&mut self, token: Token) {
        match token {
            Token::Feed(number) => self.queued.push_back(number),
            Token::Nudge => self.nudged = false,
        }
    }

    /// Takes a feed out, and its turn from it. It is let go of in [`unlock`](FeedSet::unlock).
    fn leave<Q>(&mut self, tag: &Q) -> Option<Arc<Feed>>
    where
        T: Borrow<Q> + Eq + Hash,
        Q: Eq + Hash + ?Sized,
    {
        let number = self.numbers.remove(tag)?;
        let member = self.members.remove(&number)?;
        let turn = self.turn.take_if(|turn| turn.number == number).map(|turn| turn.batch);
        let feed = Arc::clone(&member.feed);
        self.left.push(Left { feed: member.feed, turn });
        Some(feed)
    }
}

/// A feed that has left the set, and what was taken from it for its turn.
struct Left {
    feed: Arc<Feed>,
    turn: Option<BatchIter>,
}

impl<T: Clone + Eq + Hash> Default for FeedSet<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Drop for FeedSet<T> {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(state.turn.take()); // what it holds goes back
        for member in std::mem::take(&mut state.members).into_values() {
            member.feed.engine.shared.unlisten();
        }
    }
}

impl<T: fmt::Debug> fmt::Debug for FeedSet<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let tags: Vec<&T> = state.members.values().map(|member| &member.tag).collect();
        f.debug_struct("FeedSet").field("tags", &tags).finish_non_exhaustive()
    }
}

impl<'a, T: Clone + Eq + Hash> IntoIterator for &'a FeedSet<T> {
    type Item = (T, Event);
    type IntoIter = SetIter<'a, T>;

    fn into_iter(self) -> SetIter<'a, T> {
        self.iter()
    }
}

/// The events of a [`FeedSet`], each with its feed's tag.
#[derive(Debug)]
pub struct SetIter<'a, T> {
    set: &'a FeedSet<T>,
    wait: bool,
}

impl<T: Clone + Eq + Hash> Iterator for SetIter<'_, T> {
    type Item = (T, Event);

    #[inline]
    fn next(&mut self) -> Option<(T, Event)> {
        if self.wait { self.set.recv().ok() } else { self.set.try_recv().ok() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn feeds_that_come_and_go_unread_leave_nothing_behind() {
        let set = FeedSet::new();
        let feed = |tag: u64| (tag, Arc::new(Feed::open("ws://127.0.0.1:9").unwrap()));
        let (stays, goes) = (feed(0), feed(1));
        set.insert(stays.0, stays.1).unwrap();
        for _ in 0..1000 {
            set.insert(goes.0, Arc::clone(&goes.1)).unwrap();
            assert!(set.remove(&goes.0).is_some());
        }
        assert!(set.ready.len() + set.lock().queued.len() < 4 * SPARE, "{}", set.ready.len());
        let (tag, event) = set.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((tag, event.name()), (0, "connecting"), "the one that stays is heard");
    }
}
