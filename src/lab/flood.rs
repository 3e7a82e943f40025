//! Messages as fast as they go: a block of frames, encoded once and written over and over.

use std::sync::Arc;

use super::frames;

/// A block is filled up to this size, so that a system call writes much.
const BLOCK: usize = 1 << 20;

/// Messages that are written as fast as the client takes them, from a block that is encoded once.
#[derive(Debug, Clone)]
pub struct Flood {
    pub(super) block: Arc<Block>,
    pub(super) count: Option<u64>,
    pub(super) silent: bool,
}

#[derive(Debug)]
pub(super) struct Block {
    pub(super) bytes: Vec<u8>,
    /// Where each frame ends.
    pub(super) ends: Vec<usize>,
}

impl Flood {
    /// Text messages of this many bytes each: `{"topic":"flood","pad":"xx..x"}`, or all `x` where that has no room.
    pub fn of_size(bytes: usize) -> Self {
        let (head, tail) = (r#"{"topic":"flood","pad":""#, r#""}"#);
        let text = match bytes.checked_sub(head.len() + tail.len()) {
            Some(pad) => format!("{head}{}{tail}", "x".repeat(pad)),
            None => "x".repeat(bytes),
        };
        Self::of_texts([text])
    }

    /// These text messages in turn.
    pub fn of_texts<T: AsRef<str>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::of_units(
            texts.into_iter().map(|t| frames::frame(frames::TEXT, t.as_ref().as_bytes())).collect(),
            BLOCK,
        )
    }

    /// Pings with a payload of 125 bytes.
    pub(super) fn of_pings() -> Self {
        Self::of_units(vec![frames::frame(frames::PING, &[b'p'; 125])], BLOCK / 16)
    }

    /// Header lines of a response that never ends.
    pub(super) fn of_header_lines() -> Self {
        let line = b"X-Filler: and so it goes on and on and on and on and on and on\r\n".to_vec();
        Self { silent: true, ..Self::of_units(vec![line], BLOCK / 16) }
    }

    /// Ends after this many messages. Default: never.
    pub fn count(mut self, messages: u64) -> Self {
        self.count = Some(messages);
        self
    }

    fn of_units(units: Vec<Vec<u8>>, size: usize) -> Self {
        let mut block = Block { bytes: Vec::new(), ends: Vec::new() };
        while block.bytes.len() < size && !units.is_empty() {
            for unit in &units {
                block.bytes.extend_from_slice(unit);
                block.ends.push(block.bytes.len());
            }
        }
        Self { block: Arc::new(block), count: None, silent: false }
    }
}
