//! Writing the format: records into blocks, blocks into bytes.

use super::{AS_DEFLATED, AS_IT_IS, Body, CONTENT, DEFLATED, HEAD, OMITTED, OVERHEAD, Record, SENT};
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};
use std::io::{self, Write};

/// Records that will be written in one piece.
#[derive(Debug, Default)]
pub(crate) struct Block {
    content: Vec<u8>,
    last: u64,
}

impl Block {
    /// How long it is, in bytes.
    pub(crate) fn len(&self) -> usize {
        self.content.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.content.is_empty()
    }

    pub(crate) fn clear(&mut self) {
        self.content.clear();
        self.last = 0;
    }

    /// Whether there is room for a record with such a body.
    pub(crate) fn has_room(&self, body: usize) -> bool {
        self.content.len().saturating_add(body).saturating_add(OVERHEAD) <= CONTENT
    }

    /// Appends a record. A payload for which there is no room even in an empty block is left out.
    pub(crate) fn add(&mut self, record: &Record<'_>) {
        let body = match record.body {
            Body::Whole(bytes) if !self.has_room(bytes.len()) => Body::Omitted(bytes.len() as u64),
            body => body,
        };
        let mut first = record.kind.number();
        first |= if record.sent { SENT } else { 0 };
        first |= if matches!(body, Body::Omitted(_)) { OMITTED } else { 0 };
        self.content.push(first);
        varint(&mut self.content, zigzag(record.at.wrapping_sub(self.last)));
        self.last = record.at;
        varint(&mut self.content, record.epoch);
        match body {
            Body::Whole(bytes) => {
                varint(&mut self.content, bytes.len() as u64);
                self.content.extend_from_slice(bytes);
            }
            Body::Omitted(length) => {
                let mut number = Vec::with_capacity(10);
                varint(&mut number, length);
                varint(&mut self.content, number.len() as u64);
                self.content.extend_from_slice(&number);
            }
        }
    }
}

/// Makes bytes of blocks. Kept from one to the next: a deflater is a few hundred kilobytes.
#[derive(Debug)]
pub(crate) struct Sealer {
    deflater: DeflateEncoder<Vec<u8>>,
}

impl Sealer {
    pub(crate) fn new() -> Self {
        Self { deflater: DeflateEncoder::new(Vec::new(), Compression::fast()) }
    }

    /// Appends the block to `out`, deflated where that is shorter.
    pub(crate) fn seal(&mut self, block: &Block, out: &mut Vec<u8>) -> io::Result<()> {
        let content = block.content.as_slice();
        let mut deflated = Vec::new();
        if content.len() <= DEFLATED {
            self.deflater.write_all(content)?;
            deflated = self.deflater.reset(Vec::new())?;
        }
        let is_shorter = !deflated.is_empty() && deflated.len() < content.len();
        let (how, stored) = if is_shorter { (AS_DEFLATED, deflated.as_slice()) } else { (AS_IT_IS, content) };
        let mut head = Vec::with_capacity(HEAD);
        head.push(how);
        head.extend(length(stored)?.to_le_bytes());
        head.extend(length(content)?.to_le_bytes());
        let mut crc = Crc::new();
        crc.update(&head);
        crc.update(stored);
        head.extend(crc.sum().to_le_bytes());
        out.extend_from_slice(&head);
        out.extend_from_slice(stored);
        Ok(())
    }
}

fn length(bytes: &[u8]) -> io::Result<u32> {
    u32::try_from(bytes.len()).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

/// Small numbers of either sign become small numbers.
fn zigzag(difference: u64) -> u64 {
    let sign = 0_u64.wrapping_sub(difference >> 63);
    (difference << 1) ^ sign
}

fn varint(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        // The low seven bits, and that more follow.
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}
