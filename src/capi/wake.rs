//! A file descriptor that is readable while events wait, for programs with an event loop of their own.

use super::object::livefeed_feed;
use super::pointers::Caller;
#[cfg(not(unix))]
use super::result::{Failure, LIVEFEED_UNSUPPORTED};
use super::result::{guard, livefeed_result};
use std::ffi::c_int;

/// Gives a file descriptor that is readable while events wait to be read by `livefeed_next` or `livefeed_next_batch`,
/// and from the end of the feed on for ever: for `poll`, `epoll`, `kqueue` and the event loops built on them. Unix
/// only.
///
/// Do nothing with it but wait until it is readable, then call `livefeed_next` or `livefeed_next_batch` with a
/// timeout of 0 until one says `LIVEFEED_TIMEOUT`. (Once is enough too: what is left keeps it readable.) After
/// `LIVEFEED_CLOSED` take it out of what you wait for, or your loop spins. With several threads that read, it may be
/// readable when another one was faster. The same one is given each time.
///
/// Ownership: it belongs to the feed, and is closed with it: don't close it, don't read from it, and forget it before
/// `livefeed_free`.
///
/// Errors: `LIVEFEED_TAKEN`, `LIVEFEED_SYSTEM`, `LIVEFEED_UNSUPPORTED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_fd(feed: *mut livefeed_feed, fd: *mut c_int) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let fd = caller.out(fd, "fd")?;
        let inner = caller.feed(feed)?;
        let open = inner.reading()?;
        #[cfg(unix)]
        {
            let open_fd = inner.wake.fd(|| open.pull.is_ready())?;
            fd.set(open_fd);
            Ok(())
        }
        #[cfg(not(unix))]
        {
            let _ = (fd, open);
            Err(Failure::fixed(LIVEFEED_UNSUPPORTED, c"file descriptors to wait for exist on Unix only"))
        }
    })
}

#[cfg(unix)]
pub(super) use unix::Wake;

/// Where there is no file descriptor, there is nothing to wake.
#[cfg(not(unix))]
#[derive(Debug, Default)]
pub(super) struct Wake;

#[cfg(not(unix))]
impl Wake {
    pub(super) fn wake(&self) {}
    pub(super) fn drain(&self, _is_ready: impl Fn() -> bool) {}
    pub(super) fn close(&self) {}
}

#[cfg(unix)]
mod unix {
    use crate::capi::result::{Failure, LIVEFEED_CLOSED, LIVEFEED_SYSTEM};
    use std::ffi::c_int;
    use std::io::{Read, Write};
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

    /// Two ends of a pipe, once somebody has asked for it: a byte in it means that something is to be read.
    ///
    /// Whoever adds an event to an empty queue writes a byte. Whoever finds the queue empty reads all bytes, then looks at
    /// the queue once more and writes one if there is something again. So whatever comes when, after the last of them
    /// there is a byte if there is an event.
    #[derive(Debug, Default)]
    pub(in crate::capi) struct Wake {
        state: Mutex<State>,
        /// Whether there is a pipe, for those who may be late to know.
        wanted: AtomicBool,
    }

    #[derive(Debug, Default)]
    enum State {
        #[default]
        Unwanted,
        Wanted(Arc<Pipe>),
        Closed,
    }

    #[derive(Debug)]
    struct Pipe {
        /// What the program waits for.
        near: UnixStream,
        far: UnixStream,
    }

    impl Pipe {
        fn new() -> std::io::Result<Self> {
            let (near, far) = UnixStream::pair()?;
            near.set_nonblocking(true)?;
            far.set_nonblocking(true)?;
            Ok(Self { near, far })
        }

        fn write(&self) {
            // It fails only when the pipe is full: then it is readable.
            while (&self.far).write(&[1]).is_err_and(|error| error.kind() == std::io::ErrorKind::Interrupted)
            {
            }
        }

