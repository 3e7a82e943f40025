//! What the page is told, without a browser.

use crate::{feed, lab, sub};
use livefeed::lab::Command;
use livefeed::{Monitor, Overflow};
use serde_json::Value;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const CEILING: Duration = Duration::from_secs(20);

/// The first feed that `/data` tells of.
fn told(monitor: &Monitor) -> Value {
    let mut stream = TcpStream::connect(monitor.local_addr()).unwrap();
    stream.set_read_timeout(Some(CEILING)).unwrap();
    write!(stream, "GET /data HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    serde_json::from_str::<Value>(body).unwrap()["feeds"][0].take()
}

#[track_caller]
fn told_when(monitor: &Monitor, mut wanted: impl FnMut(&Value) -> bool) -> Value {
    let deadline = Instant::now() + CEILING;
    loop {
        let feed = told(monitor);
        if wanted(&feed) {
            return feed;
        }
        assert!(Instant::now() < deadline, "{feed:#}");
        // Nothing tells of a change.
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn events(feed: &Value) -> Vec<(String, String)> {
    let text = |note: &Value, field: &str| note[field].as_str().unwrap().to_owned();
    let notes = feed["recent"].as_array().unwrap();
    notes.iter().map(|note| (text(note, "name"), text(note, "text"))).collect()
}

#[test]
fn it_has_the_pulse_and_the_last_events() {
    let lab = lab(&["btc"]);
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    let feed = feed(&lab, "market").subscription(sub("bitcoin", "btc")).open().unwrap();
    monitor.add(&feed).unwrap();
    let is_over = |feed: &Value| feed["messages"].as_array().unwrap().len() >= 2;
    let seen = told_when(&monitor, is_over);
    let counts: Vec<_> = seen["messages"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
    let (sum, all) = (counts.iter().sum::<u64>(), seen["health"]["messages"].as_u64().unwrap());
    assert!(sum > 0 && sum <= all, "{sum} of {all}: the second that is not over is left out");
    assert_eq!(seen["ages"].as_array().unwrap().len(), counts.len());
    assert!(seen["ages"][1].as_f64().unwrap() < 1.5, "{seen:#}");
    let names: Vec<_> = events(&seen).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["subscribed", "connected"], "the newest first");

    // No data any more: the age grows, by a second each.
    lab.control().all(Command::Mute("btc".into()));
    let old = |feed: &Value| feed["ages"].as_array().unwrap().last().unwrap().as_f64().unwrap() > 1.0;
    let seen = told_when(&monitor, old);
    let ages = seen["ages"].as_array().unwrap();
    let last: Vec<_> = ages.iter().rev().take(2).map(|age| age.as_f64().unwrap()).collect();
    assert!((last[0] - last[1] - 1.0).abs() < 0.002, "{last:?}");
    assert_eq!(seen["messages"].as_array().unwrap().last().unwrap(), 0);

    // Its last words outlast it.
    drop(feed);
    let seen = told_when(&monitor, |feed| feed["health"]["state"] == "closed");
    assert_eq!(events(&seen)[0], ("closed".to_owned(), "closed by user".to_owned()));
    assert!(seen["messages"].as_array().unwrap().len() >= ages.len());
    let again = told_when(&monitor, |feed| {
        feed["ages"].as_array().unwrap().len() > seen["ages"].as_array().unwrap().len()
    });
    let last = again["ages"].as_array().unwrap().iter().rev().take(2).map(|age| age.as_f64().unwrap());
    let last: Vec<_> = last.collect();
    assert!((last[0] - last[1] - 1.0).abs() < 0.002, "what is over grows older too: {last:?}");
}

#[test]
fn it_tells_of_what_the_queue_dropped() {
    let lab = lab(&["btc"]);
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    let feed = livefeed::Feed::builder(lab.url())
        .subscription(sub("btc", "btc"))
        .overflow(Overflow::DropOldest)
        .queue(|queue| queue.messages = 4)
        .open()
        .unwrap();
    monitor.add(&feed).unwrap();
    let seen = told_when(&monitor, |feed| feed["health"]["dropped"].as_u64().unwrap() > 3);
    let overflow = ("gap".to_owned(), "overflow: the queue was full".to_owned());
    assert_eq!(events(&seen)[0], overflow);
    assert_eq!(seen["recent"][0]["weight"], "bad");
    assert_eq!(events(&seen).len(), 3, "one gap that grows is one: {seen:#}");
}
