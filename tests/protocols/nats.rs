//! NATS over WebSocket: a protocol that rules can't express, read through the public trait `Dialect`.
//!
//! <https://docs.nats.io/reference/reference-protocols/nats-protocol>
//!
//! What needed code: it is not JSON, one WebSocket message holds any part of its stream, and answers name nothing. The
//! dialect is that of `examples/nats`.

use crate::common::*;
use crate::venue::{Answer, Builder, CUT_OFF, Line, Tick, Venue};
use example::dialect::{CONNECT, Client, Nats, Request, feed as nats_feed};
use livefeed::{
    About, CloseReason, Dialect, EndReason, ErrorClass, Event, Feed, GapCause, NoticeAction, Payload,
    ReadItem, Readout, Repair, RepairStep,
};
use proptest::prelude::*;

#[path = "../../examples/nats/main.rs"]
pub mod example;

/// A topic is a subject.
fn venue() -> Builder {
    Venue::builder()
        .hello(|line, _| line.say(bytes("INFO {\"server_id\":\"X\",\"max_payload\":1048576}\r\n")))
        .hear_binary(|line, said| {
            std::str::from_utf8(said).unwrap().split_terminator("\r\n").for_each(|each| hear(line, each));
        })
        // Several messages in one, and a control line between them.
        .data(|tick: &Tick<'_>| {
            let (subject, sid, payload) =
                (tick.topic, tick.tag.as_str().unwrap(), format!("{} {}", tick.topic, tick.seq));
            let msg = format!("MSG {subject} {sid} {}\r\n{payload}\r\n", payload.len());
            bytes(&format!("{msg}PONG\r\n{msg}"))
        })
        .heartbeat(ms(50), |_| bytes("PING\r\n"))
        .ended(|subject, _| violation(subject))
}

fn bytes(text: &str) -> Vec<u8> {
    text.as_bytes().to_vec()
}

fn violation(subject: &str) -> Vec<u8> {
    bytes(&format!("-ERR 'Permissions Violation for Subscription to \"{subject}\"'\r\n"))
}

fn hear(line: &mut Line<'_>, said: &str) {
    match said.split(' ').collect::<Vec<_>>()[..] {
        ["CONNECT", options] if options.contains("\"verbose\":true") => line.say(bytes("+OK\r\n")),
        ["SUB", subject, sid] => match line.subscribe_as(subject, sid) {
            Answer::Granted => {
                line.keep(sid, subject);
                line.say(bytes("+OK\r\n"));
            }
            Answer::Already => panic!("{said}: the sid is in use"),
            Answer::Refused(_) => line.say(violation(subject)),
            Answer::Ignored => {}
        },
        ["UNSUB", sid] => {
            let subject = line.kept(sid);
            line.unsubscribe(subject.as_str().unwrap());
            line.say(bytes("+OK\r\n"));
        }
        ["PING"] => line.say(bytes("PONG\r\n")),
        ["PONG"] => line.alive(),
        _ => line.say(bytes("-ERR 'Unknown Protocol Operation'\r\n")),
    }
}

/// A feed of `feed.a` and `feed.b`, whose ladder is quick.
fn open(venue: &Venue) -> Feed {
    let client = Client::default();
    let of = |sid: &str| {
        let subscription = client.subscription(sid, &format!("feed.{sid}")).stale_after(ms(400));
        subscription.repair([RepairStep::Resubscribe(ms(400)), RepairStep::Reconnect])
    };
    nats_feed(&venue.url(), &client)
        .reconnect(|reconnect| {
            (reconnect.floor, reconnect.first, reconnect.max) = (ms(2), ms(5), ms(10));
        })
        .subscription(of("a"))
        .subscription(of("b"))
        .open()
        .unwrap()
}

/// Reads until a message of this subscription, each being its own.
fn until_data(feed: &Feed, sid: &str) -> Vec<Event> {
    let events = until(
        feed,
        |event| matches!(event, Event::Message(m) if m.subscriptions().iter().any(|id| id.as_str() == sid)),
    );
    for message in messages(&events) {
        let text = message.text().unwrap();
        let sids: Vec<String> = message.subscriptions().iter().map(|sid| format!("feed.{sid}")).collect();
        assert_eq!(sids, [text.split_once(' ').unwrap().0], "{message:?}");
    }
    events
}

