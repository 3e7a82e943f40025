//! Freshness: how long ago the last data came, for the connection and for each subscription.
//!
//! All instants here are in attended time. A track is armed when its subscribe message is written, not at its
//! first message. It has a clock for each cause of staleness: data moves the first. The second runs from late data to the
//! next that is timely, and the third from data that says nothing new to the next that does: data that does not come is
//! neither late nor frozen. Only data moves a deadline, and only outwards, so the earliest deadline that
//! was computed once stays a lower bound: it is computed anew only when it passes.
//!
//! While a repair is under way the limits do not count: either the repair's own time does, or, until its message
//! is written, none. Only what was missing ends that.

use crate::class::StaleCause;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// What a deadline belongs to: 0 is the connection, any other number a subscription's key.
pub(crate) type Key = u64;

/// The connection as a whole.
pub(crate) const CONNECTION: Key = 0;

/// The limits that hold, by cause; `None`: none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Limits {
    pub(crate) silent: Option<Duration>,
    pub(crate) late: Option<Duration>,
    pub(crate) frozen: Option<Duration>,
}

impl Limits {
    /// None at all.
    pub(crate) const NONE: Self = Self { silent: None, late: None, frozen: None };

    pub(crate) fn is_none(&self) -> bool {
        *self == Self::NONE
    }

    /// That on one cause.
    pub(crate) fn of(&self, cause: StaleCause) -> Option<Duration> {
        match cause {
            StaleCause::Silent => self.silent,
            StaleCause::Late => self.late,
            StaleCause::Frozen => self.frozen,
        }
    }

    fn each(&self) -> [Option<Duration>; 3] {
        [self.silent, self.late, self.frozen]
    }
}

impl From<Duration> for Limits {
    fn from(silent: Duration) -> Self {
        Self { silent: Some(silent), ..Self::NONE }
    }
}

/// In the order in which they count where two are over at the same time.
const CAUSES: [StaleCause; 3] = [StaleCause::Silent, StaleCause::Late, StaleCause::Frozen];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// For the limits.
    Limit,
    /// The repair of what was missing has its own time.
    Until(Instant, StaleCause),
    /// The repair of what was missing is not written yet.
    Held(StaleCause),
}

#[derive(Debug, Clone, Copy)]
struct Track {
    /// Since when it has been missing, by cause; `None`: it is not.
    since: [Option<Instant>; 3],
    limits: Limits,
    wait: Wait,
}

/// One clock that is over, or not yet.
#[derive(Debug, Clone, Copy)]
struct Due {
    cause: StaleCause,
    since: Instant,
    limit: Duration,
    at: Instant,
}

impl Track {
    fn dues(&self) -> impl Iterator<Item = Due> {
        let clocks = CAUSES.into_iter().zip(self.since).zip(self.limits.each());
        clocks.filter_map(|((cause, since), limit)| {
            let (since, limit) = since.zip(limit)?;
            Some(Due { cause, since, limit, at: since.checked_add(limit)? })
        })
    }

    fn first_due(&self) -> Option<Due> {
        self.dues().min_by_key(|due| due.at)
    }

    fn deadline(&self) -> Option<Instant> {
        match self.wait {
            Wait::Limit => self.first_due().map(|due| due.at),
            // A limit that has grown since counts, too: whoever is over it is over its limit.
            Wait::Until(at, _) => {
                self.repaired().map(|due| due.at.max(at)).or(self.first_due().map(|due| due.at))
            }
            Wait::Held(_) => None,
        }
    }

    /// What is being repaired, if it is missing.
    fn repaired(&self) -> Option<Due> {
        match self.wait {
            Wait::Until(_, missing) => self.dues().find(|due| due.cause == missing),
            Wait::Limit | Wait::Held(_) => None,
        }
    }

    /// What it lacks longest, or what is being repaired.
    fn overdue(&self, key: Key, deadline: Instant, now: Instant) -> Option<Overdue> {
        let due = self.repaired().or_else(|| self.first_due())?;
        let age = now.saturating_duration_since(due.since);
        let late = now.saturating_duration_since(deadline);
        Some(Overdue { key, cause: due.cause, age, late, limit: due.limit })
    }

