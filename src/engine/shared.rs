//! The one mutex, and what follows from each change under it.
//!
//! Under the lock there is pure code only: no I/O, no user code, no waiting. Whatever a change calls for (ringing
//! the bell, waking a thread, logging, telling a sender its outcome) is collected under the lock and done after it.

use super::bell::{Batch, Bell};
use super::plan::{OnWake, Plan, Spec};
use super::queue::Queue;
use super::reader::Order;
use super::writer::Link;
use crate::clock::{self, Stamp};
use crate::error::{CloseReason, Error};
use crate::event::{AlertKind, Event};
use crate::health::Health;
use crate::message::{Content, SubscriptionId};
use crate::panics;
use crate::policy::approach::{self, Wait};
use crate::policy::freshness::Key;
use crate::policy::session::{Cycle, Outcome, Session};
use crate::transport::{self, Stop};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A panicking callback raises an alert at most this often; each panic is logged.
const PANIC_ALERT: Duration = Duration::from_secs(10);

/// A slow consumer is said at most this often.
const SLOW_ALERT: Duration = Duration::from_secs(10);

/// A drained buffer is kept for use again up to this many events.
const SPARE: usize = 16 * 1024;

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The feed that the thread belongs to; 0: none.
    static OWNER: Cell<u64> = const { Cell::new(0) };
}

/// On whose thread a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    User,
    Reader,
    Controller,
}

/// The pure data that both threads and all users share.
pub(crate) struct Core {
    pub(crate) session: Session,
    pub(crate) queue: Queue,
    /// By key: the desired ones, and those whose unsubscribe message is still to be written.
    specs: HashMap<Key, Arc<Spec>>,
    /// The keys that data is routed to, in order; a new version with each change.
    routed: Vec<Key>,
    /// Read by the reader without the lock, after each `recv`.
    routes_version: Arc<AtomicU64>,
    receipts: HashMap<u64, Sender<Outcome>>,
    /// When the reader's `recv` times out by itself; `None`: it has no timeout.
    pub(super) parked_until: Option<Instant>,
    /// What the controller sleeps until; `None`: without an end.
    pub(super) controller_until: Option<Instant>,
    /// TLS output was produced by reading: the writer has to send it.
    pub(super) flush: bool,
    /// `on_wake` is owed: the queue was filled on a user's thread.
    wake_owed: bool,
    reader_waits: bool,
    waiters: usize,
    slow_since: Option<Instant>,
    slow: bool,
    panics: HashMap<&'static str, Instant>,
    spare: VecDeque<Event>,
    /// Events to be logged after the lock.
    log: Vec<Event>,
}

/// What the reader does next.
pub(super) struct Next {
    pub(super) wait: Wait,
    /// The connection is over.
    pub(super) end: bool,
    /// The queue is full: wait for room first.
    pub(super) full: bool,
}

/// What the controller has to be awake for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadlines {
    /// When the session machine wants to hear of the time.
    pub(super) timer: Option<Instant>,
    /// See [`Core::judge_at`].
    pub(super) judge_at: Option<Instant>,
}

impl Deadlines {
    /// Whether one is earlier than the same one of `seen`.
    pub(super) fn come_before(self, seen: Self) -> bool {
        let earlier = |new: Option<Instant>, old: Option<Instant>| {
            new.is_some_and(|new| old.is_none_or(|old| new < old))
        };
        earlier(self.timer, seen.timer) || earlier(self.judge_at, seen.judge_at)
    }
}

impl Core {
    /// One cycle of the reader. `armed` is the socket read timeout in force.
    pub(super) fn handle_cycle(
        &mut self,
        now: Stamp,
        cycle: &Cycle<'_>,
        batch: &mut VecDeque<Event>,
        bytes: usize,
    ) -> Next {
        self.session.handle_recv(now, cycle);
        if !batch.is_empty() {
            // What the machine said stands before the data that made it say so.
            self.take_in();
            // Nobody is waited for at the end: what then finds no room is dropped, and marked.
            if self.session.is_ending() && self.queue.is_full() {
                self.queue.discard(batch);
            } else {
                self.queue.append(batch, bytes);
            }
        }
        if self.queue.is_nearly_full() && !self.slow {
            self.slow = true;
            self.alert_slow(now);
        }
        self.next(now.mono, cycle.armed, cycle.empty)
    }

