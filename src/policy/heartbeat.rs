//! How long a server that sends heartbeats may say nothing: no message of any kind, data or not.
//!
//! A server sends one where it has nothing else to say, so each message counts, and control frames don't: those may be
//! answered by what stands in front of it. All instants are in attended time.

use std::time::{Duration, Instant};

/// A socket that is never empty is read for at least so much longer than the limit before there is a verdict.
const FLOODED: Duration = Duration::from_millis(100);

/// The heartbeat of one connection.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    /// `None`: none is promised.
    limit: Option<Duration>,
    since: Instant,
}

impl Heartbeat {
    pub(crate) fn new(limit: Option<Duration>, now: Instant) -> Self {
        Self { limit, since: now }
    }

    /// A message came, of whatever kind.
    pub(crate) fn handle_message(&mut self, now: Instant) {
        self.since = self.since.max(now);
    }

    /// When the next one is overdue.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.since.checked_add(self.limit?)
    }

    /// How long none has come, if that is over the limit. For a look at an empty socket.
    pub(crate) fn overdue(&self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.since);
        (waited >= self.limit?).then_some(waited)
    }

    /// The same for a socket that is never empty: what lay in it at the deadline has long been read.
    pub(crate) fn flooded(&self, now: Instant) -> Option<Duration> {
        let limit = self.limit?;
        self.overdue(now).filter(|waited| *waited >= limit.saturating_add(limit.max(FLOODED)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn each_message_counts_and_only_messages() {
        let t0 = crate::clock::mono();
        let mut it = Heartbeat::new(Some(10 * SECOND), t0);
        assert_eq!(it.deadline(), Some(t0 + 10 * SECOND), "from the beginning on");
        assert_eq!(it.overdue(t0 + 10 * SECOND - MS), None);
        assert_eq!(it.overdue(t0 + 10 * SECOND), Some(10 * SECOND));
        it.handle_message(t0 + 7 * SECOND);
        it.handle_message(t0 + 6 * SECOND);
        assert_eq!(it.deadline(), Some(t0 + 17 * SECOND));
        assert_eq!(it.overdue(t0 + 16 * SECOND), None);
        assert_eq!(it.overdue(t0 + 18 * SECOND), Some(11 * SECOND));
        assert_eq!(it.flooded(t0 + 26 * SECOND), None, "the socket was never empty: it gets as long again");
        assert_eq!(it.flooded(t0 + 27 * SECOND), Some(20 * SECOND));
    }

    #[test]
    fn without_a_promise_there_is_no_verdict() {
        let t0 = crate::clock::mono();
        let year = Duration::from_secs(365 * 86_400);
        for limit in [None, Some(Duration::MAX)] {
            let it = Heartbeat::new(limit, t0);
            assert_eq!((it.deadline(), it.overdue(t0 + year), it.flooded(t0 + year)), (None, None, None));
        }
        let short = Heartbeat::new(Some(MS), t0);
        assert_eq!(short.flooded(t0 + 100 * MS), None);
        assert_eq!(short.flooded(t0 + 101 * MS), Some(101 * MS));
    }
}
