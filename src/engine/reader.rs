//! The reader thread: makes attempts, then blocks in `recv`, whose timeout is the staleness detector.
//!
//! With a handler it waits in `poll` before each `recv`, so that a nudge can have it hand over what was made elsewhere.
//!
//! One cycle: one `recv`; one clock reading; decode and classify all of it, without the lock; one locked
//! `handle_cycle`; ring the bell. At the end of a connection `handle_ended` comes last.

use super::core::{Caller, Next};
use super::decoder::{Broken, Decoder};
use super::intake::{self, Intake, Setting, Taken};
use super::login::{Desk, Kept, LoggedIn};
use super::order::{Link, Order};
use super::plan::{AttemptContext, Beat, EndContext, FirstAfter, Handler, Plan, Target};
use super::routes::Routes;
use super::shared::Shared;
use crate::class::ErrorClass;
use crate::clock::{self, Stamp};
use crate::dialect::{FrameVars, Interval, Variables};
use crate::error::EndReason;
use crate::event::Event;
use crate::panics;
use crate::policy::approach::Wait;
use crate::policy::schedule::{First, Times};
use crate::policy::session::Established;
use crate::policy::verdict;
use crate::transport::{self, Budget, Dialed, Nudged, Outcome, Request, Stop};
use crossbeam_channel::Receiver;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// A connection, ready to be read.
struct Ready {
    decoder: Decoder,
    /// What came during the login.
    kept: Kept,
    /// The writing half, if it is still to be handed over.
    link: Option<Link>,
}

pub(super) struct Reader {
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    nudged: Option<Arc<Nudged>>,
    plan: Plan,
    handler: Option<Handler>,
    routes: Routes,
    batch: VecDeque<Event>,
    /// Where the connection was made to.
    here: Option<Target>,
}

