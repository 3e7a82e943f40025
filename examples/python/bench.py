"""Messages a second of livefeed.py beside websocket-client and websockets (sync), from the same server, in turns.

    pip install websocket-client websockets
    LIVEFEED_LIBRARY=.. LIVEFEED_PROGRAM=.. python bench.py

Each reads the texts of the messages of a server that sends as fast as it is read from: `livefeed lab`. What counts is the
best build of each part: `cargo rustc --release --lib --features capi --crate-type cdylib`, `cargo build --release --features cli`.
"""

from __future__ import annotations

import argparse
import os
import pathlib
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from importlib import metadata
from typing import Callable

import websocket
from websockets.sync.client import connect

import livefeed


def of_livefeed(url: str) -> Iterator[object]:
    with livefeed.open(url) as feed:
        for message in feed.messages():
            yield message.text


def of_livefeed_events(url: str) -> Iterator[object]:
    with livefeed.open(url) as feed:
        for event in feed:
            if isinstance(event, livefeed.Message):
                yield event.text


def of_websocket_client(url: str) -> Iterator[object]:
    connection = websocket.create_connection(url)
    try:
        while True:
            yield connection.recv()
    finally:
        assert connection.sock
        connection.sock.close()


def of_websockets(url: str) -> Iterator[object]:
    connection = connect(url)
    try:
        yield from connection
    finally:
        connection.socket.close()


CLIENTS: dict[str, Callable[[str], Iterator[object]]] = {
    "livefeed, messages()": of_livefeed,
    "livefeed, all events": of_livefeed_events,
    "websocket-client": of_websocket_client,
    "websockets (sync)": of_websockets,
}


def rate(texts: Iterator[object], seconds: float, size: int) -> float:
    """Messages a second, from the first one on."""
    count = 0
    begin = 0.0
    for text in texts:
        if count & 1023 == 0:
            now = time.perf_counter()
            if not count:
                begin = now
                if type(text) is not str or len(text) != size:
                    raise SystemExit(f"not what was sent: {text!r}")
            elif now - begin >= seconds:
                break
        count += 1
    texts.close()  # type: ignore[attr-defined]
    return count / (now - begin)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures messages a second.")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--size", type=int, default=128, help="bytes of a message")
    args = parser.parse_args()
    program = os.environ.get("LIVEFEED_PROGRAM", "livefeed")
    with tempfile.TemporaryDirectory() as folder:
        script = pathlib.Path(folder, "script")
        script.write_text(f"flood {args.size}\n")
        command = [program, "lab", "--listen", "127.0.0.1:0", "--quiet", "--script", str(script)]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert server.stderr is not None
        url = server.stderr.readline().split()[-1]
        rates: dict[str, list[float]] = {name: [] for name in CLIENTS}
        try:
            for turn in range(args.rounds):
                names = list(CLIENTS)
                for name in names[turn % len(names) :] + names[: turn % len(names)]:
                    rates[name].append(rate(CLIENTS[name](url), args.seconds, args.size))
        finally:
            server.kill()
            server.wait()
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("websocket-client", "websockets"))
    print(f"Python {platform.python_version()}, livefeed {livefeed.version()}, {versions}")
    print(f"{args.rounds} rounds of {args.seconds} s each, messages of {args.size} bytes; messages a second:")
    for name, all_rates in rates.items():
        low, middle, high = min(all_rates), statistics.median(all_rates), max(all_rates)
        print(f"{name:22} median {middle:12,.0f}   from {low:12,.0f} to {high:12,.0f}")
    ours = rates["livefeed, messages()"]
    best = [max(pair) for pair in zip(rates["websocket-client"], rates["websockets (sync)"])]
    ratios = [mine / theirs for mine, theirs in zip(ours, best)]
    print(
        f"times the faster of the two, round by round: median {statistics.median(ratios):.1f}, least {min(ratios):.1f}"
    )


if __name__ == "__main__":
    main()
