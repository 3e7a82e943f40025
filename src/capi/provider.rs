//! The token provider: the host is asked anew at each attempt where to go, and with what.

use super::callback::{Gate, Provider, Userdata};
use super::feed::Prepared;
use super::object::{Tag, livefeed_attempt, livefeed_feed, livefeed_target};
use super::pointers::Caller;
use super::result::{Failure, LIVEFEED_NO_VALUE, LIVEFEED_NULL_POINTER, guard, guard_value, livefeed_result};
use crate::config::{self, Attempt, FeedBuilder, FeedConfig, FeedUrl, ProviderError, Target};
use crate::error::Error;
use crate::secret::Secret;
use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::{c_char, c_void};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// From a token provider: it has set what is needed, and the attempt goes on.
pub const LIVEFEED_PROVIDER_OK: i32 = 0;
/// From a token provider: it has nothing now. The attempt has failed; there will be another after a delay, as after any
/// other failure. A number that is none of these means the same.
pub const LIVEFEED_PROVIDER_RETRY: i32 = 1;
/// From a token provider: it will never have anything again. The feed closes.
pub const LIVEFEED_PROVIDER_FATAL: i32 = 2;

/// Is called before each attempt to connect, on a thread of livefeed. It reads the attempt, sets the target, and returns
/// `LIVEFEED_PROVIDER_OK`, `_RETRY` or `_FATAL`. Both pointers are valid until it returns.
///
/// It may take its time, to fetch a token, say: that counts for the attempt's budget (`connect.timeout`), and if nothing is
/// left of it the attempt has failed. It may call any function on its feed. Those that would wait for its own thread fail
/// with `LIVEFEED_WOULD_DEADLOCK`; after `livefeed_free` this call of it is the last, and what it returns counts for
/// nothing. It must return: no C++ exception and no `longjmp` may leave it.
pub type livefeed_token_provider = Option<
    unsafe extern "C-unwind" fn(
        userdata: *mut c_void,
        attempt: *const livefeed_attempt,
        target: *mut livefeed_target,
    ) -> i32,
>;

/// What a provider leaves.
#[derive(Default)]
pub(super) struct Draft {
    url: Option<FeedUrl>,
    headers: BTreeMap<String, Secret>,
    subprotocols: Vec<String>,
    variables: BTreeMap<String, Value>,
    error: Option<String>,
}

impl Draft {
    fn set_url(&mut self, url: &str) -> Result<(), Error> {
        let target = Target::new(url);
        target.check()?;
        self.url = Some(target.url);
        Ok(())
    }

    fn add_header(&mut self, name: &str, value: &str) -> Result<(), Error> {
        anywhere().header(name, value).check()?;
        self.headers.retain(|own, _| !own.eq_ignore_ascii_case(name));
        self.headers.insert(name.to_owned(), value.into());
        Ok(())
    }

    fn add_subprotocol(&mut self, name: &str) -> Result<(), Error> {
        let all = self.subprotocols.iter().map(String::as_str).chain([name]);
        all.fold(anywhere(), Target::subprotocol).check()?;
        self.subprotocols.push(name.to_owned());
        Ok(())
    }

    fn set_variable(&mut self, name: &str, json: &str) -> Result<(), Error> {
        config::check_given(name)?;
        let value = serde_json::from_str(json)
            .map_err(|_| Error::config("json", "is no JSON value: a text stands in quotes, \"like this\""))?;
        self.variables.insert(name.to_owned(), value);
        Ok(())
    }

    /// What it means together with the number that the provider returned. Without a URL the configured one is meant.
    fn into_target(
        self,
        answer: i32,
        configured: Option<&FeedUrl>,
    ) -> Result<(Target, BTreeMap<String, Value>), ProviderError> {
        let retry = match answer {
            LIVEFEED_PROVIDER_OK => {
                let Some(url) = self.url.or_else(|| configured.cloned()) else {
                    return Err(ProviderError::retry("it set no URL"));
                };
                let target = Target::new(url);
                return Ok((
                    Target { headers: self.headers, subprotocols: self.subprotocols, ..target },
                    self.variables,
                ));
            }
            LIVEFEED_PROVIDER_FATAL => {
                return Err(ProviderError::fatal(self.error.unwrap_or_else(|| "it gave up".to_owned())));
            }
            LIVEFEED_PROVIDER_RETRY => "it has nothing now".to_owned(),
            number => format!("it returned {number}, which is no LIVEFEED_PROVIDER_.."),
        };
        Err(ProviderError::retry(self.error.unwrap_or(retry)))
    }
}

