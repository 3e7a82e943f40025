//! Each fault, seen on the wire.
#![allow(clippy::disallowed_methods, reason = "the tests' clients connect and read clocks themselves")]

mod ending;
mod opening;
mod playback;
mod running;
mod sending;
#[cfg(feature = "native-tls")]
mod tls;
mod wire;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tungstenite::{Message, WebSocket};

use super::{Command, End, Entry, Flood, Incoming, Lab, Received, Script, Sent, Topic, Violation, What};

/// The ceiling of every wait.
const LIMIT: Duration = Duration::from_secs(5);

const REQUEST: &str = "GET /feed?x=1 HTTP/1.1\r\nHost: lab\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: one, two\r\n\r\n";
const ACCEPT: &str = "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n";

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

fn tcp(lab: &Lab) -> TcpStream {
    let stream = TcpStream::connect(lab.addr()).unwrap();
    stream.set_read_timeout(Some(LIMIT)).unwrap();
    stream.set_write_timeout(Some(LIMIT)).unwrap();
    stream
}

/// A client that speaks WebSocket.
fn client(lab: &Lab) -> WebSocket<TcpStream> {
    tungstenite::client(lab.url(), tcp(lab)).unwrap().0
}

/// A client that has upgraded, and sees bytes.
fn raw(lab: &Lab) -> TcpStream {
    let mut stream = tcp(lab);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    let head = head(&mut stream);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.contains(ACCEPT), "{head}");
    stream
}

/// Reads up to and with the empty line.
fn head(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(b"\r\n\r\n") {
        bytes.push(take(stream, 1)[0]);
    }
    String::from_utf8(bytes).unwrap()
}

fn take(stream: &mut impl Read, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// A masked frame, with a mask of zeros.
fn masked(opcode: u8, payload: &str) -> Vec<u8> {
    let mut bytes = vec![0x80 | opcode, 0x80 | u8::try_from(payload.len()).unwrap(), 0, 0, 0, 0];
    bytes.extend(payload.as_bytes());
    bytes
}

/// Whether nothing is there to read.
fn is_quiet(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let quiet = matches!((&*stream).read(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock);
    stream.set_nonblocking(false).unwrap();
    quiet
}

fn text(socket: &mut WebSocket<TcpStream>) -> String {
    match socket.read().unwrap() {
        Message::Text(text) => text.to_string(),
        other => panic!("no text: {other:?}"),
    }
}

/// The topic and sequence number of a data message.
fn data(text: &str) -> (String, u64) {
    let value: serde_json::Value = serde_json::from_str(text).unwrap();
    (value["topic"].as_str().unwrap().to_owned(), value["seq"].as_u64().unwrap())
}

/// Waits for something on the first connection.
#[track_caller]
fn await_what(lab: &Lab, mut wanted: impl FnMut(&What) -> bool) -> Entry {
    match lab.wait_for(|entry| entry.connection == 1 && wanted(&entry.what), LIMIT) {
        Some(entry) => entry,
        None => panic!("never happened; transcript:\n{}", lab.transcript()),
    }
}

#[track_caller]
fn await_end(lab: &Lab, end: &End) {
    let entry = await_what(lab, |what| matches!(what, What::Ended(_)));
    assert_eq!(entry.what, What::Ended(end.clone()), "transcript:\n{}", lab.transcript());
}

#[track_caller]
fn await_command(lab: &Lab, name: &str) {
    await_what(lab, |what| matches!(what, What::Command(n) if *n == name));
}

fn is_received_text(what: &What, wanted: &str) -> bool {
    matches!(what, What::Received(Received::Text(text)) if **text == *wanted)
}
