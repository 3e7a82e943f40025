//! What the monitor costs a feed at full rate, how long its answers take, and what a snapshot of a feed costs.
//!
//! `cargo bench --bench monitor -- --rounds 5 --seconds 5 --requests 10000 --loris 200`
//!
//! The server and who asks are processes of their own, so four threads want the cores while requests come: the
//! server's, the feed's reading thread, the monitor's, and that of who asks. With two cores a share of the loss is
//! theirs, not the monitor's: the CPU seconds are those of this process alone, the feed's and the monitor's.
#![allow(clippy::disallowed_methods, reason = "a bench reads clocks")]
#![allow(clippy::expect_used, clippy::panic, reason = "a bench that can't go on says so")]

mod common;

use common::{FLOOD, ONCE, Server, cpu_seconds, option, percentile, serve_if_asked, spread};
use livefeed::{Event, Feed, Matcher, Monitor, Subscription};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longer than anything should take.
const CEILING: Duration = Duration::from_secs(60);

/// A keep-alive connection to the monitor.
struct Client {
    socket: BufReader<TcpStream>,
    address: SocketAddr,
}

impl Client {
    fn new(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("a connection to the monitor");
        socket.set_nodelay(true).expect("nodelay");
        socket.set_read_timeout(Some(CEILING)).expect("a timeout");
        Self { socket: BufReader::new(socket), address }
    }

    /// Asks, and reads the whole answer. Says its length.
    fn get(&mut self, path: &str) -> usize {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.address);
        self.socket.get_mut().write_all(request.as_bytes()).expect("a request");
        let mut length = 0;
        loop {
            let mut line = String::new();
            self.socket.read_line(&mut line).expect("an answer");
            assert!(!line.is_empty(), "the monitor hung up");
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        self.socket.read_exact(&mut body).expect("a body");
        length
    }

    fn timed(&mut self, path: &str) -> f64 {
        let begin = Instant::now();
        self.get(path);
        begin.elapsed().as_secs_f64()
    }
}

/// If this is the process that asks: asks for /health until its time is over or all is asked, evenly spread; prints
/// how often it asked, and the median and the 99th percentile in microseconds.
fn ask_if_asked() {
    let args: Vec<String> = std::env::args().collect();
    let Some(at) = args.iter().position(|arg| arg == "--ask") else { return };
    let address = args[at + 1].parse().expect("an address");
    let seconds: f64 = args[at + 2].parse().expect("seconds");
    let requests: u32 = args[at + 3].parse().expect("requests, 0: as many as possible");
    let mut client = Client::new(address);
    let begin = Instant::now();
    let end = begin + Duration::from_secs_f64(seconds);
    let mut times = Vec::new();
    while Instant::now() < end && (requests == 0 || times.len() < requests as usize) {
        if requests > 0 {
            let slot = Duration::from_secs_f64(seconds / f64::from(requests) * times.len() as f64);
            std::thread::sleep((begin + slot).saturating_duration_since(Instant::now()));
        }
        times.push(client.timed("/health") * 1e6);
    }
    times.sort_by(f64::total_cmp);
    println!("{} {} {}", times.len(), percentile(&times, 0.5), percentile(&times, 0.99));
    std::process::exit(0);
}

struct Asker(Child);

