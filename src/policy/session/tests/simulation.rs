//! Thousands of hours of faults in seconds, with the contracts as invariants.

use super::*;
use crate::event::AlertStatus;
use crate::policy::alarm::no_data;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeSet;

/// Checks the grammar of the event stream as it goes.
#[derive(Default)]
struct Grammar {
    epoch: u64,
    up: bool,
    /// `Connected` of a later epoch was said; its gap must be next.
    gap_due: bool,
    closed: bool,
    raised: BTreeSet<&'static str>,
}

impl Grammar {
    fn check(&mut self, event: &Event) {
        assert!(!self.closed, "after Closed: {event:?}");
        if std::mem::take(&mut self.gap_due) {
            let Event::Gap(gap) = event else { panic!("not the gap of the reconnect: {event:?}") };
            assert!(matches!(gap.cause, GapCause::Reconnected | GapCause::EndpointSwitched));
            assert_eq!(gap.epoch, self.epoch);
        }
        match event {
            Event::Connecting(e) => {
                assert!(!self.up);
                assert_eq!(e.epoch, self.epoch + 1);
            }
            Event::Connected(e) => {
                assert!(!self.up);
                assert_eq!(e.epoch, self.epoch + 1);
                self.epoch = e.epoch;
                self.up = true;
                self.gap_due = e.epoch > 1;
            }
            Event::Disconnected(e) => {
                assert_eq!(e.was_connected, self.up);
                assert_eq!(e.epoch, if self.up { self.epoch } else { self.epoch + 1 });
                if let Some(delay) = e.retry_in {
                    assert!(delay >= 100 * MS, "{delay:?}");
                }
                self.up = false;
            }
            Event::Stale(e) => {
                assert!(self.up && e.age >= e.limit);
            }
            Event::Subscribed(e) => assert!(self.up && e.epoch == self.epoch),
            Event::Refused(e) => assert!(self.up && e.epoch == self.epoch),
            Event::Ended(e) => assert!(self.up && e.epoch == self.epoch),
            Event::Closed(_) => {
                assert!(!self.up);
                self.closed = true;
            }
            Event::Alert(alert) => match alert.status {
                AlertStatus::Raised => assert!(self.raised.insert(alert.kind.name()), "{alert:?} twice"),
                AlertStatus::Cleared => {
                    assert!(self.raised.remove(alert.kind.name()), "{alert:?}: not raised")
                }
                AlertStatus::Happened => {}
            },
            Event::Message(_) | Event::Gap(_) => {}
        }
    }
}

