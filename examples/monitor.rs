//! A feed that goes mute now and then, and the endpoint that says so: `cargo run --example monitor`.
//!
//! It runs for as long as a number of seconds is given, else until it is stopped.

#![allow(clippy::disallowed_methods, reason = "a program of its own may read clocks")]

use livefeed::lab::{Lab, Script, Topic};
use livefeed::{Event, Feed, Matcher, Monitor, Subscription};
use std::time::{Duration, Instant};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = std::env::args().nth(1).map(|text| text.parse::<u64>()).transpose()?;
    let end = seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));

    // Each connection of this server goes mute after ten seconds, and goes on answering pings.
    let topics =
        || ["btc", "eth"].map(|name| Topic::new(name).every(Duration::from_millis(50)).on_subscribe());
    let lab = Lab::builder()
        .scripts(move |_| Script::of_topics(topics()).for_(Duration::from_secs(10)).silence())
        .start()?;
    let feed = Feed::builder(lab.url())
        .name("demo")
        .stale_after(Duration::from_secs(3))
        .reconnect(|reconnect| reconnect.first = Duration::from_secs(4))
        .subscription(subscription("btc"))
        .subscription(subscription("eth"))
        .open()?;

    let monitor = Monitor::bind("127.0.0.1:0")?;
    monitor.add(&feed)?;
    let addr = monitor.local_addr();
    println!("for people: http://{addr}/");
    println!("for probes: curl -i http://{addr}/health");

    while end.is_none_or(|end| Instant::now() < end) {
        match feed.recv_timeout(Duration::from_millis(200)) {
            Ok(Event::Message(_)) => {}
            Ok(event) => println!("{}", event.to_json(feed.name())),
            Err(error) if error.is_timeout() => {}
            Err(error) => return Err(error.into()),
        }
    }
    feed.close(Duration::from_secs(1))?;
    Ok(())
}

fn subscription(name: &str) -> Subscription {
    Subscription::new(name)
        .subscribe_text(format!(r#"{{"subscribe":"{name}"}}"#))
        .data(Matcher::pointer("/topic", name))
}
