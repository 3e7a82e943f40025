//! What stands between a WebSocket message and the messages in it: compression, lines, arrays, prefixes.

use crate::dialect::json::elements;
use crate::message::Content;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::ops::Range;
use tungstenite::{Bytes, Utf8Bytes};

/// The longest text in front of JSON, in bytes.
const MAX_PREFIX: usize = 64;

/// More messages than this in one WebSocket message end the connection.
const MAX_PARTS: usize = 65_536;

/// Turns WebSocket messages into the messages that are in them. In data its name: `"lines"`.
///
/// Several are applied in order, each to what the one before it made. What comes out is bounded: a decompressed message
/// by `limits.message_bytes`, and the parts of one by 65,536. A connection that goes beyond ends.
///
/// ```
/// use livefeed::Codec;
///
/// let codecs: Vec<Codec> = serde_json::from_str(r#"["gzip", "items"]"#).unwrap();
/// assert_eq!(codecs, [Codec::Gzip, Codec::Items]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Codec {
    /// Decompresses binary messages that begin as gzip (RFC 1952: bytes 1f 8b), each by itself; several members
    /// in one message are joined. The result is text if it is UTF-8, else binary. What else there is passes
    /// unchanged. Needs the feature `gzip`. A message that is broken ends the connection.
    Gzip,
    /// Decompresses every binary message, each by itself: zlib (RFC 1950), or, where it does not begin as that, bare
    /// deflate (RFC 1951). The result is text if it is UTF-8, else binary. Text passes unchanged. Needs the feature
    /// `gzip`. A message that is broken ends the connection.
    Deflate,
    /// Makes one message of each line of a text message. Lines end with `\n` or `\r\n`; empty ones are left
    /// out. Binary messages pass unchanged. The lines share the bytes of the message: one that is kept keeps
    /// them all.
    Lines,
    /// Makes one message of each element of a text message that is a JSON array; an empty one makes none. Elements
    /// are not looked into, but for brackets, commas and strings. Anything else passes unchanged, as does an
    /// array that is malformed, or nested more than 128 deep. The elements share the bytes of the message: one that
    /// is kept keeps them all.
    Items,
    /// Makes a JSON array of a text message that has a few characters in front of a JSON object or array, so that
    /// pointers lead to both: `42["price",5]` becomes `["42",["price",5]]`, with the characters always as a string.
    /// They are at most 64, of printable ASCII without `"` and `\`. Of the JSON only the first and the last character are looked
    /// at. Anything else passes unchanged.
    Prefixed,
}

impl Codec {
    /// The name in configuration and logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Lines => "lines",
            Self::Items => "items",
            Self::Prefixed => "prefixed",
        }
    }

    /// Whether this build can do it: `gzip` and `deflate` need the feature `gzip`.
    pub fn is_available(self) -> bool {
        match self {
            Self::Gzip | Self::Deflate => cfg!(feature = "gzip"),
            Self::Lines | Self::Items | Self::Prefixed => true,
        }
    }

    /// Checks what the types can't. The error says what would be right.
    #[allow(dead_code, reason = "the configuration will ask")]
    pub(crate) fn check(self) -> Result<(), String> {
        if self.is_available() {
            return Ok(());
        }
        let name = self.name();
        Err(format!("is \"{name}\", which this build of livefeed can't do: build it with the feature `gzip`"))
    }
}

/// Why a message could not be decoded. The connection is of no use then: what it said is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(not(feature = "gzip"), allow(dead_code, reason = "without it nothing is decompressed"))]
pub(crate) enum CodecError {
    /// It is broken.
    Broken { codec: Codec, detail: String },
    /// Decompressed it is larger than a message may be.
    TooLarge { limit: usize },
    /// There are more messages in it than this.
    TooMany { limit: usize },
}

impl fmt::Display for CodecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken { codec, detail } => write!(f, "a message is no valid {}: {detail}", codec.name()),
            Self::TooLarge { limit } => write!(f, "a message decompresses to more than {limit} bytes"),
            Self::TooMany { limit } => write!(f, "a message holds more than {limit} messages"),
        }
    }
}

/// The codecs of a connection, in order. None of them remembers anything from one message to the next.
#[derive(Debug)]
pub(crate) struct Chain {
    codecs: Vec<Codec>,
    #[cfg_attr(not(feature = "gzip"), allow(dead_code, reason = "without it nothing is decompressed"))]
    max_bytes: usize,
    /// Where the parts of a message are, to know that all is well before the first goes out.
    parts: Vec<Range<usize>>,
    #[cfg(feature = "gzip")]
    inflater: inflate::Inflater,
}

impl Chain {
    pub(crate) fn new(codecs: &[Codec], max_bytes: usize) -> Self {
        Self {
            codecs: codecs.to_vec(),
            max_bytes,
            parts: Vec::new(),
            #[cfg(feature = "gzip")]
            inflater: inflate::Inflater::default(),
        }
    }

