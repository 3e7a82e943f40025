//! Conditions in virtual time.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet as Set;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);

fn settings() -> Settings {
    Settings {
        reconnects: Some((2, 10 * MINUTE)),
        no_data: Arc::new([no_data::Limit { after: 10 * MINUTE, hours: None }]),
        down: Some(5 * MINUTE),
        unmatched: true,
        cool_down: 30 * MINUTE,
    }
}

struct World {
    alarms: Alarms,
    start: Instant,
    at: Moment,
    said: Vec<(AlertStatus, AlertKind)>,
    /// When each of that was said.
    times: Vec<Instant>,
}

impl World {
    fn new(settings: Settings) -> Self {
        Self::open(settings, &|_| false)
    }

    fn open(settings: Settings, is_open: &dyn Fn(usize) -> bool) -> Self {
        let start = crate::clock::mono();
        let alarms = Alarms::new(settings, start, is_open);
        Self {
            alarms,
            start,
            at: Moment { now: start, read: Duration::ZERO },
            said: Vec::new(),
            times: Vec::new(),
        }
    }

    /// Time passes, and is told of at each deadline on the way.
    fn pass(&mut self, time: Duration) {
        let end = self.at.now + time;
        // A deadline may have come while nobody looked.
        self.alarms.handle_timeout(self.at);
        self.collect();
        loop {
            let next = self.alarms.next_deadline().filter(|next| *next <= end);
            let read = self.alarms.unmatched_over().map(|over| self.at.now + (over - self.at.read));
            let Some(next) = [next, read.filter(|at| *at <= end)].into_iter().flatten().min() else { break };
            assert!(next > self.at.now, "a deadline that is not in the future is a loop without a wait");
            self.go_to(next);
            self.alarms.handle_timeout(self.at);
            self.collect();
        }
        self.go_to(end);
        self.alarms.handle_timeout(self.at);
        self.collect();
    }

    fn go_to(&mut self, now: Instant) {
        self.at.read += now.saturating_duration_since(self.at.now);
        self.at.now = now;
    }

    fn collect(&mut self) {
        self.said.extend(std::iter::from_fn(|| self.alarms.poll()));
        self.times.resize(self.said.len(), self.at.now);
    }

    /// What was said since the last time: status and kind.
    fn said(&mut self) -> Vec<(&'static str, &'static str)> {
        self.collect();
        self.said.drain(..).map(|(status, kind)| (status.name(), kind.name())).collect()
    }

    fn one(&mut self) -> (AlertStatus, AlertKind) {
        self.collect();
        assert_eq!(self.said.len(), 1, "{:?}", self.said);
        self.said.remove(0)
    }

    fn end(&mut self, reason: &EndReason) {
        self.alarms.handle_ended(self.at, true, reason, true);
        self.alarms.handle_connected(self.at);
    }
}

#[test]
fn reconnects_are_raised_with_their_reasons_and_cleared_when_the_window_has_moved_on() {
    let mut world = World::new(settings());
    world.alarms.handle_connected(world.at);
    world.end(&EndReason::Eof);
    world.pass(MINUTE);
    world.end(&EndReason::PongOverdue { waited: SECOND });
    world.pass(MINUTE);
    world.alarms.handle_ended(world.at, true, &EndReason::Reconnect, false);
    world.alarms.handle_ended(world.at, false, &EndReason::Eof, true);
    assert_eq!(world.said(), [], "what the application wants, and attempts, do not count");
    world.end(&EndReason::Eof);
    let (status, kind) = world.one();
    assert_eq!(status, AlertStatus::Raised);
    let AlertKind::Reconnects { count, window, reasons } = kind else { panic!("{kind:?}") };
    assert_eq!((count, window), (3, 10 * MINUTE));
    assert_eq!(reasons, BTreeMap::from([(EndReason::Eof.name(), 2), ("pong overdue", 1)]));
    assert_eq!(world.alarms.raised(), ["reconnects"]);

    // The first is out of the window 10 minutes after it.
    world.pass(8 * MINUTE - MS);
    assert_eq!(world.said(), []);
    world.pass(MS);
    let (status, kind) = world.one();
    assert_eq!(status, AlertStatus::Cleared);
    assert!(matches!(kind, AlertKind::Reconnects { count: 2, .. }), "{kind:?}");
    assert_eq!(world.alarms.raised(), [""; 0]);
    assert_eq!(world.alarms.next_deadline(), None);
}

