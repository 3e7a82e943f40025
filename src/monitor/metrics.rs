//! `GET /metrics`: the figures of all feeds, for Prometheus and what reads its formats.
//!
//! Nothing is kept between two requests: each makes its page from snapshots of that moment. So a feed that is removed
//! leaves no series behind, and there is no second set of books.
//!
//! A feed has a fixed number of series, whatever happens to it, and four or five for each of its first subscriptions,
//! in the order in which they were asked for, up to a bound. How many have none of their own is a series too, and the
//! counts by state are of all.

use super::exposition::{Form, Page};
use super::http::Response;
use crate::feed::{Snapshot, Source};
use crate::health::{Health, State, SubscriptionHealth, SubscriptionState};
use crate::measures::{Histogram, Measures};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::registry::Unit;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// All metrics of these feeds, as they are now, in the format that the header `Accept` asks for. `most` subscriptions of
/// each have series of their own.
pub(super) fn answer(sources: &[Arc<Source>], accept: Option<&str>, most: usize) -> Response {
    let form = Form::wanted(accept);
    let feeds = sources.iter().map(|source| source.snapshot()).collect();
    match form.encode(Box::new(Scrape { feeds, form, most })) {
        Ok(text) => Response::new(200, form.content_type(), text),
        Err(error) => Response::error(500, error.to_string()), // half a page would pass for a whole one
    }
}

/// The feeds at the moment of a request.
struct Scrape {
    feeds: Vec<Arc<Snapshot>>,
    form: Form,
    most: usize,
}

impl fmt::Debug for Scrape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrape").field("feeds", &self.feeds.len()).finish_non_exhaustive()
    }
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page::new(encoder, self.form);
        self.states(&mut page)?;
        self.ages(&mut page)?;
        self.counters(&mut page)?;
        self.levels(&mut page)?;
        self.histograms(&mut page)?;
        self.subscriptions(&mut page)
    }
}

/// One series of each feed.
type One<V> = fn(&Health) -> V;

/// One histogram of each feed.
type Distribution = fn(&Measures) -> &Histogram;

/// One series of each subscription.
type OneOf = fn(&SubscriptionHealth) -> Option<f64>;

impl Scrape {
    fn feeds(&self) -> impl Iterator<Item = &Health> {
        self.feeds.iter().map(|feed| &feed.health)
    }

    fn states(&self, page: &mut Page<'_>) -> fmt::Result {
        let all: [(&str, &str, One<bool>); 2] = [
            (
                "livefeed_healthy",
                "Whether the feed is fresh or quiet, and livefeed can read: what GET /health goes by.",
                |health| health.is_healthy(),
            ),
            ("livefeed_up", "Whether there is a connection.", |health| health.up.is_some()),
        ];
        for (name, help, value) in all {
            let mut family = page.gauge(name, None, help)?;
            for health in self.feeds() {
                family.sample([("feed", &*health.name)], value(health))?;
            }
        }
        let help = "1 for the state that the feed is in, 0 for all others.";
        let mut family = page.gauge("livefeed_state", None, help)?;
        for health in self.feeds() {
            for state in State::ALL {
                let labels = [("feed", &*health.name), ("state", state.name())];
                family.sample(labels, health.state == state)?;
            }
        }
        let help = "1 for each kind of alert that was raised and is not over.";
        let mut family = page.gauge("livefeed_alert_raised", None, help)?;
        for health in self.feeds() {
            for kind in &health.alerts {
                family.sample([("feed", &*health.name), ("kind", kind)], true)?;
            }
        }
        Ok(())
    }

