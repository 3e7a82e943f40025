//! `probe`, as cron and containers use it.

use crate::common::{LinesOf, err, file, finish, livefeed, ms, out, run, said_goodbye, signal, status};
use livefeed::lab::{Command, Lab, Script, Topic};
use std::process::Output;
use std::time::{Duration, Instant};

fn lab(script: Script) -> Lab {
    Lab::start(script).unwrap()
}

fn steady() -> Lab {
    lab(Script::of_topics([Topic::new("btc").every(ms(5)).on_subscribe()]))
}

/// A file with these feeds, each with the subscriptions named.
fn config(name: &str, feeds: &[(&Lab, &[&str])]) -> String {
    let feeds: Vec<serde_json::Value> = feeds
        .iter()
        .enumerate()
        .map(|(at, (lab, topics))| {
            let subscriptions: Vec<_> = topics
                .iter()
                .map(|topic| serde_json::json!({"id": topic, "subscribe": topic, "data": {"pointer": "/topic", "equals": topic}}))
                .collect();
            serde_json::json!({"name": format!("feed{at}"), "url": lab.url(), "subscriptions": subscriptions})
        })
        .collect();
    file(name, &serde_json::json!({ "feeds": feeds }).to_string()).display().to_string()
}

/// Nothing on standard output, and this status.
#[track_caller]
fn silent(output: &Output, expected: i32) {
    status(output, expected);
    assert_eq!(out(output), "");
}

#[test]
fn fresh_data_is_status_0_and_says_nothing() {
    let lab = steady();
    let output = run(&["probe", "--subscribe", "btc", "--data", "/topic=btc", &lab.url()]);
    silent(&output, 0);
    assert_eq!(err(&output), "");
    said_goodbye(&lab, 1);
}

#[test]
fn no_data_is_status_1_after_the_time() {
    // It answers, and it pings, but it sends no data.
    let lab = lab(Script::new().heartbeats("{\"topic\":\"hb\"}", ms(10)));
    let begin = Instant::now();
    let output = run(&["probe", "--within", "400ms", "--data", "/topic=btc", &lab.url()]);
    silent(&output, 1);
    assert!(begin.elapsed() >= ms(400));
    assert!(
        err(&output).contains("within 400ms") && err(&output).contains("no data for what --data says"),
        "{}",
        err(&output)
    );
}

#[test]
fn each_subscription_is_waited_for() {
    let lab = steady();
    let both = config("probe-both.json", &[(&lab, &["btc", "eth"])]);
    let output = run(&["probe", "--within", "500ms", &both]);
    silent(&output, 1);
    assert!(err(&output).contains("no data for subscription eth\n"), "{}", err(&output));
    silent(&run(&["probe", &config("probe-one.json", &[(&lab, &["btc"])])]), 0);
}

#[test]
fn each_feed_of_a_configuration_is_waited_for() {
    let (well, mute) = (steady(), lab(Script::new()));
    let output = run(&[
        "probe",
        "--within",
        "500ms",
        &config("probe-mute.json", &[(&well, &["btc"]), (&mute, &["btc"])]),
    ]);
    silent(&output, 1);
    assert!(err(&output).contains("feed1: ") && !err(&output).contains("feed0"), "{}", err(&output));
    let other = steady();
    silent(&run(&["probe", &config("probe-two.json", &[(&well, &["btc"]), (&other, &["btc"])])]), 0);
    said_goodbye(&other, 1);
}

#[test]
fn it_waits_through_a_reconnect() {
    let lab = Lab::builder()
        .scripts(|connection| match connection {
            1 => Script::refuse(503),
            2 => Script::new().close(1001, "restart"),
            _ => Script::new().send("x"),
        })
        .start()
        .unwrap();
    silent(&run(&["probe", "--within", "15s", &lab.url()]), 0);
    assert_eq!(lab.connections(), 2, "the refused one is not counted");
}

#[test]
fn what_time_does_not_heal_ends_it_at_once() {
    let lab = lab(Script::refuse(401));
    let begin = Instant::now();
    let output = run(&["probe", "--within", "1h", &lab.url()]);
    silent(&output, 1);
    assert!(begin.elapsed() < Duration::from_secs(20));
    assert!(err(&output).contains("401") && err(&output).contains("--header-file"), "{}", err(&output));
}

#[test]
fn nobody_listening_is_said() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(&["probe", "--within", "300ms", &format!("ws://{closed}/")]);
    silent(&output, 1);
    assert!(
        err(&output).contains("no connection") && err(&output).contains("check host and port"),
        "{}",
        err(&output)
    );
}

#[test]
fn it_says_what_is_missing_by_the_words_of_the_command_line() {
    let lab = lab(Script::new());
    let output = run(&["probe", "--within", "200ms", "--subscribe", "btc", &lab.url()]);
    silent(&output, 1);
    assert!(err(&output).contains("no data for --subscribe 1\n"), "{}", err(&output));
    let output = run(&["probe", "-v", "--subscribe", "btc", &steady().url()]);
    silent(&output, 0);
    assert!(err(&output).contains(": fresh: data after 0."), "{}", err(&output));
}

#[test]
fn it_does_not_wait_for_an_answer_to_its_goodbye() {
    // It takes connections and bytes, and says nothing more.
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let output = run(&["probe", "--within", "300ms", &format!("ws://{}/", server.local_addr().unwrap())]);
    silent(&output, 1);
    assert!(err(&output).contains("has not answered yet"), "{}", err(&output));
    let lab = lab(Script::new().send("x").then(Command::Freeze));
    // The quickest of some, as the machine may have much else to do; an answer would be waited for by each.
    let took = (0..8).map(|_| {
        let begin = Instant::now();
        silent(&run(&["probe", &lab.url()]), 0);
        begin.elapsed()
    });
    let quickest = took.min().unwrap();
    assert!(quickest < ms(900), "{quickest:?}");
}

#[test]
fn wrong_arguments_are_status_2() {
    for (args, part) in [
        (vec![], "<URL|CONFIG>"),
        (vec!["http://h/"], "use ws:// or wss://"),
        (vec!["/no/such/file.toml"], "can't be read"),
        (vec!["--within", "soon", "ws://h/"], "1m30s"),
        (vec!["--data", "/a=b", "feeds.toml"], "put them into the file"),
    ] {
        let output = run(&[&["probe"], args.as_slice()].concat());
        silent(&output, 2);
        assert!(err(&output).contains(part), "{args:?}: {}", err(&output));
    }
}

#[test]
fn a_signal_ends_it_with_status_1() {
    let lab = lab(Script::new());
    let mut child = livefeed(&["probe", "-v", "--within", "1h", &lab.url()]).spawn().unwrap();
    LinesOf::new(child.stderr.take()).until("connected to");
    signal(child.id(), "TERM");
    silent(&finish(child), 1);
    said_goodbye(&lab, 1);
}
