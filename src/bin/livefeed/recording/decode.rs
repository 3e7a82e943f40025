//! Reading the format. Whatever the bytes are, it ends, without a panic, and needs no more memory than they call for.

use super::{AS_DEFLATED, AS_IT_IS, Body, CONTENT, DEFLATED, HEAD, Kind, MAGIC, OMITTED, Record, SENT};
use flate2::Crc;
use flate2::read::DeflateDecoder;
use std::io::{self, Read};

/// How a recording ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tail {
    /// With a whole block, as far as it was read.
    Clean,
    /// With a block that was not written in whole.
    Torn,
    /// Nowhere yet, but it can't be read further: this is what is wrong.
    Damaged(&'static str),
}

/// What can't be read at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Foreign {
    /// No recording.
    Other,
    /// A recording in the format of a later version.
    Later,
}

impl std::fmt::Display for Foreign {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Other => "is no recording of livefeed: give another name",
            Self::Later => "was recorded by a later version of livefeed: take that one",
        })
    }
}

/// Reads a recording, record by record.
#[derive(Debug)]
pub(crate) struct Reader<R> {
    source: R,
    /// Where the block begins that is being read, in bytes.
    begin: u64,
    /// Where the last good block ends, in bytes.
    good: u64,
    tail: Tail,
    over: bool,
    stored: Vec<u8>,
    content: Vec<u8>,
    at: usize,
    last: u64,
    /// Records of the block that were read.
    count: u64,
}

/// Where a record stands: in which block, by the place in the file at which that begins, and as which in it, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) block: u64,
    pub(crate) record: u64,
}

/// A place for each record of the content that was found good.
struct Parsed {
    first: u8,
    at: u64,
    epoch: u64,
    /// Where the body is.
    body: std::ops::Range<usize>,
    next: usize,
}

impl<R: Read> Reader<R> {
    /// Begins to read, if this is a recording. One that was cut off in its first bytes is empty.
    pub(crate) fn new(mut source: R) -> io::Result<Result<Self, Foreign>> {
        let mut magic = Vec::new();
        (&mut source).take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if !MAGIC.starts_with(&magic) {
            let is_later = magic.split_last().is_some_and(|(version, front)| {
                MAGIC.split_last().is_some_and(|(own, own_front)| front == own_front && version > own)
            });
            return Ok(Err(if is_later { Foreign::Later } else { Foreign::Other }));
        }
        let whole = magic.len() == MAGIC.len();
        let reader = Self::at_block(source, if whole { MAGIC.len() as u64 } else { 0 });
        let tail = if whole { Tail::Clean } else { Tail::Torn };
        Ok(Ok(Self { tail, over: !whole, ..reader }))
    }

    /// Begins to read where a block does, at this place of the file.
    pub(crate) fn at_block(source: R, place: u64) -> Self {
        Self {
            source,
            begin: place,
            good: place,
            tail: Tail::Clean,
            over: false,
            stored: Vec::new(),
            content: Vec::new(),
            at: 0,
            last: 0,
            count: 0,
        }
    }

    /// Where the record that was read last stands.
    pub(crate) fn place(&self) -> Place {
        Place { block: self.begin, record: self.count }
    }

    /// Where the last good block that was reached ends, in bytes.
    pub(crate) fn good(&self) -> u64 {
        self.good
    }

    /// How the recording ends, once there are no more records.
    pub(crate) fn tail(&self) -> Tail {
        self.tail
    }