#[test]
fn a_storm_is_raised_once_in_bounded_memory() {
    let settings = Settings { reconnects: Some((5, 24 * 60 * MINUTE)), ..settings() };
    let mut world = World::new(settings);
    world.alarms.handle_connected(world.at);
    for n in 0..200_000 {
        world.end(if n % 2 == 0 { &EndReason::Eof } else { &EndReason::Reconnect });
        world.pass(10 * MS);
    }
    assert_eq!(world.said(), [("raised", "reconnects")]);
    assert!(world.alarms.reconnects.as_ref().is_some_and(|reconnects| reconnects.len() == 1024));
    world.pass(24 * 60 * MINUTE);
    assert_eq!(world.said(), [("cleared", "reconnects")]);
}

#[test]
fn down_is_raised_from_the_opening_or_the_last_end_on() {
    let mut world = World::new(settings());
    let last = EndReason::Dns { detail: "no such host".into() };
    world.alarms.handle_ended(world.at, false, &last, true);
    world.pass(5 * MINUTE - MS);
    assert_eq!(world.said(), []);
    world.pass(MS);
    let expected = AlertKind::Down { down: 5 * MINUTE, last: Some(last.clone()) };
    assert_eq!(world.one(), (AlertStatus::Raised, expected));
    world.pass(2 * MINUTE);
    world.alarms.handle_connected(world.at);
    let expected = AlertKind::Down { down: 7 * MINUTE, last: Some(last) };
    assert_eq!(world.one(), (AlertStatus::Cleared, expected));

    // Down again within the cool-down: raised at its end, with the figures of then.
    world.pass(3 * MINUTE);
    world.alarms.handle_ended(world.at, true, &EndReason::Eof, true);
    world.pass(25 * MINUTE - MS);
    assert_eq!(world.said(), []);
    world.pass(MS);
    let expected = AlertKind::Down { down: 25 * MINUTE, last: Some(EndReason::Eof) };
    assert_eq!(world.one(), (AlertStatus::Raised, expected));
}

#[test]
fn what_is_over_before_the_cool_down_is_was_never_said() {
    let mut world = World::new(settings());
    for slow in [true, false, true] {
        world.alarms.handle_slow_consumer(world.at, slow, 1, 2);
        world.pass(MINUTE);
    }
    assert_eq!(world.said(), [("raised", "slow_consumer"), ("cleared", "slow_consumer")]);
    assert!(world.alarms.next_deadline().is_some());
    world.alarms.handle_slow_consumer(world.at, false, 1, 2);
    assert_eq!(world.alarms.next_deadline(), Some(world.start + 5 * MINUTE), "only that of down");
    assert!(world.alarms.pending.is_empty());
    world.alarms.handle_connected(world.at);
    world.pass(60 * MINUTE);
    assert_eq!(world.said(), []);
    assert!(world.alarms.standing.is_empty(), "{:?}", world.alarms.standing);
}

#[test]
fn no_data_counts_reading_time_only() {
    let mut world = World::new(settings());
    world.alarms.handle_connected(world.at);
    world.pass(9 * MINUTE);
    // An hour in a handler.
    world.at.now += 60 * MINUTE;
    world.alarms.handle_no_data(world.at, false);
    assert_eq!(world.said(), []);
    assert_eq!(world.alarms.no_data_at(), Some(10 * MINUTE));
    world.pass(MINUTE);
    world.alarms.handle_no_data(world.at, true);
    assert_eq!(world.said(), [], "a flood of what is no data is read for so much longer");
    world.alarms.handle_no_data(world.at, false);
    let expected = AlertKind::NoData { age: 10 * MINUTE, limit: 10 * MINUTE, hours: None };
    assert_eq!(world.one(), (AlertStatus::Raised, expected));
    assert_eq!(world.alarms.no_data_at(), None);
    world.pass(MINUTE);
    world.alarms.handle_data(world.at);
    let expected = AlertKind::NoData { age: 11 * MINUTE, limit: 10 * MINUTE, hours: None };
    assert_eq!(world.one(), (AlertStatus::Cleared, expected));
    assert_eq!(world.alarms.no_data_at(), Some(21 * MINUTE));
    // Twice the limit in a flood.
    world.pass(30 * MINUTE);
    world.alarms.handle_no_data(world.at, true);
    assert_eq!(world.said(), [("raised", "no_data")]);
}

