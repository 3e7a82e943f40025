//! Checks a configuration, once and for all. The first problem found is the error, with the field's path.

mod alerts;
mod hours;
mod names;
mod rules;
mod subscriptions;
mod talk;

pub(super) use subscriptions::check_subscription;

use self::names::Names;
use super::{FeedConfig, FeedUrl, Hooks, Limit, Limits, Queue, Reconnect, StaleAfter, Tls, pem};
use crate::dialect::placeholder::Vars;
use crate::dialect::{FrameVars, Matcher, Place, SequenceRule, url};
use crate::error::Error;
use crate::secret::Secret;
use crate::transport::Endpoint;
use std::collections::{BTreeMap, HashSet};
use std::io::Read;
use std::path::Path;
use std::time::Duration;

const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);
const CA_FILE_BYTES: u64 = 4 << 20;

type Checked = Result<(), Error>;

/// Checks all of it. With a provider of endpoints the URL may be missing.
pub(super) fn validate(config: &FeedConfig, hooks: &Hooks) -> Checked {
    let has_provider = hooks.provider.is_some();
    let names = Names::new(config, hooks.dialect.is_some());
    if !(has_provider && config.url.is_empty()) {
        check_url("url", config, &config.url)?;
    }
    check_endpoints(config, has_provider)?;
    check_tls_is_used(config, has_provider)?;
    if let Some(name) = &config.name {
        check_name("name", name)?;
    }
    check_headers(&config.headers)?;
    check_plain_headers(&config.headers)?;
    check_subprotocols(&config.subprotocols)?;
    stale_after("stale_after", config.stale_after)?;
    hours::check_hours(config)?;
    hours::check_by_hours("by_hours", config, &config.by_hours)?;
    for (index, codec) in config.codecs.iter().enumerate() {
        codec.check().map_err(|problem| Error::config(format!("codecs[{index}]"), problem))?;
    }
    rules::check_rules(config, &names)?;
    rules::check_login(config, &names)?;
    check_resuming(config, &names)?;
    if hooks.dialect.is_some() {
        rules::check_beside_dialect(config)?;
    }
    subscriptions::check_subscriptions(config, &names, hooks.dialect.is_some())?;
    if let Some(rule) = &config.sequence {
        sequence("sequence", rule)?;
    }
    talk::check_keepalives(&config.keepalives, &names)?;
    talk::check_pacing(config)?;
    talk::check_ends(&config.ends)?;
    if config.quarantine_after == Some(0) {
        return refuse("quarantine_after", "is 0: must be at least 1, or none for never");
    }
    duration("connect.timeout", config.connect.timeout)?;
    duration("connect.stagger", config.connect.stagger)?;
    if config.connect.stagger >= config.connect.timeout {
        return refuse("connect.stagger", "must be less than connect.timeout, or no second address is tried");
    }
    check_tls(&config.tls)?;
    limit("ping.after", config.ping.after)?;
    duration("ping.timeout", config.ping.timeout)?;
    check_reconnect(&config.reconnect)?;
    alerts::check_alerts(config)?;
    check_limits(&config.limits)?;
    talk::check_batch(config)?;
    check_queue(&config.queue, &config.limits)?;
    duration("close_timeout", config.close_timeout)
}

fn refuse<T>(path: impl Into<String>, problem: impl Into<String>) -> Result<T, Error> {
    Err(Error::config(path, problem))
}

fn duration(path: &str, value: Duration) -> Checked {
    if value < SHORTEST {
        return refuse(path, "is less than 1ms: must be from 1ms to 365days");
    }
    if value > LONGEST {
        return refuse(path, "is more than 365days: must be from 1ms to 365days");
    }
    Ok(())
}

fn limit(path: &str, value: Limit) -> Checked {
    match value {
        Limit::After(value) if !(SHORTEST..=LONGEST).contains(&value) => {
            refuse(path, "must be from 1ms to 365days, or \"none\"")
        }
        Limit::After(_) | Limit::None => Ok(()),
    }
}

