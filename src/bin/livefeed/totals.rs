//! What a feed has done in all: for the last line, and for what one event alone does not say.

use crate::sentences::seconds;
use livefeed::{Event, GapCause, SubscriptionId};
use std::fmt;
use std::time::{Duration, SystemTime};

/// Counts. As text: a line for people.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    /// Messages that were printed.
    pub(crate) messages: u64,
    connections: u64,
    gaps: u64,
    /// Of the subscriptions that went stale since the last gap: the one with the oldest data, and when that came.
    oldest: Option<(SubscriptionId, SystemTime)>,
}

impl Totals {
    /// Counts an event that is no message. Returns what is to be said of a gap: a subscription that was silent for longer
    /// than the feed as a whole.
    pub(crate) fn count(&mut self, event: &Event, is_over: bool) -> Option<String> {
        match event {
            Event::Connected(_) => self.connections += 1,
            Event::Stale(e) => {
                let then = e.time.checked_sub(e.age).unwrap_or(SystemTime::UNIX_EPOCH);
                if let Some(id) = &e.subscription
                    && self.oldest.as_ref().is_none_or(|(_, oldest)| then < *oldest)
                {
                    self.oldest = Some((id.clone(), then));
                }
            }
            Event::Gap(_) if is_over => {}
            Event::Gap(e) => {
                self.gaps += 1;
                if matches!(e.cause, GapCause::Overflow | GapCause::Sequence) {
                    return None;
                }
                let (id, then) = self.oldest.take()?;
                let sooner = e.last_message?.duration_since(then).unwrap_or_default();
                if sooner >= Duration::from_millis(1) && e.subscriptions.contains(&id) {
                    let age = e.time.duration_since(then).unwrap_or_default();
                    return Some(format!(", that of {id} {}", seconds(age)));
                }
            }
            _ => {}
        }
        None
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let s = |count| if count == 1 { "" } else { "s" };
        let Self { messages, connections, gaps, .. } = *self;
        write!(
            f,
            "{messages} message{}, {connections} connection{}, {gaps} gap{}",
            s(messages),
            s(connections),
            s(gaps)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use livefeed::lab::{Command, Lab, Script, Topic};
    use livefeed::{Decision, Feed, Matcher, Subscription};

    #[test]
    fn the_subscription_that_was_silent_longest_is_named_once() {
        let ms = Duration::from_millis;
        let topics =
            move || Script::of_topics([Topic::new("btc").every(ms(20)), Topic::new("eth").every(ms(20))]);
        let lab = Lab::builder()
            .scripts(move |connection| match connection {
                1 => topics().for_(ms(100)).then(Command::Mute("btc".to_owned())),
                _ => topics().for_(ms(300)).close(1001, "bye"),
            })
            .start()
            .unwrap();
        let subscription = |id: &str| {
            Subscription::new(id)
                .data(Matcher::pointer("/topic", id))
                .stale_after(ms(500))
                .repair([livefeed::RepairStep::Reconnect])
        };
        let feed = Feed::builder(lab.url())
            .subscription(subscription("btc"))
            .subscription(subscription("eth"))
            .retry_policy(|reason, _| (reason.name() == "io").then_some(Decision::Fatal))
            .open()
            .unwrap();
        let mut totals = Totals::default();
        let mut said = Vec::new();
        for event in &feed {
            let more = totals.count(&event, false);
            if let Event::Gap(_) = event {
                said.push(more);
                if said.len() == 2 {
                    break;
                }
            }
        }
        let [Some(first), None] = said.as_slice() else { panic!("{said:?}") };
        assert!(first.starts_with(", that of btc "), "{first}");
        let age: f64 = first.split(' ').nth(4).unwrap().parse().unwrap();
        assert!(age >= 0.5, "{first}");
        assert_eq!(totals.to_string(), "0 messages, 3 connections, 2 gaps");
    }
}
