//! An established connection in two halves, one for each thread.

use super::nudge::Nudged;
use super::tls::{CIPHER_BYTES, Channel, Opened, Session};
use crate::clock::{self, Stamp};
use crate::error::{EndReason, Stage};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long one write may wait for room. Together with [`PUMP`] and the kernel's tick, below 30 ms.
const SLICE: Duration = Duration::from_millis(15);
/// After this time [`WriteHalf::pump`] begins no further write.
const PUMP: Duration = Duration::from_millis(10);
/// No shorter timeout is armed: zero would mean none.
const MIN_TIMEOUT: Duration = Duration::from_millis(1);
/// Write buffers larger than this are given back once they are empty.
const KEEP_BYTES: usize = 64 * 1024;

/// Splits the connection; the attempt's timeouts end here.
pub(super) fn halves(channel: Channel, early: Vec<u8>) -> Result<(ReadHalf, WriteHalf), EndReason> {
    let (socket, session) = channel.into_parts().map_err(|error| EndReason::io(Stage::Upgrade, &error))?;
    socket.set_write_timeout(Some(SLICE)).map_err(|error| EndReason::io(Stage::Upgrade, &error))?;
    let write = WriteHalf {
        socket: socket.clone(),
        session: session.clone(),
        plain: Queue::default(),
        cipher: Queue::default(),
        sealed: 0,
        delivered: 0,
        notify: Notify::No,
    };
    let read = ReadHalf {
        socket,
        // Further records may have come with those of the response.
        holds: session.is_some(),
        session,
        early: Queue { bytes: early, start: 0 },
        cipher: Vec::new(),
        armed: None,
        permit: None,
        outcome: Outcome::Unused,
        received_at: Stamp::now(),
        turns: Arc::default(),
        nudged: None,
        wants_write: false,
    };
    Ok((read, write))
}

/// How a permitted `recv` waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// At most about so long (`None`: without end), by the socket's own coarse timeout. One that is armed
    /// already, and lies between half of it and all of it, is kept: that saves a system call.
    Until(Option<Duration>),
    /// So long, by a finer clock than the socket's timeout has (on Unix `poll`; elsewhere that timeout).
    Exactly(Duration),
    /// Not at all.
    Probe,
}

/// What a permit was used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// So many bytes: raw ones of a `recv`, or plain ones that were held back and cost no `recv`.
    Bytes(usize),
    /// A `recv` found the socket empty: timed out, would block, or a signal or a nudge came.
    Nothing,
    /// The peer ends its direction, or [`Stop`](super::Stop) did.
    Eof,
    /// The connection failed: `Io` at stage read, or `Tls`.
    Failed(EndReason),
    /// Nothing was read: what tungstenite held was enough.
    Unused,
}

/// The reading half, and the stream below tungstenite's decoder.
///
/// A permit allows one `recv`, and without one `read` says `WouldBlock`. What is held already, bytes that came
/// behind the upgrade response, or decrypted ones, comes first; taking it spends the permit, so that no message
/// that is here waits for the next `recv`. One `recv` of TLS may yield many reads.
pub(crate) struct ReadHalf {
    socket: Arc<TcpStream>,
    session: Option<Arc<Session>>,
    early: Queue,
    /// Where raw bytes of TLS go; without TLS they go where tungstenite wants them.
    cipher: Vec<u8>,
    /// Whether the session may hold plaintext or whole records.
    holds: bool,
    armed: Option<Duration>,
    permit: Option<Permit>,
    outcome: Outcome,
    received_at: Stamp,
    turns: Arc<AtomicU64>,
    nudged: Option<Arc<Nudged>>,
    wants_write: bool,
}

#[derive(Debug)]
enum Permit {
    Block,
    Poll(Duration),
    Probe,
    /// The timeout could not be armed; blocking might have no end.
    Broken(EndReason),
}

impl ReadHalf {
    /// Allows exactly one `recv`.
    pub(crate) fn permit(&mut self, wait: Wait) {
        self.outcome = Outcome::Unused;
        self.wants_write = false;
        self.permit = Some(match wait {
            Wait::Probe => Permit::Probe,
            #[cfg(unix)]
            Wait::Exactly(time) => Permit::Poll(time),
            #[cfg(not(unix))]
            Wait::Exactly(time) => return self.permit(Wait::Until(Some(time))),
            Wait::Until(timeout) => {
                let timeout = timeout.map(|timeout| timeout.max(MIN_TIMEOUT));
                let fits = match (self.armed, timeout) {
                    (Some(armed), Some(wanted)) => armed <= wanted && armed >= wanted / 2,
                    (armed, wanted) => armed == wanted,
                };
                match if fits { Ok(()) } else { self.arm(timeout) } {
                    Ok(()) => Permit::Block,
                    Err(error) => Permit::Broken(EndReason::io(Stage::Read, &error)),
                }
            }
        });
    }