/// One feed's life: random faults, random time, random users.
fn live(seed: u64, steps: usize) -> Duration {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::seeded(
        Settings {
            stale_after: random.random_bool(0.8).then_some(60 * SECOND),
            max_attempts: random.random_bool(0.1).then_some(50),
            alarms: alarm::Settings {
                reconnects: Some((random.random_range(0..5), 600 * SECOND)),
                no_data: Arc::new([no_data::Limit { after: 100 * SECOND, hours: None }]),
                down: Some(random.random_range(1..100) * SECOND),
                unmatched: true,
                cool_down: random.random_range(1..1000) * SECOND,
            },
            ..settings()
        },
        seed,
    );
    let begin = world.now.mono;
    let mut grammar = Grammar::default();
    let mut keys: Vec<(String, Key)> = Vec::new();
    let mut dialing = false;
    let mut last_end = None;
    for _ in 0..steps {
        for event in std::mem::take(&mut world.events) {
            grammar.check(&event);
        }
        if world.take_dial() {
            assert!(!dialing && !world.session.is_up(), "one attempt at a time");
            dialing = true;
            if let Some(end) = last_end {
                assert!(world.now.mono.saturating_duration_since(end) >= 100 * MS, "a retry without a delay");
            }
        }
        if world.session.closed().is_some() {
            break;
        }
        // Never stuck: something is scheduled, or an attempt is under way, or the reader reads.
        assert!(
            dialing || world.session.is_up() || world.session.next_deadline().is_some(),
            "nothing will ever happen again"
        );
        let aborted = world.actions.contains(&Action::Abort);
        if dialing {
            world.pass(random.random_range(0..3000) * MS);
            world.timeout();
            dialing = false;
            if !world.session.is_closing() && random.random_bool(0.6) {
                world.session.handle_connecting(world.now, String::new());
                let established = Established {
                    took: MS,
                    peer: ([127, 0, 0, 1], 1).into(),
                    subprotocol: None,
                    schedules: Vec::new(),
                };
                assert!(world.session.handle_connected(world.now, established, world.suspended));
                world.settle();
            } else {
                world.end(EndReason::Dns { detail: String::new() });
                last_end = Some(world.now.mono);
            }
            continue;
        }
        if world.session.is_up() {
            if world.session.must_end(world.now.mono) || (aborted && random.random_bool(0.5)) {
                world.actions.clear();
                world.end(EndReason::Eof);
                last_end = Some(world.now.mono);
                continue;
            }
            match random.random_range(0..100) {
                0..40 => {
                    let touched: Vec<Key> =
                        keys.iter().map(|(_, key)| *key).filter(|_| random.random_bool(0.5)).collect();
                    world.pass(random.random_range(0..500) * MS);
                    world.data(&touched);
                }
                40..55 => {
                    world.pass(random.random_range(0..20_000) * MS);
                    world.bytes();
                }
                55..80 => {
                    let before = world.stale().is_some();
                    let deadline = world.session.recv_deadline();
                    world.pass(random.random_range(0..30_000) * MS);
                    world.timeout();
                    world.empty();
                    if world.stale().is_some() && !before {
                        assert!(
                            deadline.is_some_and(|at| at <= world.now.mono),
                            "a verdict before its deadline"
                        );
                    }
                }
                80..83 => {
                    world.session.handle_away(world.now.mono);
                    world.pass(random.random_range(0..600) * SECOND);
                    world.session.handle_back(world.now.mono);
                    world.recv(&Cycle { bytes: 2, messages: 1, unmatched: 1, ..Cycle::default() });
                }
                83..86 => {
                    world.suspended = world.suspended.map(|s| s + 3600 * SECOND);
                    world.now.wall += 3600 * SECOND;
                }
                86..88 => world.now.wall -= 1000 * SECOND,
                88..91 => {
                    world.end(EndReason::Eof);
                    last_end = Some(world.now.mono);
                }
                91..93 => {
                    let close = Some((Some(1001), String::new()));
                    world.recv(&Cycle { bytes: 4, close, ..Cycle::default() });
                }
                93..95 => world.session.handle_reconnect(world.now),
                _ => {
                    let text = Content::Text("x".into());
                    let _ = world.session.handle_send(text);
                }
            }
            world.settle();
            if world.session.is_connected() && world.session.settings.stale_after.is_some() {
                assert!(
                    world.session.recv_deadline().is_some(),
                    "a limit, and the reader waits without an end"
                );
            }
        } else {
            match world.session.next_deadline() {
                Some(at) => world.pass(at.saturating_duration_since(world.now.mono)),
                None => world.pass(SECOND),
            }
            world.timeout();
        }
        if random.random_bool(0.02) {
            let id = format!("s{}", random.random_range(0..5));
            keys.retain(|(own, _)| *own != id);
            if random.random_bool(0.3) {
                let _ = world.session.handle_unsubscribe(world.now, &id.as_str().into());
            } else {
                let limit = random.random_bool(0.5).then_some(90 * SECOND);
                let key = world.subscribe(&id, limit);
                keys.push((id, key));
            }
        }
        if random.random_bool(0.02) {
            world.session.handle_slow_consumer(world.now, random.random_bool(0.5), 1, 1);
        }
        if random.random_bool(0.0002) {
            world.session.handle_close(world.now, SECOND, CloseReason::ByUser);
        }
        world.settle();
        while world.session.poll_outcome().is_some() {}
        // After any operations the desired set is what was asked for.
        let mut wanted: Vec<_> = keys.iter().map(|(id, _)| id.clone()).collect();
        wanted.sort();
        let mut desired: Vec<_> =
            world.session.subscriptions.ids().iter().map(|id| id.as_str().to_owned()).collect();
        desired.sort();
        assert_eq!(wanted, desired);
        // Whatever has passed is dealt with: no deadline keeps a thread busy.
        world.timeout();
        let next = world.session.next_deadline();
        let busy = next.is_some_and(|at| at <= world.now.mono) && !world.session.is_up();
        assert!(!busy || world.session.is_closing(), "{next:?} has passed at {:?}", world.now.mono);
    }
    world.now.mono - begin
}

#[test]
fn thousands_of_hours_keep_the_contracts() {
    let lived: Duration = (0..200).map(|seed| live(seed, 3000)).sum();
    let hours = lived.as_secs() / 3600;
    assert!(hours > 1000, "only {hours} hours were simulated");
}
