//! A configuration file as a tree that knows on which line everything stands, from TOML and JSON alike.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use std::fmt;
use toml::de::{DeTable, DeValue};

/// Deeper nesting is refused.
const DEEPEST: usize = 100;

/// A value, and the line on which it stands, counted from 1.
#[derive(Debug)]
pub(super) struct Node {
    line: usize,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Leaf(Value),
    List(Vec<Node>),
    /// With the lines of the keys.
    Table(Vec<(String, usize, Node)>),
}

/// What keeps a text from being read: the line, if it is known, and what is wrong.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unreadable {
    pub(super) line: Option<usize>,
    pub(super) problem: String,
}

impl Node {
    /// Reads JSON. A name that is there twice is refused.
    pub(super) fn from_json(text: &str) -> Result<Self, Unreadable> {
        let whole: &RawValue = serde_json::from_str(text).map_err(|error| Unreadable {
            line: Some(error.line()),
            problem: format!("no JSON: {}", without_place(&error.to_string())),
        })?;
        let lines = Lines::of(text);
        json(whole, &Json { text, lines: &lines }, DEEPEST)
    }

    /// Reads TOML.
    pub(super) fn from_toml(text: &str) -> Result<Self, Unreadable> {
        let lines = Lines::of(text);
        let table = DeTable::parse(text).map_err(|error| Unreadable {
            line: error.span().map(|span| lines.line(span.start)),
            problem: format!("no TOML: {}", error.message()),
        })?;
        let line = lines.line(table.span().start);
        toml_table(table.get_ref(), line, &lines, DEEPEST)
    }

    /// The value without the lines.
    pub(super) fn value(&self) -> Value {
        match &self.content {
            Content::Leaf(value) => value.clone(),
            Content::List(items) => items.iter().map(Self::value).collect(),
            Content::Table(entries) => {
                let entries = entries.iter().map(|(key, _, node)| (key.clone(), node.value()));
                Value::Object(entries.collect::<Map<_, _>>())
            }
        }
    }

    /// The line of what a path such as `feeds[1].headers["X-Key"]` names; of a path that leads nowhere, the line of what
    /// is nearest.
    pub(super) fn line_of(&self, path: &str) -> usize {
        let path = path.strip_prefix('.').unwrap_or(path);
        match &self.content {
            Content::List(items) => {
                let inside = path.strip_prefix('[').and_then(|path| path.split_once(']'));
                let item =
                    inside.and_then(|(index, rest)| Some((items.get(index.parse::<usize>().ok()?)?, rest)));
                item.map_or(self.line, |(item, rest)| item.line_of(rest))
            }
            Content::Table(entries) => {
                // A key may hold any character, so the longest that fits is meant.
                let fitting =
                    entries.iter().filter_map(|(key, line, node)| Some((key, line, node, after(path, key)?)));
                let found = fitting.max_by_key(|(key, ..)| key.len());
                found.map_or(
                    self.line,
                    |(_, line, node, rest)| {
                        if rest.is_empty() { *line } else { node.line_of(rest).max(*line) }
                    },
                )
            }
            Content::Leaf(_) => self.line,
        }
    }
}

/// What follows a key at the start of a path.
pub(super) fn after<'a>(path: &'a str, key: &str) -> Option<&'a str> {
    let quoted = format!("[{key:?}]");
    let rest = path.strip_prefix(quoted.as_str()).or_else(|| path.strip_prefix(key))?;
    (rest.is_empty() || rest.starts_with(['.', '['])).then_some(rest)
}

/// What an error of serde_json says, without the place at its end.
pub(super) fn without_place(text: &str) -> &str {
    text.rfind(" at line ").and_then(|at| text.get(..at)).unwrap_or(text)
}

/// Where lines begin.
struct Lines(Vec<usize>);

impl Lines {
    fn of(text: &str) -> Self {
        Self(text.match_indices('\n').map(|(at, _)| at).collect())
    }

    /// The line of a byte.
    fn line(&self, at: usize) -> usize {
        self.0.partition_point(|newline| *newline < at) + 1
    }
}

struct Json<'a> {
    text: &'a str,
    lines: &'a Lines,
}

impl Json<'_> {
    /// The line on which a part of the text begins.
    fn line(&self, part: &str) -> usize {
        // Both are parts of one text, so this is the distance between them.
        self.lines.line((part.as_ptr() as usize).saturating_sub(self.text.as_ptr() as usize))
    }
}

fn too_deep(line: usize) -> Unreadable {
    Unreadable { line: Some(line), problem: format!("nested more than {DEEPEST} deep") }
}

fn json(raw: &RawValue, source: &Json<'_>, left: usize) -> Result<Node, Unreadable> {
    let text = raw.get();
    let line = source.line(text);
    let wrong = |error: serde_json::Error| Unreadable {
        line: Some(line + error.line().saturating_sub(1)),
        problem: without_place(&error.to_string()).to_owned(),
    };
    if left == 0 {
        return Err(too_deep(line));
    }
    let content = match text.as_bytes().first() {
        Some(b'{') => {
            let Entries(entries) = serde_json::from_str(text).map_err(wrong)?;
            let mut table: Vec<(String, usize, Node)> = Vec::with_capacity(entries.len());
            for (key, value) in entries {
                let at = source.line(value.get());
                if table.iter().any(|(known, ..)| *known == key) {
                    return Err(Unreadable { line: Some(at), problem: format!("{key:?} is there twice") });
                }
                table.push((key, at, json(value, source, left - 1)?));
            }
            Content::Table(table)
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(text).map_err(wrong)?;
            let items: Result<_, _> = items.into_iter().map(|item| json(item, source, left - 1)).collect();
            Content::List(items?)
        }
        _ => Content::Leaf(serde_json::from_str(text).map_err(wrong)?),
    };
    Ok(Node { line, content })
}

