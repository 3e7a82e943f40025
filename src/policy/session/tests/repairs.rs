//! What the machine does about what is wrong: ladders, gaps in sequences, notices, keepalives, endpoints, quarantine.

use super::*;
use crate::class::{NoticeAction, OnGap};
use crate::event::Repair;
use crate::health::SubscriptionState;
use crate::policy::ladder::Rung;
use crate::policy::schedule::{Mode, Times};

fn laddered(id: &str, rungs: &[Rung]) -> Want {
    Want { repair: rungs.into(), can_probe: true, ..want(id, Some(2 * SECOND)) }
}

impl World {
    fn repairs(&mut self) -> Vec<Repair> {
        let next = |event: &Event| if let Event::Stale(stale) = event { Some(stale.next) } else { None };
        let repairs = self.events.iter().filter_map(next).collect();
        self.events.clear();
        repairs
    }

    fn notice(&mut self, action: NoticeAction) {
        self.session.handle_notice(self.now, action, "words".into());
        self.settle();
    }
}

#[test]
fn the_ladder_is_climbed_rung_by_rung_and_data_leads_back() {
    let rungs = [Rung::Probe(SECOND), Rung::Resubscribe(3 * SECOND), Rung::Reconnect, Rung::NextEndpoint];
    let mut world = World::new(Settings { endpoints: 2, stale_after: None, ..settings() });
    world.connect();
    let key = world.want(laddered("a", &rungs));
    world.idle(2 * SECOND);
    assert_eq!(world.repairs(), [Repair::Probe]);
    assert!(world.outs.iter().any(|out| matches!(out, Out::Probe { key: 1, .. })));
    assert_eq!(
        (world.state("a"), world.session.state(world.now.mono)),
        (SubscriptionState::Stale, State::Stale)
    );
    world.idle(SECOND - MS);
    assert_eq!(world.repairs(), []);
    world.idle(MS);
    assert_eq!(world.repairs(), [Repair::Resubscribe]);
    assert_eq!(world.subscribed(), [1, 1]);
    // Data for as long as the limit: back to the first rung, and the limit counts again.
    for _ in 0..3 {
        world.data(&[key]);
        assert_eq!(
            (world.state("a"), world.session.state(world.now.mono)),
            (SubscriptionState::Live, State::Fresh)
        );
        world.idle(SECOND);
    }
    assert_eq!(world.repairs(), []);
    world.idle(SECOND);
    assert_eq!(world.repairs(), [Repair::Probe]);
    world.idle(SECOND);
    assert_eq!(world.repairs(), [Repair::Resubscribe]);
    world.idle(3 * SECOND);
    assert_eq!(world.repairs(), [Repair::Reconnect]);
    assert!(!world.session.is_connected());
    // Where it stands outlives the connection.
    world.end(EndReason::Eof);
    world.connect();
    world.idle(2 * SECOND);
    assert_eq!(world.repairs(), [Repair::NextEndpoint]);
}

#[test]
fn a_snapshot_after_each_repair_does_not_keep_it_on_the_first_rung() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    let key = world.want(laddered("a", &[Rung::Resubscribe(SECOND), Rung::Reconnect]));
    world.data(&[key]);
    world.idle(2 * SECOND);
    assert_eq!(world.repairs(), [Repair::Resubscribe]);
    world.data(&[key]);
    world.idle(2 * SECOND);
    assert_eq!(world.repairs(), [Repair::Reconnect]);
}

#[test]
fn a_subscription_made_again_has_its_gap_before_its_next_message() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    let key = world.want(laddered("a", &[Rung::Resubscribe(SECOND)]));
    world.data(&[key]);
    world.names();
    world.outs.clear();
    world.idle(2 * SECOND);
    assert_eq!(world.names(), ["stale", "gap"]);
    let made = |out: &Out| matches!(out, Out::Unsubscribe { key: 1, .. } | Out::Subscribe { .. });
    assert_eq!(world.outs.iter().filter(|out| made(out)).count(), 2);
}

#[test]
fn what_does_not_apply_is_passed_over() {
    let rungs = [Rung::Probe(SECOND), Rung::Resubscribe(SECOND), Rung::NextEndpoint];
    let mut world = World::new(Settings { repair: rungs.into(), stale_after: Some(SECOND), ..settings() });
    world.connect();
    world.idle(SECOND);
    assert_eq!(world.repairs(), [Repair::Reconnect], "for the connection as a whole, and one endpoint");
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    world.want(Want { can_probe: false, can_end: false, ..laddered("a", &rungs) });
    world.idle(2 * SECOND);
    assert_eq!(world.repairs(), [Repair::Reconnect]);
}

