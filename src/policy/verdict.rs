//! Which ends are retried and which are final.

use crate::error::EndReason;

/// What to do after a connection or an attempt ended.
#[non_exhaustive]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Try again after the next delay of the backoff.
    Retry,
    /// Try again at the longest delay, and raise an alert.
    RetrySlowly,
    /// Close the feed.
    Fatal,
}

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// HTTP statuses of a refused upgrade that say that the request itself is wrong.
    pub(crate) statuses: Vec<u16>,
    /// Whether such a mistake is fatal while the feed has never been up.
    pub(crate) when_never_up: bool,
}

/// The default policy. Statuses that say the request itself is wrong, and a certificate that is not trusted, are
/// fatal while the feed has never been up (a script wants to hear of its mistake), and retried slowly once it
/// has (a service must outlive a bad hour). Everything else is retried.
pub(crate) fn decide(reason: &EndReason, ever_up: bool, settings: &Settings) -> Decision {
    let wrong = match reason {
        EndReason::UpgradeRefused { status, .. } => settings.statuses.contains(status),
        EndReason::Tls { untrusted, .. } => *untrusted,
        _ => false,
    };
    if matches!(reason, EndReason::Provider { fatal: true, .. }) {
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

    #[test]
    fn mistakes_are_fatal_before_the_first_connection_and_slow_after_it() {
        let settings = Settings { statuses: vec![400, 401, 403, 404, 410, 426], when_never_up: true };
        let refused = |status| EndReason::UpgradeRefused {
            status,
            retry_after: None,
            location: None,
            body: String::new(),
        };
        let tls = |untrusted| EndReason::Tls { detail: String::new(), untrusted };
        let cases = [
            (refused(401), Decision::Fatal, Decision::RetrySlowly),
            (refused(426), Decision::Fatal, Decision::RetrySlowly),
            (refused(302), Decision::Retry, Decision::Retry),
            (refused(429), Decision::Retry, Decision::Retry),
            (refused(503), Decision::Retry, Decision::Retry),
            (tls(true), Decision::Fatal, Decision::RetrySlowly),
            (tls(false), Decision::Retry, Decision::Retry),
            (
                EndReason::ClosedByPeer { code: Some(1000), reason: String::new() },
                Decision::Retry,
                Decision::Retry,
            ),
            (EndReason::Eof, Decision::Retry, Decision::Retry),
            (EndReason::Dns { detail: String::new() }, Decision::Retry, Decision::Retry),
        ];
        for (reason, before, after) in cases {
            assert_eq!(decide(&reason, false, &settings), before, "{reason}");
            assert_eq!(decide(&reason, true, &settings), after, "{reason}");
        }
    }
}
