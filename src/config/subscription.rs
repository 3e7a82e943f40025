//! What the application wants data for.

use super::Limit;
use crate::dialect::Matcher;
use crate::message::SubscriptionId;
use crate::panics::caught;
use crate::secret::Secret;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

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
    pub subscribe: Option<SubscribePayload>,
    /// What to write to end it, in the same form. Default: none; the data is then no longer delivered as its.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<SubscribePayload>,
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
        self.subscribe = Some(SubscribePayload::Text(text.into()));
        self
    }

    /// Sends this value as compact JSON at each new connection.
    pub fn subscribe_json(mut self, value: impl Into<Value>) -> Self {
        self.subscribe = Some(SubscribePayload::json(&value.into()));
        self
    }

    /// Sends what the closure returns at each new connection: for signatures and timestamps, which age.
    ///
    /// It is called on a livefeed thread, outside all locks. After an error or a panic nothing is sent, and an
    /// [`Alert`](crate::Alert) of the kind [`SubscribeFailed`](crate::AlertKind::SubscribeFailed) says so; with a limit
    /// the subscription then goes stale, and the closure is called again on the next connection.
    pub fn subscribe_with(
        mut self,
        make: impl Fn(&SubscribeContext) -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        self.subscribe = Some(SubscribePayload::with(make));
        self
    }

    /// Sends this text to end the subscription.
    pub fn unsubscribe_text(mut self, text: impl Into<Secret>) -> Self {
        self.unsubscribe = Some(SubscribePayload::Text(text.into()));
        self
    }

    /// Sends this value as compact JSON to end the subscription.
    pub fn unsubscribe_json(mut self, value: impl Into<Value>) -> Self {
        self.unsubscribe = Some(SubscribePayload::json(&value.into()));
        self
    }

    /// Sends what the closure returns to end the subscription.
    pub fn unsubscribe_with(
        mut self,
        make: impl Fn(&SubscribeContext) -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        self.unsubscribe = Some(SubscribePayload::with(make));
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

/// What is sent to subscribe or unsubscribe. Its text is never shown.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum SubscribePayload {
    /// The same text each time.
    Text(Secret),
    /// A text made anew each time. Can't be expressed in data.
    With(SubscribeFn),
}

/// The closure of a [`SubscribePayload`].
#[derive(Clone)]
pub struct SubscribeFn(Arc<Make>);

type Make = dyn Fn(&SubscribeContext) -> Result<String, String> + Send + Sync;

impl fmt::Debug for SubscribeFn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<closure>")
    }
}

impl SubscribePayload {
    /// A value as compact JSON.
    pub fn json(value: &Value) -> Self {
        Self::Text(Secret::from(value.to_string()))
    }

    /// A text that the closure makes anew each time.
    pub fn with(make: impl Fn(&SubscribeContext) -> Result<String, String> + Send + Sync + 'static) -> Self {
        Self::With(SubscribeFn(Arc::new(make)))
    }

    /// The text to send now. A panic of the closure is an error like its own.
    pub(crate) fn render(&self, context: &SubscribeContext) -> Result<Secret, String> {
        match self {
            Self::Text(text) => Ok(text.clone()),
            Self::With(make) => match caught(|| (make.0)(context)) {
                Ok(made) => made.map(Secret::from),
                Err(message) => Err(format!("the closure panicked: {message}")),
            },
        }
    }
}

impl Serialize for SubscribePayload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Text(text) => text.serialize(serializer),
            Self::With(_) => serializer.serialize_str("<closure>"),
        }
    }
}

impl<'de> Deserialize<'de> for SubscribePayload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Value::deserialize(deserializer)? {
            Value::String(text) => Self::Text(Secret::from(text)),
            value => Self::json(&value),
        })
    }
}

/// What a closure that makes a subscribe message is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubscribeContext {
    /// The connection it is for, counted from 1.
    pub epoch: u64,
    /// The attempt that made the connection, counted from 1 since the one before.
    pub attempt: u32,
    /// Now, by the wall clock.
    pub time: SystemTime,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::time::Duration;

    fn rendered(payload: &SubscribePayload) -> Result<String, String> {
        let context = SubscribeContext { epoch: 2, attempt: 1, time: SystemTime::UNIX_EPOCH };
        payload.render(&context).map(|text| text.expose().to_owned())
    }

    #[test]
    fn a_string_is_text_and_the_rest_is_json() {
        for (data, text) in [
            (json!("ping"), "ping"),
            (json!("{ }"), "{ }"),
            (json!({"op": "sub", "args": [1, "a b"]}), r#"{"args":[1,"a b"],"op":"sub"}"#),
            (json!(["x"]), r#"["x"]"#),
            (json!(1), "1"),
        ] {
            let payload: SubscribePayload = serde_json::from_value(data).unwrap();
            assert_eq!(rendered(&payload), Ok(text.to_owned()));
        }
    }

    #[test]
    fn closures_are_called_each_time_and_their_panics_caught() {
        let payload = SubscribePayload::with(|context| Ok(format!("sub {}", context.epoch)));
        assert_eq!(rendered(&payload), Ok("sub 2".to_owned()));
        assert_eq!(rendered(&SubscribePayload::with(|_| Err("no key".into()))), Err("no key".to_owned()));
        let panics = SubscribePayload::with(|_| panic!("oh"));
        assert_eq!(rendered(&panics), Err("the closure panicked: oh".to_owned()));
    }

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
