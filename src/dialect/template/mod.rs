//! What is sent: a text or JSON with placeholders, or what a closure makes.

mod batch;
pub(in crate::dialect) mod interval;
pub(crate) mod placeholder;
pub(crate) mod url;

use crate::dialect::captures::value_at;
use crate::dialect::json::pointer::Pointer;
use crate::dialect::matcher::Matcher;
use crate::message::{Content, Message, Payload, Sendable, SubscriptionId};
use crate::panics::caught;
use crate::secret::Secret;
use batch::{batch, check_batches, check_words, each_shared_name, has_batch, has_form, is_text};
use placeholder::{MissingVar, Vars};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Values by name.
pub(crate) type Variables = BTreeMap<String, Value>;

/// What a feed sends: a text or JSON with placeholders, or what a closure makes. Filled in afresh each time,
/// because signatures and timestamps age.
///
/// In data a string is sent as it is, and any other JSON value as compact JSON, with the members of objects
/// sorted by name. Its contents are never shown: `Debug` and serialization give `[redacted]`, for a closure
/// `<closure>`.
///
/// # Placeholders
///
/// `${name}` stands for the value of a variable, `${name|default}` has a value for where there is none, and
/// `$${` is a literal `${`. `${name + 5}` and `${name - 5}`, with the spaces, stand for a whole number so much further
/// on or back; a value that is none counts as missing. A JSON string that is one placeholder and nothing else becomes the value with its
/// type (a number stays a number), and a default that is a number, `true`, `false` or `null` is one: `"${cursor|0}"`
/// becomes `0`. In a longer text the value is put in as text. `{"$text": "${id}"}` is a string in
/// any case, for servers that want `"id": "17"`; as the whole of what is sent it is that text, with no quotes. It may be
/// put together of parts, and a part may be JSON: `{"$text": ["42${id}", {"$json": ["join", "${room}"]}]}` sends
/// `427["join","btc"]`, with what is in `room` escaped as JSON wants it. The names, in the order they are looked up:
///
/// | name | value | where |
/// |---|---|---|
/// | `/pointer` | what the message that is answered has at this JSON pointer | replies |
/// | `name` | the subscription's name | subscriptions |
/// | any | the subscription's variables, then what its acknowledgement bound | subscriptions |
/// | `id` | the number of this frame: it counts up over the feed's life and is never used again | not in replies |
/// | `subscribe_id` | the `id` of the subscription's latest subscribe message on this connection | subscriptions: `unsubscribe`, `probe`, matchers |
/// | `cursor` | how far the subscription's data has come; in the login and the URL, that of the whole feed | subscriptions, the login, the URL |
/// | any | what rules, the login and keepalives captured from this connection, and of what `keep` names from earlier ones | everywhere |
/// | `epoch`, `attempt` | the connection, and the attempt that made it, each counted from 1 | everywhere |
/// | `time_s`, `time_ms`, `time_us` | the wall clock, in whole seconds, milliseconds or microseconds since 1970 | everywhere |
/// | `time_iso` | the same as `2026-11-21T10:00:00.000Z` | everywhere |
///
/// # Batches
///
/// In JSON `{"$each": T}` becomes an array with `T` for each subscription of a batch, and
/// `{"$join": "T.${symbol}", "with": ","}` a string of all of them (`with` is `,` if left out). Outside of them
/// the subscriptions of a batch agree: those whose variables differ there do not share a message. A template with neither
/// is for one subscription, and so is a closure. They are for `subscribe` and `unsubscribe`, and refused where nothing is sent for subscriptions. `{"$text": ["/market/ticker:", {"$join": "${symbol}"}]}` puts texts and joined ones together.
///
/// ```
/// use livefeed::Template;
/// use serde_json::json;
///
/// let trades = Template::json(json!({
///     "method": "SUBSCRIBE", "params": {"$each": "${symbol}@trade"}, "id": "${id}"
/// }));
/// assert_eq!(format!("{trades:?}"), "[redacted]");
/// ```
#[derive(Clone)]
pub struct Template(Form);

#[derive(Clone)]
enum Form {
    Text(Arc<Secret>),
    Json(Arc<Value>),
    Closure(Arc<Make>),
}

type Make = dyn Fn(&TemplateContext) -> Result<Content, String> + Send + Sync;

impl Template {
    /// A text with placeholders.
    pub fn text(text: impl Into<Secret>) -> Self {
        Self(Form::Text(Arc::new(text.into())))
    }

    /// A JSON value with placeholders, sent as compact JSON.
    pub fn json(value: impl Into<Value>) -> Self {
        Self(Form::Json(Arc::new(value.into())))
    }

