//! What a message is, by the rules: what the reader asks about each one.

use crate::class::{ErrorClass, NoticeAction};
use crate::dialect::answer::{Answer, Answered, Answers};
use crate::dialect::by::{By, Listed};
use crate::dialect::captures::{self, Found, Unfound, Wanted};
use crate::dialect::change::Change;
use crate::dialect::json::pointer::Pointer;
use crate::dialect::json::scan;
use crate::dialect::matcher::Matcher;
use crate::dialect::router::{Hit, Owner, Router};
use crate::dialect::rule::{Rule, RuleKind};
use crate::dialect::template::{FrameVars, Template, Variables};
use crate::message::{Content, Names, Payload, SubscriptionId};
use crate::panics::caught;
use crate::secret::Secret;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// Of what one message lists so much is looked at.
const MAX_LISTED: usize = 65_536;

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Class {
    #[default]
    Data,
    /// Each subscription knows its data, and this is nobody's.
    Other,
    Heartbeat,
    /// The keys say whose.
    Keepalive,
    /// The answer to this keepalive.
    Answer(usize),
    Ack,
    Nack,
    Ended,
    Notice,
    Ignored,
    /// What a request waited for.
    Reply,
}

impl From<RuleKind> for Class {
    fn from(kind: RuleKind) -> Self {
        match kind {
            RuleKind::Heartbeat => Self::Heartbeat,
            RuleKind::Keepalive => Self::Keepalive,
            RuleKind::Ack => Self::Ack,
            RuleKind::Nack => Self::Nack,
            RuleKind::Ended => Self::Ended,
            RuleKind::Notice => Self::Notice,
            RuleKind::Ignored => Self::Ignored,
            RuleKind::Data => Self::Data,
        }
    }
}

/// What [`Interpreter::read`] found. Made once and used again, so that data allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) class: Class,
    /// The subscriptions whose data it is, or for a keepalive, whose life it shows. Ascending.
    pub(crate) keys: Vec<u64>,
    /// Their names, for data; `None` if there are none.
    pub(crate) names: Option<Names>,
    /// What follows from it, if something does.
    pub(crate) control: Option<Box<Control>>,
    /// What the answer to a keepalive brought, if it did.
    pub(crate) answered: Option<Box<Answered>>,
    /// The request that it answers.
    pub(crate) request: Option<u64>,
    /// Its rule wants the application to get it.
    pub(crate) deliver: bool,
    /// What a matcher said that panicked; the first, if several did.
    pub(crate) panicked: Option<String>,
}

impl Reading {
    fn clear(&mut self) {
        self.class = Class::Data;
        self.keys.clear();
        self.names = None;
        self.control = None;
        self.answered = None;
        self.request = None;
        self.deliver = false;
        self.panicked = None;
    }
}

/// What follows from a message.
pub(crate) struct Control {
    /// The index of the rule.
    pub(crate) rule: u32,
    pub(crate) about: AboutOwned,
    pub(crate) class: ErrorClass,
    pub(crate) retry_after: Option<Duration>,
    pub(crate) notice: Option<NoticeAction>,
    /// Where to go to, if that is told and that is what the notice calls for.
    pub(crate) url: Option<Secret>,
    pub(crate) detail: String,
    /// Kept by the interpreter, too.
    pub(crate) capture: Found,
    pub(crate) bind: Found,
    /// Of an acknowledgement: what it was to capture and to bind, and does not have.
    pub(crate) unfound: [Unfound; 2],
    pub(crate) reply: Option<Result<Content, String>>,
    /// Of an acknowledgement: whether nothing was missed, if it says that.
    pub(crate) resumed: Option<bool>,
    /// It is about nobody that is known: nothing follows.
    pub(crate) unknown: bool,
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was captured, the reply and the URL may be secrets.
        f.debug_struct("Control")
            .field("rule", &self.rule)
            .field("about", &self.about)
            .field("class", &self.class)
            .field("retry_after", &self.retry_after)
            .field("notice", &self.notice)
            .field("detail", &self.detail)
            .field("resumed", &self.resumed)
            .field("unknown", &self.unknown)
            .finish_non_exhaustive()
    }
}