    /// Arms the socket's read timeout, for permits that block. Costs nothing if it is armed so.
    pub(crate) fn arm(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(|timeout| timeout.max(MIN_TIMEOUT));
        if self.armed != timeout {
            // Who may be nudged waits in `poll`, which has a timeout of its own.
            if cfg!(not(unix)) || self.nudged.is_none() {
                self.socket.set_read_timeout(timeout)?;
            }
            self.armed = timeout;
        }
        Ok(())
    }

    /// The timeout that is armed: a blocking permit returns about then at the latest.
    pub(crate) fn armed(&self) -> Option<Duration> {
        self.armed
    }

    /// Counts the turns in and out of `recv` here from now on: odd while in it.
    pub(crate) fn watch(&mut self, turns: Arc<AtomicU64>) {
        self.turns = turns;
    }

    /// Has a nudge end each wait from now on, with [`Outcome::Nothing`]. That costs a system call more in each cycle.
    pub(crate) fn heed(&mut self, nudged: Arc<Nudged>) {
        self.nudged = Some(nudged);
    }

    /// When the last `recv` came back: the one clock reading of a cycle.
    pub(crate) fn received_at(&self) -> &Stamp {
        &self.received_at
    }

    /// What the last permit was used for.
    pub(crate) fn outcome(&self) -> &Outcome {
        &self.outcome
    }

    /// Whether reading under the last permit produced ciphertext that the writer must send: pump it.
    pub(crate) fn wants_write(&self) -> bool {
        self.wants_write
    }

    #[cfg(test)]
    pub(super) fn socket_timeout(&self) -> Option<Duration> {
        self.socket.read_timeout().ok().flatten()
    }

    /// The one `recv` of the permit, if it is still there, into `plain` or the buffer for ciphertext.
    fn recv(&mut self, plain: Option<&mut [u8]>) -> io::Result<usize> {
        let Some(permit) = self.permit.take() else {
            return Err(ErrorKind::WouldBlock.into());
        };
        let buffer = match plain {
            Some(plain) => plain,
            None => self.cipher.as_mut_slice(),
        };
        // This thread is the only one that writes it.
        let turn = self.turns.load(Ordering::Relaxed);
        self.turns.store(turn.wrapping_add(1), Ordering::SeqCst);
        let received = match permit {
            Permit::Block => match await_nudge(self.nudged.as_deref(), &self.socket, self.armed) {
                None => (&*self.socket).read(buffer),
                Some(Ok(())) => probe(&self.socket, buffer, &mut self.armed),
                Some(Err(error)) => Err(error),
            },
            Permit::Poll(time) => {
                // Whatever it says, the look at the socket decides.
                let _ = await_nudge(self.nudged.as_deref(), &self.socket, Some(time))
                    .unwrap_or_else(|| wait_readable(&self.socket, time));
                probe(&self.socket, buffer, &mut self.armed)
            }
            Permit::Probe | Permit::Broken(_) => probe(&self.socket, buffer, &mut self.armed),
        };
        self.turns.store(turn.wrapping_add(2), Ordering::SeqCst);
        self.received_at = Stamp::now();
        match received {
            Ok(0) => {
                self.outcome = Outcome::Eof;
                Ok(0)
            }
            Ok(count) => {
                self.outcome = Outcome::Bytes(count);
                Ok(count)
            }
            Err(error) => match (error.kind(), permit) {
                (
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted,
                    Permit::Broken(reason),
                ) => Err(self.fail(reason)),
                (ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted, _) => {
                    self.outcome = Outcome::Nothing;
                    Err(ErrorKind::WouldBlock.into())
                }
                _ => Err(self.fail(EndReason::io(Stage::Read, &error))),
            },
        }
    }

