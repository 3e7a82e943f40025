//! The monitor's page, in a real browser: what it shows is what the feeds go through.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test that fails here says enough"
)]

mod browser;
mod data;

use browser::Browser;
use livefeed::lab::{Command, Lab, Script, Topic};
use livefeed::{Feed, FeedBuilder, Limit, Matcher, Monitor, RepairStep, Subscription};
use serde_json::json;
use std::time::Duration;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A lab with these topics, each sent from when it is asked for.
fn lab(topics: &[&str]) -> Lab {
    let topics: Vec<_> = topics.iter().map(|name| Topic::new(*name).every(ms(50)).on_subscribe()).collect();
    Lab::start(Script::of_topics(topics)).unwrap()
}

/// A feed whose events go nowhere: only the page looks at it.
fn feed(lab: &Lab, name: &str) -> FeedBuilder {
    Feed::builder(lab.url())
        .name(name)
        .ping(|ping| ping.after = Limit::None)
        .reconnect(|reconnect| (reconnect.floor, reconnect.first, reconnect.max) = (ms(2), ms(5), ms(10)))
        .handler(|_| {})
}

/// A subscription to a topic of the lab that, once stale, waits for long on this connection.
fn sub(id: &str, topic: &str) -> Subscription {
    Subscription::new(id)
        .subscribe_text(format!("subscribe {topic}"))
        .unsubscribe_text(format!("unsubscribe {topic}"))
        .data(Matcher::pointer("/topic", topic))
        .stale_after(ms(1500))
        .first_data_within(ms(1500))
        .repair([RepairStep::Resubscribe(Duration::from_secs(600))])
}

/// The page's own idea of one feed.
fn card(name: &str) -> String {
    format!("[...document.querySelectorAll('.card')].find((card) => card.dataset.feed === {})", json!(name))
}

fn state_is(name: &str, state: &str) -> String {
    format!("{}.dataset.state === {}", card(name), json!(state))
}

fn url(monitor: &Monitor) -> String {
    format!("http://{}/", monitor.local_addr())
}

