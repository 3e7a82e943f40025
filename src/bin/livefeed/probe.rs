//! `probe`: whether a feed delivers, as an exit status.

use crate::exit::{Failure, Outcome};
use crate::feed_args::FeedArgs;
use crate::talk::Talk;
use crate::time;
use std::time::Duration;

/// Waits for fresh data on each subscription: exit status 0 if it came in time, 1 if not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where to connect to
    #[arg(value_name = "URL", required_unless_present = "preset")]
    url: Option<String>,
    #[command(flatten)]
    feed: FeedArgs,
    /// How long to wait
    #[arg(long, value_name = "DUR", value_parser = time::duration, default_value = "10s")]
    within: Duration,
    #[command(flatten)]
    talk: Talk,
}

pub(crate) fn main(args: Args) -> Outcome {
    args.talk.start_log();
    let feed = args.feed.builder(args.url.as_deref())?.open().map_err(|error| Failure::of(&error))?;
    let fresh = feed.wait_fresh(args.within).map_err(|error| Failure::failed(error.to_string()));
    let _ = feed.close(Duration::from_secs(2));
    fresh
}
