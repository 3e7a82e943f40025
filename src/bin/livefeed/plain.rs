//! Text of others, made harmless for terminals.

use std::borrow::Cow;

/// The text with a replacement character for each control character but line ends and tabs: what a server sends can't
/// move the cursor, change the title or answer for the user.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    let is_control = |c: char| c.is_control() && c != '\n' && c != '\t';
    if text.contains(is_control) { text.replace(is_control, "\u{fffd}").into() } else { text.into() }
}

/// The same on one line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if text.contains(char::is_control) { text.replace(char::is_control, " ").into() } else { text.into() }
}
