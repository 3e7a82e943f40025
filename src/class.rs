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
/// `{"reconnect_within": "30s"}` and `{"pause": "60s"}`, and with a URL `{"go_to": "/reconnect_url"}`. A time is from
/// 1 ms to 365 days.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
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
    /// A new connection is made at once, to where the server says: see [`GoTo`].
    GoTo(GoTo),
    /// The feed closes.
    Fatal,
    /// A person is told, by an alert.
    Alert,
}

impl NoticeAction {
    /// The name in configuration, JSON and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reconnect => "reconnect",
            Self::ReconnectWithin(_) => "reconnect_within",
            Self::Pause(_) => "pause",
            Self::Resume => "resume",
            Self::ResubscribeAll => "resubscribe_all",
            Self::NextEndpoint => "next_endpoint",
            Self::GoTo(_) => "go_to",
            Self::Fatal => "fatal",
            Self::Alert => "alert",
        }
    }

    /// The time it comes with.
    pub(crate) fn time(&self) -> Option<Duration> {
        match self {
            Self::ReconnectWithin(time) | Self::Pause(time) => Some(*time),
            _ => None,
        }
    }
}

/// Where the server sends the feed to: the next connection is made to a URL that it tells.
///
/// One attempt goes there; if it fails, the next goes to the endpoints again, and so does any later one. A provider of
/// endpoints is not asked for that attempt. Subscriptions are made as on any new connection.
///
/// Nobody is sent to where the configuration does not allow it. The URL must be `ws://` or `wss://`, the latter if
/// this connection is encrypted, of at most 4 KiB, and its host must be known: that of `url` or of one of
/// `endpoints`, or what a provider gave for this connection, with the same scheme and port. There the
/// configured headers go along, and the userinfo of that endpoint if the URL has none. Further hosts may be named by
/// `hosts`: to these go neither headers nor userinfo, but the subprotocols, and what login and subscriptions send. A URL that is missing or not
/// allowed is said by an alert, and the new connection is made to the endpoints.
///
/// In data `{"go_to": "/payload/reconnect_url"}`, or `{"go_to": "/d/url", "hosts": ["*.feed.example"]}`.
#[non_exhaustive]
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct GoTo {
    /// The JSON pointer of the URL in the message. Said by a [`Dialect`](crate::Dialect), it is the URL itself.
    pub url: String,
    /// Hosts that the URL may have besides those of the endpoints: names, `*.name` for all below one, each with `:port`
    /// if it is not the usual one. Default: none.
    pub hosts: Vec<String>,
}

impl GoTo {
    /// To the URL at this JSON pointer, on a host of the endpoints.
    pub fn at(pointer: impl Into<String>) -> Self {
        Self { url: pointer.into(), hosts: Vec::new() }
    }

    /// Allows a host besides.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.hosts.push(host.into());
        self
    }

    /// The first of its hosts that is none, and what is wrong with it.
    pub(crate) fn wrong_host(&self) -> Option<String> {
        let is_wrong = |host: &&String| {
            let name = host.strip_prefix("*.").unwrap_or(host);
            name.is_empty() || name.bytes().any(|b| b <= b' ' || b >= 0x7F || b"/@?#*".contains(&b))
        };
        let host = self.hosts.iter().find(is_wrong)?;
        Some(format!(
            "has {host:?} among its hosts: give a name such as \"feed.example\" or \"*.feed.example\""
        ))
    }
}

impl fmt::Debug for GoTo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A URL may hold a secret.
        let url = if self.url.is_empty() || self.url.starts_with('/') { &self.url } else { "[redacted]" };
        f.debug_struct("GoTo").field("url", &url).field("hosts", &self.hosts).finish()
    }
}

impl Serialize for NoticeAction {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = match self {
            Self::ReconnectWithin(_) | Self::Pause(_) | Self::GoTo(_) => serializer.serialize_map(None)?,
            _ => return serializer.serialize_str(self.name()),
        };
        if let Some(time) = self.time() {
            map.serialize_entry(self.name(), &humantime::format_duration(time).to_string())?;
        }
        if let Self::GoTo(GoTo { url, hosts }) = self {
            map.serialize_entry(self.name(), url)?;
            if !hosts.is_empty() {
                map.serialize_entry("hosts", hosts)?;
            }
        }
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
             {\"reconnect_within\": \"30s\"}, {\"pause\": \"60s\"} or {\"go_to\": \"/url\"}",
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
        let form = Form::deserialize(MapAccessDeserializer::new(map))?;
        match (form.reconnect_within, form.pause, form.go_to, form.hosts) {
            (Some(time), None, None, None) => Ok(NoticeAction::ReconnectWithin(time)),
            (None, Some(time), None, None) => Ok(NoticeAction::Pause(time)),
            (None, None, Some(url), hosts) => {
                Ok(NoticeAction::GoTo(GoTo { url, hosts: hosts.unwrap_or_default() }))
            }
            _ => Err(de::Error::custom(
                "give one of \"reconnect_within\", \"pause\" and \"go_to\"; \"hosts\" goes with \"go_to\"",
            )),
        }
    }
}

/// The actions that are more than a name, as data.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    #[serde(default, with = "duration::option")]
    reconnect_within: Option<Duration>,
    #[serde(default, with = "duration::option")]
    pause: Option<Duration>,
    #[serde(default)]
    go_to: Option<String>,
    #[serde(default)]
    hosts: Option<Vec<String>>,
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
    /// A new connection is made. If that comes again and again, the subscription is set aside for a while
    /// ([`FeedConfig::quarantine_after`](crate::FeedConfig)), as it is with [`Retry`](Self::Retry).
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
            (NoticeAction::GoTo(GoTo::at("/url")), json!({"go_to": "/url"})),
            (
                NoticeAction::GoTo(GoTo::at("/url").host("*.h:81")),
                json!({"go_to": "/url", "hosts": ["*.h:81"]}),
            ),
            (NoticeAction::Fatal, json!("fatal")),
            (NoticeAction::Alert, json!("alert")),
        ] {
            assert_eq!(serde_json::to_value(&action).unwrap(), form);
            assert_eq!(serde_json::from_value::<NoticeAction>(form).unwrap(), action);
        }
        for wrong in [
            json!("pause"),
            json!("restart"),
            json!({}),
            json!({"pause": "1s", "reconnect_within": "1s"}),
            json!({"pause": 5}),
            json!({"resume": "1s"}),
            json!({"go_to": 5}),
            json!({"go_to": "/url", "pause": "1s"}),
            json!({"hosts": ["h"]}),
            json!({"pause": "1s", "hosts": ["h"]}),
            json!(["reconnect"]),
        ] {
            assert!(serde_json::from_value::<NoticeAction>(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn where_to_go_shows_pointers_and_no_urls() {
        assert!(format!("{:?}", GoTo::at("/url").host("h")).contains("/url"));
        assert!(!format!("{:?}", NoticeAction::GoTo(GoTo::at("wss://h/?t=hunter2"))).contains("hunter2"));
        for wrong in ["", "*", "*.", "a b", "wss://h", "h/p", "u@h", "a*.h", "h\u{e9}"] {
            assert!(GoTo::at("/url").host("h").host(wrong).wrong_host().is_some(), "{wrong:?}");
        }
        assert_eq!(GoTo::at("/url").host("h").host("*.h:81").host("[::1]:81").wrong_host(), None);
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
