//! Secrets stay in (contract T2): canaries in every place where the application gives a secret, and then a look at
//! everything that leaves the library, with the logging of every crate at trace.
#![allow(clippy::unwrap_used, clippy::panic, clippy::disallowed_methods, reason = "helpers of tests")]

use livefeed::lab::{Command, Entry, Incoming, Lab, Received, Script, Topic, What};
use livefeed::{
    AlertKind, EndReason, Error, ErrorClass, Event, Feed, FeedConfig, GoTo, Keepalive, LoginStep, Matcher,
    Monitor, NoticeAction, Outcome, RepairStep, Rule, Subscription,
};
#[cfg(feature = "native-tls")]
use livefeed::{Decision, Target};
use log::{LevelFilter, Log, Metadata, Record};
use serde_json::json;
use std::fmt::Debug;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

const CEILING: Duration = Duration::from_secs(10);

/// In each canary, and nowhere else.
const MARK: &str = "k4n4ry";
const USER: &str = "k4n4ry-user";
const PASSWORD: &str = "k4n4ry-p%40ssword";
const QUERY: &str = "k4n4ry-query";

/// All log records of this process.
struct Recorder(Mutex<Vec<String>>);

static RECORDS: Recorder = Recorder(Mutex::new(Vec::new()));
static INSTALL: Once = Once::new();

impl Log for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line =
            format!("{} {} {:?}: {}", record.level(), record.target(), record.module_path(), record.args());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn flush(&self) {}
}

fn records() -> Vec<String> {
    RECORDS.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

fn record_logs() {
    INSTALL.call_once(|| {
        log::set_logger(&RECORDS).unwrap();
        log::set_max_level(LevelFilter::Trace);
    });
}

/// The canaries also in the forms that they take on the way.
fn forms() -> Vec<String> {
    let basic = data_encoding::BASE64.encode(b"k4n4ry-user:k4n4ry-p@ssword");
    // Any stretch of it, should it have been cut.
    vec![MARK.to_owned(), basic[4..16].to_owned(), "p@ssword".to_owned()]
}

/// What left the library, each with where.
#[derive(Default)]
struct Seen(Vec<(String, String)>);

impl Seen {
    fn text(&mut self, place: &str, text: impl Into<String>) {
        self.0.push((place.to_owned(), text.into()));
    }

    fn debug(&mut self, place: &str, value: &dyn Debug) {
        self.text(place, format!("{value:?}"));
        self.text(place, format!("{value:#?}"));
    }

    fn error(&mut self, place: &str, error: &Error) {
        self.debug(place, error);
        self.text(place, error.to_string());
    }

    fn reason(&mut self, reason: &EndReason) {
        self.debug("reason", reason);
        self.text("reason", reason.to_string());
    }

    fn event(&mut self, feed: &Feed, event: &Event) {
        self.debug(event.name(), event);
        self.text(event.name(), event.to_json(feed.name()).to_string());
        if let Event::Disconnected(event) = event {
            self.reason(&event.reason);
        }
        if let Event::Closed(event) = event {
            self.text("closed", event.reason.to_string());
        }
    }

    fn state(&mut self, feed: &Feed) {
        let health = feed.health();
        self.debug("feed", feed);
        self.debug("health", &health);
        self.text("health", serde_json::to_string(&health).unwrap());
        let monitor = Monitor::bind("127.0.0.1:0").unwrap();
        monitor.add(feed).unwrap();
        self.debug("monitor", &monitor);
        for path in ["/health", "/data", "/metrics"] {
            let mut stream = TcpStream::connect(monitor.local_addr()).unwrap();
            stream.set_read_timeout(Some(CEILING)).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            assert!(path == "/metrics" || answer.contains(feed.name()), "{path}: {answer}");
            self.text(path, answer);
        }
    }

    /// Reads until the event is there; all is kept.
    #[track_caller]
    fn until(&mut self, feed: &Feed, lab: &Lab, mut wanted: impl FnMut(&Event) -> bool) {
        let deadline = Instant::now() + CEILING;
        loop {
            match feed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    self.event(feed, &event);
                    if wanted(&event) {
                        return self.state(feed);
                    }
                }
                Err(error) => {
                    let names: Vec<_> = self.0.iter().map(|(place, _)| place).collect();
                    panic!("{error}; seen: {names:?}; the lab: {}", lab.transcript());
                }
            }
        }
    }

    /// No canary in any of it, nor in the logs.
    #[track_caller]
    fn check(&self) {
        let forms = forms();
        let leaked = |text: &str| forms.iter().any(|form| text.contains(form));
        let mut leaks: Vec<_> = self.0.iter().filter(|(_, text)| leaked(text)).cloned().collect();
        let records = records();
        // What is received tungstenite logs at trace, and nothing can be done about that: the crate's documentation says so.
        let theirs = |text: &str| text.starts_with("TRACE tungstenite::protocol") && text.contains("parrot");
        let own = records.iter().filter(|text| leaked(text) && !theirs(text));
        leaks.extend(own.map(|text| ("log".to_owned(), text.clone())));
        assert!(leaks.is_empty(), "{} leaks, the first: {:#?}", leaks.len(), leaks.first());
    }
}

