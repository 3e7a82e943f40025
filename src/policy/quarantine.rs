//! Which subscriptions make the server hang up.
//!
//! In question is a subscription that was written on the connection, unless the server has confirmed it or sent data
//! for it, or the connection has lived on for [`PROBATION`] (so silent ones are no riddle). When the server hangs up,
//! those in question are suspects; an end of any other kind throws suspicion on nobody. A suspect that gets through is
//! cleared.
//!
//! On the next connection suspects are held back until nothing else is in question, those that were in question least
//! often first, and only some at a time: half as many as were in question at the last hang-up, and one more for each
//! that gets through. So a single bad one among many is alone in question after few connections, and good ones are
//! through in few round trips.
//!
//! One that is alone in question when the server hangs up is blamed, if another got through on the same connection: a
//! server that hangs up on everybody is down, and a feed of one subscription has nothing to protect (its attempts are
//! spaced by the backoff). After so many blames in a row it is quarantined, for [`FIRST_TERM`], and twice as long each
//! time up to [`LONGEST_TERM`]. Then it is tried again, alone and last of all, and is free if it gets through.
//!
//! Where this client gives connections up because one subscription is never answered, it is known whose doing that is.
//!
//! Instants are by the monotonic clock. What a connection knows is forgotten at its end.

use super::freshness::Key;
use crate::error::{EndReason, Stage};
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::io::ErrorKind;
use std::time::{Duration, Instant};

/// A hang-up that comes later than this after the writing is not held to be its doing.
pub(crate) const PROBATION: Duration = Duration::from_secs(10);

pub(crate) const FIRST_TERM: Duration = Duration::from_secs(60);
pub(crate) const LONGEST_TERM: Duration = Duration::from_secs(60 * 60);

/// Whether a connection that ended so was ended by the server.
pub(crate) fn hung_up(reason: &EndReason) -> bool {
    match reason {
        EndReason::ClosedByPeer { .. } | EndReason::Eof => true,
        EndReason::Io { stage: Stage::Read | Stage::Write, kind, .. } => matches!(
            kind,
            ErrorKind::ConnectionReset
                | ErrorKind::ConnectionAborted
                | ErrorKind::BrokenPipe
                | ErrorKind::UnexpectedEof
        ),
        _ => false,
    }
}

/// What is held against a subscription; nothing is, if it has none.
#[derive(Debug, Default)]
struct Doubt {
    /// How often in a row it was in question when the server hung up.
    ends: u32,
    /// How often of these it was alone, and another had got through.
    blames: u32,
    /// Until when it is quarantined, and how long that is.
    term: Option<(Instant, Duration)>,
}

/// How far a subscription is on the present connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Queued,
    Written(Instant),
    Through,
}

impl Place {
    fn is_open(self) -> bool {
        self != Self::Through
    }
}

#[derive(Debug)]
pub(crate) struct Quarantine {
    /// Blames after which a subscription is quarantined.
    after: u32,
    doubts: HashMap<Key, Doubt>,
    /// How many suspects may be on trial at a time.
    limit: usize,
    // What follows is of the present connection.
    places: HashMap<Key, Place>,
    /// Those written, in order, for the end of their probation; the first is open.
    probation: VecDeque<(Instant, Key)>,
    /// How many places are open, and how many of them are on trial.
    open: usize,
    trials: usize,
    /// How many got through.
    through: usize,
    /// The quarantined one that is being tried again.
    retrying: Option<Key>,
    /// Suspects that were not let out yet, those in question least often first.
    waiting: BTreeSet<(u32, Key)>,
    /// The quarantined that were not let out yet.
    terms: BTreeSet<(Instant, Key)>,
    /// Those that got through after they were quarantined, not yet asked for.
    released: Vec<Key>,
    /// The last time that was told.
    seen: Option<Instant>,
}

impl Quarantine {
    /// `after`: how often a subscription is to be blamed before it is quarantined; at least once.
    pub(crate) fn new(after: u32) -> Self {
        Self {
            after: after.max(1),
            doubts: HashMap::new(),
            limit: usize::MAX,
            places: HashMap::new(),
            probation: VecDeque::new(),
            open: 0,
            trials: 0,
            through: 0,
            retrying: None,
            waiting: BTreeSet::new(),
            terms: BTreeSet::new(),
            released: Vec::new(),
            seen: None,
        }
    }

