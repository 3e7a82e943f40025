//! Checks what a feed says of its own accord, how fast, and what it makes of ends.

use super::names::Names;
use super::{Checked, duration, plain_matcher, range, refuse};
use crate::config::{CodeRange, EndRule, FeedConfig, FirstAfter, Keepalive, KeepaliveDue};
use crate::dialect::{Answer, Interval, Template};
use crate::error::Error;
use crate::policy::verdict::Decision;
use std::time::Duration;

/// The most that any limit may allow: more is none.
const MOST: usize = 1_000_000;

pub(super) fn check_pacing(config: &FeedConfig) -> Checked {
    for (index, pacing) in config.pacing.iter().enumerate() {
        check_rate(&format!("pacing[{index}]"), "sends", pacing.sends, pacing.per)?;
    }
    for (index, pacing) in config.connect.pacing.iter().enumerate() {
        check_rate(&format!("connect.pacing[{index}]"), "attempts", pacing.attempts, pacing.per)?;
    }
    Ok(())
}

fn check_rate(path: &str, field: &str, count: u32, per: Duration) -> Checked {
    range(&format!("{path}.{field}"), count as usize, 1, MOST)?;
    duration(&format!("{path}.per"), per)
}

pub(super) fn check_batch(config: &FeedConfig) -> Checked {
    let Some(batch) = &config.batch else { return Ok(()) };
    range("batch.members", batch.members, 1, 100_000)?;
    if batch.bytes > config.limits.subscribe_bytes {
        return refuse(
            "batch.bytes",
            "is more than limits.subscribe_bytes: lower the one or raise the other",
        );
    }
    range("batch.bytes", batch.bytes, 125, config.limits.subscribe_bytes)?;
    let terms = config.subscriptions.iter().map(|subscription| &subscription.terms).chain([&config.defaults]);
    let mut templates = terms.filter_map(|terms| terms.subscribe.as_ref()).peekable();
    if templates.peek().is_some() && !templates.any(Template::is_batchable) {
        let problem =
            "has no effect: no `subscribe` has a place for several, {\"$each\": ..} or {\"$join\": ..}";
        return refuse("batch", problem);
    }
    Ok(())
}

pub(super) fn check_keepalives(keepalives: &[Keepalive], names: &Names<'_>) -> Checked {
    for (index, keepalive) in keepalives.iter().enumerate() {
        let path = |field: &str| format!("keepalives[{index}].{field}");
        let first_after = match &keepalive.first_after {
            Some(FirstAfter::Interval(interval)) => Some(interval),
            Some(FirstAfter::Random) | None => None,
        };
        for (field, value) in [
            (keepalive.due.name(), Some(&keepalive.interval)),
            ("within", keepalive.within.as_ref()),
            ("first_after", first_after),
        ] {
            if let Some(value) = value {
                interval(path(field), value)?;
                names.check_interval(&path(field), value)?;
            }
        }
        if let Some(send) = &keepalive.send {
            send.check_single(&|_| true).map_err(|problem| Error::config(path("send"), problem))?;
            names.check_template(&path("send"), send, false)?;
        }
        if let Some(matcher) = &keepalive.expect {
            plain_matcher(&path("expect"), matcher)?;
        } else {
            for (field, given) in
                [("within", keepalive.within.is_some()), ("capture", !keepalive.capture.is_empty())]
            {
                if given {
                    return refuse(
                        path(field),
                        "has no meaning without `expect`: say what the answer looks like",
                    );
                }
            }
        }
        Answer::check(&keepalive.capture, keepalive.detail.as_deref())
            .map_err(|(field, problem)| Error::config(path(&field), problem))?;
        match (&keepalive.refused, &keepalive.detail) {
            (Some(matcher), _) => plain_matcher(&path("refused"), matcher)?,
            (None, Some(_)) => {
                return refuse(
                    path("detail"),
                    "has no meaning without `refused`: say what a refusal looks like",
                );
            }
            (None, None) => {}
        }
        if keepalive.first_after.is_some() && keepalive.due != KeepaliveDue::Every {
            return refuse(path("first_after"), "has a meaning for `every` only: leave it out");
        }
    }
    Ok(())
}

pub(super) fn interval(path: String, value: &Interval) -> Checked {
    match value {
        Interval::Fixed(value) => duration(&path, *value),
        value => {
            // With numbers for the placeholders: is it a duration at all?
            let numbers = |_: &str| Some(serde_json::Value::from(1));
            value.render_period(&numbers).map(drop).map_err(|_| {
                Error::config(
                    path,
                    "is no duration even with numbers for its placeholders: \"${name}s\" would be one",
                )
            })
        }
    }
}

pub(super) fn check_ends(ends: &[EndRule]) -> Checked {
    for (index, rule) in ends.iter().enumerate() {
        let path = |field: &str| format!("ends[{index}].{field}");
        if rule.codes.is_empty() && rule.statuses.is_empty() && rule.reason_contains.is_none() {
            return refuse(
                format!("ends[{index}]"),
                "fits every end: give `codes`, `statuses` or `reason_contains`",
            );
        }
        ranges(&path("codes"), &rule.codes, 1000, 4999, "codes of closes (RFC 6455 section 7.4)")?;
        ranges(&path("statuses"), &rule.statuses, 100, 599, "HTTP statuses")?;
        if rule.reason_contains.as_deref() == Some("") {
            return refuse(path("reason_contains"), "is empty, which is within every text: give some text");
        }
        if let Decision::RetryAfter(delay) = rule.then {
            duration(&path("then.retry_after"), delay)?;
        }
        if let Some(before) = ends[..index].iter().position(|before| covers(before, rule)) {
            let problem = format!("can never be met: ends[{before}] fits whatever it fits, and comes first");
            return refuse(format!("ends[{index}]"), problem);
        }
    }
    Ok(())
}

fn ranges(path: &str, ranges: &[CodeRange], min: u16, max: u16, what: &str) -> Checked {
    for (index, range) in ranges.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if range.first < min || range.last > max {
            return refuse(path, format!("goes beyond {min} to {max}, the {what}"));
        }
        if range.first > range.last {
            return refuse(path, "begins after its end: give the smaller one first");
        }
    }
    Ok(())
}

/// Whether whatever meets `rule` has met `before`.
fn covers(before: &EndRule, rule: &EndRule) -> bool {
    let within = |inner: &[CodeRange], outer: &[CodeRange]| {
        inner.iter().all(|inner| outer.iter().any(|o| o.first <= inner.first && inner.last <= o.last))
    };
    let numbers = if before.codes.is_empty() && before.statuses.is_empty() {
        // Any code and any status; 1006 is the lack of a Close frame.
        !rule.codes.iter().any(|range| (range.first..=range.last).contains(&1006))
    } else {
        !(rule.codes.is_empty() && rule.statuses.is_empty())
            && within(&rule.codes, &before.codes)
            && within(&rule.statuses, &before.statuses)
    };
    let words = match (&before.reason_contains, &rule.reason_contains) {
        (None, _) => true,
        (Some(before), Some(rule)) => rule.contains(before.as_str()),
        (Some(_), None) => false,
    };
    numbers && words
}
