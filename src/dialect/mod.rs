//! What a message means. Pure: no I/O, no threads, no clock.

mod interval;
mod matcher;
#[allow(dead_code, reason = "templates and matchers are built on it")]
mod placeholder;
mod router;
mod scan;

pub use interval::Interval;
pub use matcher::{MatchFn, Matcher};
pub(crate) use router::{Class, Hit, Router};
pub(crate) use scan::Pointer;
