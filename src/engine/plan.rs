//! What the engine is started with: the checked configuration and the application's closures.

use super::governor::Governor;
use super::queue::Bounds;
use crate::dialect::{
    Answer, Codec, Dialect, FrameVars, FrozenRule, Interval, LagRule, LoginStep, Matcher, Place, Rule,
    SequenceRule, Template, Variables,
};
use crate::error::EndReason;
use crate::event::{Alert, Event};
use crate::frame::OnFrame;
use crate::policy::schedule::Mode;
use crate::policy::session;
use crate::policy::subscriptions::Want;
use crate::policy::verdict::{self, Decision};
use crate::secret::Secret;
use crate::transport::{self, Endpoint};
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// Where an attempt goes to.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) headers: Vec<(String, Secret)>,
    pub(crate) subprotocols: Vec<String>,
}

/// What the provider may depend on.
pub(crate) struct AttemptContext {
    pub(crate) epoch: u64,
    pub(crate) attempt: u32,
    /// Which of the endpoints is meant, from 0.
    pub(crate) endpoint: usize,
    /// How the connection or attempt before ended.
    pub(crate) previous: Option<EndReason>,
    /// What is known from earlier connections.
    pub(crate) vars: FrameVars,
}

/// What the provider failed with.
pub(crate) struct ProviderFailure {
    pub(crate) detail: String,
    pub(crate) fatal: bool,
}

pub(crate) type Provider = Box<dyn FnMut(&AttemptContext) -> Result<Target, ProviderFailure> + Send>;
pub(crate) type Handler = Box<dyn FnMut(Event) + Send>;
pub(crate) type OnWake = Arc<dyn Fn() + Send + Sync>;
pub(crate) type OnAlert = Box<dyn Fn(&Alert) + Send + Sync>;
/// The application's say on an end; `None` leaves it to the default policy.
pub(crate) type RetryPolicy = Box<dyn Fn(&EndReason, &EndContext) -> Option<Decision> + Send>;

/// What a decision on an end may depend on.
pub(crate) struct EndContext {
    pub(crate) ever_up: bool,
    /// Attempts and connections in a row that delivered no data.
    pub(crate) failures: u32,
    /// How long there has been no connection.
    pub(crate) down: Duration,
}

/// A subscription as the engine sees it.
#[derive(Debug)]
pub(crate) struct Spec {
    /// What the session machine wants to know of it.
    pub(crate) want: Want,
    pub(crate) vars: Arc<Variables>,
    pub(crate) subscribe: Option<Template>,
    pub(crate) unsubscribe: Option<Template>,
    pub(crate) probe: Option<Template>,
    /// What its data looks like; may depend on what is known only on a connection.
    pub(crate) data: Option<Matcher>,
    pub(crate) sequence: Option<SequenceRule>,
    pub(crate) lag: Option<LagRule>,
    pub(crate) frozen: Option<FrozenRule>,
    /// Where its messages have what the next connection takes up from.
    pub(crate) cursor: Option<Place>,
}

impl Spec {
    /// Whether something is to be seen in its data that a new subscribe message makes anew.
    pub(super) fn is_followed(&self) -> bool {
        self.sequence.is_some() || self.lag.is_some() || self.frozen.is_some()
    }

    /// Whether it has a limit that any message meets, so that beside others it could not be seen to be mute.
    pub(super) fn is_blind(&self) -> bool {
        let Want { limit, first_limit, by_hours, .. } = &self.want;
        let limited = limit.or(*first_limit).is_some() || by_hours.iter().any(|hours| hours.limit.is_some());
        self.data.is_none() && limited
    }

    /// Whether its last message is kept: for what the next connection takes up from, or for a closure, which may ask
    /// for it.
    pub(super) fn keeps_last(&self) -> bool {
        self.cursor.is_some() || self.templates().any(Template::is_closure)
    }

    fn templates(&self) -> impl Iterator<Item = &Template> {
        [&self.subscribe, &self.unsubscribe, &self.probe].into_iter().flatten()
    }

