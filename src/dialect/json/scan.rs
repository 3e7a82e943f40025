//! Finds values in a JSON text without building a tree.
//!
//! The scan reads up to the last value it looks for and no further: what comes after, and the inside of what it steps
//! over, is checked for balanced brackets and closed strings only. It goes over the text once, never panics, whatever
//! the bytes, and recurses over the pointer, not the text.

use crate::dialect::json::cursor::{Cursor, is_space};
use crate::dialect::json::pointer::{Pointer, Token};
use std::borrow::Cow;

/// Whether the bytes may be a JSON object or array. Costs a look at the first byte that is no white space.
#[inline]
pub(crate) fn is_container(json: &[u8]) -> bool {
    matches!(json.iter().find(|b| !is_space(**b)), Some(b'{' | b'['))
}

/// Calls `found` with the raw JSON of each value that the pointer names, until it says `false`.
///
/// Of equal keys the first counts; with `*` each member counts, equal keys included. A text that is malformed has the
/// values in front of where it is.
pub(crate) fn values<'a>(json: &'a [u8], pointer: &Pointer, found: &mut dyn FnMut(Cow<'a, [u8]>) -> bool) {
    let at = At { root: true, wild: false };
    descend(&mut Cursor::new(json), pointer.tokens(), at, found);
}

/// The first value that the pointer names. `None` also if it is malformed.
pub(crate) fn value(json: &[u8], pointer: &Pointer) -> Option<serde_json::Value> {
    let mut first = None;
    values(json, pointer, &mut |raw| {
        first = serde_json::from_slice(&raw).ok();
        false
    });
    first
}

/// Where a value stands.
#[derive(Clone, Copy)]
struct At {
    /// It is the whole text.
    root: bool,
    /// It is one of several.
    wild: bool,
}

/// At a value: finds what the tokens lead to from here, and steps over the value. `None`: there is nothing more to be
/// found, because the text is malformed, or `found` has enough, or all that can be is found.
fn descend<'a>(
    cursor: &mut Cursor<'a>,
    tokens: &[Token],
    at: At,
    found: &mut dyn FnMut(Cow<'a, [u8]>) -> bool,
) -> Option<()> {
    cursor.space();
    let Some((token, rest)) = tokens.split_first() else {
        let start = cursor.at;
        if at.root {
            cursor.skip_root()?
        } else {
            cursor.skip_value()?
        }
        return found(Cow::Borrowed(cursor.bytes.get(start..cursor.at)?)).then_some(());
    };
    let inner = At { root: false, wild: at.wild || *token == Token::Each };
    match (cursor.peek()?, token) {
        (b'{', Token::Member(_) | Token::Either(..) | Token::Each) => {
            cursor.at += 1;
            if cursor.is_empty(b'}') {
                return Some(());
            }
            loop {
                let name = cursor.name()?;
                match token.key() {
                    None => descend(cursor, rest, inner, found)?,
                    Some(key) if name.is(key.as_bytes()) => {
                        descend(cursor, rest, inner, found)?;
                        return if at.wild { cursor.leave(b'}') } else { None };
                    }
                    Some(_) => cursor.skip_value()?,
                }
                if !cursor.more(b'}')? {
                    return Some(());
                }
            }
        }
        (b'[', Token::Element(_) | Token::Either(..) | Token::Each) => {
            cursor.at += 1;
            if cursor.is_empty(b']') {
                return Some(());
            }
            let mut place = 0;
            loop {
                cursor.space();
                match token.index() {
                    None => descend(cursor, rest, inner, found)?,
                    Some(index) if index == place => {
                        descend(cursor, rest, inner, found)?;
                        return if at.wild { cursor.leave(b']') } else { None };
                    }
                    Some(_) => cursor.skip_value()?,
                }
                place += 1;
                if !cursor.more(b']')? {
                    return Some(());
                }
            }
        }
        (b'"', Token::Json) => {
            cursor.at += 1;
            // What is wrong inside the string is no harm to what stands around it.
            let mut enough = false;
            let root = At { root: true, ..at };
            match cursor.string()?.text() {
                None => {}
                Some(Cow::Borrowed(text)) => {
                    descend(&mut Cursor::new(text), rest, root, &mut |raw| go_on(found(raw), &mut enough));
                }
                Some(Cow::Owned(text)) => {
                    descend(&mut Cursor::new(&text), rest, root, &mut |raw| {
                        go_on(found(Cow::Owned(raw.into_owned())), &mut enough)
                    });
                }
            }
            (at.wild && !enough).then_some(())
        }
        _ if at.root => cursor.skip_root(),
        _ => cursor.skip_value(),
    }
}

fn go_on(more: bool, enough: &mut bool) -> bool {
    *enough |= !more;
    more
}

#[cfg(test)]
#[path = "scan_tests.rs"]
mod tests;
