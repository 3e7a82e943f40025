//! What a message means. Pure: no I/O, no threads, no clock.

mod matcher;
mod router;
mod scan;

pub use matcher::{MatchFn, Matcher};
pub(crate) use router::{Class, Hit, Router};
