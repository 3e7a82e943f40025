// Uses all of examples/cpp/livefeed.hpp, and checks what it sees. The argument is the URL of a server that has the topic
// btc, answers texts with "question" in them, hangs up
// at "hang up", and sends binary messages back.
#include "livefeed.hpp"

#include <poll.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <future>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

using namespace std::chrono_literals;

namespace {

constexpr auto ceiling = 30s;

#define CHECK(what)                                                       \
    do {                                                                  \
        if (!(what)) {                                                    \
            std::fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what); \
            std::exit(1);                                                 \
        }                                                                 \
    } while (false)

template <class Call>
livefeed_result thrown(Call call) {
    try {
        call();
    } catch (const livefeed::error &problem) {
        CHECK(std::string(problem.what()).size() > 0);
        CHECK(std::string(problem.name()).size() > 0);
        return problem.code();
    }
    return LIVEFEED_OK;
}

static_assert(!std::is_copy_constructible_v<livefeed::feed> && !std::is_copy_assignable_v<livefeed::feed>);
static_assert(!std::is_copy_constructible_v<livefeed::event> && !std::is_copy_constructible_v<livefeed::batch>);
static_assert(std::is_nothrow_move_constructible_v<livefeed::feed> && std::is_nothrow_move_assignable_v<livefeed::feed>);

std::string config(const std::string &url, const std::string &more = "") {
    return R"({"url": ")" + url + R"(", "name": "wrapper")" + more + "}";
}

// Reads until an event of that kind comes.
livefeed::event until(livefeed::feed &feed, std::int32_t kind) {
    for (;;) {
        auto event = feed.next(ceiling);
        CHECK(event);
        if (event->kind() == kind) return std::move(*event);
    }
}

void errors(const std::string &url) {
    CHECK(thrown([] { livefeed::feed feed("{\"url\": \"wss://\"}"); }) == LIVEFEED_CONFIG);
    CHECK(thrown([] { livefeed::feed feed("\xff"); }) == LIVEFEED_INVALID_UTF8);
    CHECK(thrown([] { livefeed::feed feed{std::string_view()}; }) == LIVEFEED_CONFIG);
    livefeed::feed feed(config(url));
    feed.wait_connected(ceiling);
    CHECK(thrown([&] { feed.subscribe("{}"); }) == LIVEFEED_CONFIG);
    CHECK(thrown([&] { feed.unsubscribe("nothing"); }) == LIVEFEED_UNKNOWN_SUBSCRIPTION);
    CHECK(thrown([&] { (void)until(feed, LIVEFEED_EVENT_CONNECTED).payload(); }) == LIVEFEED_NO_VALUE);
    feed.close(ceiling);
    CHECK(thrown([&] { feed.send("too late"); }) != LIVEFEED_OK);
    livefeed::feed elsewhere = std::move(feed);
    CHECK(feed.get() == nullptr);
    CHECK(thrown([&] { feed.reconnect(); }) == LIVEFEED_NULL_POINTER);
}

void reading(const std::string &url) {
    livefeed::feed feed(config(url));
    feed.subscribe(R"({"id": "btc", "subscribe": {"channel": "btc"}, "unsubscribe": {"unsubscribe": "btc"},
        "data": {"pointer": "/topic", "equals": "btc"}})");
    feed.wait_fresh(ceiling);
    CHECK(feed.health().find("\"wrapper\"") != std::string::npos);

    auto connected = until(feed, LIVEFEED_EVENT_CONNECTED);
    CHECK(connected.epoch() == 1 && !connected.age() && connected.json().find("\"connected\"") != std::string::npos);
    auto message = until(feed, LIVEFEED_EVENT_MESSAGE);
    CHECK(message.is_message() && !message.is_binary() && message.epoch() == 1);
    CHECK(message.payload().find("\"btc\"") != std::string::npos);
    CHECK(message.age() && *message.age() >= 0ms && *message.age() < ceiling);
    CHECK(message.time() <= std::chrono::system_clock::now());
    CHECK(message.subscription_count() == 1 && message.subscription(0) == "btc");
    CHECK(thrown([&] { (void)message.subscription(1); }) == LIVEFEED_NO_VALUE);
    livefeed::event moved = std::move(message);
    message = std::move(connected);
    CHECK(moved.is_message() && message.kind() == LIVEFEED_EVENT_CONNECTED);

    std::size_t messages = 0;
    while (messages < 20) {
        auto some = feed.next_batch(7, ceiling);
        CHECK(some && !some->empty() && some->size() <= 7);
        livefeed::batch kept = std::move(*some);
        for (const livefeed_view &view : kept) {
            if (view.kind != LIVEFEED_EVENT_MESSAGE) continue;
            CHECK(livefeed::payload(view) == livefeed::event_view(view).payload());
            CHECK(view.epoch == 1 && (view.flags & LIVEFEED_VIEW_BINARY) == 0 && view.time_ns > 0);
            messages += 1;
        }
    }

    // The descriptor.
    feed.unsubscribe("btc");
    pollfd wait{feed.fd(), POLLIN, 0};
    while (feed.next(0ms)) {
    }
    feed.send_binary(std::string_view("\0\1\2", 3));
    for (;;) {
        CHECK(poll(&wait, 1, 30000) == 1);
        auto event = feed.next(0ms);
        if (event && event->is_message() && event->is_binary()) {
            CHECK(event->payload() == std::string_view("\0\1\2", 3));
            break;
        }
    }

    auto answer = feed.request(R"({"question": "?"})", R"({"pointer": "/answer", "exists": true})", ceiling);
    CHECK(answer.is_message() && answer.payload() == "{\"answer\": 42}");
    CHECK(thrown([&] { (void)feed.request("\"nobody knows\"", R"({"text": "never"})", 1ms); }) == LIVEFEED_TIMEOUT);
    feed.send_wait("written", ceiling);
    feed.send_wait(std::string_view(), ceiling);
    feed.send_binary_wait("\3", ceiling);
    for (auto event = until(feed, LIVEFEED_EVENT_MESSAGE); !event.is_binary() || event.payload() != "\3";) {
        event = until(feed, LIVEFEED_EVENT_MESSAGE);
    }
    feed.reconnect();
    CHECK(until(feed, LIVEFEED_EVENT_GAP).epoch() == 2);

    // Another thread ends it while this one reads to the end.
    std::thread other([&] { feed.close(ceiling); });
    std::int32_t last = 0;
    for (livefeed::event &event : feed) last = event.kind();
    other.join();
    CHECK(last == LIVEFEED_EVENT_CLOSED && feed.is_over());
    CHECK(!feed.next(livefeed::forever) && feed.begin() == feed.end());
    feed = livefeed::feed(config(url)); // in place of the one that is over
    CHECK(!feed.is_over());
    feed.wait_connected(ceiling);
    // Ended by the destructor, with events unread.
}

