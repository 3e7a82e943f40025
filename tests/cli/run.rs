//! `run`: feeds of a file, their events in files or on standard output, whatever happens to these.

use crate::common::livefeed;
use crate::scratch::Scratch;
use livefeed::lab::{Command as Do, End, Lab, Script, Topic, What};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Generous: a machine may be busy.
const CEILING: Duration = Duration::from_secs(60);

/// The running program. Killed at the end.
struct Service {
    child: Child,
    /// Its lines on standard error.
    said: Receiver<String>,
    heard: Vec<String>,
}

impl Service {
    fn start(config: &str) -> Self {
        Self::of(livefeed(&["run", config]).stdout(Stdio::null()))
    }

    fn of(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let said = lines(child.stderr.take().unwrap());
        Self { child, said, heard: Vec::new() }
    }

    /// Waits until it says something.
    fn wait_for(&mut self, part: &str) -> String {
        loop {
            let line = self.said.recv_timeout(CEILING);
            let line = line.unwrap_or_else(|_| panic!("it never said {part:?}: {:?}", self.heard));
            self.heard.push(line.clone());
            if line.contains(part) {
                return line;
            }
        }
    }

    #[cfg(unix)]
    fn signal(&self, signal: &str) {
        let status = Command::new("kill").args([signal, &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }

    fn end(&mut self) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                self.heard.extend(self.said.iter());
                assert!(!self.heard.iter().any(|line| line.contains("panicked")), "{:?}", self.heard);
                return status;
            }
            assert!(begin.elapsed() < CEILING, "it does not end: {:?}", self.heard);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lines(stderr: ChildStderr) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    receiver
}

/// Waits until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < CEILING, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A server that numbers its messages and sends as fast as they are taken.
fn flood() -> Lab {
    Lab::start(Script::of_topics([Topic::new("t").every(Duration::ZERO).size(200)])).unwrap()
}

fn steady() -> Lab {
    Lab::start(Script::of_topics([Topic::new("t").every(Duration::from_millis(1))])).unwrap()
}

/// The files of a directory, those that were put aside first, in their order.
fn files(dir: &Path) -> Vec<(String, String)> {
    let mut names: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort_unstable();
    names.into_iter().map(|name| (name.clone(), std::fs::read_to_string(dir.join(name)).unwrap())).collect()
}

/// The events of a file. Panics if a line is torn.
fn events(text: &str) -> Vec<Value> {
    assert!(
        text.is_empty() || text.ends_with('\n'),
        "the last line is torn: {:?}",
        &text[text.len().saturating_sub(99)..]
    );
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

fn all_events(dir: &Path) -> Vec<Value> {
    files(dir).iter().flat_map(|(_, text)| events(text)).collect()
}

/// The numbers of the messages.
fn numbers(events: &[Value]) -> Vec<u64> {
    let texts = events.iter().filter_map(|event| event["text"].as_str());
    texts.map(|text| serde_json::from_str::<Value>(text).unwrap()["seq"].as_u64().unwrap()).collect()
}

fn assert_joined(numbers: &[u64]) {
    assert!(!numbers.is_empty());
    for pair in numbers.windows(2) {
        assert_eq!(pair[1], pair[0] + 1, "of {} numbers", numbers.len());
    }
}

/// What comes during the close handshake may find the queue full. Then that is said.
fn assert_joined_or_marked(events: &[Value]) {
    let (mut last, mut lost) = (None, 0);
    for event in events {
        if event["event"] == "gap" {
            lost += event["lost"].as_u64().unwrap();
        }
        if let Some(number) = numbers(std::slice::from_ref(event)).first() {
            assert!(last.is_none_or(|last| *number == last + lost + 1), "{last:?}, {lost} lost, {number}");
            (last, lost) = (Some(*number), 0);
        }
    }
    assert!(last.is_some());
}

fn config(dir: &Scratch, lab: &Lab, output: &str) -> String {
    let text = format!("[output]\n{output}\n[[feeds]]\nname = \"f\"\nurl = \"{}\"\n", lab.url());
    dir.file("config.toml", &text)
}

fn read_line(stdout: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    stdout.read_line(&mut line).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[cfg(unix)]
#[test]
fn several_feeds_are_one_stream_and_sigterm_ends_them_with_the_close_handshake() {
    let (a, b) = (steady(), steady());
    let dir = Scratch::new();
    let text = format!(
        "[[feeds]]\nname = 'a'\nurl = '{}'\n[[feeds]]\nname = 'b'\nurl = '{}'\n[health]\nlisten = '127.0.0.1:0'\n",
        a.url(),
        b.url()
    );
    let mut service = Service::of(livefeed(&["run", &dir.file("c.toml", &text)]).stdout(Stdio::piped()));
    let line = service.wait_for("health at http://");
    let mut stdout = BufReader::new(service.child.stdout.take().unwrap());
    let mut seen = Vec::new();
    while ["a", "b"]
        .iter()
        .any(|feed| seen.iter().filter(|event: &&Value| event["feed"] == *feed).count() < 20)
    {
        seen.push(read_line(&mut stdout));
    }
    let health =
        http_get(line.rsplit("http://").next().unwrap().trim_end_matches('/'), "/health?feed=a&feed=b");
    assert!(health.starts_with("HTTP/1.1 200"), "{health}");

    service.signal("-TERM");
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).unwrap();
    assert_eq!(service.end().code(), Some(0), "{:?}", service.heard);
    seen.extend(events(&rest));
    for (lab, feed) in [(&a, "a"), (&b, "b")] {
        let own: Vec<_> = seen.iter().filter(|event| event["feed"] == feed).cloned().collect();
        assert_joined(&numbers(&own));
        assert_eq!(own.last().unwrap()["event"], "closed");
        let ended = lab.wait_for(|entry| matches!(entry.what, What::Ended(_)), CEILING).unwrap();
        assert!(matches!(ended.what, What::Ended(End::Closed)), "{ended:?}");
    }
}

fn http_get(addr: &str, path: &str) -> String {
    let mut stream = std::net::TcpStream::connect(addr).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {addr}\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[cfg(unix)]
#[test]
fn files_are_put_aside_under_a_flood_and_nothing_is_lost_or_torn() {
    let lab = flood();
    let dir = Scratch::new();
    let out = dir.path().join("out");
    let config =
        config(&dir, &lab, &format!("file = \"{}/{{feed}}.ndjson\"\nmax_bytes = 200000", out.display()));
    let mut service = Service::start(&config);
    until("ten files", || std::fs::read_dir(&out).is_ok_and(|dir| dir.count() > 10));
    service.signal("-TERM");
    assert_eq!(service.end().code(), Some(0), "{:?}", service.heard);
    let files = files(&out);
    assert_eq!(files.last().unwrap().0, "f.ndjson");
    assert!(files.iter().all(|(_, text)| text.len() <= 200_000));
    let events = all_events(&out);
    assert_joined_or_marked(&events);
    assert_eq!(numbers(&events)[0], 1);
    assert_eq!(events.last().unwrap()["event"], "closed");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_waited_for_and_nothing_is_lost_or_torn() {
    let lab = flood();
    let dir = Scratch::new();
    let out = dir.path().join("f.ndjson");
    let config = config(&dir, &lab, &format!("file = \"{}\"", out.display()));
    // A limit on the size of files stands for the disk: a write up to it is cut short, the next one fails.
    let run =
        format!("trap '' XFSZ; ulimit -S -f 3000; exec {} run {config}", env!("CARGO_BIN_EXE_livefeed"));
    let mut service = Service::of(Command::new("sh").args(["-c", &run]).stdout(Stdio::null()));
    service.wait_for("tried again until it can be written");
    let numbers_there = numbers(&events(&std::fs::read_to_string(&out).unwrap()));
    assert_joined(&numbers_there);

    // Nothing is read any more, so the server can't send: memory is bounded by the queue.
    let mut sent = 0;
    until("the server is held up", || {
        std::thread::sleep(Duration::from_millis(300));
        std::mem::replace(&mut sent, lab.published("t")) == sent
    });

    let id = service.child.id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &id, "--fsize=unlimited"]).status().unwrap();
    assert!(raised.success());
    service.wait_for("is written again");
    until("it goes on", || lab.published("t") > sent + 10_000);
    lab.control().all(Do::MuteAll);
    let all_there = || {
        let last = format!("\\\"seq\\\":{},", lab.published("t"));
        std::fs::read_to_string(&out).unwrap().contains(&last)
    };
    until("everything is written", all_there);
    service.signal("-TERM");
    assert_eq!(service.end().code(), Some(0), "{:?}", service.heard);
    let numbers = numbers(&events(&std::fs::read_to_string(&out).unwrap()));
    assert_joined(&numbers);
    assert!(numbers.len() > numbers_there.len() && numbers[0] == 1);
}

#[cfg(target_os = "linux")]
#[test]
fn the_end_does_not_wait_for_ever_for_a_full_disk() {
    let lab = steady();
    let dir = Scratch::new();
    let out = dir.path().join("f.ndjson");
    let config = config(&dir, &lab, &format!("file = \"{}\"", out.display()));
    let run = format!("trap '' XFSZ; ulimit -S -f 100; exec {} run {config}", env!("CARGO_BIN_EXE_livefeed"));
    let mut service = Service::of(Command::new("sh").args(["-c", &run]).stdout(Stdio::null()));
    service.wait_for("tried again until it can be written");
    service.signal("-TERM");
    assert_eq!(service.end().code(), Some(1), "{:?}", service.heard);
    assert!(service.heard.last().unwrap().contains("are lost"), "{:?}", service.heard);
    assert_joined(&numbers(&events(&std::fs::read_to_string(&out).unwrap())));
    // The server was told all the same.
    let ended = lab.wait_for(|entry| matches!(entry.what, What::Ended(_)), CEILING).unwrap();
    assert!(matches!(ended.what, What::Ended(End::Closed)), "{ended:?}");
}

#[cfg(unix)]
#[test]
fn a_directory_that_vanished_is_made_again() {
    let lab = steady();
    let dir = Scratch::new();
    let out = dir.path().join("out");
    let config = config(&dir, &lab, &format!("file = \"{}/f.ndjson\"", out.display()));
    let mut service = Service::start(&config);
    let has_some =
        || std::fs::read_to_string(out.join("f.ndjson")).is_ok_and(|text| text.lines().count() > 10);
    until("the first lines", has_some);
    std::fs::rename(&out, dir.path().join("away")).unwrap();
    until("lines in a new directory", has_some);
    std::fs::remove_dir_all(&out).unwrap();
    until("lines in another new directory", has_some);
    service.signal("-TERM");
    assert_eq!(service.end().code(), Some(0), "{:?}", service.heard);
    // What was moved away joins with what came after it, up to what was deleted.
    let away = numbers(&all_events(&dir.path().join("away")));
    let last = numbers(&all_events(&out));
    assert_joined(&away);
    assert_joined(&last);
    assert!(last[0] > *away.last().unwrap());
}

#[cfg(unix)]
#[test]
fn what_a_kill_leaves_is_gone_on_with() {
    let lab = flood();
    let dir = Scratch::new();
    let out = dir.path().join("f.ndjson");
    let config = config(&dir, &lab, &format!("file = \"{}\"", out.display()));
    for round in 0..5 {
        let before = std::fs::metadata(&out).map_or(0, |metadata| metadata.len());
        let service = Service::start(&config);
        until("lines", || std::fs::metadata(&out).is_ok_and(|metadata| metadata.len() > before + 300_000));
        drop(service); // by a kill
        if round == 3 {
            std::fs::OpenOptions::new()
                .append(true)
                .open(&out)
                .unwrap()
                .write_all(b"{\"event\":\"torn")
                .unwrap();
        }
    }
    let mut service = Service::start(&config);
    let connected = lab.connections();
    until("a connection", || lab.connections() > connected);
    service.signal("-TERM");
    assert_eq!(service.end().code(), Some(0), "{:?}", service.heard);
    let numbers = numbers(&events(&std::fs::read_to_string(&out).unwrap()));
    assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]) && numbers.len() > 1000);
}

