//! What C says is believed only as far as it can be.

use super::*;
use crate::capi::feed::{livefeed_close, livefeed_free, livefeed_open, livefeed_prepare, livefeed_start};
use crate::capi::reading::{livefeed_batch_free, livefeed_next, livefeed_next_batch};
use crate::capi::result::LIVEFEED_OK;
use crate::lab::{Lab, Script};
use std::ptr::{null, null_mut};
use std::time::Duration;

fn caller() -> Caller {
    // SAFETY: what the tests say is as it is.
    unsafe { Caller::promises() }
}

fn code<T>(result: Result<T, Failure>) -> Option<i32> {
    result.err().map(|failure| failure.code())
}

#[test]
fn texts_have_a_length_or_an_end() {
    let caller = caller();
    let whole = b"one\0two\0";
    assert_eq!(caller.text(c"abc".as_ptr(), usize::MAX, "t").unwrap(), "abc");
    assert_eq!(caller.text(c"abc".as_ptr(), 2, "t").unwrap(), "ab");
    assert_eq!(caller.text(c"abc".as_ptr(), 0, "t").unwrap(), "");
    assert_eq!(caller.text(c"".as_ptr(), usize::MAX, "t").unwrap(), "");
    assert_eq!(caller.text(whole.as_ptr().cast(), 3, "t").unwrap(), "one");
    for (text, length) in [(c"\xff", 1), (c"\xff", usize::MAX), (c"a\xc3\xa4", 2)] {
        assert_eq!(code(caller.text(text.as_ptr(), length, "t")), Some(LIVEFEED_INVALID_UTF8));
    }
    for length in [0, 1, usize::MAX] {
        assert_eq!(code(caller.text(null(), length, "t")), Some(LIVEFEED_NULL_POINTER));
    }
    // No length at all: it is not even looked at.
    assert_eq!(code(caller.text(c"abc".as_ptr(), usize::MAX - 1, "t")), Some(LIVEFEED_CONFIG));
}

#[test]
fn bytes_may_be_none_at_all() {
    let caller = caller();
    assert_eq!(caller.bytes(null(), 0, "b").unwrap(), b"");
    assert_eq!(caller.bytes([1, 2, 3].as_ptr(), 2, "b").unwrap(), [1, 2]);
    assert_eq!(code(caller.bytes(null(), 1, "b")), Some(LIVEFEED_NULL_POINTER));
    assert_eq!(code(caller.bytes([1].as_ptr(), usize::MAX, "b")), Some(LIVEFEED_CONFIG));
}

#[test]
fn outputs_need_not_be_aligned_and_are_written_once_it_worked() {
    let caller = caller();
    let mut bytes = [0_u8; 9];
    let place = bytes.as_mut_ptr().wrapping_add(1).cast::<u64>();
    let out = caller.out(place, "o").unwrap();
    assert_eq!(bytes, [0; 9]);
    out.set(u64::MAX);
    assert_eq!(bytes, [0, 255, 255, 255, 255, 255, 255, 255, 255]);
    assert_eq!(code(caller.out(null_mut::<u64>(), "o")), Some(LIVEFEED_NULL_POINTER));
}

#[test]
fn one_thing_is_not_taken_for_another() {
    let caller = caller();
    let lab = Lab::start(Script::new()).unwrap();
    let url = lab.url();
    let (mut feed, mut event, mut batch) = (null_mut(), null_mut(), null_mut());
    // SAFETY: all of these can be written to.
    unsafe {
        assert_eq!(livefeed_open(url.as_ptr().cast(), url.len(), &mut feed), LIVEFEED_OK);
        assert_eq!(livefeed_next(feed, 10_000, &mut event), LIVEFEED_OK);
        assert_eq!(livefeed_next_batch(feed, 1, 10_000, &mut batch), LIVEFEED_OK);
    }
    let wrong = Some(LIVEFEED_INVALID_HANDLE);
    assert_eq!(code(caller.feed(event.cast_const().cast())), wrong);
    assert_eq!(code(caller.feed(batch.cast_const().cast())), wrong);
    assert_eq!(code(caller.event(feed.cast_const().cast())), wrong);
    assert_eq!(code(caller.batch(event.cast_const().cast())), wrong);
    assert_eq!(code(caller.take_event(feed.cast())), wrong);
    assert_eq!(code(caller.feed(feed.wrapping_byte_add(1))), wrong, "it is not aligned");
    assert_eq!(code(caller.feed(null())), Some(LIVEFEED_NULL_POINTER));
    // SAFETY: a batch that is not looked at any more.
    unsafe { livefeed_batch_free(batch) };
    let taken = caller.take_event(event).unwrap();
    // While it is not gone, its tag says that it is nobody's any more.
    let again = Box::into_raw(taken);
    assert_eq!(code(caller.take_event(again)), wrong);
    assert_eq!(code(caller.event(again)), wrong);
    // SAFETY: it comes from `into_raw`.
    drop(unsafe { Box::from_raw(again) });
    let inner = Arc::downgrade(&caller.feed(feed).unwrap());
    // SAFETY: nobody else uses it.
    unsafe {
        assert_eq!(livefeed_close(feed, 10_000), LIVEFEED_OK);
        livefeed_free(feed);
    }
    assert_eq!(inner.strong_count(), 0, "nothing of a feed outlives it");
}

#[test]
fn nothing_of_a_feed_outlives_it_closed_or_not() {
    let lab = Lab::start(Script::new().send("x")).unwrap();
    for n in 0..30 {
        let (url, mut feed) = (lab.url(), null_mut());
        // SAFETY: all of these can be read and written to, and nobody else uses the feed.
        let (inner, gate) = unsafe {
            assert_eq!(livefeed_prepare(url.as_ptr().cast(), url.len(), &mut feed), LIVEFEED_OK);
            let inner = caller().feed(feed).unwrap();
            let wake = Arc::downgrade(&inner.wake);
            if n % 3 > 0 {
                assert_eq!(livefeed_start(feed), LIVEFEED_OK);
            }
            if n % 3 > 1 {
                assert_eq!(livefeed_close(feed, 10_000), LIVEFEED_OK);
            }
            let inner = Arc::downgrade(&inner);
            livefeed_free(feed);
            (inner, wake)
        };
        assert_eq!(inner.strong_count(), 0, "at {n}");
        // The threads of one that was not closed end by themselves, and let go of theirs.
        let deadline = crate::clock::mono() + Duration::from_secs(10);
        while gate.strong_count() > 0 {
            assert!(crate::clock::mono() < deadline, "at {n}");
            std::thread::yield_now();
        }
    }
}
