//! Folds a run of lifecycle events that nobody has read, with no message among them, and the gaps of what was dropped.

use crate::event::{AlertKind, AlertStatus, Disconnected, Event, Gap, GapCause, Repair};
use crate::message::{Message, SubscriptionId};
use std::collections::HashMap;
use std::time::{Duration, SystemTime};

/// A gap names at most this many subscriptions; with more it stands for all.
const NAMED: usize = 64;

/// What an event is about, if a newer one about the same replaces it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Subject<'a> {
    /// What was raised and what was cleared both stay.
    Alert(AlertStatus, About<'a>),
    Subscribed(u64, &'a SubscriptionId),
    Refused(u64, &'a SubscriptionId),
    Ended(u64, &'a SubscriptionId),
    Stale(u64, Option<&'a SubscriptionId>, Repair),
    Sequence(u64, Option<&'a SubscriptionId>),
    Resubscribed(u64, &'a SubscriptionId),
}

/// What an alert is about.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum About<'a> {
    SlowConsumer,
    NeedsAttention,
    CallbackPanicked(&'static str),
    SubscribeFailed(&'a SubscriptionId),
    SubscriptionRefused(&'a SubscriptionId),
    SubscriptionStale(&'a SubscriptionId),
    Quarantined(&'a SubscriptionId),
    Notice,
    Reconnects,
    NoData(Duration, Option<&'a str>),
    Down,
    LimitAtCeiling(Option<&'a SubscriptionId>),
    Unmatched,
    CountersForgotten,
    NothingFound(Option<&'a SubscriptionId>, &'a str),
    TemplateFailed(&'static str),
}

impl<'a> Subject<'a> {
    pub(super) fn of(event: &'a Event) -> Option<Self> {
        match event {
            Event::Alert(alert) => Some(Self::Alert(alert.status, About::of(&alert.kind))),
            Event::Subscribed(event) => Some(Self::Subscribed(event.epoch, &event.subscription)),
            Event::Refused(event) => Some(Self::Refused(event.epoch, &event.subscription)),
            Event::Ended(event) => Some(Self::Ended(event.epoch, &event.subscription)),
            Event::Stale(event) => Some(Self::Stale(event.epoch, event.subscription.as_ref(), event.next)),
            Event::Gap(gap) if gap.cause == GapCause::Sequence => match gap.subscriptions.as_slice() {
                [] => Some(Self::Sequence(gap.epoch, None)),
                [one] => Some(Self::Sequence(gap.epoch, Some(one))),
                _ => None,
            },
            Event::Gap(gap) if gap.cause == GapCause::Resubscribed => match gap.subscriptions.as_slice() {
                [one] => Some(Self::Resubscribed(gap.epoch, one)),
                _ => None,
            },
            _ => None,
        }
    }
}

impl<'a> About<'a> {
    fn of(kind: &'a AlertKind) -> Self {
        match kind {
            AlertKind::SlowConsumer { .. } => Self::SlowConsumer,
            AlertKind::NeedsAttention { .. } => Self::NeedsAttention,
            AlertKind::CallbackPanicked { callback, .. } => Self::CallbackPanicked(callback),
            AlertKind::SubscribeFailed { subscription, .. } => Self::SubscribeFailed(subscription),
            AlertKind::SubscriptionRefused { subscription, .. } => Self::SubscriptionRefused(subscription),
            AlertKind::SubscriptionStale { subscription, .. } => Self::SubscriptionStale(subscription),
            AlertKind::Quarantined { subscription, .. } => Self::Quarantined(subscription),
            AlertKind::Notice { .. } => Self::Notice,
            AlertKind::Reconnects { .. } => Self::Reconnects,
            AlertKind::NoData { limit, hours, .. } => Self::NoData(*limit, hours.as_deref()),
            AlertKind::Down { .. } => Self::Down,
            AlertKind::LimitAtCeiling { subscription, .. } => Self::LimitAtCeiling(subscription.as_ref()),
            AlertKind::Unmatched { .. } => Self::Unmatched,
            AlertKind::CountersForgotten { .. } => Self::CountersForgotten,
            AlertKind::NothingFound { subscription, field, .. } => {
                Self::NothingFound(subscription.as_ref(), field)
            }
            AlertKind::TemplateFailed { what, .. } => Self::TemplateFailed(what),
        }
    }
}

/// Folds a run: its ends become one, in the place of the last; of each subject the newest stays; what was lost is
/// counted once on each side of the end.
pub(super) fn fold(run: Vec<Event>) -> Vec<Event> {
    if run.len() < 2 {
        return run;
    }
    let first = run.iter().position(is_disconnected).unwrap_or(run.len());
    let last = run.iter().rposition(is_disconnected).unwrap_or(0);
    let mut folded: Vec<Event> = Vec::with_capacity(run.len());
    let mut end: Option<Box<Disconnected>> = None;
    // Where the overflow gap on this side of the end stands.
    let mut lost: Option<usize> = None;
    for (at, event) in run.into_iter().enumerate() {
        let between = first < at && at < last;
        match event {
            Event::Disconnected(mut new) => {
                if let Some(old) = end.take() {
                    merge(&mut new, &old);
                }
                if at < last {
                    end = Some(new);
                    continue;
                }
                // What was lost on connections that are no longer told of counts for the one that is.
                if let Some(Event::Gap(gap)) = lost.take().and_then(|at| folded.get_mut(at))
                    && new.was_connected
                {
                    gap.epoch = gap.epoch.min(new.epoch);
                }
                folded.push(Event::Disconnected(new));
            }
            Event::Gap(gap) if gap.cause == GapCause::Overflow => {
                if let Some(Event::Gap(before)) = lost.and_then(|at| folded.get_mut(at)) {
                    join(before, &gap);
                } else {
                    lost = Some(folded.len());
                    folded.push(Event::Gap(gap));
                }
            }
            // No data came between that is still there, so the gap of the next connection covers these.
            Event::Connecting(_)
            | Event::Connected(_)
            | Event::Subscribed(_)
            | Event::Refused(_)
            | Event::Ended(_)
            | Event::Stale(_)
            | Event::Gap(_)
                if between => {}
            other => folded.push(other),
        }
    }
    keep_newest(&mut folded);
    folded
}

/// Of each subject keeps the newest event; a gap begins where the oldest began.
pub(super) fn keep_newest(run: &mut Vec<Event>) {
    let mut newest: HashMap<Subject<'_>, usize> = HashMap::new();
    let mut keep = vec![true; run.len()];
    let mut olders: Vec<(usize, Older)> = Vec::new();
    for (at, event) in run.iter().enumerate().rev() {
        let Some(subject) = Subject::of(event) else { continue };
        let newest = *newest.entry(subject).or_insert(at);
        if newest != at {
            if let Some(keep) = keep.get_mut(at) {
                *keep = false;
            }
            if let Event::Gap(gap) = event {
                olders.push((newest, Older::from(&**gap)));
            }
        }
    }
    for (at, older) in olders {
        if let Some(Event::Gap(gap)) = run.get_mut(at) {
            older.into_newer(gap);
        }
    }
    let mut keep = keep.into_iter();
    run.retain(|_| keep.next().unwrap_or(true));
}

/// What a gap takes over from an older one of the same subject that it replaces.
pub(super) struct Older {
    last_message: Option<SystemTime>,
    from: Option<u64>,
    lost: Option<u64>,
}

impl From<&Gap> for Older {
    fn from(gap: &Gap) -> Self {
        Self { last_message: gap.last_message, from: gap.from, lost: gap.lost }
    }
}

impl Older {
    /// The newer one begins where this one began; what both lost is known only if each knew.
    pub(super) fn into_newer(self, gap: &mut Gap) {
        gap.last_message = self.last_message;
        gap.from = self.from;
        gap.lost = self.lost.zip(gap.lost).map(|(old, new)| old.saturating_add(new));
    }
}

/// An older end becomes part of a newer one.
pub(super) fn merge(new: &mut Disconnected, old: &Disconnected) {
    new.attempts = new.attempts.saturating_add(old.attempts);
    if old.was_connected {
        // The one whose `Connected` stands before it in the stream.
        new.epoch = new.epoch.min(old.epoch);
        new.was_connected = true;
    }
}

pub(super) fn is_message(event: &Event) -> bool {
    matches!(event, Event::Message(_))
}

pub(super) fn is_disconnected(event: &Event) -> bool {
    matches!(event, Event::Disconnected(_))
}

pub(super) fn message_time(event: &Event) -> Option<SystemTime> {
    match event {
        Event::Message(message) => Some(message.time()),
        _ => None,
    }
}

pub(super) fn overflow_gap(first: &Message, last_message: Option<SystemTime>) -> Box<Gap> {
    Box::new(Gap {
        time: first.time(),
        epoch: first.epoch(),
        cause: GapCause::Overflow,
        subscriptions: first.subscriptions().to_vec(),
        last_message,
        lost: Some(1),
        from: None,
        to: None,
    })
}

/// One more message fell into the gap.
pub(super) fn widen(gap: &mut Gap, message: &Message) {
    gap.lost = gap.lost.map(|lost| lost + 1);
    name(gap, message.subscriptions());
}

/// A neighbouring gap joins it.
pub(super) fn join(gap: &mut Gap, next: &Gap) {
    gap.lost = gap.lost.zip(next.lost).map(|(a, b)| a + b);
    if next.subscriptions.is_empty() {
        gap.subscriptions.clear();
    } else {
        name(gap, &next.subscriptions);
    }
}

/// Adds the names of what the gap affects; none at all stands for everything.
pub(super) fn name(gap: &mut Gap, affected: &[SubscriptionId]) {
    if gap.subscriptions.is_empty() {
        return;
    }
    if affected.is_empty() {
        gap.subscriptions.clear();
        return;
    }
    for id in affected {
        if !gap.subscriptions.contains(id) {
            gap.subscriptions.push(id.clone());
        }
    }
    if gap.subscriptions.len() > NAMED {
        gap.subscriptions.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Alert;

    #[test]
    fn of_what_was_raised_and_cleared_the_newest_of_each_stays() {
        let day = Duration::from_secs(86_400);
        let told = |status, age: u32, limit| {
            let kind = AlertKind::NoData { age: age * day, limit, hours: None };
            Event::Alert(Box::new(Alert { time: SystemTime::UNIX_EPOCH, epoch: 1, status, kind }))
        };
        let round = |age| {
            [
                told(AlertStatus::Raised, age, day),
                told(AlertStatus::Raised, age, 2 * day),
                told(AlertStatus::Cleared, age, day),
            ]
        };
        let shown = |events: &[Event]| format!("{events:?}");
        let folded = fold((0..100).flat_map(round).collect());
        assert_eq!(shown(&folded), shown(&round(99)));
    }
}
