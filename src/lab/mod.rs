//! A feed server that misbehaves on demand.
//!
//! A [`Lab`] is a WebSocket server on `127.0.0.1`, plain or under TLS, for tests of feed clients. Each connection follows a
//! [`Script`]; a [`Control`] handle changes its course at run time; the [`Transcript`] tells what happened, and
//! [`Lab::wait_for`] waits for it, so that tests need no sleeps.
//!
//! # Threads
//!
//! A lab has a thread that accepts and one (or as many as [`Builder::workers`] says) that serves all connections; an idle
//! lab does not wake. Closures given to a lab run on these threads and should be quick; one that panics ends its thread, and
//! with it what that served. It needs one file descriptor for each connection, and a few more.
//!
//! # Limits
//!
//! The transcript keeps the latest 65,536 entries ([`Builder::transcript_limit`]), 64 KiB of one payload and 64 MiB of all. A
//! client's message may have 256 MiB, its upgrade request 64 KiB. Topics, playbacks and heartbeats pause while more than 256 KiB are
//! unsent on a connection, and pings go unanswered while more than 1 MiB are. Commands are queued without a bound.
//!
//! # Closing
//!
//! Dropping the lab closes its sockets and joins its threads.
//!
//! # Example
//!
//! ```
//! use std::time::Duration;
//! use livefeed::lab::{Command, Lab, Script, Topic};
//!
//! let lab = Lab::builder()
//!     .scripts(|connection| match connection {
//!         1 => Script::new(), // accepts, and never sends a thing
//!         _ => Script::of_topics([Topic::new("btc").every(Duration::from_millis(5)).on_subscribe()]),
//!     })
//!     .start()?;
//! let control = lab.control();
//! // Point the client under test at lab.url(), and then, some time later:
//! control.all(Command::Mute("btc".into()));
//! # Ok::<(), std::io::Error>(())
//! ```

mod command;
mod conn;
mod control;
mod flood;
mod frames;
mod listener;
mod output;
mod playback;
mod schedule;
mod script;
mod stream;
#[cfg(feature = "native-tls")]
mod tls;
mod topic;
mod transcript;
mod upgrade;
mod wait;
mod worker;

#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

pub use command::{Command, Incoming, Outgoing, Reaction, Violation};
pub use control::Control;
pub use flood::Flood;
pub use playback::{Cue, Playback};
pub use script::Script;
#[cfg(feature = "native-tls")]
pub use tls::Certificate;
pub use topic::Topic;
pub use transcript::{End, Entry, Received, Request, Sent, Transcript, What};

use listener::Order;
use transcript::Journal;
use wait::mailbox;
use worker::Mail;

/// What script a connection gets, by its number.
type Plan = Arc<dyn Fn(usize) -> Script + Send + Sync>;

