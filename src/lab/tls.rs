//! Certificates for a TLS lab, made afresh for each.

use std::io;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose};

/// What certificate a TLS lab shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Certificate {
    /// One that is right for `localhost` and `127.0.0.1`.
    #[default]
    Valid,
    /// One that expired in 2001.
    Expired,
    /// One that is right only for `elsewhere.invalid`.
    WrongHost,
}

/// What a TLS lab needs to answer handshakes.
pub(super) struct Identity {
    pub(super) acceptor: native_tls::TlsAcceptor,
    pub(super) ca_pem: String,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    pub(super) fn new(certificate: Certificate) -> io::Result<Self> {
        let (ca_pem, chain, key) = issue(certificate).map_err(io::Error::other)?;
        let identity = native_tls::Identity::from_pkcs8(chain.as_bytes(), key.as_bytes());
        let acceptor = identity.and_then(native_tls::TlsAcceptor::new).map_err(io::Error::other)?;
        Ok(Self { acceptor, ca_pem })
    }
}

/// A root certificate, a chain below it, and the chain's private key, all as PEM.
fn issue(certificate: Certificate) -> Result<(String, String, String), rcgen::Error> {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.distinguished_name.push(DnType::CommonName, "livefeed lab root");
    let root = CertifiedIssuer::self_signed(params, KeyPair::generate()?)?;

    let names = match certificate {
        Certificate::WrongHost => vec!["elsewhere.invalid".to_owned()],
        Certificate::Valid | Certificate::Expired => vec!["localhost".to_owned(), "127.0.0.1".to_owned()],
    };
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name.push(DnType::CommonName, "livefeed lab");
    params.use_authority_key_identifier_extension = true;
    params.extended_key_usages.push(rcgen::ExtendedKeyUsagePurpose::ServerAuth);
    // Some systems refuse certificates that are valid for longer than 825 days.
    let (from, to) = match certificate {
        Certificate::Expired => (2000, 2001),
        _ => {
            let year = year();
            (year - 1, year + 1)
        }
    };
    params.not_before = rcgen::date_time_ymd(from, 1, 2);
    params.not_after = rcgen::date_time_ymd(to, 1, 2);
    let key = KeyPair::generate()?;
    let leaf = params.signed_by(&key, &root)?;
    Ok((root.pem(), leaf.pem() + &root.pem(), key.serialize_pem()))
}

/// The year by the wall clock, within a day or so.
fn year() -> i32 {
    let wall = crate::clock::Stamp::now().wall;
    let since = wall.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    i32::try_from(1970 + since.as_secs() / 31_556_952).unwrap_or(2030)
}
