//! The thread that serves connections.
//!
//! It waits until a socket is ready, a command was posted, or something is due; then each connection has its turn. All
//! sockets are non-blocking, so no connection holds up another for longer than one turn of writing.

use std::net::TcpStream;
use std::sync::Arc;

use super::Shared;
use super::command::Command;
use super::conn::Conn;
use super::script::Script;
use super::stream::Stream;
use super::transcript::{End, What};
use super::wait::{Mailbox, Ready};
use crate::clock::mono;

/// Work for a worker.
#[derive(Debug)]
pub(super) enum Mail {
    Adopt { number: usize, socket: TcpStream, script: Box<Script> },
    Command { connection: Option<usize>, command: Command },
    Stop,
}

/// How much one read takes at most, in bytes.
const READ: usize = 64 << 10;

/// Serves connections until told to stop.
pub(super) fn run(mailbox: &Mailbox<Mail>, shared: &Arc<Shared>) {
    let mut conns: Vec<Conn> = Vec::new();
    let mut scratch = vec![0; READ];
    let mut found = Vec::new();
    loop {
        let ready = wait(mailbox, &conns, &mut found);
        while let Some(mail) = mailbox.take() {
            match mail {
                Mail::Adopt { number, socket, script } => {
                    conns.extend(adopt(number, socket, *script, shared));
                }
                Mail::Command { connection, command } => {
                    let now = mono();
                    for conn in conns.iter_mut().filter(|c| connection.is_none_or(|n| n == c.number)) {
                        conn.wake();
                        conn.command(command.clone(), now);
                    }
                }
                Mail::Stop => {
                    for conn in &conns {
                        conn.note(What::Ended(conn.over.clone().unwrap_or(End::Stopped)));
                    }
                    return;
                }
            }
        }
        let now = mono();
        for (index, conn) in conns.iter_mut().enumerate() {
            let ready = ready.get(index).copied().unwrap_or_default();
            let due = || conn.deadline(now).is_some_and(|due| due <= now);
            if ready.read || ready.write || ready.broken || due() {
                conn.turn(now, ready, &mut scratch);
            }
        }
        conns.retain(|conn| match &conn.over {
            Some(end) => {
                conn.note(What::Ended(end.clone()));
                false
            }
            None => true,
        });
    }
}

/// Waits for something to do; what the socket of each connection is ready for.
fn wait(mailbox: &Mailbox<Mail>, conns: &[Conn], found: &mut Vec<Ready>) -> Vec<Ready> {
    let now = mono();
    let deadline = conns.iter().filter_map(|conn| conn.deadline(now)).min();
    let timeout = deadline.map(|due| due.saturating_duration_since(now));
    let (indices, wanted): (Vec<_>, Vec<_>) =
        conns.iter().enumerate().filter_map(|(i, conn)| conn.wanted().map(|w| (i, w))).unzip();
    mailbox.wait(&wanted, found, timeout);
    let mut ready = vec![Ready::default(); conns.len()];
    for (index, found) in indices.into_iter().zip(found.iter()) {
        ready[index] = *found;
    }
    ready
}

fn adopt(number: usize, socket: TcpStream, script: Script, shared: &Arc<Shared>) -> Option<Conn> {
    let peer = socket.peer_addr().ok()?;
    let stream = Stream::new(socket).ok()?;
    let mut conn = Conn::new(number, stream, script, Arc::clone(shared));
    conn.note(What::Accepted { peer });
    conn.start(mono());
    conn.wake();
    Some(conn)
}
