//! The ladder: what is done, in order, about a subscription that has gone stale.

use crate::duration;
use serde::de::{self, Deserializer};
use serde::{Deserialize, Serialize, Serializer};
use std::fmt;
use std::time::Duration;

/// One rung of the ladder. In JSON a text: `"probe:5s"`, `"resubscribe:10s"`, `"reconnect"`, `"next_endpoint"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum RepairStep {
    /// The `probe` of the subscription is sent, and so long its data is waited for.
    Probe(Duration),
    /// It is unsubscribed and subscribed again on the same connection, and so long its data is waited for.
    Resubscribe(Duration),
    /// The connection is given up and a new one made.
    Reconnect,
    /// The connection is given up and a new one made to the next of `endpoints`.
    NextEndpoint,
}

const FORMS: &str = "\"probe:5s\", \"resubscribe:10s\", \"reconnect\" or \"next_endpoint\"";

impl RepairStep {
    /// The ladder of a subscription that names none.
    pub(crate) const DEFAULT: [Self; 3] =
        [Self::Resubscribe(Duration::from_secs(10)), Self::Reconnect, Self::NextEndpoint];

    /// How long it is waited whether it helped; none: until the new connection goes stale.
    pub(crate) fn wait(self) -> Option<Duration> {
        match self {
            Self::Probe(wait) | Self::Resubscribe(wait) => Some(wait),
            Self::Reconnect | Self::NextEndpoint => None,
        }
    }

    /// The name without the time.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Probe(_) => "probe",
            Self::Resubscribe(_) => "resubscribe",
            Self::Reconnect => "reconnect",
            Self::NextEndpoint => "next_endpoint",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        match text.split_once(':') {
            Some(("probe", time)) => duration::parse(time).map(Self::Probe),
            Some(("resubscribe", time)) => duration::parse(time).map(Self::Resubscribe),
            None if text == "reconnect" => Some(Self::Reconnect),
            None if text == "next_endpoint" => Some(Self::NextEndpoint),
            _ => None,
        }
    }
}

impl fmt::Display for RepairStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        self.wait().map_or(Ok(()), |wait| write!(f, ":{}", humantime::format_duration(wait)))
    }
}

impl Serialize for RepairStep {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RepairStep {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;

        impl de::Visitor<'_> for Visitor {
            type Value = RepairStep;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(FORMS)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<RepairStep, E> {
                RepairStep::parse(text).ok_or_else(|| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(Visitor)
    }
}
