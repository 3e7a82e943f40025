//! `tail`: a feed's messages on standard output.

use crate::exit::{Failure, Outcome};
use crate::feed_args::FeedArgs;
use crate::on_alert::OnAlert;
use crate::output::Format;
use crate::printer::Printer;
use crate::talk::{Talk, note};
use crate::{address, gone, hints, signals, time};
use livefeed::crossbeam_channel::{Receiver, RecvTimeoutError, after, bounded, never, select};
use livefeed::{CloseReason, Feed, FeedBuilder, Monitor};
use std::io;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// So long closing may take.
const GRACE: Duration = Duration::from_secs(2);
/// So long after that standard output has for what was received, when it was asked to end.
const DRAIN: Duration = Duration::from_secs(4);

/// Prints a feed's messages to standard output, one a line
///
/// It reconnects by itself, and goes on until it is stopped (Ctrl-C, SIGTERM), --count or --for is reached, nobody reads its
/// output any more, or the feed is given up. What happens to the feed is said on standard error: when data stops, when the
/// connection ends, and where messages may be missing. With --format json these are among the events on standard output, and
/// only -v says them on standard error too. On a terminal, unless the output is piped, a line at the bottom shows the state, the
/// epoch (the number of the connection), the age of the data, and the rate.
#[derive(Debug, clap::Args)]
#[command(after_long_help = LONG_HELP.to_owned() + EXAMPLES)]
pub(crate) struct Args {
    /// Where to connect to: ws://HOST[:PORT]/PATH or wss://.., or a configuration file of one feed [default: that of the preset]
    #[arg(value_name = "URL|CONFIG", required_unless_present = "preset")]
    target: Option<String>,
    #[command(flatten)]
    feed: FeedArgs,
    /// What a line is
    #[arg(long, value_enum, default_value_t = Format::Raw, help_heading = "Output")]
    format: Format,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Output")]
    count: Option<u64>,
    /// End after so long, with status 0 also if nothing came; with --count, status 1 if fewer messages came by then
    #[arg(long = "for", value_name = "DUR", value_parser = time::duration, help_heading = "Output")]
    duration: Option<Duration>,
    /// Say over HTTP at this HOST:PORT, or port of this machine, how the feed is: /health, /metrics, and a page for people
    #[arg(long, value_name = "ADDR", help_heading = "Monitoring")]
    health: Option<String>,
    /// Run this for each alert, with the event as JSON on standard input; at most 30 s, one at a time
    #[arg(long, value_name = "CMD", value_parser = clap::builder::NonEmptyStringValueParser::new(), help_heading = "Monitoring")]
    on_alert: Option<String>,
    #[command(flatten)]
    talk: Talk,
}

pub(crate) const LONG_HELP: &str = "\
MATCH recognises messages:
  /type=heartbeat   the value at this JSON pointer: JSON, or a bare word as a string
  /data             there is a value at this JSON pointer
  text=pong         a text message that is exactly this
  text^42           a text message that begins with this
  binary            any binary message

DUR is a duration such as 500ms, 2s or 1m30s.

Secrets need not stand on the command line, where other users can see them: in place of URL, JSON, the VALUE of a credential, \
and the value of a header or its last word, write @FILE or @env:NAME, and @@ for an @ itself:
  @url.txt --header 'Authorization: Bearer @env:TOKEN'

A TOPIC is one of the subscriptions in the preset's file, by its name, or one like it with other variables:
  --preset kraken-v2 --topic btc --topic btc-trades,symbol=ETH/USD

Several --subscribe have one limit together: any data is data of them all. Where one that is silent must not go unnoticed, \
write a file with `data` for each subscription, for `run` and `probe`.

Exit status: 0 ended as asked; 1 stale, refused, gave up, or the output failed; 2 wrong arguments.";

const EXAMPLES: &str = "

Examples:
  livefeed tail --subscribe '{\"op\":\"subscribe\",\"topic\":\"btc\"}' --stale-after 5s wss://feed.example/ws
  livefeed tail --preset kraken-v2 --topic btc --format json | jq -r .text
  livefeed tail --count 1 --for 10s wss://feed.example/ws     status 1 if nothing came";

/// Why it ends.
enum Why {
    /// The printer has ended: standard output failed, or the feed is over.
    Printed(Printed),
    /// It was asked to.
    Asked,
    /// As many messages as wanted are printed.
    Enough,
    /// The time is over.
    Time,
    /// Nobody reads any more.
    Gone,
}

type Printed = io::Result<Option<CloseReason>>;

