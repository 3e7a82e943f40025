//! The learned limit on generated traffic, in virtual time, beside fixed limits on the same traffic.

use super::*;
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);

/// Traffic: the time of day in, the time to the next data out.
type Gaps = Box<dyn FnMut(Duration, &mut StdRng) -> Duration>;

struct Trace {
    name: &'static str,
    seed: u64,
    length: Duration,
    /// No data comes, whatever is done about it.
    outage: (Duration, Duration),
    ceiling: Duration,
    gaps: Gaps,
}

/// What a limit did on a trace.
#[derive(Debug, Default)]
struct Tally {
    /// Verdicts while data flowed.
    false_alarms: usize,
    /// Those of them that came in the last quarter.
    late_alarms: usize,
    /// From the outage's begin to the first verdict in it.
    delay: Option<Duration>,
    /// The limit at the end.
    limit: Duration,
}

fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

/// Between 0 (excluded) and 1.
fn unit(random: &mut StdRng) -> f64 {
    1.0 - random.random::<f64>()
}

fn poisson(mean: f64) -> Gaps {
    Box::new(move |_, random| secs(-mean * unit(random).ln()))
}

/// Pauses in a heavy tail: the probability of one longer than x falls with the power 1.5 of x.
fn pareto(mean: f64) -> Gaps {
    Box::new(move |_, random| secs(mean / 3.0 * unit(random).powf(-1.0 / 1.5)))
}

fn traces() -> Vec<Trace> {
    let trace = |name, hours: u32, gaps| Trace {
        name,
        seed: 4,
        length: hours * HOUR,
        outage: (hours * HOUR / 2, hours * HOUR / 2 + 15 * MINUTE),
        ceiling: 5 * MINUTE,
        gaps,
    };
    let burst = |left: &mut u32, random: &mut StdRng| {
        *left = left.checked_sub(1).unwrap_or(29);
        secs(if *left > 0 { 0.05 } else { random.random_range(15.0..25.0) })
    };
    let mut left = 0;
    vec![
        trace("steady, 10/s", 8, Box::new(|_, random| secs(random.random_range(0.08..0.12)))),
        trace("random, 1/s", 24, poisson(1.0)),
        trace("random, 1 in 10 s", 48, poisson(10.0)),
        trace("bursts of 30 each 20 s", 12, Box::new(move |_, random| burst(&mut left, random))),
        trace("heavy tail, 1/s", 48, pareto(1.0)),
        // The second noon is in the middle of the outage.
        Trace {
            outage: (36 * HOUR, 36 * HOUR + 15 * MINUTE),
            ..trace(
                "day and night, 5/s to 1 in 5 s",
                48,
                Box::new(|at, random| {
                    let day = at.as_secs_f64() / 86_400.0 * std::f64::consts::TAU;
                    let mean = 10_f64.powf(0.7 * day.cos());
                    secs(-mean * unit(random).ln())
                }),
            )
        },
        trace(
            "slows down for good, 5/s to 1 in 5 s",
            16,
            Box::new(|at, random| {
                secs(if at < 4 * HOUR { 0.2 } else { 5.0 } * random.random_range(0.5..1.5))
            }),
        ),
        Trace {
            ceiling: 30 * MINUTE,
            outage: (120 * HOUR, 121 * HOUR),
            ..trace("random, 1 a minute", 240, poisson(60.0))
        },
    ]
}

enum Rule {
    Fixed(Duration),
    Learned(Box<Learner>),
}

impl Rule {
    fn limit(&self) -> Duration {
        match self {
            Self::Fixed(limit) => *limit,
            Self::Learned(learner) => learner.limit(),
        }
    }
}

fn settings() -> Settings {
    Settings { factor: 4.0, floor: SECOND, ceiling: 5 * MINUTE, warm_up: MINUTE }
}

