//! What the server's control messages mean, said as data: how one is recognised, what it is, whom it is about.

use crate::class::{ErrorClass, NoticeAction};
use crate::dialect::by::{By, Listed};
use crate::dialect::json::pointer::Pointer;
use crate::dialect::matcher::Matcher;
use crate::dialect::template::interval::Interval;
use crate::dialect::template::{self, Template, TemplateContext};
use crate::duration;
use crate::message::Sendable;
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

/// What times there may be.
const TIMES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(365 * 86_400);

/// Says what a message of the server means. The first rule of a feed whose `when` a message meets decides; what
/// meets none is data, and so is what meets a rule that says so ([`RuleKind::Data`]).
///
/// ```
/// use livefeed::{ErrorClass, Matcher, Rule};
///
/// let rules = [
///     Rule::ack(Matcher::pointer("/type", "subscribed")).by_id("/id").bind("channel", "/channel_id"),
///     Rule::nack(Matcher::pointer("/type", "error")).by_id("/id").class(ErrorClass::RetryLater).detail("/message"),
///     Rule::heartbeat(Matcher::pointer("/type", "ping")).reply_json(serde_json::json!({"pong": "${/ts}"})),
/// ];
/// let same: Rule = serde_json::from_str(
///     r#"{"when": {"pointer": "/type", "equals": "ping"}, "is": "heartbeat", "reply": {"pong": "${/ts}"}}"#,
/// )?;
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Rule {
    /// The messages it is about. Without placeholders.
    pub when: Matcher,
    /// What they are.
    pub is: RuleKind,
    /// Whom they are about. `keepalive` and `ended` must have it, and so must `nack`, unless its class is
    /// `connection_fatal` or `feed_fatal`. Default for `ack`: the oldest subscription that waits for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// How bad it is, for `nack` and `ended`. Default: `refused` for a nack, `retry_later` for an end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<ErrorClass>,
    /// How long the server may say nothing at most, for `heartbeat`: so long without a message of any kind, data or not,
    /// and the connection is given up ([`EndReason::HeartbeatOverdue`](crate::EndReason::HeartbeatOverdue)). WebSocket pings and pongs are no messages,
    /// nor is a message whose end has not come: let it be more than the largest takes.
    /// From 1 ms to 365 days. May be a text with what the login captured, also the sum of two: `"${keepalive_timeout}s 5s"`. Of
    /// several rules the shortest holds. Default: any time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub within: Option<Interval>,
    /// When to try again at the earliest, for the class `retry_later`. From 1 ms to 365 days. Default: the feed's
    /// own delays.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "duration::option")]
    pub retry_after: Option<Duration>,
    /// What is done, for a notice, which must have it. In data the field is `do`.
    #[serde(rename = "do", default, skip_serializing_if = "Option::is_none")]
    pub action: Option<NoticeAction>,
    /// Variables of the connection: a name, and the JSON pointer of its value in the message. They are known in
    /// all templates until the connection ends (with `*`, the first that is found), in the order of the stream: from the next message on; and after that, if
    /// `keep` of the feed names them. A value over 4 KiB is left alone, and so is a variable whose value is not there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub capture: BTreeMap<String, String>,
    /// Variables of the subscriptions that an acknowledgement is about, in the same form: for a key that the server
    /// chooses, and that its data then carries. Forgotten when the connection ends, unless `keep` of the feed names it. What is
    /// bound as `cursor` is where the subscription is until its data says otherwise.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bind: BTreeMap<String, String>,
    /// What is sent in answer, before all that can wait. `${/pointer}` stands for a value of the message. Not for
    /// `${id}`, which answers do not have. An answer that still waits to be written gives way to a newer one of the same rule, but
    /// to data each message has an answer of its own: those may take `limits.send_bytes` while they wait; a server that
    /// takes none ends the connection by that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply: Option<Template>,
    /// For an acknowledgement: what it looks like if the server has sent, or will send, all that was missed since the
    /// subscription was last in force, so that nothing is lost. Shown as `resumed` of [`Subscribed`](crate::Subscribed). Without placeholders.
    /// Default: the server does not say that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumed: Option<Matcher>,
    /// Whether these messages reach the application, too, for there is data in them: as messages of the subscriptions
    /// that an acknowledgement confirms, or that are found by a matcher. They do not count as data. Default: `false`, as
    /// `deliver_control` and `deliver_heartbeats` say.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deliver: bool,
    /// The JSON pointer of the server's own words; with `*`, the first that are found. Up to 200 characters of them appear in events and logs. Default:
    /// none are shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

/// What a message is, by a [`Rule`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RuleKind {
    /// The server is alive. No data.
    Heartbeat,
    /// The subscriptions named by `by` are alive, though there is no data: it counts for their freshness.
    Keepalive,
    /// Subscriptions are confirmed.
    Ack,
    /// Subscriptions are refused.
    Nack,
    /// Subscriptions that were in force are so no longer. One that still waits for its answer is refused by it.
    Ended,
    /// The server announces something; see [`Rule::action`].
    Notice,
    /// Nothing: it is neither data nor anything else.
    Ignored,
    /// Data, that calls for something at once besides. It goes to the application and to its subscriptions like any other,
    /// in its place, and counts for their freshness; `capture` and `reply` apply, also where it is nobody's data. The
    /// reply goes out once the message is in the queue: it says that it was received, not that it was handled.
    /// Each such message costs a turn of the feed's lock, where other data costs one for all that a `recv` brings; a
    /// rule with neither `capture` nor `reply` costs nothing, and is of use in front of rules that are less exact.
    Data,
}

