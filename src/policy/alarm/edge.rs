//! One condition: said when it begins and when it is over, and not too often.

use std::time::{Duration, Instant};

/// What is to be said of a condition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Edge {
    Raised,
    Cleared,
}

/// Whether a condition holds, and whether that was said. After it was said it is not said again for the cool-down; if
/// it holds by then, it is said at that time.
#[derive(Debug, Clone, Default)]
pub(crate) struct Alarm {
    on: bool,
    raised: bool,
    /// When it was last raised.
    raised_at: Option<Instant>,
}

impl Alarm {
    /// The condition holds from `now` on, or no longer.
    pub(crate) fn handle(&mut self, now: Instant, on: bool, cool_down: Duration) -> Option<Edge> {
        self.on = on;
        match (self.raised, on) {
            (false, true) if self.is_cool(now, cool_down) => {
                self.raised = true;
                self.raised_at = Some(now);
                Some(Edge::Raised)
            }
            (true, false) => {
                self.raised = false;
                Some(Edge::Cleared)
            }
            _ => None,
        }
    }

    /// Time passed.
    pub(crate) fn handle_timeout(&mut self, now: Instant, cool_down: Duration) -> Option<Edge> {
        self.handle(now, self.on, cool_down)
    }

    /// When it is to be raised, if it holds until then.
    pub(crate) fn next_deadline(&self, cool_down: Duration) -> Option<Instant> {
        if self.on && !self.raised { self.raised_at?.checked_add(cool_down) } else { None }
    }

    /// Whether the condition holds.
    pub(crate) fn is_on(&self) -> bool {
        self.on
    }

    /// Whether it was raised, and is not over.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised
    }

    /// Whether it may be raised.
    pub(crate) fn is_cool(&self, now: Instant, cool_down: Duration) -> bool {
        self.raised_at.is_none_or(|at| now.saturating_duration_since(at) >= cool_down)
    }
}
