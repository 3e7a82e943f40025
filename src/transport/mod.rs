//! Bytes: resolve, connect, encrypt, upgrade, read and write. Knows no policy.
//!
//! [`dial`] makes one attempt: it looks the name up, connects, shakes hands and upgrades within one
//! [`Budget`], and a [`Stop`] ends it at any point. What comes out is a socket in two halves, for one
//! reading and one writing thread, that share no lock while either waits for the peer.

mod endpoint;
mod halves;
mod nudge;
mod resolve;
mod stop;
mod tcp;
mod tls;
mod upgrade;

#[cfg(test)]
mod tests;

pub(crate) use endpoint::{Endpoint, Host};
pub(crate) use halves::{Outcome, ReadHalf, Wait, WriteHalf};
pub(crate) use nudge::{Nudge, Nudged, nudge};
pub(crate) use resolve::{Resolver, abandoned_lookups};
pub(crate) use stop::Stop;
pub(crate) use tcp::TcpSettings;
pub(crate) use tls::{Tls, TlsSettings, TlsVersion};

use crate::clock;
use crate::error::{EndReason, Stage};
use crate::secret::Secret;
use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How attempts are made; the same for all attempts of a feed.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) tcp: TcpSettings,
    /// Built once from [`TlsSettings`], so that a wrong certificate file is known when the feed opens.
    pub(crate) tls: Tls,
    pub(crate) resolver: Resolver,
    /// The longest head of an upgrade response that is taken, in bytes.
    pub(crate) upgrade_response_bytes: usize,
    /// How much later the connection to each next address starts (RFC 8305 section 5).
    pub(crate) stagger: Duration,
    /// The most ciphertext that may wait in memory in each direction.
    pub(crate) ciphertext_bytes: usize,
}

impl Settings {
    /// The defaults, with this TLS.
    pub(crate) fn new(tls: Tls) -> Self {
        Self {
            tcp: TcpSettings::default(),
            tls,
            resolver: Resolver::system(),
            upgrade_response_bytes: 16 * 1024,
            stagger: Duration::from_millis(250),
            ciphertext_bytes: 256 * 1024,
        }
    }
}

/// What one attempt asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Request<'a> {
    pub(crate) endpoint: &'a Endpoint,
    pub(crate) headers: &'a [(String, Secret)],
    pub(crate) subprotocols: &'a [String],
    pub(crate) settings: &'a Settings,
}

/// The time one attempt has, over all its stages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Budget {
    pub(crate) deadline: Instant,
    pub(crate) total: Duration,
}

impl Budget {
    /// What is left of it, or the error that names the stage it ran out in.
    pub(crate) fn left(&self, stage: Stage) -> Result<Duration, EndReason> {
        let left = self.deadline.saturating_duration_since(clock::mono());
        if left.is_zero() { Err(self.overrun(stage)) } else { Ok(left) }
    }

    fn overrun(&self, stage: Stage) -> EndReason {
        EndReason::AttemptTimeout { stage, budget: self.total, detail: String::new() }
    }
}

/// An upgraded connection. What came behind the upgrade response is in `read` and comes out first.
#[derive(Debug)]
pub(crate) struct Dialed {
    pub(crate) read: ReadHalf,
    pub(crate) write: WriteHalf,
    pub(crate) peer: SocketAddr,
    /// The one of the offered subprotocols that the server chose, if it chose one.
    pub(crate) subprotocol: Option<String>,
}

/// Makes one attempt: resolve, TCP, TLS, upgrade, within one budget, cancellable at any point.
///
/// Ended by `stop` it says [`EndReason::ClosedByUser`], whatever the sockets said.
pub(crate) fn dial(request: &Request<'_>, budget: &Budget, stop: &Stop) -> Result<Dialed, EndReason> {
    let dialed = attempt(request, budget, stop);
    if stop.is_aborted() { Err(EndReason::ClosedByUser) } else { dialed }
}

fn attempt(request: &Request<'_>, budget: &Budget, stop: &Stop) -> Result<Dialed, EndReason> {
    let Request { endpoint, settings, .. } = *request;
    if endpoint.secure {
        tls::require()?;
    }
    let addresses = settings.resolver.resolve(&endpoint.host, endpoint.port, budget, stop)?;
    let (socket, peer) = tcp::connect(&addresses, &settings.tcp, settings.stagger, budget, stop)?;
    log::debug!("{}: connected to {peer}", endpoint.redacted());
    let dialing = tcp::Dialing::new(socket, *budget, stop.clone());
    let session = match endpoint.secure {
        true => Some(settings.tls.handshake(&endpoint.host, &dialing, settings.ciphertext_bytes)?),
        false => None,
    };
    let mut channel = tls::Channel::new(dialing, session);
    let upgraded = upgrade::upgrade(request, &mut channel)?;
    let (read, write) = halves::halves(channel, upgraded.early)?;
    Ok(Dialed { read, write, peer, subprotocol: upgraded.subprotocol })
}

/// Locks, also behind a panic: what these locks guard stays consistent at every step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
