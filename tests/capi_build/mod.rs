//! Builds the C library with a cargo of its own, for tests that load it or link with it.

use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The built library.
#[derive(Debug)]
pub struct Library {
    dir: PathBuf,
    /// What a program needs beside the static library.
    pub native: Vec<String>,
}

/// The library, built on the first call.
pub fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(build)
}

/// Where the sources are.
pub fn root() -> PathBuf {
    PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo runs the tests"))
}

fn build() -> Library {
    // A directory of its own: that of the tests is locked by the cargo that runs them.
    let target =
        Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is in the target directory").join("capi");
    let cargo = std::env::var_os("CARGO").expect("cargo runs the tests");
    let mut command = Command::new(cargo);
    // Nothing is fetched: the tests themselves need the same packages, and more.
    command
        .args(["rustc", "--lib", "--features", "capi", "--crate-type", "cdylib,staticlib"])
        .args(["--locked", "--offline", "--target-dir"])
        .arg(&target)
        .args(["--", "--print", "native-static-libs"])
        .current_dir(root())
        // That is enough for the traces of valgrind and the sanitizers, and valgrind starts sooner.
        .env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    let built = command.output().expect("cargo can be run");
    let said = String::from_utf8_lossy(&built.stderr);
    assert!(built.status.success(), "{command:?}: {said}");
    let native =
        said.lines().find_map(|line| line.split_once("native-static-libs: ")).map(|(_, names)| names);
    let native = native.unwrap_or_else(|| panic!("cargo does not say what to link with: {said}"));
    let native = native.split_whitespace().map(str::to_owned).collect();
    Library { dir: target.join("debug"), native }
}

impl Library {
    /// The shared library.
    pub fn shared(&self) -> PathBuf {
        self.dir.join(format!("{DLL_PREFIX}livefeed{DLL_SUFFIX}"))
    }

    /// The static library.
    pub fn archive(&self) -> PathBuf {
        self.dir.join("liblivefeed.a")
    }
}
