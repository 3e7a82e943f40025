//! Attended time: time that counts only while livefeed reads.
//!
//! Time spent outside `recv` (waiting for room in the queue, in a handler, stopped by a debugger, asleep)
//! shifts every deadline. Rather than touching each deadline, all of them are kept in attended time: the
//! monotonic clock less everything that was spent away. A shift is then one addition.

use std::time::{Duration, Instant};

/// A `recv` may come back this much later than its timeout said (plus an eighth) before the excess is held to
/// be a stop of the whole process. Socket timeouts are coarse, and a busy machine schedules late.
const SLACK: Duration = Duration::from_millis(250);

#[derive(Debug)]
pub(crate) struct Attention {
    away: Duration,
    /// When the reader last reported.
    seen: Instant,
    /// Since when the reader is away, while it is.
    away_since: Option<Instant>,
}

impl Attention {
    pub(crate) fn new(now: Instant) -> Self {
        Self { away: Duration::ZERO, seen: now, away_since: None }
    }

    /// Real to attended.
    pub(crate) fn attended(&self, now: Instant) -> Instant {
        let now = self.away_since.map_or(now, |since| now.min(since));
        now.checked_sub(self.away).unwrap_or(now)
    }

    /// Attended to real, if nothing else is spent away.
    pub(crate) fn real(&self, attended: Instant) -> Instant {
        attended.checked_add(self.away).unwrap_or(attended)
    }

    /// The reader came back from `recv`, which was armed with `armed`. What is longer than that explains was a stop. Says
    /// whether there was one: attended time is then less than it seemed to be.
    pub(crate) fn handle_recv(&mut self, now: Instant, armed: Option<Duration>) -> bool {
        self.handle_back(self.seen);
        let stopped = armed.map_or(Duration::ZERO, |armed| {
            let explained = armed.saturating_add(armed / 8).saturating_add(SLACK);
            now.saturating_duration_since(self.seen).saturating_sub(explained)
        });
        self.away = self.away.saturating_add(stopped);
        self.seen = self.seen.max(now);
        !stopped.is_zero()
    }

    /// How long ago the reader last reported.
    pub(crate) fn unseen_for(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.seen)
    }

    /// The reader leaves `recv` alone for a while.
    pub(crate) fn handle_away(&mut self, now: Instant) {
        self.away_since.get_or_insert(now);
    }

    /// It is back. Without an `away` before it, the time since it last reported counts as away.
    pub(crate) fn handle_back(&mut self, now: Instant) {
        let since = self.away_since.take().unwrap_or(self.seen);
        self.away = self.away.saturating_add(now.saturating_duration_since(since));
        self.seen = self.seen.max(now);
    }

    /// The time away so far.
    pub(crate) fn away(&self, now: Instant) -> Duration {
        let since = self.away_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        self.away.saturating_add(since)
    }

    pub(crate) fn is_away(&self) -> bool {
        self.away_since.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn reading_time_counts_and_time_away_does_not() {
        let t0 = crate::clock::mono();
        let mut attention = Attention::new(t0);
        attention.handle_recv(t0 + 5 * SECOND, Some(5 * SECOND));
        assert_eq!(attention.attended(t0 + 5 * SECOND), t0 + 5 * SECOND);
        attention.handle_away(t0 + 5 * SECOND);
        assert_eq!(attention.attended(t0 + 9 * SECOND), t0 + 5 * SECOND, "it stands still while away");
        attention.handle_back(t0 + 9 * SECOND);
        assert_eq!(attention.attended(t0 + 10 * SECOND), t0 + 6 * SECOND);
        assert_eq!(attention.real(t0 + 6 * SECOND), t0 + 10 * SECOND);
    }

    #[test]
    fn a_stop_shows_as_a_recv_that_took_longer_than_it_was_armed_for() {
        let t0 = crate::clock::mono();
        let mut attention = Attention::new(t0);
        attention.handle_recv(t0 + 61 * SECOND, Some(SECOND));
        let attended = attention.attended(t0 + 61 * SECOND) - t0;
        assert!(attended >= SECOND && attended < 2 * SECOND, "{attended:?}");
        // Coarse timers are no stop.
        let t1 = t0 + 61 * SECOND;
        let before = attention.attended(t1);
        attention.handle_recv(t1 + Duration::from_millis(5160), Some(5 * SECOND));
        assert_eq!(
            attention.attended(t1 + Duration::from_millis(5160)) - before,
            Duration::from_millis(5160)
        );
    }
}
