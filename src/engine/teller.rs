//! Tells the application's callback of alerts, on a thread of its own: a callback that takes long (mail, HTTP) delays
//! nothing but the next alert.
//!
//! What waits to be told is part of the core, so it is told in the order of the stream. The thread takes one at a time,
//! and ends when the feed is closed and all is told.

use super::core::Caller;
use super::plan::OnAlert;
use super::record;
use super::shared::Shared;
use crate::event::Alert;
use crate::panics;
use crossbeam_channel::Receiver;
use std::collections::VecDeque;
use std::sync::Arc;

/// So many alerts may wait.
const WAITING: usize = 64;

/// What waits to be told.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// There is a callback.
    wanted: bool,
    alerts: VecDeque<Alert>,
    /// How many found no room since the callback was last called, and in all.
    missed: u64,
    missed_ever: u64,
}

impl Untold {
    pub(super) fn new(wanted: bool) -> Self {
        Self { wanted, ..Self::default() }
    }

    /// Whether there is somebody to tell.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted
    }

    pub(super) fn push(&mut self, alert: &Alert) {
        if !self.wanted {
            return;
        }
        if self.alerts.len() < WAITING {
            self.alerts.push_back(alert.clone());
        } else {
            self.missed += 1;
            self.missed_ever += 1;
        }
    }

    /// The next one, and how many were missed since the one before.
    fn take(&mut self) -> (Option<Alert>, u64) {
        (self.alerts.pop_front(), std::mem::take(&mut self.missed))
    }

    pub(super) fn missed_ever(&self) -> u64 {
        self.missed_ever
    }
}

/// What runs on the thread.
pub(super) struct Teller {
    shared: Arc<Shared>,
    woken: Receiver<()>,
    on_alert: OnAlert,
}

impl Teller {
    pub(super) fn new(shared: Arc<Shared>, woken: Receiver<()>, on_alert: OnAlert) -> Self {
        Self { shared, woken, on_alert }
    }

    pub(super) fn run(&self) {
        self.shared.tell_on_this_thread();
        loop {
            let mut core = self.shared.lock();
            let (alert, missed) = core.untold.take();
            let over = core.session.closed().is_some();
            drop(core);
            if missed > 0 {
                let name = self.shared.name();
                let _ = panics::caught(|| {
                    log::warn!(target: record::TARGET, "{name}: on_alert took too long, and missed {missed} alerts");
                });
            }
            match alert {
                Some(alert) => {
                    if let Err(message) = panics::caught(|| (self.on_alert)(&alert)) {
                        self.shared.report_panic(Caller::User, "on_alert", message);
                    }
                }
                None if over => return,
                None => {
                    if self.woken.recv().is_err() {
                        return;
                    }
                }
            }
        }
    }
}
