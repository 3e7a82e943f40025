//! Hours, causes of staleness and learned limits, as the machine judges by them.

use super::*;
use crate::class::{ErrorClass, NoticeAction, StaleCause};
use crate::health::{LimitSource, SubscriptionState};
use crate::policy::adaptive;
use crate::policy::ladder::Rung;
use crate::policy::mark::Mark;

impl World {
    /// Time passes, all timers run, the socket is looked at when it has to be, and the peer answers pings.
    fn live(&mut self, time: Duration) {
        let end = self.now.mono + time;
        loop {
            let due = [self.session.next_deadline(), self.session.recv_deadline()];
            let next = due.into_iter().flatten().filter(|at| *at <= end).min();
            let next = next.map_or(end, |at| at.max(self.now.mono));
            self.pass(next.saturating_duration_since(self.now.mono));
            self.timeout();
            if self.session.is_connected() {
                self.recv(&Cycle { bytes: 2, ..Cycle::default() });
                self.empty();
            }
            if self.now.mono >= end {
                return;
            }
            if next == self.now.mono && due.into_iter().flatten().all(|at| at <= self.now.mono) {
                self.pass(MS);
            }
        }
    }

    /// Data each second, for so long; the socket is looked at after each.
    fn feed_for(&mut self, keys: &[Key], seconds: u64) {
        for _ in 0..seconds {
            self.live(SECOND);
            self.data(keys);
            self.empty();
        }
    }

    fn subscription(&self, id: &str) -> crate::health::SubscriptionHealth {
        let health = self.session.health("x", self.now.mono);
        health.subscriptions.into_iter().find(|it| it.id == *id).expect("no such subscription")
    }

    /// Data that is so old, and says what is new or not.
    fn mark(&mut self, key: Key, timely: bool, advanced: bool) {
        let marks = [Mark { key, timely, advanced, lag: Some(1_500_000_000), skew: 500_000_000 }];
        let touched = [(key, 1)];
        let cycle =
            Cycle { bytes: 9, messages: 1, data: 1, touched: &touched, marks: &marks, ..Cycle::default() };
        self.recv(&cycle);
        self.empty();
    }
}

fn stale_causes(world: &World) -> Vec<(StaleCause, &'static str)> {
    let of = |event: &Event| match event {
        Event::Stale(stale) => Some((stale.cause, stale.next.name())),
        _ => None,
    };
    world.events.iter().filter_map(of).collect()
}

#[cfg(feature = "schedule")]
mod hours {
    use super::*;
    use crate::policy::hours::{Calendar, HourLimit};

    /// The clock of a [`World`] begins at 01:46:40.
    const BEGIN: Duration = Duration::from_secs(3600 + 46 * 60 + 40);
    const HOUR: Duration = Duration::from_secs(3600);

    fn outside(limit: Option<Duration>) -> Arc<[HourLimit]> {
        Arc::new([HourLimit { hours: 0, during: false, limit }])
    }

    /// Open from nine to five; other limits outside of that, for all.
    fn market(limit: Option<Duration>) -> Settings {
        Settings {
            calendars: vec![Arc::new(Calendar::daily_utc("09:00", "17:00"))],
            by_hours: outside(limit),
            stale_after: Some(10 * SECOND),
            ..settings()
        }
    }

    fn of_market(id: &str, limit: Option<Duration>) -> Want {
        let repair: Arc<[Rung]> = Arc::new([Rung::Resubscribe(10 * SECOND), Rung::Reconnect]);
        Want { by_hours: outside(limit), repair, ..want(id, Some(10 * SECOND)) }
    }

    impl World {
        /// Goes on to this time of the day, with a server that sends nothing.
        fn until(&mut self, time: Duration) {
            let begin = SystemTime::UNIX_EPOCH + 1_000_000_000 * SECOND - BEGIN;
            let gone = self.now.wall.duration_since(begin).unwrap();
            self.live(time - gone);
        }

        fn feed_state(&self) -> State {
            self.session.state(self.now.mono)
        }
    }

