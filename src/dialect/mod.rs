//! What a message means. Pure: no I/O, no threads, no clock.

mod interval;
#[allow(dead_code, reason = "the engine does not take its steps yet")]
mod login;
mod matcher;
#[allow(dead_code, reason = "templates and matchers are built on it")]
mod placeholder;
mod router;
#[allow(dead_code, reason = "the configuration does not check them yet")]
mod rule;
mod scan;
#[allow(dead_code, reason = "the configuration does not check them yet")]
mod template;

pub use interval::Interval;
pub use login::{LoginContext, LoginError, LoginStep};
pub use matcher::{MatchFn, Matcher};
pub(crate) use router::{Class, Hit, Router};
pub use rule::{By, Listed, Rule, RuleKind};
pub(crate) use scan::Pointer;
pub(crate) use template::{FrameVars, Member};
pub use template::{Template, TemplateContext};
