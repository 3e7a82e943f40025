//! Answers that leave a doubt: whom they mean, and what data says against them.

use super::answers::acked;
use super::*;
use crate::class::{ErrorClass, OnAckTimeout};
use crate::health::SubscriptionState;

fn list(ids: &[&str]) -> Vec<String> {
    ids.iter().map(|id| (*id).to_owned()).collect()
}

/// Its data says that it is in force after all: then it is watched again like any other.
#[test]
fn data_of_one_that_was_refused_for_want_of_an_answer_is_watched_again() {
    let mut world = World::new(settings());
    world.connect();
    let limit = Some(5 * SECOND);
    let a = world.want(Want { limit, first_limit: limit, ..acked("a", OnAckTimeout::Refuse) });
    // Freshness goes first: so it has data until the answer is overdue.
    let want =
        Want { limit: Some(30 * SECOND), first_limit: Some(30 * SECOND), ..acked("b", OnAckTimeout::Refuse) };
    let b = world.want(want);
    world.data(&[a]);
    for _ in 0..3 {
        world.idle(4 * SECOND);
        world.data(&[a]);
    }
    assert_eq!(world.state("b"), SubscriptionState::Refused);
    world.data(&[b]);
    assert_eq!(world.state("b"), SubscriptionState::Live);
    world.names();
    for _ in 0..8 {
        world.idle(4 * SECOND);
        if world.session.is_connected() {
            world.data(&[a]);
        }
    }
    let stale = world.stale().expect("b is mute, and nobody says it");
    assert_eq!(stale.subscription, Some("b".into()));
}

/// Where data takes the place of acknowledgements, a refusal is for one that has none.
#[test]
fn a_refusal_that_says_no_number_is_not_for_one_that_delivers() {
    let first_data = |id| Want {
        ack: AckPolicy::FirstData { timeout: 10 * SECOND, then: OnAckTimeout::Retry },
        ..want(id, None)
    };
    let mut world = World::new(settings());
    world.connect();
    let a = world.want(first_data("a"));
    world.data(&[a]);
    let _ = world.want(first_data("b"));
    assert!(world.nack(About::Oldest, ErrorClass::Refused));
    assert_eq!(world.state("a"), SubscriptionState::Live);
    assert_eq!(world.state("b"), SubscriptionState::Refused);
}

/// Topics are shared and come back: a list finds those that are wanted now, and no others.
#[test]
fn a_list_finds_what_is_wanted_now_under_a_topic() {
    let mut world = World::new(settings());
    world.connect();
    let named = |id: &str, topic: &str| Want { topic: Some(topic.into()), ..acked(id, OnAckTimeout::Retry) };
    let _ = world.want(named("a", "t"));
    let b = world.want(named("b", "t"));
    let _ = world.want(named("c", "u"));
    let a = world.want(named("a", "v")); // in place of the one before
    assert!(world.session.handle_unsubscribe(world.now, &"c".into()).is_some());
    let listed = list(&["v", "t", "u", "t", "x"]);
    assert_eq!(world.ack(About::Listed { frame: None, listed: &listed, complete: false }), [b, a]);
    assert!(
        !world.dropped(
            About::Listed { frame: None, listed: &list(&["u"]), complete: false },
            ErrorClass::Refused
        )
    );
    assert!(
        world.dropped(
            About::Listed { frame: None, listed: &list(&["t"]), complete: false },
            ErrorClass::Refused
        )
    );
    assert_eq!(world.state("b"), SubscriptionState::Ended);
    assert_eq!(world.state("a"), SubscriptionState::Confirmed);
}

/// A complete list that lacks it says what is known already: it is not asked for again on this connection.
#[test]
fn one_that_was_refused_for_want_of_an_answer_does_not_end_by_a_list() {
    let mut world = World::new(settings());
    world.connect();
    world.want(acked("a", OnAckTimeout::Refuse));
    let b = world.want(acked("b", OnAckTimeout::Refuse));
    world.data(&[b]);
    for _ in 0..4 {
        world.idle(4 * SECOND);
        world.data(&[b]);
    }
    assert_eq!(world.state("a"), SubscriptionState::Refused);
    world.names();
    let (frame, listed) = (None, &list(&["b"])[..]);
    world.session.handle_ack(world.now, About::Listed { frame, listed, complete: true });
    world.idle(4 * SECOND);
    assert_eq!((world.state("a"), world.names()), (SubscriptionState::Refused, Vec::new()));
}

/// A server that ends a subscription each time is not asked for it each second for ever.
#[test]
fn one_that_ends_again_and_again_is_asked_for_ever_more_seldom() {
    let mut world = World::new(Settings { stale_after: None, ..settings() });
    world.connect();
    let key = world.subscribe("a", None);
    let end = |world: &mut World| {
        let class = ErrorClass::RetryLater;
        world.session.handle_dropped(world.now, About::Keys(&[key]), class, None, String::new());
        world.settle();
        let delay = world.events.iter().rev().find_map(|event| match event {
            Event::Ended(ended) => ended.retry_in,
            _ => None,
        });
        let delay = delay.unwrap();
        world.pass(delay);
        world.timeout();
        delay.as_secs()
    };
    let delays: Vec<u64> = (0..8).map(|_| end(&mut world)).collect();
    assert_eq!(delays, [1, 2, 4, 8, 16, 30, 30, 30]);
    world.pass(61 * SECOND);
    assert_eq!(end(&mut world), 1, "it has lasted");
    world.end(EndReason::Eof);
    world.connect();
    assert_eq!(end(&mut world), 1, "another connection");
}

/// The others do not lose their connection for ever for one that the server never answers.
#[test]
fn one_that_is_never_answered_is_left_out_in_the_end() {
    for (timeout, then) in
        [(10, OnAckTimeout::Retry), (10, OnAckTimeout::Reconnect), (3, OnAckTimeout::Reconnect)]
    {
        let mut world = World::new(Settings { stale_after: None, ..settings() });
        let ack = AckPolicy::Awaited { timeout: timeout * SECOND, then };
        let a = world.want(Want { ack, ..want("a", None) });
        world.want(Want { ack, ..want("b", None) });
        let begin = world.now.mono;
        let mut connections = 0;
        while world.now.mono < begin + 3600 * SECOND {
            world.connect();
            connections += 1;
            while world.session.is_connected() && world.now.mono < begin + 3600 * SECOND {
                world.data(&[a]);
                world.idle(SECOND);
                world.outs.clear();
            }
            if !world.session.is_connected() {
                world.end(EndReason::Eof);
            }
        }
        let quarantined = world.events.iter().any(|event| {
            matches!(event, Event::Alert(alert)
                if matches!(&alert.kind, AlertKind::Quarantined { subscription, .. } if *subscription == "b"))
        });
        assert!(quarantined && connections < 15, "{connections} connections in an hour");
        world.names();
    }
}