    /// What the closure returns, text or binary.
    ///
    /// It is called on a livefeed thread, outside all locks. After an error or a panic nothing is sent, and an alert
    /// says so: put no secret into the error.
    pub fn closure<R: Into<Sendable>>(
        make: impl Fn(&TemplateContext) -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        Self(Form::Closure(Arc::new(move |context: &TemplateContext| {
            make(context).map(|made| {
                let Sendable(content) = made.into();
                content
            })
        })))
    }

    /// Whether one message can be for several subscriptions.
    pub(crate) fn is_batchable(&self) -> bool {
        match &self.0 {
            Form::Json(value) => has_batch(value),
            Form::Text(_) | Form::Closure(_) => false,
        }
    }

    /// Whether it is a closure, of which nothing is known.
    pub(crate) fn is_closure(&self) -> bool {
        matches!(self.0, Form::Closure(_))
    }

    /// Whether it may have a placeholder of one of these names; of a closure that can't be told.
    pub(crate) fn may_use(&self, is_meant: impl Fn(&str) -> bool) -> bool {
        let mut uses = self.is_closure();
        self.each_placeholder(&mut |name, _| uses |= is_meant(name));
        uses
    }

    fn is_unclosed(&self) -> bool {
        match &self.0 {
            Form::Text(text) => placeholder::is_unclosed(text.expose()),
            Form::Json(value) => placeholder::is_unclosed_in(value),
            Form::Closure(_) => false,
        }
    }

    /// A number for what members of one batch must have in common: the template, and the member's own values
    /// outside of the batch forms. `None`: not batchable.
    pub(crate) fn batch_group(&self, own: &dyn Vars) -> Option<u64> {
        let Form::Json(value) = &self.0 else { return None };
        if !has_batch(value) {
            return None;
        }
        let mut hasher = DefaultHasher::new();
        value.hash(&mut hasher);
        self.shared(own).hash(&mut hasher);
        Some(hasher.finish())
    }

    /// The values that all members of one message have in common, by the variables of one of them: those that stand
    /// outside of what is filled in for each.
    fn shared(&self, own: &dyn Vars) -> Vec<(String, Value)> {
        let mut shared = Vec::new();
        if let Form::Json(value) = &self.0 {
            each_shared_name(value, &mut |name| {
                shared.extend(own.var(name).map(|value| (name.to_owned(), value)));
            });
        }
        shared
    }

    /// Calls `found` with the name of each placeholder, and whether it has a default.
    pub(crate) fn each_placeholder(&self, found: &mut dyn FnMut(&str, bool)) {
        match &self.0 {
            Form::Text(text) => placeholder::each_name(text.expose(), found),
            Form::Json(value) => placeholder::each_name_in(value, found),
            Form::Closure(_) => {}
        }
    }

    /// The size in bytes, if it is always the same.
    pub(crate) fn fixed_len(&self) -> Option<usize> {
        match &self.0 {
            Form::Text(text) if placeholder::is_plain(text.expose()) => Some(text.len()),
            Form::Json(value) if placeholder::is_plain_value(value) && !has_form(value) => {
                Some(value.to_string().len())
            }
            _ => None,
        }
    }

    /// Checks what the types can't; `known` says whether a variable can have a value here.
    pub(crate) fn check(&self, known: &dyn Fn(&str) -> bool) -> Result<(), String> {
        if let Form::Json(value) = &self.0 {
            check_words(value)?;
            check_batches(value, false)?;
        }
        if self.is_unclosed() {
            return Err("has \"${\" without \"}\": close it, or write \"$${\" for a literal".into());
        }
        let mut problem = None;
        self.each_placeholder(&mut |name, default| {
            let wrong = check_placeholder(name, default, known);
            problem = problem.take().or(wrong);
        });
        problem.map_or(Ok(()), Err)
    }

    /// The same where it is not for subscriptions.
    pub(crate) fn check_single(&self, known: &dyn Fn(&str) -> bool) -> Result<(), String> {
        if self.is_batchable() {
            let problem = "has an \"$each\" or a \"$join\", which stand for the subscriptions of a message, where there are none: \
                           they are for `subscribe` and `unsubscribe`";
            return Err(problem.into());
        }
        self.check(known)
    }

    /// The message for these members; for none, that of the connection alone. The error names what is missing and
    /// shows no values.
    pub(crate) fn render(&self, frame: &FrameVars, members: &[Member]) -> Result<Content, String> {
        self.fill(frame, members, None)
    }