/// A process that was stopped: the time away is known only once the reader is back.
#[test]
fn reading_time_that_turns_out_to_be_less_puts_nothing_off_for_long() {
    let mut world = World::new(settings());
    world.alarms.handle_connected(world.at);
    let before = world.at;
    world.pass(60 * MINUTE);
    world.alarms.handle_data(world.at);
    world.alarms.handle_unmatched(world.at, 1);
    world.at.read = before.read + MINUTE;
    world.alarms.handle_no_data(world.at, false);
    assert_eq!(world.alarms.no_data_at(), Some(11 * MINUTE));
    assert_eq!(world.alarms.unmatched_over(), Some(2 * MINUTE));

    // The same with hours that began in between.
    let hours = no_data::Hours { index: 0, during: true, name: "h".into() };
    let no_data = Arc::new([no_data::Limit { after: MINUTE, hours: Some(hours) }]);
    let mut world = World::new(Settings { no_data, ..settings() });
    world.at.read = 60 * MINUTE;
    world.alarms.handle_hours(world.at, &|_| true);
    world.at.read = MINUTE;
    world.alarms.handle_no_data(world.at, false);
    assert_eq!(world.alarms.no_data_at(), Some(2 * MINUTE));
}

#[test]
fn no_data_is_watched_in_its_hours_and_from_their_beginning_on() {
    let limit = |during, name: &str| no_data::Limit {
        after: 10 * MINUTE,
        hours: Some(no_data::Hours { index: 3, during, name: name.into() }),
    };
    let no_data = Arc::new([limit(true, "nyse"), limit(false, "outside nyse")]);
    let mut world = World::open(Settings { no_data, down: None, ..settings() }, &|index| index == 3);
    world.alarms.handle_data(world.at);
    world.pass(11 * MINUTE);
    world.alarms.handle_no_data(world.at, false);
    let kind = |age, name: &str| AlertKind::NoData { age, limit: 10 * MINUTE, hours: Some(name.into()) };
    assert_eq!(world.one(), (AlertStatus::Raised, kind(11 * MINUTE, "nyse")));
    // The hours end: it is over, and the other limit begins anew.
    world.pass(MINUTE);
    world.alarms.handle_hours(world.at, &|_| false);
    assert_eq!(world.one(), (AlertStatus::Cleared, kind(12 * MINUTE, "nyse")));
    world.pass(10 * MINUTE - MS);
    world.alarms.handle_no_data(world.at, false);
    assert_eq!(world.said(), []);
    world.pass(MS);
    world.alarms.handle_no_data(world.at, false);
    assert_eq!(world.one(), (AlertStatus::Raised, kind(10 * MINUTE, "outside nyse")));
    // Other hours turn: nothing changes.
    world.alarms.handle_hours(world.at, &|_| false);
    assert_eq!(world.said(), []);
}

#[test]
fn unmatched_messages_are_counted_and_over_after_a_minute_without() {
    let mut world = World::new(Settings { down: None, ..settings() });
    world.alarms.handle_unmatched(world.at, 0);
    world.alarms.handle_unmatched(world.at, 3);
    assert_eq!(world.one(), (AlertStatus::Raised, AlertKind::Unmatched { messages: 3 }));
    world.pass(59 * SECOND);
    world.alarms.handle_unmatched(world.at, 2);
    world.pass(59 * SECOND);
    assert_eq!(world.said(), []);
    world.pass(SECOND);
    assert_eq!(world.one(), (AlertStatus::Cleared, AlertKind::Unmatched { messages: 2 }));
    // The next are counted, and told of at the end of the cool-down if they go on.
    for _ in 0..29 {
        world.alarms.handle_unmatched(world.at, 1);
        world.pass(59 * SECOND);
    }
    world.alarms.handle_unmatched(world.at, 1);
    let (status, kind) = world.one();
    assert_eq!(status, AlertStatus::Raised);
    assert!(matches!(kind, AlertKind::Unmatched { messages: 28..=30 }), "{kind:?}");

    let mut quiet = World::new(Settings { unmatched: false, ..settings() });
    quiet.alarms.handle_unmatched(quiet.at, 3);
    assert_eq!(quiet.said(), []);
}

