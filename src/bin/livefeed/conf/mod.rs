//! The configuration of `run`, `probe` and `check`: feeds, and what is done with them, from a TOML or JSON file.

mod document;
mod outside;

use crate::exit::Failure;
use crate::{address, files, spelling};
use document::{Node, without_place};
use livefeed::{Error, FeedConfig, Limit, Secret};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A larger file is refused.
const FILE_BYTES: u64 = 64 << 20;

/// Any number of feeds, and what is done with their events.
///
/// A file that has a `url` in place of `feeds` is one feed, and the rest is left at its defaults.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct RunConfig {
    /// At least one; their names differ.
    pub(crate) feeds: Vec<FeedConfig>,
    /// Where it is said how they are. Default: nowhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Health>,
    pub(crate) output: Output,
    /// Who is told of alerts. Default: nobody but the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) on_alert: Option<OnAlert>,
}

/// The HTTP endpoint that says how the feeds are. Section `health`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Health {
    /// `HOST:PORT`, such as `127.0.0.1:9090`.
    pub(crate) listen: String,
    /// Names by which it may be asked besides `localhost`, while it is bound to loopback. Default: `[]`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) allowed_hosts: Vec<String>,
}

/// Where the events go: one JSON object a line. Section `output`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Output {
    /// The file to append to; `{feed}` stands for the feed's name, so that each has its own. Its directory is made if
    /// there is none. Default: none, standard output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) file: Option<PathBuf>,
    /// A file that would become larger is put aside, and a new one begun. From 4 KiB to 1 TiB. Default: 100 MiB.
    pub(crate) max_bytes: u64,
    /// The same at each multiple of this, by UTC: `1h` is at each full hour. From 1 s to 365 days, or `none`.
    /// Default: `1d`.
    pub(crate) every: Limit,
    /// How many files that were put aside are kept; older ones are deleted. Default: none, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep: Option<usize>,
}

impl Default for Output {
    fn default() -> Self {
        Self {
            file: None,
            max_bytes: 100 << 20,
            every: Limit::After(Duration::from_secs(86_400)),
            keep: None,
        }
    }
}

/// The command that is told of alerts. Section `on_alert`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OnAlert {
    /// What the shell runs for each alert, with the event as JSON on standard input. It may hold the secret part of an
    /// address.
    pub(crate) command: Secret,
}

/// What is wrong with a configuration file: each problem with its line and the path of the field.
#[derive(Debug)]
pub(crate) struct Problems {
    file: PathBuf,
    all: Vec<Problem>,
}

#[derive(Debug)]
struct Problem {
    line: Option<usize>,
    path: String,
    text: String,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let several = self.all.len() > 1;
        if several {
            write!(f, "{}: {} problems", self.file.display(), self.all.len())?;
        }
        for Problem { line, path, text } in &self.all {
            if several {
                f.write_str("\n")?;
            }
            write!(f, "{}:", self.file.display())?;
            if let Some(line) = line {
                write!(f, "{line}:")?;
            }
            if !path.is_empty() {
                write!(f, " {path}:")?;
            }
            write!(f, " {text}")?;
        }
        Ok(())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self::Usage(problems.to_string())
    }
}

/// Reads a configuration and checks all of it, so that what is left to go wrong is outside of it.
///
/// A file named `.json` is JSON, one named `.toml` TOML, and any other is what it looks like.
pub(crate) fn read(path: &Path) -> Result<RunConfig, Problems> {
    let problems = |line, text: String| {
        let only = Problem { line, path: String::new(), text };
        Problems { file: path.to_owned(), all: vec![only] }
    };
    let text = contents(path).map_err(|(line, text)| problems(line, text))?;
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let is_json = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => true,
        Some("toml") => false,
        _ => text.trim_start().starts_with('{'),
    };
    let node = if is_json { Node::from_json(text) } else { Node::from_toml(text) };
    let node = node.map_err(|error| problems(error.line, error.problem))?;
    from_node(&node).map_err(|mut all| {
        for problem in &mut all {
            problem.line = Some(node.line_of(&problem.path));
        }
        Problems { file: path.to_owned(), all }
    })
}