#[test]
fn the_example_ends_by_itself() {
    example::main().unwrap();
}

#[test]
fn it_subscribes_and_answers_pings() {
    let venue = venue().cut_off_after(ms(500)).start();
    let feed = open(&venue);
    let mut events =
        until(&feed, |event| matches!(event, Event::Subscribed(s) if s.subscription.as_str() == "b"));
    events.extend(until_data(&feed, "b"));
    events.extend(until_data(&feed, "a"));
    let mut names = names(&events);
    names.retain(|name| name != "message");
    assert_eq!(names, ["connecting", "connected", "subscribed", "subscribed"]);
    until(&feed, |_| venue.signs(1) >= 15);
    assert_eq!(venue.on_wire().keys().copied().collect::<Vec<_>>(), [1]);
    assert_eq!((venue.grants(1, "feed.a"), venue.grants(1, "feed.b")), (1, 1));
    assert!(feed.health().is_fresh());
    feed.close(CEILING).unwrap();
}

#[test]
fn a_client_that_does_not_answer_is_cut_off() {
    let venue = venue().cut_off_after(ms(200)).start();
    let feed = feed(&venue.lab).open().unwrap();
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    assert!(
        matches!(events.last(), Some(Event::Disconnected(end)) if matches!(end.reason, EndReason::ClosedByPeer { code: Some(CUT_OFF), .. }))
    );
}

#[test]
fn one_subject_goes_mute() {
    let venue = venue().start();
    let feed = open(&venue);
    until_data(&feed, "b");
    venue.stall("feed.b");
    let (events, stale) = until_stale(&feed);
    assert_eq!((stale.subscription.unwrap().as_str(), stale.next), ("b", Repair::Resubscribe));
    assert!(messages(&events).len() > 10);
    let events = until_data(&feed, "b");
    let gaps: Vec<_> =
        events.iter().filter_map(|e| if let Event::Gap(gap) = e { Some(gap.cause) } else { None }).collect();
    assert_eq!(gaps, [GapCause::Resubscribed]);
    assert_eq!((venue.grants(1, "feed.a"), venue.grants(1, "feed.b")), (1, 2));
    feed.wait_fresh(CEILING).unwrap();
    feed.close(CEILING).unwrap();
}

#[test]
fn one_subject_stays_mute() {
    let venue = venue().start();
    let feed = open(&venue);
    until_data(&feed, "b");
    venue.mute("feed.b");
    assert_eq!(until_stale(&feed).1.next, Repair::Resubscribe);
    assert_eq!(until_stale(&feed).1.next, Repair::Reconnect);
    venue.wait_subscribed(2, &["feed.a", "feed.b"]);
    venue.unmute("feed.b");
    let events = until_data(&feed, "b");
    assert!(events.iter().any(|e| matches!(e, Event::Gap(gap) if gap.cause == GapCause::Reconnected)));
    assert_eq!((venue.grants(2, "feed.a"), venue.grants(2, "feed.b")), (1, 1));
}

#[test]
fn a_subject_is_refused_or_ended_alone() {
    let venue = venue().start();
    venue.refuse("feed.a", "");
    let feed = open(&venue);
    let words = "Permissions Violation for Subscription to \"feed.a\"";
    let events = until(&feed, |event| matches!(event, Event::Refused(_)));
    let Some(Event::Refused(refused)) = events.last() else { unreachable!() };
    assert_eq!((refused.subscription.as_str(), refused.class), ("a", ErrorClass::Refused));
    assert_eq!(refused.detail, words);
    until_data(&feed, "b");
    venue.allow("feed.a");
    venue.reset();
    until_data(&feed, "a");
    // The server's configuration changes: the socket stays, the data is gone.
    venue.end("feed.a");
    let events = until(&feed, |event| matches!(event, Event::Ended(_)));
    let Some(Event::Ended(ended)) = events.last() else { unreachable!() };
    assert_eq!((ended.subscription.as_str(), ended.detail.as_str()), ("a", words));
    until_data(&feed, "b");
    assert_eq!(venue.on_wire().keys().copied().collect::<Vec<_>>(), [2]);
}