    /// Its subscribe message is queued: suspects wait for it. Only for those that are not held back; the others
    /// count from [`Self::take_retry`] on.
    pub(crate) fn queued(&mut self, key: Key) {
        if let Entry::Vacant(place) = self.places.entry(key) {
            place.insert(Place::Queued);
            self.open += 1;
            self.trials += usize::from(self.doubts.contains_key(&key));
            self.let_out(key);
        }
    }

    /// Its subscribe message was written: it is in question, unless it has got through on this connection before.
    pub(crate) fn written(&mut self, key: Key, now: Instant) {
        self.seen = self.seen.max(Some(now));
        self.queued(key);
        if let Some(place) = self.places.get_mut(&key).filter(|place| place.is_open()) {
            *place = Place::Written(now);
            self.probation.push_back((now, key));
            self.tidy();
        }
    }

    /// The server confirmed it, or sent data for it. That it was written is not enough. May be called at any time and
    /// as often as one likes; [`Self::take_retry`] should be asked after it.
    pub(crate) fn settled(&mut self, key: Key) {
        if self.open == 0 {
            return;
        }
        let Some(place) = self.places.get_mut(&key).filter(|place| place.is_open()) else { return };
        *place = Place::Through;
        self.open -= 1;
        self.through += 1;
        if let Some(doubt) = self.doubts.remove(&key) {
            if doubt.term.is_some() {
                self.released.push(key);
            }
            self.trials -= 1;
            self.limit = self.limit.saturating_add(1);
            self.retrying = self.retrying.filter(|retrying| *retrying != key);
            self.relax();
        }
        self.tidy();
    }

    /// Its subscribe message is not going to be written after all, on this connection.
    pub(crate) fn withdrawn(&mut self, key: Key) {
        if self.places.get(&key) == Some(&Place::Queued) {
            self.leave(key);
        }
    }

    /// It is wanted no more.
    pub(crate) fn forget(&mut self, key: Key) {
        self.leave(key);
        self.let_out(key);
        self.doubts.remove(&key);
        self.relax();
    }

    /// The connection is over. Gives those that are quarantined for it, and how often each was blamed so far.
    pub(crate) fn ended(&mut self, now: Instant, by_server: bool) -> Vec<(Key, u32)> {
        self.expire(now);
        let mut quarantined = Vec::new();
        let written = |(key, place): (&Key, &Place)| matches!(place, Place::Written(_)).then_some(*key);
        let asked: Vec<Key> = self.places.iter().filter_map(written).collect();
        if by_server && !asked.is_empty() {
            self.limit = asked.len().div_ceil(2);
            let blamed = asked.len() == 1 && self.through > 0;
            for key in asked {
                let doubt = self.doubts.entry(key).or_default();
                doubt.ends = doubt.ends.saturating_add(1);
                if !blamed {
                    continue;
                }
                doubt.blames = doubt.blames.saturating_add(1);
                if doubt.term.is_some() || doubt.blames >= self.after {
                    let length = doubt.term.map_or(FIRST_TERM, |(_, last)| (last * 2).min(LONGEST_TERM));
                    doubt.term = Some((now + length, length));
                    quarantined.push((key, doubt.blames));
                }
            }
        }
        self.places.clear();
        self.probation.clear();
        (self.open, self.trials, self.through, self.retrying) = (0, 0, 0, None);
        self.waiting.clear();
        self.terms.clear();
        for (key, doubt) in &self.doubts {
            match doubt.term {
                Some((until, _)) => self.terms.insert((until, *key)),
                None => self.waiting.insert((doubt.ends, *key)),
            };
        }
        self.relax();
        quarantined
    }

    /// The connection is given up for want of its answer, so often in a row by now. After so many times it is quarantined,
    /// if another got through: the others are not to lose their connection for it again and again. Says whether it is. To
    /// be followed by [`Self::ended`].
    pub(crate) fn sentence(&mut self, key: Key, now: Instant, times: u32) -> bool {
        self.expire(now);
        let through = |(other, place): (&Key, &Place)| *other != key && !place.is_open();
        if times < self.after || !self.places.iter().any(through) {
            return false;
        }
        self.leave(key);
        let doubling = 2_u32.saturating_pow(times - self.after);
        let length = FIRST_TERM.saturating_mul(doubling).min(LONGEST_TERM);
        self.doubts.insert(key, Doubt { ends: times, blames: times, term: Some((now + length, length)) });
        true
    }

