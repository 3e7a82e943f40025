//! The halves without TLS.

use super::*;
use crossbeam_channel::bounded;
use std::io::ErrorKind;

fn read(half: &mut ReadHalf) -> Result<Vec<u8>, ErrorKind> {
    let mut buffer = [0; 64];
    half.read(&mut buffer).map(|count| buffer[..count].to_vec()).map_err(|error| error.kind())
}

const LONG: Wait = Wait::Until(Some(CEILING));

#[test]
fn early_bytes_come_first_and_spend_the_permit() {
    let (Dialed { read: mut half, .. }, mut server, _stop) = pair(b"early");
    half.permit(LONG);
    assert_eq!(read(&mut half), Ok(b"early".to_vec()));
    assert_eq!(*half.outcome(), Outcome::Bytes(5));
    assert_eq!(read(&mut half), Err(ErrorKind::WouldBlock), "it must not wait with a message in hand");
    server.write_all(b"late").unwrap();
    half.permit(LONG);
    assert_eq!(read(&mut half), Ok(b"late".to_vec()));
}

#[test]
fn one_recv_per_permit() {
    let (Dialed { read: mut half, .. }, mut server, _stop) = pair(b"");
    assert_eq!(*half.outcome(), Outcome::Unused);
    server.write_all(&[7; 100]).unwrap();
    assert_eq!(read(&mut half), Err(ErrorKind::WouldBlock), "without a permit");
    half.permit(LONG);
    assert_eq!(*half.outcome(), Outcome::Unused);
    assert_eq!(read(&mut half), Ok(vec![7; 64]));
    assert_eq!(*half.outcome(), Outcome::Bytes(64));
    assert_eq!(read(&mut half), Err(ErrorKind::WouldBlock), "36 bytes wait, but the permit is spent");
    assert_eq!(*half.outcome(), Outcome::Bytes(64));
    half.permit(Wait::Probe);
    assert_eq!(read(&mut half), Ok(vec![7; 36]));
    half.permit(Wait::Probe);
    let started = clock::mono();
    assert_eq!(read(&mut half), Err(ErrorKind::WouldBlock));
    assert!(started.elapsed() < SOON, "a probe waited");
    assert_eq!(*half.outcome(), Outcome::Nothing);
    half.permit(Wait::Until(Some(Duration::ZERO)));
    assert_eq!(read(&mut half), Err(ErrorKind::WouldBlock), "never TimedOut, and zero is not for ever");
    assert_eq!(*half.outcome(), Outcome::Nothing);
    drop(server);
    half.permit(LONG);
    assert_eq!(read(&mut half), Ok(Vec::new()));
    assert_eq!(*half.outcome(), Outcome::Eof);
}

#[test]
fn timeouts_are_armed_only_when_needed() {
    let ms = |n| Some(Duration::from_millis(n));
    let (Dialed { read: mut half, .. }, _server, _stop) = pair(b"");
    assert_eq!(half.socket_timeout(), None, "none lingers from the attempt");
    // What is asked for, and what is armed then.
    for (wanted, armed) in [(1000, 1000), (1900, 1000), (2000, 1000), (2100, 2100), (2000, 2000), (100, 100)]
    {
        half.permit(Wait::Until(ms(wanted)));
        assert_eq!(half.armed(), ms(armed), "{wanted}");
        // The kernel rounds to its ticks.
        assert!(half.socket_timeout().unwrap().abs_diff(ms(armed).unwrap()) < Duration::from_millis(11));
    }
    half.permit(Wait::Until(None));
    assert_eq!(half.socket_timeout(), None);
    half.arm(ms(0)).unwrap();
    assert_eq!(half.armed(), ms(1));
}

#[test]
fn a_wait_is_bounded_and_not_early() {
    let (Dialed { read: mut half, .. }, _server, _stop) = pair(b"");
    let started = clock::mono();
    half.permit(Wait::Until(Some(Duration::from_millis(40))));
    assert_eq!(read(&mut half), Err(ErrorKind::WouldBlock));
    assert_eq!(*half.outcome(), Outcome::Nothing);
    let took = started.elapsed();
    assert!(took >= Duration::from_millis(40) && took < SOON, "{took:?}");
}

#[test]
fn a_reset_is_a_failure() {
    let (Dialed { read: mut half, .. }, server, _stop) = pair(b"");
    socket2::SockRef::from(&server).set_linger(Some(Duration::ZERO)).unwrap();
    drop(server);
    half.permit(LONG);
    assert_eq!(read(&mut half), Err(ErrorKind::ConnectionReset));
    assert!(matches!(
        half.outcome(),
        Outcome::Failed(EndReason::Io { stage: Stage::Read, kind: ErrorKind::ConnectionReset, .. })
    ));
}

