//! The only place that reads clocks.
//!
//! Everything below the threads takes time as a value; the threads read it here.

use std::time::{Duration, Instant, SystemTime};

/// One reading of the clocks: `mono` orders and measures, `wall` is for people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) mono: Instant,
    pub(crate) wall: SystemTime,
}

impl Stamp {
    #[allow(clippy::disallowed_methods, reason = "the one home of clock readings")]
    pub(crate) fn now() -> Self {
        Self { mono: Instant::now(), wall: SystemTime::now() }
    }
}

/// Reads the monotonic clock alone.
#[allow(clippy::disallowed_methods, reason = "the one home of clock readings")]
pub(crate) fn mono() -> Instant {
    Instant::now()
}

/// How long the computer has been suspended since it booted, where the system says so exactly.
///
/// Linux keeps a clock that runs on while the machine sleeps; its lead over the monotonic clock is the
/// time slept, and setting the wall clock does not move it. Elsewhere `None`: the wall clock has to do.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) fn suspended() -> Option<Duration> {
    use rustix::time::{ClockId, clock_gettime};
    let read = |id| {
        let t = clock_gettime(id);
        Duration::new(u64::try_from(t.tv_sec).unwrap_or(0), u32::try_from(t.tv_nsec).unwrap_or(0))
    };
    let monotonic = read(ClockId::Monotonic);
    Some(read(ClockId::Boottime).saturating_sub(monotonic))
}

/// See the Linux form: here the system offers nothing exact.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn suspended() -> Option<Duration> {
    None
}
