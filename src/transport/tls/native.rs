//! TLS through the operating system's library.

use super::{CIPHER_BYTES, Opened, RECORD_BYTES, Sealed, TlsSettings, TlsVersion};
use crate::error::{EndReason, Stage};
use crate::transport::tcp::Dialing;
use crate::transport::{Host, lock};
use native_tls::{Certificate, HandshakeError, Protocol, TlsConnector, TlsStream};
use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

/// A TLS client. Built at the first handshake, because reading the system's roots takes tens of milliseconds, and
/// shared by all feeds with the same settings, because it holds all of those roots.
#[derive(Clone)]
pub(crate) struct Tls {
    settings: Arc<TlsSettings>,
    built: Arc<OnceLock<Result<TlsConnector, String>>>,
}

type Built = (Arc<TlsSettings>, Weak<OnceLock<Result<TlsConnector, String>>>);

/// What feeds share. An entry goes with its last feed.
static SHARED: Mutex<Vec<Built>> = Mutex::new(Vec::new());

impl Tls {
    /// Checks the settings; the error says which is wrong.
    pub(crate) fn new(settings: &TlsSettings) -> Result<Self, String> {
        for der in &settings.roots_der {
            Certificate::from_der(der)
                .map_err(|error| format!("a root certificate is not valid: {error}"))?;
        }
        let mut shared = lock(&SHARED);
        shared.retain(|(_, built)| built.strong_count() > 0);
        for (known, built) in shared.iter() {
            if **known == *settings
                && let Some(built) = built.upgrade()
            {
                return Ok(Self { settings: Arc::clone(known), built });
            }
        }
        let tls = Self { settings: Arc::new(settings.clone()), built: Arc::default() };
        shared.push((Arc::clone(&tls.settings), Arc::downgrade(&tls.built)));
        Ok(tls)
    }

    fn connector(&self) -> Result<&TlsConnector, EndReason> {
        let built = self.built.get_or_init(|| Self::build(&self.settings));
        built.as_ref().map_err(|detail| EndReason::Tls { detail: detail.clone(), untrusted: false })
    }

    fn build(settings: &TlsSettings) -> Result<TlsConnector, String> {
        let mut builder = TlsConnector::builder();
        builder
            .min_protocol_version(Some(match settings.min_version {
                None | Some(TlsVersion::Tls12) => Protocol::Tlsv12,
                Some(TlsVersion::Tls13) => Protocol::Tlsv13,
            }))
            .danger_accept_invalid_certs(settings.danger_accept_invalid_certs)
            .danger_accept_invalid_hostnames(settings.danger_accept_invalid_hostnames);
        for der in &settings.roots_der {
            let root = Certificate::from_der(der)
                .map_err(|error| format!("a root certificate is not valid: {error}"))?;
            builder.add_root_certificate(root);
        }
        builder.build().map_err(|error| format!("the TLS library refuses the settings: {error}"))
    }

