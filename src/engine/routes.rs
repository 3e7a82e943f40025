//! What the reader knows of messages: its own copy of the routes, and what it remembers of the connection. Used
//! without the lock.

use super::book::RouteChange;
use super::plan::Plan;
use super::shared::Shared;
use crate::dialect::{Chain, Interpreter, Reading, Sequenced, Tracker};
use crate::message::{Content, Message};
use crate::policy::freshness::Key;
use std::collections::{HashMap, HashSet};

/// The reader's own copy of what data is routed by, and what one cycle found.
pub(super) struct Routes {
    version: u64,
    pub(super) interpreter: Interpreter,
    codecs: Chain,
    pub(super) reading: Reading,
    /// The sequence of each subscription that has a rule for it.
    trackers: HashMap<Key, Tracker>,
    /// The sequence of the connection as a whole.
    whole: Option<Tracker>,
    /// The subscriptions whose last message is kept.
    cursors: HashSet<Key>,
    /// What is kept of them, until the core has it.
    pub(super) last: HashMap<Key, Message>,
    /// The subscriptions that got data, and how many messages.
    pub(super) touched: Vec<(Key, u64)>,
    /// The subscriptions that the server said to be alive.
    pub(super) alive: Vec<Key>,
}

impl Routes {
    pub(super) fn new(plan: &Plan) -> Self {
        Self {
            version: 0,
            interpreter: Interpreter::new(&plan.rules, &plan.answers()),
            codecs: Chain::new(&plan.codecs, plan.message_bytes),
            reading: Reading::default(),
            trackers: HashMap::new(),
            whole: plan.sequence.as_ref().map(Tracker::new),
            cursors: HashSet::new(),
            last: HashMap::new(),
            touched: Vec::new(),
            alive: Vec::new(),
        }
    }

    /// A new connection: what belonged to the old one is forgotten.
    pub(super) fn reset(&mut self) {
        self.interpreter.forget();
        self.codecs.reset();
        self.trackers.values_mut().chain(&mut self.whole).for_each(Tracker::restart);
        self.last.clear();
    }

    /// Takes over what has changed. Cheap if nothing has.
    pub(super) fn sync(&mut self, shared: &Shared) {
        if self.version == shared.routes_version() {
            return;
        }
        let (version, changes) = shared.lock().book.take_changes();
        self.version = version;
        for change in changes {
            match change {
                RouteChange::Route(change) => {
                    if let crate::dialect::Change::Remove { key } = &change {
                        self.trackers.remove(key);
                        self.cursors.remove(key);
                        self.last.remove(key);
                    }
                    self.interpreter.apply(change);
                }
                RouteChange::Restart(key) => {
                    if let Some(tracker) = self.trackers.get_mut(&key) {
                        tracker.restart();
                    }
                }
                RouteChange::Watch(key, spec) => {
                    if let Some(rule) = &spec.sequence {
                        self.trackers.entry(key).or_insert_with(|| Tracker::new(rule));
                    }
                    if spec.cursor.is_some() {
                        self.cursors.insert(key);
                    }
                }
            }
        }
    }

    /// Whether there is nothing to look for in messages: all is data, of the connection alone.
    pub(super) fn is_trivial(&self) -> bool {
        self.interpreter.is_trivial() && self.whole.is_none() && self.codecs.is_empty()
    }

    /// Whether messages are taken as they come.
    pub(super) fn has_codecs(&self) -> bool {
        !self.codecs.is_empty()
    }

    /// Undoes the codecs.
    pub(super) fn decode(&mut self, content: Content, out: &mut dyn FnMut(Content)) -> Result<(), String> {
        self.codecs.decode(content, out).map_err(|error| error.to_string())
    }

    /// What the sequence of the connection says to a message.
    pub(super) fn whole(&mut self, content: &Content) -> Option<Sequenced> {
        self.whole.as_mut().map(|tracker| tracker.check(content.payload()))
    }

    /// What the sequence of a subscription says to its data.
    pub(super) fn sequence(&mut self, key: Key, content: &Content) -> Option<Sequenced> {
        self.trackers.get_mut(&key).map(|tracker| tracker.check(content.payload()))
    }

    pub(super) fn has_sequences(&self) -> bool {
        !self.trackers.is_empty()
    }

    pub(super) fn has_cursors(&self) -> bool {
        !self.cursors.is_empty()
    }

    /// Keeps the message if its subscriptions take up where they were.
    pub(super) fn keep(&mut self, keys: &[Key], message: &Message) {
        for key in keys {
            if self.cursors.contains(key) {
                self.last.insert(*key, message.clone());
            }
        }
    }
}
