//! Tests of [`super`]: the rules one by one, then whole lives against servers that hang up.

use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

/// A connection on which all that are not held back are written.
fn connect(quarantine: &mut Quarantine, keys: &[Key], now: Instant) {
    let free: Vec<_> = keys.iter().copied().filter(|key| !quarantine.is_held_back(*key)).collect();
    for key in &free {
        quarantine.queued(*key);
    }
    for key in free {
        quarantine.written(key, now);
    }
}

/// Key 9 is blamed once more: all others get through, it is written, the server hangs up.
fn blame_9(quarantine: &mut Quarantine, now: Instant) -> Vec<(Key, u32)> {
    connect(quarantine, &[1], now);
    quarantine.settled(1);
    assert_eq!(quarantine.take_retry(now).unwrap_or(9), 9);
    quarantine.written(9, now);
    quarantine.ended(now + SECOND, true)
}

#[test]
fn one_that_is_alone_in_question_is_blamed_and_quarantined_in_the_end() {
    let t0 = crate::clock::mono();
    let mut it = Quarantine::new(3);
    assert_eq!(blame_9(&mut it, t0), []);
    assert!(it.is_suspect(9) && it.is_held_back(9) && !it.is_quarantined(9));
    assert!(!it.is_suspect(1) && !it.is_held_back(1));
    assert_eq!(blame_9(&mut it, t0), []);
    assert_eq!(blame_9(&mut it, t0), [(9, 3)]);
    assert!(it.is_quarantined(9) && it.is_held_back(9) && !it.is_suspect(9));
    connect(&mut it, &[1, 9], t0 + 2 * SECOND);
    it.settled(1);
    let until = t0 + SECOND + FIRST_TERM;
    assert_eq!(it.retry_at(), Some(until));
    assert_eq!(it.take_retry(until - Duration::from_millis(1)), None);
    assert_eq!(it.take_retry(until), Some(9));
    assert!(!it.is_held_back(9) && it.is_quarantined(9));
    assert_eq!((it.take_retry(until), it.retry_at()), (None, None));
}

