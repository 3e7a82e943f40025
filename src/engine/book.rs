//! The subscriptions as templates and the reader see them: their specs, their variables on this connection, and what
//! data is routed to. Plain data, under the mutex of the core.
//!
//! A matcher that depends on the number of the subscribe frame, or on what an acknowledgement bound, is filled in when
//! that is known and forgotten with the connection. Until then nothing is routed by it.

use super::plan::Spec;
use super::questions::{Answered, Question, Questions};
use crate::dialect::{Change, FrameVars, Matcher, Member, Place, Scope, Variables};
use crate::message::{Message, Names, SubscriptionId};
use crate::panics;
use crate::policy::freshness::Key;
use crate::policy::session::Grant;
use crossbeam_channel::Sender;
use serde_json::Value;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Instant, SystemTime};

/// So many changes may wait for the reader; then all routes are told anew.
const CHANGES: usize = 4096;

/// A change that the reader has to take over.
#[derive(Debug)]
pub(super) enum RouteChange {
    /// Of what messages mean and whom they belong to.
    Route(Change),
    /// The subscription is made anew: what numbers its data starts with is not known, nor by which clock it comes.
    Restart(Key),
    /// The sequence, the event time and the value of a new subscription are to be watched.
    Watch(Key, Arc<Spec>),
    /// The last message of a new subscription is to be kept, and what it has here.
    Keep(Key, Option<Place>),
}

/// What belongs to a subscription for as long as its connection.
#[derive(Default)]
struct Local {
    frame: Option<u64>,
    bound: Arc<Variables>,
}

/// A desired subscription, or one whose unsubscribe message is still to be written.
struct Entry {
    spec: Arc<Spec>,
    local: Local,
    /// What its matchers depend on that is known only on a connection.
    late: Box<[String]>,
    wanted: bool,
}

/// What the book has let go of and the application's closures are in. Their captures may do anything when they are
/// dropped, so that is not done under the lock.
#[derive(Default)]
pub(super) struct Dead(Vec<Box<dyn Send>>);

impl Dead {
    fn push(&mut self, dead: impl Send + 'static) {
        self.0.push(Box::new(dead));
    }
}

impl Drop for Dead {
    fn drop(&mut self) {
        while let Some(dead) = self.0.pop() {
            // There is nobody to tell: it may be anybody's thread.
            let _ = panics::caught(|| drop(dead));
        }
    }
}

/// What is still to be done for a subscription that is wanted no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// Its unsubscribe message is to be made.
    Message,
    /// The same once the answer to its subscribe message has come, which is still to be understood.
    Answer,
}

pub(crate) struct Book {
    entries: HashMap<Key, Entry>,
    /// The keys that the reader knows, in the order of the subscriptions: those that data is routed to, and those that
    /// answers may still be about.
    routed: BTreeSet<Key>,
    /// How many are wanted.
    wanted: usize,
    /// Of these, those that are [blind](Spec::is_blind).
    blind: BTreeSet<Key>,
    /// The last message of subscriptions that take up where they were, from earlier connections too.
    last: HashMap<SubscriptionId, Message>,
    /// How far the data of subscriptions has come, by the last of it, or of their acknowledgements, that said so.
    cursors: HashMap<SubscriptionId, Value>,
    /// The variables that outlive their connection.
    keep: Arc<[String]>,
    captures: Arc<Variables>,
    questions: Questions,
    /// What acknowledgements of this connection did not have, and that was said.
    lacking: BTreeSet<String>,
    /// The rules whose subscriptions are found by a matcher.
    by: Arc<[(u32, Matcher)]>,
    changes: Vec<RouteChange>,
    dead: Dead,
    /// Read by the reader without the lock, after each `recv`.
    version: Arc<AtomicU64>,
}

