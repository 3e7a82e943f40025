//! The ledger of answers: which messages of ours the server has not answered yet, and for whom they were.
//!
//! A subscription stands in its latest subscribe message, and in those before it that were written again only for want of
//! an answer: these are its round, and the answer to any of them counts. The answer to what was asked before it was ended
//! finds nothing. All that is here belongs to one connection.

use super::freshness::Key;
use crate::message::SubscriptionId;
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

/// Messages for what is wanted no more that are kept; the oldest go first.
const KEPT: usize = 1024;

/// So long an answer that says only a name may be for an older subscription of that name.
const OWED: Duration = Duration::from_secs(10);

/// A subscribe message that is not answered for all of its members.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Those still unanswered, in their order in the message.
    pub(crate) keys: Vec<Key>,
    /// Those that are wanted no more, or asked for anew: the answer is theirs, and changes nothing.
    pub(crate) gone: Vec<Key>,
    /// How many it was for.
    pub(crate) members: usize,
}

/// Messages for one subscription of which each may be answered.
#[derive(Debug, Default)]
struct Round {
    /// The earlier ones, in order.
    frames: Vec<u64>,
    /// The latest that was granted; 0: none.
    granted: u64,
}

/// What an answer is to the messages of a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grant {
    /// The first.
    First,
    /// Not the first, and for a later message.
    Newer,
    /// Not the first, and for an earlier message.
    Older,
}

#[derive(Debug)]
struct Ending {
    frame: u64,
    key: Key,
    id: SubscriptionId,
    at: Instant,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    subscribes: BTreeMap<u64, Asked>,
    /// Subscribe messages that wait for an answer only for those that are gone: bounded, as the server may never answer.
    orphans: VecDeque<u64>,
    endings: VecDeque<Ending>,
    /// By name: answers that are still to come for subscriptions that are wanted no more, for those answers that say
    /// only a name.
    owed: HashMap<SubscriptionId, VecDeque<Instant>>,
    /// The frames of `endings`, for a quick no.
    ending_frames: BTreeSet<u64>,
    /// The latest subscribe messages that are answered in full: the server may say more about one, as when each member
    /// has an answer of its own and one of them was taken for the answer to all. Bounded: the oldest go first.
    answered: BTreeSet<u64>,
    /// Of those that were asked for again for want of an answer.
    rounds: HashMap<Key, Round>,
    /// The latest messages that were refused, with the one that each was for: the server may grant them all the same.
    refused: BTreeMap<u64, Key>,
    /// When messages were answered: of two the later one, if it is not for a later message, says all.
    progress: VecDeque<(u64, Instant)>,
}

impl Ledger {
    /// The message is written again: its answer counts all the same.
    pub(crate) fn retry(&mut self, frame: u64, key: Key) {
        if !self.is_open(frame, key) {
            return;
        }
        let round = self.rounds.entry(key).or_default();
        if !round.frames.contains(&frame) {
            round.frames.push(frame);
        }
    }

    /// Whether this message is unanswered for this one.
    pub(crate) fn is_open(&self, frame: u64, key: Key) -> bool {
        self.subscribes.get(&frame).is_some_and(|asked| asked.keys.contains(&key))
    }

    /// Whether any message for this one is unanswered: the server may still grant it.
    pub(crate) fn has_open(&self, latest: u64, key: Key) -> bool {
        self.is_open(self.latest_open(latest, key), key)
    }

    /// The latest message for this one that is unanswered, if any is; else its latest.
    pub(crate) fn latest_open(&self, latest: u64, key: Key) -> u64 {
        let Some(round) = self.rounds.get(&key).filter(|_| !self.is_open(latest, key)) else { return latest };
        let mut open = round.frames.iter().rev().copied();
        open.find(|frame| self.is_open(*frame, key)).unwrap_or(latest)
    }

    /// The oldest message for this one that is unanswered, if any is; else its latest.
    pub(crate) fn oldest_open(&self, latest: u64, key: Key) -> u64 {
        let Some(round) = self.rounds.get(&key) else { return latest };
        let mut open = round.frames.iter().copied();
        open.find(|frame| self.is_open(*frame, key)).unwrap_or(latest)
    }

    /// This message is granted. `None`: there was no other.
    pub(crate) fn grant(&mut self, frame: u64, key: Key) -> Option<Grant> {
        let round = self.rounds.get_mut(&key)?;
        let before = round.granted;
        round.granted = before.max(frame);
        Some(match before {
            0 => Grant::First,
            before if frame > before => Grant::Newer,
            _ => Grant::Older,
        })
    }

