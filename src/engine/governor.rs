//! The limits on what a feed sends and on how often it connects, and those that the feeds of a process share.
//!
//! A server counts by connection, or by the address that all connections come from. For the latter the process keeps
//! one register, by host: feeds that are limited alike there take from the same bucket. A host is remembered as long as
//! a feed uses it, and after that until nothing in its buckets counts any more, so a feed that is closed and opened anew
//! is not free of what it did before.
//!
//! Locks are taken in this order: the feed's own, the register, a host. None is held for longer than it takes to
//! count.

use crate::policy::pacing::{Bucket, Kind, Pace, Pacing};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How many hosts are remembered that no feed uses. Past it the one that was used longest ago is forgotten.
const MOST: usize = 1000;

/// At most so many attempts to connect to a host, by all feeds, in any window of `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Attempts {
    pub(crate) count: u32,
    pub(crate) per: Duration,
}

/// What a bucket of a host is for: those who agree in this share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Limit {
    Sends(Pace),
    Attempts(Attempts),
}

/// What was done on one host. A bucket that is not there is one that is idle.
#[derive(Debug, Default)]
struct Host {
    buckets: HashMap<Limit, Bucket>,
    used: Option<Instant>,
}

impl Host {
    fn free_at(&mut self, now: Instant, limit: Limit) -> Option<Instant> {
        self.buckets.get_mut(&limit)?.free_at(now)
    }

    fn force(&mut self, now: Instant, limit: Limit) {
        self.used = self.used.max(Some(now));
        if !self.buckets.contains_key(&limit) {
            self.buckets.retain(|_, bucket| !bucket.is_idle(now));
        }
        let (Limit::Sends(Pace { count, per, .. }) | Limit::Attempts(Attempts { count, per })) = limit;
        self.buckets.entry(limit).or_insert_with(|| Bucket::new(count, per)).force(now);
    }

    fn is_idle(&self, now: Instant) -> bool {
        self.buckets.values().all(|bucket| bucket.is_idle(now))
    }
}

/// All hosts.
#[derive(Debug)]
struct Register {
    hosts: Mutex<BTreeMap<String, Arc<Mutex<Host>>>>,
}

static REGISTER: Register = Register::new();

impl Register {
    const fn new() -> Self {
        Self { hosts: Mutex::new(BTreeMap::new()) }
    }

    fn host(&self, now: Instant, name: &str) -> Arc<Mutex<Host>> {
        let mut hosts = lock(&self.hosts);
        // Nobody can come to use one while the register is locked.
        let unused = |host: &Arc<Mutex<Host>>| Arc::strong_count(host) == 1;
        hosts.retain(|other, host| other == name || !unused(host) || !lock(host).is_idle(now));
        if hosts.len() > MOST {
            let mut others: Vec<_> = hosts
                .iter()
                .filter(|(other, host)| *other != name && unused(host))
                .map(|(other, host)| (lock(host).used, other.clone()))
                .collect();
            others.sort();
            for (_, other) in others.iter().take(others.len().saturating_sub(MOST)) {
                hosts.remove(other);
            }
        }
        Arc::clone(hosts.entry(name.to_owned()).or_default())
    }
}

/// The limits of one feed.
#[derive(Debug)]
pub(crate) struct Governor {
    register: &'static Register,
    /// Limits on sends that are shared by host.
    shared: Vec<Pace>,
    attempts: Vec<Attempts>,
    feed: Mutex<Own>,
}

#[derive(Debug)]
struct Own {
    pacing: Pacing,
    /// The name of the host and what was done there; `None` where nothing is shared.
    host: Option<(String, Arc<Mutex<Host>>)>,
}

impl Governor {
    /// `own` are limits on what this feed sends, `shared` on what all feeds send to `host` that are limited alike,
    /// `attempts` on how often they connect to it.
    pub(crate) fn for_feed(
        now: Instant,
        host: &str,
        own: &[Pace],
        shared: Vec<Pace>,
        attempts: Vec<Attempts>,
    ) -> Self {
        Self::registered(&REGISTER, now, host, own, shared, attempts)
    }

    fn registered(
        register: &'static Register,
        now: Instant,
        host: &str,
        own: &[Pace],
        shared: Vec<Pace>,
        attempts: Vec<Attempts>,
    ) -> Self {
        let own = Own { pacing: Pacing::new(own), host: None };
        let governor = Self { register, shared, attempts, feed: Mutex::new(own) };
        governor.move_to(now, host);
        governor
    }

