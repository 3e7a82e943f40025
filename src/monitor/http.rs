//! HTTP/1.1 as far as a monitor needs it (RFC 9112): requests without a body, answers with a length.

use crate::clock::Stamp;
use httparse::{EMPTY_HEADER, Error as Fault, Header, Status};
use serde::Serialize;
use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

/// The largest head of a request, in bytes.
pub(super) const HEAD: usize = 8 << 10;

/// The most header fields of a request.
const FIELDS: usize = 64;

/// A request, as far as it matters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) method: Method,
    /// As sent: not decoded.
    pub(super) path: String,
    pub(super) query: Option<String>,
    /// The host that was asked for, with its port if it has one.
    pub(super) host: Option<String>,
    /// What the answer may be: all fields `Accept`, joined.
    pub(super) accept: Option<String>,
    /// Whether the connection is to stay open.
    pub(super) keep: bool,
    /// Whether a body follows. It is not read: the connection ends with the answer.
    pub(super) body: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Get,
    Head,
    Other,
}

#[derive(Debug)]
pub(super) enum Parsed {
    /// More has to come.
    Partial,
    /// A request, and how many bytes it took.
    Complete(Request, usize),
    /// What can't be understood: nothing after it can be either.
    Bad(Response),
}

/// Reads one request from the beginning of what was received, at most [`HEAD`] bytes.
pub(super) fn parse(received: &[u8]) -> Parsed {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(received) {
        Ok(Status::Complete(length)) => match read(&request) {
            Ok(request) => Parsed::Complete(request, length),
            Err(problem) => Parsed::Bad(Response::error(400, problem)),
        },
        Ok(Status::Partial) if received.len() < HEAD => Parsed::Partial,
        Ok(Status::Partial) => Parsed::Bad(if request.version.is_some() {
            Response::error(431, "the head of the request is too large")
        } else {
            Response::error(414, "the request line is too long")
        }),
        Err(Fault::TooManyHeaders) => Parsed::Bad(Response::error(431, "too many header fields")),
        Err(Fault::Version) => Parsed::Bad(Response::error(505, "this is HTTP/1.1")),
        Err(fault) => Parsed::Bad(Response::error(400, fault.to_string())),
    }
}

fn read(request: &httparse::Request<'_, '_>) -> Result<Request, &'static str> {
    let (Some(method), Some(target), Some(version)) = (request.method, request.path, request.version) else {
        return Err("the request line is incomplete");
    };
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        _ => Method::Other,
    };
    let mut host = None;
    let mut length = None;
    let mut accept: Option<String> = None;
    let (mut chunked, mut close, mut keep) = (false, false, version > 0);
    for Header { name, value } in request.headers.iter() {
        let text = || std::str::from_utf8(value).map(str::trim);
        if name.eq_ignore_ascii_case("host") {
            let text = text().map_err(|_| "the host is not text")?;
            if host.replace(text).is_some() {
                return Err("more than one host");
            }
        } else if name.eq_ignore_ascii_case("content-length") {
            let text = text().unwrap_or_default();
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits || length.replace(text).is_some_and(|other| other != text) {
                return Err("the content-length is not one number");
            }
        } else if name.eq_ignore_ascii_case("accept") {
            let text = text().unwrap_or_default();
            accept = Some(accept.map_or_else(|| text.to_owned(), |before| before + "," + text));
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            chunked = true;
        } else if name.eq_ignore_ascii_case("connection") {
            let options = text().unwrap_or_default().split(',').map(str::trim);
            for option in options {
                close |= option.eq_ignore_ascii_case("close");
                keep |= option.eq_ignore_ascii_case("keep-alive");
            }
        }
    }
    if version > 0 && host.is_none() {
        return Err("no host"); // RFC 9112 section 3.2
    }
    let (authority, target) = split(target)?;
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    let body = chunked || length.is_some_and(|length| length.bytes().any(|digit| digit != b'0'));
    Ok(Request {
        method,
        path: path.to_owned(),
        query: query.map(str::to_owned),
        // RFC 9112 section 3.2.2: what stands in the target counts.
        host: authority.or(host).map(str::to_owned),
        accept,
        keep: keep && !close && !body,
        body,
    })
}

/// The authority of a target, if it is in the absolute form, and the rest of it (RFC 9112 section 3.2).
fn split(target: &str) -> Result<(Option<&str>, &str), &'static str> {
    if target.starts_with('/') || target == "*" {
        return Ok((None, target));
    }
    let Some((scheme, rest)) = target.split_once("://") else {
        return Err("the request target is no path");
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err("the request target is no address of this server");
    }
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at_checked(end).unwrap_or((rest, ""));
    Ok((Some(authority), if rest.starts_with('/') { rest } else { "/" }))
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Response {
    pub(super) status: u16,
    content_type: &'static str,
    /// What a browser may do with it.
    policy: Cow<'static, str>,
    pub(super) body: Cow<'static, [u8]>,
}

