//! HTTP: each path, each refusal, and connections that stay open.

use crate::common::*;
use livefeed::{Error, Monitor};
use std::io::Write;
use std::process::Command;

const PATHS: [(&str, &str, u16); 5] = [
    ("/live", "application/json", 200),
    ("/health", "application/json", 503), // there is no feed
    ("/metrics", "text/plain", 200),
    ("/", "text/html", 200),
    ("/data", "application/json", 200),
];

#[test]
fn each_path_is_answered_and_head_alike_without_its_body() {
    let monitor = monitor();
    for (path, kind, status) in PATHS {
        let answer = get(&monitor, path);
        assert_eq!(answer.status, status, "{path}");
        assert!(answer.field("content-type").unwrap().starts_with(kind), "{path}: {answer:?}");
        for (field, value) in [
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
            ("x-frame-options", "DENY"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-resource-policy", "same-origin"),
        ] {
            assert_eq!(answer.field(field), Some(value), "{path}");
        }
        let policy = answer.field("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
        let date = answer.field("date").unwrap();
        assert!(date.ends_with(" GMT"), "{date}");

        let mut client = Client::new(monitor.local_addr());
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        let head = client.answer(false);
        assert_eq!(client.rest(), b"", "{path}: HEAD has no body");
        assert_eq!(head.status, status);
        assert_eq!(head.field("content-type"), answer.field("content-type"));
        if path != "/metrics" && path != "/data" {
            assert_eq!(head.length(), answer.body.len(), "{path}");
        }
    }
    assert_eq!(get(&monitor, "/live?x=%zz").json()["status"], "live");
}

#[test]
fn what_is_not_there_is_refused_and_says_why() {
    let monitor = monitor();
    for (request, status) in [
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close", 404),
        ("GET /health/ HTTP/1.1\r\nHost: localhost\r\nConnection: close", 404),
        ("GET /%68ealth HTTP/1.1\r\nHost: localhost\r\nConnection: close", 404),
        ("GET /../health HTTP/1.1\r\nHost: localhost\r\nConnection: close", 404),
        ("GET * HTTP/1.1\r\nHost: localhost\r\nConnection: close", 404),
        ("GET /health?max_age=x HTTP/1.1\r\nHost: localhost\r\nConnection: close", 400),
        ("GET /health?maxage=5 HTTP/1.1\r\nHost: localhost\r\nConnection: close", 400),
        ("GET /health?feed=%zz HTTP/1.1\r\nHost: localhost\r\nConnection: close", 400),
        ("GET /health?feed=a HTTP/1.1\r\nHost: localhost\r\nConnection: close", 404),
        ("POST /health HTTP/1.1\r\nHost: localhost\r\nConnection: close", 405),
        ("OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close", 405),
        ("DELETE /nothing HTTP/1.1\r\nHost: localhost\r\nConnection: close", 405),
        ("TRACE / HTTP/1.1\r\nHost: localhost\r\nConnection: close", 405),
        ("get / HTTP/1.1\r\nHost: localhost\r\nConnection: close", 405),
        ("CONNECT localhost:80 HTTP/1.1\r\nHost: localhost", 400),
        ("GET /live HTTP/1.1", 400), // no host
        ("GET /live HTTP/1.1\r\nHost: localhost\r\nHost: localhost", 400),
        ("GET /live HTTP/1.1\r\nHost: localhost\r\nX: a\0b", 400),
        ("GET /li\0ve HTTP/1.1\r\nHost: localhost", 400),
        ("GET /live HTTP/1.1\r\nHost: localhost\r\n folded: x", 400),
        ("GET /live HTTP/2.0\r\nHost: localhost", 505),
        ("PRI * HTTP/2.0", 505),
        ("GET /live", 400), // HTTP/0.9
        ("GET /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1", 413),
        ("GET /live HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked", 413),
        ("GET /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1, 2", 400),
        ("GET /live HTTP/1.1\r\nHost: evil.example\r\nConnection: close", 421),
        ("GET http://evil.example/live HTTP/1.1\r\nHost: localhost\r\nConnection: close", 421),
        ("POST /live HTTP/1.1\r\nHost: evil.example\r\nConnection: close", 421),
    ] {
        let answer = refused(&monitor, format!("{request}\r\n\r\n"));
        assert_eq!(answer.status, status, "{request:?}");
        assert!(answer.json()["error"].is_string(), "{request:?}");
        assert_eq!(answer.field("allow"), (status == 405).then_some("GET, HEAD"), "{request:?}");
    }
    for (bytes, status) in [
        (format!("GET /{}", "a".repeat(8192)).into_bytes(), 414),
        (format!("GET / HTTP/1.1\r\nX: {}", "a".repeat(8192)).into_bytes(), 431),
        (format!("GET / HTTP/1.1\r\n{}", "a: b\r\n".repeat(65)).into_bytes(), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400), // somebody tries TLS
        (vec![0xff; 3000], 400),
        (vec![0], 400),
    ] {
        assert_eq!(refused(&monitor, &bytes).status, status, "{:?}", &bytes[..bytes.len().min(40)]);
    }
    // After all that it is as before.
    assert_eq!(get(&monitor, "/live").status, 200);
}

#[test]
fn a_body_is_thrown_away_and_the_answer_still_arrives() {
    let monitor = monitor();
    for (method, status) in [("POST", 405), ("GET", 413)] {
        for size in [1, 1000, 200_000] {
            let mut client = Client::new(monitor.local_addr());
            client.send(format!(
                "{method} /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
            ));
            client.send(vec![b'x'; size]);
            let answer = client.answer(true);
            assert_eq!(
                (answer.status, answer.field("connection")),
                (status, Some("close")),
                "{method} {size}"
            );
            assert_eq!(client.rest(), b"", "what follows is no request");
        }
    }
    // Also one that is sent when the answer is there: the connection is not torn down under it.
    let mut client = Client::new(monitor.local_addr());
    client.send("POST /live HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50000\r\n\r\n");
    assert_eq!(client.answer(true).status, 405);
    for _ in 0..5 {
        client.send([b'x'; 10_000]);
        std::thread::park_timeout(ms(20)); // for a reset to arrive
    }
    assert_eq!(client.rest(), b"");
    // A body that looks like a request is none.
    let mut client = Client::new(monitor.local_addr());
    let inner = "GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let outer = "POST /live HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    client.send(format!("{outer}{:x}\r\n{inner}\r\n0\r\n\r\n", inner.len()));
    assert_eq!(client.answer(true).status, 405);
    assert_eq!(client.rest(), b"");
}

#[test]
fn a_connection_stays_open_for_more() {
    let monitor = monitor();
    let mut client = Client::new(monitor.local_addr());
    for n in 0..20 {
        client.send("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = client.answer(true);
        assert_eq!((answer.status, answer.field("connection")), (200, Some("keep-alive")), "{n}");
        client.send("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.answer(true).status, 404, "a refusal that is understood ends nothing");
    }
    client.send("HEAD / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(client.answer(false).field("connection"), Some("keep-alive"));
    client.send("GET /live HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer(true).field("connection"), Some("close"));
    assert_eq!(client.rest(), b"");
}

#[test]
fn requests_may_come_all_at_once_or_byte_by_byte() {
    let monitor = monitor();
    let one = |n: usize| format!("GET /{n} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let mut client = Client::new(monitor.local_addr());
    // More than the monitor takes at once, in bytes and in a row, and the beginning of one more.
    let count = 1000;
    let all: String = (0..count)
        .map(|n| if n % 10 == 0 { one(n).replace(&format!("/{n} "), "/live ") } else { one(n) })
        .collect();
    assert!(all.len() > 4 * 8192);
    let mut writer = client.0.get_ref().try_clone().unwrap();
    let sender = std::thread::spawn(move || writer.write_all(format!("{all}GET /live HT").as_bytes()));
    for n in 0..count {
        assert_eq!(client.answer(true).status, if n % 10 == 0 { 200 } else { 404 }, "{n}");
    }
    sender.join().unwrap().unwrap();
    client.send(
        "TP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\nGET /live HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert_eq!(client.answer(true).status, 200);
    assert_eq!(client.rest(), b"", "nothing is answered after the last");

    let mut client = Client::new(monitor.local_addr());
    client.0.get_ref().set_nodelay(true).unwrap();
    for byte in "\r\nGET /live HTTP/1.1\r\nHost: localhost\r\n\r\n".bytes() {
        client.send([byte]);
    }
    assert_eq!(client.answer(true).status, 200);
}

#[test]
fn whoever_stops_sending_is_still_answered() {
    let monitor = monitor();
    let mut client = Client::new(monitor.local_addr());
    client.send("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    client.0.get_ref().shutdown(std::net::Shutdown::Write).unwrap();
    assert_eq!(client.answer(true).status, 200);
    assert_eq!(client.rest(), b"");
}

#[test]
fn names_are_checked_as_asked() {
    let host = |monitor: &Monitor, host: &str| {
        refused(monitor, format!("GET /live HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")).status
    };
    let monitor = Monitor::builder().allowed_host("Dash.Example.").bind("127.0.0.1:0").unwrap();
    for (name, status) in
        [("dash.example:1", 200), ("127.0.0.1:80", 200), ("[::1]", 200), ("other.example", 421)]
    {
        assert_eq!(host(&monitor, name), status, "{name}");
    }
    let elsewhere = Monitor::bind("0.0.0.0:0").unwrap();
    let port = elsewhere.local_addr().port();
    let mut client = Client::new(([127, 0, 0, 1], port).into());
    client.send("GET /live HTTP/1.1\r\nHost: any.example\r\n\r\n");
    assert_eq!(client.answer(true).status, 200);
}

#[test]
fn options_have_bounds_and_the_address_one_owner() {
    for builder in [
        Monitor::builder().max_connections(0),
        Monitor::builder().max_connections(1025),
        Monitor::builder().request_timeout(ms(0)),
        Monitor::builder().request_timeout(ms(3_600_001)),
        Monitor::builder().allowed_host(""),
        Monitor::builder().allowed_host("a:80"),
        Monitor::builder().allowed_host("http://a/"),
        Monitor::builder().allowed_host("d\u{e4}sh.example"),
    ] {
        let error = builder.clone().bind("127.0.0.1:0").unwrap_err();
        assert!(matches!(error, Error::Config { .. }) && !error.is_retryable(), "{builder:?}: {error}");
    }
    let first = monitor();
    let error = Monitor::bind(first.local_addr()).unwrap_err();
    assert_eq!(error, Error::Listen(std::io::ErrorKind::AddrInUse));
    assert!(error.is_retryable());
    drop(first);
    assert!(matches!(Monitor::bind("127.0.0.1").unwrap_err(), Error::Listen(_)), "an address without a port");
}

/// Runs curl, if it is there: its exit status and what it wrote.
fn curl(arguments: &[&str]) -> Option<(i32, String)> {
    let output = match Command::new("curl")
        .args(["-sS", "--max-time", "10", "--noproxy", "*"])
        .args(arguments)
        .output()
    {
        Ok(output) => output,
        Err(error) => {
            println!("skipped: curl: {error}");
            return None;
        }
    };
    Some((output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap()))
}

#[test]
fn curl_agrees() {
    let lab = lively();
    let monitor = monitor();
    let url = |path: &str| format!("http://{}{path}", monitor.local_addr());
    let Some((code, body)) = curl(&["-f", &url("/health")]) else { return };
    assert_eq!((code, &*body), (22, ""), "no feed: 503");
    let feed = fresh(&lab, "a feed");
    monitor.add(&feed).unwrap();
    let run = |arguments: &[&str]| curl(arguments).unwrap();
    let (code, body) = run(&["-f", &url("/health")]);
    assert!(code == 0 && body.contains(r#""status":"fresh""#) && body.ends_with('\n'), "{code} {body}");
    let (code, _) =
        run(&["-f", "-G", "--data-urlencode", "feed=a feed", "-d", "max_age=10s", &url("/health")]);
    assert_eq!(code, 0);
    assert_eq!(run(&["-f", "-G", "-d", "feed=b", &url("/health")]).0, 22);
    let (code, head) = run(&["-I", &url("/metrics")]);
    assert!(code == 0 && head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(run(&["-f", "--http1.0", &url("/live")]).0, 0);
    assert_eq!(run(&["-f", "--http2", &url("/live")]).0, 0, "an upgrade that is offered is left out");
    let (_, status) =
        run(&["-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", "-d", "x=1", &url("/health")]);
    assert_eq!(status, "405");
    // Three requests over one connection.
    let (live, write) = (url("/live"), "%{num_connects} ");
    let (_, connects) =
        run(&["-o", "/dev/null", "-o", "/dev/null", "-o", "/dev/null", "-w", write, &live, &live, &live]);
    assert_eq!(connects, "1 0 0 ");
    drop(monitor);
    assert_eq!(run(&[&live]).0, 7, "nobody listens");
}
