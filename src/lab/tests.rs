//! Each fault, seen on the wire.
