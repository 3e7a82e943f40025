"""The tests of livefeed.py: `python test_livefeed.py`.

LIVEFEED_LIBRARY names the library, LIVEFEED_PROGRAM the program `livefeed`, whose lab is the server of most of them.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import ctypes
import ctypes.util
import gc
import hashlib
import json
import logging
import os
import pathlib
import pickle
import queue
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import warnings
import weakref
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Callable, Optional

import livefeed

CEILING = 20.0
PROGRAM = os.environ.get("LIVEFEED_PROGRAM", "livefeed")
HERE = os.path.dirname(os.path.abspath(__file__))
IS_POSIX = os.name == "posix"


@contextlib.contextmanager
def lab(script: Optional[str] = None, *arguments: str) -> Iterator[str]:
    """The URL of a lab with this script, a step a line."""
    command = [PROGRAM, "lab", "--listen", "127.0.0.1:0", "--quiet", *arguments]
    with contextlib.ExitStack() as stack:
        if script is not None:
            folder = stack.enter_context(tempfile.TemporaryDirectory())
            path = os.path.join(folder, "script")
            with open(path, "w", encoding="utf-8") as file:
                file.write(script)
            command += ["--script", path]
        server = subprocess.Popen(command, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        assert server.stderr is not None
        stack.enter_context(server.stderr)
        stack.callback(server.wait)
        stack.callback(server.kill)
        line = server.stderr.readline()
        assert "listening at" in line, line
        yield line.split()[-1]


class Connection:
    """A connection of `Server`, after the upgrade."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.stream = peer.makefile("rb")
        self.head = b"".join(iter(self.stream.readline, b"\r\n")).decode()
        key = self.header("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        accept = base64.b64encode(hashlib.sha1(key.encode()).digest()).decode()
        chosen = [f"Sec-WebSocket-Protocol: {name}" for name in [self.header("Sec-WebSocket-Protocol")] if name]
        lines = ["HTTP/1.1 101 Switching Protocols", "Upgrade: websocket", "Connection: Upgrade"]
        lines += [f"Sec-WebSocket-Accept: {accept}", *chosen, "", ""]
        peer.sendall("\r\n".join(lines).encode())

    def header(self, name: str) -> str:
        for line in self.head.splitlines()[1:]:
            key, _, value = line.partition(": ")
            if key.lower() == name.lower():
                return value
        return ""

    def send(self, text: str) -> None:
        data = text.encode()
        assert len(data) < 1 << 16
        size = bytes([len(data)]) if len(data) < 126 else struct.pack("!BH", 126, len(data))
        self.peer.sendall(b"\x81" + size + data)

    def receive(self) -> Any:
        """A text as str, a binary message as bytes; None: the client closed."""
        while True:
            head = self.stream.read(2)
            if len(head) < 2:
                return None
            size = head[1] & 127
            if size == 126:
                (size,) = struct.unpack("!H", self.stream.read(2))
            mask = self.stream.read(4)
            data = bytes(byte ^ mask[at % 4] for at, byte in enumerate(self.stream.read(size)))
            kind = head[0] & 15
            if kind == 8:
                self.peer.sendall(b"\x88" + bytes([len(data)]) + data)
                return None
            if kind in (1, 2):
                return data.decode() if kind == 1 else data


@contextlib.contextmanager
def server(serve: Callable[[Connection], None]) -> Iterator[str]:
    """A server that does this on each connection, one after the other."""
    listener = socket.create_server(("127.0.0.1", 0))
    failures: list[BaseException] = []
    is_over = threading.Event()

    def run() -> None:
        while not is_over.is_set():
            try:
                peer, _ = listener.accept()
            except OSError:
                return
            with peer:
                peer.settimeout(CEILING)
                try:
                    connection = Connection(peer)
                    with connection.stream:
                        serve(connection)
                except OSError:
                    pass
                except BaseException as error:
                    failures.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield f"ws://127.0.0.1:{listener.getsockname()[1]}/feed"
    finally:
        is_over.set()
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join(CEILING)
    if failures:
        raise failures[0]


def echo(connection: Connection) -> None:
    while (message := connection.receive()) is not None:
        connection.send(f"{type(message).__name__}:{message if isinstance(message, str) else message.hex()}")


def drain(connection: Connection) -> None:
    while connection.receive() is not None:
        pass


QUICK: dict[str, Any] = {"reconnect": {"first": "100ms", "floor": "100ms", "max": "100ms"}}


class Case(unittest.TestCase):
    def wait_for(self, feed: livefeed.Feed, kind: type[livefeed.Event]) -> Any:
        deadline = time.monotonic() + CEILING
        seen: list[livefeed.Event] = []
        while True:
            try:
                event = feed.next(deadline - time.monotonic())
            except livefeed.FeedError as error:
                self.fail(f"no {kind.__name__}: {error}: {seen[-20:]}")
            if isinstance(event, kind):
                return event
            seen.append(event)

    def eventually(self, holds: Callable[[], bool]) -> None:
        deadline = time.monotonic() + CEILING
        while not holds():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)


