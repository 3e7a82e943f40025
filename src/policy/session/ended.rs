//! The machine at the end of a connection or an attempt: what is said, and what comes next.

use super::up::Up;
use super::{Action, Detour, Outcome, Phase, Session};
use crate::clock::Stamp;
use crate::error::{CloseReason, EndReason};
use crate::event::{AlertKind, Closed, Disconnected, Event};
use crate::policy::quarantine;
use crate::policy::verdict::Decision;
use std::time::{Duration, Instant};

impl Session {
    /// The reason that will be given if the connection or attempt ends now, as `found` by the reader: a local
    /// shutdown looks like an end of file, so what was decided here goes first.
    pub(crate) fn end_reason(&self, found: EndReason) -> EndReason {
        match &self.phase {
            Phase::Up(up) => up.ending.clone().unwrap_or(found),
            _ => found,
        }
    }

    /// Whether there ever was a connection.
    pub(crate) fn ever_up(&self) -> bool {
        self.epoch > 0
    }

    /// Attempts and connections in a row that delivered no data, the present one not counted.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// How the last connection or attempt ended.
    pub(crate) fn last_end(&self) -> Option<&EndReason> {
        self.last_end.as_ref()
    }

    /// How long there has been no connection.
    pub(crate) fn down(&self, now: Instant) -> Duration {
        if self.is_up() { Duration::ZERO } else { now.saturating_duration_since(self.down_since) }
    }

    /// The connection or the attempt is over: called last, by the reader. `reason` is what
    /// [`Self::end_reason`] gave, `decision` what the policy makes of it.
    pub(crate) fn handle_ended(&mut self, now: Stamp, reason: EndReason, decision: Decision) {
        let up = match std::mem::replace(&mut self.phase, Phase::Dialing) {
            Phase::Up(up) => Some(up),
            Phase::Dialing => None,
            other => {
                self.phase = other;
                return;
            }
        };
        let was_connected = up.is_some();
        self.alarms_left(up.as_ref().map_or(Duration::ZERO, |up| up.attention.away(now.mono)));
        let epoch = if was_connected { self.epoch } else { self.epoch + 1 };
        for ticket in self.outbox.clear() {
            self.outcomes.push_back((ticket, Outcome::Dropped { epoch }));
        }
        self.subscriptions.reset();
        self.ladder.handle_ended();
        let mut found = false;
        if let Some(up) = &up {
            let lasted = now.mono.saturating_duration_since(up.since);
            let by_server = quarantine::hung_up(&reason) || matches!(reason, EndReason::ServerError { .. });
            if let Some((key, times)) = up.accused
                && self.quarantine.sentence(key, now.mono, times)
            {
                self.alarms_quarantined(now, key, times);
            }
            // The first time is no pattern: all are replayed at once.
            let pattern = self.hang_ups > 0 || self.quarantine.has_doubts();
            let soon = by_server && lasted < quarantine::PROBATION;
            self.hang_ups = if soon { self.hang_ups.saturating_add(1) } else { 0 };
            let quarantined = self.quarantine.ended(now.mono, by_server && pattern);
            found = !quarantined.is_empty();
            for (key, ends) in quarantined {
                self.alarms_quarantined(now, key, ends);
            }
        }
        let got_data = up.as_ref().is_some_and(|up| up.last_data.is_some());
        let asked_for = matches!(reason, EndReason::Reconnect | EndReason::ServerNotice { .. });
        let detour = self.detour == Detour::Now;
        if detour {
            self.detour = Detour::None;
        }
        if std::mem::take(&mut self.switch) || !(got_data || asked_for || detour) {
            self.endpoint = (self.endpoint + 1) % self.settings.endpoints.max(1);
        }
        let decision = match decision {
            _ if up.as_ref().is_some_and(|up| up.fatal) => Decision::Fatal,
            // That they want nothing of us there is no reason to keep away from the endpoints.
            Decision::RetrySlowly if detour && !was_connected => Decision::Retry,
            decision => decision,
        };
        let mut good = asked_for;
        if let Some(up) = &up {
            self.down_since = now.mono;
            let ended_stale = matches!(reason, EndReason::Stale { .. }) && !up.witnessed;
            // Once it is known why the server hangs up, the others need not wait for that. Each time takes longer to come:
            // what is quarantined is not asked for again before its term is over, and that doubles.
            if found || self.is_stable(now, up, ended_stale) {
                self.backoff.reset();
            }
            // Whatever delivered data was no failure; only the delays remember how it ended.
            if up.last_data.is_some() {
                self.failures = 0;
                good = true;
            }
        }
        if self.closing.is_some() {
            if was_connected {
                self.disconnected(now, epoch, true, reason, None);
            }
            self.finish(now);
            return;
        }
        if !good {
            self.failures = self.failures.saturating_add(1);
        }
        self.last_end = Some(reason.clone());
        let exhausted = self.settings.max_attempts.is_some_and(|max| !good && self.failures >= max);
        if decision == Decision::Fatal || exhausted {
            self.disconnected(now, epoch, was_connected, reason.clone(), None);
            self.closing = Some(if decision == Decision::Fatal {
                CloseReason::Fatal(reason)
            } else {
                CloseReason::AttemptsExhausted { attempts: self.failures, last: reason }
            });
            self.finish(now);
            return;
        }
        let retry_after = match &reason {
            EndReason::UpgradeRefused { retry_after, .. } => *retry_after,
            _ => None,
        };
        // A server that sends everybody away at once, each time, is not hammered.
        let notice = matches!(reason, EndReason::ServerNotice { .. });
        let hasty = notice && !up.is_some_and(|up| self.is_stable(now, &up, false));
        self.hasty = if hasty { self.hasty.saturating_add(1) } else { 0 };
        let welcome = notice && self.hasty <= 1;
        let delay = match decision {
            _ if reason == EndReason::Reconnect || welcome => self.backoff.soon(),
            Decision::RetrySlowly => {
                self.alert(now, AlertKind::NeedsAttention { reason: reason.clone() });
                self.backoff.longest(retry_after)
            }
            // Once: a server that says so each time is not hammered.
            Decision::RetryNow if self.failures <= 1 && retry_after.is_none() => self.backoff.soon(),
            Decision::RetryAfter(asked) => self.backoff.next(retry_after.max(Some(asked))),
            Decision::Retry | Decision::RetryNow | Decision::Fatal => self.backoff.next(retry_after),
        };
        self.disconnected(now, epoch, was_connected, reason, Some(delay));
        self.phase = Phase::Waiting { until: now.mono + delay };
    }