/// Whom a message is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum AboutOwned {
    /// The subscriptions of a frame.
    Frame(u64),
    /// These subscriptions, ascending.
    Keys(Vec<u64>),
    /// Those that are listed, by their topics; of one frame, or of all.
    Listed {
        frame: Option<u64>,
        listed: Vec<String>,
        complete: bool,
    },
    /// The one that has waited longest.
    Oldest,
    All,
}

/// A rule, ready for use.
#[derive(Debug)]
struct Compiled {
    kind: RuleKind,
    who: Who,
    class: ErrorClass,
    retry_after: Option<Duration>,
    notice: Option<NoticeAction>,
    /// Where a notice has the URL to go to.
    url: Option<Pointer>,
    detail: Option<Pointer>,
    capture: Wanted,
    bind: Wanted,
    reply: Option<Template>,
    resumed: Option<Matcher>,
    deliver: bool,
}

/// How a rule finds whom a message is about.
#[derive(Debug)]
enum Who {
    Id(Pointer),
    /// Holds the matcher of each subscription.
    Match(Box<Router>),
    Listed {
        listed: Vec<(String, Pointer)>,
        id: Option<Pointer>,
        complete: bool,
    },
    Oldest,
    All,
    /// A pointer that is none: nobody.
    Nobody,
}

/// Says what each message is.
///
/// What a request waits for comes first, then the answers to keepalives, then the rules in their order; what meets none
/// of them is data.
#[derive(Debug)]
pub(crate) struct Interpreter {
    /// Its rules are the answers to keepalives, and behind them the rules.
    router: Router,
    requests: Router,
    /// The data alone, if a rule knows some of it: the first router looks for none where a rule is met.
    data: Option<Box<Router>>,
    tickets: BTreeSet<u64>,
    /// How many of the router's rules are answers to keepalives.
    answers: u32,
    awaited: Answers,
    rules: Vec<Compiled>,
    keys: BTreeSet<u64>,
    frame: FrameVars,
    hit: Hit,
    by_hit: Hit,
}

impl Interpreter {
    /// With these rules, heartbeats among them, and the answers that keepalives expect.
    pub(crate) fn new(rules: &[Rule], answers: &[Answer]) -> Self {
        let mut router = Router::default();
        let (awaited, answers) = Answers::new(answers);
        let whens = answers.iter().chain(rules.iter().map(|rule| &rule.when));
        for (index, when) in (0..).zip(whens) {
            router.insert(Owner::Rule(index), None, Some(when));
        }
        Self {
            router,
            requests: Router::default(),
            data: rules.iter().any(|rule| rule.is == RuleKind::Data).then(Box::default),
            tickets: BTreeSet::new(),
            answers: u32::try_from(answers.len()).unwrap_or(u32::MAX),
            awaited,
            rules: rules.iter().map(Compiled::new).collect(),
            keys: BTreeSet::new(),
            frame: FrameVars::new(0, 0, SystemTime::UNIX_EPOCH),
            hit: Hit::default(),
            by_hit: Hit::default(),
        }
    }

    /// A connection begins: what was captured from the one before is forgotten.
    pub(crate) fn begin(&mut self, epoch: u64, attempt: u32) {
        self.frame.epoch = epoch;
        self.frame.attempt = attempt;
        self.forget();
    }

    /// Forgets what was captured: the connection is over.
    pub(crate) fn forget(&mut self) {
        self.frame.captures = Arc::default();
    }

    /// Takes over what the login captured.
    pub(crate) fn remember(&mut self, captures: &Variables) {
        if !captures.is_empty() {
            let own = Arc::make_mut(&mut self.frame.captures);
            own.extend(captures.iter().map(|(name, value)| (name.clone(), value.clone())));
        }
    }

