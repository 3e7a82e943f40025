//! The status line of a terminal: state, epoch, age of the data, rate.

use crate::{plain, time};
use livefeed::crossbeam_channel::{Receiver, never, tick};
use livefeed::{Feed, Health, State};
use std::collections::VecDeque;
use std::ffi::OsStr;
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write as _};
use std::time::{Duration, Instant};

/// So often it is drawn anew.
const EVERY: Duration = Duration::from_millis(500);
/// The rate is that of so many of these intervals.
const INTERVALS: usize = 6;
/// So many columns are left free: some terminals wrap in the last one, and after a Ctrl-C there is a `^C`.
const FREE: usize = 2;

/// A line at the bottom of the terminal that standard error is.
pub(crate) struct StatusLine {
    color: bool,
    /// What stands between two figures.
    separator: &'static str,
    /// When it was drawn lately, and how many messages had come by then.
    drawn: VecDeque<(Instant, u64)>,
    /// What was last shown of the feed, and its rate.
    shown: Option<(Health, f64)>,
    /// The columns of what stands in the terminal.
    columns: Option<usize>,
}

impl StatusLine {
    /// `None` if standard error is no terminal that could show one, or standard output goes to another program: what that
    /// writes to the terminal would stand in the same line.
    pub(crate) fn new() -> Option<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let is_dumb = set("TERM").is_none_or(|term| term == "dumb");
        if is_dumb || !io::stderr().is_terminal() || is_piped() {
            return None;
        }
        let color = set("NO_COLOR").is_none();
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(set);
        let separator = if is_utf8(locale.as_deref()) { " \u{b7} " } else { ", " };
        let drawn = VecDeque::from([(time::mono(), 0)]);
        Some(Self { color, separator, drawn, shown: None, columns: None })
    }

    /// A message for each time that it is to be drawn anew; none ever if there is no line.
    pub(crate) fn ticks(line: Option<&Self>) -> Receiver<Instant> {
        if line.is_some() { tick(EVERY) } else { never() }
    }

    /// Takes it away, so that something else can be written there.
    pub(crate) fn clear(&mut self) {
        if let Some(columns) = self.columns.take() {
            let _ = io::stderr().write_all(wipe(columns, width()).as_bytes());
        }
    }

    /// Shows it again as it was.
    pub(crate) fn show(&mut self) {
        if self.columns.is_none() {
            self.write();
        }
    }

    /// Draws it anew.
    pub(crate) fn draw(&mut self, feed: &Feed) {
        let health = feed.health();
        let rate = rate(&mut self.drawn, time::mono(), health.messages);
        self.shown = Some((health, rate));
        self.write();
    }

    /// Puts it in the place of what was there, as wide as the terminal is now.
    fn write(&mut self) {
        let Some((health, rate)) = &self.shown else { return };
        let width = width();
        let before = self.columns.map_or_else(String::new, |columns| wipe(columns, width));
        let (text, columns) = line(health, *rate, self.separator, self.color, width);
        let _ = io::stderr().write_all(format!("{before}{text}").as_bytes());
        self.columns = Some(columns);
    }
}

/// What wipes a line of so many columns away, in a terminal that has become so wide since: a narrower one has wrapped it.
/// Line by line, as some terminals keep what was cleared down to the bottom for scrolling back.
fn wipe(columns: usize, width: usize) -> String {
    let wrapped = columns.saturating_sub(1) / width.max(1);
    format!("\r\x1b[K{}", "\x1b[A\x1b[K".repeat(wrapped))
}

/// Messages a second over the last few intervals.
fn rate(drawn: &mut VecDeque<(Instant, u64)>, now: Instant, messages: u64) -> f64 {
    drawn.push_back((now, messages));
    while drawn.len() > INTERVALS + 1 {
        drawn.pop_front();
    }
    let Some(&(then, before)) = drawn.front() else { return 0.0 };
    let passed = now.saturating_duration_since(then).as_secs_f64();
    if passed > 0.0 { messages.saturating_sub(before) as f64 / passed } else { 0.0 }
}

/// Whether standard output goes to another program.
fn is_piped() -> bool {
    #[cfg(unix)]
    if let Ok(stat) = rustix::fs::fstat(io::stdout()) {
        use rustix::fs::FileType;
        return matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::Socket);
    }
    false
}

