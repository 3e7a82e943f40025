//! `tail`, as scripts use it.

use crate::common::{
    CEILING, LinesOf, err, file, finish, is_ignored, livefeed, ms, out, run, said_goodbye, seen, signal,
    status,
};
use livefeed::lab::{Command, Flood, Lab, Received, Script, Topic, What};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Instant;

fn lab(script: Script) -> Lab {
    Lab::start(script).unwrap()
}

/// Three messages, then nothing.
fn three() -> Lab {
    lab(Script::new().send("{\"n\":1}").send("two").then(Command::SendBinary(vec![1, 2, 3])))
}

#[test]
fn wrong_arguments_are_told_with_what_would_be_right() {
    let url = "ws://127.0.0.1:1/";
    for (args, part) in [
        (vec![], "<URL|CONFIG>"),
        (vec!["--no-such-flag", url], "--no-such-flag"),
        (vec!["--stale-aftr", "1s", url], "--stale-after"),
        (vec!["--stale-after", "2x", url], "500ms, 2s or 1m30s"),
        (vec!["--for", "2", url], "500ms, 2s or 1m30s"),
        (vec!["--count", "0", url], "--count"),
        (vec!["--data", "type=x", url], "/pointer=value"),
        (vec!["--subscribe", "{op:1}", url], "single quotes"),
        (vec!["--subscribe", "@/no/such/file", url], "can't be read"),
        (vec!["--header", "hunter2", url], "'Name: value'"),
        (vec!["--preset", "krak"], "kraken-v2"),
        (vec!["--preset", "alpaca"], "--credential key=@FILE"),
        (vec!["--topic", "btc", url], "--preset"),
        (vec!["--preset", "kraken-v2", "--topic", "btc", "--topic", "btc"], "is there twice"),
        (vec!["--for", "5M", url], "m for minutes"),
        (vec!["--on-alert", "", url], "--on-alert"),
        (vec!["--health", ":9090", url], "127.0.0.1:9090"),
        (
            vec!["--ca-file", "/no/such/file", "wss://127.0.0.1:1/"],
            if cfg!(feature = "native-tls") { "tls.ca_file" } else { "native-tls" },
        ),
        (vec!["http://127.0.0.1:1/"], "use ws:// or wss://"),
        (vec!["127.0.0.1:1"], "use ws:// or wss://"),
        (vec!["ws://"], "host"),
    ] {
        let output = run(&[&["tail"], args.as_slice()].concat());
        status(&output, 2);
        assert_eq!(out(&output), "", "{args:?}");
        assert!(
            err(&output).contains(part) && !err(&output).contains("hunter2"),
            "{args:?}: {}",
            err(&output)
        );
    }
}

#[test]
fn raw_lines_are_the_payloads_and_nothing_else() {
    let lab = three();
    let output = run(&["tail", "--count", "3", &lab.url()]);
    status(&output, 0);
    assert_eq!((out(&output).as_str(), err(&output).as_str()), ("{\"n\":1}\ntwo\nAQID\n", ""));
    said_goodbye(&lab, 1);
}

