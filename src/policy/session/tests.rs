//! The session machine in virtual time, and a seeded simulation of it.

use super::*;
use crate::event::{AlertKind, GapCause};
use crate::health::State;
use crate::policy::freshness::Key;
use crate::policy::outbox::Out;
use crate::policy::subscriptions::AckPolicy;
use crate::policy::verdict;
use std::time::SystemTime;

mod alarms;
mod answers;
mod contracts;
mod doubts;
mod grammar;
mod judgement;
mod late;
mod measures;
mod model;
mod parting;
mod repairs;
mod simulation;
mod spaced;
mod told;
mod venue;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn settings() -> Settings {
    Settings {
        backoff: backoff::Settings {
            first: 500 * MS,
            floor: 100 * MS,
            max: 30 * SECOND,
            stable_after: 30 * SECOND,
        },
        liveness: liveness::Settings { after: Some(20 * SECOND), timeout: 10 * SECOND },
        stale_after: Some(60 * SECOND),
        adaptive: None,
        max_attempts: None,
        max_downtime: None,
        close_wait: 2 * SECOND,
        leave_code: 1000,
        outbox_bytes: 1000,
        repair: Arc::new([]),
        batch_members: 1,
        endpoints: 1,
        quarantine_after: 3,
        calendars: Vec::new(),
        by_hours: Arc::new([]),
        alarms: alarm::Settings {
            reconnects: None,
            no_data: Arc::new([]),
            down: None,
            unmatched: false,
            cool_down: 600 * SECOND,
        },
    }
}

fn policy() -> verdict::Settings {
    verdict::Settings { rules: Vec::new(), statuses: vec![400, 401, 403, 404, 410, 426], when_never_up: true }
}

/// A subscription that nothing has to confirm.
fn want(id: &str, limit: Option<Duration>) -> Want {
    Want {
        id: id.into(),
        limit,
        adaptive: None,
        first_limit: limit,
        late: None,
        frozen: None,
        by_hours: Arc::new([]),
        payload: true,
        can_end: true,
        ends_by_answer: false,
        batch: None,
        ack: AckPolicy::None,
        repair: Arc::new([]),
        can_probe: false,
        topic: None,
        recognised: true,
    }
}

/// A connection of which the server tells nothing.
fn established() -> Established {
    let peer = ([127, 0, 0, 1], 1).into();
    Established { took: MS, peer, subprotocol: None, schedules: Vec::new(), heartbeat: None }
}

/// A machine and its clocks; nothing sleeps.
struct World {
    session: Session,
    now: Stamp,
    /// Time the computer was suspended, as Linux tells it.
    suspended: Option<Duration>,
    outs: Vec<Out>,
    actions: Vec<Action>,
    events: Vec<Event>,
}

impl World {
    fn new(settings: Settings) -> Self {
        Self::seeded(settings, 7)
    }

    fn seeded(settings: Settings, seed: u64) -> Self {
        let now = Stamp { mono: crate::clock::mono(), wall: SystemTime::UNIX_EPOCH + 1_000_000_000 * SECOND };
        let session = Session::new(settings, now, seed);
        let suspended = Some(Duration::ZERO);
        Self { session, now, suspended, outs: Vec::new(), actions: Vec::new(), events: Vec::new() }
    }

    fn subscribe(&mut self, id: &str, limit: Option<Duration>) -> Key {
        let key = self.session.handle_subscribe(self.now, want(id, limit)).0;
        self.settle();
        key
    }

    fn pass(&mut self, time: Duration) {
        self.now.mono += time;
        self.now.wall += time;
    }

    /// Collects what the machine wants, and writes at once what there is to write.
    fn settle(&mut self) {
        while self.session.has_out() {
            let Some(out) = self.session.poll_out(self.now) else { break };
            self.session.handle_written(self.now, self.session.epoch(), &out);
            self.outs.push(out);
        }
        self.actions.extend(std::iter::from_fn(|| self.session.poll_action()));
        self.events.extend(std::iter::from_fn(|| self.session.poll_event()));
    }

    fn timeout(&mut self) {
        self.session.handle_timeout(self.now);
        self.settle();
    }

    /// Waits for the next attempt, and lets it succeed.
    fn connect(&mut self) {
        self.dial();
        assert!(self.session.handle_connected(self.now, established(), self.suspended));
        self.settle();
    }

    /// Waits for the next attempt to be ordered.
    fn dial(&mut self) {
        for _ in 0..3 {
            self.timeout();
            if self.take_dial() {
                return;
            }
            let deadline = self.session.next_deadline().expect("nothing is scheduled");
            self.pass(deadline.saturating_duration_since(self.now.mono));
        }
        panic!("no attempt was ordered");
    }

    fn take_dial(&mut self) -> bool {
        let before = self.actions.len();
        self.actions.retain(|action| !matches!(action, Action::Dial { .. }));
        self.actions.len() != before
    }

    fn recv(&mut self, cycle: &Cycle<'_>) {
        self.session.handle_recv(self.now, cycle);
        self.settle();
    }

    /// Data for these subscriptions.
    fn data(&mut self, keys: &[Key]) {
        let touched: Vec<_> = keys.iter().map(|key| (*key, 1)).collect();
        self.recv(&Cycle { bytes: 10, messages: 1, data: 1, touched: &touched, ..Cycle::default() });
    }

    /// Bytes that are no data: a pong, a heartbeat, half a frame.
    fn bytes(&mut self) {
        self.recv(&Cycle { bytes: 2, messages: 1, ..Cycle::default() });
    }

    /// The socket is empty.
    fn empty(&mut self) {
        self.recv(&Cycle { empty: true, suspended: self.suspended, ..Cycle::default() });
    }

    fn end(&mut self, found: EndReason) {
        let reason = self.session.end_reason(found);
        let decision = verdict::decide(&reason, self.session.ever_up(), &policy());
        self.session.handle_ended(self.now, reason, decision);
        self.settle();
    }

    /// The keys of the subscribe messages, in order.
    fn subscribed(&self) -> Vec<Key> {
        let keys = |out: &Out| if let Out::Subscribe { keys, .. } = out { keys.clone() } else { Vec::new() };
        self.outs.iter().flat_map(keys).collect()
    }

    fn names(&mut self) -> Vec<&'static str> {
        let names = self.events.iter().map(Event::name).collect();
        self.events.clear();
        names
    }

    fn stale(&self) -> Option<&crate::event::Stale> {
        self.events.iter().find_map(|event| match event {
            Event::Stale(stale) => Some(&**stale),
            _ => None,
        })
    }

    fn retry_in(&self) -> Option<Duration> {
        self.events.iter().rev().find_map(|event| match event {
            Event::Disconnected(disconnected) => disconnected.retry_in,
            _ => None,
        })
    }
}