    /// The next record; `None` at the end, see [`tail`](Self::tail).
    pub(crate) fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        let Some((kind, parsed)) = self.advance()? else { return Ok(None) };
        let bytes = self.content.get(parsed.body).unwrap_or_default();
        let body = if parsed.first & OMITTED == 0 {
            Body::Whole(bytes)
        } else {
            Body::Omitted(varint(bytes, 0).map_or(0, |(length, _)| length))
        };
        let sent = parsed.first & SENT != 0;
        Ok(Some(Record { kind, sent, at: parsed.at, epoch: parsed.epoch, body }))
    }

    fn advance(&mut self) -> io::Result<Option<(Kind, Parsed)>> {
        loop {
            while let Some(parsed) = parse(&self.content, self.at, self.last) {
                (self.at, self.last) = (parsed.next, parsed.at);
                self.count += 1;
                if let Some(kind) = kind(parsed.first) {
                    return Ok(Some((kind, parsed)));
                }
            }
            if self.over || !self.block()? {
                self.content.clear();
                self.at = 0;
                return Ok(None);
            }
        }
    }

    /// Reads the next block, and looks through all its records; `false` at the end.
    fn block(&mut self) -> io::Result<bool> {
        self.content.clear();
        (self.at, self.last, self.count) = (0, 0, 0);
        self.begin = self.good;
        let mut head = Vec::with_capacity(HEAD);
        (&mut self.source).take(HEAD as u64).read_to_end(&mut head)?;
        if head.is_empty() {
            self.over = true;
            return Ok(false);
        }
        let Some(head) = Head::of(&head) else { return Ok(self.end(Tail::Torn)) };
        if let Some(wrong) = head.wrong() {
            return Ok(self.end(Tail::Damaged(wrong)));
        }
        self.stored.clear();
        // Grows with what is there, whatever length is claimed.
        (&mut self.source).take(u64::from(head.stored)).read_to_end(&mut self.stored)?;
        if self.stored.len() as u64 != u64::from(head.stored) {
            return Ok(self.end(Tail::Torn));
        }
        if !head.fits(&self.stored) {
            // A system that went down may leave the last block at its length, but without its content.
            let last = (&mut self.source).take(1).read_to_end(&mut Vec::new())? == 0;
            return Ok(self.end(if last { Tail::Torn } else { Tail::Damaged("a checksum is wrong") }));
        }
        if head.how == AS_IT_IS {
            std::mem::swap(&mut self.stored, &mut self.content);
        } else {
            let inflated = DeflateDecoder::new(self.stored.as_slice())
                .take(u64::from(head.content) + 1)
                .read_to_end(&mut self.content);
            if inflated.is_err() {
                self.content.clear();
                return Ok(self.end(Tail::Damaged("a block can't be inflated")));
            }
        }
        if self.content.len() as u64 != u64::from(head.content) || !is_sound(&self.content) {
            self.content.clear();
            return Ok(self.end(Tail::Damaged("a block does not hold what it says")));
        }
        self.good += (HEAD as u64) + u64::from(head.stored);
        Ok(true)
    }

    /// What is held in memory, in bytes.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.stored.capacity() + self.content.capacity()
    }

    fn end(&mut self, tail: Tail) -> bool {
        self.tail = tail;
        self.over = true;
        false
    }
}

struct Head<'a> {
    bytes: &'a [u8],
    how: u8,
    stored: u32,
    content: u32,
    crc: u32,
}

impl<'a> Head<'a> {
    /// `None` if it is not all there.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let number = |at| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let (how, stored, content, crc) = (*bytes.first()?, number(1)?, number(5)?, number(9)?);
        Some(Self { bytes: bytes.get(..9)?, how, stored, content, crc })
    }

    /// What is wrong with it by itself.
    fn wrong(&self) -> Option<&'static str> {
        let most = match self.how {
            AS_IT_IS => CONTENT,
            AS_DEFLATED => DEFLATED,
            _ => return Some("a block is stored in a way that is not known"),
        };
        let longest = self.stored.max(self.content);
        (u64::from(longest) > most as u64).then_some("a block is too long")
    }

    fn fits(&self, stored: &[u8]) -> bool {
        let mut crc = Crc::new();
        crc.update(self.bytes);
        crc.update(stored);
        crc.sum() == self.crc
    }
}

/// Whether a content consists of records, to its end.
fn is_sound(content: &[u8]) -> bool {
    let (mut at, mut last) = (0, 0);
    while at < content.len() {
        let Some(parsed) = parse(content, at, last) else { return false };
        let body = content.get(parsed.body).unwrap_or_default();
        let is_whole = parsed.first & OMITTED == 0;
        if is_whole && kind(parsed.first) == Some(Kind::Text) && str::from_utf8(body).is_err() {
            return false;
        }
        (at, last) = (parsed.next, parsed.at);
    }
    true
}

/// By the first byte of a record; `None` if it is not known what it is.
fn kind(first: u8) -> Option<Kind> {
    if first & !(0x0F | SENT | OMITTED) == 0 { Kind::of(first & 0x0F) } else { None }
}

/// Takes the record apart that begins at `at`; `None` if there is none.
fn parse(content: &[u8], at: usize, last: u64) -> Option<Parsed> {
    let first = *content.get(at)?;
    let (difference, at) = varint(content, at + 1)?;
    let (epoch, at) = varint(content, at)?;
    let (length, at) = varint(content, at)?;
    let next = at.checked_add(usize::try_from(length).ok()?)?;
    content.get(at..next)?;
    let difference = (difference >> 1) ^ 0_u64.wrapping_sub(difference & 1);
    Some(Parsed { first, at: last.wrapping_add(difference), epoch, body: at..next, next })
}

/// The number that begins at `at`, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(u64, usize)> {
    let mut number = 0_u64;
    for (place, byte) in bytes.get(at..)?.iter().take(10).enumerate() {
        let bits = u64::from(byte & 0x7F);
        let shift = 7 * u32::try_from(place).ok()?;
        if bits.leading_zeros() < shift {
            return None; // more than 64 bits
        }
        number |= bits << shift;
        if byte & 0x80 == 0 {
            return Some((number, at + place + 1));
        }
    }
    None
}
