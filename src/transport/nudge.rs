//! Has a thread come back from `recv` though nothing came from the peer.
//!
//! Where the system can't wait for a socket and something else at once (not Unix) a nudge does nothing.

use std::io;

/// Both ends: who nudges, and who waits.
pub(crate) fn nudge() -> io::Result<(Nudge, Nudged)> {
    #[cfg(unix)]
    {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        theirs.set_nonblocking(true)?;
        Ok((Nudge(ours), Nudged(theirs)))
    }
    #[cfg(not(unix))]
    Ok((Nudge(), Nudged()))
}

/// Ends the present wait, or else the next.
#[derive(Debug)]
pub(crate) struct Nudge(#[cfg(unix)] std::os::unix::net::UnixStream);

impl Nudge {
    /// Never waits.
    pub(crate) fn nudge(&self) {
        #[cfg(unix)]
        {
            // Full: it is owed already.
            let _ = io::Write::write(&mut &self.0, &[0]);
        }
    }
}

/// What waits.
#[derive(Debug)]
pub(crate) struct Nudged(#[cfg(unix)] std::os::unix::net::UnixStream);

#[cfg(unix)]
impl Nudged {
    /// Waits until something can be read from the socket, for a nudge, for the time to pass (`None`: without an end),
    /// or for a signal.
    pub(super) fn wait(
        &self,
        socket: &std::net::TcpStream,
        time: Option<std::time::Duration>,
    ) -> io::Result<()> {
        use rustix::event::{PollFd, PollFlags};
        let mut both = [PollFd::new(socket, PollFlags::IN), PollFd::new(&self.0, PollFlags::IN)];
        super::tcp::poll(&mut both, time.unwrap_or(std::time::Duration::MAX))?;
        if let [_, own] = &both
            && !own.revents().is_empty()
        {
            let mut scratch = [0; 256];
            while io::Read::read(&mut &self.0, &mut scratch).is_ok_and(|count| count == scratch.len()) {}
        }
        Ok(())
    }
}
