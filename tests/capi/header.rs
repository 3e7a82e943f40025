//! `include/livefeed.h` says what the library has: no more, no less, and nothing else.

use std::fs;
use std::path::{Path, PathBuf};

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
    String::from_utf8(header).unwrap()
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
