//! Runs a command for each alert: one at a time, and for so long at most.

use crate::exit::say;
use crate::{plain, time};
use livefeed::crossbeam_channel::{Receiver, Sender, TryRecvError, bounded, select};
use livefeed::{Alert, Event, Feed};
use std::convert::Infallible;
use std::io::{self, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// So long a command may take.
const WITHIN: Duration = Duration::from_secs(30);
/// So long is waited for those that are still to be told of when all has ended.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command that the shell runs for each alert, with the event as JSON on its standard input, and the alert as a sentence
/// in the environment variable `LIVEFEED_ALERT`. What it prints goes to standard error.
///
/// However many feeds share it, one runs at a time, and what takes longer than 30 s is killed, with all that it started.
/// What waits for its turn is bounded by the feeds' own queues of alerts.
#[derive(Debug)]
pub(crate) struct OnAlert {
    command: String,
    within: Duration,
    /// Holds a token while none runs.
    turn: (Sender<()>, Receiver<()>),
    /// Dropped for the end.
    running: Mutex<Option<Sender<Infallible>>>,
    stop: Receiver<Infallible>,
}

impl OnAlert {
    pub(crate) fn new(command: impl Into<String>) -> Self {
        let turn = bounded(1);
        let _ = turn.0.try_send(());
        let (running, stop) = bounded(0);
        Self { command: command.into(), within: WITHIN, turn, running: Mutex::new(Some(running)), stop }
    }

    /// Runs it for an alert of the feed with this name, and waits for its end. What goes wrong is said on standard error.
    /// To be called from the feed's callback for alerts.
    pub(crate) fn tell(&self, feed: &str, alert: &Alert) {
        select! {
            recv(self.turn.1) -> _ => {}
            recv(self.stop) -> _ => return,
        }
        if let Err(problem) = self.run(feed, alert) {
            say(&format!("livefeed: the command for alerts {problem}"));
        }
        let _ = self.turn.0.try_send(());
    }

    /// Kills what runs, and lets nothing begin any more. Waits for that, for a moment.
    pub(crate) fn end(&self) {
        let running = self.running.lock().map(|mut running| running.take());
        drop(running);
        let _ = self.turn.1.recv_timeout(Duration::from_secs(1));
    }

    /// As [`end`](Self::end), but first waits until these feeds, which have ended by themselves, have told all their alerts:
    /// that one gave up is what somebody should hear of. For a minute at most, and not once `stop` asks for the end.
    pub(crate) fn finish(&self, feeds: Vec<Arc<Feed>>, stop: &Receiver<()>) {
        let by = time::mono() + PATIENCE;
        let (told, all_told) = bounded::<Infallible>(0);
        let wait = move || {
            for feed in feeds {
                let _ = feed.close(by.saturating_duration_since(time::mono()));
            }
            drop(told);
        };
        if std::thread::Builder::new().name("livefeed-tell".to_owned()).spawn(wait).is_ok() {
            select! {
                recv(all_told) -> _ => {}
                recv(stop) -> _ => {}
            }
        }
        self.end();
    }

    fn run(&self, feed: &str, alert: &Alert) -> Result<(), String> {
        let json = Event::Alert(Box::new(alert.clone())).to_json(feed).to_string();
        self.run_with(json, &alert.kind.to_string())
    }

    fn run_with(&self, json: String, sentence: &str) -> Result<(), String> {
        let child = shell(&self.command)
            .env("LIVEFEED_ALERT", plain::line(sentence).as_ref())
            .stdin(Stdio::piped())
            .stdout(io::stderr())
            .spawn();
        let mut child = child.map_err(|error| format!("can't be started: {error}"))?;
        let (input, line) = (child.stdin.take(), format!("{json}\n"));
        let write = move || {
            // A command need not read it, and it may be longer than fits into the pipe, by what a server says.
            input.map(|mut input| input.write_all(line.as_bytes()))
        };
        match self.wait(&mut child, write) {
            Ok(Some(status)) if status.success() => Ok(()),
            Ok(Some(status)) => Err(format!("failed: {status}")),
            Ok(None) if self.is_ending() => Err("was cut off, as the program ends".to_owned()),
            Ok(None) => Err(format!("was ended after {} s", self.within.as_secs_f64())),
            Err(error) => Err(format!("can't be waited for: {error}")),
        }
    }

    fn is_ending(&self) -> bool {
        self.stop.try_recv() == Err(TryRecvError::Disconnected)
    }

    /// Writes its input, and says how it ended; `None` if it had to be killed.
    #[cfg(unix)]
    fn wait<T>(
        &self,
        child: &mut Child,
        write: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Option<ExitStatus>> {
        use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let id = id.ok_or(io::ErrorKind::InvalidInput)?;
        let (ended, end) = bounded::<Infallible>(0);
        // Not reaped there, so the number stays that of this child until it is here.
        let wait = move || {
            write(); // here, as it waits if the pipe is full and the command reads nothing
            let options = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
            while matches!(waitid(WaitId::Pid(id), options), Err(rustix::io::Errno::INTR)) {}
            drop(ended);
        };
        let waiter = std::thread::Builder::new().name("livefeed-wait".to_owned()).spawn(wait);
        let in_time = waiter.is_ok()
            && select! {
                recv(end) -> _ => true,
                recv(self.stop) -> _ => false,
                default(self.within) => false,
            };
        if !in_time {
            let _ = kill_process_group(id, Signal::KILL);
        }
        let status = child.wait()?;
        Ok(in_time.then_some(status))
    }

    /// See the Unix form: here nothing better is known than to look now and then.
    #[cfg(not(unix))]
    fn wait<T>(
        &self,
        child: &mut Child,
        write: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<Option<ExitStatus>> {
        std::thread::Builder::new().name("livefeed-wait".to_owned()).spawn(move || drop(write()))?;
        let step = Duration::from_millis(50);
        let mut left = self.within;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(Some(status));
            }
            let stopped = select! {
                recv(self.stop) -> _ => true,
                default(step) => false,
            };
            left = left.saturating_sub(step);
            if stopped || left.is_zero() {
                child.kill()?;
                child.wait()?;
                return Ok(None);
            }
        }
    }
}

/// The system's shell, in a process group of its own, so that a signal of the terminal is not for it.
fn shell(command: &str) -> Command {
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt;
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(command).process_group(0);
        shell
    }
    #[cfg(not(unix))]
    {
        let mut shell = Command::new("cmd");
        shell.arg("/C").arg(command);
        shell
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_neither_reads_nor_ends_is_ended_in_time() {
        let on_alert = OnAlert { within: Duration::from_millis(200), ..OnAlert::new("sleep 600") };
        let begin = time::mono();
        let problem = on_alert.run_with("x".repeat(1 << 20), "an alert").unwrap_err();
        assert!(problem.contains("was ended after 0.2 s"), "{problem}");
        assert!((200..20_000).contains(&begin.elapsed().as_millis()), "{:?}", begin.elapsed());
    }

    #[test]
    fn all_of_it_comes_to_a_command_that_reads() {
        let on_alert = OnAlert::new("test $(wc -c) = 1048577 -a \"$LIVEFEED_ALERT\" = 'an alert'");
        on_alert.run_with("x".repeat(1 << 20), "an alert").unwrap();
    }
}