#[cfg(unix)]
#[test]
fn a_slow_reader_of_standard_output_leaves_it_to_the_queue_and_its_policy() {
    let lab = flood();
    let dir = Scratch::new();
    let text = format!(
        "[[feeds]]\nname = 'f'\nurl = '{}'\nqueue = {{messages = 1000, overflow = 'drop_oldest'}}\n",
        lab.url()
    );
    let mut service = Service::of(livefeed(&["run", &dir.file("c.toml", &text)]).stdout(Stdio::piped()));
    until("a flood", || lab.published("t") > 200_000);
    let mut stdout = BufReader::new(service.child.stdout.take().unwrap());
    let mut last = None;
    loop {
        let event = read_line(&mut stdout);
        if event["event"] == "gap" {
            assert_eq!(event["cause"], "overflow");
            // Up to here nothing is missing, and here as many as it says.
            let next =
                std::iter::repeat_with(|| read_line(&mut stdout)).find(|event| event["event"] == "message");
            let next = numbers(&[next.unwrap()])[0];
            assert_eq!(next - last.unwrap_or(0) - 1, event["lost"].as_u64().unwrap());
            break;
        }
        if let Some(number) = numbers(&[event]).first() {
            assert!(last.is_none_or(|last| *number == last + 1));
            last = Some(*number);
        }
    }
    drop(stdout);
    assert_eq!(service.end().code(), Some(0), "nobody reads any more: {:?}", service.heard);
}

