//! HTX (Huobi): every message is gzip in a binary frame, the server's pings carry a number that comes back, and a book
//! whose updates name the one before.
//!
//! <https://www.htx.com/en-us/opend/newApiPages/?id=662>
//!
//! All of it is data. The books are at `/feed`; trades and tickers are at `/ws`, in the same words and without
//! `sequence`. A snapshot is asked for over the same connection, which is what `request` is for. Private channels have
//! another dialect, and need a closure for the signature of their login.

use crate::common::*;
use crate::conformance::{self, Case, Life, Refusal, Watch, json as json_of};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use flate2::Compression;
use flate2::write::GzEncoder;
use livefeed::{EndReason, Event, GapCause, Interval, Matcher};
use serde_json::{Value, json};
use std::io::Write;

/// The time in the first ping.
const BEGIN: u64 = 1_764_000_000_000;

fn gzip(message: &Value) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(message.to_string().as_bytes()).unwrap();
    encoder.finish().unwrap()
}

/// A topic is a channel.
fn venue() -> Builder {
    Venue::builder()
        .hear(|line, _, json| hear(line, json))
        .data(|tick: &Tick<'_>| {
            let (now, before) = (tick.seq * 10, tick.seq * 10 - 10);
            let tick = json!({"ch": tick.topic, "ts": BEGIN, "tick": {
                "seqNum": now, "prevSeqNum": before, "asks": [[645.14, 26.75]], "bids": [[644.0, 1.1]],
            }});
            gzip(&tick)
        })
        .heartbeat(ms(20), |n| gzip(&json!({"ping": BEGIN + n})))
}

fn hear(line: &mut Line<'_>, json: &Value) {
    if let Some(pong) = json["pong"].as_u64() {
        assert!((BEGIN + 1..BEGIN + 10_000).contains(&pong), "{json}");
        return line.alive();
    }
    let id = &json["id"];
    assert!(id.is_string(), "{json}");
    let ok = |name: &str, channel: &str| gzip(&json!({"id": id, "status": "ok", name: channel, "ts": BEGIN}));
    if let Some(channel) = json["sub"].as_str() {
        match line.subscribe(channel) {
            Answer::Granted | Answer::Already => line.say(ok("subbed", channel)),
            Answer::Refused(reason) => line.say(gzip(
                &json!({"status": "error", "ts": BEGIN, "id": id, "err-code": "bad-request", "err-msg": reason}),
            )),
            Answer::Ignored => {}
        }
    } else if let Some(channel) = json["unsub"].as_str() {
        line.unsubscribe(channel);
        line.say(ok("unsubbed", channel));
    } else if let Some(channel) = json["req"].as_str() {
        let data = json!({"seqNum": 100, "asks": [], "bids": [[644.0, 1.1]]});
        line.say(gzip(&json!({"id": id, "rep": channel, "status": "ok", "ts": BEGIN, "data": data})));
    }
}

const BTC: &str = "market.btcusdt.mbp.150";
const ETH: &str = "market.ethusdt.mbp.150";

const CASE: Case = Case {
    file: "htx",
    venue,
    topics: &[("btc-book", BTC), ("eth-book", ETH)],
    of: |message| json_of(message)["ch"].as_str().map(str::to_owned).into_iter().collect(),
    victim: "eth-book",
    refusal: Some(Refusal {
        event: "refused",
        reason: "invalid symbol ethusdt",
        detail: "invalid symbol ethusdt",
    }),
    life: Life::Answers,
};

crate::conformance::tests!(CASE);

#[test]
fn an_update_that_does_not_follow_is_a_gap_and_the_book_is_made_again() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.skip(BTC, 5);
    let event = watch.until(|_, event| matches!(event, Event::Gap(_)));
    let Event::Gap(gap) = event else { unreachable!() };
    assert_eq!(
        (gap.cause, &gap.subscriptions[..]),
        (GapCause::Sequence, &["btc-book".into()][..]),
        "{gap:?}"
    );
    watch.until(|_, event| matches!(event, Event::Gap(gap) if gap.cause == GapCause::Resubscribed));
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "gap"]);
    assert_eq!((venue.grants(1, BTC), venue.grants(1, ETH)), (2, 1));
}

#[test]
fn a_snapshot_is_a_question_on_the_same_connection() {
    let venue = venue().start();
    let feed = conformance::open(conformance::config(CASE.file, &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    let question = json!({"req": BTC, "id": "snapshot"}).to_string();
    let answer = feed.request(question, Matcher::pointer("/rep", BTC), CEILING).unwrap();
    assert_eq!(json_of(&answer)["data"]["seqNum"], 100);
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed"]);
}

/// Data may be quiet for long: that the server pings no more is told by itself, and sooner.
#[test]
fn a_server_that_pings_no_more_is_left() {
    let venue = venue().pings(ms(20)).start();
    let mut config = conformance::config(CASE.file, &venue);
    conformance::no_limits(&mut config);
    config.rules[0].within = config.rules[0].within.take().map(|_| Interval::from(ms(400)));
    let feed = conformance::open(config);
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.mute(BTC);
    venue.mute(ETH);
    watch.read_for(ms(500), || true);
    watch.saw_only(&["connecting", "connected", "subscribed"]);
    venue.mute_heartbeats();
    let event = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
    let Event::Disconnected(end) = event else { unreachable!() };
    assert!(matches!(end.reason, EndReason::HeartbeatOverdue { waited } if waited >= ms(400)), "{end:?}");
}
