//! The monitor, asked over real sockets, by friends and by others.
#![allow(clippy::disallowed_methods, reason = "tests may read clocks and connect")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

mod common;
mod health;
mod hostile;
mod http;
