//! Freshness: how long ago the last data came, for the connection and for each subscription.
//!
//! All instants here are in attended time. A track is armed when its subscribe message is written, not at its
//! first message. Only data moves a deadline, and only outwards, so the earliest deadline that was computed
//! once stays a lower bound: it is computed anew only when it passes.
//!
//! While a repair is under way the limit does not count: either the repair's own time does, or, until its message
//! is written, none.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What a deadline belongs to: 0 is the connection, any other number a subscription's key.
pub(crate) type Key = u64;

/// The connection as a whole.
pub(crate) const CONNECTION: Key = 0;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// For the limit.
    Limit,
    /// A repair has its own time.
    Until(Instant),
    /// A repair is not written yet.
    Held,
}

#[derive(Debug, Clone, Copy)]
struct Track {
    since: Instant,
    limit: Duration,
    wait: Wait,
}

impl Track {
    fn deadline(&self) -> Option<Instant> {
        match self.wait {
            Wait::Limit => self.since.checked_add(self.limit),
            Wait::Until(at) => Some(at),
            Wait::Held => None,
        }
    }
}

/// What is over its limit, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overdue {
    pub(crate) key: Key,
    pub(crate) age: Duration,
    /// How long the deadline is over; less than age and limit say if a repair had its own.
    pub(crate) late: Duration,
    pub(crate) limit: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Freshness {
    tracks: HashMap<Key, Track>,
    /// Not later than the earliest deadline.
    earliest: Option<Instant>,
}

impl Freshness {
    /// Watches `key` from `now` on.
    pub(crate) fn arm(&mut self, key: Key, limit: Duration, now: Instant) {
        let track = Track { since: now, limit, wait: Wait::Limit };
        self.tracks.insert(key, track);
        self.note(track.deadline());
    }

    fn note(&mut self, deadline: Option<Instant>) {
        if let Some(deadline) = deadline {
            self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
        }
    }

    pub(crate) fn is_armed(&self, key: Key) -> bool {
        self.tracks.contains_key(&key)
    }

    /// A repair is under way and not written yet: no verdict on `key` until [`Self::grant`] or data.
    pub(crate) fn hold(&mut self, key: Key) {
        if let Some(track) = self.tracks.get_mut(&key) {
            track.wait = Wait::Held;
        }
    }

    /// The repair is written: data has until `until`. Its age still counts from the last data.
    pub(crate) fn grant(&mut self, key: Key, until: Instant) {
        if let Some(track) = self.tracks.get_mut(&key) {
            track.wait = Wait::Until(until);
            self.note(Some(until));
        }
    }

