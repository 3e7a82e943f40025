//! The WebSocket upgrade (RFC 6455 section 4), from the client's side.
//!
//! Written here because tungstenite logs the whole request, secrets included, and waits without limits.

mod response;

use super::Request;
use super::endpoint::percent_decode;
use super::tls::Channel;
use crate::error::{EndReason, Stage};
use crate::secret::Secret;
use data_encoding::BASE64;
use response::Head;
use std::io::ErrorKind;
use std::time::Duration;
use tungstenite::handshake::client::generate_key;
use tungstenite::handshake::derive_accept_key;

/// The most of a refusal's body that is kept.
const BODY_BYTES: usize = 512;
/// How long is waited for the body of a refusal.
const BODY_WAIT: Duration = Duration::from_millis(200);
/// How much one read takes.
const CHUNK_BYTES: usize = 4 * 1024;

/// An upgraded connection.
#[derive(Debug)]
pub(super) struct Upgraded {
    pub(super) subprotocol: Option<String>,
    /// What came behind the response: the first frames.
    pub(super) early: Vec<u8>,
}

/// Asks for the upgrade and checks the answer.
pub(super) fn upgrade(request: &Request<'_>, channel: &mut Channel) -> Result<Upgraded, EndReason> {
    let key = generate_key();
    channel.send_all(&request_head(request, &key)?, Stage::Upgrade)?;
    let mut received = Vec::new();
    loop {
        let end = read_head(channel, &mut received, request.settings.upgrade_response_bytes)?;
        let rest = received.split_off(end);
        let head = Head::parse(&received)?;
        match head.status {
            101 => {
                let subprotocol = head.check(&derive_accept_key(key.as_bytes()), request.subprotocols)?;
                return Ok(Upgraded { subprotocol, early: rest });
            }
            // Interim responses (RFC 9110 section 15.2) are passed over.
            100..=199 => received = rest,
            _ => {
                let raw = read_body(channel, rest, head.content_length);
                return Err(head.into_refusal(&raw, &secrets(request)));
            }
        }
    }
}

/// Whether a header may be sent: its form, and that it is not one of those the handshake owns.
///
/// The error quotes neither name nor value: a secret may have come into either by mistake.
pub(crate) fn check_header(name: &str, value: &str) -> Result<(), String> {
    if !is_token(name) {
        return Err("the name of a header is not a token (RFC 9110 section 5.1)".to_owned());
    }
    if value.bytes().any(|b| b != b'\t' && (b < b' ' || b == 0x7f)) {
        return Err(format!("the value of header {name} has control characters"));
    }
    let lower = name.to_ascii_lowercase();
    let is_owned =
        matches!(lower.as_str(), "upgrade" | "connection" | "content-length" | "transfer-encoding");
    if is_owned || lower.starts_with("sec-websocket-") {
        return Err(format!("header {name} belongs to the handshake"));
    }
    Ok(())
}

