//! Payloads on standard output: lines that are gathered and written at once.

use crate::{plain, time};
use livefeed::{Event, Message, Payload};
use serde::Serialize;
use std::io::{self, IsTerminal, Write};
use std::time::SystemTime;

/// So much is gathered at most, so that a large batch neither takes much memory nor falls out of the processor's cache.
const BLOCK: usize = 128 << 10;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One payload a line, binary ones as base64; one that has line ends itself takes several, so use json for those
    Raw,
    /// The event objects, one a line
    Json,
}

/// Lines for one reader. On a terminal, control characters in them are made visible.
pub(crate) struct Lines<W> {
    format: Format,
    buffer: Vec<u8>,
    out: W,
    is_terminal: bool,
    /// The time of the last message, and as text: messages that came together have the same.
    time: (SystemTime, String),
}

impl Lines<io::Stdout> {
    /// For standard output.
    pub(crate) fn stdout(format: Format) -> Self {
        let out = io::stdout();
        let is_terminal = out.is_terminal();
        Self { is_terminal, ..Self::new(format, out) }
    }
}

impl<W: Write> Lines<W> {
    /// For any writer. It should not gather by itself.
    pub(crate) fn new(format: Format, out: W) -> Self {
        let time = (SystemTime::UNIX_EPOCH, String::new());
        Self { format, buffer: Vec::new(), out, is_terminal: false, time }
    }

    /// Adds an event of the feed with this name. In raw form everything but messages is left out. Writes if a block is
    /// full.
    ///
    /// # Errors
    ///
    /// As [`flush`](Self::flush).
    #[inline]
    pub(crate) fn add(&mut self, feed: &str, event: &Event) -> io::Result<()> {
        match (self.format, event) {
            (Format::Raw, Event::Message(message)) => raw(&mut self.buffer, message),
            (Format::Raw, _) => return Ok(()),
            (Format::Json, Event::Message(message)) => json(&mut self.buffer, feed, message, &mut self.time)?,
            (Format::Json, event) => object(&mut self.buffer, feed, event)?,
        }
        self.buffer.push(b'\n');
        if self.buffer.len() < BLOCK { Ok(()) } else { self.flush() }
    }

    /// Whether there is something to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether a person reads it.
    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Writes what was gathered, in one go.
    ///
    /// # Errors
    ///
    /// Those of the system; what was gathered is lost then.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let written = if self.is_terminal {
            self.out.write_all(plain::text(&String::from_utf8_lossy(&self.buffer)).as_bytes())
        } else {
            self.out.write_all(&self.buffer)
        };
        self.buffer.clear();
        self.buffer.shrink_to(2 * BLOCK); // one message may have been large
        written.and_then(|()| self.out.flush())
    }
}

/// The payload alone.
#[inline]
fn raw(buffer: &mut Vec<u8>, message: &Message) {
    match message.payload() {
        Payload::Text(text) => buffer.extend_from_slice(text.as_bytes()),
        Payload::Binary(bytes) => base64(buffer, bytes),
    }
}

/// The object of an event: that of [`Event::to_json`].
#[inline]
pub(crate) fn object(buffer: &mut Vec<u8>, feed: &str, event: &Event) -> io::Result<()> {
    match event {
        Event::Message(message) => json(buffer, feed, message, &mut (SystemTime::UNIX_EPOCH, String::new())),
        event => Ok(serde_json::to_writer(buffer, &event.to_json(feed))?),
    }
}

/// The object of a message: that of [`Event::to_json`], without a tree in between.
fn json(
    buffer: &mut Vec<u8>,
    feed: &str,
    message: &Message,
    last: &mut (SystemTime, String),
) -> io::Result<()> {
    if last.0 != message.time() || last.1.is_empty() {
        *last = (message.time(), time::rfc3339(message.time()));
    }
    buffer.push(b'{');
    let text = match message.payload() {
        Payload::Text(text) => Some(text),
        Payload::Binary(bytes) => {
            buffer.extend_from_slice(b"\"binary\":\"");
            base64(buffer, bytes);
            buffer.extend_from_slice(b"\",");
            None
        }
    };
    write!(buffer, "\"epoch\":{},\"event\":\"message\",\"feed\":", message.epoch())?;
    value(buffer, feed)?;
    buffer.extend_from_slice(b",\"subscriptions\":");
    value(buffer, message.subscriptions())?;
    if let Some(text) = text {
        buffer.extend_from_slice(b",\"text\":");
        value(buffer, text)?;
    }
    buffer.extend_from_slice(b",\"time\":\"");
    buffer.extend_from_slice(last.1.as_bytes());
    buffer.extend_from_slice(b"\"}");
    Ok(())
}

