//! How often connections ended of late, and why.

use crate::event::AlertKind;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// In a storm so many ends are remembered, or those that decide, if they are more.
const KEPT: usize = 1024;

/// The connections that ended within a window. The latest decide, so that what is forgotten in a storm changes the
/// figures, and never whether there are too many.
#[derive(Debug)]
pub(crate) struct Reconnects {
    more_than: usize,
    within: Duration,
    kept: usize,
    ends: VecDeque<(Instant, &'static str)>,
    reasons: BTreeMap<&'static str, u32>,
}

impl Reconnects {
    pub(crate) fn new(more_than: u32, within: Duration) -> Self {
        let more_than = usize::try_from(more_than).unwrap_or(usize::MAX - 1);
        let kept = KEPT.max(more_than.saturating_add(1));
        Self { more_than, within, kept, ends: VecDeque::new(), reasons: BTreeMap::new() }
    }

    /// A connection ended.
    pub(crate) fn handle_end(&mut self, now: Instant, reason: &'static str) {
        self.handle_timeout(now);
        if self.ends.len() >= self.kept {
            self.forget();
        }
        // Clocks are read before the lock is taken: what is reported later may have been seen earlier.
        let at = self.ends.back().map_or(now, |(last, _)| now.max(*last));
        self.ends.push_back((at, reason));
        *self.reasons.entry(reason).or_default() += 1;
    }

    /// Time passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        while self.ends.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) >= self.within) {
            self.forget();
        }
    }

    fn forget(&mut self) {
        let Some((_, reason)) = self.ends.pop_front() else { return };
        if let Some(count) = self.reasons.get_mut(reason) {
            *count -= 1;
            if *count == 0 {
                self.reasons.remove(reason);
            }
        }
    }

    /// Whether more ended than should have.
    pub(crate) fn is_too_many(&self) -> bool {
        self.ends.len() > self.more_than
    }

    /// When they are no longer too many, if none is added.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let decides = self.ends.len().checked_sub(self.more_than.checked_add(1)?)?;
        let (at, _) = self.ends.get(decides)?;
        at.checked_add(self.within)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.ends.len()
    }

    /// What is to be said.
    pub(crate) fn kind(&self) -> AlertKind {
        let count = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        AlertKind::Reconnects { count, window: self.within, reasons: self.reasons.clone() }
    }
}
