//! One connection: its socket, its place in the script, and what it does next.

mod act;
mod opening;

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::lab::Shared;
use crate::lab::command::{Command, Incoming, Reaction};
use crate::lab::frames::{self, Decoder};
use crate::lab::output::Output;
use crate::lab::schedule::{Due, Schedule};
use crate::lab::script::{Script, Step};
use crate::lab::stream::Stream;
use crate::lab::topic::Callback;
use crate::lab::transcript::{End, Received, Request, Sent, What};
use crate::lab::upgrade::{self, Parsed};
use crate::lab::wait::{Ready, Wanted};

/// How long an end may take when the client does not do its part.
const END_LIMIT: Duration = Duration::from_secs(5);
/// How long it may take when the client goes on taking what was queued before.
const LONGEST_END: Duration = Duration::from_secs(60);
/// Above this, in bytes, nothing more is sent by itself.
const FULL: usize = 256 << 10;
/// Above this, in bytes, pings go unanswered.
const FULL_FOR_PONGS: usize = 1 << 20;
/// How many reads and how many timed messages one turn takes at most.
const READS: usize = 16;
const MESSAGES: usize = 10_000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Tls,
    Request,
    Open,
    /// Input is read and ignored.
    Deaf,
}

#[derive(Debug)]
enum Waiting {
    Nothing,
    Time(Instant),
    Text(Callback<dyn Fn(&str) -> bool + Send + Sync>),
    Sent(u64),
}

#[derive(Debug)]
struct Ending {
    how: End,
    limit: Instant,
    fin_sent: bool,
}

#[derive(Debug)]
pub(super) struct Conn {
    pub(super) number: usize,
    shared: Arc<Shared>,
    stream: Stream,
    phase: Phase,
    script: Script,
    steps: VecDeque<Step>,
    waiting: Waiting,
    early: Vec<Command>,
    request: Vec<u8>,
    decoder: Decoder,
    out: Output,
    schedule: Schedule,
    reaction: Option<Reaction>,
    /// The upgrade request, once it is answered.
    greeted: Option<Arc<Request>>,
    reading: bool,
    frozen: bool,
    answer_pings: bool,
    answer_close: bool,
    close_sent: Option<Instant>,
    ending: Option<Ending>,
    /// Over by then, whatever the client still takes.
    end_by: Option<Instant>,
    /// The connection is over, for this reason.
    pub(super) over: Option<End>,
    blocked: bool,
    again: bool,
}

impl Conn {
    pub(super) fn new(number: usize, stream: Stream, mut script: Script, shared: Arc<Shared>) -> Self {
        let steps = std::mem::take(&mut script.steps);
        Self {
            number,
            shared,
            stream,
            phase: Phase::Request,
            script,
            steps,
            waiting: Waiting::Nothing,
            early: Vec::new(),
            request: Vec::new(),
            decoder: Decoder::default(),
            out: Output::default(),
            schedule: Schedule::default(),
            reaction: None,
            greeted: None,
            reading: true,
            frozen: false,
            answer_pings: true,
            answer_close: true,
            close_sent: None,
            ending: None,
            end_by: None,
            over: None,
            blocked: false,
            again: false,
        }
    }

    pub(super) fn note(&self, what: What) {
        self.shared.journal.write(self.number, what);
    }

