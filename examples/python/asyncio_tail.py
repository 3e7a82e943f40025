"""Prints several feeds from one loop of asyncio, each by `async for`.

    python asyncio_tail.py URL [URL ...]

`async for event in feed` waits for the feed's file descriptor with `loop.add_reader`: no thread of Python, no polling.
"""

from __future__ import annotations

import asyncio
import signal
import sys

import livefeed


async def tail(feed: livefeed.Feed) -> str:
    """Prints a feed until it is closed, and returns why it was."""
    reason = "closed"
    async for event in feed:
        if isinstance(event, livefeed.Message):
            print(f"{feed.name}: {event.text if not event.is_binary else event.data!r}", flush=True)
        elif isinstance(event, livefeed.Closed):
            reason = event.reason
        else:
            print(f"{feed.name}: {event}", file=sys.stderr)
    return reason


async def main(urls: list[str]) -> None:
    feeds = [livefeed.open(url) for url in urls]
    loop = asyncio.get_running_loop()
    tails = [asyncio.ensure_future(tail(feed)) for feed in feeds]

    async def close() -> None:
        # Closing waits for the servers' Close frames: on threads, so that the loop goes on.
        await asyncio.gather(*(loop.run_in_executor(None, feed.close) for feed in feeds))

    closing: list[asyncio.Future[None]] = []
    loop.add_signal_handler(signal.SIGINT, lambda: closing.append(asyncio.ensure_future(close())))
    for feed, reason in zip(feeds, await asyncio.gather(*tails)):
        print(f"{feed.name}: over: {reason}", file=sys.stderr)
    await close()


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("python asyncio_tail.py URL [URL ...]")
    asyncio.run(main(sys.argv[1:]))
