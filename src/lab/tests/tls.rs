//! The lab under TLS.

use native_tls::{TlsConnector, TlsStream};

use super::super::Certificate;
use super::*;

fn lab(certificate: Certificate, script: Script) -> Lab {
    Lab::builder().tls(certificate).script(script).start().unwrap()
}

fn shake(lab: &Lab, host: &str) -> Option<TlsStream<TcpStream>> {
    let root = native_tls::Certificate::from_pem(lab.ca_pem().as_bytes()).unwrap();
    let connector = TlsConnector::builder().add_root_certificate(root).build().unwrap();
    connector.connect(host, tcp(lab)).ok()
}

#[test]
fn feeds_run_under_tls() {
    let script = Script::of_topics([Topic::new("btc").every(ms(1))]).until_subscribe().close(1000, "");
    let lab = lab(Certificate::Valid, script);
    assert!(lab.url().starts_with("wss://localhost:"));
    let stream = shake(&lab, "localhost").unwrap();
    let (mut socket, _) = tungstenite::client(lab.url(), stream).unwrap();
    (1..=10).for_each(|seq| assert_eq!(data(socket.read().unwrap().to_text().unwrap()).1, seq));
    socket.send("stop".into()).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    await_what(&lab, |w| *w == What::TlsDone);
    await_end(&lab, &End::Closed);
}

#[test]
fn floods_run_under_tls_and_stop_at_a_frame() {
    let lab = lab(Certificate::Valid, Script::new().flood(Flood::of_size(1000)));
    let stream = shake(&lab, "127.0.0.1").unwrap();
    let (mut socket, _) = tungstenite::client(lab.url(), stream).unwrap();
    (0..5_000).for_each(|_| assert_eq!(socket.read().unwrap().len(), 1000));
    for round in 0..20 {
        lab.control().all(Command::MuteAll);
        lab.control().all(Command::Send(format!("round {round}")));
        while socket.read().unwrap().len() == 1000 {}
        lab.control().all(Command::UnmuteAll);
    }
}

#[test]
fn bad_certificates_are_refused_by_clients() {
    assert!(shake(&lab(Certificate::Valid, Script::new()), "127.0.0.1").is_some());
    let cases = [(Certificate::Expired, "localhost"), (Certificate::WrongHost, "localhost")];
    for (certificate, host) in cases {
        let lab = lab(certificate, Script::new());
        assert!(shake(&lab, host).is_none(), "{certificate:?}");
        await_what(&lab, |w| matches!(w, What::Ended(_)));
    }
    let trusting_nobody = TlsConnector::new().unwrap();
    let lab = lab(Certificate::Valid, Script::new());
    assert!(trusting_nobody.connect("localhost", tcp(&lab)).is_err());
}

#[test]
fn the_handshake_stalls_and_fails() {
    let stalled = lab(Certificate::Valid, Script::stall_tls());
    let connector = TlsConnector::new().unwrap();
    let stream = tcp(&stalled);
    stream.set_read_timeout(Some(ms(50))).unwrap();
    assert!(connector.connect("localhost", stream).is_err());
    assert!(!stalled.transcript().of(1).any(|w| *w == What::TlsDone));

    let failing = lab(Certificate::Valid, Script::new());
    tcp(&failing).write_all(REQUEST.as_bytes()).unwrap();
    await_what(&failing, |w| matches!(w, What::Ended(End::Tls(_))));
}
