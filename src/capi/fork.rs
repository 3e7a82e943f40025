//! Tells a process that was forked from the one that opened a feed: there the feed's threads do not exist, and its locks
//! may be held for ever.

/// The process that something was made in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home(u32);

impl Home {
    /// This process.
    pub(super) fn here() -> Self {
        Self(std::process::id())
    }

    /// Whether this is still that process.
    pub(super) fn is_here(self) -> bool {
        self.0 == std::process::id()
    }
}
