//! Tells a process that was forked from the one that opened a feed: there the feed's threads do not exist, and its locks
//! may be held for ever.
//!
//! Each call asks, so it must cost nothing: where there is `fork`, the system is asked to tell of it, and what is asked is a
//! counter.

#[cfg(unix)]
use std::sync::OnceLock;
#[cfg(unix)]
use std::sync::atomic::{AtomicU32, Ordering};

/// The process that something was made in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home {
    #[cfg(unix)]
    forks: u32,
    /// Only if forks can't be counted.
    #[cfg(unix)]
    process: Option<u32>,
}

/// How often a process was forked on the way to this one, since it first asked.
#[cfg(unix)]
static FORKS: AtomicU32 = AtomicU32::new(0);

#[cfg(unix)]
extern "C" fn count() {
    FORKS.fetch_add(1, Ordering::Relaxed);
}

#[cfg(unix)]
unsafe extern "C" {
    /// POSIX.1-2008: has functions called around each `fork`. Forgotten when the library is unloaded.
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> std::ffi::c_int;
}

impl Home {
    /// This process.
    #[cfg(unix)]
    pub(super) fn here() -> Self {
        static COUNTED: OnceLock<bool> = OnceLock::new();
        // SAFETY: the function does nothing that is not allowed in a child: it adds to an atomic number.
        let counted = *COUNTED.get_or_init(|| unsafe { pthread_atfork(None, None, Some(count)) } == 0);
        Self { forks: FORKS.load(Ordering::Relaxed), process: (!counted).then(std::process::id) }
    }

    /// Whether this is still that process.
    #[cfg(unix)]
    pub(super) fn is_here(self) -> bool {
        self.forks == FORKS.load(Ordering::Relaxed)
            && self.process.is_none_or(|process| process == std::process::id())
    }

    /// Without `fork` there is one process only.
    #[cfg(not(unix))]
    pub(super) fn here() -> Self {
        Self {}
    }

    /// See above.
    #[cfg(not(unix))]
    pub(super) fn is_here(self) -> bool {
        true
    }
}