fn disconnected(wanted: impl Fn(&EndReason) -> bool) -> impl FnMut(&Event) -> bool {
    move |event| matches!(event, Event::Disconnected(event) if wanted(&event.reason))
}

fn connected(event: &Event) -> bool {
    matches!(event, Event::Connected(_))
}

#[track_caller]
fn wait_for(lab: &Lab, mut wanted: impl FnMut(&What) -> bool) -> Entry {
    match lab.wait_for(|entry| wanted(&entry.what), CEILING) {
        Some(entry) => entry,
        None => panic!("the lab: {}", lab.transcript()),
    }
}

fn received(text: &'static str) -> impl FnMut(&What) -> bool {
    move |what| match what {
        What::Received(Received::Text(got)) => got.contains(text),
        What::Received(Received::Binary(got)) => String::from_utf8_lossy(got).contains(text),
        _ => false,
    }
}

/// The lab's URL with secrets in it.
fn url(lab: &Lab) -> String {
    lab.url().replace("://", &format!("://{USER}:{PASSWORD}@"))
        + &format!("?token={QUERY}&k4n4ry-alone&plain=1")
}

/// All that a request says, as a server might repeat it in an error page.
fn echo(authorization: &str) -> String {
    format!(
        "bad request: GET /feed?token={QUERY}&k4n4ry-alone, Authorization: {authorization}, \
         Cookie: a=1; session=k4n4ry-cookie; only k4n4ry-cookie, X-Key: k4n4ry-key"
    )
}

fn basic() -> String {
    let basic = data_encoding::BASE64.encode(b"k4n4ry-user:k4n4ry-p@ssword");
    format!("Basic {basic} (k4n4ry-user, k4n4ry-p@ssword)")
}

fn subscriptions() -> [Subscription; 4] {
    [
        Subscription::new("text")
            .subscribe_text("subscribe text k4n4ry-text")
            .unsubscribe_text("unsubscribe text k4n4ry-untext")
            .data(Matcher::pointer("/topic", "text"))
            .stale_after(Duration::from_millis(150))
            .repair([RepairStep::Reconnect]),
        Subscription::new("json")
            .subscribe_json(serde_json::json!({"op": "subscribe", "k4n4ry-name": ["k4n4ry-json"]}))
            .unsubscribe_json(serde_json::json!({"op": "unsubscribe", "key": "k4n4ry-unjson"}))
            .no_stale_limit(),
        Subscription::new("made")
            .subscribe_with(|context| Ok(format!("subscribe made k4n4ry-made {}", context.epoch)))
            .unsubscribe_with(|_| Ok("unsubscribe made k4n4ry-unmade".to_owned()))
            .no_stale_limit(),
        // What this one makes is over the limit, which is said, but not what it is.
        Subscription::new("long").subscribe_with(|_| Ok("k4n4ry-long ".repeat(100))).no_stale_limit(),
    ]
}

