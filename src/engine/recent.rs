//! The last lifecycle events in short, for people who look at a feed. Payloads never come here.

use super::record;
use crate::error::CloseReason;
use crate::event::{AlertKind, AlertStatus, Event, Gap, GapCause};
use crate::message::SubscriptionId;
use crate::note::{Note, Weight};
use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::SystemTime;

/// So many are kept.
const NOTES: usize = 32;

/// So many of one kind in a row are kept apart; more stand for each other, or the subscriptions of one connection
/// would push out all that matters.
const IN_A_ROW: usize = 3;

#[derive(Debug, Default)]
pub(crate) struct Recent {
    notes: VecDeque<Kept>,
    /// The gaps of the queue that were taken note of.
    overflows: u64,
}

#[derive(Debug)]
struct Kept {
    note: Note,
    /// Tells what may stand for each other, with the name.
    kind: &'static str,
}

impl Recent {
    /// Takes note of an event. Messages are left out.
    pub(crate) fn push(&mut self, event: &Event) {
        if matches!(event, Event::Message(_)) {
            return;
        }
        let mut text = Short::default();
        // What an attempt led to takes the place of it.
        if matches!(event, Event::Connected(_) | Event::Disconnected(_))
            && self.notes.back().is_some_and(|kept| kept.note.name == "connecting")
            && let Some(attempt) = self.notes.pop_back()
        {
            let _ = write!(text, "{}: ", attempt.note.text);
        }
        let _ = write_text(&mut text, event); // one that is cut short is none the worse
        self.add(event.time(), event.name(), kind(event), weight(event), text.finish());
    }

    /// Takes note of messages that the queue dropped: such gaps are made there, so many so far.
    pub(crate) fn push_overflow(&mut self, now: SystemTime, gaps: u64) {
        if gaps == std::mem::replace(&mut self.overflows, gaps) {
            return;
        }
        self.add(now, "gap", GapCause::Overflow.name(), Weight::Bad, "overflow: the queue was full".into());
    }

    fn add(
        &mut self,
        time: SystemTime,
        name: &'static str,
        kind: &'static str,
        weight: Weight,
        text: Arc<str>,
    ) {
        let alike = |kept: &&Kept| kept.note.name == name && kept.kind == kind;
        let mut times = 1;
        if self.notes.iter().rev().take_while(alike).count() >= IN_A_ROW
            && let Some(last) = self.notes.pop_back()
        {
            times = last.note.times.saturating_add(1);
        }
        if self.notes.len() >= NOTES {
            self.notes.pop_front();
        }
        self.notes.push_back(Kept { note: Note { time, name, weight, text, times }, kind });
    }

    /// The notes, the newest first.
    pub(crate) fn read(&self) -> Vec<Note> {
        self.notes.iter().rev().map(|kept| kept.note.clone()).collect()
    }
}

/// What may stand for each other.
fn kind(event: &Event) -> &'static str {
    match event {
        Event::Gap(e) => e.cause.name(),
        Event::Disconnected(e) => e.reason.name(),
        Event::Alert(e) => e.kind.name(),
        Event::Stale(e) if e.subscription.is_none() => "connection",
        _ => "",
    }
}

fn weight(event: &Event) -> Weight {
    match event {
        Event::Connected(_) | Event::Subscribed(_) => Weight::Good,
        Event::Connecting(_) | Event::Message(_) => Weight::Plain,
        Event::Gap(gap) => match gap.cause {
            GapCause::Overflow | GapCause::Sequence => Weight::Bad,
            _ => Weight::Plain,
        },
        Event::Alert(alert) => match (alert.status, &alert.kind) {
            (AlertStatus::Cleared, _) => Weight::Good,
            (_, AlertKind::Notice { .. }) => Weight::Plain,
            _ => Weight::Bad,
        },
        Event::Closed(closed) if closed.reason == CloseReason::ByUser => Weight::Plain,
        Event::Disconnected(end) if record::is_asked_for(end) => Weight::Plain,
        Event::Stale(_) | Event::Refused(_) | Event::Ended(_) | Event::Disconnected(_) | Event::Closed(_) => {
            Weight::Bad
        }
    }
}

