//! What a user can do about the end of a connection.

use crate::plain;
use livefeed::{CloseReason, EndReason, Stage};
use std::io::ErrorKind;

/// Why a feed closed, and what to do about it.
pub(crate) fn closed(reason: &CloseReason) -> String {
    let last = match reason {
        CloseReason::Fatal(last) | CloseReason::AttemptsExhausted { last, .. } => Some(last),
        CloseReason::DowntimeExhausted { last, .. } => last.as_ref(),
        _ => None,
    };
    with_hint(&reason.to_string(), last.and_then(hint))
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
    with_hint(&reason.to_string(), hint(reason))
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
        // What OpenSSL says. Trusting the issuer would not help.
        EndReason::Tls { untrusted: true, detail } if detail.contains("has expired") => {
            "the server needs a new certificate, or the clock of this machine is wrong"
        }
        EndReason::Tls { untrusted: true, detail } if detail.contains("hostname mismatch") => {
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
            (tls("verify failed (certificate has expired)", true), "new certificate"),
            (tls("verify failed (hostname mismatch)", true), "host in the URL"),
            (tls("wrong version number", false), "ws://"),
        ] {
            assert!(hint(&reason).is_some_and(|hint| hint.contains(part)), "{reason}");
        }
        assert_eq!(hint(&tls("no TLS there (ws:// instead of wss://?)", false)), None);
    }
}
