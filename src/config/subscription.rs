//! What the application wants data for.

use super::Limit;
use crate::dialect::{Matcher, Template, TemplateContext};
use crate::message::{Sendable, SubscriptionId};
use crate::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One thing to get data for: what to send for it, what its data looks like, how long it may be silent.
///
/// ```
/// use livefeed::{Matcher, Subscription};
/// use serde_json::json;
/// use std::time::Duration;
///
/// let btc = Subscription::new("btc")
///     .subscribe_json(json!({"op": "subscribe", "channel": "trades.BTC"}))
///     .data(Matcher::pointer("/channel", "trades.BTC"))
///     .stale_after(Duration::from_secs(5));
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Subscription {
    /// The name: tags messages and events. Not empty, and no other subscription's.
    pub id: SubscriptionId,
    /// What to write at each new connection. Default: none, for servers that send without being asked.
    ///
    /// In JSON a string is sent as it is, and any other JSON value as compact JSON, with the members of
    /// objects sorted by name. Bounded by `limits.subscribe_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Template>,
    /// What to write to end it, in the same form. Default: none; the data is then no longer delivered as its.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<Template>,
    /// What its data looks like. Default: none, which means every message that is not a heartbeat; an
    /// acknowledgement or an error message from the server then keeps it fresh, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<Matcher>,
    /// How long there may be no data for it, counted from when its subscribe message was written: data that
    /// never starts is stale too. Default: the feed's `stale_after`. From 1 ms to 365 days, or `none`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_after: Option<Limit>,
}

impl Subscription {
    /// A subscription that sends nothing and takes every message as its data.
    pub fn new(id: impl Into<SubscriptionId>) -> Self {
        Self { id: id.into(), subscribe: None, unsubscribe: None, data: None, stale_after: None }
    }

    /// Sends this text at each new connection.
    pub fn subscribe_text(mut self, text: impl Into<Secret>) -> Self {
        self.subscribe = Some(Template::text(text));
        self
    }

    /// Sends this value as compact JSON at each new connection.
    pub fn subscribe_json(mut self, value: impl Into<Value>) -> Self {
        self.subscribe = Some(Template::json(value));
        self
    }

    /// Sends what the closure returns at each new connection: for signatures and timestamps, which age.
    ///
    /// It is called on a livefeed thread, outside all locks. After an error or a panic nothing is sent, and an
    /// [`Alert`](crate::Alert) of the kind [`SubscribeFailed`](crate::AlertKind::SubscribeFailed) says so; with a limit
    /// the subscription then goes stale, and the closure is called again on the next connection.
    pub fn subscribe_with<R: Into<Sendable>>(
        mut self,
        make: impl Fn(&TemplateContext) -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        self.subscribe = Some(Template::closure(make));
        self
    }

    /// Sends this text to end the subscription.
    pub fn unsubscribe_text(mut self, text: impl Into<Secret>) -> Self {
        self.unsubscribe = Some(Template::text(text));
        self
    }

    /// Sends this value as compact JSON to end the subscription.
    pub fn unsubscribe_json(mut self, value: impl Into<Value>) -> Self {
        self.unsubscribe = Some(Template::json(value));
        self
    }

    /// Sends what the closure returns to end the subscription.
    pub fn unsubscribe_with<R: Into<Sendable>>(
        mut self,
        make: impl Fn(&TemplateContext) -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        self.unsubscribe = Some(Template::closure(make));
        self
    }

    /// Sets what its data looks like.
    pub fn data(mut self, matcher: Matcher) -> Self {
        self.data = Some(matcher);
        self
    }

    /// Sets how long there may be no data.
    pub fn stale_after(mut self, limit: impl Into<Limit>) -> Self {
        self.stale_after = Some(limit.into());
        self
    }

    /// Lets it be silent for as long as it likes.
    pub fn no_stale_limit(mut self) -> Self {
        self.stale_after = Some(Limit::None);
        self
    }

    /// The limit in force, for a feed with this one.
    pub(crate) fn effective_stale_after(&self, feed: Limit) -> Limit {
        self.stale_after.unwrap_or(feed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn its_own_limit_comes_before_the_feeds() {
        let feed = Limit::After(Duration::from_secs(60));
        let own = Subscription::new("a");
        assert_eq!(own.effective_stale_after(feed), feed);
        assert_eq!(own.clone().no_stale_limit().effective_stale_after(feed), Limit::None);
        let second = Duration::from_secs(1);
        assert_eq!(own.stale_after(second).effective_stale_after(Limit::None), Limit::After(second));
    }
}
