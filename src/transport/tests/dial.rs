//! Addresses, and the upgrade.

use super::*;
use std::io::ErrorKind;

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn to_addresses(addresses: Vec<SocketAddr>) -> (Endpoint, Settings) {
    let resolver = Resolver::scripted(move |_, _| Ok(addresses.clone()));
    let settings = Settings { resolver, stagger: Duration::from_millis(60), ..settings() };
    (Endpoint::parse("ws://feed.test/").unwrap(), settings)
}

fn accepting() -> (SocketAddr, JoinHandle<String>) {
    serve(|mut socket| accept(&mut socket, b""))
}

/// Answers with these bytes and holds the connection; returns why the attempt ended.
fn answer(text: impl Into<Vec<u8>>) -> EndReason {
    answer_then(text, false)
}

fn answer_then(answer: impl Into<Vec<u8>>, ends: bool) -> EndReason {
    let answer = answer.into();
    let (addr, server) = serve(move |mut socket| {
        read_request(&mut socket);
        let _ = socket.write_all(&answer);
        if ends {
            return None;
        }
        Some(socket)
    });
    let reason = dial_with(&endpoint(addr), &settings(), CEILING, &Stop::new()).unwrap_err();
    drop(server.join().unwrap());
    reason
}

#[test]
fn a_refused_address_gives_way_at_once() {
    let (good, server) = accepting();
    let (endpoint, mut settings) = to_addresses(vec![free_port(), good]);
    settings.stagger = CEILING * 2;
    let stop = Stop::new();
    let dialed = dial_with(&endpoint, &settings, CEILING, &stop).unwrap();
    assert_eq!(dialed.peer, good);
    server.join().unwrap();
    assert_eq!(stop.registered(), 1, "only the connection is left");
    drop(dialed);
    assert_eq!(stop.registered(), 0, "the token holds no socket");
}

#[test]
fn a_hanging_address_gives_way_after_the_stagger() {
    let (bad, _sockets) = hanging();
    let (good, server) = accepting();
    let (endpoint, settings) = to_addresses(vec![bad, good]);
    let started = clock::mono();
    let stop = Stop::new();
    let dialed = dial_with(&endpoint, &settings, CEILING, &stop).unwrap();
    assert!(started.elapsed() >= settings.stagger);
    assert!(started.elapsed() < SOON);
    assert_eq!(dialed.peer, good);
    assert_eq!(stop.registered(), 1, "the loser is closed");
    server.join().unwrap();
}

#[test]
fn when_all_are_refused_it_says_so() {
    let (endpoint, settings) = to_addresses(vec![free_port(), free_port()]);
    let reason = dial_with(&endpoint, &settings, CEILING, &Stop::new()).unwrap_err();
    assert!(
        matches!(reason, EndReason::Io { stage: Stage::Connect, kind: ErrorKind::ConnectionRefused, .. }),
        "{reason}"
    );
}

#[test]
fn the_request_is_complete() {
    let (addr, server) = accepting();
    let endpoint = Endpoint::parse(&format!("ws://user:p%40ss@{addr}/feed?a=b")).unwrap();
    let headers = [("X-Key".to_owned(), Secret::from("abc"))];
    let request = Request {
        endpoint: &endpoint,
        headers: &headers,
        subprotocols: &["a".into(), "b".into()],
        settings: &settings(),
    };
    let shown = format!("{request:?}");
    assert!(!shown.contains("abc") && !shown.contains("p@ss") && !shown.contains("a=b"), "{shown}");
    let dialed = dial(&request, &budget(CEILING), &Stop::new()).unwrap();
    assert_eq!(dialed.subprotocol, None);
    let asked = server.join().unwrap();
    assert!(asked.starts_with("GET /feed?a=b HTTP/1.1\r\n"), "{asked}");
    let expected = [
        ("Host", addr.to_string()),
        ("Upgrade", "websocket".to_owned()),
        ("Connection", "Upgrade".to_owned()),
        ("Sec-WebSocket-Version", "13".to_owned()),
        ("Sec-WebSocket-Protocol", "a, b".to_owned()),
        ("Authorization", "Basic dXNlcjpwQHNz".to_owned()),
        ("User-Agent", format!("livefeed/{}", env!("CARGO_PKG_VERSION"))),
        ("X-Key", "abc".to_owned()),
    ];
    for (name, value) in expected {
        assert_eq!(field(&asked, name), Some(value.as_str()), "{name} in {asked}");
    }
}

