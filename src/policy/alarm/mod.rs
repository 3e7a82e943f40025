//! What a person is told of: conditions that begin and end, each said once, and not again too soon.
//!
//! [`Alarms`] holds all of a feed. A condition that was raised is cleared when it is over, and not raised again within
//! the cool-down of its last raise; if it holds by then, it is raised at that time. What is over before it was said is
//! never said.
//!
//! There are two clocks. Cool-downs, connections and their ends are measured by the monotonic clock; the lack of data and
//! of unmatched messages by *reading time* (see [`no_data`]).

pub(crate) mod edge;
pub(crate) mod no_data;
pub(crate) mod reconnects;

use crate::error::EndReason;
use crate::event::{AlertKind, AlertStatus};
use crate::message::SubscriptionId;
use edge::{Alarm, Edge};
use no_data::NoData;
use reconnects::Reconnects;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Unmatched messages are over after so much reading time without.
const UNMATCHED_OVER: Duration = Duration::from_secs(60);

/// Of so many that are over it is remembered at the most that they were raised of late. Of more, a subscription that
/// comes back under its name may be told of again before its time.
const REMEMBERED: usize = 16 * 1024;

/// What a feed's owner wants to hear of.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// More connections than this that end within this time.
    pub(crate) reconnects: Option<(u32, Duration)>,
    pub(crate) no_data: Arc<[no_data::Limit]>,
    /// Time without a connection.
    pub(crate) down: Option<Duration>,
    pub(crate) unmatched: bool,
    pub(crate) cool_down: Duration,
}

/// A moment on both clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) now: Instant,
    /// The reading time so far.
    pub(crate) read: Duration,
}

/// What can be raised, and cleared.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Topic {
    SlowConsumer,
    Reconnects,
    Down,
    NoData(usize),
    Unmatched,
    Refused(SubscriptionId),
    Failed(SubscriptionId),
    Stale(SubscriptionId),
    Quarantined(SubscriptionId),
    Ceiling(Option<SubscriptionId>),
}

/// One condition, with its latest figures.
#[derive(Debug)]
struct Standing {
    alarm: Alarm,
    kind: AlertKind,
    /// It is among those to be forgotten.
    remembered: bool,
}

/// All conditions of a feed.
#[derive(Debug)]
pub(crate) struct Alarms {
    settings: Settings,
    /// Those that hold, and those that were raised of late.
    standing: HashMap<Topic, Standing>,
    /// Those that hold and wait for the end of their cool-down.
    pending: BTreeSet<(Instant, Topic)>,
    /// Those that were over at this time, each once, in order, to be forgotten after the cool-down.
    remembered: VecDeque<(Instant, Topic)>,
    /// How many are raised, by the name of their kind.
    raised: BTreeMap<&'static str, usize>,
    reconnects: Option<Reconnects>,
    no_data: Vec<NoData>,
    /// The reading time at the last data, or 0.
    last_data: Duration,
    /// Since when there is no connection.
    down_since: Option<Instant>,
    last_end: Option<EndReason>,
    /// How many unmatched messages since they were last told of, and the reading time at the last one.
    unmatched: Option<(u64, Duration)>,
    said: VecDeque<(AlertStatus, AlertKind)>,
}

impl Alarms {
    /// `is_open` says whether the hours of an index are now.
    pub(crate) fn new(settings: Settings, now: Instant, is_open: &dyn Fn(usize) -> bool) -> Self {
        let no_data = settings.no_data.iter().map(|limit| NoData::new(limit.clone(), is_open)).collect();
        let reconnects = settings.reconnects.map(|(more_than, within)| Reconnects::new(more_than, within));
        Self {
            settings,
            standing: HashMap::new(),
            pending: BTreeSet::new(),
            remembered: VecDeque::new(),
            raised: BTreeMap::new(),
            reconnects,
            no_data,
            last_data: Duration::ZERO,
            down_since: Some(now),
            last_end: None,
            unmatched: None,
            said: VecDeque::new(),
        }
    }

    // ---- what happened -----------------------------------------------------------------------------------

    /// There is a connection.
    pub(crate) fn handle_connected(&mut self, at: Moment) {
        if self.is_on(&Topic::Down) {
            let kind = self.down(at.now);
            self.set(at.now, Topic::Down, false, kind);
        }
        self.down_since = None;
    }

