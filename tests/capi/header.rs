//! `include/livefeed.h` says what the library has: no more, no less, and nothing else.

use crate::build;
use livefeed::capi;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The files that hold exported items, in the order in which these stand in the header.
const SOURCES: &[&str] =
    &["result", "feed", "callback", "reading", "wake", "event", "talking", "provider", "log"];

/// With this variable set the header is written, not compared.
const WRITE: &str = "LIVEFEED_WRITE_HEADER";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header_path() -> PathBuf {
    root().join("include/livefeed.h")
}

fn generated() -> String {
    let config =
        cbindgen::Config::from_file(root().join("cbindgen.toml")).expect("cbindgen.toml can be read");
    let builder = SOURCES.iter().fold(cbindgen::Builder::new().with_config(config), |builder, name| {
        builder.with_src(root().join(format!("src/capi/{name}.rs")))
    });
    let mut header = Vec::new();
    builder.generate().expect("the sources can be read").write(&mut header);
    unfenced(&String::from_utf8(header).unwrap())
}

/// What stands between fences in Rust's comments is indented in the header, as there are no fences in C.
fn unfenced(text: &str) -> String {
    let mut inside = false;
    let mut plain = String::new();
    for line in text.lines() {
        match line.trim_start().strip_prefix("* ") {
            Some(fence) if fence.starts_with("```") => inside = !inside,
            Some(code) if inside => plain.extend([" *     ", code, "\n"]),
            _ => plain.extend([line, "\n"]),
        }
    }
    plain
}

#[test]
fn the_header_is_current() {
    let generated = generated();
    if std::env::var_os(WRITE).is_some() {
        fs::create_dir_all(header_path().parent().unwrap()).unwrap();
        fs::write(header_path(), &generated).unwrap();
        return;
    }
    let committed = fs::read_to_string(header_path()).unwrap_or_default();
    assert!(
        committed == generated,
        "include/livefeed.h is not what src/capi says: make it anew with {WRITE}=1 cargo test --test capi current"
    );
}

fn committed() -> String {
    fs::read_to_string(header_path()).expect("the header is there")
}

/// Each `#define` with a value.
fn constants(header: &str) -> BTreeMap<String, String> {
    let defines = header.lines().filter_map(|line| line.strip_prefix("#define ")?.split_once(' '));
    defines.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect()
}

/// Each function, with the comment before it.
fn functions(header: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let body = header.split("extern \"C\" {").nth(1).expect("the functions stand in extern C");
    for part in body.split("/**").skip(1) {
        let (comment, declaration) = part.split_once("*/").expect("a comment ends");
        let declaration = declaration.split(';').next().expect("something is declared");
        let before = declaration.split('(').next().expect("a function");
        let name = before.rsplit([' ', '*']).next().expect("it has a name").trim();
        assert!(name.starts_with("livefeed_"), "{declaration}");
        assert!(found.insert(name.to_owned(), comment.to_owned()).is_none(), "{name} is declared twice");
    }
    let code = body.lines().filter(|line| !line.trim_start().starts_with('*'));
    assert_eq!(code.filter(|line| line.ends_with(");")).count(), found.len(), "each has a comment");
    found
}

/// Numbers that programs were built with: they never change, and none is used again.
#[test]
fn constants_have_the_numbers_they_always_had() {
    let mut left = constants(&committed());
    assert_eq!(left.remove("LIVEFEED_NUL_TERMINATED").as_deref(), Some("SIZE_MAX"));
    for (name, always, rust) in numbers() {
        assert_eq!(rust, always, "{name} in Rust");
        assert_eq!(
            left.remove(name).and_then(|value| value.parse().ok()),
            Some(always),
            "{name} in the header"
        );
    }
    assert!(left.is_empty(), "not pinned here: {left:?}");
}

