//! What the two threads hand each other.

use crate::transport::{Stop, WriteHalf};

/// What the controller tells the reader.
pub(super) enum Order {
    /// Make an attempt, and read until the connection ends.
    Dial { epoch: u64, attempt: u32, endpoint: usize, stop: Stop },
    /// Events were made elsewhere: hand them to the handler.
    Drain,
    /// The feed is over.
    Exit,
}

/// The writing half of a connection, with what belongs to it.
pub(super) struct Link {
    pub(super) epoch: u64,
    pub(super) attempt: u32,
    pub(super) half: WriteHalf,
    pub(super) stop: Stop,
}
