//! How a coarse socket read timeout approaches a deadline.
//!
//! A socket timeout returns late: by up to two ticks of the kernel's coarse clock, and the later the longer it is (on
//! Linux up to a sixteenth); never early. So most of what remains is waited for by it, in few steps. For the last
//! bit, which is shorter than it can measure, the reader waits by a finer clock before it looks.

use std::time::{Duration, Instant};

/// How late the shortest socket timeout may return: two ticks of 4 ms, and something for a busy machine.
const COARSE: Duration = Duration::from_millis(10);

/// A socket timeout under this is not worth arming.
const WORTH: Duration = Duration::from_millis(8);

/// How the next `recv` waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// At most this long (the socket read timeout to be in force); `None`: without an end.
    Until(Option<Duration>),
    /// To the end of this time, by the finest clock there is.
    Exactly(Duration),
    /// Not at all: a deadline has passed, and whether the socket is empty decides.
    Probe,
}

/// Chooses it. `armed` is the timeout in force, `empty` whether the last `recv` found nothing.
///
/// Data moves deadlines outwards, so the timeout in force is kept (re-arming is a system call) unless it would
/// overshoot the deadline or has just run out.
pub(crate) fn wait(deadline: Option<Instant>, now: Instant, armed: Option<Duration>, empty: bool) -> Wait {
    let Some(deadline) = deadline else {
        return Wait::Until(if empty { None } else { armed });
    };
    let left = deadline.saturating_duration_since(now);
    if left.is_zero() {
        return Wait::Probe;
    }
    match armed {
        Some(armed) if !empty && armed <= left => Wait::Until(Some(armed)),
        _ => {
            let most = (left - left / 8).saturating_sub(COARSE);
            if most < WORTH { Wait::Exactly(left) } else { Wait::Until(Some(most)) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn a_deadline_is_approached_in_few_steps_and_never_missed_by_a_late_timer() {
        let start = crate::clock::mono();
        for limit in [50, 500, 2_000, 60_000, 3_600_000] {
            let deadline = start + limit * MS;
            let (mut now, mut steps, mut armed) = (start, 0, None);
            while now < deadline {
                match wait(Some(deadline), now, armed, true) {
                    // The worst that was measured: a sixteenth late, and two ticks of 4 ms.
                    Wait::Until(Some(timeout)) => {
                        assert!(timeout >= WORTH);
                        now += timeout + timeout / 16 + 8 * MS;
                        armed = Some(timeout);
                    }
                    Wait::Exactly(time) => now += time,
                    other => panic!("{other:?}"),
                }
                steps += 1;
            }
            assert!(now == deadline, "limit {limit} ms: {:?} late", now - deadline);
            assert!(steps <= 9, "limit {limit} ms: {steps} steps");
        }
    }

    #[test]
    fn data_does_not_re_arm() {
        let now = crate::clock::mono();
        let armed = Some(500 * MS);
        assert_eq!(wait(Some(now + 600 * MS), now, armed, false), Wait::Until(armed));
        assert_eq!(wait(Some(now + 400 * MS), now, armed, false), Wait::Until(Some(340 * MS)));
        assert_eq!(wait(None, now, armed, false), Wait::Until(armed));
        assert_eq!(wait(None, now, armed, true), Wait::Until(None));
        assert_eq!(wait(Some(now), now, armed, false), Wait::Probe);
    }
}
