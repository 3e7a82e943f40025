//! The URL of a feed: kept as given, shown without its secrets.

use serde::{Deserialize, Serialize, Serializer};
use std::fmt;

/// A `ws://` or `wss://` URL as given by the application.
///
/// `Debug`, `Display` and the serialized form leave out the userinfo and the query values, since those hold
/// tokens. Only [`expose`](Self::expose) shows all of it. It is checked by [`FeedConfig::validate`](crate::FeedConfig::validate).
///
/// ```
/// let url = livefeed::FeedUrl::from("wss://me:pw@feed.example/ws?token=hunter2");
/// assert_eq!(url.to_string(), "wss://feed.example/ws?token=***");
/// ```
#[derive(Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(transparent)]
pub struct FeedUrl(String);

impl FeedUrl {
    /// Shows the URL with its secrets. The name is long to be found in a review.
    pub fn expose(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether it asks for TLS.
    pub(crate) fn is_secure(&self) -> bool {
        self.0.get(..6).is_some_and(|scheme| scheme.eq_ignore_ascii_case("wss://"))
    }

    /// The host with its port, as given; empty if there is none.
    pub(crate) fn host(&self) -> &str {
        let parts = Parts::of(&self.0);
        parts.authority.rsplit_once('@').map_or(parts.authority, |(_, host)| host)
    }
}

impl From<&str> for FeedUrl {
    fn from(url: &str) -> Self {
        Self(url.to_owned())
    }
}

impl From<String> for FeedUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Display for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_url(&self.0))
    }
}

impl fmt::Debug for FeedUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", redact_url(&self.0))
    }
}

impl Serialize for FeedUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&redact_url(&self.0))
    }
}

/// A URL taken apart without judging it. RFC 3986 section 3; the delimiters are not in the parts.
struct Parts<'a> {
    scheme: Option<&'a str>,
    authority: &'a str,
    path: &'a str,
    query: Option<&'a str>,
    fragment: Option<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(url: &'a str) -> Self {
        let (scheme, rest) = match url.split_once("://") {
            // What is in front may be the start of a query, or of a password.
            Some((scheme, rest)) if scheme.bytes().all(is_scheme_byte) => (Some(scheme), rest),
            _ => (None, url),
        };
        let (rest, fragment) = split_off(rest, '#');
        let (rest, query) = split_off(rest, '?');
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        Self { scheme, authority, path, query, fragment }
    }
}

fn split_off(text: &str, delimiter: char) -> (&str, Option<&str>) {
    text.split_once(delimiter).map_or((text, None), |(front, back)| (front, Some(back)))
}

fn is_scheme_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

/// The URL without userinfo, query values and fragment, whatever is wrong with it.
///
/// Where a `/`, `?` or `#` that was not percent-encoded in a password cuts it in two, all of it is left out.
/// A path is shown: `/ws/btcusdt@trade` is one.
pub(crate) fn redact_url(url: &str) -> String {
    let parts = Parts::of(url);
    // What stands for the scheme is shown only where it is one: it may be a slip of the pen, with a secret.
    let known = |scheme: &str| ["ws", "wss", "http", "https"].iter().any(|k| scheme.eq_ignore_ascii_case(k));
    let scheme = match parts.scheme {
        Some(scheme) if known(scheme) => format!("{scheme}://"),
        Some(_) => "***://".to_owned(),
        None => String::new(),
    };
    let host = parts.authority.rsplit_once('@').map_or(parts.authority, |(_, host)| host);
    let rest_has_at =
        [Some(parts.path), parts.query, parts.fragment].into_iter().flatten().any(|p| p.contains('@'));
    if !is_host(host) && (rest_has_at || parts.scheme.is_none()) {
        return format!("{scheme}***");
    }
    let mut out = scheme + host + parts.path;
    if let Some(query) = parts.query {
        let pairs: Vec<String> = query
            .split('&')
            .map(|pair| match pair.split_once('=') {
                Some((key, _)) => format!("{key}=***"),
                None if pair.is_empty() => String::new(),
                None => "***".to_owned(),
            })
            .collect();
        out = out + "?" + &pairs.join("&");
    }
    if parts.fragment.is_some() {
        out += "#***";
    }
    out
}

/// Whether a text is a host with an optional port, and no more.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (text, None),
    };
    let is_name = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_'))
    };
    let is_ip6 = |host: &str| {
        host.strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok())
    };
    let is_port =
        |port: &str| port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|n| n > 0);
    (is_name(host) || is_ip6(host)) && port.is_none_or(is_port)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn redacts() {
        for (url, shown) in [
            ("wss://h/ws", "wss://h/ws"),
            ("wss://u:p@h:1/ws?a=b&c=d", "wss://h:1/ws?a=***&c=***"),
            ("wss://u:p@h?tok", "wss://h?***"),
            ("wss://h/ws/btcusdt@trade", "wss://h/ws/btcusdt@trade"),
            ("wss://h/ws?stream=btcusdt@trade", "wss://h/ws?stream=***"),
            ("wss://h/#tok", "wss://h/#***"),
            ("WSS://u@p@h/", "WSS://h/"),
            ("wss://u:p/q@h/", "wss://***"),
            ("wss://u:p?q@h/", "wss://***"),
            ("wss://u:p#q@h/", "wss://***"),
            ("u:p@h/ws?a=b", "h/ws?a=***"),
            ("just a token!", "***"),
            ("wss://[::1]:80/x?y=", "wss://[::1]:80/x?y=***"),
            ("", ""),
        ] {
            let shown = if url.is_empty() { "***" } else { shown };
            assert_eq!(redact_url(url), shown, "{url}");
        }
    }

    #[test]
    fn knows_host_and_scheme() {
        let url = FeedUrl::from("Wss://u:p@feed.example:1/ws");
        assert!(url.is_secure() && !FeedUrl::from("ws://h").is_secure());
        assert_eq!(url.host(), "feed.example:1");
    }

    proptest! {
        #[test]
        fn never_shows_userinfo_or_values(
            scheme in "(wss://|ws://|://|)",
            user in "[a-z:/?#]{0,6}",
            tail in "[a-z/?#&=@:]{0,8}",
        ) {
            let url = format!("{scheme}{user}CANARY{tail}@host?k=CANARY");
            // A slash behind what could be a host makes the rest of it a path, by the standard.
            prop_assume!(!is_host(Parts::of(&url).authority));
            prop_assume!(Parts::of(&url).authority.contains('@') || Parts::of(&url).authority.is_empty());
            let shown = redact_url(&url);
            prop_assert!(!shown.contains("CANARY"), "{} shows {}", url, shown);
        }

        #[test]
        fn well_formed_urls_show_no_secret(user in "CANARY[a-z:]{0,5}", path in "[a-z/@]{0,9}", key in "[a-z]{0,3}") {
            let shown = redact_url(&format!("wss://{user}@host:1/{path}?{key}=CANARY&CANARY#CANARY"));
            prop_assert!(!shown.contains("CANARY"), "{}", shown);
        }

        #[test]
        fn never_panics(url in "\\PC{0,20}", punctuation in "[:/?#@\\[\\]w%]{0,20}") {
            for url in [&url, &punctuation] {
                let _ = (redact_url(url), FeedUrl::from(url.as_str()).host().len());
            }
        }
    }
}
