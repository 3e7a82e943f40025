//! What matchers match, how they are written, and what is refused.

use super::*;
use serde_json::json;

#[test]
fn matches_what_it_says() {
    let long = Matcher::closure(|payload| payload.as_bytes().len() > 4);
    let channel = Matcher::pointer("/channel", "trades");
    let status = Matcher::pointer("/0/status", 1);
    let absent = Matcher::Exists { pointer: "/a".into(), exists: false };
    let both = Matcher::all([Matcher::pointer("/a", 1), Matcher::pointer("/b", 2)]);
    for (matcher, payload, expected) in [
        (&channel, Payload::Text(r#"{"channel":"trades"}"#), true),
        (&channel, Payload::Binary(br#" {"channel":"trades"}"#), true),
        (&channel, Payload::Text(r#"{"channel":"book"}"#), false),
        (&channel, Payload::Text(r#"{"channel":{"channel":"trades"}}"#), false),
        (&channel, Payload::Text("trades"), false),
        (&status, Payload::Text(r#"[{"status":1.0}]"#), true),
        (&status, Payload::Text(r#"[{"status":"1"}]"#), false),
        (&Matcher::pointer("/a", Value::Null), Payload::Text(r#"{"a":null}"#), true),
        (&Matcher::pointer("/a", Value::Null), Payload::Text(r#"{"b":1}"#), false),
        (&Matcher::pointer("/a", json!([])), Payload::Text(r#"{"a":[]}"#), false),
        (&Matcher::pointer("/a", json!([])), Payload::Text(r#"{"b":[]}"#), false),
        (&Matcher::text("pong"), Payload::Text("pong"), true),
        (&Matcher::text("pong"), Payload::Text("pong "), false),
        (&Matcher::text("pong"), Payload::Binary(b"pong"), false),
        (&Matcher::prefix("42"), Payload::Text("42[]"), true),
        (&Matcher::prefix("42"), Payload::Text("4"), false),
        (&Matcher::one_of("/a", ["x", "y"]), Payload::Text(r#"{"a":"y"}"#), true),
        (&Matcher::one_of("/a", ["x", "y"]), Payload::Text(r#"{"a":"z"}"#), false),
        (&Matcher::exists("/a"), Payload::Text(r#"{"a":null}"#), true),
        (&Matcher::exists("/a"), Payload::Text(r#"{"b":null}"#), false),
        (&absent, Payload::Text(r#"{"b":null}"#), true),
        (&absent, Payload::Text("pong"), true),
        (&Matcher::exists(""), Payload::Text("[]"), true),
        (&Matcher::exists(""), Payload::Text("1"), false),
        (&Matcher::starts_with("/a", "or"), Payload::Text(r#"{"a":"\u006frder"}"#), true),
        (&Matcher::starts_with("/a", "or"), Payload::Text(r#"{"a":"o"}"#), false),
        (&Matcher::starts_with("/a", "1"), Payload::Text(r#"{"a":1}"#), false),
        (&Matcher::bits("/a", 4), Payload::Text(r#"{"a":4}"#), true),
        (&Matcher::bits("/a", 5), Payload::Text(r#"{"a":983047}"#), true),
        (&Matcher::bits("/a", 5), Payload::Text(r#"{"a":6}"#), false),
        (&Matcher::bits("/a", 4), Payload::Text(r#"{"a":"4"}"#), false),
        (&Matcher::bits("/a", 4), Payload::Text(r#"{"a":4.5}"#), false),
        (&Matcher::bits("/a", 4), Payload::Text(r#"{"a":-4}"#), false),
        (&Matcher::bits("/a", 1 << 63), Payload::Text(r#"{"a":18446744073709551615}"#), true),
        (&Matcher::bits("/a", 4), Payload::Text(r#"{"a":36893488147419103236}"#), false),
        (&Matcher::bits("/*", 4), Payload::Text("[1,[4],4]"), true),
        (&Matcher::bits("/a", 4), Payload::Text("4"), false),
        (&Matcher::pointer("/*/s", "b"), Payload::Text(r#"[{"s":"a"},{"s":"b"}]"#), true),
        (&Matcher::pointer("/*/s", "c"), Payload::Text(r#"[{"s":"a"},{"s":"b"}]"#), false),
        (&Matcher::pointer("/d/@json/s", 1), Payload::Text(r#"{"d":"{\"s\":1}"}"#), true),
        (&Matcher::pointer("/d/@json", 1), Payload::Text(r#"{"d":"1"}"#), true),
        (&Matcher::pointer("/d/@json/s", 1), Payload::Text(r#"{"d":{"s":1}}"#), false),
        (&Matcher::binary(*b"\x1f\x8b"), Payload::Binary(b"\x1f\x8b\x08"), true),
        (&Matcher::binary(*b"\x1f\x8b"), Payload::Binary(b"\x1f"), false),
        (&Matcher::binary([]), Payload::Binary(b""), true),
        (&Matcher::binary([]), Payload::Text(""), false),
        (&both, Payload::Text(r#"{"a":1,"b":2}"#), true),
        (&both, Payload::Text(r#"{"a":1}"#), false),
        (&Matcher::not(both.clone()), Payload::Text(r#"{"a":1}"#), true),
        (&Matcher::any([both.clone(), Matcher::text("x")]), Payload::Text("x"), true),
        (&Matcher::any([both.clone(), Matcher::text("x")]), Payload::Text("y"), false),
        (&long, Payload::Binary(b"12345"), true),
        (&long, Payload::Text("1"), false),
    ] {
        assert_eq!(matcher.matches(payload), expected, "{matcher:?} on {payload:?}");
    }
}

#[test]
fn data_form_round_trips() {
    for data in [
        json!({"pointer": "/channel", "equals": "trades"}),
        json!({"pointer": "/n", "equals": 1}),
        json!({"pointer": "/n", "equals": null}),
        json!({"text": "pong"}),
        json!({"prefix": "42"}),
        json!({"pointer": "/n", "one_of": [1, "a", null]}),
        json!({"pointer": "/n", "exists": true}),
        json!({"pointer": "", "exists": false}),
        json!({"pointer": "/n", "starts_with": "${symbol}"}),
        json!({"pointer": "/n", "bits": 5}),
        json!({"pointer": "/arg", "contains": {"a": [1, {"b": null}]}}),
        json!({"pointer": "/arg", "contains": "${arg}"}),
        json!({"binary": "1f8b"}),
        json!({"binary": ""}),
        json!({"all": [{"text": "a"}, {"any": [{"not": {"text": "b"}}]}]}),
    ] {
        let matcher: Matcher = serde_json::from_value(data.clone()).unwrap();
        assert_eq!(serde_json::to_value(&matcher).unwrap(), data);
        assert_eq!(matcher.check(), Ok(()));
    }
    assert_eq!(serde_json::to_value(Matcher::closure(|_| true)).unwrap(), json!("<closure>"));
}

#[test]
fn wrong_data_is_refused() {
    for (data, part) in [
        (json!({}), "a matcher is one of"),
        (json!({"pointer": "/a"}), "a pointer needs a condition"),
        (json!({"equals": 1}), "a \"pointer\" is missing"),
        (json!({"text": "a", "prefix": "b"}), "only one of"),
        (json!({"pointer": "/a", "equals": 1, "text": "a"}), "only one of"),
        (json!({"pointer": "/a", "text": "a"}), "\"pointer\" goes with"),
        (json!({"pointer": "/a", "bits": -1}), "invalid value"),
        (json!({"bits": 1}), "a \"pointer\" is missing"),
        (json!({"txt": "a"}), "unknown field `txt`"),
        (json!({"binary": "1"}), "not hexadecimal"),
        (json!({"binary": "zz"}), "not hexadecimal"),
        (json!({"all": [{"text": "a"}, {}]}), "a matcher is one of"),
        (json!({"not": []}), "expected an object"),
        (json!("<closure>"), "expected an object"),
        (json!(["/a", 1]), "expected an object"),
    ] {
        let error = serde_json::from_value::<Matcher>(data.clone()).unwrap_err().to_string();
        assert!(error.contains(part), "{data}: {error}");
    }
}

#[test]
fn check_names_the_field() {
    let mut deep = Matcher::text("a");
    for _ in 0..33 {
        deep = Matcher::not(deep);
    }
    for (matcher, field) in [
        (Matcher::pointer("channel", "x"), "pointer"),
        (Matcher::pointer("", "x"), "pointer"),
        (Matcher::pointer("/~2", "x"), "pointer"),
        (Matcher::pointer("/a", json!({})), "equals"),
        (Matcher::one_of("", ["x"]), "pointer"),
        (Matcher::one_of::<&str>("/a", []), "one_of"),
        (Matcher::one_of("/a", [json!(1), json!([])]), "one_of[1]"),
        (Matcher::exists("a"), "pointer"),
        (Matcher::starts_with("/a", ""), "starts_with"),
        (Matcher::starts_with("", "a"), "pointer"),
        (Matcher::bits("/a", 0), "bits"),
        (Matcher::bits("", 1), "pointer"),
        (Matcher::contains("/a", "x"), "contains"),
        (Matcher::contains("a", json!({})), "pointer"),
        (Matcher::prefix(""), "prefix"),
        (Matcher::all([]), "all"),
        (Matcher::any([Matcher::text("a"), Matcher::not(Matcher::prefix(""))]), "any[1].not.prefix"),
        (deep, &format!("{}not", "not.".repeat(32))),
    ] {
        assert_eq!(matcher.check().unwrap_err().0, field, "{matcher:?}");
    }
}

#[test]
fn objects_are_contained() {
    for (contains, value, expected) in [
        (json!({"a": 1}), json!({"a": 1, "b": 2}), true),
        (json!({"a": 1, "b": 2}), json!({"a": 1}), false),
        (json!({"a": {"b": "x"}}), json!({"a": {"b": "x", "c": []}}), true),
        (json!({"a": {}}), json!({"a": {"b": 1}}), true),
        (json!({"a": {}}), json!({"a": []}), false),
        (json!({"a": []}), json!({"a": []}), true),
        (json!({"a": []}), json!({"a": [1]}), false),
        (json!({"a": []}), json!({"a": {}}), false),
        (json!({"a": [1, {"b": 2}]}), json!({"a": [1.0, {"b": 2, "c": 3}]}), true),
        (json!({"a": [1]}), json!({"a": [1, 2]}), false),
        (json!({"a": [1, 2]}), json!({"a": [1]}), false),
        (json!({"a": [1]}), json!({"a": {"0": 1}}), false),
        (json!({"0": 1}), json!([1]), false),
        (json!({"0": 1}), json!({"0": 1}), true),
        (json!([{"a": 1}]), json!([{"a": 1}]), true),
        (json!({}), json!({}), true),
        (json!({}), json!([]), false),
        (json!({"*": 1}), json!({"a": 1}), false),
    ] {
        let matcher = Matcher::contains("/arg", contains.clone());
        let text = json!({ "arg": value }).to_string();
        assert_eq!(matcher.matches(Payload::Text(&text)), expected, "{contains} in {text}");
        let matcher = Matcher::contains("/*/arg/@json", contains.clone());
        let text = json!([{"arg": "x"}, { "arg": value.to_string() }]).to_string();
        assert_eq!(matcher.matches(Payload::Text(&text)), expected, "{contains} in {text}");
    }
    // Of one element, not of two.
    let both = Matcher::contains("/*", json!({"a": 1, "b": 2}));
    assert!(!both.matches(Payload::Text(r#"[{"a":1},{"b":2}]"#)));
    assert!(both.matches(Payload::Text(r#"[{"a":1},{"b":2,"a":1}]"#)));
}

#[test]
fn placeholders_are_filled_in() {
    let vars = |name: &str| match name {
        "id" => Some(json!(7)),
        "symbol" => Some(json!("BTC")),
        _ => None,
    };
    let closure = Matcher::closure(|_| true);
    let template = Matcher::all([
        Matcher::pointer("/${id}", "${id}"),
        Matcher::one_of("/a", ["${symbol}", "x.${id}", "$${id}"]),
        Matcher::starts_with("/a", "${symbol}."),
        Matcher::contains("/a", json!({"${id}": ["${id}", {"b": "${symbol}"}]})),
        Matcher::not(Matcher::any([Matcher::text("${symbol}"), Matcher::prefix("${none|p}")])),
        Matcher::exists("/${symbol}"),
        Matcher::binary(*b"${id}"),
        closure,
    ]);
    let expected = json!({"all": [
        {"pointer": "/${id}", "equals": 7},
        {"pointer": "/a", "one_of": ["BTC", "x.7", "${id}"]},
        {"pointer": "/a", "starts_with": "BTC."},
        {"pointer": "/a", "contains": {"${id}": [7, {"b": "BTC"}]}},
        {"not": {"any": [{"text": "BTC"}, {"prefix": "p"}]}},
        {"pointer": "/${symbol}", "exists": true},
        {"binary": "247b69647d"},
        "<closure>",
    ]});
    assert_eq!(serde_json::to_value(template.render(&vars).unwrap()).unwrap(), expected);
    let mut names = Vec::new();
    template.each_placeholder(&mut |name, default| names.push((name.to_owned(), default)));
    let expected = ["id", "symbol", "id", "symbol", "id", "symbol", "symbol", "none"];
    assert_eq!(names.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), expected);
    assert_eq!(names.last().unwrap(), &("none".to_owned(), true));
    assert!(!template.is_plain());
    assert!(Matcher::all([Matcher::exists("/${symbol}"), Matcher::text("a")]).is_plain());
    assert_eq!(Matcher::text("${none}").render(&vars).unwrap_err(), MissingVar("none".into()));
}

#[test]
fn what_only_a_text_with_the_placeholder_can_meet_asks_for_it() {
    use serde_json::json;
    let id = || Matcher::pointer("/id", "${id}");
    let other = || Matcher::exists("/error");
    for (matcher, asks) in [
        (id(), true),
        (Matcher::pointer("/id", "q-${id|0}"), true),
        (Matcher::one_of("/id", ["${id}", "r${id}"]), true),
        (Matcher::one_of("/id", ["${id}", "any"]), false),
        (Matcher::contains("/re", json!({"ids": ["${id}"]})), true),
        (Matcher::text("pong ${id}"), true),
        (Matcher::all([other(), id()]), true),
        (Matcher::any([id(), Matcher::all([id(), other()])]), true),
        (Matcher::any([id(), other()]), false),
        (Matcher::any([]), false),
        (Matcher::not(id()), false),
        (Matcher::starts_with("/id", "${id}"), false),
        (Matcher::prefix("${id}"), false),
        (Matcher::pointer("/id", "${identity}"), false),
        (other(), false),
        (Matcher::closure(|_| true), false),
    ] {
        assert_eq!(matcher.asks_for("id"), asks, "{matcher:?}");
    }
}
