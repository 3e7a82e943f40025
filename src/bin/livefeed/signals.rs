//! SIGINT, SIGTERM and SIGHUP, as a message on a channel.

use crate::exit::Failure;
use crate::time;
use livefeed::crossbeam_channel::{Receiver, bounded};
use std::io;
use std::time::{Duration, Instant};

/// What comes this soon after the first request is the same: `timeout` and systemd send two signals at once.
const SAME: Duration = Duration::from_millis(500);

/// The exit status of who was interrupted.
const INTERRUPTED: i32 = 130;

/// A channel that gets a message when the program is asked to end. To be called once.
///
/// A second request, from somebody who is tired of waiting, ends the program at once. What whoever started it had ignored
/// (`nohup`; SIGINT in the background of a script) stays ignored, where that can be known: on Linux.
pub(crate) fn stop() -> Result<Receiver<()>, Failure> {
    let (sender, receiver) = bounded(1);
    let mut first: Option<Instant> = None;
    catch(move || match first {
        None => {
            first = Some(time::mono());
            let _ = sender.try_send(());
        }
        Some(first) if time::mono().saturating_duration_since(first) < SAME => {}
        Some(_) => std::process::exit(INTERRUPTED),
    })
    .map_err(|error| Failure::failed(format!("signals can't be caught: {error}")))?;
    Ok(receiver)
}

/// Has this called on each request, on a thread of its own.
#[cfg(unix)]
fn catch(mut asked: impl FnMut() + Send + 'static) -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = ignored(&status);
    // A system that can't be told otherwise may stop it by SIGTERM alone.
    let caught = [SIGINT, SIGTERM, SIGHUP].into_iter();
    let caught = caught.filter(|signal| *signal == SIGTERM || ignored >> (signal - 1) & 1 == 0);
    let mut signals = signal_hook::iterator::Signals::new(caught)?;
    let wait = move || signals.forever().for_each(|_| asked());
    std::thread::Builder::new().name("livefeed-signals".to_owned()).spawn(wait).map(drop)
}

/// The ignored signals, by the numbers of bits, from what Linux says of a process.
#[cfg(unix)]
fn ignored(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or_default()
}

#[cfg(not(unix))]
fn catch(asked: impl FnMut() + Send + 'static) -> io::Result<()> {
    ctrlc::set_handler(asked).map_err(io::Error::other)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_known() {
        assert_eq!(ignored("Name:\tx\nSigIgn:\t0000000000001001\nSigCgt:\t0\n"), 0x1001);
        assert_eq!(ignored("SigIgn:\tx\n"), 0);
        assert_eq!(ignored(""), 0);
    }
}
