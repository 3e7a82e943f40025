//! The one mutex, and the doing of what follows from each change under it.
//!
//! Under the lock there is pure code only: no I/O, no user code, no waiting. Whatever a change calls for (ringing
//! the bell, waking a thread, logging, telling a sender its outcome) is collected under the lock and done after it.

use super::bell::{Batch, Bell, Listener};
use super::book::Dead;
use super::core::{Caller, Core, Effects, Next};
use super::order::{Link, Order};
use super::plan::{OnWake, Plan};
use super::record;
#[cfg(feature = "monitor")]
use super::snapshot::LastWords;
use crate::clock::{self, Stamp};
use crate::error::{CloseReason, Error};
use crate::event::Event;
use crate::frame::{Direction, Frame, FrameKind, OnFrame};
use crate::health::Health;
use crate::panics;
use crate::transport::{self, Nudge, Stop};
use crossbeam_channel::Sender;
use std::cell::Cell;
use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The feed that the thread belongs to; 0: none.
    static OWNER: Cell<u64> = const { Cell::new(0) };
    /// The feed whose alerts the thread tells; 0: none.
    static TELLER: Cell<u64> = const { Cell::new(0) };
}

/// Whether the calling thread belongs to the feed of this id.
pub(crate) fn is_thread_of(id: u64) -> bool {
    OWNER.get() == id
}

/// Whether the calling thread belongs to any feed.
pub(crate) fn is_feed_thread() -> bool {
    OWNER.get() != 0
}

/// Where its changes are heard.
pub(super) struct Wires {
    /// Wakes the controller.
    pub(super) kick: Sender<()>,
    /// Wakes who tells alerts.
    pub(super) tell: Sender<()>,
    pub(super) orders: Sender<Order>,
    pub(super) ring: Sender<Batch>,
    /// Has the reader, if it is its own consumer, look at the queue.
    pub(super) nudge: Option<Nudge>,
}

/// The core, locked. What is let go of meanwhile is dropped after that.
pub(super) struct Locked<'a> {
    /// Dropped first: the lock.
    core: MutexGuard<'a, Core>,
    dead: Dead,
}

impl Deref for Locked<'_> {
    type Target = Core;

    fn deref(&self) -> &Core {
        &self.core
    }
}

impl DerefMut for Locked<'_> {
    fn deref_mut(&mut self) -> &mut Core {
        &mut self.core
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.dead = self.core.book.take_dead();
    }
}

/// The core behind its mutex, and everything that its changes set in motion.
pub(crate) struct Shared {
    core: Mutex<Core>,
    /// For the reader: there is room in the queue, or waiting for it has lost its point.
    room: Condvar,
    /// For users that wait for a state.
    changed: Condvar,
    bell: Bell,
    kick: Sender<()>,
    tell: Sender<()>,
    orders: Sender<Order>,
    on_wake: Option<OnWake>,
    on_frame: Option<OnFrame>,
    /// Events go to a handler on the reader thread.
    handled: bool,
    nudge: Option<Nudge>,
    lot: (usize, usize),
    name: String,
    close_wait: Duration,
    id: u64,
    /// What stops the present attempt or connection.
    stop: Mutex<Option<Stop>>,
    /// The writing half of a new connection, on its way to the controller.
    link: Mutex<Option<Link>>,
    /// Odd while the reader is in `recv`; counts on with each.
    pub(super) turns: Arc<AtomicU64>,
    routes_version: Arc<AtomicU64>,
    /// For hosts that look on when this is gone.
    #[cfg(feature = "monitor")]
    pub(super) last_words: LastWords,
}

