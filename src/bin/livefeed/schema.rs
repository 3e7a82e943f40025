//! `schema`: the JSON Schema of the configuration.

use crate::exit::Outcome;
use crate::presets;
use std::io::{self, Write};

/// The schema, as it is kept in the repository. Tests keep it true.
pub(crate) const SCHEMA: &str = include_str!("../../../schema/config.schema.json");

/// Prints the JSON Schema (draft 2020-12) of configuration files, for editors and other tools
///
/// Or, with --preset, the file of a preset, to begin a configuration with.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Print the file of this preset in place of the schema
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(presets::NAMES))]
    preset: Option<String>,
}

pub(crate) fn main(args: Args) -> Outcome {
    let text = args.preset.as_deref().map_or(Some(SCHEMA), presets::file).unwrap_or_default();
    // Nobody may be reading any more, which is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
    Ok(())
}
