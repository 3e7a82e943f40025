//! Ending what waits for the answer that its unsubscribe message is made from.

use super::answers::acked;
use super::*;
use crate::class::{ErrorClass, NoticeAction, OnAckTimeout};
use crate::health::SubscriptionState;
use std::time::Instant;

/// A subscription whose end is told with what its acknowledgement tells.
fn keyed(id: &str) -> Want {
    Want { ends_by_answer: true, ..acked(id, OnAckTimeout::Retry) }
}

/// What was written since the last look, in short.
fn wire(world: &mut World) -> Vec<String> {
    let brief = |out: &Out| match out {
        Out::Subscribe { keys, .. } => format!("sub {keys:?}"),
        Out::Unsubscribe { key, .. } => format!("unsub {key}"),
        _ => "other".to_owned(),
    };
    let last = world.outs.iter().rposition(|out| matches!(out, Out::Close(None))).map_or(0, |at| at + 1);
    let all = world.outs[last..].iter().map(brief).collect();
    world.outs.push(Out::Close(None)); // a mark
    all
}

fn unsubscribe(world: &mut World, id: &str) {
    assert_eq!(
        world.session.handle_unsubscribe(world.now, &id.into()).map(|(_, to_write)| to_write),
        Some(true)
    );
    world.settle();
}

fn settled(world: &mut World) -> Vec<Key> {
    std::iter::from_fn(|| world.session.poll_settled()).collect()
}

#[test]
fn an_answer_lets_it_go_whatever_it_says_of_whom_it_is_for() {
    let listed = ["a".to_owned()];
    for by in 0..5 {
        let mut world = World::new(settings());
        world.connect();
        let key = world.want(keyed("a"));
        let frame = world.frame();
        let keys = [key];
        let about = match by {
            0 => About::Frame(frame),
            1 => About::Keys(&keys),
            2 => About::Oldest,
            3 => About::All,
            _ => About::Listed { frame: None, listed: &listed, complete: false },
        };
        unsubscribe(&mut world, "a");
        assert!(world.session.is_parting(key));
        assert_eq!(wire(&mut world), ["sub [1]"], "its end can't be told yet");
        assert_eq!(world.ack(about), [key], "{about:?}: it is to be bound");
        assert_eq!(wire(&mut world), ["unsub 1"]);
        assert!(!world.session.is_parting(key) && settled(&mut world).is_empty());
        // With one that was refused there is nothing to tell.
        let key = world.want(keyed("a"));
        let (frame, keys) = (world.frame(), [key]);
        let about = match about {
            About::Frame(_) => About::Frame(frame),
            About::Keys(_) => About::Keys(&keys),
            about => about,
        };
        unsubscribe(&mut world, "a");
        assert!(world.nack(about, ErrorClass::Refused), "{about:?}");
        assert_eq!(wire(&mut world), ["sub [2]"], "{about:?}");
        assert_eq!(settled(&mut world), [key], "{about:?}");
        assert_eq!(world.names(), ["connected"], "{about:?}");
    }
}

#[test]
fn the_next_of_the_name_waits_and_only_the_last_of_several_is_asked_for() {
    let mut world = World::new(settings());
    world.connect();
    let first = world.want(keyed("a"));
    let frame = world.frame();
    let second = world.want(keyed("a"));
    let third = world.want(keyed("a"));
    assert_eq!(world.state("a"), SubscriptionState::Queued);
    assert_eq!(wire(&mut world), ["sub [1]"]);
    // By name, the answer is for the first; the third was not asked for yet.
    assert_eq!(world.ack(About::Keys(&[first, third])), [first]);
    assert_eq!(wire(&mut world), ["unsub 1", "sub [3]"]);
    assert_eq!(world.state("a"), SubscriptionState::Sent);
    assert_eq!(world.ack(About::Frame(frame)), [0u64; 0], "it was answered");
    world.ack(About::Frame(world.frame()));
    assert_eq!(world.state("a"), SubscriptionState::Confirmed);
    assert!(!world.session.is_parting(second) && world.session.key_of(&"a".into()) == Some(third));
    // Nothing waits any more: the end is told at once.
    unsubscribe(&mut world, "a");
    assert_eq!(wire(&mut world), ["unsub 3"]);
}

#[test]
fn the_wait_is_bounded_by_the_time_for_the_answer() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(keyed("a"));
    world.idle(4 * SECOND);
    unsubscribe(&mut world, "a");
    let next = world.want(keyed("a"));
    world.idle(9 * SECOND);
    assert_eq!(wire(&mut world), ["sub [1]"]);
    let due: Option<Instant> = world.session.recv_deadline();
    assert!(due.is_some_and(|at| at <= world.now.mono + SECOND), "somebody has to wake for it");
    world.idle(SECOND);
    // It is tried: what can't be made is told by who makes it.
    assert_eq!(wire(&mut world)[..2], ["unsub 1", "sub [2]"]);
    // The answer that comes all the same is not taken for the next of the name.
    assert_eq!(world.ack(About::Keys(&[next])), [0u64; 0]);
    assert_eq!(world.state("a"), SubscriptionState::Sent);
    assert!(!world.session.is_parting(key));
}