    /// Says what time it is, for replies.
    pub(crate) fn tick(&mut self, now: SystemTime) {
        self.frame.time = now;
    }

    pub(crate) fn apply(&mut self, change: Change) {
        match change {
            Change::Insert { key, name, data, by } => {
                self.remove(key);
                self.keys.insert(key);
                self.router.insert(Owner::Data(key), Some(&name), data.as_ref());
                if let Some(router) = &mut self.data {
                    router.insert(Owner::Data(key), Some(&name), data.as_ref());
                }
                self.find_by(key, &name, &by);
            }
            Change::Part { key, name, by } => {
                self.remove(key);
                self.keys.insert(key);
                self.find_by(key, &name, &by);
            }
            Change::Remove { key } => self.remove(key),
            Change::Request { ticket, matcher } => {
                if self.tickets.insert(ticket) {
                    self.requests.insert(Owner::Request(ticket), None, Some(&matcher));
                }
            }
            Change::RequestDone { ticket } => {
                if self.tickets.remove(&ticket) {
                    self.requests.remove(Owner::Request(ticket));
                }
            }
            Change::Clear => {
                while let Some(key) = self.keys.first().copied() {
                    self.remove(key);
                }
                while let Some(ticket) = self.tickets.pop_first() {
                    self.requests.remove(Owner::Request(ticket));
                }
            }
        }
    }

    /// Rules find the subscription by these.
    fn find_by(&mut self, key: u64, name: &SubscriptionId, by: &[(u32, Matcher)]) {
        for (rule, matcher) in by {
            if let Some(router) = self.rules.get_mut(*rule as usize).and_then(Compiled::router) {
                router.insert(Owner::Data(key), Some(name), Some(matcher));
            }
        }
    }

    fn remove(&mut self, key: u64) {
        if self.keys.remove(&key) {
            self.router.remove(Owner::Data(key));
            let own = self.rules.iter_mut().filter_map(Compiled::router);
            for router in own.chain(self.data.as_deref_mut()) {
                router.remove(Owner::Data(key));
            }
        }
    }

    /// Says what a message is. Closures of the application are called here; their panics are caught.
    pub(crate) fn read(&mut self, payload: Payload<'_>, out: &mut Reading) {
        out.clear();
        if !self.tickets.is_empty() {
            self.requests.classify(payload, &mut self.hit);
            out.panicked = self.hit.panicked.take();
            if let Some(ticket) = self.hit.request {
                out.class = Class::Reply;
                out.request = Some(ticket);
                return;
            }
        }
        self.router.classify(payload, &mut self.hit);
        out.panicked = out.panicked.take().or_else(|| self.hit.panicked.take());
        match self.hit.rule {
            None => self.data(self.router.names().cloned(), out),
            Some(answer) if answer < self.answers => self.answer(answer, payload, out),
            Some(rule) => self.fire(rule - self.answers, payload, out),
        }
    }

    /// Whether anything is waited for: the answer to a keepalive, or to a request.
    pub(crate) fn awaits(&self) -> bool {
        self.answers > 0 || !self.tickets.is_empty()
    }

    /// Says whether a message of an application's own dialect is waited for: then it is an [`Class::Answer`] or a
    /// [`Class::Reply`].
    pub(crate) fn is_awaited(&mut self, payload: Payload<'_>, out: &mut Reading) -> bool {
        self.read(payload, out);
        out.control = None;
        matches!(out.class, Class::Answer(_) | Class::Reply)
    }

    /// A keepalive waited for it.
    #[cold]
    fn answer(&mut self, index: u32, payload: Payload<'_>, out: &mut Reading) {
        let (whose, answered) = self.awaited.read(index, payload);
        out.class = Class::Answer(whose);
        captures::keep(&mut self.frame.captures, &answered.capture);
        if !answered.capture.is_empty() || answered.refused.is_some() {
            out.answered = Some(Box::new(answered));
        }
    }

