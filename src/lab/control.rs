//! The handle that drives a lab at run time.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::Sender;

use super::command::Command;
use super::listener::Order;
use super::script::Script;
use super::wait::Postbox;
use super::worker::Mail;
use super::{Plan, Shared, lock};

/// How long the listener's thread may take for an order.
const LIMIT: Duration = Duration::from_secs(5);

/// Drives a running lab.
///
/// Commands to connections are posted and take effect within about a millisecond, in the order of posting; the
/// transcript says when. Those to a connection that is over have no effect. The methods about listening return when it
/// is done.
///
/// # Threads
///
/// Clones can be used on any thread. A handle may outlive its lab; then it has no effect.
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) workers: Arc<[Postbox<Mail>]>,
    pub(super) listener: Postbox<Order>,
    pub(super) shared: Arc<Shared>,
}

impl Control {
    /// Tells all connections that are open now.
    pub fn all(&self, command: Command) {
        for worker in self.workers.iter() {
            worker.post(Mail::Command { connection: None, command: command.clone() });
        }
    }

    /// Tells one connection, by its number.
    pub fn connection(&self, number: usize, command: Command) {
        if let Some(worker) = self.workers.get(number % self.workers.len().max(1)) {
            worker.post(Mail::Command { connection: Some(number), command });
        }
    }

    /// Resets all connections that are open now.
    pub fn drop_connections(&self) {
        self.all(Command::Reset);
    }

    /// Gives all later connections this script.
    pub fn script(&self, script: Script) {
        self.scripts(move |_| script.clone());
    }

    /// Gives each later connection the script that the closure makes for its number.
    pub fn scripts(&self, plan: impl Fn(usize) -> Script + Send + Sync + 'static) {
        let plan: Plan = Arc::new(plan);
        *lock(&self.shared.plan) = plan;
    }

    /// Passes over sequence numbers of a topic, as though that many messages had been published and lost.
    pub fn skip(&self, topic: &str, messages: u64) {
        self.shared.sequences.skip(topic, messages);
    }

    /// Closes the listening socket: connection attempts are refused. Open connections stay.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the lab is gone.
    pub fn stop_listening(&self) -> io::Result<()> {
        self.order(Order::Close)
    }

    /// Listens again at the same address.
    ///
    /// # Errors
    ///
    /// Those of the system, mostly that another process has taken the port meanwhile; `NotConnected` if the lab is
    /// gone.
    pub fn listen_again(&self) -> io::Result<()> {
        self.order(Order::Open)
    }

    /// Says whether connections are accepted. While they are not, the system completes TCP connections on its own until
    /// the backlog is full, and nobody answers on them; later ones hang.
    ///
    /// # Errors
    ///
    /// `NotConnected` if the lab is gone.
    pub fn accept(&self, yes: bool) -> io::Result<()> {
        self.order(|reply| Order::Accept(yes, reply))
    }

    fn order(&self, order: impl FnOnce(Sender<io::Result<()>>) -> Order) -> io::Result<()> {
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let (sender, receiver) = crossbeam_channel::bounded(1);
        if !self.listener.post(order(sender)) {
            return Err(gone());
        }
        receiver.recv_timeout(LIMIT).map_err(|_| gone())?
    }
}
