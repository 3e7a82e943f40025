//! Trust: what a server may do to a feed. Sizes are bounded, hostile bytes end a connection and nothing else, and a
//! plain line is never taken for a secure one.

use crate::common::{CEILING, Dice, frame, in_lab, names, shown, until};
use crate::delivery::fill_all;
use livefeed::lab::{Command, Lab, Received, Script, What};
use livefeed::{EndReason, Error, Event, Feed, FeedBuilder, Matcher, Subscription};
use std::time::{Duration, Instant};

fn feed(url: impl Into<livefeed::FeedUrl>) -> FeedBuilder {
    Feed::builder(url)
        .reconnect(|reconnect| {
            reconnect.floor = Duration::from_millis(1);
            reconnect.first = Duration::from_millis(1);
            reconnect.max = Duration::from_millis(2);
        })
        .close_timeout(Duration::from_secs(1))
}

/// Does its worst when told so: then no end is folded into one that nobody has read yet.
fn told() -> Script {
    Script::new().until_text(|text| text == "go")
}

/// How the next connection or attempt ends, and what came before.
#[track_caller]
fn next_end(feed: &Feed) -> (EndReason, Vec<Event>) {
    let events = until(feed, |event| {
        if matches!(event, Event::Connected(_)) {
            drop(feed.send("go"));
        }
        matches!(event, Event::Disconnected(_))
    });
    match events.last() {
        Some(Event::Disconnected(end)) => (end.reason.clone(), events),
        _ => panic!("{:?}", names(&events)),
    }
}

