//! The core: the session machine, the event queue, and what belongs to both. Plain data under one mutex.
//!
//! What a change calls for comes out as [`Effects`], to be done once the lock is released.

use super::book::{Book, Left};
use super::governor::Governor;
use super::plan::{Plan, Spec, Target};
use super::questions::Question;
use super::queue::Queue;
#[cfg(feature = "monitor")]
use super::recent::Recent;
use super::record;
use super::teller::Untold;
use crate::clock::Stamp;
use crate::dialect::{FrameVars, Matcher, Member, Variables};
use crate::error::Error;
use crate::event::{AlertKind, Event};
use crate::health::Health;
use crate::message::{Content, Message, SubscriptionId};
use crate::policy::approach::{self, Wait};
use crate::policy::freshness::Key;
use crate::policy::outbox::{Out, OutKind};
use crate::policy::pacing;
use crate::policy::session::{Cycle, Outcome, Session};
use crate::policy::subscriptions::BLIND;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// A panicking callback raises an alert at most this often; each panic is logged.
const PANIC_ALERT: Duration = Duration::from_secs(10);

/// A drained buffer is kept for use again up to this many events.
const SPARE: usize = 16 * 1024;

/// On whose thread a change is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Caller {
    User,
    Reader,
    Controller,
}

/// Between two looks at the socket so much passes as a matter of course.
const HELD_UP: Duration = Duration::from_millis(100);

/// The pure data that both threads and all users share.
pub(crate) struct Core {
    pub(crate) session: Session,
    pub(crate) queue: Queue,
    pub(crate) book: Book,
    /// So many rules come before those of the configuration.
    pub(super) heartbeats: u32,
    receipts: HashMap<u64, Sender<Outcome>>,
    /// When the reader's `recv` times out by itself; `None`: it has no timeout.
    pub(super) parked_until: Option<Instant>,
    /// A dialect says whose messages are.
    has_dialect: bool,
    /// What the controller sleeps until; `None`: without an end.
    pub(super) controller_until: Option<Instant>,
    /// Events go to a handler on the reader thread.
    handled: bool,
    /// TLS output was produced by reading: the writer has to send it.
    pub(super) flush: bool,
    /// `on_wake` is owed: the queue was filled on a user's thread.
    wake_owed: bool,
    /// Alerts for the application's callback.
    pub(super) untold: Untold,
    /// That callback has something to do.
    tell: bool,
    pub(super) reader_waits: bool,
    pub(super) waiters: usize,
    /// The queue was nearly full, and has not got enough room since.
    slow: bool,
    governor: Arc<Governor>,
    /// Where the server sent the feed to, for the next attempt.
    pub(super) detour: Option<Box<Target>>,
    /// What has to wait, by a limit on sends, and until when.
    paced: Paced,
    panics: HashMap<&'static str, Instant>,
    spare: VecDeque<Event>,
    /// Events to be logged after the lock.
    log: Vec<Event>,
    /// The last events in short.
    #[cfg(feature = "monitor")]
    pub(super) recent: Recent,
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
    pub(super) fn new(plan: &mut Plan, routes_version: Arc<AtomicU64>) -> Self {
        let session = Session::new(plan.session.clone(), Stamp::now(), rand::random());
        let mut core = Self {
            session,
            queue: Queue::new(plan.queue),
            book: Book::new(plan.protocol.by(), Arc::clone(&plan.protocol.keep), routes_version),
            heartbeats: plan.protocol.heartbeats,
            receipts: HashMap::new(),
            parked_until: None,
            has_dialect: plan.protocol.dialect.is_some(),
            controller_until: None,
            handled: plan.handler.is_some(),
            flush: false,
            wake_owed: false,
            untold: Untold::new(plan.on_alert.is_some()),
            tell: false,
            reader_waits: false,
            waiters: 0,
            slow: false,
            governor: Arc::clone(&plan.governor),
            detour: None,
            paced: Paced::default(),
            panics: HashMap::new(),
            spare: VecDeque::new(),
            log: Vec::new(),
            #[cfg(feature = "monitor")]
            recent: Recent::default(),
        };
        for spec in std::mem::take(&mut plan.specs) {
            drop(core.subscribe(Stamp::now(), spec)); // it is not closed
        }
        core
    }

    /// One cycle of the reader. `armed` is the socket read timeout in force.
    pub(super) fn handle_cycle(
        &mut self,
        now: Stamp,
        cycle: &Cycle<'_>,
        batch: &mut VecDeque<Event>,
        bytes: usize,
    ) -> Next {
        self.handle_part(now, cycle, batch, bytes);
        self.next(now.mono, cycle.armed, cycle.empty)
    }

