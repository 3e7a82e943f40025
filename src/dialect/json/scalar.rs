//! JSON values that are neither objects nor arrays, and when two of them are equal.

use crate::dialect::json::cursor::Cursor;
use std::borrow::Cow;

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
                let text = cursor.string()?.text()?;
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
    pub(crate) fn parse(raw: &[u8]) -> Option<Self> {
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
