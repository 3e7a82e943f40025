//! Fields that are not known, of all tables at once, by the schema: serde stops at the first.

use crate::{schema, spelling};
use serde_json::{Map, Value};

/// A field that is not known.
#[derive(Debug)]
pub(super) struct Unknown {
    pub(super) path: String,
    pub(super) text: String,
    /// The path under which its value is now, if it is clear what was meant.
    pub(super) meant: Option<String>,
}

/// Takes out the fields that are not known. One whose name is a slip gets the name that was meant, so that its value is
/// checked too.
pub(super) fn take_unknown(whole: &mut Value, is_feed: bool) -> Vec<Unknown> {
    let mut found = Vec::new();
    if let Ok(schema) = serde_json::from_str::<Value>(schema::SCHEMA) {
        let front = if is_feed { "/$defs/feed" } else { "/$defs/run" };
        let walk = Walk { defs: schema.get("$defs").unwrap_or(&Value::Null) };
        walk.value(whole, schema.pointer(front).into_iter().collect(), "", &mut found);
    }
    found
}

struct Walk<'a> {
    defs: &'a Value,
}

impl<'a> Walk<'a> {
    /// `schemas` are those of which one has to hold.
    fn value(&self, value: &mut Value, schemas: Vec<&'a Value>, path: &str, found: &mut Vec<Unknown>) {
        let mut all = Vec::new();
        schemas.into_iter().for_each(|schema| self.flatten(schema, &mut all));
        match value {
            Value::Array(items) => {
                let items_of: Vec<_> = all.iter().filter_map(|schema| schema.get("items")).collect();
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(item, items_of.clone(), &format!("{path}[{index}]"), found);
                }
            }
            Value::Object(table) => {
                all.retain(|schema| schema.get("type").is_none_or(|kind| kind == "object"));
                self.table(table, &all, path, found);
            }
            _ => {}
        }
    }

    /// The schemas of which a schema is made up.
    fn flatten(&self, schema: &'a Value, all: &mut Vec<&'a Value>) {
        let name = schema.get("$ref").and_then(Value::as_str).and_then(|name| name.strip_prefix("#/$defs/"));
        if let Some(other) = name.and_then(|name| self.defs.get(name)) {
            return self.flatten(other, all);
        }
        let parts = ["anyOf", "oneOf", "allOf"].into_iter().filter_map(|of| schema.get(of)?.as_array());
        let parts: Vec<_> = parts.flatten().filter(|part| part.get("not").is_none()).collect();
        if parts.is_empty() || schema.get("properties").is_some() {
            all.push(schema);
        } else {
            parts.into_iter().for_each(|part| self.flatten(part, all));
        }
    }

    fn table(
        &self,
        table: &mut Map<String, Value>,
        schemas: &[&'a Value],
        path: &str,
        found: &mut Vec<Unknown>,
    ) {
        let is_open = schemas.iter().any(|schema| schema.get("additionalProperties").is_none());
        if schemas.is_empty() || is_open {
            return;
        }
        let of = |name: &str| -> Vec<&'a Value> {
            let own = schemas.iter().filter_map(|schema| schema.get("properties")?.get(name));
            let own: Vec<_> = own.collect();
            let others = schemas.iter().filter_map(|schema| schema.get("additionalProperties"));
            if own.is_empty() { others.filter(|schema| schema.is_object()).collect() } else { own }
        };
        let known = schemas.iter().filter_map(|schema| schema.get("properties")?.as_object());
        let known: Vec<&str> = known.flat_map(Map::keys).map(String::as_str).collect();
        let names: Vec<String> = table.keys().cloned().collect();
        for name in names {
            let mut at = join(path, &name);
            let mut schemas = of(&name);
            let mut key = name.clone();
            if schemas.is_empty() {
                let Some(value) = table.remove(&name) else { continue };
                let (text, meant) = self.about(&name, &known);
                let meant = meant.filter(|meant| !table.contains_key(*meant));
                found.push(Unknown { path: at, text, meant: meant.map(|meant| join(path, meant)) });
                let Some(meant) = meant else { continue };
                (at, key, schemas) = (join(path, meant), meant.to_owned(), of(meant));
                table.insert(key.clone(), value);
            }
            if let Some(value) = table.get_mut(&key) {
                self.value(value, schemas, &at, found);
            }
        }
    }

    /// What to say of a name, and what it was probably meant to be.
    fn about<'k>(&self, name: &str, known: &[&'k str]) -> (String, Option<&'k str>) {
        let is_feed = known.contains(&"subscriptions");
        let is_known_in = |table: &str| {
            self.defs.pointer(&format!("/{table}/properties/{name}")).is_some_and(Value::is_object)
        };
        if is_feed && is_known_in("terms") {
            let text = "is a field of each of the `subscriptions`, or of `defaults`: put it there";
            return (text.to_owned(), None);
        }
        if is_feed && is_known_in("run") {
            let text = "stands beside `feeds`, not beside the `url` of a feed: put the feed into `[[feeds]]`, in JSON into \
                        \"feeds\": [{..}]";
            return (text.to_owned(), None);
        }
        if is_feed && name == "preset" {
            let text = "is an option of commands, not of files: `livefeed schema --preset NAME` prints what a preset holds";
            return (text.to_owned(), None);
        }
        if known.contains(&"id") && name == "name" {
            return (
                "is no field: did you mean `id`?".to_owned(),
                known.iter().copied().find(|name| *name == "id"),
            );
        }
        let is_run = known.contains(&"feeds");
        if is_run && name == "url" {
            return ("stands beside `feeds`: put it into one of them, or leave `feeds` out".to_owned(), None);
        }
        let url = is_run.then_some("url"); // of a file that is one feed
        let shown: Vec<&str> = known.iter().copied().filter(|name| *name != "$schema").chain(url).collect();
        match spelling::nearest(name, shown.iter().copied()) {
            Some(meant) => {
                let meant = known.iter().copied().find(|name| *name == meant);
                (format!("is no field: did you mean `{}`?", meant.unwrap_or("url")), meant)
            }
            None if shown.len() > 12 => ("is no field: `livefeed schema` has them all".to_owned(), None),
            None => (format!("is no field: there are `{}`", shown.join("`, `")), None),
        }
    }
}

fn join(path: &str, name: &str) -> String {
    match path {
        "" => name.to_owned(),
        path if path.ends_with("headers") => format!("{path}[{name:?}]"),
        path => format!("{path}.{name}"),
    }
}
