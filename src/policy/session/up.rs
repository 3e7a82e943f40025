//! The machine while a connection is up: clocks, verdicts, closing.

use super::{Action, Phase, Session};
use crate::class::StaleCause;
use crate::clock::Stamp;
use crate::error::EndReason;
use crate::event::{Connected, Event};
use crate::message::SubscriptionId;
use crate::policy::attention::Attention;
use crate::policy::deadlines::Deadlines;
use crate::policy::freshness::{CONNECTION, Freshness, Key, Limits};
use crate::policy::heartbeat::Heartbeat;
use crate::policy::ledger::Ledger;
use crate::policy::liveness::Liveness;
use crate::policy::mark::Mark;
use crate::policy::parting::Partings;
use crate::policy::schedule::{self, Schedule};
use crate::policy::subscriptions::{AckPolicy, Entry};
use crate::policy::trip::Trip;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tungstenite::Bytes;

/// How long the server may take to close the TCP connection once both Close frames were exchanged.
const LINGER: Duration = Duration::from_millis(250);

/// A machine that was suspended for longer than this has slept.
const SLEPT: Duration = Duration::from_secs(1);

/// A socket that is never empty is read for at least so much longer than the limit before there is a verdict.
pub(super) const FLOODED: Duration = Duration::from_millis(100);

/// Where suspension can't be read off exactly: the wall clock ran ahead of the monotonic clock by this much.
const WALL_AHEAD: Duration = Duration::from_secs(5);

/// What a successful attempt says of its connection.
#[derive(Debug, Clone)]
pub(crate) struct Established {
    pub(crate) took: Duration,
    pub(crate) peer: SocketAddr,
    pub(crate) subprotocol: Option<String>,
    /// Our keepalives, by their index.
    pub(crate) schedules: Vec<schedule::Times>,
    /// How long the server may say nothing, if it sends heartbeats.
    pub(crate) heartbeat: Option<Duration>,
}

/// One cycle of the reader: what a single `recv` brought.
#[derive(Debug, Clone, Default)]
pub(crate) struct Cycle<'a> {
    /// The socket read timeout that was in force; `None`: none.
    pub(crate) armed: Option<Duration>,
    /// The `recv` came back with nothing: the socket was empty.
    pub(crate) empty: bool,
    /// Bytes received.
    pub(crate) bytes: usize,
    /// Messages decoded, of any class.
    pub(crate) messages: u64,
    /// How many of them were data.
    pub(crate) data: u64,
    /// Messages that met no matcher though each subscription has one: not data.
    pub(crate) unmatched: u64,
    /// The subscriptions that got data, and how many messages.
    pub(crate) touched: &'a [(Key, u64)],
    /// The subscriptions for which there was a sign of life that is no data: it moves their deadlines, and nothing else.
    pub(crate) kept: &'a [Key],
    /// What their data says, of those that have a rule for it: each once.
    pub(crate) marks: &'a [Mark],
    /// The payload of the last ping.
    pub(crate) ping: Option<Bytes>,
    /// A pong came.
    pub(crate) pong: bool,
    /// The Close frame: code and reason.
    pub(crate) close: Option<(Option<u16>, String)>,
    /// How long the machine was suspended since it booted, if known; read when the socket was empty.
    pub(crate) suspended: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Up {
    pub(super) since: Instant,
    pub(super) attention: Attention,
    pub(super) freshness: Freshness,
    pub(super) liveness: Liveness,
    pub(super) trip: Trip,
    pub(super) last_byte: Option<Stamp>,
    pub(super) last_message: Option<Stamp>,
    pub(super) last_data: Option<Stamp>,
    /// The last data, or the beginning, in attended time.
    pub(super) data_at: Instant,
    /// Why the connection is to end, once that is decided.
    pub(super) ending: Option<EndReason>,
    /// The close handshake is under way: the end waits for the peer, until `abort_at`.
    closing: bool,
    pub(super) peer_closed: bool,
    abort_at: Option<Instant>,
    /// The machine slept: no verdict on freshness until the probe is answered or overdue.
    pub(super) hold: bool,
    /// The clocks when sleep was last looked for.
    clocks: Stamp,
    suspended: Option<Duration>,
    /// What the server has not answered.
    pub(super) ledger: Ledger,
    /// When its answers are overdue, in attended time.
    pub(super) acks: Deadlines,
    /// The subscriptions that are tried again at a later time, by the monotonic clock.
    pub(super) later: BTreeSet<(Instant, Key)>,
    /// Those whose unsubscribe message waits to be written.
    pub(super) leaving: HashMap<Key, SubscriptionId>,
    /// Those whose unsubscribe message can't be made yet.
    pub(super) partings: Partings,
    pub(super) keepalives: Vec<Schedule>,
    pub(super) heartbeat: Heartbeat,
    /// When a new connection is to be made, and the server's words.
    pub(super) reconnect_at: Option<(Instant, String)>,
    /// The server asked for patience: no verdict on data and answers until then.
    paused: Option<Instant>,
    /// The subscription whose answer this connection is given up for, and how often in a row that was so.
    pub(super) accused: Option<(Key, u32)>,
    /// The end of this connection is that of the feed.
    pub(super) fatal: bool,
    /// It ends for the sake of one that is stale, while the data of others is fresh.
    pub(super) witnessed: bool,
}

