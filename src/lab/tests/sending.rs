//! Topics, floods and single messages.

use super::*;

#[test]
fn topics_are_numbered_without_a_hole_over_connections() {
    let lab =
        Lab::start(Script::of_topics([Topic::new("btc").every(ms(1))]).until_sent(20).silence()).unwrap();
    for start in [1, 21] {
        let mut socket = client(&lab);
        for seq in start..start + 20 {
            assert_eq!(data(&text(&mut socket)), ("btc".into(), seq));
        }
        drop(socket);
    }
    assert_eq!(lab.published("btc"), 40);
    lab.control().skip("btc", 2);
    assert_eq!(data(&text(&mut client(&lab))).1, 43);
    let script = Script::of_topics([Topic::new("btc").every(ms(1))]).until_sent(1);
    lab.control().script(script.then(Command::Skip("btc".into(), 10)));
    let mut socket = client(&lab);
    let first = data(&text(&mut socket)).1;
    assert_eq!(data(&text(&mut socket)).1, first + 11);
}

#[test]
fn a_steady_rate_is_held() {
    let lab = Lab::start(Script::of_topics([Topic::new("btc").every(ms(1))])).unwrap();
    // From before the first message: a late reader finds several.
    let start = Instant::now();
    let mut socket = client(&lab);
    text(&mut socket);
    (0..200).for_each(|_| drop(text(&mut socket)));
    let took = start.elapsed();
    assert!(took >= ms(190) && took < ms(2000), "{took:?}");
}

#[test]
fn topics_wait_for_their_subscription() {
    let topic = |name: &str| Topic::new(name).every(ms(1)).on_subscribe().ack(format!("ack {name}"));
    let lab = Lab::start(Script::of_topics([topic("btc"), topic("eth")])).unwrap();
    let mut socket = client(&lab);
    socket.send("subscribe eth".into()).unwrap();
    assert_eq!(text(&mut socket), "ack eth");
    (0..5).for_each(|_| assert_eq!(data(&text(&mut socket)).0, "eth"));
    socket.send("unsubscribe eth".into()).unwrap();
    socket.send("subscribe btc".into()).unwrap();
    while text(&mut socket) != "ack btc" {}
    (0..5).for_each(|_| assert_eq!(data(&text(&mut socket)).0, "btc"));
    assert_eq!(lab.transcript().received_texts(1), ["subscribe eth", "unsubscribe eth", "subscribe btc"]);
    assert_eq!(lab.published("btc") > 0, lab.published("eth") > 0);
}

#[test]
fn an_ack_and_the_first_data_share_a_segment() {
    let topic = Topic::new("t").message(|seq, n| format!("{n}:{seq}")).when(|text| text == "go").ack("ok");
    let lab = Lab::start(Script::of_topics([topic])).unwrap();
    let mut stream = raw(&lab);
    stream.write_all(&masked(1, "go")).unwrap();
    let mut bytes = [0; 64];
    let count = stream.read(&mut bytes).unwrap();
    assert_eq!(&bytes[..count], b"\x81\x02ok\x81\x031:1");
}

#[test]
fn replies_answer_texts() {
    let lab = Lab::start(Script::new().reply(|text| vec![format!("re {text}"), "end".into()])).unwrap();
    let mut socket = client(&lab);
    socket.send("a".into()).unwrap();
    assert_eq!([text(&mut socket), text(&mut socket)], ["re a", "end"]);
}

#[test]
fn reactions_see_text_and_binary_and_do_anything_in_order() {
    let known = std::sync::Mutex::new(Vec::new());
    let script = Script::new().react(move |incoming| {
        let mut known = known.lock().unwrap();
        match incoming {
            Incoming::Text(text) => {
                known.push(text.to_owned());
                vec![Command::Send(known.join("+")), Command::SendBinary(vec![7])]
            }
            Incoming::Binary(bytes) => {
                vec![Command::Send(format!("{bytes:?}")), Command::Close(4001, "enough".into())]
            }
        }
    });
    let lab = Lab::start(script).unwrap();
    let mut socket = client(&lab);
    for expected in ["a", "a+b"] {
        socket.send(expected[expected.len() - 1..].into()).unwrap();
        assert_eq!(text(&mut socket), expected);
        assert_eq!(socket.read().unwrap(), Message::binary(vec![7]));
    }
    socket.send(Message::binary(vec![1, 2])).unwrap();
    assert_eq!(text(&mut socket), "[1, 2]");
    assert!(matches!(socket.read().unwrap(), Message::Close(Some(frame)) if frame.code == 4001.into()));
    // Sends are told once, as sent.
    let transcript = lab.transcript();
    let commands = transcript.of(1).filter(|what| matches!(what, What::Command(_))).count();
    assert_eq!(commands, 2, "react and close:\n{transcript}");
}

