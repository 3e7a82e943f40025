//! What the server answers to a keepalive: what is kept of it, and what it looks like if it is a refusal.

use crate::dialect::captures::{self, Found, Wanted};
use crate::dialect::json::pointer::Pointer;
use crate::dialect::matcher::Matcher;
use crate::dialect::rule::check_captures;
use crate::message::Payload;
use std::collections::BTreeMap;
use std::fmt;

/// The answer that a keepalive waits for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Answer {
    pub(crate) expect: Option<Matcher>,
    pub(crate) refused: Option<Matcher>,
    pub(crate) capture: BTreeMap<String, String>,
    pub(crate) detail: Option<String>,
}

/// What an answer brought.
#[derive(Default)]
pub(crate) struct Answered {
    pub(crate) capture: Found,
    /// It is a refusal, in these words.
    pub(crate) refused: Option<String>,
}

impl fmt::Debug for Answered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What was captured may be a secret.
        f.debug_struct("Answered").field("refused", &self.refused).finish_non_exhaustive()
    }
}

impl Answer {
    /// Checks what the types can't. The error names the field, and says what would be right.
    pub(crate) fn check(
        capture: &BTreeMap<String, String>,
        detail: Option<&str>,
    ) -> Result<(), (String, String)> {
        check_captures("capture", capture)?;
        detail.map(Pointer::parse).transpose().map_err(|problem| ("detail".to_owned(), problem))?;
        Ok(())
    }

    /// What a message meets that is a refusal, and one that is the answer. Nothing meets what was not given.
    fn whens(&self) -> [Matcher; 2] {
        let given = |matcher: &Option<Matcher>| matcher.clone().unwrap_or(Matcher::Any(Vec::new()));
        [given(&self.refused), given(&self.expect)]
    }
}

/// The answers that keepalives wait for, ready for use.
#[derive(Debug, Default)]
pub(in crate::dialect) struct Answers(Vec<(Wanted, Option<Pointer>)>);

impl Answers {
    /// With their matchers, in order, and as many for each.
    pub(in crate::dialect) fn new(answers: &[Answer]) -> (Self, Vec<Matcher>) {
        if answers.iter().all(|answer| answer.expect.is_none() && answer.refused.is_none()) {
            return (Self::default(), Vec::new());
        }
        let ready = answers.iter().map(|answer| {
            let detail = answer.detail.as_deref().and_then(|pointer| Pointer::parse(pointer).ok());
            (Wanted::new(&answer.capture), detail)
        });
        (Self(ready.collect()), answers.iter().flat_map(Answer::whens).collect())
    }

    /// The matcher of this index was met: whose it is, and what the message brought.
    pub(in crate::dialect) fn read(&self, index: u32, message: Payload<'_>) -> (usize, Answered) {
        let whose = (index / 2) as usize;
        let Some((capture, detail)) = self.0.get(whose) else { return (whose, Answered::default()) };
        let answered = if index.is_multiple_of(2) {
            let words = detail.as_ref().map(|pointer| captures::detail(message, pointer));
            Answered { capture: Found::new(), refused: Some(words.unwrap_or_default()) }
        } else {
            Answered { capture: capture.find(message), refused: None }
        };
        (whose, answered)
    }
}
