//! What changes of whom messages are for, while a feed runs.

use crate::dialect::matcher::Matcher;
use crate::dialect::template::placeholder::Vars;
use crate::message::SubscriptionId;

/// What changes while a feed runs. The same change twice is the same as once.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A subscription, or what it has become.
    Insert {
        key: u64,
        name: SubscriptionId,
        /// What its data looks like; `None`: any data.
        data: Option<Matcher>,
        /// For rules with `by: match`, by their index: the matcher, filled in for this subscription.
        by: Vec<(u32, Matcher)>,
    },
    /// A subscription that gets no data any more; the server's answers may still be about it.
    Part {
        key: u64,
        name: SubscriptionId,
        /// As in `Insert`.
        by: Vec<(u32, Matcher)>,
    },
    Remove {
        key: u64,
    },
    /// Somebody waits for a message like this.
    Request {
        ticket: u64,
        matcher: Matcher,
    },
    RequestDone {
        ticket: u64,
    },
    /// No subscriptions and no requests.
    Clear,
}

impl Change {
    /// A subscription as its variables make it now; `by` are the matchers of the rules that find theirs by one. What
    /// can't be filled in yet (a key that its acknowledgement will bind) is met by nothing.
    pub(crate) fn insert(
        key: u64,
        name: SubscriptionId,
        data: Option<&Matcher>,
        by: &[(u32, Matcher)],
        vars: &dyn Vars,
    ) -> Self {
        let data = data.map(|matcher| fill(matcher, vars));
        Self::Insert { key, name, data, by: fill_all(by, vars) }
    }

    /// The same for one that only answers may be about.
    pub(crate) fn part(key: u64, name: SubscriptionId, by: &[(u32, Matcher)], vars: &dyn Vars) -> Self {
        Self::Part { key, name, by: fill_all(by, vars) }
    }
}

fn fill(matcher: &Matcher, vars: &dyn Vars) -> Matcher {
    matcher.render(vars).unwrap_or_else(|_| Matcher::any([]))
}

fn fill_all(by: &[(u32, Matcher)], vars: &dyn Vars) -> Vec<(u32, Matcher)> {
    by.iter().map(|(rule, matcher)| (*rule, fill(matcher, vars))).collect()
}
