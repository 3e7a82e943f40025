//! A browser without a window, driven over the DevTools protocol.

use serde_json::{Value, json};
use std::io::{BufRead as _, BufReader};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tungstenite::{Message, WebSocket};

/// No wait is longer; a failure says what the page shows.
pub(crate) const CEILING: Duration = Duration::from_secs(30);

/// Says where the browser is.
const PLACE: &str = "LIVEFEED_CHROMIUM";

/// If it is set, a missing browser is a failure.
const REQUIRED: &str = "LIVEFEED_BROWSER_REQUIRED";

const USUAL: [&str; 6] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome-stable",
    "/usr/bin/google-chrome",
    "/usr/bin/microsoft-edge",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
];

pub(crate) struct Browser {
    child: Child,
    profile: PathBuf,
    socket: WebSocket<TcpStream>,
    session: String,
    last_id: u64,
    /// What the page complained about.
    complaints: Vec<String>,
}

/// Where this test leaves what it makes.
pub(crate) fn out() -> PathBuf {
    let out = Path::new(env!("CARGO_TARGET_TMPDIR")).join("page");
    std::fs::create_dir_all(&out).unwrap();
    out
}

impl Browser {
    /// Starts a browser with an empty page. `None`, and a line that says so: there is none on this machine.
    pub(crate) fn start() -> Option<Self> {
        let named = std::env::var_os(PLACE).map(PathBuf::from);
        let usual = || USUAL.iter().map(PathBuf::from).find(|path| path.exists());
        let Some(program) = named.or_else(usual) else {
            assert!(std::env::var_os(REQUIRED).is_none(), "there is no chromium; set {PLACE}");
            eprintln!("skipped: there is no chromium on this machine; {PLACE} may say where it is");
            return None;
        };
        let id = std::process::id();
        let thread = std::thread::current().name().unwrap_or_default().replace("::", "-");
        let profile = out().join(format!("profile-{id}-{thread}"));
        let mut child = Command::new(&program)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
            .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
            .args(["--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, receiver) = std::sync::mpsc::channel();
        // Reads on, so that the browser never waits for room; ends with it.
        std::thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let mut said = Vec::new();
        let url = loop {
            let line = receiver.recv_timeout(CEILING).unwrap_or_else(|_| panic!("no DevTools: {said:#?}"));
            if let Some(url) = line.strip_prefix("DevTools listening on ") {
                break url.trim().to_owned();
            }
            said.push(line);
        };
        let authority = url.strip_prefix("ws://").and_then(|rest| rest.split('/').next()).unwrap();
        let stream = TcpStream::connect(authority).unwrap();
        stream.set_read_timeout(Some(CEILING)).unwrap();
        let (socket, _) = tungstenite::client(url.as_str(), stream).unwrap();
        let mut browser =
            Self { child, profile, socket, session: String::new(), last_id: 0, complaints: Vec::new() };
        let target = browser.call("Target.createTarget", json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        let attached = browser.call("Target.attachToTarget", attach);
        browser.session = attached["sessionId"].as_str().unwrap().to_owned();
        for domain in ["Page", "Runtime", "Log"] {
            browser.call(&format!("{domain}.enable"), json!({}));
        }
        let watch = "window.violations = []; addEventListener('securitypolicyviolation', \
                     (event) => violations.push(`${event.violatedDirective} ${event.blockedURI}`));";
        browser.call("Page.addScriptToEvaluateOnNewDocument", json!({"source": watch}));
        Some(browser)
    }

    /// Calls a method of the protocol.
    pub(crate) fn call(&mut self, method: &str, params: Value) -> Value {
        self.last_id += 1;
        let mut request = json!({"id": self.last_id, "method": method, "params": params});
        if !self.session.is_empty() {
            request["sessionId"] = self.session.as_str().into();
        }
        self.socket.send(Message::text(request.to_string())).unwrap();
        loop {
            let message = self.socket.read().unwrap_or_else(|error| panic!("{method}: {error}"));
            let Message::Text(text) = message else { continue };
            let mut answer: Value = serde_json::from_str(&text).unwrap();
            if answer["id"] == self.last_id {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
            self.note(&answer);
        }
    }

    fn note(&mut self, event: &Value) {
        let params = &event["params"];
        let complaint = match event["method"].as_str() {
            Some("Runtime.exceptionThrown") => params["exceptionDetails"].to_string(),
            Some("Log.entryAdded") if params["entry"]["level"] == "error" => params["entry"].to_string(),
            Some("Runtime.consoleAPICalled") => params["args"].to_string(),
            _ => return,
        };
        self.complaints.push(complaint);
    }

    /// What scripts, the console and the security policy complained about since this was asked last.
    pub(crate) fn complaints(&mut self) -> Vec<String> {
        let mut complaints = std::mem::take(&mut self.complaints);
        if let Value::Array(violations) = self.eval("window.violations") {
            complaints.extend(violations.iter().map(ToString::to_string));
        }
        complaints
    }

    pub(crate) fn open(&mut self, url: &str) {
        self.call("Page.navigate", json!({"url": url}));
    }

    /// The value of an expression in the page, promises awaited.
    pub(crate) fn eval(&mut self, expression: &str) -> Value {
        let params = json!({"expression": expression, "awaitPromise": true, "returnByValue": true});
        let mut result = self.call("Runtime.evaluate", params);
        assert!(result["exceptionDetails"].is_null(), "{expression}: {}", result["exceptionDetails"]);
        result["result"]["value"].take()
    }

    pub(crate) fn text(&mut self, selector: &str) -> String {
        let value = self.eval(&format!("document.querySelector({})?.innerText ?? ''", json!(selector)));
        value.as_str().unwrap().to_owned()
    }

    /// Waits until an expression is true in the page, which looks whenever it changes.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, expression: &str) {
        let deadline = Instant::now() + CEILING;
        let wait = format!(
            "new Promise((resolve) => {{
               const holds = () => {{ try {{ return Boolean({expression}); }} catch {{ return false; }} }};
               const done = (held) => {{ changes.disconnect(); clearTimeout(end); resolve(held); }};
               const changes = new MutationObserver(() => holds() && done(true));
               const everything = {{ subtree: true, childList: true, attributes: true, characterData: true }};
               changes.observe(document, everything);
               const end = setTimeout(() => done(holds()), 1000);
               if (holds()) done(true);
             }})"
        );
        while self.eval(&wait) != true {
            let shown = |browser: &mut Self| browser.eval("document.title + '\\n' + document.body.innerText");
            assert!(Instant::now() < deadline, "never true: {expression}\nshown: {}", shown(self));
        }
    }

    /// The size of the window, in CSS pixels, and the colours the user prefers.
    pub(crate) fn look(&mut self, width: u32, height: u32, scheme: &str) {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.call("Emulation.setDeviceMetricsOverride", metrics);
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}));
    }

    /// A picture of the whole page, as `target/tmp/page/NAME.png`.
    pub(crate) fn picture(&mut self, name: &str) {
        let params = json!({"format": "png", "captureBeyondViewport": true});
        let picture = self.call("Page.captureScreenshot", params);
        let png = data_encoding::BASE64.decode(picture["data"].as_str().unwrap().as_bytes()).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        std::fs::write(out().join(name).with_extension("png"), png).unwrap();
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Its own processes end with it only if it ends by itself; a browser that does not is killed.
        self.session.clear();
        let close = json!({"id": 0, "method": "Browser.close"}).to_string();
        if self.socket.send(Message::text(close)).is_ok() {
            while self.socket.read().is_ok() {}
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}