#[test]
fn a_server_that_says_no_to_the_login_ends_the_feed() {
    let venue = Venue::builder()
        .hello(|line, _| line.say(bytes("INFO {}\r\n")))
        .hear_binary(|line, _| {
            line.say(bytes("-ERR 'Authorization Violation'\r\n"));
            line.close(1008, "Authentication Failure");
        })
        .start();
    let feed = open(&venue);
    let events = until(&feed, |event| matches!(event, Event::Closed(_)));
    let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
    assert!(
        matches!(&closed.reason, CloseReason::Fatal(EndReason::ServerError { detail }) if detail == "Authorization Violation"),
        "{closed:?}"
    );
}

/// What a dialect says about messages, one line each. Payloads are not shown: see `lengths`.
fn read(nats: &mut Nats, messages: &[&[u8]]) -> Vec<String> {
    let mut said = Vec::new();
    for message in messages {
        let mut out = Readout::new(*message);
        nats.read(Payload::Binary(message), &mut out);
        said.extend(out.items().iter().map(describe));
    }
    said
}

fn describe(item: &ReadItem) -> String {
    let who = |about: &About| match about {
        About::Name(name) => name.to_string(),
        About::Frame(frame) => frame.to_string(),
        About::All => "all".to_owned(),
        other => format!("{other:?}"),
    };
    match item {
        ReadItem::Data { subscriptions, payload } => {
            format!("data {subscriptions:?} {}", shown(payload.payload()))
        }
        ReadItem::Other(payload) => format!("other {}", shown(payload.payload())),
        ReadItem::Heartbeat => "heartbeat".to_owned(),
        ReadItem::Reply(payload) => format!("reply {}", shown(payload.payload())),
        ReadItem::Ack(about) => format!("ack {}", who(about)),
        ReadItem::Nack { about, class, .. } => format!("nack {} {}", who(about), class.name()),
        ReadItem::Ended { about, class, .. } => format!("ended {} {}", who(about), class.name()),
        ReadItem::Notice { action, .. } => format!("notice {}", action.name()),
        other => format!("{other:?}"),
    }
}

fn shown(payload: Payload<'_>) -> String {
    format!("{payload:?}")
}

/// One that has asked for both, in frames 1 and 2.
fn asked() -> (Client, Nats) {
    let client = Client::default();
    client.note(Request::Sub { frame: 1, subject: "feed.a".into() });
    client.note(Request::Sub { frame: 2, subject: "bad.x".into() });
    let nats = Nats::new(client.clone());
    (client, nats)
}

fn nats() -> Nats {
    asked().1
}

#[test]
fn several_in_one_message() {
    let said = read(
        &mut nats(),
        &[b"INFO {\"server_id\":\"X\"}\r\n+OK\r\nMSG feed.a a 5\r\nhello\r\nMSG feed.a a inbox.1 0\r\n\r\nping\r\nPONG\r\n"],
    );
    assert_eq!(
        said,
        [
            "heartbeat",
            "ack 1",
            "data [\"a\"] Text(\"hello\")",
            "data [\"a\"] Text(\"\")",
            "heartbeat",
            "reply Binary([80, 79, 78, 71, 13, 10])",
            "heartbeat",
        ]
    );
}

#[test]
fn payloads_are_what_they_are() {
    // Line ends and control words inside a payload mean nothing.
    let said = read(&mut nats(), &[b"MSG s a 11\r\n+OK\r\nPING\r\n\r\nMSG s a 2\r\n\xff\x00\r\n"]);
    assert_eq!(said, ["data [\"a\"] Text(\"+OK\\r\\nPING\\r\\n\")", "data [\"a\"] Binary([255, 0])"]);
}

