//! Checks subscriptions, with what they take from `defaults`.

use super::{Checked, LONGEST, SHORTEST, check_name, duration, limit, refuse};
use crate::config::{FeedConfig, RepairStep, Subscription, Terms};
use crate::dialect::{Pointer, Template};
use crate::error::Error;
use std::collections::HashSet;

/// Names of the built-in variables, which no other variable may have.
pub(super) const BUILT_IN: [&str; 9] =
    ["id", "name", "epoch", "attempt", "time_s", "time_ms", "time_us", "time_iso", "cursor"];

pub(super) fn check_subscriptions(config: &FeedConfig) -> Checked {
    check_terms("defaults", config, &config.defaults)?;
    let mut ids = HashSet::new();
    for (index, subscription) in config.subscriptions.iter().enumerate() {
        let path = format!("subscriptions[{index}]");
        check_subscription(&path, config, subscription)?;
        if !ids.insert(&subscription.id) {
            return refuse(path + ".id", format!("{:?} is there twice: each needs its own", subscription.id));
        }
    }
    Ok(())
}

/// Checks one subscription: by itself, and with what it takes from `defaults`.
pub(in crate::config) fn check_subscription(
    path: &str,
    config: &FeedConfig,
    subscription: &Subscription,
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
    Ok(())
}

/// Checks what can be seen without the other half.
fn check_terms(path: &str, config: &FeedConfig, terms: &Terms) -> Checked {
    let at = |field: &str| format!("{path}.{field}");
    for name in terms.vars.names() {
        check_var(&at("vars"), name)?;
    }
    let max_bytes = config.limits.subscribe_bytes;
    for (field, payload) in
        [("subscribe", &terms.subscribe), ("unsubscribe", &terms.unsubscribe), ("probe", &terms.probe)]
    {
        if let Some(size) = payload.as_ref().and_then(Template::fixed_len)
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
    for (field, value) in [("stale_after", terms.stale_after), ("first_data_within", terms.first_data_within)]
    {
        value.map_or(Ok(()), |value| limit(&at(field), value))?;
    }
    terms.ack_timeout.map_or(Ok(()), |value| duration(&at("ack_timeout"), value))?;
    if terms.topic.as_deref() == Some("") {
        return refuse(at("topic"), "is empty: give what the server calls it, or leave it out");
    }
    if let Some(pointer) = &terms.cursor {
        Pointer::parse(pointer).map_err(|problem| Error::config(at("cursor"), problem))?;
    }
    terms.repair.as_ref().map_or(Ok(()), |steps| check_ladder(&at("repair"), steps))
}

/// Checks the name of a variable; `path` is that of what names it.
pub(super) fn check_var(path: &str, name: &str) -> Checked {
    let path = || format!("{path}[{name:?}]");
    if BUILT_IN.contains(&name) {
        return refuse(path(), "is a name that livefeed gives a value itself: choose another");
    }
    if name.is_empty() || name.starts_with('/') || name.contains(['$', '{', '}', '|']) {
        return refuse(path(), "is no name for a variable: use letters, digits and _");
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
