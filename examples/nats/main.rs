//! Reads two subjects of a NATS server over WebSocket, by a `Dialect` of its own; a third one is refused.
//!
//! Run it with `cargo run --example nats`. It brings its own small server, which cuts its stream into WebSocket messages
//! wherever it likes, and ends by itself.
#![allow(clippy::print_stdout, reason = "an example prints")]

pub(crate) mod dialect;
mod server;

use dialect::{Client, feed};
use livefeed::Event;
use std::collections::BTreeMap;
use std::time::Duration;

/// So many messages of each subject are read.
const ENOUGH: u32 = 10;

pub(crate) fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = server::start()?;
    let client = Client::default();
    let feed = feed(&server.url(), &client)
        .stale_after(Duration::from_secs(5))
        .subscription(client.subscription("a", "feed.a"))
        .subscription(client.subscription("b", "feed.b"))
        .subscription(client.subscription("x", "bad.x"))
        .open()?;
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    let mut refused = 0;
    for event in &feed {
        match event {
            Event::Message(message) => {
                for sid in message.subscriptions() {
                    let count = counts.entry(sid.to_string()).or_default();
                    *count += 1;
                    if *count <= 3 {
                        println!("{sid}: {}", message.text().unwrap_or("(binary)"));
                    }
                }
            }
            Event::Subscribed(subscribed) => println!("{}: subscribed", subscribed.subscription),
            Event::Refused(no) => {
                println!("{}: refused: {}", no.subscription, no.detail);
                refused += 1;
            }
            Event::Closed(closed) => return Err(closed.reason.to_string().into()),
            other => println!("{}", other.name()),
        }
        if counts.len() == 2 && counts.values().all(|count| *count >= ENOUGH) && refused == 1 {
            break;
        }
    }
    println!("{counts:?}");
    feed.close(Duration::from_secs(1))?;
    Ok(())
}
