//! What a control handle changes at run time.

use super::*;

#[test]
fn one_topic_is_muted_while_another_goes_on() {
    let lab = Lab::start(Script::of_topics([Topic::new("btc").every(ms(1)), Topic::new("eth").every(ms(1))]))
        .unwrap();
    let mut socket = client(&lab);
    lab.control().all(Command::Mute("btc".into()));
    lab.control().all(Command::Send("muted".into()));
    while text(&mut socket) != "muted" {}
    (0..10).for_each(|_| assert_eq!(data(&text(&mut socket)).0, "eth"));
    lab.control().all(Command::Unmute("btc".into()));
    while data(&text(&mut socket)).0 != "btc" {}
}

#[test]
fn silence_still_answers_pings() {
    let script = Script::of_topics([Topic::new("btc").every(ms(1))]).heartbeats("beat", ms(1));
    let lab = Lab::start(script).unwrap();
    let mut socket = client(&lab);
    text(&mut socket);
    lab.control().connection(1, Command::Silence);
    lab.control().connection(1, Command::Send("silent".into()));
    while text(&mut socket) != "silent" {}
    socket.send(Message::Ping("p".into())).unwrap();
    assert_eq!(socket.read().unwrap(), Message::Pong("p".into()));
    socket.get_ref().set_read_timeout(Some(ms(50))).unwrap();
    assert!(socket.read().is_err());
    socket.get_ref().set_read_timeout(Some(LIMIT)).unwrap();
    lab.control().connection(1, Command::Resume);
    text(&mut socket);
}

#[test]
fn commands_act_within_milliseconds() {
    let lab = Lab::start(Script::new()).unwrap();
    let mut socket = client(&lab);
    let mut best = LIMIT;
    for _ in 0..20 {
        let start = Instant::now();
        lab.control().all(Command::Send("now".into()));
        text(&mut socket);
        best = best.min(start.elapsed());
    }
    assert!(best < ms(10), "{best:?}");
}

#[test]
fn commands_before_the_upgrade_are_kept() {
    let lab = Lab::start(Script::new()).unwrap();
    let mut stream = tcp(&lab);
    await_what(&lab, |w| matches!(w, What::Accepted { .. }));
    lab.control().all(Command::Send("kept".into()));
    stream.write_all(REQUEST.as_bytes()).unwrap();
    head(&mut stream);
    assert_eq!(take(&mut stream, 6), b"\x81\x04kept");
}

#[test]
fn a_server_that_stops_reading_blocks_the_client() {
    let lab = Lab::start(Script::new().then(Command::StopReading)).unwrap();
    let mut stream = raw(&lab);
    await_command(&lab, "stop reading");
    let frame = masked(2, &"x".repeat(100));
    stream.set_write_timeout(Some(ms(50))).unwrap();
    let block = frame.repeat(10_000);
    let mut written = 0;
    let error = loop {
        match stream.write(&block[written % block.len()..]) {
            Ok(count) => written += count,
            Err(error) => break error,
        }
        assert!(written < 1 << 30);
    };
    assert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));
    assert!(!lab.transcript().of(1).any(|w| matches!(w, What::Received(_))));
    lab.control().all(Command::StartReading);
    await_what(&lab, |w| matches!(w, What::Received(Received::Binary(_))));
}

#[test]
fn what_is_read_already_waits_for_start_reading() {
    let lab = Lab::start(Script::new().until_subscribe().then(Command::StopReading)).unwrap();
    let mut stream = raw(&lab);
    stream.write_all(&[masked(1, "one"), masked(1, "two")].concat()).unwrap();
    await_command(&lab, "stop reading");
    lab.control().all(Command::Send("s".into()));
    assert_eq!(take(&mut stream, 3), b"\x81\x01s");
    assert_eq!(lab.transcript().received_texts(1), ["one"]);
    lab.control().all(Command::StartReading);
    await_what(&lab, |w| is_received_text(w, "two"));
}

#[test]
fn a_ping_flood_comes_without_reading() {
    let lab = Lab::start(Script::new().then(Command::PingFlood)).unwrap();
    let mut stream = raw(&lab);
    stream.write_all(&masked(1, "unheard")).unwrap();
    for _ in 0..10_000 {
        assert!(take(&mut stream, 127).starts_with(b"\x89\x7d"));
    }
    assert!(lab.transcript().received_texts(1).is_empty());
}

