//! What the messages of one cycle say of a subscription's data, beside that it came.

use super::freshness::Key;

/// For a subscription with a rule on event time or on frozen values: once for each cycle that brought it data.
///
/// A cycle is timely if one of its messages was, and advanced if one of them was. What can't be told, because a
/// message lacks the field, is neither: so a rule that looks for the wrong field is no rule that is silently met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark {
    pub(crate) key: Key,
    /// A message was not older than it may be. Always without a rule on event time ([`Want::late`]).
    ///
    /// [`Want::late`]: super::subscriptions::Want::late
    pub(crate) timely: bool,
    /// A message had another value than the one before it, on whichever connection. Always without a rule on frozen
    /// values ([`Want::frozen`]).
    ///
    /// [`Want::frozen`]: super::subscriptions::Want::frozen
    pub(crate) advanced: bool,
    /// How far the last time that was read lagged behind the clock here, in nanoseconds, `skew` added on: 0 at least.
    /// Negative if it lay further ahead than a clock may be. `None`: no message of the cycle told.
    pub(crate) lag: Option<i64>,
    /// How far the server's clock seems to be ahead, in nanoseconds; 0: it does not seem so.
    pub(crate) skew: i64,
}
