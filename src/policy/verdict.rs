//! Which ends are retried and which are final.

use crate::class::ErrorClass;
use crate::duration;
use crate::error::EndReason;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;
use std::time::Duration;

/// What to do after a connection or an attempt ended.
///
/// In data it is its name, such as `"retry_slowly"`, and `{"retry_after": "5s"}`.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// Try again after the next delay of the backoff.
    Retry,
    /// Try again at once: after a first delay of the backoff, whatever came before. There is always a delay, and from
    /// the second end in a row without data in between it is that of `Retry`, so that a server that says this each
    /// time is not hammered.
    RetryNow,
    /// Try again after the next delay of the backoff, and not before this; more than 24 hours count as 24 hours.
    RetryAfter(#[serde(with = "duration")] Duration),
    /// Try again at the longest delay, and raise an alert.
    RetrySlowly,
    /// Close the feed.
    Fatal,
}

/// What to do after ends of one kind. Only closes and refusals of an upgrade by the server are meant; of them the
/// rule is for those of which all that it asks for holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EndRule {
    /// Close codes (RFC 6455 section 7.4); 1005 stands for a Close frame without one, 1006 for an end without a Close
    /// frame. If there are none, closes of any code that a Close frame gave or left out are meant, unless
    /// `statuses` says that refusals are.
    pub(crate) codes: Vec<RangeInclusive<u16>>,
    /// HTTP statuses of a refused upgrade. If there are none, any is meant, unless `codes` says that closes are.
    pub(crate) statuses: Vec<RangeInclusive<u16>>,
    /// What the reason of the close, or the body of the refusal, has to contain, letter for letter.
    pub(crate) reason_contains: Option<String>,
    pub(crate) then: Decision,
}

