//! From the checked configuration to what the engine is started with.

use crate::clock;
use crate::config::{
    self, Ack, Adaptive, Alerts, Attempt, CodeRange, EndRule, FeedConfig, FeedUrl, Hooks, Keepalive,
    KeepaliveDue, Limit, NoDataAlert, Overflow, Pacing, PacingScope, RepairStep, RetryContext, Subscription,
    Target, Terms, TlsVersion,
};
use crate::dialect::{Dialect, FrameVars, Interval, Place, Rule, placeholder, url};
use crate::engine::governor::{Attempts, Governor};
use crate::engine::plan::{self, Beat, Plan, Protocol, ProviderFailure, Spec};
use crate::engine::queue::{self, Bounds};
use crate::error::Error;
use crate::policy::alarm::{self, no_data};
use crate::policy::hours::{Calendar, HourLimit};
use crate::policy::ladder::Rung;
use crate::policy::pacing::{Of, Pace};
use crate::policy::schedule::Mode;
use crate::policy::subscriptions::{AckPolicy, Want};
use crate::policy::{adaptive, backoff, liveness, session, verdict};
use crate::secret::Secret;
use crate::transport::{self, Endpoint, TcpSettings, TlsSettings};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Builds the plan; what can still be wrong is the TLS library's view of the settings.
pub(crate) fn plan(config: &FeedConfig, hooks: Hooks) -> Result<Plan, Error> {
    let reconnect = &config.reconnect;
    let session = session::Settings {
        repair: Arc::new([]),
        backoff: backoff::Settings {
            first: reconnect.first,
            floor: reconnect.floor,
            max: reconnect.max,
            stable_after: reconnect.stable_after,
        },
        liveness: liveness::Settings { after: config.ping.after.duration(), timeout: config.ping.timeout },
        stale_after: config.stale_after.longest(),
        adaptive: config.stale_after.adaptive().map(adaptive),
        max_attempts: reconnect.max_attempts,
        max_downtime: reconnect.max_downtime.duration(),
        close_wait: config.close_timeout,
        leave_code: reconnect.close_code,
        outbox_bytes: config.limits.send_bytes,
        batch_members: config.batch.as_ref().map_or(1, |batch| batch.members),
        endpoints: config.endpoints.len() + 1,
        quarantine_after: config.quarantine_after.unwrap_or(u32::MAX),
        calendars: calendars(config)?,
        by_hours: by_hours(config, &config.by_hours),
        alarms: alarms(config),
    };
    let fatal = verdict::Settings {
        rules: config.ends.iter().map(end_rule).collect(),
        statuses: reconnect.fatal_statuses.clone(),
        when_never_up: reconnect.fatal_when_never_up,
    };
    let overflow = match config.queue.overflow {
        Overflow::Block => queue::Overflow::Block,
        Overflow::DropOldest => queue::Overflow::DropOldest,
        Overflow::KeepLatest => queue::Overflow::KeepLatest,
    };
    Ok(Plan {
        name: config.feed_name().to_owned(),
        session,
        fatal,
        queue: Bounds { messages: config.queue.messages, bytes: config.queue.bytes, overflow },
        protocol: protocol(config, hooks.dialect),
        deliver_heartbeats: config.deliver_heartbeats,
        deliver_control: config.deliver_control,
        batch_bytes: config.batch.as_ref().map_or(config.limits.subscribe_bytes, |batch| batch.bytes),
        governor: Arc::new(governor(config)),
        hosts: urls(config).map(|url| url.host().to_owned()).collect(),
        specs: config.subscriptions.iter().map(|subscription| spec(config, subscription)).collect(),
        transport: transport(config)?,
        attempt_budget: config.connect.timeout,
        message_bytes: config.limits.message_bytes,
        subscribe_bytes: config.limits.subscribe_bytes,
        read_buffer_bytes: config.limits.read_buffer_bytes,
        write_timeout: config.limits.write_timeout,
        handler: hooks.handler,
        on_wake: hooks.on_wake,
        on_alert: hooks.on_alert,
        on_frame: hooks.on_frame,
        known: if hooks.provider.is_some() { Vec::new() } else { targets(config)? },
        provider: provider(config, hooks.provider)?,
        retry_policy: hooks.retry_policy.map(|policy| -> plan::RetryPolicy {
            Box::new(move |reason, context| {
                policy(
                    reason,
                    &RetryContext {
                        ever_connected: context.ever_up,
                        attempts: context.failures,
                        down: context.down,
                    },
                )
            })
        }),
    })
}

