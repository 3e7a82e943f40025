//! The server's answers and their absence: acknowledgements, refusals, ends, batches.

use super::*;
use crate::class::{ErrorClass, OnAckTimeout};
use crate::health::SubscriptionState;

const NOBODY: [Key; 0] = [];

/// A subscription that the server has to acknowledge.
pub(super) fn acked(id: &str, then: OnAckTimeout) -> Want {
    Want { ack: AckPolicy::Awaited { timeout: 10 * SECOND, then }, ..want(id, None) }
}

fn member(id: &str) -> Want {
    Want { batch: Some(1), ..acked(id, OnAckTimeout::Retry) }
}

impl World {
    pub(super) fn want(&mut self, want: Want) -> Key {
        let key = self.session.handle_subscribe(self.now, want).0;
        self.settle();
        key
    }

    pub(super) fn state(&self, id: &str) -> SubscriptionState {
        let health = self.session.health("x", self.now.mono);
        health.subscriptions.iter().find(|it| it.id == *id).map(|it| it.state).expect("no such subscription")
    }

    /// The number of the last subscribe message.
    pub(super) fn frame(&self) -> u64 {
        let frame = |out: &Out| if let Out::Subscribe { frame, .. } = out { Some(*frame) } else { None };
        self.outs.iter().rev().find_map(frame).expect("nothing was asked for")
    }

    pub(super) fn ack(&mut self, about: About<'_>) -> Vec<Key> {
        let meant = self.session.handle_ack(self.now, about).keys;
        self.settle();
        meant
    }

    pub(super) fn nack(&mut self, about: About<'_>, class: ErrorClass) -> bool {
        let understood = self.session.handle_nack(self.now, about, class, None, "no".into());
        self.settle();
        understood
    }

    pub(super) fn dropped(&mut self, about: About<'_>, class: ErrorClass) -> bool {
        let understood = self.session.handle_dropped(self.now, about, class, None, "over".into());
        self.settle();
        understood
    }

    /// Lets time pass with a server that sends nothing: all timers run, and the socket is looked at.
    pub(super) fn idle(&mut self, time: Duration) {
        let end = self.now.mono + time;
        loop {
            let due = [self.session.next_deadline(), self.session.recv_deadline()];
            let next = due.into_iter().flatten().filter(|at| *at <= end && *at > self.now.mono).min();
            self.pass(next.unwrap_or(end).saturating_duration_since(self.now.mono));
            self.timeout();
            if self.session.is_connected() {
                // The peer answers pings.
                self.recv(&Cycle { bytes: 2, ..Cycle::default() });
                self.empty();
            }
            if self.now.mono >= end {
                return;
            }
        }
    }

    fn frames(&self) -> Vec<Vec<Key>> {
        let keys = |out: &Out| if let Out::Subscribe { keys, .. } = out { Some(keys.clone()) } else { None };
        self.outs.iter().filter_map(keys).collect()
    }
}

#[test]
fn an_acknowledgement_confirms_and_is_said_once() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(acked("a", OnAckTimeout::Retry));
    assert_eq!(world.state("a"), SubscriptionState::Sent);
    assert!(!world.names().contains(&"subscribed"));
    assert_eq!(world.ack(About::Frame(world.frame())), [key]);
    assert_eq!((world.state("a"), world.names()), (SubscriptionState::Confirmed, vec!["subscribed"]));
    assert_eq!(world.ack(About::Frame(world.frame())), NOBODY, "an old one");
    world.data(&[key]);
    assert_eq!((world.state("a"), world.names()), (SubscriptionState::Live, vec![]));
    world.idle(50 * SECOND);
    assert!(world.session.is_connected() && world.session.subscriptions.get(key).is_some());
}

/// A message for several has an answer for each. The first refuses it, so its members are asked for one by one; the second
/// grants one of them by its name when it has been asked for anew; then comes the answer to that.
#[test]
fn an_answer_to_what_an_older_answer_granted_is_understood() {
    let mut world = World::new(Settings { batch_members: 9, ..settings() });
    world.want(member("a"));
    let b = world.want(member("b"));
    world.connect();
    let first = world.frame();
    assert!(world.nack(About::Frame(first), ErrorClass::Refused));
    let again = world.frame();
    world.ack(About::Keys(&[b]));
    assert!(world.nack(About::Frame(again), ErrorClass::Benign), "subscribed already");
    assert_eq!(world.state("b"), SubscriptionState::Confirmed);
    assert!(world.nack(About::Frame(first), ErrorClass::Refused), "one more of the first message");
    assert_eq!(world.state("b"), SubscriptionState::Confirmed);
    assert!(world.nack(About::Frame(again), ErrorClass::Refused), "it is not granted after all");
    assert_eq!(world.state("b"), SubscriptionState::Ended);
    assert!(!world.nack(About::Frame(again + 1), ErrorClass::Refused), "never asked");
}

