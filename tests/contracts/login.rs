//! What a server says during the login: refusals with their words, and what is kept for the connection.

use crate::common::*;
use livefeed::lab::{Command, Lab, Script};
use livefeed::{
    CloseReason, Codec, EndReason, ErrorClass, Event, Feed, FeedConfig, LoginStep, Matcher, Rule,
};

/// A feed that waits for `{"hello":1}`, and takes `{"no":..}` for a refusal.
fn config(lab: &Lab) -> FeedConfig {
    let step = LoginStep::expect(Matcher::pointer("/hello", 1));
    let mut config = FeedConfig::new(lab.url());
    config.login = vec![step.refused(Matcher::exists("/no")).detail("/no")];
    config
}

fn end_of(config: FeedConfig) -> EndReason {
    let feed = Feed::from_config(config).unwrap();
    let events = until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let Some(Event::Disconnected(end)) = events.last() else { unreachable!() };
    end.reason.clone()
}

/// The refusal, the Close frame and the end of the connection may all come at once.
#[test]
fn what_a_server_says_before_it_hangs_up_counts() {
    for end in [Command::Close(1000, String::new()), Command::Fin] {
        let script = Script::new()
            .greet(move |_| vec![Command::Send(r#"{"no":"wrong key"}"#.to_owned()), end.clone()]);
        let lab = Lab::start(script).unwrap();
        let feed = Feed::from_config(config(&lab)).unwrap();
        let events = until(&feed, |event| matches!(event, Event::Closed(_)));
        let Some(Event::Closed(closed)) = events.last() else { unreachable!() };
        let reason = EndReason::LoginRefused { detail: "wrong key".to_owned(), class: ErrorClass::FeedFatal };
        assert_eq!(closed.reason, CloseReason::Fatal(reason));
    }
    let lab = Lab::start(Script::new().send(r#"{"else":1}"#).close(1013, "later")).unwrap();
    assert!(matches!(end_of(config(&lab)), EndReason::ClosedByPeer { code: Some(1013), .. }));
}

/// What no step knows may be a refusal for a rule.
#[test]
fn a_refusal_that_a_rule_knows_ends_the_login() {
    let lab = Lab::start(Script::new().send(r#"{"error":"full"}"#)).unwrap();
    let mut config = config(&lab);
    let rule = Rule::nack(Matcher::exists("/error")).detail("/error");
    config.rules = vec![rule.class(ErrorClass::ConnectionFatal)];
    let reason = EndReason::LoginRefused { detail: "full".to_owned(), class: ErrorClass::ConnectionFatal };
    assert_eq!(end_of(config), reason);
}

/// It is decoded once, as everything else is.
#[test]
fn what_comes_before_the_login_is_through_is_kept_as_it_is() {
    let lab = Lab::start(Script::new().send(r#"[[1,2],{"hello":1},[3]]"#)).unwrap();
    let mut config = config(&lab);
    config.codecs = vec![Codec::Items];
    let feed = Feed::from_config(config).unwrap();
    let events = until_messages(&feed, 2);
    let texts: Vec<_> = messages(&events).iter().filter_map(|message| message.text()).collect();
    assert_eq!(texts, ["[1,2]", "[3]"]);
}
