//! The budget and the stop, at each stage.

use super::*;
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use std::io;

const BUDGET: Duration = Duration::from_millis(150);

/// Dials, and aborts once `reached` says something; returns how long the end took.
fn abort_when(endpoint: &Endpoint, settings: &Settings, reached: impl FnOnce(&Stop) + Send) -> Duration {
    let stop = Stop::new();
    thread::scope(|scope| {
        let dialing = scope.spawn(|| {
            let ended = dial_with(endpoint, settings, CEILING, &stop);
            (ended.unwrap_err(), clock::mono())
        });
        reached(&stop);
        let aborted = clock::mono();
        stop.abort();
        stop.abort();
        let (reason, at) = dialing.join().unwrap();
        assert_eq!(reason, EndReason::ClosedByUser);
        let took = at.saturating_duration_since(aborted);
        assert!(took < SOON, "{took:?}");
        took
    })
}

/// Dials in vain; returns the reason, and checks that the budget was used and kept.
fn overrun(endpoint: &Endpoint, settings: &Settings) -> EndReason {
    let started = clock::mono();
    let reason = dial_with(endpoint, settings, BUDGET, &Stop::new()).unwrap_err();
    let took = started.elapsed();
    assert!(took >= BUDGET && took < BUDGET + SOON, "{took:?}");
    reason
}

fn timeout(stage: Stage) -> EndReason {
    EndReason::AttemptTimeout { stage, budget: BUDGET, detail: String::new() }
}

/// A resolver that hangs until the sender is dropped, and tells when it was asked.
fn stuck() -> (Resolver, Sender<()>, Receiver<()>) {
    let (release, released) = bounded::<()>(0);
    let (asked, was_asked) = unbounded();
    let resolver = Resolver::scripted(move |_, _| {
        let _ = asked.send(());
        let _ = released.recv();
        Err(io::ErrorKind::NotFound.into())
    });
    (resolver, release, was_asked)
}

fn named() -> Endpoint {
    Endpoint::parse("ws://feed.test/").unwrap()
}

/// Says when the first byte came, and holds the connection until the client leaves it.
fn mute() -> (SocketAddr, Receiver<()>) {
    let (tell, told) = unbounded();
    let (addr, _) = serve(move |mut socket| {
        socket.read_exact(&mut [0]).unwrap();
        let _ = tell.send(());
        let _ = io::copy(&mut socket, &mut io::sink());
    });
    (addr, told)
}

#[test]
fn stop_during_lookup() {
    let (resolver, release, asked) = stuck();
    let settings = Settings { resolver: resolver.clone(), ..settings() };
    abort_when(&named(), &settings, |_| asked.recv_timeout(CEILING).unwrap());
    assert_eq!(resolver.abandoned(), 1);
    drop(release);
    let deadline = clock::mono() + CEILING;
    while resolver.abandoned() > 0 {
        assert!(clock::mono() < deadline, "the lookup is still counted");
        thread::yield_now();
    }
}

#[test]
fn stop_during_connect() {
    let (addr, _sockets) = hanging();
    let took = abort_when(&endpoint(addr), &settings(), |stop| {
        let deadline = clock::mono() + CEILING;
        while stop.registered() < 2 {
            assert!(clock::mono() < deadline, "no socket was registered");
            thread::yield_now();
        }
    });
    eprintln!("abort during connect took {took:?}");
}

#[test]
fn stop_during_upgrade() {
    let (addr, told) = mute();
    abort_when(&endpoint(addr), &settings(), |_| told.recv_timeout(CEILING).unwrap());
}

#[test]
fn stop_before_the_start() {
    let (addr, _sockets) = hanging();
    let stop = Stop::new();
    stop.abort();
    let reason = dial_with(&endpoint(addr), &settings(), CEILING, &stop).unwrap_err();
    assert_eq!(reason, EndReason::ClosedByUser);
}

#[test]
fn budget_over_lookup() {
    let (resolver, _release, _) = stuck();
    let settings = Settings { resolver, ..settings() };
    assert_eq!(overrun(&named(), &settings), timeout(Stage::Resolve));
}

