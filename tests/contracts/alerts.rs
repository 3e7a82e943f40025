//! Alerts: raised once, cleared when it is over, told of on a thread of their own.

use crate::common::{CEILING, feed, healthy, ms, names, pause, seen, sub, until};
use crate::proto::{answers, speaking};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use livefeed::lab::{Command, Lab, Script, Topic, What};
use livefeed::{
    Alert, AlertKind, AlertStatus, Error, Event, Feed, Hours, NoDataAlert, ReconnectAlert, Subscription,
};
use serde_json::json;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::time::{Duration, Instant};

const LIMIT: Duration = ms(200);

/// Reads on until there is an alert of this status, and gives it, and what was read.
#[track_caller]
fn until_alert(feed: &Feed, status: AlertStatus) -> (Alert, Vec<Event>) {
    let events = until(feed, |event| matches!(event, Event::Alert(alert) if alert.status == status));
    let Some(Event::Alert(alert)) = events.last() else { unreachable!() };
    ((**alert).clone(), events)
}

fn alerts(events: &[Event]) -> usize {
    events.iter().filter(|event| matches!(event, Event::Alert(_))).count()
}

#[test]
fn a_storm_of_reconnects_is_told_of_once_with_its_causes_and_when_it_is_over() {
    const STORM: usize = 12;
    const WINDOW: Duration = ms(1500);
    let plan = |n| match n {
        n if n > STORM => Script::of_topics([Topic::new("a").every(ms(5))]),
        n if n % 2 == 0 => Script::new().then(Command::Fin),
        _ => Script::new().close(1001, "later"),
    };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let builder = feed(&lab).alerts(|alerts| alerts.reconnects = Some(ReconnectAlert::new(3, WINDOW)));
    let begin = Instant::now();
    let feed = builder.open().unwrap();
    let (raised, events) = until_alert(&feed, AlertStatus::Raised);
    assert_eq!(alerts(&events), 1, "{:?}", names(&events));
    let AlertKind::Reconnects { count, window, reasons } = &raised.kind else { panic!("{raised:?}") };
    assert_eq!((*count, *window), (4, WINDOW));
    assert_eq!(reasons.values().sum::<u32>(), 4, "{reasons:?}");
    assert_eq!(reasons["closed by peer"], 2, "{reasons:?}");
    assert_eq!(feed.health().alerts, ["reconnects"]);
    let (cleared, events) = until_alert(&feed, AlertStatus::Cleared);
    assert!(begin.elapsed() >= WINDOW);
    assert_eq!(alerts(&events), 1, "told once: {:?}", names(&events));
    assert!(matches!(&cleared.kind, AlertKind::Reconnects { count: ..=3, .. }), "{cleared:?}");
    assert!(feed.health().alerts.is_empty());
    feed.close(CEILING).unwrap();
}

#[test]
fn the_lack_of_data_is_told_of_in_its_hours() {
    let topic = || [Topic::new("a").every(ms(5))];
    let lab = Lab::start(Script::of_topics(topic()).until_sent(20).silence()).unwrap();
    let builder = feed(&lab).hours("now", Hours::new("UTC").window("daily", "00:00", "24:00"));
    let builder = builder.subscription(sub("a").no_stale_limit()).alerts(|alerts| {
        alerts.no_data.push(NoDataAlert::after(LIMIT).during("now"));
        alerts.no_data.push(NoDataAlert::after(LIMIT).outside("now"));
    });
    let feed = builder.open().unwrap();
    let (raised, events) = until_alert(&feed, AlertStatus::Raised);
    let AlertKind::NoData { age, limit, hours } = &raised.kind else { panic!("{raised:?}") };
    assert_eq!((*limit, hours.as_deref()), (LIMIT, Some("now")));
    assert!(*age >= LIMIT && *age < LIMIT + ms(1000), "{age:?}");
    let last = events.iter().rev().find_map(|event| match event {
        Event::Message(message) => Some(message.received()),
        _ => None,
    });
    assert!(last.unwrap().elapsed() >= LIMIT);
    assert_eq!(alerts(&events), 1, "outside of them there is nothing to tell");
    assert_eq!(feed.health().alerts, ["no_data"]);
    lab.control().all(Command::Resume);
    let (cleared, events) = until_alert(&feed, AlertStatus::Cleared);
    assert!(matches!(&cleared.kind, AlertKind::NoData { age, .. } if *age >= LIMIT), "{cleared:?}");
    assert!(!events.iter().any(|event| matches!(event, Event::Disconnected(_))), "{:?}", names(&events));
    feed.close(CEILING).unwrap();
}