#[test]
fn the_others_go_on_without_a_feed_that_gave_up_and_the_last_one_ends_it() {
    let (good, bad) = (steady(), Lab::start(Script::refuse(403)).unwrap());
    let dir = Scratch::new();
    let text = format!(
        "[[feeds]]\nname = 'good'\nurl = '{}'\nreconnect.max_attempts = 1\n[[feeds]]\nname = 'bad'\nurl = '{}'\n",
        good.url(),
        bad.url()
    );
    let mut service = Service::of(livefeed(&["run", &dir.file("c.toml", &text)]).stdout(Stdio::piped()));
    let line = service.wait_for("bad: closed:");
    assert!(line.contains("403"), "{line}");
    let mut stdout = BufReader::new(service.child.stdout.take().unwrap());
    let (mut closed, mut after) = (false, 0);
    while after < 50 {
        let event = read_line(&mut stdout);
        closed |= event["feed"] == "bad" && event["event"] == "closed";
        after += usize::from(closed && event["event"] == "message");
    }
    good.control().stop_listening().unwrap();
    good.control().all(Do::Reset);
    service.wait_for("good: closed:");
    drop(std::io::copy(&mut stdout, &mut std::io::sink()));
    assert_eq!(service.end().code(), Some(1));
    assert!(service.heard.last().unwrap().contains("each feed has given up"), "{:?}", service.heard);
}

