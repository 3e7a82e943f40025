//! The core behind its mutex, and its two thread shells.
//!
//! [`core`] is the pure data, [`shared`] its one mutex and what follows from each change; [`reader`] and
//! [`controller`] are the two threads, [`teller`] is a third if there is a callback for alerts; [`bell`] is how events reach users; [`queue`] is where they wait.

pub(crate) mod bell;
mod book;
mod controller;
pub(crate) mod core;
mod decoder;
mod detour;
mod fold;
pub(crate) mod governor;
mod heard;
mod intake;
mod login;
mod marks;
mod order;
pub(crate) mod plan;
mod questions;
pub(crate) mod queue;
mod reader;
#[cfg(feature = "monitor")]
mod recent;
mod record;
mod routes;
pub(crate) mod shared;
#[cfg(feature = "monitor")]
pub(crate) mod snapshot;
mod teller;
mod writer;

use crate::clock::{self, Stamp};
use crate::error::{CloseReason, Error};
use crate::panics;
use crate::thread;
use crate::transport;
use bell::Batch;
use controller::Controller;
use core::Caller;
use crossbeam_channel::{Receiver, bounded};
use plan::Plan;
use reader::Reader;
use shared::{Shared, Wires};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use teller::Teller;

/// A running feed: the shared core and its two threads.
pub(crate) struct Engine {
    pub(crate) shared: Arc<Shared>,
    pub(crate) bell: Receiver<Batch>,
    /// Disconnected once both threads have ended.
    ended: Receiver<()>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Engine {
    pub(crate) fn start(mut plan: Plan) -> Result<Self, Error> {
        let (alive, ended) = bounded::<()>(0);
        let (kick, kicked) = bounded(1);
        let (orders, ordered) = bounded(4);
        let (ring, bell) = bounded(1);
        let (tell, told) = bounded(1);
        let (nudge, nudged) = match plan.handler {
            Some(_) => {
                let (nudge, nudged) = transport::nudge().map_err(|error| Error::Thread(error.kind()))?;
                (Some(nudge), Some(Arc::new(nudged)))
            }
            None => (None, None),
        };
        let wires = Wires { kick, tell, orders: orders.clone(), ring, nudge };
        let shared = Arc::new(Shared::new(&mut plan, wires));
        let on_alert = plan.on_alert.take();
        let name = plan.name.clone();
        let mut controller = Controller::new(Arc::clone(&shared), kicked, orders, &plan);
        let mut reader = Reader::new(Arc::clone(&shared), ordered, nudged, plan);
        let mut threads = Vec::with_capacity(2);
        let (reader_alive, teller_alive) = (alive.clone(), alive.clone());
        threads.push(thread::spawn(format!("livefeed-r-{name}"), move || {
            if let Err(panic) = panics::caught(|| reader.run()) {
                reader.shared().die(Caller::Reader, panic);
                let _ = panics::caught(|| reader.drain());
            }
            reader.shared().reader_is_gone();
            // The application's closures go before the end is told: whoever waits for it does not wait for them.
            let _ = panics::caught(|| drop(reader));
            drop(reader_alive);
        })?);
        // Should this one fail to start, `controller` is dropped with its sender of orders, and so are ours:
        // the reader ends by itself.
        let spawned = thread::spawn(format!("livefeed-c-{name}"), move || {
            if let Err(panic) = panics::caught(|| controller.run()) {
                controller.shared().die(Caller::Controller, panic);
            }
            let _ = panics::caught(|| drop(controller));
            drop(alive);
        });
        match spawned {
            Ok(handle) => threads.push(handle),
            Err(error) => {
                shared.hang_up();
                return Err(error);
            }
        }
        let engine = Self { shared, bell, ended, threads: Mutex::new(threads) };
        if let Some(on_alert) = on_alert {
            let teller = Teller::new(Arc::clone(&engine.shared), told, on_alert);
            let spawned = thread::spawn("livefeed-alert".to_owned(), move || {
                teller.run();
                let _ = panics::caught(|| drop(teller));
                drop(teller_alive);
            });
            match spawned {
                Ok(handle) => engine.keep(handle),
                Err(error) => {
                    engine.drop_feed();
                    return Err(error);
                }
            }
        }
        Ok(engine)
    }

    fn keep(&self, handle: JoinHandle<()>) {
        self.threads.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
    }

    /// Begins to close, so that it takes `timeout` at most, and does not wait for it.
    pub(crate) fn begin_close(&self, timeout: Duration) {
        // The close handshake may use most of the time; the rest is for the threads to end.
        let handshake = timeout.min(self.shared.close_wait()) / 4 * 3;
        self.shared.with(Caller::User, |core| {
            core.session.handle_close(Stamp::now(), handshake, CloseReason::ByUser);
        });
    }

    /// Closes within `timeout`, and waits for both threads to end.
    pub(crate) fn close(&self, timeout: Duration) -> Result<(), Error> {
        let begin = clock::mono();
        self.begin_close(timeout);
        if self.shared.waits_for_this_thread() {
            return Err(Error::WouldDeadlock);
        }
        let left = |limit: Duration| limit.saturating_sub(begin.elapsed_by_clock());
        if self.ended.recv_timeout(left(timeout - timeout / 8)).is_err_and(|error| error.is_timeout()) {
            // Something holds it up: cut it short.
            self.abort();
            if self.ended.recv_timeout(left(timeout)).is_err_and(|error| error.is_timeout()) {
                return Err(Error::Timeout);
            }
        }
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            drop(thread.join()); // it has ended: this does not wait
        }
        Ok(())
    }

    /// Closes at once, without the close handshake, and waits for nothing.
    pub(crate) fn abort(&self) {
        self.shared.with(Caller::User, |core| {
            core.session.handle_close(Stamp::now(), Duration::ZERO, CloseReason::ByUser);
        });
        self.shared.stop_now();
    }

    /// The feed is dropped: at once, and without waiting.
    pub(crate) fn drop_feed(&self) {
        self.abort();
        self.shared.feed_is_gone();
    }
}

trait Elapsed {
    fn elapsed_by_clock(&self) -> Duration;
}

impl Elapsed for Instant {
    fn elapsed_by_clock(&self) -> Duration {
        clock::mono().saturating_duration_since(*self)
    }
}
