//! The thread that accepts connections and answers on all of them. Every socket is non-blocking and has a deadline, so
//! no peer holds up another, nor the end.

use super::conn::{Answer, Conn};
use super::http::{Request, Response};
use super::wait::{self, Bell, Ready};
use crate::clock;
use crate::panics;
use crossbeam_channel::{Receiver, TryRecvError};
use log::Level;
use socket2::SockRef;
use std::convert::Infallible;
use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Where log records of the monitor go.
const TARGET: &str = "livefeed::monitor";

/// So many connections are accepted in a row in the place of others, so that those have their turn before they may
/// have to go.
const BURST: usize = 4;

/// So many are accepted in a row at all, so that those who come and go do not keep the others waiting.
const CROWD: usize = 64;

/// So long nothing is accepted after that failed: mostly the process is out of descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// So many connections may wait to be accepted. One that has no place tries again after a second, which is long for a
/// probe; the standard library leaves room for 128.
const BACKLOG: i32 = 1024;

pub(super) struct Server {
    pub(super) listener: TcpListener,
    pub(super) bell: Bell,
    /// Disconnected for the end; then the bell rings.
    pub(super) stop: Receiver<Infallible>,
    pub(super) max_connections: usize,
    pub(super) timeout: Duration,
    pub(super) answer: Box<dyn Fn(&Request) -> Response + Send>,
}

/// Listens at the first of these addresses that can be had.
pub(super) fn listen(addr: impl ToSocketAddrs) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(addr)?;
    // It listens already: where the room can't be changed, it stays.
    let _ = SockRef::from(&listener).listen(BACKLOG);
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Server {
    /// Serves until it is stopped.
    pub(super) fn run(&self) {
        let answer = |request: &Request| {
            panics::caught(|| (self.answer)(request)).unwrap_or_else(|panic| {
                say(Level::Error, format_args!("an answer panicked: {panic}"));
                Response::error(500, "the answer could not be made")
            })
        };
        let mut conns: Vec<Conn> = Vec::new();
        // Until when nothing is accepted, as that failed.
        let mut paused: Option<Instant> = None;
        while !self.is_stopped() {
            let now = clock::mono();
            let free = self.free_at(&conns).max(paused).filter(|at| *at > now);
            let deadlines = conns.iter().map(Conn::deadline);
            let until =
                if conns.iter().any(Conn::is_pending) { Some(now) } else { deadlines.chain(free).min() };
            let timeout = until.map(|at| at.saturating_duration_since(now));
            let (found, called) = self.wait(&conns, free.is_none(), timeout);

            let now = clock::mono();
            let mut found = found.into_iter();
            conns.retain_mut(|conn| {
                if self.is_stopped() {
                    return false; // an answer may take its time, and there may be many
                }
                let ready = found.next().is_some_and(Ready::any) || conn.is_pending();
                let lives = !ready || conn.turn(&answer);
                lives && (conn.deadline() > now || conn.handle_deadline(&answer))
            });
            if called {
                paused = self.accept(&mut conns, &answer, paused.is_some());
            }
        }
    }

    fn is_stopped(&self) -> bool {
        self.stop.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// What is ready of the connections, and whether the listener is.
    fn wait(&self, conns: &[Conn], listen: bool, timeout: Option<Duration>) -> (Vec<Ready>, bool) {
        let listener = Ready { read: listen, write: false };
        let (sockets, mut ready): (Vec<_>, Vec<_>) = conns.iter().map(Conn::wanted).unzip();
        let waited = wait::wait(&self.bell, (&self.listener, listener), &sockets, &mut ready, timeout);
        waited.map_or_else(
            |error| {
                // There is nothing to be done about it here; every socket is tried, but not in a hurry.
                say(Level::Warn, format_args!("waiting for connections failed: {error}"));
                let _ = self.stop.recv_timeout(PAUSE);
                (conns.iter().map(|conn| conn.wanted().1).collect(), listen)
            },
            |called| (ready, called),
        )
    }

    /// When there is room for one more connection; `None`: now.
    fn free_at(&self, conns: &[Conn]) -> Option<Instant> {
        let full = conns.len() >= self.max_connections;
        conns.iter().map(Conn::free_at).min().filter(|_| full)
    }

    /// Accepts connections, each in the place of one that may go if there are too many. Until when to leave it be if that
    /// fails; `failed`: it did before.
    fn accept(&self, conns: &mut Vec<Conn>, answer: Answer<'_>, failed: bool) -> Option<Instant> {
        let mut evicted = 0;
        for _ in 0..CROWD {
            let now = clock::mono();
            if evicted == BURST || self.is_stopped() || self.free_at(conns).is_some_and(|at| at > now) {
                break;
            }
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => break,
                    ErrorKind::Interrupted | ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset => {
                        continue;
                    }
                    // It may be a descriptor that is lacking.
                    _ if evict(conns, now) => {
                        evicted += 1;
                        continue;
                    }
                    _ => {
                        if !failed {
                            say(Level::Warn, format_args!("could not accept a connection: {error}"));
                        }
                        return Some(now + PAUSE);
                    }
                },
            };
            if conns.len() >= self.max_connections && evict(conns, now) {
                evicted += 1;
            }
            // What was sent along may be there already.
            if let Ok(mut conn) = Conn::new(stream, now, self.timeout)
                && conn.turn(answer)
            {
                conns.push(conn);
            }
        }
        None
    }
}

/// Writes a log record. The logger is the application's: should it panic, the monitor goes on.
pub(super) fn say(level: Level, text: fmt::Arguments<'_>) {
    let _ = panics::caught(|| log::log!(target: TARGET, level, "{text}"));
}

