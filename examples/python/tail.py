"""Prints a feed: payloads to standard output, everything else to standard error.

python tail.py URL [SUBSCRIBE-MESSAGE]
python tail.py FILE.json
"""

from __future__ import annotations

import argparse
import logging
import pathlib
import sys
from typing import Any

import livefeed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Prints a feed.")
    parser.add_argument("feed", help="a URL (ws://, wss://), or a file with a configuration in JSON")
    parser.add_argument("subscribe", nargs="?", help="a text to send on each connection")
    parser.add_argument("--stale-after", metavar="DUR", help="how long without data is too long, such as 5s")
    parser.add_argument("--json", action="store_true", help="print all events as JSON objects, one a line")
    parser.add_argument("--count", type=int, metavar="N", help="end after so many messages")
    parser.add_argument("-v", "--verbose", action="store_true", help="show what livefeed logs")
    return parser.parse_args()


def config(args: argparse.Namespace) -> tuple[str, dict[str, Any]]:
    settings: dict[str, Any] = {}
    if args.stale_after:
        settings["stale_after"] = args.stale_after
    if args.subscribe:
        settings["subscriptions"] = [{"id": "all", "subscribe": args.subscribe}]
    is_url = args.feed.startswith(("ws://", "wss://"))
    return args.feed if is_url else pathlib.Path(args.feed).read_text(encoding="utf-8"), settings


def show(event: livefeed.Event, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(event.json, sort_keys=True, ensure_ascii=False), flush=True)
    elif isinstance(event, livefeed.Message):
        sys.stdout.buffer.write(event.data + b"\n")
        sys.stdout.buffer.flush()
    elif isinstance(event, livefeed.Gap):
        print(f"GAP: {event.cause}, on {', '.join(event.subscriptions) or 'everything'}", file=sys.stderr)
    elif isinstance(event, livefeed.Stale):
        print(f"STALE: no data for {event.age:.3f} s; next: {event.next}", file=sys.stderr)
    elif isinstance(event, livefeed.Disconnected):
        again = "no further attempt" if event.retry_in is None else f"next attempt in {event.retry_in:.3f} s"
        print(f"disconnected: {event.detail}; {again}", file=sys.stderr)
    else:
        print(event, file=sys.stderr)


def main() -> int:
    args = arguments()
    if args.verbose:
        logging.basicConfig(level=logging.DEBUG)
        livefeed.log_to(logging.getLogger("livefeed"), logging.DEBUG)
    left = args.count
    try:
        source, settings = config(args)
        with livefeed.open(source, **settings) as feed:
            for event in feed:
                show(event, args.json)
                if isinstance(event, livefeed.Message) and left is not None:
                    left -= 1
                    if left <= 0:
                        return 0
                if isinstance(event, livefeed.Closed):
                    print(f"over: {event.reason}", file=sys.stderr)
        return 1  # The feed gave up: nobody here has closed it.
    except (livefeed.ConfigError, ValueError, OSError) as error:
        print(f"tail.py: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
