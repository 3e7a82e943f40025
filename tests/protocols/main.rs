//! Real feed protocols, each against a server that speaks it: a [`venue`] on the lab.
//!
//! A protocol is one file: `venue()` makes the server side, in the shapes of the real one's public documentation; a
//! [`Case`](conformance::Case) says what is expected of its data file in `examples/feeds`; and further tests open a
//! feed on it and turn the venue's knobs.
#![allow(clippy::disallowed_methods, reason = "tests may read clocks")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]
#![allow(unreachable_pub, reason = "nobody uses a test")]

#[path = "../contracts/common.rs"]
#[allow(dead_code, reason = "each test binary needs another part of it")]
mod common;

mod ably;
mod alpaca;
mod binance;
mod binance_user_data;
mod bitfinex;
mod bybit;
mod centrifugo;
mod coinbase;
mod coinbase_exchange;
#[allow(dead_code, reason = "each protocol needs another part of it")]
mod conformance;
mod deribit;
mod discord;
mod finnhub;
mod gate;
mod graphql;
mod home_assistant;
mod htx;
mod hyperliquid;
mod jetstream;
mod kraken;
mod kucoin;
mod mastodon;
mod nats;
mod nostr;
mod ocpp;
mod okx;
mod phoenix;
mod polygon;
mod pusher;
#[cfg(unix)]
mod real;
mod slack;
mod socket_io;
mod twitch;
mod venue;
