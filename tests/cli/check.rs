//! `check`: problems with line and path, or the effective configuration without secrets.

use crate::common::{livefeed, run};
use crate::scratch::Scratch;
use serde_json::{Value, json};
use std::process::Output;

fn check(name: &str, text: &str) -> Output {
    let dir = Scratch::new();
    let output = run(&["check", &dir.file(name, text)]);
    assert!(!String::from_utf8_lossy(&output.stderr).contains("panicked"), "{output:?}");
    output
}

/// What is said of a wrong file, each problem without the name of the file.
fn problems(name: &str, text: &str) -> Vec<String> {
    let output = check(name, text);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(output.stdout.is_empty());
    let said = String::from_utf8(output.stderr).unwrap();
    let lines = said.lines().map(|line| line.split_once(&format!("{name}:")).unwrap().1.to_owned());
    lines.filter(|line| !line.ends_with(" problems")).collect()
}

fn effective(name: &str, text: &str) -> Value {
    let output = check(name, text);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn toml_can_switch_off_what_json_does_with_null() {
    let toml = "url = 'ws://h/'\nquarantine_after = 'none'\n[alerts]\nreconnects = 'none'\n[reconnect]\nmax_attempts = 'none'";
    let config = effective("a.toml", toml);
    let feed = config.pointer("/feeds/0").unwrap_or(&config);
    assert_eq!(feed["quarantine_after"], "none", "{config}");
    assert_eq!(feed["alerts"]["reconnects"], "none");
    assert_eq!(feed["reconnect"]["max_attempts"], "none");
}

#[test]
fn problems_have_the_line_and_the_path_of_the_field() {
    for (name, text, expected) in [
        ("a.toml", "x = 1", "1: x: is no field: there are `feeds`, `health`, `on_alert`, `output`, `url`"),
        ("a.toml", "\nuri = 'ws://h/'", "2: uri: is no field: did you mean `url`?"),
        ("a.toml", "[[feed]]\nurl = 'ws://h/'", "1: feed: is no field: did you mean `feeds`?"),
        (
            "a.toml",
            "[[feeds]]\nurl = 'ws://h/'\n[output]\nfiel = 'CANARY'",
            "4: output.fiel: is no field: did you mean `file`?",
        ),
        ("a.toml", "[[feeds]]\nurl = 'ws://h/'\n[on_alert]", "3: on_alert: lacks `command`"),
        (
            "a.json",
            "{\"feeds\": [\n{\"url\": \"ws://h/\"},\n{\n\"uri\": \"ws://CANARY/\"}]}",
            "4: feeds[1].uri: is no field",
        ),
        ("a.toml", "url = 'ws://h/'\n[health]\nlisten = 'h:1'", "2: health: stands beside `feeds`"),
        (
            "a.toml",
            "url = 'ws://h/'\npreset = 'okx'",
            "2: preset: is an option of commands, not of files: `livefeed schema",
        ),
        ("a.toml", "url = 'ws://h/'\n[[feeds]]\nurl = 'ws://i/'", "1: url: stands beside `feeds`"),
        ("a.yaml", "url: ws://h/", " is YAML by its name: write TOML or JSON"),
        ("conf", "url: ws://h/", "1: no TOML: "),
        ("a.toml", "", "1: there are no feeds"),
        ("a.toml", "feeds = []", "1: feeds: is empty"),
        ("a.toml", "\nurl = 'http://h/'", "2: url: "),
        (
            "a.toml",
            "url = 'ws://h/'\nstale_afer = '5s'",
            "2: stale_afer: is no field: did you mean `stale_after`?",
        ),
        ("a.json", "{\"url\": \"ws://h/\",\n \"ping\": {\n  \"after\": 5}}", "3: ping.after: is an integer"),
        ("a.json", "{\"url\": \"ws://h/\",\n\"url\": \"ws://h/\"}", "2: \"url\" is there twice"),
        ("a.json", "{\"url\": ", "1: no JSON"),
        ("a.toml", "a = 1\nb", "2: no TOML"),
        ("a.toml", "[[feeds]]\nurl = 'ws://h/'\n[output]\nevery = '1ms'", "4: output.every: must be from 1s"),
        (
            "a.toml",
            "[[feeds]]\nurl = 'ws://h/'\n[output]\nmax_bytes = 1",
            "4: output.max_bytes: must be from 4096",
        ),
        (
            "a.toml",
            "[[feeds]]\nurl = 'ws://h/'\n[output]\nmax_bytes = 'CANARY'",
            "4: output.max_bytes: does not fit: expected a whole number",
        ),
        ("a.toml", "[[feeds]]\nurl = 'ws://h/'\n[output]\nfile = '/'", "4: output.file: names no file"),
        (
            "a.toml",
            "[[feeds]]\nurl = 'ws://h/'\n[health]\nlisten = ':9090'",
            "4: health.listen: write the host too: 127.0.0.1:9090",
        ),
        ("a.toml", "[[feeds]]\nurl = 'ws://h/'\n[on_alert]\ncommand = ' '", "4: on_alert.command: is empty"),
        (
            "a.toml",
            "[[feeds]]\nurl = 'ws://h/a'\n[[feeds]]\nurl = 'ws://h/b'",
            "3: feeds[1].name: is left out, and \"h\" in its place names feeds[0] too",
        ),
        (
            "a.toml",
            "[[feeds]]\nurl = 'ws://h/'\nheaders = {\n X-K = {'$env' = 'LIVEFEED_NO_SUCH_VARIABLE'}}",
            "4: feeds[0].headers[\"X-K\"]: the environment variable LIVEFEED_NO_SUCH_VARIABLE is not set",
        ),
    ] {
        let said = problems(name, text);
        assert!(said.len() == 1 && said[0].starts_with(expected), "{text:?}: {said:?}, not {expected:?}");
        assert!(!said[0].contains("CANARY"));
    }
}

#[test]
fn each_feed_is_checked() {
    let text = "[[feeds]]\nurl = 'ws://h/'\nstale_after = '0s'\n[[feeds]]\nurl = 'ws://i/'\n[[feeds.subscriptions]]\nid = ''\n\
                [output]\nmax_bytes = 0";
    let said = problems("several.toml", text);
    let fronts = ["3: feeds[0].stale_after:", "7: feeds[1].subscriptions[0].id:", "9: output.max_bytes:"];
    assert_eq!(said.len(), fronts.len(), "{said:?}");
    for (said, front) in said.iter().zip(fronts) {
        assert!(said.starts_with(front), "{said} {front}");
    }
}

/// What is wrong at one place hides no other, and what comes of it is not said.
#[test]
fn all_problems_are_said_by_line() {
    let text = "
        [output]
        keeep = 30
        max_bytes = '3k'
        every = '1 fortnight'
        [heatlh]
        lisen = '9090'
        [[feeds]]
        url = 'http://h/'
        stale_afer = '2'
        nam = 5
        headers = {X-Key = {'$env' = 'LIVEFEED_NO_SUCH_VARIABLE'}, 'a b' = 'CANARY'}
        [[feeds]]
        uri = 'ws://i/'
        ping.after = 5
        [[feeds.subscriptions]]
        name = 7
        data = {text = 'x'}
        [[feeds.subscriptions]]
        id = 'x'
        data = {pionter = '/a', equals = 1}
        ack_timeout = 'soon'
    ";
    let said = problems("all.toml", text);
    let fronts = [
        "3: output.keeep: is no field: did you mean `keep`?",
        "4: output.max_bytes: does not fit: expected a whole number",
        "5: output.every: does not fit",
        "6: heatlh: is no field: did you mean `health`?",
        "7: heatlh.lisen: is no field: did you mean `listen`?",
        "7: heatlh.lisen: lacks the host",
        "9: feeds[0].url: ",
        "10: feeds[0].stale_afer: is no field: did you mean `stale_after`?",
        "10: feeds[0].stale_afer: is ",
        "11: feeds[0].nam: is no field: did you mean `name`?",
        "11: feeds[0].nam: is an integer",
        "12: feeds[0].headers[\"X-Key\"]: the environment variable",
        "12: feeds[0].headers: ",
        "14: feeds[1].uri: is no field: did you mean `url`?",
        "15: feeds[1].ping.after: is an integer",
        "17: feeds[1].subscriptions[0].name: is no field: did you mean `id`?",
        "17: feeds[1].subscriptions[0].name: is an integer",
        "21: feeds[1].subscriptions[1].data.pionter: is no field: did you mean `pointer`?",
        "22: feeds[1].subscriptions[1].ack_timeout: ",
    ];
    assert_eq!(said.len(), fronts.len(), "{said:#?}");
    for front in fronts {
        assert!(said.iter().any(|said| said.starts_with(front)), "{front}: {said:#?}");
    }
    let line = |said: &String| said.split(':').next().unwrap().parse::<u32>().unwrap();
    assert!(said.windows(2).all(|pair| line(&pair[0]) <= line(&pair[1])), "{said:#?}");
    assert!(!said.concat().contains("CANARY"), "{said:#?}");
}

#[test]
fn standard_input_and_presets_are_checked_too() {
    let preset = run(&["schema", "--preset", "kraken-v2"]);
    assert_eq!(preset.stdout, include_bytes!("../../examples/feeds/kraken-v2.json"));
    let dir = Scratch::new();
    let file = std::fs::File::open(dir.file("a", "url = 'ws://h/'")).unwrap();
    let output = livefeed(&["check", "-"]).stdin(file).output().unwrap();
    let shown: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&shown["feeds"][0]["name"], &shown["output"]["keep"]), (&"h".into(), &Value::Null));
}