impl Shared {
    pub(super) fn new(plan: &mut Plan, wires: Wires) -> Self {
        let Wires { kick, tell, orders, ring, nudge } = wires;
        let routes_version = Arc::new(AtomicU64::new(0));
        let core = Core::new(plan, Arc::clone(&routes_version));
        Self {
            core: Mutex::new(core),
            room: Condvar::new(),
            changed: Condvar::new(),
            bell: Bell::new(ring),
            kick,
            tell,
            orders,
            on_wake: plan.on_wake.clone(),
            on_frame: plan.on_frame.take(),
            handled: plan.handler.is_some(),
            nudge,
            // An eighth of the bounds: the reader need not wait until a whole claim is consumed.
            lot: ((plan.queue.messages / 8).clamp(1, 1024), (plan.queue.bytes / 8).max(1)),
            name: plan.name.clone(),
            close_wait: plan.session.close_wait,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            stop: Mutex::new(None),
            link: Mutex::new(None),
            turns: Arc::new(AtomicU64::new(0)),
            routes_version,
            #[cfg(feature = "monitor")]
            last_words: LastWords::default(),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn close_wait(&self) -> Duration {
        self.close_wait
    }

    pub(super) fn lock(&self) -> Locked<'_> {
        Locked { core: self.guard(), dead: Dead::default() }
    }

    /// The lock alone, for who waits and changes nothing.
    fn guard(&self) -> MutexGuard<'_, Core> {
        // Pure code does not panic; should it, a later caller still finds whole data.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the core, and does what follows from that.
    pub(crate) fn with<R>(self: &Arc<Self>, caller: Caller, change: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.lock();
        let was_empty = core.queue.is_empty();
        let result = change(&mut core);
        let effects = core.settle(was_empty, caller);
        let dead = core.book.take_dead();
        drop(core);
        self.apply(caller, effects);
        drop(dead); // last: it may take its time
        result
    }

    fn apply(self: &Arc<Self>, caller: Caller, effects: Effects) {
        for (sender, outcome) in effects.outcomes {
            let _ = sender.try_send(outcome); // nobody may be interested
        }
        if effects.room {
            self.room.notify_all();
        }
        if effects.changed {
            self.changed.notify_all();
        }
        if effects.kick {
            let _ = self.kick.try_send(()); // full: it is awake already
        }
        if effects.tell {
            let _ = self.tell.try_send(()); // full: it is awake already
        }
        if effects.ring {
            if self.handled {
                if caller != Caller::Reader {
                    drop(self.orders.try_send(Order::Drain)); // full: it will look anyway
                    if let Some(nudge) = &self.nudge {
                        nudge.nudge();
                    }
                }
            } else {
                self.bell.ring(self);
                if caller != Caller::User {
                    self.wake();
                }
            }
        }
        if !effects.log.is_empty() {
            // The logger is the application's: should it panic, there is nobody to tell.
            let _ = panics::caught(|| effects.log.iter().for_each(|event| record::write(&self.name, event)));
        }
    }

    /// A thread of this feed panicked: a bug, or a logger that panics. It must not be a silent end.
    pub(super) fn die(self: &Arc<Self>, caller: Caller, detail: String) {
        self.with(caller, |core| {
            core.session.handle_panic(Stamp::now(), detail);
            core.forget_connection(); // no answer comes for those who wait for one
        });
        self.stop_now();
        let _ = self.orders.try_send(Order::Exit);
    }

    /// The reader has ended: no event comes after that.
    pub(super) fn reader_is_gone(&self) {
        if self.handled {
            self.bell.hang_up(); // the handler was told everything there is
        }
        self.bell.threads_are_gone();
    }

    pub(super) fn feed_is_gone(&self) {
        self.bell.feed_is_gone();
    }

    /// Calls `on_wake`.
    pub(super) fn wake(self: &Arc<Self>) {
        if let Some(on_wake) = &self.on_wake
            && let Err(message) = panics::caught(|| on_wake())
        {
            self.report_panic(Caller::Controller, "on_wake", message);
        }
    }

    /// Whether somebody watches the wire.
    pub(super) fn is_watched(&self) -> bool {
        self.on_frame.is_some()
    }

    /// Calls `on_frame` with a frame that was received.
    pub(super) fn received(self: &Arc<Self>, kind: FrameKind, payload: &[u8], epoch: u64, stamp: &Stamp) {
        self.watch(Caller::Reader, &Frame::new(Direction::Received, kind, payload, epoch, stamp));
    }

    /// Calls `on_frame` with a frame that is about to be written.
    pub(super) fn sending(self: &Arc<Self>, caller: Caller, kind: FrameKind, payload: &[u8], epoch: u64) {
        if self.is_watched() {
            self.watch(caller, &Frame::new(Direction::Sent, kind, payload, epoch, &Stamp::now()));
        }
    }

    fn watch(self: &Arc<Self>, caller: Caller, frame: &Frame<'_>) {
        if let Some(on_frame) = &self.on_frame
            && let Err(message) = panics::caught(|| on_frame(frame))
        {
            self.report_panic(caller, "on_frame", message);
        }
    }

    /// A callback panicked: logged, and raised as an alert, but not more often than people want to hear it.
    pub(super) fn report_panic(self: &Arc<Self>, caller: Caller, callback: &'static str, message: String) {
        let _ = panics::caught(|| {
            log::error!(target: record::TARGET, "{}: {callback} panicked: {message}", self.name);
        });
        let now = Stamp::now();
        self.with(caller, |core| {
            core.alert_panic(now, callback, message);
        });
    }

    /// Takes all events that wait.
    pub(super) fn claim(&self) -> VecDeque<Event> {
        self.lock().claim()
    }

    /// Takes the next `most` events that wait.
    pub(super) fn claim_some(&self, most: usize) -> VecDeque<Event> {
        self.lock().claim_some(most)
    }

    /// Takes the next `most` events that wait. `spare` is an empty buffer, taken in exchange.
    #[cfg(feature = "capi")]
    pub(crate) fn claim_into(&self, most: usize, spare: VecDeque<Event>) -> VecDeque<Event> {
        self.lock().queue.claim_some(most, spare)
    }

    /// Rings the bell for somebody who waits, though nothing new has come.
    #[cfg(feature = "capi")]
    pub(crate) fn ring(self: &Arc<Self>) {
        self.bell.ring(self);
    }

    /// Whether a reader would find something: an event, or the end.
    #[cfg(feature = "capi")]
    pub(crate) fn has_events_or_end(&self) -> bool {
        let core = self.lock();
        core.session.closed().is_some() || !core.queue.is_empty()
    }

    /// Has `listener` called whenever the bell rings; `false` if the events go to a handler, or there is one already.
    pub(crate) fn listen(&self, listener: Listener) -> bool {
        !self.handled && self.bell.listen(listener)
    }

    /// Ends that. The bell itself has rung all along, for those who look there from now on.
    pub(crate) fn unlisten(&self) {
        self.bell.unlisten();
    }

    /// Whether events wait.
    pub(crate) fn has_events(&self) -> bool {
        !self.lock().queue.is_empty()
    }

    /// Takes the next event alone. `rung`: the bell was answered for it, so it rings again if there are more.
    pub(crate) fn pop(self: &Arc<Self>, rung: bool) -> Option<Event> {
        let (event, more, over) = self.with(Caller::User, |core| {
            let event = core.queue.pop();
            (event, !core.queue.is_empty(), core.is_read_to_the_end())
        });
        if over {
            self.bell.hang_up();
        } else if more && rung {
            self.bell.ring(self);
        }
        event
    }

    /// Whether the feed is closed and its last event was taken.
    pub(crate) fn is_over(&self) -> bool {
        let core = self.lock();
        core.session.closed().is_some() && core.queue.is_empty()
    }

    /// So much of what was claimed was consumed, and, if `done`, all of that claim.
    pub(crate) fn consumed(self: &Arc<Self>, messages: usize, bytes: usize, done: bool) {
        let over = self.with(Caller::User, |core| {
            core.queue.release(messages, bytes);
            core.is_read_to_the_end()
        });
        if done && over {
            self.bell.hang_up();
        }
    }

    /// Takes back what was claimed and not looked at: it is the next again.
    pub(super) fn give_back(self: &Arc<Self>, events: VecDeque<Event>) {
        self.with(Caller::User, |core| core.queue.unclaim(events));
    }

    /// How much is consumed before room is given back, in messages and bytes.
    pub(crate) fn lot(&self) -> (usize, usize) {
        self.lot
    }

    /// Keeps a drained buffer for the next claim.
    pub(super) fn recycle(&self, spare: VecDeque<Event>) {
        self.lock().recycle(spare);
    }

    /// A batch was dropped unread.
    pub(super) fn ring_again(self: &Arc<Self>) {
        if !self.lock().queue.is_empty() {
            self.bell.ring(self);
        }
    }

    /// The threads could not be started: nothing will ever come.
    pub(super) fn hang_up(&self) {
        self.bell.hang_up();
        drop(self.orders.try_send(Order::Exit));
    }

    /// The reader waits until there is room, or the connection is to end.
    pub(super) fn wait_for_room(self: &Arc<Self>, armed: Option<Duration>) -> Next {
        let left_at = Stamp::now();
        self.with(Caller::Reader, |core| core.session.handle_away(left_at.mono));
        let mut core = self.guard();
        core.reader_waits = true;
        while core.queue.is_full() && !core.session.is_ending() {
            core = self.room.wait(core).unwrap_or_else(PoisonError::into_inner);
        }
        core.reader_waits = false;
        drop(core);
        let back = clock::mono();
        self.with(Caller::Reader, |core| {
            core.session.handle_back(back);
            core.next(back, armed, false)
        })
    }

    /// Waits until `ready` has an answer.
    pub(crate) fn wait<R>(
        &self,
        timeout: Duration,
        mut ready: impl FnMut(&Core) -> Option<Result<R, Error>>,
    ) -> Result<R, Error> {
        if !timeout.is_zero() && self.is_own_thread() {
            return Err(Error::WouldDeadlock);
        }
        let deadline = clock::mono().checked_add(timeout);
        let mut core = self.guard();
        loop {
            if let Some(answer) = ready(&core) {
                return answer;
            }
            if let Some(reason) = core.session.closed() {
                return Err(Error::Closed(Box::new(reason.clone())));
            }
            let left = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(clock::mono()));
            if left.is_zero() {
                return Err(Error::Timeout);
            }
            core.waiters += 1;
            // The longest wait that no platform's clock arithmetic overflows on.
            let left = left.min(Duration::from_secs(365 * 24 * 60 * 60));
            core = self.changed.wait_timeout(core, left).unwrap_or_else(PoisonError::into_inner).0;
            core.waiters -= 1;
        }
    }

