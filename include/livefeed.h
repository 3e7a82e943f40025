/*
 * livefeed: a blocking WebSocket feed client that can never go silently stale, and never hides a gap.
 *
 * A feed connects, subscribes, watches its data, reconnects by itself, and says all of that in one ordered stream of
 * events. Open one, read events until LIVEFEED_CLOSED, free it:
 *
 *     livefeed_feed *feed = NULL;
 *     livefeed_event *event = NULL;
 *     if (livefeed_open("wss://feed.example/ws", LIVEFEED_NUL_TERMINATED, &feed) != LIVEFEED_OK) {
 *         fprintf(stderr, "%s\n", livefeed_error_message());
 *         return 1;
 *     }
 *     while (livefeed_next(feed, -1, &event) == LIVEFEED_OK) {
 *         const uint8_t *data;
 *         size_t length;
 *         if (livefeed_event_payload(event, &data, &length) == LIVEFEED_OK) {
 *             fwrite(data, 1, length, stdout);
 *         }
 *         livefeed_event_free(event);
 *     }
 *     livefeed_free(feed);
 *
 * Rules, for all functions:
 *
 * - Results. A function that can fail returns a livefeed_result: LIVEFEED_OK is 0, everything else is a failure, and
 *   livefeed_error_message() says in words what it was. Outputs come last, and are left untouched by a failure.
 * - Errors. Whichever function has to do with it may return LIVEFEED_NULL_POINTER, LIVEFEED_INVALID_HANDLE, for a text
 *   LIVEFEED_INVALID_UTF8, for a feed LIVEFEED_FORKED and LIVEFEED_NOT_STARTED, and LIVEFEED_PANIC. Each function names the
 *   others alone.
 * - Pointers. What is given must be what the function asks for: something of livefeed that was not freed, a text or data
 *   that can be read for its length, an output that can be written to, a callback that can be called. NULL where something
 *   is needed fails with LIVEFEED_NULL_POINTER. What was freed, or is something else, fails with LIVEFEED_INVALID_HANDLE
 *   where that is noticed, but it often can't be.
 * - Ownership. What goes in is read or copied during the call, and stays yours. What comes out belongs to what it was asked
 *   from (an event, a batch, an attempt) and is valid until that is freed, unless the function says what frees it. Freeing
 *   NULL is fine. What you get as const is borrowed: not to be freed.
 * - Texts are UTF-8. Those that go in come with their length in bytes, or with LIVEFEED_NUL_TERMINATED. Those that come out
 *   come with their length, and have a NUL behind them only where the function says so.
 * - Times are milliseconds, in names that end in _ms. As a timeout, less than 0 means for ever, and 0 not to wait: one that
 *   is computed (a deadline less the present time) must not become negative by being late.
 * - Threads. Unless it says otherwise, a function may be called on any thread, on several at once, and in callbacks. No
 *   other call may use what is being freed, or was. Closing twice is fine.
 * - Callbacks run on threads of livefeed, outside of all its locks, and may call any function. One that would wait for the
 *   callback's own thread fails with LIVEFEED_WOULD_DEADLOCK. No C++ exception and no longjmp may leave a callback.
 * - Nothing unwinds out of livefeed: a panic, which would be a bug in it, becomes LIVEFEED_PANIC.
 * - State. All of it belongs to a feed, but for the callback for log records, which is that of the process, and the counts by
 *   which all feeds of it together stay within the limits of a host.
 * - Signals. livefeed has no handlers, and raises no SIGPIPE. Its threads have the signal mask of the one that starts the
 *   feed: what is to be handled on certain threads only is to be blocked there before.
 * - Unloading. Threads may be left for a moment after livefeed_free() (not after a livefeed_close() that returned
 *   LIVEFEED_OK): don't dlclose() the library, or have it linked with -z nodelete.
 * - errno is not preserved. The header is C99 or newer, or C++.
 * - fork(). In the child, feeds of the parent fail with LIVEFEED_FORKED, and livefeed_free() does nothing to them, so that
 *   the parent's connections stay as they are. The child may open feeds of its own if fork() was called while no other
 *   thread ran; otherwise, as always then, exec() is all that it may do.
 * - Versions. Result codes and the like keep their numbers for ever. New event kinds, functions and codes may come;
 *   whatever else would break a program changes LIVEFEED_ABI_VERSION.
 */

#ifndef LIVEFEED_H
#define LIVEFEED_H

/* Generated from src/capi by cbindgen: not to be edited. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** In place of the length of a text that goes in: it ends with a NUL. */
#define LIVEFEED_NUL_TERMINATED SIZE_MAX

/** A feed. From livefeed_open() or livefeed_prepare(), to livefeed_free(). */
typedef struct livefeed_feed livefeed_feed;

