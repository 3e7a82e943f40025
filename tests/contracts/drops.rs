//! What the application's closures hold may do anything when it is dropped: that is never done under a lock of the feed.

use crate::common::{CEILING, feed, ms, seen, until};
use crossbeam_channel::{Receiver, Sender, bounded, unbounded};
use livefeed::lab::{Command, Lab, Script};
use livefeed::{Ack, Error, Event, Feed, Matcher, Payload, Rule, Subscription};
use serde_json::json;
use std::sync::{Arc, OnceLock};

/// Where the dropped find the feed.
type Home = Arc<OnceLock<Arc<Feed>>>;

/// What a closure holds: it asks the feed how it is, as it goes.
struct Canary {
    name: &'static str,
    home: Home,
    gone: Sender<&'static str>,
}

impl Canary {
    /// Who asks holds all of it: a closure would take along a field alone.
    fn name(&self) -> &'static str {
        self.name
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        if let Some(feed) = self.home.get() {
            let _ = feed.health();
        }
        let _ = self.gone.send(self.name);
    }
}

struct Nest {
    home: Home,
    gone: (Sender<&'static str>, Receiver<&'static str>),
}

impl Nest {
    fn new() -> Self {
        Self { home: Home::default(), gone: unbounded() }
    }

    fn canary(&self, name: &'static str) -> Canary {
        Canary { name, home: Arc::clone(&self.home), gone: self.gone.0.clone() }
    }

    fn settle(&self, feed: Feed) -> &Feed {
        let feed = Arc::new(feed);
        assert!(self.home.set(feed).is_ok());
        self.home.get().unwrap()
    }

    /// A subscription whose templates each hold one.
    fn sub(&self, name: &'static str) -> Subscription {
        let [subscribe, unsubscribe] = [0; 2].map(|_| self.canary(name));
        Subscription::new(name)
            .subscribe_with(move |_| Ok(format!("sub {}", subscribe.name())))
            .unsubscribe_with(move |_| Ok(format!("unsub {}", unsubscribe.name())))
    }

    /// A matcher that holds one. The reader lets go of it when it looks again at what data looks like: with the next
    /// message.
    fn matcher(&self, name: &'static str) -> Matcher {
        let canary = self.canary(name);
        Matcher::closure(
            move |payload: Payload<'_>| matches!(payload, Payload::Text(text) if text == canary.name()),
        )
    }

    /// Waits until all of one are gone.
    #[track_caller]
    fn gone(&self, name: &'static str, count: usize) {
        for left in (0..count).rev() {
            let gone = self.gone.1.recv_timeout(CEILING);
            assert_eq!(gone, Ok(name), "{left} more of {name} were to come");
        }
    }

    /// Whoever does this waits for no lock that is his own.
    #[track_caller]
    fn while_free<R: Send + 'static>(&self, act: impl FnOnce(&Feed) -> R + Send + 'static) -> R {
        let (done, is_done) = bounded(1);
        let home = Arc::clone(&self.home);
        std::thread::spawn(move || drop(done.send(act(home.get().unwrap()))));
        is_done.recv_timeout(CEILING).expect("it waits for its own lock")
    }
}

#[test]
fn what_is_replaced_or_wanted_no_more_is_dropped_unlocked() {
    let nest = Nest::new();
    // Nothing was written for them: there is nothing to end.
    nest.settle(crate::watch::quick("ws://127.0.0.1:9").no_stale_limit().open().unwrap());
    let subs = [nest.sub("a"), nest.sub("a"), nest.sub("b")];
    nest.while_free(move |feed| subs.map(|sub| feed.subscribe(sub).unwrap()));
    nest.while_free(|feed| feed.unsubscribe("a").unwrap());
    nest.gone("a", 4);
    nest.while_free(|feed| feed.close(CEILING).unwrap());
    let late = nest.sub("late");
    let closed = nest.while_free(move |feed| feed.subscribe(late));
    assert!(matches!(closed, Err(Error::Closed(_))));
    nest.gone("late", 2);
}

#[test]
fn what_is_ended_by_a_message_is_dropped_unlocked() {
    let lab = Lab::start(Script::new()).unwrap();
    let nest = Nest::new();
    let feed = nest.settle(feed(&lab).open().unwrap());
    feed.wait_connected(CEILING).unwrap();
    for name in ["a", "b"] {
        let sub = nest.sub(name).data(nest.matcher("data"));
        nest.while_free(move |feed| feed.subscribe(sub).unwrap());
    }
    seen(&lab, |_| lab.transcript().received_texts(1).len() == 2);
    nest.while_free(|feed| feed.unsubscribe("a").unwrap());
    nest.gone("a", 2);
    let again = nest.sub("b");
    nest.while_free(move |feed| feed.subscribe(again).unwrap());
    nest.gone("b", 2);
    lab.control().all(Command::Send("x".into()));
    nest.gone("data", 2);
    seen(&lab, |_| lab.transcript().received_texts(1) == ["sub a", "sub b", "unsub a", "unsub b", "sub b"]);
}

#[test]
fn what_goes_with_its_connection_is_dropped_unlocked() {
    let lab = Lab::start(Script::new()).unwrap();
    let nest = Nest::new();
    // No acknowledgement comes, so the end waits until the connection is over.
    let ack =
        Rule::ack(Matcher::exists("/ack")).by_match(Matcher::pointer("/ack", "${name}")).bind("k", "/k");
    let feed = nest.settle(feed(&lab).rule(ack).defaults(|terms| terms.ack(Ack::Rule)).open().unwrap());
    feed.wait_connected(CEILING).unwrap();
    let sub = nest.sub("a");
    nest.while_free(move |feed| feed.subscribe(sub).unwrap());
    seen(&lab, |_| lab.transcript().received_texts(1) == ["sub a"]);
    nest.while_free(|feed| feed.unsubscribe("a").unwrap());
    lab.control().drop_connections();
    nest.while_free(|feed| {
        drop(until(feed, |event| event.epoch() == 2 && matches!(event, Event::Connected(_))))
    });
    nest.gone("a", 2);
    assert_eq!(lab.transcript().received_texts(1), ["sub a"]);
}

#[test]
fn what_knows_an_answer_is_dropped_unlocked() {
    let lab = Lab::start(Script::new()).unwrap();
    let nest = Nest::new();
    let feed = nest.settle(feed(&lab).open().unwrap());
    let ask = |name: &'static str, time| {
        let reply = nest.matcher(name);
        nest.while_free(move |feed| feed.request(json!({"ask": name}), reply, time).map(drop))
    };
    assert!(matches!(ask("early", ms(1)), Err(Error::NotConnected | Error::Timeout)));
    feed.wait_connected(CEILING).unwrap();
    // If it was asked all the same, the reader knows of it until the next message.
    lab.control().all(Command::Send("x".into()));
    nest.gone("early", 1);
    assert_eq!(ask("overdue", ms(1)), Err(Error::Timeout));
    lab.control().all(Command::Send("x".into()));
    nest.gone("overdue", 1);
    let asked = std::thread::scope(|scope| {
        let asks = scope.spawn(|| ask("answered", CEILING));
        seen(&lab, |_| lab.transcript().received_texts(1).iter().any(|text| text.contains("answered")));
        lab.control().all(Command::Send("answered".into()));
        asks.join().unwrap()
    });
    assert_eq!(asked, Ok(()));
    nest.gone("answered", 1);
    lab.control().drop_connections();
    nest.while_free(|feed| drop(until(feed, |event| matches!(event, Event::Disconnected(_)))));
}
