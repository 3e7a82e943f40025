//! The subscriptions as templates and the reader see them, tested.

use super::*;
use crate::clock::Stamp;
use crate::dialect::Place;
use crate::dialect::placeholder::Vars;
use crate::message::Content;
use crate::policy::subscriptions::{AckPolicy, Want};
use serde_json::json;

/// A subscription whose data carries a number that its acknowledgement tells.
fn spec() -> Arc<Spec> {
    let want = Want {
        id: "a".into(),
        limit: None,
        adaptive: None,
        first_limit: None,
        by_hours: Arc::new([]),
        late: None,
        frozen: None,
        payload: true,
        can_end: true,
        ends_by_answer: false,
        batch: None,
        ack: AckPolicy::None,
        repair: Arc::new([]),
        can_probe: false,
        topic: None,
        recognised: true,
    };
    Arc::new(Spec {
        want,
        vars: Arc::default(),
        subscribe: None,
        unsubscribe: None,
        probe: None,
        data: Some(Matcher::pointer("/channel", "${channel}")),
        sequence: None,
        lag: None,
        frozen: None,
        cursor: None,
    })
}

/// Whether data of this channel is routed by the last that was said.
fn is_routed(book: &mut Book, channel: &Value) -> bool {
    let content = Content::Text(json!({ "channel": channel }).to_string().into());
    let mut routed = false;
    for change in book.take_changes().1 {
        if let RouteChange::Route(Change::Insert { data, .. }) = change {
            routed = data.is_some_and(|matcher| matcher.matches(content.payload()));
        }
    }
    routed
}

#[test]
fn an_answer_to_an_older_message_says_nothing_of_the_newer() {
    let mut book = Book::new(Arc::new([]), Arc::new([]), Arc::default());
    let bound = |value: Value| [(Arc::from("channel"), value)];
    book.insert(1, spec());
    book.subscribing(1, 5);
    book.bind(&[1], Some(5), &bound(json!("c5")));
    assert!(is_routed(&mut book, &json!("c5")));
    // Made again: frame 6 ends it, frame 7 asks anew. The server answers in an order of its own.
    book.subscribing(1, 7);
    book.bind(&[1], Some(7), &bound(json!("c7")));
    book.bind(&[1], Some(6), &bound(json!("gone")));
    book.bind(&[1], Some(5), &bound(json!("c5")));
    assert!(is_routed(&mut book, &json!("c7")));
    // An answer that says nothing has nothing told anew.
    book.bind(&[1], Some(7), &[]);
    assert!(book.take_changes().1.is_empty());
    // One that says no number is for whom the session machine says.
    book.bind(&[1], None, &bound(json!("c8")));
    assert!(is_routed(&mut book, &json!("c8")));
}

/// What a subscribe message of the first subscription would be made from.
fn known(book: &Book, name: &str) -> Option<Value> {
    let member = book.member(1).unwrap();
    let frame = FrameVars { captures: book.captures(), ..FrameVars::new(1, 1, SystemTime::UNIX_EPOCH) };
    Vars::var(&Scope { frame: &frame, member: Some(&member), message: None }, name)
}

#[test]
fn what_is_kept_outlives_the_connection() {
    let keep: Arc<[String]> = Arc::new(["session".to_owned(), "epoch_name".to_owned()]);
    let mut book = Book::new(Arc::new([]), keep, Arc::default());
    book.insert(1, spec());
    let value = |name: &str| (name.to_owned(), json!(name));
    book.capture([value("session"), value("token")]);
    book.subscribing(1, 5);
    let bound = |name: &str| (Arc::<str>::from(name), json!(name));
    book.bind(&[1], Some(5), &[bound("epoch_name"), bound("channel")]);
    let all = ["session", "token", "epoch_name", "channel"];
    assert_eq!(all.map(|name| known(&book, name).is_some()), [true; 4]);
    book.disconnected();
    assert_eq!(all.map(|name| known(&book, name).is_some()), [true, false, true, false]);
    assert!(!is_routed(&mut book, &json!("channel")));
    // Another of that name begins anew, but for what is the connection's.
    book.remove(1, Left::Nothing);
    book.insert(1, spec());
    assert_eq!(all.map(|name| known(&book, name).is_some()), [true, false, false, false]);
}

#[test]
fn an_acknowledgement_may_say_where_the_data_begins() {
    let mut book = Book::new(Arc::new([]), Arc::new([]), Arc::default());
    let cursor = Place::parse("/offset").unwrap();
    book.insert(1, Arc::new(Spec { cursor: Some(cursor), ..Arc::into_inner(spec()).unwrap() }));
    let message = |offset: u64| Message {
        content: Content::Text(json!({ "offset": offset }).to_string().into()),
        epoch: 1,
        received: Stamp::now().into(),
        subscriptions: None,
    };
    book.subscribing(1, 5);
    assert_eq!(known(&book, "cursor"), None);
    book.bind(&[1], Some(5), &[(Arc::from("cursor"), json!(7))]);
    assert_eq!(known(&book, "cursor"), Some(json!(7)));
    book.came([(1, message(8), Some(json!(8)))]);
    assert_eq!(known(&book, "cursor"), Some(json!(8)));
    book.came([(1, message(9), None)]);
    assert_eq!(known(&book, "cursor"), Some(json!(8)));
    book.disconnected();
    assert_eq!(known(&book, "cursor"), Some(json!(8)));
    book.subscribing(1, 6);
    book.bind(&[1], Some(6), &[(Arc::from("cursor"), json!(3))]);
    assert_eq!(known(&book, "cursor"), Some(json!(3)), "the server counts anew");
    book.remove(1, Left::Nothing);
    book.forget_name(&"a".into());
    book.insert(1, spec());
    assert_eq!(known(&book, "cursor"), None);
}

#[test]
fn an_acknowledgement_of_one_that_is_wanted_no_more_leaves_no_cursor_behind() {
    let mut book = Book::new(Arc::new([]), Arc::new([]), Arc::default());
    book.insert(1, spec());
    book.subscribing(1, 5);
    book.remove(1, Left::Answer);
    book.forget_name(&"a".into());
    book.bind(&[1], Some(5), &[(Arc::from("cursor"), json!(7)), (Arc::from("channel"), json!("c5"))]);
    assert_eq!(known(&book, "channel"), Some(json!("c5")), "its end is made from that");
    assert!(book.retire(1).is_some() && book.cursors.is_empty());
    book.insert(1, spec());
    assert_eq!(known(&book, "cursor"), None);
}
