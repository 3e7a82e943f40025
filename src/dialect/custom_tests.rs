//! Tests of what a dialect can say, and of what it can do wrong.

use super::*;
use std::time::Duration;

/// A dialect of one closure.
struct Plain<F>(F);

impl<F: FnMut(Payload<'_>, &mut Readout) + Send> Dialect for Plain<F> {
    fn read(&mut self, message: Payload<'_>, out: &mut Readout) {
        (self.0)(message, out);
    }
}

fn text(payload: &Sendable) -> &str {
    payload.0.payload().as_text().unwrap()
}

#[test]
fn items_are_in_order() {
    let mut dialect = Plain(|message: Payload<'_>, out: &mut Readout| {
        out.ack(About::Oldest);
        out.ack(About::Frame(7));
        out.data(&["a"], message.as_text().unwrap());
        out.data(&["a", "b"], vec![1, 2]);
        out.data(&[], "all");
        out.keepalive("b");
        out.heartbeat();
        out.reply("pong");
        out.nack(About::Name("b".into()), ErrorClass::Refused, "not you");
        out.ended(About::All, ErrorClass::RetryLater, "later");
        out.notice(NoticeAction::Pause(Duration::from_secs(1)), "back soon");
        out.set("sid", 5);
        out.other("?");
    });
    let mut out = Readout::empty();
    out.read(&mut dialect, Content::Text("hello".into())).unwrap();
    let items: Vec<_> = out.drain().collect();
    let said = |names: &Names| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    match &items[..] {
        [
            ReadItem::Ack(About::Oldest),
            ReadItem::Ack(About::Frame(7)),
            ReadItem::Data { subscriptions: one, payload: hello },
            ReadItem::Data { subscriptions: two, payload: bytes },
            ReadItem::Data { subscriptions: none, payload: all },
            ReadItem::Keepalive(kept),
            ReadItem::Heartbeat,
            ReadItem::Reply(pong),
            ReadItem::Nack { about: About::Name(refused), class: ErrorClass::Refused, detail: not_you },
            ReadItem::Ended { about: About::All, class: ErrorClass::RetryLater, detail: later },
            ReadItem::Notice { action: NoticeAction::Pause(_), detail: soon },
            ReadItem::Set { name, value },
            ReadItem::Other(other),
        ] => {
            assert_eq!((said(one), said(two), said(none)), ("a".into(), "a b".into(), String::new()));
            assert_eq!((text(hello), text(all), text(pong), text(other)), ("hello", "all", "pong", "?"));
            assert_eq!(bytes.0.payload(), Payload::Binary(&[1, 2]));
            assert_eq!((kept.as_str(), refused.as_str()), ("b", "b"));
            assert_eq!((&**not_you, &**later, &**soon), ("not you", "later", "back soon"));
            assert_eq!((&**name, value), ("sid", &Value::from(5)));
        }
        _ => panic!("{items:?}"),
    }
    assert!(out.items().is_empty());
}

#[test]
fn slices_share_the_bytes() {
    for message in [Content::Text("héllo".into()), Content::Binary("héllo".as_bytes().to_vec().into())] {
        let start = message.payload().as_bytes().as_ptr() as usize;
        let is_text = matches!(message, Content::Text(_));
        let mut dialect = Plain(|_: Payload<'_>, out: &mut Readout| {
            out.data(&[], out.slice(3..6));
            out.data(&[], out.text_slice(1..3));
            out.data(&[], out.slice(2..6));
            out.data(&[], out.text_slice(2..6));
            out.data(&[], out.slice(6..6));
        });
        let mut out = Readout::empty();
        out.read(&mut dialect, message.clone()).unwrap();
        let parts: Vec<_> = out
            .drain()
            .map(|item| match item {
                ReadItem::Data { payload: Sendable(content), .. } => content,
                other => panic!("{other:?}"),
            })
            .collect();
        let at = |part: &Content| part.payload().as_bytes().as_ptr() as usize - start;
        assert_eq!(parts[..4].iter().map(at).collect::<Vec<_>>(), [3, 1, 2, 2]);
        assert_eq!(parts[0].payload().as_text().is_some(), is_text);
        assert_eq!(parts[0].payload().as_bytes(), b"llo");
        assert_eq!(parts[1].payload(), Payload::Text("é"));
        // These cut a character.
        assert_eq!(parts[2].payload(), Payload::Binary(b"\xa9llo"));
        assert_eq!(parts[3].payload(), Payload::Binary(b"\xa9llo"));
        assert_eq!(parts[4].len(), 0);
    }
}

#[test]
fn a_panic_is_caught_and_what_was_found_remains() {
    let mut dialect = Plain(|message: Payload<'_>, out: &mut Readout| {
        out.data(&["a"], "1");
        if message.as_bytes() == b"slice" {
            out.other(out.slice(3..99));
        }
        panic!("lost the thread");
    });
    let mut out = Readout::empty();
    assert_eq!(out.read(&mut dialect, Content::Text("x".into())).unwrap_err(), "lost the thread");
    assert!(matches!(out.drain().as_slice(), [ReadItem::Data { .. }]));
    assert!(out.read(&mut dialect, Content::Text("slice".into())).is_err());
    assert_eq!(out.items().len(), 1);
    // What was not drained does not come up with the next message.
    assert_eq!(out.read(&mut Plain(|_: Payload<'_>, _: &mut Readout| {}), Content::Text("".into())), Ok(()));
    assert!(out.items().is_empty());
}

#[test]
fn names_are_made_once_and_bounded() {
    let mut out = Readout::empty();
    for _ in 0..2 {
        out.data(&["a"], "1");
    }
    match out.items() {
        [ReadItem::Data { subscriptions: first, .. }, ReadItem::Data { subscriptions: second, .. }] => {
            assert!(Names::ptr_eq(first, second));
        }
        other => panic!("{other:?}"),
    }
    for name in 0..100_000 {
        out.data(&[&name.to_string()], "1");
        out.items.clear();
        assert!(out.names.single.len() <= Interned::MAX);
    }
}

#[test]
fn a_test_can_read_along() {
    let mut dialect = Plain(|_: Payload<'_>, out: &mut Readout| out.other(out.slice(0..2)));
    let mut out = Readout::new("abc");
    dialect.reset();
    dialect.read(Payload::Text("abc"), &mut out);
    assert!(matches!(out.items(), [ReadItem::Other(payload)] if text(payload) == "ab"));
    assert!(format!("{out:?}").contains("Other"));
}