    pub(super) fn next(&mut self, now: Instant, armed: Option<Duration>, empty: bool) -> Next {
        let wait = approach::wait(self.session.recv_deadline(), now, armed, empty);
        self.parked_until = match wait {
            Wait::Until(timeout) => timeout.and_then(|timeout| now.checked_add(timeout)),
            Wait::Probe => Some(now),
        };
        Next {
            wait,
            end: self.session.must_end(now),
            full: self.queue.is_full() && !self.session.is_ending(),
        }
    }

    fn alert_slow(&mut self, now: Stamp) {
        let recent = self.slow_since.is_some_and(|at| now.mono.saturating_duration_since(at) < SLOW_ALERT);
        if !recent {
            self.slow_since = Some(now.mono);
            let (messages, bytes) = (self.queue.messages(), self.queue.bytes());
            self.session.alert(now, AlertKind::SlowConsumer { messages, bytes });
        }
    }

    /// A deadline that the controller has to judge, because the reader's `recv` returns only after it.
    pub(super) fn judge_at(&self) -> Option<Instant> {
        let deadline = self.session.recv_deadline()?;
        self.parked_until.is_none_or(|parked| deadline < parked).then_some(deadline)
    }

    /// What the controller goes to sleep with.
    pub(super) fn deadlines(&self) -> Deadlines {
        Deadlines { timer: self.session.next_deadline(), judge_at: self.judge_at() }
    }

    pub(crate) fn subscribe(&mut self, now: Stamp, spec: Spec) {
        let (key, replaced) =
            self.session.handle_subscribe(now, spec.id.clone(), spec.limit, spec.subscribe.is_some());
        if let Some(old) = replaced {
            self.routed.retain(|key| *key != old);
            if !self.session.is_connected() {
                self.specs.remove(&old);
            }
        }
        self.specs.insert(key, Arc::new(spec));
        self.routed.push(key);
        self.routes_version.fetch_add(1, Ordering::Release);
    }

    pub(crate) fn unsubscribe(&mut self, id: &SubscriptionId) -> Result<(), Error> {
        let Some((key, to_write)) = self.session.handle_unsubscribe(id) else {
            return Err(Error::UnknownSubscription(id.clone()));
        };
        self.routed.retain(|routed| *routed != key);
        self.routes_version.fetch_add(1, Ordering::Release);
        if !to_write {
            self.specs.remove(&key);
        }
        Ok(())
    }

    pub(crate) fn send(&mut self, content: Content) -> Result<Receiver<Outcome>, Error> {
        let ticket = self.session.handle_send(content)?;
        let (sender, receiver) = bounded(1);
        self.receipts.insert(ticket, sender);
        Ok(receiver)
    }

    pub(super) fn spec(&self, key: Key) -> Option<Arc<Spec>> {
        self.specs.get(&key).map(Arc::clone)
    }

    /// Takes the spec of a subscription that is no longer desired, with its last use.
    pub(super) fn retire(&mut self, key: Key) -> Option<Arc<Spec>> {
        if self.routed.contains(&key) { self.spec(key) } else { self.specs.remove(&key) }
    }

    /// What the router is built from, and its version.
    pub(super) fn routes(&self) -> (u64, Vec<(Key, Arc<Spec>)>) {
        let routes = self.routed.iter().filter_map(|key| Some((*key, self.spec(*key)?))).collect();
        (self.routes_version.load(Ordering::Acquire), routes)
    }

    /// Drops what only the connection that ended still needed.
    pub(super) fn forget_retired(&mut self) {
        let routed = &self.routed;
        self.specs.retain(|key, _| routed.contains(key));
    }

    pub(super) fn take_wake_owed(&mut self) -> bool {
        std::mem::take(&mut self.wake_owed)
    }

    /// Moves the machine's events to the queue.
    fn take_in(&mut self) {
        while let Some(event) = self.session.poll_event() {
            if log::log_enabled!(target: LOG, log::Level::Debug) || is_notable(&event) {
                self.log.push(event.clone());
            }
            self.queue.push(event);
        }
    }

