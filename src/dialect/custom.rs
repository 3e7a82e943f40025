//! Protocols that rules can't express: the application reads the messages itself.

use crate::class::{ErrorClass, NoticeAction};
use crate::message::{Content, Names, Payload, Sendable, SubscriptionId};
use crate::panics::caught;
use serde_json::Value;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use tungstenite::{Bytes, Utf8Bytes};

/// Reads the messages of a protocol that rules can't express: one that is not JSON, that puts several messages of
/// its own into one WebSocket message, or one into several.
///
/// It takes the place of rules, heartbeats and data matchers: what it says about a message is what the message is.
/// Codecs come before it. It is called on the reader thread, once for each message, and holds up reading as long as it
/// takes. A panic in it ends the connection.
///
/// What the application itself waits for is found in what is put out: a message that [`Readout::data`] or
/// [`Readout::other`] gives, and that meets the `expect` of a keepalive or the matcher of a
/// [`request`](crate::Feed::request), is that answer, and neither data nor anything else. Of a WebSocket message of which
/// neither gives anything, such as a heartbeat, the whole is looked at.
///
/// What it keeps from one message to the next comes from the server: bound it. Where the server breaks the protocol,
/// [`NoticeAction::Reconnect`] makes a new connection.
///
/// ```
/// use livefeed::{About, Dialect, ErrorClass, NoticeAction, Payload, ReadItem, Readout};
///
/// /// `data <name> <text>`, `ok`, `no <name>`: one a line, and a line may go on in the next message.
/// #[derive(Default)]
/// struct Lines {
///     rest: String,
/// }
///
/// impl Dialect for Lines {
///     fn reset(&mut self) {
///         self.rest.clear();
///     }
///
///     fn read(&mut self, message: Payload<'_>, out: &mut Readout) {
///         self.rest += message.as_text().unwrap_or_default();
///         while let Some(end) = self.rest.find('\n') {
///             let line: String = self.rest.drain(..=end).collect();
///             match line.trim_end().splitn(3, ' ').collect::<Vec<_>>()[..] {
///                 ["data", name, text] => out.data(&[name], text),
///                 ["ok"] => out.ack(About::Oldest),
///                 ["no", name] => out.nack(About::Name(name.into()), ErrorClass::Refused, line.trim_end()),
///                 _ => out.other(line),
///             }
///         }
///         if self.rest.len() > 65_536 {
///             out.notice(NoticeAction::Reconnect, "a line of more than 64 KiB");
///         }
///     }
/// }
///
/// let mut lines = Lines::default();
/// let mut out = Readout::new("ok\ndata btc 1");
/// lines.read(Payload::Text("ok\ndata btc 1"), &mut out);
/// assert!(matches!(out.items(), [ReadItem::Ack(About::Oldest)]));
/// ```
pub trait Dialect: Send {
    /// A new connection: what belongs to the old one is to be forgotten. Called before the first message of each.
    fn reset(&mut self) {}

    /// Says what a WebSocket message holds, by calls of `out`, in order: any number of messages of the protocol,
    /// of which the first may have begun in an earlier message, and the last may go on in a later one.
    fn read(&mut self, message: Payload<'_>, out: &mut Readout);
}

/// Whom an answer of the server is about.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum About {
    /// The subscriptions of a message that was sent: the number that the template had as `${id}`.
    Frame(u64),
    /// The subscription of this name.
    Name(SubscriptionId),
    /// The message that has waited for its answer the longest.
    Oldest,
    /// Everything that waits for an answer; where something ends, everything.
    All,
}

/// What a [`Dialect`] found in a message.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum ReadItem {
    /// See [`Readout::data`].
    Data {
        /// Whose it is. Empty: of the connection alone.
        subscriptions: Names,
        /// What the application gets.
        payload: Sendable,
    },
    /// See [`Readout::other`].
    Other(Sendable),
    /// See [`Readout::heartbeat`].
    Heartbeat,
    /// See [`Readout::keepalive`].
    Keepalive(SubscriptionId),
    /// See [`Readout::reply`].
    Reply(Sendable),
    /// See [`Readout::ack`].
    Ack(About),
    /// See [`Readout::nack`].
    Nack {
        /// Whom it is about.
        about: About,
        /// How bad it is.
        class: ErrorClass,
        /// The server's words.
        detail: String,
    },
    /// See [`Readout::ended`].
    Ended {
        /// Whom it is about.
        about: About,
        /// How bad it is.
        class: ErrorClass,
        /// The server's words.
        detail: String,
    },
    /// See [`Readout::notice`].
    Notice {
        /// What is to be done.
        action: NoticeAction,
        /// The server's words.
        detail: String,
    },
    /// See [`Readout::set`].
    Set {
        /// The variable.
        name: String,
        /// Its value.
        value: Value,
    },
}

/// Takes down what a [`Dialect`] finds in a message, in order.
pub struct Readout {
    /// The message that is read.
    message: Content,
    items: Vec<ReadItem>,
    names: Interned,
}

impl Readout {
    /// Makes one for a message. livefeed does so itself; this is for the tests of a dialect.
    pub fn new(message: impl Into<Sendable>) -> Self {
        Self { message: message.into().0, items: Vec::new(), names: Interned::default() }
    }

