//! One file that whole lines are appended to: nothing in it is ever torn, and nothing goes to a file that is gone.

use crate::alone;
use crate::talk::note;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// How many bytes are looked at in one go for the end of the last whole line.
const CHUNK: u64 = 64 << 10;

/// Appends to the file at a path, whatever happens to it meanwhile: one that was deleted or moved away is made anew.
#[derive(Debug)]
pub(super) struct Appender {
    path: PathBuf,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    file: File,
    /// Bytes at its end that a write left which failed half-way.
    torn: u64,
}

impl Drop for Open {
    fn drop(&mut self) {
        alone::unlock(&self.file);
    }
}

/// What has become of the file that is open.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    InPlace,
    /// It has another name now, or none that is known.
    Moved,
    /// It has no name any more: what is written to it is lost.
    Deleted,
}

impl Appender {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Opens the file unless it is open, makes it and its directory if there is none, and cuts an incomplete last line.
    /// Returns what is known of it.
    ///
    /// A file that holds something else is refused, and so is one that another process appends to.
    pub(super) fn open(&mut self) -> io::Result<Metadata> {
        if let Some(open) = &self.open {
            return open.file.metadata();
        }
        let mut file = self.create()?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(refusal("it is no regular file"));
        }
        alone::lock(&file)?;
        match last_line(&mut file, metadata.len())? {
            Last::Whole => {}
            Last::LacksEnd => file.write_all(b"\n")?,
            Last::Torn { at } => {
                file.set_len(at)?;
                let cut = metadata.len() - at;
                note(&format!("{}: cut {cut} bytes of an incomplete last line", self.path.display()));
            }
        }
        let metadata = file.metadata()?;
        self.open = Some(Open { file, torn: 0 });
        Ok(metadata)
    }

    fn create(&self) -> io::Result<File> {
        alone::check(&self.path)?;
        let mut options = OpenOptions::new();
        options.read(true).append(true).create(true);
        match options.open(&self.path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if let Some(parent) = self.path.parent() {
                    std::fs::create_dir_all(parent)?;
                }
                options.open(&self.path)
            }
            opened => opened,
        }
    }

    /// Appends whole lines: all of them, or, after an error, none. The same call may then be repeated.
    pub(super) fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        loop {
            self.open()?;
            let Some(open) = &mut self.open else { return Err(ErrorKind::NotFound.into()) };
            let written = open.write(lines);
            let standing = standing(&open.file, &self.path);
            match standing {
                Standing::InPlace => return written,
                Standing::Moved => {
                    // The lines are in the file that was moved, or nowhere if they could not be written.
                    let whole = open.mend();
                    self.open = None;
                    return written.and(whole);
                }
                // What went there is lost, so it is written again.
                Standing::Deleted => self.open = None,
            }
        }
    }

    /// Moves the file to another name, which must not be there yet, and lets go of it.
    pub(super) fn put_aside(&mut self, to: &Path) -> io::Result<()> {
        if let Some(open) = &mut self.open {
            open.mend()?;
            if standing(&open.file, &self.path) == Standing::InPlace {
                std::fs::rename(&self.path, to)?;
            }
        }
        self.open = None;
        Ok(())
    }
}

impl Open {
    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        self.mend()?;
        let mut rest = lines;
        while !rest.is_empty() {
            let written = match self.file.write(rest) {
                Ok(0) => Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                written => written,
            };
            match written {
                Ok(count) => {
                    self.torn += count as u64;
                    rest = rest.get(count..).unwrap_or_default();
                }
                Err(error) => {
                    // If this fails too, it is made up for by the next try.
                    let _ = self.mend();
                    return Err(error);
                }
            }
        }
        self.torn = 0;
        Ok(())
    }

    /// Cuts what a failed write left.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn > 0 {
            // By what the file is now: somebody may have emptied it.
            let length = self.file.metadata()?.len();
            self.file.set_len(length.saturating_sub(self.torn))?;
            self.torn = 0;
        }
        Ok(())
    }
}

fn refusal(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}

/// What the last line of a file is.
enum Last {
    Whole,
    /// Nothing but its line end is missing.
    LacksEnd,
    /// It begins there and is incomplete.
    Torn {
        at: u64,
    },
}

/// Looks at the last line of a file that should be one of ours, whose lines are JSON objects.
fn last_line(file: &mut File, length: u64) -> io::Result<Last> {
    const NOT_OURS: &str = "it holds something else than events: move it away, or name another file";
    if length == 0 {
        return Ok(Last::Whole);
    }
    let mut first = [0];
    file.read_exact(&mut first)?;
    if first != *b"{" {
        return Err(refusal(NOT_OURS));
    }
    let at = last_line_start(file, length)?;
    if at == length {
        return Ok(Last::Whole);
    }
    file.seek(SeekFrom::Start(at))?;
    file.read_exact(&mut first)?;
    if first != *b"{" {
        return Err(refusal(NOT_OURS));
    }
    file.seek(SeekFrom::Start(at))?;
    let tail = BufReader::new(Read::by_ref(file).take(length - at));
    let is_whole = serde_json::from_reader::<_, serde::de::IgnoredAny>(tail).is_ok();
    Ok(if is_whole { Last::LacksEnd } else { Last::Torn { at } })
}

/// Where what follows the last line end begins.
fn last_line_start(file: &mut File, length: u64) -> io::Result<u64> {
    let mut end = length;
    while end > 0 {
        let start = end.saturating_sub(CHUNK);
        let mut chunk = Vec::new();
        file.seek(SeekFrom::Start(start))?;
        Read::by_ref(file).take(end - start).read_to_end(&mut chunk)?;
        if let Some(newline) = chunk.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + newline as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

#[cfg(unix)]
fn standing(file: &File, path: &Path) -> Standing {
    use std::os::unix::fs::MetadataExt;
    let Ok(own) = file.metadata() else { return Standing::InPlace };
    if own.nlink() == 0 {
        return Standing::Deleted;
    }
    match std::fs::metadata(path) {
        Ok(there) if (there.dev(), there.ino()) != (own.dev(), own.ino()) => Standing::Moved,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            Standing::Moved
        }
        _ => Standing::InPlace, // or it can't be told
    }
}

/// A file that is open is not deleted there.
#[cfg(not(unix))]
fn standing(_: &File, _: &Path) -> Standing {
    Standing::InPlace
}
