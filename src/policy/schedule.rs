//! When a keepalive of ours is to be written, and how long its answer may take.
//!
//! One rule for all modes: it is due one period after the last thing that counts. That is for [`Mode::Every`]
//! the last one written, for [`Mode::IdleSent`] the last frame written, for [`Mode::IdleReceived`] the last byte
//! received or the last one written. So two are never written closer together than a period, a late one is not
//! made up for, and there is no loop without a delay.
//!
//! At most one is queued. One that is unanswered does not hold up the next: the server may judge us by what we
//! send. The exception is [`Mode::IdleReceived`], which asks whether the server is there: it has asked already.
//!
//! Only the expected answer counts as one, not any byte. It answers all that were written before it; if none of
//! those is unanswered, it answers the one that is queued, since it may be here before the report that this one
//! was written. All instants are in attended time.

use std::time::{Duration, Instant};

/// No period is shorter, nor any limit on an answer.
const FLOOR: Duration = Duration::from_millis(10);

/// What the period counts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The last one that was written, whatever else comes and goes.
    Every,
    /// The last byte that was received.
    IdleReceived,
    /// The last frame that was written.
    IdleSent,
}

/// The times of one keepalive, known when a connection is established.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) mode: Mode,
    /// At least 10 ms, whatever it says.
    pub(crate) period: Duration,
    /// Stands in place of the period until the first one is written.
    pub(crate) first_after: Option<First>,
    /// How long the answer may take; `None`: none is expected.
    pub(crate) within: Option<Duration>,
    /// It is a ping: its pong tells how long that took.
    pub(crate) ping: bool,
}

/// How long after the beginning the first one is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum First {
    After(Duration),
    /// After a random part of the period, so that not all clients that came together go on together.
    Random,
}

impl Times {
    /// With the random part drawn: `random` gives one of a time.
    pub(crate) fn drawn(mut self, random: impl FnOnce(Duration) -> Duration) -> Self {
        if self.first_after == Some(First::Random) {
            self.first_after = Some(First::After(random(self.period).min(self.period)));
        }
        self
    }
}

/// One keepalive on one connection.
#[derive(Debug)]
pub(crate) struct Schedule {
    times: Times,
    /// What the period counts from.
    since: Instant,
    /// None was written yet.
    first: bool,
    queued: bool,
    /// The answer to the one that is queued came before the report that it was written.
    answered_early: bool,
    /// When the oldest one that is unanswered was written.
    asked: Option<Instant>,
}

impl Schedule {
    pub(crate) fn new(times: Times, now: Instant) -> Self {
        let times = Times {
            period: times.period.max(FLOOR),
            within: times.within.map(|within| within.max(FLOOR)),
            ..times
        };
        Self { times, since: now, first: true, queued: false, answered_early: false, asked: None }
    }

    /// The period is another from now on, and counts from what it counted from before.
    pub(crate) fn set_period(&mut self, period: Duration) {
        self.times.period = period.max(FLOOR);
    }

    /// Whether it is a ping.
    pub(crate) fn is_ping(&self) -> bool {
        self.times.ping
    }

    /// Bytes came, of whatever kind.
    pub(crate) fn handle_received(&mut self, now: Instant) {
        if self.times.mode == Mode::IdleReceived {
            self.since = self.since.max(now);
        }
    }

    /// A frame was written, of whatever kind.
    pub(crate) fn handle_sent(&mut self, now: Instant) {
        if self.times.mode == Mode::IdleSent {
            self.since = self.since.max(now);
        }
    }

    /// Whether one is to be queued now; it counts as queued until [`Self::handle_written`].
    pub(crate) fn take_due(&mut self, now: Instant) -> bool {
        let due = self.due().is_some_and(|due| now >= due);
        if due {
            self.queued = true;
            self.answered_early = false;
        }
        due
    }

    /// The one that was queued was handed to the operating system.
    pub(crate) fn handle_written(&mut self, now: Instant) {
        if !std::mem::take(&mut self.queued) {
            return;
        }
        self.first = false;
        self.since = self.since.max(now);
        if self.times.within.is_some() && !self.answered_early {
            self.asked.get_or_insert(now);
        }
    }

    /// The expected answer came.
    pub(crate) fn handle_answer(&mut self, now: Instant) {
        self.handle_received(now);
        if self.asked.take().is_none() {
            self.answered_early = self.queued;
        }
    }