void callbacks(const std::string &url) {
    std::mutex mutex;
    std::condition_variable changed;
    unsigned messages = 0;
    std::atomic<int> attempts{0};
    std::vector<std::string> records;

    livefeed::log_to first(LIVEFEED_LOG_DEBUG, [&](std::int32_t level, std::string_view target, std::string_view text) {
        std::lock_guard<std::mutex> lock(mutex);
        CHECK(level >= LIVEFEED_LOG_ERROR && level <= LIVEFEED_LOG_DEBUG && target.substr(0, 8) == "livefeed");
        records.emplace_back(text);
    });
    livefeed::log_to log = std::move(first);
    livefeed::feed::options options;
    options.on_event = [&](livefeed::event_view event) {
        if (!event.is_message()) return;
        std::lock_guard<std::mutex> lock(mutex);
        messages += 1;
        changed.notify_all();
    };
    options.token = [&](const livefeed::attempt &attempt, livefeed::target &target) {
        CHECK(attempt.epoch() == 1 && attempt.number() >= 1 && attempt.endpoint() == 0);
        if (attempts++ == 0) {
            CHECK(!attempt.previous());
            throw std::runtime_error("no token yet");
        }
        CHECK(attempt.previous() && attempt.previous()->find("no token yet") != std::string_view::npos);
        target.header("X-Nothing", std::string_view());
        target.header("X-Token", "secret");
        target.subprotocol("btc.v1");
        target.variable("channel", "\"btc\"");
    };
    const char *more = R"(, "reconnect": {"floor": "1ms", "first": "1ms", "max": "1ms"},
        "subscriptions": [{"id": "btc", "subscribe": {"channel": "${channel}"}}])";
    livefeed::feed feed(config(url, more), std::move(options));
    livefeed::feed moved = std::move(feed); // what the callbacks use stays where it is
    {
        std::unique_lock<std::mutex> lock(mutex);
        CHECK(changed.wait_for(lock, ceiling, [&] { return messages >= 10; }));
    }
    CHECK(attempts == 2);
    CHECK(thrown([&] { (void)moved.next(0ms); }) == LIVEFEED_TAKEN);
    CHECK(moved.close(ceiling));
    std::lock_guard<std::mutex> lock(mutex);
    CHECK(!records.empty());
    for (const std::string &text : records) CHECK(text.find("secret") == std::string::npos);
}

// The server hangs up again and again, in the middle of what is sent. No signal (SIGPIPE) may end the program.
void hanging_up(const std::string &url) {
    livefeed::feed feed(config(url, R"(, "reconnect": {"floor": "1ms", "first": "1ms", "max": "1ms"})"));
    std::string much(10000, 'x');
    int refusals = 0;
    for (int round = 0; round < 20; round++) {
        feed.wait_connected(ceiling);
        livefeed_result result = thrown([&] {
            feed.send("hang up");
            // Not for ever: the connection may be a new one by now, which was not asked to end.
            for (int i = 0; i < 20; i++) feed.send_wait(much, ceiling);
        });
        CHECK(result == LIVEFEED_OK || result == LIVEFEED_NOT_CONNECTED || result == LIVEFEED_DROPPED);
        refusals += result != LIVEFEED_OK;
    }
    CHECK(refusals > 0);
    feed.close(ceiling);
}

