//! What the application wants data for.

use super::terms::{Ack, Terms};
use super::{HourLimit, Limit, RepairStep, StaleAfter};
use crate::class::OnAckTimeout;
use crate::dialect::{FrozenRule, LagRule, Matcher, SequenceRule, Template, TemplateContext};
use crate::message::{Sendable, SubscriptionId};
use crate::secret::Secret;
use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error as _, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use std::fmt;
use std::time::Duration;

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
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Subscription {
    /// The name: tags messages and events. Not empty, and no other subscription's.
    pub id: SubscriptionId,
    /// The rest. In data its fields stand beside `id`.
    #[serde(flatten)]
    pub terms: Terms,
}

impl Subscription {
    /// A subscription that takes everything from the feed's `defaults`; without those it sends nothing, and every
    /// message is its data.
    pub fn new(id: impl Into<SubscriptionId>) -> Self {
        Self { id: id.into(), terms: Terms::default() }
    }

    /// Sets a variable, for the placeholders of its templates and matchers.
    pub fn var(mut self, name: impl Into<String>, value: impl Into<Value>) -> Self {
        self.terms.vars.insert(name, value);
        self
    }

    /// Sends this text at each new connection.
    pub fn subscribe_text(mut self, text: impl Into<Secret>) -> Self {
        self.terms.subscribe = Some(Template::text(text));
        self
    }

    /// Sends this value as compact JSON at each new connection.
    pub fn subscribe_json(mut self, value: impl Into<Value>) -> Self {
        self.terms.subscribe = Some(Template::json(value));
        self
    }

    /// Sends what the closure returns at each new connection: for signatures and timestamps, which age.
    ///
    /// It is called on a livefeed thread, outside all locks. After an error or a panic nothing is sent, and an
    /// [`Alert`](crate::Alert) of the kind [`SubscribeFailed`](crate::AlertKind::SubscribeFailed) says so. The closure is
    /// called again after a second, and then after twice as long each time, up to 5 minutes, and on the next connection.
    pub fn subscribe_with<R: Into<Sendable>>(
        mut self,
        make: impl Fn(&TemplateContext) -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        self.terms.subscribe = Some(Template::closure(make));
        self
    }

    /// Sends this text to end the subscription.
    pub fn unsubscribe_text(mut self, text: impl Into<Secret>) -> Self {
        self.terms.unsubscribe = Some(Template::text(text));
        self
    }

    /// Sends this value as compact JSON to end the subscription.
    pub fn unsubscribe_json(mut self, value: impl Into<Value>) -> Self {
        self.terms.unsubscribe = Some(Template::json(value));
        self
    }

    /// Sends what the closure returns to end the subscription.
    pub fn unsubscribe_with<R: Into<Sendable>>(
        mut self,
        make: impl Fn(&TemplateContext) -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        self.terms.unsubscribe = Some(Template::closure(make));
        self
    }

    /// Sets what its data looks like.
    pub fn data(mut self, matcher: Matcher) -> Self {
        self.terms.data = Some(matcher);
        self
    }

    /// Sets how long there may be no data, or how that is learned.
    pub fn stale_after(mut self, limit: impl Into<StaleAfter>) -> Self {
        self.terms.stale_after = Some(limit.into());
        self
    }

    /// Lets it be silent for as long as it likes.
    pub fn no_stale_limit(mut self) -> Self {
        self.terms.stale_after = Some(StaleAfter::None);
        self
    }

    /// Sets limits by hours, in place of `stale_after`: the first that applies counts.
    pub fn by_hours(mut self, limits: impl IntoIterator<Item = HourLimit>) -> Self {
        self.terms.by_hours = Some(limits.into_iter().collect());
        self
    }

    /// Sets how long the first data may take, in place of `stale_after`.
    pub fn first_data_within(mut self, limit: impl Into<Limit>) -> Self {
        self.terms.first_data_within = Some(limit.into());
        self
    }

    /// Sends this text to find out whether its data still flows.
    pub fn probe_text(mut self, text: impl Into<Secret>) -> Self {
        self.terms.probe = Some(Template::text(text));
        self
    }

