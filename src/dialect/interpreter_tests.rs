//! The interpreter, with the messages of real feeds.

use super::*;
use crate::class::GoTo;
use crate::dialect::template::{Member, Scope};
use proptest::prelude::*;
use serde_json::json;

/// Subscriptions with their variables, among them `id`, and what their data looks like.
type Subs = &'static [(u64, &'static str)];

fn rules(data: Value) -> Vec<Rule> {
    let rules: Vec<Rule> = serde_json::from_value(data).unwrap();
    for rule in &rules {
        let known = |name: &str| !name.starts_with("unknown");
        rule.check(&known, &known).unwrap();
    }
    rules
}

fn interpreter(rules: &[Rule], subs: Subs, data: Option<Value>) -> Interpreter {
    let mut interpreter = Interpreter::new(rules, &[]);
    let data: Option<Matcher> = data.map(|data| serde_json::from_value(data).unwrap());
    for (key, vars) in subs {
        interpreter.apply(change(rules, *key, vars, data.as_ref()));
    }
    interpreter
}

fn change(rules: &[Rule], key: u64, vars: &str, data: Option<&Matcher>) -> Change {
    let vars: Variables = serde_json::from_str(vars).unwrap();
    let mut frame = FrameVars::new(1, 1, SystemTime::UNIX_EPOCH);
    frame.id = vars.get("id").and_then(Value::as_u64);
    let name = SubscriptionId::from(format!("s{key}"));
    let member = Member { name: Some(name.clone()), vars: Arc::new(vars), ..Member::default() };
    let scope = Scope { frame: &frame, member: Some(&member), message: None };
    Change::insert(key, name, data, &Rule::all_by_match(rules), &scope)
}

fn read(interpreter: &mut Interpreter, message: &str) -> Reading {
    let mut reading = Reading::default();
    interpreter.read(Payload::Text(message), &mut reading);
    reading
}

fn listed(frame: Option<u64>, topics: &[&str], complete: bool) -> Option<AboutOwned> {
    let listed = topics.iter().map(|topic| (*topic).to_owned()).collect();
    Some(AboutOwned::Listed { frame, listed, complete })
}

fn keys(keys: &[u64]) -> Option<AboutOwned> {
    Some(AboutOwned::Keys(keys.to_vec()))
}