/// A consumer that stops is slow; nothing else is said of it.
#[test]
fn a_slow_consumer_is_no_lack_of_data() {
    let script = Script::of_topics([Topic::new("a").every(Duration::ZERO)]).until_sent(5000).silence();
    let lab = Lab::start(script).unwrap();
    let builder = feed(&lab).queue(|queue| queue.messages = 64);
    let feed = builder.alerts(|alerts| alerts.no_data.push(NoDataAlert::after(LIMIT))).open().unwrap();
    let (raised, mut events) = until_alert(&feed, AlertStatus::Raised);
    assert!(matches!(raised.kind, AlertKind::SlowConsumer { .. }), "{raised:?}");
    for _ in 0..3 {
        pause(2 * LIMIT);
        let mut left = 1000;
        events.extend(until(&feed, |event| {
            left -= usize::from(matches!(event, Event::Message(_)));
            left == 0
        }));
    }
    let told = |event: &Event| match event {
        Event::Alert(alert) => Some(alert.kind.name()),
        _ => None,
    };
    assert!(events.iter().filter_map(told).all(|kind| kind == "slow_consumer"), "{:?}", names(&events));
    // Then it is one.
    until(
        &feed,
        |event| matches!(event, Event::Alert(alert) if matches!(alert.kind, AlertKind::NoData { .. })),
    );
    feed.close(CEILING).unwrap();
}

#[test]
fn the_lack_of_a_connection_is_told_of_from_the_last_end_on() {
    let back = Arc::new(AtomicBool::new(false));
    let is_back = Arc::clone(&back);
    let plan = move |n| match n {
        1 => Script::new().send("x").close(1001, ""),
        _ if is_back.load(Ordering::Relaxed) => Script::new().send("y"),
        _ => Script::reset_at_accept(),
    };
    let lab = Lab::builder().scripts(plan).start().unwrap();
    let feed = feed(&lab).alerts(|alerts| alerts.down = LIMIT.into()).open().unwrap();
    until(&feed, |event| matches!(event, Event::Disconnected(end) if end.was_connected));
    let begin = Instant::now();
    let (raised, _) = until_alert(&feed, AlertStatus::Raised);
    let AlertKind::Down { down, last: Some(_) } = &raised.kind else { panic!("{raised:?}") };
    assert!(*down >= LIMIT && *down <= begin.elapsed() + ms(1000), "{raised:?}");
    assert_eq!(feed.health().alerts, ["down"]);
    pause(LIMIT);
    back.store(true, Ordering::Relaxed);
    let (cleared, events) = until_alert(&feed, AlertStatus::Cleared);
    assert!(matches!(&cleared.kind, AlertKind::Down { down, .. } if *down >= 2 * LIMIT), "{cleared:?}");
    let names = names(&events);
    assert!(names.ends_with(&["connected", "gap", "alert"].map(str::to_owned)), "{names:?}");
    feed.close(CEILING).unwrap();
}

#[test]
fn what_comes_back_is_told_of_again_after_the_cool_down_and_not_before() {
    const COOL_DOWN: Duration = ms(1500);
    let lab = Lab::start(Script::new().send("x")).unwrap();
    let builder = feed(&lab).alerts(|alerts| {
        alerts.no_data.push(NoDataAlert::after(LIMIT));
        alerts.cool_down = COOL_DOWN;
    });
    let feed = builder.open().unwrap();
    until_alert(&feed, AlertStatus::Raised);
    let first = Instant::now();
    lab.control().all(Command::Send("y".into()));
    until_alert(&feed, AlertStatus::Cleared);
    // It is so again long before; the socket stays empty, and no timer but this one runs.
    let (raised, events) = until_alert(&feed, AlertStatus::Raised);
    let took = first.elapsed();
    assert!(took >= COOL_DOWN - ms(100) && took < CEILING / 2, "{took:?}");
    assert_eq!(alerts(&events), 1);
    assert!(matches!(&raised.kind, AlertKind::NoData { age, .. } if *age > LIMIT), "{raised:?}");
    feed.close(CEILING).unwrap();
}

#[test]
fn a_refused_subscription_is_told_of_until_it_is_wanted_no_more() {
    let lab = Lab::start(answers(|it| vec![Command::Send(json!({"nack": it.id}).to_string())])).unwrap();
    let feed = speaking(&lab).subscription(Subscription::new("a")).open().unwrap();
    let (raised, _) = until_alert(&feed, AlertStatus::Raised);
    assert!(
        matches!(&raised.kind, AlertKind::SubscriptionRefused { subscription, .. } if *subscription == "a")
    );
    assert_eq!(feed.health().alerts, ["subscription_refused"]);
    feed.unsubscribe("a").unwrap();
    let (cleared, _) = until_alert(&feed, AlertStatus::Cleared);
    assert!(
        matches!(&cleared.kind, AlertKind::SubscriptionRefused { subscription, .. } if *subscription == "a")
    );
    assert!(feed.health().alerts.is_empty());
    feed.close(CEILING).unwrap();
}

