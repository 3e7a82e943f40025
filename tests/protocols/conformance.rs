//! What every protocol has to show, with its data file of `examples/feeds` used as it is.
//!
//! A protocol's file makes a [`Case`] and has the tests made from it:
//!
//! ```ignore
//! crate::conformance::tests!(CASE);
//! ```
//!
//! For the sake of the tests [`config`] replaces the server's address by the venue's and shortens times, and that is
//! all that it changes.

use crate::common::*;
use crate::venue::{Builder, CUT_OFF, Venue};
use livefeed::NoticeAction;
use livefeed::{
    EndReason, Event, Feed, FeedBuilder, FeedConfig, FirstAfter, GapCause, Interval, KeepaliveDue, Limit,
    Message, Repair, RepairStep, RuleKind, StaleAfter, SubscriptionId, SubscriptionState,
};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// A protocol: the server's side, and what is expected of its data file.
pub struct Case {
    /// The name of the file in `examples/feeds`, without `.json`.
    pub file: &'static str,
    pub venue: fn() -> Builder,
    /// Each subscription of the file, and what the venue calls its topic.
    pub topics: &'static [(&'static str, &'static str)],
    /// Which topics a message is data of, read without livefeed's matchers.
    pub of: fn(&Message) -> Vec<String>,
    /// The subscription that goes mute and is refused.
    pub victim: &'static str,
    pub refusal: Option<Refusal>,
    pub life: Life,
}

/// How a refusal shows.
pub struct Refusal {
    /// The name of the event: `refused` or `ended`.
    pub event: &'static str,
    /// What the venue is told to say.
    pub reason: &'static str,
    /// What the event's detail then has in it.
    pub detail: &'static str,
}

/// Who keeps the connection alive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// The client speaks up by itself: its `keepalives`. The venue counts with [`Line::alive`](crate::venue::Line::alive)
    /// and ends a connection without.
    Client,
    /// The client answers what the server asks, by message. Counted and ended in the same way.
    Answers,
    /// The client answers the server's WebSocket pings, which are made by the test.
    Pongs,
    /// The server sends heartbeats and asks for nothing.
    Server,
    /// The protocol's file shows it by itself.
    Apart,
}

/// The freshness limit of everything.
const STALE: Duration = ms(300);
/// The time between two keepalives of the client; as long for an answer as data may take.
pub const KEEPALIVE: Duration = ms(50);
/// When a venue ends a connection that gave no sign of life.
const CUT_OFF_AFTER: Duration = ms(400);

impl Case {
    pub fn topic(&self, subscription: &str) -> &'static str {
        self.topics.iter().find(|(id, _)| *id == subscription).unwrap().1
    }

    fn all_topics(&self) -> Vec<&'static str> {
        self.topics.iter().map(|(_, topic)| *topic).collect()
    }

    /// Whose data a message is.
    fn owners(&self, message: &Message) -> BTreeSet<String> {
        let topics = (self.of)(message);
        let is_of = |topic: &str| topics.iter().any(|of| of == topic);
        self.topics.iter().filter(|(_, topic)| is_of(topic)).map(|(id, _)| (*id).to_owned()).collect()
    }
}

/// The data file, at this address and with times for a test.
pub fn config(file: &str, venue: &Venue) -> FeedConfig {
    config_at(file, venue.lab.addr())
}

/// The same for any server.
pub fn config_at(file: &str, addr: SocketAddr) -> FeedConfig {
    let path = format!("{}/examples/feeds/{file}.json", env!("CARGO_MANIFEST_DIR"));
    let mut config = FeedConfig::from_json(&std::fs::read_to_string(path).unwrap()).unwrap();
    // The path and the query stay: some protocols say there what they want.
    let url = config.url.expose();
    let (_, rest) = url.split_once("://").unwrap();
    let path = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
    config.url = format!("ws://{addr}{path}").into();
    config.endpoints.clear();
    config.stale_after = STALE.into();
    for at in 0..config.subscriptions.len() {
        let resolved = config.resolved(&config.subscriptions[at]).terms;
        let terms = &mut config.subscriptions[at].terms;
        let short = |limit: Limit| limit.duration().map_or(Limit::None, |_| STALE.into());
        terms.stale_after = resolved.stale_after.map(|limit| match limit {
            StaleAfter::None => StaleAfter::None,
            _ => STALE.into(),
        });
        terms.first_data_within = resolved.first_data_within.map(short);
        terms.repair = resolved.repair.map(|steps| steps.into_iter().map(shorter).collect());
    }
    for rule in &mut config.rules {
        if let Some(NoticeAction::ReconnectWithin(within)) = &mut rule.action {
            *within = STALE;
        }
    }
    config
}