/// What a file holds; else what is wrong with it, and the line, if there is one.
fn contents(path: &Path) -> Result<String, (Option<usize>, String)> {
    let cannot = |error: std::io::Error| (None, format!("can't be read: {error}"));
    let file = std::fs::File::open(path).map_err(cannot)?;
    let mut bytes = Vec::new();
    file.take(FILE_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err((None, format!("is larger than {} MiB, which no configuration is", FILE_BYTES >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        (Some(line), "is no UTF-8 text".to_owned())
    })
}

/// What the file holds beside the feeds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    feeds: Vec<Value>,
    #[serde(default)]
    health: Option<Health>,
    #[serde(default)]
    output: Output,
    #[serde(default)]
    on_alert: Option<OnAlert>,
}

fn from_node(node: &Node) -> Result<RunConfig, Vec<Problem>> {
    let mut value = node.value();
    if let Some(table) = value.as_object_mut()
        && table.get("$schema").is_some_and(Value::is_string)
    {
        table.remove("$schema"); // for editors
    }
    if value.get("url").is_some() && value.get("feeds").is_none() {
        let feed = feed("", value)?;
        return Ok(RunConfig { feeds: vec![feed], health: None, output: Output::default(), on_alert: None });
    }
    // serde would take the values of the fields in a list, too.
    let mut sections = ["health", "output", "on_alert"].into_iter();
    let list = sections.find(|name| value.get(name).is_some_and(Value::is_array));
    if let Some(path) = list.or(value.is_array().then_some("")) {
        let text = "is a list: expected an object {..}".to_owned();
        return Err(vec![Problem { line: None, path: path.to_owned(), text }]);
    }
    let form: Form = serde_path_to_error::deserialize(value).map_err(|error| {
        let path = match error.path().to_string() {
            path if path == "." => String::new(),
            path => path,
        };
        vec![Problem { line: None, path, text: shown(&error.inner().to_string()) }]
    })?;
    let mut problems = Vec::new();
    if form.feeds.is_empty() {
        problems.push(Problem {
            line: None,
            path: "feeds".to_owned(),
            text: "is empty: give at least one".to_owned(),
        });
    }
    let mut feeds = Vec::new();
    for (index, value) in form.feeds.into_iter().enumerate() {
        match feed(&format!("feeds[{index}]"), value) {
            Ok(feed) => feeds.push(feed),
            Err(found) => problems.extend(found),
        }
    }
    let config = RunConfig { feeds, health: form.health, output: form.output, on_alert: form.on_alert };
    // Names are compared by their place, which they have only if all feeds are right.
    if problems.is_empty() {
        check_names(&config.feeds, &mut problems);
    }
    config.check(&mut problems);
    if problems.is_empty() { Ok(config) } else { Err(problems) }
}

/// What serde says of our own sections, less the value it found.
fn shown(text: &str) -> String {
    let is_wrong = ["invalid type: ", "invalid value: "].iter().any(|front| text.starts_with(front));
    match text.rsplit_once(", expected ") {
        Some((_, expected)) if is_wrong => format!("does not fit: expected {expected}"),
        _ => match (text.strip_prefix("missing field "), text.strip_prefix("unknown field `")) {
            (Some("`feeds`"), _) => {
                "there are no feeds: give `feeds`, or a `url` for a single feed".to_owned()
            }
            (Some(field), _) => format!("lacks {field}"),
            (_, Some(rest)) => unknown(rest),
            _ => text.to_owned(),
        },
    }
}

/// What is said of a field that is not known, by the rest of what serde says of it.
fn unknown(rest: &str) -> String {
    let (name, rest) = rest.split_once('`').unwrap_or((rest, ""));
    let mut known: Vec<_> = rest.split('`').skip(1).step_by(2).collect();
    if known.contains(&"feeds") {
        known.push("url"); // of a file that is one feed
    }
    match spelling::nearest(name, known.iter().copied()) {
        Some(meant) => format!("is no field: did you mean `{meant}`?"),
        None => format!("is no field: there are `{}`", known.join("`, `")),
    }
}

/// Reads and checks one feed. `at` is its path in the file, empty if it is the whole of it.
fn feed(at: &str, mut value: Value) -> Result<FeedConfig, Vec<Problem>> {
    let problem = |path: &str, text: String| {
        let path = match (at, path) {
            ("", "(top level)") | (_, "") => at.to_owned(),
            ("", path) => path.to_owned(),
            (at, "(top level)") => at.to_owned(),
            (at, path) => format!("{at}.{path}"),
        };
        Problem { line: None, path, text }
    };
    let missing = outside::fetch(&mut value);
    if !missing.is_empty() {
        return Err(missing.into_iter().map(|(path, text)| problem(&path, text)).collect());
    }
    let config = FeedConfig::from_json(&value.to_string()).and_then(|config| {
        config.validate()?;
        Ok(config)
    });
    config.map_err(|error| {
        vec![match error {
            Error::Config { path, problem: text } => problem(&path, without_place(&text).to_owned()),
            other => problem("", other.to_string()),
        }]
    })
}

fn check_names(feeds: &[FeedConfig], problems: &mut Vec<Problem>) {
    let mut known: BTreeMap<String, usize> = BTreeMap::new();
    for (index, feed) in feeds.iter().enumerate() {
        let name = feed_name(feed);
        if let Some(first) = known.get(&name) {
            let text = match feed.name {
                Some(_) => format!("is the name of feeds[{first}] too: give each its own"),
                None => format!(
                    "is left out, and {name:?} in its place names feeds[{first}] too: give each its own"
                ),
            };
            problems.push(Problem { line: None, path: format!("feeds[{index}].name"), text });
        }
        known.entry(name).or_insert(index);
    }
}

/// The name of a feed in events: as configured, else its host.
pub(crate) fn feed_name(config: &FeedConfig) -> String {
    config.name.clone().unwrap_or_else(|| {
        let url = config.url.to_string(); // without userinfo
        let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
        rest.split(['/', '?', '#']).next().unwrap_or_default().to_owned()
    })
}

impl RunConfig {
    /// What is in force: subscriptions with what they take from `defaults`, and everything else that was left out.
    /// Secrets are redacted when it is serialized.
    pub(crate) fn effective(&self) -> Self {
        let mut config = self.clone();
        for feed in &mut config.feeds {
            feed.subscriptions = feed.subscriptions.iter().map(|one| feed.resolved(one)).collect();
            feed.defaults = livefeed::Terms::default();
        }
        config
    }

    fn check(&self, problems: &mut Vec<Problem>) {
        let mut wrong = |path: &str, text: &str| {
            problems.push(Problem { line: None, path: path.to_owned(), text: text.to_owned() });
        };
        match self.health.as_ref().map(|health| (address::read(&health.listen), &health.listen)) {
            Some((Err(problem), _)) => wrong("health.listen", &problem),
            Some((Ok(read), listen)) if read != *listen => {
                wrong("health.listen", &format!("lacks the host: write \"{read}\""));
            }
            _ => {}
        }
        self.output.check(&mut wrong);
        if let Some(path) = &self.output.file {
            let mut known: BTreeMap<PathBuf, String> = BTreeMap::new();
            for name in self.feeds.iter().map(feed_name) {
                let file = files::path_of(path, &name);
                // Where the path holds the name, it has to tell feeds apart.
                if file != *path
                    && let Some(other) = known.insert(file, name.clone())
                {
                    wrong(
                        "output.file",
                        &format!("is the same for the feeds {other:?} and {name:?}: give them other names"),
                    );
                }
            }
        }
        if self.on_alert.as_ref().is_some_and(|on_alert| on_alert.command.expose().trim().is_empty()) {
            wrong("on_alert.command", "is empty: give what the shell is to run");
        }
    }
}

impl Health {
    /// The one of the configuration, but at the address of the command line, if there is one.
    pub(crate) fn or(configured: Option<Self>, listen: Option<String>) -> Result<Option<Self>, Failure> {
        let Some(listen) = listen else { return Ok(configured) };
        let listen = address::read(&listen)
            .map_err(|problem| Failure::usage(format!("--health {listen}: {problem}")))?;
        let allowed_hosts = configured.map(|health| health.allowed_hosts).unwrap_or_default();
        Ok(Some(Self { listen, allowed_hosts }))
    }
}

impl Output {
    fn check(&self, wrong: &mut impl FnMut(&str, &str)) {
        if !(4096..=1 << 40).contains(&self.max_bytes) {
            wrong("output.max_bytes", "must be from 4096 (4 KiB) to 1099511627776 (1 TiB)");
        }
        let times = Duration::from_secs(1)..=Duration::from_secs(365 * 86_400);
        if self.every.duration().is_some_and(|every| !times.contains(&every)) {
            wrong("output.every", "must be from 1s to 365days, or \"none\"");
        }
        if let Some(file) = &self.file
            && file.file_name().is_none()
        {
            wrong("output.file", "names no file: give a path such as \"feeds.ndjson\"");
        }
        let text = self.file.as_ref().map(|file| file.to_string_lossy().replace("{feed}", ""));
        if text.is_some_and(|text| text.contains(['{', '}'])) {
            wrong("output.file", "holds a brace: {feed} is all that a name may hold of these");
        }
    }
}