    /// Data of these subscriptions: the application gets it, and it refreshes them. With no names it is
    /// data of the connection alone. A name that no subscription has is left out.
    ///
    /// The payload is a text or bytes, which are copied, or a [`slice`](Self::slice) of the message, which is not.
    pub fn data(&mut self, subscriptions: &[&str], payload: impl Into<Sendable>) {
        let subscriptions = self.names.all(subscriptions);
        self.items.push(ReadItem::Data { subscriptions, payload: payload.into() });
    }

    /// Something for the application that is no data, and refreshes nothing.
    pub fn other(&mut self, payload: impl Into<Sendable>) {
        self.items.push(ReadItem::Other(payload.into()));
    }

    /// The server lives: no data.
    pub fn heartbeat(&mut self) {
        self.items.push(ReadItem::Heartbeat);
    }

    /// The subscription lives, but there is no data for it: it is not stale, and the application gets nothing.
    pub fn keepalive(&mut self, subscription: impl Into<SubscriptionId>) {
        self.items.push(ReadItem::Keepalive(subscription.into()));
    }

    /// Something to send, as the answer to a ping of the protocol. Answers go out in their order, before all that can
    /// wait. More than `limits.send_bytes` of them, because the server does not take them, end the connection.
    pub fn reply(&mut self, message: impl Into<Sendable>) {
        self.items.push(ReadItem::Reply(message.into()));
    }

    /// The server granted a subscription.
    pub fn ack(&mut self, about: About) {
        self.items.push(ReadItem::Ack(about));
    }

    /// The server refused a subscription. `detail` is what it said.
    pub fn nack(&mut self, about: About, class: ErrorClass, detail: impl Into<String>) {
        self.items.push(ReadItem::Nack { about, class, detail: detail.into() });
    }

    /// The server ended a subscription that it had granted; one that still waits for its answer is refused. `detail` is what it said.
    pub fn ended(&mut self, about: About, class: ErrorClass, detail: impl Into<String>) {
        self.items.push(ReadItem::Ended { about, class, detail: detail.into() });
    }

    /// The server announces something that asks for an action. `detail` is what it said.
    pub fn notice(&mut self, action: NoticeAction, detail: impl Into<String>) {
        self.items.push(ReadItem::Notice { action, detail: detail.into() });
    }

    /// Sets a variable of the connection, for templates: `${name}`. It is forgotten when the connection ends.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<Value>) {
        self.items.push(ReadItem::Set { name: name.into(), value: value.into() });
    }

    /// A part of the message, given in bytes, as a payload: text of a text message, else binary. The bytes are
    /// shared, not copied: a part that is kept keeps the whole message.
    ///
    /// A part of a text message that cuts a character is binary.
    ///
    /// # Panics
    ///
    /// When the message does not have these bytes.
    pub fn slice(&self, range: Range<usize>) -> Sendable {
        match &self.message {
            Content::Text(_) => self.text_slice(range),
            Content::Binary(bytes) => Sendable(Content::Binary(bytes.slice(range))),
        }
    }

    /// The same as text, whatever the message is, if the part is UTF-8; else binary.
    ///
    /// # Panics
    ///
    /// When the message does not have these bytes.
    pub fn text_slice(&self, range: Range<usize>) -> Sendable {
        let bytes = match &self.message {
            Content::Text(text) => AsRef::<Bytes>::as_ref(text),
            Content::Binary(bytes) => bytes,
        };
        let part = bytes.slice(range);
        Sendable(match Utf8Bytes::try_from(part.clone()) {
            Ok(text) => Content::Text(text),
            Err(_) => Content::Binary(part),
        })
    }

    /// What was taken down so far.
    pub fn items(&self) -> &[ReadItem] {
        &self.items
    }

    /// For the first message.
    #[allow(dead_code, reason = "the reader will use it")]
    pub(crate) fn empty() -> Self {
        Self::new("")
    }

    /// Lets a dialect read a message. What it found is then in order in [`drain`](Self::drain), also if it panicked,
    /// of which the error has the words.
    #[allow(dead_code, reason = "the reader will use it")]
    pub(crate) fn read(&mut self, dialect: &mut dyn Dialect, message: Content) -> Result<(), String> {
        self.items.clear();
        // The dialect sees the message while it writes down what it finds.
        self.message = message.clone();
        let result = caught(|| dialect.read(message.payload(), self));
        self.message = Content::Binary(Bytes::new());
        result
    }

    /// What was found, in order. The next message begins with an empty one.
    #[allow(dead_code, reason = "the reader will use it")]
    pub(crate) fn drain(&mut self) -> std::vec::Drain<'_, ReadItem> {
        self.items.drain(..)
    }
}

impl fmt::Debug for Readout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Readout").field("items", &self.items).finish_non_exhaustive()
    }
}

/// The names that data was for, to make each only once.
#[derive(Default)]
struct Interned {
    none: Names,
    single: HashMap<Box<str>, Names>,
}

impl Interned {
    /// They come from the server's messages: at most so many are kept.
    const MAX: usize = 65_536;

    fn all(&mut self, names: &[&str]) -> Names {
        match names {
            [] => Names::clone(&self.none),
            [name] => {
                if let Some(known) = self.single.get(*name) {
                    return Names::clone(known);
                }
                if self.single.len() >= Self::MAX {
                    self.single.clear();
                }
                let new = Names::new(vec![SubscriptionId::from(*name)]);
                self.single.insert((*name).into(), Names::clone(&new));
                new
            }
            several => Names::new(several.iter().map(|name| SubscriptionId::from(*name)).collect()),
        }
    }
}

#[cfg(test)]
#[path = "custom_tests.rs"]
mod tests;
