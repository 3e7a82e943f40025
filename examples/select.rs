//! Two feeds and a ticker in one `select!`: no thread of its own for any of them.
//!
//! Run it with `cargo run --release --example select`. It brings its own servers and ends by itself after three seconds.

use crossbeam_channel::{after, select, tick};
use livefeed::lab::{Lab, Script, Topic};
use livefeed::{Event, Feed};
use std::time::Duration;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let trades_server = server("trades", Duration::from_millis(10))?;
    let quotes_server = server("quotes", Duration::from_millis(25))?;
    let trades = Feed::builder(trades_server.url()).name("trades").open()?;
    let quotes = Feed::builder(quotes_server.url()).name("quotes").open()?;
    let second = tick(Duration::from_secs(1));
    let end = after(Duration::from_millis(3_200));

    let (mut trades_seen, mut quotes_seen) = (0, 0);
    loop {
        // `batches()` is an ordinary crossbeam channel. A batch is all that waits; one that `select!` took has to be
        // iterated, and one that can't be received means that the feed is closed.
        select! {
            recv(trades.batches()) -> batch => for event in batch? {
                trades_seen += take("trades", &event);
            },
            recv(quotes.batches()) -> batch => for event in batch? {
                quotes_seen += take("quotes", &event);
            },
            recv(second) -> _ => {
                println!("{trades_seen} trades, {quotes_seen} quotes");
                for health in [trades.health(), quotes.health()] {
                    let age = health.last_signal_age.unwrap_or_default();
                    println!("  {}: {:?}, last signal {:.3} s ago", health.name, health.state, age.as_secs_f64());
                }
            }
            recv(end) -> _ => break,
        }
    }

    trades.close(Duration::from_secs(1))?;
    quotes.close(Duration::from_secs(1))?;
    if trades_seen == 0 || quotes_seen == 0 {
        return Err("a feed delivered nothing".into());
    }
    println!("closed");
    Ok(())
}

/// Counts a message; says anything else.
fn take(feed: &str, event: &Event) -> u64 {
    match event {
        Event::Message(_) => 1,
        other => {
            println!("{feed}: {}, epoch {}", other.name(), other.epoch());
            0
        }
    }
}

/// A server that sends messages of one kind at a steady rate.
fn server(topic: &str, every: Duration) -> std::io::Result<Lab> {
    Lab::start(Script::of_topics([Topic::new(topic).every(every)]))
}
