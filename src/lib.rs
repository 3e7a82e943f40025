//! A blocking WebSocket feed client that can never go silently stale, and never hides a gap.
//!
//! A socket that is open, and even answers pings, proves nothing about the data. livefeed keeps two clocks apart, for
//! *any byte received* and for *data*, decides on the data clock, reconnects and subscribes again by itself, and says
//! each discontinuity in the same ordered stream as the data. It uses plain threads and blocking sockets; there is no
//! async runtime in it.
//!
//! # Quick start
//!
//! ```no_run
//! use livefeed::{Event, Feed, Matcher, Subscription};
//! use std::time::Duration;
//!
//! let feed = Feed::builder("wss://feed.example/ws")
//!     .stale_after(Duration::from_secs(5))
//!     .heartbeat(Matcher::pointer("/type", "heartbeat"))
//!     .subscription(
//!         Subscription::new("btc")
//!             .subscribe_text(r#"{"op":"subscribe","channel":"trades.BTC"}"#)
//!             .data(Matcher::pointer("/channel", "trades.BTC")),
//!     )
//!     .open()?;
//! for event in &feed {
//!     match event {
//!         Event::Message(message) => println!("{:?}", message.text()),
//!         Event::Gap(gap) => println!("data may be missing here: {}", gap.cause.name()),
//!         Event::Stale(stale) => println!("no data for {:?}; next: {}", stale.age, stale.next.name()),
//!         _ => {} // connecting, connected, disconnected, ...
//!     }
//! }
//! # Ok::<(), livefeed::Error>(())
//! ```
//!
//! [`Feed::open`] and [`FeedBuilder::open`] check the configuration and return at once; the connection is made behind
//! them. [`Feed::wait_connected`] and [`Feed::wait_fresh`] are for those who want to know first. All settings, with
//! their defaults and bounds, are the fields of [`FeedConfig`], which can also be read from JSON.
//!
//! # Threads
//!
//! A feed has two threads of its own for its whole life, `livefeed-r-NAME` and `livefeed-c-NAME`: one connects, reads
//! and classifies; the other decides, writes, pings and closes. A name lookup runs on a third for as long as it
//! takes, and [`FeedBuilder::on_alert`] is called on one of its own. Every method may be called from any thread. There
//! are four ways to get at the events, all of the same stream:
//!
//! - [`Feed::recv`] and its kin, or `for event in &feed`: waits on the calling thread;
//! - [`Feed::batches`], a crossbeam channel: for `select!` with other feeds, channels and tickers;
//! - [`FeedBuilder::on_wake`] with [`Feed::try_iter`]: for programs with an event loop of their own, such as a GUI;
//! - [`FeedBuilder::handler`]: called on the reading thread itself, without a queue to read from.
//!
//! Many feeds are read as one stream by a [`FeedSet`]: tagged, in turns, and without a further thread.
//!
//! Callbacks run outside all locks. They may call any method of their feed; one that would wait for its own thread
//! returns [`Error::WouldDeadlock`]. A panic in one is caught and reported as an [`Alert`], and the feed goes on.
//!
//! # Timing
//!
//! **Two clocks.** *Liveness* is refreshed by any byte; over [`Ping::after`] a ping is written, and if then nothing at
//! all comes within [`Ping::timeout`], the connection ends with [`EndReason::PongOverdue`]. *Freshness* is refreshed by
//! data messages only, not by pings, pongs or what matches [`FeedConfig::heartbeats`]. It is kept for the connection
//! and for each subscription, which is watched from when its subscribe message was written: data that never starts is
//! stale too. What is data is known by the subscriptions' matchers ([`Subscription::data`]): if each has one, what meets
//! none of them (an acknowledgement, an error) refreshes nothing. While one has no matcher, or there is none, every
//! message that is not a heartbeat is data.
//!
//! **Verdicts** come never before their limit, and on an idle Linux machine at most 10 ms after it; [`Stale::lateness`]
//! says how late each one was. There is no polling: an idle feed wakes for deadlines only. Deadlines are absolute,
//! and by the monotonic clock; nothing but data moves that of freshness. The reading thread waits in `recv` with the
//! time to the earliest deadline as the socket's timeout. Such timeouts come back late, the later the longer they
//! are, so a deadline is approached in steps: seven eighths of what remains until little remains, then the rest. For
//! limits from a second to an hour these are a few wake-ups.
//!
//! **Only an empty socket can be stale.** A verdict needs a `recv` at or after the deadline that came back with
//! nothing. Time in which livefeed does not read (a full queue, a handler at work, a debugger, a suspended machine)
//! shifts every deadline. A slow consumer is reported as that, with [`AlertKind::SlowConsumer`], never as a stale feed.
//! After a suspend the line is probed with a ping before anything is judged.
//!
//! **Reconnecting.** The delay before an attempt is random between [`Reconnect::floor`] and a bound that starts at
//! [`Reconnect::first`], doubles with each attempt and stops at [`Reconnect::max`]. It starts anew only after a
//! connection that was up for [`Reconnect::stable_after`], delivered data, and did not end stale. One attempt has one
//! budget over name lookup, TCP, TLS and upgrade: [`Connect::timeout`].
//!
//! # Events and gaps
//!
//! [`Event`]s come in one order, which is the order in which things happened. Each carries the *epoch* of its
//! connection, counted from 1; no message and no gap of an old epoch comes after its [`Disconnected`]. A [`Gap`] stands wherever the
//! data before and the data after may not join up: directly after [`Connected`] for a reconnect, else before the next
//! message of what it affects. What was built from the data (an order book, a counter) has to be made anew there.
//!
//! [`Connecting`] → [`Connected`] → (`Gap` if it is not the first) → [`Subscribed`] and messages → [`Stale`] →
//! [`Disconnected`] → `Connecting` → ... → [`Closed`], which is always the last.
//!
//! The queue between the feed and the application is bounded, in messages and in bytes. What happens when it is full
//! is the application's choice, see [`Overflow`]; what is dropped is counted and marked by a `Gap` in its place.
//! Lifecycle events are never dropped: while nobody reads, repeated failures fold into one with a count, and what is
//! said twice of the same subscription into the newer. (Of more than 65,536 unread ones, which takes an application
//! that subscribes without ever reading, the oldest `Subscribed` go.)
//!
//! A gap *inside* a connection that only sequence numbers in the payload show is found with a [`SequenceRule`].
//!
//! # Subscriptions
//!
//! What a protocol looks like is said by a few things that combine: [`Matcher`]s recognise messages, [`Template`]s make
//! them, [`Rule`]s say what a message means that is no data and whom it is about, and what they capture is known to
//! templates and matchers for as long as the connection lasts. A subscription is a name with variables; what
//! all have in common stands once in [`FeedConfig::defaults`]. Every subscription is made again on each connection, before
//! anything else, within the limits of [`Pacing`].
//!
//! A control message (an acknowledgement, a refusal, a notice) takes effect in the order of the stream: a key that it
//! binds routes the very next message. [`Subscribed`] is said when the server has confirmed, or data has come;
//! [`Refused`] and [`Ended`] say what the server does not grant, or grants no longer, and when it is asked again. In
//! [`Health`] each subscription has its [`SubscriptionState`].
//!
//! Data that comes may be worth nothing all the same: with a [`LagRule`] a subscription is stale when nothing but late data
//! comes, with a [`FrozenRule`] when its data says the same again and again. [`StaleCause`] tells them apart.
//!
//! What goes stale is repaired in steps, [`RepairStep`], each with its own time: a probe, subscribing that one again, a new
//! connection, the next endpoint. Each step is a [`Stale`] event that says what is done next. A subscription whose message
//! makes the server hang up again and again is set aside, with an alert, and tried alone.
//!
//! [`LoginStep`]s come before all that, within the budget of the attempt; [`Keepalive`]s while the connection is up.
//! [`Feed::request`] asks a question. What rules can't express, a [`Dialect`] can.
//!
//! # Monitoring
//!
//! [`Feed::health`] is a snapshot of everything that there is to know about a feed; [`Health::last_signal_age`] is the
//! figure to watch. With the feature `monitor` a `Monitor` answers over HTTP for any number of feeds: `/health` for
//! probes and monitors, `/metrics` for Prometheus, and a page for people.
//!
//! [`FeedBuilder::on_frame`] shows each frame as it goes over the wire, to those who record it or debug a protocol.
//!
//! # Alerts
//!
//! An [`Alert`] says what a person should know. What goes on (too many reconnects, no data, no connection, a subscription
//! that is refused, a slow consumer) is [`Raised`](AlertStatus::Raised) once, and [`Cleared`](AlertStatus::Cleared) when it
//! is over; it is not raised again within [`Alerts::cool_down`]. Whatever else is told of has
//! [`Happened`](AlertStatus::Happened). Each alert is an event, a log record, and a call of [`FeedBuilder::on_alert`]; what is
//! raised at the moment is in [`Health::alerts`]. [`Alerts`] says when.
//!
//! # Errors
//!
//! A call fails with [`Error`], which says whether to retry ([`Error::is_retryable`]). A wrong configuration fails in
//! `open`, with the field's path. A connection or an attempt ends with an [`EndReason`]: it stands in [`Disconnected`],
//! and the default policy retries it. Fatal are only mistakes of a feed that has never been up (an upgrade refused
//! with a status of [`Reconnect::fatal_statuses`], a certificate that is not trusted), and what a provider calls fatal;
//! [`FeedBuilder::retry_policy`] can decide otherwise. A feed that stops says [`Closed`], with a [`CloseReason`].
//!
//! Secrets (userinfo and query values of URLs, header values, subscribe payloads) appear in no log, no `Debug` and no
//! error.
//!
//! # Features
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `native-tls` | yes | `wss://` through the operating system's TLS library (OpenSSL on Linux) |
//! | `native-tls-vendored` | no | the same with an OpenSSL that is built along |
//! | `gzip` | no | the codecs [`Codec::Gzip`] and [`Codec::Deflate`] |
//! | `schedule` | no | named hours in any time zone: [`FeedConfig::hours`] and [`FeedConfig::by_hours`] |
//! | `lab` | no | the module `lab`: a feed server that misbehaves on demand, for tests |
//! | `monitor` | no | `Monitor`: an HTTP endpoint that says how feeds are, for probes, monitors and people |
//! | `capi` | no | the C ABI, for libraries that are built from this crate: see `include/livefeed.h`; nothing for Rust |
//! | `cli` | no | the program `livefeed`; nothing for the library but `gzip`, `lab`, `monitor` and `schedule` |
//!
//! Logging goes through the `log` crate, with targets that begin with `livefeed`. At the level `trace` the crate
//! `tungstenite` logs what is received, and with it any token that a server sends: keep its targets below that where
//! logs are kept.
#![cfg_attr(not(feature = "capi"), forbid(unsafe_code))]
#![cfg_attr(feature = "capi", deny(unsafe_code))]

