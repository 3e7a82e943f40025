//! Limits on what is sent, batches, and many subscriptions at once.

use crate::common::{CEILING, feed, in_lab, ms, seen, until};
use crate::proto::{answers, asked, at_once, bare, brief, send, speaking, wishes};
use livefeed::lab::{Command, Incoming, Lab, Received, Script, What};
use livefeed::{
    AlertKind, ConnectPacing, Event, Feed, FeedBuilder, Keepalive, LoginStep, Matcher, Pacing, PacingScope,
    Rule, Subscription,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

fn sub(name: impl Into<String>) -> Subscription {
    Subscription::new(name.into())
}

fn many(builder: FeedBuilder, count: usize) -> FeedBuilder {
    (0..count).fold(builder, |builder, n| builder.subscription(sub(format!("s{n}"))))
}

/// When texts came in, on all connections.
fn received(lab: &Lab, wanted: impl Fn(&str) -> bool) -> Vec<Instant> {
    let transcript = lab.transcript();
    let at = transcript.entries().iter().filter_map(|entry| match &entry.what {
        What::Received(Received::Text(text)) if wanted(text) => Some(entry.at),
        _ => None,
    });
    at.collect()
}

/// They were not sent faster than `count` in each `per`, since before the first. The lab may see one late, and never early.
#[track_caller]
fn within(times: &[Instant], since: Instant, count: usize, per: Duration, lab: &Lab) {
    for (n, at) in times.iter().enumerate() {
        let least = per * u32::try_from(n / count).unwrap();
        assert!(*at - since >= least, "{n} after {:?}:\n{}", *at - since, lab.transcript());
    }
}

/// The CPU time of this thread of the process, in hundredths of a second.
#[cfg(target_os = "linux")]
fn ticks(name: &str) -> u64 {
    let threads =
        std::fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path().join("stat"));
    let stats = threads.filter_map(|path| std::fs::read_to_string(path).ok());
    let stat = stats.into_iter().find(|stat| stat.contains(&format!("({name})"))).unwrap();
    // After the name: the state is the third field, times of user and system are the 14th and 15th.
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    fields[11..13].iter().map(|field| field.parse::<u64>().unwrap()).sum()
}

#[test]
fn no_span_has_more_sends_than_the_limit() {
    let lab = Lab::start(Script::new()).unwrap();
    let begin = Instant::now();
    let feed = many(bare(&lab).pacing(Pacing::new(5, ms(200))), 20).open().unwrap();
    seen(&lab, |_| received(&lab, |_| true).len() == 20);
    let times = received(&lab, |_| true);
    within(&times, begin, 5, ms(200), &lab);
    let took = times[19] - begin;
    assert!(took < ms(1500), "{took:?}");
    // What the application sends counts with them.
    for n in 0..10 {
        drop(feed.send(format!("own {n}")).unwrap());
    }
    seen(&lab, |_| received(&lab, |_| true).len() == 30);
    within(&received(&lab, |_| true), begin, 5, ms(200), &lab);
}

#[test]
fn the_login_counts() {
    let lab = Lab::start(Script::new()).unwrap();
    let login = |n: usize| LoginStep::send_text(format!("login {n}"));
    let builder =
        (0..4).fold(bare(&lab).pacing(Pacing::new(5, ms(300))), |builder, n| builder.login(login(n)));
    let begin = Instant::now();
    let _feed = many(builder, 5).open().unwrap();
    seen(&lab, |_| received(&lab, |_| true).len() == 9);
    within(&received(&lab, |_| true), begin, 5, ms(300), &lab);
}

