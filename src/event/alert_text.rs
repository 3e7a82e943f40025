//! Alerts as sentences, for logs and mails.

use super::AlertKind;
use std::fmt::{self, Write};
use std::time::Duration;

/// A sentence on one line, without a full stop and without control characters.
impl fmt::Display for AlertKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let f = &mut Line(f);
        match self {
            Self::SlowConsumer { messages, bytes } => {
                write!(f, "the consumer is slow: messages in the queue {messages}, bytes {bytes}")
            }
            Self::NeedsAttention { reason } => {
                write!(f, "a person has to look: {reason}")
            }
            Self::Reconnects { count, window, reasons } => {
                write!(f, "connections that ended within {}: {count}", Span(*window))?;
                for (index, (reason, count)) in reasons.iter().enumerate() {
                    write!(f, "{} {reason} {count}", if index == 0 { ", of these" } else { "," })?;
                }
                Ok(())
            }
            Self::NoData { age, limit, hours } => {
                write!(f, "no data for {}, the limit is {}", Span(*age), Span(*limit))?;
                match hours {
                    Some(hours) => write!(f, " in the hours {hours}"),
                    None => Ok(()),
                }
            }
            Self::Down { down, last } => {
                write!(f, "no connection for {}", Span(*down))?;
                match last {
                    Some(reason) => write!(f, ", the last end: {reason}"),
                    None => Ok(()),
                }
            }
            Self::LimitAtCeiling { subscription, learned, ceiling } => {
                f.write_str("the learned limit")?;
                if let Some(subscription) = subscription {
                    write!(f, " of subscription {subscription}")?;
                }
                write!(f, " is at its ceiling {}, the slowest gap is {}", Span(*ceiling), Span(*learned))
            }
            Self::Unmatched { messages } => {
                write!(f, "messages that no rule and no subscription knows: {messages}")
            }
            Self::CountersForgotten { counters } => {
                write!(f, "sequence counters that were forgotten: {counters}")
            }
            Self::NothingFound { subscription, field, pointer, messages } => {
                write!(f, "{field}")?;
                if let Some(subscription) = subscription {
                    write!(f, " of subscription {subscription}")?;
                }
                write!(f, " finds nothing at {pointer}, messages looked at: {messages}")
            }
            Self::TemplateFailed { what, detail } => {
                write!(f, "the {what} message can't be made: {detail}")
            }
            Self::CallbackPanicked { callback, message } => {
                write!(f, "{callback} panicked: {message}")
            }
            Self::SubscribeFailed { subscription, detail } => {
                write!(f, "the message of subscription {subscription} can't be sent: {detail}")
            }
            Self::SubscriptionStale { subscription, age, limit } => {
                let (age, limit) = (Span(*age), Span(*limit));
                write!(f, "subscription {subscription} stays stale: no data for {age}, the limit is {limit}")
            }
            Self::SubscriptionRefused { subscription, detail } => {
                write!(f, "the server does not grant subscription {subscription}: {detail}")
            }
            Self::Quarantined { subscription, ends } => {
                write!(f, "subscription {subscription} is in quarantine, connections it ended: {ends}")
            }
            Self::Notice { detail } => write!(f, "the server announces: {detail}"),
        }
    }
}

/// Has a space in the place of each control character.
struct Line<'a, 'f>(&'a mut fmt::Formatter<'f>);

impl Write for Line<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            match part.strip_suffix(char::is_control) {
                Some(text) => write!(self.0, "{text} ")?,
                None => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// A span of time, in whole milliseconds, or seconds if it is long.
struct Span(Duration);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = match self.0.as_secs() {
            0..60 => Duration::from_millis(u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)),
            seconds => Duration::from_secs(seconds),
        };
        humantime::format_duration(whole).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::EndReason;
    use std::collections::BTreeMap;

    #[test]
    fn alerts_are_sentences_on_one_line() {
        let reasons = BTreeMap::from([("io", 2), ("stale", 4)]);
        let ten_minutes = Duration::from_secs(600);
        for (kind, text) in [
            (
                AlertKind::Reconnects { count: 6, window: ten_minutes, reasons },
                "connections that ended within 10m: 6, of these io 2, stale 4",
            ),
            (
                AlertKind::NoData {
                    age: Duration::from_micros(600_123_456),
                    limit: ten_minutes,
                    hours: Some("outside nyse".into()),
                },
                "no data for 10m, the limit is 10m in the hours outside nyse",
            ),
            (
                AlertKind::Down { down: Duration::from_micros(1_234_567), last: Some(EndReason::Eof) },
                "no connection for 1s 234ms, the last end: closed without close frame",
            ),
            (
                AlertKind::NothingFound {
                    subscription: Some("btc".into()),
                    field: "sequence".into(),
                    pointer: "/seq".into(),
                    messages: 50,
                },
                "sequence of subscription btc finds nothing at /seq, messages looked at: 50",
            ),
            (
                AlertKind::Notice { detail: "up\r\n2026 WARN forged".into() },
                "the server announces: up  2026 WARN forged",
            ),
        ] {
            assert_eq!(kind.to_string(), text);
        }
    }
}