    fn read_tls(&mut self, session: &Session, plain: &mut [u8]) -> io::Result<usize> {
        let mut received = 0;
        loop {
            if !self.holds {
                if self.permit.is_none() {
                    return Err(ErrorKind::WouldBlock.into());
                }
                self.cipher.resize(CIPHER_BYTES, 0);
                received = self.recv(None)?;
                if received == 0 {
                    session.end();
                }
                self.holds = true;
            }
            let (opened, wants_write) = session.open(&mut self.cipher, received, plain);
            received = 0;
            self.wants_write |= wants_write;
            match opened {
                Opened::Bytes(count) => {
                    if self.permit.take().is_some() {
                        self.outcome = Outcome::Bytes(count);
                    }
                    return Ok(count);
                }
                Opened::End => {
                    self.permit = None;
                    self.outcome = Outcome::Eof;
                    return Ok(0);
                }
                Opened::Failed(reason) => return Err(self.fail(reason)),
                Opened::Empty => self.holds = false,
            }
        }
    }

    fn fail(&mut self, reason: EndReason) -> io::Error {
        let error = match &reason {
            EndReason::Io { kind, .. } => (*kind).into(),
            reason => io::Error::other(reason.to_string()),
        };
        self.permit = None;
        self.outcome = Outcome::Failed(reason);
        error
    }
}

impl Read for ReadHalf {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if !self.early.is_empty() {
            let count = self.early.waiting().read(buffer)?;
            self.early.advance(count);
            if self.permit.take().is_some() {
                self.received_at = Stamp::now();
                self.outcome = Outcome::Bytes(count);
            } else if let Outcome::Bytes(sum) = &mut self.outcome {
                *sum += count;
            }
            return Ok(count);
        }
        match self.session.clone() {
            Some(session) => self.read_tls(&session, buffer),
            None => self.recv(Some(buffer)),
        }
    }
}

/// Discards: what tungstenite would answer by itself is the writer's business.
impl Write for ReadHalf {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl fmt::Debug for ReadHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadHalf")
            .field("armed", &self.armed)
            .field("outcome", &self.outcome)
            .finish_non_exhaustive()
    }
}

/// Waits for the socket or a nudge; `None`: nobody nudges.
#[cfg(unix)]
fn await_nudge(
    nudged: Option<&Nudged>,
    socket: &TcpStream,
    time: Option<Duration>,
) -> Option<io::Result<()>> {
    nudged.map(|nudged| nudged.wait(socket, time))
}

#[cfg(not(unix))]
fn await_nudge(_: Option<&Nudged>, _: &TcpStream, _: Option<Duration>) -> Option<io::Result<()>> {
    None
}

#[cfg(unix)]
fn wait_readable(socket: &TcpStream, time: Duration) -> io::Result<()> {
    use rustix::event::{PollFd, PollFlags};
    super::tcp::poll(&mut [PollFd::new(socket, PollFlags::IN)], time)
}

/// Is never asked for.
#[cfg(not(unix))]
fn wait_readable(_socket: &TcpStream, _time: Duration) -> io::Result<()> {
    Ok(())
}

#[cfg(unix)]
fn probe(socket: &TcpStream, buffer: &mut [u8], _armed: &mut Option<Duration>) -> io::Result<usize> {
    Ok(rustix::net::recv(socket, buffer, rustix::net::RecvFlags::DONTWAIT)?.1)
}

/// Without a flag for it the shortest timeout has to do.
#[cfg(not(unix))]
fn probe(socket: &TcpStream, buffer: &mut [u8], armed: &mut Option<Duration>) -> io::Result<usize> {
    if *armed != Some(MIN_TIMEOUT) {
        socket.set_read_timeout(Some(MIN_TIMEOUT))?;
        *armed = Some(MIN_TIMEOUT);
    }
    (&*socket).read(buffer)
}

/// How far a [`WriteHalf::pump`] came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pumped {
    /// How many bytes the system took, ciphertext under TLS. None: the peer's window was shut all the time.
    pub(crate) wrote: usize,
    /// Whether nothing waits to be written any more.
    pub(crate) idle: bool,
}

/// The writing half: the only writer.
pub(crate) struct WriteHalf {
    socket: Arc<TcpStream>,
    session: Option<Arc<Session>>,
    plain: Queue,
    cipher: Queue,
    /// Plaintext whose ciphertext is in `cipher`.
    sealed: u64,
    delivered: u64,
    notify: Notify,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notify {
    No,
    Asked,
    Done,
}

impl WriteHalf {
    /// Puts bytes behind those that wait; the caller bounds them.
    pub(crate) fn enqueue(&mut self, plain: &[u8]) {
        self.plain.push(plain);
    }

