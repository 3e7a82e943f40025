//! `GET /metrics`, as read by the parsers of Python's `prometheus_client`.
//!
//! They need a Python that has it: `pip install prometheus_client`. `LIVEFEED_PYTHON` names the interpreter, else it is
//! `python3`. Without one the tests that need it print that they are skipped; with `LIVEFEED_REQUIRE_PYTHON` set they
//! fail.
#![allow(clippy::disallowed_methods, reason = "tests may read clocks")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "helpers of tests")]

use livefeed::lab::{Command, Lab, Script, Topic};
use livefeed::{
    Event, Feed, FeedBuilder, Health, Keepalive, LagRule, Matcher, Monitor, State, Subscription, TimeUnit,
};
use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{self, Stdio};
use std::time::{Duration, Instant};

const CEILING: Duration = Duration::from_secs(20);
const MS: Duration = Duration::from_millis(1);

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// What a Prometheus of 2025 asks with.
const PROMETHEUS: &str = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
    application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
    text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

/// Names that a careless writer breaks the page with.
const HOSTILE: [&str; 9] = [
    r#"quote"quote"#,
    r"back\slash\n\",
    "new\nline\n",
    "return\rtab\t",
    r#"evil"} 1"#,
    "# TYPE x counter\nx_total 7\n# EOF\n",
    "a=\"b\",c={d}",
    "ünïcödé €😀",
    " ",
];

struct Reply {
    status: u16,
    content_type: String,
    body: String,
}

