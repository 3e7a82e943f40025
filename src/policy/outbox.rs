//! What waits to be written, bounded in bytes, in order of priority.
//!
//! First pongs, pings, replies, keepalives and probes; then the subscriptions of a new connection and those that are tried or made
//! again; then what the application asks for, in its order. At most one pong waits: only the latest ping has to be answered (RFC 6455
//! section 5.5.3). After a Close nothing else is handed out.

use super::freshness::Key;
use crate::message::Content;
use std::collections::VecDeque;
use tungstenite::Bytes;

/// The status of a Close frame we send.
pub(crate) type CloseCode = u16;

/// One thing to write. `frame` is the number of the message, the `${id}` of its template: counted over the feed's
/// life and never used twice.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Out {
    Pong(Bytes),
    Ping,
    /// The answer to a message of the server, by the rule of this number.
    Reply {
        rule: u32,
        content: Content,
    },
    /// The same to data, or as a dialect gives it: each of them counts.
    Answer(Content),
    /// Render the message of the keepalive of this index and write it.
    Keepalive {
        frame: u64,
        index: usize,
    },
    /// The same with the probe message of this subscription.
    Probe {
        frame: u64,
        key: Key,
    },
    /// The same with the subscribe message of these subscriptions; with several they are of one group, and share it.
    Subscribe {
        frame: u64,
        keys: Vec<Key>,
    },
    /// The same with the unsubscribe message of this subscription.
    Unsubscribe {
        frame: u64,
        key: Key,
    },
    /// What the application sent; `ticket` names it in the outcome.
    App {
        ticket: u64,
        content: Content,
    },
    /// A Close frame: the last thing written.
    Close(Option<CloseCode>),
}

/// What kind of thing is next, for those who pace the writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutKind {
    /// A pong, a ping, a reply, a keepalive: nothing that could wait.
    Control,
    /// A subscribe, unsubscribe or probe message.
    Subscribe,
    /// What the application sent.
    Application,
    /// A Close.
    Close,
}

/// What one message of the application costs beside its payload, in bytes: its places in the outbox and in the
/// register of receipts. Without it an empty message would cost nothing, and any number of them would be admitted.
pub(crate) const OVERHEAD: usize = 256;

/// A subscribe message that waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) key: Key,
    /// Members of one group may share a message; `None`: it is alone in its.
    pub(crate) group: Option<u64>,
    /// One part of a message that was divided: it is only joined with members of the same part. `None`: not divided.
    pub(crate) lot: Option<u64>,
}

enum Item {
    Subscribe(Member),
    Unsubscribe(Key),
    App { ticket: u64, content: Content },
}

#[derive(Default)]
pub(crate) struct Outbox {
    pong: Option<Bytes>,
    ping: bool,
    /// At most one of each rule.
    replies: VecDeque<(u32, Content)>,
    /// The answers to data, and those of a dialect: each of them counts.
    answers: VecDeque<Content>,
    answer_bytes: usize,
    /// At most one of each index.
    keepalives: VecDeque<usize>,
    /// At most one of each subscription.
    probes: VecDeque<Key>,
    /// The subscriptions that are replayed on a new connection, tried again or made again.
    replay: VecDeque<Item>,
    /// What the application asks for, in its order: messages, subscriptions, their ends.
    asked: VecDeque<Item>,
    app_bytes: usize,
    close: Option<Option<CloseCode>>,
    /// A Close was handed out: nothing may follow it (RFC 6455 section 5.5.1).
    shut: bool,
    /// The last number given to a message.
    last_frame: u64,
    last_lot: u64,
}

impl Outbox {
    pub(crate) fn push_pong(&mut self, payload: Bytes) {
        self.pong = Some(payload);
    }

    pub(crate) fn push_ping(&mut self) {
        self.ping = true;
    }

    /// A reply takes the place of one of the same rule that still waits.
    pub(crate) fn push_reply(&mut self, rule: u32, content: Content) {
        match self.replies.iter_mut().find(|(waiting, _)| *waiting == rule) {
            Some((_, waiting)) => *waiting = content,
            None => self.replies.push_back((rule, content)),
        }
    }

    /// An answer that takes no other's place. Says whether there is room for it under the bound.
    pub(crate) fn push_answer(&mut self, content: Content, bound: usize) -> bool {
        let size = content.len() + OVERHEAD;
        let room = self.answers.is_empty() || self.answer_bytes + size <= bound;
        if room {
            self.answer_bytes += size;
            self.answers.push_back(content);
        }
        room
    }

