//! The event queue: bounded in messages and bytes, with lifecycle events that are never dropped but fold.
//!
//! Invariants: what is dropped is counted and marked by one gap in its place; between two messages stands one *run*
//! of few lifecycle events, because a `Disconnected` swallows the failures before it that nobody has read, and of
//! events about the same subject only the newest stays. A drop that makes two runs one folds them again.

use super::fold::{
    Older, Subject, fold, is_disconnected, is_message, join, message_time, overflow_gap, widen,
};
use crate::event::{AlertKind, Event, Gap, GapCause};
use crate::message::SubscriptionId;
use std::collections::{HashSet, VecDeque};
use std::time::SystemTime;

/// What happens when the queue is full.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overflow {
    Block,
    DropOldest,
    KeepLatest,
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
    pub(crate) overflow: Overflow,
}

/// Unread lifecycle events of an application that subscribes without ever reading stop growing here.
const LIFECYCLE: usize = 64 * 1024;

/// How far back a new event looks for an older one of the same subject.
const LOOK_BACK: usize = 256;

/// A leading run up to this long is folded whenever it grows; a longer one when it has doubled.
const SHORT: usize = 64;

pub(crate) struct Queue {
    bounds: Bounds,
    events: VecDeque<Event>,
    messages: usize,
    bytes: usize,
    claimed_messages: usize,
    claimed_bytes: usize,
    /// When the last claimed message was received.
    last_claimed: Option<SystemTime>,
    dropped: u64,
    gaps: u64,
    /// That many events at the front are known to be no messages.
    lead: usize,
    /// What `lead` was when the leading run was last folded.
    lead_folded: usize,
    /// With more lifecycle events than this the queue is compacted.
    compact_at: usize,
}

impl Queue {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            events: VecDeque::new(),
            messages: 0,
            bytes: 0,
            claimed_messages: 0,
            claimed_bytes: 0,
            last_claimed: None,
            dropped: 0,
            gaps: 0,
            lead: 0,
            lead_folded: 0,
            compact_at: LIFECYCLE,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Whether a blocked policy has to wait. What is claimed and not yet consumed counts.
    pub(crate) fn is_full(&self) -> bool {
        self.bounds.overflow == Overflow::Block && self.reaches(self.bounds.messages, self.bounds.bytes)
    }

    /// Whether it is nearly full: time to say so.
    pub(crate) fn is_nearly_full(&self) -> bool {
        let (messages, bytes) = (self.bounds.messages, self.bounds.bytes);
        self.bounds.overflow == Overflow::Block && self.reaches(messages - messages / 4, bytes - bytes / 4)
    }

    /// Whether at least half is free again.
    pub(crate) fn is_relaxed(&self) -> bool {
        !self.reaches(self.bounds.messages.div_ceil(2), self.bounds.bytes.div_ceil(2))
    }

    fn reaches(&self, messages: usize, bytes: usize) -> bool {
        self.messages + self.claimed_messages >= messages || self.bytes + self.claimed_bytes >= bytes
    }

    pub(crate) fn messages(&self) -> usize {
        self.messages
    }

