//! Messages per second beside a bare tungstenite `read()` loop, in one interleaved run.
//!
//! `cargo bench --bench throughput -- --messages 3000000 --rounds 7 --only "ws 128 B"`
#![allow(clippy::disallowed_methods, reason = "a bench reads clocks")]
#![allow(clippy::expect_used, clippy::panic, reason = "a bench that can't go on says so")]

mod common;

use common::{FLOOD, Server, cpu_seconds, option, serve_if_asked, spread};
use livefeed::{Event, Feed, FeedSet};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::time::Instant;
use tungstenite::{Message, WebSocket};

/// Messages a second, and CPU seconds per million messages.
type Figures = (f64, f64);

type Form = fn(&Server, u64) -> Figures;

struct Clock {
    begin: Option<(Instant, f64)>,
    count: u64,
    total: u64,
}

impl Clock {
    fn new(total: u64) -> Self {
        Self { begin: None, count: 0, total }
    }

    /// Counts a message; the first tenth warms up. Says the figures at the end.
    #[inline]
    fn message(&mut self) -> Option<Figures> {
        self.count += 1;
        if self.count == self.total / 10 {
            self.begin = Some((Instant::now(), cpu_seconds()));
        }
        (self.count == self.total).then(|| {
            let (begin, cpu) = self.begin.expect("the warm-up is over");
            let counted = (self.total - self.total / 10) as f64;
            (counted / begin.elapsed().as_secs_f64(), (cpu_seconds() - cpu) / counted * 1e6)
        })
    }
}

fn bare(server: &Server, total: u64) -> Figures {
    let address = server.url.split('/').nth(2).expect("an address").replace("localhost", "127.0.0.1");
    let socket = TcpStream::connect(address).expect("a connection");
    socket.set_nodelay(true).expect("nodelay");
    if server.ca_pem.is_empty() {
        let (socket, _) = tungstenite::client(&server.url, socket).expect("an upgrade");
        read(socket, total)
    } else {
        let root = native_tls::Certificate::from_pem(server.ca_pem.as_bytes()).expect("a certificate");
        let tls = native_tls::TlsConnector::builder().add_root_certificate(root).build().expect("TLS");
        let socket = tls.connect("localhost", socket).expect("a handshake");
        let (socket, _) = tungstenite::client(&server.url, socket).expect("an upgrade");
        read(socket, total)
    }
}

fn read<S: std::io::Read + std::io::Write>(mut socket: WebSocket<S>, total: u64) -> Figures {
    let mut clock = Clock::new(total);
    loop {
        match socket.read().expect("a message") {
            Message::Text(_) | Message::Binary(_) => {
                if let Some(figures) = clock.message() {
                    return figures;
                }
            }
            _ => {}
        }
    }
}

fn builder(server: &Server) -> livefeed::FeedBuilder {
    let read_buffer: usize = option("--read-buffer", 64 * 1024);
    let builder = Feed::builder(server.url.as_str()).limits(|limits| limits.read_buffer_bytes = read_buffer);
    if server.ca_pem.is_empty() {
        builder
    } else {
        builder.tls(|tls| tls.extra_roots_pem.push(server.ca_pem.clone()))
    }
}

fn handler(server: &Server, total: u64) -> Figures {
    let (done, figures) = channel();
    let mut clock = Clock::new(total);
    let feed = builder(server)
        .handler(move |event| {
            if let Event::Message(_) = event
                && let Some(figures) = clock.message()
            {
                let _ = done.send(figures);
            }
        })
        .open()
        .expect("a feed");
    let figures = figures.recv().expect("figures");
    drop(feed);
    figures
}

fn iterator(server: &Server, total: u64) -> Figures {
    let feed = builder(server).open().expect("a feed");
    let mut clock = Clock::new(total);
    for event in &feed {
        if let Event::Message(_) = event
            && let Some(figures) = clock.message()
        {
            return figures;
        }
    }
    panic!("the feed ended");
}

fn set(server: &Server, total: u64) -> Figures {
    let set = FeedSet::new();
    set.insert(0, builder(server).open().expect("a feed")).expect("a place in the set");
    let mut clock = Clock::new(total);
    for (_, event) in &set {
        if let Event::Message(_) = event
            && let Some(figures) = clock.message()
        {
            return figures;
        }
    }
    panic!("the feed ended");
}

fn main() {
    serve_if_asked();
    let rounds: usize = option("--rounds", 5);
    let messages: u64 = option("--messages", 2_000_000);
    let only: String = option("--only", String::new());
    let form_only: String = option("--form", String::new());
    println!("{rounds} rounds, interleaved; M messages/s: median (min-max); CPU s per M messages; × bare");
    for (tls, size) in [(false, 128), (false, 1024), (true, 128), (true, 1024)] {
        let title = format!("{} {size} B", if tls { "wss" } else { "ws" });
        if !title.starts_with(&only) {
            continue;
        }
        let server = Server::start(FLOOD, tls, size);
        let total = if size > 512 || tls { messages / 2 } else { messages };
        let forms: [(&str, Form); 4] =
            [("bare tungstenite", bare), ("handler", handler), ("iterator", iterator), ("set of one", set)];
        let mut rates = vec![Vec::new(); forms.len()];
        let mut costs = vec![Vec::new(); forms.len()];
        for _ in 0..rounds {
            for (at, (name, form)) in forms.iter().enumerate() {
                if !name.contains(&form_only) {
                    rates[at].push(f64::NAN);
                    costs[at].push(f64::NAN);
                    continue;
                }
                let (rate, cost) = form(&server, total);
                rates[at].push(rate / 1e6);
                costs[at].push(cost);
            }
        }
        println!("{title}");
        let base = spread(&mut rates[0].clone()).1;
        for (at, (name, _)) in forms.iter().enumerate() {
            let (min, median, max) = spread(&mut rates[at]);
            let cost = spread(&mut costs[at]).1;
            println!("  {name:18} {median:6.2} ({min:.2}-{max:.2})   {cost:.3}   {:.2}", median / base);
        }
    }
}
