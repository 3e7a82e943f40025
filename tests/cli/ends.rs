//! The ends of `tail`: what was received is not lost, and nothing holds them up. And what others say stays harmless.

use crate::common::{LinesOf, err, finish, livefeed, ms, out, run, said_goodbye, signal, status};
use livefeed::lab::{Command, Flood, Lab, Script, Topic};
use serde_json::Value;
use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

fn lab(script: Script) -> Lab {
    Lab::start(script).unwrap()
}

fn steady() -> Lab {
    lab(Script::of_topics([Topic::new("btc").every(ms(5))]))
}

#[test]
fn enough_is_enough_though_the_feed_gives_up_at_that_moment() {
    let long = "x".repeat(200_000); // does not fit into a pipe
    let lab = lab(Script::new().send(long.as_str()).close(1001, "bye"));
    let child = livefeed(&["tail", "--count", "1", "--max-reconnects", "0", &lab.url()]).spawn().unwrap();
    said_goodbye(&lab, 1); // the feed has given up, and the message is not yet written
    let output = finish(child);
    status(&output, 0);
    assert_eq!((output.stdout.len(), err(&output).as_str()), (long.len() + 1, ""));
}

#[test]
fn a_slow_reader_gets_all_that_came_in_time() {
    let lab = lab(Script::new().flood(Flood::of_size(1000).count(2000)));
    let mut child = livefeed(&["tail", "--for", "2s", &lab.url()]).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    said_goodbye(&lab, 1); // the time is over, and much is not written yet
    let mut text = String::new();
    stdout.read_to_string(&mut text).unwrap();
    assert_eq!(text.lines().count(), 2000);
    assert!(text.ends_with('\n'));
    status(&finish(child), 0);
}

#[test]
fn outputs_that_are_both_stuck_do_not_keep_it_from_ending() {
    let lab = lab(Script::new().flood(Flood::of_size(1000)));
    let (mut reader, writer) = std::io::pipe().unwrap();
    let mut command = livefeed(&["tail", &lab.url()]);
    command.stderr(writer.try_clone().unwrap()).stdout(writer);
    let child = command.spawn().unwrap();
    drop(command); // it holds the writing end
    reader.read_exact(&mut [0]).unwrap();
    signal(child.id(), "TERM");
    status(&finish(child), 1);
    said_goodbye(&lab, 1);
}

#[test]
#[cfg(unix)]
fn a_second_request_ends_it_at_once() {
    let lab = lab(Script::new().flood(Flood::of_size(1000)));
    let mut child = livefeed(&["tail", &lab.url()]).spawn().unwrap();
    child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap(); // and nothing more
    let begin = Instant::now();
    while child.try_wait().unwrap().is_none() {
        signal(child.id(), "TERM");
        std::thread::sleep(ms(100));
        assert!(begin.elapsed() < Duration::from_secs(20));
    }
    status(&finish(child), 130);
}

#[test]
#[cfg(unix)]
fn two_signals_at_once_are_one_request() {
    let lab = steady();
    let mut child = livefeed(&["tail", "--format", "json", &lab.url()]).spawn().unwrap();
    let mut lines = LinesOf::new(child.stdout.take());
    lines.until("\"message\"");
    signal(child.id(), "TERM");
    signal(child.id(), "HUP");
    lines.until("\"closed\"");
    status(&finish(child), 0);
}

#[test]
#[cfg(target_os = "linux")]
fn nohup_is_heeded() {
    let lab = steady();
    let script = "trap '' HUP INT; exec \"$0\" tail \"$1\"";
    let mut child = std::process::Command::new("/bin/sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_livefeed"), &lab.url()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = LinesOf::new(child.stdout.take());
    assert!(!lines.line().is_empty());
    signal(child.id(), "HUP");
    signal(child.id(), "INT");
    (0..200).for_each(|_| assert!(!lines.line().is_empty(), "it goes on"));
    signal(child.id(), "TERM");
    while !lines.line().is_empty() {}
    status(&finish(child), 0);
}

#[test]
fn the_words_of_a_server_stay_on_their_line() {
    let lab = lab(Script::new().send(r#"{"type":"auth_required"}"#).reply(|_| {
        let said = "no\nlivefeed: all is well\u{1b}[2J\u{9b}31m\u{202e}";
        vec![serde_json::json!({"type": "auth_invalid", "message": said}).to_string()]
    }));
    let preset = ["--preset", "home-assistant", "--credential", "token=hunter2", "-vv"];
    for command in ["tail", "probe"] {
        let output = run(&[&[command], preset.as_slice(), &[&lab.url()]].concat());
        status(&output, 1);
        let text = err(&output);
        assert!(text.contains("livefeed: all is well") && !text.contains("hunter2"), "{text:?}");
        assert!(!text.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        assert_eq!(text.lines().filter(|line| line.starts_with("livefeed: ")).count(), 1, "{text}");
    }
}

#[test]
fn forgotten_quotes_show_no_secret() {
    let output = run(&["tail", "--header", "Authorization:", "Bearer", "hunter2", "ws://127.0.0.1:1/"]);
    status(&output, 2);
    assert!(err(&output).contains("in quotes") && !err(&output).contains("hunter2"), "{}", err(&output));
}

#[test]
fn a_credential_is_sent_as_it_is() {
    let lab = lab(Script::new()
        .send(r#"{"type":"auth_required"}"#)
        .reply(|_| vec![r#"{"type":"auth_ok"}"#.to_owned(), r#"{"type":"other"}"#.to_owned()]));
    let url = lab.url() + "/IN-A-HOST"; // capitals that are not those of a place to fill in
    let secret = "a${id}\"\\$${b}";
    let credential = format!("token={secret}");
    let args = ["tail", "--preset", "home-assistant", "--credential", &credential, "--count", "1", &url];
    status(&run(&args), 0);
    let transcript = lab.transcript();
    let sent: Value = serde_json::from_str(transcript.received_texts(1)[0]).unwrap();
    assert_eq!(sent["access_token"], secret);
}

#[test]
fn hostile_payloads_are_lines_of_the_schema() {
    let long = "\u{e9}".repeat(1 << 20);
    let texts = [
        "",
        "\0\u{7f}\u{9b}2J\u{1b}[2J\r",
        "two\nlines\u{2028}",
        r#"{"lone":"\ud800"}"#,
        "\u{10ffff}",
        &long,
    ];
    let mut script = Script::new();
    for text in texts {
        script = script.send(text);
    }
    let script = script.then(Command::SendBinary(vec![0xff, 0xc0, 0]));
    let lab = lab(script.then(Command::Raw(vec![0x81, 2, 0xc3, 0x28])));
    let args = ["tail", "--format", "json", "--max-reconnects", "0", &lab.url()];
    let output = run(&args);
    status(&output, 1);
    let events: Vec<Value> =
        out(&output).split_terminator('\n').map(|line| serde_json::from_str(line).unwrap()).collect();
    crate::schema::check(&events);
    let got: Vec<&str> = events.iter().filter_map(|event| event["text"].as_str()).collect();
    assert_eq!(got, texts);
    assert!(events.iter().any(|event| event["binary"] == "/8AA"));
    let end = events.iter().find(|event| event["event"] == "disconnected").unwrap();
    assert_eq!(end["reason"], "protocol", "invalid UTF-8 in a text message");
}