#[test]
fn mute_all_leaves_heartbeats() {
    let script = Script::of_topics([Topic::new("btc").every(ms(1))]).heartbeats("beat", ms(1));
    let lab = Lab::start(script).unwrap();
    let mut socket = client(&lab);
    lab.control().all(Command::MuteAll);
    lab.control().all(Command::Send("muted".into()));
    while text(&mut socket) != "muted" {}
    (0..10).for_each(|_| assert_eq!(text(&mut socket), "beat"));
    lab.control().all(Command::UnmuteAll);
    while text(&mut socket) == "beat" {}
}

#[test]
fn a_frozen_connection_neither_reads_nor_writes() {
    let lab = Lab::start(Script::of_topics([Topic::new("btc").every(ms(1))]).until_sent(3).freeze()).unwrap();
    let mut socket = client(&lab);
    (1..=3).for_each(|seq| assert_eq!(data(&text(&mut socket)).1, seq));
    await_command(&lab, "freeze");
    socket.send(Message::Ping("p".into())).unwrap();
    socket.get_ref().set_read_timeout(Some(ms(50))).unwrap();
    assert!(socket.read().is_err());
    assert!(!lab.transcript().of(1).any(|w| matches!(w, What::Received(_))));
    socket.get_ref().set_read_timeout(Some(LIMIT)).unwrap();
    lab.control().all(Command::Thaw);
    let (first, second) = (socket.read().unwrap(), socket.read().unwrap());
    assert!([&first, &second].into_iter().any(|m| m.to_text().is_ok_and(|t| t.contains(r#""seq":4,"#))));
    assert!([&first, &second].contains(&&Message::Pong("p".into())));
}

#[test]
fn listening_stops_and_starts_at_the_same_port() {
    let lab = Lab::start(Script::new()).unwrap();
    let control = lab.control();
    let mut socket = client(&lab);
    control.stop_listening().unwrap();
    let refused = TcpStream::connect(lab.addr()).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    control.all(Command::Send("still here".into()));
    assert_eq!(text(&mut socket), "still here");
    control.drop_connections();
    assert!(socket.read().is_err());
    control.listen_again().unwrap();
    control.listen_again().unwrap();
    client(&lab);
}

#[test]
fn it_listens_without_accepting() {
    let lab = Lab::start(Script::new()).unwrap();
    lab.control().accept(false).unwrap();
    let mut stream = tcp(&lab);
    stream.write_all(REQUEST.as_bytes()).unwrap();
    lab.control().accept(false).unwrap();
    assert!(lab.transcript().entries().is_empty());
    lab.control().accept(true).unwrap();
    assert!(head(&mut stream).contains(ACCEPT));
}

#[test]
fn later_connections_get_the_new_script() {
    let lab = Lab::start(Script::new().send("old")).unwrap();
    assert_eq!(text(&mut client(&lab)), "old");
    lab.control().script(Script::new().send("new"));
    assert_eq!(text(&mut client(&lab)), "new");
}

#[test]
fn waiting_sees_the_past_and_gives_up() {
    let lab = Lab::builder().transcript_limit(16).workers(2).start().unwrap();
    let start = Instant::now();
    assert!(lab.wait_for(|_| true, ms(30)).is_none());
    assert!(start.elapsed() >= ms(30));
    let mut socket = client(&lab);
    for n in 0..40 {
        socket.send(n.to_string().into()).unwrap();
    }
    await_what(&lab, |w| is_received_text(w, "39"));
    assert!(lab.wait_for(|e| is_received_text(&e.what, "39"), Duration::ZERO).is_some());
    let transcript = lab.transcript();
    assert_eq!(transcript.entries().len(), 16);
    assert!(transcript.forgotten() >= 27);
    assert!(transcript.to_string().contains("\"39\""));
}

#[test]
fn many_idle_connections_are_served() {
    let lab = Lab::start(Script::new().until_subscribe().send("hi")).unwrap();
    let mut sockets: Vec<_> = (0..100).map(|_| client(&lab)).collect();
    assert_eq!((lab.connections(), lab.live()), (100, 100));
    for socket in &mut sockets {
        socket.send("sub".into()).unwrap();
        assert_eq!(text(socket), "hi");
    }
}