class Reading(Case):
    def test_the_stream_is_typed_and_ordered(self) -> None:
        with lab('send {"n":1}\nsend-binary AAH/\nsend ünï€😀\nsend ""') as url, livefeed.open(url, name="x") as feed:
            kinds = [type(self.wait_for(feed, livefeed.Event)) for _ in range(2)]
            self.assertEqual(kinds, [livefeed.Connecting, livefeed.Connected])
            text, binary, other = (self.wait_for(feed, livefeed.Message) for _ in range(3))
            self.assertEqual((text.text, text.data, text.is_binary), ('{"n":1}', b'{"n":1}', False))
            self.assertEqual((binary.data, bytes(binary), binary.payload), (b"\0\1\xff",) * 3)
            self.assertTrue(binary.is_binary)
            self.assertFalse(hasattr(binary, "text"))
            self.assertEqual((other.text, other.payload), ("ünï€😀",) * 2)
            self.assertEqual((text.epoch, text.subscriptions), (1, ()))
            self.assertLess(abs(text.time - time.time()), CEILING)
            self.assertTrue(0 <= text.age < CEILING, text.age)
            feed.close()
            rest = list(feed)
            assert isinstance(rest[-1], livefeed.Closed)
            self.assertEqual(rest[-1].json["feed"], "x")
            self.assertEqual(rest[-1].reason, "closed by user")
            self.assertEqual(list(feed), [])
            with self.assertRaises(livefeed.FeedClosed):
                feed.next()
            with self.assertRaises(livefeed.FeedClosed):
                feed.ready()

    def test_each_event_has_its_fields(self) -> None:
        script = "send a\ndata\nfor 100ms\nmute\n---\ndata\n"
        with lab(script, "--topic", "t") as url:
            settings: dict[str, Any] = {
                **QUICK,
                "stale_after": "300ms",
                "alerts": {"reconnects": {"more_than": 0, "within": "1m"}},
            }
            with livefeed.open(url, **settings) as feed:
                connecting = self.wait_for(feed, livefeed.Connecting)
                self.assertEqual((connecting.attempt, connecting.epoch), (1, 1))
                self.assertTrue(connecting.endpoint.startswith("ws://127.0.0.1"))
                connected = self.wait_for(feed, livefeed.Connected)
                self.assertTrue(0 < connected.took < CEILING)
                self.assertEqual(connected.subprotocol, None)
                stale = self.wait_for(feed, livefeed.Stale)
                self.assertEqual((stale.subscription, stale.limit, stale.next), (None, 0.3, "reconnect"))
                self.assertGreaterEqual(stale.age, 0.3)
                end = self.wait_for(feed, livefeed.Disconnected)
                self.assertEqual((end.reason, end.was_connected, end.attempts), ("stale", True, 1))
                alert = self.wait_for(feed, livefeed.Alert)
                self.assertEqual((alert.kind, alert.status, alert.json["count"]), ("reconnects", "raised", 1))
                gap = self.wait_for(feed, livefeed.Gap)
                self.assertEqual((gap.cause, gap.epoch, gap.lost), ("reconnected", 2, None))
                self.assertEqual(gap.json["event"], gap.name)
                self.assertIn("reconnected", repr(gap))

    def test_subscriptions_are_on_messages(self) -> None:
        subscription = {
            "subscribe": {"topic": "${name}"},
            "unsubscribe": {"unsubscribe": "${name}"},
            "data": {"pointer": "/topic", "equals": "${name}"},
        }
        config: dict[str, Any] = {"defaults": subscription, "subscriptions": [{"id": "one"}, {"id": "ünï"}]}
        topics = ["--topic", "one", "--topic", "ünï", "--topic", "three", "--on-subscribe", "--rate", "200"]
        with lab(None, *topics) as url, livefeed.open(url, **config) as feed:
            self.wait_for(feed, livefeed.Subscribed)
            feed.subscribe({"id": "three"})
            seen: set[str] = set()
            while len(seen) < 3:
                message = self.wait_for(feed, livefeed.Message)
                self.assertEqual(message.subscriptions, (json.loads(message.text)["topic"],))
                seen.update(message.subscriptions)
            feed.unsubscribe("one")
            with self.assertRaises(livefeed.UnknownSubscription):
                feed.unsubscribe("one")
            feed.wait_fresh(CEILING)
            names = [each["id"] for each in feed.health()["subscriptions"]]
            self.assertEqual(sorted(names), ["three", "ünï"])

    def test_the_json_is_that_of_the_library(self) -> None:
        with lab("send ü\nsend-binary AAH/") as url, livefeed.open(url, name="ä") as feed:
            theirs: list[Any] = []
            original = livefeed.Feed._events

            def both(self: livefeed.Feed, views: int, count: int) -> Any:
                events = original(self, views, count)
                array = ctypes.string_at(views, count * livefeed._VIEW.size)
                for view in livefeed._VIEW.iter_unpack(array):
                    theirs.append(livefeed._told(view[0], 1, 0, 0).json)
                return events

            livefeed.Feed._events = both  # type: ignore[method-assign]
            try:
                ours: list[Any] = []
                while sum(each["event"] == "message" for each in ours) < 2:
                    ours += [event.json for event in feed.next_batch(timeout=CEILING)]
            finally:
                livefeed.Feed._events = original  # type: ignore[method-assign]
            self.assertEqual(ours, theirs[: len(ours)])

    def test_nothing_is_lost_or_twice_when_loops_end_early(self) -> None:
        with lab(None, "--rate", "50000") as url, livefeed.open(url) as feed:
            numbers: list[int] = []
            ways: list[Callable[[Any], Iterator[livefeed.Event]]] = [iter, livefeed.Feed.messages, lambda it: iter([it.next(CEILING)]), lambda it: iter(it.ready()),
                    lambda it: iter(it.next_batch(3, CEILING))]  # fmt: skip
            turn = 0
            while len(numbers) < 20000:
                turn += 1
                taken = 0
                for event in ways[turn % len(ways)](feed):
                    taken += 1
                    if isinstance(event, livefeed.Message):
                        numbers.append(json.loads(event.text)["seq"])
                    if turn % len(ways) < 2 and taken >= 100:
                        break
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def test_threads_get_a_part_each(self) -> None:
        with lab(None, "--rate", "50000") as url, livefeed.open(url) as feed:
            parts: list[list[int]] = [[] for _ in range(8)]

            def read(part: list[int]) -> None:
                for message in feed.messages():
                    part.append(json.loads(message.text)["seq"])

            threads = [threading.Thread(target=read, args=(part,)) for part in parts]
            for thread in threads:
                thread.start()
            self.eventually(lambda: sum(map(len, parts)) > 20000)
            feed.close(CEILING)
            for thread in threads:
                thread.join(CEILING)
                self.assertFalse(thread.is_alive())
            for part in parts:
                self.assertEqual(part, sorted(part))
            numbers = sorted(number for part in parts for number in part)
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)))

    def test_waiting_ends_in_time_and_not_before(self) -> None:
        with lab("silence") as url, livefeed.open(url) as feed:
            feed.wait_connected(CEILING)
            feed.ready()
            for call in (feed.next, lambda it: feed.next_batch(timeout=it), feed.wait_fresh):
                begin = time.monotonic()
                with self.assertRaises(livefeed.FeedTimeout) as caught:
                    call(0.05)
                self.assertGreaterEqual(time.monotonic() - begin, 0.05)
                self.assertEqual(caught.exception.code, 1)
                self.assertIsInstance(caught.exception, TimeoutError)
            self.assertEqual(feed.ready(), [])

    def test_closing_ends_the_waiting_of_others(self) -> None:
        with lab("silence") as url, livefeed.open(url) as feed:
            feed.wait_connected(CEILING)
            ends: queue.Queue[Any] = queue.Queue()
            threads = [threading.Thread(target=lambda: ends.put(list(feed)[-1:])) for _ in range(3)]
            for thread in threads:
                thread.start()
            feed.close(CEILING)
            feed.close(CEILING)
            for thread in threads:
                thread.join(CEILING)
            last = [event for _ in threads for event in ends.get(timeout=CEILING)]
            self.assertEqual([type(event) for event in last if isinstance(event, livefeed.Closed)], [livefeed.Closed])

    @unittest.skipUnless(IS_POSIX, "needs a file descriptor")
    def test_the_descriptor_is_readable_while_events_wait(self) -> None:
        with lab("send a\nuntil-text more\nsend b") as url, livefeed.open(url) as feed:
            seen: list[livefeed.Event] = []
            poll = select.poll()
            poll.register(feed, select.POLLIN)

            def read_until(part: str) -> None:
                deadline = time.monotonic() + CEILING
                while not any(isinstance(event, livefeed.Message) and event.text == part for event in seen):
                    self.assertLess(time.monotonic(), deadline, seen)
                    poll.poll(1000)
                    seen.extend(feed.ready())

            read_until("a")
            feed.ready()
            self.assertEqual(poll.poll(50), [])
            feed.send("more")
            read_until("b")
            feed.close(CEILING)
            self.assertNotEqual(poll.poll(0), [])
            self.assertIsInstance(feed.ready()[-1], livefeed.Closed)
            self.assertNotEqual(poll.poll(0), [])

    def test_one_event_is_read_with_next(self) -> None:
        with lab("data") as url, livefeed.open(url) as feed:
            self.assertIsInstance(next(feed), livefeed.Connecting)
            self.assertIsInstance(next(feed), livefeed.Connected)
            feed.close()
            self.assertIsInstance(list(feed)[-1], livefeed.Closed)
            self.assertEqual(next(feed, "end"), "end")

    def test_events_survive_pickling(self) -> None:
        with lab("send a\nsend-binary AAH/") as url, livefeed.open(url) as feed:
            for kind in (livefeed.Connecting, livefeed.Message, livefeed.Message):
                event = self.wait_for(feed, kind)
                self.assertEqual(pickle.loads(pickle.dumps(event)).json, event.json)