#[test]
fn t2_no_secret_of_a_plain_feed_is_shown_or_logged() {
    record_logs();
    let topic = || Topic::new("text").every(Duration::from_millis(5));
    let lab = Lab::builder()
        .scripts(move |connection| match connection {
            1 => Script::of_topics([topic()]).until_text(|text| text.contains("go mute")).silence(),
            2 => Script::refuse(503).header("X-Why", "k4n4ry-query").body(echo(&basic())),
            3 => Script::refuse(401).header("WWW-Authenticate", "Basic k4n4ry-query").body(echo(&basic())),
            4 => Script::refuse(302)
                .header(
                    "Location",
                    format!("https://{USER}:{PASSWORD}@elsewhere/{QUERY}?t={QUERY}#k4n4ry-fragment"),
                )
                .body(echo(&basic())),
            5 => Script::wrong_accept().header("X-Echo", "k4n4ry-query"),
            6 => Script::raw_response("HTTP/1.1 k4n4ry-query\r\n\r\n"),
            _ => Script::of_topics([topic()]),
        })
        .start()
        .unwrap();
    let mut seen = Seen::default();
    let mut builder = Feed::builder(url(&lab))
        .header("Cookie", "a=1; session=k4n4ry-cookie")
        .header("X-Key", "k4n4ry-key")
        .subprotocol("v1")
        .limits(|limits| limits.subscribe_bytes = 1000)
        .close_timeout(Duration::from_secs(1))
        .defaults(|all| all.repair([RepairStep::Reconnect]))
        .reconnect(|reconnect| {
            reconnect.floor = Duration::from_millis(5);
            reconnect.first = Duration::from_millis(5);
            reconnect.max = Duration::from_millis(20);
        });
    for subscription in subscriptions() {
        seen.debug("subscription", &subscription);
        seen.text("subscription", serde_json::to_string(&subscription).unwrap());
        builder = builder.subscription(subscription);
    }
    seen.debug("builder", &builder);
    let mut config = None;
    builder = builder.config(|whole| config = Some(whole.clone()));
    seen.debug("config", &config);
    seen.text("config", serde_json::to_string(&config).unwrap());

    let feed = builder.open().unwrap();
    seen.state(&feed);
    seen.until(&feed, &lab, connected);
    seen.until(&feed, &lab, |event| matches!(event, Event::Message(_)));
    for canary in ["k4n4ry-text", "k4n4ry-json", "k4n4ry-name", "k4n4ry-made"] {
        wait_for(&lab, received(canary));
    }
    let receipt = feed.send("go mute k4n4ry-sent").unwrap();
    seen.debug("receipt", &receipt);
    assert_eq!(receipt.wait(CEILING), Ok(Outcome::Written));

    // Stale, then one failed attempt after the other, each with its own echo.
    seen.until(&feed, &lab, disconnected(|reason| matches!(reason, EndReason::Stale { .. })));
    for status in [503, 401, 302] {
        seen.until(
            &feed,
            &lab,
            disconnected(
                |reason| matches!(reason, EndReason::UpgradeRefused { status: got, .. } if *got == status),
            ),
        );
    }
    for _ in 0..2 {
        seen.until(&feed, &lab, disconnected(|reason| matches!(reason, EndReason::UpgradeInvalid { .. })));
    }
    seen.until(&feed, &lab, connected);
    seen.until(&feed, &lab, |event| matches!(event, Event::Message(_)));

    // Sends, changed subscriptions, pings both ways.
    let control = lab.control();
    control.all(Command::Ping(b"are you there".to_vec()));
    for receipt in [
        feed.send("k4n4ry-sent-text".repeat(200)).unwrap(),
        feed.send(b"k4n4ry-sent-binary".as_slice()).unwrap(),
    ] {
        assert_eq!(receipt.wait(CEILING), Ok(Outcome::Written));
    }
    wait_for(&lab, received("k4n4ry-sent-binary"));
    let again = Subscription::new("text").subscribe_text("k4n4ry-again").unsubscribe_text("k4n4ry-unagain");
    let again = again.data(Matcher::pointer("/topic", "text"));
    feed.subscribe(again).unwrap();
    wait_for(&lab, received("k4n4ry-again"));
    for id in ["json", "made", "text", "long"] {
        feed.unsubscribe(id).unwrap();
    }
    for canary in ["k4n4ry-untext", "k4n4ry-unjson", "k4n4ry-unmade", "k4n4ry-unagain"] {
        wait_for(&lab, received(canary));
    }
    let too_long = Subscription::new("x").subscribe_text("k4n4ry-long".repeat(1000));
    seen.error("subscribe", &feed.subscribe(too_long).unwrap_err());
    seen.error("unsubscribe", &feed.unsubscribe("nobody").unwrap_err());
    seen.error("send", &feed.send("k4n4ry".repeat(4 << 20)).unwrap_err());

    // Closed by the server, then nobody listens, then back.
    control.all(Command::Close(1001, "going away".into()));
    seen.until(&feed, &lab, disconnected(|reason| matches!(reason, EndReason::ClosedByPeer { .. })));
    seen.until(&feed, &lab, connected);
    control.stop_listening().unwrap();
    control.drop_connections();
    seen.until(&feed, &lab, disconnected(|reason| matches!(reason, EndReason::Io { .. } | EndReason::Eof)));
    seen.until(&feed, &lab, |event| matches!(event, Event::Disconnected(event) if !event.was_connected));
    control.listen_again().unwrap();
    seen.until(&feed, &lab, connected);
    feed.close(CEILING).unwrap();
    seen.until(&feed, &lab, |event| matches!(event, Event::Closed(_)));
    seen.error("closed", &feed.recv().unwrap_err());
    seen.error("closed", &feed.send("k4n4ry").unwrap_err());

    // The secrets were really on their way, and the logs really kept.
    let transcript = lab.transcript();
    let request = transcript.request(1).unwrap();
    assert!(request.path.contains(QUERY), "{request:?}");
    assert!(request.header("Authorization").unwrap().starts_with("Basic "), "{request:?}");
    assert!(request.header("Cookie").unwrap().contains(MARK), "{request:?}");
    let records = records();
    for part in ["TRACE tungstenite", "livefeed", "connected, epoch", "status 503", "stale"] {
        assert!(records.iter().any(|record| record.contains(part)), "no record has {part:?}");
    }
    let bodies: Vec<_> = seen.0.iter().filter(|(_, text)| text.contains("bad request: GET")).collect();
    assert!(bodies.len() >= 3, "the bodies of refusals are shown, but for their secrets");
    seen.check();
}

