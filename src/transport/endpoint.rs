//! Where to connect to: a WebSocket URL (RFC 6455 section 3), taken apart.

use crate::secret::Secret;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use tungstenite::http::uri::PathAndQuery;

/// The longest text of a redacted foreign URL, in characters.
const MAX_REDACTED: usize = 512;

/// A host, as a name for the resolver or as an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    /// ASCII, lower case.
    Name(String),
    Ip(IpAddr),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Ip(IpAddr::V4(ip)) => write!(f, "{ip}"),
            Self::Ip(IpAddr::V6(ip)) => write!(f, "[{ip}]"),
        }
    }
}

/// A WebSocket URL. `Debug` and [`redacted`](Self::redacted) show neither userinfo nor query values.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) secure: bool,
    pub(crate) host: Host,
    pub(crate) port: u16,
    pub(crate) path_and_query: String,
    /// User and password, percent-decoded; they become `Authorization: Basic` (RFC 7617).
    pub(crate) userinfo: Option<(String, Secret)>,
}

impl Endpoint {
    /// Takes a URL apart. The error says what is wrong and what to do, and quotes no secret.
    pub(crate) fn parse(url: &str) -> Result<Self, String> {
        if url.is_empty() {
            return Err("is empty; give a URL such as wss://host/path".to_owned());
        }
        if url.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err("has white space or control characters; remove or percent-encode them".to_owned());
        }
        let Some((scheme, rest)) = url.split_once("://") else {
            return Err("has no scheme; use ws:// or wss://".to_owned());
        };
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "ws" => false,
            "wss" => true,
            "http" => return Err("is an http URL; use ws:// or wss://, here ws://".to_owned()),
            "https" => return Err("is an https URL; use ws:// or wss://, here wss://".to_owned()),
            _ => return Err("has another scheme; use ws:// or wss://".to_owned()),
        };
        if rest.contains('#') {
            return Err("has a fragment, which WebSocket URLs may not (RFC 6455 section 3); \
                        remove it, or write # as %23"
                .to_owned());
        }
        let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (userinfo, host_port) = match authority.rsplit_once('@') {
            Some((userinfo, host_port)) => (parse_userinfo(userinfo)?, host_port),
            None => (None, authority),
        };
        let (host, port) = split_port(host_port)?;
        Ok(Self {
            secure,
            host: parse_host(host)?,
            port: parse_port(port, secure)?,
            path_and_query: parse_path(path)?,
            userinfo,
        })
    }

    /// The URL without userinfo, query values and a default port.
    pub(crate) fn redacted(&self) -> String {
        let scheme = if self.secure { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.host_header(), redact_path(&self.path_and_query))
    }

    /// The value of the `Host` header (RFC 9110 section 7.2): no default port, IPv6 in brackets.
    pub(crate) fn host_header(&self) -> String {
        if self.port == default_port(self.secure) {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }

    /// The values of the query: what an error text must not repeat.
    pub(super) fn query_values(&self) -> impl Iterator<Item = &str> {
        let query = self.path_and_query.split_once('?').map_or("", |(_, query)| query);
        query.split('&').map(|pair| pair.split_once('=').map_or(pair, |(_, value)| value))
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Endpoint").field(&self.redacted()).finish()
    }
}

/// A foreign URL, or a part of one, without userinfo, query values and fragment; cut when very long.
pub(super) fn redact_url(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let (scheme, rest) = match url.find("//") {
        Some(at) if at == 0 || url.get(..at).is_some_and(|scheme| scheme.ends_with(':')) => {
            url.split_at(at + 2)
        }
        _ => ("", url),
    };
    let (authority, path) = match scheme {
        "" => ("", rest),
        _ => rest.split_at(rest.find(['/', '?', '\\']).unwrap_or(rest.len())),
    };
    let host = authority.rsplit('@').next().unwrap_or_default();
    let redacted = format!("{scheme}{host}{}", redact_path(path));
    redacted
        .chars()
        .take(MAX_REDACTED)
        .map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c })
        .collect()
}

fn redact_path(path_and_query: &str) -> String {
    let Some((path, query)) = path_and_query.split_once('?') else {
        return path_and_query.to_owned();
    };
    let pairs: Vec<String> = query
        .split('&')
        .map(|pair| match pair.split_once('=') {
            Some((key, _)) => format!("{key}=***"),
            // A token may well stand alone.
            None => "***".to_owned(),
        })
        .collect();
    format!("{path}?{}", pairs.join("&"))
}

