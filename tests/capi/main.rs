//! The C ABI: its header, and what it does to those who call it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "a test has threads")]

#[allow(dead_code, unreachable_pub, reason = "it is shared with other tests")]
#[path = "../capi_build/mod.rs"]
mod build;
mod calls;
mod fd;
mod ffi;
mod header;
mod hostile;
mod log;
mod provider;
