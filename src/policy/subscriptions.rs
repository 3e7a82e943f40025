//! What the user wants (desired), apart from what is in force on the connection.

use super::adaptive;
use super::demand::{self, Demand};
use super::freshness::{Key, Limits};
use super::hours::{HourLimit, Timetable};
use super::ladder::{Ladder, Rung};
use super::outbox::Member;
use crate::class::{OnAckTimeout, StaleCause};
use crate::clock::Stamp;
use crate::health::SubscriptionState;
use crate::message::SubscriptionId;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What confirms a subscription. Data always does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AckPolicy {
    /// The server's acknowledgement; without one `timeout` after the message was written, `then` is done.
    Awaited { timeout: Duration, then: OnAckTimeout },
    /// The same for the first data instead of an acknowledgement.
    FirstData { timeout: Duration, then: OnAckTimeout },
    /// Nothing has to come: the written message confirms it.
    None,
}

/// So long after the server refused or ended a subscription, data of before may come.
const ON_ITS_WAY: Duration = Duration::from_secs(1);

/// What is wrong with one that has a limit, and beside others takes every message for its data.
pub(crate) const BLIND: &str = "is missing, and there are other subscriptions: every message would count as its data, and \
                                that it went mute would not be seen. Say what its data looks like, or that it has no \
                                limit of its own (\"stale_after\": \"none\"): then only the limit of the connection holds";

/// What the engine says of a subscription that is wanted.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    pub(crate) id: SubscriptionId,
    /// Its own freshness limit; `None`: none.
    pub(crate) limit: Option<Duration>,
    /// How its limit is learned; `limit` is then the ceiling. `None`: it is not.
    pub(crate) adaptive: Option<adaptive::Settings>,
    /// The limit until the first data of a connection; `None`: none until then.
    pub(crate) first_limit: Option<Duration>,
    /// How long nothing but late data may come, by its [`Mark`](super::mark::Mark)s; `None`: there is no rule on event time.
    pub(crate) late: Option<Duration>,
    /// How long nothing but data that says nothing new may come; `None`: there is no rule for it.
    pub(crate) frozen: Option<Duration>,
    /// Its limits by hours: the first that applies counts, in place of `limit`. Indices are those of the session's
    /// `calendars`.
    pub(crate) by_hours: Arc<[HourLimit]>,
    /// Whether something has to be written for it.
    pub(crate) payload: bool,
    /// Whether there is a message that ends it.
    pub(crate) can_end: bool,
    /// Whether that message is made from what the answer to the subscribe message binds.
    pub(crate) ends_by_answer: bool,
    /// Neighbours of one group may share a subscribe message; `None`: it is alone in its.
    pub(crate) batch: Option<u64>,
    pub(crate) ack: AckPolicy,
    /// What is done, in this order, when it is stale. Empty: a new connection.
    pub(crate) repair: Arc<[Rung]>,
    /// Whether there is a message that asks for a sign of life.
    pub(crate) can_probe: bool,
    /// What the server calls it in lists; `None`: its name.
    pub(crate) topic: Option<Arc<str>>,
    /// Whether its data is told from other messages.
    pub(crate) recognised: bool,
}

impl From<&Want> for demand::Terms {
    fn from(want: &Want) -> Self {
        Self {
            limit: want.limit,
            first: want.first_limit,
            late: want.late,
            frozen: want.frozen,
            adaptive: want.adaptive,
            by_hours: Arc::clone(&want.by_hours),
        }
    }
}

