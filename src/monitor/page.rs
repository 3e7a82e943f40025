//! `GET /`: a page for people, and `GET /data`, what it shows.
//!
//! The page has no parts from elsewhere and no framework. What livefeed says is only ever set as text, and the browser is
//! told to run nothing else than the two scripts.

use super::http::Response;
use crate::event;
use crate::feed::Source;
use crate::health::Health;
use crate::note::{Note, Weight};
use serde::Serialize;
use std::sync::Arc;
use std::time::Duration;

const HTML: &str = include_str!("page/page.html");
const CSS: &str = include_str!("page/page.css");
const PARTS: &str = include_str!("page/parts.js");
const SCRIPT: &str = include_str!("page/page.js");

/// What the page may do: run its own scripts, which may not make text into markup, and ask this server.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      require-trusted-types-for 'script'; trusted-types 'none'; \
                      frame-ancestors 'none'; base-uri 'none'; form-action 'none'";

/// A part of the page, if that is one.
pub(super) fn part(path: &str) -> Option<Response> {
    let (content_type, text) = match path {
        "/" => ("text/html; charset=utf-8", HTML),
        "/page.css" => ("text/css; charset=utf-8", CSS),
        "/parts.js" => ("text/javascript; charset=utf-8", PARTS),
        "/page.js" => ("text/javascript; charset=utf-8", SCRIPT),
        _ => return None,
    };
    Some(Response::new(200, content_type, text).policy(POLICY))
}

/// What it shows, as JSON.
pub(super) fn data(sources: &[Arc<Source>]) -> Response {
    let snapshots: Vec<_> = sources.iter().map(|source| source.snapshot()).collect();
    let shown = snapshots.iter().map(|snapshot| {
        let beats = snapshot.beats();
        Shown {
            health: &snapshot.health,
            held_up: snapshot.health.is_held_up(),
            messages: beats.iter().map(|beat| beat.messages).collect(),
            ages: beats.iter().map(|beat| beat.age.map(seconds)).collect(),
            recent: snapshot.recent.iter().map(Told::new).collect(),
        }
    });
    Response::json(200, &Data { version: env!("CARGO_PKG_VERSION"), feeds: shown.collect() })
}

#[derive(Serialize)]
struct Data<'a> {
    version: &'static str,
    /// In the order in which they were added.
    feeds: Vec<Shown<'a>>,
}

/// A feed.
#[derive(Serialize)]
struct Shown<'a> {
    health: &'a Health,
    /// Whether the application keeps livefeed from reading for so long that the state may be wrong.
    held_up: bool,
    /// The data messages of each of the last seconds, the oldest first.
    messages: Vec<u32>,
    /// How old the newest data was at the end of each, in seconds.
    ages: Vec<Option<f64>>,
    /// The newest first.
    recent: Vec<Told<'a>>,
}

/// A lifecycle event.
#[derive(Serialize)]
struct Told<'a> {
    /// RFC 3339.
    time: String,
    name: &'static str,
    weight: Weight,
    text: &'a str,
    times: u64,
}

impl<'a> Told<'a> {
    fn new(note: &'a Note) -> Self {
        let time = event::rfc3339(note.time);
        Self { time, name: note.name, weight: note.weight, text: &note.text, times: note.times }
    }
}

/// To a millisecond, as it is kept.
fn seconds(age: Duration) -> f64 {
    (age.as_secs_f64() * 1e3).round() / 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_no_parts_from_elsewhere_and_never_makes_markup_of_text() {
        let markup = ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("];
        for text in [PARTS, SCRIPT] {
            for sink in markup {
                assert!(!text.contains(sink), "{sink}");
            }
        }
        for text in [HTML, CSS, PARTS, SCRIPT] {
            let rest = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!rest.contains("http:") && !rest.contains("https:"), "it asks somebody else");
            assert!(!rest.contains("url(") && !rest.contains("@import"), "it asks for more");
        }
        // What the policy forbids would not work.
        for inline in ["style=", " onclick", "<style", "<script>"] {
            assert!(!HTML.contains(inline), "{inline}");
        }
    }

    #[test]
    fn each_part_that_the_page_asks_for_is_there() {
        assert!(part("/").is_some() && part("/data").is_none() && part("/nothing").is_none());
        let asked = HTML.split('"').filter(|text| text.ends_with(".css") || text.ends_with(".js"));
        let asked: Vec<_> = asked.collect();
        assert_eq!(asked, ["page.css", "parts.js", "page.js"]);
        assert!(asked.iter().all(|name| part(&format!("/{name}")).is_some()));
    }
}
