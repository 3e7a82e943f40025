//! Steps over JSON text without building anything. Never panics, whatever the bytes, and does not recurse.
//!
//! What is stepped over is checked for balanced brackets and closed strings only. Eight bytes are looked at together
//! where nothing has to be told apart.

use crate::dialect::json::block::Brackets;
use std::borrow::Cow;

/// Containers nested deeper than this are not stepped over.
const MAX_DEPTH: u32 = u128::BITS;

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// A place in a JSON text.
#[derive(Debug, Clone)]
pub(in crate::dialect) struct Cursor<'a> {
    pub(in crate::dialect) bytes: &'a [u8],
    pub(in crate::dialect) at: usize,
}

impl<'a> Cursor<'a> {
    pub(in crate::dialect) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    #[inline]
    pub(in crate::dialect) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    pub(in crate::dialect) fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    #[inline]
    pub(in crate::dialect) fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    #[inline]
    pub(in crate::dialect) fn space(&mut self) {
        if self.peek().is_some_and(|byte| byte <= b' ') {
            self.spaces();
        }
    }

    #[inline(never)]
    fn spaces(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    /// In an object, where a member may start: steps over its name and the colon.
    #[inline(always)]
    pub(in crate::dialect) fn name(&mut self) -> Option<RawString<'a>> {
        self.space();
        self.expect(b'"')?;
        let name = self.string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Some(name)
    }

    /// After the opening bracket: whether the container ends at once, which is stepped over.
    #[inline]
    pub(in crate::dialect) fn is_empty(&mut self, close: u8) -> bool {
        self.space();
        let empty = self.peek() == Some(close);
        self.at += usize::from(empty);
        empty
    }

    /// After a value in a container: whether another must follow. Steps over the comma or the closing bracket.
    #[inline]
    pub(in crate::dialect) fn more(&mut self, close: u8) -> Option<bool> {
        self.space();
        match self.next()? {
            b',' => Some(true),
            byte if byte == close => Some(false),
            _ => None,
        }
    }

    /// Steps over a value inside a container.
    #[inline]
    pub(in crate::dialect) fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.string().map(|_| ())
            }
            b'{' | b'[' => self.skip_containers(None),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                self.skip_word();
                // It must be followed by something, for else it may be cut.
                self.peek().map(|_| ())
            }
            _ => None,
        }
    }

    /// Steps over the value of the whole text, which may end with it.
    pub(in crate::dialect) fn skip_root(&mut self) -> Option<()> {
        match self.peek()? {
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
                self.skip_word();
                Some(())
            }
            _ => self.skip_value(),
        }
    }

    /// Steps over the rest of the container that is left.
    pub(in crate::dialect) fn leave(&mut self, close: u8) -> Option<()> {
        self.skip_containers(Some(close))
    }

    /// Steps to the end of a number or name.
    #[inline]
    fn skip_word(&mut self) {
        while let Some(word) = word(self.bytes, self.at) {
            let ends = brackets(word) | equal(word, b',') | blank(word);
            if ends == 0 {
                self.at += 8;
                continue;
            }
            self.at += first(ends);
            match self.peek() {
                None | Some(b',' | b'}' | b']') => return,
                Some(byte) if is_space(byte) => return,
                Some(_) => self.at += 1,
            }
        }
    }

    /// Steps over a container, or on to the end of the one we are in, which this bracket closes.
    fn skip_containers(&mut self, close: Option<u8>) -> Option<()> {
        // One bit for each open one, the innermost lowest: 1 for an object, 0 for an array.
        let mut open = 0_u128;
        let mut depth = 0;
        let mut blocks = Brackets::new(self.bytes, self.at);
        let mut brackets = blocks.look()?;
        loop {
            // Looked at in advance: the processor has it at hand when it has guessed wrong how many brackets there are.
            let next = blocks.look();
            while brackets != 0 {
                let at = self.at + brackets.trailing_zeros() as usize;
                brackets &= brackets - 1;
                let byte = *self.bytes.get(at)?;
                let object = byte & 0x20 != 0;
                if byte & 2 != 0 {
                    if depth == MAX_DEPTH {
                        return None;
                    }
                    open = open << 1 | u128::from(object);
                    depth += 1;
                    continue;
                }
                if depth == 0 {
                    self.at = at + 1;
                    return (Some(byte) == close).then_some(());
                }
                if (open & 1 == 1) != object {
                    return None;
                }
                open >>= 1;
                depth -= 1;
                if depth == 0 && close.is_none() {
                    self.at = at + 1;
                    return Some(());
                }
            }
            self.at += Brackets::BLOCK;
            brackets = next?;
        }
    }

    /// After the opening quote: steps behind the closing one.
    ///
    /// Inlined, for what it gives is slow to hand over in memory: a flag is written there that is read as a word.
    #[inline(always)]
    pub(in crate::dialect) fn string(&mut self) -> Option<RawString<'a>> {
        let (bytes, start) = (self.bytes, self.at);
        let (mut at, mut escaped) = (start, false);
        loop {
            let word = word(bytes, at)?;
            let quotes = equal(word, b'"');
            let special = quotes | equal(word, b'\\');
            if special == 0 {
                at += 8;
                continue;
            }
            at += first(special);
            if special & special.wrapping_neg() & quotes != 0 {
                break;
            }
            escaped = true;
            at += 2;
        }
        self.at = at + 1;
        Some(RawString { raw: bytes.get(start..at)?, escaped })
    }
}