/// One desired subscription.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) want: Want,
    /// The next data does not join up with what came before it on this connection.
    pub(crate) gap: bool,
    /// So long a gap in its numbers may be where what is left of before meets the new, after it was made again.
    pub(crate) seam: Option<Instant>,
    /// `Subscribed` was said on this connection.
    pub(crate) announced: bool,
    /// It was said on this connection or an earlier one.
    pub(crate) was_in_force: bool,
    pub(crate) state: SubscriptionState,
    /// The server may hold it: its message was handed out on this connection, and not undone since.
    pub(crate) in_force: bool,
    /// It is confirmed only because nothing said otherwise.
    pub(crate) assumed: bool,
    /// Its latest subscribe message on this connection; 0: none. Set by [`Subscriptions::set_frame`].
    frame: u64,
    /// How often its message was written without an answer in time.
    pub(crate) tries: u32,
    /// How often in a row a connection was given up for want of its answer; outlives connections.
    pub(crate) overdue: u32,
    /// When the server last ended it on this connection, and how often in a row before that.
    pub(crate) ended: Option<(Instant, u32)>,
    /// How often in a row its message could not be made.
    pub(crate) failures: u32,
    /// When it was refused or ended.
    pub(crate) off_since: Option<Instant>,
    /// A list of all that is in force lacked it, since its message was handed out.
    pub(crate) unlisted: bool,
    /// When it is tried again, and as part of which lot.
    pub(crate) later: Option<(Instant, Option<u64>)>,
    /// What is done about its staleness; where it stands survives the connection.
    pub(crate) ladder: Ladder,
    /// How long the last repair gives data to come.
    pub(crate) patience: Option<Duration>,
    /// What it was found to lack, until that comes.
    pub(crate) stale: Option<StaleCause>,
    /// What a connection was given up for the lack of, though data came, until that comes.
    pub(crate) owed: Option<StaleCause>,
    /// Which limits hold.
    pub(crate) demand: Demand,
    /// How far its last data was behind, and how far the server's clock is ahead, in nanoseconds; if there is a rule.
    pub(crate) lag: Option<(i64, i64)>,
    /// When it was last made again on this connection.
    pub(crate) made_again: Option<Instant>,
    /// The last data, on whichever connection.
    pub(crate) last_data: Option<Stamp>,
    pub(crate) messages: u64,
}

impl Entry {
    /// What the server calls it.
    pub(crate) fn topic(&self) -> &str {
        self.want.topic.as_deref().unwrap_or(self.want.id.as_str())
    }

    /// Its latest subscribe message on this connection; 0: none.
    pub(crate) fn frame(&self) -> u64 {
        self.frame
    }

    /// The limits that hold for it now: others until the first data of a connection.
    pub(crate) fn limits(&self) -> Limits {
        use SubscriptionState::{Live, Quiet, Stale};
        self.demand.limits(!matches!(self.state, Live | Quiet | Stale))
    }

    /// As it joins the outbox.
    pub(crate) fn member(&self, key: Key, lot: Option<u64>) -> Member {
        Member { key, group: self.want.batch, lot }
    }

    /// Forgets the connection.
    fn reset(&mut self) {
        self.state = SubscriptionState::Desired;
        self.gap = false;
        self.seam = None;
        self.announced = false;
        self.in_force = false;
        self.assumed = false;
        self.frame = 0;
        self.tries = 0;
        self.ended = None;
        self.off_since = None;
        self.unlisted = false;
        self.later = None;
        self.patience = None;
        // Other data may come at once on the next connection, and proves nothing about what was missing on this one.
        self.owed = self.stale.take().filter(|cause| *cause != StaleCause::Silent).or(self.owed);
        self.lag = None;
        self.demand.handle_break();
        self.made_again = None;
        self.ladder.handle_ended();
    }

    /// What came is what it lacked: it is stale no more. Says whether it was.
    pub(crate) fn heal(&mut self, cause: StaleCause) -> bool {
        if self.owed == Some(cause) {
            self.owed = None;
        }
        let healed = self.stale == Some(cause);
        if healed {
            self.stale = None;
        }
        if healed || self.stale.is_none() {
            self.patience = None;
        }
        healed
    }

    /// What a repair is to bring.
    pub(crate) fn missing(&self) -> StaleCause {
        self.stale.unwrap_or(StaleCause::Silent)
    }

    /// Whether data has come since it was asked for, if not what it lacks.
    pub(crate) fn is_fed(&self) -> bool {
        match self.state {
            SubscriptionState::Live => true,
            SubscriptionState::Stale => self.stale.is_some_and(|cause| cause != StaleCause::Silent),
            _ => false,
        }
    }

    /// Whether it waits for an answer of the server.
    pub(crate) fn is_pending(&self) -> bool {
        self.state == SubscriptionState::Sent
    }

    /// Whether data says that it is in force after all, though it was refused or ended. What was on its way then proves
    /// nothing, nor does what any message meets.
    pub(crate) fn is_proven_by_data(&self, now: Instant) -> bool {
        use SubscriptionState::{Ended, Refused};
        let long_ago = |at: Instant| now.saturating_duration_since(at) >= ON_ITS_WAY;
        matches!(self.state, Ended | Refused) && self.want.recognised && self.off_since.is_some_and(long_ago)
    }

    /// Whether the server refused or ended it, or it is left out.
    pub(crate) fn is_off(&self) -> bool {
        use SubscriptionState::{Ended, Quarantined, Refused};
        matches!(self.state, Ended | Refused | Quarantined)
    }
}