    /// Collects what the change calls for.
    fn settle(&mut self, was_empty: bool, caller: Caller) -> Effects {
        self.take_in();
        let mut effects = Effects { log: std::mem::take(&mut self.log), ..Effects::default() };
        while let Some((ticket, outcome)) = self.session.poll_outcome() {
            if let Some(sender) = self.receipts.remove(&ticket) {
                effects.outcomes.push((sender, outcome));
            }
        }
        if self.slow && self.queue.is_relaxed() {
            self.slow = false;
        }
        effects.ring = was_empty && !self.queue.is_empty();
        effects.room = self.reader_waits && (!self.queue.is_full() || self.session.is_ending());
        effects.changed = self.waiters > 0;
        if effects.ring && caller == Caller::User {
            self.wake_owed = true;
        }
        let earlier =
            |at: Option<Instant>| at.is_some_and(|at| self.controller_until.is_none_or(|until| at < until));
        effects.kick = caller != Caller::Controller
            && (self.session.has_actions()
                || self.session.has_out()
                || self.flush
                || self.wake_owed
                || earlier(self.session.next_deadline())
                || earlier(self.judge_at()));
        effects
    }
}

#[derive(Default)]
struct Effects {
    ring: bool,
    kick: bool,
    room: bool,
    changed: bool,
    outcomes: Vec<(Sender<Outcome>, Outcome)>,
    log: Vec<Event>,
}

/// The target of all log records.
const LOG: &str = "livefeed";

fn is_notable(event: &Event) -> bool {
    matches!(event, Event::Stale(_) | Event::Disconnected(_) | Event::Alert(_) | Event::Closed(_))
        && log::log_enabled!(target: LOG, log::Level::Warn)
        || matches!(event, Event::Connected(_) | Event::Gap(_))
            && log::log_enabled!(target: LOG, log::Level::Info)
}

fn log_event(name: &str, event: &Event) {
    match event {
        Event::Connected(e) => log::info!(target: LOG, "{name}: connected, epoch {}, to {}", e.epoch, e.peer),
        Event::Gap(e) => log::info!(target: LOG, "{name}: gap, epoch {}: {}", e.epoch, e.cause.name()),
        Event::Stale(e) => log::warn!(
            target: LOG,
            "{name}: stale, epoch {}: no data for {:.3} s ({})",
            e.epoch,
            e.age.as_secs_f64(),
            e.subscription.as_ref().map_or("connection", SubscriptionId::as_str),
        ),
        Event::Disconnected(e) => match e.retry_in {
            Some(delay) => log::warn!(
                target: LOG,
                "{name}: disconnected, epoch {}: {}; next attempt in {:.3} s",
                e.epoch,
                e.reason,
                delay.as_secs_f64()
            ),
            None => log::warn!(target: LOG, "{name}: disconnected, epoch {}: {}", e.epoch, e.reason),
        },
        Event::Alert(e) => log::warn!(target: LOG, "{name}: alert: {:?}", e.kind),
        Event::Closed(e) => log::info!(target: LOG, "{name}: closed: {}", e.reason),
        other => log::debug!(target: LOG, "{name}: {}, epoch {}", other.name(), other.epoch()),
    }
}

pub(crate) struct Shared {
    core: Mutex<Core>,
    /// For the reader: there is room in the queue, or waiting for it has lost its point.
    room: Condvar,
    /// For users that wait for a state.
    changed: Condvar,
    bell: Bell,
    kick: Sender<()>,
    orders: Sender<Order>,
    on_wake: Option<OnWake>,
    /// Events go to a handler on the reader thread.
    handled: bool,
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
}

