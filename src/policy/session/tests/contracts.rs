//! The contracts of the design, in virtual time.

use super::*;

#[test]
fn f1_what_is_no_data_keeps_it_alive_but_not_fresh() {
    let mut world = World::new(settings());
    world.connect();
    for _ in 0..59 {
        world.pass(SECOND);
        world.bytes();
        world.empty();
        assert!(world.stale().is_none());
    }
    world.pass(SECOND);
    world.bytes();
    world.empty();
    let stale = world.stale().expect("stale");
    assert_eq!((stale.age, stale.limit, stale.subscription.clone()), (60 * SECOND, 60 * SECOND, None));
    assert!(world.outs.iter().all(|out| *out != Out::Ping), "it was never silent");
}

#[test]
fn f2_one_dead_subscription_among_lively_ones_is_stale() {
    let mut world = World::new(settings());
    let lively = world.subscribe("lively", Some(2 * SECOND));
    world.subscribe("dead", Some(5 * SECOND));
    world.subscribe("patient", None);
    world.connect();
    for _ in 0..50 {
        world.pass(100 * MS);
        world.data(&[lively]);
        if world.stale().is_none() {
            world.empty();
        }
    }
    let stale = world.stale().expect("stale");
    assert_eq!((stale.subscription.as_ref().unwrap().as_str(), stale.age), ("dead", 5 * SECOND));
}

#[test]
fn f2_the_clock_of_a_subscription_starts_when_its_message_is_written() {
    let mut world = World::new(settings());
    world.connect();
    world.session.handle_subscribe(world.now, want("late", Some(SECOND)));
    world.pass(3 * SECOND);
    world.empty();
    assert!(world.stale().is_none(), "it was not even asked for");
    // `empty` settles, and settling writes: from now on data is owed.
    world.pass(SECOND - MS);
    world.empty();
    assert!(world.stale().is_none());
    world.pass(MS);
    world.empty();
    assert!(world.stale().is_some());
}

#[test]
fn f3_never_before_the_limit_and_at_once_after_it() {
    let mut world = World::new(settings());
    world.connect();
    world.pass(SECOND);
    world.data(&[]);
    world.pass(60 * SECOND - Duration::from_nanos(1));
    world.empty();
    assert!(world.stale().is_none());
    let deadline = world.session.recv_deadline();
    assert!(deadline.is_some());
    world.pass(Duration::from_nanos(1));
    world.empty();
    assert_eq!(world.stale().map(crate::event::Stale::lateness), Some(Duration::ZERO));
}

#[test]
fn f4_other_traffic_never_moves_a_deadline() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    let a = world.subscribe("a", Some(10 * SECOND));
    let b = world.subscribe("b", Some(10 * SECOND));
    world.connect();
    world.pass(SECOND);
    world.data(&[a, b]);
    let due = world.now.mono + 10 * SECOND;
    for _ in 0..99 {
        world.pass(100 * MS);
        world.data(&[b]);
        world.bytes();
    }
    assert!(world.session.recv_deadline().is_some_and(|at| at <= due));
    world.pass(100 * MS);
    world.empty();
    assert_eq!(world.stale().unwrap().subscription, Some("a".into()));
}

#[test]
fn f5_only_an_empty_socket_can_be_stale() {
    let mut world = World::new(settings());
    let key = world.subscribe("a", Some(SECOND));
    world.connect();
    world.pass(1900 * MS);
    // Something came, if not of this subscription: its data may be right behind.
    world.bytes();
    world.timeout();
    assert!(world.stale().is_none());
    world.data(&[key]);
    world.empty();
    assert!(world.stale().is_none());
}

#[test]
fn f1_a_socket_that_is_never_empty_hides_nothing_for_ever() {
    let mut world = World::new(settings());
    world.connect();
    for _ in 0..119 {
        world.pass(SECOND);
        world.bytes();
        assert!(world.stale().is_none());
    }
    world.pass(SECOND);
    world.bytes();
    assert_eq!(world.stale().map(|stale| stale.age), Some(120 * SECOND));
}

#[test]
fn f5_data_of_others_in_a_full_socket_is_no_evidence() {
    let mut world = World::new(settings());
    let lively = world.subscribe("lively", Some(SECOND));
    world.subscribe("starved", Some(SECOND));
    world.connect();
    for _ in 0..1000 {
        world.pass(100 * MS);
        world.data(&[lively]);
    }
    assert!(world.stale().is_none(), "its data may wait behind the others'");
    world.empty();
    assert!(world.stale().is_some());
}