#[test]
fn data_confirms_before_the_acknowledgement() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(acked("a", OnAckTimeout::Reconnect));
    world.names();
    world.data(&[key]);
    assert_eq!((world.state("a"), world.names()), (SubscriptionState::Live, vec!["subscribed"]));
    world.idle(30 * SECOND);
    assert!(world.session.is_connected(), "the acknowledgement is not waited for any more");
}

#[test]
fn data_of_another_that_meets_the_same_matcher_does_not_confirm_what_was_not_asked_for() {
    let mut world = World::new(settings());
    world.connect();
    let key = world.session.handle_subscribe(world.now, acked("a", OnAckTimeout::Retry)).0;
    let touched = [(key, 1)];
    world.session.handle_recv(world.now, &Cycle { data: 1, touched: &touched, ..Cycle::default() });
    assert_eq!(world.state("a"), SubscriptionState::Queued);
}

#[test]
fn c5_late_answers_change_nothing() {
    let mut world = World::new(settings());
    world.connect();
    let old = world.want(acked("a", OnAckTimeout::Retry));
    let frame = world.frame();
    world.session.handle_unsubscribe(world.now, &"a".into()).unwrap();
    world.settle();
    world.names();
    // Cancelled: understood, and nothing comes of it.
    assert_eq!(world.ack(About::Frame(frame)), [old]);
    assert_eq!(world.names(), [""; 0]);
    assert!(world.session.subscriptions.ids().is_empty());
    // The answer to our unsubscribe message does not touch the newer one of that name, nor does an end by name.
    let new = world.want(acked("a", OnAckTimeout::Retry));
    world.ack(About::Frame(world.frame()));
    assert_eq!(world.ack(About::Frame(frame + 1)), [old]);
    assert_eq!(world.state("a"), SubscriptionState::Confirmed);
    // That of an older connection neither.
    world.end(EndReason::Reconnect);
    world.connect();
    assert_eq!(world.ack(About::Frame(frame)), NOBODY);
    assert_eq!(world.state("a"), SubscriptionState::Sent);
    assert_eq!(world.ack(About::Frame(world.frame())), [new]);
}

#[test]
fn c5_answers_that_say_only_a_name_are_for_the_oldest_of_that_name() {
    let mut world = World::new(settings());
    world.connect();
    world.want(acked("a", OnAckTimeout::Retry));
    let new = world.want(acked("a", OnAckTimeout::Retry));
    world.names();
    world.ack(About::Keys(&[new]));
    assert_eq!(world.state("a"), SubscriptionState::Sent, "that was for the one before");
    assert!(world.dropped(About::Keys(&[new]), ErrorClass::RetryLater), "and that our own doing");
    assert_eq!(world.names(), [""; 0]);
    world.ack(About::Keys(&[new]));
    assert_eq!(world.state("a"), SubscriptionState::Confirmed);
    assert!(world.dropped(About::Keys(&[new]), ErrorClass::RetryLater));
    assert_eq!(world.names(), ["subscribed", "ended"]);
}

#[test]
fn answers_without_a_name_are_for_the_oldest_message() {
    let mut world = World::new(settings());
    world.connect();
    let keys = ["a", "b", "c"].map(|id| world.want(acked(id, OnAckTimeout::Retry)));
    // One that is wanted no more keeps its place.
    world.session.handle_unsubscribe(world.now, &"a".into()).unwrap();
    world.settle();
    assert_eq!(world.ack(About::Oldest), [keys[0]]);
    assert_eq!(world.state("b"), SubscriptionState::Sent);
    assert_eq!(world.ack(About::Oldest), [keys[1]]);
    assert!(world.nack(About::Oldest, ErrorClass::Refused));
    assert_eq!(
        (world.state("b"), world.state("c")),
        (SubscriptionState::Confirmed, SubscriptionState::Refused)
    );
    assert_eq!(world.ack(About::Oldest), NOBODY);
    assert!(!world.nack(About::Oldest, ErrorClass::Refused));
}

