//! The machine and the hours: as other ones begin, other limits hold.

use super::{Phase, Session};
use crate::clock::Stamp;
use crate::health::SubscriptionState;
use crate::policy::freshness::CONNECTION;
use std::time::Duration;

/// Hours are not looked at again sooner than this.
const AGAIN: Duration = Duration::from_millis(20);

impl Session {
    /// Looks whether other hours have begun. Nearly free while they have not: called before whatever depends on them.
    ///
    /// Hours go by the wall clock and deadlines by the monotonic one. If the wall clock is set, or the computer sleeps,
    /// the deadline is wrong until the next look; there is one at each `recv` and at each timer.
    pub(super) fn turn_hours(&mut self, now: Stamp) {
        let Some(at) = self.hours_at else { return };
        let turned = self.timetable.turn(now.wall);
        if turned || now.mono >= at {
            self.set_hours_deadline(now);
        }
        if !turned {
            return;
        }
        self.alarms_hours(now);
        if self.demand.turn(&self.timetable)
            && let Phase::Up(up) = &mut self.phase
        {
            let at = up.attention.attended(now.mono);
            up.freshness.turn(CONNECTION, self.demand.limits(up.last_data.is_none()), at);
        }
        for (key, entry) in self.subscriptions.iter_mut() {
            if !entry.demand.has_hours() || !entry.demand.turn(&self.timetable) {
                continue;
            }
            let Phase::Up(up) = &mut self.phase else { continue };
            let at = up.attention.attended(now.mono);
            if up.freshness.turn(key, entry.limits(), at) {
                // What it lacked is not owed any more.
                entry.stale = None;
                entry.patience = None;
                if entry.state == SubscriptionState::Stale {
                    entry.state = SubscriptionState::Confirmed;
                }
            }
        }
    }

    /// When to look again at the latest.
    pub(super) fn set_hours_deadline(&mut self, now: Stamp) {
        self.hours_at = self.timetable.next().map(|next| {
            let left = next.duration_since(now.wall).unwrap_or_default();
            // A clock that goes backwards again and again must not keep the threads busy.
            now.mono + left.max(AGAIN)
        });
    }

    /// What data comes next says nothing about the time before it.
    pub(super) fn demands_break(&mut self) {
        self.demand.handle_break();
        self.subscriptions.values_mut().for_each(|entry| entry.demand.handle_break());
    }
}