    /// Whether one of its messages was granted: what the server says against another says nothing against it.
    pub(crate) fn is_granted(&self, key: Key) -> bool {
        self.rounds.get(&key).is_some_and(|round| round.granted != 0)
    }

    /// It is ended, or wanted no more: no answer counts any more.
    pub(crate) fn end_round(&mut self, key: Key) {
        for frame in self.rounds.remove(&key).map(|round| round.frames).unwrap_or_default() {
            self.let_go(frame, key);
        }
    }

    /// The same while it waits for one answer.
    pub(crate) fn narrow_round(&mut self, key: Key, frame: u64) {
        let frames = self.rounds.get(&key).map(|round| round.frames.clone()).unwrap_or_default();
        for other in frames.into_iter().filter(|other| *other != frame) {
            self.let_go(other, key);
        }
    }

    /// It was refused by this message.
    pub(crate) fn refuse(&mut self, frame: u64, key: Key) {
        self.refused.insert(frame, key);
        if self.refused.len() > KEPT {
            self.refused.pop_first();
        }
    }

    /// Whom this message refused.
    pub(crate) fn take_refused(&mut self, frame: u64) -> Option<Key> {
        self.refused.remove(&frame)
    }

    /// This message was answered.
    pub(crate) fn note_answer(&mut self, frame: u64, at: Instant) {
        while self.progress.back().is_some_and(|(other, _)| *other >= frame) {
            self.progress.pop_back();
        }
        self.progress.push_back((frame, at));
        if self.progress.len() > KEPT {
            self.progress.pop_front();
        }
    }

    /// When a message before this one was last answered. A server that works through what it got could not answer this
    /// one before.
    pub(crate) fn answered_before(&self, frame: u64) -> Option<Instant> {
        let before = self.progress.partition_point(|(other, _)| *other < frame);
        self.progress.get(before.checked_sub(1)?).map(|(_, at)| *at)
    }

    pub(crate) fn push_subscribe(&mut self, frame: u64, keys: Vec<Key>) {
        let members = keys.len();
        self.subscribes.insert(frame, Asked { keys, gone: Vec::new(), members });
    }

    pub(crate) fn push_unsubscribe(&mut self, frame: u64, key: Key, id: SubscriptionId, at: Instant) {
        if self.endings.len() >= KEPT
            && let Some(oldest) = self.endings.pop_front()
        {
            self.ending_frames.remove(&oldest.frame);
        }
        self.endings.push_back(Ending { frame, key, id, at });
        self.ending_frames.insert(frame);
    }

    /// Answers an unsubscribe message: the subscription it was for.
    pub(crate) fn take_unsubscribe(&mut self, frame: u64) -> Option<Key> {
        if !self.ending_frames.remove(&frame) {
            return None;
        }
        let at = self.endings.iter().position(|ending| ending.frame == frame)?;
        self.endings.remove(at).map(|ending| ending.key)
    }

    /// Whether the end of a subscription of this name is what we asked for not long ago; said once for each.
    pub(crate) fn take_own_end(&mut self, id: &SubscriptionId, now: Instant) -> bool {
        let recent = |ending: &Ending| now.saturating_duration_since(ending.at) < OWED;
        let Some(at) = self.endings.iter().position(|ending| ending.id == *id && recent(ending)) else {
            return false;
        };
        let ending = self.endings.remove(at);
        ending.is_some_and(|ending| self.ending_frames.remove(&ending.frame))
    }

    pub(crate) fn get(&self, frame: u64) -> Option<&Asked> {
        self.subscribes.get(&frame)
    }

    /// The oldest subscribe message without an answer.
    pub(crate) fn oldest(&self) -> Option<u64> {
        self.subscribes.keys().next().copied()
    }

    pub(crate) fn take(&mut self, frame: u64) -> Option<Asked> {
        let taken = self.subscribes.remove(&frame)?;
        self.settle(frame);
        Some(taken)
    }

    fn settle(&mut self, frame: u64) {
        self.answered.insert(frame);
        if self.answered.len() > KEPT {
            self.answered.pop_first();
        }
    }

    /// Whether this is a subscribe message that was answered before.
    pub(crate) fn was_answered(&self, frame: u64) -> bool {
        self.answered.contains(&frame)
    }

    /// One member is answered. `frame` is its latest.
    pub(crate) fn strike(&mut self, frame: u64, key: Key) -> bool {
        let Some(asked) = self.subscribes.get_mut(&frame) else { return false };
        let before = asked.keys.len();
        asked.keys.retain(|member| *member != key);
        let struck = asked.keys.len() != before;
        if asked.keys.is_empty() {
            self.subscribes.remove(&frame);
            self.settle(frame);
        }
        struck
    }

