//! Messages made to hurt: nothing panics, and what is twice as long costs twice as much.
#![allow(clippy::disallowed_methods, reason = "the time that is measured is real")]

use crate::dialect::json::pointer::Pointer;
use crate::dialect::json::scan;
use crate::dialect::matcher::Matcher;
use crate::dialect::router::{Hit, Owner, Router};
use crate::message::{Payload, SubscriptionId};
use proptest::prelude::*;
use serde_json::json;
use std::time::{Duration, Instant};

const POINTERS: &[&str] = &[
    "/a",
    "/a/b/c",
    "/z",
    "/0",
    "/1/0",
    "/*",
    "/*/*",
    "/*/*/*/*",
    "/*/a",
    "/*/a/*/b",
    "/a/*/@json/*/b",
    "/@json/a",
    "/a/@json/@json/@json/@json",
    "/a/@json/a/@json/a/@json/a/@json",
    "/*/@json/*",
];

fn router() -> Router {
    let mut router = Router::default();
    router.insert(Owner::Rule(0), None, Some(&Matcher::pointer("/nothing", "x")));
    for (key, pointer) in (0..).zip(POINTERS) {
        let matchers = [
            Matcher::pointer(*pointer, "none"),
            Matcher::starts_with(*pointer, "none"),
            Matcher::bits(*pointer, 1 << 63),
            Matcher::contains(*pointer, json!({"none": 1, "more": [2]})),
            Matcher::all([Matcher::pointer("/*/x", 1), Matcher::pointer(*pointer, 1e300)]),
            Matcher::text(*pointer),
            Matcher::prefix("none"),
        ];
        for (kind, matcher) in (0..).zip(matchers) {
            let name = SubscriptionId::from(*pointer);
            router.insert(Owner::Data(key * 10 + kind), Some(&name), Some(&matcher));
        }
    }
    router
}

