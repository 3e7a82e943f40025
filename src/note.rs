//! A note: a lifecycle event in short, for people who look at a feed.

use serde::Serialize;
use std::sync::Arc;
use std::time::SystemTime;

/// A lifecycle event in short. Without payloads, and no longer than [`Note::LONGEST`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Note {
    /// When, by the wall clock; the newest, if it stands for several.
    pub(crate) time: SystemTime,
    /// The event's name in JSON.
    pub(crate) name: &'static str,
    /// How bad it is.
    pub(crate) weight: Weight,
    /// What there is to say beyond the name; of the newest, if it stands for several.
    pub(crate) text: Arc<str>,
    /// How many events of the kind it stands for, at least 1.
    pub(crate) times: u64,
}

impl Note {
    /// The most characters of a text.
    pub(crate) const LONGEST: usize = 200;
}

/// How much an event matters to somebody who looks for trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Weight {
    /// As it should be.
    Good,
    /// To be known.
    Plain,
    /// Trouble.
    Bad,
}
