//! The reader thread: makes attempts, then blocks in `recv`, whose timeout is the staleness detector.
//!
//! One cycle: one `recv`; one clock reading; decode and classify all of it, without the lock; one locked
//! `handle_cycle`; ring the bell. At the end of a connection `handle_ended` comes last.

use super::bell::BatchIter;
use super::core::{Caller, Next};
use super::decoder::{Broken, Decoder, Sink};
use super::order::{Link, Order};
use super::plan::{AttemptContext, EndContext, Handler, Plan};
use super::shared::Shared;
use crate::clock::{self, Stamp};
use crate::dialect::{Class, Hit, Router};
use crate::error::EndReason;
use crate::event::Event;
use crate::message::{Content, Message, Received};
use crate::panics;
use crate::policy::approach::Wait;
use crate::policy::freshness::Key;
use crate::policy::session::{Cycle, Established};
use crate::policy::verdict;
use crate::transport::{self, Budget, Dialed, Outcome, Request, Stop};
use crossbeam_channel::Receiver;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tungstenite::{Bytes, Utf8Bytes};

/// A handler that took longer than this has its time reported at once, not with the next cycle.
const NOTICEABLE: Duration = Duration::from_millis(1);

pub(super) struct Reader {
    shared: Arc<Shared>,
    orders: Receiver<Order>,
    plan: Plan,
    handler: Option<Handler>,
    routes: Routes,
    batch: VecDeque<Event>,
}

/// The reader's own copy of what the router needs, and what one cycle found.
struct Routes {
    version: u64,
    router: Router,
    /// Each subscription has a matcher: what meets none is no data (an ack, an error, a notice).
    strict: bool,
    hit: Hit,
    touched: Vec<(Key, u64)>,
}

