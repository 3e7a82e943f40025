//! Log records of lifecycle events. Messages are never logged.

use crate::event::Event;
use crate::message::SubscriptionId;

/// The target of all log records.
pub(super) const TARGET: &str = "livefeed";

/// Whether anybody wants it logged. Cheap, and called under the lock.
pub(super) fn is_wanted(event: &Event) -> bool {
    if matches!(event, Event::Message(_)) {
        return false;
    }
    log::log_enabled!(target: TARGET, log::Level::Debug)
        || matches!(event, Event::Stale(_) | Event::Disconnected(_) | Event::Alert(_) | Event::Closed(_))
            && log::log_enabled!(target: TARGET, log::Level::Warn)
        || matches!(event, Event::Connected(_) | Event::Gap(_))
            && log::log_enabled!(target: TARGET, log::Level::Info)
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
            "{name}: stale, epoch {}: no data for {:.3} s ({})",
            e.epoch,
            e.age.as_secs_f64(),
            e.subscription.as_ref().map_or("connection", SubscriptionId::as_str),
        ),
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
        Event::Alert(e) => log::warn!(target: TARGET, "{name}: alert: {:?}", e.kind),
        Event::Closed(e) => log::info!(target: TARGET, "{name}: closed: {}", e.reason),
        other => log::debug!(target: TARGET, "{name}: {}, epoch {}", other.name(), other.epoch()),
    }
}