    /// The attempt that was ordered is not to be made yet: it does not count, and is ordered again at `until`.
    pub(crate) fn handle_dial_deferred(&mut self, now: Stamp, until: Instant) {
        if !matches!(self.phase, Phase::Dialing) {
            return;
        }
        if self.closing.is_some() {
            self.finish(now);
            return;
        }
        self.attempt = self.attempt.saturating_sub(1);
        self.phase = Phase::Waiting { until: until.max(now.mono + self.backoff.floor()) };
    }

    /// A thread of the feed panicked: nothing can go on, and that is said.
    pub(crate) fn handle_panic(&mut self, now: Stamp, detail: String) {
        if self.closed().is_some() {
            return;
        }
        let reason = EndReason::Panicked { detail };
        for ticket in self.outbox.clear() {
            self.outcomes.push_back((ticket, Outcome::Dropped { epoch: self.epoch }));
        }
        if self.is_up() {
            self.disconnected(now, self.epoch, true, reason.clone(), None);
        }
        self.closing = Some(CloseReason::Fatal(reason));
        self.finish(now);
    }

    /// Says the last word.
    pub(super) fn finish(&mut self, now: Stamp) {
        let reason = self.closing.clone().unwrap_or(CloseReason::ByUser);
        let closed = Closed { time: now.wall, epoch: self.epoch, reason: reason.clone() };
        self.events.push_back(Event::Closed(Box::new(closed)));
        self.phase = Phase::Closed(reason);
        self.actions.push_back(Action::Exit);
    }

    /// Whether the connection was one to go on from.
    fn is_stable(&self, now: Stamp, up: &Up, ended_stale: bool) -> bool {
        let lasted = now.mono.saturating_duration_since(up.since);
        self.backoff.is_stable(lasted, up.last_data.is_some(), ended_stale)
    }

    fn disconnected(
        &mut self,
        now: Stamp,
        epoch: u64,
        was_connected: bool,
        reason: EndReason,
        retry_in: Option<Duration>,
    ) {
        *self.totals.ends.entry(reason.name()).or_default() += 1;
        self.events.push_back(Event::Disconnected(Box::new(Disconnected {
            time: now.wall,
            epoch,
            was_connected,
            reason: reason.clone(),
            attempts: 1,
            retry_in,
        })));
        self.alarms_ended(now, was_connected, &reason);
    }
}
