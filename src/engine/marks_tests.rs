//! The way of marks: from messages that the reader takes in to what the session machine is told.

use super::*;
use crate::clock::Stamp;
use crate::config::{FeedConfig, Hooks};
use crate::dialect::{Dialect, Readout};
use crate::engine::decoder::Sink;
use crate::engine::intake::{Intake, Setting};
use crate::engine::plan::Plan;
use crate::engine::routes::Routes;
use crate::engine::shared::{Shared, Wires};
use crate::message::Payload;
use crate::policy::session::Established;
use crossbeam_channel::bounded;
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The parts of an engine that a message goes through, without threads.
struct Bench {
    shared: Arc<Shared>,
    plan: Plan,
    routes: Routes,
    now: Stamp,
}

/// Event times in seconds; data may be 5 s old.
fn observed(id: &str, more: &Value) -> Value {
    let mut sub = json!({
        "id": id, "data": {"pointer": "/s", "equals": id},
        "lag": {"pointer": "/data/*/ts", "unit": "s", "limit": "5s"},
        "frozen": {"pointer": "/p", "after": "1m"}
    });
    sub.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    sub
}

impl Bench {
    fn new(config: &Value) -> Self {
        Self::speaking(config, Hooks::default())
    }

    fn speaking(config: &Value, hooks: Hooks) -> Self {
        let config = FeedConfig::from_json(&config.to_string()).unwrap();
        let mut plan = crate::feed::plan_of(&config, hooks).unwrap();
        let (shared, routes) = {
            let wires = Wires {
                kick: bounded(1).0,
                tell: bounded(1).0,
                orders: bounded(4).0,
                ring: bounded(1).0,
                nudge: None,
            };
            (Arc::new(Shared::new(&mut plan, wires)), Routes::new(&mut plan))
        };
        Self { shared, plan, routes, now: Stamp::now() }
    }

    fn of(subscriptions: &[Value]) -> Self {
        Self::new(&json!({"url": "ws://h/", "subscriptions": subscriptions}))
    }

    /// One cycle with these messages, whose marks it hands to the core; and the marks.
    fn cycle(&mut self, messages: &[Value]) -> Vec<Mark> {
        self.now.mono += Duration::from_millis(10);
        self.now.wall += Duration::from_millis(10);
        let mut batch = VecDeque::new();
        let (shared, plan, routes) = (&self.shared, &self.plan, &mut self.routes);
        let mut intake = Intake::new(Setting {
            epoch: 1,
            armed: None,
            shared,
            plan,
            handler: None,
            batch: &mut batch,
            routes,
            here: None,
        });
        for message in messages {
            intake.text(message.to_string().into(), &self.now);
        }
        let taken = intake.finish();
        self.routes.with_gathered(taken.cycle).marks.to_vec()
    }

    /// A message whose items were made so many seconds ago.
    fn message(&self, id: &str, price: u32, ago: &[f64]) -> Value {
        let now = self.now.wall.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs_f64() + 0.01;
        let items: Vec<_> = ago.iter().map(|ago| json!({"ts": now - ago})).collect();
        json!({"s": id, "p": price, "data": items})
    }
}

/// To the nearest.
fn seconds(nanos: i64) -> i64 {
    (nanos + 500_000_000).div_euclid(1_000_000_000)
}

fn shown(marks: &[Mark]) -> Vec<(Key, bool, bool, Option<i64>)> {
    marks.iter().map(|mark| (mark.key, mark.timely, mark.advanced, mark.lag.map(seconds))).collect()
}

impl Bench {
    /// The session machine has a connection.
    fn connect(&mut self) {
        let mut core = self.shared.lock();
        core.session.handle_timeout(self.now);
        while core.session.poll_action().is_some() {}
        let (took, peer) = (Duration::ZERO, ([127, 0, 0, 1], 1).into());
        let established =
            Established { took, peer, subprotocol: None, schedules: Vec::new(), heartbeat: None };
        assert!(core.session.handle_connected(self.now, established, None));
    }

    /// What the session machine knows of the lag of a subscription.
    fn lag(&self, index: usize) -> Option<i64> {
        let health = self.shared.lock().session.health("x", self.now.mono);
        #[allow(clippy::cast_possible_truncation, reason = "a few seconds")]
        health.subscriptions[index].lag_seconds.map(|lag| lag.round() as i64)
    }
}

