//! What the server tells about the connection: where to go to, how often it speaks, how often we are to, and whether it
//! takes up where another was.

use super::answers::acked;
use super::*;
use crate::class::{GoTo, NoticeAction, OnAckTimeout};
use crate::event::GapCause;
use crate::policy::schedule::{First, Mode, Times};

/// No pings of our own are in the way.
fn quiet() -> Settings {
    Settings {
        liveness: liveness::Settings { after: None, timeout: 10 * SECOND },
        stale_after: None,
        ..settings()
    }
}

impl World {
    fn announce(&mut self, action: NoticeAction) {
        self.session.handle_notice(self.now, action, "words".into());
        self.settle();
    }
}

/// To which endpoint the next attempt goes.
fn dialed(world: &mut World) -> usize {
    while world.session.next_deadline().is_some() {
        world.timeout();
        let at = world.actions.iter().find_map(|action| match action {
            Action::Dial { endpoint, .. } => Some(*endpoint),
            _ => None,
        });
        if let Some(at) = at {
            world.actions.clear();
            return at;
        }
        let due = world.session.next_deadline().unwrap();
        world.pass(due.saturating_duration_since(world.now.mono));
    }
    panic!("nothing is scheduled");
}

fn established(schedules: Vec<Times>, heartbeat: Option<Duration>) -> Established {
    Established { took: MS, peer: ([127, 0, 0, 1], 1).into(), subprotocol: None, schedules, heartbeat }
}

fn up(world: &mut World) {
    assert!(world.session.handle_connected(world.now, established(Vec::new(), None), world.suspended));
    world.settle();
}

#[test]
fn where_the_server_sends_the_feed_to_is_no_endpoint() {
    let mut world = World::new(Settings { endpoints: 3, ..settings() });
    let go = || NoticeAction::GoTo(GoTo::at("/url"));
    assert_eq!(dialed(&mut world), 0);
    up(&mut world);
    world.data(&[]);
    world.announce(go());
    assert_eq!(world.session.end_reason(EndReason::Eof).name(), "server notice");
    world.end(EndReason::Eof);
    // What becomes of it says nothing of the endpoints.
    assert_eq!(dialed(&mut world), 0);
    world.end(EndReason::Eof);
    assert_eq!(dialed(&mut world), 0, "the attempt failed");
    world.end(EndReason::Eof);
    assert_eq!(dialed(&mut world), 1, "that was the endpoint's own");
    up(&mut world);
    world.data(&[]);
    world.announce(go());
    world.end(EndReason::Eof);
    assert_eq!(dialed(&mut world), 1);
    up(&mut world);
    world.end(EndReason::Eof);
    assert_eq!(dialed(&mut world), 1, "it delivered no data");
    up(&mut world);
    world.end(EndReason::Eof);
    assert_eq!(dialed(&mut world), 2);
    let cause = |event: &Event| if let Event::Gap(gap) = event { Some(gap.cause) } else { None };
    let causes: Vec<_> = world.events.iter().filter_map(cause).collect();
    assert_eq!(causes, [GapCause::EndpointSwitched, GapCause::Reconnected, GapCause::Reconnected]);
}

#[test]
fn what_is_refused_elsewhere_does_not_keep_it_from_the_endpoints() {
    let mut world = World::new(quiet());
    dialed(&mut world);
    up(&mut world);
    world.data(&[]);
    world.announce(NoticeAction::GoTo(GoTo::at("/url")));
    world.end(EndReason::Eof);
    let refused =
        || EndReason::UpgradeRefused { status: 404, retry_after: None, location: None, body: String::new() };
    for (elsewhere, longest) in [(true, 500 * MS), (false, 30 * SECOND)] {
        dialed(&mut world);
        world.events.clear();
        world.end(refused());
        let Some(Event::Disconnected(end)) = world.events.last() else { panic!("{:?}", world.events) };
        let delay = end.retry_in.unwrap();
        assert!(delay <= longest && (delay < 15 * SECOND) == elsewhere, "{delay:?}");
        assert_eq!(
            world.events.len() == 1,
            elsewhere,
            "a person is told of the endpoint's own: {:?}",
            world.events
        );
    }
}

#[test]
fn a_server_that_sends_everybody_away_each_time_is_not_hammered() {
    let mut world = World::new(settings());
    let mut waited = Vec::new();
    for _ in 0..6 {
        dialed(&mut world);
        up(&mut world);
        world.announce(NoticeAction::GoTo(GoTo::at("/url")));
        world.end(EndReason::Eof);
        let delay = world.events.iter().rev().find_map(|event| match event {
            Event::Disconnected(end) => end.retry_in,
            _ => None,
        });
        waited.push(delay.unwrap());
    }
    assert!(waited.iter().all(|delay| *delay >= 100 * MS), "{waited:?}");
    assert!(waited.iter().skip(2).any(|delay| *delay > 500 * MS), "{waited:?}");
}

