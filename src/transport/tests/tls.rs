//! The halves under TLS, and what certificates are refused.

use super::*;
use openssl::pkey::PKey;
use openssl::ssl::{SslAcceptor, SslMethod, SslStream, SslVersion};
use openssl::x509::X509;
use std::io::ErrorKind;

struct Certificate {
    pem: Vec<u8>,
    acceptor: SslAcceptor,
}

/// A server's certificate, and the server's TLS, of at most this version.
fn certificate_up_to(name: &str, version: SslVersion) -> Certificate {
    let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
    let (pem, key) = (made.cert.pem().into_bytes(), made.signing_key.serialize_pem());
    let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls()).unwrap();
    builder.set_private_key(&PKey::private_key_from_pem(key.as_bytes()).unwrap()).unwrap();
    builder.set_certificate(&X509::from_pem(&pem).unwrap()).unwrap();
    builder.set_max_proto_version(Some(version)).unwrap();
    Certificate { pem, acceptor: builder.build() }
}

fn certificate(name: &str) -> Certificate {
    certificate_up_to(name, SslVersion::TLS1_3)
}

fn with(tls: &TlsSettings) -> Settings {
    Settings::new(Tls::new(tls).unwrap())
}

fn trusting(certificate: &Certificate) -> TlsSettings {
    TlsSettings {
        roots_der: vec![X509::from_pem(&certificate.pem).unwrap().to_der().unwrap()],
        ..TlsSettings::default()
    }
}

fn serve_tls<T: Send + 'static>(
    acceptor: SslAcceptor,
    f: impl FnOnce(SslStream<TcpStream>) -> T + Send + 'static,
) -> (Endpoint, JoinHandle<Option<T>>) {
    let (addr, server) = serve(move |socket| {
        let mut stream = acceptor.accept(socket).ok()?;
        accept(&mut stream, b"early");
        Some(f(stream))
    });
    (Endpoint::parse(&format!("wss://{addr}/")).unwrap(), server)
}

fn refused(certificate: &Certificate, tls: &TlsSettings) -> EndReason {
    let (endpoint, server) = serve_tls(certificate.acceptor.clone(), |_| ());
    let reason = dial_with(&endpoint, &with(tls), CEILING, &Stop::new()).unwrap_err();
    assert_eq!(server.join().unwrap(), None, "the server must not get through");
    reason
}

fn accepted(certificate: &Certificate, tls: &TlsSettings) {
    let (endpoint, server) = serve_tls(certificate.acceptor.clone(), |_| ());
    dial_with(&endpoint, &with(tls), CEILING, &Stop::new()).unwrap();
    server.join().unwrap().unwrap();
}

/// Reads until something is said other than "grant another permit".
fn read_some(half: &mut ReadHalf, buffer: &mut [u8]) -> std::io::Result<usize> {
    let deadline = clock::mono() + CEILING;
    loop {
        match half.read(buffer) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                assert!(clock::mono() < deadline, "nothing comes");
                half.permit(Wait::Until(Some(CEILING)));
            }
            done => return done,
        }
    }
}

#[test]
fn untrusted_certificates_are_told_apart() {
    let (good, misnamed) = (certificate("127.0.0.1"), certificate("feed.test"));
    let untrusted = |reason: &EndReason| matches!(reason, EndReason::Tls { untrusted: true, .. });
    let reason = refused(&good, &TlsSettings::default());
    assert!(untrusted(&reason), "{reason}");
    let reason = refused(&misnamed, &trusting(&misnamed));
    assert!(untrusted(&reason), "{reason}");
    let (addr, _server) = serve(|mut socket| {
        let _ = socket.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        let _ = std::io::copy(&mut socket, &mut std::io::sink());
    });
    let endpoint = Endpoint::parse(&format!("wss://{addr}/")).unwrap();
    let reason = dial_with(&endpoint, &settings(), CEILING, &Stop::new()).unwrap_err();
    assert!(
        matches!(&reason, EndReason::Tls { untrusted: false, detail } if detail.contains("ws://")),
        "{reason}"
    );
}

#[test]
fn a_server_that_leaves_in_the_handshake_is_an_io_failure() {
    let (addr, _server) = serve(|mut socket| socket.read_exact(&mut [0; 64]).unwrap());
    let endpoint = Endpoint::parse(&format!("wss://{addr}/")).unwrap();
    let reason = dial_with(&endpoint, &settings(), CEILING, &Stop::new()).unwrap_err();
    assert!(matches!(reason, EndReason::Io { stage: Stage::Tls, .. }), "{reason}");
}

