//! The program, run against the lab: standard output, standard error and exit status.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that can't go on fails")]
#![allow(clippy::disallowed_methods, reason = "a test reads clocks")]

mod check;
mod common;
mod completions;
mod config_schema;
mod ends;
mod lab;
mod probe;
mod record;
mod run;
mod running;
mod schema;
mod scratch;
mod tail;
mod terminal;
