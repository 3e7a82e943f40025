//! Checks that each placeholder can have a value: from a subscription, from what the server says, or from livefeed.

use super::{Checked, refuse};
use crate::config::{FeedConfig, Subscription, Terms};
use crate::dialect::{Interval, Matcher, Template, is_built_in};
use std::collections::BTreeSet;

/// What livefeed knows on each connection.
const CONNECTION: &str = "epoch, attempt, time_s, time_ms, time_us, time_iso";

/// Who may give values to variables.
pub(super) struct Names<'a> {
    /// A closure, which may set any.
    anybody: bool,
    /// What rules, the login and keepalives capture.
    captured: BTreeSet<&'a str>,
    /// What acknowledgements bind.
    bound: BTreeSet<&'a str>,
    /// Acknowledgements bind where the data begins.
    cursor: bool,
    /// Variables of subscriptions; `None`: there are none yet, so that they may have any.
    vars: Option<BTreeSet<&'a str>>,
}

/// Calls what it is given with the name of each placeholder, and whether it has a default.
type Each<'a> = dyn Fn(&mut dyn FnMut(&str, bool)) + 'a;

/// Where placeholders stand, and what is known there besides.
struct Place<'a> {
    path: &'a str,
    /// Names that livefeed gives a value there.
    own: &'a [&'a str],
    known: &'a dyn Fn(&str) -> bool,
    /// Names of those that the configuration gives.
    listed: Vec<&'a str>,
    /// Whom it is for, if that is not said by the path.
    whose: Option<&'a str>,
    /// What is bound only later.
    bound: Option<&'a BTreeSet<&'a str>>,
}

impl Place<'_> {
    fn check(&self, each: impl FnOnce(&mut dyn FnMut(&str, bool))) -> Checked {
        let mut missing = None;
        each(&mut |name, default| {
            let kind = if name.starts_with('/') { "/" } else { name };
            let known = is_built_in(name) || self.own.contains(&kind) || (self.known)(name);
            if !default && !known {
                missing.get_or_insert_with(|| name.to_owned());
            }
        });
        let Some(name) = missing else { return Ok(()) };
        let whose = self.whose.map(|whose| format!(" for {whose:?}")).unwrap_or_default();
        let mut known: Vec<&str> = self.listed.clone();
        known.sort_unstable();
        known.dedup();
        known.extend(self.own.iter().copied().filter(|own| *own != "/"));
        known.push(CONNECTION);
        let hint = match name.as_str() {
            name if self.bound.is_some_and(|bound| bound.contains(name)) => {
                "; it is bound by the acknowledgement, which comes after this: give it a default, such as ${name|}"
            }
            "cursor" if !self.own.is_empty() => "; ${cursor} needs the field `cursor`",
            _ if name.starts_with('/') => "; pointers into a message are for `reply` only",
            _ if self.own.contains(&"/") => "; a value of the message is ${/..}, with a JSON pointer",
            _ => "",
        };
        let known = known.join(", ");
        refuse(
            self.path,
            format!("nothing is known by the name of ${{{name}}}{whose}: known are {known}{hint}"),
        )
    }
}

impl<'a> Names<'a> {
    pub(super) fn new(config: &'a FeedConfig, has_dialect: bool) -> Self {
        let captured = config.rules.iter().flat_map(|rule| rule.capture.keys());
        let captured = captured.chain(config.login.iter().flat_map(|step| step.capture.keys()));
        let captured = captured.chain(config.keepalives.iter().flat_map(|it| it.capture.keys()));
        let mut bound: BTreeSet<&str> =
            config.rules.iter().flat_map(|rule| rule.bind.keys()).map(String::as_str).collect();
        let cursor = bound.remove("cursor");
        let vars = config.subscriptions.iter().flat_map(|subscription| subscription.terms.vars.names());
        let vars = vars.chain(config.defaults.vars.names());
        Self {
            anybody: has_dialect || config.login.iter().any(|step| step.call.is_some()),
            captured: captured.map(String::as_str).collect(),
            bound,
            cursor,
            vars: (!config.subscriptions.is_empty()).then(|| vars.collect()),
        }
    }

    /// Whether the server, or a closure, can give this variable a value.
    pub(super) fn is_said(&self, name: &str) -> bool {
        self.anybody || self.captured.contains(name) || self.bound.contains(name)
    }