impl EndRule {
    fn applies(&self, reason: &EndReason) -> bool {
        let within =
            |ranges: &[RangeInclusive<u16>], number| ranges.iter().any(|range| range.contains(&number));
        let any = self.codes.is_empty() && self.statuses.is_empty();
        let (meant, words) = match reason {
            EndReason::ClosedByPeer { code, reason } => {
                (any || within(&self.codes, code.unwrap_or(1005)), reason.as_str())
            }
            EndReason::Eof => (within(&self.codes, 1006), ""),
            EndReason::UpgradeRefused { status, body, .. } => {
                (any || within(&self.statuses, *status), body.as_str())
            }
            _ => return false,
        };
        meant && self.reason_contains.as_ref().is_none_or(|text| words.contains(text))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What goes before the default policy: the first that applies decides.
    pub(crate) rules: Vec<EndRule>,
    /// HTTP statuses of a refused upgrade that say that the request itself is wrong.
    pub(crate) statuses: Vec<u16>,
    /// Whether such a mistake is fatal while the feed has never been up.
    pub(crate) when_never_up: bool,
}

/// The first rule that applies, whether the feed has been up or not; else the default policy. Statuses that say the
/// request itself is wrong, a certificate that is not trusted, and a refused login, are fatal while the feed has never been up (a
/// script wants to hear of its mistake), and retried slowly once it has (a service must outlive a bad hour).
/// Everything else is retried.
pub(crate) fn decide(reason: &EndReason, ever_up: bool, settings: &Settings) -> Decision {
    if let Some(rule) = settings.rules.iter().find(|rule| rule.applies(reason)) {
        return rule.then;
    }
    let wrong = match reason {
        EndReason::UpgradeRefused { status, .. } => settings.statuses.contains(status),
        EndReason::Tls { untrusted, .. } => *untrusted,
        EndReason::LoginRefused { class, .. } | EndReason::LoginFailed { class, .. } => {
            matches!(class, ErrorClass::Refused | ErrorClass::Benign)
        }
        _ => false,
    };
    let fatal_login = matches!(
        reason,
        EndReason::LoginRefused { class: ErrorClass::FeedFatal, .. }
            | EndReason::LoginFailed { class: ErrorClass::FeedFatal, .. }
    );
    if fatal_login || matches!(reason, EndReason::Provider { fatal: true, .. }) {
        return Decision::Fatal;
    }
    match (wrong, ever_up || !settings.when_never_up) {
        (false, _) => Decision::Retry,
        (true, true) => Decision::RetrySlowly,
        (true, false) => Decision::Fatal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(rules: Vec<EndRule>) -> Settings {
        Settings { rules, statuses: vec![400, 401, 403, 404, 410, 426], when_never_up: true }
    }

    fn refused(status: u16, body: &str) -> EndReason {
        EndReason::UpgradeRefused { status, retry_after: None, location: None, body: body.to_owned() }
    }

    fn closed(code: impl Into<Option<u16>>, reason: &str) -> EndReason {
        EndReason::ClosedByPeer { code: code.into(), reason: reason.to_owned() }
    }

    /// A rule for closes.
    fn codes(codes: &[RangeInclusive<u16>], then: Decision) -> EndRule {
        EndRule { codes: codes.to_vec(), statuses: Vec::new(), reason_contains: None, then }
    }

    /// A rule for words.
    fn says(text: &str, then: Decision) -> EndRule {
        EndRule { codes: Vec::new(), statuses: Vec::new(), reason_contains: Some(text.to_owned()), then }
    }

    #[test]
    fn mistakes_are_fatal_before_the_first_connection_and_slow_after_it() {
        let settings = settings(Vec::new());
        let login = |class| EndReason::LoginRefused { detail: String::new(), class };
        let failed = |class| EndReason::LoginFailed { detail: String::new(), class };
        let tls = |untrusted| EndReason::Tls { detail: String::new(), untrusted };
        let cases = [
            (refused(401, ""), Decision::Fatal, Decision::RetrySlowly),
            (refused(426, ""), Decision::Fatal, Decision::RetrySlowly),
            (refused(302, ""), Decision::Retry, Decision::Retry),
            (refused(429, ""), Decision::Retry, Decision::Retry),
            (refused(503, ""), Decision::Retry, Decision::Retry),
            (tls(true), Decision::Fatal, Decision::RetrySlowly),
            (tls(false), Decision::Retry, Decision::Retry),
            (login(ErrorClass::Refused), Decision::Fatal, Decision::RetrySlowly),
            (login(ErrorClass::RetryLater), Decision::Retry, Decision::Retry),
            (login(ErrorClass::ConnectionFatal), Decision::Retry, Decision::Retry),
            (login(ErrorClass::FeedFatal), Decision::Fatal, Decision::Fatal),
            (failed(ErrorClass::Refused), Decision::Fatal, Decision::RetrySlowly),
            (failed(ErrorClass::RetryLater), Decision::Retry, Decision::Retry),
            (failed(ErrorClass::FeedFatal), Decision::Fatal, Decision::Fatal),
            (closed(1000, ""), Decision::Retry, Decision::Retry),
            (EndReason::Eof, Decision::Retry, Decision::Retry),
            (EndReason::Dns { detail: String::new() }, Decision::Retry, Decision::Retry),
        ];
        for (reason, before, after) in cases {
            assert_eq!(decide(&reason, false, &settings), before, "{reason}");
            assert_eq!(decide(&reason, true, &settings), after, "{reason}");
        }
    }

    /// Whatever the feed has been.
    fn check(rules: Vec<EndRule>, cases: &[(EndReason, Decision)]) {
        let settings = settings(rules);
        for (reason, expected) in cases {
            assert_eq!(decide(reason, true, &settings), *expected, "{reason}");
            assert_eq!(decide(reason, false, &settings), *expected, "{reason}");
        }
    }

    #[test]
    fn hundreds_of_codes_are_fatal_or_retried_or_retried_at_once() {
        let rules = vec![
            codes(&[4000..=4099], Decision::Fatal),
            codes(&[4100..=4199], Decision::RetryAfter(Duration::from_secs(1))),
            codes(&[4200..=4299], Decision::RetryNow),
        ];
        let later = Decision::RetryAfter(Duration::from_secs(1));
        check(
            rules,
            &[
                (closed(3999, ""), Decision::Retry),
                (closed(4000, ""), Decision::Fatal),
                (closed(4099, "over quota"), Decision::Fatal),
                (closed(4100, ""), later),
                (closed(4199, ""), later),
                (closed(4200, ""), Decision::RetryNow),
                (closed(4299, ""), Decision::RetryNow),
                (closed(4300, ""), Decision::Retry),
                (closed(None, ""), Decision::Retry),
                (EndReason::Eof, Decision::Retry),
            ],
        );
    }

    #[test]
    fn a_list_of_codes_and_ranges_is_fatal() {
        let fatal = [4004, 4010, 4011, 4012, 4013, 4014];
        let rules = vec![codes(&[4004..=4004, 4010..=4014], Decision::Fatal)];
        let cases: Vec<_> = (4000..4020)
            .map(|code| {
                let expected = if fatal.contains(&code) { Decision::Fatal } else { Decision::Retry };
                (closed(code, ""), expected)
            })
            .collect();
        check(rules, &cases);
    }

    #[test]
    fn the_words_of_a_close_decide_and_codes_can_narrow_them() {
        let mut narrow = says("retry=60", Decision::RetryAfter(Duration::from_secs(60)));
        narrow.codes = vec![3000..=3499];
        let rules = vec![
            says(r#""reconnect":false"#, Decision::Fatal),
            codes(&[3500..=3999, 4500..=4999], Decision::Fatal),
            narrow,
        ];
        check(
            rules,
            &[
                (closed(3012, r#"{"reason":"no ping","reconnect":false}"#), Decision::Fatal),
                (closed(3001, r#"{"reason":"shutdown","reconnect":true}"#), Decision::Retry),
                (closed(None, r#"{"reconnect":false}"#), Decision::Fatal),
                (closed(3500, r#"{"reconnect":true}"#), Decision::Fatal),
                (closed(4999, ""), Decision::Fatal),
                (closed(3499, "retry=60"), Decision::RetryAfter(Duration::from_secs(60))),
                (closed(3400, "retry=6"), Decision::Retry),
                (closed(2999, "retry=60"), Decision::Retry),
                (refused(500, r#"{"reconnect":false}"#), Decision::Fatal),
            ],
        );
    }

    #[test]
    fn statuses_are_of_refusals_and_codes_of_closes() {
        let both = EndRule {
            codes: vec![1008..=1008],
            statuses: vec![401..=401, 500..=599],
            reason_contains: None,
            then: Decision::RetrySlowly,
        };
        check(
            vec![both.clone()],
            &[
                (refused(401, ""), Decision::RetrySlowly),
                (refused(503, ""), Decision::RetrySlowly),
                (refused(429, ""), Decision::Retry),
                (closed(1008, ""), Decision::RetrySlowly),
                (closed(500, ""), Decision::Retry),
            ],
        );
        let busy = EndRule { codes: Vec::new(), reason_contains: Some("busy".to_owned()), ..both };
        check(
            vec![busy],
            &[
                (refused(500, "busy"), Decision::RetrySlowly),
                (refused(500, ""), Decision::Retry),
                (closed(1008, "busy"), Decision::Retry),
            ],
        );
    }

    #[test]
    fn the_first_rule_that_applies_goes_before_all_others_and_the_default() {
        let everything = EndRule { reason_contains: None, ..says("", Decision::RetrySlowly) };
        let rules = vec![
            codes(&[1006..=1006], Decision::RetryNow),
            codes(&[1005..=1005], Decision::Fatal),
            codes(&[1000..=1999], Decision::Retry),
            everything,
        ];
        check(
            rules,
            &[
                (EndReason::Eof, Decision::RetryNow),
                (closed(None, ""), Decision::Fatal),
                (closed(1000, ""), Decision::Retry),
                (closed(4000, ""), Decision::RetrySlowly),
                (refused(401, ""), Decision::RetrySlowly),
                (EndReason::Reconnect, Decision::Retry),
                (EndReason::Protocol { detail: String::new() }, Decision::Retry),
            ],
        );
    }
}
