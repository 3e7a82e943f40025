//! The program, run against the lab: standard output, standard error and exit status.

mod check;
mod common;
mod record;
mod running;
mod scratch;
mod tail;
