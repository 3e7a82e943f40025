//! Ably's realtime protocol (JSON): numbered actions, channels that are attached by name and may be detached by the server,
//! a connection that is resumed by its key in the URL, and a flag by which nothing was missed.
//!
//! <https://sdk.ably.com/builds/ably/specification/main/features/>
//!
//! All of it is data. A token that has to be renewed in band (`AUTH`) is told to a person; a login closure or a provider
//! fetches one.

use crate::conformance::{Case, KEEPALIVE, Life, Refusal, Watch, config, hasty, json, open};
use crate::venue::{Answer, Builder, Line, Tick, Venue};
use livefeed::lab::Request;
use livefeed::{EndReason, ErrorClass, Event, GapCause};
use serde_json::{Value, json};

const RESUMED: u64 = 1 << 2;
/// Which ways the channel may be used: presence, publish, subscribe.
const MODES: u64 = 0xF << 16;

fn venue() -> Builder {
    Venue::builder()
        .hello(hello)
        .hear(hear)
        .data(|tick: &Tick<'_>| {
            json!({"action": 15, "channel": tick.topic, "id": format!("m{}:0", tick.seq),
                   "channelSerial": format!("{}@{}", tick.topic, tick.seq),
                   "messages": [{"name": "price", "data": "{\"bid\":1}"}]})
        })
        .heartbeat(KEEPALIVE, |_| json!({"action": 0}))
        .ended(|topic, _| {
            json!({"action": 13, "channel": topic,
                   "error": {"code": 90198, "statusCode": 400, "message": "channel detached by the server"}})
        })
}

/// The parameter of a URL.
fn parameter<'a>(request: &'a Request, name: &str) -> Option<&'a str> {
    let (_, query) = request.path.split_once('?')?;
    query
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find(|(own, _)| *own == name)
        .map(|(_, value)| value)
}

fn hello(line: &mut Line<'_>, request: &Request) {
    assert_eq!(parameter(request, "key"), Some("YOUR-KEY"));
    let resume = parameter(request, "resume");
    // The key of the connection before, percent-encoded.
    let known = resume.is_some_and(|key| key == format!("key%21{}%20%26", line.connection - 1));
    line.keep("resumed", known);
    line.say(json!({
        "action": 4, "connectionId": if known { "c1".to_owned() } else { format!("c{}", line.connection) },
        "connectionDetails": {
            "connectionKey": format!("key!{} &", line.connection), "maxIdleInterval": 50,
            "connectionStateTtl": 120_000, "clientId": "*"
        }
    }));
}

fn hear(line: &mut Line<'_>, _text: &str, json: &Value) {
    let channel = json["channel"].as_str().unwrap_or_default();
    match json["action"].as_u64() {
        Some(0) => {
            line.alive();
            line.say(json!({"action": 0, "id": json["id"]}));
        }
        Some(10) => match line.subscribe(channel) {
            Answer::Granted | Answer::Already => {
                let serial = &json["channelSerial"];
                let resumed = line.kept("resumed") == true && serial.is_string();
                let flags = MODES | if resumed { RESUMED } else { 0 };
                let serial = serial.as_str().map_or_else(|| format!("{channel}@0"), str::to_owned);
                line.say(json!({"action": 11, "channel": channel, "flags": flags, "channelSerial": serial}));
            }
            Answer::Refused(reason) => line.say(json!({
                "action": 9, "channel": channel, "error": {"code": 40160, "statusCode": 401, "message": reason}
            })),
            Answer::Ignored => {}
        },
        Some(12) => {
            line.unsubscribe(channel);
            line.say(json!({"action": 13, "channel": channel}));
        }
        _ => panic!("{json}"),
    }
}

const CASE: Case = Case {
    file: "ably",
    venue,
    topics: &[("btc", "btc"), ("eth", "eth")],
    of: |message| vec![json(message)["channel"].as_str().unwrap_or_default().to_owned()],
    victim: "eth",
    refusal: Some(Refusal { event: "refused", reason: "denied access", detail: "denied access" }),
    life: Life::Client,
};

crate::conformance::tests!(CASE);

/// What was said of the channel `eth` on each connection.
fn resumed(watch: &Watch<'_>) -> Vec<Option<bool>> {
    let subscribed = watch.seen.iter().filter_map(|event| match event {
        Event::Subscribed(subscribed) if subscribed.subscription.as_str() == "eth" => {
            Some(subscribed.resumed)
        }
        _ => None,
    });
    subscribed.collect()
}

#[test]
fn a_connection_is_resumed_by_its_key() {
    let venue = venue().start();
    let mut config = config("ably", &venue);
    config.name = Some("ably".to_owned());
    let feed = open(config);
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.reset();
    watch.until(|_, event| matches!(event, Event::Gap(gap) if gap.cause == GapCause::Reconnected));
    watch.all_flow();
    assert_eq!(resumed(&watch), [None, Some(true)]);
    let attach = |connection| {
        let mut sent = venue.received_json(connection).into_iter();
        sent.find(|json| json["action"] == 10 && json["channel"] == "eth").unwrap()
    };
    assert_eq!(attach(1), json!({"action": 10, "channel": "eth", "channelSerial": null}));
    let serial = attach(2)["channelSerial"].as_str().unwrap().to_owned();
    assert!(serial.strip_prefix("eth@").is_some_and(|number| number.parse::<u64>().unwrap() > 1), "{serial}");
    // The key is nowhere to be seen.
    let shown = format!("{:?} {:?}", watch.seen, feed.health());
    assert!(shown.contains("resume=***") && !shown.contains("key!") && !shown.contains("key%21"), "{shown}");
}

#[test]
fn what_can_t_be_resumed_is_said() {
    let forgetful = venue().hello(|line, request| {
        hello(line, request);
        line.keep("resumed", false);
    });
    let venue = forgetful.start();
    let feed = open(config("ably", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.reset();
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.all_flow();
    assert_eq!(resumed(&watch), [None, Some(false)]);
}

#[test]
fn a_channel_that_the_server_detaches_is_attached_again() {
    let venue = venue().start();
    let feed = open(hasty(config("ably", &venue)));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.end("eth");
    let Event::Ended(ended) = watch.until(|_, event| matches!(event, Event::Ended(_))) else {
        unreachable!()
    };
    assert_eq!((ended.subscription.as_str(), ended.class), ("eth", ErrorClass::RetryLater));
    assert_eq!(ended.detail, "channel detached by the server");
    watch.all_flow();
    assert_eq!(resumed(&watch), [None, Some(false)]);
    watch.saw_only(&["connecting", "connected", "subscribed", "ended", "gap"]);
    assert_eq!((venue.grants(1, "eth"), venue.grants(1, "btc")), (2, 1));
}

#[test]
fn an_error_of_the_connection_ends_it() {
    let venue = venue().start();
    let feed = open(config("ably", &venue));
    let mut watch = Watch::new(&CASE, &feed);
    watch.all_flow();
    venue.say(json!({"action": 9, "error": {"code": 40142, "statusCode": 401, "message": "token expired"}}));
    let Event::Disconnected(end) = watch.until(|_, event| matches!(event, Event::Disconnected(_))) else {
        unreachable!()
    };
    assert!(end.reason.to_string().contains("token expired"), "{end:?}");
    watch.all_flow();
    venue.say(json!({"action": 6, "error": {"code": 80003, "message": "moved elsewhere"}}));
    let Event::Disconnected(end) = watch.until(|_, event| matches!(event, Event::Disconnected(_))) else {
        unreachable!()
    };
    assert!(matches!(&end.reason, EndReason::ServerNotice { .. }), "{end:?}");
    watch.all_flow();
}