/// The members of an object in their order, doubled ones too.
struct Entries<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Entries<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EntriesVisitor;

        impl<'de> Visitor<'de> for EntriesVisitor {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object {..}")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(entries)
            }
        }

        deserializer.deserialize_map(EntriesVisitor).map(Entries)
    }
}

fn toml_table(table: &DeTable<'_>, line: usize, lines: &Lines, left: usize) -> Result<Node, Unreadable> {
    let mut entries = Vec::new();
    for (key, value) in table {
        let at = lines.line(key.span().start);
        entries.push((key.get_ref().to_string(), at, toml_value(value.get_ref(), at, lines, left)?));
    }
    Ok(Node { line, content: Content::Table(entries) })
}

fn toml_value(value: &DeValue<'_>, line: usize, lines: &Lines, left: usize) -> Result<Node, Unreadable> {
    let Some(left) = left.checked_sub(1) else { return Err(too_deep(line)) };
    let wrong = |problem: &str| Unreadable { line: Some(line), problem: problem.to_owned() };
    let leaf = match value {
        DeValue::Table(table) => return toml_table(table, line, lines, left),
        DeValue::Array(items) => {
            let items = items
                .iter()
                .map(|item| toml_value(item.get_ref(), lines.line(item.span().start), lines, left));
            return Ok(Node { line, content: Content::List(items.collect::<Result<_, _>>()?) });
        }
        DeValue::String(text) => Value::from(text.as_ref()),
        DeValue::Boolean(value) => Value::from(*value),
        DeValue::Integer(number) => {
            let value = i64::from_str_radix(number.as_str(), number.radix()).map(Value::from);
            let value =
                value.or_else(|_| u64::from_str_radix(number.as_str(), number.radix()).map(Value::from));
            value.map_err(|_| wrong("an integer that is too large"))?
        }
        DeValue::Float(number) => {
            let number: Option<f64> = number.as_str().parse().ok();
            let number = number.and_then(serde_json::Number::from_f64);
            Value::from(number.ok_or_else(|| wrong("a number that JSON does not have"))?)
        }
        DeValue::Datetime(time) => Value::from(time.to_string()),
    };
    Ok(Node { line, content: Content::Leaf(leaf) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_give_the_same_tree_with_lines() {
        let json = "{\n  \"a\": 1,\n  \"b\": {\"c.d\": [true,\n    {\"e\": \"x\"}]},\n  \"headers\": {\"X-K\": \"v\"}\n}";
        let toml = "a = 1\n[headers]\nX-K = 'v'\n[b]\n'c.d' = [true,\n  {e = 'x'}]\n";
        let json = Node::from_json(json).unwrap();
        let toml = Node::from_toml(toml).unwrap();
        assert_eq!(json.value(), json!({"a": 1, "b": {"c.d": [true, {"e": "x"}]}, "headers": {"X-K": "v"}}));
        assert_eq!(json.value(), toml.value());
        for (path, in_json, in_toml) in [
            ("a", 2, 1),
            ("b", 3, 4),
            ("b.c.d", 3, 5),
            ("b.c.d[0]", 3, 5),
            ("b.c.d[1].e", 4, 6),
            ("b.c.d[1].nowhere", 4, 6),
            ("b.c.d[7]", 3, 5),
            ("headers[\"X-K\"]", 5, 3),
            ("(top level)", 1, 1),
        ] {
            assert_eq!((json.line_of(path), toml.line_of(path)), (in_json, in_toml), "{path}");
        }
    }

    #[test]
    fn tables_of_tables_have_their_own_lines() {
        let toml = "[[feeds]]\nurl = 'a'\n\n[[feeds]]\nurl = 'b'\n[feeds.queue]\nbytes = 0x10\n[[feeds.subscriptions]]\nid = 'x'\n";
        let node = Node::from_toml(toml).unwrap();
        for (path, line) in [
            ("feeds[0].url", 2),
            ("feeds[1]", 4),
            ("feeds[1].url", 5),
            ("feeds[1].queue.bytes", 7),
            ("feeds[1].subscriptions[0].id", 9),
        ] {
            assert_eq!(node.line_of(path), line, "{path}");
        }
        assert_eq!(node.value()["feeds"][1]["queue"]["bytes"], 16);
    }

    #[test]
    fn values_of_toml_become_those_of_json() {
        let node = Node::from_toml(
            "a = 1.5\nb = 2026-11-26\nc = 18446744073709551615\nd = -3\ne = []\nf = 09:30:00",
        )
        .unwrap();
        let expected = json!({"a": 1.5, "b": "2026-11-26", "c": u64::MAX, "d": -3, "e": [], "f": "09:30:00"});
        assert_eq!(node.value(), expected);
        assert_eq!(Node::from_toml("\na = nan").unwrap_err().line, Some(2));
    }

    #[test]
    fn what_can_not_be_read_has_a_line() {
        for (text, line) in [("{\n\"a\": }", 2), ("{\"a\": 1,\n\n\"a\": 2}", 3), ("", 1), ("{} x", 1)] {
            assert_eq!(Node::from_json(text).unwrap_err().line, Some(line), "{text}");
        }
        for (text, line) in [("a = 1\nb", 2), ("a = 1\n\na = 2", 3)] {
            assert_eq!(Node::from_toml(text).unwrap_err().line, Some(line), "{text}");
        }
    }

    #[test]
    fn deep_nesting_is_refused() {
        for depth in [1000, 100_000] {
            assert!(Node::from_json(&("[".repeat(depth) + &"]".repeat(depth))).is_err());
            assert!(Node::from_toml(&format!("a = {}{}", "[".repeat(depth), "]".repeat(depth))).is_err());
        }
    }
}
