//! Payloads on standard output: one write for a batch.

use livefeed::{Event, Payload};
use std::io::{self, Write};

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// One payload a line, binary ones as base64
    Raw,
    /// The event objects, one a line
    Json,
}

/// Lines that are gathered and written at once.
pub(crate) struct Lines {
    format: Format,
    buffer: Vec<u8>,
}

impl Lines {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, buffer: Vec::with_capacity(128 << 10) }
    }

    /// Adds an event of the feed with this name. In raw form everything but messages is left out.
    pub(crate) fn add(&mut self, feed: &str, event: &Event) {
        match (self.format, event) {
            (Format::Raw, Event::Message(message)) => match message.payload() {
                Payload::Text(text) => self.buffer.extend_from_slice(text.as_bytes()),
                Payload::Binary(bytes) => {
                    self.buffer.extend_from_slice(data_encoding::BASE64.encode(bytes).as_bytes());
                }
            },
            (Format::Raw, _) => return,
            (Format::Json, event) => {
                self.buffer.extend_from_slice(event.to_json(feed).to_string().as_bytes())
            }
        }
        self.buffer.push(b'\n');
    }

    /// Writes what was gathered, in one go.
    pub(crate) fn flush(&mut self, out: &mut impl Write) -> io::Result<()> {
        let written = out.write_all(&self.buffer).and_then(|()| out.flush());
        self.buffer.clear();
        written
    }
}