impl Shared {
    pub(super) fn new(plan: &mut Plan, kick: Sender<()>, orders: Sender<Order>, ring: Sender<Batch>) -> Self {
        let session = Session::new(plan.session.clone(), Stamp::now(), rand::random());
        let routes_version = Arc::new(AtomicU64::new(0));
        let mut core = Core {
            session,
            queue: Queue::new(plan.queue),
            specs: HashMap::new(),
            routed: Vec::new(),
            routes_version: Arc::clone(&routes_version),
            receipts: HashMap::new(),
            parked_until: None,
            controller_until: None,
            flush: false,
            wake_owed: false,
            reader_waits: false,
            waiters: 0,
            slow_since: None,
            slow: false,
            panics: HashMap::new(),
            spare: VecDeque::new(),
            log: Vec::new(),
        };
        for spec in std::mem::take(&mut plan.specs) {
            core.subscribe(Stamp::now(), spec);
        }
        Self {
            core: Mutex::new(core),
            room: Condvar::new(),
            changed: Condvar::new(),
            bell: Bell::new(ring),
            kick,
            orders,
            on_wake: plan.on_wake.clone(),
            handled: plan.handler.is_some(),
            name: plan.name.clone(),
            close_wait: plan.session.close_wait,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            stop: Mutex::new(None),
            link: Mutex::new(None),
            turns: Arc::new(AtomicU64::new(0)),
            routes_version,
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn close_wait(&self) -> Duration {
        self.close_wait
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Core> {
        // Pure code does not panic; should it, a later caller still finds whole data.
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the core, and does what follows from that.
    pub(crate) fn with<R>(self: &Arc<Self>, caller: Caller, change: impl FnOnce(&mut Core) -> R) -> R {
        let mut core = self.lock();
        let was_empty = core.queue.is_empty();
        let result = change(&mut core);
        let effects = core.settle(was_empty, caller);
        drop(core);
        self.apply(caller, effects);
        result
    }

    fn apply(self: &Arc<Self>, caller: Caller, effects: Effects) {
        for event in &effects.log {
            log_event(&self.name, event);
        }
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
        if effects.ring {
            if self.handled {
                if caller != Caller::Reader {
                    drop(self.orders.try_send(Order::Drain)); // full: it will look anyway
                }
            } else {
                self.bell.ring(self);
                if caller != Caller::User {
                    self.wake();
                }
            }
        }
    }

    /// Calls `on_wake`.
    pub(super) fn wake(self: &Arc<Self>) {
        if let Some(on_wake) = &self.on_wake
            && let Err(message) = panics::caught(|| on_wake())
        {
            self.report_panic(Caller::Controller, "on_wake", message);
        }
    }

    /// A callback panicked: logged, and raised as an alert, but not more often than people want to hear it.
    pub(super) fn report_panic(self: &Arc<Self>, caller: Caller, callback: &'static str, message: String) {
        log::error!(target: LOG, "{}: {callback} panicked: {message}", self.name);
        let now = Stamp::now();
        self.with(caller, |core| {
            let last = core.panics.get(callback);
            if last.is_none_or(|at| now.mono.saturating_duration_since(*at) >= PANIC_ALERT) {
                core.panics.insert(callback, now.mono);
                core.session.alert(now, AlertKind::CallbackPanicked { callback, message });
            }
        });
    }

    /// Takes all events that wait.
    pub(super) fn claim(self: &Arc<Self>) -> VecDeque<Event> {
        let mut core = self.lock();
        let spare = std::mem::take(&mut core.spare);
        let events = core.queue.claim(spare);
        let over = core.session.closed().is_some();
        drop(core);
        if over {
            self.bell.hang_up();
        }
        events
    }

    /// Keeps a drained buffer for the next claim.
    pub(super) fn recycle(&self, spare: VecDeque<Event>) {
        if spare.capacity() <= SPARE {
            let mut core = self.lock();
            if core.spare.capacity() < spare.capacity() {
                core.spare = spare;
            }
        }
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
        let mut core = self.lock();
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
        if self.is_own_thread() {
            return Err(Error::WouldDeadlock);
        }
        let deadline = clock::mono().checked_add(timeout);
        let mut core = self.lock();
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
        let core = self.lock();
        let mut health = core.session.health(&self.name, now);
        health.dropped = core.queue.dropped();
        health.gaps += core.queue.gaps();
        health.queue_messages = core.queue.messages();
        health.queue_bytes = core.queue.bytes();
        drop(core);
        health.abandoned_lookups = transport::abandoned_lookups();
        health
    }

    /// Marks the calling thread as one of this feed's own.
    pub(super) fn own_this_thread(&self) {
        OWNER.set(self.id);
    }

    /// Whether the calling thread is one of this feed's own, so that waiting for it would never end.
    pub(crate) fn is_own_thread(&self) -> bool {
        OWNER.get() == self.id
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

    pub(super) fn put_link(&self, link: Link) {
        let old = self.link.lock().unwrap_or_else(PoisonError::into_inner).replace(link);
        drop(old);
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
}
