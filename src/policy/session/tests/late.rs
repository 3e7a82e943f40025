//! Answers that come late, to messages that were written again meanwhile; and what leads out of a refusal.

use super::answers::acked;
use super::*;
use crate::class::{ErrorClass, OnAckTimeout};
use crate::health::SubscriptionState;
use crate::policy::ledger::Grant;

fn frames(world: &World) -> Vec<u64> {
    let frame = |out: &Out| if let Out::Subscribe { frame, .. } = out { Some(*frame) } else { None };
    world.outs.iter().filter_map(frame).collect()
}

fn unsubscribed(world: &World) -> Vec<Key> {
    let key = |out: &Out| if let Out::Unsubscribe { key, .. } = out { Some(*key) } else { None };
    world.outs.iter().filter_map(key).collect()
}

#[test]
fn the_acknowledgement_of_an_earlier_try_counts() {
    for by_name in [false, true] {
        let mut world = World::new(Settings { stale_after: None, ..settings() });
        world.connect();
        let key = world.want(acked("a", OnAckTimeout::Retry));
        world.idle(10 * SECOND);
        let asked = frames(&world);
        assert_eq!(asked.len(), 2, "written again");
        world.names();
        world.pass(SECOND);
        let keys = [key];
        let about = |frame| if by_name { About::Keys(&keys) } else { About::Frame(frame) };
        assert_eq!(world.ack(about(asked[0])), [key]);
        assert_eq!((world.state("a"), world.names()), (SubscriptionState::Confirmed, vec!["subscribed"]));
        // That it has it already is nothing against it; nor is a second grant anything new.
        assert!(world.nack(about(asked[1]), ErrorClass::Refused));
        assert_eq!((world.state("a"), world.names()), (SubscriptionState::Confirmed, vec![]));
        world.idle(60 * SECOND - MS);
        assert!(world.session.is_connected(), "no answer is owed any more");
    }
}

#[test]
fn one_that_is_to_be_written_again_is_not_once_it_is_granted() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(acked("a", OnAckTimeout::Retry));
    let frame = world.frame();
    world.pass(10 * SECOND);
    world.session.handle_empty(world.now, world.suspended);
    assert_eq!(world.state("a"), SubscriptionState::Queued);
    assert_eq!(world.ack(About::Frame(frame)), [key]);
    assert_eq!((frames(&world).len(), world.state("a")), (1, SubscriptionState::Confirmed));
}

#[test]
fn a_refusal_of_an_earlier_try_counts_and_is_said_once() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(acked("a", OnAckTimeout::Retry));
    world.idle(10 * SECOND);
    let asked = frames(&world);
    world.names();
    assert!(world.nack(About::Frame(asked[0]), ErrorClass::Refused));
    assert!(world.nack(About::Frame(asked[1]), ErrorClass::Refused));
    assert_eq!((world.state("a"), world.names()), (SubscriptionState::Refused, vec!["refused", "alert"]));
    // And where the other grants it, it is in force.
    assert_eq!(world.ack(About::Frame(asked[1])), [key]);
    assert_eq!(world.state("a"), SubscriptionState::Confirmed);
}

#[test]
fn of_two_that_were_granted_the_newer_is_in_force_and_the_other_is_ended() {
    for newer_last in [true, false] {
        let mut world = World::new(settings());
        world.connect();
        let key = world.want(Want { ends_by_answer: true, ..acked("a", OnAckTimeout::Retry) });
        world.idle(10 * SECOND);
        let mut asked = frames(&world);
        if !newer_last {
            asked.reverse();
        }
        let first = world.session.handle_ack(world.now, About::Frame(asked[0]));
        assert_eq!(first.grants, [(key, Grant::First)]);
        let second = world.session.handle_ack(world.now, About::Frame(asked[1]));
        assert_eq!(second.grants, [(key, if newer_last { Grant::Newer } else { Grant::Older })]);
        world.settle();
        world.names();
        let spare = world.session.handle_duplicate(world.now, key, newer_last).unwrap();
        world.settle();
        assert_eq!(unsubscribed(&world), [spare]);
        let said = if newer_last { vec!["gap"] } else { vec![] };
        assert_eq!((world.state("a"), world.names()), (SubscriptionState::Confirmed, said));
        // What ends is the other: its answer says nothing of the one in force.
        assert!(!world.ack(About::Frame(asked[1] + 1)).contains(&key));
        assert_eq!(world.state("a"), SubscriptionState::Confirmed);
    }
}

