//! The feeds of `examples/feeds` are valid.

use super::*;
use crate::dialect::{AboutOwned, Change, Class, Interpreter, Member, Reading, RuleKind, Scope};
use crate::message::{Payload, SubscriptionId};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::SystemTime;

fn files() -> Vec<(String, String)> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/feeds");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .map(|path| {
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[cfg(feature = "native-tls")]
#[test]
fn each_is_read_and_valid() {
    let files = files();
    assert!(files.len() >= 16, "only {} feeds were found", files.len());
    for (name, text) in files {
        let config = FeedConfig::from_json(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        config.validate().unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(config.name.as_deref(), Some(name.as_str()), "a feed is named as its file");
        assert!(!config.subscriptions.is_empty(), "{name} subscribes to nothing");
        for subscription in &config.subscriptions {
            let terms = config.resolved(subscription).terms;
            assert!(terms.data.is_some(), "{name}: {:?} has no matcher for its data", subscription.id);
        }
    }
}

/// Something of each kind is shown by one of them.
#[test]
fn together_they_show_what_there_is() {
    let mut shown = BTreeSet::new();
    for (name, text) in files() {
        let config = FeedConfig::from_json(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        shown.extend(config.rules.iter().map(|rule| rule.is.name()));
        for (what, is_shown) in [
            ("login", !config.login.is_empty()),
            ("codecs", !config.codecs.is_empty()),
            ("ends", !config.ends.is_empty()),
            ("pacing", !config.pacing.is_empty()),
            ("connect.pacing", !config.connect.pacing.is_empty()),
            ("batch", config.batch.is_some()),
            ("bind", config.rules.iter().any(|rule| !rule.bind.is_empty())),
            ("reply", config.rules.iter().any(|rule| rule.reply.is_some())),
            ("first_data", config.defaults.ack == Some(Ack::FirstData)),
            ("sequence", config.sequence.is_some() || config.defaults.sequence.is_some()),
        ] {
            if is_shown {
                shown.insert(what);
            }
        }
    }
    for kind in [RuleKind::Keepalive, RuleKind::Ack, RuleKind::Nack, RuleKind::Ended, RuleKind::Notice]
        .map(RuleKind::name)
    {
        assert!(shown.contains(kind), "{kind}");
    }
    for what in [
        "login",
        "codecs",
        "ends",
        "pacing",
        "connect.pacing",
        "batch",
        "bind",
        "reply",
        "first_data",
        "sequence",
    ] {
        assert!(shown.contains(what), "{what}");
    }
}

/// What a feed makes of a message, in short: `data book`, `ack #7`, `nack oldest`, `ended notes`, `ack [a b]`.
struct Reader {
    config: FeedConfig,
    interpreter: Interpreter,
    names: Vec<SubscriptionId>,
}

impl Reader {
    /// Its subscriptions were written as frames 1, 2, ...; `bound` is what their acknowledgements gave them.
    fn new(name: &str, bound: &[(&str, u64)]) -> Self {
        let (_, text) =
            files().into_iter().find(|(file, _)| file == name).unwrap_or_else(|| panic!("{name}"));
        let config = FeedConfig::from_json(&text).unwrap();
        let heartbeats = config.heartbeats.iter().cloned().map(Rule::heartbeat);
        let rules: Vec<_> = heartbeats.chain(config.rules.iter().cloned()).collect();
        let answers: Vec<_> = config.keepalives.iter().map(|it| it.answer()).collect();
        let mut interpreter = Interpreter::new(&rules, &answers);
        let mut names = Vec::new();
        for (key, subscription) in (1..).zip(&config.subscriptions) {
            let Subscription { id, terms, .. } = config.resolved(subscription);
            let mut frame = FrameVars::new(1, 1, SystemTime::UNIX_EPOCH);
            frame.id = Some(key);
            let bound = bound.iter().map(|(name, value)| ((*name).to_owned(), json!(value + key))).collect();
            let member = Member {
                name: Some(id.clone()),
                vars: Arc::new(terms.vars.as_map().clone()),
                bound: Arc::new(bound),
                frame: Some(key),
                ..Member::default()
            };
            let scope = Scope { frame: &frame, member: Some(&member), message: None };
            let by = Rule::all_by_match(&rules);
            interpreter.apply(Change::insert(key, id.clone(), terms.data.as_ref(), &by, &scope));
            names.push(id);
        }
        Self { config, interpreter, names }
    }

    fn named(&self, keys: &[u64]) -> String {
        let names = keys.iter().map(|key| self.names[usize::try_from(*key).unwrap() - 1].as_str());
        names.collect::<Vec<_>>().join("+")
    }

    fn read(&mut self, message: &str) -> String {
        let mut reading = Reading::default();
        self.interpreter.read(Payload::Text(message), &mut reading);
        let class = match reading.class {
            Class::Answer(_) => "answer".to_owned(),
            class => format!("{class:?}").to_lowercase(),
        };
        let is_data = matches!(reading.class, Class::Data | Class::Other);
        let about = match reading.control.as_ref().filter(|_| !is_data) {
            Some(control) if control.unknown => "nobody".to_owned(),
            Some(control) => match &control.about {
                AboutOwned::Frame(frame) => format!("#{frame}"),
                AboutOwned::Keys(keys) => self.named(keys),
                AboutOwned::Listed { frame, listed, complete } => {
                    let frame = frame.map(|frame| format!("#{frame}")).unwrap_or_default();
                    format!("{frame}[{}]{}", listed.join(" "), if *complete { "!" } else { "" })
                }
                AboutOwned::Oldest => "oldest".to_owned(),
                AboutOwned::All => "all".to_owned(),
            },
            None => self.named(&reading.keys),
        };
        let detail = reading.control.map(|control| control.detail).unwrap_or_default();
        format!("{class} {about} {detail}").trim_end().to_owned()
    }
}

/// Messages as the servers send them, and what is made of them.
#[test]
fn each_understands_its_server() {
    let feeds: Vec<(&str, Vec<(&str, &str)>)> = vec![
        (
            "binance",
            vec![
                (r#"{"result":null,"id":1}"#, "ack #1"),
                (r#"{"error":{"code":2,"msg":"Invalid request"},"id":2}"#, "nack #2 Invalid request"),
                (r#"{"code":2,"msg":"Invalid request"}"#, "nack oldest Invalid request"),
                (r#"{"stream":"btcusdt@aggTrade","data":{"e":"aggTrade","s":"BTCUSDT"}}"#, "data trades"),
                (r#"{"stream":"btcusdt@depth@100ms","data":{"e":"depthUpdate","U":1,"u":3}}"#, "data book"),
                (r#"{"stream":"!serverShutdown","data":{"e":"serverShutdown"}}"#, "notice all"),
                (r#"{"stream":"ethusdt@aggTrade","data":{}}"#, "other"),
            ],
        ),
        (
            "coinbase-advanced",
            vec![
                (
                    r#"{"channel":"subscriptions","sequence_num":3,"events":[{"subscriptions":{"level2":["BTC-USD"],"heartbeats":["h"]}}]}"#,
                    "ack [level2:BTC-USD]",
                ),
                (
                    r#"{"channel":"l2_data","sequence_num":4,"events":[{"type":"update","product_id":"BTC-USD"}]}"#,
                    "data book",
                ),
                (
                    r#"{"channel":"market_trades","events":[{"trades":[{"product_id":"ETH-USD"},{"product_id":"BTC-USD"}]}]}"#,
                    "data trades+eth-trades",
                ),
                (r#"{"channel":"heartbeats","events":[{"heartbeat_counter":1}]}"#, "heartbeat"),
                (r#"{"type":"error","message":"no such product"}"#, "nack oldest no such product"),
            ],
        ),
        (
            "kraken-v2",
            vec![
                (
                    r#"{"method":"subscribe","result":{"channel":"ticker","symbol":"ETH/USD","snapshot":true},"success":true,"req_id":1}"#,
                    "ack eth",
                ),
                (
                    r#"{"method":"subscribe","result":{"channel":"book","symbol":"BTC/USD","depth":10},"success":true,"req_id":3}"#,
                    "ack btc-book",
                ),
                (
                    r#"{"error":"Currency pair not supported","method":"subscribe","req_id":1,"success":false}"#,
                    "nack #1 Currency pair not supported",
                ),
                (
                    r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD"},{"symbol":"ETH/USD"}]}"#,
                    "data btc+eth",
                ),
                (r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD"}]}"#, "data btc-book"),
                (r#"{"channel":"heartbeat"}"#, "heartbeat"),
                (r#"{"method":"pong","req_id":9}"#, "answer"),
                (r#"{"channel":"status","data":[{"system":"online"}]}"#, "ignored"),
                (r#"{"channel":"status","data":[{"system":"maintenance"}]}"#, "notice all maintenance"),
            ],
        ),
        (
            "okx",
            vec![
                (
                    r#"{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT"},"connId":"a"}"#,
                    "ack book",
                ),
                (
                    r#"{"event":"error","code":"60012","msg":"Illegal request","connId":"a"}"#,
                    "nack oldest Illegal request",
                ),
                (r#"{"arg":{"channel":"trades","instId":"BTC-USDT"},"data":[{}]}"#, "data trades"),
                (
                    r#"{"arg":{"channel":"books","instId":"BTC-USDT","x":1},"action":"update","data":[{}]}"#,
                    "data book",
                ),
                ("pong", "answer"),
                (r#"{"event":"notice","code":"64008","msg":"soon","connId":"a"}"#, "notice all soon"),
            ],
        ),
        (
            "bybit-v5",
            vec![
                (
                    r#"{"success":true,"ret_msg":"subscribe","conn_id":"c","req_id":"","op":"subscribe"}"#,
                    "ack oldest",
                ),
                (
                    r#"{"success":false,"ret_msg":"error:no","request":{"op":"subscribe"}}"#,
                    "nack oldest error:no",
                ),
                (r#"{"topic":"orderbook.50.BTCUSDT","type":"delta","data":{"u":2}}"#, "data book"),
                (r#"{"success":true,"ret_msg":"pong","op":"ping"}"#, "answer"),
                (r#"{"op":"pong","args":["1"]}"#, "answer"),
            ],
        ),
        (
            "kucoin",
            vec![
                (r#"{"id":"2","type":"ack"}"#, "ack #2"),
                (
                    r#"{"id":"1","type":"error","code":404,"data":"topic is invalid"}"#,
                    "nack #1 topic is invalid",
                ),
                (
                    r#"{"id":"1","type":"error","code":401,"data":"token is expired"}"#,
                    "nack all token is expired",
                ),
                (
                    r#"{"topic":"/market/ticker:BTC-USDT","type":"message","subject":"trade.ticker","data":{}}"#,
                    "data ticker",
                ),
                (r#"{"id":"7","type":"pong"}"#, "answer"),
            ],
        ),
        (
            "bitfinex",
            vec![
                (
                    r#"{"event":"subscribed","channel":"ticker","chanId":7,"symbol":"tETHUSD","pair":"ETHUSD"}"#,
                    "ack ticker",
                ),
                (
                    r#"{"event":"error","msg":"already subscribed","code":10301,"channel":"ticker","symbol":"tETHUSD"}"#,
                    "nack ticker",
                ),
                (r#"[102,[1,2,3],9]"#, "data ticker"),
                (r#"[101,"hb",10]"#, "keepalive trades"),
                (r#"{"event":"info","code":20051,"msg":"bye"}"#, "notice all bye"),
            ],
        ),
        (
            "deribit",
            vec![
                (
                    r#"{"jsonrpc":"2.0","id":2,"result":["book.BTC-PERPETUAL.100ms"]}"#,
                    "ack #2[book.BTC-PERPETUAL.100ms]!",
                ),
                (r#"{"jsonrpc":"2.0","id":2,"result":[]}"#, "ack #2[]!"),
                (
                    r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32602,"message":"Invalid params"}}"#,
                    "nack #2 Invalid params",
                ),
                (
                    r#"{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"test_request"}}"#,
                    "heartbeat all",
                ),
                (r#"{"jsonrpc":"2.0","method":"heartbeat","params":{"type":"heartbeat"}}"#, "heartbeat"),
                (r#"{"jsonrpc":"2.0","id":0,"result":{"version":"1"}}"#, "heartbeat"),
                (
                    r#"{"jsonrpc":"2.0","method":"subscription","params":{"channel":"ticker.BTC-PERPETUAL.100ms","data":{}}}"#,
                    "data ticker",
                ),
            ],
        ),
        (
            "gate",
            vec![
                (
                    r#"{"id":1,"channel":"spot.trades","event":"subscribe","error":null,"result":{"status":"success"}}"#,
                    "ack #1",
                ),
                (
                    r#"{"id":1,"channel":"spot.trades","event":"subscribe","error":{"code":2,"message":"unknown currency pair: X"},"result":null}"#,
                    "nack #1 unknown currency pair: X",
                ),
                (
                    r#"{"channel":"spot.trades","event":"update","result":{"currency_pair":"ETH_USDT"}}"#,
                    "data eth",
                ),
                (
                    r#"{"channel":"spot.order_book_update","event":"update","result":{"s":"BTC_USDT","U":1,"u":2}}"#,
                    "data btc-book",
                ),
                (r#"{"channel":"spot.pong","event":""}"#, "answer"),
            ],
        ),
        (
            "hyperliquid",
            vec![
                (
                    r#"{"channel":"subscriptionResponse","data":{"method":"subscribe","subscription":{"type":"l2Book","coin":"BTC","nSigFigs":null}}}"#,
                    "ack book",
                ),
                (r#"{"channel":"error","data":"Already subscribed: {}"}"#, "nack oldest"),
                (r#"{"channel":"error","data":"Error parsing JSON"}"#, "nack oldest Error parsing JSON"),
                (r#"{"channel":"l2Book","data":{"coin":"BTC","levels":[[],[]]}}"#, "data book"),
                (r#"{"channel":"trades","data":[{"coin":"BTC"}]}"#, "data trades"),
                (r#"{"channel":"pong"}"#, "answer"),
            ],
        ),
        (
            "polygon",
            vec![
                (r#"{"ev":"status","status":"success","message":"subscribed to: T.AAPL"}"#, "ack trades"),
                (r#"{"ev":"status","status":"error","message":"no"}"#, "nack oldest no"),
                (r#"{"ev":"Q","sym":"AAPL","bp":1}"#, "data quotes"),
            ],
        ),
        (
            "alpaca",
            vec![
                (
                    r#"{"T":"subscription","trades":["AAPL"],"quotes":["AAPL","X"],"bars":[]}"#,
                    "ack [quotes.AAPL quotes.X trades.AAPL]!",
                ),
                (
                    r#"{"T":"error","code":405,"msg":"symbol limit exceeded"}"#,
                    "nack oldest symbol limit exceeded",
                ),
                (
                    r#"{"T":"error","code":406,"msg":"connection limit exceeded"}"#,
                    "nack all connection limit exceeded",
                ),
                (r#"{"T":"q","S":"AAPL"}"#, "data quotes"),
            ],
        ),
        (
            "nostr",
            vec![
                (r#"["EOSE","notes"]"#, "ack notes"),
                (
                    r#"["CLOSED","notes","error: shutting down idle subscription"]"#,
                    "ended notes error: shutting down idle subscription",
                ),
                (r#"["CLOSED","profiles","auth-required: please"]"#, "ended profiles auth-required: please"),
                (r#"["NOTICE","hello"]"#, "notice all hello"),
                (r#"["EVENT","profiles",{"kind":0}]"#, "data profiles"),
            ],
        ),
        (
            "pusher",
            vec![
                (
                    r#"{"event":"pusher_internal:subscription_succeeded","channel":"news","data":"{}"}"#,
                    "ack news",
                ),
                (r#"{"event":"pusher:error","data":{"code":4009,"message":"no"}}"#, "nack oldest no"),
                (r#"{"event":"pusher:ping","data":"{}"}"#, "heartbeat all"),
                (r#"{"event":"pusher:pong","data":"{}"}"#, "answer"),
                (r#"{"event":"update","channel":"prices","data":"{\"bid\":1}"}"#, "data prices"),
            ],
        ),
        (
            "graphql-transport-ws",
            vec![
                (r#"{"id":"s2","type":"next","payload":{"data":{}}}"#, "data prices"),
                (r#"{"id":"s2","type":"error","payload":[{"message":"no"}]}"#, "ended prices no"),
                (r#"{"id":"s1","type":"complete"}"#, "ended greetings"),
                (r#"{"type":"ping"}"#, "heartbeat all"),
                (r#"{"type":"pong"}"#, "answer"),
            ],
        ),
        (
            "home-assistant",
            vec![
                (r#"{"id":2,"type":"result","success":true,"result":null}"#, "ack #2"),
                (
                    r#"{"id":2,"type":"result","success":false,"error":{"code":"x","message":"no"}}"#,
                    "nack #2 no",
                ),
                (r#"{"id":1,"type":"event","event":{}}"#, "data states"),
                (r#"{"id":5,"type":"pong"}"#, "answer"),
            ],
        ),
    ];
    let feeds: Vec<_> = feeds.into_iter().chain(feeds_told::feeds()).chain(resuming()).collect();
    assert_eq!(feeds.len(), files().len(), "each file is tried");
    let mut wrong = Vec::new();
    for (name, messages) in feeds {
        let mut reader = Reader::new(name, &[("chan", 100), ("stream", 100)]);
        assert_eq!(reader.config.name.as_deref(), Some(name));
        for (message, expected) in messages {
            let read = reader.read(message);
            if read != expected {
                wrong.push(format!("{name}: {message}\n  is {read}\n  not {expected}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Those that number their messages in texts, that take up where they were, and that ask the client.
fn resuming() -> Vec<(&'static str, Vec<(&'static str, &'static str)>)> {
    vec![
        (
            "phoenix",
            vec![
                (r#"["j1","j1","ticker:btc","phx_reply",{"status":"ok","response":{}}]"#, "ack btc"),
                (
                    r#"["j2","j2","ticker:eth","phx_reply",{"status":"error","response":{"reason":"no"}}]"#,
                    "nack eth no",
                ),
                (r#"["j1","l8","ticker:btc","phx_reply",{"status":"ok","response":{}}]"#, "ignored"),
                (r#"["j7","j7","ticker:btc","phx_reply",{"status":"ok","response":{}}]"#, "ack nobody"),
                (r#"[null,"h9","phoenix","phx_reply",{"status":"ok","response":{}}]"#, "answer"),
                (r#"["j1",null,"ticker:btc","price",{"bid":1}]"#, "data btc"),
                (r#"[null,null,"ticker:eth","price",{"bid":1}]"#, "data eth"),
                (r#"["j7",null,"ticker:btc","price",{"bid":1}]"#, "other"),
                (r#"["j1",null,"ticker:btc","phx_error",{}]"#, "ended btc phx_error"),
                (r#"["j7","j7","ticker:btc","phx_close",{}]"#, "ended nobody phx_close"),
            ],
        ),
        (
            "socket-io",
            vec![
                (r#"["431",[{"ok":true}]]"#, "ack btc"),
                (r#"["432",[{"ok":false,"error":"no"}]]"#, "nack eth no"),
                (r#"["42",["price",{"channel":"btc","bid":1},"offset-7"]]"#, "data btc"),
                (r#"["42",["other",{"channel":"btc"}]]"#, "other"),
                ("2", "heartbeat all"),
                ("41", "notice all"),
            ],
        ),
        (
            "centrifugo",
            vec![
                (
                    r#"{"id":1,"subscribe":{"recoverable":true,"epoch":"xyz","offset":7,"positioned":true}}"#,
                    "ack #1",
                ),
                (r#"{"id":1,"subscribe":{"recovered":true,"publications":[{"data":{}}]}}"#, "ack #1"),
                (
                    r#"{"id":2,"error":{"code":103,"message":"permission denied"}}"#,
                    "nack #2 permission denied",
                ),
                (r#"{"id":2,"error":{"code":105,"message":"already subscribed"}}"#, "nack #2"),
                (r#"{"id":3,"unsubscribe":{}}"#, "ignored"),
                (r#"{"push":{"channel":"ticker:eth","pub":{"data":{},"offset":8}}}"#, "data eth"),
                (
                    r#"{"push":{"channel":"ticker:eth","unsubscribe":{"code":2500,"reason":"insufficient state"}}}"#,
                    "ended eth insufficient state",
                ),
                ("{}", "heartbeat all"),
            ],
        ),
        (
            "ably",
            vec![
                (r#"{"action":11,"channel":"btc","flags":983044,"channelSerial":"s1"}"#, "ack btc"),
                (r#"{"action":13,"channel":"eth","error":{"code":90198,"message":"no"}}"#, "ended eth no"),
                (r#"{"action":13,"channel":"eth"}"#, "ignored"),
                (
                    r#"{"action":9,"channel":"eth","error":{"code":40160,"message":"denied"}}"#,
                    "nack eth denied",
                ),
                (
                    r#"{"action":9,"error":{"code":40142,"message":"token expired"}}"#,
                    "nack all token expired",
                ),
                (r#"{"action":15,"channel":"btc","channelSerial":"s2","messages":[{}]}"#, "data btc"),
                (r#"{"action":0}"#, "answer"),
                (r#"{"action":6,"error":{"message":"moved"}}"#, "notice all moved"),
            ],
        ),
        (
            "bluesky-jetstream",
            vec![
                (
                    r#"{"did":"did:plc:a","time_us":1,"kind":"commit","commit":{"collection":"app.bsky.feed.like"}}"#,
                    "data likes",
                ),
                (r#"{"did":"did:plc:a","time_us":2,"kind":"identity","identity":{}}"#, "ignored"),
            ],
        ),
        (
            "ocpp-j",
            vec![
                (r#"[2,"abc","Reset",{"type":"Soft"}]"#, "data calls"),
                (r#"[3,"7",{"currentTime":"2026-11-22T12:00:00Z"}]"#, "answer"),
                (r#"[4,"8","NotSupported","",{}]"#, "ignored"),
            ],
        ),
        (
            "binance-user-data",
            vec![
                (r#"{"id":1,"status":200,"result":{"subscriptionId":0}}"#, "ack #1"),
                (r#"{"id":2,"status":200,"result":{}}"#, "ack #2"),
                (r#"{"id":1,"status":400,"error":{"code":-1022,"msg":"no"}}"#, "nack #1 no"),
                (r#"{"subscriptionId":101,"event":{"e":"executionReport"}}"#, "data account"),
                (r#"{"subscriptionId":102,"event":{"e":"executionReport"}}"#, "other"),
                (
                    r#"{"subscriptionId":101,"event":{"e":"eventStreamTerminated"}}"#,
                    "ended account eventStreamTerminated",
                ),
            ],
        ),
    ]
}
