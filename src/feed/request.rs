//! A question and its answer, over the feed.

use super::Feed;
use crate::clock;
use crate::dialect::{Matcher, Scope, Template};
use crate::engine::core::Caller;
use crate::error::Error;
use crate::message::Message;
use crossbeam_channel::{RecvTimeoutError, bounded};
use std::time::Duration;

impl Feed {
    /// Sends a question and waits for its answer: the first message that meets `reply`. It comes back here, and not
    /// to whoever reads the feed's events.
    ///
    /// The question is a text or a JSON value, as a [`Template`]: `${id}` stands for a number that is used once, in the
    /// question and in the matcher (where it is the whole value, a text of digits meets it too), and other placeholders
    /// for what was captured from the connection. Several threads may ask at once. Where a [`Dialect`](crate::Dialect)
    /// reads the messages, `reply` is met by what that puts out.
    ///
    /// An answer that comes after the time is over is known for what it is, and is no data, where nothing else can meet
    /// `reply`: if it asks for the `${id}` of the question. That holds until the connection ends, for 30 s and for the
    /// last 16 such questions; it is then a control message, delivered only with `deliver_control`. So where data has
    /// numbers of its own at the same place, let `reply` ask for something more that only answers have. With any
    /// other `reply` it is a message like all others: one that is not the answer might meet it, and would be lost.
    ///
    /// ```no_run
    /// # let feed = livefeed::Feed::open("ws://127.0.0.1:9001")?;
    /// use livefeed::Matcher;
    /// use serde_json::json;
    /// use std::time::Duration;
    ///
    /// let question = json!({"method": "LIST_SUBSCRIPTIONS", "id": "${id}"});
    /// let answer = feed.request(question, Matcher::pointer("/id", "${id}"), Duration::from_secs(5))?;
    /// println!("{:?}", answer.text());
    /// # Ok::<(), livefeed::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Timeout`] if no answer came in time (the question was sent all the same); [`Error::NotConnected`] if there
    /// is no connection, or it ended before the answer came; [`Error::OutboxFull`] (all three: retry).
    /// [`Error::Config`] if a placeholder has no value or the matcher is wrong, [`Error::TooLarge`],
    /// [`Error::Closed`], and [`Error::WouldDeadlock`] on a thread of this feed (final).
    pub fn request(
        &self,
        question: impl Into<Template>,
        reply: Matcher,
        timeout: Duration,
    ) -> Result<Message, Error> {
        let shared = &self.engine.shared;
        if shared.is_own_thread() {
            return Err(Error::WouldDeadlock);
        }
        let deadline = clock::mono().checked_add(timeout);
        let question: Template = question.into();
        question.check_single(&|_| true).map_err(|problem| Error::config("question", problem))?;
        let frame = shared.with(Caller::User, |core| core.vars());
        let content = question.render(&frame, &[]).map_err(|problem| Error::config("question", problem))?;
        let certain = reply.asks_for("id");
        let reply = frame.id.map_or_else(|| reply.clone(), |id| reply.answering(id));
        let reply = reply
            .render(&Scope { frame: &frame, member: None, message: None })
            .map_err(|missing| Error::config("reply", missing.to_string()))?;
        reply.check().map_err(|(field, problem)| Error::config(format!("reply.{field}"), problem))?;
        let (sender, receiver) = bounded(1);
        let ticket = shared.with(Caller::User, |core| core.ask(content, reply, certain, sender))?;
        let answer = match deadline {
            Some(deadline) => receiver.recv_deadline(deadline),
            None => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match answer {
            Ok(answer) => Ok(answer),
            Err(RecvTimeoutError::Timeout) => {
                shared.with(Caller::User, |core| core.book.give_up(ticket, clock::mono()));
                receiver.try_recv().map_err(|_| Error::Timeout) // it may have come just now: nobody else has it
            }
            Err(RecvTimeoutError::Disconnected) => Err(Error::NotConnected),
        }
    }
}
