//! Waits for sockets, for a call from another thread and for a moment, all at once and without polling.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// The longest wait; what is later is waited for anew.
const LONGEST: Duration = Duration::from_secs(600);

/// Wakes a thread that waits; the other end is its [`Bell`]. It holds that too: who pulls when nobody listens any more
/// must not have the process ended by SIGPIPE.
#[derive(Debug)]
pub(super) struct Rope(End, #[allow(dead_code, reason = "held")] Arc<End>);

#[derive(Debug)]
pub(super) struct Bell(Arc<End>);

#[cfg(unix)]
type End = std::os::unix::net::UnixStream;
#[cfg(windows)]
type End = std::net::UdpSocket;

/// A bell that hangs on a rope.
#[cfg(unix)]
pub(super) fn bell() -> io::Result<(Rope, Bell)> {
    let (near, far) = End::pair()?;
    near.set_nonblocking(true)?;
    far.set_nonblocking(true)?;
    let far = Arc::new(far);
    Ok((Rope(near, Arc::clone(&far)), Bell(far)))
}

/// See the Unix form: here it is a socket that talks to itself.
#[cfg(windows)]
pub(super) fn bell() -> io::Result<(Rope, Bell)> {
    let end = End::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
    end.connect(end.local_addr()?)?;
    end.set_nonblocking(true)?;
    let far = Arc::new(end.try_clone()?);
    Ok((Rope(end, Arc::clone(&far)), Bell(far)))
}

impl Rope {
    pub(super) fn pull(&self) {
        // A full bell rings already.
        #[cfg(unix)]
        let _ = io::Write::write(&mut &self.0, &[1]);
        #[cfg(windows)]
        let _ = self.0.send(&[1]);
    }
}

/// What a socket is waited for, and then what it is ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ready {
    pub(super) read: bool,
    pub(super) write: bool,
}

impl Ready {
    pub(super) const READ: Self = Self { read: true, write: false };
    pub(super) const WRITE: Self = Self { read: false, write: true };

    pub(super) fn any(self) -> bool {
        self.read || self.write
    }

    /// What was found of what was wanted. An error or a hang-up is found by trying that.
    fn and(self, found: PollFlags) -> Self {
        let broken = found.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        Self {
            read: self.read && (broken || found.contains(PollFlags::IN)),
            write: self.write && (broken || found.contains(PollFlags::OUT)),
        }
    }
}

/// Waits until a socket is ready, the bell rings or `timeout` is over, and puts what was found in the place of what was
/// wanted. Says whether the listener is ready. The bell is never answered: it rings for the end.
///
/// # Errors
///
/// What the system says; nothing was waited for then.
pub(super) fn wait(
    bell: &Bell,
    listener: (&TcpListener, Ready),
    sockets: &[&TcpStream],
    ready: &mut [Ready],
    timeout: Option<Duration>,
) -> io::Result<bool> {
    let mut fds = Vec::with_capacity(sockets.len() + 2);
    fds.push(PollFd::new(&*bell.0, PollFlags::IN));
    fds.push(PollFd::new(listener.0, flags(listener.1)));
    fds.extend(sockets.iter().zip(&*ready).map(|(socket, wanted)| PollFd::new(*socket, flags(*wanted))));
    let timeout = Timespec::try_from(timeout.unwrap_or(LONGEST).min(LONGEST)).ok();
    match poll(&mut fds, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => {
            ready.fill(Ready::default());
            return Ok(false);
        }
        Err(error) => return Err(error.into()),
    }
    let mut found = fds.iter().skip(1).map(PollFd::revents);
    let called = found.next().is_some_and(|found| listener.1.and(found).any());
    for (ready, found) in ready.iter_mut().zip(found) {
        *ready = ready.and(found);
    }
    Ok(called)
}

fn flags(wanted: Ready) -> PollFlags {
    let mut flags = PollFlags::empty();
    flags.set(PollFlags::IN, wanted.read);
    flags.set(PollFlags::OUT, wanted.write);
    flags
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn pulling_does_no_harm_when_nobody_listens_any_more() {
        let (rope, bell) = bell().unwrap();
        drop(bell);
        assert_eq!((&rope.0).write(&[1]).unwrap(), 1, "a broken pipe ends a process that does not ignore it");
        for _ in 0..100_000 {
            rope.pull();
        }
    }
}