/// A server can be quicker than the thread that wrote.
#[test]
fn a_refusal_may_come_before_it_is_known_that_the_message_is_written() {
    let mut world = World::new(Settings { batch_members: 9, ..settings() });
    world.connect();
    for id in ["a", "b"] {
        world.session.handle_subscribe(world.now, Want { first_limit: Some(SECOND), ..member(id) });
    }
    world.names();
    // The message for both, then that for `a` alone.
    for state in [SubscriptionState::Queued, SubscriptionState::Refused] {
        let out = world.session.poll_out(world.now).expect("something is to be written");
        let refusal = "no".to_owned();
        assert!(world.session.handle_nack(world.now, About::Oldest, ErrorClass::Refused, None, refusal));
        world.session.handle_written(world.now, 1, &out);
        assert_eq!(world.state("a"), state);
    }
    world.settle();
    world.ack(About::Oldest);
    assert_eq!(world.names(), ["refused", "alert", "subscribed"]);
    assert_eq!(
        ["a", "b"].map(|id| world.state(id)),
        [SubscriptionState::Refused, SubscriptionState::Confirmed]
    );
    world.idle(SECOND);
    assert_eq!(
        world.stale().and_then(|stale| stale.subscription.clone()),
        Some("b".into()),
        "a is owed nothing"
    );
}

#[test]
fn lists_confirm_their_members_and_refuse_the_others() {
    let listed = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>();
    let mut world = World::new(Settings { batch_members: 9, ..settings() });
    for id in ["a", "b"] {
        world.want(member(id));
    }
    world.want(Want { topic: Some("the c".into()), ..member("c") });
    world.connect();
    let frame = Some(world.frame());
    use SubscriptionState::{Confirmed, Ended, Refused, Sent};
    let meant = world.ack(About::Listed { frame, listed: &listed(&["a", "x"]), complete: false });
    let states = ["a", "b", "c"].map(|id| world.state(id));
    assert_eq!((meant, states), (vec![1], [Confirmed, Sent, Sent]), "one answer of several to a message");
    let meant = world.ack(About::Listed { frame, listed: &listed(&["the c"]), complete: true });
    assert_eq!(meant, [3]);
    let states = ["a", "b", "c"].map(|id| world.state(id));
    assert_eq!(states, [Confirmed, Refused, Confirmed], "it says nothing of what is answered already");

    // That another message was answered says nothing about these.
    world.want(member("e"));
    let frame = Some(world.frame());
    world.ack(About::Listed { frame, listed: &listed(&["e"]), complete: true });
    let (key, _) = world.session.handle_unsubscribe(world.now, &"e".into()).unwrap();
    world.settle();
    let ending = |out: &Out| if let Out::Unsubscribe { frame, .. } = out { Some(*frame) } else { None };
    let frame = world.outs.iter().rev().find_map(ending);
    assert_eq!(world.ack(About::Listed { frame, listed: &listed(&["e"]), complete: true }), [key]);
    assert_eq!(["a", "c"].map(|id| world.state(id)), [Confirmed, Confirmed]);

    // A state set: what is pending stays so, what was confirmed and is not listed has ended.
    world.want(member("d"));
    world.names();
    world.ack(About::Listed { frame: None, listed: &listed(&["the c"]), complete: true });
    let states = ["a", "b", "c", "d"].map(|id| world.state(id));
    assert_eq!(states, [Ended, Refused, Confirmed, Sent]);
    assert_eq!(world.names(), ["ended"]);
    world.idle(SECOND);
    assert_eq!(world.names(), ["gap"], "it is made again");
    world.ack(About::Listed { frame: None, listed: &listed(&["a", "d", "the c"]), complete: true });
    assert_eq!(world.names(), ["subscribed", "subscribed"]);
}

#[test]
fn what_is_only_assumed_may_be_missing_from_a_list() {
    let mut world = World::new(settings());
    world.connect();
    world.subscribe("a", None);
    world.ack(About::Listed { frame: None, listed: &[], complete: true });
    assert_eq!(world.state("a"), SubscriptionState::Confirmed, "the list may be older");
}

