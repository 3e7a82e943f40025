//! The pulse: how much data each of the last seconds brought, and how old the newest was when it ended.
//!
//! There is no timer. A second is begun by the first data in it, or left out, and what lies between is made up for
//! when somebody asks.

use std::time::{Duration, Instant};

/// So many seconds are remembered.
pub(crate) const SECONDS: usize = 120;

/// One more: that which is not over yet.
const SLOTS: usize = SECONDS + 1;

/// One second of a feed's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Beat {
    /// Data messages that came in it.
    pub(crate) messages: u32,
    /// How old the newest data was when it ended; `None`: there was none yet.
    pub(crate) age: Option<Duration>,
}

/// What came in one second.
#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    messages: u32,
    /// When the newest came, in milliseconds from the second's beginning, plus 1; 0: none came, or the second is not over.
    newest: u16,
}

#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    /// Where the first second begins.
    origin: Instant,
    /// The newest second that is known of, and its place in the ring.
    second: u64,
    place: usize,
    /// When that second is over.
    end: Instant,
    /// The newest data.
    newest: Option<Instant>,
    ring: [Slot; SLOTS],
    /// The newest data that came before all that the ring holds.
    before: Option<Instant>,
}

impl Pulse {
    pub(crate) fn new(now: Instant) -> Self {
        let mut pulse = Self {
            origin: now,
            second: 0,
            place: 0,
            end: now,
            newest: None,
            ring: [Slot::default(); SLOTS],
            before: None,
        };
        pulse.end = pulse.start(1);
        pulse
    }

    /// Data came: so many messages. A time before that of the data before counts as in the same second.
    pub(crate) fn handle_data(&mut self, now: Instant, messages: u64) {
        if now >= self.end {
            self.advance(now.saturating_duration_since(self.origin).as_secs());
        }
        self.newest = self.newest.max(Some(now));
        if let Some(slot) = self.ring.get_mut(self.place) {
            slot.messages = slot.messages.saturating_add(u32::try_from(messages).unwrap_or(u32::MAX));
        }
    }

    /// The seconds that are over, the oldest first: [`SECONDS`], or as many as there were.
    pub(crate) fn read(&self, now: Instant) -> Vec<Beat> {
        let mut pulse = self.clone();
        let present = now.saturating_duration_since(self.origin).as_secs();
        if present > pulse.second {
            pulse.advance(present);
        }
        let mut newest = pulse.before;
        let first = pulse.second.saturating_sub(SECONDS as u64);
        let seconds = first..pulse.second;
        seconds
            .map(|second| {
                let slot = pulse.slot(second);
                newest = slot.newest_at(pulse.start(second)).or(newest);
                let end = pulse.start(second + 1);
                Beat { messages: slot.messages, age: newest.map(|at| end.saturating_duration_since(at)) }
            })
            .collect()
    }

    /// Begins a later second, with nothing in those between.
    fn advance(&mut self, second: u64) {
        let start = self.start(self.second);
        if let Some(since) = self.newest.and_then(|at| at.checked_duration_since(start))
            && let Some(slot) = self.ring.get_mut(self.place)
        {
            slot.newest = u16::try_from(since.as_millis().min(999) + 1).unwrap_or(0);
        }
        // Of the seconds that the ring has no room for, only the newest data matters.
        let skipped = second.saturating_sub(self.second);
        for _ in 0..skipped.min(SLOTS as u64) {
            self.place = (self.place + 1) % SLOTS;
            self.second += 1;
            let Some(slot) = self.ring.get_mut(self.place) else { continue };
            let old = std::mem::take(slot);
            if let Some(start) = self.second.checked_sub(SLOTS as u64) {
                self.before = old.newest_at(self.start(start)).or(self.before);
            }
        }
        self.second = second;
        self.end = self.start(second.saturating_add(1));
    }

    /// What came in a second that the ring holds.
    fn slot(&self, second: u64) -> Slot {
        let back = usize::try_from(self.second - second).unwrap_or(SLOTS);
        let place = (self.place + SLOTS).checked_sub(back).map(|place| place % SLOTS);
        place.and_then(|place| self.ring.get(place)).copied().unwrap_or_default()
    }

    fn start(&self, second: u64) -> Instant {
        self.origin.checked_add(Duration::from_secs(second)).unwrap_or(self.origin)
    }
}