    /// A part of a cycle: what came before a message that means something else than data, or the rest.
    pub(super) fn handle_part(
        &mut self,
        now: Stamp,
        cycle: &Cycle<'_>,
        batch: &mut VecDeque<Event>,
        bytes: usize,
    ) {
        self.session.handle_recv(now, cycle);
        self.book.tidy(now.mono);
        if self.handled {
            self.session.handle_away(now.mono); // until the handler has returned
        }
        if self.session.closed().is_some() {
            batch.clear(); // a thread died: nothing comes after Closed
        }
        if !batch.is_empty() {
            // What the machine said stands before the data that made it say so.
            self.take_in();
            // Nobody is waited for at the end: what then finds no room is dropped, and marked.
            if self.session.is_ending() && self.queue.is_full() {
                self.queue.discard(batch);
            } else {
                self.queue.append(batch, bytes);
            }
            #[cfg(feature = "monitor")]
            self.recent.push_overflow(now.wall, self.queue.gaps());
        }
        if self.queue.is_nearly_full() {
            self.report_slow(now, true);
        }
    }

    pub(super) fn next(&mut self, now: Instant, armed: Option<Duration>, empty: bool) -> Next {
        let wait = approach::wait(self.session.recv_deadline(), now, armed, empty);
        self.parked_until = match wait {
            Wait::Until(timeout) => timeout.and_then(|timeout| now.checked_add(timeout)),
            Wait::Exactly(time) => now.checked_add(time),
            Wait::Probe => Some(now),
        };
        Next {
            wait,
            end: self.session.must_end(now),
            full: self.queue.is_full() && !self.session.is_ending(),
        }
    }

    /// Reports whether the consumer is slow.
    fn report_slow(&mut self, now: Stamp, slow: bool) {
        self.slow = slow;
        self.session.handle_slow_consumer(now, slow, self.queue.messages(), self.queue.bytes());
    }

    /// Whether the feed is closed, and all of its events were taken and consumed.
    pub(super) fn is_read_to_the_end(&self) -> bool {
        self.session.closed().is_some() && self.queue.is_empty()
    }

    /// A deadline that the controller has to judge, because the reader's `recv` returns only after it.
    pub(super) fn judge_at(&self) -> Option<Instant> {
        if self.session.is_away() {
            return None; // the reader looks when it is back
        }
        let deadline = self.session.recv_deadline()?;
        self.parked_until.is_none_or(|parked| deadline < parked).then_some(deadline)
    }

    /// What the controller goes to sleep with.
    pub(super) fn deadlines(&self) -> Deadlines {
        Deadlines { timer: self.session.next_deadline(), judge_at: self.judge_at() }
    }

    pub(crate) fn subscribe(&mut self, now: Stamp, spec: Spec) -> Result<(), Error> {
        if let Some(reason) = self.session.closed() {
            let closed = Error::Closed(Box::new(reason.clone()));
            self.book.bury(spec);
            return Err(closed);
        }
        let same = self.session.key_of(&spec.want.id);
        if !self.has_dialect
            && let Some(blind) = self.book.blind_beside(&spec, same)
        {
            let problem = if blind == spec.want.id {
                String::from(BLIND)
            } else {
                format!("can't join {blind:?}, whose `data` {BLIND}")
            };
            let path = if blind == spec.want.id { "subscription.data" } else { "subscription" };
            self.book.bury(spec);
            return Err(Error::config(path, problem));
        }
        let (key, replaced) = self.session.handle_subscribe(now, spec.want.clone());
        if let Some((old, to_write)) = replaced {
            self.let_go(old, to_write);
        }
        self.book.insert(key, Arc::new(spec));
        Ok(())
    }

    fn let_go(&mut self, key: Key, to_write: bool) {
        let left = match to_write {
            false => Left::Nothing,
            true if self.session.is_parting(key) => Left::Answer,
            true => Left::Message,
        };
        self.book.remove(key, left);
    }

    pub(crate) fn unsubscribe(&mut self, id: &SubscriptionId) -> Result<(), Error> {
        let Some((key, to_write)) = self.session.handle_unsubscribe(Stamp::now(), id) else {
            return Err(Error::UnknownSubscription(id.clone()));
        };
        self.let_go(key, to_write);
        self.book.forget_name(id);
        Ok(())
    }

    pub(crate) fn send(&mut self, content: Content) -> Result<Receiver<Outcome>, Error> {
        let ticket = self.session.handle_send(content)?;
        let (sender, receiver) = bounded(1);
        self.receipts.insert(ticket, sender);
        Ok(receiver)
    }

