//! Decompresses messages, within a bound.

use super::{Codec, CodecError};
use crate::message::Content;
use flate2::bufread::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use std::io::Read;
use tungstenite::Bytes;

/// A larger buffer is given back after each message.
const KEEP: usize = 1 << 20;

/// Decompresses into a buffer of its own first, so that a message takes the memory it needs and no more.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Inflater {
    buffer: Vec<u8>,
}

impl Inflater {
    #[cfg(test)]
    pub(in crate::dialect) fn capacity(&self) -> usize {
        self.buffer.capacity()
    }

    /// The content of a compressed message. `None`: it is not compressed.
    pub(in crate::dialect) fn inflate(
        &mut self,
        codec: Codec,
        bytes: &[u8],
        max_bytes: usize,
    ) -> Result<Option<Content>, CodecError> {
        self.buffer.clear();
        let read = match codec {
            Codec::Gzip if bytes.starts_with(&[0x1f, 0x8b]) => {
                self.fill(MultiGzDecoder::new(bytes), max_bytes)
            }
            Codec::Deflate if is_zlib(bytes) => self.fill(ZlibDecoder::new(bytes), max_bytes),
            Codec::Deflate => self.fill(DeflateDecoder::new(bytes), max_bytes),
            _ => return Ok(None),
        };
        let result = match read {
            Err(error) => Err(CodecError::Broken { codec, detail: error.to_string() }),
            Ok(()) if self.buffer.len() > max_bytes => Err(CodecError::TooLarge { limit: max_bytes }),
            Ok(()) => Ok(Some(match std::str::from_utf8(&self.buffer) {
                Ok(text) => Content::Text(text.into()),
                Err(_) => Content::Binary(Bytes::copy_from_slice(&self.buffer)),
            })),
        };
        if self.buffer.capacity() > KEEP {
            self.buffer = Vec::new();
        }
        result
    }

    /// Reads one byte more than is allowed at most: then it is too large.
    fn fill(&mut self, decoder: impl Read, max_bytes: usize) -> std::io::Result<()> {
        let most = u64::try_from(max_bytes).unwrap_or(u64::MAX).saturating_add(1);
        decoder.take(most).read_to_end(&mut self.buffer).map(|_| ())
    }
}

/// Whether a message begins as zlib (RFC 1950 section 2.2): method 8, and a header that 31 divides.
fn is_zlib(bytes: &[u8]) -> bool {
    matches!(bytes, [cmf, flg, ..]
        if cmf & 0x0f == 8 && cmf >> 4 <= 7 && (u16::from(*cmf) << 8 | u16::from(*flg)) % 31 == 0)
}