class Talking(Case):
    def test_what_is_sent_arrives(self) -> None:
        with server(echo) as url, livefeed.open(url) as feed:
            feed.wait_connected(CEILING)
            feed.send("ünï\0")
            self.assertEqual(self.wait_for(feed, livefeed.Message).text, "str:ünï\0")
            feed.send_wait(b"\0\xff", CEILING)
            self.assertEqual(self.wait_for(feed, livefeed.Message).text, "bytes:00ff")
            feed.send_wait("")
            self.assertEqual(self.wait_for(feed, livefeed.Message).text, "str:")
            with self.assertRaises(livefeed.TooLarge):
                feed.send("x" * (5 << 20))

    def test_questions_are_answered(self) -> None:
        def answer(connection: Connection) -> None:
            while (text := connection.receive()) is not None:
                question = json.loads(text)
                if question.get("ask"):
                    connection.send(json.dumps({"id": question["id"], "answer": question["ask"] * 2}))

        with server(answer) as url, livefeed.open(url) as feed:
            feed.wait_connected(CEILING)
            matcher = {"pointer": "/id", "equals": "${id}"}
            reply = feed.request({"ask": "ab", "id": "${id}"}, matcher, CEILING)
            self.assertEqual(json.loads(reply.text)["answer"], "abab")
            with self.assertRaises(livefeed.FeedTimeout):
                feed.request({"id": "${id}"}, matcher, 0.05)
            with self.assertRaises(livefeed.ConfigError):
                feed.request({"id": "${nothing}"}, matcher, CEILING)

    def test_a_reconnect_is_made_when_asked_for(self) -> None:
        with lab("data") as url, livefeed.open(url, **QUICK) as feed:
            feed.wait_connected(CEILING)
            feed.reconnect()
            self.assertEqual(self.wait_for(feed, livefeed.Disconnected).reason, "reconnect requested")
            self.assertEqual(self.wait_for(feed, livefeed.Gap).epoch, 2)

    def test_mistakes_are_told(self) -> None:
        mistakes: list[tuple[Any, str]] = [
            ({"url": "http://x"}, "url"),
            ({"url": "ws://x", "stale_afterr": "5s"}, "stale_afterr"),
            ('{"url": ', "EOF"),
            ("wss://", "url"),
            ("", ""),
        ]
        for config, part in mistakes:
            with self.assertRaises(livefeed.ConfigError) as caught:
                livefeed.open(config)
            self.assertIn(part, str(caught.exception))
            self.assertEqual(caught.exception.code, 6)
            self.assertIsInstance(caught.exception, ValueError)
        with socket.create_server(("127.0.0.1", 0)) as mute:
            with livefeed.open(f"ws://127.0.0.1:{mute.getsockname()[1]}") as feed:
                with self.assertRaises(livefeed.NotConnected):
                    feed.send("x")
                with self.assertRaises(livefeed.NotConnected):
                    feed.send_wait("x", 1)
                with self.assertRaises(livefeed.ConfigError):
                    feed.subscribe({"id": "a", "nonsense": 1})
                with self.assertRaises(ValueError):
                    feed.next(float("nan"))
                with self.assertRaises(TypeError):
                    feed.send(7)  # type: ignore[arg-type]

    def test_a_wrong_configuration_is_told_with_settings_too(self) -> None:
        cycle: dict[str, Any] = {}
        cycle["itself"] = cycle
        mistakes: list[tuple[Any, str]] = [
            ("a.json", "neither"),
            ("[1]", "neither"),
            ("", "neither"),
            ("http://x", "url"),
            ({"url": b"ws://x"}, "bytes"),
            (cycle, "JSON"),
            ("ws://\udc80", ""),
        ]
        for config, part in mistakes:
            with self.assertRaises(livefeed.ConfigError) as caught:
                livefeed.open(config, stale_after="5s")
            self.assertIn(part, str(caught.exception))
            self.assertEqual(caught.exception.code, 6)
        wrong: list[Any] = [b"ws://127.0.0.1:1", None, 7, ["ws://127.0.0.1:1"]]
        for config in wrong:
            with self.assertRaises(TypeError) as other:
                livefeed.open(config)
            self.assertIn("configuration", str(other.exception))
        for name in ("on_event", "token_provider"):
            with self.assertRaisesRegex(TypeError, name):
                livefeed.open("ws://127.0.0.1:1", **{name: 5})  # type: ignore[arg-type]

    def test_configurations_come_in_several_forms(self) -> None:
        with tempfile.TemporaryDirectory() as folder, lab("data") as url:
            path = pathlib.Path(folder, "feed.json")
            path.write_text(json.dumps({"url": url, "name": "ünï"}), "utf-8")
            ways: list[Callable[[], livefeed.Feed]] = [
                lambda: livefeed.open(path),
                lambda: livefeed.open(path, stale_after=timedelta(seconds=5)),
                lambda: livefeed.open(path.read_text("utf-8"), stale_after="5s"),
                lambda: livefeed.open(url=url, name="ünï"),
                lambda: livefeed.open(url.replace("ws", "WS") + "\n", name="ünï"),
            ]
            for way in ways:
                with way() as feed:
                    self.assertEqual(repr(feed), "<livefeed.Feed ünï>")
                    feed.wait_connected(CEILING)
            with self.assertRaises(FileNotFoundError):
                livefeed.open(pathlib.Path(folder, "none"))
            with livefeed.open(path, stale_after=timedelta(milliseconds=150)) as feed:
                self.assertEqual(feed.health()["stale_after_seconds"], 0.15)

    def test_a_feed_is_no_value(self) -> None:
        with lab("data") as url, livefeed.open(url) as feed:
            for make in (copy.copy, copy.deepcopy, pickle.dumps):
                with self.assertRaisesRegex(TypeError, "can't be copied or pickled"):
                    make(feed)
            gc.collect()
            feed.wait_fresh(CEILING)
            self.assertFalse(feed.closed)
            for call in (feed.wait_fresh, feed.wait_connected, feed.close, feed.next):
                with self.assertRaisesRegex(ValueError, "timeout"):
                    call(float("nan"))
            self.assertFalse(feed.closed)
            feed.close()
            self.assertTrue(feed.closed)

    def test_health_is_told(self) -> None:
        with lab("data") as url, livefeed.open(url, name="btc") as feed:
            feed.wait_fresh(CEILING)
            health = feed.health()
            self.assertEqual((health["name"], health["state"], health["epoch"]), ("btc", "fresh", 1))
            self.assertEqual((feed.name, repr(feed)), ("btc", "<livefeed.Feed btc>"))
        self.assertEqual(feed.health()["state"], "closed")

    def test_the_log_goes_to_a_logger(self) -> None:
        logger = logging.getLogger("test.feed")
        with self.assertLogs(logger, logging.DEBUG) as logs:
            livefeed.log_to(logger, logging.DEBUG)
            try:
                with lab("data") as url, livefeed.open(url) as feed:
                    feed.wait_connected(CEILING)
            finally:
                livefeed.log_to(None)
        self.assertTrue(any("connected" in record.getMessage() for record in logs.records), logs.output)