    /// What a frame is filled in with that the application makes; it has a number of its own.
    pub(crate) fn vars(&mut self) -> FrameVars {
        FrameVars {
            id: Some(self.session.next_frame()),
            captures: self.book.captures(),
            ..FrameVars::new(self.session.epoch(), 0, Stamp::now().wall)
        }
    }

    /// Sends a question, and has its answer sent to `answer`. What comes back tells that it was dropped.
    /// `certain`: only the answer to this question can meet `reply`.
    pub(crate) fn ask(
        &mut self,
        content: Content,
        reply: Matcher,
        certain: bool,
        answer: Sender<Message>,
    ) -> Result<u64, Error> {
        // The route first: the answer may be here before the report that the question was written.
        let ticket = match self.session.handle_send(content) {
            Ok(ticket) => ticket,
            Err(refused) => {
                self.book.bury(reply);
                return Err(refused);
            }
        };
        self.book.ask(ticket, Question { matcher: reply, certain, answer: Some(answer) });
        Ok(ticket)
    }

    /// The next thing to write on the connection of this epoch, with what it is made from.
    pub(super) fn next_out(&mut self, now: Stamp, epoch: u64) -> Option<Made> {
        self.paced = Paced::default();
        if self.session.epoch() != epoch {
            return None;
        }
        let kind = self.session.peek_out()?;
        let out = match self.governor.sends(now.mono, pace_kind(kind)) {
            Ok(()) => self.session.poll_out(now)?,
            Err(until) => {
                self.paced.set(kind, until);
                self.overtaking(now.mono, kind)?
            }
        };
        let mut made = Made { out, spec: None, members: Vec::new(), captures: self.book.captures() };
        match &made.out {
            Out::Subscribe { frame, keys } => {
                for key in keys {
                    self.book.subscribing(*key, *frame);
                    made.members.extend(self.book.member(*key));
                    made.spec = made.spec.take().or_else(|| self.book.spec(*key));
                }
            }
            Out::Unsubscribe { key, .. } => {
                if let Some((spec, member)) = self.book.retire(*key) {
                    made.spec = Some(spec);
                    made.members.push(member);
                }
            }
            Out::Probe { key, .. } => {
                made.spec = self.book.spec(*key);
                made.members.extend(self.book.member(*key));
            }
            Out::Pong(_)
            | Out::Ping
            | Out::Reply { .. }
            | Out::Answer(_)
            | Out::Keepalive { .. }
            | Out::App { .. }
            | Out::Close(_) => {}
        }
        Some(made)
    }

    /// What the application sends does not wait for the subscriptions of a new connection while these wait for a limit
    /// of their own: there may be thousands of them, and a few a second.
    fn overtaking(&mut self, now: Instant, kind: OutKind) -> Option<Out> {
        if kind != OutKind::Subscribe || !self.session.has_overtaking() {
            return None;
        }
        match self.governor.sends(now, pacing::Kind::Application) {
            Ok(()) => self.session.poll_overtaking(),
            Err(until) => {
                self.paced.set(OutKind::Application, until);
                None
            }
        }
    }

    /// Whether something can be written now.
    pub(super) fn wants_write(&self) -> bool {
        // What is next may be of another kind by now.
        match self.session.peek_out() {
            None => false,
            Some(OutKind::Control | OutKind::Close) => true,
            Some(OutKind::Application) => self.paced.application.is_none(),
            Some(OutKind::Subscribe) => {
                self.paced.subscribes.is_none()
                    || self.paced.application.is_none() && self.session.has_overtaking()
            }
        }
    }

    /// When what waits for a limit on sends may be written.
    pub(super) fn paced_until(&self) -> Option<Instant> {
        [self.paced.subscribes, self.paced.application].into_iter().flatten().min()
    }

    /// The connection is over: what belonged to it is forgotten.
    pub(super) fn forget_connection(&mut self) {
        self.book.disconnected();
        self.paced = Paced::default();
    }

    pub(super) fn take_wake_owed(&mut self) -> bool {
        std::mem::take(&mut self.wake_owed)
    }

    /// Raises the alert of a panicking callback, unless there was one of late.
    pub(super) fn alert_panic(&mut self, now: Stamp, callback: &'static str, message: String) {
        let last = self.panics.get(callback);
        if last.is_none_or(|at| now.mono.saturating_duration_since(*at) >= PANIC_ALERT) {
            self.panics.insert(callback, now.mono);
            self.session.alert(now, AlertKind::CallbackPanicked { callback, message });
        }
    }

