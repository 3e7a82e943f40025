//! Connects, within a budget: the only place that may.

use super::{Budget, Stop};
use crate::clock;
use crate::error::{EndReason, Stage};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// What is set on the socket.
#[derive(Debug, Clone)]
pub(crate) struct TcpSettings {
    /// Sends small writes at once (`TCP_NODELAY`).
    pub(crate) nodelay: bool,
    /// The receive buffer in bytes (`SO_RCVBUF`); `None`: as the system sizes it.
    pub(crate) recv_buffer: Option<usize>,
}

impl Default for TcpSettings {
    fn default() -> Self {
        Self { nodelay: true, recv_buffer: None }
    }
}

/// Connects to the first of the addresses that answers (RFC 8305 section 5).
///
/// Each next address starts `stagger` after the one before, or at once when that one failed; all go on
/// until one succeeds. The socket is registered with `stop`, and not blocking (on Unix).
pub(super) fn connect(
    addresses: &[SocketAddr],
    settings: &TcpSettings,
    stagger: Duration,
    budget: &Budget,
    stop: &Stop,
) -> Result<(Arc<TcpStream>, SocketAddr), EndReason> {
    let waiter = Waiter::new(stop).map_err(|error| EndReason::io(Stage::Connect, &error))?;
    let mut addresses = addresses.iter().copied();
    let mut next = addresses.next();
    let mut racing: Vec<(Arc<TcpStream>, SocketAddr)> = Vec::new();
    let mut failure = Failure(None);
    let mut next_start = clock::mono();
    loop {
        if stop.is_aborted() {
            return Err(EndReason::ClosedByUser);
        }
        let left = budget.left(Stage::Connect)?;
        let now = clock::mono();
        if let Some(address) = next
            && (racing.is_empty() || now >= next_start)
        {
            next = addresses.next();
            next_start = now + stagger;
            match start(address, settings) {
                Ok(socket) if stop.register(&socket) => racing.push((socket, address)),
                Ok(_) => return Err(EndReason::ClosedByUser),
                Err(error) => {
                    failure.note(&error, address);
                    next_start = now;
                    continue;
                }
            }
        }
        if racing.is_empty() {
            return Err(failure.into_reason());
        }
        let wait = match next {
            Some(_) => left.min(next_start.saturating_duration_since(now)),
            None => left,
        };
        waiter.wait(&racing, wait).map_err(|error| EndReason::io(Stage::Connect, &error))?;
        let mut at = 0;
        while let Some((socket, address)) = racing.get(at) {
            match status(socket) {
                Ok(true) => return Ok(racing.swap_remove(at)),
                Ok(false) => at += 1,
                Err(error) => {
                    failure.note(&error, *address);
                    racing.remove(at);
                    next_start = clock::mono();
                }
            }
        }
    }
}

fn start(address: SocketAddr, settings: &TcpSettings) -> io::Result<Arc<TcpStream>> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    if settings.nodelay {
        socket.set_tcp_nodelay(true)?;
    }
    if let Some(bytes) = settings.recv_buffer {
        // Before the connection: the window scale is agreed upon with the first segment (RFC 7323).
        socket.set_recv_buffer_size(bytes)?;
    }
    match socket.connect(&address.into()) {
        // Interrupted, it goes on in the background all the same.
        Err(error) if !is_pending(&error) && error.kind() != ErrorKind::Interrupted => Err(error),
        _ => Ok(Arc::new(socket.into())),
    }
}

fn is_pending(error: &io::Error) -> bool {
    #[cfg(unix)]
    if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) {
        return true;
    }
    error.kind() == ErrorKind::WouldBlock
}

/// Whether it is connected by now, or why it never will be.
fn status(socket: &TcpStream) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        // A connection to a free local port can meet itself (RFC 9293 section 3.5, simultaneous open).
        Ok(peer) if socket.local_addr().is_ok_and(|local| local == peer) => {
            Err(ErrorKind::ConnectionRefused.into())
        }
        Ok(_) => Ok(true),
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// The failure worth reporting: one that a machine answered with, before "no way there".
struct Failure(Option<(ErrorKind, String)>);

impl Failure {
    fn note(&mut self, error: &io::Error, address: SocketAddr) {
        let no_way = |kind| {
            matches!(
                kind,
                ErrorKind::NetworkUnreachable
                    | ErrorKind::HostUnreachable
                    | ErrorKind::AddrNotAvailable
                    | ErrorKind::Unsupported
            )
        };
        if self.0.as_ref().is_none_or(|(kind, _)| no_way(*kind) || !no_way(error.kind())) {
            self.0 = Some((error.kind(), format!("{error} ({address})")));
        }
    }

    fn into_reason(self) -> EndReason {
        let (kind, detail) =
            self.0.unwrap_or_else(|| (ErrorKind::AddrNotAvailable, "no address to connect to".to_owned()));
        EndReason::Io { stage: Stage::Connect, kind, detail }
    }
}

/// Waits for any of the racing connections, or for the stop.
#[cfg(unix)]
struct Waiter(super::stop::Wake);

#[cfg(unix)]
impl Waiter {
    fn new(stop: &Stop) -> io::Result<Self> {
        Ok(Self(stop.wake()?))
    }