/// The desired subscriptions, in the order in which they were asked for. A key is never used twice, so what is
/// late for an old subscription can't touch a newer one of the same name.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    entries: BTreeMap<Key, Entry>,
    by_id: HashMap<SubscriptionId, Key>,
    /// By what the server calls them: a short list is not to cost a look at all of them.
    by_topic: HashMap<Box<str>, BTreeSet<Key>>,
    /// By their latest subscribe message: an answer is not to cost a look at all of them either.
    by_frame: HashMap<u64, BTreeSet<Key>>,
    last_key: Key,
}

impl Subscriptions {
    /// Adds one; the one it takes the place of comes back.
    pub(crate) fn insert(&mut self, want: Want, timetable: &Timetable) -> (Key, Option<(Key, Entry)>) {
        self.last_key += 1;
        let key = self.last_key;
        let replaced = self.by_id.insert(want.id.clone(), key);
        let replaced = replaced.and_then(|old| Some((old, self.take(old)?)));
        // What the name has got so far stays: the gap says when the last message before it came.
        let (last_data, messages) =
            replaced.as_ref().map_or((None, 0), |(_, old)| (old.last_data, old.messages));
        let ladder = Ladder::new(Arc::clone(&want.repair));
        let demand = Demand::new((&want).into(), timetable);
        let entry = Entry {
            want,
            gap: false,
            seam: None,
            announced: false,
            was_in_force: false,
            state: SubscriptionState::Desired,
            in_force: false,
            assumed: false,
            frame: 0,
            tries: 0,
            overdue: 0,
            ended: None,
            failures: 0,
            off_since: None,
            unlisted: false,
            later: None,
            ladder,
            patience: None,
            stale: None,
            owed: None,
            demand,
            lag: None,
            made_again: None,
            last_data,
            messages,
        };
        self.by_topic.entry(entry.topic().into()).or_default().insert(key);
        self.entries.insert(key, entry);
        (key, replaced)
    }

    /// A key that no subscription has, for what is to be ended in the place of one.
    pub(crate) fn spare_key(&mut self) -> Key {
        self.last_key += 1;
        self.last_key
    }

    fn take(&mut self, key: Key) -> Option<Entry> {
        let entry = self.entries.remove(&key)?;
        self.unlist(entry.frame, key);
        if let Some(keys) = self.by_topic.get_mut(entry.topic()) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_topic.remove(entry.topic());
            }
        }
        Some(entry)
    }

    fn unlist(&mut self, frame: u64, key: Key) {
        if let Some(keys) = self.by_frame.get_mut(&frame) {
            keys.remove(&key);
            if keys.is_empty() {
                self.by_frame.remove(&frame);
            }
        }
    }

    /// Notes which is its latest subscribe message on this connection; 0: none. The one before comes back.
    pub(crate) fn set_frame(&mut self, key: Key, frame: u64) -> u64 {
        let Some(entry) = self.entries.get_mut(&key) else { return 0 };
        let before = std::mem::replace(&mut entry.frame, frame);
        self.unlist(before, key);
        if frame != 0 {
            self.by_frame.entry(frame).or_default().insert(key);
        }
        before
    }

    /// Those whose latest subscribe message is this one, in their order.
    pub(crate) fn of_frame(&self, frame: u64) -> impl Iterator<Item = Key> {
        self.by_frame.get(&frame).into_iter().flatten().copied()
    }

    /// The connection is over: what belonged to it is forgotten.
    pub(crate) fn reset(&mut self) {
        self.by_frame.clear();
        self.entries.values_mut().for_each(Entry::reset);
    }

    /// Those that the server calls by one of these names, in their order.
    pub(crate) fn listed(&self, topics: &[String]) -> Vec<Key> {
        let keys = topics.iter().filter_map(|topic| self.by_topic.get(topic.as_str()));
        keys.flatten().copied().collect::<BTreeSet<_>>().into_iter().collect()
    }

    pub(crate) fn remove(&mut self, id: &SubscriptionId) -> Option<(Key, Entry)> {
        let key = self.by_id.remove(id)?;
        Some((key, self.take(key)?))
    }

    /// The one of this name.
    pub(crate) fn find(&self, id: &SubscriptionId) -> Option<Key> {
        self.by_id.get(id).copied()
    }

    pub(crate) fn get(&self, key: Key) -> Option<&Entry> {
        self.entries.get(&key)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut Entry> {
        self.entries.get_mut(&key)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &Entry)> {
        self.entries.iter().map(|(key, entry)| (*key, entry))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Key, &mut Entry)> {
        self.entries.iter_mut().map(|(key, entry)| (*key, entry))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.entries.keys().copied().collect()
    }

    pub(crate) fn ids(&self) -> Vec<SubscriptionId> {
        self.entries.values().map(|entry| entry.want.id.clone()).collect()
    }
}
