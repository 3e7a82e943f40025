/* Loses what its second argument names, so that it is seen that the tools find it: an event, a batch, a feed or nothing.
 *
 * It does so a few times: of the last one a register or what calls have left on the stack may still hold the address, and
 * then it does not count as lost. */
#include <livefeed.h>

#include <string.h>

static int lose(const char *url, const char *what) {
    livefeed_feed *feed = NULL;
    livefeed_event *event = NULL;
    livefeed_batch *batch = NULL;
    if (livefeed_open(url, LIVEFEED_NUL_TERMINATED, &feed) != LIVEFEED_OK ||
        livefeed_next(feed, 10000, &event) != LIVEFEED_OK ||
        livefeed_next_batch(feed, 0, 10000, &batch) != LIVEFEED_OK || livefeed_close(feed, 10000) != LIVEFEED_OK) {
        return 1;
    }
    if (strcmp(what, "event") != 0) {
        livefeed_event_free(event);
    }
    if (strcmp(what, "batch") != 0) {
        livefeed_batch_free(batch);
    }
    if (strcmp(what, "feed") != 0) {
        livefeed_free(feed);
    }
    return 0;
}

int main(int argc, char **argv) {
    int failed = argc != 3;
    for (int i = 0; i < 5 && !failed; i++) {
        failed = lose(argv[1], argv[2]);
    }
    return failed;
}
