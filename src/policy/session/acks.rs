//! The machine and the server's answers: acknowledgements, refusals, ends of subscriptions, and their absence.
//!
//! Late answers do no harm: what is wanted no more, or was ended since to be asked for anew, stands in no message that an
//! answer could be for. But the answer to any message counts that was written again only for want of an answer, and one
//! that grants what was refused has it in force all the same.

use super::{Action, Phase, Session};
use crate::class::ErrorClass;
use crate::clock::Stamp;
use crate::error::EndReason;
use crate::health::SubscriptionState;
use crate::policy::freshness::Key;
use crate::policy::ledger::Grant;
use crate::policy::subscriptions::{AckPolicy, Entry};
use std::collections::HashSet;
use std::time::Duration;

/// The server's words are cut to so many characters.
const WORDS: usize = 256;

/// What an answer of the server is about.
#[derive(Debug, Clone, Copy)]
pub(crate) enum About<'a> {
    /// The message of this number.
    Frame(u64),
    /// These subscriptions.
    Keys(&'a [Key]),
    /// Those whose topic is listed: of the members of a message, or of all. `complete`: the list is all that was granted
    /// of that message, or all that is in force.
    Listed { frame: Option<u64>, listed: &'a [String], complete: bool },
    /// The oldest subscribe message that is unanswered.
    Oldest,
    /// All that is unanswered; for an end: all that is in force.
    All,
}

/// The server's words, not too many of them.
pub(super) fn cut(mut detail: String) -> String {
    if let Some((at, _)) = detail.char_indices().nth(WORDS) {
        detail.truncate(at);
    }
    detail
}

/// What an acknowledgement was understood to be for.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Granted {
    /// The subscriptions, those that are wanted no more included.
    pub(crate) keys: Vec<Key>,
    /// It is for an older subscription of a name, and says nothing of those that there are.
    pub(crate) late: bool,
    /// Those of the keys for which it is one of several answers that count.
    pub(crate) grants: Vec<(Key, Grant)>,
}

impl Granted {
    /// Whether nothing is known that it could be for.
    pub(crate) fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.late
    }
}

impl Session {
    /// The server granted something, and said whether nothing was missed before it.
    pub(crate) fn handle_ack_with(&mut self, now: Stamp, about: About<'_>, resumed: Option<bool>) -> Granted {
        self.resumed = resumed;
        let granted = self.handle_ack(now, about);
        self.resumed = None;
        granted
    }

    /// The server granted something.
    pub(crate) fn handle_ack(&mut self, now: Stamp, about: About<'_>) -> Granted {
        let Phase::Up(up) = &mut self.phase else { return Granted::default() };
        let mut late = false;
        let mut grants = Vec::new();
        let keys = match about {
            About::Frame(frame) => match up.ledger.take_unsubscribe(frame) {
                Some(key) => vec![key],
                None => self.granted(now, Some(frame), &mut grants),
            },
            About::Oldest => {
                let oldest = up.ledger.oldest();
                self.granted(now, oldest, &mut grants)
            }
            About::All => {
                let mut keys = up.ledger.take_all();
                keys.sort_unstable();
                keys.dedup();
                for key in &keys {
                    self.confirm(now, *key, false);
                }
                keys.extend(self.parted(now, about));
                keys
            }
            About::Keys(keys) => {
                let mut meant = Vec::new();
                let wanted = self.without_blocked(keys);
                for key in self.parting_of(about) {
                    if self.is_late_for_parting(now, key) {
                        late = true;
                    } else {
                        self.part(now, key);
                        meant.push(key);
                    }
                }
                for key in wanted {
                    if self.is_late(now, key) {
                        late = true;
                    } else {
                        self.granted_one(now, key, None, &mut grants);
                        meant.push(key);
                    }
                }
                meant
            }
            About::Listed { frame, listed, complete } => {
                self.granted_list(now, frame, listed, complete, &mut grants)
            }
        };
        self.let_out(now);
        Granted { keys, late, grants }
    }

    /// Those whose end waited that were granted.
    fn parted(&mut self, now: Stamp, about: About<'_>) -> Vec<Key> {
        let keys = self.parting_of(about);
        keys.iter().for_each(|key| self.part(now, *key));
        keys
    }