impl Reader {
    pub(super) fn new(
        shared: Arc<Shared>,
        orders: Receiver<Order>,
        nudged: Option<Arc<Nudged>>,
        mut plan: Plan,
    ) -> Self {
        let routes = Routes::new(&mut plan);
        let handler = plan.handler.take();
        Self { shared, orders, nudged, plan, handler, routes, batch: VecDeque::new(), here: None }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn run(&mut self) {
        self.shared.own_this_thread();
        while let Ok(order) = self.orders.recv() {
            if self.shared.lock().session.closed().is_some() {
                self.drain(); // also where the order to end found no room
                return;
            }
            match order {
                Order::Dial { epoch, attempt, endpoint, stop } => {
                    let found = match self.attempt(epoch, attempt, endpoint, &stop) {
                        Ok(ready) => self.read(epoch, ready),
                        Err(found) => found,
                    };
                    // All handles of the old connection go before the end is said.
                    stop.abort();
                    self.end(found);
                }
                Order::Drain => {}
                Order::Exit => {
                    self.drain();
                    return;
                }
            }
            self.drain();
        }
    }

    /// One attempt: the provider's answer, then resolve, TCP, TLS and upgrade within the budget.
    fn attempt(
        &mut self,
        epoch: u64,
        attempt: u32,
        endpoint: usize,
        stop: &Stop,
    ) -> Result<Ready, EndReason> {
        // What the provider takes counts, too.
        let total = self.plan.attempt_budget;
        let budget = Budget { deadline: clock::mono() + total, total };
        let (previous, captures) = {
            let core = self.shared.lock();
            (core.session.last_end().cloned(), core.book.captures())
        };
        let cursor = self.routes.cursor();
        let vars = FrameVars { captures, cursor, ..FrameVars::new(epoch, attempt, Stamp::now().wall) };
        let context = AttemptContext { epoch, attempt, endpoint, previous, vars };
        // Where the server sent the feed to comes first, once.
        let detour = self.shared.with(Caller::Reader, |core| core.detour.take());
        let target = match detour {
            Some(target) => *target,
            None => self.ask_provider(&context)?,
        };
        let begin = Stamp::now();
        let endpoint = target.endpoint.redacted();
        self.shared.with(Caller::Reader, |core| core.session.handle_connecting(begin, endpoint));
        self.drain();
        let request = Request {
            endpoint: &target.endpoint,
            headers: &target.headers,
            subprotocols: &target.subprotocols,
            settings: &self.plan.transport,
        };
        let Dialed { mut read, mut write, peer, subprotocol } = transport::dial(&request, &budget, stop)?;
        read.watch(Arc::clone(&self.shared.turns));
        if let Some(nudged) = &self.nudged {
            read.heed(Arc::clone(nudged));
        }
        let mut decoder = Decoder::new(read, self.plan.read_buffer_bytes, self.plan.message_bytes);
        decoder.watch(&self.shared, epoch);
        self.here = Some(target);
        self.routes.begin(epoch, attempt);
        let mut desk = Desk {
            shared: &self.shared,
            routes: &mut self.routes,
            decoder: &mut decoder,
            half: &mut write,
            budget,
            stop,
            epoch,
            vars: context.vars,
            governor: &self.plan.governor,
            bound: self.plan.message_bytes,
        };
        let LoggedIn { captures, kept } = desk.log_in(Arc::clone(&self.plan.protocol.login))?;
        let told = Told::new(&captures, epoch, attempt);
        let schedules = told.times(&self.plan.protocol.beats)?;
        let heartbeat = told.shortest(self.plan.protocol.heartbeats())?;
        self.routes.interpreter.remember(&captures);
        // What came during the login stands before all that is written now: it may be what that is made from.
        let mut link = Some(Link { epoch, attempt, half: write, stop: stop.clone() });
        if kept.is_empty()
            && let Some(link) = link.take()
        {
            // The controller must find the writing half when the machine has something to write.
            self.shared.put_link(link);
        }
        let now = Stamp::now();
        let took = now.mono.saturating_duration_since(begin.mono);
        let established = Established { took, peer, subprotocol, schedules, heartbeat };
        let handled = self.handler.is_some();
        let wanted = self.shared.with(Caller::Reader, |core| {
            core.book.capture(captures.iter().map(|(name, value)| (name.clone(), value.clone())));
            let wanted = core.session.handle_connected(now, established, clock::suspended());
            if handled {
                core.session.handle_away(now.mono); // until `read`: the handler hears of it first
            }
            wanted
        });
        self.drain();
        if wanted { Ok(Ready { decoder, kept, link }) } else { Err(EndReason::ClosedByUser) }
    }

    fn ask_provider(&mut self, context: &AttemptContext) -> Result<Target, EndReason> {
        let provider = &mut self.plan.provider;
        match panics::caught(|| provider(context)) {
            Ok(Ok(target)) => Ok(target),
            Ok(Err(failure)) => Err(provider_failed(failure.detail, failure.fatal)),
            Err(panic) => Err(provider_failed(format!("it panicked: {panic}"), false)),
        }
    }

    /// Reads until the connection ends; says how it ended as seen from here.
    fn read(&mut self, epoch: u64, ready: Ready) -> EndReason {
        let Ready { mut decoder, kept, link } = ready;
        let begin = clock::mono();
        let mut next = self.shared.with(Caller::Reader, |core| {
            core.session.handle_back(begin);
            core.next(begin, None, true)
        });
        if !kept.is_empty() {
            match self.take_kept(epoch, kept) {
                Ok(after) => next = after,
                Err(reason) => return reason,
            }
        }
        if let Some(link) = link {
            self.shared.put_link(link);
        }
        loop {
            if next.full {
                next = self.shared.wait_for_room(decoder.armed());
            }
            if next.end {
                return EndReason::Eof; // the machine knows the reason
            }
            let (now, found_nothing, broken);
            (now, next, found_nothing, broken) = self.cycle(epoch, &mut decoder, next.wait);
            if decoder.wants_write() {
                self.shared.with(Caller::Reader, |core| core.flush = true);
            }
            if self.handler.is_some() {
                self.drain();
                let back = clock::mono();
                next = self.shared.with(Caller::Reader, |core| {
                    core.session.handle_back(back);
                    core.next(back, decoder.armed(), found_nothing)
                });
            }
            match broken {
                Some(Broken::Gone(reason)) => return reason,
                Some(Broken::Violation { reason, code }) => {
                    next = self.shared.with(Caller::Reader, |core| {
                        core.session.handle_violation(now, reason, code);
                        core.next(now.mono, decoder.armed(), false)
                    });
                }
                None => {}
            }
        }
    }

    /// One cycle.
    fn cycle(
        &mut self,
        epoch: u64,
        decoder: &mut Decoder,
        wait: Wait,
    ) -> (Stamp, Next, bool, Option<Broken>) {
        // The longest that this `recv` may take: a timeout that fits is kept, one that does not is armed anew.
        let armed = match wait {
            Wait::Probe => Some(Duration::ZERO),
            Wait::Exactly(time) => Some(time),
            Wait::Until(wanted) => wanted.map(|wanted| wanted.max(decoder.armed().unwrap_or_default())),
        };
        let mut intake = Intake::new(Setting {
            epoch,
            armed,
            shared: &self.shared,
            plan: &self.plan,
            handler: self.handler.as_mut(),
            batch: &mut self.batch,
            routes: &mut self.routes,
            here: self.here.as_ref(),
        });
        let (now, received, result) = decoder.cycle(wait, &mut intake);
        let Taken { mut cycle, bytes, broken } = intake.finish();
        // Only a permit that blocks arms the socket.
        cycle.armed = if matches!(wait, Wait::Until(_)) { decoder.armed() } else { armed };
        match received {
            Outcome::Bytes(count) => cycle.bytes = count,
            Outcome::Nothing => {
                cycle.empty = true;
                cycle.suspended = clock::suspended();
            }
            Outcome::Eof | Outcome::Failed(_) | Outcome::Unused => {}
        }
        let cycle = self.routes.with_gathered(cycle);
        // Only of a timeout in force can it be said that it has just run out.
        let empty = cycle.empty && matches!(wait, Wait::Until(_));
        let batch = &mut self.batch;
        let mut next = self.shared.with(Caller::Reader, |core| core.handle_cycle(now, &cycle, batch, bytes));
        if !matches!(wait, Wait::Until(_)) {
            // The timeout in force is not the one that was asked for.
            next = self.shared.with(Caller::Reader, |core| core.next(now.mono, decoder.armed(), empty));
        }
        let broken =
            broken.map(|detail| Broken::Violation { reason: EndReason::Protocol { detail }, code: 1007 });
        (now, next, empty, result.err().or(broken))
    }

    /// Takes in what came during the login and belongs to the connection.
    fn take_kept(&mut self, epoch: u64, kept: Kept) -> Result<Next, EndReason> {
        let now = Stamp::now();
        let mut intake = Intake::new(Setting {
            epoch,
            armed: None,
            shared: &self.shared,
            plan: &self.plan,
            handler: self.handler.as_mut(),
            batch: &mut self.batch,
            routes: &mut self.routes,
            here: self.here.as_ref(),
        });
        for (content, received) in kept {
            intake.take(content, &received, &now);
        }
        let Taken { cycle, bytes, broken } = intake.finish();
        let cycle = self.routes.with_gathered(cycle);
        let batch = &mut self.batch;
        let next = self.shared.with(Caller::Reader, |core| core.handle_cycle(now, &cycle, batch, bytes));
        self.drain();
        if let Some(detail) = broken {
            return Err(EndReason::Protocol { detail });
        }
        if self.handler.is_none() {
            return Ok(next);
        }
        let back = clock::mono();
        Ok(self.shared.with(Caller::Reader, |core| {
            core.session.handle_back(back);
            core.next(back, None, true)
        }))
    }

    /// The connection or attempt is over: the last thing said of it.
    fn end(&mut self, found: EndReason) {
        let core = self.shared.lock();
        let reason = core.session.end_reason(found);
        let ever_up = core.session.ever_up();
        let down = core.session.down(clock::mono());
        let context = EndContext { ever_up, failures: core.session.failures(), down };
        drop(core);
        let own = self.plan.retry_policy.as_ref();
        let own = own.map(|policy| panics::caught(|| policy(&reason, &context)));
        let own = match own {
            Some(Err(message)) => {
                self.shared.report_panic(Caller::Reader, "retry_policy", message);
                None
            }
            Some(Ok(own)) => own,
            None => None,
        };
        let decision = own.unwrap_or_else(|| verdict::decide(&reason, ever_up, &self.plan.fatal));
        self.shared.with(Caller::Reader, |core| {
            core.session.handle_ended(Stamp::now(), reason, decision);
            core.forget_connection();
        });
    }

    /// Hands all events to the handler, if there is one: the reader is then its own consumer.
    pub(super) fn drain(&mut self) {
        if let Some(handler) = &mut self.handler {
            intake::drain(&self.shared, handler);
        }
    }
}

/// What the login told, for times that depend on it.
struct Told(FrameVars);

impl Told {
    fn new(captures: &Arc<Variables>, epoch: u64, attempt: u32) -> Self {
        let frame = FrameVars::new(epoch, attempt, Stamp::now().wall);
        Self(FrameVars { captures: Arc::clone(captures), ..frame })
    }