    #[test]
    fn silence_is_quiet_outside_of_the_hours_and_stale_a_full_limit_after_they_begin() {
        let mut world = World::new(Settings { stale_after: None, ..market(None) });
        world.connect();
        let key = world.session.handle_subscribe(world.now, of_market("a", None)).0;
        world.settle();
        world.until(8 * HOUR);
        assert!(world.stale().is_none());
        let it = world.subscription("a");
        assert_eq!(
            (it.state, it.stale_after, it.limit_source),
            (SubscriptionState::Quiet, None, LimitSource::Hours)
        );
        assert_eq!(world.feed_state(), State::Quiet);
        world.until(9 * HOUR + 9 * SECOND + 999 * MS);
        assert!(world.stale().is_none());
        let it = world.subscription("a");
        assert_eq!((it.stale_after, it.limit_source), (Some(10 * SECOND), LimitSource::Configured));
        assert_eq!(world.feed_state(), State::Live, "data is owed");
        world.until(9 * HOUR + 10 * SECOND);
        let stale = world.stale().expect("stale").clone();
        assert_eq!(
            (stale.age, stale.limit),
            (10 * SECOND, 10 * SECOND),
            "time outside of the hours is not counted"
        );
        assert_eq!(world.feed_state(), State::Stale);
        world.data(&[key]);
        assert_eq!(world.feed_state(), State::Fresh);
    }

    #[test]
    fn the_connection_has_hours_too_and_the_machine_wakes_when_they_begin() {
        let mut world = World::new(market(None));
        world.connect();
        let wake = world.session.next_deadline().expect("nothing is scheduled");
        assert!(wake <= world.now.mono + 9 * HOUR - BEGIN);
        world.until(9 * HOUR + 9 * SECOND);
        assert!(world.stale().is_none());
        world.until(9 * HOUR + 10 * SECOND);
        assert_eq!(world.stale().map(|stale| stale.age), Some(10 * SECOND));
    }

    #[test]
    fn quiet_hours_that_begin_while_it_is_stale_make_it_quiet() {
        let mut world = World::new(Settings { stale_after: None, ..market(None) });
        world.connect();
        let key = world.session.handle_subscribe(world.now, of_market("a", None)).0;
        world.settle();
        world.until(17 * HOUR - 60 * SECOND);
        world.events.clear();
        world.end(EndReason::Eof);
        world.connect();
        world.feed_for(&[key], 45);
        world.until(17 * HOUR - SECOND);
        assert_eq!(stale_causes(&world), [(StaleCause::Silent, "resubscribe")]);
        assert_eq!(
            (world.feed_state(), world.subscription("a").stale_cause),
            (State::Stale, Some(StaleCause::Silent))
        );
        world.until(17 * HOUR);
        assert_eq!((world.feed_state(), world.subscription("a").stale_cause), (State::Quiet, None));
        world.until(20 * HOUR);
        assert_eq!(stale_causes(&world).len(), 1, "nothing more is repaired");
        assert!(world.session.is_connected());
        world.data(&[key]);
        assert_eq!(
            (world.feed_state(), world.subscription("a").state),
            (State::Fresh, SubscriptionState::Live)
        );
        world.until(23 * HOUR);
        assert_eq!(
            (world.feed_state(), world.subscription("a").state),
            (State::Quiet, SubscriptionState::Quiet)
        );
    }

    #[test]
    fn a_longer_limit_counts_from_the_last_data_and_a_shorter_one_makes_nothing_good() {
        let mut world = World::new(Settings { stale_after: None, ..market(Some(60 * SECOND)) });
        world.pass(17 * HOUR - 5 * SECOND - BEGIN);
        world.connect();
        let key = world.session.handle_subscribe(world.now, of_market("a", Some(60 * SECOND))).0;
        world.settle();
        world.data(&[key]);
        world.until(17 * HOUR + 54 * SECOND);
        assert_eq!(stale_causes(&world), []);
        assert_eq!(world.feed_state(), State::Quiet);
        world.until(17 * HOUR + 55 * SECOND);
        assert_eq!(stale_causes(&world).len(), 1);
        assert_eq!(world.feed_state(), State::Stale);
        // Stale as the usual hours begin, it stays so.
        world.until(33 * HOUR - SECOND);
        world.events.clear();
        let before = world.feed_state();
        world.until(33 * HOUR + MS);
        assert_eq!(world.feed_state(), before);
    }