fn shorter(step: RepairStep) -> RepairStep {
    match step {
        RepairStep::Probe(_) => RepairStep::Probe(STALE),
        RepairStep::Resubscribe(_) => RepairStep::Resubscribe(STALE),
        other => other,
    }
}

/// A feed that reconnects at once.
pub fn open(config: FeedConfig) -> Feed {
    FeedBuilder::from(config)
        .reconnect(|reconnect| {
            (reconnect.floor, reconnect.first, reconnect.max) = (ms(2), ms(5), ms(10));
        })
        .open()
        .unwrap()
}

/// Makes a `#[test]` of each property.
macro_rules! tests {
    ($case:path) => {
        mod conforms {
            use super::*;

            #[test]
            fn subscribes() {
                crate::conformance::subscribes(&$case);
            }

            #[test]
            fn keeps_alive() {
                crate::conformance::keeps_alive(&$case);
            }

            #[test]
            fn repairs_what_goes_mute() {
                crate::conformance::repairs_what_goes_mute(&$case);
            }

            #[test]
            fn reconnects_for_what_stays_mute() {
                crate::conformance::reconnects_for_what_stays_mute(&$case);
            }

            #[test]
            fn recognises_a_refusal() {
                crate::conformance::recognises_a_refusal(&$case);
            }

            #[test]
            fn subscribes_anew_after_a_reset() {
                crate::conformance::subscribes_anew_after_a_reset(&$case);
            }
        }
    };
}
pub(crate) use tests;

/// What was seen of a feed, and looked through as it came.
pub struct Watch<'a> {
    case: &'a Case,
    pub feed: &'a Feed,
    pub seen: Vec<Event>,
    /// Messages of each subscription since the last [`again`](Self::again).
    pub counts: BTreeMap<String, u64>,
    /// Those whose next message has to come after a gap.
    torn: BTreeSet<String>,
    /// All that ever came to it.
    pub subscribed: BTreeSet<String>,
}

impl<'a> Watch<'a> {
    pub fn new(case: &'a Case, feed: &'a Feed) -> Self {
        let (counts, torn, subscribed) = <_>::default();
        Self { case, feed, seen: Vec::new(), counts, torn, subscribed }
    }

