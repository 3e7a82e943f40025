//! Sixty-four bytes of JSON at once: where quotes, backslashes and brackets are, as bits.
//!
//! Written so that the compiler makes vector instructions of it. The approach is that of Langdale and Lemire, "Parsing
//! gigabytes of JSON per second" (2019), section 3.1.

const SIZE: usize = 64;

/// What stands where; the lowest bit is the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::dialect) struct Block {
    pub(in crate::dialect) quotes: u64,
    pub(in crate::dialect) backslashes: u64,
    pub(in crate::dialect) brackets: u64,
}

impl Block {
    /// The block from a place on. What lies behind the end is nothing. `None`: there is nothing.
    #[inline]
    pub(in crate::dialect) fn at(bytes: &[u8], at: usize) -> Option<Self> {
        let rest = bytes.get(at..)?;
        let mut short = [0; SIZE];
        let (block, before) = if let Some(block) = rest.first_chunk() {
            (block, 0)
        } else if rest.is_empty() {
            return None;
        } else if let Some(block) = bytes.last_chunk() {
            (block, SIZE - rest.len())
        } else {
            short.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
            (&short, 0)
        };
        let Self { quotes, backslashes, brackets } = Self::of(block);
        Some(Self {
            quotes: quotes >> before,
            backslashes: backslashes >> before,
            brackets: brackets >> before,
        })
    }

    #[inline]
    fn of(block: &[u8; SIZE]) -> Self {
        let is_backslash = |byte| byte == b'\\';
        let some = block.iter().fold(false, |some, byte| some | is_backslash(*byte));
        Self {
            quotes: bits(&marks(block, |byte| byte == b'"')),
            backslashes: if some { bits(&marks(block, is_backslash)) } else { 0 },
            // Brackets and braces differ in this bit.
            brackets: bits(&marks(block, |byte| (byte | 0x20 == b'{') | (byte | 0x20 == b'}'))),
        }
    }
}

#[inline]
fn marks(block: &[u8; SIZE], is: impl Fn(u8) -> bool) -> [u8; SIZE] {
    block.map(|byte| if is(byte) { 0xFF } else { 0 })
}

#[inline]
fn bits(marks: &[u8; SIZE]) -> u64 {
    // A different bit of each byte; the product puts them side by side into the highest byte.
    let byte = |word: u64| (word & 0x8040_2010_0804_0201).wrapping_mul(0x0101_0101_0101_0101) >> 56;
    let words = marks.as_chunks().0.iter().map(|chunk| u64::from_le_bytes(*chunk));
    words.enumerate().fold(0, |bits, (place, word)| bits | byte(word) << (8 * place))
}

/// What goes on from one block to the next.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Strings {
    /// All bits set: inside a string.
    open: u64,
    /// 1: the next byte is escaped.
    escape: u64,
}

impl Strings {
    /// Which bytes of the next block stand in strings, their opening quotes included.
    #[inline]
    pub(in crate::dialect) fn inside(&mut self, block: &Block) -> u64 {
        let mut quotes = block.quotes;
        if block.backslashes | self.escape != 0 {
            quotes &= !self.escaped(block.backslashes);
        }
        let mut inside = quotes;
        for shift in [1, 2, 4, 8, 16, 32] {
            inside ^= inside << shift;
        }
        inside ^= self.open;
        self.open = 0_u64.wrapping_sub(inside >> 63);
        inside
    }

    /// Which bytes are escaped: those behind an odd number of backslashes in a row.
    #[cold]
    fn escaped(&mut self, mut backslashes: u64) -> u64 {
        let mut escaped = self.escape;
        backslashes &= !escaped;
        self.escape = 0;
        while backslashes != 0 {
            // The lowest one is not escaped itself, so that it escapes what follows.
            let lowest = backslashes & backslashes.wrapping_neg();
            let next = lowest << 1;
            if next == 0 {
                self.escape = 1;
            }
            escaped |= next;
            backslashes &= !(lowest | next);
        }
        escaped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, byte by byte.
    fn slowly(bytes: &[u8]) -> (Vec<bool>, Vec<bool>) {
        let (mut inside, mut escape) = (false, false);
        bytes
            .iter()
            .map(|byte| {
                let escaped = std::mem::take(&mut escape);
                escape = *byte == b'\\' && !escaped;
                if *byte == b'"' && !escaped {
                    inside = !inside;
                }
                (inside, b"{}[]".contains(byte))
            })
            .unzip()
    }

    proptest! {
        #[test]
        fn blocks_agree_with_bytes(bytes in prop::collection::vec(
            prop_oneof![prop::sample::select(&b"\"\"\\\\\\{}[]a"[..]), any::<u8>()], 0..300
        )) {
            let (inside, brackets) = slowly(&bytes);
            let (mut strings, mut at) = (Strings::default(), 0);
            while let Some(block) = Block::at(&bytes, at) {
                let own = strings.inside(&block);
                for place in at..bytes.len().min(at + SIZE) {
                    let bit = 1 << (place - at);
                    prop_assert_eq!(own & bit != 0, inside[place], "inside at {}", place);
                    prop_assert_eq!(block.brackets & bit != 0, brackets[place], "bracket at {}", place);
                }
                at += SIZE;
            }
            prop_assert!(at >= bytes.len());
        }
    }
}
