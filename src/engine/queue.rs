//! The event queue: bounded in messages and bytes, with lifecycle events that are never dropped but fold.
//!
//! Invariants: what is dropped is counted and marked by one gap in its place; between two messages stand few
//! lifecycle events, because what nobody has read is folded ([`super::fold`]).

use super::fold;
use crate::event::{Event, Gap, GapCause};
use crate::message::{Message, SubscriptionId};
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

/// A gap names at most this many subscriptions; with more it stands for all.
const NAMED: usize = 64;

/// Unread lifecycle events of an application that subscribes without ever reading stop growing here.
const LIFECYCLE: usize = 64 * 1024;

pub(crate) struct Queue {
    bounds: Bounds,
    events: VecDeque<Event>,
    messages: usize,
    bytes: usize,
    claimed_messages: usize,
    claimed_bytes: usize,
    /// When the last claimed message was received.
    last_claimed: Option<SystemTime>,
    /// Lifecycle events left by the last pass of folding.
    folded: usize,
    dropped: u64,
    gaps: u64,
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
            folded: 0,
            dropped: 0,
            gaps: 0,
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
                        self.events.push_back(overflow_gap(&message, last));
                    }
                }
            }
        }
    }

    /// Adds a lifecycle event.
    pub(crate) fn push(&mut self, event: Event) {
        let folds = matches!(event, Event::Disconnected(_) | Event::Alert(_));
        self.events.push_back(event);
        if folds {
            let tail = self.tail();
            let run = self.events.split_off(tail);
            self.events.extend(fold::run(run.into()));
        }
        if self.lifecycle() > 2 * self.folded + 64 {
            self.compact();
        }
    }

    /// Lifecycle events in the queue.
    fn lifecycle(&self) -> usize {
        self.events.len() - self.messages
    }

    /// Where the run of lifecycle events at the end begins.
    fn tail(&self) -> usize {
        self.events.iter().rposition(|event| matches!(event, Event::Message(_))).map_or(0, |at| at + 1)
    }

    /// Folds each run of lifecycle events: where the messages between two runs were dropped they have become one.
    /// Done when their number has doubled, so that it costs little, and between two messages few are left.
    fn compact(&mut self) {
        let mut run = Vec::new();
        let mut kept = VecDeque::with_capacity(self.events.len());
        for event in std::mem::take(&mut self.events) {
            if matches!(event, Event::Message(_)) {
                kept.extend(fold::run(std::mem::take(&mut run)));
                kept.push_back(event);
            } else {
                run.push(event);
            }
        }
        kept.extend(fold::run(run));
        self.events = kept;
        if self.lifecycle() > LIFECYCLE {
            let mut spare = self.lifecycle() - LIFECYCLE / 2;
            self.events.retain(|event| {
                let goes = spare > 0 && matches!(event, Event::Subscribed(_));
                spare -= usize::from(goes);
                !goes
            });
        }
        self.folded = self.lifecycle();
    }

    /// Hands out all that is there. `spare` is an empty buffer, taken in exchange.
    pub(crate) fn claim(&mut self, mut spare: VecDeque<Event>) -> VecDeque<Event> {
        spare.clear();
        std::mem::swap(&mut self.events, &mut spare);
        self.claimed_messages += self.messages;
        self.claimed_bytes += self.bytes;
        (self.messages, self.bytes) = (0, 0);
        if let Some(time) = spare.iter().rev().find_map(message_time) {
            self.last_claimed = Some(time);
        }
        spare
    }

    /// Hands out the next event alone; it counts as consumed.
    pub(crate) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if let Some(Event::Message(message)) = &event {
            self.messages -= 1;
            self.bytes -= message.len();
            self.last_claimed = Some(message.time());
        }
        event
    }

    /// Takes back what was claimed and not looked at: it is the next again.
    pub(crate) fn unclaim(&mut self, mut events: VecDeque<Event>) {
        let (mut messages, mut bytes) = (0, 0);
        for event in &events {
            if let Event::Message(message) = event {
                messages += 1;
                bytes += message.len();
            }
        }
        self.release(messages, bytes);
        self.messages += messages;
        self.bytes += bytes;
        events.append(&mut self.events);
        self.events = events;
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
        let mut at = 0;
        while self.is_over() {
            while !matches!(self.events.get(at), Some(Event::Message(_)) | None) {
                at += 1;
            }
            let Some(Event::Message(message)) = self.events.get(at) else { return };
            let message = message.clone();
            self.messages -= 1;
            self.bytes -= message.len();
            self.dropped += 1;
            let before = at.checked_sub(1).and_then(|before| self.events.get_mut(before));
            if let Some(Event::Gap(gap)) = before
                && gap.cause == GapCause::Overflow
            {
                widen(gap, &message);
                self.events.remove(at);
                self.join_at(at);
            } else {
                self.gaps += 1;
                let gap = overflow_gap(&message, self.last_claimed);
                if let Some(place) = self.events.get_mut(at) {
                    *place = gap;
                }
                at += 1;
                self.join_at(at);
            }
        }
    }

    /// Joins the gap at `at` to the gap before it, if both are of the queue's making.
    fn join_at(&mut self, at: usize) {
        let is_overflow =
            |event: Option<&Event>| matches!(event, Some(Event::Gap(gap)) if gap.cause == GapCause::Overflow);
        if at > 0
            && is_overflow(self.events.get(at - 1))
            && is_overflow(self.events.get(at))
            && let Some(Event::Gap(next)) = self.events.remove(at)
            && let Some(Event::Gap(gap)) = self.events.get_mut(at - 1)
        {
            join(gap, &next);
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
        let mut last = self.last_claimed;
        let mut kept: VecDeque<Event> = VecDeque::with_capacity(seen.len() * 2 + 8);
        for (event, keep) in std::mem::take(&mut self.events).into_iter().zip(keep.into_iter().rev()) {
            match event {
                Event::Message(message) if !keep => {
                    self.messages -= 1;
                    self.bytes -= message.len();
                    self.dropped += 1;
                    match kept.back_mut() {
                        Some(Event::Gap(gap)) if gap.cause == GapCause::Overflow => widen(gap, &message),
                        _ => {
                            self.gaps += 1;
                            kept.push_back(overflow_gap(&message, last));
                        }
                    }
                }
                // Two gaps of earlier passes may have become neighbours.
                Event::Gap(gap) if gap.cause == GapCause::Overflow => match kept.back_mut() {
                    Some(Event::Gap(before)) if before.cause == GapCause::Overflow => join(before, &gap),
                    _ => kept.push_back(Event::Gap(gap)),
                },
                other => {
                    last = message_time(&other).or(last);
                    kept.push_back(other);
                }
            }
        }
        self.events = kept;
    }
}

