//! Deadlines by key, in order: cheap to set and to take back, however many there are.

use super::freshness::Key;
use std::collections::{BTreeSet, HashMap};
use std::time::Instant;

/// At most one deadline for each key. One that was taken back wakes nobody.
#[derive(Debug, Default)]
pub(crate) struct Deadlines {
    order: BTreeSet<(Instant, Key)>,
    by_key: HashMap<Key, (Instant, Instant)>,
}

impl Deadlines {
    /// Sets the deadline of `key`, in place of the one before. `since` comes back when it is over.
    pub(crate) fn arm(&mut self, key: Key, since: Instant, deadline: Instant) {
        self.disarm(key);
        self.order.insert((deadline, key));
        self.by_key.insert(key, (since, deadline));
    }

    pub(crate) fn disarm(&mut self, key: Key) {
        if let Some((_, deadline)) = self.by_key.remove(&key) {
            self.order.remove(&(deadline, key));
        }
    }

    /// The earliest.
    pub(crate) fn next(&self) -> Option<Instant> {
        self.order.first().map(|(deadline, _)| *deadline)
    }

    /// When the one that is next was set.
    pub(crate) fn next_since(&self) -> Option<Instant> {
        let (_, key) = self.order.first()?;
        self.by_key.get(key).map(|(since, _)| *since)
    }

    /// Takes one that is over: its key and when it was set.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<(Key, Instant)> {
        let (deadline, key) = *self.order.first()?;
        if now < deadline {
            return None;
        }
        self.order.pop_first();
        let (since, _) = self.by_key.remove(&key)?;
        Some((key, since))
    }

    #[cfg(test)]
    pub(crate) fn is_armed(&self, key: Key) -> bool {
        self.by_key.contains_key(&key)
    }

    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.by_key.len().max(self.order.len())
    }

    /// Every clock starts anew.
    pub(crate) fn restart(&mut self, now: Instant) {
        for (since, deadline) in self.by_key.values_mut() {
            *deadline = now + deadline.saturating_duration_since(*since);
            *since = now;
        }
        self.order = self.by_key.iter().map(|(key, (_, deadline))| (*deadline, *key)).collect();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn they_come_in_order_and_one_taken_back_wakes_nobody() {
        let t0 = crate::clock::mono();
        let mut deadlines = Deadlines::default();
        for key in 1..=3 {
            deadlines.arm(key, t0, t0 + MS * key as u32 * 10);
        }
        deadlines.arm(3, t0 + MS, t0 + 15 * MS);
        assert_eq!(deadlines.next(), Some(t0 + 10 * MS));
        deadlines.disarm(1);
        deadlines.disarm(1);
        assert_eq!(deadlines.next(), Some(t0 + 15 * MS));
        assert_eq!(deadlines.next_since(), Some(t0 + MS));
        assert_eq!(deadlines.take_due(t0 + 14 * MS), None);
        deadlines.restart(t0 + 100 * MS);
        assert_eq!(deadlines.take_due(t0 + 119 * MS), Some((3, t0 + 100 * MS)));
        assert_eq!(deadlines.take_due(t0 + 119 * MS), None);
        assert_eq!(deadlines.take_due(t0 + 120 * MS), Some((2, t0 + 100 * MS)));
        assert_eq!(deadlines.next(), None);
    }
}