    /// Bytes in the queue, those claimed and not yet consumed included.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes + self.claimed_bytes
    }

    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Gaps that the queue itself made.
    pub(crate) fn gaps(&self) -> u64 {
        self.gaps
    }

    /// Adds messages; `bytes` is the sum of their payloads. A batch is taken whole, also over the bound (at most
    /// one `recv`'s worth), so that an end never waits for room.
    pub(crate) fn append(&mut self, batch: &mut VecDeque<Event>, bytes: usize) {
        self.messages += batch.len();
        self.bytes += bytes;
        if self.events.is_empty() {
            std::mem::swap(&mut self.events, batch);
        } else {
            self.events.append(batch);
        }
        match self.bounds.overflow {
            Overflow::Block => {}
            Overflow::DropOldest => self.drop_oldest(),
            Overflow::KeepLatest => {
                // One pass over the queue; with fewer subscriptions than it has room for, it makes much room.
                if self.is_over() {
                    self.keep_latest();
                }
                self.drop_oldest();
            }
        }
    }

    /// Drops the messages of a batch instead of adding them, and marks that: the feed is being closed and
    /// nobody made room.
    pub(crate) fn discard(&mut self, batch: &mut VecDeque<Event>) {
        for event in batch.drain(..) {
            if let Event::Message(message) = event {
                self.dropped += 1;
                let last = self.events.iter().rev().find_map(message_time).or(self.last_claimed);
                match self.events.back_mut() {
                    Some(Event::Gap(gap)) if gap.cause == GapCause::Overflow => widen(gap, &message),
                    _ => {
                        self.gaps += 1;
                        self.events.push_back(Event::Gap(overflow_gap(&message, last)));
                    }
                }
            }
        }
    }

    /// Adds a lifecycle event.
    pub(crate) fn push(&mut self, mut event: Event) {
        let older = Subject::of(&event).and_then(|subject| {
            self.unread().take(LOOK_BACK).position(|old| Subject::of(old) == Some(subject))
        });
        if let Some(back) = older {
            let at = self.events.len() - 1 - back;
            self.lead = self.lead.min(at);
            if let (Some(Event::Gap(old)), Event::Gap(new)) = (self.events.remove(at), &mut event) {
                Older::from(&*old).into_newer(new);
            }
        }
        let ends_again = is_disconnected(&event) && self.unread().any(is_disconnected);
        self.events.push_back(event);
        if ends_again {
            let tail = self.events.len() - self.unread().count();
            let run = self.events.drain(tail..).collect();
            self.events.extend(fold(run));
            self.lead = self.lead.min(tail);
        }
        if self.events.len() - self.messages > self.compact_at {
            self.compact();
        }
    }

    /// The lifecycle events since the last message, the newest first.
    fn unread(&self) -> impl Iterator<Item = &Event> {
        self.events.iter().rev().take_while(|event| !is_message(event))
    }

    /// Folds all runs; if that does not help, lets go of the older half of what names single subscriptions.
    fn compact(&mut self) {
        self.rebuild(|_| true);
        if self.events.len() - self.messages > LIFECYCLE / 2 {
            self.thin();
        }
        self.compact_at = LIFECYCLE.max(2 * (self.events.len() - self.messages));
    }

    /// Drops the older half of what names single subscriptions. Gaps are joined instead, up to the next message
    /// or end.
    fn thin(&mut self) {
        let is_spare = |event: &Event| match event {
            Event::Subscribed(_) | Event::Refused(_) | Event::Ended(_) => true,
            Event::Stale(stale) => stale.subscription.is_some(),
            Event::Gap(gap) => matches!(gap.cause, GapCause::Resubscribed | GapCause::Sequence),
            Event::Alert(alert) => matches!(
                alert.kind,
                AlertKind::SubscribeFailed { .. }
                    | AlertKind::SubscriptionRefused { .. }
                    | AlertKind::SubscriptionStale { .. }
                    | AlertKind::Quarantined { .. }
            ),
            _ => false,
        };
        let spare = self.events.iter().filter(|event| is_spare(event)).count();
        // However much else there is, what stays of them does not grow from one time to the next.
        let mut excess = spare - (spare / 2).min(LIFECYCLE / 2);
        let mut kept = VecDeque::with_capacity(self.events.len());
        let mut joined: Option<Box<Gap>> = None;
        for event in std::mem::take(&mut self.events) {
            if excess > 0 && is_spare(&event) {
                excess -= 1;
                if let Event::Gap(mut gap) = event {
                    if let Some(before) = joined.take() {
                        join(&mut gap, &before);
                        gap.last_message = before.last_message;
                    }
                    joined = Some(gap);
                }
                continue;
            }
            if excess == 0 || is_message(&event) || is_disconnected(&event) {
                kept.extend(joined.take().map(Event::Gap));
            }
            kept.push_back(event);
        }
        kept.extend(joined.map(Event::Gap));
        self.events = kept;
    }

    /// Hands out all that is there. `spare` is an empty buffer, taken in exchange.
    pub(crate) fn claim(&mut self, mut spare: VecDeque<Event>) -> VecDeque<Event> {
        spare.clear();
        std::mem::swap(&mut self.events, &mut spare);
        self.claimed_messages += self.messages;
        self.claimed_bytes += self.bytes;
        (self.messages, self.bytes) = (0, 0);
        (self.lead, self.lead_folded, self.compact_at) = (0, 0, LIFECYCLE);
        if let Some(time) = spare.iter().rev().find_map(message_time) {
            self.last_claimed = Some(time);
        }
        spare
    }

    /// Hands out the next `most` events, or all if they are fewer. `spare` is as in [`claim`](Self::claim).
    pub(crate) fn claim_some(&mut self, most: usize, mut spare: VecDeque<Event>) -> VecDeque<Event> {
        if self.events.len() <= most {
            return self.claim(spare);
        }
        spare.clear();
        for event in self.events.drain(..most) {
            if let Event::Message(message) = &event {
                self.messages -= 1;
                self.bytes -= message.len();
                self.claimed_messages += 1;
                self.claimed_bytes += message.len();
                self.last_claimed = Some(message.time());
            }
            spare.push_back(event);
        }
        self.lead = self.lead.saturating_sub(most);
        self.lead_folded = self.lead_folded.saturating_sub(most);
        spare
    }

    /// Hands out the next event alone; it counts as consumed.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        self.lead = self.lead.saturating_sub(1);
        self.lead_folded = self.lead_folded.saturating_sub(1);
        if let Some(Event::Message(message)) = &event {
            self.messages -= 1;
            self.bytes -= message.len();
            self.last_claimed = Some(message.time());
        }
        event
    }

    /// Takes back what was claimed and not looked at: it is the next again.
    pub(crate) fn unclaim(&mut self, mut events: VecDeque<Event>) {
        let lengths = events.iter().filter_map(|event| match event {
            Event::Message(message) => Some(message.len()),
            _ => None,
        });
        let (messages, bytes) = lengths.fold((0, 0), |(count, sum), length| (count + 1, sum + length));
        self.release(messages, bytes);
        self.messages += messages;
        self.bytes += bytes;
        events.append(&mut self.events);
        self.events = events;
        (self.lead, self.lead_folded) = (0, 0);
    }

    /// Claimed messages were consumed.
    pub(crate) fn release(&mut self, messages: usize, bytes: usize) {
        self.claimed_messages = self.claimed_messages.saturating_sub(messages);
        self.claimed_bytes = self.claimed_bytes.saturating_sub(bytes);
    }

    /// Over the bound, by what is queued alone: a drop policy has to keep the newest whatever is claimed.
    fn is_over(&self) -> bool {
        self.messages > self.bounds.messages || (self.bytes > self.bounds.bytes && self.messages > 1)
    }

    fn drop_oldest(&mut self) {
        while self.is_over() {
            self.skip_lead();
            let at = self.lead;
            let mut end = at;
            let mut gap: Option<Box<Gap>> = None;
            while self.is_over()
                && let Some(Event::Message(message)) = self.events.get(end)
            {
                self.messages -= 1;
                self.bytes -= message.len();
                self.dropped += 1;
                match &mut gap {
                    Some(gap) => widen(gap, message),
                    None => gap = Some(overflow_gap(message, self.last_claimed)),
                }
                end += 1;
            }
            let Some(gap) = gap else { return };
            match at.checked_sub(1).and_then(|before| self.events.get_mut(before)) {
                Some(Event::Gap(before)) if before.cause == GapCause::Overflow => {
                    join(before, &gap);
                    self.events.drain(at..end);
                }
                _ => {
                    self.gaps += 1;
                    self.events.drain(at + 1..end);
                    if let Some(place) = self.events.get_mut(at) {
                        *place = Event::Gap(gap);
                    }
                    self.lead += 1;
                }
            }
            // The run after it has become part of the leading one.
            let before = self.lead;
            self.skip_lead();
            if self.lead > before && (self.lead <= SHORT || self.lead >= 2 * self.lead_folded) {
                let run = self.events.drain(..self.lead).collect();
                let folded = fold(run);
                (self.lead, self.lead_folded) = (folded.len(), folded.len());
                for event in folded.into_iter().rev() {
                    self.events.push_front(event);
                }
            }
        }
    }

    /// Finds the first message, from where it was last known not to be.
    fn skip_lead(&mut self) {
        while self.events.get(self.lead).is_some_and(|event| !is_message(event)) {
            self.lead += 1;
        }
    }

    /// Keeps the newest message of each set of subscriptions, in their order.
    fn keep_latest(&mut self) {
        let mut seen: HashSet<Vec<SubscriptionId>> = HashSet::new();
        let mut keep: Vec<bool> = Vec::with_capacity(self.events.len());
        for event in self.events.iter().rev() {
            keep.push(match event {
                Event::Message(message) => {
                    // Looked up without an allocation; only the first of a kind is copied.
                    let fresh = !seen.contains(message.subscriptions());
                    if fresh {
                        seen.insert(message.subscriptions().to_vec());
                    }
                    fresh
                }
                _ => true,
            });
        }
        let mut keep = keep.into_iter().rev();
        self.rebuild(|_| keep.next().unwrap_or(true));
    }

    /// One pass over the queue that drops the messages not to be kept, marks that, and folds all runs. `keep` is
    /// asked for each event, in order, and counts for messages.
    fn rebuild(&mut self, mut keep: impl FnMut(&Event) -> bool) {
        let mut last = self.last_claimed;
        let mut kept = VecDeque::with_capacity(self.events.len());
        let mut run: Vec<Event> = Vec::new();
        for event in std::mem::take(&mut self.events) {
            let keep = keep(&event);
            match event {
                Event::Message(message) if keep => {
                    last = Some(message.time());
                    kept.extend(fold(std::mem::take(&mut run)));
                    kept.push_back(Event::Message(message));
                }
                Event::Message(message) => {
                    self.messages -= 1;
                    self.bytes -= message.len();
                    self.dropped += 1;
                    match run.last_mut() {
                        Some(Event::Gap(gap)) if gap.cause == GapCause::Overflow => widen(gap, &message),
                        _ => {
                            self.gaps += 1;
                            run.push(Event::Gap(overflow_gap(&message, last)));
                        }
                    }
                }
                other => run.push(other),
            }
        }
        kept.extend(fold(run));
        self.events = kept;
        (self.lead, self.lead_folded) = (0, 0);
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
