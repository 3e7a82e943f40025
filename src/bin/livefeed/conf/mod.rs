//! The configuration of `run`, `probe` and `check`: feeds, and what is done with them, from a TOML or JSON file.

mod document;
mod fields;
mod outside;
mod reading;

use crate::exit::Failure;
use crate::{address, files};
use document::Node;
use livefeed::{FeedConfig, Limit, Secret};
use serde::{Deserialize, Serialize};
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
    pub(crate) health: Option<Health>,
    pub(crate) output: Output,
    /// Who is told of alerts. Default: nobody but the log.
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
    pub(crate) file: Option<PathBuf>,
    /// A file that would become larger is put aside, and a new one begun. From 4 KiB to 1 TiB. Default: 100 MiB.
    pub(crate) max_bytes: u64,
    /// The same at each multiple of this, by UTC: `1h` is at each full hour. From 1 s to 365 days, or `none`.
    /// Default: `1d`.
    pub(crate) every: Limit,
    /// How many files that were put aside are kept; older ones are deleted. Default: none, all of them.
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
/// `-` is standard input. A file named `.json` is JSON, one named `.toml` TOML, and any other is what it looks like.
pub(crate) fn read(path: &Path) -> Result<RunConfig, Problems> {
    let file = if path.as_os_str() == "-" { Path::new("standard input") } else { path };
    let problems = |line, text: String| {
        let only = Problem { line, path: String::new(), text };
        Problems { file: file.to_owned(), all: vec![only] }
    };
    if matches!(path.extension().and_then(|extension| extension.to_str()), Some("yaml" | "yml")) {
        return Err(problems(None, "is YAML by its name: write TOML or JSON".to_owned()));
    }
    let text = contents(path).map_err(|(line, text)| problems(line, text))?;
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let is_json = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => true,
        Some("toml") => false,
        _ => text.trim_start().starts_with('{'),
    };
    let node = if is_json { Node::from_json(text) } else { Node::from_toml(text) };
    let is_named = path.extension().is_some_and(|extension| extension == "json" || extension == "toml");
    let node = node.map_err(|error| {
        let more = if is_named { "" } else { "; a configuration is TOML or JSON" };
        problems(error.line, error.problem + more)
    })?;
    reading::config(node.value()).map_err(|mut all| {
        for problem in &mut all {
            problem.line = Some(node.line_of(&problem.path));
        }
        all.sort_by_key(|problem| problem.line);
        Problems { file: file.to_owned(), all }
    })
}

/// What a file holds; else what is wrong with it, and the line, if there is one.
fn contents(path: &Path) -> Result<String, (Option<usize>, String)> {
    let cannot = |error: std::io::Error| (None, format!("can't be read: {error}"));
    let mut bytes = Vec::new();
    let read = if path.as_os_str() == "-" {
        std::io::stdin().lock().take(FILE_BYTES + 1).read_to_end(&mut bytes)
    } else {
        std::fs::File::open(path).and_then(|file| file.take(FILE_BYTES + 1).read_to_end(&mut bytes))
    };
    read.map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES {
        return Err((None, format!("is larger than {} MiB, which no configuration is", FILE_BYTES >> 20)));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = error.as_bytes().get(..error.utf8_error().valid_up_to()).unwrap_or_default();
        let line = good.iter().filter(|byte| **byte == b'\n').count() + 1;
        (Some(line), "is no UTF-8 text".to_owned())
    })
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
            feed.name = Some(feed_name(feed));
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