    pub(crate) fn push_keepalive(&mut self, index: usize) {
        if !self.keepalives.contains(&index) {
            self.keepalives.push_back(index);
        }
    }

    pub(crate) fn push_probe(&mut self, key: Key) {
        if !self.probes.contains(&key) {
            self.probes.push_back(key);
        }
    }

    /// A subscription of a new connection, or one that is tried again: before all that the application asks for.
    pub(crate) fn push_replay(&mut self, member: Member) {
        self.replay.push_back(Item::Subscribe(member));
    }

    pub(crate) fn push_subscribe(&mut self, member: Member) {
        self.asked.push_back(Item::Subscribe(member));
    }

    /// Puts back what does not fit into one message, to be handed out next, in two parts that are never joined again.
    pub(crate) fn push_parts(&mut self, keys: &[Key], group: Option<u64>) {
        let (first, second) = keys.split_at(keys.len() / 2);
        for part in [second, first] {
            let lot = Some(self.next_lot());
            for key in part.iter().rev() {
                self.replay.push_front(Item::Subscribe(Member { key: *key, group, lot }));
            }
        }
    }

    pub(crate) fn next_lot(&mut self) -> u64 {
        self.last_lot += 1;
        self.last_lot
    }

    pub(crate) fn next_frame(&mut self) -> u64 {
        self.last_frame += 1;
        self.last_frame
    }

    /// Takes back a subscribe or probe that was not written yet; says whether there was a subscribe.
    pub(crate) fn cancel_subscribe(&mut self, key: Key) -> bool {
        self.probes.retain(|waiting| *waiting != key);
        let other = |item: &Item| !matches!(item, Item::Subscribe(member) if member.key == key);
        let before = self.replay.len() + self.asked.len();
        self.replay.retain(other);
        self.asked.retain(other);
        self.replay.len() + self.asked.len() != before
    }

    pub(crate) fn push_unsubscribe(&mut self, key: Key) {
        self.asked.push_back(Item::Unsubscribe(key));
    }

    /// The same for one that is made again.
    pub(crate) fn push_replay_unsubscribe(&mut self, key: Key) {
        self.replay.push_back(Item::Unsubscribe(key));
    }

    /// Whether a message of this size fits under the bound. One alone always does.
    pub(crate) fn has_room(&self, size: usize, bound: usize) -> bool {
        self.app_bytes == 0 || self.app_bytes + size + OVERHEAD <= bound
    }

    /// Admits what the application sends; the caller has asked [`Self::has_room`].
    pub(crate) fn push_app(&mut self, ticket: u64, content: Content) {
        self.app_bytes += content.len() + OVERHEAD;
        self.asked.push_back(Item::App { ticket, content });
    }

    /// A Close after what the application sent; what else waits has lost its point.
    pub(crate) fn push_close(&mut self, code: Option<CloseCode>) {
        self.close.get_or_insert(code);
        self.probes.clear();
        self.replay.clear();
        self.asked.retain(|item| matches!(item, Item::App { .. }));
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
        self.peek().is_none()
    }

    /// What kind of thing [`Self::pop`] hands out next.
    pub(crate) fn peek(&self) -> Option<OutKind> {
        if self.shut {
            return None;
        }
        let answers = !self.replies.is_empty() || !self.answers.is_empty();
        if self.pong.is_some() || self.ping || answers || !self.keepalives.is_empty() {
            return Some(OutKind::Control);
        }
        if !self.probes.is_empty() {
            return Some(OutKind::Subscribe);
        }
        match self.replay.front().or_else(|| self.asked.front()) {
            Some(Item::Subscribe(_) | Item::Unsubscribe(_)) => Some(OutKind::Subscribe),
            Some(Item::App { .. }) => Some(OutKind::Application),
            None => self.close.is_some().then_some(OutKind::Close),
        }
    }

    /// Whether a message of the application is next but for what it did not ask for itself: the subscriptions of a new
    /// connection, those that are tried again, and probes. Where they wait for a limit that does not count the
    /// message, it need not wait with them.
    pub(crate) fn has_overtaking(&self) -> bool {
        let behind = !self.probes.is_empty() || !self.replay.is_empty();
        behind
            && self.peek() == Some(OutKind::Subscribe)
            && matches!(self.asked.front(), Some(Item::App { .. }))
    }

