//! `replay`: a recording, served as the server did that was recorded.

use crate::exit::{Failure, Outcome, say};
use crate::recorded::{self, Cues, Pace, Recording};
use crate::signals;
use crate::{address, serving};
use livefeed::crossbeam_channel::{select, unbounded};
use livefeed::lab::{Lab, Playback, Script};
use std::path::PathBuf;
use std::sync::Arc;

/// Serves a recording as the server did that was recorded
///
/// Each client gets one of the recorded connections, in turn, from its beginning to its end: what the server sent, at the times at
/// which it did, and the same end. Pings and Close frames are answered.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  livefeed replay btc.lfrec --speed 10          ten times as fast, at ws://127.0.0.1:9001/
  livefeed replay btc.lfrec --listen 9002 --speed max --once
  livefeed replay btc.lfrec --print | jq -r 'select(.direction == \"received\") | .text'")]
pub(crate) struct Args {
    /// What `livefeed record` has written
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Where to listen: HOST:PORT, or a port of this machine; with port 0 the system chooses one
    #[arg(long, value_name = "ADDR", value_parser = address::read, default_value = "127.0.0.1:9001")]
    listen: String,
    /// How many times as fast as recorded, or `max`: as fast as the client takes it
    #[arg(long, value_name = "N|max", value_parser = pace, default_value = "1", conflicts_with = "print")]
    speed: Pace,
    /// Wait for a message of the client wherever the recorded one sent one: logins and subscriptions come before their answers
    #[arg(long, conflicts_with = "print")]
    in_step: bool,
    /// Join all recorded connections: each client gets all of them as one
    #[arg(long, conflicts_with = "print")]
    joined: bool,
    /// End when all recorded connections have been played, and their clients are gone
    #[arg(long, conflicts_with = "print")]
    once: bool,
    /// Print the records as JSON, one a line, and serve nothing
    #[arg(long, conflicts_with = "listen")]
    print: bool,
}

/// Reads a speed.
fn pace(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    match text.trim_end_matches('x').parse::<f64>() {
        Ok(times) if (0.001..=1e6).contains(&times) => Ok(Pace::Times(times)),
        _ => Err("give a number from 0.001 to 1000000, such as 1, 0.5 or 10, or max".to_owned()),
    }
}

pub(crate) fn main(args: Args) -> Outcome {
    if args.print {
        return recorded::print(&args.file);
    }
    let recording = Arc::new(Recording::scan(&args.file)?);
    // Not before: until here a signal ends the program by itself, whatever it waits for.
    let stop = signals::stop()?;
    let connections = if args.joined { 1 } else { recording.connections() };
    let shown = args.file.display();
    if connections == 0 {
        return Err(Failure::failed(format!("{shown} holds no connection: there is nothing to replay")));
    }
    let (tell, over) = unbounded();
    let (speed, in_step, joined) = (args.speed, args.in_step, args.joined);
    let of = Arc::clone(&recording);
    // The last one tells by being dropped that its connection is over.
    let cues = move |number: usize| {
        let of = Arc::clone(&of);
        Cues::new(of, (!joined).then(|| (number - 1) % connections), speed, in_step, tell.clone())
    };
    let script = Script::new().play(Playback::new(cues));
    let addr = address::resolve(&args.listen);
    let lab = addr.and_then(|addr| Lab::builder().listen(addr).transcript_limit(16).script(script).start());
    let lab = lab.map_err(|error| {
        Failure::failed(format!(
            "{} can't be listened at: {error}; choose another with --listen",
            args.listen
        ))
    })?;
    say(&format!("livefeed: {recording}"));
    say(&format!("livefeed: listening at {}", lab.url()));
    let mut left = connections;
    loop {
        select! {
            recv(stop) -> _ => break,
            recv(over) -> _ => {
                left = left.saturating_sub(1);
                if args.once && left == 0 {
                    break;
                }
            }
        }
    }
    serving::end(lab);
    Ok(())
}
