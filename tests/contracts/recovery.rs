//! R1 to R4 and R6: every end is typed and repaired, no server is hammered, and giving up is said.

use crate::common::{CEILING, names, until};
use crate::watch::{eventually, handled, lab_sees, quick, to_the_end, until_from};
use livefeed::lab::{Certificate, Command, Lab, Received, Script, Topic, Violation, What};
use livefeed::{
    AlertKind, CloseReason, Decision, Disconnected, EndReason, Error, Event, Feed, FeedBuilder, GapCause,
    Limit, ProviderError, Stage, Target,
};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

pub(crate) fn ms(count: u64) -> Duration {
    Duration::from_millis(count)
}

/// A connection with nothing wrong.
pub(crate) fn fine() -> Script {
    Script::of_topics([Topic::new("btc").every(ms(5))])
}

/// The first connection as given, all later ones fine.
fn once(script: Script) -> Lab {
    Lab::builder().scripts(move |n| if n == 1 { script.clone() } else { fine() }).start().unwrap()
}

pub(crate) fn is_message(event: &Event) -> bool {
    matches!(event, Event::Message(_))
}

pub(crate) fn is_connected(event: &Event) -> bool {
    matches!(event, Event::Connected(_))
}

fn is_disconnected(event: &Event) -> bool {
    matches!(event, Event::Disconnected(_))
}

fn ends(events: &[Event]) -> Vec<&Disconnected> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Disconnected(end) => Some(&**end),
            _ => None,
        })
        .collect()
}

/// When each connection was accepted.
fn accepted(lab: &Lab) -> Vec<Instant> {
    let transcript = lab.transcript();
    let accepted = transcript.entries().iter().filter(|e| matches!(e.what, What::Accepted { .. }));
    accepted.map(|e| e.at).collect()
}

// ---- R1, R2: no server is hammered ---------------------------------------------------------------------------

const FIRST: Duration = Duration::from_millis(4);
const FLOOR: Duration = Duration::from_millis(2);
const MAX: Duration = Duration::from_millis(600);

fn growing(lab: &Lab) -> FeedBuilder {
    Feed::builder(lab.url())
        .reconnect(|r| (r.floor, r.first, r.max, r.stable_after) = (FLOOR, FIRST, MAX, ms(1)))
}

/// The delays that `count` ends in a row announced, each checked against what the server saw.
fn delays(lab: &Lab, builder: FeedBuilder, count: usize) -> Vec<Duration> {
    let (feed, events) = handled(builder);
    let mut left = count + 1;
    let events = until_from(&events, |event| {
        left -= usize::from(is_disconnected(event));
        left == 0
    });
    feed.close(CEILING).unwrap();
    let mut delays: Vec<_> = ends(&events).iter().map(|end| end.retry_in.unwrap()).collect();
    delays.pop();
    for (pair, delay) in accepted(lab).windows(2).zip(&delays) {
        let waited = pair[1] - pair[0];
        assert!(waited >= *delay, "waited {waited:?}, announced {delay:?}:\n{}", lab.transcript());
    }
    delays
}

#[track_caller]
fn assert_grow(delays: &[Duration]) {
    for (n, delay) in delays.iter().enumerate() {
        let bound = FIRST.saturating_mul(1 << n).min(MAX);
        assert!((FLOOR..=bound).contains(delay), "delay {n} of {delays:?}");
    }
    // Were the bound begun anew, none would be longer than the first. By chance that happens once in 10^8 runs.
    assert!(delays.iter().any(|delay| *delay > FIRST), "they do not grow: {delays:?}");
}