#[test]
fn all_that_waits_can_be_answered_at_once() {
    let mut world = World::new(settings());
    world.connect();
    let keys = ["a", "b"].map(|id| world.want(acked(id, OnAckTimeout::Retry)));
    assert_eq!(world.ack(About::All), keys);
    world.want(acked("c", OnAckTimeout::Retry));
    assert!(world.nack(About::All, ErrorClass::Refused));
    assert_eq!(
        (world.state("a"), world.state("c")),
        (SubscriptionState::Confirmed, SubscriptionState::Refused)
    );
    assert!(world.dropped(About::All, ErrorClass::Refused));
    assert_eq!(world.state("a"), SubscriptionState::Ended);
}

#[test]
fn without_an_answer_it_is_written_again_and_then_the_connection_ends() {
    let mut world = World::new(settings());
    world.connect();
    world.want(acked("a", OnAckTimeout::Retry));
    let first = world.frame();
    world.idle(10 * SECOND - MS);
    assert_eq!(world.subscribed().len(), 1);
    world.idle(MS);
    assert_eq!(world.subscribed().len(), 2);
    assert!(world.frame() > first);
    world.idle(20 * SECOND);
    assert_eq!(world.subscribed().len(), 3, "three times in all");
    let reason = world.session.end_reason(EndReason::Eof);
    assert!(
        matches!(&reason, EndReason::AckOverdue { subscription, waited } if *subscription == "a" && *waited == 10 * SECOND),
        "{reason}"
    );
    assert!(world.actions.contains(&Action::Abort));
}

#[test]
fn without_an_answer_it_does_as_it_is_told() {
    let cases = [
        (OnAckTimeout::Accept, SubscriptionState::Confirmed, vec!["subscribed"], true),
        (OnAckTimeout::Refuse, SubscriptionState::Refused, vec!["refused", "alert"], true),
        (OnAckTimeout::Reconnect, SubscriptionState::Sent, vec![], false),
    ];
    for (then, state, names, connected) in cases {
        for ack in
            [AckPolicy::Awaited { timeout: SECOND, then }, AckPolicy::FirstData { timeout: SECOND, then }]
        {
            let mut world = World::new(settings());
            world.connect();
            world.want(Want { ack, ..want("a", None) });
            world.names();
            world.idle(SECOND);
            assert_eq!((world.state("a"), world.names()), (state, names.clone()), "{then:?}");
            assert_eq!(world.session.is_connected(), connected, "{then:?}");
            world.idle(30 * SECOND);
            assert_eq!(world.subscribed().len(), 1);
        }
    }
}

#[test]
fn what_was_never_granted_does_not_end_but_is_refused() {
    let first_data = AckPolicy::FirstData { timeout: 10 * SECOND, then: OnAckTimeout::Retry };
    for want in [acked("a", OnAckTimeout::Retry), Want { ack: first_data, ..want("a", None) }] {
        let mut world = World::new(settings());
        world.connect();
        let key = world.want(want);
        world.names();
        assert!(world.dropped(About::Keys(&[key]), ErrorClass::Refused));
        assert_eq!((world.state("a"), world.names()), (SubscriptionState::Refused, vec!["refused", "alert"]));
        world.idle(30 * SECOND);
        assert_eq!(world.subscribed().len(), 1, "nothing is waited for");
    }
    let mut world = World::new(settings());
    world.connect();
    let key = world.want(acked("a", OnAckTimeout::Retry));
    world.ack(About::Keys(&[key]));
    assert!(world.dropped(About::Keys(&[key]), ErrorClass::Refused));
    assert_eq!(world.state("a"), SubscriptionState::Ended);
}

#[test]
fn f5_an_answer_may_lie_unread() {
    let mut world = World::new(settings());
    world.connect();
    world.want(acked("a", OnAckTimeout::Reconnect));
    assert_eq!(world.session.recv_deadline(), Some(world.now.mono + 10 * SECOND));
    world.session.handle_away(world.now.mono);
    world.pass(100 * SECOND);
    world.session.handle_back(world.now.mono);
    world.empty();
    assert!(world.session.is_connected(), "time away does not count");
    world.pass(10 * SECOND);
    world.timeout();
    world.bytes();
    assert!(world.session.is_connected(), "the socket was not empty");
    world.ack(About::Frame(world.frame()));
    world.empty();
    assert!(world.session.is_connected());
    assert!(world.session.recv_deadline().is_none_or(|at| at > world.now.mono), "nobody is woken for it");
}