impl Book {
    pub(super) fn new(by: Arc<[(u32, Matcher)]>, keep: Arc<[String]>, version: Arc<AtomicU64>) -> Self {
        Self {
            entries: HashMap::new(),
            routed: BTreeSet::new(),
            wanted: 0,
            blind: BTreeSet::new(),
            last: HashMap::new(),
            cursors: HashMap::new(),
            keep,
            captures: Arc::default(),
            questions: Questions::default(),
            lacking: BTreeSet::new(),
            by,
            changes: Vec::new(),
            dead: Dead::default(),
            version,
        }
    }

    // ---- subscriptions -------------------------------------------------------------------------------------

    pub(super) fn insert(&mut self, key: Key, spec: Arc<Spec>) {
        let late = self.late(&spec);
        let entry = Entry { spec: Arc::clone(&spec), local: Local::default(), late, wanted: true };
        let change = self.route(key, &entry);
        self.wanted += 1;
        if spec.is_blind() {
            self.blind.insert(key);
        }
        self.entries.insert(key, entry);
        self.routed.insert(key);
        self.push(RouteChange::Route(change));
        if spec.keeps_last() {
            self.push(RouteChange::Keep(key, spec.cursor.clone()));
        }
        if spec.is_followed() {
            self.push(RouteChange::Watch(key, spec));
        }
    }

    /// Data is routed to it no more.
    pub(super) fn remove(&mut self, key: Key, left: Left) {
        self.wanted = self.wanted.saturating_sub(usize::from(self.entries.contains_key(&key)));
        self.blind.remove(&key);
        match (left, self.entries.get_mut(&key)) {
            (Left::Nothing, _) | (_, None) => self.forget(key),
            (Left::Message, Some(entry)) => {
                entry.wanted = false;
                self.unroute(key);
            }
            (Left::Answer, Some(entry)) => {
                entry.wanted = false;
                self.reroute(key);
            }
        }
    }

    /// Which subscription could not be seen to be mute if this one joined, in place of `replaced`.
    pub(super) fn blind_beside(&self, spec: &Spec, replaced: Option<Key>) -> Option<SubscriptionId> {
        if self.wanted == usize::from(replaced.is_some()) {
            return None;
        }
        if spec.is_blind() {
            return Some(spec.want.id.clone());
        }
        let blind = self.blind.iter().find(|key| Some(**key) != replaced)?;
        self.entries.get(blind).map(|entry| entry.spec.want.id.clone())
    }

    /// Nothing is to be done for it any more.
    pub(super) fn forget(&mut self, key: Key) {
        self.unroute(key);
        if let Some(entry) = self.entries.remove(&key) {
            self.bury(entry.spec);
        }
    }

    fn unroute(&mut self, key: Key) {
        if self.routed.remove(&key) {
            self.push(RouteChange::Route(Change::Remove { key }));
        }
    }

    /// Has something dropped after the lock.
    pub(super) fn bury(&mut self, dead: impl Send + 'static) {
        self.dead.push(dead);
    }

    /// What is to be dropped after the lock.
    pub(super) fn take_dead(&mut self) -> Dead {
        std::mem::take(&mut self.dead)
    }

    /// Nobody wants what had this name: where it was is forgotten.
    pub(super) fn forget_name(&mut self, id: &SubscriptionId) {
        self.last.remove(id);
        self.cursors.remove(id);
    }

    pub(super) fn spec(&self, key: Key) -> Option<Arc<Spec>> {
        self.entries.get(&key).map(|entry| Arc::clone(&entry.spec))
    }

    /// Takes the spec and the variables of a subscription for its unsubscribe message: with one that is not desired any
    /// more this is their last use.
    pub(super) fn retire(&mut self, key: Key) -> Option<(Arc<Spec>, Member)> {
        let member = self.member(key)?;
        let spec = self.spec(key)?;
        if !self.entries.get(&key)?.wanted {
            self.forget(key);
        }
        Some((spec, member))
    }

    /// The names of those that data is routed to; `None` if there are none.
    pub(super) fn names(&self, keys: &[Key]) -> Option<Names> {
        let entries = keys.iter().filter_map(|key| self.entries.get(key)).filter(|entry| entry.wanted);
        let names: Vec<_> = entries.map(|entry| entry.spec.want.id.clone()).collect();
        (!names.is_empty()).then(|| Arc::new(names))
    }