/** An event of a feed: it never changes. From livefeed_next() or livefeed_request(), to livefeed_event_free(). */
typedef struct livefeed_event livefeed_event;

/** Events that were read at once. From livefeed_next_batch(), to livefeed_batch_free(). */
typedef struct livefeed_batch livefeed_batch;

/** What a token provider is told about the attempt that it provides for. */
typedef struct livefeed_attempt livefeed_attempt;

/** Where an attempt goes to, to be filled in by a token provider. */
typedef struct livefeed_target livefeed_target;


/**
 * It worked.
 */
#define LIVEFEED_OK 0

/**
 * Nothing came, or it was not done, in the time given. To read or wait again is fine; what was sent is sent, and goes on.
 */
#define LIVEFEED_TIMEOUT 1

/**
 * The feed is over; a function that reads says it once all events were read. Final.
 */
#define LIVEFEED_CLOSED 2

/**
 * A pointer that must not be NULL is NULL.
 */
#define LIVEFEED_NULL_POINTER 3

/**
 * A text is not UTF-8.
 */
#define LIVEFEED_INVALID_UTF8 4

/**
 * A pointer is none to what it should be: of another kind, freed, or not from livefeed. Not every wrong pointer can be
 * told.
 */
#define LIVEFEED_INVALID_HANDLE 5

/**
 * The configuration, some JSON, or another argument is wrong; `livefeed_error_message` names it. Final.
 */
#define LIVEFEED_CONFIG 6

/**
 * There is no connection at the moment, and nothing is kept for a later one: try again once connected.
 */
#define LIVEFEED_NOT_CONNECTED 7

/**
 * Too much waits to be written (`limits.send_bytes`): try again later.
 */
#define LIVEFEED_OUTBOX_FULL 8

/**
 * The message is larger than what may be sent. Final.
 */
#define LIVEFEED_TOO_LARGE 9

/**
 * There is no subscription with that `id`. Final.
 */
#define LIVEFEED_UNKNOWN_SUBSCRIPTION 10

/**
 * Called from a callback of this feed, whose thread it would wait for.
 */
#define LIVEFEED_WOULD_DEADLOCK 11

/**
 * The feed's events go to its callback. Final.
 */
#define LIVEFEED_TAKEN 12

/**
 * The operating system refused a thread or a file descriptor: its limit was met.
 */
#define LIVEFEED_SYSTEM 13

/**
 * The feed was made in the parent of this process and can't be used here. Final.
 */
#define LIVEFEED_FORKED 14

/**
 * A bug of livefeed, or a logger that panicked. The feed may go on.
 */
#define LIVEFEED_PANIC 15

/**
 * This platform does not have it. Final.
 */
#define LIVEFEED_UNSUPPORTED 16

/**
 * This event has no such thing.
 */
#define LIVEFEED_NO_VALUE 17

/**
 * The feed was prepared and is not started.
 */
#define LIVEFEED_NOT_STARTED 18

/**
 * The feed is started: it is too late for that. Final.
 */
#define LIVEFEED_ALREADY_STARTED 19

/**
 * The message was not written, or not all of it: the connection ended before. It is not sent again.
 */
#define LIVEFEED_DROPPED 20

/**
 * The version of the ABI that this header describes. It changes when a program that was built with an older header
 * would not work any more.
 */
#define LIVEFEED_ABI_VERSION 1

/**
 * `livefeed_view.flags`: the payload is a binary message, not text.
 */
#define LIVEFEED_VIEW_BINARY 1

/**
 * No event, or one of a kind that this header does not know yet: leave it alone.
 */
#define LIVEFEED_EVENT_OTHER 0

/**
 * An attempt to connect begins.
 */
#define LIVEFEED_EVENT_CONNECTING 1

/**
 * A connection is established; its epoch is one more than that of the one before.
 */
#define LIVEFEED_EVENT_CONNECTED 2

/**
 * A subscription is confirmed.
 */
#define LIVEFEED_EVENT_SUBSCRIBED 3

/**
 * The server refused a subscription, or did not answer it in time.
 */
#define LIVEFEED_EVENT_REFUSED 4

/**
 * The server ended a subscription while the connection goes on.
 */
#define LIVEFEED_EVENT_ENDED 5

/**
 * A message.
 */
#define LIVEFEED_EVENT_MESSAGE 6

/**
 * There was no data for longer than the limit, or none that is any good.
 */
#define LIVEFEED_EVENT_STALE 7

/**
 * The data before and the data after may not join up.
 */
#define LIVEFEED_EVENT_GAP 8

/**
 * A connection ended, or one or more attempts failed.
 */
#define LIVEFEED_EVENT_DISCONNECTED 9

/**
 * Something a person should know.
 */