/// Whether the terminal shows letters that are not ASCII, by the name of its locale. Windows has no such names.
fn is_utf8(locale: Option<&OsStr>) -> bool {
    let name = locale.map_or_else(String::new, |name| name.to_string_lossy().to_ascii_lowercase());
    cfg!(not(unix)) || name.contains("utf-8") || name.contains("utf8")
}

/// The line and how many columns it takes: the state in its colour, and no more columns than the terminal has.
fn line(health: &Health, rate: f64, separator: &str, color: bool, width: usize) -> (String, usize) {
    let state = health.state.name();
    let mut rest = format!(" {}{separator}epoch {}", plain::line(&health.name), health.epoch);
    let seconds = |age: Duration| format!("{:.1} s", age.as_secs_f64());
    let age =
        health.last_signal_age.map_or_else(|| "none yet".to_owned(), |age| format!("{} ago", seconds(age)));
    let _ = write!(rest, "{separator}data {age}");
    match health.next_attempt_in {
        Some(wait) => {
            let _ = write!(rest, "{separator}next attempt in {}", seconds(wait));
        }
        None => {
            let _ = write!(rest, "{separator}{rate:.0}/s");
        }
    }
    let _ =
        write!(rest, "{separator}{} message{}", health.messages, if health.messages == 1 { "" } else { "s" });
    let room = width.saturating_sub(FREE);
    let state = cut(state, room);
    let rest = cut(&rest, room.saturating_sub(state.len()));
    let columns = state.len() + columns(rest);
    let code = match health.state {
        State::Fresh => 32,
        State::Stale | State::Waiting | State::Closed => 31,
        _ => 33,
    };
    let text = if color { format!("\x1b[{code}m{state}\x1b[0m{rest}") } else { format!("{state}{rest}") };
    (text, columns)
}

/// The columns that a text takes at most.
fn columns(text: &str) -> usize {
    text.chars().map(of_char).sum()
}

/// The columns of a letter. What is not ASCII may take two, as letters of East Asia do; the separator takes one.
fn of_char(c: char) -> usize {
    if c.is_ascii() || c == '\u{b7}' { 1 } else { 2 }
}

/// As much of the text as fits into so many columns.
fn cut(text: &str, columns: usize) -> &str {
    let ends = text.char_indices().scan(0, |used, (at, c)| {
        *used += of_char(c);
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
        let (text, columns) = line(&health, 12.4, ", ", false, 200);
        assert!(text.starts_with(&format!("{} btc, epoch 0, data none yet", health.state.name())), "{text}");
        assert!(text.ends_with(", 0 messages") && columns == text.len(), "{text}");
        for width in [0, 1, 2, 12, 40] {
            let (text, columns) = line(&health, 1.0, " \u{b7} ", false, width);
            assert_eq!((text.chars().count(), columns), (width.saturating_sub(2), width.saturating_sub(2)));
        }
        let (text, same) = line(&health, 12.4, ", ", true, 200);
        assert!(text.contains("\x1b[") && same == columns);
    }

    #[test]
    fn a_line_that_was_wrapped_is_wiped_in_whole() {
        for (columns, width, up) in
            [(0, 80, 0), (78, 80, 0), (78, 78, 0), (79, 78, 1), (98, 30, 3), (9, 0, 8)]
        {
            let wiped = wipe(columns, width);
            let counts = (wiped.matches("\x1b[A").count(), wiped.matches("\x1b[K").count());
            assert_eq!(counts, (up, up + 1), "{columns} {width}: {wiped:?}");
        }
    }

    #[test]
    fn the_rate_is_steady() {
        let begin = time::mono();
        let mut drawn = VecDeque::from([(begin, 0)]);
        for tick in 1..50_u32 {
            // Five a second, drawn every half a second: two and three in turn.
            let rate = rate(&mut drawn, begin + tick * EVERY, u64::from(tick) * 5 / 2);
            assert!(tick < 6 || (4.6..5.4).contains(&rate), "{tick}: {rate}");
        }
        assert_eq!(drawn.len(), INTERVALS + 1);
    }

    #[test]
    fn the_locale_says_what_can_be_shown() {
        for (name, expected) in [("de_AT.UTF-8", true), ("C.utf8", true), ("C", false), ("", false)] {
            assert_eq!(is_utf8(Some(OsStr::new(name))), expected || cfg!(not(unix)), "{name}");
        }
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
