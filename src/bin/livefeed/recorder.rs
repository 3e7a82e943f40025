//! A recording while it is written: frames are gathered in memory, and a thread writes them, at most a second apart.

use crate::alone;
use crate::exit::{Failure, say};
use crate::recording::{Block, Body, Foreign, Kind, MAGIC, Reader, Record, Sealer, Tail};
use crate::time;
use livefeed::crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long a frame waits to be written at most, but for the time that writing takes.
const FLUSH: Duration = Duration::from_millis(250);
/// A block that is this long is full, in bytes.
const BLOCK: usize = 128 << 10;
/// Over this much that is not written yet, in bytes, what is received waits.
const BOUND: usize = 64 << 20;
/// Drained blocks that are kept for the next ones.
const SPARE: usize = 4;

/// What to do with a file that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Existing {
    /// Written over if it holds no connection, as that of an attempt that failed; else refused.
    Refuse,
    Append,
    Replace,
}

/// A recording, open to be written, and how long it was.
pub(crate) struct Target {
    file: File,
    /// What was cut off, in bytes.
    pub(crate) cut: u64,
    /// What was written already, in bytes.
    written: u64,
}

/// Opens the file; one with a torn tail is cut there.
pub(crate) fn open(path: &Path, existing: Existing) -> Result<Target, Failure> {
    let shown = path.display();
    let failed = |error: io::Error| Failure::failed(format!("{shown}: {error}"));
    alone::check(path).map_err(failed)?;
    let was_there = path.symlink_metadata().is_ok();
    let mut options = OpenOptions::new();
    // Emptied only when it is known to be ours alone.
    options.read(true).write(true).create(true).truncate(false);
    // What is sent may hold secrets.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    alone::lock(&file).map_err(failed)?;
    let (good, cut) = match existing {
        Existing::Refuse => {
            if was_there && is_of_another(&file) {
                return Err(Failure::usage(format!(
                    "{shown} is there already, and belongs to another user: write over it with --overwrite"
                )));
            }
            free(&file, path)?;
            (0, 0)
        }
        Existing::Replace => {
            recording_or_empty(&file, path)?;
            (0, 0)
        }
        Existing::Append => end_of(&file, path)?,
    };
    // It may have been made by others, with other rights.
    #[cfg(unix)]
    if let Err(error) = file.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)) {
        say(&format!(
            "livefeed: {shown}: others may be able to read it, as its rights can't be changed: {error}"
        ));
    }
    file.set_len(good).map_err(failed)?;
    file.seek(SeekFrom::Start(good)).map_err(failed)?;
    let mut written = 0;
    if good == 0 {
        file.write_all(&MAGIC).map_err(failed)?;
        written = MAGIC.len() as u64;
    }
    Ok(Target { file, cut, written })
}

/// Whether another user, who could read what is written to it, has made it.
#[cfg(unix)]
fn is_of_another(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|metadata| metadata.uid() != rustix::process::geteuid().as_raw())
}

/// Nothing is known of that there.
#[cfg(not(unix))]
fn is_of_another(_: &File) -> bool {
    false
}

/// Refuses a file in which something is recorded. One with attempts alone that failed has nothing to be lost.
fn free(file: &File, path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let failed = |error: io::Error| Failure::failed(format!("{shown}: {error}"));
    let reader = Reader::new(BufReader::new(file)).map_err(failed)?;
    let mut reader =
        reader.map_err(|foreign| Failure::usage(format!("{shown} is there already, and {foreign}")))?;
    let mut is_free = true;
    while is_free && let Some(record) = reader.next().map_err(failed)? {
        is_free = matches!(record.kind, Kind::Start | Kind::Ended);
    }
    if is_free && !matches!(reader.tail(), Tail::Damaged(_)) {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{shown} is there already: go on with it with --append, write over it with --overwrite"
    )))
}

/// Refuses to write over anything but a recording, of whatever version.
fn recording_or_empty(file: &File, path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    match Reader::new(file).map_err(|error| Failure::failed(format!("{shown}: {error}")))? {
        Err(foreign @ Foreign::Other) => Err(Failure::usage(format!("{shown} {foreign}"))),
        Ok(_) | Err(Foreign::Later) => Ok(()),
    }
}