class Providing(Case):
    def test_each_attempt_has_a_token_of_its_own(self) -> None:
        heads: queue.Queue[Connection] = queue.Queue()

        def serve(connection: Connection) -> None:
            heads.put(connection)
            connection.send(connection.receive())

        attempts = []

        def provide(attempt: livefeed.Attempt) -> livefeed.Target:
            attempts.append(attempt)
            number = len(attempts)
            return livefeed.Target(
                url=f"{url}?token={number}",
                headers={"X-Token": f"token-{number}"},
                subprotocols=[f"p{number}"],
                variables={"nonce": {"n": number}},
            )

        subscriptions: list[Any] = [{"id": "a", "subscribe": {"op": "sub", "nonce": "${nonce}"}}]
        with server(serve) as url:
            with livefeed.open(url, token_provider=provide, subscriptions=subscriptions, **QUICK) as feed:
                for number in (1, 2):
                    connection = heads.get(timeout=CEILING)
                    self.assertEqual(connection.header("X-Token"), f"token-{number}")
                    self.assertIn(f"token={number} ", connection.head)
                    self.assertEqual(self.wait_for(feed, livefeed.Connected).subprotocol, f"p{number}")
                    message = self.wait_for(feed, livefeed.Message)
                    self.assertEqual(json.loads(message.text), {"op": "sub", "nonce": {"n": number}})
                first, second = attempts[:2]
                self.assertEqual((first.number, first.epoch, first.previous), (1, 1, None))
                self.assertEqual(second.epoch, 2)
                self.assertIn("close", second.previous or "")
                self.assertEqual(first.endpoint, 0)
        self.assertNotIn("token", repr(livefeed.Target(url="token", headers={"a": "token"}, variables={"a": "token"})))

    def test_a_provider_that_raises_is_asked_again(self) -> None:
        calls = []

        def provide(attempt: livefeed.Attempt) -> Optional[str]:
            calls.append(attempt)
            if len(calls) == 1:
                raise OSError("no token yet")
            return url if len(calls) == 2 else None

        with lab("data") as url, livefeed.open("ws://127.0.0.1:1", token_provider=provide, **QUICK) as feed:
            end = self.wait_for(feed, livefeed.Disconnected)
            self.assertEqual((end.reason, end.was_connected), ("provider", False))
            self.assertIn("no token yet", end.detail)
            self.wait_for(feed, livefeed.Message)
            self.assertIn("no token yet", calls[1].previous or "")

    def test_what_is_no_answer_is_told(self) -> None:
        answers: list[tuple[Any, str]] = [
            ({"Authorization": "x"}, "returns a URL, a Target or None, not dict"),
            (livefeed.Target(headers={"X": 5}), "a header's value is a str, not int"),  # type: ignore[dict-item]
        ]
        for answer, part in answers:
            with livefeed.open("ws://127.0.0.1:1", token_provider=lambda _: answer) as feed:
                self.assertIn(part, self.wait_for(feed, livefeed.Disconnected).detail)

    def test_a_fatal_one_closes_the_feed(self) -> None:
        def provide(attempt: livefeed.Attempt) -> None:
            raise livefeed.Fatal("revoked")

        with livefeed.open("ws://127.0.0.1:1", token_provider=provide) as feed:
            self.assertIn("revoked", self.wait_for(feed, livefeed.Closed).reason)
            with self.assertRaises(livefeed.FeedClosed) as caught:
                feed.wait_connected()
            self.assertIn("revoked", str(caught.exception))
            self.assertTrue(feed.closed)


