//! What class a message gets, and which subscriptions.

use super::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

fn route(key: u64, matcher: Option<Matcher>) -> Route {
    (key, SubscriptionId::from(format!("s{key}")), matcher)
}

fn classify(router: &Router, text: &str) -> Hit {
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
        Matcher::pointer("/id", serde_json::Value::Null),
        Matcher::pointer("/a/0", "x"),
        Matcher::text("ping"),
        Matcher::prefix("p"),
        Matcher::prefix("pi"),
        Matcher::prefix("p"),
        Matcher::closure(|payload| payload.as_bytes().len() % 2 == 0),
    ];
    let routes: Vec<Route> = (0..).zip(&matchers).map(|(key, m)| route(key, Some(m.clone()))).collect();
    let router = Router::new(&[], &routes);
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
fn heartbeats_win() {
    let calls = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let closure = Matcher::closure(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
        true
    });
    let heartbeats = [
        Matcher::pointer("/c", "hb"),
        Matcher::text("pong"),
        Matcher::prefix("h"),
        Matcher::closure(|payload| payload.as_bytes().is_empty()),
    ];
    let routes =
        [route(1, None), route(2, Some(Matcher::pointer("/c", "hb"))), route(3, Some(closure.clone()))];
    let router = Router::new(&heartbeats, &routes);
    for text in [r#"{"c":"hb"}"#, "pong", "hello", ""] {
        let hit = classify(&router, text);
        assert_eq!(hit.class, Class::Heartbeat, "{text}");
        assert!(hit.keys.is_empty() && hit.names.is_none());
    }
    assert_eq!(calls.load(Ordering::Relaxed), 0);
    let hit = classify(&router, r#"{"c":"x"}"#);
    assert_eq!((hit.class, hit.keys), (Class::Data, vec![1, 3]));
}

#[test]
fn names_are_shared_for_one_target() {
    let routes = [route(7, Some(Matcher::pointer("/c", "a"))), route(8, Some(Matcher::pointer("/c", "a")))];
    let router = Router::new(&[], &routes);
    let (first, second) = (classify(&router, r#"{"c":"a"}"#), classify(&router, r#"{"c":"a"}"#));
    assert_eq!(first.keys, [7, 8]);
    assert!(Arc::ptr_eq(first.names.as_ref().unwrap(), second.names.as_ref().unwrap()));

    let router = Router::new(&[], &[route(1, None), route(2, None)]);
    let (first, second) = (classify(&router, "x"), classify(&router, "{"));
    assert_eq!(first.keys, [1, 2]);
    assert!(Arc::ptr_eq(first.names.as_ref().unwrap(), second.names.as_ref().unwrap()));
}

#[test]
fn trivial_routers_say_data() {
    let router = Router::new(&[], &[]);
    assert!(router.is_trivial());
    let hit = classify(&router, r#"{"a":1}"#);
    assert_eq!((hit.class, hit.keys.len(), hit.names), (Class::Data, 0, None));
    assert!(!Router::new(&[Matcher::closure(|_| true)], &[]).is_trivial());
    assert!(!Router::new(&[], &[route(1, None)]).is_trivial());
}

#[test]
fn unexpected_data_has_no_keys() {
    let router = Router::new(&[], &[route(1, Some(Matcher::text("a")))]);
    assert!(classify(&router, "b").keys.is_empty());
}

#[test]
fn a_panic_is_no_match() {
    let panics = || Matcher::closure(|_| panic!("at the disco"));
    let router = Router::new(&[panics()], &[route(1, Some(panics())), route(2, Some(Matcher::text("a")))]);
    let mut hit = classify(&router, "a");
    assert_eq!((hit.class, &hit.keys[..]), (Class::Data, &[2][..]));
    assert_eq!(hit.panicked.as_deref(), Some("at the disco"));
    Router::default().classify(Payload::Text("a"), &mut hit);
    assert_eq!((hit.panicked, hit.keys.len(), hit.names), (None, 0, None));
}