    /// What a reader is told after the last event.
    pub(crate) fn closed_error(&self) -> Error {
        let reason = self.lock().session.closed().cloned();
        Error::Closed(Box::new(reason.unwrap_or(CloseReason::ByUser)))
    }

    pub(crate) fn health(&self) -> Health {
        let now = clock::mono();
        let health = self.lock().health(&self.name, now, self.is_in_recv());
        Health { abandoned_lookups: transport::abandoned_lookups(), ..health }
    }

    /// Marks the calling thread as one of this feed's own.
    pub(super) fn own_this_thread(&self) {
        OWNER.set(self.id);
    }

    /// Whether the calling thread is one of this feed's own, so that waiting for it would never end.
    pub(crate) fn is_own_thread(&self) -> bool {
        is_thread_of(self.id)
    }

    /// Marks the calling thread as the one that tells this feed's alerts.
    pub(super) fn tell_on_this_thread(&self) {
        TELLER.set(self.id);
    }

    /// Whether closing the feed would wait for the calling thread.
    pub(crate) fn waits_for_this_thread(&self) -> bool {
        self.is_own_thread() || TELLER.get() == self.id
    }

    /// Names the feed for [`is_thread_of`].
    pub(crate) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn set_stop(&self, stop: Stop) {
        *self.stop.lock().unwrap_or_else(PoisonError::into_inner) = Some(stop);
    }

    /// Stops the present attempt or connection: whoever is in a system call on it comes back.
    pub(super) fn stop_now(&self) {
        let stop = self.stop.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(stop) = stop {
            stop.abort();
        }
    }

    /// Hands over the writing half of a new connection: the controller adopts it at its next turn, which is soon.
    pub(super) fn put_link(&self, link: Link) {
        let old = self.link.lock().unwrap_or_else(PoisonError::into_inner).replace(link);
        drop(old);
        let _ = self.kick.try_send(()); // full: it is awake already
    }

    pub(super) fn take_link(&self) -> Option<Link> {
        self.link.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Counts the changes of what data is routed to.
    pub(super) fn routes_version(&self) -> u64 {
        self.routes_version.load(Ordering::Acquire)
    }

    /// Whether the reader is in `recv`, and which one.
    pub(super) fn turn(&self) -> u64 {
        self.turns.load(Ordering::Acquire)
    }

    /// Whether the reader is in `recv`.
    pub(super) fn is_in_recv(&self) -> bool {
        self.turn() % 2 == 1
    }
}
