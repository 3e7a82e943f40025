//! The machine and what a person is told of: when, by which clock, and that nothing depends on anything else to happen.

use super::*;
use crate::class::ErrorClass;
use crate::event::AlertStatus;
use crate::health::SubscriptionState;
use crate::policy::alarm::no_data;

const MINUTE: Duration = Duration::from_secs(60);

/// Nothing but what a test asks for.
fn watching(change: impl FnOnce(&mut alarm::Settings)) -> Settings {
    let liveness = liveness::Settings { after: None, timeout: SECOND };
    let mut settings = Settings { stale_after: None, liveness, ..settings() };
    change(&mut settings.alarms);
    settings
}

fn no_data(after: Duration) -> Arc<[no_data::Limit]> {
    Arc::new([no_data::Limit { after, hours: None }])
}

impl World {
    /// The alerts so far: status and kind.
    fn alerts(&mut self) -> Vec<(&'static str, &'static str)> {
        let of = |event: Event| match event {
            Event::Alert(alert) => Some((alert.status.name(), alert.kind.name())),
            _ => None,
        };
        self.events.drain(..).filter_map(of).collect()
    }

    fn raised(&self) -> Vec<&'static str> {
        self.session.health("", self.now.mono).alerts
    }

    /// Waits for the controller's next deadline, and for nothing else.
    fn wake(&mut self) {
        let at = self.session.next_deadline().expect("a deadline");
        assert!(at > self.now.mono, "a deadline that has passed is a loop without a wait");
        self.pass(at - self.now.mono);
        self.timeout();
    }
}

#[test]
fn reconnects_are_raised_after_the_end_and_cleared_by_a_deadline_alone() {
    let mut world = World::new(watching(|alarms| alarms.reconnects = Some((2, MINUTE))));
    for _ in 0..3 {
        world.connect();
        world.data(&[]);
        world.end(EndReason::Eof);
    }
    let names: Vec<_> = world.events.iter().map(Event::name).collect();
    assert!(names.ends_with(&["disconnected", "alert"]), "{names:?}");
    let Some(Event::Alert(alert)) = world.events.last() else { unreachable!() };
    assert_eq!((alert.status, alert.epoch, alert.time), (AlertStatus::Raised, 3, world.now.wall));
    assert_eq!(world.raised(), ["reconnects"]);
    world.events.clear();
    world.connect();
    world.wake();
    assert_eq!(world.alerts(), [("cleared", "reconnects")]);
    assert_eq!(world.raised(), [""; 0]);
    assert_eq!(world.session.next_deadline(), None, "nothing else is scheduled");
}

#[test]
fn down_is_raised_during_an_attempt_that_takes_long_and_cleared_after_the_gap() {
    let mut world = World::new(watching(|alarms| alarms.down = Some(MINUTE)));
    world.dial();
    world.wake();
    assert_eq!(world.alerts(), [("raised", "down")]);
    assert_eq!(world.session.next_deadline(), None);
    world.end(EndReason::Eof);
    world.connect();
    assert_eq!(world.names(), ["disconnected", "connected", "alert"]);
    world.end(EndReason::Eof);
    world.connect();
    assert_eq!(world.names(), ["disconnected", "connected", "gap"]);
}

#[test]
fn only_an_empty_socket_has_no_data() {
    let mut world = World::new(watching(|alarms| alarms.no_data = no_data(MINUTE)));
    world.connect();
    let begin = world.now.mono;
    assert_eq!(world.session.recv_deadline(), Some(begin + MINUTE), "the reader looks then");
    assert_eq!(world.session.next_deadline(), None, "and the controller need not");
    world.pass(2 * MINUTE);
    world.timeout();
    assert_eq!(world.alerts(), []);
    world.data(&[]);
    assert_eq!(world.alerts(), [], "it lay in the socket");
    world.pass(MINUTE - MS);
    world.empty();
    assert_eq!(world.alerts(), []);
    world.pass(MS);
    world.bytes();
    assert_eq!(world.alerts(), [], "there may be more in the socket");
    world.empty();
    assert_eq!(world.alerts(), [("raised", "no_data")]);
    assert_eq!(world.session.recv_deadline(), None);
    world.data(&[]);
    assert_eq!(world.alerts(), [("cleared", "no_data")]);
}

#[test]
fn without_a_connection_the_time_counts_and_the_controller_tells() {
    let mut world = World::new(watching(|alarms| alarms.no_data = no_data(10 * SECOND)));
    world.connect();
    world.pass(9 * SECOND);
    world.end(EndReason::Eof);
    world.dial();
    world.wake();
    assert_eq!(world.alerts(), [("raised", "no_data")]);
    assert_eq!(world.session.next_deadline(), None);
}