#[test]
fn the_first_data_may_have_a_limit_of_its_own() {
    for (first_limit, limit, stale_at) in
        [(Some(5 * SECOND), Some(SECOND), 5), (None, Some(SECOND), 0), (Some(3 * SECOND), None, 3)]
    {
        let mut world = World::new(Settings { stale_after: None, ..settings() });
        world.connect();
        let key = world.want(Want { first_limit, ..want("a", limit) });
        world.idle(15 * SECOND);
        let said = world.stale().map(|stale| stale.age);
        assert_eq!(said, (stale_at > 0).then_some(stale_at * SECOND));
        world.end(EndReason::Eof);
        world.connect();
        world.data(&[key]);
        world.names();
        world.idle(15 * SECOND);
        assert_eq!(world.stale().map(|stale| stale.age), limit);
    }
}

#[test]
fn signs_of_life_that_are_no_data_move_the_deadline_and_nothing_else() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    let key = world.want(want("a", Some(2 * SECOND)));
    world.connect();
    for _ in 0..10 {
        world.pass(SECOND);
        world.recv(&Cycle { bytes: 2, messages: 1, kept: &[key], ..Cycle::default() });
        world.empty();
    }
    assert!(world.stale().is_none());
    let health = world.session.health("x", world.now.mono);
    assert_eq!((health.last_data_age, health.subscriptions[0].messages), (None, 0));
    world.pass(2 * SECOND);
    world.empty();
    assert!(world.stale().is_some());
}

#[test]
fn a_live_subscription_grows_quiet() {
    let mut world = World::new(settings());
    let key = world.want(want("a", Some(10 * SECOND)));
    world.connect();
    world.data(&[key]);
    world.pass(5 * SECOND);
    assert_eq!(world.state("a"), SubscriptionState::Live);
    world.pass(MS);
    assert_eq!(world.state("a"), SubscriptionState::Quiet);
    assert!(world.session.is_fresh(world.now.mono));
}

#[test]
fn gaps_in_sequences_are_said_and_mended_as_told() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(want("a", None));
    world.data(&[key]);
    world.names();
    world.session.handle_sequence_gap(world.now, Some(key), 3, 7, Some(3), OnGap::Signal);
    world.settle();
    let Some(Event::Gap(gap)) = world.events.first() else { panic!("{:?}", world.events) };
    assert_eq!((gap.cause, gap.from, gap.to, gap.lost), (GapCause::Sequence, Some(3), Some(7), Some(3)));
    assert_eq!(world.names(), ["gap"]);
    // Not more often than once a second.
    for _ in 0..50 {
        world.session.handle_sequence_gap(world.now, Some(key), 3, 7, None, OnGap::Resubscribe);
        world.settle();
        world.pass(10 * MS);
        world.timeout();
    }
    assert_eq!(world.subscribed(), [1, 1]);
    world.idle(SECOND);
    assert_eq!(world.subscribed(), [1, 1, 1]);
    assert!(world.session.is_connected());
    world.session.handle_sequence_gap(world.now, None, 3, 7, None, OnGap::Resubscribe);
    world.settle();
    let reason = world.session.end_reason(EndReason::Eof);
    assert_eq!(reason, EndReason::SequenceGap { subscription: None, from: 3, to: 7 });
    assert!(world.outs.contains(&Out::Close(Some(1000))));
}

#[test]
fn notices() {
    let within = NoticeAction::ReconnectWithin(30 * SECOND);
    for (action, at_once) in [(NoticeAction::Reconnect, true), (within, false)] {
        let mut world = World::new(settings());
        world.connect();
        world.data(&[]);
        world.notice(action);
        assert_eq!(world.session.is_connected(), !at_once);
        world.idle(30 * SECOND);
        let reason = world.session.end_reason(EndReason::Eof);
        assert_eq!(reason, EndReason::ServerNotice { detail: "words".into() });
        world.end(EndReason::Eof);
        assert!(world.retry_in().unwrap() <= 500 * MS);
        assert_eq!(world.session.failures(), 0);
    }
    let mut world = World::new(settings());
    world.connect();
    world.notice(NoticeAction::Alert);
    assert!(world.names().contains(&"alert"));
    world.notice(NoticeAction::Fatal);
    world.end(EndReason::Eof);
    assert!(matches!(world.session.closed(), Some(CloseReason::Fatal(EndReason::ServerNotice { .. }))));
}

