//! Those who watch the wire see all of it, and hold up nothing but by what they take.

use crate::common::{CEILING, feed, sub, until};
use livefeed::crossbeam_channel::{Receiver, unbounded};
use livefeed::lab::{Command, Incoming, Lab, Script};
use livefeed::{AlertKind, Codec, Direction, Event, FeedBuilder, Frame, FrameKind, LoginStep, Matcher};
use std::time::Instant;

/// `<` and `>`, the kind, and the payload.
fn line(frame: &Frame<'_>) -> String {
    let arrow = if frame.direction == Direction::Sent { '>' } else { '<' };
    format!("{} {arrow} {:?} {}", frame.epoch, frame.kind, String::from_utf8_lossy(frame.payload))
}

fn is(event: &Event, payload: &[u8]) -> bool {
    matches!(event, Event::Message(message) if message.as_bytes() == payload)
}

fn watched(builder: FeedBuilder) -> (FeedBuilder, Receiver<(String, Instant)>) {
    let (sender, frames) = unbounded();
    (builder.on_frame(move |frame| sender.send((line(frame), frame.at)).unwrap()), frames)
}

#[test]
fn each_frame_is_seen_in_both_directions_logins_control_frames_and_codecs_before_they_are_undone() {
    let lab = Lab::start(Script::new().react(|incoming| match incoming {
        Incoming::Text("hello") => vec![Command::Send("welcome".into())],
        Incoming::Text("subscribe btc") => vec![
            Command::Ping(b"p".to_vec()),
            Command::Fragments("{\"topic\":\"btc\"}\n{\"topic\":\"btc\"}".into(), 3),
            Command::SendBinary(b"bin".to_vec()),
        ],
        _ => Vec::new(),
    }))
    .unwrap();
    let builder = feed(&lab)
        .login(LoginStep::send_text("hello").expecting(Matcher::text("welcome")))
        .subscription(sub("btc"))
        .codec(Codec::Lines);
    let (builder, frames) = watched(builder);
    let begin = Instant::now();
    let feed = builder.open().unwrap();
    let last = |line: &str| line.contains("Pong");
    let mut seen = Vec::new();
    let mut at = begin;
    while !seen.iter().any(|line: &String| last(line)) {
        let (line, when) = frames.recv_timeout(CEILING).unwrap_or_else(|_| panic!("{seen:#?}"));
        assert!(when >= begin && when <= Instant::now());
        at = at.max(when);
        seen.push(line);
    }
    let order =
        |what: &str| seen.iter().position(|line| line == what).unwrap_or_else(|| panic!("{what}: {seen:#?}"));
    assert!(order("1 > Text hello") < order("1 < Text welcome"));
    assert!(order("1 < Text welcome") < order("1 > Text subscribe btc"));
    assert!(order("1 > Text subscribe btc") < order("1 < Ping p"));
    assert!(order("1 < Ping p") < order("1 > Pong p"));
    until(&feed, |event| is(event, b"bin"));
    feed.close(CEILING).unwrap();
    seen.extend(frames.try_iter().map(|(line, _)| line));
    for what in [
        "1 < Text {\"topic\":\"btc\"}\n{\"topic\":\"btc\"}",
        "1 < Binary bin",
        "1 > Close \u{3}\u{fffd}",
        "1 < Close \u{3}\u{fffd}",
    ] {
        assert_eq!(seen.iter().filter(|line| *line == what).count(), 1, "{what}: {seen:#?}");
    }
}

#[test]
fn a_panic_of_one_who_watches_is_caught_and_the_feed_goes_on() {
    let lab = Lab::start(Script::new().send("a").send("b")).unwrap();
    let builder = feed(&lab).on_frame(|frame| assert!(frame.payload != b"a", "a bug of the application"));
    let feed = builder.open().unwrap();
    let events = until(&feed, |event| is(event, b"b"));
    assert!(events.iter().any(|event| matches!(
        event,
        Event::Alert(alert) if matches!(alert.kind, AlertKind::CallbackPanicked { callback: "on_frame", .. })
    )));
    feed.close(CEILING).unwrap();
}

#[test]
fn t2_a_frame_shows_its_length_and_not_what_it_holds() {
    let lab = Lab::start(Script::new().send("hunter2 from the server")).unwrap();
    let (sender, frames) = unbounded();
    let builder = feed(&lab).on_frame(move |frame| {
        if frame.kind == FrameKind::Text {
            sender.send((format!("{frame:?} {frame:#?}"), frame.payload.len())).unwrap();
        }
    });
    let feed = builder.open().unwrap();
    let (debug, length) = frames.recv_timeout(CEILING).unwrap();
    assert!(debug.contains(&format!("bytes: {length}")) && !debug.contains("hunter2"), "{debug}");
    feed.close(CEILING).unwrap();
}
