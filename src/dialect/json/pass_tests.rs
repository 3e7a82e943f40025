//! The pass and the cursor against looking byte by byte, on texts that are whole, mangled and cut off.

use super::*;
use crate::dialect::json::pointer::Pointer;
use crate::dialect::json::scan;
use proptest::prelude::*;

/// Where the string ends whose text starts here, and whether something is escaped in it.
fn string_end(bytes: &[u8]) -> Option<(usize, bool)> {
    let (mut at, mut escaped) = (0, false);
    loop {
        match bytes.get(at)? {
            b'"' => return Some((at, escaped)),
            b'\\' => {
                escaped = true;
                at += 2;
            }
            _ => at += 1,
        }
    }
}

/// Where the value ends that starts here.
fn value_end(bytes: &[u8]) -> Option<usize> {
    let (mut at, mut open) = (0, Vec::new());
    match bytes.first()? {
        b'"' => return string_end(&bytes[1..]).map(|(end, _)| end + 2),
        b'{' | b'[' => {}
        b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => {
            return bytes.iter().position(|byte| b",]} \n\r\t".contains(byte));
        }
        _ => return None,
    }
    loop {
        match *bytes.get(at)? {
            b'"' => at += string_end(&bytes[at + 1..])?.0 + 1,
            b'\\' if matches!(bytes.get(at + 1), Some(b'"' | b'\\')) => at += 1,
            byte @ (b'{' | b'[') => open.push(byte + 2),
            byte @ (b'}' | b']') if open.pop() != Some(byte) => return None,
            _ => {}
        }
        at += 1;
        if open.is_empty() {
            return Some(at);
        }
    }
}

/// A text, about as long as a few blocks.
fn texts() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        8 => prop::sample::select(&["\"", "\"", "\\", "\\\"", "{", "}", "[", "]", ",", "\":", " "][..])
            .prop_map(|piece| piece.as_bytes().to_vec()),
        4 => "[a-zY_\\x7f]{0,20}".prop_map(String::into_bytes),
        2 => Just(b"\"\":{".to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..9),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

/// An object or array with keys that are escaped, rightly or not.
fn documents() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(
        &["1", "null", "\"x\"", "\"\\\"\"", "\"{\\\"a\\\":1}\"", "\"[\\\"\\\\\\\"\\\"]\""][..],
    );
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 4, |inner| {
        let key = prop::sample::select(
            &["a", "b", "\\u0061", "\\x", "\\ud800", "\\\\x", "aa", "stream-of-a-venue", "0", ""][..],
        );
        let space = prop::sample::select(&["", "", " ", "\n\t"][..]);
        prop_oneof![
            1 => prop::collection::vec(inner.clone(), 0..4).prop_map(|all| format!("[{}]", all.join(","))),
            4 => (prop::collection::vec((key, inner), 0..5), space).prop_map(|(all, space)| {
                let member = |(key, value)| format!("{space}\"{key}\"{space}:{space}{value}{space}");
                format!("{{{}}}", all.into_iter().map(member).collect::<Vec<_>>().join(","))
            }),
        ]
    })
}

/// The values of each slot.
fn found(trie: &Trie, slots: &[Slot], json: &[u8]) -> Vec<Vec<Vec<u8>>> {
    let mut pass = Pass::default();
    pass.run(trie, Payload::Binary(json), true);
    let values = |slot: &Slot| pass.values(*slot).map(|place| pass.raw(json, place).to_vec()).collect();
    slots.iter().map(values).collect()
}

const POINTERS: &[&str] = &[
    "/a",
    "/b",
    "/a/a",
    "/a/b",
    "/*/a",
    "/0",
    "/a/*",
    "/a/@json/a",
    "/\\x",
    "/aa",
    "/stream-of-a-venue/b",
    "/",
    "/b/0/a",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1024))]

    #[test]
    fn strings_and_values_end_where_they_do_byte_by_byte(text in texts(), from in 0..20_usize) {
        for from in from..text.len() {
            let mut cursor = Cursor { bytes: &text, at: from };
            let string = cursor.string();
            let expected = string_end(&text[from..]);
            prop_assert_eq!(string.map(|string| (string.raw.len(), string.escaped)), expected);
            if let (Some(string), Some((length, _))) = (string, expected) {
                prop_assert_eq!(string.raw, &text[from..from + length]);
                prop_assert_eq!(cursor.at, from + length + 1);
            }
            let mut cursor = Cursor { bytes: &text, at: from };
            let end = cursor.skip_value().map(|()| cursor.at - from);
            prop_assert_eq!(end, value_end(&text[from..]), "from {}", from);
        }
    }

    #[test]
    fn one_pass_finds_what_one_scan_for_each_finds(
        text in documents(),
        cut: Option<prop::sample::Index>,
        pointers in prop::sample::subsequence(POINTERS, 1..POINTERS.len()),
    ) {
        let bytes = text.as_bytes();
        let bytes = &bytes[..cut.map_or(bytes.len(), |cut| cut.index(bytes.len() + 1))];
        let pointers: Vec<_> = pointers.into_iter().map(|pointer| Pointer::parse(pointer).unwrap()).collect();
        let expected: Vec<Vec<Vec<u8>>> = pointers
            .iter()
            .map(|pointer| {
                let mut all = Vec::new();
                scan::values(bytes, pointer, &mut |raw| {
                    all.push(raw.to_vec());
                    true
                });
                all
            })
            .collect();
        let mut trie = Trie::default();
        let slots: Vec<_> = pointers.iter().map(|pointer| trie.insert(pointer, true)).collect();
        prop_assert_eq!(found(&trie, &slots, bytes), expected.clone(), "{}", text);
        // Each by itself, too: the pass stops as soon as it can.
        for (pointer, expected) in pointers.iter().zip(expected) {
            let mut trie = Trie::default();
            let slot = trie.insert(pointer, true);
            prop_assert_eq!(found(&trie, &[slot], bytes), [expected], "{}", text);
        }
    }
}

#[test]
fn many_names_are_told_apart() {
    let mut trie = Trie::default();
    let names: Vec<String> = (0..200).map(|n| format!("{}{n}", "k".repeat(n % 70))).collect();
    let slots: Vec<_> =
        names.iter().map(|name| trie.insert(&Pointer::parse(&format!("/{name}")).unwrap(), false)).collect();
    for removed in [false, true] {
        for (name, slot) in names.iter().zip(&slots) {
            let json = format!(r#"{{"x{name}":0,"{name}":1,"{name}":2}}"#);
            assert_eq!(found(&trie, &[*slot], json.as_bytes()), [[b"1"]], "{name}");
            if removed {
                trie.remove(*slot, false);
            }
        }
    }
    assert!(trie.is_empty());
}
