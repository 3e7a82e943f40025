//! The silence of one subscription among others, from servers that nobody here wrote.
//!
//! - graphql-ws, socket.io and ocpp-rpc for Node.js: `LIVEFEED_NODE_MODULES` names the `node_modules` that have `graphql`,
//!   `graphql-ws` and `ws`, `socket.io`, and `ocpp-rpc`, unless `node` finds them by itself.
//! - nostr-relay for Python: `LIVEFEED_NOSTR_RELAY` names the program, unless it is in `PATH`. Events are signed and
//!   published by the Python beside it, with the package `aionostr` that it brings.
//! - nats-server: `LIVEFEED_NATS_SERVER` names the program, unless it is in `PATH`. It is read by the dialect of the example
//!   `nats`.
//!
//! Where one is not installed its tests say so and pass.

use crate::common::*;
use crate::conformance::{config_at, json as json_of, open};
use livefeed::{
    AlertKind, Ended, Event, Feed, FeedConfig, GapCause, Keepalive, Matcher, Refused, Repair, RepairStep,
    Stale, Subscription,
};
use serde_json::json;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// How long a topic may be silent. The servers share the machine with all other tests.
const STALE: Duration = ms(1500);

/// Another program takes longer than we do.
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// A program that is ended together with all its children.
struct Process(Child);

impl Process {
    fn start(command: &mut Command) -> std::io::Result<Self> {
        use std::os::unix::process::CommandExt;
        command.process_group(0).stdin(Stdio::piped()).spawn().map(Self)
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let kill = format!("kill -KILL -{}", self.0.id());
        drop(Command::new("sh").arg("-c").arg(kill).stderr(Stdio::null()).status());
        drop(self.0.wait());
    }
}

fn servers() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/protocols/servers")
}

fn skip(what: &str) {
    println!("skipped: {what}");
}

/// The data file for a real server: its limits are shorter, and heartbeats go on.
fn real(file: &str, addr: SocketAddr) -> FeedConfig {
    let mut config = config_at(file, addr);
    for subscription in &mut config.subscriptions {
        subscription.terms.stale_after = Some(STALE.into());
        subscription.terms.first_data_within = Some(STALE.into());
        subscription.terms.repair = Some(vec![RepairStep::Resubscribe(STALE), RepairStep::Reconnect]);
    }
    config.stale_after = STALE.into();
    config
}

fn is_of(event: &Event, id: &str) -> bool {
    matches!(event, Event::Message(message) if message.subscriptions().iter().any(|of| of.as_str() == id))
}

fn count(events: &[Event], id: &str) -> usize {
    events.iter().filter(|event| is_of(event, id)).count()
}

/// Reads until each of these has had a message, or some more.
fn until_flow(feed: &Feed, ids: &[&str], messages: usize) -> Vec<Event> {
    let mut counts = vec![0; ids.len()];
    until(feed, |event| {
        for (at, id) in ids.iter().enumerate() {
            counts[at] += usize::from(is_of(event, id));
        }
        counts.iter().all(|count| *count >= messages)
    })
}

fn until_refused(feed: &Feed) -> Refused {
    let events = until(feed, |event| matches!(event, Event::Refused(_)));
    let Some(Event::Refused(refused)) = events.last() else { unreachable!() };
    (**refused).clone()
}

fn until_ended(feed: &Feed) -> Ended {
    let events = until(feed, |event| matches!(event, Event::Ended(_)));
    let Some(Event::Ended(ended)) = events.last() else { unreachable!() };
    (**ended).clone()
}

fn said(stale: &Stale) -> (&str, Repair) {
    (stale.subscription.as_ref().map_or("", |id| id.as_str()), stale.next)
}

/// The gaps among these.
fn gaps(events: &[Event]) -> Vec<GapCause> {
    events
        .iter()
        .filter_map(|event| if let Event::Gap(gap) = event { Some(gap.cause) } else { None })
        .collect()
}

// ---- graphql-ws ------------------------------------------------------------------------------------------------