// A callback that destroys its own feed, and a provider that gives up.
void ends(const std::string &url) {
    std::mutex mutex;
    std::condition_variable changed;
    std::unique_ptr<livefeed::feed> feed;
    bool over = false;
    livefeed::feed::options options;
    options.on_event = [&](livefeed::event_view event) {
        std::unique_lock<std::mutex> lock(mutex);
        if (event.kind() != LIVEFEED_EVENT_CONNECTED) return;
        changed.wait(lock, [&] { return feed != nullptr; });
        std::unique_ptr<livefeed::feed> mine = std::move(feed);
        CHECK(!over);
        lock.unlock();
        mine.reset();
        lock.lock();
        over = true; // what it captured is still there
        changed.notify_all();
    };
    auto made = std::make_unique<livefeed::feed>(config(url), std::move(options));
    {
        std::unique_lock<std::mutex> lock(mutex);
        feed = std::move(made);
        changed.notify_all();
        CHECK(changed.wait_for(lock, ceiling, [&] { return over; }));
    }

    // One that closes its feed: that can't be waited for there, and is no failure.
    std::promise<livefeed::feed *> opened;
    std::promise<void> closing;
    livefeed::feed::options closes;
    closes.on_event = [&](livefeed::event_view event) {
        if (event.kind() == LIVEFEED_EVENT_CONNECTED) CHECK(!opened.get_future().get()->close(ceiling));
        if (event.kind() == LIVEFEED_EVENT_CLOSED) closing.set_value();
    };
    livefeed::feed closed_inside(config(url), std::move(closes));
    opened.set_value(&closed_inside);
    CHECK(closing.get_future().wait_for(ceiling) == std::future_status::ready);
    CHECK(closed_inside.close(ceiling));

    livefeed::feed::options fatal;
    fatal.token = [](const livefeed::attempt &, livefeed::target &) { throw livefeed::fatal("no account"); };
    livefeed::feed none(config(url), std::move(fatal));
    auto closed = until(none, LIVEFEED_EVENT_CLOSED);
    CHECK(closed.json().find("no account") != std::string::npos);
}

// Destroyed when the thread, or the program, has nearly ended: the variables that livefeed itself has on the thread may be gone.
struct late {
    std::optional<livefeed::feed> feed;
    std::atomic<unsigned> heard{0};
    bool close = false;

    void open(const std::string &url) {
        livefeed::feed::options options;
        options.on_event = [this](livefeed::event_view event) {
            if (event.is_message()) heard++;
        };
        feed.emplace(config(url, R"(, "subscriptions": [{"id": "btc", "subscribe": {"channel": "btc"}}])"),
                     std::move(options));
    }

    ~late() {
        if (!feed) return;
        while (heard == 0) std::this_thread::yield();
        CHECK(thrown([&] { feed->subscribe("{}"); }) == LIVEFEED_CONFIG);
        if (close) feed->close(ceiling);
        feed.reset();
        unsigned before = heard;
        std::this_thread::sleep_for(20ms); // four messages
        CHECK(heard == before);
    }
};

late of_the_program;
thread_local late of_the_thread;

void late_ends(const std::string &url) {
    for (bool close : {false, true}) {
        std::thread([&] {
            of_the_thread.close = close; // made before livefeed has any variable here, and so gone after them
            of_the_thread.open(url);
        }).join();
    }
    of_the_program.close = true;
    of_the_program.open(url);
}

// A feed that was destroyed without being closed ends its threads a moment later. Those that are left at the end of the
// program look like leaks.
void wait_for_threads(std::ptrdiff_t most) {
    std::filesystem::path threads("/proc/self/task");
    auto deadline = std::chrono::steady_clock::now() + ceiling;
    while (std::filesystem::exists(threads) &&
           std::distance(std::filesystem::directory_iterator(threads), std::filesystem::directory_iterator()) > most) {
        CHECK(std::chrono::steady_clock::now() < deadline);
        std::this_thread::yield();
    }
}

} // namespace

int main(int, char **argv) {
    CHECK(livefeed_abi_version() == LIVEFEED_ABI_VERSION && livefeed_version() != nullptr);
    const std::pair<const char *, void (*)(const std::string &)> parts[] = {
        {"errors", errors}, {"reading", reading}, {"callbacks", callbacks}, {"hanging up", hanging_up}, {"ends", ends}};
    for (const auto &[name, part] : parts) {
        std::fprintf(stderr, "%s\n", name); // for those who wonder where it stopped
        part(argv[1]);
    }
    wait_for_threads(1);
    late_ends(argv[1]);
    wait_for_threads(3); // those of one feed are left
    std::puts("done");
}
