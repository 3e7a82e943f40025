//! Finds one value in a JSON text without building a tree.
//!
//! The scanner reads up to the value it looks for and no further: what comes after, and the inside of what
//! it skips, is checked for balanced brackets and closed strings only. It never panics, whatever the bytes,
//! and does not recurse.

use std::borrow::Cow;

/// Containers nested deeper than this are not looked into, nor skipped.
const MAX_DEPTH: u32 = u128::BITS;

/// A JSON pointer (RFC 6901), taken apart once.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Pointer {
    tokens: Vec<Token>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Token {
    key: String,
    /// What the token means in an array (RFC 6901 section 4): digits without a leading zero.
    index: Option<usize>,
}

impl Pointer {
    /// Takes a pointer apart; the error says what would be right.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Err("is empty, which means the whole message: name a field, such as \"/channel\"".into());
        }
        let Some(rest) = text.strip_prefix('/') else {
            return Err(format!("does not start with \"/\": did you mean \"/{text}\"?"));
        };
        let tokens = rest.split('/').map(Token::parse).collect::<Option<Vec<_>>>().ok_or(
            "has a \"~\" that is not followed by 0 or 1: write \"~0\" for \"~\" and \"~1\" for \"/\" in a name \
             (RFC 6901 section 3)",
        )?;
        Ok(Self { tokens })
    }
}

impl Token {
    fn parse(text: &str) -> Option<Self> {
        let mut key = String::with_capacity(text.len());
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            key.push(match c {
                '~' => match chars.next()? {
                    '0' => '~',
                    '1' => '/',
                    _ => return None,
                },
                other => other,
            });
        }
        let is_index = key.bytes().all(|b| b.is_ascii_digit()) && (key == "0" || !key.starts_with('0'));
        let index = if is_index { key.parse().ok() } else { None };
        Some(Self { key, index })
    }
}

/// Whether the bytes may be a JSON object or array. Costs a look at the first byte that is no white space.
pub(crate) fn is_container(json: &[u8]) -> bool {
    matches!(json.iter().find(|b| !is_space(**b)), Some(b'{' | b'['))
}

/// The raw text of the value that the pointer names, if it is there. Of equal keys the first counts.
pub(crate) fn find<'a>(json: &'a [u8], pointer: &Pointer) -> Option<&'a [u8]> {
    let mut cursor = Cursor { bytes: json, at: 0 };
    for token in &pointer.tokens {
        cursor.space();
        match cursor.next()? {
            b'{' => cursor.enter_member(token.key.as_bytes())?,
            b'[' => cursor.enter_element(token.index?)?,
            _ => return None,
        }
    }
    cursor.space();
    let start = cursor.at;
    cursor.skip_value()?;
    json.get(start..cursor.at)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.peek()?;
        self.at += 1;
        Some(byte)
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        (self.next()? == byte).then_some(())
    }

    fn space(&mut self) {
        while self.peek().is_some_and(is_space) {
            self.at += 1;
        }
    }

    /// After `{`: goes to the value of the key.
    fn enter_member(&mut self, key: &[u8]) -> Option<()> {
        loop {
            self.space();
            self.expect(b'"')?;
            let found = self.string()?;
            self.space();
            self.expect(b':')?;
            if found.is(key) {
                return Some(());
            }
            self.next_item()?;
        }
    }

    /// After `[`: goes to the element of the index.
    fn enter_element(&mut self, index: usize) -> Option<()> {
        for _ in 0..index {
            self.next_item()?;
        }
        Some(())
    }

    /// Skips a value and the comma that must follow.
    fn next_item(&mut self) -> Option<()> {
        self.space();
        self.skip_value()?;
        self.space();
        self.expect(b',')
    }

    fn skip_value(&mut self) -> Option<()> {
        match self.peek()? {
            b'"' => {
                self.at += 1;
                self.string().map(|_| ())
            }
            b'{' | b'[' => self.skip_container(),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => self.skip_word(),
            _ => None,
        }
    }

    /// Skips a number or name. It must be followed by something, for else it may be cut.
    fn skip_word(&mut self) -> Option<()> {
        loop {
            match self.peek()? {
                b',' | b'}' | b']' => return Some(()),
                byte if is_space(byte) => return Some(()),
                _ => self.at += 1,
            }
        }
    }

    fn skip_container(&mut self) -> Option<()> {
        // One bit for each open bracket, the innermost lowest: 1 for an object, 0 for an array.
        let mut open = 0_u128;
        let mut depth = 0;
        loop {
            match self.next()? {
                b'"' => {
                    self.string()?;
                }
                byte @ (b'{' | b'[') => {
                    if depth == MAX_DEPTH {
                        return None;
                    }
                    open = open << 1 | u128::from(byte == b'{');
                    depth += 1;
                }
                byte @ (b'}' | b']') => {
                    if (open & 1 == 1) != (byte == b'}') {
                        return None;
                    }
                    open >>= 1;
                    depth -= 1;
                    if depth == 0 {
                        return Some(());
                    }
                }
                _ => {}
            }
        }
    }

    /// After the opening quote: goes behind the closing one.
    fn string(&mut self) -> Option<RawString<'a>> {
        let start = self.at;
        let mut escaped = false;
        loop {
            match self.next()? {
                b'"' => {
                    let raw = self.bytes.get(start..self.at - 1)?;
                    return Some(RawString { raw, escaped });
                }
                b'\\' => {
                    escaped = true;
                    self.next()?;
                }
                _ => {}
            }
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\n' | b'\r' | b'\t')
}

