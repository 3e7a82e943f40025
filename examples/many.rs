//! Three feeds as one stream: one joins while the others run, one loses its server and gives up, one is taken out.
//!
//! Run it with `cargo run --release --example many`. It brings its own servers and ends by itself, when no feed is left.

use livefeed::lab::{Lab, Script, Topic};
use livefeed::{Event, Feed, FeedSet};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let servers = [server("btc", 5)?, server("eth", 20)?, server("sol", 50)?];
    let set = Arc::new(FeedSet::new());
    set.insert("btc", open(&servers[0])?)?;
    set.insert("eth", open(&servers[1])?)?;

    let mut counts = BTreeMap::new();
    let [btc_server, _, sol_server] = servers;
    let mut btc_server = Some(btc_server);
    // Also `for (tag, event) in &*set`: the loop is over when the last feed has left.
    while let Ok((tag, event)) = set.recv() {
        match event {
            Event::Message(_) => *counts.entry(tag).or_insert(0) += 1,
            Event::Disconnected(end) => println!("{tag}: disconnected: {}", end.reason),
            Event::Closed(closed) => println!("{tag}: closed: {}; left are {:?}", closed.reason, set.tags()),
            other => println!("{tag}: {}", other.name()),
        }
        match (tag, counts.get(tag)) {
            // Any thread may add feeds, at any time.
            ("eth", Some(20)) => drop(set.insert("sol", open(&sol_server)?)?),
            ("sol", Some(10)) => btc_server = None,
            ("sol", Some(20)) => {
                // Goes on by itself, to be read elsewhere; here it is closed.
                if let Some(eth) = set.remove("eth") {
                    println!("eth: taken out, {:?}", eth.health().state);
                    eth.close(Duration::from_secs(1))?;
                }
            }
            ("sol", Some(30)) => set.close(Duration::from_secs(1))?,
            _ => {}
        }
    }
    println!("over: {counts:?}");
    if btc_server.is_some() || counts.len() < 3 {
        return Err("a feed delivered nothing".into());
    }
    Ok(())
}

/// A feed that gives up soon, so that there is something to see.
fn open(server: &Lab) -> Result<Feed, livefeed::Error> {
    Feed::builder(server.url()).reconnect(|reconnect| reconnect.max_attempts = Some(2)).open()
}

/// A server that sends messages of one kind at a steady rate.
fn server(topic: &str, millis: u64) -> std::io::Result<Lab> {
    Lab::start(Script::of_topics([Topic::new(topic).every(Duration::from_millis(millis))]))
}