pub(crate) fn main(args: Args) -> Outcome {
    args.talk.start_log();
    args.feed.warn(args.talk);
    // Before signals are caught: a secret may be read from a pipe into which nobody writes.
    let mut builder = args.feed.builder(args.target.as_deref())?;
    let stop = signals::stop()?;
    let name = Arc::new(OnceLock::new());
    let on_alert = args.on_alert.as_ref().map(|command| Arc::new(OnAlert::new(command)));
    if let Some(on_alert) = &on_alert {
        builder = tell(builder, Arc::clone(on_alert), Arc::clone(&name));
    }
    let feed = Arc::new(builder.open().map_err(|error| Failure::of(&error))?);
    let _ = name.set(feed.name().to_owned());
    let _monitor = args.health.as_deref().map(|addr| monitor(addr, &feed, args.talk)).transpose()?;

    let (enough, has_enough) = bounded(1);
    let printer = Printer::new(args.format, args.talk, args.count, enough.clone());
    let printed = print(printer, Arc::clone(&feed))?;
    let time = args.duration.map_or_else(never, after);
    let gone = gone::watch();
    let why = select! {
        recv(printed) -> end => Why::Printed(over(end)),
        recv(stop) -> _ => Why::Asked,
        recv(has_enough) -> _ => Why::Enough,
        recv(time) -> _ => Why::Time,
        recv(gone) -> _ => Why::Gone,
    };
    let _ = feed.close(GRACE); // too late is no harm: the end of the process closes the connection
    drop(enough); // held until here, as a channel without a sender would look like a message
    let by_itself = matches!(why, Why::Printed(Ok(_)));
    let outcome = match why {
        // It may have given up just after the last message that was wanted.
        Why::Printed(Ok(_)) if !has_enough.is_empty() => Ok(()),
        Why::Printed(Ok(reason)) => {
            Err(Failure::failed(reason.as_ref().map_or_else(|| "the feed is over".to_owned(), hints::closed)))
        }
        Why::Printed(Err(error)) => of_output(&error),
        Why::Gone => Ok(()),
        Why::Asked | Why::Enough => rest(&printed),
        Why::Time => {
            // A slow reader gets all that came in time, however long that takes, unless somebody becomes impatient.
            let written = select! {
                recv(printed) -> end => written(over(end)),
                recv(stop) -> _ => rest(&printed),
                recv(gone) -> _ => Ok(()),
            };
            match (args.count, args.duration) {
                (Some(count), Some(duration)) if written.is_ok() && has_enough.is_empty() => {
                    let duration = humantime::format_duration(duration);
                    Err(Failure::failed(format!("fewer than {count} messages came within {duration}")))
                }
                _ => written,
            }
        }
    };
    match on_alert {
        Some(on_alert) if by_itself => on_alert.finish(vec![feed], &stop),
        Some(on_alert) => on_alert.end(),
        None => {}
    }
    outcome
}

/// Has a command told of alerts.
fn tell(builder: FeedBuilder, on_alert: Arc<OnAlert>, name: Arc<OnceLock<String>>) -> FeedBuilder {
    builder.on_alert(move |alert| on_alert.tell(name.wait(), alert))
}

/// Starts the printer. It may be held up by whoever reads, which must not hold up the rest.
fn print(printer: Printer, feed: Arc<Feed>) -> Result<Receiver<Printed>, Failure> {
    let (sender, printed) = bounded(1);
    let run = move || {
        let _ = sender.send(printer.run(&feed));
    };
    std::thread::Builder::new()
        .name("livefeed-print".to_owned())
        .spawn(run)
        .map_err(|error| Failure::failed(format!("could not start a thread: {error}")))?;
    Ok(printed)
}

/// Waits until what was received is written, for so long at most.
fn rest(printed: &Receiver<Printed>) -> Outcome {
    match printed.recv_timeout(DRAIN) {
        Err(RecvTimeoutError::Timeout) => {
            Err(Failure::failed("standard output did not take everything in time: what is left is lost"))
        }
        end => written(over(end)),
    }
}

/// It ends as it was asked to: why the feed closed does not matter, but what could not be written does.
fn written(end: Printed) -> Outcome {
    end.map_or_else(|error| of_output(&error), |_| Ok(()))
}

fn over<E>(end: Result<Printed, E>) -> Printed {
    end.unwrap_or_else(|_| Err(io::Error::other("the printing thread panicked")))
}

/// What it means that standard output failed: that nobody reads any more is no failure.
fn of_output(error: &io::Error) -> Outcome {
    if error.kind() == io::ErrorKind::BrokenPipe {
        return Ok(());
    }
    Err(Failure::failed(format!("standard output: {error}")))
}

/// Opens the health endpoint.
pub(crate) fn monitor(addr: &str, feed: &Feed, talk: Talk) -> Result<Monitor, Failure> {
    let addr =
        &address::read(addr).map_err(|problem| Failure::usage(format!("--health {addr}: {problem}")))?;
    let failed =
        |error: livefeed::Error| Failure::failed(format!("--health {addr}: {error}; take another port?"));
    let monitor = Monitor::bind(addr.as_str()).map_err(failed)?;
    monitor.add(feed).map_err(failed)?;
    if talk.is_verbose() || addr.ends_with(":0") {
        note(&format!("health at http://{}/", monitor.local_addr()));
    }
    Ok(monitor)
}
