//! `probe`: whether feeds deliver, as an exit status.

use crate::exit::{Failure, Outcome};
use crate::feed_args::{self, FeedArgs};
use crate::talk::{Talk, note};
use crate::{hints, sentences, signals, time};
use livefeed::crossbeam_channel::{Select, after};
use livefeed::{Batch, Event, Feed, FeedBuilder, Health, State, SubscriptionHealth, SubscriptionState};
use std::time::Duration;

/// So long closing may take: enough to say goodbye. The answer is not worth a wait, as the verdict is there.
const GRACE: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "

Examples:
  livefeed probe --within 5s --data /topic=btc wss://feed.example/ws
  HEALTHCHECK CMD livefeed probe --within 5s /etc/feeds.toml";

/// Waits for fresh data on each subscription: exit status 0 if it came in time, 1 if not
///
/// For cron, systemd and the health checks of containers. It makes a connection of its own, asks for the same data, and
/// ends as soon as there is some: with a configuration or a preset, for each subscription, but those whose limit (`stale_after`)
/// is none; with several --subscribe, for any of them. Nothing is printed to standard output; standard error says what was missing.
///
/// Data is what --data says. Without it that is each message but heartbeats, also an answer that refuses what was asked for:
/// give --data where the server answers a subscription before the data comes. In hours in which no data is due (`by_hours` of a
/// configuration), a connection is enough.
#[derive(Debug, clap::Args)]
#[command(after_long_help = crate::tail::LONG_HELP.to_owned() + EXAMPLES)]
pub(crate) struct Args {
    /// Where to connect to, or a configuration file, of one feed or several
    #[arg(value_name = "URL|CONFIG", required_unless_present = "preset")]
    target: Option<String>,
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
    args.feed.warn(args.talk);
    // Before signals are caught: a secret may be read from a pipe into which nobody writes.
    let builders = args.feed.builders(args.target.as_deref())?;
    let stop = signals::stop()?;
    let time = after(args.within);
    let open = |builder: FeedBuilder| builder.open().map_err(|error| Failure::of(&error));
    let feeds: Vec<Feed> = builders.into_iter().map(open).collect::<Result<_, _>>()?;
    let begin = time::mono();
    let named_here = args.feed.names_subscriptions();
    let mut waited_for: Vec<&Feed> = feeds.iter().collect();
    let mut outcome = Ok(());
    while !waited_for.is_empty() {
        let mut select = Select::new();
        let at_time = select.recv(&time);
        let at_stop = select.recv(&stop);
        let first = waited_for.iter().map(|feed| select.recv(feed.batches())).min().unwrap_or_default();
        let ready = select.select();
        let index = ready.index();
        if index == at_time {
            let _ = ready.recv(&time);
            outcome = Err(lack(
                &waited_for,
                &format!("within {}", humantime::format_duration(args.within)),
                named_here,
            ));
            break;
        } else if index == at_stop {
            let _ = ready.recv(&stop);
            outcome = Err(lack(&waited_for, "when it was stopped", named_here));
            break;
        }
        let index = index - first;
        let Some(&feed) = waited_for.get(index) else { break };
        let batch = ready.recv(feed.batches());
        batch.into_iter().for_each(|batch| say(args.talk, feed, batch));
        let health = feed.health();
        match (&health.closed, health.state) {
            (Some(reason), _) => {
                outcome = Err(Failure::failed(format!("{}: {}", feed.name(), hints::closed(reason))));
                break;
            }
            (None, state @ (State::Fresh | State::Quiet)) => {
                if args.talk.is_verbose() {
                    let what = if state == State::Fresh {
                        "fresh: data"
                    } else {
                        "quiet: no data is due; connected"
                    };
                    let passed = time::mono().saturating_duration_since(begin);
                    note(&format!("{}: {what} after {}", feed.name(), sentences::seconds(passed)));
                }
                waited_for.swap_remove(index);
            }
            _ => {}
        }
    }
    close(&feeds);
    outcome
}

/// Says what happens, if that was asked for.
fn say(talk: Talk, feed: &Feed, batch: Batch) {
    for event in batch {
        if !matches!(event, Event::Message(_))
            && let Some(text) = talk.about(&event, true)
        {
            note(&format!("{}: {text}", feed.name()));
        }
    }
}

/// Closes them all, side by side.
fn close(feeds: &[Feed]) {
    std::thread::scope(|scope| {
        for feed in feeds {
            let close = move || drop(feed.close(GRACE)); // too late is no harm: the process ends
            if std::thread::Builder::new().spawn_scoped(scope, close).is_err() {
                close();
            }
        }
    });
}

/// What these feeds lack.
fn lack(feeds: &[&Feed], when: &str, named_here: bool) -> Failure {
    let each: Vec<String> = feeds
        .iter()
        .map(|feed| format!("{}: {}", feed.name(), missing(&feed.health(), named_here)))
        .collect();
    Failure::failed(format!("no fresh data {when}: {}", each.join("\nlivefeed: ")))
}

/// What a feed lacks, and what can be done about it.
fn missing(health: &Health, named_here: bool) -> String {
    let end = health.last_end.as_ref().map(hints::ended);
    let end = |before: &str| end.as_ref().map_or_else(String::new, |end| format!("{before}{end}"));
    if health.up.is_none() {
        return match end(": ") {
            end if end.is_empty() => "no connection: the server has not answered yet".to_owned(),
            end => format!("no connection{end}"),
        };
    }
    let without: Vec<String> =
        health.subscriptions.iter().filter_map(|one| without_data(one, named_here)).collect();
    if without.is_empty() {
        return format!("connected, but no data came{}", end("; the connection before ended: "));
    }
    let more = without.len().saturating_sub(10);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let names: Vec<String> = without.into_iter().take(10).collect();
    format!("connected, but no data for {}{more}", names.join(", "))
}

/// The subscription, if it is what there was no data for.
fn without_data(subscription: &SubscriptionHealth, named_here: bool) -> Option<String> {
    let id = &subscription.id;
    // Those of the command line have names that nobody gave them.
    let name = match id.as_str() {
        feed_args::DATA if named_here => "what --data says".to_owned(),
        id if named_here => format!("--subscribe {id}"),
        id => format!("subscription {id}"),
    };
    match subscription.state {
        SubscriptionState::Live | SubscriptionState::Quiet => None,
        state @ (SubscriptionState::Refused | SubscriptionState::Ended | SubscriptionState::Quarantined) => {
            Some(format!("{name} ({})", state.name()))
        }
        _ if subscription.stale_after.is_none() => None,
        _ => Some(name),
    }
}