    /// Its variables.
    pub(super) fn member(&self, key: Key) -> Option<Member> {
        let entry = self.entries.get(&key)?;
        Some(self.member_of(entry))
    }

    fn member_of(&self, entry: &Entry) -> Member {
        let spec = &entry.spec;
        let last = self.last.get(&spec.want.id).cloned();
        let cursor = self.cursors.get(&spec.want.id).cloned();
        Member {
            name: Some(spec.want.id.clone()),
            frame: entry.local.frame,
            vars: Arc::clone(&spec.vars),
            bound: Arc::clone(&entry.local.bound),
            cursor,
            last,
        }
    }

    /// Its subscribe message is about to be made, as the frame of this number: from now on its data may come.
    pub(super) fn subscribing(&mut self, key: Key, frame: u64) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        entry.local.frame = Some(frame);
        if entry.spec.is_followed() {
            self.push(RouteChange::Restart(key));
        }
        self.refill(key);
    }

    /// An acknowledgement told what the server calls these. `frame`: the message that it is for, if it says that. To an
    /// unsubscribe message, or to an older subscribe message, it says nothing of what is in force now.
    pub(super) fn bind(&mut self, keys: &[Key], frame: Option<u64>, bound: &[(Arc<str>, Value)]) {
        if bound.is_empty() {
            return;
        }
        for key in keys {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            if frame.is_some() && entry.local.frame != frame {
                continue;
            }
            let own = Arc::make_mut(&mut entry.local.bound);
            for (name, value) in bound {
                if &**name == "cursor" {
                    // Nobody goes on from where one was that is wanted no more.
                    if entry.wanted {
                        self.cursors.insert(entry.spec.want.id.clone(), value.clone());
                    }
                } else {
                    own.insert(name.to_string(), value.clone());
                }
            }
            self.refill(*key);
        }
    }

    /// The same of one of several messages for a subscription, each of which the server may grant. Gives what is known of
    /// the one that is too many: the numbers and names that tell it from the one that is in force.
    pub(super) fn bind_again(
        &mut self,
        key: Key,
        frame: Option<u64>,
        grant: Grant,
        bound: &[(Arc<str>, Value)],
    ) -> Option<Member> {
        let entry = self.entries.get_mut(&key)?;
        let other = |(name, value): &(Arc<str>, Value)| {
            entry.local.bound.get(&**name).is_some_and(|before| before != value)
        };
        let differs = grant != Grant::First && bound.iter().any(other);
        if grant == Grant::Older {
            let entry = self.entries.get(&key).filter(|_| differs)?;
            let mut extra = self.member_of(entry);
            let own = Arc::make_mut(&mut extra.bound);
            own.extend(bound.iter().map(|(name, value)| (name.to_string(), value.clone())));
            extra.frame = frame.or(extra.frame);
            return Some(extra);
        }
        let extra = self.entries.get(&key).filter(|_| differs).map(|entry| self.member_of(entry));
        let entry = self.entries.get_mut(&key)?;
        entry.local.frame = frame.or(entry.local.frame);
        self.bind(&[key], None, bound);
        extra
    }

    /// One that is too many is to be ended, under a key of its own.
    pub(super) fn insert_extra(&mut self, key: Key, of: Key, extra: Member) {
        let Some(spec) = self.spec(of) else { return };
        let local = Local { frame: extra.frame, bound: extra.bound };
        self.entries.insert(key, Entry { spec, local, late: Box::default(), wanted: false });
    }

    /// Something became known that its matchers may depend on.
    fn refill(&mut self, key: Key) {
        if self.entries.get(&key).is_some_and(|entry| !entry.late.is_empty()) {
            self.reroute(key);
        }
    }

    /// An acknowledgement of these does not have a variable, by what looks for it. One of them that can't do without it,
    /// and does not know it otherwise; once for each connection.
    pub(super) fn lacks(
        &mut self,
        keys: &[Key],
        frame: Option<u64>,
        name: &str,
        field: &str,
    ) -> Option<SubscriptionId> {
        if self.lacking.contains(field) || self.captures.contains_key(name) {
            return None;
        }
        let entries = keys.iter().filter_map(|key| self.entries.get(key)).filter(|entry| {
            entry.wanted
                && (frame.is_none() || entry.local.frame == frame)
                && !entry.local.bound.contains_key(name)
                && !entry.spec.vars.contains_key(name)
        });
        let mut lacking = entries.filter(|entry| entry.spec.needs(name, &self.by));
        let id = lacking.next()?.spec.want.id.clone();
        self.lacking.insert(field.to_owned());
        Some(id)
    }

    fn reroute(&mut self, key: Key) {
        if let Some(entry) = self.entries.get(&key).filter(|_| self.routed.contains(&key)) {
            let change = self.route(key, entry);
            self.push(RouteChange::Route(change));
        }
    }

    /// The placeholders of its matchers that it can't fill in by itself.
    fn late(&self, spec: &Spec) -> Box<[String]> {
        let mut late = Vec::new();
        let by = self.by.iter().map(|(_, matcher)| matcher);
        for matcher in spec.data.iter().chain(by) {
            matcher.each_placeholder(&mut |name, _| {
                if name != "name" && !spec.vars.contains_key(name) && !late.iter().any(|it| it == name) {
                    late.push(name.to_owned());
                }
            });
        }
        late.into()
    }

    /// What the reader is told of it, by what is known now.
    fn route(&self, key: Key, entry: &Entry) -> Change {
        // Moment and connection are no part of what data looks like.
        let frame = FrameVars {
            id: entry.local.frame,
            captures: Arc::clone(&self.captures),
            ..FrameVars::new(0, 0, SystemTime::UNIX_EPOCH)
        };
        let member = Member {
            name: Some(entry.spec.want.id.clone()),
            frame: entry.local.frame,
            vars: Arc::clone(&entry.spec.vars),
            bound: Arc::clone(&entry.local.bound),
            ..Member::default()
        };
        let scope = Scope { frame: &frame, member: Some(&member), message: None };
        let spec = &entry.spec;
        let name = spec.want.id.clone();
        if entry.wanted {
            Change::insert(key, name, spec.data.as_ref(), &self.by, &scope)
        } else {
            Change::part(key, name, &self.by, &scope)
        }
    }

    // ---- the connection ------------------------------------------------------------------------------------

    pub(super) fn captures(&self) -> Arc<Variables> {
        Arc::clone(&self.captures)
    }

    /// Variables of the connection became known.
    pub(super) fn capture(&mut self, captured: impl IntoIterator<Item = (String, Value)>) {
        let new: Vec<_> =
            captured.into_iter().filter(|(name, value)| self.captures.get(name) != Some(value)).collect();
        if new.is_empty() {
            return;
        }
        let is_meant = |entry: &Entry| entry.late.iter().any(|name| new.iter().any(|(it, _)| it == name));
        let late: Vec<Key> =
            self.entries.iter().filter(|(_, entry)| is_meant(entry)).map(|(key, _)| *key).collect();
        Arc::make_mut(&mut self.captures).extend(new);
        late.into_iter().for_each(|key| self.refill(key));
    }

    /// How far the data of subscriptions has come: the last message of each, and what it, or one before it, has for the
    /// next connection to take up from. Of those that have nothing the value before stays.
    pub(super) fn came(&mut self, last: impl IntoIterator<Item = (Key, Message, Option<Value>)>) {
        for (key, message, cursor) in last {
            if let Some(entry) = self.entries.get(&key)
                && entry.wanted
            {
                if let Some(cursor) = cursor {
                    self.cursors.insert(entry.spec.want.id.clone(), cursor);
                }
                self.last.insert(entry.spec.want.id.clone(), message);
            }
        }
    }

    /// The connection is over: what belonged to it is forgotten, and what waited for its answers gets none.
    pub(super) fn disconnected(&mut self) {
        self.lacking.clear();
        let keep = Arc::clone(&self.keep);
        let kept = |variables: &mut Arc<Variables>| {
            if !variables.is_empty() {
                Arc::make_mut(variables).retain(|name, _| keep.iter().any(|kept| kept == name));
            }
        };
        kept(&mut self.captures);
        let gone: Vec<Key> =
            self.entries.iter().filter_map(|(key, entry)| (!entry.wanted).then_some(*key)).collect();
        gone.into_iter().for_each(|key| self.forget(key));
        let mut late = Vec::new();
        for (key, entry) in &mut self.entries {
            entry.local.frame = None;
            kept(&mut entry.local.bound);
            if !entry.late.is_empty() {
                late.push(*key);
            }
        }
        for key in late {
            self.refill(key);
        }
        while let Some(ticket) = self.questions.first() {
            self.end_question(ticket);
        }
    }

    // ---- questions -----------------------------------------------------------------------------------------

    pub(super) fn ask(&mut self, ticket: u64, question: Question) {
        let matcher = question.matcher.clone();
        self.push(RouteChange::Route(Change::Request { ticket, matcher }));
        self.questions.insert(ticket, question);
    }

    /// Its answer came: there is no other.
    pub(super) fn answered(&mut self, ticket: u64) -> Answered {
        match self.end_question(ticket) {
            Some(Some(answer)) => Answered::Waiting(answer),
            Some(None) => Answered::Late,
            None => Answered::Unknown,
        }
    }

    /// Nobody waits for the answer any more.
    pub(crate) fn give_up(&mut self, ticket: u64, now: Instant) {
        if let Some(ended) = self.questions.give_up(ticket, now) {
            self.end_question(ended);
        }
    }

    /// What was given up too long ago is forgotten.
    pub(super) fn tidy(&mut self, now: Instant) {
        while let Some(ticket) = self.questions.expired(now) {
            self.end_question(ticket);
        }
    }

    /// Says who waited for it.
    fn end_question(&mut self, ticket: u64) -> Option<Option<Sender<Message>>> {
        let Question { matcher, answer, .. } = self.questions.take(ticket)?;
        self.push(RouteChange::Route(Change::RequestDone { ticket }));
        self.bury(matcher);
        Some(answer)
    }

    // ---- the reader ----------------------------------------------------------------------------------------

    fn push(&mut self, change: RouteChange) {
        self.changes.push(change);
        if self.changes.len() > CHANGES + 4 * (self.entries.len() + self.questions.len()) {
            self.tell_anew();
        }
        self.version.fetch_add(1, Ordering::Release);
    }

    /// Says all routes in place of the changes that led to them, so that they stay bounded.
    fn tell_anew(&mut self) {
        let restarts = self.changes.iter().filter_map(|change| match change {
            RouteChange::Restart(key) if self.routed.contains(key) => Some(*key),
            _ => None,
        });
        let restarts: BTreeSet<Key> = restarts.collect();
        let mut changes = vec![RouteChange::Route(Change::Clear)];
        for key in &self.routed {
            let Some(entry) = self.entries.get(key) else { continue };
            changes.push(RouteChange::Route(self.route(*key, entry)));
            if entry.wanted && entry.spec.keeps_last() {
                changes.push(RouteChange::Keep(*key, entry.spec.cursor.clone()));
            }
            if entry.wanted && entry.spec.is_followed() {
                changes.push(RouteChange::Watch(*key, Arc::clone(&entry.spec)));
            }
        }
        changes.extend(restarts.into_iter().map(RouteChange::Restart));
        for (ticket, matcher) in self.questions.matchers() {
            changes.push(RouteChange::Route(Change::Request { ticket, matcher }));
        }
        let old = std::mem::replace(&mut self.changes, changes);
        self.bury(old);
    }

    /// What the reader has to take over, and the version it is then at.
    pub(super) fn take_changes(&mut self) -> (u64, Vec<RouteChange>) {
        (self.version.load(Ordering::Acquire), std::mem::take(&mut self.changes))
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