#[cfg(feature = "native-tls")]
#[test]
fn t2_no_secret_of_a_provider_or_under_tls_is_shown_or_logged() {
    use livefeed::lab::Certificate;
    record_logs();
    let lab = Lab::builder()
        .tls(Certificate::Valid)
        .scripts(|connection| match connection {
            1 => Script::refuse(403).body(echo("Bearer k4n4ry-provided")),
            2 => Script::refuse(429).header("Retry-After", "0").body(echo("k4n4ry-provided")),
            3 => Script::flap(),
            _ => Script::of_topics([Topic::new("text").every(Duration::from_millis(5))]),
        })
        .start()
        .unwrap();
    let untrusted = Lab::builder().tls(Certificate::Valid).start().unwrap();
    let plain = Lab::start(Script::new()).unwrap();
    let shown = std::sync::Arc::new(Mutex::new(Vec::new()));
    let (target, untrusted_url, plain_url) = (url(&lab), url(&untrusted), url(&plain).replace("ws:", "wss:"));
    let asked = std::sync::Arc::clone(&shown);
    let mut calls = 0;
    let provider = move |attempt: &livefeed::Attempt| {
        calls += 1;
        let target = match calls {
            1 => Target::new(untrusted_url.as_str()),
            2 => Target::new(plain_url.as_str()),
            3 => Target::new(target.replace("wss:", "k4n4ry:")),
            4 => Target::new(target.as_str()).header("X-Key", "k4n4ry-key\r\nX: y"),
            5 => Target::new(target.as_str()).header("bad name", "k4n4ry-key"),
            6 => Target::new(target.as_str()).subprotocol("bad subprotocol"),
            7 => Target::new(target.replace("localhost", "k4n4ry..localhost")),
            _ => Target::new(target.as_str()),
        };
        let target = target.header("Authorization", "Bearer k4n4ry-provided");
        asked.lock().unwrap().push(format!("{attempt:?} {target:?}"));
        Ok(target)
    };
    let mut seen = Seen::default();
    let builder = Feed::builder("")
        .provider(provider)
        .header("X-Key", "k4n4ry-key")
        .header("Cookie", "a=1; session=k4n4ry-cookie")
        .header("authorization", "Bearer k4n4ry-bearer")
        .tls(|tls| tls.extra_roots_pem.push(lab.ca_pem().to_owned()))
        .retry_policy(|_, _| Some(Decision::Retry))
        .reconnect(|reconnect| {
            reconnect.floor = Duration::from_millis(5);
            reconnect.first = Duration::from_millis(5);
            reconnect.max = Duration::from_millis(20);
        })
        .subscription(Subscription::new("text").subscribe_text("k4n4ry-text"));
    seen.debug("builder", &builder);
    let feed = builder.open().unwrap();
    seen.until(&feed, &lab, disconnected(|reason| matches!(reason, EndReason::Tls { untrusted: true, .. })));
    seen.until(&feed, &lab, disconnected(|reason| matches!(reason, EndReason::Tls { untrusted: false, .. })));
    for _ in 3..=7 {
        seen.until(&feed, &lab, disconnected(|reason| matches!(reason, EndReason::Provider { .. })));
    }
    for status in [403, 429] {
        seen.until(
            &feed,
            &lab,
            disconnected(
                |reason| matches!(reason, EndReason::UpgradeRefused { status: got, .. } if *got == status),
            ),
        );
    }
    seen.until(&feed, &lab, disconnected(|reason| matches!(reason, EndReason::ClosedByPeer { .. })));
    seen.until(&feed, &lab, connected);
    seen.until(&feed, &lab, |event| matches!(event, Event::Message(_)));
    assert_eq!(feed.send("k4n4ry-sent").unwrap().wait(CEILING), Ok(Outcome::Written));
    wait_for(&lab, received("k4n4ry-sent"));
    feed.close(CEILING).unwrap();
    seen.until(&feed, &lab, |event| matches!(event, Event::Closed(_)));

    let transcript = lab.transcript();
    let request = transcript.request(4).unwrap();
    assert_eq!(request.header("Authorization"), Some("Bearer k4n4ry-provided"), "{transcript}");
    assert_eq!(request.header("X-Key"), Some("k4n4ry-key"), "{transcript}");
    for asked in shown.lock().unwrap().iter() {
        // A scheme and a host are no secrets.
        seen.text("provider", asked.replace("k4n4ry:", "").replace("k4n4ry..", ""));
    }
    seen.check();
}

