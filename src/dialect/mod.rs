//! What a message means. Pure: no I/O, no threads, no clock.

mod answer;
mod by;
mod captures;
mod change;
mod codec;
mod custom;
mod interpreter;
mod json;
mod login;
mod matcher;
mod observe;
mod router;
mod rule;
mod sequence;
mod template;

pub(crate) use answer::{Answer, Answered};
pub use by::{By, Listed};
pub(crate) use captures::{Found, Unfound, cursor_at};
pub(crate) use change::Change;
pub(crate) use codec::Chain;
pub use codec::Codec;
pub use custom::{About, Dialect, ReadItem, Readout};
pub(crate) use interpreter::{AboutOwned, Class, Control, Interpreter, Reading};
pub(crate) use json::place::Place;
pub(crate) use login::{Login, Next as LoginNext, Verdict as LoginVerdict};
pub use login::{LoginContext, LoginError, LoginStep};
pub use matcher::{MatchFn, Matcher};
pub(crate) use observe::observer::Observer;
pub use observe::{FrozenRule, LagRule, TimeUnit};
#[allow(unused_imports, reason = "the bench of classification reaches for them")]
pub(crate) use router::{Hit, Owner, Router};
pub use rule::{Rule, RuleKind};
pub(crate) use sequence::tracker::{Seq, Tracker};
pub use sequence::{SequenceFn, SequenceNumbers, SequenceRule, Sequenced};
pub use template::interval::Interval;
pub(crate) use template::{FrameVars, Member, Scope, Variables, check_name, is_built_in};
pub use template::{Template, TemplateContext};
pub(crate) use template::{placeholder, url};
