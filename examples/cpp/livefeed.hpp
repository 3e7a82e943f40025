// A small wrapper of livefeed.h for C++17: handles that free themselves, exceptions, range-for. Copy it and change it.
//
//     livefeed::feed feed(R"({"url": "wss://feed.example/ws", "stale_after": "5s"})");
//     for (const livefeed::event &event : feed) {
//         if (event.kind() == LIVEFEED_EVENT_MESSAGE) std::cout << event.payload() << '\n';
//     }
//
// Each failure of livefeed is thrown as livefeed::error, but for the two that are no failures when reading: nothing came in
// that time, and the feed is over. Texts are std::string_view in UTF-8; they are copied where livefeed keeps them.
#ifndef LIVEFEED_HPP
#define LIVEFEED_HPP

#include <livefeed.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace livefeed {

/// A time to wait; `forever` is any negative one, zero does not wait.
using milliseconds = std::chrono::milliseconds;
inline constexpr milliseconds forever{-1};

/// What a call failed with: one of the LIVEFEED_ codes, and the sentence that livefeed said of it.
class error : public std::runtime_error {
public:
    error(livefeed_result code, const std::string &message) : std::runtime_error(message), code_(code) {}

    livefeed_result code() const noexcept { return code_; }
    /// The name of the code, such as `LIVEFEED_CONFIG`.
    const char *name() const noexcept { return livefeed_result_name(code_); }

private:
    livefeed_result code_;
};

namespace detail {

inline void check(livefeed_result code) {
    if (code != LIVEFEED_OK) throw error(code, livefeed_error_message());
}

template <class T, void (*Free)(T *)>
struct deleter {
    void operator()(T *handle) const noexcept { Free(handle); }
};

template <class T, void (*Free)(T *)>
using owned = std::unique_ptr<T, deleter<T, Free>>;

inline std::string_view view(const char *text, std::size_t length) { return {text, length}; }

// Where a text that goes in begins: an empty string_view may have no place at all, which livefeed would take for a mistake.
inline const char *data(std::string_view text) noexcept { return text.data() == nullptr ? "" : text.data(); }

} // namespace detail

/// An event that someone else holds: a batch, or livefeed for the time of a callback. What it returns lives as long.
class event_view {
public:
    explicit event_view(const livefeed_event *raw) noexcept : raw_(raw) {}
    /// One of a batch, with all that is known of it; it lives as long as the batch.
    explicit event_view(const livefeed_view &view) noexcept : raw_(view.event) {}

    /// One of LIVEFEED_EVENT_.
    std::int32_t kind() const noexcept { return livefeed_event_kind(raw_); }
    bool is_message() const noexcept { return kind() == LIVEFEED_EVENT_MESSAGE; }

    /// What a message holds, text or binary.
    std::string_view payload() const {
        const std::uint8_t *data = nullptr;
        std::size_t length = 0;
        detail::check(livefeed_event_payload(raw_, &data, &length));
        return {reinterpret_cast<const char *>(data), length};
    }

    bool is_binary() const noexcept { return livefeed_event_is_binary(raw_); }

    /// The connection it belongs to, counted from 1.
    std::uint64_t epoch() const noexcept { return livefeed_event_epoch(raw_); }

    /// When it happened, by the wall clock.
    std::chrono::system_clock::time_point time() const noexcept {
        return std::chrono::system_clock::time_point(milliseconds(livefeed_event_time_ms(raw_)));
    }

    /// Of a message: how long ago it came. Of a stale event: how long there was no data. Of others: nothing.
    std::optional<milliseconds> age() const noexcept {
        std::int64_t age = livefeed_event_age_ms(raw_);
        if (age < 0) return std::nullopt;
        return milliseconds(age);
    }

    /// How many subscriptions it is about. A gap with none is about all.
    std::size_t subscription_count() const noexcept { return livefeed_event_subscription_count(raw_); }

    std::string_view subscription(std::size_t index) const {
        const char *text = nullptr;
        std::size_t length = 0;
        detail::check(livefeed_event_subscription(raw_, index, &text, &length));
        return detail::view(text, length);
    }

    /// The event as a JSON object. It ends with a NUL, behind its length.
    std::string_view json() const {
        const char *text = nullptr;
        std::size_t length = 0;
        detail::check(livefeed_event_json(raw_, &text, &length));
        return detail::view(text, length);
    }

