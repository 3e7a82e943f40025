//! Tests of the codecs, hostile messages among them.

use super::*;
use serde_json::json;

const MAX: usize = 1 << 20;

fn text(text: &str) -> Content {
    Content::Text(text.into())
}

fn binary(bytes: &[u8]) -> Content {
    Content::Binary(Bytes::copy_from_slice(bytes))
}

/// What comes out; texts as they are, binary in hex.
fn decode(codecs: &[Codec], content: Content) -> Result<Vec<String>, CodecError> {
    let mut out = Vec::new();
    Chain::new(codecs, MAX).decode(content, &mut |content| {
        out.push(match content {
            Content::Text(text) => text.as_str().to_owned(),
            Content::Binary(bytes) => data_encoding::HEXLOWER.encode(&bytes),
        });
    })?;
    Ok(out)
}

#[test]
fn names_round_trip() {
    for (codec, name) in [
        (Codec::Gzip, "gzip"),
        (Codec::Deflate, "deflate"),
        (Codec::Lines, "lines"),
        (Codec::Items, "items"),
        (Codec::Prefixed, "prefixed"),
    ] {
        assert_eq!(serde_json::to_value(codec).unwrap(), json!(name));
        assert_eq!(serde_json::from_value::<Codec>(json!(name)).unwrap(), codec);
        assert_eq!(codec.name(), name);
        let problem = codec.check().err();
        assert_eq!(problem.is_none(), codec.is_available());
        assert!(problem.is_none_or(|problem| problem.contains(name) && problem.contains("feature `gzip`")));
    }
    assert!(serde_json::from_value::<Codec>(json!("zip")).is_err());
}

#[test]
fn no_codec_changes_nothing() {
    assert!(Chain::new(&[], MAX).is_empty());
    assert_eq!(decode(&[], text("[1]\n")).unwrap(), ["[1]\n"]);
}

#[test]
fn lines_are_split() {
    for (message, expected) in [
        ("one", &["one"][..]),
        ("one\ntwo", &["one", "two"]),
        ("one\r\ntwo\r\n", &["one", "two"]),
        ("\n\none\n\n\r\ntwo\n", &["one", "two"]),
        ("é\nü", &["é", "ü"]),
        ("a\rb\nc", &["a\rb", "c"]),
        ("", &[]),
        ("\n", &[]),
        ("\r\n\r\n", &[]),
    ] {
        assert_eq!(decode(&[Codec::Lines], text(message)).unwrap(), expected, "{message:?}");
    }
    assert_eq!(decode(&[Codec::Lines], binary(b"a\nb")).unwrap(), ["610a62"]);
}