#[test]
fn what_is_made_again_before_its_answer_is_ended_with_it_first() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(keyed("a"));
    let frame = world.frame();
    world.session.handle_notice(world.now, NoticeAction::ResubscribeAll, String::new());
    world.settle();
    assert_eq!(wire(&mut world), ["sub [1]"]);
    assert_eq!(world.ack(About::Frame(frame)), [key]);
    assert_eq!(wire(&mut world), ["unsub 1", "sub [1]"]);
    world.ack(About::Frame(world.frame()));
    assert_eq!(world.state("a"), SubscriptionState::Confirmed);
    // While it waits for that it may be wanted no more.
    world.pass(2 * SECOND);
    let other = world.want(keyed("b"));
    let frame = world.frame();
    world.session.handle_notice(world.now, NoticeAction::ResubscribeAll, String::new());
    world.settle();
    wire(&mut world);
    unsubscribe(&mut world, "b");
    assert_eq!(world.ack(About::Frame(frame)), [other]);
    assert_eq!(wire(&mut world), ["unsub 2"]);
}

#[test]
fn what_was_never_written_and_what_ended_by_itself_is_not_waited_for() {
    let mut world = World::new(Settings { batch_members: 9, ..settings() });
    world.connect();
    for id in ["a", "b"] {
        world.session.handle_subscribe(world.now, Want { batch: Some(1), ..keyed(id) });
    }
    let out = world.session.poll_out(world.now).unwrap();
    let Out::Subscribe { frame, keys } = out else { panic!("nothing was asked for") };
    unsubscribe(&mut world, "a");
    world.session.handle_split(world.now, frame, &keys);
    world.settle();
    assert_eq!(wire(&mut world), ["sub [2]"]);
    assert_eq!(settled(&mut world), [1]);
    unsubscribe(&mut world, "b");
    assert!(world.dropped(About::Keys(&[2]), ErrorClass::RetryLater));
    assert_eq!((wire(&mut world), settled(&mut world)), (vec![], vec![2]));
    // The connection takes with it what waits.
    let key = world.want(keyed("c"));
    unsubscribe(&mut world, "c");
    world.end(EndReason::Eof);
    world.connect();
    assert_eq!(wire(&mut world), ["sub [3]"]);
    assert!(!world.session.is_parting(key));
}

/// What a late answer binds is none of the newer one's.
#[test]
fn an_answer_for_an_older_one_of_the_name_binds_nothing() {
    let mut world = World::new(settings());
    world.connect();
    world.want(acked("a", OnAckTimeout::Retry));
    let new = world.want(acked("a", OnAckTimeout::Retry));
    let late = world.session.handle_ack(world.now, About::Keys(&[new]));
    assert!(late.keys.is_empty() && late.late && !late.is_empty(), "{late:?}");
    let own = world.session.handle_ack(world.now, About::Keys(&[new]));
    assert_eq!((own.keys, own.late), (vec![new], false));
    assert!(world.session.handle_ack(world.now, About::Keys(&[99])).is_empty());
}

/// With a look at all of them for each message this would take minutes.
#[test]
fn an_end_by_number_is_no_look_at_all_subscriptions() {
    let mut world = World::new(settings());
    for n in 0..20_000 {
        world.session.handle_subscribe(world.now, want(&format!("s{n}"), None));
    }
    world.connect();
    let begin = crate::clock::mono();
    for n in 0..20_000u64 {
        assert!(!world.dropped(About::Frame(1_000_000 + n), ErrorClass::Refused));
    }
    assert!(world.dropped(About::Frame(world.frame()), ErrorClass::Refused));
    let took = crate::clock::mono().saturating_duration_since(begin);
    assert!(took < 10 * SECOND, "{took:?}");
    assert_eq!(world.state("s19999"), SubscriptionState::Ended);
}

#[test]
fn the_answer_is_found_though_a_neighbour_was_written_again_for_want_of_it() {
    let mut world = World::new(Settings { batch_members: 9, ..settings() });
    world.connect();
    for id in ["a", "b"] {
        world.session.handle_subscribe(world.now, Want { batch: Some(1), ..keyed(id) });
    }
    world.settle();
    let frame = world.frame();
    world.idle(4 * SECOND);
    unsubscribe(&mut world, "a");
    world.idle(6 * SECOND);
    assert_eq!(wire(&mut world), ["sub [1, 2]", "sub [2]"]);
    let mut meant = world.ack(About::Frame(frame));
    meant.sort_unstable();
    assert_eq!(meant, [1, 2]);
    assert_eq!(wire(&mut world), ["unsub 1"]);
    assert_eq!(world.state("b"), SubscriptionState::Confirmed, "the answer to any of its messages counts");
}