    /// It is data, of those that were hit.
    fn data(&mut self, names: Option<Names>, out: &mut Reading) {
        std::mem::swap(&mut out.keys, &mut self.hit.keys);
        out.names = names;
        out.class = if out.keys.is_empty() && self.router.is_strict() { Class::Other } else { Class::Data };
    }

    /// A rule was met.
    #[cold]
    fn fire(&mut self, index: u32, payload: Payload<'_>, out: &mut Reading) {
        let Some(kind) = self.rules.get(index as usize).map(|rule| rule.kind) else { return };
        if kind == RuleKind::Data {
            let names = self.data.as_deref_mut().and_then(|router| {
                router.classify(payload, &mut self.hit);
                router.names().cloned()
            });
            out.panicked = out.panicked.take().or_else(|| self.hit.panicked.take());
            self.data(names, out);
        } else {
            out.class = kind.into();
        }
        let Some(rule) = self.rules.get_mut(index as usize) else { return };
        out.deliver = rule.deliver;
        let about = rule.who.find(payload, &mut self.by_hit);
        if let Some(panic) = self.by_hit.panicked.take() {
            out.panicked.get_or_insert(panic);
        }
        if rule.kind == RuleKind::Keepalive {
            match &about {
                Some(AboutOwned::Keys(keys)) => out.keys.extend(keys),
                Some(_) => out.keys.extend(&self.keys),
                None => {}
            }
            if out.keys.is_empty() {
                out.class = Class::Other;
                return;
            }
        }
        let acts = !rule.capture.is_empty() || rule.reply.is_some();
        let is_news =
            matches!(rule.kind, RuleKind::Ack | RuleKind::Nack | RuleKind::Ended | RuleKind::Notice);
        if !acts && !is_news {
            return;
        }
        let mut control = Control {
            rule: index,
            unknown: about.is_none(),
            about: about.unwrap_or(AboutOwned::Keys(Vec::new())),
            class: rule.class,
            retry_after: rule.retry_after,
            notice: rule.notice.clone(),
            url: rule.url.as_ref().and_then(|pointer| match captures::value_at(payload, pointer) {
                Some(Value::String(url)) => Some(url.into()),
                _ => None,
            }),
            detail: rule
                .detail
                .as_ref()
                .map_or_else(String::new, |pointer| captures::detail(payload, pointer)),
            capture: Found::new(),
            bind: Found::new(),
            unfound: Default::default(),
            reply: None,
            resumed: None,
        };
        if !control.unknown {
            control.capture = rule.capture.find(payload);
            control.bind = rule.bind.find(payload);
            if rule.kind == RuleKind::Ack {
                control.unfound = [rule.capture.unfound(&control.capture), rule.bind.unfound(&control.bind)];
            }
            let resumed = rule.resumed.as_ref().map(|resumed| caught(|| resumed.matches(payload)));
            control.resumed = resumed.map(|said| {
                said.unwrap_or_else(|panic| {
                    out.panicked.get_or_insert(panic);
                    false
                })
            });
            captures::keep(&mut self.frame.captures, &control.capture);
            control.reply = rule.reply.as_ref().map(|reply| reply.reply(&self.frame, payload));
        }
        out.control = Some(Box::new(control));
    }

    /// What rules captured from this connection.
    #[cfg(test)]
    pub(crate) fn captures(&self) -> &Arc<Variables> {
        &self.frame.captures
    }

    /// Whether there is nothing to tell messages apart by.
    pub(crate) fn is_trivial(&self) -> bool {
        self.router.is_trivial() && self.tickets.is_empty()
    }

    /// Whether there are subscriptions, and each knows its data: what is nobody's is no data.
    #[cfg(test)]
    pub(crate) fn is_strict(&self) -> bool {
        self.router.is_strict()
    }
}