    fn clock(&mut self, cause: StaleCause) -> &mut Option<Instant> {
        let [silent, late, frozen] = &mut self.since;
        match cause {
            StaleCause::Silent => silent,
            StaleCause::Late => late,
            StaleCause::Frozen => frozen,
        }
    }
}

/// What is over its limit, and by how much.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Overdue {
    pub(crate) key: Key,
    pub(crate) cause: StaleCause,
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
    pub(crate) fn arm(&mut self, key: Key, limits: impl Into<Limits>, now: Instant) {
        let track = Track { since: [Some(now), None, None], limits: limits.into(), wait: Wait::Limit };
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

    /// Other limits hold from now on; the clocks go on.
    pub(crate) fn set(&mut self, key: Key, limits: Limits) {
        if let Some(track) = self.tracks.get_mut(&key) {
            track.limits = limits;
            let deadline = track.deadline();
            self.note(deadline);
        }
    }

    /// The same as other hours begin: a clock whose limit becomes shorter starts anew, so nothing is held against data
    /// that did not have to come; but not that of what was found to be `missing`. Says whether that is no longer missing,
    /// which ends its repair.
    pub(crate) fn turn(
        &mut self,
        key: Key,
        limits: Limits,
        missing: Option<StaleCause>,
        now: Instant,
    ) -> bool {
        let Some(track) = self.tracks.get_mut(&key) else {
            return missing.is_some_and(|missing| limits.of(missing).is_none());
        };
        let mut relaxed = false;
        let clocks = CAUSES.into_iter().zip(&mut track.since);
        for (((cause, since), old), new) in clocks.zip(track.limits.each()).zip(limits.each()) {
            let shorter = new.is_some_and(|new| old.is_none_or(|old| new < old));
            if missing == Some(cause) {
                relaxed = new.is_none_or(|new| old.is_some_and(|old| old < new));
            } else if shorter {
                *since = since.map(|since| now.max(since));
            }
        }
        track.limits = limits;
        let still = |due: Due| missing == Some(due.cause) && now >= due.at;
        let healed = relaxed && !track.dues().any(still);
        if healed {
            track.wait = Wait::Limit;
        }
        let deadline = track.deadline();
        self.note(deadline);
        healed
    }

    /// A repair is under way and not written yet: no verdict on `key` until [`Self::grant`], or what was missing comes.
    pub(crate) fn hold(&mut self, key: Key, cause: StaleCause) {
        if let Some(track) = self.tracks.get_mut(&key) {
            track.wait = Wait::Held(cause);
        }
    }

    /// The repair is written: what was missing has until `until`. Its age still counts from the last that came.
    pub(crate) fn grant(&mut self, key: Key, cause: StaleCause, until: Instant) {
        if let Some(track) = self.tracks.get_mut(&key) {
            track.wait = Wait::Until(until, cause);
            self.note(Some(until));
        }
    }

    /// Every clock starts anew.
    pub(crate) fn restart(&mut self, now: Instant) {
        self.earliest = None;
        for track in self.tracks.values_mut() {
            let wait = if let Wait::Held(_) = track.wait { track.wait } else { Wait::Limit };
            *track = Track { since: [Some(now), None, None], wait, ..*track };
            if let Some(deadline) = track.deadline() {
                self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
            }
        }
    }

    /// That the process was stopped is known only after it went on: what the other thread noted meanwhile was no later
    /// than `now`.
    pub(crate) fn settle(&mut self, now: Instant) {
        self.earliest = None;
        for track in self.tracks.values_mut() {
            track.since = track.since.map(|since| since.map(|since| since.min(now)));
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

    /// Data came, or timely data, or new data: what such a cause is about the lack of. Nothing else calls this.
    pub(crate) fn handle_data(&mut self, key: Key, cause: StaleCause, now: Instant) {
        if let Some(track) = self.tracks.get_mut(&key) {
            *track.clock(cause) = match cause {
                StaleCause::Silent => track.since.first().copied().flatten().max(Some(now)),
                StaleCause::Late | StaleCause::Frozen => None,
            };
            if let Wait::Until(_, missing) | Wait::Held(missing) = track.wait
                && missing == cause
            {
                track.wait = Wait::Limit;
                let deadline = track.deadline();
                self.note(deadline);
            }
        }
    }

    /// Data came that is late, or says nothing new.
    pub(crate) fn handle_lack(&mut self, key: Key, cause: StaleCause, now: Instant) {
        if let Some(track) = self.tracks.get_mut(&key) {
            track.clock(cause).get_or_insert(now);
            let deadline = track.deadline();
            self.note(deadline);
        }
    }

    /// A lower bound of the earliest deadline; exact while no data comes.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.earliest
    }

    /// The deadline of one that is watched, if it has one.
    #[cfg(test)]
    pub(crate) fn deadline_of(&self, key: Key) -> Option<Option<Instant>> {
        self.tracks.get(&key).map(Track::deadline)
    }

    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        self.tracks.len()
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
                over.extend(track.overdue(*key, deadline, now));
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
    const SILENT: StaleCause = StaleCause::Silent;
    const LATE: StaleCause = StaleCause::Late;
    const FROZEN: StaleCause = StaleCause::Frozen;

    #[test]
    fn a_track_is_overdue_at_its_limit_and_not_before() {
        let t0 = crate::clock::mono();
        let mut freshness = Freshness::default();
        freshness.arm(7, 100 * MS, t0);
        assert_eq!(freshness.next_deadline(), Some(t0 + 100 * MS));
        assert_eq!(freshness.overdue(t0 + 100 * MS - Duration::from_nanos(1)), []);
        let overdue = Overdue { key: 7, cause: SILENT, age: 100 * MS, late: Duration::ZERO, limit: 100 * MS };
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
            freshness.handle_data(1, SILENT, t0 + i * 10 * MS);
            freshness.handle_data(CONNECTION, SILENT, t0 + i * 10 * MS);
        }
        assert_eq!(freshness.overdue(t0 + 300 * MS).first().map(|o| o.key), Some(2));
    }

    #[test]
    fn an_unarmed_or_disarmed_track_is_never_overdue() {
        let t0 = crate::clock::mono();
        let mut freshness = Freshness::default();
        freshness.handle_data(3, SILENT, t0);
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
        freshness.hold(1, SILENT);
        assert_eq!(freshness.overdue(t0 + 500 * MS), []);
        freshness.grant(1, SILENT, t0 + 700 * MS);
        assert_eq!(freshness.overdue(t0 + 699 * MS), []);
        let overdue = Overdue { key: 1, cause: SILENT, age: 700 * MS, late: Duration::ZERO, limit: 100 * MS };
        assert_eq!(freshness.overdue(t0 + 700 * MS), [overdue]);
        freshness.handle_data(1, SILENT, t0 + 700 * MS);
        assert_eq!(freshness.overdue(t0 + 799 * MS), []);
        assert!(freshness.next_deadline().is_some_and(|at| at <= t0 + 800 * MS));
        assert_eq!(freshness.overdue(t0 + 800 * MS).len(), 1);
        freshness.restart(t0 + 900 * MS);
        assert_eq!(freshness.next_deadline(), Some(t0 + 1000 * MS));
    }

    #[test]
    fn each_cause_has_its_clock_and_its_limit() {
        let t0 = crate::clock::mono();
        let mut freshness = Freshness::default();
        let limits = Limits { silent: Some(100 * MS), late: Some(100 * MS), frozen: Some(250 * MS) };
        freshness.arm(1, limits, t0);
        let causes = |over: Vec<Overdue>| over.iter().map(|over| over.cause).collect::<Vec<_>>();
        assert_eq!(causes(freshness.overdue(t0 + 100 * MS)), [SILENT], "nothing at all came");
        freshness.handle_data(1, SILENT, t0 + 90 * MS);
        assert_eq!(causes(freshness.overdue(t0 + 189 * MS)), [], "and nothing late");
        for i in 2..=5 {
            freshness.handle_data(1, SILENT, t0 + 80 * MS * i);
            freshness.handle_lack(1, LATE, t0 + 80 * MS * i);
            freshness.handle_lack(1, FROZEN, t0 + 80 * MS * i);
        }
        assert_eq!(causes(freshness.overdue(t0 + 259 * MS)), []);
        assert_eq!(causes(freshness.overdue(t0 + 260 * MS)), [LATE]);
        freshness.grant(1, LATE, t0 + 300 * MS);
        freshness.handle_data(1, SILENT, t0 + 299 * MS);
        let overdue = Overdue { key: 1, cause: LATE, age: 140 * MS, late: Duration::ZERO, limit: 100 * MS };
        assert_eq!(freshness.overdue(t0 + 300 * MS), [overdue], "other data is no cure");
        freshness.handle_data(1, LATE, t0 + 300 * MS);
        assert_eq!(causes(freshness.overdue(t0 + 399 * MS)), []);
        freshness.handle_data(1, SILENT, t0 + 400 * MS);
        assert_eq!(causes(freshness.overdue(t0 + 410 * MS)), [FROZEN]);
        freshness.handle_data(1, FROZEN, t0 + 410 * MS);
        assert_eq!(causes(freshness.overdue(t0 + 551 * MS)), [SILENT], "the others wait for data");
    }

    #[test]
    fn other_hours_bring_other_limits() {
        let t0 = crate::clock::mono();
        let mut freshness = Freshness::default();
        freshness.arm(1, 100 * MS, t0);
        assert!(!freshness.turn(1, Limits::NONE, None, t0 + 50 * MS));
        assert_eq!(freshness.overdue(t0 + 9_000 * MS), []);
        // The limit is shorter again: a full one counts from then on.
        assert!(!freshness.turn(1, (100 * MS).into(), None, t0 + 9_000 * MS));
        assert_eq!(freshness.overdue(t0 + 9_099 * MS), []);
        let overdue = Overdue { key: 1, cause: SILENT, age: 100 * MS, late: Duration::ZERO, limit: 100 * MS };
        assert_eq!(freshness.overdue(t0 + 9_100 * MS), [overdue]);
        // It is being repaired, and then need not be.
        freshness.hold(1, SILENT);
        assert!(freshness.turn(1, (500 * MS).into(), Some(SILENT), t0 + 9_200 * MS));
        assert_eq!(freshness.overdue(t0 + 9_499 * MS), []);
        assert_eq!(freshness.overdue(t0 + 9_500 * MS).len(), 1, "the age goes on while the limit is longer");
        freshness.grant(1, SILENT, t0 + 9_900 * MS);
        let shorter = (400 * MS).into();
        let healed = freshness.turn(1, shorter, Some(SILENT), t0 + 9_600 * MS);
        assert!(!healed, "a shorter limit makes nothing good");
        assert_eq!(freshness.overdue(t0 + 9_900 * MS).len(), 1);
    }

    /// A repair may be written after what it is for is no longer missing, or no longer counts.
    #[test]
    fn a_repair_of_what_is_not_missing_does_not_count() {
        let t0 = crate::clock::mono();
        let mut freshness = Freshness::default();
        freshness.arm(1, 100 * MS, t0);
        freshness.grant(1, LATE, t0 + 20 * MS);
        assert_eq!(freshness.overdue(t0 + 99 * MS), [], "nothing is late, and nothing is silent yet");
        assert_eq!(freshness.overdue(t0 + 100 * MS).first().map(|overdue| overdue.cause), Some(SILENT));
        freshness.set(1, Limits::NONE);
        freshness.grant(1, SILENT, t0 + 200 * MS);
        assert_eq!(freshness.overdue(t0 + 300 * MS), []);
        assert_eq!(freshness.next_deadline(), None, "what can't be judged keeps nobody awake");
    }

    #[test]
    fn a_limit_that_grows_during_a_repair_counts() {
        let t0 = crate::clock::mono();
        let mut freshness = Freshness::default();
        freshness.arm(1, 100 * MS, t0);
        freshness.grant(1, SILENT, t0 + 150 * MS);
        freshness.set(1, (400 * MS).into());
        assert_eq!(freshness.overdue(t0 + 399 * MS), []);
        let overdue = Overdue { key: 1, cause: SILENT, age: 400 * MS, late: Duration::ZERO, limit: 400 * MS };
        assert_eq!(freshness.overdue(t0 + 400 * MS), [overdue]);
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
                    freshness.handle_data(key as Key, SILENT, now);
                }
            }
        }
    }
}
