//! What was recorded or made up beforehand, sent at its times.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::command::Command;
use super::topic::Callback;

/// One step of a [`Playback`].
#[derive(Debug, Clone)]
pub enum Cue {
    /// Does what the command says, at this time since the playback began, or as soon after as the client takes what is
    /// sent before it.
    At(Duration, Command),
    /// Waits until the client has sent a text or binary message more than those that were waited for. If that is
    /// later than this time since the playback began, all cues that follow are as much later.
    Heard(Duration),
}

type Cues = Box<dyn Iterator<Item = Cue> + Send>;

/// Cues that are made while they are played, so that they can be as many as they like: of a recording, for one.
///
/// No cue is passed over. While more than 256 KiB wait to be sent, no further one is made.
///
/// ```
/// use std::time::Duration;
/// use livefeed::lab::{Command, Cue, Playback, Script};
///
/// let script = Script::new().then(Command::Play(Playback::new(|_connection| {
///     (0..3).map(|n| Cue::At(Duration::from_millis(n * 10), Command::Send(format!("{{\"n\":{n}}}"))))
/// })));
/// ```
#[derive(Debug, Clone)]
pub struct Playback(Callback<dyn Fn(usize) -> Cues + Send + Sync>);

impl Playback {
    /// Plays the cues that the closure makes for a connection, by its number, in their order. Both the closure and what it makes
    /// run on a thread of the lab; what it makes is dropped when the connection is over.
    pub fn new<I>(make: impl Fn(usize) -> I + Send + Sync + 'static) -> Self
    where
        I: IntoIterator<Item = Cue>,
        I::IntoIter: Send + 'static,
    {
        Self(Callback(Arc::new(move |connection| Box::new(make(connection).into_iter()))))
    }

    pub(super) fn start(&self, connection: usize, now: Instant) -> Player {
        Player { cues: (self.0.0)(connection), next: None, begin: now, heard: 0, waits: None, over: false }
    }
}

/// A playback on its way.
pub(super) struct Player {
    cues: Cues,
    next: Option<(Duration, Command)>,
    /// What times count from; later by what was waited.
    begin: Instant,
    /// Messages of the client that were not waited for yet.
    heard: u64,
    /// A message is waited for, and this is when it was expected.
    waits: Option<Duration>,
    over: bool,
}

impl std::fmt::Debug for Player {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Player").field("next", &self.next).field("waits", &self.waits).finish_non_exhaustive()
    }
}

impl Player {
    /// A message of the client has come.
    pub(super) fn heard(&mut self, now: Instant) {
        match self.waits.take() {
            None => self.heard += 1,
            Some(at) => self.begin = now.checked_sub(at).unwrap_or(now).max(self.begin),
        }
    }

    /// When it has something to do; `None` while it waits, and at its end.
    pub(super) fn due(&self) -> Option<Instant> {
        match &self.next {
            Some((at, _)) => self.begin.checked_add(*at),
            // What is next is not known before it is looked for.
            None => (self.waits.is_none() && !self.over).then_some(self.begin),
        }
    }

    /// The next command, if it is due.
    pub(super) fn take(&mut self, now: Instant) -> Option<Command> {
        while self.next.is_none() && self.waits.is_none() && !self.over {
            match self.cues.next() {
                Some(Cue::At(at, command)) => self.next = Some((at, command)),
                Some(Cue::Heard(_)) if self.heard > 0 => self.heard -= 1,
                Some(Cue::Heard(at)) => self.waits = Some(at),
                None => self.over = true,
            }
        }
        self.due().filter(|due| *due <= now)?;
        self.next.take().map(|(_, command)| command)
    }
}