#[test]
fn what_is_right_is_shown_with_everything_filled_in() {
    let toml = "
        [health]
        listen = '127.0.0.1:0'
        [output]
        file = 'out/{feed}.ndjson'
        keep = 7
        [[feeds]]
        name = 'a'
        url = 'ws://h/ws'
        defaults = {subscribe = {op = 'sub', topic = '${name}'}, data = {text = '${name}'}, stale_after = '7s'}
        subscriptions = [{id = 'x'}, {id = 'y', stale_after = 'none'}]
        [[feeds]]
        url = 'ws://i:1/ws'
    ";
    let shown = effective("a.toml", toml);
    assert_eq!(shown["health"], json!({"listen": "127.0.0.1:0"}));
    let output = json!({"file": "out/{feed}.ndjson", "max_bytes": 100 << 20, "every": "1day", "keep": 7});
    assert_eq!(shown["output"], output);
    let limits: Vec<_> =
        (0..2).map(|at| shown["feeds"][0]["subscriptions"][at]["stale_after"].as_str().unwrap()).collect();
    assert_eq!(limits, ["7s", "none"]);
    assert_eq!(shown["feeds"][0]["defaults"], json!({}));
    assert_eq!(shown["feeds"][1]["stale_after"], "1m");
    assert_eq!(shown["feeds"][1]["reconnect"]["max"], "30s");
}