/// A server for Node.js of `tests/protocols/servers` that needs these packages: the program, where it is, and what it
/// says besides.
fn node(script: &str, packages: &[&str]) -> Option<(Process, SocketAddr, Receiver<String>)> {
    let node = |args: &[&str]| {
        let mut command = Command::new("node");
        command.args(args);
        if let Some(modules) = std::env::var_os("LIVEFEED_NODE_MODULES") {
            command.env("NODE_PATH", modules);
        }
        command
    };
    let look: String = packages.iter().map(|package| format!("require('{package}');")).collect();
    let found = node(&["-e", &look]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        let packages = packages.join(" ");
        skip(&format!("not installed: npm i {packages}, and LIVEFEED_NODE_MODULES=.../node_modules"));
        return None;
    }
    let script = servers().join(script);
    let mut command = node(&[script.to_str().unwrap()]);
    let mut process = Process::start(command.stdout(Stdio::piped())).unwrap();
    let stdout = process.0.stdout.take().unwrap();
    let (sender, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let line = said.recv_timeout(STARTS_WITHIN).expect("the server says its port");
    let port: u16 = line.trim().parse().expect("a port");
    Some((process, SocketAddr::from((Ipv4Addr::LOCALHOST, port)), said))
}

fn graphql() -> Option<(Process, SocketAddr)> {
    let (process, addr, _) = node("graphql.cjs", &["graphql", "graphql-ws", "ws"])?;
    Some((process, addr))
}

/// The data file, with pings of the protocol.
fn graphql_config(addr: SocketAddr) -> FeedConfig {
    let mut config = real("graphql-transport-ws", addr);
    let ping = Keepalive::every(ms(50)).send_json(json!({"type": "ping"}));
    config.keepalives = vec![ping.expect(Matcher::pointer("/type", "pong")).within(CEILING)];
    config
}

#[test]
fn graphql_ws_a_generator_stops_yielding() {
    let Some((mut server, addr)) = graphql() else { return };
    let feed = open(graphql_config(addr));
    until_flow(&feed, &["greetings", "prices"], 5);
    server.tell("stall price");
    let (events, stale) = until_stale(&feed);
    assert_eq!(said(&stale), ("prices", Repair::Resubscribe));
    assert!(count(&events, "greetings") > 20, "the other goes on");
    let events = until_flow(&feed, &["prices", "greetings"], 5);
    assert_eq!(gaps(&events), [GapCause::Resubscribed]);
    let gap = events.iter().position(|event| matches!(event, Event::Gap(_)));
    assert!(gap < events.iter().position(|event| is_of(event, "prices")), "{:?}", names(&events));
    let health = feed.health();
    assert_eq!((health.connections, health.unmatched), (1, 0), "{health:#?}");
    feed.close(CEILING).unwrap();
}

#[test]
fn graphql_ws_refuses_and_completes() {
    let Some((mut server, addr)) = graphql() else { return };
    let mut config = graphql_config(addr);
    config.subscriptions.push(Subscription::new("wrong").var("query", "subscription { nothing }"));
    let feed = open(config);
    let refused = until_refused(&feed);
    assert_eq!(refused.subscription.as_str(), "wrong");
    assert_eq!(refused.detail, "Cannot query field \"nothing\" on type \"Subscription\".");
    until_flow(&feed, &["greetings", "prices"], 5);
    server.tell("end price");
    assert_eq!(until_ended(&feed).subscription.as_str(), "prices");
    let events = until_flow(&feed, &["prices"], 5);
    assert_eq!(gaps(&events), [GapCause::Resubscribed]);
    feed.unsubscribe("greetings").unwrap();
    until_flow(&feed, &["prices"], 20);
    assert_eq!(feed.health().connections, 1);
    feed.close(CEILING).unwrap();
}

// ---- socket.io -------------------------------------------------------------------------------------------------

/// The numbers of a channel's messages.
fn bids(events: &[Event], channel: &str) -> Vec<u64> {
    let bids = events.iter().filter_map(|event| match event {
        Event::Message(message) => {
            let json = json_of(message);
            (json[1][1]["channel"] == channel).then(|| json[1][1]["bid"].as_u64().unwrap())
        }
        _ => None,
    });
    bids.collect()
}

#[test]
fn socket_io_sends_what_was_missed_and_a_channel_goes_mute() {
    let Some((mut server, addr, _)) = node("socket_io.cjs", &["socket.io"]) else { return };
    let feed = open(real("socket-io", addr));
    let mut events = until_flow(&feed, &["btc", "eth"], 5);
    server.tell("cut");
    events.extend(until(&feed, |event| matches!(event, Event::Connected(connected) if connected.epoch == 2)));
    let hello = r#"["42",["hello",{"recovered":true}"#;
    events.extend(until(
        &feed,
        |event| matches!(event, Event::Message(message) if message.text().is_some_and(|text| text.starts_with(hello))),
    ));
    events.extend(until_flow(&feed, &["btc", "eth"], 5));
    // Nothing is missing, though there was no connection for a while.
    for channel in ["btc", "eth"] {
        let bids = bids(&events, channel);
        assert!(bids.windows(2).all(|pair| pair[1] == pair[0] + 1), "{channel}: {bids:?}");
    }
    server.tell("stall eth");
    let (events, stale) = until_stale(&feed);
    assert_eq!(said(&stale), ("eth", Repair::Resubscribe));
    assert!(count(&events, "btc") > 20, "the other goes on");
    until_flow(&feed, &["btc", "eth"], 5);
    let health = feed.health();
    assert_eq!(health.connections, 2, "{health:#?}");
    feed.close(CEILING).unwrap();
}

#[test]
fn socket_io_refuses_a_channel() {
    let Some((_server, addr, _)) = node("socket_io.cjs", &["socket.io"]) else { return };
    let mut config = real("socket-io", addr);
    config.subscriptions.push(Subscription::new("wrong").var("channel", "a\"b"));
    let feed = open(config);
    let refused = until_refused(&feed);
    assert_eq!((refused.subscription.as_str(), refused.detail.as_str()), ("wrong", "no channel a\"b"));
    until_flow(&feed, &["btc", "eth"], 5);
    feed.close(CEILING).unwrap();
}

// ---- ocpp-rpc --------------------------------------------------------------------------------------------------

#[test]
fn ocpp_rpc_gets_heartbeats_and_answers() {
    let Some((mut server, addr, said)) = node("ocpp.cjs", &["ocpp-rpc"]) else { return };
    let mut config = config_at("ocpp-j", addr);
    crate::conformance::no_limits(&mut config);
    let feed = open(config);
    feed.wait_connected(CEILING).unwrap();
    let next = || said.recv_timeout(CEILING).unwrap();
    assert_eq!(next(), "heartbeat");
    server.tell("call Reset");
    until_flow(&feed, &["calls"], 1);
    assert_eq!(next(), "answered {}");
    assert_eq!(next(), "heartbeat");
    assert_eq!(feed.health().connections, 1);
    feed.close(CEILING).unwrap();
}

// ---- nostr-relay -----------------------------------------------------------------------------------------------

/// A relay, one who publishes to it, and the folder with its data.
struct Relay {
    addr: SocketAddr,
    publisher: Process,
    _relay: Process,
    folder: PathBuf,
}

impl Drop for Relay {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

fn relay(name: &str) -> Option<Relay> {
    let program = std::env::var_os("LIVEFEED_NOSTR_RELAY").map(PathBuf::from).or_else(|| {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join("nostr-relay")).find(|file| file.is_file())
    });
    let Some(program) = program.filter(|file| file.is_file()) else {
        skip(
            "nostr-relay is not installed: pip install nostr-relay, and have it in PATH or LIVEFEED_NOSTR_RELAY",
        );
        return None;
    };
    let folder = std::env::temp_dir().join(format!("livefeed-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let (relay, addr) = listening(&program, &folder);
    let python = program.with_file_name("python3");
    let url = format!("ws://{addr}");
    let mut command = Command::new(python);
    let publisher = Process::start(command.arg(servers().join("nostr.py")).arg(url)).unwrap();
    Some(Relay { addr, publisher, _relay: relay, folder })
}

/// Starts it until it gets a port that nobody else takes in between.
fn listening(program: &Path, folder: &Path) -> (Process, SocketAddr) {
    for _ in 0..5 {
        let addr = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let file = folder.join(format!("{}.yaml", addr.port()));
        let data = folder.join(format!("{}.sqlite3", addr.port()));
        let config = json!({
            "DEBUG": false,
            "storage": {
                "sqlalchemy.url": format!("sqlite+aiosqlite:///{}", data.display()),
                "validators": ["nostr_relay.validators.is_signed"]
            },
            "gunicorn": {"bind": addr.to_string(), "workers": 1, "loglevel": "error"}
        });
        // JSON is YAML.
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(program);
        command
            .arg("-c")
            .arg(&file)
            .arg("serve")
            .current_dir(folder)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut process = Process::start(&mut command).unwrap();
        let begin = Instant::now();
        while begin.elapsed() < STARTS_WITHIN {
            if TcpStream::connect_timeout(&addr, ms(100)).is_ok() {
                return (process, addr);
            }
            if process.0.try_wait().unwrap().is_some() {
                break;
            }
            // Nothing tells that it listens.
            pause(ms(20));
        }
    }
    panic!("nostr-relay does not start")
}

/// The data file with other kinds: of kind 0 a relay keeps only the latest.
fn nostr_config(relay: &Relay) -> FeedConfig {
    let mut config = real("nostr", relay.addr);
    config.subscriptions[1].terms.vars.insert("kind", 7);
    config
}

/// The publisher's number in an event.
fn number(event: &Event) -> u64 {
    let Event::Message(message) = event else { return 0 };
    let content = &json_of(message)[2]["content"];
    content.as_str().and_then(|text| text.strip_prefix("number ")?.parse().ok()).unwrap()
}

#[test]
fn nostr_relay_nobody_publishes_to_one_topic_any_more() {
    let Some(mut relay) = relay("silence") else { return };
    let feed = open(nostr_config(&relay));
    relay.publisher.tell("go 1");
    relay.publisher.tell("go 7");
    until_flow(&feed, &["notes", "profiles"], 3);
    relay.publisher.tell("stop 7");
    let (events, stale) = until_stale(&feed);
    assert_eq!(said(&stale), ("profiles", Repair::Resubscribe));
    assert!(count(&events, "notes") > 5, "the other goes on");
    // Asked again, the relay sends what it has stored. That alone heals nothing: the next rung comes.
    let (events, stale) = until_stale(&feed);
    assert_eq!(said(&stale), ("profiles", Repair::Reconnect));
    assert_eq!(gaps(&events), [GapCause::Resubscribed]);
    assert!(count(&events, "profiles") > 0 && count(&events, "notes") > 5);
    let last = events.iter().filter(|event| is_of(event, "profiles")).map(number).max();
    relay.publisher.tell("go 7");
    let events = until(&feed, |event| matches!(event, Event::Connected(_)));
    assert!(!events.iter().any(|event| matches!(event, Event::Message(_))));
    let events = until(&feed, |event| is_of(event, "profiles") && Some(number(event)) > last);
    assert_eq!(gaps(&events), [GapCause::Reconnected]);
    let health = feed.health();
    assert_eq!((health.connections, health.unmatched, health.refused), (2, 0, 0), "{health:#?}");
    feed.close(CEILING).unwrap();
}

#[test]
fn nostr_relay_does_not_answer_a_filter_that_is_none() {
    let Some(mut relay) = relay("filter") else { return };
    relay.publisher.tell("go 1");
    relay.publisher.tell("go 7");
    let mut config = nostr_config(&relay);
    config.defaults.ack_timeout = Some(ms(1000));
    let wrong = Subscription::new("wrong").subscribe_json(json!(["REQ", "wrong", ["x"]])).var("kind", 1);
    config.subscriptions.push(wrong);
    let feed = open(config);
    // It only says a word that is for nobody.
    let mut notice = false;
    let events = until(&feed, |event| {
        notice |= matches!(event, Event::Alert(alert) if alert.kind == AlertKind::Notice { detail: "not a query".to_owned() });
        matches!(event, Event::Refused(_))
    });
    let Some(Event::Refused(refused)) = events.last() else { unreachable!() };
    assert_eq!(refused.subscription.as_str(), "wrong");
    assert!(notice && refused.detail.contains("no answer"), "{refused:?}");
    until_flow(&feed, &["notes", "profiles"], 3);
    assert_eq!(feed.health().connections, 1);
    feed.close(CEILING).unwrap();
}

// ---- nats-server -----------------------------------------------------------------------------------------------

/// A server of NATS, and the folder with what it is told.
struct NatsServer {
    process: Process,
    url: String,
    clients: String,
    folder: PathBuf,
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// Whoever comes may subscribe to everything but these.
fn nats_permissions(folder: &Path, denied: &[&str]) {
    let text = format!(
        "listen: \"127.0.0.1:-1\"\nwebsocket {{ listen: \"127.0.0.1:-1\", no_tls: true }}\nno_auth_user: reader\n\
         accounts {{ A {{ users: [\n{{user: reader, password: x, permissions: {{subscribe: {{deny: {denied:?}}}}}}}\n\
         {{user: writer, password: y}}\n] }} }}\n"
    );
    std::fs::write(folder.join("nats.conf"), text).unwrap();
}

fn nats_server() -> Option<NatsServer> {
    let program = std::env::var_os("LIVEFEED_NATS_SERVER").unwrap_or_else(|| "nats-server".into());
    let found = Command::new(&program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        skip("nats-server is not installed: have it in PATH, or LIVEFEED_NATS_SERVER");
        return None;
    }
    let folder = std::env::temp_dir().join(format!("livefeed-nats-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    nats_permissions(&folder, &["bad.>"]);
    let mut command = Command::new(&program);
    let mut process =
        Process::start(command.arg("-c").arg(folder.join("nats.conf")).stderr(Stdio::piped())).unwrap();
    let stderr = process.0.stderr.take().unwrap();
    let (sender, said) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let after = |words: &str| loop {
        let line = said.recv_timeout(STARTS_WITHIN).expect("the server says its ports");
        if let Some((_, rest)) = line.split_once(words) {
            return rest.trim().to_owned();
        }
    };
    let url = after("Listening for websocket clients on ");
    let clients = after("Listening for client connections on ");
    Some(NatsServer { process, url, clients, folder })
}

/// Publishes on two subjects; on the second only while it is told to.
fn nats_publisher(server: &NatsServer, goes_on: &Arc<AtomicBool>, second: &Arc<AtomicBool>) {
    let mut stream = TcpStream::connect(&server.clients).unwrap();
    stream.write_all(b"CONNECT {\"verbose\":false,\"user\":\"writer\",\"pass\":\"y\"}\r\n").unwrap();
    let (goes_on, second) = (Arc::clone(goes_on), Arc::clone(second));
    std::thread::spawn(move || {
        while goes_on.load(Ordering::Relaxed) {
            let more: &[u8] = if second.load(Ordering::Relaxed) { b"PUB feed.b 5\r\nhello\r\n" } else { b"" };
            if stream.write_all(&[b"PUB feed.a 5\r\nhello\r\n", more].concat()).is_err() {
                return;
            }
            pause(ms(10));
        }
    });
}

#[test]
fn nats_server_refuses_goes_mute_and_takes_a_permission_away() {
    use crate::nats::example::dialect::{Client, feed as nats_feed};
    let Some(server) = nats_server() else { return };
    let (goes_on, second) = (Arc::new(AtomicBool::new(true)), Arc::new(AtomicBool::new(true)));
    nats_publisher(&server, &goes_on, &second);
    let client = Client::default();
    let limited = |sid: &str, subject: &str| {
        client
            .subscription(sid, subject)
            .stale_after(STALE)
            .repair([RepairStep::Resubscribe(STALE), RepairStep::Reconnect])
    };
    let feed = nats_feed(&server.url, &client)
        .stale_after(STALE)
        .subscription(limited("a", "feed.a"))
        .subscription(limited("b", "feed.b"))
        .subscription(limited("x", "bad.x"))
        .open()
        .unwrap();
    let refused = until_refused(&feed);
    assert_eq!(refused.subscription.as_str(), "x");
    assert!(refused.detail.contains("Permissions Violation"), "{}", refused.detail);
    until_flow(&feed, &["a", "b"], 5);
    second.store(false, Ordering::Relaxed);
    let (events, stale) = until_stale(&feed);
    assert_eq!(said(&stale), ("b", Repair::Resubscribe));
    assert!(count(&events, "a") > 20, "the other goes on");
    second.store(true, Ordering::Relaxed);
    let events = until_flow(&feed, &["a", "b"], 5);
    assert_eq!(gaps(&events), [GapCause::Resubscribed]);
    // The socket stays, and so do its pings.
    nats_permissions(&server.folder, &["bad.>", "feed.a"]);
    let reload = format!("kill -HUP {}", server.process.0.id());
    assert!(Command::new("sh").arg("-c").arg(reload).status().unwrap().success());
    let ended = until_ended(&feed);
    assert_eq!((ended.subscription.as_str(), ended.retry_in), ("a", None));
    until_flow(&feed, &["b"], 20);
    assert_eq!(feed.health().connections, 1);
    goes_on.store(false, Ordering::Relaxed);
    feed.close(CEILING).unwrap();
}
