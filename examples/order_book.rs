//! Keeps an order book from a snapshot and numbered updates, and makes it anew wherever the feed marks a gap.
//!
//! Run it with `cargo run --release --example order_book`. It brings its own server, whose first connection goes mute
//! while the market moves on. It ends by itself: with status 0 if the book here is then the server's.
#![allow(clippy::disallowed_methods, reason = "a program of its own may read clocks")]

use livefeed::lab::{Command, Lab, Script, Topic, What};
use livefeed::{Event, Feed, GapCause, Matcher, Subscription};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Sizes by price, and the number of the last update in it.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Book {
    seq: u64,
    levels: BTreeMap<u64, u64>,
}

impl Book {
    fn set(&mut self, price: u64, size: u64) {
        if size == 0 {
            self.levels.remove(&price);
        } else {
            self.levels.insert(price, size);
        }
    }
}

// ---- the client ------------------------------------------------------------------------------------------

fn main() -> Result<(), Box<dyn Error>> {
    let market = Market::default();
    let lab = market.serve()?;
    let start = Instant::now();
    let say = |text: String| println!("{:6.3} s  {text}", start.elapsed().as_secs_f64());

    let feed = Feed::builder(lab.url())
        .name("book")
        .stale_after(Duration::from_millis(500))
        .subscription(subscription())
        .open()?;

    // The book is `None` from a gap on until the next snapshot: there is none that could be trusted.
    let mut book: Option<Book> = None;
    let mut resyncs = 0;
    let mut updates = 0;
    let mut epoch = 0;
    let mut stopped = false;
    loop {
        match feed.recv_timeout(Duration::from_secs(5))? {
            Event::Message(message) => {
                epoch = message.epoch();
                let value: Value = serde_json::from_slice(message.as_bytes())?;
                if value["type"] == "snapshot" {
                    let snapshot = read_snapshot(&value).ok_or("a snapshot that is none")?;
                    say(format!("snapshot: update {}, {} levels", snapshot.seq, snapshot.levels.len()));
                    book = Some(snapshot);
                } else if let Some(book) = &mut book {
                    apply(book, &value)?;
                    updates += 1;
                }
            }
            Event::Gap(gap) => {
                say(format!("gap ({}): dropped the book, wait for a snapshot", gap.cause.name()));
                book = None;
                resyncs += 1;
                if gap.cause == GapCause::Overflow {
                    // Lost on this side of the wire: the server knows nothing of it, so ask again. After a
                    // reconnect livefeed has subscribed by itself.
                    feed.subscribe(subscription())?;
                }
            }
            Event::Stale(e) => say(format!("stale: no update for {:.3} s", e.age.as_secs_f64())),
            Event::Closed(e) => return Err(e.reason.into()),
            other => say(format!("{}, epoch {}", other.name(), other.epoch())),
        }

        // Enough was seen of the second connection: stop the market, so that the books can be compared.
        if !stopped && epoch == 2 && start.elapsed() > Duration::from_secs(3) {
            lab.control().all(Command::Mute("book".to_owned()));
            lab.wait_for(|entry| entry.what == What::Command("mute"), Duration::from_secs(1))
                .ok_or("the server did not stop")?;
            stopped = true;
        }
        if stopped && book.as_ref().is_some_and(|book| book.seq == market.book().seq) {
            break;
        }
    }

    let server = market.book();
    say(format!("{updates} updates applied, {resyncs} resynchronisation; the server is at {}", server.seq));
    feed.close(Duration::from_secs(1))?;
    if book.as_ref() != Some(&server) || resyncs != 1 {
        return Err(format!("the books differ:\n{book:?}\n{server:?}").into());
    }
    say("the books are equal".to_owned());
    Ok(())
}

fn subscription() -> Subscription {
    Subscription::new("book")
        .subscribe_json(json!({"subscribe": "book"}))
        .data(Matcher::pointer("/channel", "book"))
}

/// Applies an update. One that does not follow the last is an error: livefeed marks each gap that it can see, and
/// this server makes no others. A client of a real one drops its book here, too.
fn apply(book: &mut Book, update: &Value) -> Result<(), Box<dyn Error>> {
    let number = |field: &str| update[field].as_u64().ok_or("an update that is none");
    let (seq, price, size) = (number("seq")?, number("price")?, number("size")?);
    if seq != book.seq + 1 {
        return Err(format!("update {seq} came after {}, and no gap was marked", book.seq).into());
    }
    book.set(price, size);
    book.seq = seq;
    Ok(())
}

fn read_snapshot(value: &Value) -> Option<Book> {
    let mut book = Book { seq: value["seq"].as_u64()?, ..Book::default() };
    for level in value["levels"].as_array()? {
        book.set(level[0].as_u64()?, level[1].as_u64()?);
    }
    Some(book)
}

// ---- the server ------------------------------------------------------------------------------------------

/// A book that moves, and the dice that move it.
#[derive(Default, Clone)]
struct Market(Arc<Mutex<(Book, u64)>>);

impl Market {
    fn lock(&self) -> MutexGuard<'_, (Book, u64)> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn book(&self) -> Book {
        self.lock().0.clone()
    }

    /// One change of the book, as the update that says it.
    fn step(&self) -> String {
        let (book, dice) = &mut *self.lock();
        *dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let (price, size) = (100 + (*dice >> 33) % 20, (*dice >> 45) % 5);
        book.set(price, size);
        book.seq += 1;
        json!({"channel": "book", "type": "update", "seq": book.seq, "price": price, "size": size})
            .to_string()
    }

    fn snapshot(&self) -> String {
        let (book, _) = &*self.lock();
        let levels: Vec<_> = book.levels.iter().collect();
        json!({"channel": "book", "type": "snapshot", "seq": book.seq, "levels": levels}).to_string()
    }

    /// A server that answers a subscription with a snapshot and goes on with updates. Its first connection goes mute
    /// after a second, and nobody is told of the hundred changes that follow.
    fn serve(&self) -> std::io::Result<Lab> {
        let market = self.clone();
        Lab::builder()
            .scripts(move |connection| {
                for _ in 0..100 {
                    market.step();
                }
                let (updates, snapshots) = (market.clone(), market.clone());
                let topic = Topic::new("book")
                    .every(Duration::from_millis(5))
                    .on_subscribe()
                    .message(move |_, _| updates.step());
                let script = Script::of_topics([topic]).reply(move |_| vec![snapshots.snapshot()]);
                if connection == 1 { script.for_(Duration::from_secs(1)).silence() } else { script }
            })
            .start()
    }
}
