//! What an event says.

use super::feed::c_text;
use super::object::livefeed_event;
use super::pointers::Caller;
use super::reading::nanos;
use super::result::{Failure, LIVEFEED_NO_VALUE, guard, guard_value, livefeed_result};
use crate::clock;
use crate::event::{AlertKind, Event};
use crate::message::{Message, Payload, SubscriptionId};
use std::ffi::c_char;
use std::time::Duration;

/// No event, or one of a kind that this header does not know yet: leave it alone.
pub const LIVEFEED_EVENT_OTHER: i32 = 0;
/// An attempt to connect begins.
pub const LIVEFEED_EVENT_CONNECTING: i32 = 1;
/// A connection is established; its epoch is one more than that of the one before.
pub const LIVEFEED_EVENT_CONNECTED: i32 = 2;
/// A subscription is confirmed.
pub const LIVEFEED_EVENT_SUBSCRIBED: i32 = 3;
/// The server refused a subscription, or did not answer it in time.
pub const LIVEFEED_EVENT_REFUSED: i32 = 4;
/// The server ended a subscription while the connection goes on.
pub const LIVEFEED_EVENT_ENDED: i32 = 5;
/// A message.
pub const LIVEFEED_EVENT_MESSAGE: i32 = 6;
/// There was no data for longer than the limit, or none that is any good.
pub const LIVEFEED_EVENT_STALE: i32 = 7;
/// The data before and the data after may not join up.
pub const LIVEFEED_EVENT_GAP: i32 = 8;
/// A connection ended, or one or more attempts failed.
pub const LIVEFEED_EVENT_DISCONNECTED: i32 = 9;
/// Something a person should know.
pub const LIVEFEED_EVENT_ALERT: i32 = 10;
/// The feed is over: always the last event.
pub const LIVEFEED_EVENT_CLOSED: i32 = 11;

pub(super) fn kind_of(event: &Event) -> i32 {
    match event {
        Event::Connecting(_) => LIVEFEED_EVENT_CONNECTING,
        Event::Connected(_) => LIVEFEED_EVENT_CONNECTED,
        Event::Subscribed(_) => LIVEFEED_EVENT_SUBSCRIBED,
        Event::Refused(_) => LIVEFEED_EVENT_REFUSED,
        Event::Ended(_) => LIVEFEED_EVENT_ENDED,
        Event::Message(_) => LIVEFEED_EVENT_MESSAGE,
        Event::Stale(_) => LIVEFEED_EVENT_STALE,
        Event::Gap(_) => LIVEFEED_EVENT_GAP,
        Event::Disconnected(_) => LIVEFEED_EVENT_DISCONNECTED,
        Event::Alert(_) => LIVEFEED_EVENT_ALERT,
        Event::Closed(_) => LIVEFEED_EVENT_CLOSED,
    }
}

pub(super) fn message_of(event: &Event) -> Option<&Message> {
    match event {
        Event::Message(message) => Some(message),
        _ => None,
    }
}

/// The subscriptions that an event is about.
fn subscriptions_of(event: &Event) -> &[SubscriptionId] {
    let one = std::slice::from_ref;
    match event {
        Event::Message(message) => message.subscriptions(),
        Event::Gap(gap) => &gap.subscriptions,
        Event::Subscribed(e) => one(&e.subscription),
        Event::Refused(e) => one(&e.subscription),
        Event::Ended(e) => one(&e.subscription),
        Event::Stale(e) => e.subscription.as_slice(),
        Event::Alert(e) => match &e.kind {
            AlertKind::SubscribeFailed { subscription, .. }
            | AlertKind::SubscriptionRefused { subscription, .. }
            | AlertKind::SubscriptionStale { subscription, .. }
            | AlertKind::Quarantined { subscription, .. } => one(subscription),
            AlertKind::LimitAtCeiling { subscription, .. } => subscription.as_slice(),
            _ => &[],
        },
        Event::Connecting(_) | Event::Connected(_) | Event::Disconnected(_) | Event::Closed(_) => &[],
    }
}

fn age_of(event: &Event) -> Option<Duration> {
    match event {
        Event::Message(message) => Some(clock::mono().saturating_duration_since(message.received())),
        Event::Stale(stale) => Some(stale.age),
        _ => None,
    }
}

/// Returns what kind of event it is: `LIVEFEED_EVENT_..`; `LIVEFEED_EVENT_OTHER` for NULL and what is no event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_kind(event: *const livefeed_event) -> i32 {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard_value(LIVEFEED_EVENT_OTHER, || Ok(kind_of(&caller.event(event)?.event)))
}