#[test]
fn f5_time_away_shifts_every_deadline_pong_included() {
    let mut world = World::new(settings());
    world.connect();
    world.pass(21 * SECOND);
    world.timeout();
    assert!(world.outs.contains(&Out::Ping));
    world.session.handle_away(world.now.mono);
    world.pass(500 * SECOND);
    world.timeout();
    assert_eq!(world.session.next_deadline(), None, "nothing to wake for while nobody reads");
    world.session.handle_back(world.now.mono);
    world.empty();
    assert!(world.session.is_connected());
    world.pass(10 * SECOND - MS);
    world.empty();
    assert!(world.session.is_connected());
    world.pass(MS);
    world.empty();
    assert!(!world.session.is_connected(), "the pong is overdue now");
}

#[test]
fn f5_a_stopped_process_shifts_them_too() {
    let mut world = World::new(settings());
    world.connect();
    world.pass(1000 * SECOND);
    let cycle =
        Cycle { empty: true, armed: Some(10 * SECOND), suspended: Some(Duration::ZERO), ..Cycle::default() };
    world.recv(&cycle);
    assert!(world.session.is_connected() && world.stale().is_none());
}

#[test]
fn f6_after_sleep_it_probes_before_it_judges() {
    let mut world = World::new(settings());
    world.connect();
    // The lid was closed: the monotonic clock of Linux stands still meanwhile.
    world.now.wall += 3600 * SECOND;
    world.suspended = Some(3600 * SECOND);
    world.pass(60 * SECOND);
    world.empty();
    assert!(world.stale().is_none(), "no verdict before the probe is answered");
    assert_eq!(world.outs.iter().filter(|out| **out == Out::Ping).count(), 1);
    // An answer: now it judges as ever.
    world.bytes();
    world.pass(MS);
    world.empty();
    assert!(world.stale().is_some());
}

#[test]
fn f6_an_unanswered_probe_ends_the_connection() {
    let mut world = World::new(settings());
    world.connect();
    world.suspended = Some(3600 * SECOND);
    world.pass(SECOND);
    world.empty();
    world.pass(10 * SECOND);
    world.empty();
    assert!(matches!(world.session.end_reason(EndReason::Eof), EndReason::PongOverdue { .. }));
}

#[test]
fn f6_a_clock_that_was_set_is_no_sleep() {
    let liveness = liveness::Settings { after: None, timeout: SECOND };
    let mut world = World::new(Settings { liveness, ..settings() });
    world.connect();
    world.now.wall += 3600 * SECOND;
    world.pass(60 * SECOND);
    world.empty();
    assert!(world.stale().is_some());
    assert!(!world.outs.contains(&Out::Ping));
}

#[test]
fn f6_without_an_exact_clock_a_leap_of_the_wall_clock_is_probed() {
    let mut world = World::new(settings());
    world.suspended = None;
    world.connect();
    world.now.wall += 3600 * SECOND;
    world.pass(60 * SECOND);
    world.empty();
    assert!(world.stale().is_none() && world.outs.contains(&Out::Ping));
}

#[test]
fn liveness_ping_after_silence_then_pong_overdue() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    assert_eq!(world.session.next_deadline(), Some(world.now.mono + 20 * SECOND));
    assert_eq!(world.session.recv_deadline(), Some(world.now.mono + 30 * SECOND));
    world.pass(20 * SECOND);
    world.timeout();
    assert!(world.outs.contains(&Out::Ping));
    world.pass(10 * SECOND);
    world.empty();
    assert!(matches!(world.session.end_reason(EndReason::Eof), EndReason::PongOverdue { .. }));
    assert!(world.actions.contains(&Action::Abort));
}

#[test]
fn c1_the_order_of_a_reconnect() {
    let mut world = World::new(settings());
    let key = world.subscribe("a", Some(SECOND));
    world.connect();
    world.pass(100 * MS);
    world.data(&[key]);
    world.names();
    world.pass(SECOND);
    world.empty();
    world.end(EndReason::Eof);
    world.dial();
    world.session.handle_connecting(world.now, "ws://h/".into());
    let established = established();
    assert!(world.session.handle_connected(world.now, established, world.suspended));
    world.settle();
    let Some(Event::Gap(gap)) = world.events.iter().find(|event| matches!(event, Event::Gap(_))) else {
        panic!("{:?}", world.events)
    };
    assert_eq!((gap.cause, gap.epoch, gap.lost), (GapCause::Reconnected, 2, None));
    assert_eq!(gap.subscriptions, ["a"]);
    assert!(gap.last_message.is_some());
    assert_eq!(world.names(), ["stale", "disconnected", "connecting", "connected", "gap", "subscribed"]);
}

