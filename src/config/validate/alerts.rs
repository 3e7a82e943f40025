//! Checks what a person is told of.

use super::hours::check_reference;
use super::{Checked, duration, limit, range, refuse};
use crate::config::{FeedConfig, NoDataAlert};

/// More entries than this are no wish but a mistake.
const NO_DATA: usize = 64;

const MORE_THAN: usize = 10_000;

pub(super) fn check_alerts(config: &FeedConfig) -> Checked {
    let alerts = &config.alerts;
    if let Some(reconnects) = alerts.reconnects {
        let more_than = usize::try_from(reconnects.more_than).unwrap_or(usize::MAX);
        range("alerts.reconnects.more_than", more_than, 0, MORE_THAN)?;
        duration("alerts.reconnects.within", reconnects.within)?;
    }
    if alerts.no_data.len() > NO_DATA {
        return refuse("alerts.no_data", format!("has {} entries: at most {NO_DATA}", alerts.no_data.len()));
    }
    for (index, entry) in alerts.no_data.iter().enumerate() {
        let path = format!("alerts.no_data[{index}]");
        duration(&format!("{path}.after"), entry.after)?;
        check_reference(&path, config, entry.during.as_deref(), entry.outside.as_deref(), false)?;
        let is_same = |other: &NoDataAlert| other == entry;
        if alerts.no_data.iter().take(index).any(is_same) {
            return refuse(path, "is there twice: leave one out");
        }
    }
    limit("alerts.down", alerts.down)?;
    duration("alerts.cool_down", alerts.cool_down)
}
