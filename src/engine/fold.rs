//! Folds a run of lifecycle events, with no message among them, that nobody has read.

use super::queue::join;
use crate::event::{Alert, AlertKind, Disconnected, Event, Gap, GapCause};
use crate::message::SubscriptionId;
use std::collections::HashMap;

/// Of several ends one is left, which counts them; of what came between only losses and alerts. No data came
/// between, so the gap of the next connection covers the connections that are gone. What is said twice of the same
/// subscription, or raised twice about the same thing, is said once.
pub(super) fn run(events: Vec<Event>) -> Vec<Event> {
    let is_end = |event: &Event| matches!(event, Event::Disconnected(_));
    let (first, last) = (events.iter().position(is_end), events.iter().rposition(is_end));
    let (Some(first), Some(last)) = (first, last) else { return once(events) };
    let mut before = Vec::new();
    let mut after = Vec::new();
    let mut end: Option<Box<Disconnected>> = None;
    for (at, event) in events.into_iter().enumerate() {
        match event {
            Event::Disconnected(mut later) => {
                if let Some(earlier) = &end {
                    later.attempts = later.attempts.saturating_add(earlier.attempts);
                    if earlier.was_connected {
                        // The one whose `Connected` stands before it in the stream.
                        later.epoch = later.epoch.min(earlier.epoch);
                        later.was_connected = true;
                    }
                }
                end = Some(later);
            }
            event if at < first => before.push(event),
            event if at > last => after.push(event),
            Event::Gap(gap) if gap.cause == GapCause::Overflow => before.push(Event::Gap(gap)),
            Event::Alert(alert) => before.push(Event::Alert(alert)),
            _ => {}
        }
    }
    let mut folded = once(before);
    folded.extend(end.map(Event::Disconnected));
    // An alert that is raised again after the end is not raised before it too.
    let again = |event: &Event| match event {
        Event::Alert(old) => {
            after.iter().any(|new| matches!(new, Event::Alert(new) if subject(new) == subject(old)))
        }
        _ => false,
    };
    folded.retain(|event| !again(event));
    folded.extend(once(after));
    folded
}

/// What an alert is about: of several about the same the newest will do.
fn subject(alert: &Alert) -> (&'static str, &str) {
    let about = match &alert.kind {
        AlertKind::CallbackPanicked { callback, .. } => callback,
        AlertKind::SubscribeFailed { subscription, .. } => subscription.as_str(),
        AlertKind::SlowConsumer { .. } | AlertKind::NeedsAttention { .. } => "",
    };
    (alert.kind.name(), about)
}

/// Leaves of each kind about the same the newest, and one gap of what the queue dropped.
fn once(events: Vec<Event>) -> Vec<Event> {
    let mut slots: Vec<Option<Event>> = Vec::with_capacity(events.len());
    let mut subscribed: HashMap<SubscriptionId, usize> = HashMap::new();
    let mut resubscribed: HashMap<SubscriptionId, usize> = HashMap::new();
    let mut alerts: HashMap<(&'static str, String), usize> = HashMap::new();
    let mut overflow: Option<usize> = None;
    for mut event in events {
        let place = slots.len();
        let earlier = match &mut event {
            Event::Subscribed(e) => subscribed.insert(e.subscription.clone(), place),
            Event::Alert(e) => {
                let (kind, about) = subject(e);
                alerts.insert((kind, about.to_owned()), place)
            }
            Event::Gap(gap) if gap.cause == GapCause::Resubscribed && gap.subscriptions.len() == 1 => {
                let earlier = resubscribed.insert(gap.subscriptions[0].clone(), place);
                if let Some(Event::Gap(old)) = earlier.and_then(|at| slots[at].as_ref()) {
                    gap.last_message = old.last_message; // none came since
                }
                earlier
            }
            Event::Gap(gap) if gap.cause == GapCause::Overflow => match overflow {
                Some(at) => {
                    merge(&mut slots, at, gap);
                    continue;
                }
                None => {
                    overflow = Some(place);
                    None
                }
            },
            _ => None,
        };
        if let Some(at) = earlier {
            slots[at] = None;
        }
        slots.push(Some(event));
    }
    slots.into_iter().flatten().collect()
}

fn merge(slots: &mut [Option<Event>], at: usize, next: &Gap) {
    if let Some(Some(Event::Gap(gap))) = slots.get_mut(at) {
        join(gap, next);
    }
}