/// What all threads of a lab and its handles share.
struct Shared {
    addr: SocketAddr,
    journal: Journal,
    sequences: topic::Sequences,
    plan: Mutex<Plan>,
    #[cfg(feature = "native-tls")]
    tls: Option<tls::Identity>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared").field("addr", &self.addr).finish_non_exhaustive()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Collects what a [`Lab`] is to be.
#[must_use]
pub struct Builder {
    addr: SocketAddr,
    backlog: i32,
    workers: usize,
    transcript_limit: usize,
    plan: Plan,
    #[cfg(feature = "native-tls")]
    certificate: Option<Certificate>,
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl Builder {
    /// Sets the address to listen at. Default: `127.0.0.1` at a port that the system chooses.
    pub fn listen(mut self, addr: SocketAddr) -> Self {
        self.addr = addr;
        self
    }

    /// Sets how many connections the system keeps that are not yet accepted. Default: 1,024.
    pub fn backlog(mut self, connections: i32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets how many threads serve connections, at least one. More than one only serves floods on several connections at
    /// once. Default: 1.
    pub fn workers(mut self, threads: usize) -> Self {
        self.workers = threads.max(1);
        self
    }

    /// Sets how many entries the transcript keeps, at least 16; older ones are forgotten. Default: 65,536.
    pub fn transcript_limit(mut self, entries: usize) -> Self {
        self.transcript_limit = entries;
        self
    }

    /// Sets the script of all connections. Default: [`Script::new`].
    pub fn script(self, script: Script) -> Self {
        self.scripts(move |_| script.clone())
    }

    /// Sets the script of each connection by its number, which counts from 1.
    pub fn scripts(mut self, plan: impl Fn(usize) -> Script + Send + Sync + 'static) -> Self {
        self.plan = Arc::new(plan);
        self
    }

    /// Puts TLS under the connections, with such a certificate. Default: no TLS.
    #[cfg(feature = "native-tls")]
    pub fn tls(mut self, certificate: Certificate) -> Self {
        self.certificate = Some(certificate);
        self
    }

    /// Starts the lab: it listens when this returns.
    ///
    /// # Errors
    ///
    /// Those of the system, for sockets and threads; `Other` if no certificate could be made.
    pub fn start(self) -> io::Result<Lab> {
        let socket = listener::listen(self.addr, self.backlog)?;
        let shared = Arc::new(Shared {
            addr: socket.local_addr()?,
            journal: Journal::new(self.transcript_limit),
            sequences: topic::Sequences::default(),
            plan: Mutex::new(self.plan),
            #[cfg(feature = "native-tls")]
            tls: self.certificate.map(tls::Identity::new).transpose()?,
        });
        let (order, orders) = mailbox()?;
        let mut mailboxes = Vec::new();
        let mut postboxes = Vec::new();
        for _ in 0..self.workers {
            let (post, mail) = mailbox()?;
            postboxes.push(post);
            mailboxes.push(mail);
        }
        let workers: Arc<[_]> = postboxes.into();
        let control = Control { workers: Arc::clone(&workers), listener: order, shared: Arc::clone(&shared) };
        // From here on a failure drops the lab, and that ends the threads that were started.
        let mut lab = Lab { control, threads: Vec::new() };
        for mail in mailboxes {
            let shared = Arc::clone(&shared);
            lab.spawn("lab-worker", move || worker::run(&mail, &shared))?;
        }
        let backlog = self.backlog;
        lab.spawn("lab-accept", move || listener::run(&orders, socket, backlog, &workers, &shared))?;
        Ok(lab)
    }
}

/// A running feed server that misbehaves on demand; see the [module](self).
#[derive(Debug)]
pub struct Lab {
    control: Control,
    threads: Vec<JoinHandle<()>>,
}

impl Lab {
    /// Starts a plain lab with one script for all connections.
    ///
    /// # Errors
    ///
    /// Those of [`Builder::start`].
    pub fn start(script: Script) -> io::Result<Self> {
        Self::builder().script(script).start()
    }

    /// Begins a lab with the defaults.
    pub fn builder() -> Builder {
        Builder {
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            backlog: 1024,
            workers: 1,
            transcript_limit: 65_536,
            plan: Arc::new(|_| Script::new()),
            #[cfg(feature = "native-tls")]
            certificate: None,
        }
    }

    fn spawn(&mut self, name: &str, body: impl FnOnce() + Send + 'static) -> io::Result<()> {
        self.threads.push(thread::Builder::new().name(name.to_owned()).spawn(body)?);
        Ok(())
    }

    /// Where a client connects to: `ws://127.0.0.1:PORT/feed`, or `wss://localhost:PORT/feed` under TLS.
    pub fn url(&self) -> String {
        #[cfg(feature = "native-tls")]
        if self.control.shared.tls.is_some() {
            return format!("wss://localhost:{}/feed", self.addr().port());
        }
        format!("ws://{}/feed", self.addr())
    }

    /// The address that the lab listens at, also while it does not.
    pub fn addr(&self) -> SocketAddr {
        self.control.shared.addr
    }

    /// The root certificate as PEM that a client has to trust, empty without TLS.
    #[cfg(feature = "native-tls")]
    pub fn ca_pem(&self) -> &str {
        self.control.shared.tls.as_ref().map_or("", |identity| &identity.ca_pem)
    }

    /// A handle to drive the lab with.
    pub fn control(&self) -> Control {
        self.control.clone()
    }

    /// What has happened so far.
    pub fn transcript(&self) -> Transcript {
        self.control.shared.journal.copy()
    }

    /// Waits for the first entry of the transcript, past or future, that the closure accepts; `None` after the timeout.
    ///
    /// An entry that counts ([`What::Sent`]) is shown again when it has grown.
    pub fn wait_for(&self, wanted: impl FnMut(&Entry) -> bool, timeout: Duration) -> Option<Entry> {
        self.control.shared.journal.wait_for(wanted, timeout)
    }

    /// How many connections were upgraded so far.
    pub fn connections(&self) -> usize {
        self.control.shared.journal.counts().1
    }

    /// How many connections are open, upgraded or not.
    pub fn live(&self) -> usize {
        let (accepted, _, ended) = self.control.shared.journal.counts();
        accepted.saturating_sub(ended)
    }

    /// The last sequence number that a topic has used, and so the number of its messages.
    pub fn published(&self, topic: &str) -> u64 {
        self.control.shared.sequences.last(topic)
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.control.listener.post(Order::Stop);
        for worker in self.control.workers.iter() {
            worker.post(Mail::Stop);
        }
        for thread in self.threads.drain(..) {
            // A closure that drops the lab runs on the very thread.
            if thread.thread().id() != thread::current().id() {
                let _ = thread.join();
            }
        }
    }
}