#[test]
fn it_shows_what_a_feed_goes_through() {
    let Some(mut browser) = Browser::start() else { return };
    let lab = lab(&["btc", "eth"]);
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    browser.look(1200, 900, "light");
    browser.open(&url(&monitor));
    browser.wait_for("document.title.startsWith('No feeds')");

    let open = feed(&lab, "market").subscription(sub("bitcoin", "btc")).subscription(sub("ether", "eth"));
    let feed = open.open().unwrap();
    monitor.add(&feed).unwrap();
    browser.wait_for(&state_is("market", "fresh"));
    browser.wait_for("document.title === 'market: fresh – livefeed'");
    assert_eq!(browser.text(".card .head .word"), "Fresh");
    assert_eq!(browser.text(".card .head .why"), "Data comes within its limits.");
    assert!(browser.text(".card .head .limit").contains("since the last data"));
    assert_eq!(browser.text("#summary .text"), "market: fresh");
    assert!(browser.eval("document.querySelector('#silence').hidden") == true);
    assert_eq!(browser.text(".rows [data-state=live] .id"), "bitcoin");
    assert_eq!(browser.text(".rows [data-state=live] .limit"), "1.5 s");
    assert_eq!(browser.text(".counts"), "2 live");
    assert!(browser.text(".events").contains("connected"), "{}", browser.text(".events"));
    let icon = browser.eval("document.querySelector('#favicon').href");
    assert!(icon.as_str().unwrap().starts_with("data:image/svg+xml,"), "{icon}");
    // Both charts have something to draw once a second is over, and the limit is drawn where there is one.
    browser.wait_for("document.querySelectorAll('.chart .line[d^=M]').length === 2");
    browser.wait_for("/ [1-9]\\d* messages? in the last/.test(document.querySelector('.chart').ariaLabel)");
    let bounds = browser.eval("document.querySelector('.chart + .chart .bound').getAttribute('d')");
    assert!(bounds.as_str().unwrap().starts_with("M0 "), "the feed has a limit of a minute: {bounds}");
    browser.picture("fresh-light");

    lab.control().all(Command::Mute("btc".into()));
    browser.wait_for(&state_is("market", "stale"));
    browser.wait_for("document.title === 'market: stale – livefeed'");
    assert_eq!(browser.text(".card .head .word"), "Stale");
    let why = browser.text(".card .head .why");
    assert!(why.starts_with("No data of bitcoin for ") && why.ends_with("The repair is under way."), "{why}");
    let stale = browser.text(".rows [data-state=stale]");
    assert!(stale.starts_with("bitcoin"), "{stale}");
    assert_eq!(browser.text(".rows [role=row]:first-child .id"), "bitcoin", "trouble stands first");
    assert!(browser.text(".counts").starts_with("1 stale"), "{}", browser.text(".counts"));
    assert!(browser.text(".events").contains("bitcoin: no data for "), "{}", browser.text(".events"));
    browser.wait_for("document.querySelector('#said').textContent === 'market is stale'");
    assert_ne!(browser.eval("document.querySelector('#favicon').href"), icon);
    browser.picture("stale-light");
    browser.look(1200, 900, "dark");
    browser.picture("stale-dark");

    lab.control().all(Command::Unmute("btc".into()));
    browser.wait_for(&state_is("market", "fresh"));
    assert_eq!(browser.text(".card .head .word"), "Fresh");
    browser.wait_for("document.querySelector('.counts').textContent === '2 live'");
    browser.wait_for("document.querySelector('#said').textContent === 'market is fresh'");
    browser.picture("fresh-dark");
    assert_eq!(browser.eval("document.querySelector('#favicon').href"), icon);

    feed.close(Duration::from_secs(5)).unwrap();
    drop(feed);
    browser.wait_for(&state_is("market", "closed"));
    assert_eq!(browser.text(".card .head .word"), "Closed");
    assert_eq!(browser.text(".card .head .why"), "It is over: closed by user. No data will come.");
    browser.picture("closed-dark");
    monitor.remove("market");
    browser.wait_for("document.querySelectorAll('.card').length === 0");
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn it_says_when_nobody_answers() {
    let Some(mut browser) = Browser::start() else { return };
    let lab = lab(&["btc"]);
    let feed = feed(&lab, "market").subscription(sub("btc", "btc")).open().unwrap();
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    monitor.add(&feed).unwrap();
    let (address, url) = (monitor.local_addr(), url(&monitor));
    browser.look(1200, 900, "light");
    browser.open(&url);
    browser.wait_for(&state_is("market", "fresh"));
    assert_eq!(browser.complaints(), [""; 0]);

    drop(monitor);
    browser.wait_for(&state_is("market", "unknown"));
    assert_eq!(browser.text(".card .head .word"), "Unknown");
    assert_eq!(browser.text(".card .head .why"), "It was fresh when livefeed last answered.");
    let said = browser.text("#silence");
    assert!(said.starts_with("No answer from livefeed for "), "{said}");
    assert!(said.contains("It can't be reached. What stands below is how it was then."), "{said}");
    assert_eq!(browser.text(".card .head .age"), "?", "an age that is not known is not shown");
    assert_eq!(
        browser.eval("document.querySelector('.chart .axis').lastElementChild.textContent"),
        "last answer"
    );
    assert_eq!(browser.eval("document.title"), "No answer from livefeed – livefeed");
    assert_eq!(browser.text("#summary .text"), "No answer");
    browser.picture("silent-light");
    browser.look(360, 780, "dark");
    browser.picture("silent-phone");
    // It goes on counting.
    browser.wait_for("/ for ([6-9]|\\d\\d+) s/.test(document.querySelector('#silence').innerText)");

    let monitor = Monitor::bind(address).unwrap();
    monitor.add(&feed).unwrap();
    browser.wait_for(&state_is("market", "fresh"));
    browser.wait_for("document.querySelector('#silence').hidden");
    browser.wait_for("document.title === 'market: fresh – livefeed'");
}

#[test]
fn it_says_when_the_application_does_not_let_livefeed_read() {
    let Some(mut browser) = Browser::start() else { return };
    let lab = lab(&["btc"]);
    let (go, going) = crossbeam_channel::bounded::<()>(0);
    let feed = feed(&lab, "market")
        .subscription(sub("btc", "btc"))
        .stale_after(ms(300))
        .handler(move |event| {
            if matches!(event, livefeed::Event::Message(_)) {
                let _ = going.recv();
            }
        })
        .open()
        .unwrap();
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    monitor.add(&feed).unwrap();
    browser.open(&url(&monitor));
    browser.wait_for(&state_is("market", "held_up"));
    assert_eq!(browser.text(".head .word"), "Held up");
    assert!(browser.text(".why").starts_with("The application has kept livefeed from reading for "));
    browser.wait_for("document.title === 'market: held up – livefeed'");
    drop(go);
    browser.wait_for(&state_is("market", "fresh"));
    assert_eq!(browser.complaints(), [""; 0]);
}

#[test]
fn what_others_say_stays_text() {
    let Some(mut browser) = Browser::start() else { return };
    let lab = lab(&["btc"]);
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    let hostile = [
        "<img src=x onerror=\"window.hacked=1\">",
        "</script><script>window.hacked=1</script>",
        "\"><svg onload=window.hacked=1>'`${window.hacked=1}",
        "javascript:window.hacked=1",
        "__proto__",
        "constructor",
        "\u{202e}rtl\u{61c} <b>bold</b>",
    ];
    let feeds: Vec<_> = hostile
        .iter()
        .map(|name| {
            let all = hostile.iter().map(|id| sub(id, "btc"));
            let feed = all.fold(feed(&lab, "f"), FeedBuilder::subscription).open().unwrap();
            (feed, *name)
        })
        .collect();
    for (feed, name) in &feeds {
        monitor.add_as(*name, feed).unwrap();
    }
    browser.look(360, 780, "light");
    browser.open(&url(&monitor));
    for name in hostile {
        browser.wait_for(&state_is(name, "fresh"));
        // More than a few feeds are folded; this one is opened.
        browser.eval(&format!("{}.querySelector('.fold').click()", card(name)));
        let ids = browser
            .eval(&format!("[...{}.querySelectorAll('.rows .id')].map((id) => id.textContent)", card(name)));
        assert_eq!(ids, json!(hostile));
        let shown = browser.eval(&format!("{}.querySelector('.name').textContent", card(name)));
        assert_eq!(shown, name);
    }
    browser.picture("hostile-phone");
    assert_eq!(browser.eval("typeof window.hacked"), "undefined");
    let made = "main :is(img, script, b, iframe, a, style, [onload], [onerror])";
    assert_eq!(browser.eval(&format!("document.querySelectorAll({}).length", json!(made))), 0);
    assert_eq!(browser.complaints(), [""; 0]);
    // The policy is in force: what a page could be made to run, it does not.
    for attempt in [
        "document.body.innerHTML = '<img src=x onerror=window.hacked=1>'",
        "document.createElement('script').textContent = 'window.hacked = 1'",
        "document.body.setAttribute('onclick', 'window.hacked = 1')",
    ] {
        assert_eq!(browser.eval(&format!("try {{ {attempt}; 'done' }} catch {{ 'refused' }}")), "refused");
    }
    let fetched = browser.eval("fetch('data:text/plain,x').then(() => 'done', () => 'refused')");
    assert_eq!(fetched, "refused");
    browser.wait_for("window.violations.some((violation) => violation.startsWith('connect-src '))");
}

#[test]
fn many_feeds_and_subscriptions_stay_usable() {
    let Some(mut browser) = Browser::start() else { return };
    let lab = lab(&["btc"]);
    let monitor = Monitor::bind("127.0.0.1:0").unwrap();
    let mut feeds = Vec::new();
    for number in 0..12 {
        let mut open = feed(&lab, &format!("venue-{number:02}"));
        let subscriptions = if number == 7 { 300 } else { 1 };
        for number in 0..subscriptions {
            open = open.subscription(sub(&format!("SYMBOL-{number:03}-USD-PERP"), "btc"));
        }
        if number == 7 {
            open = open.subscription(sub("none", "none"));
        }
        feeds.push(open.open().unwrap());
    }
    feeds.iter().for_each(|feed| monitor.add(feed).unwrap());
    browser.look(1200, 900, "light");
    browser.open(&url(&monitor));
    browser.wait_for(&state_is("venue-00", "fresh"));
    browser.wait_for(&state_is("venue-07", "stale"));
    browser.wait_for("document.title === 'Stale: venue-07 – livefeed'");
    assert_eq!(browser.text("#summary .text"), "1 of 12 feeds in trouble");
    // Only what is in trouble is open, and it stands first.
    let open = "[...document.querySelectorAll('.card:not(.folded)')].map((card) => card.dataset.feed)";
    assert_eq!(browser.eval(open), json!(["venue-07"]));
    assert_eq!(browser.eval("document.querySelector('.card').dataset.feed"), "venue-07");
    let rows = "document.querySelectorAll('.rows [role=row]').length";
    assert_eq!(browser.eval(rows), 12);
    assert_eq!(browser.text(".rows [role=row] .id"), "none");
    browser.picture("many-light");

    browser.eval("document.querySelector('.subscriptions .more').click()");
    assert_eq!(browser.eval(rows), 301);
    browser.eval("document.querySelector('.subscriptions .more').click()");
    assert_eq!(browser.eval(rows), 12);
    let filter = "const filter = document.querySelector('.filter'); filter.value = 'symbol-29'; \
                  filter.dispatchEvent(new Event('input'));";
    browser.eval(&format!("{{ {filter} }}"));
    assert_eq!(browser.eval(rows), 10);
    browser.eval("document.querySelector('#only').click()");
    assert_eq!(browser.eval("document.querySelectorAll('.card').length"), 1);
    browser.eval("document.querySelector('#only').click()");
    assert_eq!(browser.eval("document.querySelectorAll('.card').length"), 12);
    // What a person opens stays open, where it was.
    browser.eval(&format!("{}.querySelector('.fold').click()", card("venue-03")));
    assert_eq!(browser.eval(open), json!(["venue-07", "venue-03"]));
    browser.wait_for(&format!("{}.querySelector('.counts').textContent === '1 live'", card("venue-03")));

    for (scheme, name) in [("light", "many-phone"), ("dark", "many-phone-dark")] {
        browser.look(360, 780, scheme);
        browser.picture(name);
        let width = browser.eval("document.documentElement.scrollWidth");
        assert!(width.as_u64().unwrap() <= 360, "it is {width} wide, and has to be pushed sideways");
    }
    assert_eq!(browser.complaints(), [""; 0]);
}
