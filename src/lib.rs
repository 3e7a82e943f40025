//! A blocking WebSocket feed client that can never go silently stale, and never hides a gap.
#![forbid(unsafe_code)]

mod clock;
mod dialect;
mod engine;
mod error;
mod event;
mod health;
mod message;
mod policy;
mod secret;
mod transport;

#[cfg(feature = "lab")]
pub mod lab;

pub use error::{CloseReason, EndReason, Error, Stage};
pub use event::{
    Alert, AlertKind, Closed, Connected, Connecting, Disconnected, Event, Gap, GapCause, Repair, Stale,
    Subscribed,
};
pub use health::{Health, State, SubscriptionHealth, SubscriptionState};
pub use message::{Message, Payload, SubscriptionId};
pub use policy::session::Outcome;
pub use policy::verdict::Decision;
pub use secret::Secret;
