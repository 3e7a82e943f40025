//! Every raw pointer, in and out: the one place that believes what C says.

use super::feed::Inner;
use super::object::{Tag, livefeed_attempt, livefeed_batch, livefeed_event, livefeed_feed, livefeed_target};
use super::result::{
    Failure, LIVEFEED_CONFIG, LIVEFEED_FORKED, LIVEFEED_INVALID_HANDLE, LIVEFEED_INVALID_UTF8,
    LIVEFEED_NULL_POINTER,
};
use std::ffi::{CStr, CString, c_char};
use std::marker::PhantomData;
use std::sync::Arc;

/// A caller that has promised to keep what the header asks of it under "Pointers".
///
/// What is borrowed through it is good for as long as the call.
pub(super) struct Caller(());

/// Where a function puts what it found.
pub(super) struct Out<'c, T> {
    place: *mut T,
    call: PhantomData<&'c Caller>,
}

impl<T> Out<'_, T> {
    pub(super) fn set(self, value: T) {
        // SAFETY: the caller promised that it can be written to; it need not be aligned.
        unsafe { self.place.write_unaligned(value) }
    }
}

impl Caller {
    /// # Safety
    ///
    /// Each pointer that is given to a method is NULL, or what the method asks for.
    pub(super) unsafe fn promises() -> Self {
        Self(())
    }

    /// A place to write to. It is not touched before [`Out::set`].
    pub(super) fn out<T>(&self, place: *mut T, name: &str) -> Result<Out<'_, T>, Failure> {
        if place.is_null() { Err(null(name)) } else { Ok(Out { place, call: PhantomData }) }
    }

    /// A text of that length, or one that a NUL ends.
    pub(super) fn text(&self, text: *const c_char, length: usize, name: &str) -> Result<&str, Failure> {
        if text.is_null() {
            return Err(null(name));
        }
        let bytes = if length == usize::MAX {
            // SAFETY: the caller promised that a NUL ends it.
            unsafe { CStr::from_ptr(text) }.to_bytes()
        } else {
            self.bytes(text.cast(), length, name)?
        };
        std::str::from_utf8(bytes).map_err(|error| {
            Failure::new(
                LIVEFEED_INVALID_UTF8,
                format!("{name} is not UTF-8 at byte {}", error.valid_up_to()),
            )
        })
    }

    /// So many bytes. There may be none at NULL.
    pub(super) fn bytes(&self, data: *const u8, length: usize, name: &str) -> Result<&[u8], Failure> {
        if length == 0 {
            return Ok(&[]);
        }
        if data.is_null() {
            return Err(null(name));
        }
        if isize::try_from(length).is_err() {
            let hint = if length == usize::MAX {
                "only text may be LIVEFEED_NUL_TERMINATED"
            } else {
                "it is too large"
            };
            return Err(Failure::new(LIVEFEED_CONFIG, format!("the length of {name} is no length: {hint}")));
        }
        // SAFETY: the caller promised that so many bytes can be read.
        Ok(unsafe { std::slice::from_raw_parts(data, length) })
    }

    /// A feed of this process. It is kept for the call, whoever frees it meanwhile.
    pub(super) fn feed(&self, feed: *const livefeed_feed) -> Result<Arc<Inner>, Failure> {
        let feed = self.tagged(feed, &[Tag::FEED], "feed")?;
        if !feed.inner.home.is_here() {
            return Err(Failure::fixed(
                LIVEFEED_FORKED,
                c"the feed was made in the process that this one was forked from",
            ));
        }
        Ok(Arc::clone(&feed.inner))
    }

    /// An event, whoever it belongs to.
    pub(super) fn event(&self, event: *const livefeed_event) -> Result<&livefeed_event, Failure> {
        self.tagged(event, &[Tag::EVENT, Tag::LENT_EVENT], "event")
    }

    pub(super) fn batch(&self, batch: *const livefeed_batch) -> Result<&livefeed_batch, Failure> {
        self.tagged(batch, &[Tag::BATCH], "batch")
    }

    pub(super) fn attempt(&self, attempt: *const livefeed_attempt) -> Result<&livefeed_attempt, Failure> {
        self.tagged(attempt, &[Tag::ATTEMPT], "attempt")
    }

    pub(super) fn target(&self, target: *const livefeed_target) -> Result<&livefeed_target, Failure> {
        self.tagged(target, &[Tag::TARGET], "target")
    }

    /// Something that begins with a tag.
    fn tagged<T>(&self, object: *const T, kinds: &[u32], name: &str) -> Result<&T, Failure> {
        if object.is_null() {
            return Err(null(name));
        }
        let wrong =
            || Failure::new(LIVEFEED_INVALID_HANDLE, format!("{name} is no livefeed_{name}, or was freed"));
        if !object.is_aligned() {
            return Err(wrong());
        }
        // SAFETY: the caller promised that it is of livefeed: then it begins with a tag, and can be read.
        let tag = unsafe { &*object.cast::<Tag>() };
        if !kinds.contains(&tag.kind()) {
            return Err(wrong());
        }
        // SAFETY: its tag says that it is one, and while its owner has not freed it, it is.
        Ok(unsafe { &*object })
    }

    /// Takes something from its owner. Of two that free it at once, one gets it.
    fn take<T>(&self, object: *mut T, kind: u32, name: &str) -> Result<Box<T>, Failure> {
        self.tagged(object, &[kind], name)?;
        // SAFETY: as in `tagged`.
        let tag = unsafe { &*object.cast::<Tag>() };
        if !tag.kill(kind) {
            return Err(Failure::new(LIVEFEED_INVALID_HANDLE, format!("{name} was freed")));
        }
        // SAFETY: things with such a tag come out of `Box::into_raw`, and nobody has taken it before.
        Ok(unsafe { Box::from_raw(object) })
    }

    pub(super) fn take_feed(&self, feed: *mut livefeed_feed) -> Result<Box<livefeed_feed>, Failure> {
        self.take(feed, Tag::FEED, "feed")
    }

    pub(super) fn take_event(&self, event: *mut livefeed_event) -> Result<Box<livefeed_event>, Failure> {
        self.take(event, Tag::EVENT, "event")
    }

    pub(super) fn take_batch(&self, batch: *mut livefeed_batch) -> Result<Box<livefeed_batch>, Failure> {
        self.take(batch, Tag::BATCH, "batch")
    }

    /// Takes back a text that was given away.
    pub(super) fn take_text(&self, text: *mut c_char) -> Option<CString> {
        // SAFETY: the caller promised that it is one of livefeed's that was not freed.
        (!text.is_null()).then(|| unsafe { CString::from_raw(text) })
    }
}

fn null(name: &str) -> Failure {
    Failure::new(LIVEFEED_NULL_POINTER, format!("{name} is NULL"))
}

#[cfg(all(test, feature = "lab"))]
#[path = "pointers_tests.rs"]
mod tests;