#[test]
fn json_lines_are_the_events() {
    let lab = three();
    let output = run(&["tail", "--format", "json", "--count", "3", "--name", "f", &lab.url()]);
    status(&output, 0);
    assert_eq!(err(&output), "");
    let events: Vec<Value> = out(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(names[..5], ["connecting", "connected", "message", "message", "message"]);
    assert_eq!(names.last(), Some(&"closed"));
    assert_eq!(events[2]["text"], "{\"n\":1}");
    assert_eq!(events[4]["binary"], "AQID");
    assert!(events.iter().all(|event| event["feed"] == "f"));
    crate::schema::check(&events);
}

#[test]
fn verbose_is_on_standard_error_alone() {
    let lab = three();
    let output = run(&["tail", "-v", "--count", "1", &lab.url()]);
    status(&output, 0);
    assert_eq!(out(&output), "{\"n\":1}\n");
    assert!(
        err(&output).contains("connecting to ws://") && err(&output).contains("epoch 1"),
        "{}",
        err(&output)
    );
    let log = run(&["tail", "-vv", "--count", "1", &lab.url()]);
    assert!(err(&log).contains(" INFO ") && !err(&output).contains(" INFO "), "{}", err(&log));
    assert_eq!(out(&log), "{\"n\":1}\n");
}

#[test]
fn what_is_asked_for_reaches_the_server() {
    let lab = lab(Script::new().until_subscribe().send("x"));
    let text = file("tail-sub.json", "{\"subscribe\": \"b\"}\n");
    let headers = file("tail-headers", "# secrets\nX-File: from-file\n");
    let subscribe = format!("@{}", text.display());
    let child = livefeed(&[
        "tail",
        "--count",
        "1",
        "--subscribe",
        "{\"subscribe\": \"a\"}",
        "--subscribe",
        &subscribe,
    ])
    .args([
        "--subscribe",
        "{\"subscribe\":\"c\",\"id\":\"${id}\"}",
        "--subprotocol",
        "v1",
        "--subprotocol",
        "v2",
    ])
    .args(["--header-file", &headers.display().to_string(), "--header", "X-Env: Bearer @env:LF_TEST"])
    .env("LF_TEST", "from-env")
    .arg(lab.url())
    .spawn();
    status(&finish(child.unwrap()), 0);
    let transcript = lab.transcript();
    // Text is sent as it was written; with placeholders it is filled in.
    let texts = transcript.received_texts(1);
    assert_eq!(texts[..2], ["{\"subscribe\": \"a\"}", "{\"subscribe\": \"b\"}"]);
    assert!(serde_json::from_str::<Value>(texts[2]).unwrap()["id"].is_u64(), "{texts:?}");
    let request = transcript.request(1).unwrap();
    assert_eq!(request.header("x-file"), Some("from-file"));
    assert_eq!(request.header("x-env"), Some("Bearer from-env"));
    assert_eq!(request.header("sec-websocket-protocol"), Some("v1, v2"));
}

#[test]
fn a_preset_speaks_its_protocol() {
    let lab = lab(Script::new().reply(|text| {
        let asked: Value = serde_json::from_str(text).unwrap();
        let symbol = asked["params"]["symbol"][0].clone();
        vec![serde_json::json!({"channel": "ticker", "data": [{"symbol": symbol, "last": 1}]}).to_string()]
    }));
    let output =
        run(&["tail", "--preset", "kraken-v2", "--topic", "btc,symbol=SOL/USD", "--count", "1", &lab.url()]);
    status(&output, 0);
    assert_eq!(out(&output), "{\"channel\":\"ticker\",\"data\":[{\"last\":1,\"symbol\":\"SOL/USD\"}]}\n");
    assert_eq!(lab.transcript().received_texts(1).len(), 1, "only that topic");
}

#[test]
fn signals_end_it_with_the_close_handshake() {
    for name in ["INT", "TERM", "HUP"] {
        if is_ignored(name) {
            continue; // this was started so, and so is what it starts
        }
        let lab = lab(Script::of_topics([Topic::new("btc").every(ms(5))]));
        let mut child = livefeed(&["tail", "--format", "json", &lab.url()]).spawn().unwrap();
        let mut lines = LinesOf::new(child.stdout.take());
        lines.until("\"message\"");
        signal(child.id(), name);
        let last = lines.until("\"closed\"");
        assert!(last.contains("closed by user"), "{last}");
        assert_eq!(lines.line(), "");
        let output = finish(child);
        status(&output, 0);
        assert_eq!(err(&output), "");
        said_goodbye(&lab, 1);
    }
}

#[test]
fn head_ends_it_quietly() {
    let lab = lab(Script::new().flood(Flood::of_size(100)));
    let mut child = livefeed(&["tail", &lab.url()]).spawn().unwrap();
    let mut lines = LinesOf::new(child.stdout.take());
    assert!(lines.line().contains("flood"));
    drop(lines);
    let output = finish(child);
    status(&output, 0);
    assert_eq!(err(&output), "");
}

#[test]
#[cfg(unix)]
fn it_ends_without_data_when_its_reader_is_gone() {
    let lab = lab(Script::new().send("once"));
    let mut child = livefeed(&["tail", "--stale-after", "none", &lab.url()]).spawn().unwrap();
    let mut lines = LinesOf::new(child.stdout.take());
    assert_eq!(lines.line(), "once\n");
    drop(lines);
    status(&finish(child), 0);
    said_goodbye(&lab, 1);
}

#[test]
fn a_reader_that_is_stuck_does_not_keep_it_from_ending() {
    let lab = lab(Script::new().flood(Flood::of_size(1000)));
    let mut child = livefeed(&["tail", &lab.url()]).spawn().unwrap();
    let mut stuck = child.stdout.take().unwrap();
    let mut first = [0];
    stuck.read_exact(&mut first).unwrap();
    signal(child.id(), "TERM");
    let output = finish(child);
    status(&output, 1);
    assert!(err(&output).contains("what is left is lost"), "{}", err(&output));
    said_goodbye(&lab, 1);
}

#[test]
fn a_refused_upgrade_ends_it_with_what_to_do() {
    for (code, part) in [(401, "--header-file"), (404, "path of the URL")] {
        let lab = lab(Script::refuse(code));
        let output = run(&["tail", &lab.url()]);
        status(&output, 1);
        assert_eq!(out(&output), "");
        let text = err(&output);
        let last = text.lines().last().unwrap();
        assert!(
            last.starts_with("livefeed: ") && last.contains(&code.to_string()) && last.contains(part),
            "{text}"
        );
    }
}

#[test]
fn it_gives_up_after_so_many_reconnects() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("ws://{closed}/");
    for (reconnects, lines) in [("0", 0), ("1", 1)] {
        let output = run(&["tail", "--max-reconnects", reconnects, &url]);
        status(&output, 1);
        let text = err(&output);
        assert_eq!(text.matches("no connection: ").count(), lines, "{text}");
        assert!(text.lines().last().unwrap().contains("check host and port"), "{text}");
    }
    let quiet = run(&["tail", "-q", "--max-reconnects", "1", &url]);
    assert_eq!(err(&quiet).lines().count(), 1, "{}", err(&quiet));
    // The end of a connection that had data is one too.
    let lab = lab(Script::new().send("x").close(1000, ""));
    let output = run(&["tail", "--max-reconnects", "0", &lab.url()]);
    status(&output, 1);
    assert_eq!((out(&output).as_str(), lab.connections()), ("x\n", 1));
}

