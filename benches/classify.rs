//! Nanoseconds and allocations to find a message's subscription, beside `serde_json::Value` in one interleaved run.
//!
//! `cargo bench --bench classify -- --rounds 9`
#![allow(clippy::disallowed_methods, reason = "a bench reads clocks")]
#![allow(clippy::expect_used, clippy::panic, reason = "a bench that can't go on says so")]
#![allow(
    dead_code,
    unreachable_pub,
    unused_imports,
    reason = "the layer is built as it is, to reach what is not public"
)]

#[path = "../src/class.rs"]
mod class;
#[path = "../src/clock.rs"]
mod clock;
#[path = "../src/dialect/mod.rs"]
mod dialect;
#[path = "../src/duration.rs"]
mod duration;
#[path = "../src/message.rs"]
mod message;
#[path = "../src/panics.rs"]
mod panics;
#[path = "../src/secret.rs"]
mod secret;
#[path = "../src/table.rs"]
mod table;

use dialect::{Hit, Matcher, Owner, Router};
use message::{Payload, SubscriptionId};
use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is passed on.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as demanded of the caller.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: as demanded of the caller.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as demanded of the caller.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Where the fields are that tell subscriptions apart.
#[derive(Clone, Copy, PartialEq)]
enum Form {
    Early,
    Late,
    /// Two fields, one in front and one behind.
    Two,
}

fn symbol(key: u64) -> String {
    format!("sym{key:05}")
}

fn matcher(form: Form, key: u64) -> Matcher {
    match form {
        Form::Early | Form::Late => Matcher::pointer("/stream", format!("{}@trade", symbol(key))),
        Form::Two => {
            Matcher::all([Matcher::pointer("/channel", "trades"), Matcher::pointer("/symbol", symbol(key))])
        }
    }
}

fn pointers(form: Form) -> &'static [&'static str] {
    match form {
        Form::Early | Form::Late => &["/stream"],
        Form::Two => &["/channel", "/symbol"],
    }
}

/// A message of about this many bytes.
fn text(form: Form, key: u64, size: usize) -> String {
    let symbol = symbol(key);
    let (head, tail) = match form {
        Form::Early => (format!(r#"{{"stream":"{symbol}@trade","data":{{"#), "}}".to_owned()),
        Form::Late => (r#"{"data":{"#.to_owned(), format!(r#"}},"stream":"{symbol}@trade"}}"#)),
        Form::Two => (r#"{"channel":"trades","data":{"#.to_owned(), format!(r#"}},"symbol":"{symbol}"}}"#)),
    };
    let mut data = format!(
        r#""e":"trade","E":17000000{key:05},"t":{key},"p":"0.00{key}","q":"{}","T":17000000{key:05},"m":true"#,
        key % 97
    );
    let room = size.saturating_sub(head.len() + tail.len());
    if size > 200 {
        data.push_str(r#","b":["#);
        let mut level = key;
        while data.len() + 2 < room {
            if !data.ends_with('[') {
                data.push(',');
            }
            level = level.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            data.push_str(&format!(r#"["{}.{}","{}"]"#, level >> 52, level % 97, level >> 60));
        }
        data.push(']');
    }
    format!("{head}{data}{tail}")
}

fn router(form: Form, subscriptions: u64, rules: bool) -> Router {
    let mut router = Router::default();
    if rules {
        let matchers =
            [Matcher::pointer("/op", "pong"), Matcher::pointer("/event", "error"), Matcher::exists("/id")];
        for (rule, matcher) in (0..).zip(&matchers) {
            router.insert(Owner::Rule(rule), None, Some(matcher));
        }
    }
    for key in 0..subscriptions {
        let name = SubscriptionId::from(symbol(key));
        router.insert(Owner::Data(key), Some(&name), Some(&matcher(form, key)));
    }
    router
}

const MESSAGES: u64 = 512;

fn texts(form: Form, subscriptions: u64, size: usize) -> Vec<String> {
    (0..MESSAGES).map(|i| text(form, i.wrapping_mul(7919) % subscriptions, size)).collect()
}

fn classify(router: &mut Router, hit: &mut Hit, texts: &[String]) -> (f64, f64) {
    measure(texts, |text| {
        router.classify(Payload::Text(text), hit);
        assert_eq!(black_box(&hit).keys.len(), 1);
        black_box(router.names());
    })
}

fn serde(form: Form, texts: &[String]) -> (f64, f64) {
    measure(texts, |text| {
        let value: serde_json::Value = serde_json::from_str(text).expect("JSON");
        for pointer in pointers(form) {
            black_box(value.pointer(pointer));
        }
    })
}

/// Nanoseconds and allocations of one.
fn measure(texts: &[String], mut one: impl FnMut(&str)) -> (f64, f64) {
    texts.iter().for_each(|text| one(text));
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    let begin = Instant::now();
    texts.iter().for_each(|text| one(text));
    let nanos = begin.elapsed().as_nanos() as f64;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - allocations;
    (nanos / texts.len() as f64, allocations as f64 / texts.len() as f64)
}

fn median(mut values: Vec<(f64, f64)>) -> (f64, f64) {
    values.sort_by(|a, b| a.0.total_cmp(&b.0));
    values[values.len() / 2]
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let rounds = args.iter().position(|arg| arg == "--rounds").and_then(|at| args.get(at + 1)?.parse().ok());
    let rounds: usize = rounds.unwrap_or(15);
    println!("ns (allocations) per message; x: how many times cheaper than serde_json::Value");
    for size in [128, 1024] {
        for (form, rules, label) in [
            (Form::Early, false, "stream in front, no rules"),
            (Form::Early, true, "stream in front"),
            (Form::Late, true, "stream behind"),
            (Form::Two, true, "channel and symbol"),
        ] {
            let mut cases: Vec<_> = [1, 100, 10_000]
                .into_iter()
                .map(|n| (router(form, n, rules), texts(form, n, size), Vec::new()))
                .collect();
            let mut value = Vec::new();
            let mut hit = Hit::default();
            for _ in 0..rounds {
                value.push(serde(form, &cases[1].1));
                for (router, texts, figures) in &mut cases {
                    figures.push(classify(router, &mut hit, texts));
                }
            }
            let value = median(value);
            let size = cases[1].1[0].len();
            print!("{size:5} B, {label:26} serde {:5.0} ({:.0})", value.0, value.1);
            for (n, (_, _, figures)) in [1, 100, 10_000].into_iter().zip(cases) {
                let own = median(figures);
                print!("   {n:5}: {:4.0} ({:.2}) x{:4.1}", own.0, own.1, value.0 / own.0);
            }
            println!();
        }
    }
    for n in [100, 10_000] {
        let mut router = router(Form::Two, n, true);
        let begin = Instant::now();
        for key in 0..1000 {
            let key = key * 7919 % n;
            router.remove(Owner::Data(key));
            router.insert(Owner::Data(key), None, Some(&matcher(Form::Two, key)));
        }
        println!("remove and insert one of {n}: {} ns", begin.elapsed().as_nanos() / 1000);
    }
}
