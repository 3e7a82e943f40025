//! `GET /health`: whether data is fresh, as one status and in full.

use super::http::Response;
use crate::duration;
use crate::feed::Source;
use crate::health::{Health, State};
use serde::{Serialize, Serializer};
use std::sync::Arc;
use std::time::Duration;

/// What was asked for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    /// The feeds; none: all.
    feeds: Vec<String>,
    max_age: Option<Duration>,
}

/// The answer's body.
#[derive(Serialize)]
struct Report<'a> {
    status: &'static str,
    healthy: bool,
    #[serde(rename = "last_signal_age_seconds", serialize_with = "seconds")]
    last_signal_age: Option<Duration>,
    feeds: Vec<&'a Health>,
}

#[allow(clippy::ref_option, reason = "the signature that serde asks for")]
fn seconds<S: Serializer>(age: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
    age.map(|age| age.as_secs_f64()).serialize(serializer)
}

/// How the feeds are.
pub(super) fn answer(sources: &[Arc<Source>], query: Option<&str>) -> Response {
    let query = match parse(query.unwrap_or_default()) {
        Ok(query) => query,
        Err(problem) => return Response::error(400, problem),
    };
    if let Some(unknown) =
        query.feeds.iter().find(|name| !sources.iter().any(|source| source.name() == *name))
    {
        return Response::error(404, format!("there is no feed {unknown}"));
    }
    let wanted = |name: &str| query.feeds.is_empty() || query.feeds.iter().any(|feed| feed == name);
    let wanted = sources.iter().filter(|source| wanted(source.name()));
    let snapshots: Vec<_> = wanted.map(|source| source.snapshot()).collect();
    let feeds: Vec<_> = snapshots.iter().map(|snapshot| &snapshot.health).collect();
    let report = report(feeds, query.max_age);
    Response::json(if report.healthy { 200 } else { 503 }, &report)
}

fn report(feeds: Vec<&Health>, max_age: Option<Duration>) -> Report<'_> {
    // `None`, for one that has never had any, is the oldest.
    let ages = feeds.iter().map(|health| health.last_signal_age);
    let last_signal_age = ages.max_by_key(|age| age.unwrap_or(Duration::MAX)).flatten();
    let too_old = max_age.is_some_and(|max| last_signal_age.is_none_or(|age| age > max));
    let held_up = feeds.iter().any(|health| health.is_held_up());
    let worst = feeds.iter().map(|health| health.state).max_by_key(|state| badness(*state));
    let (status, healthy) = match worst {
        None => ("no_feeds", false),
        Some(State::Fresh | State::Quiet | State::Live) if held_up => ("slow_consumer", false),
        Some(State::Fresh | State::Quiet) if too_old => ("too_old", false),
        Some(State::Fresh) => ("fresh", true),
        Some(State::Quiet) => ("quiet", true),
        Some(State::Live) => ("live", false),
        Some(State::Connecting) => ("connecting", false),
        Some(State::Waiting) => ("waiting", false),
        Some(State::Stale) => ("stale", false),
        Some(State::Closing) => ("closing", false),
        Some(State::Closed) => ("closed", false),
    };
    Report { status, healthy, last_signal_age, feeds }
}

/// Of several feeds the status is the worst.
fn badness(state: State) -> u8 {
    match state {
        State::Fresh => 0,
        State::Quiet => 1,
        State::Live => 2,
        State::Connecting => 3,
        State::Waiting => 4,
        State::Stale => 5,
        State::Closing => 6,
        State::Closed => 7,
    }
}

/// Reads a query. What is not known is an error: a limit with a slip in its name must not pass for one that is kept.
fn parse(query: &str) -> Result<Query, String> {
    let mut read = Query::default();
    for part in query.split('&').filter(|part| !part.is_empty()) {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        let (key, value) = (decode(key)?, decode(value)?);
        match &*key {
            "feed" => read.feeds.push(value),
            "max_age" if read.max_age.is_some() => return Err("max_age is there twice".to_owned()),
            "max_age" => {
                read.max_age = Some(age(&value).ok_or_else(|| {
                    format!("max_age={value} is no time: it is in seconds (5, 0.5), or with a unit (500ms, 5s, 2m)")
                })?);
            }
            _ => return Err(format!("there is no parameter {key}: there are feed and max_age")),
        }
    }
    Ok(read)
}

/// A time that is not zero: a number of seconds, or a duration with its unit.
fn age(text: &str) -> Option<Duration> {
    let number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let age =
        if number { Duration::try_from_secs_f64(text.parse().ok()?).ok()? } else { duration::parse(text)? };
    Some(age).filter(|age| !age.is_zero())
}

/// Undoes the encoding of a form: `%41` is a byte, `+` a blank.
fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
                let code = digit().zip(digit()).and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
                code.ok_or("the query has a % without two hexadecimal digits")?
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes).map_err(|_| "the query is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_query_is_read() {
        let read = |feeds: &[&str], max_age: Option<u64>| Query {
            feeds: feeds.iter().map(|feed| (*feed).to_owned()).collect(),
            max_age: max_age.map(Duration::from_millis),
        };
        for (query, expected) in [
            ("", read(&[], None)),
            ("feed=a", read(&["a"], None)),
            ("feed=a&feed=b&feed=a", read(&["a", "b", "a"], None)),
            ("feed=a%20b+c%2Bd%26", read(&["a b c+d&"], None)),
            ("f%65ed=%C3%A9", read(&["\u{e9}"], None)),
            ("feed=%00", read(&["\0"], None)),
            ("feed=a=b&", read(&["a=b"], None)),
            ("feed", read(&[""], None)),
            ("&&max_age=5&", read(&[], Some(5000))),
            ("max_age=5s&feed=a", read(&["a"], Some(5000))),
            ("max_age=0.5", read(&[], Some(500))),
            ("max_age=500ms", read(&[], Some(500))),
            ("max_age=1m+30s", read(&[], Some(90_000))),
            ("max_age=.5", read(&[], Some(500))),
        ] {
            assert_eq!(parse(query), Ok(expected), "{query}");
        }
        for query in [
            "max_age=5&max_age=5",
            "max_age=",
            "max_age",
            "max_age=0",
            "max_age=0s",
            "max_age=-1",
            "max_age=5x",
            "max_age=inf",
            "max_age=NaN",
            "max_age=1e3",
            "max_age=.",
            "max_age=1.2.3",
            "max_age=99999999999999999999999",
            "max_age=99999999999999y",
            "maxage=5",
            "Feed=a",
            "feed=%",
            "feed=%4",
            "feed=%4g",
            "feed=%FF",
            "%",
            "x",
        ] {
            assert!(parse(query).is_err(), "{query}: {:?}", parse(query));
        }
    }

    proptest! {
        #[test]
        fn any_query_is_answered(query in "\\PC{0,60}") {
            let _ = parse(&query);
        }

        #[test]
        fn a_name_comes_through_its_encoding(name in "\\PC{0,20}") {
            let encoded: String = name.bytes().map(|byte| format!("%{byte:02x}")).collect();
            prop_assert_eq!(decode(&encoded), Ok(name));
        }
    }
}
