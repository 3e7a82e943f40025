//! A configuration from its values, with all that is wrong in them: what is wrong at one place hides no other.

use super::document::{after, without_place};
use super::{Problem, RunConfig, feed_name, fields, outside};
use livefeed::{Error, FeedConfig};
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::collections::BTreeMap;

/// So many problems of one table are said at most.
const MOST: usize = 20;
/// What other fields refer to: without it they would be found wrong as well.
const REFERRED: [&str; 2] = ["hours", "defaults"];

fn problem(path: impl Into<String>, text: impl Into<String>) -> Problem {
    Problem { line: None, path: path.into(), text: text.into() }
}

/// Reads and checks a configuration.
pub(super) fn config(mut value: Value) -> Result<RunConfig, Vec<Problem>> {
    let Some(table) = value.as_object_mut() else {
        return Err(vec![problem("", "is a list: expected an object {..}")]);
    };
    if table.get("$schema").is_some_and(Value::is_string) {
        table.remove("$schema"); // for editors
    }
    let is_feed = table.contains_key("url") && !table.contains_key("feeds");
    let unknown = fields::take_unknown(&mut value, is_feed);
    let mut problems: Vec<_> = unknown.iter().map(|one| problem(&one.path, &one.text)).collect();
    let config = if is_feed {
        let feeds = feed("", value, &mut problems).into_iter().collect();
        RunConfig { feeds, health: None, output: super::Output::default(), on_alert: None }
    } else {
        run(value, &mut problems)
    };
    if problems.is_empty() {
        return Ok(config);
    }
    // What is said of a value stands where its field was written. Those further in come last.
    for problem in &mut problems {
        for one in unknown.iter().rev() {
            if let Some(rest) = one.meant.as_ref().and_then(|meant| after(&problem.path, meant)) {
                problem.path = format!("{}{rest}", one.path);
            }
        }
    }
    Err(problems)
}

fn run(mut value: Value, problems: &mut Vec<Problem>) -> RunConfig {
    let mut take = |name: &str| value.as_object_mut().and_then(|table| table.remove(name));
    let listed = match take("feeds") {
        None => {
            // A field that may have been meant to be one of these is said already.
            if problems.is_empty() {
                problems.push(problem("", "there are no feeds: give `feeds`, or a `url` for a single feed"));
            }
            Vec::new()
        }
        Some(Value::Array(feeds)) if feeds.is_empty() => {
            problems.push(problem("feeds", "is empty: give at least one"));
            feeds
        }
        Some(Value::Array(feeds)) => feeds,
        Some(_) => {
            problems.push(problem("feeds", "does not fit: expected a list, in TOML [[feeds]]"));
            Vec::new()
        }
    };
    let mut feeds = Vec::new();
    let before = problems.len();
    for (index, value) in listed.into_iter().enumerate() {
        feeds.extend(feed(&format!("feeds[{index}]"), value, problems));
    }
    // Names are compared by their place, which they have only if all feeds are right.
    if problems.len() == before {
        check_names(&feeds, problems);
    }
    let health = section("health", take("health"), problems);
    let output = section("output", take("output"), problems).unwrap_or_default();
    let on_alert = section("on_alert", take("on_alert"), problems);
    let config = RunConfig { feeds, health, output, on_alert };
    config.check(problems);
    config
}

/// Reads a table beside the feeds, without those of its fields that do not fit.
fn section<T: DeserializeOwned>(name: &str, value: Option<Value>, problems: &mut Vec<Problem>) -> Option<T> {
    let mut value = value.filter(|value| !value.is_null())?;
    // serde would take the values of the fields in a list, too.
    if value.is_array() {
        problems.push(problem(name, "is a list: expected an object {..}"));
        return None;
    }
    let mut wrong: Vec<String> = Vec::new();
    loop {
        let error = match serde_path_to_error::deserialize(value.clone()) {
            Ok(section) => return Some(section),
            Err(error) => error,
        };
        let (path, text) = (error.path().to_string(), error.inner().to_string());
        // Missing only because it was wrong.
        if wrong.iter().any(|wrong| text == format!("missing field `{wrong}`")) {
            return None;
        }
        let at = if path == "." { name.to_owned() } else { format!("{name}.{path}") };
        problems.push(problem(at, shown(&text)));
        if wrong.len() >= MOST || !replace(&mut value, &path, None) {
            return None;
        }
        wrong.push(path);
    }
}

