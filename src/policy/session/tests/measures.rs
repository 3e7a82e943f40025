//! What the machine measures of itself.

use super::*;
use crate::event::{AlertKind, AlertStatus};
use crate::measures::Histogram;
use crate::policy::mark::Mark;
use crate::policy::schedule::{Mode, Times};

fn seen(histogram: &Histogram) -> (u64, Duration) {
    (histogram.count(), histogram.sum())
}

fn pong() -> Cycle<'static> {
    Cycle { bytes: 2, pong: true, ..Cycle::default() }
}

#[test]
fn connections_that_were_made_are_timed() {
    let mut world = World::new(settings());
    world.connect();
    world.end(EndReason::Eof);
    world.dial();
    world.end(EndReason::Eof);
    world.connect();
    assert_eq!(seen(&world.session.measures().connect), (2, 2 * MS));
}

#[test]
fn each_verdict_says_how_late_it_was() {
    let mut world = World::new(settings());
    world.connect();
    world.data(&[]);
    world.pass(60 * SECOND - MS);
    world.empty();
    assert_eq!(seen(&world.session.measures().lateness), (0, Duration::ZERO));
    world.bytes();
    world.pass(4 * MS);
    world.empty();
    assert_eq!(seen(&world.session.measures().lateness), (1, 3 * MS));
}

#[test]
fn a_ping_is_timed_from_when_it_goes_out_to_its_pong() {
    let mut world = World::new(settings());
    world.connect();
    world.recv(&pong());
    assert_eq!(world.session.measures().ping.count(), 0, "nobody asked");
    world.pass(20 * SECOND);
    world.timeout();
    world.pass(5 * MS);
    world.bytes(); // proves life, but may have been sent before the ping came
    world.pass(2 * MS);
    world.recv(&pong());
    assert_eq!(seen(&world.session.measures().ping), (1, 7 * MS));
}

#[test]
fn a_pong_that_comes_before_the_report_that_its_ping_was_written_counts() {
    let mut world = World::new(settings());
    world.connect();
    world.pass(20 * SECOND);
    world.session.handle_timeout(world.now);
    let out = world.session.poll_out(world.now).expect("a ping");
    assert!(out == Out::Ping);
    world.pass(MS);
    world.recv(&pong());
    world.session.handle_written(world.now, world.session.epoch(), &out);
    assert_eq!(seen(&world.session.measures().ping), (1, MS));
}

#[test]
fn keepalives_are_timed_if_they_are_pings() {
    for ping in [true, false] {
        let mut world = World::new(settings());
        world.dial();
        let times = Times { mode: Mode::Every, period: 5 * SECOND, first_after: None, within: None, ping };
        let peer = ([127, 0, 0, 1], 1).into();
        let established =
            Established { took: MS, peer, subprotocol: None, schedules: vec![times], heartbeat: None };
        assert!(world.session.handle_connected(world.now, established, world.suspended));
        world.settle();
        world.idle(5 * SECOND);
        world.pass(MS);
        world.recv(&pong());
        assert_eq!(world.session.measures().ping.count(), u64::from(ping));
    }
}

#[test]
fn time_away_is_no_part_of_a_round_trip() {
    let mut world = World::new(settings());
    world.connect();
    world.pass(20 * SECOND);
    world.timeout();
    world.pass(MS);
    world.session.handle_away(world.now.mono);
    world.pass(3 * SECOND);
    world.session.handle_back(world.now.mono);
    world.recv(&pong());
    assert_eq!(seen(&world.session.measures().ping), (1, MS));
}

#[test]
fn lag_is_gathered_where_it_is_known() {
    let mut world = World::new(settings());
    world.connect();
    let mark = |lag| Mark { key: 1, timely: true, advanced: true, lag, skew: 0 };
    let marks = [mark(Some(3_000_000)), mark(None), mark(Some(-5))];
    world.recv(&Cycle { bytes: 9, messages: 1, data: 1, marks: &marks, ..Cycle::default() });
    assert_eq!(seen(&world.session.measures().lag), (2, 3 * MS));
}

#[test]
fn alerts_are_counted_by_kind() {
    let mut world = World::new(settings());
    for messages in [1, 2] {
        world.session.alert(world.now, AlertKind::Unmatched { messages });
    }
    let kind = AlertKind::Unmatched { messages: 3 };
    let over = crate::event::Alert { time: world.now.wall, epoch: 0, status: AlertStatus::Cleared, kind };
    world.session.events.push_back(Event::Alert(Box::new(over)));
    world.settle();
    assert_eq!(world.names(), ["alert", "alert", "alert"]);
    assert_eq!(world.session.measures().alerts, [("unmatched", 2)].into());
}