#[test]
fn subscriptions_are_told_of_each_by_itself() {
    let mut world = World::new(settings());
    let (a, b) = (SubscriptionId::from("a"), SubscriptionId::from("b"));
    world.alarms.handle_refused(world.at, a.clone(), "no".into());
    world.alarms.handle_refused(world.at, a.clone(), "no again".into());
    world.alarms.handle_refused(world.at, b.clone(), "no".into());
    world.alarms.handle_quarantined(world.at, b.clone(), 3);
    world.alarms.handle_ceiling(world.at, Some(b.clone()), Some((SECOND, MINUTE)));
    world.alarms.handle_ceiling(world.at, None, Some((SECOND, MINUTE)));
    assert_eq!(world.said().len(), 5);
    assert_eq!(world.alarms.raised(), ["limit_at_ceiling", "quarantined", "subscription_refused"]);
    world.alarms.handle_granted(world.at, &a);
    world.alarms.handle_granted(world.at, &a);
    let kind = AlertKind::SubscriptionRefused { subscription: a.clone(), detail: "no again".into() };
    assert_eq!(world.one(), (AlertStatus::Cleared, kind));
    world.alarms.handle_withdrawn(world.at, &b);
    let over = ["subscription_refused", "quarantined", "limit_at_ceiling"].map(|kind| ("cleared", kind));
    assert_eq!(world.said(), over);
    assert_eq!(world.alarms.raised(), ["limit_at_ceiling"], "that of the connection");
    world.alarms.handle_ceiling(world.at, None, None);
    assert_eq!(world.said(), [("cleared", "limit_at_ceiling")]);
    // Back under its name, and refused again.
    world.alarms.handle_refused(world.at, b.clone(), "no".into());
    assert_eq!(world.said(), []);
    world.pass(30 * MINUTE);
    assert!(world.said().contains(&("raised", "subscription_refused")));
}

#[test]
fn ever_new_subscriptions_that_are_refused_leave_bounded_memory() {
    let mut world = World::new(settings());
    for n in 0..REMEMBERED + 10_000 {
        let id = SubscriptionId::from(n.to_string());
        world.alarms.handle_refused(world.at, id.clone(), "no".into());
        world.alarms.handle_withdrawn(world.at, &id);
        world.collect();
    }
    assert_eq!(world.said.len(), 2 * (REMEMBERED + 10_000));
    assert_eq!(world.alarms.standing.len(), REMEMBERED);
    assert_eq!(world.alarms.remembered.len(), REMEMBERED);
    // One that comes and goes has one place.
    let id = SubscriptionId::from("a");
    for _ in 0..1000 {
        world.alarms.handle_refused(world.at, id.clone(), "no".into());
        world.alarms.handle_withdrawn(world.at, &id);
    }
    assert!(world.alarms.standing.contains_key(&Topic::Refused("20000".into())));
    world.pass(60 * MINUTE);
    world.alarms.handle_slow_consumer(world.at, true, 0, 0);
    world.alarms.handle_slow_consumer(world.at, false, 0, 0);
    assert!(world.alarms.standing.len() < 3, "{}", world.alarms.standing.len());
}