#[test]
fn a_term_doubles_up_to_the_longest_and_a_clean_retry_frees() {
    let mut now = crate::clock::mono();
    let mut it = Quarantine::new(1);
    let mut terms = Vec::new();
    for blames in 1..=9 {
        assert_eq!(blame_9(&mut it, now), [(9, blames)]);
        let until = it.retry_at().unwrap();
        terms.push((until - now - SECOND).as_secs() / 60);
        now = until;
    }
    assert_eq!(terms, [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    connect(&mut it, &[1, 9], now);
    it.settled(1);
    assert_eq!(it.take_retry(now), Some(9));
    it.written(9, now);
    it.settled(9);
    assert!(!it.is_quarantined(9) && !it.is_held_back(9));
    assert_eq!(it.ended(now, false), []);
    assert_eq!(blame_9(&mut it, now), [(9, 1)], "it begins anew");
    assert_eq!(it.retry_at(), Some(now + SECOND + FIRST_TERM));
}

#[test]
fn an_end_of_another_kind_blames_nobody() {
    let t0 = crate::clock::mono();
    let mut it = Quarantine::new(1);
    connect(&mut it, &[1, 9], t0);
    it.settled(1);
    assert_eq!(it.ended(t0, false), []);
    assert!(!it.is_suspect(9));
    connect(&mut it, &[1, 9], t0);
    it.settled(1);
    assert_eq!(it.ended(t0 + PROBATION, true), [], "it lived on for long enough");
    assert!(!it.is_suspect(9));
    it.queued(9);
    assert_eq!(it.ended(t0, true), [], "not written");
    assert!(!it.is_suspect(9));
}

#[test]
fn without_another_that_got_through_there_are_suspects_but_no_blame() {
    let t0 = crate::clock::mono();
    let mut it = Quarantine::new(1);
    for _ in 0..20 {
        connect(&mut it, &[9], t0);
        if let Some(key) = it.take_retry(t0) {
            it.written(key, t0);
        }
        assert_eq!(it.ended(t0, true), []);
        assert!(it.is_suspect(9));
    }
}

#[test]
fn suspects_wait_until_nothing_else_is_in_question() {
    let t0 = crate::clock::mono();
    let mut it = Quarantine::new(3);
    connect(&mut it, &[1, 2, 3], t0);
    it.settled(1);
    it.ended(t0, true);
    assert!(!it.is_suspect(1) && it.is_suspect(2) && it.is_suspect(3));
    it.queued(1);
    assert_eq!((it.take_retry(t0), it.retry_at()), (None, None), "1 is queued");
    it.written(1, t0);
    assert_eq!(it.take_retry(t0), None, "1 is in question");
    assert_eq!(it.retry_at(), Some(t0 + PROBATION));
    it.settled(1);
    assert!(it.retry_at().is_some_and(|at| at <= t0), "there is one to be had");
    assert_eq!(it.take_retry(t0), Some(2));
    assert_eq!(it.take_retry(t0), None, "half of two at a time");
    it.written(2, t0);
    assert_eq!(it.retry_at(), Some(t0 + PROBATION));
    assert_eq!(it.take_retry(t0 + PROBATION), Some(3), "2 is silent, but the connection lives");
    assert!(!it.is_suspect(2));
    assert_eq!(it.ended(t0 + PROBATION, false), []);
    assert!(it.is_suspect(3), "an end of our own clears nobody");
}

#[test]
fn what_is_withdrawn_or_forgotten_holds_up_nobody() {
    let t0 = crate::clock::mono();
    let mut it = Quarantine::new(3);
    connect(&mut it, &[1, 2, 3], t0);
    it.ended(t0, true);
    let first = it.take_retry(t0).unwrap();
    it.take_retry(t0).unwrap();
    assert_eq!(it.take_retry(t0), None);
    it.withdrawn(first);
    assert!(it.is_suspect(first) && it.is_held_back(first), "until the next connection");
    assert_eq!(it.take_retry(t0), Some(3));
    for key in [1, 2, 3] {
        it.forget(key);
        assert!(!it.is_held_back(key));
    }
    assert_eq!((it.take_retry(t0 + PROBATION), it.retry_at()), (None, None));
    it.settled(1);
    it.written(4, t0);
    it.forget(4);
    assert_eq!(it.ended(t0, true), []);
    assert!(!it.is_suspect(4));
}

#[test]
fn a_second_subscribe_on_the_same_connection_is_not_in_question() {
    let t0 = crate::clock::mono();
    let mut it = Quarantine::new(1);
    connect(&mut it, &[1, 2], t0);
    it.settled(1);
    it.settled(2);
    it.written(2, t0 + SECOND);
    assert_eq!(it.ended(t0 + SECOND, true), []);
    assert!(!it.is_suspect(2));
}

#[test]
fn only_the_servers_own_ends_are_hang_ups() {
    let io = |stage, kind| EndReason::Io { stage, kind, detail: String::new() };
    for (reason, expected) in [
        (EndReason::Eof, true),
        (EndReason::ClosedByPeer { code: Some(4409), reason: String::new() }, true),
        (io(Stage::Read, ErrorKind::ConnectionReset), true),
        (io(Stage::Write, ErrorKind::BrokenPipe), true),
        (io(Stage::Read, ErrorKind::TimedOut), false),
        (io(Stage::Connect, ErrorKind::ConnectionReset), false),
        (EndReason::Reconnect, false),
        (EndReason::ClosedByUser, false),
        (EndReason::PongOverdue { waited: SECOND }, false),
    ] {
        assert_eq!(hung_up(&reason), expected, "{reason}");
    }
}

/// Lives through one connection to a server that hangs up on each bad one that it reads. It reads once all that may
/// be written is written. `acks`: how many of its answers get out before it hangs up. Says whether it hung up.
fn live(
    it: &mut Quarantine,
    keys: &[Key],
    bad: &[Key],
    acks: usize,
    now: Instant,
) -> (bool, Vec<(Key, u32)>) {
    let mut wire: VecDeque<Key> = keys.iter().copied().filter(|key| !it.is_held_back(*key)).collect();
    for key in &wire {
        it.queued(*key);
    }
    loop {
        while let Some(key) = it.take_retry(now) {
            wire.push_back(key);
        }
        for key in &wire {
            it.written(*key, now);
        }
        let good = wire.iter().position(|key| bad.contains(key)).unwrap_or(wire.len());
        let hangs_up = good < wire.len();
        for key in wire.drain(..).take(if hangs_up { good.min(acks) } else { good }) {
            it.settled(key);
        }
        if hangs_up {
            return (true, it.ended(now, true));
        }
        if it.retry_at().is_none_or(|at| at > now) {
            return (false, it.ended(now, false));
        }
    }
}

proptest! {
    /// Each bad one is quarantined after few connections, no good one ever is, and then there is peace.
    #[test]
    fn the_bad_ones_are_found(
        n in 2u64..60, seed in prop::collection::btree_set(0u64..60, 0..4), acks in 0usize..4, after in 1u32..4,
    ) {
        let t0 = crate::clock::mono();
        let keys: Vec<Key> = (0..n).collect();
        let bad: Vec<Key> = seed.into_iter().filter(|key| *key < n - 1).collect();
        let mut it = Quarantine::new(after);
        let mut connections = 0;
        loop {
            let (hung_up, quarantined) = live(&mut it, &keys, &bad, acks, t0);
            prop_assert!(quarantined.iter().all(|(key, blames)| bad.contains(key) && *blames == after));
            if !hung_up {
                break;
            }
            connections += 1;
            prop_assert!(connections <= 40 + 10 * bad.len(), "{} connections", connections);
        }
        prop_assert!(keys.iter().all(|key| it.is_quarantined(*key) == bad.contains(key)));
        prop_assert!(keys.iter().all(|key| !it.is_suspect(*key)));
        prop_assert_eq!(it.limit, usize::MAX);
        // When it is good again, each is free after a retry.
        let (hung_up, _) = live(&mut it, &keys, &[], acks, t0 + 2 * LONGEST_TERM);
        prop_assert!(!hung_up && it.doubts.is_empty());
    }

    /// A server that hangs up on everybody gets nobody quarantined.
    #[test]
    fn an_outage_quarantines_nobody(n in 1u64..20, connections in 1usize..40) {
        let t0 = crate::clock::mono();
        let keys: Vec<Key> = (0..n).collect();
        let mut it = Quarantine::new(1);
        for _ in 0..connections {
            let (_, quarantined) = live(&mut it, &keys, &keys, 9, t0);
            prop_assert_eq!(quarantined, []);
        }
        let (hung_up, _) = live(&mut it, &keys, &[], 9, t0);
        prop_assert!(!hung_up && it.doubts.is_empty());
    }

    /// Whatever is called in whatever order: the counts hold, and whoever waits knows until when.
    #[test]
    fn the_books_balance(ops in prop::collection::vec((0u8..8, 0u64..6, 0u64..4000), 0..200)) {
        let mut now = crate::clock::mono();
        let mut it = Quarantine::new(2);
        for (op, key, step) in ops {
            now += Duration::from_millis(step);
            match op {
                0 => it.queued(key),
                1 | 2 => it.written(key, now),
                3 => it.settled(key),
                4 => it.withdrawn(key),
                5 => it.forget(key),
                6 => { it.ended(now, step % 3 > 0); }
                _ => {
                    let at = it.retry_at();
                    if it.take_retry(now).is_some() {
                        prop_assert!(at.is_some_and(|at| at <= now), "it was said");
                    } else {
                        // No loop without a delay: what is said then lies ahead.
                        prop_assert!(it.retry_at().is_none_or(|at| at > now));
                    }
                }
            }
            let open = it.places.iter().filter(|(_, place)| place.is_open());
            let trials = open.clone().filter(|(key, _)| it.doubts.contains_key(key)).count();
            prop_assert_eq!((it.open, it.trials), (open.count(), trials));
            prop_assert!(it.waiting.iter().all(|(_, key)| it.is_suspect(*key) && it.is_held_back(*key)));
            prop_assert!(it.terms.iter().all(|(_, key)| it.is_quarantined(*key) && it.is_held_back(*key)));
            prop_assert!(it.retrying.is_none_or(|key| it.places.get(&key).is_some_and(|place| place.is_open())));
            prop_assert_eq!(it.probation.is_empty(), !it.places.values().any(|p| matches!(p, Place::Written(_))));
        }
    }
}