    /// Writes what the system takes within one slice, at most about 30 ms.
    ///
    /// Call it too when the reader [wants to write](ReadHalf::wants_write). Errors: `Io` at stage write, `Tls`.
    pub(crate) fn pump(&mut self) -> Result<Pumped, EndReason> {
        let started = clock::mono();
        let mut wrote = 0;
        loop {
            let waiting = match &self.session {
                None => self.plain.waiting(),
                Some(session) => {
                    if self.cipher.is_empty() {
                        let sealed = session.seal(self.plain.waiting(), &mut self.cipher.bytes)?;
                        self.plain.advance(sealed.taken);
                        self.sealed += sealed.taken as u64;
                        if sealed.blocked && self.cipher.is_empty() {
                            session.wait_for_reader(SLICE);
                            return Ok(Pumped { wrote, idle: false });
                        }
                        if self.plain.is_empty() && self.notify == Notify::Asked {
                            self.notify = Notify::Done;
                            session.close_notify()?;
                            if self.cipher.is_empty() {
                                session.take(&mut self.cipher.bytes);
                            }
                        }
                    }
                    self.cipher.waiting()
                }
            };
            if waiting.is_empty() {
                return Ok(Pumped { wrote, idle: true });
            }
            match (&*self.socket).write(waiting) {
                Ok(0) => return Err(EndReason::io(Stage::Write, &ErrorKind::WriteZero.into())),
                Ok(count) => {
                    let is_all = count == waiting.len();
                    self.note_written(count);
                    wrote += count;
                    if !is_all {
                        return Ok(Pumped { wrote, idle: false });
                    }
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => return Ok(Pumped { wrote, idle: false }),
                    ErrorKind::Interrupted => {}
                    _ => return Err(EndReason::io(Stage::Write, &error)),
                },
            }
            if clock::mono().saturating_duration_since(started) >= PUMP {
                return Ok(Pumped { wrote, idle: false });
            }
        }
    }

    /// Under TLS puts the alert that ends our direction behind all that waits; `pump` sends it.
    pub(crate) fn close_notify(&mut self) {
        if self.notify == Notify::No {
            self.notify = Notify::Asked;
        }
    }

    /// Ends our direction of TCP. Errors mean that it is ended already.
    pub(crate) fn shutdown_write(&mut self) {
        let _ = self.socket.shutdown(Shutdown::Write);
    }

    /// How much of what was enqueued, from the first byte on, the system has taken, TLS included.
    pub(crate) fn delivered(&self) -> u64 {
        self.delivered
    }

    /// How much of what was enqueued waits.
    pub(crate) fn pending(&self) -> usize {
        self.plain.waiting().len() + usize::try_from(self.sealed).unwrap_or(usize::MAX)
    }

    /// Whether nothing waits to be received, not even the end of file. `false` where the system can't tell.
    #[cfg(unix)]
    pub(crate) fn is_socket_empty(&self) -> io::Result<bool> {
        use rustix::io::Errno;
        use rustix::net::RecvFlags;
        loop {
            return match rustix::net::recv(&*self.socket, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT)
            {
                Ok(_) => Ok(false),
                Err(Errno::AGAIN) => Ok(true),
                Err(Errno::INTR) => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Whether nothing waits to be received: can't be told here.
    #[cfg(not(unix))]
    pub(crate) fn is_socket_empty(&self) -> io::Result<bool> {
        Err(ErrorKind::Unsupported.into())
    }

    fn note_written(&mut self, count: usize) {
        if self.session.is_none() {
            self.plain.advance(count);
            self.delivered += count as u64;
            return;
        }
        self.cipher.advance(count);
        if self.cipher.is_empty() {
            self.delivered += std::mem::take(&mut self.sealed);
        }
    }
}

impl fmt::Debug for WriteHalf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteHalf").field("pending", &self.pending()).finish_non_exhaustive()
    }
}

/// Bytes in the order they came; taken from the front.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    start: usize,
}

impl Queue {
    fn waiting(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    fn is_empty(&self) -> bool {
        self.start >= self.bytes.len()
    }

    fn push(&mut self, more: &[u8]) {
        // Moved only when at least half of it is free: each byte is moved once on average.
        if self.start > 0 && self.start >= self.bytes.len() / 2 {
            self.bytes.drain(..self.start);
            self.start = 0;
        }
        self.bytes.extend_from_slice(more);
    }

    fn advance(&mut self, count: usize) {
        self.start += count;
        if self.is_empty() {
            self.bytes.clear();
            self.start = 0;
            if self.bytes.capacity() > KEEP_BYTES {
                self.bytes = Vec::new();
            }
        }
    }
}