/// A target that is fine, to check a part of one by.
fn anywhere() -> Target {
    Target::new("ws://localhost/")
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl livefeed_target {
    fn change(&self, change: impl FnOnce(&mut Draft) -> Result<(), Error>) -> Result<(), Failure> {
        Ok(change(&mut locked(&self.draft))?)
    }
}

impl Provider {
    /// Has the feed that is built ask it. The variables that it sets are known to all that is sent on the connection, and
    /// the logins of the configuration: a step before them hands them over.
    pub(super) fn install(self, config: &FeedConfig, builder: FeedBuilder, gate: Arc<Gate>) -> FeedBuilder {
        let urls: Vec<FeedUrl> = [&config.url].into_iter().chain(&config.endpoints).cloned().collect();
        let left = Arc::new(Mutex::new(BTreeMap::<String, Value>::new()));
        let given = Arc::clone(&left);
        let given =
            move || locked(&given).iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        builder.given(given).provider(move |attempt| {
            let url = urls.get(attempt.endpoint).or(urls.first()).filter(|url| !url.expose().is_empty());
            let (target, variables) = self.target(attempt, url, &gate)?;
            *locked(&left) = variables;
            Ok(target)
        })
    }

    fn target(
        self,
        attempt: &Attempt,
        configured: Option<&FeedUrl>,
        gate: &Gate,
    ) -> Result<(Target, BTreeMap<String, Value>), ProviderError> {
        let Some(pass) = gate.enter() else { return Err(ProviderError::retry("the feed was freed")) };
        let told = livefeed_attempt {
            tag: Tag::new(Tag::ATTEMPT),
            previous: attempt.previous.as_ref().map(ToString::to_string),
            attempt: attempt.clone(),
        };
        let mut target = livefeed_target { tag: Tag::new(Tag::TARGET), draft: Mutex::default() };
        let answer = self.ask(&pass, &told, &mut target);
        target.draft.into_inner().unwrap_or_else(PoisonError::into_inner).into_target(answer, configured)
    }
}

/// Has a callback asked before each attempt to connect: for tokens and signatures that age, and URLs that change.
/// What it does not set is taken from the configuration, whose `url` may be left out if the provider always sets one.
/// To be called between `livefeed_prepare` and `livefeed_start`; the last one set counts, and none can be taken back.
///
/// With a provider, placeholders such as `${token}` are not checked before they are used: it may know them.
///
/// Ownership: `userdata` is given to the callback as it is. It stays yours, and must be good until `livefeed_free`
/// has returned.
///
/// Threads: the provider runs on a thread of livefeed, never on two at once, nor beside the callback for events of
/// its feed.
///
/// Errors: `LIVEFEED_ALREADY_STARTED`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_set_token_provider(
    feed: *mut livefeed_feed,
    provider: livefeed_token_provider,
    userdata: *mut c_void,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let inner = caller.feed(feed)?;
        let call = provider.ok_or(Failure::fixed(LIVEFEED_NULL_POINTER, c"provider is NULL"))?;
        inner.prepare(|prepared: &mut Prepared| {
            prepared.provider = Some(Provider { call, userdata: Userdata(userdata) });
        })
    })
}

/// Returns the number of the attempt, counted from 1 since the last connection; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_attempt_number(attempt: *const livefeed_attempt) -> u32 {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard_value(0, || Ok(caller.attempt(attempt)?.attempt.number))
}

/// Returns the epoch that the connection will have, counted from 1; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_attempt_epoch(attempt: *const livefeed_attempt) -> u64 {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard_value(0, || Ok(caller.attempt(attempt)?.attempt.epoch))
}