    /// Shakes hands within the attempt's budget. At most `bound` bytes of ciphertext ever wait in memory.
    pub(in crate::transport) fn handshake(
        &self,
        host: &Host,
        dialing: &Dialing,
        bound: usize,
    ) -> Result<Session, EndReason> {
        let connector = self.connector()?;
        let name = match (&self.settings.server_name, host) {
            (Some(name), _) => name.clone(),
            // The dot at the end is for the resolver (RFC 6066 section 3).
            (None, Host::Name(name)) => name.strip_suffix('.').unwrap_or(name).to_owned(),
            (None, Host::Ip(ip)) => ip.to_string(),
        };
        let outbound = Arc::<Mutex<Vec<u8>>>::default();
        let mut cipher = Vec::new();
        let mut step = connector.connect(&name, Memory::new(outbound.clone(), bound));
        loop {
            let ready = mem::take(&mut *lock(&outbound));
            match step {
                Ok(stream) => {
                    dialing.send_all(&ready, Stage::Tls)?;
                    return Ok(Session::new(stream, outbound));
                }
                Err(HandshakeError::Failure(error)) => {
                    // The alert that tells the server why.
                    dialing.send_some(&ready);
                    return Err(refused(&error));
                }
                Err(HandshakeError::WouldBlock(mut middle)) => {
                    dialing.send_all(&ready, Stage::Tls)?;
                    cipher.resize(CIPHER_BYTES, 0);
                    let received = dialing.recv(&mut cipher, Stage::Tls)?;
                    if received == 0 {
                        let detail = "the server closed the connection during the TLS handshake".to_owned();
                        return Err(EndReason::Io {
                            stage: Stage::Tls,
                            kind: ErrorKind::UnexpectedEof,
                            detail,
                        });
                    }
                    middle.get_mut().feed(&mut cipher, received).map_err(|error| failed(&error))?;
                    step = middle.handshake();
                }
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.settings.server_name).finish_non_exhaustive()
    }
}

fn refused(error: &native_tls::Error) -> EndReason {
    let text = error.to_string();
    let untrusted = is_untrusted(error, &text);
    let mut detail = words(&text);
    if detail.contains("wrong version number") {
        detail.push_str("; the server does not seem to speak TLS on this port (ws:// instead of wss://?)");
    }
    EndReason::Tls { detail, untrusted }
}

/// Whether the certificate was the reason: the one question the policy has about a TLS failure.
#[cfg(not(any(target_vendor = "apple", windows)))]
fn is_untrusted(_error: &native_tls::Error, text: &str) -> bool {
    // OpenSSL's reason string; never translated. The verify result behind it, in parentheses, stands there
    // for other failures too when verification is off.
    text.contains("certificate verify failed")
}

#[cfg(target_vendor = "apple")]
fn is_untrusted(error: &native_tls::Error, _text: &str) -> bool {
    // errSSLXCertChainInvalid, UnknownRootCert, NoRootCert, CertExpired, CertNotYetValid, HostNameMismatch
    let text = format!("{error:?}");
    ["-9807", "-9812", "-9813", "-9814", "-9815", "-9843"].iter().any(|code| text.contains(code))
}

#[cfg(windows)]
fn is_untrusted(error: &native_tls::Error, _text: &str) -> bool {
    // SEC_E_UNTRUSTED_ROOT, SEC_E_WRONG_PRINCIPAL, SEC_E_CERT_EXPIRED, CERT_E_EXPIRED, CERT_E_UNTRUSTEDROOT,
    // CERT_E_CHAINING, CERT_E_CN_NO_MATCH, in the form that io::Error shows and no language changes.
    let codes =
        [0x8009_0325_u32, 0x8009_0322, 0x8009_0328, 0x800B_0101, 0x800B_0109, 0x800B_010A, 0x800B_010F];
    let text = format!("{error:?} {error}");
    codes.iter().any(|code| text.contains(&code.cast_signed().to_string()))
}

fn failed(error: &io::Error) -> EndReason {
    EndReason::Tls { detail: words(&error.to_string()), untrusted: false }
}

/// What an error of OpenSSL says, without the numbers and the places in its source that stand around it:
/// `error:NUMBER:LIBRARY:FUNCTION:REASON:FILE:LINE:DATA`, and behind it in parentheses what is wrong with the
/// certificate. What other libraries say stays as it is.
fn words(text: &str) -> String {
    let Some(reason) = text.strip_prefix("error:").and_then(|text| text.split(':').nth(3)) else {
        return text.to_owned();
    };
    if reason != "certificate verify failed" {
        return reason.to_owned();
    }
    match text.rsplit_once('(').and_then(|(_, rest)| rest.strip_suffix(')')) {
        Some("certificate has expired") => "the certificate has expired".to_owned(),
        Some("certificate is not yet valid") => "the certificate is not yet valid".to_owned(),
        Some(what) if what.ends_with("mismatch") => format!("the certificate is for another host ({what})"),
        Some(what) => format!("the certificate is not trusted: {what}"),
        None => reason.to_owned(),
    }
}

/// The two directions of ciphertext, between the TLS library and the threads that move it.
#[derive(Debug)]
struct Memory {
    inbound: Vec<u8>,
    start: usize,
    end: usize,
    /// Nothing follows `inbound`.
    ended: bool,
    /// Shared, so that it outlives a failed handshake, and is taken without the session's lock.
    outbound: Arc<Mutex<Vec<u8>>>,
    /// How much was ever put into `outbound`.
    produced: u64,
    bound: usize,
}

impl Memory {
    fn new(outbound: Arc<Mutex<Vec<u8>>>, bound: usize) -> Self {
        Self { inbound: Vec::new(), start: 0, end: 0, ended: false, outbound, produced: 0, bound }
    }