fn stale_after(path: &str, value: StaleAfter) -> Checked {
    const FACTORS: std::ops::RangeInclusive<f64> = 1.0..=100.0;
    let StaleAfter::Adaptive(adaptive) = value else { return limit(path, value.fixed()) };
    let path = format!("{path}.adaptive");
    if !FACTORS.contains(&adaptive.factor) {
        return refuse(format!("{path}.factor"), "must be from 1 to 100");
    }
    duration(&format!("{path}.floor"), adaptive.floor)?;
    duration(&format!("{path}.ceiling"), adaptive.ceiling)?;
    duration(&format!("{path}.warm_up"), adaptive.warm_up)?;
    if adaptive.floor > adaptive.ceiling {
        return refuse(format!("{path}.floor"), "must not be more than the ceiling");
    }
    Ok(())
}

fn range(path: &str, value: usize, min: usize, max: usize) -> Checked {
    if (min..=max).contains(&value) {
        return Ok(());
    }
    refuse(path, format!("is {value}: must be from {min} to {max}"))
}

fn check_name(path: &str, name: &str) -> Checked {
    if name.is_empty() {
        return refuse(path, "is empty: give a name");
    }
    if name.chars().any(char::is_control) {
        return refuse(path, "contains a control character: remove it");
    }
    Ok(())
}

fn matcher(path: &str, matcher: &Matcher) -> Checked {
    matcher.check().map_err(|(field, problem)| Error::config(format!("{path}.{field}"), problem))
}

/// One whose placeholders nobody fills in.
fn plain_matcher(path: &str, value: &Matcher) -> Checked {
    matcher(path, value)?;
    if value.is_plain() {
        return Ok(());
    }
    refuse(path, "has a placeholder, which nothing fills in here: write what the message has")
}

fn sequence(path: &str, rule: &SequenceRule) -> Checked {
    rule.check().map_err(|(field, problem)| Error::config(format!("{path}.{field}"), problem))?;
    rule.reset.as_ref().map_or(Ok(()), |reset| plain_matcher(&format!("{path}.reset"), reset))
}

fn check_url(path: &str, config: &FeedConfig, url: &FeedUrl) -> Checked {
    let refused = |problem| Error::config(path, problem);
    let text = url.expose();
    if url::is_plain(text) {
        Endpoint::parse(text).map_err(refused)?;
    } else {
        let known = |name: &str| {
            (name == "cursor" && config.cursor.is_some()) || config.keep.iter().any(|it| it == name)
        };
        url::check(text, &known).map_err(refused)?;
        // As it is at first, and with something for all that may come to be known.
        let first = FrameVars::new(1, 1, std::time::SystemTime::UNIX_EPOCH);
        let one = |_: &str| Some(serde_json::Value::from(1));
        let vars: [&dyn Vars; 2] = [&first, &one];
        for vars in vars {
            let filled = url::fill(text, vars).map_err(|missing| refused(missing.to_string()))?;
            Endpoint::parse(&filled).map_err(refused)?;
        }
    }
    if url.is_secure() && cfg!(not(feature = "native-tls")) {
        return refuse(
            path,
            "asks for TLS, which this build of livefeed can't do: enable its feature `native-tls`, or use ws://",
        );
    }
    Ok(())
}

/// Checks what goes from one connection to the next.
fn check_resuming(config: &FeedConfig, names: &Names<'_>) -> Checked {
    if let Some(cursor) = &config.cursor {
        Place::parse(cursor).map_err(|problem| Error::config("cursor", problem))?;
    }
    for (index, name) in config.keep.iter().enumerate() {
        let path = || format!("keep[{index}]");
        if !names.is_said(name) {
            let problem = format!(
                "is {name:?}, which no rule, no login step and no keepalive captures or binds: name what they do"
            );
            return refuse(path(), problem);
        }
        if config.keep[..index].contains(name) {
            return refuse(path(), format!("is {name:?}, which is there already"));
        }
    }
    Ok(())
}

fn check_endpoints(config: &FeedConfig, has_provider: bool) -> Checked {
    if has_provider && !config.endpoints.is_empty() {
        return refuse(
            "endpoints",
            "has no meaning beside a provider, which is asked for each attempt: leave it out",
        );
    }
    for (index, url) in config.endpoints.iter().enumerate() {
        let path = format!("endpoints[{index}]");
        check_url(&path, config, url)?;
        if *url == config.url || config.endpoints[..index].contains(url) {
            return refuse(path, "is there twice: name each endpoint once");
        }
    }
    Ok(())
}