#define LIVEFEED_EVENT_ALERT 10

/**
 * The feed is over: always the last event.
 */
#define LIVEFEED_EVENT_CLOSED 11

/**
 * What is sent is text, in UTF-8.
 */
#define LIVEFEED_TEXT 1

/**
 * What is sent is bytes.
 */
#define LIVEFEED_BINARY 2

/**
 * From a token provider: it has set what is needed, and the attempt goes on.
 */
#define LIVEFEED_PROVIDER_OK 0

/**
 * From a token provider: it has nothing now. The attempt has failed; there will be another after a delay, as after any
 * other failure. A number that is none of these means the same.
 */
#define LIVEFEED_PROVIDER_RETRY 1

/**
 * From a token provider: it will never have anything again. The feed closes.
 */
#define LIVEFEED_PROVIDER_FATAL 2

/**
 * No log records.
 */
#define LIVEFEED_LOG_OFF 0

/**
 * What must not happen, such as a panic in a callback.
 */
#define LIVEFEED_LOG_ERROR 1

/**
 * What a person should look at: connections that end, stale data, alerts.
 */
#define LIVEFEED_LOG_WARN 2

/**
 * What is good to know afterwards: connections that are made, gaps, the end.
 */
#define LIVEFEED_LOG_INFO 3

/**
 * Each event but messages, and what was done.
 */
#define LIVEFEED_LOG_DEBUG 4

/**
 * For later versions: there is nothing yet that `LIVEFEED_LOG_DEBUG` has not. Messages are never logged.
 */
#define LIVEFEED_LOG_TRACE 5

/**
 * What a call says: `LIVEFEED_OK`, or why it failed. The numbers are never given another meaning; later versions may
 * add some.
 */
typedef int32_t livefeed_result;

/**
 * Is called with each event, on a thread of livefeed. The event is borrowed: it is valid until the callback returns, and
 * is not to be freed.
 *
 * It may call any function on its feed. Those that would wait for its own thread fail with `LIVEFEED_WOULD_DEADLOCK`;
 * after `livefeed_free` this call of it is the last. It must return: no C++ exception and no `longjmp` may leave it.
 */
typedef void (*livefeed_callback)(void *userdata, const livefeed_event *event);

/**
 * An event at a glance. What it points to belongs to the batch or event that it was got from, and is valid until that is
 * freed.
 */
typedef struct livefeed_view {
    /**
     * The event itself.
     */
    const livefeed_event *event;
    /**
     * The payload of a message, not NUL-terminated; NULL if it is none.
     */
    const uint8_t *data;
    /**
     * Its length in bytes.
     */
    size_t length;
    /**
     * Stands for the list of subscriptions that a message is data of (see `livefeed_event_subscription`), NULL for none: two
     * messages of one batch with the same pointer have the same list. Compare it, don't follow it.
     */
    const void *subscriptions;
    /**
     * The connection it belongs to: see `livefeed_event_epoch`.
     */
    uint64_t epoch;
    /**
     * When it happened or was received, in nanoseconds since 1970 (UTC).
     */
    int64_t time_ns;
    /**
     * `LIVEFEED_EVENT_..`
     */
    int32_t kind;
    /**
     * `LIVEFEED_VIEW_..`, added up.
     */
    uint32_t flags;
    /**
     * 0, until a later version says more here.
     */
    uint64_t reserved;
} livefeed_view;

/**
 * Is called before each attempt to connect, on a thread of livefeed. It reads the attempt, sets the target, and returns
 * `LIVEFEED_PROVIDER_OK`, `_RETRY` or `_FATAL`. Both pointers are valid until it returns.
 *
 * It may take its time, to fetch a token, say: that counts for the attempt's budget (`connect.timeout`), and if nothing is
 * left of it the attempt has failed. It may call any function on its feed. Those that would wait for its own thread fail
 * with `LIVEFEED_WOULD_DEADLOCK`; after `livefeed_free` this call of it is the last, and what it returns counts for
 * nothing. It must return: no C++ exception and no `longjmp` may leave it.
 */
typedef int32_t (*livefeed_token_provider)(void *userdata,
                                           const livefeed_attempt *attempt,
                                           livefeed_target *target);

/**
 * Is called with each log record, on whichever thread logs, at times on several at once. `level` is `LIVEFEED_LOG_..`;
 * `target` says which part of livefeed it is from. `text` begins with the feed's name; from `livefeed::transport` it begins
 * with the URL, which several feeds may share. Both are NUL-terminated UTF-8, their lengths without the NUL, and valid until
 * it returns. No secret is in them.
 *
 * It should be quick, as it holds up the feed. It may call any function; those that would wait for the feed's own thread
 * fail with `LIVEFEED_WOULD_DEADLOCK`, and what they log is not told. It must return: no C++ exception and no `longjmp` may
 * leave it.
 */