class Callbacks(Case):
    def test_events_go_to_the_callback_alone(self) -> None:
        events: queue.Queue[livefeed.Event] = queue.Queue()
        with lab("data", "--rate", "1000") as url:
            feed = livefeed.open(url, on_event=events.put)
            kinds: list[Any] = []
            while livefeed.Message not in kinds:
                kinds.append(type(events.get(timeout=CEILING)))
            self.assertEqual(kinds[:2], [livefeed.Connecting, livefeed.Connected])
            for call in (feed.next, feed.ready, feed.fileno, lambda: list(feed)):
                with self.assertRaises(livefeed.EventsTaken):
                    call()
            feed.close(CEILING)
            last = None
            with contextlib.suppress(queue.Empty):
                while True:
                    last = events.get_nowait()
            self.assertIsInstance(last, livefeed.Closed)

    def test_an_exception_in_it_is_logged_and_the_feed_goes_on(self) -> None:
        calls = []

        def fail(event: livefeed.Event) -> None:
            calls.append(event)
            raise ValueError("mistake")

        with lab("data") as url, self.assertLogs("livefeed", logging.ERROR) as logs:
            with livefeed.open(url, on_event=fail):
                self.eventually(lambda: len(calls) > 5)
        self.assertIn("mistake", logs.output[0])

    def test_a_feed_may_be_forgotten_in_its_own_callback(self) -> None:
        ready, left = threading.Event(), threading.Event()
        feeds: list[livefeed.Feed] = []
        seen: list[bool] = []

        def provide(_: livefeed.Attempt) -> None:
            ready.wait(CEILING)
            feed, call = weakref.ref(feeds[0]), weakref.ref(feeds[0]._callbacks[0])
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                feeds.clear()  # Nothing holds it any more.
            gc.collect()
            time.sleep(0.1)  # Long enough for what does not wait.
            # The way back from here leads through the memory of what it was called by.
            seen.extend([feed() is None, call() is not None])
            left.set()

        feeds.append(livefeed.open("ws://127.0.0.1:1", token_provider=provide))
        call = weakref.ref(feeds[0]._callbacks[0])
        ready.set()
        self.assertTrue(left.wait(CEILING))
        self.assertEqual(seen, [True, True])
        self.eventually(lambda: call() is None)

    def test_the_feed_can_be_used_and_closed_in_it(self) -> None:
        done = threading.Event()
        feeds: list[livefeed.Feed] = []
        failures: list[BaseException] = []

        def act(event: livefeed.Event) -> None:
            try:
                if isinstance(event, livefeed.Message):
                    feeds[0].health()
                    feeds[0].wait_fresh(CEILING)  # It is: there is nothing to wait for.
                    with self.assertRaises(livefeed.WouldDeadlock):
                        feeds[0].request({}, {"pointer": "/id", "equals": 1}, CEILING)
                    feeds[0].close()
                elif isinstance(event, livefeed.Closed):
                    feeds.clear()  # Nothing holds it any more, inside of its own callback.
                    gc.collect()
                    done.set()
            except BaseException as error:
                failures.append(error)
                done.set()

        with lab("silence\nuntil-text go\nsend a") as url:
            feeds.append(livefeed.open(url, on_event=act))
            feeds[0].wait_connected(CEILING)
            feeds[0].send("go")
            self.assertTrue(done.wait(CEILING))
        self.assertEqual(failures, [])

    def test_a_callback_that_holds_up_the_end_is_told(self) -> None:
        inside, go = threading.Event(), threading.Event()

        def hold(event: livefeed.Event) -> None:
            inside.set()
            go.wait(CEILING)

        with self.assertRaises(livefeed.ConfigError):
            livefeed.open("wss://")  # So that this thread has an older text.
        feed = livefeed.open("ws://127.0.0.1:1", on_event=hold)
        try:
            self.assertTrue(inside.wait(CEILING))
            with self.assertRaises(livefeed.FeedTimeout) as caught:
                feed.close(0.05)
            self.assertNotEqual(str(caught.exception), "")
            self.assertNotIn("url", str(caught.exception))
        finally:
            go.set()
            feed.close(CEILING)

    def test_a_feed_with_a_callback_goes_on_until_it_is_closed(self) -> None:
        count = [0]

        def tell(event: livefeed.Event) -> None:
            count[0] += 1

        with lab("data", "--rate", "100") as url:
            feed = weakref.ref(livefeed.open(url, on_event=tell))
            gc.collect()
            self.eventually(lambda: count[0] > 20)
            alive = feed()
            assert alive is not None
            alive.close(CEILING)
            del alive
            gc.collect()
            self.assertIsNone(feed())