fn message_time(event: &Event) -> Option<SystemTime> {
    match event {
        Event::Message(message) => Some(message.time()),
        _ => None,
    }
}

fn overflow_gap(first: &Message, last_message: Option<SystemTime>) -> Event {
    Event::Gap(Box::new(Gap {
        time: first.time(),
        epoch: first.epoch(),
        cause: GapCause::Overflow,
        subscriptions: first.subscriptions().to_vec(),
        last_message,
        lost: Some(1),
    }))
}

/// One more message fell into the gap.
fn widen(gap: &mut Gap, message: &Message) {
    gap.lost = gap.lost.map(|lost| lost + 1);
    name(gap, message.subscriptions());
}

/// A neighbouring gap joins it.
pub(super) fn join(gap: &mut Gap, next: &Gap) {
    gap.lost = gap.lost.zip(next.lost).map(|(a, b)| a + b);
    if next.subscriptions.is_empty() {
        gap.subscriptions.clear();
    } else {
        name(gap, &next.subscriptions);
    }
}

/// Adds the names of what the gap affects; none at all stands for everything.
fn name(gap: &mut Gap, affected: &[SubscriptionId]) {
    if gap.subscriptions.is_empty() {
        return;
    }
    if affected.is_empty() {
        gap.subscriptions.clear();
        return;
    }
    for id in affected {
        if !gap.subscriptions.contains(id) {
            gap.subscriptions.push(id.clone());
        }
    }
    if gap.subscriptions.len() > NAMED {
        gap.subscriptions.clear();
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
