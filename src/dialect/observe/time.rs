//! Reads a time out of a message, whatever the bytes. Nothing is allocated, unless a string has escapes.

use super::TimeUnit;
use crate::dialect::json::scalar::{Number, Scalar};

/// Nothing that is longer is a time.
const LONGEST: usize = 128;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400;

/// The time that a raw JSON value stands for, in nanoseconds since 1970; one that is further away than they reach is
/// the furthest. `None`: it is no time.
pub(super) fn read(raw: &[u8], unit: TimeUnit) -> Option<i64> {
    if raw.len() > LONGEST {
        return None;
    }
    let nanos = match unit {
        TimeUnit::Seconds => SECOND,
        TimeUnit::Millis => 1_000_000,
        TimeUnit::Micros => 1_000,
        TimeUnit::Nanos => 1,
        TimeUnit::Rfc3339 => {
            let Scalar::Text(text) = Scalar::parse(raw)? else { return None };
            return rfc3339(&text);
        }
    };
    if raw.first() == Some(&b'"') {
        let Scalar::Text(text) = Scalar::parse(raw)? else { return None };
        return count(&text, nanos);
    }
    count(raw, nanos)
}

/// So many of a unit that has so many nanoseconds.
fn count(text: &[u8], nanos: i64) -> Option<i64> {
    Some(match Number::parse(text)? {
        Number::Int(int) => {
            let int = int.clamp(i128::from(i64::MIN), i128::from(i64::MAX));
            i64::try_from(int).ok()?.saturating_mul(nanos)
        }
        Number::Float(_) => decimal(text, nanos).unwrap_or_else(|| float(text, nanos)),
    })
}

/// Digits with decimals, exact to the nanosecond. `None`: they are written in another way, or too many.
fn decimal(text: &[u8], nanos: i64) -> Option<i64> {
    let (negative, text) = match text.strip_prefix(b"-") {
        Some(text) => (true, text),
        None => (false, text),
    };
    let dot = text.iter().position(|byte| *byte == b'.')?;
    let (whole, decimals) = (text.get(..dot)?, text.get(dot + 1..)?);
    let whole = digits(whole)?.checked_mul(nanos)?;
    let mut part = 0_i64;
    let mut worth = nanos;
    for byte in decimals {
        let digit = i64::from(char::from(*byte).to_digit(10)?);
        worth /= 10;
        part += digit * worth; // less than one unit in all
    }
    let sum = whole.checked_add(part)?;
    Some(if negative { -sum } else { sum })
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "what is too far is the furthest"
)]
fn float(text: &[u8], nanos: i64) -> i64 {
    match Number::parse(text) {
        Some(Number::Float(float)) => (float * nanos as f64) as i64,
        _ => i64::MAX,
    }
}

/// A number of digits and nothing else, at least one.
fn digits(text: &[u8]) -> Option<i64> {
    if text.is_empty() {
        return None;
    }
    text.iter().try_fold(0_i64, |sum, byte| {
        sum.checked_mul(10)?.checked_add(i64::from(char::from(*byte).to_digit(10)?))
    })
}

/// A date and time of day (RFC 3339 section 5.6). A leap second is the first of the next minute, as in Unix time.
fn rfc3339(text: &[u8]) -> Option<i64> {
    let field = |from: usize, to: usize| text.get(from..to).and_then(digits);
    let mark = |at: usize, marks: &[u8]| text.get(at).filter(|byte| marks.contains(byte));
    mark(4, b"-").and(mark(7, b"-")).and(mark(10, b"Tt ")).and(mark(13, b":")).and(mark(16, b":"))?;
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    let fits = (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour <= 23
        && minute <= 59
        && second <= 60;
    if !fits {
        return None;
    }
    let rest = text.get(19..)?;
    let (nanos, rest) = match rest.split_first() {
        Some((b'.' | b',', rest)) => fraction(rest)?,
        _ => (0, rest),
    };
    let seconds =
        days_since_1970(year, month, day) * DAY + hour * 3600 + minute * 60 + second - offset(rest)?;
    Some(seconds.saturating_mul(SECOND).saturating_add(nanos))
}

/// Decimals of a second, at least one, in nanoseconds, and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let count = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (decimals, rest) = text.split_at_checked(count).filter(|_| count > 0)?;
    let mut worth = SECOND;
    let nanos = decimals.iter().map(|byte| {
        worth /= 10;
        i64::from(byte - b'0') * worth
    });
    Some((nanos.sum(), rest))
}

/// How far the time is ahead of UTC, in seconds.
fn offset(text: &[u8]) -> Option<i64> {
    let (sign, rest) = match text.split_first() {
        None => return Some(0),
        Some((b'Z' | b'z', [])) => return Some(0),
        Some((b'+', rest)) => (1, rest),
        Some((b'-', rest)) => (-1, rest),
        Some(_) => return None,
    };
    let (hours, minutes) = match rest.len() {
        2 => (rest, &b"00"[..]),
        4 => rest.split_at_checked(2)?,
        5 if rest.get(2) == Some(&b':') => (rest.get(..2)?, rest.get(3..)?),
        _ => return None,
    };
    let (hours, minutes) = (digits(hours)?, digits(minutes)?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 3600 + minutes * 60))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days of the Gregorian calendar, for the years 0 to 9999. Years are counted from March, so that the day that a leap
/// year has more is its last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    let before = (153 * month + 2) / 5; // of the months in front
    365 * year + leaps + before + day - 1 - 719_468
}
