//! The machine and the server's answers: acknowledgements, refusals, ends of subscriptions, and their absence.
//!
//! Late answers do no harm: what is wanted no more, or was asked for anew since, stands in no message that an answer
//! could be for.

use super::{Action, Phase, Session};
use crate::class::{ErrorClass, OnAckTimeout};
use crate::clock::Stamp;
use crate::error::EndReason;
use crate::event::{Ended, Event, Refused};
use crate::health::SubscriptionState;
use crate::policy::freshness::Key;
use crate::policy::subscriptions::{AckPolicy, Entry};
use std::collections::HashSet;
use std::time::Duration;

/// After which delay a refused subscription is tried again, if the server does not say.
const RETRY: Duration = Duration::from_secs(30);

/// The same for one that the server ended, at first: twice as long each time, up to [`RETRY`], until it has lasted for
/// [`LASTED`]. And for the halves of a message that it refused.
const AGAIN: Duration = Duration::from_secs(1);

/// One that ended longer ago than this ends for the first time.
const LASTED: Duration = Duration::from_secs(60);

/// How often a subscribe message is written without an answer before the connection is given up.
const TRIES: u32 = 3;

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
        let keys = match about {
            About::Frame(frame) => match up.ledger.take_unsubscribe(frame) {
                Some(key) => vec![key],
                None => self.granted(now, Some(frame)),
            },
            About::Oldest => {
                let oldest = up.ledger.oldest();
                self.granted(now, oldest)
            }
            About::All => {
                let mut keys = up.ledger.take_all();
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
                        self.granted_one(now, key);
                        meant.push(key);
                    }
                }
                meant
            }
            About::Listed { frame, listed, complete } => self.granted_list(now, frame, listed, complete),
        };
        self.let_out(now);
        Granted { keys, late }
    }

    /// Those whose end waited that were granted.
    fn parted(&mut self, now: Stamp, about: About<'_>) -> Vec<Key> {
        let keys = self.parting_of(about);
        keys.iter().for_each(|key| self.part(now, *key));
        keys
    }

    /// The message of this number is granted.
    fn granted(&mut self, now: Stamp, frame: Option<u64>) -> Vec<Key> {
        let Phase::Up(up) = &mut self.phase else { return Vec::new() };
        let Some(asked) = frame.and_then(|frame| up.ledger.take(frame)) else { return Vec::new() };
        for key in &asked.keys {
            self.confirm(now, *key, false);
        }
        asked.gone.iter().for_each(|key| self.part(now, *key));
        [asked.keys, asked.gone].concat()
    }

    /// One subscription is granted, if it was asked for.
    fn granted_one(&mut self, now: Stamp, key: Key) {
        let Phase::Up(up) = &mut self.phase else { return };
        let Some(entry) = self.subscriptions.get(key) else { return };
        if up.ledger.strike(entry.frame(), key) {
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
                for key in asked.keys {
                    if self.subscriptions.get(key).is_some_and(is_listed) {
                        self.confirm(now, key, false);
                        meant.push(key);
                    } else {
                        let detail = "not among what was granted".to_owned();
                        self.refuse(now, key, ErrorClass::Refused, None, detail);
                    }
                }
                asked.gone.iter().for_each(|key| self.part(now, *key));
                meant.extend(asked.gone);
            } else {
                let asked = up.ledger.get(frame).map_or(&[][..], |asked| asked.keys.as_slice());
                let is_meant = |key: &Key| self.subscriptions.get(*key).is_some_and(is_listed);
                let granted: Vec<Key> = asked.iter().copied().filter(is_meant).collect();
                for key in &granted {
                    self.granted_one(now, *key);
                }
                meant.extend(granted);
                meant.extend(self.parted(now, about));
            }
            return meant;
        }
        let in_force = |key: &Key| self.subscriptions.get(*key).is_some_and(|entry| entry.in_force);
        meant = named.into_iter().filter(in_force).collect();
        for key in &meant {
            self.granted_one(now, *key);
        }
        meant.extend(self.parted(now, about));
        if complete {
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
                    Some(asked) => {
                        for key in &asked.gone {
                            self.part_without_a_word(now, *key);
                        }
                        match asked.keys.as_slice() {
                            [one] if asked.members == 1 => self.refuse(now, *one, class, retry_after, detail),
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
                let keys = up.ledger.take_all();
                for key in &keys {
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
                    if up.ledger.strike(frame, *key) {
                        self.refuse(now, *key, class, retry_after, detail.clone());
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

    /// The server refused one subscription.
    fn refuse(
        &mut self,
        now: Stamp,
        key: Key,
        class: ErrorClass,
        retry_after: Option<Duration>,
        detail: String,
    ) {
        let retry_in = match class {
            ErrorClass::RetryLater => Some(self.at_least_floor(retry_after.unwrap_or(RETRY))),
            _ => None,
        };
        let Some(subscription) = self.put_off(now, key, SubscriptionState::Refused) else { return };
        self.totals.refused += 1;
        let (time, epoch) = (now.wall, self.epoch);
        let (id, words) = (subscription.clone(), detail.clone());
        let event = Refused { time, epoch, subscription, class, detail, retry_in };
        self.events.push_back(Event::Refused(Box::new(event)));
        match retry_in {
            Some(delay) => self.queue_later(key, now.mono + delay, None),
            None => self.alarms_refused(now, id, words),
        }
    }

    /// The server ended one subscription, if it was in force.
    fn drop_one(
        &mut self,
        now: Stamp,
        key: Key,
        class: ErrorClass,
        retry_after: Option<Duration>,
        detail: String,
    ) {
        let Some(entry) = self.subscriptions.get_mut(key).filter(|entry| entry.in_force) else { return };
        let before = entry.ended.filter(|(at, _)| now.mono.saturating_duration_since(*at) < LASTED);
        let times = before.map_or(0, |(_, times)| times.saturating_add(1));
        entry.ended = Some((now.mono, times));
        let retry_in = match class {
            ErrorClass::Benign | ErrorClass::RetryLater => {
                let own = AGAIN.saturating_mul(2_u32.saturating_pow(times)).min(RETRY);
                Some(self.at_least_floor(retry_after.unwrap_or(own)))
            }
            _ => None,
        };
        let Some(subscription) = self.put_off(now, key, SubscriptionState::Ended) else { return };
        if let Some(entry) = self.subscriptions.get_mut(key) {
            entry.gap = true;
        }
        self.totals.ended += 1;
        let (time, epoch) = (now.wall, self.epoch);
        let (id, words) = (subscription.clone(), detail.clone());
        let event = Ended { time, epoch, subscription, class, detail, retry_in };
        self.events.push_back(Event::Ended(Box::new(event)));
        match retry_in {
            Some(delay) => self.queue_later(key, now.mono + delay, None),
            None => self.alarms_refused(now, id, words),
        }
    }

    /// It is in force no more: nothing is owed for it.
    fn put_off(
        &mut self,
        now: Stamp,
        key: Key,
        state: SubscriptionState,
    ) -> Option<crate::message::SubscriptionId> {
        self.quarantine.settled(key);
        let Phase::Up(up) = &mut self.phase else { return None };
        let entry = self.subscriptions.get_mut(key)?;
        if entry.state == SubscriptionState::Queued {
            self.outbox.cancel_subscribe(key);
        }
        if state != SubscriptionState::Queued {
            entry.stale = None; // nor is it repaired
        }
        entry.state = state; // what it waited for has come
        up.let_go(now.mono, key, entry);
        entry.later = None;
        entry.in_force = false;
        entry.assumed = false;
        entry.announced = false;
        entry.tries = 0;
        entry.patience = None;
        let id = entry.want.id.clone();
        self.subscriptions.set_frame(key, 0); // the report that it was written may still come
        Some(id)
    }

    /// A message for several was refused, and one of them may be the reason: they are asked for again in two parts, until
    /// the one that is refused is alone.
    fn bisect(&mut self, now: Stamp, keys: &[Key], class: ErrorClass, retry_after: Option<Duration>) {
        let (first, second) = keys.split_at(keys.len() / 2);
        for part in [first, second] {
            let lot = Some(self.outbox.next_lot());
            for key in part {
                self.put_off(now, *key, SubscriptionState::Queued);
                if class == ErrorClass::RetryLater {
                    let delay = self.at_least_floor(retry_after.unwrap_or(AGAIN));
                    self.queue_later(*key, now.mono + delay, lot);
                } else {
                    self.queue_again(*key, lot);
                }
            }
        }
    }

    /// The socket was empty: whose answer is over its time?
    pub(super) fn judge_acks(&mut self, now: Stamp) {
        loop {
            let Phase::Up(up) = &mut self.phase else { return };
            if !up.is_open() {
                return;
            }
            let at = up.attention.attended(now.mono);
            let Some((key, since)) = up.acks.take_due(at) else { return };
            let waited = at.saturating_duration_since(since);
            if self.judge_parting(now, key) {
                continue;
            }
            let Phase::Up(up) = &mut self.phase else { return };
            let Some(entry) = self.subscriptions.get_mut(key).filter(|entry| entry.is_pending()) else {
                continue;
            };
            let (AckPolicy::Awaited { then, .. } | AckPolicy::FirstData { then, .. }) = entry.want.ack else {
                continue;
            };
            entry.tries += 1;
            let subscription = entry.want.id.clone();
            match then {
                OnAckTimeout::Accept => self.confirm(now, key, true),
                OnAckTimeout::Refuse => {
                    up.ledger.strike(entry.frame(), key);
                    let detail = format!("no answer within {:.3} s", waited.as_secs_f64());
                    self.refuse(now, key, ErrorClass::Refused, None, detail);
                    // The server may hold it all the same: its end is told to it.
                    if let Some(entry) = self.subscriptions.get_mut(key) {
                        entry.in_force = true;
                    }
                }
                OnAckTimeout::Retry if entry.tries < TRIES => {
                    up.ledger.strike(entry.frame(), key);
                    self.subscriptions.set_frame(key, 0);
                    self.queue_again(key, None);
                }
                OnAckTimeout::Retry | OnAckTimeout::Reconnect => {
                    entry.overdue = entry.overdue.saturating_add(1);
                    up.accused = Some((key, entry.overdue));
                    up.end(EndReason::AckOverdue { subscription, waited });
                    self.actions.push_back(Action::Abort);
                }
            }
        }
    }
}