const A: Key = 1;
const B: Key = 2;

#[test]
fn a_subscription_has_one_mark_for_a_cycle_however_many_messages_came() {
    let mut bench = Bench::of(&[
        observed("a", &json!({})),
        observed("b", &json!({})),
        json!({"id": "c", "data": {"pointer": "/s", "equals": "c"}}),
    ]);
    let messages = [
        bench.message("a", 1, &[9.0, 20.0]),
        bench.message("b", 5, &[7.0]),
        bench.message("a", 1, &[30.0, 2.0]),
        bench.message("c", 1, &[2.0]),
        bench.message("a", 2, &[8.0]),
        bench.message("b", 5, &[]),
    ];
    let marks = bench.cycle(&messages);
    assert_eq!(shown(&marks), [(A, true, true, Some(8)), (B, false, true, Some(7))]);
    // The next has nothing of the one before.
    let messages = [bench.message("a", 2, &[9.0])];
    assert_eq!(shown(&bench.cycle(&messages)), [(A, false, false, Some(9))]);
    let messages = [bench.message("b", 5, &[-3.0]), bench.message("b", 6, &[1.0])];
    let marks = bench.cycle(&messages);
    assert_eq!((shown(&marks), seconds(marks[0].skew)), (vec![(B, true, true, Some(4))], 3));
    assert!(bench.cycle(&[]).is_empty());
}

#[test]
fn data_of_several_subscriptions_is_observed_by_the_rules_of_each() {
    let both = json!({"data": {"pointer": "/p", "exists": true}});
    let mut strict = observed("a", &both);
    strict["lag"]["limit"] = json!("1s");
    let mut other = observed("b", &both);
    other["frozen"]["pointer"] = json!("/s");
    let mut bench = Bench::of(&[strict, other]);
    let messages = [bench.message("x", 1, &[2.0])];
    assert_eq!(shown(&bench.cycle(&messages)), [(A, false, true, Some(2)), (B, true, true, Some(2))]);
    let messages = [bench.message("x", 2, &[2.0])];
    assert_eq!(shown(&bench.cycle(&messages)), [(A, false, true, Some(2)), (B, true, false, Some(2))]);
}

#[test]
fn what_is_no_data_leaves_no_mark() {
    let config = json!({
        "url": "ws://h/", "heartbeats": [{"pointer": "/hb", "exists": true}],
        "rules": [{"when": {"pointer": "/alive", "exists": true}, "is": "keepalive", "by": {"match": {"pointer": "/alive", "equals": "${name}"}}}],
        "subscriptions": [observed("a", &json!({"sequence": {"contiguous": "/n", "repeats": true}}))]
    });
    let mut bench = Bench::new(&config);
    let mut data = bench.message("a", 1, &[1.0]);
    data["n"] = json!(1);
    assert_eq!(shown(&bench.cycle(&[data.clone()])), [(A, true, true, Some(1))]);
    let mut heartbeat = data.clone();
    heartbeat["hb"] = json!(1);
    let mut keepalive = data.clone();
    keepalive["alive"] = json!("a");
    assert!(bench.cycle(&[heartbeat, keepalive, json!({"s": "other"})]).is_empty());
    // The number again is a sign of life, and no data.
    assert!(bench.cycle(&[data.clone()]).is_empty());
    data["n"] = json!(2);
    assert_eq!(shown(&bench.cycle(&[data])), [(A, true, false, Some(1))]);
}

#[test]
fn a_dialect_is_observed_too() {
    struct Split;
    impl Dialect for Split {
        fn read(&mut self, message: Payload<'_>, out: &mut Readout) {
            for item in serde_json::from_slice::<Vec<Value>>(message.as_bytes()).unwrap_or_default() {
                let name = item["s"].as_str().unwrap_or_default().to_owned();
                out.data(&[&name], item.to_string());
            }
        }
    }
    let without_matcher = |id| {
        let mut sub = observed(id, &json!({}));
        sub.as_object_mut().unwrap().remove("data");
        sub
    };
    let config = json!({"url": "ws://h/", "subscriptions": [without_matcher("a"), without_matcher("b")]});
    let mut bench = Bench::speaking(&config, Hooks { dialect: Some(Box::new(Split)), ..Hooks::default() });
    let message =
        json!([bench.message("b", 1, &[1.0]), bench.message("a", 1, &[9.0]), bench.message("b", 1, &[8.0])]);
    assert_eq!(shown(&bench.cycle(&[message])), [(B, true, true, Some(8)), (A, false, true, Some(9))]);
}

