//! Reads what a NATS server sends over WebSocket, by a `Dialect` of its own.
//!
//! Run it with `cargo run --example nats`. It shows what the dialect makes of a recorded conversation, cut at odd places.
#![allow(clippy::print_stdout, reason = "an example prints")]

mod dialect;

use dialect::{CONNECT, Nats, sub, unsub};
use livefeed::{Dialect, Payload, ReadItem, Readout};

fn main() {
    for message in [CONNECT.as_bytes().to_vec(), sub("feed.a", "a"), sub("bad.x", "b"), unsub("a")] {
        println!("client: {:?}", String::from_utf8_lossy(&message));
    }
    let mut nats = Nats::new([("a", "feed.a"), ("b", "bad.x")]);
    for message in [
        "INFO {\"server_id\":\"X\",\"max_payload\":1048576}\r\n",
        "+OK\r\nMSG feed.a a 5\r\nhello\r\nMSG feed.a a 6\r\nin t",
        "wo\r\n-ERR 'Permissions Violation for Subscription to \"bad.x\"'\r\nPI",
        "NG\r\n",
    ] {
        println!("server: {message:?}");
        let mut out = Readout::new(message.as_bytes());
        nats.read(Payload::Binary(message.as_bytes()), &mut out);
        for item in out.items() {
            match item {
                ReadItem::Data { subscriptions, payload } => {
                    println!("        data of {subscriptions:?}: {:?}", payload.payload());
                }
                other => println!("        {other:?}"),
            }
        }
    }
}