typedef void (*livefeed_log_callback)(void *userdata,
                                      int32_t level,
                                      const char *target,
                                      size_t target_length,
                                      const char *text,
                                      size_t text_length);

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Says in English why the last call that failed on this thread did so: for people, not to be compared. It shows no
 * secret.
 *
 * Ownership: NUL-terminated UTF-8, never NULL; empty if no call has failed yet. It belongs to livefeed and is valid
 * on this thread until the next call that fails here, `LIVEFEED_TIMEOUT` and the like included, or until the thread
 * ends.
 *
 * Threads: each thread has its own.
 */
const char *livefeed_error_message(void);

/**
 * Returns the name of a result code, such as `"LIVEFEED_TIMEOUT"`.
 *
 * Ownership: NUL-terminated, never NULL, and valid for ever; `"unknown"` for a number that is no code.
 */
const char *livefeed_result_name(livefeed_result result);

/**
 * Returns the version of the library, such as `"0.1.0"`.
 *
 * Ownership: NUL-terminated, never NULL, and valid for ever.
 */
const char *livefeed_version(void);

/**
 * Returns the version of the ABI that the library has. A program that loads it at run time compares it with
 * `LIVEFEED_ABI_VERSION`, and uses no other.
 */
uint32_t livefeed_abi_version(void);

/**
 * Makes a feed that does nothing yet, so that callbacks can be set before `livefeed_start` begins.
 *
 * `config` is a URL alone (`ws://..` or `wss://..`), or the JSON object that livefeed's README describes ("Speaking
 * a protocol", "Timing") and `livefeed schema` prints:
 *
 *     {
 *         "url": "wss://feed.example/ws",
 *         "stale_after": "5s",
 *         "subscriptions": [
 *             {"id": "btc", "subscribe": {"op": "subscribe", "channel": "${name}"},
 *              "data": {"pointer": "/channel", "equals": "${name}"}}
 *         ]
 *     }
 *
 * In what is sent and matched for a subscription `${name}` stands for its `id`, and `${id}` for a number that each
 * message has for itself, by which its answer is known.
 *
 * Ownership: `*feed` is to be freed by `livefeed_free`.
 *
 * Errors: `LIVEFEED_CONFIG` if it can't be read, or has a field that is none; `livefeed_start` checks the values.
 */
livefeed_result livefeed_prepare(const char *config,
                                 size_t config_length,
                                 livefeed_feed **feed);

/**
 * Checks the configuration and begins to connect, on threads of livefeed. Returns at once; `livefeed_wait_connected`
 * and `livefeed_wait_fresh` are for those who want to wait.
 *
 * Errors: `LIVEFEED_ALREADY_STARTED`, also for one of two calls at once; `LIVEFEED_CONFIG`, which names the field;
 * `LIVEFEED_SYSTEM` if no thread could be started. After a failure the feed is as before, and has still to be freed.
 */
livefeed_result livefeed_start(livefeed_feed *feed);

/**
 * Opens a feed: `livefeed_prepare` and `livefeed_start` in one. After a failure there is nothing to free.
 *
 * Ownership: `*feed` is to be freed by `livefeed_free`.
 *
 * Errors: `LIVEFEED_CONFIG`, which names the field; `LIVEFEED_SYSTEM` if no thread could be started.
 */
livefeed_result livefeed_open(const char *config, size_t config_length, livefeed_feed **feed);

/**
 * Waits until there is a connection. With a timeout of 0 it only says whether there is one, in callbacks too.
 *
 * Errors: `LIVEFEED_TIMEOUT`, with how the last attempt ended; `LIVEFEED_CLOSED` if the feed is closed or has given
 * up, and why; `LIVEFEED_WOULD_DEADLOCK` in a callback of the feed.
 */
livefeed_result livefeed_wait_connected(livefeed_feed *feed,
                                        int64_t timeout_ms);

/**
 * Waits until data has come on the present connection, for each subscription that has a limit on its age. While a
 * market is closed (quiet hours) none may come for long.
 *
 * Errors: as `livefeed_wait_connected`.
 */
livefeed_result livefeed_wait_fresh(livefeed_feed *feed,
                                    int64_t timeout_ms);

/**
 * Asks for a new connection: the present one is closed, or the wait for the next attempt is cut to the shortest
 * delay. Returns at once.
 *
 * Errors: `LIVEFEED_CLOSED`.
 */
livefeed_result livefeed_reconnect(livefeed_feed *feed);

/**
 * Gives a snapshot of the feed's health as a JSON object: its state, ages, counters and subscriptions. Never waits.
 *
 * Ownership: `*text` is to be freed by `livefeed_string_free`. It is NUL-terminated; `*length` is without the NUL.
 */