#[cfg(unix)]
#[test]
fn a_command_is_told_of_alerts() {
    let lab = steady();
    let dir = Scratch::new();
    let told = dir.path().join("told");
    let text = format!(
        "[on_alert]\ncommand = \"cat >> {}\"\n[[feeds]]\nname = 'f'\nurl = '{}'\n\
         alerts = {{reconnects = {{more_than = 0, within = '10m'}}}}\n",
        told.display(),
        lab.url()
    );
    let mut service = Service::of(livefeed(&["run", &dir.file("c.toml", &text)]).stdout(Stdio::piped()));
    let mut stdout = BufReader::new(service.child.stdout.take().unwrap());
    while read_line(&mut stdout)["event"] != "message" {} // before that it would be an attempt that failed
    lab.control().all(Do::Reset);
    let rest = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    until("an alert", || std::fs::read_to_string(&told).is_ok_and(|text| text.ends_with('\n')));
    service.signal("-TERM"); // SIGINT is ignored where tests run in the background of a script
    assert_eq!(service.end().code(), Some(0), "{:?}", service.heard);
    rest.join().unwrap().unwrap();
    let alert = &events(&std::fs::read_to_string(&told).unwrap())[0];
    assert_eq!(
        (&alert["event"], &alert["kind"], &alert["feed"]),
        (&"alert".into(), &"reconnects".into(), &"f".into())
    );
}

#[test]
fn what_can_not_be_had_is_said_at_once() {
    let lab = steady();
    let dir = Scratch::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let other = dir.file("other.txt", "not ours\n");
    for (args, output, status, part) in [
        (vec!["--health", &addr], String::new(), 1, "take another port"),
        (vec!["--health", "here"], String::new(), 2, "write HOST:PORT"),
        (vec!["--health", ":9090"], String::new(), 2, "127.0.0.1:9090 for this machine"),
        (vec![], format!("file = \"{other}\""), 2, "something else than events"),
        (vec![], "file = \"x-{topic}\"".to_owned(), 2, "{feed} is all that a name may hold of these"),
        (vec![], "every = \"1 fortnight\"".to_owned(), 2, "output.every: does not fit"),
    ] {
        let config = config(&dir, &lab, &output);
        let mut service = Service::of(livefeed(&["run", &config]).args(&args).stdout(Stdio::null()));
        assert_eq!(service.end().code(), Some(status), "{:?}", service.heard);
        assert!(service.heard.last().unwrap().contains(part), "{:?} has no {part}", service.heard);
    }
    assert_eq!(std::fs::read_to_string(other).unwrap(), "not ours\n");
    assert_eq!(lab.connections(), 0, "none of them got so far");
}

