//! F7: data that comes, and is late, or says the same again and again, keeps nothing fresh. In time it is stale, with
//! its cause; nothing else is touched by that, and it recovers.

use crate::common::{feed, healthy, messages, ms, names, seen, shown, sub, until, until_stale};
use livefeed::lab::{Lab, Received, Script, Topic, What};
use livefeed::{
    Event, Feed, FrozenRule, LagRule, Limit, Matcher, RepairStep, SequenceRule, StaleCause, State,
    Subscription, SubscriptionHealth, SubscriptionState, TimeUnit,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// So long only bad data may come.
const AFTER: Duration = ms(300);

/// No verdict may be later, on a machine that is busy with other tests; most are far better.
const LATE: Duration = ms(300);

/// What the server's messages say, to be changed while it sends.
#[derive(Default)]
struct Says {
    /// How old the data is, in milliseconds; negative: the server's clock is ahead.
    age: AtomicI64,
    price: AtomicI64,
    /// Whether the price moves with each message.
    still: AtomicI64,
}

impl Says {
    fn set(&self, age: i64, still: bool) {
        self.age.store(age, Ordering::SeqCst);
        self.still.store(still.into(), Ordering::SeqCst);
    }

    fn text(&self, topic: &str, seq: u64) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let ts = i64::try_from(now.as_millis()).unwrap() - self.age.load(Ordering::SeqCst);
        if self.still.load(Ordering::SeqCst) == 0 {
            self.price.fetch_add(1, Ordering::SeqCst);
        }
        let price = self.price.load(Ordering::SeqCst);
        format!(r#"{{"topic":"{topic}","seq":{seq},"price":{price},"items":[{{"ts":0}},{{"ts":{ts}}}]}}"#)
    }
}

/// A server of two topics each 5 ms and heartbeats: of `btc` it says what `Says` says, of `eth` always the best.
fn two_topics() -> (Lab, Arc<Says>) {
    let says = Arc::new(Says::default());
    let topics = [("btc", Arc::clone(&says)), ("eth", Arc::default())].map(|(name, says)| {
        Topic::new(name).every(ms(5)).on_subscribe().message(move |seq, _| says.text(name, seq))
    });
    let script = Script::of_topics(topics).heartbeats(r#"{"type":"heartbeat"}"#, ms(20));
    (Lab::start(script).unwrap(), says)
}

fn observed(topic: &str) -> Subscription {
    sub(topic)
        .lag(LagRule::new("/items/*/ts", TimeUnit::Millis, ms(2_000)).after(AFTER))
        .frozen(FrozenRule::new(AFTER).pointer("/price"))
        .stale_after(Duration::from_secs(8))
        .repair([RepairStep::Resubscribe(ms(5_000)), RepairStep::Reconnect])
}

fn open(lab: &Lab) -> Feed {
    feed(lab)
        .heartbeat(Matcher::pointer("/type", "heartbeat"))
        .subscription(observed("btc"))
        .subscription(observed("eth"))
        .open()
        .unwrap()
}

#[track_caller]
fn of(feed: &Feed, lab: &Lab, id: &str, state: SubscriptionState) -> SubscriptionHealth {
    let it =
        |health: &livefeed::Health| health.subscriptions.iter().find(|it| it.id == *id).cloned().unwrap();
    let health = healthy(feed, lab, |health| it(health).state == state);
    it(&health)
}

/// Good data, then bad data, until there is a verdict with this cause; then good data again.
#[track_caller]
fn goes_stale_and_recovers(cause: StaleCause, age: i64, still: bool) {
    let (lab, says) = two_topics();
    let feed = open(&lab);
    healthy(&feed, &lab, |health| health.state == State::Fresh);
    let begin = Instant::now();
    says.set(age, still);
    let (events, stale) = until_stale(&feed);
    assert!(begin.elapsed() >= AFTER, "early by our clock: {stale:?}");
    assert_eq!((stale.subscription.clone(), stale.cause), (Some("btc".into()), cause), "{stale:?}");
    assert_eq!(stale.limit, AFTER);
    assert!(stale.age >= AFTER && stale.lateness() < LATE, "{stale:?}");
    assert_eq!(stale.next.name(), "resubscribe");
    assert!(!names(&events).contains(&"disconnected".to_owned()), "{:?}", names(&events));
    // It flowed all the while, and was delivered.
    let btc = messages(&events).into_iter().filter(|message| message.subscriptions() == ["btc"]).count();
    assert!(btc >= 20, "{btc} messages");

    // It is made again, and what comes is no better.
    seen(
        &lab,
        |entry| matches!(&entry.what, What::Received(Received::Text(text)) if **text == *"unsubscribe btc"),
    );
    let it = of(&feed, &lab, "btc", SubscriptionState::Stale);
    assert_eq!(it.stale_cause, Some(cause));
    assert_eq!(feed.health().state, State::Stale);
    let before = it.messages;
    healthy(&feed, &lab, |health| health.subscriptions[0].messages > before + 10);
    assert_eq!(of(&feed, &lab, "btc", SubscriptionState::Stale).stale_cause, Some(cause));
    assert_eq!(of(&feed, &lab, "eth", SubscriptionState::Live).stale_cause, None);

    says.set(0, false);
    assert_eq!(of(&feed, &lab, "btc", SubscriptionState::Live).stale_cause, None);
    healthy(&feed, &lab, |health| health.state == State::Fresh);
    assert_eq!((feed.health().epoch, feed.health().stale_verdicts), (1, 1), "{}", shown(&lab));
    feed.close(ms(2_000)).unwrap();
    let rest: Vec<_> = feed.try_iter().collect();
    assert!(!rest.iter().any(|event| matches!(event, Event::Stale(_))), "{:?}", names(&rest));
}

#[test]
fn f7_data_that_is_late_goes_stale_and_recovers() {
    goes_stale_and_recovers(StaleCause::Late, 2_500, false);
}

#[test]
fn f7_data_that_says_the_same_goes_stale_and_recovers() {
    goes_stale_and_recovers(StaleCause::Frozen, 0, true);
}

#[test]
fn f7_the_lag_and_the_skew_are_in_the_health() {
    let (lab, says) = two_topics();
    let feed = open(&lab);
    says.set(1_000, false);
    let lag = |it: &SubscriptionHealth| it.lag_seconds.unwrap_or_default();
    let health = healthy(&feed, &lab, |health| lag(&health.subscriptions[0]) >= 1.0);
    assert!(lag(&health.subscriptions[0]) < 2.0, "{health:?}");
    assert_eq!(health.subscriptions[0].skew_seconds, Some(0.0));
    // The server's clock is 30 s ahead, and its data 1.9 s old at most: 28.1 s are no lag.
    says.set(-30_000, false);
    let skew = |it: &SubscriptionHealth| it.skew_seconds.unwrap_or_default();
    let health = healthy(&feed, &lab, |health| skew(&health.subscriptions[0]) > 29.0);
    assert!(lag(&health.subscriptions[0]) < 1.0, "{health:?}");
    // By that clock, data that looks 27 s young is 3 s old.
    says.set(-27_000, false);
    let (_, stale) = until_stale(&feed);
    assert_eq!((stale.subscription, stale.cause), (Some("btc".into()), StaleCause::Late));
    // The rule was of no harm to the other.
    let eth = &feed.health().subscriptions[1];
    assert!(lag(eth) < 2.0 && skew(eth) < 0.5, "{eth:?}");
}

#[test]
fn f7_a_rule_that_looks_in_the_wrong_place_is_not_met_in_silence() {
    let unit = LagRule::new("/items/*/ts", TimeUnit::Micros, ms(2_000)).after(AFTER);
    let field = LagRule::new("/items/*/time", TimeUnit::Millis, ms(2_000)).after(AFTER);
    let value = FrozenRule::new(AFTER).pointer("/prise");
    for (subscription, cause, expected) in [
        (sub("btc").lag(unit), StaleCause::Late, Some(50.0 * 365.0 * 86_400.0)),
        (sub("btc").lag(field), StaleCause::Late, None),
        (sub("btc").frozen(value), StaleCause::Frozen, None),
    ] {
        let (lab, _says) = two_topics();
        let feed = feed(&lab)
            .heartbeat(Matcher::pointer("/type", "heartbeat"))
            .subscription(subscription.repair([RepairStep::Reconnect]))
            .open()
            .unwrap();
        let health = healthy(&feed, &lab, |health| {
            let it = &health.subscriptions[0];
            it.messages > 0 && (expected.is_none() || it.lag_seconds.is_some())
        });
        let found = health.subscriptions[0].lag_seconds;
        assert!(found.is_some() == expected.is_some() && found >= expected, "{found:?}");
        let (_, stale) = until_stale(&feed);
        assert_eq!(stale.cause, cause);
        // Nothing comes of it that a new connection could mend; it is tried all the same.
        until(&feed, |event| matches!(event, Event::Connected(connected) if connected.epoch == 2));
    }
}

#[test]
fn f7_a_sequence_that_stands_still_is_frozen_though_signs_of_life_flow() {
    let says = Arc::new(AtomicI64::new(0));
    let number = Arc::clone(&says);
    let topic = Topic::new("btc").every(ms(5)).on_subscribe().message(move |_, _| {
        let n = match number.load(Ordering::SeqCst) {
            0 => 7, // stands still
            _ => number.fetch_add(1, Ordering::SeqCst),
        };
        format!(r#"{{"topic":"btc","n":{n}}}"#)
    });
    let lab = Lab::start(Script::of_topics([topic])).unwrap();
    let feed = feed(&lab)
        .subscription(
            sub("btc")
                .sequence(SequenceRule::contiguous("/n"))
                .frozen(FrozenRule::new(AFTER))
                .stale_after(Limit::None)
                .repair([RepairStep::Resubscribe(ms(5_000)), RepairStep::Reconnect]),
        )
        .open()
        .unwrap();
    let (_, stale) = until_stale(&feed);
    assert_eq!(
        (stale.subscription, stale.cause, stale.limit),
        (Some("btc".into()), StaleCause::Frozen, AFTER)
    );
    says.store(8, Ordering::SeqCst);
    of(&feed, &lab, "btc", SubscriptionState::Live);
    assert_eq!(feed.health().epoch, 1);
}

#[test]
fn f7_what_stays_late_or_frozen_climbs_the_ladder_to_the_next_endpoint() {
    let (bad, says) = two_topics();
    let (good, _) = two_topics();
    says.set(0, true);
    let feed = feed(&bad)
        .endpoint(good.url())
        .heartbeat(Matcher::pointer("/type", "heartbeat"))
        .subscription(sub("btc").frozen(FrozenRule::new(AFTER).pointer("/price")).repair([
            RepairStep::Resubscribe(ms(100)),
            RepairStep::Reconnect,
            RepairStep::NextEndpoint,
        ]))
        .open()
        .unwrap();
    let mut steps = Vec::new();
    until(&feed, |event| {
        if let Event::Stale(stale) = event {
            assert_eq!(stale.cause, StaleCause::Frozen);
            steps.push(stale.next.name());
        }
        matches!(event, Event::Connected(connected) if connected.peer == good.addr())
    });
    assert_eq!(steps, ["resubscribe", "reconnect", "next_endpoint"]);
    of(&feed, &good, "btc", SubscriptionState::Live);
}
