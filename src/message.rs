//! What the user gets: a message, the subscriptions it belongs to, when it came.

use crate::clock::Stamp;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tungstenite::{Bytes, Utf8Bytes};

/// The name of a subscription, chosen by the application. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubscriptionId(Arc<str>);

impl SubscriptionId {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SubscriptionId {
    fn from(id: &str) -> Self {
        Self(id.into())
    }
}

impl From<String> for SubscriptionId {
    fn from(id: String) -> Self {
        Self(id.into())
    }
}

impl fmt::Display for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for SubscriptionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", &*self.0)
    }
}

impl PartialEq<str> for SubscriptionId {
    fn eq(&self, other: &str) -> bool {
        self.as_str() == other
    }
}

impl PartialEq<&str> for SubscriptionId {
    fn eq(&self, other: &&str) -> bool {
        self.as_str() == *other
    }
}

impl serde::Serialize for SubscriptionId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for SubscriptionId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::from)
    }
}

/// The content of a message, borrowed: what matchers and handlers look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payload<'a> {
    /// A text message (RFC 6455 section 5.6), checked to be UTF-8.
    Text(&'a str),
    /// A binary message.
    Binary(&'a [u8]),
}

impl<'a> Payload<'a> {
    /// The bytes, whichever kind it is.
    pub fn as_bytes(&self) -> &'a [u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Binary(bytes) => bytes,
        }
    }

    /// The text, if it is a text message.
    pub fn as_text(&self) -> Option<&'a str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Binary(_) => None,
        }
    }
}

/// The content of a message, owned. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Content {
    Text(Utf8Bytes),
    Binary(Bytes),
}

impl Content {
    pub(crate) fn payload(&self) -> Payload<'_> {
        match self {
            Self::Text(text) => Payload::Text(text.as_str()),
            Self::Binary(bytes) => Payload::Binary(bytes),
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) => bytes.len(),
        }
    }
}

/// A text or binary message to send: made from `&str`, `String`, `&[u8]` or `Vec<u8>`.
#[derive(Clone)]
pub struct Sendable(pub(crate) Content);

impl From<&str> for Sendable {
    fn from(text: &str) -> Self {
        Self(Content::Text(text.into()))
    }
}

impl From<String> for Sendable {
    fn from(text: String) -> Self {
        Self(Content::Text(text.into()))
    }
}

impl From<&[u8]> for Sendable {
    fn from(bytes: &[u8]) -> Self {
        Self(Content::Binary(bytes.to_vec().into()))
    }
}

impl From<Vec<u8>> for Sendable {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Content::Binary(bytes.into()))
    }
}

impl Sendable {
    /// What is sent, text or binary.
    pub fn payload(&self) -> Payload<'_> {
        self.0.payload()
    }
}

impl fmt::Debug for Sendable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sendable({} bytes)", self.0.len())
    }
}

/// The names of the subscriptions of a message: a thin pointer, because messages are moved often.
pub(crate) type Names = Arc<Vec<SubscriptionId>>;

/// When something was received, in as few bytes as will do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Received {
    mono: Instant,
    /// Nanoseconds since 1970, good until the year 2554.
    wall: u64,
}

impl From<Stamp> for Received {
    fn from(stamp: Stamp) -> Self {
        let wall = stamp.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { mono: stamp.mono, wall: u64::try_from(wall.as_nanos()).unwrap_or(u64::MAX) }
    }
}

impl Received {
    pub(crate) fn mono(self) -> Instant {
        self.mono
    }

    /// Nanoseconds since 1970, by the wall clock.
    pub(crate) fn nanos(self) -> u64 {
        self.wall
    }
}

/// A message of the feed, with the connection it came on and when it was received.
#[derive(Clone)]
pub struct Message {
    pub(crate) content: Content,
    pub(crate) epoch: u64,
    pub(crate) received: Received,
    pub(crate) subscriptions: Option<Names>,
}

impl Message {
    /// The content, text or binary.
    pub fn payload(&self) -> Payload<'_> {
        self.content.payload()
    }

    /// The text, if it is a text message.
    pub fn text(&self) -> Option<&str> {
        self.payload().as_text()
    }

    /// The bytes, whichever kind it is.
    pub fn as_bytes(&self) -> &[u8] {
        self.payload().as_bytes()
    }

    /// Length of the payload in bytes.
    pub fn len(&self) -> usize {
        self.content.len()
    }

    /// Whether the payload is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The connection it came on, counted from 1.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// When it was received, by the monotonic clock.
    pub fn received(&self) -> Instant {
        self.received.mono
    }

    /// When it was received, by the wall clock.
    pub fn time(&self) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_nanos(self.received.wall)
    }

    /// When it was received, by the wall clock, in nanoseconds since 1970.
    #[cfg(feature = "capi")]
    pub(crate) fn received_nanos(&self) -> u64 {
        self.received.nanos()
    }

    /// The subscriptions whose data matcher it met; empty if none did.
    pub fn subscriptions(&self) -> &[SubscriptionId] {
        self.subscriptions.as_ref().map_or(&[], |names| names.as_slice())
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("payload", &self.payload())
            .field("epoch", &self.epoch)
            .field("subscriptions", &self.subscriptions())
            .finish_non_exhaustive()
    }
}
