//! The program, run against the lab: standard output, standard error and exit status.

mod check;
mod common;
mod config_schema;
mod probe;
mod run;
mod schema;
mod scratch;
mod tail;