/// A configuration with a secret in each place where one may stand.
fn secrets() -> Value {
    let terms = json!({
        "vars": {"key": "CANARY"}, "subscribe": {"deep": ["CANARY ${key}"]}, "unsubscribe": "CANARY", "probe": "CANARY",
    });
    let mut subscription = terms.clone();
    subscription["id"] = "a".into();
    json!({
        "feeds": [{
            "url": "ws://me:CANARY@h/ws?key=CANARY",
            "endpoints": ["ws://me:CANARY@i/ws?key=CANARY"],
            "headers": {"X-Key": "CANARY"},
            "defaults": terms,
            "subscriptions": [subscription],
            "login": [{"send": {"token": "CANARY"}, "expect": {"text": "ok"}}],
            "keepalives": [{"every": "5s", "send": "CANARY"}],
            "rules": [{"when": {"text": "x"}, "is": "notice", "do": "reconnect", "reply": {"deep": ["CANARY"]}}],
        }],
        "on_alert": {"command": "curl https://hooks.example/CANARY"},
    })
}

#[test]
fn no_secret_is_shown() {
    let whole = secrets();
    let shown = effective("a.json", &whole.to_string()).to_string();
    assert!(!shown.contains("CANARY") && shown.contains("[redacted]"), "{shown}");
    let shown = effective("b.json", &whole["feeds"][0].to_string()).to_string();
    assert!(!shown.contains("CANARY") && shown.contains("[redacted]"), "{shown}");
}

