//! `record`: a feed's frames into a file.

use crate::exit::{Failure, Outcome, last_word, say};
use crate::feed_args::FeedArgs;
use crate::recorder::{self, Existing, Recorder, Tape};
use crate::recording::{Body, Kind};
use crate::status::StatusLine;
use crate::talk::{Talk, note};
use crate::{hints, plain, sentences, signals, time};
use livefeed::crossbeam_channel::{Receiver, Sender, after, bounded, never, select};
use livefeed::{Direction, Event, Feed, Frame, FrameKind};
use serde_json::json;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the close handshake may take.
const CLOSE: Duration = Duration::from_secs(2);
/// So many lines wait to be said at most.
const UNSAID: usize = 64;
/// How long what is still to be said may take.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Records a feed's frames, both directions, to be replayed
///
/// All messages and control frames are recorded as they go over the wire, with their times, and the beginnings and ends of
/// connections. The file is compressed, and written by appending only, at most a second apart: whatever ends the recording, the file can
/// be replayed, and --append goes on with it. It is readable for its owner only, since what is sent may hold secrets.
#[derive(Debug, clap::Args)]
#[command(after_long_help = crate::tail::LONG_HELP.to_owned() + EXAMPLES)]
pub(crate) struct Args {
    /// Where to connect to: ws://HOST[:PORT]/PATH or wss://.., or a configuration file of one feed [default: that of the preset]
    #[arg(value_name = "URL|CONFIG", required_unless_present = "preset")]
    target: Option<String>,
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

const EXAMPLES: &str = "

Examples:
  livefeed record -o btc.lfrec --for 1h --preset kraken-v2 --topic btc
  livefeed record -o feed.lfrec --append wss://feed.example/ws     goes on with it";

/// Counts what is recorded.
#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    connections: AtomicU64,
}

pub(crate) fn main(args: Args) -> Outcome {
    args.talk.start_log();
    let builder = args.feed.builder(args.target.as_deref())?;
    if args.output.as_os_str() == "-" {
        return Err(Failure::usage(
            "-o -: a recording is a file, not standard output: name one; `livefeed replay FILE --print` prints it",
        ));
    }
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
    let (say_it, said) = bounded(UNSAID);
    let watch = watch(tape.clone(), Arc::clone(&counts), args.count, finish.clone(), args.redact_sent);
    let teller = Teller { talk: args.talk, tell, say_it, hint: None };
    let mark = mark(tape, Arc::clone(&counts), Arc::clone(&name), teller);
    let feed = builder.on_frame(watch).handler(mark).open().map_err(|error| Failure::of(&error))?;
    let _ = name.set(feed.name().to_owned());
    let feed = Arc::new(feed);
    let voice = Voice::start(Arc::clone(&feed), said, args.talk, format!("livefeed: recording to {shown}"))?;
    let time_up = args.duration.map_or_else(never, after);
    let ended = select! {
        recv(stop) -> _ => Ok(()),
        recv(counted) -> _ => Ok(()),
        recv(time_up) -> _ => Ok(()),
        recv(recorder.broken) -> _ => Ok(()), // why is told when it is finished
        recv(told) -> reason => {
            Err(Failure::failed(reason.unwrap_or_else(|_| "the feed is over".to_owned())))
        }
    };
    let _ = feed.close(CLOSE); // too late is no harm: the end of the process closes the connection
    voice.end();
    drop(finish); // held until here, as a channel without a sender would look like a message
    let written = recorder.finish().map_err(|error| {
        let rest = match error.kind() {
            ErrorKind::NotFound => "",
            _ => "; what was written before can be replayed, and --append goes on with it",
        };
        Failure::failed(format!("{shown}: {error}{rest}"))
    })?;
    if args.talk.is_quiet() {
        return ended;
    }
    let messages = number(counts.received.load(Ordering::Relaxed), "message");
    let connections = number(counts.connections.load(Ordering::Relaxed), "connection");
    let recorded = format!("livefeed: {shown}: recorded {messages} of {connections}, {written} bytes");
    match ended {
        // Why comes first.
        Err(Failure::Failed(why)) => Err(Failure::failed(format!("{why}\n{recorded}"))),
        ended => {
            last_word(format!("{}\n", plain::line(&recorded)));
            ended
        }
    }
}

fn number(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

/// Says what happens, on a thread of its own: standard error may be a pipe that is full, or a terminal that was stopped,
/// for which the end does not wait.
struct Voice {
    /// Disconnected when it is to end.
    more: Sender<Infallible>,
    /// Disconnected when it has ended.
    silent: Receiver<Infallible>,
}

impl Voice {
    /// On a terminal the status line is at the bottom.
    fn start(feed: Arc<Feed>, said: Receiver<String>, talk: Talk, first: String) -> Result<Self, Failure> {
        let (more, over) = bounded::<Infallible>(0);
        let (speaks, silent) = bounded::<Infallible>(0);
        let speak = move || {
            let _speaks = speaks;
            if !talk.is_quiet() {
                say(&first);
            }
            let mut status = if talk.is_quiet() { None } else { StatusLine::new() };
            let ticks = StatusLine::ticks(status.as_ref());
            loop {
                let text = select! {
                    recv(said) -> text => text.ok(),
                    recv(over) -> _ => None,
                    recv(ticks) -> _ => {
                        if let Some(status) = &mut status {
                            status.draw(&feed);
                        }
                        continue;
                    }
                };
                if let Some(status) = &mut status {
                    status.clear();
                }
                let Some(text) = text else { break };
                note(&text);
            }
            said.try_iter().for_each(|text| note(&text));
        };
        let thread = std::thread::Builder::new().name("livefeed-voice".to_owned()).spawn(speak);
        thread.map_err(|error| Failure::failed(format!("no thread can be started: {error}")))?;
        Ok(Self { more, silent })
    }

    /// Has it end, and waits a moment for what it says.
    fn end(self) {
        drop(self.more);
        let _ = self.silent.recv_timeout(LAST_WORDS);
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

/// Says what happens to the feed, by way of whoever keeps the status line.
struct Teller {
    talk: Talk,
    /// Told why the feed closed.
    tell: Sender<String>,
    say_it: Sender<String>,
    /// What the user was last told to do.
    hint: Option<&'static str>,
}

impl Teller {
    fn say(&mut self, event: &Event) {
        if let Event::Closed(closed) = event {
            let _ = self.tell.try_send(hints::closed(&closed.reason));
        }
        if !self.talk.wants(event, matches!(event, Event::Closed(_))) {
            return;
        }
        // Said once, until it is another.
        let hint = sentences::hint(event).filter(|hint| self.hint.replace(hint) != Some(hint));
        if let Some(text) = sentences::of(event, hint) {
            let _ = self.say_it.try_send(text); // full: nobody reads it, and frames do not wait for that
        }
    }
}

/// Puts the beginnings and ends of connections on tape.
fn mark(
    tape: Tape,
    counts: Arc<Counts>,
    name: Arc<OnceLock<String>>,
    mut teller: Teller,
) -> impl FnMut(Event) + Send {
    move |event| {
        let kind = match &event {
            Event::Message(_) => return,
            Event::Connected(_) => {
                counts.connections.fetch_add(1, Ordering::Relaxed);
                Some(Kind::Connected)
            }
            Event::Disconnected(_) => Some(Kind::Ended),
            _ => None,
        };
        if let Some(kind) = kind {
            let json = event.to_json(name.get().map_or("", String::as_str)).to_string();
            tape.add(time::mono(), event.epoch(), kind, false, Body::Whole(json.as_bytes()));
        }
        teller.say(&event);
    }
}
