//! What goes over the wire byte by byte.

use super::*;

#[test]
fn a_message_trickles() {
    let lab = Lab::start(Script::new().then(Command::Trickle("abcdef".into(), ms(5))).send("x")).unwrap();
    let mut stream = raw(&lab);
    let start = Instant::now();
    assert_eq!(take(&mut stream, 8), b"\x81\x06abcdef");
    assert!(start.elapsed() >= ms(30), "{:?}", start.elapsed());
    assert_eq!(take(&mut stream, 3), b"\x81\x01x");
}

#[test]
fn half_a_frame_stalls_everything_until_resumed() {
    let lab = Lab::start(Script::new().then(Command::HalfFrame("abcdef".into()))).unwrap();
    let mut stream = raw(&lab);
    assert_eq!(take(&mut stream, 4), b"\x81\x06ab");
    stream.write_all(&masked(9, "p")).unwrap();
    await_what(&lab, |w| *w == What::Sent { kind: Sent::Pong, count: 1 });
    assert!(is_quiet(&stream));
    lab.control().connection(1, Command::Resume);
    assert_eq!(take(&mut stream, 7), b"cdef\x8a\x01p");
}

#[test]
fn violations_are_what_they_say() {
    let cases: &[(Violation, &[u8])] = &[
        (Violation::MaskedFrame, b"\x81\x82\x01\x02\x03\x04"),
        (Violation::ReservedBits, b"\xf1\x02{}"),
        (Violation::UnknownOpcode, b"\x83\x02{}"),
        (Violation::UnknownControlOpcode, b"\x8b\x00"),
        (Violation::FragmentedControl, b"\x09\x04half"),
        (Violation::LongControl, b"\x89\x7e\x00\x7exxx"),
        (Violation::InvalidUtf8, b"\x81\x04{\xc3\x28}"),
        (Violation::ShortClose, b"\x88\x01\x03"),
        (Violation::BadCloseCode, b"\x88\x02\x03\xed"),
        (Violation::BadCloseReason, b"\x88\x04\x03\xe8\xff\xfe"),
        (Violation::LoneContinuation, b"\x80\x02{}"),
        (Violation::InterruptedMessage, b"\x01\x01{\x81\x02{}"),
        (Violation::Garbage, b"\xff\xfe\xfd"),
        (Violation::Announced(1 << 40), b"\x81\x7f\x00\x00\x01\x00\x00\x00\x00\x00"),
    ];
    for &(violation, bytes) in cases {
        let lab = Lab::start(Script::new().violate(violation)).unwrap();
        assert_eq!(take(&mut raw(&lab), bytes.len()), bytes, "{violation:?}");
    }
    // Another implementation's opinion of them.
    for &(violation, _) in cases.iter().filter(|(v, _)| !matches!(v, Violation::BadCloseCode)) {
        let lab = Lab::start(Script::new().violate(violation)).unwrap();
        assert!(client(&lab).read().is_err(), "{violation:?}");
    }
}

#[test]
fn raw_bytes_go_out_as_they_are_in_one_segment() {
    let lab =
        Lab::start(Script::new().until_subscribe().then(Command::Raw(b"ab".to_vec())).send("c")).unwrap();
    let mut stream = raw(&lab);
    stream.write_all(&masked(1, "s")).unwrap();
    let mut bytes = [0; 64];
    let count = stream.read(&mut bytes).unwrap();
    assert_eq!(&bytes[..count], b"ab\x81\x01c");
}

#[test]
fn pings_are_answered_or_not() {
    let lab = Lab::start(Script::new()).unwrap();
    let mut stream = raw(&lab);
    stream.write_all(&masked(9, "one")).unwrap();
    assert_eq!(take(&mut stream, 5), b"\x8a\x03one");
    lab.control().all(Command::AnswerPings(false));
    await_command(&lab, "answer pings");
    stream.write_all(&masked(9, "two")).unwrap();
    await_what(&lab, |w| matches!(w, What::Received(Received::Ping(p)) if **p == *b"two"));
    lab.control().all(Command::Ping(b"mine".to_vec()));
    lab.control().all(Command::Pong(b"late".to_vec()));
    assert_eq!(take(&mut stream, 12), b"\x89\x04mine\x8a\x04late");
}

#[test]
fn a_client_that_breaks_the_protocol_is_found_out() {
    let cases: [(&[u8], &str); 4] = [
        (b"\x81\x01x", "unmasked frame"),
        (b"\xc1\x81\0\0\0\0x", "reserved bits set"),
        (b"\x81\x81\0\0\0\0\xff", "text is not UTF-8"),
        (b"\x80\x81\0\0\0\0x", "continuation without a start"),
    ];
    for (bytes, what) in cases {
        let lab = Lab::start(Script::new()).unwrap();
        raw(&lab).write_all(bytes).unwrap();
        await_what(&lab, |w| *w == What::Violation(what));
        await_end(&lab, &End::Violation);
    }
}

#[test]
fn client_fragments_are_joined_and_long_messages_cut_in_the_transcript() {
    let lab = Lab::start(Script::new()).unwrap();
    let mut stream = raw(&lab);
    stream.write_all(b"\x01\x81\0\0\0\0a").unwrap();
    stream.write_all(&masked(9, "in between")).unwrap();
    stream.write_all(b"\x80\x81\x01\0\0\0c").unwrap();
    await_what(&lab, |w| is_received_text(w, "ab"));

    let lab = Lab::start(Script::new()).unwrap();
    client(&lab).send("ä".repeat(40_000).into()).unwrap();
    await_what(&lab, |w| is_received_text(w, &"ä".repeat(32_768)));
}
