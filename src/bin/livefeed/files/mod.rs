//! Events in files that are put aside by size and time.

mod appender;
mod rotation;

use crate::conf::Output;
use crate::talk::note;
use appender::Appender;
use rotation::Rotation;
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// So long nothing is put aside after that has failed; meanwhile the file grows.
const HOLD: Duration = Duration::from_secs(60);

/// What is still to be written to one file: whole lines.
#[derive(Debug, Default)]
struct Pending {
    bytes: Vec<u8>,
    /// How much of it is written.
    done: usize,
}

/// The files of all feeds, and what is still to be written to them.
#[derive(Debug)]
pub(crate) struct Files {
    files: Vec<(RotatingFile, Pending)>,
    by_feed: BTreeMap<String, usize>,
    gathered: usize,
}

impl Files {
    /// Opens the files for feeds of these names, so that what is wrong is known before anything is received.
    pub(crate) fn open(
        output: &Output,
        path: &Path,
        feeds: impl IntoIterator<Item = String>,
        now: SystemTime,
    ) -> Result<Self, (ErrorKind, String)> {
        let mut files: Vec<(RotatingFile, Pending)> = Vec::new();
        let mut by_feed = BTreeMap::new();
        for feed in feeds {
            let path = path_of(path, &feed);
            let known = files.iter().position(|(file, _)| file.appender.path() == path);
            let index = match known {
                Some(index) => index,
                None => {
                    let mut file = RotatingFile::new(path, output);
                    let opened = file.open(now);
                    opened.map_err(|error| {
                        (error.kind(), format!("{}: {error}", file.appender.path().display()))
                    })?;
                    files.push((file, Pending::default()));
                    files.len() - 1
                }
            };
            by_feed.insert(feed, index);
        }
        Ok(Self { files, by_feed, gathered: 0 })
    }

    /// Gathers a line, which `add` writes with its end.
    pub(crate) fn gather(&mut self, feed: &str, add: impl FnOnce(&mut Vec<u8>)) {
        let Some((_, pending)) = self.by_feed.get(feed).and_then(|index| self.files.get_mut(*index)) else {
            return;
        };
        let before = pending.bytes.len();
        add(&mut pending.bytes);
        self.gathered += pending.bytes.len().saturating_sub(before);
    }

    /// How many bytes are gathered, or were and could not be written.
    pub(crate) fn gathered(&self) -> usize {
        self.gathered
    }

    /// Writes what was gathered. After an error, which names the file, the rest is kept, and the same call may be repeated.
    pub(crate) fn write(&mut self, now: SystemTime) -> Result<(), String> {
        let mut result = Ok(());
        for (file, pending) in &mut self.files {
            if let Err(error) = file.write(pending, now) {
                result = Err(format!("{}: {error}", file.appender.path().display()));
            }
        }
        self.gathered = self.files.iter().map(|(_, pending)| pending.bytes.len() - pending.done).sum();
        result
    }

    /// When the next file is to be put aside, though nothing comes for it.
    pub(crate) fn due(&self) -> Option<SystemTime> {
        self.files.iter().filter_map(|(file, _)| file.next_due()).min()
    }

    /// Puts aside what is due.
    pub(crate) fn handle_due(&mut self, now: SystemTime) {
        for (file, _) in &mut self.files {
            if file.next_due().is_some_and(|due| due <= now) && !file.is_held(now) {
                file.put_aside(now);
            }
        }
    }
}

/// The file of a feed: its name with nothing in it that a path could be made of.
pub(crate) fn path_of(path: &Path, feed: &str) -> PathBuf {
    let plain = |c: char| if c.is_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let mut name: String = feed.chars().map(plain).collect();
    if name.starts_with('.') {
        name.replace_range(..1, "_");
    }
    match path.to_str() {
        Some(text) => PathBuf::from(text.replace("{feed}", &name)),
        None => path.to_owned(),
    }
}

#[derive(Debug)]
struct RotatingFile {
    appender: Appender,
    rotation: Rotation,
    keep: Option<usize>,
    /// When it is to be put aside; none while there is nothing in it.
    due: Option<SystemTime>,
    held_until: Option<SystemTime>,
}

impl RotatingFile {
    fn new(path: PathBuf, output: &Output) -> Self {
        let rotation = Rotation { max_bytes: output.max_bytes, every: output.every.duration() };
        Self { appender: Appender::new(path), rotation, keep: output.keep, due: None, held_until: None }
    }

    fn open(&mut self, now: SystemTime) -> io::Result<()> {
        let metadata = self.appender.open()?;
        if metadata.len() > 0 {
            self.due = self.rotation.due(metadata.modified().unwrap_or(now).min(now));
        }
        Ok(())
    }

    fn write(&mut self, pending: &mut Pending, now: SystemTime) -> io::Result<()> {
        while let Some(rest) = pending.bytes.get(pending.done..).filter(|rest| !rest.is_empty()) {
            let length = self.appender.open()?.len();
            if length == 0 || self.due.is_none() {
                self.due = self.rotation.due(now);
            }
            let held = self.is_held(now);
            let count = if held { rest.len() } else { self.rotation.room(length, rest) };
            if length > 0 && !held && (count == 0 || self.due.is_some_and(|due| due <= now)) {
                self.put_aside(now);
                continue;
            }
            self.appender.append(rest.get(..count).unwrap_or(rest))?;
            pending.done += count;
        }
        pending.bytes.clear();
        pending.done = 0;
        pending.bytes.shrink_to(1 << 20); // a very long line may have come
        Ok(())
    }

    fn is_held(&self, now: SystemTime) -> bool {
        // No longer than that, also if the clock was set back.
        self.held_until
            .is_some_and(|until| until.duration_since(now).is_ok_and(|left| !left.is_zero() && left <= HOLD))
    }

    fn next_due(&self) -> Option<SystemTime> {
        self.due.map(|due| self.held_until.map_or(due, |held| due.max(held)))
    }

    /// Puts the file aside. If that can't be done, it grows for a while.
    fn put_aside(&mut self, now: SystemTime) {
        match self.try_put_aside(now) {
            Ok(()) => {
                self.due = None;
                self.held_until = None;
                self.delete_surplus(now);
            }
            Err(error) => {
                let path = self.appender.path().display();
                note(&format!("{path}: can't be put aside, and grows: {error}"));
                self.held_until = now.checked_add(HOLD);
            }
        }
    }

    fn try_put_aside(&mut self, now: SystemTime) -> io::Result<()> {
        // A name that is taken is left alone: there may be two in one millisecond, or the clock was set back.
        let taken = |path: &PathBuf| path.symlink_metadata().is_ok();
        let times = (0..10_000).filter_map(|ms| now.checked_add(Duration::from_millis(ms)));
        let to = times.map(|time| rotation::name(self.appender.path(), time)).find(|path| !taken(path));
        let to = to.ok_or_else(|| io::Error::from(ErrorKind::AlreadyExists))?;
        self.appender.put_aside(&to)
    }

    fn delete_surplus(&self, now: SystemTime) {
        let (Some(keep), path) = (self.keep, self.appender.path()) else { return };
        let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let Ok(entries) = std::fs::read_dir(dir) else { return };
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let aside = names.filter(|name| rotation::is_aside(path, name)).collect();
        for name in rotation::surplus(path, aside, keep, now) {
            if let Err(error) = std::fs::remove_file(dir.join(&name)) {
                note(&format!("{}: can't be deleted: {error}", dir.join(&name).display()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
