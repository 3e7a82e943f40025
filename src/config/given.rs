//! Variables of a connection that a host's provider gives together with the endpoint.

use super::FeedBuilder;
use crate::dialect::{LoginStep, check_name};
use crate::error::Error;
use serde_json::Value;

/// Checks the name of such a variable.
pub(crate) fn check_given(name: &str) -> Result<(), Error> {
    check_name(name).map_err(|problem| Error::config("name", problem))
}

impl FeedBuilder {
    /// Makes what `given` returns, asked once on each connection, known to all that is sent there, and to the steps of the
    /// login: by a step before them.
    pub(crate) fn given(self, given: impl Fn() -> Vec<(String, Value)> + Send + Sync + 'static) -> Self {
        let step = LoginStep::call(move |login| {
            for (name, value) in given() {
                login.set(name, value);
            }
            Ok(())
        });
        self.config(|config| config.login.insert(0, step))
    }
}

/// An error of a configuration that has such a step, in the words of those who have not seen it.
pub(crate) fn without_given(error: Error) -> Error {
    let moved = |path: &str| {
        let (index, rest) = path.strip_prefix("login[")?.split_once(']')?;
        Some(format!("login[{}]{rest}", index.parse::<usize>().ok()?.checked_sub(1)?))
    };
    match error {
        Error::Config { path, problem } => Error::Config { path: moved(&path).unwrap_or(path), problem },
        error => error,
    }
}
