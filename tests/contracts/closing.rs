//! R5, D4 and D5: closing is bounded and complete from wherever it is called, and callbacks can't break a feed.

use crate::common::{CEILING, names, until};
use crate::recovery::{fine, is_connected, is_message, ms, stalls};
use crate::watch::{eventually, handled, lab_sees, quick, to_the_end, until_from};
use crossbeam_channel::{Receiver, Sender, after, bounded, select, unbounded};
use livefeed::lab::{Certificate, Command, End, Flood, Lab, Received, Script, Topic, What};
use livefeed::{
    AlertKind, Batch, CloseReason, Decision, EndReason, Error, Event, Feed, FeedBuilder, Matcher,
    ProviderError, State, Subscription,
};
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::{Duration, Instant};

/// What is prompt, on a busy machine.
const PROMPT: Duration = Duration::from_millis(500);

#[track_caller]
fn assert_prompt(what: &str, begin: Instant) {
    let took = begin.elapsed();
    assert!(took < PROMPT, "{what} took {took:?}");
}

/// What can still be read after the end, through the channel; `Closed` is the last.
#[track_caller]
fn drain(batches: &Receiver<Batch>) -> Vec<Event> {
    let deadline = Instant::now() + CEILING;
    let mut events: Vec<Event> = Vec::new();
    loop {
        match batches.recv_deadline(deadline) {
            Ok(batch) => events.extend(batch),
            Err(error) if error.is_timeout() => panic!("the channel stays open after {:?}", names(&events)),
            Err(_) => break,
        }
    }
    assert_closed_last(&events);
    events
}

#[track_caller]
fn assert_closed_last(events: &[Event]) {
    let closed = events.iter().position(|event| matches!(event, Event::Closed(_)));
    assert_eq!(closed, events.len().checked_sub(1), "{:?}", names(events));
    assert!(closed.is_some());
}

/// The feed, for callbacks that are made before it is.
#[derive(Clone, Default)]
struct Slot(Arc<OnceLock<Weak<Feed>>>);

impl Slot {
    fn open(&self, builder: FeedBuilder) -> Arc<Feed> {
        let feed = Arc::new(builder.open().unwrap());
        self.0.set(Arc::downgrade(&feed)).unwrap();
        feed
    }

    fn get(&self) -> Option<Arc<Feed>> {
        self.0.wait().upgrade()
    }
}

/// What a `close` gave, and how long it took.
type Closing = (Result<(), Error>, Duration);

/// Closes from a callback, once, and passes on what that gave.
fn closer() -> (Slot, impl Fn() + Clone + Send + Sync + 'static, Receiver<Closing>) {
    let slot = Slot::default();
    let (said, results) = bounded(1);
    let inner = slot.clone();
    let close = move || {
        if let Some(feed) = inner.get() {
            let begin = Instant::now();
            let result = feed.close(CEILING);
            let _ = said.try_send((result, begin.elapsed()));
        }
    };
    (slot, close, results)
}

// ---- close() at every moment ----------------------------------------------------------------------------------

#[test]
fn r5_close_interrupts_every_stage_of_an_attempt() {
    for stall in stalls() {
        let feed = stall.feed().connect(|c| c.timeout = Duration::from_secs(60)).open().unwrap();
        stall.wait(&feed);
        let begin = Instant::now();
        feed.close(CEILING).unwrap();
        assert_prompt(&format!("close in stage {}", stall.stage), begin);
        let (_, reason) = to_the_end(&feed);
        assert_eq!(reason, CloseReason::ByUser);
    }
}

#[test]
fn r5_drop_interrupts_every_stage_of_an_attempt_and_does_not_wait() {
    for stall in stalls() {
        let feed = stall.feed().connect(|c| c.timeout = Duration::from_secs(60)).open().unwrap();
        stall.wait(&feed);
        let batches = feed.batches().clone();
        let begin = Instant::now();
        drop(feed);
        drain(&batches);
        assert_prompt(&format!("drop in stage {}", stall.stage), begin);
    }
}

#[test]
fn r5_close_interrupts_the_wait_for_the_next_attempt() {
    let lab = Lab::start(Script::refuse(503).header("Retry-After", "3600")).unwrap();
    let feed = quick(lab.url()).open().unwrap();
    until(&feed, |event| matches!(event, Event::Disconnected(_)));
    let begin = Instant::now();
    feed.close(CEILING).unwrap();
    assert_prompt("close", begin);
    let (events, reason) = to_the_end(&feed);
    assert_eq!((names(&events), reason), (vec!["closed".to_owned()], CloseReason::ByUser));
}