impl RuleKind {
    /// The name in configuration, JSON and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Heartbeat => "heartbeat",
            Self::Keepalive => "keepalive",
            Self::Ack => "ack",
            Self::Nack => "nack",
            Self::Ended => "ended",
            Self::Notice => "notice",
            Self::Ignored => "ignored",
            Self::Data => "data",
        }
    }
}

impl Rule {
    fn new(when: Matcher, is: RuleKind) -> Self {
        Self {
            when,
            is,
            by: None,
            class: None,
            within: None,
            retry_after: None,
            action: None,
            capture: BTreeMap::new(),
            bind: BTreeMap::new(),
            reply: None,
            resumed: None,
            deliver: false,
            detail: None,
        }
    }

    /// These messages are heartbeats.
    pub fn heartbeat(when: Matcher) -> Self {
        Self::new(when, RuleKind::Heartbeat)
    }

    /// These messages are heartbeats of subscriptions: of those found by [`by_match`](Self::by_match), or of all, by
    /// [`by_all`](Self::by_all). One of the two must be said.
    pub fn keepalive(when: Matcher) -> Self {
        Self::new(when, RuleKind::Keepalive)
    }

    /// These messages confirm subscriptions.
    pub fn ack(when: Matcher) -> Self {
        Self::new(when, RuleKind::Ack)
    }

    /// These messages refuse subscriptions. Whom must be said, by [`by_id`](Self::by_id) or another, unless they are the
    /// end of the connection or of the feed: [`class`](Self::class).
    pub fn nack(when: Matcher) -> Self {
        Self::new(when, RuleKind::Nack)
    }

    /// These messages end subscriptions that were in force. Whom must be said, by [`by_match`](Self::by_match) or another.
    pub fn ended(when: Matcher) -> Self {
        Self::new(when, RuleKind::Ended)
    }

    /// These messages announce something.
    pub fn notice(when: Matcher, action: NoticeAction) -> Self {
        Self { action: Some(action), ..Self::new(when, RuleKind::Notice) }
    }

    /// These messages mean nothing.
    pub fn ignored(when: Matcher) -> Self {
        Self::new(when, RuleKind::Ignored)
    }

    /// These messages are data, and call for something besides: a [`reply`](Self::reply), a
    /// [`capture`](Self::capture).
    pub fn data(when: Matcher) -> Self {
        Self::new(when, RuleKind::Data)
    }

    /// Sets whom the messages are about.
    pub fn by(mut self, by: By) -> Self {
        self.by = Some(by);
        self
    }

    /// They are about the frame whose number stands at this JSON pointer.
    pub fn by_id(self, pointer: impl Into<String>) -> Self {
        self.by(By::Id(pointer.into()))
    }

    /// They are about the subscriptions that fill in this matcher so that it is met.
    pub fn by_match(self, matcher: Matcher) -> Self {
        self.by(By::Match(matcher))
    }

    /// They list the topics that are subscribed.
    pub fn by_listed(self, listed: Listed) -> Self {
        self.by(By::Listed(listed))
    }

    /// They are about the subscription that has waited longest.
    pub fn by_oldest(self) -> Self {
        self.by(By::Oldest)
    }

