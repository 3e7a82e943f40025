//! A made-up protocol for the scenarios of subscriptions, and events in short.
//!
//! The feed asks `{"op":"sub","id":1,"ch":"a"}`; the server acknowledges `{"ack":1,"ch":"a"}`, refuses `{"nack":1,"msg":".."}`,
//! ends `{"end":"a"}`, and sends `{"ch":"a","n":1}`.

use crate::common::{feed, frame};
use livefeed::lab::{Command, Incoming, Lab, Script};
use livefeed::{Ack, Event, FeedBuilder, Matcher, Rule, Subscription};
use serde_json::{Value, json};

/// Texts in one write, and so, on the loopback, in one segment.
pub(crate) fn at_once(texts: &[Value]) -> Command {
    Command::Raw(texts.iter().flat_map(|text| frame(0x81, text.to_string().as_bytes())).collect())
}

/// What a subscription of the protocol has.
pub(crate) fn terms(terms: Subscription) -> Subscription {
    terms
        .subscribe_json(json!({"op": "sub", "id": "${id}", "ch": "${name}"}))
        .unsubscribe_json(json!({"op": "unsub", "id": "${id}", "ch": "${name}"}))
        .data(Matcher::pointer("/ch", "${name}"))
}

/// A feed that speaks it, without rules.
pub(crate) fn bare(lab: &Lab) -> FeedBuilder {
    feed(lab).defaults(terms)
}

/// A feed that speaks it: acknowledgements by number, and all the rest.
pub(crate) fn speaking(lab: &Lab) -> FeedBuilder {
    bare(lab)
        .rule(Rule::ack(Matcher::exists("/ack")).by_id("/ack"))
        .rule(Rule::nack(Matcher::exists("/nack")).by_id("/nack").detail("/msg"))
        .rule(
            Rule::ended(Matcher::exists("/end")).by_match(Matcher::pointer("/end", "${name}")).detail("/msg"),
        )
        .defaults(|terms| terms.ack(Ack::Rule))
}

/// What the feed asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) op: String,
    pub(crate) id: u64,
    pub(crate) ch: String,
}

pub(crate) fn asked(text: &str) -> Asked {
    let json: Value = serde_json::from_str(text).unwrap_or_default();
    let text = |name: &str| json[name].as_str().unwrap_or_default().to_owned();
    Asked { op: text("op"), id: json["id"].as_u64().unwrap_or_default(), ch: text("ch") }
}

/// A server that answers what it is asked.
pub(crate) fn answers(answer: impl Fn(&Asked) -> Vec<Command> + Send + Sync + 'static) -> Script {
    Script::new().react(move |incoming| match incoming {
        Incoming::Text(text) => answer(&asked(text)),
        Incoming::Binary(_) => Vec::new(),
    })
}

pub(crate) fn send(value: &Value) -> Command {
    Command::Send(value.to_string())
}

/// A server that grants everything, and sends one message for each subscription.
pub(crate) fn granting() -> Script {
    answers(|it| match it.op.as_str() {
        "sub" => vec![send(&json!({"ack": it.id})), send(&json!({"ch": it.ch, "n": 1}))],
        "unsub" => vec![send(&json!({"ack": it.id}))],
        _ => Vec::new(),
    })
}

/// What the lab got on a connection, as `sub a`.
pub(crate) fn wishes(lab: &Lab, connection: usize) -> Vec<String> {
    let transcript = lab.transcript();
    let texts = transcript.received_texts(connection);
    texts.into_iter().map(asked).map(|it| format!("{} {}", it.op, it.ch)).collect()
}

/// An event in a few words.
pub(crate) fn brief(event: &Event) -> String {
    let listed = |names: &[livefeed::SubscriptionId]| {
        names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(",")
    };
    match event {
        Event::Message(m) => format!("{} {}", listed(m.subscriptions()), m.text().unwrap_or("(binary)")),
        Event::Subscribed(e) => format!("subscribed {}", e.subscription),
        Event::Refused(e) => format!("refused {} {}: {}", e.subscription, e.class.name(), e.detail),
        Event::Ended(e) => format!("ended {} {}: {}", e.subscription, e.class.name(), e.detail),
        Event::Gap(gap) => format!("gap {} {}", gap.cause.name(), listed(&gap.subscriptions)),
        Event::Stale(e) => {
            let name = e.subscription.as_ref().map_or("-", |id| id.as_str());
            format!("stale {name} {}", e.next.name())
        }
        Event::Alert(alert) => format!("alert {}", alert.kind.name()),
        Event::Disconnected(e) => format!("disconnected: {}", e.reason),
        event => format!("{} {}", event.name(), event.epoch()),
    }
}

pub(crate) fn briefs(events: &[Event]) -> Vec<String> {
    events.iter().map(brief).collect()
}

/// Where it stands among them.
#[track_caller]
pub(crate) fn at(all: &[String], wanted: &str) -> usize {
    let found = all.iter().position(|it| it.starts_with(wanted));
    found.unwrap_or_else(|| panic!("{wanted:?} is not among {all:#?}"))
}