    /// Every clock starts anew.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.earliest = None;
        for track in self.tracks.values_mut() {
            let wait = if track.wait == Wait::Held { Wait::Held } else { Wait::Limit };
            *track = Track { since: now, wait, ..*track };
            if let Some(deadline) = track.deadline() {
                self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
            }
        }
    }

    pub(crate) fn disarm(&mut self, key: Key) {
        self.tracks.remove(&key);
        if self.tracks.is_empty() {
            self.earliest = None;
        }
    }

    /// Data came. Nothing else calls this.
    pub(crate) fn handle_data(&mut self, key: Key, now: Instant) {
        if let Some(track) = self.tracks.get_mut(&key) {
            track.since = track.since.max(now);
            if track.wait != Wait::Limit {
                track.wait = Wait::Limit;
                let deadline = track.deadline();
                self.note(deadline);
            }
        }
    }

    /// A lower bound of the earliest deadline; exact while no data comes.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// All that is over its deadline, the longest first. Moves the earliest deadline on when nothing is.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Overdue> {
        if self.earliest.is_none_or(|earliest| now < earliest) {
            return Vec::new();
        }
        let mut over: Vec<_> = Vec::new();
        self.earliest = None;
        for (key, track) in &self.tracks {
            let Some(deadline) = track.deadline() else { continue };
            self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
            if now >= deadline {
                let age = now.saturating_duration_since(track.since);
                let late = now.saturating_duration_since(deadline);
                over.push(Overdue { key: *key, age, late, limit: track.limit });
            }
        }
        over.sort_by_key(|overdue| (std::cmp::Reverse(overdue.late), overdue.key));
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_track_is_overdue_at_its_limit_and_not_before() {
        let t0 = crate::clock::mono();
        let mut freshness = Freshness::default();
        freshness.arm(7, 100 * MS, t0);
        assert_eq!(freshness.next_deadline(), Some(t0 + 100 * MS));
        assert_eq!(freshness.overdue(t0 + 100 * MS - Duration::from_nanos(1)), []);
        let overdue = Overdue { key: 7, age: 100 * MS, late: Duration::ZERO, limit: 100 * MS };
        assert_eq!(freshness.overdue(t0 + 100 * MS), [overdue]);
    }

    #[test]
    fn data_of_one_does_not_move_another() {
        let t0 = crate::clock::mono();
        let mut freshness = Freshness::default();
        freshness.arm(CONNECTION, 100 * MS, t0);
        freshness.arm(1, 100 * MS, t0);
        freshness.arm(2, 100 * MS, t0);
        for i in 1..=30 {
            freshness.handle_data(1, t0 + i * 10 * MS);
            freshness.handle_data(CONNECTION, t0 + i * 10 * MS);
        }
        assert_eq!(freshness.overdue(t0 + 300 * MS).first().map(|o| o.key), Some(2));
    }

    #[test]
    fn an_unarmed_or_disarmed_track_is_never_overdue() {
        let t0 = crate::clock::mono();
        let mut freshness = Freshness::default();
        freshness.handle_data(3, t0);
        freshness.arm(4, MS, t0);
        freshness.disarm(4);
        assert_eq!(freshness.next_deadline(), None);
        assert_eq!(freshness.overdue(t0 + Duration::from_secs(99)), []);
    }

    #[test]
    fn an_endless_limit_has_no_deadline() {
        let t0 = crate::clock::mono();
        let mut freshness = Freshness::default();
        freshness.arm(1, Duration::MAX, t0);
        assert_eq!(freshness.overdue(t0 + Duration::from_secs(1 << 30)), []);
    }

    #[test]
    fn a_repair_has_its_own_time_and_the_age_goes_on() {
        let t0 = crate::clock::mono();
        let mut freshness = Freshness::default();
        freshness.arm(1, 100 * MS, t0);
        freshness.hold(1);
        assert_eq!(freshness.overdue(t0 + 500 * MS), []);
        freshness.grant(1, t0 + 700 * MS);
        assert_eq!(freshness.overdue(t0 + 699 * MS), []);
        let overdue = Overdue { key: 1, age: 700 * MS, late: Duration::ZERO, limit: 100 * MS };
        assert_eq!(freshness.overdue(t0 + 700 * MS), [overdue]);
        freshness.handle_data(1, t0 + 700 * MS);
        assert_eq!(freshness.overdue(t0 + 799 * MS), []);
        assert!(freshness.next_deadline().is_some_and(|at| at <= t0 + 800 * MS));
        assert_eq!(freshness.overdue(t0 + 800 * MS).len(), 1);
        freshness.restart(t0 + 900 * MS);
        assert_eq!(freshness.next_deadline(), Some(t0 + 1000 * MS));
    }

    proptest! {
        /// Never early, always eventually, whatever the order of data and questions.
        #[test]
        fn exact(limits in prop::collection::vec(1u64..500, 1..6), ops in prop::collection::vec((0usize..6, 0u64..80), 0..80)) {
            let t0 = crate::clock::mono();
            let mut freshness = Freshness::default();
            let mut last = vec![t0; limits.len()];
            for (key, limit) in limits.iter().enumerate() {
                freshness.arm(key as Key, Duration::from_millis(*limit), t0);
            }
            let mut now = t0;
            for (key, step) in ops {
                now += Duration::from_millis(step);
                let due = last.iter().zip(&limits).any(|(l, limit)| now - *l >= Duration::from_millis(*limit));
                prop_assert_eq!(!freshness.overdue(now).is_empty(), due);
                if !due {
                    prop_assert!(freshness.next_deadline().is_some_and(|d| d > now));
                }
                if let Some(at) = last.get_mut(key) {
                    *at = now;
                    freshness.handle_data(key as Key, now);
                }
            }
        }
    }
}