#[test]
fn r5_close_shakes_hands_with_the_server() {
    for certificate in [None, Some(Certificate::Valid)] {
        let lab = Lab::builder().script(fine());
        let lab = certificate.into_iter().fold(lab, |lab, certificate| lab.tls(certificate)).start().unwrap();
        let mut builder = quick(lab.url());
        if certificate.is_some() {
            builder = builder.tls(|tls| tls.extra_roots_pem.push(lab.ca_pem().to_owned()));
        }
        let feed = builder.open().unwrap();
        until(&feed, is_message);
        let begin = Instant::now();
        feed.close(CEILING).unwrap();
        assert_prompt("close", begin);
        let (events, reason) = to_the_end(&feed);
        assert_eq!(reason, CloseReason::ByUser);
        let [.., Event::Disconnected(end), Event::Closed(_)] = &events[..] else {
            panic!("{:?}", names(&events));
        };
        assert!(
            end.was_connected && end.retry_in.is_none() && end.reason == EndReason::ClosedByUser,
            "{end:?}"
        );
        lab_sees(&lab, "the end", |entry| matches!(entry.what, What::Ended(_)));
        let transcript = lab.transcript();
        let closes: Vec<_> = transcript
            .of(1)
            .filter_map(|what| match what {
                What::Received(Received::Close(close)) => Some(close.as_ref().map(|(code, _)| *code)),
                _ => None,
            })
            .collect();
        assert_eq!(closes, [Some(1000)], "{transcript}");
        assert_eq!(transcript.end(1), Some(&End::Closed), "{transcript}");
    }
}

#[test]
fn r5_a_server_that_never_answers_close_is_not_waited_for_long() {
    for (timeout, close_timeout) in [(CEILING, ms(200)), (ms(200), CEILING)] {
        // It reads, and answers nothing: neither Close nor the end of the TCP connection.
        let lab =
            Lab::start(Script::new().then(Command::AnswerClose(false)).then(Command::Send("{}".into())));
        let lab = lab.unwrap();
        let feed = quick(lab.url()).close_timeout(close_timeout).open().unwrap();
        until(&feed, is_message);
        let begin = Instant::now();
        feed.close(timeout).unwrap();
        let took = begin.elapsed();
        assert!(took < ms(200) + PROMPT, "{took:?}:\n{}", lab.transcript());
        let (_, reason) = to_the_end(&feed);
        assert_eq!(reason, CloseReason::ByUser);
    }
}

#[test]
fn r5_a_server_that_is_frozen_is_not_waited_for_long() {
    let lab = Lab::start(Script::new().send("{}")).unwrap();
    let feed = quick(lab.url()).close_timeout(ms(200)).open().unwrap();
    until(&feed, is_message);
    lab.control().all(Command::Freeze);
    lab_sees(&lab, "the freeze", |entry| matches!(entry.what, What::Command("freeze")));
    // The Close frame has no room in the system's buffers either.
    drop(feed.send(vec![0; 4 << 20]).unwrap());
    let begin = Instant::now();
    feed.close(CEILING).unwrap();
    let took = begin.elapsed();
    assert!(took < ms(200) + PROMPT, "{took:?}");
    to_the_end(&feed);
}

#[test]
fn r5_close_with_no_time_at_all_ends_at_once() {
    let lab = Lab::start(fine()).unwrap();
    let feed = quick(lab.url()).open().unwrap();
    until(&feed, is_message);
    // Whether both threads are gone by then is luck; that they go is not.
    let first = feed.close(Duration::ZERO);
    assert!(matches!(first, Ok(()) | Err(Error::Timeout)), "{first:?}");
    feed.close(CEILING).unwrap();
    to_the_end(&feed);
}

#[test]
fn r5_close_is_idempotent_and_from_many_threads_at_once() {
    let lab = Lab::start(fine()).unwrap();
    let feed = quick(lab.url()).open().unwrap();
    until(&feed, is_message);
    let begin = Instant::now();
    thread::scope(|scope| {
        let closes: Vec<_> = (0..8).map(|_| scope.spawn(|| feed.close(CEILING))).collect();
        for close in closes {
            assert_eq!(close.join().unwrap(), Ok(()));
        }
    });
    assert_prompt("8 closes", begin);
    assert_eq!(feed.close(CEILING), Ok(()));
    let (events, _) = to_the_end(&feed);
    assert_closed_last(&events);
    assert_eq!(feed.close(CEILING), Ok(()));
    assert_eq!(feed.health().state, State::Closed);
}