fn write_text(out: &mut Short, event: &Event) -> fmt::Result {
    match event {
        Event::Connecting(e) => write!(out, "attempt {} to {}", e.attempt, e.endpoint),
        Event::Connected(e) => {
            write!(out, "epoch {}, {}, took {:.0} ms", e.epoch, e.peer, e.took.as_secs_f64() * 1e3)
        }
        Event::Subscribed(e) => out.write_str(e.subscription.as_str()),
        Event::Refused(e) => write!(out, "{}: {}", e.subscription, e.detail),
        Event::Ended(e) => write!(out, "{}: {}", e.subscription, e.detail),
        Event::Stale(e) => write!(
            out,
            "{}: {} for {:.3} s, limit {:.3} s; next: {}",
            e.subscription.as_ref().map_or("connection", SubscriptionId::as_str),
            e.cause.lack(),
            e.age.as_secs_f64(),
            e.limit.as_secs_f64(),
            e.next.name(),
        ),
        Event::Gap(e) => write_gap(out, e),
        Event::Disconnected(e) => {
            write!(out, "{}", e.reason)?;
            e.retry_in.map_or(Ok(()), |delay| write!(out, "; next attempt in {:.3} s", delay.as_secs_f64()))
        }
        Event::Alert(e) => write_alert(out, e.status, &e.kind),
        Event::Closed(e) => write!(out, "{}", e.reason),
        Event::Message(_) => Ok(()),
    }
}

fn write_gap(out: &mut Short, gap: &Gap) -> fmt::Result {
    out.write_str(gap.cause.name())?;
    match gap.subscriptions.as_slice() {
        [] => {}
        [one] => write!(out, ": {one}")?,
        [first, rest @ ..] => write!(out, ": {first} and {} more", rest.len())?,
    }
    if let (Some(from), Some(to)) = (gap.from, gap.to) {
        write!(out, ", {to} came after {from}")?;
    }
    gap.lost.map_or(Ok(()), |lost| write!(out, ", {lost} lost"))
}

fn write_alert(out: &mut Short, status: AlertStatus, kind: &AlertKind) -> fmt::Result {
    if status != AlertStatus::Happened {
        write!(out, "{}: ", status.name())?;
    }
    write!(out, "{kind}")
}

/// Something to write to that stops at the longest a note may be, so that what the peer made long costs nothing.
#[derive(Default)]
struct Short {
    text: String,
    chars: usize,
    cut: bool,
}

impl Short {
    fn finish(mut self) -> Arc<str> {
        if self.cut {
            self.text.pop();
            self.text.push('…');
        }
        self.text.into()
    }
}

