//! Stops an attempt or a connection from another thread, whatever it waits in.

use super::lock;
use crossbeam_channel::{Receiver, Sender};
use std::convert::Infallible;
use std::fmt;
use std::mem;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// The cancel token of one attempt and the connection it leads to. Clones are the same token.
///
/// It holds sockets weakly: a socket closes when its halves are dropped, not when the token is.
#[derive(Clone)]
pub(crate) struct Stop(Arc<Inner>);

struct Inner {
    aborted: AtomicBool,
    /// Disconnected by `abort`; nothing is ever sent over it.
    woken: Receiver<Infallible>,
    registry: Mutex<Registry>,
}

struct Registry {
    waker: Option<Sender<Infallible>>,
    handles: Vec<Handle>,
}

enum Handle {
    Socket(Weak<TcpStream>),
    #[cfg(unix)]
    Wake(Weak<std::os::unix::net::UnixStream>),
}

impl Handle {
    fn is_alive(&self) -> bool {
        match self {
            Self::Socket(socket) => socket.strong_count() > 0,
            #[cfg(unix)]
            Self::Wake(wake) => wake.strong_count() > 0,
        }
    }

    fn stop(&self) {
        // Errors mean that it is not connected (any more): then nothing waits in it, or the poll it waits
        // in has the wake descriptor too.
        match self {
            Self::Socket(socket) => {
                if let Some(socket) = socket.upgrade() {
                    let _ = socket.shutdown(Shutdown::Both);
                }
            }
            #[cfg(unix)]
            Self::Wake(wake) => {
                if let Some(wake) = wake.upgrade() {
                    let _ = wake.shutdown(Shutdown::Both);
                }
            }
        }
    }
}

impl Stop {
    pub(crate) fn new() -> Self {
        let (waker, woken) = crossbeam_channel::bounded(0);
        let registry = Mutex::new(Registry { waker: Some(waker), handles: Vec::new() });
        Self(Arc::new(Inner { aborted: AtomicBool::new(false), woken, registry }))
    }

    /// Ends it: whatever waits returns, every socket is shut down. Idempotent, from any thread, never blocks.
    pub(crate) fn abort(&self) {
        let (waker, handles) = {
            let mut registry = lock(&self.0.registry);
            // Before any shutdown: who sees a socket end sees the flag.
            self.0.aborted.store(true, Ordering::SeqCst);
            (registry.waker.take(), mem::take(&mut registry.handles))
        };
        drop(waker);
        handles.iter().for_each(Handle::stop);
    }

    /// Whether it was ended from here: a local shutdown looks like an end of file.
    pub(crate) fn is_aborted(&self) -> bool {
        self.0.aborted.load(Ordering::SeqCst)
    }

    /// Has `abort` shut the socket down. Says `false` if that happened already, and shuts it down now.
    #[must_use]
    pub(crate) fn register(&self, socket: &Arc<TcpStream>) -> bool {
        self.add(Handle::Socket(Arc::downgrade(socket)))
    }

    /// A channel that is disconnected by `abort`, for `select!`.
    pub(super) fn woken(&self) -> &Receiver<Infallible> {
        &self.0.woken
    }

    /// A descriptor that becomes readable by `abort`, for `poll`.
    #[cfg(unix)]
    pub(super) fn wake(&self) -> std::io::Result<Wake> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        let theirs = Arc::new(theirs);
        self.add(Handle::Wake(Arc::downgrade(&theirs)));
        Ok(Wake { ours, _theirs: theirs })
    }

    fn add(&self, handle: Handle) -> bool {
        {
            let mut registry = lock(&self.0.registry);
            if !self.is_aborted() {
                registry.handles.retain(Handle::is_alive);
                registry.handles.push(handle);
                return true;
            }
        }
        handle.stop();
        false
    }

    #[cfg(test)]
    pub(super) fn registered(&self) -> usize {
        lock(&self.0.registry).handles.iter().filter(|handle| handle.is_alive()).count()
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stop").field("aborted", &self.is_aborted()).finish()
    }
}

/// Readable once the attempt is stopped.
#[cfg(unix)]
pub(super) struct Wake {
    ours: std::os::unix::net::UnixStream,
    _theirs: Arc<std::os::unix::net::UnixStream>,
}

#[cfg(unix)]
impl std::os::fd::AsFd for Wake {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.ours.as_fd()
    }
}
