//! The feed: what applications hold.

#[cfg(feature = "capi")]
mod json;
mod open;
#[cfg(feature = "capi")]
mod pull;
mod request;
mod send;
mod set;
#[cfg(feature = "monitor")]
mod source;

use crate::clock::{self, Stamp};
use crate::config::{FeedBuilder, FeedConfig, FeedUrl, Subscription};
use crate::engine::Engine;
use crate::engine::bell::{Batch, BatchIter};
use crate::engine::core::Caller;
#[cfg(feature = "monitor")]
pub(crate) use crate::engine::snapshot::Snapshot;
use crate::error::Error;
use crate::event::Event;
use crate::health::Health;
use crate::message::{Message, Sendable, SubscriptionId};
#[cfg(feature = "capi")]
pub(crate) use crate::policy::session::Outcome;
use crossbeam_channel::{Receiver, RecvTimeoutError};
#[cfg(feature = "capi")]
pub(crate) use pull::Pull;
pub use send::Receipt;
pub use set::{FeedSet, SetIter};
#[cfg(feature = "monitor")]
pub(crate) use source::Source;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(test)]
pub(crate) use open::plan as plan_of;

/// A blocking WebSocket feed that reconnects by itself, watches its data, and marks every gap.
///
/// # Threads
///
/// A feed has two threads of its own: one reads, one writes and decides. Every method may be called from any
/// thread, also from the feed's callbacks; those that would then wait for their own thread return
/// [`Error::WouldDeadlock`]. Each event goes to exactly one reader: with several threads reading, or several ways
/// at once ([`recv`](Self::recv), [`iter`](Self::iter), [`batches`](Self::batches)), each gets a part.
///
/// # Closing
///
/// [`close`](Self::close) ends the connection properly within a time limit. Dropping the feed ends it at once
/// and does not wait. What is in the queue by then can still be read through a clone of [`batches`](Self::batches).
///
/// # Example
///
/// ```no_run
/// let feed = livefeed::Feed::open("wss://feed.example/ws")?;
/// for event in &feed {
///     match event {
///         livefeed::Event::Message(message) => println!("{:?}", message.text()),
///         livefeed::Event::Gap(gap) => println!("data was lost: {}", gap.cause.name()),
///         _ => {}
///     }
/// }
/// # Ok::<(), livefeed::Error>(())
/// ```
pub struct Feed {
    engine: Engine,
    config: FeedConfig,
    handled: bool,
    /// Whether a dialect reads the messages.
    dialect: bool,
}

impl Feed {
    /// Opens a feed with the defaults. Checks the URL and returns at once; the connection is made behind it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if the URL can't be used (final); [`Error::Thread`] if no thread could be started.
    pub fn open(url: impl Into<FeedUrl>) -> Result<Self, Error> {
        Self::builder(url).open()
    }

    /// Begins to configure a feed.
    ///
    /// ```
    /// use livefeed::{Feed, Matcher, Subscription};
    /// use std::time::Duration;
    ///
    /// let builder = Feed::builder("wss://feed.example/ws")
    ///     .stale_after(Duration::from_secs(5))
    ///     .heartbeat(Matcher::pointer("/type", "heartbeat"))
    ///     .subscription(Subscription::new("btc").subscribe_text(r#"{"subscribe":"btc"}"#));
    /// # drop(builder);
    /// ```
    pub fn builder(url: impl Into<FeedUrl>) -> FeedBuilder {
        FeedBuilder::new(url)
    }

