//! The ladder: which repair of a stale subscription, or connection, is next.
//!
//! Each repair is tried once, in order; those that do not apply (nothing to probe with, one endpoint only) are
//! passed over. Past the end it stays with the last one that ends the connection. So there is always a repair, and
//! each subscription that stays stale gets a new connection in the end. The position outlives the connection: only
//! data leads back to the first rung, once it has come for as long as the limit. Many servers send a snapshot to whoever
//! subscribes; alone it is no proof that the repair helped, and must not keep the ladder at its first rung for ever.
//!
//! A new connection costs the others their data. While one of them is a witness that the connection is well, one that
//! stays stale gets the first new connection at once, the next after [`FIRST_PAUSE`], and then after twice as long each
//! time, up to [`LONGEST_PAUSE`]. Before each of them the milder rungs are tried again; what is left of the pause is waited
//! for. A list that names no new connection gets none, witness or not: it is gone through again after such pauses.

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
    /// Nothing: what there is to do did not help lately, and is tried again after so long. Stands in no list.
    Wait(Duration),
}

/// The pause after the first new connection that did not help.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_secs(60);
pub(crate) const LONGEST_PAUSE: Duration = Duration::from_secs(30 * 60);

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
    /// Until when there is a pause, and how long it is.
    pause: Option<(Instant, Duration)>,
    /// The milder rungs are tried again since the pause began, or, where there is no other rung, since it ended.
    again: bool,
    /// The new connection to look at next.
    connect_at: usize,
}

impl Ladder {
    pub(crate) fn new(rungs: Arc<[Rung]>) -> Self {
        Self { rungs, at: 0, begun: false, healing: None, pause: None, again: false, connect_at: 0 }
    }

    /// The next repair: the first from here on that applies. Past the end it is the last of the ladder that applies and
    /// ends the connection, and [`Rung::Reconnect`] if there is none: that one always applies there. `witness` says whether
    /// the data of others proves that the connection is well; it is asked only where that matters.
    pub(crate) fn next(
        &mut self,
        now: Instant,
        applies: impl Fn(Rung) -> bool,
        witness: impl FnOnce() -> bool,
    ) -> Rung {
        self.begun = true;
        self.healing = None;
        let found = self.find(self.at, &applies);
        if let Some((at, rung)) = found.filter(|(_, rung)| !rung.is_final()) {
            self.at = at + 1;
            return rung;
        }
        if !self.rungs.is_empty() && !self.rungs.iter().any(|rung| rung.is_final()) {
            return self.go_round(now, applies);
        }
        let witness = witness();
        if let Some((until, _)) = self.pause.filter(|_| witness) {
            if !std::mem::replace(&mut self.again, true)
                && let Some((at, rung)) = self.find(0, |rung| !rung.is_final() && applies(rung))
            {
                self.at = at + 1;
                return rung;
            }
            if now < until {
                return Rung::Wait(until.saturating_duration_since(now));
            }
        }
        if witness {
            self.begin_pause(now);
        }
        self.again = false;
        let from = self.at.max(self.connect_at);
        if let Some((at, rung)) = self.find(from, |rung| rung.is_final() && applies(rung)) {
            (self.at, self.connect_at) = (at + 1, at + 1);
            return rung;
        }
        self.at = self.rungs.len();
        self.connect_at = self.at;
        let last = self.rungs.iter().rfind(|rung| rung.is_final() && applies(**rung));
        last.copied().unwrap_or(Rung::Reconnect)
    }

    /// Past the end of a list that names no new connection.
    fn go_round(&mut self, now: Instant, applies: impl Fn(Rung) -> bool) -> Rung {
        let through = std::mem::take(&mut self.again);
        if let Some((until, _)) = self.pause.filter(|_| !through) {
            if now < until {
                return Rung::Wait(until.saturating_duration_since(now));
            }
            if let Some((at, rung)) = self.find(0, applies) {
                (self.at, self.again) = (at + 1, true);
                return rung;
            }
        }
        Rung::Wait(self.begin_pause(now))
    }

    fn find(&self, from: usize, applies: impl Fn(Rung) -> bool) -> Option<(usize, Rung)> {
        let mut left = self.rungs.iter().copied().enumerate().skip(from);
        left.find(|(_, rung)| applies(*rung))
    }

    /// The first pause, or one twice as long as the last. Says how long it is.
    fn begin_pause(&mut self, now: Instant) -> Duration {
        let length = self.pause.map_or(FIRST_PAUSE, |(_, last)| (last * 2).min(LONGEST_PAUSE));
        self.pause = now.checked_add(length).map(|until| (until, length));
        length
    }

    /// A new connection is made for another while this one lacks data, too: it is made for both.
    pub(crate) fn share(&mut self, now: Instant) {
        self.begun = true;
        if self.pause.is_none_or(|(until, _)| now >= until) {
            self.begin_pause(now);
            self.again = false;
        }
    }

    /// Whether a new connection did not help, or is not to be made.
    pub(crate) fn is_paused(&self) -> bool {
        self.pause.is_some()
    }

