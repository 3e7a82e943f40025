//! Bitfinex, WebSocket API v2: an acknowledgement gives each channel a number, and its data are arrays that begin
//! with it.
//!
//! All of it is data; nothing needs a closure.
//!
//! <https://docs.bitfinex.com/docs/ws-general>

use crate::common::*;
use crate::conformance::{Case, Life, Refusal, Watch, config, json as json_of, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::lab::Outgoing;
use livefeed::{AlertKind, EndReason, Event, Gap, GapCause, Repair};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};

/// What can be odd about the venue.
#[derive(Debug, Default)]
pub struct Quirks {
    /// These have nothing to say but that they live: `[channel, "hb"]`.
    idle: Mutex<HashSet<String>>,
    /// The last number of each connection, with the flag SEQ_ALL.
    numbers: Mutex<HashMap<usize, u64>>,
    /// So many messages are lost on the way.
    lost: Mutex<u64>,
}

impl Quirks {
    fn number(&self, connection: usize) -> u64 {
        let mut numbers = self.numbers.lock().unwrap();
        let number = numbers.entry(connection).or_default();
        *number += 1 + std::mem::take(&mut *self.lost.lock().unwrap());
        *number
    }
}

/// A topic is `channel symbol`, such as `ticker tBTCUSD`.
pub fn venue() -> Builder {
    venue_with(Arc::default())
}

fn venue_with(quirks: Arc<Quirks>) -> Builder {
    Venue::builder()
        .hello(|line, _| {
            line.say(json!({"event": "info", "version": 2, "serverId": "8c3f", "platform": {"status": 1}}));
        })
        .hear(hear)
        .data(move |tick| data(tick, &quirks))
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let channel = json["channel"].as_str().unwrap_or_default();
    let symbol = json["symbol"].as_str().unwrap_or_default();
    let pair = symbol.trim_start_matches('t');
    let error = |code: u64, message: &str| json!({"event": "error", "msg": message, "code": code, "channel": channel, "symbol": symbol, "pair": pair});
    match json["event"].as_str() {
        Some("ping") => line.say(json!({"event": "pong", "ts": 1_700_000_000_000_u64, "cid": json["cid"]})),
        Some("conf") => line.say(json!({"event": "conf", "status": "OK", "flags": json["flags"]})),
        Some("subscribe") => {
            let (topic, number) = (format!("{channel} {symbol}"), line.number());
            match line.subscribe_as(&topic, number) {
                Answer::Granted => {
                    line.keep(&format!("channel {number}"), topic);
                    line.say(json!({
                        "event": "subscribed", "channel": channel, "chanId": number, "symbol": symbol, "pair": pair,
                    }));
                }
                Answer::Already => line.say(error(10301, "subscribe: dup")),
                Answer::Refused(reason) => line.say(error(10300, &reason)),
                Answer::Ignored => {}
            }
        }
        Some("unsubscribe") => {
            let number = &json["chanId"];
            let topic = line.kept(&format!("channel {number}"));
            if topic.as_str().is_some_and(|topic| line.unsubscribe(topic)) {
                line.say(json!({"event": "unsubscribed", "status": "OK", "chanId": number}));
            } else {
                line.say(
                    json!({"event": "error", "msg": "unsubscribe: invalid", "code": 10400, "chanId": number}),
                );
            }
        }
        _ => line.say(json!({"event": "error", "msg": "event: invalid", "code": 10000})),
    }
}

fn data(tick: &Tick<'_>, quirks: &Quirks) -> Outgoing {
    let number = quirks.number(tick.connection);
    let (channel, trade) = (tick.tag, json!([tick.seq, 1_700_000_000_000_u64, 0.25, 95_000.5]));
    let is_trades = tick.topic.starts_with("trades");
    if quirks.idle.lock().unwrap().contains(tick.topic) {
        json!([channel, "hb", number]).into()
    } else if !is_trades {
        json!([
            channel,
            [95_000.0, 1.5, 95_001.0, 2.5, -10.0, -0.01, 95_000.5, 1000.0, 96_000.0, 94_000.0],
            number
        ])
        .into()
    } else if tick.nth == 1 {
        json!([channel, [trade, trade], number]).into()
    } else {
        json!([channel, if tick.nth.is_multiple_of(2) { "te" } else { "tu" }, trade, number]).into()
    }
}

