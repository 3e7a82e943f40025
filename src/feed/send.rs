//! What can be sent, and what became of it.

use crate::clock;
use crate::error::Error;
use crate::message::Content;
use crate::policy::session::Outcome;
use crossbeam_channel::{Receiver, RecvTimeoutError};
use std::fmt;
use std::time::Duration;

/// A text or binary message to send: made from `&str`, `String`, `&[u8]` or `Vec<u8>`.
#[derive(Clone)]
pub struct Sendable(pub(super) Content);

impl From<&str> for Sendable {
    fn from(text: &str) -> Self {
        Self(Content::Text(text.into()))
    }
}

impl From<String> for Sendable {
    fn from(text: String) -> Self {
        Self(Content::Text(text.into()))
    }
}

impl From<&[u8]> for Sendable {
    fn from(bytes: &[u8]) -> Self {
        Self(Content::Binary(bytes.to_vec().into()))
    }
}

impl From<Vec<u8>> for Sendable {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Content::Binary(bytes.into()))
    }
}

impl fmt::Debug for Sendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sendable({} bytes)", self.0.len())
    }
}

/// Stands for one admitted message. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "whether the message was written is only said here; drop it if that does not matter"]
pub struct Receipt(Receiver<Outcome>);

impl Receipt {
    pub(super) fn new(outcome: Receiver<Outcome>) -> Self {
        Self(outcome)
    }

    /// Waits for the outcome.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if it is still to be written (retry); [`Error::NotConnected`] if the outcome was taken
    /// before, since it is given out once.
    pub fn wait(&self, timeout: Duration) -> Result<Outcome, Error> {
        let outcome = match clock::mono().checked_add(timeout) {
            Some(deadline) => self.0.recv_deadline(deadline),
            None => self.0.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match outcome {
            Ok(outcome) => Ok(outcome),
            Err(RecvTimeoutError::Timeout) => Err(Error::Timeout),
            // Each ticket gets its outcome before the feed ends; only an outcome that was taken is gone.
            Err(RecvTimeoutError::Disconnected) => Err(Error::NotConnected),
        }
    }

    /// The outcome, if it is known by now and was not taken before. Never waits.
    pub fn outcome(&self) -> Option<Outcome> {
        self.0.try_recv().ok()
    }
}
