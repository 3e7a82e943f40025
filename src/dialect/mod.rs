//! What a message means. Pure: no I/O, no threads, no clock.

#![allow(dead_code, reason = "the engine comes to use it")]

mod matcher;
mod router;
mod scan;

pub use matcher::{MatchFn, Matcher};
#[allow(unused_imports, reason = "the engine comes to use them")]
pub(crate) use router::{Class, Hit, Route, Router};