#[test]
fn while_paced_answers_go_first_and_nothing_spins() {
    let script = Script::new().react(|incoming| match incoming {
        Incoming::Text(text) if text.contains("s0") => {
            vec![Command::Pings(ms(10)), Command::Heartbeats(r#"{"ping":1}"#.into(), ms(10))]
        }
        _ => Vec::new(),
    });
    let lab = Lab::start(script).unwrap();
    let rule = Rule::heartbeat(Matcher::exists("/ping")).reply_json(json!({"pong": 1}));
    let begin = Instant::now();
    let feed = many(
        bare(&lab).name("pcd1").rule(rule).pacing(Pacing::new(1, ms(400)).of(PacingScope::Subscribes)),
        4,
    )
    .open()
    .unwrap();
    seen(&lab, |_| received(&lab, |text| text.contains("sub")).len() == 2);
    let receipt = feed.send("not of them").unwrap();
    feed.subscribe(sub("asked")).unwrap();
    let last = feed.send("last of all").unwrap();
    seen(&lab, |_| received(&lab, |text| text.contains("sub")).len() == 5);
    assert!(begin.elapsed() >= ms(1600), "{:?}", begin.elapsed());
    // A controller that asks again and again whether it may would use all of that time.
    #[cfg(target_os = "linux")]
    assert!(ticks("livefeed-c-pcd1") < 25, "{}", ticks("livefeed-c-pcd1"));
    assert_eq!(receipt.wait(CEILING), Ok(livefeed::Outcome::Written));
    assert_eq!(last.wait(CEILING), Ok(livefeed::Outcome::Written));
    seen(&lab, |_| received(&lab, |text| text == "last of all").len() == 1);
    let transcript = lab.transcript();
    let texts = transcript.received_texts(1);
    let place = |wanted: &str| texts.iter().position(|text| text.contains(wanted)).unwrap();
    // Nothing of the application's waits for those of the connection, which wait for a limit of their own; but what it
    // asked for itself keeps its order.
    assert!(place("not of them") < place("s2"), "{texts:?}");
    assert!(place("s3") < place("asked") && place("asked") < place("last of all"), "{texts:?}");
    // Each ping had its pong within a few milliseconds: none waited for the limit.
    let entries = transcript.entries();
    let mut asked = None;
    let mut pongs = 0;
    for entry in entries {
        match &entry.what {
            What::Sent { kind: livefeed::lab::Sent::Ping, .. } => asked = asked.or(Some(entry.at)),
            What::Received(Received::Pong(_)) => {
                pongs += 1;
                asked = None;
            }
            _ => {}
        }
    }
    assert!(pongs >= 40, "{pongs}");
    let replies = received(&lab, |text| text.contains("pong")).len();
    assert!(replies >= 40, "{replies}");
}

#[test]
fn under_a_limit_on_all_subscriptions_go_first() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = many(bare(&lab).pacing(Pacing::new(1, ms(200))), 3).open().unwrap();
    seen(&lab, |_| !received(&lab, |_| true).is_empty());
    let receipt = feed.send("last of all").unwrap();
    assert_eq!(receipt.wait(CEILING), Ok(livefeed::Outcome::Written));
    seen(&lab, |_| received(&lab, |_| true).len() == 4);
    assert_eq!(lab.transcript().received_texts(1)[3], "last of all");
}

#[test]
fn what_one_limit_holds_up_another_kind_need_not_wait_for() {
    // The application is over its limit; a new subscription is not.
    let lab = Lab::start(Script::new()).unwrap();
    let pacing = Pacing::new(1, Duration::from_secs(3)).of(PacingScope::Application);
    let feed = bare(&lab)
        .pacing(pacing)
        .subscription(sub("s0").stale_after(ms(300)).repair([livefeed::RepairStep::Resubscribe(ms(5000))]))
        .open()
        .unwrap();
    seen(&lab, |_| wishes(&lab, 1) == ["sub s0"]);
    drop(feed.send("one").unwrap());
    drop(feed.send("two").unwrap());
    seen(&lab, |_| received(&lab, |text| text == "one").len() == 1);
    let mark = Instant::now();
    // It is made again by the ladder, which comes before what the application sends.
    seen(&lab, |_| received(&lab, |text| text.contains("\"sub\"")).len() == 2);
    assert!(mark.elapsed() < ms(1500), "{:?}", mark.elapsed());
    assert_eq!(received(&lab, |text| text == "two").len(), 0);
}

#[test]
fn a_close_of_the_server_is_answered_while_sends_are_paced() {
    let lab = Lab::start(Script::new().react(|_| vec![Command::Close(1001, "bye".into())])).unwrap();
    let feed = many(bare(&lab).pacing(Pacing::new(1, ms(900))), 5).open().unwrap();
    let begin = Instant::now();
    until(&feed, |event| matches!(event, Event::Disconnected(_)));
    assert!(begin.elapsed() < ms(500), "{:?}:\n{}", begin.elapsed(), lab.transcript());
    in_lab(&lab, |what| matches!(what, What::Ended(livefeed::lab::End::Closed)));
}

#[test]
fn closing_does_not_wait_for_limits() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = many(bare(&lab).pacing(Pacing::new(1, Duration::from_secs(60))), 5).open().unwrap();
    seen(&lab, |_| wishes(&lab, 1).len() == 1);
    let begin = Instant::now();
    feed.close(CEILING).unwrap();
    assert!(begin.elapsed() < ms(700), "{:?}", begin.elapsed());
    in_lab(&lab, |what| matches!(what, What::Ended(livefeed::lab::End::Closed)));
}

