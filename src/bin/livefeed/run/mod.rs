//! `run`: any number of feeds from a file, as a service.

mod pump;

use crate::conf::{self, RunConfig, feed_name};
use crate::exit::{Failure, Outcome, say};
use crate::files::Files;
use crate::signals;
use crate::time;
use livefeed::crossbeam_channel::{Receiver, after, bounded, never, select};
use livefeed::{Feed, FeedBuilder, FeedSet, Monitor};
use pump::{End, Pump, Sink};
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
/// names. Ends with status 1 when the last feed has given up.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The feeds, and what is done with them: a file in TOML or JSON (see `livefeed schema`)
    #[arg(value_name = "CONFIG")]
    config: PathBuf,
    /// End after so long, as if asked to
    #[arg(long = "for", value_name = "DUR", value_parser = time::duration)]
    duration: Option<Duration>,
    /// Say how the feeds are over HTTP at this address, in place of the one of the configuration
    #[arg(long, value_name = "ADDR")]
    health: Option<String>,
}

pub(crate) fn main(args: Args) -> Outcome {
    let config = conf::read(&args.config)?;
    let stop = signals::stop()?;
    let sink = sink(&config)?;
    let monitor = monitor(&config, args.health)?;
    let set = Arc::new(FeedSet::new());
    for feed in open(&config)? {
        if let Some(monitor) = &monitor {
            monitor.add(&feed).map_err(refused)?;
        }
        let name: Arc<str> = feed.name().into();
        set.insert(name, feed).map_err(refused)?;
    }
    let (ending, asked) = bounded(0);
    let done = Pump::start(Arc::clone(&set), sink, asked, DRAIN)?;
    let over: Receiver<_> = args.duration.map_or_else(never, after);
    let end = select! {
        recv(done) -> end => end.ok(),
        recv(stop) -> _ => None,
        recv(over) -> _ => None,
    };
    let end = end.map_or_else(
        || {
            drop(ending);
            let _ = set.close(CLOSE); // what is not closed by then is cut off
            done.recv_timeout(CLOSE + DRAIN).unwrap_or(End::Stuck)
        },
        |end| match end {
            End::Closed => End::GaveUp,
            end => end,
        },
    );
    match end {
        // Nobody reads any more: that is how pipelines end.
        End::Closed | End::NobodyReads => Ok(()),
        End::GaveUp => Err(Failure::failed("every feed has given up: see above why")),
        End::Failed(problem) => Err(Failure::failed(problem)),
        End::Stuck => Err(Failure::failed("the output did not take everything in time: the rest is lost")),
    }
}

fn refused(error: livefeed::Error) -> Failure {
    Failure::usage(error.to_string())
}

fn sink(config: &RunConfig) -> Result<Sink, Failure> {
    let Some(path) = &config.output.file else { return Ok(Sink::stdout()) };
    let names = config.feeds.iter().map(feed_name);
    let files = Files::open(&config.output, path, names, time::wall());
    files.map(Sink::Files).map_err(|problem| Failure::usage(format!("output.file: {problem}")))
}

fn monitor(config: &RunConfig, instead: Option<String>) -> Result<Option<Monitor>, Failure> {
    let (listen, hosts) = match (&config.health, instead) {
        (Some(health), instead) => {
            (instead.unwrap_or_else(|| health.listen.clone()), health.allowed_hosts.as_slice())
        }
        (None, Some(listen)) => (listen, [].as_slice()),
        (None, None) => return Ok(None),
    };
    let builder = hosts.iter().fold(Monitor::builder(), |builder, host| builder.allowed_host(host.as_str()));
    let monitor = builder.bind(listen.as_str()).map_err(|error| {
        Failure::usage(format!("{listen}: {error}: give a free address with a port, such as 127.0.0.1:9090"))
    })?;
    say(&format!("livefeed: health at http://{}/", monitor.local_addr()));
    Ok(Some(monitor))
}

fn open(config: &RunConfig) -> Result<Vec<Arc<Feed>>, Failure> {
    let feeds = config.feeds.iter().map(|feed| FeedBuilder::from(feed.clone()).open().map(Arc::new));
    feeds.collect::<Result<_, _>>().map_err(refused)
}
