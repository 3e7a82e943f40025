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

fn member(name: &str, vars: Value) -> Member {
    let vars = serde_json::from_value(vars).unwrap();
    Member { name: Some(name.into()), vars: Arc::new(vars), ..Member::default() }
}

/// What is sent for two members, with `id` 7.
fn sent(template: &Template, members: &[Member]) -> Result<String, String> {
    let frame = FrameVars {
        id: Some(7),
        time: SystemTime::UNIX_EPOCH + Duration::from_micros(1_500_250_999),
        captures: Arc::new(Variables::from([
            ("token".to_owned(), json!("t0ken")),
            ("symbol".to_owned(), json!("captured")),
            ("epoch".to_owned(), json!("captured")),
        ])),
        ..frame()
    };
    let content = template.render(&frame, members)?;
    Ok(content.payload().as_text().unwrap_or("binary").to_owned())
}

fn pair() -> [Member; 2] {
    [member("a", json!({"symbol": "BTC", "depth": 5})), member("b", json!({"symbol": "ETH", "depth": null}))]
}

#[test]
fn variables_are_looked_up_from_the_nearest_on() {
    let mut members = pair();
    members[0].bound =
        Arc::new(Variables::from([("symbol".to_owned(), json!("bound")), ("chan".to_owned(), json!(67))]));
    members[0].cursor = Some(json!(99));
    members[0].frame = Some(4);
    for (template, text) in [
        (json!({"id": "${id}", "ends": "s${subscribe_id}"}), r#"{"ends":"s4","id":7}"#),
        (json!("${name}/${symbol}/${chan}/${cursor}/${id}"), "a/BTC/67/99/7"),
        (
            json!({"t": "${token}", "id": "${id}", "d": "${depth}", "s": "${id}"}),
            r#"{"d":5,"id":7,"s":7,"t":"t0ken"}"#,
        ),
        (json!("${time_s} ${time_ms} ${time_us}"), "1500 1500250 1500250999"),
        (json!("${time_iso}"), "1970-01-01T00:25:00.250Z"),
        (json!("${epoch} ${attempt}"), "captured 1"),
        (json!({"${symbol}": "$${symbol}", "n": "${nobody|none}"}), r#"{"BTC":"${symbol}","n":"none"}"#),
    ] {
        let template: Template = serde_json::from_value(template).unwrap();
        assert_eq!(sent(&template, &members), Ok(text.to_owned()));
    }
    for (template, missing) in [(json!(["${nobody}"]), "nobody"), (json!("${/ping}"), "/ping")] {
        let template: Template = serde_json::from_value(template).unwrap();
        let error = sent(&template, &members).unwrap_err();
        assert_eq!(error, format!("nothing is known by the name of ${{{missing}}}"));
    }
    // Without a member there is what is the connection's.
    assert_eq!(sent(&Template::text("${symbol} ${cursor|0}"), &[]), Ok("captured 0".to_owned()));
    assert!(sent(&Template::text("${name}"), &[]).is_err());
}

#[test]
fn a_batch_has_each_of_its_members() {
    for (template, text) in [
        (
            json!({"method": "SUBSCRIBE", "params": {"$each": "${symbol}@trade"}, "id": "${id}"}),
            r#"{"id":7,"method":"SUBSCRIBE","params":["BTC@trade","ETH@trade"]}"#,
        ),
        (
            json!({"op": "subscribe", "args": {"$each": {"instId": "${symbol}", "d": "${depth}", "i": "${id}"}}}),
            r#"{"args":[{"d":5,"i":7,"instId":"BTC"},{"d":null,"i":7,"instId":"ETH"}],"op":"subscribe"}"#,
        ),
        (
            json!({"action": "subscribe", "params": {"$join": "T.${symbol}"}, "first": "${symbol}"}),
            r#"{"action":"subscribe","first":"BTC","params":"T.BTC,T.ETH"}"#,
        ),
        (json!([1, {"$join": "${name}", "with": " + "}, {"$each": "${name}"}]), r#"[1,"a + b",["a","b"]]"#),
    ] {
        let template: Template = serde_json::from_value(template).unwrap();
        assert!(template.is_batchable());
        assert_eq!(template.check(&|name| ["symbol", "id", "depth", "name"].contains(&name)), Ok(()));
        assert_eq!(sent(&template, &pair()), Ok(text.to_owned()));
    }
    let error = sent(&Template::json(json!({"$each": "${chan}"})), &pair()).unwrap_err();
    assert_eq!(error, "nothing is known by the name of ${chan}");
    for single in [Template::text("${symbol} {\"$each\": 1}"), Template::json(json!({"each": [1]}))] {
        assert!(!single.is_batchable());
    }
    assert!(!Template::closure(|_| Ok("x")).is_batchable());
}

#[test]
fn what_can_t_be_is_found_before() {
    let known = |name: &str| name == "symbol";
    let each = "has an \"$each\" with more beside it: give {\"$each\": ..} alone";
    for (template, problem) in [
        (json!("${symbol} ${other|5}"), None),
        (json!({"a": ["${symbol}", "$${other}"]}), None),
        (json!("${other}"), Some("nothing is known by the name of ${other}")),
        (json!({"a": {"$each": ["${other}"]}}), Some("nothing is known by the name of ${other}")),
        (json!({"a": {"$join": "${other}"}}), Some("nothing is known by the name of ${other}")),
        (json!({"$each": 1, "b": 2}), Some(each)),
        (json!({"$each": 1, "$join": "2"}), Some(each)),
        (json!([{"$join": 1}]), Some("has a \"$join\" of something else than a text")),
        (
            json!([{"$join": "1", "width": ","}]),
            Some("has a \"$join\" with more beside it: give {\"$join\": \"text\", \"with\": \"text\"}"),
        ),
        (json!({"$each": {"a": [{"$each": 1}]}}), Some("has an \"$each\" or \"$join\" inside an \"$each\"")),
    ] {
        let template: Template = serde_json::from_value(template).unwrap();
        let checked = template.check(&known);
        assert_eq!(checked.as_ref().err().map(String::as_str), problem);
        // What is wrong is no panic later either.
        drop(sent(&template, &pair()));
    }
    let bad = Template::text("${/a~2|x}").check(&|_| true).unwrap_err();
    assert!(bad.starts_with("${/a~2} has a \"~\""), "{bad}");
    for (name, fits) in [
        ("chan", true),
        ("a-b.c_9", true),
        ("id", false),
        ("time_ms", false),
        ("", false),
        ("/a", false),
        ("a}", false),
        ("a|b", false),
    ] {
        assert_eq!(check_name(name).is_ok(), fits, "{name}");
    }
}

#[test]
fn words_that_are_not_ours_are_refused_where_they_were_meant_to_be() {
    for (template, problem) in [
        (json!({"a": {"$env": "TOKEN"}}), "has a {\"$env\": ..}, which is for the files of the command line"),
        (json!([{"$file": "token"}]), "has a {\"$file\": ..}"),
        (json!({"a": {"$evn": "TOKEN"}}), "has a \"$evn\": did you mean \"$env\"?"),
        (json!({"a": {"$eahc": "x"}}), "has a \"$eahc\": did you mean \"$each\"?"),
        (json!({"a": {"$jion": "x"}}), "did you mean \"$join\"?"),
        (json!({"a": {"$Each": "x"}}), "did you mean \"$each\"?"),
        (json!({"a": {"$joins": "x"}}), "did you mean \"$join\"?"),
        (json!({"a": {"$ech": "x"}}), "did you mean \"$each\"?"),
    ] {
        let template = Template::json(template);
        let found = template.check(&|_| true).unwrap_err();
        assert!(found.starts_with(problem) || found.ends_with(problem), "{found}");
    }
    for fine in ["$set", "$in", "$eq", "$ne", "$next", "$secret", "$é", "each", "env", "$"] {
        assert_eq!(Template::json(json!({fine: {"a": 1}})).check(&|_| true), Ok(()), "{fine}");
    }
    // Nobody is there to stand for.
    for single in [json!({"a": {"$each": "x"}}), json!({"a": {"$join": "x"}})] {
        let single = Template::json(single);
        assert_eq!(single.check(&|_| true), Ok(()));
        assert!(single.check_single(&|_| true).unwrap_err().contains("`subscribe`"));
    }
}

#[test]
fn sizes_are_known_where_nothing_is_filled_in() {
    for (template, len) in [
        (json!("12345"), Some(5)),
        (json!({"a": [1, 2]}), Some(11)),
        (json!("${id}"), None),
        (json!({"a": "${id}"}), None),
        (json!({"a": {"$each": 1}}), None),
    ] {
        let template: Template = serde_json::from_value(template).unwrap();
        assert_eq!(template.fixed_len(), len);
        if let Some(len) = len {
            assert_eq!(sent(&template, &[]).unwrap().len(), len);
        }
    }
    assert_eq!(Template::closure(|_| Ok("x")).fixed_len(), None);
}

#[test]
fn nothing_is_shown() {
    let closure = Template::closure(|_| Ok("canary"));
    let vars = member("canary-name", json!({"secret": "canary"}));
    let shown: Vec<String> = [Template::text("canary"), Template::json(json!(["canary"])), closure]
        .iter()
        .map(|template| format!("{template:?} {}", serde_json::to_string(template).unwrap()))
        .collect();
    let redacted = "[redacted] \"[redacted]\"";
    assert_eq!(shown, [redacted, redacted, "<closure> \"<closure>\""]);
    let context = TemplateContext::new(&frame(), Some(&vars), Some(Payload::Text("canary")));
    let shown = format!("{context:?} {:?}", context.frame).replace("canary-name", "");
    assert!(!shown.contains("canary"), "{shown}");
}

#[test]
fn closures_see_what_placeholders_see() {
    let binary = Template::closure(|context| {
        let symbol = context.var("symbol").ok_or("no symbol")?;
        let name = context.name.clone().ok_or("no name")?;
        assert!(context.last_message().is_none() && context.answered().is_none());
        Ok(format!("{symbol} {name} {} {:?}", context.id, context.var("/a")).into_bytes())
    });
    let content =
        binary.render(&FrameVars { id: Some(7), ..frame() }, &pair()).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(content.payload(), Payload::Binary(b"\"BTC\" a 7 None"));
    let reply = Template::closure(|context| {
        let whole = context.answered().map(|payload| payload.as_bytes().len());
        Ok(format!("{:?} {whole:?} {}", context.var("/ts"), context.id))
    });
    let content = reply.reply(&frame(), Payload::Text(r#"{"ts":5}"#)).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(content.payload(), Payload::Text("Some(Number(5)) Some(8) 0"));
}

#[test]
fn members_of_a_batch_agree_in_what_stands_outside_of_it() {
    let template =
        Template::json(json!({"channel": "${channel}", "symbols": {"$each": "${symbol}"}, "id": "${id}"}));
    let group = |channel: &'static str, symbol: &'static str| {
        template.batch_group(&move |name: &str| match name {
            "channel" => Some(json!(channel)),
            "symbol" => Some(json!(symbol)),
            _ => None,
        })
    };
    assert_eq!(group("trades", "a"), group("trades", "b"));
    assert_ne!(group("trades", "a"), group("book", "a"));
    assert_eq!(Template::json(json!({"symbol": "${symbol}"})).batch_group(&|_: &str| None::<Value>), None);
}

#[test]
fn a_text_stays_a_text_and_may_be_put_together() {
    let [a, b] = pair();
    for (template, text) in [
        (json!({"id": {"$text": "${id}"}}), r#"{"id":"7"}"#),
        (json!({"id": {"$text": ["0", "${id}"]}}), r#"{"id":"07"}"#),
        (
            json!({"topic": {"$text": ["/market/ticker:", {"$join": "${symbol}-USD"}]}}),
            r#"{"topic":"/market/ticker:BTC-USD,ETH-USD"}"#,
        ),
        (
            json!({"$each": {"of": {"$text": "${depth}"}, "as": "${depth}"}}),
            r#"[{"as":5,"of":"5"},{"as":null,"of":"null"}]"#,
        ),
        (json!({"$text": "${id}"}), "7"),
        (
            json!({"$text": ["42${id}", {"$json": ["sub", "${depth}", "a\"${symbol}"]}]}),
            r#"427["sub",5,"a\"BTC"]"#,
        ),
        (json!({"a": {"$text": {"$json": {"b": "${id}"}}}}), r#"{"a":"{\"b\":7}"}"#),
        (json!({"$text": ["1 ", {"$json": {"$each": "${symbol}"}}]}), r#"1 ["BTC","ETH"]"#),
        (json!({"$each": {"$text": [{"$json": ["${symbol}"]}]}}), r#"["[\"BTC\"]","[\"ETH\"]"]"#),
    ] {
        let template = Template::json(template);
        assert_eq!(template.check(&|_| true), Ok(()));
        assert_eq!(sent(&template, &[a.clone(), b.clone()]), Ok(text.to_owned()));
    }
    assert!(!Template::json(json!({"$text": "${id}"})).is_batchable());
    assert!(Template::json(json!({"$text": [{"$join": "${symbol}"}]})).is_batchable());
    assert_eq!(Template::json(json!({"$text": "ab"})).fixed_len(), None);
    for wrong in [
        json!({"$text": 1}),
        json!({"$text": "a", "with": ","}),
        json!({"$text": [1]}),
        json!({"$text": [{"$each": "a"}]}),
        json!({"$json": [1]}),
        json!([{"$json": [1]}]),
        json!({"$text": {"$json": 1, "b": 2}}),
        json!({"$text": {"$json": [{"$json": 1}]}}),
        json!({"$each": {"$text": {"$json": {"$each": "a"}}}}),
        json!({"$each": {"$text": [{"$join": "a"}]}}),
    ] {
        assert!(Template::json(wrong.clone()).check(&|_| true).is_err(), "{wrong}");
    }
}

#[test]
fn what_stands_outside_of_a_batch_is_shared() {
    let template = Template::json(json!({
        "op": "sub ${kind}", "args": {"$each": "${symbol}"}, "as": {"$text": ["${depth}", {"$join": "${symbol}"}]}, "id": "${id}"
    }));
    let own = |name: &str| (name != "id").then(|| json!(name));
    let shared = template.shared(&own);
    let names: Vec<_> = shared.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["depth", "kind"]);
    assert!(Template::text("${symbol}").shared(&own).is_empty());
}