    /// The answer to a message.
    pub(in crate::dialect) fn reply(
        &self,
        frame: &FrameVars,
        message: Payload<'_>,
    ) -> Result<Content, String> {
        self.fill(frame, &[], Some(message))
    }

    fn fill(
        &self,
        frame: &FrameVars,
        members: &[Member],
        message: Option<Payload<'_>>,
    ) -> Result<Content, String> {
        let first = members.first();
        let vars = |member| Scope { frame, member, message };
        let missing = |missing: MissingVar| missing.to_string();
        match &self.0 {
            Form::Text(text) => {
                let text = placeholder::text(text.expose(), &vars(first)).map_err(missing)?;
                Ok(Content::Text(text.into()))
            }
            Form::Json(template) => {
                let all: Vec<_> = members.iter().map(|member| vars(Some(member))).collect();
                match batch(template, &vars(first), &all)? {
                    Value::String(text) if is_text(template) => Ok(Content::Text(text.into())),
                    value => Ok(Content::Text(value.to_string().into())),
                }
            }
            Form::Closure(make) => {
                let context = TemplateContext::new(frame, first, message);
                caught(|| make(&context))
                    .unwrap_or_else(|panic| Err(format!("the closure panicked: {panic}")))
            }
        }
    }
}

impl From<&str> for Template {
    fn from(text: &str) -> Self {
        Self::text(text)
    }
}

impl From<String> for Template {
    fn from(text: String) -> Self {
        Self::text(text)
    }
}

impl From<Value> for Template {
    fn from(value: Value) -> Self {
        Self::json(value)
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.shown())
    }
}

impl Template {
    fn shown(&self) -> &'static str {
        match self.0 {
            Form::Text(_) | Form::Json(_) => "[redacted]",
            Form::Closure(_) => "<closure>",
        }
    }
}

impl Serialize for Template {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.shown())
    }
}

impl<'de> Deserialize<'de> for Template {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::String(text) => Self::text(text),
            value => Self::json(value),
        })
    }
}

/// What a frame is filled in with, whoever it is for.
#[derive(Clone)]
pub(crate) struct FrameVars {
    pub(crate) epoch: u64,
    pub(crate) attempt: u32,
    pub(crate) time: SystemTime,
    /// The frame's number; `None` where it has none.
    pub(crate) id: Option<u64>,
    /// What was captured from this connection.
    pub(crate) captures: Arc<Variables>,
    /// How far the data of the feed has come, where an attempt is made from that.
    pub(crate) cursor: Option<Value>,
}

impl FrameVars {
    /// Those of a connection on which nothing was captured yet, for a frame without a number.
    pub(crate) fn new(epoch: u64, attempt: u32, time: SystemTime) -> Self {
        Self { epoch, attempt, time, id: None, captures: Arc::default(), cursor: None }
    }
}

impl fmt::Debug for FrameVars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was captured may be secret.
        f.debug_struct("FrameVars")
            .field("epoch", &self.epoch)
            .field("attempt", &self.attempt)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl Vars for FrameVars {
    fn var(&self, name: &str) -> Option<Value> {
        let since = || self.time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        if name == "id" {
            return self.id.map(Value::from);
        }
        if name == "cursor" {
            return self.cursor.clone();
        }
        if let Some(value) = self.captures.get(name) {
            return Some(value.clone());
        }
        Some(match name {
            "epoch" => self.epoch.into(),
            "attempt" => self.attempt.into(),
            "time_s" => since().as_secs().into(),
            "time_ms" => whole(since().as_millis()),
            "time_us" => whole(since().as_micros()),
            "time_iso" => humantime::format_rfc3339_millis(self.time).to_string().into(),
            _ => return None,
        })
    }
}

fn whole(number: u128) -> Value {
    u64::try_from(number).unwrap_or(u64::MAX).into()
}

/// Whether a variable is known on every connection, without being captured.
pub(crate) fn is_built_in(name: &str) -> bool {
    matches!(name, "epoch" | "attempt" | "time_s" | "time_ms" | "time_us" | "time_iso")
}

/// Checks a name that the configuration gives to a variable.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    if is_built_in(name) || matches!(name, "id" | "name" | "subscribe_id" | "cursor") {
        return Err(format!("{name:?} means something already: take another name"));
    }
    let fits = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(fits) {
        return Err(format!("{name:?} is no name: take letters, digits, \"_\", \"-\" and \".\""));
    }
    Ok(())
}