    /// A connection ended, or an attempt to get one. `counts`: not because the application wanted it.
    pub(crate) fn handle_ended(&mut self, at: Moment, was_connected: bool, reason: &EndReason, counts: bool) {
        self.last_end = Some(reason.clone());
        if !was_connected {
            return;
        }
        self.down_since = Some(at.now);
        if counts && let Some(reconnects) = &mut self.reconnects {
            reconnects.handle_end(at.now, reason.name());
            self.judge_reconnects(at.now);
        }
    }

    /// Data came.
    pub(crate) fn handle_data(&mut self, at: Moment) {
        self.settle(at.read);
        for index in 0..self.no_data.len() {
            let Some(watch) = self.no_data.get_mut(index) else { return };
            if let Some(age) = watch.handle_data(at.read, self.last_data) {
                let kind = no_data(watch, age);
                self.set(at.now, Topic::NoData(index), false, kind);
            }
        }
        self.last_data = at.read;
    }

    /// Nothing that was sent by now is data: the socket is empty, or there is no connection. `flooded`: or it is not
    /// empty, but has brought no data so far.
    pub(crate) fn handle_no_data(&mut self, at: Moment, flooded: bool) {
        self.settle(at.read);
        for index in 0..self.no_data.len() {
            let Some(watch) = self.no_data.get_mut(index) else { return };
            if watch.judge(at.read, self.last_data, flooded) {
                let kind = no_data(watch, watch.age(at.read, self.last_data));
                self.set(at.now, Topic::NoData(index), true, kind);
            }
        }
    }

    /// Hours began or ended.
    pub(crate) fn handle_hours(&mut self, at: Moment, is_open: &dyn Fn(usize) -> bool) {
        self.settle(at.read);
        for index in 0..self.no_data.len() {
            let Some(watch) = self.no_data.get_mut(index) else { return };
            if let Some(age) = watch.handle_hours(at.read, self.last_data, is_open) {
                let kind = no_data(watch, age);
                self.set(at.now, Topic::NoData(index), false, kind);
            }
        }
    }

    /// So many messages came that nothing knows.
    pub(crate) fn handle_unmatched(&mut self, at: Moment, messages: u64) {
        if !self.settings.unmatched || messages == 0 {
            return;
        }
        let before = self.unmatched.map_or(0, |(count, _)| count);
        let messages = before.saturating_add(messages);
        self.unmatched = Some((messages, at.read));
        self.set(at.now, Topic::Unmatched, true, AlertKind::Unmatched { messages });
    }

    /// The queue is nearly full, with so many messages and bytes, or has room again.
    pub(crate) fn handle_slow_consumer(&mut self, at: Moment, slow: bool, messages: usize, bytes: usize) {
        self.set(at.now, Topic::SlowConsumer, slow, AlertKind::SlowConsumer { messages, bytes });
    }

    /// The server refused or ended a subscription for good.
    pub(crate) fn handle_refused(&mut self, at: Moment, subscription: SubscriptionId, detail: String) {
        let topic = Topic::Refused(subscription.clone());
        self.set(at.now, topic, true, AlertKind::SubscriptionRefused { subscription, detail });
    }

    /// A subscription was put in quarantine, or stays there, after so many ends.
    pub(crate) fn handle_quarantined(&mut self, at: Moment, subscription: SubscriptionId, ends: u32) {
        let topic = Topic::Quarantined(subscription.clone());
        self.set(at.now, topic, true, AlertKind::Quarantined { subscription, ends });
    }

    /// The learned limit of a subscription, or of the connection, is at its ceiling (with the slowest gap and the
    /// ceiling), or no longer.
    pub(crate) fn handle_ceiling(
        &mut self,
        at: Moment,
        subscription: Option<SubscriptionId>,
        found: Option<(Duration, Duration)>,
    ) {
        let topic = Topic::Ceiling(subscription.clone());
        match found {
            Some((learned, ceiling)) => {
                self.set(at.now, topic, true, AlertKind::LimitAtCeiling { subscription, learned, ceiling });
            }
            None => self.clear(at.now, &topic),
        }
    }

    /// The subscribe message of a subscription can't be made.
    pub(crate) fn handle_failed(&mut self, at: Moment, subscription: SubscriptionId, detail: String) {
        let topic = Topic::Failed(subscription.clone());
        self.set(at.now, topic, true, AlertKind::SubscribeFailed { subscription, detail });
    }

    /// It could be made.
    pub(crate) fn handle_made(&mut self, at: Moment, subscription: &SubscriptionId) {
        if !self.standing.is_empty() {
            self.clear(at.now, &Topic::Failed(subscription.clone()));
        }
    }