#[test]
fn d5_close_while_the_queue_is_full_and_nobody_reads() {
    let lab = Lab::start(Script::new().flood(Flood::of_size(200))).unwrap();
    let feed = quick(lab.url()).queue(|q| q.messages = 1).open().unwrap();
    feed.wait_fresh(CEILING).unwrap();
    assert!(feed.health().queue_messages >= 1);
    let batches = feed.batches().clone();
    let begin = Instant::now();
    feed.close(CEILING).unwrap();
    assert_prompt("close", begin);
    // What was queued before is there, and what came while closing is there or counted.
    let dropped = feed.health().dropped;
    let received = feed.health().messages;
    let events = drain(&batches);
    let read = events.iter().filter(|event| is_message(event)).count() as u64;
    assert!(read >= 1, "{:?}", names(&events));
    let marked: u64 = events
        .iter()
        .filter_map(|event| match event {
            Event::Gap(gap) => gap.lost,
            _ => None,
        })
        .sum();
    assert_eq!((read + marked, marked), (received, dropped), "{:?}", names(&events));
    assert!(matches!(feed.recv_timeout(CEILING), Err(Error::Closed(_))));
}

#[test]
fn d5_close_while_data_floods_in() {
    let lab = Lab::start(Script::new().flood(Flood::of_size(200))).unwrap();
    let feed = Arc::new(quick(lab.url()).open().unwrap());
    let (seen, first) = bounded(1);
    let reader = Arc::clone(&feed);
    let reading = thread::Builder::new().spawn(move || {
        let mut last = None;
        reader.run(|event| {
            let _ = seen.try_send(());
            assert!(last.is_none(), "{event:?} after Closed");
            last = matches!(event, Event::Closed(_)).then_some(());
            true
        });
        last
    });
    let reading = reading.unwrap();
    first.recv_timeout(CEILING).unwrap();
    feed.wait_fresh(CEILING).unwrap();
    let begin = Instant::now();
    feed.close(CEILING).unwrap();
    assert_prompt("close", begin);
    assert_eq!(reading.join().unwrap(), Some(()), "run ends after Closed");
}

#[test]
fn r5_what_is_queued_stays_readable_after_close_and_after_drop() {
    for dropped in [false, true] {
        let lab = Lab::start(Script::new().send("1").send("2").send("3")).unwrap();
        let feed = quick(lab.url()).open().unwrap();
        eventually("three messages", || feed.health().messages == 3);
        let batches = feed.batches().clone();
        if dropped {
            let begin = Instant::now();
            drop(feed);
            assert_prompt("drop", begin);
        } else {
            feed.close(CEILING).unwrap();
        }
        let events = drain(&batches);
        let texts: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                Event::Message(message) => message.text(),
                _ => None,
            })
            .collect();
        assert_eq!(texts, ["1", "2", "3"]);
        let seen = names(&events);
        assert_eq!(seen, ["connecting", "connected", "message", "disconnected", "closed"], "{dropped}");
    }
}

#[test]
fn r5_a_feed_is_freed_also_with_events_that_nobody_read() {
    let lab = Lab::start(Script::new().send("{}")).unwrap();
    for read in [false, true] {
        let token = Arc::new(());
        let held = Arc::clone(&token);
        let feed = quick(lab.url()).on_wake(move || drop(Arc::clone(&held))).open().unwrap();
        feed.wait_fresh(CEILING).unwrap();
        if read {
            until(&feed, is_message);
        }
        let batches = feed.batches().clone();
        feed.close(CEILING).unwrap();
        drop(feed);
        assert_eq!(batches.len(), 1, "something is there to read");
        drop(batches);
        eventually("nothing holds the callback any more", || Arc::strong_count(&token) == 1);
    }
}