#[test]
fn nobody_is_woken_for_an_answer_that_came() {
    let liveness = liveness::Settings { after: None, timeout: SECOND };
    let mut world = World::new(Settings { liveness, stale_after: None, ..settings() });
    world.connect();
    let keys: Vec<_> = (0..10_000).map(|i| world.want(acked(&i.to_string(), OnAckTimeout::Retry))).collect();
    assert_eq!(world.session.recv_deadline(), Some(world.now.mono + 10 * SECOND));
    for key in keys {
        world.ack(About::Keys(&[key]));
    }
    assert_eq!(world.session.recv_deadline(), None);
}

#[test]
fn refusals_by_class() {
    use SubscriptionState::{Confirmed, Refused};
    let cases = [
        (ErrorClass::Benign, Some(Confirmed), vec!["subscribed"]),
        (ErrorClass::RetryLater, Some(Refused), vec!["refused"]),
        (ErrorClass::Refused, Some(Refused), vec!["refused", "alert"]),
        (ErrorClass::ConnectionFatal, None, vec![]),
        (ErrorClass::FeedFatal, None, vec![]),
    ];
    for (class, state, names) in cases {
        let mut world = World::new(settings());
        world.connect();
        world.want(acked("a", OnAckTimeout::Retry));
        world.data(&[]);
        world.names();
        assert!(world.nack(About::Frame(world.frame()), class));
        assert_eq!(world.names(), names, "{class:?}");
        match state {
            Some(state) => {
                assert_eq!(world.state("a"), state);
                assert_eq!(world.session.is_fresh(world.now.mono), state == Confirmed, "{class:?}");
                world.idle(29 * SECOND);
                assert_eq!(world.subscribed().len(), 1);
                world.idle(SECOND);
                assert_eq!(world.subscribed().len(), 1 + usize::from(class == ErrorClass::RetryLater));
                // The next connection tries all again.
                world.end(EndReason::Reconnect);
                world.outs.clear();
                world.connect();
                assert_eq!(world.subscribed(), [1]);
            }
            None => {
                let reason = world.session.end_reason(EndReason::Eof);
                assert_eq!(reason, EndReason::ServerError { detail: "no".into() });
                world.end(EndReason::Eof);
                let fatal = world.session.closed() == Some(&CloseReason::Fatal(reason));
                assert_eq!(fatal, class == ErrorClass::FeedFatal);
                assert_eq!(world.retry_in().is_some(), !fatal);
            }
        }
    }
}

#[test]
fn a_retry_takes_the_time_that_the_server_asks_for_but_never_none() {
    let mut world = World::new(settings());
    world.connect();
    world.want(acked("a", OnAckTimeout::Retry));
    for (asked, waits) in [(5 * SECOND, 5 * SECOND), (Duration::ZERO, 100 * MS)] {
        world.outs.retain(|out| !matches!(out, Out::Ping));
        let before = world.subscribed().len();
        let about = About::Frame(world.frame());
        world.session.handle_nack(world.now, about, ErrorClass::RetryLater, Some(asked), String::new());
        world.settle();
        let retry_in = world.events.iter().rev().find_map(|event| match event {
            Event::Refused(refused) => refused.retry_in,
            _ => None,
        });
        assert_eq!(retry_in, Some(waits));
        world.idle(waits - MS);
        assert_eq!(world.subscribed().len(), before);
        world.idle(MS);
        assert_eq!(world.subscribed().len(), before + 1);
    }
    // Wanted no more while it waits: not asked for again.
    let about = About::Frame(world.frame());
    world.nack(about, ErrorClass::RetryLater);
    assert_eq!(world.session.handle_unsubscribe(world.now, &"a".into()), Some((1, false)));
    world.outs.clear();
    world.idle(60 * SECOND);
    assert!(world.subscribed().is_empty());
}

