//! The C ABI: the library for everything that can call C. Its documentation is `include/livefeed.h`.
//!
//! Each exported function begins with `Caller::promises`, its only unsafe line: what the header asks of C under
//! "Pointers", once for all functions. From there on pointers are looked at through the `Caller` alone, and all of the body
//! runs in a guard that no panic leaves.
//!
//! The header is made from the files here that hold exported items, in the order of `tests/capi/header.rs`, which says when
//! it is not current, and how to make it anew.
#![allow(non_camel_case_types, reason = "types have the names that they have in C")]
#![deny(unsafe_op_in_unsafe_fn)]
#![allow(
    clippy::missing_safety_doc,
    reason = "the docs are those of the header, which has it once for all functions"
)]
#![warn(clippy::undocumented_unsafe_blocks)]

mod callback;
mod event;
mod feed;
mod fork;
mod log;
mod object;
mod pointers;
mod provider;
mod reading;
mod result;
mod talking;
mod wake;

pub use callback::*;
pub use event::*;
pub use feed::*;
pub use log::*;
pub use object::{livefeed_attempt, livefeed_batch, livefeed_event, livefeed_feed, livefeed_target};
pub use provider::*;
pub use reading::*;
pub use result::*;
pub use talking::*;
pub use wake::*;
