//! What the server's control messages mean: how bad an error is, and what a notice asks for.

use serde::{Deserialize, Serialize};
use std::time::Duration;

/// How bad it is that the server refuses or ends something.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// No error in truth: "already subscribed" and the like. It counts as an acknowledgement.
    Benign,
    /// It may work later: the same is tried again on this connection after a delay.
    RetryLater,
    /// It will not work on this connection. It is tried again on the next one.
    Refused,
    /// The connection is of no use any more: a new one is made.
    ConnectionFatal,
    /// The feed is of no use any more: it closes.
    FeedFatal,
}

impl ErrorClass {
    /// The name in configuration, JSON and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Benign => "benign",
            Self::RetryLater => "retry_later",
            Self::Refused => "refused",
            Self::ConnectionFatal => "connection_fatal",
            Self::FeedFatal => "feed_fatal",
        }
    }
}

/// What is done when the server announces something.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeAction {
    /// A new connection is made at once.
    Reconnect,
    /// A new connection is made at a random time within this.
    ReconnectWithin(Duration),
    /// Nothing counts as stale for so long, or until `Resume`.
    Pause(Duration),
    /// Ends a pause.
    Resume,
    /// Every subscription is made again on this connection.
    ResubscribeAll,
    /// A new connection is made, to the next endpoint.
    NextEndpoint,
    /// The feed closes.
    Fatal,
    /// A person is told, by an alert.
    Alert,
}

impl NoticeAction {
    /// The name in configuration, JSON and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reconnect => "reconnect",
            Self::ReconnectWithin(_) => "reconnect_within",
            Self::Pause(_) => "pause",
            Self::Resume => "resume",
            Self::ResubscribeAll => "resubscribe_all",
            Self::NextEndpoint => "next_endpoint",
            Self::Fatal => "fatal",
            Self::Alert => "alert",
        }
    }
}

/// What is done about a gap in the sequence numbers, besides saying it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnGap {
    /// Nothing: the gap is said.
    #[default]
    Signal,
    /// The subscription is made again; for a sequence of the whole connection, a new connection.
    Resubscribe,
    /// A new connection is made.
    Reconnect,
}

/// What is done when the server does not answer a subscribe message in time.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnAckTimeout {
    /// It is written again, three times in all; then a new connection is made.
    #[default]
    Retry,
    /// The subscription is taken to be in force; its freshness limit judges.
    Accept,
    /// The subscription counts as refused.
    Refuse,
    /// A new connection is made.
    Reconnect,
}