#[test]
fn a_reader_that_is_away_lacks_no_data_on_this_connection_or_the_next() {
    let mut world = World::new(watching(|alarms| {
        (alarms.no_data, alarms.unmatched) = (no_data(MINUTE), true);
    }));
    world.connect();
    world.recv(&Cycle { bytes: 1, messages: 1, unmatched: 1, ..Cycle::default() });
    assert_eq!(world.alerts(), [("raised", "unmatched")]);
    for _ in 0..2 {
        world.session.handle_away(world.now.mono);
        assert_eq!([world.session.recv_deadline(), world.session.next_deadline()], [None; 2]);
        world.pass(60 * MINUTE);
        world.timeout();
        world.session.handle_back(world.now.mono);
        world.empty();
        assert_eq!(world.alerts(), []);
        assert_eq!(world.session.recv_deadline(), Some(world.now.mono + MINUTE));
        assert_eq!(world.session.next_deadline(), Some(world.now.mono + MINUTE));
    }
    // It ends while the reader is away.
    world.session.handle_away(world.now.mono);
    world.pass(60 * MINUTE);
    world.end(EndReason::Eof);
    world.connect();
    let left = world.session.recv_deadline().unwrap() - world.now.mono;
    assert!(left > 50 * SECOND && left <= MINUTE, "{left:?}");
    world.pass(MINUTE);
    world.timeout();
    world.empty();
    assert_eq!(world.alerts(), [("cleared", "unmatched"), ("raised", "no_data")]);
}

#[test]
fn one_that_holds_after_the_cool_down_is_raised_by_a_deadline_alone() {
    let mut world = World::new(watching(|alarms| alarms.cool_down = 10 * MINUTE));
    world.connect();
    for slow in [true, false, true] {
        world.session.handle_slow_consumer(world.now, slow, 3, 4);
        world.settle();
    }
    assert_eq!(world.alerts(), [("raised", "slow_consumer"), ("cleared", "slow_consumer")]);
    assert_eq!(world.session.next_deadline(), Some(world.now.mono + 10 * MINUTE));
    world.wake();
    assert_eq!(world.alerts(), [("raised", "slow_consumer")]);
    assert_eq!(world.session.next_deadline(), None);
}

#[test]
fn a_feed_that_is_being_closed_raises_and_clears_nothing_and_waits_for_nothing() {
    let mut world = World::new(watching(|alarms| {
        (alarms.down, alarms.reconnects) = (Some(MINUTE), Some((0, MINUTE)));
        (alarms.no_data, alarms.unmatched) = (no_data(SECOND), true);
    }));
    world.connect();
    world.end(EndReason::Eof);
    world.connect();
    assert_eq!(world.alerts(), [("raised", "reconnects")]);
    world.session.handle_close(world.now, SECOND, CloseReason::ByUser);
    world.settle();
    let close = Some(world.now.mono + SECOND);
    assert_eq!([world.session.recv_deadline(), world.session.next_deadline()], [close; 2]);
    world.recv(&Cycle { bytes: 1, messages: 1, unmatched: 1, ..Cycle::default() });
    world.session.handle_slow_consumer(world.now, true, 1, 1);
    world.pass(10 * MINUTE);
    world.timeout();
    world.empty();
    world.end(EndReason::Eof);
    assert_eq!(world.alerts(), []);
    assert_eq!(world.raised(), ["reconnects"], "as it stood at the end");
    assert_eq!(world.session.next_deadline(), None);
    assert!(world.session.closed().is_some());
}

#[test]
fn a_refusal_is_raised_once_over_connections_until_it_is_granted() {
    let mut world = World::new(watching(|_| ()));
    let ack = AckPolicy::Awaited { timeout: 10 * SECOND, then: Default::default() };
    for id in ["a", "b"] {
        world.want(Want { ack, ..want(id, None) });
    }
    for _ in 0..3 {
        world.connect();
        world.nack(About::Oldest, ErrorClass::Refused);
        world.nack(About::Oldest, ErrorClass::Refused);
        world.end(EndReason::Eof);
    }
    assert_eq!(world.alerts(), [("raised", "subscription_refused"); 2]);
    world.connect();
    world.ack(About::Oldest);
    assert_eq!(world.alerts(), [("cleared", "subscription_refused")]);
    assert_eq!(world.raised(), ["subscription_refused"], "that of the other");
    // Wanted no more; then again, and refused again: not before its time.
    assert!(world.session.handle_unsubscribe(world.now, &"b".into()).is_some());
    world.settle();
    assert_eq!(world.alerts(), [("cleared", "subscription_refused")]);
    let key = world.want(Want { ack, ..want("b", None) });
    world.dropped(About::Keys(&[key]), ErrorClass::Refused);
    world.dropped(About::Keys(&[key]), ErrorClass::Refused);
    assert_eq!(world.state("b"), SubscriptionState::Refused);
    assert_eq!(world.alerts(), []);
    world.wake();
    assert_eq!(world.alerts(), [("raised", "subscription_refused")]);
    // Another takes its place under its name.
    world.want(Want { ack, ..want("b", None) });
    assert_eq!(world.alerts(), [("cleared", "subscription_refused")]);
    assert_eq!(world.raised(), [""; 0]);
}

