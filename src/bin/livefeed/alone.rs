//! Files that one process writes alone.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::Path;

/// Refuses what is there and no regular file. To be called before it is opened: to open a named pipe waits for its reader.
pub(crate) fn check(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path) {
        Ok(metadata) if !metadata.is_file() => Err(refusal("it is no regular file")),
        _ => Ok(()), // opening it tells what else is wrong
    }
}

/// Keeps a second process from writing to the same file; the lock ends with the file.
#[cfg(unix)]
pub(crate) fn lock(file: &File) -> io::Result<()> {
    use rustix::fs::{FlockOperation, flock};
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => {
            Err(io::Error::new(ErrorKind::ResourceBusy, "another process writes to it"))
        }
        // Some file systems have no locks.
        _ => Ok(()),
    }
}

/// Gives the lock up at once. Closing the file alone does so only when no process that is being started has it any more.
#[cfg(unix)]
pub(crate) fn unlock(file: &File) {
    let _ = rustix::fs::flock(file, rustix::fs::FlockOperation::Unlock); // where there are locks
}

/// Nothing is done there.
#[cfg(not(unix))]
pub(crate) fn unlock(_: &File) {}

/// Nothing is done there.
#[cfg(not(unix))]
pub(crate) fn lock(_: &File) -> io::Result<()> {
    Ok(())
}

/// Whether the file has no name any more, so that what is written to it is lost with this process.
#[cfg(unix)]
pub(crate) fn is_deleted(file: &File) -> bool {
    use std::os::unix::fs::MetadataExt;
    file.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 0)
}

/// A file that is open is not deleted there.
#[cfg(not(unix))]
pub(crate) fn is_deleted(_: &File) -> bool {
    false
}

fn refusal(text: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, text)
}
