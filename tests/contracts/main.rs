//! One named test for each contract of the design, on real sockets against the lab.
//!
//! What can be decided in virtual time is tested beside the policies; here the whole feed is.
#![allow(clippy::disallowed_methods, reason = "tests may read clocks")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "nobody uses a test")]

mod alerts;
mod closing;
mod codecs;
mod common;
mod continuity;
mod delivery;
mod drops;
mod failover;
mod found;
mod frames;
mod freshness;
mod login;
mod login_refused;
mod notices;
mod observe;
mod pacing;
mod parting;
mod proto;
mod reading;
mod recovery;
mod request;
mod set;
mod subscriptions;
mod trust;
mod watch;