/// Plays the traffic as the machine sees it. A verdict is followed by a new connection a second later, which begins with
/// data unless there is an outage.
fn play(trace: &mut Trace, mut rule: Rule) -> Tally {
    let mut random = StdRng::seed_from_u64(trace.seed);
    let t0 = crate::clock::mono();
    let (outage, over) = trace.outage;
    let first = match &rule {
        Rule::Fixed(limit) => *limit,
        Rule::Learned(learner) => learner.settings.ceiling,
    };
    let mut tally = Tally::default();
    let mut since = Duration::ZERO;
    let mut limit = first;
    let mut at = Duration::ZERO;
    while at < trace.length {
        at += (trace.gaps)(at, &mut random);
        if (outage..over).contains(&at) {
            continue;
        }
        while at > since + limit {
            let verdict = since + limit;
            if (outage..over).contains(&verdict) || (outage..over).contains(&since) {
                tally.delay.get_or_insert(verdict - outage);
            } else {
                tally.false_alarms += 1;
                tally.late_alarms += usize::from(verdict > trace.length / 4 * 3);
            }
            since = verdict + SECOND;
            let data = !(outage..over).contains(&since);
            if let Rule::Learned(learner) = &mut rule {
                learner.handle_stale();
                learner.handle_break();
                if data {
                    learner.handle_data(t0 + since);
                }
            }
            limit = if data { rule.limit() } else { first };
        }
        if at < since {
            continue;
        }
        if let Rule::Learned(learner) = &mut rule {
            learner.handle_data(t0 + at);
        }
        since = at;
        limit = rule.limit();
    }
    tally.limit = rule.limit();
    tally
}

const FIXED: [Duration; 4] =
    [Duration::from_secs(5), Duration::from_secs(30), MINUTE, Duration::from_secs(300)];

/// Run with `--nocapture` to see the table of the README.
#[test]
fn few_false_alarms_and_short_delays_beside_fixed_limits() {
    println!(
        "false alarms a day / until the outage was found, with a fixed limit of 5 s, 30 s, 60 s, 5 min; learned"
    );
    for index in 0..traces().len() {
        let new = || traces().swap_remove(index);
        let Trace { name, length, ceiling, .. } = new();
        let days = length.as_secs_f64() / 86_400.0;
        let cell = |tally: &Tally| {
            let delay = tally.delay.expect("the outage is longer than any limit").as_secs_f64();
            format!("{:9.1} / {delay:6.1} s", tally.false_alarms as f64 / days)
        };
        let fixed = FIXED.map(|limit| play(&mut new(), Rule::Fixed(limit)));
        let learned = play(&mut new(), learning(Settings { ceiling, ..settings() }));
        let cells: Vec<_> = fixed.iter().chain([&learned]).map(cell).collect();
        println!("{name:36}{}; limit at the end {:.1} s", cells.join(" |"), learned.limit.as_secs_f64());

        // The best fixed limit that one could have chosen, knowing the traffic: the first without false alarms.
        let best = fixed.iter().find(|tally| tally.false_alarms == 0).and_then(|tally| tally.delay);
        let (alarms, late, delay) = (learned.false_alarms, learned.late_alarms, learned.delay.unwrap());
        match name {
            "steady, 10/s" => assert!(alarms == 0 && delay <= SECOND),
            "random, 1/s" => assert!(alarms == 0 && delay < 50 * SECOND),
            "random, 1 in 10 s" => assert!(alarms == 0 && delay <= 5 * MINUTE),
            "bursts of 30 each 20 s" => assert!(alarms == 0 && delay <= 100 * SECOND),
            // No limit up to the ceiling is long enough: it goes up there, and is no worse than that.
            "heavy tail, 1/s" => assert!(alarms < 2 * fixed[3].false_alarms && learned.limit == ceiling),
            // At noon it is as short as noon allows; a fixed limit without false alarms must suit midnight.
            "day and night, 5/s to 1 in 5 s" => assert!(alarms == 0 && delay < 10 * SECOND),
            "slows down for good, 5/s to 1 in 5 s" => {
                assert!(alarms <= 6 && late == 0 && delay <= 30 * SECOND)
            }
            "random, 1 a minute" => assert!(alarms == 0 && delay < ceiling),
            other => panic!("nothing is asked of {other}"),
        }
        assert!(best.is_none_or(|best| delay <= best * 5), "{name}: {delay:?}, {best:?}");
    }
}

fn learning(settings: Settings) -> Rule {
    Rule::Learned(Box::new(Learner::new(settings)))
}

/// A learner, and the clock of its data.
struct Fed {
    learner: Learner,
    now: Instant,
}

impl Fed {
    fn new(settings: Settings) -> Self {
        let now = crate::clock::mono();
        let mut learner = Learner::new(settings);
        learner.handle_data(now);
        Self { learner, now }
    }

    /// So many data, each after this gap.
    fn feed(&mut self, count: u32, gap: Duration) -> &mut Self {
        for _ in 0..count {
            self.now += gap;
            self.learner.handle_data(self.now);
        }
        self
    }