    /// The message of this number is granted.
    fn granted(&mut self, now: Stamp, frame: Option<u64>, grants: &mut Vec<(Key, Grant)>) -> Vec<Key> {
        let Phase::Up(up) = &mut self.phase else { return Vec::new() };
        let Some(frame) = frame else { return Vec::new() };
        let Some(asked) = up.ledger.take(frame) else {
            // It was answered before: one that it refused is granted all the same.
            let Some(key) = up.ledger.take_refused(frame) else { return Vec::new() };
            let waits = |entry: &Entry| entry.is_pending() || entry.state == SubscriptionState::Refused;
            if !self.subscriptions.get(key).is_some_and(waits) {
                return Vec::new();
            }
            self.subscriptions.set_frame(key, frame);
            self.confirm(now, key, false);
            grants.push((key, Grant::First));
            return vec![key];
        };
        self.note_answer(now, frame);
        for key in &asked.keys {
            self.note_grant(frame, *key, grants);
            self.confirm(now, *key, false);
        }
        for key in &asked.gone {
            self.note_grant(frame, *key, grants);
            self.part_by(now, frame, *key);
        }
        [asked.keys, asked.gone].concat()
    }

    fn note_answer(&mut self, now: Stamp, frame: u64) {
        if let Phase::Up(up) = &mut self.phase {
            let at = up.attention.attended(now.mono);
            up.ledger.note_answer(frame, at);
        }
    }

    fn note_grant(&mut self, frame: u64, key: Key, grants: &mut Vec<(Key, Grant)>) {
        let Phase::Up(up) = &mut self.phase else { return };
        let Some(grant) = up.ledger.grant(frame, key) else { return };
        grants.push((key, grant));
        let latest = self.subscriptions.get(key).map_or(frame, Entry::frame);
        if grant != Grant::Older && latest != frame {
            // What the server says of this message is about what is in force.
            up.ledger.retry(latest, key);
            self.subscriptions.set_frame(key, frame);
        }
    }

    /// One subscription is granted, if it was asked for; by a message that is known, or by the oldest of its.
    fn granted_one(&mut self, now: Stamp, key: Key, frame: Option<u64>, grants: &mut Vec<(Key, Grant)>) {
        let Phase::Up(up) = &mut self.phase else { return };
        let Some(entry) = self.subscriptions.get(key) else { return };
        let frame = frame.unwrap_or_else(|| up.ledger.oldest_open(entry.frame(), key));
        if up.ledger.strike(frame, key) {
            self.note_answer(now, frame);
            self.note_grant(frame, key, grants);
            self.confirm(now, key, false);
        } else if entry.state == SubscriptionState::Refused {
            self.confirm(now, key, false);
        }
    }

    /// Whether an answer that says only a name is for an older subscription of that name.
    fn is_late(&mut self, now: Stamp, key: Key) -> bool {
        let Phase::Up(up) = &mut self.phase else { return false };
        let entry = self.subscriptions.get(key);
        entry.is_some_and(|entry| up.ledger.take_owed(&entry.want.id, now.mono))
    }

    fn granted_list(
        &mut self,
        now: Stamp,
        frame: Option<u64>,
        listed: &[String],
        complete: bool,
        grants: &mut Vec<(Key, Grant)>,
    ) -> Vec<Key> {
        let about = About::Listed { frame, listed, complete };
        let named = self.subscriptions.listed(listed);
        let listed: HashSet<&str> = listed.iter().map(String::as_str).collect();
        let Phase::Up(up) = &mut self.phase else { return Vec::new() };
        let is_listed = |entry: &Entry| listed.contains(entry.topic());
        let mut meant = Vec::new();
        if let Some(frame) = frame {
            if let Some(key) = up.ledger.take_unsubscribe(frame) {
                meant.push(key);
            }
            if complete {
                let Some(asked) = up.ledger.take(frame) else { return meant };
                self.note_answer(now, frame);
                for key in asked.keys {
                    if self.subscriptions.get(key).is_some_and(is_listed) {
                        self.note_grant(frame, key, grants);
                        self.confirm(now, key, false);
                        meant.push(key);
                    } else {
                        let detail = "not among what was granted".to_owned();
                        self.refuse_by(now, frame, key, ErrorClass::Refused, None, detail);
                    }
                }
                for key in asked.gone {
                    self.note_grant(frame, key, grants);
                    self.part_by(now, frame, key);
                    meant.push(key);
                }
            } else {
                let asked = up.ledger.get(frame).map_or(&[][..], |asked| asked.keys.as_slice());
                let is_meant = |key: &Key| self.subscriptions.get(*key).is_some_and(is_listed);
                let granted: Vec<Key> = asked.iter().copied().filter(is_meant).collect();
                for key in &granted {
                    self.granted_one(now, *key, Some(frame), grants);
                }
                meant.extend(granted);
                meant.extend(self.parted(now, about));
            }
            return meant;
        }
        let held = |entry: &Entry| entry.in_force || entry.state == SubscriptionState::Refused;
        meant = named.into_iter().filter(|key| self.subscriptions.get(*key).is_some_and(held)).collect();
        for key in &meant {
            self.granted_one(now, *key, None, grants);
        }
        meant.extend(self.parted(now, about));
        if complete {
            // It may have been made before the server had read the message.
            for entry in self.subscriptions.values_mut().filter(|entry| entry.is_pending()) {
                entry.unlisted |= !listed.contains(entry.topic());
            }
            let is_missing = |entry: &Entry| {
                // What counts as refused was never in force, as far as anybody knows: it has no end.
                let proven = entry.in_force && !entry.assumed && !entry.is_pending() && !entry.is_off();
                proven && entry.want.payload && entry.state != SubscriptionState::Queued && !is_listed(entry)
            };
            let of = |(key, entry): (Key, &Entry)| is_missing(entry).then_some(key);
            let missing: Vec<Key> = self.subscriptions.iter().filter_map(of).collect();
            for key in missing {
                let detail = "no longer among what the server lists".to_owned();
                self.drop_one(now, key, ErrorClass::RetryLater, None, detail);
            }
        }
        meant
    }