/// What one message says about whom; `None`: nobody that is known.
type Says = (&'static str, Class, Option<AboutOwned>);

#[test]
fn all_kinds_of_correlation_are_understood() {
    let pairs: Subs = &[(1, r#"{"id": 11, "symbol": "BTC"}"#), (2, r#"{"id": 12, "symbol": "ETH"}"#)];
    let cases: Vec<(&str, Value, Vec<Says>)> = vec![
        (
            "id: Binance",
            json!([
                {"when": {"pointer": "/result", "exists": true}, "is": "ack", "by": {"id": "/id"}},
                {"when": {"pointer": "/code", "exists": true}, "is": "nack", "by": {"id": "/id"}},
            ]),
            vec![
                (r#"{"result":null,"id":1}"#, Class::Ack, Some(AboutOwned::Frame(1))),
                (r#"{"result":null,"id":"1512"}"#, Class::Ack, Some(AboutOwned::Frame(1512))),
                (r#"{"result":null,"id":0}"#, Class::Ack, Some(AboutOwned::Frame(0))),
                (r#"{"result":null,"id":7.0}"#, Class::Ack, Some(AboutOwned::Frame(7))),
                (r#"{"result":null,"id":7.5}"#, Class::Ack, None),
                (r#"{"result":null,"id":-7}"#, Class::Ack, None),
                (r#"{"result":null,"id":"s7"}"#, Class::Ack, None),
                (r#"{"result":null,"id":"07"}"#, Class::Ack, None),
                (r#"{"result":null,"id":""}"#, Class::Ack, None),
                (r#"{"result":null,"id":null}"#, Class::Ack, None),
                (r#"{"code":2,"msg":"Invalid request","id":3}"#, Class::Nack, Some(AboutOwned::Frame(3))),
                (r#"{"code":2,"msg":"Invalid request"}"#, Class::Nack, None),
            ],
        ),
        (
            "id in a place: Phoenix",
            json!([
                {"when": {"all": [
                    {"pointer": "/3", "equals": "phx_reply"}, {"pointer": "/4/status", "equals": "ok"}
                ]}, "is": "ack", "by": {"id": "/1"}},
                {"when": {"pointer": "/3", "equals": "phx_reply"}, "is": "nack", "by": {"id": "/1"}},
                {"when": {"pointer": "/3", "one_of": ["phx_error", "phx_close"]}, "is": "ended",
                 "by": {"match": {"pointer": "/2", "equals": "room:${symbol}"}}},
            ]),
            vec![
                (
                    r#"["3","3","room:1","phx_reply",{"status":"ok","response":{}}]"#,
                    Class::Ack,
                    Some(AboutOwned::Frame(3)),
                ),
                (
                    r#"["3","4","room:1","phx_reply",{"status":"error","response":{}}]"#,
                    Class::Nack,
                    Some(AboutOwned::Frame(4)),
                ),
                (r#"["3",null,"room:ETH","phx_close",{}]"#, Class::Ended, keys(&[2])),
                (r#"["3",null,"room:XRP","phx_close",{}]"#, Class::Ended, None),
            ],
        ),
        (
            "topic: Pusher",
            json!([{
                "when": {"pointer": "/event", "equals": "pusher_internal:subscription_succeeded"}, "is": "ack",
                "by": {"match": {"pointer": "/channel", "equals": "trades-${symbol}"}},
            }]),
            vec![(
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"trades-BTC","data":"{}"}"#,
                Class::Ack,
                keys(&[1]),
            )],
        ),
        (
            "whole object: OKX, Hyperliquid",
            json!([
                {"when": {"pointer": "/event", "equals": "subscribe"}, "is": "ack",
                 "by": {"match": {"pointer": "/arg", "contains": {"channel": "books", "instId": "${symbol}"}}}},
                {"when": {"pointer": "/channel", "equals": "subscriptionResponse"}, "is": "ack",
                 "by": {"match": {"pointer": "/data/subscription", "contains": {"coin": "${symbol}"}}}},
            ]),
            vec![
                (
                    r#"{"event":"subscribe","arg":{"channel":"books","instId":"ETH","instType":"SPOT"},"connId":"a4"}"#,
                    Class::Ack,
                    keys(&[2]),
                ),
                (
                    r#"{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"l2Book","coin":"BTC","nSigFigs":null}}}"#,
                    Class::Ack,
                    keys(&[1]),
                ),
                (r#"{"event":"subscribe","arg":{"channel":"trades","instId":"ETH"}}"#, Class::Ack, None),
            ],
        ),
        (
            "list: Coinbase, Alpaca, Deribit",
            json!([
                {"when": {"pointer": "/channel", "equals": "subscriptions"}, "is": "ack",
                 "by": {"listed": {"level2:": "/events/*/subscriptions/level2/*",
                                   "ticker:": "/events/*/subscriptions/ticker/*"}}},
                {"when": {"pointer": "/0/T", "equals": "subscription"}, "is": "ack",
                 "by": {"listed": {"T.": "/0/trades/*", "Q.": "/0/quotes/*"}, "complete": true}},
                {"when": {"pointer": "/result", "exists": true}, "is": "ack",
                 "by": {"listed": "/result", "id": "/id", "complete": true}},
            ]),
            vec![
                (
                    r#"{"channel":"subscriptions","sequence_num":3,"events":[{"subscriptions":{"level2":["BTC-USD","ETH-USD"],"ticker":["BTC-USD"],"heartbeats":["h"]}}]}"#,
                    Class::Ack,
                    listed(None, &["level2:BTC-USD", "level2:ETH-USD", "ticker:BTC-USD"], false),
                ),
                (
                    r#"[{"T":"subscription","trades":["AAPL"],"quotes":["AAPL","MSFT"],"bars":[]}]"#,
                    Class::Ack,
                    listed(None, &["Q.AAPL", "Q.MSFT", "T.AAPL"], true),
                ),
                (
                    r#"{"id":2,"result":["ticker.X.raw",7,null]}"#,
                    Class::Ack,
                    listed(Some(2), &["ticker.X.raw", "7"], true),
                ),
                (r#"{"id":2,"result":[]}"#, Class::Ack, listed(Some(2), &[], true)),
                // Without the number it could be about anything.
                (r#"{"result":["ticker.X.raw"]}"#, Class::Ack, None),
            ],
        ),
        (
            "in order, and fence: NATS",
            json!([
                {"when": {"text": "+OK\r\n"}, "is": "ack"},
                {"when": {"text": "PONG\r\n"}, "is": "ack", "by": "all"},
                {"when": {"prefix": "-ERR 'Permissions Violation for Subscription"}, "is": "ended",
                 "class": "refused", "by": {"match": {"prefix": "-ERR 'Permissions Violation for Subscription to \"${symbol}\""}},
                 "detail": ""},
                {"when": {"prefix": "-ERR"}, "is": "nack", "by": "oldest"},
            ]),
            vec![
                ("+OK\r\n", Class::Ack, Some(AboutOwned::Oldest)),
                ("PONG\r\n", Class::Ack, Some(AboutOwned::All)),
                ("-ERR 'Permissions Violation for Subscription to \"ETH\"'\r\n", Class::Ended, keys(&[2])),
                ("-ERR 'Invalid Subject'\r\n", Class::Nack, Some(AboutOwned::Oldest)),
            ],
        ),
        (
            "own names: nostr, graphql-ws",
            json!([
                {"when": {"pointer": "/0", "equals": "EOSE"}, "is": "ack",
                 "by": {"match": {"pointer": "/1", "equals": "sub-${id}"}}},
                {"when": {"pointer": "/0", "equals": "CLOSED"}, "is": "ended",
                 "by": {"match": {"pointer": "/1", "equals": "sub-${id}"}}, "detail": "/2"},
                {"when": {"pointer": "/type", "equals": "complete"}, "is": "ended", "by": {"id": "/id"}},
                {"when": {"pointer": "/type", "equals": "error"}, "is": "nack", "by": {"match":
                    {"pointer": "/id", "equals": "${name}"}}},
            ]),
            vec![
                (r#"["EOSE","sub-12"]"#, Class::Ack, keys(&[2])),
                (r#"["CLOSED","sub-11","error: shutting down idle subscription"]"#, Class::Ended, keys(&[1])),
                (r#"{"id":"12","type":"complete"}"#, Class::Ended, Some(AboutOwned::Frame(12))),
                (r#"{"id":"s2","type":"error","payload":[]}"#, Class::Nack, keys(&[2])),
            ],
        ),
    ];
    for (feed, data, says) in cases {
        let rules = rules(data);
        let mut interpreter = interpreter(&rules, pairs, Some(json!({"text": "never"})));
        for (message, class, about) in says {
            let reading = read(&mut interpreter, message);
            assert_eq!(reading.class, class, "{feed}: {message}");
            let control = reading.control.unwrap();
            assert_eq!(control.unknown, about.is_none(), "{feed}: {message}: {control:?}");
            if let Some(about) = about {
                assert_eq!(control.about, about, "{feed}: {message}");
            }
        }
    }
}

#[test]
fn the_first_data_confirms_where_nothing_else_does() {
    let rules = rules(json!([{"when": {"pointer": "/type", "equals": "complete"}, "is": "ended",
                              "by": {"match": {"pointer": "/id", "equals": "${name}"}}}]));
    let data =
        json!({"all": [{"pointer": "/type", "equals": "next"}, {"pointer": "/id", "equals": "${name}"}]});
    let mut interpreter = interpreter(&rules, &[(1, "{}"), (2, "{}")], Some(data));
    let reading = read(&mut interpreter, r#"{"id":"s2","type":"next","payload":{}}"#);
    assert_eq!((reading.class, &*reading.keys), (Class::Data, &[2][..]));
    assert_eq!(reading.names.unwrap()[0], "s2");
    assert!(reading.control.is_none());
    assert_eq!(read(&mut interpreter, r#"{"id":"s3","type":"next"}"#).class, Class::Other);
}

#[test]
fn keys_that_an_ack_binds_work_from_the_next_message_on() {
    // Bitfinex: the server chooses the key, and its heartbeats are of a channel.
    let rules = rules(json!([
        {"when": {"pointer": "/event", "equals": "subscribed"}, "is": "ack",
         "by": {"match": {"pointer": "/symbol", "equals": "t${symbol}"}}, "bind": {"chan": "/chanId"}},
        {"when": {"pointer": "/event", "equals": "error"}, "is": "nack", "class": "retry_later", "retry_after": "5s",
         "by": {"match": {"pointer": "/symbol", "equals": "t${symbol}"}}, "detail": "/msg"},
        {"when": {"pointer": "/1", "equals": "hb"}, "is": "keepalive",
         "by": {"match": {"pointer": "/0", "equals": "${chan}"}}},
    ]));
    let data: Matcher = serde_json::from_value(json!({"pointer": "/0", "equals": "${chan}"})).unwrap();
    let subs: Subs = &[(1, r#"{"symbol": "BTCUSD"}"#), (2, r#"{"symbol": "ETHUSD"}"#)];
    let mut interpreter = interpreter(&rules, subs, Some(json!({"pointer": "/0", "equals": "${chan}"})));
    let trade = r#"[67473,"te",[1,2,3]]"#;
    assert_eq!(read(&mut interpreter, trade).class, Class::Other);
    assert_eq!(read(&mut interpreter, r#"[67473,"hb"]"#).class, Class::Other);
    let ack = r#"{"event":"subscribed","channel":"trades","chanId":67473,"symbol":"tBTCUSD"}"#;
    let control = read(&mut interpreter, ack).control.unwrap();
    assert_eq!(
        (&control.about, &*control.bind),
        (&keys(&[1]).unwrap(), &[("chan".into(), json!(67473))][..])
    );
    for _ in 0..2 {
        interpreter.apply(change(&rules, 1, r#"{"symbol": "BTCUSD", "chan": 67473}"#, Some(&data)));
    }
    assert_eq!(
        (read(&mut interpreter, trade).class, read(&mut interpreter, trade).keys),
        (Class::Data, vec![1])
    );
    let beat = read(&mut interpreter, r#"[67473,"hb"]"#);
    assert_eq!(
        (beat.class, beat.keys, beat.names, beat.control.is_none()),
        (Class::Keepalive, vec![1], None, true)
    );
    assert_eq!(read(&mut interpreter, r#"[5,"hb"]"#).class, Class::Other);
    let error = r#"{"event":"error","code":10305,"msg":"limit\n","symbol":"tETHUSD"}"#;
    let control = read(&mut interpreter, error).control.unwrap();
    assert_eq!(control.about, keys(&[2]).unwrap());
    assert_eq!((control.class, control.retry_after), (ErrorClass::RetryLater, Some(Duration::from_secs(5))));
    assert_eq!(control.detail, "limit");
    interpreter.apply(Change::Remove { key: 1 });
    interpreter.apply(Change::Remove { key: 1 });
    assert_eq!(read(&mut interpreter, trade).class, Class::Other);
    assert!(read(&mut interpreter, ack).control.unwrap().unknown);
    interpreter.apply(Change::Clear);
    assert!(!interpreter.is_strict() && !interpreter.is_trivial());
    assert_eq!(read(&mut interpreter, trade).class, Class::Data);
}

#[test]
fn an_ack_says_whether_what_was_missed_is_replayed_and_may_carry_it() {
    let rules = rules(json!([
        {"when": {"pointer": "/publications/0", "exists": true}, "is": "ack", "by": {"id": "/id"},
         "resumed": {"pointer": "/recovered", "equals": true}, "bind": {"cursor": "/offset"}, "deliver": true},
        {"when": {"pointer": "/id", "exists": true}, "is": "ack", "by": {"id": "/id"},
         "resumed": {"pointer": "/flags", "bits": 4}},
        {"when": {"pointer": "/quiet", "exists": true}, "is": "ignored", "deliver": true},
    ]));
    let mut interpreter = interpreter(&rules, &[], None);
    for (message, deliver, resumed, bound) in [
        (r#"{"id":1,"publications":[{}],"recovered":true,"offset":7}"#, true, Some(true), 1),
        (r#"{"id":1,"publications":[{}],"recovered":false}"#, true, Some(false), 0),
        (r#"{"id":1,"flags":983044}"#, false, Some(true), 0),
        (r#"{"id":1,"flags":1}"#, false, Some(false), 0),
    ] {
        let reading = read(&mut interpreter, message);
        assert_eq!((reading.class, reading.deliver), (Class::Ack, deliver), "{message}");
        let control = reading.control.unwrap();
        assert_eq!((control.resumed, control.bind.len()), (resumed, bound), "{message}");
    }
    let reading = read(&mut interpreter, r#"{"quiet":1}"#);
    assert!(reading.deliver && reading.class == Class::Ignored && reading.control.is_none());
    assert!(!read(&mut interpreter, r#"{"data":1}"#).deliver);
    let panics = Rule::ack(Matcher::text("a")).resumed(Matcher::closure(|_| panic!("oh")));
    let mut interpreter = Interpreter::new(&[panics], &[]);
    let reading = read(&mut interpreter, "a");
    assert_eq!(reading.panicked.as_deref(), Some("oh"));
    assert_eq!(reading.control.unwrap().resumed, Some(false));
}

#[test]
fn heartbeats_are_answered_with_what_they_carry() {
    let rules = rules(json!([
        {"when": {"pointer": "/ping", "exists": true}, "is": "heartbeat", "reply": {"pong": "${/ping}"}},
        {"when": {"pointer": "/params/type", "equals": "test_request"}, "is": "heartbeat",
         "reply": {"jsonrpc": "2.0", "id": 0, "method": "public/test", "params": {"at": "${time_ms}", "s": "${sid|none}"}}},
        {"when": {"text": "2"}, "is": "heartbeat", "reply": "3"},
        {"when": {"text": "{}"}, "is": "heartbeat", "reply": {}},
        {"when": {"pointer": "/op", "equals": 10}, "is": "ignored", "capture": {"sid": "/d/session", "big": "/d/big"}},
        {"when": {"pointer": "/op", "equals": 11}, "is": "heartbeat"},
        {"when": {"pointer": "/op", "equals": 12}, "is": "heartbeat", "reply": "${/op} ${/d}"},
    ]));
    let mut interpreter = interpreter(&rules, &[], None);
    interpreter.begin(3, 1);
    interpreter.tick(SystemTime::UNIX_EPOCH + Duration::from_millis(1500));
    let reply = |interpreter: &mut Interpreter, message: &str| {
        let reading = read(interpreter, message);
        let reply = reading.control.and_then(|control| control.reply);
        (
            reading.class,
            reply.map(|reply| reply.map(|content| content.payload().as_text().unwrap().to_owned())),
        )
    };
    let answer = |text: &str| (Class::Heartbeat, Some(Ok(text.to_owned())));
    assert_eq!(reply(&mut interpreter, r#"{"ping":1492420473027}"#), answer(r#"{"pong":1492420473027}"#));
    let test = r#"{"method":"heartbeat","params":{"type":"test_request"}}"#;
    let expected = |sid: &str| {
        answer(&format!(
            r#"{{"id":0,"jsonrpc":"2.0","method":"public/test","params":{{"at":1500,"s":"{sid}"}}}}"#
        ))
    };
    assert_eq!(reply(&mut interpreter, test), expected("none"));
    assert_eq!(reply(&mut interpreter, "2"), answer("3"));
    assert_eq!(reply(&mut interpreter, "{}"), answer("{}"));
    assert_eq!(reply(&mut interpreter, r#"{"op":11}"#), (Class::Heartbeat, None));
    let missing = Err("nothing is known by the name of ${/d}".to_owned());
    assert_eq!(reply(&mut interpreter, r#"{"op":12}"#), (Class::Heartbeat, Some(missing)));

    // What is captured is known until the connection ends; what is too long is left alone.
    let hello = format!(r#"{{"op":10,"d":{{"session":"abc","big":"{}"}}}}"#, "x".repeat(5000));
    let reading = read(&mut interpreter, &hello);
    let control = reading.control.unwrap();
    assert_eq!((reading.class, &*control.capture), (Class::Ignored, &[("sid".into(), json!("abc"))][..]));
    assert_eq!(format!("{control:?} {interpreter:?}").find("abc"), None);
    assert_eq!(**interpreter.captures(), Variables::from([("sid".to_owned(), json!("abc"))]));
    assert_eq!(reply(&mut interpreter, test), expected("abc"));
    interpreter.forget();
    assert_eq!(reply(&mut interpreter, test), expected("none"));
    interpreter.remember(&Variables::from([("sid".to_owned(), json!("login"))]));
    assert_eq!(reply(&mut interpreter, test), expected("login"));
}

#[test]
fn notices_say_what_to_do() {
    let rules = rules(json!([
        {"when": {"all": [{"pointer": "/event", "equals": "info"}, {"pointer": "/code", "equals": 20051}]},
         "is": "notice", "do": "reconnect"},
        {"when": {"pointer": "/code", "equals": 20060}, "is": "notice", "do": {"pause": "120s"}},
        {"when": {"pointer": "/code", "equals": 4}, "is": "notice", "do": {"go_to": "/url"}, "detail": "/msg"},
        {"when": {"pointer": "/code", "equals": "64008"}, "is": "notice", "do": {"reconnect_within": "60s"},
         "detail": "/msg"},
    ]));
    let mut interpreter = interpreter(&rules, &[], None);
    for (message, action, detail) in [
        (r#"{"event":"info","code":20051}"#, NoticeAction::Reconnect, ""),
        (r#"{"event":"info","code":20060}"#, NoticeAction::Pause(Duration::from_secs(120)), ""),
        (
            r#"{"code":4,"url":"wss://h/?t=hunter2","msg":"away"}"#,
            NoticeAction::GoTo(GoTo::at("/url")),
            "away",
        ),
        (r#"{"code":4,"url":5}"#, NoticeAction::GoTo(GoTo::at("/url")), ""),
        (
            r#"{"event":"notice","code":"64008","msg":"The connection will soon be closed","connId":"a"}"#,
            NoticeAction::ReconnectWithin(Duration::from_secs(60)),
            "The connection will soon be closed",
        ),
    ] {
        let reading = read(&mut interpreter, message);
        let control = reading.control.unwrap();
        assert!(!format!("{control:?}").contains("hunter2"));
        assert_eq!((reading.class, control.about), (Class::Notice, AboutOwned::All));
        let url = message.contains("wss:").then(|| "wss://h/?t=hunter2".into());
        assert_eq!(control.url, url, "{message}");
        assert_eq!((control.notice, &*control.detail), (Some(action), detail), "{message}");
    }
}

#[test]
fn data_may_call_for_something_besides() {
    let rules = rules(json!([
        {"when": {"pointer": "/kind", "equals": "plain"}, "is": "data"},
        {"when": {"pointer": "/envelope", "exists": true}, "is": "data", "capture": {"seq": "/s"},
         "reply": {"envelope": "${/envelope}", "before": "${seq}"}},
        {"when": {"pointer": "/kind", "exists": true}, "is": "ignored"},
    ]));
    let subs: Subs = &[(1, r#"{"symbol": "BTC"}"#), (2, r#"{"symbol": "ETH"}"#)];
    let data = json!({"pointer": "/for/*", "equals": "${symbol}"});
    let mut interpreter = interpreter(&rules, subs, Some(data));
    for (message, class, keys, envelope) in [
        (r#"{"for":["ETH","BTC"],"envelope":"e1","s":7}"#, Class::Data, &[1, 2][..], Some("e1")),
        (r#"{"for":["ETH"],"envelope":"e2","s":8}"#, Class::Data, &[2], Some("e2")),
        (r#"{"for":["XRP"],"envelope":"e3","s":9}"#, Class::Other, &[], Some("e3")),
        (r#"{"for":["BTC"],"kind":"plain"}"#, Class::Data, &[1], None),
        (r#"{"for":["BTC"],"kind":"other"}"#, Class::Ignored, &[], None),
        (r#"{"for":["BTC"]}"#, Class::Data, &[1], None),
    ] {
        let reading = read(&mut interpreter, message);
        assert_eq!((reading.class, &*reading.keys), (class, keys), "{message}");
        let names = reading.names.map_or(0, |names| names.len());
        assert_eq!(names, keys.len(), "{message}");
        let reply = reading.control.map(|control| control.reply.unwrap().unwrap());
        let reply = reply.map(|reply| String::from_utf8(reply.payload().as_bytes().to_vec()).unwrap());
        let s = message.find("\"s\":").map(|at| &message[at + 4..at + 5]);
        let expected =
            envelope.map(|envelope| format!(r#"{{"before":{},"envelope":"{envelope}"}}"#, s.unwrap()));
        assert_eq!(reply, expected, "{message}");
    }
    // A subscription that is gone gets nothing by these rules either.
    interpreter.apply(Change::Remove { key: 2 });
    let reading = read(&mut interpreter, r#"{"for":["ETH","BTC"],"envelope":"e4","s":1}"#);
    assert_eq!((reading.class, &*reading.keys), (Class::Data, &[1][..]));
    interpreter.apply(Change::Clear);
    let reading = read(&mut interpreter, r#"{"for":["BTC"],"envelope":"e5","s":1}"#);
    assert_eq!((reading.class, reading.keys.is_empty()), (Class::Data, true), "nobody knows his own");
}

#[test]
fn requests_come_before_answers_and_these_before_rules() {
    let any_result = Matcher::exists("/id");
    let rules = [Rule::ack(any_result).by_id("/id"), Rule::heartbeat(Matcher::text("pong"))];
    let mut answers = [Matcher::text("pong"), Matcher::pointer("/id", 9)]
        .map(|expect| Answer { expect: Some(expect), ..Answer::default() });
    answers[1].refused = Some(Matcher::pointer("/no", true));
    answers[1].detail = Some("/why".into());
    answers[1].capture.insert("token".into(), "/token".into());
    let mut interpreter = Interpreter::new(&rules, &answers);
    assert!(read(&mut interpreter, "pong").answered.is_none());
    let reading = read(&mut interpreter, r#"{"id":9,"token":"t2"}"#);
    let answered = reading.answered.unwrap();
    assert_eq!((reading.class, &answered.refused), (Class::Answer(1), &None));
    assert_eq!(answered.capture, [("token".into(), Value::from("t2"))]);
    assert!(!format!("{answered:?}").contains("t2"), "{answered:?}");
    assert_eq!(interpreter.captures()["token"], "t2");
    let reading = read(&mut interpreter, r#"{"id":9,"no":true,"why":"too old","token":"t3"}"#);
    let answered = reading.answered.unwrap();
    assert_eq!((reading.class, answered.refused.as_deref()), (Class::Answer(1), Some("too old")));
    assert_eq!(interpreter.captures()["token"], "t2");
    let class = |interpreter: &mut Interpreter, message| read(interpreter, message).class;
    assert_eq!(class(&mut interpreter, "pong"), Class::Answer(0));
    assert_eq!(class(&mut interpreter, r#"{"id":9}"#), Class::Answer(1));
    assert_eq!(class(&mut interpreter, r#"{"id":7}"#), Class::Ack);
    for (ticket, id) in [(2, 7), (1, 9), (3, 7)] {
        interpreter.apply(Change::Request { ticket, matcher: Matcher::pointer("/id", id) });
    }
    let request = |interpreter: &mut Interpreter, message| {
        let reading = read(interpreter, message);
        (reading.class, reading.request)
    };
    assert_eq!(request(&mut interpreter, r#"{"id":9}"#), (Class::Reply, Some(1)));
    assert_eq!(request(&mut interpreter, r#"{"id":7}"#), (Class::Reply, Some(2)));
    interpreter.apply(Change::RequestDone { ticket: 2 });
    assert_eq!(request(&mut interpreter, r#"{"id":7}"#), (Class::Reply, Some(3)));
    interpreter.apply(Change::Clear);
    assert_eq!(request(&mut interpreter, r#"{"id":7}"#), (Class::Ack, None));
}

#[test]
fn the_first_rule_wins_and_data_is_what_none_took() {
    let rules = [
        Rule::ignored(Matcher::text("a")),
        Rule::heartbeat(Matcher::text("a")),
        Rule::keepalive(Matcher::text("k")).by_all(),
    ];
    let mut interpreter = Interpreter::new(&rules, &[]);
    assert_eq!(read(&mut interpreter, "a").class, Class::Ignored);
    assert_eq!(read(&mut interpreter, "k").class, Class::Other);
    let all = |key: u64| Change::Insert { key, name: "s".into(), data: None, by: Vec::new() };
    interpreter.apply(all(4));
    interpreter.apply(all(2));
    assert_eq!(read(&mut interpreter, "a").keys, [0; 0]);
    assert_eq!(read(&mut interpreter, "k").keys, [2, 4]);
    assert_eq!(read(&mut interpreter, "b").keys, [2, 4]);
    assert!(!interpreter.is_strict() && !interpreter.is_trivial());
    assert!(Interpreter::new(&[], &[]).is_trivial());
    // A rule index that does not exist, or of another kind, is passed over.
    let odd = vec![(0, Matcher::text("x")), (77, Matcher::text("x"))];
    interpreter.apply(Change::Insert { key: 9, name: "odd".into(), data: None, by: odd });
}

#[test]
fn panics_of_closures_are_told() {
    let rules = [Rule::ack(Matcher::text("ack")).by_match(Matcher::closure(|_| panic!("by")))];
    let mut interpreter = Interpreter::new(&rules, &[]);
    interpreter.apply(change(&rules, 1, "{}", Some(&Matcher::closure(|_| panic!("data")))));
    let reading = read(&mut interpreter, "ack");
    assert_eq!((reading.panicked.as_deref(), reading.class), (Some("by"), Class::Ack));
    assert_eq!(read(&mut interpreter, "x").panicked.as_deref(), Some("data"));
    interpreter.apply(Change::Request { ticket: 1, matcher: Matcher::closure(|_| panic!("request")) });
    let reading = read(&mut interpreter, "x");
    assert_eq!((reading.panicked.as_deref(), reading.class), (Some("request"), Class::Other));
}

#[test]
fn the_servers_words_are_cut_and_cleaned() {
    let rule = |pointer: &str| Rule::nack(Matcher::closure(|_| true)).detail(pointer);
    let said = |rule: Rule, message: &str| {
        read(&mut Interpreter::new(&[rule], &[]), message).control.unwrap().detail
    };
    let long = "é\u{1b}[31m".repeat(100);
    for (pointer, message, expected) in [
        ("/m", json!({"m": "no\u{7}\r\n way"}).to_string(), "no way".to_owned()),
        ("/m", json!({"m": {"code": 5}}).to_string(), r#"{"code":5}"#.into()),
        ("/m", json!({"m": long}).to_string(), "é[31m".repeat(40)),
        ("/n", json!({"m": long}).to_string(), String::new()),
        ("/m", "not JSON".into(), String::new()),
        ("", "-ERR 'x'\r\n".into(), "-ERR 'x'".into()),
        ("", "\u{0}".repeat(500) + "x", String::new()),
    ] {
        assert_eq!(said(rule(pointer), &message), expected, "{message}");
    }
}

#[test]
fn lists_are_bounded() {
    let rules = rules(json!([{"when": {"pointer": "/l", "exists": true}, "is": "ack",
                              "by": {"listed": "/l/*", "complete": true}}]));
    let message = json!({"l": vec!["x"; MAX_LISTED + 1]}).to_string();
    let control = read(&mut interpreter(&rules, &[], None), &message).control.unwrap();
    let AboutOwned::Listed { listed, complete, .. } = control.about else { panic!() };
    assert_eq!((listed.len(), complete), (MAX_LISTED, false));
}

fn all_rules() -> Vec<Rule> {
    rules(json!([
        {"when": {"pointer": "/a", "exists": true}, "is": "ack", "by": {"id": "/a"}, "bind": {"x": "/a"},
         "capture": {"y": "/a/*"}, "reply": ["${/a}", "${/a/0|z}"], "detail": "/a"},
        {"when": {"pointer": "/*/b", "exists": true}, "is": "nack", "by": {"listed": "/*/b/*"}, "detail": ""},
        {"when": {"prefix": "["}, "is": "ended",
         "by": {"match": {"pointer": "/0", "contains": {"c": "${symbol}"}}}, "detail": "/0/@json"},
        {"when": {"binary": ""}, "is": "notice", "do": "alert", "detail": "", "capture": {"z": ""}},
    ]))
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..64),
        text in r#"([{}\[\]",:]|"a"|"b"|"c"|[0-9]|null|\\u00|"\[1\]"|-|\.|e){0,30}"#,
    ) {
        let subs: Subs = &[(1, r#"{"symbol": 1}"#)];
        let mut interpreter = interpreter(&all_rules(), subs, Some(json!({"pointer": "/c", "equals": 1})));
        let mut reading = Reading::default();
        interpreter.read(Payload::Binary(&bytes), &mut reading);
        interpreter.read(Payload::Binary(text.as_bytes()), &mut reading);
        interpreter.read(Payload::Text(&text), &mut reading);
        prop_assert!(reading.panicked.is_none());
    }
}