    /// Reads until `wanted` says yes to an event, and looks at each message: it is data of those whose it is, and
    /// of nobody else, and where something is missing before it, a gap says so.
    #[track_caller]
    pub fn until(&mut self, mut wanted: impl FnMut(&Self, &Event) -> bool) -> Event {
        let deadline = Instant::now() + CEILING;
        loop {
            let event = match self.feed.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => event,
                Err(error) => panic!("{error}: {:#?}\n{:#?}", self.lifecycle(), self.feed.health()),
            };
            self.take(&event);
            self.seen.push(event.clone());
            if wanted(self, &event) {
                return event;
            }
        }
    }

    #[track_caller]
    fn take(&mut self, event: &Event) {
        let ids = || self.case.topics.iter().map(|(id, _)| (*id).to_owned());
        match event {
            Event::Message(message) => {
                let got: BTreeSet<String> = message.subscriptions().iter().map(ToString::to_string).collect();
                assert_eq!(got, self.case.owners(message), "{message:?}");
                assert!(!got.is_empty(), "data of nobody: {message:?}");
                for id in got {
                    assert!(!self.torn.contains(&id), "no gap before {message:?}: {:#?}", self.lifecycle());
                    *self.counts.entry(id).or_default() += 1;
                }
            }
            Event::Disconnected(end) if end.was_connected => {
                // What had no data yet can miss none.
                let torn: Vec<_> = ids().filter(|id| self.counts.contains_key(id)).collect();
                self.torn.extend(torn);
            }
            Event::Stale(stale) if stale.next == Repair::Resubscribe => {
                self.torn.extend(stale.subscription.iter().map(ToString::to_string));
            }
            Event::Gap(gap) if gap.subscriptions.is_empty() => self.torn.clear(),
            Event::Gap(gap) => {
                self.torn.retain(|id| !gap.subscriptions.contains(&SubscriptionId::from(id.as_str())));
            }
            Event::Subscribed(subscribed) => {
                self.subscribed.insert(subscribed.subscription.to_string());
            }
            _ => {}
        }
    }

    /// Counts messages anew.
    pub fn again(&mut self) {
        self.counts.values_mut().for_each(|count| *count = 0);
    }

    /// Reads until so many messages have come to each of these since [`again`](Self::again).
    #[track_caller]
    pub fn flows(&mut self, ids: &[&str], messages: u64) {
        if ids.is_empty() {
            return;
        }
        self.until(|watch, _| {
            ids.iter().all(|id| watch.counts.get(*id).is_some_and(|count| *count >= messages))
        });
    }

    #[track_caller]
    pub fn all_flow(&mut self) {
        self.again();
        let ids: Vec<_> = self.case.topics.iter().map(|(id, _)| *id).collect();
        self.flows(&ids, 3);
    }

    /// Reads for so long.
    #[track_caller]
    pub fn read_for(&mut self, time: Duration, mut enough: impl FnMut() -> bool) {
        let (begin, deadline) = (Instant::now(), Instant::now() + CEILING);
        while begin.elapsed() < time || !enough() {
            assert!(Instant::now() < deadline, "not seen in time: {:#?}", self.lifecycle());
            if let Ok(event) = self.feed.recv_timeout(ms(5)) {
                self.take(&event);
                self.seen.push(event);
            }
        }
    }

    /// What was seen, but for messages.
    pub fn lifecycle(&self) -> Vec<&Event> {
        self.seen.iter().filter(|event| !matches!(event, Event::Message(_))).collect()
    }

    /// Nothing but this was seen besides messages, and each message was understood.
    #[track_caller]
    pub fn saw_only(&self, names: &[&str]) {
        let strange: Vec<_> = self.lifecycle().into_iter().filter(|e| !names.contains(&e.name())).collect();
        assert!(strange.is_empty(), "{strange:#?}");
        let health = self.feed.health();
        assert_eq!(health.unmatched, 0, "messages that no rule and no subscription knows: {:#?}", self.seen);
    }
}

const CALM: [&str; 3] = ["connecting", "connected", "subscribed"];

/// Every subscription of the file is confirmed, asked for once, and gets its data and no other.
#[track_caller]
pub fn subscribes(case: &Case) {
    let venue = (case.venue)().start();
    let config = config(case.file, &venue);
    let ids: BTreeSet<String> = config.subscriptions.iter().map(|each| each.id.to_string()).collect();
    assert_eq!(ids, case.topics.iter().map(|(id, _)| (*id).to_owned()).collect(), "the case names them all");
    let feed = open(config);
    let mut watch = Watch::new(case, &feed);
    watch.all_flow();
    if watch.subscribed != ids {
        watch.until(|watch, _| watch.subscribed == ids);
    }
    watch.all_flow();
    watch.saw_only(&CALM);
    for (_, topic) in case.topics {
        assert_eq!(venue.grants(1, topic), 1, "{topic}");
    }
    venue.wait_subscribed(1, &case.all_topics());
    let health = feed.health();
    assert!(health.is_fresh(), "{health:#?}");
    feed.close(CEILING).unwrap();
}