    /// The health but for what belongs to the process.
    /// How the feed is; `in_recv`: the reader looks at the socket.
    pub(super) fn health(&self, name: &str, now: Instant, in_recv: bool) -> Health {
        let mut health = self.session.health(name, now);
        let unseen = self.session.unseen_for(now).filter(|unseen| !in_recv && *unseen >= HELD_UP);
        health.held_up = unseen;
        health.dropped = self.queue.dropped();
        health.gaps += self.queue.gaps();
        health.queue_messages = self.queue.messages();
        health.queue_bytes = self.queue.bytes();
        health.missed_alerts = self.untold.missed_ever();
        health
    }

    /// Takes all events that wait.
    pub(super) fn claim(&mut self) -> VecDeque<Event> {
        let spare = std::mem::take(&mut self.spare);
        self.queue.claim(spare)
    }

    pub(super) fn claim_some(&mut self, most: usize) -> VecDeque<Event> {
        let spare = std::mem::take(&mut self.spare);
        self.queue.claim_some(most, spare)
    }

    /// Keeps a drained buffer for the next claim.
    pub(super) fn recycle(&mut self, spare: VecDeque<Event>) {
        if spare.capacity() <= SPARE && self.spare.capacity() < spare.capacity() {
            self.spare = spare;
        }
    }

    /// Moves the machine's events to the queue.
    fn take_in(&mut self) {
        while let Some(event) = self.session.poll_event() {
            if record::is_wanted(&event) {
                self.log.push(event.clone());
            }
            #[cfg(feature = "monitor")]
            self.recent.push(&event);
            if let Event::Alert(alert) = &event {
                self.untold.push(alert);
                self.tell = true;
            }
            self.queue.push(event);
        }
    }

    /// Collects what the change calls for.
    pub(super) fn settle(&mut self, was_empty: bool, caller: Caller) -> Effects {
        if self.slow && self.queue.is_relaxed() {
            self.report_slow(Stamp::now(), false);
        }
        self.take_in();
        while let Some(key) = self.session.poll_settled() {
            self.book.forget(key);
        }
        let mut effects = Effects { log: std::mem::take(&mut self.log), ..Effects::default() };
        while let Some((ticket, outcome)) = self.session.poll_outcome() {
            if let Some(sender) = self.receipts.remove(&ticket) {
                effects.outcomes.push((sender, outcome));
            }
        }
        effects.ring = was_empty && !self.queue.is_empty();
        effects.tell =
            self.untold.is_wanted() && (std::mem::take(&mut self.tell) || self.session.closed().is_some());
        effects.room = self.reader_waits && (!self.queue.is_full() || self.session.is_ending());
        effects.changed = self.waiters > 0;
        if effects.ring && caller == Caller::User {
            self.wake_owed = true;
        }
        let earlier =
            |at: Option<Instant>| at.is_some_and(|at| self.controller_until.is_none_or(|until| at < until));
        effects.kick = caller != Caller::Controller
            && (self.session.has_actions()
                || self.wants_write()
                || self.flush
                || self.wake_owed
                || earlier(self.session.next_deadline())
                || earlier(self.judge_at()));
        effects
    }
}

/// Until when limits on sends hold what up. What can't wait is not delayed.
#[derive(Default)]
struct Paced {
    subscribes: Option<Instant>,
    application: Option<Instant>,
}

impl Paced {
    fn set(&mut self, kind: OutKind, until: Instant) {
        match kind {
            OutKind::Subscribe => self.subscribes = Some(until),
            OutKind::Application => self.application = Some(until),
            OutKind::Control | OutKind::Close => {}
        }
    }
}

/// What a limit on sends takes it for. What can't wait is counted, and not delayed.
fn pace_kind(kind: OutKind) -> pacing::Kind {
    match kind {
        OutKind::Control | OutKind::Close => pacing::Kind::Control,
        OutKind::Subscribe => pacing::Kind::Subscribe,
        OutKind::Application => pacing::Kind::Application,
    }
}

/// Something to write, with what it is made from.
pub(super) struct Made {
    pub(super) out: Out,
    pub(super) spec: Option<Arc<Spec>>,
    /// The subscriptions that it is for.
    pub(super) members: Vec<Member>,
    pub(super) captures: Arc<Variables>,
}

/// What a change calls for, once the lock is released.
#[derive(Default)]
pub(super) struct Effects {
    /// The queue was empty, and is not any more.
    pub(super) ring: bool,
    /// The controller has something to do.
    pub(super) kick: bool,
    /// The reader need not wait for room any longer.
    pub(super) room: bool,
    /// Somebody waits for a state.
    pub(super) changed: bool,
    /// The application's callback for alerts has something to do, or nothing more.
    pub(super) tell: bool,
    pub(super) outcomes: Vec<(Sender<Outcome>, Outcome)>,
    pub(super) log: Vec<Event>,
}