    /// Stale since before a pause of the server, whose end starts every clock anew.
    #[test]
    fn quiet_hours_lift_what_was_stale_before_a_pause() {
        let mut world = World::new(Settings { stale_after: None, ..market(None) });
        world.pass(17 * HOUR - 60 * SECOND - BEGIN);
        world.connect();
        let key = world.session.handle_subscribe(world.now, of_market("a", None)).0;
        world.settle();
        world.data(&[key]);
        world.until(17 * HOUR - 45 * SECOND);
        assert_eq!(stale_causes(&world).len(), 1);
        world.session.handle_notice(world.now, NoticeAction::Pause(SECOND), String::new());
        world.until(17 * HOUR - 40 * SECOND);
        assert_eq!(world.feed_state(), State::Stale);
        world.session.handle_notice(world.now, NoticeAction::Pause(39 * SECOND), String::new());
        world.until(17 * HOUR);
        assert_eq!((world.feed_state(), world.subscription("a").stale_cause), (State::Quiet, None));
        world.until(20 * HOUR);
        assert_eq!(stale_causes(&world).len(), 1);
        assert_eq!(world.feed_state(), State::Quiet);
    }

    #[test]
    fn what_was_lifted_by_quiet_hours_is_judged_again_after_them_by_its_usual_limit() {
        let mut world = World::new(Settings { stale_after: None, ..market(None) });
        world.pass(17 * HOUR - 15 * SECOND - BEGIN);
        world.connect();
        let repair: Arc<[Rung]> = Arc::new([Rung::Probe(60 * SECOND), Rung::Reconnect]);
        let want = Want { first_limit: None, can_probe: true, repair, ..of_market("a", None) };
        let key = world.session.handle_subscribe(world.now, want).0;
        world.settle();
        world.data(&[key]);
        world.until(17 * HOUR - SECOND);
        assert_eq!(stale_causes(&world), [(StaleCause::Silent, "probe")]);
        world.until(33 * HOUR);
        assert_eq!(world.feed_state(), State::Quiet, "no data yet, within the limit");
        assert_eq!(stale_causes(&world).len(), 1);
        world.until(33 * HOUR + 10 * SECOND - MS);
        assert_eq!(stale_causes(&world).len(), 1);
        world.until(33 * HOUR + 10 * SECOND);
        assert_eq!(stale_causes(&world).len(), 2);
    }

    #[test]
    fn old_data_is_not_fresh_when_the_hours_begin() {
        let mut world = World::new(market(None));
        world.pass(17 * HOUR - SECOND - BEGIN);
        world.connect();
        let key = world.session.handle_subscribe(world.now, of_market("a", None)).0;
        world.settle();
        world.data(&[key]);
        world.until(17 * HOUR);
        assert_eq!(world.feed_state(), State::Fresh);
        world.until(33 * HOUR + SECOND);
        assert_eq!(world.feed_state(), State::Quiet, "its data is sixteen hours old");
        assert_eq!(world.subscription("a").state, SubscriptionState::Quiet);
        world.data(&[key]);
        assert_eq!(world.feed_state(), State::Fresh);
    }

    /// It is set within hours, or the computer slept: nothing turns, and yet the next hours are nearer.
    #[test]
    fn a_clock_that_is_set_forward_brings_the_wake_up_forward() {
        let mut world = World::new(market(None));
        world.connect();
        world.live(SECOND);
        let wake = |world: &World| world.session.next_deadline().unwrap() - world.now.mono;
        let liveness = &mut world.session.settings.liveness;
        liveness.after = None;
        world.end(EndReason::Eof);
        world.connect();
        world.empty();
        let before = wake(&world);
        assert!(before > 6 * HOUR, "{before:?}");
        world.now.wall += 6 * HOUR;
        world.recv(&Cycle { bytes: 2, ..Cycle::default() });
        assert_eq!(wake(&world), before - 6 * HOUR);
    }