    fn ages(&self, page: &mut Page<'_>) -> fmt::Result {
        let all: [(&str, &str, One<Option<Duration>>); 8] = [
            (
                "livefeed_last_signal_age",
                "Since the last data message, on whichever connection. Absent before the first.",
                |health| health.last_signal_age,
            ),
            (
                "livefeed_last_data_age",
                "Since the last data message on the present connection. Absent before the first.",
                |health| health.last_data_age,
            ),
            (
                "livefeed_last_message_age",
                "Since the last message of any class on the present connection. Absent before the first.",
                |health| health.last_message_age,
            ),
            (
                "livefeed_last_byte_age",
                "Since the last byte on the present connection. Absent without one.",
                |health| health.last_byte_age,
            ),
            (
                "livefeed_held_up",
                "How long the application has kept livefeed from reading. Absent while it does not.",
                |health| health.held_up,
            ),
            ("livefeed_connection_age", "How long the present connection has been up.", |health| health.up),
            (
                "livefeed_limit",
                "The limit in force on the age of the connection's data. Absent if there is none.",
                |health| health.stale_after,
            ),
            (
                "livefeed_learned_gap",
                "The slowest recent gap in the data, where the limit is learned and enough is known.",
                |health| health.learned_gap,
            ),
        ];
        for (name, help, value) in all {
            let mut family = page.gauge(name, Some(Unit::Seconds), help)?;
            for health in self.feeds() {
                if let Some(value) = value(health) {
                    family.sample([("feed", &*health.name)], value)?;
                }
            }
        }
        Ok(())
    }

    fn counters(&self, page: &mut Page<'_>) -> fmt::Result {
        let all: [(&str, Option<Unit>, &str, One<u64>); 10] = [
            ("livefeed_messages", None, "Messages received, of any class.", |health| health.messages),
            (
                "livefeed_received",
                Some(Unit::Bytes),
                "Bytes received, as they came from the socket.",
                |health| health.bytes,
            ),
            (
                "livefeed_unmatched_messages",
                None,
                "Messages that met no matcher though each subscription has one.",
                |health| health.unmatched,
            ),
            ("livefeed_dropped_messages", None, "Messages dropped by the queue's policy.", |health| {
                health.dropped
            }),
            ("livefeed_connections", None, "Connections established.", |health| health.connections),
            (
                "livefeed_stale_verdicts",
                None,
                "Stale verdicts, on the connection or a subscription.",
                |health| health.stale_verdicts,
            ),
            ("livefeed_gaps", None, "Gaps in the data, whatever made them.", |health| health.gaps),
            ("livefeed_sequence_gaps", None, "Gaps in sequence numbers.", |health| health.sequence_gaps),
            ("livefeed_subscriptions_refused", None, "Subscriptions that the server refused.", |health| {
                health.refused
            }),
            ("livefeed_subscriptions_ended", None, "Subscriptions that the server ended.", |health| {
                health.ended
            }),
        ];
        for (name, unit, help, value) in all {
            let mut family = page.counter(name, unit, help)?;
            for health in self.feeds() {
                family.sample([("feed", &*health.name)], value(health))?;
            }
        }
        let help = "Connections and attempts that ended, by reason.";
        let mut family = page.counter("livefeed_ends", None, help)?;
        for health in self.feeds() {
            for (reason, count) in &health.ends {
                family.sample([("feed", &*health.name), ("reason", reason)], *count)?;
            }
        }
        let help = "Alerts that were raised or happened, by kind.";
        let mut family = page.counter("livefeed_alerts", None, help)?;
        for feed in &self.feeds {
            for (kind, count) in &feed.measures.alerts {
                family.sample([("feed", &*feed.health.name), ("kind", kind)], *count)?;
            }
        }
        Ok(())
    }

    fn levels(&self, page: &mut Page<'_>) -> fmt::Result {
        let all: [(&str, Option<Unit>, &str, One<u64>); 4] = [
            ("livefeed_queue_messages", None, "Messages that wait to be read.", |health| {
                health.queue_messages as u64
            }),
            (
                "livefeed_queue",
                Some(Unit::Bytes),
                "Bytes that wait to be read, or are being read.",
                |health| health.queue_bytes as u64,
            ),
            (
                "livefeed_outbox",
                Some(Unit::Bytes),
                "Bytes of the application that wait to be written.",
                |health| health.outbox_bytes as u64,
            ),
            ("livefeed_attempts", None, "Attempts since the last connection.", |health| {
                u64::from(health.attempt)
            }),
        ];
        for (name, unit, help, value) in all {
            let mut family = page.gauge(name, unit, help)?;
            for health in self.feeds() {
                family.sample([("feed", &*health.name)], value(health))?;
            }
        }
        let help = "Name lookups of this process that are stuck in the operating system.";
        let mut family = page.gauge("livefeed_abandoned_lookups", None, help)?;
        if let Some(most) = self.feeds().map(|health| health.abandoned_lookups as u64).max() {
            family.sample::<0>([], most)?;
        }
        Ok(())
    }