/// A figure of this process from the system, in KiB: `VmRSS`, `VmPeak`, ...
#[cfg(target_os = "linux")]
fn memory(figure: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(figure)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

// ---- T1 --------------------------------------------------------------------------------------------------

#[cfg(feature = "native-tls")]
#[test]
fn t1_tls_to_a_plain_server_and_plain_to_a_tls_server_end_typed() {
    let plain = Lab::start(Script::new()).unwrap();
    let secure = feed(plain.url().replace("ws:", "wss:")).open().unwrap();
    let (reason, events) = next_end(&secure);
    assert!(matches!(reason, EndReason::Tls { untrusted: false, .. }), "{reason:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Connected(_))));
    assert!(!plain.transcript().entries().iter().any(|entry| matches!(entry.what, What::Requested(_))));

    let secure = Lab::builder().tls(livefeed::lab::Certificate::Valid).start().unwrap();
    let plain = feed(secure.url().replace("wss:", "ws:")).open().unwrap();
    let (reason, events) = next_end(&plain);
    assert!(matches!(reason, EndReason::UpgradeInvalid { .. } | EndReason::Io { .. }), "{reason:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Connected(_))));
}

// ---- T3: sizes -------------------------------------------------------------------------------------------

fn sized(lab: &Lab) -> Feed {
    feed(lab.url()).limits(|limits| limits.message_bytes = 1000).open().unwrap()
}

#[track_caller]
fn assert_told(lab: &Lab, connection: usize, code: u16) {
    let told = lab.wait_for(
        |entry| {
            let close = &entry.what;
            entry.connection == connection
                && matches!(close, What::Received(Received::Close(Some((got, _)))) if *got == code)
        },
        CEILING,
    );
    assert!(told.is_some(), "no Close {code} on {connection}:\n{}", shown(lab));
}

#[test]
fn t3_a_message_of_exactly_the_limit_passes_and_one_byte_more_does_not() {
    let fragments = |size| Command::Fragments("y".repeat(size), 10);
    let lab = Lab::builder()
        .scripts(move |connection| match connection {
            1 => told().then(Command::SendSized(1000)).then(Command::SendSized(1001)),
            2 => told().then(fragments(1000)).then(fragments(1001)),
            _ => Script::new().send("recovered"),
        })
        .start()
        .unwrap();
    let feed = sized(&lab);
    for connection in 1..=2 {
        let (reason, events) = next_end(&feed);
        let EndReason::TooLarge { size, limit: 1000 } = reason else { panic!("{reason:?}") };
        assert!(size > 1000, "{size}");
        let sizes: Vec<usize> = events.into_iter().filter_map(Event::into_message).map(|m| m.len()).collect();
        assert_eq!(sizes, [1000]);
        assert_told(&lab, connection, 1009);
    }
    until(&feed, |event| matches!(event, Event::Message(message) if message.text() == Some("recovered")));
}

#[test]
fn t3_an_announced_size_is_refused_and_not_allocated() {
    const SIZES: [u64; 4] = [1001, 64 << 30, 1 << 62, i64::MAX.unsigned_abs()];
    let lab = Lab::builder()
        .scripts(|connection| {
            let announced = |size| told().violate(livefeed::lab::Violation::Announced(size));
            SIZES.get(connection - 1).map_or(Script::new().send("recovered"), |size| announced(*size))
        })
        .start()
        .unwrap();
    #[cfg(target_os = "linux")]
    let before = memory("VmPeak");
    let feed = sized(&lab);
    for (connection, announced) in SIZES.into_iter().enumerate() {
        let (reason, _) = next_end(&feed);
        assert_eq!(reason, EndReason::TooLarge { size: announced, limit: 1000 });
        assert_told(&lab, connection + 1, 1009);
    }
    until(&feed, |event| matches!(event, Event::Message(message) if message.text() == Some("recovered")));
    #[cfg(target_os = "linux")]
    assert!(memory("VmPeak") < before + (8 << 20), "from {before} to {} KiB", memory("VmPeak"));
}

#[test]
fn t3_endless_fragments_are_bounded() {
    let fragment = frame(0, &[b'x'; 100]);
    let start = frame(1, &[b'x'; 100]);
    let lab = Lab::builder()
        .scripts(move |connection| match connection {
            1 => (0..200).fold(told().then(Command::Raw(start.clone())), |script, _| {
                script.then(Command::Raw(fragment.clone()))
            }),
            _ => Script::new().send("recovered"),
        })
        .start()
        .unwrap();
    let feed = sized(&lab);
    let (reason, _) = next_end(&feed);
    assert!(matches!(reason, EndReason::TooLarge { limit: 1000, .. }), "{reason:?}");
    until(&feed, |event| matches!(event, Event::Message(message) if message.text() == Some("recovered")));
}

#[test]
fn t3_the_answer_to_the_upgrade_is_bounded() {
    let lab = Lab::builder()
        .scripts(|connection| match connection {
            1 => Script::endless_header(),
            2 => Script::long_header(3000),
            _ => Script::long_header(1500),
        })
        .start()
        .unwrap();
    let builder = feed(lab.url()).limits(|limits| limits.upgrade_response_bytes = 2048);
    let feed = builder.open().unwrap();
    let events = until(&feed, |event| matches!(event, Event::Connected(_)));
    let mut ends = 0;
    for event in events {
        if let Event::Disconnected(end) = event {
            assert!(matches!(end.reason, EndReason::UpgradeInvalid { .. }), "{end:?}");
            ends += end.attempts;
        }
    }
    assert_eq!(ends, 2);
}

/// A run of pings, each with its number.
fn pings(from: u32, to: u32) -> Vec<u8> {
    (from..to).flat_map(|number| frame(0x89, &number.to_be_bytes())).collect()
}

fn pongs(lab: &Lab, connection: usize) -> Vec<u32> {
    let number = |what: &What| match what {
        What::Received(Received::Pong(payload)) => Some(u32::from_be_bytes((**payload).try_into().unwrap())),
        _ => None,
    };
    lab.transcript().of(connection).filter_map(number).collect()
}

#[test]
fn t3_a_ping_flood_gets_no_more_pongs_than_pings_and_always_the_last_one() {
    const PINGS: u32 = 100_000;
    let lab = Lab::start(Script::new()).unwrap();
    let feed = feed(lab.url()).open().unwrap();
    feed.wait_connected(CEILING).unwrap();
    for from in (0..PINGS).step_by(10_000) {
        lab.control().all(Command::Raw(pings(from, from + 10_000)));
    }
    lab.control().all(Command::Send("behind".into()));
    until(&feed, |event| matches!(event, Event::Message(_)));
    let last = (PINGS - 1).to_be_bytes();
    in_lab(&lab, |what| matches!(what, What::Received(Received::Pong(payload)) if **payload == last));
    let pongs = pongs(&lab, 1);
    assert!(pongs.is_sorted_by(|a, b| a < b), "answered twice, or out of order");
    assert_eq!(feed.health().epoch, 1);
}

#[test]
fn t3_a_ping_flood_of_a_peer_that_reads_no_pongs_holds_one() {
    const PINGS: u32 = 50_000;
    let lab = Lab::start(Script::new().then(Command::StopReading)).unwrap();
    let builder = feed(lab.url()).limits(|limits| {
        // Little is read at once, so that many pongs are due.
        limits.read_buffer_bytes = 1024;
        limits.send_bytes = 1 << 20;
    });
    let feed = builder.open().unwrap();
    feed.wait_connected(CEILING).unwrap();
    let receipts = fill_all(&feed, &lab);
    for from in (0..PINGS).step_by(10_000) {
        lab.control().all(Command::Raw(pings(from, from + 10_000)));
    }
    lab.control().all(Command::Send("behind".into()));
    until(&feed, |event| matches!(event, Event::Message(_)));
    lab.control().all(Command::StartReading);
    let last = (PINGS - 1).to_be_bytes();
    in_lab(&lab, |what| matches!(what, What::Received(Received::Pong(payload)) if **payload == last));
    // Some may have been written while a buffer grew; all that were held at once are one.
    let pongs = pongs(&lab, 1);
    assert!(pongs.len() < 50, "{} pongs", pongs.len());
    assert_eq!(receipts.last().unwrap().wait(CEILING), Ok(livefeed::Outcome::Written));
}

#[test]
fn t3_a_ping_flood_costs_no_memory() {
    const PINGS: u64 = 700_000;
    let lab = Lab::builder()
        .scripts(|connection| match connection {
            1 => Script::new().then(Command::PingFlood),
            _ => Script::new().send("recovered"),
        })
        .start()
        .unwrap();
    let feed = feed(lab.url())
        .limits(|limits| limits.write_timeout = Duration::from_secs(30))
        .connect(|connect| connect.nodelay = false)
        .open()
        .unwrap();
    feed.wait_connected(CEILING).unwrap();
    #[cfg(target_os = "linux")]
    let before = memory("VmRSS");
    // With 127 bytes each they would be 89 MB, and a list of their pongs more than 110 MB.
    in_lab(&lab, |what| matches!(what, What::Sent { count, .. } if *count >= PINGS));
    #[cfg(target_os = "linux")]
    {
        let grown = memory("VmRSS").saturating_sub(before) / 1024;
        assert!(grown < 80, "grew by {grown} MiB");
    }
    assert_eq!(feed.health().epoch, 1, "it is alive");
    lab.control().connection(1, Command::Reset);
    until(&feed, |event| matches!(event, Event::Message(message) if message.text() == Some("recovered")));
}

// ---- T4: hostile bytes -----------------------------------------------------------------------------------

/// Frames as they should be, of all kinds.
fn proper(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..dice.below(6) {
        let size = [0, 1, 5, 125, 126, 300][dice.below(6)];
        let payload: Vec<u8> = match dice.below(3) {
            0 => (0..size).map(|_| dice.byte()).collect(),
            1 => br#"{"topic":"a","seq":[1,2,{"x":"\u00"#.iter().copied().cycle().take(size).collect(),
            _ => "größe 🎵 ".bytes().cycle().take(size).collect(),
        };
        let first = [0x81, 0x82, 0x89, 0x8A, 0x01, 0x02, 0x00, 0x80, 0x88][dice.below(9)];
        let payload = if first & 8 == 8 { &payload[..size.min(125)] } else { &payload[..] };
        bytes.extend(frame(first, payload));
    }
    bytes
}

/// Bytes of a server that means no good: noise, or frames with faults in them.
fn hostile(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = proper(dice);
    match dice.below(6) {
        0 => bytes = (0..dice.below(200)).map(|_| dice.byte()).collect(),
        1 => bytes.truncate(dice.below(bytes.len())),
        2..4 => {
            for _ in 0..=dice.below(3) {
                let at = dice.below(bytes.len());
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = dice.byte();
                }
            }
        }
        4 => {
            let at = dice.below(bytes.len());
            bytes.insert(at, dice.byte());
        }
        _ => {
            // A length of 2 or 8 bytes that says anything.
            bytes.extend([0x81, 126 + dice.byte() % 2]);
            bytes.extend(dice.roll().to_be_bytes());
        }
    }
    bytes
}

/// Opens a feed to a server that is hostile on this many connections, each in its way, and proper on the next.
fn besieged(cases: usize, seed: u64, script: impl Fn(&mut Dice) -> Script + Send + Sync + 'static) {
    let lab = Lab::builder()
        .scripts(move |connection| {
            if connection <= cases {
                script(&mut Dice(seed.wrapping_add(connection as u64 * 7919)))
            } else {
                Script::new().send("recovered")
            }
        })
        .start()
        .unwrap();
    let feed = feed(lab.url())
        .limits(|limits| limits.message_bytes = 10_000)
        .heartbeat(Matcher::pointer("/topic", "beat"))
        .subscription(Subscription::new("a").data(Matcher::pointer("/topic", "a")).subscribe_text("a"))
        // Some of these answers would be final, were they the first.
        .reconnect(|reconnect| reconnect.fatal_when_never_up = false)
        .open()
        .unwrap();
    let mut case = 0;
    while case < cases {
        let (reason, events) = next_end(&feed);
        // Attempts that fail while nobody looks are folded into one.
        case += events
            .iter()
            .map(|event| if let Event::Disconnected(end) = event { end.attempts as usize } else { 0 })
            .sum::<usize>();
        let is_typed = matches!(
            reason,
            EndReason::Eof
                | EndReason::Io { .. }
                | EndReason::Protocol { .. }
                | EndReason::TooLarge { .. }
                | EndReason::ClosedByPeer { .. }
                | EndReason::UpgradeInvalid { .. }
                | EndReason::UpgradeRefused { .. }
        );
        assert!(is_typed, "up to case {case} of seed {seed}: {reason:?}\n{}", shown(&lab));
        for event in events {
            assert!(!matches!(&event, Event::Alert(alert) if alert.kind.name() == "callback_panicked"));
            let _ = (format!("{event:?}"), event.to_json(feed.name()));
        }
    }
    until(&feed, |event| matches!(event, Event::Message(message) if message.text() == Some("recovered")));
    feed.close(CEILING).unwrap();
    assert!(!lab.transcript().entries().iter().any(|entry| matches!(entry.what, What::Violation(_))));
}

#[test]
fn t4_hostile_frames_end_a_connection_typed_and_nothing_else() {
    besieged(400, 1, |dice| told().then(Command::Raw(hostile(dice))).then(Command::Fin));
}

#[test]
fn t4_hostile_answers_to_the_upgrade_end_an_attempt_typed_and_nothing_else() {
    const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                          Content-Length: 12\r\nLocation: //x@y/?q\r\n\
                          Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nhello, world";
    besieged(200, 2, |dice| {
        let mut bytes = ANSWER.as_bytes().to_vec();
        if dice.below(2) == 0 {
            bytes[9..12].copy_from_slice([b"200", b"302", b"404", b"503", b"100", b"999"][dice.below(6)]);
        }
        for _ in 0..dice.below(4) {
            let at = dice.below(bytes.len());
            bytes[at] = dice.byte();
        }
        if dice.below(3) == 0 {
            bytes.truncate(dice.below(bytes.len()));
        }
        Script::raw_response(bytes).then(Command::Fin)
    });
}

#[test]
fn t4_each_breach_of_the_protocol_is_typed_and_told() {
    use livefeed::lab::Violation::{
        BadCloseCode, BadCloseReason, FragmentedControl, Garbage, InterruptedMessage, InvalidUtf8,
        LoneContinuation, LongControl, MaskedFrame, ReservedBits, ShortClose, UnknownControlOpcode,
        UnknownOpcode,
    };
    let all = [
        (MaskedFrame, 1002),
        (ReservedBits, 1002),
        (UnknownOpcode, 1002),
        (UnknownControlOpcode, 1002),
        (FragmentedControl, 1002),
        (LongControl, 1002),
        (InvalidUtf8, 1007),
        (ShortClose, 1002),
        (BadCloseCode, 1002),
        (BadCloseReason, 1007),
        (LoneContinuation, 1002),
        (InterruptedMessage, 1002),
        (Garbage, 1002),
    ];
    let lab = Lab::builder()
        .scripts(move |connection| match all.get(connection - 1) {
            Some((how, _)) => told().violate(*how),
            None => Script::new().send("recovered"),
        })
        .start()
        .unwrap();
    let feed = feed(lab.url()).open().unwrap();
    for (at, (how, code)) in all.into_iter().enumerate() {
        let (reason, _) = next_end(&feed);
        // Of a Close code that must not be sent tungstenite makes a 1002 of the peer.
        let is_typed = match how {
            BadCloseCode => matches!(reason, EndReason::ClosedByPeer { code: Some(1002), .. }),
            _ => matches!(reason, EndReason::Protocol { .. }),
        };
        assert!(is_typed, "{how:?}: {reason:?}");
        assert_told(&lab, at + 1, code);
    }
    until(&feed, |event| matches!(event, Event::Message(message) if message.text() == Some("recovered")));
}

#[test]
fn t4_a_wrong_configuration_names_its_field() {
    let subscription = || Subscription::new("a").data(Matcher::pointer("no slash", 1));
    for (wanted, builder) in [
        ("url", feed("https://h/")),
        ("queue.messages", feed("ws://h/").queue(|queue| queue.messages = 0)),
        ("headers", feed("ws://h/").header("a b", "x")),
        ("subscriptions[0].data.pointer", feed("ws://h/").subscription(subscription())),
        ("reconnect.floor", feed("ws://h/").reconnect(|reconnect| reconnect.floor = Duration::from_secs(99))),
        ("ping.timeout", feed("ws://h/").ping(|ping| ping.timeout = Duration::ZERO)),
    ] {
        let began = Instant::now();
        match builder.open() {
            Err(Error::Config { path, problem }) => assert_eq!(path, wanted, "{problem}"),
            other => panic!("{wanted}: {other:?}"),
        }
        assert!(began.elapsed() < Duration::from_secs(2));
    }
    // And what is right opens at once, whether anybody is there or not.
    let began = Instant::now();
    drop(feed("ws://127.0.0.1:1/").open().unwrap());
    assert!(began.elapsed() < Duration::from_secs(2));
}