#[test]
fn abort_wakes_a_blocked_recv() {
    let (Dialed { read: mut half, write, .. }, _server, stop) = pair(b"");
    let (tell, told) = bounded(1);
    let reader = thread::spawn(move || {
        half.permit(Wait::Until(None));
        let got = read(&mut half);
        tell.send((got, half.outcome().clone(), clock::mono())).unwrap();
    });
    assert!(told.recv_timeout(Duration::from_millis(50)).is_err(), "it does not block");
    let aborted = clock::mono();
    stop.abort();
    let (got, outcome, at) = told.recv_timeout(CEILING).unwrap();
    assert_eq!((got, outcome), (Ok(Vec::new()), Outcome::Eof));
    eprintln!("abort woke a blocked recv after {:?}", at.saturating_duration_since(aborted));
    reader.join().unwrap();
    drop(write);
}

#[test]
fn abort_wakes_a_blocked_send() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = std::sync::Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    let stop = Stop::new();
    assert!(stop.register(&socket));
    let (tell, told) = bounded(1);
    let writer = thread::spawn(move || {
        while (&*socket).write(&[0; 65536]).is_ok() {}
        tell.send(clock::mono()).unwrap();
    });
    assert!(told.recv_timeout(Duration::from_millis(100)).is_err(), "it does not block");
    let aborted = clock::mono();
    stop.abort();
    let at = told.recv_timeout(CEILING).unwrap();
    eprintln!("abort woke a blocked send after {:?}", at.saturating_duration_since(aborted));
    writer.join().unwrap();
    let late = std::sync::Arc::new(TcpStream::connect(listener.local_addr().unwrap()).unwrap());
    assert!(!stop.register(&late));
    assert_eq!((&*late).read(&mut [0; 1]).unwrap(), 0, "shut down at once");
}

#[test]
fn pump_writes_in_order_and_counts() {
    let (Dialed { mut write, .. }, mut server, _stop) = pair(b"");
    assert_eq!(write.pump().unwrap(), Pumped { wrote: 0, idle: true });
    assert!(write.is_socket_empty().unwrap());
    write.enqueue(b"one");
    write.enqueue(b"two");
    assert_eq!((write.pending(), write.delivered()), (6, 0));
    assert_eq!(write.pump().unwrap(), Pumped { wrote: 6, idle: true });
    assert_eq!((write.pending(), write.delivered()), (0, 6));
    write.close_notify();
    assert_eq!(write.pump().unwrap(), Pumped { wrote: 0, idle: true });
    write.shutdown_write();
    let mut got = Vec::new();
    server.read_to_end(&mut got).unwrap();
    assert_eq!(got, b"onetwo");
    server.write_all(b"x").unwrap();
    let deadline = clock::mono() + CEILING;
    while write.is_socket_empty().unwrap() {
        assert!(clock::mono() < deadline);
        thread::yield_now();
    }
}

#[test]
fn pump_is_bounded_while_the_peer_does_not_read() {
    let (Dialed { mut write, .. }, mut server, stop) = pair(b"");
    let total = 32 * 1024 * 1024;
    let content: Vec<u8> = (0..total).map(|n| (n % 251) as u8).collect();
    write.enqueue(&content);
    let mut longest = Duration::ZERO;
    loop {
        let started = clock::mono();
        let pumped = write.pump().unwrap();
        longest = longest.max(started.elapsed());
        assert!(!pumped.idle);
        if pumped.wrote == 0 {
            break;
        }
    }
    eprintln!("the longest pump took {longest:?}");
    assert!(longest < SOON, "{longest:?}");
    let stalled = write.delivered();
    let reader = thread::spawn(move || {
        let mut got = vec![0; total];
        server.read_exact(&mut got).unwrap();
        (got, server)
    });
    while !write.pump().unwrap().idle {}
    assert!(write.delivered() > stalled);
    let (got, _server) = reader.join().unwrap();
    assert!(got == content, "the content differs");
    stop.abort();
    write.enqueue(b"x");
    assert!(matches!(write.pump(), Err(EndReason::Io { stage: Stage::Write, .. })));
}

#[test]
fn tungstenite_reads_from_it_and_writes_nothing() {
    use tungstenite::protocol::{Role, WebSocket};
    // A text, a ping that tungstenite wants to answer, and the beginning of a text.
    let (dialed, mut server, stop) = pair(b"\x81\x05hello\x89\x00\x81\x04ha");
    let mut socket = WebSocket::from_raw_socket(dialed.read, Role::Client, None);
    let would_block = |error: &tungstenite::Error| match error {
        tungstenite::Error::Io(error) => error.kind() == ErrorKind::WouldBlock,
        _ => false,
    };
    socket.get_mut().permit(LONG);
    assert_eq!(socket.read().unwrap().into_text().unwrap(), "hello");
    assert!(socket.read().unwrap().is_ping());
    assert!(would_block(&socket.read().unwrap_err()));
    server.write_all(b"l").unwrap();
    socket.get_mut().permit(LONG);
    assert!(would_block(&socket.read().unwrap_err()), "half a message, and the permit is spent");
    assert_eq!(*socket.get_ref().outcome(), Outcome::Bytes(1));
    server.write_all(b"f").unwrap();
    socket.get_mut().permit(LONG);
    assert_eq!(socket.read().unwrap().into_text().unwrap(), "half");
    stop.abort();
    let mut sent = Vec::new();
    server.read_to_end(&mut sent).unwrap();
    assert!(sent.is_empty(), "tungstenite wrote to the socket");
}
