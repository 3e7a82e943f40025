//! Checks what a feed makes of the server's control messages, and its login.

use super::names::Names;
use super::{Checked, plain_matcher, refuse};
use crate::class::NoticeAction;
use crate::config::{Ack, FeedConfig, Terms};
use crate::dialect::{By, Matcher};
use crate::error::Error;

pub(super) fn check_rules(config: &FeedConfig, names: &Names<'_>) -> Checked {
    for (index, heartbeat) in config.heartbeats.iter().enumerate() {
        plain_matcher(&format!("heartbeats[{index}]"), heartbeat)?;
    }
    for (index, rule) in config.rules.iter().enumerate() {
        let path = format!("rules[{index}]");
        // Names are looked at when all of them are known.
        rule.check(&|_| true, &|_| true)
            .map_err(|(field, problem)| Error::config(format!("{path}.{field}"), problem))?;
        if let Some(within) = &rule.within {
            super::talk::interval(format!("{path}.within"), within)?;
        }
        if let Some(delay) = rule.retry_after {
            super::duration(&format!("{path}.retry_after"), delay)?;
        }
        if let Some(NoticeAction::ReconnectWithin(time) | NoticeAction::Pause(time)) = &rule.action {
            super::duration(&format!("{path}.do"), *time)?;
        }
    }
    let numbered = has_numbers(config);
    for (index, rule) in config.rules.iter().enumerate() {
        let path = format!("rules[{index}]");
        let by_number = match &rule.by {
            Some(By::Id(_)) => true,
            Some(By::Listed(listed)) => listed.id.is_some(),
            _ => false,
        };
        if by_number && !numbered {
            let problem = "can find nothing, as no message of the feed tells the server its number: put \"${id}\" into \
                           `subscribe`, where the server takes what it answers with, or find the subscriptions by \
                           something else";
            return refuse(format!("{path}.by.id"), problem);
        }
        if let Some(By::Match(matcher)) = &rule.by {
            names.check_by(&format!("{path}.by.match"), matcher)?;
            if matcher.is_plain() {
                let problem = "has no placeholder, so that it tells no subscription from another: use one of its \
                               variables, or say \"all\"";
                return refuse(format!("{path}.by.match"), problem);
            }
        }
        if let Some(within) = &rule.within {
            names.check_interval(&format!("{path}.within"), within)?;
        }
        if let Some(reply) = &rule.reply {
            names.check_template(&format!("{path}.reply"), reply, true)?;
        }
    }
    check_reached(config)
}

/// Whether what is sent for subscriptions may have numbers that the server can answer with. Where nothing is sent for
/// any, those that join later may.
fn has_numbers(config: &FeedConfig) -> bool {
    let terms =
        || config.subscriptions.iter().map(|subscription| &subscription.terms).chain([&config.defaults]);
    if terms().all(|terms| terms.subscribe.is_none()) {
        return true;
    }
    let mut sent = terms().flat_map(|terms| [&terms.subscribe, &terms.unsubscribe, &terms.probe]).flatten();
    sent.any(|template| template.may_use(|name| matches!(name, "id" | "subscribe_id")))
}

pub(super) fn check_login(config: &FeedConfig, names: &Names<'_>) -> Checked {
    for (index, step) in config.login.iter().enumerate() {
        step.check(&|_| true)
            .map_err(|(field, problem)| Error::config(format!("login[{index}].{field}"), problem))?;
    }
    names.check_login(config)
}

/// A dialect says itself what messages are.
pub(super) fn check_beside_dialect(config: &FeedConfig) -> Checked {
    let subscriptions = config.subscriptions.iter().map(|subscription| &subscription.terms);
    let data = subscriptions.chain([&config.defaults]).any(|terms| terms.data.is_some());
    for (field, given) in [
        ("rules", !config.rules.is_empty()),
        ("heartbeats", !config.heartbeats.is_empty()),
        ("subscriptions", data),
    ] {
        if given {
            return refuse(
                field,
                "has no meaning beside a dialect, which says itself what messages are: leave out rules, heartbeats and \
                 data matchers",
            );
        }
    }
    Ok(())
}

/// What can't be met because something before it takes all.
pub(super) fn check_reached(config: &FeedConfig) -> Checked {
    let written = |matcher: &Matcher| {
        let text = serde_json::to_string(matcher).unwrap_or_default();
        // Of closures nothing is known.
        (!text.contains("<closure>")).then_some(text)
    };
    let heartbeats = config.heartbeats.iter().enumerate().map(|(i, m)| (format!("heartbeats[{i}]"), m));
    let rules = config.rules.iter().enumerate().map(|(i, rule)| (format!("rules[{i}]"), &rule.when));
    let mut before: Vec<(String, String)> = Vec::new();
    for (path, matcher) in heartbeats.chain(rules) {
        let Some(text) = written(matcher) else { continue };
        if let Some((first, _)) = before.iter().find(|(_, other)| *other == text) {
            return refuse(
                path,
                format!("can never be met: {first} fits the same messages, and comes first"),
            );
        }
        before.push((path, text));
    }
    Ok(())
}

/// Whether what confirms a subscription can ever come.
pub(super) fn check_ack(path: &str, config: &FeedConfig, resolved: &Terms) -> Checked {
    if resolved.ack != Some(Ack::Rule) {
        return Ok(());
    }
    if !config.has_ack_rule() {
        let problem = "is \"rule\", and there is no rule with \"is\": \"ack\": add one, or say \"first_data\" or \"none\"";
        return refuse(format!("{path}.ack"), problem);
    }
    Ok(())
}