#[cfg(feature = "capi")]
#[allow(unsafe_code, reason = "pointers from C")]
#[doc(hidden)]
pub mod capi;
mod class;
mod clock;
mod config;
mod dialect;
mod duration;
mod engine;
mod error;
mod event;
mod feed;
mod frame;
mod health;
mod measures;
mod message;
#[cfg(feature = "monitor")]
mod monitor;
#[cfg(feature = "monitor")]
mod note;
mod panics;
mod policy;
mod secret;
mod table;
mod thread;
mod transport;

#[cfg(feature = "lab")]
pub mod lab;

pub use class::{ErrorClass, GoTo, NoticeAction, OnAckTimeout, OnGap, StaleCause};
pub use config::{
    Ack, Adaptive, Alerts, Attempt, Batching, CodeRange, Connect, ConnectPacing, EndRule, FeedBuilder,
    FeedConfig, FeedUrl, FirstAfter, HourLimit, Hours, Keepalive, KeepaliveDue, Limit, Limits, NoDataAlert,
    Overflow, Pacing, PacingScope, Ping, ProviderError, Queue, Reconnect, ReconnectAlert, RepairStep,
    RetryContext, StaleAfter, Subscription, Target, Terms, Tls, TlsVersion, Variables, Window,
};
pub use crossbeam_channel;
pub use dialect::{
    About, By, Codec, Dialect, FrozenRule, Interval, LagRule, Listed, LoginContext, LoginError, LoginStep,
    MatchFn, Matcher, ReadItem, Readout, Rule, RuleKind, SequenceFn, SequenceNumbers, SequenceRule,
    Sequenced, Template, TemplateContext, TimeUnit,
};
pub use engine::bell::{Batch, BatchIter};
pub use error::{CloseReason, EndReason, Error, Stage};
pub use event::{
    Alert, AlertKind, AlertStatus, Closed, Connected, Connecting, Disconnected, Ended, Event, Gap, GapCause,
    Refused, Repair, Stale, Subscribed,
};
pub use feed::{Feed, FeedSet, Iter, Receipt, SetIter};
pub use frame::{Direction, Frame, FrameKind};
pub use health::{Health, LimitSource, State, SubscriptionHealth, SubscriptionState};
pub use message::{Message, Payload, Sendable, SubscriptionId};
#[cfg(feature = "monitor")]
pub use monitor::{Monitor, MonitorBuilder};
pub use policy::session::Outcome;
pub use policy::verdict::Decision;
pub use secret::Secret;

/// Compiles the code of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
