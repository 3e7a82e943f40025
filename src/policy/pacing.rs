//! Limits on how often something is done: so many in any window of so long.
//!
//! A server counts in windows of its own, of which nobody here knows where they begin. So the limit holds for every
//! window: from any instant on, within `per`, there are at most `count`. A burst of `count` at once is allowed, then
//! each has to wait until the one `count` before it is `per` ago. That is also the earliest instant: nothing waits
//! longer than the limit demands.
//!
//! What may not wait (control frames) is counted all the same, and the others pay for it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Up to this count each one is remembered; above it those that are close together are remembered as one.
const EXACT: u32 = 1000;

/// Above [`EXACT`] one may wait longer than necessary by this part of the window at most.
const SLICES: u32 = 500;

/// No window is longer. (Later than that a clock may not be able to tell.)
const LONGEST: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Those that are remembered as one. They all count as done at the last of them.
#[derive(Debug, Clone, Copy)]
struct Slice {
    first: Instant,
    last: Instant,
    count: u32,
}

/// At most `count` in any window of `per`.
///
/// Up to a count of 1000 it is exact, and holds at most `count` instants. Above that one may have to wait for up to a
/// 500th of the window longer than necessary, but the limit holds as well; then it holds at most 502 slices.
#[derive(Debug)]
pub(crate) struct Bucket {
    count: u32,
    per: Duration,
    /// Those within this of the first one are one slice; zero: each is its own.
    width: Duration,
    /// The oldest first. Without the oldest they are fewer than `count`.
    slices: VecDeque<Slice>,
    /// How many they hold.
    held: u32,
}

impl Bucket {
    /// A count of zero counts as one.
    pub(crate) fn new(count: u32, per: Duration) -> Self {
        let per = per.min(LONGEST);
        let width = if count <= EXACT { Duration::ZERO } else { per / SLICES };
        Self { count: count.max(1), per, width, slices: VecDeque::new(), held: 0 }
    }

    /// Takes one, or says when there will be one to take (if nobody takes it before).
    pub(crate) fn take(&mut self, now: Instant) -> Result<(), Instant> {
        match self.free_at(now) {
            Some(at) => Err(at),
            None => {
                self.force(now);
                Ok(())
            }
        }
    }

    /// When there will be one to take; `None`: there is one now.
    pub(crate) fn free_at(&mut self, now: Instant) -> Option<Instant> {
        while let Some(slice) = self.slices.front()
            && let Some(until) = slice.last.checked_add(self.per)
        {
            if now < until {
                return (self.held >= self.count).then_some(until);
            }
            self.held = self.held.saturating_sub(slice.count);
            self.slices.pop_front();
        }
        None
    }

    /// Takes one whether there is one or not: then the next ones have to wait for longer.
    pub(crate) fn force(&mut self, now: Instant) {
        let now = self.slices.back().map_or(now, |slice| slice.last.max(now));
        match self.slices.back_mut() {
            Some(slice) if now.saturating_duration_since(slice.first) < self.width => {
                slice.last = now;
                slice.count = slice.count.saturating_add(1);
            }
            _ => self.slices.push_back(Slice { first: now, last: now, count: 1 }),
        }
        self.held = self.held.saturating_add(1);
        // Whatever is older than the last `count` makes no difference any more.
        while let Some(slice) = self.slices.front()
            && self.held.saturating_sub(slice.count) >= self.count
        {
            self.held = self.held.saturating_sub(slice.count);
            self.slices.pop_front();
        }
    }

    /// Whether it is as good as new.
    pub(crate) fn is_idle(&self, now: Instant) -> bool {
        self.slices.back().is_none_or(|slice| now.saturating_duration_since(slice.last) >= self.per)
    }
}

/// What is to be written, as far as limits tell it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Pings, pongs and closes: counted by [`Of::All`], never delayed.
    Control,
    /// Subscribe and unsubscribe messages, and those of a login.
    Subscribe,
    /// What the application sends, requests included.
    Application,
    /// Any other: keepalives, replies, probes.
    Other,
}

/// Which of them a limit is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    All,
    Subscribes,
    Application,
}

impl Of {
    pub(crate) fn counts(self, kind: Kind) -> bool {
        match self {
            Self::All => true,
            Self::Subscribes => kind == Kind::Subscribe,
            Self::Application => kind == Kind::Application,
        }
    }
}