fn get(monitor: &Monitor, accept: Option<&str>) -> Reply {
    let address = monitor.local_addr();
    let mut socket = TcpStream::connect_timeout(&address, CEILING).unwrap();
    socket.set_read_timeout(Some(CEILING)).unwrap();
    let accept = accept.map(|accept| format!("Accept: {accept}\r\n")).unwrap_or_default();
    write!(socket, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n{accept}Connection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    socket.read_to_string(&mut reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").expect("a head");
    let header = |name: &str| {
        let lines = head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.to_owned())
    };
    assert_eq!(header("content-length").as_deref(), Some(&*body.len().to_string()));
    Reply {
        status: head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"),
        content_type: header("content-type").expect("a content type"),
        body: body.to_owned(),
    }
}

fn python() -> Option<String> {
    let python = std::env::var("LIVEFEED_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imports = process::Command::new(&python).args(["-c", "import prometheus_client"]).output();
    if imports.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let hint =
        format!("{python} has no prometheus_client: pip install prometheus_client, or LIVEFEED_PYTHON=...");
    assert!(std::env::var_os("LIVEFEED_REQUIRE_PYTHON").is_none(), "{hint}");
    println!("skipped: {hint}");
    None
}

/// Reads a page from its input by the parser that goes with it, and prints what it has found as JSON.
const PARSE: &str = r#"
import json, sys
if sys.argv[1] == "openmetrics":
    from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse
else:
    from prometheus_client.parser import text_string_to_metric_families as parse
page = sys.stdin.buffer.read().decode("utf-8")
json.dump([{"name": f.name, "kind": f.type, "unit": f.unit, "help": f.documentation,
            "samples": [[s.name, s.labels, s.value] for s in f.samples]} for f in parse(page)], sys.stdout)
"#;

#[derive(Debug)]
struct Family {
    kind: String,
    unit: String,
}

type Labels = BTreeMap<String, String>;

/// A page as Prometheus understands it.
#[derive(Debug, Default)]
struct Page {
    families: BTreeMap<String, Family>,
    samples: BTreeMap<(String, Labels), f64>,
}

impl Page {
    /// Asks for a page in this format, and has it read.
    fn scrape(python: &str, monitor: &Monitor, open_metrics: bool) -> Self {
        let reply = get(monitor, open_metrics.then_some(PROMETHEUS));
        assert_eq!(reply.status, 200);
        assert_eq!(reply.content_type, if open_metrics { OPEN_METRICS } else { TEXT });
        Self::parse(python, &reply.body, open_metrics)
    }

    fn parse(python: &str, text: &str, open_metrics: bool) -> Self {
        let mut child = process::Command::new(python)
            .args(["-c", PARSE, if open_metrics { "openmetrics" } else { "text" }])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
        let mut page = Self::default();
        for family in serde_json::from_slice::<Vec<Value>>(&output.stdout).unwrap() {
            let word = |name: &str| family[name].as_str().unwrap().to_owned();
            let name = word("name");
            assert!(!word("help").is_empty(), "{name} has no help");
            for sample in family["samples"].as_array().unwrap() {
                let labels = serde_json::from_value(sample[1].clone()).unwrap();
                let key = (sample[0].as_str().unwrap().to_owned(), labels);
                let value = sample[2].as_f64().unwrap();
                assert!(page.samples.insert(key.clone(), value).is_none(), "twice: {key:?}");
            }
            let family = Family { kind: word("kind"), unit: word("unit") };
            assert!(page.families.insert(name.clone(), family).is_none(), "twice: {name}");
        }
        page
    }

    fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    #[track_caller]
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in {:#?}", self.samples))
    }

    /// The values of this label.
    fn labels(&self, name: &str, label: &str) -> HashSet<&str> {
        let of = self.samples.keys().filter(|(it, _)| it == name);
        of.filter_map(|(_, labels)| labels.get(label)).map(String::as_str).collect()
    }

    /// What a counter, or a part of a histogram, may not fall below.
    fn counts(&self) -> impl Iterator<Item = (&(String, Labels), f64)> {
        let is_count =
            |name: &str| ["_total", "_bucket", "_count", "_sum"].into_iter().any(|end| name.ends_with(end));
        self.samples.iter().filter(move |((name, _), _)| is_count(name)).map(|(key, value)| (key, *value))
    }

    #[track_caller]
    fn assert_not_before(&self, earlier: &Self) {
        for (key, before) in earlier.counts() {
            let now = self.samples.get(key);
            assert!(now.is_some_and(|now| *now >= before), "{key:?} was {before} and is {now:?}");
        }
    }
}

fn topics() -> Script {
    Script::of_topics([Topic::new("t0").every(2 * MS), Topic::new("t1").every(5 * MS)])
}

fn subscription(id: &str, topic: &str) -> Subscription {
    Subscription::new(id).data(Matcher::pointer("/topic", topic))
}

fn feed(lab: &Lab, name: &str) -> FeedBuilder {
    Feed::builder(lab.url().as_str())
        .name(name)
        .stale_after(300 * MS)
        .reconnect(|reconnect| {
            reconnect.first = 100 * MS;
            reconnect.floor = 100 * MS;
            reconnect.max = 100 * MS;
        })
        .keepalive(Keepalive::every(50 * MS))
}

#[track_caller]
fn wait_for(feed: &Feed, what: &str, mut wanted: impl FnMut(&Event) -> bool) {
    let deadline = Instant::now() + CEILING;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match feed.recv_timeout(left) {
            Ok(event) if wanted(&event) => return,
            Ok(_) => {}
            Err(error) => panic!("waiting for {what}: {error}\n{:#?}", feed.health()),
        }
    }
}

/// The figures of the page lie between those of the health before and after it.
fn assert_agree(page: &Page, before: &Health, after: &Health) {
    let feed = ("feed", &*before.name);
    type Figure = fn(&Health) -> u64;
    let figures: [(&str, Figure); 12] = [
        ("livefeed_messages_total", |health| health.messages),
        ("livefeed_received_bytes_total", |health| health.bytes),
        ("livefeed_unmatched_messages_total", |health| health.unmatched),
        ("livefeed_dropped_messages_total", |health| health.dropped),
        ("livefeed_connections_total", |health| health.connections),
        ("livefeed_stale_verdicts_total", |health| health.stale_verdicts),
        ("livefeed_gaps_total", |health| health.gaps),
        ("livefeed_sequence_gaps_total", |health| health.sequence_gaps),
        ("livefeed_subscriptions_refused_total", |health| health.refused),
        ("livefeed_subscriptions_ended_total", |health| health.ended),
        ("livefeed_connect_duration_seconds_count", |health| health.connections),
        ("livefeed_verdict_lateness_seconds_count", |health| health.stale_verdicts),
    ];
    for (name, figure) in figures {
        let value = page.value(name, &[feed]);
        let range = figure(before) as f64..=figure(after) as f64;
        assert!(range.contains(&value), "{name} is {value}, not in {range:?}");
    }
    for (reason, count) in &after.ends {
        let least = before.ends.get(reason).copied().unwrap_or(0);
        let value = page.find("livefeed_ends_total", &[feed, ("reason", reason)]).unwrap_or(0.0);
        assert!((least as f64..=*count as f64).contains(&value), "{reason}: {value}");
    }
    for (one, later) in before.subscriptions.iter().zip(&after.subscriptions) {
        let labels = [feed, ("subscription", one.id.as_str())];
        let value = page.value("livefeed_subscription_messages_total", &labels);
        assert!((one.messages as f64..=later.messages as f64).contains(&value));
        let limit = page.find("livefeed_subscription_limit_seconds", &labels);
        assert_eq!(limit, one.stale_after.map(|limit| limit.as_secs_f64()));
    }
    let limit = page.find("livefeed_limit_seconds", &[feed]);
    assert_eq!(limit, before.stale_after.map(|limit| limit.as_secs_f64()));
    let states = page.labels("livefeed_state", "state");
    let on: Vec<_> = states
        .into_iter()
        .filter(|state| page.value("livefeed_state", &[feed, ("state", state)]) == 1.0)
        .collect();
    assert_eq!(on.len(), 1, "{on:?}");
    if before.state == after.state && before.epoch == after.epoch {
        assert_eq!(on, [before.state.name()]);
    }
    let states = page.labels("livefeed_subscriptions", "state");
    let count = |state| page.value("livefeed_subscriptions", &[feed, ("state", state)]);
    assert_eq!(states.into_iter().map(count).sum::<f64>(), before.subscriptions.len() as f64);
}

#[test]
fn both_formats_tell_of_a_life_as_health_does() {
    let Some(python) = python() else { return };
    let lab = Lab::start(topics()).unwrap();
    let feed = feed(&lab, "life")
        .subscription(subscription("a", "t0").stale_after(Duration::from_secs(3600)))
        .subscription(subscription("b", "t1").lag(LagRule::new("/t_ns", TimeUnit::Nanos, CEILING)))
        .open()
        .unwrap();
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    monitor.add(&feed).unwrap();
    let mut last: [Page; 2] = Default::default();
    let mut scrape = |feed: &Feed| {
        for (earlier, open_metrics) in last.iter_mut().zip([false, true]) {
            let before = feed.health();
            let page = Page::scrape(&python, &monitor, open_metrics);
            assert_agree(&page, &before, &feed.health());
            page.assert_not_before(earlier);
            *earlier = page;
        }
        let [text, open_metrics] = &last;
        assert_eq!(
            text.families.keys().collect::<Vec<_>>(),
            open_metrics.families.keys().collect::<Vec<_>>()
        );
        if feed.health().state == State::Closed {
            assert_eq!(
                text.samples.keys().collect::<Vec<_>>(),
                open_metrics.samples.keys().collect::<Vec<_>>()
            );
        }
        Page { samples: open_metrics.samples.clone(), families: BTreeMap::new() }
    };
    scrape(&feed);
    feed.wait_fresh(CEILING).unwrap();
    wait_for(&feed, "data", |event| matches!(event, Event::Message(_)));
    let page = scrape(&feed);
    for name in ["last_signal_age", "last_data_age", "last_message_age", "last_byte_age", "connection_age"] {
        let age = page.value(&format!("livefeed_{name}_seconds"), &[("feed", "life")]);
        assert!((0.0..CEILING.as_secs_f64()).contains(&age), "{name}: {age}");
    }
    assert_eq!(page.value("livefeed_up", &[("feed", "life")]), 1.0);
    let lag = page.value("livefeed_subscription_lag_seconds", &[("feed", "life"), ("subscription", "b")]);
    assert!((0.0..CEILING.as_secs_f64()).contains(&lag), "{lag}");

    lab.control().drop_connections();
    wait_for(&feed, "a connection", |event| matches!(event, Event::Connected(it) if it.epoch == 2));
    scrape(&feed);

    // The server has nothing to say any more, but answers pings.
    feed.wait_fresh(CEILING).unwrap();
    lab.control().script(Script::new());
    lab.control().all(Command::Silence);
    wait_for(&feed, "a verdict", |event| matches!(event, Event::Stale(_)));
    wait_for(&feed, "a connection", |event| matches!(event, Event::Connected(it) if it.epoch == 3));
    let page = scrape(&feed);
    assert!(page.value("livefeed_stale_verdicts_total", &[("feed", "life")]) >= 1.0);
    assert!(page.value("livefeed_event_lag_seconds_count", &[("feed", "life")]) >= 1.0);
    assert!(page.value("livefeed_ping_round_trip_seconds_count", &[("feed", "life")]) >= 1.0);
    assert!(page.value("livefeed_gaps_total", &[("feed", "life")]) >= 2.0);

    feed.close(CEILING).unwrap();
    let page = scrape(&feed);
    assert_eq!(page.value("livefeed_state", &[("feed", "life"), ("state", "closed")]), 1.0);
    assert_eq!(page.value("livefeed_healthy", &[("feed", "life")]), 0.0);
    assert_eq!(page.value("livefeed_up", &[("feed", "life")]), 0.0);
    assert_eq!(page.find("livefeed_last_byte_age_seconds", &[("feed", "life")]), None);

    // A feed that is dropped is closed, and keeps what it counted.
    drop(feed);
    let dropped = Page::scrape(&python, &monitor, true);
    dropped.assert_not_before(&page);
    assert_eq!(dropped.value("livefeed_state", &[("feed", "life"), ("state", "closed")]), 1.0);
}

#[test]
fn names_types_and_units_are_as_prometheus_wants_them() {
    let Some(python) = python() else { return };
    let lab = Lab::start(topics()).unwrap();
    let feed = feed(&lab, "a").subscription(subscription("x", "t0")).open().unwrap();
    feed.wait_fresh(CEILING).unwrap();
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    monitor.add(&feed).unwrap();
    let page = Page::scrape(&python, &monitor, true);
    for (name, family) in &page.families {
        assert!(name.starts_with("livefeed_"), "{name}");
        assert!(["gauge", "counter", "histogram"].contains(&&*family.kind), "{name} is a {}", family.kind);
        let units = ["seconds", "bytes"].into_iter().find(|unit| name.ends_with(unit)).unwrap_or_default();
        assert_eq!(family.unit, units, "{name}");
        let suffixes: &[&str] = match &*family.kind {
            "counter" => &["_total"],
            "histogram" => &["_bucket", "_sum", "_count"],
            _ => &[""],
        };
        let of = page
            .samples
            .keys()
            .filter(|(it, _)| it.strip_prefix(&**name).is_some_and(|end| suffixes.contains(&end)));
        let may_be_empty =
            ["alert", "learned", "ends", "lag", "limit", "held_up"].iter().any(|part| name.contains(part));
        assert!(may_be_empty || of.count() > 0, "{name} has no samples");
    }
    let kinds = |page: &Page| -> BTreeMap<String, String> {
        page.families.iter().map(|(name, family)| (name.clone(), family.kind.clone())).collect()
    };
    assert_eq!(kinds(&page), kinds(&Page::scrape(&python, &monitor, false)));
}

#[test]
fn hostile_names_are_read_as_they_were_given() {
    let Some(python) = python() else { return };
    let lab = Lab::start(topics()).unwrap();
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    // Ids with control characters are refused; a feed may be shown under any name.
    let ids: Vec<_> = HOSTILE.into_iter().filter(|id| !id.contains(char::is_control)).collect();
    assert!(ids.len() > 4);
    let feed = feed(&lab, "a");
    let feed = ids.iter().fold(feed, |feed, id| feed.subscription(subscription(id, "t0")));
    let feed = feed.open().unwrap();
    for name in HOSTILE {
        monitor.add_as(name, &feed).unwrap();
    }
    for open_metrics in [false, true] {
        let page = Page::scrape(&python, &monitor, open_metrics);
        assert_eq!(page.labels("livefeed_up", "feed"), HashSet::from(HOSTILE));
        for name in HOSTILE {
            for id in &ids {
                page.value("livefeed_subscription_messages_total", &[("feed", name), ("subscription", id)]);
            }
        }
    }
}

#[test]
fn a_page_without_feeds_is_a_page() {
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    let reply = get(&monitor, None);
    assert_eq!((reply.status, &*reply.content_type), (200, TEXT));
    assert!(!reply.body.contains("# EOF"));
    let reply = get(&monitor, Some(PROMETHEUS));
    assert_eq!((reply.status, &*reply.content_type), (200, OPEN_METRICS));
    assert!(reply.body.ends_with("\n# EOF\n"));
    let Some(python) = python() else { return };
    for open_metrics in [false, true] {
        assert!(Page::scrape(&python, &monitor, open_metrics).samples.is_empty());
    }
}

#[test]
fn subscriptions_beyond_the_bound_are_counted_all_the_same() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed =
        (0..7).fold(feed(&lab, "a"), |feed, id| feed.subscription(subscription(&format!("s{id}"), "t0")));
    let feed = feed.open().unwrap();
    let monitor = Monitor::builder().metrics_subscriptions(3).bind("127.0.0.1:0").unwrap();
    monitor.add(&feed).unwrap();
    let Some(python) = python() else { return };
    let page = Page::scrape(&python, &monitor, true);
    let shown = page.labels("livefeed_subscription_messages_total", "subscription");
    assert_eq!(shown, HashSet::from(["s0", "s1", "s2"]));
    assert_eq!(page.labels("livefeed_subscription_state", "subscription"), shown);
    assert_eq!(page.value("livefeed_subscriptions_left_out", &[("feed", "a")]), 4.0);
    let states = page.labels("livefeed_subscriptions", "state");
    let count = |state| page.value("livefeed_subscriptions", &[("feed", "a"), ("state", state)]);
    assert_eq!(states.into_iter().map(count).sum::<f64>(), 7.0);
}