const CASE: Case = Case {
    file: "bitfinex",
    venue,
    topics: &[("trades", "trades tBTCUSD"), ("ticker", "ticker tETHUSD")],
    of: |message| {
        // A ticker has ten numbers; all else is trades.
        let is_ticker = json_of(message)[1].as_array().is_some_and(|numbers| numbers.len() == 10);
        vec![if is_ticker { "ticker tETHUSD" } else { "trades tBTCUSD" }.to_owned()]
    },
    victim: "ticker",
    refusal: Some(Refusal { event: "refused", reason: "symbol: invalid", detail: "symbol: invalid" }),
    life: Life::Server,
};

crate::conformance::tests!(CASE);

/// A feed of the data file at a venue with these quirks.
fn start(quirks: &Arc<Quirks>) -> (Venue, livefeed::Feed) {
    let venue = venue_with(Arc::clone(quirks)).start();
    let feed = open(config("bitfinex", &venue));
    (venue, feed)
}

fn info(code: u64, message: &str) -> Value {
    json!({"event": "info", "code": code, "msg": message})
}

fn gaps<'a>(watch: &'a Watch<'_>) -> Vec<&'a Gap> {
    watch
        .seen
        .iter()
        .filter_map(|event| if let Event::Gap(gap) = event { Some(&**gap) } else { None })
        .collect()
}

#[test]
fn a_channel_that_has_nothing_to_say_but_hb_lives() {
    let quirks = Arc::default();
    let (venue, feed) = start(&quirks);
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    quirks.idle.lock().unwrap().insert("ticker tETHUSD".to_owned());
    // Said behind what was on its way.
    venue.say(json!({"event": "info", "platform": {"status": 0}}));
    watch.until(|_, event| matches!(event, Event::Alert(_)));
    watch.again();
    watch.read_for(ms(1000), || true);
    assert_eq!(watch.counts["ticker"], 0, "an hb is no data");
    assert!(watch.counts["trades"] > 0);
    watch.saw_only(&["connecting", "connected", "subscribed", "alert"]);
    // Without the hb it is mute.
    venue.mute("ticker tETHUSD");
    let Event::Stale(stale) = watch.until(|_, event| matches!(event, Event::Stale(_))) else {
        unreachable!()
    };
    assert_eq!((stale.subscription, stale.next), (Some("ticker".into()), Repair::Resubscribe));
}

#[test]
fn the_number_of_a_channel_is_forgotten_with_its_connection() {
    let (venue, feed) = start(&Arc::default());
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    let old = watch.seen.iter().find_map(|event| match event {
        Event::Message(message) if message.subscriptions() == ["ticker"] => Some(json_of(message)[0].clone()),
        _ => None,
    });
    venue.reset();
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.all_flow();
    venue.say(json!([old.unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]]));
    let strange = until(&feed, |event| matches!(event, Event::Message(m) if m.subscriptions().is_empty()));
    assert_eq!(feed.health().unmatched, 1, "{strange:?}");
}

#[test]
fn told_to_reconnect_it_does() {
    let (venue, feed) = start(&Arc::default());
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.say(info(20051, "Stopping. Please try to reconnect"));
    let end = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
    let Event::Disconnected(end) = end else { unreachable!() };
    assert_eq!(
        end.reason,
        EndReason::ServerNotice { detail: "Stopping. Please try to reconnect".to_owned() }
    );
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.all_flow();
    venue.wait_subscribed(2, &["ticker tETHUSD", "trades tBTCUSD"]);
}

#[test]
fn a_pause_is_waited_out_and_then_all_is_subscribed_anew() {
    let (venue, feed) = start(&Arc::default());
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.say(info(
        20060,
        "Entering in Maintenance mode. Please pause any activity and resume after 2 minutes.",
    ));
    for topic in ["ticker tETHUSD", "trades tBTCUSD"] {
        venue.stall(topic);
    }
    watch.read_for(ms(1000), || true);
    watch.saw_only(&["connecting", "connected", "subscribed"]);
    venue.say(info(20061, "Maintenance ended. You can resume normal activity."));
    watch.all_flow();
    let causes: Vec<_> = gaps(&watch).iter().map(|gap| (gap.cause, gap.subscriptions.len())).collect();
    assert_eq!(causes, [(GapCause::Resubscribed, 1), (GapCause::Resubscribed, 1)]);
    venue.wait_grants(1, "ticker tETHUSD", 2);
    venue.wait_grants(1, "trades tBTCUSD", 2);
    // The pause is over: verdicts fall again.
    venue.mute("ticker tETHUSD");
    watch.until(|_, event| matches!(event, Event::Stale(_)));
}

