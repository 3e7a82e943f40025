//! SIGINT, SIGTERM and SIGHUP, as a message on a channel.

use crate::exit::Failure;
use livefeed::crossbeam_channel::{Receiver, bounded};

/// A channel that gets a message when the program is asked to end. To be called once.
///
/// The second request ends the program at once. SIGHUP is no request if it was ignored from the start, as `nohup` does it.
pub(crate) fn stop() -> Result<Receiver<()>, Failure> {
    let (sender, receiver) = bounded(1);
    let asked = move || {
        if sender.try_send(()).is_err() {
            std::process::exit(130);
        }
    };
    watch(asked)
        .map_err(|error| Failure::failed(format!("signals can't be caught: {error}")))
        .map(|()| receiver)
}

#[cfg(unix)]
fn watch(asked: impl Fn() + Send + 'static) -> std::io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    use signal_hook::iterator::Signals;
    let all = [SIGINT, SIGTERM, SIGHUP];
    let ignored = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ends = all.into_iter().filter(|signal| *signal != SIGHUP || !is_ignored(&ignored, *signal));
    let mut signals = Signals::new(ends)?;
    let wait = move || signals.forever().for_each(|_| asked());
    std::thread::Builder::new().name("livefeed-signals".to_owned()).spawn(wait)?;
    Ok(())
}

/// Whether a signal is ignored, by what Linux says of a process in `/proc/PID/status`. Other systems do not say it.
#[cfg(unix)]
fn is_ignored(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(signal - 1).ok().and_then(|bit| mask.checked_shr(bit)).is_some_and(|mask| mask & 1 == 1)
}

#[cfg(not(unix))]
fn watch(asked: impl Fn() + Send + 'static) -> Result<(), ctrlc::Error> {
    ctrlc::set_handler(asked)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_known() {
        let status =
            "Name:\tx\nSigBlk:\tffffffffffffffff\nSigIgn:\t0000000000001001\nSigCgt:\t0000000000000000\n";
        assert!(is_ignored(status, 1) && is_ignored(status, 13));
        assert!(!is_ignored(status, 2) && !is_ignored("", 1) && !is_ignored("SigIgn:\tx", 1));
    }
}
