//! The dialect of the NATS example: a protocol that rules can't express, read through the public trait.

#![allow(clippy::unwrap_used, reason = "a test")]

#[path = "../examples/nats/dialect.rs"]
mod dialect;

use dialect::{CONNECT, Nats, sub, unsub};
use livefeed::{About, Dialect, ErrorClass, NoticeAction, Payload, ReadItem, Readout};
use proptest::prelude::*;

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
        About::Oldest => "oldest".to_owned(),
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

fn nats() -> Nats {
    Nats::new([("a", "feed.a"), ("b", "bad.x")])
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
            "ack oldest",
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
fn errors_are_about_somebody() {
    for (error, expected) in [
        ("'Permissions Violation for Subscription to \"bad.x\"'", "ended b refused"),
        ("'Invalid Subject'", "nack oldest refused"),
        ("'Authorization Violation'", "nack all connection_fatal"),
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
        assert_eq!(read(&mut nats, &[b"+OK\r\n"]), ["ack oldest"]);
    }
}

#[test]
fn a_new_connection_begins_anew() {
    let mut nats = nats();
    assert_eq!(read(&mut nats, &[b"MSG feed.a a 50\r\nhel"]), Vec::<String>::new());
    nats.reset();
    assert_eq!(read(&mut nats, &[b"+OK\r\n"]), ["ack oldest"]);
}

#[test]
fn requests_are_lines() {
    assert_eq!(sub("feed.a", "a"), b"SUB feed.a a\r\n");
    assert_eq!(unsub("a"), b"UNSUB a\r\n");
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
