//! What may stand after what in the stream of events.

use super::*;
use crate::event::{Alert, AlertStatus};
use std::collections::BTreeSet;

/// Checks the grammar of the event stream as it goes.
#[derive(Default)]
pub(super) struct Grammar {
    epoch: u64,
    up: bool,
    /// `Connected` of a later epoch was said; its gap must be next.
    gap_due: bool,
    closed: bool,
    raised: BTreeSet<String>,
}

/// What an alert is about.
fn topic(alert: &Alert) -> String {
    let about = match &alert.kind {
        AlertKind::SubscriptionRefused { subscription, .. }
        | AlertKind::SubscriptionStale { subscription, .. }
        | AlertKind::SubscribeFailed { subscription, .. }
        | AlertKind::Quarantined { subscription, .. } => Some(subscription.as_str()),
        AlertKind::LimitAtCeiling { subscription, .. } => subscription.as_ref().map(|id| id.as_str()),
        AlertKind::NoData { hours, .. } => hours.as_deref(),
        _ => None,
    };
    format!("{} {}", alert.kind.name(), about.unwrap_or_default())
}

impl Grammar {
    pub(super) fn check(&mut self, event: &Event) {
        assert!(!self.closed, "after Closed: {event:?}");
        if std::mem::take(&mut self.gap_due) {
            let Event::Gap(gap) = event else { panic!("not the gap of the reconnect: {event:?}") };
            assert!(matches!(gap.cause, GapCause::Reconnected | GapCause::EndpointSwitched));
            assert_eq!(gap.epoch, self.epoch);
        }
        match event {
            Event::Connecting(e) => {
                assert!(!self.up);
                assert_eq!(e.epoch, self.epoch + 1);
            }
            Event::Connected(e) => {
                assert!(!self.up);
                assert_eq!(e.epoch, self.epoch + 1);
                self.epoch = e.epoch;
                self.up = true;
                self.gap_due = e.epoch > 1;
            }
            Event::Disconnected(e) => {
                assert_eq!(e.was_connected, self.up);
                assert_eq!(e.epoch, if self.up { self.epoch } else { self.epoch + 1 });
                if let Some(delay) = e.retry_in {
                    assert!(delay >= 100 * MS, "{delay:?}");
                }
                self.up = false;
            }
            Event::Stale(e) => {
                assert!(self.up && e.age >= e.limit);
            }
            Event::Subscribed(e) => assert!(self.up && e.epoch == self.epoch),
            Event::Refused(e) => assert!(self.up && e.epoch == self.epoch),
            Event::Ended(e) => assert!(self.up && e.epoch == self.epoch),
            Event::Closed(_) => {
                assert!(!self.up);
                self.closed = true;
            }
            Event::Alert(alert) => match alert.status {
                AlertStatus::Raised => assert!(self.raised.insert(topic(alert)), "{alert:?} twice"),
                AlertStatus::Cleared => assert!(self.raised.remove(&topic(alert)), "{alert:?}: not raised"),
                AlertStatus::Happened => {}
            },
            Event::Message(_) | Event::Gap(_) => {}
        }
    }
}
