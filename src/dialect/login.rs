//! The login: steps that come before anything else on a connection, and the machine that takes them.

use crate::class::ErrorClass;
use crate::dialect::captures::{self, Wanted};
use crate::dialect::json::pointer::Pointer;
use crate::dialect::matcher::Matcher;
use crate::dialect::rule::check_captures;
use crate::dialect::template::placeholder::Vars;
use crate::dialect::template::{self, FrameVars, Template, TemplateContext, Variables};
use crate::message::{Payload, Sendable};
use crate::panics::caught;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
    /// What is sent first. Default: nothing, for a server that speaks first. What can't be made, because a variable is
    /// not known or a closure fails, ends the attempt as [`LoginFailed`](crate::EndReason::LoginFailed), and is retried.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<Template>,
    /// What is then waited for. Default: nothing.
    ///
    /// Other messages that come meanwhile are looked at after the login. Only what a rule knows as a refusal (`nack`)
    /// of the class `connection_fatal` or `feed_fatal` ends the attempt at once.
    ///
    /// Placeholders are filled in as in `send`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expect: Option<Matcher>,
    /// What the server says if it refuses. It ends the attempt. Default: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refused: Option<Matcher>,
    /// How bad a refusal is. Default: `refused`, which closes a feed that has never been up, and is tried again at the
    /// longest delay by one that has; `feed_fatal` closes either.
    #[serde(default = "refused")]
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

fn refused() -> ErrorClass {
    ErrorClass::Refused
}