    /// One that was held back and is now to be queued; it counts as queued then. To be asked until it gives none,
    /// while a connection is up.
    pub(crate) fn take_retry(&mut self, now: Instant) -> Option<Key> {
        self.expire(now);
        let key = if self.has_room() && !self.waiting.is_empty() {
            self.waiting.first().map(|(_, key)| *key)
        } else if self.open == 0 {
            let due = self.terms.first().filter(|(until, _)| now >= *until).map(|(_, key)| *key);
            self.retrying = due;
            due
        } else {
            None
        }?;
        self.queued(key);
        Some(key)
    }

    /// Those that are quarantined no more because they got through, each once.
    pub(crate) fn take_released(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.released)
    }

    /// When [`Self::take_retry`] may give one because time has passed, as long as a connection is up.
    pub(crate) fn retry_at(&self) -> Option<Instant> {
        let next = self.probation.front().and_then(|(at, _)| at.checked_add(PROBATION));
        let waiting = match self.waiting.is_empty() {
            true => None,
            false if self.has_room() => self.seen,
            false => next,
        };
        let term = self.terms.first().and_then(|(until, _)| match (self.open, next) {
            (0, _) => Some(*until),
            (_, Some(next)) => Some(next.max(*until)),
            (_, None) => None,
        });
        // One that is tried again is free at the end of its probation.
        let free = self.retrying.and(next);
        [waiting, term, free].into_iter().flatten().min()
    }

    /// Whether it is not to be queued now: on this connection only [`Self::take_retry`] lets it out.
    pub(crate) fn is_held_back(&self, key: Key) -> bool {
        self.doubts.contains_key(&key) && !self.places.contains_key(&key)
    }

    /// Whether anything is held against anybody.
    pub(crate) fn has_doubts(&self) -> bool {
        !self.doubts.is_empty()
    }

    /// Whether it is suspected, but not quarantined.
    pub(crate) fn is_suspect(&self, key: Key) -> bool {
        self.doubts.get(&key).is_some_and(|doubt| doubt.term.is_none())
    }

    /// Whether it is quarantined, or was and is being tried again.
    pub(crate) fn is_quarantined(&self, key: Key) -> bool {
        self.doubts.get(&key).is_some_and(|doubt| doubt.term.is_some())
    }

    /// The most that one of its parts holds.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        let held = self.waiting.len() + self.terms.len() + self.released.len();
        [self.doubts.len(), self.places.len(), self.probation.len(), held]
            .into_iter()
            .max()
            .unwrap_or_default()
    }

    /// Whether another suspect may be put on trial.
    fn has_room(&self) -> bool {
        self.retrying.is_none() && self.open == self.trials && self.trials < self.limit
    }

    /// It no longer waits to be let out.
    fn let_out(&mut self, key: Key) {
        match self.doubts.get(&key) {
            Some(Doubt { term: Some((until, _)), .. }) => self.terms.remove(&(*until, key)),
            Some(doubt) => self.waiting.remove(&(doubt.ends, key)),
            None => false,
        };
    }

    /// It is on this connection no more.
    fn leave(&mut self, key: Key) {
        if self.places.remove(&key).is_some_and(Place::is_open) {
            self.open -= 1;
            self.trials -= usize::from(self.doubts.contains_key(&key));
            self.retrying = self.retrying.filter(|retrying| *retrying != key);
            self.tidy();
        }
    }

    /// Those whose probation is over have got through.
    fn expire(&mut self, now: Instant) {
        self.seen = self.seen.max(Some(now));
        while let Some((at, key)) = self.probation.front().copied()
            && now.saturating_duration_since(at) >= PROBATION
        {
            self.probation.pop_front();
            if self.places.get(&key) == Some(&Place::Written(at)) {
                self.settled(key);
            }
        }
    }

    /// Keeps one that is open in front of those on probation.
    fn tidy(&mut self) {
        while let Some((at, key)) = self.probation.front()
            && self.places.get(key) != Some(&Place::Written(*at))
        {
            self.probation.pop_front();
        }
    }

    /// Without suspects there is nothing to find out.
    fn relax(&mut self) {
        if self.trials == 0 && self.waiting.is_empty() {
            self.limit = usize::MAX;
        }
    }
}

#[cfg(test)]
#[path = "quarantine_tests.rs"]
mod tests;
