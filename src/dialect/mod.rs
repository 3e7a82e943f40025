//! What a message means. Pure: no I/O, no threads, no clock.

mod captures;
mod codec;
mod contains;
mod cursor;
mod custom;
mod elements;
mod interpreter;
mod interval;
mod login;
mod matcher;
mod matcher_form;
mod place;
pub(crate) mod placeholder;
mod pointer;
mod router;
mod rule;
mod scalar;
mod scan;
mod sequence;
mod template;
mod tracker;

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
pub use rule::{By, Listed, Rule, RuleKind};
pub use sequence::{SequenceFn, SequenceNumbers, SequenceRule, Sequenced};
pub(crate) use template::{FrameVars, Member, Scope, Variables};
pub use template::{Template, TemplateContext};
pub(crate) use tracker::{Seq, Tracker};