#[test]
fn r5_a_receiver_that_waits_learns_the_end() {
    let lab = Lab::start(Script::new()).unwrap();
    let feed = Arc::new(quick(lab.url()).open().unwrap());
    until(&feed, is_connected);
    let waiting = Arc::clone(&feed);
    let reader = thread::Builder::new().spawn(move || waiting.iter().collect::<Vec<_>>()).unwrap();
    let waiting = Arc::clone(&feed);
    let waiter = thread::Builder::new().spawn(move || waiting.wait_fresh(CEILING)).unwrap();
    feed.close(CEILING).unwrap();
    assert_eq!(names(&reader.join().unwrap()), ["disconnected", "closed"]);
    assert!(matches!(waiter.join().unwrap(), Err(Error::Closed(reason)) if *reason == CloseReason::ByUser));
}

// ---- close() from callbacks -----------------------------------------------------------------------------------

/// `WouldDeadlock`, at once, and the feed does close.
#[track_caller]
fn assert_closes(what: &str, feed: &Feed, results: &Receiver<Closing>) {
    let Ok((result, took)) = results.recv_timeout(CEILING) else { panic!("{what} never came to its close") };
    assert_eq!(result, Err(Error::WouldDeadlock), "{what}");
    assert!(took < PROMPT, "{what}: {took:?}");
    let begin = Instant::now();
    feed.close(CEILING).unwrap();
    assert_prompt(what, begin);
    assert_eq!(feed.health().closed, Some(CloseReason::ByUser), "{what}");
}

#[test]
fn d4_close_from_the_handler() {
    for at in ["connecting", "connected", "message", "disconnected"] {
        let script = if at == "disconnected" { Script::flap() } else { Script::new().send("{}") };
        let lab = Lab::start(script).unwrap();
        let (slot, close, results) = closer();
        let (sender, events) = unbounded();
        let feed = slot.open(quick(lab.url()).handler(move |event| {
            if event.name() == at {
                close();
            }
            sender.send(event).unwrap();
        }));
        let seen = until_from(&events, |event| matches!(event, Event::Closed(_)));
        assert_closes(at, &feed, &results);
        assert_closed_last(&seen);
        assert_eq!(events.try_iter().count(), 0, "{at}");
    }
}

#[test]
fn d4_close_from_every_other_callback() {
    let lab = Lab::start(Script::new().send("{}")).unwrap();
    let refusing = Lab::start(Script::refuse(503)).unwrap();
    type Hook = fn(FeedBuilder, Box<dyn Fn() + Send + Sync>) -> FeedBuilder;
    let hooks: [(&str, Hook); 5] = [
        ("on_wake", |builder, close| builder.on_wake(close)),
        ("subscribe", |builder, close| {
            builder.subscription(Subscription::new("a").subscribe_with(move |_| {
                close();
                Ok("{}".to_owned())
            }))
        }),
        ("matcher", |builder, close| {
            builder.subscription(Subscription::new("a").data(Matcher::closure(move |_| {
                close();
                true
            })))
        }),
        ("provider", |builder, close| {
            builder.provider(move |_| {
                close();
                Err(ProviderError::retry("later"))
            })
        }),
        ("retry_policy", |builder, close| {
            builder.retry_policy(move |_, _| {
                close();
                Some(Decision::Retry)
            })
        }),
    ];
    for (name, hook) in hooks {
        let url = if name == "retry_policy" { refusing.url() } else { lab.url() };
        let (slot, close, results) = closer();
        let feed = slot.open(hook(quick(url), Box::new(close)));
        assert_closes(name, &feed, &results);
        let events: Vec<Event> = feed.iter().collect();
        assert_closed_last(&events);
    }
}

#[test]
fn d4_the_feed_may_be_dropped_by_its_own_handler() {
    let lab = Lab::start(Script::new().send("{}")).unwrap();
    let (give, take) = bounded::<Feed>(1);
    let (sender, events) = unbounded();
    let feed = quick(lab.url()).handler(move |event| {
        if is_message(&event) {
            drop(take.recv_timeout(CEILING).unwrap());
        }
        sender.send(event).unwrap();
    });
    give.send(feed.open().unwrap()).unwrap();
    let seen = until_from(&events, |event| matches!(event, Event::Closed(_)));
    assert_closed_last(&seen);
    // The handler, and with it the sender, goes with the thread.
    assert!(events.recv_timeout(CEILING).is_err_and(|error| error.is_disconnected()));
}

