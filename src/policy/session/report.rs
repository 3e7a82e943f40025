//! What the machine says of itself: counts, gaps, health.

use super::{Phase, Session};
use crate::class::StaleCause;
use crate::clock::Stamp;
use crate::error::{CloseReason, EndReason};
use crate::event::{Event, Gap, GapCause};
use crate::health::{Health, State, SubscriptionHealth, SubscriptionState};
use crate::measures::Measures;
use crate::policy::demand::Demand;
use crate::policy::subscriptions::Entry;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Totals {
    pub(super) connections: u64,
    pub(super) ends: BTreeMap<&'static str, u64>,
    pub(super) stale_verdicts: u64,
    pub(super) messages: u64,
    pub(super) unmatched: u64,
    pub(super) bytes: u64,
    pub(super) gaps: u64,
    pub(super) sequence_gaps: u64,
    pub(super) refused: u64,
    pub(super) ended: u64,
}

/// How it stands with the data of a connection. There may be many subscriptions, and all else waits meanwhile: so each
/// is looked at once.
#[derive(Debug, Default)]
struct Standing {
    /// When the connection began, and the time; `None`: there is none.
    since: Option<(Instant, Instant)>,
    /// What is missing, on the connection or for a subscription, while that is stale.
    stale: Option<StaleCause>,
    /// The connection ends for that.
    verdict: bool,
    /// A subscription with a limit has had no data yet on this connection, or not what the last one was given up for,
    /// though these are no quiet hours for it, or one is not to be had.
    owed: bool,
    /// Data is missing that would be owed at other hours, or they have just ended.
    excused: bool,
}

impl Standing {
    fn add(&mut self, entry: &Entry) {
        let Some((since, now)) = self.since else { return };
        let demand = &entry.demand;
        let limited = || !(demand.limits(false).is_none() && demand.limits(true).is_none());
        let fed = entry.state == SubscriptionState::Live && entry.owed.is_none();
        let waits = !fed && !demand.is_quiet() && limited();
        self.owed |= entry.is_off() || waits;
        self.excused |= is_missing(demand, entry.last_data.filter(|stamp| stamp.mono >= since), now);
        if !self.verdict {
            self.stale = self.stale.into_iter().chain(entry.stale).min();
        }
    }
}

/// Whether there was no data for as long as it may be missing at other hours, and that is as it should be, or was.
fn is_missing(demand: &Demand, last: Option<Stamp>, now: Instant) -> bool {
    let age = last.map(|stamp| now.saturating_duration_since(stamp.mono));
    let long = |age: Option<Duration>| age.is_none_or(|age| demand.usual().is_some_and(|usual| age >= usual));
    (demand.is_quiet() && long(age)) || (demand.is_waiting() && age.is_some() && long(age))
}

/// The gap of a subscription that was made anew on the same connection.
pub(super) fn resubscribed(now: Stamp, epoch: u64, entry: &Entry) -> Event {
    Event::Gap(Box::new(Gap {
        time: now.wall,
        epoch,
        cause: GapCause::Resubscribed,
        subscriptions: vec![entry.want.id.clone()],
        last_message: entry.last_data.map(|stamp| stamp.wall),
        lost: None,
        from: None,
        to: None,
    }))
}

/// The state as it is shown: one that is stale stays so while it is made again; one that is live has become quiet after half of its usual limit; and one that need have no
/// data in these hours, and has none, is quiet too.
fn shown(entry: &Entry, age: Option<Duration>) -> SubscriptionState {
    match (entry.state, age, entry.demand.usual()) {
        _ if entry.stale.is_some() && !entry.is_off() => SubscriptionState::Stale,
        (SubscriptionState::Live, Some(age), Some(limit)) if age > limit / 2 => SubscriptionState::Quiet,
        (SubscriptionState::Confirmed, ..) if entry.demand.is_quiet() => SubscriptionState::Quiet,
        (state, ..) => state,
    }
}

fn seconds(nanos: i64) -> f64 {
    Duration::from_nanos(nanos.unsigned_abs()).as_secs_f64().copysign(if nanos < 0 { -1.0 } else { 1.0 })
}

impl Session {
    /// The one gap of a reconnect, for all subscriptions, directly after `Connected`.
    pub(super) fn gap_of_reconnect(&mut self, now: Stamp) {
        self.totals.gaps += 1;
        self.events.push_back(Event::Gap(Box::new(Gap {
            time: now.wall,
            epoch: self.epoch,
            cause: if self.endpoint == self.connected_endpoint {
                GapCause::Reconnected
            } else {
                GapCause::EndpointSwitched
            },
            subscriptions: self.subscriptions.ids(),
            last_message: self.last_data.map(|stamp| stamp.wall),
            lost: None,
            from: None,
            to: None,
        })));
    }