#[test]
fn headers_of_the_user_win_where_they_may() {
    let (addr, server) = accepting();
    let endpoint = Endpoint::parse(&format!("ws://user:pass@{addr}/")).unwrap();
    let headers = [("authorization", "Bearer x"), ("HOST", "other"), ("user-agent", "mine")]
        .map(|(name, value)| (name.to_owned(), Secret::from(value)));
    let request =
        Request { endpoint: &endpoint, headers: &headers, subprotocols: &[], settings: &settings() };
    dial(&request, &budget(CEILING), &Stop::new()).unwrap();
    let asked = server.join().unwrap();
    for (name, value) in [("authorization", "Bearer x"), ("host", "other"), ("user-agent", "mine")] {
        assert_eq!(field(&asked, name), Some(value));
        let prefix = format!("{name}:");
        assert_eq!(asked.lines().filter(|line| line.to_ascii_lowercase().starts_with(&prefix)).count(), 1);
    }
}

#[test]
fn wrong_headers_are_never_sent() {
    let table = [
        ("X", "canary\r\nY: z"),
        ("X", "canary\n"),
        ("X", "canary\0"),
        ("X canary", "y"),
        ("X:canary", "y"),
        ("", "canary"),
        ("Upgrade", "canary"),
        ("connection", "canary"),
        ("Sec-WebSocket-Key", "canary"),
        ("Sec-Websocket-Extensions", "canary"),
        ("Content-Length", "canary"),
    ];
    for (name, value) in table {
        let error = check_header(name, value).unwrap_err();
        assert!(!error.contains("canary"), "{error}");
    }
    assert!(check_header("X-Ok", "á\tb c").is_ok());
    let (addr, _) = serve(|mut socket| socket.read(&mut [0; 100]));
    let endpoint = endpoint(addr);
    let headers = [("X".to_owned(), Secret::from("a\r\nb"))];
    let request =
        Request { endpoint: &endpoint, headers: &headers, subprotocols: &[], settings: &settings() };
    let reason = dial(&request, &budget(CEILING), &Stop::new()).unwrap_err();
    assert!(matches!(reason, EndReason::Provider { .. }), "{reason}");
    for name in ["", "a,b", "a b", "a\r\nb"] {
        assert!(check_subprotocol(name).is_err(), "{name:?}");
    }
}

#[test]
fn a_refusal_is_told_with_its_details() {
    let EndReason::UpgradeRefused { status, retry_after, location, body } = answer(
        "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 8\r\nLocation: /x\r\n\r\nlater...and more",
    ) else {
        panic!("another reason");
    };
    assert_eq!((status, retry_after, location), (503, Some(Duration::from_secs(7)), None));
    assert_eq!(body, "later...");
}

#[test]
fn a_redirect_is_told_without_its_secrets() {
    let reason = answer(
        "HTTP/1.1 302 Found\r\nLocation: wss://u:hunter2@other/p?token=hunter2\r\nContent-Length: 0\r\n\r\n",
    );
    let EndReason::UpgradeRefused { status: 302, location: Some(to), .. } = reason else {
        panic!("{reason}");
    };
    assert_eq!(to, "wss://other/p?token=***");
}

#[test]
fn a_refusal_does_not_echo_secrets_and_is_bounded() {
    let mut text = b"HTTP/1.1 401 No\r\n\r\n".to_vec();
    text.extend(std::iter::repeat_n(b'x', 508));
    text.extend_from_slice(b"canary is wrong");
    text.extend(std::iter::repeat_n(b'y', 10_000));
    let EndReason::UpgradeRefused { status: 401, body, .. } = answer(text) else {
        panic!("another reason");
    };
    assert_eq!(body, format!("{}***", "x".repeat(508)));
}