/// What a browser may do with what is no page: nothing.
const NOTHING: &str = "default-src 'none'; frame-ancestors 'none'";

impl Response {
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Cow<'static, str>>) -> Self {
        let body = match body.into() {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        };
        Self { status, content_type, policy: Cow::Borrowed(NOTHING), body }
    }

    /// An answer in JSON, with a line's end for those who look at it in a terminal.
    pub(super) fn json(status: u16, value: &impl Serialize) -> Self {
        match serde_json::to_string(value) {
            Ok(text) => Self::new(status, "application/json", text + "\n"),
            Err(error) => Self::error(500, error.to_string()),
        }
    }

    /// Says what is wrong.
    pub(super) fn error(status: u16, problem: impl Into<String>) -> Self {
        let text = serde_json::json!({ "error": problem.into() }).to_string();
        Self::new(status, "application/json", text + "\n")
    }

    /// Replaces the Content-Security-Policy, which allows nothing.
    pub(super) fn policy(mut self, policy: impl Into<Cow<'static, str>>) -> Self {
        self.policy = policy.into();
        self
    }

    /// The bytes to be written. `body`: it is written too.
    pub(super) fn encode(&self, now: Stamp, body: bool, keep: bool) -> Vec<u8> {
        let mut head = String::with_capacity(512);
        let _ = write!(
            head,
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: {}\r\n\
             Cache-Control: no-store\r\nContent-Security-Policy: {}\r\nCross-Origin-Resource-Policy: same-origin\r\n\
             Referrer-Policy: no-referrer\r\nX-Content-Type-Options: nosniff\r\nX-Frame-Options: DENY\r\n",
            self.status,
            reason(self.status),
            self.content_type,
            self.body.len(),
            if keep { "keep-alive" } else { "close" },
            self.policy,
        );
        if let Some(date) = date(now.wall) {
            let _ = write!(head, "Date: {date}\r\n");
        }
        if self.status == 405 {
            head.push_str("Allow: GET, HEAD\r\n");
        }
        head.push_str("\r\n");
        let mut bytes = head.into_bytes();
        if body {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// The time as HTTP writes it, which ends with the year 9999 and begins with 1970.
fn date(wall: SystemTime) -> Option<String> {
    let since = wall.duration_since(UNIX_EPOCH).ok()?;
    (since.as_secs() < 253_402_300_800).then(|| httpdate::fmt_http_date(wall))
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        414 => "URI Too Long",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn complete(text: &str) -> Request {
        match parse(text.as_bytes()) {
            Parsed::Complete(request, length) => {
                assert_eq!(length, text.len(), "{text:?}");
                request
            }
            other => panic!("{text:?}: {other:?}"),
        }
    }

    fn status(received: &[u8]) -> u16 {
        match parse(received) {
            Parsed::Bad(response) => response.status,
            other => panic!("{:?}: {other:?}", String::from_utf8_lossy(received)),
        }
    }

    #[test]
    fn a_request_is_read() {
        let request = complete("GET /health?feed=a%20b&max_age=5s HTTP/1.1\r\nHost: localhost:9090\r\n\r\n");
        let expected = Request {
            method: Method::Get,
            path: "/health".to_owned(),
            query: Some("feed=a%20b&max_age=5s".to_owned()),
            host: Some("localhost:9090".to_owned()),
            accept: None,
            keep: true,
            body: false,
        };
        assert_eq!(request, expected);
        let both = complete("GET / HTTP/1.0\r\nAccept: text/plain; q=0.5\r\naccept:  */*\r\n\r\n");
        assert_eq!(both.accept.as_deref(), Some("text/plain; q=0.5,*/*"));
        assert_eq!(complete("HEAD / HTTP/1.0\n\n").method, Method::Head);
        assert_eq!(complete("BREW / HTTP/1.0\r\n\r\n").method, Method::Other);
        assert_eq!(complete("\r\n\r\nGET / HTTP/1.0\r\n\r\n").path, "/");
        assert_eq!(complete("GET /? HTTP/1.0\r\n\r\n").query.as_deref(), Some(""));
    }

    #[test]
    fn the_target_may_be_absolute() {
        for (target, host, path) in [
            ("http://a:1/health?feed=x", "a:1", "/health"),
            ("HTTP://a/", "a", "/"),
            ("https://a", "a", "/"),
            ("http://a?x", "a", "/"),
            ("/http://b/", "h", "/http://b/"),
            ("*", "h", "*"),
        ] {
            let request = complete(&format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n"));
            assert_eq!((request.host.as_deref(), &*request.path), (Some(host), path), "{target}");
        }
        for target in ["health", "ftp://a/", "a:80", "://"] {
            assert_eq!(
                status(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes()),
                400,
                "{target}"
            );
        }
    }

    #[test]
    fn the_connection_stays_open_as_asked() {
        for (version, fields, keep) in [
            ("1.1", "", true),
            ("1.1", "Connection: close", false),
            ("1.1", "Connection: Keep-Alive, CLOSE", false),
            ("1.1", "Connection: upgrade", true),
            ("1.0", "", false),
            ("1.0", "connection: keep-alive", true),
            ("1.1", "Content-Length: 0", true),
            ("1.1", "Content-Length: 1", false),
            ("1.1", "Transfer-Encoding: chunked", false),
        ] {
            let fields = if fields.is_empty() { String::new() } else { format!("{fields}\r\n") };
            let request = complete(&format!("GET / HTTP/{version}\r\nHost: h\r\n{fields}\r\n"));
            assert_eq!(request.keep, keep, "{version} {fields}");
            assert_eq!(request.body, fields.contains('1') || fields.contains("chunked"), "{fields}");
        }
    }

    #[test]
    fn what_can_not_be_understood_is_refused() {
        let fields = |fields: &str| format!("GET / HTTP/1.1\r\n{fields}\r\n\r\n").into_bytes();
        for (received, expected) in [
            (fields("X: 1"), 400), // no host
            (fields("Host: a\r\nHost: a"), 400),
            (fields("Host: a\r\nContent-Length: x"), 400),
            (fields("Host: a\r\nContent-Length: -1"), 400),
            (fields("Host: a\r\nContent-Length:"), 400),
            (fields("Host: a\r\nContent-Length: 1\r\nContent-Length: 2"), 400),
            (fields("Host: a\r\n folded"), 400),
            (fields("Host: a\r\nb c: d"), 400),
            (fields("Host: a\r\nX: \0"), 400),
            (b"GET /\0 HTTP/1.1\r\n\r\n".to_vec(), 400),
            (b"GET / HTTP/2.0\r\n\r\n".to_vec(), 505),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), 505),
            (b"\x16\x03\x01\x02\x00\x01".to_vec(), 400),
            (b"\0".to_vec(), 400),
            (b"GET  / HTTP/1.1\r\n\r\n".to_vec(), 400),
            (format!("GET /{}", "a".repeat(HEAD)).as_bytes()[..HEAD].to_vec(), 414),
            (fields(&format!("Host: a\r\nX: {}", "a".repeat(HEAD)))[..HEAD].to_vec(), 431),
            (fields(&(0..=FIELDS).map(|n| format!("X{n}: a\r\n")).collect::<String>()), 431),
        ] {
            assert_eq!(status(&received), expected, "{:?}", String::from_utf8_lossy(&received));
        }
        assert_eq!(status(b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n"), 400);
    }

    #[test]
    fn the_time_may_be_any() {
        let now = Stamp::now();
        let long = Duration::from_secs(300_000_000_000);
        for wall in [UNIX_EPOCH - Duration::from_secs(1), UNIX_EPOCH, now.wall, UNIX_EPOCH + long] {
            let bytes = Response::error(404, "x").encode(Stamp { wall, ..now }, true, true);
            let dated = String::from_utf8(bytes).unwrap().contains("\r\nDate: ");
            assert_eq!(dated, wall >= UNIX_EPOCH && wall < UNIX_EPOCH + long, "{wall:?}");
        }
    }

    const SAMPLE: &[u8] =
        b"GET http://h:1/health?feed=a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

    proptest! {
        #[test]
        fn any_bytes_are_answered(received in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Parsed::Complete(_, length) = parse(&received) {
                prop_assert!((1..=received.len()).contains(&length));
            }
        }

        #[test]
        fn a_request_may_be_garbled(at in 0..SAMPLE.len(), byte: u8, cut in 0..SAMPLE.len(), twice: bool) {
            let mut received = SAMPLE.to_vec();
            received[at] = byte;
            if twice {
                received.splice(cut..cut, SAMPLE.iter().copied());
            } else {
                received.truncate(cut);
            }
            if let Parsed::Complete(_, length) = parse(&received) {
                prop_assert!((1..=received.len()).contains(&length));
            }
        }

        #[test]
        fn where_it_is_split_makes_no_difference(
            names in prop::collection::vec("[A-Za-z][a-z-]{0,8}", 0..6),
            values in prop::collection::vec("[ -~]{0,12}", 6),
            path in "/[!-~&&[^?]]{0,20}",
        ) {
            let fields: String =
                names.iter().zip(&values).map(|(name, value)| format!("X-{name}: {value}\r\n")).collect();
            let text = format!("GET {path} HTTP/1.1\r\n{fields}Host: h\r\n\r\n");
            let request = complete(&text);
            prop_assert_eq!(&request.path, &path);
            prop_assert_eq!(request.host.as_deref(), Some("h"));
            for end in 0..text.len() {
                prop_assert!(matches!(parse(&text.as_bytes()[..end]), Parsed::Partial), "at {}", end);
            }
        }
    }
}