    /// They are about all subscriptions; see [`By::All`].
    pub fn by_all(self) -> Self {
        self.by(By::All)
    }

    /// Sets how bad it is.
    pub fn class(mut self, class: ErrorClass) -> Self {
        self.class = Some(class);
        self
    }

    /// Sets how long the server may say nothing at most, for heartbeats.
    pub fn within(mut self, limit: impl Into<Interval>) -> Self {
        self.within = Some(limit.into());
        self
    }

    /// Sets when to try again at the earliest.
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.retry_after = Some(delay);
        self
    }

    /// Keeps the value at a JSON pointer as a variable of the connection.
    pub fn capture(mut self, name: impl Into<String>, pointer: impl Into<String>) -> Self {
        self.capture.insert(name.into(), pointer.into());
        self
    }

    /// Keeps the value at a JSON pointer as a variable of the subscriptions.
    pub fn bind(mut self, name: impl Into<String>, pointer: impl Into<String>) -> Self {
        self.bind.insert(name.into(), pointer.into());
        self
    }

    /// Answers with this.
    pub fn reply(mut self, template: Template) -> Self {
        self.reply = Some(template);
        self
    }

    /// Answers with this text.
    pub fn reply_text(self, text: impl Into<Secret>) -> Self {
        self.reply(Template::text(text))
    }

    /// Answers with this value as compact JSON.
    pub fn reply_json(self, value: impl Into<Value>) -> Self {
        self.reply(Template::json(value))
    }

    /// Answers with what the closure returns. It is called on the reader thread, outside all locks.
    pub fn reply_with<R: Into<Sendable>>(
        self,
        make: impl Fn(&TemplateContext) -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        self.reply(Template::closure(make))
    }

    /// Sets what an acknowledgement looks like by which nothing was missed.
    pub fn resumed(mut self, matcher: Matcher) -> Self {
        self.resumed = Some(matcher);
        self
    }

    /// Has the application get these messages, too.
    pub fn deliver(mut self) -> Self {
        self.deliver = true;
        self
    }

    /// Sets where the server's own words are.
    pub fn detail(mut self, pointer: impl Into<String>) -> Self {
        self.detail = Some(pointer.into());
        self
    }

    /// Checks what the types can't. `connection` says whether a variable of the connection can be known,
    /// `subscription` the same of one of a subscription. The error names the field, by its path in the rule, and
    /// says what would be right.
    pub(crate) fn check(
        &self,
        connection: &dyn Fn(&str) -> bool,
        subscription: &dyn Fn(&str) -> bool,
    ) -> Result<(), (String, String)> {
        self.when.check().map_err(|(field, problem)| (format!("when.{field}"), problem))?;
        if !self.when.is_plain() {
            let problem = "has a placeholder, which nothing fills in here: \"by\" may have some";
            return Err(("when".into(), problem.into()));
        }
        self.check_fields().map_err(|(field, problem)| (field.to_owned(), problem))?;
        if let Some(by) = &self.by {
            let known = |name: &str| {
                matches!(name, "id" | "name" | "subscribe_id")
                    || template::is_built_in(name)
                    || connection(name)
                    || subscription(name)
            };
            by.check(&known).map_err(|(field, problem)| (format!("by{field}"), problem))?;
        }
        if let Some(resumed) = &self.resumed {
            resumed.check().map_err(|(field, problem)| (format!("resumed.{field}"), problem))?;
            if !resumed.is_plain() {
                let problem = "has a placeholder, which nothing fills in here: write what the message has";
                return Err(("resumed".into(), problem.into()));
            }
        }
        for (field, captures) in [("capture", &self.capture), ("bind", &self.bind)] {
            check_captures(field, captures)?;
        }
        if let Some(detail) = &self.detail {
            Pointer::parse(detail).map_err(|problem| ("detail".to_owned(), problem))?;
        }
        if let Some(reply) = &self.reply {
            let known = |name: &str| {
                name.starts_with('/') || (name != "id" && (template::is_built_in(name) || connection(name)))
            };
            reply.check_single(&known).map_err(|mut problem| {
                if problem.ends_with("${id}") {
                    problem += ": an answer has no number of its own";
                }
                ("reply".to_owned(), problem)
            })?;
        }
        Ok(())
    }

    /// The rules that find their subscriptions by a matcher, by their index.
    pub(crate) fn all_by_match(rules: &[Self]) -> Vec<(u32, Matcher)> {
        let by = (0..).zip(rules).filter_map(|(index, rule)| match &rule.by {
            Some(By::Match(matcher)) => Some((index, matcher.clone())),
            _ => None,
        });
        by.collect()
    }

    /// Whether the kind has use for the fields that are set.
    fn check_fields(&self) -> Result<(), (&'static str, String)> {
        use RuleKind::{Ack, Ended, Heartbeat, Ignored, Keepalive, Nack, Notice};
        let kind = self.is;
        let only = |field, set: bool, kinds: &[RuleKind]| {
            if !set || kinds.contains(&kind) {
                return Ok(());
            }
            let names: Vec<_> = kinds.iter().map(|kind| kind.name()).collect();
            let names = names.join(", ");
            Err((field, format!("means nothing for a rule of the kind {}: it is for {names}", kind.name())))
        };
        only("by", self.by.is_some(), &[Ack, Nack, Ended, Keepalive])?;
        only("class", self.class.is_some(), &[Nack, Ended])?;
        only("within", self.within.is_some(), &[Heartbeat])?;
        only("retry_after", self.retry_after.is_some(), &[Nack, Ended])?;
        only("do", self.action.is_some(), &[Notice])?;
        only("deliver", self.deliver, &[Heartbeat, Keepalive, Ack, Nack, Ended, Notice, Ignored])?;
        only("resumed", self.resumed.is_some(), &[Ack])?;
        only("bind", !self.bind.is_empty(), &[Ack])?;
        only("detail", self.detail.is_some(), &[Ack, Nack, Ended, Notice])?;
        if kind == Notice && self.action.is_none() {
            return Err(("do", "is missing: say what a notice calls for, such as \"reconnect\"".into()));
        }
        let of_feed = matches!(self.effective_class(), ErrorClass::ConnectionFatal | ErrorClass::FeedFatal);
        let choice = match kind {
            Keepalive => Some("{\"match\": ..} or \"all\""),
            Ended => Some("{\"id\": ..}, {\"match\": ..}, {\"listed\": ..} or \"all\""),
            Nack if !of_feed => {
                Some("{\"id\": ..}, {\"match\": ..}, {\"listed\": ..}, \"oldest\" or \"all\"")
            }
            _ => None,
        };
        if let (None, Some(choice)) = (&self.by, choice) {
            return Err(("by", format!("is missing: say whom, by {choice}")));
        }
        if kind == Keepalive && !matches!(self.by, None | Some(By::Match(_) | By::All)) {
            return Err(("by", "must be {\"match\": ..} or \"all\" for a keepalive".into()));
        }
        if matches!((kind, &self.by), (Ended, Some(By::Oldest))) {
            return Err(("by", "can't be \"oldest\" for an end, which nothing waits for".into()));
        }
        if self.retry_after.is_some() && self.effective_class() != ErrorClass::RetryLater {
            return Err(("retry_after", "is for the class \"retry_later\" only".into()));
        }
        for (field, time) in
            [("retry_after", self.retry_after), ("do", self.action.as_ref().and_then(NoticeAction::time))]
        {
            if time.is_some_and(|time| !TIMES.contains(&time)) {
                return Err((field, "must be from 1 ms to 365 days".into()));
            }
        }
        if let Some(NoticeAction::GoTo(go_to)) = &self.action {
            Pointer::parse(&go_to.url).map_err(|problem| ("do", problem))?;
            go_to.wrong_host().map_or(Ok(()), |problem| Err(("do", problem)))?;
        }
        Ok(())
    }

    /// The class in force.
    pub(crate) fn effective_class(&self) -> ErrorClass {
        self.class.unwrap_or(match self.is {
            RuleKind::Ended => ErrorClass::RetryLater,
            _ => ErrorClass::Refused,
        })
    }
}

/// Checks the names and pointers of captures.
pub(in crate::dialect) fn check_captures(
    field: &str,
    captures: &BTreeMap<String, String>,
) -> Result<(), (String, String)> {
    for (name, pointer) in captures {
        // An acknowledgement may say where the data begins.
        let is_cursor = field == "bind" && name == "cursor";
        let named = if is_cursor { Ok(()) } else { template::check_name(name) };
        named.map_err(|problem| (field.to_owned(), problem))?;
        Pointer::parse(pointer).map_err(|problem| (format!("{field}.{name}"), problem))?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "rule_tests.rs"]
mod tests;
