//! `record` and `replay`: what goes in comes out again, whatever ends the recording.

use crate::common::{CEILING, err as stderr, finish, livefeed, ms, next, run, signal, text};
use crate::running::Running;
use crate::scratch::Scratch;
use livefeed::lab::{Command, Cue, End, Lab, Playback, Script, Topic, What};
use livefeed::{EndReason, Event, Feed};
use serde_json::Value;
use std::process::Output;
use std::time::Instant;

/// Records until it ends by itself.
#[track_caller]
fn record(url: &str, file: &str, more: &[&str]) -> Output {
    let args = [&["record", url, "-o", file, "--stale-after", "none"], more].concat();
    let output = run(&args);
    assert!(output.stdout.is_empty(), "{output:?}");
    output
}

/// What `replay --print` prints.
#[track_caller]
fn printed(file: &str) -> Vec<Value> {
    let output = run(&["replay", file, "--print"]);
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The texts of the frames that went this way.
fn texts(records: &[Value], direction: &str) -> Vec<String> {
    let wanted =
        records.iter().filter(|record| record["direction"] == direction && record["record"] == "text");
    wanted.map(|record| record["text"].as_str().unwrap().to_owned()).collect()
}

/// A feed that reconnects soon, but not before the end is read: an attempt that fails then would be folded with it.
fn feed(url: &str) -> Feed {
    let builder = Feed::builder(url).no_stale_limit();
    builder.reconnect(|r| (r.floor, r.first, r.max) = (ms(300), ms(400), ms(500))).open().unwrap()
}

#[track_caller]
fn end(feed: &Feed) -> EndReason {
    match next(feed) {
        Event::Disconnected(end) => end.reason,
        other => panic!("no end: {other:?}"),
    }
}

/// Starts a replay; its URL.
#[track_caller]
fn replay(file: &str, more: &[&str]) -> (Running, String) {
    let mut server = Running::start(&[&["replay", file, "--listen", "127.0.0.1:0"], more].concat());
    let url = server.says("listening at ");
    (server, url)
}

#[test]
fn what_was_recorded_is_replayed() {
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let topic = Topic::new("btc").every(ms(1)).on_subscribe().ack(r#"{"ok":"btc"}"#);
    let lab = Lab::start(Script::new().topics([topic]).then(Command::Pings(ms(5)))).unwrap();
    let output = record(&lab.url(), file, &["--subscribe", r#"{"subscribe":"btc"}"#, "--count", "200"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(stderr(&output).contains("recorded 200 messages of 1 connection, "), "{output:?}");
    let length = std::fs::metadata(file).unwrap().len();
    assert!(stderr(&output).contains(&format!(", {length} bytes")), "{length}: {output:?}");
    assert!(stderr(&output).starts_with("livefeed: recording to "), "{output:?}");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    let records = printed(file);
    assert_eq!(records[0]["record"], "start");
    assert_eq!(texts(&records, "sent"), [r#"{"subscribe":"btc"}"#]);
    let received = texts(&records, "received");
    assert_eq!(received.len(), 200);
    assert_eq!(received[0], r#"{"ok":"btc"}"#);
    let control =
        |kind: &str, way: &str| records.iter().any(|r| r["record"] == *kind && r["direction"] == *way);
    assert!(control("ping", "received") && control("pong", "sent") && control("close", "sent"));
    let times: Vec<f64> = records.iter().map(|record| record["at_seconds"].as_f64().unwrap()).collect();
    assert!(times.last().unwrap() - times[1] >= 0.19, "{times:?}");

    let (mut server, url) = replay(file, &["--speed", "max", "--once"]);
    let feed = feed(&url);
    for expected in &received {
        assert_eq!(text(&feed), *expected);
    }
    let end = end(&feed);
    assert!(
        matches!(end, EndReason::ClosedByPeer { code: Some(1000), .. }),
        "{end:?}: {:#?}",
        records.last()
    );
    assert!(server.ends().success());
    feed.close(CEILING).unwrap();
}

#[test]
fn it_is_replayed_no_faster_than_asked() {
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let cues = || (0..5).map(|n| Cue::At(ms(n * 100), Command::Send(n.to_string())));
    let lab = Lab::start(Script::new().play(Playback::new(move |_| cues()))).unwrap();
    assert!(record(&lab.url(), file, &["--count", "5"]).status.success());
    let records = printed(file);
    let at = |record: &Value| record["at_seconds"].as_f64().unwrap();
    let begins = records.iter().find(|record| record["epoch"] == 1).map(at).unwrap();
    let last = records.iter().filter(|record| record["text"].is_string()).map(at).next_back().unwrap();
    assert!(last - begins >= 0.2, "{records:#?}");
    for speed in [1.0, 2.0] {
        let (_server, url) = replay(file, &["--speed", &speed.to_string()]);
        let begin = Instant::now();
        let feed = feed(&url);
        for n in 0..5 {
            assert_eq!(text(&feed), n.to_string());
        }
        let took = begin.elapsed().as_secs_f64();
        assert!(took >= (last - begins) / speed - 0.002, "{speed}: {took} of {}", last - begins);
    }
}

#[test]
fn each_connection_ends_as_it_did_and_all_can_be_joined() {
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let lab = Lab::builder()
        .scripts(|connection| {
            let script = Script::new().send(format!("of {connection}"));
            match connection {
                1 => script.close(1013, "later"),
                2 => script.then(Command::Fin),
                3 => script.for_(ms(100)).reset(),
                _ => script.send("last"),
            }
        })
        .start()
        .unwrap();
    let output = record(&lab.url(), file, &["--count", "5"]);
    assert!(stderr(&output).contains("5 messages of 4 connections"), "{output:?}");

    let (mut server, url) = replay(file, &["--once"]);
    let feed = feed(&url);
    for connection in 1..=4 {
        assert_eq!(text(&feed), format!("of {connection}"));
        if connection == 4 {
            assert_eq!(text(&feed), "last");
        }
        let end = end(&feed);
        let right = match connection {
            1 => matches!(end, EndReason::ClosedByPeer { code: Some(1013), ref reason } if reason == "later"),
            2 => end == EndReason::Eof,
            3 => matches!(end, EndReason::Io { .. }),
            _ => matches!(end, EndReason::ClosedByPeer { code: Some(1000), .. }),
        };
        assert!(right, "{connection}: {end:?}");
    }
    assert!(server.ends().success());
    feed.close(CEILING).unwrap();

    let (_server, url) = replay(file, &["--joined", "--speed", "max"]);
    let feed = self::feed(&url);
    for expected in ["of 1", "of 2", "of 3", "of 4", "last"] {
        assert_eq!(text(&feed), expected);
    }
    assert!(matches!(end(&feed), EndReason::ClosedByPeer { code: Some(1000), .. }));
}

#[test]
fn in_step_answers_come_after_what_they_answer() {
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let script = Script::new().send("hello").until_text(|text| text == "sub").send("granted");
    let lab = Lab::start(script).unwrap();
    assert!(record(&lab.url(), file, &["--subscribe", "sub", "--count", "2"]).status.success());
    let (_server, url) = replay(file, &["--in-step", "--speed", "max"]);
    let feed = feed(&url);
    // What the server said before it was asked may be recorded behind the question.
    feed.wait_connected(CEILING).unwrap();
    assert!(matches!(feed.recv_timeout(ms(100)), Ok(Event::Connecting(_) | Event::Connected(_))));
    let mut early = Vec::new();
    while let Ok(event) = feed.recv_timeout(ms(100)) {
        early.extend(event.into_message().map(|message| message.text().unwrap().to_owned()));
    }
    assert!(!early.contains(&"granted".to_owned()), "{early:?}");
    drop(feed.send("anything").unwrap());
    while early.len() < 2 {
        early.push(text(&feed));
    }
    assert_eq!(early, ["hello", "granted"]);
}

#[test]
fn a_recording_is_not_written_over_by_mistake_and_can_be_gone_on_with() {
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let lab = Lab::start(Script::new().send("a").send("b")).unwrap();
    assert!(record(&lab.url(), file, &["--count", "2"]).status.success());
    let before = std::fs::read(file).unwrap();
    let output = record(&lab.url(), file, &["--count", "2"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--append"), "{output:?}");
    assert_eq!(std::fs::read(file).unwrap(), before);

    // A torn tail is cut off, and what comes then can be read.
    std::fs::write(file, [before.as_slice(), &[1, 2, 3]].concat()).unwrap();
    let output = run(&["replay", file, "--print"]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("was not written in whole"), "{output:?}");
    let output = record(&lab.url(), file, &["--count", "2", "--append"]);
    assert!(output.status.success());
    assert!(stderr(&output).contains("cut off 3 bytes"), "{output:?}");
    assert_eq!(texts(&printed(file), "received"), ["a", "b", "a", "b"]);
    assert_eq!(std::fs::read(file).unwrap()[..before.len()], before);

    // What is damaged is left alone.
    let mut damaged = std::fs::read(file).unwrap();
    damaged[before.len() - 1] ^= 1;
    std::fs::write(file, &damaged).unwrap();
    let output = record(&lab.url(), file, &["--count", "2", "--append"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("damaged at byte"), "{output:?}");
    assert_eq!(std::fs::read(file).unwrap(), damaged);

    assert!(record(&lab.url(), file, &["--count", "1", "--overwrite"]).status.success());
    assert_eq!(texts(&printed(file), "received"), ["a"]);
    let other = dir.file("notes.txt", "no recording");
    let output = record(&lab.url(), &other, &["--append"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "no recording");
    assert_eq!(run(&["replay", &other]).status.code(), Some(2));
}

#[test]
fn an_attempt_that_failed_does_not_keep_the_next_one_away() {
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let refusing = Lab::start(Script::refuse(401)).unwrap();
    let output = record(&refusing.url(), file, &[]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = stderr(&output);
    let lines: Vec<_> = said.lines().collect();
    assert!(
        lines[1].contains("401") && lines[2].contains("recorded 0 messages of 0 connections"),
        "{lines:?}"
    );
    let lab = Lab::start(Script::new().send("a")).unwrap();
    let output = record(&lab.url(), file, &["--count", "1"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(texts(&printed(file), "received"), ["a"]);
    // What is no recording is left alone, and told apart.
    let other = dir.file("notes.txt", "no recording");
    let output = record(&lab.url(), &other, &["--count", "1"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("is no recording"), "{output:?}");
    assert_eq!(std::fs::read_to_string(&other).unwrap(), "no recording");
    let output = record(&lab.url(), "-", &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("name one"), "{output:?}");
}

#[cfg(unix)]
#[test]
fn what_was_there_becomes_private_whatever_it_is_used_for() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Scratch::new();
    let lab = Lab::start(Script::new().send("a")).unwrap();
    for how in [&["--append"][..], &["--overwrite"], &[]] {
        let file = dir.file("a.lfrec", "");
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
        let output = record(&lab.url(), &file, &[&["--count", "1"], how].concat());
        assert!(output.status.success(), "{output:?}");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600, "{how:?}");
    }
    // Only root can give a file away.
    let file = dir.file("b.lfrec", "");
    if std::os::unix::fs::chown(&file, Some(12345), None).is_ok() {
        let output = record(&lab.url(), &file, &["--count", "1"]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains("belongs to another user"), "{output:?}");
    }
}

#[test]
fn what_is_sent_can_be_left_out() {
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let lab = Lab::start(Script::new().until_subscribe().send("a")).unwrap();
    let more = ["--count", "1", "--subscribe", "hunter2", "--redact-sent"];
    assert!(record(&lab.url(), file, &more).status.success());
    let output = run(&["replay", file, "--print"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("hunter2") && text.contains(r#""redacted_bytes":7"#), "{text}");
}

#[cfg(unix)]
#[test]
fn sigterm_ends_a_recording_and_a_replay_with_the_close_handshake() {
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let lab = Lab::start(Script::of_topics([Topic::new("x").every(ms(10))])).unwrap();
    let mut recorder = Running::start(&["record", &lab.url(), "-o", file]);
    lab.wait_for(|_| lab.published("x") >= 5, CEILING).unwrap();
    recorder.terminate();
    assert_eq!(recorder.ends().code(), Some(0));
    assert!(recorder.said().contains("recorded "));
    let ended = lab.wait_for(|entry| matches!(entry.what, What::Ended(_)), CEILING).unwrap();
    assert_eq!(ended.what, What::Ended(End::Closed));
    assert!(texts(&printed(file), "received").len() >= 5);

    let (mut server, url) = replay(file, &["--speed", "0.001"]);
    let feed = feed(&url);
    text(&feed);
    server.terminate();
    let end = loop {
        match next(&feed) {
            Event::Message(_) => {} // two may have come together
            Event::Disconnected(end) => break end.reason,
            other => panic!("no end: {other:?}"),
        }
    };
    assert!(matches!(end, EndReason::ClosedByPeer { code: Some(1001), .. }), "{end:?}");
    assert_eq!(server.ends().code(), Some(0));
}

#[test]
fn wrong_arguments_and_empty_recordings_say_what_to_do() {
    let dir = Scratch::new();
    for (args, status, said) in [
        (&["record", "ws://127.0.0.1:1/"][..], 2, "--output"),
        (&["record", "-o", "x"], 2, "URL"),
        (&["record", "ws://127.0.0.1:1/", "-o", "/no/such/dir/x"], 1, "/no/such/dir/x"),
        (&["replay"], 2, "FILE"),
        (&["replay", "x", "--speed", "0"], 2, "such as 1"),
        (&["replay", "/no/such/file"], 2, "No such file"),
        (&["replay", &dir.file("empty", "")], 1, "nothing to replay"),
        (&["replay", &dir.file("cut", "LFRE")], 1, "nothing to replay"),
    ] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty());
        let said_it = stderr(&output);
        assert!(said_it.contains(said) && !said_it.contains("panicked"), "{args:?}: {said_it}");
    }
    let file = dir.path().join("refused.lfrec");
    let lab = Lab::start(Script::refuse(403)).unwrap();
    let output = record(&lab.url(), file.to_str().unwrap(), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("403"), "{output:?}");
}

/// `kill -9` at some moment loses no more than the last second. With `LIVEFEED_KILLS=100` at 100 moments:
/// `LIVEFEED_KILLS=100 cargo test --test cli kill`.
#[test]
fn a_kill_loses_nothing_that_was_received_a_second_before() {
    let kills: u64 = std::env::var("LIVEFEED_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let dir = Scratch::new();
    let mut killed = 0;
    while killed < kills {
        std::thread::scope(|scope| {
            for at_once in 0..kills.min(10) {
                let path = dir.path().join(format!("{}.lfrec", killed + at_once));
                scope.spawn(move || kill_one(path.to_str().unwrap(), at_once % 2 == 1));
            }
        });
        killed += kills.min(10);
    }
}

fn kill_one(file: &str, large: bool) {
    let topic = Topic::new("x").every(ms(1)).size(if large { 20_000 } else { 0 });
    let lab = Lab::start(Script::of_topics([topic])).unwrap();
    let mut recorder = Running::start(&["record", &lab.url(), "-o", file]);
    lab.wait_for(|_| lab.published("x") > 0, CEILING).unwrap();
    let begin = Instant::now();
    let moment = ms(1100 + rand::random_range(0..1000));
    // How much there was at each time.
    let mut published = Vec::new();
    while begin.elapsed() < moment {
        published.push((Instant::now(), lab.published("x")));
        std::thread::sleep(ms(2));
    }
    let at = Instant::now();
    recorder.kill();
    recorder.ends();
    let before = published.iter().filter(|(when, _)| *when + ms(1000) <= at).map(|(_, count)| *count).max();
    let received = texts(&printed(file), "received");
    for (n, text) in received.iter().enumerate() {
        assert!(text.contains(&format!("\"seq\":{},", n + 1)), "after {n}: {text:.80}");
    }
    assert!(received.len() as u64 >= before.unwrap(), "{} of {before:?}", received.len());
}

#[cfg(unix)]
#[test]
fn it_ends_as_asked_though_nobody_reads_what_it_says() {
    use std::io::Write;
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let (mut near, _far) = std::os::unix::net::UnixStream::pair().unwrap();
    near.set_nonblocking(true).unwrap();
    while near.write(&[b'.'; 512]).is_ok() {}
    near.set_nonblocking(false).unwrap();
    let lab = Lab::start(Script::of_topics([Topic::new("x").every(ms(5))])).unwrap();
    let mut recorder = livefeed(&["record", "-v", &lab.url(), "-o", file]);
    let recorder = recorder.stderr(std::os::fd::OwnedFd::from(near)).spawn().unwrap();
    lab.wait_for(|_| lab.published("x") >= 20, CEILING).unwrap();
    signal(recorder.id(), "TERM");
    let output = finish(recorder);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(texts(&printed(file), "received").len() >= 5);
}

#[cfg(unix)]
#[test]
fn a_recording_is_written_by_one_and_nothing_else_is_written_over() {
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let lab = Lab::start(Script::of_topics([Topic::new("x").every(ms(5))])).unwrap();
    let mut first = Running::start(&["record", &lab.url(), "-o", file]);
    lab.wait_for(|_| lab.published("x") >= 5, CEILING).unwrap();
    for more in ["--append", "--overwrite"] {
        let output = record(&lab.url(), file, &[more, "--count", "1"]);
        assert_eq!(output.status.code(), Some(1), "{more}: {output:?}");
        assert!(stderr(&output).contains("another process writes to it"), "{output:?}");
    }
    first.terminate();
    assert_eq!(first.ends().code(), Some(0));
    assert!(texts(&printed(file), "received").len() >= 5);

    let notes = dir.file("notes.txt", "not to be lost");
    let output = record(&lab.url(), &notes, &["--overwrite", "--count", "1"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("is no recording"), "{output:?}");
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "not to be lost");

    let later = dir.file("later", "LFREC\r\n\u{7}what will be");
    for args in [&["replay", &later][..], &["record", &lab.url(), "-o", &later, "--append"]] {
        let output = run(args);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(stderr(&output).contains("later version"), "{output:?}");
    }
    assert!(record(&lab.url(), &later, &["--overwrite", "--count", "1"]).status.success());
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&later).unwrap().permissions().mode() & 0o777, 0o600);

    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for special in [pipe.to_str().unwrap(), "/dev/full"] {
        let output = record(&lab.url(), special, &["--append", "--count", "1"]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(stderr(&output).contains("no regular file"), "{output:?}");
    }
}

#[cfg(target_os = "linux")]
#[test]
fn nohup_keeps_its_word_and_a_signal_ends_what_still_begins() {
    use crate::common::{livefeed, signal};
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let lab = Lab::start(Script::of_topics([Topic::new("x").every(ms(5))])).unwrap();
    let program = format!(
        "trap '' HUP; exec {} record {} -o {}",
        env!("CARGO_BIN_EXE_livefeed"),
        lab.url(),
        file.display()
    );
    let child = std::process::Command::new("/bin/sh")
        .args(["-c", &program])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    lab.wait_for(|_| lab.published("x") >= 5, CEILING).unwrap();
    signal(child.id(), "HUP");
    let before = lab.published("x");
    lab.wait_for(|_| lab.published("x") >= before + 50, CEILING).unwrap();
    assert!(lab.live() == 1, "SIGHUP has ended it");
    signal(child.id(), "TERM");
    assert_eq!(finish(child).status.code(), Some(0));

    let mut recorder = Running::start(&["record", &lab.url(), "-o", file.to_str().unwrap(), "--append"]);
    let before = lab.published("x");
    lab.wait_for(|_| lab.published("x") >= before + 5, CEILING).unwrap();
    // If this was started with nohup, so is what it starts.
    recorder.signal(if crate::common::is_ignored("HUP") { "TERM" } else { "HUP" });
    assert_eq!(recorder.ends().code(), Some(0), "without nohup it is a request to end");

    // It waits for the writer of a pipe.
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let output = run(&["replay", pipe.to_str().unwrap()]);
    assert!(output.status.code() == Some(2) && stderr(&output).contains("no regular file"), "{output:?}");
    let child = livefeed(&["lab", "--script", pipe.to_str().unwrap()]).spawn().unwrap();
    let waits = || {
        std::fs::read_to_string(format!("/proc/{}/wchan", child.id())).is_ok_and(|at| at.contains("partner"))
    };
    let begin = Instant::now();
    while !waits() && begin.elapsed() < ms(2000) {
        std::thread::sleep(ms(5)); // some systems do not tell, and the signal is right at any moment
    }
    signal(child.id(), "TERM");
    assert_eq!(finish(child).status.code(), None);
}

#[cfg(target_os = "linux")]
#[test]
fn a_file_that_can_not_be_written_or_is_deleted_ends_the_recording_with_a_word() {
    let dir = Scratch::new();
    let file = dir.path().join("a.lfrec");
    let file = file.to_str().unwrap();
    let lab = Lab::start(Script::of_topics([Topic::new("x").every(ms(1)).size(200)])).unwrap();
    // A limit on the size of files stands for the disk.
    let program = format!(
        "trap '' XFSZ; ulimit -f 60; exec {} record {} -o {file}",
        env!("CARGO_BIN_EXE_livefeed"),
        lab.url()
    );
    let child = std::process::Command::new("/bin/sh")
        .args(["-c", &program])
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let output = finish(child);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(stderr(&output).contains("what was written before can be replayed"), "{output:?}");
    assert!(!texts(&printed(file), "received").is_empty());
    assert!(record(&lab.url(), file, &["--append", "--count", "1"]).status.success());

    let length = || std::fs::metadata(file).unwrap().len();
    let before = length();
    let mut recorder = Running::start(&["record", &lab.url(), "-o", file, "--append"]);
    let begin = Instant::now();
    while length() <= before {
        assert!(begin.elapsed() < CEILING, "nothing is written");
        std::thread::sleep(ms(5));
    }
    std::fs::remove_file(file).unwrap();
    assert_eq!(recorder.ends().code(), Some(1));
    let said = recorder.said();
    assert!(said.contains("it was deleted"), "{said}");
}
