//! Named threads.

use crate::error::Error;
use std::thread::{Builder, JoinHandle};

/// Starts a thread. The name is cut to what the system shows (15 bytes on Linux).
pub(crate) fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, Error> {
    // A name with a NUL byte is the one thing the builder panics on.
    let name = name.replace('\0', " ");
    Builder::new().name(name).spawn(run).map_err(|error| Error::Thread(error.kind()))
}
