//! What the application says: messages, subscriptions, questions.

use super::feed::{because, long_patience};
use super::object::{livefeed_event, livefeed_feed};
use super::pointers::Caller;
use super::result::{Failure, LIVEFEED_CONFIG, LIVEFEED_DROPPED, LIVEFEED_TIMEOUT, guard, livefeed_result};
use crate::error::Error;
use crate::event::Event;
use crate::feed::Outcome;
use crate::message::Sendable;
use serde::de::IgnoredAny;
use std::ffi::{c_char, c_void};
use std::sync::Arc;

/// What is sent is text, in UTF-8.
pub const LIVEFEED_TEXT: i32 = 1;
/// What is sent is bytes.
pub const LIVEFEED_BINARY: i32 = 2;

impl Caller {
    /// A message to send.
    fn sendable(&self, kind: i32, data: *const c_void, length: usize) -> Result<Sendable, Failure> {
        match kind {
            LIVEFEED_TEXT if length == 0 => Ok("".into()),
            LIVEFEED_TEXT => Ok(self.text(data.cast(), length, "data")?.into()),
            LIVEFEED_BINARY => Ok(self.bytes(data.cast(), length, "data")?.into()),
            _ => Err(Failure::fixed(LIVEFEED_CONFIG, c"kind is neither LIVEFEED_TEXT nor LIVEFEED_BINARY")),
        }
    }
}

/// Sends a message, `LIVEFEED_TEXT` or `LIVEFEED_BINARY`. It is admitted or refused at once, and written by a thread
/// of livefeed; see `livefeed_send_wait` for those who want to know what became of it. Nothing is kept for a later
/// connection, and nothing is sent twice. Never waits.
///
/// With a length of 0 `data` may be NULL; the length of text may be `LIVEFEED_NUL_TERMINATED`.
///
/// Errors: `LIVEFEED_NOT_CONNECTED` and `LIVEFEED_OUTBOX_FULL` (try again later); `LIVEFEED_TOO_LARGE`,
/// `LIVEFEED_CLOSED`; `LIVEFEED_CONFIG` for a kind that is none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_send(
    feed: *mut livefeed_feed,
    kind: i32,
    data: *const c_void,
    length: usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let inner = caller.feed(feed)?;
        let message = caller.sendable(kind, data, length)?;
        inner.call(|feed| {
            drop(feed.send(message).map_err(|error| because(feed, error))?);
            Ok(())
        })
    })
}

/// Sends a message and waits until it is written to the operating system. (Whether the server got it only the server
/// can say.)
///
/// Errors: `LIVEFEED_TIMEOUT` if it is still to be written, which may well happen later; `LIVEFEED_DROPPED` if the
/// connection ended before; `LIVEFEED_WOULD_DEADLOCK` in a callback of the feed, the message was admitted all the
/// same; otherwise as `livefeed_send`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_send_wait(
    feed: *mut livefeed_feed,
    kind: i32,
    data: *const c_void,
    length: usize,
    timeout_ms: i64,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let inner = caller.feed(feed)?;
        let message = caller.sendable(kind, data, length)?;
        inner.call(|feed| {
            let receipt = feed.send(message).map_err(|error| because(feed, error))?;
            match receipt.wait(long_patience(timeout_ms)) {
                Ok(Outcome::Written) => Ok(()),
                Ok(Outcome::Dropped { .. }) => {
                    Err(Failure::fixed(LIVEFEED_DROPPED, c"the connection ended before it was written"))
                }
                Err(Error::Timeout) => Err(Failure::fixed(
                    LIVEFEED_TIMEOUT,
                    c"timed out: the message still waits to be written, don't send it again",
                )),
                Err(Error::WouldDeadlock) => Err(Failure::from(Error::WouldDeadlock)
                    .and(": the message was admitted, though, don't send it again")),
                Err(error) => Err(error.into()),
            }
        })
    })
}

