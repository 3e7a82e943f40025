//! What the data of subscriptions says of its age, and whether it says anything new: gathered over a cycle, for those
//! that have a rule for it. Used without the lock.

use super::plan::Spec;
use crate::dialect::Observer;
use crate::message::{Content, Received};
use crate::policy::freshness::Key;
use crate::policy::mark::Mark;
use std::collections::HashMap;

/// A subscription with such a rule.
#[derive(Debug)]
struct Observed {
    observer: Observer,
    /// The last cycle that has a mark of it, and which it is.
    marked: (u64, usize),
}

/// The rules of all subscriptions, and the marks of the cycle.
#[derive(Debug, Default)]
pub(super) struct Marks {
    observed: HashMap<Key, Observed>,
    /// The same while all routes are being said anew.
    shelf: HashMap<Key, Observed>,
    marks: Vec<Mark>,
    cycle: u64,
}

impl Marks {
    /// Whether there is no rule.
    pub(super) fn is_empty(&self) -> bool {
        self.observed.is_empty()
    }

    /// Follows the rules of a subscription, or goes on with it.
    pub(super) fn watch(&mut self, key: Key, spec: &Spec) {
        if let Some(kept) = self.shelf.remove(&key) {
            self.observed.insert(key, kept);
        } else if let Some(observer) = Observer::new(spec.lag.as_ref(), spec.frozen.as_ref()) {
            self.observed.entry(key).or_insert(Observed { observer, marked: (0, 0) });
        }
    }

    /// It is wanted no more.
    pub(super) fn forget(&mut self, key: Key) {
        self.observed.remove(&key);
    }

    /// All are about to be said anew: those that then are wanted go on.
    pub(super) fn shelve(&mut self) {
        self.shelf.extend(self.observed.drain());
    }

    /// They were said: the others are wanted no more.
    pub(super) fn clear_shelf(&mut self) {
        self.shelf.clear();
    }

    /// It is made anew.
    pub(super) fn restart(&mut self, key: Key) {
        if let Some(observed) = self.observed.get_mut(&key) {
            observed.observer.restart();
        }
    }

    /// A new connection.
    pub(super) fn restart_all(&mut self) {
        self.observed.values_mut().for_each(|observed| observed.observer.restart());
    }

    /// A new cycle, or a part of one.
    pub(super) fn begin_cycle(&mut self) {
        self.cycle += 1;
        self.marks.clear();
    }

    /// Data came for these.
    pub(super) fn observe(&mut self, keys: &[Key], content: &Content, received: Received) {
        for key in keys {
            let Some(Observed { observer, marked }) = self.observed.get_mut(key) else { continue };
            let seen = observer.observe(content.payload(), received);
            let (cycle, at) = *marked;
            if let Some(mark) = self.marks.get_mut(at).filter(|_| cycle == self.cycle) {
                mark.timely |= seen.timely;
                mark.advanced |= seen.advanced;
                mark.lag = seen.lag.or(mark.lag);
                mark.skew = observer.skew();
            } else {
                *marked = (self.cycle, self.marks.len());
                let (timely, advanced, lag) = (seen.timely, seen.advanced, seen.lag);
                self.marks.push(Mark { key: *key, timely, advanced, lag, skew: observer.skew() });
            }
        }
    }

    /// What the cycle brought: of each subscription one.
    pub(super) fn list(&self) -> &[Mark] {
        &self.marks
    }
}

#[cfg(test)]
#[path = "marks_tests.rs"]
mod tests;
