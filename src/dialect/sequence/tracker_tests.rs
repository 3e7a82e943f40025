//! Tests of the counters: each protocol's rule, what is odd, and what is bounded.

use super::*;
use proptest::prelude::*;

fn gap(from: u64, to: u64, lost: impl Into<Option<u64>>) -> Seq {
    Seq::Gap { from, to, lost: lost.into() }
}

/// Checks each message in turn.
fn run(rule: &SequenceRule, messages: &[(&str, Seq)]) {
    let mut tracker = Tracker::new(rule);
    for (at, (message, expected)) in messages.iter().enumerate() {
        assert_eq!(tracker.check(Payload::Text(message)), *expected, "message {at}: {message}");
    }
    assert_eq!(tracker.take_panicked(), None);
}

/// Checks contiguous numbers.
fn run_numbers(rule: &SequenceRule, numbers: &[(u64, Seq)]) {
    let mut tracker = Tracker::new(rule);
    for (at, (number, expected)) in numbers.iter().enumerate() {
        let seq = tracker.check(Payload::Text(&format!("[{number}]")));
        assert_eq!(seq, *expected, "number {at}: {number}");
    }
}

/// What is said of these messages, all of them data, each sent so often.
fn blind(rule: &SequenceRule, messages: &[(&str, u32)]) -> Vec<String> {
    let mut tracker = Tracker::new(rule);
    let mut said = Vec::new();
    for (message, count) in messages {
        for _ in 0..*count {
            tracker.check(Payload::Text(message));
            said.extend(tracker.note_data().map(|(pointer, count)| format!("{pointer} {count}")));
        }
    }
    said
}

