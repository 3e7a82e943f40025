//! What waits to be written, bounded in bytes, in order of priority.
//!
//! Pongs and pings come first, then the subscriptions of a new connection, then what the application asks for. At most one pong waits:
//! only the latest ping has to be answered (RFC 6455 section 5.5.3). After a Close nothing else is handed out.

use super::freshness::Key;
use crate::message::Content;
use std::collections::VecDeque;
use tungstenite::Bytes;

/// The status of a Close frame we send.
pub(crate) type CloseCode = u16;

/// One thing to write.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Out {
    Pong(Bytes),
    Ping,
    /// Render the subscribe payload of this subscription and write it.
    Subscribe(Key),
    /// The same with its unsubscribe payload.
    Unsubscribe(Key),
    /// What the application sent; `ticket` names it in the outcome.
    App {
        ticket: u64,
        content: Content,
    },
    /// A Close frame: the last thing written.
    Close(Option<CloseCode>),
}

/// What one message of the application costs beside its payload, in bytes: its places in the outbox and in the
/// register of receipts. Without it an empty message would cost nothing, and any number of them would be admitted.
pub(crate) const OVERHEAD: usize = 256;

#[derive(Default)]
pub(crate) struct Outbox {
    pong: Option<Bytes>,
    ping: bool,
    /// The subscriptions that are replayed on a new connection.
    replay: VecDeque<Out>,
    /// What the application asks for, in its order: messages, subscriptions, their ends.
    asked: VecDeque<Out>,
    app_bytes: usize,
    close: Option<Option<CloseCode>>,
    /// A Close was handed out: nothing may follow it (RFC 6455 section 5.5.1).
    shut: bool,
}

impl Outbox {
    pub(crate) fn push_pong(&mut self, payload: Bytes) {
        self.pong = Some(payload);
    }

    pub(crate) fn push_ping(&mut self) {
        self.ping = true;
    }

    /// A subscription of a new connection: before all that the application asks for.
    pub(crate) fn push_replay(&mut self, key: Key) {
        self.replay.push_back(Out::Subscribe(key));
    }

    pub(crate) fn push_subscribe(&mut self, key: Key) {
        self.asked.push_back(Out::Subscribe(key));
    }

    /// Takes back a subscribe that was not written yet; says whether there was one.
    pub(crate) fn cancel_subscribe(&mut self, key: Key) -> bool {
        let before = self.replay.len() + self.asked.len();
        self.replay.retain(|out| *out != Out::Subscribe(key));
        self.asked.retain(|out| *out != Out::Subscribe(key));
        self.replay.len() + self.asked.len() != before
    }

    pub(crate) fn push_unsubscribe(&mut self, key: Key) {
        self.asked.push_back(Out::Unsubscribe(key));
    }

    /// Whether a message of this size fits under the bound. One alone always does.
    pub(crate) fn has_room(&self, size: usize, bound: usize) -> bool {
        self.app_bytes == 0 || self.app_bytes + size + OVERHEAD <= bound
    }

    /// Admits what the application sends; the caller has asked [`Self::has_room`].
    pub(crate) fn push_app(&mut self, ticket: u64, content: Content) {
        self.app_bytes += content.len() + OVERHEAD;
        self.asked.push_back(Out::App { ticket, content });
    }

    /// A Close after all that waits.
    pub(crate) fn push_close(&mut self, code: Option<CloseCode>) {
        self.close.get_or_insert(code);
    }

    /// A Close next, instead of all that waits: the peer closes. The tickets that are dropped come back.
    pub(crate) fn push_close_now(&mut self, code: Option<CloseCode>) -> Vec<u64> {
        let dropped = self.clear();
        self.close = Some(code);
        dropped
    }

    /// Bytes of the application that wait, [`OVERHEAD`] included.
    pub(crate) fn app_bytes(&self) -> usize {
        self.app_bytes
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.shut
            || (self.pong.is_none()
                && !self.ping
                && self.replay.is_empty()
                && self.asked.is_empty()
                && self.close.is_none())
    }

    pub(crate) fn pop(&mut self) -> Option<Out> {
        if self.shut {
            return None;
        }
        if let Some(payload) = self.pong.take() {
            return Some(Out::Pong(payload));
        }
        if std::mem::take(&mut self.ping) {
            return Some(Out::Ping);
        }
        if let Some(out) = self.replay.pop_front().or_else(|| self.asked.pop_front()) {
            if let Out::App { content, .. } = &out {
                self.app_bytes -= content.len() + OVERHEAD;
            }
            return Some(out);
        }
        let code = self.close.take()?;
        self.shut = true;
        Some(Out::Close(code))
    }

    /// Forgets everything; the tickets that are dropped come back.
    pub(crate) fn clear(&mut self) -> Vec<u64> {
        let ticket = |out: Out| if let Out::App { ticket, .. } = out { Some(ticket) } else { None };
        let tickets = self.asked.drain(..).filter_map(ticket).collect();
        let shut = self.shut;
        *self = Self { shut, ..Self::default() };
        tickets
    }

    /// Ready for a new connection.
    pub(crate) fn reopen(&mut self) {
        self.shut = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app(ticket: u64) -> Out {
        Out::App { ticket, content: Content::Text("x".into()) }
    }

    fn drain(outbox: &mut Outbox) -> Vec<Out> {
        std::iter::from_fn(|| outbox.pop()).collect()
    }

    #[test]
    fn order_is_by_priority_then_by_time() {
        let mut outbox = Outbox::default();
        outbox.push_close(Some(1000));
        outbox.push_app(1, Content::Text("x".into()));
        outbox.push_app(2, Content::Text("x".into()));
        outbox.push_replay(5);
        outbox.push_subscribe(6);
        outbox.push_ping();
        outbox.push_pong(Bytes::new());
        let order = drain(&mut outbox);
        assert!(
            order
                == [
                    Out::Pong(Bytes::new()),
                    Out::Ping,
                    Out::Subscribe(5),
                    app(1),
                    app(2),
                    Out::Subscribe(6),
                    Out::Close(Some(1000))
                ]
        );
    }

    #[test]
    fn a_ping_flood_holds_one_pong() {
        let mut outbox = Outbox::default();
        for i in 0..1000u32 {
            outbox.push_pong(Bytes::copy_from_slice(&i.to_be_bytes()));
        }
        assert!(drain(&mut outbox) == [Out::Pong(Bytes::copy_from_slice(&999u32.to_be_bytes()))]);
    }

    #[test]
    fn nothing_follows_a_close() {
        let mut outbox = Outbox::default();
        outbox.push_app(7, Content::Text("x".into()));
        assert_eq!(outbox.push_close_now(Some(1001)), [7]);
        outbox.push_app(8, Content::Text("x".into()));
        outbox.pop();
        outbox.pop();
        outbox.push_ping();
        assert!(outbox.pop().is_none() && outbox.is_empty());
        outbox.reopen();
        assert!(outbox.pop() == Some(Out::Ping));
    }

    #[test]
    fn bytes_are_counted_until_handed_out() {
        let mut outbox = Outbox::default();
        outbox.push_app(1, Content::Text("abc".into()));
        assert_eq!(outbox.app_bytes(), 3 + OVERHEAD);
        assert!(outbox.has_room(1, 4 + 2 * OVERHEAD) && !outbox.has_room(2, 4 + 2 * OVERHEAD));
        outbox.pop();
        assert_eq!(outbox.app_bytes(), 0);
    }
}
