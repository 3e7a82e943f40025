//! The subscriptions as templates and the reader see them: their specs, their variables on this connection, and what
//! data is routed to. Plain data, under the mutex of the core.
//!
//! A matcher that depends on the number of the subscribe frame, or on what an acknowledgement bound, is filled in when
//! that is known and forgotten with the connection. Until then nothing is routed by it.

use super::plan::Spec;
use crate::dialect::{Change, FrameVars, Matcher, Member, Scope, Variables, cursor_at};
use crate::message::{Message, Names, SubscriptionId};
use crate::policy::freshness::Key;
use crossbeam_channel::Sender;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// So many changes may wait for the reader; then all routes are told anew.
const CHANGES: usize = 4096;

/// A change that the reader has to take over.
#[derive(Debug)]
pub(super) enum RouteChange {
    /// Of what messages mean and whom they belong to.
    Route(Change),
    /// The subscription is made anew: what numbers its data starts with is not known, nor by which clock it comes.
    Restart(Key),
    /// The sequence, the cursor, the event time and the value of a new subscription are to be watched.
    Watch(Key, Arc<Spec>),
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
    routed: bool,
}

/// A question of the application that waits for its answer.
struct Question {
    matcher: Matcher,
    answer: Sender<Message>,
}

pub(crate) struct Book {
    entries: HashMap<Key, Entry>,
    /// The keys that data is routed to, in the order of the subscriptions.
    routed: BTreeSet<Key>,
    /// The last message of subscriptions that take up where they were, from earlier connections too.
    last: HashMap<SubscriptionId, Message>,
    /// Where subscriptions are that had no data since their acknowledgement said so.
    cursors: HashMap<SubscriptionId, Value>,
    /// The variables that outlive their connection.
    keep: Arc<[String]>,
    captures: Arc<Variables>,
    questions: BTreeMap<u64, Question>,
    /// What acknowledgements of this connection did not have, and that was said.
    lacking: BTreeSet<String>,
    /// The rules whose subscriptions are found by a matcher.
    by: Arc<[(u32, Matcher)]>,
    changes: Vec<RouteChange>,
    /// Read by the reader without the lock, after each `recv`.
    version: Arc<AtomicU64>,
}

impl Book {
    pub(super) fn new(by: Arc<[(u32, Matcher)]>, keep: Arc<[String]>, version: Arc<AtomicU64>) -> Self {
        Self {
            entries: HashMap::new(),
            routed: BTreeSet::new(),
            last: HashMap::new(),
            cursors: HashMap::new(),
            keep,
            captures: Arc::default(),
            questions: BTreeMap::new(),
            lacking: BTreeSet::new(),
            by,
            changes: Vec::new(),
            version,
        }
    }

    // ---- subscriptions -------------------------------------------------------------------------------------

    pub(super) fn insert(&mut self, key: Key, spec: Arc<Spec>) {
        let watched = spec.is_watched();
        let late = self.late(&spec);
        let entry = Entry { spec: Arc::clone(&spec), local: Local::default(), late, routed: true };
        let change = self.route(key, &entry);
        self.entries.insert(key, entry);
        self.routed.insert(key);
        self.push(RouteChange::Route(change));
        if watched {
            self.push(RouteChange::Watch(key, spec));
        }
    }