livefeed_result livefeed_health_json(livefeed_feed *feed,
                                     char **text,
                                     size_t *length);

/**
 * Frees a text from `livefeed_health_json`. NULL is fine. The texts of events belong to these.
 */
void livefeed_string_free(char *text);

/**
 * Closes the feed properly, with a Close frame, and waits until its threads have ended. The server has the shorter
 * of `timeout_ms` and the configuration's `close_timeout` to answer; then the connection is cut. With 0 it is cut at
 * once, without a Close frame, and nothing is waited for.
 *
 * What was queued before can still be read, `LIVEFEED_EVENT_CLOSED` last. It may be called any number of times, and
 * of a feed that was not started there is nothing to close; `livefeed_free` is needed all the same.
 *
 * Errors: `LIVEFEED_TIMEOUT` if a callback has not returned and holds a thread up: the feed goes on closing, and the
 * call may be repeated. `LIVEFEED_WOULD_DEADLOCK` in a callback of the feed: it is closing, but can't be waited for
 * there.
 */
livefeed_result livefeed_close(livefeed_feed *feed,
                               int64_t timeout_ms);

/**
 * Frees the feed. NULL is fine. One that is not closed ends at once, without a Close frame, and what was not read is
 * lost; this does not wait for its threads. In a forked child it does nothing.
 *
 * Ownership: the pointer is of no use any more, nor is the file descriptor of the feed. Events and batches that were
 * read from it stay valid until they are freed themselves.
 *
 * Threads: any. No callback of the feed runs or begins after it has returned. It waits for one that runs, so it
 * hangs if the caller holds a lock that this one takes, or if two callbacks free each other's feeds. From inside a
 * callback of the same feed it waits for nothing, and that call of it is the last. Calls that wait on other threads
 * return `LIVEFEED_CLOSED`; new ones must not be made, as with any memory that was freed: close the feed first, let
 * the other threads end, then free.
 */
void livefeed_free(livefeed_feed *feed);

/**
 * Has each event of the feed given to a callback, in order, in place of a queue to read from: `livefeed_next`,
 * `livefeed_next_batch` and `livefeed_fd` then fail with `LIVEFEED_TAKEN`. To be called between `livefeed_prepare`
 * and `livefeed_start`; the last one set counts, and none can be taken back.
 *
 * While it runs nothing is read from the server, so it should be quick.
 *
 * Ownership: `userdata` is given to the callback as it is. It stays yours, and must be good until `livefeed_free`
 * has returned.
 *
 * Threads: the callback runs on a thread of livefeed, never on two at once.
 *
 * Errors: `LIVEFEED_ALREADY_STARTED`.
 */
livefeed_result livefeed_set_callback(livefeed_feed *feed,
                                      livefeed_callback callback,
                                      void *userdata);

/**
 * Reads the next event, and waits for it: `timeout_ms` milliseconds at most, 0 not at all, less than 0 for ever.
 *
 * Ownership: `*event` is to be freed by `livefeed_event_free`. It stays valid when the feed is freed.
 *
 * Threads: any, and several at once: then each event goes to one of them.
 *
 * Errors: `LIVEFEED_TIMEOUT` if none came; `LIVEFEED_CLOSED` after the last event, for ever; `LIVEFEED_TAKEN` if
 * there is a callback; `LIVEFEED_WOULD_DEADLOCK` in the feed's provider, if it would have to wait.
 */
livefeed_result livefeed_next(livefeed_feed *feed,
                              int64_t timeout_ms,
                              livefeed_event **event);

/**
 * Frees an event, and all that belongs to it. NULL is fine. One that is borrowed, from a batch or in a callback, is
 * not to be freed, and is left alone.
 */
void livefeed_event_free(livefeed_event *event);

/**
 * Copies an event, to keep it or hand it to another thread: a borrowed one too, from a batch or in a callback. The
 * payload is shared, not copied.
 *
 * Ownership: `*copy` is to be freed by `livefeed_event_free`. It stays valid when the event, its batch and its feed
 * are freed.
 */
livefeed_result livefeed_event_clone(const livefeed_event *event,
                                     livefeed_event **copy);

/**
 * Reads all events that wait, `most` at most (0: however many there are), and waits for the first as `livefeed_next`
 * does: one call for many events.
 *
 * Ownership: `*batch` is to be freed by `livefeed_batch_free`, and holds at least one event. It stays valid when the
 * feed is freed.
 *
 * Threads: any, and several at once: then each event goes to one of them.
 *
 * Errors: as `livefeed_next`.
 */
livefeed_result livefeed_next_batch(livefeed_feed *feed,
                                    size_t most,
                                    int64_t timeout_ms,
                                    livefeed_batch **batch);