#[test]
fn two_that_can_not_be_told_apart_are_said() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(acked("a", OnAckTimeout::Retry));
    world.names();
    assert_eq!(world.session.handle_duplicate(world.now, key, false), None);
    world.settle();
    assert_eq!((world.names(), unsubscribed(&world)), (vec!["alert"], vec![]));
}

#[test]
fn one_that_is_wanted_no_more_waits_for_the_answer_to_its_last_message() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(Want { ends_by_answer: true, ..acked("a", OnAckTimeout::Retry) });
    world.idle(10 * SECOND);
    let asked = frames(&world);
    world.session.handle_unsubscribe(world.now, &"a".into()).unwrap();
    world.settle();
    world.names();
    let first = world.session.handle_ack(world.now, About::Frame(asked[0]));
    assert_eq!(first.grants, [(key, Grant::First)], "C5: it revives nothing, and its number is kept");
    world.settle();
    assert_eq!((unsubscribed(&world), world.names()), (vec![], vec![]));
    let second = world.session.handle_ack(world.now, About::Frame(asked[1]));
    assert_eq!(second.grants, [(key, Grant::Newer)]);
    world.settle();
    assert_eq!(unsubscribed(&world), [key]);
}

#[test]
fn a_server_that_works_through_its_queue_is_waited_for() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    for n in 0..1000 {
        world.session.handle_subscribe(world.now, acked(&format!("s{n}"), OnAckTimeout::Retry));
    }
    world.settle();
    // 20 answers a second: the last comes after 50 s.
    for _ in 0..1000 {
        world.idle(50 * MS);
        assert_eq!(world.ack(About::Oldest).len(), 1);
    }
    assert!(world.session.is_connected());
    assert_eq!(frames(&world).len(), 1000, "none was written twice");
    // But not for one that it passes over: its time runs from the last answer to what was before it.
    let slow = world.want(acked("slow", OnAckTimeout::Reconnect));
    for n in 0..11 {
        let key = world.want(acked(&format!("t{n}"), OnAckTimeout::Retry));
        world.idle(SECOND - MS);
        assert_eq!(world.session.is_connected(), n < 10);
        if n < 10 {
            world.ack(About::Keys(&[key]));
        }
    }
    let reason = world.session.end_reason(EndReason::Eof);
    assert!(
        matches!(reason, EndReason::AckOverdue { ref subscription, .. } if *subscription == "slow"),
        "{slow}"
    );
}

#[test]
fn a_late_grant_leads_out_of_a_refusal() {
    let mut world = World::new(settings());
    world.connect();
    for class in [ErrorClass::Refused, ErrorClass::RetryLater] {
        let limit = Some(5 * SECOND);
        let key = world.want(Want { limit, first_limit: limit, ..acked("a", OnAckTimeout::Retry) });
        let frame = world.frame();
        assert!(world.nack(About::Frame(frame), class));
        assert_eq!(world.state("a"), SubscriptionState::Refused);
        world.names();
        assert_eq!(world.ack(About::Frame(frame)), [key]);
        let said =
            if class == ErrorClass::Refused { vec!["alert", "subscribed"] } else { vec!["subscribed"] };
        assert_eq!((world.state("a"), world.names()), (SubscriptionState::Confirmed, said));
        assert_eq!(world.ack(About::Frame(frame)), [0u64; 0], "once");
    }
    // It is watched again.
    world.idle(5 * SECOND);
    assert!(world.stale().is_some());
    // One that is wanted no more is not revived.
    let mut world = World::new(settings());
    world.connect();
    world.want(acked("a", OnAckTimeout::Retry));
    let frame = world.frame();
    world.nack(About::Frame(frame), ErrorClass::Refused);
    world.session.handle_unsubscribe(world.now, &"a".into()).unwrap();
    world.want(acked("a", OnAckTimeout::Retry));
    assert_eq!(world.ack(About::Frame(frame)), [0u64; 0]);
    assert_eq!(world.state("a"), SubscriptionState::Sent);
}