#[test]
fn t2_no_error_about_a_configuration_shows_a_secret() {
    record_logs();
    let mut seen = Seen::default();
    for json in [
        r#"{"url": ["wss://k4n4ry:k4n4ry@h/"]}"#,
        r#"{"url": "wss://h/", "headers": "k4n4ry"}"#,
        r#"{"url": "wss://h/", "headers": ["k4n4ry"]}"#,
        r#"{"url": "wss://h/", "headers": {"Authorization": ["k4n4ry"]}}"#,
        r#"{"url": "wss://h/", "headers": {"Authorization": {"k4n4ry": 1}}}"#,
        r#"{"url": "wss://h/", "stale_after": "k4n4ry"}"#,
        r#"{"url": "wss://h/", "stale_after": ", expected k4n4ry"}"#,
        r#"{"url": "wss://h/", "queue": "k4n4ry"}"#,
        r#"{"url": "wss://h/", "subscriptions": "k4n4ry"}"#,
        r#"{"url": "wss://h/", "subscriptions": ["k4n4ry"]}"#,
        r#"{"url": "wss://h/", "subscriptions": [{"id": "a", "subscribe": "k4n4ry", "data": "k4n4ry"}]}"#,
        r#"{"url": "wss://h/", "subscriptions": [{"subscribe": "k4n4ry"}]}"#,
        r#"{"url": "wss://h/", "tls": {"min_version": "k4n4ry"}}"#,
        r#"{"url": "wss://k4n4ry:k4n4ry@h/", "#,
        r#"{"url": "wss://h/"} "k4n4ry""#,
        r#""k4n4ry""#,
    ] {
        let error = FeedConfig::from_json(json).expect_err(json);
        seen.error(json.split_once("k4n4ry").unwrap().0, &error);
    }
    for (place, builder) in [
        ("url", Feed::builder("http://u:k4n4ry@h/?k4n4ry")),
        ("url", Feed::builder("wss://u:k4n4ry@h:0/")),
        ("url", Feed::builder("wss://u:k4n4ry@h/?t=k4n4ry#k4n4ry")),
        ("url", Feed::builder("wss://u:k4n4ry/@h/ ")),
        ("headers", Feed::builder("ws://h/").header("Cookie", "k4n4ry\r\nX: y")),
        ("headers", Feed::builder("ws://h/").header("Host", "k4n4ry")),
        ("subscriptions", {
            let long = Subscription::new("a").subscribe_text("k4n4ry".repeat(1000));
            Feed::builder("ws://h/").subscription(long).limits(|limits| limits.subscribe_bytes = 200)
        }),
    ] {
        seen.debug(place, &builder);
        let error = builder.open().expect_err(place);
        assert!(matches!(&error, Error::Config { path, .. } if path.starts_with(place)), "{place}: {error}");
        seen.error(place, &error);
    }
    seen.check();
}