#[test]
fn what_is_remembered_and_what_is_forgotten() {
    let mut bench = Bench::of(&[observed("a", &json!({})), observed("b", &json!({}))]);
    let ahead = |bench: &mut Bench, id: &str| {
        let messages = [bench.message(id, 1, &[-10.0])];
        let marks = bench.cycle(&messages);
        (marks[0].advanced, seconds(marks[0].skew))
    };
    let prompt = |bench: &mut Bench, id: &str| {
        let messages = [bench.message(id, 1, &[0.0])];
        let marks = bench.cycle(&messages);
        assert_eq!(marks.len(), 1);
        (marks[0].key, marks[0].advanced, seconds(marks[0].skew))
    };
    assert_eq!((ahead(&mut bench, "a"), ahead(&mut bench, "b")), ((true, 10), (true, 10)));
    // Made again on the same connection: by another clock perhaps, but the same value is nothing new.
    bench.shared.lock().book.subscribing(A, 7);
    assert_eq!((prompt(&mut bench, "a"), prompt(&mut bench, "b")), ((A, false, 0), (B, false, 10)));
    // All routes are told anew, because there were too many changes: nothing is forgotten.
    ahead(&mut bench, "a");
    for frame in 0..5000 {
        bench.shared.lock().book.subscribing(B, 8 + frame);
    }
    assert_eq!((prompt(&mut bench, "a"), prompt(&mut bench, "b")), ((A, false, 10), (B, false, 0)));
    // A new connection.
    bench.routes.begin(2, 1);
    assert_eq!((prompt(&mut bench, "a"), prompt(&mut bench, "b")), ((A, false, 0), (B, false, 0)));
    // Another subscription in its place knows nothing of it.
    let replace = |bench: &mut Bench, more: &Value| {
        let config = FeedConfig::from_json(
            &json!({"url": "ws://h/", "subscriptions": [observed("a", more)]}).to_string(),
        )
        .unwrap();
        let spec = crate::feed::plan_of(&config, Hooks::default()).unwrap().specs.remove(0);
        bench.shared.lock().subscribe(Stamp::now(), spec).unwrap();
    };
    replace(&mut bench, &json!({}));
    assert_eq!(prompt(&mut bench, "a"), (3, true, 0));
    bench.shared.lock().unsubscribe(&"a".into()).unwrap();
    let messages = [bench.message("a", 1, &[0.0])];
    assert!(bench.cycle(&messages).is_empty());
    replace(&mut bench, &json!({}));
    assert_eq!(prompt(&mut bench, "a"), (4, true, 0));
    // What has no rule is not looked at.
    replace(&mut bench, &json!({"lag": null, "frozen": null}));
    bench.shared.lock().unsubscribe(&"b".into()).unwrap();
    let messages = [bench.message("a", 1, &[0.0]), bench.message("b", 1, &[0.0])];
    assert!(bench.cycle(&messages).is_empty());
    assert!(bench.routes.observes_nothing());
}

#[test]
fn marks_reach_the_machine_in_the_order_of_the_stream() {
    let config = json!({
        "url": "ws://h/", "rules": [{"when": {"pointer": "/bye", "exists": true}, "is": "notice", "do": "alert"}],
        "subscriptions": [observed("a", &json!({})), observed("b", &json!({}))]
    });
    let mut bench = Bench::new(&config);
    bench.connect();
    // The notice cuts the batch: what came before it is handed over first.
    let messages = [
        bench.message("a", 1, &[1.0]),
        bench.message("b", 1, &[8.0]),
        json!({"bye": 1}),
        bench.message("a", 1, &[3.0]),
    ];
    assert_eq!(shown(&bench.cycle(&messages)), [(A, true, false, Some(3))]);
    assert_eq!((bench.lag(0), bench.lag(1)), (Some(1), Some(8)));
    let messages = [bench.message("a", 1, &[6.0]), json!({"bye": 1})];
    assert!(bench.cycle(&messages).is_empty());
    assert_eq!((bench.lag(0), bench.lag(1)), (Some(6), Some(8)));
}
