//! `completions`: what shells need to complete the arguments.

use crate::exit::Outcome;
use clap_complete::Shell;
use std::io::{self, Write};

/// Prints a script that lets a shell complete the arguments
///
/// For bash: livefeed completions bash > ~/.local/share/bash-completion/completions/livefeed
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// For which shell
    #[arg(value_name = "SHELL", value_enum)]
    shell: Shell,
}

/// `command` is the whole of the command line.
pub(crate) fn main(args: &Args, mut command: clap::Command) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "livefeed", &mut script);
    // Nobody may be reading any more, which is no failure.
    let _ = io::stdout().write_all(&script);
    Ok(())
}