#[test]
fn the_body_of_a_refusal_is_not_waited_for_long() {
    let started = clock::mono();
    let reason = answer("HTTP/1.1 500 No\r\nContent-Length: 100\r\n\r\nhalf");
    assert!(matches!(&reason, EndReason::UpgradeRefused { body, .. } if body == "half"), "{reason:?}");
    assert!(started.elapsed() < SOON);
}

#[test]
fn broken_answers_are_invalid() {
    let ok = "HTTP/1.1 101 S\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
    let table = [
        ("key", format!("{ok}Sec-WebSocket-Accept: AAAA\r\n\r\n")),
        ("no Sec-WebSocket-Accept", format!("{ok}\r\n")),
        ("no Upgrade", "HTTP/1.1 101 S\r\nConnection: Upgrade\r\n\r\n".to_owned()),
        ("no Connection", "HTTP/1.1 101 S\r\nUpgrade: websocket\r\n\r\n".to_owned()),
        ("HTTP/1.0", "HTTP/1.0 101 S\r\n\r\n".to_owned()),
        ("not HTTP", "SSH-2.0-OpenSSH\r\n".to_owned()),
        ("not HTTP, but TLS", "\u{15}\u{3}\u{3}\0\u{2}\u{2}\u{28}".to_owned()),
        ("longer than", format!("HTTP/1.1 101 S\r\nX: {}", "x".repeat(17 * 1024))),
        ("not HTTP/1.1", "HTTP/1.1 1x1\r\n\r\n".to_owned()),
        ("not HTTP/1.1", format!("HTTP/1.1 200 O\r\n{}\r\n", "X: y\r\n".repeat(200))),
    ];
    for (hint, text) in table {
        match answer(text) {
            EndReason::UpgradeInvalid { detail } => assert!(detail.contains(hint), "{hint}: {detail}"),
            other => panic!("{hint}: {other:?}"),
        }
    }
}

/// Accepts with these fields besides, where `a` and `b` are offered.
fn accept_with(fields: &'static str) -> Result<Dialed, EndReason> {
    let (addr, server) = serve(move |mut socket| {
        let asked = read_request(&mut socket);
        socket.write_all(
            format!("HTTP/1.1 103 Hints\r\nX: y\r\n\r\n{}{fields}\r\n", accept_head(&asked)).as_bytes(),
        )
    });
    let endpoint = endpoint(addr);
    let request = Request {
        endpoint: &endpoint,
        headers: &[],
        subprotocols: &["a".into(), "b".into()],
        settings: &settings(),
    };
    let dialed = dial(&request, &budget(CEILING), &Stop::new());
    server.join().unwrap().unwrap();
    dialed
}

#[test]
fn a_subprotocol_is_one_of_those_offered() {
    assert_eq!(accept_with("Sec-WebSocket-Protocol: b\r\n").unwrap().subprotocol.as_deref(), Some("b"));
    assert_eq!(accept_with("").unwrap().subprotocol, None);
    assert_eq!(accept_with("Sec-WebSocket-Extensions: \r\n").unwrap().subprotocol, None);
    for fields in [
        "Sec-WebSocket-Protocol: c\r\n",
        "Sec-WebSocket-Protocol: B\r\n",
        "Sec-WebSocket-Protocol: a, b\r\n",
        "Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Protocol: b\r\n",
        "Sec-WebSocket-Extensions: permessage-deflate\r\n",
    ] {
        assert!(matches!(accept_with(fields), Err(EndReason::UpgradeInvalid { .. })), "{fields}");
    }
}

#[test]
fn an_early_end_is_told() {
    let reason = answer_then("HTTP/1.1 101 S\r\nUpg", true);
    assert!(
        matches!(reason, EndReason::Io { stage: Stage::Upgrade, kind: ErrorKind::UnexpectedEof, .. }),
        "{reason:?}"
    );
}