#[test]
fn answers_are_for_requests_in_their_order() {
    let client = Client::default();
    client.begin(1);
    for request in [
        Request::Unsub,
        Request::Sub { frame: 5, subject: "feed.a".into() },
        Request::Sub { frame: 6, subject: "bad.x".into() },
        Request::Sub { frame: 7, subject: "two words".into() },
        Request::Sub { frame: 8, subject: "feed.b".into() },
    ] {
        client.note(request);
    }
    let stream = b"+OK\r\n+OK\r\n+OK\r\n-ERR 'Permissions Violation for Subscription to \"bad.x\"'\r\n\
                   -ERR 'Invalid Subject'\r\n+OK\r\n+OK\r\n";
    assert_eq!(
        read(&mut Nats::new(client), &[stream]),
        ["heartbeat", "heartbeat", "ack 5", "nack 6 refused", "nack 7 refused", "ack 8", "heartbeat"]
    );
}

#[test]
fn errors_are_about_somebody() {
    for (error, expected) in [
        ("'Authorization Violation'", "nack all feed_fatal"),
        ("'Stale Connection'", "nack all connection_fatal"),
    ] {
        assert_eq!(read(&mut nats(), &[format!("-ERR {error}\r\n").as_bytes()]), [expected], "{error}");
    }
    for error in [
        "'Permissions Violation for Subscription to \"who\"'",
        "'Permissions Violation for Publish to \"x\"'",
    ] {
        let said = read(&mut nats(), &[format!("-ERR {error}\r\n").as_bytes()]);
        assert!(said.len() == 1 && said[0].starts_with("other"), "{error}: {said:?}");
    }
    let said = read(&mut nats(), &[b"INFO {\"ldm\":true}\r\n"]);
    assert_eq!(said, ["notice reconnect_within"]);
}

#[test]
fn what_breaks_the_protocol_ends_the_connection() {
    let long = [b'x'; 70_000];
    for broken in [
        &b"MSG s a 5\r\nhello!\r\n"[..],
        b"MSG s a\r\n",
        b"MSG s a b c 5\r\n",
        b"MSG s a -1\r\n",
        b"MSG s a five\r\n",
        b"MSG s a 99999999999999999999999\r\n",
        b"MSG s a 8388609\r\n",
        b"\xff\r\n",
        &long,
    ] {
        let mut nats = nats();
        assert_eq!(read(&mut nats, &[broken]), ["notice reconnect"]);
        assert_eq!(read(&mut nats, &[b"+OK\r\n"]), Vec::<String>::new());
        nats.reset();
        assert_eq!(read(&mut nats, &[b"+OK\r\n"]), ["ack 1"]);
    }
}

#[test]
fn a_new_connection_begins_anew() {
    let mut nats = nats();
    assert_eq!(read(&mut nats, &[b"MSG feed.a a 50\r\nhel"]), Vec::<String>::new());
    nats.reset();
    assert_eq!(read(&mut nats, &[b"+OK\r\n"]), ["ack 1"]);
}

#[test]
fn the_first_request_is_a_line() {
    let options: serde_json::Value =
        serde_json::from_str(CONNECT.strip_prefix("CONNECT ").unwrap().trim_end()).unwrap();
    assert_eq!(options["verbose"], true);
    // The classes that the tests compare by name.
    assert_eq!((ErrorClass::Refused.name(), NoticeAction::Reconnect.name()), ("refused", "reconnect"));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Where the stream is cut into messages changes nothing.
    #[test]
    fn cuts_change_nothing(mut cuts in prop::collection::vec(0..200_usize, 0..12), sizes in prop::collection::vec(0..30_usize, 1..5)) {
        let mut stream = b"INFO {}\r\n+OK\r\n".to_vec();
        for size in &sizes {
            stream.extend(format!("MSG feed.a a {size}\r\n{}\r\nPING\r\n", "\r".repeat(*size)).bytes());
        }
        let whole = read(&mut nats(), &[&stream]);
        prop_assert_eq!(whole.len(), 2 + 3 * sizes.len());
        cuts.iter_mut().for_each(|cut| *cut = (*cut).min(stream.len()));
        cuts.extend([0, stream.len()]);
        cuts.sort_unstable();
        let parts: Vec<&[u8]> = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]).collect();
        prop_assert_eq!(read(&mut nats(), &parts), whole);
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "(MSG|PING|\\+OK|-ERR|INFO| |a|5|[0-9]|\r\n|'|\"){0,60}") {
        read(&mut nats(), &[&bytes, text.as_bytes(), &bytes]);
    }
}