class Asyncio(Case):
    def run_async(self, main: Any) -> Any:
        return asyncio.run(asyncio.wait_for(main, CEILING))

    @unittest.skipUnless(IS_POSIX, "needs add_reader")
    def test_two_feeds_and_a_timer_share_a_loop(self) -> None:
        async def main(urls: list[str]) -> None:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0.001)
                    ticks += 1

            async def read(url: str) -> list[int]:
                numbers: list[int] = []
                with livefeed.open(url) as feed:
                    while len(numbers) < 5000:
                        async for event in feed:
                            if isinstance(event, livefeed.Message):
                                numbers.append(json.loads(event.text)["seq"])
                                if len(numbers) % 700 == 0:
                                    break
                return numbers

            ticking = asyncio.ensure_future(tick())
            for numbers in await asyncio.gather(*map(read, urls)):
                self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
            ticking.cancel()
            self.assertGreater(ticks, 5)

        with lab(None, "--rate", "10000") as one, lab(None, "--rate", "10000") as two:
            self.run_async(main([one, two]))

    @unittest.skipUnless(IS_POSIX, "needs add_reader")
    def test_async_with_closes_without_holding_up_the_loop(self) -> None:
        async def main(url: str) -> None:
            async with livefeed.open(url) as feed:
                async for event in feed:
                    if isinstance(event, livefeed.Message):
                        break
                await asyncio.to_thread(feed.wait_fresh, CEILING)
                ticks = 0
                closing = asyncio.ensure_future(feed.__aexit__())
                while not closing.done():
                    ticks += 1
                    await asyncio.sleep(0.01)
                    if ticks == 5:
                        hang_up.set()
            self.assertTrue(feed.closed)
            self.assertGreaterEqual(ticks, 5)

        hang_up = threading.Event()

        def mute(connection: Connection) -> None:
            connection.send("x")
            hang_up.wait(CEILING)  # No answer to the Close frame.

        with server(mute) as url:
            self.run_async(main(url))

    def test_it_ends_with_the_feed_and_when_cancelled(self) -> None:
        async def main(url: str) -> None:
            with livefeed.open(url) as feed:

                async def read() -> Any:
                    return [event async for event in feed][-1]

                cancelled = asyncio.ensure_future(read())
                await asyncio.sleep(0.05)
                cancelled.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await cancelled
                reading = asyncio.ensure_future(read())
                await asyncio.get_running_loop().run_in_executor(None, feed.close)
                self.assertIsInstance(await reading, livefeed.Closed)

        with lab("silence") as url:
            before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
            self.run_async(main(url))
            gc.collect()
            if before:
                self.assertLessEqual(len(os.listdir("/proc/self/fd")), before)


