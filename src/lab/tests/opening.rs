//! The ways the upgrade request is met.

use super::*;

#[test]
fn the_upgrade_is_answered_and_recorded() {
    let lab = Lab::start(Script::new().header("X-Lab", "yes")).unwrap();
    let mut stream = tcp(&lab);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    let head = head(&mut stream);
    assert!(head.contains(ACCEPT) && head.contains("X-Lab: yes\r\n"), "{head}");
    assert!(head.contains("Sec-WebSocket-Protocol: one\r\n"), "{head}");
    await_what(&lab, |w| matches!(w, What::Upgraded { subprotocol: Some(name) } if name == "one"));
    let transcript = lab.transcript();
    let request = transcript.request(1).unwrap();
    assert_eq!(request.path, "/feed?x=1");
    assert_eq!(request.header("HOST"), Some("lab"));
    assert_eq!((lab.connections(), lab.live()), (1, 1));
}

#[test]
fn subprotocols_can_be_withheld_or_made_up() {
    let plan = |n| if n == 1 { Script::new().no_subprotocol() } else { Script::new().subprotocol("mine") };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    for wanted in [None, Some("Sec-WebSocket-Protocol: mine")] {
        let mut stream = tcp(&lab);
        stream.write_all(REQUEST.as_bytes()).unwrap();
        let head = head(&mut stream);
        assert_eq!(head.lines().find(|line| line.starts_with("Sec-WebSocket-Protocol")), wanted);
    }
}

#[test]
fn a_refusal_has_status_headers_and_body() {
    let lab = Lab::start(Script::refuse(503).header("Retry-After", "2").body("busy")).unwrap();
    let mut stream = tcp(&lab);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("Retry-After: 2\r\n") && answer.ends_with("\r\n\r\nbusy"), "{answer}");
    drop(stream);
    await_what(&lab, |w| *w == What::Refused { status: 503 });
    await_end(&lab, &End::Fin);
    assert_eq!((lab.connections(), lab.live()), (0, 0));
}

#[test]
fn what_is_no_upgrade_is_refused() {
    for request in ["GET / HTTP/1.1\r\nHost: lab\r\n\r\n", "\x16\x03\x01 no http \r\n\r\n"] {
        let lab = Lab::start(Script::new()).unwrap();
        let mut stream = tcp(&lab);
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[test]
fn it_never_upgrades() {
    let lab = Lab::start(Script::never_upgrade()).unwrap();
    let mut stream = tcp(&lab);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    stream.set_read_timeout(Some(ms(50))).unwrap();
    assert!(stream.read(&mut [0]).is_err());
    drop(stream);
    await_end(&lab, &End::Eof);
}

#[test]
fn the_upgrade_can_trickle() {
    let lab = Lab::start(Script::trickle_upgrade(ms(1)).send("hello")).unwrap();
    let mut stream = tcp(&lab);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    let start = Instant::now();
    let head = head(&mut stream);
    assert!(head.contains(ACCEPT));
    assert!(start.elapsed() >= ms(head.len() as u64 - 1), "{:?} for {}", start.elapsed(), head.len());
    assert_eq!(take(&mut stream, 7), b"\x81\x05hello");
}

#[test]
fn the_accept_key_can_be_wrong() {
    let lab = Lab::start(Script::wrong_accept()).unwrap();
    let mut stream = tcp(&lab);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    let head = head(&mut stream);
    assert!(head.contains("Sec-WebSocket-Accept: ") && !head.contains(ACCEPT), "{head}");
}

#[test]
fn the_header_can_be_endless_or_long() {
    let lab = Lab::start(Script::endless_header()).unwrap();
    let mut stream = tcp(&lab);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    let bytes = take(&mut stream, 4 << 20);
    assert!(bytes.starts_with(b"HTTP/1.1 101 "));
    assert!(!bytes.windows(4).any(|w| w == b"\r\n\r\n"));

    let lab = Lab::start(Script::long_header(100_000)).unwrap();
    let mut stream = tcp(&lab);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    assert!(head(&mut stream).len() > 100_000);
}

#[test]
fn the_answer_can_be_anything() {
    let lab = Lab::start(Script::raw_response("ICY 200 OK\r\n\r\n").send("hi")).unwrap();
    let mut stream = tcp(&lab);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    assert_eq!(take(&mut stream, 18), b"ICY 200 OK\r\n\r\n\x81\x02hi");
}

#[test]
fn connections_can_end_at_accept() {
    let lab = Lab::start(Script::reset_at_accept()).unwrap();
    let error = tcp(&lab).read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    await_end(&lab, &End::Reset);

    let lab = Lab::start(Script::fin_at_accept()).unwrap();
    assert_eq!(tcp(&lab).read(&mut [0]).unwrap(), 0);
    await_end(&lab, &End::Fin);
}

#[test]
fn it_flaps() {
    let lab = Lab::start(Script::new().send("hello").close(1001, "bye")).unwrap();
    for connection in 1..=3 {
        let mut socket = client(&lab);
        assert_eq!(text(&mut socket), "hello");
        assert!(
            matches!(socket.read().unwrap(), Message::Close(Some(frame)) if u16::from(frame.code) == 1001)
        );
        while socket.read().is_ok() {}
        drop(socket);
        let end = |e: &Entry| e.connection == connection && e.what == What::Ended(End::Closed);
        assert!(lab.wait_for(end, LIMIT).is_some(), "{}", lab.transcript());
    }
    assert_eq!(lab.connections(), 3);
}