/// A subscription as the engine wants it, with everything that holds for it.
pub(super) fn spec(config: &FeedConfig, subscription: &Subscription) -> Spec {
    let Subscription { id, terms } = config.resolved(subscription);
    let stale_after = terms.stale_after.unwrap_or(config.stale_after);
    let limit = stale_after.longest();
    let timeout = terms.ack_timeout.unwrap_or(Terms::ACK_TIMEOUT);
    let then = terms.on_ack_timeout.unwrap_or_default();
    let ack = match terms.ack {
        Some(Ack::Rule) => AckPolicy::Awaited { timeout, then },
        Some(Ack::FirstData) => AckPolicy::FirstData { timeout, then },
        _ => AckPolicy::None,
    };
    let vars = Arc::new(terms.vars.as_map().clone());
    let own = |name: &str| match name {
        "name" => Some(id.as_str().into()),
        name => terms.vars.get(name).cloned(),
    };
    let topic = terms.topic.as_deref().and_then(|topic| placeholder::text(topic, &own).ok());
    // Its own variables hide what is bound by the same name.
    let is_bound = |name: &str| {
        terms.vars.get(name).is_none() && config.rules.iter().any(|rule| rule.bind.contains_key(name))
    };
    let binds = config.rules.iter().any(|rule| !rule.bind.is_empty());
    let ends_by_answer = binds && terms.unsubscribe.as_ref().is_some_and(|end| end.may_use(is_bound));
    let batch = terms.subscribe.as_ref().and_then(|subscribe| subscribe.batch_group(&own));
    let rungs = terms.repair.unwrap_or_default();
    Spec {
        want: Want {
            limit,
            adaptive: stale_after.adaptive().map(adaptive),
            by_hours: by_hours(config, terms.by_hours.as_deref().unwrap_or_default()),
            first_limit: terms.first_data_within.map_or(limit, Limit::duration),
            late: terms.lag.as_ref().and_then(|rule| rule.after),
            frozen: terms.frozen.as_ref().map(|rule| rule.after),
            payload: terms.subscribe.is_some(),
            can_end: terms.unsubscribe.is_some(),
            ends_by_answer,
            batch,
            ack,
            repair: rungs.into_iter().map(rung).collect(),
            can_probe: terms.probe.is_some(),
            topic: topic.map(Arc::from),
            recognised: terms.data.is_some(),
            id,
        },
        vars,
        subscribe: terms.subscribe,
        unsubscribe: terms.unsubscribe,
        probe: terms.probe,
        data: terms.data,
        sequence: terms.sequence,
        lag: terms.lag,
        frozen: terms.frozen,
        cursor: terms.cursor.and_then(|cursor| Place::parse(&cursor).ok()),
    }
}

fn adaptive(settings: Adaptive) -> adaptive::Settings {
    let Adaptive { factor, floor, ceiling, warm_up } = settings;
    adaptive::Settings { factor, floor, ceiling, warm_up }
}

/// All named hours; their places are what [`hours_index`] says.
fn calendars(config: &FeedConfig) -> Result<Vec<Arc<Calendar>>, Error> {
    config.hours.iter().map(|(name, hours)| hours.compile(name).map(Arc::new)).collect()
}

/// Where hours of this name stand among the calendars of the session.
pub(super) fn hours_index(config: &FeedConfig, name: &str) -> Option<usize> {
    config.hours.keys().position(|known| known == name)
}

fn by_hours(config: &FeedConfig, limits: &[config::HourLimit]) -> Arc<[HourLimit]> {
    let limits = limits.iter().filter_map(|entry| {
        let (name, during) = match (&entry.during, &entry.outside) {
            (Some(name), _) => (name, true),
            (None, outside) => (outside.as_ref()?, false),
        };
        Some(HourLimit { hours: hours_index(config, name)?, during, limit: entry.stale_after.duration() })
    });
    limits.collect()
}