impl Up {
    /// Nobody wants it to end.
    pub(super) fn is_open(&self) -> bool {
        self.ending.is_none()
    }

    /// Ends at once.
    pub(super) fn end(&mut self, reason: EndReason) {
        self.ending.get_or_insert(reason);
        self.closing = false;
    }

    /// Ends by the close handshake, until `deadline` at the latest.
    pub(super) fn begin_close(&mut self, reason: EndReason, deadline: Instant) {
        if self.ending.is_none() {
            self.closing = true;
        }
        if self.closing {
            self.abort_at = Some(self.abort_at.map_or(deadline, |at| at.min(deadline)));
        }
        self.ending.get_or_insert(reason);
    }

    pub(super) fn must_end(&self, now: Instant) -> bool {
        let waiting = self.closing && self.abort_at.is_none_or(|at| now < at);
        self.ending.is_some() && !waiting
    }

    pub(super) fn arm(&mut self, key: Key, limits: Limits, now: Instant) {
        self.freshness.arm(key, limits, self.attention.attended(now));
    }

    /// What is missing has so long for coming, from now on, whatever the limit.
    pub(super) fn grant(&mut self, key: Key, cause: StaleCause, patience: Duration, now: Instant) {
        let at = self.attention.attended(now);
        self.freshness.grant(key, cause, at.checked_add(patience).unwrap_or(at));
    }

    /// The answer has so long for coming.
    pub(super) fn await_ack(&mut self, key: Key, timeout: Duration, now: Instant) {
        let at = self.attention.attended(now);
        if let Some(deadline) = at.checked_add(timeout) {
            self.acks.arm(key, at, deadline);
        }
    }

    /// Nothing is owed for a subscription any more.
    pub(super) fn let_go(&mut self, now: Instant, key: Key, entry: &Entry) {
        self.expect_late(now, entry);
        self.acks.disarm(key);
        if entry.want.ack == AckPolicy::None {
            self.ledger.strike(entry.frame(), key); // nothing has to come for it
        } else {
            self.ledger.let_go(entry.frame(), key);
        }
        self.ledger.end_round(key);
        self.forget(key, entry);
    }

    /// No clock runs for it any more but that of its answer.
    pub(super) fn forget(&mut self, key: Key, entry: &Entry) {
        self.freshness.disarm(key);
        if let Some((at, _)) = entry.later {
            self.later.remove(&(at, key));
        }
    }

    /// The answer that a subscription waits for will be for nothing.
    pub(super) fn expect_late(&mut self, now: Instant, entry: &Entry) {
        if entry.is_pending() && matches!(entry.want.ack, AckPolicy::Awaited { .. }) {
            self.ledger.owe(entry.want.id.clone(), now);
        }
    }

    pub(super) fn handle_frame_written(&mut self, now: Instant) {
        let at = self.attention.attended(now);
        self.keepalives.iter_mut().for_each(|schedule| schedule.handle_sent(at));
    }

    pub(super) fn handle_keepalive_written(&mut self, now: Instant, index: usize) {
        let at = self.attention.attended(now);
        if let Some(schedule) = self.keepalives.get_mut(index) {
            schedule.handle_written(at);
        }
    }

    /// No verdict on data and answers for so long. The end of a pause that is longer stays.
    pub(super) fn pause(&mut self, now: Instant, length: Duration) {
        let until = now.checked_add(length).unwrap_or(now);
        self.paused = self.paused.max(Some(until));
    }