    pub(crate) fn state(&self, now: Instant) -> State {
        let mut standing = self.standing(now);
        self.subscriptions.iter().for_each(|(_, entry)| standing.add(entry));
        self.state_of(&standing)
    }

    fn state_of(&self, standing: &Standing) -> State {
        match &self.phase {
            Phase::Closed(_) => State::Closed,
            _ if self.closing.is_some() => State::Closing,
            Phase::Waiting { .. } => State::Waiting,
            Phase::Dialing => State::Connecting,
            Phase::Up(_) if standing.stale.is_some() => State::Stale,
            Phase::Up(_) if standing.owed => State::Live,
            Phase::Up(_) if standing.excused => State::Quiet,
            Phase::Up(up) if up.last_data.is_some() => State::Fresh,
            Phase::Up(_) => State::Live,
        }
    }

    /// How the connection stands, its subscriptions apart.
    fn standing(&self, now: Instant) -> Standing {
        let Phase::Up(up) = &self.phase else { return Standing::default() };
        let (verdict, stale) = match &up.ending {
            Some(EndReason::Stale { cause, .. }) => (true, Some(*cause)),
            _ => (false, None),
        };
        let excused = is_missing(&self.demand, up.last_data, now);
        Standing { since: Some((up.since, now)), stale, verdict, owed: false, excused }
    }

    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.state(now) == State::Fresh
    }

    pub(crate) fn is_connected(&self) -> bool {
        matches!(&self.phase, Phase::Up(up) if up.is_open())
    }

    pub(crate) fn closed(&self) -> Option<&CloseReason> {
        match &self.phase {
            Phase::Closed(reason) => Some(reason),
            _ => None,
        }
    }

    /// What was measured so far.
    pub(crate) fn measures(&self) -> &Measures {
        &self.measures
    }

    /// How long ago the reader of a connection last reported. In `recv` it has no reason to.
    pub(crate) fn unseen_for(&self, now: Instant) -> Option<Duration> {
        match &self.phase {
            Phase::Up(up) => Some(up.attention.unseen_for(now)),
            _ => None,
        }
    }

    /// The session's part of a snapshot; the queue's and the process's figures are filled in by the engine.
    pub(crate) fn health(&self, name: &str, now: Instant) -> Health {
        let age = |stamp: Option<Stamp>| stamp.map(|stamp| now.saturating_duration_since(stamp.mono));
        let mut standing = self.standing(now);
        let (up, waiting) = match &self.phase {
            Phase::Up(up) => (Some(up), None),
            Phase::Waiting { until } => (None, Some(until.saturating_duration_since(now))),
            Phase::Dialing | Phase::Closed(_) => (None, None),
        };
        let subscription = |entry: &Entry| SubscriptionHealth {
            id: entry.want.id.clone(),
            state: shown(entry, age(entry.last_data)),
            last_signal_age: age(entry.last_data),
            stale_after: entry.demand.limit(),
            limit_source: entry.demand.source(),
            learned_gap: entry.demand.learned(),
            stale_cause: entry.stale,
            lag_seconds: entry.lag.map(|(lag, _)| seconds(lag)),
            skew_seconds: entry.lag.map(|(_, skew)| seconds(skew)),
            messages: entry.messages,
        };
        let look = |(_, entry)| {
            standing.add(entry);
            subscription(entry)
        };
        let subscriptions = self.subscriptions.iter().map(look).collect();
        Health {
            name: name.to_owned(),
            state: self.state_of(&standing),
            epoch: self.epoch,
            endpoint: self.place.clone(),
            attempt: self.attempt,
            up: up.map(|up| now.saturating_duration_since(up.since)),
            next_attempt_in: waiting,
            last_byte_age: up.and_then(|up| age(up.last_byte)),
            last_message_age: up.and_then(|up| age(up.last_message)),
            last_data_age: up.and_then(|up| age(up.last_data)),
            held_up: None,
            last_signal_age: age(self.last_data),
            stale_after: self.demand.limit(),
            limit_source: self.demand.source(),
            learned_gap: self.demand.learned(),
            stale_cause: standing.stale,
            alerts: self.watch.raised(),
            missed_alerts: 0,
            subscriptions,
            connections: self.totals.connections,
            last_end: self.last_end.clone(),
            ends: self.totals.ends.clone(),
            stale_verdicts: self.totals.stale_verdicts,
            messages: self.totals.messages,
            unmatched: self.totals.unmatched,
            bytes: self.totals.bytes,
            gaps: self.totals.gaps,
            sequence_gaps: self.totals.sequence_gaps,
            refused: self.totals.refused,
            ended: self.totals.ended,
            dropped: 0,
            queue_messages: 0,
            queue_bytes: 0,
            outbox_bytes: self.outbox.app_bytes(),
            abandoned_lookups: 0,
            closed: self.closed().cloned(),
        }
    }
}