    /// Data came. If it has come for as long as the limit since the last repair, what failed before is over; says whether
    /// there was a pause then.
    pub(crate) fn handle_data(&mut self, now: Instant, limit: Duration) -> bool {
        if !self.begun {
            return false;
        }
        let since = *self.healing.get_or_insert(now);
        if now.saturating_duration_since(since) < limit {
            return false;
        }
        (self.at, self.connect_at, self.begun, self.healing, self.again) = (0, 0, false, None, false);
        self.pause.take().is_some()
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

    impl Ladder {
        fn alone(&mut self, applies: impl Fn(Rung) -> bool) -> Rung {
            self.next(crate::clock::mono(), applies, || false)
        }
    }

    fn ladder(rungs: &[Rung]) -> Ladder {
        Ladder::new(rungs.into())
    }

    #[test]
    fn rungs_come_in_order_and_the_last_one_stays() {
        let rungs = [Rung::Probe(SECOND), Rung::Resubscribe(SECOND), Rung::Reconnect, Rung::NextEndpoint];
        let mut it = ladder(&rungs);
        assert!(!it.is_begun());
        for rung in rungs {
            assert_eq!(it.alone(|_| true), rung);
            assert!(it.is_begun());
        }
        assert_eq!(it.alone(|_| true), Rung::NextEndpoint);
        let now = crate::clock::mono();
        it.handle_data(now, Duration::ZERO);
        assert!(!it.is_begun());
        assert_eq!(it.alone(|_| true), Rung::Probe(SECOND));
    }

    #[test]
    fn a_snapshot_alone_heals_nothing() {
        let now = crate::clock::mono();
        let mut it = ladder(&[Rung::Resubscribe(SECOND), Rung::Reconnect]);
        assert_eq!(it.alone(|_| true), Rung::Resubscribe(SECOND));
        it.handle_data(now, SECOND);
        assert_eq!(it.alone(|_| true), Rung::Reconnect, "no other data came within the limit");
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
        assert_eq!(it.alone(|rung| rung == Rung::Reconnect), Rung::Reconnect);
        let mut it = ladder(&[Rung::Reconnect, Rung::NextEndpoint]);
        let one_endpoint = |rung| rung != Rung::NextEndpoint;
        assert_eq!(it.alone(one_endpoint), Rung::Reconnect);
        assert_eq!(it.alone(one_endpoint), Rung::Reconnect);
    }

    #[test]
    fn there_is_always_a_repair() {
        let milder = [Rung::Probe(SECOND), Rung::Resubscribe(SECOND), Rung::NextEndpoint];
        for rungs in [&[][..], &[Rung::Reconnect], &milder] {
            let mut it = ladder(rungs);
            for rung in rungs {
                assert_eq!(it.alone(|_| true), *rung);
            }
            assert!(it.alone(|_| true).is_final());
            assert_eq!(it.alone(|_| false), Rung::Reconnect);
            assert!(it.is_begun());
        }
    }

    #[test]
    fn beside_a_witness_new_connections_are_made_after_growing_pauses() {
        let t0 = crate::clock::mono();
        let mut now = t0;
        let mut it = ladder(&[Rung::Resubscribe(10 * SECOND), Rung::Reconnect, Rung::NextEndpoint]);
        let mut connects = Vec::new();
        let mut again = 0usize;
        while now < t0 + 24 * 60 * 60 * SECOND {
            match it.next(now, |_| true, || true) {
                Rung::Wait(time) => now += time,
                Rung::Resubscribe(time) => (now, again) = (now + time, again + 1),
                rung => {
                    connects.push((now, rung));
                    now += 5 * SECOND;
                }
            }
        }
        let expected = [Rung::Reconnect, Rung::NextEndpoint, Rung::NextEndpoint];
        assert!(connects.iter().map(|(_, rung)| *rung).take(3).eq(expected));
        let pauses: Vec<_> = connects.windows(2).map(|two| (two[1].0 - two[0].0).as_secs() / 60).collect();
        assert_eq!(pauses[..8], [1, 2, 4, 8, 16, 30, 30, 30]);
        assert!(connects.len().abs_diff(again) <= 1, "the milder rungs before each");
        // Another's new connection is its own; without a witness it is as ever; data leads back.
        it.share(now + LONGEST_PAUSE);
        assert!(matches!(it.next(now + LONGEST_PAUSE, |_| true, || true), Rung::Resubscribe(_)));
        assert!(matches!(it.next(now + LONGEST_PAUSE, |_| true, || true), Rung::Wait(_)));
        assert_eq!(it.next(now + LONGEST_PAUSE, |_| true, || false), Rung::NextEndpoint);
        assert!(it.handle_data(now, Duration::ZERO) && !it.is_paused());
    }

    #[test]
    fn a_list_that_names_no_new_connection_gets_none() {
        for can in [true, false] {
            let t0 = crate::clock::mono();
            let mut now = t0;
            let mut it = ladder(&[Rung::Probe(SECOND), Rung::Resubscribe(SECOND)]);
            let mut waits = Vec::new();
            while now < t0 + 24 * 60 * 60 * SECOND {
                match it.next(now, |_| can, || false) {
                    Rung::Wait(time) => {
                        waits.push(time.as_secs() / 60);
                        now += time;
                    }
                    rung => {
                        assert!(can && !rung.is_final());
                        now += SECOND;
                    }
                }
            }
            assert_eq!(waits[..8], [1, 2, 4, 8, 16, 30, 30, 30]);
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
                Rung::Wait(_) => unreachable!(),
                Rung::Probe(_) => 0,
                Rung::Resubscribe(_) => 1,
                Rung::Reconnect => 2,
                Rung::NextEndpoint => 3,
            }];
            prop_assume!(rungs.is_empty() || rungs.iter().any(|rung| rung.is_final()));
            let mut it = ladder(&rungs);
            for rung in rungs.iter().filter(|rung| applies(**rung)) {
                prop_assert_eq!(it.alone(applies), *rung);
            }
            let last = it.alone(applies);
            prop_assert!(last.is_final() && (applies(last) || last == Rung::Reconnect));
            prop_assert_eq!(it.alone(applies), last);
        }
    }
}
