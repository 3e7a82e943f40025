//! Each event and each alert, in JSON, keeps to the schema in the repository.

use super::*;
use std::collections::{BTreeMap, BTreeSet};

const NOW: SystemTime = SystemTime::UNIX_EPOCH;
const HOSTILE: &str = "\u{0}\u{7f}\u{9b}2J\u{2028}\u{202e}\"\\\n\u{10ffff}";

fn id() -> SubscriptionId {
    HOSTILE.into()
}

fn alerts() -> Vec<AlertKind> {
    let detail = HOSTILE.to_owned();
    let reason = EndReason::ClosedByPeer { code: Some(4999), reason: detail.clone() };
    let long = Duration::MAX;
    vec![
        AlertKind::SlowConsumer { messages: usize::MAX, bytes: usize::MAX },
        AlertKind::NeedsAttention { reason: reason.clone() },
        AlertKind::Reconnects { count: u32::MAX, window: long, reasons: BTreeMap::from([("io", 1)]) },
        AlertKind::Reconnects { count: 1, window: long, reasons: BTreeMap::new() },
        AlertKind::NoData { age: long, limit: long, hours: None },
        AlertKind::NoData { age: long, limit: long, hours: Some(detail.clone()) },
        AlertKind::Down { down: long, last: None },
        AlertKind::Down { down: long, last: Some(reason) },
        AlertKind::LimitAtCeiling { subscription: None, learned: long, ceiling: long },
        AlertKind::LimitAtCeiling { subscription: Some(id()), learned: long, ceiling: long },
        AlertKind::Unmatched { messages: u64::MAX },
        AlertKind::CountersForgotten { counters: u64::MAX },
        AlertKind::NothingFound {
            subscription: None,
            field: "sequence".into(),
            pointer: detail.clone(),
            messages: u64::MAX,
        },
        AlertKind::NothingFound {
            subscription: Some(id()),
            field: detail.clone(),
            pointer: detail.clone(),
            messages: 1,
        },
        AlertKind::TemplateFailed { what: "reply", detail: detail.clone() },
        AlertKind::CallbackPanicked { callback: "handler", message: detail.clone() },
        AlertKind::SubscribeFailed { subscription: id(), detail: detail.clone() },
        AlertKind::SubscriptionStale { subscription: id(), age: long, limit: long },
        AlertKind::SubscriptionRefused { subscription: id(), detail: detail.clone() },
        AlertKind::Quarantined { subscription: id(), ends: 3 },
        AlertKind::Notice { detail },
    ]
}

/// All events but messages.
fn events() -> Vec<Event> {
    let (time, epoch, subscription, detail) = (NOW, u64::MAX, id(), HOSTILE.to_owned());
    let some = Some(Duration::MAX);
    let mut events = vec![
        Event::Connecting(Box::new(Connecting { time, epoch, attempt: 1, endpoint: detail.clone() })),
        Event::Subscribed(Box::new(Subscribed { time, epoch, subscription: id(), resumed: Some(true) })),
        Event::Closed(Box::new(Closed { time, epoch, reason: CloseReason::ByUser })),
    ];
    for subprotocol in [None, Some(detail.clone())] {
        let peer = SocketAddr::from(([0; 16], 65535));
        let took = Duration::ZERO;
        events.push(Event::Connected(Box::new(Connected { time, epoch, took, peer, subprotocol })));
    }
    let classes = [
        ErrorClass::Benign,
        ErrorClass::RetryLater,
        ErrorClass::Refused,
        ErrorClass::ConnectionFatal,
        ErrorClass::FeedFatal,
    ];
    for class in classes {
        for retry_in in [None, some] {
            let (subscription, detail) = (subscription.clone(), detail.clone());
            let refused = Refused {
                time,
                epoch,
                subscription: subscription.clone(),
                class,
                detail: detail.clone(),
                retry_in,
            };
            events.push(Event::Refused(Box::new(refused)));
            events.push(Event::Ended(Box::new(Ended { time, epoch, subscription, class, detail, retry_in })));
        }
    }
    for cause in [StaleCause::Silent, StaleCause::Late, StaleCause::Frozen] {
        let milder = [Repair::Probe, Repair::Resubscribe, Repair::Wait];
        for next in milder.into_iter().chain([Repair::Reconnect, Repair::NextEndpoint]) {
            for subscription in [None, Some(id())] {
                let (age, limit) = (Duration::MAX, Duration::ZERO);
                events.push(Event::Stale(Box::new(Stale {
                    time,
                    epoch,
                    subscription,
                    cause,
                    age,
                    limit,
                    next,
                })));
            }
        }
    }
    let causes = [
        GapCause::Reconnected,
        GapCause::Resubscribed,
        GapCause::Overflow,
        GapCause::Sequence,
        GapCause::EndpointSwitched,
    ];
    for cause in causes {
        for number in [None, Some(u64::MAX)] {
            events.push(Event::Gap(Box::new(Gap {
                time,
                epoch,
                cause,
                subscriptions: number.map(|_| id()).into_iter().collect(),
                last_message: number.map(|_| NOW + Duration::from_secs(1 << 40)),
                lost: number,
                from: number,
                to: number,
            })));
        }
    }
    for retry_in in [None, some] {
        let reason = EndReason::LoginRefused { detail: detail.clone(), class: ErrorClass::Refused };
        let was_connected = retry_in.is_none();
        events.push(Event::Disconnected(Box::new(Disconnected {
            time,
            epoch,
            was_connected,
            reason,
            attempts: u32::MAX,
            retry_in,
        })));
    }
    for kind in alerts() {
        for status in [AlertStatus::Raised, AlertStatus::Cleared, AlertStatus::Happened] {
            events.push(Event::Alert(Box::new(Alert { time, epoch, status, kind: kind.clone() })));
        }
    }
    events
}

#[test]
fn each_event_keeps_to_the_schema() {
    let schema: Value = serde_json::from_str(include_str!("../../schema/events.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let name = |event: &Value, kind: &Value| (event.as_str().map(str::to_owned), kind.to_string());
    let mut seen = BTreeSet::from([name(&json!("message"), &Value::Null)]);
    for event in events() {
        let object = event.to_json(HOSTILE);
        let problems: Vec<String> = validator.iter_errors(&object).map(|error| error.to_string()).collect();
        assert!(problems.is_empty(), "{object}: {problems:?}");
        let text = object.to_string();
        assert!(!text.contains(['\n', '\0']), "one line: {text}");
        seen.insert(name(&object["event"], &object["kind"]));
    }
    let forms = schema["oneOf"].as_array().unwrap().iter();
    let known: BTreeSet<_> = forms
        .map(|form| name(&form["properties"]["event"]["const"], &form["properties"]["kind"]["const"]))
        .collect();
    assert_eq!(seen, known, "what the schema knows and what there is");
}