/// What serde says, less the value it found, in words that are not those of Rust.
fn shown(text: &str) -> String {
    let is_wrong = ["invalid type: ", "invalid value: "].iter().any(|front| text.starts_with(front));
    match (text.rsplit_once(", expected "), text.strip_prefix("missing field ")) {
        (Some((_, expected)), _) if is_wrong => {
            let expected = match expected {
                "u64" | "usize" => "a whole number, not negative",
                "a string" | "path string" => "a text",
                "a sequence" => "a list [..]",
                _ if expected.starts_with("struct ") => "an object {..}",
                other => other,
            };
            format!("does not fit: expected {expected}")
        }
        (_, Some(field)) => format!("lacks {field}"),
        _ => text.to_owned(),
    }
}

/// Reads and checks one feed, again and again without what was found wrong. `at` is its path in the file, empty if it is
/// the whole of it.
fn feed(at: &str, mut value: Value, problems: &mut Vec<Problem>) -> Option<FeedConfig> {
    let whole = |path: &str| match (at, path) {
        (at, "(top level)" | "") => at.to_owned(),
        ("", path) => path.to_owned(),
        (at, path) => format!("{at}.{path}"),
    };
    let missing = outside::fetch(&mut value);
    let stood_in: Vec<String> = missing.iter().map(|(path, _)| path.clone()).collect();
    let mut wrong: Vec<String> = Vec::new();
    problems.extend(missing.into_iter().map(|(path, text)| problem(whole(&path), text)));
    for _ in 0..MOST {
        let config = FeedConfig::from_json(&value.to_string()).and_then(|config| {
            config.validate()?;
            Ok(config)
        });
        let (path, text) = match config {
            Ok(config) => return Some(config),
            Err(Error::Config { path, problem }) => (path, problem),
            Err(other) => (String::new(), other.to_string()),
        };
        // Found wrong only because of what was taken out.
        let path = if path == "(top level)" { "" } else { path.as_str() };
        let is_above = wrong.iter().any(|wrong| path.is_empty() || after(wrong, path).is_some());
        if is_above || stood_in.iter().any(|place| place == path) {
            return None;
        }
        problems.push(problem(whole(path), lacks(without_place(&text))));
        wrong.push(path.to_owned());
        let is_referred = REFERRED.iter().any(|field| after(path, field).is_some());
        let is_id = path.starts_with("subscriptions[") && path.ends_with("].id");
        let instead = match path {
            "url" => Some("ws://not.there/".into()),
            _ if is_id => Some(format!("wrong {}", wrong.len()).into()),
            _ => None,
        };
        if is_referred || !replace(&mut value, path, instead) {
            return None;
        }
    }
    None
}

fn lacks(text: &str) -> String {
    text.strip_prefix("missing field ").map_or_else(|| text.to_owned(), |field| format!("lacks {field}"))
}

/// Takes out the field that a path leads to, or puts something else in its place.
fn replace(value: &mut Value, path: &str, instead: Option<Value>) -> bool {
    let path = path.strip_prefix('.').unwrap_or(path);
    match value {
        Value::Array(items) => {
            let inside = path.strip_prefix('[').and_then(|path| path.split_once(']'));
            let item =
                inside.and_then(|(index, rest)| Some((items.get_mut(index.parse::<usize>().ok()?)?, rest)));
            item.is_some_and(|(item, rest)| replace(item, rest, instead))
        }
        Value::Object(table) => {
            let fitting = table.keys().filter_map(|key| Some((key.clone(), after(path, key)?)));
            // A key may hold any character, so the longest that fits is meant.
            match fitting.max_by_key(|(key, _)| key.len()) {
                Some((key, "")) => match instead {
                    Some(instead) => table.insert(key, instead).is_some(),
                    None => table.remove(&key).is_some(),
                },
                Some((key, rest)) => table.get_mut(&key).is_some_and(|value| replace(value, rest, instead)),
                None => false,
            }
        }
        _ => false,
    }
}

fn check_names(feeds: &[FeedConfig], problems: &mut Vec<Problem>) {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for (index, feed) in feeds.iter().enumerate() {
        let name = feed_name(feed);
        if let Some(first) = known.get(&name) {
            let text = match feed.name {
                Some(_) => format!("is the name of feeds[{first}] too: give each its own"),
                None => format!(
                    "is left out, and {name:?} in its place names feeds[{first}] too: give each its own"
                ),
            };
            problems.push(problem(format!("feeds[{index}].name"), text));
        }
        known.entry(name).or_insert(index);
    }
}