fn default_port(secure: bool) -> u16 {
    if secure { 443 } else { 80 }
}

fn split_port(host_port: &str) -> Result<(&str, Option<&str>), String> {
    let name_end = match host_port.strip_prefix('[') {
        Some(_) => match host_port.find(']') {
            Some(at) => at + 1,
            None => return Err("has an IPv6 address without the closing ]".to_owned()),
        },
        None if host_port.matches(':').count() > 1 => {
            return Err(
                "has more than one colon in its host; write an IPv6 address in brackets, [::1]".to_owned()
            );
        }
        None => host_port.find(':').unwrap_or(host_port.len()),
    };
    let (host, rest) = host_port.split_at(name_end);
    match rest.strip_prefix(':') {
        Some(port) => Ok((host, Some(port))),
        None if rest.is_empty() => Ok((host, None)),
        None => Err("has text between the IPv6 address and the port".to_owned()),
    }
}

fn parse_port(port: Option<&str>, secure: bool) -> Result<u16, String> {
    let wrong = || "has a wrong port; it is a number from 1 to 65535".to_owned();
    match port {
        // RFC 3986 section 3.2.3 allows the colon without a port.
        None | Some("") => Ok(default_port(secure)),
        Some(port) if !port.bytes().all(|b| b.is_ascii_digit()) => Err(wrong()),
        Some(port) => match port.parse() {
            Ok(0) | Err(_) => Err(wrong()),
            Ok(port) => Ok(port),
        },
    }
}

fn parse_host(host: &str) -> Result<Host, String> {
    if host.is_empty() {
        return Err("has no host; write it after ws:// or wss://".to_owned());
    }
    if let Some(literal) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return match literal.parse::<Ipv6Addr>() {
            Ok(ip) => Ok(Host::Ip(ip.into())),
            Err(_) => Err("has no valid IPv6 address in its brackets (zones are not supported)".to_owned()),
        };
    }
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Ip(ip.into()));
    }
    if !host.is_ascii() {
        return Err("has a host name that is not ASCII; give its punycode form (xn--...)".to_owned());
    }
    let is_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    let labels = host.strip_suffix('.').unwrap_or(host);
    if !host.bytes().all(is_name)
        || labels.len() > 253
        || labels.split('.').any(|label| label.is_empty() || label.len() > 63)
    {
        return Err("has a host that is neither a name nor an address".to_owned());
    }
    Ok(Host::Name(host.to_ascii_lowercase()))
}

fn parse_path(path: &str) -> Result<String, String> {
    if !path.is_ascii() {
        return Err("has a path or query that is not ASCII; percent-encode it".to_owned());
    }
    let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
    match PathAndQuery::try_from(path.as_str()) {
        Ok(_) => Ok(path),
        Err(_) => Err("has a character in its path or query that must be percent-encoded".to_owned()),
    }
}

fn parse_userinfo(userinfo: &str) -> Result<Option<(String, Secret)>, String> {
    if userinfo.is_empty() {
        return Ok(None);
    }
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let decode = |part| {
        percent_decode(part)
            .filter(|text| !text.chars().any(char::is_control))
            .ok_or_else(|| "has a user name or password that is not percent-encoded UTF-8 text".to_owned())
    };
    let (user, password) = (decode(user)?, decode(password)?);
    if user.contains(':') {
        return Err(
            "has a user name with a colon, which Basic authentication can't carry (RFC 7617)".to_owned()
        );
    }
    Ok(Some((user, Secret::new(password))))
}

