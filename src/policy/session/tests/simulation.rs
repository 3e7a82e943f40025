//! Thousands of hours of faults in seconds, with the contracts as invariants.

use super::grammar::Grammar;
use super::*;
use crate::class::{ErrorClass, NoticeAction, StaleCause};
use crate::policy::adaptive;
use crate::policy::alarm::no_data;
use crate::policy::hours::HourLimit;
use crate::policy::ladder::Rung;
use crate::policy::mark::Mark;
use crate::policy::subscriptions::Entry;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;

#[cfg(feature = "schedule")]
fn calendars() -> Vec<Arc<Calendar>> {
    let daily = [("02:00", "03:00"), ("03:30", "23:00"), ("05:00", "01:00"), ("00:00", "12:00")];
    daily.map(|(from, to)| Arc::new(Calendar::daily_utc(from, to))).into()
}

#[cfg(not(feature = "schedule"))]
fn calendars() -> Vec<Arc<Calendar>> {
    Vec::new()
}

/// None, or some that apply at times.
fn by_hours(random: &mut StdRng) -> Arc<[HourLimit]> {
    let count = random.random_range(0..4);
    let entry = |_| HourLimit {
        hours: random.random_range(0..calendars().len().max(1)),
        during: random.random_bool(0.5),
        limit: random.random_bool(0.5).then(|| random.random_range(1..300) * SECOND),
    };
    (0..count).map(entry).collect()
}

fn adaptive(random: &mut StdRng) -> Option<adaptive::Settings> {
    let (factor, floor, ceiling) = (random.random_range(10..60) as f64 / 10.0, SECOND, 60 * SECOND);
    random.random_bool(0.4).then_some(adaptive::Settings { factor, floor, ceiling, warm_up: 30 * SECOND })
}

fn some_want(random: &mut StdRng, id: &str) -> Want {
    let rungs = [Rung::Probe(2 * SECOND), Rung::Resubscribe(20 * SECOND), Rung::Reconnect];
    let skipped = random.random_range(0..3);
    let adaptive = adaptive(random);
    let mut seconds = |most: u32| random.random_bool(0.5).then(|| SECOND * random.random_range(1..most));
    let (first_limit, late, frozen) = (seconds(120), seconds(60), seconds(200));
    let limit = if adaptive.is_some() { Some(60 * SECOND) } else { seconds(90) };
    let repair = rungs.into_iter().skip(skipped).collect();
    let by_hours = by_hours(random);
    Want { limit, adaptive, first_limit, late, frozen, by_hours, repair, can_probe: true, ..want(id, None) }
}

impl World {
    /// Looks at what was said. What is stale is so by limits that hold, and has been for as long as they are. Gives the
    /// number of verdicts.
    fn check(&mut self, grammar: &mut Grammar, fed: &BTreeMap<Key, Instant>) -> u64 {
        let mut verdicts = 0;
        for event in std::mem::take(&mut self.events) {
            grammar.check(&event);
            let Event::Stale(stale) = event else { continue };
            verdicts += 1;
            assert!(stale.age >= stale.limit, "{stale:?}");
            let named = |entry: &Entry| Some(&entry.want.id) == stale.subscription.as_ref();
            let found = self.session.subscriptions.iter().find(|(_, entry)| named(entry));
            let Some((key, _)) = found else { continue };
            let silent = self.now.mono.saturating_duration_since(fed[&key]);
            assert!(stale.cause != StaleCause::Silent || silent >= stale.limit, "{stale:?}, {silent:?}");
        }
        for (_, entry) in self.session.subscriptions.iter() {
            let Some(cause) = entry.stale else { continue };
            let limit = entry.demand.limits(false).of(cause).or(entry.demand.limits(true).of(cause));
            assert!(limit.is_some(), "{cause:?} without a limit on it: {entry:?}");
        }
        verdicts
    }
}