#[test]
fn d4_what_waits_for_its_own_thread_says_so() {
    let lab = Lab::start(Script::new().send("{}")).unwrap();
    let slot = Slot::default();
    let inner = slot.clone();
    let (said, results) = unbounded();
    let feed = slot.open(quick(lab.url()).handler(move |event| {
        if is_message(&event)
            && let Some(feed) = inner.get()
        {
            let _ = said.send([
                feed.recv().err(),
                feed.recv_timeout(CEILING).err(),
                feed.wait_connected(CEILING).err(),
                feed.wait_fresh(CEILING).err(),
                feed.close(CEILING).err(),
            ]);
        }
    }));
    let said = results.recv_timeout(CEILING).unwrap();
    assert_eq!(said, [const { Some(Error::WouldDeadlock) }; 5]);
    feed.close(CEILING).unwrap();
}

// ---- callbacks that never return, or panic --------------------------------------------------------------------

#[test]
fn r5_close_times_out_while_a_callback_holds_a_thread_up_and_succeeds_after() {
    let lab = Lab::start(Script::new().send("{}")).unwrap();
    type Hook = fn(FeedBuilder, Box<dyn Fn() + Send + Sync>) -> FeedBuilder;
    let hooks: [(&str, Hook); 5] = [
        ("handler", |builder, hold| {
            builder.handler(move |event| {
                if is_message(&event) {
                    hold()
                }
            })
        }),
        ("on_wake", |builder, hold| builder.on_wake(hold)),
        ("subscribe", |builder, hold| {
            builder.subscription(Subscription::new("a").subscribe_with(move |_| {
                hold();
                Ok("{}".to_owned())
            }))
        }),
        ("matcher", |builder, hold| {
            builder.subscription(Subscription::new("a").data(Matcher::closure(move |_| {
                hold();
                true
            })))
        }),
        ("provider", |builder, hold| {
            builder.provider(move |_| {
                hold();
                Err(ProviderError::retry("later"))
            })
        }),
    ];
    for (name, hook) in hooks {
        let (entered, inside): (Sender<()>, Receiver<()>) = unbounded();
        let (release, held): (Sender<()>, Receiver<()>) = bounded(0);
        let builder = hook(
            quick(lab.url()),
            Box::new(move || {
                let _ = entered.send(());
                let _ = held.recv_timeout(CEILING * 2); // until `release` is dropped
            }),
        );
        let feed = builder.open().unwrap();
        inside.recv_timeout(CEILING).unwrap();
        let begin = Instant::now();
        assert_eq!(feed.close(ms(100)), Err(Error::Timeout), "{name}");
        let took = begin.elapsed();
        assert!((ms(100)..ms(100) + PROMPT).contains(&took), "{name}: {took:?}");
        drop(release);
        assert_eq!(feed.close(CEILING), Ok(()), "{name}");
        assert_eq!(feed.health().closed, Some(CloseReason::ByUser), "{name}");
    }
}

#[test]
fn d4_a_panic_in_a_callback_is_caught_reported_and_survived() {
    let lab = Lab::start(Script::new().send("bad").send("good").send("better")).unwrap();
    type Hook = fn(FeedBuilder) -> FeedBuilder;
    let hooks: [(&str, Hook); 2] = [
        ("on_wake", |builder| builder.on_wake(|| panic!("a bug of the application"))),
        ("matcher", |builder| {
            builder.subscription(Subscription::new("a").data(Matcher::closure(|payload| {
                assert!(payload.as_text() != Some("bad"), "a bug of the application");
                true
            })))
        }),
    ];
    for (name, hook) in hooks {
        let feed = hook(quick(lab.url())).open().unwrap();
        let alerted = |event: &Event| {
            matches!(event, Event::Alert(alert) if matches!(&alert.kind,
                AlertKind::CallbackPanicked { callback, message } if *callback == name && message == "a bug of the application"))
        };
        let mut wanted = vec!["better", "alert"];
        until(&feed, |event| {
            match event {
                Event::Message(message) => wanted.retain(|text| message.text() != Some(text)),
                event if alerted(event) => wanted.retain(|text| *text != "alert"),
                _ => {}
            }
            wanted.is_empty()
        });
        assert!(feed.health().closed.is_none(), "{name}");
        feed.close(CEILING).unwrap();
    }
}

