/* Prints any feed: its messages to standard output, everything else to standard error.
 *
 *     tail [-n COUNT] URL [SUBSCRIBE]
 *     tail [-n COUNT] FILE.json [SUBSCRIBE]
 *
 * URL begins with ws:// or wss://; FILE.json is a configuration, such as those in examples/feeds. SUBSCRIBE is JSON, and
 * is sent on each new connection. Messages are written as they are, one a line; the other events as JSON, one a line.
 * After COUNT messages it ends.
 *
 * Ends with status 0 after COUNT messages, with 1 if the feed closed by itself or the output can't be written, and with
 * 2 if the arguments are wrong.
 *
 * Plain C99. How to build it is in the Makefile beside it.
 */
#include <livefeed.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, FAILED = 1, WRONG_ARGUMENTS = 2 };

/* Says what the last call of livefeed on this thread complained of. */
static int complain(const char *what, livefeed_result result, int status) {
    fprintf(stderr, "%s: %s: %s\n", what, livefeed_result_name(result), livefeed_error_message());
    return status;
}

static int usage(void) {
    fputs("usage: tail [-n COUNT] URL|FILE.json [SUBSCRIBE]\n", stderr);
    return WRONG_ARGUMENTS;
}

/* The whole of a file, to be freed; NULL if it can't be read, and then errno says why. */
static char *read_file(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    char *text = NULL;
    size_t room = 0;
    size_t used = 0;
    if (file == NULL) {
        return NULL;
    }
    for (;;) {
        if (used == room) {
            char *more = realloc(text, room += 65536);
            if (more == NULL) {
                break;
            }
            text = more;
        }
        size_t got = fread(text + used, 1, room - used, file);
        used += got;
        if (got == 0 && ferror(file)) {
            break;
        }
        if (got == 0) {
            fclose(file);
            *length = used;
            return text;
        }
    }
    int problem = errno;
    free(text);
    fclose(file);
    errno = problem;
    return NULL;
}

/* Opens what the argument names: a URL goes to livefeed as it is, a file with its content. */
static int open_feed(const char *argument, livefeed_feed **feed) {
    livefeed_result result;
    if (strncmp(argument, "ws://", 5) == 0 || strncmp(argument, "wss://", 6) == 0) {
        result = livefeed_open(argument, LIVEFEED_NUL_TERMINATED, feed);
    } else {
        size_t length;
        char *config = read_file(argument, &length);
        if (config == NULL) {
            fprintf(stderr, "%s: %s\n", argument, strerror(errno));
            return WRONG_ARGUMENTS;
        }
        result = livefeed_open(config, length, feed);
        free(config);
    }
    return result == LIVEFEED_OK ? OK : complain(argument, result, WRONG_ARGUMENTS);
}

static int subscribe(livefeed_feed *feed, const char *message) {
    static const char form[] = "{\"id\": \"tail\", \"subscribe\": %s}";
    size_t room = sizeof form + strlen(message);
    char *json = malloc(room);
    if (json == NULL) {
        perror("subscribe");
        return FAILED;
    }
    snprintf(json, room, form, message);
    livefeed_result result = livefeed_subscribe(feed, json, LIVEFEED_NUL_TERMINATED);
    free(json);
    return result == LIVEFEED_OK ? OK : complain("SUBSCRIBE", result, WRONG_ARGUMENTS);
}

/* Prints the events of a batch, at most `left` messages; less than that are left afterwards. */
static int print(const livefeed_batch *batch, unsigned long *left) {
    const livefeed_view *views;
    size_t count;
    livefeed_result result = livefeed_batch_views(batch, &views, &count);
    if (result != LIVEFEED_OK) {
        return complain("batch", result, FAILED);
    }
    for (size_t i = 0; i < count && *left > 0; i++) {
        if (views[i].kind == LIVEFEED_EVENT_MESSAGE) {
            fwrite(views[i].data, 1, views[i].length, stdout);
            putchar('\n');
            *left -= 1;
            continue;
        }
        const char *json;
        size_t length;
        result = livefeed_event_json(views[i].event, &json, &length);
        if (result != LIVEFEED_OK) {
            return complain("event", result, FAILED);
        }
        fprintf(stderr, "%s\n", json);
    }
    return OK;
}

/* Prints until so many messages were printed, or the feed has ended. A batch is all that waits: it is written at once. */
static int tail(livefeed_feed *feed, unsigned long left) {
    while (left > 0) {
        livefeed_batch *batch;
        livefeed_result result = livefeed_next_batch(feed, 0, -1, &batch);
        if (result != LIVEFEED_OK) {
            /* CLOSED: the feed gave up, and said why in its last event. */
            return result == LIVEFEED_CLOSED ? FAILED : complain("next", result, FAILED);
        }
        int status = print(batch, &left);
        livefeed_batch_free(batch);
        if (status != OK) {
            return status;
        }
        if (fflush(stdout) != 0) {
            perror("standard output");
            return FAILED;
        }
    }
    return OK;
}

int main(int argc, char **argv) {
    int at = 1;
    unsigned long left = (unsigned long)-1;
    if (argc > 2 && strcmp(argv[1], "-n") == 0) {
        char *end;
        left = strtoul(argv[2], &end, 10);
        if (argv[2][0] < '0' || argv[2][0] > '9' || *end != '\0') {
            return usage();
        }
        at = 3;
    }
    if (argc <= at || argc > at + 2) {
        return usage();
    }
    if (livefeed_abi_version() != LIVEFEED_ABI_VERSION) {
        fputs("the library is not the one of this header\n", stderr);
        return FAILED;
    }

    livefeed_feed *feed = NULL;
    int status = open_feed(argv[at], &feed);
    if (status == OK && argc > at + 1) {
        status = subscribe(feed, argv[at + 1]);
    }
    if (status == OK) {
        status = tail(feed, left);
    }
    if (feed != NULL) {
        (void)livefeed_close(feed, 10000); /* says goodbye to the server; too late is no harm here */
    }
    livefeed_free(feed);
    return status;
}
