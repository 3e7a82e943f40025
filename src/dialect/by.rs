//! Whom a message of the server is about: how a rule finds the subscriptions.

use crate::dialect::json::pointer::Pointer;
use crate::dialect::matcher::Matcher;
use crate::dialect::template;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::fmt;

/// Whom a message is about: how a [`Rule`](crate::Rule) finds the subscriptions.
///
/// In data `{"id": "/id"}`, `{"match": {"pointer": "/channel", "equals": "${channel}"}}`, `{"listed": "/channels/*"}`,
/// `"oldest"` or `"all"`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum By {
    /// The message has the number of the frame (its `${id}`) at this JSON pointer, as a number or as a text of
    /// digits. With `*` the first that is found. Some `subscribe` or `unsubscribe` of the feed has to tell the server the
    /// number.
    Id(String),
    /// The message meets this matcher, whose placeholders each subscription fills in with its own variables.
    Match(Matcher),
    /// The message lists what is subscribed.
    Listed(Listed),
    /// The subscription that has waited longest for an answer.
    Oldest,
    /// All: of what is acknowledged or refused, each that waits for an answer; of what ends or is kept alive, each
    /// subscription of the feed.
    All,
}

/// What a message lists: compared with the `topic` of the subscriptions.
///
/// In data `{"listed": "/channels/*", "id": "/id", "complete": true}`. Where one pointer does not do,
/// `listed` is an object: `{"listed": {"trades.": "/trades/*", "quotes.": "/quotes/*"}}` lists
/// `trades.AAPL` for an `AAPL` in `trades`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Listed {
    /// The JSON pointers of the topics, by the text that is put in front of what is found there. At least one. Where one
    /// leads to an array, its elements are listed, as with `/*` behind it.
    pub listed: BTreeMap<String, String>,
    /// The JSON pointer of the number of the frame that is answered. Default: none, which means that the list is
    /// about all subscriptions.
    pub id: Option<String>,
    /// Whether the list is all that there is. With `id`: what that message asked for and the list has not is refused.
    /// Without: what was in force and is missing has ended, to be tried again; and what no list has had when its answer is
    /// overdue is refused (before, the list may be from before the server read the message). Default: `false`.
    pub complete: bool,
}

impl Listed {
    /// What is found at this JSON pointer.
    pub fn at(pointer: impl Into<String>) -> Self {
        Self { listed: BTreeMap::from([(String::new(), pointer.into())]), id: None, complete: false }
    }

    /// What is found at several, with a text in front.
    pub fn prefixed<P: Into<String>, T: Into<String>>(pointers: impl IntoIterator<Item = (P, T)>) -> Self {
        let listed = pointers.into_iter().map(|(prefix, pointer)| (prefix.into(), pointer.into())).collect();
        Self { listed, id: None, complete: false }
    }

    /// Sets where the number of the answered frame is.
    pub fn id(mut self, pointer: impl Into<String>) -> Self {
        self.id = Some(pointer.into());
        self
    }

    /// Takes what is not listed as refused.
    pub fn complete(mut self) -> Self {
        self.complete = true;
        self
    }
}

impl By {
    /// The path in the error begins with a dot, or is empty.
    pub(in crate::dialect) fn check(&self, known: &dyn Fn(&str) -> bool) -> Result<(), (String, String)> {
        let pointer = |field: &str, text: &str| {
            Pointer::parse(text).map(drop).map_err(|problem| (field.to_owned(), problem))
        };
        match self {
            Self::Id(id) => pointer(".id", id),
            Self::Match(matcher) => {
                matcher.check().map_err(|(field, problem)| (format!(".match.{field}"), problem))?;
                template::check_matcher(matcher, known).map_err(|problem| (".match".to_owned(), problem))
            }
            Self::Listed(listed) => {
                if listed.listed.is_empty() {
                    return Err((".listed".into(), "is empty: name a field".into()));
                }
                for (prefix, text) in &listed.listed {
                    let field =
                        if prefix.is_empty() { ".listed".into() } else { format!(".listed.{prefix}") };
                    pointer(&field, text)?;
                }
                listed.id.as_ref().map_or(Ok(()), |id| pointer(".id", id))
            }
            Self::Oldest | Self::All => Ok(()),
        }
    }
}

/// How subscriptions are found, as data.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ByForm {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    matcher: Option<Matcher>,
    #[serde(skip_serializing_if = "Option::is_none")]
    listed: Option<Pointers>,
    #[serde(skip_serializing_if = "Option::is_none")]
    complete: Option<bool>,
}

/// One pointer, or several with the text in front.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a JSON pointer, or an object of them")]
enum Pointers {
    One(String),
    Several(BTreeMap<String, String>),
}

impl Serialize for By {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let form = match self {
            Self::Id(id) => ByForm { id: Some(id.clone()), ..ByForm::default() },
            Self::Match(matcher) => ByForm { matcher: Some(matcher.clone()), ..ByForm::default() },
            Self::Listed(Listed { listed, id, complete }) => ByForm {
                id: id.clone(),
                listed: Some(match listed.get("") {
                    Some(pointer) if listed.len() == 1 => Pointers::One(pointer.clone()),
                    _ => Pointers::Several(listed.clone()),
                }),
                complete: complete.then_some(true),
                ..ByForm::default()
            },
            Self::Oldest => return serializer.serialize_str("oldest"),
            Self::All => return serializer.serialize_str("all"),
        };
        form.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for By {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ByVisitor)
    }
}

struct ByVisitor;

impl<'de> Visitor<'de> for ByVisitor {
    type Value = By;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{\"id\": ..}, {\"match\": ..}, {\"listed\": ..}, \"oldest\" or \"all\"")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<By, E> {
        match name {
            "oldest" => Ok(By::Oldest),
            "all" => Ok(By::All),
            _ => Err(E::invalid_value(de::Unexpected::Str(name), &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<By, A::Error> {
        match ByForm::deserialize(MapAccessDeserializer::new(map))? {
            ByForm { id: Some(id), matcher: None, listed: None, complete: None } => Ok(By::Id(id)),
            ByForm { id: None, matcher: Some(matcher), listed: None, complete: None } => {
                Ok(By::Match(matcher))
            }
            ByForm { id, matcher: None, listed: Some(listed), complete } => {
                let listed = match listed {
                    Pointers::One(pointer) => BTreeMap::from([(String::new(), pointer)]),
                    Pointers::Several(pointers) => pointers,
                };
                Ok(By::Listed(Listed { listed, id, complete: complete.unwrap_or(false) }))
            }
            _ => Err(de::Error::custom(
                "give one of {\"id\": ..}, {\"match\": ..}, {\"listed\": .., \"id\": .., \"complete\": ..}",
            )),
        }
    }
}