fn rung(step: RepairStep) -> Rung {
    match step {
        RepairStep::Probe(wait) => Rung::Probe(wait),
        RepairStep::Resubscribe(wait) => Rung::Resubscribe(wait),
        RepairStep::Reconnect => Rung::Reconnect,
        RepairStep::NextEndpoint => Rung::NextEndpoint,
    }
}

/// What is sent and taken besides data.
fn protocol(config: &FeedConfig, dialect: Option<Box<dyn Dialect>>) -> Protocol {
    let heartbeats = config.heartbeats.iter().map(|when| Rule::heartbeat(when.clone()));
    Protocol {
        rules: heartbeats.chain(config.rules.iter().cloned()).collect(),
        heartbeats: u32::try_from(config.heartbeats.len()).unwrap_or(u32::MAX),
        beats: config.keepalives.iter().map(beat).collect(),
        login: config.login.iter().cloned().collect(),
        codecs: config.codecs.clone(),
        cursor: config.cursor.as_deref().and_then(|cursor| Place::parse(cursor).ok()),
        keep: config.keep.clone().into(),
        sequence: config.sequence.clone(),
        dialect,
    }
}

fn beat(keepalive: &Keepalive) -> Beat {
    let within = || keepalive.within.clone().unwrap_or(Interval::Fixed(Keepalive::WITHIN));
    Beat {
        mode: match keepalive.due {
            KeepaliveDue::Every => Mode::Every,
            KeepaliveDue::IdleReceived => Mode::IdleReceived,
            KeepaliveDue::IdleSent => Mode::IdleSent,
        },
        interval: keepalive.interval.clone(),
        first_after: keepalive.first_after.clone().map(|first| match first {
            config::FirstAfter::Interval(interval) => plan::FirstAfter::Interval(interval),
            config::FirstAfter::Random => plan::FirstAfter::Random,
        }),
        send: keepalive.send.clone(),
        answer: keepalive.answer(),
        within: keepalive.expect.as_ref().map(|_| within()),
    }
}

fn end_rule(rule: &EndRule) -> verdict::EndRule {
    let ranges = |ranges: &[CodeRange]| ranges.iter().map(|range| range.first..=range.last).collect();
    verdict::EndRule {
        codes: ranges(&rule.codes),
        statuses: ranges(&rule.statuses),
        reason_contains: rule.reason_contains.clone(),
        then: rule.then,
    }
}

fn alarms(config: &FeedConfig) -> alarm::Settings {
    let Alerts { reconnects, no_data, down, unmatched, cool_down, .. } = &config.alerts;
    alarm::Settings {
        reconnects: reconnects.map(|reconnects| (reconnects.more_than, reconnects.within)),
        no_data: no_data.iter().map(|entry| no_data_limit(config, entry)).collect(),
        down: down.duration(),
        unmatched: *unmatched,
        cool_down: *cool_down,
    }
}

fn no_data_limit(config: &FeedConfig, entry: &NoDataAlert) -> no_data::Limit {
    let hours = match (&entry.during, &entry.outside) {
        (Some(name), _) => Some((name, true, name.clone())),
        (None, Some(name)) => Some((name, false, format!("outside {name}"))),
        (None, None) => None,
    };
    let hours = hours.and_then(|(name, during, shown)| {
        Some(no_data::Hours { index: hours_index(config, name)?, during, name: shown.into() })
    });
    no_data::Limit { after: entry.after, hours }
}

fn urls(config: &FeedConfig) -> impl Iterator<Item = &FeedUrl> {
    std::iter::once(&config.url).chain(&config.endpoints)
}

