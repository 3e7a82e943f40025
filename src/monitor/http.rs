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
