//! Liveness: whether anything at all arrives. A ping after silence, and a limit on what follows it.
//!
//! All instants are in attended time. Any byte received proves life; the wait for a pong counts from when the
//! ping was really written.

use std::time::{Duration, Instant};

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// Silence after which a ping is written; `None`: never.
    pub(crate) after: Option<Duration>,
    /// How long after the ping nothing at all may have come.
    pub(crate) timeout: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ping {
    None,
    Queued,
    Written(Instant),
}

#[derive(Debug)]
pub(crate) struct Liveness {
    settings: Settings,
    heard: Instant,
    ping: Ping,
}

impl Liveness {
    pub(crate) fn new(settings: Settings, now: Instant) -> Self {
        Self { settings, heard: now, ping: Ping::None }
    }

    /// Bytes came. They answer a ping that is still queued too: its pong may be here before the report that it
    /// was written, and no other would come.
    pub(crate) fn handle_bytes(&mut self, now: Instant) {
        self.heard = self.heard.max(now);
        self.ping = Ping::None;
    }

    /// The ping was handed to the operating system.
    pub(crate) fn handle_ping_written(&mut self, now: Instant) {
        if self.ping == Ping::Queued {
            self.ping = Ping::Written(now);
        }
    }

    /// Whether a ping is to be queued now; it counts as queued then.
    pub(crate) fn take_due_ping(&mut self, now: Instant) -> bool {
        let due = self.ping_due().is_some_and(|due| now >= due);
        if due {
            self.ping = Ping::Queued;
        }
        due
    }

    /// Asks for a ping whatever the silence: a probe. Says whether one has to be queued for it.
    pub(crate) fn probe(&mut self) -> bool {
        let fresh = self.ping == Ping::None;
        if fresh {
            self.ping = Ping::Queued;
        }
        fresh
    }

    /// When the next ping is due.
    pub(crate) fn ping_due(&self) -> Option<Instant> {
        match self.ping {
            Ping::None => self.heard.checked_add(self.settings.after?),
            Ping::Queued | Ping::Written(_) => None,
        }
    }

    /// When the connection is held to be dead. Before a ping is written this is a lower bound of it, so that
    /// a reader that is armed to it need not be woken when the ping goes out.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.ping {
            Ping::Written(at) => at.checked_add(self.settings.timeout),
            Ping::Queued => None,
            Ping::None => self.ping_due()?.checked_add(self.settings.timeout),
        }
    }

    /// How long the pong has been waited for, if that is over the limit.
    pub(crate) fn overdue(&self, now: Instant) -> Option<Duration> {
        let Ping::Written(at) = self.ping else { return None };
        let waited = now.saturating_duration_since(at);
        (waited >= self.settings.timeout).then_some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn liveness(now: Instant) -> Liveness {
        Liveness::new(Settings { after: Some(20 * SECOND), timeout: 10 * SECOND }, now)
    }

    #[test]
    fn pings_after_silence_and_counts_from_the_write() {
        let t0 = crate::clock::mono();
        let mut live = liveness(t0);
        assert!(!live.take_due_ping(t0 + 19 * SECOND));
        assert!(live.take_due_ping(t0 + 20 * SECOND));
        assert!(!live.take_due_ping(t0 + 21 * SECOND), "one at a time");
        assert_eq!(live.overdue(t0 + 99 * SECOND), None, "not written yet");
        live.handle_ping_written(t0 + 25 * SECOND);
        assert_eq!(live.deadline(), Some(t0 + 35 * SECOND));
        assert_eq!(live.overdue(t0 + 34 * SECOND), None);
        assert_eq!(live.overdue(t0 + 35 * SECOND), Some(10 * SECOND));
    }

    #[test]
    fn any_byte_is_life() {
        let t0 = crate::clock::mono();
        let mut live = liveness(t0);
        assert!(live.take_due_ping(t0 + 20 * SECOND));
        live.handle_ping_written(t0 + 20 * SECOND);
        live.handle_bytes(t0 + 29 * SECOND);
        assert_eq!(live.overdue(t0 + 31 * SECOND), None);
        assert_eq!(live.ping_due(), Some(t0 + 49 * SECOND));
    }

    #[test]
    fn a_pong_may_come_before_the_report_that_its_ping_was_written() {
        let t0 = crate::clock::mono();
        let mut live = liveness(t0);
        assert!(live.take_due_ping(t0 + 20 * SECOND));
        live.handle_bytes(t0 + 20 * SECOND);
        live.handle_ping_written(t0 + 20 * SECOND);
        assert_eq!(live.overdue(t0 + 39 * SECOND), None);
        assert_eq!(live.ping_due(), Some(t0 + 40 * SECOND));
    }

    #[test]
    fn the_reader_can_arm_to_it_before_the_ping_is_written() {
        let t0 = crate::clock::mono();
        let mut live = liveness(t0);
        assert_eq!(live.deadline(), Some(t0 + 30 * SECOND));
        assert!(live.take_due_ping(t0 + 20 * SECOND));
        live.handle_ping_written(t0 + 20 * SECOND);
        assert_eq!(live.deadline(), Some(t0 + 30 * SECOND));
    }

    #[test]
    fn without_pings_there_is_no_deadline_but_a_probe_has_one() {
        let t0 = crate::clock::mono();
        let mut live = Liveness::new(Settings { after: None, timeout: SECOND }, t0);
        assert_eq!((live.ping_due(), live.deadline()), (None, None));
        assert!(live.probe());
        assert!(!live.probe());
        live.handle_ping_written(t0);
        assert_eq!(live.overdue(t0 + SECOND), Some(SECOND));
    }
}