/// What is wrong with a placeholder; `known` says whether a variable can have a value here.
pub(crate) fn check_placeholder(name: &str, default: bool, known: &dyn Fn(&str) -> bool) -> Option<String> {
    if name.starts_with('/')
        && let Err(problem) = Pointer::parse(name)
    {
        return Some(format!("${{{name}}} {problem}"));
    }
    let is_error = !default && !known(name);
    is_error.then(|| format!("nothing is known by the name of ${{{name}}}"))
}

/// Checks the placeholders of a matcher; `known` says whether a variable can have a value here.
pub(crate) fn check_matcher(matcher: &Matcher, known: &dyn Fn(&str) -> bool) -> Result<(), String> {
    let mut problem = None;
    matcher.each_placeholder(&mut |name, default| {
        let wrong = check_placeholder(name, default, known);
        problem = problem.take().or(wrong);
    });
    problem.map_or(Ok(()), Err)
}

/// One subscription, as templates see it. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Member {
    pub(crate) name: Option<SubscriptionId>,
    /// The number of its latest subscribe message on this connection.
    pub(crate) frame: Option<u64>,
    pub(crate) vars: Arc<Variables>,
    /// What its acknowledgement bound.
    pub(crate) bound: Arc<Variables>,
    pub(crate) cursor: Option<Value>,
    /// The last message of its data.
    pub(crate) last: Option<Message>,
}

impl Member {
    /// Those of its variables that come before `id`.
    fn own(&self, name: &str) -> Option<Value> {
        if name == "name" {
            return self.name.as_ref().map(|name| name.as_str().into());
        }
        if name == "subscribe_id" {
            return self.frame.map(Value::from);
        }
        self.vars.get(name).or_else(|| self.bound.get(name)).cloned()
    }
}

/// All variables of one member in one frame. Matchers are filled in from it, too.
#[derive(Clone, Copy)]
pub(crate) struct Scope<'a> {
    pub(crate) frame: &'a FrameVars,
    pub(crate) member: Option<&'a Member>,
    /// The message that is answered.
    pub(crate) message: Option<Payload<'a>>,
}

impl Vars for Scope<'_> {
    fn var(&self, name: &str) -> Option<Value> {
        if name.starts_with('/') {
            return value_at(self.message?, &Pointer::parse(name).ok()?);
        }
        if let Some(value) = self.member.and_then(|member| member.own(name)) {
            return Some(value);
        }
        if name == "cursor"
            && let Some(cursor) = self.member.and_then(|member| member.cursor.clone())
        {
            return Some(cursor);
        }
        self.frame.var(name)
    }
}

/// What a closure that makes a message is told.
#[derive(Clone)]
#[non_exhaustive]
pub struct TemplateContext {
    /// The connection it is for, counted from 1.
    pub epoch: u64,
    /// The attempt that made the connection, counted from 1 since the one before.
    pub attempt: u32,
    /// Now, by the wall clock.
    pub time: SystemTime,
    /// The number of this frame, for servers that echo one: it counts up over the feed's life and is never used
    /// again. A reply has none: 0.
    pub id: u64,
    /// The subscription it is for, if it is for one.
    pub name: Option<SubscriptionId>,
    frame: FrameVars,
    member: Option<Member>,
    answered: Option<Content>,
}

impl TemplateContext {
    fn new(frame: &FrameVars, member: Option<&Member>, answered: Option<Payload<'_>>) -> Self {
        Self {
            epoch: frame.epoch,
            attempt: frame.attempt,
            time: frame.time,
            id: frame.id.unwrap_or_default(),
            name: member.and_then(|member| member.name.clone()),
            frame: frame.clone(),
            member: member.cloned(),
            answered: answered.map(|payload| match payload {
                Payload::Text(text) => Content::Text(text.into()),
                Payload::Binary(bytes) => Content::Binary(bytes.to_vec().into()),
            }),
        }
    }

    /// The value of a variable: what `${name}` would stand for.
    pub fn var(&self, name: &str) -> Option<Value> {
        let message = self.answered();
        Scope { frame: &self.frame, member: self.member.as_ref(), message }.var(name)
    }

    /// The last message of the subscription's data, from an earlier connection too; `None` if there was none, and in
    /// what is not sent for a subscription. It is kept for subscriptions with a closure among their templates.
    pub fn last_message(&self) -> Option<&Message> {
        self.member.as_ref()?.last.as_ref()
    }

    /// The message that is answered; in replies only.
    pub fn answered(&self) -> Option<Payload<'_>> {
        self.answered.as_ref().map(Content::payload)
    }
}

impl fmt::Debug for TemplateContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables may be secrets.
        f.debug_struct("TemplateContext")
            .field("epoch", &self.epoch)
            .field("attempt", &self.attempt)
            .field("time", &self.time)
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