/// Whatever is wrong with a secret, or around it.
#[test]
fn no_error_shows_a_secret() {
    let whole = secrets();
    let text = whole.to_string();
    let mut wrong = 0;
    // In place of each of them, and of what it stands in.
    let places = [
        "/url",
        "/endpoints",
        "/endpoints/0",
        "/headers",
        "/headers/X-Key",
        "/login/0/send",
        "/login/0",
        "/defaults/vars",
        "/keepalives/0/send",
        "/rules/0/reply",
        "/subscriptions/0",
        "/subscriptions/0/vars/key",
        "/subscriptions/0/subscribe",
    ];
    for place in places
        .iter()
        .map(|place| format!("/feeds/0{place}"))
        .chain(["/on_alert".into(), "/on_alert/command".into()])
    {
        for value in [
            json!("ws://a b:CANARY@/"),
            json!("${CANARY"),
            json!("CANARY\nX: y"),
            json!(["CANARY"]),
            json!([["CANARY"]]),
            json!({"x": "CANARY"}),
            json!({"$env": "NONE", "x": "CANARY"}),
        ] {
            let mut with = whole.clone();
            *with.pointer_mut(&place).unwrap() = value;
            let output = check("a.json", &with.to_string());
            wrong += usize::from(!output.status.success());
            let said = [output.stdout, output.stderr].concat();
            assert!(
                !String::from_utf8_lossy(&said).contains("CANARY"),
                "{place}: {}",
                String::from_utf8_lossy(&said)
            );
        }
    }
    assert!(wrong > 50, "{wrong}");
    // Cut off anywhere, as when a disk is full; TOML that is none.
    for end in (1..text.len()).step_by(7) {
        let output = check("a.json", &text[..end]);
        assert!(
            !output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("CANARY"),
            "{output:?}"
        );
    }
    for toml in [
        "url = 'ws://h/?key=CANARY",
        "headers = {X = CANARY}",
        "url = CANARY",
        "CANARY",
        "[headers]\nX = 'CANARY' 'CANARY'",
    ] {
        let output = check("a.toml", toml);
        assert!(
            !output.status.success() && !String::from_utf8_lossy(&output.stderr).contains("CANARY"),
            "{output:?}"
        );
    }
}

#[test]
fn what_it_is_made_of_decides_where_the_name_does_not() {
    let mark = |text| format!("\u{feff}{text}");
    let (json, toml) = (" {\"url\": \"ws://h/\"}", "url = 'ws://h/'\r\n");
    for text in [json, toml, &mark(json), &mark(toml)] {
        assert_eq!(effective("config", text)["feeds"][0]["url"], "ws://h/");
    }
}

#[test]
fn a_file_that_can_not_be_read_is_said() {
    let output = run(&["check", "/no/such/file.toml"]);
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("/no/such/file.toml: can't be read: No such file"), "{said}");
    let dir = Scratch::new();
    let file = dir.path().join("a.toml");
    std::fs::write(&file, b"url = 'ws://h/'\n# \xE4\n").unwrap();
    let said = String::from_utf8(run(&["check", file.to_str().unwrap()]).stderr).unwrap();
    assert!(said.contains("a.toml:2: is no UTF-8 text"), "{said}");
}

#[cfg(feature = "native-tls")]
#[test]
fn the_examples_are_right() {
    for entry in std::fs::read_dir("examples/feeds").unwrap() {
        let path = entry.unwrap().path();
        let output = run(&["check", "--quiet", path.to_str().unwrap()]);
        assert!(output.status.success() && output.stdout.is_empty(), "{output:?}");
    }
}

#[test]
fn the_file_in_the_readme_is_right() {
    let readme = include_str!("../../README.md");
    let (_, rest) = readme.split_once("```toml\n").unwrap();
    let (toml, _) = rest.split_once("```").unwrap();
    // Also with what is commented out, which has the defaults that are said.
    let dir = Scratch::new();
    let url = dir.file("url", "ws://127.0.0.1:1/\n");
    let toml = toml.replace("/run/secrets/feed-url", &url).replace("wss://", "ws://");
    let whole = toml.replace("\n# ", "\n");
    let mut shown = Vec::new();
    for text in [&toml, &whole] {
        let file = dir.file("feeds.toml", text);
        let output = livefeed(&["check", &file]).env("FEED_KEY", "CANARY").output().unwrap();
        assert!(output.status.success(), "{output:?}");
        shown.push(serde_json::from_slice::<Value>(&output.stdout).unwrap());
        assert!(!String::from_utf8(output.stdout).unwrap().contains("CANARY"));
    }
    let output = |shown: &Value, field: &str| shown["output"][field].clone();
    for field in ["file", "max_bytes", "every"] {
        assert_eq!(output(&shown[0], field), output(&shown[1], field), "{field}");
    }
    assert_eq!((output(&shown[0], "keep"), output(&shown[1], "keep")), (Value::Null, json!(30)));
}