#[test]
fn d4_a_panic_in_the_handler_costs_one_event() {
    let lab = Lab::start(Script::new().send("1").send("bad").send("3").send("4")).unwrap();
    let (sender, events) = unbounded();
    let feed = quick(lab.url()).handler(move |event| {
        if let Event::Message(message) = &event {
            assert!(message.text() != Some("bad"), "a bug of the application");
        }
        sender.send(event).unwrap();
    });
    let feed = feed.open().unwrap();
    let mut texts = Vec::new();
    let mut alerts = 0;
    until_from(&events, |event| {
        match event {
            Event::Message(message) => texts.extend(message.text().map(str::to_owned)),
            Event::Alert(alert) => {
                alerts += usize::from(matches!(
                    &alert.kind,
                    AlertKind::CallbackPanicked { callback: "handler", message } if message == "a bug of the application"
                ));
            }
            _ => {}
        }
        alerts == 1 && texts.len() == 3
    });
    assert_eq!(texts, ["1", "3", "4"]);
    feed.close(CEILING).unwrap();
    until_from(&events, |event| matches!(event, Event::Closed(_)));
}

#[test]
fn d4_a_panic_in_a_subscribe_closure_is_reported_and_the_rest_is_subscribed() {
    let lab = Lab::start(Script::new()).unwrap();
    let builder = quick(lab.url())
        .no_stale_limit()
        .subscription(
            Subscription::new("bad")
                .subscribe_with(|_| -> Result<String, String> { panic!("a bug of the application") }),
        )
        .subscription(Subscription::new("failing").subscribe_with(|_| Err::<String, _>("no key".to_owned())))
        .subscription(Subscription::new("good").subscribe_text("subscribe good"));
    let feed = builder.open().unwrap();
    let events = until(&feed, |event| matches!(event, Event::Subscribed(_)));
    let failed: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            Event::Alert(alert) => match &alert.kind {
                AlertKind::SubscribeFailed { subscription, .. } => Some(subscription.as_str()),
                _ => None,
            },
            _ => None,
        })
        .collect();
    assert_eq!(failed, ["bad", "failing"]);
    lab_sees(
        &lab,
        "the good one",
        |entry| matches!(&entry.what, What::Received(Received::Text(text)) if &**text == "subscribe good"),
    );
    assert_eq!(feed.health().connections, 1);
    feed.close(CEILING).unwrap();
}

// ---- how events are handed over -------------------------------------------------------------------------------

#[test]
fn d4_the_handler_gets_every_event_in_order() {
    const MESSAGES: u64 = 20_000;
    let numbers = Topic::new("numbers").every(Duration::ZERO).message(|seq, _| seq.to_string());
    let script = Script::of_topics([numbers]).until_sent(MESSAGES).close(1001, "");
    let lab = Lab::start(script).unwrap();
    let (feed, events) = handled(quick(lab.url()).reconnect(|r| (r.first, r.max) = (CEILING, CEILING)));
    let mut seen = until_from(&events, |event| matches!(event, Event::Disconnected(_)));
    feed.close(CEILING).unwrap();
    seen.extend(until_from(&events, |event| matches!(event, Event::Closed(_))));
    assert_eq!(events.recv_timeout(CEILING).ok().map(|event| event.name()), None, "Closed is the last");
    assert_eq!(names(&seen), ["connecting", "connected", "message", "disconnected", "closed"]);
    let mut next = 0;
    for event in seen {
        if let Event::Message(message) = event {
            next += 1;
            assert_eq!(message.text(), Some(next.to_string().as_str()));
        }
    }
    assert_eq!(next, MESSAGES);
    assert!(matches!(feed.recv_timeout(CEILING), Err(Error::Closed(_))));
}

#[test]
#[cfg(unix)]
fn d4_the_handler_is_not_kept_waiting_by_a_silent_server() {
    // What happens on the other thread has to reach it, though nothing comes from the server.
    let lab = Lab::start(Script::new()).unwrap();
    let (feed, events) = handled(quick(lab.url()));
    until_from(&events, is_connected);
    feed.subscribe(Subscription::new("late").subscribe_text("subscribe late")).unwrap();
    lab_sees(&lab, "the subscription", |entry| matches!(entry.what, What::Received(Received::Text(_))));
    until_from(&events, |event| matches!(event, Event::Subscribed(_)));
    feed.close(CEILING).unwrap();
}