    /// The controller wakes first, and does not know yet that the process was stopped.
    #[test]
    fn hours_that_begin_while_the_process_is_stopped_put_no_verdict_off() {
        let mut world = World::new(market(None));
        world.connect();
        world.until(9 * HOUR - 1800 * SECOND);
        world.recv(&Cycle { bytes: 2, ..Cycle::default() });
        world.pass(HOUR);
        world.timeout();
        let armed = Some(5 * SECOND);
        world.recv(&Cycle { empty: true, armed, suspended: world.suspended, ..Cycle::default() });
        assert!(world.stale().is_none());
        world.live(10 * SECOND);
        assert!(world.stale().is_some());
    }

    /// The threads read the clock before they take the lock: the later one may tell of the earlier time.
    #[test]
    fn hours_do_not_turn_back_for_a_time_that_was_read_before_they_turned() {
        let mut world = World::new(market(None));
        world.connect();
        world.until(9 * HOUR);
        let early = Stamp { mono: world.now.mono - MS, wall: world.now.wall - MS };
        let limit = |world: &World| world.session.health("x", world.now.mono).stale_after;
        assert_eq!(limit(&world), Some(10 * SECOND));
        world.session.handle_recv(early, &Cycle { bytes: 2, ..Cycle::default() });
        assert_eq!(limit(&world), Some(10 * SECOND));
        // A clock that is set back is another thing.
        world.now.wall -= MS;
        world.recv(&Cycle { bytes: 2, ..Cycle::default() });
        assert_eq!(limit(&world), None);
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_at_the_next_look() {
        let mut world = World::new(market(None));
        world.connect();
        world.live(HOUR);
        world.now.wall += 8 * HOUR; // set by hand, or the computer slept: it is ten
        world.recv(&Cycle { bytes: 2, ..Cycle::default() });
        assert_eq!(world.session.health("x", world.now.mono).stale_after, Some(10 * SECOND));
        world.now.wall -= 8 * HOUR;
        world.recv(&Cycle { bytes: 2, ..Cycle::default() });
        assert_eq!(world.session.health("x", world.now.mono).stale_after, None);
        // A clock that stands still is no busy loop.
        world.until(9 * HOUR - SECOND);
        world.now.mono += 5 * SECOND;
        world.timeout();
        let wake = world.session.next_deadline().expect("nothing is scheduled");
        assert!(wake > world.now.mono, "it is not due again at once");
    }
}

#[test]
fn late_data_is_data_and_no_timely_data_is_stale() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    let repair: Arc<[Rung]> = Arc::new([Rung::Resubscribe(10 * SECOND), Rung::Reconnect]);
    let want = Want { late: Some(20 * SECOND), repair, ..want("a", Some(10 * SECOND)) };
    let key = world.session.handle_subscribe(world.now, want).0;
    world.settle();
    world.mark(key, true, true);
    assert_eq!(world.session.state(world.now.mono), State::Fresh);
    for _ in 0..4 {
        world.live(5 * SECOND - MS);
        world.mark(key, false, true);
    }
    assert!(world.stale().is_none());
    assert_eq!(world.subscription("a").lag_seconds, Some(1.5));
    assert_eq!(world.subscription("a").skew_seconds, Some(0.5));
    world.live(5 * SECOND + 2 * MS);
    assert!(world.stale().is_none());
    world.live(MS);
    let stale = world.stale().expect("stale").clone();
    assert_eq!((stale.cause, stale.age, stale.limit), (StaleCause::Late, 20 * SECOND, 20 * SECOND));
    // It is made again, and what comes is as old as before: that is no repair.
    world.mark(key, false, true);
    let it = world.subscription("a");
    assert_eq!((it.state, it.stale_cause), (SubscriptionState::Stale, Some(StaleCause::Late)));
    world.live(9 * SECOND);
    world.mark(key, false, true);
    assert_eq!(stale_causes(&world), [(StaleCause::Late, "resubscribe")]);
    world.live(SECOND);
    assert_eq!(stale_causes(&world), [(StaleCause::Late, "resubscribe"), (StaleCause::Late, "reconnect")]);
    assert!(world.session.must_end(world.now.mono));
    world.end(EndReason::Eof);
    let reason = world.session.health("x", world.now.mono).last_end;
    assert!(matches!(reason, Some(EndReason::Stale { cause: StaleCause::Late, .. })), "{reason:?}");
    // As much on the next connection: data that is as old as before makes nothing fresh.
    world.connect();
    for _ in 0..3 {
        world.mark(key, false, true);
        assert_eq!(world.session.state(world.now.mono), State::Live);
        world.live(SECOND);
    }
    assert_eq!(world.subscription("a").state, SubscriptionState::Live);
    world.mark(key, true, true);
    assert_eq!(world.session.state(world.now.mono), State::Fresh);
    world.mark(key, false, true);
    assert_eq!(world.session.state(world.now.mono), State::Fresh, "until there is another verdict");
}