    /// Opens a feed from a configuration, as it comes from a file.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn from_config(config: FeedConfig) -> Result<Self, Error> {
        FeedBuilder::from(config).open()
    }

    fn start(builder: FeedBuilder) -> Result<Self, Error> {
        let (config, hooks) = builder.into_parts()?;
        let (handled, dialect) = (hooks.handler.is_some(), hooks.dialect.is_some());
        let engine = Engine::start(open::plan(&config, hooks)?)?;
        Ok(Self { engine, config, handled, dialect })
    }

    /// The feed's name: as configured, else the host.
    pub fn name(&self) -> &str {
        self.engine.shared.name()
    }

    // ---- reading -----------------------------------------------------------------------------------------

    /// Waits for the next event.
    ///
    /// # Errors
    ///
    /// [`Error::Closed`] after the last event (final); [`Error::WouldDeadlock`] on a thread of this feed.
    pub fn recv(&self) -> Result<Event, Error> {
        self.recv_until(None)
    }

    /// Waits for the next event, for at most `timeout`.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if none came (retry); otherwise as [`recv`](Self::recv).
    pub fn recv_timeout(&self, timeout: Duration) -> Result<Event, Error> {
        self.recv_until(Some(timeout))
    }

    /// The next event if there is one. Never waits: fit for GUI threads.
    ///
    /// # Errors
    ///
    /// [`Error::Empty`] if there is none (retry); [`Error::Closed`] after the last event (final).
    pub fn try_recv(&self) -> Result<Event, Error> {
        match self.engine.shared.pop(false) {
            Some(event) => Ok(event),
            None if self.engine.shared.is_over() => Err(self.over()),
            None => Err(Error::Empty),
        }
    }

    fn recv_until(&self, timeout: Option<Duration>) -> Result<Event, Error> {
        let deadline = timeout.and_then(|timeout| clock::mono().checked_add(timeout));
        let mut rung = false;
        loop {
            if let Some(event) = self.engine.shared.pop(rung) {
                return Ok(event);
            }
            if self.engine.shared.is_own_thread() {
                return Err(Error::WouldDeadlock);
            }
            match self.wait_for_bell(deadline) {
                Ok(batch) => batch.answer(),
                Err(RecvTimeoutError::Timeout) => return Err(Error::Timeout),
                Err(RecvTimeoutError::Disconnected) => {
                    return self.engine.shared.pop(false).ok_or_else(|| self.over());
                }
            }
            rung = true;
        }
    }

    fn wait_for_bell(&self, deadline: Option<Instant>) -> Result<Batch, RecvTimeoutError> {
        match deadline {
            Some(deadline) => self.engine.bell.recv_deadline(deadline),
            None => self.engine.bell.recv().map_err(|_| RecvTimeoutError::Disconnected),
        }
    }

    /// All events, until the feed is closed. Also `for event in &feed`.
    pub fn iter(&self) -> Iter<'_> {
        Iter { feed: self, batch: None, wait: true }
    }

    /// The events that are there now. Never waits: fit for GUI threads.
    pub fn try_iter(&self) -> Iter<'_> {
        Iter { feed: self, batch: None, wait: false }
    }

    /// The messages alone, until the feed is closed. Gaps and everything else are skipped: for those who do not
    /// mind losing data, and look at [`health`](Self::health) instead.
    pub fn messages(&self) -> impl Iterator<Item = Message> + '_ {
        self.iter().filter_map(Event::into_message)
    }

    /// The channel behind it all, for `select!`. A [`Batch`] is all that waits when it is iterated.
    ///
    /// With a handler it only tells the end.
    pub fn batches(&self) -> &Receiver<Batch> {
        &self.engine.bell
    }

    /// Calls `f` with each event on the calling thread, until the feed is closed or `f` returns `false`.
    pub fn run(&self, mut f: impl FnMut(Event) -> bool) {
        for event in self {
            if !f(event) {
                return;
            }
        }
    }

    fn over(&self) -> Error {
        self.engine.shared.closed_error()
    }

    // ---- writing and subscribing -------------------------------------------------------------------------

    /// Sends a text (`&str`, `String`) or binary (`&[u8]`, `Vec<u8>`) message.
    ///
    /// Never touches the network: the message is admitted or refused at once, and what became of it is in the
    /// [`Receipt`]. Nothing is kept for a later connection, and nothing is ever sent twice.
    ///
    /// # Errors
    ///
    /// [`Error::NotConnected`] while there is no connection, [`Error::OutboxFull`] over `limits.send_bytes` of what
    /// waits (retry); [`Error::TooLarge`] for a message over that by itself, [`Error::Closed`] (final).
    pub fn send(&self, payload: impl Into<Sendable>) -> Result<Receipt, Error> {
        let content = payload.into().0;
        let outcome = self.engine.shared.with(Caller::User, |core| core.send(content))?;
        Ok(Receipt::new(outcome, self.engine.shared.id()))
    }

    /// Adds a subscription, now and on each connection to come. One of the same name is taken the place of: a
    /// [`Gap`](Event::Gap) then stands before its next message.
    ///
    /// One that has a limit and no `data` is refused beside others, and so is another beside it: it would take every
    /// message for its data.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if something about it is wrong, [`Error::Closed`] (both final).
    pub fn subscribe(&self, subscription: Subscription) -> Result<(), Error> {
        self.config.check_subscription("subscription", &subscription, self.dialect)?;
        let spec = open::spec(&self.config, &subscription);
        self.engine.shared.with(Caller::User, |core| core.subscribe(Stamp::now(), spec))
    }

    /// Ends a subscription: its unsubscribe message is sent, if it has one and is in force.
    ///
    /// A message that is made from what the acknowledgement binds, such as the number of a channel, waits for that
    /// for at most `ack_timeout`, and the next subscription of the same name waits behind it. If it can't be made then either, an
    /// [`Alert`](crate::Alert) of the kind [`TemplateFailed`](crate::AlertKind::TemplateFailed) says so: the server may go on with
    /// the subscription until the connection ends, and its data is nobody's.
    ///
    /// # Errors
    ///
    /// [`Error::UnknownSubscription`] (final).
    pub fn unsubscribe(&self, id: impl Into<SubscriptionId>) -> Result<(), Error> {
        let id = id.into();
        self.engine.shared.with(Caller::User, |core| core.unsubscribe(&id))
    }

    /// Asks for a new connection: the present one is closed, or the wait for the next attempt is cut to the
    /// shortest delay. An attempt that is under way goes on. For those who know more than livefeed: the network is
    /// back, the token has changed.
    pub fn reconnect(&self) {
        self.engine.shared.with(Caller::User, |core| core.session.handle_reconnect(Stamp::now()));
    }

    // ---- asking ------------------------------------------------------------------------------------------

    /// Waits until there is a connection.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] (retry), [`Error::Closed`] with the reason if the feed has given up (final),
    /// [`Error::WouldDeadlock`].
    pub fn wait_connected(&self, timeout: Duration) -> Result<(), Error> {
        self.engine.shared.wait(timeout, |core| core.session.is_connected().then_some(Ok(())))
    }

    /// Waits until data has come on the present connection, for each subscription that has a limit. In quiet hours in
    /// which none comes it waits on.
    ///
    /// While a market is closed ([`State::Quiet`](crate::State::Quiet)) none may come for hours: a program that is started
    /// then waits for the connection only, or takes [`Health::is_healthy`] for an answer.
    ///
    /// # Errors
    ///
    /// As [`wait_connected`](Self::wait_connected).
    pub fn wait_fresh(&self, timeout: Duration) -> Result<(), Error> {
        self.engine.shared.wait(timeout, |core| core.session.is_fresh(clock::mono()).then_some(Ok(())))
    }

    /// A snapshot of the feed's health. Cheap; never waits.
    pub fn health(&self) -> Health {
        self.engine.shared.health()
    }

    // ---- closing -----------------------------------------------------------------------------------------

    /// Closes the feed: the close handshake of RFC 6455 section 7.1.2, within `timeout` (and `close_timeout` of the
    /// configuration), then the end of both threads. Idempotent, callable from any thread. What was queued
    /// before stays readable, and [`Closed`](Event::Closed) is the last.
    ///
    /// The server's Close frame stands behind all that it sent before it, so messages go on coming until then. They are
    /// queued while there is room. What finds none is dropped, whatever [`Overflow`](crate::Overflow) says, and marked by a
    /// gap, as nothing is waited for at the end.
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if a callback of the application still holds a thread up; the feed goes on closing and
    /// the call may be repeated. [`Error::WouldDeadlock`] from a callback of this feed: the feed is closing, but it
    /// can't be waited for there.
    pub fn close(&self, timeout: Duration) -> Result<(), Error> {
        self.engine.close(timeout)
    }
}

