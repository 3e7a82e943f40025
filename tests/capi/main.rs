//! The C ABI: its header, and what it does to those who call it.

mod header;