/// Returns which endpoint is meant: 0 for `url` of the configuration, then those of `endpoints`, one further after
/// each attempt that failed; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_attempt_endpoint(attempt: *const livefeed_attempt) -> usize {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard_value(0, || Ok(caller.attempt(attempt)?.attempt.endpoint))
}

/// Says how the attempt or the connection before ended, in the words of the event `LIVEFEED_EVENT_DISCONNECTED`.
///
/// Ownership: `*text` belongs to the attempt and is valid until the provider returns. It is not NUL-terminated.
///
/// Errors: `LIVEFEED_NO_VALUE` if it is the first attempt.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_attempt_previous(
    attempt: *const livefeed_attempt,
    text: *mut *const c_char,
    length: *mut usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let (text, length) = (caller.out(text, "text")?, caller.out(length, "length")?);
        let previous = caller.attempt(attempt)?.previous.as_deref();
        let previous = previous.ok_or(Failure::fixed(LIVEFEED_NO_VALUE, c"nothing was before"))?;
        text.set(previous.as_ptr().cast());
        length.set(previous.len());
        Ok(())
    })
}

/// Sets the URL to connect to, in place of the configured one.
///
/// Errors: `LIVEFEED_CONFIG` if it can't be used. The target is as before then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_target_set_url(
    target: *mut livefeed_target,
    url: *const c_char,
    url_length: usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let target = caller.target(target)?;
        let url = caller.text(url, url_length, "url")?;
        target.change(|draft| draft.set_url(url))
    })
}

/// Adds a header to the upgrade request. It takes the place of one of the same name, here and in the configuration.
/// Its value is kept out of logs, events and errors.
///
/// Errors: `LIVEFEED_CONFIG` if it is no header, or one that livefeed makes itself. The target is as before then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_target_add_header(
    target: *mut livefeed_target,
    name: *const c_char,
    name_length: usize,
    value: *const c_char,
    value_length: usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let target = caller.target(target)?;
        let name = caller.text(name, name_length, "name")?;
        let value = caller.text(value, value_length, "value")?;
        target.change(|draft| draft.add_header(name, value))
    })
}

/// Adds a subprotocol to offer; the first is the preferred one. If there is one, those of the configuration are not
/// offered.
///
/// Errors: `LIVEFEED_CONFIG` if it is no name of a subprotocol, or is there already. The target is as before then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_target_add_subprotocol(
    target: *mut livefeed_target,
    name: *const c_char,
    name_length: usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let target = caller.target(target)?;
        let name = caller.text(name, name_length, "name")?;
        target.change(|draft| draft.add_subprotocol(name))
    })
}

/// Sets a variable of the connection that is about to be made: it stands for `"${name}"` in login steps, and in
/// `subscribe` and all else that is sent on that connection. A variable of the same name that a subscription has, or
/// that is captured from a message, goes before it. What is not set again is not known on the next connection. Its
/// value is kept out of logs, events and errors.
///
/// `json` is any JSON value: a string stands in quotes.
///
/// Errors: `LIVEFEED_CONFIG` if `json` is none, or `name` is no name or means something already (`id`, `name`,
/// `epoch`, `time_ms` and the like). The target is as before then.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_target_set_variable(
    target: *mut livefeed_target,
    name: *const c_char,
    name_length: usize,
    json: *const c_char,
    json_length: usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let target = caller.target(target)?;
        let name = caller.text(name, name_length, "name")?;
        let json = caller.text(json, json_length, "json")?;
        target.change(|draft| draft.set_variable(name, json))
    })
}

/// Sets what the feed says of an attempt for which the provider has nothing: with `LIVEFEED_PROVIDER_RETRY` or
/// `_FATAL`.
///
/// `text` appears in events and logs: put no secret into it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_target_set_error(
    target: *mut livefeed_target,
    text: *const c_char,
    text_length: usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let target = caller.target(target)?;
        let text = caller.text(text, text_length, "text")?;
        target.change(|draft| {
            draft.error = Some(text.to_owned());
            Ok(())
        })
    })
}