    /// The next attempt goes to this host. What the feed itself has sent still counts.
    pub(crate) fn move_to(&self, now: Instant, host: &str) {
        if self.shared.is_empty() && self.attempts.is_empty() {
            return;
        }
        // Names are alike without regard to case (RFC 4343), and with the dot of the root.
        let name = host.trim_end_matches('.').to_ascii_lowercase();
        let mut feed = lock(&self.feed);
        if feed.host.as_ref().is_none_or(|(before, _)| *before != name) {
            let host = self.register.host(now, &name);
            feed.host = Some((name, host));
        }
    }

    /// Takes leave to write one message or frame from all limits that count it, or from none, and says when to ask
    /// again. Control frames always have leave, and are counted.
    pub(crate) fn sends(&self, now: Instant, kind: Kind) -> Result<(), Instant> {
        let mut feed = lock(&self.feed);
        let Own { pacing, host } = &mut *feed;
        let mut host = host.as_ref().filter(|_| !self.shared.is_empty()).map(|(_, host)| lock(host));
        let mut free_at = pacing.free_at(now, kind);
        let shared =
            || self.shared.iter().filter(|pace| pace.of.counts(kind)).map(|pace| Limit::Sends(*pace));
        if let Some(host) = host.as_mut() {
            if kind != Kind::Control {
                free_at = shared().filter_map(|limit| host.free_at(now, limit)).chain(free_at).max();
            }
            if free_at.is_none() {
                shared().for_each(|limit| host.force(now, limit));
            }
        }
        match free_at {
            Some(at) => Err(at),
            None => {
                pacing.force(now, kind);
                Ok(())
            }
        }
    }

    /// Takes leave for one attempt to connect from all limits on that, or from none, and says when to ask again.
    pub(crate) fn dial(&self, now: Instant) -> Result<(), Instant> {
        let feed = lock(&self.feed);
        let Some((_, host)) = &feed.host else { return Ok(()) };
        let mut host = lock(host);
        let limits = || self.attempts.iter().map(|attempts| Limit::Attempts(*attempts));
        if let Some(at) = limits().filter_map(|limit| host.free_at(now, limit)).max() {
            return Err(at);
        }
        limits().for_each(|limit| host.force(now, limit));
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::pacing::Of;

    const SECOND: Duration = Duration::from_secs(1);
    const TEN: Pace = Pace { count: 10, per: SECOND, of: Of::All };
    const ATTEMPTS: Attempts = Attempts { count: 3, per: Duration::from_secs(600) };

    fn register() -> &'static Register {
        Box::leak(Box::new(Register::new()))
    }

    fn feed(register: &'static Register, now: Instant, host: &str) -> Governor {
        Governor::registered(register, now, host, &[], vec![TEN], vec![ATTEMPTS])
    }

    fn names(register: &Register) -> Vec<String> {
        lock(&register.hosts).keys().cloned().collect()
    }

