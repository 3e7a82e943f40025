//! The options that say which feed: the same for `tail`, `probe` and `record`.

use crate::exit::{Failure, say};
use crate::talk::Talk;
use crate::{conf, matching, presets, secrets, time};
use livefeed::{Adaptive, Decision, FeedBuilder, FeedConfig, Matcher, StaleAfter, Subscription, Template};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What several `--subscribe` can't do.
const TOGETHER: &str = "livefeed: several --subscribe: any data is data of them all, so that one that is silent while another \
                        is not goes unnoticed; a file for `run` or `probe`, with `data` for each subscription, tells them apart";

/// The subscription that is there for `--data` alone.
pub(crate) const DATA: &str = "data";

/// How to speak with a feed. The URL is apart, as not every command calls it that.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct FeedArgs {
    /// What to send on each new connection: JSON, or any other text. May be repeated; the limit then holds for all of them together
    #[arg(long, value_name = "JSON", help_heading = "Feed", conflicts_with = "preset")]
    subscribe: Vec<String>,
    /// Speak this protocol
    #[arg(long, value_name = "NAME", value_parser = clap::builder::PossibleValuesParser::new(presets::NAMES), help_heading = "Feed")]
    preset: Option<String>,
    /// What to get of a preset: NAME, NAME,VAR=VALUE or VAR=VALUE. May be repeated [default: what its file has]
    #[arg(long, value_name = "TOPIC", help_heading = "Feed", requires = "preset")]
    topic: Vec<String>,
    /// A key, secret or token that a preset needs. May be repeated
    #[arg(long, value_name = "NAME=VALUE", help_heading = "Feed", requires = "preset")]
    credential: Vec<String>,
    /// How long there may be no data: a duration, `adaptive` or `none`. It holds for several --subscribe together [default: 60s, or
    /// that of the preset]
    #[arg(long, value_name = "DUR", value_parser = stale_after, help_heading = "Feed")]
    stale_after: Option<StaleAfter>,
    /// Messages that are a sign of life but no data. May be repeated: alternatives
    #[arg(long, value_name = "MATCH", value_parser = matching::parse, help_heading = "Feed")]
    heartbeat: Vec<Matcher>,
    /// What data looks like: no other message is data. May be repeated: alternatives [default: all but heartbeats]
    #[arg(long, value_name = "MATCH", value_parser = matching::parse, help_heading = "Feed", conflicts_with = "preset")]
    data: Vec<Matcher>,
    /// The feed's name in events and logs [default: the host]
    #[arg(long, value_name = "NAME", help_heading = "Feed")]
    name: Option<String>,
    /// A header of the upgrade request, as 'Name: value'. May be repeated
    #[arg(long, value_name = "HEADER", help_heading = "Connection")]
    header: Vec<String>,
    /// A file with such headers, one a line
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    header_file: Vec<String>,
    /// A subprotocol to offer. May be repeated
    #[arg(long, value_name = "NAME", help_heading = "Connection")]
    subprotocol: Vec<String>,
    /// A PEM file of certificates to trust beside those of the system
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    ca_file: Option<PathBuf>,
    /// Take any certificate, also an attacker's: for tests
    #[arg(long, help_heading = "Connection")]
    danger_accept_invalid_certs: bool,
    /// Give up after so many reconnects in a row that brought no data; 0: at the first end [default: never]
    #[arg(long, value_name = "N", help_heading = "Connection")]
    max_reconnects: Option<u32>,
}

impl FeedArgs {
    /// The feeds they stand for: that of the URL or preset, or those of a configuration file. They still have to be
    /// validated, which opening does.
    pub(crate) fn builders(&self, target: Option<&str>) -> Result<Vec<FeedBuilder>, Failure> {
        let Some(path) = target.filter(|target| is_file(target)) else {
            return Ok(vec![self.of_url(target)?]);
        };
        if self.is_given() {
            return Err(Failure::usage(format!(
                "{path}: options of a feed go with a URL: put them into the file"
            )));
        }
        let config = conf::read(Path::new(path))?;
        Ok(config.feeds.into_iter().map(FeedBuilder::from).collect())
    }

