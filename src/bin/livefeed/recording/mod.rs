//! The file format of recordings: compact, written by appending only, and whole up to wherever a kill cut it off.
//!
//! A recording begins with [`MAGIC`]; then come blocks. Numbers of fixed size are little-endian.
//!
//! | bytes | of a block |
//! |---|---|
//! | 1 | how the content is stored: 0 as it is, 1 deflated (RFC 1951) |
//! | 4 | length of what is stored |
//! | 4 | length of the content |
//! | 4 | CRC-32 of the nine bytes before, and of what is stored |
//! | | what is stored |
//!
//! The content is a run of records. *Varints* have seven bits a byte, the lowest first.
//!
//! | bytes | of a record |
//! |---|---|
//! | 1 | [`Kind`] in the low four bits; 0x10: from the client; 0x20: without its payload |
//! | varint | microseconds since the record before it in the block (the first: since the run's start), zigzag |
//! | varint | epoch |
//! | varint | length of the body |
//! | | the body: a payload; its length as varint, if it is left out; JSON in records that are no frames |
//!
//! A *run* is one process that writes; its first record is [`Kind::Start`], and times and epochs begin anew with it. A
//! reader passes over records of kinds, or with flags, that it does not know.
//!
//! What can't be read whole at the end of a file is a torn tail: the write that a kill cut off. What does not fit
//! its checksum before the end is damage. Reading stops at either; all blocks before it are good.

mod decode;
mod encode;

#[cfg(test)]
mod tests;

pub(crate) use decode::{Foreign, Place, Reader, Tail};
pub(crate) use encode::{Block, Sealer};

/// How a recording begins; the last byte is the version. The line ends show a transfer that meddled with them.
pub(crate) const MAGIC: [u8; 8] = *b"LFREC\r\n\x01";

/// The length of a block's head, in bytes.
const HEAD: usize = 13;

/// The longest content, in bytes.
const CONTENT: usize = 1 << 30;

/// The longest content that may be deflated, in bytes: what a hostile file can make of a few bytes.
const DEFLATED: usize = 16 << 20;

/// Room for what stands in a record besides its body, in bytes.
const OVERHEAD: usize = 1 + 3 * 10;

/// From the client, in a record's first byte.
const SENT: u8 = 0x10;
/// Without its payload, in a record's first byte.
const OMITTED: u8 = 0x20;

/// How the content of a block is stored.
const AS_IT_IS: u8 = 0;
const AS_DEFLATED: u8 = 1;

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A run begins; JSON.
    Start,
    /// A connection is established; JSON.
    Connected,
    /// A connection or an attempt ended; JSON.
    Ended,
    /// A text message.
    Text,
    /// A binary message.
    Binary,
    /// A ping.
    Ping,
    /// A pong.
    Pong,
    /// A Close frame; the payload is code and reason as in RFC 6455 section 5.5.1.
    Close,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Start,
        Self::Connected,
        Self::Ended,
        Self::Text,
        Self::Binary,
        Self::Ping,
        Self::Pong,
        Self::Close,
    ];

    fn of(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    fn number(self) -> u8 {
        // The place in `ALL`, which a test holds to.
        self as u8
    }
}

/// What a record holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Body<'a> {
    /// A payload, or JSON.
    Whole(&'a [u8]),
    /// A payload that was left out, and how long it was in bytes.
    Omitted(u64),
}

/// One record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) kind: Kind,
    /// From the client to the server.
    pub(crate) sent: bool,
    /// Microseconds since the run's start.
    pub(crate) at: u64,
    pub(crate) epoch: u64,
    pub(crate) body: Body<'a>,
}

impl Record<'_> {
    /// Whether it is a message, and no control frame or mark.
    pub(crate) fn is_message(&self) -> bool {
        matches!(self.kind, Kind::Text | Kind::Binary)
    }
}
