//! Peers that send slowly, read slowly, or are too many; and the end while they are there.

use crate::common::*;
use livefeed::{Feed, Limit, Monitor, Subscription};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

/// So soon an answer has to come whatever others do.
const SOON: Duration = Duration::from_secs(1);

#[track_caller]
fn soon<R>(what: &str, run: impl FnOnce() -> R) -> R {
    let begin = Instant::now();
    let result = run();
    let took = begin.elapsed();
    assert!(took < SOON, "{what} took {took:?}");
    result
}

/// Connections that have begun a request, each with another part of it, and go no further.
fn loris(addr: SocketAddr, count: usize) -> Vec<TcpStream> {
    let request = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ";
    let one = |n: usize| {
        let mut stream = TcpStream::connect_timeout(&addr, CEILING).unwrap();
        let _ = stream.write_all(&request[..n % request.len()]); // it may have had to go already
        stream
    };
    (0..count).map(one).collect()
}

#[test]
fn two_hundred_slow_loris_hold_up_nobody() {
    let lab = lively();
    let feed = fresh(&lab, "a");
    let monitor = monitor();
    monitor.add(&feed).unwrap();
    let mut slow = loris(monitor.local_addr(), 200);
    for round in 0..10 {
        for path in ["/live", "/health", "/metrics"] {
            let answer = soon(path, || get(&monitor, path));
            assert_eq!(answer.status, 200, "round {round}: {path}");
        }
        for stream in &mut slow {
            let _ = stream.write(b"x"); // most were sent away
        }
    }
    soon("drop", || drop(monitor));
    drop(slow);
}

#[test]
fn slow_loris_that_come_back_hold_up_nobody() {
    let monitor = monitor();
    let addr = monitor.local_addr();
    let (stop, stopped) = crossbeam_channel::bounded::<()>(0);
    let attack = std::thread::spawn(move || {
        let mut count = 0_u32;
        while stopped.try_recv() == Err(crossbeam_channel::TryRecvError::Empty) {
            drop(loris(addr, 40));
            count += 40;
        }
        count
    });
    let mut tries = 0;
    for n in 0..50 {
        let deadline = Instant::now() + CEILING;
        // It may be sent away itself, once in a while; a probe tries again.
        loop {
            tries += 1;
            let mut client = TcpStream::connect_timeout(&addr, CEILING).unwrap();
            client.set_read_timeout(Some(CEILING)).unwrap();
            let mut text = String::new();
            let asked = client.write_all(b"GET /live HTTP/1.0\r\n\r\n");
            if asked.is_ok() && client.read_to_string(&mut text).is_ok() && text.starts_with("HTTP/1.1 200 ")
            {
                break;
            }
            assert!(Instant::now() < deadline, "{n}: no answer");
        }
    }
    drop(stop);
    println!("{tries} tries for 50 answers, {} connections meanwhile", attack.join().unwrap());
}