#[test]
fn a_server_that_sends_heartbeats_may_not_be_mute() {
    let mut world = World::new(quiet());
    world.dial();
    let heartbeat = established(Vec::new(), Some(10 * SECOND));
    assert!(world.session.handle_connected(world.now, heartbeat, world.suspended));
    // Each message counts, whatever it is; bytes that are none do not.
    for _ in 0..3 {
        world.idle(9 * SECOND);
        world.recv(&Cycle { bytes: 9, messages: 1, ..Cycle::default() });
    }
    world.idle(6 * SECOND);
    world.recv(&Cycle { bytes: 9, pong: true, ..Cycle::default() });
    world.idle(4 * SECOND - MS);
    assert!(world.session.is_connected());
    world.idle(MS);
    assert_eq!(world.session.end_reason(EndReason::Eof), EndReason::HeartbeatOverdue { waited: 10 * SECOND });
    assert!(world.actions.contains(&Action::Abort));
}

#[test]
fn pings_without_end_do_not_hide_that_the_server_is_mute() {
    let mut world = World::new(quiet());
    world.dial();
    let heartbeat = established(Vec::new(), Some(10 * SECOND));
    assert!(world.session.handle_connected(world.now, heartbeat, world.suspended));
    let ping = Cycle { bytes: 9, ping: Some("x".into()), ..Cycle::default() };
    for _ in 0..19 {
        world.pass(SECOND);
        world.recv(&ping);
        assert!(world.session.is_connected());
    }
    world.pass(SECOND);
    world.recv(&ping);
    assert_eq!(world.session.end_reason(EndReason::Eof), EndReason::HeartbeatOverdue { waited: 20 * SECOND });
}

#[test]
fn the_first_keepalive_may_be_due_after_a_random_part_of_its_time() {
    let times = Times {
        mode: Mode::Every,
        period: 40 * SECOND,
        first_after: Some(First::Random),
        within: None,
        ping: false,
    };
    let mut first = Vec::new();
    for seed in 0..40 {
        let mut world = World::seeded(quiet(), seed);
        world.dial();
        let began = world.now.mono;
        let beats = established(vec![times.clone()], None);
        assert!(world.session.handle_connected(world.now, beats, world.suspended));
        let due = |world: &World| world.session.next_deadline().unwrap();
        let at = due(&world).saturating_duration_since(began);
        assert!(at <= 40 * SECOND);
        first.push(at);
        world.idle(at);
        assert_eq!(world.outs.len(), 1, "{:?}", world.outs.len());
        assert_eq!(due(&world).saturating_duration_since(began), at + 40 * SECOND);
    }
    let spread = |range: std::ops::Range<u32>| {
        first.iter().filter(|at| (range.start * SECOND..range.end * SECOND).contains(*at)).count()
    };
    assert!(spread(0..10) > 2 && spread(10..30) > 5 && spread(30..40) > 2, "{first:?}");
}

#[test]
fn what_the_feed_says_when_it_leaves_can_be_chosen() {
    for (fatal, asked, expected) in [(false, false, 4000), (false, true, 4000), (true, false, 1000)] {
        let mut world = World::new(Settings { leave_code: 4000, ..settings() });
        world.connect();
        match (fatal, asked) {
            (true, _) => world.announce(NoticeAction::Fatal),
            (_, true) => world.session.handle_reconnect(world.now),
            _ => world.announce(NoticeAction::Reconnect),
        }
        world.settle();
        assert!(matches!(world.outs[..], [Out::Close(Some(code))] if code == expected), "{fatal} {asked}");
    }
    let mut world = World::new(Settings { leave_code: 4000, ..settings() });
    world.connect();
    world.session.handle_close(world.now, SECOND, CloseReason::ByUser);
    world.settle();
    assert!(matches!(world.outs[..], [Out::Close(Some(1000))]));
}

/// Whether what was missed is replayed is said for what was in force before, and by its acknowledgement.
#[test]
fn what_is_resumed_is_said() {
    let mut world = World::new(settings());
    let said = |world: &mut World, resumed| {
        world.connect();
        let frame = world.frame();
        world.session.handle_ack_with(world.now, About::Frame(frame), resumed);
        world.settle();
        let subscribed = world.events.iter().rev().find_map(|event| match event {
            Event::Subscribed(subscribed) => Some(subscribed.resumed),
            _ => None,
        });
        world.end(EndReason::Eof);
        subscribed
    };
    world.want(acked("a", OnAckTimeout::Retry));
    for (heard, expected) in
        [(Some(true), None), (Some(true), Some(true)), (Some(false), Some(false)), (None, None)]
    {
        assert_eq!(said(&mut world, heard), Some(expected), "{heard:?}");
    }
    // Another of the same name has missed nothing.
    world.want(acked("a", OnAckTimeout::Retry));
    assert_eq!(said(&mut world, Some(true)), Some(None));
}
