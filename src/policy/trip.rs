//! How long a ping takes there and back: measured, and never judged by.
//!
//! The clock starts when a ping is handed out to be written and stops at the next pong. Other bytes prove life, but
//! not that they were sent after the ping came. Pings carry no payload, so a pong does not say whose it is: if another
//! ping goes out before there was one, nothing is measured until a pong came (Karn's rule). All instants are in
//! attended time.

use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(crate) enum Trip {
    #[default]
    None,
    /// One ping is under way.
    Under(Instant),
    /// Several are, and a pong could be that of any.
    Unclear,
}

impl Trip {
    /// A ping goes out.
    pub(crate) fn handle_ping(&mut self, now: Instant) {
        *self = match self {
            Self::None => Self::Under(now),
            Self::Under(_) | Self::Unclear => Self::Unclear,
        };
    }

    /// A pong came. Says how long that took, if it is known.
    pub(crate) fn handle_pong(&mut self, now: Instant) -> Option<Duration> {
        match std::mem::take(self) {
            Self::Under(since) => Some(now.saturating_duration_since(since)),
            Self::None | Self::Unclear => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_pong_ends_the_trip_of_the_one_ping_before_it() {
        let t0 = crate::clock::mono();
        let mut trip = Trip::default();
        assert_eq!(trip.handle_pong(t0), None, "nobody asked");
        trip.handle_ping(t0);
        assert_eq!(trip.handle_pong(t0 + SECOND), Some(SECOND));
        assert_eq!(trip.handle_pong(t0 + 2 * SECOND), None, "said once");
    }

    #[test]
    fn a_pong_of_two_pings_says_nothing_and_clears_the_way() {
        let t0 = crate::clock::mono();
        let mut trip = Trip::default();
        trip.handle_ping(t0);
        trip.handle_ping(t0 + SECOND);
        trip.handle_ping(t0 + 2 * SECOND);
        assert_eq!(trip.handle_pong(t0 + 3 * SECOND), None);
        trip.handle_ping(t0 + 4 * SECOND);
        assert_eq!(trip.handle_pong(t0 + 5 * SECOND), Some(SECOND));
    }
}