proptest! {
    /// Raised and cleared take turns, no two raises within the cool-down, and what holds for ever is raised.
    #[test]
    fn one_condition(cool_down in 0u32..50, ops in prop::collection::vec((0u32..30, any::<Option<bool>>()), 0..60)) {
        let cool_down = cool_down * MS;
        let mut now = crate::clock::mono();
        let mut alarm = Alarm::default();
        let mut raised: Option<Instant> = None;
        let mut is_raised = false;
        let mut on = false;
        for (step, change) in ops.into_iter().chain([(0, Some(true))]) {
            now += step * MS;
            on = change.unwrap_or(on);
            let edge = match change {
                Some(on) => alarm.handle(now, on, cool_down),
                None => alarm.handle_timeout(now, cool_down),
            };
            match edge {
                Some(Edge::Raised) => {
                    prop_assert!(on && !is_raised);
                    prop_assert!(raised.is_none_or(|before| now - before >= cool_down));
                    (raised, is_raised) = (Some(now), true);
                }
                Some(Edge::Cleared) => {
                    prop_assert!(!on && is_raised);
                    is_raised = false;
                }
                None => {}
            }
            prop_assert!(on || !is_raised, "cleared at once");
            prop_assert_eq!(alarm.is_raised(), is_raised);
            prop_assert_eq!(alarm.next_deadline(cool_down).is_some(), on && !is_raised);
            prop_assert!(alarm.next_deadline(cool_down).is_none_or(|at| at > now));
        }
        if let Some(at) = alarm.next_deadline(cool_down) {
            prop_assert!(at - now <= cool_down);
            prop_assert_eq!(alarm.handle_timeout(at, cool_down), Some(Edge::Raised));
        } else {
            prop_assert!(alarm.is_raised());
        }
    }

    /// The same of all conditions of a feed together; and deadlines lead on.
    #[test]
    fn all_conditions(ops in prop::collection::vec((0u8..16, 0u32..4, 0u32..300), 0..120)) {
        let hours = no_data::Hours { index: 0, during: true, name: "h".into() };
        let no_data = Arc::new([
            no_data::Limit { after: 40 * SECOND, hours: None },
            no_data::Limit { after: 20 * SECOND, hours: Some(hours) },
        ]);
        let cool_down = 200 * SECOND;
        let mut world = World::new(Settings { no_data, reconnects: Some((3, 100 * SECOND)), down: Some(30 * SECOND), unmatched: true, cool_down });
        let mut raised: HashMap<String, Instant> = HashMap::new();
        let mut is_raised: Set<String> = Set::new();


        for (op, which, step) in ops {
            let id = SubscriptionId::from(which.to_string());
            let at = world.at;
            match op {
                0 => world.alarms.handle_connected(at),
                1 => world.alarms.handle_ended(at, true, &EndReason::Eof, true),
                2 => world.alarms.handle_ended(at, false, &EndReason::Eof, true),
                3 => world.alarms.handle_data(at),
                4 => world.alarms.handle_no_data(at, which == 0),
                5 => world.alarms.handle_hours(at, &|_| which % 2 == 0),
                6 => world.alarms.handle_unmatched(at, which.into()),
                7 => world.alarms.handle_slow_consumer(at, which % 2 == 0, 1, 1),
                8 => world.alarms.handle_refused(at, id, String::new()),
                9 => world.alarms.handle_quarantined(at, id, 3),
                10 => world.alarms.handle_granted(at, &id),
                11 => world.alarms.handle_withdrawn(at, &id),
                12 => world.alarms.handle_ceiling(at, (which > 0).then_some(id), (step % 2 == 0).then_some((SECOND, SECOND))),
                13 => world.at.now += step * MS, // away
                14 => world.at.read = world.at.read.saturating_sub(step * MS), // a stop that is found out
                _ => world.pass(step * SECOND),
            }
            world.collect();
            for ((status, kind), at) in world.said.drain(..).zip(world.times.drain(..)) {
                let subject = match &kind {
                    AlertKind::NoData { limit, .. } => format!("{limit:?}"),
                    AlertKind::SubscriptionRefused { subscription, .. } | AlertKind::Quarantined { subscription, .. } => subscription.to_string(),
                    AlertKind::LimitAtCeiling { subscription, .. } => format!("{subscription:?}"),
                    _ => String::new(),
                };
                let topic = format!("{} {subject}", kind.name());
                if status == AlertStatus::Raised {
                    prop_assert!(is_raised.insert(topic.clone()), "{topic} twice");
                    let before = raised.insert(topic.clone(), at);
                    prop_assert!(before.is_none_or(|before| at - before >= cool_down), "{topic}");
                } else {
                    prop_assert!(is_raised.remove(&topic), "{topic} was not raised");
                }
            }
            let names: Set<&str> = is_raised.iter().filter_map(|topic| topic.split(' ').next()).collect();
            prop_assert!(world.alarms.raised().into_iter().eq(names));
        }
        // Everything that holds is raised in the end, and then there is nothing to wait for but what ends by itself.
        world.pass(cool_down + 100 * SECOND);
        world.alarms.handle_no_data(world.at, false);
        world.pass(cool_down);
        let standing = world.alarms.standing.values();
        prop_assert!(standing.into_iter().all(|standing| standing.alarm.is_on() == standing.alarm.is_raised()));
        prop_assert!(world.alarms.pending.is_empty());
        prop_assert_eq!(world.alarms.next_deadline(), None);
        // And all is forgotten some time after it is over.
        let at = world.at;
        let topics: Vec<Topic> = world.alarms.standing.keys().cloned().collect();
        for topic in topics {
            world.alarms.clear(at.now, &topic);
        }
        for _ in 0..2 {
            world.at.now += cool_down;
            world.alarms.forget(world.at.now);
        }
        prop_assert!(world.alarms.standing.is_empty() && world.alarms.remembered.is_empty());
    }
}