#[test]
fn d4_run_and_the_iterators_share_one_stream() {
    let lab = Lab::start(Script::new().send("1").send("2").send("3").send("4").send("5").send("6")).unwrap();
    let feed = quick(lab.url()).open().unwrap();
    eventually("six messages", || feed.health().messages == 6);
    let text = |event: &Event| match event {
        Event::Message(message) => message.text().map(str::to_owned),
        _ => None,
    };
    let mut texts = Vec::new();
    feed.run(|event| {
        texts.extend(text(&event));
        texts.is_empty()
    });
    texts.extend(feed.iter().next().as_ref().and_then(text));
    texts.extend(feed.try_iter().next().as_ref().and_then(text));
    texts.extend(feed.try_recv().ok().as_ref().and_then(text));
    texts.extend(feed.recv().ok().as_ref().and_then(text));
    texts.extend(feed.messages().next().and_then(|message| message.text().map(str::to_owned)));
    assert_eq!(texts, ["1", "2", "3", "4", "5", "6"]);
    assert_eq!(feed.try_recv().unwrap_err(), Error::Empty);
    assert_eq!(feed.try_iter().count(), 0);
    let begin = Instant::now();
    assert_eq!(feed.recv_timeout(ms(50)).unwrap_err(), Error::Timeout);
    assert!(begin.elapsed() >= ms(50));
    feed.close(CEILING).unwrap();
    let rest: Vec<Event> = feed.try_iter().collect();
    assert_eq!(names(&rest), ["disconnected", "closed"]);
    assert!(matches!(feed.try_recv(), Err(Error::Closed(_))));
    assert_eq!(feed.iter().count(), 0);
}

#[test]
fn d4_batches_work_in_select_and_ring_again_when_dropped_unread() {
    let lab = Lab::start(Script::new().send("1").send("2").send("3")).unwrap();
    let feed = quick(lab.url()).open().unwrap();
    eventually("three messages", || feed.health().messages == 3);
    for _ in 0..3 {
        select! {
            recv(feed.batches()) -> batch => drop(batch.unwrap()), // unread
            recv(after(CEILING)) -> _ => panic!("it does not ring again"),
        }
    }
    let events: Vec<Event> = select! {
        recv(feed.batches()) -> batch => batch.unwrap().into_iter().collect(),
        recv(after(CEILING)) -> _ => panic!("it does not ring again"),
    };
    assert_eq!(names(&events), ["connecting", "connected", "message"]);
    assert_eq!(events.len(), 5);
    // A batch that waits unread grows: it is bound when it is taken.
    let control = lab.control();
    control.all(Command::Send("4".into()));
    let batch = feed.batches().recv_timeout(CEILING).unwrap();
    control.all(Command::Send("5".into()));
    eventually("five messages", || feed.health().messages == 5);
    assert_eq!(batch.into_iter().count(), 2);
    feed.close(CEILING).unwrap();
    // Also at the very end.
    drop(feed.batches().recv_timeout(CEILING).unwrap());
    assert_eq!(names(&drain(feed.batches())), ["disconnected", "closed"]);
}

#[test]
fn d4_on_wake_is_called_once_when_the_queue_stops_being_empty() {
    let lab = Lab::start(Script::new()).unwrap();
    let (woken, wakes) = unbounded();
    let wake = move || woken.send(thread::current().name().unwrap_or_default().to_owned()).unwrap();
    let feed = quick(lab.url()).name("wake").on_wake(wake).open().unwrap();
    let control = lab.control();
    let wait = || {
        let thread = wakes.recv_timeout(CEILING).expect("it is woken");
        assert!(thread.starts_with("livefeed-"), "on {thread}");
    };
    // The first edge is `Connecting`; nobody reads, so `Connected` is none.
    feed.wait_connected(CEILING).unwrap();
    wait();
    assert_eq!(feed.try_iter().count(), 2);
    for _ in 0..3 {
        let before = feed.health().messages;
        control.all(Command::Send("edge".into()));
        wait();
        control.all(Command::Send("no edge".into()));
        eventually("both", || feed.health().messages == before + 2);
        // One that is wrongly owed for the second comes before the next edge's, or at the end.
        assert_eq!(feed.try_iter().count(), 2);
    }
    // An edge made on the user's thread is told on a livefeed thread, too.
    feed.subscribe(Subscription::new("at once")).unwrap();
    wait();
    assert_eq!(feed.try_iter().count(), 1);
    feed.close(CEILING).unwrap();
    wait();
    assert_eq!(names(&feed.try_iter().collect::<Vec<_>>()), ["disconnected", "closed"]);
    assert_eq!(wakes.try_iter().count(), 0, "woken without an edge");
}