    /// Whether messages are what they are.
    pub(crate) fn is_empty(&self) -> bool {
        self.codecs.is_empty()
    }

    /// Calls `out` with each message in a WebSocket message, in order. After an error none follows.
    pub(crate) fn decode(
        &mut self,
        content: Content,
        out: &mut dyn FnMut(Content),
    ) -> Result<(), CodecError> {
        let mut left = MAX_PARTS;
        self.apply(0, content, &mut left, out)
    }

    fn apply(
        &mut self,
        index: usize,
        content: Content,
        left: &mut usize,
        out: &mut dyn FnMut(Content),
    ) -> Result<(), CodecError> {
        let Some(codec) = self.codecs.get(index).copied() else {
            *left = left.checked_sub(1).ok_or(CodecError::TooMany { limit: MAX_PARTS })?;
            out(content);
            return Ok(());
        };
        let text = match (codec, &content) {
            (Codec::Lines | Codec::Items, Content::Text(text)) => text,
            (Codec::Prefixed, Content::Text(text)) => {
                let content = prefixed(text).map_or(content, |array| Content::Text(array.into()));
                return self.apply(index + 1, content, left, out);
            }
            (Codec::Gzip | Codec::Deflate, Content::Binary(bytes)) => {
                let content = self.inflate(codec, bytes)?.unwrap_or(content);
                return self.apply(index + 1, content, left, out);
            }
            _ => return self.apply(index + 1, content, left, out),
        };
        let mut parts = std::mem::take(&mut self.parts);
        parts.clear();
        let split = match codec {
            Codec::Items => items(text.as_bytes(), &mut parts),
            _ => lines(text.as_bytes(), &mut parts),
        };
        let result = match split {
            Split::Whole => self.apply(index + 1, content, left, out),
            Split::Parts if parts.len() > MAX_PARTS => Err(CodecError::TooMany { limit: MAX_PARTS }),
            Split::Parts => {
                let bytes: &Bytes = text.as_ref();
                parts.drain(..).try_for_each(|part| {
                    let part = bytes.slice(part);
                    let content = match Utf8Bytes::try_from(part.clone()) {
                        Ok(text) => Content::Text(text),
                        Err(_) => Content::Binary(part),
                    };
                    self.apply(index + 1, content, left, out)
                })
            }
        };
        // A codec further on has lost its own by now; the larger one is kept.
        if self.parts.capacity() < parts.capacity() {
            self.parts = parts;
        }
        result
    }

    /// The content of a compressed message. `None`: it is not compressed.
    #[cfg(feature = "gzip")]
    fn inflate(&mut self, codec: Codec, bytes: &[u8]) -> Result<Option<Content>, CodecError> {
        self.inflater.inflate(codec, bytes, self.max_bytes)
    }

    #[cfg(not(feature = "gzip"))]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "as with the feature")]
    fn inflate(&mut self, _: Codec, _: &[u8]) -> Result<Option<Content>, CodecError> {
        Ok(None)
    }
}

enum Split {
    /// There is nothing to take apart.
    Whole,
    /// The parts say it: at most one more than are allowed.
    Parts,
}

fn lines(text: &[u8], parts: &mut Vec<Range<usize>>) -> Split {
    if !text.contains(&b'\n') && !text.is_empty() {
        return Split::Whole;
    }
    let mut at = 0;
    for line in text.split(|byte| *byte == b'\n') {
        let end = at + line.strip_suffix(b"\r").unwrap_or(line).len();
        if end > at {
            parts.push(at..end);
            if parts.len() > MAX_PARTS {
                break;
            }
        }
        at += line.len() + 1;
    }
    Split::Parts
}

/// The characters in front of JSON, and the JSON, as an array. `None`: it is no such text.
fn prefixed(text: &str) -> Option<String> {
    let start = text.as_bytes().iter().take(MAX_PREFIX + 1).position(|byte| matches!(byte, b'[' | b'{'))?;
    let (prefix, json) = text.split_at_checked(start)?;
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    let json = json.trim_ascii_end();
    let end = if json.starts_with('[') { ']' } else { '}' };
    if prefix.is_empty() || !prefix.bytes().all(is_plain) || !json.ends_with(end) {
        return None;
    }
    Some(format!("[\"{prefix}\",{json}]"))
}

fn items(text: &[u8], parts: &mut Vec<Range<usize>>) -> Split {
    let whole = elements::each(text, |part| {
        parts.push(part);
        parts.len() <= MAX_PARTS
    });
    if whole.is_none() && parts.len() <= MAX_PARTS { Split::Whole } else { Split::Parts }
}

#[cfg(feature = "gzip")]
mod inflate;

#[cfg(test)]
#[path = "codec_tests.rs"]
mod tests;