#[test]
fn trusted_certificates_and_their_ways_around() {
    let (good, misnamed) = (certificate("127.0.0.1"), certificate("feed.test"));
    accepted(&good, &trusting(&good));
    accepted(&good, &TlsSettings { min_version: Some(TlsVersion::Tls13), ..trusting(&good) });
    let old = certificate_up_to("127.0.0.1", SslVersion::TLS1_2);
    accepted(&old, &trusting(&old));
    let reason = refused(&old, &TlsSettings { min_version: Some(TlsVersion::Tls13), ..trusting(&old) });
    assert!(matches!(reason, EndReason::Tls { untrusted: false, .. }), "{reason}");
    accepted(&misnamed, &TlsSettings { server_name: Some("feed.test".into()), ..trusting(&misnamed) });
    accepted(&misnamed, &TlsSettings { danger_accept_invalid_hostnames: true, ..trusting(&misnamed) });
    accepted(&misnamed, &TlsSettings { danger_accept_invalid_certs: true, ..Default::default() });
    for der in ["", "hunter2", "\x30\x03AAA"] {
        let error = Tls::new(&TlsSettings { roots_der: vec![der.into()], ..Default::default() }).unwrap_err();
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[test]
fn full_duplex_under_two_floods_of_tls_1_2() {
    full_duplex_under_two_floods(SslVersion::TLS1_2);
}

#[test]
fn full_duplex_under_two_floods_of_tls_1_3() {
    full_duplex_under_two_floods(SslVersion::TLS1_3);
}

fn full_duplex_under_two_floods(version: SslVersion) {
    const TOTAL: usize = 24 * 1024 * 1024;
    // One period is coprime to the sizes of records and buffers.
    let pattern: Vec<u8> = (0..TOTAL).map(|n| (n % 251) as u8).collect();
    let pattern = std::sync::Arc::new(pattern);
    let ours = pattern.clone();
    let made = certificate_up_to("127.0.0.1", version);
    let (endpoint, server) = serve_tls(made.acceptor.clone(), move |mut stream| {
        stream.get_ref().set_nonblocking(true).unwrap();
        let (mut sent, mut got) = (0, 0);
        let mut buffer = vec![0; 65536];
        while sent < TOTAL || got < TOTAL {
            let mut moved = false;
            if sent < TOTAL {
                match stream.write(&ours[sent..TOTAL.min(sent + 16384)]) {
                    Ok(n) => (sent, moved) = (sent + n, true),
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
                }
            }
            if got < TOTAL {
                match stream.read(&mut buffer) {
                    Ok(0) => panic!("the client left"),
                    Ok(n) => {
                        assert!(buffer[..n] == ours[got..got + n], "wrong bytes at {got}");
                        (got, moved) = (got + n, true);
                    }
                    Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock, "{error}"),
                }
            }
            if !moved {
                thread::yield_now();
            }
        }
        stream
    });
    let stop = Stop::new();
    let dialed = dial_with(&endpoint, &with(&trusting(&made)), CEILING, &stop).unwrap();
    let Dialed { mut read, mut write, .. } = dialed;
    let theirs = pattern.clone();
    let started = clock::mono();
    let reader = thread::spawn(move || {
        let mut buffer = vec![0; 65536];
        assert_eq!(read_some(&mut read, &mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"early");
        let mut got = 0;
        while got < TOTAL {
            let count = read_some(&mut read, &mut buffer).unwrap();
            assert!(count > 0 && buffer[..count] == theirs[got..got + count], "wrong bytes at {got}");
            got += count;
        }
        read
    });
    for part in pattern.chunks(1 << 20) {
        write.enqueue(part);
        while !write.pump().unwrap().idle {
            assert!(started.elapsed() < CEILING * 3, "the writer does not get through");
        }
    }
    assert_eq!(write.delivered(), TOTAL as u64);
    let read = reader.join().unwrap();
    drop(server.join().unwrap());
    eprintln!("{} MiB each way in {:?}", TOTAL >> 20, started.elapsed());
    drop((read, write));
}

#[test]
fn one_recv_holds_many_records_and_close_notify_is_the_end() {
    let made = certificate("127.0.0.1");
    let (tell, told) = crossbeam_channel::bounded(1);
    let (endpoint, server) = serve_tls(made.acceptor.clone(), move |mut stream| {
        stream.read_exact(&mut [0; 2]).unwrap();
        for n in 0..100_u8 {
            stream.write_all(&[n; 10]).unwrap();
        }
        stream.shutdown().unwrap();
        tell.send(()).unwrap();
        // The socket stays open: the end is the alert's doing.
        let mut got = Vec::new();
        let ended = stream.read_to_end(&mut got);
        (got, ended.is_ok())
    });
    let stop = Stop::new();
    let mut dialed = dial_with(&endpoint, &with(&trusting(&made)), CEILING, &stop).unwrap();
    let mut buffer = [0; 4096];
    assert_eq!(read_some(&mut dialed.read, &mut buffer).unwrap(), 5);
    dialed.write.enqueue(b"go");
    assert!(dialed.write.pump().unwrap().idle);
    told.recv_timeout(CEILING).unwrap();
    let (mut got, mut permits) = (Vec::new(), 0);
    loop {
        match dialed.read.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => got.extend_from_slice(&buffer[..count]),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                permits += 1;
                dialed.read.permit(Wait::Until(Some(CEILING)));
            }
        }
    }
    assert_eq!(*dialed.read.outcome(), Outcome::Eof);
    let expected: Vec<u8> = (0..100).flat_map(|n| [n; 10]).collect();
    assert_eq!(got, expected);
    // Session tickets may take one, when they come alone.
    assert!(permits <= 2, "{permits} permits for what one recv holds");
    dialed.write.enqueue(b"bye");
    dialed.write.close_notify();
    while !dialed.write.pump().unwrap().idle {}
    let (got, clean) = server.join().unwrap().unwrap();
    assert_eq!((got.as_slice(), clean), (&b"bye"[..], true));
}

