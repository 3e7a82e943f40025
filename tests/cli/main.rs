//! The program, run against the lab: standard output, standard error and exit status.

mod common;
mod tail;