    const livefeed_event *get() const noexcept { return raw_; }

protected:
    const livefeed_event *raw_;
};

/// An event of one's own.
class event : public event_view {
public:
    explicit event(livefeed_event *raw) noexcept : event_view(raw), owned_(raw) {}
    event(event &&other) noexcept : event_view(std::exchange(other.raw_, nullptr)), owned_(std::move(other.owned_)) {}
    event &operator=(event &&other) noexcept {
        raw_ = std::exchange(other.raw_, nullptr);
        owned_ = std::move(other.owned_);
        return *this;
    }

private:
    detail::owned<livefeed_event, livefeed_event_free> owned_;
};

/// Several events, read with one call. Its views hold kind, payload, epoch and time of each, and are read without a call.
class batch {
public:
    explicit batch(livefeed_batch *raw) : owned_(raw) {
        detail::check(livefeed_batch_views(raw, &views_, &count_));
    }
    batch(batch &&other) noexcept
        : owned_(std::move(other.owned_)), views_(std::exchange(other.views_, nullptr)),
          count_(std::exchange(other.count_, 0)) {}
    batch &operator=(batch &&other) noexcept {
        owned_ = std::move(other.owned_);
        views_ = std::exchange(other.views_, nullptr);
        count_ = std::exchange(other.count_, 0);
        return *this;
    }

    const livefeed_view *begin() const noexcept { return views_; }
    const livefeed_view *end() const noexcept { return views_ + count_; }
    std::size_t size() const noexcept { return count_; }
    bool empty() const noexcept { return count_ == 0; }

private:
    detail::owned<livefeed_batch, livefeed_batch_free> owned_;
    const livefeed_view *views_ = nullptr;
    std::size_t count_ = 0;
};

/// What a view of a batch holds.
inline std::string_view payload(const livefeed_view &view) noexcept {
    return {reinterpret_cast<const char *>(view.data), view.length};
}

/// An attempt to connect, as a token provider sees it; for the time of the call.
class attempt {
public:
    explicit attempt(const livefeed_attempt *raw) noexcept : raw_(raw) {}

    std::uint32_t number() const noexcept { return livefeed_attempt_number(raw_); }
    std::uint64_t epoch() const noexcept { return livefeed_attempt_epoch(raw_); }
    /// Which of the configured ones would be taken: 0 is `url`, 1 the first of `endpoints`.
    std::size_t endpoint() const noexcept { return livefeed_attempt_endpoint(raw_); }

    /// How the attempt or connection before it ended. Nothing: there was none.
    std::optional<std::string_view> previous() const {
        const char *text = nullptr;
        std::size_t length = 0;
        const livefeed_result code = livefeed_attempt_previous(raw_, &text, &length);
        if (code == LIVEFEED_NO_VALUE) return std::nullopt;
        detail::check(code);
        return detail::view(text, length);
    }

private:
    const livefeed_attempt *raw_;
};

/// Where an attempt goes and what it takes along; for the time of the call.
class target {
public:
    explicit target(livefeed_target *raw) noexcept : raw_(raw) {}

    void url(std::string_view url) { detail::check(livefeed_target_set_url(raw_, detail::data(url), url.size())); }
    void header(std::string_view name, std::string_view value) {
        detail::check(livefeed_target_add_header(raw_, detail::data(name), name.size(), detail::data(value), value.size()));
    }
    void subprotocol(std::string_view name) {
        detail::check(livefeed_target_add_subprotocol(raw_, detail::data(name), name.size()));
    }
    /// A `${name}` for the templates of this connection, as JSON.
    void variable(std::string_view name, std::string_view json) {
        detail::check(livefeed_target_set_variable(raw_, detail::data(name), name.size(), detail::data(json), json.size()));
    }

private:
    livefeed_target *raw_;
};

/// Thrown by a token provider: there is no use in trying again, and the feed ends. Whatever else it throws is tried again.
class fatal : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A feed. It is opened by its constructor, may be moved, and is ended by its destructor at once; `close` ends it properly.
/// The destructor waits for a callback of this feed that runs on another thread: hold no lock that this one takes.
///
/// All but moving and destroying may be called from any thread, also from inside callbacks: what would have to wait for the
/// callback's own thread throws LIVEFEED_WOULD_DEADLOCK there, and what reads throws LIVEFEED_TAKEN where `on_event` has the
/// events. livefeed runs two threads for each feed.
class feed {
public:
    using callback = std::function<void(event_view)>;
    using provider = std::function<void(const attempt &, target &)>;