#[test]
fn an_end_without_close_notify_is_an_end() {
    let made = certificate("127.0.0.1");
    let (endpoint, server) = serve_tls(made.acceptor.clone(), |mut stream| {
        stream.write_all(b"last").unwrap();
        stream.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
        stream
    });
    let mut dialed = dial_with(&endpoint, &with(&trusting(&made)), CEILING, &Stop::new()).unwrap();
    let mut buffer = [0; 4096];
    for expected in [&b"early"[..], b"last", b""] {
        let count = read_some(&mut dialed.read, &mut buffer).unwrap();
        assert_eq!(&buffer[..count], expected);
    }
    assert_eq!(*dialed.read.outcome(), Outcome::Eof);
    drop(server.join().unwrap());
}

#[test]
fn broken_records_are_a_failure() {
    let made = certificate("127.0.0.1");
    let (endpoint, server) = serve_tls(made.acceptor.clone(), |stream| {
        stream.get_ref().write_all(&[23, 3, 3, 0, 40].repeat(9)).unwrap();
        stream
    });
    let mut dialed = dial_with(&endpoint, &with(&trusting(&made)), CEILING, &Stop::new()).unwrap();
    let mut buffer = [0; 64];
    assert_eq!(read_some(&mut dialed.read, &mut buffer).unwrap(), 5);
    assert!(read_some(&mut dialed.read, &mut buffer).is_err());
    assert!(matches!(dialed.read.outcome(), Outcome::Failed(EndReason::Tls { untrusted: false, .. })));
    assert!(dialed.read.wants_write(), "the alert for the server waits");
    assert!(dialed.write.pump().unwrap().wrote > 0);
    drop(server.join().unwrap());
}

#[test]
fn probes_and_stalls_under_tls() {
    let made = certificate("127.0.0.1");
    let (endpoint, server) = serve_tls(made.acceptor.clone(), |stream| stream);
    let stop = Stop::new();
    let mut dialed = dial_with(&endpoint, &with(&trusting(&made)), CEILING, &stop).unwrap();
    let _server = server.join().unwrap();
    let mut buffer = [0; 64];
    assert_eq!(read_some(&mut dialed.read, &mut buffer).unwrap(), 5);
    let deadline = clock::mono() + CEILING;
    loop {
        dialed.read.permit(Wait::Probe);
        assert!(dialed.read.read(&mut buffer).is_err());
        // Session tickets may come first.
        if *dialed.read.outcome() == Outcome::Nothing {
            break;
        }
        assert!(clock::mono() < deadline);
    }
    dialed.write.enqueue(&vec![0; 32 << 20]);
    let mut longest = Duration::ZERO;
    loop {
        let started = clock::mono();
        let pumped = dialed.write.pump().unwrap();
        longest = longest.max(started.elapsed());
        if pumped.wrote == 0 {
            break;
        }
    }
    eprintln!("the longest pump under TLS took {longest:?}");
    assert!(longest < SOON);
    stop.abort();
    assert!(dialed.write.pump().is_err());
}