macro_rules! numbers {
    ($($name:ident = $number:literal,)*) => {
        const NUMBERS: usize = [$($number),*].len();

        fn numbers() -> [(&'static str, i64, i64); NUMBERS] {
            [$((stringify!($name), $number, i64::from(capi::$name))),*]
        }
    };
}

numbers! {
    LIVEFEED_ABI_VERSION = 1,
    LIVEFEED_OK = 0,
    LIVEFEED_TIMEOUT = 1,
    LIVEFEED_CLOSED = 2,
    LIVEFEED_NULL_POINTER = 3,
    LIVEFEED_INVALID_UTF8 = 4,
    LIVEFEED_INVALID_HANDLE = 5,
    LIVEFEED_CONFIG = 6,
    LIVEFEED_NOT_CONNECTED = 7,
    LIVEFEED_OUTBOX_FULL = 8,
    LIVEFEED_TOO_LARGE = 9,
    LIVEFEED_UNKNOWN_SUBSCRIPTION = 10,
    LIVEFEED_WOULD_DEADLOCK = 11,
    LIVEFEED_TAKEN = 12,
    LIVEFEED_SYSTEM = 13,
    LIVEFEED_FORKED = 14,
    LIVEFEED_PANIC = 15,
    LIVEFEED_UNSUPPORTED = 16,
    LIVEFEED_NO_VALUE = 17,
    LIVEFEED_NOT_STARTED = 18,
    LIVEFEED_ALREADY_STARTED = 19,
    LIVEFEED_DROPPED = 20,
    LIVEFEED_EVENT_OTHER = 0,
    LIVEFEED_EVENT_CONNECTING = 1,
    LIVEFEED_EVENT_CONNECTED = 2,
    LIVEFEED_EVENT_SUBSCRIBED = 3,
    LIVEFEED_EVENT_REFUSED = 4,
    LIVEFEED_EVENT_ENDED = 5,
    LIVEFEED_EVENT_MESSAGE = 6,
    LIVEFEED_EVENT_STALE = 7,
    LIVEFEED_EVENT_GAP = 8,
    LIVEFEED_EVENT_DISCONNECTED = 9,
    LIVEFEED_EVENT_ALERT = 10,
    LIVEFEED_EVENT_CLOSED = 11,
    LIVEFEED_TEXT = 1,
    LIVEFEED_BINARY = 2,
    LIVEFEED_VIEW_BINARY = 1,
    LIVEFEED_PROVIDER_OK = 0,
    LIVEFEED_PROVIDER_RETRY = 1,
    LIVEFEED_PROVIDER_FATAL = 2,
    LIVEFEED_LOG_OFF = 0,
    LIVEFEED_LOG_ERROR = 1,
    LIVEFEED_LOG_WARN = 2,
    LIVEFEED_LOG_INFO = 3,
    LIVEFEED_LOG_DEBUG = 4,
    LIVEFEED_LOG_TRACE = 5,
}

#[test]
fn each_result_has_its_name() {
    for (name, number, _) in numbers() {
        let code = i32::try_from(number).unwrap();
        // The results stand together, from OK to the last.
        let is_result =
            numbers().iter().position(|(n, ..)| *n == name).is_some_and(|at| (1..=21).contains(&at));
        if is_result {
            assert_eq!(crate::ffi::name(code), name);
        }
    }
    for unknown in [-1, 21, i32::MAX] {
        assert_eq!(crate::ffi::name(unknown), "unknown");
    }
}

/// What any function may return: the rules on top say so once.
const GENERAL: &[&str] = &[
    "LIVEFEED_NULL_POINTER",
    "LIVEFEED_INVALID_HANDLE",
    "LIVEFEED_INVALID_UTF8",
    "LIVEFEED_FORKED",
    "LIVEFEED_NOT_STARTED",
    "LIVEFEED_PANIC",
];

/// These fail in no other way.
const PLAIN: &[&str] = &[
    "livefeed_health_json",
    "livefeed_event_clone",
    "livefeed_batch_views",
    "livefeed_event_view",
    "livefeed_event_json",
    "livefeed_target_set_error",
];

#[test]
fn each_function_says_who_owns_what_on_which_threads_and_how_it_fails() {
    let functions = functions(&committed());
    assert!(functions.len() > 40, "only {} functions", functions.len());
    let sources: String = SOURCES
        .iter()
        .map(|name| fs::read_to_string(root().join(format!("src/capi/{name}.rs"))).unwrap())
        .collect();
    for (name, comment) in &functions {
        assert!(comment.trim_start_matches([' ', '*', '\n']).len() > 40, "{name} says nothing");
        assert!(!comment.contains("# "), "{name}: a heading of Rust");
        let (_, source) = sources.split_once(&format!("fn {name}(")).expect("it is in the sources");
        let signature = source.split('{').next().unwrap();
        let names = |code: &&&str| comment.contains(&format!("`{code}`"));
        let errors = comment.split("Errors: ").nth(1);
        if signature.contains("-> livefeed_result") {
            let said =
                errors.is_some_and(|codes| codes.contains("`LIVEFEED_") || codes.contains("as `livefeed_"));
            assert_eq!(
                said,
                !PLAIN.contains(&name.as_str()),
                "{name} names its codes, or fails as any function"
            );
        }
        if name != "livefeed_set_log_callback" {
            assert_eq!(GENERAL.iter().find(names), None, "{name}: the rules on top have it");
        }
        if signature.contains("*mut *mut ") || signature.contains("userdata: ") {
            assert!(
                comment.contains("Ownership: "),
                "{name} does not say who frees what it gives, or keeps userdata"
            );
        }
        if signature.contains("timeout_ms") || signature.contains("userdata: ") || name == "livefeed_free" {
            let told = ["Threads: ", "callback", "as `livefeed_"].iter().any(|word| comment.contains(word));
            assert!(told, "{name} may wait, and does not say what it does in callbacks");
        }
    }
    let header = committed();
    let rules = header.split("*/").find(|comment| comment.contains("Rules, for all functions")).unwrap();
    for code in GENERAL {
        assert!(rules.contains(code), "the rules do not name {code}");
    }
    for rule in ["Errors.", "Pointers.", "Ownership.", "Threads.", "Callbacks", "fork()."] {
        assert!(rules.contains(&format!(" - {rule}")), "no rule {rule}");
    }
    // What a comment speaks of is there.
    let constants = constants(&committed());
    let types = [
        "livefeed_feed",
        "livefeed_event",
        "livefeed_batch",
        "livefeed_attempt",
        "livefeed_target",
        "livefeed_view",
    ];
    let typedefs =
        ["livefeed_result", "livefeed_callback", "livefeed_token_provider", "livefeed_log_callback"];
    for word in header.split(|c: char| !c.is_ascii_alphanumeric() && c != '_') {
        let known = match word {
            "LIVEFEED_H" | "livefeed_" => true,
            _ if word.starts_with("LIVEFEED_") && word.ends_with('_') => {
                constants.keys().any(|name| name.starts_with(word))
            }
            _ if word.starts_with("LIVEFEED_") => constants.contains_key(word),
            _ if word.starts_with("livefeed_") => {
                functions.contains_key(word) || types.contains(&word) || typedefs.contains(&word)
            }
            _ => true,
        };
        assert!(known, "the header speaks of {word}, which it does not have");
    }
}

/// What a comment shows is what the library takes.
#[test]
fn the_examples_of_json_can_be_used() {
    let header = committed();
    let shown = |before: &str| -> String {
        let (_, after) = header.split_once(before).unwrap_or_else(|| panic!("{before} is not there"));
        let lines = after.lines().skip(2).map(|line| line.trim_start().trim_start_matches('*'));
        lines.take_while(|line| line.starts_with("    ")).collect()
    };
    let config = shown("`livefeed schema` prints:");
    let mut config: livefeed::FeedConfig = livefeed::FeedConfig::from_json(&config).expect(&config);
    config.validate().unwrap();
    let subscription = shown("as an entry of `subscriptions` in the configuration:");
    config.subscriptions = vec![serde_json::from_str(&subscription).expect(&subscription)];
    config.validate().unwrap();
    let matchers = shown("as matchers in the configuration:");
    let matchers = matchers.split("{").filter_map(|part| Some(format!("{{{}}}", part.split_once('}')?.0)));
    let read: Vec<_> =
        matchers.filter(|text| serde_json::from_str::<livefeed::Matcher>(text).is_ok()).collect();
    assert!(
        read.iter().any(|text| text.contains("text")) && read.iter().any(|text| text.contains("prefix")),
        "{read:?}"
    );
}

/// The symbols that a program can link with.
#[cfg(target_os = "linux")]
fn exported() -> BTreeSet<String> {
    let library = build::library().shared();
    let listed = Command::new("nm").args(["-D", "--defined-only", "-f", "posix"]).arg(&library).output();
    let listed = listed.expect("nm, of the package binutils, can be run");
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    names.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[cfg(target_os = "linux")]
#[test]
fn the_library_exports_what_the_header_declares_and_nothing_else() {
    let declared: BTreeSet<_> = functions(&committed()).into_keys().collect();
    let exported = exported();
    let missing: Vec<_> = declared.difference(&exported).collect();
    assert!(missing.is_empty(), "declared and not exported: {missing:?}");
    let hidden: Vec<_> = exported.difference(&declared).collect();
    assert!(hidden.is_empty(), "exported and not declared: {hidden:?}");
}
