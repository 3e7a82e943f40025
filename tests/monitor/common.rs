//! A client that shows each byte, and feeds to look at.

use livefeed::lab::{Lab, Script, Topic};
use livefeed::{Feed, FeedBuilder, Limit, Matcher, Monitor, Subscription};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// No wait in a test is longer.
pub(crate) const CEILING: Duration = Duration::from_secs(10);

pub(crate) const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(field, _)| field == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn length(&self) -> usize {
        self.field("content-length").unwrap().parse().unwrap()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the body is JSON")
    }
}

/// A connection to a monitor.
pub(crate) struct Client(pub(crate) BufReader<TcpStream>);

impl Client {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, CEILING).unwrap();
        stream.set_read_timeout(Some(CEILING)).unwrap();
        stream.set_write_timeout(Some(CEILING)).unwrap();
        Self(BufReader::new(stream))
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Reads one answer.
    #[track_caller]
    pub(crate) fn answer(&mut self, has_body: bool) -> Answer {
        let line = |reader: &mut BufReader<TcpStream>| {
            let mut text = String::new();
            reader.read_line(&mut text).expect("an answer");
            assert!(text.ends_with("\r\n"), "{text:?}");
            text.trim_end().to_owned()
        };
        let first = line(&mut self.0);
        let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap().parse().unwrap();
        let mut fields = Vec::new();
        loop {
            let text = line(&mut self.0);
            let Some((name, value)) = text.split_once(": ") else {
                assert_eq!(text, "");
                break;
            };
            fields.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        let mut answer = Answer { status, fields, body: Vec::new() };
        if has_body {
            answer.body.resize(answer.length(), 0);
            self.0.read_exact(&mut answer.body).expect("the whole body");
        }
        answer
    }

    /// What comes until the end of the connection, which has to come; the end may be a reset.
    #[track_caller]
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        if let Err(error) = self.0.read_to_end(&mut rest) {
            let waited =
                matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut);
            assert!(!waited, "the connection does not end; it gave {:?}", String::from_utf8_lossy(&rest));
        }
        rest
    }
}

/// Asks on a connection of its own, which has to end after the answer.
#[track_caller]
pub(crate) fn get(monitor: &Monitor, target: &str) -> Answer {
    let mut client = Client::new(monitor.local_addr());
    client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
    let answer = client.answer(true);
    assert_eq!(client.rest(), b"", "nothing follows");
    answer
}

/// Sends these bytes, and then nothing, and takes one answer, after which the connection has to end.
#[track_caller]
pub(crate) fn refused(monitor: &Monitor, bytes: impl AsRef<[u8]>) -> Answer {
    let mut client = Client::new(monitor.local_addr());
    client.send(bytes);
    let answer = client.answer(true);
    assert_eq!(answer.field("connection"), Some("close"));
    assert_eq!(client.rest(), b"", "nothing follows");
    answer
}

pub(crate) fn monitor() -> Monitor {
    Monitor::bind("127.0.0.1:0").unwrap()
}

/// A server of a topic `btc`.
pub(crate) fn lively() -> Lab {
    Lab::start(Script::of_topics([topic()])).unwrap()
}

pub(crate) fn topic() -> Topic {
    Topic::new("btc").every(ms(5)).on_subscribe()
}

pub(crate) fn feed(lab: &Lab, name: &str) -> FeedBuilder {
    let btc = Subscription::new("btc").subscribe_text("btc").data(Matcher::pointer("/topic", "btc"));
    Feed::builder(lab.url())
        .name(name)
        .subscription(btc)
        .ping(|ping| ping.after = Limit::None)
        .queue(|queue| queue.overflow = livefeed::Overflow::DropOldest)
}

/// A feed with data.
pub(crate) fn fresh(lab: &Lab, name: &str) -> Feed {
    let feed = feed(lab, name).open().unwrap();
    feed.wait_fresh(CEILING).unwrap();
    feed
}

/// Asks until the answer is as wanted.
#[track_caller]
pub(crate) fn until(monitor: &Monitor, target: &str, wanted: impl Fn(&Answer) -> bool) -> Answer {
    let deadline = Instant::now() + CEILING;
    loop {
        let answer = get(monitor, target);
        if wanted(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "{target}: {answer:?}");
        // Nothing tells of a change there.
        std::thread::park_timeout(ms(2));
    }
}
