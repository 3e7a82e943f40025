//! MATCH on the command line: `/pointer=value`, `/pointer`, `text=WORD`, `text^PREFIX`, `binary`.

use livefeed::Matcher;
use serde_json::Value;

/// What is said when a text is no MATCH.
const FORMS: &str = "give /pointer=value, /pointer, text=WORD, text^PREFIX or binary";

/// Reads one MATCH.
pub(crate) fn parse(text: &str) -> Result<Matcher, String> {
    if text == "binary" {
        return Ok(Matcher::binary(Vec::new()));
    }
    if let Some(word) = text.strip_prefix("text=") {
        return Ok(Matcher::text(word));
    }
    if let Some(prefix) = text.strip_prefix("text^") {
        return Ok(Matcher::prefix(prefix));
    }
    if !text.starts_with('/') {
        return Err(FORMS.to_owned());
    }
    let Some((pointer, value)) = text.split_once('=') else { return Ok(Matcher::exists(text)) };
    let value = serde_json::from_str::<Value>(value).unwrap_or_else(|_| value.into());
    if value.is_object() || value.is_array() {
        return Err(format!("{pointer} is compared with one value: a string, a number, true, false or null"));
    }
    Ok(Matcher::pointer(pointer, value))
}
