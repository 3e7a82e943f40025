//! Result codes, what went wrong in words, and the guard that no panic leaves.

use crate::error::Error;
use crate::panics;
use std::cell::RefCell;
use std::ffi::{CStr, CString, c_char};

/// What a call says: `LIVEFEED_OK`, or why it failed. The numbers are never given another meaning; later versions may
/// add some.
pub type livefeed_result = i32;

/// It worked.
pub const LIVEFEED_OK: i32 = 0;
/// Nothing came, or it was not done, in the time given. To read or wait again is fine; what was sent is sent, and goes on.
pub const LIVEFEED_TIMEOUT: i32 = 1;
/// The feed is over; a function that reads says it once all events were read. Final.
pub const LIVEFEED_CLOSED: i32 = 2;
/// A pointer that must not be NULL is NULL.
pub const LIVEFEED_NULL_POINTER: i32 = 3;
/// A text is not UTF-8.
pub const LIVEFEED_INVALID_UTF8: i32 = 4;
/// A pointer is none to what it should be: of another kind, freed, or not from livefeed. Not every wrong pointer can be
/// told.
pub const LIVEFEED_INVALID_HANDLE: i32 = 5;
/// The configuration, some JSON, or another argument is wrong; `livefeed_error_message` names it. Final.
pub const LIVEFEED_CONFIG: i32 = 6;
/// There is no connection at the moment, and nothing is kept for a later one: try again once connected.
pub const LIVEFEED_NOT_CONNECTED: i32 = 7;
/// Too much waits to be written (`limits.send_bytes`): try again later.
pub const LIVEFEED_OUTBOX_FULL: i32 = 8;
/// The message is larger than what may be sent. Final.
pub const LIVEFEED_TOO_LARGE: i32 = 9;
/// There is no subscription with that `id`. Final.
pub const LIVEFEED_UNKNOWN_SUBSCRIPTION: i32 = 10;
/// Called from a callback of this feed, whose thread it would wait for.
pub const LIVEFEED_WOULD_DEADLOCK: i32 = 11;
/// The feed's events go to its callback. Final.
pub const LIVEFEED_TAKEN: i32 = 12;
/// The operating system refused a thread or a file descriptor: its limit was met.
pub const LIVEFEED_SYSTEM: i32 = 13;
/// The feed was made in the parent of this process and can't be used here. Final.
pub const LIVEFEED_FORKED: i32 = 14;
/// A bug of livefeed, or a logger that panicked. The feed may go on.
pub const LIVEFEED_PANIC: i32 = 15;
/// This platform does not have it. Final.
pub const LIVEFEED_UNSUPPORTED: i32 = 16;
/// This event has no such thing.
pub const LIVEFEED_NO_VALUE: i32 = 17;
/// The feed was prepared and is not started.
pub const LIVEFEED_NOT_STARTED: i32 = 18;
/// The feed is started: it is too late for that. Final.
pub const LIVEFEED_ALREADY_STARTED: i32 = 19;
/// The message was not written, or not all of it: the connection ended before. It is not sent again.
pub const LIVEFEED_DROPPED: i32 = 20;

/// The version of the ABI that this header describes. It changes when a program that was built with an older header
/// would not work any more.
pub const LIVEFEED_ABI_VERSION: u32 = 1;

/// Why a call fails.
#[derive(Debug)]
pub(super) struct Failure {
    code: livefeed_result,
    message: Text,
}

#[derive(Debug)]
enum Text {
    Fixed(&'static CStr),
    Made(CString),
}

impl Text {
    fn as_ptr(&self) -> *const c_char {
        match self {
            Self::Fixed(text) => text.as_ptr(),
            Self::Made(text) => text.as_ptr(),
        }
    }
}

thread_local! {
    /// What the last call that failed on this thread had to say.
    static LAST: RefCell<Text> = const { RefCell::new(Text::Fixed(c"")) };
}

impl Failure {
    pub(super) fn new(code: livefeed_result, message: impl Into<String>) -> Self {
        let message = message.into().replace('\0', " ");
        let message = CString::new(message).map_or(Text::Fixed(c"(no message)"), Text::Made);
        Self { code, message }
    }