impl FeedBuilder {
    /// Checks the configuration and opens the feed; the connection is made behind it.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the field that is wrong by its path (final); [`Error::Thread`] if no thread could be
    /// started.
    pub fn open(self) -> Result<Feed, Error> {
        Feed::start(self)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.engine.drop_feed();
    }
}

impl fmt::Debug for Feed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Feed")
            .field("name", &self.name())
            .field("handled", &self.handled)
            .finish_non_exhaustive()
    }
}

impl<'a> IntoIterator for &'a Feed {
    type Item = Event;
    type IntoIter = Iter<'a>;

    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

/// The events of a feed. Ends when the feed is closed, or, from [`Feed::try_iter`], when none is there.
#[derive(Debug)]
pub struct Iter<'a> {
    feed: &'a Feed,
    /// Held here, so that going on to the next event takes no lock. What is not taken goes back when it is dropped.
    batch: Option<BatchIter>,
    wait: bool,
}

impl Iterator for Iter<'_> {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        if let Some(event) = self.batch.as_mut().and_then(Iterator::next) {
            return Some(event);
        }
        self.next_batch()
    }
}

impl Iter<'_> {
    #[cold]
    fn next_batch(&mut self) -> Option<Event> {
        let feed = self.feed;
        let shared = &feed.engine.shared;
        loop {
            let mut batch = BatchIter::claim(Some(Arc::clone(shared)));
            if let Some(event) = batch.next() {
                self.batch = Some(batch);
                return Some(event);
            }
            if !self.wait || shared.is_over() || shared.is_own_thread() {
                return None;
            }
            match feed.wait_for_bell(None) {
                Ok(batch) => batch.answer(),
                // One more look: what another reader gave back comes without the bell then.
                Err(_) => return shared.pop(false),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::{Lab, Script};

    #[test]
    fn what_a_handler_gets_counts_once() {
        let lab = Lab::start(Script::new().send("a").send("b").send("c")).unwrap();
        let (told, heard) = crossbeam_channel::unbounded();
        let handler = move |event| {
            let _ = told.send(matches!(event, Event::Message(_)));
        };
        let feed = Feed::builder(lab.url()).handler(handler).open().unwrap();
        let mut messages = 0;
        while messages < 3 {
            messages += u32::from(heard.recv_timeout(Duration::from_secs(10)).unwrap());
        }
        feed.close(Duration::from_secs(10)).unwrap();
        let later = clock::mono() + Duration::from_secs(2);
        let beats = feed.engine.shared.with(Caller::User, |core| core.session.pulse().read(later));
        assert_eq!(beats.iter().map(|beat| beat.messages).sum::<u32>(), 3);
    }

    #[test]
    fn nothing_of_a_feed_outlives_it() {
        let lab = Lab::start(Script::new().send("x")).unwrap();
        for n in 0..300 {
            let feed = Feed::open(lab.url()).unwrap();
            let shared = Arc::downgrade(&feed.engine.shared);
            if n % 3 == 0 {
                drop(feed.recv());
            }
            feed.close(Duration::from_secs(10)).unwrap();
            drop(feed);
            assert_eq!(shared.strong_count(), 0, "at {n}");
        }
    }
}