/// Where the good part of a file ends, and what is behind it, in bytes.
fn end_of(file: &File, path: &Path) -> Result<(u64, u64), Failure> {
    let shown = path.display();
    let failed = |error: io::Error| Failure::failed(format!("{shown}: {error}"));
    let length = file.metadata().map_err(failed)?.len();
    let reader = Reader::new(BufReader::new(file)).map_err(failed)?;
    let mut reader = reader.map_err(|foreign| Failure::usage(format!("{shown} {foreign}")))?;
    while reader.next().map_err(failed)?.is_some() {}
    match reader.tail() {
        Tail::Damaged(what) => Err(Failure::failed(format!(
            "{shown} is damaged at byte {}: {what}; nothing can be appended to it",
            reader.good()
        ))),
        Tail::Clean | Tail::Torn => Ok((reader.good(), length.saturating_sub(reader.good()))),
    }
}

#[derive(Default)]
struct State {
    current: Block,
    full: VecDeque<Block>,
    spare: Vec<Block>,
    /// What is not written yet, in bytes.
    waiting: usize,
    /// Nothing is taken any more.
    over: bool,
}

impl State {
    /// The blocks to write: the full ones, and, if it is due, the one that is not full yet.
    fn take(&mut self, due: bool, blocks: &mut VecDeque<Block>) {
        std::mem::swap(&mut self.full, blocks);
        if due && !self.current.is_empty() {
            let spare = self.spare.pop().unwrap_or_default();
            blocks.push_back(std::mem::replace(&mut self.current, spare));
        }
    }

    fn put_back(&mut self, mut block: Block) {
        self.waiting = self.waiting.saturating_sub(block.len());
        let is_usual = block.len() <= 2 * BLOCK;
        block.clear();
        if is_usual && self.spare.len() < SPARE {
            self.spare.push(block);
        }
    }
}

struct Shared {
    state: Mutex<State>,
    room: Condvar,
    begin: Instant,
}

