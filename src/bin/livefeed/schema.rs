//! `schema`: the JSON Schema of the configuration.

use crate::exit::Outcome;
use std::io::{self, Write};

/// The schema, as it is kept in the repository. Tests keep it true.
const SCHEMA: &str = include_str!("../../../schema/config.schema.json");

/// Prints the JSON Schema (draft 2020-12) of configuration files, for editors and other tools
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn main(_: Args) -> Outcome {
    // Nobody may be reading any more, which is no failure.
    let _ = io::stdout().write_all(SCHEMA.as_bytes());
    Ok(())
}