/**
 * Gives all events of a batch, in order, as an array of plain structs: for a whole batch by one call.
 *
 * Ownership: `*views` and all that it points to belong to the batch, and are valid until that is freed.
 */
livefeed_result livefeed_batch_views(const livefeed_batch *batch,
                                     const struct livefeed_view **views,
                                     size_t *count);

/**
 * Gives an event at a glance: all of it by one call, as `livefeed_batch_views` does for many.
 *
 * Ownership: what the view points to belongs to the event, and is valid until that is freed.
 */
livefeed_result livefeed_event_view(const livefeed_event *event, struct livefeed_view *view);

/**
 * Frees a batch, its views and its events. NULL is fine. What is to be kept of it is to be copied before: see
 * `livefeed_event_clone`.
 */
void livefeed_batch_free(livefeed_batch *batch);

/**
 * Gives a file descriptor that is readable while events wait to be read by `livefeed_next` or `livefeed_next_batch`,
 * and from the end of the feed on for ever: for `poll`, `epoll`, `kqueue` and the event loops built on them. Unix
 * only.
 *
 * Do nothing with it but wait until it is readable, then call `livefeed_next` or `livefeed_next_batch` with a
 * timeout of 0 until one says `LIVEFEED_TIMEOUT`. (Once is enough too: what is left keeps it readable.) After
 * `LIVEFEED_CLOSED` take it out of what you wait for, or your loop spins. With several threads that read, it may be
 * readable when another one was faster. The same one is given each time.
 *
 * Ownership: it belongs to the feed, and is closed with it: don't close it, don't read from it, and forget it before
 * `livefeed_free`.
 *
 * Errors: `LIVEFEED_TAKEN`, `LIVEFEED_SYSTEM`, `LIVEFEED_UNSUPPORTED`.
 */
livefeed_result livefeed_fd(livefeed_feed *feed,
                            int *fd);

/**
 * Returns what kind of event it is: `LIVEFEED_EVENT_..`; `LIVEFEED_EVENT_OTHER` for NULL and what is no event.
 */
int32_t livefeed_event_kind(const livefeed_event *event);

/**
 * Gives the payload of a message: text in UTF-8, or bytes (see `livefeed_event_is_binary`).
 *
 * Ownership: `*data` belongs to the event and is valid until that is freed. It is not NUL-terminated, and not NULL,
 * also when `*length` is 0.
 *
 * Errors: `LIVEFEED_NO_VALUE` if it is no message.
 */
livefeed_result livefeed_event_payload(const livefeed_event *event,
                                       const uint8_t **data,
                                       size_t *length);

/**
 * Returns whether it is a binary message; `false` for NULL and whatever else.
 */
bool livefeed_event_is_binary(const livefeed_event *event);

/**
 * Returns the connection that it belongs to, counted from 1; 0 for NULL. `LIVEFEED_EVENT_CONNECTING`, and
 * `LIVEFEED_EVENT_DISCONNECTED` of an attempt that failed, have that of the connection to come;
 * `LIVEFEED_EVENT_CLOSED` and the like have that of the last one, 0 if there has been none.
 */
uint64_t livefeed_event_epoch(const livefeed_event *event);

/**
 * Returns when it happened, or a message was received, in milliseconds since 1970 (UTC), by the wall clock; 0 for
 * NULL.
 */
int64_t livefeed_event_time_ms(const livefeed_event *event);

/**
 * Returns an age in milliseconds: of a message, how long ago it was received, by the monotonic clock; of
 * `LIVEFEED_EVENT_STALE`, for how long there was no data. -1 for all others and for NULL.
 */
int64_t livefeed_event_age_ms(const livefeed_event *event);

/**
 * Returns how many subscriptions it is about; 0 for NULL. A message belongs to those whose `data` it met. A gap with
 * none affects all.
 */
size_t livefeed_event_subscription_count(const livefeed_event *event);

/**
 * Gives the `id` of one of the subscriptions it is about, by its index from 0.
 *
 * Ownership: `*text` belongs to the event and is valid until that is freed. It is not NUL-terminated.
 *
 * Errors: `LIVEFEED_NO_VALUE` if there are not so many.
 */
livefeed_result livefeed_event_subscription(const livefeed_event *event,
                                            size_t index,
                                            const char **text,
                                            size_t *length);

/**
 * Gives the event as a JSON object: with its name (`event`), time, feed and epoch, and all that there is to say
 * about it. The form is that of `livefeed tail --format json` and of `schema/events.schema.json`.
 *
 * Ownership: `*text` belongs to the event and is valid until that is freed. It is NUL-terminated; `*length` is
 * without the NUL. It is made by the first call, and kept.
 */