    /// One that allocates nothing.
    pub(super) const fn fixed(code: livefeed_result, message: &'static CStr) -> Self {
        Self { code, message: Text::Fixed(message) }
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> livefeed_result {
        self.code
    }

    pub(super) const TIMEOUT: Self = Self::fixed(LIVEFEED_TIMEOUT, c"timed out");
    pub(super) const FREED: Self = Self::fixed(LIVEFEED_CLOSED, c"the feed is closed: it was freed");

    /// With more to say.
    pub(super) fn and(self, more: &str) -> Self {
        let said = match &self.message {
            Text::Fixed(text) => text.to_string_lossy(),
            Text::Made(text) => text.to_string_lossy(),
        };
        Self::new(self.code, format!("{said}{more}"))
    }

    /// Keeps the message for `livefeed_error_message`.
    fn tell(self) -> livefeed_result {
        let code = self.code;
        // On a thread that is about to end there is nobody to tell.
        let old = LAST.try_with(|last| {
            last.try_borrow_mut().map(|mut last| std::mem::replace(&mut *last, self.message))
        });
        drop(old);
        code
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let code = match &error {
            Error::Timeout | Error::Empty => return Self::TIMEOUT,
            Error::Closed(_) => LIVEFEED_CLOSED,
            Error::Config { .. } => LIVEFEED_CONFIG,
            Error::NotConnected => LIVEFEED_NOT_CONNECTED,
            Error::OutboxFull { .. } => LIVEFEED_OUTBOX_FULL,
            Error::TooLarge { .. } => LIVEFEED_TOO_LARGE,
            Error::UnknownSubscription(_) => LIVEFEED_UNKNOWN_SUBSCRIPTION,
            Error::WouldDeadlock => LIVEFEED_WOULD_DEADLOCK,
            Error::Taken => LIVEFEED_TAKEN,
            Error::Thread(_) => LIVEFEED_SYSTEM,
            // Those of monitors and sets, which C has not.
            Error::Listen(_) | Error::NameTaken(_) | Error::NoFeed => LIVEFEED_CONFIG,
        };
        Self::new(code, error.to_string())
    }
}

/// Runs a call. Nothing unwinds out of it, and a failure is kept for `livefeed_error_message`.
pub(super) fn guard(call: impl FnOnce() -> Result<(), Failure>) -> livefeed_result {
    match panics::caught(call) {
        Ok(Ok(())) => LIVEFEED_OK,
        Ok(Err(failure)) => failure.tell(),
        Err(panic) => Failure::new(LIVEFEED_PANIC, format!("panicked: {panic}")).tell(),
    }
}

/// Runs a call that returns a value, and `otherwise` if it fails.
pub(super) fn guard_value<T>(otherwise: T, call: impl FnOnce() -> Result<T, Failure>) -> T {
    let mut value = otherwise;
    guard(|| {
        value = call()?;
        Ok(())
    });
    value
}

/// Says in English why the last call that failed on this thread did so: for people, not to be compared. It shows no
/// secret.
///
/// Ownership: NUL-terminated UTF-8, never NULL; empty if no call has failed yet. It belongs to livefeed and is valid
/// on this thread until the next call that fails here, `LIVEFEED_TIMEOUT` and the like included, or until the thread
/// ends.
///
/// Threads: each thread has its own.
#[unsafe(no_mangle)]
pub extern "C" fn livefeed_error_message() -> *const c_char {
    LAST.try_with(|last| last.try_borrow().map_or(c"".as_ptr(), |last| last.as_ptr()))
        .unwrap_or(c"nothing is kept of a failure while the thread ends".as_ptr())
}

/// Returns the name of a result code, such as `"LIVEFEED_TIMEOUT"`.
///
/// Ownership: NUL-terminated, never NULL, and valid for ever; `"unknown"` for a number that is no code.
#[unsafe(no_mangle)]
pub extern "C" fn livefeed_result_name(result: livefeed_result) -> *const c_char {
    let name = match result {
        LIVEFEED_OK => c"LIVEFEED_OK",
        LIVEFEED_TIMEOUT => c"LIVEFEED_TIMEOUT",
        LIVEFEED_CLOSED => c"LIVEFEED_CLOSED",
        LIVEFEED_NULL_POINTER => c"LIVEFEED_NULL_POINTER",
        LIVEFEED_INVALID_UTF8 => c"LIVEFEED_INVALID_UTF8",
        LIVEFEED_INVALID_HANDLE => c"LIVEFEED_INVALID_HANDLE",
        LIVEFEED_CONFIG => c"LIVEFEED_CONFIG",
        LIVEFEED_NOT_CONNECTED => c"LIVEFEED_NOT_CONNECTED",
        LIVEFEED_OUTBOX_FULL => c"LIVEFEED_OUTBOX_FULL",
        LIVEFEED_TOO_LARGE => c"LIVEFEED_TOO_LARGE",
        LIVEFEED_UNKNOWN_SUBSCRIPTION => c"LIVEFEED_UNKNOWN_SUBSCRIPTION",
        LIVEFEED_WOULD_DEADLOCK => c"LIVEFEED_WOULD_DEADLOCK",
        LIVEFEED_TAKEN => c"LIVEFEED_TAKEN",
        LIVEFEED_SYSTEM => c"LIVEFEED_SYSTEM",
        LIVEFEED_FORKED => c"LIVEFEED_FORKED",
        LIVEFEED_PANIC => c"LIVEFEED_PANIC",
        LIVEFEED_UNSUPPORTED => c"LIVEFEED_UNSUPPORTED",
        LIVEFEED_NO_VALUE => c"LIVEFEED_NO_VALUE",
        LIVEFEED_NOT_STARTED => c"LIVEFEED_NOT_STARTED",
        LIVEFEED_ALREADY_STARTED => c"LIVEFEED_ALREADY_STARTED",
        LIVEFEED_DROPPED => c"LIVEFEED_DROPPED",
        _ => c"unknown",
    };
    name.as_ptr()
}

/// Returns the version of the library, such as `"0.1.0"`.
///
/// Ownership: NUL-terminated, never NULL, and valid for ever.
#[unsafe(no_mangle)]
pub extern "C" fn livefeed_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

/// Returns the version of the ABI that the library has. A program that loads it at run time compares it with
/// `LIVEFEED_ABI_VERSION`, and uses no other.
#[unsafe(no_mangle)]
pub extern "C" fn livefeed_abi_version() -> u32 {
    LIVEFEED_ABI_VERSION
}