#[test]
fn data_leads_out_of_a_refusal_unless_it_was_on_its_way() {
    for recognised in [true, false] {
        let mut world = World::new(settings());
        world.connect();
        let key = world.want(Want { recognised, ..acked("a", OnAckTimeout::Retry) });
        assert!(world.nack(About::Frame(world.frame()), ErrorClass::Refused));
        world.names();
        world.data(&[key]);
        world.pass(SECOND - MS);
        world.data(&[key]);
        assert_eq!((world.state("a"), world.names()), (SubscriptionState::Refused, vec![]));
        world.pass(MS);
        world.data(&[key]);
        let (state, said) = match recognised {
            true => (SubscriptionState::Live, vec!["alert", "subscribed"]),
            false => (SubscriptionState::Refused, vec![]), // any message would be its data
        };
        assert_eq!((world.state("a"), world.names()), (state, said));
        assert_eq!(world.session.is_fresh(world.now.mono), recognised);
    }
}

#[test]
fn one_that_ended_and_goes_on_has_its_gap() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(want("a", None));
    world.data(&[key]);
    assert!(world.dropped(About::Keys(&[key]), ErrorClass::Refused));
    world.names();
    world.idle(2 * SECOND);
    world.data(&[key]);
    assert_eq!(world.names(), ["gap", "alert", "subscribed"]);
    assert_eq!(world.state("a"), SubscriptionState::Live);
}

#[test]
fn what_can_not_be_made_is_tried_again_and_its_alert_stands_until_it_is() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    let mut tries = Vec::new();
    let begin = world.now.mono;
    world.session.handle_subscribe(world.now, want("a", None));
    world.names();
    for _ in 0..700 {
        if let Some(Out::Subscribe { keys, .. }) = world.session.poll_out(world.now) {
            tries.push((world.now.mono - begin).as_secs());
            world.session.handle_render_failed(world.now, keys[0], "no key".into());
        }
        world.events.extend(std::iter::from_fn(|| world.session.poll_event()));
        assert_eq!(world.state("a"), SubscriptionState::Refused);
        assert!(!world.session.is_fresh(world.now.mono));
        world.pass(SECOND);
        world.data(&[]);
        world.session.handle_timeout(world.now);
    }
    assert_eq!(tries, [0, 1, 3, 7, 15, 31, 63, 127, 255, 511]);
    let alert = |event: &Event| match event {
        Event::Alert(alert) => Some((alert.status, alert.kind.name())),
        _ => None,
    };
    let alerts: Vec<_> = world.events.iter().filter_map(alert).collect();
    assert_eq!(alerts, [(AlertStatus::Raised, "subscribe_failed")]);
    assert_eq!(world.session.health("x", world.now.mono).alerts, ["subscribe_failed"]);
    world.names();
    world.idle(300 * SECOND);
    assert!(world.names().contains(&"alert"), "written, and over");
    assert!(world.session.health("x", world.now.mono).alerts.is_empty());
}

#[test]
fn what_no_list_has_is_refused_when_its_answer_is_overdue() {
    let mut world = World::new(settings());
    world.connect();
    for id in ["a", "b"] {
        world.want(acked(id, OnAckTimeout::Retry));
    }
    let listed = ["a".to_owned()];
    let about = About::Listed { frame: None, listed: &listed, complete: true };
    world.ack(about);
    assert_eq!(world.state("b"), SubscriptionState::Sent, "it may be from before");
    world.idle(10 * SECOND);
    assert_eq!(world.state("b"), SubscriptionState::Refused);
    assert!(world.session.is_connected());
    let both = ["a".to_owned(), "b".to_owned()];
    world.ack(About::Listed { frame: None, listed: &both, complete: true });
    assert_eq!(world.state("b"), SubscriptionState::Confirmed);
}
