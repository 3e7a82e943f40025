//! A blocking WebSocket feed client that can never go silently stale, and never hides a gap.
#![forbid(unsafe_code)]

mod clock;
mod config;
mod dialect;
mod engine;
mod error;
mod event;
mod feed;
mod health;
mod message;
mod panics;
mod policy;
mod secret;
mod table;
mod transport;

#[cfg(feature = "lab")]
pub mod lab;

pub use config::{
    Attempt, Connect, FeedBuilder, FeedConfig, FeedUrl, Limit, Limits, Overflow, Ping, ProviderError, Queue,
    Reconnect, RetryContext, SubscribeContext, SubscribeFn, SubscribePayload, Subscription, Target, Tls,
    TlsVersion,
};
pub use dialect::{MatchFn, Matcher};
pub use engine::bell::{Batch, BatchIter};
pub use error::{CloseReason, EndReason, Error, Stage};
pub use event::{
    Alert, AlertKind, Closed, Connected, Connecting, Disconnected, Event, Gap, GapCause, Repair, Stale,
    Subscribed,
};
pub use feed::{Feed, Iter, Receipt, Sendable};
pub use health::{Health, State, SubscriptionHealth, SubscriptionState};
pub use message::{Message, Payload, SubscriptionId};
pub use policy::session::Outcome;
pub use policy::verdict::Decision;
pub use secret::Secret;
