//! What became of what was sent.

use crate::clock;
use crate::engine::shared::is_thread_of;
use crate::error::Error;
use crate::policy::session::Outcome;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::sync::OnceLock;
use std::time::Duration;

/// Stands for one admitted message. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "whether the message was written is only said here; drop it if that does not matter"]
pub struct Receipt {
    outcome: Receiver<Outcome>,
    /// The outcome, once it is known: it may be asked for again.
    known: OnceLock<Outcome>,
    /// The feed whose threads must not wait here.
    feed: u64,
}

impl Receipt {
    pub(super) fn new(outcome: Receiver<Outcome>, feed: u64) -> Self {
        Self { outcome, known: OnceLock::new(), feed }
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it is still to be written (retry); [`Error::WouldDeadlock`] on a thread of the feed, which
    /// would wait for itself.
    pub fn wait(&self, timeout: Duration) -> Result<Outcome, Error> {
        if let Some(outcome) = self.outcome() {
            return Ok(outcome);
        }
        if is_thread_of(self.feed) {
            return Err(Error::WouldDeadlock);
        }
        let outcome = match clock::mono().checked_add(timeout) {
            Some(deadline) => self.outcome.recv_deadline(deadline),
            None => self.outcome.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match outcome {
            Ok(outcome) => Ok(*self.known.get_or_init(|| outcome)),
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout),
            // Each ticket gets its outcome before the feed ends. Another thread may have taken it just now.
            Err(RecvTimeoutError::Disconnected) => self.known.get().copied().ok_or(Error::NotConnected),
        }
    }

    /// The outcome, if it is known by now. Never waits.
    pub fn outcome(&self) -> Option<Outcome> {
        match self.outcome.try_recv() {
            Ok(outcome) => Some(*self.known.get_or_init(|| outcome)),
            Err(_) => self.known.get().copied(),
        }
    }
}