    /// Hands it out.
    pub(crate) fn pop_overtaking(&mut self) -> Option<Out> {
        if !self.has_overtaking() {
            return None;
        }
        let Some(Item::App { ticket, content }) = self.asked.pop_front() else { return None };
        self.app_bytes -= content.len() + OVERHEAD;
        Some(Out::App { ticket, content })
    }

    /// Hands out the next. A subscribe message takes up to `members` neighbours of one group along.
    pub(crate) fn pop(&mut self, members: usize) -> Option<Out> {
        if self.shut {
            return None;
        }
        if let Some(payload) = self.pong.take() {
            return Some(Out::Pong(payload));
        }
        if std::mem::take(&mut self.ping) {
            return Some(Out::Ping);
        }
        if let Some((rule, content)) = self.replies.pop_front() {
            return Some(Out::Reply { rule, content });
        }
        if let Some(content) = self.answers.pop_front() {
            self.answer_bytes -= content.len() + OVERHEAD;
            return Some(Out::Answer(content));
        }
        if let Some(index) = self.keepalives.pop_front() {
            return Some(Out::Keepalive { frame: self.next_frame(), index });
        }
        if let Some(key) = self.probes.pop_front() {
            return Some(Out::Probe { frame: self.next_frame(), key });
        }
        let queue = if self.replay.is_empty() { &mut self.asked } else { &mut self.replay };
        match queue.pop_front() {
            Some(Item::App { ticket, content }) => {
                self.app_bytes -= content.len() + OVERHEAD;
                Some(Out::App { ticket, content })
            }
            Some(Item::Unsubscribe(key)) => Some(Out::Unsubscribe { frame: self.next_frame(), key }),
            Some(Item::Subscribe(first)) => {
                let mut keys = vec![first.key];
                let joins = |next: &Member| next.group == first.group && next.lot == first.lot;
                while first.group.is_some()
                    && keys.len() < members
                    && let Some(Item::Subscribe(next)) = queue.front()
                    && joins(next)
                {
                    keys.push(next.key);
                    queue.pop_front();
                }
                Some(Out::Subscribe { frame: self.next_frame(), keys })
            }
            None => {
                let code = self.close.take()?;
                self.shut = true;
                Some(Out::Close(code))
            }
        }
    }

    /// Whether a subscribe message of it waits to be written.
    #[cfg(test)]
    pub(crate) fn waits(&self, key: Key) -> bool {
        let is_it = |item: &Item| matches!(item, Item::Subscribe(member) if member.key == key);
        self.replay.iter().chain(&self.asked).any(is_it)
    }

    /// How many things wait, the application's messages apart.
    #[cfg(test)]
    pub(crate) fn size(&self) -> usize {
        let own = |item: &&Item| !matches!(item, Item::App { .. });
        let asked = self.replay.iter().chain(&self.asked).filter(own).count();
        asked + self.replies.len() + self.answers.len() + self.keepalives.len() + self.probes.len()
    }

    /// Forgets everything; the tickets that are dropped come back.
    pub(crate) fn clear(&mut self) -> Vec<u64> {
        let ticket = |item: Item| if let Item::App { ticket, .. } = item { Some(ticket) } else { None };
        let tickets = self.asked.drain(..).filter_map(ticket).collect();
        let Self { shut, last_frame, last_lot, .. } = *self;
        *self = Self { shut, last_frame, last_lot, ..Self::default() };
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
        std::iter::from_fn(|| outbox.pop(3)).collect()
    }

    fn one(key: Key) -> Member {
        Member { key, group: None, lot: None }
    }

    fn of(group: u64, key: Key) -> Member {
        Member { key, group: Some(group), lot: None }
    }

    /// The keys of the subscribe messages that are handed out.
    fn frames(outbox: &mut Outbox) -> Vec<Vec<Key>> {
        let keys = |out| if let Out::Subscribe { keys, .. } = out { keys } else { Vec::new() };
        drain(outbox).into_iter().map(keys).collect()
    }

