//! Prints any feed: its messages to standard output, everything else to standard error.
//!
//! ```text
//! cargo run --release --example tail -- URL [SUBSCRIBE]
//! cargo run --release --example tail -- wss://feed.example/ws '{"op":"subscribe","channel":"trades"}'
//! cargo run --release --example tail -- FILE.json
//! ```
//!
//! `FILE.json` is a configuration, such as those in `examples/feeds`.
//! `SUBSCRIBE` is sent as it is on each new connection. `LIVEFEED_STALE_AFTER` says how long there may be no data
//! (`500ms`, `2s`, `none`; default `60s`), and `RUST_LOG=debug` shows what livefeed logs. Text messages are printed as
//! they are, binary ones as base64, one a line. Ends with status 1 if the feed closed by itself, with 2 if the
//! arguments are wrong, and with 0 if nobody reads the output any more.

use livefeed::{Event, Feed, FeedBuilder, FeedConfig, Limit, Message, Payload, Subscription};
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

const USAGE: &str = "usage: tail URL [SUBSCRIBE] | tail FILE.json     \
                     URL is ws://.. or wss://.., SUBSCRIBE a text to send, FILE a configuration";

fn main() -> ExitCode {
    env_logger::init();
    let feed = match configure().and_then(|builder| builder.open().map_err(|error| error.to_string())) {
        Ok(feed) => feed,
        Err(problem) => {
            note(&problem);
            note(USAGE);
            return ExitCode::from(2);
        }
    };
    let ended = print(&feed, &mut io::stdout().lock());
    let _ = feed.close(Duration::from_secs(1)); // says goodbye to the server; too late is no harm here
    match ended {
        Ok(()) => ExitCode::FAILURE, // a feed that was not closed from here ends only when it gives up
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            note(&format!("standard output: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// The feed that the arguments and the environment ask for.
fn configure() -> Result<FeedBuilder, String> {
    let mut arguments = std::env::args_os().skip(1).map(std::ffi::OsString::into_string);
    let mut next = || arguments.next().transpose().map_err(|text| format!("not UTF-8: {}", text.display()));
    let url = next()?.ok_or("the URL is missing")?;
    let subscribe = next()?;
    if next()?.is_some() {
        return Err("too many arguments".to_owned());
    }

    let mut builder = if std::path::Path::new(&url).extension().is_some_and(|end| end == "json") {
        let json = std::fs::read_to_string(&url).map_err(|error| format!("{url}: {error}"))?;
        FeedBuilder::from(FeedConfig::from_json(&json).map_err(|error| error.to_string())?)
    } else {
        Feed::builder(url)
    };
    if let Some(text) = subscribe {
        // Without a matcher every message is this subscription's data.
        builder = builder.subscription(Subscription::new("tail").subscribe_text(text));
    }
    if let Some(text) = std::env::var_os("LIVEFEED_STALE_AFTER") {
        let limit = parse_limit(&text.to_string_lossy())?;
        builder = builder.config(|config| config.stale_after = limit.into());
    }
    Ok(builder)
}

fn parse_limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit::None);
    }
    let limit = humantime::parse_duration(text).map(Limit::After);
    limit.map_err(|_| {
        format!("LIVEFEED_STALE_AFTER: {text:?} is no duration: give one such as 500ms or 2s, or none")
    })
}

/// Prints until the feed is closed. A batch is all that waits: it is written out at once.
fn print(feed: &Feed, out: &mut impl Write) -> io::Result<()> {
    let mut out = io::BufWriter::new(out);
    while let Ok(batch) = feed.batches().recv() {
        for event in batch {
            match event {
                Event::Message(message) => print_message(&message, &mut out)?,
                event => note(&describe(&event)),
            }
        }
        out.flush()?;
    }
    Ok(())
}

fn print_message(message: &Message, out: &mut impl Write) -> io::Result<()> {
    match message.payload() {
        Payload::Text(text) => writeln!(out, "{text}"),
        Payload::Binary(bytes) => writeln!(out, "{}", data_encoding::BASE64.encode(bytes)),
    }
}

fn describe(event: &Event) -> String {
    match event {
        Event::Connecting(e) => format!("connecting to {}, attempt {}", e.endpoint, e.attempt),
        Event::Connected(e) => {
            format!("connected to {}, epoch {}, in {:.1} ms", e.peer, e.epoch, e.took.as_secs_f64() * 1e3)
        }
        Event::Subscribed(_) => "subscribed".to_owned(),
        Event::Stale(e) => format!(
            "STALE: no data for {:.3} s, limit {:.3} s; next: {}",
            e.age.as_secs_f64(),
            e.limit.as_secs_f64(),
            e.next.name()
        ),
        Event::Gap(e) => format!(
            "GAP: {}; the last message before it came {}",
            e.cause.name(),
            ago(e.last_message, e.time)
        ),
        Event::Disconnected(e) => {
            let next = match e.retry_in {
                Some(delay) => format!("; next attempt in {:.3} s", delay.as_secs_f64()),
                None => String::new(),
            };
            let what = if e.was_connected { "disconnected" } else { "no connection" };
            let times = if e.attempts > 1 { format!(" ({} ends)", e.attempts) } else { String::new() };
            format!("{what}{times}: {}{next}", e.reason)
        }
        Event::Closed(e) => format!("closed: {}", e.reason),
        other => other.to_json("tail").to_string(),
    }
}

fn ago(then: Option<SystemTime>, now: SystemTime) -> String {
    match then {
        Some(then) => format!("{:.3} s before", now.duration_since(then).unwrap_or_default().as_secs_f64()),
        None => "never".to_owned(),
    }
}

/// Says something on standard error, with the time. `eprintln!` would panic if nobody reads there.
fn note(text: &str) {
    let time = humantime::format_rfc3339_millis(now());
    let _ = writeln!(io::stderr(), "{time} {text}");
}

#[allow(clippy::disallowed_methods, reason = "a program of its own may read clocks")]
fn now() -> SystemTime {
    SystemTime::now()
}
