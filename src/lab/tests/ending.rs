//! The ways a connection ends.

use super::*;

#[test]
fn it_closes_with_code_and_reason_and_waits_for_the_answer() {
    let lab = Lab::start(Script::new().close(4000, "enough")).unwrap();
    let mut stream = raw(&lab);
    assert_eq!(take(&mut stream, 10), b"\x88\x08\x0f\xa0enough");
    assert!(is_quiet(&stream));
    let start = Instant::now();
    stream.write_all(&masked(8, "")).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(start.elapsed() < ms(2500), "{:?}", start.elapsed());
    drop(stream);
    await_end(&lab, &End::Closed);
}

#[test]
fn a_slow_client_gets_all_of_it_and_the_close_frame() {
    const BYTES: usize = 32 << 20;
    let lab = Lab::start(Script::new().then(Command::SendSized(BYTES)).close(4000, "enough")).unwrap();
    let mut stream = raw(&lab);
    // So slowly that the end would be cut off if its limit did not count from what is taken last.
    let mut chunk = vec![0; BYTES / 64];
    for _ in 0..64 {
        stream.read_exact(&mut chunk).unwrap();
        std::thread::sleep(ms(110));
    }
    assert_eq!(&take(&mut stream, 20)[10..], b"\x88\x08\x0f\xa0enough");
    stream.write_all(&masked(8, "")).unwrap();
    drop(stream);
    await_end(&lab, &End::Closed);
}

#[test]
fn it_answers_close() {
    let lab = Lab::start(Script::of_topics([Topic::new("btc").every(ms(1))])).unwrap();
    let mut socket = client(&lab);
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    await_end(&lab, &End::Closed);
}

#[test]
fn it_never_answers_close() {
    let lab = Lab::start(Script::new().then(Command::AnswerClose(false))).unwrap();
    let mut stream = raw(&lab);
    stream.write_all(&masked(8, "")).unwrap();
    await_what(&lab, |w| matches!(w, What::Received(Received::Close(None))));
    lab.control().all(Command::Send("on".into()));
    assert_eq!(take(&mut stream, 4), b"\x81\x02on");
}

#[test]
fn it_resets() {
    let lab = Lab::start(Script::new().send("x").until_subscribe().reset()).unwrap();
    let mut stream = raw(&lab);
    assert_eq!(take(&mut stream, 3), b"\x81\x01x");
    stream.write_all(&masked(1, "s")).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    await_end(&lab, &End::Reset);
}

#[test]
fn it_ends_tcp_without_close() {
    let lab = Lab::start(Script::new().send("x").then(Command::Fin)).unwrap();
    let mut stream = raw(&lab);
    let (mut rest, start) = (Vec::new(), Instant::now());
    stream.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"\x81\x01x");
    assert!(start.elapsed() < ms(2500), "{:?}", start.elapsed());
    drop(stream);
    await_end(&lab, &End::Fin);
}

#[test]
fn the_clients_end_is_told() {
    let lab = Lab::start(Script::new()).unwrap();
    drop(raw(&lab));
    await_end(&lab, &End::Eof);

    let lab = Lab::start(Script::new()).unwrap();
    let stream = raw(&lab);
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    await_end(&lab, &End::Io(std::io::ErrorKind::ConnectionReset));
    assert_eq!(lab.live(), 0);
}

#[test]
fn a_reset_is_seen_while_not_reading() {
    let lab = Lab::start(Script::new().then(Command::StopReading)).unwrap();
    let stream = raw(&lab);
    await_command(&lab, "stop reading");
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
    drop(stream);
    await_end(&lab, &End::Io(std::io::ErrorKind::ConnectionReset));
}

#[test]
fn dropping_the_lab_ends_everything_and_handles_outlive_it() {
    let lab = Lab::start(Script::new().flood(Flood::of_size(1000))).unwrap();
    let control = lab.control();
    let (mut stream, idle) = (raw(&lab), tcp(&lab));
    let start = Instant::now();
    drop(lab);
    assert!(start.elapsed() < ms(1000), "{:?}", start.elapsed());
    while !matches!(stream.read(&mut [0; 4096]), Ok(0) | Err(_)) {}
    assert!(matches!((&idle).read(&mut [0]), Ok(0) | Err(_)));
    control.all(Command::Reset);
    assert!(control.stop_listening().is_err());
}

#[test]
fn a_close_is_answered_also_where_the_client_ends_its_direction_at_once() {
    for _ in 0..200 {
        let lab = Lab::start(Script::new()).unwrap();
        let mut stream = raw(&lab);
        stream.write_all(&masked(8, "")).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(take(&mut stream, 2), [0x88, 0]);
        await_end(&lab, &End::Closed);
    }
}
