//! The program, run against the lab: standard output, standard error and exit status.

mod check;
mod common;
mod lab;
mod probe;
mod record;
mod running;
mod schema;
mod scratch;
mod tail;
