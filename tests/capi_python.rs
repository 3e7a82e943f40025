//! The Python module over the C ABI: its own tests, with the library that a cargo of its own builds.
//!
//! They need Python 3.9 or newer and nothing else. `LIVEFEED_PYTHON` names the interpreter, else it is `python3`. Without one they
//! print that they are skipped; with `LIVEFEED_REQUIRE_PYTHON` set they fail.
#![allow(clippy::disallowed_methods, reason = "tests may read clocks")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

#[allow(dead_code, unreachable_pub, reason = "it is shared with other tests")]
mod capi_build;

use capi_build::{library, root};
use std::process::Command;

fn python() -> Option<String> {
    let python = std::env::var("LIVEFEED_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let probe =
        Command::new(&python).args(["-c", "import sys; sys.exit(sys.version_info < (3, 9))"]).output();
    if probe.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let hint = format!("{python} is no Python of 3.9 or newer: install one, or LIVEFEED_PYTHON=...");
    assert!(std::env::var_os("LIVEFEED_REQUIRE_PYTHON").is_none(), "{hint}");
    println!("skipped: {hint}");
    None
}

/// Runs a class of tests of `examples/python/test_livefeed.py`.
#[track_caller]
fn run(class: &str) {
    let Some(python) = python() else { return };
    let output = Command::new(python)
        // In the development mode Python warns of what is left open.
        .args(["-X", "dev", "-B", "-m", "unittest", &format!("test_livefeed.{class}")])
        .env("LIVEFEED_LIBRARY", library().shared())
        .env("LIVEFEED_PROGRAM", env!("CARGO_BIN_EXE_livefeed"))
        .current_dir(root().join("examples/python"))
        .output()
        .expect("Python can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{class}: {said}");
    assert!(said.contains("Ran ") && !said.contains("Ran 0 tests"), "{class}: {said}");
}

#[test]
fn events_are_read() {
    run("Reading");
}

#[test]
fn messages_are_sent_and_answered() {
    run("Talking");
}

#[test]
fn tokens_are_provided() {
    run("Providing");
}

#[test]
fn events_go_to_callbacks() {
    run("Callbacks");
}

#[test]
fn asyncio_waits_for_the_descriptor() {
    run("Asyncio");
}

#[test]
fn signals_forks_and_ends_do_no_harm() {
    run("Ends");
}

#[test]
fn it_agrees_with_the_header() {
    run("Header");
}

#[test]
fn the_examples_run() {
    run("Programs");
}

#[test]
fn no_class_of_tests_is_left_out() {
    let tests = std::fs::read_to_string(root().join("examples/python/test_livefeed.py")).unwrap();
    let these = include_str!("capi_python.rs");
    for class in tests.lines().filter_map(|line| line.strip_prefix("class ")?.strip_suffix("(Case):")) {
        assert!(these.contains(&format!("run(\"{class}\")")), "{class} is not run");
    }
}
