//! MATCH on the command line: `/pointer=value`, `/pointer`, `text=WORD`, `text^PREFIX`, `binary`.

use livefeed::Matcher;
use serde_json::Value;

/// What is said when a text is no MATCH.
const FORMS: &str =
    "write /pointer=value, /pointer, text=WORD, text^PREFIX or binary, such as /type=heartbeat";

/// Reads one MATCH. The value is JSON, or a bare word as a string.
pub(crate) fn parse(text: &str) -> Result<Matcher, String> {
    if text == "binary" {
        return Ok(Matcher::binary(Vec::new()));
    }
    if let Some(word) = text.strip_prefix("text=") {
        return Ok(Matcher::text(literal(word)));
    }
    if let Some(prefix) = text.strip_prefix("text^") {
        return Ok(Matcher::prefix(literal(prefix)));
    }
    if !text.starts_with('/') {
        return Err(FORMS.to_owned());
    }
    let Some((pointer, value)) = text.split_once('=') else { return Ok(Matcher::exists(text)) };
    if value.trim_start().starts_with(['{', '[']) {
        return Err(format!("{pointer} is compared with one value: a word, a number, true, false or null"));
    }
    match serde_json::from_str::<Value>(value) {
        Ok(Value::String(word)) => Ok(Matcher::pointer(pointer, literal(&word))),
        Ok(value) => Ok(Matcher::pointer(pointer, value)),
        Err(_) if value.starts_with('"') => Err(format!(
            "the value of {pointer} begins with a quote and is no JSON string: leave the quotes out"
        )),
        Err(_) => Ok(Matcher::pointer(pointer, literal(value))),
    }
}

/// The alternatives as one; `None` if there are none.
pub(crate) fn any(matchers: &[Matcher]) -> Option<Matcher> {
    match matchers {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(Matcher::any(several.iter().cloned())),
    }
}

/// A text without placeholders: there are no variables here.
fn literal(text: &str) -> String {
    text.replace("${", "$${")
}

#[cfg(test)]
mod tests {
    use super::*;
    use livefeed::Payload::{Binary, Text};

    #[test]
    fn each_form_means_what_it_says() {
        for (text, yes, no) in [
            ("/type=heartbeat", Text(r#"{"type":"heartbeat"}"#), Text(r#"{"type":"trade"}"#)),
            ("/n=1", Text(r#"{"n":1}"#), Text(r#"{"n":"1"}"#)),
            ("/n=\"1\"", Text(r#"{"n":"1"}"#), Text(r#"{"n":1}"#)),
            ("/ok=true", Text(r#"{"ok":true}"#), Text(r#"{"ok":"true"}"#)),
            ("/a=b=c", Text(r#"{"a":"b=c"}"#), Text(r#"{"a":"b"}"#)),
            ("/a=", Text(r#"{"a":""}"#), Text(r#"{"a":1}"#)),
            ("/data/*/s", Text(r#"{"data":[{"s":1}]}"#), Text(r#"{"data":[]}"#)),
            ("text=pong", Text("pong"), Text("pong ")),
            ("text^42", Text("42[1]"), Text("4")),
            ("binary", Binary(b"x"), Text("x")),
        ] {
            let matcher = parse(text).unwrap();
            assert!(matcher.matches(yes) && !matcher.matches(no), "{text}");
        }
    }

    #[test]
    fn there_are_no_placeholders() {
        for text in ["/a=${b}", "/a=\"${b}\"", "text=${b}", "text^${b}"] {
            let form = serde_json::to_string(&parse(text).unwrap()).unwrap();
            assert!(form.contains("\"$${b}\""), "{form}");
        }
    }

    #[test]
    fn others_are_refused_with_what_would_be_right() {
        for (text, part) in [
            ("type=heartbeat", "/pointer=value"),
            ("", "/pointer=value"),
            ("/a={}", "one value"),
            ("/a={\"b\":1", "one value"),
            ("/a= [1]", "one value"),
            ("/a=\"b", "leave the quotes out"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
