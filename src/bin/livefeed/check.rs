//! `check`: what is wrong with a configuration, or what it says with everything filled in.

use crate::conf;
use crate::exit::{Failure, Outcome};
use std::io::{self, Write};
use std::path::PathBuf;

/// Checks a configuration file, and prints it as JSON with everything filled in and secrets left out
///
/// What is wrong is said with the line and the path of the field, and the exit status is then 2. Nothing is connected
/// to; files that the configuration names are read. Secrets are left out, but for one in the path of a URL, which can't be
/// told from a path.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  livefeed check feeds.toml
  livefeed schema --preset kraken-v2 | livefeed check -q -")]
pub(crate) struct Args {
    /// What `run` would be given: a file in TOML or JSON; `-` is standard input
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// Print nothing if it is right
    #[arg(short, long)]
    quiet: bool,
}

pub(crate) fn main(args: Args) -> Outcome {
    let config = conf::read(&args.config)?;
    if args.quiet {
        return Ok(());
    }
    let shown = serde_json::to_string_pretty(&config.effective());
    let shown =
        shown.map_err(|error| Failure::failed(format!("the configuration can't be shown: {error}")))?;
    // Nobody may be reading any more, which is no failure.
    let _ = writeln!(io::stdout(), "{shown}");
    Ok(())
}
