//! Rules: their form in data, and what is refused.

use super::*;
use crate::class::GoTo;
use serde_json::json;

fn known(name: &str) -> bool {
    name == "chan"
}

fn check(data: Value) -> Result<(), (String, String)> {
    let rule: Rule = serde_json::from_value(data).unwrap();
    rule.check(&|name| matches!(name, "sid" | "id"), &known)
}

#[test]
fn data_and_builder_say_the_same() {
    let when = || Matcher::pointer("/type", "x");
    let form = |mut more: Value| {
        more["when"] = json!({"pointer": "/type", "equals": "x"});
        more
    };
    let chan = Matcher::pointer("/0", "${chan}");
    for (rule, data) in [
        (Rule::heartbeat(when()), json!({"is": "heartbeat"})),
        (
            Rule::ack(when()).by_id("/id").bind("chan", "/chanId").capture("sid", "/sid"),
            json!({"is": "ack", "by": {"id": "/id"}, "bind": {"chan": "/chanId"}, "capture": {"sid": "/sid"}}),
        ),
        (
            Rule::nack(when())
                .by_match(chan.clone())
                .class(ErrorClass::RetryLater)
                .retry_after(Duration::from_secs(30))
                .detail("/msg"),
            json!({"is": "nack", "by": {"match": {"pointer": "/0", "equals": "${chan}"}}, "class": "retry_later",
                   "retry_after": "30s", "detail": "/msg"}),
        ),
        (
            Rule::ack(when()).by_listed(Listed::at("/result/*").id("/id").complete()),
            json!({"is": "ack", "by": {"listed": "/result/*", "id": "/id", "complete": true}}),
        ),
        (
            Rule::ack(when()).by_listed(Listed::prefixed([("T.", "/trades/*"), ("", "/quotes/*")])),
            json!({"is": "ack", "by": {"listed": {"T.": "/trades/*", "": "/quotes/*"}}}),
        ),
        (Rule::ended(when()).by_all(), json!({"is": "ended", "by": "all"})),
        (Rule::ack(when()).by_oldest(), json!({"is": "ack", "by": "oldest"})),
        (
            Rule::keepalive(when()).by_match(chan),
            json!({"is": "keepalive", "by": {"match": {"pointer": "/0", "equals": "${chan}"}}}),
        ),
        (
            Rule::notice(when(), NoticeAction::Pause(Duration::from_secs(60))),
            json!({"is": "notice", "do": {"pause": "1m"}}),
        ),
        (Rule::ignored(when()), json!({"is": "ignored"})),
        (
            Rule::heartbeat(when()).within(Interval::text("${keepalive}s 5s")),
            json!({"is": "heartbeat", "within": "${keepalive}s 5s"}),
        ),
        (
            Rule::notice(when(), NoticeAction::GoTo(GoTo::at("/url").host("*.h"))),
            json!({"is": "notice", "do": {"go_to": "/url", "hosts": ["*.h"]}}),
        ),
        (Rule::data(when()).capture("seq", "/s"), json!({"is": "data", "capture": {"seq": "/s"}})),
    ] {
        let data = form(data);
        assert_eq!(serde_json::to_value(&rule).unwrap(), data);
        let read: Rule = serde_json::from_value(data.clone()).unwrap();
        assert_eq!(format!("{read:?}"), format!("{rule:?}"));
        assert_eq!(read.check(&|_| false, &known), Ok(()), "{data}");
    }
    let rule = Rule::heartbeat(when()).reply_text("canary").reply_json(json!("canary"));
    assert!(!format!("{rule:?} {}", serde_json::to_string(&rule).unwrap()).contains("canary"));
    let rule = Rule::heartbeat(when()).reply_with(|context| Ok(context.id.to_string()));
    assert_eq!(serde_json::to_value(&rule).unwrap()["reply"], "<closure>");
}

#[test]
fn what_is_no_rule_is_refused() {
    let text = json!({"text": "x"});
    for wrong in [
        json!({"is": "ack"}),
        json!({"when": text}),
        json!({"when": text, "is": "message"}),
        json!({"when": text, "is": "ack", "unknown": 1}),
        json!({"when": text, "is": "ack", "by": "newest"}),
        json!({"when": text, "is": "ack", "by": {}}),
        json!({"when": text, "is": "ack", "by": {"id": "/id", "match": text}}),
        json!({"when": text, "is": "ack", "by": {"id": "/id", "complete": true}}),
        json!({"when": text, "is": "ack", "by": {"match": text, "listed": "/a"}}),
        json!({"when": text, "is": "ack", "by": {"ids": "/id"}}),
        json!({"when": text, "is": "ack", "by": ["id"]}),
        json!({"when": text, "is": "ack", "by": {"listed": 5}}),
        json!({"when": text, "is": "nack", "class": "bad"}),
        json!({"when": text, "is": "nack", "retry_after": 5}),
        json!({"when": text, "is": "notice", "do": "explode"}),
    ] {
        assert!(serde_json::from_value::<Rule>(wrong.clone()).is_err(), "{wrong}");
    }
}

