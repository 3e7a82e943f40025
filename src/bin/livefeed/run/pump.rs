//! The thread that takes events from the feeds and writes them out. It holds little: while the output takes nothing,
//! events stay in the queues of the feeds, whose policy then decides.

use crate::exit::Failure;
use crate::files::Files;
use crate::talk::{Talk, note};
use crate::{hints, output, sentences, time};
use livefeed::crossbeam_channel::{Receiver, RecvTimeoutError, after, bounded};
use livefeed::{CloseReason, Error, Event, FeedSet, GapCause};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// So many bytes are gathered at most before they are written, but for the last event.
const GATHER: usize = 256 << 10;
/// The first and the longest delay after which a write that failed is tried again.
const RETRY: Duration = Duration::from_millis(100);
const LONGEST_RETRY: Duration = Duration::from_secs(5);
/// So long at most is waited for an event if a file is due later: the wall clock may be set meanwhile.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How it ended.
#[derive(Debug)]
pub(super) enum End {
    /// Each feed is closed, and everything is written.
    Closed,
    /// Whoever read standard output is gone.
    NobodyReads,
    /// The output takes nothing, for this reason.
    Failed(String),
    /// It has not ended.
    Stuck,
}

/// Where lines go.
pub(super) enum Sink {
    Stdout(Vec<u8>),
    Files(Files),
}

pub(super) struct Pump {
    set: Arc<FeedSet<Arc<str>>>,
    sink: Sink,
    talk: Talk,
    /// Disconnected when the end is asked for.
    asked: Receiver<Infallible>,
    /// So long after that writes are tried again.
    drain: Duration,
    /// What the user was last told to do, by feed.
    hints: BTreeMap<Arc<str>, &'static str>,
}

impl Pump {
    /// Takes the events of the set. The end is asked for by disconnecting `asked`, and writes are tried again so long after.
    pub(super) fn new(
        set: Arc<FeedSet<Arc<str>>>,
        sink: Sink,
        talk: Talk,
        asked: Receiver<Infallible>,
        drain: Duration,
    ) -> Self {
        Self { set, sink, talk, asked, drain, hints: BTreeMap::new() }
    }

    /// Starts the thread. What is returned tells its end.
    pub(super) fn start(mut self) -> Result<Receiver<End>, Failure> {
        let (sender, done) = bounded(1);
        let run = move || {
            let end = self.run().map_or_else(|end| end, |()| End::Closed);
            let _ = sender.send(end);
        };
        let thread = std::thread::Builder::new().name("livefeed-output".to_owned()).spawn(run);
        thread.map_err(|error| Failure::failed(format!("could not start a thread: {error}")))?;
        Ok(done)
    }

    fn run(&mut self) -> Result<(), End> {
        loop {
            match self.next() {
                Ok((feed, event)) => self.take(&feed, &event),
                Err(Error::Timeout) => {}
                Err(_) => return self.flush(), // every feed is closed
            }
            while self.sink.gathered() < GATHER {
                match self.set.try_recv() {
                    Ok((feed, event)) => self.take(&feed, &event),
                    Err(_) => break,
                }
            }
            self.flush()?;
            if let Sink::Files(files) = &mut self.sink {
                files.handle_due(time::wall());
            }
        }
    }

    /// The next event, or `Timeout` when a file is due.
    fn next(&self) -> Result<(Arc<str>, Event), Error> {
        let due = match &self.sink {
            Sink::Files(files) => files.due(),
            Sink::Stdout(_) => None,
        };
        let Some(due) = due else { return self.set.recv() };
        let wait = due.duration_since(time::wall()).unwrap_or_default();
        self.set.recv_timeout(wait.min(LONGEST_WAIT))
    }

    /// Says what happens to the feed, whether or not the events stand elsewhere: it is the journal of a service.
    fn say(&mut self, feed: &Arc<str>, event: &Event) {
        if let Event::Closed(closed) = event
            && !matches!(closed.reason, CloseReason::ByUser)
        {
            // In any case: the others go on without it.
            return note(&format!("{feed}: closed: {}", hints::closed(&closed.reason)));
        }
        // Where the queue overflows an alert says so once, and not each gap.
        let is_overflow = matches!(event, Event::Gap(gap) if gap.cause == GapCause::Overflow);
        if !self.talk.wants(event, is_overflow) {
            return;
        }
        // Said once, until it is another.
        let hint =
            sentences::hint(event).filter(|hint| self.hints.insert(Arc::clone(feed), hint) != Some(hint));
        if let Some(text) = sentences::of(event, hint) {
            note(&format!("{feed}: {text}"));
        }
    }

    fn take(&mut self, feed: &Arc<str>, event: &Event) {
        if !matches!(event, Event::Message(_)) {
            self.say(feed, event);
        }
        let add = |buffer: &mut Vec<u8>| {
            let whole = buffer.len();
            match output::object(buffer, feed, event) {
                Ok(()) => buffer.push(b'\n'),
                Err(_) => buffer.truncate(whole), // a buffer takes everything
            }
        };
        match &mut self.sink {
            Sink::Stdout(buffer) => add(buffer),
            Sink::Files(files) => files.gather(feed, add),
        }
    }

    /// Writes what was gathered, however long that takes, unless the end was asked for.
    fn flush(&mut self) -> Result<(), End> {
        let files = match &mut self.sink {
            Sink::Stdout(buffer) => return write_stdout(buffer),
            Sink::Files(files) => files,
        };
        let Err(problem) = files.write(time::wall()) else { return Ok(()) };
        note(&format!("{problem}: tried again until it can be written; meanwhile nothing is read"));
        let failed_at = time::mono();
        let mut delay = RETRY;
        let mut give_up: Option<Instant> = None;
        loop {
            if give_up.is_none() {
                match self.asked.recv_timeout(delay) {
                    Err(RecvTimeoutError::Disconnected) => {
                        delay = RETRY;
                        give_up = Some(time::mono() + self.drain);
                    }
                    _ => delay = (delay * 2).min(LONGEST_RETRY),
                }
            } else {
                let _ = after(delay).recv();
            }
            match files.write(time::wall()) {
                Ok(()) => break,
                Err(problem) if give_up.is_some_and(|at| time::mono() >= at) => {
                    let lost = files.gathered();
                    return Err(End::Failed(format!(
                        "{problem}: {lost} bytes of events, and what came after, are lost"
                    )));
                }
                Err(_) => {}
            }
        }
        let lasted = (time::mono() - failed_at).as_secs_f64();
        note(&format!("the output is written again, after {lasted:.1} s"));
        Ok(())
    }
}

impl Sink {
    pub(super) fn stdout() -> Self {
        Self::Stdout(Vec::new())
    }

    fn gathered(&self) -> usize {
        match self {
            Self::Stdout(buffer) => buffer.len(),
            Self::Files(files) => files.gathered(),
        }
    }
}

fn write_stdout(buffer: &mut Vec<u8>) -> Result<(), End> {
    let mut out = io::stdout().lock();
    let written = out.write_all(buffer).and_then(|()| out.flush());
    buffer.clear();
    buffer.shrink_to(1 << 20); // a very long line may have come
    written.map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => End::NobodyReads,
        _ => End::Failed(format!("standard output can't be written: {error}")),
    })
}