#[test]
fn what_was_not_granted_and_delivers_all_the_same_is_granted() {
    let mut world = World::new(watching(|_| ()));
    world.connect();
    let key = world.subscribe("a", None);
    world.dropped(About::Keys(&[key]), ErrorClass::Refused);
    assert_eq!(world.alerts(), [("raised", "subscription_refused")]);
    world.end(EndReason::Eof);
    world.connect();
    assert_eq!(world.alerts(), [], "that it was asked for again says nothing");
    world.data(&[key]);
    assert_eq!(world.alerts(), [("cleared", "subscription_refused")]);
}

/// A subscription that nothing confirms and that has no data is out of quarantine when its probation is over.
#[test]
fn quarantine_is_over_by_a_deadline_alone() {
    let mut world = World::new(Settings { quarantine_after: 1, ..watching(|_| ()) });
    let ack = AckPolicy::Awaited { timeout: 60 * MINUTE, then: Default::default() };
    let good = world.want(Want { ack, ..want("good", None) });
    let bad = world.want(Want { ack, ..want("bad", None) });
    for _ in 0..20 {
        world.outs.clear();
        world.connect();
        world.data(&[good]);
        if !world.subscribed().contains(&bad) {
            break;
        }
        world.end(EndReason::Eof);
    }
    assert_eq!(world.alerts(), [("raised", "quarantined")]);
    while !world.subscribed().contains(&bad) {
        world.wake();
    }
    assert_eq!(world.raised(), ["quarantined"], "it is on probation");
    world.wake();
    assert_eq!(world.alerts(), [("cleared", "quarantined")]);
}

#[test]
fn a_learned_limit_at_its_ceiling_is_told_of_by_name() {
    let mut world = World::new(watching(|_| ()));
    let key = world.subscribe("a", None);
    let found = Some((20 * SECOND, MINUTE));
    for found in [found, found, None, None] {
        world.session.alarms_ceiling(world.now, key, found);
        world.session.alarms_ceiling(world.now, 0, found);
        world.session.alarms_ceiling(world.now, 99, found);
    }
    world.settle();
    let alerts = world.alerts();
    assert_eq!(alerts[..2], [("raised", "limit_at_ceiling"); 2]);
    assert_eq!(alerts[2..], [("cleared", "limit_at_ceiling"); 2]);
}

#[test]
fn ten_thousand_refusals_are_told_of_each() {
    let mut world = World::new(watching(|_| ()));
    world.connect();
    for n in 0..10_000 {
        world.subscribe(&n.to_string(), None);
    }
    world.nack(About::All, ErrorClass::Refused);
    assert_eq!(world.alerts(), vec![("raised", "subscription_refused"); 10_000]);
    assert_eq!(world.raised(), ["subscription_refused"]);
    for n in 0..10_000 {
        world.session.handle_unsubscribe(world.now, &n.to_string().as_str().into());
    }
    world.settle();
    assert_eq!(world.alerts(), vec![("cleared", "subscription_refused"); 10_000]);
}

#[cfg(feature = "schedule")]
#[test]
fn the_lack_of_data_is_told_of_in_its_hours_by_a_deadline_alone() {
    use crate::policy::hours::Calendar;
    let hours = no_data::Hours { index: 0, during: true, name: "day".into() };
    let no_data = Arc::new([no_data::Limit { after: 10 * MINUTE, hours: Some(hours) }]);
    let calendars = vec![Arc::new(Calendar::daily_utc("09:00", "17:00"))];
    let mut world = World::new(Settings { calendars, ..watching(|alarms| alarms.no_data = no_data) });
    let at = |world: &World| world.now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() % 86400;
    world.connect();
    assert_eq!(world.session.recv_deadline(), None, "it is night");
    while at(&world) != 9 * 3600 {
        world.wake();
    }
    world.pass(10 * MINUTE);
    assert_eq!(world.session.recv_deadline(), Some(world.now.mono));
    world.empty();
    assert_eq!(world.alerts(), [("raised", "no_data")]);
    while at(&world) != 17 * 3600 {
        world.wake();
    }
    assert_eq!(world.alerts(), [("cleared", "no_data")]);
    // The clock is set into the day: at the next look it is known.
    world.now.wall += 18 * 60 * MINUTE;
    world.timeout();
    world.pass(10 * MINUTE);
    world.empty();
    assert_eq!(world.alerts(), [("raised", "no_data")]);
    // And out of it.
    world.now.wall -= 18 * 60 * MINUTE;
    world.empty();
    assert_eq!(world.alerts(), [("cleared", "no_data")]);
}