#[test]
fn r2_a_server_that_sends_everybody_away_is_not_hammered() {
    for with_data in [false, true] {
        let mut world = World::new(settings());
        let mut longest = Duration::ZERO;
        for _ in 0..20 {
            world.connect();
            if with_data {
                world.data(&[]);
            }
            world.notice(NoticeAction::Reconnect);
            world.end(EndReason::Eof);
            longest = longest.max(world.retry_in().unwrap());
        }
        assert!(longest > 5 * SECOND, "{longest:?}, with data: {with_data}");
        // One that is good for a while may send its clients elsewhere as often as it likes.
        for _ in 0..20 {
            world.connect();
            world.pass(30 * SECOND);
            world.data(&[]);
            world.notice(NoticeAction::Reconnect);
            world.end(EndReason::Eof);
            assert!(world.retry_in().unwrap() <= 500 * MS);
        }
    }
}

#[test]
fn a_pause_holds_verdicts_and_starts_every_clock_anew() {
    let mut world = World::new(Settings { stale_after: Some(5 * SECOND), ..settings() });
    world.connect();
    world.pass(4 * SECOND);
    world.notice(NoticeAction::Pause(60 * SECOND));
    world.idle(60 * SECOND);
    assert!(world.stale().is_none());
    world.idle(5 * SECOND - MS);
    assert!(world.stale().is_none());
    world.idle(MS);
    assert!(world.stale().is_some());
}

#[test]
fn a_pause_ends_when_the_server_says_that_all_goes_on() {
    for action in [NoticeAction::Resume, NoticeAction::ResubscribeAll] {
        let mut world = World::new(Settings { stale_after: Some(5 * SECOND), ..settings() });
        world.connect();
        world.notice(NoticeAction::Pause(120 * SECOND));
        world.idle(20 * SECOND);
        world.notice(action.clone());
        world.idle(5 * SECOND - MS);
        assert!(world.stale().is_none(), "{action:?}");
        world.idle(MS);
        assert!(world.stale().is_some(), "{action:?}");
    }
}

#[test]
fn all_can_be_made_again() {
    let mut world = World::new(settings());
    world.connect();
    for id in ["a", "b"] {
        world.want(want(id, None));
    }
    world.names();
    world.outs.clear();
    world.notice(NoticeAction::ResubscribeAll);
    assert_eq!(world.names(), ["gap", "gap"]);
    assert!(matches!(
        &world.outs[..],
        [Out::Unsubscribe { .. }, Out::Unsubscribe { .. }, Out::Subscribe { .. }, Out::Subscribe { .. }]
    ));
}

#[test]
fn keepalives_are_written_and_their_answers_awaited() {
    let mut world = World::new(settings());
    world.dial();
    let times = Times {
        mode: Mode::Every,
        period: 5 * SECOND,
        first_after: None,
        within: Some(2 * SECOND),
        ping: false,
    };
    let established = Established {
        took: MS,
        peer: ([127, 0, 0, 1], 1).into(),
        subprotocol: None,
        schedules: vec![times],
        heartbeat: None,
    };
    assert!(world.session.handle_connected(world.now, established, world.suspended));
    for _ in 0..3 {
        world.idle(5 * SECOND);
        world.session.handle_answer(world.now, 0);
    }
    assert_eq!(world.outs.iter().filter(|out| matches!(out, Out::Keepalive { index: 0, .. })).count(), 3);
    world.idle(5 * SECOND + 2 * SECOND - MS);
    assert!(world.session.is_connected());
    world.idle(MS);
    let reason = world.session.end_reason(EndReason::Eof);
    assert_eq!(reason, EndReason::KeepaliveOverdue { waited: 2 * SECOND });
}

#[test]
fn a_lively_subscription_is_not_made_again_for_the_seam_of_having_been_made_again() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    let key = world.want(want("a", None));
    let gap = |world: &mut World| {
        world.data(&[key]);
        world.session.handle_sequence_gap(world.now, Some(key), 1, 5, Some(3), OnGap::Resubscribe);
        world.settle();
        world.subscribed().len()
    };
    assert_eq!(gap(&mut world), 2, "made again");
    // What was on its way comes, then the first of the new: its number is another.
    world.pass(100 * MS);
    assert_eq!(gap(&mut world), 2);
    for _ in 0..20 {
        world.idle(SECOND);
        world.data(&[key]);
    }
    assert_eq!(world.subscribed().len(), 2);
    // Others are repaired: the next one, and one that comes late after the first.
    assert_eq!(gap(&mut world), 3);
    world.pass(100 * MS);
    assert_eq!(gap(&mut world), 3);
    world.idle(2 * SECOND);
    assert_eq!(gap(&mut world), 4);
    world.idle(11 * SECOND);
    assert_eq!(gap(&mut world), 5);
}