    /// The pause is over: every clock starts anew. Says whether there was one.
    pub(super) fn resume(&mut self, now: Instant) -> bool {
        if self.paused.take().is_some() {
            let at = self.attention.attended(now);
            self.freshness.restart(at);
            self.acks.restart(at);
            self.data_at = at;
            return true;
        }
        false
    }

    /// The same if it is time for it.
    pub(super) fn end_pause(&mut self, now: Instant) -> bool {
        self.paused.is_some_and(|until| now >= until) && self.resume(now)
    }

    /// Whether there may be verdicts on data and answers.
    pub(super) fn may_judge(&self) -> bool {
        !self.hold && self.paused.is_none()
    }

    /// A ping goes out, or a keepalive that may be one.
    pub(super) fn handle_ping_out(&mut self, now: Instant, keepalive: Option<usize>) {
        let is_ping = |index| self.keepalives.get(index).is_some_and(Schedule::is_ping);
        if keepalive.is_none_or(is_ping) {
            self.trip.handle_ping(self.attention.attended(now));
        }
    }

    pub(super) fn handle_ping_written(&mut self, now: Instant) {
        self.liveness.handle_ping_written(self.attention.attended(now));
    }

    pub(super) fn handle_close_written(&mut self, now: Instant) {
        if self.peer_closed {
            self.linger(now);
        }
    }

    fn linger(&mut self, now: Instant) {
        let at = now + LINGER;
        self.abort_at = Some(self.abort_at.map_or(at, |earlier| earlier.min(at)));
    }

    pub(super) fn take_due_ping(&mut self, now: Instant) -> bool {
        self.is_open()
            && !self.attention.is_away()
            && self.liveness.take_due_ping(self.attention.attended(now))
    }

    /// The limit of the close handshake has passed; said once.
    pub(super) fn take_due_abort(&mut self, now: Instant) -> bool {
        let due = self.closing && self.abort_at.is_some_and(|at| now >= at);
        if due {
            self.closing = false;
        }
        due
    }

    /// What the controller has to wake for; verdicts apart.
    pub(super) fn timer(&self) -> Option<Instant> {
        if self.ending.is_some() {
            return if self.closing { self.abort_at } else { None };
        }
        let reconnect = self.reconnect_at.as_ref().map(|(at, _)| *at);
        let later = self.later.first().map(|(at, _)| *at);
        // Attended time stands still while the reader is away.
        let attended = if self.attention.is_away() {
            None
        } else {
            let keepalives = self.keepalives.iter().filter_map(Schedule::due);
            keepalives.chain(self.liveness.ping_due()).min().map(|due| self.attention.real(due))
        };
        [attended, reconnect, later, self.paused].into_iter().flatten().min()
    }

    pub(super) fn recv_deadline(&self) -> Option<Instant> {
        if self.ending.is_some() {
            return if self.closing { self.abort_at } else { None };
        }
        let (fresh, acks) =
            if self.may_judge() { (self.freshness.next_deadline(), self.acks.next()) } else { (None, None) };
        // After a sleep the answer to the probe goes first: nobody judges these, so nobody wakes for them.
        let keepalives = self.keepalives.iter().filter_map(Schedule::deadline);
        let spoken = keepalives.chain(self.heartbeat.deadline()).filter(|_| !self.hold).min();
        let earliest = [self.liveness.deadline(), fresh, acks, spoken].into_iter().flatten().min();
        earliest.map(|at| self.attention.real(at))
    }

    /// Looks whether the machine slept since the last look. A wall clock that was set is no sleep where the
    /// system tells the two apart; where it does not, the worst of a wrong guess is one ping.
    pub(super) fn slept(&mut self, now: Stamp, suspended: Option<Duration>) -> bool {
        let slept = match (suspended, self.suspended) {
            (Some(now), Some(before)) => now.saturating_sub(before) > SLEPT,
            _ => {
                let wall = now.wall.duration_since(self.clocks.wall).unwrap_or_default();
                let mono = now.mono.saturating_duration_since(self.clocks.mono);
                suspended.is_none() && wall.saturating_sub(mono) > WALL_AHEAD
            }
        };
        self.clocks = now;
        self.suspended = suspended.or(self.suspended);
        slept
    }
}