pub(super) fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let high = char::from(bytes.next()?).to_digit(16)?;
                let low = char::from(bytes.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let table = [
            ("ws://h", false, "h", 80, "/", "ws://h/"),
            ("wss://h", true, "h", 443, "/", "wss://h/"),
            (
                "WSS://Feed.Example.COM:443/V1",
                true,
                "feed.example.com",
                443,
                "/V1",
                "wss://feed.example.com/V1",
            ),
            ("ws://h:443", false, "h:443", 443, "/", "ws://h:443/"),
            ("ws://h:/x", false, "h", 80, "/x", "ws://h/x"),
            ("ws://h?a=secret1&b", false, "h", 80, "/?a=secret1&b", "ws://h/?a=***&***"),
            (
                "ws://h/p?a=secret1&b=secret2",
                false,
                "h",
                80,
                "/p?a=secret1&b=secret2",
                "ws://h/p?a=***&b=***",
            ),
            ("ws://h/p?a=x?y=/@:z", false, "h", 80, "/p?a=x?y=/@:z", "ws://h/p?a=***"),
            ("wss://[::1]:9000/x", true, "[::1]:9000", 9000, "/x", "wss://[::1]:9000/x"),
            ("ws://[2001:DB8::1]", false, "[2001:db8::1]", 80, "/", "ws://[2001:db8::1]/"),
            ("ws://127.0.0.1:65535", false, "127.0.0.1:65535", 65535, "/", "ws://127.0.0.1:65535/"),
            ("ws://u:p%40ss@h:1/x", false, "h:1", 1, "/x", "ws://h:1/x"),
            ("ws://@h/x", false, "h", 80, "/x", "ws://h/x"),
            ("ws://a_b.c.", false, "a_b.c.", 80, "/", "ws://a_b.c./"),
        ];
        for (url, secure, host_header, port, path, redacted) in table {
            let endpoint = Endpoint::parse(url).unwrap_or_else(|e| panic!("{url}: {e}"));
            assert_eq!(endpoint.secure, secure, "{url}");
            assert_eq!(endpoint.host_header(), host_header, "{url}");
            assert_eq!(endpoint.port, port, "{url}");
            assert_eq!(endpoint.path_and_query, path, "{url}");
            assert_eq!(endpoint.redacted(), redacted, "{url}");
            assert_eq!(format!("{endpoint:?}"), format!("Endpoint({redacted:?})"), "{url}");
        }
        let endpoint = Endpoint::parse("ws://us%65r:p%40%3Ass@h").unwrap();
        assert_eq!(endpoint.userinfo, Some(("user".to_owned(), Secret::from("p@:ss"))));
        assert_eq!(Endpoint::parse("ws://10.0.0.1").unwrap().host, Host::Ip([10, 0, 0, 1].into()));
    }

    #[test]
    fn wrong_urls_are_refused_without_their_secrets() {
        let table = [
            ("", "wss://host"),
            ("hunter2", "use ws:// or wss://"),
            ("h.example/hunter2", "use ws:// or wss://"),
            ("http://h/?t=hunter2", "use ws://"),
            ("https://h/?t=hunter2", "use ws:// or wss://"),
            ("hunter2://h", "use ws:// or wss://"),
            ("ws://", "no host"),
            ("ws://:80", "no host"),
            ("ws://u:hunter2@", "no host"),
            ("ws:///x", "no host"),
            ("ws://h:0", "port"),
            ("ws://h:65536", "port"),
            ("ws://h:+80", "port"),
            ("ws://u@h:hunter2", "port"),
            ("ws://h/#hunter2", "fragment"),
            ("ws://h/hunter2 x", "white space"),
            ("ws://h/hunter2\r\nX: y", "white space"),
            ("ws://hünter2/", "xn--"),
            ("ws://h/é?hunter2", "percent-encode"),
            ("ws://h/<hunter2>", "percent-encode"),
            ("ws://::1/hunter2", "brackets"),
            ("ws://[::1", "]"),
            ("ws://[hunter2]", "IPv6"),
            ("ws://[::1]x", "between"),
            ("ws://h..x", "neither"),
            ("ws://h,hunter2", "neither"),
            ("ws://u%:hunter2@h", "percent-encoded"),
            ("ws://u%0a:hunter2@h", "percent-encoded"),
            ("ws://u%3Av:hunter2@h", "colon"),
        ];
        for (url, hint) in table {
            let error = Endpoint::parse(url).expect_err(url);
            assert!(error.contains(hint), "{url}: {error}");
            assert!(!error.contains("hunter2"), "{url}: {error}");
        }
    }

    #[test]
    fn foreign_urls_are_redacted() {
        let table = [
            ("https://u:hunter2@h/p?t=hunter2#hunter2", "https://h/p?t=***"),
            ("//u:hunter2@h", "//h"),
            ("/login?next=hunter2", "/login?next=***"),
            ("/a//b@c", "/a//b@c"),
            ("x?hunter2", "x?***"),
            ("a\u{7}b", "a\u{fffd}b"),
        ];
        for (url, redacted) in table {
            assert_eq!(redact_url(url), redacted);
        }
        assert_eq!(redact_url(&"x".repeat(10_000)).len(), MAX_REDACTED);
    }
}