#[test]
fn nothing_is_done_after_a_reaction_that_ends_the_connection() {
    let lab =
        Lab::start(Script::new().react(|_| vec![Command::Reset, Command::Send("late".into())])).unwrap();
    let mut stream = raw(&lab);
    stream.write_all(&[masked(1, "a"), masked(1, "b")].concat()).unwrap();
    await_end(&lab, &End::Reset);
    assert_eq!(lab.transcript().sent(1, Sent::Text), 0);
    assert_eq!(lab.transcript().received_texts(1), ["a"]);
}

#[test]
fn a_reaction_starts_and_drops_topics_and_may_be_replaced_by_itself() {
    let script = Script::new().react(|incoming| {
        let Incoming::Text(text) = incoming else { return Vec::new() };
        match text.split_once(' ') {
            // By its start it would hear of its own subscribe message, and acknowledge it.
            Some(("subscribe", topic)) => {
                vec![Command::Topics(vec![Topic::new(topic).every(ms(1)).on_subscribe().ack("twice")])]
            }
            Some(("start", topic)) => vec![Command::Topics(vec![
                Topic::new(topic).every(ms(1)).message(|seq, n| format!("{n}:{seq}").into_bytes()),
            ])],
            Some((_, topic)) => vec![
                Command::Drop(topic.to_owned()),
                Command::Send("dropped".into()),
                Command::reply(|text| vec![format!("other {text}")]),
            ],
            None => Vec::new(),
        }
    });
    let lab = Lab::start(script).unwrap();
    let mut socket = client(&lab);
    socket.send("subscribe btc".into()).unwrap();
    socket.send("start eth".into()).unwrap();
    for seq in 1..=3 {
        assert_eq!(socket.read().unwrap(), Message::binary(format!("1:{seq}").into_bytes()));
    }
    socket.send("stop eth".into()).unwrap();
    while socket.read().unwrap() != Message::text("dropped") {}
    let published = lab.published("eth");
    lab.control().all(Command::UnmuteAll);
    socket.send("start eth".into()).unwrap();
    assert_eq!(text(&mut socket), "other start eth");
    assert_eq!((lab.published("eth"), lab.published("btc")), (published, 0));
}

#[test]
fn a_greeting_is_made_of_the_request() {
    let script = Script::new().greet(|request| vec![Command::Send(request.path.clone())]).send("then");
    let lab = Lab::start(script).unwrap();
    let mut socket = client(&lab);
    assert_eq!([text(&mut socket), text(&mut socket)], ["/feed", "then"]);
}

#[test]
fn scripts_wait_for_text_and_time() {
    let script = Script::new().until_text(|t| t == "two").send("got two").for_(ms(20)).send("later");
    let lab = Lab::start(script).unwrap();
    let mut socket = client(&lab);
    socket.send("one".into()).unwrap();
    socket.send("two".into()).unwrap();
    assert_eq!(text(&mut socket), "got two");
    let two = await_what(&lab, |w| is_received_text(w, "two"));
    assert_eq!(text(&mut socket), "later");
    let sends = lab.transcript();
    let last = sends.entries().last().unwrap();
    assert!(last.at >= two.at + ms(20), "{sends}");
}

#[test]
fn a_flood_is_fast_counted_and_can_be_interrupted() {
    let lab = Lab::start(Script::new().flood(Flood::of_size(128).count(100_000))).unwrap();
    let mut socket = client(&lab);
    (0..50_000).for_each(|_| assert_eq!(text(&mut socket).len(), 128));
    lab.control().all(Command::Send("between".into()));
    let mut between = 0;
    for _ in 0..50_001 {
        let text = text(&mut socket);
        between += usize::from(text == "between");
        assert!(text.len() == 128 || text == "between");
    }
    assert_eq!(between, 1);
    await_what(&lab, |_| lab.transcript().sent(1, Sent::Flood) == 100_000);
    assert!(is_quiet(socket.get_ref()));
}