#[test]
fn budget_over_connect() {
    let (addr, _sockets) = hanging();
    assert_eq!(overrun(&endpoint(addr), &settings()), timeout(Stage::Connect));
}

#[test]
fn budget_over_upgrade() {
    let (addr, _) = mute();
    assert_eq!(overrun(&endpoint(addr), &settings()), timeout(Stage::Upgrade));
}

/// Sends one byte each 5 ms, for as long as anybody takes them.
pub(super) fn trickle(mut socket: TcpStream, first: &[u8], rest: u8) {
    let _ = socket.set_nodelay(true);
    for byte in first.iter().copied().chain(std::iter::repeat(rest)) {
        if socket.write_all(&[byte]).is_err() {
            return;
        }
        let _ = crossbeam_channel::after(Duration::from_millis(5)).recv();
    }
}

#[test]
fn budget_is_not_extended_by_a_trickle() {
    let (addr, _) = serve(|socket| trickle(socket, b"HTTP/1.1 101 S\r\nX: ", b'x'));
    assert_eq!(overrun(&endpoint(addr), &settings()), timeout(Stage::Upgrade));
}

#[cfg(feature = "native-tls")]
mod tls {
    use super::*;

    fn secure(addr: SocketAddr) -> Endpoint {
        Endpoint::parse(&format!("wss://{addr}/")).unwrap()
    }

    #[test]
    fn stop_during_tls() {
        let (addr, told) = mute();
        abort_when(&secure(addr), &settings(), |_| told.recv_timeout(CEILING).unwrap());
    }

    #[test]
    fn budget_over_tls() {
        let (addr, _) = mute();
        assert_eq!(overrun(&secure(addr), &settings()), timeout(Stage::Tls));
    }

    #[test]
    fn budget_over_tls_is_not_extended_by_a_trickle() {
        // A handshake record of 16000 bytes that never gets complete.
        let (addr, _) = serve(|socket| trickle(socket, &[22, 3, 3, 0x3e, 0x80, 2, 0, 0x3e, 0x7c, 3, 3], 0));
        assert_eq!(overrun(&secure(addr), &settings()), timeout(Stage::Tls));
    }
}

#[test]
fn abandoned_lookups_are_counted_and_capped() {
    let (resolver, release, _asked) = stuck();
    let settings = Settings { resolver: resolver.clone(), ..settings() };
    let deadline = clock::mono() + CEILING;
    // On a busy machine the budget may be over before a lookup is begun.
    while resolver.in_flight() < 16 {
        let ended = dial_with(&named(), &settings, Duration::from_millis(1), &Stop::new()).unwrap_err();
        assert!(matches!(ended, EndReason::AttemptTimeout { stage: Stage::Resolve, .. }), "{ended}");
        assert_eq!(resolver.abandoned(), resolver.in_flight());
        assert!(clock::mono() < deadline, "{} lookups are begun", resolver.in_flight());
    }
    let refused = dial_with(&named(), &settings, CEILING, &Stop::new()).unwrap_err();
    assert!(matches!(refused, EndReason::Dns { .. }), "{refused}");
    drop(release);
    let deadline = clock::mono() + CEILING;
    while resolver.abandoned() > 0 {
        assert!(clock::mono() < deadline, "lookups are still counted");
        thread::yield_now();
    }
}

#[test]
fn failed_lookups_say_so() {
    let panics: fn(&str, u16) -> io::Result<Vec<SocketAddr>> = |_, _| panic!("a test");
    let lookups = [panics, |_, _| Ok(Vec::new()), |_, _| Err(io::ErrorKind::NotFound.into())];
    for lookup in lookups {
        let settings = Settings { resolver: Resolver::scripted(lookup), ..settings() };
        let reason = dial_with(&named(), &settings, CEILING, &Stop::new()).unwrap_err();
        assert!(matches!(reason, EndReason::Dns { .. }), "{reason}");
    }
}
