//! Templates: what is sent for them.

use super::*;
use serde_json::json;

fn frame() -> FrameVars {
    FrameVars::new(2, 1, SystemTime::UNIX_EPOCH)
}

fn rendered(template: &Template) -> Result<String, String> {
    template.render(&frame(), &[]).map(|content| content.payload().as_text().unwrap_or("binary").to_owned())
}

#[test]
fn a_string_is_text_and_the_rest_is_json() {
    for (data, text) in [
        (json!("ping"), "ping"),
        (json!("{ }"), "{ }"),
        (json!({"op": "sub", "args": [1, "a b"]}), r#"{"args":[1,"a b"],"op":"sub"}"#),
        (json!(["x"]), r#"["x"]"#),
        (json!(1), "1"),
    ] {
        let template: Template = serde_json::from_value(data).unwrap();
        assert_eq!(rendered(&template), Ok(text.to_owned()));
    }
}

#[test]
fn closures_are_called_each_time_and_their_panics_caught() {
    let template = Template::closure(|context| Ok(format!("sub {}", context.epoch)));
    assert_eq!(rendered(&template), Ok("sub 2".to_owned()));
    assert_eq!(rendered(&Template::closure(|_| Err::<String, _>("no key".into()))), Err("no key".to_owned()));
    let panics = Template::closure(|_| -> Result<String, String> { panic!("oh") });
    assert_eq!(rendered(&panics), Err("the closure panicked: oh".to_owned()));
}
