//! The options that say which feed: the same for `tail`, `probe` and `record`.

use crate::exit::Failure;
use crate::matching;
use crate::time;
use livefeed::{FeedConfig, Matcher, Subscription};
use std::path::PathBuf;
use std::time::Duration;

/// Which feed, and how to speak with it.
#[derive(Debug, clap::Args)]
pub(crate) struct FeedArgs {
    /// Where to connect to: ws://HOST[:PORT]/PATH or wss://...
    #[arg(value_name = "URL")]
    pub(crate) url: Option<String>,
    /// What to send on each new connection; `@FILE` takes it from a file. Repeatable
    #[arg(long, value_name = "JSON", help_heading = "Feed")]
    pub(crate) subscribe: Vec<String>,
    /// How long there may be no data, or `none` [default: 60s]
    #[arg(long, value_name = "DUR", value_parser = time::duration, help_heading = "Feed")]
    pub(crate) stale_after: Option<Duration>,
    /// Messages that are no data, only a sign of life. Repeatable: alternatives
    #[arg(long, value_name = "MATCH", value_parser = matching::parse, help_heading = "Feed")]
    pub(crate) heartbeat: Vec<Matcher>,
    /// Messages that are data; all others are not. Repeatable: alternatives
    #[arg(long, value_name = "MATCH", value_parser = matching::parse, help_heading = "Feed")]
    pub(crate) data: Vec<Matcher>,
    /// A PEM file of certificates to trust beside those of the system
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub(crate) ca_file: Option<PathBuf>,
}

impl FeedArgs {
    /// The configuration they stand for. It still has to be validated, which opening does.
    pub(crate) fn config(&self) -> Result<FeedConfig, Failure> {
        let url = self.url.as_deref().ok_or_else(|| Failure::usage("the URL is missing"))?;
        let mut config = FeedConfig::new(url);
        for (at, text) in self.subscribe.iter().enumerate() {
            let subscription = Subscription::new((at + 1).to_string()).subscribe_text(text.as_str());
            config.subscriptions.push(subscription);
        }
        Ok(config)
    }
}