    /// When the next one is to be queued.
    pub(crate) fn due(&self) -> Option<Instant> {
        if self.queued || (self.times.mode == Mode::IdleReceived && self.asked.is_some()) {
            return None;
        }
        let first = match self.times.first_after {
            Some(First::After(first)) if self.first => Some(first),
            _ => None,
        };
        self.since.checked_add(first.unwrap_or(self.times.period))
    }

    /// When the answer is overdue. Before one is queued this is a lower bound of it, so that a reader that is armed
    /// to it need not be woken when one goes out; [`Self::take_due`] has to be asked before [`Self::overdue`].
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let within = self.times.within?;
        self.asked.or_else(|| self.due())?.checked_add(within)
    }

    /// How long the answer has been waited for, if that is over the limit.
    pub(crate) fn overdue(&self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.asked?);
        (waited >= self.times.within?).then_some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    fn schedule(mode: Mode, within: Option<Duration>, now: Instant) -> Schedule {
        Schedule::new(Times { mode, period: 20 * SECOND, first_after: None, within, ping: false }, now)
    }

    #[test]
    fn every_counts_from_the_last_one_written_and_makes_up_for_nothing() {
        let t0 = crate::clock::mono();
        let mut every = schedule(Mode::Every, None, t0);
        every.handle_received(t0 + 19 * SECOND);
        every.handle_sent(t0 + 19 * SECOND);
        assert_eq!(every.due(), Some(t0 + 20 * SECOND));
        assert!(!every.take_due(t0 + 20 * SECOND - MS));
        assert!(every.take_due(t0 + 20 * SECOND));
        assert!(!every.take_due(t0 + 99 * SECOND), "one is queued");
        assert_eq!(every.due(), None);
        every.handle_written(t0 + 100 * SECOND);
        assert_eq!(every.due(), Some(t0 + 120 * SECOND));
        every.handle_written(t0 + 101 * SECOND);
        assert_eq!(every.due(), Some(t0 + 120 * SECOND), "a report of none that is queued changes nothing");
        assert_eq!(every.deadline(), None);
    }

    #[test]
    fn the_idle_modes_count_from_the_last_traffic_of_their_direction() {
        let t0 = crate::clock::mono();
        let mut received = schedule(Mode::IdleReceived, None, t0);
        received.handle_sent(t0 + 5 * SECOND);
        received.handle_received(t0 + 3 * SECOND);
        assert_eq!(received.due(), Some(t0 + 23 * SECOND));
        let mut sent = schedule(Mode::IdleSent, None, t0);
        sent.handle_sent(t0 + 5 * SECOND);
        sent.handle_received(t0 + 9 * SECOND);
        assert_eq!(sent.due(), Some(t0 + 25 * SECOND));
        for idle in [&mut received, &mut sent] {
            assert!(idle.take_due(t0 + 25 * SECOND));
            idle.handle_written(t0 + 26 * SECOND);
            assert_eq!(idle.due(), Some(t0 + 46 * SECOND), "one that is written counts too");
        }
    }

    #[test]
    fn the_first_has_a_time_of_its_own() {
        let t0 = crate::clock::mono();
        for mode in [Mode::Every, Mode::IdleReceived, Mode::IdleSent] {
            for first in [Duration::ZERO, 7 * SECOND, 70 * SECOND] {
                let first_after = Some(First::After(first));
                let times = Times { mode, period: 20 * SECOND, first_after, within: None, ping: false };
                let mut it = Schedule::new(times, t0);
                assert_eq!(it.due(), Some(t0 + first));
                assert!(it.take_due(t0 + first));
                it.handle_written(t0 + first);
                assert_eq!(it.due(), Some(t0 + first + 20 * SECOND));
            }
        }
    }

    #[test]
    fn another_period_counts_from_the_last_one_written_and_leaves_no_loop() {
        let t0 = crate::clock::mono();
        let mut every = schedule(Mode::Every, Some(5 * SECOND), t0);
        every.set_period(30 * SECOND);
        assert_eq!((every.due(), every.deadline()), (Some(t0 + 30 * SECOND), Some(t0 + 35 * SECOND)));
        assert!(every.take_due(t0 + 30 * SECOND));
        every.set_period(40 * SECOND);
        assert_eq!(every.due(), None, "it is queued");
        every.handle_written(t0 + 31 * SECOND);
        assert_eq!((every.due(), every.deadline()), (Some(t0 + 71 * SECOND), Some(t0 + 36 * SECOND)));
        every.set_period(Duration::ZERO);
        assert!(every.take_due(t0 + 50 * SECOND));
        every.handle_written(t0 + 50 * SECOND);
        assert!(!every.take_due(t0 + 50 * SECOND + 9 * MS) && every.take_due(t0 + 50 * SECOND + 10 * MS));
    }

    #[test]
    fn the_first_may_be_drawn_from_the_period() {
        let t0 = crate::clock::mono();
        for (drawn, expected) in [(0, 0), (7, 7), (20, 20), (99, 20)] {
            let first_after = Some(First::Random);
            let times =
                Times { mode: Mode::Every, period: 20 * SECOND, first_after, within: None, ping: false };
            let mut it = Schedule::new(times.drawn(|_| drawn * SECOND), t0);
            assert_eq!(it.due(), Some(t0 + expected * SECOND));
            assert!(it.take_due(t0 + expected * SECOND));
            it.handle_written(t0 + expected * SECOND);
            assert_eq!(it.due(), Some(t0 + (expected + 20) * SECOND), "only the first");
        }
        let fixed = Times {
            mode: Mode::Every,
            period: SECOND,
            first_after: Some(First::After(SECOND)),
            within: None,
            ping: false,
        };
        assert_eq!(fixed.clone().drawn(|_| Duration::ZERO), fixed);
    }

    #[test]
    fn the_answer_is_waited_for_from_the_write_on_and_only_it_counts() {
        let t0 = crate::clock::mono();
        let mut every = schedule(Mode::Every, Some(5 * SECOND), t0);
        assert_eq!(every.deadline(), Some(t0 + 25 * SECOND), "a reader can arm to it before the write");
        assert!(every.take_due(t0 + 20 * SECOND));
        assert_eq!(every.overdue(t0 + 99 * SECOND), None, "not written yet");
        assert_eq!(every.deadline(), None);
        every.handle_written(t0 + 30 * SECOND);
        every.handle_received(t0 + 31 * SECOND);
        assert_eq!(every.deadline(), Some(t0 + 35 * SECOND));
        assert_eq!(every.overdue(t0 + 35 * SECOND - MS), None);
        assert_eq!(every.overdue(t0 + 36 * SECOND), Some(6 * SECOND));
        every.handle_answer(t0 + 36 * SECOND);
        assert_eq!(every.overdue(t0 + 36 * SECOND), None);
        assert_eq!(every.deadline(), Some(t0 + 55 * SECOND));
    }

    #[test]
    fn an_answer_may_come_before_the_report_that_the_question_was_written() {
        let t0 = crate::clock::mono();
        let mut every = schedule(Mode::Every, Some(5 * SECOND), t0);
        every.handle_answer(t0);
        assert!(every.take_due(t0 + 20 * SECOND));
        every.handle_answer(t0 + 20 * SECOND);
        every.handle_written(t0 + 20 * SECOND);
        assert_eq!(every.overdue(t0 + 39 * SECOND), None);
        assert!(every.take_due(t0 + 40 * SECOND));
        every.handle_written(t0 + 40 * SECOND);
        assert_eq!(every.overdue(t0 + 45 * SECOND), Some(5 * SECOND), "that was for the first one only");
    }

    #[test]
    fn an_unsolicited_answer_answers_nothing_to_come() {
        let t0 = crate::clock::mono();
        let mut every = schedule(Mode::Every, Some(5 * SECOND), t0);
        every.handle_answer(t0);
        assert!(every.take_due(t0 + 20 * SECOND));
        every.handle_written(t0 + 20 * SECOND);
        assert_eq!(every.deadline(), Some(t0 + 25 * SECOND));
    }

    #[test]
    fn a_question_that_is_unanswered_is_not_asked_again_but_beats_go_on() {
        let t0 = crate::clock::mono();
        for (mode, due) in [
            (Mode::IdleReceived, None),
            (Mode::Every, Some(t0 + 40 * SECOND)),
            (Mode::IdleSent, Some(t0 + 40 * SECOND)),
        ] {
            let mut it = schedule(mode, Some(50 * SECOND), t0);
            assert!(it.take_due(t0 + 20 * SECOND));
            it.handle_written(t0 + 20 * SECOND);
            it.handle_received(t0 + 20 * SECOND);
            assert_eq!(it.due(), due, "{mode:?}");
            if it.take_due(t0 + 40 * SECOND) {
                it.handle_written(t0 + 40 * SECOND);
            }
            assert_eq!(it.deadline(), Some(t0 + 70 * SECOND), "{mode:?}: the oldest counts");
            it.handle_answer(t0 + 60 * SECOND);
            assert!(it.overdue(t0 + 99 * SECOND).is_none(), "{mode:?}");
            assert!(it.due().is_some());
        }
    }

    #[test]
    fn endless_times_have_no_deadline() {
        let t0 = crate::clock::mono();
        let times = Times {
            mode: Mode::Every,
            period: Duration::MAX,
            first_after: None,
            within: Some(Duration::MAX),
            ping: false,
        };
        let mut never = Schedule::new(times, t0);
        assert_eq!((never.due(), never.deadline()), (None, None));
        assert!(!never.take_due(t0 + Duration::from_secs(1 << 30)));
    }

    #[derive(Debug, Clone, Copy)]
    enum Op {
        Received,
        Sent,
        Poll,
        Written,
        Answer,
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![Just(Op::Received), Just(Op::Sent), Just(Op::Poll), Just(Op::Written), Just(Op::Answer)]
    }

    proptest! {
        /// Never two within a period, never one early; after the last traffic always one; no verdict before the limit.
        #[test]
        fn spaced_and_never_early(
            mode in prop_oneof![Just(Mode::Every), Just(Mode::IdleReceived), Just(Mode::IdleSent)],
            period in 0u64..200, first in prop::option::of(0u64..200), within in prop::option::of(0u64..300),
            ops in prop::collection::vec((op(), 0u64..60), 0..200),
        ) {
            let t0 = crate::clock::mono();
            let within = within.map(|ms| u32::try_from(ms).unwrap() * MS);
            let times = Times {
                mode,
                period: Duration::from_millis(period),
                first_after: first.map(|first| First::After(Duration::from_millis(first))),
                within,
                ping: false,
            };
            let period = times.period.max(FLOOR);
            let mut it = Schedule::new(times, t0);
            let (mut now, mut queued, mut written) = (t0, false, Vec::<Instant>::new());
            let (mut received, mut sent) = (t0, t0);
            let mut oldest: Option<Instant> = None;
            for (op, step) in ops {
                now += Duration::from_millis(step);
                match op {
                    Op::Received => { it.handle_received(now); received = now; }
                    Op::Sent => { it.handle_sent(now); sent = now; }
                    Op::Poll => {
                        let due = it.due();
                        let taken = it.take_due(now);
                        prop_assert_eq!(taken, due.is_some_and(|due| due <= now));
                        prop_assert!(!(taken && queued), "two are queued");
                        prop_assert!(!it.take_due(now), "twice at one time");
                        if let Some(last) = written.last().filter(|_| taken) {
                            prop_assert!(now - *last >= period);
                            let idle = match mode {
                                Mode::Every => *last,
                                Mode::IdleReceived => received.max(*last),
                                Mode::IdleSent => sent.max(*last),
                            };
                            prop_assert!(now - idle >= period);
                        }
                        queued |= taken;
                    }
                    Op::Written => {
                        it.handle_written(now);
                        it.handle_sent(now);
                        sent = now;
                        if std::mem::take(&mut queued) {
                            written.push(now);
                            oldest = oldest.or(Some(now));
                        }
                    }
                    Op::Answer => { it.handle_answer(now); oldest = None; received = now; }
                }
                if let Some(waited) = it.overdue(now) {
                    let limit = within.unwrap().max(FLOOR);
                    prop_assert!(waited >= limit && oldest.is_some_and(|at| now - at >= limit));
                    prop_assert!(it.deadline().is_some_and(|at| at <= now));
                } else if it.asked.is_some() {
                    prop_assert!(it.deadline().is_some_and(|at| at > now));
                }
            }
            if !queued && it.asked.is_none() {
                prop_assert!(it.due().is_some(), "it goes on");
            }
        }
    }
}