#[inline]
pub(in crate::dialect) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// The eight bytes from a place on; what lies behind the end is zero. `None`: there is nothing.
#[inline]
fn word(bytes: &[u8], at: usize) -> Option<u64> {
    let rest = bytes.get(at..)?;
    rest.first_chunk().copied().map(u64::from_le_bytes).or_else(|| short_word(rest))
}

#[inline(never)]
fn short_word(rest: &[u8]) -> Option<u64> {
    let word = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    (!rest.is_empty()).then_some(word)
}

/// The high bit of each byte that is zero; bytes above the lowest such may be wrong.
#[inline]
fn zero(word: u64) -> u64 {
    word.wrapping_sub(ONES) & !word & HIGH
}

#[inline]
fn equal(word: u64, byte: u8) -> u64 {
    zero(word ^ (ONES * u64::from(byte)))
}

/// Brackets, and a few letters that share their bits.
#[inline]
fn brackets(word: u64) -> u64 {
    const BITS: u64 = ONES * 0x26;
    zero((word & !BITS) ^ (ONES * 0x59))
}

/// White space and control characters.
#[inline]
fn blank(word: u64) -> u64 {
    word.wrapping_sub(ONES * 0x21) & !word & HIGH
}

/// The place of the first byte that was marked.
#[inline]
fn first(marks: u64) -> usize {
    (marks.trailing_zeros() / 8) as usize
}

/// What stands between two quotes.
#[derive(Debug, Clone, Copy)]
pub(in crate::dialect) struct RawString<'a> {
    pub(in crate::dialect) raw: &'a [u8],
    pub(in crate::dialect) escaped: bool,
}

impl<'a> RawString<'a> {
    #[inline]
    pub(in crate::dialect) fn is(&self, text: &[u8]) -> bool {
        if self.escaped { self.is_escaped(text) } else { self.raw == text }
    }

    #[cold]
    fn is_escaped(&self, text: &[u8]) -> bool {
        // Escapes only shorten, to a sixth at most.
        self.raw.len() > text.len()
            && self.raw.len() / 6 <= text.len()
            && self.text().is_some_and(|own| *own == *text)
    }

    /// Without escapes. `None`: one of them is wrong.
    pub(in crate::dialect) fn text(&self) -> Option<Cow<'a, [u8]>> {
        if !self.escaped {
            return Some(Cow::Borrowed(self.raw));
        }
        let mut out = Vec::with_capacity(self.raw.len());
        unescape(self.raw, &mut out)?;
        Some(Cow::Owned(out))
    }
}

/// Undoes the escapes of RFC 8259 section 7. `None`: one of them is wrong.
pub(in crate::dialect) fn unescape(raw: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut cursor = Cursor::new(raw);
    while let Some(byte) = cursor.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let c = match cursor.next()? {
            c @ (b'"' | b'\\' | b'/') => char::from(c),
            b'b' => '\u{8}',
            b'f' => '\u{c}',
            b'n' => '\n',
            b'r' => '\r',
            b't' => '\t',
            b'u' => unescape_unicode(&mut cursor)?,
            _ => return None,
        };
        out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }
    Some(())
}

/// After `\u`: one character, of two escapes if it lies outside the basic plane.
fn unescape_unicode(cursor: &mut Cursor<'_>) -> Option<char> {
    let first = hex4(cursor)?;
    if !(0xD800..0xDC00).contains(&first) {
        return char::from_u32(first);
    }
    cursor.expect(b'\\')?;
    cursor.expect(b'u')?;
    let second = hex4(cursor)?;
    if !(0xDC00..0xE000).contains(&second) {
        return None;
    }
    char::from_u32(0x1_0000 + ((first - 0xD800) << 10) + (second - 0xDC00))
}

fn hex4(cursor: &mut Cursor<'_>) -> Option<u32> {
    let mut value = 0;
    for _ in 0..4 {
        value = value << 4 | char::from(cursor.next()?).to_digit(16)?;
    }
    Some(value)
}