livefeed_result livefeed_event_json(const livefeed_event *event,
                                    const char **text,
                                    size_t *length);

/**
 * Sends a message, `LIVEFEED_TEXT` or `LIVEFEED_BINARY`. It is admitted or refused at once, and written by a thread
 * of livefeed; see `livefeed_send_wait` for those who want to know what became of it. Nothing is kept for a later
 * connection, and nothing is sent twice. Never waits.
 *
 * With a length of 0 `data` may be NULL; the length of text may be `LIVEFEED_NUL_TERMINATED`.
 *
 * Errors: `LIVEFEED_NOT_CONNECTED` and `LIVEFEED_OUTBOX_FULL` (try again later); `LIVEFEED_TOO_LARGE`,
 * `LIVEFEED_CLOSED`; `LIVEFEED_CONFIG` for a kind that is none.
 */
livefeed_result livefeed_send(livefeed_feed *feed,
                              int32_t kind,
                              const void *data,
                              size_t length);

/**
 * Sends a message and waits until it is written to the operating system. (Whether the server got it only the server
 * can say.)
 *
 * Errors: `LIVEFEED_TIMEOUT` if it is still to be written, which may well happen later; `LIVEFEED_DROPPED` if the
 * connection ended before; `LIVEFEED_WOULD_DEADLOCK` in a callback of the feed, the message was admitted all the
 * same; otherwise as `livefeed_send`.
 */
livefeed_result livefeed_send_wait(livefeed_feed *feed,
                                   int32_t kind,
                                   const void *data,
                                   size_t length,
                                   int64_t timeout_ms);

/**
 * Adds a subscription, now and on each connection to come. One with the same `id` is replaced. Never waits. `json`
 * is an object as an entry of `subscriptions` in the configuration:
 *
 *     {"id": "btc", "subscribe": {"op": "subscribe", "channel": "${name}", "id": "${id}"},
 *      "data": {"pointer": "/channel", "equals": "${name}"}, "stale_after": "5s"}
 *
 * Only `id` is needed: without `subscribe` nothing is sent, and without `data` each message of the feed is its data.
 *
 * Errors: `LIVEFEED_CONFIG`, which names the field; `LIVEFEED_CLOSED`.
 */
livefeed_result livefeed_subscribe(livefeed_feed *feed,
                                   const char *json,
                                   size_t json_length);

/**
 * Ends the subscription with this `id`: its unsubscribe message is sent, if it has one and is in force. Never waits.
 *
 * Errors: `LIVEFEED_UNKNOWN_SUBSCRIPTION`, `LIVEFEED_CLOSED`.
 */
livefeed_result livefeed_unsubscribe(livefeed_feed *feed,
                                     const char *id,
                                     size_t id_length);

/**
 * Sends a question and waits for its answer: the first message that meets `matcher`. It comes back here, and not to
 * whoever reads the feed's events. Late answers are messages like any other.
 *
 * `question` is JSON: an object, or a string in quotes for text that is sent as it is. `${id}` in it, and in the
 * matcher, stands for a number that is used once. `matcher` is JSON as matchers in the configuration:
 *
 *     {"method": "time", "id": "${id}"}              a question
 *     {"pointer": "/id", "equals": "${id}"}          its matcher: the value at this place of the answer
 *     {"text": "pong"}   {"prefix": "pong"}          other matchers: the whole text, and how it begins
 *     {"all": [..]}   {"any": [..]}   {"not": ..}    of matchers
 *
 * Ownership: `*answer` is a message, to be freed by `livefeed_event_free`.
 *
 * Errors: `LIVEFEED_TIMEOUT` if no answer came in time; `LIVEFEED_NOT_CONNECTED` if there is no connection, or it
 * ended before the answer came; `LIVEFEED_OUTBOX_FULL` (try again later); `LIVEFEED_CONFIG`, which names the field;
 * `LIVEFEED_TOO_LARGE`, `LIVEFEED_CLOSED`, `LIVEFEED_WOULD_DEADLOCK` in a callback of the feed.
 */
livefeed_result livefeed_request(livefeed_feed *feed,
                                 const char *question,
                                 size_t question_length,
                                 const char *matcher,
                                 size_t matcher_length,
                                 int64_t timeout_ms,
                                 livefeed_event **answer);

/**
 * Has a callback asked before each attempt to connect: for tokens and signatures that age, and URLs that change.
 * What it does not set is taken from the configuration, whose `url` may be left out if the provider always sets one.
 * To be called between `livefeed_prepare` and `livefeed_start`; the last one set counts, and none can be taken back.
 *
 * With a provider, placeholders such as `${token}` are not checked before they are used: it may know them.
 *
 * Ownership: `userdata` is given to the callback as it is. It stays yours, and must be good until `livefeed_free`
 * has returned.
 *
 * Threads: the provider runs on a thread of livefeed, never on two at once, nor beside the callback for events of
 * its feed.
 *
 * Errors: `LIVEFEED_ALREADY_STARTED`.
 */
