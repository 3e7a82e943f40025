//! What the user wants (desired), apart from what is in force on the connection.

use super::freshness::Key;
use crate::clock::Stamp;
use crate::health::SubscriptionState;
use crate::message::SubscriptionId;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// One desired subscription.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) id: SubscriptionId,
    /// Its own freshness limit; `None`: none.
    pub(crate) limit: Option<Duration>,
    /// Whether something has to be written for it.
    pub(crate) payload: bool,
    /// It takes the place of one that was in force on this connection: its data does not join up.
    pub(crate) gap: bool,
    /// `Subscribed` was said on this connection.
    pub(crate) announced: bool,
    pub(crate) state: SubscriptionState,
    /// The last data, on whichever connection.
    pub(crate) last_data: Option<Stamp>,
    pub(crate) messages: u64,
}

/// The desired subscriptions, in the order in which they were asked for. A key is never used twice, so what is
/// late for an old subscription can't touch a newer one of the same name.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    entries: BTreeMap<Key, Entry>,
    by_id: HashMap<SubscriptionId, Key>,
    last_key: Key,
}

impl Subscriptions {
    /// Adds one; the one it takes the place of comes back.
    pub(crate) fn insert(
        &mut self,
        id: SubscriptionId,
        limit: Option<Duration>,
        payload: bool,
    ) -> (Key, Option<(Key, Entry)>) {
        self.last_key += 1;
        let key = self.last_key;
        let replaced = self.by_id.insert(id.clone(), key);
        let replaced = replaced.and_then(|old| Some((old, self.entries.remove(&old)?)));
        // What the name has got so far stays: the gap says when the last message before it came.
        let (last_data, messages) =
            replaced.as_ref().map_or((None, 0), |(_, old)| (old.last_data, old.messages));
        let state = SubscriptionState::Desired;
        let entry = Entry { id, limit, payload, gap: false, announced: false, state, last_data, messages };
        self.entries.insert(key, entry);
        (key, replaced)
    }

    pub(crate) fn remove(&mut self, id: &SubscriptionId) -> Option<(Key, Entry)> {
        let key = self.by_id.remove(id)?;
        Some((key, self.entries.remove(&key)?))
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.get_mut(&key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &Entry)> {
        self.entries.iter().map(|(key, entry)| (*key, entry))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.entries.keys().copied().collect()
    }

    pub(crate) fn ids(&self) -> Vec<SubscriptionId> {
        self.entries.values().map(|entry| entry.id.clone()).collect()
    }
}
