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
