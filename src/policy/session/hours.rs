//! The machine and the hours: as other ones begin, other limits hold.

use super::{Phase, Session};
use crate::clock::Stamp;
use crate::health::SubscriptionState;
use crate::policy::freshness::CONNECTION;
use std::time::Duration;

/// Hours are not looked at again sooner than this.
const AGAIN: Duration = Duration::from_millis(5);

/// If the clock was set, or the computer slept, so that hours begin sooner than by so much, the deadline is set anew. One
/// that is only slewed wakes nobody each time.
const APART: Duration = Duration::from_millis(5);

impl Session {
    /// Looks whether other hours have begun. Nearly free while they have not: called before whatever depends on them.
    ///
    /// Hours go by the wall clock and deadlines by the monotonic one. If the wall clock is set, or the computer sleeps,
    /// the deadline is wrong until the next look; there is one at each `recv` and at each timer.
    pub(super) fn turn_hours(&mut self, now: Stamp) {
        let Some(at) = self.hours_at else { return };
        // Clocks are read before the lock is taken: a time that was read before they turned does not turn them back.
        if now.mono < self.hours_turned {
            return;
        }
        let turned = self.timetable.turn(now.wall);
        if turned || now.mono >= at || self.hours_left(now).is_some_and(|left| now.mono + left + APART < at) {
            self.set_hours_deadline(now);
        }
        if !turned {
            return;
        }
        self.hours_turned = now.mono;
        self.alarms_hours(now);
        if self.demand.turn(&self.timetable)
            && let Phase::Up(up) = &mut self.phase
        {
            let at = up.attention.attended(now.mono);
            up.freshness.turn(CONNECTION, self.demand.limits(up.last_data.is_none()), None, at);
        }
        for (key, entry) in self.subscriptions.iter_mut() {
            if !entry.demand.has_hours() || !entry.demand.turn(&self.timetable) {
                continue;
            }
            let Phase::Up(up) = &mut self.phase else { continue };
            let at = up.attention.attended(now.mono);
            if up.freshness.turn(key, entry.limits(), entry.stale, at) {
                // What it lacked is not owed any more.
                entry.stale = None;
                entry.patience = None;
                if entry.state == SubscriptionState::Stale {
                    let asked = entry.made_again.max(Some(up.since));
                    let fed = entry.last_data.is_some_and(|data| Some(data.mono) >= asked);
                    entry.state = if fed { SubscriptionState::Live } else { SubscriptionState::Confirmed };
                }
            }
        }
    }

    /// When to look again at the latest.
    pub(super) fn set_hours_deadline(&mut self, now: Stamp) {
        // A clock that goes backwards again and again must not keep the threads busy.
        self.hours_at = self.hours_left(now).map(|left| now.mono + left.max(AGAIN));
    }

    /// How long these hours last by the wall clock.
    fn hours_left(&self, now: Stamp) -> Option<Duration> {
        Some(self.timetable.next()?.duration_since(now.wall).unwrap_or_default())
    }

    /// What data comes next says nothing about the time before it.
    pub(super) fn demands_break(&mut self) {
        self.demand.handle_break();
        self.subscriptions.values_mut().for_each(|entry| entry.demand.handle_break());
    }
}
