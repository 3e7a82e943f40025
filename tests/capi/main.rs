//! The C ABI: its header, and what it does to those who call it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "a test has threads")]

mod calls;
mod ffi;
mod header;
mod log;
mod provider;