#[test]
fn two_feeds_of_one_host_share_a_limit_that_says_so() {
    let lab = Lab::start(Script::new()).unwrap();
    // A limit that no other test of this process has.
    let pacing = || Pacing::new(5, ms(233)).shared();
    let open = || many(bare(&lab).pacing(pacing()), 10).open().unwrap();
    let begin = Instant::now();
    let feeds = [open(), open()];
    seen(&lab, |_| received(&lab, |_| true).len() == 20);
    within(&received(&lab, |_| true), begin, 5, ms(233), &lab);
    drop(feeds);
}

#[test]
fn attempts_to_connect_are_paced() {
    let lab = Lab::start(Script::refuse(500)).unwrap();
    let begin = Instant::now();
    let feed =
        feed(&lab).connect(|connect| connect.pacing = vec![ConnectPacing::new(3, ms(301))]).open().unwrap();
    let accepted = || {
        let transcript = lab.transcript();
        let accepted =
            transcript.entries().iter().filter(|entry| matches!(entry.what, What::Accepted { .. }));
        accepted.map(|entry| entry.at).collect::<Vec<_>>()
    };
    seen(&lab, |_| accepted().len() >= 8);
    within(&accepted(), begin, 3, ms(301), &lab);
    let mut attempts = Vec::new();
    until(&feed, |event| {
        if let Event::Connecting(connecting) = event {
            attempts.push(connecting.attempt);
        }
        attempts.len() == 2
    });
    assert!(attempts.is_sorted(), "{attempts:?}");
    let begin = Instant::now();
    feed.close(CEILING).unwrap();
    assert!(begin.elapsed() < ms(500));
}

#[test]
fn keepalives_are_not_paced_but_count() {
    let lab = Lab::start(Script::new()).unwrap();
    let beat = Keepalive::every(ms(50)).send_text("beat");
    let _feed = many(bare(&lab).pacing(Pacing::new(2, ms(500))).keepalive(beat), 3).open().unwrap();
    seen(&lab, |_| received(&lab, |text| text == "beat").len() == 8);
    let beats = received(&lab, |text| text == "beat");
    assert!(beats[7] - beats[0] < ms(1400), "{}", lab.transcript());
}

// ---- batches ---------------------------------------------------------------------------------------------------

