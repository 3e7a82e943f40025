//! `tail`: a feed's messages on standard output.

use crate::exit::{Failure, Outcome};
use crate::feed_args::FeedArgs;
use crate::output::{Format, Lines};
use crate::signals;
use livefeed::Feed;
use livefeed::crossbeam_channel::select;
use std::io;
use std::time::Duration;

/// Prints a feed's messages to standard output, one a line
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    feed: FeedArgs,
    /// What a line is
    #[arg(long, value_enum, default_value_t = Format::Raw, help_heading = "Output")]
    format: Format,
}

pub(crate) fn main(args: Args) -> Outcome {
    let stop = signals::stop()?;
    let feed = Feed::from_config(args.feed.config()?).map_err(|error| Failure::usage(error.to_string()))?;
    let mut lines = Lines::new(args.format);
    let mut out = io::stdout().lock();
    loop {
        select! {
            recv(feed.batches()) -> batch => match batch {
                Ok(batch) => {
                    batch.into_iter().for_each(|event| lines.add(feed.name(), &event));
                    if lines.flush(&mut out).is_err() {
                        break;
                    }
                }
                Err(_) => return Err(Failure::failed("the feed is over")),
            },
            recv(stop) -> _ => break,
        }
    }
    let _ = feed.close(Duration::from_secs(2));
    Ok(())
}
