//! A limit on the age of data that is learned from the data: a multiple of the slowest recent gap.
//!
//! Time is counted in gaps that ended with data: it stands still while there is no connection, and no clock is needed
//! to age what is known. The window is a ring of buckets, each closed by time and never by count, so that a burst
//! pushes nothing out. Each bucket keeps its three slowest gaps, and the third slowest of all is what counts.
//!
//! Silence that was judged stale is kept apart. It counts from the third time within the window, as long as the limit was:
//! an outage changes nothing, while a slow-down that stays is learned from the verdicts that it costs.

use crate::health::LimitSource;
use std::time::{Duration, Instant};

/// How many buckets the window has, the one that is being filled among them.
const BUCKETS: usize = 12;
/// How much time a bucket holds at least, in nanoseconds.
const BUCKET: u64 = 10 * 60 * 1_000_000_000;
/// How many times the third slowest gap a bucket holds at least: rare data is remembered for longer.
const BUCKET_GAPS: u64 = 4;
/// How many times the gap that counts must have been seen before it is believed.
const WARM_GAPS: u64 = 10;

/// How a limit is learned. Checked: the factor is finite, and the floor not above the ceiling.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Settings {
    pub(crate) factor: f64,
    pub(crate) floor: Duration,
    /// Also the limit while too little is known.
    pub(crate) ceiling: Duration,
    pub(crate) warm_up: Duration,
}

/// The three slowest gaps of some time, in nanoseconds, the slowest first; 0: there is none.
#[derive(Debug, Clone, Copy, Default)]
struct Slowest([u64; 3]);

impl Slowest {
    /// Whether it is among them now.
    #[inline]
    fn add(&mut self, gap: u64) -> bool {
        let [first, second, third] = &mut self.0;
        if gap <= *third {
            return false;
        }
        *third = gap;
        if *third > *second {
            std::mem::swap(second, third);
        }
        if *second > *first {
            std::mem::swap(first, second);
        }
        true
    }

    fn third(&self) -> u64 {
        let [.., third] = self.0;
        third
    }

    /// Those that are left out.
    fn two(&self) -> u64 {
        let [first, second, _] = self.0;
        first.saturating_add(second)
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// How much time it holds.
    time: u64,
    slowest: Slowest,
}

/// Learns the limit of one track. Bounded: a fixed size, and no allocation.
#[derive(Debug, Clone)]
pub(crate) struct Learner {
    settings: Settings,
    /// The last data, unless the gap from it to the next says nothing.
    last: Option<Instant>,
    /// The bucket that is being filled, and those before it.
    buckets: [Bucket; BUCKETS],
    /// How many buckets were closed so far.
    closed: u64,
    /// The slowest of all buckets.
    slowest: Slowest,
    /// The limits that the last stale verdicts were given at, and how many buckets were closed then; the last first.
    verdicts: [Option<(u64, u64)>; 3],
    /// All time that was seen, until that is enough.
    seen: u64,
    is_warm: bool,
    /// The gap that counts.
    gap: u64,
    limit: Duration,
    source: LimitSource,
}

impl Learner {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            settings,
            last: None,
            buckets: [Bucket::default(); BUCKETS],
            closed: 0,
            slowest: Slowest::default(),
            verdicts: [None; 3],
            seen: 0,
            is_warm: false,
            gap: 0,
            limit: settings.ceiling,
            source: LimitSource::WarmingUp,
        }
    }

    /// Data came, at this attended time: once for each `recv` that brought some, while the learned limit is the one in
    /// force. May change the limit, which then holds from this data on.
    pub(crate) fn handle_data(&mut self, at: Instant) {
        let last = self.last.replace(at);
        // Another scale of time: the gap says nothing.
        let Some(gap) = last.and_then(|last| at.checked_duration_since(last)) else { return };
        let gap = nanos(gap);
        let [current, ..] = &mut self.buckets;
        current.time = current.time.saturating_add(gap);
        let is_full = current.time >= BUCKET;
        if current.slowest.add(gap) && self.slowest.add(gap) {
            self.conclude();
        }
        if !self.is_warm {
            self.seen = self.seen.saturating_add(gap);
            self.warm();
        }
        if is_full {
            self.turn();
        }
    }

    /// The silence since the last data was judged stale, at the limit in force.
    pub(crate) fn handle_stale(&mut self) {
        // Silence from the start of a connection, or silence that goes on: no gap, or none that is new.
        if self.last.take().is_none() {
            return;
        }
        let [first, second, _] = self.verdicts;
        self.verdicts = [Some((nanos(self.limit), self.closed)), first, second];
        self.conclude();
    }

    /// The connection ended, the subscription is made again, or other hours began: the gap across it says nothing.
    pub(crate) fn handle_break(&mut self) {
        self.last = None;
    }

    /// The limit that is in force.
    pub(crate) fn limit(&self) -> Duration {
        self.limit
    }

    /// The slowest recent gap, outages apart, once enough is known.
    pub(crate) fn learned(&self) -> Option<Duration> {
        self.is_warm.then(|| Duration::from_nanos(self.gap))
    }

    /// Where the limit comes from.
    pub(crate) fn source(&self) -> LimitSource {
        self.source
    }

    /// Looks whether enough is known. What is left out does not count for that either, so that a burst and one long
    /// gap are not taken for data that is always as fast as the burst.
    fn warm(&mut self) {
        let seen = self.seen.saturating_sub(self.slowest.two());
        if seen >= nanos(self.settings.warm_up) && seen >= self.gap.saturating_mul(WARM_GAPS) {
            self.is_warm = true;
            self.conclude();
        }
    }

    /// Closes the bucket if it holds enough, and lets go of the oldest.
    #[cold]
    fn turn(&mut self) {
        let [current, ..] = &self.buckets;
        if current.time < self.slowest.third().saturating_mul(BUCKET_GAPS) {
            return;
        }
        self.closed += 1;
        self.buckets.rotate_right(1);
        let [current, before @ ..] = &mut self.buckets;
        *current = Bucket::default();
        self.slowest = Slowest::default();
        for gap in before.iter().flat_map(|bucket| bucket.slowest.0) {
            self.slowest.add(gap);
        }
        self.conclude();
    }

    /// The gap that counts, and the limit that follows from it.
    fn conclude(&mut self) {
        let recent = |verdict: &Option<(u64, u64)>| {
            verdict.filter(|(_, at)| self.closed - at < BUCKETS as u64).map_or(0, |(gap, _)| gap)
        };
        let judged = self.verdicts.iter().map(recent).min().unwrap_or_default();
        self.gap = self.slowest.third().max(judged);
        if !self.is_warm {
            return;
        }
        let Settings { factor, floor, ceiling, .. } = self.settings;
        let multiple = self.gap as f64 * factor;
        (self.limit, self.source) = if multiple >= nanos(ceiling) as f64 {
            (ceiling, LimitSource::Ceiling)
        } else if multiple <= nanos(floor) as f64 {
            (floor, LimitSource::Floor)
        } else {
            (Duration::from_nanos(multiple as u64), LimitSource::Learned)
        };
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "adaptive_tests.rs"]
mod adaptive_tests;