/// Settings for TLS with nothing but unencrypted URLs are a mistake.
fn check_tls_is_used(config: &FeedConfig, has_provider: bool) -> Checked {
    if has_provider || config.url.is_secure() || config.endpoints.iter().any(FeedUrl::is_secure) {
        return Ok(());
    }
    let default = Tls::default();
    let tls = &config.tls;
    let field = [
        ("ca_file", tls.ca_file != default.ca_file),
        ("extra_roots_pem", tls.extra_roots_pem != default.extra_roots_pem),
        ("server_name", tls.server_name != default.server_name),
        ("min_version", tls.min_version != default.min_version),
        ("danger_accept_invalid_certs", tls.danger_accept_invalid_certs),
        ("danger_accept_invalid_hostnames", tls.danger_accept_invalid_hostnames),
    ]
    .into_iter()
    .find_map(|(field, given)| given.then_some(field));
    match field {
        Some(field) => refuse(
            format!("tls.{field}"),
            "has no meaning for a ws:// URL, which is not encrypted: use wss://, or leave it out",
        ),
        None => Ok(()),
    }
}

/// Checks headers for the upgrade request. Used for those of a provider, too.
pub(super) fn check_headers(headers: &BTreeMap<String, Secret>) -> Checked {
    let mut seen = HashSet::new();
    for (name, value) in headers {
        let path = || format!("headers[{name:?}]");
        if !is_token(name) {
            // Not shown: a whole header line in place of a name is a common slip, with the secret in it.
            let problem = "one has a name that no header may have: use letters, digits and - (RFC 9110 section 5.6.2), and \
                           give the value apart";
            return refuse("headers", problem);
        }
        let lower = name.to_ascii_lowercase();
        if let Some(hint) = owned_header(&lower) {
            return refuse(path(), hint);
        }
        if value.expose().bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7F) {
            return refuse(path(), "has a control character in its value, perhaps a line end: remove it");
        }
        if !value.expose().is_ascii() {
            return refuse(path(), "has a value with characters outside ASCII: encode them");
        }
        if !seen.insert(lower) {
            return refuse(path(), "is there twice, in other case: header names ignore case");
        }
    }
    Ok(())
}

/// Those of the configuration are the same at each attempt.
fn check_plain_headers(headers: &BTreeMap<String, Secret>) -> Checked {
    let filled = headers.iter().find(|(_, value)| value.expose().contains("${"));
    filled.map_or(Ok(()), |(name, _)| {
        let problem = "has a placeholder, which nothing fills in here: headers that are made for each attempt come from a provider";
        refuse(format!("headers[{name:?}]"), problem)
    })
}

