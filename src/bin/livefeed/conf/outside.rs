//! Secrets that are kept outside of the file: `{"$env": "NAME"}` and `{"$file": "PATH"}` in their place.

use serde_json::Value;
use std::fs::File;
use std::io::Read;

/// A larger file holds no secret.
const FILE_BYTES: u64 = 1 << 20;

/// Puts the texts in place, wherever secrets stand in a feed: URLs, headers, variables, certificates, and all that is
/// sent. Returns the paths of those that can't be had, and why.
pub(super) fn fetch(feed: &mut Value) -> Vec<(String, String)> {
    let mut missing = Vec::new();
    for (field, value) in members(feed) {
        match field.as_str() {
            "url" | "endpoints" | "headers" => deep(field, value, &mut missing),
            "tls" => of(field, value, &["extra_roots_pem"], &mut missing),
            "defaults" => of(field, value, &["vars", "subscribe", "unsubscribe", "probe"], &mut missing),
            "subscriptions" => {
                each(field, value, &["vars", "subscribe", "unsubscribe", "probe"], &mut missing);
            }
            "login" | "keepalives" => each(field, value, &["send"], &mut missing),
            "rules" => each(field, value, &["reply"], &mut missing),
            _ => {}
        }
    }
    missing
}

fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

fn each(path: &str, list: &mut Value, fields: &[&str], missing: &mut Vec<(String, String)>) {
    for (index, item) in list.as_array_mut().into_iter().flatten().enumerate() {
        of(&format!("{path}[{index}]"), item, fields, missing);
    }
}

fn of(path: &str, table: &mut Value, fields: &[&str], missing: &mut Vec<(String, String)>) {
    for (field, value) in members(table) {
        if fields.contains(&field.as_str()) {
            deep(&format!("{path}.{field}"), value, missing);
        }
    }
}

fn deep(path: &str, value: &mut Value, missing: &mut Vec<(String, String)>) {
    match value {
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                deep(&format!("{path}[{index}]"), item, missing);
            }
        }
        Value::Object(table) => {
            let fetched = match (table.len(), table.get("$env"), table.get("$file")) {
                (1, Some(Value::String(name)), _) => from_environment(name),
                (1, _, Some(Value::String(name))) => from_file(name),
                _ => {
                    for (field, value) in table {
                        let quoted = path == "headers";
                        let path =
                            if quoted { format!("{path}[{field:?}]") } else { format!("{path}.{field}") };
                        deep(&path, value, missing);
                    }
                    return;
                }
            };
            match fetched {
                Ok(text) => *value = Value::from(text),
                Err(problem) => {
                    missing.push((path.to_owned(), problem));
                    // So that the rest can be checked: it fits wherever such a text may stand.
                    *value = Value::from("ws://not.there/");
                }
            }
        }
        _ => {}
    }
}

fn from_environment(name: &str) -> Result<String, String> {
    // These are what the standard library panics on.
    if name.is_empty() || name.contains(['=', '\0']) {
        return Err("names no environment variable".to_owned());
    }
    let value =
        std::env::var_os(name).ok_or_else(|| format!("the environment variable {name} is not set"))?;
    value.into_string().map_err(|_| format!("the environment variable {name} is no UTF-8 text"))
}

/// A line end at the end of the file is left out, as editors put one there.
fn from_file(name: &str) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("the file {name} can't be read: {error}");
    let mut text = String::new();
    File::open(name).and_then(|file| file.take(FILE_BYTES + 1).read_to_string(&mut text)).map_err(cannot)?;
    if text.len() as u64 > FILE_BYTES {
        return Err(format!("the file {name} is larger than 1 MiB"));
    }
    let end = text.strip_suffix('\n').map(|rest| rest.strip_suffix('\r').unwrap_or(rest)).map(str::len);
    text.truncate(end.unwrap_or(text.len()));
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn texts_come_from_where_the_file_says() {
        let dir = std::env::temp_dir().join(format!("livefeed-outside-{}", std::process::id()));
        std::fs::write(&dir, "k\u{e4}y\r\n").unwrap();
        let name = dir.to_str().unwrap();
        let mut feed = json!({
            "url": {"$env": "PATH"},
            "headers": {"A": {"$file": name}, "B": "plain"},
            "subscriptions": [{"id": "x", "vars": {"key": {"$file": name}}, "subscribe": {"deep": [{"$file": name}]}}],
            "login": [{"send": {"token": {"$file": name}}, "expect": {"$file": name}}],
        });
        assert_eq!(fetch(&mut feed), []);
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(feed["url"], std::env::var("PATH").unwrap());
        assert_eq!(feed["headers"], json!({"A": "k\u{e4}y", "B": "plain"}));
        assert_eq!(feed["subscriptions"][0]["vars"]["key"], "k\u{e4}y");
        assert_eq!(feed["subscriptions"][0]["subscribe"], json!({"deep": ["k\u{e4}y"]}));
        assert_eq!(feed["login"][0]["send"]["token"], "k\u{e4}y");
        assert!(feed["login"][0]["expect"].is_object(), "no secret stands there");
    }

    #[test]
    fn what_can_not_be_had_is_named_by_its_path() {
        let mut feed = json!({
            "url": {"$env": "LIVEFEED_NO_SUCH_VARIABLE"},
            "headers": {"A": {"$env": "a=b"}},
            "defaults": {"vars": {"k": {"$file": "/no/such/file"}}},
        });
        let missing = fetch(&mut feed);
        let mut paths: Vec<_> = missing.iter().map(|(path, _)| path.as_str()).collect();
        paths.sort_unstable();
        assert_eq!(paths, ["defaults.vars.k", "headers[\"A\"]", "url"]);
        assert!(missing.iter().any(|(_, text)| text.contains("LIVEFEED_NO_SUCH_VARIABLE is not set")));
    }
}
