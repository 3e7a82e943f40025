//! The end of a server for others: its clients are told.

use livefeed::lab::{Command, Lab};
use std::time::Duration;

/// How long the clients have to answer.
const LIMIT: Duration = Duration::from_secs(5);

/// Closes all connections with the close handshake, and ends the server.
pub(crate) fn end(lab: Lab) {
    if lab.live() > 0 {
        lab.control().all(Command::Close(1001, "the server ends".to_owned()));
        let _ = lab.wait_for(|_| lab.live() == 0, LIMIT);
    }
    drop(lab);
}