    /// Silence up to a verdict, and a new connection that begins with data.
    fn go_mute(&mut self) -> &mut Self {
        self.learner.handle_stale();
        self.learner.handle_break();
        self.now += self.learner.limit();
        self.learner.handle_data(self.now);
        self
    }

    fn is(&self) -> (Duration, LimitSource) {
        (self.learner.limit(), self.learner.source())
    }
}

#[test]
fn the_ceiling_holds_until_enough_is_known() {
    let ceiling = (5 * MINUTE, LimitSource::WarmingUp);
    let mut fed = Fed::new(settings());
    assert_eq!(fed.is(), ceiling);
    // The two slowest gaps are not counted.
    assert_eq!(fed.feed(61, SECOND).is(), ceiling);
    assert_eq!(fed.learner.learned(), None);
    assert_eq!(fed.feed(1, SECOND).is(), (4 * SECOND, LimitSource::Learned));
    assert_eq!(fed.learner.learned(), Some(SECOND));
    // Ten times the gap, where that is longer.
    let mut fed = Fed::new(settings());
    assert_eq!(fed.feed(11, 20 * SECOND).is(), ceiling);
    assert_eq!(fed.feed(1, 20 * SECOND).is(), (80 * SECOND, LimitSource::Learned));
}

#[test]
fn a_burst_and_a_pause_are_not_taken_for_data_that_is_always_fast() {
    let mut fed = Fed::new(settings());
    for _ in 0..2 {
        fed.feed(100_000, Duration::from_micros(100)).feed(1, MINUTE);
        assert_eq!(fed.is(), (5 * MINUTE, LimitSource::WarmingUp));
    }
    for _ in 0..12 {
        fed.feed(100, Duration::from_millis(1)).feed(1, MINUTE);
    }
    assert_eq!(fed.is(), (4 * MINUTE, LimitSource::Learned));
}

#[test]
fn floor_and_ceiling_are_named_where_they_hold() {
    let mut fed = Fed::new(settings());
    fed.feed(700, Duration::from_millis(100));
    assert_eq!(fed.is(), (SECOND, LimitSource::Floor));
    assert_eq!(fed.learner.learned(), Some(Duration::from_millis(100)));
    let mut fed = Fed::new(settings());
    fed.feed(12, 75 * SECOND);
    assert_eq!(fed.is(), (5 * MINUTE, LimitSource::Ceiling));
    assert_eq!(fed.learner.learned(), Some(75 * SECOND));
}

#[test]
fn slower_data_raises_the_limit_at_once_and_faster_data_lowers_it_when_the_window_has_passed() {
    let mut fed = Fed::new(settings());
    fed.feed(100, SECOND).feed(2, 3 * SECOND);
    assert_eq!(fed.is().0, 4 * SECOND);
    fed.feed(1, 3 * SECOND);
    assert_eq!(fed.is().0, 12 * SECOND);
    // Still there after 110 minutes of faster data, and gone after 130.
    fed.feed(110 * 120, SECOND / 2);
    assert_eq!(fed.is().0, 12 * SECOND);
    fed.feed(20 * 120, SECOND / 2);
    assert_eq!(fed.is().0, 2 * SECOND);
}

#[test]
fn rare_data_is_remembered_for_longer() {
    let day = 24 * HOUR;
    let mut fed = Fed::new(Settings { ceiling: 30 * day, ..settings() });
    fed.feed(20, HOUR).feed(3, 2 * HOUR).feed(60, HOUR);
    assert_eq!(fed.is(), (8 * HOUR, LimitSource::Learned));
    assert_eq!(fed.feed(40, HOUR).is(), (4 * HOUR, LimitSource::Learned));
}

#[test]
fn a_new_connection_keeps_what_is_known_and_the_gap_across_it_does_not_count() {
    let mut fed = Fed::new(settings());
    fed.feed(100, SECOND);
    for _ in 0..10 {
        fed.learner.handle_break();
        fed.feed(2, SECOND).now += HOUR;
        fed.learner.handle_break();
        // Attended time starts anew with a connection.
        fed.now -= 2 * HOUR;
        fed.feed(1, SECOND);
    }
    assert_eq!(fed.is(), (4 * SECOND, LimitSource::Learned));
}