impl Reader {
    pub(super) fn new(shared: Arc<Shared>, orders: Receiver<Order>, mut plan: Plan) -> Self {
        let router = Router::new(&plan.heartbeats, &[]);
        let hit = Hit::default();
        let routes = Routes { version: 0, router, strict: false, hit, touched: Vec::new() };
        let handler = plan.handler.take();
        Self { shared, orders, plan, handler, routes, batch: VecDeque::new() }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn run(&mut self) {
        self.shared.own_this_thread();
        while let Ok(order) = self.orders.recv() {
            match order {
                Order::Dial { epoch, attempt, stop } => {
                    let found = match self.attempt(epoch, attempt, &stop) {
                        Ok(decoder) => self.read(epoch, decoder),
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
    fn attempt(&mut self, epoch: u64, attempt: u32, stop: &Stop) -> Result<Decoder, EndReason> {
        // What the provider takes counts, too.
        let total = self.plan.attempt_budget;
        let budget = Budget { deadline: clock::mono() + total, total };
        let previous = self.shared.lock().session.last_end().cloned();
        let context = AttemptContext { epoch, attempt, previous };
        let provider = &mut self.plan.provider;
        let target = match panics::caught(|| provider(&context)) {
            Ok(Ok(target)) => target,
            Ok(Err(failure)) => return Err(provider_failed(failure.detail, failure.fatal)),
            Err(panic) => return Err(provider_failed(format!("it panicked: {panic}"), false)),
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
        let Dialed { mut read, write, peer, subprotocol } = transport::dial(&request, &budget, stop)?;
        read.watch(Arc::clone(&self.shared.turns));
        // The controller must find the writing half when the machine has something to write.
        self.shared.put_link(Link { epoch, attempt, half: write, stop: stop.clone() });
        let now = Stamp::now();
        let took = now.mono.saturating_duration_since(begin.mono);
        let established = Established { took, peer, subprotocol };
        let handled = self.handler.is_some();
        let wanted = self.shared.with(Caller::Reader, |core| {
            let wanted = core.session.handle_connected(now, established, clock::suspended());
            if handled {
                core.session.handle_away(now.mono); // until `read`: the handler hears of it first
            }
            wanted
        });
        self.drain();
        if wanted {
            Ok(Decoder::new(read, self.plan.read_buffer_bytes, self.plan.message_bytes))
        } else {
            Err(EndReason::ClosedByUser)
        }
    }

    /// Reads until the connection ends; says how it ended as seen from here.
    fn read(&mut self, epoch: u64, mut decoder: Decoder) -> EndReason {
        let begin = clock::mono();
        let mut next = self.shared.with(Caller::Reader, |core| {
            core.session.handle_back(begin);
            core.next(begin, None, true)
        });
        let mut outside = Duration::ZERO;
        loop {
            if next.full {
                next = self.shared.wait_for_room(decoder.armed());
            }
            if next.end {
                return EndReason::Eof; // the machine knows the reason
            }
            let (now, broken);
            (now, next, broken) = self.cycle(epoch, &mut decoder, next.wait, outside);
            if decoder.wants_write() {
                self.shared.with(Caller::Reader, |core| core.flush = true);
            }
            outside = Duration::ZERO;
            if self.handler.is_some() {
                self.drain();
                let back = clock::mono();
                outside = back.saturating_duration_since(now.mono);
                if outside > NOTICEABLE {
                    outside = Duration::ZERO;
                    next = self.shared.with(Caller::Reader, |core| {
                        core.session.handle_back(back);
                        core.next(back, decoder.armed(), false)
                    });
                }
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
        outside: Duration,
    ) -> (Stamp, Next, Option<Broken>) {
        self.routes.touched.clear();
        let mut intake = Intake {
            epoch,
            deliver_heartbeats: self.plan.deliver_heartbeats,
            trivial: self.routes.router.is_trivial(),
            shared: &self.shared,
            plan: &self.plan,
            batch: &mut self.batch,
            routes: &mut self.routes,
            bytes: 0,
            received: None,
            cycle: Cycle { outside, ..Cycle::default() },
            panicked: None,
        };
        let (now, received, result) = decoder.cycle(wait, &mut intake);
        let Intake { bytes, mut cycle, panicked, .. } = intake;
        if let Some(message) = panicked {
            self.shared.report_panic(Caller::Reader, "matcher", message);
        }
        cycle.armed = if wait == Wait::Probe { Some(Duration::ZERO) } else { decoder.armed() };
        match received {
            Outcome::Bytes(count) => cycle.bytes = count,
            Outcome::Nothing => {
                cycle.empty = true;
                cycle.suspended = clock::suspended();
            }
            Outcome::Eof | Outcome::Failed(_) | Outcome::Unused => {}
        }
        let cycle = Cycle { touched: &self.routes.touched, ..cycle };
        let batch = &mut self.batch;
        let mut next = self.shared.with(Caller::Reader, |core| core.handle_cycle(now, &cycle, batch, bytes));
        if wait == Wait::Probe {
            // The timeout in force is not the one that was asked for.
            next = self.shared.with(Caller::Reader, |core| core.next(now.mono, decoder.armed(), false));
        }
        (now, next, result.err())
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
            core.forget_retired();
        });
    }

    /// Hands all events to the handler, if there is one: the reader is then its own consumer.
    fn drain(&mut self) {
        let Some(handler) = &mut self.handler else { return };
        let mut panicked = None;
        loop {
            let mut events = BatchIter::claim(Some(Arc::clone(&self.shared)));
            if events.len() == 0 {
                break;
            }
            // A panic costs one event; the others are still handed over.
            while let Err(message) = panics::caught(|| events.by_ref().for_each(&mut *handler)) {
                panicked.get_or_insert(message);
            }
            if let Some(message) = panicked.take() {
                self.shared.report_panic(Caller::Reader, "handler", message);
            }
        }
    }
}

impl Routes {
    fn rebuild(&mut self, shared: &Shared, plan: &Plan) {
        let (version, routes) = shared.lock().routes();
        let routes: Vec<_> =
            routes.into_iter().map(|(key, spec)| (key, spec.id.clone(), spec.matcher.clone())).collect();
        self.router = Router::new(&plan.heartbeats, &routes);
        self.strict = !routes.is_empty() && routes.iter().all(|(.., matcher)| matcher.is_some());
        self.version = version;
    }
}

/// Takes in what one `recv` completes.
struct Intake<'a> {
    epoch: u64,
    deliver_heartbeats: bool,
    /// There is nothing to classify by: all is data, of the connection alone.
    trivial: bool,
    shared: &'a Shared,
    plan: &'a Plan,
    batch: &'a mut VecDeque<Event>,
    routes: &'a mut Routes,
    bytes: usize,
    /// The time of the `recv`, once a message wants it.
    received: Option<Received>,
    cycle: Cycle<'static>,
    panicked: Option<String>,
}

impl Sink for Intake<'_> {
    #[inline]
    fn text(&mut self, text: Utf8Bytes, received: &Stamp) {
        if self.cycle.messages == 0 {
            self.refresh();
        }
        self.bytes += text.len();
        self.cycle.messages += 1;
        if self.trivial {
            self.cycle.data += 1;
            let (epoch, received) = (self.epoch, self.received_at(received));
            let message = Message { content: Content::Text(text), epoch, received, subscriptions: None };
            self.batch.push_back(Event::Message(message));
        } else {
            self.classified(Content::Text(text), received);
        }
    }

    fn binary(&mut self, bytes: Bytes, received: &Stamp) {
        if self.cycle.messages == 0 {
            self.refresh();
        }
        self.bytes += bytes.len();
        self.cycle.messages += 1;
        if self.trivial {
            self.cycle.data += 1;
            let (epoch, received) = (self.epoch, self.received_at(received));
            let message = Message { content: Content::Binary(bytes), epoch, received, subscriptions: None };
            self.batch.push_back(Event::Message(message));
        } else {
            self.classified(Content::Binary(bytes), received);
        }
    }

    fn ping(&mut self, payload: Bytes) {
        self.cycle.ping = Some(payload);
    }

    fn close(&mut self, code: Option<u16>, reason: String) {
        self.cycle.close = Some((code, reason));
    }
}

impl Intake<'_> {
    #[inline]
    fn received_at(&mut self, stamp: &Stamp) -> Received {
        *self.received.get_or_insert_with(|| (*stamp).into())
    }

    /// Looks at the routes once the `recv` is back: a new subscription's first data may have come with it.
    fn refresh(&mut self) {
        if self.routes.version != self.shared.routes_version() {
            self.routes.rebuild(self.shared, self.plan);
            self.trivial = self.routes.router.is_trivial();
        }
    }

    fn classified(&mut self, content: Content, received: &Stamp) {
        let routes = &mut *self.routes;
        routes.router.classify(content.payload(), &mut routes.hit);
        if let Some(message) = routes.hit.panicked.take() {
            self.panicked.get_or_insert(message);
        }
        if routes.hit.class == Class::Heartbeat {
            if !self.deliver_heartbeats {
                self.bytes -= content.len();
                return;
            }
        } else {
            if routes.strict && routes.hit.keys.is_empty() {
                self.cycle.unmatched += 1;
            } else {
                self.cycle.data += 1;
            }
            for key in &routes.hit.keys {
                // Runs of one subscription are common, and there are few subscriptions in one cycle.
                match routes.touched.iter_mut().rev().find(|(touched, _)| touched == key) {
                    Some((_, count)) => *count += 1,
                    None => routes.touched.push((*key, 1)),
                }
            }
        }
        let subscriptions = routes.hit.names.take();
        let received = self.received_at(received);
        let message = Message { content, epoch: self.epoch, received, subscriptions };
        self.batch.push_back(Event::Message(message));
    }
}

fn provider_failed(detail: String, fatal: bool) -> EndReason {
    EndReason::Provider { detail, fatal }
}
