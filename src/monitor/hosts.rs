//! Which names a monitor may be asked by: a browser on this machine can be made to ask by a stranger's.

use std::net::{Ipv4Addr, Ipv6Addr};

/// The names by which requests are answered.
#[derive(Debug, Clone)]
pub(super) struct Hosts {
    /// All.
    any: bool,
    /// Beside addresses and `localhost`, in lower case.
    allowed: Vec<String>,
}

impl Hosts {
    /// While bound to loopback, and when names are given, no other names will do.
    pub(super) fn new(loopback: bool, allowed: Vec<String>) -> Self {
        Self { any: !loopback && allowed.is_empty(), allowed }
    }

    /// Whether a request for this host, as in the field `Host`, is to be answered. An address always is: the trick needs
    /// a name.
    pub(super) fn allow(&self, host: Option<&str>) -> bool {
        // Without one it is HTTP/1.0, and no browser.
        let Some(host) = host.filter(|_| !self.any) else { return true };
        let Some(name) = name(host) else { return false };
        if let Some(address) = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return address.parse::<Ipv6Addr>().is_ok();
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        name.parse::<Ipv4Addr>().is_ok()
            || name == "localhost"
            || name.ends_with(".localhost")
            || self.allowed.contains(&name)
    }
}

/// The name of a host without its port.
fn name(host: &str) -> Option<&str> {
    let end = if host.starts_with('[') { host.find(']')? + 1 } else { host.find(':').unwrap_or(host.len()) };
    let (name, port) = host.split_at_checked(end)?;
    let port = match port {
        "" => "",
        port => port.strip_prefix(':')?,
    };
    port.bytes().all(|byte| byte.is_ascii_digit()).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn on_loopback_only_this_machine_is_asked() {
        let hosts = Hosts::new(true, vec!["dash.example".to_owned()]);
        for host in [
            "localhost",
            "LOCALHOST:80",
            "localhost.",
            "a.localhost:9090",
            "127.0.0.1",
            "127.0.0.1:9090",
            "10.0.0.7:1",
            "[::1]",
            "[::1]:9090",
            "dash.example",
            "Dash.Example.:443",
            "localhost:",
        ] {
            assert!(hosts.allow(Some(host)), "{host}");
        }
        for host in [
            "evil.example",
            "",
            ":80",
            "localhost.evil.example",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "[::1",
            "[x]",
            "[::1]x",
            "localhost:x",
            "127.1",
            "a.dash.example",
            "u@localhost:1",
            "::1",
            "localhost..",
            "localhost:80:80",
        ] {
            assert!(!hosts.allow(Some(host)), "{host}");
        }
        assert!(hosts.allow(None));
    }

    #[test]
    fn elsewhere_any_name_will_do_until_some_are_given() {
        assert!(Hosts::new(false, vec![]).allow(Some("any.example")));
        assert!(!Hosts::new(false, vec!["a".to_owned()]).allow(Some("any.example")));
        assert!(Hosts::new(false, vec!["a".to_owned()]).allow(Some("10.0.0.1:80")));
    }
}