    /// What the socket is to be waited for; its failure in any case, unless frozen.
    pub(super) fn wanted(&self) -> Option<Wanted<'_>> {
        let write = self.blocked && self.phase != Phase::Tls;
        (!self.frozen).then(|| Wanted::new(self.stream.socket(), self.reading, write))
    }

    /// When the next turn is due, if nothing happens before.
    pub(super) fn deadline(&self, now: Instant) -> Option<Instant> {
        if self.again && !self.frozen {
            return Some(now);
        }
        let step = if let Waiting::Time(until) = self.waiting { Some(until) } else { None };
        let end = self.ending.as_ref().map(|ending| ending.limit);
        let close = self.close_sent.filter(|_| self.ending.is_none()).map(|at| at + END_LIMIT);
        let own = if self.frozen {
            None
        } else {
            let data = if self.may_send() { self.schedule.deadline() } else { None };
            [data, self.out.due().filter(|_| !self.blocked)].into_iter().flatten().min()
        };
        [step, end, close, own].into_iter().flatten().min()
    }

    fn may_send(&self) -> bool {
        self.phase == Phase::Open
            && !self.frozen
            && self.close_sent.is_none()
            && self.ending.is_none()
            && self.out.len() < FULL
    }

    /// Does all that can be done now.
    pub(super) fn turn(&mut self, now: Instant, ready: Ready, scratch: &mut [u8]) {
        let again = std::mem::take(&mut self.again);
        if !self.frozen {
            if self.reading && (ready.read || ready.broken || again) {
                self.read(now, scratch);
            } else if let Some(kind) = self.broken(ready) {
                self.over = Some(self.ending.take().map_or(End::Io(kind), |ending| ending.how));
            }
        }
        if self.over.is_some() {
            return;
        }
        self.advance(now);
        if !self.frozen {
            self.emit(now);
            self.write(now);
        }
        self.finish(now);
    }

    /// Why the connection has failed, if it has, for one that does not read and so would not hear of it.
    fn broken(&self, ready: Ready) -> Option<io::ErrorKind> {
        let error = if self.reading { None } else { self.stream.take_error().map(|e| e.kind()) };
        error.or(ready.broken.then_some(io::ErrorKind::ConnectionAborted))
    }

    fn read(&mut self, now: Instant, scratch: &mut [u8]) {
        if self.phase == Phase::Tls {
            let outcome = self.stream.handshake();
            self.shaken(outcome);
        }
        self.decode(now);
        for _ in 0..READS {
            if !self.reading || self.frozen || self.over.is_some() || self.phase == Phase::Tls {
                return;
            }
            match self.stream.read(scratch) {
                Ok(0) => {
                    // A client that says goodbye and ends its direction with it is answered all the same.
                    if self.ending.is_some() {
                        self.write(now);
                    }
                    if self.over.is_none() {
                        self.over = Some(self.ending.take().map_or(End::Eof, |ending| ending.how));
                    }
                    return;
                }
                Ok(count) => self.take_in(&scratch[..count], now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return self.failed(&error),
            }
        }
        self.again = true;
    }

    fn failed(&mut self, error: &io::Error) {
        let how = self.ending.take().map(|ending| ending.how).filter(|how| *how == End::Closed);
        self.over = Some(how.unwrap_or(End::Io(error.kind())));
    }

    fn take_in(&mut self, bytes: &[u8], now: Instant) {
        match self.phase {
            Phase::Request => {
                self.request.extend_from_slice(bytes);
                match upgrade::parse(&self.request) {
                    Parsed::Incomplete => {}
                    Parsed::Bad => self.refuse(400, "", now),
                    Parsed::Whole { request, length } => {
                        let rest = self.request.split_off(length);
                        self.request = Vec::new();
                        self.answer(request, now);
                        if self.phase == Phase::Open && !rest.is_empty() {
                            self.take_in(&rest, now);
                        }
                    }
                }
            }
            Phase::Open => {
                self.decoder.feed(bytes);
                self.decode(now);
            }
            Phase::Deaf | Phase::Tls => {}
        }
    }

    /// Handles the frames that are in whole, as long as the connection reads.
    fn decode(&mut self, now: Instant) {
        while self.over.is_none() && self.ending.is_none() && self.reading && !self.frozen {
            match self.decoder.next() {
                Ok(Some(received)) => {
                    self.note(What::Received(received.clone()));
                    self.handle(received, now);
                }
                Ok(None) => return,
                Err(what) => {
                    self.note(What::Violation(what));
                    self.over = Some(End::Violation);
                }
            }
        }
    }

    fn handle(&mut self, received: Received, now: Instant) {
        match received {
            Received::Text(text) => {
                self.schedule.heard_message(now);
                // Heard before the reaction, so that a topic that it adds does not hear of it too.
                let acks = self.schedule.heard(&text, now);
                self.react(Incoming::Text(&text), now);
                for text in acks {
                    self.send(Sent::Text, &frames::frame(frames::TEXT, text.as_bytes()));
                }
                if matches!(&self.waiting, Waiting::Text(test) if (test.0)(&text)) {
                    self.waiting = Waiting::Nothing;
                    self.advance(now);
                }
            }
            Received::Binary(bytes) => {
                self.schedule.heard_message(now);
                self.react(Incoming::Binary(&bytes), now);
            }
            Received::Ping(payload) if self.answer_pings && self.out.len() < FULL_FOR_PONGS => {
                self.send(Sent::Pong, &frames::frame(frames::PONG, &payload));
            }
            Received::Close(reason) if self.answer_close || self.close_sent.is_some() => {
                let payload = reason.map(|(code, _)| frames::close_payload(code, "")).unwrap_or_default();
                self.send(Sent::Close, &frames::frame(frames::CLOSE, &payload));
                self.end_soon(End::Closed, now);
            }
            _ => {}
        }
    }

    fn react(&mut self, incoming: Incoming<'_>, now: Instant) {
        let commands = self.reaction.as_ref().map(|reaction| (reaction.0.0)(incoming)).unwrap_or_default();
        self.obey(commands, now);
    }

    /// Carries out what a closure wants.
    fn obey(&mut self, commands: Vec<Command>, now: Instant) {
        for command in commands {
            if self.over.is_some() {
                return;
            }
            if !command.is_send() {
                self.note(What::Command(command.name()));
            }
            self.act(command, now);
        }
    }

    /// Takes a command of a control handle.
    pub(super) fn command(&mut self, command: Command, now: Instant) {
        if self.phase == Phase::Open || command.is_below_websocket() {
            self.note(What::Command(command.name()));
            self.act(command, now);
        } else {
            self.early.push(command);
        }
    }

    /// Goes through the script as far as it may.
    fn advance(&mut self, now: Instant) {
        while self.phase == Phase::Open && self.over.is_none() {
            match &self.waiting {
                Waiting::Time(until) if now >= *until => {}
                Waiting::Sent(0) | Waiting::Nothing => {}
                _ => return,
            }
            self.waiting = match self.steps.pop_front() {
                None => {
                    self.waiting = Waiting::Nothing;
                    return;
                }
                Some(Step::Do(command)) => {
                    self.command(command, now);
                    Waiting::Nothing
                }
                Some(Step::Greet(greet)) => {
                    let commands =
                        self.greeted.as_ref().map(|request| (greet.0)(request)).unwrap_or_default();
                    self.obey(commands, now);
                    Waiting::Nothing
                }
                Some(Step::For(time)) => Waiting::Time(now + time),
                Some(Step::UntilText(test)) => Waiting::Text(test),
                Some(Step::UntilSent(count)) => Waiting::Sent(count),
            };
        }
    }

    /// Queues what is due.
    fn emit(&mut self, now: Instant) {
        for _ in 0..MESSAGES {
            if !self.may_send() {
                return;
            }
            match self.schedule.take(now, self.number) {
                None => return,
                Some(Due::Beat(kind, frame)) => self.send(kind, &frame),
                Some(Due::Cue(command)) => {
                    if !command.is_send() {
                        self.note(What::Command(command.name()));
                    }
                    self.act(command, now);
                }
                Some(Due::Data(frame)) => {
                    self.send(Sent::Data, &frame);
                    if let Waiting::Sent(left) = &mut self.waiting {
                        *left = left.saturating_sub(1);
                        self.advance(now);
                    }
                }
            }
        }
    }

    /// Queues one message; nothing follows a Close frame.
    fn send(&mut self, kind: Sent, bytes: &[u8]) {
        if self.close_sent.is_none() && self.ending.is_none() {
            self.out.queue(bytes);
            self.note(What::Sent { kind, count: 1 });
        }
    }

    /// Queues a Close frame and starts the clock on its answer.
    fn send_close(&mut self, payload: &[u8], now: Instant) {
        self.out.end_flood();
        self.send(Sent::Close, &frames::frame(frames::CLOSE, payload));
        self.close_sent.get_or_insert(now);
        self.end_by.get_or_insert(now + LONGEST_END);
    }

    fn start_topic(&mut self, topic: crate::lab::Topic, now: Instant) {
        self.schedule.add(topic, &self.shared.sequences, now);
    }

    fn write(&mut self, now: Instant) {
        if self.frozen
            || self.phase == Phase::Tls
            || self.ending.as_ref().is_some_and(|ending| ending.fin_sent)
        {
            return;
        }
        let before = self.out.len();
        let stream = &mut self.stream;
        let outcome = self.out.write(now, |bytes| stream.write(bytes)).and_then(|mut progress| {
            progress.blocked |= !self.stream.flush()?;
            Ok(progress)
        });
        match outcome {
            Ok(progress) => {
                self.blocked = progress.blocked;
                if self.out.len() < before {
                    self.taken(now);
                }
                self.again |= progress.more;
                if progress.flooded > 0 {
                    self.note(What::Sent { kind: Sent::Flood, count: progress.flooded });
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    /// A client that still takes what was queued before the end has not left its part undone.
    fn taken(&mut self, now: Instant) {
        if self.end_by.is_some_and(|by| now + END_LIMIT > by) {
            return;
        }
        if let Some(sent) = &mut self.close_sent {
            *sent = now;
        }
        if let Some(ending) = &mut self.ending {
            ending.limit = now + END_LIMIT;
        }
    }

    /// Ends the connection when what is queued is written.
    fn end_soon(&mut self, how: End, now: Instant) {
        self.out.end_flood();
        self.end_by.get_or_insert(now + LONGEST_END);
        if self.ending.is_none() {
            self.ending = Some(Ending { how, limit: now + END_LIMIT, fin_sent: false });
        }
        if self.phase == Phase::Request {
            self.phase = Phase::Deaf;
        }
    }

    /// Has the next turn come at once.
    pub(super) fn wake(&mut self) {
        self.again = true;
    }

    fn reset(&mut self) {
        self.stream.reset();
        self.over = Some(End::Reset);
    }

    fn finish(&mut self, now: Instant) {
        if self.over.is_some() {
            return;
        }
        let Some(ending) = &mut self.ending else {
            if self.close_sent.is_some_and(|at| now >= at + END_LIMIT) {
                self.over = Some(End::Fin);
            }
            return;
        };
        if now >= ending.limit {
            self.over = Some(ending.how.clone());
        } else if !ending.fin_sent && !self.frozen && !self.blocked && self.out.is_idle() {
            ending.fin_sent = true;
            if ending.how == End::Closed {
                self.stream.close_notify();
            }
            self.stream.fin();
        }
    }
}