    /// A subscription stays stale.
    pub(crate) fn handle_stale(
        &mut self,
        at: Moment,
        subscription: SubscriptionId,
        age: Duration,
        limit: Duration,
    ) {
        let topic = Topic::Stale(subscription.clone());
        self.set(at.now, topic, true, AlertKind::SubscriptionStale { subscription, age, limit });
    }

    /// It does so no longer.
    pub(crate) fn handle_healed(&mut self, at: Moment, subscription: &SubscriptionId) {
        self.clear(at.now, &Topic::Stale(subscription.clone()));
    }

    /// The server granted a subscription, or sent data for it.
    pub(crate) fn handle_granted(&mut self, at: Moment, subscription: &SubscriptionId) {
        if !self.standing.is_empty() {
            self.clear(at.now, &Topic::Refused(subscription.clone()));
            self.clear(at.now, &Topic::Quarantined(subscription.clone()));
            self.clear(at.now, &Topic::Failed(subscription.clone()));
        }
    }

    /// It is out of quarantine.
    pub(crate) fn handle_released(&mut self, at: Moment, subscription: &SubscriptionId) {
        self.clear(at.now, &Topic::Quarantined(subscription.clone()));
    }

    /// It is wanted no more.
    pub(crate) fn handle_withdrawn(&mut self, at: Moment, subscription: &SubscriptionId) {
        self.handle_granted(at, subscription);
        self.handle_healed(at, subscription);
        self.clear(at.now, &Topic::Ceiling(Some(subscription.clone())));
    }

    /// Time passed.
    pub(crate) fn handle_timeout(&mut self, at: Moment) {
        let Moment { now, read } = at;
        if let Some(reconnects) = &mut self.reconnects {
            reconnects.handle_timeout(now);
            self.judge_reconnects(now);
        }
        if self.down_at().is_some_and(|at| now >= at) {
            let kind = self.down(now);
            self.set(now, Topic::Down, true, kind);
        }
        if self.unmatched_over().is_some_and(|over| read >= over) {
            let messages = self.unmatched.take().map_or(0, |(count, _)| count);
            self.set(now, Topic::Unmatched, false, AlertKind::Unmatched { messages });
        }
        while let Some((_, topic)) = self.pending.first().filter(|(at, _)| now >= *at).cloned() {
            self.pending.pop_first();
            self.refresh(at, &topic);
            let cool_down = self.settings.cool_down;
            let edge = self.standing.get_mut(&topic).and_then(|s| s.alarm.handle_timeout(now, cool_down));
            self.follow(now, topic, edge);
        }
        self.forget(now);
    }

    // ---- what is to be done ------------------------------------------------------------------------------

    /// What is to be said.
    pub(crate) fn poll(&mut self) -> Option<(AlertStatus, AlertKind)> {
        self.said.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is wanted, by the monotonic clock.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        let pending = self.pending.first().map(|(at, _)| *at);
        let reconnects = self.reconnects.as_ref().and_then(Reconnects::next_deadline);
        [pending, reconnects, self.down_at()].into_iter().flatten().min()
    }

    /// When it is wanted by reading time.
    pub(crate) fn unmatched_over(&self) -> Option<Duration> {
        self.unmatched.and_then(|(_, last)| last.checked_add(UNMATCHED_OVER))
    }

    /// When [`handle_no_data`](Self::handle_no_data) is wanted, by reading time, should no data come.
    pub(crate) fn no_data_at(&self) -> Option<Duration> {
        self.no_data.iter().filter_map(|watch| watch.due(self.last_data)).min()
    }

