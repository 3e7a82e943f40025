//! The core behind its mutex, and its two thread shells.
pub(crate) mod queue;
