//! `lab`: what it is told to do wrong, it does.

use crate::common::{err, ms, next, run, text};
use crate::running::Running;
use crate::scratch::Scratch;
use livefeed::{EndReason, Event, Feed, FeedBuilder, Matcher, Subscription};

/// Starts a lab; its URL.
#[track_caller]
fn lab(more: &[&str]) -> (Running, String) {
    let mut server = Running::start(&[&["lab", "--listen", "0"], more].concat());
    let url = server.says("listening at ");
    (server, url)
}

/// A feed that reconnects almost at once.
fn feed(url: &str) -> FeedBuilder {
    let builder =
        Feed::builder(url).no_stale_limit().subscription(Subscription::new("all").subscribe_text("lab"));
    builder.reconnect(|r| {
        (r.floor, r.first, r.max, r.fatal_statuses) = (ms(2), ms(5), ms(10), Vec::new());
    })
}

/// How the connection or attempt ended, after whatever messages.
#[track_caller]
fn end(feed: &Feed) -> EndReason {
    loop {
        match next(feed) {
            Event::Disconnected(end) => return end.reason,
            Event::Closed(closed) => panic!("{closed:?}"),
            _ => {}
        }
    }
}

fn seq(text: &str) -> u64 {
    serde_json::from_str::<serde_json::Value>(text).unwrap()["seq"].as_u64().unwrap()
}

