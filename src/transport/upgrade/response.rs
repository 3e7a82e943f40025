//! What the server answered to the upgrade request.

use super::BODY_BYTES;
use crate::clock::Stamp;
use crate::error::EndReason;
use crate::transport::endpoint::redact_url;
use std::time::{Duration, SystemTime};

/// The most header fields in an answer.
const MAX_FIELDS: usize = 100;
/// The longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(30 * 86_400);

/// The head of an HTTP response.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) content_length: Option<usize>,
    fields: Vec<(String, String)>,
}

pub(super) fn invalid(detail: impl Into<String>) -> EndReason {
    EndReason::UpgradeInvalid { detail: detail.into() }
}

impl Head {
    /// Parses a complete head.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, EndReason> {
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut response = httparse::Response::new(&mut fields);
        match response.parse(bytes) {
            Ok(httparse::Status::Complete(_)) => {}
            Ok(httparse::Status::Partial) => return Err(invalid("the head of the answer is incomplete")),
            Err(error) => return Err(invalid(format!("the answer is not HTTP/1.1: {error}"))),
        }
        let (Some(status), Some(version)) = (response.code, response.version) else {
            return Err(invalid("the answer has no status"));
        };
        if status == 101 && version < 1 {
            return Err(invalid("the answer is HTTP/1.0"));
        }
        let text = |value: &[u8]| String::from_utf8_lossy(value).trim().to_owned();
        let fields =
            response.headers.iter().map(|field| (field.name.to_ascii_lowercase(), text(field.value)));
        let mut head = Self { status, content_length: None, fields: fields.collect() };
        head.content_length = head.first("content-length").and_then(|value| value.parse().ok());
        Ok(head)
    }

    /// Checks a 101 (RFC 6455 section 4.1), and says which subprotocol was chosen.
    pub(super) fn check(&self, accept: &str, offered: &[String]) -> Result<Option<String>, EndReason> {
        if !self.all("upgrade").any(|value| value.eq_ignore_ascii_case("websocket")) {
            return Err(invalid("the answer has no Upgrade: websocket"));
        }
        let mut options = self.all("connection").flat_map(|value| value.split(','));
        if !options.any(|option| option.trim().eq_ignore_ascii_case("upgrade")) {
            return Err(invalid("the answer has no Connection: Upgrade"));
        }
        let mut accepts = self.all("sec-websocket-accept");
        match (accepts.next(), accepts.next()) {
            (Some(given), None) if given == accept => {}
            (None, _) => return Err(invalid("the answer has no Sec-WebSocket-Accept")),
            _ => return Err(invalid("Sec-WebSocket-Accept does not fit the key")),
        }
        if self.all("sec-websocket-extensions").any(|value| !value.is_empty()) {
            return Err(invalid("the server uses an extension that was not offered"));
        }
        let mut chosen = self.all("sec-websocket-protocol");
        match (chosen.next(), chosen.next()) {
            (None, _) => Ok(None),
            (Some(name), None) if offered.iter().any(|offer| offer == name) => Ok(Some(name.to_owned())),
            (Some(_), None) => Err(invalid("the server chose a subprotocol that was not offered")),
            (Some(_), Some(_)) => Err(invalid("the server chose more than one subprotocol")),
        }
    }

    /// The reason that any other status makes. `secrets`, longest first, are blotted out of what it quotes.
    pub(super) fn into_refusal(self, body: &[u8], secrets: &[String]) -> EndReason {
        let is_chunked = self.all("transfer-encoding").any(|value| value.eq_ignore_ascii_case("chunked"));
        let body = if is_chunked { unchunk(body) } else { body.to_vec() };
        let is_redirect = (300..400).contains(&self.status);
        let location = self.first("location").filter(|_| is_redirect);
        EndReason::UpgradeRefused {
            status: self.status,
            retry_after: self.retry_after(Stamp::now().wall),
            location: location.map(|to| redact_url(&blot(to, secrets, usize::MAX))),
            body: blot(&String::from_utf8_lossy(&body), secrets, BODY_BYTES),
        }
    }

    /// Seconds or a date (RFC 9110 section 10.2.3). A date counts from the server's own clock if it says so.
    fn retry_after(&self, now: SystemTime) -> Option<Duration> {
        let value = self.first("retry-after")?;
        let asked = if value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty() {
            value.parse().map_or(MAX_RETRY_AFTER, Duration::from_secs)
        } else {
            let until = httpdate::parse_http_date(value).ok()?;
            let since =
                self.first("date").and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or(now);
            until.duration_since(since).unwrap_or_default()
        };
        Some(asked.min(MAX_RETRY_AFTER))
    }

    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    fn first(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }
}

/// The content of as many chunks as are there (RFC 9112 section 7.1).
fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut content = Vec::new();
    while let Ok(httparse::Status::Complete((start, size))) = httparse::parse_chunk_size(body) {
        let rest = body.get(start..).unwrap_or_default();
        let size = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
        let (chunk, rest) = rest.split_at(size);
        content.extend_from_slice(chunk);
        if size == 0 {
            break;
        }
        body = rest.strip_prefix(b"\r\n").unwrap_or(rest);
    }
    content
}

/// The text up to `limit` bytes, with every secret that begins in it blotted out.
fn blot(text: &str, secrets: &[String], limit: usize) -> String {
    let mut blotted = String::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty() && at < limit) {
        let secret = secrets.iter().find(|secret| rest.starts_with(secret.as_str()));
        match (secret, rest.chars().next()) {
            (Some(secret), _) => {
                blotted.push_str("***");
                at += secret.len();
            }
            (None, Some(next)) if at + next.len_utf8() <= limit => {
                blotted.push(next);
                at += next.len_utf8();
            }
            _ => break,
        }
    }
    blotted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(fields: &str) -> Head {
        Head::parse(format!("HTTP/1.1 503 No\r\n{fields}\r\n").as_bytes()).unwrap()
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let table = [
            ("", None),
            ("Retry-After: 120\r\n", Some(120)),
            ("Retry-After: 0\r\n", Some(0)),
            ("Retry-After: soon\r\n", None),
            ("Retry-After: -1\r\n", None),
            ("Retry-After: \r\n", None),
            ("Retry-After: 99999999999999999999999\r\n", Some(MAX_RETRY_AFTER.as_secs())),
            ("Retry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n", Some(60)),
            ("Retry-After: Sun, 06 Nov 1994 08:40:37 GMT\r\n", Some(0)),
            (
                "Date: Sun, 06 Nov 1994 08:50:00 GMT\r\nRetry-After: Sun, 06 Nov 1994 08:50:37 GMT\r\n",
                Some(37),
            ),
        ];
        for (fields, expected) in table {
            assert_eq!(head(fields).retry_after(now), expected.map(Duration::from_secs), "{fields}");
        }
    }

    #[test]
    fn chunks_are_joined() {
        assert_eq!(unchunk(b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"), b"abcde");
        assert_eq!(unchunk(b"ffffffffffff\r\nabc"), b"abc");
        assert_eq!(unchunk(b"nonsense"), b"");
    }

    #[test]
    fn secrets_are_blotted_out_across_the_cut() {
        let secrets = ["Bearer hunter2".to_owned(), "hunter2".to_owned()];
        assert_eq!(blot("no Bearer hunter2, hunter2!", &secrets, 100), "no ***, ***!");
        assert_eq!(blot("token hunter2", &secrets, 8), "token ***");
        assert_eq!(blot("aé", &[], 2), "a");
    }
}
