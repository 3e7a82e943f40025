//! The end of a connection in plain words, and what a user can do about it.

use crate::plain;
use livefeed::{CloseReason, EndReason, Stage};
use std::io::ErrorKind;

/// Nobody but the user of this program ends a feed in good order.
const ASKED: &str = "asked to end";

/// Why a feed closed, and what to do about it.
pub(crate) fn closed(reason: &CloseReason) -> String {
    let last = match reason {
        CloseReason::Fatal(last) | CloseReason::AttemptsExhausted { last, .. } => Some(last),
        CloseReason::DowntimeExhausted { last, .. } => last.as_ref(),
        _ => None,
    };
    with_hint(&close(reason), last.and_then(hint))
}

/// Why a feed closed, in plain words.
pub(crate) fn close(reason: &CloseReason) -> String {
    match reason {
        CloseReason::ByUser => ASKED.to_owned(),
        CloseReason::Fatal(last) => end(last),
        CloseReason::AttemptsExhausted { attempts, last } => {
            format!("gave up after {attempts} attempts: {}", end(last))
        }
        CloseReason::DowntimeExhausted { down, last: Some(last) } => {
            format!("gave up after {:.1} s without a connection: {}", down.as_secs_f64(), end(last))
        }
        reason => reason.to_string(),
    }
}

/// Why a connection ended, in plain words: what only programmers know is left out.
pub(crate) fn end(reason: &EndReason) -> String {
    match reason {
        EndReason::ClosedByUser => ASKED.to_owned(),
        EndReason::Io { stage, kind, detail } => {
            let (words, address) = match detail.split_once(" (os error ") {
                Some((words, rest)) => {
                    (words, rest.split_once(" (").and_then(|(_, rest)| rest.strip_suffix(')')))
                }
                None => (detail.as_str(), None),
            };
            match (stage, kind, address) {
                (Stage::Connect, ErrorKind::ConnectionRefused, Some(address)) => {
                    format!("connection refused by {address}")
                }
                (Stage::Connect, _, Some(address)) => format!("could not connect to {address}: {words}"),
                (Stage::Connect, ..) => format!("could not connect: {words}"),
                (Stage::Read, ..) => format!("could not read: {words}"),
                (Stage::Write, ..) => format!("could not write: {words}"),
                (stage, ..) => format!("{stage}: {words}"),
            }
        }
        reason => reason.to_string(),
    }
}

/// The server's words may be in a reason. On a line of their own they could be taken for ours.
fn with_hint(reason: &str, hint: Option<&str>) -> String {
    let reason = plain::line(reason);
    match hint {
        Some(hint) => format!("{reason}; {hint}"),
        None => reason.into_owned(),
    }
}

/// Why a connection ended, and what to do about it.
pub(crate) fn ended(reason: &EndReason) -> String {
    with_hint(&end(reason), hint(reason))
}

/// What to do about it, where something can be said.
pub(crate) fn hint(reason: &EndReason) -> Option<&'static str> {
    Some(match reason {
        EndReason::Dns { .. } => "check the spelling of the host, and the network",
        EndReason::Io { stage: Stage::Connect, kind: ErrorKind::ConnectionRefused, .. } => {
            "nobody listens there: check host and port, and that the server runs"
        }
        EndReason::Io { stage: Stage::Upgrade, .. } | EndReason::UpgradeInvalid { .. } => {
            "is this a WebSocket server? If it speaks TLS, the URL begins with wss://"
        }
        EndReason::AttemptTimeout { stage: Stage::Connect, .. } => {
            "no answer: check host and port, and whether a firewall is in the way"
        }
        EndReason::AttemptTimeout { stage: Stage::Upgrade, .. } => {
            "something listens there, but it does not answer as a WebSocket server: check the port, and ws:// or wss://"
        }
        // Trusting the issuer would not help.
        EndReason::Tls { untrusted: true, detail }
            if detail.contains("has expired") || detail.contains("not yet valid") =>
        {
            "the server needs a new certificate, or the clock of this machine is wrong"
        }
        EndReason::Tls { untrusted: true, detail } if detail.contains("for another host") => {
            "write the host in the URL as its certificate names it"
        }
        EndReason::Tls { untrusted: true, .. } => {
            "if you trust it, give its certificate or that of its issuer with --ca-file FILE"
        }
        EndReason::Tls { detail, .. } if detail.contains("ws:// instead of wss://") => return None, // it says so itself
        EndReason::Tls { .. } | EndReason::Io { stage: Stage::Tls, .. } => {
            "does the server speak TLS on this port? Without it, the URL begins with ws://"
        }
        EndReason::UpgradeRefused { status: 401 | 403 | 407, .. } => {
            "the server wants credentials, or other ones: see --header-file and --header 'Authorization: Bearer @FILE'"
        }
        EndReason::UpgradeRefused { status: 404 | 410, .. } => "check the path of the URL",
        EndReason::UpgradeRefused { status: 400 | 426, .. } => {
            "check the path of the URL, the headers, and whether the server wants a --subprotocol"
        }
        EndReason::UpgradeRefused { status: 429 | 503, .. } => "the server asks for patience",
        EndReason::LoginRefused { .. } => "check the credentials",
        EndReason::LoginFailed { .. } => "check the steps of `login` against what the server sends",
        EndReason::AttemptTimeout { stage: Stage::Login, .. } => {
            "the server does not answer the login as `expect` says: look at what it sends"
        }
        EndReason::Stale { .. } => {
            "if that is no fault, raise --stale-after, or look whether --data says what its data looks like"
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_that_no_trust_would_help_is_told_apart() {
        let tls = |detail: &str, untrusted| EndReason::Tls { detail: detail.to_owned(), untrusted };
        for (reason, part) in [
            (tls("verify failed (self-signed certificate in certificate chain)", true), "--ca-file"),
            (tls("the certificate has expired", true), "new certificate"),
            (tls("the certificate is for another host", true), "host in the URL"),
            (tls("handshake failure", false), "ws://"),
        ] {
            assert!(hint(&reason).is_some_and(|hint| hint.contains(part)), "{reason}");
        }
        assert_eq!(hint(&tls("no TLS there (ws:// instead of wss://?)", false)), None);
    }

    #[test]
    fn ends_are_told_in_plain_words() {
        let io = |stage, kind, detail: &str| EndReason::Io { stage, kind, detail: detail.to_owned() };
        let refused = io(
            Stage::Connect,
            ErrorKind::ConnectionRefused,
            "Connection refused (os error 111) (127.0.0.1:9401)",
        );
        for (reason, words) in [
            (refused.clone(), "connection refused by 127.0.0.1:9401"),
            (
                io(
                    Stage::Connect,
                    ErrorKind::NetworkUnreachable,
                    "Network is unreachable (os error 101) ([::1]:1)",
                ),
                "could not connect to [::1]:1: Network is unreachable",
            ),
            (
                io(Stage::Read, ErrorKind::ConnectionReset, "Connection reset by peer (os error 104)"),
                "could not read: Connection reset by peer",
            ),
            (EndReason::ClosedByUser, "asked to end"),
            (EndReason::Eof, "closed without close frame"),
        ] {
            assert_eq!(end(&reason), words);
        }
        let gave_up = CloseReason::AttemptsExhausted { attempts: 3, last: refused };
        assert_eq!(close(&gave_up), "gave up after 3 attempts: connection refused by 127.0.0.1:9401");
        assert_eq!(close(&CloseReason::ByUser), "asked to end");
    }
}