/// Gives up the connection that is the first to go; `false`: none may.
fn evict(conns: &mut Vec<Conn>, now: Instant) -> bool {
    let free = conns.iter().enumerate().filter(|(_, conn)| conn.free_at() <= now);
    let first = free.min_by_key(|(_, conn)| conn.rank()).map(|(index, _)| index);
    first.is_some_and(|index| {
        conns.remove(index);
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::thread;
    use crossbeam_channel::bounded;
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpStream};

    const CEILING: Duration = Duration::from_secs(10);

    /// Runs a server of a few connections for as long as `run` does, with its address.
    fn served(answer: impl Fn(&Request) -> Response + Send + 'static, run: impl FnOnce(SocketAddr)) {
        let listener = listen("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (rope, bell) = wait::bell().unwrap();
        let (stop, stopped) = bounded(0);
        let (max_connections, timeout) = (8, CEILING);
        let server =
            Server { listener, bell, stop: stopped, max_connections, timeout, answer: Box::new(answer) };
        let thread = thread::spawn("monitor-test".to_owned(), move || server.run()).unwrap();
        run(addr);
        drop(stop);
        rope.pull();
        thread.join().unwrap();
    }

    #[allow(clippy::disallowed_methods, reason = "a client of the tests")]
    fn ask(addr: SocketAddr, request: &str) -> TcpStream {
        let mut client = TcpStream::connect(addr).unwrap();
        client.set_read_timeout(Some(CEILING)).unwrap();
        client.write_all(request.as_bytes()).unwrap();
        client
    }

    fn told(mut client: TcpStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn an_answer_that_panics_ends_nothing() {
        let answer = |request: &Request| {
            assert_ne!(request.path, "/panic", "as it was to be");
            Response::new(200, "text/plain", request.path.clone())
        };
        served(answer, |addr| {
            let text = told(ask(addr, "GET /panic HTTP/1.1\r\nHost: h\r\n\r\nGET /fine HTTP/1.0\r\n\r\n"));
            let first = text.find("HTTP/1.1 500 Internal Server Error\r\n");
            let second = text.find("HTTP/1.1 200 OK\r\n");
            assert!(first == Some(0) && second > first && text.ends_with("/fine"), "{text}");
            assert!(!text.contains("as it was"), "{text}");
        });
    }

    #[test]
    fn whoever_asks_much_at_once_holds_up_neither_others_nor_the_end() {
        let (count, counted) = crossbeam_channel::unbounded();
        let answer = move |request: &Request| {
            if request.path == "/slow" {
                let _ = crossbeam_channel::never::<()>().recv_timeout(Duration::from_millis(20));
            }
            count.send(request.path.clone()).unwrap();
            Response::new(200, "text/plain", "")
        };
        let mut crowd = Vec::new();
        served(answer, |addr| {
            let slow = "GET /slow HTTP/1.1\r\nHost: h\r\n\r\n".repeat(100);
            crowd.extend((0..6).map(|_| ask(addr, &slow)));
            assert_eq!(counted.recv_timeout(CEILING).unwrap(), "/slow");
            let before = counted.try_iter().count();
            assert!(told(ask(addr, "GET /good HTTP/1.0\r\n\r\n")).starts_with("HTTP/1.1 200"));
            let until_good = counted.try_iter().take_while(|path| path == "/slow").count();
            assert!(until_good <= 3 * crowd.len(), "{until_good} answers before the one, {before} before");
            counted.try_iter().count();
        });
        let after = counted.try_iter().count();
        assert!(after <= crowd.len(), "{after} answers after the end");
    }

    #[cfg(target_os = "linux")] // others allow for less
    #[test]
    fn many_may_wait_to_be_accepted() {
        let (blocked, at_work) = bounded::<()>(0);
        let (go, going) = bounded::<()>(0);
        let answer = move |_: &Request| {
            blocked.send(()).unwrap();
            let _ = going.recv_timeout(CEILING);
            Response::new(200, "text/plain", "")
        };
        served(answer, |addr| {
            let blocking = ask(addr, "GET / HTTP/1.0\r\n\r\n");
            at_work.recv_timeout(CEILING).unwrap();
            let timed = |_| {
                let begin = clock::mono();
                (ask(addr, ""), begin.elapsed())
            };
            let (waiting, times): (Vec<_>, Vec<_>) = (0..300).map(timed).unzip();
            // The system tries again after a second where there is no room.
            let worst = times.into_iter().max().unwrap();
            assert!(worst < Duration::from_secs(1), "{worst:?}");
            go.send(()).unwrap();
            assert!(told(blocking).starts_with("HTTP/1.1 200"));
            drop(waiting);
        });
    }

    #[test]
    fn whoever_has_asked_is_answered_before_it_has_to_go() {
        let (blocked, at_work) = bounded::<()>(0);
        let (go, going) = bounded::<()>(0);
        let answer = move |request: &Request| {
            if request.path == "/block" {
                blocked.send(()).unwrap();
                let _ = going.recv_timeout(CEILING);
            }
            Response::new(200, "text/plain", "")
        };
        served(answer, |addr| {
            let blocking = ask(addr, "GET /block HTTP/1.0\r\n\r\n");
            at_work.recv_timeout(CEILING).unwrap();
            // While nothing is accepted: more than there are places for, after one that asks.
            let good = ask(addr, "GET /good HTTP/1.0\r\n\r\n");
            let slow: Vec<_> = (0..40).map(|_| ask(addr, "GET")).collect();
            go.send(()).unwrap();
            assert!(told(good).starts_with("HTTP/1.1 200"));
            assert!(told(blocking).starts_with("HTTP/1.1 200"));
            drop(slow);
        });
    }
}