#[test]
fn a_flood_can_be_muted_between_frames_and_go_on() {
    let lab = Lab::start(Script::new().flood(Flood::of_texts(["a", "bb", "ccc"]))).unwrap();
    let mut socket = client(&lab);
    assert_eq!([text(&mut socket), text(&mut socket), text(&mut socket)], ["a", "bb", "ccc"]);
    lab.control().all(Command::MuteAll);
    lab.control().all(Command::Send("last".into()));
    while text(&mut socket) != "last" {}
    await_command(&lab, "send");
    assert!(is_quiet(socket.get_ref()));
    lab.control().all(Command::UnmuteAll);
    assert!(["a", "bb", "ccc"].contains(&text(&mut socket).as_str()));
}

#[test]
fn a_muted_flood_ends_with_a_whole_frame() {
    let lab = Lab::start(Script::new().flood(Flood::of_size(3 << 20))).unwrap();
    let mut stream = raw(&lab);
    let mut read = take(&mut stream, 1000).len();
    lab.control().all(Command::MuteAll);
    await_command(&lab, "mute all");
    stream.set_read_timeout(Some(ms(200))).unwrap();
    let mut buffer = vec![0; 1 << 20];
    while let Ok(count) = stream.read(&mut buffer) {
        read += count;
    }
    assert_eq!(read % (10 + (3 << 20)), 0);
}

#[test]
fn waiting_sees_counts_grow() {
    let lab = Lab::start(Script::of_topics([Topic::new("btc").every(ms(5))])).unwrap();
    let _stream = raw(&lab);
    await_what(&lab, |w| matches!(w, What::Sent { kind: Sent::Data, count } if *count >= 10));
}

#[test]
fn heartbeats_and_pings_come_without_data() {
    let lab = Lab::start(Script::new().heartbeats("beat", ms(2)).then(Command::Pings(ms(3)))).unwrap();
    let mut socket = client(&lab);
    let (mut beats, mut pings) = (0, 0);
    while beats < 5 || pings < 5 {
        match socket.read().unwrap() {
            Message::Text(text) if text == "beat" => beats += 1,
            Message::Ping(_) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(lab.transcript().sent(1, Sent::Data), 0);
}

#[test]
fn messages_come_in_fragments_and_sizes() {
    let script = Script::new()
        .then(Command::Fragments("abcde".into(), 3))
        .then(Command::SendBinary(vec![1, 2]))
        .then(Command::SendSized(70_000));
    let lab = Lab::start(script.clone()).unwrap();
    let mut stream = raw(&lab);
    assert_eq!(take(&mut stream, 11), b"\x01\x01a\x00\x02bc\x80\x02de");
    let lab = Lab::start(script).unwrap();
    let mut socket = client(&lab);
    assert_eq!(text(&mut socket), "abcde");
    assert_eq!(socket.read().unwrap(), Message::binary(vec![1, 2]));
    assert_eq!(text(&mut socket).len(), 70_000);
}

#[test]
fn payloads_can_be_padded() {
    let lab = Lab::start(Script::of_topics([Topic::new("q\"").size(300).every(ms(1))])).unwrap();
    let message = text(&mut client(&lab));
    assert_eq!((message.len(), data(&message)), (300, ("q\"".into(), 1)));
}

#[test]
fn an_entry_is_waited_for_once_and_again_only_when_it_has_grown() {
    let lab = Lab::start(Script::new()).unwrap();
    let _client = client(&lab);
    let control = lab.control();
    let mut commands = 0;
    for _ in 0..20 {
        control.all(Command::AnswerPings(true));
    }
    let seen = lab.wait_for(
        |entry| {
            commands += usize::from(matches!(entry.what, What::Command(_)));
            commands == 20
        },
        ms(5000),
    );
    assert!(seen.is_some(), "{}", lab.transcript());
    let all = lab.transcript().of(1).filter(|what| matches!(what, What::Command(_))).count();
    assert_eq!(all, 20, "{}", lab.transcript());
}
