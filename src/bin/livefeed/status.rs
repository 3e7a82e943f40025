//! The status line of a terminal: state, epoch, age of the data, rate.

use crate::{plain, time};
use livefeed::crossbeam_channel::{Receiver, never, tick};
use livefeed::{Feed, Health, State};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

/// So often it is drawn anew.
const EVERY: Duration = Duration::from_millis(500);

/// A line at the bottom of the terminal that standard error is.
pub(crate) struct StatusLine {
    color: bool,
    /// When, and how many messages had come by then.
    last: Option<(Instant, u64)>,
    rate: f64,
    text: String,
    is_shown: bool,
}

impl StatusLine {
    /// `None` if standard error is no terminal that could show one.
    pub(crate) fn new() -> Option<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let is_dumb = set("TERM").is_none_or(|term| term == "dumb");
        if is_dumb || !io::stderr().is_terminal() {
            return None;
        }
        let color = set("NO_COLOR").is_none();
        Some(Self { color, last: None, rate: 0.0, text: String::new(), is_shown: false })
    }

    /// A message for each time that it is to be drawn anew; none ever if there is no line.
    pub(crate) fn ticks(line: Option<&Self>) -> Receiver<Instant> {
        if line.is_some() { tick(EVERY) } else { never() }
    }

    /// Takes it away, so that something else can be written there.
    pub(crate) fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = io::stderr().write_all(b"\r\x1b[K");
        }
    }

    /// Shows it again as it was.
    pub(crate) fn show(&mut self) {
        if !self.is_shown && !self.text.is_empty() {
            let _ = io::stderr().write_all(self.text.as_bytes());
            self.is_shown = true;
        }
    }

    /// Draws it anew.
    pub(crate) fn draw(&mut self, feed: &Feed) {
        let health = feed.health();
        let now = time::mono();
        if let Some((then, before)) = self.last {
            let passed = now.saturating_duration_since(then).as_secs_f64();
            if passed > 0.0 {
                self.rate = health.messages.saturating_sub(before) as f64 / passed;
            }
        }
        self.last = Some((now, health.messages));
        self.text = line(&health, self.rate, self.color, width());
        let _ = io::stderr().write_all(format!("\r\x1b[K{}", self.text).as_bytes());
        self.is_shown = true;
    }
}

/// The line: the state in its colour, and no more columns than the terminal has.
fn line(health: &Health, rate: f64, color: bool, width: usize) -> String {
    let state = health.state.name();
    let mut rest = format!(" {} · epoch {}", plain::line(&health.name), health.epoch);
    let seconds = |age: Duration| format!("{:.1} s", age.as_secs_f64());
    let age =
        health.last_signal_age.map_or_else(|| "none yet".to_owned(), |age| format!("{} ago", seconds(age)));
    let _ = write!(rest, " · data {age}");
    match health.next_attempt_in {
        Some(wait) => {
            let _ = write!(rest, " · next attempt in {}", seconds(wait));
        }
        None => {
            let _ = write!(rest, " · {rate:.0}/s");
        }
    }
    let _ = write!(rest, " · {} messages", health.messages);
    // The last column is left free: some terminals wrap there.
    let room = width.saturating_sub(1);
    let state = cut(state, room);
    let rest = cut(&rest, room.saturating_sub(state.len()));
    let code = match health.state {
        State::Fresh => 32,
        State::Stale | State::Waiting | State::Closed => 31,
        _ => 33,
    };
    if color { format!("\x1b[{code}m{state}\x1b[0m{rest}") } else { format!("{state}{rest}") }
}

/// As much of the text as fits into so many columns. What is not ASCII may take two, as letters of East Asia do.
fn cut(text: &str, columns: usize) -> &str {
    let ends = text.char_indices().scan(0, |used, (at, c)| {
        *used += if c.is_ascii() { 1 } else { 2 };
        Some((at + c.len_utf8(), *used))
    });
    let end = ends.take_while(|(_, used)| *used <= columns).last().map_or(0, |(end, _)| end);
    text.get(..end).unwrap_or_default()
}

/// The columns of the terminal.
fn width() -> usize {
    #[cfg(unix)]
    if let Ok(size) = rustix::termios::tcgetwinsize(io::stderr())
        && size.ws_col > 0
    {
        return usize::from(size.ws_col);
    }
    80
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_fits_and_tells() {
        let feed = Feed::builder("ws://127.0.0.1:1/").name("btc").open().unwrap();
        let health = feed.health();
        let text = line(&health, 12.4, false, 200);
        assert!(
            text.starts_with(&format!("{} btc · epoch 0 · data none yet", health.state.name())),
            "{text}"
        );
        assert!(text.ends_with(" · 0 messages"), "{text}");
        assert_eq!(line(&health, 1.0, false, 12).len(), 11);
        assert_eq!(line(&health, 1.0, false, 0), "");
        assert!(line(&health, 1.0, true, 200).contains("\x1b["));
    }

    #[test]
    fn wide_letters_take_two_columns() {
        for (columns, shown) in
            [(0, ""), (1, "a"), (2, "a"), (3, "a\u{65e5}"), (4, "a\u{65e5}"), (9, "a\u{65e5}\u{672c}b")]
        {
            assert_eq!(cut("a\u{65e5}\u{672c}b", columns), shown, "{columns}");
        }
    }
}