#[test]
fn a_request_has_a_deadline_that_trickling_does_not_move() {
    let limit = ms(400);
    let monitor = Monitor::builder().request_timeout(limit).bind("127.0.0.1:0").unwrap();
    let begin = Instant::now();
    let mut client = Client::new(monitor.local_addr());
    client.0.get_ref().set_read_timeout(Some(ms(5))).unwrap();
    client.send("GET /live HTTP/1.1\r\nHost: localhost\r\nX: ");
    let mut received = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        match client.0.read(&mut bytes) {
            Ok(0) => break,
            Ok(count) => received.extend_from_slice(&bytes[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break, // we still send when it has ended
        }
        let _ = client.0.get_mut().write_all(b"x");
        assert!(begin.elapsed() < CEILING);
    }
    assert!(begin.elapsed() >= limit, "{:?}", begin.elapsed());
    assert!(received.starts_with(b"HTTP/1.1 408 "), "{:?}", String::from_utf8_lossy(&received));

    // Whoever says nothing is told nothing.
    let begin = Instant::now();
    assert_eq!(Client::new(monitor.local_addr()).rest(), b"");
    assert!(begin.elapsed() >= limit, "{:?}", begin.elapsed());

    // Each request of a connection has its own time, from its first byte.
    let mut client = Client::new(monitor.local_addr());
    let begin = Instant::now();
    while begin.elapsed() < limit * 2 {
        client.send("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.answer(true).status, 200);
        std::thread::park_timeout(limit / 4);
    }
    std::thread::park_timeout(limit * 2);
    client.send("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.answer(true).status, 200, "a connection that is kept open may rest for longer");
    let begin = Instant::now();
    client.send("GET /l");
    assert!(client.rest().starts_with(b"HTTP/1.1 408 "));
    assert!(begin.elapsed() >= limit, "{:?}", begin.elapsed());
}

#[test]
fn the_oldest_without_a_request_makes_room() {
    let monitor = Monitor::builder()
        .max_connections(3)
        .request_timeout(Duration::from_secs(60))
        .bind("127.0.0.1:0")
        .unwrap();
    let mut clients: Vec<_> = (0..3)
        .map(|_| {
            let mut client = Client::new(monitor.local_addr());
            client.send("GET /live HTTP/1.1\r\nHost: localhost\r\n");
            client
        })
        .collect();
    // One that was answered and waits since then is younger than those.
    assert_eq!(get(&monitor, "/live").status, 200);
    let mut oldest = clients.remove(0);
    assert_eq!(oldest.rest(), b"", "it is sent away");
    for client in &mut clients {
        client.send("\r\n");
        assert_eq!(client.answer(true).status, 200, "the others are not");
    }
    let mut more: Vec<_> = (0..3).map(|_| Client::new(monitor.local_addr())).collect();
    for client in &mut more {
        client.send("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(client.answer(true).status, 200);
    }
    for client in &mut clients {
        assert_eq!(client.rest(), b"", "those that only rest make room too");
    }
}

/// A feed whose health is a large answer.
fn large() -> Feed {
    let subscriptions = (0..8000).map(|n| Subscription::new(format!("a subscription with a number: {n}")));
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    subscriptions
        .fold(Feed::builder(format!("ws://{nowhere}/")), |builder, subscription| {
            builder.subscription(subscription.subscribe_text("x").stale_after(Limit::None))
        })
        .ping(|ping| ping.after = Limit::None)
        .reconnect(|r| (r.floor, r.first) = (Duration::from_secs(20), Duration::from_secs(30)))
        .open()
        .unwrap()
}

/// Asks for a large answer and takes little of it.
fn slow_reader(addr: SocketAddr) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&addr.into()).unwrap();
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(CEILING)).unwrap();
    let mut client = Client(std::io::BufReader::with_capacity(1024, stream));
    client.send("GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    client
}

/// A monitor with much to say.
fn talkative(connections: usize, timeout: Duration) -> (Monitor, Feed) {
    let monitor =
        Monitor::builder().max_connections(connections).request_timeout(timeout).bind("127.0.0.1:0").unwrap();
    let feed = large();
    for name in ["a", "b", "c"] {
        monitor.add_as(name, &feed).unwrap();
    }
    (monitor, feed)
}

#[test]
fn whoever_reads_slowly_gets_as_much_as_there_is_time_for() {
    let limit = ms(500);
    let (monitor, _feed) = talkative(32, limit);
    let mut slow = slow_reader(monitor.local_addr());
    let head = slow.answer(false);
    let whole = head.length();
    assert!(whole > 4_000_000, "{whole} bytes are not much");
    // While it is stuck, others are answered.
    for _ in 0..3 {
        assert_eq!(soon("/live", || get(&monitor, "/live")).status, 200);
    }
    std::thread::park_timeout(limit * 2);
    let rest = slow.rest().len();
    assert!(rest < whole, "{rest} of {whole} bytes: it was not cut off");

    let (monitor, _feed) = talkative(32, CEILING);
    let mut slow = slow_reader(monitor.local_addr());
    let head = slow.answer(false);
    assert_eq!(slow.rest().len(), head.length(), "who reads on gets all of it");
}

#[test]
fn slow_readers_in_every_place_make_room() {
    let (monitor, _feed) = talkative(2, Duration::from_secs(60));
    let mut slow: Vec<_> = (0..2).map(|_| slow_reader(monitor.local_addr())).collect();
    for client in &mut slow {
        client.answer(false);
    }
    let begin = Instant::now();
    assert_eq!(get(&monitor, "/live").status, 200);
    assert!(begin.elapsed() < CEILING / 2, "{:?}", begin.elapsed());
    soon("drop", || drop(monitor));
}

#[test]
fn closing_ends_what_is_under_way() {
    let (monitor, _feed) = talkative(32, Duration::from_secs(60));
    let addr = monitor.local_addr();
    let mut reading = slow_reader(addr);
    let whole = reading.answer(false).length();
    let mut begun = Client::new(addr);
    begun.send("GET /live HTTP/1.1\r\nHost");
    let mut resting = Client::new(addr);
    resting.send("GET /live HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(resting.answer(true).status, 200);
    soon("close", || monitor.close()).unwrap();
    assert_eq!(begun.rest(), b"");
    assert_eq!(resting.rest(), b"");
    assert!(reading.rest().len() < whole);
    soon("closing again", || monitor.close()).unwrap();
    assert_eq!(monitor.local_addr(), addr);
    assert!(TcpStream::connect_timeout(&addr, CEILING).is_err(), "nobody listens");
    // The address is free, and the other one closed for good.
    let next = Monitor::bind(addr).unwrap();
    assert_eq!(get(&next, "/live").status, 200);
    drop(monitor);
    assert_eq!(get(&next, "/live").status, 200);
}

#[test]
fn many_large_requests_at_once_hold_up_neither_others_nor_the_end() {
    let (monitor, _feed) = talkative(32, CEILING);
    let crowds: Vec<_> = (0..20)
        .map(|_| {
            let mut client = Client::new(monitor.local_addr());
            client.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(50));
            std::thread::spawn(move || client.0.bytes().map_while(Result::ok).count())
        })
        .collect();
    assert_eq!(get(&monitor, "/live").status, 200);
    soon("close", || monitor.close()).unwrap();
    crowds.into_iter().for_each(|crowd| assert!(crowd.join().is_ok()));
}

#[test]
fn a_monitor_may_be_closed_from_many_threads_while_it_is_asked() {
    for _ in 0..20 {
        let monitor = monitor();
        let addr = monitor.local_addr();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        let Ok(mut stream) = TcpStream::connect_timeout(&addr, CEILING) else { return };
                        stream.set_read_timeout(Some(CEILING)).unwrap();
                        let _ = stream.write_all(b"GET /live HTTP/1.0\r\n\r\n");
                        let mut text = String::new();
                        let ended = stream.read_to_string(&mut text);
                        let waited = |kind| matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut);
                        assert!(!ended.is_err_and(|error| waited(error.kind())), "{text:?}");
                    }
                });
            }
            for _ in 0..2 {
                scope.spawn(|| soon("close", || monitor.close()).unwrap());
            }
        });
    }
}

