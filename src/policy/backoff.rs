//! How long to wait before the next attempt: exponential, full jitter, under the cap.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::time::Duration;

/// A server's `Retry-After` is honoured up to this; more would be a silent end.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The bound of the first delay.
    pub(crate) first: Duration,
    /// No delay is shorter: `floor > 0`, so there is no loop without a delay.
    pub(crate) floor: Duration,
    /// No delay is longer, jitter included, unless the server asks for more.
    pub(crate) max: Duration,
    /// How long a connection must have been up for the delays to begin anew.
    pub(crate) stable_after: Duration,
}

/// Each delay is uniform between the floor and a bound that doubles up to the cap.
#[derive(Debug)]
pub(crate) struct Backoff {
    settings: Settings,
    bound: Duration,
    random: StdRng,
}

impl Backoff {
    pub(crate) fn new(settings: Settings, seed: u64) -> Self {
        Self { bound: settings.first.min(settings.max), settings, random: StdRng::seed_from_u64(seed) }
    }

    /// The next delay; the bound grows. `at_least` is what the server asked for.
    pub(crate) fn next(&mut self, at_least: Option<Duration>) -> Duration {
        let delay = self.between(self.settings.floor, self.bound);
        self.bound = self.bound.saturating_mul(2).min(self.settings.max);
        delay.max(asked(at_least))
    }

    /// A first delay, whatever came before; the bound does not grow. For ends that are nobody's fault.
    pub(crate) fn soon(&mut self) -> Duration {
        self.between(self.settings.floor, self.settings.first.min(self.settings.max))
    }

    /// A time within `most`, for what all clients would else do at once.
    pub(crate) fn within(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.random.random::<f64>())
    }

    /// The longest delay, jittered: between half the cap and the cap.
    pub(crate) fn longest(&mut self, at_least: Option<Duration>) -> Duration {
        self.bound = self.settings.max;
        self.between(self.settings.max / 2, self.settings.max).max(asked(at_least))
    }

    /// The connection that ended was a good one: begin anew. See [`Self::is_stable`].
    pub(crate) fn reset(&mut self) {
        self.bound = self.settings.first.min(self.settings.max);
    }

    /// Whether a connection was good enough for a reset: long enough, with data, and not ended stale.
    pub(crate) fn is_stable(&self, up: Duration, got_data: bool, ended_stale: bool) -> bool {
        up >= self.settings.stable_after && got_data && !ended_stale
    }

    pub(crate) fn floor(&self) -> Duration {
        self.settings.floor
    }

    fn between(&mut self, low: Duration, high: Duration) -> Duration {
        let low = low.max(self.settings.floor).min(self.settings.max);
        let high = high.max(low);
        low + Duration::from_secs_f64(self.random.random::<f64>() * (high - low).as_secs_f64())
    }
}

fn asked(at_least: Option<Duration>) -> Duration {
    at_least.unwrap_or_default().min(LONGEST_RETRY_AFTER)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings() -> Settings {
        Settings {
            first: Duration::from_millis(500),
            floor: Duration::from_millis(100),
            max: Duration::from_secs(30),
            stable_after: Duration::from_secs(30),
        }
    }

    #[test]
    fn bound_doubles_up_to_the_cap_and_begins_anew_after_reset() {
        let mut backoff = Backoff::new(settings(), 1);
        let mut bounds = Vec::new();
        for _ in 0..9 {
            bounds.push(backoff.bound.as_millis());
            let bound = backoff.bound;
            assert!(backoff.next(None) <= bound);
        }
        assert_eq!(bounds, [500, 1000, 2000, 4000, 8000, 16000, 30000, 30000, 30000]);
        backoff.reset();
        assert_eq!(backoff.bound, settings().first);
    }

    #[test]
    fn delays_use_the_whole_range() {
        let mut backoff = Backoff::new(settings(), 2);
        let delays: Vec<_> = (0..1000).map(|_| backoff.next(None).as_secs_f64()).skip(7).collect();
        let min = delays.iter().copied().fold(f64::MAX, f64::min);
        let max = delays.iter().copied().fold(0.0, f64::max);
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        assert!(min < 1.0 && max > 29.0 && (14.0..16.0).contains(&mean), "{min} {mean} {max}");
    }

    #[test]
    fn seeds_differ() {
        let delays = |seed| Backoff::new(settings(), seed).next(None);
        assert_ne!(delays(1), delays(2));
        assert_eq!(delays(1), delays(1));
    }

    #[test]
    fn retry_after_is_a_floor_and_itself_bounded() {
        let mut backoff = Backoff::new(settings(), 3);
        assert_eq!(backoff.next(Some(Duration::from_secs(90))), Duration::from_secs(90));
        assert_eq!(backoff.next(Some(Duration::MAX)), LONGEST_RETRY_AFTER);
        assert!(backoff.longest(None) >= Duration::from_secs(15));
        assert_eq!(backoff.longest(Some(Duration::from_secs(77))), Duration::from_secs(77));
    }

    #[test]
    fn only_a_long_connection_with_data_that_did_not_end_stale_is_stable() {
        let backoff = Backoff::new(settings(), 4);
        let long = Duration::from_secs(30);
        assert!(backoff.is_stable(long, true, false));
        assert!(!backoff.is_stable(long - Duration::from_millis(1), true, false));
        assert!(!backoff.is_stable(long, false, false));
        assert!(!backoff.is_stable(long, true, true));
    }

    proptest! {
        #[test]
        fn never_under_the_floor_nor_over_the_cap(
            first in 1u64..100_000, floor in 1u64..100_000, max in 1u64..100_000, seed: u64, n in 1usize..40,
        ) {
            let settings = Settings {
                first: Duration::from_millis(first),
                floor: Duration::from_millis(floor.min(max)),
                max: Duration::from_millis(max),
                stable_after: Duration::from_secs(1),
            };
            let mut backoff = Backoff::new(settings.clone(), seed);
            for _ in 0..n {
                let delay = backoff.next(None);
                prop_assert!(delay >= settings.floor && delay <= settings.max, "{delay:?}");
                let longest = backoff.longest(None);
                prop_assert!(longest >= settings.floor && longest <= settings.max, "{longest:?}");
            }
        }
    }
}