fn governor(config: &FeedConfig) -> Governor {
    let pace = |pacing: &Pacing| Pace {
        count: pacing.sends,
        per: pacing.per,
        of: match pacing.of {
            PacingScope::All => Of::All,
            PacingScope::Subscribes => Of::Subscribes,
            PacingScope::Application => Of::Application,
        },
    };
    let (shared, own): (Vec<_>, Vec<_>) = config.pacing.iter().partition(|pacing| pacing.shared);
    let own: Vec<_> = own.into_iter().map(pace).collect();
    let shared = shared.into_iter().map(pace).collect();
    let attempts = &config.connect.pacing;
    let attempts = attempts.iter().map(|limit| Attempts { count: limit.attempts, per: limit.per }).collect();
    Governor::for_feed(clock::mono(), config.url.host(), &own, shared, attempts)
}

fn transport(config: &FeedConfig) -> Result<transport::Settings, Error> {
    let tls = &config.tls;
    let settings = TlsSettings {
        roots_der: tls.roots()?,
        server_name: tls.server_name.clone(),
        min_version: Some(match tls.min_version {
            TlsVersion::V1_2 => transport::TlsVersion::Tls12,
            TlsVersion::V1_3 => transport::TlsVersion::Tls13,
        }),
        danger_accept_invalid_certs: tls.danger_accept_invalid_certs,
        danger_accept_invalid_hostnames: tls.danger_accept_invalid_hostnames,
    };
    let tls = transport::Tls::new(&settings).map_err(|problem| Error::config("tls", problem))?;
    Ok(transport::Settings {
        tcp: TcpSettings { nodelay: config.connect.nodelay, ..TcpSettings::default() },
        stagger: config.connect.stagger,
        upgrade_response_bytes: config.limits.upgrade_response_bytes,
        ..transport::Settings::new(tls)
    })
}

/// The endpoints of the configuration.
fn targets(config: &FeedConfig) -> Result<Vec<plan::Target>, Error> {
    let target = |url: &FeedUrl| {
        // Placeholders are not in what tells one host from another.
        let any = |_: &str| Some(serde_json::Value::from(1));
        let filled =
            url::fill(url.expose(), &any).map_err(|missing| Error::config("url", missing.to_string()))?;
        let endpoint = Endpoint::parse(&filled).map_err(|problem| Error::config("url", problem))?;
        let (headers, subprotocols) = (listed(config.headers.clone()), config.subprotocols.clone());
        Ok(plan::Target { endpoint, headers, subprotocols })
    };
    urls(config).map(target).collect()
}

/// Asked anew at each attempt: the application's provider, or the URL of the configuration.
fn provider(config: &FeedConfig, own: Option<config::Provider>) -> Result<plan::Provider, Error> {
    let headers = config.headers.clone();
    let subprotocols = config.subprotocols.clone();
    let Some(mut own) = own else {
        let urls: Vec<FeedUrl> = urls(config).cloned().collect();
        return Ok(Box::new(move |context| {
            // There are as many as the session machine was told of.
            let url = urls.get(context.endpoint).or(urls.first());
            let url = url.ok_or_else(|| ProviderFailure { detail: "no endpoint".into(), fatal: true })?;
            let endpoint = filled(url, &context.vars)
                .and_then(|url| Endpoint::parse(url.expose()))
                .map_err(|problem| ProviderFailure { detail: format!("the url {problem}"), fatal: false })?;
            let (headers, subprotocols) = (listed(headers.clone()), subprotocols.clone());
            Ok(plan::Target { endpoint, headers, subprotocols })
        }));
    };
    Ok(Box::new(move |context| {
        let attempt = Attempt {
            number: context.attempt,
            epoch: context.epoch,
            endpoint: context.endpoint,
            previous: context.previous.clone(),
            cursor: context.vars.cursor.clone(),
            kept: Arc::clone(&context.vars.captures),
        };
        let mut target = own(&attempt)
            .map_err(|error| ProviderFailure { detail: error.to_string(), fatal: error.is_fatal() })?;
        target.url = filled(&target.url, &context.vars).map_err(|problem| ProviderFailure {
            detail: format!("it gave an endpoint that can't be used: the url {problem}"),
            fatal: false,
        })?;
        resolve_target(&target, &headers, &subprotocols).map_err(|error| ProviderFailure {
            detail: format!("it gave an endpoint that can't be used: {error}"),
            fatal: false,
        })
    }))
}

