//! Who may use whom: the layers of the crate, read off its sources.
//!
//! Hosts stand on the face, the face on the engine, the engine on transport, policy and dialect (which never see
//! each other), and all of them on the nouns.

#![allow(clippy::unwrap_used, reason = "a test that cannot read the sources fails")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What everything may use.
const NOUNS: &[&str] = &[
    "class", "clock", "duration", "error", "event", "frame", "health", "measures", "message", "note",
    "panics", "secret", "table", "thread",
];

/// Each module of the crate, and what it may use: all nouns, and the modules named here.
const ALLOWED: &[(&str, &[&str])] = &[
    ("class", &[]),
    ("clock", &[]),
    ("duration", &[]),
    ("error", &[]),
    ("event", &[]),
    ("frame", &[]),
    ("health", &[]),
    ("measures", &[]),
    ("message", &[]),
    ("note", &[]),
    ("panics", &[]),
    ("secret", &[]),
    ("table", &[]),
    ("thread", &[]),
    ("transport", &[]),
    ("policy", &[]),
    ("dialect", &[]),
    ("engine", &["transport", "policy", "dialect"]),
    ("config", &["transport", "policy", "dialect"]),
    ("feed", &["config", "engine", "transport", "policy", "dialect"]),
    ("monitor", &["config", "feed"]),
    ("capi", &["config", "feed"]),
];

/// Modules that may not even use all nouns.
const NARROW: &[(&str, &[&str])] = &[
    // The witness of a client shares nothing with it but the clocks.
    ("lab", &["clock"]),
];

/// No module does these, tests within it apart.
const NOWHERE: &[(&str, &[&str])] = &[("thread::sleep", &["lab"])];

/// Pure: no clock readings, no threads, no sockets, no entropy.
const PURE: &[&str] = &["policy", "dialect"];
const IMPURE: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    "Stamp::now",
    "clock::mono",
    "clock::suspended",
    "std::thread",
    "crate::thread",
    "std::net::Tcp",
    "std::fs",
    "rand::random",
    "rand::rng()",
];

/// The files of the C ABI that hold its unsafe code.
const UNSAFE: &[&str] = &["callback", "fork", "object", "pointers"];

/// Past this length a file has a seam.
const LINES: usize = 600;

#[test]
fn modules_use_only_what_their_layer_allows() {
    let mut wrong = String::new();
    for file in sources().into_iter().filter(|file| !file.is_test()) {
        for found in violations(&file.module, &file.text) {
            let _ = writeln!(wrong, "{}:{}", file.name, found);
        }
    }
    assert!(wrong.is_empty(), "uses across the layers of DESIGN section 4:\n{wrong}");
}

#[test]
fn policy_and_dialect_are_pure_and_nobody_sleeps() {
    let mut wrong = String::new();
    for file in sources() {
        let module = file.module.first().map_or("", String::as_str);
        if file.is_test() {
            continue;
        }
        let code = without_tests(&code(&file.text));
        let never = NOWHERE.iter().filter(|(_, but)| !but.contains(&module)).map(|(what, _)| *what);
        let impure = IMPURE.iter().filter(|_| PURE.contains(&module)).copied();
        for what in never.chain(impure) {
            for (at, _) in code.match_indices(what) {
                let _ = writeln!(wrong, "{}:{}: {what}", file.name, line_of(&code, at));
            }
        }
    }
    assert!(wrong.is_empty(), "not allowed there:\n{wrong}");
}

