/* Several feeds and a signal in one poll(2): one thread, no timer, nothing is asked in vain.
 *
 *     poll_loop URL|FILE.json...
 *
 * Each message is written to standard output behind the number of its feed, each other event to standard error as JSON.
 * SIGINT and SIGTERM end it properly: each server is told goodbye, what had come by then is still printed, and then one
 * line for each feed with what it counted. With SIGUSR1 it says how the feeds are.
 *
 * Ends with status 0 when it was told to, with 1 if all feeds closed by themselves or something failed, and with 2 if
 * the arguments are wrong.
 *
 * C99 and POSIX. How to build it is in the Makefile beside it.
 */
#define _POSIX_C_SOURCE 200809L

#include <livefeed.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { MOST_FEEDS = 64, MOST_AT_ONCE = 256 };

struct source {
    livefeed_feed *feed;
    int number;
    bool over; /* everything was read */
    unsigned long messages, gaps, stale, connections;
};

/* Signals become bytes in this pipe, as poll waits for descriptors only. */
static int signals[2];

static void on_signal(int number) {
    int before = errno;
    unsigned char byte = (unsigned char)number;
    ssize_t written = write(signals[1], &byte, 1); /* a full pipe says it already */
    (void)written;
    errno = before;
}

static bool watch_signals(void) {
    static const int wanted[] = {SIGINT, SIGTERM, SIGUSR1};
    struct sigaction action;
    if (pipe(signals) != 0) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        if (fcntl(signals[i], F_SETFL, O_NONBLOCK) != 0 || fcntl(signals[i], F_SETFD, FD_CLOEXEC) != 0) {
            return false;
        }
    }
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        if (sigaction(wanted[i], &action, NULL) != 0) {
            return false;
        }
    }
    return true;
}

/* The whole of a file, to be freed; NULL if it can't be read, and then errno says why. */
static char *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    long size = -1;
    if (file == NULL) {
        return NULL;
    }
    if (fseek(file, 0, SEEK_END) == 0 && (size = ftell(file)) >= 0 && fseek(file, 0, SEEK_SET) == 0) {
        text = malloc((size_t)size + 1);
    }
    if (text != NULL) {
        *length = fread(text, 1, (size_t)size, file);
    }
    fclose(file);
    return text;
}

static bool complain(const char *what, livefeed_result result) {
    fprintf(stderr, "%s: %s: %s\n", what, livefeed_result_name(result), livefeed_error_message());
    return false;
}

static bool open_feed(const char *argument, livefeed_feed **feed) {
    livefeed_result result;
    if (strncmp(argument, "ws://", 5) == 0 || strncmp(argument, "wss://", 6) == 0) {
        result = livefeed_open(argument, LIVEFEED_NUL_TERMINATED, feed);
    } else {
        size_t length;
        char *config = read_file(argument, &length);
        if (config == NULL) {
            fprintf(stderr, "%s: %s\n", argument, strerror(errno));
            return false;
        }
        result = livefeed_open(config, length, feed);
        free(config);
    }
    return result == LIVEFEED_OK || complain(argument, result);
}

static bool print(struct source *source, const livefeed_event *event) {
    livefeed_result result;
    size_t length;
    switch (livefeed_event_kind(event)) {
    case LIVEFEED_EVENT_MESSAGE: {
        const uint8_t *data;
        result = livefeed_event_payload(event, &data, &length);
        if (result != LIVEFEED_OK) {
            return complain("payload", result);
        }
        source->messages += 1;
        printf("%d ", source->number);
        fwrite(data, 1, length, stdout);
        putchar('\n');
        return true;
    }
    case LIVEFEED_EVENT_CONNECTED:
        source->connections += 1;
        break;
    case LIVEFEED_EVENT_GAP:
        source->gaps += 1; /* what was made of the data is to be made anew here */
        break;
    case LIVEFEED_EVENT_STALE:
        source->stale += 1;
        break;
    default:
        break;
    }
    const char *json;
    result = livefeed_event_json(event, &json, &length);
    if (result != LIVEFEED_OK) {
        return complain("event", result);
    }
    fprintf(stderr, "%d %s\n", source->number, json);
    return true;
}

