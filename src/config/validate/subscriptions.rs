//! Checks subscriptions, with what they take from `defaults`.

use super::hours::check_by_hours;
use super::names::Names;
use super::rules::check_ack;
use super::{Checked, LONGEST, SHORTEST, check_name, duration, limit, refuse};
use crate::config::{FeedConfig, Limit, RepairStep, StaleAfter, Subscription, Terms};
use crate::dialect::{Place, check_name as check_variable};
use crate::error::Error;
use crate::policy::subscriptions::BLIND;
use std::collections::HashSet;

pub(super) fn check_subscriptions(config: &FeedConfig, names: &Names<'_>, has_dialect: bool) -> Checked {
    check_terms("defaults", config, &config.defaults)?;
    let mut ids = HashSet::new();
    for (index, subscription) in config.subscriptions.iter().enumerate() {
        let path = format!("subscriptions[{index}]");
        check_one(&path, config, subscription, names, has_dialect)?;
        if !ids.insert(&subscription.id) {
            return refuse(path + ".id", format!("{:?} is there twice: each needs its own", subscription.id));
        }
    }
    if has_dialect || config.subscriptions.len() < 2 {
        return Ok(());
    }
    let blind = config.subscriptions.iter().position(|subscription| is_blind(config, subscription));
    blind.map_or(Ok(()), |index| refuse(format!("subscriptions[{index}].data"), BLIND))
}

/// Whether it has a limit that any message meets.
fn is_blind(config: &FeedConfig, subscription: &Subscription) -> bool {
    let Terms { data, stale_after, first_data_within, by_hours, .. } = config.resolved(subscription).terms;
    let limits = by_hours.iter().flatten().map(|limit| limit.stale_after);
    let limits = limits.chain(first_data_within).chain(stale_after.map(StaleAfter::fixed));
    data.is_none() && limits.into_iter().any(|limit| limit != Limit::None)
}

/// Checks one subscription that joins an open feed.
pub(in crate::config) fn check_subscription(
    path: &str,
    config: &FeedConfig,
    subscription: &Subscription,
    has_dialect: bool,
) -> Checked {
    check_one(path, config, subscription, &Names::new(config, has_dialect), has_dialect)
}

/// By itself, and with what it takes from `defaults`.
fn check_one(
    path: &str,
    config: &FeedConfig,
    subscription: &Subscription,
    names: &Names<'_>,
    has_dialect: bool,
) -> Checked {
    check_name(&format!("{path}.id"), subscription.id.as_str())?;
    check_terms(path, config, &subscription.terms)?;
    let terms = config.resolved(subscription).terms;
    let probes = terms.repair.iter().flatten().any(|step| matches!(step, RepairStep::Probe(_)));
    if probes && terms.probe.is_none() {
        return refuse(
            format!("{path}.repair"),
            "has a rung `probe`, and there is nothing to send: give the subscription a `probe`, or leave the rung out",
        );
    }
    check_observed(path, &terms)?;
    if !has_dialect {
        check_ack(path, config, &terms)?;
    }
    names.check_subscription(path, subscription, &terms)
}

/// Checks what can be seen without the other half.
fn check_terms(path: &str, config: &FeedConfig, terms: &Terms) -> Checked {
    let at = |field: &str| format!("{path}.{field}");
    for name in terms.vars.names() {
        check_variable(name).map_err(|problem| Error::config(at("vars"), problem))?;
    }
    let max_bytes = config.limits.subscribe_bytes;
    for (field, payload) in
        [("subscribe", &terms.subscribe), ("unsubscribe", &terms.unsubscribe), ("probe", &terms.probe)]
    {
        let Some(template) = payload else { continue };
        // Names are looked at when all of them are known.
        template.check(&|_| true).map_err(|problem| Error::config(at(field), problem))?;
        if let Some(size) = template.fixed_len()
            && size > max_bytes
        {
            return refuse(
                at(field),
                format!("is {size} bytes, over the {max_bytes} of limits.subscribe_bytes: raise that"),
            );
        }
    }
    if let Some(matcher) = &terms.data {
        super::matcher(&at("data"), matcher)?;
    }
    terms.stale_after.map_or(Ok(()), |value| super::stale_after(&at("stale_after"), value))?;
    terms.first_data_within.map_or(Ok(()), |value| limit(&at("first_data_within"), value))?;
    terms.by_hours.as_ref().map_or(Ok(()), |limits| check_by_hours(&at("by_hours"), config, limits))?;
    terms.ack_timeout.map_or(Ok(()), |value| duration(&at("ack_timeout"), value))?;
    if terms.topic.as_deref() == Some("") {
        return refuse(at("topic"), "is empty: give what the server calls it, or leave it out");
    }
    if let Some(pointer) = &terms.cursor {
        Place::parse(pointer).map_err(|problem| Error::config(at("cursor"), problem))?;
    }
    if let Some(rule) = &terms.sequence {
        super::sequence(&at("sequence"), rule)?;
    }
    if let Some(rule) = &terms.lag {
        rule.check().map_err(|(field, problem)| Error::config(at(&format!("lag.{field}")), problem))?;
        duration(&at("lag.limit"), rule.limit)?;
        rule.after.map_or(Ok(()), |after| duration(&at("lag.after"), after))?;
        duration(&at("lag.max_skew"), rule.max_skew)?;
    }
    if let Some(rule) = &terms.frozen {
        rule.check().map_err(|(field, problem)| Error::config(at(&format!("frozen.{field}")), problem))?;
        duration(&at("frozen.after"), rule.after)?;
    }
    terms.repair.as_ref().map_or(Ok(()), |steps| check_ladder(&at("repair"), steps))
}

/// Checks, of a subscription with all that holds for it, that its rules on late and frozen data can ever be met.
fn check_observed(path: &str, resolved: &Terms) -> Checked {
    if resolved.lag.as_ref().is_some_and(|rule| rule.after.is_none()) {
        return refuse(
            format!("{path}.lag.after"),
            "is missing, and there is no `stale_after` to take in its place: say how long late data may come",
        );
    }
    if resolved.frozen.as_ref().is_some_and(|rule| rule.pointer.is_none()) {
        let problem = match resolved.sequence {
            Some(_) => {
                "is missing, and where the number of a `sequence` with a closure is can't be told: name a field"
            }
            None => "is missing, and there is no `sequence` whose number could be meant: name a field",
        };
        return refuse(format!("{path}.frozen.pointer"), problem);
    }
    Ok(())
}

fn check_ladder(path: &str, steps: &[RepairStep]) -> Checked {
    if steps.is_empty() {
        return refuse(path, "has no rung: name at least one, such as \"reconnect\"");
    }
    for (index, step) in steps.iter().enumerate() {
        let path = || format!("{path}[{index}]");
        if let Some(wait) = step.wait()
            && !(SHORTEST..=LONGEST).contains(&wait)
        {
            return refuse(path(), "has a time that must be from 1ms to 365days");
        }
        let before = &steps[..index];
        if before.iter().any(|other| other.name() == step.name()) {
            return refuse(path(), "is there twice: each rung is tried once");
        }
        let new_connection = |step: &RepairStep| step.wait().is_none();
        if step.wait().is_some() && before.iter().any(new_connection)
            || *step == RepairStep::Reconnect && before.contains(&RepairStep::NextEndpoint)
        {
            return refuse(path(), "comes after a harder rung: put the milder ones first");
        }
    }
    Ok(())
}