    /// The server refused something. Says whether anything is known that it could be for.
    pub(crate) fn handle_nack(
        &mut self,
        now: Stamp,
        about: About<'_>,
        class: ErrorClass,
        retry_after: Option<Duration>,
        detail: String,
    ) -> bool {
        match class {
            ErrorClass::Benign => {
                return !self.handle_ack(now, about).is_empty()
                    || matches!(about, About::Frame(frame) if self.was_answered(frame));
            }
            ErrorClass::ConnectionFatal | ErrorClass::FeedFatal => {
                return self.server_error(class == ErrorClass::FeedFatal, detail);
            }
            ErrorClass::RetryLater | ErrorClass::Refused => {}
        }
        let detail = cut(detail);
        let Phase::Up(up) = &mut self.phase else { return false };
        let frame = match about {
            About::Frame(frame) if up.ledger.take_unsubscribe(frame).is_some() => return true,
            About::Frame(frame) => Some(frame),
            About::Oldest => {
                // Where no acknowledgement comes, what has delivered data was not refused.
                let may_be = |key| {
                    let entry = self.subscriptions.get(key);
                    entry.is_some_and(|entry| {
                        let acknowledged = matches!(entry.want.ack, AckPolicy::Awaited { .. });
                        acknowledged || entry.assumed || entry.is_pending()
                    })
                };
                up.ledger.find(may_be).or_else(|| up.ledger.oldest())
            }
            About::Keys(_) | About::Listed { .. } | About::All => None,
        };
        let understood = match about {
            About::Frame(_) | About::Oldest => {
                let Some(frame) = frame else { return false };
                match up.ledger.take(frame) {
                    Some(mut asked) => {
                        // Another message for it was granted: it refuses the second, and holds the first.
                        asked.keys.retain(|key| !up.ledger.is_granted(*key));
                        // Nor is one asked for again in parts that counts as refused already.
                        if asked.members > 1 {
                            let off = |key: &Key| self.subscriptions.get(*key).is_some_and(Entry::is_off);
                            asked.keys.retain(|key| !off(key));
                        }
                        self.note_answer(now, frame);
                        for key in &asked.gone {
                            self.part_refused(now, frame, *key);
                        }
                        match asked.keys.as_slice() {
                            [one] if asked.members == 1 => {
                                self.refuse_by(now, frame, *one, class, retry_after, detail);
                            }
                            keys => self.bisect(now, keys, class, retry_after),
                        }
                    }
                    None if up.ledger.was_answered(frame) => {
                        self.revoke(now, frame, class, retry_after, detail);
                    }
                    None => return false,
                }
                true
            }
            About::All => {
                let mut keys = up.ledger.take_all();
                keys.sort_unstable();
                keys.dedup();
                let granted = |key: &Key| up.ledger.is_granted(*key);
                let refused: Vec<Key> = keys.iter().copied().filter(|key| !granted(key)).collect();
                for key in &refused {
                    self.refuse(now, *key, class, retry_after, detail.clone());
                }
                let parting = self.parting_of(about);
                for key in &parting {
                    self.part_without_a_word(now, *key);
                }
                !keys.is_empty() || !parting.is_empty()
            }
            About::Keys(_) | About::Listed { .. } => {
                let parting = self.parting_of(about);
                let keys = self.without_blocked(&self.resolve(about));
                let by_name = matches!(about, About::Keys(_));
                for key in &parting {
                    if !(by_name && self.is_late_for_parting(now, *key)) {
                        self.part_without_a_word(now, *key);
                    }
                }
                for key in &keys {
                    if by_name && self.is_late(now, *key) {
                        continue;
                    }
                    let Phase::Up(up) = &mut self.phase else { break };
                    let frame = self.subscriptions.get(*key).map_or(0, Entry::frame);
                    let frame = up.ledger.oldest_open(frame, *key);
                    if up.ledger.strike(frame, *key) && !up.ledger.is_granted(*key) {
                        self.refuse_by(now, frame, *key, class, retry_after, detail.clone());
                    }
                }
                !keys.is_empty() || !parting.is_empty()
            }
        };
        self.let_out(now);
        understood
    }

