//! An HTTP endpoint that says how feeds are.
//!
//! The server is its own, on `httparse`. Of those looked at, oxhttp can't be stopped, gives a request as a whole no
//! deadline and prints to standard error, and `tiny_http` has no time limits.

mod conn;
mod exposition;
mod health;
mod hosts;
mod http;
mod metrics;
mod page;
mod server;
mod wait;

use crate::error::Error;
use crate::feed::{Feed, FeedSet, Source};
use crate::panics;
use crate::thread;
use crossbeam_channel::{Receiver, Sender, bounded};
use hosts::Hosts;
use http::{Method, Request, Response};
use server::Server;
use std::convert::Infallible;
use std::fmt;
use std::hash::Hash;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use wait::Rope;

/// So long the end of the thread is waited for, which never waits itself.
const JOIN: Duration = Duration::from_secs(2);

/// An HTTP endpoint that says how feeds are: for probes, monitors, Prometheus and people.
///
/// | path | answer |
/// |---|---|
/// | `/health` | 200 while every feed is fresh or quiet, and read, else 503; in JSON each feed's [`Health`](crate::Health) |
/// | `/live` | 200 as long as the process runs, whatever its feeds do |
/// | `/metrics` | the figures of all feeds for Prometheus, as OpenMetrics 1.0 for those who ask for it, else in the text format 0.0.4 |
/// | `/` | a page for people, which shows `/data` and goes on doing so |
///
/// `/health?feed=NAME` asks for one feed, or, repeated, for several; one that is not known is a 404.
/// `/health?max_age=5s` (or `5`, in seconds) asks more: 503 if the last data of a feed is older, or there has been none,
/// whatever its state. A feed that the application keeps livefeed from reading
/// ([`Health::held_up`](crate::Health::held_up)) for longer than a limit is 503 too: nothing is known of its data. Any other parameter is a 400, so that none is overlooked. In the answer `status` is the state of
/// the feed that is worst off, by its name in [`State`](crate::State), or `slow_consumer` (kept from reading), `too_old` (over `max_age`) or `no_feeds`
/// (503 too); `healthy` says the same as the HTTP status; `last_signal_age_seconds` is that of the oldest, `null` if a
/// feed never had data.
///
/// A feed is shown under its name, and looked at without being held: the monitor keeps none open. One that is closed or
/// dropped is shown as closed, which is no health, until it is [removed](Self::remove).
///
/// # Threads
///
/// One, `livefeed-monitor`, for all connections: at most 32 at once, of which the oldest that has not sent a whole
/// request makes room for a new one. Peers that send or read slowly, or not at all, hold up neither the others nor the
/// end; a request, and an answer, takes 5 s at most. A feed's lock is taken for a moment, to copy its figures, never
/// while something is sent. Every method may be called from any thread; none waits for the network.
///
/// # Trust
///
/// There is no encryption and no login: whoever reaches the address sees the feeds' names, their subscriptions and how
/// they are, though no payload and no secret. Bind it to loopback or to a network that is trusted. While bound to loopback
/// it answers only requests for an address, for `localhost`, or for a name that
/// [`allowed_host`](MonitorBuilder::allowed_host) adds (otherwise 421), so that a web page can't read it by a name of its
/// own that points here.
///
/// # Closing
///
/// [`close`](Self::close), or dropping it, ends it at once, requests that are under way too.
///
/// # Example
///
/// ```no_run
/// use livefeed::{Feed, Monitor};
///
/// let feed = Feed::builder("wss://feed.example/ws").name("btc").open()?;
/// let monitor = Monitor::bind("127.0.0.1:9090")?;
/// monitor.add(&feed)?;
/// println!("http://{}/", monitor.local_addr());
/// # Ok::<(), livefeed::Error>(())
/// ```
pub struct Monitor {
    addr: SocketAddr,
    sources: Arc<Sources>,
    running: Mutex<Option<Running>>,
}

struct Running {
    /// Dropped for the end.
    stop: Option<Sender<Infallible>>,
    rope: Rope,
    /// Disconnected by the end.
    ended: Receiver<Infallible>,
    thread: JoinHandle<()>,
}

/// The feeds, in the order in which they were added.
#[derive(Default)]
struct Sources(Mutex<Arc<Vec<Arc<Source>>>>);

impl Monitor {
    /// Listens at an address, with the defaults; port 0 is one that is free. A name is looked up, which may take its time,
    /// and the first of its addresses that can be had is taken.
    ///
    /// # Errors
    ///
    /// [`Error::Listen`] if the address can't be had, [`Error::Thread`] if no thread could be started (retry).
    pub fn bind(addr: impl ToSocketAddrs) -> Result<Self, Error> {
        Self::builder().bind(addr)
    }

