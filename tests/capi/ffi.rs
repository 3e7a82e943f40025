//! The C functions as a test wants them.

use livefeed::capi::*;
use std::ffi::{CStr, c_char};
use std::ptr::{null, null_mut};

/// No wait in a test is longer.
pub(crate) const CEILING_MS: i64 = 10_000;

/// A feed that is freed at the end.
#[derive(Debug)]
pub(crate) struct Handle(pub(crate) *mut livefeed_feed);

// SAFETY: any function may be called on any thread.
unsafe impl Send for Handle {}
// SAFETY: as above.
unsafe impl Sync for Handle {}

impl Drop for Handle {
    fn drop(&mut self) {
        unsafe { livefeed_free(self.0) }
    }
}

impl Handle {
    pub(crate) fn prepare(config: &str) -> Result<Self, livefeed_result> {
        let mut feed = null_mut();
        let result = unsafe { livefeed_prepare(config.as_ptr().cast(), config.len(), &mut feed) };
        ok(result).map(|()| Self(feed))
    }

    pub(crate) fn open(config: &str) -> Result<Self, livefeed_result> {
        let mut feed = null_mut();
        let result = unsafe { livefeed_open(config.as_ptr().cast(), config.len(), &mut feed) };
        ok(result).map(|()| Self(feed))
    }

    /// The next event; waits for it in a test's patience.
    pub(crate) fn next(&self, timeout_ms: i64) -> Result<Taken, livefeed_result> {
        let mut event = null_mut();
        ok(unsafe { livefeed_next(self.0, timeout_ms, &mut event) }).map(|()| Taken(event))
    }

    /// Reads until an event of this kind, and returns that.
    #[track_caller]
    pub(crate) fn until(&self, kind: i32) -> Taken {
        loop {
            match self.next(CEILING_MS) {
                Ok(event) if event.kind() == kind => return event,
                Ok(_) => {}
                Err(result) => panic!("{} before an event of kind {kind}: {}", name(result), message()),
            }
        }
    }

    pub(crate) fn close(&self) -> livefeed_result {
        unsafe { livefeed_close(self.0, CEILING_MS) }
    }

    pub(crate) fn health(&self) -> serde_json::Value {
        let (mut text, mut length) = (null_mut(), 0);
        ok(unsafe { livefeed_health_json(self.0, &mut text, &mut length) }).unwrap();
        let json = serde_json::from_slice(unsafe { bytes(text.cast_const().cast(), length) }).unwrap();
        unsafe { livefeed_string_free(text) };
        json
    }
}

/// An event that is freed at the end.
#[derive(Debug)]
pub(crate) struct Taken(pub(crate) *mut livefeed_event);

// SAFETY: any function may be called on any thread.
unsafe impl Send for Taken {}

impl Drop for Taken {
    fn drop(&mut self) {
        unsafe { livefeed_event_free(self.0) }
    }
}

impl Taken {
    pub(crate) fn kind(&self) -> i32 {
        unsafe { livefeed_event_kind(self.0) }
    }

    pub(crate) fn payload(&self) -> Option<Vec<u8>> {
        payload(self.0)
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        json(self.0)
    }
}

pub(crate) fn payload(event: *const livefeed_event) -> Option<Vec<u8>> {
    let (mut data, mut length) = (null(), 0);
    let result = unsafe { livefeed_event_payload(event, &mut data, &mut length) };
    (result == LIVEFEED_OK).then(|| unsafe { bytes(data, length) }.to_vec())
}

pub(crate) fn json(event: *const livefeed_event) -> serde_json::Value {
    let (mut text, mut length) = (null::<c_char>(), 0);
    ok(unsafe { livefeed_event_json(event, &mut text, &mut length) }).unwrap();
    assert_eq!(unsafe { CStr::from_ptr(text) }.to_bytes().len(), length, "a NUL ends it");
    serde_json::from_slice(unsafe { bytes(text.cast(), length) }).unwrap()
}

/// # Safety
///
/// So many bytes can be read, for as long as they are looked at.
pub(crate) unsafe fn bytes<'a>(data: *const u8, length: usize) -> &'a [u8] {
    assert!(!data.is_null());
    unsafe { std::slice::from_raw_parts(data, length) }
}

pub(crate) fn ok(result: livefeed_result) -> Result<(), livefeed_result> {
    if result == LIVEFEED_OK { Ok(()) } else { Err(result) }
}

pub(crate) fn name(result: livefeed_result) -> &'static str {
    unsafe { CStr::from_ptr(livefeed_result_name(result)) }.to_str().unwrap()
}

pub(crate) fn message() -> String {
    unsafe { CStr::from_ptr(livefeed_error_message()) }.to_str().unwrap().to_owned()
}