    /// A message that was answered is refused all the same: what it was for is not granted. It may be that an answer by
    /// name, meant for an older message, was taken for its own.
    fn revoke(
        &mut self,
        now: Stamp,
        frame: u64,
        class: ErrorClass,
        retry_after: Option<Duration>,
        detail: String,
    ) {
        match self.resolve(About::Frame(frame)).as_slice() {
            [one] => self.drop_one(now, *one, class, retry_after, detail),
            keys => self.bisect(now, keys, class, retry_after),
        }
    }

    /// Whether this is the number of a subscribe message of this connection that was answered before: the server may
    /// have more to say about it.
    pub(crate) fn was_answered(&self, frame: u64) -> bool {
        matches!(&self.phase, Phase::Up(up) if up.ledger.was_answered(frame))
    }

    /// The server ended a subscription by itself, or refused one that waits for its answer. Says whether anything is known that it could be for.
    pub(crate) fn handle_dropped(
        &mut self,
        now: Stamp,
        about: About<'_>,
        class: ErrorClass,
        retry_after: Option<Duration>,
        detail: String,
    ) -> bool {
        if let ErrorClass::ConnectionFatal | ErrorClass::FeedFatal = class {
            return self.server_error(class == ErrorClass::FeedFatal, detail);
        }
        let detail = cut(detail);
        if let (About::Frame(frame), Phase::Up(up)) = (about, &mut self.phase)
            && up.ledger.take_unsubscribe(frame).is_some()
        {
            return true;
        }
        let parting = self.parting_of(about);
        let keys = self.without_blocked(&self.resolve(about));
        let by_name = matches!(about, About::Keys(_) | About::Listed { frame: None, .. });
        for key in &parting {
            if !(by_name && self.is_own_end_of_parting(now, *key)) {
                self.part_without_a_word(now, *key);
            }
        }
        for key in &keys {
            let Phase::Up(up) = &mut self.phase else { break };
            let Some(entry) = self.subscriptions.get(*key) else { continue };
            // It may be the answer to our own unsubscribe message, for an older one of the same name.
            if by_name && up.ledger.take_own_end(&entry.want.id, now.mono) {
                continue;
            }
            let refused = entry.is_pending() && entry.want.ack != AckPolicy::None;
            up.ledger.strike(entry.frame(), *key);
            if refused && class != ErrorClass::Benign {
                // What was never granted does not end: this is the answer that it waited for.
                self.refuse(now, *key, class, retry_after, detail.clone());
            } else {
                self.drop_one(now, *key, class, retry_after, detail.clone());
            }
        }
        self.let_out(now);
        !keys.is_empty() || !parting.is_empty()
    }

    /// The wanted subscriptions that are meant, each by itself.
    fn resolve(&self, about: About<'_>) -> Vec<Key> {
        let Phase::Up(up) = &self.phase else { return Vec::new() };
        let all = |is_meant: &dyn Fn(&Entry) -> bool| -> Vec<Key> {
            let of = |(key, entry): (Key, &Entry)| (entry.in_force && is_meant(entry)).then_some(key);
            self.subscriptions.iter().filter_map(of).collect()
        };
        match about {
            About::Frame(frame) => {
                let in_force = |key: &Key| self.subscriptions.get(*key).is_some_and(|entry| entry.in_force);
                self.subscriptions.of_frame(frame).filter(in_force).collect()
            }
            About::Oldest => {
                let oldest = up.ledger.oldest();
                oldest.and_then(|frame| up.ledger.get(frame)).map_or(Vec::new(), |asked| asked.keys.clone())
            }
            About::All => all(&|_| true),
            About::Keys(keys) => {
                keys.iter().copied().filter(|key| self.subscriptions.get(*key).is_some()).collect()
            }
            About::Listed { frame, listed, .. } => {
                let is_meant =
                    |entry: &Entry| entry.in_force && frame.is_none_or(|frame| entry.frame() == frame);
                let named = self.subscriptions.listed(listed).into_iter();
                named.filter(|key| self.subscriptions.get(*key).is_some_and(is_meant)).collect()
            }
        }
    }

    /// The connection, or the feed, is of no use any more.
    pub(super) fn server_error(&mut self, fatal: bool, detail: String) -> bool {
        let Phase::Up(up) = &mut self.phase else { return false };
        if up.is_open() {
            up.fatal = fatal;
            up.end(EndReason::ServerError { detail: cut(detail) });
            self.actions.push_back(Action::Abort);
        }
        true
    }
}
