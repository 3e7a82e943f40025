//! From the checked configuration to what the engine is started with.

use crate::config::{
    Attempt, CodeRange, EndRule, FeedConfig, Hooks, Overflow, RetryContext, Subscription, Target, TlsVersion,
};
use crate::dialect::{FrameVars, Member, Template};
use crate::engine::plan::{self, Plan, ProviderFailure, Render, Spec};
use crate::engine::queue::{self, Bounds};
use crate::error::Error;
use crate::policy::{backoff, liveness, session, verdict};
use crate::secret::Secret;
use crate::transport::{self, Endpoint, TcpSettings, TlsSettings};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Builds the plan; what can still be wrong is the TLS library's view of the settings.
pub(super) fn plan(config: &FeedConfig, hooks: Hooks) -> Result<Plan, Error> {
    let reconnect = &config.reconnect;
    let session = session::Settings {
        backoff: backoff::Settings {
            first: reconnect.first,
            floor: reconnect.floor,
            max: reconnect.max,
            stable_after: reconnect.stable_after,
        },
        liveness: liveness::Settings { after: config.ping.after.duration(), timeout: config.ping.timeout },
        stale_after: config.stale_after.duration(),
        max_attempts: reconnect.max_attempts,
        max_downtime: reconnect.max_downtime.duration(),
        close_wait: config.close_timeout,
        outbox_bytes: config.limits.send_bytes,
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
        heartbeats: config.heartbeats.clone(),
        deliver_heartbeats: config.deliver_heartbeats,
        specs: config.subscriptions.iter().map(|subscription| spec(config, subscription)).collect(),
        transport: transport(config)?,
        attempt_budget: config.connect.timeout,
        message_bytes: config.limits.message_bytes,
        subscribe_bytes: config.limits.subscribe_bytes,
        read_buffer_bytes: config.limits.read_buffer_bytes,
        write_timeout: config.limits.write_timeout,
        handler: hooks.handler,
        on_wake: hooks.on_wake,
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

fn end_rule(rule: &EndRule) -> verdict::EndRule {
    let ranges = |codes: &[CodeRange]| codes.iter().map(|range| range.first..=range.last).collect();
    verdict::EndRule {
        codes: ranges(&rule.codes),
        statuses: ranges(&rule.statuses),
        reason_contains: rule.reason_contains.clone(),
        then: rule.then,
    }
}

/// A subscription as the engine wants it, with the limit in force for it.
pub(super) fn spec(config: &FeedConfig, subscription: &Subscription) -> Spec {
    let Subscription { id, terms, .. } = config.resolved(subscription);
    let member =
        Member { name: Some(id.clone()), vars: Arc::new(terms.vars.as_map().clone()), ..Member::default() };
    Spec {
        id,
        subscribe: terms.subscribe.map(|template| render(template, member.clone())),
        unsubscribe: terms.unsubscribe.map(|template| render(template, member)),
        matcher: terms.data,
        limit: terms.stale_after.unwrap_or(config.stale_after).duration(),
    }
}

fn render(template: Template, member: Member) -> Render {
    Arc::new(move |context| {
        let frame = FrameVars::new(context.epoch, context.attempt, context.time);
        template.render(&frame, std::slice::from_ref(&member))
    })
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

/// Asked anew at each attempt: the application's provider, or the URL of the configuration.
fn provider(config: &FeedConfig, own: Option<crate::config::Provider>) -> Result<plan::Provider, Error> {
    let headers = config.headers.clone();
    let subprotocols = config.subprotocols.clone();
    let Some(mut own) = own else {
        let endpoint =
            Endpoint::parse(config.url.expose()).map_err(|problem| Error::config("url", problem))?;
        let target = plan::Target { endpoint, headers: listed(headers), subprotocols };
        return Ok(Box::new(move |_| Ok(target.clone())));
    };
    Ok(Box::new(move |context| {
        let attempt =
            Attempt { number: context.attempt, epoch: context.epoch, previous: context.previous.clone() };
        let target = own(&attempt)
            .map_err(|error| ProviderFailure { detail: error.to_string(), fatal: error.is_fatal() })?;
        resolve_target(&target, &headers, &subprotocols).map_err(|error| ProviderFailure {
            detail: format!("it gave an endpoint that can't be used: {error}"),
            fatal: false,
        })
    }))
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