/// The line is kept alive in the way of the protocol, with no data too, and would end without.
#[track_caller]
pub fn keeps_alive(case: &Case) {
    if case.life == Life::Apart {
        return;
    }
    let mut builder = (case.venue)();
    if case.life != Life::Server {
        builder = builder.cut_off_after(CUT_OFF_AFTER);
    }
    if case.life == Life::Pongs {
        builder = builder.pings(KEEPALIVE);
    }
    let venue = builder.start();
    let mut config = config(case.file, &venue);
    for keepalive in &mut config.keepalives {
        // One that the server sets the time of is the venue's to shorten.
        if let Interval::Fixed(interval) = &mut keepalive.interval {
            *interval = KEEPALIVE;
        }
        if let Some(FirstAfter::Interval(Interval::Fixed(first))) = &mut keepalive.first_after {
            *first = KEEPALIVE;
        }
        keepalive.within = Some(CUT_OFF_AFTER.into());
    }
    let when_idle = config.keepalives.iter().any(|keepalive| keepalive.due == KeepaliveDue::IdleReceived);
    if when_idle {
        no_limits(&mut config);
    }
    let mut without = config.clone();
    let feed = open(config);
    let mut watch = Watch::new(case, &feed);
    watch.all_flow();
    if when_idle {
        case.topics.iter().for_each(|(_, topic)| venue.mute(topic));
        venue.mute_heartbeats();
    }
    let signs = || case.life == Life::Server || venue.signs(1) >= 5;
    watch.read_for(CUT_OFF_AFTER * 3 / 2, signs);
    watch.saw_only(&CALM);
    assert_eq!(venue.on_wire().len(), 1, "{:?}", venue.on_wire());
    feed.close(CEILING).unwrap();
    if case.life == Life::Client {
        without.keepalives.clear();
        let feed = open(without);
        let mut watch = Watch::new(case, &feed);
        let end = watch.until(|_, event| matches!(event, Event::Disconnected(_)));
        let Event::Disconnected(end) = end else { unreachable!() };
        let by_venue =
            matches!(end.reason, EndReason::ClosedByPeer { code: Some(code), .. } if code == CUT_OFF);
        assert!(by_venue, "{end:?}");
    }
}

/// Nothing counts as stale.
pub fn no_limits(config: &mut FeedConfig) {
    config.stale_after = StaleAfter::None;
    for subscription in &mut config.subscriptions {
        subscription.terms.stale_after = Some(StaleAfter::None);
        subscription.terms.first_data_within = Some(Limit::None);
    }
}

/// What the server ends is made again soon.
pub fn hasty(mut config: FeedConfig) -> FeedConfig {
    for rule in config.rules.iter_mut().filter(|rule| rule.is == RuleKind::Ended && rule.class.is_none()) {
        rule.retry_after = Some(ms(20));
    }
    config
}

/// Whether the file has a message that ends this subscription.
fn can_end(config: &FeedConfig, id: &str) -> bool {
    let subscription = config.subscriptions.iter().find(|each| each.id.as_str() == id).unwrap();
    config.resolved(subscription).terms.unsubscribe.is_some()
}

#[track_caller]
fn until_stale(watch: &mut Watch<'_>, id: &str) -> Repair {
    let event = watch.until(|_, event| matches!(event, Event::Stale(_)));
    let Event::Stale(stale) = event else { unreachable!() };
    assert_eq!(stale.subscription.as_ref().map(SubscriptionId::as_str), Some(id), "{stale:?}");
    stale.next
}

fn others(case: &Case) -> Vec<&'static str> {
    case.topics.iter().map(|(id, _)| *id).filter(|id| *id != case.victim).collect()
}

/// One subscription gets nothing while all else goes on. It is named, and made again: that heals it.
#[track_caller]
pub fn repairs_what_goes_mute(case: &Case) {
    let venue = (case.venue)().start();
    let config = config(case.file, &venue);
    let again = can_end(&config, case.victim);
    let feed = open(config);
    let mut watch = Watch::new(case, &feed);
    watch.all_flow();
    let topic = case.topic(case.victim);
    venue.stall(topic);
    watch.again();
    let next = until_stale(&mut watch, case.victim);
    for id in others(case) {
        assert!(watch.counts[id] >= 3, "{id} goes on: {:?}", watch.counts);
    }
    assert_eq!(next, if again { Repair::Resubscribe } else { Repair::Reconnect });
    watch.again();
    watch.flows(&[case.victim], 3);
    let gaps: Vec<_> = watch.lifecycle().into_iter().filter_map(gap).collect();
    if again {
        watch.saw_only(&["connecting", "connected", "subscribed", "stale", "gap"]);
        assert_eq!(venue.grants(1, topic), 2);
        assert_eq!(gaps, [GapCause::Resubscribed], "{:#?}", watch.lifecycle());
        assert_eq!(venue.on_wire().keys().copied().collect::<Vec<_>>(), [1]);
    } else {
        assert!(gaps.contains(&GapCause::Reconnected), "{:#?}", watch.lifecycle());
        venue.wait_grants(2, topic, 1);
    }
    watch.all_flow();
    feed.close(CEILING).unwrap();
}

fn gap(event: &Event) -> Option<GapCause> {
    if let Event::Gap(gap) = event { Some(gap.cause) } else { None }
}