impl fmt::Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.chars == Note::LONGEST {
                self.cut = true;
                return Err(fmt::Error);
            }
            self.chars += 1;
            self.text.push(if c.is_control() { ' ' } else { c });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{EndReason, Stage};
    use crate::event::{Alert, Closed, Connected, Connecting, Disconnected, Subscribed};
    use std::time::Duration;

    const TIME: SystemTime = SystemTime::UNIX_EPOCH;

    fn connecting(attempt: u32) -> Event {
        let endpoint = "wss://h/ws".to_owned();
        Event::Connecting(Box::new(Connecting { time: TIME, epoch: 1, attempt, endpoint }))
    }

    fn disconnected(reason: EndReason) -> Event {
        let retry_in = Some(Duration::from_millis(500));
        let (was_connected, attempts) = (false, 1);
        Event::Disconnected(Box::new(Disconnected {
            time: TIME,
            epoch: 1,
            was_connected,
            reason,
            attempts,
            retry_in,
        }))
    }

    fn subscribed(id: &str) -> Event {
        Event::Subscribed(Box::new(Subscribed {
            time: TIME,
            epoch: 1,
            subscription: id.into(),
            resumed: None,
        }))
    }

    fn texts(recent: &Recent) -> Vec<(&'static str, String, u64)> {
        recent.read().into_iter().map(|note| (note.name, note.text.to_string(), note.times)).collect()
    }

    #[test]
    fn an_attempt_gives_way_to_what_it_led_to() {
        let mut recent = Recent::default();
        recent.push(&connecting(1));
        assert_eq!(texts(&recent), [("connecting", "attempt 1 to wss://h/ws".to_owned(), 1)]);
        recent.push(&disconnected(EndReason::Dns { detail: "no such host".into() }));
        recent.push(&connecting(2));
        recent.push(&Event::Connected(Box::new(Connected {
            time: TIME,
            epoch: 1,
            took: Duration::from_millis(12),
            peer: "127.0.0.1:443".parse().unwrap(),
            subprotocol: None,
        })));
        assert_eq!(
            texts(&recent),
            [
                ("connected", "attempt 2 to wss://h/ws: epoch 1, 127.0.0.1:443, took 12 ms".to_owned(), 1),
                (
                    "disconnected",
                    "attempt 1 to wss://h/ws: dns: no such host; next attempt in 0.500 s".to_owned(),
                    1
                ),
            ]
        );
    }

    #[test]
    fn what_comes_in_crowds_does_not_push_out_the_rest() {
        let mut recent = Recent::default();
        for attempt in 1..=100 {
            recent.push(&connecting(attempt));
            recent.push(&disconnected(EndReason::Eof));
        }
        recent.push(&disconnected(EndReason::io(
            Stage::Connect,
            &std::io::ErrorKind::ConnectionRefused.into(),
        )));
        for number in 0..1_000 {
            recent.push(&subscribed(&format!("s{number}")));
        }
        let seen = texts(&recent);
        assert_eq!(seen[0], ("subscribed", "s999".to_owned(), 998));
        assert_eq!(seen[1..3], [("subscribed", "s1".into(), 1), ("subscribed", "s0".into(), 1)]);
        assert!(seen[3].1.starts_with("io: ") && seen[3].2 == 1);
        assert!(seen[4].1.starts_with("attempt 100 to") && seen[4].2 == 98);
        assert_eq!(seen.len(), 7);
    }

    #[test]
    fn there_is_a_bound_on_how_many_and_how_long() {
        let mut recent = Recent::default();
        for number in 0..100 {
            recent.push(&subscribed(&format!("s{number}")));
            let detail = format!("no\r\n\u{1b}[31m\u{7f}{}", "ä".repeat(100_000));
            recent.push(&disconnected(EndReason::Protocol { detail }));
        }
        assert_eq!(recent.notes.len(), NOTES);
        for note in recent.read() {
            assert!(note.text.chars().count() <= Note::LONGEST, "{}", note.text);
            assert!(!note.text.contains(char::is_control), "{:?}", note.text);
        }
        let long = recent.read().remove(0);
        assert!(long.text.ends_with("ä…"), "it shows that it was cut: {}", long.text);
        let mut exact = Short::default();
        assert!(exact.write_str(&"x".repeat(Note::LONGEST)).is_ok());
        assert!(exact.finish().ends_with('x'), "what just fits is not cut");
    }

    #[test]
    fn the_weight_is_that_for_somebody_who_looks_for_trouble() {
        let closed = |reason| Event::Closed(Box::new(Closed { time: TIME, epoch: 1, reason }));
        assert_eq!(weight(&closed(CloseReason::ByUser)), Weight::Plain);
        assert_eq!(weight(&closed(CloseReason::Fatal(EndReason::Eof))), Weight::Bad);
        assert_eq!(weight(&disconnected(EndReason::Eof)), Weight::Bad);
        assert_eq!(weight(&disconnected(EndReason::Reconnect)), Weight::Plain);
        let alert = |status| {
            let kind = AlertKind::Down { down: Duration::from_secs(300), last: Some(EndReason::Eof) };
            Event::Alert(Box::new(Alert { time: TIME, epoch: 1, status, kind }))
        };
        assert_eq!(weight(&alert(AlertStatus::Raised)), Weight::Bad);
        assert_eq!(weight(&alert(AlertStatus::Cleared)), Weight::Good);
        let mut recent = Recent::default();
        recent.push(&alert(AlertStatus::Raised));
        assert_eq!(
            texts(&recent)[0].1,
            "raised: no connection for 5m, the last end: closed without close frame".to_owned()
        );
        recent.push_overflow(TIME, 0);
        assert_eq!(texts(&recent).len(), 1);
        recent.push_overflow(TIME, 1);
        recent.push_overflow(TIME, 1);
        assert_eq!((texts(&recent)[0].0, texts(&recent).len()), ("gap", 2));
    }
}