/* Reads what waits, but not for ever: the others have their turn too, and poll comes back at once for the rest. */
static bool read_some(struct source *source) {
    for (int i = 0; i < MOST_AT_ONCE; i++) {
        livefeed_event *event;
        livefeed_result result = livefeed_next(source->feed, 0, &event);
        if (result == LIVEFEED_TIMEOUT) {
            return true;
        }
        if (result == LIVEFEED_CLOSED) {
            source->over = true;
            return true;
        }
        if (result != LIVEFEED_OK) {
            return complain("next", result);
        }
        bool printed = print(source, event);
        livefeed_event_free(event);
        if (!printed) {
            return false;
        }
    }
    return true;
}

static bool print_health(const struct source *source) {
    char *json;
    size_t length;
    livefeed_result result = livefeed_health_json(source->feed, &json, &length);
    if (result != LIVEFEED_OK) {
        return complain("health", result);
    }
    fprintf(stderr, "%d health %s\n", source->number, json);
    livefeed_string_free(json);
    return true;
}

/* Waits for feeds and signals until it is told to stop (then `stopped` is set), all feeds are over, or something fails. */
static bool loop(struct source *sources, int count, bool *stopped) {
    struct pollfd waits[MOST_FEEDS + 1];
    for (int i = 0; i < count; i++) {
        livefeed_result result = livefeed_fd(sources[i].feed, &waits[i].fd);
        if (result != LIVEFEED_OK) {
            return complain("fd", result);
        }
        waits[i].events = POLLIN;
    }
    waits[count].fd = signals[0];
    waits[count].events = POLLIN;
    for (int running = count; running > 0;) {
        if (poll(waits, (nfds_t)count + 1, -1) < 0) {
            if (errno == EINTR) {
                continue;
            }
            perror("poll");
            return false;
        }
        unsigned char byte;
        while (read(signals[0], &byte, 1) == 1) {
            if (byte != SIGUSR1) {
                *stopped = true;
                return true;
            }
            for (int i = 0; i < count; i++) {
                if (!print_health(&sources[i])) {
                    return false;
                }
            }
        }
        for (int i = 0; i < count; i++) {
            if (waits[i].revents == 0 || sources[i].over) {
                continue;
            }
            if (!read_some(&sources[i])) {
                return false;
            }
            if (sources[i].over) {
                waits[i].fd = -1; /* it would be readable for ever; poll passes over it now */
                running -= 1;
            }
        }
        if (fflush(stdout) != 0) {
            perror("standard output");
            return false;
        }
    }
    return true;
}

int main(int argc, char **argv) {
    struct source sources[MOST_FEEDS];
    int count = 0;
    bool stopped = false;
    bool fine = true;
    if (argc < 2 || argc > MOST_FEEDS + 1) {
        fputs("usage: poll_loop URL|FILE.json...\n", stderr);
        return 2;
    }
    if (!watch_signals()) {
        perror("signals");
        return 1;
    }
    for (; fine && count < argc - 1; count++) {
        memset(&sources[count], 0, sizeof sources[count]);
        sources[count].number = count + 1;
        fine = open_feed(argv[count + 1], &sources[count].feed);
    }
    int status = fine ? 0 : 2;
    if (fine && (!loop(sources, count, &stopped) || !stopped)) {
        status = 1;
    }
    for (int i = 0; i < count; i++) {
        struct source *source = &sources[i];
        if (source->feed == NULL) {
            continue;
        }
        livefeed_result closed = livefeed_close(source->feed, 10000);
        if (closed != LIVEFEED_OK) {
            complain("close", closed);
        }
        while (closed == LIVEFEED_OK && stopped && !source->over && read_some(source)) {
            /* what came before the end */
        }
        fprintf(stderr, "%d messages %lu gaps %lu stale %lu connections %lu\n", source->number, source->messages,
                source->gaps, source->stale, source->connections);
        livefeed_free(source->feed);
    }
    return fflush(stdout) == 0 ? status : 1;
}