    /// One that is wanted no more is answered.
    pub(crate) fn strike_gone(&mut self, frame: u64, key: Key) {
        let Some(asked) = self.subscribes.get_mut(&frame) else { return };
        asked.gone.retain(|member| *member != key);
        if asked.keys.is_empty() && asked.gone.is_empty() {
            self.subscribes.remove(&frame);
            self.settle(frame);
        }
    }

    /// One member is wanted no more, or asked for anew: its answer may still come, and keeps its place.
    pub(crate) fn let_go(&mut self, frame: u64, key: Key) {
        if self.keep_place(frame, key) {
            self.give_up(frame);
        }
    }

    /// The same where the answer is waited for all the same. Says whether it was to come.
    pub(crate) fn keep_place(&mut self, frame: u64, key: Key) -> bool {
        let Some(asked) = self.subscribes.get_mut(&frame) else { return false };
        let Some(at) = asked.keys.iter().position(|member| *member == key) else { return false };
        asked.gone.push(asked.keys.remove(at));
        true
    }

    /// The answer to this message is waited for no more, unless it is for others, too.
    pub(crate) fn give_up(&mut self, frame: u64) {
        if self.subscribes.get(&frame).is_some_and(|asked| asked.keys.is_empty()) {
            self.orphans.push_back(frame);
            while self.orphans.len() > KEPT {
                if let Some(oldest) = self.orphans.pop_front() {
                    self.subscribes.remove(&oldest);
                }
            }
        }
    }

    /// An answer is still to come for a subscription of this name that is wanted no more.
    pub(crate) fn owe(&mut self, id: SubscriptionId, now: Instant) {
        if self.owed.len() >= KEPT {
            self.owed.clear();
        }
        let owed = self.owed.entry(id).or_default();
        if owed.len() >= KEPT {
            owed.pop_front();
        }
        owed.push_back(now);
    }

    /// Whether an answer that says only this name is for an older one; said once for each that is owed.
    pub(crate) fn take_owed(&mut self, id: &SubscriptionId, now: Instant) -> bool {
        let Some(owed) = self.owed.get_mut(id) else { return false };
        owed.retain(|at| now.saturating_duration_since(*at) < OWED);
        let found = owed.pop_front().is_some();
        if owed.is_empty() {
            self.owed.remove(id);
        }
        found
    }

    /// All that is unanswered.
    pub(crate) fn take_all(&mut self) -> Vec<Key> {
        let all = std::mem::take(&mut self.subscribes);
        all.keys().for_each(|frame| self.settle(*frame));
        all.into_values().flat_map(|asked| asked.keys).collect()
    }

    /// The oldest one of which a member is gone, or `may_be` holds.
    pub(crate) fn find(&self, may_be: impl Fn(Key) -> bool) -> Option<u64> {
        let may_be = |asked: &Asked| !asked.gone.is_empty() || asked.keys.iter().any(|key| may_be(*key));
        let found = self.subscribes.iter().find(|(_, asked)| may_be(asked));
        found.map(|(frame, _)| *frame)
    }

