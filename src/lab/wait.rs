//! Waits for sockets, for posted work and for a moment, all at once.
//!
//! On Unix one `poll` covers the three, so an idle lab sleeps until something happens. Elsewhere the wait is
//! on the channel, in steps of [`STEP`], after which every socket counts as ready to be tried.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

/// The longest wait, and so the longest time an error of `poll` could go unnoticed.
const LONGEST: Duration = Duration::from_secs(600);

/// How often sockets are tried where there is no `poll`.
#[cfg(not(unix))]
const STEP: Duration = Duration::from_millis(2);

/// The sending end of a [`Mailbox`].
#[derive(Debug)]
pub(super) struct Postbox<T> {
    sender: Sender<T>,
    #[cfg(unix)]
    bell: Arc<std::os::unix::net::UnixStream>,
    #[cfg(not(unix))]
    bell: Arc<()>,
}

impl<T> Clone for Postbox<T> {
    fn clone(&self) -> Self {
        Self { sender: self.sender.clone(), bell: Arc::clone(&self.bell) }
    }
}

impl<T> Postbox<T> {
    /// Posts one item and wakes the owner of the mailbox; `false` if that is gone.
    pub(super) fn post(&self, item: T) -> bool {
        if self.sender.send(item).is_err() {
            return false;
        }
        #[cfg(unix)]
        {
            use std::io::Write;
            // A full bell rings already.
            let _ = (&*self.bell).write(&[1]);
        }
        true
    }
}

/// Work posted to one thread.
#[derive(Debug)]
pub(super) struct Mailbox<T> {
    receiver: Receiver<T>,
    #[cfg(unix)]
    bell: std::os::unix::net::UnixStream,
    #[cfg(not(unix))]
    pending: std::cell::RefCell<std::collections::VecDeque<T>>,
}

/// Makes a mailbox and its sending end.
pub(super) fn mailbox<T>() -> io::Result<(Postbox<T>, Mailbox<T>)> {
    let (sender, receiver) = unbounded();
    #[cfg(unix)]
    {
        let (near, far) = std::os::unix::net::UnixStream::pair()?;
        near.set_nonblocking(true)?;
        far.set_nonblocking(true)?;
        Ok((Postbox { sender, bell: Arc::new(near) }, Mailbox { receiver, bell: far }))
    }
    #[cfg(not(unix))]
    Ok((Postbox { sender, bell: Arc::new(()) }, Mailbox { receiver, pending: std::cell::RefCell::default() }))
}

/// What a socket is waited for.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    #[cfg(unix)]
    fd: std::os::fd::BorrowedFd<'a>,
    #[cfg(unix)]
    flags: rustix::event::PollFlags,
    #[cfg(not(unix))]
    socket: std::marker::PhantomData<&'a ()>,
}

impl<'a> Wanted<'a> {
    #[cfg(unix)]
    pub(super) fn new(socket: &'a impl std::os::fd::AsFd, read: bool, write: bool) -> Self {
        use rustix::event::PollFlags;
        let mut flags = PollFlags::empty();
        flags.set(PollFlags::IN, read);
        flags.set(PollFlags::OUT, write);
        Self { fd: socket.as_fd(), flags }
    }

    #[cfg(not(unix))]
    pub(super) fn new<S>(_socket: &'a S, _read: bool, _write: bool) -> Self {
        Self { socket: std::marker::PhantomData }
    }
}

/// What a socket was found to be ready for.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Ready {
    pub(super) read: bool,
    pub(super) write: bool,
    /// An error or a hang-up, which is reported whether wanted or not.
    pub(super) broken: bool,
}

impl<T> Mailbox<T> {
    /// The next posted item, if there is one.
    pub(super) fn take(&self) -> Option<T> {
        #[cfg(not(unix))]
        if let Some(item) = self.pending.borrow_mut().pop_front() {
            return Some(item);
        }
        self.receiver.try_recv().ok()
    }

    /// Waits until a socket is ready, something was posted, or `timeout` has passed, and says in `ready`, one
    /// for one with `wanted`, what was found.
    #[cfg(unix)]
    pub(super) fn wait(&self, wanted: &[Wanted<'_>], ready: &mut Vec<Ready>, timeout: Option<Duration>) {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use std::io::Read;

        ready.clear();
        ready.resize(wanted.len(), Ready::default());
        let mut fds = Vec::with_capacity(wanted.len() + 1);
        fds.push(PollFd::new(&self.bell, PollFlags::IN));
        fds.extend(wanted.iter().map(|w| PollFd::from_borrowed_fd(w.fd, w.flags)));
        let timeout = timeout.unwrap_or(LONGEST).min(LONGEST);
        let timeout = Timespec::try_from(timeout).ok();
        if poll(&mut fds, timeout.as_ref()).is_err() {
            return;
        }
        let mut polled = fds.iter().map(PollFd::revents);
        if polled.next().is_some_and(|bell| !bell.is_empty()) {
            let mut sink = [0; 64];
            while matches!((&self.bell).read(&mut sink), Ok(n) if n == sink.len()) {}
        }
        for (ready, found) in ready.iter_mut().zip(polled) {
            ready.read = found.contains(PollFlags::IN);
            ready.write = found.contains(PollFlags::OUT);
            ready.broken = found.intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL);
        }
    }

    /// See the Unix form: here sockets are tried every [`STEP`].
    #[cfg(not(unix))]
    pub(super) fn wait(&self, wanted: &[Wanted<'_>], ready: &mut Vec<Ready>, timeout: Option<Duration>) {
        ready.clear();
        ready.resize(wanted.len(), Ready { read: true, write: true, broken: false });
        let longest = if wanted.is_empty() { LONGEST } else { STEP };
        if let Ok(item) = self.receiver.recv_timeout(timeout.unwrap_or(longest).min(longest)) {
            self.pending.borrow_mut().push_back(item);
        }
    }
}