/// Names, and texts of about so many bytes.
fn messages(size: usize) -> Vec<(&'static str, Vec<u8>)> {
    let n = size;
    let text = |text: String| text.into_bytes();
    let inside = |times: usize, inner: &str| {
        (0..times).fold(inner.to_owned(), |inner, _| json!({ "a": inner }).to_string())
    };
    vec![
        ("open arrays", text("[".repeat(n))),
        ("open objects", text("{\"a\":".repeat(n / 5))),
        ("closed arrays", text(format!("{{\"b\":{}{},\"a\":1}}", "[".repeat(n / 2), "]".repeat(n / 2)))),
        ("shallow arrays", text(format!("[{}1]", "[],".repeat(n / 3)))),
        ("quotes", text(format!("{{{}", "\"".repeat(n)))),
        ("backslashes", text(format!("{{\"a\":\"{}", "\\".repeat(n)))),
        ("backslashes in a value", text(format!("{{\"a\":\"{}\"}}", "\\\\".repeat(n / 2)))),
        ("backslashes in what is skipped", text(format!("{{\"b\":[\"{}\"],\"a\":1}}", "\\\\".repeat(n / 2)))),
        ("broken escapes", text(format!("[{}1]", r#""\x","#.repeat(n / 5)))),
        ("lone surrogates", text(format!("[{}1]", r#""\ud800","#.repeat(n / 9)))),
        ("a long key", text(format!("{{\"{}\":1,\"a\":2}}", "k".repeat(n)))),
        ("a long escaped key", text(format!("{{\"{}\":1,\"a\":2}}", "\\u0061".repeat(n / 6)))),
        ("a long number", text(format!("{{\"a\":{}}}", "1".repeat(n)))),
        ("a long fraction", text(format!("{{\"a\":0.{}e{}}}", "1".repeat(n / 2), "9".repeat(n / 2)))),
        ("a long string", text(format!("{{\"a\":\"{}\"}}", "x".repeat(n)))),
        ("equal keys", text(format!("{{{}\"z\":1}}", "\"a\":[{}],".repeat(n / 9)))),
        ("many elements", text(format!("[{}1]", "{\"a\":1,\"x\":1},".repeat(n / 14)))),
        ("many members", text(format!("{{{}\"z\":1}}", "\"k\":{\"a\":{\"q\":{\"b\":1}}},".repeat(n / 26)))),
        ("many strings with JSON", text(format!("[{}1]", r#""[\"x\"]","#.repeat(n / 10)))),
        ("JSON in JSON", text(inside(4, &json!({"a": "y".repeat(n / 32)}).to_string()))),
        ("JSON in JSON, deeper", text(inside(12, &"y".repeat(n / 8192)))),
        ("spaces", text(format!("{{{}\"a\":1}}", " ".repeat(n)))),
        ("spaces alone", text(" ".repeat(n))),
        ("commas", text(format!("[{}", ",".repeat(n)))),
        ("no UTF-8", [&b"{\"a\":\""[..], &[0xFF, 0xC0, 0x80].repeat(n / 3), b"\",\"b\":1}"].concat()),
        ("zeros", vec![0; n]),
    ]
}

fn time(what: impl FnOnce()) -> Duration {
    let begin = Instant::now();
    what();
    begin.elapsed()
}

#[test]
fn the_time_is_linear_in_the_length() {
    let mut router = router();
    let mut hit = Hit::default();
    let pointers: Vec<_> = POINTERS.iter().map(|pointer| Pointer::parse(pointer).unwrap()).collect();
    const SIZE: usize = 4 * 1024;
    const TIMES: u32 = 16;
    for ((name, short), (_, long)) in messages(SIZE).into_iter().zip(messages(SIZE * TIMES as usize)) {
        let mut all = |bytes: &[u8]| {
            let payload = match std::str::from_utf8(bytes) {
                Ok(text) => Payload::Text(text),
                Err(_) => Payload::Binary(bytes),
            };
            time(|| {
                router.classify(payload, &mut hit);
                for pointer in &pointers {
                    scan::values(bytes, pointer, &mut |_| true);
                }
                assert!(
                    hit.rule.is_none() && hit.keys.is_empty() && hit.panicked.is_none(),
                    "{name}: {hit:?}"
                );
            })
        };
        let mut seen = Vec::new();
        // Quadratic would be 256 times as much. Others use this machine, too: once is enough, and the longer the
        // work the more of them come in between.
        let linear = (0..20).any(|_| {
            let (short, long) = (all(&short).max(Duration::from_micros(20)), all(&long));
            seen.push((short, long));
            long < short * TIMES * 8
        });
        assert!(linear, "{name}: {seen:?} for {TIMES} times as much");
    }
}

#[test]
fn megabytes_are_no_match() {
    let mut router = router();
    let mut hit = Hit::default();
    for (name, bytes) in messages(2 * 1024 * 1024) {
        router.classify(Payload::Binary(&bytes), &mut hit);
        assert!(hit.rule.is_none() && hit.keys.is_empty() && hit.panicked.is_none(), "{name}: {hit:?}");
    }
}

#[test]
fn the_first_of_equal_keys_counts() {
    let mut router = Router::default();
    for (key, matcher) in (0..).zip([
        Matcher::pointer("/a", 1),
        Matcher::pointer("/a", 2),
        Matcher::pointer("/a/b", 3),
        Matcher::pointer("/*", 2),
        Matcher::pointer("/*/b", 3),
    ]) {
        assert_eq!(
            matcher.matches(Payload::Text(r#"{"a":1,"a":2,"\u0061":{"b":3}}"#)),
            [0, 3, 4].contains(&key)
        );
        router.insert(Owner::Data(key), None, Some(&matcher));
    }
    let mut hit = Hit::default();
    router.classify(Payload::Text(r#"{"a":1,"a":2,"\u0061":{"b":3}}"#), &mut hit);
    assert_eq!(hit.keys, [0, 3, 4]);
}

proptest! {
    #[test]
    fn whatever_the_bytes(bytes in prop::collection::vec(prop_oneof![
        4 => prop::sample::select(&b"{}[]\",:\\u0d8-1.etfn ab"[..]),
        1 => any::<u8>(),
    ], 0..200)) {
        let mut router = router();
        for start in [&b""[..], b"{\"a\":", b"[", b"{\"a\":\"{\\\"a\\\":", b"[[{\"a\":[\""] {
            let bytes = [start, &bytes].concat();
            router.classify(Payload::Binary(&bytes), &mut Hit::default());
            for pointer in POINTERS {
                let pointer = Pointer::parse(pointer).unwrap();
                scan::values(&bytes, &pointer, &mut |_| true);
                let _ = scan::value(&bytes, &pointer);
            }
        }
    }
}