/// One feed's life: random faults, random time, random users.
fn live(seed: u64, steps: usize) -> (Duration, u64) {
    let mut random = StdRng::seed_from_u64(seed);
    let mut verdicts = 0;
    let mut fed: BTreeMap<Key, Instant> = BTreeMap::new();
    let watched = adaptive(&mut random);
    let mut world = World::seeded(
        Settings {
            adaptive: watched,
            calendars: calendars(),
            by_hours: by_hours(&mut random),
            stale_after: (watched.is_some() || random.random_bool(0.8)).then_some(60 * SECOND),
            max_attempts: random.random_bool(0.1).then_some(50),
            alarms: alarm::Settings {
                reconnects: Some((random.random_range(0..5), 600 * SECOND)),
                no_data: Arc::new([
                    no_data::Limit { after: 100 * SECOND, hours: None },
                    no_data::Limit {
                        after: 50 * SECOND,
                        hours: Some(no_data::Hours { index: 0, during: true, name: "early".into() }),
                    },
                ]),
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
        verdicts += world.check(&mut grammar, &fed);
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
                let established = established();
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
                    let touched: Vec<_> = touched.into_iter().map(|key| (key, 1)).collect();
                    let mut marks = Vec::new();
                    for (key, _) in &touched {
                        fed.insert(*key, world.now.mono);
                        let want = world.session.subscriptions.get(*key).map(|entry| &entry.want);
                        let Some(want) = want else { continue };
                        let timely = want.late.is_none() || random.random_bool(0.1);
                        let advanced = want.frozen.is_none() || random.random_bool(0.1);
                        if want.late.or(want.frozen).is_some() {
                            marks.push(Mark { key: *key, timely, advanced, lag: Some(7), skew: 0 });
                        }
                    }
                    world.recv(&Cycle {
                        bytes: 9,
                        messages: 1,
                        data: 1,
                        touched: &touched,
                        marks: &marks,
                        ..Cycle::default()
                    });
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
                95 => {
                    let action = match random.random_range(0..3) {
                        0 => NoticeAction::Resume,
                        1 => NoticeAction::ResubscribeAll,
                        _ => NoticeAction::Pause(random.random_range(0..200) * SECOND),
                    };
                    world.session.handle_notice(world.now, action, String::new());
                }
                96 => {
                    let class =
                        if random.random_bool(0.5) { ErrorClass::Refused } else { ErrorClass::RetryLater };
                    let of: Vec<Key> =
                        keys.iter().map(|(_, key)| *key).filter(|_| random.random_bool(0.3)).collect();
                    world.session.handle_dropped(world.now, About::Keys(&of), class, None, String::new());
                }
                _ => {
                    let text = Content::Text("x".into());
                    let _ = world.session.handle_send(text);
                }
            }
            world.settle();
            verdicts += world.check(&mut grammar, &fed);
            if world.session.is_connected()
                && world.session.demand.limit().is_some()
                && let Phase::Up(up) = &world.session.phase
                && up.may_judge()
            {
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
                let want = some_want(&mut random, &id);
                let key = world.session.handle_subscribe(world.now, want).0;
                world.settle();
                fed.insert(key, world.now.mono);
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
        let busy = next.is_some_and(|at| at <= world.now.mono);
        assert!(!busy || world.session.is_closing(), "{next:?} has passed at {:?}", world.now.mono);
        if random.random_bool(0.1) && world.session.is_connected() {
            // A verdict is given at the first look, and what is next is known at the second.
            world.empty();
            world.empty();
            let next = [world.session.next_deadline(), world.session.recv_deadline()];
            let busy = next.into_iter().flatten().any(|at| at <= world.now.mono);
            assert!(!busy || !world.session.is_connected(), "{next:?} has passed at {:?}", world.now.mono);
        }
    }
    (world.now.mono - begin, verdicts)
}

fn sum(one: (Duration, u64), other: (Duration, u64)) -> (Duration, u64) {
    (one.0 + other.0, one.1 + other.1)
}

#[test]
fn thousands_of_hours_keep_the_contracts() {
    // It takes longest of all: on two cores.
    let (lived, verdicts) = std::thread::scope(|scope| {
        let threads = [0..100, 100..200]
            .map(|seeds| scope.spawn(|| seeds.map(|seed| live(seed, 3000)).fold((Duration::ZERO, 0), sum)));
        threads.into_iter().map(|thread| thread.join().unwrap()).fold((Duration::ZERO, 0), sum)
    });
    let hours = lived.as_secs() / 3600;
    assert!(hours > 1000, "only {hours} hours were simulated");
    assert!(verdicts > 1000, "only {verdicts} verdicts were given");
}
