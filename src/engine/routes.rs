//! What the reader knows of messages: its own copy of the routes, and what it remembers of the connection. Used
//! without the lock.

use super::book::RouteChange;
use super::marks::Marks;
use super::plan::Plan;
use super::shared::Shared;
use crate::class::OnGap;
use crate::dialect::{
    Chain, Change, Dialect, Interpreter, Place, ReadItem, Reading, Readout, Seq, Tracker, cursor_at,
};
use crate::message::{Content, Message, Names, Received, SubscriptionId};
use crate::panics;
use crate::policy::freshness::Key;
use crate::policy::session::Cycle;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};

/// Of so many messages one is looked for that says how far the data has come, if the last does not.
const BEHIND: usize = 256;

/// With more than so many, what was noted twice is noted once.
const NOTED: usize = 16 * 1024;

/// The reader's own copy of what data is routed by, and what one cycle found.
pub(super) struct Routes {
    version: u64,
    pub(super) interpreter: Interpreter,
    codecs: Chain,
    pub(super) reading: Reading,
    /// Takes the place of the interpreter.
    dialect: Option<Box<dyn Dialect>>,
    readout: Readout,
    /// The subscriptions by name, for the dialect.
    keys: HashMap<SubscriptionId, Key>,
    /// The sequence of each subscription that has a rule for it.
    trackers: HashMap<Key, (Tracker, OnGap)>,
    /// The same while all routes are being said anew.
    shelf: HashMap<Key, (Tracker, OnGap)>,
    /// The sequence of the connection as a whole.
    whole: Option<(Tracker, OnGap)>,
    pub(super) complaints: Complaints,
    /// The age and the news of the data of each subscription that has a rule for it.
    marks: Marks,
    /// The subscriptions whose last message is kept, and where it has what the next connection takes up from.
    cursors: HashMap<Key, Option<Place>>,
    /// Where data has what the next connection takes up from.
    place: Option<Place>,
    /// The last data, until that is taken from it.
    newest: Option<Message>,
    /// What was taken from the last data.
    cursor: Option<Value>,
    /// What is kept of them, until the core has it.
    pub(super) last: HashMap<Key, Message>,
    /// The messages before these in the same cycle, and whose; `None`: the feed's. At most [`BEHIND`].
    behind: VecDeque<(Option<Key>, Message)>,
    /// The subscriptions that got data, and how many messages.
    touched: Vec<(Key, u64)>,
    /// The subscriptions that the server said to be alive.
    alive: Vec<Key>,
    /// At these lengths the two are gone through.
    tidy_at: (usize, usize),
}

/// What sequences have to complain of.
#[derive(Default)]
pub(super) struct Complaints {
    /// What a closure said that panicked; the first, if several did.
    pub(super) panicked: Option<String>,
    /// So many counters had to be forgotten.
    pub(super) forgotten: u64,
    /// Rules that found nothing: whose, the pointer, and in how much data.
    pub(super) blind: Vec<(Option<Key>, String, u32)>,
}

/// Notes each subscription once.
fn sum_up(touched: &mut Vec<(Key, u64)>) {
    touched.sort_unstable_by_key(|(key, _)| *key);
    touched.dedup_by(|(key, more), (kept, count)| {
        let same = key == kept;
        *count += if same { *more } else { 0 };
        same
    });
}

fn check(tracker: &mut Tracker, content: &Content, complaints: &mut Complaints) -> Seq {
    let seq = tracker.check(content.payload());
    if let Some(panic) = tracker.take_panicked() {
        complaints.panicked.get_or_insert(panic);
    }
    complaints.forgotten += tracker.take_forgotten();
    seq
}

impl Routes {
    pub(super) fn new(plan: &mut Plan) -> Self {
        let protocol = &mut plan.protocol;
        Self {
            version: 0,
            interpreter: Interpreter::new(&protocol.rules, &protocol.answers()),
            codecs: Chain::new(&protocol.codecs, plan.message_bytes),
            reading: Reading::default(),
            dialect: protocol.dialect.take(),
            readout: Readout::empty(),
            keys: HashMap::new(),
            trackers: HashMap::new(),
            shelf: HashMap::new(),
            whole: protocol.sequence.as_ref().map(|rule| (Tracker::new(rule), rule.on_gap)),
            complaints: Complaints::default(),
            marks: Marks::default(),
            cursors: HashMap::new(),
            behind: VecDeque::new(),
            place: protocol.cursor.take(),
            newest: None,
            cursor: None,
            last: HashMap::new(),
            touched: Vec::new(),
            alive: Vec::new(),
            tidy_at: (NOTED, NOTED),
        }
    }

    /// A new connection: what belonged to the old one is forgotten.
    pub(super) fn begin(&mut self, epoch: u64, attempt: u32) {
        self.interpreter.begin(epoch, attempt);
        self.trackers.values_mut().chain(&mut self.whole).for_each(|(tracker, _)| tracker.restart());
        self.marks.restart_all();
        self.last.clear();
        self.behind.clear();
        if let Some(dialect) = &mut self.dialect {
            // What it panics with it will panic with again, when it reads.
            drop(panics::caught(|| dialect.reset()));
        }
    }

