//! The two text formats that Prometheus reads, both made by the crate `prometheus-client`.
//!
//! It makes OpenMetrics 1.0. Of that, the older text format 0.0.4 differs in what is used here by two things: the name
//! of a counter's family ends in `_total` like that of its samples, and units and the end are not marked. So a counter
//! is written there as what it is under its whole name.

use crate::measures::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::registry::{Registry, Unit};
use std::fmt;
use std::time::Duration;

/// A text format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The text format 0.0.4, which everything reads.
    Text,
    /// OpenMetrics 1.0, with units. For those who ask for it.
    OpenMetrics,
}

impl Form {
    /// The better one by the header `Accept` (RFC 9110 section 12.5.1). OpenMetrics has to be named, and goes before
    /// the other if it is wanted as much.
    pub(super) fn wanted(accept: Option<&str>) -> Self {
        let (mut open_metrics, mut text, mut any_text, mut any) = (None, None, None, None);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let mut quality = 1.0_f32;
            let mut version = None;
            for (name, value) in parts.filter_map(|part| part.split_once('=')) {
                if name.eq_ignore_ascii_case("q") {
                    quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
                } else if name.eq_ignore_ascii_case("version") {
                    version = Some(value.trim_matches('"'));
                }
            }
            let place = match media.to_ascii_lowercase().as_str() {
                // Of an older version nothing is known; that it reads a later one, neither.
                "application/openmetrics-text" if version.is_none_or(|it| it == "1.0.0") => &mut open_metrics,
                "text/plain" if version.is_none_or(|it| it == "0.0.4") => &mut text,
                "text/*" => &mut any_text,
                "*/*" => &mut any,
                _ => continue,
            };
            *place = Some(place.map_or(quality, |q: f32| q.max(quality)));
        }
        let open_metrics = open_metrics.unwrap_or(0.0);
        let text = text.or(any_text).or(any).unwrap_or(0.0);
        if open_metrics > 0.0 && open_metrics >= text { Self::OpenMetrics } else { Self::Text }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The whole page.
    pub(super) fn encode(self, collector: Box<dyn Collector>) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        registry.register_collector(collector);
        let mut text = String::new();
        match self {
            Self::Text => encode_registry(&mut text, &registry)?,
            Self::OpenMetrics => encode(&mut text, &registry)?,
        }
        Ok(text)
    }
}

/// A page in the making.
pub(super) struct Page<'e> {
    encoder: DescriptorEncoder<'e>,
    form: Form,
    /// The name of the family that is being written, and what the format wants apart from it.
    name: String,
    unit: Option<Unit>,
}

impl<'e> Page<'e> {
    pub(super) fn new(encoder: DescriptorEncoder<'e>, form: Form) -> Self {
        Self { encoder, form, name: String::new(), unit: None }
    }

    /// Begins a family of gauges. Names are given without the unit, here and below.
    pub(super) fn gauge(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
    ) -> Result<Family<'_>, fmt::Error> {
        self.family(MetricType::Gauge, name, unit, help)
    }

    /// Begins a family of counters, named without `_total` too.
    pub(super) fn counter(
        &mut self,
        name: &str,
        unit: Option<Unit>,
        help: &str,
    ) -> Result<Family<'_>, fmt::Error> {
        self.family(MetricType::Counter, name, unit, help)
    }

    /// Begins a family of histograms.
    pub(super) fn histogram(&mut self, name: &str, unit: Unit, help: &str) -> Result<Family<'_>, fmt::Error> {
        self.family(MetricType::Histogram, name, Some(unit), help)
    }

    fn family(
        &mut self,
        kind: MetricType,
        name: &str,
        unit: Option<Unit>,
        help: &str,
    ) -> Result<Family<'_>, fmt::Error> {
        let counts = matches!(kind, MetricType::Counter) && self.form == Form::OpenMetrics;
        name.clone_into(&mut self.name);
        self.unit = unit;
        if self.form == Form::Text {
            if let Some(unit) = self.unit.take() {
                self.name.push('_');
                self.name.push_str(unit.as_str());
            }
            if matches!(kind, MetricType::Counter) {
                self.name.push_str("_total");
            }
        }
        let encoder = self.encoder.encode_descriptor(&self.name, help, self.unit.as_ref(), kind)?;
        Ok(Family { encoder, counts })
    }
}

/// Metrics of one name.
pub(super) struct Family<'p> {
    encoder: MetricEncoder<'p>,
    /// They get `_total` from the encoder.
    counts: bool,
}

impl Family<'_> {
    /// One gauge or counter.
    pub(super) fn sample<const N: usize>(
        &mut self,
        labels: [(&str, &str); N],
        value: impl Into<Value>,
    ) -> fmt::Result {
        let mut encoder = self.encoder.encode_family(&labels)?;
        match value.into() {
            Value::Whole(value) if self.counts => ConstCounter::new(value).encode(encoder),
            Value::Whole(value) => encoder.encode_gauge(&value),
            Value::Real(value) => encoder.encode_gauge(&value),
        }
    }

    /// One histogram: each bucket with what lies within it and not within the one before.
    pub(super) fn distribution<const N: usize>(
        &mut self,
        labels: [(&str, &str); N],
        histogram: &Histogram,
    ) -> fmt::Result {
        let buckets: Vec<_> = histogram.buckets().collect();
        let sum = histogram.sum().as_secs_f64();
        let mut encoder = self.encoder.encode_family(&labels)?;
        encoder.encode_histogram::<NoLabelSet>(sum, histogram.count(), &buckets, None)
    }
}

/// What a sample says.
pub(super) enum Value {
    Whole(u64),
    Real(f64),
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::Whole(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Whole(value.into())
    }
}

impl From<Duration> for Value {
    fn from(value: Duration) -> Self {
        Self::Real(value.as_secs_f64())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let protobuf = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;\
            q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, expected) in [
            (None, Form::Text),
            (Some(""), Form::Text),
            (Some("*/*"), Form::Text),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Form::Text),
            (Some(prometheus), Form::OpenMetrics),
            (Some(protobuf), Form::Text),
            (Some("application/openmetrics-text"), Form::OpenMetrics),
            (Some("Application/OpenMetrics-Text ; Version=\"1.0.0\" , text/plain"), Form::OpenMetrics),
            (Some("application/openmetrics-text; q=0.5, text/plain; q=0.6"), Form::Text),
            (Some("application/openmetrics-text; q=0.5, text/*; q=0.6"), Form::Text),
            (Some("application/openmetrics-text; q=0.5, text/plain; q=0.4, */*"), Form::OpenMetrics),
            (Some("application/openmetrics-text; q=0, */*"), Form::Text),
            (Some("application/openmetrics-text; q=many"), Form::Text),
            (Some("application/openmetrics-text; version=0.0.1"), Form::Text),
            (Some("application/openmetrics-text; version=2.0.0, text/plain; q=0.1"), Form::Text),
            (Some(",;=;;,q=1"), Form::Text),
        ] {
            assert_eq!(Form::wanted(accept), expected, "{accept:?}");
        }
    }
}