impl Compiled {
    fn new(rule: &Rule) -> Self {
        Self {
            kind: rule.is,
            who: match (&rule.by, rule.is) {
                (Some(by), _) => Who::new(by),
                (None, RuleKind::Ack) => Who::Oldest,
                (None, _) => Who::All,
            },
            class: rule.effective_class(),
            retry_after: rule.retry_after,
            notice: rule.action.clone(),
            url: match &rule.action {
                Some(NoticeAction::GoTo(go_to)) => Pointer::parse(&go_to.url).ok(),
                _ => None,
            },
            detail: rule.detail.as_ref().and_then(|pointer| Pointer::parse(pointer).ok()),
            capture: Wanted::new(&rule.capture),
            bind: Wanted::new(&rule.bind),
            reply: rule.reply.clone(),
            resumed: rule.resumed.clone(),
            deliver: rule.deliver,
        }
    }

    fn router(&mut self) -> Option<&mut Router> {
        match &mut self.who {
            Who::Match(router) => Some(router),
            _ => None,
        }
    }
}

impl Who {
    fn new(by: &By) -> Self {
        match by {
            By::Id(id) => Pointer::parse(id).map_or(Self::Nobody, Self::Id),
            By::Match(_) => Self::Match(Box::default()),
            By::Listed(Listed { listed, id, complete }) => {
                let parse = |(prefix, pointer): (&String, &String)| {
                    Pointer::parse(pointer).map(|pointer| (prefix.clone(), pointer))
                };
                let listed = listed.iter().map(parse).collect();
                let id = id.as_deref().map(Pointer::parse).transpose();
                let (Ok(listed), Ok(id)) = (listed, id) else { return Self::Nobody };
                Self::Listed { listed, id, complete: *complete }
            }
            By::Oldest => Self::Oldest,
            By::All => Self::All,
        }
    }

    /// Whom the message is about; `None`: nobody that is known.
    fn find(&mut self, payload: Payload<'_>, hit: &mut Hit) -> Option<AboutOwned> {
        match self {
            Self::Id(id) => captures::frame_number(payload, id).map(AboutOwned::Frame),
            Self::Match(router) => {
                router.classify(payload, hit);
                (!hit.keys.is_empty()).then(|| AboutOwned::Keys(hit.keys.clone()))
            }
            Self::Listed { listed, id, complete } => {
                let frame = match id {
                    Some(id) => Some(captures::frame_number(payload, id)?),
                    None => None,
                };
                let mut topics = Vec::new();
                for (prefix, pointer) in listed {
                    list(payload, prefix, pointer, &mut topics);
                }
                // Of a list that was cut, what is not there may be in the rest.
                let complete = *complete && topics.len() < MAX_LISTED;
                Some(AboutOwned::Listed { frame, listed: topics, complete })
            }
            Self::Oldest => Some(AboutOwned::Oldest),
            Self::All => Some(AboutOwned::All),
            Self::Nobody => None,
        }
    }
}

/// Adds the texts and numbers at a pointer.
fn list(payload: Payload<'_>, prefix: &str, pointer: &Pointer, topics: &mut Vec<String>) {
    let json = payload.as_bytes();
    if !scan::is_container(json) {
        return;
    }
    scan::values(json, pointer, &mut |raw| {
        let mut add = |value: &Value| match value {
            Value::String(text) => topics.push(format!("{prefix}{text}")),
            Value::Number(number) => topics.push(format!("{prefix}{number}")),
            _ => {}
        };
        match serde_json::from_slice(&raw) {
            Ok(Value::Array(items)) => items.iter().for_each(add),
            Ok(value) => add(&value),
            Err(_) => {}
        }
        topics.truncate(MAX_LISTED);
        topics.len() < MAX_LISTED
    });
}

#[cfg(test)]
#[path = "interpreter_tests.rs"]
mod tests;