    /// The same for those who take one feed only.
    pub(crate) fn builder(&self, target: Option<&str>) -> Result<FeedBuilder, Failure> {
        let mut builders = self.builders(target)?;
        let count = builders.len();
        let path = target.unwrap_or_default();
        builders.pop().filter(|_| count == 1).ok_or_else(|| {
            Failure::usage(format!(
                "{path}: has {count} feeds, of which one can be taken here: `run` and `probe` take several"
            ))
        })
    }

    fn of_url(&self, url: Option<&str>) -> Result<FeedBuilder, Failure> {
        let builder = FeedBuilder::from(self.config(url)?);
        Ok(match self.max_reconnects {
            None => builder,
            Some(0) => builder.retry_policy(|_, _| Some(Decision::Fatal)),
            Some(reconnects) => builder.max_attempts(reconnects.saturating_add(1)),
        })
    }

    /// Whether the subscriptions have names that come from here: `data`, or numbers.
    pub(crate) fn names_subscriptions(&self) -> bool {
        self.preset.is_none() && !(self.subscribe.is_empty() && self.data.is_empty())
    }

    /// Whether any of them was given.
    pub(crate) fn is_given(&self) -> bool {
        let lists = [&self.subscribe, &self.topic, &self.header, &self.header_file, &self.subprotocol];
        lists.iter().any(|list| !list.is_empty())
            || !(self.heartbeat.is_empty() && self.data.is_empty())
            || self.preset.is_some()
            || self.stale_after.is_some()
            || self.name.is_some()
            || self.ca_file.is_some()
            || self.danger_accept_invalid_certs
            || self.max_reconnects.is_some()
    }

    /// Says, unless that is not wanted, what several `--subscribe` can't do.
    pub(crate) fn warn(&self, talk: Talk) {
        if self.subscribe.len() > 1 && !talk.is_quiet() {
            say(TOGETHER);
        }
    }

    fn config(&self, url: Option<&str>) -> Result<FeedConfig, Failure> {
        let shown = url.filter(|url| !url.starts_with('@'));
        let url = url.map(|url| secrets::value("URL", url)).transpose()?;
        let url = url.as_ref().map(livefeed::Secret::expose);
        if let Some(url) = url
            && !url.contains("://")
        {
            return Err(Failure::usage(without_scheme(shown)));
        }
        let mut config = match (&self.preset, url) {
            (Some(preset), url) => presets::config(preset, url, &self.topic, &self.credentials()?)?,
            (None, Some(url)) => FeedConfig::new(url),
            (None, None) => {
                return Err(Failure::usage(
                    "the URL is missing: say where to connect to, such as wss://feed.example/ws, or take a --preset",
                ));
            }
        };
        for text in &self.subscribe {
            let id = (config.subscriptions.len() + 1).to_string();
            let mut subscription = Subscription::new(id);
            subscription.terms.subscribe = Some(template(text)?);
            config.subscriptions.push(subscription);
        }
        if let Some(data) = matching::any(&self.data) {
            if config.subscriptions.is_empty() {
                config.subscriptions.push(Subscription::new(DATA));
            }
            config.defaults.data = Some(data);
        }
        config.heartbeats.extend(self.heartbeat.iter().cloned());
        if let Some(limit) = self.stale_after {
            config.stale_after = limit;
            config.defaults.stale_after = None;
            config.subscriptions.iter_mut().for_each(|subscription| subscription.terms.stale_after = None);
        }
        if config.subscriptions.len() > 1 && config.defaults.data.is_none() && self.preset.is_none() {
            // Any data is data of them all: only the limit of the connection says anything.
            config.defaults.stale_after = Some(StaleAfter::None);
        }
        config.name = self.name.clone().or(config.name);
        for path in &self.header_file {
            config.headers.extend(secrets::headers(path)?);
        }
        for line in &self.header {
            config.headers.extend([secrets::header("--header", line)?]);
        }
        config.subprotocols.extend(self.subprotocol.iter().cloned());
        config.tls.ca_file = self.ca_file.clone().or(config.tls.ca_file);
        config.tls.danger_accept_invalid_certs |= self.danger_accept_invalid_certs;
        Ok(config)
    }

