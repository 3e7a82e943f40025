//! Log records of lifecycle events. Messages are never logged.

use crate::error::EndReason;
use crate::event::{AlertStatus, Disconnected, Event};
use crate::message::SubscriptionId;

/// The target of all log records.
pub(super) const TARGET: &str = "livefeed";

/// Whether the application, or the server in good order, wanted it.
pub(super) fn is_asked_for(end: &Disconnected) -> bool {
    matches!(end.reason, EndReason::ClosedByUser | EndReason::Reconnect | EndReason::ServerNotice { .. })
}

/// Whether it may be logged at all. Called under the lock, so the logger, which is the application's, is not asked.
pub(super) fn is_wanted(event: &Event) -> bool {
    let level = match event {
        Event::Message(_) => return false,
        Event::Disconnected(e) if is_asked_for(e) => log::Level::Info,
        Event::Alert(e) if e.status == AlertStatus::Cleared => log::Level::Info,
        Event::Stale(_) | Event::Refused(_) | Event::Ended(_) | Event::Disconnected(_) | Event::Alert(_) => {
            log::Level::Warn
        }
        Event::Connected(_) | Event::Gap(_) | Event::Closed(_) => log::Level::Info,
        Event::Connecting(_) | Event::Subscribed(_) => log::Level::Debug,
    };
    level <= log::max_level()
}

/// Logs it; never under the lock.
pub(super) fn write(name: &str, event: &Event) {
    match event {
        Event::Connected(e) => {
            log::info!(target: TARGET, "{name}: connected, epoch {}, to {}", e.epoch, e.peer)
        }
        Event::Gap(e) => log::info!(target: TARGET, "{name}: gap, epoch {}: {}", e.epoch, e.cause.name()),
        Event::Stale(e) => log::warn!(
            target: TARGET,
            "{name}: stale, epoch {}: {} for {:.3} s ({})",
            e.epoch,
            e.cause.lack(),
            e.age.as_secs_f64(),
            e.subscription.as_ref().map_or("connection", SubscriptionId::as_str),
        ),
        Event::Refused(e) => log::warn!(
            target: TARGET,
            "{name}: refused, epoch {}: subscription {}: {} ({})",
            e.epoch,
            e.subscription,
            e.detail,
            e.class.name(),
        ),
        Event::Ended(e) => log::warn!(
            target: TARGET,
            "{name}: ended, epoch {}: subscription {}: {} ({})",
            e.epoch,
            e.subscription,
            e.detail,
            e.class.name(),
        ),
        Event::Disconnected(e) if is_asked_for(e) => {
            log::info!(target: TARGET, "{name}: disconnected, epoch {}: {}", e.epoch, e.reason);
        }
        Event::Disconnected(e) => match e.retry_in {
            Some(delay) => log::warn!(
                target: TARGET,
                "{name}: disconnected, epoch {}: {}; next attempt in {:.3} s",
                e.epoch,
                e.reason,
                delay.as_secs_f64()
            ),
            None => log::warn!(target: TARGET, "{name}: disconnected, epoch {}: {}", e.epoch, e.reason),
        },
        Event::Alert(e) => match e.status {
            AlertStatus::Cleared => log::info!(target: TARGET, "{name}: alert cleared: {}", e.kind),
            AlertStatus::Raised => log::warn!(target: TARGET, "{name}: alert raised: {}", e.kind),
            AlertStatus::Happened => log::warn!(target: TARGET, "{name}: alert: {}", e.kind),
        },
        Event::Subscribed(e) => {
            log::debug!(target: TARGET, "{name}: subscribed, epoch {}: {}", e.epoch, e.subscription);
        }
        Event::Closed(e) => log::info!(target: TARGET, "{name}: closed: {}", e.reason),
        other => log::debug!(target: TARGET, "{name}: {}, epoch {}", other.name(), other.epoch()),
    }
}
