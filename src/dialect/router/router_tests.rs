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

/// The names of what the last message was data of.
fn names(router: &Router) -> Vec<&str> {
    router.names().into_iter().flat_map(|names| names.iter()).map(SubscriptionId::as_str).collect()
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
        assert_eq!(names(&router), expected, "{text}");
        assert_eq!(router.names().is_none(), expected.is_empty());
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
        assert!(hit.keys.is_empty() && router.names().is_none());
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
    assert_eq!((hit.rule, hit.keys.len(), router.names()), (None, 0, None));
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
    assert_eq!((hit.panicked, hit.keys.len()), (None, 0));
}

#[test]
fn the_most_exact_wins() {
    let begins = Matcher::starts_with;
    let is = |pointer: &str, value: &str| Matcher::pointer(pointer, value);
    let cases = [
        // The trap: `order` begins what `orderbook` begins, too.
        (vec![begins("/t", "order"), begins("/t", "orderbook")], r#"{"t":"orderbook.BTC"}"#, vec![1]),
        (vec![begins("/t", "order"), begins("/t", "orderbook")], r#"{"t":"order.BTC"}"#, vec![0]),
        (vec![begins("/t", "order"), begins("/t", "order")], r#"{"t":"order"}"#, vec![0, 1]),
        (vec![begins("/t", "order"), is("/t", "orders")], r#"{"t":"orders"}"#, vec![1]),
        (vec![begins("/t", "order"), Matcher::one_of("/t", ["x", "orders"])], r#"{"t":"orders"}"#, vec![1]),
        (
            vec![begins("/t", "o"), Matcher::contains("", json!({"t": "orders"}))],
            r#"{"t":"orders"}"#,
            vec![1],
        ),
        (vec![begins("/t", "o"), begins("/u", "order")], r#"{"t":"o","u":"order"}"#, vec![0, 1]),
        (vec![begins("/t", "o"), Matcher::exists("/t")], r#"{"t":"o"}"#, vec![0, 1]),
        (vec![Matcher::prefix("42"), Matcher::prefix("42["), Matcher::text("42[]")], "42[1]", vec![1]),
        (vec![Matcher::prefix("42"), Matcher::prefix("42["), Matcher::text("42[]")], "42[]", vec![2]),
        // Only those that match as a whole.
        (
            vec![begins("/t", "o"), Matcher::all([begins("/t", "or"), is("/u", "x")])],
            r#"{"t":"or"}"#,
            vec![0],
        ),
        (
            vec![begins("/t", "o"), Matcher::all([begins("/t", "or"), Matcher::exists("/u")])],
            r#"{"t":"or","u":1}"#,
            vec![1],
        ),
        // Each value on its own.
        (vec![begins("/*/t", "o"), is("/*/t", "or")], r#"[{"t":"or"}]"#, vec![1]),
        (vec![begins("/*/t", "o"), is("/*/t", "or")], r#"[{"t":"or"},{"t":"on"}]"#, vec![0, 1]),
        // Of two wildcards one is looked up, the other tried.
        (
            vec![begins("/b/*", "o"), Matcher::all([is("/a/*", "x"), is("/b/*", "or")])],
            r#"{"a":["x"],"b":["or"]}"#,
            vec![1],
        ),
        (
            vec![Matcher::all([is("/a/*", "x"), begins("/b/*", "o")]), is("/b/*", "or")],
            r#"{"a":["x"],"b":["or"]}"#,
            vec![1],
        ),
        (
            vec![Matcher::all([is("/a/*", "x"), begins("/b/*", "o")]), is("/b/*", "or")],
            r#"{"a":["x"],"b":["or","on"]}"#,
            vec![0, 1],
        ),
        // Each more exact than the other: something remains.
        (
            vec![
                Matcher::all([begins("/t", "o"), begins("/u", "xy")]),
                Matcher::all([begins("/t", "or"), begins("/u", "x")]),
            ],
            r#"{"t":"or","u":"xy"}"#,
            vec![1],
        ),
    ];
    for (matchers, text, expected) in cases {
        for matcher in &matchers {
            assert_eq!(matcher.check(), Ok(()));
        }
        let data: Vec<_> = (0..).zip(matchers).map(|(key, m)| (key, Some(m))).collect();
        assert_eq!(classify(&mut router(&[], &data), text).keys, expected, "{text} of {data:?}");
    }
}

#[test]
fn names_are_shared() {
    let a = || Some(Matcher::pointer("/c", "a"));
    let mut router = router(&[], &[(7, a()), (8, a()), (9, Some(Matcher::exists("/d")))]);
    for text in [r#"{"c":"a"}"#, r#"{"c":"a","d":1}"#, r#"{"d":1}"#] {
        let first = (classify(&mut router, text).keys, router.names().unwrap().clone());
        let second = (classify(&mut router, text).keys, router.names().unwrap());
        assert_eq!(first.0, second.0);
        assert!(Arc::ptr_eq(&first.1, second.1), "{text}");
    }
    let mut named = |change: &mut dyn FnMut(&mut Router), text: &str| {
        change(&mut router);
        assert_eq!(router.names(), None, "they are those of a message, by the owners as they were");
        let keys = classify(&mut router, text).keys;
        (keys, names(&router).join(" "))
    };
    // New names are seen.
    let mut new = |router: &mut Router| {
        router.insert(Owner::Data(7), Some(&SubscriptionId::from("new")), a().as_ref());
    };
    assert_eq!(named(&mut new, r#"{"c":"a"}"#), (vec![7, 8], "new s8".into()));
    assert_eq!(named(&mut new, r#"{"c":"a","d":1}"#), (vec![7, 8, 9], "new s8 s9".into()));
    assert_eq!(named(&mut |router| router.remove(Owner::Data(8)), r#"{"c":"a"}"#), (vec![7], "new".into()));
    let mut nameless = |router: &mut Router| router.insert(Owner::Data(7), None, a().as_ref());
    assert_eq!(named(&mut nameless, r#"{"c":"a"}"#), (vec![7], String::new()));
}

#[test]
fn closures_are_called_once_and_last() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let closure = Matcher::closure(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    let a = Matcher::pointer("/*/a", 1);
    let both =
        Matcher::all([Matcher::any([closure.clone(), Matcher::text("x")]), Matcher::exists("/0/b"), a]);
    let mut router = router(&[], &[(1, Some(both))]);
    assert!(classify(&mut router, r#"[{"a":1},{"a":1}]"#).keys.is_empty());
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    assert_eq!(classify(&mut router, r#"[{"a":1,"b":2},{"a":1}]"#).keys, [1]);
    assert_eq!(calls.load(Ordering::Relaxed), 1);
}

#[test]
fn many_alternatives_are_not_multiplied_out() {
    let list = |pointer: &str, n: u64| Matcher::one_of(pointer, 0..n);
    let all = Matcher::all([list("/a", 2000), list("/b", 2000), list("/c", 3)]);
    let mut router = router(&[], &[(1, Some(all))]);
    assert!(router.entries.as_mut_slice().len() < 10_000);
    assert_eq!(classify(&mut router, r#"{"a":1999,"b":1999,"c":2}"#).keys, [1]);
    assert!(classify(&mut router, r#"{"a":1999,"b":1999,"c":3}"#).keys.is_empty());
    assert!(classify(&mut router, r#"{"a":1999,"b":2000,"c":2}"#).keys.is_empty());
    assert!(classify(&mut router, r#"{"a":2000,"b":1999,"c":2}"#).keys.is_empty());
}

#[test]
fn many_names_are_looked_up() {
    let data: Vec<_> =
        (0..100).map(|key| (key, Some(Matcher::exists(format!("/data/s{key}/price"))))).collect();
    let mut router = router(&[], &data);
    assert_eq!(
        classify(&mut router, r#"{"data":{"s42":{"price":1},"s99":{"price":1},"s7":1}}"#).keys,
        [42, 99]
    );
    for key in 0..99 {
        router.remove(Owner::Data(key));
    }
    assert_eq!(classify(&mut router, r#"{"data":{"s42":{"price":1},"s99":{"price":1}}}"#).keys, [99]);
}
