//! What is said on standard error in words, and what stands on a terminal.

use crate::common::{LinesOf, err, finish, livefeed, ms, out, run, signal, status};
use livefeed::lab::{Lab, Script, Topic};
use std::process::{Command, Stdio};

fn lab(script: Script) -> Lab {
    Lab::start(script).unwrap()
}

/// What stands on a terminal after a shell has run this there, `$LF` being the program; `None` if no terminal can be had.
fn terminal(line: &str, locale: &str) -> Option<String> {
    let mut command = Command::new("script");
    command.args(["-qec", line, "/dev/null"]).env("LF", env!("CARGO_BIN_EXE_livefeed"));
    command.env("TERM", "xterm").env("LC_ALL", locale).env("NO_COLOR", "1").env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    if !cfg!(target_os = "linux") {
        return None;
    }
    command.spawn().ok().map(|child| out(&finish(child)))
}

#[test]
fn a_terminal_has_a_line_of_state_unless_another_program_writes_there() {
    let lab = lab(Script::of_topics([Topic::new("btc").every(ms(200))]));
    let url = lab.url();
    let Some(shown) = terminal(&format!("$LF tail --count 8 {url}"), "C.UTF-8") else { return };
    assert!(shown.contains(" \u{b7} epoch 1 \u{b7} data "), "{shown:?}");
    assert!(shown.trim_end().ends_with("\r\u{1b}[Klivefeed: 8 messages, 1 connection, 0 gaps"), "{shown:?}");
    let plain = terminal(&format!("$LF tail --count 8 {url} >/dev/null"), "C").unwrap();
    assert!(plain.contains(", epoch 1, data ") && plain.is_ascii(), "{plain:?}");
    let piped = terminal(&format!("$LF tail --count 8 {url} | cat"), "C.UTF-8").unwrap();
    assert!(
        piped.contains("\"btc\"") && !piped.contains("epoch") && !piped.contains("livefeed:"),
        "{piped:?}"
    );
    let quiet = terminal(&format!("$LF tail -q --count 8 {url}"), "C.UTF-8").unwrap();
    assert!(!quiet.contains("epoch") && !quiet.contains("8 messages"), "{quiet:?}");
}

#[test]
fn several_subscriptions_without_data_of_their_own_are_told_of_once() {
    let lab = lab(Script::of_topics([Topic::new("btc").every(ms(5))]));
    let url = lab.url();
    for (args, lines) in [
        (&["--subscribe", "a", "--subscribe", "b"][..], 1),
        (&["--subscribe", "a"], 0),
        (&["-q", "--subscribe", "a", "--subscribe", "b"], 0),
    ] {
        let output = run(&[&["tail", "--count", "1"], args, &[&url]].concat());
        status(&output, 0);
        assert_eq!(err(&output).matches("several --subscribe").count(), lines, "{}", err(&output));
        assert_eq!(err(&output).lines().count(), lines);
        let output = run(&[&["probe"], args, &[&url]].concat());
        status(&output, 0);
        assert_eq!(err(&output).lines().count(), lines, "{}", err(&output));
    }
}

#[test]
fn an_end_is_told_in_plain_words() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(&["tail", "--max-reconnects", "1", &format!("ws://{closed}/")]);
    status(&output, 1);
    let text = err(&output);
    let lines: Vec<&str> = text.lines().collect();
    let words = format!("no connection: connection refused by {closed}; nobody listens there: ");
    let (hint, next) = (lines[0].find(&words), lines[0].find("; next attempt in "));
    assert!(hint.is_some() && hint < next && !text.contains("os error"), "{text}");
    let output = run(&["tail", "-v", "--count", "1", &lab(Script::new().send("x")).url()]);
    assert!(err(&output).ends_with("closed: asked to end\n"), "{}", err(&output));
}

#[cfg(feature = "native-tls")]
#[test]
fn a_certificate_that_is_wrong_is_told_without_places_in_a_library() {
    use livefeed::lab::Certificate;
    let lab = Lab::builder().script(Script::new().send("x")).tls(Certificate::Valid).start().unwrap();
    let output = run(&["tail", "--max-reconnects", "0", &lab.url()]);
    status(&output, 1);
    let text = err(&output);
    assert!(text.starts_with("livefeed: tls: ") && text.contains("--ca-file FILE"), "{text}");
    assert!(!text.contains("error:") && !text.contains(".c:"), "{text}");
}

#[test]
fn a_url_without_a_scheme_is_told_what_to_write() {
    for (url, part) in [
        ("localhost:9001/feed?key=hunter2", "write ws://localhost:9001"),
        ("me:hunter2@localhost", "use ws:// or wss://"),
        ("hunter2", "use ws:// or wss://"),
        ("me:hunter2", "use ws:// or wss://"),
        ("eyJhbGciOi.hunter2", "use ws:// or wss://"),
        ("feed.example", "write ws://feed.example.."),
        ("http://localhost/", "the URL is an http URL"),
    ] {
        let output = run(&["tail", url]);
        status(&output, 2);
        let text = err(&output);
        assert!(
            text.contains(part) && !text.contains("hunter2") && !text.contains("configuration"),
            "{text}"
        );
    }
    let output = run(&["tail"]);
    status(&output, 2);
    assert!(
        err(&output).starts_with("livefeed: ") && err(&output).contains("--preset NAME"),
        "{}",
        err(&output)
    );
}

#[test]
fn a_signal_is_no_word_of_a_user() {
    let lab = lab(Script::of_topics([Topic::new("btc").every(ms(5))]));
    let mut child = livefeed(&["tail", "-v", &lab.url()]).stdout(Stdio::null()).spawn().unwrap();
    let mut lines = LinesOf::new(child.stderr.take());
    lines.until("connected to");
    signal(child.id(), "TERM");
    lines.until("disconnected: asked to end");
    lines.until("closed: asked to end");
    status(&finish(child), 0);
}
