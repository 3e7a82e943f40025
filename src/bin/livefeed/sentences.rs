//! Events as sentences for people.

use crate::hints;
use livefeed::{AlertStatus, Connected, Event};
use std::time::{Duration, SystemTime};

/// Whether an event is worth a line though nobody asked for more: something is wrong, or over.
pub(crate) fn is_important(event: &Event) -> bool {
    match event {
        Event::Stale(_) | Event::Gap(_) | Event::Refused(_) | Event::Ended(_) | Event::Alert(_) => true,
        // After the last attempt it closes, and why is the last word on standard error.
        Event::Disconnected(end) => end.retry_in.is_some() && !is_own_doing(&end.reason),
        _ => false,
    }
}

fn is_own_doing(reason: &livefeed::EndReason) -> bool {
    matches!(reason, livefeed::EndReason::ClosedByUser | livefeed::EndReason::Reconnect)
}

/// What to do about an event, where something can be said.
pub(crate) fn hint(event: &Event) -> Option<&'static str> {
    match event {
        // What ends a connection that was up is seldom the user's mistake.
        Event::Disconnected(end) if !end.was_connected => hints::hint(&end.reason),
        _ => None,
    }
}

/// One line about an event, with what to do about the end of a connection; none for messages.
pub(crate) fn of(event: &Event, hint: Option<&str>) -> Option<String> {
    Some(match event {
        Event::Message(_) => return None,
        Event::Connecting(e) => format!("connecting to {}, attempt {}", e.endpoint, e.attempt),
        Event::Connected(e) => connected(e),
        Event::Subscribed(e) => {
            let resumed = match e.resumed {
                Some(true) => ", and nothing was missed",
                Some(false) => ", and what was missed is lost",
                None => "",
            };
            format!("subscribed to {}{resumed}", e.subscription)
        }
        Event::Refused(e) => {
            format!("refused: subscription {}: {}{}", e.subscription, e.detail, retry(e.retry_in))
        }
        Event::Ended(e) => {
            format!("ended by the server: subscription {}: {}{}", e.subscription, e.detail, retry(e.retry_in))
        }
        Event::Stale(e) => {
            let whose =
                e.subscription.as_ref().map_or_else(String::new, |id| format!(" for subscription {id}"));
            format!(
                "stale ({}){whose} for {}, the limit is {}; next: {}",
                e.cause.name(),
                seconds(e.age),
                seconds(e.limit),
                e.next.name(),
            )
        }
        Event::Gap(e) => {
            let mut text = format!("gap: {}", e.cause.name());
            if !e.subscriptions.is_empty() {
                let names: Vec<&str> = e.subscriptions.iter().take(5).map(|id| id.as_str()).collect();
                let more = if e.subscriptions.len() > names.len() { ", .." } else { "" };
                text += &format!(", subscriptions {}{more}", names.join(", "));
            }
            if let Some(lost) = e.lost {
                text += &format!(", {lost} {} lost", if lost == 1 { "message" } else { "messages" });
            }
            text + &last_message(e.last_message, e.time)
        }
        Event::Disconnected(e) => {
            let what = if e.was_connected { "disconnected" } else { "no connection" };
            let times = if e.attempts > 1 { format!(" ({} times)", e.attempts) } else { String::new() };
            let next =
                e.retry_in.map_or_else(String::new, |delay| format!("; next attempt in {}", seconds(delay)));
            let hint = hint.map_or_else(String::new, |hint| format!("; {hint}"));
            format!("{what}{times}: {}{hint}{next}", hints::end(&e.reason))
        }
        Event::Alert(e) => match e.status {
            AlertStatus::Raised => format!("alert: {}", e.kind),
            AlertStatus::Cleared => format!("alert over: {}", e.kind),
            _ => format!("notice: {}", e.kind),
        },
        Event::Closed(e) => format!("closed: {}", hints::close(&e.reason)),
        other => other.name().to_owned(),
    })
}

fn connected(e: &Connected) -> String {
    let subprotocol = e.subprotocol.as_ref().map_or_else(String::new, |name| format!(", subprotocol {name}"));
    format!(
        "connected to {}{subprotocol}, epoch {}, in {:.1} ms",
        e.peer,
        e.epoch,
        e.took.as_secs_f64() * 1e3
    )
}

fn retry(delay: Option<Duration>) -> String {
    delay.map_or_else(String::new, |delay| format!("; asked again in {}", seconds(delay)))
}

fn last_message(then: Option<SystemTime>, now: SystemTime) -> String {
    match then {
        Some(then) => {
            format!(
                "; the last message before it came {} earlier",
                seconds(now.duration_since(then).unwrap_or_default())
            )
        }
        None => "; there was no message before it".to_owned(),
    }
}

/// A duration to a millisecond.
pub(crate) fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}