/// Gives the payload of a message: text in UTF-8, or bytes (see `livefeed_event_is_binary`).
///
/// Ownership: `*data` belongs to the event and is valid until that is freed. It is not NUL-terminated, and not NULL,
/// also when `*length` is 0.
///
/// Errors: `LIVEFEED_NO_VALUE` if it is no message.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_payload(
    event: *const livefeed_event,
    data: *mut *const u8,
    length: *mut usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let (data, length) = (caller.out(data, "data")?, caller.out(length, "length")?);
        let event = caller.event(event)?;
        let message = message_of(&event.event)
            .ok_or(Failure::fixed(LIVEFEED_NO_VALUE, c"only messages have a payload"))?;
        data.set(message.as_bytes().as_ptr());
        length.set(message.len());
        Ok(())
    })
}

/// Returns whether it is a binary message; `false` for NULL and whatever else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_is_binary(event: *const livefeed_event) -> bool {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard_value(false, || {
        let event = caller.event(event)?;
        Ok(message_of(&event.event).is_some_and(|message| matches!(message.payload(), Payload::Binary(_))))
    })
}

/// Returns the connection that it belongs to, counted from 1; 0 for NULL. `LIVEFEED_EVENT_CONNECTING`, and
/// `LIVEFEED_EVENT_DISCONNECTED` of an attempt that failed, have that of the connection to come;
/// `LIVEFEED_EVENT_CLOSED` and the like have that of the last one, 0 if there has been none.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_epoch(event: *const livefeed_event) -> u64 {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard_value(0, || Ok(caller.event(event)?.event.epoch()))
}

/// Returns when it happened, or a message was received, in milliseconds since 1970 (UTC), by the wall clock; 0 for
/// NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_time_ms(event: *const livefeed_event) -> i64 {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard_value(0, || Ok(nanos(&caller.event(event)?.event) / 1_000_000))
}

/// Returns an age in milliseconds: of a message, how long ago it was received, by the monotonic clock; of
/// `LIVEFEED_EVENT_STALE`, for how long there was no data. -1 for all others and for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_age_ms(event: *const livefeed_event) -> i64 {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard_value(-1, || {
        let age = age_of(&caller.event(event)?.event);
        Ok(age.map_or(-1, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX)))
    })
}

/// Returns how many subscriptions it is about; 0 for NULL. A message belongs to those whose `data` it met. A gap with
/// none affects all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_subscription_count(event: *const livefeed_event) -> usize {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard_value(0, || Ok(subscriptions_of(&caller.event(event)?.event).len()))
}

/// Gives the `id` of one of the subscriptions it is about, by its index from 0.
///
/// Ownership: `*text` belongs to the event and is valid until that is freed. It is not NUL-terminated.
///
/// Errors: `LIVEFEED_NO_VALUE` if there are not so many.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_subscription(
    event: *const livefeed_event,
    index: usize,
    text: *mut *const c_char,
    length: *mut usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let (text, length) = (caller.out(text, "text")?, caller.out(length, "length")?);
        let event = caller.event(event)?;
        let name = subscriptions_of(&event.event)
            .get(index)
            .ok_or(Failure::fixed(LIVEFEED_NO_VALUE, c"the event is not about so many subscriptions"))?
            .as_str();
        text.set(name.as_ptr().cast());
        length.set(name.len());
        Ok(())
    })
}

/// Gives the event as a JSON object: with its name (`event`), time, feed and epoch, and all that there is to say
/// about it. The form is that of `livefeed tail --format json` and of `schema/events.schema.json`.
///
/// Ownership: `*text` belongs to the event and is valid until that is freed. It is NUL-terminated; `*length` is
/// without the NUL. It is made by the first call, and kept.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn livefeed_event_json(
    event: *const livefeed_event,
    text: *mut *const c_char,
    length: *mut usize,
) -> livefeed_result {
    // SAFETY: what the header asks of C, under "Pointers".
    let caller = unsafe { Caller::promises() };
    guard(|| {
        let (text, length) = (caller.out(text, "text")?, caller.out(length, "length")?);
        let event = caller.event(event)?;
        let json = match event.json.get() {
            Some(json) => json,
            None => {
                let made = c_text(event.event.to_json(event.feed.as_str()).to_string())?;
                event.json.get_or_init(|| made)
            }
        };
        text.set(json.as_ptr());
        length.set(json.as_bytes().len());
        Ok(())
    })
}