    /// Begins to configure one.
    pub fn builder() -> MonitorBuilder {
        MonitorBuilder::default()
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// Shows a feed under its own name, which is its host's unless it was given one.
    ///
    /// # Errors
    ///
    /// [`Error::NameTaken`] if there is one of that name (final until that is removed), also if it is closed.
    pub fn add(&self, feed: &Feed) -> Result<(), Error> {
        self.add_as(feed.name(), feed)
    }

    /// Shows a feed under a name of your choice, on all paths alike.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add).
    pub fn add_as(&self, name: impl Into<String>, feed: &Feed) -> Result<(), Error> {
        self.sources.add(vec![Arc::new(Source::new(name.into(), feed))])
    }

    /// Shows the feeds that are in a set now, each under its tag. Those that join later are not added, and those that
    /// leave are not removed.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add); then none is added.
    pub fn add_set<T: Clone + Eq + Hash + fmt::Display>(&self, set: &FeedSet<T>) -> Result<(), Error> {
        let tags = set.tags().into_iter();
        let feeds = tags.filter_map(|tag| set.get(&tag).map(|feed| (tag.to_string(), feed)));
        self.sources.add(feeds.map(|(tag, feed)| Arc::new(Source::new(tag, &feed))).collect())
    }

    /// Shows a feed no longer; `false` if there is none of that name.
    pub fn remove(&self, name: &str) -> bool {
        let mut sources = self.sources.lock();
        let count = sources.len();
        let left: Vec<_> = sources.iter().filter(|source| source.name() != name).cloned().collect();
        let removed = left.len() < count;
        let old = std::mem::replace(&mut *sources, Arc::new(left));
        drop(sources);
        drop(old); // and with it perhaps the last of a feed
        removed
    }

    /// Ends it: its port is free, its connections are cut and its thread has ended when this returns. Idempotent.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if the thread has not ended within 2 s, which takes a machine that is stopped. It ends then as
    /// soon as it can, and the call may be repeated. [`Error::WouldDeadlock`] on that very thread.
    pub fn close(&self) -> Result<(), Error> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(active) = running.as_mut() else { return Ok(()) };
        active.stop = None;
        active.rope.pull();
        if std::thread::current().id() == active.thread.thread().id() {
            return Err(Error::WouldDeadlock);
        }
        if active.ended.recv_timeout(JOIN).is_err_and(|error| error.is_timeout()) {
            return Err(Error::Timeout);
        }
        if let Some(over) = running.take() {
            drop(over.thread.join()); // it has ended: this does not wait
        }
        Ok(())
    }
}

impl Drop for Monitor {
    fn drop(&mut self) {
        let _ = self.close(); // it has been told, and ends by itself
    }
}

impl fmt::Debug for Monitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let feeds = self.sources.all();
        let names: Vec<_> = feeds.iter().map(|source| source.name()).collect();
        f.debug_struct("Monitor").field("addr", &self.addr).field("feeds", &names).finish_non_exhaustive()
    }
}

impl Sources {
    fn lock(&self) -> MutexGuard<'_, Arc<Vec<Arc<Source>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> Arc<Vec<Arc<Source>>> {
        Arc::clone(&self.lock())
    }

    /// Adds all or none.
    fn add(&self, new: Vec<Arc<Source>>) -> Result<(), Error> {
        let mut sources = self.lock();
        let mut all = Vec::clone(&sources);
        for source in new {
            if all.iter().any(|other| other.name() == source.name()) {
                return Err(Error::NameTaken(source.name().to_owned()));
            }
            all.push(source);
        }
        *sources = Arc::new(all);
        Ok(())
    }
}

/// Configures a [`Monitor`].
#[derive(Debug, Clone)]
pub struct MonitorBuilder {
    max_connections: usize,
    request_timeout: Duration,
    allowed_hosts: Vec<String>,
    metrics_subscriptions: usize,
}

impl Default for MonitorBuilder {
    fn default() -> Self {
        Self {
            max_connections: 32,
            request_timeout: Duration::from_secs(5),
            allowed_hosts: Vec::new(),
            metrics_subscriptions: 1000,
        }
    }
}

impl MonitorBuilder {
    /// How many connections there may be at once: 1 to 1024, by default 32. Each takes 8 KiB at most, and what it has not
    /// yet read of its answer.
    #[must_use]
    pub fn max_connections(mut self, connections: usize) -> Self {
        self.max_connections = connections;
        self
    }