fn batched(lab: &Lab) -> FeedBuilder {
    feed(lab)
        .rule(Rule::ack(Matcher::exists("/ack")).by_id("/ack"))
        .rule(Rule::nack(Matcher::exists("/nack")).by_id("/nack").detail("/msg"))
        .defaults(|terms| {
            terms
                .subscribe_json(json!({"op": "sub", "id": "${id}", "chs": {"$each": "${name}"}}))
                .unsubscribe_json(json!({"op": "unsub", "id": "${id}", "ch": "${name}"}))
                .data(Matcher::pointer("/ch", "${name}"))
        })
}

/// Asked with a list.
fn list(text: &str) -> (u64, Vec<String>) {
    let json: Value = serde_json::from_str(text).unwrap();
    let names = json["chs"].as_array().into_iter().flatten();
    (json["id"].as_u64().unwrap(), names.map(|name| name.as_str().unwrap().to_owned()).collect())
}

fn granting_lists() -> Script {
    Script::new().reply(|text| {
        let (id, names) = list(text);
        if names.iter().any(|name| name == "poison") {
            return vec![json!({"nack": id, "msg": "bad member"}).to_string()];
        }
        vec![json!({"ack": id}).to_string()]
    })
}

#[track_caller]
fn until_subscribed(feed: &Feed, count: usize) -> BTreeMap<String, usize> {
    let mut all = BTreeMap::new();
    until(feed, |event| {
        if let Event::Subscribed(subscribed) = event {
            *all.entry(subscribed.subscription.as_str().to_owned()).or_default() += 1;
        }
        all.len() == count
    });
    all
}

#[test]
fn batches_are_bounded_by_members_and_by_bytes() {
    let lab = Lab::start(granting_lists()).unwrap();
    let feed = many(batched(&lab).batch(7, 65_536), 30).open().unwrap();
    assert!(until_subscribed(&feed, 30).values().all(|count| *count == 1));
    let sizes: Vec<_> = lab.transcript().received_texts(1).iter().map(|text| list(text).1.len()).collect();
    assert_eq!(sizes, [7, 7, 7, 7, 2]);
    drop(feed);
    let feed = many(batched(&lab).batch(100, 150), 30).open().unwrap();
    assert!(until_subscribed(&feed, 30).values().all(|count| *count == 1));
    let transcript = lab.transcript();
    let texts = transcript.received_texts(2);
    assert!(texts.iter().all(|text| text.len() <= 150) && texts.len() < 10, "{texts:?}");
    let names: Vec<_> = texts.iter().flat_map(|text| list(text).1).collect();
    assert_eq!(names, (0..30).map(|n| format!("s{n}")).collect::<Vec<_>>());
}

#[test]
fn a_poisoned_batch_is_halved_until_the_member_is_found() {
    let lab = Lab::start(granting_lists()).unwrap();
    let builder = many(batched(&lab).batch(100, 65_536), 13).subscription(sub("poison"));
    let feed =
        (13..32).fold(builder, |builder, n| builder.subscription(sub(format!("s{n}")))).open().unwrap();
    let mut refused = Vec::new();
    let mut subscribed = Vec::new();
    until(&feed, |event| {
        match event {
            Event::Subscribed(event) => {
                assert!(
                    !subscribed.contains(&event.subscription),
                    "{}:\n{}",
                    event.subscription,
                    lab.transcript()
                );
                subscribed.push(event.subscription.clone());
            }
            Event::Refused(event) => {
                refused.push((event.subscription.as_str().to_owned(), event.detail.clone()))
            }
            _ => {}
        }
        subscribed.len() == 32 && !refused.is_empty()
    });
    assert_eq!(refused, [("poison".to_owned(), "bad member".to_owned())]);
    // 33 members: the whole, and two halves on each of at most six levels.
    assert!(lab.transcript().received_texts(1).len() <= 13, "{}", lab.transcript());
    assert_eq!(lab.connections(), 1);
}