/// Whether a subprotocol has the form that RFC 6455 section 4.1 asks for.
pub(crate) fn check_subprotocol(name: &str) -> Result<(), String> {
    if is_token(name) {
        Ok(())
    } else {
        Err("a subprotocol is not a token (RFC 6455 section 4.1)".to_owned())
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn request_head(request: &Request<'_>, key: &str) -> Result<Vec<u8>, EndReason> {
    let endpoint = request.endpoint;
    let wrong = |detail| EndReason::Provider { detail, fatal: false };
    let is_given = |name: &str| request.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
    let mut head = format!("GET {} HTTP/1.1\r\n", endpoint.path_and_query);
    let mut add = |name: &str, value: &str| {
        for part in [name, ": ", value, "\r\n"] {
            head.push_str(part);
        }
    };
    if !is_given("host") {
        add("Host", &endpoint.host_header());
    }
    add("Upgrade", "websocket");
    add("Connection", "Upgrade");
    add("Sec-WebSocket-Key", key);
    add("Sec-WebSocket-Version", "13");
    if !request.subprotocols.is_empty() {
        for name in request.subprotocols {
            check_subprotocol(name).map_err(wrong)?;
        }
        add("Sec-WebSocket-Protocol", &request.subprotocols.join(", "));
    }
    if !is_given("user-agent") {
        add("User-Agent", concat!("livefeed/", env!("CARGO_PKG_VERSION")));
    }
    if let Some((user, password)) = &endpoint.userinfo
        && !is_given("authorization")
    {
        let credentials = BASE64.encode(format!("{user}:{}", password.expose()).as_bytes());
        add("Authorization", &format!("Basic {credentials}"));
    }
    for (name, value) in request.headers {
        check_header(name, value.expose()).map_err(wrong)?;
        add(name, value.expose());
    }
    head.push_str("\r\n");
    Ok(head.into_bytes())
}

/// Reads until a head is complete, and says where it ends.
fn read_head(channel: &mut Channel, received: &mut Vec<u8>, limit: usize) -> Result<usize, EndReason> {
    let mut seen = 0;
    let mut chunk = [0; CHUNK_BYTES];
    loop {
        match received.get(..5).unwrap_or(received) {
            start if !b"HTTP/".starts_with(start) => {
                let hint = match start {
                    [0x14..=0x17, 0x03, ..] => ", but TLS: use wss://",
                    _ => "",
                };
                return Err(response::invalid(format!("the answer is not HTTP{hint}")));
            }
            _ => {}
        }
        if let Some(end) = head_end(received, seen) {
            if end > limit {
                break;
            }
            return Ok(end);
        }
        seen = received.len();
        if seen > limit {
            break;
        }
        let count = channel.recv(&mut chunk, Stage::Upgrade)?;
        if count == 0 {
            let detail = "the server closed the connection before it answered the upgrade".to_owned();
            return Err(EndReason::Io { stage: Stage::Upgrade, kind: ErrorKind::UnexpectedEof, detail });
        }
        received.extend_from_slice(chunk.get(..count).unwrap_or_default());
    }
    Err(response::invalid(format!("the head of the answer is longer than {limit} bytes")))
}

/// Where the empty line ends, given that the first `seen` bytes were searched before.
fn head_end(received: &[u8], seen: usize) -> Option<usize> {
    let from = seen.saturating_sub(3);
    let tail = received.get(from..)?;
    tail.iter().enumerate().filter(|(_, byte)| **byte == b'\n').find_map(|(at, _)| {
        match tail.get(at + 1..)? {
            [b'\n', ..] => Some(from + at + 2),
            [b'\r', b'\n', ..] => Some(from + at + 3),
            _ => None,
        }
    })
}

/// Reads the beginning of a refusal's body: what comes soon, and is worth keeping.
fn read_body(channel: &Channel, mut body: Vec<u8>, length: Option<usize>) -> Vec<u8> {
    // More than is kept, so that a secret across the cut is recognized.
    let wanted = length.unwrap_or(usize::MAX).min(2 * BODY_BYTES);
    let mut channel = channel.within(BODY_WAIT);
    let mut chunk = [0; 2 * BODY_BYTES];
    while body.len() < wanted {
        match channel.recv(&mut chunk, Stage::Upgrade) {
            Ok(0) | Err(_) => break,
            Ok(count) => body.extend_from_slice(chunk.get(..count).unwrap_or_default()),
        }
    }
    body.truncate(wanted);
    body
}

/// What was sent and must not be repeated: servers echo tokens in their refusals.
fn secrets(request: &Request<'_>) -> Vec<String> {
    let values = request.headers.iter().map(|(_, value)| value);
    let userinfo = request.endpoint.userinfo.iter();
    let basic = userinfo
        .clone()
        .map(|(user, password)| BASE64.encode(format!("{user}:{}", password.expose()).as_bytes()));
    let mut secrets: Vec<String> = values
        .chain(userinfo.clone().map(|(_, password)| password))
        .map(Secret::expose)
        .chain(request.endpoint.query_values())
        .flat_map(|value| std::iter::once(value).chain(value.split([' ', ',', ';', '='])))
        .map(str::to_owned)
        .chain(userinfo.map(|(user, _)| user.clone()))
        .chain(basic)
        .chain(request.endpoint.query_values().filter_map(percent_decode))
        // Shorter ones are words like "1" or "en", and no secret.
        .filter(|value| value.len() >= 4)
        .collect();
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    secrets.dedup();
    secrets
}