// ---- the callback ----------------------------------------------------------------------------------------

/// So many alerts at each connection.
fn failing(count: usize) -> impl Iterator<Item = Subscription> {
    (0..count).map(|n| {
        Subscription::new(format!("s{n:03}"))
            .subscribe_with(|_| Err::<String, _>("no key".to_owned()))
            .no_stale_limit()
    })
}

fn about(alert: &Alert) -> String {
    match &alert.kind {
        AlertKind::SubscribeFailed { subscription, .. } => subscription.to_string(),
        kind => kind.name().to_owned(),
    }
}

#[test]
fn the_callback_is_told_of_each_alert_in_order_on_its_own_thread() {
    let lab = Lab::start(Script::new()).unwrap();
    let (sender, told) = unbounded();
    let builder = failing(20).fold(feed(&lab), |builder, it| builder.subscription(it));
    let builder = builder.alerts(|alerts| alerts.no_data.push(NoDataAlert::after(LIMIT)));
    let feed = builder.on_alert(move |alert| {
        let thread = std::thread::current().name().map(str::to_owned);
        let _ = sender.send((thread, alert.clone()));
    });
    let feed = feed.open().unwrap();
    for n in 0..20 {
        let (thread, alert) = told.recv_timeout(CEILING).unwrap();
        assert_eq!((thread.as_deref(), about(&alert)), (Some("livefeed-alert"), format!("s{n:03}")));
        assert_eq!(alert.status, AlertStatus::Raised);
    }
    for (status, send) in [(AlertStatus::Raised, "x"), (AlertStatus::Cleared, "")] {
        let (_, alert) = told.recv_timeout(CEILING).unwrap();
        assert_eq!((alert.status, alert.kind.name()), (status, "no_data"));
        lab.control().all(Command::Send(send.into()));
    }
    // The same alerts stand in the stream.
    let events: Vec<Event> = feed.try_iter().collect();
    assert_eq!(alerts(&events), 22);
    feed.close(CEILING).unwrap();
    assert!(told.recv_timeout(CEILING).is_err(), "nothing is told of after the end");
}

/// What a callback that is held up delays, and what not.
#[test]
fn a_callback_that_blocks_delays_nothing_but_alerts_and_what_is_over_64_is_counted() {
    let lab = Lab::start(Script::of_topics([Topic::new("a").every(ms(5))])).unwrap();
    let (entered, inside): (Sender<()>, Receiver<()>) = unbounded();
    let (release, held): (Sender<()>, Receiver<()>) = bounded(0);
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = Arc::clone(&told);
    let builder = failing(100).fold(feed(&lab), |builder, it| builder.subscription(it));
    let feed = builder.subscription(sub("a")).on_alert(move |alert| {
        let _ = entered.send(());
        let _ = held.recv_timeout(CEILING * 2); // until `release` is dropped
        tell.lock().unwrap().push(about(alert));
    });
    let feed = feed.open().unwrap();
    inside.recv_timeout(CEILING).unwrap();
    let mut left = 50;
    until(&feed, |event| {
        left -= usize::from(matches!(event, Event::Message(_)));
        left == 0
    });
    // Of 100 one is being told and 64 wait, or 63 if the thread was late.
    let missed = healthy(&feed, &lab, |health| health.missed_alerts >= 35).missed_alerts;
    assert!((35..=36).contains(&missed), "{missed}");
    let begin = Instant::now();
    assert_eq!(feed.close(ms(300)), Err(Error::Timeout));
    assert!(begin.elapsed() >= ms(300) && begin.elapsed() < CEILING / 2, "{:?}", begin.elapsed());
    assert!(feed.health().closed.is_some(), "nothing else is held up");
    drop(release);
    assert_eq!(feed.close(CEILING), Ok(()), "what waits is told first");
    let told = told.lock().unwrap();
    assert_eq!(told.len() as u64, 100 - missed);
    let first: Vec<String> = (0..64).map(|n| format!("s{n:03}")).collect();
    assert!(told.starts_with(&first) && told.is_sorted(), "{told:?}");
}