    /// Whether it can't do without this variable: where it stands it has no default.
    pub(super) fn needs(&self, name: &str, by: &[(u32, Matcher)]) -> bool {
        let mut needed = false;
        let mut found = |it: &str, default: bool| needed |= it == name && !default;
        self.templates().for_each(|template| template.each_placeholder(&mut found));
        let by = by.iter().map(|(_, matcher)| matcher);
        self.data.iter().chain(by).for_each(|matcher| matcher.each_placeholder(&mut found));
        needed
    }
}

/// When the first of them is due.
#[derive(Debug)]
pub(crate) enum FirstAfter {
    Interval(Interval),
    /// After a random part of the interval.
    Random,
}

/// What is sent again and again while a connection is up.
#[derive(Debug)]
pub(crate) struct Beat {
    pub(crate) mode: Mode,
    pub(crate) interval: Interval,
    pub(crate) first_after: Option<FirstAfter>,
    /// What is sent; `None`: a ping.
    pub(crate) send: Option<Template>,
    pub(crate) answer: Answer,
    /// How long the answer may take, if one is expected.
    pub(crate) within: Option<Interval>,
}

impl Beat {
    /// How often it is sent, with what is known on this connection.
    pub(super) fn period(&self, vars: &FrameVars) -> Result<Duration, String> {
        self.interval.render_period(vars)
    }

    /// Whether how often it is sent depends on one of these.
    pub(super) fn is_told_by(&self, captured: &[(String, Value)]) -> bool {
        let mut told = false;
        self.interval.each_name(&mut |name, _| told |= captured.iter().any(|(it, _)| it == name));
        told
    }
}

/// What is sent and taken besides data, by the rules of the protocol.
pub(crate) struct Protocol {
    /// Heartbeats in front.
    pub(crate) rules: Vec<Rule>,
    /// How many those are.
    pub(crate) heartbeats: u32,
    pub(crate) beats: Arc<[Beat]>,
    pub(crate) login: Arc<[LoginStep]>,
    pub(crate) codecs: Vec<Codec>,
    /// Where messages have what the next connection takes up from.
    pub(crate) cursor: Option<Place>,
    /// The variables that outlive their connection.
    pub(crate) keep: Arc<[String]>,
    /// The sequence of the connection as a whole.
    pub(crate) sequence: Option<SequenceRule>,
    /// Takes the place of rules and matchers.
    pub(crate) dialect: Option<Box<dyn Dialect>>,
}

impl Protocol {
    /// The rules that find their subscriptions by a matcher.
    pub(super) fn by(&self) -> Arc<[(u32, Matcher)]> {
        Rule::all_by_match(&self.rules).into()
    }

    /// How long the server may say nothing, by its heartbeats.
    pub(super) fn heartbeats(&self) -> impl Iterator<Item = &Interval> {
        self.rules.iter().filter_map(|rule| rule.within.as_ref())
    }

    /// The answers to keepalives, by the index of the keepalive.
    pub(super) fn answers(&self) -> Vec<Answer> {
        self.beats.iter().map(|beat| beat.answer.clone()).collect()
    }
}

pub(crate) struct Plan {
    pub(crate) name: String,
    pub(crate) session: session::Settings,
    pub(crate) fatal: verdict::Settings,
    pub(crate) queue: Bounds,
    pub(crate) protocol: Protocol,
    pub(crate) deliver_heartbeats: bool,
    pub(crate) deliver_control: bool,
    /// The most subscribe messages of a batch together, in bytes.
    pub(crate) batch_bytes: usize,
    pub(crate) governor: Arc<Governor>,
    /// The hosts of the endpoints, in their order.
    pub(crate) hosts: Vec<String>,
    /// The endpoints of the configuration, if they are what the provider gives.
    pub(crate) known: Vec<Target>,
    pub(crate) specs: Vec<Spec>,
    pub(crate) transport: transport::Settings,
    /// The budget of one attempt.
    pub(crate) attempt_budget: Duration,
    pub(crate) message_bytes: usize,
    pub(crate) subscribe_bytes: usize,
    pub(crate) read_buffer_bytes: usize,
    pub(crate) write_timeout: Duration,
    pub(crate) handler: Option<Handler>,
    pub(crate) on_wake: Option<OnWake>,
    pub(crate) on_alert: Option<OnAlert>,
    pub(crate) on_frame: Option<OnFrame>,
    pub(crate) provider: Provider,
    pub(crate) retry_policy: Option<RetryPolicy>,
}