/// The URL with what is known from earlier connections.
fn filled(url: &FeedUrl, vars: &FrameVars) -> Result<FeedUrl, String> {
    if url::is_plain(url.expose()) {
        return Ok(url.clone());
    }
    url::fill(url.expose(), vars).map(FeedUrl::from).map_err(|missing| missing.to_string())
}

fn resolve_target(
    target: &Target,
    headers: &BTreeMap<String, Secret>,
    subprotocols: &[String],
) -> Result<plan::Target, Error> {
    target.check()?;
    let endpoint = Endpoint::parse(target.url.expose()).map_err(|problem| Error::config("url", problem))?;
    let subprotocols =
        if target.subprotocols.is_empty() { subprotocols.to_vec() } else { target.subprotocols.clone() };
    Ok(plan::Target { endpoint, headers: listed(target.merged_headers(headers)), subprotocols })
}

fn listed(headers: BTreeMap<String, Secret>) -> Vec<(String, Secret)> {
    headers.into_iter().collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test that can't make its configuration fails")]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_learned_limit_is_compiled_with_its_ceiling_in_place_of_a_fixed_one() {
        let secs = Duration::from_secs;
        let learned = Adaptive::new().factor(3.0).floor(secs(2)).ceiling(secs(300)).warm_up(secs(9));
        let settings =
            adaptive::Settings { factor: 3.0, floor: secs(2), ceiling: secs(300), warm_up: secs(9) };
        let mut config = FeedConfig::new("ws://feed.example/ws");
        assert_eq!(plan(&config, Hooks::default()).unwrap().session.adaptive, None);
        config.stale_after = learned.into();
        let session = plan(&config, Hooks::default()).unwrap().session;
        assert_eq!((session.stale_after, session.adaptive), (Some(secs(300)), Some(settings)));
        let inherits = spec(&config, &Subscription::new("a")).want;
        assert_eq!((inherits.limit, inherits.adaptive), (Some(secs(300)), Some(settings)));
        assert_eq!(inherits.first_limit, Some(secs(300)));
        let fixed = spec(&config, &Subscription::new("a").stale_after(secs(5))).want;
        assert_eq!((fixed.limit, fixed.adaptive), (Some(secs(5)), None));
        let none = spec(&config, &Subscription::new("a").no_stale_limit()).want;
        assert_eq!((none.limit, none.adaptive), (None, None));
    }

    #[cfg(feature = "schedule")]
    #[test]
    fn limits_by_hours_find_their_calendars() {
        let hours = |from, to| config::Hours::new("UTC").window("daily", from, to);
        let mut config = FeedConfig::new("ws://h/");
        config.hours = [("late", hours("20:00", "24:00")), ("early", hours("00:00", "04:00"))]
            .map(|(name, hours)| (name.to_owned(), hours))
            .into();
        let second = Duration::from_secs(1);
        config.by_hours =
            vec![config::HourLimit::during("late", second), config::HourLimit::outside("early", Limit::None)];
        config.defaults.by_hours = Some(config.by_hours.iter().rev().cloned().collect());
        config.subscriptions =
            vec![Subscription::new("a"), Subscription::new("b").by_hours([config.by_hours[0].clone()])];
        config.defaults.data = Some(crate::dialect::Matcher::text("${name}"));
        config.validate().unwrap();
        let plan = plan(&config, Hooks::default()).unwrap();
        let open: Vec<_> = plan
            .session
            .calendars
            .iter()
            .map(|hours| hours.at(std::time::SystemTime::UNIX_EPOCH).open)
            .collect();
        assert_eq!(open, [true, false], "early, late");
        let late = HourLimit { hours: 1, during: true, limit: Some(second) };
        let early = HourLimit { hours: 0, during: false, limit: None };
        assert_eq!(*plan.session.by_hours, [late, early]);
        assert_eq!(*plan.specs[0].want.by_hours, [early, late]);
        assert_eq!(*plan.specs[1].want.by_hours, [late]);
        config.defaults.by_hours = None;
        assert_eq!(*spec(&config, &config.subscriptions[0]).want.by_hours, [late, early]);
    }
}
