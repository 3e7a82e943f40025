//! What hosts are told of a feed, at one moment and under one lock; and the last of it, when the feed is gone.

use super::shared::Shared;
use crate::clock;
use crate::health::{Health, State};
use crate::measures::Measures;
use crate::note::Note;
use crate::policy::pulse::{Beat, Pulse};
use crate::transport;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// A feed at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) taken: Instant,
    pub(crate) health: Health,
    pub(crate) measures: Measures,
    pulse: Pulse,
    /// The last events, the newest first.
    pub(crate) recent: Vec<Note>,
}

impl Snapshot {
    /// What came in each of the last seconds, the oldest first.
    pub(crate) fn beats(&self) -> Vec<Beat> {
        self.pulse.read(self.taken)
    }

    /// The same of a feed that has ended since: it is closed, and what was old is older.
    pub(crate) fn of_the_past(mut self, now: Instant) -> Self {
        let passed = now.saturating_duration_since(self.taken);
        let older = |age: &mut Option<Duration>| *age = age.map(|age| age.saturating_add(passed));
        let health = &mut self.health;
        older(&mut health.last_signal_age);
        health.subscriptions.iter_mut().for_each(|subscription| older(&mut subscription.last_signal_age));
        // Of a connection, and there is none.
        (health.up, health.next_attempt_in) = (None, None);
        (health.last_byte_age, health.last_message_age, health.last_data_age) = (None, None, None);
        health.held_up = None;
        health.state = State::Closed;
        self.taken = now;
        self
    }
}

/// Where a feed leaves its last snapshot for those who hold on to this.
pub(crate) type LastWords = Arc<OnceLock<Snapshot>>;

impl Shared {
    /// How the feed is, with all that hosts show. Takes the lock once and for a short time.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let taken = clock::mono();
        let core = self.lock();
        let health = core.health(self.name(), taken, self.is_in_recv());
        let measures = core.session.measures().clone();
        let (pulse, recent) = (core.session.pulse().clone(), core.recent.read());
        drop(core);
        let health = Health { abandoned_lookups: transport::abandoned_lookups(), ..health };
        Snapshot { taken, health, measures, pulse, recent }
    }

    pub(crate) fn last_words(&self) -> LastWords {
        Arc::clone(&self.last_words)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        if Arc::strong_count(&self.last_words) > 1 {
            // Whoever dies here with a panic leaves none.
            let _ = self.last_words.set(self.snapshot());
        }
    }
}