    /// The kinds of those that are raised, by name, each once.
    pub(crate) fn raised(&self) -> Vec<&'static str> {
        self.raised.keys().copied().collect()
    }

    // ---- shared steps ------------------------------------------------------------------------------------

    /// That a process was stopped is known only after it went on: then reading time is less than it seemed to be.
    fn settle(&mut self, read: Duration) {
        self.last_data = self.last_data.min(read);
        self.no_data.iter_mut().for_each(|watch| watch.settle(read));
        if let Some((_, last)) = &mut self.unmatched {
            *last = read.min(*last);
        }
    }

    fn is_on(&self, topic: &Topic) -> bool {
        self.standing.get(topic).is_some_and(|standing| standing.alarm.is_on())
    }

    fn down_at(&self) -> Option<Instant> {
        let at = self.down_since?.checked_add(self.settings.down?);
        at.filter(|_| !self.is_on(&Topic::Down))
    }

    fn down(&self, now: Instant) -> AlertKind {
        let down = self.down_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since));
        AlertKind::Down { down, last: self.last_end.clone() }
    }

    fn judge_reconnects(&mut self, now: Instant) {
        let Some(reconnects) = &self.reconnects else { return };
        let on = reconnects.is_too_many();
        if on != self.is_on(&Topic::Reconnects) {
            let kind = reconnects.kind();
            self.set(now, Topic::Reconnects, on, kind);
        }
    }

    /// The figures of one that is raised late are those of then.
    fn refresh(&mut self, at: Moment, topic: &Topic) {
        let kind = match topic {
            Topic::Down => self.down(at.now),
            Topic::Reconnects => match &self.reconnects {
                Some(reconnects) => reconnects.kind(),
                None => return,
            },
            Topic::NoData(index) => match self.no_data.get(*index) {
                Some(watch) => no_data(watch, watch.age(at.read, self.last_data)),
                None => return,
            },
            _ => return,
        };
        if let Some(standing) = self.standing.get_mut(topic) {
            standing.kind = kind;
        }
    }

    /// It holds, or no longer, with these figures.
    fn set(&mut self, now: Instant, topic: Topic, on: bool, kind: AlertKind) {
        let standing = match self.standing.entry(topic.clone()) {
            Entry::Occupied(standing) => {
                let standing = standing.into_mut();
                standing.kind = kind;
                standing
            }
            Entry::Vacant(place) if on => {
                place.insert(Standing { alarm: Alarm::default(), kind, remembered: false })
            }
            Entry::Vacant(_) => return,
        };
        let cool_down = self.settings.cool_down;
        let before = standing.alarm.next_deadline(cool_down);
        let edge = standing.alarm.handle(now, on, cool_down);
        let after = standing.alarm.next_deadline(cool_down);
        if before != after {
            if let Some(at) = before {
                self.pending.remove(&(at, topic.clone()));
            }
            if let Some(at) = after {
                self.pending.insert((at, topic.clone()));
            }
        }
        if !on && !std::mem::replace(&mut standing.remembered, true) {
            self.remembered.push_back((now, topic.clone()));
        }
        self.follow(now, topic, edge);
    }

    /// It is over, with the figures that were last known.
    fn clear(&mut self, now: Instant, topic: &Topic) {
        if let Some(standing) = self.standing.get(topic).filter(|standing| standing.alarm.is_on()) {
            let kind = standing.kind.clone();
            self.set(now, topic.clone(), false, kind);
        }
    }

    /// Says what is to be said.
    fn follow(&mut self, now: Instant, topic: Topic, edge: Option<Edge>) {
        let Some(standing) = self.standing.get(&topic) else { return };
        let kind = &standing.kind;
        match edge {
            Some(Edge::Raised) => {
                *self.raised.entry(kind.name()).or_default() += 1;
                self.said.push_back((AlertStatus::Raised, kind.clone()));
                if let Topic::Unmatched = topic {
                    self.unmatched = self.unmatched.map(|(_, last)| (0, last));
                }
            }
            Some(Edge::Cleared) => {
                if let Some(count) = self.raised.get_mut(kind.name()) {
                    *count -= 1;
                    if *count == 0 {
                        self.raised.remove(kind.name());
                    }
                }
                self.said.push_back((AlertStatus::Cleared, kind.clone()));
                self.forget(now);
            }
            None => {}
        }
    }

    /// Forgets what is over and was raised long ago.
    fn forget(&mut self, now: Instant) {
        let cool_down = self.settings.cool_down;
        while let Some((at, _)) = self.remembered.front() {
            let excess = self.remembered.len() > REMEMBERED;
            if !excess && now.saturating_duration_since(*at) < cool_down {
                return;
            }
            let Some((_, topic)) = self.remembered.pop_front() else { return };
            let Some(standing) = self.standing.get_mut(&topic) else { continue };
            if standing.alarm.is_on() {
                standing.remembered = false;
            } else if excess || standing.alarm.is_cool(now, cool_down) {
                self.standing.remove(&topic);
            } else {
                self.remembered.push_back((now, topic));
            }
        }
    }
}

fn no_data(watch: &NoData, age: Duration) -> AlertKind {
    let limit = watch.limit();
    let hours = limit.hours.as_ref().map(|hours| hours.name.to_string());
    AlertKind::NoData { age, limit: limit.after, hours }
}

#[cfg(test)]
mod tests;