impl Slot {
    /// When the newest came, if the second began at `start`.
    fn newest_at(self, start: Instant) -> Option<Instant> {
        let millis = self.newest.checked_sub(1)?;
        start.checked_add(Duration::from_millis(millis.into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn beats(pulse: &Pulse, now: Instant) -> Vec<(u32, Option<u128>)> {
        pulse.read(now).iter().map(|beat| (beat.messages, beat.age.map(|age| age.as_millis()))).collect()
    }

    #[test]
    fn each_second_has_its_count_and_the_age_at_its_end() {
        let t0 = crate::clock::mono();
        let mut pulse = Pulse::new(t0);
        assert_eq!(beats(&pulse, t0), []);
        assert_eq!(beats(&pulse, t0 + ms(1_000)), [(0, None)]);
        pulse.handle_data(t0 + ms(1_250), 3);
        pulse.handle_data(t0 + ms(1_750), 2);
        assert_eq!(beats(&pulse, t0 + ms(1_999)), [(0, None)], "it is not over yet");
        assert_eq!(beats(&pulse, t0 + ms(2_000)), [(0, None), (5, Some(250))]);
        // Nothing came for three seconds, and nothing was called in them.
        pulse.handle_data(t0 + ms(5_100), 1);
        assert_eq!(
            beats(&pulse, t0 + ms(6_000)),
            [(0, None), (5, Some(250)), (0, Some(1_250)), (0, Some(2_250)), (0, Some(3_250)), (1, Some(900))]
        );
    }

    #[test]
    fn the_last_two_minutes_are_kept_and_the_age_of_what_lies_before() {
        let t0 = crate::clock::mono();
        let mut pulse = Pulse::new(t0);
        for second in 0..200 {
            pulse.handle_data(t0 + ms(second * 1_000 + 500), second);
        }
        let seen = beats(&pulse, t0 + ms(200_000));
        let expected: Vec<_> = (80..200).map(|second| (second, Some(500))).collect();
        assert_eq!(seen, expected);
        // Then nothing, for as long as the ring is, and for much longer.
        let seen = beats(&pulse, t0 + ms(319_000));
        assert_eq!((seen[0], seen[1]), ((199, Some(500)), (0, Some(1_500))));
        for later in [320_000, 321_000, 322_000, 86_400_000_000] {
            let seen = beats(&pulse, t0 + ms(later));
            assert_eq!(seen.len(), SECONDS);
            assert!(seen.iter().all(|(messages, _)| *messages == 0));
            assert_eq!(seen.last().unwrap().1, Some(u128::from(later) - 199_500));
        }
        pulse.handle_data(t0 + ms(86_400_000_001), 7);
        let seen = beats(&pulse, t0 + ms(86_400_001_000));
        assert_eq!(seen[118..], [(0, Some(86_400_000_000 - 199_500)), (7, Some(999))]);
    }

    #[test]
    fn what_it_says_is_what_a_plain_record_says() {
        let t0 = crate::clock::mono();
        let mut pulse = Pulse::new(t0);
        let mut record: Vec<u64> = Vec::new();
        let mut at = 0_u64;
        let mut seed = 7_u64;
        for _ in 0..3_000 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Mostly some hundred milliseconds, now and then minutes.
            at += if seed >> 58 == 0 { (seed >> 40) % 300_000 } else { (seed >> 40) % 700 };
            pulse.handle_data(t0 + ms(at), 1);
            record.push(at);
            let now = at + (seed >> 20) % 5_000;
            let present = now / 1_000;
            let expected: Vec<_> = (present.saturating_sub(120)..present)
                .map(|second| {
                    let (from, to) = (second * 1_000, (second + 1) * 1_000);
                    let upto = record.partition_point(|at| *at < to);
                    let before = record.partition_point(|at| *at < from);
                    let newest = upto.checked_sub(1).map(|last| u128::from(to - record[last]));
                    (u32::try_from(upto - before).unwrap(), newest)
                })
                .collect();
            assert_eq!(beats(&pulse, t0 + ms(now)), expected);
        }
    }

    #[test]
    fn a_time_that_goes_backwards_loses_nothing() {
        let t0 = crate::clock::mono();
        let mut pulse = Pulse::new(t0);
        pulse.handle_data(t0 + ms(3_400), 1);
        pulse.handle_data(t0 + ms(2_900), 1);
        assert_eq!(beats(&pulse, t0 + ms(4_000))[3], (2, Some(600)));
        assert_eq!(beats(&pulse, t0).len(), 3, "asked for a time before that of the data");
        pulse.handle_data(t0 + ms(3_500), u64::MAX);
        assert_eq!(beats(&pulse, t0 + ms(4_000))[3], (u32::MAX, Some(500)));
    }
}
