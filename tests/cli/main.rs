//! The program, run against the lab: standard output, standard error and exit status.

mod check;
mod common;
mod run;
mod scratch;
mod tail;