/// What to do in place of setting a header that the handshake makes (RFC 6455 section 4.1).
fn owned_header(lower: &str) -> Option<&'static str> {
    match lower {
        "sec-websocket-protocol" => Some("is made by the handshake: use `subprotocols`"),
        "sec-websocket-extensions" => {
            Some("is made by the handshake: leave it out, no extension is supported")
        }
        "host" => Some("is made by the handshake from the URL: leave it out"),
        "upgrade" | "connection" => Some("is made by the handshake: leave it out"),
        "content-length" | "transfer-encoding" => Some("does not fit a request without a body: leave it out"),
        _ if lower.starts_with("sec-websocket-") => Some("is made by the handshake: leave it out"),
        _ => None,
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

/// Checks offered subprotocols. Used for those of a provider, too.
pub(super) fn check_subprotocols(subprotocols: &[String]) -> Checked {
    for (index, subprotocol) in subprotocols.iter().enumerate() {
        let path = || format!("subprotocols[{index}]");
        if !is_token(subprotocol) {
            return refuse(
                path(),
                "is no token: use letters, digits, and !#$%&'*+-.^_`|~ (RFC 6455 section 4.1)",
            );
        }
        if subprotocols[..index].contains(subprotocol) {
            return refuse(path(), "is there twice: RFC 6455 section 4.1 wants each once");
        }
    }
    Ok(())
}

fn check_tls(tls: &Tls) -> Checked {
    tls.roots()?;
    match &tls.server_name {
        Some(name)
            if name.is_empty() || name.bytes().any(|b| b <= b' ' || b == 0x7F || b"/:@?#".contains(&b)) =>
        {
            refuse("tls.server_name", "is no host name: give the name alone, such as \"feed.example\"")
        }
        _ => Ok(()),
    }
}

impl Tls {
    /// The certificates to trust beside those of the operating system, as DER. Reads `ca_file`.
    pub(crate) fn roots(&self) -> Result<Vec<Vec<u8>>, Error> {
        let mut roots = Vec::new();
        if let Some(file) = &self.ca_file {
            let text = read_bounded(file).map_err(|problem| Error::config("tls.ca_file", problem))?;
            roots.extend(pem::certificates(&text).map_err(|problem| Error::config("tls.ca_file", problem))?);
        }
        for (index, text) in self.extra_roots_pem.iter().enumerate() {
            let certificates = pem::certificates(text.as_bytes())
                .map_err(|problem| Error::config(format!("tls.extra_roots_pem[{index}]"), problem))?;
            roots.extend(certificates);
        }
        Ok(roots)
    }
}

fn read_bounded(path: &Path) -> Result<Vec<u8>, String> {
    let explain = |error: std::io::Error| format!("can't read {}: {error}", path.display());
    // Opening a FIFO would block, and a device has no end.
    if !std::fs::metadata(path).map_err(explain)?.is_file() {
        return Err(format!("{} is not a file", path.display()));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(explain)?;
    file.take(CA_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(explain)?;
    if bytes.len() as u64 > CA_FILE_BYTES {
        return Err(format!("{} is larger than 4 MiB: no file of certificates", path.display()));
    }
    Ok(bytes)
}

fn check_reconnect(reconnect: &Reconnect) -> Checked {
    for (path, value) in [
        ("reconnect.first", reconnect.first),
        ("reconnect.floor", reconnect.floor),
        ("reconnect.max", reconnect.max),
        ("reconnect.stable_after", reconnect.stable_after),
    ] {
        duration(path, value)?;
    }
    if reconnect.floor > reconnect.max {
        return refuse("reconnect.floor", "must not be more than reconnect.max");
    }
    if reconnect.first > reconnect.max {
        return refuse("reconnect.first", "must not be more than reconnect.max");
    }
    if reconnect.floor > reconnect.first {
        return refuse("reconnect.floor", "must not be more than reconnect.first");
    }
    if reconnect.max_attempts == Some(0) {
        return refuse("reconnect.max_attempts", "is 0: must be at least 1, or left out for no limit");
    }
    if !matches!(reconnect.close_code, 1000 | 1001 | 3000..=4999) {
        let problem = format!("is {}: must be 1000, 1001, or from 3000 to 4999", reconnect.close_code);
        return refuse("reconnect.close_code", problem);
    }
    limit("reconnect.max_downtime", reconnect.max_downtime)?;
    for (index, status) in reconnect.fatal_statuses.iter().enumerate() {
        let path = || format!("reconnect.fatal_statuses[{index}]");
        if !(200..=599).contains(status) {
            return refuse(path(), format!("is {status}: must be an HTTP status from 200 to 599"));
        }
        if reconnect.fatal_statuses[..index].contains(status) {
            return refuse(path(), format!("is {status}, which is there already"));
        }
    }
    Ok(())
}

fn check_limits(limits: &Limits) -> Checked {
    const CONTROL: usize = 125;
    range("limits.message_bytes", limits.message_bytes, CONTROL, 1 << 30)?;
    range("limits.upgrade_response_bytes", limits.upgrade_response_bytes, 512, 1 << 20)?;
    range("limits.send_bytes", limits.send_bytes, CONTROL, 1 << 30)?;
    range("limits.subscribe_bytes", limits.subscribe_bytes, CONTROL, 1 << 30)?;
    duration("limits.write_timeout", limits.write_timeout)?;
    range("limits.read_buffer_bytes", limits.read_buffer_bytes, 1 << 10, 16 << 20)
}

fn check_queue(queue: &Queue, limits: &Limits) -> Checked {
    range("queue.messages", queue.messages, 1, 1 << 24)?;
    if queue.bytes < limits.message_bytes {
        return refuse(
            "queue.bytes",
            format!(
                "is {}, less than the {} of limits.message_bytes, so that the largest message has no room: raise \
                 the one or lower the other",
                queue.bytes, limits.message_bytes
            ),
        );
    }
    if queue.bytes as u64 > 1 << 40 {
        return refuse("queue.bytes", "is more than 1 TiB: lower it to what the machine has");
    }
    Ok(())
}