#[test]
fn r1_a_server_that_accepts_and_closes_is_not_hammered() {
    let lab = Lab::start(Script::new().send(r#"{"hello":1}"#).close(1001, "going away")).unwrap();
    let delays = delays(&lab, growing(&lab).reconnect(|r| r.stable_after = CEILING), 8);
    assert_grow(&delays);
}

#[test]
fn r1_a_connection_that_never_delivered_data_does_not_begin_the_delays_anew() {
    // It is up for longer than `stable_after`, but a heartbeat is all it says.
    let lab = Lab::start(Script::new().send("hb").for_(ms(5)).close(1001, "")).unwrap();
    let builder = growing(&lab).heartbeat(livefeed::Matcher::text("hb"));
    assert_grow(&delays(&lab, builder, 8));
}

#[test]
fn r1_a_server_that_says_hello_and_goes_mute_is_not_hammered() {
    let lab = Lab::start(Script::new().send(r#"{"hello":1}"#)).unwrap();
    assert_grow(&delays(&lab, growing(&lab).stale_after(ms(30)), 8));
}

#[test]
fn r1_a_stable_connection_with_data_begins_the_delays_anew() {
    let lab = Lab::start(Script::new().send(r#"{"hello":1}"#).for_(ms(5)).close(1001, "")).unwrap();
    let delays = delays(&lab, growing(&lab), 8);
    assert!(delays.iter().all(|delay| (FLOOR..=FIRST).contains(delay)), "{delays:?}");
}

#[test]
fn r2_no_failure_is_retried_without_a_delay() {
    // What fails without the network is as fast as a failure can be.
    let asked = Arc::new(Mutex::new(Vec::new()));
    let times = Arc::clone(&asked);
    let builder = Feed::builder("").reconnect(|r| (r.floor, r.first, r.max) = (ms(5), ms(5), ms(5)));
    let (feed, events) = handled(builder.provider(move |_| {
        times.lock().unwrap().push(Instant::now());
        Err(ProviderError::retry("no token yet"))
    }));
    let mut left = 10;
    until_from(&events, |event| {
        left -= i32::from(is_disconnected(event));
        left == 0
    });
    feed.close(CEILING).unwrap();
    let asked = asked.lock().unwrap();
    assert!(asked.windows(2).all(|pair| pair[1] - pair[0] >= ms(5)), "{asked:?}");
}

#[test]
fn r4_an_attempt_that_fails_at_once_is_always_followed_by_the_next() {
    // The attempt may be over before the controller has gone to sleep after ordering it: its wake-up must not
    // be lost, or the feed would be dead and not say so.
    let builder = Feed::builder("").reconnect(|r| (r.floor, r.first, r.max) = (ms(1), ms(1), ms(1)));
    let (feed, events) = handled(builder.provider(|_| Err(ProviderError::retry("no token yet"))));
    for n in 0..1500 {
        let next = events.recv_timeout(CEILING);
        assert!(next.is_ok_and(|event| is_disconnected(&event)), "after {n} attempts: {:?}", feed.health());
    }
    feed.close(CEILING).unwrap();
}

#[test]
fn r2_retry_after_is_a_floor() {
    let labs = [429, 503].map(|status| once(Script::refuse(status).header("Retry-After", "1")));
    let feeds = [0, 1].map(|n: usize| quick(labs[n].url()).open().unwrap());
    for (lab, feed) in labs.iter().zip(&feeds) {
        let events = until(feed, is_message);
        let ends = ends(&events);
        let [end] = ends[..] else { panic!("{:?}", names(&events)) };
        assert!(
            matches!(end.reason, EndReason::UpgradeRefused { retry_after: Some(asked), .. } if asked == ms(1000)),
            "{end:?}"
        );
        assert!(end.retry_in.unwrap() >= ms(1000), "{end:?}");
        let accepted = accepted(lab);
        assert!(accepted[1] - accepted[0] >= ms(1000), "{}", lab.transcript());
    }
}

// ---- R3: one budget, and addresses and secrets asked for anew -------------------------------------------------

/// A server that leaves an attempt hanging.
pub(crate) struct Stall {
    pub(crate) stage: Stage,
    pub(crate) lab: Lab,
    /// What keeps the backlog full.
    _filler: Vec<TcpStream>,
}

impl Stall {
    /// A feed that trusts the lab.
    pub(crate) fn feed(&self) -> FeedBuilder {
        let builder = quick(self.lab.url());
        if self.lab.ca_pem().is_empty() {
            return builder;
        }
        builder.tls(|tls| tls.extra_roots_pem.push(self.lab.ca_pem().to_owned()))
    }

    /// Waits until the feed's attempt hangs in it.
    #[track_caller]
    pub(crate) fn wait(&self, feed: &Feed) {
        until(feed, |event| matches!(event, Event::Connecting(_)));
        let is_tls = !self.lab.ca_pem().is_empty();
        // Nothing tells that an attempt met the full backlog.
        if self.stage != Stage::Connect {
            lab_sees(&self.lab, "the attempt", |entry| match &entry.what {
                What::TlsDone => is_tls && self.stage == Stage::Upgrade,
                What::Accepted { .. } => !is_tls || self.stage == Stage::Tls,
                _ => false,
            });
        }
    }
}

/// What makes one for each stage that a server can stall, fine from the second connection on.
const STALLS: [fn() -> Stall; 5] = [
    full_backlog,
    || stall(Stage::Tls, tls(Script::stall_tls())),
    || stall(Stage::Upgrade, once(Script::never_upgrade())),
    || stall(Stage::Upgrade, tls(Script::never_upgrade())),
    || stall(Stage::Upgrade, once(Script::trickle_upgrade(ms(50)))),
];

/// One of each.
pub(crate) fn stalls() -> Vec<Stall> {
    STALLS.iter().map(|make| make()).collect()
}

fn stall(stage: Stage, lab: Lab) -> Stall {
    Stall { stage, lab, _filler: Vec::new() }
}

fn tls(script: Script) -> Lab {
    let lab = Lab::builder().tls(Certificate::Valid);
    lab.scripts(move |n| if n == 1 { script.clone() } else { fine() }).start().unwrap()
}

/// The system completes no connection while its backlog is full.
fn full_backlog() -> Stall {
    let lab = Lab::builder().backlog(1).script(fine()).start().unwrap();
    lab.control().accept(false).unwrap();
    let mut filler = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&lab.addr(), ms(100)) {
        filler.push(stream);
        assert!(filler.len() < 100, "the backlog never fills");
    }
    Stall { stage: Stage::Connect, lab, _filler: filler }
}

#[test]
fn r3_one_budget_bounds_every_stage_of_an_attempt() {
    for make in STALLS {
        // On a busy machine an earlier stage may use a short budget up.
        let met = [300, 1_200, 4_800].into_iter().any(|budget| is_bounded(&make(), ms(budget)));
        assert!(met, "no attempt came as far as {}", make().stage);
    }
}

/// Whether the attempt came as far as the stall; it ended in time in any case, and the next one was fine.
fn is_bounded(stall: &Stall, budget: Duration) -> bool {
    const STAGES: [Stage; 3] = [Stage::Connect, Stage::Tls, Stage::Upgrade];
    let stage = stall.stage;
    let feed = stall.feed().connect(|c| (c.timeout, c.stagger) = (budget, ms(50))).open().unwrap();
    let mut events = until(&feed, is_disconnected);
    let Some(Event::Disconnected(end)) = events.pop() else { unreachable!() };
    let EndReason::AttemptTimeout { stage: at, budget: of, .. } = end.reason else {
        panic!("{stage}: {end:?}")
    };
    assert_eq!(of, budget);
    assert!(!end.was_connected && end.retry_in.is_some());
    let Some(Event::Connecting(begin)) = events.pop() else { panic!("{stage}: {events:?}") };
    let took = end.time.duration_since(begin.time).unwrap() + ms(1);
    assert!((budget..budget + ms(1500)).contains(&took), "{stage}: {took:?}");
    stall.lab.control().accept(true).unwrap();
    until(&feed, is_message);
    feed.close(CEILING).unwrap();
    let place = |stage| STAGES.iter().position(|it| *it == stage);
    assert!(place(at).is_some() && place(at) <= place(stage), "{stage}: {at}");
    at == stage
}

#[test]
fn r3_the_provider_is_part_of_the_budget() {
    let lab = Lab::start(fine()).unwrap();
    let url = lab.url();
    let (busy, work) = crossbeam_channel::bounded::<()>(0);
    let feed = quick("").connect(|c| (c.timeout, c.stagger) = (ms(100), ms(50))).provider(move |attempt| {
        if attempt.number == 1 {
            let _ = work.recv_timeout(ms(150));
        }
        Ok(Target::new(url.as_str()))
    });
    let feed = feed.open().unwrap();
    let events = until(&feed, is_message);
    drop(busy);
    // On a busy machine a later attempt may use its budget up, too.
    let ends = ends(&events);
    let Some(EndReason::AttemptTimeout { .. }) = ends.first().map(|end| &end.reason) else {
        panic!("the provider used the budget up: {:?}, {ends:?}", names(&events));
    };
    feed.close(CEILING).unwrap();
}

#[test]
fn r3_the_provider_is_asked_anew_at_each_attempt() {
    let lab = Lab::builder()
        .scripts(|n| match n {
            1 => Script::refuse(503),
            2 => Script::new().reset(),
            _ => fine(),
        })
        .start()
        .unwrap();
    let base = lab.url();
    let told = Arc::new(Mutex::new(Vec::new()));
    let attempts = Arc::clone(&told);
    let count = AtomicUsize::new(0);
    let builder = quick("").header("X-Fixed", "same").header("X-Token", "none").provider(move |attempt| {
        let n = count.fetch_add(1, Ordering::Relaxed) + 1;
        attempts.lock().unwrap().push((attempt.number, attempt.epoch, attempt.previous.clone()));
        match n {
            2 => Err(ProviderError::retry("no token yet")),
            3 => panic!("a bug of the application"),
            4 => Ok(Target::new("http://wrong.scheme/")),
            _ => Ok(Target::new(format!("{base}/{n}?key={n}"))
                .header("X-Token", format!("token-{n}"))
                .subprotocol(format!("v{n}"))),
        }
    });
    let (feed, events) = handled(builder);
    let events = until_from(&events, is_message);
    feed.close(CEILING).unwrap();
    let ends = ends(&events);
    assert_eq!(ends.len(), 5, "{ends:?}");
    assert!(matches!(ends[0].reason, EndReason::UpgradeRefused { status: 503, .. }), "{ends:?}");
    for end in &ends[1..4] {
        assert!(matches!(end.reason, EndReason::Provider { fatal: false, .. }), "{end:?}");
    }
    assert!(matches!(ends[4].reason, EndReason::Io { kind: ErrorKind::ConnectionReset, .. }), "{ends:?}");
    // The attempts that reached the lab were 1, 5 and 6.
    let transcript = lab.transcript();
    for (connection, n) in [(1, 1), (2, 5), (3, 6)] {
        let request = transcript.request(connection).unwrap();
        assert_eq!(request.path, format!("/feed/{n}?key={n}"));
        assert_eq!(request.header("X-Token"), Some(format!("token-{n}").as_str()));
        assert_eq!(request.header("X-Fixed"), Some("same"));
        assert_eq!(request.header("Sec-WebSocket-Protocol"), Some(format!("v{n}").as_str()));
    }
    let told = told.lock().unwrap();
    let numbers: Vec<_> = told.iter().map(|(number, epoch, _)| (*number, *epoch)).collect();
    assert_eq!(numbers, [(1, 1), (2, 1), (3, 1), (4, 1), (5, 1), (1, 2)]);
    assert_eq!(told[0].2, None);
    for (asked, end) in told[1..].iter().zip(&ends) {
        assert_eq!(asked.2.as_ref(), Some(&end.reason));
    }
}

#[test]
fn r3_a_fatal_provider_closes_the_feed() {
    let feed = quick("").provider(|_| Err(ProviderError::fatal("the account is gone"))).open().unwrap();
    let (events, reason) = to_the_end(&feed);
    assert!(
        matches!(&reason, CloseReason::Fatal(EndReason::Provider { fatal: true, detail }) if detail == "the account is gone"),
        "{reason:?}"
    );
    assert_eq!(ends(&events)[0].retry_in, None);
}

#[test]
fn r3_all_addresses_of_a_name_are_tried() {
    let found: Vec<SocketAddr> =
        ("localhost", 1).to_socket_addrs().map(Iterator::collect).unwrap_or_default();
    if !(found.iter().any(SocketAddr::is_ipv4) && found.iter().any(SocketAddr::is_ipv6)) {
        eprintln!(
            "skipped: localhost is {found:?} here, of one family only; see src/transport/tests/dial.rs"
        );
        return;
    }
    for addr in ["127.0.0.1:0", "[::1]:0"] {
        let lab = Lab::builder().listen(addr.parse().unwrap()).script(fine()).start().unwrap();
        let feed = quick(format!("ws://localhost:{}/", lab.addr().port())).open().unwrap();
        let events = until(&feed, is_connected);
        assert!(ends(&events).is_empty(), "{:?}", names(&events));
        let Some(Event::Connected(connected)) = events.last() else { unreachable!() };
        assert_eq!(connected.peer, lab.addr());
    }
}

// ---- R4: every end is typed, and repaired ---------------------------------------------------------------------

/// A fault of the first connection, and how it is to be told.
struct Fault {
    name: String,
    script: Script,
    /// Whether the connection was up before.
    up: bool,
    /// What the server is told in the Close frame.
    told: Option<u16>,
    expected: Box<dyn Fn(&EndReason) -> bool>,
}

fn fault(
    name: impl Into<String>,
    script: Script,
    up: bool,
    told: impl Into<Option<u16>>,
    expected: impl Fn(&EndReason) -> bool + 'static,
) -> Fault {
    Fault { name: name.into(), script, up, told: told.into(), expected: Box::new(expected) }
}

fn faults() -> Vec<Fault> {
    let mut faults = Vec::new();
    for (code, reason) in [(1000, "bye"), (1001, ""), (1011, "x"), (1012, "restart"), (3000, ""), (4999, "y")]
    {
        faults.push(fault(
            format!("close {code}"),
            Script::new().close(code, reason),
            true,
            code,
            move |end| {
                matches!(end, EndReason::ClosedByPeer { code: c, reason: r } if *c == Some(code) && r == reason)
            },
        ));
    }
    faults.push(fault(
        "close without a code",
        Script::new().close(1005, ""),
        true,
        None,
        |end| matches!(end, EndReason::ClosedByPeer { code: None, reason } if reason.is_empty()),
    ));
    for (how, code) in [
        (Violation::MaskedFrame, 1002),
        (Violation::ReservedBits, 1002),
        (Violation::UnknownOpcode, 1002),
        (Violation::UnknownControlOpcode, 1002),
        (Violation::FragmentedControl, 1002),
        (Violation::LongControl, 1002),
        (Violation::InvalidUtf8, 1007),
        (Violation::ShortClose, 1002),
        (Violation::BadCloseReason, 1007),
        (Violation::LoneContinuation, 1002),
        (Violation::InterruptedMessage, 1002),
        (Violation::Garbage, 1002),
    ] {
        let script = Script::new().violate(how);
        faults.push(fault(format!("{how:?}"), script, true, code, |end| {
            matches!(end, EndReason::Protocol { .. })
        }));
    }
    // tungstenite puts 1002 in the place of a code that must not be sent, and tells no more.
    faults.push(fault("bad close code", Script::new().violate(Violation::BadCloseCode), true, 1002, |end| {
        matches!(end, EndReason::Protocol { .. } | EndReason::ClosedByPeer { code: Some(1002), .. })
    }));
    faults.push(fault(
        "announced",
        Script::new().violate(Violation::Announced(1 << 40)),
        true,
        1009,
        |end| matches!(end, EndReason::TooLarge { size, limit: 2000 } if *size == 1 << 40),
    ));
    faults.push(fault("oversized", Script::new().then(Command::SendSized(2001)), true, 1009, |end| {
        matches!(end, EndReason::TooLarge { size: 2001, limit: 2000 })
    }));
    let pieces = Command::Fragments("x".repeat(2100), 3);
    faults.push(fault(
        "oversized in pieces",
        Script::new().then(pieces),
        true,
        1009,
        |end| matches!(end, EndReason::TooLarge { size, limit: 2000 } if *size > 2000),
    ));
    faults.push(fault("fin", Script::new().then(Command::Fin), true, None, |end| *end == EndReason::Eof));
    faults.push(fault("reset", Script::new().reset(), true, None, |end| {
        matches!(end, EndReason::Io { stage: Stage::Read, kind: ErrorKind::ConnectionReset, .. })
    }));
    for status in [204, 302, 418, 429, 500, 503] {
        let script =
            Script::refuse(status).header("Location", "ws://else.where/?key=hunter2").body("go away");
        faults.push(fault(format!("refuse {status}"), script, false, None, move |end| {
            let EndReason::UpgradeRefused { status: s, location, body, retry_after } = end else {
                return false;
            };
            assert!(!format!("{end:?}").contains("hunter2"), "{end:?}");
            *s == status
                && location.is_some() == (300..400).contains(&status)
                && (status == 204 || body == "go away")
                && retry_after.is_none()
        }));
    }
    let invalid = |end: &EndReason| matches!(end, EndReason::UpgradeInvalid { .. });
    faults.push(fault("wrong accept", Script::wrong_accept(), false, None, invalid));
    faults.push(fault("endless header", Script::endless_header(), false, None, invalid));
    faults.push(fault("long header", Script::long_header(20_000), false, None, invalid));
    faults.push(fault("not HTTP", Script::raw_response("220 mail.example ESMTP\r\n"), false, None, invalid));
    faults.push(fault("not HTTP at all", Script::raw_response([0xff; 64]), false, None, invalid));
    let uninvited = Script::new().subprotocol("uninvited");
    faults.push(fault("uninvited subprotocol", uninvited, false, None, invalid));
    faults.push(fault("fin at accept", Script::fin_at_accept(), false, None, |end| {
        // The request may meet the closed socket, or the answer be missing.
        matches!(end, EndReason::Eof | EndReason::UpgradeInvalid { .. })
            || matches!(end, EndReason::Io { stage: Stage::Upgrade, .. })
    }));
    faults.push(fault("reset at accept", Script::reset_at_accept(), false, None, |end| {
        matches!(end, EndReason::Io { kind: ErrorKind::ConnectionReset | ErrorKind::BrokenPipe, .. })
    }));
    faults
}

/// Reads until data flows again, and checks the way there: one end, as expected, and one gap.
#[track_caller]
fn assert_repaired(name: &str, lab: &Lab, feed: &Feed, up: bool, expected: impl Fn(&EndReason) -> bool) {
    let epoch = u64::from(up) + 1;
    let events = until(feed, |event| is_message(event) && event.epoch() == epoch);
    let seen = || format!("{name}: {:?}\n{}", names(&events), lab.transcript());
    let ends = ends(&events);
    let [end] = ends[..] else { panic!("{}", seen()) };
    assert!(expected(&end.reason), "{name}: {:?}", end.reason);
    assert_eq!((end.was_connected, end.epoch, end.attempts), (up, 1, 1), "{}", seen());
    assert!(end.retry_in.is_some_and(|delay| !delay.is_zero()), "{name}: {end:?}");
    let connected = events.iter().rposition(is_connected).unwrap();
    let gap = matches!(&events[connected + 1], Event::Gap(gap) if gap.cause == GapCause::Reconnected);
    assert_eq!(gap, up, "{}", seen());
    assert!(feed.health().closed.is_none());
}

fn told(lab: &Lab, connection: usize) -> Option<Option<u16>> {
    let transcript = lab.transcript();
    transcript.of(connection).find_map(|what| match what {
        What::Received(Received::Close(close)) => Some(close.as_ref().map(|(code, _)| *code)),
        _ => None,
    })
}

#[test]
fn r4_every_fault_of_the_server_is_typed_told_and_repaired() {
    for fault in faults() {
        let lab = once(fault.script.clone());
        let feed = quick(lab.url()).limits(|l| l.message_bytes = 2000).open().unwrap();
        assert_repaired(&fault.name, &lab, &feed, fault.up, &fault.expected);
        if let Some(code) = fault.told {
            lab_sees(&lab, &format!("a Close frame after {}", fault.name), |entry| {
                entry.connection == 1 && matches!(entry.what, What::Received(Received::Close(_)))
            });
            assert_eq!(told(&lab, 1), Some(Some(code)), "{}:\n{}", fault.name, lab.transcript());
        }
        feed.close(CEILING).unwrap();
    }
}

#[test]
fn r4_faults_under_tls_are_typed_and_repaired() {
    for (name, script) in [
        ("close", Script::new().close(1000, "bye")),
        ("fin", Script::new().then(Command::Fin)),
        ("reset", Script::new().reset()),
        ("garbage", Script::new().violate(Violation::Garbage)),
        ("fin at accept", Script::fin_at_accept()),
    ] {
        let lab = Lab::builder().tls(Certificate::Valid);
        let lab = lab.scripts(move |n| if n == 1 { script.clone() } else { fine() }).start().unwrap();
        let pem = lab.ca_pem().to_owned();
        let feed = quick(lab.url()).tls(|tls| tls.extra_roots_pem.push(pem)).open().unwrap();
        assert_repaired(name, &lab, &feed, name != "fin at accept", |end| match name {
            "close" => matches!(end, EndReason::ClosedByPeer { code: Some(1000), .. }),
            "fin" => *end == EndReason::Eof,
            "reset" => matches!(end, EndReason::Io { kind: ErrorKind::ConnectionReset, .. }),
            "garbage" => matches!(end, EndReason::Protocol { .. }),
            _ => {
                matches!(end, EndReason::Eof | EndReason::Io { .. } | EndReason::Tls { untrusted: false, .. })
            }
        });
        feed.close(CEILING).unwrap();
    }
}

#[test]
fn r4_nobody_listening_is_typed_and_repaired() {
    let lab = Lab::start(fine()).unwrap();
    lab.control().stop_listening().unwrap();
    let (feed, events) = handled(quick(lab.url()));
    let events_until = |wanted: fn(&Event) -> bool| until_from(&events, wanted);
    let seen = events_until(is_disconnected);
    let EndReason::Io { stage: Stage::Connect, kind: ErrorKind::ConnectionRefused, .. } =
        ends(&seen)[0].reason
    else {
        panic!("{seen:?}");
    };
    lab.control().listen_again().unwrap();
    events_until(is_message);
    feed.close(CEILING).unwrap();
}

#[test]
fn r4_a_server_that_stops_reading_stalls_the_write() {
    let lab = once(Script::new().then(Command::StopReading));
    let builder = quick(lab.url()).limits(|l| (l.write_timeout, l.send_bytes) = (ms(150), 64 << 20));
    let feed = builder.open().unwrap();
    lab_sees(&lab, "the stop", |entry| matches!(entry.what, What::Command("stop reading")));
    feed.wait_connected(CEILING).unwrap();
    let receipt = feed.send(vec![0; 32 << 20]).unwrap();
    assert_repaired(
        "write stall",
        &lab,
        &feed,
        true,
        |end| matches!(end, EndReason::WriteStalled { stalled } if (ms(150)..CEILING).contains(stalled)),
    );
    assert_eq!(receipt.wait(CEILING), Ok(livefeed::Outcome::Dropped { epoch: 1 }));
    feed.close(CEILING).unwrap();
}

#[test]
fn r4_an_overdue_pong_is_typed_and_repaired() {
    let lab = once(Script::new().then(Command::AnswerPings(false)));
    let builder = quick(lab.url()).ping(|p| (p.after, p.timeout) = (Limit::After(ms(50)), ms(100)));
    let feed = builder.open().unwrap();
    assert_repaired(
        "pong overdue",
        &lab,
        &feed,
        true,
        |end| matches!(end, EndReason::PongOverdue { waited } if (ms(100)..CEILING).contains(waited)),
    );
    feed.close(CEILING).unwrap();
}

#[test]
fn r4_a_stale_feed_is_typed_and_repaired() {
    // It answers pings and beats: nothing of that is data.
    let lab = once(Script::new().heartbeats("hb", ms(10)));
    let builder = quick(lab.url()).stale_after(ms(150)).heartbeat(livefeed::Matcher::text("hb"));
    let feed = builder.open().unwrap();
    assert_repaired(
        "stale",
        &lab,
        &feed,
        true,
        |end| matches!(end, EndReason::Stale { subscription: None, age, limit, .. } if *limit == ms(150) && age >= limit),
    );
    feed.close(CEILING).unwrap();
}

#[test]
fn r4_the_retry_policy_overrides_and_its_panic_is_contained() {
    // What would be retried is fatal.
    let lab = once(Script::new().close(1000, "done"));
    let policy = |reason: &EndReason| match reason {
        EndReason::ClosedByPeer { code: Some(1000), .. } => Some(Decision::Fatal),
        _ => None,
    };
    let feed = quick(lab.url()).retry_policy(move |reason, _| policy(reason)).open().unwrap();
    let (_, reason) = to_the_end(&feed);
    assert!(
        matches!(reason, CloseReason::Fatal(EndReason::ClosedByPeer { code: Some(1000), .. })),
        "{reason:?}"
    );

    // What would be retried soon is retried slowly, and alerted.
    let lab = once(Script::refuse(503));
    let builder = quick(lab.url()).retry_policy(|_, context| {
        assert!(!context.ever_connected && context.attempts == 0 && context.down < CEILING);
        Some(Decision::RetrySlowly)
    });
    let feed = builder.reconnect(|r| (r.first, r.max) = (ms(1), ms(100))).open().unwrap();
    let events = until(&feed, is_message);
    assert!(ends(&events)[0].retry_in.unwrap() >= ms(50), "{:?}", ends(&events));
    assert!(events.iter().any(needs_attention), "{:?}", names(&events));

    // What would be fatal is retried.
    let lab = once(Script::refuse(401));
    let feed = quick(lab.url()).retry_policy(|_, _| Some(Decision::Retry)).open().unwrap();
    until(&feed, is_message);

    // A panic leaves the end to the default.
    let lab = once(Script::refuse(503));
    let feed = quick(lab.url()).retry_policy(|_, _| panic!("a bug of the application")).open().unwrap();
    let events = until(&feed, is_message);
    let panicked = |event: &Event| {
        matches!(event, Event::Alert(alert)
            if matches!(&alert.kind, AlertKind::CallbackPanicked { callback: "retry_policy", .. }))
    };
    assert!(events.iter().any(panicked), "{:?}", names(&events));
}

fn needs_attention(event: &Event) -> bool {
    matches!(event, Event::Alert(alert) if matches!(alert.kind, AlertKind::NeedsAttention { .. }))
}

#[test]
fn r4_giving_up_after_so_many_attempts_is_said() {
    let lab = Lab::start(Script::refuse(503)).unwrap();
    let feed = quick(lab.url()).max_attempts(3).open().unwrap();
    let (events, reason) = to_the_end(&feed);
    let last = |last: &EndReason| matches!(last, EndReason::UpgradeRefused { status: 503, .. });
    assert!(
        matches!(&reason, CloseReason::AttemptsExhausted { attempts: 3, last: l } if last(l)),
        "{reason:?}"
    );
    assert_eq!(ends(&events).iter().map(|end| end.attempts).sum::<u32>(), 3);
    assert_eq!(ends(&events).last().unwrap().retry_in, None);
    assert_eq!(accepted(&lab).len(), 3, "{}", lab.transcript());
    assert!(matches!(feed.wait_connected(CEILING), Err(Error::Closed(said)) if *said == reason));
    assert!(matches!(feed.send("x"), Err(Error::Closed(said)) if *said == reason));
    assert_eq!(feed.health().closed, Some(reason));
    feed.close(CEILING).unwrap();
}

#[test]
fn r4_giving_up_after_so_long_without_a_connection_is_said() {
    let refused = Lab::start(fine()).unwrap();
    refused.control().stop_listening().unwrap();
    // The limit passes while an attempt hangs, while waiting, and after a connection.
    let hanging = Lab::start(Script::never_upgrade()).unwrap();
    let waiting = Lab::start(Script::refuse(503).header("Retry-After", "3600")).unwrap();
    let flapping = once(Script::new().for_(ms(500)).reset());
    let control = flapping.control();
    for (n, lab) in [&refused, &hanging, &waiting, &flapping].into_iter().enumerate() {
        let feed =
            quick(lab.url()).config(|c| c.reconnect.max_downtime = Limit::After(ms(300))).open().unwrap();
        if n == 3 {
            lab_sees(lab, "the connection", |entry| matches!(entry.what, What::Upgraded { .. }));
            control.stop_listening().unwrap();
        }
        let begin = Instant::now();
        let (events, reason) = to_the_end(&feed);
        let CloseReason::DowntimeExhausted { down, last } = &reason else { panic!("{n}: {reason:?}") };
        assert!((ms(300)..ms(300) + CEILING).contains(down), "{n}: {reason:?}");
        assert!(begin.elapsed() < ms(300) + ms(500) + ms(3000), "{n}");
        match n {
            0 => assert!(matches!(last, Some(EndReason::Io { .. })), "{reason:?}"),
            1 => assert!(last.is_none(), "{reason:?}"),
            2 => assert!(matches!(last, Some(EndReason::UpgradeRefused { .. })), "{reason:?}"),
            _ => {
                let ended = ends(&events);
                let end = ended.first().unwrap();
                assert!(end.was_connected, "{end:?}");
            }
        }
        feed.close(CEILING).unwrap();
    }
}

// ---- R6: defaults ---------------------------------------------------------------------------------------------

#[test]
fn r6_a_mistake_is_fatal_for_a_feed_that_never_was_up() {
    for status in [400, 401, 403, 404, 410, 426] {
        let lab = once(Script::refuse(status));
        let feed = quick(lab.url()).open().unwrap();
        let (_, reason) = to_the_end(&feed);
        let CloseReason::Fatal(EndReason::UpgradeRefused { status: said, .. }) = reason else {
            panic!("{status}: {reason:?}");
        };
        assert_eq!(said, status);
        assert_eq!(accepted(&lab).len(), 1);
    }
}

#[test]
fn r6_a_mistake_is_retried_slowly_and_alerted_once_the_feed_was_up() {
    for status in [400, 401, 403, 404, 410, 426] {
        let lab = Lab::builder().scripts(move |n| match n {
            1 => Script::new().send("{}").close(1001, ""),
            2 => Script::refuse(status),
            _ => fine(),
        });
        let lab = lab.start().unwrap();
        let builder = quick(lab.url()).reconnect(|r| (r.first, r.max) = (ms(1), ms(100)));
        let (feed, events) = handled(builder);
        let events = until_from(&events, |event| is_message(event) && event.epoch() == 2);
        let alert = events.iter().find_map(|event| match event {
            Event::Alert(alert) => Some(alert.kind.clone()),
            _ => None,
        });
        let refused = |reason: &EndReason| matches!(reason, EndReason::UpgradeRefused { status: s, .. } if *s == status);
        assert!(
            matches!(&alert, Some(AlertKind::NeedsAttention { reason }) if refused(reason)),
            "{status}: {alert:?}"
        );
        let ends = ends(&events);
        assert!(refused(&ends[1].reason), "{ends:?}");
        assert!((ms(50)..=ms(100)).contains(&ends[1].retry_in.unwrap()), "{ends:?}");
        let accepted = accepted(&lab);
        assert!(accepted[2] - accepted[1] >= ms(50), "{}", lab.transcript());
        feed.close(CEILING).unwrap();
    }
}

#[test]
fn r6_an_untrusted_certificate_is_fatal_at_first_and_retried_slowly_later() {
    let lab = Lab::builder().tls(Certificate::Valid).script(fine()).start().unwrap();
    let feed = quick(lab.url()).open().unwrap();
    let (_, reason) = to_the_end(&feed);
    assert!(matches!(reason, CloseReason::Fatal(EndReason::Tls { untrusted: true, .. })), "{reason:?}");
    assert_eq!(lab.connections(), 0);

    // Plain at first, then the one it does not trust, then plain again.
    let plain = Lab::builder()
        .scripts(|n| if n == 1 { Script::new().close(1001, "") } else { fine() })
        .start()
        .unwrap();
    let (good, bad) = (plain.url(), lab.url());
    let builder = quick("").reconnect(|r| (r.first, r.max) = (ms(1), ms(100)));
    let (feed, events) = handled(builder.provider(move |attempt| {
        let second = attempt.epoch == 2 && attempt.number == 1;
        Ok(Target::new(if second { bad.as_str() } else { good.as_str() }))
    }));
    let events = until_from(&events, is_message);
    let ends = ends(&events);
    assert!(matches!(ends[1].reason, EndReason::Tls { untrusted: true, .. }), "{ends:?}");
    assert!((ms(50)..=ms(100)).contains(&ends[1].retry_in.unwrap()), "{ends:?}");
    assert!(events.iter().any(needs_attention), "{:?}", names(&events));
    feed.close(CEILING).unwrap();
}

#[test]
fn r6_certificates_are_checked_and_the_ways_around_it_are_explicit() {
    type Change = fn(&mut livefeed::Tls, &Lab);
    let roots: Change = |tls, lab| tls.extra_roots_pem.push(lab.ca_pem().to_owned());
    let rooted_any_name: Change = |tls, lab| {
        tls.extra_roots_pem.push(lab.ca_pem().to_owned());
        tls.danger_accept_invalid_hostnames = true;
    };
    let any: Change = |tls, _| tls.danger_accept_invalid_certs = true;
    let other_name: Change = |tls, lab| {
        tls.extra_roots_pem.push(lab.ca_pem().to_owned());
        tls.server_name = Some("elsewhere.invalid".to_owned());
    };
    for (row, (certificate, change, trusted)) in [
        (Certificate::Valid, roots, true),
        (Certificate::Valid, any, true),
        (Certificate::Valid, other_name, false),
        (Certificate::Expired, roots, false),
        (Certificate::Expired, rooted_any_name, false),
        (Certificate::Expired, any, true),
        (Certificate::WrongHost, roots, false),
        (Certificate::WrongHost, rooted_any_name, true),
        (Certificate::WrongHost, other_name, true),
    ]
    .into_iter()
    .enumerate()
    {
        let lab = Lab::builder().tls(certificate).script(fine()).start().unwrap();
        let feed = quick(lab.url()).tls(|tls| change(tls, &lab)).open().unwrap();
        if trusted {
            until(&feed, is_message);
            feed.close(CEILING).unwrap();
        } else {
            let (_, reason) = to_the_end(&feed);
            let CloseReason::Fatal(EndReason::Tls { untrusted: true, .. }) = reason else {
                panic!("row {row}: {reason:?}");
            };
        }
    }
}

#[test]
fn r6_a_ca_file_is_trusted() {
    let lab = Lab::builder().tls(Certificate::Valid).script(fine()).start().unwrap();
    let file = std::env::temp_dir().join(format!("livefeed-{}-ca.pem", std::process::id()));
    std::fs::write(&file, lab.ca_pem()).unwrap();
    let feed = quick(lab.url()).ca_file(&file).open();
    std::fs::remove_file(&file).unwrap();
    let feed = feed.unwrap();
    until(&feed, is_message);
    feed.close(CEILING).unwrap();
}

// ---- reconnect() ----------------------------------------------------------------------------------------------

#[test]
fn r5_reconnect_closes_the_connection_and_makes_a_new_one() {
    let lab = Lab::start(fine()).unwrap();
    let feed = quick(lab.url()).open().unwrap();
    until(&feed, is_message);
    feed.reconnect();
    feed.reconnect();
    assert_repaired("reconnect", &lab, &feed, true, |end| *end == EndReason::Reconnect);
    lab_sees(
        &lab,
        "the Close",
        |entry| matches!(&entry.what, What::Received(Received::Close(Some((1000, _)))) if entry.connection == 1),
    );
    feed.close(CEILING).unwrap();
}

#[test]
fn r5_reconnect_cuts_the_wait_for_the_next_attempt_short() {
    let lab = once(Script::refuse(503).header("Retry-After", "3600"));
    let feed = quick(lab.url()).open().unwrap();
    let events = until(&feed, is_disconnected);
    assert!(ends(&events)[0].retry_in.unwrap() >= Duration::from_secs(3600));
    feed.reconnect();
    until(&feed, is_message);
    feed.close(CEILING).unwrap();
}

#[test]
fn r5_reconnect_leaves_an_attempt_alone() {
    let lab = once(Script::never_upgrade());
    let (feed, events) = handled(quick(lab.url()).connect(|c| (c.timeout, c.stagger) = (ms(300), ms(50))));
    until_from(&events, |event| matches!(event, Event::Connecting(_)));
    feed.reconnect();
    let seen = until_from(&events, is_message);
    let ends = ends(&seen);
    assert!(matches!(ends[0].reason, EndReason::AttemptTimeout { .. }), "{ends:?}");
    eventually("no attempt is left", || lab.live() <= 2);
    feed.close(CEILING).unwrap();
}
