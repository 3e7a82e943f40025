//! What one `recv` completes: classified, and put into the batch, or handed to the handler at once.
//!
//! Data is gathered and handed to the core once for each `recv`. A message that means something else (an
//! acknowledgement, a refusal, a notice, a gap in a sequence) cuts the batch there: what came before is handed over,
//! then the core hears of it, and then the routes that follow from it are in force for the next message. So all of
//! that takes effect in the order of the stream.

use super::bell::BatchIter;
use super::core::{Caller, Core};
use super::decoder::Sink;
use super::detour;
use super::heard::{Acted, Heard};
use super::plan::{Handler, Plan, Target};
use super::questions::Answered;
use super::routes::Routes;
use super::shared::Shared;
use crate::clock::Stamp;
use crate::dialect::{Class, ReadItem, Seq};
use crate::event::{AlertKind, Event};
use crate::message::{Content, Message, Names, Received};
use crate::panics;
use crate::policy::freshness::Key;
use crate::policy::session::Cycle;
use crossbeam_channel::TrySendError;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tungstenite::{Bytes, Utf8Bytes};

/// What a cycle works with.
pub(super) struct Setting<'a> {
    pub(super) epoch: u64,
    pub(super) armed: Option<Duration>,
    pub(super) shared: &'a Arc<Shared>,
    pub(super) plan: &'a Plan,
    pub(super) handler: Option<&'a mut Handler>,
    pub(super) batch: &'a mut VecDeque<Event>,
    pub(super) routes: &'a mut Routes,
    /// Where the connection was made to.
    pub(super) here: Option<&'a Target>,
}

/// Takes in the items of one cycle.
pub(super) struct Intake<'a> {
    setting: Setting<'a>,
    /// The time of the `recv`, from the first message on.
    received: Option<(Received, Stamp)>,
    /// There is nothing to classify by: all is data, of the connection alone.
    trivial: bool,
    /// Messages go to the handler as they are decoded: nothing is locked here, and nothing has to be moved.
    direct: bool,
    bytes: usize,
    cycle: Cycle<'static>,
    matcher_panicked: Option<String>,
    handler_panicked: Option<String>,
    /// The protocol was broken, above the WebSocket layer.
    broken: Option<String>,
}

/// What a cycle brought.
pub(super) struct Taken {
    pub(super) cycle: Cycle<'static>,
    /// The bytes of the messages in the batch.
    pub(super) bytes: usize,
    /// The connection can't go on: what was received can't be understood.
    pub(super) broken: Option<String>,
}

impl<'a> Intake<'a> {
    pub(super) fn new(setting: Setting<'a>) -> Self {
        setting.routes.begin_cycle();
        Self {
            cycle: Cycle::default(),
            setting,
            received: None,
            trivial: false,
            direct: false,
            bytes: 0,
            matcher_panicked: None,
            handler_panicked: None,
            broken: None,
        }
    }

    pub(super) fn finish(self) -> Taken {
        let shared = self.setting.shared;
        if let Some(message) = self.matcher_panicked {
            shared.report_panic(Caller::Reader, "matcher", message);
        }
        if let Some(message) = self.handler_panicked {
            shared.report_panic(Caller::Reader, "handler", message);
        }
        let complaints = std::mem::take(&mut self.setting.routes.complaints);
        if let Some(message) = complaints.panicked {
            shared.report_panic(Caller::Reader, "sequence", message);
        }
        if complaints.forgotten > 0 {
            let kind = AlertKind::CountersForgotten { counters: complaints.forgotten };
            shared.with(Caller::Reader, |core| core.session.alert(Stamp::now(), kind));
        }
        for (key, pointer, messages) in complaints.blind {
            shared.with(Caller::Reader, |core| {
                let subscription = key.and_then(|key| core.book.spec(key)).map(|spec| spec.want.id.clone());
                let field = "sequence".to_owned();
                let kind =
                    AlertKind::NothingFound { subscription, field, pointer, messages: messages.into() };
                core.session.alert(Stamp::now(), kind);
            });
        }
        self.setting.routes.hand_over_last(shared);
        Taken { cycle: self.cycle, bytes: self.bytes, broken: self.broken }
    }

    /// Takes one message that was received before, and decoded, as if it came `now`.
    pub(super) fn take(&mut self, content: Content, received: &Stamp, now: &Stamp) {
        self.enter(now);
        let received = (*received).into();
        if self.trivial {
            self.cycle.data = self.cycle.messages;
            self.deliver(content, received, None);
        } else {
            self.interpret(content, received);
        }
    }

    /// The first message of the cycle is here.
    #[cold]
    fn begin(&mut self, stamp: &Stamp) -> Received {
        let Setting { shared, routes, .. } = &mut self.setting;
        // Looked at once the `recv` is back: a new subscription's first data may have come with it.
        routes.sync(shared);
        routes.interpreter.tick(stamp.wall);
        self.trivial = routes.is_trivial();
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
        self.received = Some((received, *stamp));
        received
    }