/// What stands between two quotes.
struct RawString<'a> {
    raw: &'a [u8],
    escaped: bool,
}

impl<'a> RawString<'a> {
    fn is(&self, text: &[u8]) -> bool {
        if self.escaped {
            // Escapes only shorten.
            self.raw.len() > text.len() && unescape(self.raw).is_some_and(|own| own == text)
        } else {
            self.raw == text
        }
    }

    fn into_text(self) -> Option<Cow<'a, [u8]>> {
        if self.escaped { unescape(self.raw).map(Cow::Owned) } else { Some(Cow::Borrowed(self.raw)) }
    }
}

/// Undoes the escapes of RFC 8259 section 7. `None`: one of them is wrong.
fn unescape(raw: &[u8]) -> Option<Vec<u8>> {
    let mut cursor = Cursor { bytes: raw, at: 0 };
    let mut out = Vec::with_capacity(raw.len());
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
    Some(out)
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

/// A JSON value that is neither an object nor an array.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Scalar<'a> {
    /// A string, without its quotes and escapes.
    Text(Cow<'a, [u8]>),
    Number(Number),
    Bool(bool),
    Null,
}

impl<'a> Scalar<'a> {
    /// Reads the raw text of a value. `None`: it is an object or array, or malformed.
    pub(crate) fn parse(raw: &'a [u8]) -> Option<Self> {
        match raw.first()? {
            b'"' => {
                let mut cursor = Cursor { bytes: raw, at: 1 };
                let text = cursor.string()?.into_text()?;
                (cursor.at == raw.len()).then_some(Self::Text(text))
            }
            b't' if raw == b"true" => Some(Self::Bool(true)),
            b'f' if raw == b"false" => Some(Self::Bool(false)),
            b'n' if raw == b"null" => Some(Self::Null),
            b'-' | b'0'..=b'9' => Number::parse(raw).map(Self::Number),
            _ => None,
        }
    }

    /// The scalar of a value. `None`: it is an object or array.
    pub(crate) fn of(value: &'a serde_json::Value) -> Option<Self> {
        match value {
            serde_json::Value::String(text) => Some(Self::Text(Cow::Borrowed(text.as_bytes()))),
            serde_json::Value::Number(number) => Some(Self::Number(Number::of(number))),
            serde_json::Value::Bool(value) => Some(Self::Bool(*value)),
            serde_json::Value::Null => Some(Self::Null),
            serde_json::Value::Array(_) | serde_json::Value::Object(_) => None,
        }
    }
}

/// A number: two integers are compared exactly, anything else as floating point, so that `1` is `1.0`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Number {
    Int(i128),
    Float(f64),
}

impl Number {
    fn parse(raw: &[u8]) -> Option<Self> {
        let kind = number_kind(raw)?;
        let text = std::str::from_utf8(raw).ok()?;
        if kind == NumberKind::Int
            && let Ok(int) = text.parse()
        {
            return Some(Self::Int(int));
        }
        let float: f64 = text.parse().ok()?;
        float.is_finite().then_some(Self::Float(float))
    }

    fn of(number: &serde_json::Number) -> Self {
        match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Self::Int(i128::from(int)),
            (None, Some(int)) => Self::Int(i128::from(int)),
            (None, None) => Self::Float(number.as_f64().unwrap_or(f64::NAN)),
        }
    }

    #[allow(clippy::cast_precision_loss, reason = "that is how an integer and a float are compared")]
    fn as_f64(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }

    /// Whether both equal the same numbers, which takes more than being equal: 2^53 as a float equals the
    /// integers 2^53 and 2^53 + 1, which differ.
    pub(crate) fn is_same(self, other: Self) -> bool {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a == b,
            (Self::Float(a), Self::Float(b)) => a == b,
            _ => false,
        }
    }

    /// Equal for equal numbers, and seldom for others: the key of a table.
    pub(crate) fn bucket(self) -> u64 {
        // The sum turns -0.0 into 0.0.
        (self.as_f64() + 0.0).to_bits()
    }
}

impl PartialEq for Number {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Int(a), Self::Int(b)) => a == b,
            _ => self.as_f64() == other.as_f64(),
        }
    }
}

#[derive(PartialEq, Eq)]
enum NumberKind {
    Int,
    Float,
}

/// Checks the grammar of RFC 8259 section 6, which is narrower than Rust's.
fn number_kind(raw: &[u8]) -> Option<NumberKind> {
    let digits = |bytes: &[u8]| bytes.iter().take_while(|b| b.is_ascii_digit()).count();
    let mut rest = raw.strip_prefix(b"-").unwrap_or(raw);
    let mut kind = NumberKind::Int;
    let int = digits(rest);
    if int == 0 || (int > 1 && rest.first() == Some(&b'0')) {
        return None;
    }
    rest = rest.get(int..)?;
    if let Some(fraction) = rest.strip_prefix(b".") {
        kind = NumberKind::Float;
        let n = digits(fraction);
        if n == 0 {
            return None;
        }
        rest = fraction.get(n..)?;
    }
    if let Some(b'e' | b'E') = rest.first() {
        kind = NumberKind::Float;
        let exponent = rest.get(1..)?;
        let exponent =
            exponent.strip_prefix(b"+").or_else(|| exponent.strip_prefix(b"-")).unwrap_or(exponent);
        let n = digits(exponent);
        if n == 0 {
            return None;
        }
        rest = exponent.get(n..)?;
    }
    rest.is_empty().then_some(kind)
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
