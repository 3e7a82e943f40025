/* Loses what its second argument names, so that it is seen that the tools find it: an event, a batch, a feed or nothing. */
#include <livefeed.h>

#include <pthread.h>
#include <string.h>

static char **arguments;
static int status = 1;

static void *lose(void *unused) {
    livefeed_feed *feed = NULL;
    livefeed_event *event = NULL;
    livefeed_batch *batch = NULL;
    const char *lost = arguments[2];
    if (livefeed_open(arguments[1], LIVEFEED_NUL_TERMINATED, &feed) != LIVEFEED_OK ||
        livefeed_next(feed, 10000, &event) != LIVEFEED_OK ||
        livefeed_next_batch(feed, 0, 10000, &batch) != LIVEFEED_OK || livefeed_close(feed, 10000) != LIVEFEED_OK) {
        return unused;
    }
    if (strcmp(lost, "event") != 0) {
        livefeed_event_free(event);
    }
    if (strcmp(lost, "batch") != 0) {
        livefeed_batch_free(batch);
    }
    if (strcmp(lost, "feed") != 0) {
        livefeed_free(feed);
    }
    status = 0;
    return unused;
}

/* On a thread of its own: what was left on the stack there points to nothing for the tools when it has ended. */
int main(int argc, char **argv) {
    pthread_t thread;
    arguments = argv;
    if (argc != 3 || pthread_create(&thread, NULL, lose, NULL) != 0 || pthread_join(thread, NULL) != 0) {
        return 1;
    }
    return status;
}
