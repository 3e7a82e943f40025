//! Addresses to listen at, as people write them.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// Reads `HOST:PORT`, or a port alone, which is one of this machine only; a host may be a name.
pub(crate) fn read(text: &str) -> Result<String, String> {
    if text.parse::<u16>().is_ok() {
        return Ok(format!("127.0.0.1:{text}"));
    }
    match text.rsplit_once(':') {
        Some(("", port)) if port.parse::<u16>().is_ok() => Err(format!(
            "write the host too: 127.0.0.1:{port} for this machine only, or 0.0.0.0:{port} for all others as well"
        )),
        Some((host, port)) if port.parse::<u16>().is_ok() && is_host(host) => Ok(text.to_owned()),
        _ => Err("write HOST:PORT, such as 127.0.0.1:9001, or a port alone".to_owned()),
    }
}

/// IPv6 addresses have brackets around them, or it could not be told where they end.
fn is_host(host: &str) -> bool {
    !host.is_empty() && (!host.contains(':') || (host.starts_with('[') && host.ends_with(']')))
}

/// The first address of a host that was read.
pub(crate) fn resolve(text: &str) -> io::Result<SocketAddr> {
    text.to_socket_addrs()?.next().ok_or_else(|| io::Error::other("the host has no address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_bare_ports_are_addresses() {
        for (text, address) in [
            ("9001", Ok("127.0.0.1:9001")),
            ("localhost:0", Ok("localhost:0")),
            ("[::1]:80", Ok("[::1]:80")),
            ("0.0.0.0:1", Ok("0.0.0.0:1")),
            (":9490", Err("127.0.0.1:9490 for this machine")),
            ("::1:80", Err("HOST:PORT")),
            ("localhost", Err("HOST:PORT")),
            ("127.0.0.1:70000", Err("HOST:PORT")),
            ("", Err("HOST:PORT")),
        ] {
            match (read(text), address) {
                (Ok(read), Ok(address)) => assert_eq!(read, address),
                (Err(said), Err(part)) => assert!(said.contains(part), "{text}: {said}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
        assert!(resolve("localhost:80").unwrap().ip().is_loopback());
    }
}
