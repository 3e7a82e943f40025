//! The build without TLS: the types are there, sessions are not.

use super::{Opened, Sealed, TlsSettings, require};
use crate::error::EndReason;
use crate::transport::Host;
use crate::transport::tcp::Dialing;
use std::time::Duration;

#[derive(Debug, Clone)]
pub(crate) struct Tls;

impl Tls {
    #[allow(clippy::unnecessary_wraps, reason = "the same signature as with TLS")]
    pub(crate) fn new(_settings: &TlsSettings) -> Result<Self, String> {
        Ok(Self)
    }

    #[allow(clippy::unused_self, reason = "the same signature as with TLS")]
    pub(in crate::transport) fn handshake(
        &self,
        _host: &Host,
        _dialing: &Dialing,
        _bound: usize,
    ) -> Result<Session, EndReason> {
        match require() {
            Err(reason) => Err(reason),
            Ok(()) => Err(EndReason::Tls { detail: "there is no TLS".to_owned(), untrusted: false }),
        }
    }
}

/// There are none.
#[derive(Debug)]
pub(in crate::transport) enum Session {}

impl Session {
    pub(in crate::transport) fn open(&self, _: &mut Vec<u8>, _: usize, _: &mut [u8]) -> (Opened, bool) {
        match *self {}
    }

    pub(in crate::transport) fn end(&self) {
        match *self {}
    }

    pub(in crate::transport) fn seal(&self, _: &[u8], _: &mut Vec<u8>) -> Result<Sealed, EndReason> {
        match *self {}
    }

    pub(in crate::transport) fn close_notify(&self) -> Result<(), EndReason> {
        match *self {}
    }

    pub(in crate::transport) fn take(&self, _: &mut Vec<u8>) {
        match *self {}
    }

    pub(in crate::transport) fn wait_for_reader(&self, _: Duration) {
        match *self {}
    }
}