#[test]
fn each_file_says_its_reason_first_and_is_not_too_long() {
    let mut wrong = String::new();
    for file in sources() {
        if !file.text.starts_with("//! ") && !file.text.trim().is_empty() {
            let _ =
                writeln!(wrong, "{}:1: the first line is no //! that says why the file exists", file.name);
        }
        let lines = file.text.lines().count();
        if lines > LINES {
            let _ = writeln!(wrong, "{}: {lines} lines, more than {LINES}: find the seam", file.name);
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn unsafe_code_is_forbidden_but_for_the_c_abi() {
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    for line in [
        "#![cfg_attr(not(feature = \"capi\"), forbid(unsafe_code))]",
        "#![cfg_attr(feature = \"capi\", deny(unsafe_code))]",
    ] {
        assert!(lib.contains(line), "src/lib.rs no longer says {line}");
    }
    let mut wrong = String::new();
    for file in sources() {
        let code = code(&file.text);
        let own = file.module.first().map_or("", String::as_str);
        let allows = code.matches("unsafe_code").count();
        let expected = if own.is_empty() { 3 } else { 0 };
        if allows != expected && file.name != "src/bin/livefeed/main.rs" {
            let _ = writeln!(wrong, "{}: unsafe_code is spoken of {allows} times, not {expected}", file.name);
        }
        let in_the_open = file.module.get(1).is_some_and(|file| UNSAFE.contains(&file.as_str()));
        if own != "capi" || in_the_open || file.is_test() {
            continue;
        }
        // Elsewhere in it, the one line with which each exported function begins.
        for (at, _) in code.match_indices("unsafe {") {
            let line = code[at..].lines().next().unwrap_or_default();
            if line != "unsafe { Caller::promises() };" {
                let _ = writeln!(wrong, "{}:{}: {line}", file.name, line_of(&code, at));
            }
        }
    }
    assert!(wrong.is_empty(), "unsafe code outside of its place:\n{wrong}");
}

#[test]
fn the_checks_find_what_they_look_for() {
    let module = |path: &str| path.split('/').map(str::to_owned).collect::<Vec<_>>();
    for (of, text, expected) in [
        ("policy/backoff", "use crate::clock::Stamp;", None),
        ("policy/backoff", "\nuse crate::transport::Stop;", Some("2: policy uses transport")),
        ("policy", "use crate::{clock, transport::{self, tls}};", Some("1: policy uses transport")),
        ("policy/session", "use super::super::dialect::Router;", Some("1: policy uses dialect")),
        ("policy/session", "use super::backoff; use super::{outbox, verdict};", None),
        ("engine/reader", "fn f() -> crate::feed::Feed { x }", Some("1: engine uses feed")),
        ("engine/reader", "use crate ::\n config as c;", Some("1: engine uses config")),
        ("engine/reader", "use crate::Feed;", Some("1: engine uses Feed")),
        ("engine/reader", "// crate::feed\nlet a = \"crate::feed\"; let b = r#\"\"crate::feed\"#;", None),
        ("engine/reader", "let q = '\"'; crate::feed::x(); let r = '\"';", Some("1: engine uses feed")),
        ("engine/reader", "fn f<'a>(x: &'a str) { /* crate::feed */ }", None),
        ("error", "use crate::{event, policy};", Some("1: error uses policy")),
        ("error", "use super::policy::Backoff;", Some("1: error uses policy")),
        ("lab/topic", "use crate::clock::mono; use crate::lab::Script;", None),
        ("lab/topic", "use crate::message::Message;", Some("1: lab uses message")),
        ("transport/tls/native", "pub(in crate::transport) fn f() {}", None),
        ("config/hooks", "use crate::engine::Engine;", Some("1: config uses engine")),
        ("news", "use crate::clock::mono;", Some("1: news has no row")),
    ] {
        let found = violations(&module(of), text);
        match expected {
            None => assert!(found.is_empty(), "{of}: {text}: {found:?}"),
            Some(start) => {
                assert!(found.len() == 1 && found[0].starts_with(start), "{of}: {text}: {found:?}");
            }
        }
    }
    let text = "a();\n#[cfg(test)]\nmod tests { fn f() { \"}\"; Instant::now(); } }\nb();\n#[cfg(test)]\nmod t;\nc();";
    let left = without_tests(&code(text));
    assert!(!left.contains("Instant") && left.contains("b()") && left.contains("c()"), "{left}");
    assert_eq!(line_of(&left, left.find("c()").unwrap()), 7);
}

#[test]
fn all_modules_were_looked_at() {
    let seen: Vec<_> = sources().into_iter().filter_map(|file| file.module.into_iter().next()).collect();
    let lib = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let declared = lib.lines().filter_map(|line| {
        let name = line.trim_start_matches("pub ").strip_prefix("mod ")?;
        name.strip_suffix(';')
    });
    for module in declared {
        assert!(seen.iter().any(|seen| seen == module), "{module} was not looked at");
    }
}

struct Source {
    /// From the root of the repository.
    name: String,
    /// The module that the file holds; empty for the root.
    module: Vec<String>,
    text: String,
}

impl Source {
    /// Whether it holds tests and nothing else, which may use what they like.
    fn is_test(&self) -> bool {
        self.module.iter().any(|part| part == "tests" || part.ends_with("_tests"))
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let src = root().join("src");
    let mut files = Vec::new();
    let mut left = vec![src.clone()];
    while let Some(dir) = left.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    assert!(files.len() > 50, "only {} files found", files.len());
    files.into_iter().map(|path| source(&src, path)).collect()
}

fn source(src: &Path, path: PathBuf) -> Source {
    let inside = path.strip_prefix(src).unwrap().with_extension("");
    let mut module: Vec<String> =
        inside.components().map(|part| part.as_os_str().to_string_lossy().into_owned()).collect();
    if matches!(module.last().map(String::as_str), Some("mod" | "lib" | "main")) {
        module.pop();
    }
    let name = path.strip_prefix(root()).unwrap().display().to_string();
    Source { name, module, text: fs::read_to_string(path).unwrap() }
}

/// The uses of a module that its layer does not allow, each with its line. Its tests may use what they like.
fn violations(module: &[String], text: &str) -> Vec<String> {
    // The root re-exports; a program sees the crate from outside.
    let Some(own) = module.first().filter(|own| *own != "bin") else { return Vec::new() };
    let code = without_tests(&code(text));
    let narrow = NARROW.iter().find(|(name, _)| name == own).map(|(_, allowed)| *allowed);
    let wide = ALLOWED.iter().find(|(name, _)| name == own).map(|(_, allowed)| *allowed);
    if narrow.is_none() && wide.is_none() {
        return vec![format!("1: {own} has no row in the table of tests/layers.rs: give it its layer")];
    }
    let is_allowed = |used: &str| {
        used == own
            || narrow.is_some_and(|allowed| allowed.contains(&used))
            || wide.is_some_and(|allowed| allowed.contains(&used) || NOUNS.contains(&used))
    };
    let uses = paths_from_root(&code, module.len());
    uses.into_iter()
        .filter(|(used, _)| !is_allowed(used))
        .map(|(used, at)| {
            let may: Vec<&str> = match (narrow, wide) {
                (Some(allowed), _) => allowed.to_vec(),
                (_, allowed) => NOUNS.iter().chain(allowed.unwrap_or_default()).copied().collect(),
            };
            format!("{}: {own} uses {used}; it may use {}", line_of(&code, at), may.join(", "))
        })
        .collect()
}

/// The first names of all paths that begin at the crate's root, by `crate::` or by enough `super::`.
fn paths_from_root(code: &str, depth: usize) -> Vec<(String, usize)> {
    let tokens = tokens(code);
    let word = |at: usize| tokens.get(at).map_or("", |(word, _)| *word);
    let mut found = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let start = at;
        let mut supers = 0;
        if word(at) == "crate" && word(at + 1) == "::" {
            at += 2;
        } else {
            while word(at) == "super" && word(at + 1) == "::" {
                supers += 1;
                at += 2;
            }
            if supers == 0 || supers < depth {
                at = at.max(start + 1);
                continue;
            }
        }
        let place = tokens[start].1;
        if word(at) != "{" {
            if is_name(word(at)) {
                found.push((word(at).to_owned(), place));
            }
            continue;
        }
        // A group: the first name of each of its members.
        let mut level = 0;
        let mut first = true;
        while at < tokens.len() {
            match word(at) {
                "{" => level += 1,
                "}" => level -= 1,
                "," if level == 1 => first = true,
                name if level == 1 && first && is_name(name) => {
                    found.push((name.to_owned(), place));
                }
                _ => {}
            }
            if level == 1 && !matches!(word(at), "{" | ",") {
                first = false;
            }
            at += 1;
            if level == 0 {
                break;
            }
        }
    }
    found
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_alphabetic() || c == '_') && word != "self"
}

/// Words and marks, each with its place.
fn tokens(code: &str) -> Vec<(&str, usize)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut tokens = Vec::new();
    let mut rest = code;
    while let Some(first) = rest.chars().next() {
        let at = code.len() - rest.len();
        let length = if is_word(first) {
            rest.find(|c| !is_word(c)).unwrap_or(rest.len())
        } else if rest.starts_with("::") {
            2
        } else {
            first.len_utf8()
        };
        if !first.is_whitespace() {
            tokens.push((&rest[..length], at));
        }
        rest = &rest[length..];
    }
    tokens
}

fn line_of(text: &str, at: usize) -> usize {
    text[..at].matches('\n').count() + 1
}

/// The text with comments and the insides of literals blanked out, line for line.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    while let Some(first) = rest.chars().next() {
        let after_word = out.ends_with(is_word);
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(end) = raw_string(rest).filter(|_| !after_word) {
            end
        } else if first == '"' {
            quoted(rest, '"')
        } else if first == '\'' && is_char(rest) {
            quoted(rest, '\'')
        } else {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        };
        out.extend(rest[..length].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &rest[length..];
    }
    out
}

