//! What one `recv` completes: classified, and put into the batch, or handed to the handler at once.

use super::bell::BatchIter;
use super::core::Caller;
use super::decoder::Sink;
use super::plan::{Handler, Plan};
use super::shared::Shared;
use crate::clock::Stamp;
use crate::dialect::{Hit, Owner, Router};
use crate::event::Event;
use crate::message::{Content, Message, Names, Received};
use crate::panics;
use crate::policy::freshness::Key;
use crate::policy::session::Cycle;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tungstenite::{Bytes, Utf8Bytes};

/// The reader's own copy of what data is routed by, and what one cycle found.
pub(super) struct Routes {
    version: u64,
    router: Router,
    /// Each subscription has a matcher: what meets none is no data (an ack, an error, a notice).
    strict: bool,
    hit: Hit,
    /// The subscriptions that got data, and how many messages.
    pub(super) touched: Vec<(Key, u64)>,
}

impl Routes {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            version: 0,
            router: with_heartbeats(plan),
            strict: false,
            hit: Hit::default(),
            touched: Vec::new(),
        }
    }

    fn rebuild(&mut self, shared: &Shared, plan: &Plan) {
        let (version, routes) = shared.lock().routes();
        self.router = with_heartbeats(plan);
        for (key, spec) in &routes {
            self.router.insert(Owner::Data(*key), Some(&spec.id), spec.matcher.as_ref());
        }
        self.strict = self.router.is_strict();
        self.version = version;
    }
}

/// Heartbeats are rules.
fn with_heartbeats(plan: &Plan) -> Router {
    let mut router = Router::default();
    for (rule, matcher) in (0..).zip(&plan.heartbeats) {
        router.insert(Owner::Rule(rule), None, Some(matcher));
    }
    router
}

/// What a cycle works with.
pub(super) struct Setting<'a> {
    pub(super) epoch: u64,
    pub(super) armed: Option<Duration>,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) plan: &'a Plan,
    pub(super) handler: Option<&'a mut Handler>,
    pub(super) batch: &'a mut VecDeque<Event>,
    pub(super) routes: &'a mut Routes,
}

/// Takes in the items of one cycle.
pub(super) struct Intake<'a> {
    setting: Setting<'a>,
    /// The time of the `recv`, from the first message on.
    received: Option<Received>,
    /// There is nothing to classify by: all is data, of the connection alone.
    trivial: bool,
    /// Messages go to the handler as they are decoded: nothing is locked here, and nothing has to be moved.
    direct: bool,
    bytes: usize,
    cycle: Cycle<'static>,
    matcher_panicked: Option<String>,
    handler_panicked: Option<String>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(setting: Setting<'a>) -> Self {
        setting.routes.touched.clear();
        Self {
            cycle: Cycle::default(),
            setting,
            received: None,
            trivial: false,
            direct: false,
            bytes: 0,
            matcher_panicked: None,
            handler_panicked: None,
        }
    }

    /// What the cycle brought, and the bytes of the messages in the batch.
    pub(super) fn finish(self) -> (Cycle<'static>, usize) {
        let shared = self.setting.shared;
        if let Some(message) = self.matcher_panicked {
            shared.report_panic(Caller::Reader, "matcher", message);
        }
        if let Some(message) = self.handler_panicked {
            shared.report_panic(Caller::Reader, "handler", message);
        }
        (self.cycle, self.bytes)
    }

    /// The first message of the cycle is here.
    #[cold]
    fn begin(&mut self, stamp: &Stamp) -> Received {
        let Setting { shared, plan, routes, .. } = &mut self.setting;
        // Looked at once the `recv` is back: a new subscription's first data may have come with it.
        if routes.version != shared.routes_version() {
            routes.rebuild(shared, plan);
        }
        self.trivial = routes.router.is_trivial();
        if self.trivial
            && let Some(handler) = &mut self.setting.handler
        {
            // The core hears of it before the handler does, so that what the handler asks then is answered right.
            let cycle = Cycle { armed: self.setting.armed, messages: 1, data: 1, ..Cycle::default() };
            let pending = self.setting.shared.with(Caller::Reader, |core| {
                core.session.handle_recv(*stamp, &cycle);
                core.session.handle_away(stamp.mono);
                !core.queue.is_empty()
            });
            if pending {
                drain(self.setting.shared, handler);
            }
            self.direct = true;
        }
        let received = (*stamp).into();
        self.received = Some(received);
        received
    }

    #[inline]
    fn content(&mut self, content: Content, stamp: &Stamp) {
        let received = match self.received {
            Some(received) => {
                self.cycle.messages += 1;
                received
            }
            None => {
                let received = self.begin(stamp);
                self.cycle.messages += u64::from(!self.direct); // else it was counted there
                received
            }
        };
        if self.trivial {
            self.cycle.data += 1;
            self.deliver(content, received, None);
        } else if let Some(names) = self.classify(&content) {
            self.deliver(content, received, names);
        }
    }

    #[inline]
    fn deliver(&mut self, content: Content, received: Received, subscriptions: Option<Names>) {
        let message = Message { content, epoch: self.setting.epoch, received, subscriptions };
        if self.direct
            && let Some(handler) = &mut self.setting.handler
        {
            if let Err(panic) = panics::caught(|| handler(Event::Message(message))) {
                self.handler_panicked.get_or_insert(panic);
            }
        } else {
            self.bytes += message.len();
            self.setting.batch.push_back(Event::Message(message));
        }
    }

    /// The subscriptions of a message that is to be delivered.
    fn classify(&mut self, content: &Content) -> Option<Option<Names>> {
        let routes = &mut *self.setting.routes;
        routes.router.classify(content.payload(), &mut routes.hit);
        if let Some(message) = routes.hit.panicked.take() {
            self.matcher_panicked.get_or_insert(message);
        }
        if routes.hit.rule.is_some() {
            return self.setting.plan.deliver_heartbeats.then_some(None);
        }
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
        Some(routes.hit.names.take())
    }
}

impl Sink for Intake<'_> {
    #[inline]
    fn text(&mut self, text: Utf8Bytes, received: &Stamp) {
        self.content(Content::Text(text), received);
    }

    #[inline]
    fn binary(&mut self, bytes: Bytes, received: &Stamp) {
        self.content(Content::Binary(bytes), received);
    }

    fn ping(&mut self, payload: Bytes) {
        self.cycle.ping = Some(payload);
    }

    fn close(&mut self, code: Option<u16>, reason: String) {
        self.cycle.close = Some((code, reason));
    }
}

/// Hands all events that wait to the handler.
pub(super) fn drain(shared: &Arc<Shared>, handler: &mut Handler) {
    loop {
        let mut events = BatchIter::claim(Some(Arc::clone(shared)));
        if events.len() == 0 {
            return;
        }
        let mut panicked = None;
        // A panic costs one event; the others are still handed over.
        while let Err(message) = panics::caught(|| events.by_ref().for_each(&mut *handler)) {
            panicked.get_or_insert(message);
        }
        if let Some(message) = panicked {
            shared.report_panic(Caller::Reader, "handler", message);
        }
    }
}