    /// Data is routed to it no more. `to_write`: its unsubscribe message is still to be made.
    pub(super) fn remove(&mut self, key: Key, to_write: bool) {
        if self.routed.remove(&key) {
            self.push(RouteChange::Route(Change::Remove { key }));
        }
        if to_write {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.routed = false;
            }
        } else {
            self.entries.remove(&key);
        }
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
        if !self.routed.contains(&key) {
            self.entries.remove(&key);
        }
        Some((spec, member))
    }

    /// The names of those that data is routed to; `None` if there are none.
    pub(super) fn names(&self, keys: &[Key]) -> Option<Names> {
        let entries = keys.iter().filter_map(|key| self.entries.get(key)).filter(|entry| entry.routed);
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
        let told =
            || last.as_ref().zip(spec.cursor.as_ref()).and_then(|(last, at)| cursor_at(last.payload(), at));
        let cursor = self.cursors.get(&spec.want.id).cloned().or_else(told);
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
        self.reroute(key);
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
                    self.cursors.insert(entry.spec.want.id.clone(), value.clone());
                } else {
                    own.insert(name.to_string(), value.clone());
                }
            }
            self.reroute(*key);
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
            entry.routed
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
        if let Some(entry) = self.entries.get(&key)
            && !entry.late.is_empty()
            && entry.routed
        {
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
        Change::insert(key, spec.want.id.clone(), spec.data.as_ref(), &self.by, &scope)
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
        let late: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.routed && is_meant(entry))
            .map(|(key, _)| *key)
            .collect();
        Arc::make_mut(&mut self.captures).extend(new);
        late.into_iter().for_each(|key| self.reroute(key));
    }

    /// Where the data of subscriptions has come.
    pub(super) fn came(&mut self, last: impl IntoIterator<Item = (Key, Message)>) {
        for (key, message) in last {
            if let Some(entry) = self.entries.get(&key)
                && entry.routed
            {
                self.cursors.remove(&entry.spec.want.id);
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
        self.entries.retain(|_, entry| entry.routed);
        let mut late = Vec::new();
        for (key, entry) in &mut self.entries {
            entry.local.frame = None;
            kept(&mut entry.local.bound);
            if !entry.late.is_empty() {
                late.push(*key);
            }
        }
        for key in late {
            self.reroute(key);
        }
        for ticket in std::mem::take(&mut self.questions).into_keys() {
            self.push(RouteChange::Route(Change::RequestDone { ticket }));
        }
    }

    // ---- questions -----------------------------------------------------------------------------------------

    pub(super) fn ask(&mut self, ticket: u64, matcher: Matcher, answer: Sender<Message>) {
        self.push(RouteChange::Route(Change::Request { ticket, matcher: matcher.clone() }));
        self.questions.insert(ticket, Question { matcher, answer });
    }

    /// The one who waits for the answer, who waits no more.
    pub(crate) fn answered(&mut self, ticket: u64) -> Option<Sender<Message>> {
        let question = self.questions.remove(&ticket)?;
        self.push(RouteChange::Route(Change::RequestDone { ticket }));
        Some(question.answer)
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
            if entry.spec.is_watched() {
                changes.push(RouteChange::Watch(*key, Arc::clone(&entry.spec)));
            }
        }
        changes.extend(restarts.into_iter().map(RouteChange::Restart));
        for (ticket, question) in &self.questions {
            let matcher = question.matcher.clone();
            changes.push(RouteChange::Route(Change::Request { ticket: *ticket, matcher }));
        }
        self.changes = changes;
    }

    /// What the reader has to take over, and the version it is then at.
    pub(super) fn take_changes(&mut self) -> (u64, Vec<RouteChange>) {
        (self.version.load(Ordering::Acquire), std::mem::take(&mut self.changes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Stamp;
    use crate::dialect::Place;
    use crate::dialect::placeholder::Vars;
    use crate::message::Content;
    use crate::policy::subscriptions::{AckPolicy, Want};
    use serde_json::json;

    /// A subscription whose data carries a number that its acknowledgement tells.
    fn spec() -> Arc<Spec> {
        let want = Want {
            id: "a".into(),
            limit: None,
            adaptive: None,
            first_limit: None,
            by_hours: Arc::new([]),
            late: None,
            frozen: None,
            payload: true,
            can_end: true,
            batch: None,
            ack: AckPolicy::None,
            repair: Arc::new([]),
            can_probe: false,
            topic: None,
        };
        Arc::new(Spec {
            want,
            vars: Arc::default(),
            subscribe: None,
            unsubscribe: None,
            probe: None,
            data: Some(Matcher::pointer("/channel", "${channel}")),
            sequence: None,
            lag: None,
            frozen: None,
            cursor: None,
        })
    }

    /// Whether data of this channel is routed by the last that was said.
    fn is_routed(book: &mut Book, channel: &Value) -> bool {
        let content = Content::Text(json!({ "channel": channel }).to_string().into());
        let mut routed = false;
        for change in book.take_changes().1 {
            if let RouteChange::Route(Change::Insert { data, .. }) = change {
                routed = data.is_some_and(|matcher| matcher.matches(content.payload()));
            }
        }
        routed
    }

    #[test]
    fn an_answer_to_an_older_message_says_nothing_of_the_newer() {
        let mut book = Book::new(Arc::new([]), Arc::new([]), Arc::default());
        let bound = |value: Value| [(Arc::from("channel"), value)];
        book.insert(1, spec());
        book.subscribing(1, 5);
        book.bind(&[1], Some(5), &bound(json!("c5")));
        assert!(is_routed(&mut book, &json!("c5")));
        // Made again: frame 6 ends it, frame 7 asks anew. The server answers in an order of its own.
        book.subscribing(1, 7);
        book.bind(&[1], Some(7), &bound(json!("c7")));
        book.bind(&[1], Some(6), &bound(json!("gone")));
        book.bind(&[1], Some(5), &bound(json!("c5")));
        assert!(is_routed(&mut book, &json!("c7")));
        // An answer that says nothing has nothing told anew.
        book.bind(&[1], Some(7), &[]);
        assert!(book.take_changes().1.is_empty());
        // One that says no number is for whom the session machine says.
        book.bind(&[1], None, &bound(json!("c8")));
        assert!(is_routed(&mut book, &json!("c8")));
    }

    /// What a subscribe message of the first subscription would be made from.
    fn known(book: &Book, name: &str) -> Option<Value> {
        let member = book.member(1).unwrap();
        let frame = FrameVars { captures: book.captures(), ..FrameVars::new(1, 1, SystemTime::UNIX_EPOCH) };
        Vars::var(&Scope { frame: &frame, member: Some(&member), message: None }, name)
    }

    #[test]
    fn what_is_kept_outlives_the_connection() {
        let keep: Arc<[String]> = Arc::new(["session".to_owned(), "epoch_name".to_owned()]);
        let mut book = Book::new(Arc::new([]), keep, Arc::default());
        book.insert(1, spec());
        let value = |name: &str| (name.to_owned(), json!(name));
        book.capture([value("session"), value("token")]);
        book.subscribing(1, 5);
        let bound = |name: &str| (Arc::<str>::from(name), json!(name));
        book.bind(&[1], Some(5), &[bound("epoch_name"), bound("channel")]);
        let all = ["session", "token", "epoch_name", "channel"];
        assert_eq!(all.map(|name| known(&book, name).is_some()), [true; 4]);
        book.disconnected();
        assert_eq!(all.map(|name| known(&book, name).is_some()), [true, false, true, false]);
        assert!(!is_routed(&mut book, &json!("channel")));
        // Another of that name begins anew, but for what is the connection's.
        book.remove(1, false);
        book.insert(1, spec());
        assert_eq!(all.map(|name| known(&book, name).is_some()), [true, false, false, false]);
    }

    #[test]
    fn an_acknowledgement_may_say_where_the_data_begins() {
        let mut book = Book::new(Arc::new([]), Arc::new([]), Arc::default());
        let cursor = Place::parse("/offset").unwrap();
        book.insert(1, Arc::new(Spec { cursor: Some(cursor), ..Arc::into_inner(spec()).unwrap() }));
        let message = |offset: u64| Message {
            content: Content::Text(json!({ "offset": offset }).to_string().into()),
            epoch: 1,
            received: Stamp::now().into(),
            subscriptions: None,
        };
        book.subscribing(1, 5);
        assert_eq!(known(&book, "cursor"), None);
        book.bind(&[1], Some(5), &[(Arc::from("cursor"), json!(7))]);
        assert_eq!(known(&book, "cursor"), Some(json!(7)));
        book.came([(1, message(8))]);
        assert_eq!(known(&book, "cursor"), Some(json!(8)));
        book.disconnected();
        assert_eq!(known(&book, "cursor"), Some(json!(8)));
        book.subscribing(1, 6);
        book.bind(&[1], Some(6), &[(Arc::from("cursor"), json!(3))]);
        assert_eq!(known(&book, "cursor"), Some(json!(3)), "the server counts anew");
        book.remove(1, false);
        book.forget_name(&"a".into());
        book.insert(1, spec());
        assert_eq!(known(&book, "cursor"), None);
    }
}