#[test]
fn one_member_that_can_not_be_made_does_not_take_the_others_along() {
    let lab = Lab::start(granting_lists()).unwrap();
    // Only the one has no cursor: its data never came.
    let template =
        json!({"op": "sub", "id": "${id}", "chs": {"$each": "${name}"}, "from": {"$each": "${cursor}"}});
    let builder =
        batched(&lab).batch(100, 65_536).defaults(move |terms| terms.cursor("/n").subscribe_json(template));
    let feed = many(builder, 5).open().unwrap();
    // None has one at first: each fails for itself, and is said.
    let mut failed = Vec::new();
    until(&feed, |event| {
        if let Event::Alert(alert) = event
            && let AlertKind::SubscribeFailed { subscription, .. } = &alert.kind
        {
            failed.push(subscription.as_str().to_owned());
        }
        failed.len() == 5
    });
    lab.control().all(at_once(&["s0", "s1", "s3", "s4"].map(|ch| json!({"ch": ch, "n": 7}))));
    until(&feed, |event| brief(event).starts_with("s4 {"));
    lab.control().drop_connections();
    let all = until_subscribed(&feed, 4);
    assert_eq!(all.keys().collect::<Vec<_>>(), ["s0", "s1", "s3", "s4"]);
}

// ---- many ------------------------------------------------------------------------------------------------------

#[test]
fn ten_thousand_subscriptions_in_batches() {
    let lab = Lab::start(granting_lists()).unwrap();
    let begin = Instant::now();
    let feed = many(batched(&lab).batch(100, 65_536), 10_000).open().unwrap();
    let opened = begin.elapsed();
    let all = until_subscribed(&feed, 10_000);
    let took = begin.elapsed();
    println!("opened after {opened:?}, subscribed after {took:?}");
    assert!(all.values().all(|count| *count == 1));
    assert!(took < Duration::from_secs(60), "{took:?}");
    let transcript = lab.transcript();
    let texts = transcript.received_texts(1);
    assert_eq!(texts.len(), 100);
    let mut names: Vec<_> = texts.iter().flat_map(|text| list(text).1).collect();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), 10_000);
    assert_eq!(lab.connections(), 1);
}

/// How long so many take, each in a message of its own and acknowledged by itself.
fn one_by_one(count: usize) -> (Duration, Duration) {
    let lab = Lab::start(answers(|it| vec![send(&json!({"ack": it.id}))])).unwrap();
    let builder = many(speaking(&lab), count);
    let begin = Instant::now();
    let feed = builder.open().unwrap();
    assert!(until_subscribed(&feed, count).values().all(|times| *times == 1));
    let subscribed = begin.elapsed();
    let begin = Instant::now();
    for n in 0..count {
        feed.unsubscribe(format!("s{n}")).unwrap();
    }
    seen(&lab, |entry| match &entry.what {
        What::Received(Received::Text(text)) => {
            asked(text).op == "unsub" && asked(text).ch == format!("s{}", count - 1)
        }
        _ => false,
    });
    let ended = begin.elapsed();
    feed.close(CEILING).unwrap();
    (subscribed, ended)
}

#[test]
fn ten_thousand_acknowledgements_take_four_times_what_a_quarter_takes() {
    // What else the machine does only adds: the shortest times of a few rounds tell how it grows.
    let shorter =
        |one: (Duration, Duration), other: (Duration, Duration)| (one.0.min(other.0), one.1.min(other.1));
    let (mut few, mut many) = ((Duration::MAX, Duration::MAX), (Duration::MAX, Duration::MAX));
    let in_line = |few: Duration, many: Duration| many < few.saturating_mul(10).saturating_add(ms(500));
    for _ in 0..5 {
        few = shorter(few, one_by_one(2_500));
        many = shorter(many, one_by_one(10_000));
        println!("2,500: {few:?}; 10,000: {many:?}");
        if in_line(few.0, many.0) && in_line(few.1, many.1) && many.0 < Duration::from_secs(10) {
            return;
        }
    }
    panic!("2,500: {few:?}; 10,000: {many:?}");
}