    fn wait(&self, racing: &[(Arc<TcpStream>, SocketAddr)], wait: Duration) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags};
        let mut descriptors = vec![PollFd::new(&self.0, PollFlags::IN)];
        descriptors.extend(racing.iter().map(|(socket, _)| PollFd::new(&**socket, PollFlags::OUT)));
        poll(&mut descriptors, wait)
    }
}

/// Here is no `poll`: looks every 20 ms at most, while connecting only.
#[cfg(not(unix))]
struct Waiter(Stop);

#[cfg(not(unix))]
impl Waiter {
    fn new(stop: &Stop) -> io::Result<Self> {
        Ok(Self(stop.clone()))
    }

    fn wait(&self, _racing: &[(Arc<TcpStream>, SocketAddr)], wait: Duration) -> io::Result<()> {
        let _ = self.0.woken().recv_timeout(wait.min(Duration::from_millis(20)));
        Ok(())
    }
}

#[cfg(unix)]
pub(super) fn poll(descriptors: &mut [rustix::event::PollFd<'_>], wait: Duration) -> io::Result<()> {
    // Longer waits than a day are cut: the callers loop.
    let wait = wait.min(Duration::from_secs(86_400));
    let timeout = rustix::event::Timespec {
        tv_sec: i64::try_from(wait.as_secs()).unwrap_or(86_400),
        tv_nsec: wait.subsec_nanos().into(),
    };
    match rustix::event::poll(descriptors, Some(&timeout)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A connected socket while the attempt goes on: every wait ends with the budget or the stop.
pub(super) struct Dialing {
    socket: Arc<TcpStream>,
    budget: Budget,
    stop: Stop,
}

impl Dialing {
    /// Takes a socket from [`connect`].
    pub(super) fn new(socket: Arc<TcpStream>, budget: Budget, stop: Stop) -> Self {
        Self { socket, budget, stop }
    }

    /// The same socket with less time.
    pub(super) fn within(&self, limit: Duration) -> Self {
        let deadline = self.budget.deadline.min(clock::mono() + limit);
        let budget = Budget { deadline, ..self.budget };
        Self { socket: self.socket.clone(), budget, stop: self.stop.clone() }
    }

    /// Reads some bytes; 0 at the end of file.
    pub(super) fn recv(&self, buffer: &mut [u8], stage: Stage) -> Result<usize, EndReason> {
        self.retry(stage, false, |mut socket| socket.read(buffer))
    }

    /// Writes all bytes.
    pub(super) fn send_all(&self, mut bytes: &[u8], stage: Stage) -> Result<(), EndReason> {
        while !bytes.is_empty() {
            let written = self.retry(stage, true, |mut socket| socket.write(bytes))?;
            bytes = bytes.get(written..).unwrap_or_default();
        }
        Ok(())
    }

    /// Writes what goes at once, for last words.
    #[cfg_attr(not(feature = "native-tls"), allow(dead_code, reason = "only TLS has last words"))]
    pub(super) fn send_some(&self, bytes: &[u8]) {
        let _ = (&*self.socket).write(bytes);
    }

    /// Hands the socket out, blocking, without the attempt's timeouts.
    pub(super) fn into_socket(self) -> io::Result<Arc<TcpStream>> {
        SockRef::from(&*self.socket).set_nonblocking(false)?;
        self.socket.set_read_timeout(None)?;
        self.socket.set_write_timeout(None)?;
        Ok(self.socket)
    }

    fn retry(
        &self,
        stage: Stage,
        writing: bool,
        mut operation: impl FnMut(&TcpStream) -> io::Result<usize>,
    ) -> Result<usize, EndReason> {
        loop {
            if self.stop.is_aborted() {
                return Err(EndReason::ClosedByUser);
            }
            let left = self.budget.left(stage)?;
            self.prepare(left).map_err(|error| EndReason::io(stage, &error))?;
            match operation(&self.socket) {
                Ok(count) => return Ok(count),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted => {}
                    ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                        self.wait(writing, left).map_err(|error| EndReason::io(stage, &error))?;
                    }
                    _ => return Err(EndReason::io(stage, &error)),
                },
            }
        }
    }

    #[cfg(unix)]
    #[allow(clippy::unused_self, clippy::unnecessary_wraps, reason = "other systems need them")]
    fn prepare(&self, _left: Duration) -> io::Result<()> {
        Ok(())
    }

    #[cfg(unix)]
    fn wait(&self, writing: bool, left: Duration) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags};
        let flags = if writing { PollFlags::OUT } else { PollFlags::IN };
        // `shutdown` wakes the poll of a connected socket: no wake descriptor is needed here.
        poll(&mut [PollFd::new(&*self.socket, flags)], left)
    }

    #[cfg(not(unix))]
    fn prepare(&self, left: Duration) -> io::Result<()> {
        SockRef::from(&*self.socket).set_nonblocking(false)?;
        let left = Some(left.max(Duration::from_millis(1)));
        self.socket.set_read_timeout(left)?;
        self.socket.set_write_timeout(left)
    }

    #[cfg(not(unix))]
    fn wait(&self, _writing: bool, _left: Duration) -> io::Result<()> {
        Ok(())
    }
}