/// Where a raw string ends, if one begins here.
fn raw_string(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("br").or_else(|| text.strip_prefix('r'))?;
    let hashes = inner.len() - inner.trim_start_matches('#').len();
    let body = inner[hashes..].strip_prefix('"')?;
    let end = format!("\"{}", "#".repeat(hashes));
    let length = body.find(&end).map_or(body.len(), |at| at + end.len());
    Some(text.len() - body.len() + length)
}

fn quoted(text: &str, mark: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == mark => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether this quote begins a character and not a lifetime.
fn is_char(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => true,
        (_, second) => second == Some('\''),
    }
}

/// Code without the items marked `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    const MARK: &str = "#[cfg(test)]";
    let mut out = String::with_capacity(code.len());
    let mut rest = code;
    while let Some(at) = rest.find(MARK) {
        let (before, item) = rest.split_at(at);
        out.push_str(before);
        let mut level = 0;
        let end = item.char_indices().find_map(|(at, c)| {
            match c {
                '{' => level += 1,
                '}' => level -= 1,
                ';' if level == 0 => return Some(at + 1),
                _ => {}
            }
            (c == '}' && level == 0).then_some(at + 1)
        });
        let (item, after) = item.split_at(end.unwrap_or(item.len()));
        out.extend(item.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = after;
    }
    out + rest
}