#[test]
fn a_rule_that_finds_nothing_says_so_once() {
    let (odd, good, other) = (r#"{"n":"x","s":"a"}"#, r#"{"n":7,"s":"a"}"#, r#"{"m":1}"#);
    let rule = SequenceRule::contiguous("/n");
    for (messages, said) in [
        (&[(odd, 49)][..], &[][..]),
        (&[(odd, 500)], &["/n 50"]),
        (&[(other, 500)], &["/n 50"]),
        (&[(odd, 49), (good, 1), (odd, 500)], &[]),
    ] {
        assert_eq!(blind(&rule, messages), said);
    }
    let per = || SequenceRule::contiguous("/n").per("/s");
    assert_eq!(blind(&per(), &[(other, 500)]), ["/s 50"]);
    assert_eq!(blind(&per(), &[(other, 30), (odd, 30)]), ["/n 50"], "that is there");
    assert!(blind(&per(), &[(other, 30), (good, 1), (other, 99)]).is_empty());
    let linked = SequenceRule::linked("/n", "/p");
    assert_eq!(blind(&linked, &[(odd, 50)]), ["/n 50"]);
    assert!(blind(&SequenceRule::with(|_, _| Sequenced::None), &[(odd, 500)]).is_empty());
    // A new connection may be to another server.
    let mut tracker = Tracker::new(&rule);
    tracker.check(Payload::Text(good));
    assert!(tracker.note_data().is_none());
    tracker.restart();
    let told = (0..50).filter_map(|_| {
        tracker.check(Payload::Text(odd));
        tracker.note_data().map(|(pointer, _)| pointer.to_owned())
    });
    assert_eq!(told.collect::<Vec<_>>(), ["/n"]);
}

#[test]
fn contiguous_numbers_are_followed() {
    run_numbers(
        &SequenceRule::contiguous("/0"),
        &[
            (7, Seq::Ok),
            (8, Seq::Ok),
            (10, gap(8, 10, 1)),
            (11, Seq::Ok),
            (100, gap(11, 100, 88)),
            (u64::MAX, gap(100, u64::MAX, u64::MAX - 101)),
            (u64::MAX, Seq::Old),
        ],
    );
}

#[test]
fn old_and_doubled_messages_are_no_gap() {
    run_numbers(
        &SequenceRule::contiguous("/0"),
        &[
            (7, Seq::Ok),
            (7, Seq::Old),
            (8, Seq::Ok),
            (8, Seq::Old),
            (8, Seq::Old),
            (10, gap(8, 10, 1)),
            (9, Seq::Old),
            (11, Seq::Ok),
            (10, Seq::Old),
            (12, Seq::Ok),
            (11, Seq::Old),
            // It goes on from the old one, but is none that was not there.
            (12, Seq::Old),
            (13, Seq::Ok),
        ],
    );
}

#[test]
fn a_server_that_counts_anew_is_a_gap() {
    run_numbers(
        &SequenceRule::contiguous("/0"),
        &[(1000, Seq::Ok), (0, Seq::Old), (1, gap(1000, 1, None)), (2, Seq::Ok), (4, gap(2, 4, 1))],
    );
    // The first of the new numbers are lost: it shows a little later.
    run_numbers(
        &SequenceRule::contiguous("/0"),
        &[(1000, Seq::Ok), (1, Seq::Old), (3, Seq::Old), (4, gap(1000, 4, None)), (5, Seq::Ok)],
    );
    run(
        &SequenceRule::linked("/c", "/p"),
        &[
            (r#"{"c":1000,"p":900}"#, Seq::Ok),
            (r#"{"c":5,"p":0}"#, Seq::Old),
            (r#"{"c":9,"p":5}"#, gap(1000, 9, None)),
            (r#"{"c":12,"p":9}"#, Seq::Ok),
        ],
    );
    run(
        &SequenceRule::range("/U", "/u"),
        &[
            (r#"{"U":900,"u":1000}"#, Seq::Ok),
            (r#"{"U":1,"u":5}"#, Seq::Old),
            (r#"{"U":6,"u":9}"#, gap(1000, 6, None)),
            (r#"{"U":10,"u":10}"#, Seq::Ok),
        ],
    );
}

#[test]
fn ranges_may_overlap() {
    run(
        &SequenceRule::range("/U", "/u"),
        &[
            (r#"{"U":5,"u":9}"#, Seq::Ok),
            (r#"{"U":10,"u":12}"#, Seq::Ok),
            (r#"{"U":11,"u":15}"#, Seq::Ok),
            (r#"{"U":1,"u":16}"#, Seq::Ok),
            (r#"{"U":14,"u":16}"#, Seq::Old),
            (r#"{"U":18,"u":20}"#, gap(16, 18, None)),
            (r#"{"U":21,"u":21}"#, Seq::Ok),
            // A range that ends before it begins.
            (r#"{"U":30,"u":25}"#, gap(21, 30, None)),
            (r#"{"U":26,"u":27}"#, Seq::Ok),
            // A snapshot.
            (r#"{"u":90}"#, Seq::Reset),
            (r#"{"U":91,"u":93}"#, Seq::Ok),
        ],
    );
}

#[test]
fn links_are_followed() {
    run(
        &SequenceRule::linked("/s", "/p"),
        &[
            (r#"{"p":1,"s":4}"#, Seq::Ok),
            (r#"{"p":4,"s":9}"#, Seq::Ok),
            (r#"{"p":12,"s":13}"#, gap(9, 13, None)),
            (r#"{"p":13,"s":13}"#, Seq::Ok),
            (r#"{"p":13,"s":20}"#, Seq::Ok),
            (r#"{"p":13,"s":20}"#, Seq::Old),
            (r#"{"p":4,"s":9}"#, Seq::Old),
            // It follows on 18, which was never there.
            (r#"{"p":18,"s":22}"#, gap(20, 22, None)),
            // Counts anew and says so; then with something missing.
            (r#"{"p":22,"s":3}"#, Seq::Reset),
            (r#"{"p":3,"s":5}"#, Seq::Ok),
            (r#"{"p":7,"s":2}"#, gap(5, 2, None)),
            (r#"{"p":2,"s":3}"#, Seq::Ok),
        ],
    );
}

#[test]
fn repeats_are_signs_of_life() {
    run(
        &SequenceRule::linked("/s", "/p").repeats(true),
        &[
            (r#"{"p":-1,"s":4}"#, Seq::Ok),
            (r#"{"p":4,"s":4}"#, Seq::Repeat),
            (r#"{"p":4,"s":6}"#, Seq::Ok),
            (r#"{"p":4,"s":6}"#, Seq::Repeat),
            (r#"{"p":2,"s":4}"#, Seq::Old),
            (r#"{"p":9,"s":9}"#, gap(6, 9, None)),
        ],
    );
    run_numbers(
        &SequenceRule::contiguous("/0").repeats(true),
        &[(3, Seq::Ok), (3, Seq::Repeat), (3, Seq::Repeat), (4, Seq::Ok), (3, Seq::Old), (5, Seq::Ok)],
    );
    run(
        &SequenceRule::range("/U", "/u").repeats(true),
        &[(r#"{"U":1,"u":4}"#, Seq::Ok), (r#"{"U":3,"u":4}"#, Seq::Repeat), (r#"{"U":5,"u":6}"#, Seq::Ok)],
    );
}

#[test]
fn a_message_with_nothing_before_it_starts_anew() {
    for start in [r#"{"s":4,"p":-1}"#, r#"{"s":4,"p":null}"#, r#"{"s":4,"p":"-1"}"#, r#"{"s":4}"#] {
        run(
            &SequenceRule::linked("/s", "/p"),
            &[
                (start, Seq::Ok),
                (r#"{"s":9,"p":4}"#, Seq::Ok),
                (start, Seq::Reset),
                (r#"{"s":7,"p":4}"#, Seq::Ok),
                (r#"{"s":9,"p":8}"#, gap(7, 9, None)),
            ],
        );
    }
}

#[test]
fn what_is_no_number_says_nothing() {
    let mut tracker = Tracker::new(&SequenceRule::contiguous("/n"));
    assert_eq!(tracker.check(Payload::Text(r#"{"n":1}"#)), Seq::Ok);
    for odd in [
        "pong",
        "",
        "{}",
        r#"{"n":null}"#,
        r#"{"n":-5}"#,
        r#"{"n":5.0}"#,
        r#"{"n":1e3}"#,
        r#"{"n":true}"#,
        r#"{"n":[5]}"#,
        r#"{"n":{}}"#,
        r#"{"n":""}"#,
        r#"{"n":"-"}"#,
        r#"{"n":"5a"}"#,
        r#"{"n":" 5"}"#,
        r#"{"n":"+5"}"#,
        r#"{"n":18446744073709551616}"#,
        r#"{"n":99999999999999999999999999999999999999999}"#,
        r#"{"n":"#,
        r#"{"n":5"#,
    ] {
        assert_eq!(tracker.check(Payload::Text(odd)), Seq::None, "{odd}");
    }
    assert_eq!(tracker.check(Payload::Binary(&[0xff, 0x00])), Seq::None);
    assert_eq!(tracker.check(Payload::Binary(br#"{"n":"2"}"#)), Seq::Ok);
    assert_eq!(tracker.check(Payload::Text(r#"{"n":"003"}"#)), Seq::Ok);
    // The other number is odd, not missing.
    run(
        &SequenceRule::linked("/s", "/p"),
        &[
            (r#"{"s":1,"p":0}"#, Seq::Ok),
            (r#"{"s":3,"p":"x"}"#, Seq::None),
            (r#"{"p":1}"#, Seq::None),
            (r#"{"s":2,"p":1}"#, Seq::Ok),
        ],
    );
}

#[test]
fn the_last_element_may_be_the_number() {
    run(
        &SequenceRule::contiguous("/-1"),
        &[
            (r#"{"event":"info"}"#, Seq::None),
            ("[17,[1,2,3],1]", Seq::Ok),
            (r#"[17,"hb",2]"#, Seq::Ok),
            (r#"[0,"ws",[[1],[2]],4]"#, gap(2, 4, 1)),
        ],
    );
}

#[test]
fn a_reset_excuses_what_does_not_join() {
    let rule = SequenceRule::contiguous("/u").repeats(true).reset(Matcher::pointer("/u", 1));
    run(
        &rule,
        &[
            (r#"{"u":1}"#, Seq::Ok),
            (r#"{"u":2}"#, Seq::Ok),
            (r#"{"u":2}"#, Seq::Repeat),
            (r#"{"u":1}"#, Seq::Reset),
            (r#"{"u":1}"#, Seq::Reset),
            (r#"{"u":2}"#, Seq::Ok),
            (r#"{"u":4}"#, gap(2, 4, 1)),
        ],
    );
    // A message without a number makes the next one the first.
    let rule = SequenceRule::contiguous("/u").reset(Matcher::pointer("/type", "snapshot"));
    run(
        &rule,
        &[
            (r#"{"type":"snapshot"}"#, Seq::None),
            (r#"{"u":7}"#, Seq::Ok),
            (r#"{"type":"snapshot"}"#, Seq::Reset),
            (r#"{"u":90}"#, Seq::Ok),
            (r#"{"type":"snapshot","u":95}"#, Seq::Reset),
            (r#"{"type":"snapshot","u":96}"#, Seq::Ok),
            (r#"{"u":97}"#, Seq::Ok),
        ],
    );
}

#[test]
fn each_value_has_its_own_counter() {
    let rule = SequenceRule::contiguous("/n").per("/s").reset(Matcher::pointer("/type", "snapshot"));
    run(
        &rule,
        &[
            (r#"{"s":"a","n":5}"#, Seq::Ok),
            (r#"{"s":"b","n":90}"#, Seq::Ok),
            (r#"{"s":"a","n":6}"#, Seq::Ok),
            (r#"{"s":"\u0062","n":91}"#, Seq::Ok),
            (r#"{"s":"b","n":93}"#, gap(91, 93, 1)),
            (r#"{"s":7,"n":1}"#, Seq::Ok),
            (r#"{"s":true,"n":2}"#, Seq::Ok),
            (r#"{"n":7}"#, Seq::None),
            (r#"{"s":null,"n":7}"#, Seq::None),
            (r#"{"s":["a"],"n":7}"#, Seq::None),
            (r#"{"s":"a"}"#, Seq::None),
            // Of one value, then of all.
            (r#"{"s":"a","type":"snapshot"}"#, Seq::Reset),
            (r#"{"s":"a","n":70}"#, Seq::Ok),
            (r#"{"s":"b","n":94}"#, Seq::Ok),
            (r#"{"type":"snapshot"}"#, Seq::Reset),
            (r#"{"s":"a","n":1}"#, Seq::Ok),
            (r#"{"s":"b","n":1}"#, Seq::Ok),
        ],
    );
}

#[test]
fn a_restart_takes_the_next_number_as_it_is() {
    let mut tracker = Tracker::new(&SequenceRule::contiguous("/n").per("/s"));
    for number in [5, 900] {
        for name in ["a", "b"] {
            let message = format!(r#"{{"s":"{name}","n":{number}}}"#);
            assert_eq!(tracker.check(Payload::Text(&message)), Seq::Ok, "{message}");
        }
        tracker.restart();
    }
    let mut tracker = Tracker::new(&SequenceRule::contiguous("/0"));
    assert_eq!(tracker.check(Payload::Text("[5]")), Seq::Ok);
    tracker.restart();
    assert_eq!(tracker.check(Payload::Text("[900]")), Seq::Ok);
}

#[test]
fn counters_are_bounded_and_the_last_used_stay() {
    const NAMES: u64 = 200_000;
    let mut tracker = Tracker::new(&SequenceRule::contiguous("/n").per("/s"));
    let mut check = |name: u64, number: u64| {
        let seq = tracker.check(Payload::Text(&format!(r#"{{"n":{number},"s":{name}}}"#)));
        (seq, (tracker.counters.young.len() + tracker.counters.old.len()) as u64, tracker.take_forgotten())
    };
    let (mut most, mut forgotten) = (0, 0);
    for name in 0..NAMES {
        if name % 10_000 == 0 {
            // One that is used all the time is not forgotten.
            let (seq, _, gone) = check(u64::MAX, name / 10_000);
            assert_eq!(seq, Seq::Ok);
            forgotten += gone;
        }
        let (_, len, gone) = check(name, 1);
        forgotten += gone;
        assert_eq!(len, name + 2 - forgotten);
        most = most.max(len);
    }
    assert!((2 * GENERATION as u64 - 2..=2 * GENERATION as u64).contains(&most), "{most}");
    for name in NAMES - GENERATION as u64 + 1..NAMES {
        assert_eq!(check(name, 3).0, gap(1, 3, 1), "{name}");
    }
    assert_eq!(check(0, 3).0, Seq::Ok);
}

#[test]
fn long_values_are_not_counted_for() {
    let mut tracker = Tracker::new(&SequenceRule::contiguous("/n").per("/s"));
    for (length, expected) in [(MAX_KEY, Seq::Ok), (MAX_KEY + 1, Seq::None), (1_000_000, Seq::None)] {
        let message = format!(r#"{{"n":1,"s":"{}"}}"#, "x".repeat(length));
        assert_eq!(tracker.check(Payload::Text(&message)), expected, "{length}");
    }
    assert_eq!(tracker.counters.young.len(), 1);
}

#[test]
fn a_closure_decides() {
    let rule = SequenceRule::with(|payload, last| {
        let Some(number) = payload.as_text().and_then(|text| text.parse().ok()) else {
            return match payload.as_bytes() {
                b"=" => Sequenced::Repeat,
                b"<" => Sequenced::Old,
                b"0!" => Sequenced::Reset(0),
                _ => Sequenced::None,
            };
        };
        match last {
            Some(last) if number != last + 10 => Sequenced::Gap { number, lost: Some(1) },
            _ => Sequenced::Joins(number),
        }
    });
    run(
        &rule,
        &[
            ("hello", Seq::None),
            ("10", Seq::Ok),
            ("20", Seq::Ok),
            ("=", Seq::Repeat),
            ("<", Seq::Old),
            ("40", gap(20, 40, 1)),
            ("0!", Seq::Reset),
            ("10", Seq::Ok),
        ],
    );
    let per = SequenceRule::with(|payload, last| match payload.as_bytes().len() {
        _ if last.is_some() => Sequenced::Gap { number: 1, lost: None },
        _ => Sequenced::Joins(1),
    })
    .per("/s");
    run(
        &per,
        &[
            (r#"{"s":1}"#, Seq::Ok),
            (r#"{"s":2}"#, Seq::Ok),
            ("{}", Seq::None),
            (r#"{"s":1}"#, gap(1, 1, None)),
        ],
    );
    let unknown = SequenceRule::with(|_, _| Sequenced::Gap { number: 7, lost: None });
    run(&unknown, &[("", gap(7, 7, None))]);
}

#[test]
fn a_panic_is_caught_and_told() {
    let mut tracker = Tracker::new(&SequenceRule::with(|_, _| panic!("no such luck")));
    assert_eq!(tracker.check(Payload::Text("1")), Seq::None);
    assert_eq!(tracker.take_panicked().as_deref(), Some("no such luck"));
    assert_eq!(tracker.take_panicked(), None);
    let reset = Matcher::closure(|_| panic!("not this either"));
    let mut tracker = Tracker::new(&SequenceRule::contiguous("/0").reset(reset));
    assert_eq!(tracker.check(Payload::Text("[1]")), Seq::Ok);
    assert_eq!(tracker.check(Payload::Text("[3]")), gap(1, 3, 1));
    assert_eq!(tracker.take_panicked().as_deref(), Some("not this either"));
}

#[test]
fn a_rule_that_is_not_valid_finds_nothing() {
    for rule in [SequenceRule::contiguous("n"), SequenceRule::contiguous("/n").per("s")] {
        assert!(rule.check().is_err());
        run(&rule, &[(r#"{"n":1,"s":1}"#, Seq::None), (r#"{"n":5,"s":1}"#, Seq::None)]);
    }
}

proptest! {
    /// Whatever is left out of a sequence that counts up, exactly that is said to be lost.
    #[test]
    fn lost_is_what_was_left_out(start in 0..u64::MAX - 100_000, steps in prop::collection::vec(1..20_u64, 1..60)) {
        let mut tracker = Tracker::new(&SequenceRule::contiguous("/n"));
        let mut number = start;
        prop_assert_eq!(tracker.check(Payload::Text(&format!(r#"{{"n":{number}}}"#))), Seq::Ok);
        for step in steps {
            let expected = if step == 1 { Seq::Ok } else { gap(number, number + step, step - 1) };
            number += step;
            prop_assert_eq!(tracker.check(Payload::Text(&format!(r#"{{"n":{number}}}"#))), expected);
        }
    }

    /// The three forms of one sequence agree about what is missing.
    #[test]
    fn the_forms_agree(kept in prop::collection::vec(any::<bool>(), 2..40)) {
        let mut trackers = [
            Tracker::new(&SequenceRule::contiguous("/n")),
            Tracker::new(&SequenceRule::linked("/n", "/p")),
            Tracker::new(&SequenceRule::range("/n", "/n")),
        ];
        for (at, _) in kept.iter().enumerate().filter(|(_, kept)| **kept) {
            let message = format!(r#"{{"n":{},"p":{at}}}"#, at + 1);
            let said = trackers.each_mut().map(|tracker| match tracker.check(Payload::Text(&message)) {
                Seq::Gap { from, to, .. } => gap(from, to, None),
                other => other,
            });
            prop_assert!(said.iter().all(|seq| *seq == said[0]), "{:?}", said);
        }
    }

    #[test]
    fn never_panics(
        messages in prop::collection::vec(
            (0..4_u8, prop_oneof![0..20_u64, Just(u64::MAX), Just(u64::MAX - 1)], 0..20_u64), 1..40),
        rule in 0..4_usize, repeats: bool,
    ) {
        let rule = [
            SequenceRule::contiguous("/n"),
            SequenceRule::linked("/n", "/p"),
            SequenceRule::range("/n", "/p"),
            SequenceRule::range("/p", "/n").per("/p"),
        ][rule].clone().repeats(repeats);
        let mut tracker = Tracker::new(&rule);
        for (form, n, p) in messages {
            let message = match form {
                0 => format!(r#"{{"n":{n},"p":{p}}}"#),
                1 => format!(r#"{{"n":{p},"p":{n}}}"#),
                2 => format!(r#"{{"n":{n}}}"#),
                _ => format!(r#"{{"n":{n},"p":-{p}}}"#),
            };
            tracker.check(Payload::Text(&message));
        }
    }
}
