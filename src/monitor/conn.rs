//! One connection: requests in, answers out, never waiting and never longer than it may.

use super::http::{self, HEAD, Method, Parsed, Request, Response};
use super::wait::Ready;
use crate::clock::{self, Stamp};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

/// So long a connection may stay open without a request.
const IDLE: Duration = Duration::from_secs(60);

/// So long, and for so many bytes, what the peer still sends is taken after the last answer: closing before that would
/// take the answer from it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 256 << 10;

/// So many requests of a connection are answered before the others have their turn, and no more once that took so long.
const IN_A_ROW: usize = 8;
const SLICE: Duration = Duration::from_millis(2);

/// So long the writing of an answer is left alone when there is no room for others.
const PATIENCE: Duration = Duration::from_millis(500);

/// Answers a request.
pub(super) type Answer<'a> = &'a dyn Fn(&Request) -> Response;

pub(super) struct Conn {
    stream: TcpStream,
    phase: Phase,
    /// When the phase began.
    since: Instant,
    /// When the connection ends if the phase does not.
    deadline: Instant,
    timeout: Duration,
    /// What was received and not understood yet, at most [`HEAD`] bytes.
    received: Vec<u8>,
    /// Whether it was not looked at yet.
    unread: bool,
    /// Whether a request was answered.
    served: bool,
    /// What is to be written, and how much of it was.
    answer: Vec<u8>,
    written: usize,
    /// Whether the connection stays open after the answer.
    keep: bool,
    /// How much was thrown away.
    drained: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A request is waited for, or its rest.
    Reading,
    /// An answer is written.
    Writing,
    /// All was said; the peer has still to end.
    Draining,
}

impl Conn {
    pub(super) fn new(stream: TcpStream, now: Instant, timeout: Duration) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            phase: Phase::Reading,
            since: now,
            deadline: now + timeout,
            timeout,
            received: Vec::new(),
            unread: false,
            served: false,
            answer: Vec::new(),
            written: 0,
            keep: true,
            drained: 0,
        })
    }

    /// The socket, and what it is waited for.
    pub(super) fn wanted(&self) -> (&TcpStream, Ready) {
        (&self.stream, if self.phase == Phase::Writing { Ready::WRITE } else { Ready::READ })
    }

    pub(super) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// How soon this one may be given up for a new one: first those that are over, then those without a complete
    /// request, then those whose answer has been written for long, and of them the oldest first.
    pub(super) fn rank(&self) -> (u8, Instant) {
        match self.phase {
            Phase::Draining => (0, self.since),
            Phase::Reading => (1, self.since),
            Phase::Writing => (2, self.since),
        }
    }

    /// From when on it may be given up.
    pub(super) fn free_at(&self) -> Instant {
        match self.phase {
            Phase::Draining | Phase::Reading => self.since,
            Phase::Writing => self.since + PATIENCE,
        }
    }

    /// Whether there is something to do without waiting.
    pub(super) fn is_pending(&self) -> bool {
        self.phase == Phase::Reading && self.unread
    }

    /// Its time is over; `false`: so is the connection.
    pub(super) fn handle_deadline(&mut self, answer: Answer<'_>) -> bool {
        if self.phase == Phase::Reading && !self.received.is_empty() {
            self.respond(&Response::error(408, "the request took too long"), true, false);
            self.deadline = self.since + LINGER;
            return self.turn(answer);
        }
        false
    }

    /// Does what can be done without waiting; `false`: the connection is over.
    pub(super) fn turn(&mut self, answer: Answer<'_>) -> bool {
        let mut answered = 0;
        let end = clock::mono() + SLICE;
        loop {
            let done = match self.phase {
                Phase::Reading if answered == IN_A_ROW || (answered > 0 && self.since >= end) => return true,
                Phase::Reading => self.read(answer),
                Phase::Writing => self.write().inspect(|()| answered += 1),
                Phase::Draining => self.drain(),
            };
            match done {
                Ok(()) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return false, // the peer went away, or was sent away
            }
        }
    }

    /// Answers the request that was received already, or reads once more.
    fn read(&mut self, answer: Answer<'_>) -> io::Result<()> {
        if self.unread && self.understand(answer) {
            return Ok(());
        }
        let known = self.received.len();
        self.received.resize(HEAD, 0);
        let outcome = self.stream.read(self.received.get_mut(known..).unwrap_or_default());
        self.received.truncate(known + outcome.as_ref().map_or(0, |length| *length));
        match outcome? {
            0 => return Err(ErrorKind::UnexpectedEof.into()),
            _ if known == 0 && self.served => {
                self.since = clock::mono();
                self.deadline = self.since + self.timeout;
            }
            _ => {}
        }
        self.understand(answer);
        Ok(())
    }

    /// Answers the request that was received, if it is complete.
    fn understand(&mut self, answer: Answer<'_>) -> bool {
        self.unread = false;
        match http::parse(&self.received) {
            Parsed::Partial => return false,
            Parsed::Complete(request, length) => {
                self.received.drain(..length.min(self.received.len()));
                let response = answer(&request);
                self.respond(&response, request.method != Method::Head, request.keep);
            }
            Parsed::Bad(response) => self.respond(&response, true, false),
        }
        true
    }

    fn respond(&mut self, response: &Response, body: bool, keep: bool) {
        let now = Stamp::now();
        self.answer = response.encode(now, body, keep);
        (self.written, self.keep, self.served) = (0, keep, true);
        self.enter(Phase::Writing, now.mono, self.timeout);
    }

    fn enter(&mut self, phase: Phase, now: Instant, limit: Duration) {
        (self.phase, self.since, self.deadline) = (phase, now, now + limit);
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(left @ [_, ..]) = self.answer.get(self.written..) {
            match self.stream.write(left)? {
                0 => return Err(ErrorKind::WriteZero.into()),
                length => self.written += length,
            }
        }
        self.answer = Vec::new();
        let now = clock::mono();
        if self.keep {
            // What follows already has the time of a request.
            let limit = if self.received.is_empty() { IDLE.max(self.timeout) } else { self.timeout };
            self.unread = !self.received.is_empty();
            self.enter(Phase::Reading, now, limit);
        } else {
            self.stream.shutdown(Shutdown::Write)?;
            self.received = Vec::new();
            self.enter(Phase::Draining, now, LINGER);
        }
        Ok(())
    }

    fn drain(&mut self) -> io::Result<()> {
        let mut sink = [0; 4096];
        match self.stream.read(&mut sink)? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            length => {
                self.drained += length;
                if self.drained > LINGER_BYTES { Err(ErrorKind::Other.into()) } else { Ok(()) }
            }
        }
    }
}