#[test]
fn gaps_and_staleness_are_told() {
    let lab = Lab::builder()
        .scripts(|connection| match connection {
            1 => Script::new().send("first").close(1001, "bye"),
            2 => Script::new().send("second"),
            _ => Script::new().send("third"),
        })
        .start()
        .unwrap();
    let output = run(&["tail", "--stale-after", "300ms", "--count", "3", &lab.url()]);
    status(&output, 0);
    assert_eq!(out(&output), "first\nsecond\nthird\n");
    let text = err(&output);
    for part in [
        "disconnected: closed by peer: 1001 \"bye\"; next attempt in ",
        "gap: reconnected",
        "stale (silent) for 0.3",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn heartbeats_are_no_data() {
    let beats = || Script::new().send("{\"t\":\"x\"}").heartbeats("{\"t\":\"hb\"}", ms(20));
    let lab = lab(beats());
    let args = ["--stale-after", "300ms", "--max-reconnects", "0", &lab.url()];
    for matcher in [["--heartbeat", "/t=hb"], ["--data", "/t=x"]] {
        let output = run(&[&["tail"], matcher.as_slice(), &args].concat());
        status(&output, 1);
        assert!(
            err(&output).contains("stale: no data") && err(&output).contains("--stale-after"),
            "{}",
            err(&output)
        );
    }
}

#[test]
fn it_ends_after_a_time() {
    let lab = lab(Script::new().send("x"));
    let output = run(&["tail", "--for", "300ms", &lab.url()]);
    status(&output, 0);
    assert_eq!((out(&output).as_str(), err(&output).as_str()), ("x\n", ""));
    said_goodbye(&lab, 1);
    let output = run(&["tail", "--for", "300ms", "--count", "2", &lab.url()]);
    status(&output, 1);
    assert!(err(&output).contains("fewer than 2 messages came within 300ms"), "{}", err(&output));
}

#[test]
fn a_full_disk_is_a_failure() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else { return };
    let lab = lab(Script::new().send("x"));
    let output = finish(livefeed(&["tail", &lab.url()]).stdout(full).spawn().unwrap());
    status(&output, 1);
    assert!(err(&output).starts_with("livefeed: standard output: "), "{}", err(&output));
}

#[test]
fn its_health_can_be_asked() {
    let lab = lab(Script::of_topics([Topic::new("btc").every(ms(5))]));
    let mut child = livefeed(&["tail", "--health", "0", "--name", "btc", &lab.url()]).spawn().unwrap();
    let line = LinesOf::new(child.stderr.take()).until("health at http://");
    let addr = line.trim_end().trim_end_matches('/').rsplit('/').next().unwrap().to_owned();
    LinesOf::new(child.stdout.as_mut()).line();
    let mut socket = TcpStream::connect(&addr).unwrap();
    socket.set_read_timeout(Some(CEILING)).unwrap();
    write!(socket, "GET /health?feed=btc HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"fresh\""), "{answer}");
    // A port that is taken is said.
    let output = run(&["tail", "--health", &addr, &lab.url()]);
    status(&output, 1);
    assert!(err(&output).contains(&addr) && err(&output).contains("another port"), "{}", err(&output));
    signal(child.id(), "TERM");
    drop(child.stdout.take());
    status(&finish(child), 0);
}