/// One limit: at most `count` of these in any window of `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Pace {
    pub(crate) count: u32,
    pub(crate) per: Duration,
    pub(crate) of: Of,
}

/// Several limits at once.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    buckets: Vec<(Of, Bucket)>,
}

impl Pacing {
    pub(crate) fn new(paces: &[Pace]) -> Self {
        let bucket = |pace: &Pace| (pace.of, Bucket::new(pace.count, pace.per));
        Self { buckets: paces.iter().map(bucket).collect() }
    }

    /// Takes one from all that count it, or from none, and says when to ask again. Control frames always may go.
    pub(crate) fn take(&mut self, now: Instant, kind: Kind) -> Result<(), Instant> {
        match self.free_at(now, kind) {
            Some(at) => Err(at),
            None => {
                self.force(now, kind);
                Ok(())
            }
        }
    }

    /// When one may be taken; `None`: now.
    pub(crate) fn free_at(&mut self, now: Instant, kind: Kind) -> Option<Instant> {
        if kind == Kind::Control {
            return None;
        }
        self.counting(kind).filter_map(|bucket| bucket.free_at(now)).max()
    }

    /// Takes one from all that count it, whether there is one or not.
    pub(crate) fn force(&mut self, now: Instant, kind: Kind) {
        self.counting(kind).for_each(|bucket| bucket.force(now));
    }

