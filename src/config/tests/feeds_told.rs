//! More messages of the servers of `examples/feeds`, and what is made of them.

/// A file, and messages with what each is.
pub(super) type Told = (&'static str, Vec<(&'static str, &'static str)>);

pub(super) fn feeds() -> Vec<Told> {
    vec![
        (
            "htx",
            vec![
                (r#"{"id":"1","status":"ok","subbed":"market.btcusdt.mbp.150","ts":1}"#, "ack #1"),
                (
                    r#"{"status":"error","ts":1,"id":"2","err-code":"bad-request","err-msg":"invalid topic"}"#,
                    "nack #2 invalid topic",
                ),
                (r#"{"id":"3","status":"ok","unsubbed":"market.btcusdt.mbp.150","ts":1}"#, "ignored"),
                (r#"{"ping":1764000000000}"#, "heartbeat all"),
                (
                    r#"{"ch":"market.ethusdt.mbp.150","ts":1,"tick":{"seqNum":2,"prevSeqNum":1,"bids":[],"asks":[]}}"#,
                    "data eth-book",
                ),
                (r#"{"id":"4","rep":"market.btcusdt.mbp.150","status":"ok","data":{}}"#, "other"),
            ],
        ),
        (
            "coinbase-exchange",
            vec![
                (
                    r#"{"type":"subscriptions","channels":[{"name":"matches","product_ids":["BTC-USD"]},{"name":"heartbeat","product_ids":["BTC-USD"]}]}"#,
                    "ack [BTC-USD BTC-USD]",
                ),
                (
                    r#"{"type":"error","message":"Failed to subscribe","reason":"X is not a valid product"}"#,
                    "nack oldest X is not a valid product",
                ),
                (
                    r#"{"type":"heartbeat","last_trade_id":20,"product_id":"ETH-USD","sequence":90}"#,
                    "keepalive eth",
                ),
                (r#"{"type":"last_match","trade_id":10,"product_id":"BTC-USD"}"#, "data btc"),
                (r#"{"type":"match","trade_id":11,"product_id":"BTC-USD"}"#, "data btc"),
                (r#"{"type":"match","trade_id":11,"product_id":"XRP-USD"}"#, "other"),
            ],
        ),
        (
            "finnhub",
            vec![
                (r#"{"type":"ping"}"#, "heartbeat"),
                (
                    r#"{"type":"trade","data":[{"s":"BINANCE:BTCUSDT","p":1},{"s":"AAPL","p":2}]}"#,
                    "data apple+bitcoin",
                ),
                (r#"{"type":"trade","data":[{"s":"MSFT","p":1}]}"#, "other"),
                (r#"{"type":"error","msg":"Invalid symbol"}"#, "notice all Invalid symbol"),
            ],
        ),
        (
            "discord",
            vec![
                (r#"{"op":0,"s":42,"t":"MESSAGE_CREATE","d":{}}"#, "data messages"),
                (r#"{"op":0,"s":43,"t":"TYPING_START","d":{}}"#, "other"),
                (r#"{"op":0,"s":44,"t":"RESUMED","d":{}}"#, "ignored all"),
                (r#"{"op":1,"d":null,"s":null,"t":null}"#, "heartbeat all"),
                (r#"{"op":7,"d":null,"s":null,"t":null}"#, "notice all"),
                (r#"{"op":9,"d":false,"s":null,"t":null}"#, "notice all"),
                (r#"{"op":11}"#, "answer"),
            ],
        ),
        (
            "slack",
            vec![
                (
                    r#"{"envelope_id":"e1","type":"events_api","accepts_response_payload":false,"payload":{}}"#,
                    "data events",
                ),
                (r#"{"envelope_id":"e2","type":"options","payload":{}}"#, "other"),
                (r#"{"type":"disconnect","reason":"warning"}"#, "notice all warning"),
                (r#"{"type":"disconnect","reason":"link_disabled"}"#, "notice all link_disabled"),
            ],
        ),
        (
            "twitch-eventsub",
            vec![
                (r#"{"metadata":{"message_type":"session_keepalive"},"payload":{}}"#, "heartbeat"),
                (
                    r#"{"metadata":{"message_type":"notification","subscription_type":"channel.follow"},"payload":{"event":{}}}"#,
                    "data follows",
                ),
                (
                    r#"{"metadata":{"message_type":"revocation","subscription_type":"channel.follow"},"payload":{"subscription":{"status":"user_removed"}}}"#,
                    "ended follows user_removed",
                ),
                (
                    r#"{"metadata":{"message_type":"session_reconnect"},"payload":{"session":{"status":"reconnecting","reconnect_url":"wss://h/"}}}"#,
                    "notice all reconnecting",
                ),
            ],
        ),
        (
            "mastodon",
            vec![
                (r#"{"stream":["public"],"event":"update","payload":"{}"}"#, "data public"),
                (r#"{"stream":["hashtag","rust"],"event":"delete","payload":"1"}"#, "data rust"),
                (r#"{"stream":["hashtag","other"],"event":"update","payload":"{}"}"#, "other"),
                (r#"{"stream":["public:local"],"event":"update","payload":"{}"}"#, "other"),
                (r#"{"error":"Unknown stream type","status":400}"#, "notice all Unknown stream type"),
            ],
        ),
    ]
}
