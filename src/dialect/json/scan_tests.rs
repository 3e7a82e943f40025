//! The field scan against serde_json, and against malformed text.

use super::*;
use crate::dialect::json::scalar::{Number, Scalar};
use proptest::prelude::*;
use serde_json::{Value, json};

/// The first value, which is not inside a string.
fn find<'a>(json: &'a [u8], pointer: &Pointer) -> Option<&'a [u8]> {
    let mut first = None;
    values(json, pointer, &mut |raw| {
        let Cow::Borrowed(raw) = raw else { panic!("copied") };
        first = Some(raw);
        false
    });
    first
}

fn raw<'a>(json: &'a str, pointer: &str) -> Option<&'a str> {
    find(json.as_bytes(), &Pointer::parse(pointer).unwrap()).map(|raw| std::str::from_utf8(raw).unwrap())
}

#[test]
fn finds_the_raw_value() {
    for (json, pointer, expected) in [
        (r#"{"a":1}"#, "/a", Some("1")),
        (r#" { "b" : [ ] , "a" : "x" } "#, "/a", Some(r#""x""#)),
        (r#"{"a":{"b":{"c":true}}}"#, "/a/b/c", Some("true")),
        (r#"{"a":{"b":1},"b":2}"#, "/b", Some("2")),
        (r#"{"a":{"c":"}"},"b":-1.5e3}"#, "/b", Some("-1.5e3")),
        (r#"[0,"hb",{"x":null}]"#, "/1", Some(r#""hb""#)),
        (r#"[0,"hb",{"x":null}]"#, "/2/x", Some("null")),
        (r#"[[1,2],[3,4]]"#, "/1/0", Some("3")),
        (r#"[1]"#, "/01", None),
        (r#"[1]"#, "/-", None),
        (r#"[1]"#, "/1", None),
        (r#"[]"#, "/0", None),
        (r#"{}"#, "/a", None),
        (r#"{"0":1}"#, "/0", Some("1")),
        (r#"{"":1}"#, "/", Some("1")),
        (r#"{"a/b":1,"m~n":2}"#, "/a~1b", Some("1")),
        (r#"{"a/b":1,"m~n":2}"#, "/m~0n", Some("2")),
        (r#"{"~1":1}"#, "/~01", Some("1")),
        (r#"{"\u0061\n":1}"#, "/a\n", Some("1")),
        (r#"{"\ud83d\ude00":1}"#, "/😀", Some("1")),
        (r#"{"\ud83d":1,"a":2}"#, "/a", Some("2")),
        (r#"{"a\"":1,"a":2}"#, "/a", Some("2")),
        (r#"{"a":1,"a":2}"#, "/a", Some("1")),
        (r#"{"a":{"x":[1,{"y":"]"}]},"b":1}"#, "/a", Some(r#"{"x":[1,{"y":"]"}]}"#)),
        (r#"{"a":1}"#, "/a/b", None),
        (r#""a""#, "/a", None),
    ] {
        assert_eq!(raw(json, pointer), expected, "{pointer} in {json}");
    }
}

#[test]
fn malformed_text_has_no_value() {
    for (json, pointer) in [
        (r#"{"a":"#, "/a"),
        (r#"{"a":"x"#, "/a"),
        (r#"{"a":12"#, "/a"),
        (r#"{"a" 1}"#, "/a"),
        (r#"{a:1}"#, "/a"),
        (r#"{"b":1 "a":2}"#, "/a"),
        (r#"{"b":[1},"a":2}"#, "/a"),
        (r#"{"b":1,}"#, "/a"),
        (r#"{"b":,"a":1}"#, "/a"),
        (r#"{"a":]}"#, "/a"),
        (r#"{"a\"#, "/a"),
        ("", "/a"),
    ] {
        assert_eq!(raw(json, pointer), None, "{pointer} in {json}");
    }
}

#[test]
fn depth_is_bounded() {
    let nested = |depth: usize| format!(r#"{{"b":{}{},"a":1}}"#, "[".repeat(depth), "]".repeat(depth));
    assert_eq!(raw(&nested(128), "/a"), Some("1"));
    assert_eq!(raw(&nested(129), "/a"), None);
    assert_eq!(raw(&nested(1_000_000), "/a"), None);
}

#[test]
fn scalars_compare_by_value() {
    let same = |raw: &str, value: Value| Scalar::parse(raw.as_bytes()) == Scalar::of(&value);
    for (raw, value, expected) in [
        ("1", json!(1), true),
        ("1.0", json!(1), true),
        ("1", json!(1.0), true),
        ("10e-1", json!(1), true),
        ("-0", json!(0), true),
        ("18446744073709551615", json!(u64::MAX), true),
        ("18446744073709551614", json!(u64::MAX), false),
        ("9007199254740993", json!(9_007_199_254_740_992_u64), false),
        ("100000000000000000000", json!(1e20), true),
        ("1", json!("1"), false),
        (r#""1""#, json!(1), false),
        (r#""a\u0062\/""#, json!("ab/"), true),
        ("true", json!(true), true),
        ("false", json!(true), false),
        ("null", json!(null), true),
        ("0", json!(null), false),
    ] {
        assert_eq!(same(raw, value.clone()), expected, "{raw} and {value}");
    }
    for malformed in
        ["01", "1.", ".5", "-", "1e", "1e+", "+1", "1x", "nul", "truee", "1e999", r#""\x""#, r#""\ud800""#]
    {
        assert_eq!(Scalar::parse(malformed.as_bytes()), None, "{malformed}");
    }
}

#[test]
fn equal_numbers_share_a_bucket() {
    let number = |raw: &str| Number::parse(raw.as_bytes()).unwrap();
    for (a, b) in [("1", "1.0"), ("0", "-0.0"), ("9007199254740993", "9007199254740993.0"), ("1e20", "1E+20")]
    {
        assert_eq!(number(a), number(b));
        assert_eq!(number(a).bucket(), number(b).bucket());
    }
}

fn keys() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[abc]{1,2}",
        1 => "[0-3]{0,2}",
        1 => "[/~\"\\\\\u{0}-\u{1f}é😀a]{0,3}",
    ]
}

fn documents() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-1e9..1e9).prop_map(|f: f64| Value::from(f)),
        "[a-c\"\\\\\n{}\\[\\],:é😀]{0,6}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::btree_map(keys(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Pointers to everything in a value.
fn pointers(value: &Value, prefix: &str, out: &mut Vec<String>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Array(items) => items.iter().enumerate().map(|(i, v)| (i.to_string(), v)).collect(),
        Value::Object(map) => map.iter().map(|(k, v)| (k.replace('~', "~0").replace('/', "~1"), v)).collect(),
        _ => Vec::new(),
    };
    for (token, child) in children {
        let pointer = format!("{prefix}/{token}");
        pointers(child, &pointer, out);
        out.push(pointer);
    }
}

/// What the pointer names, by a tree.
fn reference(value: &Value, tokens: &[Token], out: &mut Vec<Value>) {
    let Some((token, rest)) = tokens.split_first() else {
        out.push(value.clone());
        return;
    };
    match (value, token) {
        (Value::Object(members), Token::Each) => members.values().for_each(|v| reference(v, rest, out)),
        (Value::Array(items), Token::Each) => items.iter().for_each(|v| reference(v, rest, out)),
        (Value::Object(members), _) => {
            let member = token.key().and_then(|key| members.get(key));
            member.into_iter().for_each(|v| reference(v, rest, out));
        }
        (Value::Array(items), _) => {
            let item = token.index().and_then(|index| items.get(index));
            item.into_iter().for_each(|v| reference(v, rest, out));
        }
        (Value::String(text), Token::Json) => {
            let inner = serde_json::from_str::<Value>(text);
            inner.iter().for_each(|v| reference(v, rest, out));
        }
        _ => {}
    }
}

/// Documents with documents in their strings.
fn nested() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<i32>().prop_map(Value::from),
        // Not JSON by its first letter: what is wrong further behind may go unnoticed.
        "([a-cé][a-c\"\\\\é]{0,4})?".prop_map(Value::from)
    ];
    leaf.prop_recursive(5, 40, 4, |inner| {
        let key = prop::sample::select(&["a", "b", "*", "@json", "0", "1"][..]).prop_map(str::to_owned);
        prop_oneof![
            2 => prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            3 => prop::collection::btree_map(key, inner.clone(), 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
            1 => inner.prop_map(|value| Value::String(value.to_string())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn wildcards_and_json_in_strings_agree_with_serde_json(
        value in nested(),
        pretty: bool,
        pointers in prop::collection::vec(prop::collection::vec(
            prop::sample::select(&["a", "b", "~*", "~@json", "0", "1", "*", "*", "@json"][..]), 0..5
        ), 8),
    ) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.unwrap();
        for tokens in pointers {
            let pointer = tokens.iter().fold(String::new(), |all, token| format!("{all}/{token}"));
            let Ok(parsed) = Pointer::parse(&pointer) else { continue };
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            values(text.as_bytes(), &parsed, &mut |raw| {
                found.push(serde_json::from_slice::<Value>(&raw).unwrap());
                true
            });
            reference(&value, parsed.tokens(), &mut expected);
            prop_assert_eq!(&found, &expected, "{} in {}", pointer, text);
            prop_assert_eq!(super::value(text.as_bytes(), &parsed), expected.into_iter().next());
        }
    }
}

proptest! {
    #[test]
    fn agrees_with_serde_json(
        value in documents(),
        pretty: bool,
        random in prop::collection::vec(keys(), 1..4),
    ) {
        let text = if pretty { serde_json::to_string_pretty(&value) } else { serde_json::to_string(&value) };
        let text = text.unwrap();
        let mut all = vec![random.iter().map(|k| format!("/{}", k.replace('~', "~0").replace('/', "~1"))).collect()];
        pointers(&value, "", &mut all);
        for pointer in all {
            let found = raw(&text, &pointer).map(|raw| serde_json::from_str::<Value>(raw).unwrap());
            prop_assert_eq!(found.as_ref(), value.pointer(&pointer), "{} in {}", pointer, text);
            if let Some(found) = &found && let Some(scalar) = Scalar::of(found) {
                prop_assert_eq!(Scalar::parse(raw(&text, &pointer).unwrap().as_bytes()), Some(scalar));
            }
        }
    }

    #[test]
    fn escaped_or_not_is_the_same(text in "\\PC{0,6}") {
        let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
        let json = format!("{{\"{escaped}\":\"{escaped}\"}}");
        let pointer = format!("/{}", text.replace('~', "~0").replace('/', "~1"));
        let found = raw(&json, &pointer).unwrap();
        prop_assert_eq!(Scalar::parse(found.as_bytes()), Some(Scalar::Text(text.as_bytes().into())));
    }

    #[test]
    fn a_cut_text_gives_nothing_else(value in documents(), cut: prop::sample::Index) {
        let text = serde_json::to_string(&value).unwrap();
        let part = &text.as_bytes()[..cut.index(text.len())];
        let mut all = Vec::new();
        pointers(&value, "", &mut all);
        for pointer in all {
            if let Some(found) = find(part, &Pointer::parse(&pointer).unwrap()) {
                prop_assert_eq!(Some(found), raw(&text, &pointer).map(str::as_bytes));
            }
        }
    }

    #[test]
    fn never_panics(bytes in prop::collection::vec(prop_oneof![
        prop::sample::select(&b"{}[]\",:\\u0d8-1.etfn a"[..]), any::<u8>()
    ], 0..60)) {
        for pointer in ["/", "/a", "/0", "/a/0/b", "/u"] {
            if let Some(found) = find(&bytes, &Pointer::parse(pointer).unwrap()) {
                let _ = Scalar::parse(found);
            }
        }
        let _ = Scalar::parse(&bytes);
        let _ = is_container(&bytes);
    }
}
