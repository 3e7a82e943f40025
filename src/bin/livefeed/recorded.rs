//! A recording as it is read again: its connections, and what to play of them when.

use crate::alone;
use crate::exit::{Failure, Outcome, say};
use crate::recording::{Body, Kind, Place, Reader, Record, Tail};
use livefeed::crossbeam_channel::Sender;
use livefeed::lab::{Command, Cue};
use serde_json::{Map, Value, json};
use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// So many connections are played at most: hundreds of them fit into each kilobyte of a file made up for it.
const MOST: usize = 1 << 20;

/// How fast a recording is played.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pace {
    /// So many times as fast as it was.
    Times(f64),
    /// As fast as the client takes it.
    Max,
}

impl Pace {
    fn of(self, micros: u64) -> Duration {
        match self {
            Self::Times(times) => {
                Duration::try_from_secs_f64(micros as f64 / 1e6 / times).unwrap_or(Duration::MAX)
            }
            Self::Max => Duration::ZERO,
        }
    }
}

/// How a recorded connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum End {
    /// The recording ended before it, or its client had enough.
    #[default]
    Open,
    /// The client did not like what it got, or that it got nothing: it is for the client to end it.
    ByClient,
    /// Not even pings were answered.
    Dead,
    Fin,
    Reset,
}

impl End {
    /// By the `reason` of the event.
    fn of(record: &Record<'_>) -> Self {
        let Body::Whole(json) = record.body else { return Self::Open };
        let event: Value = serde_json::from_slice(json).unwrap_or_default();
        match event.get("reason").and_then(Value::as_str) {
            Some("closed without close frame") => Self::Fin,
            Some("io") => Self::Reset,
            Some("pong overdue" | "heartbeat overdue") => Self::Dead,
            Some("closed by user" | "reconnect requested" | "closed by peer") | None => Self::Open,
            Some(_) => Self::ByClient,
        }
    }
}

#[derive(Debug, Clone)]
struct Connection {
    epoch: u64,
    first: Place,
    /// The last of its records; others may stand between.
    last: Place,
    from: u64,
    end: End,
    /// The client has sent a Close frame.
    goodbye: bool,
    /// The server has sent something.
    speaks: bool,
}

/// What is known of a recording without its frames.
#[derive(Debug)]
pub(crate) struct Recording {
    path: PathBuf,
    connections: Vec<Connection>,
    messages: u64,
    bytes: u64,
    micros: u64,
}

impl fmt::Display for Recording {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, connections, messages, bytes, micros } = self;
        let (shown, count, seconds) = (path.display(), connections.len(), *micros as f64 / 1e6);
        let connections = if count == 1 { "connection" } else { "connections" };
        write!(f, "{shown}: {count} {connections}, {messages} messages of {bytes} bytes, {seconds:.1} s")
    }
}

/// Opens a recording to read.
fn open(path: &Path) -> Result<Reader<BufReader<File>>, Failure> {
    let shown = path.display();
    let file = File::open(path).map_err(|error| Failure::usage(format!("{shown}: {error}")))?;
    let reader =
        Reader::new(BufReader::with_capacity(1 << 18, file)).map_err(|error| failed(path, &error))?;
    reader.map_err(|foreign| Failure::usage(format!("{shown} {foreign}")))
}

fn failed(path: &Path, error: &io::Error) -> Failure {
    Failure::failed(format!("{}: {error}", path.display()))
}

/// Says what is left out at the end of a recording.
fn say_tail(path: &Path, tail: Tail, good: u64) {
    let shown = path.display();
    match tail {
        Tail::Clean => {}
        Tail::Torn => say(&format!(
            "livefeed: {shown}: what stands behind byte {good} was not written in whole, and is left out"
        )),
        Tail::Damaged(what) => {
            say(&format!("livefeed: {shown} is damaged at byte {good}: {what}; what follows is left out"))
        }
    }
}