    #[test]
    fn order_is_by_priority_then_by_time() {
        let mut outbox = Outbox::default();
        outbox.push_close(Some(1000));
        outbox.push_app(1, Content::Text("x".into()));
        outbox.push_app(2, Content::Text("x".into()));
        outbox.push_replay(one(5));
        outbox.push_subscribe(one(6));
        outbox.push_probe(4);
        outbox.push_keepalive(0);
        outbox.push_keepalive(0);
        outbox.push_reply(2, Content::Text("old".into()));
        outbox.push_reply(2, Content::Text("new".into()));
        outbox.push_ping();
        outbox.push_pong(Bytes::new());
        let order = drain(&mut outbox);
        assert!(
            order
                == [
                    Out::Pong(Bytes::new()),
                    Out::Ping,
                    Out::Reply { rule: 2, content: Content::Text("new".into()) },
                    Out::Keepalive { frame: 1, index: 0 },
                    Out::Probe { frame: 2, key: 4 },
                    Out::Subscribe { frame: 3, keys: vec![5] },
                    app(1),
                    app(2),
                    Out::Subscribe { frame: 4, keys: vec![6] },
                    Out::Close(Some(1000))
                ]
        );
    }

    #[test]
    fn neighbours_of_one_group_share_a_message() {
        let mut outbox = Outbox::default();
        for member in [of(1, 1), of(1, 2), of(1, 3), of(1, 4), of(2, 5), one(6), one(7), of(2, 8)] {
            outbox.push_replay(member);
        }
        outbox.push_subscribe(of(2, 9));
        let expected: [&[Key]; 7] = [&[1, 2, 3], &[4], &[5], &[6], &[7], &[8], &[9]];
        assert_eq!(frames(&mut outbox), expected);
    }

    #[test]
    fn what_was_divided_comes_next_and_is_never_joined_again() {
        let mut outbox = Outbox::default();
        outbox.push_replay(of(1, 9));
        outbox.push_parts(&[1, 2, 3], Some(1));
        let expected: [&[Key]; 3] = [&[1], &[2, 3], &[9]];
        assert_eq!(frames(&mut outbox), expected);
    }

    #[test]
    fn the_next_kind_can_be_seen_before_it_is_handed_out() {
        let mut outbox = Outbox::default();
        outbox.push_close(None);
        outbox.push_app(1, Content::Text("x".into()));
        outbox.push_replay(one(1));
        outbox.push_ping();
        let kinds = [OutKind::Control, OutKind::Subscribe, OutKind::Application, OutKind::Close];
        for kind in kinds {
            assert_eq!(outbox.peek(), Some(kind));
            outbox.pop(1);
        }
        assert_eq!(outbox.peek(), None);
    }

    #[test]
    fn the_application_overtakes_what_it_did_not_ask_for() {
        let mut outbox = Outbox::default();
        outbox.push_replay(one(1));
        outbox.push_app(1, Content::Text("x".into()));
        outbox.push_subscribe(one(2));
        outbox.push_app(2, Content::Text("x".into()));
        assert!(outbox.has_overtaking() && outbox.pop_overtaking() == Some(app(1)));
        // Its own wishes keep their order.
        assert!(!outbox.has_overtaking() && outbox.pop_overtaking().is_none());
        outbox.push_ping();
        let order = [
            Out::Ping,
            Out::Subscribe { frame: 1, keys: vec![1] },
            Out::Subscribe { frame: 2, keys: vec![2] },
            app(2),
        ];
        assert!(drain(&mut outbox) == order);
        assert_eq!(outbox.app_bytes(), 0);
        // What can't wait goes before it, and nothing follows a Close.
        outbox.push_probe(3);
        outbox.push_app(3, Content::Text("x".into()));
        outbox.push_ping();
        assert!(!outbox.has_overtaking());
        outbox.pop(1);
        assert!(outbox.has_overtaking());
        outbox.push_close_now(None);
        assert!(!outbox.has_overtaking());
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
        outbox.pop(1);
        outbox.pop(1);
        outbox.push_ping();
        assert!(outbox.pop(1).is_none() && outbox.is_empty());
        outbox.reopen();
        assert!(outbox.pop(1) == Some(Out::Ping));
    }

    #[test]
    fn bytes_are_counted_until_handed_out() {
        let mut outbox = Outbox::default();
        outbox.push_app(1, Content::Text("abc".into()));
        assert_eq!(outbox.app_bytes(), 3 + OVERHEAD);
        assert!(outbox.has_room(1, 4 + 2 * OVERHEAD) && !outbox.has_room(2, 4 + 2 * OVERHEAD));
        outbox.pop(1);
        assert_eq!(outbox.app_bytes(), 0);
    }
}
