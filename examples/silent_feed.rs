//! The main job: a feed goes mute while its socket stays open and pings are answered; livefeed notices,
//! reconnects, resubscribes, marks the gap and goes on.
//!
//! Run it with `cargo run --release --example silent_feed`. It brings its own server and ends by itself.
#![allow(clippy::disallowed_methods, reason = "a program of its own may read clocks")]

use livefeed::lab::{Lab, Script, Topic};
use livefeed::{Event, Feed, Matcher, Subscription};
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(2);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let topic = || Topic::new("btc").every(Duration::from_millis(20)).on_subscribe();
    // The first connection goes mute after three seconds, and goes on answering pings.
    let lab = Lab::builder()
        .scripts(move |connection| {
            let script = Script::of_topics([topic()]);
            if connection == 1 { script.for_(Duration::from_secs(3)).silence() } else { script }
        })
        .start()?;

    let start = Instant::now();
    let say = |text: String| println!("{:7.3} s  {text}", start.elapsed().as_secs_f64());
    let feed = Feed::builder(lab.url())
        .name("btc")
        .stale_after(LIMIT)
        .ping(|ping| ping.after = livefeed::Limit::After(Duration::from_millis(500)))
        .subscription(
            Subscription::new("btc")
                .subscribe_text(r#"{"subscribe":"btc"}"#)
                .data(Matcher::pointer("/topic", "btc")),
        )
        .open()?;

    let mut received = 0_u64;
    let mut since = 0_u64;
    let mut ends = None;
    let mut shown = Instant::now();
    loop {
        match feed.recv_timeout(Duration::from_millis(500)) {
            Ok(Event::Message(message)) => {
                received += 1;
                since += 1;
                if since == 1 {
                    say(format!("data flows: {}", message.text().unwrap_or("<binary>")));
                }
                if feed.health().epoch == 2 && since == 50 {
                    ends.get_or_insert(Instant::now());
                }
            }
            Ok(Event::Connecting(e)) => say(format!("connecting to {}, attempt {}", e.endpoint, e.attempt)),
            Ok(Event::Connected(e)) => {
                since = 0;
                say(format!("connected: epoch {}, {:.1} ms", e.epoch, e.took.as_secs_f64() * 1e3));
            }
            Ok(Event::Subscribed(e)) => say(format!("subscribed to {}", e.subscription)),
            Ok(Event::Stale(e)) => say(format!(
                "STALE: no data for {:.4} s, limit {:.1} s: the verdict is {:.2} ms late; next: {}",
                e.age.as_secs_f64(),
                e.limit.as_secs_f64(),
                e.lateness().as_secs_f64() * 1e3,
                e.next.name()
            )),
            Ok(Event::Disconnected(e)) => say(format!(
                "disconnected: {}; next attempt in {:.3} s",
                e.reason,
                e.retry_in.unwrap_or_default().as_secs_f64()
            )),
            Ok(Event::Gap(e)) => say(format!(
                "GAP: {}, on {:?}; the data before it ended at {}",
                e.cause.name(),
                e.subscriptions,
                e.last_message.map_or("-".to_owned(), |t| humantime::format_rfc3339_millis(t).to_string()),
            )),
            Ok(other) => say(format!("{}", other.to_json("btc"))),
            Err(error) if error.is_timeout() => {}
            Err(error) => return Err(error.into()),
        }
        let age = feed.health().last_signal_age;
        if age.is_some_and(|age| age > Duration::from_millis(400))
            && shown.elapsed() > Duration::from_millis(400)
        {
            shown = Instant::now();
            let health = feed.health();
            say(format!(
                "... socket {:?}, last byte {:.1} s ago, last signal {:.1} s ago",
                health.state,
                health.last_byte_age.unwrap_or_default().as_secs_f64(),
                age.unwrap_or_default().as_secs_f64()
            ));
        }
        if ends.is_some() {
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(14), "the feed did not recover");
    }
    say(format!("{received} messages; closing"));
    feed.close(Duration::from_secs(1))?;
    Ok(())
}