impl Recording {
    /// Reads through a recording, and says what is wrong with it.
    pub(crate) fn scan(path: &Path) -> Result<Self, Failure> {
        // Each client reads it anew.
        alone::check(path).map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?;
        let mut reader = open(path)?;
        let mut recording =
            Self { path: path.to_owned(), connections: Vec::new(), messages: 0, bytes: 0, micros: 0 };
        let mut open: Option<Connection> = None;
        // The epochs of the connections that were established and that ended last in this run. An attempt that fails before
        // that leaves its epoch to the next one.
        let (mut connected, mut ended): (Option<u64>, Option<u64>) = (None, None);
        // The times of the run up to here.
        let (mut begun, mut latest) = (0, 0);
        while let Some(record) = reader.next().map_err(|error| failed(path, &error))? {
            let (kind, sent, at, epoch) = (record.kind, record.sent, record.at, record.epoch);
            let end = (kind == Kind::Ended).then(|| End::of(&record));
            if let Body::Whole(payload) = record.body
                && record.is_message()
                && !sent
            {
                recording.messages += 1;
                recording.bytes += payload.len() as u64;
            }
            let place = reader.place();
            if kind == Kind::Start {
                recording.connections.extend(open.take());
                recording.micros = recording.micros.saturating_add(latest - begun);
                (begun, latest, connected, ended) = (at, at, None, None);
                continue;
            }
            if kind == Kind::Connected {
                connected = Some(epoch);
            }
            latest = latest.max(at);
            // What was sent at the last moment may stand behind the end that it belongs to.
            if ended.is_some_and(|ended| epoch <= ended) {
                if kind == Kind::Close
                    && sent
                    && let Some(last) = recording.connections.last_mut().filter(|last| last.epoch == epoch)
                {
                    last.end = End::Open;
                }
                continue;
            }
            let new = || Connection {
                epoch,
                first: place,
                last: place,
                from: at,
                end: End::Open,
                goodbye: false,
                speaks: false,
            };
            let connection = match &mut open {
                Some(open) => open,
                // That an attempt has failed is no connection.
                None if end.is_some() => continue,
                None => open.insert(new()),
            };
            connection.last = place;
            connection.speaks |= kind == Kind::Connected || (!sent && end.is_none());
            connection.goodbye |= kind == Kind::Close && sent;
            if let Some(end) = end {
                // A client that says goodbye has had enough, however the rest went.
                connection.end = if connection.goodbye { End::Open } else { end };
                ended = connected;
                recording.connections.extend(open.take());
            }
            if recording.connections.len() > MOST {
                let shown = path.display();
                return Err(Failure::failed(format!(
                    "{shown} holds more than {MOST} connections, too many to play"
                )));
            }
        }
        recording.micros = recording.micros.saturating_add(latest - begun);
        recording.connections.extend(open);
        recording.connections.retain(|connection| connection.speaks);
        say_tail(path, reader.tail(), reader.good());
        Ok(recording)
    }

    /// How many connections there are to play.
    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }
}

/// What the server of a recording did on a connection, or on all of them as if they were one.
pub(crate) struct Cues {
    recording: Arc<Recording>,
    /// The connections still to be played, by their number.
    left: std::ops::Range<usize>,
    joined: bool,
    pace: Pace,
    in_step: bool,
    playing: Option<Playing>,
    /// When the next connection begins, in recorded microseconds of this playback.
    now: u64,
    over: bool,
    /// Told when it is dropped.
    tell: Sender<()>,
}

struct Playing {
    reader: Reader<BufReader<File>>,
    connection: Connection,
    begins: u64,
    /// The client has sent a Close frame: that of the server answers it.
    closing: bool,
    /// How it goes on is said already.
    ended: bool,
}

impl Drop for Cues {
    fn drop(&mut self) {
        let _ = self.tell.send(());
    }
}

impl Cues {
    /// Those of one connection, or all joined.
    pub(crate) fn new(
        recording: Arc<Recording>,
        one: Option<usize>,
        pace: Pace,
        in_step: bool,
        tell: Sender<()>,
    ) -> Self {
        let left = one.map_or(0..recording.connections(), |one| one..one + 1);
        let joined = one.is_none();
        Self { recording, left, joined, pace, in_step, playing: None, now: 0, over: false, tell }
    }

    fn begin(&mut self) -> io::Result<bool> {
        let Some(number) = self.left.next() else { return Ok(false) };
        let Some(connection) = self.recording.connections.get(number).cloned() else { return Ok(false) };
        let mut file = File::open(&self.recording.path)?;
        file.seek(SeekFrom::Start(connection.first.block))?;
        let reader = Reader::at_block(BufReader::with_capacity(1 << 18, file), connection.first.block);
        self.playing = Some(Playing { reader, connection, begins: self.now, closing: false, ended: false });
        Ok(true)
    }

    /// The next thing to do; `None` at the end.
    fn cue(&mut self) -> io::Result<Option<Cue>> {
        loop {
            let Some(playing) = &mut self.playing else {
                if self.over {
                    return Ok(None);
                }
                if !self.begin()? {
                    self.over = true;
                    let close = Command::Close(1000, "the recording is over".to_owned());
                    return Ok(self.joined.then(|| Cue::At(self.pace.of(self.now), close)));
                }
                continue;
            };
            match playing.next(self.joined, self.in_step)? {
                Some((micros, Step::Do(command))) => {
                    self.now = self.now.max(micros);
                    return Ok(Some(Cue::At(self.pace.of(micros), command)));
                }
                Some((micros, Step::Wait)) => {
                    self.now = self.now.max(micros);
                    return Ok(Some(Cue::Heard(self.pace.of(micros))));
                }
                None => self.playing = None,
            }
        }
    }
}

enum Step {
    Do(Command),
    /// For a message of the client.
    Wait,
}