    /// A new cycle, or a part of one.
    pub(super) fn begin_cycle(&mut self) {
        self.touched.clear();
        self.alive.clear();
        self.marks.begin_cycle();
        self.tidy_at = (NOTED, NOTED);
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
                    self.note(&change);
                    // A dialect says itself whose data is.
                    if self.dialect.is_none() || !matches!(change, Change::Insert { .. }) {
                        self.interpreter.apply(change);
                    }
                }
                RouteChange::Restart(key) => {
                    if let Some((tracker, _)) = self.trackers.get_mut(&key) {
                        tracker.restart();
                    }
                    self.marks.restart(key);
                }
                RouteChange::Watch(key, spec) => {
                    if let Some(kept) = self.shelf.remove(&key) {
                        self.trackers.insert(key, kept);
                    } else if let Some(rule) = &spec.sequence {
                        self.trackers.entry(key).or_insert_with(|| (Tracker::new(rule), rule.on_gap));
                    }
                    self.marks.watch(key, &spec);
                }
                RouteChange::Keep(key, cursor) => {
                    self.cursors.insert(key, cursor);
                }
            }
        }
        self.shelf.clear(); // those are wanted no more
        self.marks.clear_shelf();
    }

    /// What a change means beside what data looks like.
    fn note(&mut self, change: &Change) {
        match change {
            Change::Insert { key, name, .. } if self.dialect.is_some() => {
                self.keys.insert(name.clone(), *key);
            }
            Change::Remove { key } | Change::Part { key, .. } => {
                self.trackers.remove(key);
                self.marks.forget(*key);
                self.cursors.remove(key);
                self.last.remove(key);
                if self.dialect.is_some() {
                    self.keys.retain(|_, own| own != key);
                }
            }
            Change::Clear => {
                self.keys.clear();
                self.cursors.clear();
                // What is said anew goes on counting.
                self.shelf.extend(self.trackers.drain());
                self.marks.shelve();
            }
            Change::Insert { .. } | Change::Request { .. } | Change::RequestDone { .. } => {}
        }
    }

    // ---- what a message is looked at for -------------------------------------------------------------------

    /// Whether there is nothing to look for in messages: all is data, of the connection alone.
    pub(super) fn is_trivial(&self) -> bool {
        self.interpreter.is_trivial()
            && self.whole.is_none()
            && self.codecs.is_empty()
            && self.place.is_none()
            && self.dialect.is_none()
    }

    pub(super) fn has_codecs(&self) -> bool {
        !self.codecs.is_empty()
    }

    /// Undoes the codecs.
    pub(super) fn decode(&mut self, content: Content, out: &mut dyn FnMut(Content)) -> Result<(), String> {
        self.codecs.decode(content, out).map_err(|error| error.to_string())
    }

    /// Lends the codecs, while what they yield is looked at.
    pub(super) fn take_codecs(&mut self) -> Chain {
        std::mem::replace(&mut self.codecs, Chain::new(&[], 0))
    }

    pub(super) fn put_codecs(&mut self, codecs: Chain) {
        self.codecs = codecs;
    }

    /// What the sequence of the connection says to a message.
    pub(super) fn whole(&mut self, content: &Content) -> Option<Seq> {
        let (tracker, _) = self.whole.as_mut()?;
        Some(check(tracker, content, &mut self.complaints))
    }

    /// What the sequence of a subscription says to its data.
    pub(super) fn sequence(&mut self, key: Key, content: &Content) -> Option<Seq> {
        let (tracker, _) = self.trackers.get_mut(&key)?;
        let seq = check(tracker, content, &mut self.complaints);
        if let Some((pointer, count)) = tracker.note_data() {
            self.complaints.blind.push((Some(key), pointer.to_owned(), count));
        }
        Some(seq)
    }

    /// What the sequence of the connection looked at is data.
    pub(super) fn note_data(&mut self) {
        if let Some((tracker, _)) = &mut self.whole
            && let Some((pointer, count)) = tracker.note_data()
        {
            self.complaints.blind.push((None, pointer.to_owned(), count));
        }
    }

    pub(super) fn has_sequences(&self) -> bool {
        !self.trackers.is_empty()
    }

    /// What is done about a gap, of a subscription or of the connection.
    pub(super) fn on_gap(&self, key: Option<Key>) -> OnGap {
        let found = match key {
            Some(key) => self.trackers.get(&key),
            None => self.whole.as_ref(),
        };
        found.map_or(OnGap::Signal, |(_, on_gap)| *on_gap)
    }

    // ---- what is remembered --------------------------------------------------------------------------------

    /// Data came for these.
    pub(super) fn touch(&mut self, keys: &[Key]) {
        for key in keys {
            // Runs of one subscription are common.
            match self.touched.last_mut() {
                Some((touched, count)) if touched == key => *count += 1,
                _ => self.touched.push((*key, 1)),
            }
        }
        // A flood for many subscriptions is no more than there are of them.
        if self.touched.len() > self.tidy_at.0 {
            sum_up(&mut self.touched);
            self.tidy_at.0 = NOTED.max(2 * self.touched.len());
        }
    }

    /// What the data of these says of its age, and whether it says anything new.
    #[inline]
    pub(super) fn observe(&mut self, keys: &[Key], content: &Content, received: Received) {
        if !self.marks.is_empty() {
            self.marks.observe(keys, content, received);
        }
    }

    #[cfg(test)]
    pub(super) fn observes_nothing(&self) -> bool {
        self.marks.is_empty()
    }

    /// A cycle, with what was gathered in it.
    pub(super) fn with_gathered<'a>(&'a self, cycle: Cycle<'a>) -> Cycle<'a> {
        Cycle { touched: &self.touched, kept: &self.alive, marks: self.marks.list(), ..cycle }
    }

    /// There was a sign of life of these.
    pub(super) fn live(&mut self, keys: &[Key]) {
        self.alive.extend(keys);
        if self.alive.len() > self.tidy_at.1 {
            self.alive.sort_unstable();
            self.alive.dedup();
            self.tidy_at.1 = NOTED.max(2 * self.alive.len());
        }
    }

    pub(super) fn has_cursors(&self) -> bool {
        !self.cursors.is_empty() || self.place.is_some()
    }

    /// How far the data of the feed has come.
    pub(super) fn cursor(&self) -> Option<Value> {
        self.cursor.clone()
    }

    /// Keeps the message if its subscriptions take up where they were.
    pub(super) fn keep(&mut self, keys: &[Key], message: &Message) {
        for key in keys {
            if self.cursors.contains_key(key)
                && let Some(before) = self.last.insert(*key, message.clone())
            {
                self.leave_behind(Some(*key), before);
            }
        }
        if self.place.is_some()
            && let Some(before) = self.newest.replace(message.clone())
        {
            self.leave_behind(None, before);
        }
    }

    fn leave_behind(&mut self, whose: Option<Key>, message: Message) {
        if self.behind.len() >= BEHIND {
            self.behind.pop_front();
        }
        self.behind.push_back((whose, message));
    }

    /// How far the data has come by this message; if it does not say, by the last of those before it that does.
    fn come_to(&self, whose: Option<Key>, message: &Message, place: &Place) -> Option<Value> {
        let before = || {
            let own = self.behind.iter().rev().filter(|(key, _)| *key == whose);
            own.map(|(_, message)| message).find_map(|message| cursor_at(message.payload(), place))
        };
        cursor_at(message.payload(), place).or_else(before)
    }

    /// Lets the core have the messages that were kept.
    pub(super) fn hand_over_last(&mut self, shared: &Shared) {
        if let (Some(newest), Some(place)) = (self.newest.take(), &self.place) {
            self.cursor = self.come_to(None, &newest, place).or_else(|| self.cursor.take());
        }
        if !self.last.is_empty() {
            let mut last = std::mem::take(&mut self.last);
            let came: Vec<_> = last
                .drain()
                .map(|(key, message)| {
                    let place = self.cursors.get(&key).and_then(Option::as_ref);
                    let cursor = place.and_then(|place| self.come_to(Some(key), &message, place));
                    (key, message, cursor)
                })
                .collect();
            self.last = last; // with the room that it had
            shared.lock().book.came(came);
        }
        self.behind.clear();
    }

    // ---- the application's own dialect ---------------------------------------------------------------------

    pub(super) fn has_dialect(&self) -> bool {
        self.dialect.is_some()
    }

    /// Lets the dialect read a message. What it found stands also if it panicked.
    pub(super) fn speak(&mut self, content: Content) -> (Vec<ReadItem>, Result<(), String>) {
        let Some(dialect) = &mut self.dialect else { return (Vec::new(), Ok(())) };
        let result = self.readout.read(dialect.as_mut(), content);
        (self.readout.drain().collect(), result)
    }

    /// Whether a message of the dialect is what a keepalive or a request waits for; `reading` then says which.
    pub(super) fn awaits(&mut self, content: &Content) -> bool {
        self.interpreter.awaits() && self.interpreter.is_awaited(content.payload(), &mut self.reading)
    }

    /// The subscription of a name.
    pub(super) fn key_of(&self, name: &SubscriptionId) -> Option<Key> {
        self.keys.get(name).copied()
    }

    /// Those of the names that subscriptions have: `count` of them.
    pub(super) fn known(&self, names: Names, count: usize) -> Option<Names> {
        match count {
            0 => None,
            _ if count == names.len() => Some(names),
            _ => Some(
                names.iter().filter(|name| self.keys.contains_key(*name)).cloned().collect::<Vec<_>>().into(),
            ),
        }
    }

    pub(super) fn keys_of(&self, names: &[SubscriptionId]) -> Vec<Key> {
        names.iter().filter_map(|name| self.key_of(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_summed_up_is_as_much_as_before() {
        let mut touched = vec![(2, 1), (1, 4), (2, 3), (3, 1), (1, 1), (2, 1)];
        sum_up(&mut touched);
        assert_eq!(touched, [(1, 5), (2, 5), (3, 1)]);
    }
}