impl LoginStep {
    fn new() -> Self {
        Self {
            send: None,
            expect: None,
            refused: None,
            class: ErrorClass::Refused,
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
    /// [`LoginContext::time_left`]. An error ends the attempt as [`LoginFailed`](crate::EndReason::LoginFailed); a panic in
    /// it is one that is worth another attempt.
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
            send.check_single(&known).map_err(|problem| ("send".to_owned(), problem))?;
        } else if self.expect.is_none() {
            return Err((
                "expect".into(),
                "is missing: a step sends something or waits for something".into(),
            ));
        }
        for (field, matcher) in [("expect", &self.expect), ("refused", &self.refused)] {
            if let Some(matcher) = matcher {
                matcher.check().map_err(|(inner, problem)| (format!("{field}.{inner}"), problem))?;
                template::check_matcher(matcher, &known).map_err(|problem| (field.to_owned(), problem))?;
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

impl LoginFn {
    /// Calls it; a panic is an error that is worth another attempt.
    pub(crate) fn call(&self, context: &mut LoginContext) -> Result<(), LoginError> {
        caught(|| (self.0)(context))
            .unwrap_or_else(|panic| Err(LoginError::retry(format!("the closure panicked: {panic}"))))
    }
}

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

/// What the login does next.
#[derive(Debug)]
pub(crate) enum Next<'a> {
    /// Send this, filled in from [`Login::frame`], then say [`Login::handle_sent`].
    Send(&'a Template),
    /// Call this with [`Login::context`], then say [`Login::handle_called`].
    Call(&'a LoginFn),
    /// Wait for the server's next message.
    Wait,
    /// The feed is logged in.
    Done,
    /// A placeholder of a matcher can't be filled in.
    Failed(&'a str),
}

/// What a message is to the login.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It was waited for.
    Taken,
    NotMine,
    /// The server refuses.
    Refused {
        class: ErrorClass,
        detail: String,
    },
}

/// The steps of one login, as they are taken.
///
/// `next` says what to do until it says `Wait`; each message then goes to `handle_message`, and `next` is asked again
/// before the next message.
pub(crate) struct Login {
    steps: Arc<[LoginStep]>,
    at: usize,
    state: Step,
    frame: FrameVars,
    panicked: Option<String>,
    /// What was to be captured and was not there: the name, and the step and the pointer in words.
    unfound: Vec<(String, String)>,
}

/// How far the present step is.
enum Step {
    /// It has to send, or to be called.
    Due,
    Waiting {
        expect: Matcher,
        refused: Option<Matcher>,
    },
    Failed(String),
}

impl Login {
    /// Before the first step, with what is known from earlier connections.
    pub(crate) fn new(steps: Arc<[LoginStep]>, frame: FrameVars) -> Self {
        let mut login = Self { steps, at: 0, state: Step::Due, frame, panicked: None, unfound: Vec::new() };
        login.begin_step();
        login
    }

    /// The variables of the frame that is about to be sent, with this number.
    pub(crate) fn frame(&mut self, id: u64, now: SystemTime) -> &FrameVars {
        self.frame.id = Some(id);
        self.frame.time = now;
        &self.frame
    }

    /// What was to be sent is written.
    pub(crate) fn handle_sent(&mut self) {
        if matches!(self.next(), Next::Send(_)) {
            self.wait_or_go_on();
        }
    }

    /// The closure has returned, without an error.
    pub(crate) fn handle_called(&mut self, context: LoginContext) {
        if matches!(self.next(), Next::Call(_)) {
            Arc::make_mut(&mut self.frame.captures).extend(context.set);
            self.go_on();
        }
    }

    /// A message came.
    pub(crate) fn handle_message(&mut self, message: Payload<'_>) -> Verdict {
        let (Some(step), Step::Waiting { expect, refused }) = (self.steps.get(self.at), &self.state) else {
            return Verdict::NotMine;
        };
        let mut meets = |matcher: &Matcher| {
            caught(|| matcher.matches(message)).unwrap_or_else(|panic| {
                self.panicked.get_or_insert(panic);
                false
            })
        };
        if refused.as_ref().is_some_and(&mut meets) {
            let pointer = step.detail.as_deref().and_then(|pointer| Pointer::parse(pointer).ok());
            let detail = pointer.map_or_else(String::new, |pointer| captures::detail(message, &pointer));
            return Verdict::Refused { class: step.class, detail };
        }
        if !meets(expect) {
            return Verdict::NotMine;
        }
        let wanted = Wanted::new(&step.capture);
        let found = wanted.find(message);
        for (name, pointer) in wanted.unfound(&found) {
            let words = format!("login[{}].capture.{name} found nothing at {pointer}", self.at);
            self.unfound.push((name.to_string(), words));
        }
        captures::keep(&mut self.frame.captures, &found);
        self.go_on();
        Verdict::Taken
    }

    fn go_on(&mut self) {
        self.at += 1;
        self.state = Step::Due;
        self.begin_step();
    }

    /// A step that neither sends nor calls begins with waiting.
    fn begin_step(&mut self) {
        if self.steps.get(self.at).is_some_and(|step| step.send.is_none() && step.call.is_none()) {
            self.wait_or_go_on();
        }
    }

    fn wait_or_go_on(&mut self) {
        let Some(step) = self.steps.get(self.at) else { return };
        let Some(expect) = &step.expect else {
            self.go_on();
            return;
        };
        let refused = step.refused.as_ref().map(|matcher| matcher.render(&self.frame)).transpose();
        self.state = match (expect.render(&self.frame), refused) {
            (Ok(expect), Ok(refused)) => Step::Waiting { expect, refused },
            (Err(missing), _) | (_, Err(missing)) => Step::Failed(missing.to_string()),
        };
    }

    /// What went wrong in the present step, in words: which step it is, and whether an earlier one did not find what is
    /// missing.
    pub(crate) fn explain(&self, problem: &str) -> String {
        let missing = |name: &str| problem.contains(&format!("${{{name}}}"));
        let why = self.unfound.iter().find(|(name, _)| missing(name));
        let why = why.map_or_else(String::new, |(_, words)| format!(": {words}"));
        format!("login[{}]: {problem}{why}", self.at)
    }

    /// What it waits for when time is up; so many messages came that belong to no step.
    pub(crate) fn waiting(&self, others: usize) -> String {
        format!("login[{}] did not get what it expects; other messages that came: {others}", self.at)
    }

    /// What a matcher said that panicked, once.
    pub(crate) fn take_panic(&mut self) -> Option<String> {
        self.panicked.take()
    }

    /// What to do now.
    pub(crate) fn next(&self) -> Next<'_> {
        match (self.steps.get(self.at), &self.state) {
            (None, _) => Next::Done,
            (_, Step::Failed(detail)) => Next::Failed(detail),
            (_, Step::Waiting { .. }) => Next::Wait,
            (Some(LoginStep { call: Some(call), .. }), Step::Due) => Next::Call(call),
            (Some(LoginStep { send: Some(send), .. }), Step::Due) => Next::Send(send),
            (Some(_), Step::Due) => Next::Wait,
        }
    }

    /// What a closure is called with.
    pub(crate) fn context(&self, time_left: Duration) -> LoginContext {
        LoginContext {
            epoch: self.frame.epoch,
            attempt: self.frame.attempt,
            time_left,
            frame: self.frame.clone(),
            set: Variables::new(),
        }
    }

    /// What was captured and set so far.
    pub(crate) fn captures(&self) -> &Arc<Variables> {
        &self.frame.captures
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("at", &self.at).finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "login_tests.rs"]
mod tests;