#[test]
fn what_says_the_same_again_and_again_is_frozen_until_it_says_something_else() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    let repair: Arc<[Rung]> = Arc::new([Rung::Resubscribe(60 * SECOND), Rung::Reconnect]);
    let want = Want { frozen: Some(30 * SECOND), repair, ..want("a", Some(10 * SECOND)) };
    let key = world.session.handle_subscribe(world.now, want).0;
    world.settle();
    for _ in 0..7 {
        world.live(5 * SECOND);
        world.mark(key, true, false);
    }
    assert_eq!(stale_causes(&world), [(StaleCause::Frozen, "resubscribe")]);
    for _ in 0..3 {
        world.live(5 * SECOND);
        world.mark(key, true, false);
    }
    assert_eq!(world.subscription("a").state, SubscriptionState::Stale);
    world.mark(key, true, true);
    let it = world.subscription("a");
    assert_eq!((it.state, it.stale_cause), (SubscriptionState::Live, None));
    assert_eq!(world.session.state(world.now.mono), State::Fresh);
    // Silence is its own cause, with its own limit.
    world.live(10 * SECOND);
    assert_eq!(stale_causes(&world).last(), Some(&(StaleCause::Silent, "reconnect")));
}

#[test]
fn a_snapshot_that_is_timely_does_not_begin_the_ladder_anew() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    let repair: Arc<[Rung]> = Arc::new([Rung::Resubscribe(10 * SECOND), Rung::Reconnect]);
    let want = Want { late: Some(10 * SECOND), repair, ..want("a", Some(10 * SECOND)) };
    let key = world.session.handle_subscribe(world.now, want).0;
    world.settle();
    world.mark(key, true, true);
    let mut steps = Vec::new();
    for _ in 0..30 {
        world.live(3 * SECOND);
        world.mark(key, false, true);
        if !stale_causes(&world).is_empty() {
            steps.extend(stale_causes(&world));
            world.events.clear();
            if world.session.must_end(world.now.mono) {
                break;
            }
            world.mark(key, true, true); // the snapshot
        }
    }
    assert_eq!(steps, [(StaleCause::Late, "resubscribe"), (StaleCause::Late, "reconnect")]);
}

#[test]
fn a_limit_is_learned_kept_over_reconnects_and_explained() {
    let adaptive =
        adaptive::Settings { factor: 4.0, floor: SECOND, ceiling: 120 * SECOND, warm_up: 60 * SECOND };
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    let want = Want { adaptive: Some(adaptive), ..want("a", Some(120 * SECOND)) };
    let key = world.session.handle_subscribe(world.now, want).0;
    world.settle();
    world.feed_for(&[key], 30);
    let it = world.subscription("a");
    assert_eq!((it.stale_after, it.limit_source), (Some(120 * SECOND), LimitSource::WarmingUp));
    world.feed_for(&[key], 90);
    let it = world.subscription("a");
    assert_eq!((it.stale_after, it.limit_source), (Some(4 * SECOND), LimitSource::Learned));
    assert_eq!(it.learned_gap, Some(SECOND));
    world.end(EndReason::Eof);
    world.live(30 * SECOND);
    world.take_dial();
    world.events.clear();
    let established = established();
    assert!(world.session.handle_connected(world.now, established, world.suspended));
    world.settle();
    world.feed_for(&[key], 5);
    assert_eq!(
        world.subscription("a").stale_after,
        Some(4 * SECOND),
        "the time without a connection is no gap"
    );
    world.live(4 * SECOND - MS);
    assert!(world.stale().is_none());
    world.live(MS);
    let stale = world.stale().expect("stale");
    assert_eq!((stale.cause, stale.limit), (StaleCause::Silent, 4 * SECOND));
}

