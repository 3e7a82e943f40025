//! The questions of the application: whose answer somebody waits for, and whose may still come late.
//!
//! A late answer is no data, and is known for what it is as long as nothing but the answer can meet the question's
//! matcher. With any other the next message of some subscription might be taken for it, and be lost: such a question
//! is forgotten when it is given up.

use crate::dialect::Matcher;
use crate::message::Message;
use crossbeam_channel::Sender;
use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

/// So many questions are remembered whose answer may come late.
const GIVEN_UP: usize = 16;

/// So long each of them is.
const LATE: Duration = Duration::from_secs(30);

/// A question of the application.
pub(super) struct Question {
    pub(super) matcher: Matcher,
    /// Only its own answer can meet the matcher.
    pub(super) certain: bool,
    /// Who waits for the answer; `None`: nobody any more.
    pub(super) answer: Option<Sender<Message>>,
}

/// Whom an answer is for.
pub(super) enum Answered {
    Waiting(Sender<Message>),
    /// Nobody waits for it any more.
    Late,
    Unknown,
}

#[derive(Default)]
pub(super) struct Questions {
    all: BTreeMap<u64, Question>,
    /// Those of them that nobody waits for any more, and until when an answer is taken for theirs.
    given_up: VecDeque<(u64, Instant)>,
}

impl Questions {
    pub(super) fn insert(&mut self, ticket: u64, question: Question) {
        self.all.insert(ticket, question);
    }

    pub(super) fn take(&mut self, ticket: u64) -> Option<Question> {
        let question = self.all.remove(&ticket)?;
        if question.answer.is_none() {
            self.given_up.retain(|(given_up, _)| *given_up != ticket);
        }
        Some(question)
    }

    /// Nobody waits for its answer any more. Says which one is to be taken out for that: itself, or one that was given
    /// up long before.
    pub(super) fn give_up(&mut self, ticket: u64, now: Instant) -> Option<u64> {
        let question = self.all.get_mut(&ticket)?;
        let Some(until) = now.checked_add(LATE).filter(|_| question.certain) else { return Some(ticket) };
        question.answer = None;
        self.given_up.push_back((ticket, until));
        let oldest = self.given_up.front().map(|(oldest, _)| *oldest);
        oldest.filter(|_| self.given_up.len() > GIVEN_UP)
    }

    /// One whose time for a late answer is over.
    pub(super) fn expired(&self, now: Instant) -> Option<u64> {
        self.given_up.front().filter(|(_, until)| now >= *until).map(|(ticket, _)| *ticket)
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.all.keys().next().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// All of them, with what their answers look like.
    pub(super) fn matchers(&self) -> impl Iterator<Item = (u64, Matcher)> {
        self.all.iter().map(|(ticket, question)| (*ticket, question.matcher.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::bounded;

    fn ask(questions: &mut Questions, ticket: u64, certain: bool) {
        let answer = Some(bounded(1).0);
        questions.insert(ticket, Question { matcher: Matcher::text("x"), certain, answer });
    }

    #[test]
    fn what_is_given_up_is_remembered_for_a_while_where_nothing_else_can_be_meant() {
        let now = crate::clock::mono();
        let mut questions = Questions::default();
        ask(&mut questions, 1, false);
        assert_eq!(questions.give_up(1, now), Some(1), "any message might be meant");
        assert!(questions.take(1).is_some_and(|question| question.answer.is_some()));
        assert_eq!(questions.give_up(1, now), None);
        ask(&mut questions, 2, true);
        assert_eq!(questions.give_up(2, now), None);
        assert_eq!((questions.expired(now + LATE - Duration::from_nanos(1)), questions.len()), (None, 1));
        assert_eq!(questions.expired(now + LATE), Some(2));
        assert!(questions.take(2).is_some_and(|question| question.answer.is_none()));
        assert_eq!(questions.expired(now + 2 * LATE), None);
        // The latest of many.
        for ticket in 10..1000 {
            ask(&mut questions, ticket, true);
            if let Some(oldest) = questions.give_up(ticket, now) {
                assert!(questions.take(oldest).is_some());
            }
        }
        assert_eq!((questions.len(), questions.first()), (GIVEN_UP, Some(1000 - GIVEN_UP as u64)));
        assert_eq!(questions.given_up.len(), GIVEN_UP);
        questions.take(999);
        assert_eq!(questions.given_up.len(), GIVEN_UP - 1);
    }
}
