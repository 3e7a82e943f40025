//! `GET /metrics`: the figures of all feeds in the text format of Prometheus.

use crate::feed::Source;
use std::fmt::Write as _;
use std::sync::Arc;

/// What [`render`] makes.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics of these feeds.
pub(super) fn render(sources: &[Arc<Source>]) -> String {
    let mut text = String::from(
        "# HELP livefeed_last_signal_age_seconds Since the last data message.\n\
         # TYPE livefeed_last_signal_age_seconds gauge\n",
    );
    for source in sources {
        if let Some(age) = source.snapshot().health.last_signal_age {
            let name = source.name().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ =
                writeln!(text, "livefeed_last_signal_age_seconds{{feed=\"{name}\"}} {}", age.as_secs_f64());
        }
    }
    text
}
