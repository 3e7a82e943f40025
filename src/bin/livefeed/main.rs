//! The command line: feeds for scripts, cron and containers.
//!
//! Payloads go to standard output and everything else to standard error. The exit status is 0 if it ended as asked,
//! 1 if a feed was stale, refused or given up, 2 if the arguments or the configuration are wrong.
#![forbid(unsafe_code)]

mod address;
mod alone;
mod check;
mod completions;
mod conf;
mod exit;
mod feed_args;
mod files;
mod gone;
mod hints;
mod lab;
mod lab_script;
mod matching;
mod on_alert;
mod output;
mod plain;
mod presets;
mod printer;
mod probe;
mod record;
mod recorded;
mod recorder;
mod recording;
mod replay;
mod run;
mod schema;
mod secrets;
mod sentences;
mod serving;
mod signals;
mod spelling;
mod status;
mod tail;
mod talk;
mod time;
mod totals;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{CommandFactory, Parser, Subcommand};
use std::io::{self, Write};
use std::process::ExitCode;

/// A WebSocket feed that can never go silently stale, and never hides a gap.
#[derive(Debug, Parser)]
#[command(name = "livefeed", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Exit status: 0 ended as asked; 1 stale, refused or gave up; 2 wrong arguments or configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Tail(tail::Args),
    Probe(probe::Args),
    Run(run::Args),
    Check(check::Args),
    Record(record::Args),
    Replay(replay::Args),
    Lab(lab::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

/// Reads the arguments, or ends the program. A word too much is not shown: if quotes were forgotten (`--header
/// Authorization: Bearer TOKEN`) it is a secret.
fn parse() -> Cli {
    Cli::try_parse().unwrap_or_else(|mut error| {
        let is_word =
            |value: &ContextValue| matches!(value, ContextValue::String(word) if !word.starts_with('-'));
        if error.kind() == ErrorKind::UnknownArgument
            && error.get(ContextKind::InvalidArg).is_some_and(is_word)
        {
            let word = "(not shown; put a value that has spaces in quotes)".to_owned();
            error.insert(ContextKind::InvalidArg, ContextValue::String(word));
        }
        let lacks_url = error.kind() == ErrorKind::MissingRequiredArgument
            && error.get(ContextKind::InvalidArg).is_some_and(|value| value.to_string().contains("URL"));
        if lacks_url {
            let tip = "say where to connect to, such as wss://feed.example/ws, or take a protocol with --preset NAME";
            error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
        }
        if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand || !error.use_stderr() {
            error.exit()
        }
        // In the form of all other errors, and with nothing in it that a terminal would take for more than text.
        let text = error.render().to_string();
        let text = format!("livefeed: {}", text.strip_prefix("error: ").unwrap_or(&text));
        let _ = io::stderr().write_all(plain::text(&text).as_bytes());
        std::process::exit(error.exit_code())
    })
}

fn main() -> ExitCode {
    let outcome = match parse().command {
        Command::Tail(args) => tail::main(args),
        Command::Probe(args) => probe::main(args),
        Command::Lab(args) => lab::main(args),
        Command::Record(args) => record::main(args),
        Command::Replay(args) => replay::main(args),
        Command::Run(args) => run::main(args),
        Command::Check(args) => check::main(args),
        Command::Schema(args) => schema::main(args),
        Command::Completions(args) => completions::main(&args, Cli::command()),
    };
    exit::status(outcome)
}