#[test]
fn c1_a_subscription_made_anew_has_a_gap_before_its_next_message() {
    let mut world = World::new(settings());
    world.subscribe("a", None);
    world.connect();
    world.names();
    world.subscribe("a", None);
    assert_eq!(world.names(), ["gap", "subscribed"]);
    assert!(world.outs.iter().any(|out| matches!(out, Out::Unsubscribe { .. })));
}

#[test]
fn c1_a_subscription_made_anew_twice_has_its_gap_too() {
    let mut world = World::new(settings());
    world.subscribe("a", None);
    world.connect();
    world.names();
    world.session.handle_subscribe(world.now, want("a", None));
    world.session.handle_subscribe(world.now, want("a", None));
    world.settle();
    assert_eq!(world.names(), ["gap", "subscribed"]);
}

#[test]
fn what_was_never_asked_for_is_not_ended() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.session.handle_subscribe(world.now, want("a", None)).0;
    world.session.poll_out(world.now);
    world.session.handle_render_failed(world.now, key, "no token".into());
    assert_eq!(world.session.handle_unsubscribe(world.now, &"a".into()), Some((key, false)));
}

#[test]
fn what_the_application_asks_for_keeps_its_order() {
    let mut world = World::new(settings());
    world.connect();
    world.session.handle_send(Content::Text("login".into())).unwrap();
    world.session.handle_subscribe(world.now, want("a", None));
    world.settle();
    assert!(matches!(&world.outs[..], [Out::App { .. }, Out::Subscribe { .. }]));
}

#[test]
fn c1_a_subscription_that_was_never_written_leaves_no_gap() {
    let mut world = World::new(settings());
    world.connect();
    world.names();
    world.session.handle_subscribe(world.now, want("a", None));
    world.session.handle_subscribe(world.now, want("a", None));
    world.settle();
    assert_eq!(world.names(), ["subscribed"]);
}

#[test]
fn c4_subscriptions_come_first_and_nothing_else_is_replayed() {
    let mut world = World::new(settings());
    world.subscribe("a", None);
    world.subscribe("b", None);
    world.connect();
    world.outs.clear();
    world.session.handle_send(Content::Text("order".into())).unwrap();
    world.end(EndReason::Eof);
    assert_eq!(world.session.poll_outcome(), Some((1, Outcome::Dropped { epoch: 1 })));
    world.connect();
    assert_eq!(world.subscribed(), [1, 2]);
}

#[test]
fn c5_what_is_late_for_an_old_subscription_does_not_touch_a_newer_one() {
    let mut world = World::new(settings());
    world.connect();
    let old = world.session.handle_subscribe(world.now, want("a", Some(SECOND))).0;
    let out = world.session.poll_out(world.now).unwrap();
    world.session.handle_unsubscribe(world.now, &"a".into()).unwrap();
    world.session.handle_written(world.now, 1, &out);
    world.settle();
    world.pass(10 * SECOND);
    world.data(&[old]);
    world.empty();
    assert!(world.stale().is_none(), "a cancelled subscription is not revived");
    let new = world.subscribe("a", None);
    assert_ne!(old, new);
    assert_eq!(world.session.health("x", world.now.mono).subscriptions[0].messages, 0);
}

#[test]
fn r1_backoff_resets_only_after_a_stable_connection() {
    // (time up, data, ended stale) and whether the next delays begin anew.
    let cases = [
        (31, true, false, true),
        (29, true, false, false),
        (31, false, false, false),
        (120, true, true, false),
    ];
    for (up, data, stale, anew) in cases {
        let mut world = World::new(settings());
        // Many short connections: the bound is at its cap.
        for _ in 0..12 {
            world.connect();
            world.end(EndReason::Eof);
        }
        world.connect();
        if data {
            world.data(&[]);
        }
        if stale {
            world.pass(60 * SECOND);
            world.empty();
        } else {
            world.pass(up * SECOND);
        }
        world.end(EndReason::Eof);
        let longest = (0..40)
            .map(|_| {
                let delay = world.retry_in().unwrap();
                let again = World::seeded(settings(), 0).session.backoff.floor();
                assert!(delay >= again);
                if anew {
                    return delay;
                }
                world.connect();
                world.end(EndReason::Eof);
                delay
            })
            .max()
            .unwrap();
        assert_eq!(longest <= 500 * MS, anew, "{up} s, data {data}, stale {stale}: {longest:?}");
    }
}

