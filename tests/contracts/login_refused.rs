//! What a server says during the login: refusals with their words, and what is kept for the connection.

use crate::common::*;
use livefeed::lab::{Command, Lab, Script};
use livefeed::{CloseReason, EndReason, ErrorClass, Event, Feed, FeedConfig, LoginStep, Matcher, Rule};

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
        let reason = EndReason::LoginRefused { detail: "wrong key".to_owned(), class: ErrorClass::Refused };
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