impl Playing {
    /// The next thing to do, and when, in microseconds of the playback.
    fn next(&mut self, joined: bool, in_step: bool) -> io::Result<Option<(u64, Step)>> {
        while self.reader.place() < self.connection.last {
            let Some(record) = self.reader.next()? else { break };
            let at = self.begins.saturating_add(record.at.saturating_sub(self.connection.from));
            let (kind, sent, epoch) = (record.kind, record.sent, record.epoch);
            let command = match record.body {
                Body::Whole(payload) if !sent => command(kind, payload),
                _ => None,
            };
            let is_message = record.is_message();
            if self.reader.place() < self.connection.first || epoch != self.connection.epoch {
                continue;
            }
            match (kind, command) {
                (Kind::Close, _) if sent => self.closing = true,
                (Kind::Close, Some(_)) if joined || self.closing => {}
                (Kind::Close, Some(command)) => {
                    self.ended = true;
                    return Ok(Some((at, Step::Do(command))));
                }
                (_, Some(command)) => return Ok(Some((at, Step::Do(command)))),
                (_, None) if sent && is_message && in_step => return Ok(Some((at, Step::Wait))),
                (Kind::Ended, None) if !joined && !self.ended => {
                    self.ended = true;
                    return Ok(self.connection.end.command().map(|command| (at, Step::Do(command))));
                }
                _ => {}
            }
        }
        if joined || std::mem::replace(&mut self.ended, true) {
            return Ok(None);
        }
        // The recording ended first.
        Ok(End::Open.command().map(|command| (self.begins, Step::Do(command))))
    }
}

impl End {
    /// What the server does then.
    fn command(self) -> Option<Command> {
        match self {
            Self::Open => Some(Command::Close(1000, "the recording is over".to_owned())),
            Self::ByClient => None,
            Self::Dead => Some(Command::Freeze),
            Self::Fin => Some(Command::Fin),
            Self::Reset => Some(Command::Reset),
        }
    }
}

/// What makes the server send this. Pongs it sends by itself.
fn command(kind: Kind, payload: &[u8]) -> Option<Command> {
    match kind {
        Kind::Text => Some(Command::Send(String::from_utf8_lossy(payload).into_owned())),
        Kind::Binary => Some(Command::SendBinary(payload.to_vec())),
        Kind::Ping => Some(Command::Ping(payload.to_vec())),
        Kind::Close => {
            let (code, reason) = close(payload);
            Some(Command::Close(code.unwrap_or(1005), reason))
        }
        Kind::Pong | Kind::Start | Kind::Connected | Kind::Ended => None,
    }
}

/// Code and reason of a Close frame.
fn close(payload: &[u8]) -> (Option<u16>, String) {
    match payload {
        [high, low, reason @ ..] => {
            (Some(u16::from_be_bytes([*high, *low])), String::from_utf8_lossy(reason).into_owned())
        }
        _ => (None, String::new()),
    }
}

impl Iterator for Cues {
    type Item = Cue;

    fn next(&mut self) -> Option<Cue> {
        match self.cue() {
            Ok(cue) => cue,
            Err(error) => {
                say(&format!("livefeed: {}: {error}", self.recording.path.display()));
                if std::mem::replace(&mut self.over, true) {
                    return None;
                }
                (self.playing, self.left) = (None, 0..0);
                let close = Command::Close(1011, "the recording can't be read".to_owned());
                Some(Cue::At(self.pace.of(self.now), close))
            }
        }
    }
}

/// Prints all records as JSON, one a line.
pub(crate) fn print(path: &Path) -> Outcome {
    let mut reader = open(path)?;
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    while let Some(record) = reader.next().map_err(|error| failed(path, &error))? {
        if writeln!(out, "{}", json(&record)).is_err() {
            return Ok(()); // nobody reads any more
        }
    }
    let _ = out.flush();
    say_tail(path, reader.tail(), reader.good());
    Ok(())
}

fn json(record: &Record<'_>) -> Value {
    let name = match record.kind {
        Kind::Start => "start",
        Kind::Connected => "connected",
        Kind::Ended => "ended",
        Kind::Text => "text",
        Kind::Binary => "binary",
        Kind::Ping => "ping",
        Kind::Pong => "pong",
        Kind::Close => "close",
    };
    let mut object = Map::new();
    object.insert("record".into(), name.into());
    object.insert("at_seconds".into(), json!(record.at as f64 / 1e6));
    object.insert("epoch".into(), record.epoch.into());
    let is_frame = !matches!(record.kind, Kind::Start | Kind::Connected | Kind::Ended);
    if is_frame {
        object.insert("direction".into(), if record.sent { "sent" } else { "received" }.into());
    }
    match (record.kind, record.body) {
        (_, Body::Omitted(bytes)) => object.insert("redacted_bytes".into(), bytes.into()),
        (Kind::Text, Body::Whole(bytes)) => {
            object.insert("text".into(), String::from_utf8_lossy(bytes).into())
        }
        (Kind::Close, Body::Whole(bytes)) => {
            let (code, reason) = close(bytes);
            object.insert("code".into(), json!(code));
            object.insert("reason".into(), reason.into())
        }
        (Kind::Binary | Kind::Ping | Kind::Pong, Body::Whole(bytes)) => {
            object.insert("binary".into(), data_encoding::BASE64.encode(bytes).into())
        }
        (_, Body::Whole(bytes)) => {
            object.insert("details".into(), serde_json::from_slice(bytes).unwrap_or_default())
        }
    };
    Value::Object(object)
}

#[cfg(test)]
mod tests;
