//! `record`: a feed's frames into a file.

use crate::exit::{Failure, Outcome, say};
use crate::feed_args::FeedArgs;
use crate::recorder::{self, Existing, Recorder, Tape};
use crate::recording::{Body, Kind};
use crate::talk::{Talk, note};
use crate::{hints, signals, time};
use livefeed::crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use livefeed::{Direction, Event, Frame, FrameKind};
use serde_json::json;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the close handshake may take.
const CLOSE: Duration = Duration::from_secs(2);

/// Records a feed's frames, both directions, to be replayed
///
/// All messages and control frames are recorded as they go over the wire, with their times, and the beginnings and ends of
/// connections. The file is compressed, and written by appending only, at most a second apart: whatever ends the recording, the file can
/// be replayed, and --append goes on with it. It is readable for its owner only, since what is sent may hold secrets.
#[derive(Debug, clap::Args)]
#[command(after_long_help = crate::tail::LONG_HELP)]
pub(crate) struct Args {
    /// Where to connect to: ws://HOST[:PORT]/PATH or wss://.. [default: that of the preset]
    #[arg(value_name = "URL", required_unless_present = "preset")]
    url: Option<String>,
    #[command(flatten)]
    feed: FeedArgs,
    /// The file to record into
    #[arg(short, long, value_name = "FILE", help_heading = "Recording")]
    output: PathBuf,
    /// Go on with a recording that is there; what a kill left torn at its end is cut off
    #[arg(long, conflicts_with = "overwrite", help_heading = "Recording")]
    append: bool,
    /// Write over a recording that is there
    #[arg(long, help_heading = "Recording")]
    overwrite: bool,
    /// Record of what is sent only when, what kind and how long, and not what it is
    #[arg(long, help_heading = "Recording")]
    redact_sent: bool,
    /// End after so many messages were received
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Recording")]
    count: Option<u64>,
    /// End after this time
    #[arg(long = "for", value_name = "DUR", value_parser = time::duration, help_heading = "Recording")]
    duration: Option<Duration>,
    #[command(flatten)]
    talk: Talk,
}

/// Counts what is recorded.
#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    connections: AtomicU64,
}

pub(crate) fn main(args: Args) -> Outcome {
    args.talk.start_log();
    let builder = args.feed.builder(args.url.as_deref())?;
    let existing = match (args.append, args.overwrite) {
        (true, _) => Existing::Append,
        (_, true) => Existing::Replace,
        _ => Existing::Refuse,
    };
    let target = recorder::open(&args.output, existing)?;
    let shown = args.output.display();
    if target.cut > 0 {
        say(&format!("livefeed: {shown}: cut off {} bytes that were not written in whole", target.cut));
    }
    // Not before: until here a signal ends the program by itself, whatever it waits for.
    let stop = signals::stop()?;
    let (recorder, tape) = Recorder::start(target)?;
    let start = json!({"livefeed": env!("CARGO_PKG_VERSION"), "time": time::now().to_string()});
    tape.add(time::mono(), 0, Kind::Start, false, Body::Whole(start.to_string().as_bytes()));

    let counts = Arc::new(Counts::default());
    let name = Arc::new(OnceLock::new());
    let (finish, counted) = bounded(1);
    let (tell, told) = bounded(1);
    let watch = watch(tape.clone(), Arc::clone(&counts), args.count, finish.clone(), args.redact_sent);
    let mark = mark(tape, Arc::clone(&counts), Arc::clone(&name), tell, args.talk);
    let feed = builder.on_frame(watch).handler(mark).open().map_err(|error| Failure::of(&error))?;
    let _ = name.set(feed.name().to_owned());
    let time_up = args.duration.map_or_else(never, after);
    let ended = wait(&[&stop, &counted], &time_up, &recorder.broken, &told);
    let _ = feed.close(CLOSE); // too late is no harm: the end of the process closes the connection
    drop(finish); // held until here, as a channel without a sender would look like a message
    let written = recorder.finish().map_err(|error| {
        let rest = match error.kind() {
            ErrorKind::NotFound => "",
            _ => "; what was written before can be replayed, and --append goes on with it",
        };
        Failure::failed(format!("{shown}: {error}{rest}"))
    })?;
    if !args.talk.is_quiet() {
        let received = counts.received.load(Ordering::Relaxed);
        let connections = counts.connections.load(Ordering::Relaxed);
        say(&format!(
            "livefeed: {shown}: recorded {received} messages of {connections} connections, {written} bytes"
        ));
    }
    ended
}

/// Waits for whatever ends the recording.
fn wait(
    asked: &[&Receiver<()>; 2],
    time_up: &Receiver<std::time::Instant>,
    broken: &Receiver<()>,
    told: &Receiver<String>,
) -> Outcome {
    let [stop, counted] = asked;
    select! {
        recv(stop) -> _ => Ok(()),
        recv(counted) -> _ => Ok(()),
        recv(time_up) -> _ => Ok(()),
        recv(broken) -> _ => Ok(()), // why is told when it is finished
        recv(told) -> reason => {
            Err(Failure::failed(reason.unwrap_or_else(|_| "the feed is over".to_owned())))
        }
    }
}

/// Puts frames on tape.
fn watch(
    tape: Tape,
    counts: Arc<Counts>,
    count: Option<u64>,
    finish: Sender<()>,
    redact_sent: bool,
) -> impl Fn(&Frame<'_>) + Send + Sync {
    move |frame| {
        let sent = frame.direction == Direction::Sent;
        let (kind, is_message) = match frame.kind {
            FrameKind::Text => (Kind::Text, true),
            FrameKind::Binary => (Kind::Binary, true),
            FrameKind::Ping => (Kind::Ping, false),
            FrameKind::Pong => (Kind::Pong, false),
            FrameKind::Close => (Kind::Close, false),
        };
        if is_message && !sent {
            // All of these come on one thread.
            let already = counts.received.load(Ordering::Relaxed);
            if count.is_some_and(|count| already >= count) {
                return;
            }
            counts.received.store(already + 1, Ordering::Relaxed);
            if count.is_some_and(|count| already + 1 >= count) {
                let _ = finish.try_send(());
            }
        }
        let body = if sent && redact_sent && is_message {
            Body::Omitted(frame.payload.len() as u64)
        } else {
            Body::Whole(frame.payload)
        };
        tape.add(frame.at, frame.epoch, kind, sent, body);
    }
}

/// Puts the beginnings and ends of connections on tape.
fn mark(
    tape: Tape,
    counts: Arc<Counts>,
    name: Arc<OnceLock<String>>,
    tell: Sender<String>,
    talk: Talk,
) -> impl FnMut(Event) + Send {
    move |event| {
        let kind = match &event {
            Event::Message(_) => return,
            Event::Connected(_) => {
                counts.connections.fetch_add(1, Ordering::Relaxed);
                Some(Kind::Connected)
            }
            Event::Disconnected(_) => Some(Kind::Ended),
            Event::Closed(closed) => {
                let _ = tell.try_send(hints::closed(&closed.reason));
                None
            }
            _ => None,
        };
        if let Some(kind) = kind {
            let json = event.to_json(name.get().map_or("", String::as_str)).to_string();
            tape.add(time::mono(), event.epoch(), kind, false, Body::Whole(json.as_bytes()));
        }
        if let Some(text) = talk.about(&event, matches!(event, Event::Closed(_))) {
            note(&text);
        }
    }
}
