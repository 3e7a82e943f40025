//! What a message means. Pure: no I/O, no threads, no clock.

mod block;
mod classify;
mod conditions;
mod contains;
mod cursor;
mod evaluate;
#[allow(dead_code, reason = "the engine renders matchers once rules are wired in")]
mod matcher;
mod matcher_form;
mod pass;
#[allow(dead_code, reason = "templates and matchers are built on it")]
mod placeholder;
#[allow(dead_code, reason = "captures are built on it")]
mod pointer;
#[allow(dead_code, reason = "the engine inserts and removes once rules are wired in")]
mod router;
#[allow(dead_code, reason = "the router's tables are built on it")]
mod scalar;
#[allow(dead_code, reason = "captures are built on it")]
mod scan;
mod shape;
mod slab;
mod trie;

pub use matcher::{MatchFn, Matcher};
pub(crate) use router::{Hit, Owner, Router};

#[cfg(test)]
mod tests {
    mod hostile;
}