#[test]
fn items_are_split() {
    for (message, expected) in [
        (r#"[{"a":1},{"b":[2,3]}]"#, &[r#"{"a":1}"#, r#"{"b":[2,3]}"#][..]),
        (" [ 1 , \"é\" ] ", &["1", "\"é\""]),
        ("[]", &[]),
        (r#"{"a":1}"#, &[r#"{"a":1}"#]),
        ("pong", &["pong"]),
        ("", &[""]),
        ("[1,2", &["[1,2"]),
        ("[1,2]]", &["[1,2]]"]),
        ("[1,2,]", &["[1,2,]"]),
    ] {
        assert_eq!(decode(&[Codec::Items], text(message)).unwrap(), expected, "{message:?}");
    }
    assert_eq!(decode(&[Codec::Items], binary(b"[1]")).unwrap(), ["5b315d"]);
    // What was found in a malformed one does not come up with the next.
    let mut chain = Chain::new(&[Codec::Items], MAX);
    let mut out = 0;
    for message in ["[1,2,3", "[4]"] {
        chain.decode(text(message), &mut |_| out += 1).unwrap();
    }
    assert_eq!(out, 2);
}

#[test]
fn what_stands_in_front_of_json_is_joined_to_it() {
    let longest = "9".repeat(MAX_PREFIX);
    for (message, expected) in [
        (r#"42["price",{"a":1}]"#, r#"["42",["price",{"a":1}]]"#),
        (r#"0{"sid":"a"}"#, r#"["0",{"sid":"a"}]"#),
        ("430[]\n", r#"["430",[]]"#),
        ("007[1]", r#"["007",[1]]"#),
        (r#"42/ns,5["é"]"#, r#"["42/ns,5",["é"]]"#),
        ("MSG {}", r#"["MSG ",{}]"#),
        (&format!("{longest}[]"), &format!(r#"["{longest}",[]]"#)),
        (&format!("{longest}9[]"), &format!("{longest}9[]")),
        ("2", "2"),
        ("", ""),
        ("40", "40"),
        ("[1]", "[1]"),
        (r#"{"a":[1]}"#, r#"{"a":[1]}"#),
        ("42[1", "42[1"),
        ("42[1}", "42[1}"),
        ("42{", "42{"),
        ("42[", "42["),
        ("a\"b[1]", "a\"b[1]"),
        ("a\\[1]", "a\\[1]"),
        ("a\n[1]", "a\n[1]"),
        ("\0[1]", "\0[1]"),
        ("é[1]", "é[1]"),
        ("\"[1]\"", "\"[1]\""),
        // What is wrong further inside is the matchers' to find out.
        ("42[1]]", r#"["42",[1]]]"#),
    ] {
        assert_eq!(decode(&[Codec::Prefixed], text(message)).unwrap(), [expected], "{message:?}");
    }
    assert_eq!(decode(&[Codec::Prefixed], binary(b"42[1]")).unwrap(), ["34325b315d"]);
    assert_eq!(decode(&[Codec::Lines, Codec::Prefixed], text("2\n3[1]")).unwrap(), ["2", r#"["3",[1]]"#]);
    let deep = format!("4{}", "[".repeat(MAX));
    assert_eq!(decode(&[Codec::Prefixed], text(&deep)).unwrap(), [deep]);
}

proptest::proptest! {
    #[test]
    fn what_is_prefixed_is_still_there(prefix in "[^\\[{\\pC]{0,70}", json in "\\PC{0,20}", object: bool) {
        let json = if object { serde_json::json!({ "a": json }) } else { serde_json::json!([json]) };
        let message = format!("{prefix}{json}");
        let out = decode(&[Codec::Prefixed], text(&message)).unwrap();
        proptest::prop_assert_eq!(out.len(), 1);
        if out[0] != message {
            let both: (String, serde_json::Value) = serde_json::from_str(&out[0]).unwrap();
            proptest::prop_assert_eq!(both, (prefix, json));
        }
    }
}

#[test]
fn codecs_are_applied_in_order() {
    let message = "[1,2]\n[3,\n4]";
    assert_eq!(decode(&[Codec::Lines, Codec::Items], text(message)).unwrap(), ["1", "2", "[3,", "4]"]);
    assert_eq!(decode(&[Codec::Items, Codec::Lines], text(message)).unwrap(), ["[1,2]", "[3,", "4]"]);
    assert_eq!(decode(&[Codec::Items, Codec::Items], text("[[1,2],3]")).unwrap(), ["1", "2", "3"]);
    assert_eq!(decode(&[Codec::Items, Codec::Lines], text("[1,\n2]")).unwrap(), ["1", "2"]);
}

#[test]
fn parts_share_the_bytes() {
    let message = Utf8Bytes::from("first\nsecond".to_owned());
    let whole = message.as_str().as_ptr() as usize;
    let mut starts = Vec::new();
    Chain::new(&[Codec::Lines], MAX)
        .decode(Content::Text(message.clone()), &mut |part| {
            starts.push(part.payload().as_bytes().as_ptr() as usize - whole);
        })
        .unwrap();
    assert_eq!(starts, [0, 6]);
}

#[test]
fn parts_are_bounded() {
    let limit = MAX_PARTS;
    for (codecs, unit) in [(&[Codec::Lines][..], "1\n"), (&[Codec::Items], "1,")] {
        let message = |count: usize| match codecs[0] {
            Codec::Lines => unit.repeat(count),
            _ => format!("[{}1]", unit.repeat(count - 1)),
        };
        assert_eq!(decode(codecs, text(&message(limit))).unwrap().len(), limit);
        assert_eq!(decode(codecs, text(&message(limit + 1))), Err(CodecError::TooMany { limit }));
        assert_eq!(decode(codecs, text(&message(1_000_000))), Err(CodecError::TooMany { limit }));
    }
    // 300 lines of 300 elements: each step is within the bound, both together are not.
    let message = format!("[{}1]\n", "1,".repeat(299)).repeat(300);
    let mut chain = Chain::new(&[Codec::Lines, Codec::Items], MAX);
    let mut seen = 0;
    assert_eq!(chain.decode(text(&message), &mut |_| seen += 1), Err(CodecError::TooMany { limit }));
    assert_eq!(seen, limit);
    // The next message is none the worse for it.
    chain.decode(text("[1]\n[2,3]"), &mut |_| seen += 1).unwrap();
    assert_eq!(seen, limit + 3);
}

#[test]
fn deep_arrays_pass_unchanged() {
    let deep = "[".repeat(MAX);
    assert_eq!(decode(&[Codec::Items], text(&deep)).unwrap(), [deep]);
    let deep = format!("[{}{}]", "[".repeat(200), "]".repeat(200));
    assert_eq!(decode(&[Codec::Items], text(&deep)).unwrap(), [deep]);
}

#[test]
fn errors_say_what_is_wrong() {
    let broken = CodecError::Broken { codec: Codec::Gzip, detail: "corrupt".into() };
    assert_eq!(broken.to_string(), "a message is no valid gzip: corrupt");
    assert!(CodecError::TooLarge { limit: 7 }.to_string().contains("more than 7 bytes"));
    assert!(CodecError::TooMany { limit: 7 }.to_string().contains("more than 7 messages"));
}

#[cfg(feature = "gzip")]
mod compressed {
    use super::*;
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8], level: Compression) -> Vec<u8> {
        let mut encoder = ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn deflate(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_is_decompressed() {
        for message in ["{\"ping\":1}", "", "é", &"long ".repeat(10_000)] {
            assert_eq!(decode(&[Codec::Gzip], binary(&gzip(message.as_bytes()))).unwrap(), [message]);
        }
        assert_eq!(decode(&[Codec::Gzip], binary(&gzip(&[0xff, 0]))).unwrap(), ["ff00"]);
        let members = [gzip(b"one "), gzip(b"two")].concat();
        assert_eq!(decode(&[Codec::Gzip], binary(&members)).unwrap(), ["one two"]);
    }

    #[test]
    fn what_is_no_gzip_passes_unchanged() {
        assert_eq!(decode(&[Codec::Gzip], text("{}")).unwrap(), ["{}"]);
        assert_eq!(decode(&[Codec::Gzip], binary(b"")).unwrap(), [""]);
        assert_eq!(decode(&[Codec::Gzip], binary(&[0x1f])).unwrap(), ["1f"]);
        assert_eq!(decode(&[Codec::Gzip], binary(&[0, 0x1f, 0x8b])).unwrap(), ["001f8b"]);
    }

    #[test]
    fn both_kinds_of_deflate_are_decompressed() {
        for message in ["{\"ping\":1}", "", &"long ".repeat(10_000)] {
            for level in [Compression::none(), Compression::fast(), Compression::best()] {
                let compressed = zlib(message.as_bytes(), level);
                assert_eq!(decode(&[Codec::Deflate], binary(&compressed)).unwrap(), [message]);
            }
            let compressed = deflate(message.as_bytes());
            assert_eq!(decode(&[Codec::Deflate], binary(&compressed)).unwrap(), [message]);
        }
        assert_eq!(decode(&[Codec::Deflate], text("{}")).unwrap(), ["{}"]);
        assert!(matches!(
            decode(&[Codec::Deflate], binary(b"no such thing")),
            Err(CodecError::Broken { codec: Codec::Deflate, .. })
        ));
    }

    #[test]
    fn what_was_compressed_is_taken_apart() {
        let codecs = [Codec::Gzip, Codec::Lines, Codec::Items];
        assert_eq!(decode(&codecs, binary(&gzip(b"[1,2]\n{}\n"))).unwrap(), ["1", "2", "{}"]);
        assert_eq!(decode(&[Codec::Gzip, Codec::Gzip], binary(&gzip(&gzip(b"a")))).unwrap(), ["a"]);
    }

    #[test]
    fn bombs_are_stopped() {
        let limit = MAX;
        for (codec, bomb) in [
            (Codec::Gzip, gzip(&vec![b' '; 64 * MAX])),
            (Codec::Deflate, zlib(&vec![b' '; 64 * MAX], Compression::best())),
            (Codec::Deflate, deflate(&vec![b' '; 64 * MAX])),
            // Many members, each of them small.
            (Codec::Gzip, gzip(&vec![b' '; MAX / 2]).repeat(64)),
        ] {
            let mut chain = Chain::new(&[codec], limit);
            let mut out = 0;
            let result = chain.decode(binary(&bomb), &mut |_| out += 1);
            assert_eq!((result, out), (Err(CodecError::TooLarge { limit }), 0));
            assert_eq!(chain.inflater.capacity(), 0, "a large buffer is given back");
        }
        // Exactly at the bound, and one more.
        assert_eq!(decode(&[Codec::Gzip], binary(&gzip(&vec![b' '; MAX]))).unwrap()[0].len(), MAX);
        assert!(decode(&[Codec::Gzip], binary(&gzip(&vec![b' '; MAX + 1]))).is_err());
    }

    #[test]
    fn broken_gzip_is_an_error() {
        let whole = gzip(&"some text that is long enough ".repeat(20).into_bytes());
        for cut in 2..whole.len() {
            let error = decode(&[Codec::Gzip], binary(&whole[..cut])).unwrap_err();
            assert!(matches!(error, CodecError::Broken { codec: Codec::Gzip, .. }), "{cut}: {error:?}");
        }
        let mut checksum = whole.clone();
        *checksum.iter_mut().rev().nth(5).unwrap() ^= 1;
        assert!(decode(&[Codec::Gzip], binary(&checksum)).is_err());
        assert!(decode(&[Codec::Gzip], binary(&[whole, b"more".to_vec()].concat())).is_err());
    }

    proptest! {
        #[test]
        fn never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..200), magic: bool) {
            if magic {
                bytes.splice(0..0, [0x1f, 0x8b, 8, 0]);
            }
            for codec in [Codec::Gzip, Codec::Deflate] {
                let _ = decode(&[codec, Codec::Lines, Codec::Items], binary(&bytes));
            }
        }

        #[test]
        fn what_goes_in_comes_out(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            let mut out = Vec::new();
            let mut chain = Chain::new(&[Codec::Gzip], MAX);
            chain.decode(binary(&gzip(&bytes)), &mut |content| out.push(content)).unwrap();
            prop_assert_eq!(out.len(), 1);
            prop_assert_eq!(out[0].payload().as_bytes(), &bytes[..]);
        }
    }
}
