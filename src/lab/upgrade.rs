//! The HTTP half of the opening handshake (RFC 6455 section 4.2).

use super::script::{Script, Subprotocol};
use super::transcript::Request;

/// The longest request taken, in bytes.
const LONGEST: usize = 64 << 10;

/// What the bytes received so far are.
#[derive(Debug)]
pub(super) enum Parsed {
    Incomplete,
    Bad,
    Whole { request: Request, length: usize },
}

pub(super) fn parse(bytes: &[u8]) -> Parsed {
    let mut headers = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => Parsed::Whole {
            length,
            request: Request {
                path: request.path.unwrap_or_default().to_owned(),
                headers: request
                    .headers
                    .iter()
                    .map(|h| (h.name.to_owned(), String::from_utf8_lossy(h.value).into_owned()))
                    .collect(),
            },
        },
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST => Parsed::Incomplete,
        _ => Parsed::Bad,
    }
}

/// The subprotocol that the script wants chosen.
pub(super) fn subprotocol(script: &Script, request: &Request) -> Option<String> {
    match &script.subprotocol {
        Subprotocol::None => None,
        Subprotocol::Always(name) => Some(name.clone()),
        Subprotocol::FirstOffered => request
            .header("Sec-WebSocket-Protocol")
            .and_then(|offered| offered.split(',').next())
            .map(|first| first.trim().to_owned())
            .filter(|first| !first.is_empty()),
    }
}

/// The head of a 101 answer, but for the empty line at its end.
pub(super) fn switching(script: &Script, key: &str, subprotocol: Option<&str>) -> String {
    let accept = tungstenite::handshake::derive_accept_key(key.as_bytes());
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    );
    if let Some(name) = subprotocol {
        push(&mut head, "Sec-WebSocket-Protocol", name);
    }
    for (name, value) in &script.headers {
        push(&mut head, name, value);
    }
    head
}

/// A whole refusal.
pub(super) fn refusal(status: u16, headers: &[(String, String)], body: &str) -> String {
    let mut answer = format!("HTTP/1.1 {status} Refused\r\n");
    push(&mut answer, "Content-Length", &body.len().to_string());
    push(&mut answer, "Connection", "close");
    for (name, value) in headers {
        push(&mut answer, name, value);
    }
    answer.push_str("\r\n");
    answer.push_str(body);
    answer
}

pub(super) fn push(head: &mut String, name: &str, value: &str) {
    head.push_str(name);
    head.push_str(": ");
    head.push_str(value);
    head.push_str("\r\n");
}
