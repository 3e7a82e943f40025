//! How a coarse socket read timeout approaches a deadline.
//!
//! A socket timeout returns late, the later the longer it is (on Linux up to a sixteenth), and never early. So
//! most of what remains is waited for first, and only the last little bit to its end.

use std::time::{Duration, Instant};

/// What remains is waited for to its end once it is this short.
const SHORT: Duration = Duration::from_millis(16);

/// How the next `recv` waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// At most this long (the socket read timeout to be in force); `None`: without an end.
    Until(Option<Duration>),
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
        _ => Wait::Until(Some(step(left))),
    }
}

fn step(left: Duration) -> Duration {
    if left <= SHORT { left } else { left - left / 8 }
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
                let Wait::Until(Some(timeout)) = wait(Some(deadline), now, armed, true) else { panic!() };
                assert!(!timeout.is_zero());
                // The worst that was measured: a sixteenth late, and two ticks of 4 ms.
                now += timeout + timeout / 16 + 8 * MS;
                armed = Some(timeout);
                steps += 1;
            }
            assert!(now <= deadline + 10 * MS, "limit {limit} ms: {:?} late", now - deadline);
            assert!(steps <= 9, "limit {limit} ms: {steps} steps");
        }
    }

    #[test]
    fn data_does_not_re_arm() {
        let now = crate::clock::mono();
        let armed = Some(500 * MS);
        assert_eq!(wait(Some(now + 600 * MS), now, armed, false), Wait::Until(armed));
        assert_eq!(wait(Some(now + 400 * MS), now, armed, false), Wait::Until(Some(350 * MS)));
        assert_eq!(wait(None, now, armed, false), Wait::Until(armed));
        assert_eq!(wait(None, now, armed, true), Wait::Until(None));
        assert_eq!(wait(Some(now), now, armed, false), Wait::Probe);
    }
}