    /// What is set before the feed begins. Without a callback, events are read.
    struct options {
        /// Is given each event, on a thread of livefeed. It must not throw: the program would be ended, as with std::thread.
        callback on_event{};
        /// Is asked before each attempt. What it throws is the reason why the attempt is none.
        provider token{};
    };

    /// Opens a feed by a URL or by a configuration in JSON.
    explicit feed(std::string_view config) : feed(config, options()) {}

    feed(std::string_view config, options how) : hooks_(std::make_shared<hooks>()) {
        livefeed_feed *raw = nullptr;
        detail::check(livefeed_prepare(detail::data(config), config.size(), &raw));
        handle_.reset(raw);
        hooks_->how = std::move(how);
        if (hooks_->how.on_event) detail::check(livefeed_set_callback(raw, on_event, hooks_.get()));
        if (hooks_->how.token) detail::check(livefeed_set_token_provider(raw, on_attempt, hooks_.get()));
        detail::check(livefeed_start(raw));
    }

    feed(feed &&other) noexcept
        : hooks_(std::move(other.hooks_)), handle_(std::move(other.handle_)), over_(other.over_.load()) {}
    /// Ends the feed that was here.
    feed &operator=(feed &&other) noexcept {
        handle_ = std::move(other.handle_); // before what its callbacks need
        hooks_ = std::move(other.hooks_);
        over_ = other.over_.load();
        return *this;
    }

    /// Waits for the next event. Nothing: none came in that time, or the feed is over and all was read; see `is_over`.
    std::optional<event> next(milliseconds timeout = forever) {
        livefeed_event *raw = nullptr;
        if (!something(livefeed_next(get(), timeout.count(), &raw))) return std::nullopt;
        return event(raw);
    }

    /// The same with what waits, at most so many events (0: all).
    std::optional<batch> next_batch(std::size_t most = 0, milliseconds timeout = forever) {
        livefeed_batch *raw = nullptr;
        if (!something(livefeed_next_batch(get(), most, timeout.count(), &raw))) return std::nullopt;
        return batch(raw);
    }

    /// Whether the last read found that the feed is over.
    bool is_over() const noexcept { return over_; }

    /// Reads to the end of the feed. An event lives until the next one is read, or as long as it is moved elsewhere.
    class iterator {
    public:
        using iterator_category = std::input_iterator_tag;
        using value_type = event;
        using difference_type = std::ptrdiff_t;
        using pointer = event *;
        using reference = event &;

        iterator() = default;
        explicit iterator(feed &from) : from_(&from) { ++*this; }

        event &operator*() { return *event_; }
        event *operator->() { return &*event_; }
        iterator &operator++() {
            event_ = from_->next();
            if (!event_) from_ = nullptr;
            return *this;
        }
        bool operator==(const iterator &other) const noexcept { return from_ == other.from_; }
        bool operator!=(const iterator &other) const noexcept { return from_ != other.from_; }

    private:
        feed *from_ = nullptr;
        std::optional<event> event_;
    };

    iterator begin() { return iterator(*this); }
    iterator end() { return {}; }

    /// Admits a text or binary message to be written, or throws; does not wait.
    void send(std::string_view text) { detail::check(livefeed_send(get(), LIVEFEED_TEXT, detail::data(text), text.size())); }
    void send_binary(std::string_view data) {
        detail::check(livefeed_send(get(), LIVEFEED_BINARY, detail::data(data), data.size()));
    }
    /// Returns when it was written to the operating system.
    void send_wait(std::string_view text, milliseconds timeout) {
        detail::check(livefeed_send_wait(get(), LIVEFEED_TEXT, detail::data(text), text.size(), timeout.count()));
    }
    void send_binary_wait(std::string_view data, milliseconds timeout) {
        detail::check(livefeed_send_wait(get(), LIVEFEED_BINARY, detail::data(data), data.size(), timeout.count()));
    }

    /// Subscribes to what a configuration would have as an entry of `subscriptions`.
    void subscribe(std::string_view json) { detail::check(livefeed_subscribe(get(), detail::data(json), json.size())); }
    void unsubscribe(std::string_view id) { detail::check(livefeed_unsubscribe(get(), detail::data(id), id.size())); }