#[test]
fn dropping_a_feed_does_not_wait_for_its_callback() {
    let lab = Lab::start(Script::new()).unwrap();
    let (entered, inside): (Sender<()>, Receiver<()>) = unbounded();
    let (release, held): (Sender<()>, Receiver<()>) = bounded(0);
    let gone = Arc::new(());
    let witness = Arc::downgrade(&gone);
    let builder = failing(1).fold(feed(&lab), |builder, it| builder.subscription(it));
    let builder = builder.on_alert(move |_| {
        let _ = (&gone, entered.send(()));
        let _ = held.recv_timeout(CEILING * 2);
    });
    let feed = builder.open().unwrap();
    inside.recv_timeout(CEILING).unwrap();
    let begin = Instant::now();
    drop(feed);
    assert!(begin.elapsed() < CEILING / 2, "{:?}", begin.elapsed());
    assert!(witness.upgrade().is_some());
    drop(release);
    let begin = Instant::now();
    while witness.upgrade().is_some() {
        assert!(begin.elapsed() < CEILING, "the thread is left behind");
        std::thread::park_timeout(ms(1));
    }
}

#[test]
fn a_panic_in_the_callback_is_caught_and_the_next_alert_is_told() {
    let lab = Lab::start(Script::new()).unwrap();
    let (sender, told) = unbounded();
    let builder = failing(3).fold(feed(&lab), |builder, it| builder.subscription(it));
    let builder = builder.on_alert(move |alert| {
        sender.send(about(alert)).unwrap();
        panic!("a bug of the application");
    });
    let feed = builder.open().unwrap();
    // Its own panic is told, too; that is the end of it.
    let all: Vec<String> = (0..4).map(|_| told.recv_timeout(CEILING).unwrap()).collect();
    assert_eq!(all, ["s000", "s001", "s002", "callback_panicked"]);
    until(
        &feed,
        |event| matches!(event, Event::Alert(alert) if matches!(alert.kind, AlertKind::CallbackPanicked { callback: "on_alert", .. })),
    );
    assert!(feed.health().closed.is_none());
    feed.close(CEILING).unwrap();
    assert_eq!(told.try_iter().count(), 0);
}

#[test]
fn the_callback_may_call_the_feed_and_close_or_drop_it() {
    type Act = fn(&OnceLock<Weak<Feed>>, &Mutex<Option<Arc<Feed>>>);
    let acts: [(&str, Act); 3] = [
        ("close", |weak, _| {
            let Some(feed) = weak.get().and_then(Weak::upgrade) else { return };
            feed.wait_connected(CEILING).unwrap();
            assert!(feed.health().closed.is_none());
            assert_eq!(feed.close(CEILING), Err(Error::WouldDeadlock));
        }),
        ("drop", |_, owned| drop(owned.lock().unwrap().take())),
        ("close and drop", |_, owned| {
            let feed = owned.lock().unwrap().take();
            if let Some(feed) = feed {
                assert_eq!(feed.close(CEILING), Err(Error::WouldDeadlock));
            }
        }),
    ];
    for (name, act) in acts {
        let lab = Lab::start(Script::new()).unwrap();
        let owned: Arc<Mutex<Option<Arc<Feed>>>> = Arc::default();
        let weak: Arc<OnceLock<Weak<Feed>>> = Arc::default();
        let (ready, go) = bounded::<()>(1);
        let count = Arc::new(AtomicUsize::new(0));
        let (its, owner, counted) = (Arc::clone(&weak), Arc::clone(&owned), Arc::clone(&count));
        let builder = failing(1).fold(feed(&lab), |builder, it| builder.subscription(it));
        let feed = builder.on_alert(move |_| {
            if counted.fetch_add(1, Ordering::Relaxed) == 0 {
                go.recv_timeout(CEILING).unwrap();
                act(&its, &owner);
            }
        });
        let feed = Arc::new(feed.open().unwrap());
        let batches = feed.batches().clone();
        weak.set(Arc::downgrade(&feed)).unwrap();
        if name != "close" {
            *owned.lock().unwrap() = Some(Arc::clone(&feed));
        }
        let kept = (name == "close").then_some(feed);
        ready.send(()).unwrap();
        let mut events = Vec::new();
        let deadline = Instant::now() + CEILING;
        while let Ok(batch) = batches.recv_deadline(deadline) {
            events.extend(batch);
        }
        assert!(matches!(events.last(), Some(Event::Closed(_))), "{name}: {:?}", names(&events));
        assert_eq!(count.load(Ordering::Relaxed), 1, "{name}: no panic was told");
        if let Some(feed) = kept {
            assert_eq!(feed.close(CEILING), Ok(()), "{name}");
        }
        seen(&lab, |entry| matches!(entry.what, What::Ended(_)));
    }
}