fn learned(ceiling: Duration) -> adaptive::Settings {
    adaptive::Settings { factor: 4.0, floor: SECOND, ceiling, warm_up: 60 * SECOND }
}

#[test]
fn the_learned_limit_of_the_connection_holds_on_the_next_one_too() {
    let ceiling = 120 * SECOND;
    let settings = Settings { stale_after: Some(ceiling), adaptive: Some(learned(ceiling)), ..settings() };
    let mut world = World::new(settings);
    world.connect();
    world.feed_for(&[], 90);
    assert_eq!(world.session.health("x", world.now.mono).stale_after, Some(4 * SECOND));
    world.end(EndReason::Eof);
    world.connect();
    world.feed_for(&[], 5);
    assert!(world.stale().is_none());
    world.live(4 * SECOND - MS);
    assert!(world.stale().is_none());
    world.live(MS);
    assert_eq!(world.stale().map(|stale| stale.limit), Some(4 * SECOND));
}

#[test]
fn the_first_data_after_a_probe_brings_the_usual_limit() {
    for (first, usual) in [(5, 60), (60, 5)] {
        let mut world = World::new(Settings { stale_after: None, ..settings() });
        world.connect();
        let repair: Arc<[Rung]> = Arc::new([Rung::Probe(10 * SECOND), Rung::Reconnect]);
        let first_limit = Some(first * SECOND);
        let want = Want { first_limit, can_probe: true, repair, ..want("a", Some(usual * SECOND)) };
        let key = world.session.handle_subscribe(world.now, want).0;
        world.settle();
        world.live(first * SECOND);
        assert_eq!(stale_causes(&world), [(StaleCause::Silent, "probe")]);
        world.events.clear();
        world.data(&[key]);
        world.live(usual * SECOND - MS);
        assert_eq!(stale_causes(&world), []);
        world.live(MS);
        assert_eq!(world.stale().map(|stale| stale.limit), Some(usual * SECOND));
    }
}

#[test]
fn what_ends_while_it_is_stale_is_stale_no_more() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    let repair: Arc<[Rung]> = Arc::new([Rung::Resubscribe(10 * SECOND), Rung::Reconnect]);
    let key = world.session.handle_subscribe(world.now, Want { repair, ..want("a", Some(SECOND)) }).0;
    world.settle();
    world.live(SECOND);
    assert_eq!(world.session.state(world.now.mono), State::Stale);
    let about = About::Keys(&[key]);
    for _ in 0..2 {
        // The first may be the answer to our own message.
        world.session.handle_dropped(world.now, about, ErrorClass::Refused, None, String::new());
    }
    world.settle();
    let it = world.subscription("a");
    assert_eq!((it.state, it.stale_cause), (SubscriptionState::Ended, None));
    assert_eq!(world.session.state(world.now.mono), State::Live);
}

/// What a repair brings is awaited at least for the limit, which may have grown by the verdict.
#[test]
fn a_limit_that_grew_by_the_verdict_is_waited_for() {
    let ceiling = 120 * SECOND;
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    let repair: Arc<[Rung]> =
        Arc::new([Rung::Probe(SECOND), Rung::Probe(SECOND), Rung::Probe(SECOND), Rung::Reconnect]);
    let adaptive = Some(learned(ceiling));
    let want = Want { adaptive, can_probe: true, repair, ..want("a", Some(ceiling)) };
    let key = world.session.handle_subscribe(world.now, want).0;
    world.settle();
    world.feed_for(&[key], 90);
    for _ in 0..2 {
        world.live(4 * SECOND + 500 * MS);
        world.data(&[key]);
        world.feed_for(&[key], 2);
    }
    world.live(4 * SECOND);
    assert_eq!(stale_causes(&world), [(StaleCause::Silent, "probe"); 3]);
    world.events.clear();
    assert_eq!(world.subscription("a").stale_after, Some(16 * SECOND));
    world.live(12 * SECOND - MS);
    assert_eq!(stale_causes(&world), []);
    world.live(MS);
    assert_eq!(world.stale().map(|stale| (stale.age, stale.limit)), Some((16 * SECOND, 16 * SECOND)));
}
