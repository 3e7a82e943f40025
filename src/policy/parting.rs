//! Subscriptions that are to end, but whose unsubscribe message can't be made yet: it is made from what the answer to
//! their subscribe message binds, such as the number of a channel, and that answer has not come.
//!
//! Here is only who waits; how long, and what is done then, the session machine knows. All of it belongs to one
//! connection.

use super::freshness::Key;
use crate::message::SubscriptionId;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// One that waits.
#[derive(Debug)]
pub(crate) struct Parting {
    pub(crate) id: SubscriptionId,
    /// What the server calls it.
    topic: Box<str>,
    /// The subscribe message whose answer it waits for.
    pub(crate) frame: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Partings {
    by_key: BTreeMap<Key, Parting>,
    /// At most one of each name: the next of that name is not asked for before.
    by_id: HashMap<SubscriptionId, Key>,
    by_topic: BTreeSet<(Box<str>, Key)>,
    by_frame: BTreeSet<(u64, Key)>,
}

impl Partings {
    pub(crate) fn insert(&mut self, key: Key, id: SubscriptionId, topic: &str, frame: u64) {
        self.by_id.insert(id.clone(), key);
        self.by_topic.insert((topic.into(), key));
        self.by_frame.insert((frame, key));
        self.by_key.insert(key, Parting { id, topic: topic.into(), frame });
    }

    pub(crate) fn take(&mut self, key: Key) -> Option<Parting> {
        let parting = self.by_key.remove(&key)?;
        if self.by_id.get(&parting.id) == Some(&key) {
            self.by_id.remove(&parting.id);
        }
        self.by_topic.remove(&(parting.topic.clone(), key));
        self.by_frame.remove(&(parting.frame, key));
        Some(parting)
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Parting> {
        self.by_key.get(&key)
    }

    pub(crate) fn contains(&self, key: Key) -> bool {
        self.by_key.contains_key(&key)
    }

    /// Whether one of this name waits, so that the next of it has to wait, too.
    pub(crate) fn blocks(&self, id: &SubscriptionId) -> bool {
        self.by_id.contains_key(id)
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.by_key.keys().copied().collect()
    }

    /// Those that wait for the answer to this message.
    pub(crate) fn of_frame(&self, frame: u64) -> Vec<Key> {
        self.by_frame.range((frame, 0)..=(frame, Key::MAX)).map(|(_, key)| *key).collect()
    }

    /// Those that the server calls by one of these names; of one message, or of any.
    pub(crate) fn listed(&self, frame: Option<u64>, topics: &[String]) -> Vec<Key> {
        if self.by_key.is_empty() {
            return Vec::new();
        }
        let of = |topic: &String| {
            let topic: Box<str> = topic.as_str().into();
            let range = self.by_topic.range((topic.clone(), 0)..=(topic, Key::MAX));
            range.map(|(_, key)| *key).collect::<Vec<_>>()
        };
        let is_meant = |key: &Key| {
            frame.is_none_or(|frame| self.by_key.get(key).is_some_and(|parting| parting.frame == frame))
        };
        let found: BTreeSet<Key> = topics.iter().flat_map(of).filter(is_meant).collect();
        found.into_iter().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_found_by_all_that_an_answer_may_say() {
        let mut partings = Partings::default();
        partings.insert(1, "a".into(), "topic.a", 7);
        partings.insert(2, "b".into(), "topic.b", 7);
        partings.insert(3, "c".into(), "topic.a", 8);
        assert_eq!(partings.of_frame(7), [1, 2]);
        assert_eq!(partings.of_frame(9), [0u64; 0]);
        let topics = ["topic.a".to_owned(), "topic.x".to_owned()];
        assert_eq!(partings.listed(None, &topics), [1, 3]);
        assert_eq!(partings.listed(Some(8), &topics), [3]);
        assert!(partings.blocks(&"a".into()) && !partings.blocks(&"x".into()));
        assert!(partings.take(1).is_some_and(|parting| parting.frame == 7 && parting.id == "a"));
        assert!(partings.take(1).is_none() && !partings.blocks(&"a".into()));
        assert_eq!((partings.listed(None, &topics), partings.of_frame(7)), (vec![3], vec![2]));
        partings.take(2);
        partings.take(3);
        assert!(partings.is_empty() && partings.by_topic.is_empty() && partings.by_frame.is_empty());
    }
}