#[test]
fn r2_a_retry_after_is_a_floor() {
    let mut world = World::new(settings());
    world.dial();
    let refused = |status| EndReason::UpgradeRefused {
        status,
        retry_after: Some(77 * SECOND),
        location: None,
        body: String::new(),
    };
    world.end(refused(503));
    assert_eq!(world.retry_in(), Some(77 * SECOND));
    assert_eq!(world.session.next_deadline(), Some(world.now.mono + 77 * SECOND));
}

#[test]
fn r2_at_once_is_never_without_a_delay_and_never_hammers() {
    use verdict::Decision;
    let mut world = World::new(settings());
    let mut longest = Duration::ZERO;
    for round in 0..20 {
        world.connect();
        world.session.handle_ended(world.now, EndReason::Eof, Decision::RetryNow);
        world.settle();
        let delay = world.retry_in().unwrap();
        assert!(delay >= 100 * MS && (round > 0 || delay <= 500 * MS), "round {round}: {delay:?}");
        longest = longest.max(delay);
    }
    assert!(longest > 10 * SECOND, "without data the delays grow");
    for _ in 0..20 {
        world.connect();
        world.data(&[]);
        world.session.handle_ended(world.now, EndReason::Eof, Decision::RetryNow);
        world.settle();
        assert!((100 * MS..=500 * MS).contains(&world.retry_in().unwrap()));
    }
    world.connect();
    world.session.handle_ended(world.now, EndReason::Eof, Decision::RetryAfter(90 * SECOND));
    world.settle();
    assert_eq!(world.retry_in(), Some(90 * SECOND));
}

#[test]
fn r4_limits_on_attempts_and_downtime_end_in_closed() {
    let mut world = World::new(Settings { max_attempts: Some(3), ..settings() });
    for _ in 0..3 {
        world.dial();
        world.end(EndReason::Eof);
    }
    assert_eq!(world.names(), ["disconnected", "disconnected", "disconnected", "closed"]);
    assert!(matches!(world.session.closed(), Some(CloseReason::AttemptsExhausted { attempts: 3, .. })));

    let mut world = World::new(Settings { max_downtime: Some(5 * SECOND), ..settings() });
    world.dial();
    world.pass(5 * SECOND);
    world.timeout();
    assert!(world.actions.contains(&Action::Abort), "also while an attempt is under way");
    world.end(EndReason::Eof);
    assert!(matches!(world.session.closed(), Some(CloseReason::DowntimeExhausted { .. })));
}

#[test]
fn r4_a_stable_connection_begins_the_count_anew() {
    let mut world = World::new(Settings { max_attempts: Some(2), ..settings() });
    world.dial();
    world.end(EndReason::Eof);
    world.connect();
    world.data(&[]);
    world.pass(31 * SECOND);
    world.end(EndReason::Eof);
    world.dial();
    world.end(EndReason::Eof);
    assert!(world.session.closed().is_none());
    world.dial();
    world.end(EndReason::Eof);
    assert!(world.session.closed().is_some());
}

#[test]
fn r6_a_mistake_is_fatal_at_first_and_slow_later() {
    let refused =
        || EndReason::UpgradeRefused { status: 401, retry_after: None, location: None, body: String::new() };
    let mut world = World::new(settings());
    world.dial();
    world.end(refused());
    assert!(matches!(world.session.closed(), Some(CloseReason::Fatal(_))));

    let mut world = World::new(settings());
    world.connect();
    world.end(EndReason::Eof);
    world.dial();
    world.names();
    world.end(refused());
    assert!(world.retry_in().unwrap() >= 15 * SECOND);
    assert_eq!(world.names(), ["alert", "disconnected"]);
}

