//! What is found for a message.

use super::*;
use crate::message::Payload;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn router(rules: &[Matcher], data: &[(u64, Option<Matcher>)]) -> Router {
    let mut router = Router::default();
    for (rule, matcher) in (0..).zip(rules) {
        router.insert(Owner::Rule(rule), None, Some(matcher));
    }
    for (key, matcher) in data {
        router.insert(Owner::Data(*key), Some(&name(*key)), matcher.as_ref());
    }
    router
}

fn name(key: u64) -> SubscriptionId {
    SubscriptionId::from(format!("s{key}"))
}

fn classify(router: &mut Router, text: &str) -> Hit {
    let mut hit = Hit::default();
    router.classify(Payload::Text(text), &mut hit);
    hit
}

fn names(hit: &Hit) -> Vec<&str> {
    hit.names.iter().flat_map(|names| names.iter()).map(SubscriptionId::as_str).collect()
}

#[test]
fn tables_agree_with_the_matchers() {
    let matchers = [
        Matcher::pointer("/c", "trades"),
        Matcher::pointer("/c", "book"),
        Matcher::pointer("/c", "trades"),
        Matcher::pointer("/id", 1),
        Matcher::pointer("/id", 1.0),
        Matcher::pointer("/id", 9_007_199_254_740_993_u64),
        Matcher::pointer("/id", 9_007_199_254_740_992_f64),
        Matcher::pointer("/id", "1"),
        Matcher::pointer("/id", true),
        Matcher::pointer("/id", false),
        Matcher::pointer("/id", json!(null)),
        Matcher::pointer("/a/0", "x"),
        Matcher::text("ping"),
        Matcher::prefix("po"),
        Matcher::prefix("po"),
        Matcher::closure(|payload| payload.as_bytes().len() % 2 == 0),
    ];
    let data: Vec<_> = (0..).zip(&matchers).map(|(key, m)| (key, Some(m.clone()))).collect();
    let mut router = router(&[], &data);
    let mut hit = Hit::default();
    for text in [
        r#"{"c":"trades"}"#,
        r#"{"c":"tr\u0061des","id":1}"#,
        r#"{"c":"book","id":1.0,"a":["x"]}"#,
        r#"{"id":9007199254740993}"#,
        r#"{"id":9007199254740992}"#,
        r#"{"id":"1"}"#,
        r#"{"id":true}"#,
        r#"{"id":false}"#,
        r#"{"id":null}"#,
        r#"{"id":[1]}"#,
        r#"{"id":1"#,
        "ping",
        "pong",
        "x",
        "",
    ] {
        router.classify(Payload::Text(text), &mut hit);
        let expected: Vec<u64> = (0..)
            .zip(&matchers)
            .filter(|(_, m)| m.matches(Payload::Text(text)))
            .map(|(key, _)| key)
            .collect();
        assert_eq!(hit.keys, expected, "{text}");
        let expected: Vec<String> = expected.iter().map(|key| format!("s{key}")).collect();
        assert_eq!(names(&hit), expected, "{text}");
        assert_eq!(hit.names.is_none(), expected.is_empty());
    }
}

#[test]
fn the_lowest_rule_wins_and_data_is_not_asked() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let closure = Matcher::closure(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    let rules = [
        Matcher::pointer("/c", "hb"),
        Matcher::text("pong"),
        Matcher::prefix("h"),
        Matcher::closure(|payload| payload.as_bytes().is_empty()),
        Matcher::text("pong"),
    ];
    let data = [(1, None), (2, Some(Matcher::pointer("/c", "hb"))), (3, Some(closure))];
    let mut router = router(&rules, &data);
    router.insert(Owner::Request(9), None, Some(&Matcher::exists("/c")));
    router.insert(Owner::Request(8), None, Some(&Matcher::pointer("/c", "answer")));
    for (text, rule) in [(r#"{"c":"hb"}"#, 0), ("pong", 1), ("hello", 2), ("", 3)] {
        let hit = classify(&mut router, text);
        assert_eq!((hit.rule, hit.request), (Some(rule), None), "{text}");
        assert!(hit.keys.is_empty() && hit.names.is_none());
    }
    let hit = classify(&mut router, r#"{"c":"answer"}"#);
    assert_eq!((hit.rule, hit.request, hit.keys.len()), (None, Some(8), 0));
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let hit = classify(&mut router, r#"{"d":"x"}"#);
    assert_eq!((hit.rule, hit.request, hit.keys), (None, None, vec![1, 3]));
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn trivial_and_strict() {
    let mut router = Router::default();
    assert!(router.is_trivial() && !router.is_strict());
    let hit = classify(&mut router, r#"{"a":1}"#);
    assert_eq!((hit.rule, hit.keys.len(), hit.names), (None, 0, None));
    router.insert(Owner::Rule(0), None, Some(&Matcher::closure(|_| true)));
    assert!(!router.is_trivial() && !router.is_strict());
    router.insert(Owner::Data(1), Some(&name(1)), Some(&Matcher::text("a")));
    assert!(router.is_strict());
    router.insert(Owner::Data(2), Some(&name(2)), None);
    assert!(!router.is_strict());
    router.remove(Owner::Data(2));
    assert!(router.is_strict());
    router.remove(Owner::Data(1));
    router.remove(Owner::Rule(0));
    router.remove(Owner::Rule(0));
    assert!(router.is_trivial());
}

#[test]
fn unexpected_data_has_no_keys() {
    let mut router = router(&[], &[(1, Some(Matcher::text("a")))]);
    assert!(classify(&mut router, "b").keys.is_empty());
}

#[test]
fn a_panic_is_no_match() {
    let panics = || Matcher::closure(|_| panic!("at the disco"));
    let mut router = router(&[panics()], &[(1, Some(panics())), (2, Some(Matcher::text("a")))]);
    let mut hit = classify(&mut router, "a");
    assert_eq!((hit.rule, &hit.keys[..]), (None, &[2][..]));
    assert_eq!(hit.panicked.as_deref(), Some("at the disco"));
    Router::default().classify(Payload::Text("a"), &mut hit);
    assert_eq!((hit.panicked, hit.keys.len(), hit.names), (None, 0, None));
}