/// The same, but making it again does not heal it: the next rung is a new connection.
#[track_caller]
pub fn reconnects_for_what_stays_mute(case: &Case) {
    let venue = (case.venue)().start();
    let config = config(case.file, &venue);
    let again = can_end(&config, case.victim);
    let feed = open(config);
    let mut watch = Watch::new(case, &feed);
    watch.all_flow();
    let topic = case.topic(case.victim);
    venue.mute(topic);
    if again {
        assert_eq!(until_stale(&mut watch, case.victim), Repair::Resubscribe);
    }
    assert_eq!(until_stale(&mut watch, case.victim), Repair::Reconnect);
    venue.wait_grants(2, topic, 1);
    assert_eq!(venue.grants(1, topic), 1 + u64::from(again));
    venue.unmute(topic);
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.all_flow();
    let ends: Vec<_> = watch
        .lifecycle()
        .into_iter()
        .filter_map(|event| if let Event::Disconnected(end) = event { Some(end) } else { None })
        .collect();
    let [end] = ends.as_slice() else { panic!("{ends:#?}") };
    assert!(
        matches!(&end.reason, EndReason::Stale { subscription: Some(id), .. } if id.as_str() == case.victim),
        "{end:?}"
    );
    watch.saw_only(&["connecting", "connected", "subscribed", "stale", "gap", "disconnected"]);
    feed.close(CEILING).unwrap();
}

/// The server refuses one subscription: it is named, with the server's words. The others flow, on the same connection.
/// The next connection tries again.
#[track_caller]
pub fn recognises_a_refusal(case: &Case) {
    let Some(refusal) = &case.refusal else { return };
    let venue = (case.venue)().start();
    let topic = case.topic(case.victim);
    venue.refuse(topic, refusal.reason);
    let feed = open(config(case.file, &venue));
    let mut watch = Watch::new(case, &feed);
    let event = watch.until(|_, event| matches!(event, Event::Refused(_) | Event::Ended(_)));
    assert_eq!(event.name(), refusal.event, "{event:?}");
    let (id, detail) = match event {
        Event::Refused(refused) => (refused.subscription, refused.detail),
        Event::Ended(ended) => (ended.subscription, ended.detail),
        _ => unreachable!(),
    };
    assert_eq!(id.as_str(), case.victim);
    assert!(detail.contains(refusal.detail), "{detail}");
    watch.again();
    watch.flows(&others(case), 3);
    let health = feed.health();
    let state = health.subscriptions.iter().find(|each| each.id.as_str() == case.victim).unwrap().state;
    assert!(matches!(state, SubscriptionState::Refused | SubscriptionState::Ended), "{health:#?}");
    assert!(!health.is_fresh(), "{health:#?}");
    watch.saw_only(&["connecting", "connected", "subscribed", "refused", "ended", "alert"]);
    assert_eq!(venue.on_wire().keys().copied().collect::<Vec<_>>(), [1]);
    venue.allow(topic);
    venue.reset();
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.all_flow();
    venue.wait_subscribed(2, &case.all_topics());
    feed.close(CEILING).unwrap();
}

/// All is asked for once on the next connection, and before its data a gap says that some may be missing.
#[track_caller]
pub fn subscribes_anew_after_a_reset(case: &Case) {
    let venue = (case.venue)().start();
    let feed = open(config(case.file, &venue));
    let mut watch = Watch::new(case, &feed);
    watch.all_flow();
    venue.reset();
    watch.until(|_, event| matches!(event, Event::Connected(_)));
    watch.subscribed.clear();
    watch.all_flow();
    let count = case.topics.len();
    if watch.subscribed.len() < count {
        watch.until(|watch, _| watch.subscribed.len() == count);
    }
    watch.saw_only(&["connecting", "connected", "subscribed", "disconnected", "gap"]);
    let gaps: Vec<_> = watch.lifecycle().into_iter().filter_map(gap).collect();
    assert!(gaps.iter().all(|cause| *cause == GapCause::Reconnected), "{gaps:?}");
    for (_, topic) in case.topics {
        assert_eq!(venue.grants(2, topic), 1, "{topic}");
    }
    venue.wait_subscribed(2, &case.all_topics());
    assert_eq!(venue.on_wire().keys().copied().collect::<Vec<_>>(), [2]);
    feed.close(CEILING).unwrap();
}

/// The JSON of a message, `Null` if it has none.
pub fn json(message: &Message) -> serde_json::Value {
    message.text().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}
