//! Whether anybody still reads standard output. A write would tell, but a quiet feed has nothing to write.

use livefeed::crossbeam_channel::{Receiver, bounded, never};

/// A channel that gets a message, or ends, when the reading end of standard output is gone. On systems where that can't
/// be waited for it never does.
pub(crate) fn watch() -> Receiver<()> {
    #[cfg(unix)]
    {
        let (sender, receiver) = bounded(1);
        let watch = move || {
            if wait() {
                let _ = sender.try_send(());
            } else {
                std::mem::forget(sender); // not known: as if it were there for ever
            }
        };
        let started = std::thread::Builder::new().name("livefeed-gone".to_owned()).spawn(watch);
        if started.is_ok() {
            return receiver;
        }
    }
    never()
}

/// Waits until nobody reads standard output any more; `false` if that can't be known.
#[cfg(unix)]
fn wait() -> bool {
    use rustix::event::{PollFd, PollFlags, poll};
    let stdout = std::io::stdout();
    loop {
        // Nothing is asked for: errors and hang-ups are always told.
        let mut fds = [PollFd::new(&stdout, PollFlags::empty())];
        match poll(&mut fds, None) {
            Ok(_) => {
                let [fd] = &fds;
                let gone = fd.revents().intersects(PollFlags::ERR | PollFlags::HUP);
                if gone || !fd.revents().is_empty() {
                    return gone;
                }
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return false,
        }
    }
}
