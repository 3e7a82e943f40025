//! `run`: any number of feeds from a file, as a service.

mod pump;

use crate::conf::{self, RunConfig, feed_name};
use crate::exit::{Failure, Outcome, say};
use crate::files::Files;
use crate::on_alert::OnAlert;
use crate::talk::{Talk, note};
use crate::{gone, signals, time};
use livefeed::crossbeam_channel::{Receiver, after, bounded, never, select};
use livefeed::{Feed, FeedBuilder, FeedSet, Monitor};
use pump::{End, Pump, Sink};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// So long the feeds have for the close handshake.
const CLOSE: Duration = Duration::from_secs(4);
/// So long after that the output has for what was received. Whoever asked for the end waits; Docker for 10 s.
const DRAIN: Duration = Duration::from_secs(4);

/// Runs the feeds of a configuration file until it is told to end
///
/// Their events are written as JSON, one object a line, to standard output or to the files that the configuration
/// names. What happens to them is said on standard error as well: when data stops, when a connection ends, and where
/// messages may be missing. It reconnects by itself, and goes on until it is stopped (Ctrl-C, SIGTERM), --for is reached, nobody reads its
/// output any more, or each feed is given up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Exit status: 0 ended as asked; 1 each feed gave up, or the output failed; 2 wrong configuration.

Examples:
  livefeed run feeds.toml | jq -c 'select(.event == \"message\") | .text'
  livefeed check -q feeds.toml && livefeed run feeds.toml")]
pub(crate) struct Args {
    /// The feeds, and what is done with them: a file in TOML or JSON, see `livefeed schema`; `-` is standard input
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// End after so long, as if stopped
    #[arg(long = "for", value_name = "DUR", value_parser = time::duration)]
    duration: Option<Duration>,
    /// Say over HTTP how the feeds are, at this HOST:PORT, or port of this machine, instead of where the configuration says
    #[arg(long, value_name = "ADDR")]
    health: Option<String>,
    #[command(flatten)]
    talk: Talk,
}

pub(crate) fn main(args: Args) -> Outcome {
    args.talk.start_log();
    let mut config = conf::read(&args.config)?;
    config.health = conf::Health::or(config.health, args.health)?;
    let sink = sink(&config)?;
    let monitor = monitor(&config, args.talk)?;
    if !args.talk.is_quiet() {
        say(&started(&config));
    }
    // Not before: until here a signal ends the program by itself, whatever it waits for.
    let stop = signals::stop()?;
    let gone = if config.output.file.is_some() { never() } else { gone::watch() };
    let on_alert = config.on_alert.as_ref().map(|on_alert| Arc::new(OnAlert::new(on_alert.command.expose())));
    let set = Arc::new(FeedSet::new());
    let feeds = open(&config, on_alert.as_ref())?;
    for feed in &feeds {
        let name: Arc<str> = feed.name().into();
        if let Some(monitor) = &monitor {
            monitor.add(feed).map_err(|error| Failure::of(&error))?;
        }
        set.insert(name, Arc::clone(feed)).map_err(|error| Failure::of(&error))?;
    }
    let (ending, asked) = bounded(0);
    let done = Pump::new(Arc::clone(&set), sink, args.talk, asked, DRAIN).start()?;
    let over: Receiver<_> = args.duration.map_or_else(never, after);
    let end = select! {
        recv(done) -> end => Some(end.unwrap_or(End::Failed("the output panicked".to_owned()))),
        recv(stop) -> _ => None,
        recv(over) -> _ => None,
        recv(gone) -> _ => Some(End::NobodyReads),
    };
    let by_itself = matches!(end, Some(End::Closed));
    let outcome = match end {
        Some(End::Closed) => Err(Failure::failed("each feed has given up: see above why")),
        Some(end) => {
            let _ = set.close(CLOSE);
            of(end)
        }
        None => {
            let by = time::mono() + CLOSE + DRAIN; // both may begin at once
            drop(ending);
            let _ = set.close(CLOSE); // what is not closed by then is cut off at the end of the process
            of(done.recv_deadline(by).unwrap_or(End::Stuck))
        }
    };
    match on_alert {
        Some(on_alert) if by_itself => on_alert.finish(feeds, &stop),
        Some(on_alert) => on_alert.end(),
        None => {}
    }
    outcome
}

fn of(end: End) -> Outcome {
    match end {
        // That nobody reads any more is how pipelines end.
        End::Closed | End::NobodyReads => Ok(()),
        End::Failed(problem) => Err(Failure::failed(problem)),
        End::Stuck => {
            Err(Failure::failed("the output did not take everything in time: what is left is lost"))
        }
    }
}

/// What is said at the start.
fn started(config: &RunConfig) -> String {
    let feeds = match config.feeds.len() {
        1 => "1 feed".to_owned(),
        count => format!("{count} feeds"),
    };
    match &config.output.file {
        Some(path) => format!("livefeed: {feeds}, events go to {}", path.display()),
        None => format!("livefeed: {feeds}, events go to standard output"),
    }
}

fn sink(config: &RunConfig) -> Result<Sink, Failure> {
    let Some(path) = &config.output.file else { return Ok(Sink::stdout()) };
    let names = config.feeds.iter().map(feed_name);
    let files = Files::open(&config.output, path, names, time::wall());
    files.map(Sink::Files).map_err(|(kind, problem)| {
        let problem = format!("output.file: {problem}");
        match kind {
            // For somebody to set right; the rest may be better at the next start.
            ErrorKind::NotFound
            | ErrorKind::PermissionDenied
            | ErrorKind::AlreadyExists
            | ErrorKind::InvalidInput
            | ErrorKind::InvalidData
            | ErrorKind::InvalidFilename
            | ErrorKind::IsADirectory
            | ErrorKind::NotADirectory
            | ErrorKind::ReadOnlyFilesystem => Failure::usage(problem),
            _ => Failure::failed(problem),
        }
    })
}

fn monitor(config: &RunConfig, talk: Talk) -> Result<Option<Monitor>, Failure> {
    let Some(health) = &config.health else { return Ok(None) };
    let builder = Monitor::builder();
    let builder =
        health.allowed_hosts.iter().fold(builder, |builder, host| builder.allowed_host(host.as_str()));
    let failed =
        |error| Failure::failed(format!("health.listen {}: {error}; take another port?", health.listen));
    let monitor = builder.bind(health.listen.as_str()).map_err(failed)?;
    if !talk.is_quiet() {
        note(&format!("health at http://{}/", monitor.local_addr()));
    }
    Ok(Some(monitor))
}

fn open(config: &RunConfig, on_alert: Option<&Arc<OnAlert>>) -> Result<Vec<Arc<Feed>>, Failure> {
    let feeds = config.feeds.iter().map(|feed| {
        let mut builder = FeedBuilder::from(feed.clone());
        if let Some(on_alert) = on_alert {
            let (on_alert, name) = (Arc::clone(on_alert), feed_name(feed));
            builder = builder.on_alert(move |alert| on_alert.tell(&name, alert));
        }
        builder.open().map(Arc::new).map_err(|error| Failure::of(&error))
    });
    feeds.collect()
}