    fn time(&self, interval: &Interval, what: impl FnOnce() -> String) -> Result<Duration, EndReason> {
        interval.render(&self.0).map_err(|problem| EndReason::LoginFailed {
            detail: format!("{}: {problem}", what()),
            class: ErrorClass::RetryLater,
        })
    }

    /// The times of the keepalives.
    fn times(&self, beats: &[Beat]) -> Result<Vec<Times>, EndReason> {
        let times = beats.iter().enumerate().map(|(index, beat)| {
            let time = |interval: &Interval| self.time(interval, || format!("keepalives[{index}]"));
            Ok(Times {
                mode: beat.mode,
                period: beat.period(&self.0).or_else(|_| time(&beat.interval))?,
                first_after: match &beat.first_after {
                    Some(FirstAfter::Interval(interval)) => Some(First::After(time(interval)?)),
                    Some(FirstAfter::Random) => Some(First::Random),
                    None => None,
                },
                within: beat.within.as_ref().map(time).transpose()?,
                ping: beat.send.is_none(),
            })
        });
        times.collect()
    }

    /// The shortest of some times.
    fn shortest<'a>(&self, times: impl Iterator<Item = &'a Interval>) -> Result<Option<Duration>, EndReason> {
        let mut shortest: Option<Duration> = None;
        for time in times {
            let time = self.time(time, || "the `within` of a heartbeat".to_owned())?;
            shortest = Some(shortest.map_or(time, |shortest| shortest.min(time)));
        }
        Ok(shortest)
    }
}

fn provider_failed(detail: String, fatal: bool) -> EndReason {
    EndReason::Provider { detail, fatal }
}