    /// The most that one of its parts holds.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        let owed = self.owed.values().map(VecDeque::len).sum::<usize>() + self.owed.len();
        let endings = self.endings.len().max(self.ending_frames.len());
        let members =
            self.subscribes.values().map(|asked| asked.keys.len() + asked.gone.len()).sum::<usize>();
        let again = self.rounds.len().max(self.refused.len()).max(self.progress.len());
        [members, self.orphans.len(), endings, owed, self.answered.len(), again]
            .into_iter()
            .max()
            .unwrap_or_default()
    }

    #[cfg(test)]
    pub(crate) fn is_settled(&self) -> bool {
        self.subscribes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_for_its_message_and_only_once() {
        let now = crate::clock::mono();
        let mut ledger = Ledger::default();
        ledger.push_subscribe(3, vec![1, 2]);
        ledger.push_unsubscribe(4, 9, "x".into(), now);
        ledger.push_subscribe(5, vec![7]);
        assert_eq!(ledger.oldest(), Some(3));
        ledger.strike(3, 2);
        assert!(ledger.get(3).is_some_and(|asked| asked.keys == [1] && asked.members == 2));
        ledger.strike(3, 1);
        assert_eq!(ledger.oldest(), Some(5));
        assert!(ledger.take(5).is_some() && ledger.take(5).is_none() && ledger.is_settled());
        assert_eq!(ledger.take_unsubscribe(4), Some(9));
        assert_eq!(ledger.take_unsubscribe(4), None);
        assert!(ledger.was_answered(3) && ledger.was_answered(5) && !ledger.was_answered(4));
        for frame in 10..5000 {
            ledger.push_subscribe(frame, vec![frame]);
            ledger.strike(frame, frame);
        }
        assert_eq!((ledger.answered.len(), ledger.was_answered(5)), (KEPT, false));
    }

    #[test]
    fn the_answer_to_any_message_of_a_round_counts() {
        let mut ledger = Ledger::default();
        ledger.push_subscribe(1, vec![7]);
        ledger.retry(1, 7);
        ledger.push_subscribe(2, vec![7]);
        assert_eq!((ledger.oldest_open(2, 7), ledger.latest_open(0, 7), ledger.latest_open(2, 7)), (1, 1, 2));
        assert!(!ledger.is_granted(7) && ledger.take(1).is_some_and(|asked| asked.keys == [7]));
        assert_eq!((ledger.grant(1, 7), ledger.is_granted(7)), (Some(Grant::First), true));
        assert_eq!((ledger.grant(2, 7), ledger.grant(1, 7)), (Some(Grant::Newer), Some(Grant::Older)));
        ledger.push_subscribe(3, vec![7]);
        ledger.retry(3, 7);
        ledger.end_round(7);
        assert!(ledger.get(3).is_some_and(|asked| asked.gone == [7]) && ledger.grant(3, 7).is_none());
        ledger.retry(9, 7);
        assert!(ledger.rounds.is_empty(), "never asked");
    }

    #[test]
    fn progress_is_the_latest_answer_to_what_was_written_before() {
        let now = crate::clock::mono();
        let at = |seconds| now + Duration::from_secs(seconds);
        let mut ledger = Ledger::default();
        for (frame, seconds) in [(2, 1), (5, 2), (9, 3), (4, 4)] {
            ledger.note_answer(frame, at(seconds));
        }
        let before = [1, 2, 3, 4, 5, 6, 10].map(|frame| ledger.answered_before(frame));
        assert_eq!(before, [None, None, Some(at(1)), Some(at(1)), Some(at(4)), Some(at(4)), Some(at(4))]);
        for frame in 10..5000 {
            ledger.note_answer(frame, at(frame));
        }
        assert_eq!(ledger.progress.len(), KEPT);
    }

    #[test]
    fn what_is_wanted_no_more_keeps_its_place_and_is_bounded() {
        let now = crate::clock::mono();
        let mut ledger = Ledger::default();
        ledger.push_subscribe(1, vec![1]);
        ledger.push_subscribe(2, vec![2]);
        ledger.let_go(1, 1);
        assert_eq!(ledger.oldest(), Some(1), "the next answer is its");
        assert_eq!(ledger.find(|_| false), Some(1));
        assert_eq!(ledger.find(|key| key == 2), Some(1));
        assert!(ledger.take(1).is_some_and(|asked| asked.keys.is_empty() && asked.gone == [1]));
        for frame in 10..5000 {
            ledger.push_subscribe(frame, vec![frame]);
            ledger.let_go(frame, frame);
        }
        assert!(ledger.subscribes.len() <= KEPT + 1);
        assert_eq!(ledger.take_all(), [2]);
        for frame in 0..5000 {
            ledger.push_unsubscribe(frame, frame, "x".into(), now);
        }
        assert_eq!((ledger.endings.len(), ledger.ending_frames.len()), (KEPT, KEPT));
        assert_eq!(ledger.take_unsubscribe(0), None);
        assert_eq!(ledger.take_unsubscribe(4999), Some(4999));
    }

    #[test]
    fn an_end_we_asked_for_is_known_by_its_name_for_a_while() {
        let now = crate::clock::mono();
        let mut ledger = Ledger::default();
        ledger.push_unsubscribe(1, 1, "a".into(), now);
        assert!(!ledger.take_own_end(&"b".into(), now));
        assert!(ledger.take_own_end(&"a".into(), now) && !ledger.take_own_end(&"a".into(), now));
        ledger.push_unsubscribe(2, 2, "a".into(), now);
        assert!(!ledger.take_own_end(&"a".into(), now + OWED));
        ledger.owe("a".into(), now);
        assert!(!ledger.take_owed(&"b".into(), now));
        assert!(ledger.take_owed(&"a".into(), now) && !ledger.take_owed(&"a".into(), now));
        ledger.owe("a".into(), now);
        assert!(!ledger.take_owed(&"a".into(), now + OWED));
    }
}
