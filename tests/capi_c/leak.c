/* Loses what its second argument names, so that it is seen that the tools find it: an event, a batch, a feed or nothing. */
#include <livefeed.h>

#include <string.h>

int main(int argc, char **argv) {
    livefeed_feed *feed = NULL;
    livefeed_event *event = NULL;
    livefeed_batch *batch = NULL;
    if (argc != 3 || livefeed_open(argv[1], LIVEFEED_NUL_TERMINATED, &feed) != LIVEFEED_OK ||
        livefeed_next(feed, 10000, &event) != LIVEFEED_OK ||
        livefeed_next_batch(feed, 0, 10000, &batch) != LIVEFEED_OK || livefeed_close(feed, 10000) != LIVEFEED_OK) {
        return 1;
    }
    if (strcmp(argv[2], "event") != 0) {
        livefeed_event_free(event);
    }
    if (strcmp(argv[2], "batch") != 0) {
        livefeed_batch_free(batch);
    }
    if (strcmp(argv[2], "feed") != 0) {
        livefeed_free(feed);
    }
    /* Not even the stack may still point there. */
    event = NULL;
    batch = NULL;
    feed = NULL;
    return event != NULL || batch != NULL || feed != NULL;
}
