//! SIGINT, SIGTERM and SIGHUP, as a message on a channel.

use crate::exit::Failure;
use livefeed::crossbeam_channel::{Receiver, bounded};

/// A channel that gets a message when the program is asked to end. To be called once.
///
/// The second request ends the program at once.
pub(crate) fn stop() -> Result<Receiver<()>, Failure> {
    let (sender, receiver) = bounded(1);
    ctrlc::set_handler(move || {
        if sender.try_send(()).is_err() {
            std::process::exit(130);
        }
    })
    .map_err(|error| Failure::failed(format!("signals can't be caught: {error}")))?;
    Ok(receiver)
}
