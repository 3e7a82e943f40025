//! The WebSocket frame format (RFC 6455 section 5.2), written here a second time.
//!
//! The lab must be able to write frames that no decent codec writes, and as a witness of what a client sends it
//! should not share the client's codec.

use std::sync::Arc;

use super::command::Violation;
use super::transcript::Received;

pub(super) const TEXT: u8 = 0x1;
pub(super) const BINARY: u8 = 0x2;
pub(super) const CLOSE: u8 = 0x8;
pub(super) const PING: u8 = 0x9;
pub(super) const PONG: u8 = 0xA;
const FIN: u8 = 0x80;

/// The longest message taken from a client, in bytes.
const LONGEST: u64 = 256 << 20;

/// A header with the given first byte (final bit, reserved bits, opcode) that announces `length` bytes.
pub(super) fn header(first: u8, length: u64) -> Vec<u8> {
    let mut bytes = vec![first];
    if let Ok(short @ 0..=125) = u8::try_from(length) {
        bytes.push(short);
    } else if let Ok(medium) = u16::try_from(length) {
        bytes.push(126);
        bytes.extend(medium.to_be_bytes());
    } else {
        bytes.push(127);
        bytes.extend(length.to_be_bytes());
    }
    bytes
}

/// One frame with the given first byte.
fn with_first(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len() as u64);
    bytes.extend_from_slice(payload);
    bytes
}

/// One whole message or control frame, as a server must send it.
pub(super) fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    with_first(FIN | opcode, payload)
}

/// The payload of a Close frame.
pub(super) fn close_payload(code: u16, reason: &str) -> Vec<u8> {
    let mut bytes = code.to_be_bytes().to_vec();
    bytes.extend_from_slice(reason.as_bytes());
    bytes
}

/// One text message in as many frames as asked for (at least one, empty ones if need be).
pub(super) fn fragments(text: &str, parts: usize) -> Vec<u8> {
    let (bytes, parts) = (text.as_bytes(), parts.max(1));
    let mut out = Vec::with_capacity(bytes.len() + parts * 4);
    for part in 0..parts {
        let (from, to) = (bytes.len() * part / parts, bytes.len() * (part + 1) / parts);
        let opcode = if part == 0 { TEXT } else { 0 };
        let fin = if part + 1 == parts { FIN } else { 0 };
        out.extend(with_first(fin | opcode, &bytes[from..to]));
    }
    out
}

/// The bytes of a breach of the protocol.
pub(super) fn violation(what: Violation) -> Vec<u8> {
    match what {
        Violation::MaskedFrame => {
            let mut bytes = vec![FIN | TEXT, 0x80 | 2, 1, 2, 3, 4];
            bytes.extend([b'h' ^ 1, b'i' ^ 2]);
            bytes
        }
        Violation::ReservedBits => with_first(FIN | 0x70 | TEXT, b"{}"),
        Violation::UnknownOpcode => with_first(FIN | 0x3, b"{}"),
        Violation::UnknownControlOpcode => with_first(FIN | 0xB, b""),
        Violation::FragmentedControl => with_first(PING, b"half"),
        Violation::LongControl => with_first(FIN | PING, &[b'x'; 126]),
        Violation::InvalidUtf8 => with_first(FIN | TEXT, &[b'{', 0xC3, 0x28, b'}']),
        Violation::ShortClose => with_first(FIN | CLOSE, &[3]),
        Violation::BadCloseCode => with_first(FIN | CLOSE, &close_payload(1005, "")),
        Violation::BadCloseReason => with_first(FIN | CLOSE, &[0x03, 0xE8, 0xFF, 0xFE]),
        Violation::LoneContinuation => with_first(FIN, b"{}"),
        Violation::InterruptedMessage => {
            let mut bytes = with_first(TEXT, b"{");
            bytes.extend(with_first(FIN | TEXT, b"{}"));
            bytes
        }
        Violation::Garbage => b"\xFF\xFE\xFD not a frame at all \x00\x01\x02".repeat(8),
        Violation::Announced(length) => header(FIN | TEXT, length),
    }
}

/// Takes the frames of a client apart and joins fragments.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    bytes: Vec<u8>,
    at: usize,
    partial: Option<(u8, Vec<u8>)>,
}

impl Decoder {
    pub(super) fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..self.at);
        self.at = 0;
        self.bytes.extend_from_slice(bytes);
        if self.bytes.is_empty() && self.bytes.capacity() > 1 << 20 {
            self.bytes = Vec::new();
        }
    }

    /// The next message or control frame, or what is wrong with it.
    pub(super) fn next(&mut self) -> Result<Option<Received>, &'static str> {
        loop {
            let Some((first, payload)) = self.frame()? else { return Ok(None) };
            let (opcode, last) = (first & 0x0F, first & FIN != 0);
            if first & 0x70 != 0 {
                return Err("reserved bits set");
            }
            if opcode >= CLOSE {
                if !last || payload.len() > 125 {
                    return Err("control frame fragmented or too long");
                }
                return message(opcode, payload).map(Some);
            }
            let (kind, joined) = match (opcode, self.partial.take()) {
                (0, None) => return Err("continuation without a start"),
                (0, Some((kind, mut joined))) => {
                    joined.extend(payload);
                    (kind, joined)
                }
                (_, Some(_)) => return Err("message inside a fragmented message"),
                (kind, None) => (kind, payload),
            };
            if joined.len() as u64 > LONGEST {
                return Err("message too long");
            }
            if last {
                return message(kind, joined).map(Some);
            }
            self.partial = Some((kind, joined));
        }
    }

    /// The next frame, unmasked: its first byte and its payload.
    fn frame(&mut self) -> Result<Option<(u8, Vec<u8>)>, &'static str> {
        let bytes = &self.bytes[self.at..];
        let [first, second, rest @ ..] = bytes else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err("unmasked frame");
        }
        let (length, rest) = match (second & 0x7F, rest) {
            (126, [a, b, rest @ ..]) => (u64::from(u16::from_be_bytes([*a, *b])), rest),
            (127, [a, b, c, d, e, f, g, h, rest @ ..]) => {
                (u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), rest)
            }
            (126 | 127, _) => return Ok(None),
            (short, rest) => (u64::from(short), rest),
        };
        if length > LONGEST {
            return Err("frame too long");
        }
        let ([m0, m1, m2, m3, rest @ ..], Ok(length)) = (rest, usize::try_from(length)) else {
            return Ok(None);
        };
        if rest.len() < length {
            return Ok(None);
        }
        let mask = [*m0, *m1, *m2, *m3];
        let payload = rest[..length].iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m).collect();
        let first = *first;
        self.at = self.bytes.len() - (rest.len() - length);
        Ok(Some((first, payload)))
    }
}

fn message(opcode: u8, payload: Vec<u8>) -> Result<Received, &'static str> {
    Ok(match opcode {
        TEXT => Received::Text(Arc::from(String::from_utf8(payload).map_err(|_| "text is not UTF-8")?)),
        BINARY => Received::Binary(Arc::from(payload)),
        PING => Received::Ping(Arc::from(payload)),
        PONG => Received::Pong(Arc::from(payload)),
        CLOSE => Received::Close(match payload.as_slice() {
            [] => None,
            [a, b, reason @ ..] => {
                let reason = str::from_utf8(reason).map_err(|_| "close reason is not UTF-8")?;
                Some((u16::from_be_bytes([*a, *b]), Arc::from(reason)))
            }
            [_] => return Err("close payload of one byte"),
        }),
        _ => return Err("unknown opcode"),
    })
}
