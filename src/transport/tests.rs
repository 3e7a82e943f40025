//! The transport against scripted servers on the loopback.
#![allow(clippy::disallowed_methods, reason = "servers of tests are plain threads")]

mod dial;
mod halves;
mod stages;
#[cfg(all(feature = "native-tls", target_os = "linux"))]
mod tls;

use super::halves::Pumped;
use super::upgrade::{check_header, check_subprotocol};
use super::*;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use tungstenite::handshake::derive_accept_key;

/// No test waits longer; only a failing one waits so long.
const CEILING: Duration = Duration::from_secs(20);
/// What "at once" may take on a busy machine, far from any ceiling.
const SOON: Duration = Duration::from_millis(1500);

fn budget(total: Duration) -> Budget {
    Budget { deadline: clock::mono() + total, total }
}

fn settings() -> Settings {
    Settings::new(Tls::new(&TlsSettings::default()).unwrap())
}

fn endpoint(addr: SocketAddr) -> Endpoint {
    Endpoint::parse(&format!("ws://{addr}/feed?token=canary")).unwrap()
}

fn dial_with(
    endpoint: &Endpoint,
    settings: &Settings,
    total: Duration,
    stop: &Stop,
) -> Result<Dialed, EndReason> {
    let request = Request { endpoint, headers: &[], subprotocols: &[], settings };
    dial(&request, &budget(total), stop)
}

/// A server for one connection.
fn serve<T: Send + 'static>(f: impl FnOnce(TcpStream) -> T + Send + 'static) -> (SocketAddr, JoinHandle<T>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(CEILING)).unwrap();
        socket.set_write_timeout(Some(CEILING)).unwrap();
        f(socket)
    });
    (addr, server)
}

fn read_request(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

fn field<'a>(request: &'a str, name: &str) -> Option<&'a str> {
    request
        .lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, v)| v)
}

fn accept_head(request: &str) -> String {
    let accept = derive_accept_key(field(request, "sec-websocket-key").unwrap().as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n"
    )
}

/// Upgrades, and puts `early` into the same segment as the response.
fn accept(stream: &mut (impl Read + Write), early: &[u8]) -> String {
    let request = read_request(stream);
    let mut answer = format!("{}\r\n", accept_head(&request)).into_bytes();
    answer.extend_from_slice(early);
    stream.write_all(&answer).unwrap();
    request
}

/// An upgraded connection and the server's end of it.
fn pair(early: &'static [u8]) -> (Dialed, TcpStream, Stop) {
    let (addr, server) = serve(move |mut socket| {
        accept(&mut socket, early);
        socket
    });
    let stop = Stop::new();
    let dialed = dial_with(&endpoint(addr), &settings(), CEILING, &stop).unwrap();
    (dialed, server.join().unwrap(), stop)
}

/// An address on which connections hang: its queue of connections is full.
fn hanging() -> (SocketAddr, Vec<socket2::Socket>) {
    use socket2::{Domain, Socket, Type};
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let addr = listener.local_addr().unwrap();
    let mut sockets = vec![listener];
    for _ in 0..4 {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        filler.set_nonblocking(true).unwrap();
        let _ = filler.connect(&addr);
        sockets.push(filler);
    }
    (addr.as_socket().unwrap(), sockets)
}