impl Asker {
    fn start(address: SocketAddr, seconds: f64, requests: u32) -> Self {
        let child = Command::new(std::env::current_exe().expect("the bench's own path"))
            .args(["--ask", &address.to_string(), &seconds.to_string(), &requests.to_string()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the process that asks");
        Self(child)
    }

    /// Requests, median, 99th percentile.
    fn figures(self) -> [f64; 3] {
        let output = self.0.wait_with_output().expect("its figures");
        let text = String::from_utf8_lossy(&output.stdout);
        let mut numbers = text.split_whitespace().filter_map(|number| number.parse().ok());
        std::array::from_fn(|_| numbers.next().expect("three figures"))
    }
}

/// One round: messages a second, CPU seconds per million messages, and what who asked saw.
fn round(server: &Server, seconds: f64, requests: Option<u32>) -> (f64, f64, [f64; 3]) {
    let count = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&count);
    let feed = Feed::builder(server.url.as_str())
        .name("flood")
        .handler(move |event| {
            if let Event::Message(_) = event {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        })
        .open()
        .expect("a feed");
    let monitor = Monitor::bind("127.0.0.1:0").expect("a monitor");
    monitor.add(&feed).expect("a place");
    feed.wait_fresh(CEILING).expect("data");
    std::thread::sleep(Duration::from_millis(300)); // it warms up
    let asker = requests.map(|requests| Asker::start(monitor.local_addr(), seconds, requests));
    let (begin, before, cpu) = (Instant::now(), count.load(Ordering::Relaxed), cpu_seconds());
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let messages = (count.load(Ordering::Relaxed) - before) as f64;
    let (took, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let asked = asker.map_or([f64::NAN; 3], Asker::figures);
    (messages / took, cpu / messages * 1e6, asked)
}

fn throughput(rounds: usize, seconds: f64, requests: u32) {
    println!("messages of 128 B, to a handler; {rounds} rounds of {seconds} s, interleaved");
    println!(
        "M messages/s: median (min-max); CPU s per M messages; × without requests; of /health: requests, µs: median, p99"
    );
    let server = Server::start(FLOOD, false, 128);
    let spread_out = format!("{requests} requests, spread");
    let kinds = [("no requests", None), (&*spread_out, Some(requests)), ("one client, nonstop", Some(0))];
    let mut rates = vec![Vec::new(); kinds.len()];
    let mut costs = vec![Vec::new(); kinds.len()];
    let mut asked = vec![[0.0; 3]; kinds.len()];
    for _ in 0..rounds {
        for (at, (_, requests)) in kinds.iter().enumerate() {
            let (rate, cost, figures) = round(&server, seconds, *requests);
            rates[at].push(rate / 1e6);
            costs[at].push(cost);
            asked[at] = figures;
        }
    }
    let base = spread(&mut rates[0].clone()).1;
    for (at, (name, _)) in kinds.iter().enumerate() {
        let (min, median, max) = spread(&mut rates[at]);
        let cost = spread(&mut costs[at]).1;
        let [requests, middle, late] = asked[at];
        println!(
            "  {name:24} {median:6.2} ({min:.2}-{max:.2})   {cost:.3}   {:.3}   {requests:.0}, {middle:.0}, {late:.0}",
            median / base
        );
    }
}

/// How long /health takes on new connections, with and without clients that never finish their requests.
fn slow_loris(connections: usize) {
    let server = Server::start(ONCE, false, 0);
    let feed = Feed::builder(server.url.as_str()).name("quiet").no_stale_limit().open().expect("a feed");
    let monitor = Monitor::bind("127.0.0.1:0").expect("a monitor");
    monitor.add(&feed).expect("a place");
    let address = monitor.local_addr();
    let timed = || {
        let mut times: Vec<f64> = (0..200)
            .map(|_| {
                let begin = Instant::now();
                Client::new(address).get("/health");
                begin.elapsed().as_secs_f64() * 1e6
            })
            .collect();
        times.sort_by(f64::total_cmp);
        (percentile(&times, 0.5), percentile(&times, 0.99), percentile(&times, 1.0))
    };
    println!("/health on a new connection, µs: median, p99, slowest of 200");
    let (median, late, worst) = timed();
    println!("  alone                    {median:.0}, {late:.0}, {worst:.0}");
    let open = || {
        let mut socket = TcpStream::connect(address).expect("a connection");
        let _ = socket.write_all(b"GET /health HT"); // it may be gone already
        socket
    };
    let mut held: Vec<TcpStream> = (0..connections).map(|_| open()).collect();
    let (median, late, worst) = timed();
    println!("  {connections} slow-loris connections {median:.0}, {late:.0}, {worst:.0}");
    // They don't give up: whoever was turned out comes back, and all send a byte at a time.
    let stop = Arc::new(AtomicU64::new(0));
    let stopping = Arc::clone(&stop);
    let trickle = std::thread::spawn(move || {
        while stopping.load(Ordering::Relaxed) == 0 {
            for socket in &mut held {
                if socket.write_all(b"x").is_err() {
                    *socket = TcpStream::connect(address).expect("a connection");
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    });
    let (median, late, worst) = timed();
    println!("  the same, trickling      {median:.0}, {late:.0}, {worst:.0}");
    stop.store(1, Ordering::Relaxed);
    let _ = trickle.join();
}

/// What a snapshot costs by the number of subscriptions: nearly all of it is under the lock that the feed reads under.
fn snapshots() {
    println!(
        "µs by subscriptions: feed.health(); GET /health and /metrics on a kept connection, and their bytes"
    );
    for subscriptions in [1, 100, 10_000] {
        let server = Server::start(ONCE, false, 0);
        let mut builder = Feed::builder(server.url.as_str()).name("many").no_stale_limit();
        for number in 0..subscriptions {
            let id = format!("subscription.{number}");
            builder = builder.subscription(Subscription::new(&*id).data(Matcher::pointer("/topic", &*id)));
        }
        let feed = builder.open().expect("a feed");
        feed.wait_connected(CEILING).expect("a connection");
        let monitor = Monitor::bind("127.0.0.1:0").expect("a monitor");
        monitor.add(&feed).expect("a place");
        let median = |mut times: Vec<f64>| {
            times.sort_by(f64::total_cmp);
            percentile(&times, 0.5) * 1e6
        };
        let health = (0..200).map(|_| {
            let begin = Instant::now();
            let health = feed.health();
            let took = begin.elapsed().as_secs_f64();
            assert_eq!(health.subscriptions.len(), subscriptions);
            took
        });
        let health = median(health.collect());
        let mut client = Client::new(monitor.local_addr());
        let mut asked = |path| (median((0..20).map(|_| client.timed(path)).collect()), client.get(path));
        let (of_health, of_metrics) = (asked("/health"), asked("/metrics"));
        println!(
            "  {subscriptions:6}  {health:.1}   {:.0}, {:.0}   {}, {}",
            of_health.0, of_metrics.0, of_health.1, of_metrics.1
        );
    }
}

fn main() {
    serve_if_asked();
    ask_if_asked();
    let only: String = option("--only", String::new());
    if "throughput".starts_with(&only) {
        throughput(option("--rounds", 5), option("--seconds", 5.0), option("--requests", 10_000));
    }
    if "loris".starts_with(&only) {
        slow_loris(option("--loris", 200));
    }
    if "snapshots".starts_with(&only) {
        snapshots();
    }
}