#[test]
fn r5_close_in_every_phase() {
    let mut waiting = World::new(settings());
    waiting.session.handle_close(waiting.now, SECOND, CloseReason::ByUser);
    waiting.settle();
    assert_eq!(waiting.names(), ["closed"]);
    assert_eq!(waiting.actions, [Action::Exit]);

    let mut dialing = World::new(settings());
    dialing.dial();
    dialing.session.handle_close(dialing.now, SECOND, CloseReason::ByUser);
    dialing.settle();
    assert_eq!(dialing.actions, [Action::Abort]);
    dialing.end(EndReason::Eof);
    assert_eq!(dialing.names(), ["closed"]);

    let mut up = World::new(settings());
    up.connect();
    up.names();
    for _ in 0..2 {
        up.session.handle_close(up.now, SECOND, CloseReason::ByUser);
        up.settle();
    }
    assert!(up.outs == [Out::Close(Some(1000))]);
    assert!(!up.session.must_end(up.now.mono));
    up.pass(SECOND);
    assert!(up.session.must_end(up.now.mono), "the peer did not answer");
    up.timeout();
    assert_eq!(up.actions, [Action::Abort]);
    up.end(EndReason::Eof);
    assert_eq!(up.names(), ["disconnected", "closed"]);
    assert_eq!(up.session.state(up.now.mono), State::Closed);
}

#[test]
fn r4_a_close_of_the_server_is_answered_and_is_a_reconnect() {
    let mut world = World::new(settings());
    world.connect();
    world.session.handle_send(Content::Text("x".into())).unwrap();
    world.recv(&Cycle { bytes: 9, close: Some((Some(1000), "bye".into())), ..Cycle::default() });
    assert!(world.outs == [Out::Close(Some(1000))], "and nothing else after it");
    assert_eq!(world.session.poll_outcome(), Some((1, Outcome::Dropped { epoch: 1 })));
    assert!(!world.session.must_end(world.now.mono), "the server closes the TCP connection first");
    world.pass(251 * MS);
    assert!(world.session.must_end(world.now.mono), "but not for ever");
    world.end(EndReason::Eof);
    assert!(world.retry_in().is_some());
    assert_eq!(world.session.health("x", world.now.mono).ends.get("closed by peer"), Some(&1));
}

#[test]
fn r4_a_violation_is_told_to_the_server() {
    let mut world = World::new(settings());
    world.connect();
    let reason = EndReason::Protocol { detail: "masked".into() };
    world.session.handle_violation(world.now, reason.clone(), 1002);
    world.settle();
    assert!(world.outs == [Out::Close(Some(1002))]);
    assert_eq!(world.session.end_reason(EndReason::Eof), reason);
    world.pass(300 * MS);
    assert!(world.session.must_end(world.now.mono));
}

#[test]
fn d2_sends_are_admitted_or_refused_at_once() {
    let mut world = World::new(settings());
    let text = |n: usize| Content::Text("x".repeat(n).into());
    assert_eq!(world.session.handle_send(text(1)), Err(Error::NotConnected));
    world.connect();
    assert_eq!(world.session.handle_send(text(1001)), Err(Error::TooLarge { size: 1001, limit: 1000 }));
    assert_eq!(world.session.handle_send(text(600)), Ok(1));
    assert_eq!(world.session.handle_send(text(600)), Err(Error::OutboxFull { limit: 1000 }));
    world.settle();
    assert_eq!(world.session.poll_outcome(), Some((1, Outcome::Written)));
    assert_eq!(world.session.handle_send(text(600)), Ok(2));
    world.session.handle_close(world.now, Duration::ZERO, CloseReason::ByUser);
    assert_eq!(world.session.handle_send(text(1)), Err(Error::NotConnected));
    world.end(EndReason::Eof);
    assert!(world.session.handle_send(text(1)).unwrap_err().is_closed());
}

#[test]
fn a_user_can_cut_the_wait_short_but_not_to_nothing() {
    let mut world = World::new(settings());
    for _ in 0..8 {
        world.dial();
        world.end(EndReason::Eof);
    }
    world.session.handle_reconnect(world.now);
    assert!(world.session.next_deadline().unwrap() <= world.now.mono + 100 * MS);
    for _ in 0..20 {
        world.connect();
        world.session.handle_reconnect(world.now);
        world.settle();
        world.end(EndReason::Eof);
        assert!(
            (100 * MS..=500 * MS).contains(&world.retry_in().unwrap()),
            "nor is it held against the server"
        );
    }
}