    fn histograms(&self, page: &mut Page<'_>) -> fmt::Result {
        let all: [(&str, &str, Distribution); 4] = [
            (
                "livefeed_verdict_lateness",
                "How long after its deadline each stale verdict came.",
                |measures| &measures.lateness,
            ),
            (
                "livefeed_connect_duration",
                "How long attempts took that led to a connection, from the name lookup to the end of the login.",
                |measures| &measures.connect,
            ),
            (
                "livefeed_ping_round_trip",
                "From a ping to its pong, where it is known whose pong it is.",
                |measures| &measures.ping,
            ),
            (
                "livefeed_event_lag",
                "How far data was behind the time that it carries, where there is a rule for it.",
                |measures| &measures.lag,
            ),
        ];
        for (name, help, histogram) in all {
            let mut family = page.histogram(name, Unit::Seconds, help)?;
            for feed in &self.feeds {
                family.distribution([("feed", &*feed.health.name)], histogram(&feed.measures))?;
            }
        }
        Ok(())
    }

    fn subscriptions(&self, page: &mut Page<'_>) -> fmt::Result {
        let help = "How many subscriptions are in this state.";
        let mut family = page.gauge("livefeed_subscriptions", None, help)?;
        for health in self.feeds() {
            for state in SubscriptionState::ALL {
                let count = health.subscriptions.iter().filter(|one| one.state == state).count();
                let labels = [("feed", &*health.name), ("state", state.name())];
                family.sample(labels, count as u64)?;
            }
        }
        let help = "How many subscriptions have no series of their own, as there are too many.";
        let mut family = page.gauge("livefeed_subscriptions_left_out", None, help)?;
        for health in self.feeds() {
            let left_out = health.subscriptions.len().saturating_sub(self.most);
            family.sample([("feed", &*health.name)], left_out as u64)?;
        }
        let help = "1 for the state that the subscription is in; other states have no series.";
        let mut family = page.gauge("livefeed_subscription_state", None, help)?;
        for (feed, one) in self.shown() {
            let labels = [("feed", feed), ("subscription", one.id.as_str()), ("state", one.state.name())];
            family.sample(labels, true)?;
        }
        let all: [(&str, &str, OneOf); 4] = [
            (
                "livefeed_subscription_last_signal_age",
                "Since the subscription's last data, on whichever connection. Absent before the first.",
                |one| one.last_signal_age.as_ref().map(Duration::as_secs_f64),
            ),
            (
                "livefeed_subscription_limit",
                "The subscription's limit in force on the age of its data. Absent if there is none.",
                |one| one.stale_after.as_ref().map(Duration::as_secs_f64),
            ),
            (
                "livefeed_subscription_learned_gap",
                "The slowest recent gap in its data, where its limit is learned and enough is known.",
                |one| one.learned_gap.as_ref().map(Duration::as_secs_f64),
            ),
            (
                "livefeed_subscription_lag",
                "How far its last data on this connection was behind the time that it carries, where there is a rule.",
                |one| one.lag_seconds,
            ),
        ];
        for (name, help, value) in all {
            let mut family = page.gauge(name, Some(Unit::Seconds), help)?;
            for (feed, one) in self.shown() {
                if let Some(value) = value(one) {
                    family.sample([("feed", feed), ("subscription", one.id.as_str())], value)?;
                }
            }
        }
        let help = "Messages of the subscription.";
        let mut family = page.counter("livefeed_subscription_messages", None, help)?;
        for (feed, one) in self.shown() {
            family.sample([("feed", feed), ("subscription", one.id.as_str())], one.messages)?;
        }
        Ok(())
    }

    /// The subscriptions that have series of their own, with their feed's name.
    fn shown(&self) -> impl Iterator<Item = (&str, &SubscriptionHealth)> {
        self.feeds().flat_map(|health| {
            let name = &*health.name;
            health.subscriptions.iter().take(self.most).map(move |one| (name, one))
        })
    }
}