#[test]
fn what_has_no_meaning_is_named() {
    for (rule, field) in [
        (json!({"is": "heartbeat", "by": "all"}), "by"),
        (json!({"is": "ack", "class": "refused"}), "class"),
        (json!({"is": "ack", "retry_after": "1s"}), "retry_after"),
        (json!({"is": "nack", "by": "all", "retry_after": "1s"}), "retry_after"),
        (json!({"is": "nack", "by": "all", "class": "benign", "retry_after": "1s"}), "retry_after"),
        (json!({"is": "ended", "by": "all", "retry_after": "0s"}), "retry_after"),
        (json!({"is": "ended", "by": "all", "retry_after": "366days"}), "retry_after"),
        (json!({"is": "notice", "do": {"pause": "0s"}}), "do"),
        (json!({"is": "ack", "do": "alert"}), "do"),
        (json!({"is": "notice"}), "do"),
        (json!({"is": "nack", "bind": {"a": "/a"}}), "bind"),
        (json!({"is": "heartbeat", "detail": "/a"}), "detail"),
        (json!({"is": "keepalive", "by": {"id": "/id"}}), "by"),
        (json!({"is": "data", "by": "all"}), "by"),
        (json!({"is": "data", "class": "refused"}), "class"),
        (json!({"is": "data", "do": "alert"}), "do"),
        (json!({"is": "data", "bind": {"a": "/a"}}), "bind"),
        (json!({"is": "data", "detail": "/a"}), "detail"),
        (json!({"is": "data", "deliver": true}), "deliver"),
        (json!({"is": "keepalive", "by": "oldest"}), "by"),
        (json!({"is": "ended", "by": "oldest"}), "by"),
        (json!({"is": "ack", "by": {"id": "id"}}), "by.id"),
        (json!({"is": "ack", "by": {"listed": "a"}}), "by.listed"),
        (json!({"is": "ack", "by": {"listed": {}}}), "by.listed"),
        (json!({"is": "ack", "by": {"listed": {"T.": "a"}}}), "by.listed.T."),
        (json!({"is": "ack", "by": {"listed": "/a", "id": "b"}}), "by.id"),
        (json!({"is": "ack", "by": {"match": {"pointer": "a", "equals": 1}}}), "by.match.pointer"),
        (json!({"is": "ack", "by": {"match": {"text": "${nobody}"}}}), "by.match"),
        (json!({"is": "ack", "bind": {"a": "b"}}), "bind.a"),
        (json!({"is": "ack", "bind": {"id": "/b"}}), "bind"),
        (json!({"is": "ack", "capture": {"a": "b"}}), "capture.a"),
        (json!({"is": "ack", "capture": {"a b": "/b"}}), "capture"),
        (json!({"is": "nack", "by": "all", "detail": "m"}), "detail"),
        (json!({"is": "heartbeat", "reply": "${id}"}), "reply"),
        (json!({"is": "heartbeat", "reply": "${chan}"}), "reply"),
        (json!({"is": "heartbeat", "reply": "${/a~2}"}), "reply"),
        (json!({"is": "heartbeat", "when": {"text": "${chan}"}}), "when"),
        (json!({"is": "heartbeat", "when": {"pointer": "a", "equals": 1}}), "when.pointer"),
    ] {
        let mut data = json!({"when": {"text": "x"}});
        data.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
        assert_eq!(check(data.clone()).map_err(|(field, _)| field), Err(field.to_owned()), "{data}");
    }
    for good in [
        json!({"when": {"text": "x"}, "is": "heartbeat", "retry_after": null, "reply": "${/a} ${sid} ${epoch} ${time_ms} ${none|1}"}),
        json!({"when": {"text": "x"}, "is": "ack", "by": {"match": {"text": "${id} ${name} ${sid} ${chan}"}}}),
        json!({"when": {"text": "x"}, "is": "ended", "by": "all", "retry_after": "1s", "detail": "", "class": null}),
    ] {
        assert_eq!(check(good.clone()), Ok(()), "{good}");
    }
}

#[test]
fn whom_a_rule_is_about_is_to_be_said() {
    let missing = |rule: Value| {
        let mut data = json!({"when": {"text": "x"}});
        data.as_object_mut().unwrap().extend(rule.as_object().unwrap().clone());
        check(data).err()
    };
    let (field, problem) = missing(json!({"is": "nack"})).unwrap();
    let choice = "{\"id\": ..}, {\"match\": ..}, {\"listed\": ..}, \"oldest\" or \"all\"";
    assert_eq!((field.as_str(), problem), ("by", format!("is missing: say whom, by {choice}")));
    for rule in [
        json!({"is": "ended"}),
        json!({"is": "keepalive"}),
        json!({"is": "nack", "class": "benign"}),
        json!({"is": "nack", "class": "retry_later"}),
    ] {
        let (field, problem) = missing(rule).unwrap();
        assert!(field == "by" && problem.starts_with("is missing: say whom, by "), "{problem}");
    }
    for rule in [
        json!({"is": "nack", "class": "connection_fatal"}),
        json!({"is": "nack", "class": "feed_fatal"}),
        json!({"is": "nack", "by": "oldest"}),
        json!({"is": "ended", "by": "all"}),
        json!({"is": "keepalive", "by": "all"}),
        json!({"is": "ack"}),
    ] {
        assert_eq!(missing(rule), None);
    }
}

#[test]
fn classes_have_defaults() {
    let when = Matcher::text("x");
    assert_eq!(Rule::nack(when.clone()).effective_class(), ErrorClass::Refused);
    assert_eq!(Rule::ended(when.clone()).effective_class(), ErrorClass::RetryLater);
    assert_eq!(Rule::nack(when).class(ErrorClass::Benign).effective_class(), ErrorClass::Benign);
    for kind in ["heartbeat", "keepalive", "ack", "nack", "ended", "notice", "ignored"] {
        let parsed: RuleKind = serde_json::from_value(json!(kind)).unwrap();
        assert_eq!(parsed.name(), kind);
    }
}