#[cfg(unix)]
#[test]
fn what_happens_is_said_with_the_name_of_the_feed_unless_it_is_to_be_quiet() {
    for quiet in [false, true] {
        let lab = steady();
        let dir = Scratch::new();
        let config = config(&dir, &lab, &format!("file = \"{}/f.ndjson\"", dir.path().display()));
        let more: &[&str] = if quiet { &["-q"] } else { &[] };
        let mut service =
            Service::of(livefeed(&[&["run", &config][..], more].concat()).stdout(Stdio::null()));
        until("data", || lab.published("t") > 20);
        lab.control().stop_listening().unwrap();
        lab.control().all(Do::Reset);
        if quiet {
            until("the end", || lab.live() == 0);
        } else {
            service.wait_for("livefeed: 1 feed, events go to ");
            service.wait_for("f: disconnected: ");
            service.wait_for("connection refused by ");
            lab.control().listen_again().unwrap();
            service.wait_for("f: gap: reconnected");
        }
        service.signal("-TERM");
        assert_eq!(service.end().code(), Some(0), "{:?}", service.heard);
        assert!(!quiet || service.heard.is_empty(), "{:?}", service.heard);
    }
}

#[test]
fn it_ends_after_the_time_that_was_given() {
    let lab = steady();
    let dir = Scratch::new();
    let begin = Instant::now();
    let mut service =
        Service::of(livefeed(&["run", &config(&dir, &lab, ""), "--for", "300ms"]).stdout(Stdio::null()));
    assert_eq!(service.end().code(), Some(0), "{:?}", service.heard);
    assert!(begin.elapsed() >= Duration::from_millis(300) && lab.connections() == 1);
}

#[cfg(unix)]
#[test]
fn the_end_of_all_feeds_waits_for_alerts_and_a_signal_does_not() {
    for by_itself in [true, false] {
        let lab = steady();
        let dir = Scratch::new();
        let (begun, told) = (dir.path().join("begun"), dir.path().join("told"));
        let takes = if by_itself { "0.5" } else { "20" };
        let text = format!(
            "[on_alert]\ncommand = \"touch {}; sleep {takes}; cat >> {}\"\n[[feeds]]\nname = 'f'\nurl = '{}'\n\
             reconnect = {{max_attempts = 2, floor = '2ms', first = '5ms', max = '10ms'}}\n\
             alerts = {{reconnects = {{more_than = 0, within = '10m'}}}}\n",
            begun.display(),
            told.display(),
            lab.url()
        );
        let mut service = Service::of(livefeed(&["run", &dir.file("c.toml", &text)]).stdout(Stdio::null()));
        until("data", || lab.published("t") > 20);
        if by_itself {
            lab.control().stop_listening().unwrap();
        }
        lab.control().all(Do::Reset);
        until("the command", || begun.exists());
        let begin = Instant::now();
        if !by_itself {
            service.signal("-TERM");
        }
        assert_eq!(service.end().code(), Some(i32::from(by_itself)), "{:?}", service.heard);
        assert_eq!(std::fs::read_to_string(&told).is_ok_and(|text| events(&text).len() == 1), by_itself);
        assert!(by_itself || begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
        assert_eq!(
            service.heard.iter().any(|line| line.contains("cut off")),
            !by_itself,
            "{:?}",
            service.heard
        );
    }
}

/// A server that does not say goodbye and a reader that does not read, both at once: Docker waits for 10 s.
#[cfg(unix)]
#[test]
fn the_end_is_bounded_whoever_does_not_answer() {
    let topic = Topic::new("t").every(Duration::from_millis(1)).size(2000);
    let lab = Lab::start(Script::of_topics([topic])).unwrap();
    let dir = Scratch::new();
    let config = dir.file("c.toml", &format!("url = '{}'\nclose_timeout = '4s'\n", lab.url()));
    let mut service = Service::of(livefeed(&["run", &config]).stdout(Stdio::piped()));
    let _nobody_reads = service.child.stdout.take();
    // More than fits into the pipe, and less than fits into the queue.
    until("data", || lab.published("t") > 300);
    lab.control().all(Do::Freeze);
    let begin = Instant::now();
    service.signal("-TERM");
    assert_eq!(service.end().code(), Some(1), "{:?}", service.heard);
    assert!(begin.elapsed() < Duration::from_millis(9500), "{:?}", begin.elapsed());
    assert!(service.heard.last().unwrap().contains("is lost"), "{:?}", service.heard);
}
