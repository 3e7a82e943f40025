//! The thread that accepts connections, and its stops and starts.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;
use socket2::{Domain, Socket, Type};

use super::wait::{Mailbox, Postbox, Wanted};
use super::worker::Mail;
use super::{Shared, lock};

/// How long to wait after an accept that failed.
const PAUSE: Duration = Duration::from_millis(10);

/// Work for the listener's thread.
#[derive(Debug)]
pub(super) enum Order {
    /// Closes the listening socket.
    Close(Sender<io::Result<()>>),
    /// Opens it again at the same address.
    Open(Sender<io::Result<()>>),
    /// Says whether connections are accepted from it.
    Accept(bool, Sender<io::Result<()>>),
    Stop,
}

/// Opens a listening socket that does not block.
pub(super) fn listen(addr: SocketAddr, backlog: i32) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
    // Elsewhere the option would let two sockets listen at one address.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&addr.into())?;
    socket.listen(backlog)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts connections and hands them to the workers in turn, until told to stop.
pub(super) fn run(
    mailbox: &Mailbox<Order>,
    listener: TcpListener,
    backlog: i32,
    workers: &[Postbox<Mail>],
    shared: &Arc<Shared>,
) {
    let mut listener = Some(listener);
    let mut accepting = true;
    let mut number = 0;
    let mut found = Vec::new();
    loop {
        let wanted: Vec<_> =
            listener.iter().filter(|_| accepting).map(|l| Wanted::new(l, true, false)).collect();
        mailbox.wait(&wanted, &mut found, None);
        drop(wanted);
        while let Some(order) = mailbox.take() {
            let (outcome, reply) = match order {
                Order::Stop => return,
                Order::Close(reply) => {
                    listener = None;
                    (Ok(()), reply)
                }
                Order::Open(reply) if listener.is_some() => (Ok(()), reply),
                Order::Open(reply) => match listen(shared.addr, backlog) {
                    Ok(opened) => {
                        listener = Some(opened);
                        (Ok(()), reply)
                    }
                    Err(error) => (Err(error), reply),
                },
                Order::Accept(yes, reply) => {
                    accepting = yes;
                    (Ok(()), reply)
                }
            };
            let _ = reply.send(outcome);
        }
        let Some(listener) = listener.as_ref().filter(|_| accepting) else { continue };
        loop {
            let socket = match listener.accept() {
                Ok((socket, _)) => socket,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => {
                    // Mostly the process is out of descriptors, and the listener would stay ready all the time.
                    mailbox.wait(&[], &mut found, Some(PAUSE));
                    break;
                }
            };
            number += 1;
            let plan = Arc::clone(&lock(&shared.plan));
            let script = Box::new(plan(number));
            if let Some(worker) = workers.get(number % workers.len().max(1)) {
                worker.post(Mail::Adopt { number, socket, script });
            }
        }
    }
}