    /// Counts one message more.
    #[inline]
    fn enter(&mut self, stamp: &Stamp) -> Received {
        match self.received {
            Some((received, _)) => {
                self.cycle.messages += 1;
                received
            }
            None => {
                let received = self.begin(stamp);
                self.cycle.messages += u64::from(!self.direct); // else it was counted there
                received
            }
        }
    }

    #[inline]
    fn content(&mut self, content: Content, stamp: &Stamp) {
        let received = self.enter(stamp);
        if self.trivial {
            self.cycle.data = self.cycle.messages; // the first may have been counted before
            self.deliver(content, received, None);
        } else if self.setting.routes.has_codecs() {
            self.decode(content, received);
        } else {
            self.interpret(content, received);
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

    /// Undoes the codecs: one message may become several.
    fn decode(&mut self, content: Content, received: Received) {
        if self.broken.is_some() {
            return;
        }
        let mut codecs = self.setting.routes.take_codecs();
        self.cycle.messages = self.cycle.messages.saturating_sub(1); // what it holds counts
        let decoded = codecs.decode(content, &mut |content| {
            self.cycle.messages += 1;
            self.interpret(content, received);
        });
        self.setting.routes.put_codecs(codecs);
        if let Err(error) = decoded {
            self.broken = Some(error.to_string());
        }
    }

    /// Finds out what a message is, and whose.
    fn interpret(&mut self, content: Content, received: Received) {
        let routes = &mut *self.setting.routes;
        if let Some(Seq::Gap { from, to, lost }) = routes.whole(&content) {
            self.gap(None, from, to, lost);
        }
        let routes = &mut *self.setting.routes;
        if routes.has_dialect() {
            self.speak(content, received);
            return;
        }
        routes.interpreter.read(content.payload(), &mut routes.reading);
        if let Some(message) = routes.reading.panicked.take() {
            self.matcher_panicked.get_or_insert(message);
        }
        // Of data it says what follows besides.
        let class = routes.reading.class;
        let besides = routes.reading.control.take_if(|_| matches!(class, Class::Data | Class::Other));
        match class {
            Class::Data => {
                let keys = std::mem::take(&mut routes.reading.keys);
                let names = routes.reading.names.take();
                self.data(&keys, names, content, received);
                self.setting.routes.reading.keys = keys;
            }
            Class::Other => self.other(content, received),
            _ => self.control(content, received),
        }
        if let Some(besides) = besides {
            self.act(Heard::of(Class::Data, *besides, false));
        }
    }

    /// Data, of these subscriptions.
    fn data(&mut self, keys: &[Key], names: Option<Names>, content: Content, received: Received) {
        if self.setting.routes.has_sequences() {
            for key in keys {
                match self.setting.routes.sequence(*key, &content) {
                    Some(Seq::Gap { from, to, lost }) => self.gap(Some(*key), from, to, lost),
                    // The subscription lives, and that is all: nothing new in it.
                    Some(Seq::Repeat) if keys.len() == 1 => {
                        self.setting.routes.live(&[*key]);
                        if self.setting.plan.deliver_heartbeats {
                            self.deliver(content, received, names);
                        }
                        return;
                    }
                    _ => {}
                }
            }
        }
        self.cycle.data += 1;
        let routes = &mut *self.setting.routes;
        routes.note_data();
        routes.touch(keys);
        routes.observe(keys, &content, received);
        if routes.has_cursors() {
            let epoch = self.setting.epoch;
            let message = Message { content, epoch, received, subscriptions: names };
            routes.keep(keys, &message);
            let Message { content, subscriptions, .. } = message;
            self.deliver(content, received, subscriptions);
        } else {
            self.deliver(content, received, names);
        }
    }

    /// Nobody's data, though each subscription knows its own.
    fn other(&mut self, content: Content, received: Received) {
        self.cycle.unmatched += 1;
        self.deliver(content, received, None);
    }

    /// A message that a rule knows, or that somebody waits for.
    #[cold]
    fn control(&mut self, content: Content, received: Received) {
        let routes = &mut *self.setting.routes;
        let (class, deliver) = (routes.reading.class, routes.reading.deliver);
        let mut names = None;
        let control = routes.reading.control.take();
        let heard = match (class, control) {
            (Class::Keepalive, control) => {
                let keys = std::mem::take(&mut routes.reading.keys);
                routes.live(&keys);
                routes.reading.keys = keys;
                control.map(|control| Heard::of(Class::Heartbeat, *control, deliver))
            }
            (Class::Heartbeat | Class::Ignored, None) => None,
            (Class::Answer(index), _) => {
                let answered = routes.reading.answered.take();
                Some(Heard::answer(index, answered.map(|answered| *answered)))
            }
            (Class::Reply, _) => {
                self.reply(content, received);
                return;
            }
            (class, Some(control)) if !control.unknown => Some(Heard::of(class, *control, deliver)),
            // What is over for the client may be over for the server a little later.
            (Class::Ended, _) => None,
            _ => {
                self.other(content, received);
                return;
            }
        };
        if let Some(heard) = heard {
            let acted = self.act(heard);
            if !acted.understood && class != Class::Ended {
                self.other(content, received);
                return;
            }
            names = acted.names;
        }
        let plan = self.setting.plan;
        let wanted = match class {
            Class::Heartbeat | Class::Keepalive | Class::Answer(_) => plan.deliver_heartbeats,
            _ => plan.deliver_control,
        };
        if wanted || deliver {
            self.deliver(content, received, names);
        }
    }

    /// What a request waited for.
    fn reply(&mut self, content: Content, received: Received) {
        let Some(ticket) = self.setting.routes.reading.request else { return };
        let message = Message { content, epoch: self.setting.epoch, received, subscriptions: None };
        // Under the lock, which never waits: who asked either has it then, or has given up before.
        let (left, late) =
            self.setting.shared.with(Caller::Reader, |core| match core.book.answered(ticket) {
                Answered::Waiting(waiting) => {
                    (waiting.try_send(message).err().map(TrySendError::into_inner), false)
                }
                Answered::Late => (Some(message), true),
                Answered::Unknown => (Some(message), false),
            });
        match left {
            Some(message) if !late => self.other(message.content, received),
            Some(message) if self.setting.plan.deliver_control => {
                self.deliver(message.content, received, None);
            }
            _ => {}
        }
        self.setting.routes.sync(self.setting.shared);
    }

    /// Messages are missing before the one at hand.
    #[cold]
    fn gap(&mut self, key: Option<Key>, from: u64, to: u64, lost: Option<u64>) {
        let on_gap = self.setting.routes.on_gap(key);
        self.hand_over(|core, stamp| core.session.handle_sequence_gap(stamp, key, from, to, lost, on_gap));
    }

    /// Lets the core hear of it, in the order of the stream.
    fn act(&mut self, heard: Heard) -> Acted {
        let Setting { plan, here, .. } = &self.setting;
        let heard = heard.directed(|url, go_to| {
            detour::resolve(url, go_to, here.ok_or("there is no connection")?, &plan.known)
        });
        let acted = self.hand_over(|core, stamp| heard.act(core, stamp, &plan.protocol.beats));
        let acted = acted.unwrap_or(Acted { understood: false, names: None });
        self.setting.routes.sync(self.setting.shared);
        acted
    }

    /// Hands over what was gathered so far, and does what comes next in the stream.
    fn hand_over<R>(&mut self, next: impl FnOnce(&mut Core, Stamp) -> R) -> Option<R> {
        let (_, stamp) = self.received?;
        let Setting { shared, batch, routes, armed, .. } = &mut self.setting;
        routes.hand_over_last(shared);
        let cycle = std::mem::take(&mut self.cycle);
        let bytes = std::mem::take(&mut self.bytes);
        let part = (cycle.messages > 0).then(|| routes.with_gathered(Cycle { armed: *armed, ..cycle }));
        let done = shared.with(Caller::Reader, |core| {
            if let Some(part) = &part {
                core.handle_part(stamp, part, batch, bytes);
            }
            next(core, stamp)
        });
        routes.begin_cycle();
        Some(done)
    }

    /// Lets the application's own dialect say what a message holds.
    fn speak(&mut self, content: Content, received: Received) {
        self.cycle.messages = self.cycle.messages.saturating_sub(1); // what it holds counts
        let mut whole = self.setting.routes.interpreter.awaits().then(|| content.clone());
        let (items, result) = self.setting.routes.speak(content);
        for item in items {
            self.cycle.messages += 1;
            if matches!(item, ReadItem::Data { .. } | ReadItem::Other(_)) {
                whole = None;
            }
            self.item(item, received);
        }
        // Nothing of it was put out: it may be waited for as it is.
        if let Some(content) = whole
            && self.setting.routes.awaits(&content)
        {
            self.awaited(content, received);
        }
        if let Err(panic) = result {
            self.setting.shared.report_panic(Caller::Reader, "dialect", panic.clone());
            self.broken.get_or_insert(format!("the dialect panicked: {panic}"));
        }
    }

    /// What a keepalive or a request waits for, by the application's own dialect.
    #[cold]
    fn awaited(&mut self, content: Content, received: Received) {
        if let Some(panic) = self.setting.routes.reading.panicked.take() {
            self.matcher_panicked.get_or_insert(panic);
        }
        self.control(content, received);
    }

    fn item(&mut self, item: ReadItem, received: Received) {
        let routes = &mut *self.setting.routes;
        match item {
            ReadItem::Data { payload, .. } | ReadItem::Other(payload) if routes.awaits(&payload.0) => {
                self.awaited(payload.0, received);
            }
            ReadItem::Data { subscriptions, payload } => {
                let keys = routes.keys_of(&subscriptions);
                let names = routes.known(subscriptions, keys.len());
                self.data(&keys, names, payload.0, received);
            }
            ReadItem::Other(payload) => self.other(payload.0, received),
            ReadItem::Heartbeat => {}
            ReadItem::Keepalive(name) => {
                let key = routes.key_of(&name);
                routes.live(key.as_slice());
            }
            item => {
                if let Some(heard) = Heard::item(item, routes) {
                    self.act(heard);
                }
            }
        }
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

    fn pong(&mut self) {
        self.cycle.pong = true;
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
