//! Text of others, made harmless for terminals.

use std::borrow::Cow;

/// The text with a replacement character for each control character but line ends and tabs: what a server sends can't
/// move the cursor, change the title, answer for the user or show text in another order.
pub(crate) fn text(text: &str) -> Cow<'_, str> {
    let is_harmful = |c: char| is_harmful(c) && c != '\n' && c != '\t';
    if text.contains(is_harmful) { text.replace(is_harmful, "\u{fffd}").into() } else { text.into() }
}

/// The same on one line.
pub(crate) fn line(text: &str) -> Cow<'_, str> {
    if text.contains(is_harmful) { text.replace(is_harmful, " ").into() } else { text.into() }
}

/// Control characters, line ends of Unicode, and what turns the direction of writing.
fn is_harmful(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_reaches_the_terminal_but_text() {
        let hostile = "a\x1b]0;t\x07\u{9b}2J\r\x7f\n\tb\u{202e}c\u{2028}d \u{e9}\u{65e5}";
        assert_eq!(
            text(hostile),
            "a\u{fffd}]0;t\u{fffd}\u{fffd}2J\u{fffd}\u{fffd}\n\tb\u{fffd}c\u{fffd}d \u{e9}\u{65e5}"
        );
        assert_eq!(line(hostile), "a ]0;t  2J    b c d \u{e9}\u{65e5}");
    }
}
