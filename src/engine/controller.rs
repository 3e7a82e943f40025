//! The controller thread: carries out what the session machine wants, and is the only writer.
//!
//! One turn: time and actions, writing for at most a slice, verdicts that the reader would come too late for, and a
//! wait until the next deadline or a kick.

use super::core::{Caller, Deadlines};
use super::governor::Governor;
use super::order::Order;
use super::plan::{Beat, Plan};
use super::shared::Shared;
use super::writer::{Limits, Writer};
use crate::clock::{self, Stamp};
use crate::policy::session::Action;
use crate::transport::Stop;
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long the reader gets to report what it received just before a deadline.
const GRACE: Duration = Duration::from_millis(2);

pub(super) struct Controller {
    shared: Arc<Shared>,
    kicked: Receiver<()>,
    orders: Sender<Order>,
    limits: Limits,
    beats: Arc<[Beat]>,
    governor: Arc<Governor>,
    hosts: Vec<String>,
    writer: Option<Writer>,
    /// The socket was seen empty, over its deadline, with the reader in this `recv`.
    suspect: Option<(u64, Instant)>,
}

impl Controller {
    pub(super) fn new(shared: Arc<Shared>, kicked: Receiver<()>, orders: Sender<Order>, plan: &Plan) -> Self {
        let limits = Limits {
            write_timeout: plan.write_timeout,
            subscribe_bytes: plan.subscribe_bytes,
            batch_bytes: plan.batch_bytes,
        };
        let beats = Arc::clone(&plan.protocol.beats);
        let governor = Arc::clone(&plan.governor);
        let hosts = plan.hosts.clone();
        Self { shared, kicked, orders, limits, beats, governor, hosts, writer: None, suspect: None }
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    pub(super) fn run(&mut self) {
        self.shared.own_this_thread();
        loop {
            if !self.act() {
                break;
            }
            self.adopt();
            let more = self.writer.as_mut().is_some_and(|writer| writer.work(&self.shared));
            let (seen, paced) = {
                let core = self.shared.lock();
                (core.deadlines(), core.paced_until())
            };
            let until = [self.judge(seen), paced].into_iter().flatten().min();
            if self.shared.with(Caller::Controller, |core| {
                core.controller_until = until;
                // What came up since was compared with an older `controller_until`: it may not have kicked.
                more || core.session.has_actions() || core.deadlines().come_before(seen)
            }) {
                continue;
            }
            match until {
                // A kick or the deadline: both mean another turn.
                Some(until) => drop(self.kicked.recv_deadline(until)),
                None => drop(self.kicked.recv()),
            }
        }
        drop(self.orders.send(Order::Exit));
        if let Some(writer) = self.writer.take() {
            writer.give_up(&self.shared);
        }
        // A connection that came just as the feed was closed was never adopted: its socket closes here.
        drop(self.shared.take_link());
    }

    /// Carries out what is wanted by now. Says whether the feed goes on.
    fn act(&mut self) -> bool {
        let (actions, wake) = self.shared.with(Caller::Controller, |core| {
            core.session.handle_timeout(Stamp::now());
            core.flush = false;
            let actions: Vec<Action> = std::iter::from_fn(|| core.session.poll_action()).collect();
            (actions, core.take_wake_owed())
        });
        if wake {
            self.shared.wake();
        }
        for action in actions {
            match action {
                Action::Dial { epoch, attempt, endpoint } => {
                    let now = Stamp::now();
                    let detour =
                        self.shared.lock().detour.as_ref().map(|target| target.endpoint.host.to_string());
                    if let Some(host) = detour.as_ref().or(self.hosts.get(endpoint)) {
                        self.governor.move_to(now.mono, host);
                    }
                    if let Err(until) = self.governor.dial(now.mono) {
                        self.shared
                            .with(Caller::Controller, |core| core.session.handle_dial_deferred(now, until));
                        continue;
                    }
                    let stop = Stop::new();
                    self.shared.set_stop(stop.clone());
                    // It may have been closed in between: then nobody else would stop this attempt.
                    if self.shared.lock().session.is_closing() {
                        stop.abort();
                    }
                    // The reader is idle when an attempt is ordered, so this does not block for long.
                    drop(self.orders.send(Order::Dial { epoch, attempt, endpoint, stop }));
                }
                Action::Abort => {
                    if let Some(writer) = &self.writer {
                        writer.abort();
                    }
                    self.shared.stop_now();
                }
                Action::Exit => return false,
            }
        }
        true
    }

    /// Takes over a new connection, and lets go of one that is over.
    fn adopt(&mut self) {
        if let Some(link) = self.shared.take_link() {
            let old = self.writer.replace(Writer::new(link, self.limits, Arc::clone(&self.beats)));
            if let Some(old) = old {
                old.give_up(&self.shared);
            }
        }
        let core = self.shared.lock();
        let over = self.writer.as_ref().is_some_and(|writer| writer.epoch() <= core.session.epoch())
            && !core.session.is_up();
        drop(core);
        if over && let Some(writer) = self.writer.take() {
            writer.give_up(&self.shared);
        }
    }

    /// Judges what the reader would come too late for: it is in a `recv` whose timeout lies behind the deadline.
    /// Two looks at an empty socket, with the reader in the same `recv` all the time, are the evidence.
    /// Says when the next turn is due.
    fn judge(&mut self, Deadlines { timer, judge_at }: Deadlines) -> Option<Instant> {
        let suspect = self.suspect.take();
        let (Some(at), Some(writer)) = (judge_at, &self.writer) else { return timer };
        let now = clock::mono();
        if now < at {
            return Some(timer.map_or(at, |timer| timer.min(at)));
        }
        let turn = self.shared.turn();
        if turn.is_multiple_of(2) {
            // It is about to look itself, or it is away: then it looks when it comes back.
            return Some(now + 5 * GRACE);
        }
        match writer.is_socket_empty() {
            Some(true) => {}
            Some(false) => return Some(now + GRACE), // what is there wakes the reader
            None => return timer,                    // it can't be told here: the reader looks when it wakes
        }
        if let Some((_, since)) = suspect.filter(|(suspected, _)| *suspected == turn) {
            if now < since + GRACE {
                self.suspect = suspect;
                return Some(since + GRACE);
            }
            self.shared.with(Caller::Controller, |core| {
                core.session.handle_empty(Stamp::now(), clock::suspended());
            });
            return Some(now);
        }
        self.suspect = Some((turn, now));
        Some(now + GRACE)
    }
}
