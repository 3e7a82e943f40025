//! The ladder: which repair of a stale subscription, or connection, is next.
//!
//! Each repair is tried once, in order; those that do not apply (nothing to probe with, one endpoint only) are
//! passed over. Past the end it stays with the last one that ends the connection. So there is always a repair, and
//! each subscription that stays stale gets a new connection in the end. The position outlives the connection: only
//! data leads back to the first rung, once it has come for as long as the limit. Many servers send a snapshot to whoever
//! subscribes; alone it is no proof that the repair helped, and must not keep the ladder at its first rung for ever.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// One repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rung {
    /// Something is sent that the server has to answer, and so long is waited for data.
    Probe(Duration),
    /// The subscription is made again on this connection, and so long is waited for data.
    Resubscribe(Duration),
    /// A new connection is made.
    Reconnect,
    /// A new connection is made, to the next endpoint.
    NextEndpoint,
}

impl Rung {
    /// Whether it ends the connection.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Reconnect | Self::NextEndpoint)
    }
}

/// Where one subscription, or the connection, is on it.
#[derive(Debug, Clone)]
pub(crate) struct Ladder {
    rungs: Arc<[Rung]>,
    /// The rung to look at next.
    at: usize,
    begun: bool,
    /// When the first data came after the last repair, on this connection.
    healing: Option<Instant>,
}

impl Ladder {
    pub(crate) fn new(rungs: Arc<[Rung]>) -> Self {
        Self { rungs, at: 0, begun: false, healing: None }
    }

    /// The next repair: the first from here on that applies. Past the end it is the last of the ladder that applies and
    /// ends the connection, and [`Rung::Reconnect`] if there is none: that one always applies there.
    pub(crate) fn next(&mut self, applies: impl Fn(Rung) -> bool) -> Rung {
        self.begun = true;
        self.healing = None;
        let left = self.rungs.get(self.at..).unwrap_or_default();
        if let Some(skipped) = left.iter().position(|rung| applies(*rung))
            && let Some(rung) = left.get(skipped)
        {
            self.at += skipped + 1;
            return *rung;
        }
        self.at = self.rungs.len();
        let last = self.rungs.iter().rfind(|rung| rung.is_final() && applies(**rung));
        last.copied().unwrap_or(Rung::Reconnect)
    }

    /// Data came. If it has come for as long as the limit since the last repair, what failed before is over.
    pub(crate) fn handle_data(&mut self, now: Instant, limit: Duration) {
        if self.begun {
            let since = *self.healing.get_or_insert(now);
            if now.saturating_duration_since(since) >= limit {
                (self.at, self.begun, self.healing) = (0, false, None);
            }
        }
    }

    /// The connection ended: what data comes on the next one counts from its first.
    pub(crate) fn handle_ended(&mut self) {
        self.healing = None;
    }

    /// Whether a repair was tried and nothing has healed since.
    #[cfg(test)]
    pub(crate) fn is_begun(&self) -> bool {
        self.begun
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ladder(rungs: &[Rung]) -> Ladder {
        Ladder::new(rungs.into())
    }

    #[test]
    fn rungs_come_in_order_and_the_last_one_stays() {
        let rungs = [Rung::Probe(SECOND), Rung::Resubscribe(SECOND), Rung::Reconnect, Rung::NextEndpoint];
        let mut it = ladder(&rungs);
        assert!(!it.is_begun());
        for rung in rungs {
            assert_eq!(it.next(|_| true), rung);
            assert!(it.is_begun());
        }
        assert_eq!(it.next(|_| true), Rung::NextEndpoint);
        let now = crate::clock::mono();
        it.handle_data(now, Duration::ZERO);
        assert!(!it.is_begun());
        assert_eq!(it.next(|_| true), Rung::Probe(SECOND));
    }

    #[test]
    fn a_snapshot_alone_heals_nothing() {
        let now = crate::clock::mono();
        let mut it = ladder(&[Rung::Resubscribe(SECOND), Rung::Reconnect]);
        assert_eq!(it.next(|_| true), Rung::Resubscribe(SECOND));
        it.handle_data(now, SECOND);
        assert_eq!(it.next(|_| true), Rung::Reconnect, "no other data came within the limit");
        it.handle_data(now + SECOND, SECOND);
        it.handle_ended();
        it.handle_data(now + 2 * SECOND, SECOND);
        assert!(it.is_begun(), "another connection's data does not count");
        it.handle_data(now + 3 * SECOND, SECOND);
        assert!(!it.is_begun());
    }

    #[test]
    fn what_does_not_apply_is_passed_over() {
        let mut it = ladder(&[Rung::Probe(SECOND), Rung::NextEndpoint, Rung::Reconnect]);
        assert_eq!(it.next(|rung| rung == Rung::Reconnect), Rung::Reconnect);
        let mut it = ladder(&[Rung::Reconnect, Rung::NextEndpoint]);
        let one_endpoint = |rung| rung != Rung::NextEndpoint;
        assert_eq!(it.next(one_endpoint), Rung::Reconnect);
        assert_eq!(it.next(one_endpoint), Rung::Reconnect);
    }

    #[test]
    fn there_is_always_a_repair() {
        for rungs in [&[][..], &[Rung::Probe(SECOND)], &[Rung::Probe(SECOND), Rung::Resubscribe(SECOND)]] {
            let mut it = ladder(rungs);
            for rung in rungs {
                assert_eq!(it.next(|_| true), *rung);
            }
            assert_eq!(it.next(|_| true), Rung::Reconnect);
            assert_eq!(it.next(|_| false), Rung::Reconnect);
            assert!(it.is_begun());
        }
    }

    fn rung() -> impl Strategy<Value = Rung> {
        prop_oneof![
            (1u64..9).prop_map(|n| Rung::Probe(Duration::from_secs(n))),
            (1u64..9).prop_map(|n| Rung::Resubscribe(Duration::from_secs(n))),
            Just(Rung::Reconnect),
            Just(Rung::NextEndpoint),
        ]
    }

    proptest! {
        /// What it gives is the ladder without what does not apply, then one that ends the connection for ever.
        #[test]
        fn in_order_then_final(rungs in prop::collection::vec(rung(), 0..8), mask: [bool; 4]) {
            let applies = |rung| mask[match rung {
                Rung::Probe(_) => 0,
                Rung::Resubscribe(_) => 1,
                Rung::Reconnect => 2,
                Rung::NextEndpoint => 3,
            }];
            let mut it = ladder(&rungs);
            for rung in rungs.iter().filter(|rung| applies(**rung)) {
                prop_assert_eq!(it.next(applies), *rung);
            }
            let last = it.next(applies);
            prop_assert!(last.is_final() && (applies(last) || last == Rung::Reconnect));
            prop_assert_eq!(it.next(applies), last);
        }
    }
}
