//! Encrypts in memory: the session never sees the socket, so that no lock is held across a system call.
//!
//! The TLS library works on [`Memory`]: ciphertext that was received goes in, ciphertext to be sent comes
//! out, from the handshake on. Whoever waits for the peer does so outside.
#![cfg_attr(
    not(feature = "native-tls"),
    allow(dead_code, reason = "the types stay, so that users of them need no cfg")
)]

use super::tcp::Dialing;
use crate::error::{EndReason, Stage};
use std::io;
use std::sync::Arc;

#[cfg(feature = "native-tls")]
pub(super) use native::Session;
#[cfg(feature = "native-tls")]
pub(crate) use native::Tls;
#[cfg(not(feature = "native-tls"))]
pub(super) use without::Session;
#[cfg(not(feature = "native-tls"))]
pub(crate) use without::Tls;

#[cfg(feature = "native-tls")]
mod native;
#[cfg(not(feature = "native-tls"))]
mod without;

/// What one `recv` takes: a whole record (RFC 8446 section 5.2) and more.
pub(super) const CIPHER_BYTES: usize = 32 * 1024;
/// The most plaintext in one record (RFC 8446 section 5.1).
pub(super) const RECORD_BYTES: usize = 16 * 1024;

/// How servers are verified. By default: the system's roots, the name of the URL, TLS 1.2 or later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TlsSettings {
    /// Further roots, each one certificate as DER.
    pub(crate) roots_der: Vec<Vec<u8>>,
    /// The name to ask for and to verify instead of that of the URL.
    pub(crate) server_name: Option<String>,
    /// The oldest version that will do; `None`: TLS 1.2.
    pub(crate) min_version: Option<TlsVersion>,
    pub(crate) danger_accept_invalid_certs: bool,
    pub(crate) danger_accept_invalid_hostnames: bool,
}

/// A version of TLS. On macOS and Windows the system's library may not offer 1.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TlsVersion {
    Tls12,
    Tls13,
}

/// Refuses `wss://` where there is no TLS.
pub(super) fn require() -> Result<(), EndReason> {
    if cfg!(feature = "native-tls") {
        return Ok(());
    }
    let detail = "wss:// needs the feature native-tls, without which livefeed was built".to_owned();
    Err(EndReason::Tls { detail, untrusted: false })
}

/// What came of decrypting.
#[derive(Debug)]
pub(super) enum Opened {
    /// So much plaintext.
    Bytes(usize),
    /// A whole record needs more ciphertext.
    Empty,
    /// The peer said `close_notify`, or the ciphertext ended.
    End,
    Failed(EndReason),
}

/// What came of encrypting.
#[derive(Debug, Default)]
pub(super) struct Sealed {
    /// So much plaintext was taken.
    pub(super) taken: usize,
    /// The session must read first (a renegotiation).
    pub(super) blocked: bool,
}

/// A connection while the attempt goes on, encrypted or not.
pub(super) struct Channel {
    dialing: Dialing,
    session: Option<Arc<Session>>,
    cipher: Vec<u8>,
}

impl Channel {
    pub(super) fn new(dialing: Dialing, session: Option<Session>) -> Self {
        Self { dialing, session: session.map(Arc::new), cipher: Vec::new() }
    }

    /// The same connection with less time.
    pub(super) fn within(&self, limit: std::time::Duration) -> Self {
        Self { dialing: self.dialing.within(limit), session: self.session.clone(), cipher: Vec::new() }
    }

    /// Reads some plaintext; 0 at the end of file.
    pub(super) fn recv(&mut self, buffer: &mut [u8], stage: Stage) -> Result<usize, EndReason> {
        let Some(session) = &self.session else {
            return self.dialing.recv(buffer, stage);
        };
        let mut received = 0;
        loop {
            let (opened, wants_write) = session.open(&mut self.cipher, received, buffer);
            if wants_write {
                let mut answer = Vec::new();
                session.take(&mut answer);
                self.dialing.send_all(&answer, stage)?;
            }
            match opened {
                Opened::Bytes(count) => return Ok(count),
                Opened::End => return Ok(0),
                Opened::Failed(reason) => return Err(reason),
                Opened::Empty => {}
            }
            self.cipher.resize(CIPHER_BYTES, 0);
            received = self.dialing.recv(&mut self.cipher, stage)?;
            if received == 0 {
                session.end();
            }
        }
    }

    /// Writes all of the plaintext.
    pub(super) fn send_all(&mut self, mut plain: &[u8], stage: Stage) -> Result<(), EndReason> {
        let Some(session) = &self.session else {
            return self.dialing.send_all(plain, stage);
        };
        let mut cipher = Vec::new();
        while !plain.is_empty() {
            let sealed = session.seal(plain, &mut cipher)?;
            self.dialing.send_all(&cipher, stage)?;
            cipher.clear();
            if sealed.blocked {
                // Right after a handshake nothing is renegotiated; not worth a loop of its own.
                let detail = "the server renegotiates before the upgrade".to_owned();
                return Err(EndReason::Tls { detail, untrusted: false });
            }
            plain = plain.get(sealed.taken..).unwrap_or_default();
        }
        Ok(())
    }

    pub(super) fn into_parts(self) -> io::Result<(Arc<std::net::TcpStream>, Option<Arc<Session>>)> {
        Ok((self.dialing.into_socket()?, self.session))
    }
}