/// Bytes from a seed (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) % end.max(1) as u64).unwrap()
    }
}

#[test]
fn no_bytes_end_it() {
    let monitor = Monitor::builder().request_timeout(ms(200)).bind("127.0.0.1:0").unwrap();
    let sample = b"POST http://localhost/health?feed=a&max_age=5 HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    let mut dice = Dice(7);
    for n in 0..400 {
        let mut bytes = sample.to_vec();
        for _ in 0..dice.roll(6) {
            let (at, byte) = (dice.roll(bytes.len()), dice.roll(256));
            bytes[at] = u8::try_from(byte).unwrap();
        }
        if n % 4 == 0 {
            bytes = (0..dice.roll(9000)).map(|_| u8::try_from(dice.roll(256)).unwrap()).collect();
        }
        bytes.truncate(dice.roll(bytes.len() * 2).min(bytes.len()));
        let mut client = Client::new(monitor.local_addr());
        let _ = client.0.get_mut().write_all(&bytes); // it may have heard enough
        if n % 3 == 0 {
            let _ = client.0.get_ref().shutdown(std::net::Shutdown::Write);
        } else if n % 3 == 1 {
            continue; // gone, with what was to be read
        }
        let answer = if n % 16 == 2 { client.rest() } else { continue };
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 "),
            "{:?}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(get(&monitor, "/live").status, 200);
}

struct Panicking;

impl log::Log for Panicking {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        assert!(!record.target().starts_with("livefeed"), "as it was to be: {}", record.args());
    }

    fn flush(&self) {}
}

