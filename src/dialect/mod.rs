//! What a message means. Pure: no I/O, no threads, no clock.

mod block;
mod captures;
mod classify;
#[allow(dead_code, reason = "the reader will use it")]
mod codec;
mod conditions;
mod contains;
mod cursor;
mod custom;
mod elements;
mod evaluate;
#[allow(dead_code, reason = "the engine reads by it once rules are wired in")]
mod interpreter;
mod interval;
#[allow(dead_code, reason = "the engine takes its steps once it is wired in")]
mod login;
#[allow(dead_code, reason = "the engine renders matchers once rules are wired in")]
mod matcher;
mod matcher_form;
mod pass;
mod place;
#[allow(dead_code, reason = "templates and matchers are built on it")]
mod placeholder;
#[allow(dead_code, reason = "captures are built on it")]
mod pointer;
#[allow(dead_code, reason = "the engine inserts and removes once rules are wired in")]
mod router;
#[allow(dead_code, reason = "the engine follows them once they are wired in")]
mod rule;
#[allow(dead_code, reason = "the router's tables are built on it")]
mod scalar;
mod scan;
mod sequence;
mod shape;
mod slab;
#[allow(dead_code, reason = "the engine fills in all of it once rules are wired in")]
mod template;
#[allow(dead_code, reason = "the reader will use it")]
mod tracker;
mod trie;

pub use codec::Codec;
#[allow(unused_imports, reason = "the reader will use it")]
pub(crate) use codec::{Chain, CodecError};
pub use custom::{About, Dialect, ReadItem, Readout};
#[allow(unused_imports, reason = "the engine reads by it once rules are wired in")]
pub(crate) use interpreter::{AboutOwned, Change, Class, Control, Interpreter, Reading};
pub use interval::Interval;
#[allow(unused_imports, reason = "the engine takes its steps once it is wired in")]
pub(crate) use login::{Login, Next, Verdict};
pub use login::{LoginContext, LoginError, LoginStep};
pub use matcher::{MatchFn, Matcher};
pub(crate) use pointer::Pointer;
pub(crate) use router::{Hit, Owner, Router};
pub use rule::{By, Listed, Rule, RuleKind};
pub use sequence::{SequenceFn, SequenceNumbers, SequenceRule, Sequenced};
#[allow(unused_imports, reason = "the engine fills in matchers once rules are wired in")]
pub(crate) use template::{FrameVars, Member, Scope, Variables, check_name, is_built_in};
pub use template::{Template, TemplateContext};
#[allow(unused_imports, reason = "the reader will use it")]
pub(crate) use tracker::{Seq, Tracker};