#[test]
fn messages_that_are_lost_on_the_way_are_a_gap_of_the_connection() {
    let quirks = Arc::<Quirks>::default();
    let (_venue, feed) = start(&quirks);
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    *quirks.lost.lock().unwrap() = 3;
    let Event::Gap(gap) = watch.until(|_, event| matches!(event, Event::Gap(_))) else { unreachable!() };
    assert_eq!((gap.cause, gap.lost, gap.subscriptions.len()), (GapCause::Sequence, Some(3), 0));
    assert_eq!(gap.to.unwrap() - gap.from.unwrap(), 4);
    watch.all_flow();
    watch.saw_only(&["connecting", "connected", "subscribed", "gap"]);
}

/// The answer to a subscribe message is lost, and with it the number of the channel; a second one is "dup". That is no
/// refusal; but as nobody can know whose the data is, a new connection is made in the end.
#[test]
fn a_channel_whose_number_was_lost_is_healed_by_a_new_connection() {
    let venue = venue().start();
    venue.lose_answer("ticker tETHUSD");
    let mut config = config("bitfinex", &venue);
    config.defaults.ack_timeout = Some(ms(100));
    let feed = open(config);
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let of_ticker = |event: &&Event| match event {
        Event::Subscribed(event) => event.subscription == "ticker",
        _ => false,
    };
    assert_eq!(events.iter().filter(of_ticker).count(), 1, "dup is as good as an acknowledgement");
    assert!(!events.iter().any(|event| matches!(event, Event::Refused(_))), "{:?}", names(&events));
    let unsaid = |event: &Event| matches!(event, Event::Alert(alert) if matches!(&alert.kind, AlertKind::TemplateFailed { what: "unsubscribe", .. }));
    assert!(events.iter().any(unsaid), "{:?}", names(&events));
    let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
    assert!(
        matches!(&end.reason, EndReason::Stale { subscription: Some(id), .. } if *id == "ticker"),
        "{end:?}"
    );
    until(&feed, |event| matches!(event, Event::Message(m) if m.subscriptions() == ["ticker"]));
    assert_eq!(venue.grants(2, "ticker tETHUSD"), 1);
}

/// The number of a channel is not known before the acknowledgement, and without it the channel can't be ended.
#[test]
fn unsubscribed_before_it_is_acknowledged_a_channel_is_ended_all_the_same() {
    let (venue, feed) = start(&Arc::default());
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    let book = || {
        livefeed::Subscription::new("more").var("channel", "trades").var("symbol", "tLTCUSD").no_stale_limit()
    };
    // Faster than any answer, again and again: whatever came in between, one is left in the end, and then none.
    for _ in 0..20 {
        feed.subscribe(book()).unwrap();
        feed.unsubscribe("more").unwrap();
        feed.subscribe(book()).unwrap();
    }
    let own = |event: &Event| matches!(event, Event::Message(m) if m.subscriptions() == ["more"]);
    let mut events = until(&feed, own);
    venue.wait_subscribed(1, &["ticker tETHUSD", "trades tBTCUSD", "trades tLTCUSD"]);
    feed.subscribe(book()).unwrap();
    feed.unsubscribe("more").unwrap();
    venue.wait_subscribed(1, &["ticker tETHUSD", "trades tBTCUSD"]);
    events.extend(until(&feed, |event| matches!(event, Event::Message(_))));
    let odd = |event: &&Event| matches!(event, Event::Alert(_) | Event::Refused(_) | Event::Disconnected(_));
    assert!(events.iter().find(odd).is_none(), "{:?}", events.iter().find(odd));
    let heard = venue.received_json(1);
    let count = |what: &str| heard.iter().filter(|text| text["event"] == what).count();
    assert_eq!(count("subscribe"), count("unsubscribe") + 2, "each of them was ended by its number");
    let known = heard.iter().filter(|text| text["event"] == "unsubscribe");
    assert!(known.clone().all(|text| text["chanId"].is_u64()) && known.count() > 0);
}