#[test]
fn no_secret_is_on_the_page() {
    let lab = Lab::start(topics()).unwrap();
    let url = format!("{}?token=canary", lab.url()).replace("ws://", "ws://canary:canary@");
    let feed = Feed::builder(url.as_str())
        .header("authorization", "canary")
        .subscription(subscription("a", "t0").subscribe_text("canary"))
        .open()
        .unwrap();
    feed.wait_fresh(CEILING).unwrap();
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    monitor.add(&feed).unwrap();
    for accept in [None, Some(PROMETHEUS)] {
        let body = get(&monitor, accept).body;
        assert!(body.contains("livefeed_up") && !body.contains("canary"), "{body}");
    }
}

#[test]
fn the_readme_names_each_metric_and_no_other() {
    let lab = Lab::start(topics()).unwrap();
    let feed = feed(&lab, "a").open().unwrap();
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    monitor.add(&feed).unwrap();
    let page = get(&monitor, None).body;
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let served: BTreeMap<&str, &str> = types.collect();
    let mut told = BTreeMap::new();
    for row in include_str!("../README.md").lines().filter(|line| line.starts_with("| `livefeed_")) {
        let mut cells = row.split(" | ");
        let (names, kind) = (cells.next().unwrap(), cells.next().unwrap());
        told.extend(names.trim_start_matches("| ").split(", ").map(|name| (name.trim_matches('`'), kind)));
    }
    assert_eq!(served, told);
}