#[test]
fn an_answer_that_is_overdue_after_a_sleep_keeps_nobody_busy_while_the_probe_is_under_way() {
    let mut world = World::new(settings());
    world.dial();
    let within = Some(2 * SECOND);
    let times = Times { mode: Mode::Every, period: 5 * SECOND, first_after: None, within, ping: false };
    let established = Established {
        took: MS,
        peer: ([127, 0, 0, 1], 1).into(),
        subprotocol: None,
        schedules: vec![times],
        heartbeat: None,
    };
    assert!(world.session.handle_connected(world.now, established, world.suspended));
    world.idle(5 * SECOND);
    world.suspended = Some(3600 * SECOND);
    world.pass(2 * SECOND);
    world.empty();
    assert!(world.session.is_connected(), "the probe goes first");
    assert!(world.session.recv_deadline().is_some_and(|at| at > world.now.mono), "a reader that spins");
    world.bytes();
    world.empty();
    let reason = world.session.end_reason(EndReason::Eof);
    assert_eq!(reason, EndReason::KeepaliveOverdue { waited: 2 * SECOND });
}

#[test]
fn endpoints_take_turns_until_one_delivers() {
    let mut world = World::new(Settings { endpoints: 3, ..settings() });
    let dialed = |world: &mut World| {
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
    };
    let up = |world: &mut World| {
        let established = established();
        assert!(world.session.handle_connected(world.now, established, world.suspended));
        world.settle();
    };
    assert_eq!(dialed(&mut world), 0);
    world.end(EndReason::Eof);
    assert_eq!(dialed(&mut world), 1);
    up(&mut world);
    world.end(EndReason::Eof);
    assert_eq!(dialed(&mut world), 2, "it delivered no data");
    up(&mut world);
    world.data(&[]);
    world.end(EndReason::Eof);
    assert_eq!(dialed(&mut world), 2);
    up(&mut world);
    world.notice(NoticeAction::NextEndpoint);
    world.end(EndReason::Eof);
    assert_eq!(dialed(&mut world), 0);
    up(&mut world);
    let cause = |event: &Event| if let Event::Gap(gap) = event { Some(gap.cause) } else { None };
    let causes: Vec<_> = world.events.iter().filter_map(cause).collect();
    assert_eq!(causes, [GapCause::EndpointSwitched, GapCause::Reconnected, GapCause::EndpointSwitched]);
}

#[test]
fn an_attempt_that_is_put_off_does_not_count() {
    let mut world = World::new(Settings { max_attempts: Some(1), ..settings() });
    for _ in 0..5 {
        world.dial();
        world.session.handle_dial_deferred(world.now, world.now.mono + 7 * SECOND);
        assert_eq!(world.session.next_deadline(), Some(world.now.mono + 7 * SECOND));
    }
    world.connect();
    world.dial_deferred_is_nothing();
    assert!(world.session.is_connected());
    let mut world = World::new(settings());
    world.dial();
    world.session.handle_close(world.now, SECOND, CloseReason::ByUser);
    world.session.handle_dial_deferred(world.now, world.now.mono + 7 * SECOND);
    assert!(world.session.closed().is_some());
}

impl World {
    fn dial_deferred_is_nothing(&mut self) {
        self.session.handle_dial_deferred(self.now, self.now.mono + SECOND);
    }
}

#[test]
fn what_makes_the_server_hang_up_is_found_and_left_out() {
    let mut world = World::new(Settings { quarantine_after: 2, ..settings() });
    let awaited = AckPolicy::Awaited { timeout: 10 * SECOND, then: Default::default() };
    for id in ["a", "bad", "c"] {
        world.want(Want { ack: awaited, ..want(id, None) });
    }
    for _ in 0..30 {
        if world.state("bad") == SubscriptionState::Quarantined {
            break;
        }
        world.outs.clear();
        world.connect();
        loop {
            let asked: Vec<_> = std::mem::take(&mut world.outs);
            let mut frames = asked.iter().filter_map(|out| match out {
                Out::Subscribe { frame, keys } => Some((*frame, keys.contains(&2))),
                _ => None,
            });
            let Some((frame, bad)) = frames.next() else { break };
            let rest: Vec<_> = frames.collect();
            if bad || rest.iter().any(|(_, bad)| *bad) {
                world.end(EndReason::Eof);
                break;
            }
            world.ack(About::Frame(frame));
            for (frame, _) in rest {
                world.ack(About::Frame(frame));
            }
        }
    }
    assert_eq!(world.state("bad"), SubscriptionState::Quarantined);
    assert!(world.events.iter().any(|event| matches!(event, Event::Alert(alert)
        if matches!(&alert.kind, AlertKind::Quarantined { subscription, .. } if *subscription == "bad"))));
    assert_eq!([world.state("a"), world.state("c")], [SubscriptionState::Confirmed; 2]);
    assert!(!world.session.is_fresh(world.now.mono));
    // Its time comes again, alone.
    world.outs.clear();
    for _ in 0..61 {
        if world.subscribed().is_empty() {
            world.data(&[1, 3]);
            world.idle(SECOND);
        }
    }
    assert_eq!(world.subscribed(), [2]);
    world.ack(About::Oldest);
    assert_eq!(world.state("bad"), SubscriptionState::Confirmed);
}