    #[test]
    fn feeds_to_one_host_share_and_others_do_not() {
        let (register, t0) = (register(), crate::clock::mono());
        let (a, b) = (feed(register, t0, "x.example"), feed(register, t0, "X.Example."));
        let other = feed(register, t0, "y.example");
        for i in 0..10 {
            assert_eq!((if i % 2 == 0 { &a } else { &b }).sends(t0, Kind::Application), Ok(()));
        }
        assert_eq!(a.sends(t0, Kind::Application), Err(t0 + SECOND));
        assert_eq!(b.sends(t0, Kind::Subscribe), Err(t0 + SECOND));
        assert_eq!(other.sends(t0, Kind::Application), Ok(()));
        assert_eq!((a.dial(t0), b.dial(t0), a.dial(t0)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(b.dial(t0 + SECOND), Err(t0 + 600 * SECOND));
        assert_eq!(other.dial(t0), Ok(()));
        assert_eq!(b.sends(t0 + SECOND, Kind::Application), Ok(()), "attempts are counted apart");
    }

    #[test]
    fn only_those_that_are_limited_alike_share() {
        let (register, t0) = (register(), crate::clock::mono());
        let one = Pace { count: 1, per: SECOND, of: Of::All };
        let pairs = [one, Pace { per: 2 * SECOND, ..one }, Pace { of: Of::Application, ..one }];
        for pace in pairs {
            let it = Governor::registered(register, t0, "h", &[], vec![pace], Vec::new());
            assert_eq!(it.sends(t0, Kind::Application), Ok(()));
            assert_eq!(it.sends(t0, Kind::Application), Err(t0 + pace.per));
        }
    }

    #[test]
    fn own_limits_are_of_one_feed_and_all_or_none_are_taken_from() {
        let (register, t0) = (register(), crate::clock::mono());
        let two = [Pace { count: 2, per: 5 * SECOND, of: Of::All }];
        let a = Governor::registered(register, t0, "h", &two, vec![TEN], Vec::new());
        let b = Governor::registered(register, t0, "h", &two, vec![TEN], Vec::new());
        assert_eq!(a.sends(t0, Kind::Other), Ok(()));
        assert_eq!(a.sends(t0, Kind::Other), Ok(()));
        for _ in 0..50 {
            assert_eq!(
                a.sends(t0, Kind::Other),
                Err(t0 + 5 * SECOND),
                "nothing is taken from the shared one"
            );
        }
        for _ in 0..8 {
            assert_eq!(a.sends(t0, Kind::Control), Ok(()));
        }
        assert_eq!(b.sends(t0, Kind::Other), Err(t0 + SECOND), "control frames count for the others");
        assert_eq!(b.sends(t0 + SECOND, Kind::Other), Ok(()), "and nothing was taken from its own");
        assert_eq!(b.sends(t0 + SECOND, Kind::Other), Ok(()));
        assert_eq!(b.sends(t0 + SECOND, Kind::Other), Err(t0 + 6 * SECOND));
    }

    #[test]
    fn a_feed_that_is_opened_anew_is_not_free_of_what_it_did() {
        let (register, t0) = (register(), crate::clock::mono());
        for _ in 0..3 {
            assert_eq!(feed(register, t0, "h").dial(t0), Ok(()));
        }
        assert_eq!(feed(register, t0 + SECOND, "h").dial(t0 + SECOND), Err(t0 + 600 * SECOND));
        assert_eq!(feed(register, t0 + 600 * SECOND, "h").dial(t0 + 600 * SECOND), Ok(()));
    }

    #[test]
    fn what_counts_no_more_is_forgotten_once_nobody_uses_it() {
        let (register, t0) = (register(), crate::clock::mono());
        let kept = feed(register, t0, "kept");
        drop(feed(register, t0, "never used"));
        assert_eq!(feed(register, t0, "sent").sends(t0, Kind::Other), Ok(()));
        assert_eq!(feed(register, t0, "dialled").dial(t0), Ok(()));
        assert_eq!(names(register), ["dialled", "kept", "sent"]);
        let now = feed(register, t0 + SECOND, "now");
        assert_eq!(names(register), ["dialled", "kept", "now"]);
        now.move_to(t0 + 600 * SECOND, "then");
        assert_eq!(names(register), ["kept", "now", "then"]);
        now.move_to(t0 + 600 * SECOND, "kept");
        assert_eq!((kept.dial(t0), now.dial(t0), kept.dial(t0)), (Ok(()), Ok(()), Ok(())));
        assert_eq!(now.dial(t0), Err(t0 + 600 * SECOND));
    }

    #[test]
    fn the_register_is_bounded() {
        let (register, t0) = (register(), crate::clock::mono());
        let kept = feed(register, t0, "kept");
        for i in 0..(MOST as u32 + 50) {
            let now = t0 + Duration::from_millis(i.into());
            assert_eq!(feed(register, now, &format!("h{i}")).dial(now), Ok(()));
        }
        let names = names(register);
        assert!(names.len() <= MOST + 2, "{}", names.len());
        assert!(names.iter().any(|name| name == "kept") && !names.iter().any(|name| name == "h0"));
        assert_eq!(kept.dial(t0), Ok(()));
    }

    #[test]
    fn many_threads_together_keep_to_the_limit() {
        let (register, t0) = (register(), crate::clock::mono());
        let taken: usize = std::thread::scope(|scope| {
            let thread = || {
                scope.spawn(|| {
                    let it = feed(register, t0, "h");
                    (0..100).filter(|_| it.sends(t0, Kind::Other).is_ok()).count()
                })
            };
            let threads: Vec<_> = (0..4).map(|_| thread()).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum()
        });
        assert_eq!(taken, 10);
    }

    #[test]
    fn without_limits_nothing_is_registered() {
        let t0 = crate::clock::mono();
        let it = Governor::for_feed(t0, "unlimited.example", &[], Vec::new(), Vec::new());
        for _ in 0..1000 {
            assert_eq!((it.sends(t0, Kind::Application), it.dial(t0)), (Ok(()), Ok(())));
        }
        assert!(!names(&REGISTER).iter().any(|name| name == "unlimited.example"));
    }
}