    fn credentials(&self) -> Result<BTreeMap<String, livefeed::Secret>, Failure> {
        let names = presets::credential_names();
        let read = |text: &String| {
            let (name, value) = text.split_once('=').ok_or_else(|| {
                Failure::usage(format!("--credential: write NAME=VALUE, NAME being one of {names}"))
            })?;
            if !names.split(", ").any(|known| known == name) {
                return Err(Failure::usage(format!("--credential {name}: it is one of {names}")));
            }
            Ok((name.to_owned(), secrets::value(&format!("--credential {name}"), value)?))
        };
        self.credential.iter().map(read).collect()
    }
}

/// Whether it is a configuration file and not a URL.
fn is_file(target: &str) -> bool {
    let path = Path::new(target);
    let is_named_so = path.extension().is_some_and(|end| end == "toml" || end == "json");
    !target.contains("://") && !target.starts_with('@') && (is_named_so || path.is_file())
}

/// What is said of a URL without a scheme: what to write, where it is known and can't hold a secret.
fn without_scheme(shown: Option<&str>) -> String {
    let place = shown.filter(|url| !url.contains('@')).and_then(|url| url.split(['/', '?', '#']).next());
    match place {
        Some(host) if looks_like_host(host) => {
            format!(
                "the URL has no scheme; use ws:// or wss://: write ws://{host}.., or wss://{host}.. for TLS"
            )
        }
        _ => "the URL has no scheme; use ws:// or wss://".to_owned(),
    }
}

/// Whether it is no other word, such as a secret that is meant for an option before it.
fn looks_like_host(place: &str) -> bool {
    let (name, port) = place.rsplit_once(':').unwrap_or((place, ""));
    let is_name =
        |name: &str| name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b".-".contains(&b));
    let has_port = port.parse::<u16>().is_ok();
    !name.is_empty()
        && is_name(name)
        && (has_port || (port.is_empty() && (name == "localhost" || name.contains('.'))))
}

/// What `--subscribe` sends: the text as it is, or, with placeholders, filled in as JSON.
fn template(text: &str) -> Result<Template, Failure> {
    let place = text.strip_prefix('@').filter(|place| !place.starts_with('@'));
    let text = secrets::value("--subscribe", text)?;
    let looks_like_json = text.expose().trim_start().starts_with(['{', '[']);
    match serde_json::from_str::<serde_json::Value>(text.expose()) {
        Ok(value) if looks_like_json && text.expose().contains("${") => Ok(Template::json(value)),
        Err(error) if looks_like_json => {
            let column = error.column();
            Err(Failure::usage(match place {
                Some(place) => {
                    format!("--subscribe @{place}: is no JSON from line {}, column {column} on", error.line())
                }
                None => format!(
                    "--subscribe: is no JSON from column {column} on: put it in single quotes, as in --subscribe '{{\"op\":\"subscribe\"}}'"
                ),
            }))
        }
        _ => Ok(Template::text(text)),
    }
}

/// Reads a limit on the age of data.
fn stale_after(text: &str) -> Result<StaleAfter, String> {
    match text {
        "none" => Ok(StaleAfter::None),
        "adaptive" => Ok(StaleAfter::Adaptive(Adaptive::new())),
        text => time::duration(text)
            .map(StaleAfter::After)
            .map_err(|what| format!("{what}, or adaptive, or none")),
    }
}
