//! From a message to the rule that takes it, the request it answers, or the subscriptions it belongs to.

use super::matcher::Matcher;
use crate::message::{Names, Payload, SubscriptionId};
use crate::panics::caught;
use std::collections::BTreeMap;

/// Whom a matcher belongs to.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Owner {
    /// A rule, by its place.
    Rule(u32),
    /// A request that waits for its answer.
    Request(u64),
    /// The data of a subscription, by its key.
    Data(u64),
}

/// What [`Router::classify`] found. Made once and used again, so that it allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Hit {
    /// The first rule that matches; then the rest is empty.
    pub(crate) rule: Option<u32>,
    /// Else the first request that matches; then there are no keys.
    pub(crate) request: Option<u64>,
    /// Else the keys of the subscriptions it is data of, ascending.
    pub(crate) keys: Vec<u64>,
    /// Their names; `None` if there are none.
    pub(crate) names: Option<Names>,
    /// What a closure said that panicked; the first, if several did.
    pub(crate) panicked: Option<String>,
}

impl Hit {
    fn clear(&mut self) {
        self.rule = None;
        self.request = None;
        self.keys.clear();
        self.names = None;
        self.panicked = None;
    }
}

/// Finds what a message is by the matchers of all owners together.
#[derive(Debug, Default)]
pub(crate) struct Router {
    owners: BTreeMap<Owner, (Option<SubscriptionId>, Option<Matcher>)>,
}

impl Router {
    /// Adds an owner, in place of what it had before. Data without a matcher is any data. Matchers are taken to be
    /// checked and rendered: a condition that is not valid is not met.
    pub(crate) fn insert(&mut self, owner: Owner, name: Option<&SubscriptionId>, matcher: Option<&Matcher>) {
        self.owners.insert(owner, (name.cloned(), matcher.cloned()));
    }

    /// Removes an owner, if it is there.
    pub(crate) fn remove(&mut self, owner: Owner) {
        self.owners.remove(&owner);
    }

    /// Whether there are no owners, so that every message is data of no subscription.
    pub(crate) fn is_trivial(&self) -> bool {
        self.owners.is_empty()
    }

    /// Whether there is data and all of it has a matcher: a message that meets none is no data.
    pub(crate) fn is_strict(&self) -> bool {
        let mut data = self.owners.range(Owner::Data(0)..).peekable();
        data.peek().is_some() && data.all(|(_, (_, matcher))| matcher.is_some())
    }

    /// Says what a message is and whose. Closures of the application are called here.
    pub(crate) fn classify(&mut self, payload: Payload<'_>, hit: &mut Hit) {
        hit.clear();
        let mut names = Vec::new();
        for (owner, (name, matcher)) in &self.owners {
            let found = match matcher {
                Some(matcher) => caught(|| matcher.matches(payload)).unwrap_or_else(|message| {
                    hit.panicked.get_or_insert(message);
                    false
                }),
                None => matches!(owner, Owner::Data(_)),
            };
            if !found {
                continue;
            }
            match *owner {
                Owner::Rule(rule) => return hit.rule = Some(rule),
                Owner::Request(request) => return hit.request = Some(request),
                Owner::Data(key) => {
                    hit.keys.push(key);
                    names.extend(name.clone());
                }
            }
        }
        if !names.is_empty() {
            hit.names = Some(Names::new(names));
        }
    }
}

#[cfg(test)]
#[path = "router_tests.rs"]
mod tests;
