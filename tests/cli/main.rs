//! The program, run against the lab: standard output, standard error and exit status.

mod check;
mod common;
mod probe;
mod schema;
mod scratch;
mod tail;
