//! Bytes: resolve, connect, encrypt, upgrade, read and write. Knows no policy.