class Ends(Case):
    def script(self, code: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-X", "dev", "-c", code, *arguments]
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        return subprocess.Popen(command, cwd=HERE, text=True, **pipes)  # type: ignore[call-overload, no-any-return]

    def finish(self, process: subprocess.Popen[str], status: int = 0) -> str:
        try:
            out, err = process.communicate(timeout=CEILING)
        finally:
            process.kill()
        self.assertEqual((process.returncode, err), (status, ""))
        return out

    @unittest.skipUnless(IS_POSIX, "needs signals")
    def test_ctrl_c_ends_every_way_of_waiting(self) -> None:
        # Python leaves SIGINT alone where it is ignored, as in background jobs of scripts.
        code = """
import livefeed, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
feed = livefeed.open(sys.argv[1])
feed.wait_connected(20)
feed.ready()
matcher = {"pointer": "/id", "equals": 1}
print("ready", flush=True)
try:
    WAIT
except KeyboardInterrupt:
    feed.close(20)
    print("interrupted")
"""
        waits = [
            "list(feed)",
            "feed.next()",
            "feed.next(1000)",
            "feed.wait_fresh(1000)",
            "feed.request({}, matcher, 1000)",
        ]
        with lab("silence") as url:
            processes = [self.script(code.replace("WAIT", wait), url) for wait in waits]
            for wait, process in zip(waits, processes):
                with self.subTest(wait):
                    assert process.stdout is not None
                    self.assertEqual(process.stdout.readline(), "ready\n")
                    time.sleep(0.05)  # So that it waits, most likely; what is asserted holds anyway.
                    process.send_signal(signal.SIGINT)
                    self.assertEqual(self.finish(process), "interrupted\n")

    @unittest.skipUnless(IS_POSIX, "needs signals")
    def test_an_interrupted_batch_is_read_again(self) -> None:
        class Interrupt(Exception):
            pass

        interrupts = 0
        in_a_row = 0

        def interrupt(*_: object) -> None:
            raise Interrupt

        def pause() -> float:  # Of different lengths: on a slow machine a batch must be read at last.
            return 0.0002 * (1 + interrupts % 5) * (1 << min(in_a_row, 8))

        with lab(None, "--rate", "50000") as url, livefeed.open(url) as feed:
            feed.wait_connected(CEILING)
            numbers: list[int] = []
            before = signal.signal(signal.SIGALRM, interrupt)
            try:
                deadline = time.monotonic() + CEILING
                while (len(numbers) < 5000 or interrupts < 20) and time.monotonic() < deadline:
                    try:
                        signal.setitimer(signal.ITIMER_REAL, pause())
                        while True:
                            feed._fill(1024, CEILING)
                            signal.setitimer(signal.ITIMER_REAL, 0)
                            for event in feed._dequeue(sys.maxsize):
                                if isinstance(event, livefeed.Message):
                                    numbers.append(json.loads(event.text)["seq"])
                            in_a_row = 0
                            signal.setitimer(signal.ITIMER_REAL, pause())
                    except Interrupt:
                        interrupts += 1
                        in_a_row += 1
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
                signal.signal(signal.SIGALRM, before)
            self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
            self.assertGreater(len(numbers), 0)
            self.assertGreater(interrupts, 0)

    def test_the_interpreter_may_end_at_any_time(self) -> None:
        code = """
import livefeed, sys, threading, warnings
warnings.simplefilter("ignore", ResourceWarning)
url, how = sys.argv[1:]
livefeed.log_to(livefeed.logging.getLogger("x"), 1)
livefeed.logging.getLogger("x").addHandler(livefeed.logging.NullHandler())
livefeed.logging.getLogger("x").propagate = False
count = [0]
enough = threading.Event()
def on_event(event):
    count[0] += 1
    if count[0] > 100:
        enough.set()
if how == "callback":
    feed = livefeed.open(url, on_event=on_event)
elif how == "daemon":
    feed = livefeed.open(url)
    threading.Thread(target=lambda: [on_event(event) for event in feed], daemon=True).start()
elif how == "provider":
    def provide(attempt):
        enough.set()
        raise ValueError("no")
    feed = livefeed.open(url, token_provider=provide, reconnect={"first": "1ms", "floor": "1ms", "max": "1ms"})
elif how == "cycle":
    feed = livefeed.open(url)
    feed.self = feed
    for event in feed:
        on_event(event)
        if enough.is_set():
            break
enough.wait()
print("end")
"""
        with lab("data", "--rate", "20000") as url:
            for how in ["callback", "daemon", "provider", "cycle"]:
                for process in [self.script(code, url, how) for _ in range(3)]:
                    with self.subTest(how):
                        self.assertEqual(self.finish(process), "end\n")

    @unittest.skipUnless(hasattr(os, "fork"), "needs fork")
    def test_a_child_cannot_use_the_feeds_of_its_parent(self) -> None:
        code = """
import livefeed, os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)
feed = livefeed.open(sys.argv[1])
threading.Thread(target=lambda: list(feed), daemon=True).start()
with livefeed.open(sys.argv[1]) as third:
    child = os.fork()
if not child:
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
other = livefeed.open(sys.argv[1])
other.next()
child = os.fork()
if not child:
    for call in (feed.next, feed.ready, other.next, feed.health, feed.close, feed.fileno, lambda: feed.send("x"), feed.reconnect):
        try:
            call()
            print("no error", call)
        except livefeed.Forked as error:
            assert error.code == 14 and str(error)
    del feed, other, call
    sys.exit(0)
assert os.waitpid(child, 0)[1] == 0
seen = set()
for event in other:
    seen.add(event.name)
    if isinstance(event, livefeed.Message):
        break
other.close(20)
feed.close(20)
print(sorted(seen)[-1], feed.health()["connections"])
"""
        with lab("data", "--rate", "1000") as url:
            self.assertEqual(self.finish(self.script(code, url)), "message 1\n")

    def test_what_is_forgotten_leaves_nothing_behind(self) -> None:
        def threads() -> int:
            return len(os.listdir("/proc/self/task"))

        if not os.path.isdir("/proc/self/task"):
            self.skipTest("needs /proc")
        with lab("data", "--rate", "10000") as url:
            with livefeed.open(url) as feed:
                feed.next(CEILING)
                feed.fileno()
            del feed
            gc.collect()
            before = threads(), len(os.listdir("/proc/self/fd"))
            for number in range(30):
                with self.assertWarns(ResourceWarning):
                    feed = livefeed.open(url, token_provider=lambda attempt: None)
                    for _ in range(number % 2 * 100):
                        feed.next(CEILING)
                    feed.fileno()
                    if number % 3 == 0:
                        feed.cycle = feed  # type: ignore[attr-defined]
                    del feed
                    gc.collect()
            self.eventually(lambda: threads() <= before[0])
            self.eventually(lambda: len(os.listdir("/proc/self/fd")) <= before[1])

    def test_a_feed_may_be_forgotten_where_a_lock_is_held_that_its_callback_waits_for(self) -> None:
        code = """
import livefeed, threading, warnings
warnings.simplefilter("ignore", ResourceWarning)
lock, inside = threading.Lock(), threading.Event()
def provide(attempt):
    inside.set()
    with lock:
        pass
with lock:
    feed = livefeed.open("ws://127.0.0.1:1", token_provider=provide)
    inside.wait()
    del feed
    print("end")
"""
        self.assertEqual(self.finish(self.script(code)), "end\n")

    def test_the_end_waits_for_the_callback_of_a_forgotten_feed(self) -> None:
        code = """
import livefeed, threading, time, warnings
warnings.simplefilter("ignore", ResourceWarning)
inside = threading.Event()
def provide(attempt):
    inside.set()
    for _ in range(300):
        time.sleep(0.001)
feed = livefeed.open("ws://127.0.0.1:1", token_provider=provide)
inside.wait()
del feed
print("end")
"""
        for process in [self.script(code) for _ in range(5)]:
            self.assertEqual(self.finish(process), "end\n")

    def test_the_library_is_looked_for_and_checked(self) -> None:
        for path, part in [
            ("/nowhere/x.so", "LIVEFEED_LIBRARY"),
            (ctypes.util.find_library("c"), "is not the library"),
        ]:
            environment = {**os.environ, "LIVEFEED_LIBRARY": path or ""}
            command = [sys.executable, "-c", "import livefeed"]
            done = subprocess.run(command, cwd=HERE, env=environment, capture_output=True, text=True, timeout=CEILING)
            self.assertIn("ImportError", done.stderr)
            self.assertIn(part, done.stderr)
        self.assertRegex(livefeed.version(), r"^\d+\.\d+\.\d+")
        self.assertEqual(livefeed.abi_version(), 1)


class Header(Case):
    """The module against the header, where that is at hand."""

    def setUp(self) -> None:
        path = os.path.join(HERE, "..", "..", "include", "livefeed.h")
        if not os.path.exists(path):
            self.skipTest("needs the header")
        with open(path, encoding="utf-8") as file:
            self.code = re.sub(r"/\*.*?\*/", "", file.read(), flags=re.DOTALL)

    def numbers(self, prefix: str) -> dict[str, int]:
        return {name: int(value) for name, value in re.findall(rf"#define {prefix}(\w+) (\d+)\n", self.code)}

    def test_functions_take_what_is_declared(self) -> None:
        declared = dict(re.findall(r"\blivefeed_(\w+)\(([^()]*)\);", self.code))
        self.assertGreater(len(declared), 40)
        kinds: dict[str, Any] = {
            "size_t": ctypes.c_size_t,
            "int32_t": ctypes.c_int32,
            "int64_t": ctypes.c_int64,
            "livefeed_callback": livefeed._OnEvent,
            "livefeed_token_provider": livefeed._OnAttempt,
        }
        for name, function in livefeed._functions.items():
            with self.subTest(name):
                types = [
                    part.strip().rsplit(None, 1)[0] for part in declared[name].split(",") if part.strip() != "void"
                ]
                self.assertEqual(len(function.argtypes), len(types))
                for given, kind in zip(function.argtypes, types):
                    size = ctypes.sizeof(kinds.get(kind, ctypes.c_void_p))
                    self.assertEqual(ctypes.sizeof(given), size, kind)

    def test_views_are_read_as_they_are(self) -> None:
        match = re.search(r"typedef struct livefeed_view \{(.*?)\}", self.code, re.DOTALL)
        assert match
        codes = {"size_t": "N", "uint64_t": "Q", "int64_t": "q", "int32_t": "i", "uint32_t": "I"}
        fields = [field.strip() for field in match[1].split(";") if field.strip()]
        form = "".join("P" if "*" in field else codes[field.split()[0]] for field in fields)
        self.assertEqual(livefeed._VIEW.format, "@" + form)

    def test_numbers_are_those_of_the_header(self) -> None:
        results = self.numbers("LIVEFEED_")
        errors = {
            "TIMEOUT": "FeedTimeout",
            "CLOSED": "FeedClosed",
            "INVALID_UTF8": "ConfigError",
            "CONFIG": "ConfigError",
            "NOT_CONNECTED": "NotConnected",
            "OUTBOX_FULL": "OutboxFull",
            "TOO_LARGE": "TooLarge",
            "UNKNOWN_SUBSCRIPTION": "UnknownSubscription",
            "WOULD_DEADLOCK": "WouldDeadlock",
            "TAKEN": "EventsTaken",
            "SYSTEM": "SystemLimit",
            "FORKED": "Forked",
            "PANIC": "LibraryPanic",
            "UNSUPPORTED": "Unsupported",
            "DROPPED": "Dropped",
        }
        theirs = {results[name]: error for name, error in errors.items()}
        self.assertEqual({code: error.__name__ for code, error in livefeed._ERRORS.items()}, theirs)
        self.assertEqual(results["TIMEOUT"], livefeed._TIMEOUT)
        for name, value in [("CLOSED", livefeed._CLOSED), ("NO_VALUE", livefeed._NO_VALUE), ("TEXT", livefeed._TEXT),
                            ("WOULD_DEADLOCK", livefeed._WOULD_DEADLOCK), ("BINARY", livefeed._BINARY),
                            ("VIEW_BINARY", livefeed._IS_BINARY), ("EVENT_MESSAGE", livefeed._MESSAGE),
                            ("ABI_VERSION", livefeed._ABI)]:  # fmt: skip
            self.assertEqual(results[name], value, name)
        for name, number in self.numbers("LIVEFEED_EVENT_").items():
            kind = livefeed._LIFECYCLE.get(number, (livefeed.OtherEvent,))[0]
            self.assertEqual(name.lower(), "message" if number == livefeed._MESSAGE else kind.name)


class Programs(Case):
    def run_program(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, os.path.join(HERE, name), *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def test_tail_prints_payloads(self) -> None:
        with lab("data", "--rate", "1000") as url:
            out, err = self.run_program("tail.py", "--count", "3", url).communicate(timeout=CEILING)
            self.assertEqual([json.loads(line)["seq"] for line in out.splitlines()], [1, 2, 3])
            self.assertIn("Connected", err)
            out, _ = self.run_program("tail.py", "--json", "--count", "1", url).communicate(timeout=CEILING)
            self.assertEqual([json.loads(line)["event"] for line in out.splitlines()][-1], "message")
            process = self.run_program("tail.py", "http://x")
            self.assertIn("tail.py", process.communicate(timeout=CEILING)[1])
            self.assertEqual(process.returncode, 2)

    @unittest.skipUnless(IS_POSIX, "needs add_reader")
    def test_asyncio_tail_ends_with_ctrl_c(self) -> None:
        with lab("data", "--rate", "100") as url:
            process = self.run_program("asyncio_tail.py", url, url)
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(10)]
            self.assertTrue(all('"topic":"lab"' in line for line in lines), lines)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=CEILING)
            self.assertEqual(process.returncode, 0, err)
            self.assertEqual(err.count("over: closed by user"), 2, err)


if __name__ == "__main__":
    unittest.main()
