//! Runs the program.

use std::process::{Command, Output};

/// The program with these arguments.
pub(crate) fn livefeed(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_livefeed"));
    command.args(args).env_remove("RUST_LOG");
    command
}

/// Runs it to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    livefeed(args).output().unwrap()
}
