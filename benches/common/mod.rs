//! What the benches share: the lab in a process of its own, and the figures of `/proc`.
#![allow(dead_code, unreachable_pub, reason = "each bench uses its part")]
#![allow(clippy::expect_used, clippy::panic, reason = "a bench that can't go on says so")]

use livefeed::lab::{Certificate, Flood, Lab, Script, Topic};
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// What the server does.
pub const FLOOD: &str = "flood";
/// One message, then silence; pings are answered.
pub const ONCE: &str = "once";
/// One message a millisecond, with the wall clock's nanoseconds in it.
pub const STEADY: &str = "steady";

/// A lab in a process of its own, so that only the client is measured.
pub struct Server {
    child: Child,
    pub url: String,
    pub ca_pem: String,
}

impl Server {
    pub fn start(what: &str, tls: bool, size: usize) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("the bench's own path"))
            .args(["--serve", what, if tls { "tls" } else { "plain" }, &size.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the server process");
        let mut lines = BufReader::new(child.stdout.take().expect("its output"));
        let mut url = String::new();
        lines.read_line(&mut url).expect("its URL");
        let mut ca_pem = String::new();
        if tls {
            loop {
                let mut line = String::new();
                lines.read_line(&mut line).expect("its certificate");
                let end = line.contains("END CERTIFICATE");
                ca_pem.push_str(&line);
                if end {
                    break;
                }
            }
        }
        Self { child, url: url.trim().to_owned(), ca_pem }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.child.stdin.take()); // it ends with its input
        let _ = self.child.wait();
    }
}

/// Called first in each bench: if this is the server process, serves until its input ends.
pub fn serve_if_asked() {
    let args: Vec<String> = std::env::args().collect();
    let Some(at) = args.iter().position(|arg| arg == "--serve") else { return };
    let (what, tls, size) = (&args[at + 1], args[at + 2] == "tls", args[at + 3].parse().expect("a size"));
    let script = match what.as_str() {
        FLOOD => Script::new().flood(Flood::of_size(size)),
        ONCE => Script::new().send(r#"{"topic":"x"}"#),
        STEADY => Script::of_topics([Topic::new("x").every(Duration::from_millis(1))]),
        other => panic!("no such server: {other}"),
    };
    let mut builder = Lab::builder().script(script).transcript_limit(16);
    if tls {
        builder = builder.tls(Certificate::Valid);
    }
    let lab = builder.start().expect("the lab");
    println!("{}", lab.url());
    if tls {
        println!("{}", lab.ca_pem());
    }
    std::io::stdout().flush().expect("a reader");
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    drop(lab);
    std::process::exit(0);
}

/// An argument `--name VALUE`, or the default.
pub fn option<T: std::str::FromStr>(name: &str, default: T) -> T {
    let mut args = std::env::args().skip_while(|arg| arg != name).skip(1);
    args.next().and_then(|value| value.parse().ok()).unwrap_or(default)
}

/// Minimum, median and maximum.
pub fn spread(values: &mut [f64]) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

/// The value at a share of the sorted values, 0.99 for p99.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted[at.clamp(1, sorted.len()) - 1]
}

/// A line of `/proc/self/status`, in its own unit.
pub fn status(name: &str) -> u64 {
    field(&std::fs::read_to_string("/proc/self/status").unwrap_or_default(), name)
}

/// Voluntary context switches of all threads so far.
pub fn voluntary_switches() -> u64 {
    let Ok(tasks) = std::fs::read_dir("/proc/self/task") else { return 0 };
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("status")).ok())
        .map(|status| field(&status, "voluntary_ctxt_switches"))
        .sum()
}

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap_or(0)
}

/// CPU seconds of this process so far, in the system's ticks of 10 ms.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or_default();
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|t| t.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}