    /// Sends this value as compact JSON to find out whether its data still flows.
    pub fn probe_json(mut self, value: impl Into<Value>) -> Self {
        self.terms.probe = Some(Template::json(value));
        self
    }

    /// Sends what the closure returns to find out whether its data still flows.
    pub fn probe_with<R: Into<Sendable>>(
        mut self,
        make: impl Fn(&TemplateContext) -> Result<R, String> + Send + Sync + 'static,
    ) -> Self {
        self.terms.probe = Some(Template::closure(make));
        self
    }

    /// Sets what confirms it.
    pub fn ack(mut self, ack: Ack) -> Self {
        self.terms.ack = Some(ack);
        self
    }

    /// Sets how long the confirmation may take.
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.terms.ack_timeout = Some(timeout);
        self
    }

    /// Sets what is done when the confirmation does not come in time.
    pub fn on_ack_timeout(mut self, action: OnAckTimeout) -> Self {
        self.terms.on_ack_timeout = Some(action);
        self
    }

    /// Sets what the server calls it, for acknowledgements that list what is in force.
    pub fn topic(mut self, topic: impl Into<String>) -> Self {
        self.terms.topic = Some(topic.into());
        self
    }

    /// Sets where its messages have what `${cursor}` then stands for.
    pub fn cursor(mut self, pointer: impl Into<String>) -> Self {
        self.terms.cursor = Some(pointer.into());
        self
    }

    /// Sets which numbers in its data show that messages are missing.
    pub fn sequence(mut self, rule: SequenceRule) -> Self {
        self.terms.sequence = Some(rule);
        self
    }

    /// Sets where its data says when it was made, and how old it may be.
    pub fn lag(mut self, rule: LagRule) -> Self {
        self.terms.lag = Some(rule);
        self
    }

    /// Sets how long its data may say the same again and again.
    pub fn frozen(mut self, rule: FrozenRule) -> Self {
        self.terms.frozen = Some(rule);
        self
    }

    /// Sets what is done when it is stale.
    pub fn repair(mut self, steps: impl IntoIterator<Item = RepairStep>) -> Self {
        self.terms.repair = Some(steps.into_iter().collect());
        self
    }
}

impl<'de> Deserialize<'de> for Subscription {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(SubscriptionVisitor)
    }
}

const NO_ID: &str = "has no `id`: give it a name, such as \"id\": \"btc\"";

/// Takes `id` out and leaves the other fields to [`Terms`]. serde's own `flatten` would neither refuse unknown
/// fields nor keep the path to what is wrong.
struct SubscriptionVisitor;

impl<'de> Visitor<'de> for SubscriptionVisitor {
    type Value = Subscription;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object {..}")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Subscription, A::Error> {
        let mut id = None;
        let terms = Terms::deserialize(MapAccessDeserializer::new(WithoutId { map, id: &mut id }))?;
        Ok(Subscription { id: id.ok_or_else(|| A::Error::custom(NO_ID))?, terms })
    }
}

/// The fields of an object but for `id`, which is put aside.
struct WithoutId<'a, A> {
    map: A,
    id: &'a mut Option<SubscriptionId>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithoutId<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut seed = seed;
        loop {
            match self.map.next_key_seed(OtherThanId(seed))? {
                None => return Ok(None),
                Some(Key::Other(key)) => return Ok(Some(key)),
                Some(Key::Id(again)) => {
                    if self.id.replace(self.map.next_value()?).is_some() {
                        return Err(A::Error::duplicate_field("id"));
                    }
                    seed = again;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

enum Key<K, S> {
    Id(S),
    Other(K),
}

/// Reads a key, unless it is `id`. Within the reader of the key, so that its errors know of it.
struct OtherThanId<S>(S);

impl<'de, S: DeserializeSeed<'de>> DeserializeSeed<'de> for OtherThanId<S> {
    type Value = Key<S::Value, S>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let key = String::deserialize(deserializer)?;
        if key == "id" {
            return Ok(Key::Id(self.0));
        }
        if key == "name" {
            return Err(D::Error::custom("is no field: did you mean `id`?"));
        }
        self.0.deserialize(key.into_deserializer()).map(Key::Other)
    }
}