#[test]
fn replies_go_out_first_and_only_while_connected() {
    let mut world = World::new(settings());
    let text = || Content::Text("pong".into());
    world.session.handle_reply(1, text());
    world.connect();
    assert!(!world.outs.iter().any(|out| matches!(out, Out::Reply { .. })));
    world.session.handle_send(Content::Text("x".into())).unwrap();
    world.session.handle_reply(1, text());
    assert_eq!(world.session.peek_out(), Some(crate::policy::outbox::OutKind::Control));
    world.settle();
    assert!(matches!(&world.outs[..], [Out::Reply { rule: 1, .. }, Out::App { .. }]));
}

/// A dialect may say any time, in the server's words.
#[test]
fn a_notice_may_say_any_time() {
    let mut world = World::new(settings());
    world.connect();
    for action in [NoticeAction::ReconnectWithin(Duration::MAX), NoticeAction::Pause(Duration::MAX)] {
        for _ in 0..50 {
            world.session.handle_notice(world.now, action.clone(), "soon".into());
        }
    }
    world.settle();
    assert!(world.session.is_connected());
}

#[test]
fn a_name_that_is_wanted_again_has_its_gap_before_its_next_message() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(want("a", None));
    world.data(&[key]);
    let last = world.now.wall;
    world.pass(SECOND);
    world.session.handle_unsubscribe(world.now, &"a".into()).unwrap();
    world.settle();
    world.names();
    world.want(want("b", None));
    assert_eq!(world.names(), ["subscribed"], "nothing was before it");
    world.want(want("a", None));
    let Some(Event::Gap(gap)) = world.events.first() else { panic!("{:?}", world.events) };
    assert_eq!((gap.cause, gap.last_message), (GapCause::Resubscribed, Some(last)));
    assert_eq!(world.names(), ["gap", "subscribed"]);
    // On another connection too; and where the gap of the reconnect says it, not twice.
    for connected in [true, false] {
        world.data(&[world.session.key_of(&"a".into()).unwrap()]);
        world.session.handle_unsubscribe(world.now, &"a".into()).unwrap();
        world.settle();
        world.end(EndReason::Eof);
        if connected {
            world.connect();
        }
        world.names();
        world.want(want("a", None));
        if !connected {
            world.connect();
        }
        assert_eq!(world.names().iter().filter(|name| **name == "gap").count(), 1, "{connected}");
    }
}

#[test]
fn once_it_is_known_who_makes_the_server_hang_up_the_others_do_not_wait() {
    let mut world = World::new(Settings { quarantine_after: 2, ..settings() });
    let awaited = AckPolicy::Awaited { timeout: 10 * SECOND, then: Default::default() };
    let good = world.want(Want { ack: awaited, ..want("good", None) });
    let bad = world.want(Want { ack: awaited, ..want("bad", None) });
    let mut delays = Vec::new();
    let mut terms = Vec::new();
    for _ in 0..200 {
        world.outs.clear();
        if !world.session.is_connected() {
            world.connect();
        }
        if world.subscribed().contains(&good) {
            world.ack(About::Keys(&[good]));
            world.data(&[good]);
        }
        for _ in 0..100 {
            if world.subscribed().contains(&bad) {
                break;
            }
            world.pass(SECOND);
            world.timeout();
            world.data(&[good]);
        }
        if world.subscribed().contains(&bad) {
            let before = world.state("bad");
            world.pass(MS);
            world.names();
            world.end(EndReason::Eof);
            if before != SubscriptionState::Quarantined && world.session.quarantine.is_quarantined(bad) {
                delays.push(world.retry_in().unwrap());
                terms.push(world.now.mono);
            }
        }
    }
    assert!(delays.len() >= 4, "{delays:?}");
    assert!(delays.iter().all(|delay| (100 * MS..=500 * MS).contains(delay)), "{delays:?}");
    let apart: Vec<_> = terms.windows(2).map(|two| two[1] - two[0]).collect();
    assert!(apart.windows(2).all(|two| two[1] > two[0] * 3 / 2 || two[1] > 3000 * SECOND), "{apart:?}");
}
