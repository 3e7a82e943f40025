//! Sixty-four bytes of JSON at once: where quotes, backslashes and brackets are, as bits.
//!
//! Written so that the compiler makes vector instructions of it. The approach is that of Langdale and Lemire, "Parsing
//! gigabytes of JSON per second" (2019), section 3.1.

const SIZE: usize = 64;

/// The brackets of a text that stand in no string, a block at a time.
#[derive(Debug)]
pub(in crate::dialect) struct Brackets<'a> {
    bytes: &'a [u8],
    at: usize,
    strings: Strings,
}

impl<'a> Brackets<'a> {
    /// The bytes of a block.
    pub(in crate::dialect) const BLOCK: usize = SIZE;

    /// From a place on, which stands in no string.
    #[inline]
    pub(in crate::dialect) fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at, strings: Strings::default() }
    }

    /// Those of the next block; the lowest bit is the first byte.
    #[inline]
    pub(in crate::dialect) fn look(&mut self) -> Option<u64> {
        let block = Block::at(self.bytes, self.at)?;
        self.at += SIZE;
        Some(block.brackets & !self.strings.inside(&block))
    }
}

/// What stands where; the lowest bit is the first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    quotes: u64,
    backslashes: u64,
    brackets: u64,
}

impl Block {
    /// The block from a place on. What lies behind the end is nothing. `None`: there is nothing.
    #[inline]
    fn at(bytes: &[u8], at: usize) -> Option<Self> {
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
        // Brackets and braces differ in this bit.
        let is_bracket = |byte| (byte | 0x20 == b'{') | (byte | 0x20 == b'}');
        let [quotes, brackets] = turn([columns(block, |byte| byte == b'"'), columns(block, is_bracket)]);
        let [backslashes] = if some { turn([columns(block, is_backslash)]) } else { [0] };
        Self { quotes, backslashes, brackets }
    }
}

/// A bit for each byte that is meant: the place of the byte modulo eight says in which byte, the rest which.
#[inline]
fn columns(block: &[u8; SIZE], is: impl Fn(u8) -> bool) -> u64 {
    // Eight rows of eight, laid over each other.
    let mut marks = block.map(|byte| if is(byte) { 0xFF } else { 0 });
    marks.iter_mut().enumerate().for_each(|(place, mark)| *mark &= 1 << (place / 8));
    marks.as_chunks().0.iter().fold(0, |all, row| all | u64::from_le_bytes(*row))
}

/// Puts them in order: eight by eight matrices are mirrored, in squares of one, two and four.
#[inline]
fn turn<const N: usize>(mut columns: [u64; N]) -> [u64; N] {
    for (shift, mask) in [(7, 0x00AA_00AA_00AA_00AA), (14, 0x0000_CCCC_0000_CCCC), (28, 0xF0F0_F0F0)] {
        columns = columns.map(|bits| {
            let swap = (bits ^ bits >> shift) & mask;
            bits ^ (swap | swap << shift)
        });
    }
    columns
}

/// What goes on from one block to the next.
#[derive(Debug, Default)]
struct Strings {
    /// All bits set: inside a string.
    open: u64,
    /// 1: the next byte is escaped.
    escape: u64,
}

impl Strings {
    /// Which bytes of the next block stand in strings, their opening quotes included.
    #[inline]
    fn inside(&mut self, block: &Block) -> u64 {
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

    /// Which bytes are brackets in no string, byte by byte.
    fn slowly(bytes: &[u8]) -> Vec<usize> {
        let (mut inside, mut escape) = (false, false);
        let mut is_bracket = |byte: u8| {
            let escaped = std::mem::take(&mut escape);
            escape = byte == b'\\' && !escaped;
            if byte == b'"' && !escaped {
                inside = !inside;
            }
            !inside && b"{}[]".contains(&byte)
        };
        (0..).zip(bytes).filter(|(_, byte)| is_bracket(**byte)).map(|(place, _)| place).collect()
    }

    proptest! {
        #[test]
        fn blocks_agree_with_bytes(bytes in prop::collection::vec(
            prop_oneof![prop::sample::select(&b"\"\"\\\\\\{}[]a"[..]), any::<u8>()], 0..300
        ), from in 0..70_usize) {
            let expected = slowly(bytes.get(from..).unwrap_or_default());
            let mut found = Vec::new();
            let mut blocks = Brackets::new(&bytes, from);
            for start in (0..).step_by(SIZE) {
                let Some(mut brackets) = blocks.look() else { break };
                while brackets != 0 {
                    found.push(start + brackets.trailing_zeros() as usize);
                    brackets &= brackets - 1;
                }
            }
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn bits_are_in_order(block: [u8; SIZE]) {
            let expected = (0..).zip(&block).fold(0, |bits, (place, byte)| bits | u64::from(byte & 1) << place);
            prop_assert_eq!(turn([columns(&block, |byte| byte & 1 == 1)]), [expected]);
        }
    }
}
