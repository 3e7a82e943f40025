//! Prints a feed: payloads on standard output, what happens to it on standard error, the status line below.

use crate::exit::say;
use crate::output::{Format, Lines};
use crate::sentences;
use crate::status::StatusLine;
use crate::talk::{Talk, note};
use crate::totals::Totals;
use livefeed::crossbeam_channel::{Sender, select};
use livefeed::{Batch, CloseReason, Event, Feed};
use std::io;

/// Prints a feed until its end.
pub(crate) struct Printer {
    lines: Lines<io::Stdout>,
    /// The events stand on standard output.
    has_events: bool,
    talk: Talk,
    status: Option<StatusLine>,
    /// How many messages are still wanted.
    left: Option<u64>,
    /// Gets a message when they are printed.
    enough: Sender<()>,
    closed: Option<CloseReason>,
    /// What the user was last told to do.
    hint: Option<&'static str>,
    totals: Totals,
}

impl Printer {
    pub(crate) fn new(format: Format, talk: Talk, count: Option<u64>, enough: Sender<()>) -> Self {
        let status = if talk.is_quiet() { None } else { StatusLine::new() };
        let has_events = format == Format::Json;
        let lines = Lines::stdout(format);
        Self {
            lines,
            has_events,
            talk,
            status,
            left: count,
            enough,
            closed: None,
            hint: None,
            totals: Totals::default(),
        }
    }

    /// Prints until the feed is closed, and says why it closed. Messages after the last one that is wanted are left out.
    ///
    /// # Errors
    ///
    /// Those of standard output.
    pub(crate) fn run(mut self, feed: &Feed) -> io::Result<Option<CloseReason>> {
        let ticks = StatusLine::ticks(self.status.as_ref());
        let ended = loop {
            let written = select! {
                recv(feed.batches()) -> batch => match batch {
                    Ok(batch) => self.print(feed.name(), batch),
                    Err(_) => break Ok(()),
                },
                recv(ticks) -> _ => {
                    self.draw(feed);
                    Ok(())
                }
            };
            if written.is_err() {
                break written;
            }
        };
        if let Some(status) = &mut self.status {
            status.clear();
            say(&format!("livefeed: {}", self.totals));
        }
        ended.map(|()| self.closed)
    }

    fn print(&mut self, name: &str, batch: Batch) -> io::Result<()> {
        let was_wanted = self.left != Some(0);
        for event in batch {
            if let Event::Message(_) = event {
                match &mut self.left {
                    None => {}
                    Some(0) => continue,
                    Some(left) => *left -= 1,
                }
                self.totals.messages += 1;
            } else {
                self.say(&event)?;
            }
            self.lines.add(name, &event)?;
        }
        self.write()?;
        if was_wanted && self.left == Some(0) {
            let _ = self.enough.try_send(());
        }
        Ok(())
    }

    /// Notes what is no message.
    fn say(&mut self, event: &Event) -> io::Result<()> {
        if let Event::Closed(closed) = event {
            self.closed = Some(closed.reason.clone());
        }
        // After the last message that is wanted nobody cares whether more may be missing.
        let told_elsewhere = self.has_events || self.left == Some(0);
        let oldest = self.totals.count(event, self.left == Some(0));
        if !self.talk.wants(event, told_elsewhere) {
            return Ok(());
        }
        // Said once, until it is another.
        let hint = sentences::hint(event).filter(|hint| self.hint.replace(hint) != Some(hint));
        if let Some(text) = sentences::of(event, hint) {
            self.write()?; // what came before it stands before it
            if let Some(status) = &mut self.status {
                status.clear();
            }
            note(&format!("{text}{}", oldest.unwrap_or_default()));
        }
        Ok(())
    }

    /// Writes what was gathered. On a terminal the status line makes way for it.
    fn write(&mut self) -> io::Result<()> {
        match &mut self.status {
            Some(status) if self.lines.is_terminal() && !self.lines.is_empty() => {
                status.clear();
                self.lines.flush()?;
                status.show();
                Ok(())
            }
            _ => self.lines.flush(),
        }
    }

    fn draw(&mut self, feed: &Feed) {
        if let Some(status) = &mut self.status {
            status.draw(feed);
        }
    }
}