impl Shared {
    /// Takes nothing more.
    fn end(&self) {
        self.lock().over = true;
        self.room.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where frames and marks go to, from any thread.
#[derive(Clone)]
pub(crate) struct Tape {
    shared: Arc<Shared>,
    kick: Sender<()>,
}

impl Tape {
    /// Adds a record. If too much waits to be written, what may wait does.
    pub(crate) fn add(&self, at: Instant, epoch: u64, kind: Kind, sent: bool, body: Body<'_>) {
        let at = at.saturating_duration_since(self.shared.begin).as_micros();
        let at = u64::try_from(at).unwrap_or(u64::MAX);
        let length = if let Body::Whole(bytes) = body { bytes.len() } else { 0 };
        let mut state = self.shared.lock();
        // What is sent is never held up: the thread that sends keeps all deadlines.
        while !sent && state.waiting > BOUND && !state.over {
            state = self.shared.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.over {
            return;
        }
        let was_empty = state.current.is_empty() && state.full.is_empty();
        let mut is_full = false;
        if state.current.len() >= BLOCK || !state.current.has_room(length) {
            let spare = state.spare.pop().unwrap_or_default();
            let full = std::mem::replace(&mut state.current, spare);
            state.full.push_back(full);
            is_full = true;
        }
        let before = state.current.len();
        state.current.add(&Record { kind, sent, at, epoch, body });
        state.waiting += state.current.len() - before;
        drop(state);
        if was_empty || is_full {
            let _ = self.kick.try_send(()); // full: it is awake already
        }
    }
}

/// The thread that writes.
pub(crate) struct Recorder {
    thread: JoinHandle<io::Result<u64>>,
    tape: Tape,
    /// Gets a message when the file can't be written any more.
    pub(crate) broken: Receiver<()>,
}

impl Recorder {
    /// Begins to write to the end of a file.
    pub(crate) fn start(target: Target) -> Result<(Self, Tape), Failure> {
        let (kick, kicks) = bounded(1);
        let (break_, broken) = bounded(1);
        let shared = Arc::new(Shared { state: Mutex::default(), room: Condvar::new(), begin: time::mono() });
        let tape = Tape { shared: Arc::clone(&shared), kick };
        let thread = thread::Builder::new().name("recorder".to_owned()).spawn(move || {
            let result = write(target, &shared, &kicks);
            shared.end();
            if result.is_err() {
                let _ = break_.try_send(());
            }
            result
        });
        let thread = thread.map_err(|error| Failure::failed(format!("no thread can be started: {error}")))?;
        Ok((Self { thread, tape: tape.clone(), broken }, tape))
    }

    /// Takes nothing more, and waits until all is written. How much was written, in bytes.
    pub(crate) fn finish(self) -> io::Result<u64> {
        self.tape.shared.end();
        let _ = self.tape.kick.try_send(()); // full: it is awake already
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the recording thread panicked")))
    }
}

/// Writes what comes, until nothing more is taken.
fn write(target: Target, shared: &Shared, kicks: &Receiver<()>) -> io::Result<u64> {
    let Target { mut file, mut written, .. } = target;
    let mut sealer = Sealer::new();
    let mut blocks = VecDeque::new();
    let mut bytes = Vec::new();
    // When what waits has to be written.
    let mut deadline: Option<Instant> = None;
    loop {
        let woken = match deadline {
            Some(deadline) => kicks.recv_deadline(deadline),
            None => kicks.recv().map_err(RecvTimeoutError::from),
        };
        let now = time::mono();
        let mut state = shared.lock();
        let ended = state.over || woken == Err(RecvTimeoutError::Disconnected);
        let due = ended || deadline.is_some_and(|deadline| now >= deadline);
        state.take(due, &mut blocks);
        let is_empty = state.current.is_empty();
        drop(state);
        deadline = if is_empty { None } else { deadline.filter(|_| !due).or(now.checked_add(FLUSH)) };
        while let Some(block) = blocks.pop_front() {
            bytes.clear();
            sealer.seal(&block, &mut bytes)?;
            file.write_all(&bytes)?;
            written += bytes.len() as u64;
            if alone::is_deleted(&file) {
                return Err(io::Error::new(
                    io::ErrorKind::NotFound,
                    "it was deleted, and all that was recorded with it",
                ));
            }
            shared.lock().put_back(block);
            shared.room.notify_all();
        }
        if ended {
            file.sync_all()?;
            return Ok(written);
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use livefeed::crossbeam_channel::never;
    use std::os::fd::OwnedFd;
    use std::os::unix::net::UnixStream;
    use std::sync::atomic::{AtomicUsize, Ordering};

    const CEILING: Duration = Duration::from_secs(20);

    #[test]
    fn what_is_received_waits_for_a_file_that_is_too_slow_and_what_is_sent_does_not() {
        // Nobody reads at the other end.
        let (near, far) = UnixStream::pair().unwrap();
        let target = Target { file: File::from(OwnedFd::from(near)), cut: 0, written: 0 };
        let (recorder, tape) = Recorder::start(target).unwrap();
        // Not to be compressed.
        let payload: Vec<u8> = (0..1 << 20).map(|_| rand::random()).collect();
        let added = AtomicUsize::new(0);
        let add = |sent| tape.add(time::mono(), 1, Kind::Binary, sent, Body::Whole(&payload));
        thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..200 {
                    add(false);
                    added.fetch_add(1, Ordering::Relaxed);
                }
            });
            let mut before = 0;
            loop {
                let _ = never::<()>().recv_timeout(Duration::from_millis(300));
                let now = added.load(Ordering::Relaxed);
                if now > 0 && now == before {
                    break;
                }
                before = now;
            }
            assert!((60..=70).contains(&before), "{before} MiB are in memory");
            add(true);
            assert_eq!(added.load(Ordering::Relaxed), before);
            // A file that fails ends it all, and whoever waits goes on.
            drop(far);
            recorder.broken.recv_timeout(CEILING).unwrap();
        });
        assert_eq!(added.load(Ordering::Relaxed), 200);
        assert_eq!(recorder.finish().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