/// Serves until its standard input ends, if it is told to: for the tests below. At the first line it takes all
/// descriptors that are left, at the second it gives them back.
#[test]
fn child() {
    if std::env::var_os("LIVEFEED_MONITOR_CHILD").is_none() {
        return;
    }
    // What the application's logger does must not end the monitor.
    log::set_logger(&Panicking).unwrap();
    log::set_max_level(log::LevelFilter::Trace);
    let monitor = Monitor::builder().max_connections(1024).bind("127.0.0.1:0").unwrap();
    println!("\nlistening {}", monitor.local_addr());
    let mut held = Vec::new();
    for line in std::io::stdin().lines() {
        if line.unwrap() == "take" {
            held.extend(std::iter::from_fn(|| std::fs::File::open("/dev/null").ok()));
        } else {
            held.clear();
        }
        println!("\ndone");
    }
}

/// A process with a monitor that may hold 40 descriptors.
#[cfg(target_os = "linux")]
struct Poor {
    child: std::process::Child,
    lines: std::io::Lines<std::io::BufReader<std::process::ChildStdout>>,
    addr: SocketAddr,
}

#[cfg(target_os = "linux")]
impl Poor {
    fn start() -> Self {
        use std::io::BufRead;
        use std::process::{Command, Stdio};

        let mut child = Command::new("sh")
            .args(["-c", "ulimit -n 40 && exec \"$0\" --exact hostile::child --nocapture"])
            .arg(std::env::current_exe().unwrap())
            .env("LIVEFEED_MONITOR_CHILD", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
        let addr =
            lines.find_map(|line| line.unwrap().strip_prefix("listening ").map(str::to_owned)).unwrap();
        Self { child, lines, addr: addr.parse().unwrap() }
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{line}").unwrap();
        assert!(self.lines.any(|line| line.unwrap() == "done"));
    }

    #[track_caller]
    fn assert_idle(&self) {
        let ticks = || -> u64 {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
            let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
            fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
        };
        let begin = ticks();
        std::thread::park_timeout(Duration::from_secs(1));
        let used = ticks() - begin;
        assert!(used <= 20, "{used} hundredths of a second in one second");
    }

    fn end(mut self) {
        drop(self.child.stdin.take());
        assert!(self.child.wait().unwrap().success());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn with_more_connections_than_descriptors_it_goes_on() {
    let poor = Poor::start();
    let slow = loris(poor.addr, 200);
    for _ in 0..5 {
        let mut client = Client::new(poor.addr);
        client.send("GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        assert_eq!(soon("/live", || client.answer(true)).status, 200);
    }
    poor.assert_idle();
    drop(slow);
    poor.end();
}

#[cfg(target_os = "linux")]
#[test]
fn without_any_descriptor_it_waits_and_takes_no_time() {
    let mut poor = Poor::start();
    poor.tell("take");
    let mut clients: Vec<_> = (0..20).map(|_| Client::new(poor.addr)).collect();
    for client in &mut clients {
        client.send("GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    }
    poor.assert_idle();
    poor.tell("give");
    for client in &mut clients {
        assert_eq!(client.answer(true).status, 200);
    }
    poor.end();
}