    /// What one subscription says, with what it takes from `defaults`.
    pub(super) fn check_subscription(
        &self,
        path: &str,
        subscription: &Subscription,
        resolved: &Terms,
    ) -> Checked {
        let own = &subscription.terms;
        let known = |name: &str| {
            self.anybody
                || resolved.vars.get(name).is_some()
                || self.bound.contains(name)
                || self.captured.contains(name)
        };
        let listed: Vec<&str> =
            resolved.vars.names().chain(self.bound.iter().chain(&self.captured).copied()).collect();
        // What an acknowledgement binds comes after what it acknowledges.
        let before =
            |name: &str| self.anybody || resolved.vars.get(name).is_some() || self.captured.contains(name);
        let place = |field: &str, is_own: bool, built_in: &[&str], each: &Each<'_>| {
            let path = if is_own { format!("{path}.{field}") } else { format!("defaults.{field}") };
            let is_first = field == "subscribe";
            let known: &dyn Fn(&str) -> bool = if is_first { &before } else { &known };
            let listed: Vec<&str> = listed.iter().copied().filter(|name| !is_first || before(name)).collect();
            let bound = is_first.then_some(&self.bound);
            let whose = (!is_own).then(|| subscription.id.as_str());
            Place { path: &path, own: built_in, known, listed, whose, bound }.check(each)
        };
        let mut built_in = vec!["id", "name"];
        built_in.extend((resolved.cursor.is_some() || self.cursor).then_some("cursor"));
        let mut later = built_in.clone();
        later.push("subscribe_id");
        for (field, template, is_own, built_in) in [
            ("subscribe", &resolved.subscribe, own.subscribe.is_some(), &built_in),
            ("unsubscribe", &resolved.unsubscribe, own.unsubscribe.is_some(), &later),
            ("probe", &resolved.probe, own.probe.is_some(), &later),
        ] {
            if let Some(template) = template {
                place(field, is_own, built_in, &|found| template.each_placeholder(found))?;
            }
        }
        if let Some(matcher) = &resolved.data {
            let each: &Each<'_> = &|found| matcher.each_placeholder(found);
            place("data", own.data.is_some(), &["id", "name", "subscribe_id"], each)?;
        }
        if let Some(topic) = &resolved.topic {
            // A topic is a text with placeholders, as a template is.
            let topic = Template::text(topic.as_str());
            let each: &Each<'_> = &|found| topic.each_placeholder(found);
            place("topic", own.topic.is_some(), &["name"], each)?;
        }
        Ok(())
    }

    /// What is sent for the connection as a whole.
    pub(super) fn check_template(&self, path: &str, template: &Template, is_reply: bool) -> Checked {
        let own: &[&str] = if is_reply { &["/"] } else { &["id"] };
        let known = |name: &str| self.anybody || self.captured.contains(name);
        let listed = self.captured.iter().copied().collect();
        let place = Place { path, own, known: &known, listed, whose: None, bound: None };
        place.check(|found| template.each_placeholder(found))
    }

    /// A duration that the server may have told.
    pub(super) fn check_interval(&self, path: &str, interval: &Interval) -> Checked {
        let known = |name: &str| self.anybody || self.captured.contains(name);
        let listed = self.captured.iter().copied().collect();
        let place = Place { path, own: &[], known: &known, listed, whose: None, bound: None };
        place.check(|found| interval.each_name(&mut |name, default| found(name, default)))
    }

    /// How a rule finds subscriptions.
    pub(super) fn check_by(&self, path: &str, matcher: &Matcher) -> Checked {
        let known = |name: &str| {
            self.anybody
                || self.captured.contains(name)
                || self.bound.contains(name)
                || self.vars.as_ref().is_none_or(|vars| vars.contains(name))
        };
        let listed = self.vars.iter().flatten().chain(&self.bound).chain(&self.captured).copied().collect();
        let place = Place {
            path,
            own: &["id", "name", "subscribe_id"],
            known: &known,
            listed,
            whose: None,
            bound: None,
        };
        place.check(|found| matcher.each_placeholder(found))
    }

    /// Each step knows what those before it captured.
    pub(super) fn check_login(&self, config: &FeedConfig) -> Checked {
        let mut captured = BTreeSet::new();
        let mut anybody = false;
        for (index, step) in config.login.iter().enumerate() {
            let known = |name: &str| anybody || captured.contains(name);
            let place = |field: &str, each: &Each<'_>| {
                let path = format!("login[{index}].{field}");
                let listed = captured.iter().copied().collect();
                Place { path: &path, own: &["id"], known: &known, listed, whose: None, bound: None }
                    .check(each)
            };
            if let Some(send) = &step.send {
                place("send", &|found| send.each_placeholder(found))?;
            }
            for (field, matcher) in [("expect", &step.expect), ("refused", &step.refused)] {
                if let Some(matcher) = matcher {
                    place(field, &|found| matcher.each_placeholder(found))?;
                }
            }
            anybody |= step.call.is_some();
            captured.extend(step.capture.keys().map(String::as_str));
        }
        Ok(())
    }
}
