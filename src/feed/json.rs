//! What hosts of other languages ask for in JSON.

use super::Feed;
use crate::config::{self, Subscription};
use crate::dialect::{Matcher, Template};
use crate::engine::core::Caller;
use crate::error::Error;
use crate::message::Message;
use std::time::Duration;

impl Feed {
    /// What those are told who ask for something that a closed feed does not do.
    pub(crate) fn check_open(&self) -> Result<(), Error> {
        self.engine.shared.with(Caller::User, |core| match core.session.closed() {
            Some(reason) => Err(Error::Closed(Box::new(reason.clone()))),
            None => Ok(()),
        })
    }

    /// [`subscribe`](Self::subscribe), with an entry of `subscriptions` as it stands in a configuration.
    pub(crate) fn subscribe_json(&self, json: &str) -> Result<(), Error> {
        let subscription: Subscription = config::read_part("subscription", json)?;
        self.subscribe(subscription)
    }

    /// [`request`](Self::request), with a template and a matcher as they stand in a configuration.
    pub(crate) fn request_json(
        &self,
        question: &str,
        reply: &str,
        timeout: Duration,
    ) -> Result<Message, Error> {
        let question: Template = config::read_part("question", question)?;
        let reply: Matcher = config::read_part("matcher", reply)?;
        self.request(question, reply, timeout)
    }
}
