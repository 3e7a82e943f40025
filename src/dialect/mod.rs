//! What a message means. Pure: no I/O, no threads, no clock.

mod captures;
mod contains;
mod cursor;
#[allow(dead_code, reason = "the engine reads by it once rules are wired in")]
mod interpreter;
#[allow(dead_code, reason = "the engine takes its steps once it is wired in")]
mod login;
#[allow(dead_code, reason = "the engine renders matchers once rules are wired in")]
mod matcher;
mod matcher_form;
#[allow(dead_code, reason = "templates and matchers are built on it")]
mod placeholder;
#[allow(dead_code, reason = "captures are built on it")]
mod pointer;
#[allow(dead_code, reason = "the engine inserts and removes once rules are wired in")]
mod router;
#[allow(dead_code, reason = "the configuration checks them once it has them")]
mod rule;
#[allow(dead_code, reason = "the router's tables are built on it")]
mod scalar;
mod scan;
#[allow(dead_code, reason = "the configuration checks them once it has them")]
mod template;

#[allow(unused_imports, reason = "the engine reads by it once rules are wired in")]
pub(crate) use interpreter::{AboutOwned, Change, Class, Control, Interpreter, Reading};
#[allow(unused_imports, reason = "the engine takes its steps once it is wired in")]
pub(crate) use login::{Login, Next, Verdict};
pub use login::{LoginContext, LoginError, LoginStep};
pub use matcher::{MatchFn, Matcher};
pub(crate) use router::{Hit, Owner, Router};
pub use rule::{By, Listed, Rule, RuleKind};
#[allow(unused_imports, reason = "the engine fills in matchers once rules are wired in")]
pub(crate) use template::{FrameVars, Member, Scope, Variables};
pub use template::{Template, TemplateContext};