        fn read(&self) {
            let mut bytes = [0; 64];
            loop {
                match (&self.near).read(&mut bytes) {
                    Ok(0) => return,
                    Ok(_) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                }
            }
        }
    }

    impl Wake {
        fn lock(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }

        fn pipe(&self) -> Option<Arc<Pipe>> {
            match &*self.lock() {
                State::Wanted(pipe) => Some(Arc::clone(pipe)),
                State::Unwanted | State::Closed => None,
            }
        }

        /// Something came.
        pub(in crate::capi) fn wake(&self) {
            if let Some(pipe) = self.pipe() {
                pipe.write();
            }
        }

        /// Something was read, or nothing found. `is_ready` tells whether there is something to be read.
        pub(in crate::capi) fn drain(&self, is_ready: impl Fn() -> bool) {
            if !self.wanted.load(Ordering::Relaxed) || is_ready() {
                return;
            }
            let Some(pipe) = self.pipe() else { return };
            pipe.read();
            if is_ready() {
                pipe.write();
            }
        }

        /// The file descriptor, from now on or as before.
        pub(in crate::capi) fn fd(&self, is_ready: impl Fn() -> bool) -> Result<c_int, Failure> {
            if let Some(pipe) = self.pipe() {
                return Ok(pipe.near.as_raw_fd());
            }
            let pipe = Pipe::new()
                .map_err(|error| Failure::new(LIVEFEED_SYSTEM, format!("no file descriptor: {error}")))?;
            let pipe = match &mut *self.lock() {
                State::Closed => return Err(Failure::fixed(LIVEFEED_CLOSED, c"the feed was freed")),
                State::Wanted(other) => Arc::clone(other), // another thread was faster
                state => {
                    let pipe = Arc::new(pipe);
                    *state = State::Wanted(Arc::clone(&pipe));
                    self.wanted.store(true, Ordering::Relaxed);
                    pipe
                }
            };
            // What came before was told to nobody.
            if is_ready() {
                pipe.write();
            }
            Ok(pipe.near.as_raw_fd())
        }

        /// The feed is freed: the file descriptor goes with it.
        pub(in crate::capi) fn close(&self) {
            let old = std::mem::replace(&mut *self.lock(), State::Closed);
            drop(old);
        }
    }

    #[cfg(test)]
    #[allow(clippy::unwrap_used, reason = "a test")]
    mod tests {
        use super::Wake;
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        use std::cell::Cell;

        fn is_readable(wake: &Wake) -> bool {
            let pipe = wake.pipe().unwrap();
            let mut fds = [PollFd::new(&pipe.near, PollFlags::IN)];
            poll(&mut fds, Some(&Timespec::default())).unwrap() > 0
        }

        #[test]
        fn what_comes_while_the_bytes_are_read_is_seen() {
            let wake = Wake::default();
            wake.fd(|| false).unwrap();
            assert!(!is_readable(&wake));
            wake.wake();
            wake.wake();
            assert!(is_readable(&wake));
            // The first look finds nothing; then, before the bytes are read, something comes and writes one.
            let looks = Cell::new(0);
            wake.drain(|| {
                looks.set(looks.get() + 1);
                if looks.get() == 1 {
                    wake.wake();
                }
                looks.get() > 1
            });
            assert_eq!(looks.get(), 2);
            assert!(is_readable(&wake), "its byte was read, and no other was written");
            wake.drain(|| false);
            assert!(!is_readable(&wake));
        }

        #[test]
        fn a_full_pipe_holds_nobody_up_and_what_was_before_is_seen() {
            let wake = Wake::default();
            wake.wake(); // nobody has asked for it yet
            wake.fd(|| true).unwrap();
            assert!(is_readable(&wake));
            (0..1_000_000).for_each(|_| wake.wake());
            wake.drain(|| false);
            assert!(!is_readable(&wake), "all bytes were read");
            wake.close();
            wake.wake();
            assert!(wake.fd(|| false).is_err());
        }
    }
}
