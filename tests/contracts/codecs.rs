//! What stands between a WebSocket message and the messages in it, and protocols that only code can read.

use crate::common::{CEILING, feed, healthy, messages, ms, until};
use crate::proto::{asked, brief, briefs, speaking};
use crate::watch::{handled, until_from};
use flate2::Compression;
use flate2::write::GzEncoder;
use livefeed::lab::{Command, Incoming, Lab, Script};
use livefeed::{
    About, Codec, Dialect, EndReason, ErrorClass, Event, Matcher, NoticeAction, Payload, Readout, Rule,
    Subscription, SubscriptionState,
};
use serde_json::json;
use std::io::Write;

fn gzip(text: &str) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(text.as_bytes()).unwrap();
    encoder.finish().unwrap()
}

fn sub(name: &str) -> Subscription {
    Subscription::new(name)
}

/// Answers the subscribe message with one frame.
fn answering(answer: impl Fn(u64) -> Command + Send + Sync + 'static) -> Script {
    Script::new().react(move |incoming| match incoming {
        Incoming::Text(text) if text.contains("\"sub\"") => vec![answer(asked(text).id)],
        _ => Vec::new(),
    })
}

/// Data, acks and data again in one frame, with a second ack that is about nobody.
fn inner(id: u64) -> [String; 6] {
    [
        json!({"x": 0}).to_string(),
        json!({"ack": id}).to_string(),
        json!({"ch": "a", "n": 1}).to_string(),
        json!({"end": "a"}).to_string(),
        json!({"x": 1}).to_string(),
        json!({"ch": "a", "n": 2}).to_string(),
    ]
}

const EXPECTED: [&str; 6] = [
    r#" {"x":0}"#,
    "subscribed a",
    r#"a {"ch":"a","n":1}"#,
    "ended a retry_later: ",
    r#" {"x":1}"#,
    r#"a {"ch":"a","n":2}"#,
];

#[test]
fn what_one_frame_holds_takes_effect_in_its_order() {
    let lines = |id| Command::Send(inner(id).join("\n"));
    let items = |id| Command::Send(format!("[{}]", inner(id).join(",")));
    let gzipped = |id| Command::SendBinary(gzip(&inner(id).join("\n")));
    let cases: [(Script, &[Codec]); 3] = [
        (answering(lines), &[Codec::Lines]),
        (answering(items), &[Codec::Items]),
        (answering(gzipped), &[Codec::Gzip, Codec::Lines]),
    ];
    for (script, codecs) in cases {
        let lab = Lab::start(script).unwrap();
        let build = || {
            codecs.iter().fold(speaking(&lab), |builder, codec| builder.codec(*codec)).subscription(sub("a"))
        };
        let feed = build().open().unwrap();
        let events = briefs(&until(&feed, |event| brief(event).contains("\"n\":2")));
        assert_eq!(events[2..], EXPECTED, "{codecs:?}");
        // All six are counted, each once, and what was data before the end is in the subscription's account.
        let health = healthy(&feed, &lab, |health| health.messages == 6);
        assert_eq!((health.unmatched, health.subscriptions[0].messages), (2, 2));
        let (feed, events) = handled(build());
        let events = briefs(&until_from(&events, |event| brief(event).contains("\"n\":2")));
        assert_eq!(events[2..], EXPECTED, "{codecs:?}");
        feed.close(CEILING).unwrap();
    }
}

