//! What to do when. Pure: no I/O, no threads, no clock readings, no entropy; `now` and seeds come in as values.
//!
//! [`session`] composes the others into the one state machine of a feed. It has four families of methods:
//! `handle_*(now, ..)` for what happened, `handle_timeout(now)` for time that passed, `poll_*()` for what is
//! to be done about it, and `next_deadline()`. A late or repeated timeout is a no-op.

#![allow(dead_code, reason = "the engine takes up the rest next")]

pub(crate) mod adaptive;
pub(crate) mod alarm;
pub(crate) mod approach;
pub(crate) mod attention;
pub(crate) mod backoff;
pub(crate) mod deadlines;
pub(crate) mod demand;
pub(crate) mod freshness;
pub(crate) mod heartbeat;
pub(crate) mod hours;
pub(crate) mod ladder;
pub(crate) mod ledger;
pub(crate) mod liveness;
pub(crate) mod mark;
pub(crate) mod outbox;
pub(crate) mod pacing;
pub(crate) mod parting;
pub(crate) mod pulse;
pub(crate) mod quarantine;
pub(crate) mod schedule;
pub(crate) mod session;
pub(crate) mod subscriptions;
pub(crate) mod trip;
pub(crate) mod verdict;
