//! What the server's control messages mean: how bad an error is, and what a notice asks for.

use crate::duration;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
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
///
/// In data it is its name, such as `"reconnect"` or `"resubscribe_all"`; those with a time are
/// `{"reconnect_within": "30s"}` and `{"pause": "60s"}`. A time is from 1 ms to 365 days.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum NoticeAction {
    /// A new connection is made at once.
    Reconnect,
    /// A new connection is made at a random time within this.
    ReconnectWithin(Duration),
    /// Nothing counts as stale for so long, or until `Resume` or `ResubscribeAll`.
    Pause(Duration),
    /// Ends a pause.
    Resume,
    /// Every subscription is made again on this connection. Ends a pause.
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

    /// The time it comes with.
    pub(crate) fn time(self) -> Option<Duration> {
        match self {
            Self::ReconnectWithin(time) | Self::Pause(time) => Some(time),
            _ => None,
        }
    }
}

impl Serialize for NoticeAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let Some(time) = self.time() else { return serializer.serialize_str(self.name()) };
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(self.name(), &humantime::format_duration(time).to_string())?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for NoticeAction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NoticeVisitor)
    }
}

struct NoticeVisitor;

impl<'de> Visitor<'de> for NoticeVisitor {
    type Value = NoticeAction;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "\"reconnect\", \"resume\", \"resubscribe_all\", \"next_endpoint\", \"fatal\", \"alert\", \
             {\"reconnect_within\": \"30s\"} or {\"pause\": \"60s\"}",
        )
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<NoticeAction, E> {
        [
            NoticeAction::Reconnect,
            NoticeAction::Resume,
            NoticeAction::ResubscribeAll,
            NoticeAction::NextEndpoint,
            NoticeAction::Fatal,
            NoticeAction::Alert,
        ]
        .into_iter()
        .find(|action| action.name() == name)
        .ok_or_else(|| E::invalid_value(de::Unexpected::Str(name), &self))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<NoticeAction, A::Error> {
        let form = TimedForm::deserialize(MapAccessDeserializer::new(map))?;
        match (form.reconnect_within, form.pause) {
            (Some(time), None) => Ok(NoticeAction::ReconnectWithin(time)),
            (None, Some(time)) => Ok(NoticeAction::Pause(time)),
            _ => Err(de::Error::custom("give one of \"reconnect_within\" and \"pause\"")),
        }
    }
}

/// The actions with a time, as data.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TimedForm {
    #[serde(default, with = "duration::option")]
    reconnect_within: Option<Duration>,
    #[serde(default, with = "duration::option")]
    pause: Option<Duration>,
}

/// What is done about a gap in the sequence numbers, besides saying it.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnGap {
    /// Nothing: the gap is said.
    #[default]
    Signal,
    /// The subscription is made again; for a sequence of the whole connection, a new connection. What was on its way
    /// then does not join up with what follows: the first gap within 10 s is said, and no reason to do it again.
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

/// What a stale subscription, or connection, lacks.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StaleCause {
    /// Data: none came.
    Silent,
    /// Timely data: what came was older than it may be, by the time that it carries.
    Late,
    /// New data: what came says the same again and again.
    Frozen,
}

impl StaleCause {
    /// The name in JSON and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Late => "late",
            Self::Frozen => "frozen",
        }
    }

    /// What is missing, for sentences: `no data`, `no timely data`, `no new data`.
    pub(crate) fn lack(self) -> &'static str {
        match self {
            Self::Silent => "no data",
            Self::Late => "no timely data",
            Self::Frozen => "no new data",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn notices_have_a_form_in_data() {
        let second = Duration::from_secs(1);
        for (action, form) in [
            (NoticeAction::Reconnect, json!("reconnect")),
            (NoticeAction::ReconnectWithin(second), json!({"reconnect_within": "1s"})),
            (NoticeAction::Pause(second), json!({"pause": "1s"})),
            (NoticeAction::Resume, json!("resume")),
            (NoticeAction::ResubscribeAll, json!("resubscribe_all")),
            (NoticeAction::NextEndpoint, json!("next_endpoint")),
            (NoticeAction::Fatal, json!("fatal")),
            (NoticeAction::Alert, json!("alert")),
        ] {
            assert_eq!(serde_json::to_value(action).unwrap(), form);
            assert_eq!(serde_json::from_value::<NoticeAction>(form).unwrap(), action);
        }
        for wrong in [
            json!("pause"),
            json!("restart"),
            json!({}),
            json!({"pause": "1s", "reconnect_within": "1s"}),
            json!({"pause": 5}),
            json!({"resume": "1s"}),
            json!(["reconnect"]),
        ] {
            assert!(serde_json::from_value::<NoticeAction>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn classes_have_their_names_in_data() {
        for class in [
            ErrorClass::Benign,
            ErrorClass::RetryLater,
            ErrorClass::Refused,
            ErrorClass::ConnectionFatal,
            ErrorClass::FeedFatal,
        ] {
            assert_eq!(serde_json::to_value(class).unwrap(), json!(class.name()));
        }
    }
}