fn value<T: Serialize + ?Sized>(buffer: &mut Vec<u8>, value: &T) -> io::Result<()> {
    Ok(serde_json::to_writer(buffer, value)?)
}

fn base64(buffer: &mut Vec<u8>, bytes: &[u8]) {
    let start = buffer.len();
    buffer.resize(start + data_encoding::BASE64.encode_len(bytes.len()), 0);
    if let Some(room) = buffer.get_mut(start..) {
        data_encoding::BASE64.encode_mut(bytes, room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use livefeed::lab::{Command, Lab, Script};
    use livefeed::{Feed, Matcher, Subscription};

    /// All events of a short feed.
    fn events() -> Vec<Event> {
        let script = Script::new()
            .send("{\"a\":\"\u{e9}\\n\"}")
            .send("two\nlines \"quoted\" \u{1b}[31m")
            .then(Command::SendBinary(vec![0, 1, 2, 250]))
            .then(Command::SendBinary(Vec::new()))
            .close(1000, "bye");
        let lab = Lab::start(script).unwrap();
        let feed = Feed::builder(lab.url())
            .name("a \"feed\"")
            .subscription(Subscription::new("s").data(Matcher::exists("/a")))
            .retry_policy(|_, _| Some(livefeed::Decision::Fatal))
            .open()
            .unwrap();
        feed.iter().collect()
    }

    #[test]
    fn an_object_is_that_of_the_library() {
        let events = events();
        let mut out = Vec::new();
        let mut lines = Lines::new(Format::Json, &mut out);
        events.iter().for_each(|event| lines.add("a \"feed\"", event).unwrap());
        lines.flush().unwrap();
        let out = String::from_utf8(out).unwrap();
        let expected: Vec<String> =
            events.iter().map(|event| event.to_json("a \"feed\"").to_string()).collect();
        assert!(expected.len() >= 7, "{expected:?}");
        assert_eq!(out.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_raw_line_is_the_payload() {
        let mut out = Vec::new();
        let mut lines = Lines::new(Format::Raw, &mut out);
        events().iter().for_each(|event| lines.add("f", event).unwrap());
        assert!(!lines.is_empty());
        lines.flush().unwrap();
        let expected = "{\"a\":\"\u{e9}\\n\"}\ntwo\nlines \"quoted\" \u{1b}[31m\nAAEC+g==\n\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    /// Counts writes.
    struct Writes(Vec<usize>);

    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn many_lines_are_one_write() {
        let event = events().into_iter().find(|event| matches!(event, Event::Message(_))).unwrap();
        let mut writes = Writes(Vec::new());
        let mut lines = Lines::new(Format::Raw, &mut writes);
        (0..1000).for_each(|_| lines.add("f", &event).unwrap());
        lines.flush().unwrap();
        lines.flush().unwrap();
        assert_eq!(writes.0.len(), 1);
        let mut lines = Lines::new(Format::Raw, &mut writes);
        (0..100_000).for_each(|_| lines.add("f", &event).unwrap());
        lines.flush().unwrap();
        assert!(writes.0.iter().all(|bytes| *bytes < BLOCK + 100) && writes.0.len() < 20, "{:?}", writes.0);
    }

    #[test]
    fn a_terminal_is_not_taken_over() {
        let mut out = Vec::new();
        let mut lines = Lines { is_terminal: true, ..Lines::new(Format::Raw, &mut out) };
        events().iter().for_each(|event| lines.add("f", event).unwrap());
        lines.flush().unwrap();
        let out = String::from_utf8(out).unwrap();
        assert!(out.contains("two\nlines \"quoted\" \u{fffd}[31m\n"), "{out:?}");
    }
}
