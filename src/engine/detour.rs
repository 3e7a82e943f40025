//! Where a server sends the feed to: whether it may, and what goes along.

use super::plan::Target;
use crate::class::GoTo;
use crate::secret::Secret;
use crate::transport::Endpoint;

/// The longest URL, in bytes.
const LONGEST: usize = 4096;

/// Where the next connection is made to. `here` is where this one was made to, `known` what was configured. The
/// error says what is wrong, and shows no URL.
pub(super) fn resolve(
    url: Option<&Secret>,
    go_to: &GoTo,
    here: &Target,
    known: &[Target],
) -> Result<Target, String> {
    let url = url.ok_or("there is none")?;
    if url.len() > LONGEST {
        return Err(format!("it is longer than {LONGEST} bytes"));
    }
    let mut endpoint = Endpoint::parse(url.expose()).map_err(|problem| format!("it {problem}"))?;
    if here.endpoint.secure && !endpoint.secure {
        return Err("it is not encrypted, as this connection is".to_owned());
    }
    let subprotocols = here.subprotocols.clone();
    if let Some(own) = known.iter().chain([here]).find(|own| is_same(&own.endpoint, &endpoint)) {
        endpoint.userinfo = endpoint.userinfo.or_else(|| own.endpoint.userinfo.clone());
        return Ok(Target { endpoint, headers: own.headers.clone(), subprotocols });
    }
    if go_to.hosts.iter().any(|pattern| allows(pattern, &endpoint)) {
        return Ok(Target { endpoint, headers: Vec::new(), subprotocols });
    }
    Err("its host is none of those that the configuration names".to_owned())
}

/// RFC 6454 section 5.
fn is_same(own: &Endpoint, other: &Endpoint) -> bool {
    (own.secure, &own.host, own.port) == (other.secure, &other.host, other.port)
}

/// Whether a host is meant by `name`, `*.name`, `name:port` or `*.name:port`.
fn allows(pattern: &str, endpoint: &Endpoint) -> bool {
    let pattern = pattern.to_ascii_lowercase();
    let host = endpoint.host_header();
    match pattern.strip_prefix('*') {
        Some(below) => {
            host.strip_suffix(below).is_some_and(|name| !name.is_empty() && below.starts_with('.'))
        }
        None => host == pattern,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(url: &str, header: &str) -> Target {
        Target {
            endpoint: Endpoint::parse(url).unwrap(),
            headers: vec![("Authorization".into(), header.into())],
            subprotocols: vec!["p".into()],
        }
    }

    fn go(url: &str, hosts: &[&str], here: &str) -> Result<(String, Vec<String>), String> {
        let known = [target("wss://u:pass@a.example/ws", "a"), target("ws://b.example:81/ws", "b")];
        let go_to = hosts.iter().fold(GoTo::at("/url"), |go_to, host| go_to.host(*host));
        let found = resolve(Some(&url.into()), &go_to, &target(here, "here"), &known)?;
        assert_eq!(found.subprotocols, ["p"]);
        let headers = found.headers.iter().map(|(_, value)| value.expose().to_owned()).collect();
        let userinfo = found.endpoint.userinfo.map(|(user, _)| user + "@").unwrap_or_default();
        Ok((userinfo + &found.endpoint.path_and_query, headers))
    }

    #[test]
    fn headers_go_to_the_endpoints_and_nowhere_else() {
        let a = "wss://u:pass@a.example/ws";
        for (url, hosts, here, expected) in [
            ("wss://a.example/next?t=1", &[][..], a, Some(("u@/next?t=1", &["a"][..]))),
            ("wss://A.example:443/next", &[], a, Some(("u@/next", &["a"]))),
            ("wss://v@a.example/next", &[], a, Some(("v@/next", &["a"]))),
            ("ws://b.example:81/next", &[], "ws://b.example:81/", Some(("/next", &["b"]))),
            ("wss://a.example/next", &[], "ws://b.example:81/", Some(("u@/next", &["a"]))),
            // What a provider gave.
            ("ws://c.example/next", &[], "ws://c.example/", Some(("/next", &["here"]))),
            // Down from TLS, also where the host is known.
            ("ws://b.example:81/next", &[], a, None),
            ("ws://a.example/next", &["a.example"], a, None),
            // Another port, another scheme, another host.
            ("wss://a.example:444/next", &[], a, None),
            ("wss://b.example:81/next", &[], "ws://b.example:81/", None),
            ("wss://x.a.example/next", &[], a, None),
            ("wss://evil.example/a.example", &[], a, None),
            ("wss://a.example@evil.example/", &[], a, None),
            // Those that are named: nothing of ours goes along.
            ("wss://x.a.example/next", &["*.a.example"], a, Some(("/next", &[]))),
            ("wss://x.y.a.example/next", &["*.A.example"], a, Some(("/next", &[]))),
            ("wss://d.example/next", &["c.example", "d.example"], a, Some(("/next", &[]))),
            ("wss://d.example:444/next", &["d.example:444"], a, Some(("/next", &[]))),
            ("wss://d.example:444/next", &["d.example"], a, None),
            ("wss://evila.example/next", &["*.a.example"], a, None),
            ("wss://.a.example/next", &["*.a.example"], a, None),
            // No URLs at all.
            ("https://a.example/next", &[], a, None),
            ("/next", &[], a, None),
            ("", &[], a, None),
            ("wss://a.example/ne xt", &[], a, None),
        ] {
            let found = go(url, hosts, here);
            let expected = expected.map(|(path, headers)| {
                (path.to_owned(), headers.iter().map(|header| (*header).to_owned()).collect::<Vec<_>>())
            });
            assert_eq!(found.as_ref().ok(), expected.as_ref(), "{url} from {here}: {found:?}");
        }
    }

    #[test]
    fn what_is_wrong_is_said_without_the_url() {
        let here = target("ws://a.example/", "a");
        let go_to = GoTo::at("/url");
        let long = format!("ws://a.example/{}", "x".repeat(LONGEST));
        for url in [None, Some("ftp://hunter2"), Some("ws://hunter2.example/hunter2"), Some(&long)] {
            let secret = url.map(Secret::from);
            let problem = resolve(secret.as_ref(), &go_to, &here, &[]).err().unwrap();
            assert!(!problem.contains("hunter2") && problem.len() < 200, "{problem}");
        }
    }
}