#[test]
fn time_that_goes_backwards_is_no_gap() {
    let mut fed = Fed::new(settings());
    fed.now += 10 * HOUR;
    fed.learner.handle_break();
    fed.feed(100, SECOND);
    for _ in 0..5 {
        fed.now -= HOUR;
        fed.feed(2, SECOND);
    }
    assert_eq!(fed.is(), (4 * SECOND, LimitSource::Learned));
}

#[test]
fn every_third_verdict_raises_the_limit_until_they_stop() {
    let mut fed = Fed::new(settings());
    fed.feed(100, SECOND);
    let mut limits = Vec::new();
    for _ in 0..15 {
        limits.push(fed.go_mute().is().0.as_secs());
    }
    assert_eq!(limits, [4, 4, 16, 16, 16, 64, 64, 64, 256, 256, 256, 300, 300, 300, 300]);
    assert_eq!(fed.is().1, LimitSource::Ceiling);
    // Back to what it was when the feed has been well for as long as the window is.
    fed.feed(130 * 60, SECOND);
    assert_eq!(fed.is(), (4 * SECOND, LimitSource::Learned));
}

#[test]
fn silence_that_goes_on_is_one_verdict() {
    let mut fed = Fed::new(settings());
    fed.feed(100, SECOND);
    let learned = (4 * SECOND, LimitSource::Learned);
    // Repaired or not, with or without a new connection.
    (0..100).for_each(|_| fed.learner.handle_stale());
    fed.learner.handle_break();
    (0..100).for_each(|_| fed.learner.handle_stale());
    assert_eq!(fed.is(), learned);
    // The data that ends it ends no gap; the next does.
    assert_eq!(fed.feed(3, HOUR).is(), learned);
    assert_eq!(fed.feed(1, HOUR).is().1, LimitSource::Ceiling);
}

#[test]
fn a_feed_that_never_gets_past_its_snapshot_keeps_the_ceiling() {
    let mut fed = Fed::new(settings());
    for _ in 0..500 {
        fed.feed(20, Duration::from_millis(1)).go_mute();
        assert_eq!(fed.is(), (5 * MINUTE, LimitSource::WarmingUp));
    }
}

#[test]
fn the_first_hours_of_random_traffic_are_without_false_alarms() {
    let mut alarms = 0;
    for seed in 0..60 {
        for mean in [0.5, 20.0] {
            let length = 4000 * secs(mean);
            let outage = (length, length);
            let ceiling = 24 * HOUR;
            let mut trace = Trace { name: "", seed, length, outage, ceiling, gaps: poisson(mean) };
            alarms += play(&mut trace, learning(Settings { ceiling, ..settings() })).false_alarms;
        }
    }
    assert!(alarms <= 1, "{alarms} in 480,000 gaps");
}

#[test]
fn it_is_small() {
    assert!(size_of::<Learner>() <= 640, "{}", size_of::<Learner>());
}

#[derive(Debug, Clone)]
enum Op {
    Data(Duration),
    /// Data at an instant before the last.
    Back(Duration),
    Stale,
    Break,
}

fn any_op() -> impl Strategy<Value = Op> {
    let gap = prop_oneof![
        10 => (0u64..5_000).prop_map(Duration::from_millis),
        2 => (0u64..5_000).prop_map(Duration::from_secs),
        1 => Just(Duration::ZERO),
        1 => (0u64..1 << 33).prop_map(Duration::from_secs),
    ];
    prop_oneof![
        20 => gap.prop_map(Op::Data),
        1 => (0u64..100_000).prop_map(|ms| Op::Back(Duration::from_millis(ms))),
        1 => Just(Op::Stale),
        1 => Just(Op::Break),
    ]
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let ms = |range: std::ops::Range<u64>| range.prop_map(Duration::from_millis);
    (1.0f64..100.0, ms(1..100_000), ms(0..31_536_000_000), ms(1..100_000))
        .prop_map(|(factor, floor, more, warm_up)| Settings { factor, floor, ceiling: floor + more, warm_up })
}

/// The third slowest.
fn third(gaps: impl IntoIterator<Item = Duration>) -> Duration {
    let mut gaps: Vec<_> = gaps.into_iter().collect();
    gaps.sort_unstable_by_key(|gap| std::cmp::Reverse(*gap));
    gaps.get(2).copied().unwrap_or_default()
}

