// Prints any feed: its messages to standard output, everything else to standard error.
//
//     tail [-n COUNT] URL
//     tail [-n COUNT] FILE.json
//
// With LIVEFEED_TOKEN_FILE in the environment, what stands in that file is sent as `Authorization: Bearer ...`; it is read
// anew for each attempt to connect, so that a token may age. Ends as examples/c/tail.c does.
#include "livefeed.hpp"

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <limits>
#include <sstream>
#include <string>

namespace {

struct wrong_arguments : std::runtime_error {
    using std::runtime_error::runtime_error;
};

std::string read_file(const std::string &path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    if (!file || !(text << file.rdbuf())) throw wrong_arguments(path + ": can't be read");
    return text.str();
}

bool is_url(const std::string &text) { return text.rfind("ws://", 0) == 0 || text.rfind("wss://", 0) == 0; }

livefeed::feed open(const std::string &argument) {
    livefeed::feed::options options;
    if (const char *path = std::getenv("LIVEFEED_TOKEN_FILE")) {
        options.token = [path = std::string(path)](const livefeed::attempt &, livefeed::target &target) {
            std::string token = read_file(path);
            token.erase(token.find_last_not_of(" \r\n") + 1);
            target.header("Authorization", "Bearer " + token);
        };
    }
    return livefeed::feed(is_url(argument) ? argument : read_file(argument), std::move(options));
}

// Whether so many messages came before the feed was over.
bool tail(livefeed::feed &feed, unsigned long left) {
    if (left == 0) return true;
    for (const livefeed::event &event : feed) {
        if (!event.is_message()) {
            std::cerr << event.json() << '\n';
            continue;
        }
        std::cout << event.payload() << '\n' << std::flush;
        if (!std::cout) throw std::runtime_error("standard output can't be written");
        if (--left == 0) return true;
    }
    return false;
}

unsigned long number(const std::string &text) {
    std::istringstream in(text);
    unsigned long number = 0;
    if (text.empty() || text[0] < '0' || text[0] > '9' || !(in >> number) || !in.eof()) {
        throw wrong_arguments(text + " is no number");
    }
    return number;
}

int run(int argc, char **argv) {
    int at = 1;
    unsigned long count = std::numeric_limits<unsigned long>::max();
    if (argc > 2 && std::string(argv[1]) == "-n") {
        count = number(argv[2]);
        at = 3;
    }
    if (argc != at + 1) throw wrong_arguments("usage: tail [-n COUNT] URL|FILE.json");

    livefeed::feed feed = [&] {
        try {
            return open(argv[at]);
        } catch (const livefeed::error &problem) {
            throw wrong_arguments(std::string(argv[at]) + ": " + problem.what());
        }
    }();
    bool enough = tail(feed, count);
    feed.close(std::chrono::seconds(10));
    return enough ? 0 : 1;
}

} // namespace

int main(int argc, char **argv) {
    try {
        return run(argc, argv);
    } catch (const wrong_arguments &problem) {
        std::cerr << problem.what() << '\n';
        return 2;
    } catch (const std::exception &problem) {
        std::cerr << problem.what() << '\n';
        return 1;
    }
}