#[test]
fn an_end_by_the_server_is_said_and_mended_with_a_gap() {
    for (class, again) in
        [(ErrorClass::Benign, true), (ErrorClass::RetryLater, true), (ErrorClass::Refused, false)]
    {
        let mut world = World::new(settings());
        world.connect();
        let key = world.want(acked("a", OnAckTimeout::Retry));
        world.ack(About::Frame(world.frame()));
        world.data(&[key]);
        world.names();
        assert!(world.dropped(About::Frame(world.frame()), class));
        assert_eq!(world.state("a"), SubscriptionState::Ended);
        assert!(!world.session.is_fresh(world.now.mono));
        assert_eq!(world.names(), if again { vec!["ended"] } else { vec!["ended", "alert"] });
        world.idle(SECOND);
        if again {
            assert_eq!(world.names(), ["gap"]);
            world.ack(About::Frame(world.frame()));
            world.data(&[key]);
            assert_eq!(world.names(), ["subscribed"], "it is said again after its end");
        } else {
            assert_eq!(world.subscribed().len(), 1);
        }
    }
}

#[test]
fn neighbours_share_a_message_and_a_poisoned_one_is_found() {
    let mut world = World::new(Settings { batch_members: 8, ..settings() });
    let keys: Vec<_> = (0..8).map(|i| world.want(member(&format!("s{i}")))).collect();
    world.connect();
    assert_eq!(world.frames(), std::slice::from_ref(&keys));
    // The server refuses each message with the fifth in it.
    let poisoned = keys[5];
    for _ in 0..20 {
        let open: Vec<_> = world
            .outs
            .drain(..)
            .filter_map(
                |out| if let Out::Subscribe { frame, keys } = out { Some((frame, keys)) } else { None },
            )
            .collect();
        for (frame, keys) in open {
            if keys.contains(&poisoned) {
                assert!(world.nack(About::Frame(frame), ErrorClass::Refused));
            } else {
                world.ack(About::Frame(frame));
            }
        }
    }
    for i in 0..8 {
        let expected = if i == 5 { SubscriptionState::Refused } else { SubscriptionState::Confirmed };
        assert_eq!(world.state(&format!("s{i}")), expected, "{i}");
    }
    let names = world.names();
    assert_eq!(names.iter().filter(|name| **name == "refused").count(), 1, "only that one");
}

#[test]
fn a_message_over_its_bound_in_bytes_is_divided() {
    let mut world = World::new(Settings { batch_members: 9, ..settings() });
    let keys: Vec<_> = (0..5).map(|i| world.want(member(&format!("s{i}")))).collect();
    world.dial();
    assert!(world.session.handle_connected(world.now, established(), world.suspended));
    let Some(Out::Subscribe { frame, keys: all }) = world.session.poll_out(world.now) else { panic!() };
    assert_eq!(all, keys);
    world.session.handle_split(world.now, frame, &all);
    assert_eq!(world.session.handle_ack(world.now, About::Frame(frame)).keys, NOBODY, "it was never written");
    world.settle();
    assert_eq!(world.frames(), [keys[..2].to_vec(), keys[2..].to_vec()]);
    world.ack(About::All);
    assert_eq!(world.state("s4"), SubscriptionState::Confirmed);
}

#[test]
fn an_answer_may_be_here_before_the_report_that_its_question_was_written() {
    use SubscriptionState::{Queued, Refused};
    for (answer, state) in [(0, Refused), (1, Refused), (2, Queued)] {
        let mut world = World::new(Settings { batch_members: 9, ..settings() });
        world.connect();
        world.names();
        for id in ["a", "b"] {
            world.session.handle_subscribe(world.now, member(id));
        }
        let out = world.session.poll_out(world.now).expect("nothing to write");
        let Out::Subscribe { frame, .. } = out else { panic!("{answer}") };
        let about = About::Frame(frame);
        let (now, no) = (world.now, String::new);
        match answer {
            0 => assert!(world.session.handle_nack(now, About::All, ErrorClass::Refused, None, no())),
            1 => assert!(world.session.handle_dropped(now, about, ErrorClass::Refused, None, no())),
            _ => assert!(world.session.handle_nack(now, about, ErrorClass::Refused, None, no())),
        }
        world.session.handle_written(now, 1, &out);
        assert!(world.session.poll_event().is_none_or(|event| event.name() != "subscribed"), "{answer}");
        assert_eq!(world.state("a"), state);
        world.settle();
        assert!(!world.names().contains(&"subscribed"), "{answer}");
        world.idle(9 * SECOND);
        assert!(world.session.is_connected(), "nothing is owed");
    }
}