    /// Takes the first `count` bytes of the buffer; swaps it in where that is possible.
    fn feed(&mut self, buffer: &mut Vec<u8>, count: usize) -> io::Result<()> {
        if self.start == self.end {
            mem::swap(&mut self.inbound, buffer);
            (self.start, self.end) = (0, count);
            return Ok(());
        }
        if self.end - self.start + count > self.bound {
            return Err(io::Error::other("too much ciphertext without a whole record"));
        }
        self.inbound.truncate(self.end);
        self.inbound.drain(..self.start);
        self.inbound.extend_from_slice(buffer.get(..count).unwrap_or_default());
        (self.start, self.end) = (0, self.inbound.len());
        Ok(())
    }
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.start == self.end {
            return if self.ended { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        let mut waiting = self.inbound.get(self.start..self.end).unwrap_or_default();
        let count = waiting.read(buffer)?;
        self.start += count;
        Ok(count)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut outbound = lock(&self.outbound);
        if outbound.len() + bytes.len() > self.bound {
            return Err(io::Error::other("too much ciphertext waits to be written"));
        }
        outbound.extend_from_slice(bytes);
        self.produced += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// An established TLS session, shared by the two halves; locked to encrypt and to decrypt, no longer.
#[derive(Debug)]
pub(in crate::transport) struct Session {
    stream: Mutex<TlsStream<Memory>>,
    outbound: Arc<Mutex<Vec<u8>>>,
    turn: Condvar,
    /// Whether the writer waits for a turn; changed under the lock of `stream`.
    waits: AtomicBool,
}

impl Session {
    fn new(stream: TlsStream<Memory>, outbound: Arc<Mutex<Vec<u8>>>) -> Self {
        Self { stream: Mutex::new(stream), outbound, turn: Condvar::new(), waits: AtomicBool::new(false) }
    }

    /// Decrypts into `plain`, after it has taken the first `received` bytes of `cipher`. Says also whether
    /// that produced ciphertext which must be sent.
    ///
    /// `cipher` may come back as another buffer of any length: resize it before the next use.
    pub(in crate::transport) fn open(
        &self,
        cipher: &mut Vec<u8>,
        received: usize,
        plain: &mut [u8],
    ) -> (Opened, bool) {
        let mut stream = lock(&self.stream);
        if received > 0
            && let Err(error) = stream.get_mut().feed(cipher, received)
        {
            return (Opened::Failed(failed(&error)), false);
        }
        let produced = stream.get_ref().produced;
        let read = stream.read(plain);
        let memory = stream.get_mut();
        let wants_write = memory.produced != produced;
        let opened = match read {
            Ok(0) => Opened::End,
            Ok(count) => Opened::Bytes(count),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if memory.start == memory.end && cipher.is_empty() {
                    mem::swap(&mut memory.inbound, cipher);
                }
                Opened::Empty
            }
            // An end without close_notify, which some libraries call an error: WebSocket has its own word for it.
            Err(_) if memory.ended && memory.start == memory.end => Opened::End,
            Err(error) => Opened::Failed(failed(&error)),
        };
        if self.waits.load(Ordering::Relaxed) {
            self.turn.notify_all();
        }
        (opened, wants_write)
    }

    /// Says that no more ciphertext comes.
    pub(in crate::transport) fn end(&self) {
        lock(&self.stream).get_mut().ended = true;
    }

    /// Encrypts at most one record, and takes all ciphertext that waits; `cipher` must be empty.
    pub(in crate::transport) fn seal(&self, plain: &[u8], cipher: &mut Vec<u8>) -> Result<Sealed, EndReason> {
        let mut sealed = Sealed::default();
        if !plain.is_empty() {
            let record = plain.get(..RECORD_BYTES).unwrap_or(plain);
            match lock(&self.stream).write(record) {
                Ok(taken) => sealed.taken = taken,
                Err(error) if error.kind() == ErrorKind::WouldBlock => sealed.blocked = true,
                Err(error) => return Err(failed(&error)),
            }
        }
        self.take(cipher);
        Ok(sealed)
    }

    /// Puts the alert that ends the writing direction (RFC 8446 section 6.1) behind all that was encrypted.
    pub(in crate::transport) fn close_notify(&self) -> Result<(), EndReason> {
        match lock(&self.stream).shutdown() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => Err(failed(&error)),
            _ => Ok(()),
        }
    }

    /// Takes all ciphertext that waits; `cipher` must be empty.
    pub(in crate::transport) fn take(&self, cipher: &mut Vec<u8>) {
        mem::swap(&mut *lock(&self.outbound), cipher);
    }

    /// Waits until the reader has decrypted something, at most so long. No I/O happens meanwhile.
    pub(in crate::transport) fn wait_for_reader(&self, limit: Duration) {
        let stream = lock(&self.stream);
        self.waits.store(true, Ordering::Relaxed);
        drop(self.turn.wait_timeout(stream, limit).unwrap_or_else(PoisonError::into_inner));
        self.waits.store(false, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn errors_are_words() {
        let failed = |what: &str| {
            words(&format!(
                "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify \
                 failed:../ssl/statem/statem_clnt.c:1889: ({what})"
            ))
        };
        assert_eq!(failed("certificate has expired"), "the certificate has expired");
        assert_eq!(
            failed("IP address mismatch"),
            "the certificate is for another host (IP address mismatch)"
        );
        assert_eq!(
            failed("self-signed certificate"),
            "the certificate is not trusted: self-signed certificate"
        );
        let alert = "error:0A000410:SSL routines:ssl3_read_bytes:sslv3 alert handshake failure:../ssl/record/\
                     rec_layer_s3.c:1584:SSL alert number 40";
        assert_eq!(words(alert), "sslv3 alert handshake failure");
        for text in ["errSSLProtocol", "error:1", "unexpected EOF"] {
            assert_eq!(words(text), text);
        }
    }
}