impl Session {
    /// The attempt succeeded. `suspended` as in [`Cycle`]. Says whether the connection is wanted: if not, the
    /// reader drops it and reports the end of the attempt.
    pub(crate) fn handle_connected(
        &mut self,
        now: Stamp,
        established: Established,
        suspended: Option<Duration>,
    ) -> bool {
        if !matches!(self.phase, Phase::Dialing) || self.closing.is_some() {
            return false;
        }
        let Established { took, peer, subprotocol, schedules, heartbeat } = established;
        let backoff = &mut self.backoff;
        let schedules = schedules.into_iter().map(|times| {
            let times = times.drawn(|most| backoff.within(most));
            Schedule::new(times, now.mono)
        });
        let keepalives = schedules.collect();
        self.epoch += 1;
        self.attempt = 0;
        self.totals.connections += 1;
        self.measures.connect.observe(took);
        self.outbox.reopen();
        self.demand.handle_break();
        let mut freshness = Freshness::default();
        freshness.arm(CONNECTION, self.demand.limits(true), now.mono);
        self.phase = Phase::Up(Box::new(Up {
            since: now.mono,
            attention: Attention::new(now.mono),
            freshness,
            liveness: Liveness::new(self.settings.liveness.clone(), now.mono),
            trip: Trip::default(),
            last_byte: Some(now),
            last_message: None,
            last_data: None,
            data_at: now.mono,
            ending: None,
            closing: false,
            peer_closed: false,
            abort_at: None,
            hold: false,
            clocks: now,
            suspended,
            ledger: Ledger::default(),
            acks: Deadlines::default(),
            later: BTreeSet::new(),
            leaving: HashMap::new(),
            partings: Partings::default(),
            keepalives,
            heartbeat: Heartbeat::new(heartbeat, now.mono),
            reconnect_at: None,
            paused: None,
            accused: None,
            fatal: false,
            witnessed: false,
        }));
        let connected = Connected { time: now.wall, epoch: self.epoch, took, peer, subprotocol };
        self.events.push_back(Event::Connected(Box::new(connected)));
        if self.epoch > 1 {
            self.gap_of_reconnect(now);
        }
        self.connected_endpoint = self.endpoint;
        for key in self.subscriptions.keys() {
            self.enlist(now, key, true);
        }
        self.let_out(now);
        self.alarms_connected(now);
        true
    }

    /// The reader leaves the socket alone for a while: it waits for room in the queue.
    pub(crate) fn handle_away(&mut self, now: Instant) {
        if let Phase::Up(up) = &mut self.phase {
            up.attention.handle_away(now);
        }
    }

    /// It is back.
    pub(crate) fn handle_back(&mut self, now: Instant) {
        if let Phase::Up(up) = &mut self.phase {
            up.attention.handle_back(now);
        }
    }

    /// Writing failed or stalled: the connection ends at once.
    pub(crate) fn handle_write_failed(&mut self, epoch: u64, reason: EndReason) {
        if let Phase::Up(up) = &mut self.phase
            && epoch == self.epoch
        {
            up.end(reason);
            self.actions.push_back(Action::Abort);
        }
    }

    /// What the server sent breaks the protocol: it is told so with a Close frame (RFC 6455 section 7.1.7), and
    /// the connection ends without waiting for the answer.
    pub(crate) fn handle_violation(&mut self, now: Stamp, reason: EndReason, code: u16) {
        let Phase::Up(up) = &mut self.phase else { return };
        up.peer_closed = true;
        up.begin_close(reason, now.mono + LINGER);
        for ticket in self.outbox.push_close_now(Some(code)) {
            self.outcomes.push_back((ticket, super::Outcome::Dropped { epoch: self.epoch }));
        }
        if self.outbox.is_empty() {
            up.end(EndReason::Eof); // ours is out already: nothing more can be said
        }
    }

    /// The peer sent a Close: it is answered, and the end waits for the peer to close the TCP connection.
    pub(super) fn handle_peer_close(&mut self, now: Stamp, code: Option<u16>, reason: &str) {
        let Phase::Up(up) = &mut self.phase else { return };
        if up.peer_closed {
            return;
        }
        up.peer_closed = true;
        let deadline = now.mono + self.settings.close_wait.min(Duration::from_secs(1));
        up.begin_close(EndReason::ClosedByPeer { code, reason: reason.to_owned() }, deadline);
        // The answer carries the code it got; 1005 and the like never go on the wire.
        let answer = code.filter(|code| (1000..=1003).contains(code) || (1007..5000).contains(code));
        for ticket in self.outbox.push_close_now(answer) {
            self.outcomes.push_back((ticket, super::Outcome::Dropped { epoch: self.epoch }));
        }
        if self.outbox.is_empty() {
            up.linger(now.mono); // ours is out already
        }
    }
}
