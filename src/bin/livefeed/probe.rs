//! `probe`: whether a feed delivers, as an exit status.

use crate::exit::{Failure, Outcome};
use crate::feed_args::FeedArgs;
use crate::time;
use livefeed::Feed;
use std::time::Duration;

/// Waits for fresh data on each subscription: exit status 0 if it came in time, 1 if not
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    feed: FeedArgs,
    /// How long to wait
    #[arg(long, value_name = "DUR", value_parser = time::duration, default_value = "10s")]
    within: Duration,
}

pub(crate) fn main(args: Args) -> Outcome {
    let feed = Feed::from_config(args.feed.config()?).map_err(|error| Failure::usage(error.to_string()))?;
    let fresh = feed.wait_fresh(args.within).map_err(|error| Failure::failed(error.to_string()));
    let _ = feed.close(Duration::from_secs(2));
    fresh
}
