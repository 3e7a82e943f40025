//! The login: steps that come before anything else on a connection, and the machine that takes them.

use super::matcher::Matcher;
use super::placeholder::Vars;
use super::rule::check_captures;
use super::scan::Pointer;
use super::template::{self, FrameVars, Template, TemplateContext, Variables};
use crate::class::ErrorClass;
use crate::message::Sendable;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// One step of a login. It sends something, then waits for what it expects; either may be left out.
///
/// The steps are taken in order, within the budget of the attempt (`connect.timeout`), before the feed counts as
/// connected and before anything else is sent.
///
/// ```
/// use livefeed::{LoginStep, Matcher};
/// use serde_json::json;
///
/// let login = [
///     LoginStep::expect(Matcher::pointer("/type", "auth_required")),
///     LoginStep::send_json(json!({"type": "auth", "access_token": "hunter2"}))
///         .expecting(Matcher::pointer("/type", "auth_ok"))
///         .refused(Matcher::pointer("/type", "auth_invalid"))
///         .detail("/message"),
/// ];
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct LoginStep {
    /// What is sent first. Default: nothing, for a server that speaks first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<Template>,
    /// What is then waited for. Other messages that come meanwhile change nothing. Default: nothing.
    ///
    /// Placeholders are filled in as in `send`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Matcher>,
    /// What the server says if it refuses. It ends the attempt. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Matcher>,
    /// How bad a refusal is. Default: `feed_fatal`.
    #[serde(default = "feed_fatal")]
    pub class: ErrorClass,
    /// The JSON pointer of the server's own words in a refusal. Up to 200 characters of them appear in events and
    /// logs. Default: none are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Variables to take from the message that was expected: a name, and the JSON pointer of its value. They are known
    /// in all templates until the connection ends. A value over 4 KiB is left alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capture: BTreeMap<String, String>,
    /// A closure in place of all that.
    #[serde(default, skip_deserializing, rename = "call", skip_serializing_if = "Option::is_none")]
    pub(crate) call: Option<LoginFn>,
}

fn feed_fatal() -> ErrorClass {
    ErrorClass::FeedFatal
}

impl LoginStep {
    fn new() -> Self {
        Self {
            send: None,
            expect: None,
            refused: None,
            class: ErrorClass::FeedFatal,
            detail: None,
            capture: BTreeMap::new(),
            call: None,
        }
    }

    /// Waits for the server to say this.
    pub fn expect(matcher: Matcher) -> Self {
        Self { expect: Some(matcher), ..Self::new() }
    }

    /// Sends this.
    pub fn send(template: Template) -> Self {
        Self { send: Some(template), ..Self::new() }
    }

    /// Sends this text.
    pub fn send_text(text: impl Into<Secret>) -> Self {
        Self::send(Template::text(text))
    }

    /// Sends this value as compact JSON.
    pub fn send_json(value: impl Into<Value>) -> Self {
        Self::send(Template::json(value))
    }

    /// Sends what the closure returns: for signatures.
    pub fn send_with<R: Into<Sendable>>(
        make: impl Fn(&TemplateContext) -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        Self::send(Template::closure(make))
    }

    /// Calls the closure, which may block (to fetch a token, say) and set variables. Can't be expressed in data;
    /// serialized it is the string `<closure>`.
    ///
    /// It is called on the reader thread, outside all locks, and can't be interrupted: it should keep within
    /// [`LoginContext::time_left`]. A panic in it is an error that is worth another attempt.
    pub fn call(call: impl Fn(&mut LoginContext) -> Result<(), LoginError> + Send + Sync + 'static) -> Self {
        Self { call: Some(LoginFn(Arc::new(call))), ..Self::new() }
    }

    /// Then waits for the server to say this.
    pub fn expecting(mut self, matcher: Matcher) -> Self {
        self.expect = Some(matcher);
        self
    }

    /// Sets what the server says if it refuses.
    pub fn refused(mut self, matcher: Matcher) -> Self {
        self.refused = Some(matcher);
        self
    }

