//! What a message means. Pure: no I/O, no threads, no clock.

mod block;
mod captures;
mod classify;
mod codec;
mod conditions;
mod contains;
mod cursor;
mod custom;
mod elements;
mod evaluate;
mod interpreter;
mod interval;
mod login;
mod matcher;
mod matcher_form;
mod pass;
mod place;
pub(crate) mod placeholder;
mod pointer;
mod router;
mod rule;
mod scalar;
mod scan;
mod sequence;
mod shape;
mod slab;
mod template;
mod tracker;
mod trie;

pub(crate) use captures::{Found, value_at};
pub(crate) use codec::Chain;
pub use codec::Codec;
pub use custom::{About, Dialect, ReadItem, Readout};
pub(crate) use interpreter::{AboutOwned, Change, Class, Control, Interpreter, Reading};
pub use interval::Interval;
pub(crate) use login::{Login, Next as LoginNext, Verdict as LoginVerdict};
pub use login::{LoginContext, LoginError, LoginStep};
pub use matcher::{MatchFn, Matcher};
pub(crate) use pointer::Pointer;
#[allow(unused_imports, reason = "the bench of classification reaches for them")]
pub(crate) use router::{Hit, Owner, Router};
pub use rule::{By, Listed, Rule, RuleKind};
pub use sequence::{SequenceFn, SequenceNumbers, SequenceRule, Sequenced};
pub(crate) use template::{FrameVars, Member, Scope, Variables, check_name, is_built_in};
pub use template::{Template, TemplateContext};
pub(crate) use tracker::{Seq, Tracker};

#[cfg(test)]
mod hostile_tests;