    /// Asks a question and waits for the message that the matcher recognises.
    event request(std::string_view question, std::string_view matcher, milliseconds timeout) {
        livefeed_event *raw = nullptr;
        detail::check(livefeed_request(get(), detail::data(question), question.size(), detail::data(matcher), matcher.size(),
                                       timeout.count(), &raw));
        return event(raw);
    }

    void reconnect() { detail::check(livefeed_reconnect(get())); }
    void wait_connected(milliseconds timeout) { detail::check(livefeed_wait_connected(get(), timeout.count())); }
    void wait_fresh(milliseconds timeout) { detail::check(livefeed_wait_fresh(get(), timeout.count())); }

    /// All that there is to know about the feed, as JSON.
    std::string health() const {
        char *text = nullptr;
        std::size_t length = 0;
        detail::check(livefeed_health_json(get(), &text, &length));
        detail::owned<char, livefeed_string_free> owner(text);
        return std::string(text, length);
    }

    /// A descriptor that is readable while events wait, for poll and its like (Unix). It belongs to the feed.
    int fd() const {
        int fd = -1;
        detail::check(livefeed_fd(get(), &fd));
        return fd;
    }

    /// Says goodbye to the server and waits for it. What has come can still be read. False: it goes on closing, as a callback
    /// still runs; inside a callback of the feed always.
    bool close(milliseconds timeout) {
        const livefeed_result code = livefeed_close(get(), timeout.count());
        if (code == LIVEFEED_TIMEOUT || code == LIVEFEED_WOULD_DEADLOCK) return false;
        detail::check(code);
        return true;
    }

    /// The handle, for what is not wrapped here. NULL once the feed was moved elsewhere.
    livefeed_feed *get() const noexcept { return handle_.get(); }

private:
    struct hooks : std::enable_shared_from_this<hooks> {
        options how;
    };

    bool something(livefeed_result code) {
        const bool over = code == LIVEFEED_CLOSED;
        over_ = over;
        if (code == LIVEFEED_TIMEOUT || over) return false;
        detail::check(code);
        return true;
    }

    // Both keep what they run, as they may destroy the feed.
    static void on_event(void *userdata, const livefeed_event *raw) noexcept {
        auto keep = static_cast<hooks *>(userdata)->shared_from_this();
        keep->how.on_event(event_view(raw));
    }

    static std::int32_t on_attempt(void *userdata, const livefeed_attempt *raw, livefeed_target *to) noexcept {
        auto keep = static_cast<hooks *>(userdata)->shared_from_this();
        try {
            target target(to);
            keep->how.token(attempt(raw), target);
            return LIVEFEED_PROVIDER_OK;
        } catch (const fatal &problem) {
            say(to, problem.what());
            return LIVEFEED_PROVIDER_FATAL;
        } catch (const std::exception &problem) {
            say(to, problem.what());
        } catch (...) {
            say(to, "the token provider threw what is no std::exception");
        }
        return LIVEFEED_PROVIDER_RETRY;
    }

    static void say(livefeed_target *to, const char *text) noexcept {
        (void)livefeed_target_set_error(to, text, LIVEFEED_NUL_TERMINATED);
    }

    // In this order, so that the handle, whose end ends the callbacks, goes first.
    std::shared_ptr<hooks> hooks_;
    detail::owned<livefeed_feed, livefeed_free> handle_;
    std::atomic<bool> over_{false};
};

/// Gives what livefeed logs to a function, from here on and until it is destroyed, which must not be in a callback. There is
/// one for the whole process.
class log_to {
public:
    using function = std::function<void(std::int32_t level, std::string_view target, std::string_view text)>;

    log_to(std::int32_t level, function to) : to_(std::make_unique<function>(std::move(to))) {
        detail::check(livefeed_set_log_callback(level, on_record, to_.get()));
    }
    ~log_to() {
        if (to_) (void)livefeed_set_log_callback(0, nullptr, nullptr);
    }
    log_to(log_to &&) noexcept = default;
    log_to(const log_to &) = delete;
    log_to &operator=(const log_to &) = delete;

private:
    static void on_record(void *userdata, std::int32_t level, const char *target, std::size_t target_length,
                          const char *text, std::size_t length) noexcept {
        (*static_cast<function *>(userdata))(level, detail::view(target, target_length), detail::view(text, length));
    }

    std::unique_ptr<function> to_;
};

} // namespace livefeed

#endif
