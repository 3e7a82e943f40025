//! A feed goes mute while its socket stays open and its pings are answered. livefeed notices, reconnects, subscribes
//! again, marks the gap and goes on.
//!
//! Run it with `cargo run --release --example silent_feed`. It brings its own server and ends by itself.
#![allow(clippy::disallowed_methods, reason = "a program of its own may read clocks")]

use livefeed::lab::{Lab, Script, Topic};
use livefeed::{Event, Feed, Limit, Matcher, Subscription};
use std::time::{Duration, Instant, SystemTime};

/// How long there may be no data.
const LIMIT: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let lab = server()?;
    let feed = Feed::builder(lab.url())
        .name("btc")
        .stale_after(LIMIT)
        // Pings go out early here, to show that their answers prove nothing about the data.
        .ping(|ping| ping.after = Limit::After(Duration::from_millis(500)))
        .subscription(
            Subscription::new("btc")
                .subscribe_text(r#"{"subscribe":"btc"}"#)
                .data(Matcher::pointer("/topic", "btc")),
        )
        .open()?;

    let start = Instant::now();
    let say = |text: String| println!("{:6.3} s  {text}", start.elapsed().as_secs_f64());
    let mut received = 0;
    let mut on_this_connection = 0;
    while start.elapsed() < Duration::from_secs(14) {
        match feed.recv_timeout(Duration::from_millis(400)) {
            Ok(Event::Message(message)) => {
                received += 1;
                on_this_connection += 1;
                if on_this_connection == 1 {
                    say(format!("data flows: {}", message.text().unwrap_or("<binary>")));
                }
                if message.epoch() == 2 && on_this_connection == 50 {
                    say(format!("data still flows: {received} messages; closing"));
                    feed.close(Duration::from_secs(1))?;
                    return Ok(());
                }
            }
            Ok(event) => {
                if matches!(event, Event::Connected(_)) {
                    on_this_connection = 0;
                }
                say(describe(&event));
            }
            // Nothing happened for a while: ask how the feed is.
            Err(error) if error.is_timeout() => {
                let health = feed.health();
                say(format!(
                    "{:?}: last byte {:.1} s ago, last data {:.1} s ago",
                    health.state,
                    health.last_byte_age.unwrap_or_default().as_secs_f64(),
                    health.last_signal_age.unwrap_or_default().as_secs_f64(),
                ));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Err("the feed did not recover".into())
}

/// A server of numbered messages. Its first connection goes mute after three seconds, and goes on answering pings.
fn server() -> std::io::Result<Lab> {
    Lab::builder()
        .scripts(|connection| {
            let topic = Topic::new("btc").every(Duration::from_millis(20)).on_subscribe();
            let script = Script::of_topics([topic]);
            if connection == 1 { script.for_(Duration::from_secs(3)).silence() } else { script }
        })
        .start()
}

fn describe(event: &Event) -> String {
    match event {
        Event::Connecting(e) => format!("connecting to {}, attempt {}", e.endpoint, e.attempt),
        Event::Connected(e) => {
            format!("connected: epoch {}, took {:.1} ms", e.epoch, e.took.as_secs_f64() * 1e3)
        }
        Event::Subscribed(e) => format!("subscribed to {} on epoch {}", e.subscription, e.epoch),
        Event::Stale(e) => format!(
            "STALE: no data for {:.4} s, limit {:.1} s: the verdict is {:.2} ms late; next: {}",
            e.age.as_secs_f64(),
            e.limit.as_secs_f64(),
            e.lateness().as_secs_f64() * 1e3,
            e.next.name(),
        ),
        Event::Disconnected(e) => format!(
            "disconnected: {}; next attempt in {:.3} s",
            e.reason,
            e.retry_in.unwrap_or_default().as_secs_f64(),
        ),
        Event::Gap(e) => format!(
            "GAP: {}, on {:?}; the data before it ended {:.3} s ago",
            e.cause.name(),
            e.subscriptions,
            seconds_between(e.last_message, e.time),
        ),
        other => other.to_json("btc").to_string(),
    }
}

fn seconds_between(then: Option<SystemTime>, now: SystemTime) -> f64 {
    then.and_then(|then| now.duration_since(then).ok()).unwrap_or_default().as_secs_f64()
}
