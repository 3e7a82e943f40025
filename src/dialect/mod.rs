//! What a message means. Pure: no I/O, no threads, no clock.

#[allow(dead_code, reason = "the reader will use it")]
mod codec;
mod custom;
mod elements;
mod matcher;
mod place;
#[allow(dead_code, reason = "templates and matchers are built on it")]
mod placeholder;
mod router;
mod scan;
mod sequence;
#[allow(dead_code, reason = "the reader will use it")]
mod tracker;

pub use codec::Codec;
#[allow(unused_imports, reason = "the reader will use it")]
pub(crate) use codec::{Chain, CodecError};
pub use custom::{About, Dialect, ReadItem, Readout};
pub use matcher::{MatchFn, Matcher};
pub(crate) use router::{Class, Hit, Router};
pub use sequence::{SequenceFn, SequenceNumbers, SequenceRule, Sequenced};
#[allow(unused_imports, reason = "the reader will use it")]
pub(crate) use tracker::{Seq, Tracker};
