//! Looks host names up, on helper threads: the system's resolver can neither be bounded nor stopped.

use super::{Budget, Host, Stop};
use crate::error::{EndReason, Stage};
use crossbeam_channel::{after, bounded, select};
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;

/// The most addresses of one name that are tried.
const MAX_ADDRESSES: usize = 32;
/// The most lookups that may be stuck in the system with nobody waiting for them.
const MAX_ABANDONED: usize = 16;
/// Enough for `getaddrinfo` and the modules it loads.
const STACK_BYTES: usize = 256 * 1024;

static COUNTERS: LazyLock<Arc<Counters>> = LazyLock::new(Arc::default);

/// How many lookups of this process are stuck in the system after their attempt gave up on them.
pub(crate) fn abandoned_lookups() -> usize {
    COUNTERS.abandoned.load(Ordering::Relaxed)
}

#[derive(Default)]
struct Counters {
    in_flight: AtomicUsize,
    abandoned: AtomicUsize,
}

type Lookup = dyn Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Where addresses come from.
#[derive(Clone)]
pub(crate) struct Resolver {
    lookup: Arc<Lookup>,
    counters: Arc<Counters>,
}

impl Resolver {
    /// The system's resolver.
    pub(crate) fn system() -> Self {
        let lookup = |name: &str, port| (name, port).to_socket_addrs().map(Iterator::collect);
        Self { lookup: Arc::new(lookup), counters: COUNTERS.clone() }
    }

    /// A resolver of one's own, counted apart: for tests.
    #[cfg(test)]
    pub(crate) fn scripted(
        lookup: impl Fn(&str, u16) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Self { lookup: Arc::new(lookup), counters: Arc::default() }
    }

    #[cfg(test)]
    pub(super) fn abandoned(&self) -> usize {
        self.counters.abandoned.load(Ordering::SeqCst)
    }

    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.counters.in_flight.load(Ordering::SeqCst)
    }

    /// The addresses to try, in this order. Address literals are not looked up.
    pub(super) fn resolve(
        &self,
        host: &Host,
        port: u16,
        budget: &Budget,
        stop: &Stop,
    ) -> Result<Vec<SocketAddr>, EndReason> {
        let name = match host {
            Host::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, port)]),
            Host::Name(name) => name.clone(),
        };
        let left = budget.left(Stage::Resolve)?;
        let abandoned = self.counters.abandoned.load(Ordering::SeqCst);
        if abandoned >= MAX_ABANDONED {
            return Err(dns(format!(
                "{abandoned} earlier lookups are stuck in the system; no more are started"
            )));
        }
        let (answer, answered) = bounded(1);
        let ticket = Arc::new(AtomicU8::new(WAITING));
        let guard = Guard::new(self.counters.clone(), ticket.clone());
        let lookup = self.lookup.clone();
        let shown = name.clone();
        thread::Builder::new()
            .name("livefeed-dns".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let found = lookup(&name, port);
                drop(guard);
                let _ = answer.send(found);
            })
            .map_err(|error| dns(format!("could not start a thread for the lookup: {error}")))?;
        let ended = select! {
            recv(answered) -> found => return match found {
                Ok(found) => found.map_err(|error| dns(format!("{shown}: {error}"))).and_then(order),
                Err(_) => Err(dns("the lookup panicked".to_owned())),
            },
            recv(stop.woken()) -> _ => EndReason::ClosedByUser,
            recv(after(left)) -> _ => budget.overrun(Stage::Resolve),
        };
        // Counted before it is marked: the helper takes one off as soon as it sees the mark.
        self.counters.abandoned.fetch_add(1, Ordering::SeqCst);
        if ticket.compare_exchange(WAITING, ABANDONED, Ordering::SeqCst, Ordering::SeqCst).is_err() {
            self.counters.abandoned.fetch_sub(1, Ordering::SeqCst);
        }
        Err(ended)
    }
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver")
            .field("in_flight", &self.counters.in_flight)
            .field("abandoned", &self.counters.abandoned)
            .finish_non_exhaustive()
    }
}

const WAITING: u8 = 0;
const DONE: u8 = 1;
const ABANDONED: u8 = 2;

/// Counts one lookup for as long as it runs, a panic included.
struct Guard {
    counters: Arc<Counters>,
    ticket: Arc<AtomicU8>,
}

impl Guard {
    fn new(counters: Arc<Counters>, ticket: Arc<AtomicU8>) -> Self {
        counters.in_flight.fetch_add(1, Ordering::SeqCst);
        Self { counters, ticket }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.counters.in_flight.fetch_sub(1, Ordering::SeqCst);
        if self.ticket.swap(DONE, Ordering::SeqCst) == ABANDONED {
            self.counters.abandoned.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

fn dns(detail: String) -> EndReason {
    EndReason::Dns { detail }
}

/// Families in turn, that of the first address first (RFC 8305 section 4); no address twice.
fn order(found: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, EndReason> {
    let Some(first) = found.first().copied() else {
        return Err(dns("the name has no address".to_owned()));
    };
    let (mut ours, mut others): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|address| address.is_ipv6() == first.is_ipv6());
    let mut ordered: Vec<SocketAddr> = Vec::new();
    ours.reverse();
    others.reverse();
    while ordered.len() < MAX_ADDRESSES && !(ours.is_empty() && others.is_empty()) {
        for family in [&mut ours, &mut others] {
            // An address that is there already does not use up the family's turn.
            while let Some(address) = family.pop() {
                if !ordered.contains(&address) {
                    ordered.push(address);
                    break;
                }
            }
        }
    }
    ordered.truncate(MAX_ADDRESSES);
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_take_turns() {
        let parse = |list: &[&str]| list.iter().map(|a| a.parse().unwrap()).collect::<Vec<SocketAddr>>();
        let found =
            parse(&["[::1]:1", "[::2]:1", "[::1]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1", "1.0.0.1:1"]);
        let expected = parse(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert_eq!(order(found).unwrap(), expected);
        let found = parse(&["1.0.0.1:1", "1.0.0.2:1", "[::1]:1"]);
        assert_eq!(order(found).unwrap(), parse(&["1.0.0.1:1", "[::1]:1", "1.0.0.2:1"]));
        assert!(order(Vec::new()).is_err());
        let many = (0..100).map(|n| SocketAddr::from(([10, 0, 0, n], 1))).collect();
        assert_eq!(order(many).unwrap().len(), MAX_ADDRESSES);
    }
}