#[test]
fn data_alone_behind_an_ack_in_one_frame_counts() {
    // After the ack nothing but data, then an ack again: what stands between them must not be lost to the accounts.
    let script = answering(|id| {
        Command::Send(
            [
                json!({"ack": id}),
                json!({"ch": "a"}),
                json!({"ack": 77}),
                json!({"ch": "a"}),
                json!({"ack": 78}),
            ]
            .map(|it| it.to_string())
            .join("\n"),
        )
    });
    let lab = Lab::start(script).unwrap();
    let feed = speaking(&lab).codec(Codec::Lines).subscription(sub("a")).open().unwrap();
    let events = briefs(&until(&feed, |event| brief(event).contains("78")));
    let expected = ["subscribed a", r#"a {"ch":"a"}"#, r#" {"ack":77}"#, r#"a {"ch":"a"}"#, r#" {"ack":78}"#];
    assert_eq!(events[2..], expected);
    let health = healthy(&feed, &lab, |health| health.messages == 5);
    assert_eq!(
        (health.subscriptions[0].messages, health.subscriptions[0].state),
        (2, SubscriptionState::Live)
    );
}

#[test]
fn what_can_not_be_decoded_ends_the_connection_typed() {
    let mut cut = gzip("{\"ch\":\"a\"}");
    cut.truncate(12);
    for broken in [cut, b"\x1f\x8b\x08garbage, and more of it".to_vec()] {
        // What does not even begin as gzip passes.
        let first =
            Script::new().then(Command::SendBinary(gzip("fine"))).then(Command::SendBinary(broken.clone()));
        let plan = move |connection| if connection == 1 { first.clone() } else { Script::new() };
        let lab = Lab::builder().scripts(plan).start().unwrap();
        let feed = feed(&lab).codec(Codec::Gzip).open().unwrap();
        let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
        let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
        assert!(matches!(end.reason, EndReason::Protocol { .. }), "{end:?}");
        assert_eq!(messages(&events).len(), 1, "what came before it is there");
        until(&feed, |event| matches!(event, Event::Connected(connected) if connected.epoch == 2));
    }
}

#[test]
fn a_bomb_ends_the_connection_before_it_is_unpacked() {
    let bomb = gzip(&"x".repeat(8 << 20));
    assert!(bomb.len() < 64 << 10);
    let lab = Lab::start(Script::new().then(Command::SendBinary(bomb))).unwrap();
    let feed = feed(&lab).codec(Codec::Gzip).limits(|limits| limits.message_bytes = 1 << 20).open().unwrap();
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
    assert!(matches!(end.reason, EndReason::Protocol { .. } | EndReason::TooLarge { .. }), "{end:?}");
    assert!(messages(&events).is_empty());
}

/// `OP NAME REST` in lines of binary or text messages.
struct Lines;

impl Dialect for Lines {
    fn read(&mut self, message: Payload<'_>, out: &mut Readout) {
        for line in String::from_utf8_lossy(message.as_bytes()).lines() {
            let mut words = line.splitn(3, ' ');
            let (op, name, rest) =
                (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
            match op {
                "MSG" => out.data(&[name], rest.to_owned()),
                "OK" => out.ack(About::Name(name.into())),
                "NO" => out.nack(About::Name(name.into()), ErrorClass::Refused, rest),
                "END" => out.ended(About::Name(name.into()), ErrorClass::Refused, rest),
                "ALIVE" => out.heartbeat(),
                "PING" => out.reply(format!("PONG {name}")),
                "BYE" => out.notice(NoticeAction::Reconnect, name),
                "BUG" => panic!("no idea of {name}"),
                _ => out.other(line.to_owned()),
            }
        }
    }
}

fn lines(lab: &Lab) -> livefeed::FeedBuilder {
    feed(lab).dialect(Lines).defaults(|terms| {
        terms.subscribe_text("SUB ${name} ${id}").unsubscribe_text("UNSUB ${name}").ack(livefeed::Ack::Rule)
    })
}

#[test]
fn a_dialect_says_what_one_message_holds_in_order() {
    let script = Script::new().react(|incoming| match incoming {
        Incoming::Text("SUB a 1") => vec![Command::Send(
            "INFO x\nOK a\nMSG a 1\nMSG b 2\nEND a over\nMSG c 3\nPING 1\nPING 2\nPING 3\nBYE now".into(),
        )],
        _ => Vec::new(),
    });
    for handler in [false, true] {
        let lab = Lab::start(script.clone()).unwrap();
        let builder = lines(&lab).subscription(sub("a"));
        let is_last = |event: &Event| matches!(event, Event::Disconnected(_));
        let events = if handler {
            let (feed, events) = handled(builder);
            let events = until_from(&events, is_last);
            feed.close(CEILING).unwrap();
            events
        } else {
            until(&builder.open().unwrap(), is_last)
        };
        let expected = [
            " INFO x",
            "subscribed a",
            "a 1",
            " 2",
            "ended a refused: over",
            "alert subscription_refused",
            " 3",
            "disconnected: server notice: now",
        ];
        assert_eq!(briefs(&events)[2..], expected);
        // No answer takes the place of another.
        let transcript = lab.transcript();
        assert_eq!(transcript.received_texts(1), ["SUB a 1", "PONG 1", "PONG 2", "PONG 3"]);
    }
}

#[test]
fn what_is_waited_for_is_seen_whatever_the_dialect_says_of_it() {
    // Data of a subscription and of none, neither, and a heartbeat, of which nothing is put out.
    for (answer, kept) in [
        ("MSG a {\"re\":N}", false),
        ("MSG ? {\"re\":N}", false),
        ("{\"re\":N}", false),
        ("MSG a 1\nMSG ? {\"re\":N}\nMSG a 2", true),
    ] {
        let script = Script::new().react(move |incoming| match incoming {
            Incoming::Text("ALIVE?") => vec![Command::Send("ALIVE !".into())],
            Incoming::Text(text) => text.strip_prefix("ASK ").map_or_else(Vec::new, |id| {
                vec![Command::Send(answer.replace('N', id)), Command::Send("MSG a end".into())]
            }),
            Incoming::Binary(_) => Vec::new(),
        });
        let lab = Lab::start(script).unwrap();
        let alive = livefeed::Keepalive::every(ms(20)).send_text("ALIVE?");
        let alive = alive.expect(Matcher::prefix("ALIVE")).within(CEILING);
        let feed = lines(&lab).subscription(sub("a").subscribe_text("")).keepalive(alive).open().unwrap();
        feed.wait_connected(CEILING).unwrap();
        let reply = Matcher::pointer("/re", "${id}");
        let got = feed.request("ASK ${id}", reply, CEILING).unwrap();
        assert!(got.text().unwrap().starts_with("{\"re\":"), "{got:?}");
        let events = until(&feed, |event| brief(event) == "a end");
        let texts: Vec<_> = messages(&events).iter().map(|it| it.text().unwrap().to_owned()).collect();
        assert_eq!(texts, if kept { vec!["1", "2", "end"] } else { vec!["end"] });
    }
}

#[test]
fn a_keepalive_hears_its_answer_through_a_dialect() {
    for answer in ["ALIVE !", "MSG a ALIVE", "ALIVED"] {
        let script = Script::new().react(move |incoming| match incoming {
            Incoming::Text("ALIVE?") => vec![Command::Send(answer.into())],
            _ => Vec::new(),
        });
        let lab = Lab::start(script).unwrap();
        let alive = livefeed::Keepalive::every(ms(20)).send_text("ALIVE?");
        let alive = alive.expect(Matcher::prefix("ALIVE")).within(ms(1500));
        let feed = lines(&lab).keepalive(alive).open().unwrap();
        let asked = |count| {
            let mut seen = 0;
            crate::common::in_lab(&lab, |what| {
                use livefeed::lab::{Received, What};
                seen +=
                    i32::from(matches!(what, What::Received(Received::Text(text)) if **text == *"ALIVE?"));
                seen == count
            });
        };
        asked(3); // one at a time: the others were answered
        assert_eq!(lab.connections(), 1, "{answer}");
        let events = briefs(&feed.try_iter().collect::<Vec<_>>());
        assert!(events.iter().all(|event| !event.contains("ALIVE")), "it is for nobody else: {events:?}");
    }
}

#[test]
fn a_dialect_that_panics_ends_the_connection_and_is_reported() {
    let lab = Lab::start(Script::new().send("MSG a 1\nBUG it\nMSG a 2")).unwrap();
    let feed = lines(&lab).reconnect(|reconnect| reconnect.first = ms(10)).open().unwrap();
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let events = briefs(&events);
    assert!(events.contains(&" 1".to_owned()) && !events.contains(&" 2".to_owned()), "{events:?}");
    assert!(events.contains(&"alert callback_panicked".to_owned()), "{events:?}");
    assert!(events.last().unwrap().contains("no idea of it"), "{events:?}");
    until(&feed, |event| matches!(event, Event::Connected(connected) if connected.epoch == 2));
}

#[test]
fn a_flood_of_what_a_dialect_answers_is_bounded() {
    // The server reads nothing, and asks without end.
    let asks = "PING x\n".repeat(2000);
    let lab =
        Lab::start(Script::new().then(Command::StopReading).flood(livefeed::lab::Flood::of_texts([asks])))
            .unwrap();
    let feed = lines(&lab)
        .limits(|limits| (limits.write_timeout, limits.send_bytes) = (ms(300), 256 << 10))
        .open()
        .unwrap();
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
    assert!(matches!(end.reason, EndReason::WriteStalled { .. } | EndReason::Protocol { .. }), "{end:?}");
}

#[test]
fn rules_apply_behind_the_codecs() {
    let script = Script::new().then(Command::SendBinary(gzip(r#"{"ping":7}"#)));
    let lab = Lab::start(script).unwrap();
    let rule = Rule::heartbeat(Matcher::exists("/ping")).reply_json(json!({"pong": "${/ping}"}));
    let _feed = feed(&lab).codec(Codec::Gzip).rule(rule).open().unwrap();
    crate::common::in_lab(
        &lab,
        |what| matches!(what, livefeed::lab::What::Received(livefeed::lab::Received::Text(text)) if **text == *r#"{"pong":7}"#),
    );
}