/// A server whose second connection is refused, which is an alert.
fn alerting() -> Lab {
    Lab::builder()
        .scripts(|connection| match connection {
            1 => Script::new().send("x").close(1000, ""),
            _ => Script::refuse(403),
        })
        .start()
        .unwrap()
}

#[test]
#[cfg(unix)]
fn a_command_is_run_for_alerts() {
    let lab = alerting();
    let path = file("tail-alert", "");
    let command =
        format!("{{ cat; echo \"$LIVEFEED_ALERT\"; }} > {0}.new; mv {0}.new {0}; echo told", path.display());
    let mut child = livefeed(&["tail", "--on-alert", &command, "--name", "f", &lab.url()]).spawn().unwrap();
    let told = LinesOf::new(child.stderr.take()).until("told");
    assert_eq!(told, "told\n");
    signal(child.id(), "TERM");
    let output = finish(child);
    status(&output, 0);
    assert_eq!(out(&output), "x\n", "what the command prints is no payload");
    let text = std::fs::read_to_string(&path).unwrap();
    let (json, sentence) = text.split_once('\n').unwrap();
    let alert: Value = serde_json::from_str(json).unwrap();
    assert_eq!((alert["event"].as_str(), alert["kind"].as_str()), (Some("alert"), Some("needs_attention")));
    assert_eq!(alert["feed"], "f");
    assert!(sentence.contains("403"), "{sentence}");
    crate::schema::check(&[alert]);
}

#[test]
#[cfg(unix)]
fn a_command_for_alerts_does_not_outlive_it() {
    let lab = alerting();
    let mut child =
        livefeed(&["tail", "--on-alert", "echo begun; sleep 60; true", &lab.url()]).spawn().unwrap();
    let mut lines = LinesOf::new(child.stderr.take());
    lines.until("begun");
    let begin = Instant::now();
    signal(child.id(), "TERM");
    status(&finish(child), 0);
    // All that it started has standard error too: when all of it is gone, that is at its end.
    while !lines.line().is_empty() {}
    assert!(begin.elapsed() < CEILING);
}

#[test]
fn failing_commands_are_told() {
    let lab = alerting();
    let mut child = livefeed(&["tail", "--on-alert", "exit 3", &lab.url()]).spawn().unwrap();
    let line = LinesOf::new(child.stderr.take()).until("the command for alerts");
    assert!(line.contains('3'), "{line}");
    signal(child.id(), "TERM");
    status(&finish(child), 0);
}

#[test]
fn secrets_are_not_shown() {
    let lab = lab(Script::refuse(401));
    let url = lab.url().replace("ws://", "ws://me:hunter2@") + "?token=hunter2";
    let output = finish(
        livefeed(&["tail", "-vvv", "--header", "X: hunter2", "--subscribe", "hunter2", &url])
            .env("RUST_LOG", "trace")
            .spawn()
            .unwrap(),
    );
    status(&output, 1);
    assert!(err(&output).contains("401") && !err(&output).contains("hunter2"), "{}", err(&output));
    seen(&lab, |entry| matches!(&entry.what, What::Refused { status: 401 }));
    assert!(
        !lab.transcript()
            .entries()
            .iter()
            .any(|entry| matches!(entry.what, What::Received(Received::Text(_))))
    );
}

#[test]
fn a_file_with_one_feed_takes_the_place_of_the_url() {
    let lab = lab(Script::of_topics([Topic::new("btc").every(ms(5)).on_subscribe()]));
    let feed = |name: &str| serde_json::json!({"name": name, "url": lab.url(), "subscriptions": [{"id": "btc", "subscribe": "btc"}]});
    let one =
        file("tail-one.json", &serde_json::json!({"feeds": [feed("one")]}).to_string()).display().to_string();
    let output = run(&["tail", "--count", "2", "--format", "json", &one]);
    status(&output, 0);
    let messages: Vec<Value> = out(&output)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .filter(|event| event["event"] == "message")
        .collect();
    assert_eq!(messages.len(), 2);
    assert!(
        messages.iter().all(|event| event["feed"] == "one" && event["subscriptions"][0] == "btc"),
        "{messages:?}"
    );

    let two = file("tail-two.json", &serde_json::json!({"feeds": [feed("one"), feed("two")]}).to_string());
    for (args, part) in [
        (vec![two.to_str().unwrap()], "has 2 feeds"),
        (vec!["--stale-after", "5s", &one], "put them into the file"),
        (vec!["/no/such/feed.json"], "can't be read"),
    ] {
        let output = run(&[&["tail"], args.as_slice()].concat());
        status(&output, 2);
        assert!(err(&output).contains(part), "{args:?}: {}", err(&output));
    }
}