#[test]
fn it_sends_numbered_messages_and_says_goodbye() {
    let (mut server, url) = lab(&["--rate", "1000", "--topic", "btc", "--size", "200"]);
    let feed = feed(&url).open().unwrap();
    for n in 1..=20 {
        let text = text(&feed);
        assert!(text.len() >= 200 && text.contains(r#""topic":"btc""#), "{text}");
        assert_eq!(seq(&text), n);
    }
    server.says("connection 1: accepted");
    #[cfg(unix)]
    {
        server.terminate();
        let reason = end(&feed);
        assert!(matches!(reason, EndReason::ClosedByPeer { code: Some(1001), .. }), "{reason:?}");
        server.says("connection 1: over");
        assert_eq!(server.ends().code(), Some(0));
    }
}

#[test]
fn what_it_does_is_said() {
    let (mut server, url) = lab(&["--mode", "refuse:503", "--mode", "close:1012", "--after", "0s"]);
    let _feed = feed(&url).open().unwrap();
    for said in ["connection 1: accepted", "connection 1: refuse 503", "connection 2: close 1012"] {
        server.says(said);
    }
    for (wrong, part) in
        [("--listen=:9", "127.0.0.1:9 for this machine"), ("--mode=garbage", "`violate:garbage`?")]
    {
        let output = run(&["lab", wrong]);
        assert_eq!(output.status.code(), Some(2));
        assert!(err(&output).contains(part), "{output:?}");
    }
}

#[test]
fn each_connection_has_its_mode() {
    let modes =
        ["refuse:503", "flap", "close:1012 soon", "reset", "fin", "violate:reserved-bits", "wrong-accept"];
    let mut args = vec!["--after", "20ms", "--rate", "1000"];
    modes.iter().chain(&["good"]).for_each(|mode| args.extend(["--mode", mode]));
    let (_server, url) = lab(&args);
    let feed = feed(&url).open().unwrap();
    for mode in modes {
        let end = end(&feed);
        let right = match mode {
            "refuse:503" => matches!(end, EndReason::UpgradeRefused { status: 503, .. }),
            "flap" => matches!(end, EndReason::ClosedByPeer { code: Some(1001), .. }),
            "close:1012 soon" => {
                matches!(end, EndReason::ClosedByPeer { code: Some(1012), ref reason } if reason == "soon")
            }
            "reset" => matches!(end, EndReason::Io { .. }),
            "fin" => end == EndReason::Eof,
            "wrong-accept" => matches!(end, EndReason::UpgradeInvalid { .. }),
            _ => matches!(end, EndReason::Protocol { .. }),
        };
        assert!(right, "{mode}: {end:?}");
    }
    let first = seq(&text(&feed));
    assert_eq!(seq(&text(&feed)), first + 1);
}

#[test]
fn data_that_stops_while_heartbeats_go_on_is_stale() {
    let args = ["--mode", "mute", "--after", "100ms", "--heartbeat", "beat", "--heartbeat-every", "5ms"];
    let (_server, url) = lab(&args);
    let feed = feed(&url).heartbeat(Matcher::text("beat")).stale_after(ms(300)).open().unwrap();
    assert_eq!(seq(&text(&feed)), 1);
    loop {
        if let Event::Stale(stale) = next(&feed) {
            assert!(stale.age >= ms(300));
            break;
        }
    }
}

#[test]
fn payloads_come_from_a_file_to_those_who_ask() {
    let dir = Scratch::new();
    let file = dir.file("payloads", "{\"price\":1}\n{\"price\":2}\n");
    let (_server, url) = lab(&[
        "--payloads",
        &file,
        "--rate",
        "max",
        "--on-subscribe",
        "--ack",
        "{topic} it is",
        "--greeting",
        "hello",
    ]);
    let feed = feed(&url).open().unwrap();
    for expected in ["hello", "lab it is", "{\"price\":1}", "{\"price\":2}", "{\"price\":1}"] {
        assert_eq!(text(&feed), expected);
    }
}

#[test]
fn a_script_says_what_each_connection_does() {
    let dir = Scratch::new();
    let script = "# first\nsend hello\nuntil-text lab\nfragments 3 in parts\nclose 4000 enough\n---\nrefuse 503 later\n---\n\
                  data\nuntil-sent 2\nskip 5\n";
    let (_server, url) = lab(&["--script", &dir.file("script", script), "--rate", "1000"]);
    let feed = feed(&url).open().unwrap();
    assert_eq!(text(&feed), "hello");
    assert_eq!(text(&feed), "in parts");
    assert!(matches!(end(&feed), EndReason::ClosedByPeer { code: Some(4000), .. }));
    assert!(matches!(end(&feed), EndReason::UpgradeRefused { status: 503, .. }));
    let numbers: Vec<u64> = (0..3).map(|_| seq(&text(&feed))).collect();
    assert_eq!(numbers, [1, 2, 8]);
}

#[test]
fn it_is_out_and_back_again() {
    let (mut server, url) = lab(&["--mode", "not-listening:100ms", "--after", "200ms", "--rate", "1000"]);
    let feed = feed(&url).open().unwrap();
    text(&feed);
    let mut refused = false;
    while !refused {
        refused = matches!(end(&feed), EndReason::Io { kind: std::io::ErrorKind::ConnectionRefused, .. });
    }
    server.says("out");
    server.says("back");
    while !matches!(next(&feed), Event::Message(_)) {}
}

#[cfg(feature = "native-tls")]
#[test]
fn tls_has_a_certificate_of_its_own() {
    let dir = Scratch::new();
    let ca = dir.path().join("ca.pem");
    let (_server, url) = lab(&["--tls", "--write-ca", ca.to_str().unwrap()]);
    assert!(url.starts_with("wss://localhost:"));
    let trusting = feed(&url).config(|config| config.tls.ca_file = Some(ca.clone())).open().unwrap();
    assert_eq!(seq(&text(&trusting)), 1);
    let other = feed(&url).open().unwrap();
    assert!(matches!(end(&other), EndReason::Tls { untrusted: true, .. }));
    for certificate in ["expired", "wrong-host"] {
        let tls = format!("--tls={certificate}");
        let (_server, url) = lab(&[&tls, "--write-ca", ca.to_str().unwrap()]);
        let feed = feed(&url).config(|config| config.tls.ca_file = Some(ca.clone())).open().unwrap();
        assert!(matches!(end(&feed), EndReason::Tls { .. }), "{certificate}");
    }
}

#[test]
fn wrong_arguments_say_what_to_do() {
    let dir = Scratch::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    for (args, status, said) in [
        (&["--mode", "clsoe"][..], 2, "did you mean `close`?"),
        (&["--mode", "mute:btc", "--topic", "eth"], 2, "no topic `btc`: write one of `eth`"),
        (&["--mode", "not-listening", "--mode", "not-accepting"], 2, "one of these"),
        (&["--mode", "not-listening:soon"], 2, "write a duration"),
        (&["--rate", "0"], 2, "or max"),
        (&["--script", "/no/such/file"], 2, "/no/such/file: No such file"),
        (&["--script", &dir.file("s", "data\nnothing")], 2, "s: line 2: `nothing` is not known"),
        (&["--payloads", &dir.file("p", "")], 2, "a message on each line"),
        (&["--header", "none"], 2, "'Name: value'"),
        (&["--listen", &taken], 1, "choose another with --listen"),
        (&["--write-ca", "x"], 2, "--tls"),
        (&["--mode", "good:x"], 2, "nothing behind it"),
        (&["--ping", "0s"], 2, "longer"),
        (&["--heartbeat", "x", "--heartbeat-every", "0s"], 2, "longer"),
        (&["--mode", "not-listening:0s"], 2, "longer"),
        (&["--mode", "not-listening", "--after", "0s"], 2, "longer"),
        #[cfg(unix)]
        (&["--script", "/dev/zero"], 2, "is it the right file?"),
        (&["--script", "x", "--after", "5s"], 2, "cannot be used with"),
    ] {
        let output = run(&[&["lab"], args].concat());
        assert_eq!(output.status.code(), Some(status), "{args:?}: {output:?}");
        assert!(output.stdout.is_empty());
        assert!(err(&output).contains(said) && !err(&output).contains("panicked"), "{args:?}: {output:?}");
    }
}