proptest! {
    /// Whatever happens, it is a limit that the user allowed, and says truly where it comes from.
    #[test]
    fn the_limit_is_within_floor_and_ceiling(
        settings in any_settings(),
        ops in prop::collection::vec(any_op(), 0..300),
    ) {
        let mut learner = Learner::new(settings);
        let mut now = crate::clock::mono() + HOUR * 1000;
        for op in ops {
            match op {
                Op::Data(gap) => {
                    now = now.checked_add(gap).unwrap_or(now);
                    learner.handle_data(now);
                }
                Op::Back(by) => {
                    now -= by;
                    learner.handle_data(now);
                }
                Op::Stale => learner.handle_stale(),
                Op::Break => learner.handle_break(),
            }
            let (limit, learned) = (learner.limit(), learner.learned());
            prop_assert!((settings.floor..=settings.ceiling).contains(&limit));
            match learner.source() {
                LimitSource::WarmingUp => prop_assert!(limit == settings.ceiling && learned.is_none()),
                LimitSource::Floor => prop_assert_eq!(limit, settings.floor),
                LimitSource::Ceiling => prop_assert_eq!(limit, settings.ceiling),
                LimitSource::Learned => {
                    let exact = learned.unwrap().as_secs_f64() * settings.factor;
                    prop_assert!((limit.as_secs_f64() - exact).abs() <= exact * 1e-9 + 1e-8);
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
    }

    /// What counts is the third slowest gap of a window of two hours, more or less.
    #[test]
    fn the_window_is_by_time(gaps in prop::collection::vec((0u32..40_000, 1u32..40), 1..120)) {
        let mut fed = Fed::new(Settings { ceiling: 30 * 24 * HOUR, ..settings() });
        let gaps: Vec<_> = gaps.into_iter()
            .flat_map(|(ms, times)| std::iter::repeat_n(Duration::from_millis(ms.into()), times as usize))
            .collect();
        for gap in &gaps {
            fed.feed(1, *gap);
        }
        let Some(learned) = fed.learner.learned() else { return Ok(()) };
        let recent = |time: Duration| gaps.iter().rev().scan(Duration::ZERO, move |sum, gap| {
            *sum += *gap;
            (*sum <= time).then_some(*gap)
        });
        prop_assert!(learned >= third(recent(110 * MINUTE)));
        prop_assert!(learned <= third(recent(130 * MINUTE)));
    }

    /// More messages at the times at which there is data anyway change nothing at all.
    #[test]
    fn bursts_change_nothing(
        gaps in prop::collection::vec((1u32..20_000, 0usize..50), 1..400),
    ) {
        let mut single = Fed::new(settings());
        let mut bursts = Fed { learner: single.learner.clone(), now: single.now };
        for (ms, more) in gaps {
            single.feed(1, Duration::from_millis(ms.into()));
            (0..=more).for_each(|_| bursts.learner.handle_data(single.now));
            prop_assert_eq!(single.is(), bursts.is());
        }
    }

    /// One outage or two change nothing, however long they are.
    #[test]
    fn one_outage_or_two_change_nothing(
        gaps in prop::collection::vec(1u32..2_000, 300..600),
        outages in prop::collection::btree_map(0usize..600, 0u64..1 << 40, 1..=2),
    ) {
        let mut with = Fed::new(settings());
        let mut without = Fed::new(settings());
        for (index, ms) in gaps.into_iter().enumerate() {
            if let Some(length) = outages.get(&index) {
                with.learner.handle_stale();
                with.learner.handle_break();
                with.now += Duration::from_millis(*length);
                without.learner.handle_break();
            }
            let gap = Duration::from_millis(ms.into());
            prop_assert_eq!(with.feed(1, gap).is(), without.feed(1, gap).is());
        }
    }

    /// Nor do they if they were too short for a verdict, but that the slowest gap of ordinary traffic counts in full.
    #[test]
    fn one_pause_or_two_raise_the_gap_to_that_of_ordinary_traffic_at_most(
        gaps in prop::collection::vec(1u32..2_000, 300..600),
        pauses in prop::collection::btree_map(0usize..600, 2u64..1 << 40, 1..=2),
    ) {
        let mut fed = Fed::new(settings());
        let slowest = gaps.iter().max().copied().unwrap();
        for (index, ms) in gaps.into_iter().enumerate() {
            if let Some(length) = pauses.get(&index) {
                fed.feed(1, Duration::from_secs(*length));
            }
            fed.feed(1, Duration::from_millis(ms.into()));
        }
        let learned = fed.learner.learned();
        prop_assert!(learned.is_none_or(|learned| learned <= Duration::from_millis(slowest.into())));
    }
}