    /// How long a request may take, from its connection or its first byte to its last, and how long its answer may take to
    /// be written: 1 ms to 1 h, by default 5 s. What else is sent or read meanwhile does not prolong it.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.request_timeout = timeout;
        self
    }

    /// Adds a name by which it may be asked for, in ASCII and without a port, beside addresses and `localhost`; by default none. While
    /// it is bound to loopback, other names are refused. Elsewhere every name will do as long as none is given here.
    #[must_use]
    pub fn allowed_host(mut self, name: impl Into<String>) -> Self {
        let name = name.into().to_ascii_lowercase();
        self.allowed_hosts.push(name.strip_suffix('.').map_or_else(|| name.clone(), str::to_owned));
        self
    }

    /// How many subscriptions of a feed have series of their own in `/metrics`, the first in the order in which they were
    /// asked for: 0 to any number, by default 1000. Each has three to six. The rest are in the counts by state, and how
    /// many they are in `livefeed_subscriptions_left_out`.
    #[must_use]
    pub fn metrics_subscriptions(mut self, subscriptions: usize) -> Self {
        self.metrics_subscriptions = subscriptions;
        self
    }

    /// Listens at an address, as [`Monitor::bind`].
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if an option is out of its bounds (final); otherwise as [`Monitor::bind`].
    pub fn bind(self, addr: impl ToSocketAddrs) -> Result<Monitor, Error> {
        self.check()?;
        let refused = |error: std::io::Error| Error::Listen(error.kind());
        let listener = server::listen(addr).map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let (rope, bell) = wait::bell().map_err(refused)?;
        let (stop, stopped) = bounded(0);
        let (alive, ended) = bounded(0);
        let sources = Arc::new(Sources::default());
        let hosts = Hosts::new(addr.ip().to_canonical().is_loopback(), self.allowed_hosts);
        let shown = Arc::clone(&sources);
        let metrics_subscriptions = self.metrics_subscriptions;
        let server = Server {
            listener,
            bell,
            stop: stopped,
            max_connections: self.max_connections,
            timeout: self.request_timeout,
            answer: Box::new(move |request| answer(request, &hosts, &shown, metrics_subscriptions)),
        };
        let thread = thread::spawn("livefeed-monitor".to_owned(), move || {
            if let Err(panic) = panics::caught(|| server.run()) {
                server::say(log::Level::Error, format_args!("the monitor panicked: {panic}"));
            }
            let _ = panics::caught(|| drop(server));
            drop::<Sender<Infallible>>(alive);
        })?;
        let running = Mutex::new(Some(Running { stop: Some(stop), rope, ended, thread }));
        Ok(Monitor { addr, sources, running })
    }

    fn check(&self) -> Result<(), Error> {
        if !(1..=1024).contains(&self.max_connections) {
            return Err(Error::config("max_connections", "it is not between 1 and 1024"));
        }
        if !(Duration::from_millis(1)..=Duration::from_secs(3600)).contains(&self.request_timeout) {
            return Err(Error::config("request_timeout", "it is not between 1ms and 1h"));
        }
        // A browser asks for what is not ASCII by another name (RFC 5891).
        let is_name = |name: &String| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        };
        if let Some(name) = self.allowed_hosts.iter().find(|name| !is_name(name)) {
            let problem =
                format!("{name:?} is no host name: it stands in ASCII, without scheme, port and wildcards");
            return Err(Error::config("allowed_host", problem));
        }
        Ok(())
    }
}

/// Answers one request.
fn answer(request: &Request, hosts: &Hosts, sources: &Sources, metrics_subscriptions: usize) -> Response {
    if !hosts.allow(request.host.as_deref()) {
        return Response::error(
            421,
            "the monitor is not asked by this name; see MonitorBuilder::allowed_host",
        );
    }
    if request.method == Method::Other {
        return Response::error(405, "there are GET and HEAD");
    }
    if request.body {
        return Response::error(413, "a request has no body here");
    }
    match request.path.as_str() {
        "/live" => Response::json(200, &serde_json::json!({"status": "live"})),
        "/health" => health::answer(&sources.all(), request.query.as_deref()),
        "/metrics" => metrics::answer(&sources.all(), request.accept.as_deref(), metrics_subscriptions),
        "/data" => page::data(&sources.all()),
        path => page::part(path)
            .unwrap_or_else(|| Response::error(404, "there are /, /health, /live, /metrics and /data")),
    }
}