    fn counting(&mut self, kind: Kind) -> impl Iterator<Item = &mut Bucket> {
        self.buckets.iter_mut().filter(move |(of, _)| of.counts(kind)).map(|(_, bucket)| bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_burst_may_go_at_once_and_then_each_waits_for_the_one_a_count_before_it() {
        let t0 = crate::clock::mono();
        let mut five = Bucket::new(5, SECOND);
        for i in 0..5 {
            assert_eq!(five.take(t0 + i * 10 * MS), Ok(()));
        }
        assert_eq!(five.take(t0 + 50 * MS), Err(t0 + SECOND));
        assert_eq!(five.take(t0 + SECOND - MS), Err(t0 + SECOND), "asking takes nothing");
        assert_eq!(five.take(t0 + SECOND), Ok(()));
        assert_eq!(five.take(t0 + SECOND), Err(t0 + SECOND + 10 * MS));
        assert!(!five.is_idle(t0 + 2 * SECOND - MS));
        assert!(five.is_idle(t0 + 2 * SECOND));
    }

    #[test]
    fn what_may_not_wait_puts_the_others_in_debt() {
        let t0 = crate::clock::mono();
        let mut two = Bucket::new(2, SECOND);
        for i in 0..10_000 {
            two.force(t0 + i * MS / 100);
        }
        let (last_but_one, last) = (t0 + 9_998 * MS / 100, t0 + 9_999 * MS / 100);
        assert_eq!(two.take(t0 + 200 * MS), Err(last_but_one + SECOND));
        assert_eq!(two.take(last_but_one + SECOND), Ok(()));
        assert_eq!(two.take(last_but_one + SECOND), Err(last + SECOND));
        assert_eq!(two.slices.len(), 2, "bounded");
    }

    #[test]
    fn clocks_that_were_read_out_of_order_do_no_harm() {
        let t0 = crate::clock::mono() + SECOND;
        let mut one = Bucket::new(1, SECOND);
        assert_eq!(one.take(t0), Ok(()));
        one.force(t0 - 5 * MS);
        assert_eq!(one.take(t0 - 9 * MS), Err(t0 + SECOND));
    }

    #[test]
    fn extremes_are_survived() {
        let t0 = crate::clock::mono();
        let mut one = Bucket::new(0, Duration::MAX);
        assert_eq!(one.take(t0), Ok(()));
        assert_eq!(one.take(t0), Err(t0 + LONGEST));
        let mut none = Bucket::new(1, Duration::ZERO);
        for _ in 0..100 {
            assert_eq!(none.take(t0), Ok(()));
        }
        let mut endless = Bucket::new(u32::MAX, LONGEST);
        for i in 0..5000 {
            assert_eq!(endless.take(t0 + i * LONGEST / 1000), Ok(()));
        }
        assert!(endless.slices.len() <= 502);
    }

    #[test]
    fn large_counts_hold_few_slices_and_are_late_by_one_at_most() {
        let t0 = crate::clock::mono();
        let per = 10 * SECOND;
        let mut many = Bucket::new(100_000, per);
        for i in 0..100_000 {
            assert_eq!(many.take(t0 + i * 100 * MS / 1000), Ok(()));
        }
        assert!(many.slices.len() <= 502, "{}", many.slices.len());
        let free = many.take(t0 + per - MS).unwrap_err();
        assert!(free >= t0 + per && free <= t0 + per + per / SLICES, "{:?}", free - t0);
    }

    #[test]
    fn all_limits_that_count_it_or_none_are_taken_from() {
        let t0 = crate::clock::mono();
        let mut pacing = Pacing::new(&[
            Pace { count: 3, per: SECOND, of: Of::All },
            Pace { count: 1, per: 60 * SECOND, of: Of::Subscribes },
            Pace { count: 1, per: 2 * SECOND, of: Of::Application },
        ]);
        assert_eq!(pacing.take(t0, Kind::Subscribe), Ok(()));
        for _ in 0..9 {
            assert_eq!(
                pacing.take(t0, Kind::Subscribe),
                Err(t0 + 60 * SECOND),
                "takes nothing of the others"
            );
        }
        assert_eq!(pacing.take(t0, Kind::Application), Ok(()));
        assert_eq!(pacing.take(t0, Kind::Other), Ok(()));
        assert_eq!(pacing.take(t0, Kind::Other), Err(t0 + SECOND));
        assert_eq!(pacing.take(t0, Kind::Application), Err(t0 + 2 * SECOND));
        for _ in 0..3 {
            assert_eq!(pacing.take(t0 + 500 * MS, Kind::Control), Ok(()));
        }
        assert_eq!(pacing.take(t0 + SECOND, Kind::Other), Err(t0 + 1500 * MS), "control frames were counted");
        assert_eq!(Pacing::default().take(t0, Kind::Application), Ok(()));
    }

    /// How many of `taken` lie in the window of `per` that ends with `now`, `now` among them.
    fn within(taken: &[Instant], now: Instant, per: Duration) -> usize {
        taken.iter().filter(|at| now.saturating_duration_since(**at) < per).count()
    }

    proptest! {
        /// Never more than so many in any window, and whoever has to wait has to: one more would have been too many.
        #[test]
        fn exact(
            count in 1u32..8, per in 1u64..100,
            ops in prop::collection::vec((0u8..8, 0u64..40), 0..300),
        ) {
            let (mut now, per) = (crate::clock::mono(), Duration::from_millis(per));
            let mut bucket = Bucket::new(count, per);
            let mut all = Vec::new();
            for (op, step) in ops {
                now += Duration::from_millis(step);
                if op == 0 {
                    bucket.force(now);
                    all.push(now);
                    continue;
                }
                let before = within(&all, now, per);
                match bucket.take(now) {
                    Ok(()) => {
                        prop_assert!(before < count as usize, "too many");
                        all.push(now);
                    }
                    Err(at) => {
                        prop_assert!(before >= count as usize, "a needless delay");
                        prop_assert!(at > now);
                        prop_assert!(within(&all, at - Duration::from_nanos(1), per) >= count as usize);
                        prop_assert!(within(&all, at, per) < count as usize, "said too early");
                    }
                }
                prop_assert!(bucket.slices.len() <= count as usize);
                prop_assert_eq!(bucket.is_idle(now), within(&all, now, per) == 0);
            }
        }

        /// The same with slices: never too many, and never late by more than one slice.
        #[test]
        fn sliced(per in 1u64..100_000, steps in prop::collection::vec((1u32..600, 0u64..20_000), 0..60)) {
            let (mut now, per) = (crate::clock::mono(), Duration::from_millis(per));
            let count = EXACT + 1;
            let mut bucket = Bucket::new(count, per);
            let mut all: VecDeque<Instant> = VecDeque::new();
            for (burst, step) in steps {
                now += Duration::from_millis(step);
                for _ in 0..burst {
                    now += Duration::from_micros(300);
                    let before = all.len() - all.partition_point(|at| now.saturating_duration_since(*at) >= per);
                    match bucket.take(now) {
                        Ok(()) => {
                            prop_assert!(before < count as usize, "too many");
                            all.push_back(now);
                            if all.len() > count as usize { all.pop_front(); }
                        }
                        Err(at) => {
                            let earliest = all.front().map(|first| *first + per).unwrap();
                            prop_assert!(at > now && at <= earliest.max(now) + per / SLICES);
                            now = at;
                        }
                    }
                }
                prop_assert!(bucket.slices.len() <= SLICES as usize + 2);
            }
        }
    }
}
