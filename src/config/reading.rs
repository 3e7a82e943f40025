//! What is said about data that can't be read: where it is, what would be right, and no value.

use super::terms::Terms;
use serde_path_to_error::{Path, Segment};

/// The path of the configuration as a whole.
pub(super) const ROOT: &str = "(top level)";

/// A path as in validation: `subscriptions[2].data`, `headers["X-Foo"]`.
pub(super) fn path(path: &Path) -> String {
    let mut out = String::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => out += &format!("[{index}]"),
            Segment::Map { key } | Segment::Enum { variant: key } => {
                if out == "headers" {
                    out += &format!("[{key:?}]");
                } else {
                    out = if out.is_empty() { key.clone() } else { out + "." + key };
                }
            }
            Segment::Unknown => {}
        }
    }
    if out.is_empty() { ROOT.to_owned() } else { out }
}

/// What serde says, less the value it found: that might be a secret in the wrong place.
pub(super) fn problem(error: &serde_json::Error) -> String {
    let text = error.to_string();
    for front in ["invalid type: ", "invalid value: "] {
        if let Some(found) = text.strip_prefix(front)
            && let Some((found, expected)) = found.rsplit_once(", expected ")
        {
            let kind = match found.split([' ', '`']).next().unwrap_or_default() {
                "map" => "object",
                "sequence" => "list",
                kind => kind,
            };
            let expected = match expected.split_once(' ').unwrap_or((expected, "")) {
                ("f64", place) => format!("a number {place}"),
                ("u16" | "u32" | "usize", place) => format!("a whole number, not negative {place}"),
                ("a", rest) if rest.starts_with("sequence") => {
                    format!("a list [..]{}", rest.trim_start_matches("sequence"))
                }
                ("a", rest) if rest == "map" || rest.starts_with("map ") => {
                    format!("an object {{..}}{}", rest.trim_start_matches("map"))
                }
                _ => expected.to_owned(),
            };
            return format!("is {} {kind} that does not fit: expected {expected}", article(kind));
        }
    }
    if text.starts_with("unknown variant ")
        && let Some((_, expected)) = text.rsplit_once(", expected ")
    {
        return format!("is a name that does not fit: expected {expected}");
    }
    if let Some(rest) = text.strip_prefix("unknown field `")
        && let Some((name, expected)) = rest.split_once('`')
    {
        let known = || expected.split('`').skip(1).step_by(2);
        if known().any(|known| known == "subscriptions") && is_term(name) {
            return "is a field of each of the `subscriptions`, or of `defaults`: put it there".to_owned();
        }
        if let Some(meant) = nearest(name, known()) {
            return format!("is no field: did you mean `{meant}`?");
        }
    }
    text
}

/// Whether subscriptions have a field of this name: then it may be null, if nothing else.
fn is_term(name: &str) -> bool {
    let map = serde_json::Map::from_iter([(name.to_owned(), serde_json::Value::Null)]);
    serde_json::from_value::<Terms>(map.into()).is_ok()
}

/// The one among these that this name was probably meant to be, whatever the case of its letters.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|known| (distance(&name.to_ascii_lowercase(), &known.to_ascii_lowercase()), known))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, known)| *distance <= 2.min(known.len() / 2))
        .map(|(_, known)| known)
}

/// How many letters must be changed, left out, put in or swapped with their neighbour to make one of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(64).collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = changed.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

fn article(word: &str) -> &'static str {
    if word.starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" }
}