/// Adds a subscription, now and on each connection to come. One with the same `id` is replaced. Never waits. `json`
/// is an object as an entry of `subscriptions` in the configuration:
///
/// ```text
/// {"id": "btc", "subscribe": {"op": "subscribe", "channel": "${name}", "id": "${id}"},
///  "data": {"pointer": "/channel", "equals": "${name}"}, "stale_after": "5s"}
/// ```
///
/// Only `id` is needed: without `subscribe` nothing is sent, and without `data` each message of the feed is its data.
///
/// Errors: `LIVEFEED_CONFIG`, which names the field; `LIVEFEED_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_subscribe(
    feed: *mut livefeed_feed,
    json: *const c_char,
    json_length: usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let inner = caller.feed(feed)?;
        let json = caller.text(json, json_length, "json")?;
        inner.call(|feed| Ok(feed.subscribe_json(json)?))
    })
}

/// Ends the subscription with this `id`: its unsubscribe message is sent, if it has one and is in force. Never waits.
///
/// Errors: `LIVEFEED_UNKNOWN_SUBSCRIPTION`, `LIVEFEED_CLOSED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_unsubscribe(
    feed: *mut livefeed_feed,
    id: *const c_char,
    id_length: usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let inner = caller.feed(feed)?;
        let id = caller.text(id, id_length, "id")?;
        inner.call(|feed| {
            feed.check_open()?;
            Ok(feed.unsubscribe(id)?)
        })
    })
}

/// Sends a question and waits for its answer: the first message that meets `matcher`. It comes back here, and not to
/// whoever reads the feed's events. Late answers are messages like any other.
///
/// `question` is JSON: an object, or a string in quotes for text that is sent as it is. `${id}` in it, and in the
/// matcher, stands for a number that is used once. `matcher` is JSON as matchers in the configuration:
///
/// ```text
/// {"method": "time", "id": "${id}"}              a question
/// {"pointer": "/id", "equals": "${id}"}          its matcher: the value at this place of the answer
/// {"text": "pong"}   {"prefix": "pong"}          other matchers: the whole text, and how it begins
/// {"all": [..]}   {"any": [..]}   {"not": ..}    of matchers
/// ```
///
/// Ownership: `*answer` is a message, to be freed by `livefeed_event_free`.
///
/// Errors: `LIVEFEED_TIMEOUT` if no answer came in time; `LIVEFEED_NOT_CONNECTED` if there is no connection, or it
/// ended before the answer came; `LIVEFEED_OUTBOX_FULL` (try again later); `LIVEFEED_CONFIG`, which names the field;
/// `LIVEFEED_TOO_LARGE`, `LIVEFEED_CLOSED`, `LIVEFEED_WOULD_DEADLOCK` in a callback of the feed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_request(
    feed: *mut livefeed_feed,
    question: *const c_char,
    question_length: usize,
    matcher: *const c_char,
    matcher_length: usize,
    timeout_ms: i64,
    answer: *mut *mut livefeed_event,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let answer = caller.out(answer, "answer")?;
        let inner = caller.feed(feed)?;
        let question = caller.text(question, question_length, "question")?;
        let matcher = caller.text(matcher, matcher_length, "matcher")?;
        let message = inner.call(|feed| {
            let answer = feed.request_json(question, matcher, long_patience(timeout_ms));
            answer.map_err(|error| match error {
                Error::Timeout => Failure::new(
                    LIVEFEED_TIMEOUT,
                    format!("timed out: no message met the matcher within {timeout_ms} ms"),
                ),
                Error::Config { ref path, .. }
                    if path == "question" && serde_json::from_str::<IgnoredAny>(question).is_err() =>
                {
                    Failure::from(error).and("; a text that is sent as it is stands in quotes, \"like this\"")
                }
                error => because(feed, error),
            })
        })?;
        let name = Arc::clone(&inner.opened()?.name);
        answer.set(Box::into_raw(livefeed_event::owned(Event::Message(message), name)));
        Ok(())
    })
}