livefeed_result livefeed_set_token_provider(livefeed_feed *feed,
                                            livefeed_token_provider provider,
                                            void *userdata);

/**
 * Returns the number of the attempt, counted from 1 since the last connection; 0 for NULL.
 */
uint32_t livefeed_attempt_number(const livefeed_attempt *attempt);

/**
 * Returns the epoch that the connection will have, counted from 1; 0 for NULL.
 */
uint64_t livefeed_attempt_epoch(const livefeed_attempt *attempt);

/**
 * Returns which endpoint is meant: 0 for `url` of the configuration, then those of `endpoints`, one further after
 * each attempt that failed; 0 for NULL.
 */
size_t livefeed_attempt_endpoint(const livefeed_attempt *attempt);

/**
 * Says how the attempt or the connection before ended, in the words of the event `LIVEFEED_EVENT_DISCONNECTED`.
 *
 * Ownership: `*text` belongs to the attempt and is valid until the provider returns. It is not NUL-terminated.
 *
 * Errors: `LIVEFEED_NO_VALUE` if it is the first attempt.
 */
livefeed_result livefeed_attempt_previous(const livefeed_attempt *attempt,
                                          const char **text,
                                          size_t *length);

/**
 * Sets the URL to connect to, in place of the configured one.
 *
 * Errors: `LIVEFEED_CONFIG` if it can't be used. The target is as before then.
 */
livefeed_result livefeed_target_set_url(livefeed_target *target, const char *url, size_t url_length);

/**
 * Adds a header to the upgrade request. It takes the place of one of the same name, here and in the configuration.
 * Its value is kept out of logs, events and errors.
 *
 * Errors: `LIVEFEED_CONFIG` if it is no header, or one that livefeed makes itself. The target is as before then.
 */
livefeed_result livefeed_target_add_header(livefeed_target *target,
                                           const char *name,
                                           size_t name_length,
                                           const char *value,
                                           size_t value_length);

/**
 * Adds a subprotocol to offer; the first is the preferred one. If there is one, those of the configuration are not
 * offered.
 *
 * Errors: `LIVEFEED_CONFIG` if it is no name of a subprotocol, or is there already. The target is as before then.
 */
livefeed_result livefeed_target_add_subprotocol(livefeed_target *target,
                                                const char *name,
                                                size_t name_length);

/**
 * Sets a variable of the connection that is about to be made: it stands for `"${name}"` in login steps, and in
 * `subscribe` and all else that is sent on that connection. A variable of the same name that a subscription has, or
 * that is captured from a message, goes before it. What is not set again is not known on the next connection. Its
 * value is kept out of logs, events and errors.
 *
 * `json` is any JSON value: a string stands in quotes.
 *
 * Errors: `LIVEFEED_CONFIG` if `json` is none, or `name` is no name or means something already (`id`, `name`,
 * `epoch`, `time_ms` and the like). The target is as before then.
 */
livefeed_result livefeed_target_set_variable(livefeed_target *target,
                                             const char *name,
                                             size_t name_length,
                                             const char *json,
                                             size_t json_length);

/**
 * Sets what the feed says of an attempt for which the provider has nothing: with `LIVEFEED_PROVIDER_RETRY` or
 * `_FATAL`.
 *
 * `text` appears in events and logs: put no secret into it.
 */
livefeed_result livefeed_target_set_error(livefeed_target *target, const char *text, size_t text_length);

/**
 * Has a callback told what livefeed logs, up to a level, `LIVEFEED_LOG_..`: that of all feeds in the process, and of
 * no other library. It belongs to the process and not to a feed. It takes the place of the one before; NULL, or
 * `LIVEFEED_LOG_OFF`, ends it.
 *
 * Ownership: `userdata` is given to the callback as it is. It stays yours, and must be good until another callback
 * was set.
 *
 * Threads: any. When it has returned, the callback before does not run any more: it waits for those calls that do.
 * From inside a callback, of whichever kind, it does not wait: calls that run then on other threads may still go on.
 *
 * Errors: `LIVEFEED_CONFIG` for a level that is none; `LIVEFEED_UNSUPPORTED` if the program is one in Rust with a
 * logger of its own, which stays; `LIVEFEED_FORKED` in a child of a process that called it, where nothing is told.
 * The callback is as before then.
 */
livefeed_result livefeed_set_log_callback(int32_t level,
                                          livefeed_log_callback callback,
                                          void *userdata);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* LIVEFEED_H */