    /// Sets how bad a refusal is.
    pub fn class(mut self, class: ErrorClass) -> Self {
        self.class = class;
        self
    }

    /// Sets where the server's own words are in a refusal.
    pub fn detail(mut self, pointer: impl Into<String>) -> Self {
        self.detail = Some(pointer.into());
        self
    }

    /// Keeps the value at a JSON pointer of the expected message as a variable of the connection.
    pub fn capture(mut self, name: impl Into<String>, pointer: impl Into<String>) -> Self {
        self.capture.insert(name.into(), pointer.into());
        self
    }

    /// Checks what the types can't; `known` says whether a variable of the connection can be known. The error names
    /// the field, by its path in the step, and says what would be right.
    pub(crate) fn check(&self, known: &dyn Fn(&str) -> bool) -> Result<(), (String, String)> {
        if self.call.is_some() {
            return Ok(());
        }
        let known = |name: &str| name == "id" || template::is_built_in(name) || known(name);
        if let Some(send) = &self.send {
            send.check(&known).map_err(|problem| ("send".to_owned(), problem))?;
        } else if self.expect.is_none() {
            return Err((
                "expect".into(),
                "is missing: a step sends something or waits for something".into(),
            ));
        }
        for (field, matcher) in [("expect", &self.expect), ("refused", &self.refused)] {
            if let Some(matcher) = matcher {
                matcher.check().map_err(|(inner, problem)| (format!("{field}.{inner}"), problem))?;
            }
        }
        if self.expect.is_none() {
            for (field, set) in [("refused", self.refused.is_some()), ("capture", !self.capture.is_empty())] {
                if set {
                    return Err((field.into(), "is for a step that expects something".into()));
                }
            }
        }
        check_captures("capture", &self.capture)?;
        if let Some(detail) = &self.detail {
            Pointer::parse(detail).map_err(|problem| ("detail".to_owned(), problem))?;
        }
        Ok(())
    }
}

type Call = dyn Fn(&mut LoginContext) -> Result<(), LoginError> + Send + Sync;

/// The closure of a step.
#[derive(Clone)]
pub(crate) struct LoginFn(Arc<Call>);

impl fmt::Debug for LoginFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<closure>")
    }
}

impl Serialize for LoginFn {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("<closure>")
    }
}

/// What the closure of a [`LoginStep`] is told, and where it leaves what it learnt.
#[derive(Clone)]
#[non_exhaustive]
pub struct LoginContext {
    /// The connection that is logged in, counted from 1.
    pub epoch: u64,
    /// The attempt that made it, counted from 1 since the connection before.
    pub attempt: u32,
    /// What is left of the attempt's budget.
    pub time_left: Duration,
    frame: FrameVars,
    set: Variables,
}

impl LoginContext {
    /// The value of a variable of the connection, such as an earlier step captured.
    pub fn var(&self, name: &str) -> Option<Value> {
        self.set.get(name).cloned().or_else(|| self.frame.var(name))
    }

    /// Sets a variable of the connection: `${name}` in templates. Its value is not bounded.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.set.insert(name.into(), value.into());
    }
}

impl fmt::Debug for LoginContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables may be secrets.
        f.debug_struct("LoginContext")
            .field("epoch", &self.epoch)
            .field("attempt", &self.attempt)
            .field("time_left", &self.time_left)
            .finish_non_exhaustive()
    }
}

/// Why a login failed.
///
/// The text appears in events and logs: put no secret into it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginError {
    class: ErrorClass,
    text: String,
}

impl LoginError {
    /// An error that is as bad as this.
    pub fn new(class: ErrorClass, text: impl Into<String>) -> Self {
        Self { class, text: text.into() }
    }

    /// It may work later: the feed tries again after a delay.
    pub fn retry(text: impl Into<String>) -> Self {
        Self::new(ErrorClass::RetryLater, text)
    }

    /// It will not work: the feed closes.
    pub fn fatal(text: impl Into<String>) -> Self {
        Self::new(ErrorClass::FeedFatal, text)
    }

    /// How bad it is.
    pub fn class(&self) -> ErrorClass {
        self.class
    }
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for LoginError {}
