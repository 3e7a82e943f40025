//! A look at a feed for hosts: it keeps neither the feed nor what the feed holds, and outlasts both.

use super::Feed;
use crate::clock;
use crate::engine::shared::Shared;
use crate::engine::snapshot::{LastWords, Snapshot};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// A feed under the name it is shown by.
pub(crate) struct Source {
    name: String,
    shared: Weak<Shared>,
    last_words: LastWords,
    /// The last snapshot that was taken here.
    seen: Mutex<Arc<Snapshot>>,
}

impl Source {
    pub(crate) fn new(name: String, feed: &Feed) -> Self {
        let shared = &feed.engine.shared;
        let mut snapshot = shared.snapshot();
        snapshot.health.name.clone_from(&name);
        let (weak, last_words) = (Arc::downgrade(shared), shared.last_words());
        Self { name, shared: weak, last_words, seen: Mutex::new(Arc::new(snapshot)) }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// How the feed is. One that is gone is closed, and as it was at its end.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        let mut snapshot = match self.shared.upgrade() {
            Some(shared) => shared.snapshot(),
            None => {
                // Between its last breath and its last words there is a moment.
                let last = || Snapshot::clone(&self.seen.lock().unwrap_or_else(PoisonError::into_inner));
                self.last_words.get().cloned().unwrap_or_else(last).of_the_past(clock::mono())
            }
        };
        snapshot.health.name.clone_from(&self.name);
        let snapshot = Arc::new(snapshot);
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&snapshot);
        snapshot
    }
}
