//! What is measured for monitors besides the health: how long things took, and how often alerts were raised.

use std::collections::BTreeMap;
use std::time::Duration;

/// How late verdicts are, in microseconds: 10 ms is the promise on an idle machine.
const LATENESS: &[u64] =
    &[250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000, 10_000_000];

/// Ways through a network, in microseconds: from a neighbour on the machine to a line that is about to be given up.
const TRIP: &[u64] = &[
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    2_500_000, 5_000_000, 10_000_000,
];

/// Attempts that succeed, in microseconds: some ways, and what the server needs.
const CONNECT: &[u64] = &[
    1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000,
    10_000_000, 30_000_000,
];

/// How old data is when it comes, in microseconds: up to where it is of no use to anybody.
const LAG: &[u64] = &[
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// How many durations there were up to each of some fixed bounds. Its size never changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Histogram {
    /// Inclusive upper bounds in microseconds, ascending.
    bounds: &'static [u64],
    /// How many lie within each bound and not within the one before; the last one: beyond all bounds.
    counts: Vec<u64>,
    sum: Duration,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: vec![0; bounds.len() + 1], sum: Duration::ZERO }
    }

    /// Counts one more. A sum that can't grow any more stays.
    pub(crate) fn observe(&mut self, took: Duration) {
        let within = self.bounds.partition_point(|bound| Duration::from_micros(*bound) < took);
        if let Some(count) = self.counts.get_mut(within) {
            *count += 1;
        }
        self.sum = self.sum.saturating_add(took);
    }

    /// The upper bounds in seconds, each with how many lie within it and not within the one before. The last bound is
    /// infinite.
    #[cfg(any(feature = "monitor", test))]
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (f64, u64)> {
        let bounds = self.bounds.iter().map(|bound| *bound as f64 / 1e6);
        bounds.chain([f64::INFINITY]).zip(self.counts.iter().copied())
    }

    /// How many there were.
    #[cfg(any(feature = "monitor", test))]
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All of them together.
    #[cfg(any(feature = "monitor", test))]
    pub(crate) fn sum(&self) -> Duration {
        self.sum
    }
}

/// What a feed has measured since it was opened.
#[derive(Debug, Clone)]
pub(crate) struct Measures {
    /// How long after its deadline each stale verdict came.
    pub(crate) lateness: Histogram,
    /// How long each attempt took that led to a connection, login included.
    pub(crate) connect: Histogram,
    /// From a ping to its pong.
    pub(crate) ping: Histogram,
    /// How far data was behind its own time, where there is a rule for it.
    pub(crate) lag: Histogram,
    /// How often alerts were raised or happened, by their kind's name.
    pub(crate) alerts: BTreeMap<&'static str, u64>,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            lateness: Histogram::new(LATENESS),
            connect: Histogram::new(CONNECT),
            ping: Histogram::new(TRIP),
            lag: Histogram::new(LAG),
            alerts: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_counts_for_the_first_bound_that_it_does_not_exceed() {
        let mut histogram = Histogram::new(&[1_000, 2_000]);
        for micros in [0, 999, 1_000, 1_001, 2_000, 2_001, 9_000_000] {
            histogram.observe(Duration::from_micros(micros));
        }
        histogram.observe(Duration::from_micros(2_000) + Duration::from_nanos(1));
        let buckets: Vec<_> = histogram.buckets().collect();
        assert_eq!(buckets, [(0.001, 3), (0.002, 2), (f64::INFINITY, 3)]);
        assert_eq!(histogram.count(), 8);
        assert_eq!(histogram.sum(), Duration::from_micros(9_009_001) + Duration::from_nanos(1));
    }

    #[test]
    fn nothing_overflows() {
        let mut histogram = Histogram::new(&[1_000]);
        histogram.observe(Duration::MAX);
        histogram.observe(Duration::MAX);
        assert_eq!((histogram.count(), histogram.sum()), (2, Duration::MAX));
    }

    #[test]
    fn the_bounds_ascend() {
        for bounds in [LATENESS, TRIP, CONNECT, LAG] {
            assert!(bounds.is_sorted_by(|a, b| a < b), "{bounds:?}");
        }
    }
}
