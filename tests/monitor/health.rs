//! What `/health` says of feeds: fresh, stale, closed, dropped, removed.

use crate::common::*;
use livefeed::lab::{Lab, Script};
use livefeed::{Error, Feed, FeedSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn without_a_feed_there_is_no_health() {
    let monitor = monitor();
    let answer = get(&monitor, "/health");
    let body = answer.json();
    assert_eq!((answer.status, &body["status"], &body["healthy"]), (503, &"no_feeds".into(), &false.into()));
    assert!(body["last_signal_age_seconds"].is_null() && body["feeds"].as_array().unwrap().is_empty());
}

#[test]
fn a_feed_goes_fresh_stale_and_fresh() {
    let script = |n| {
        let script = Script::of_topics([topic()]);
        if n == 1 { script.for_(ms(500)).silence() } else { script }
    };
    let lab = Lab::builder().scripts(script).start().unwrap();
    let feed = feed(&lab, "btc")
        .stale_after(ms(300))
        .reconnect(|r| (r.floor, r.first, r.max) = (ms(500), ms(600), ms(600)))
        .open()
        .unwrap();
    let monitor = monitor();
    monitor.add(&feed).unwrap();

    let answer = until(&monitor, "/health", |answer| answer.status == 200);
    let body = answer.json();
    assert_eq!((&body["status"], &body["healthy"]), (&"fresh".into(), &true.into()));
    assert_eq!(body["feeds"][0]["name"], "btc");
    assert_eq!(body["feeds"][0]["subscriptions"][0]["id"], "btc");
    assert_eq!(body["last_signal_age_seconds"], body["feeds"][0]["last_signal_age_seconds"]);

    let body = until(&monitor, "/health", |answer| answer.status == 503).json();
    assert!(body["last_signal_age_seconds"].as_f64().unwrap() >= 0.3, "{body}");
    assert_eq!(
        (&body["healthy"], body["feeds"][0]["stale_verdicts"].as_u64()),
        (&false.into(), Some(1)),
        "{body}"
    );
    assert!(["stale", "waiting", "connecting", "live"].contains(&body["status"].as_str().unwrap()), "{body}");

    let body = until(&monitor, "/health", |answer| answer.status == 200).json();
    assert_eq!(body["feeds"][0]["epoch"], 2);
}

#[test]
fn of_several_the_worst_counts() {
    let (lab, mute) = (lively(), Lab::start(Script::never_upgrade()).unwrap());
    let (good, bad) = (fresh(&lab, "good"), feed(&mute, "bad & \"odd\" \u{e9}+").open().unwrap());
    let monitor = monitor();
    monitor.add(&good).unwrap();
    monitor.add(&bad).unwrap();
    let answer = get(&monitor, "/health");
    let body = answer.json();
    assert_eq!(answer.status, 503, "{body}");
    // On a busy machine the first attempt may be over.
    assert!(["connecting", "waiting"].contains(&body["status"].as_str().unwrap()), "{body}");
    assert!(body["last_signal_age_seconds"].is_null(), "one has had none: {body}");
    assert_eq!(body["feeds"].as_array().unwrap().len(), 2);

    let odd = "feed=bad+%26+%22odd%22%20%C3%A9%2b";
    for (target, status, feeds) in [
        ("/health?feed=good".to_owned(), 200, 1),
        ("/health?feed=good&feed=good&".to_owned(), 200, 1),
        (format!("/health?{odd}"), 503, 1),
        (format!("/health?feed=good&{odd}"), 503, 2),
        ("/health?feed=good&max_age=1h".to_owned(), 200, 1),
        ("/health?feed=g%6Fod&max_age=3600".to_owned(), 200, 1),
        ("http://127.0.0.1/health?feed=good".to_owned(), 200, 1),
    ] {
        let answer = get(&monitor, &target);
        assert_eq!(answer.status, status, "{target}");
        assert_eq!(answer.json()["feeds"].as_array().unwrap().len(), feeds, "{target}");
    }
    for (query, status) in [
        ("feed=nobody", 404),
        ("feed=good&feed=nobody", 404),
        ("feed=Good", 404),
        ("feed=", 404),
        ("feed=good%00", 404),
        ("feed=good&max_age=0", 400),
        ("max_age=5s&max_age=5s", 400),
    ] {
        assert_eq!(get(&monitor, &format!("/health?{query}")).status, status, "{query}");
    }
    let error = get(&monitor, "/health?feed=%3Cscript%3E").json()["error"].to_string();
    assert!(error.contains("<script>"), "it is JSON, and said to be so: {error}");
}

#[test]
fn max_age_asks_more_than_the_state() {
    // One message, and no limit: fresh for ever.
    let lab = Lab::start(Script::new().send("x")).unwrap();
    let feed = Feed::builder(lab.url()).name("a").no_stale_limit().open().unwrap();
    feed.wait_fresh(CEILING).unwrap();
    let monitor = monitor();
    monitor.add(&feed).unwrap();
    assert_eq!(get(&monitor, "/health?max_age=1h").status, 200);
    let body = until(&monitor, "/health?max_age=200ms", |answer| answer.status == 503).json();
    assert_eq!((&body["status"], &body["healthy"]), (&"too_old".into(), &false.into()));
    assert!(body["last_signal_age_seconds"].as_f64().unwrap() > 0.2);
    assert_eq!(body["feeds"][0]["state"], "fresh");
    for query in ["", "?max_age=1h", "?feed=a&max_age=3600.5"] {
        assert_eq!(get(&monitor, &format!("/health{query}")).status, 200, "{query}");
    }
    assert_eq!(get(&monitor, "/health?max_age=0.0000001").status, 503);
}

#[test]
fn closed_feeds_stay_until_they_are_removed() {
    let lab = lively();
    let monitor = monitor();
    let (one, two) = (fresh(&lab, "one"), fresh(&lab, "two"));
    monitor.add(&one).unwrap();
    assert_eq!(monitor.add(&one).unwrap_err(), Error::NameTaken("one".into()));
    monitor.add_as("uno", &one).unwrap();
    monitor.add(&two).unwrap();
    assert_eq!(get(&monitor, "/health?feed=one&feed=two").status, 200);
    assert_eq!(get(&monitor, "/health?feed=uno").json()["feeds"][0]["name"], "uno");

    one.close(CEILING).unwrap();
    let body = get(&monitor, "/health?feed=one").json();
    assert_eq!((&body["status"], &body["feeds"][0]["closed"]), (&"closed".into(), &"closed by user".into()));
    let messages = body["feeds"][0]["messages"].as_u64().unwrap();
    assert!(messages > 0);
    drop(one);
    let age = |body: &serde_json::Value| body["last_signal_age_seconds"].as_f64().unwrap();
    let first = age(&get(&monitor, "/health?feed=one").json());
    let body = until(&monitor, "/health?feed=one", |answer| age(&answer.json()) > first).json();
    assert_eq!((&body["status"], &body["feeds"][0]["messages"]), (&"closed".into(), &messages.into()));
    assert_eq!(body["feeds"][0]["closed"], "closed by user", "what was last known stays: {body}");
    assert_eq!(get(&monitor, "/health").status, 503);
    assert_eq!(get(&monitor, "/health?feed=two").status, 200);

    let again = fresh(&lab, "one");
    assert_eq!(monitor.add(&again).unwrap_err(), Error::NameTaken("one".into()));
    assert!(monitor.remove("one") && monitor.remove("uno") && !monitor.remove("one"));
    assert_eq!(get(&monitor, "/health?feed=one").status, 404);
    monitor.add(&again).unwrap();
    assert_eq!(get(&monitor, "/health").status, 200);

    // Dropped without a word.
    drop(two);
    let body = until(&monitor, "/health?feed=two", |answer| answer.status == 503).json();
    let body = if body["status"] == "closing" {
        until(&monitor, "/health?feed=two", |answer| answer.json()["status"] == "closed").json()
    } else {
        body
    };
    assert_eq!(body["status"], "closed");
    assert!(body["feeds"][0]["messages"].as_u64().unwrap() > 0);
}

#[test]
fn a_feed_that_gave_up_says_why_after_it_was_dropped() {
    let lab = Lab::start(Script::refuse(401)).unwrap();
    let held = Arc::new(());
    let kept = Arc::clone(&held);
    let feed = feed(&lab, "a").on_wake(move || drop(Arc::clone(&kept))).open().unwrap();
    let monitor = monitor();
    monitor.add(&feed).unwrap();
    while feed.recv_timeout(CEILING).is_ok() {}
    drop(feed);
    // Nobody asks before it is gone for good.
    wait_for_the_end(&held);
    let body = get(&monitor, "/health").json();
    assert_eq!(body["status"], "closed");
    assert!(body["feeds"][0]["closed"].as_str().unwrap().contains("401"), "{body}");
    assert_eq!(body["feeds"][0]["ends"].as_object().unwrap().len(), 1, "{body}");
}

/// Waits until nobody else has it.
#[track_caller]
fn wait_for_the_end(held: &Arc<()>) {
    let deadline = Instant::now() + CEILING;
    while Arc::strong_count(held) > 1 {
        assert!(Instant::now() < deadline, "it is kept {} times", Arc::strong_count(held) - 1);
        std::thread::yield_now();
    }
}

#[test]
fn the_monitor_keeps_nothing_of_a_feed_alive() {
    let lab = lively();
    let held = Arc::new(());
    let monitor = monitor();
    for n in 0..20 {
        let kept = Arc::clone(&held);
        let feed = feed(&lab, &format!("{n}")).on_wake(move || drop(Arc::clone(&kept))).open().unwrap();
        monitor.add(&feed).unwrap();
        if n % 2 == 0 {
            feed.wait_fresh(CEILING).unwrap();
        }
        drop(feed);
    }
    wait_for_the_end(&held);
    let body = get(&monitor, "/health").json();
    assert!(body["feeds"].as_array().unwrap().iter().all(|feed| feed["state"] == "closed"), "{body}");
}

#[test]
fn a_set_is_added_by_its_tags() {
    let lab = lively();
    let set = FeedSet::new();
    for tag in ["a", "b"] {
        set.insert(tag.to_owned(), fresh(&lab, "of one name")).unwrap();
    }
    let monitor = monitor();
    monitor.add_set(&set).unwrap();
    assert_eq!(get(&monitor, "/health?feed=a&feed=b").status, 200);
    set.insert("c".to_owned(), fresh(&lab, "c")).unwrap();
    assert!(matches!(monitor.add_set(&set), Err(Error::NameTaken(_))));
    assert_eq!(get(&monitor, "/health?feed=c").status, 404, "all or none");
    assert_eq!(
        format!("{monitor:?}"),
        format!("Monitor {{ addr: {}, feeds: [\"a\", \"b\"], .. }}", monitor.local_addr())
    );
}

#[test]
fn live_is_answered_whatever_the_feeds_do() {
    let mute = Lab::start(Script::never_upgrade()).unwrap();
    let monitor = monitor();
    monitor.add(&feed(&mute, "a").open().unwrap()).unwrap(); // and dropped at once
    let answer = get(&monitor, "/live");
    assert_eq!((answer.status, &answer.json()["status"]), (200, &"live".into()));
}

#[test]
fn feeds_may_come_and_go_while_they_are_looked_at() {
    let lab = lively();
    let monitor = Arc::new(monitor());
    let asking = {
        let monitor = Arc::clone(&monitor);
        std::thread::spawn(move || {
            let mut client = Client::new(monitor.local_addr());
            for _ in 0..400 {
                for path in ["/health", "/metrics", "/data", "/"] {
                    client.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"));
                    assert!([200, 503].contains(&client.answer(true).status));
                }
            }
        })
    };
    let mut n = 0;
    while !asking.is_finished() {
        n += 1;
        let name = format!("{}", n % 7);
        monitor.remove(&name);
        let feed = feed(&lab, &name).open().unwrap();
        monitor.add(&feed).unwrap();
        if n % 3 == 0 {
            let _ = feed.wait_fresh(CEILING);
        } else if n % 3 == 1 {
            feed.close(Duration::from_secs(1)).unwrap();
        }
    }
    asking.join().unwrap();
}

/// Does not come back from the third message.
struct Stuck {
    counts: u32,
    going: crossbeam_channel::Receiver<()>,
}

impl livefeed::Dialect for Stuck {
    fn read(&mut self, message: livefeed::Payload<'_>, out: &mut livefeed::Readout) {
        self.counts += 1;
        if self.counts > 2 {
            let _ = self.going.recv_timeout(CEILING * 3);
        }
        out.data(&["btc"], message.as_text().unwrap_or_default());
    }
}

#[test]
fn a_feed_whose_application_does_not_read_is_not_healthy() {
    let lab = lively();
    let (go, going) = crossbeam_channel::bounded::<()>(0);
    let handling = going.clone();
    let handled = feed(&lab, "handled")
        .stale_after(ms(300))
        .handler(move |event| {
            if matches!(event, livefeed::Event::Message(_)) {
                let _ = handling.recv_timeout(CEILING * 3);
            }
        })
        .open()
        .unwrap();
    let blocked = feed(&lab, "blocked")
        .stale_after(ms(300))
        .queue(|queue| (queue.messages, queue.overflow) = (10, livefeed::Overflow::Block))
        .open()
        .unwrap();
    let monitor = monitor();
    let dialect = Stuck { counts: 0, going };
    let read = Feed::builder(lab.url()).name("read").stale_after(ms(300));
    let subscription = livefeed::Subscription::new("btc").subscribe_text("btc");
    let read = read.subscription(subscription).dialect(dialect).open().unwrap();
    for feed in [&handled, &blocked, &read] {
        monitor.add(feed).unwrap();
        let answer = until(&monitor, &format!("/health?feed={}", feed.name()), |answer| {
            println!("{}", String::from_utf8_lossy(&answer.body));
            answer.status == 503
                && answer.json()["last_signal_age_seconds"].as_f64().is_some_and(|age| age > 0.3)
        });
        assert_eq!(answer.json()["status"], "slow_consumer");
    }
    drop(go);
}