/// A server that repeats everything it is told, in whatever it says.
fn parrot() -> Script {
    Script::new().react(|incoming| {
        let Incoming::Text(text) = incoming else { return Vec::new() };
        let answer = |kind: &str, id: &serde_json::Value| {
            let said = json!({kind: id, "parrot": true, "msg": text, "token": "k4n4ry-token", "key": "k4n4ry-bound"});
            vec![Command::Send(said.to_string())]
        };
        let json: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        match (json["op"].as_str(), json["ch"].as_str()) {
            (Some("login"), _) => answer("welcome", &1.into()),
            (Some("sub"), Some("no")) => answer("nack", &json["id"]),
            (Some("sub"), Some("over")) => {
                [answer("ack", &json["id"]), answer("over", &"over".into())].concat()
            }
            (Some("sub"), _) => [answer("ack", &json["id"]), answer("notice", &1.into())].concat(),
            (Some("probe"), _) => answer("beat", &1.into()),
            (Some("bye"), _) => answer("fatal", &1.into()),
            _ => Vec::new(),
        }
    })
}

#[test]
fn t2_no_secret_of_a_protocol_is_shown_or_logged() {
    record_logs();
    let lab = Lab::start(parrot()).unwrap();
    let mut seen = Seen::default();
    let has = |name: &str| Matcher::exists(format!("/{name}"));
    let secret = |op: &str| json!({"op": op, "ch": "${name}", "id": "${id}", "var": "${secret}", "t": "${token}", "k": "k4n4ry-template"});
    let sub = |name: &str| Subscription::new(name).var("secret", format!("k4n4ry-var-{name}"));
    let builder = Feed::builder(lab.url())
        .defaults(|terms| {
            terms
                .subscribe_json(secret("sub"))
                .unsubscribe_json(secret("unsub"))
                .probe_json(secret("probe"))
                .data(Matcher::pointer("/data", "${key}"))
                .stale_after(Duration::from_millis(100))
                .repair([RepairStep::Probe(Duration::from_millis(200)), RepairStep::Reconnect])
        })
        .login(LoginStep::call(|context| {
            context.set("called", "k4n4ry-called");
            Ok(())
        }))
        .login(
            LoginStep::send_json(json!({"op": "login", "pass": "k4n4ry-pass", "called": "${called}"}))
                .expecting(has("welcome"))
                .capture("token", "/token"),
        )
        .keepalive(
            Keepalive::every(Duration::from_millis(40))
                .send_json(json!({"k": "k4n4ry-keepalive", "t": "${token}"})),
        )
        .rule(Rule::ack(has("ack")).by_id("/ack").bind("key", "/key"))
        .rule(Rule::nack(has("nack")).by_id("/nack"))
        .rule(Rule::ended(has("over")).by_match(Matcher::pointer("/over", "${name}")))
        .rule(Rule::notice(has("notice"), NoticeAction::Alert))
        .rule(Rule::nack(has("fatal")).by_all().class(ErrorClass::ConnectionFatal))
        .rule(
            Rule::heartbeat(has("beat"))
                .capture("token", "/token")
                .reply_json(json!({"r": "${/token} k4n4ry-reply"})),
        );
    seen.debug("builder", &builder);
    let builder =
        ["fine", "no", "over"].into_iter().fold(builder, |builder, name| builder.subscription(sub(name)));
    let mut config = None;
    let builder = builder.config(|whole| config = Some(whole.clone()));
    seen.debug("config", &config);
    let text = serde_json::to_string(&config).unwrap_or_else(|error| error.to_string());
    seen.text("config", text);

    let feed = builder.open().unwrap();
    let said = |wanted: &'static str| move |event: &Event| event.name() == wanted;
    seen.until(&feed, &lab, connected);
    for wanted in ["refused", "ended"] {
        seen.until(&feed, &lab, said(wanted));
    }
    for canary in [
        "k4n4ry-pass",
        "k4n4ry-called",
        "k4n4ry-var-fine",
        "k4n4ry-token",
        "k4n4ry-keepalive",
        "k4n4ry-reply",
    ] {
        wait_for(&lab, received(canary));
    }
    seen.until(&feed, &lab, disconnected(|reason| matches!(reason, EndReason::Stale { .. })));
    seen.until(&feed, &lab, connected);
    for question in
        [json!({"q": "${nobody}", "k": "k4n4ry-question"}), json!({"op": "bye", "k": "k4n4ry-question"})]
    {
        let asked = feed.request(question, Matcher::exists("/never"), CEILING);
        seen.error("request", &asked.unwrap_err());
    }
    seen.until(&feed, &lab, disconnected(|reason| matches!(reason, EndReason::ServerError { .. })));
    feed.unsubscribe("fine").unwrap();
    // What is wrong in a subscription is said without its values.
    let wrong = sub("wrong").subscribe_json(json!({"k4n4ry-name": "${nobody} k4n4ry-text"}));
    seen.debug("subscription", &wrong);
    feed.subscribe(wrong).unwrap();
    seen.until(&feed, &lab, |event| {
        matches!(event, Event::Alert(alert) if matches!(alert.kind, AlertKind::SubscribeFailed { .. }))
    });
    let broken = FeedConfig::from_json(
        r#"{"url": "ws://h", "login": [{"send": "k4n4ry-send", "expect": "k4n4ry-expect"}]}"#,
    );
    seen.error("from_json", &broken.unwrap_err());
    feed.close(CEILING).unwrap();
    seen.check();
}

#[test]
fn t2_where_a_server_sends_the_feed_to_is_not_shown() {
    record_logs();
    let script = Script::new().greet(|request| {
        let url = match (request.path.as_str(), request.header("Host")) {
            ("/feed", Some(host)) => format!("ws://{host}/next?token=k4n4ry-moved"),
            _ => "http://k4n4ry-nowhere/k4n4ry-nowhere".to_owned(),
        };
        vec![Command::Send(json!({"from": "parrot", "move": url}).to_string())]
    });
    let lab = Lab::start(script).unwrap();
    let mut seen = Seen::default();
    let moved = Rule::notice(Matcher::exists("/move"), NoticeAction::GoTo(GoTo::at("/move")));
    let builder = Feed::builder(lab.url()).rule(moved).reconnect(|reconnect| {
        let short = Duration::from_millis(5);
        (reconnect.floor, reconnect.first, reconnect.max) = (short, short, short);
    });
    let feed = builder.open().unwrap();
    seen.until(&feed, &lab, |event| matches!(event, Event::Alert(_)));
    assert_eq!(lab.transcript().request(2).unwrap().path, "/next?token=k4n4ry-moved");
    seen.until(&feed, &lab, connected);
    feed.close(CEILING).unwrap();
    seen.check();
}
